"""
The raw steps: randomness, AES-256-GCM, AES-256-GCM-SIV, HMAC, argon2id, and Fernet for what Airflow sealed.

The only file that imports `cryptography`. It knows no format: `envelope.py`, `keyring.py`, `wrapping.py`
and `fernet.py` say what is sealed under what. A failed authentication leaves as `TamperedError`; no text
of the library leaves at all.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest, digest
from importlib import import_module
from os import urandom as _urandom
from sys import version_info
from typing import TYPE_CHECKING, Protocol, cast

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend as _openssl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from strongroom.errors import BackendConfigError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "SivCipher",
    "argon2id",
    "draw",
    "ed25519_check",
    "ed25519_public",
    "ed25519_sign",
    "expand",
    "fernet_opener",
    "gcm_open",
    "gcm_seal",
    "mac",
    "new_key",
    "open_twice",
    "same",
]

KEY_BYTES = 32  # AES-256, and every derived key
NONCE_BYTES = 12  # 96 bits: the only size both modes take without hashing (SP 800-38D §8.2)
TAG_BYTES = 16


class _Digest(Protocol):
    def digest(self) -> bytes: ...


def _short_sha512() -> Callable[[bytes], _Digest]:
    # Python's own SHA-512 answers a short message in half the time of OpenSSL's, which fetches its
    # algorithm at every call. A build without it (FIPS) has OpenSSL's; both give the same bytes.
    try:
        return cast("Callable[[bytes], _Digest]", import_module(_BUILT_IN).sha512)
    except ImportError:
        return hashlib.sha512


_BUILT_IN = "_sha2" if version_info >= (3, 12) else "_sha512"
_sha512 = _short_sha512()

same = compare_digest  # the one comparison for MACs and commitments: time tells nothing

# HMAC's two masks for a key of 32 bytes, which SHA-512 wants filled up to a block of 128.
_INNER, _INNER_FILL = bytes(byte ^ 0x36 for byte in range(256)), b"\x36" * 96
_OUTER, _OUTER_FILL = bytes(byte ^ 0x5C for byte in range(256)), b"\x5c" * 96

_drawn_before = b""  # the last nonce of this process: public bytes, never a key


def draw(size: int) -> bytes:
    """
    Draw *size* ≥ 12 bytes from the kernel, of which the last 12 are a nonce (public).

    Safe in a forked child: the kernel keeps the state, not this process. A source that gives the
    same nonce twice in a row is stuck, and sealing with it would give keys away.

    Raises:
        BackendConfigError: the random source repeats itself.
    """
    # Threads may race here: each compares with some earlier draw, which is all the check needs.
    global _drawn_before  # noqa: PLW0603  # one canary per process is the point
    drawn = _urandom(size)
    nonce = drawn[-NONCE_BYTES:]
    if nonce == _drawn_before:
        raise BackendConfigError(
            "the system's random source repeats itself, so nothing can be sealed safely",
            hint="check the random device of this machine or sandbox, then try again",
        )
    _drawn_before = nonce
    return drawn


def new_key() -> bytes:
    """Draw a key of 32 bytes."""
    # The nonce that `draw` checks and remembers must not be a part of the key.
    return draw(KEY_BYTES + NONCE_BYTES)[:KEY_BYTES]


def expand(key: bytes, info: bytes) -> bytes:
    """
    Derive 64 bytes from the uniform 32-byte *key*: the first block of HKDF-Expand-SHA-512.

    Source: RFC 5869 §2.3; §3.3 allows leaving out the extract step for a uniform key.
    """
    # HMAC-SHA-512 written out (RFC 2104 §2): `hmac.digest` costs more on every read.
    inner = _sha512(key.translate(_INNER) + _INNER_FILL + info + b"\x01").digest()
    return _sha512(key.translate(_OUTER) + _OUTER_FILL + inner).digest()


def mac(key: bytes, message: bytes) -> bytes:
    """Authenticate *message* with HMAC-SHA-256: 32 bytes."""
    return digest(key, message, "sha256")


def ed25519_public(seed: bytes) -> bytes:
    """Give the public key, 32 bytes, of the private one *seed*, 32 uniform bytes (RFC 8032 §5.1.5)."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """Sign *message*: 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def ed25519_check(public: bytes, signature: bytes, message: bytes) -> None:
    """
    Check that *signature* of *message* is by the key whose public half is *public*.

    Raises:
        TamperedError: it is not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise TamperedError("a signature is not by the key it names") from None


def gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt with AES-256-GCM: ciphertext ‖ tag (16). *key* must be used for one message only."""
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def gcm_open(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """
    Decrypt what `gcm_seal` gave.

    Raises:
        TamperedError: key, nonce, ciphertext or *aad* is not what it was.
    """
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise TamperedError("sealed bytes failed authentication") from None


class SivCipher:
    """
    AES-256-GCM-SIV under one key, for wrapping other keys: a repeated nonce shows only equality.

    Threads: safe; the key schedule is built once.

    Raises:
        BackendConfigError: this OpenSSL has no AES-GCM-SIV.

    Source: RFC 8452.
    """

    __slots__ = ("cipher",)

    def __init__(self, key: bytes) -> None:
        try:
            self.cipher = AESGCMSIV(key)
        except UnsupportedAlgorithm:
            raise _missing("AES-256-GCM-SIV") from None

    def seal(self, nonce: bytes, key: bytes, aad: bytes) -> bytes:
        """Wrap *key* (32 bytes) as ciphertext (32) ‖ tag (16)."""
        return self.cipher.encrypt(nonce, key, aad)

    def open(self, nonce: bytes, wrapped: bytes, aad: bytes) -> bytes:
        """
        Unwrap what `seal` gave.

        Raises:
            TamperedError: key, nonce, wrapped bytes or *aad* is not what it was.
        """
        try:
            return self.cipher.decrypt(nonce, wrapped, aad)
        except InvalidTag:
            raise TamperedError("a wrapped key failed authentication") from None


def open_twice(  # noqa: PLR0913, PLR0917  # the parts of a sealed value, in their order
    keys: SivCipher,
    wrap_nonce: bytes,
    wrapped: bytes,
    commitment: bytes,
    nonce: bytes,
    ciphertext: bytes,
    label: bytes,
    aad: bytes,
) -> bytes:
    """
    Unwrap a data key, compare its commitment, then decrypt: the read path in one call.

    Raises:
        TamperedError: any part is not what it was.
    """
    # The steps of `SivCipher.open`, `expand` and `gcm_open` in one frame: four calls less on every read.
    try:
        dek = keys.cipher.decrypt(wrap_nonce, wrapped, aad)
        inner = _sha512(dek.translate(_INNER) + _INNER_FILL + label + aad + b"\x01").digest()
        okm = _sha512(dek.translate(_OUTER) + _OUTER_FILL + inner).digest()
        if not compare_digest(okm[KEY_BYTES:], commitment):
            raise TamperedError("a sealed value does not match its key commitment")
        return AESGCM(okm[:KEY_BYTES]).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise TamperedError("a sealed value failed authentication") from None


def argon2id(passphrase: bytes, salt: bytes, *, memory_kib: int, iterations: int, lanes: int) -> bytes:
    """
    Stretch *passphrase* to 32 bytes.

    Args:
        passphrase: at least one byte.
        salt: 16 random bytes.
        memory_kib: memory in KiB, at least 8 a lane.
        iterations: passes over that memory.
        lanes: parallel lanes.

    Raises:
        BackendConfigError: this OpenSSL has no argon2id, or the memory is not to be had.

    Source: RFC 9106.
    """
    try:
        stretcher = Argon2id(
            salt=salt, length=KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory_kib
        )
        return stretcher.derive(passphrase)
    except UnsupportedAlgorithm:
        raise _missing("argon2id") from None
    except MemoryError:
        raise BackendConfigError(
            f"this machine cannot spare the {memory_kib // 1024} MiB that the passphrase needs",
            hint="free memory, or raise the memory limit of this process",
        ) from None


def fernet_opener(keys: Sequence[str]) -> Callable[[bytes], bytes | None]:
    """
    Give a function that opens a Fernet token with the first of *keys* that fits, or gives None.

    Args:
        keys: each 32 bytes as URL-safe base64, checked before.
    """
    from cryptography.fernet import Fernet, InvalidToken  # noqa: PLC0415 -- only Airflow's rows need it

    ciphers = [Fernet(key) for key in keys]

    def opened(token: bytes) -> bytes | None:
        # Not MultiFernet: it refuses an empty list, and does the same.
        for cipher in ciphers:
            try:
                return cipher.decrypt(token)
            except InvalidToken:
                continue
        return None

    return opened


def _missing(algorithm: str) -> BackendConfigError:
    return BackendConfigError(
        f"{algorithm} is missing from the OpenSSL that cryptography uses ({_openssl.openssl_version_text()})",
        hint="install cryptography from its wheels, or build it with OpenSSL 3.2 or newer",
    )
