"""
Texts that prove who has them: tokens, sessions, login codes, enrolment codes.

Shape: `srm_` ‖ kind (`t` token, `s` session, `l` login code, `e` enrolment code) ‖ `_` ‖ 43 characters of
base64url (32 random bytes) ‖ 6 of base62 (CRC-32 of everything before, so that scanners tell a real one
from a look-alike).
What is kept of them is a SHA-256; nothing is compared but digests.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from secrets import token_bytes
from zlib import crc32

from strongroom.model.secret import Secret

__all__ = ["CODE", "ENROLMENT", "SESSION", "TOKEN", "digest_of", "draw", "id_of", "is_wellformed"]

TOKEN, SESSION, CODE, ENROLMENT = "t", "s", "l", "e"

_SHAPE = re.compile(r"srm_[tsle]_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}", re.ASCII)
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_CHARACTERS = 6
_ID_BYTES = 8


def draw(kind: str) -> Secret[str]:
    """Draw a new one of *kind*."""
    start = f"srm_{kind}_{urlsafe_b64encode(token_bytes(32)).decode().rstrip('=')}"
    return Secret(start + _check(start))


def is_wellformed(text: str) -> bool:
    """Tell whether *text* is one, whether it was ever issued or not."""
    return bool(_SHAPE.fullmatch(text)) and _check(text[:-_CHECK_CHARACTERS]) == text[-_CHECK_CHARACTERS:]


def digest_of(text: str) -> bytes:
    """Give what is kept of it: 32 bytes."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def id_of(digest: bytes) -> str:
    """Give the public id of what has this digest: 16 hexadecimal digits."""
    return digest[:_ID_BYTES].hex()


def _check(text: str) -> str:
    number, letters = crc32(text.encode()), ""
    for _ in range(_CHECK_CHARACTERS):
        number, digit = divmod(number, len(_BASE62))
        letters = _BASE62[digit] + letters
    return letters
