"""
Names as Kubernetes can spell them: of objects, of keys in a Secret, of labels.

Rules of this file:

1. `spelled` and `read_name` undo one another, as do `spelled_key` and `read_key`: two names never share a
   spelling, and what nobody could have spelled is nobody's name.
2. What reads well is kept: of an object's name `a-z 0-9`, and between two of those `-`, `.`, `_` as `--`,
   `/` as `---`. Anything else is `0x` and two digits for each byte of UTF-8 (`Ab` is `0x41b`).
3. A label's value is never changed: other programs ask for it as it stands.

Source: RFC 1123 §2.1; kubernetes.io/docs/concepts/overview/working-with-objects/names and /labels;
`IsConfigMapKey` of k8s.io/apimachinery.
"""

from __future__ import annotations

import re

__all__ = [
    "is_label_key",
    "is_label_value",
    "read_key",
    "read_name",
    "spelled",
    "spelled_key",
]

_MOST = 253  # characters of an object's name, and of a key
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_BETWEEN = {"-": "-", ".": ".", "_": "--", "/": "---"}
_READ = {"-": "-", "--": "_", "---": "/", ".": "."}
_ESCAPES = re.compile(r"(?:0x[0-9a-f]{2})+|-+|\.|[^-.0]+|0")
_KEY_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_KEY_ESCAPES = re.compile(r"(?:0x[0-9a-f]{2})+|[^0]+|0")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_KEY = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


def spelled(name: str) -> str | None:
    """Give the name of an object for *name*; None where it would have more than 253 characters, or none."""
    found = "".join(_spelled_one(name, at) for at in range(len(name))) if _is_text(name) else ""
    return found if 0 < len(found) <= _MOST else None


def _spelled_one(name: str, at: int) -> str:
    one = name[at]
    if one in _PLAIN:
        return _escaped(one) if name.startswith("0x", at) else one
    is_between = 0 < at < len(name) - 1 and name[at - 1] not in _BETWEEN and name[at + 1] not in _BETWEEN
    return _BETWEEN[one] if one in _BETWEEN and is_between else _escaped(one)


def read_name(spelling: str) -> str | None:
    """Give what *spelling* stands for; None where `spelled` never gives it."""
    parts = _ESCAPES.findall(spelling)
    found = _decoded([_READ.get(part, part) for part in parts])
    return found if found is not None and spelled(found) == spelling else None


def spelled_key(name: str) -> str | None:
    """
    Give the key in a Secret for *name*: itself if it can be one, else with the escapes of rule 2.

    None where it would have more than 253 characters, or none.
    """
    if not _is_text(name):
        return None
    found = "".join(
        one if one in _KEY_PLAIN and not name.startswith("0x", at) and (at or one != ".") else _escaped(one)
        for at, one in enumerate(name)
    )
    return found if 0 < len(found) <= _MOST else None


def read_key(key: str) -> str | None:
    """Give what *key* stands for; None where `spelled_key` never gives it."""
    found = _decoded(_KEY_ESCAPES.findall(key))
    return found if found is not None and spelled_key(found) == key else None


def _escaped(one: str) -> str:
    return "".join(f"0x{byte:02x}" for byte in one.encode())


def _decoded(parts: list[str]) -> str | None:
    try:
        return "".join(
            bytes.fromhex(part.replace("0x", "")).decode() if part.startswith("0x") else part
            for part in parts
        )
    except ValueError:  # digits that are no UTF-8
        return None


def _is_text(name: str) -> bool:
    # Half a surrogate pair has no bytes.
    return not any("\ud800" <= one <= "\udfff" for one in name)


def is_label_value(text: str) -> bool:
    """Tell whether *text* can be the value of a label, and is not empty."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """Tell whether *text* can be the name of a label."""
    return len(text) <= _MOST + 64 and _LABEL_KEY.fullmatch(text) is not None
