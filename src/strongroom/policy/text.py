"""
What the text of a policy may look like before any parser sees it.

Cedar's parser recurses, and a text that nests deeply enough ends the whole process: so brackets and chains
are counted here first, by a reader that cannot recurse.

Rules of this file:

1. What is counted is what Cedar reads: strings and comments are passed over as its grammar has them. So
   nothing stands in a text that two readers could end differently, as a carriage return in a comment.
2. What is invisible is refused: a policy means what its reader sees.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_STATEMENTS", "MAX_TEXT", "check_text", "place_of", "statements"]

MAX_TEXT: Final = 65_536
"""Characters of one document at most."""

MAX_STATEMENTS: Final = 50
"""Policies in one document at most."""

_MAX_BRACKETS = 24  # deep; the parser takes about 10 KiB of stack for each
_MAX_CHAIN = 128  # `&&`, `||`, `+`, `-`, `*`, `!`, `if`, `when` of one policy: each nests what follows
_MAX_STEPS = 256  # `.` and `[` of one policy, as attributes of attributes nest too
_MAX_PATH = 8  # attributes of attributes in a row: asking `has` for a path of n is written out n² long
_CHAINING = frozenset({"if", "when", "unless"})
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_TOKEN = re.compile(
    r"""(?P<space>[ \t\n]+)
      | (?P<comment>//[^\n]*)
      | (?P<string>"(?:\\.|[^"\\])*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9]+)
      | (?P<chain>&&|\|\||[+*!-](?!=))
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<dot>\.)
      | (?P<end>;)
      | (?P<other>::|[=<>!]=|[=<>,:@?|&%/])""",
    re.VERBOSE,
)


class Place(NamedTuple):
    """Where something stands in a text, both from 1."""

    line: int
    column: int


def place_of(text: str, offset: int) -> Place:
    """Give line and column of a character."""
    line = text.count("\n", 0, offset) + 1
    return Place(line, offset - (text.rfind("\n", 0, offset) + 1) + 1)


def check_text(text: str) -> str:
    r"""
    Give *text* with line ends `\n`, if a parser may be given it.

    Raises:
        InvalidInputError: it is too long, nests too deeply, or holds what cannot be seen, at `offset`.
    """
    if not isinstance(text, str):
        raise InvalidInputError("a policy must be text")
    if len(text) > MAX_TEXT:
        raise InvalidInputError(f"a policy has at most {MAX_TEXT} characters", limit=MAX_TEXT)
    text = text.replace("\r\n", "\n")
    _check_characters(text)
    _Counter(text).run()
    return text


def _check_characters(text: str) -> None:
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return
    for offset, character in enumerate(text):
        if character not in "\n\t" and unicodedata.category(character) in _REFUSED:
            raise InvalidInputError(
                f"a policy must not hold the invisible or control character U+{ord(character):04X}",
                offset=offset,
            )


class _Counter:
    """Counts what would nest in a parser, from the first character to the last."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = self._chain = self._steps = self._path = self._statements = 0

    def run(self) -> None:
        offset = 0
        while offset < len(self._text):
            token = _TOKEN.match(self._text, offset)
            if token is None:
                raise InvalidInputError(
                    "a policy holds a character that Cedar has no use for, or text without an end",
                    offset=offset,
                    hint=_hint(self._text, offset),
                )
            self._count(str(token.lastgroup), token[0], offset)
            offset = token.end()

    def _count(self, group: str, token: str, offset: int) -> None:
        if group in ("space", "comment"):
            return
        if group == "chain" or token in _CHAINING:
            self._chain += 1
            self._check(self._chain, _MAX_CHAIN, "joins more than {} conditions", offset)
        if group == "open":
            self._depth += 1
            self._check(self._depth, _MAX_BRACKETS, "nests brackets more than {} deep", offset)
        if group == "dot" or (group == "open" and token.startswith("[")):
            self._steps += 1
            self._check(self._steps, _MAX_STEPS, "names more than {} attributes", offset)
        if group == "dot":
            self._path += 1
            self._check(self._path, _MAX_PATH, "names more than {} attributes in a row", offset)
        elif group != "word":
            self._path = 0
        if group == "close":
            self._depth -= 1
        if group == "end":
            self._chain = self._depth = self._steps = 0
            self._statements += 1
            self._check(self._statements, MAX_STATEMENTS, "has more than {} statements", offset)

    def _check(self, count: int, limit: int, what: str, offset: int) -> None:
        if count > limit:
            raise InvalidInputError(
                f"the policy {what.format(limit)}",
                offset=offset,
                limit=limit,
                hint='make it several policies, or compare with a set: ["a", "b"].contains(resource.name)',
            )


def _hint(text: str, offset: int) -> str:
    where = place_of(text, offset)
    return f"line {where.line}, column {where.column}"


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Give each statement of a checked text with the offset of its first token."""
    begin: int | None = None
    for token in _TOKEN.finditer(text):
        if begin is None and token.lastgroup not in ("space", "comment"):
            begin = token.start()
        if token.lastgroup == "end" and begin is not None:
            yield begin, text[begin : token.end()]
            begin = None
    if begin is not None:
        yield begin, text[begin:]
