"""
References inside values: `${connection.password/base}`, `${variable/region}`, and `extends`.

Off by default; an entry whose `metadata.references` is set is resolved when it is read, for the
reader who reads it.

Rules of this file:

1. Kind and field stand before the first `/`, the rest is the name. Of a run of `$` before a `{`
   every two are one `$` of the text, and an odd one begins a reference: `$${` is the text `${`.
   Whatever else follows `${` is refused, so that a typing error never becomes a password.
2. What is put in is text: it is never looked through again, and cannot break out of the JSON string
   or the part of a URI it stands in (`spelling.py`).
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
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote

from strongroom.errors import AccessDeniedError, InvalidInputError, MalformedEntryError, NotFoundError
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, Entry, check_value
from strongroom.model.extra import path_of
from strongroom.model.jsontext import is_unicode
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.model.spelling import in_text, in_uri

if TYPE_CHECKING:
    from strongroom.model.connection import Dialect
    from strongroom.model.ref import Kind
    from strongroom.model.spelling import Spell

    Parts = tuple["str | Reference", ...]

__all__ = [
    "MAX_DEPTH",
    "MAX_REFERENCES",
    "Reference",
    "encoded",
    "escape",
    "field_of",
    "parse",
    "references_of",
    "resolve",
]

MAX_DEPTH = 8  # references one behind the other
MAX_REFERENCES = 100  # entries that one lookup may read

_RUN = re.compile(r"(?<!\$)(\$+)\{")  # from the start of a run only, so that a long one costs no square
_BODY = re.compile(r"(?:(connection)\.([^/{}\s]+)|(variable))/([^{}\r\n]+)\}")
_FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port")
_PLAIN_FIELDS = frozenset(_FIELDS) - {"password"}
_EXTRA = "extra."
_MAX_FIELD = 1000  # characters: every dot of it may part two keys

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


def encoded(uri: str) -> str:
    """
    Percent-encode the references of *uri*, so that who takes it apart finds them whole in its fields.

    Raises:
        InvalidInputError: as `parse`.
    """
    done, written = 0, []
    for run in _RUN.finditer(uri):
        if len(run[1]) % 2 == 0:
            continue
        start, body = run.end() - 2, _BODY.match(uri, run.end())
        _reference(body, start)
        end = body.end() if body else start
        written += [uri[done:start], quote(uri[start:end], safe="")]
        done = end
    return "".join((*written, uri[done:]))


def field_of(connection: Connection, field: str) -> str | None:
    """Give what a reference to *field* of *connection* stands for, in the clear; None where it has none."""
    return _field(connection.to_dict(reveal=True), field)


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


def resolve(
    entry: Entry, read: Read, *, dialect: Dialect = "core", parts: list[Secret[str]] | None = None
) -> Entry:
    """
    Give *entry* with its references resolved, or *entry* itself where they are off.

    A variable and a connection in URI form keep their form (what is put into a URI is
    percent-encoded); a connection in JSON is written anew, as JSON. The lifetime is the shortest of
    all; it is stale or lent if any is; the version is the entry's own.

    Args:
        entry: as the backend holds it.
        read: gives the entry of one reference to this reader, decided and recorded on its own.
        dialect: how a referenced connection is read.
        parts: gets every value worth masking that was put in, at any depth: texts of variables,
            passwords, what stands in extra, and the secrets of what is extended.

    Raises:
        MalformedEntryError: a reference is malformed, leads to nothing, in a circle or too deep; the
            message names the field it stands in.
        AccessDeniedError: what it leads to may not be read; likewise.
        Whatever *read* raises, NotFoundError apart.
    """
    if not entry.metadata.references:
        return entry
    return _Resolving(read, dialect, [] if parts is None else parts).entry(entry, ())


def _reference(body: re.Match[str] | None, offset: int) -> Reference:
    if body is None:
        raise InvalidInputError(
            "what follows ${ is no reference",
            offset=offset,
            hint="write ${connection.FIELD/NAME} or ${variable/NAME}; $${ is the text ${",
        )
    if body[3]:
        return Reference("variable", None, body[4])
    is_key = body[2].startswith(_EXTRA) and len(_EXTRA) < len(body[2]) <= _MAX_FIELD
    if body[2] not in _FIELDS and not is_key:
        raise InvalidInputError(
            "a reference names a field that connections do not have",
            offset=offset,
            hint=f"fields are {', '.join(_FIELDS)} and extra.KEY",
        )
    return Reference("connection", body[2], body[4])


# --- the texts of an entry ---------------------------------------------------------------------


def _is_json(ref: Ref, text: str) -> bool:
    return ref.kind == "connection" and overlay.is_json(text)


def _texts(ref: Ref, text: str) -> tuple[str | None, list[str]]:
    """Give the name after `extends`, or None, and every text of *text* that may hold references."""
    if not _is_json(ref, text):
        return None, [text]
    fields = overlay.fields_of(text)
    base = overlay.take_base(fields)
    return base, list(_leaves(fields))


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
    """One lookup: every referenced entry is read and parsed once, however often it is named."""

    def __init__(self, read: Read, dialect: Dialect, parts: list[Secret[str]]) -> None:
        self._read = read
        self._dialect = dialect
        self._parts = parts
        self._known: dict[Ref, Entry] = {}
        self._parsed: dict[Ref, _Parsed] = {}

    def entry(self, entry: Entry, above: tuple[Ref, ...]) -> Entry:
        """Resolve *entry*, which was reached through *above*."""
        if not entry.metadata.references:
            return entry
        filling = _Filling(entry, (*above, entry.ref), self)
        try:
            text = filling.text()
            check_value(text, "with its references it")
        except InvalidInputError as error:
            raise _malformed(entry, str(error), error) from None
        self._parts += map(Secret, filling.parts)
        used = [entry, *(self._known[ref] for ref in filling.used)]
        lifetimes = [one.lifetime for one in used if one.lifetime is not None]
        return replace(
            entry,
            secret=Secret(text),
            lifetime=min(lifetimes) if lifetimes else None,
            is_stale=any(one.is_stale for one in used),
            is_lent=any(one.is_lent for one in used),
            metadata=replace(entry.metadata, references=False),
        )

    def referenced(self, ref: Ref, place: str, holder: Entry, above: tuple[Ref, ...]) -> Entry:
        """Give what *place* of *holder* refers to, resolved."""
        if ref in self._known:
            return self._known[ref]
        if len(above) > MAX_DEPTH:
            raise _malformed(holder, f"its references are more than {MAX_DEPTH} deep")
        if len(self._known) >= MAX_REFERENCES:
            raise _malformed(holder, f"it refers to more than {MAX_REFERENCES} entries in all")
        found = self._found(ref, place, holder)
        if found.ref in above:
            raise _malformed(holder, f"{place} refers to {ref}, which leads back to it")
        self._known[ref] = self.entry(found, above)
        return self._known[ref]

    def _found(self, ref: Ref, place: str, holder: Entry) -> Entry:
        try:
            found = self._read(ref)
        except NotFoundError:
            found = None
        except AccessDeniedError as error:
            # As denied as the entry itself, but the reader did not ask for this name.
            raise AccessDeniedError(
                f"{holder.ref}: {place} refers to {ref}, which may not be read",
                reason=error.reason,
                hint=error.hint,
            ) from None
        except MalformedEntryError as error:
            raise _unusable(holder, place, error) from None
        if found is None:
            raise _malformed(holder, f"{place} refers to {ref}, which no backend has")
        return found

    def parsed(self, ref: Ref, place: str, holder: Entry) -> _Parsed:
        """Give the connection that `referenced` gave for *ref*."""
        if ref not in self._parsed:
            entry = self._known[ref]
            try:
                connection = Connection.parse(entry.secret.reveal(), self._dialect)
            except InvalidInputError as error:
                raise _unusable(holder, place, _malformed(entry, str(error), error)) from None
            self._parsed[ref] = _Parsed(connection, connection.to_dict(reveal=True))
        return self._parsed[ref]


class _Parsed(NamedTuple):
    """A connection that is referred to, and its fields in the clear, taken out once for all who name it."""

    connection: Connection
    fields: Mapping[str, object]

    def __repr__(self) -> str:
        return f"_Parsed({self.connection!r}, …)"


class _Filling:
    """
    Put the references of one entry in. *place* is the field they stand in, as people are told.

    Attributes:
        used: what was referred to.
        parts: what was put in and is worth masking.
    """

    def __init__(self, entry: Entry, path: tuple[Ref, ...], resolving: _Resolving) -> None:
        self._entry = entry
        self._path = path
        self._resolving = resolving
        self._left = MAX_VALUE_BYTES
        self.used: set[Ref] = set()
        self.parts: dict[str, None] = {}

    def text(self) -> str:
        """Give the whole text of the entry, in the form it has."""
        text = self._entry.secret.reveal()
        if _is_json(self._entry.ref, text):
            return self._json(text)
        if self._entry.ref.kind == "connection":
            return self._filled(text, "the URI", in_uri)
        return self._filled(text, "it", in_text)

    def _json(self, text: str) -> str:
        fields = overlay.fields_of(text)
        base = overlay.take_base(fields)
        filled = {name: self._leaf(value, name) for name, value in fields.items()}
        if base is not None:
            lower = self._connection(base, "extends")
            self.parts |= dict.fromkeys(lower.connection.secrets())
            filled = overlay.laid_over(dict(lower.fields), filled)
        # The dialect that keeps an empty password: nothing may be lost between two JSON texts.
        return Connection.from_dict(filled, "sdk").format("json").reveal()

    def _leaf(self, value: object, place: str) -> object:
        if isinstance(value, str):
            return self._filled(value, place, in_uri if place == "uri" else in_text)
        if isinstance(value, Mapping):
            return {key: self._leaf(inner, path_of(place, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._leaf(inner, place) for inner in value]
        return value

    def _filled(self, text: str, place: str, spelled: Callable[[Parts], Iterator[Spell]]) -> str:
        try:
            parts = parse(text)
            spells = list(spelled(parts))
        except InvalidInputError as error:
            raise _named(place, error) from None
        filled = []
        remaining = iter(spells)
        for part in parts:
            filled.append(part if isinstance(part, str) else next(remaining)(self._value(part, place)))
            self._left -= len(filled[-1])
            if self._left < 0:
                raise InvalidInputError(
                    f"with its references it is over {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES
                )
        return "".join(filled)

    def _value(self, reference: Reference, place: str) -> str:
        if reference.field is None:
            value = self._used("variable", reference.name, place).secret.reveal()
        else:
            found = _field(self._connection(reference.name, place).fields, reference.field)
            if found is None:
                field = _shown(reference.field)
                whole = Ref("connection", reference.name, self._entry.ref.team)
                raise InvalidInputError(f"{place} refers to {field} of {whole}, which has none")
            value = found
        if not is_unicode(value):
            raise InvalidInputError(f"{place} refers to what is not Unicode text")
        if reference.field not in _PLAIN_FIELDS:
            self.parts[value] = None
        return value

    def _connection(self, name: str, place: str) -> _Parsed:
        self._used("connection", name, place)
        return self._resolving.parsed(self._ref("connection", name, place), place, self._entry)

    def _used(self, kind: Kind, name: str, place: str) -> Entry:
        ref = self._ref(kind, name, place)
        entry = self._resolving.referenced(ref, place, self._entry, self._path)
        self.used.add(ref)
        return entry

    def _ref(self, kind: Kind, name: str, place: str) -> Ref:
        try:
            return Ref(kind, name, self._entry.ref.team)
        except InvalidInputError as error:
            what = f"{place} refers to a name that there cannot be: {error}"
            raise InvalidInputError(what, hint=error.hint) from None


def _shown(field: str) -> str:
    """Give *field* as messages name it: a key of extra as `path_of` does."""
    return path_of("extra", field.removeprefix(_EXTRA)) if field.startswith(_EXTRA) else field


def _field(fields: Mapping[str, object], field: str) -> str | None:
    if not field.startswith(_EXTRA):
        return _spelled(fields[field])
    return _spelled(_inner(fields["extra"], field.removeprefix(_EXTRA)))


def _inner(value: object, path: str) -> object:
    """Give what stands at *path*; a key that holds dots itself, as in Kafka, goes before a way inside."""
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    for dot in (at for at, mark in enumerate(path) if mark == "."):
        found = _inner(value.get(path[:dot]), path[dot + 1 :])
        if found is not None:
            return found
    return None


def _spelled(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _named(place: str, error: InvalidInputError) -> InvalidInputError:
    """Give *error* with the field it is about; a text without fields has but one place."""
    if place == "it":
        return error
    return InvalidInputError(f"{place}: {error}", offset=error.offset, hint=error.hint)


def _unusable(holder: Entry, place: str, error: MalformedEntryError) -> MalformedEntryError:
    """Tell of *error* in something referred to; its owner acts, so it keeps what it says of itself."""
    return MalformedEntryError(
        f"{holder.ref} in the backend {holder.backend}: {place} refers to what cannot be used: {error}",
        backend=error.backend,
        ref=error.ref,
        offset=error.offset,
        reason=error.reason,
        hint=error.hint,
    )


def _malformed(entry: Entry, why: str, error: InvalidInputError | None = None) -> MalformedEntryError:
    return MalformedEntryError(
        f"{entry.ref} in the backend {entry.backend}: {why}",
        backend=entry.backend,
        ref=str(entry.ref),
        offset=None if error is None or _is_json(entry.ref, entry.secret.reveal()) else error.offset,
        hint=None if error is None else error.hint,
    )
