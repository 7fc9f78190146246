"""
Where a list goes on: an opaque text that only this deployment can make, good for one question by one actor.

Rules of this file:

1. A cursor holds the place after the last row its actor was shown, never one he was not: paging by key,
   so that a page costs the same wherever it stands and nothing is shown twice or missed.
2. It is authenticated together with who asked, where and what. Any other is refused, and why is not told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["Cursors"]

_MAC_BYTES = 16
_MAX_CHARACTERS = 4096
_PER_PAGE = frozenset({"cursor", "limit"})  # may differ from page to page of one list


class Cursors:
    """
    Make and read the cursors of one process.

    Args:
        key: 32 random bytes; a new one ends every cursor given out under the old.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, call: Call, what: str, position: list[str | int]) -> str:
        """Give the cursor for the page of *call*'s list of *what* that comes after *position*."""
        held = msgspec.json.encode(position)
        return _encoded(self._mac(call, what, held) + held)

    def read(self, call: Call, what: str, text: str | None) -> list[str | int] | None:
        """
        Give the position in the list of *what* that *text* holds; None where the list begins.

        Raises:
            InvalidInputError: it was not given out for this question to this actor.
        """
        if text is None:
            return None
        raw = _decoded(text)
        mac, held = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(call, what, held)):
            raise _refusal()
        return msgspec.json.decode(held, type=list[str | int])

    def _mac(self, call: Call, what: str, held: bytes) -> bytes:
        asked = sorted((name, values) for name, values in call.query.items() if name not in _PER_PAGE)
        question = [call.deployment, call.identity.actor.id, what, sorted(call.params.items()), asked]
        # Two JSON texts in one list: no byte of one can be taken for the other.
        message = msgspec.json.encode([question, held])
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    raw = b""
    if len(text) <= _MAX_CHARACTERS and text.isascii():
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    if len(raw) <= _MAC_BYTES or _encoded(raw) != text:  # one place has one spelling
        raise _refusal()
    return raw


def _refusal() -> InvalidInputError:
    return InvalidInputError(
        "the cursor was not given out for this list", hint="ask for the first page again, without cursor"
    )


CURSORS = Cursors(os.urandom(32))
