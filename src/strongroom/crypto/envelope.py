"""
Seal a value so that it opens only with its key, in its place, as its version.

Byte by byte, with the reasons: docs/envelope.md. Frozen examples, good and bad:
tests/vectors/envelope-v1.json. Not here: which key is newest (`keyring.py`), where the bytes are
kept (the store), what they mean (the model).

Rules of this file:

1. A data key seals one message and is never seen again.
2. The commitment is compared before anything is decrypted.
3. Bytes that are not exactly what `seal` gave never open, and never to another value.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

from strongroom.crypto import _primitives
from strongroom.crypto._primitives import draw, expand, gcm_seal, open_twice
from strongroom.errors import InvalidInputError, SealedError, TamperedError

if TYPE_CHECKING:
    from strongroom.crypto.keyring import Kek, Keyring
    from strongroom.model.ref import Kind

__all__ = ["MAX_PLAINTEXT_BYTES", "Context", "Field", "key_id_of", "open", "reseal", "seal"]

MAX_PLAINTEXT_BYTES = 1_048_576  # 1 MiB, the limit of a value

Field = Literal["value", "metadata"]

_MAGIC = b"SRM"
_VERSION = 1
_ALGORITHM = 1  # AES-256-GCM, DEK wrapped with AES-256-GCM-SIV, commitment by HMAC-SHA-512
_START = _MAGIC + bytes([_VERSION, _ALGORITHM])
# After the start: key id, wrap nonce, wrapped DEK (32 and its tag), commitment, nonce.
_HEADER = struct.Struct(">5x16s12s48s32s12s")
_BODY = _HEADER.size  # where the ciphertext begins
_KINDS = {"connection": 1, "variable": 2, "config": 3}
_FIELDS = {"value": 1, "metadata": 2}
_TAIL = struct.Struct(">BB16sQ")
_ROW_ID_BYTES = 16
_MAX_VERSION = 2**63 - 1  # what a signed column of SQL can hold
_LABEL = b"srm/v1"
_PAD_START = b"\x80"  # then zeros (ISO/IEC 7816-4)
_SMALL = 64  # bytes a bucket, up to _SMALL_UNTIL
_LARGE = 1024  # bytes a bucket above
_SMALL_UNTIL = 4096


class Context:
    """
    What the bytes are: bound to them, not stored with them.

    Threads: immutable by custom; made once for each value that is sealed or opened.

    Args:
        kind: of the entry.
        field: which part of the entry.
        row_id: 16 random bytes of the row, kept through all its versions.
        version: 1 for the first version of the row, at most 2**63 - 1.
        name: of the entry, in NFC as `Ref` gives it.

    Attributes:
        tail: the second part of what is bound, after `Place.prefix`:
            kind (1) ‖ field (1) ‖ row id (16) ‖ version (8, big-endian) ‖ name in UTF-8.

    Raises:
        InvalidInputError: an argument is outside its range.
    """

    __slots__ = ("tail",)

    def __init__(self, kind: Kind, field: Field, row_id: bytes, version: int, name: str) -> None:
        # The length is checked here because struct would fill a short id up with zeros.
        if len(row_id) != _ROW_ID_BYTES or not 0 < version <= _MAX_VERSION:
            raise InvalidInputError("a row id has 16 bytes and a version is at least 1")
        try:
            self.tail = _TAIL.pack(_KINDS[kind], _FIELDS[field], row_id, version) + name.encode()
        except (KeyError, struct.error, UnicodeEncodeError):
            raise InvalidInputError("the kind, field, row id or name of a value cannot be bound") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self.tail == other.tail

    def __hash__(self) -> int:
        return hash(self.tail)

    def __repr__(self) -> str:
        return f"Context({self.tail!r})"


def seal(plaintext: bytes, *, key: Kek, context: Context) -> bytes:
    """
    Seal *plaintext* so that it opens only with *key* and under *context*.

    Args:
        plaintext: at most 1 MiB.
        key: an active one, as `Keyring.active` gives it.
        context: bound but not stored; `open` needs the same.

    Returns:
        `SRM` ‖ version (1) ‖ algorithm (1) ‖ key id (16) ‖ wrap nonce (12) ‖ wrapped DEK (48) ‖
        commitment (32) ‖ nonce (12) ‖ ciphertext ‖ tag (16): 141 bytes and the padded plaintext.

    Raises:
        InvalidInputError: *plaintext* is too long, or *context* out of range.
        SealedError: *key* does not seal any more, or is not loaded.
        BackendConfigError: the random source repeats itself.

    Source: NIST SP 800-38D §8.2.2, RFC 8452, RFC 5869 §2.3; docs/envelope.md.
    """
    if key.deks is None:
        raise key.unusable()
    if key.state != "active":
        raise SealedError(
            f"key {key.id.hex()} only opens, it does not seal any more", hint="use the active key"
        )
    aad = key.prefix + context.tail
    padded = _padded(plaintext)
    drawn = draw(56)  # one system call for the DEK (32) and both nonces (12 each)
    dek, wrap_nonce, nonce = drawn[:32], drawn[32:44], drawn[44:]
    okm = expand(dek, _LABEL + aad)
    wrapped = key.deks.seal(wrap_nonce, dek, aad)
    body = gcm_seal(okm[:32], nonce, padded, aad)
    return b"".join((_START, key.id, wrap_nonce, wrapped, okm[32:], nonce, body))


def open(sealed: bytes, *, keyring: Keyring, context: Context) -> bytes:  # noqa: A001  # the mirror of seal
    """
    Open what `seal` gave.

    Returns:
        The plaintext, never another one.

    Raises:
        TamperedError: the bytes were changed, cut, lengthened, or moved to another row, version,
            name, kind, field, team, deployment or store.
        SealedError: the key they name is unknown here, destroyed or not loaded. Without the key a
            changed key id cannot be told from a missing key, and it is the operator who can look.
        InvalidInputError: a newer release wrote them.
    """
    key_id, wrap_nonce, wrapped, commitment, nonce = _header(sealed)
    opener = keyring.openers.get(key_id)
    if opener is None:
        raise keyring.missing(key_id)
    prefix, keys = opener
    aad = prefix + context.tail
    padded = open_twice(keys, wrap_nonce, wrapped, commitment, nonce, sealed[_BODY:], _LABEL, aad)
    ended = padded.rstrip(b"\x00")
    # The sealer is trusted with the key, not with being right: another padding is another message.
    if not ended.endswith(_PAD_START) or len(padded) != _bucketed(len(ended)):
        raise TamperedError("a sealed value is padded wrongly")
    return ended[:-1]


def key_id_of(sealed: bytes) -> bytes:
    """
    Give the id of the key that *sealed* names, unchecked: only opening proves it.

    Raises:
        TamperedError: it is no sealed value.
        InvalidInputError: a newer release wrote it.
    """
    return _header(sealed)[0]


def reseal(sealed: bytes, *, keyring: Keyring, context: Context) -> bytes:
    """
    Move *sealed* to the active key; give it back as it is when it is there already.

    The key id is bound to the data, so this opens and seals anew, under a new data key.

    Raises:
        TamperedError, SealedError, InvalidInputError: as `open` and `seal`.
    """
    if key_id_of(sealed) == keyring.active.id:
        return sealed
    return seal(open(sealed, keyring=keyring, context=context), key=keyring.active, context=context)


def _header(sealed: object) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    # The type is checked because a column of SQLite holds whatever was put into it.
    if isinstance(sealed, bytes) and sealed.startswith(_START) and _MIN_BYTES <= len(sealed) <= _MAX_BYTES:
        return _HEADER.unpack_from(sealed)
    raise _refusal(sealed)


def _refusal(sealed: object) -> TamperedError | InvalidInputError:
    # A newer format may be of any length, so its version is looked at first.
    if isinstance(sealed, bytes) and sealed.startswith(_MAGIC):
        version, algorithm = sealed[3:4], sealed[4:5]
        if version > _START[3:4] or (version == _START[3:4] and algorithm > _START[4:5]):
            return InvalidInputError(
                "a sealed value is in a newer format than this release of strongroom reads",
                hint="upgrade strongroom; if no newer release ever wrote here, the stored bytes were changed",
            )
    return TamperedError("a sealed value is damaged: its type, its start or its length is wrong")


def _bucketed(length: int) -> int:
    """Round *length*, the padding's first byte counted, up to its bucket."""
    bucket = _SMALL if length <= _SMALL_UNTIL else _LARGE
    return -(-length // bucket) * bucket


def _padded(plaintext: bytes) -> bytes:
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise InvalidInputError(f"a value has at most {MAX_PLAINTEXT_BYTES} bytes", limit=MAX_PLAINTEXT_BYTES)
    return (plaintext + _PAD_START).ljust(_bucketed(len(plaintext) + 1), b"\x00")


_MIN_BYTES = _BODY + _bucketed(1) + _primitives.TAG_BYTES
_MAX_BYTES = _BODY + _bucketed(MAX_PLAINTEXT_BYTES + 1) + _primitives.TAG_BYTES
