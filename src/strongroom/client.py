"""
Speak to a server: `/v1` over the hardened transport, its answers as shapes, its refusals as our errors.

Not for what is asked (`remote/`) and not for where the server is and who asks (`remote/profile.py`).

Rules of this file:

1. No value is kept: whatever is asked is asked of the server, which decides, records and may revoke it.
2. Only an answer in the server's own shape is an answer. A status of somebody between, a page of another
   service, an answer cut short: all are *unavailable*, none is *absent* or *denied*.
3. The token stands in one header of one request and nowhere else: in no message, `repr`, log or argument.
4. A text of the server's is shown without its control characters, and bounded.
5. A change carries a key of its own, so that the one repetition after a lost answer does it once.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotAuthenticatedError,
    NotFoundError,
    NotRecordedError,
    RateLimitedError,
    ReadOnlyError,
    SealedError,
    SettingsError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings.source import SecretSource, resolve
from strongroom.vendors.stream import Address
from strongroom.vendors.transport import Reply, Transport, TransportOptions
from strongroom.wire.shape import Failure, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from strongroom.model.ref import Kind

    T = TypeVar("T")
    P = TypeVar("P")

__all__ = [
    "NAME",
    "Client",
    "Credential",
    "ServerAddress",
    "broken",
    "error_of",
    "path_of",
    "ref_in",
    "spelled",
]

NAME = "server"
"""What an outage names as the backend that gave no answer."""

_TIMEOUT = timedelta(seconds=15)  # above `deadline_seconds` (10), within which the server answers a lookup
_TOTAL = timedelta(seconds=60)  # asking every backend how it is takes the longest
_MAX_BODY_BYTES = 16 * 1024 * 1024  # a value of 1 MiB, each byte of it escaped, with room to spare
_MAX_TEXT_CHARACTERS = 1000
_MAX_RETRY_SECONDS = 86_400.0
_TAG = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"  # of an ETag; the rest is escaped as the server escapes it
_NOWHERE = "there is nothing at this address"  # the server's words for a path it does not have
_JSON = "application/json"
_CA = "set STRONGROOM_CA, or --ca of strongroom login,"
_TOKEN = re.compile(r"srm_[a-z]_[A-Za-z0-9_-]+")


class ServerAddress(NamedTuple):
    """
    Where a server is, and how it is spoken to.

    Args:
        url: `https://host[:port][/base]`.
        deployment: which of its deployments; None for the first.
        ca: a PEM file of authorities in place of the system's.
        allows_plain_http: http to another machine was asked for in so many words.
        setting: what named the url, for messages: `STRONGROOM_URL`, `the profile prod`.
    """

    url: str
    deployment: str | None = None
    ca: Path | None = None
    allows_plain_http: bool = False
    setting: str = "STRONGROOM_URL"


class _Named(Protocol):
    """What of an answer says which entry it is about."""

    @property
    def kind(self) -> Kind: ...
    @property
    def name(self) -> str: ...
    @property
    def team(self) -> str | None: ...


class Credential:
    """
    Where the token comes from, read anew when its file has changed.

    Args:
        text: the token itself.
        file: a file that holds it; used where *text* is None.
        setting: what named it, for messages.
        remedy: what to type where the server takes it no more.
    """

    def __init__(
        self,
        text: Secret[str] | None = None,
        *,
        file: Path | None = None,
        setting: str = "STRONGROOM_TOKEN",
        remedy: str = "strongroom login",
    ) -> None:
        self._text = text
        self._file = file
        self.setting = setting
        self.remedy = remedy

    @property
    def is_file(self) -> bool:
        """It may be another by now."""
        return self._text is None and self._file is not None

    def token(self) -> Secret[str]:
        """
        Give the token.

        Raises:
            NotAuthenticatedError: there is none.
            SettingsError: its file cannot be read, or may be read by others.
        """
        if self._text is not None:
            return _checked_token(self._text, self.setting)
        if self._file is None:
            raise NotAuthenticatedError("there is no token for the server", hint=self.remedy)
        source = SecretSource(kind="file", argument=(str(self._file),), key=self.setting)
        return _checked_token(resolve(source, environ={}), self.setting)


def _checked_token(token: Secret[str], setting: str) -> Secret[str]:
    text = token.reveal().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            f"{setting} holds no token", key=setting, hint="a token begins with srm_ and is one word"
        )
    return Secret(text)


def spelled(body: object) -> Secret[bytes]:
    """Give *body* as JSON that does not print: it may hold a value, and frames are shown by others."""
    return Secret(msgspec.json.encode(body))


def broken(what: str) -> BackendUnavailableError:
    """Give the error of an answer that has the shape of one and says what cannot be; *what* says so."""
    return BackendUnavailableError(
        f"the server gave an answer that cannot be: {what}",
        backend=NAME,
        hint="check that it is a strongroom server, and no older than this",
    )


def ref_in(answer: _Named) -> Ref:
    """
    Give the Ref that an answer names.

    Raises:
        BackendUnavailableError: its name or team is none.
    """
    try:
        return Ref(answer.kind, answer.name, answer.team)
    except InvalidInputError:
        pass
    raise broken("a name that is none")


def path_of(what: str, ref: Ref) -> str:
    """Give the path of *ref* below *what*, as in `/entries/variable/region`."""
    return f"{what}/{ref.kind}/{quote(ref.name, safe='/')}"


class Client:
    """
    Ask one deployment of one server.

    Trust: its answers are data from outside, bounded and checked for shape.
    Threads: may be used from several at once, and after a fork.

    Args:
        address: where.
        credential: who asks; None asks what needs no identity.
    """

    def __init__(self, address: ServerAddress, credential: Credential | None = None) -> None:
        self.address = address
        self._credential = credential
        where = _checked(address)
        self._authority = where.authority
        self._prefix = "/v1" if address.deployment is None else f"/d/{quote(address.deployment)}/v1"
        self._transport = Transport(
            TransportOptions(
                place=NAME,
                url=address.url,
                timeout=_TIMEOUT,
                total_timeout=_TOTAL,
                ca=address.ca,
                max_body_bytes=_MAX_BODY_BYTES,
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
        return self._decoded(self._ask("GET", _with_query(path, query)), gives)

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
            _with_query(path, query),
            body=body,
            headers=_key() if is_change else {},
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
        headers = _conditions(expected_version) | (_key() if is_change else {})
        reply = self._ask(
            method, _with_query(path, query), body=body, headers=headers, is_repeatable=is_change
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
        is_repeatable: bool = True,
    ) -> T | None:
        """
        PUT, PATCH or DELETE.

        Args:
            method: in capital letters.
            path: as `get`.
            gives: as `get`; None for an answer without a body.
            body: as `post`.
            query: as `get`.
            expected_version: only over this version; "" only where there is none; None over any.
            is_repeatable: False where the server does not know the key: asked twice, what takes away would
                find that it is gone.

        Raises:
            ConflictError: another version stands.
            As `get`.
        """
        headers = _conditions(expected_version) | _key()
        reply = self._ask(
            method, _with_query(path, query), body=body, headers=headers, is_repeatable=is_repeatable
        )
        return None if gives is None else self._decoded(reply, gives)

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
        if reply.status == 401 and self._credential is not None and self._credential.is_file:  # noqa: PLR2004 -- RFC 9110 §15.5.2
            renewed = self._token()
            if renewed != token:  # somebody put a newer one there meanwhile; what was refused was not done
                reply = self._sent(method, path, said, body, renewed, is_repeatable=is_repeatable)
        if 200 <= reply.status < 300:  # noqa: PLR2004 -- RFC 9110 §15.3
            return reply
        raise self._refused(reply, may_be_absent=may_be_absent)

    def _token(self) -> Secret[str] | None:
        return None if self._credential is None else self._credential.token()

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
        said: dict[str, str | Secret[str]] = dict(headers)
        if token is not None:
            said["Authorization"] = Secret(f"Bearer {token.reveal()}")
        failure: StrongroomError
        try:
            return self._transport.request(
                method, self._prefix + path, headers=said, body=body, is_repeatable=is_repeatable
            )
        except BackendUnavailableError as error:
            failure = BackendUnavailableError(
                self._told(str(error)),
                backend=NAME,
                retry_after=error.retry_after,
                hint=self._to_do(error.hint),
            )
        except BackendConfigError as error:
            failure = SettingsError(
                self._told(str(error)), key=self.address.setting, hint=self._to_do(error.hint)
            )
        # Outside `except`: the other error would stay as this one's context.
        raise failure

    def _told(self, words: str) -> str:
        """Say of the server what the transport says of a backend."""
        return words.replace(f"the backend {NAME}", f"the server {self._authority}")

    def _to_do(self, hint: str | None) -> str | None:
        """Name our own settings where the transport names those of a backend."""
        if hint is None:
            return None
        own = hint.partition("; verify =")[0].replace("set ca to", f"{_CA} to")
        return own.replace("url", self.address.setting).replace("raise timeout", "ask again")

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


def _checked(address: ServerAddress) -> Address:
    """Refuse a url that is none, or that would show the token to everybody on the way."""
    found = Address.of(address.url)
    if found is None:
        raise SettingsError(
            f"{address.setting} is not the url of a server",
            key=address.setting,
            hint="write https://host[:port], without user, query and fragment",
        )
    if not (found.is_tls or address.allows_plain_http or _is_loopback(found.host)):
        raise SettingsError(
            f"{address.setting} says http to another machine: the token and every value would be readable "
            "on the way",
            key=address.setting,
            hint="say https; where something else keeps the way safe, STRONGROOM_ALLOW_PLAIN_HTTP=1 "
            "or --plain-http of strongroom login",
        )
    if address.ca is not None and not address.ca.exists():
        raise SettingsError(
            f"the authorities of the server are to stand in {address.ca}, which is not there",
            key="STRONGROOM_CA",
            hint="name a PEM file, or a folder of them",
        )
    return found


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_ours(reply: Reply) -> bool:
    """Tell whether a 5xx is the server's own word: then it runs, and says what is wrong elsewhere."""
    return reply.headers.get("content-type", "").startswith(_JSON) and reply.body.startswith(
        b'{"error":{"code":'
    )


def _with_query(path: str, query: Mapping[str, Any] | None) -> str:
    said = [(name, item) for name, value in (query or {}).items() for item in _said(value)]
    return f"{path}?{urlencode(said, quote_via=quote)}" if said else path


def _said(value: object) -> Iterable[str]:
    if value is None or value == "":
        return ()
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return ("true",) if value else ()
    return (str(value),)


def _conditions(expected_version: str | None) -> dict[str, str]:
    if expected_version is None:
        return {}
    if expected_version == MUST_BE_ABSENT:
        return {"If-None-Match": "*"}
    return {"If-Match": f'"{quote(expected_version, safe=_TAG)}"'}


def _key() -> dict[str, str]:
    from secrets import token_hex  # noqa: PLC0415 -- only changes need one

    return {"Idempotency-Key": token_hex(16)}


# --- the server's refusals as our errors ----------------------------------------------------------------


def _wait(problem: Problem) -> timedelta | None:
    seconds = problem.retry_after
    if seconds is None or not 0 <= seconds <= _MAX_RETRY_SECONDS:
        return None
    return timedelta(seconds=seconds)


def error_of(problem: Problem, *, ref: Ref | None = None, status: int = 0) -> StrongroomError:
    """
    Give the error that *problem* tells of.

    Args:
        problem: of the server's answer.
        ref: what was asked for.
        status: HTTP's, for a code that only a newer server knows; 0 inside an answer.
    """
    message = _clean(problem.message) or "the server says no"
    hint = _clean(problem.hint) if problem.hint else None
    # A code that is not known: what its status says, and never that something is absent.
    make = _ERRORS.get(problem.code) or _BY_STATUS.get(status, _unavailable)
    return make(message, problem, hint, ref)


def _clean(text: str) -> str:
    """Give a text of the server's as it may be shown: bounded, printable, without any token of ours."""
    short = "".join(one if one.isprintable() else " " for one in text[:_MAX_TEXT_CHARACTERS])
    return _TOKEN.sub("srm_…", short)


def _plain(kind: type[StrongroomError]) -> Callable[[str, Problem, str | None, Ref | None], StrongroomError]:
    return lambda message, _problem, hint, _ref: kind(message, hint=hint)


def _denied(message: str, _problem: Problem, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return AccessDeniedError(message, reason=message, hint=hint)


def _unavailable(message: str, problem: Problem, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return BackendUnavailableError(message, backend=NAME, retry_after=_wait(problem), hint=hint)


def _limited(message: str, problem: Problem, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return RateLimitedError(message, retry_after=_wait(problem), hint=hint)


def _malformed(message: str, _problem: Problem, hint: str | None, ref: Ref | None) -> StrongroomError:
    return MalformedEntryError(message, backend=NAME, ref="" if ref is None else str(ref), hint=hint)


def _not_recorded(message: str, _problem: Problem, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return NotRecordedError(message, folder=NAME, hint=hint)


_ERRORS: dict[str, Callable[[str, Problem, str | None, Ref | None], StrongroomError]] = {
    "invalid_input": _plain(InvalidInputError),
    "invalid_field": _plain(InvalidInputError),
    "unsupported_media_type": _plain(InvalidInputError),
    "too_large": _plain(InvalidInputError),
    "wrong_host": _plain(BackendConfigError),
    "method_not_allowed": _plain(BackendConfigError),
    "request_timeout": _unavailable,
    "not_authenticated": _plain(NotAuthenticatedError),
    "access_denied": _denied,
    "cross_site": _denied,
    "read_only": _plain(ReadOnlyError),
    "not_found": _plain(NotFoundError),
    "conflict": _plain(ConflictError),
    "precondition_failed": _plain(ConflictError),
    "backend_unavailable": _unavailable,
    "overloaded": _unavailable,
    "rate_limited": _limited,
    "backend_config": _plain(BackendConfigError),
    "settings": _plain(BackendConfigError),
    "sealed": _plain(SealedError),
    "malformed_entry": _malformed,
    "tampered": _plain(TamperedError),
    "not_recorded": _not_recorded,
}

_BY_STATUS: dict[int, Callable[[str, Problem, str | None, Ref | None], StrongroomError]] = {
    400: _plain(InvalidInputError),
    401: _plain(NotAuthenticatedError),
    403: _denied,
    409: _plain(ConflictError),
    412: _plain(ConflictError),
    413: _plain(InvalidInputError),
    415: _plain(InvalidInputError),
    422: _plain(InvalidInputError),
    429: _limited,
}
