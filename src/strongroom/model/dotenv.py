r"""
Lines of `.env`: text ⇄ names and texts.

The rules, line by line:

1. A line is cut where Python's `splitlines` cuts; empty and `#` lines are skipped.
2. The name is everything before the first `=`, the value everything after it, verbatim: no
   trimming, no inline comments.
3. Unless the value *begins* with `"` or `'`: then it is quoted dotenv, may span lines, ends at the
   same quote and may be followed by blanks and a comment only. Inside double quotes
   `\\a \\b \\f \\n \\r \\t \\v \\" \\' \\\\` stand for themselves as in C, inside single quotes `\\\\` and
   `\\'`; every other backslash stays. Nothing is expanded.
4. `export ` before a name of letters, digits, `_ . -` is dropped.

Not for what the names and texts mean: that is `document.py`, and `environment.py` where the names are
those of an environment.

Source: airflow/secrets/local_filesystem.py of 3.3.2; python-dotenv 1.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Line",
    "check_lines",
    "check_names",
    "check_twice",
    "format_value",
    "listed",
    "parse_dotenv",
    "read_lines",
    "shown",
]

# Where `str.splitlines` cuts.
_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_COMMENT = re.compile(r"\s*#.*")
_EXPORT = re.compile(r"export[ \t]+([A-Za-z0-9_.-]+)")
_QUOTED = {
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL),
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL),
}
_LOOKS_QUOTED = re.compile(r"[ \t]*['\"]")
_AFTER_QUOTED = re.compile(r"[ \t]*(?:#.*)?")
_STRUCTURE = re.compile(r"[{}\[\]\"]|: ")
_ESCAPES = {'"': re.compile(r"\\([\\'\"abfnrtv])"), "'": re.compile(r"\\([\\'])")}
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_TO_ESCAPE = {character: f"\\{letter}" for letter, character in _ESCAPED.items()} | {
    "\\": "\\\\",
    '"': '\\"',
}
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    A line with something on it, or the lines of one quoted value.

    Args:
        name: before the first `=`, without `export `.
        value: after it, without quotes; "" where there is none.
        number: of the line, from 1.
        offset: of the line, in characters.
        fault: what makes it no pair: "no '='", "no name" or "no value"; "" for a pair.
        is_quoted: the value stood in quotes.
    """

    name: str = field(repr=False)
    value: str = field(repr=False)
    number: int
    offset: int
    fault: str = ""
    is_quoted: bool = False


# --- reading -----------------------------------------------------------------------------------


def parse_dotenv(text: str, *, quotes: bool = True) -> dict[str, str]:
    """
    Give the values of *text* by name.

    Args:
        text: of the whole file.
        quotes: False leaves out rules 3 and 4, exactly as Airflow does.

    Raises:
        InvalidInputError: F4 (lines that are no pairs), F5 (as `read_lines`), F6 (a name twice).
    """
    lines = list(read_lines(text, quotes=quotes))
    check_lines(text, [line for line in lines if line.fault])
    found = {line.name: line.value for line in lines}
    if len(found) < len(lines):
        check_twice([line.name for line in lines])
    return found


def check_twice(names: Sequence[str]) -> None:
    """
    Check that no name stands twice.

    Raises:
        InvalidInputError: F6, naming those that do.
    """
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    if twice:
        told = listed(shown(name) for name in twice)
        raise InvalidInputError(f"the file holds more than once: {told}", rule="F6")


def check_lines(text: str, faulty: Sequence[Line]) -> None:
    """
    Check that there are no *faulty* lines of *text*, and tell all of them in one error.

    Raises:
        InvalidInputError: F4, there are.
    """
    if not faulty:
        return
    faults: dict[str, list[int]] = {}
    for line in faulty:
        faults.setdefault(line.fault, []).append(line.number)
    told = "; ".join(f"{fault} in line {listed(map(str, numbers))}" for fault, numbers in faults.items())
    looks_like_json = text.lstrip()[:1] == "{"
    raise InvalidInputError(
        f"the file is not a .env file of NAME=value lines: {told}",
        offset=faulty[0].offset,
        rule="F4",
        hint="it looks like JSON: name it .json" if looks_like_json else None,
    )


def read_lines(text: str, *, quotes: bool = True) -> Iterator[Line]:
    """
    Give the lines of *text* by the rules above, those that are no pairs with their fault.

    Raises:
        InvalidInputError: F5, a quoted value has no end, or text follows it.
    """
    return iter(_Reader(text, quotes=quotes))


class _Reader:
    """Walk through the lines of a text."""

    def __init__(self, text: str, *, quotes: bool) -> None:
        self._text = text
        self._quotes = quotes
        self._at = 0
        self._number = 0

    def __iter__(self) -> Iterator[Line]:
        while self._at < len(self._text):
            start = self._at
            line = self._take_line()
            if not line or _COMMENT.match(line):
                continue
            name, equals, value = line.partition("=")
            number = self._number
            if self._quotes and value[:1] in _QUOTED and name:
                quoted = self._quoted(name, start + len(name) + 1)
                yield Line(name=_bare(name), value=quoted, number=number, offset=start, is_quoted=True)
                continue
            fault = "no '='" if not equals else "no name" if not name else "no value" if not value else ""
            bare = _bare(name) if self._quotes else name
            yield Line(name=bare, value=value, number=number, offset=start, fault=fault)

    def _take_line(self) -> str:
        self._number += 1
        end = _LINE_END.search(self._text, self._at)
        line = self._text[self._at : end.start() if end else None]
        self._at = end.end() if end else len(self._text)
        return line

    def _quoted(self, name: str, start: int) -> str:
        quote = self._text[start]
        match = _QUOTED[quote].match(self._text, start)
        if match is None:
            raise InvalidInputError(
                f"the quoted value of {shown(_bare(name))} that begins in line {self._number} has no end",
                offset=start,
                rule="F5",
            )
        self._number += len(_LINE_END.findall(match[0])) - 1
        self._at = match.end()
        if not _AFTER_QUOTED.fullmatch(self._take_line()):
            raise InvalidInputError(
                f"text follows the quoted value of {shown(_bare(name))} in line {self._number}",
                offset=match.end(),
                rule="F5",
                hint="only a comment may follow; put a backslash before a quote inside the value",
            )
        inner = re.sub("\r\n?", "\n", match[1])
        return _ESCAPES[quote].sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), inner)


def _bare(name: str) -> str:
    exported = _EXPORT.fullmatch(name)
    return exported[1] if exported else name


# --- writing -----------------------------------------------------------------------------------


def check_names(names: Iterable[str]) -> None:
    """
    Check that a line can begin with each of *names*.

    Raises:
        InvalidInputError: F13, naming those that cannot.
    """
    odd = [shown(name) for name in names if not _is_name(name)]
    if odd:
        raise InvalidInputError(
            f"a .env file cannot hold the names {listed(odd)}", rule="F13", hint="export as json or yaml"
        )


def _is_name(name: str) -> bool:
    return not (
        not name or "=" in name or _LINE_END.search(name) or _COMMENT.match(name) or _EXPORT.fullmatch(name)
    )


def format_value(text: str) -> str:
    """Give *text* as it stands after the `=`: in double quotes only where it must be."""
    if text and not _LOOKS_QUOTED.match(text) and not _LINE_END.search(text):
        return text
    return '"' + "".join(_TO_ESCAPE.get(character, character) for character in text) + '"'


# --- in messages -------------------------------------------------------------------------------


def shown(name: str) -> str:
    """Give *name* in quotes, or other words where it is not legal."""
    # It may then be a piece of a value that went astray: a torn key, a stray line.
    try:
        Ref("variable", name)
    except InvalidInputError:
        return "an entry whose name is not legal"
    # Legal, but more likely JSON or YAML in a file called .env, up to the first `=` of a secret.
    if _STRUCTURE.search(name):
        return "an entry whose name looks like JSON or YAML"
    return f'"{name}"'


def listed(items: Iterable[str]) -> str:
    """Give the first five of *items* and how many more there are."""
    every = list(items)
    more = len(every) - _MAX_SHOWN
    return ", ".join(every[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
