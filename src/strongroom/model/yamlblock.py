r"""
The plain YAML that exports are made of, read without a scanner: many times as fast, or not at all.

`read_block` gives exactly what the reader in `yaml11.py` gives, or None, and then that one reads the
text: errors, their lines and every odd construct are its business alone. The grammar, a part of YAML 1.1:

1. Entries of one or two levels, the inner one indented by two spaces: `NAME: VALUE`, or `NAME:` and
   lines of `  FIELD: VALUE`. Empty lines and lines of comment between them, and one `---` before, are
   skipped. No lists, flow objects, anchors, tags, block texts or tabs.
2. A name is text of at most 200 characters on one line, and stands once.
3. A value is quoted, or begins with a letter, digit, one of `_/.~+$(;^`, `-` and a digit, or `:` and
   no space; it may be folded over several indented lines.

Source: YAML 1.1 §9.1 (quoted and plain flow scalars, folding), §5.6 (escapes).
"""

from __future__ import annotations

import re

from strongroom.model.yamlscalar import implicit, read_plain

__all__ = ["read_block"]

# Anything but line feeds and what YAML 1.1 prints; tabs and other line breaks have rules of their own.
_OTHER = re.compile("[^\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

# Each part of a repetition begins with a character that no other part begins with: linear time.
_PLAIN_REST = r"[!-9;-~]*(?:(?::(?=[!-~])| +(?=[!-\"$-9;-~]))[!-9;-~]*)*"
_PLAIN = rf"(?:[A-Za-z0-9_/.~+$(;^]|-(?=[0-9])|:(?=[!-~])){_PLAIN_REST}"
_FOLDED = r"\n+ +(?![ \n])"
_SINGLE = rf"'[^'\n]*(?:(?:''|{_FOLDED})[^'\n]*)*'"
_ESCAPE = r'\\(?:["\\/0abtnvfre N_LP]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\n +(?![ \n]))'
_DOUBLE = rf'"[^"\\\n]*(?:(?:{_ESCAPE}|{_FOLDED})[^"\\\n]*)*"'
_PLAIN_NAME = r"[A-Za-z0-9_/](?:[!-9;-~]|:(?=[!-~])| (?=[!-\"$-9;-~])){0,199}"
_QUOTED_NAME = r"'[^'\n]{0,200}'|\"[^\"\\\n]{0,200}\""
_SKIPPED = r"(?: *(?:#[^\n]*)?\n)*"


def _line(indent: int) -> re.Pattern[str]:
    plain = rf"{_PLAIN}(?:\n+ {{{indent + 1},}}{_PLAIN})*"  # folded lines stand deeper than the name
    name = rf"{' ' * indent}(?:(?P<name>{_PLAIN_NAME})|(?P<quoted_name>{_QUOTED_NAME}))"
    value = rf"(?P<plain>{plain})|(?P<single>{_SINGLE})|(?P<double>{_DOUBLE})"
    return re.compile(rf"{name}:(?: (?:{value}))?(?:\n{_SKIPPED}|\Z)")


_START = re.compile(rf"{_SKIPPED}(?:---\n{_SKIPPED})?")
_OUTER, _INNER = _line(0), _line(2)
_FOLD = re.compile(r" +(?:(\n+) *)?|(\n+) *")
_DOUBLE_PART = re.compile(
    r"\\(?:\n *|x(?P<x>..)|u(?P<u>....)|U(?P<U>.{8})|(?P<letter>.))| +(?:(?P<after>\n+) *)?|(?P<breaks>\n+) *"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}


def read_block(text: str) -> dict[object, object] | None:
    """Give the entries of *text*, or None where it is not of the grammar above."""
    if _OTHER.search(text):
        return None
    try:
        return _entries(text) or None
    except (ValueError, OverflowError):  # a number, date or escape that cannot be read
        return None


def _entries(text: str) -> dict[object, object] | None:
    found: dict[object, object] = {}
    fields: dict[object, object] | None = None
    is_open = False  # the last outer name still waits for its first field
    start = _START.match(text)
    at = start.end() if start else 0
    while at < len(text):
        is_inner = text[at] == " "
        match = (_INNER if is_inner else _OUTER).match(text, at)
        into = fields if is_inner else found
        if match is None or into is None or (is_open and not is_inner):
            return None
        name = _name(match)
        has_value = match.lastgroup not in ("name", "quoted_name")
        if name is None or name in into or (is_inner and not has_value):
            return None
        if not is_inner:
            fields, is_open = (None, False) if has_value else ({}, True)
        else:
            is_open = False
        into[name] = _value(match) if has_value else fields
        at = match.end()
    return None if is_open else found


def _name(match: re.Match[str]) -> str | None:
    name = match["name"]
    if name is None:
        return match["quoted_name"][1:-1]
    return name if implicit(name) == "str" else None


def _value(match: re.Match[str]) -> object:
    text = match[match.lastgroup or ""]
    if match.lastgroup == "plain":
        return read_plain(_FOLD.sub(_fold, text) if "\n" in text else text)
    text = text[1:-1]
    if match.lastgroup == "single":
        text = _FOLD.sub(_fold, text) if "\n" in text else text
        return text.replace("''", "'")
    return _DOUBLE_PART.sub(_double_part, text) if "\\" in text or "\n" in text else text


def _fold(match: re.Match[str]) -> str:
    return _folded(match[1] or match[2], match[0])


def _folded(breaks: str | None, spaces: str) -> str:
    # One line break becomes a space, of several the first is dropped.
    return spaces if breaks is None else breaks[1:] or " "


def _double_part(match: re.Match[str]) -> str:
    if match[0][0] != "\\":
        return _folded(match["after"] or match["breaks"], match[0])
    if letter := match["letter"]:
        return _ESCAPED.get(letter, letter)
    digits = match["x"] or match["u"] or match["U"]
    if digits is None:
        return ""  # an escaped line break
    character = chr(int(digits, 16))
    if _SURROGATE.match(character):
        raise ValueError  # half a character
    return character
