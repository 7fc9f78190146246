"""
An edit: some fields of an entry, laid over what stands, and merged with what somebody else wrote meanwhile.

Rules of this file:

1. Only fields that were changed are said. What is not said stays as it stands when the edit is written,
   secrets and what nobody asked about too.
2. Whose fields differ from one another are both kept. The same field of both is nobody's to choose but the
   editor's: the edit is refused, and says which fields.
3. Whether a secret that was typed is the one that stands is told to nobody: a field that both wrote is a
   conflict, whatever they wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from strongroom import catalog
from strongroom.catalog.field import Field
from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model import overlay
from strongroom.model.extra import HIDDEN, Extra
from strongroom.model.jsontext import decode
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change, Written
from strongroom.service.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.model.connection import Connection
    from strongroom.model.entry import Metadata
    from strongroom.service.entries import Described, Entries

__all__ = [
    "EXTRA",
    "FACTS",
    "FIELDS",
    "Edit",
    "MergeError",
    "Saved",
    "edited",
    "fields_of",
    "save",
    "value_of",
]

EXTRA = "extra."
"""What a field of extra begins with; the rest is its key, dots and all."""
FIELDS = ("conn_type", "host", "port", "schema", "login", "password")
"""The fields of a connection an edit may name, beside those of extra."""
FACTS = ("description", "owner", "tags", "remind_at", "not_after", "expires_at", "references")
"""What is public about an entry, and may be edited."""
_VALUE = "value"
_TRIES = 3  # somebody may write between the look and the write; more often than this is a fight


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """
    What somebody changed.

    Args:
        ref: of what.
        changes: new values by field: those of `FIELDS`, `extra.<key>`, `value` of a variable, those of
            `FACTS`. None takes a field away. A secret is a `Secret`, or text.
        seen: the version the edit was made of; None where its place keeps none.
        was: how the changed fields looked then, `***` where hidden: what tells, beside versions, whether
            they are still so.
    """

    ref: Ref
    changes: Mapping[str, object] = field(repr=False)
    seen: str | None = None
    was: Mapping[str, object] = field(default_factory=dict, repr=False)


class MergeError(ConflictError):
    """
    Two people changed the same fields.

    Attributes:
        fields: the ones both changed.
        merged: the ones only the other changed, which an edit of what stands now would keep.
        author: who wrote what stands, where its place knows.
    """

    def __init__(self, found: Described, both: Iterable[str], theirs: Iterable[str], author: str) -> None:
        self.fields = tuple(sorted(both))
        self.merged = tuple(sorted(set(theirs) - set(self.fields)))
        self.author = author
        super().__init__(
            f"{found.ref} was changed meanwhile, in the same place: {', '.join(self.fields)}",
            current_version=found.version,
            hint="look at what stands now, and edit that",
        )


@dataclass(frozen=True, slots=True)
class Saved:
    """
    What an edit did.

    Args:
        written: where it went.
        merged: fields that somebody else had changed meanwhile, and that were kept.
    """

    written: Written
    merged: tuple[str, ...] = ()


def fields_of(found: Described) -> dict[str, object]:
    """Give the fields of an entry as a form may show them: `***` for what it may not; facts too."""
    fields: dict[str, object] = {name: getattr(found.metadata, name) for name in FACTS}
    if found.connection is None:
        return fields | ({_VALUE: HIDDEN} if found.ref.kind == "variable" else {})
    seen = shown(found.connection)
    fields["description"] = found.metadata.description or seen["description"]
    fields |= {name: seen[name] for name in FIELDS}
    extra = seen["extra"]
    if isinstance(extra, dict):
        fields |= {f"{EXTRA}{key}": value for key, value in extra.items()}
    return {name: value for name, value in fields.items() if value is not None or name in FACTS}


def save(
    entries: Entries,
    edit: Edit,
    *,
    to: str | None = None,
    force: bool = False,
    comment: str = "",
    check: Callable[[Connection], None] = lambda _connection: None,
) -> Saved:
    """
    Write an edit over what stands.

    Args:
        entries: as who edits.
        edit: what he changed.
        to: name of the backend to write to instead of the one that holds it.
        force: write though a higher backend hides the place.
        comment: why; kept in the history and in the record.
        check: told the connection as it will stand; what it raises refuses the edit.

    Raises:
        MergeError: somebody else changed the same fields.
        InvalidInputError: a field is none, or its value does not fit; an entry that cannot be read has no
            fields to edit.
        As `Entries.describe` and `Entries.write`.
    """
    for left in reversed(range(_TRIES)):
        found = _standing(entries, edit.ref)
        theirs = _theirs(entries, edit, found)
        both = _both(edit, theirs)
        if both:
            raise MergeError(found, both, theirs, _author(entries, found))
        change = _change(edit, found, check)
        if to is not None and to != found.backend:
            change = replace(change, seen=None)
        try:
            written = entries.write(change, to=to, force=force, comment=comment)
        except ConflictError:
            if not left:
                raise
            continue
        return Saved(written, tuple(sorted(theirs)))
    raise AssertionError  # the last try returns or raises


def edited(connection: Connection, changes: Mapping[str, object]) -> Connection:
    """
    Give *connection* with *changes*, by field.

    Raises:
        InvalidInputError: a value does not fit, or its extra is no object to put a key into.
    """
    fields = {name: _plain_or_none(changes[name]) for name in FIELDS if name in changes}
    if "description" in changes:
        fields["description"] = changes["description"] or None
    if fields.get("password") is not None:
        fields["password"] = Secret(str(fields["password"]))
    keys = {name[len(EXTRA) :]: _plain(value) for name, value in changes.items() if name.startswith(EXTRA)}
    if keys:
        fields["extra"] = _extra_with(connection, keys)
    return connection.replace(**fields)


def value_of(conn_type: str | None, path: str, text: str) -> object:
    """
    Give what *text* means in the field at *path*, as an edit takes it: numbers, truths, moments, lists.

    Raises:
        InvalidInputError: it does not fit; the message names the field.
    """
    if path == "tags":
        return [one for one in (word.strip() for word in text.split(",")) if one]
    if path == "references" or (field := _field(conn_type, path)) is None:
        return text == "true" if path == "references" else _moment(path, text)
    if field.type not in ("boolean", "integer", "number", "json"):
        return text
    if not field.fits(text):
        raise InvalidInputError(f"{path} is no {_KIND_WORDS[field.type]}")
    if field.type == "json":
        return decode(text, what=path)
    if field.type == "boolean":
        return text.lower() == "true"
    return float(text) if "." in text else int(text)


_KIND_WORDS = {"boolean": "true or false", "integer": "whole number", "number": "number", "json": "document"}


def _field(conn_type: str | None, path: str) -> Field | None:
    if path == "port":
        return Field(name="port", label="Port", type="integer")
    kind = catalog.find(conn_type or "")
    return kind.extra_field(path[len(EXTRA) :]) if kind is not None and path.startswith(EXTRA) else None


def _moment(path: str, text: str) -> object:
    if path not in ("remind_at", "not_after", "expires_at"):
        return text
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise InvalidInputError(f"{path} is no date", hint="2026-12-31 or 2026-12-31T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _plain(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value


def _plain_or_none(value: object) -> object:
    plain = _plain(value)
    return None if plain == "" else plain


def _extra_with(connection: Connection, keys: Mapping[str, object]) -> Extra | None:
    old = connection.extra.reveal() if connection.extra is not None else {}
    new: dict[str, Any] = {**old, **keys}
    left = {key: value for key, value in new.items() if not (key in keys and value is None)}
    # An extra that was there and is emptied stays an object; one that never was is not made.
    return Extra(left) if left or connection.extra is not None else None


# --- what the other did ----------------------------------------------------------------------------


def _standing(entries: Entries, ref: Ref) -> Described:
    found = entries.describe(ref)
    if found.ref != ref:
        # The global entry answers for a team that has none; an edit of it would be one for everybody.
        raise NotFoundError(f"{ref} has no entry of its own", hint="add one for the team")
    return found


def _theirs(entries: Entries, edit: Edit, found: Described) -> set[str]:
    """Give the fields that are other than when the edit was made."""
    now = fields_of(found)
    theirs = {name for name, was in edit.was.items() if name in FACTS and _other(now.get(name), was)}
    if edit.seen is None and found.version is None:
        return theirs | {name for name, was in edit.was.items() if _other(now.get(name), was)}
    if edit.seen == found.version:
        return theirs
    known = _between(entries, edit, found)
    if known is None:
        # The place cannot tell what the other changed. What is public is compared; what is not may be his.
        known = {name for name, was in edit.was.items() if _other(now.get(name), was)}
        known |= {name for name in edit.changes if now.get(name, HIDDEN) == HIDDEN and name not in FACTS}
    return theirs | (known - set(FACTS))


def _between(entries: Entries, edit: Edit, found: Described) -> set[str] | None:
    """Give the fields in which the seen version and that which stands differ; None where nobody knows."""
    if edit.seen is None or found.version is None:
        return None
    try:
        diff = entries.diff(edit.ref, edit.seen, found.version, at=found.backend)
    except (NotFoundError, ReadOnlyError, InvalidInputError):
        return None
    return {one.field for one in diff.fields}


def _other(now: object, was: object) -> bool:
    return (now or None) != (was or None)


def _both(edit: Edit, theirs: set[str]) -> set[str]:
    both = {name for name in edit.changes if name in theirs}
    if "extra" in theirs:  # as a whole: which key of it, nobody may be told
        both |= {name for name in edit.changes if name.startswith(EXTRA)}
    if _VALUE in theirs and edit.ref.kind == "connection":  # one of the two could not be read
        both |= {name for name in edit.changes if name not in FACTS}
    return both


def _author(entries: Entries, found: Described) -> str:
    try:
        history = entries.history(found.ref, at=found.backend)
    except (NotFoundError, ReadOnlyError, InvalidInputError):
        return ""
    return next((one.author or "" for one in history if one.version == found.version), "")


# --- the change ------------------------------------------------------------------------------------


def _change(edit: Edit, found: Described, check: Callable[[Connection], None]) -> Change:
    unknown = [
        name
        for name in edit.changes
        if not (name in FACTS or (_is_value(name) if edit.ref.kind == "variable" else _is_field(name)))
    ]
    if unknown:
        raise InvalidInputError(
            f"the edit has {len(unknown)} fields that no {edit.ref.kind} has",
            hint=f"they are {', '.join((*FIELDS, EXTRA + 'KEY', *FACTS))}"
            if edit.ref.kind == "connection"
            else f"they are {', '.join((_VALUE, *FACTS))}",
        )
    metadata = _metadata(edit, found.metadata)
    return Change(
        ref=edit.ref, secret=_secret(edit, found, metadata, check), metadata=metadata, seen=found.version
    )


def _is_value(name: str) -> bool:
    return name == _VALUE


def _is_field(name: str) -> bool:
    return name in FIELDS or (name.startswith(EXTRA) and len(name) > len(EXTRA))


def _secret(
    edit: Edit, found: Described, metadata: Metadata, check: Callable[[Connection], None]
) -> Secret[str] | None:
    if edit.ref.kind == "variable":
        return Secret(str(_plain(edit.changes[_VALUE]) or "")) if _VALUE in edit.changes else None
    said = {name: value for name, value in edit.changes.items() if _is_field(name) or name == "description"}
    if not said:
        return None
    if found.connection is None:
        raise InvalidInputError(
            f"{edit.ref} cannot be read, so that it has no fields to edit",
            hint="write it anew as a whole",
        )
    if found.overlay and not metadata.references:
        raise InvalidInputError(
            f"{edit.ref} extends another connection, which needs references", hint="leave references on"
        )
    connection = edited(found.connection, said)
    check(connection)
    return Secret(overlay.join(connection.format("json").reveal(), found.overlay))


def _metadata(edit: Edit, old: Metadata) -> Metadata:
    said: dict[str, Any] = {}
    for name in FACTS:
        if name not in edit.changes:
            continue
        value = edit.changes[name]
        if name == "tags":
            value = tuple(sorted(set(_texts(value))))
        elif name == "references":
            value = bool(value)
        elif name in ("description", "owner"):
            value = value or None
        elif value is not None and not isinstance(value, datetime):
            raise InvalidInputError(f"{name} is no moment", hint="2026-12-31T00:00:00Z")
        said[name] = value
    return replace(old, **said)


def _texts(value: object) -> Iterable[str]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise InvalidInputError("tags are a list of words")
    return value
