"""
How Google Secret Manager is spoken to: one login, token, circuit and channel for all who have equal options.

Rules of this file:

1. One token however many threads. Minutes before its end whoever asks gets a new one, while the others go on
   with the old; nothing is asked while nobody asks.
2. A token that is refused is replaced once, and the question asked again. A login that is refused is not
   tried again for some seconds.
3. What a refusal means whatever was asked is raised here; the rest is the asker's (`GoogleRefusal`).
"""

from __future__ import annotations

import os
import re
import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from strongroom.bulkhead import seconds_left
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.google_access import GoogleAccess, Token
from strongroom.vendors.google_answer import PERMISSIONS, GoogleRefusal, trouble_of
from strongroom.vendors.google_call import GrpcCarrier, RestCarrier
from strongroom.vendors.google_login import GoogleLogin
from strongroom.vendors.origins import Origins
from strongroom.vendors.pause import Pause
from strongroom.vendors.stream import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.google_call import Carrier
    from strongroom.vendors.http1 import Reply

__all__ = ["GoogleAccess", "GoogleRefusal", "GoogleSession"]

_AHEAD = timedelta(seconds=225)  # of its end a token is replaced, as Google's libraries do
_REGION = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
_SHARE = 4  # of a short life, at most this part ahead
_MAX_BODY_BYTES = 8 * 1024 * 1024
_NOT_AUTHENTICATED = 401
_ONCE = frozenset(("add_secret_version", "create_secret"))  # asked twice, they are not the same as asked once


class GoogleSession:
    """
    Ask Secret Manager as one account.

    Threads: may be used from several threads at once, and after a fork.

    Args:
        access: where and who.
        place: the backend's name, for messages.
        environ: where credentials are found that are not said.
        clock: UTC, for the ends of tokens.

    Raises:
        BackendConfigError: options that contradict one another.
    """

    def __init__(
        self,
        access: GoogleAccess,
        *,
        place: str,
        environ: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.access = access
        self._place = place
        self._clock = clock
        self._origins = Origins(place, timeout=access.timeout, ca=access.ca, max_body_bytes=_MAX_BODY_BYTES)
        self._login = GoogleLogin(access, place=place, environ=environ, origins=self._origins)
        self._carrier = self._carrier_of(_endpoint(access, place))
        self._token: Token | None = None
        self._renew_at = datetime.min.replace(tzinfo=timezone.utc)
        self._pause = Pause(lambda: clock().timestamp())
        self._project: str | None = None
        # By process id: a forked child must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, threading.Lock] = {}

    def _carrier_of(self, endpoint: str) -> Carrier:
        seconds = 2 * self.access.timeout.total_seconds()
        if self.access.transport == "rest":
            return RestCarrier(self._origins, endpoint, seconds)
        return GrpcCarrier(self._place, endpoint, seconds, ca=self.access.ca)

    def __repr__(self) -> str:
        return f"GoogleSession({self._place!r})"

    @property
    def is_circuit_open(self) -> bool:
        """Whether Google is not asked for a while, because it failed."""
        return self._carrier.is_circuit_open

    @property
    def certificate_ends(self) -> datetime | None:
        """When the first of the servers' certificates ends (UTC); None while none was seen, as over gRPC."""
        return self._origins.certificate_ends

    @property
    def project(self) -> str:
        """
        Whose secrets are meant.

        Raises:
            BackendConfigError: neither the options nor the credentials say it.
        """
        if self._project is None:
            self._project = self._login.project()
        return self._project

    @property
    def parent(self) -> str:
        """What secrets stand below: `projects/<project>`, and `/locations/<region>` of a region's own."""
        region = self.access.location
        return f"projects/{self.project}" + (f"/locations/{region}" if region else "")

    def identity(self) -> str:
        """Give the account we are, as Google calls it; "" where it cannot be told."""
        return self._login.identity()

    def said(self) -> tuple[str, str]:
        """Give project and account as far as they can be told without asking anybody; "" for the rest."""
        found = []
        for tell in (self._login.project, self._login.identity):
            try:
                found.append(tell(may_ask=False))
            except StrongroomError:
                found.append("")  # an administrator may ask for a policy where no credentials are
        return found[0], found[1]

    def ask(self, question: str, **request: Any) -> Any:  # noqa: ANN401 -- a message of the SDK
        """
        Ask one thing and give the answer.

        Args:
            question: the name of the SDK's method, as `access_secret_version`.
            request: its fields.

        Raises:
            GoogleRefusal: NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION or ABORTED: what that means
                depends on the question.
            AccessDeniedError: the account lacks the permission, which is named.
            NotAuthenticatedError: no login, or a token that is refused.
            BackendConfigError: the project, region or endpoint is wrong.
            BackendUnavailableError: no answer now.
        """
        token = self._current()
        try:
            return self._asked(question, request, token)
        except GoogleRefusal as refusal:
            if refusal.status != "UNAUTHENTICATED":
                raise self._trouble(refusal, question) from None
        try:
            return self._asked(question, request, self._renewed(token))
        except GoogleRefusal as refusal:
            raise self._trouble(refusal, question) from None

    def carry(self, method: str, url: str, body: Secret[bytes]) -> Reply:
        """
        Ask another of Google's services over HTTP, as the same account, and give its answer whatever it is.

        Args:
            method: capital letters.
            url: whole; the token goes there.
            body: JSON.

        Raises:
            NotAuthenticatedError, BackendConfigError: no login.
            BackendUnavailableError: no answer now.
        """
        token = self._current()
        reply = self._carried(method, url, body, token)
        if reply.status == _NOT_AUTHENTICATED:
            reply = self._carried(method, url, body, self._renewed(token))
        return reply

    def _carried(self, method: str, url: str, body: Secret[bytes], token: Token) -> Reply:
        headers: dict[str, str | Secret[str]] = {
            "authorization": Secret(f"Bearer {token.text.reveal()}"),
            "content-type": "application/json",
            "accept": "application/json",
        }
        if self.access.quota_project_id:
            headers["x-goog-user-project"] = self.access.quota_project_id
        return self._origins.request(method, url, headers, body)

    def _asked(self, question: str, request: Mapping[str, Any], token: Token) -> Any:  # noqa: ANN401 -- as above
        headers = {"authorization": f"Bearer {token.text.reveal()}"}
        if self.access.quota_project_id:
            headers["x-goog-user-project"] = self.access.quota_project_id
        return self._carrier.ask(question, request, headers, is_repeatable=question not in _ONCE)

    def _trouble(self, refusal: GoogleRefusal, question: str) -> Exception:
        if refusal.status == "UNAUTHENTICATED":
            return self._hold(
                NotAuthenticatedError(
                    f"Google takes no token of the backend {self._place}",
                    hint="the account may be disabled or deleted, or its key revoked",
                )
            )
        trouble = trouble_of(refusal, self._place)
        if trouble is None and refusal.status == "PERMISSION_DENIED":
            permission = PERMISSIONS.get(question, "secretmanager")
            return AccessDeniedError(
                f"the account of the backend {self._place} lacks {permission} in the project {self.project}, "
                "or there is no such project",
                reason=permission,
                hint=f"grant a role with {permission}, or check project_id",
            )
        return trouble or refusal

    # --- tokens ---

    def _current(self) -> Token:
        token, now = self._token, self._clock()
        if token is not None and now < self._renew_at:
            return token
        is_over = token is None or now >= token.ends_at
        # With time left on the old one, one thread gets the new and the others do not wait for it.
        if token is None or is_over:
            return self._renewed(token)
        lock = self._lock()
        if not lock.acquire(blocking=False):
            return token
        try:
            return self._replaced(token)
        except BackendUnavailableError:
            return token
        finally:
            lock.release()

    def _renewed(self, old: Token | None) -> Token:
        """Wait for whoever logs in, as long as this caller can, and take his token or get one."""
        lock, left = self._lock(), seconds_left()
        if not lock.acquire(timeout=-1 if left is None else max(left, 0.0)):
            raise BackendUnavailableError(
                f"the backend {self._place} was still logging in", backend=self._place
            )
        try:
            return self._replaced(old)
        finally:
            lock.release()

    def _replaced(self, old: Token | None) -> Token:
        token = self._token
        if token is not None and token is not old:
            return token
        self._pause.check()
        try:
            token = self._login.token()
        except NotAuthenticatedError as error:
            self._hold(error)
            raise
        life = token.ends_at - self._clock()
        self._renew_at = token.ends_at - min(_AHEAD, life / _SHARE)
        self._token = token
        self._pause.end()
        return token

    def _hold(self, error: NotAuthenticatedError) -> NotAuthenticatedError:
        self._token = None
        self._pause.begin(error)
        return error

    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def close(self) -> None:
        """Close what is open and refuse further questions. Safe to call twice."""
        self._carrier.close()
        self._origins.close()
        self._token = None


def _endpoint(access: GoogleAccess, place: str) -> str:
    if access.location and not _REGION.fullmatch(access.location):
        # Its letters stand in the name of the host that is given the token.
        raise BackendConfigError(
            f"backend.{place}.location is no region of Google's",
            hint='write its name: location = "europe-west3"',
        )
    if access.endpoint is None:
        region = access.location
        return f"https://secretmanager.{f'{region}.rep.' if region else ''}googleapis.com"
    endpoint = access.endpoint.rstrip("/")
    if (
        not endpoint.startswith(("https://", "http://"))
        or "/" in endpoint.partition("://")[2]
        or "@" in endpoint
        or Address.of(endpoint) is None
    ):
        raise BackendConfigError(
            f"backend.{place}.endpoint is not one this can speak to", hint="write https://host[:port]"
        )
    return endpoint
