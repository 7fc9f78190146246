r"""
A command line taken into words as a POSIX shell does, and its options.

Nothing is expanded or run: a variable, a substitution or a second command is refused, because what it would
have said is not known here.

Source: POSIX.1-2017, Shell Command Language §2.2 "Quoting" and §2.3 "Token Recognition".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from strongroom.transfer.forms.form import MAX_LINE, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Command", "Options", "parse_command", "parse_options"]

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|\\\r?\n)|'(?P<single>[^']*)'|\"(?P<double>(?:[^\"\\$`]|\\.)*)\"|\\(?P<escaped>.)"
    r"|(?P<plain>[^\s'\"\\$`|&;<>()]+)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\\$`\"\n])")
_MAX_LETTERS = 16
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


class Command(NamedTuple):
    """A program's name without its folder, its arguments, and the variables set before it."""

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]


def parse_command(text: str) -> Command:
    """
    Take one command apart.

    Raises:
        InvalidInputError: it is longer than 64 Ki characters, is no single plain command, or a quotation
            mark has no end.
    """
    if len(text) > MAX_LINE:
        raise refused(f"the command has more than {MAX_LINE} characters")
    words = _words(text.removeprefix("$ "))
    environ: dict[str, str] = {}
    while words:
        assigned = _ASSIGNED.fullmatch(words[0])
        if assigned is None:
            break
        environ[assigned[1]] = assigned[2]
        words.pop(0)
    if not words:
        raise refused("there is no command", offset=0)
    return Command(words[0].rpartition("/")[2], tuple(words[1:]), environ)


def _words(text: str) -> list[str]:
    found: list[str] = []
    parts: list[str] | None = None
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise refused(
                "an open quotation mark, a variable, a substitution or a second command stands there",
                offset=at,
                hint="give one plain command; put what holds $ in single quotes",
            )
        at = token.end()
        if token.lastgroup == "space":
            if parts is not None:
                found.append("".join(parts))
            parts = None
            continue
        piece = token[token.lastgroup or 0] or ""
        if token.lastgroup == "double":
            piece = _ESCAPED.sub(lambda match: match[1].strip("\n"), piece)
        parts = [piece] if parts is None else _added(parts, piece)
    return found if parts is None else [*found, "".join(parts)]


def _added(parts: list[str], piece: str) -> list[str]:
    parts.append(piece)
    return parts


class Options(NamedTuple):
    """What the options said by field, the arguments that are no options, and how many were not known."""

    values: Mapping[str, str]
    rest: tuple[str, ...]
    unknown: int


def parse_options(
    arguments: tuple[str, ...],
    takes: Mapping[str, str],
    *,
    flags: Mapping[str, str] | None = None,
    attached: frozenset[str] = frozenset(),
    prompts: frozenset[str] = frozenset(),
) -> Options:
    """
    Read options as `getopt_long` does: `-h db`, `-hdb`, `-Ath db`, `--host db`, `--host=db`.

    Args:
        arguments: behind the program's name.
        takes: fields by those options that take a value; "" for a value that is not wanted.
        flags: fields by those that take none; "" likewise.
        attached: options whose value is attached or not there at all, as MySQL's `-p`.
        prompts: options that may end the command without their value, which is then asked for.

    Raises:
        InvalidInputError: an option has no value, or says again what was said.
    """
    flags = flags or {}
    values: dict[str, str] = {}
    rest: list[str] = []
    unknown = 0
    queue = list(reversed(arguments))
    while queue:
        word = queue.pop()
        if word == "--":
            rest += reversed(queue)
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        word, *more = _single(word, takes, attached)
        queue += reversed(more)
        name, value = _option(word, takes, attached)
        if name in takes and value is None and name not in attached:
            if not queue and name in prompts:
                continue
            if not queue:
                raise refused("an option has no value")
            value = queue.pop()
        field = takes.get(name, flags.get(name))
        unknown += field is None
        if field:
            _keep(values, field, value or "")
    return Options(values, tuple(rest), unknown)


def _keep(values: dict[str, str], field: str, value: str) -> None:
    if field in values:
        raise refused("an option stands twice", hint="keep one of the two")
    values[field] = value


def _option(word: str, takes: Mapping[str, str], attached: frozenset[str]) -> tuple[str, str | None]:
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    name = word[:2]
    if len(word) == 2 or word in takes or not (name in takes or name in attached):  # noqa: PLR2004 -- "-h"
        return word, None
    return name, word[2:]


def _single(word: str, takes: Mapping[str, str], attached: frozenset[str]) -> list[str]:
    """Give `-Ath` as `-A`, `-t` and `-h`: letters up to the first that takes a value, which has the rest."""
    if len(word) <= 2 or word[1] == "-" or word in takes or not word[1].isalpha():  # noqa: PLR2004 -- "-h"
        return [word]
    found: list[str] = []
    for at in range(1, min(len(word), _MAX_LETTERS)):
        name = f"-{word[at]}"
        if name in takes or name in attached:
            return [*found, name + word[at + 1 :]]
        found.append(name)
    return found
