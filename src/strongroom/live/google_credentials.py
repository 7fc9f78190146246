"""
google-auth's credentials that follow a connection: whatever takes credentials of Google's takes these.

Imported only where Google is asked: it loads google-auth.

Rules of this file:

1. What the connection says now decides: a token of what it said before is not used for another request.
2. A refusal reads the connection anew once, and is tried once more if it says something else; if not, nobody
   asks again for some seconds.
3. One login of a client is under way at a time; a token is kept in memory and nowhere else, for all clients
   of the connection in this process.
"""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from google.auth.credentials import (
    AnonymousCredentials,
    CredentialsWithQuotaProject,
    Scoped,
    Signing,
    TokenState,
)

from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.live.trouble import trouble
from strongroom.vendors.pause import Pause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.live.google_identity import Identity, Made
    from strongroom.live.held import Held, Known

__all__ = ["FollowedCredentials"]


# By connection, for as long as it is held: what a client has got serves the next.
_shared: WeakKeyDictionary[Held, dict[tuple[object, ...], tuple[Any, Any]]] = WeakKeyDictionary()
_AHEAD = timedelta(seconds=225)  # of its end a token is replaced, as google-auth does
_DYING = timedelta(seconds=10)  # one with less left serves nobody any more


def _is_over(expiry: datetime, now: datetime, ahead: timedelta = _AHEAD) -> bool:
    return expiry.replace(tzinfo=timezone.utc) - now < ahead  # google-auth's times are UTC without saying so


class FollowedCredentials(Signing, Scoped, CredentialsWithQuotaProject):  # type: ignore[misc, unused-ignore]  # google-auth has no types on 3.10
    """
    Credentials of what a connection says, whenever they are asked.

    Args:
        identity: makes credentials of it.
        scopes: of tokens, where they are not to be the connection's.
        quota_project_id: who pays, where it is not to be the connection's.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self, identity: Identity, scopes: Sequence[str] | None = None, quota_project_id: str | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._identity = identity
        self._scopes = None if scopes is None else list(scopes)
        self._quota_project_id = quota_project_id
        self._made: Made | None = None  # of which the token is
        self._next: Made | None = None  # of which there may be none yet
        # By process id: a forked child must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, threading.Lock] = {}
        self._pause = Pause(lambda: identity.now().timestamp())
        self._refused = 0

    def close(self) -> None:
        """End the following, of copies with other scopes too; what is asked for then is not given."""
        self._identity.close()

    def __repr__(self) -> str:
        return f"FollowedCredentials({self._identity.held.name!r})"

    # --- whether the token is of now -----------------------------------------------------------------

    @property
    def _is_current(self) -> bool:
        made = self._made
        return made is not None and made.known.number == self._identity.held.known.number

    @property
    def valid(self) -> bool:
        """Whether there is a token that lasts, of what the connection says now."""
        return self._is_current and (self._is_anonymous or bool(super().valid))

    @property
    def token_state(self) -> TokenState:
        """As `valid`, with the word for a token that ends soon."""
        return super().token_state if self._is_current else TokenState.INVALID

    @property
    def _is_anonymous(self) -> bool:
        return self._made is not None and isinstance(self._made.credentials, AnonymousCredentials)

    # --- tokens ------------------------------------------------------------------------------------------

    def refresh(self, request: object) -> None:
        """
        Get a new token; whoever asks while the last one still lasts was refused with it.

        Args:
            request: not used: who gives tokens is asked over our own transport.

        Raises:
            AccessDeniedError: refused, also with what the connection says by now.
            BackendConfigError, BackendUnavailableError: as `strongroom.live.trouble` says.
        """
        del request
        before, was_valid = self.token, self.valid
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self.valid and not (was_valid and self.token is before):
                return  # another thread was faster
            seen = self._made.known if was_valid and self._made is not None else None
            newer = None if seen is None else self._identity.held.refreshed(seen)
            known = newer or self._identity.held.known
            refusal = self._try(known)
            if refusal is None:
                return
            later = self._identity.held.refreshed(known) if newer is None else None
            refusal = refusal if later is None else self._try(later)
        if refusal is not None:
            raise refusal

    def _try(self, known: Known) -> AccessDeniedError | None:
        """Get a token of *known*, or give the refusal; one that is young is given again and nobody asked."""
        if self._refused != known.number:
            self._pause.end()
        try:
            self._pause.check()
            self._take(known)
        except AccessDeniedError as error:
            if not self._pause.is_on:
                self._pause.begin(error)
            self._refused = known.number
            self._next = None  # its key may stand in a file or in Secret Manager, and be another by then
            return error
        self._pause.end()
        return None

    def _take(self, known: Known) -> None:
        made, refused = self._of(known), self.token
        if isinstance(made.credentials, AnonymousCredentials):
            self.token, self.expiry, self._made = None, None, made
            return
        shelf = _shared.setdefault(self._identity.held, {})
        mark = (os.getpid(), *self._identity.mark(known, self._scopes))
        token, expiry = shelf.get(mark, (None, None))
        if token is None or token == refused or _is_over(expiry, self._identity.now()):
            try:
                self._identity.refresh(made)
            except BackendUnavailableError:
                if self._still_serves(known):
                    return
                raise
            token, expiry = made.credentials.token, made.credentials.expiry
            for old in [one for one in list(shelf) if one[1] != known.number]:
                shelf.pop(old, None)
            shelf[mark] = token, expiry
        self.token, self.expiry, self._made = token, expiry, made

    def _still_serves(self, known: Known) -> bool:
        """Tell whether the old token, which nobody has refused, lives on while no new one is to be had."""
        made, expiry = self._made, self.expiry
        if made is None or expiry is None or made.known.number != known.number or self.valid:
            return False
        return not _is_over(expiry, self._identity.now(), _DYING)

    def before_request(self, request: object, method: str, url: str, headers: Any) -> None:  # noqa: ANN401 -- google-auth's
        """Put a token that is of now into *headers*."""
        if not self._is_current:
            self.refresh(request)
        if not self._is_anonymous:
            super().before_request(request, method, url, headers)  # type: ignore[no-untyped-call, unused-ignore]

    # --- what libraries ask of credentials -------------------------------------------------------------

    @property
    def requires_scopes(self) -> bool:
        """False: the connection says them."""
        return False

    def with_scopes(
        self, scopes: Sequence[str], default_scopes: Sequence[str] | None = None
    ) -> FollowedCredentials:
        """Give the same for other scopes."""
        return FollowedCredentials(self._identity, scopes or default_scopes, self._quota_project_id)

    def with_quota_project(self, quota_project_id: str | None) -> FollowedCredentials:
        """Give the same, paid for by another project."""
        return FollowedCredentials(self._identity, self._scopes, quota_project_id)

    @property
    def quota_project_id(self) -> str | None:
        """Who pays for what is asked, where that is another project."""
        return self._quota_project_id or (None if self._made is None else self._made.quota_project)

    @property
    def project_id(self) -> str | None:
        """
        The project that the connection, its credentials or this machine says; None for none.

        Raises:
            As `refresh`, where this machine must be asked and has no answer.
        """
        made = self._now()
        if made.project or made.login is None:
            return made.project
        return self._identity.project(made.login)

    @property
    def service_account_email(self) -> str:
        """The account, as Google calls it; "" where it cannot be told."""
        login = self._now().login
        return "" if login is None else self._identity.account(login)

    @property
    def universe_domain(self) -> str:
        """Which cloud the credentials are of: `googleapis.com`, or a sovereign one."""
        return str(self._now().credentials.universe_domain)

    @property
    def signer_email(self) -> str:
        """As `service_account_email`: who signs."""
        return self.service_account_email

    @property
    def signer(self) -> Any:  # noqa: ANN401 -- google-auth's
        """What signs."""
        return self._signing().signer

    def sign_bytes(self, message: bytes) -> Any:  # noqa: ANN401 -- bytes, of a library without types
        """
        Sign *message* with the account's key, as for a signed URL.

        Raises:
            BackendConfigError: the connection has no key, and no account to act as.
        """
        return self._signing().sign_bytes(message)

    def _signing(self) -> Any:  # noqa: ANN401 -- as above
        found = self._now().credentials
        if not isinstance(found, Signing):
            raise trouble(
                "authentication",
                "missing",
                name=self._identity.held.name,
                hint="nothing here can sign: name an account in impersonation_chain, which Google signs for",
            )
        return found

    def _now(self) -> Made:
        """Give the credentials of now, with a token or without."""
        return self._of(self._identity.held.known)

    def _of(self, known: Known) -> Made:
        made = self._next
        if made is None or made.known.number != known.number:
            made = self._next = self._identity.made(known, self._scopes)
        return made
