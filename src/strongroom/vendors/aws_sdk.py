"""
AWS's SDK at arm's length: loading it, keeping it quiet, asking one client, and what its errors come to.

Not for who asks, where and as whom (`aws.py`).

Rules of this file:

1. The SDK is imported by functions of this file, when they are called.
2. Its log lines quote requests and answers: while it works for us, those below ERROR are dropped. What others
   in this process ask by it is theirs to log.
3. Nothing of its errors' texts is kept, only their kind; what AWS itself said is a `Fault`.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.vendors.aws_answer import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.vendors.http1 import Reply

__all__ = [
    "answer_of",
    "ask",
    "config",
    "core_session",
    "hush_loggers",
    "known",
    "misshapen",
    "quiet",
    "sdk_errors",
]

_LOGGERS = ("botocore", "boto3")
_REFUSED = 300  # from this status on
_working = threading.local()


class _Raw:
    """The body of an answer, as the SDK wants to read it."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def stream(self, *_more: object, **_options: object) -> Iterator[bytes]:
        yield self._reply.body


class _Quiet(logging.Filter):
    """Drops what the SDK says while it works for us: it quotes requests and answers."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or not getattr(_working, "depth", 0)


_QUIET = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Let the SDK say nothing on this thread meanwhile."""
    _working.depth = getattr(_working, "depth", 0) + 1
    try:
        yield
    finally:
        _working.depth -= 1


def hush_loggers() -> None:
    """Put the filter on every logger of the SDK there is by now: filters are not inherited."""
    for name in tuple(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LOGGERS:
            logging.getLogger(name).addFilter(_QUIET)


def core_session(place: str, profile: str | None, carry: Callable[..., object]) -> Any:  # noqa: ANN401 -- the SDK's own class
    """
    Give a session of the SDK that has nothing loaded yet.

    Args:
        place: the backend's name.
        profile: of the shared files, or None.
        carry: answers in place of the SDK's HTTP session, as a handler of `before-send`.

    Raises:
        BackendConfigError: the SDK is not installed.
    """
    try:
        import boto3  # noqa: F401, PLC0415 -- half a second, for who asks AWS alone
        from botocore import session  # noqa: PLC0415 -- as above
    except ImportError:
        raise BackendConfigError(
            f"the backend {place} needs the package boto3", hint="pip install 'strongroom[aws]'"
        ) from None
    hush_loggers()
    core = session.Session(profile=profile)
    core.register_component("data_loader", _loader())
    core.register("before-send", carry)
    return core


@lru_cache(maxsize=1)
def _loader() -> Any:  # noqa: ANN401 -- as above
    """Give what reads the SDK's descriptions of services: megabytes, the same for every session."""
    from botocore.loaders import create_loader  # noqa: PLC0415 -- as `core_session`

    return create_loader()


def sdk_errors() -> tuple[type[Exception], ...]:
    """Give what the SDK raises of its own; asked for only where something was raised."""
    try:
        from botocore import exceptions, parsers  # noqa: PLC0415 -- as `core_session`
    except ImportError:
        return ()
    # The last six: what its parsers make of JSON that is deep or has a member of another type, and what the
    # system says of files and programs that its configuration names.
    return (
        exceptions.BotoCoreError,
        exceptions.ClientError,
        parsers.ResponseParserError,
        AttributeError,
        TypeError,
        KeyError,
        ValueError,
        RecursionError,
        OSError,
    )


def ask(client: Any, operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:  # noqa: ANN401 -- as above
    """Let *client* do *operation*, called as AWS calls it. Raises what `sdk_errors` gives."""
    hush_loggers()  # those it brought
    from botocore import xform_name  # noqa: PLC0415 -- as `core_session`

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
        (
            (FileNotFoundError, NotADirectoryError, PermissionError),
            "a file or credential_process in the AWS configuration",
            "check ~/.aws/config and ~/.aws/credentials, and what they name",
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


def known(error: Exception, place: str) -> StrongroomError | Fault:
    """Give what of ours an error of the SDK is; nothing of its text is kept."""
    from botocore import exceptions as sdk  # noqa: PLC0415 -- as `core_session`
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 -- as above

    if isinstance(error, sdk.ClientError):
        return _fault(error.response)
    if isinstance(error, ResponseParserError):
        return misshapen(place)
    for kinds, what, hint in _configured_wrongly(sdk):
        if isinstance(error, kinds):
            return BackendConfigError(f"{what} of the backend {place} cannot be used", hint=hint)
    if isinstance(error, sdk.ParamValidationError):
        return InvalidInputError(f"the backend {place} cannot ask that: AWS takes no such argument")
    if isinstance(error, _no_identity(sdk)):
        return NotAuthenticatedError(
            f"the backend {place} has nothing to show AWS ({type(error).__name__})",
            hint="set aws_access_key_id, profile_name or role_arn, or run where a role is attached",
        )
    return BackendUnavailableError(f"the backend {place} failed with {type(error).__name__}", backend=place)


def misshapen(place: str) -> BackendUnavailableError:
    """Give the error of an answer that is none of AWS."""
    return BackendUnavailableError(
        f"the backend {place} gave an answer that is none of AWS",
        backend=place,
        hint="check endpoint_url, and what stands between",
    )


def config() -> Any:  # noqa: ANN401 -- the SDK's own class
    """Give how every client is set: asking once, without proxies."""
    from botocore.config import Config  # noqa: PLC0415 -- as `core_session`

    # What is sent and read is our transport's; the SDK's own pool is never used.
    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"}, proxies={}, user_agent_extra="strongroom"
    )


def answer_of(request: Any, reply: Reply, place: str) -> Any:  # noqa: ANN401 -- the SDK's own classes
    """
    Give *reply* as the SDK wants to have it.

    Raises:
        BackendUnavailableError: it is none of AWS. The SDK would take the page of some gateway for an answer
            with nothing in it.
    """
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415 -- as `core_session`

    is_json = "X-Amz-Target" in request.headers
    if is_json and reply.status < _REFUSED and reply.body[:1] not in (b"", b"{"):
        raise misshapen(place)
    return AWSResponse(request.url, reply.status, reply.headers, _Raw(reply))
