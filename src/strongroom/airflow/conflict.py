"""
What Airflow writes behind our chain: `Variable.set` of a name that we answer first.

Airflow asks every secrets backend for the *value* before it writes, and warns by the name of a class. We tell
it that nothing is here, having read nothing, and say ourselves what it could not: which place answers, and
what to use instead. One line in the log of the task.
"""

from __future__ import annotations

import logging
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from strongroom.airflow.source import Source

__all__ = ["is_write_check", "warn"]

_log = logging.getLogger("strongroom.airflow")
# By the function that looks: Airflow's core in 2 and 3, and the Task SDK.
_CHECKS = {
    "check_for_write_conflict": "airflow.models.variable",
    "_set_variable": "airflow.sdk.execution_time.context",
}
_DEEPEST = 3  # frames between that function and our method: core 3 calls backends through a helper


def is_write_check() -> bool:
    """Tell whether whoever called my caller looks for a conflict before it writes a variable."""
    frame = sys._getframe(1).f_back  # noqa: SLF001 -- the only way to see who asks
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        if _CHECKS.get(frame.f_code.co_name) == frame.f_globals.get("__name__", ""):
            return True
        frame = frame.f_back
    return False


def warn(source: Source, key: str, team: str | None) -> None:
    """
    Warn that what is written now will not be read, if so: no value is asked for. Never raises.

    Args:
        source: who answers reads of this process.
        key: of the variable that is about to be written.
        team: whose it is.
    """
    try:
        line = _told(source, key, team)
    except Exception as error:  # noqa: BLE001 -- it is Airflow that writes, and its write goes on
        line = _unknown(key, getattr(error, "code", type(error).__name__))
    if line:
        _log.warning("%s", line)


def _told(source: Source, key: str, team: str | None) -> str | None:
    from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- writes are seldom
    from strongroom.model.ref import Ref  # noqa: PLC0415 -- as above

    try:
        ref = Ref("variable", key, team)
    except InvalidInputError:
        return None  # a name that we never answer
    found = source.room().lookup.explain(ref)
    outcome = found.outcome.value
    if outcome == "absent" or _is_told_by_airflow(found.backend, key):
        return None
    holder = found.backend or next(
        (step.backend for step in found.steps if step.outcome.value == outcome), "a backend"
    )
    return (
        f'Variable.set writes the variable "{key}" to Airflow\'s own database, where it will not be read: '
        f"{holder} ({source.place}) answers for that name{_how(outcome)}; use strongroom.write or "
        f"StrongroomWriteOperator instead, or take it out of {holder}"
    )


def _how(outcome: str) -> str:
    return "" if outcome == "found" else f" (now: {outcome})"


def _is_told_by_airflow(holder: str | None, key: str) -> bool:
    """Tell whether Airflow warns by itself: its Task SDK looks at the environment of this process, too."""
    is_here = f"AIRFLOW_VAR_{key.upper()}" in os.environ
    return holder == "env" and is_here and "airflow.sdk.execution_time.context" in sys.modules


def _unknown(key: str, why: str) -> str:
    shown = "".join(one if one.isprintable() else " " for one in str(key))[:250]
    return (
        f'Variable.set writes the variable "{shown}" to Airflow\'s own database; whether Strongroom answers '
        f"for that name instead cannot be told ({why}); strongroom.write writes where it is read"
    )
