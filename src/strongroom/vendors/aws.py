"""
AWS for a whole process: who we are, which client asks what, and what an answer of the SDK comes to.

boto3 signs and knows where an identity comes from; what it asks goes over our own transport (`Origins`), by
its event `before-send`: the services, STS and SSO. Not by that way: the metadata service of a machine or
container and a `credential_process`, which are asked on this machine by the SDK itself.

Rules of this file:

1. boto3 is imported and a client made when the first question is asked, never before.
2. One login is under way at a time, however many threads want one. One that was refused is not tried again
   for `REFUSED_SECONDS`; no answer at all is no refusal.
3. The SDK's own retries are off; the transport asks again what may be asked again, and that alone.
4. The SDK's log lines quote requests and answers: while it works for us, those below WARNING are dropped.
5. A forked child has a session of its own: the SDK's locks and sockets do not survive a fork.

Source: boto3 1.44 (`botocore/endpoint.py`, `botocore/credentials.py`), run against moto and ministack.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.aws_answer import Fault, trouble
from strongroom.vendors.aws_options import AwsAccess, bounds_of, check_access
from strongroom.vendors.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from strongroom.vendors.http1 import Reply

__all__ = ["REFUSED_SECONDS", "AwsAccess", "AwsSession", "Fault", "Place"]

REFUSED_SECONDS = 5.0
_MAX_TOKEN_BYTES = 65_536
_REFUSED = 300  # from this status on
_SESSION_NAME = "strongroom"
# What asked twice is the same as asked once; of the writes those that carry a token of their own.
_REPEATABLE = ("Get", "List", "Describe", "BatchGet", "AssumeRole", "CreateSecret", "PutSecretValue")
_LOGGERS = ("botocore", "boto3")
_quiet = threading.local()


class Place(NamedTuple):
    """A region, and where the service is there: None for where AWS has it."""

    region: str
    url: str | None = None


@dataclass(slots=True)
class _Side:
    """What one process has for itself."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    session: Any = None
    clients: dict[tuple[str, Place | None], Any] = field(default_factory=dict)
    refusal: StrongroomError | None = None
    refused_until: float = 0.0


class AwsSession:
    """
    Ask AWS as one identity.

    Args:
        access: where, and as whom.
        place: the backend's name, for messages.
        clock: seconds that only go up.

    Threads: may be used from several threads at once, and after a fork.

    Raises:
        BackendConfigError: *access* contradicts itself.
    """

    def __init__(self, access: AwsAccess, *, place: str, clock: Callable[[], float] = time.monotonic) -> None:
        check_access(place, access)
        self.access = access
        self._place = place
        self._clock = clock
        self._origins = Origins(place, clock=clock, **bounds_of(access))
        # By process id: `setdefault` is atomic, so a forked child gets a side of its own without a lock
        # that another thread of the parent may have held at the fork.
        self._sides: dict[int, _Side] = {}

    def __repr__(self) -> str:
        return f"AwsSession({self._place!r})"

    @property
    def is_circuit_open(self) -> bool:
        """Whether AWS, or one of what it is asked through, is not asked for a while, because it failed."""
        return self._origins.is_circuit_open

    @property
    def certificate_ends(self) -> datetime | None:
        """As of `Origins`."""
        return self._origins.certificate_ends

    def call(
        self,
        service: str,
        operation: str,
        arguments: Mapping[str, object],
        *,
        place: Place | None = None,
        must_have: str | None = None,
    ) -> dict[str, Any]:
        """
        Ask *service* to do *operation* and give its answer.

        Args:
            service: as boto3 calls it: `secretsmanager`.
            operation: as AWS calls it: `GetSecretValue`.
            arguments: likewise.
            place: another region than that of the session.
            must_have: the member without which the answer is none of AWS.

        Raises:
            Fault: AWS did not do it; what that means is `trouble`'s to say.
            NotAuthenticatedError: there is no identity, or it was refused.
            BackendUnavailableError, BackendConfigError: as of `Transport`; the answer is none of AWS.
            InvalidInputError: AWS does not take such an argument.
        """
        error: Exception
        try:
            with _silence():
                answer = _asked(self._client(service, place), operation, arguments)
        except StrongroomError as caught:
            error = caught
        except _sdk_errors() as caught:
            error = self._known(caught)
        else:
            if must_have is None or must_have in answer:
                return answer
            error = self._misshapen()
        # Raised anew, outside `except`: the frames it came through hold what is stored.
        error.__context__ = None
        raise error.with_traceback(None)

    def region(self) -> str:
        """
        Give the region that is asked.

        Raises:
            BackendConfigError: nothing says it.
        """
        found = self.access.region_name
        if not found:
            try:
                found = self._session().region_name
            except _sdk_errors() as caught:
                known = self._known(caught)
                raise known from None
        if not found:
            raise BackendConfigError(
                f"backend.{self._place}.region_name is not set, and nothing else says it",
                hint="set region_name",
            )
        return str(found)

    def identity(self) -> str:
        """
        Tell as whom we are known: an ARN.

        Raises:
            As `call`, and what `trouble` makes of a `Fault`.
        """
        try:
            answer = self.call("sts", "GetCallerIdentity", {}, must_have="Arn")
        except Fault as fault:
            raise trouble(fault, place=self._place, action="sts:GetCallerIdentity", resource="*") from None
        return str(answer["Arn"])

    def keys(self) -> tuple[str, Secret[str], Secret[str] | None]:
        """
        Give the key that signs, for who signs by himself: its id, its secret, the token of one that ends.

        Raises:
            NotAuthenticatedError, BackendUnavailableError, BackendConfigError: as of `call`.
        """
        error: Exception
        try:
            with _silence():
                found = self._session().get_credentials()
                kept = None if found is None else found.get_frozen_credentials()
        except StrongroomError as caught:
            error = caught
        except _sdk_errors() as caught:
            error = self._known(caught)
        else:
            if kept is not None:
                token = Secret(str(kept.token)) if kept.token else None
                return str(kept.access_key), Secret(str(kept.secret_key)), token
            error = NotAuthenticatedError(
                f"the backend {self._place} has nothing to show AWS",
                hint="set a key, or run where a profile, a role or a web identity is",
            )
        error.__context__ = None
        raise error.with_traceback(None)

    def close(self) -> None:
        """Let go of connections and clients, and refuse further questions. Safe to call twice."""
        self._origins.close()
        self._sides.clear()

    # --- the SDK ---

    def _side(self) -> _Side:
        process = os.getpid()
        side = self._sides.get(process)
        if side is None:
            for parent in list(self._sides):
                if parent != process:  # a parent's clients hold its sockets and locks
                    self._sides.pop(parent, None)
            side = self._sides.setdefault(process, _Side())
        return side

    def _client(self, service: str, place: Place | None) -> Any:  # noqa: ANN401 -- the SDK makes its classes as it goes
        side = self._side()
        found = side.clients.get((service, place))
        if found is None:
            with side.lock:
                found = side.clients.get((service, place)) or self._made(service, place)
                side.clients[service, place] = found
        return found

    def _made(self, service: str, place: Place | None) -> Any:  # noqa: ANN401 -- as `_client`
        access = self.access
        is_sts = service == "sts"
        mine = Place(self.region(), access.sts_url if is_sts else access.endpoint_url)
        where = mine if place is None else place
        client = self._session().client(
            service,
            region_name=where.region,
            endpoint_url=where.url,
            api_version=None if is_sts else access.api_version,
            config=self._config(),
        )
        _hush_loggers()
        return client

    def _session(self) -> Any:  # noqa: ANN401 -- as `_client`
        side = self._side()
        with side.lock:
            if side.session is None:
                side.session = self._role_session() if self.access.role_arn else self._base_session()
            return side.session

    def _base_session(self) -> Any:  # noqa: ANN401 -- as `_client`
        boto3, _, session_module = _sdk(self._place)
        access = self.access
        core = _core(session_module, access.profile_name)
        core.set_config_variable("region", access.region_name or core.get_config_variable("region"))
        core.register("before-send", self._carry)
        if access.aws_access_key_id is not None:
            core.set_credentials(*(_said(one) for one in _keys(access)))
        return boto3.Session(botocore_session=core)

    def _role_session(self) -> Any:  # noqa: ANN401 -- as `_client`
        boto3, credentials, session_module = _sdk(self._place)
        base = self._base_session()
        core = _core(session_module, self.access.profile_name)
        core.set_config_variable("region", base.region_name)
        core.register("before-send", self._carry)
        provider = _Provider(
            credentials.DeferredRefreshableCredentials(
                refresh_using=lambda: self._assumed(base), method="strongroom-role"
            )
        )
        core.register_component("credential_provider", credentials.CredentialResolver([provider]))
        return boto3.Session(botocore_session=core)

    def _config(self) -> Any:  # noqa: ANN401 -- as `_client`
        from botocore.config import Config  # noqa: PLC0415 -- only who asks AWS has it

        return Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            parameter_validation=True,
            # What is sent and read is our transport's; the SDK's own pool is never used.
            proxies={},
            user_agent_extra="strongroom",
        )

    # --- logging in ---

    def _assumed(self, base: Any) -> dict[str, str]:  # noqa: ANN401 -- as `_client`
        """Assume the role as *base*, for the SDK, which calls this under a lock of its own."""
        side = self._side()
        if side.refusal is not None and self._clock() < side.refused_until:
            raise copy(side.refusal)
        try:
            answer = self._ask_sts(base)
        except (NotAuthenticatedError, BackendConfigError) as refusal:
            side.refusal, side.refused_until = refusal, self._clock() + REFUSED_SECONDS
            raise copy(refusal) from None
        side.refusal = None
        found = answer.get("Credentials", {})
        try:
            return {
                "access_key": found["AccessKeyId"],
                "secret_key": found["SecretAccessKey"],
                "token": found["SessionToken"],
                "expiry_time": found["Expiration"].isoformat(),
            }
        except (KeyError, AttributeError):
            raise self._misshapen() from None

    def _ask_sts(self, base: Any) -> dict[str, Any]:  # noqa: ANN401 -- as `_client`
        access = self.access
        operation = "AssumeRoleWithWebIdentity" if access.is_web_identity else "AssumeRole"
        try:
            client = base.client(
                "sts", region_name=self.region_of(base), endpoint_url=access.sts_url, config=self._config()
            )
            _hush_loggers()
            return _asked(client, operation, self._role_arguments())
        except _sdk_errors() as caught:
            known = self._known(caught)
        if not isinstance(known, Fault):
            raise known
        error = trouble(known, place=self._place, action=f"sts:{operation}", resource=str(access.role_arn))
        if isinstance(error, (BackendUnavailableError, BackendConfigError, NotAuthenticatedError)):
            raise error
        raise NotAuthenticatedError(
            f"the backend {self._place} may not assume its role_arn",
            hint=f"allow sts:{operation} on it, in the trust policy of the role too, and check external_id",
        )

    def region_of(self, base: Any) -> str:  # noqa: ANN401 -- as `_client`
        """Give the region STS is asked in: that of *base*, or the one where it always answers."""
        return str(base.region_name or "us-east-1")

    def _role_arguments(self) -> dict[str, object]:
        access = self.access
        said: dict[str, object] = {
            "RoleSessionName": access.role_session_name or _SESSION_NAME,
            **access.assume_role_kwargs,
            "RoleArn": access.role_arn,
        }
        if access.external_id is not None:
            said["ExternalId"] = access.external_id
        if access.is_web_identity:
            said["WebIdentityToken"] = self._web_token()
        return said

    def _web_token(self) -> str:
        path = self.access.assume_role_with_web_identity_token_file
        try:
            with open(path or "", "rb") as file:  # noqa: PTH123 -- as much of it as is read
                data = file.read(_MAX_TOKEN_BYTES + 1)
            text = data.decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            text, data = "", b""
        if not text or len(data) > _MAX_TOKEN_BYTES:
            raise NotAuthenticatedError(
                f"the web identity token of the backend {self._place} cannot be read",
                hint="check assume_role_with_web_identity_token_file",
            )
        return text

    # --- carrying ---

    def _carry(self, request: Any, event_name: str, **_more: object) -> Any:  # noqa: ANN401 -- as `_client`
        """Answer in place of the SDK's own HTTP session."""
        from botocore.awsrequest import AWSResponse  # noqa: PLC0415 -- as `_config`

        operation = event_name.rpartition(".")[2]
        reply = self._origins.request(
            request.method,
            request.url,
            request.headers,
            request.body,
            is_repeatable=operation.startswith(_REPEATABLE),
        )
        is_json = "X-Amz-Target" in request.headers
        if is_json and reply.status < _REFUSED and reply.body[:1] not in (b"", b"{"):
            # The SDK would take the page of some gateway for an answer with nothing in it.
            raise self._misshapen()
        return AWSResponse(request.url, reply.status, reply.headers, _Raw(reply))

    # --- what went wrong ---

    def _known(self, error: Exception) -> StrongroomError | Fault:
        """Give what of ours an error of the SDK is; nothing of its text is kept."""
        from botocore import exceptions as sdk  # noqa: PLC0415 -- as `_config`
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 -- as above

        if isinstance(error, sdk.ClientError):
            return _fault(error.response)
        if isinstance(error, ResponseParserError):
            return self._misshapen()
        for kinds, what, hint in _configured_wrongly(sdk):
            if isinstance(error, kinds):
                return BackendConfigError(f"{what} of the backend {self._place} cannot be used", hint=hint)
        if isinstance(error, sdk.ParamValidationError):
            return InvalidInputError(f"the backend {self._place} cannot ask that: AWS takes no such argument")
        if isinstance(error, _no_identity(sdk)):
            return NotAuthenticatedError(
                f"the backend {self._place} has nothing to show AWS ({type(error).__name__})",
                hint="set aws_access_key_id, profile_name or role_arn, or run where a role is attached",
            )
        return BackendUnavailableError(
            f"the backend {self._place} failed with {type(error).__name__}", backend=self._place
        )

    def _misshapen(self) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the backend {self._place} gave an answer that is none of AWS",
            backend=self._place,
            hint="check endpoint_url, and what stands between",
        )


class _Provider:
    """Gives the SDK the credentials it is to use."""

    METHOD = CANONICAL_NAME = "strongroom-role"

    def __init__(self, credentials: object) -> None:
        self._credentials = credentials

    def load(self) -> object:
        return self._credentials


class _Raw:
    """The body of an answer, as the SDK wants to read it."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def stream(self, *_more: object, **_options: object) -> Iterator[bytes]:
        yield self._reply.body


class _Quiet(logging.Filter):
    """Drops what the SDK says while it works for us: it quotes requests and answers."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or not getattr(_quiet, "depth", 0)


_QUIET = _Quiet()


@contextmanager
def _silence() -> Iterator[None]:
    _quiet.depth = getattr(_quiet, "depth", 0) + 1
    try:
        yield
    finally:
        _quiet.depth -= 1


def _hush_loggers() -> None:
    """Put the filter on every logger of the SDK there is by now: filters are not inherited."""
    for name in tuple(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LOGGERS:
            logging.getLogger(name).addFilter(_QUIET)


def _sdk(place: str) -> tuple[Any, Any, Any]:
    try:
        import boto3  # noqa: PLC0415 -- half a second, for who asks AWS alone
        from botocore import credentials, session  # noqa: PLC0415 -- as above
    except ImportError:
        raise BackendConfigError(
            f"the backend {place} needs the package boto3", hint="pip install 'strongroom[aws]'"
        ) from None
    _hush_loggers()
    return boto3, credentials, session


def _core(session_module: Any, profile: str | None) -> Any:  # noqa: ANN401 -- a module, and a class of it
    core = session_module.Session(profile=profile)
    core.register_component("data_loader", _loader())
    return core


@lru_cache(maxsize=1)
def _loader() -> Any:  # noqa: ANN401 -- as above
    """Give what reads the SDK's descriptions of services: megabytes, the same for every session."""
    from botocore.loaders import create_loader  # noqa: PLC0415 -- as `_sdk`

    return create_loader()


def _sdk_errors() -> tuple[type[Exception], ...]:
    """Give what the SDK raises of its own; asked for only where something was raised."""
    try:
        from botocore import exceptions, parsers  # noqa: PLC0415 -- as `_sdk`
    except ImportError:
        return ()
    # The last four: what its parsers make of JSON with a member of another type.
    return (
        exceptions.BotoCoreError,
        exceptions.ClientError,
        parsers.ResponseParserError,
        AttributeError,
        TypeError,
        KeyError,
        ValueError,
    )


def _asked(client: Any, operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:  # noqa: ANN401 -- as `_client`
    from botocore import xform_name  # noqa: PLC0415 -- as `_sdk`

    return getattr(client, xform_name(operation))(**arguments)  # type: ignore[no-any-return]


def _configured_wrongly(sdk: Any) -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:  # noqa: ANN401 -- a module
    return (
        ((sdk.ProfileNotFound,), "the profile_name", "aws configure list-profiles tells which there are"),
        ((sdk.NoRegionError, sdk.InvalidRegionError), "the region_name", "set region_name"),
        (
            (sdk.ConfigParseError, sdk.InvalidConfigError, sdk.ConfigNotFound),
            "the AWS configuration",
            "check ~/.aws/config and ~/.aws/credentials",
        ),
    )


def _no_identity(sdk: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401 -- a module
    return (
        sdk.NoCredentialsError,
        sdk.PartialCredentialsError,
        sdk.CredentialRetrievalError,
        sdk.TokenRetrievalError,
        sdk.NoAuthTokenError,
        sdk.SSOError,
        sdk.InfiniteLoopConfigError,
        sdk.MetadataRetrievalError,
        sdk.RefreshWithMFAUnsupportedError,
        sdk.UnknownCredentialError,
    )


def _fault(response: Mapping[str, Any]) -> Fault:
    error = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    return Fault(
        str(error.get("Code", "")),
        str(error.get("Message", "")),
        int(meta.get("HTTPStatusCode", 0)),
        meta.get("HTTPHeaders", {}).get("retry-after"),
    )


def _keys(access: AwsAccess) -> tuple[object, ...]:
    return access.aws_access_key_id, access.aws_secret_access_key, access.aws_session_token


def _said(given: object) -> str | None:
    found = given() if callable(given) else given
    return str(found.reveal()) if isinstance(found, Secret) else None if found is None else str(found)
