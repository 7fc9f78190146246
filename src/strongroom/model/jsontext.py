"""
JSON text into plain values, in bounded time and without guessing.

Everything Python's `json` reads is read to the same value, or refused with a number of
docs/compatibility.md:

- R13: the text is not JSON;
- R14: it is nested deeper than the bound (checked before parsing, without recursion);
- R15: an object holds a key twice (Airflow keeps the last);
- R16: a number is not finite, or has more digits than Python converts.

No message holds any of the text, and no error keeps a foreign one (`JSONDecodeError.doc` is the text)
as its context: refusals are raised outside `except`.
"""

from __future__ import annotations

import json
import re
from math import isinf

from strongroom.errors import InvalidInputError

__all__ = ["MAX_DEPTH", "decode", "is_unicode"]

MAX_DEPTH = 64  # levels of [ and {: docs/design.md, Limits
_MAX_DIGITS = 4300  # Python's own bound on str → int, which 3.10 does not have in every release
# Locating a refusal costs Python a step a token, so it is done in texts of this many characters only.
_MAX_LOCATED = 65_536
_SURROGATE = re.compile("[\ud800-\udfff]")
# The closing quote is optional so that an unterminated string is consumed once, not from every quote in it.
_STRING = re.compile(r'"(?:[^"\\]+|\\.)*"?', re.DOTALL)
_TOKEN = re.compile(rf'{_STRING.pattern}|[\[\]{{}},:]|[^\s\[\]{{}},:"]+', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_ONE_KIND = str.maketrans("{}", "[]")


class _Fault(Exception):  # noqa: N818 -- a jump out of the C scanner, never seen outside this file
    """What a decoder hook found: the number of the refusal."""


def decode(text: str, *, what: str = "the text", max_depth: int = MAX_DEPTH) -> object:
    """
    Give the value of the JSON *text*.

    Args:
        text: JSON; its size is the caller's to bound.
        what: names the text in messages; never the text itself.
        max_depth: most levels of arrays and objects.

    Raises:
        InvalidInputError: with `rule` R13 to R16; `offset` in characters from the start of *text*, None
            where finding it would take long.
    """
    _check_depth(text, what, max_depth)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        rule, offset = "R13", error.pos
    except _Fault as fault:
        # Not being JSON comes before what a hook met on the way: "NaNette" is a text, not a number.
        rule, offset = _not_json(text) or (str(fault), -1)
    raise InvalidInputError(
        f"{what} {_REASONS[rule]}",
        offset=_located(text, rule) if offset < 0 else offset,
        rule=rule,
        hint=_HINTS[rule],
    )


def is_unicode(text: str) -> bool:
    """Tell whether *text* can be written as UTF-8; half a surrogate pair cannot."""
    return _SURROGATE.search(text) is None


_REASONS = {
    "R13": "is not valid JSON",
    "R15": "holds a key twice in one JSON object",
    "R16": "holds a number that is not finite or has more than 4300 digits",
}
_HINTS = {
    "R13": "check quotes, commas and braces near the offset",
    "R15": "keep one of the two; Airflow would silently take the last",
    "R16": "put the number in quotes",
}


def _check_depth(text: str, what: str, max_depth: int) -> None:
    if text.count("[") + text.count("{") <= max_depth or not _is_deeper(text, max_depth):
        return
    raise InvalidInputError(
        f"{what} is nested more than {max_depth} levels deep",
        offset=_located(text, "R14", max_depth),
        limit=max_depth,
        rule="R14",
    )


def _is_deeper(text: str, max_depth: int) -> bool:
    """Take off one level of brackets a round, in C; what is left after *max_depth* rounds is deeper."""
    marks = _NO_BRACKET.sub("", _STRING.sub("", text)).translate(_ONE_KIND)
    for _ in range(max_depth):
        rest = marks.replace("[]", "")
        if len(rest) == len(marks):
            # Only brackets without a partner are left, so it is not JSON. The parser finds out at most
            # twice as deep: as many levels as there were rounds, below as many as are left open.
            return marks.count("[") > max_depth
        marks = rest
    return "[" in marks


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _Fault("R16")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise _Fault("R16")
    return number


def _constant(_name: str) -> float:
    raise _Fault("R16")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Fault("R15")
    return fields


_DECODER = json.JSONDecoder(
    parse_int=_whole, parse_float=_fraction, parse_constant=_constant, object_pairs_hook=_object
)
_LENIENT = json.JSONDecoder(parse_int=len)  # never converts digits, so it only tells JSON from not JSON


def _not_json(text: str) -> tuple[str, int] | None:
    try:
        _LENIENT.decode(text)
    except json.JSONDecodeError as error:
        return "R13", error.pos
    return None


def _located(text: str, rule: str, max_depth: int = MAX_DEPTH) -> int | None:
    """Find the first token that breaks *rule*; only a refusal pays for it."""
    if len(text) > _MAX_LOCATED:
        return None
    keys: list[set[str]] = []
    last, last_at, depth = "", 0, 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        depth += (mark in "[{") - (mark in "]}")
        if (rule == "R14" and depth > max_depth) or (rule == "R16" and _is_out_of_range(mark)):
            return token.start()
        if rule == "R15" and _is_repeated(mark, last, keys):
            return last_at
        last, last_at = mark, token.start()
    return None


def _is_repeated(mark: str, last: str, keys: list[set[str]]) -> bool:
    """Tell whether *mark* is the colon behind a key that its object holds already."""
    if mark == "{":
        keys.append(set())
    elif mark == "}":
        keys.pop()
    elif mark == ":":
        key = json.loads(last)
        if key in keys[-1]:
            return True
        keys[-1].add(key)
    return False


def _is_out_of_range(token: str) -> bool:
    if token in ("NaN", "Infinity", "-Infinity"):
        return True
    if token[0] not in "-0123456789":
        return False
    is_whole = token.lstrip("-").isdigit()
    return len(token) > _MAX_DIGITS if is_whole else isinf(float(token))
