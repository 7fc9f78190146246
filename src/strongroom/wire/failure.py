"""
From what went wrong to an answer over HTTP: the one table of statuses and the one shape of an error, for
whoever answers: the server and the host agent.

Rules of this file:

1. A handler raises; nobody builds an error's answer but `answer_of`.
2. No message repeats anything of the request: not its body, not a header, not a foreign exception.
3. Where files are is for who runs the process: no path of its machine is answered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

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
from strongroom.wire.shape import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

__all__ = [
    "STATUS",
    "CrossSiteError",
    "ErrorAnswer",
    "FieldError",
    "MediaTypeError",
    "MethodError",
    "MisdirectedError",
    "OverloadError",
    "PreconditionError",
    "ReadOnlyModeError",
    "RequestTimeoutError",
    "StepUpError",
    "TooLargeError",
    "answer_of",
    "hides_path",
    "problem_of",
    "refusal_of",
    "without_paths",
]

# From where a path begins to the last word of the clause with a slash: names of folders have blanks.
_PATH = re.compile(r"""(?<![^\s'"(=\[])/[^\s'":;,()]+(?:[^:;,'"()]*/[^\s'":;,()]*)?""")
_HIDDEN_PATH = "[path]"


class FieldError(InvalidInputError):
    """
    A well-formed body has a wrong field.

    Attributes:
        field: where: `$.refs[0].kind`.
    """

    code = "invalid_field"

    def __init__(self, message: str, *, field: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class MediaTypeError(InvalidInputError):
    """The body is not of a media type this endpoint takes."""

    code = "unsupported_media_type"


class TooLargeError(InvalidInputError):
    """The body, or what it holds, is over a limit."""

    code = "too_large"


class MisdirectedError(InvalidInputError):
    """The request names a host that this server does not answer for."""

    code = "wrong_host"


class MethodError(InvalidInputError):
    """
    This path has no such method.

    Attributes:
        allowed: the methods it has.
    """

    code = "method_not_allowed"

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__("this path has no such method", hint=f"use {', '.join(self.allowed)}")


class PreconditionError(ConflictError):
    """`If-Match` or `If-None-Match` does not hold."""

    code = "precondition_failed"


class CrossSiteError(AccessDeniedError):
    """A change that came with a cookie did not provably come from our own pages."""

    code = "cross_site"


class StepUpError(AccessDeniedError):
    """A person must prove anew who he is before this: a session that was proven lately is asked for."""

    code = "step_up_required"


class ReadOnlyModeError(AccessDeniedError):
    """The server is in read-only mode."""

    code = "read_only"


class OverloadError(BackendUnavailableError):
    """The server itself has no place left for this request."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message, backend="server", retry_after=retry_after)


class RequestTimeoutError(InvalidInputError):
    """The request did not arrive in time."""

    code = "request_timeout"


STATUS: dict[type[StrongroomError], int] = {
    StrongroomError: 500,
    InvalidInputError: 400,
    FieldError: 422,
    MediaTypeError: 415,
    TooLargeError: 413,
    MethodError: 405,
    MisdirectedError: 421,
    RequestTimeoutError: 408,
    NotAuthenticatedError: 401,
    AccessDeniedError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    PreconditionError: 412,
    ReadOnlyError: 403,
    RateLimitedError: 429,
    BackendUnavailableError: 503,
    NotRecordedError: 503,
    SealedError: 503,
    BackendConfigError: 500,
    SettingsError: 500,
    MalformedEntryError: 502,
    TamperedError: 502,
}


# What is wrong on our side, so that a message may name a file of ours.
_OURS = (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    MalformedEntryError,
    SealedError,
    SettingsError,
    TamperedError,
)


class ErrorAnswer(NamedTuple):
    """
    What an error says on the wire.

    Args:
        status: HTTP's.
        body: JSON, as it is sent.
        headers: names in lower case.
    """

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def status_of(error: StrongroomError) -> int:
    """Give the status of *error*: that of the nearest class the table names."""
    if isinstance(error, InvalidInputError) and error.limit is not None and type(error) is InvalidInputError:
        return 413
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def members_of(error: StrongroomError) -> dict[str, object]:
    """
    Give `code`, `message` and, where there are any, `hint`, `field`, `retry_after` in seconds and
    `current_version`.
    """
    if isinstance(error, NotRecordedError):
        # It names the folder, which is for who runs the process and reads its log.
        told = "the audit record cannot be written, so nothing is answered"
        return {"code": error.code, "message": told, "hint": "the log tells why"}
    is_ours = isinstance(error, _OURS)
    members: dict[str, object] = {
        "code": error.code,
        "message": without_paths(str(error)) if is_ours else str(error),
    }
    if error.hint:
        members["hint"] = without_paths(error.hint) if is_ours else error.hint
    field = getattr(error, "field", None)
    if field:
        members["field"] = field
    current = getattr(error, "current_version", None)
    if isinstance(current, str) and current:
        members["current_version"] = current
    seconds = retry_seconds(error)
    if seconds is not None:
        members["retry_after"] = seconds
    return members


def problem_of(error: StrongroomError) -> Problem:
    """Give *error* as it stands inside an answer that is none."""
    members: dict[str, Any] = members_of(error)
    return Problem(**members)


def without_paths(text: str) -> str:
    """Give *text* with `[path]` in place of every absolute path."""
    return _PATH.sub(_HIDDEN_PATH, text) if "/" in text else text


def hides_path(error: StrongroomError) -> bool:
    """Tell whether the answer of *error* leaves a path out that its message has."""
    return isinstance(error, _OURS) and without_paths(str(error)) != str(error)


def retry_seconds(error: StrongroomError) -> int | None:
    """Give how many whole seconds to wait, at least one, or None where the error does not say."""
    after: timedelta | None = getattr(error, "retry_after", None)
    return None if after is None else max(1, int(-(-after.total_seconds() // 1)))


def headers_of(error: StrongroomError) -> tuple[tuple[bytes, bytes], ...]:
    """Give the headers that belong to *error*, whatever shape its body has."""
    seconds = retry_seconds(error)
    headers = [] if seconds is None else [(b"retry-after", str(seconds).encode())]
    if isinstance(error, NotAuthenticatedError):
        headers.append((b"www-authenticate", b'Bearer realm="strongroom"'))
    if isinstance(error, MethodError):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return tuple(headers)


def answer_of(error: StrongroomError, *, request_id: str = "") -> ErrorAnswer:
    """Give our own shape of *error*; `request_id` stands in it where the trouble is on our side."""
    status = status_of(error)
    members = members_of(error)
    if status >= 500 and request_id:  # noqa: PLR2004 -- HTTP's server errors
        members["request_id"] = request_id
    return ErrorAnswer(status, msgspec.json.encode({"error": members}), headers_of(error))


def refusal_of(error: msgspec.MsgspecError, *, hint: str = "see /v1/openapi.json") -> InvalidInputError:
    """
    Give our refusal of a body that *error* says is wrong: which field and which type, nothing of it. *hint*
    says where the right shape is told.

    Raised by the caller outside `except`, so that the foreign text is not its context.
    """
    if not isinstance(error, msgspec.ValidationError):
        return InvalidInputError("the body is not JSON", hint="check quotes, commas and braces")
    text, _, rest = str(error).partition(" - at `")
    field = rest.rstrip("`") or "$"
    if text.startswith(("Expected ", "Object missing required field ")):
        return FieldError(text[0].lower() + text[1:], field=field)
    if text.startswith("Object contains unknown field"):
        return FieldError("there is a field that is not known here", field=field, hint=hint)
    return FieldError("the value is none of those allowed here", field=field, hint=hint)
