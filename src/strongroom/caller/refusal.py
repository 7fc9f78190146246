"""The server's refusals as our errors, and answers that cannot be."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias

from strongroom.caller.frames import ABSENT
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

    from strongroom.caller.frames import Answer, Refusal
    from strongroom.model.ref import Kind

NAME = "server"
"""What an outage names as the backend that gave no answer."""

_MAX_TEXT_CHARACTERS = 1000
_MAX_RETRY_SECONDS = 86_400.0
_TOKEN = re.compile(r"srm_[a-z]_[A-Za-z0-9_-]+")


class _Refusing(Protocol):
    """Why something is refused, as a server's `Problem` says it."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def hint(self) -> str | None: ...
    @property
    def retry_after(self) -> float | None: ...


class _Named(Protocol):
    """What of an answer says which entry it is about."""

    @property
    def kind(self) -> Kind: ...
    @property
    def name(self) -> str: ...
    @property
    def team(self) -> str | None: ...


_Making: TypeAlias = "Callable[[str, _Refusing, str | None, Ref | None], StrongroomError]"


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


def error_of(problem: _Refusing, *, ref: Ref | None = None, status: int = 0) -> StrongroomError:
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


def _wait(problem: _Refusing) -> timedelta | None:
    seconds = problem.retry_after
    if seconds is None or not 0 <= seconds <= _MAX_RETRY_SECONDS:
        return None
    return timedelta(seconds=seconds)


def _clean(text: str) -> str:
    """Give a text of the server's as it may be shown: bounded, printable, without any token of ours."""
    short = "".join(one if one.isprintable() else " " for one in text[:_MAX_TEXT_CHARACTERS])
    return _TOKEN.sub("srm_…", short)


def _plain(
    kind: type[StrongroomError],
) -> Callable[[str, _Refusing, str | None, Ref | None], StrongroomError]:
    return lambda message, _problem, hint, _ref: kind(message, hint=hint)


def _denied(message: str, _problem: _Refusing, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return AccessDeniedError(message, reason=message, hint=hint)


def _conflict(message: str, problem: _Refusing, hint: str | None, _ref: Ref | None) -> StrongroomError:
    current = getattr(problem, "current_version", None)  # an agent does not tell it
    return ConflictError(message, current_version=None if current is None else _clean(current), hint=hint)


def _unavailable(message: str, problem: _Refusing, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return BackendUnavailableError(message, backend=NAME, retry_after=_wait(problem), hint=hint)


def _limited(message: str, problem: _Refusing, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return RateLimitedError(message, retry_after=_wait(problem), hint=hint)


def _sealed(message: str, problem: _Refusing, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return SealedError(message, retry_after=_wait(problem), hint=hint)


def _malformed(message: str, _problem: _Refusing, hint: str | None, ref: Ref | None) -> StrongroomError:
    return MalformedEntryError(message, backend=NAME, ref="" if ref is None else str(ref), hint=hint)


def _not_recorded(message: str, _problem: _Refusing, hint: str | None, _ref: Ref | None) -> StrongroomError:
    return NotRecordedError(message, folder=NAME, hint=hint)


_ERRORS: dict[str, _Making] = {
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
    "step_up_required": _denied,
    "read_only": _plain(ReadOnlyError),
    "not_found": _plain(NotFoundError),
    "conflict": _conflict,
    "precondition_failed": _conflict,
    "backend_unavailable": _unavailable,
    "overloaded": _unavailable,
    "rate_limited": _limited,
    "backend_config": _plain(BackendConfigError),
    "settings": _plain(BackendConfigError),
    "sealed": _sealed,
    "malformed_entry": _malformed,
    "tampered": _plain(TamperedError),
    "not_recorded": _not_recorded,
    "unsupported": _plain(BackendConfigError),
    "unsupported_version": _plain(BackendConfigError),
}

_BY_STATUS: dict[int, _Making] = {
    400: _plain(InvalidInputError),
    401: _plain(NotAuthenticatedError),
    403: _denied,
    409: _conflict,
    412: _conflict,
    413: _plain(InvalidInputError),
    415: _plain(InvalidInputError),
    422: _plain(InvalidInputError),
    429: _limited,
}


# --- an agent's ----------------------------------------------------------------------------------------


class _Told:
    """The refusal of an agent, as `Problem` says one."""

    __slots__ = ("code", "hint", "message", "retry_after")

    def __init__(self, refusal: Refusal) -> None:
        self.code = refusal.code
        self.message = refusal.message
        self.hint = refusal.hint
        self.retry_after = None if refusal.retry_ms is None else refusal.retry_ms / 1000


def agent_error(refusal: Refusal, *, backend: str | None = None, ref: str = "") -> StrongroomError:
    """
    Give the error that an agent's *refusal* tells of.

    Args:
        refusal: what it said.
        backend: which of its backends it is about.
        ref: what was asked for, as people read it.
    """
    error = error_of(_Told(refusal))
    reason = _clean(refusal.reason) if refusal.reason else None
    if isinstance(error, (BackendUnavailableError, MalformedEntryError)):
        error.backend = _clean(backend or "agent")
    if isinstance(error, MalformedEntryError):
        error.ref = ref
    if isinstance(error, (AccessDeniedError, MalformedEntryError)) and reason is not None:
        error.reason = reason
    if isinstance(error, NotRecordedError):
        error.folder = "agent"
    return error


def outcome_error(answer: Answer, kind: str, name: str, team: str | None) -> StrongroomError:
    """Give the error of an agent's *answer* that holds no value."""
    refusal = answer.refusal
    if refusal is not None and refusal.code == "invalid_input":
        # Said here, a name that is none is refused as everywhere: with the place of what is wrong in it.
        wrong = _wrong_name(kind, name, team)
        if wrong is not None:
            return wrong
    shown = _shown(kind, name, team)
    if answer.outcome == ABSENT:
        return absent(kind, name, shown, refusal)
    if refusal is not None:
        return agent_error(refusal, backend=answer.backend, ref=shown)
    return BackendUnavailableError(
        f"the agent gave no answer about {shown}",
        backend="agent",
        hint="check that it is no older than this",
    )


def not_json(error: InvalidInputError, answer: Answer, name: str, team: str | None) -> MalformedEntryError:
    """Give the error of a variable that is no JSON, as `Lookup.json_of` says it."""
    shown, backend = _shown("variable", name, team), _clean(answer.backend or "agent")
    return MalformedEntryError(
        f"{shown} in the backend {backend} is no JSON: {error}",
        backend=backend,
        ref=shown,
        offset=error.offset,
        hint=error.hint,
    )


def _shown(kind: str, name: str, team: str | None) -> str:
    return f'{kind} "{_clean(name)}"' + (f" (team {_clean(team)})" if team else "")


def absent(kind: str, name: str, shown: str, refusal: Refusal | None = None) -> NotFoundError:
    """Give the error of a lookup that found nothing, and what to type next."""
    from shlex import quote  # noqa: PLC0415 -- only for the hint

    hint = refusal.hint if refusal is not None and refusal.hint else None
    typed = f"strongroom explain {kind} {quote(name)} shows who was asked"
    return NotFoundError(f"{shown} is in no backend", hint=typed if hint is None else _clean(hint))


def unsayable(kind: object, name: object, team: object) -> InvalidInputError:
    """Give the error of a name that no frame can hold."""
    wrong = _wrong_name(kind, name, team)
    return InvalidInputError("a name or team is too long to be said") if wrong is None else wrong


def _wrong_name(kind: object, name: object, team: object) -> InvalidInputError | None:
    try:
        Ref(kind, name, team)  # type: ignore[arg-type]  # it refuses what is none
    except InvalidInputError as error:
        return error
    return None
