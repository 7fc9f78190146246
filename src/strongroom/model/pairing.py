"""
How a program and the browser of its user know that one login is both of theirs.

The program draws a verifier and tells only its challenge (RFC 7636 §4.2, S256). Both show the mark of the
challenge, so that a person who compares them lets in the program he began, and no other.
"""

from __future__ import annotations

from base64 import b32encode, urlsafe_b64encode
from hashlib import sha256

__all__ = ["challenge_of", "mark_of"]

_MARK_CHARACTERS = 8  # 40 bits: nobody finds another challenge of the same mark while a person looks on


def challenge_of(verifier: str) -> str:
    """Give what stands for *verifier* where it must not be told: 43 characters; "" for none."""
    if not verifier:
        return ""
    digest = sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def mark_of(challenge: str) -> str:
    """Give what a person compares, as `ABCD-EFGH`."""
    text = b32encode(sha256(b"mark\0" + challenge.encode()).digest()).decode()[:_MARK_CHARACTERS]
    return f"{text[:4]}-{text[4:]}"
