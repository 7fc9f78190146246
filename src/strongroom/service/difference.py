"""
In what two versions of one entry differ: the names of fields, told without anything that stands in them.

Rules of this file:

1. Values are compared by keyed fingerprints under a key made for the one comparison: nothing that leaves
   tells a value, how long it is, or whether another entry has it.
2. A field is named only where a form would name it: what hangs together behind one `***` is one field.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strongroom.errors import InvalidInputError, MalformedEntryError
from strongroom.model import overlay
from strongroom.model.secret import Secret
from strongroom.service.lookup import parse_stored
from strongroom.service.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.model.connection import Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref

__all__ = ["Diff", "Difference", "compare"]


class Difference(NamedTuple):
    """
    One field that is not the same.

    Args:
        field: its name, as in `password` or `extra.role`; `value` where the text is taken as a whole.
    """

    field: str
    change: Literal["added", "removed", "changed"]


class Diff(NamedTuple):
    """
    In what two versions differ.

    Args:
        ref: of the entry.
        backend: which keeps its versions.
        is_same: the stored texts are equal.
        fields: what differs, by name; () where the texts say the same in other words.
    """

    ref: Ref
    backend: str
    from_version: str
    to_version: str
    is_same: bool
    fields: tuple[Difference, ...] = ()


def compare(old: Entry, new: Entry, dialect: Dialect) -> Diff:
    """Tell in what *old* and *new*, two versions of one entry, differ."""
    key = secrets.token_bytes(32)

    def fingerprint(value: object) -> bytes:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")

    is_same = fingerprint(old.secret.reveal()) == fingerprint(new.secret.reveal())
    return Diff(
        ref=new.ref,
        backend=new.backend,
        from_version=old.version or "",
        to_version=new.version or "",
        is_same=is_same,
        fields=() if is_same else tuple(_differences(old, new, dialect, fingerprint)),
    )


def _differences(
    old: Entry, new: Entry, dialect: Dialect, fingerprint: Callable[[object], bytes]
) -> Iterator[Difference]:
    before, after = _fields(old, dialect), _fields(new, dialect)
    if before is None or after is None:
        yield Difference("value", "changed")
        return
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Difference(name, "added")
        elif name not in after:
            yield Difference(name, "removed")
        elif fingerprint(before[name]) != fingerprint(after[name]):
            yield Difference(name, "changed")


def _fields(entry: Entry, dialect: Dialect) -> dict[str, object] | None:
    """Give the fields of a connection by name, None of what is none."""
    if entry.ref.kind != "connection":
        return None
    text = entry.secret.reveal()
    rest: dict[str, Any] = {}
    try:
        if entry.metadata.references:
            text, rest = overlay.split(text)
        connection = parse_stored(replace(entry, secret=Secret(text)), dialect)
    except (InvalidInputError, MalformedEntryError):
        return None
    return {**_flat(connection.to_dict(reveal=True), shown(connection)), **rest}


def _flat(plain: dict[str, Any], seen: dict[str, Any]) -> dict[str, object]:
    """Give the fields of *plain* that are set, `extra` key by key where *seen*, as shown, has keys."""
    fields: dict[str, object] = {name: value for name, value in plain.items() if value is not None}
    extra = fields.get("extra")
    if isinstance(extra, dict) and isinstance(seen.get("extra"), dict):
        del fields["extra"]
        fields.update((f"extra.{key}", value) for key, value in extra.items())
    return fields
