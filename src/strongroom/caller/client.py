"""One deployment of one server, asked over the hardened transport."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from strongroom.caller.address import ServerAddress, checked
from strongroom.caller.refusal import NAME, error_of
from strongroom.caller.request import conditions, idempotency_key, with_query
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    SettingsError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Reply, Transport, TransportOptions
from strongroom.wire.shape import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from strongroom.caller.credential import Credential
    from strongroom.vendors.listening import Listening

    T = TypeVar("T")
    P = TypeVar("P")

_TIMEOUT = timedelta(seconds=15)  # above `deadline_seconds` (10), within which the server answers a lookup
_TOTAL = timedelta(seconds=60)  # asking every backend how it is takes the longest
_MAX_BODY_BYTES = 16 * 1024 * 1024  # a value of 1 MiB, each byte of it escaped, with room to spare
_NOWHERE = "there is nothing at this address"  # the server's words for a path it does not have
_JSON = "application/json"
_EVENTS = "text/event-stream"
_MAX_REFUSAL_BYTES = 65_536
_NOBODY = 401  # RFC 9110 §15.5.2
_FORBIDDEN = 403  # RFC 9110 §15.5.4
_STEP_UP = "step_up_required"
_CA = "set STRONGROOM_CA, or --ca of strongroom login,"
_CAS = {  # by what names the server, where that is not a login's
    "--url": "set --ca",
    "agent.server.url": "set agent.server.ca",
    "the enrolment of this agent": "set --ca of strongroom agent enrol --again",
}


class Client:
    """
    Ask one deployment of one server.

    Trust: its answers are data from outside, bounded and checked for shape.
    Threads: may be used from several at once, and after a fork.

    Args:
        address: where.
        credential: who asks; None asks what needs no identity.
        timeout: for connecting and for each wait of an answer.
    """

    def __init__(
        self, address: ServerAddress, credential: Credential | None = None, *, timeout: timedelta = _TIMEOUT
    ) -> None:
        self.address = address
        self._credential = credential
        where = checked(address)
        self._authority = where.authority
        self._prefix = "/v1" if address.deployment is None else f"/d/{quote(address.deployment)}/v1"
        self._transport = Transport(
            TransportOptions(
                place=NAME,
                url=address.url,
                timeout=timeout,
                total_timeout=_TOTAL,
                ca=address.ca,
                client_cert=address.client_cert,
                client_key=address.client_key,
                max_body_bytes=_MAX_BODY_BYTES,
                is_ours=True,
                is_answer=_is_ours,
            )
        )

    def __repr__(self) -> str:
        return f"Client({self._authority!r})"

    @property
    def authority(self) -> str:
        """Host and port, as a person reads them."""
        return self._authority

    def get(self, path: str, gives: type[T], query: Mapping[str, Any] | None = None) -> T:
        """
        Ask for what stands at *path*.

        Args:
            path: below the deployment's `/v1`, escaped.
            gives: the shape of the answer.
            query: parameters; what is None is left out, a list says several.

        Raises:
            BackendUnavailableError: no answer of the server's.
            As the server refuses: every error of `strongroom.errors`.
        """
        return self._decoded(self._ask("GET", with_query(path, query)), gives)

    def post(  # noqa: PLR0913 -- what a request has
        self,
        path: str,
        gives: type[T],
        body: Secret[bytes] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        is_repeatable: bool = False,
        is_change: bool = False,
        may_be_absent: bool = True,
    ) -> T:
        """
        Ask for something to be done.

        Args:
            path: as `get`.
            gives: as `get`.
            query: as `get`.
            body: as `spelled` gives it; None sends none.
            is_repeatable: asking twice is the same as asking once.
            is_change: asked twice it is done once, by the key it carries.
            may_be_absent: a 404 may be an answer; False where it can only be the wrong address.

        Raises:
            As `get`.
        """
        reply = self._ask(
            "POST",
            with_query(path, query),
            body=body,
            headers=idempotency_key() if is_change else {},
            is_repeatable=is_repeatable or is_change,
            may_be_absent=may_be_absent,
        )
        return self._decoded(reply, gives)

    def ask_for(  # noqa: PLR0913 -- as `post`
        self,
        method: str,
        path: str,
        gives: type[T],
        pending: type[P],
        body: Secret[bytes] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        expected_version: str | None = None,
        is_change: bool = True,
    ) -> T | P:
        """
        Ask for what a second person may have to agree to first: *pending* is what then waits for him.

        Raises:
            As `change`.
        """
        headers = conditions(expected_version) | (idempotency_key() if is_change else {})
        reply = self._ask(
            method, with_query(path, query), body=body, headers=headers, is_repeatable=is_change
        )
        if reply.status == 202:  # noqa: PLR2004 -- RFC 9110 §15.3.3
            return self._decoded(reply, pending)
        return self._decoded(reply, gives)

    def change(  # noqa: PLR0913 -- as `post`
        self,
        method: str,
        path: str,
        gives: type[T] | None,
        body: Secret[bytes] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        expected_version: str | None = None,
        seen: str | None = None,
        is_repeatable: bool = True,
    ) -> T | None:
        """
        PUT, PATCH or DELETE.

        Args:
            method: in capital letters.
            path: as `get`.
            gives: as `get`; None where no body counts. An answer without one is None in any case.
            body: as `post`.
            query: as `get`.
            expected_version: only over this version; "" only where there is none; None over any.
            seen: the same, as a store that cannot compare can do it: by a look right before.
            is_repeatable: False where the server does not know the key: asked twice, what takes away would
                find that it is gone.

        Raises:
            ConflictError: another version stands.
            As `get`.
        """
        headers = conditions(expected_version, seen) | idempotency_key()
        reply = self._ask(
            method, with_query(path, query), body=body, headers=headers, is_repeatable=is_repeatable
        )
        if gives is None or reply.status == 204:  # noqa: PLR2004 -- RFC 9110 §15.3.5
            return None
        return self._decoded(reply, gives)

    def listen(self, path: str, headers: Mapping[str, str] | None = None) -> Listening:
        """
        Ask for events, on a connection of their own; whoever listens closes it.

        Args:
            path: as `get`.
            headers: more of them.

        Raises:
            As `get`.
        """
        said = {"Accept": _EVENTS, **(headers or {})}
        token = self._token()
        found = self._listened(path, said, token)
        try:
            renewed = self._renewed(token) if found.status == _NOBODY else None
        except StrongroomError:
            found.close()
            raise
        if renewed is not None:
            found.close()
            found = self._listened(path, said, renewed)
        if found.status == 200 and found.headers.get("content-type", "").startswith(_EVENTS):  # noqa: PLR2004 -- RFC 9110 §15.3.1
            return found
        try:
            body = found.rest(_TIMEOUT.total_seconds(), _MAX_REFUSAL_BYTES)
        finally:
            found.close()
        raise self._refused(Reply(found.status, found.headers, body), may_be_absent=False)

    def _listened(self, path: str, headers: Mapping[str, str], token: Secret[str] | None) -> Listening:
        try:
            return self._transport.listen(self._prefix + path, headers=_with_token(headers, token))
        except (BackendUnavailableError, BackendConfigError) as error:
            failure = self._told(error)
        raise failure

    def is_as(self, other: Client) -> bool:
        """Tell whether *other* asks the same deployment of the same server, with the same credential."""
        return (self._authority, self._prefix, self._credential) == (
            other._authority,
            other._prefix,
            other._credential,
        )

    @property
    def is_circuit_open(self) -> bool:
        """Whether the server is not asked for a while, because it failed."""
        return self._transport.is_circuit_open

    @property
    def certificate_ends(self) -> datetime | None:
        """When the certificate of the server ends (UTC), where one was seen and checked."""
        return self._transport.certificate_ends

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        self._transport.close()

    # --- one request -------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Secret[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = True,
        may_be_absent: bool = True,
    ) -> Reply:
        said = {"Accept": _JSON, **(headers or {})}
        if body is not None:
            said["Content-Type"] = _JSON
        token = self._token()
        reply = self._sent(method, path, said, body, token, is_repeatable=is_repeatable)
        renewed = self._renewed(token) if reply.status == _NOBODY else None
        if renewed is not None:  # there is a newer one by now; what was refused was not done
            reply = self._sent(method, path, said, body, renewed, is_repeatable=is_repeatable)
        proven = self._proven(reply)
        if proven is not None:  # likewise
            reply = self._sent(method, path, said, body, proven, is_repeatable=is_repeatable)
        if 200 <= reply.status < 300:  # noqa: PLR2004 -- RFC 9110 §15.3
            return reply
        raise self._refused(reply, may_be_absent=may_be_absent)

    def _proven(self, reply: Reply) -> Secret[str] | None:
        """Give the token of who proved anew who he is, where that is what the server wants."""
        prove = None if self._credential is None else self._credential.prove
        if reply.status != _FORBIDDEN or prove is None:
            return None
        try:
            wants_proof = msgspec.json.decode(reply.body, type=Failure).error.code == _STEP_UP
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return None
        return prove() if wants_proof else None

    def _token(self) -> Secret[str] | None:
        return None if self._credential is None else self._credential.token()

    def _renewed(self, token: Secret[str] | None) -> Secret[str] | None:
        return None if token is None or self._credential is None else self._credential.renewed(token)

    def _sent(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Secret[bytes] | None,
        token: Secret[str] | None,
        *,
        is_repeatable: bool,
    ) -> Reply:
        said = _with_token(headers, token)
        try:
            return self._transport.request(
                method, self._prefix + path, headers=said, body=body, is_repeatable=is_repeatable
            )
        except (BackendUnavailableError, BackendConfigError) as error:
            failure = self._told(error)
        # Outside `except`: the other error would stay as this one's context.
        raise failure

    def _told(self, error: BackendUnavailableError | BackendConfigError) -> StrongroomError:
        """Say of the server what the transport says of a backend."""
        words = str(error).replace(f"the backend {NAME}", f"the server {self._authority}")
        hint = self._to_do(error.hint)
        if isinstance(error, BackendConfigError):
            return SettingsError(words, key=self.address.setting, hint=hint)
        return BackendUnavailableError(words, backend=NAME, retry_after=error.retry_after, hint=hint)

    def _to_do(self, hint: str | None) -> str | None:
        """Name our own settings where the transport names those of a backend."""
        if hint is None:
            return None
        ca = _CAS.get(self.address.setting, _CA)
        own = hint.partition("; verify =")[0].replace("url", self.address.setting)
        return own.replace("set ca to", f"{ca} to").replace("raise timeout", "ask again")

    def _decoded(self, reply: Reply, gives: type[T]) -> T:
        try:
            return msgspec.json.decode(reply.body, type=gives)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            pass
        raise self._foreign(reply)

    def _refused(self, reply: Reply, *, may_be_absent: bool) -> StrongroomError:
        try:
            problem = msgspec.json.decode(reply.body, type=Failure).error
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return self._foreign(reply)
        if problem.message == _NOWHERE or (reply.status == 404 and not may_be_absent):  # noqa: PLR2004 -- RFC 9110 §15.5.5
            return BackendConfigError(
                f"the server {self._authority} does not know what was asked",
                hint=f"check the path in {self.address.setting}, and that the server is no older than this",
            )
        if problem.code == NotAuthenticatedError.code and self._credential is not None:
            return NotAuthenticatedError(
                f"the server {self._authority} does not take the token of {self._credential.setting}: "
                f"it is wrong, ended or revoked, or of another deployment",
                hint=self._credential.remedy,
            )
        return error_of(problem, status=reply.status)

    def _foreign(self, reply: Reply) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the server {self._authority} gave an answer (status {reply.status}) that is none of a "
            "strongroom server's",
            backend=NAME,
            hint=f"check {self.address.setting}, and what stands between",
        )


def _with_token(headers: Mapping[str, str], token: Secret[str] | None) -> dict[str, str | Secret[str]]:
    said: dict[str, str | Secret[str]] = dict(headers)
    if token is not None:
        said["Authorization"] = Secret(f"Bearer {token.reveal()}")
    return said


def _is_ours(reply: Reply) -> bool:
    """Tell whether a 5xx is the server's own word: then it runs, and says what is wrong elsewhere."""
    return reply.headers.get("content-type", "").startswith(_JSON) and reply.body.startswith(
        b'{"error":{"code":'
    )
