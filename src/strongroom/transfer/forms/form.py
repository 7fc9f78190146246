"""
What a form is: how it is told from the others, read, and written. The words every form file is written in.

Rules of this folder:

1. Pure: text in, connections out. Nothing is opened, started or printed, and no variable is expanded.
2. `misfit` looks, `parse` reads. A look is linear and never raises; two forms never claim one text.
3. No message holds any of the text, names of its keys included: only words of the form's own grammar.
4. What a form says and a connection has no place for is told in a warning, never dropped in silence.
5. Writing may be careless: `write_any` reads back what was written and refuses what came back changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from strongroom import catalog
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection, Dialect
from strongroom.model.dotenv import Line, read_lines
from strongroom.model.extra import Extra
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret

__all__ = [
    "MAX_LINE",
    "Form",
    "Found",
    "Look",
    "connection",
    "lines_of",
    "port_of",
    "refused",
    "typed",
]

MAX_LINE = 65_536  # characters of a command or of a look at structure; longer texts are files of a form
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-_]{0,63})://")
_PAIR = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
# Variables as other tools set them: a shell, Windows, PowerShell, a Dockerfile, docker run, Compose.
_SET = {
    word: re.compile(rf"^[ \t]*{mark}([A-Za-z_][A-Za-z0-9_]*){then}", re.MULTILINE)
    for word, mark, then in (
        ("set", r"set[ \t]+", "="),
        ("SET", r"SET[ \t]+", "="),
        ("ENV", r"ENV[ \t]+", "="),
        ("-e", r"-e[ \t]+", "="),
        ("-", r"-[ \t]+", "="),
        ("$env", r"\$env:", r"[ \t]*=[ \t]*"),
        ("$Env", r"\$Env:", r"[ \t]*=[ \t]*"),
        (":", "", r":[ \t]+"),
    )
}
_VARIABLE = re.compile(r"(?:export[ \t]+)?[A-Z][A-Z0-9_]*_(?:URL|URI|DSN|CONNECTION_STRING)=")
_KEYWORD = re.compile(r"[ \t]*([A-Za-z][A-Za-z0-9_ .]{0,60}?)[ \t]*=")
_PREFIXED = re.compile(r"(?:\$[ \t]+)?(?:[A-Za-z_][A-Za-z0-9_]*=(?:'[^']*'|\"[^\"]*\"|[^\s'\"]*)[ \t]+)*")
_WORD = re.compile(r"[\w./+-]{1,255}(?=\s|$)")
_DIGITS = re.compile(r"[0-9]{1,5}")
_MAX_PORT = 65535


class Look:
    """
    What can be seen of a text without reading it; each is found once.

    Args:
        text: without white space around it.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def scheme(self) -> str:
        """What stands before `://` at the start, in lower case, or ""."""
        match = _SCHEME.match(self.text)
        return match[1].lower() if match else ""

    @cached_property
    def is_airflows(self) -> bool:
        """Whether the text is a URL with the parameter that only Airflow's own URIs have."""
        _, mark, query = self.text.partition("?")
        return (bool(mark) and query.startswith("__extra__=")) or "&__extra__=" in query

    @cached_property
    def document(self) -> Mapping[str, Any] | None:
        """The object, where the text is one in JSON."""
        if not self.text.startswith("{"):
            return None
        try:
            found = decode(self.text)
        except InvalidInputError:
            return None
        return found if isinstance(found, dict) else None

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines with something on them, without comments."""
        every = (line.strip() for line in self.text.splitlines())
        return tuple(line for line in every if line and line[0] not in "#;")

    @cached_property
    def names(self) -> frozenset[str]:
        """What stands before the `=` of each line, where every line looks so: an environment."""
        set_ = _plain_lines(self.text)
        lines = self.lines if set_ is self.text else Look(set_).lines
        found = [_PAIR.match(line) for line in lines]
        return frozenset(match[1] for match in found if match)

    @cached_property
    def keywords(self) -> frozenset[str]:
        """What stands before the `=` in each part between semicolons, in lower case, without blanks."""
        is_other = self.scheme or "\n" in self.text or _VARIABLE.match(self.text)
        if len(self.text) > MAX_LINE or is_other:
            return frozenset()
        found = (_KEYWORD.match(part) for part in self.text.split(";"))
        return frozenset(match[1].lower().replace(" ", "") for match in found if match)

    @cached_property
    def command(self) -> str:
        """The name of the program, where the text looks like a command; without its folder."""
        if len(self.text) > MAX_LINE or self.scheme:
            return ""
        prefix = _PREFIXED.match(self.text)
        word = _WORD.match(self.text, prefix.end() if prefix else 0)
        return word[0].rpartition("/")[2] if word else ""


class Found(NamedTuple):
    """
    What a form's text says.

    Args:
        connections: by the name the text gives them, or by None where it gives none.
        warnings: what has no place in a connection, or is likely not meant; without any of the text.
    """

    connections: Mapping[str | None, Connection]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """
    One way to write connections down.

    Args:
        name: as `--form` takes it.
        title: what people call it.
        example: a text of it, that is documented and tested.
        lacks: what of a connection it cannot carry, in words.
        misfit: why a text is not of this form; None where it is.
        parse: reads a text, without white space around it; its errors' offsets count from there.
        format: writes a connection under a name; None where it is not written.
        has_name: whether what is written holds that name.
    """

    name: str
    title: str
    example: str = field(repr=False)
    lacks: str
    misfit: Callable[[Look], str | None] = field(repr=False)
    parse: Callable[[str, Dialect], Found] = field(repr=False)
    format: Callable[[Connection, str], str] | None = field(default=None, repr=False)
    has_name: bool = False


def refused(message: str, *, offset: int | None = None, hint: str | None = None) -> InvalidInputError:
    """Give the refusal of a text that is of the form, and wrong; *message* holds none of it."""
    return InvalidInputError(message, offset=offset, hint=hint)


def connection(conn_type: str, extra: Mapping[str, Any] | None = None, **standard: Any) -> Connection:  # noqa: ANN401
    """
    Make a connection; an empty extra is none, an empty text too, and a port may be text.

    Raises:
        InvalidInputError: as `Connection`.
    """
    password = standard.pop("password", None)
    port = standard.pop("port", None)
    return Connection(
        conn_type=conn_type,
        **{name: value or None for name, value in standard.items()},
        password=Secret(password) if password else None,
        port=port_of(port) if isinstance(port, str) else port,
        extra=Extra(extra) if extra else None,
    )


def port_of(text: str, offset: int | None = None) -> int | None:
    """
    Give the port that *text* says; None where it is empty.

    Raises:
        InvalidInputError: it is none.
    """
    if not text:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > _MAX_PORT:
        raise refused(f"the port is not a whole number from 0 to {_MAX_PORT}", offset=offset)
    return int(text)


def _plain_lines(text: str) -> str:
    """Give *text* with its variables set as in `.env`, every value where it was; itself where they are."""
    for pattern in _SET.values():
        head = pattern.match(text)
        if head is not None:
            return pattern.sub(lambda match: f"{match[1]}=".rjust(len(match[0])), text)
    return text


def lines_of(text: str) -> list[Line]:
    """
    Give the lines of an environment, as `.env`, a shell, Windows, PowerShell, Docker and Compose hold them.

    Raises:
        InvalidInputError: a quoted value has no end, or text follows it; unlike `read_lines` it names none.
    """
    try:
        return list(read_lines(_plain_lines(text)))
    except InvalidInputError as error:
        offset = error.offset
    raise refused("a quoted value has no end, or text follows it", offset=offset)


def typed(conn_type: str, pairs: Mapping[str, str] | Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give *pairs* as extra of the type holds them: numbers, yes or no and documents where it says so."""
    kind = catalog.find(conn_type)
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return {key: _typed(kind.extra_field(key) if kind else None, value) for key, value in items}


def _typed(known: Any, value: str) -> object:  # noqa: ANN401 -- a field or None
    if known is None or not known.fits(value):
        return value
    if known.type == "boolean":
        return value.lower() == "true"
    if known.type == "integer":
        return int(value)
    if known.type == "json" and value[:1] in ("{", "["):
        try:
            return decode(value)
        except InvalidInputError:
            return value
    return value
