"""
What only a recovery identity opens: whole backups, and the keys in them once more.

The recipient is public and stands in the settings; the identity is kept elsewhere, offline. Who has it and a
backup needs nothing else, neither the key file nor the key service the store was wrapped by.

Rules of this file:

1. Bytes sealed to a recipient say nothing of who sealed them: that is told by a signature
   (`service/backup/manifest.py`), and of a key by its canary.
2. A key that is wrapped is bound to its context by its digest, since age binds nothing of its own.
3. No text of the library leaves, and no identity is printed.

Source: C2SP age (X25519, STREAM), through pyrage.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from strongroom.crypto import _primitives, wrapping
from strongroom.crypto.wrapping import Wrapper
from strongroom.errors import BackendConfigError, InvalidInputError, SealedError, TamperedError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Identities", "Recipients", "RecoveryWrapper", "new_identity"]

KIND = "recovery"
_IDENTITY_START = "AGE-SECRET-KEY-1"
_MAX_RECIPIENTS = 32
_DIGEST_BYTES = 32
_NO_MATCH = "No matching keys found"


def new_identity() -> tuple[Secret[str], str]:
    """
    Draw an identity and give it with its recipient.

    Returns:
        `AGE-SECRET-KEY-1…`, as age keeps it in a file, and `age1…`.

    Raises:
        BackendConfigError: the library is not installed.
    """
    made = _library().x25519.Identity.generate()
    return Secret(str(made)), str(made.to_public())


class Recipients:
    """
    Seal to one or more recipients, each of whom opens alone.

    Args:
        texts: `age1…` each, 1 to 32.

    Threads: safe.

    Attributes:
        texts: as given, without repetition.

    Raises:
        InvalidInputError: one is no recipient, or there is none.
        BackendConfigError: the library is not installed.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(dict.fromkeys(texts))
        if not self.texts:
            raise InvalidInputError(
                "no recovery recipient is named",
                hint="--recipient age1…, or backup.recipients; strongroom backup keygen makes one",
            )
        if len(self.texts) > _MAX_RECIPIENTS:
            raise InvalidInputError(
                f"a backup has at most {_MAX_RECIPIENTS} recipients", limit=_MAX_RECIPIENTS
            )
        self._recipients = [_recipient(text) for text in self.texts]

    def seal(self, plaintext: bytes) -> bytes:
        """Seal *plaintext* so that any of the recipients opens it."""
        return bytes(_library().encrypt(plaintext, self._recipients))


class Identities:
    """
    Open what was sealed to any of their recipients.

    Args:
        text: of an identity file: one `AGE-SECRET-KEY-1…` a line, `#` begins a comment.

    Threads: safe. Does not print or pickle what it holds.

    Attributes:
        recipients: whose they are.

    Raises:
        InvalidInputError: a line is no identity, or there is none.
        BackendConfigError: the library is not installed.
    """

    def __init__(self, text: Secret[str]) -> None:
        lines = [line.strip() for line in text.reveal().splitlines()]
        self._identities = [_identity(line) for line in lines if line and not line.startswith("#")]
        if not self._identities:
            raise InvalidInputError(
                "there is no identity in the file", hint=f"a line begins {_IDENTITY_START}"
            )
        self.recipients = tuple(str(each.to_public()) for each in self._identities)

    def open(self, sealed: bytes) -> bytes:
        """
        Open what `Recipients.seal` gave.

        Raises:
            SealedError: it was sealed to none of these.
            TamperedError: it was changed or cut short.
        """
        library = _library()
        try:
            return bytes(library.decrypt(sealed, self._identities))
        except library.DecryptError as error:
            is_another = str(error) == _NO_MATCH
        if is_another:
            raise SealedError(
                "the identity is none of those the backup was made for",
                hint="bring the identity of one of its recipients; strongroom backup verify FILE names them",
            )
        raise TamperedError("sealed bytes of a backup were changed or cut short")

    def __repr__(self) -> str:
        return f"Identities({len(self.recipients)})"


class RecoveryWrapper(Wrapper):
    """
    Wrap keys to recipients, and unwrap them with identities: whichever of the two there is.

    A blob holds, in its frame: age(SHA-256 of the context (32) ‖ key (32)).

    Threads: safe.
    """

    kind = KIND

    def __init__(self, *, recipients: Recipients | None = None, identities: Identities | None = None) -> None:
        self.name = KIND
        self._recipients = recipients
        self._identities = identities

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        if self._recipients is None:
            raise SealedError("no recovery recipient is named", hint="--recipient age1…")
        return wrapping.frame(KIND, self._recipients.seal(sha256(context).digest() + key))

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        if self._identities is None:
            raise SealedError("a key of a backup needs the recovery identity", hint="--identity FILE")
        opened = self._identities.open(wrapping.unframe(blob, KIND))
        if not _primitives.same(opened[:_DIGEST_BYTES], sha256(context).digest()):
            raise TamperedError("a key of a backup belongs to another place")
        return opened[_DIGEST_BYTES:]


def _recipient(text: str) -> Any:  # noqa: ANN401 -- the library's own
    library = _library()
    try:
        return library.x25519.Recipient.from_str(text.strip())
    except library.RecipientError:
        # What stands there may be an identity by mistake, so it is not quoted.
        raise InvalidInputError(
            "this is no recovery recipient", hint="it begins age1, and strongroom backup keygen prints it"
        ) from None


def _identity(line: str) -> Any:  # noqa: ANN401 -- as above
    library = _library()
    try:
        return library.x25519.Identity.from_str(line)
    except library.IdentityError:
        raise InvalidInputError(
            "a line of the identity file is no identity", hint=f"it begins {_IDENTITY_START}"
        ) from None


def _library() -> Any:  # noqa: ANN401 -- a module without complete types
    try:
        import pyrage  # type: ignore[import-untyped]  # noqa: PLC0415 -- only who makes or opens a backup
    except ImportError:
        raise BackendConfigError(
            "backups need pyrage, which is not installed here",
            hint="pip install 'strongroom[store]', with Python 3.11 or newer",
        ) from None
    return pyrage
