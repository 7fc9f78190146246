"""
How a lookup that failed crosses the edge to Airflow, so that Airflow stops there and says why.

Airflow takes nearly every exception of a secrets backend for "not here" and asks its next backend. What it
stops at differs by version and process, and so does the class that is made here:

| Airflow | class | and |
|---|---|---|
| 3 | a subclass of `AirflowSecretsBackendAccessDenied` | in servers also Starlette's `HTTPException` |
| 2 | a subclass of `AirflowTaskTimeout`, a `BaseException` | |

Rules of this file:

1. The text is one line and says what is true: which entry, which outcome, which place, what to do. Never a
   value, and no text of anything but our own errors.
2. The classes are made once per process, when the first lookup fails, and import Airflow only then.
"""

from __future__ import annotations

import sys

from strongroom import errors
from strongroom.airflow.process import Process, major

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["OUTCOMES", "edge_class", "edge_error", "outcome_of"]

DENIED = "denied"
UNAVAILABLE = "unavailable"
INVALID = "invalid"
OUTCOMES = {
    DENIED: ("DeniedError", 403),
    UNAVAILABLE: ("UnavailableError", 503),
    INVALID: ("InvalidError", 403),
}
"""The name of the class of each outcome, and the status of the API server."""

_DENIED = (errors.AccessDeniedError, errors.NotAuthenticatedError)
_INVALID = (
    errors.MalformedEntryError,
    errors.TamperedError,
    errors.BackendConfigError,
    errors.SettingsError,
    errors.InvalidInputError,
)
_ASKING = (Process.TASK, Process.TASK_PARSE, Process.PARSE, Process.TRIGGER)
"""Processes that ask a server and are none themselves; the others may be one, `dags test` its own."""
_LONGEST = 600  # characters of a text; a log line, not a page

_made: dict[tuple[str, int, bool], type[BaseException]] = {}


def outcome_of(error: BaseException) -> str:
    """Give `denied`, `invalid` or, for all else that can go wrong, `unavailable`."""
    if isinstance(error, _DENIED):
        return DENIED
    return INVALID if isinstance(error, _INVALID) else UNAVAILABLE


def text_of(error: BaseException, asked: str, place: str) -> str:
    """
    Give the one line that tells of *error*.

    Args:
        error: any; only those of ours are told with their texts.
        asked: the entry, as people read it.
        place: where it was asked for.
    """
    is_ours = isinstance(error, errors.StrongroomError)
    said = str(error) if is_ours else f"the lookup failed with {type(error).__name__}"
    hint = error.hint if isinstance(error, errors.StrongroomError) else None
    line = f"{asked} is {outcome_of(error)} (strongroom, {place}): {said}" + (f"; {hint}" if hint else "")
    return " ".join("".join(one if one.isprintable() else " " for one in line).split())[:_LONGEST]


def edge_error(
    error: BaseException,
    process: Process,
    *,
    asked: str = "",
    place: str = "",
    worded: Callable[[str], str] = str,
) -> BaseException:
    """
    Give what Airflow is to see of *error* in *process*: an exception at which it asks nobody else.

    Args:
        error: why the lookup failed.
        process: in which it did.
        asked: the entry, as people read it; what the text begins with.
        place: where it was asked for.
        worded: puts a text into the words of the place.
    """
    made = edge_class(outcome_of(error), process)
    return made(worded(text_of(error, asked, place)))


def edge_class(outcome: str, process: Process) -> type[BaseException]:
    """Give the class for *outcome* in *process*: the same one each time it is asked for."""
    version = major()
    is_answering = version == 3 and process not in _ASKING and "starlette.exceptions" in sys.modules  # noqa: PLR2004
    key = (outcome, version, is_answering)
    if key not in _made:
        name, status = OUTCOMES[outcome]
        bases = _bases(version, is_answering=is_answering)
        init = _answering(status, outcome) if is_answering else _plain
        _made[key] = type(
            name,
            bases,
            {
                "__init__": init,
                "__str__": _shown,
                "__reduce__": _reduced,
                "__module__": __name__,
                "__doc__": f"A lookup of strongroom's ended {outcome}: Airflow asks no other backend.",
                "outcome": outcome,
                "code": outcome,
            },
        )
    return _made[key]


def _bases(version: int, *, is_answering: bool) -> tuple[type[BaseException], ...]:
    if version == 0:
        return (PermissionError,)  # without Airflow, as in tests of ours
    stops = _denial() if version != 2 else None  # noqa: PLR2004 -- the major version
    if stops is None:
        from airflow.exceptions import AirflowTaskTimeout  # noqa: PLC0415 -- loaded by then

        return (AirflowTaskTimeout,)
    return (stops, sys.modules["starlette.exceptions"].HTTPException) if is_answering else (stops,)


def _denial() -> type[BaseException] | None:
    """Give the exception at which Airflow 3 stops; None before Task SDK 1.2.2, which stops as 2 does."""
    from airflow.sdk import exceptions  # noqa: PLC0415 -- loaded by then

    found: type[BaseException] | None = getattr(exceptions, "AirflowSecretsBackendAccessDenied", None)
    return found


def _plain(self: Any, text: str) -> None:  # noqa: ANN401 -- a class that is made above
    self.args = (text,)


def _answering(status: int, outcome: str) -> Callable[[Any, str], None]:
    def init(self: Any, text: str) -> None:  # noqa: ANN401 -- as above
        self.args = (text,)
        self.status_code = status
        self.detail = {"reason": outcome, "message": text}
        self.headers = None

    return init


def _shown(self: Any) -> str:  # noqa: ANN401 -- as above
    return str(self.args[0]) if self.args else type(self).__name__


def _reduced(self: Any) -> tuple[object, ...]:  # noqa: ANN401 -- as above
    return _remade, (self.outcome, str(self))


def _remade(outcome: str, text: str) -> BaseException:
    """Give the exception again in another process, as the class that Airflow stops at there."""
    from strongroom.airflow.process import which  # noqa: PLC0415 -- rarely needed

    return edge_class(outcome, which())(text)


def __getattr__(name: str) -> object:
    for outcome, (called, _) in OUTCOMES.items():
        if name == called:
            from strongroom.airflow.process import which  # noqa: PLC0415 -- only who catches one

            return edge_class(outcome, which())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
