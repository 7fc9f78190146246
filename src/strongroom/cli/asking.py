"""
A connection asked for field by field, as its type describes them.

Rules of this file:

1. What must be said comes first, then how to sign in as a choice of ways, then what the user names by itself.
2. What is left empty is not written: the provider's default counts, and is shown in brackets.
3. A secret is typed without echo; one with line breaks is read from a file.
4. An answer that does not fit is asked for again, twice at most: a terminal may be a program.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from strongroom.cli import intake, terminal
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType, Group
    from strongroom.service.kinds import Kinds

__all__ = ["ask_connection"]

_TRIES = 3
_YES = ("y", "yes", "true")
_NO = ("n", "no", "false")
_ALL = "?"


def ask_connection(base: Connection, kinds: Kinds) -> Connection:
    """
    Ask for what *base* does not say yet.

    Raises:
        InvalidInputError: there is nobody to ask, or no answer that fits.
    """
    if not terminal.can_ask():
        raise InvalidInputError(
            "there is no terminal to ask on", hint="say --conn-type and its fields, --conn-uri or --conn-json"
        )
    kind = kinds.find(base.conn_type) if base.conn_type else _ask_kind(kinds)
    return _Sheet(kind, base.replace(conn_type=kind.name)).fill()


def _ask_kind(kinds: Kinds) -> ConnectionType:
    for _ in range(_TRIES):
        name = terminal.ask_text("type (as postgres, aws, http): ").strip()
        try:
            return kinds.find(name)
        except InvalidInputError as error:
            _complain(f"{error}; {error.hint}")
    raise InvalidInputError("no connection type was given", hint="strongroom connections types lists them")


def _complain(text: str) -> None:
    terminal.note(text)


class _Sheet:
    """A form being filled: what was answered, and what was asked already."""

    def __init__(self, kind: ConnectionType, base: Connection) -> None:
        self._kind = kind
        self._base = base
        self._standard: dict[str, Any] = {}
        self._extra: dict[str, Any] = base.extra.reveal() if base.extra is not None else {}
        said = {field.name for field in kind.standard if getattr(base, field.name) is not None}
        self._asked = said | set(self._extra)

    def fill(self) -> Connection:
        choices = [group for group in self._kind.groups if group.kind == "exclusive"]
        grouped = frozenset[str]().union(*(group.fields for group in choices))
        for field in (*self._kind.standard, *self._kind.extras):
            is_first = field in self._kind.standard or field.is_required
            if is_first and (field.is_required or field.name not in grouped):
                self._ask(field)
        for group in choices:
            self._choose(group)
        self._ask_more(grouped)
        extra = Extra(self._extra) if self._extra else None
        return self._base.replace(**self._standard, extra=extra)

    def _field(self, name: str) -> Field | None:
        return self._kind.standard_field(name) or self._kind.extra_field(name)

    def _choose(self, group: Group) -> None:
        if group.fields & self._asked - {"host", "login", "port"}:
            return  # said already, on the command line or in another group
        lines = [f"  {number}  {way.title}" for number, way in enumerate(group.ways, 1)]
        terminal.show(f"{group.title}:\n" + "\n".join(lines))
        picked = _pick(len(group.ways))
        for name in group.ways[picked - 1].fields if picked else ():
            field = self._field(name)
            if field is None or name in self._asked:
                continue
            if field.type == "boolean":
                self._keep(field, value=True)  # the way is what it says
            else:
                self._ask(field)

    def _ask_more(self, grouped: frozenset[str]) -> None:
        left = [field for field in self._kind.extras if field.name not in self._asked | grouped]
        left = [field for field in left if not field.is_deprecated]
        wrong = 0
        while left and wrong < _TRIES:
            name = terminal.ask_text(f"another field ({_ALL} lists {len(left)}, empty to finish): ").strip()
            if not name:
                return
            found = self._field(name.removeprefix("extra."))
            if name == _ALL:
                terminal.show("\n".join(f"  {field.name}  {field.label}" for field in left))
            elif found is None:
                wrong += 1
                _complain(f"the type {self._kind.name} has no such field")
            else:
                self._ask(found)
                left = [field for field in left if field is not found]

    def _ask(self, field: Field) -> None:
        if field.name in self._asked:
            return
        for _ in range(_TRIES):
            try:
                value = _answer(field)
            except InvalidInputError as error:
                _complain(str(error))
                continue
            if value is not None or not field.is_required:
                self._keep(field, value=value)
                return
            _complain(f"{field.label} is required")
        raise InvalidInputError(f"no answer that fits {field.label}")

    def _keep(self, field: Field, *, value: Any) -> None:  # noqa: ANN401 -- JSON
        self._asked.add(field.name)
        if value is None:
            return
        if self._kind.standard_field(field.name) is not field:
            self._extra[field.name] = value
        elif field.name == "password":
            self._standard["password"] = Secret(value)
        else:
            self._standard[field.name] = value


def _pick(count: int) -> int:
    """Ask for a number from 1 to *count*; 0 where nothing was said."""
    for _ in range(_TRIES):
        told = terminal.ask_text("which (empty for none): ").strip()
        if not told:
            return 0
        if told.isdecimal() and len(told) < _TRIES and 1 <= int(told) <= count:
            return int(told)
        _complain(f"a number from 1 to {count}")
    raise InvalidInputError(f"no answer from 1 to {count}")


def _answer(field: Field) -> Any:  # noqa: ANN401 -- JSON
    """
    Ask for one field; None where nothing was said.

    Raises:
        InvalidInputError: the answer does not fit; without any of it.
    """
    if field.type == "multiline":
        source = terminal.ask_text(f"{field.label} (a file with it): ").strip()
        return intake.read_secret(source, what=field.label) if source else None
    if field.is_secret:
        text = terminal.ask_secret(f"{field.label} (not shown): ")
    else:
        text = terminal.ask_text(_prompt(field)).strip()
    return _value(field, text) if text else None


def _prompt(field: Field) -> str:
    about = " | ".join(field.choices) or field.placeholder
    # A document's example holds quotation marks and colons; it reads better without more around it.
    shown = f" ({terminal.clean(about)})" if about else ""
    default = "" if field.default is None else f" [{json.dumps(field.default).strip(chr(34))}]"
    return f"{terminal.clean(field.label)}{shown}{default}: "


def _value(field: Field, text: str) -> Any:  # noqa: ANN401 -- JSON
    if field.type == "boolean":
        if text.lower() in (*_YES, *_NO):
            return text.lower() in _YES
        raise InvalidInputError(f"{field.label} is yes or no")
    if field.type == "json":
        return decode(text, what=field.label)
    if not field.fits(text):
        kinds = {"integer": "a whole number", "number": "a number"}
        wanted = kinds.get(field.type, f"one of {', '.join(field.choices)}")
        raise InvalidInputError(f"{field.label} is {wanted}")
    if field.type == "choice":
        return next(one for one in field.choices if one.lower() == text.lower())
    if field.type == "integer":
        return int(text)
    return float(text) if field.type == "number" else text
