"""
In what two versions of one entry differ: the names of fields, what stood in them where a form shows it, and
of the rest a mark.

Rules of this file:

1. Values are compared by keyed fingerprints. The key is of whoever asks, dies with the process, and is bound
   to the entry and the field: nothing that leaves tells a value, how long it is, or whether another entry
   or field has it. Two equal marks of one field say that it holds the same, and no more.
2. A field is named only where a form would name it: what hangs together behind one `***` is one field.
3. What is shown of a field is what `shown` shows of that version, whole; where any part of it is hidden, all
   of it is.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strongroom.errors import InvalidInputError, MalformedEntryError
from strongroom.model import overlay
from strongroom.model.secret import Secret
from strongroom.service.lookup import parse_stored
from strongroom.service.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.model.connection import Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref

__all__ = ["Diff", "Difference", "Prints", "Side", "compare"]

_MARK_BYTES = 4  # enough that two that differ look so, and too few to tell anything else


class Side(NamedTuple):
    """
    What one version holds in a field.

    Args:
        text: what stands there, None where that is not shown.
        mark: eight hexadecimal digits, equal where the field holds the same; see the file's first rule.
    """

    text: str | None
    mark: str


class Difference(NamedTuple):
    """
    One field that is not the same.

    Args:
        field: its name, as in `password` or `extra.role`; `value` where the text is taken as a whole.
        before, after: what stood in it and what stands; None where it is not there.
    """

    field: str
    change: Literal["added", "removed", "changed"]
    before: Side | None = None
    after: Side | None = None


class Diff(NamedTuple):
    """
    In what two versions differ.

    Args:
        ref: of the entry.
        backend: which keeps its versions.
        is_same: the stored texts are equal.
        fields: what differs, by name; () where the texts say the same in other words.
        total: fields that either version has, those that differ included.
    """

    ref: Ref
    backend: str
    from_version: str
    to_version: str
    is_same: bool
    fields: tuple[Difference, ...] = ()
    total: int = 0


class _Held(NamedTuple):
    """The fields of one version: what stands in them, and what may be seen of that."""

    plain: dict[str, object]
    seen: dict[str, object]


def compare(old: Entry, new: Entry, dialect: Dialect, *, key: bytes) -> Diff:
    """
    Tell in what *old* and *new*, two versions of one entry, differ.

    Args:
        old: one version.
        new: the other.
        dialect: which of Airflow's two readings to follow.
        key: 32 random bytes that are written nowhere; marks made with it can be compared.
    """

    def mark(name: str, value: object) -> bytes:
        return _mark(new.ref, key, name, value)

    is_same = mark("", old.secret.reveal()) == mark("", new.secret.reveal())
    before, after = _held(old, dialect), _held(new, dialect)
    if before is None or after is None:
        before, after = _whole(old), _whole(new)
    return Diff(
        ref=new.ref,
        backend=new.backend,
        from_version=old.version or "",
        to_version=new.version or "",
        is_same=is_same,
        fields=() if is_same else tuple(_differences(before, after, mark)),
        total=len(before.plain.keys() | after.plain.keys()),
    )


class Prints(NamedTuple):
    """
    The content of one entry as marks: equal marks of one name mean equal content, and tell nothing else.

    Args:
        whole: of the stored text.
        fields: by the name of the field.
    """

    whole: bytes
    fields: Mapping[str, bytes]

    def differs_from(self, other: Prints) -> tuple[str, ...]:
        """Give the fields that are not the same, by name; () where the texts say the same."""
        if self.whole == other.whole:
            return ()
        mine, theirs = self.fields, other.fields
        return tuple(name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name))


def prints_of(entry: Entry, dialect: Dialect, *, key: bytes) -> Prints:
    """Give the marks of *entry*, to be compared with those of the same name made with the same *key*."""
    held = _held(entry, dialect) or _whole(entry)

    def mark(name: str, value: object) -> bytes:
        return _mark(entry.ref, key, name, value)[:_PRINT_BYTES]

    fields = {name: mark(name, value) for name, value in held.plain.items()}
    return Prints(mark("", entry.secret.reveal()), fields)


_PRINT_BYTES = 12  # of an HMAC: of a hundred thousand entries no two are alike by chance


def _mark(ref: Ref, key: bytes, name: str, value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hmac.digest(key, json.dumps([str(ref), name, text]).encode(), "sha256")


def _differences(before: _Held, after: _Held, mark: Callable[[str, object], bytes]) -> Iterator[Difference]:
    for name in sorted(before.plain.keys() | after.plain.keys()):
        sides = _side(before, name, mark), _side(after, name, mark)
        if name not in before.plain:
            yield Difference(name, "added", *sides)
        elif name not in after.plain:
            yield Difference(name, "removed", *sides)
        elif mark(name, before.plain[name]) != mark(name, after.plain[name]):
            yield Difference(name, "changed", *sides)


def _side(held: _Held, name: str, mark: Callable[[str, object], bytes]) -> Side | None:
    if name not in held.plain:
        return None
    value = held.plain[name]
    is_shown = name in held.seen and held.seen[name] == value
    text = (value if isinstance(value, str) else json.dumps(value)) if is_shown else None
    return Side(text, mark(name, value)[:_MARK_BYTES].hex())


def _whole(entry: Entry) -> _Held:
    """Give an entry as the one field it is where it has none a form would name."""
    return _Held({"value": entry.secret.reveal()}, {})


def _held(entry: Entry, dialect: Dialect) -> _Held | None:
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
    plain, seen = connection.to_dict(reveal=True), shown(connection)
    return _Held({**_flat(plain, seen), **rest}, {**_flat(seen, seen), **rest})


def _flat(fields: dict[str, Any], seen: dict[str, Any]) -> dict[str, object]:
    """Give the *fields* that are set, `extra` key by key where *seen*, as shown, has keys."""
    flat: dict[str, object] = {name: value for name, value in fields.items() if value is not None}
    extra = flat.get("extra")
    if isinstance(extra, dict) and isinstance(seen.get("extra"), dict):
        del flat["extra"]
        flat.update((f"extra.{key}", value) for key, value in extra.items())
    return flat
