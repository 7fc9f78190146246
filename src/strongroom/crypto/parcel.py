"""
Seal bytes of any length for oneself: what a process writes to disk to find it again after a restart.

Not for values of the store (`envelope.py`): a parcel has no row, version or history, and one key of its own.

Rules of this file:

1. A data key seals one parcel and is never seen again; it stands beside it, wrapped by an outer key.
2. What a parcel is (of whom, since when) is bound to it and not stored in it: its context.
3. The commitment is compared before anything is decrypted.

Source: docs/agent.md, "The last good copy"; docs/envelope.md for the steps themselves.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.crypto import _primitives
from strongroom.errors import InvalidInputError, TamperedError

if TYPE_CHECKING:
    from strongroom.crypto.wrapping import Wrapper

__all__ = ["MAX_PARCEL_BYTES", "Parcels"]

MAX_PARCEL_BYTES = 1_073_741_824  # 1 GiB: far more than a cache may hold, and less than GCM's own bound

_MAGIC = b"SRP"
_START = _MAGIC + b"\x01\x01"  # version, algorithm: AES-256-GCM, commitment by HMAC-SHA-512
_LENGTH = struct.Struct(">H")
_NONCE = _primitives.NONCE_BYTES
_COMMITMENT = 32
_LABEL = b"srm/v1/parcel\x00"
_WRAP_LABEL = b"srm/v1/parcel-key\x00"


class Parcels:
    """
    Seal and open parcels under the outer key that *wrapper* holds.

    Threads: safe.
    """

    __slots__ = ("_wrapper",)

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper

    def seal(self, plaintext: bytes, *, context: bytes) -> bytes:
        """
        Seal *plaintext* so that it opens only with the same outer key and *context*.

        Args:
            plaintext: at most 1 GiB.
            context: bound but not stored.

        Returns:
            `SRP` ‖ version (1) ‖ algorithm (1) ‖ length of the wrapped key (2) ‖ wrapped key ‖
            commitment (32) ‖ nonce (12) ‖ ciphertext ‖ tag (16).

        Raises:
            InvalidInputError: *plaintext* is too long.
            SealedError: the outer key is missing or damaged.
            BackendConfigError: the outer key is kept in a way that cannot be trusted.
        """
        if len(plaintext) > MAX_PARCEL_BYTES:
            raise InvalidInputError(f"a parcel has at most {MAX_PARCEL_BYTES} bytes", limit=MAX_PARCEL_BYTES)
        aad = _START + context
        dek, nonce = _primitives.new_key(), _primitives.draw(_NONCE)
        wrapped = self._wrapper.wrap(dek, context=_WRAP_LABEL + aad)
        okm = _primitives.expand(dek, _LABEL + aad)
        body = _primitives.gcm_seal(okm[:32], nonce, plaintext, aad)
        return b"".join((_START, _LENGTH.pack(len(wrapped)), wrapped, okm[32:], nonce, body))

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """
        Open what `seal` gave.

        Raises:
            TamperedError: the bytes or *context* are not what they were.
            SealedError: the outer key is missing, damaged or another one.
            BackendConfigError: the outer key is kept in a way that cannot be trusted.
            InvalidInputError: a newer release wrote it.
        """
        wrapped, commitment, nonce, body = _parts(sealed)
        aad = _START + context
        dek = self._wrapper.unwrap(wrapped, context=_WRAP_LABEL + aad)
        if len(dek) != _primitives.KEY_BYTES:
            raise TamperedError("the key of a parcel has the wrong length")
        okm = _primitives.expand(dek, _LABEL + aad)
        if not _primitives.same(okm[32:], commitment):
            raise TamperedError("a parcel does not match its key commitment")
        return _primitives.gcm_open(okm[:32], nonce, body, aad)


def _parts(sealed: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Give the wrapped key, the commitment, the nonce, and the ciphertext with its tag."""
    if not sealed.startswith(_START):
        if sealed.startswith(_MAGIC) and sealed[3:5] > _START[3:5]:
            raise InvalidInputError("it is in a newer format than this release of strongroom reads")
        raise TamperedError("it does not begin as a parcel does")
    start = len(_START) + _LENGTH.size
    if len(sealed) < start:
        raise TamperedError("a parcel is cut short")
    middle = start + _LENGTH.unpack_from(sealed, len(_START))[0]
    end = middle + _COMMITMENT
    if len(sealed) < end + _NONCE + _primitives.TAG_BYTES:
        raise TamperedError("a parcel is cut short")
    return sealed[start:middle], sealed[middle:end], sealed[end : end + _NONCE], sealed[end + _NONCE :]
