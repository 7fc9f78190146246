"""
How a token of Entra ID is got: with a client's secret or certificate, a workload's token, or the identity
of the machine; once for all threads.

Not for what is asked with it (`azure.py`), nor for how bytes travel (`azure_transport.py`).

Rules of this file:

1. One login is under way at a time; whoever wants the same token waits for what comes of it.
2. A login that was refused is not tried again for 5 s, then 10 s, up to 60 s. No answer is no refusal.
3. A refused secret is fetched from its source once more: it may have been replaced.
4. No message holds a word of the SDK or of Entra ID (`azure_entra.py` tells what it refuses).

Source: azure-identity 1.27, run against a fake of its endpoints.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from contextvars import Context
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.bulkhead import Flight, seconds_left
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    SettingsError,
    StrongroomError,
)
from strongroom.vendors.pause import Pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

__all__ = ["Identity", "OneLogin"]

_FRESH_SECONDS = 300.0  # a token with less than this left is replaced; as azure-core does
_DYING_SECONDS = 10.0  # one with less left than this serves nobody any more
_YOUNG_SECONDS = 60.0  # a refused token that is younger than this is not replaced: the next were refused too
_MAX_TOKENS = 32  # of different scopes


class Identity(Protocol):
    """A credential of azure-identity, as far as it is used here."""

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Give a token for *scopes*."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""


class _Held(NamedTuple):
    token: AccessTokenInfo
    got_at: float

    def seconds_left(self, now: float) -> float:
        return self.token.expires_on - now

    def is_fresh(self, now: float) -> bool:
        refresh_on = self.token.refresh_on
        return self.seconds_left(now) > _FRESH_SECONDS and (refresh_on is None or now < refresh_on)


class OneLogin:
    """
    One credential for all threads of one process; azure-core asks it for tokens as it would ask any.

    Args:
        place: the backend's name, for messages.
        make: makes the credential; given True, with its secret fetched again, and then None where that
            is the same as before.
        clock: seconds that only go up.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        place: str,
        make: Callable[[bool], Identity | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._flights: dict[tuple[str, ...], Flight[_Held]] = {}
        self._held: dict[tuple[str, ...], _Held] = {}
        self._identity: Identity | None = None
        self._pause = Pause(clock)

    # --- what azure-core asks ---

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """
        Give a token for *scopes*.

        Raises:
            NotAuthenticatedError, BackendConfigError: the login is refused, and what to change.
            BackendUnavailableError, RateLimitedError: no answer now.
        """
        held = self._held.get(scopes)
        claims = (options or {}).get("claims")
        if held is not None and not claims and held.is_fresh(time.time()):
            return held.token
        return self._alone((*scopes, claims or ""), partial(self._got, scopes, options, held)).token

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        """As `get_token_info`, for an azure-core that knows no better."""
        from azure.core.credentials import AccessToken  # noqa: PLC0415 -- as everything of azure here

        claims = options.get("claims")
        found = self.get_token_info(
            *scopes, options={"claims": claims, "enable_cae": True} if isinstance(claims, str) else None
        )
        return AccessToken(found.token, found.expires_on)

    # --- what we ask ---

    def forget(self) -> bool:
        """Drop every token, since the service refuses one; False where they are too young to."""
        now = self._clock()
        with self._lock:
            if any(now - held.got_at < _YOUNG_SECONDS for held in self._held.values()):
                return False
            self._held = {}
            identity, self._identity = self._identity, None
        if identity is not None:
            identity.close()
        return True

    @property
    def ends(self) -> datetime | None:
        """When the first of the tokens ends (UTC); None while there is none."""
        every = [held.token.expires_on for held in tuple(self._held.values())]
        return datetime.fromtimestamp(min(every), timezone.utc) if every else None

    @property
    def who(self) -> str:
        """As whom we are known, from a token's own claims; "" while there is none, or it does not say."""
        return next((_who(held.token.token) for held in tuple(self._held.values())), "")

    def close(self) -> None:
        """Let go of the credential. Safe to call twice."""
        with self._lock:
            identity, self._identity = self._identity, None
        if identity is not None:
            identity.close()

    # --- inside ---

    def _alone(self, key: tuple[str, ...], work: Callable[[], _Held]) -> _Held:
        """Do *work* if nobody is at it; otherwise wait for what comes of theirs."""
        mine: Flight[_Held] = Flight()
        with self._lock:
            theirs = self._flights.setdefault(key, mine)
        if theirs is not mine:
            if not theirs.wait(seconds_left()):
                raise BackendUnavailableError(
                    f"the backend {self._place} was still logging in", backend=self._place
                )
            return theirs.shared_answer()
        try:
            # Without the time limit of this caller: what comes of it is for all who wait, and for the next.
            Context().run(mine.run, work)
        finally:
            with self._lock:
                self._flights.pop(key, None)
        return mine.answer()

    def _got(self, scopes: tuple[str, ...], options: TokenRequestOptions | None, seen: _Held | None) -> _Held:
        held = self._held.get(scopes)
        if held is not None and held is not seen and not (options or {}).get("claims"):
            return held  # somebody else got it meanwhile
        self._pause.check()
        try:
            found = _Held(self._asked(scopes, options), self._clock())
        except (BackendUnavailableError, RateLimitedError):
            if held is not None and held.seconds_left(time.time()) > _DYING_SECONDS:
                return held  # it serves as long as it lives
            raise
        except (NotAuthenticatedError, BackendConfigError) as error:
            self._pause.begin(error)
            raise
        self._pause.end()
        with self._lock:
            if len(self._held) >= _MAX_TOKENS:
                self._held = {}
            self._held[scopes] = found
        return found

    def _asked(self, scopes: tuple[str, ...], options: TokenRequestOptions | None) -> AccessTokenInfo:
        try:
            return self._ask(self._known(), scopes, options)
        except NotAuthenticatedError:
            other = self._remade()
            if other is None:
                raise
        return self._ask(other, scopes, options)

    def _known(self) -> Identity:
        if self._identity is None:
            made = self._make(False)  # noqa: FBT003 -- one switch, named where it is declared
            if made is None:  # it is None only for a secret that did not change
                raise BackendConfigError(f"the backend {self._place} has nothing to log in with")
            self._identity = made
        return self._identity

    def _remade(self) -> Identity | None:
        try:
            other = self._make(True)  # noqa: FBT003 -- as above
        except SettingsError:
            return None  # its source is gone: what was fetched is all there is
        if other is not None:
            self._identity = other
        return other

    def _ask(
        self, identity: Identity, scopes: tuple[str, ...], options: TokenRequestOptions | None
    ) -> AccessTokenInfo:
        try:
            return identity.get_token_info(*scopes, options=options)
        except StrongroomError as caught:
            error: StrongroomError = caught
        except Exception as caught:  # noqa: BLE001 -- the SDK's errors quote requests: only ours go on
            error = _ours_in(caught) or self._foreign(caught)
        error.__context__ = error.__cause__ = None
        raise error.with_traceback(None)

    def _foreign(self, error: Exception) -> StrongroomError:
        if isinstance(error, OSError):
            return NotAuthenticatedError(
                f"the token file of the backend {self._place} cannot be read ({type(error).__name__})",
                hint=f"check backend.{self._place}.token_file",
            )
        return BackendUnavailableError(
            f"the backend {self._place} could not log in: {type(error).__name__}",
            backend=self._place,
            hint="what logs in there may be no Entra ID: check authority",
        )


def _ours_in(error: BaseException | None) -> StrongroomError | None:
    """Give what a carrier raised, out of what the SDK made of it."""
    for _ in range(8):
        if error is None or isinstance(error, StrongroomError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _who(token: str) -> str:
    """Give the client's and the principal's id from the claims of *token*, unproven: it is for people."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        return ""
    if not isinstance(claims, dict):
        return ""
    named = (("client", "appid"), ("client", "azp"), ("principal", "oid"), ("tenant", "tid"))
    found = {word: claims[key] for word, key in reversed(named) if _is_id(claims.get(key))}
    return ", ".join(f"{word} {found[word]}" for word in ("client", "principal", "tenant") if word in found)


def _is_id(found: object) -> bool:
    return isinstance(found, str) and len(found) <= 64 and found.replace("-", "").isalnum()  # noqa: PLR2004
