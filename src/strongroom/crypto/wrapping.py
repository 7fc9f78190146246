"""
The promise of whoever holds an outer key, and the frame its blobs stand in.

An outer key lives outside the store (a file, a passphrase, a key service) and wraps the keys
inside it. One holder is one file in `wrappers/`; this file is what they share. Byte by byte:
docs/envelope.md, "Wrapped keys".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from strongroom.crypto import _primitives
from strongroom.errors import SealedError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.errors import StrongroomError

__all__ = [
    "LoadedWrapper",
    "Wrapper",
    "draw_key",
    "draw_salt",
    "frame",
    "label",
    "no_key_opens",
    "stretch",
    "unframe",
    "unwrap_under",
    "wrap_under",
]

_FORMAT = b"SRW\x01"
_NONCE = _primitives.NONCE_BYTES
_LABEL_BYTES = 8
_WRAPPED_BYTES = _NONCE + _primitives.KEY_BYTES + _primitives.TAG_BYTES


class Wrapper(ABC):
    """
    Wrap and unwrap keys of 32 bytes with an outer key that is kept elsewhere.

    Trust: the store is not trusted with the outer key, nor this object with plaintext of entries.
    Threads: safe; nothing is kept between calls.
    Consistency: a blob opens with the same outer key and *context*, or not at all. No call ever
    makes, replaces or repairs an outer key.

    Attributes:
        kind: its file name in `wrappers/`, as in the settings.
        name: which outer key, for people: a path, never key material.
    """

    kind: str
    name: str

    @abstractmethod
    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        """
        Wrap *key* (32 bytes) so that it unwraps only under *context*.

        Raises:
            SealedError: the outer key is missing or damaged.
            BackendConfigError: the outer key is kept in a way that cannot be trusted.
        """

    @abstractmethod
    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        """
        Unwrap what `wrap` gave.

        Raises:
            SealedError: the outer key is missing, damaged or another one.
            BackendConfigError: the outer key is kept in a way that cannot be trusted.
            TamperedError: the outer key is right, but *blob* or *context* is not what it was.
        """

    def detail(self, blob: bytes) -> str:  # noqa: ARG002 -- of those that have one
        """Tell which version of the outer key wrapped *blob*, for people; "" where there is none."""
        return ""

    def close(self) -> None:  # noqa: B027 -- most hold nothing
        """Let go of connections. Safe to call twice."""


class LoadedWrapper(Wrapper):
    """
    Wrap with an outer key that comes here as bytes, loaded anew for each call. Its author writes where it is
    loaded from, and what to say of another one.

    A blob holds, in its frame: label of the outer key (8) ‖ what `wrap_under` gives.
    """

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        outer = self._load()
        mark = label(outer)
        return frame(self.kind, mark + wrap_under(outer, key, context=mark + context))

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        body = unframe(blob, self.kind)
        outer = self._load()
        mark = label(outer)
        if body[:_LABEL_BYTES] != mark:
            raise self._another(body[:_LABEL_BYTES].hex())
        return unwrap_under(outer, body[_LABEL_BYTES:], context=mark + context)

    @abstractmethod
    def _load(self) -> bytes:
        """Give the outer key, 32 bytes. Raises as `wrap`."""

    @abstractmethod
    def _another(self, mark: str) -> SealedError:
        """Give the error of a blob that another outer key made: that with the label *mark*, in hex."""


def no_key_opens(what: str, refusals: Sequence[StrongroomError]) -> SealedError:
    """
    Give the error of *what*, which none of the wrappers opens, with what each of them said.

    It tells to wait only where one of them gave no answer: any of them may yet be the one that opens.
    """
    told = list(dict.fromkeys(str(refusal) for refusal in refusals))
    waits = [wait for refusal in refusals if (wait := getattr(refusal, "retry_after", None)) is not None]
    return SealedError(
        "; ".join([*told, f"no configured key opens {what}: start refused, nothing overwritten"]),
        retry_after=min(waits, default=None),
        hint=next((refusal.hint for refusal in refusals if refusal.hint), None)
        or "name in store.wrappers what it was made with: a key file, a passphrase, a key service",
    )


def draw_key() -> bytes:
    """Draw a new key of 32 bytes."""
    return _primitives.new_key()


def draw_salt() -> bytes:
    """Draw a new salt of 16 bytes."""
    return _primitives.draw(16)


def label(outer_key: bytes) -> bytes:
    """Give the 8 public bytes that tell one outer key from another."""
    return _primitives.expand(outer_key, b"srm/v1/outer-key-id")[:_LABEL_BYTES]


def stretch(passphrase: bytes, salt: bytes, *, memory_kib: int, iterations: int, lanes: int) -> bytes:
    """
    Stretch *passphrase* to an outer key of 32 bytes with argon2id.

    Raises:
        BackendConfigError: argon2id or the memory is not to be had here.
    """
    return _primitives.argon2id(passphrase, salt, memory_kib=memory_kib, iterations=iterations, lanes=lanes)


def wrap_under(outer_key: bytes, key: bytes, *, context: bytes) -> bytes:
    """
    Wrap *key* under *outer_key* (32 bytes each) with AES-256-GCM-SIV.

    Returns:
        nonce (12) ‖ ciphertext (32) ‖ tag (16).
    """
    nonce = _primitives.draw(_NONCE)
    return nonce + _cipher(outer_key).seal(nonce, key, context)


def unwrap_under(outer_key: bytes, wrapped: bytes, *, context: bytes) -> bytes:
    """
    Unwrap what `wrap_under` gave.

    Raises:
        TamperedError: *outer_key*, *wrapped* or *context* is not what it was.
    """
    if len(wrapped) != _WRAPPED_BYTES:
        raise TamperedError("a wrapped key has the wrong length")
    return _cipher(outer_key).open(wrapped[:_NONCE], wrapped[_NONCE:], context)


def _cipher(outer_key: bytes) -> _primitives.SivCipher:
    # The outer key itself only derives: what is in the file serves no algorithm directly.
    return _primitives.SivCipher(_primitives.expand(outer_key, b"srm/v1/key-wrap")[: _primitives.KEY_BYTES])


def frame(kind: str, body: bytes) -> bytes:
    """
    Put *body* of a wrapper of *kind* into its frame.

    Returns:
        `SRW` ‖ version (1) ‖ length of kind (1) ‖ kind ‖ body.
    """
    return _FORMAT + bytes([len(kind)]) + kind.encode("ascii") + body


def unframe(blob: object, kind: str) -> bytes:
    """
    Give the body out of the frame of *blob*.

    Raises:
        SealedError: another kind of wrapper made it.
        TamperedError: it is no frame.
    """
    # The type is checked because a column of SQLite holds whatever was put into it.
    if not isinstance(blob, bytes) or blob[: len(_FORMAT)] != _FORMAT:
        raise TamperedError("a stored key is not in the form of a wrapped key")
    start = _FORMAT + bytes([len(kind)]) + kind.encode("ascii")
    if not blob.startswith(start):
        raise SealedError(
            f"the stored key was not wrapped by {kind}",
            hint="name the wrapper that made it in the settings; a changed store gives this answer too",
        )
    return blob[len(start) :]
