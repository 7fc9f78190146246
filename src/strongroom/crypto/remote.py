"""
An outer key that a key service keeps and never gives: what asking any such service for it has in common.

Not for how one of them is asked (`wrappers/transit.py`, `aws_kms.py`, `gcp_kms.py`, `azure_key.py`).

Rules of this file:

1. The key that is asked is the one the settings name. What a stored blob says of a key is told to people,
   and never chosen by.
2. No call makes a key, and none asks another one instead.
3. What was wrapped is unwrapped once before it is believed: who may encrypt and not decrypt would find out
   when it is too late.
4. A service that gives no answer is told apart from one that says no: the first is waited for.
5. Answers are remembered nowhere here.
"""

from __future__ import annotations

import hmac
from abc import abstractmethod
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.crypto.wrapping import Wrapper, frame, unframe
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    SealedError,
    SettingsError,
    StrongroomError,
    TamperedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RemoteWrapper", "Wrapped", "bound_to"]

_T = TypeVar("_T")

_KEY_BYTES = 32
_MAX_DETAIL = 255  # its length is one byte
_WAIT = timedelta(seconds=1)  # where a service says "later" without saying when


class Wrapped(NamedTuple):
    """
    What a service made of a key.

    Args:
        detail: which version of its key it used, in ASCII, for people; "" where it does not say.
        body: what unwraps again.
    """

    detail: str
    body: bytes


def bound_to(context: bytes) -> bytes:
    """
    Give what a service is told to bind a wrapped key to: the SHA-256 of *context*, 32 bytes.

    Services record what they are told in logs of their own, so it is a digest: deployments and teams stay
    here.
    """
    return sha256(context).digest()


class RemoteWrapper(Wrapper):
    """
    Wrap with a key that a service keeps. Its author asks the service; the rest is here.

    A blob holds, in its frame: length of the detail (1) ‖ detail in ASCII ‖ what the service gave.

    Threads: safe, as far as its session is.

    Attributes:
        name: which key, for people.
    """

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        """
        Wrap *key* (32 bytes) so that it unwraps only under *context*.

        Raises:
            SealedError: the service does not, or gives no answer (`retry_after`).
            BackendConfigError: it will never do as it is configured.
        """
        bound = bound_to(context)
        found = self._told(lambda: self._wrapped(key, bound))
        detail = found.detail.encode("ascii")[:_MAX_DETAIL]
        blob = frame(self.kind, bytes([len(detail)]) + detail + found.body)
        if not hmac.compare_digest(self.unwrap(blob, context=context), key):
            raise SealedError(
                f"the key {self.name} does not give back what it wrapped",
                hint="ask whoever runs the service; nothing was changed",
            )
        return blob

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        """
        Unwrap what `wrap` gave.

        Raises:
            SealedError: the key is another one, disabled, gone or closed to us, or the stored blob was
                changed, which most services do not tell apart; or there is no answer (`retry_after`).
            BackendConfigError: it will never do as it is configured.
            TamperedError: *blob* is cut short, or the service's own answer is no key.
        """
        found = _parsed(unframe(blob, self.kind))
        key = self._told(lambda: self._unwrapped(found, bound_to(context)))
        if len(key) != _KEY_BYTES:
            raise TamperedError("a stored key unwraps to what is no key")
        return key

    def detail(self, blob: bytes) -> str:
        return _parsed(unframe(blob, self.kind)).detail

    # --- what its author writes ---

    @abstractmethod
    def _wrapped(self, key: bytes, bound: bytes) -> Wrapped:
        """Let the service wrap *key* and bind it to *bound*. Any error of ours may be raised."""

    @abstractmethod
    def _unwrapped(self, found: Wrapped, bound: bytes) -> bytes:
        """Let the service unwrap *found*. As `_wrapped`."""

    # --- what a refusal comes to ---

    def _told(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except StrongroomError as error:
            trouble = self._meant(error)
        # Raised outside `except`: the frames it came through hold the key.
        raise trouble

    def _meant(self, error: StrongroomError) -> StrongroomError:
        said = f"the key {self.name} was not to be had: {self._reworded(str(error))}"
        hint = None if error.hint is None else self._reworded(error.hint)
        if isinstance(error, (BackendUnavailableError, RateLimitedError)):
            return SealedError(said, retry_after=error.retry_after or _WAIT, hint=hint)
        if isinstance(error, (AccessDeniedError, NotAuthenticatedError, SettingsError)):
            return SealedError(said, hint=hint)
        if isinstance(error, BackendConfigError):
            return BackendConfigError(said, hint=hint)
        return error

    def _reworded(self, text: str) -> str:
        """Say of a wrapper what is said of a backend: its session words it for those."""
        return text.replace(f"the backend {self.kind}", f"the wrapper {self.kind}").replace(
            f"backend.{self.kind}.", "store.wrappers."
        )

    def another(self, why: str) -> SealedError:
        """Give the error of a blob that the key does not open."""
        return SealedError(
            f"the key {self.name} does not open the store: {why}",
            hint="name the key the store was wrapped with; a changed store gives this answer too",
        )

    def closed(self, why: str, hint: str) -> SealedError:
        """Give the error of a key that nothing can be done with, and why."""
        return SealedError(f"the key {self.name} {why}", hint=hint)


def _parsed(body: bytes) -> Wrapped:
    end = 1 + body[0] if body else 1
    detail = body[1:end]
    if len(body) <= end or not detail.isascii() or not detail.decode("ascii").isprintable():
        raise TamperedError("a stored key is cut short")
    return Wrapped(detail.decode("ascii"), body[end:])
