"""
The plain YAML that kubectl writes, read line by line: many times as fast as a scanner, or not at all.

`read_block` gives exactly what `parse_yaml` gives, or None, and then that one reads the text: errors and all
that is odd are its business alone. The grammar, a part of YAML 1.1:

1. Objects and lists in block style, indented by spaces; a list may stand as deep as the name above it.
2. A name is a word. A value is a word, text in quotes on one line without escapes, `{}` or `[]`.
3. Lines that are empty or a comment, and one `---` before, are skipped. No tabs, tags, anchors, block texts.

Source: kubectl's `clientcmd.WriteToFile`; YAML 1.1 §9.2, §10.2.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from strongroom.model.yamlscalar import read_plain

__all__ = ["read_block"]

_OTHER = re.compile("[^\n -~]")
_WORD = r"(?:--)?[A-Za-z0-9_/.](?:[A-Za-z0-9_/.+=@%,()-]|:(?=[A-Za-z0-9_/.+=@%,()-]))*"
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_./-]{0,99}):(?: +(.+))?")
_VALUE = re.compile(rf"(?P<word>{_WORD})|\"(?P<double>[^\"\\]*)\"|'(?P<single>[^']*)'|(?P<empty>\{{\}}|\[\])")
_MAX_DEPTH = 32


class _OddError(Exception):
    """The text is not of the grammar."""


class _Line(NamedTuple):
    indent: int
    text: str

    @property
    def is_item(self) -> bool:
        return self.text.startswith("- ")


def read_block(text: str) -> dict[str, Any] | None:
    """Give the object of *text*, or None where it is not of the grammar above."""
    if _OTHER.search(text):
        return None
    lines = [
        _Line(len(raw) - len(bare), bare.rstrip())
        for raw in text.removeprefix("---\n").split("\n")
        if (bare := raw.lstrip(" ")) and bare[0] != "#"
    ]
    try:
        found = _Block(lines).document()
    except (_OddError, ValueError, OverflowError):  # the last two: a number or date that cannot be read
        return None
    return found or None


class _Block:
    """Walk through the lines, each once."""

    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines[::-1]  # the next one last

    def document(self) -> dict[str, Any]:
        found = self.mapping(0, 0)
        if self._lines:
            raise _OddError
        return found

    def mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._lines and self._lines[-1].indent == indent and not self._lines[-1].is_item:
            pair = _NAME.fullmatch(self._lines.pop().text)
            if pair is None or pair[1] in found or not isinstance(read_plain(pair[1]), str):
                raise _OddError
            found[pair[1]] = self._below(indent, depth) if pair[2] is None else _scalar(pair[2])
            self._check_end(indent)
        return found

    def _check_end(self, indent: int) -> None:
        # A deeper line would go on with the value, which this reader does not know.
        if self._lines and self._lines[-1].indent > indent:
            raise _OddError

    def _below(self, indent: int, depth: int) -> Any:  # noqa: ANN401 -- any value of YAML
        line = self._lines[-1] if self._lines else _Line(-1, "")
        if line.indent < indent or depth > _MAX_DEPTH or (line.indent == indent and not line.is_item):
            if depth > _MAX_DEPTH:
                raise _OddError
            return None
        return (self._sequence if line.is_item else self.mapping)(line.indent, depth + 1)

    def _sequence(self, indent: int, depth: int) -> list[Any]:
        found: list[Any] = []
        while self._lines and self._lines[-1].indent == indent and self._lines[-1].is_item:
            text = self._lines.pop().text
            bare = text[2:].lstrip(" ")
            deeper = indent + len(text) - len(bare)
            if _NAME.fullmatch(bare):
                self._lines.append(_Line(deeper, bare))
                found.append(self.mapping(deeper, depth + 1))
            else:
                found.append(_scalar(bare))
            self._check_end(indent)
        return found


def _scalar(text: str) -> Any:  # noqa: ANN401 -- any scalar of YAML
    match = _VALUE.fullmatch(text)
    if match is None:
        raise _OddError
    if match["word"] is not None:
        return read_plain(match["word"])
    if match["empty"]:
        return {} if match["empty"] == "{}" else []
    return match["double"] if match["double"] is not None else match["single"]
