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
# The closing quote is optional so that an unterminated string is consumed once, not from every quote in it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(r'"(?:[^"\\]+|\\.)*"?|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


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
        InvalidInputError: with `rule` R13 to R16; `offset` in characters from the start of *text*.
    """
    _check_depth(text, what, max_depth)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        rule, offset = "R13", error.pos
    except _Fault as fault:
        rule, offset = str(fault), -1
    if offset < 0:
        # Not being JSON comes before what a hook met on the way: "NaNette" is a text, not a number.
        rule, offset = _not_json(text) or (rule, _where(text, rule))
    raise InvalidInputError(f"{what} {_REASONS[rule]}", offset=offset, rule=rule, hint=_HINTS[rule])


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
    if text.count("[") + text.count("{") <= max_depth:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in ("[", "{"):
            depth += 1
            if depth > max_depth:
                raise InvalidInputError(
                    f"{what} is nested more than {max_depth} levels deep",
                    offset=token.start(),
                    limit=max_depth,
                    rule="R14",
                )
        elif mark in ("]", "}"):
            depth -= 1


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


def _where(text: str, rule: str) -> int:
    """Find the first token that breaks *rule* in a text known to be JSON; only a refusal pays for it."""
    keys: list[set[str]] = []
    last = ""
    last_at = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark == "{":
            keys.append(set())
        elif mark == "}":
            keys.pop()
        elif mark == ":" and rule == "R15":
            key = json.loads(last)
            if key in keys[-1]:
                return last_at
            keys[-1].add(key)
        elif rule == "R16" and _is_out_of_range(mark):
            return token.start()
        last, last_at = mark, token.start()
    return 0


def _is_out_of_range(token: str) -> bool:
    if token in ("NaN", "Infinity", "-Infinity"):
        return True
    if token[0] not in "-0123456789":
        return False
    is_whole = token.lstrip("-").isdigit()
    return len(token) > _MAX_DIGITS if is_whole else isinf(float(token))
