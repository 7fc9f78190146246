"""
Scalars of YAML 1.1: what an unquoted word means, and how a value is written on one line.

"1.1" has dialects and the one to equal is PyYAML's (`1e3` and `y` are text, `no`, `0123` and
`12:30:45` are not). Not for lines, indents and quotes: `yaml11.py` and `yamlblock.py` read those.

Source: YAML 1.1 type repository (yaml.org/type); PyYAML 6.0.3 `resolver.py`, `constructor.py`;
vectors in tests/vectors/yaml11.json.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READERS", "STARTS_TYPED", "format_scalar", "implicit", "read_plain"]

_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_TRUE = frozenset({"yes", "true", "on"})
_NULL = re.compile(r"~|null|Null|NULL|")
_INT = re.compile(
    r"[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
    r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+"
)
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?"
)
STARTS_TYPED = frozenset("yYnNtTfFoO-+0123456789.~<=")
"""The first letters of every unquoted text that may be something else than text."""
# What a double-quoted scalar must escape beyond JSON's own escapes: YAML 1.1 §5.1 and line breaks.
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z0-9_]+)*", re.ASCII)
_NOT_A_WORD = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null"})
_UNPRINTABLE = re.compile('[\x00-\x1f"\\\\\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]')


def format_scalar(value: object) -> str:
    """
    Write text, a whole number or None as one YAML scalar on one line, the same in YAML 1.1 and 1.2.

    Text stands without quotes only where it is a plain word that no YAML takes for anything else.
    """
    if value is None or isinstance(value, int):
        return "null" if value is None else str(value)
    text = str(value)
    if _WORD.fullmatch(text) and text.lower() not in _NOT_A_WORD:
        return text
    return '"' + _UNPRINTABLE.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    return short or f"\\u{ord(character):04X}"


def read_plain(text: str) -> object:
    """
    Give what an unquoted *text*, not empty, stands for.

    Raises:
        ValueError, OverflowError: a number or date cannot be read.
    """
    return text if text[0] not in STARTS_TYPED else READERS[implicit(text)](text)


def implicit(text: str) -> str:
    """Give the type, without its `tag:yaml.org,2002:`, of an unquoted *text*."""
    # PyYAML tries them in this order: `1:30.5` is a float before it could be an int.
    for tag, pattern in (
        ("bool", _BOOL),
        ("float", _FLOAT),
        ("int", _INT),
        ("null", _NULL),
        ("timestamp", _TIMESTAMP),
    ):
        if pattern.fullmatch(text):
            return tag
    return "str"


def _read_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE and not _BOOL.fullmatch(lowered):
        raise ValueError
    return lowered in _TRUE


def _read_int(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits[1:] if digits[:1] in ("-", "+") else digits
    if digits == "0":
        return 0
    if digits.startswith(("0b", "0x")):
        return sign * int(digits[2:], 2 if digits[1] == "b" else 16)
    if digits.startswith("0"):
        return sign * int(digits, 8)
    total = 0
    for part in digits.split(":"):  # base 60: 1:30 is 90
        total = total * 60 + int(part)
    return sign * total


def _read_float(text: str) -> float:
    digits = text.replace("_", "").lower()
    sign = -1.0 if digits.startswith("-") else 1.0
    digits = digits[1:] if digits[:1] in ("-", "+") else digits
    if digits == ".inf":
        return sign * float("inf")
    if digits == ".nan":
        return float("nan")
    total, base = 0.0, 1
    for part in reversed(digits.split(":")):
        total += float(part) * base
        base *= 60
    return sign * total


def _read_date(text: str) -> date:
    # The time of day is dropped: no caller can store a date, they only refuse it by its type.
    year, month, day = (int(part) for part in re.split(r"[Tt \t]", text)[0].split("-"))
    return date(year, month, day)


READERS: dict[str, Callable[[str], object]] = {
    "bool": _read_bool,
    "float": _read_float,
    "int": _read_int,
    "null": lambda _text: None,
    "str": lambda text: text,
    "timestamp": _read_date,
}
"""Text to value, by the types of `implicit`; they raise ValueError or OverflowError."""
