"""
A connection asked for field by field, as its type describes them.

Rules of this file:

1. What must be said comes first, then how to sign in as a choice of ways, then what the user names by itself.
2. What is left empty is not written: the provider's default counts, and is shown in brackets.
3. A secret is typed without echo; one with line breaks is read from a file.
4. An answer that does not fit is asked for again, twice at most: a terminal may be a program. So is one
   with control characters in it, as an arrow key types them, and one that a terminal cannot hand over whole.
5. Where the input ends before the last answer nothing is written.
"""

from __future__ import annotations

import json
import sys
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
_CONTROLS = frozenset({*range(32), *range(127, 160)}) - {ord("\t")}  # C0, DEL, C1
_MAX_TYPED = (
    1023 if sys.platform == "darwin" else 4095
)  # bytes of a line; a terminal drops the rest in silence


def ask_connection(base: Connection, kinds: Kinds) -> Connection:
    """
    Ask for what *base* does not say yet.

    Raises:
        InvalidInputError: there is nobody to ask, no answer that fits, or the input ended before the last.
    """
    if not terminal.can_ask():
        raise InvalidInputError(
            "there is no terminal to ask on", hint="say --conn-type and its fields, --conn-uri or --conn-json"
        )
    try:
        kind = kinds.find(base.conn_type) if base.conn_type else _ask_kind(kinds)
        return _Sheet(kind, base.replace(conn_type=kind.name)).fill()
    except EOFError:
        raise InvalidInputError("the input ended before the last answer: nothing was written") from None


def _ask_kind(kinds: Kinds) -> ConnectionType:
    for _ in range(_TRIES):
        try:
            return kinds.find(_line("type (as postgres, aws, http): "))
        except InvalidInputError as error:
            _complain(error)
    raise InvalidInputError("no connection type was given", hint="strongroom connections types lists them")


def _complain(error: InvalidInputError) -> None:
    terminal.note(f"{error}; {error.hint}" if error.hint else str(error))


def _line(prompt: str, *, is_secret: bool = False) -> str:
    """
    Ask for a line, without blanks around it.

    Args:
        prompt: what is asked; text from elsewhere in it is written out.
        is_secret: what is typed is not shown, and is given with its blanks.

    Raises:
        EOFError: the input ended.
        InvalidInputError: it holds what nobody types, or may have lost its end; without any of it.
    """
    shown = terminal.clean(prompt)
    text = terminal.ask_secret(shown) if is_secret else terminal.ask_line(shown)
    if text is None:
        raise EOFError
    if len(text.encode("utf-8", "surrogatepass")) >= _MAX_TYPED:
        raise InvalidInputError(
            "a terminal takes no line as long as that",
            hint="give it with --password-file or --conn-extra @FILE",
        )
    if any(ord(one) in _CONTROLS for one in text):
        raise InvalidInputError("the answer holds a control character", hint="type it anew")
    return text if is_secret else text.strip()


class _Sheet:
    """A form being filled: what was answered, and what was asked already."""

    def __init__(self, kind: ConnectionType, base: Connection) -> None:
        self._kind = kind
        self._base = base
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
        return self._base.replace(extra=extra)

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
            try:
                name = _line(f"another field ({_ALL} lists {len(left)}, empty to finish): ")
                found = self._named(name) if name not in ("", _ALL) else None
            except InvalidInputError as error:
                wrong += 1
                _complain(error)
                continue
            if found is not None:
                self._ask(found)
                left = [field for field in left if field is not found]
            elif name == _ALL:
                terminal.show("\n".join(terminal.clean(f"  {field.name}  {field.label}") for field in left))
            else:
                return

    def _named(self, name: str) -> Field:
        found = self._field(name.removeprefix("extra."))
        if found is None:
            raise InvalidInputError(f"the type {self._kind.name} has no such field")
        return found

    def _ask(self, field: Field) -> None:
        if field.name in self._asked:
            return
        for _ in range(_TRIES):
            try:
                value = _answer(field)
                self._keep(field, value=value)
            except InvalidInputError as error:
                _complain(error)
            else:
                return
        raise InvalidInputError(f"no answer that fits {field.label}")

    def _keep(self, field: Field, *, value: Any) -> None:  # noqa: ANN401 -- JSON
        if value is not None and self._kind.standard_field(field.name) is field:
            self._base = self._base.replace(
                **{field.name: Secret(value) if field.name == "password" else value}
            )
        elif value is not None:
            self._extra[field.name] = value
        self._asked.add(field.name)


def _pick(count: int) -> int:
    """Ask for a number from 1 to *count*; 0 where nothing was said."""
    for _ in range(_TRIES):
        try:
            return _number(_line("which (empty for none): "), count)
        except InvalidInputError as error:
            _complain(error)
    raise InvalidInputError(f"no answer from 1 to {count}")


def _number(text: str, count: int) -> int:
    if not text:
        return 0
    if text.isdecimal() and len(text) < _TRIES and 1 <= int(text) <= count:
        return int(text)
    raise InvalidInputError(f"a number from 1 to {count}")


def _answer(field: Field) -> Any:  # noqa: ANN401 -- JSON
    """
    Ask for one field; None where nothing was said.

    Raises:
        EOFError: the input ended.
        InvalidInputError: the answer does not fit, or is missing; without any of it.
    """
    if field.type == "multiline":
        text = _line(f"{field.label} (a file with it): ")
    elif field.is_secret:
        text = _line(f"{field.label} (not shown): ", is_secret=True)
    else:
        text = _line(_prompt(field))
    if text:
        return (
            intake.read_secret(text, what=field.label) if field.type == "multiline" else _value(field, text)
        )
    if field.is_required:
        raise InvalidInputError(f"{field.label} is required")
    return None


def _prompt(field: Field) -> str:
    about = " | ".join(field.choices) or field.placeholder
    # A document's example holds quotation marks and colons; it reads better without more around it.
    shown = f" ({about})" if about else ""
    default = "" if field.default is None else f" [{json.dumps(field.default).strip(chr(34))}]"
    return f"{field.label}{shown}{default}: "


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
