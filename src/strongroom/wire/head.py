"""
What stands before a body: the address that is asked for, and the headers that every answer has.

Rules of this file:

1. A path is decoded once, and one that is no UTF-8 is refused, not mended.
2. An id names one request in its answer and in the log; it is never the client's own word.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from urllib.parse import parse_qsl, unquote_to_bytes

from strongroom.errors import InvalidInputError

__all__ = ["HEADERS", "decoded_path", "new_id", "parsed_query"]

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_MAX_PARAMETERS = 200
_PREFIX = os.urandom(6).hex()
_numbers = itertools.count()


def new_id() -> str:
    """Give an id no other request of this machine has: random for the process, then counted."""
    return f"{_PREFIX}{next(_numbers) & 0xFFFFFFFF:08x}"


def decoded_path(raw: bytes) -> str:
    """
    Give the path that *raw*, percent-encoded, spells.

    Raises:
        InvalidInputError: it is not UTF-8, or holds a NUL or a line feed.
    """
    text = None
    with suppress(UnicodeDecodeError):
        text = unquote_to_bytes(raw).decode()
    if text is None or "\0" in text:
        raise InvalidInputError("the path is not UTF-8")
    # A pattern's `$` matches before a line feed at the end too: `x%0a` would be taken for `x`.
    if "\n" in text:
        raise InvalidInputError("the path holds a line feed")
    return text


def parsed_query(raw: bytes) -> dict[str, list[str]]:
    """
    Give every value of every name in *raw*, in order.

    Raises:
        InvalidInputError: it is not UTF-8, or has too many parameters.
    """
    if not raw:
        return {}
    pairs = None
    with suppress(ValueError):  # too many of them, or no UTF-8
        text = raw.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    if pairs is None:
        raise InvalidInputError("the query is not UTF-8, or has too many parameters")
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query
