"""
An agent as its server knows it: where the server is, and a session that is begun and renewed by its key.

Not for enrolling (`agent/enrol.py`), which writes what is read here.

Rules of this file:

1. A session is renewed when a third of its time is left, by one thread; the others go on with the one there
   is. One that the server takes no more is replaced at once, and only once.
2. What one process signs is later each time, whatever becomes of its clock: the server takes nothing else.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from strongroom.caller.address import ServerAddress
from strongroom.caller.client import Client
from strongroom.caller.credential import Credential
from strongroom.caller.hostkey import HostKey, private_bytes
from strongroom.caller.request import spelled
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
)
from strongroom.model.enrolment import NONCE_BYTES, Claim
from strongroom.model.secret import Secret
from strongroom.wire.agents import AgentLogin, AgentSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

__all__ = ["FILE", "AgentCredential", "Enrolled", "client_of", "credential_of", "find"]

FILE = "server.json"
_MAX_BYTES = 65_536
_RENEW = 2 / 3  # of a session's time
_AGAIN_SECONDS = 5.0  # after a renewal that failed while the session was good still
_REMEDY = (
    "strongroom access agents list tells whether it is revoked; strongroom agent enrol --again enrols it anew"
)


class Enrolled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What an enrolment leaves in the state folder: which server, and who it is there.

    Args:
        url: of the server.
        name: of the agent.
        deployment: as the server calls it.
        is_first: `/v1` addresses it.
        ca: a PEM file of authorities in place of the system's.
        allows_plain_http: http to another machine was asked for in so many words.
        client_cert: a PEM file of the certificate that proves the agent, in place of a key of its own.
        client_key: of `client_cert`.
    """

    url: str
    name: str
    deployment: str
    is_first: bool = True
    ca: str | None = None
    allows_plain_http: bool = False
    client_cert: str | None = None
    client_key: str | None = None

    @property
    def address(self) -> ServerAddress:
        """Where the server is."""
        return ServerAddress(
            self.url,
            None if self.is_first else self.deployment,
            None if self.ca is None else Path(self.ca),
            allows_plain_http=self.allows_plain_http,
            setting="the enrolment of this agent",
            client_cert=None if self.client_cert is None else Path(self.client_cert),
            client_key=None if self.client_key is None else Path(self.client_key),
        )


def find(folder: Path) -> Enrolled | None:
    """
    Give what was enrolled in *folder*, None where nothing was.

    Raises:
        BackendConfigError: it cannot be read, or is not to be trusted.
    """
    path = folder / FILE
    if not path.exists():
        return None
    data = private_bytes(path, most=_MAX_BYTES).reveal()
    try:
        return msgspec.json.decode(data, type=Enrolled)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    raise BackendConfigError(
        f"{path} is no enrolment of this release", hint="enrol again: strongroom agent enrol --url https://…"
    )


class AgentCredential(Credential):
    """
    The session of an agent, begun by its key when it is first needed.

    Threads: may be used from several at once. After a fork the child begins one of its own.

    Args:
        enrolled: who it is.
        key: gives the key.
        address: where the server is, if not where it was enrolled.
        clock: wall clock, microseconds since 1970.
        timer: seconds that only go up, in suspend too.
    """

    def __init__(
        self,
        enrolled: Enrolled,
        key: Callable[[], HostKey],
        *,
        address: ServerAddress | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(setting="this agent", remedy=_REMEDY)
        self.enrolled = enrolled
        self.address = enrolled.address if address is None else address
        self._key = key
        self._clock = clock
        self._timer = timer
        self._signed_at = 0
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._session: Secret[str] | None = None
        self._renew_at = self._ends_at = 0.0

    def token(self) -> Secret[str]:
        """
        Give the token of a session that is good for a while yet.

        Raises:
            NotAuthenticatedError: the server does not take the key.
            BackendUnavailableError, RateLimitedError: no session can be begun now.
            BackendConfigError: the key cannot be read.
        """
        held, now = self._session, self._timer()
        if held is not None and now < self._renew_at:
            return held
        if held is not None and now < self._ends_at:
            return self._renewed_early(held)
        with self._lock:
            if self._session is not None and self._session is not held and self._timer() < self._ends_at:
                return self._session  # another thread has begun one meanwhile
            return self._begin()

    def _renewed_early(self, held: Secret[str]) -> Secret[str]:
        if not self._lock.acquire(blocking=False):
            return held
        try:
            return self._begin()
        except (BackendUnavailableError, RateLimitedError):
            self._renew_at = self._timer() + _AGAIN_SECONDS
            return held
        finally:
            self._lock.release()

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        """Give another token than the one that was *refused*. Raises as `token`."""
        with self._lock:
            if self._session is not None and self._session != refused:
                return self._session
            return self._begin()

    def _begin(self) -> Secret[str]:
        """Begin a session; under the lock."""
        asked_at = self._timer()
        client = Client(self.address)
        try:
            given = self._asked(client)
        except NotAuthenticatedError as error:
            error.hint = error.hint or self.remedy
            raise
        finally:
            client.close()
        self._session = Secret(given.token)
        self._ends_at = asked_at + given.lifetime
        self._renew_at = asked_at + given.lifetime * _RENEW
        return self._session

    def _asked(self, client: Client) -> AgentSession:
        if self.enrolled.client_cert is not None:
            return client.post("/agents/login/certificate", AgentSession)
        self._signed_at = max(self._clock(), self._signed_at + 1)
        key = self._key()
        claim = Claim(self.enrolled.name, self._signed_at, os.urandom(NONCE_BYTES), key.fingerprint)
        return client.post("/agents/login", AgentSession, spelled(self._said(claim, key)))

    def _said(self, claim: Claim, key: HostKey) -> AgentLogin:
        return AgentLogin(
            name=claim.name,
            at=claim.at,
            nonce=claim.nonce,
            fingerprint=claim.fingerprint,
            signature=key.sign(claim.signed(self.enrolled.deployment)),
        )


# By folder and address, whatever setting named that: one agent has one session.
_credentials: dict[tuple[str, ServerAddress], AgentCredential] = {}
_making = threading.Lock()


def credential_of(folder: Path, address: ServerAddress | None = None) -> AgentCredential:
    """
    Give the credential of the agent enrolled in *folder*: one a process, so that all it asks for is asked
    in one session.

    Args:
        folder: its state folder.
        address: where the server is, if not where it was enrolled.

    Raises:
        BackendConfigError: nothing is enrolled there.
    """
    enrolled = find(folder)
    if enrolled is None:
        raise BackendConfigError(
            f"no agent is enrolled in {folder}",
            hint="strongroom agent enrol --url https://…, with a code of strongroom access agents invite",
        )
    where = enrolled.address if address is None else _shown(address, enrolled.address)
    key = (str(folder), where._replace(setting=""))
    with _making:
        found = _credentials.get(key)
        if found is None or found.enrolled != enrolled:
            found = AgentCredential(enrolled, lambda: HostKey.of(folder), address=where)
            _credentials[key] = found
    return found


def _shown(address: ServerAddress, enrolled: ServerAddress) -> ServerAddress:
    """Give *address* with the certificate that the agent was enrolled with, wherever the server is now."""
    return address._replace(client_cert=enrolled.client_cert, client_key=enrolled.client_key)


def client_of(
    folder: Path, address: ServerAddress | None = None, *, timeout: timedelta | None = None
) -> Client:
    """
    Give what asks the server as the agent enrolled in *folder*. Raises as `credential_of`.

    Args:
        folder: as of `credential_of`.
        address: as of `credential_of`.
        timeout: for connecting and for each wait of an answer; as of `Client` if unsaid.
    """
    credential = credential_of(folder, address)
    where = credential.address if address is None else address
    return Client(where, credential) if timeout is None else Client(where, credential, timeout=timeout)
