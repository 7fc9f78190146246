"""
References inside values: `${connection.password/base}`, `${variable/region}`, and `extends`.

Off by default; an entry whose `metadata.references` is set is resolved when it is read, for the
reader who reads it.

Rules of this file:

1. Kind and field stand before the first `/`, the rest is the name. Of a run of `$` before a `{`
   every two are one `$` of the text, and an odd one begins a reference: `$${` is the text `${`.
   Whatever else follows `${` is refused, so that a typing error never becomes a password.
2. What is put in is text: it is never looked through again, and cannot break out of the JSON string
   or the part of a URI it stands in.
3. References are looked up in the team of the entry that holds them, because that is where its
   writer was allowed to read them. A reference is resolved in its turn only if its own entry says so.
4. At most 8 deep, 100 entries and 1 MiB; a cycle is refused. A reference to nothing makes the entry
   malformed, not absent: a default must not hide it.
5. A connection in JSON may say `"extends": "base"`: it has the fields of that connection, and its own
   instead of them; `extra` is joined key by key, and null takes a field away.

Source: docs/design.md, "Looking something up", rule 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from strongroom.errors import InvalidInputError, MalformedEntryError, NotFoundError
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, Entry
from strongroom.model.jsontext import decode
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.model.connection import Dialect

__all__ = ["MAX_DEPTH", "MAX_REFERENCES", "Reference", "escape", "parse", "references_of", "resolve"]

MAX_DEPTH = 8  # references one behind the other
MAX_REFERENCES = 100  # entries that one lookup may read

_RUN = re.compile(r"(?<!\$)(\$+)\{")  # from the start of a run only, so that a long one costs no square
_BODY = re.compile(r"(?:(connection)\.([^/{}\s]+)|(variable))/([^{}\r\n]+)\}")
_FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port")
_EXTRA = "extra."

Read = Callable[[Ref], Entry | None]


@dataclass(frozen=True, slots=True)
class Reference:
    """
    One reference inside a text.

    Args:
        field: of a connection: one of Airflow's fields, or `extra.KEY` (`extra.KEY.KEY` inside an
            object); None of a variable, whose whole text is meant.
    """

    kind: Literal["connection", "variable"]
    field: str | None
    name: str


def parse(text: str) -> tuple[str | Reference, ...]:
    """
    Take *text* apart into plain texts (never empty, `$${` already turned into `${`) and references.

    Raises:
        InvalidInputError: what follows a `${` is no reference; `offset` is where it begins.
    """
    parts: list[str | Reference] = []
    plain, done = "", 0
    while (run := _RUN.search(text, done)) is not None:
        dollars = len(run[1])
        plain += text[done : run.start()] + "$" * (dollars // 2)
        done = run.end()
        if dollars % 2 == 0:
            plain += "{"
            continue
        parts += [plain] if plain else []
        plain = ""
        body = _BODY.match(text, done)
        parts.append(_reference(body, done - 2))
        done = body.end() if body else done
    plain += text[done:]
    return (*parts, plain) if plain else tuple(parts)


def escape(text: str) -> str:
    """Write *text* so that `parse` gives it back as plain text."""
    return _RUN.sub(lambda run: run[1] * 2 + "{", text)


def references_of(ref: Ref, text: str) -> tuple[Ref, ...]:
    """
    Give what *text*, written under *ref*, refers to: each Ref once, in order. The writer must be
    allowed to read all of them.

    Raises:
        InvalidInputError: a reference is malformed, or *text* is a connection in JSON that is none.
    """
    found: dict[Ref, None] = {}
    base, texts = _texts(ref, text)
    if base is not None:
        found[Ref("connection", base, ref.team)] = None
    for part in (part for one in texts for part in parse(one)):
        if isinstance(part, Reference):
            found[Ref(part.kind, part.name, ref.team)] = None
    return tuple(found)


def resolve(entry: Entry, read: Read, *, dialect: Dialect = "core") -> Entry:
    """
    Give *entry* with its references resolved, or *entry* itself where they are off.

    A variable and a connection in URI form keep their form (what is put into a URI is
    percent-encoded); a connection in JSON is written anew, as JSON. The lifetime is the shortest of
    all; it is stale if any is; the version is the entry's own.

    Args:
        entry: as the backend holds it.
        read: gives the entry of one reference to this reader, decided and recorded on its own.
        dialect: how a referenced connection is read.

    Raises:
        MalformedEntryError: a reference is malformed, leads to nothing, in a circle or too deep.
        Whatever *read* raises, NotFoundError apart.
    """
    return _Resolving(read, dialect).entry(entry, ()) if entry.metadata.references else entry


def _reference(body: re.Match[str] | None, offset: int) -> Reference:
    if body is None:
        raise InvalidInputError(
            "what follows ${ is no reference",
            offset=offset,
            hint="write ${connection.FIELD/NAME} or ${variable/NAME}; $${ is the text ${",
        )
    if body[3]:
        return Reference("variable", None, body[4])
    if body[2] not in _FIELDS and not (body[2].startswith(_EXTRA) and len(body[2]) > len(_EXTRA)):
        raise InvalidInputError(
            "a reference names a field that connections do not have",
            offset=offset,
            hint=f"fields are {', '.join(_FIELDS)} and extra.KEY",
        )
    return Reference("connection", body[2], body[4])


# --- the texts of an entry ---------------------------------------------------------------------


def _is_json(ref: Ref, text: str) -> bool:
    return ref.kind == "connection" and text.lstrip().startswith("{")


def _texts(ref: Ref, text: str) -> tuple[str | None, list[str]]:
    """Give the name after `extends`, or None, and every text of *text* that may hold references."""
    if not _is_json(ref, text):
        return None, [text]
    fields = _fields(text)
    base = _taken_base(fields)
    return base, list(_leaves(fields))


def _fields(text: str) -> dict[str, object]:
    """Give the JSON object of a connection, `extra` as an object even where it is written as text."""
    found = decode(text.strip(), what="the connection")
    fields = dict(found) if isinstance(found, dict) else {}
    extra = fields.get("extra")
    if isinstance(extra, str) and extra.lstrip().startswith("{"):
        fields["extra"] = decode(extra, what="extra")
    return fields


def _taken_base(fields: dict[str, object]) -> str | None:
    base = fields.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise InvalidInputError("extends is not text", hint="name one connection")
    return base


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)


# --- resolving ---------------------------------------------------------------------------------


class _Resolving:
    """One lookup: every referenced entry is read once, however often it is named."""

    def __init__(self, read: Read, dialect: Dialect) -> None:
        self._read = read
        self._dialect = dialect
        self._known: dict[Ref, Entry] = {}

    def entry(self, entry: Entry, above: tuple[Ref, ...]) -> Entry:
        """Resolve *entry*, which was reached through *above*."""
        if not entry.metadata.references:
            return entry
        filling = _Filling(
            entry, lambda ref: self._referenced(ref, entry, (*above, entry.ref)), self._dialect
        )
        try:
            text = filling.text()
        except InvalidInputError as error:
            raise _malformed(entry, str(error), error) from None
        used = [entry, *filling.used]
        lifetimes = [one.lifetime for one in used if one.lifetime is not None]
        return replace(
            entry,
            secret=Secret(text),
            lifetime=min(lifetimes) if lifetimes else None,
            is_stale=any(one.is_stale for one in used),
            metadata=replace(entry.metadata, references=False),
        )

    def _referenced(self, ref: Ref, holder: Entry, above: tuple[Ref, ...]) -> Entry:
        if ref in self._known:
            return self._known[ref]
        if len(above) > MAX_DEPTH:
            raise _malformed(holder, f"its references are more than {MAX_DEPTH} deep")
        if len(self._known) >= MAX_REFERENCES:
            raise _malformed(holder, f"it refers to more than {MAX_REFERENCES} entries in all")
        try:
            found = self._read(ref)
        except NotFoundError:
            found = None
        if found is None:
            raise _malformed(holder, f"it refers to {ref}, which no backend has")
        if found.ref in above:
            raise _malformed(holder, f"it refers to {ref}, which leads back to it")
        self._known[ref] = self.entry(found, above)
        return self._known[ref]


class _Filling:
    """Put the references of one entry in."""

    def __init__(self, entry: Entry, referenced: Callable[[Ref], Entry], dialect: Dialect) -> None:
        self._entry = entry
        self._referenced = referenced
        self._dialect = dialect
        self._left = MAX_VALUE_BYTES
        self.used: list[Entry] = []

    def text(self) -> str:
        """Give the whole text of the entry, in the form it has."""
        text = self._entry.secret.reveal()
        if _is_json(self._entry.ref, text):
            return self._json(text)
        is_uri = self._entry.ref.kind == "connection"
        return self._filled(text, (lambda value: quote(value, safe="")) if is_uri else str)

    def _json(self, text: str) -> str:
        fields = _fields(text)
        base = _taken_base(fields)
        filled = {name: self._leaf(value) for name, value in fields.items()}
        if base is not None:
            filled = _overlaid(self._connection(base).to_dict(reveal=True), filled)
        # The dialect that keeps an empty password: nothing may be lost between two JSON texts.
        return Connection.from_dict(filled, "sdk").format("json").reveal()

    def _leaf(self, value: object) -> object:
        if isinstance(value, str):
            return self._filled(value, str)
        if isinstance(value, Mapping):
            return {key: self._leaf(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._leaf(inner) for inner in value]
        return value

    def _filled(self, text: str, spell: Callable[[str], str]) -> str:
        parts = []
        for part in parse(text):
            parts.append(part if isinstance(part, str) else spell(self._value(part)))
            self._left -= len(parts[-1])
            if self._left < 0:
                raise InvalidInputError(
                    f"with its references it is over {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES
                )
        return "".join(parts)

    def _value(self, reference: Reference) -> str:
        if reference.field is None:
            return self._used(Ref("variable", reference.name, self._entry.ref.team)).secret.reveal()
        value = _field(self._connection(reference.name), reference.field)
        if value is None:
            raise InvalidInputError(f'the connection "{reference.name}" has no {reference.field}')
        return value

    def _connection(self, name: str) -> Connection:
        entry = self._used(Ref("connection", name, self._entry.ref.team))
        try:
            return Connection.parse(entry.secret.reveal(), self._dialect)
        except InvalidInputError as error:
            raise _malformed(entry, str(error), error) from None

    def _used(self, ref: Ref) -> Entry:
        entry = self._referenced(ref)
        self.used.append(entry)
        return entry


def _overlaid(base: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    fields = base | own
    lower, upper = base.get("extra"), own.get("extra")
    if isinstance(lower, Mapping) and isinstance(upper, Mapping):
        fields["extra"] = {**lower, **upper}
    return {name: value for name, value in fields.items() if value is not None}


def _field(connection: Connection, field: str) -> str | None:
    if not field.startswith(_EXTRA):
        return _spelled(connection.to_dict(reveal=True)[field])
    value: object = connection.extra.reveal() if connection.extra is not None else None
    for key in field.removeprefix(_EXTRA).split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return _spelled(value)


def _spelled(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _malformed(entry: Entry, why: str, error: InvalidInputError | None = None) -> MalformedEntryError:
    return MalformedEntryError(
        f"{entry.ref} in the backend {entry.backend}: {why}",
        backend=entry.backend,
        ref=str(entry.ref),
        offset=None if error is None or _is_json(entry.ref, entry.secret.reveal()) else error.offset,
        hint=None if error is None else error.hint,
    )
