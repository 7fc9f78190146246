"""The server's refusals as our errors, and answers that cannot be."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

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
    StrongroomError,
    TamperedError,
)
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.ref import Kind
    from strongroom.wire.shape import Problem

NAME = "server"
"""What an outage names as the backend that gave no answer."""

_MAX_TEXT_CHARACTERS = 1000
_MAX_RETRY_SECONDS = 86_400.0
_TOKEN = re.compile(r"srm_[a-z]_[A-Za-z0-9_-]+")


class _Named(Protocol):
    """What of an answer says which entry it is about."""

    @property
    def kind(self) -> Kind: ...
    @property
    def name(self) -> str: ...
    @property
    def team(self) -> str | None: ...


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


def _wait(problem: Problem) -> timedelta | None:
    seconds = problem.retry_after
    if seconds is None or not 0 <= seconds <= _MAX_RETRY_SECONDS:
        return None
    return timedelta(seconds=seconds)


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
