"""
Which of Airflow's processes this is, seen from what is loaded in it; nothing is imported to find out.

The order of the questions matters: a task that LocalExecutor forked from a scheduler has inherited the
scheduler's `_AIRFLOW_PROCESS_CONTEXT=server`, so the channel to a supervisor is looked at first.

Everything here is a claim: code in a task can change all of it.
"""

from __future__ import annotations

import os
import sys
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Process", "has_portal", "major", "which"]

_RUNNER = "airflow.sdk.execution_time.task_runner"
_SUPERVISOR = "airflow.sdk.execution_time.supervisor"


class Process(str, Enum):
    """A process of Airflow's."""

    TASK = "task"
    TASK_PARSE = "task_parse"
    PARSE = "parse"
    TRIGGER = "trigger"
    DAGS_TEST = "dags_test"
    SERVER = "server"
    SUPERVISOR = "supervisor"
    CLI = "cli"
    UNKNOWN = "unknown"


def major() -> int:
    """Give 2 or 3, and 0 where Airflow is not loaded."""
    if "airflow.sdk" in sys.modules:  # versions of its own, and there is none beside 2
        return 3
    version = getattr(sys.modules.get("airflow"), "__version__", "")
    return int(version.partition(".")[0]) if isinstance(version, str) and version[:1].isdigit() else 0


def which() -> Process:
    """Tell which process this is now: one and the same is a task's parser first, and then its runner."""
    return _of_3() if major() != 2 else _of_2()  # noqa: PLR2004 -- the major version


# --- Airflow 3 ---------------------------------------------------------------------------------------


def _of_3() -> Process:
    comms = getattr(sys.modules.get(_RUNNER), "SUPERVISOR_COMMS", None)
    if comms is not None:
        return _with_comms(type(comms).__name__)
    if os.environ.get("_AIRFLOW_PROCESS_CONTEXT") == "server" and not _is_short_lived():
        return Process.SERVER
    words = sys.argv[1:3]
    if _is_called("airflow"):
        return Process.SERVER if words[:1] and words[0] in _SERVERS else Process.CLI
    return Process.SUPERVISOR if _SUPERVISOR in sys.modules else Process.UNKNOWN


def _with_comms(name: str) -> Process:
    if name == "TriggerCommsDecoder":
        return Process.TRIGGER
    if name == "InProcessSupervisorComms":
        return Process.DAGS_TEST
    if not _claims_task():
        return Process.PARSE
    return (
        Process.TASK
        if _is_executing("airflow.sdk.definitions._internal.contextmanager")
        else Process.TASK_PARSE
    )


def _claims_task() -> bool:
    structlog = sys.modules.get("structlog.contextvars")
    try:
        return structlog is not None and "ti_id" in structlog.get_contextvars()
    except Exception:  # noqa: BLE001 -- a stranger's module, which task code may have replaced
        return False


# --- Airflow 2 ---------------------------------------------------------------------------------------


def _of_2() -> Process:
    if _is_executing("airflow.models.taskinstance"):
        return Process.TASK
    if _is_in_trigger():
        return Process.TRIGGER
    if not _is_called("airflow"):
        return Process.UNKNOWN
    words = sys.argv[1:3]
    if words[:1] and words[0] in _SERVERS:
        return Process.PARSE if _is_parsing_child() else Process.SERVER
    return _COMMANDS_OF_2.get(" ".join(words), Process.CLI)


def _is_in_trigger() -> bool:
    handler = sys.modules.get("airflow.utils.log.trigger_handler")
    variable = getattr(handler, "ctx_task_instance", None)
    try:
        return variable is not None and variable.get(None) is not None
    except Exception:  # noqa: BLE001 -- as above
        return False


def _is_parsing_child() -> bool:
    """Tell whether this is the child that parses one file: multiprocessing names it after its file."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    try:
        return multiprocessing is not None and "DagFileProcessor" in multiprocessing.current_process().name
    except Exception:  # noqa: BLE001 -- as above
        return False


# --- both --------------------------------------------------------------------------------------------

_SERVERS = frozenset(
    (
        "scheduler",
        "api-server",
        "dag-processor",
        "triggerer",
        "webserver",
        "standalone",
        "celery",
        "kubernetes",
    )
)
"""Commands of Airflow's that stay."""
_COMMANDS_OF_2 = {"tasks run": Process.TASK_PARSE, "dags test": Process.DAGS_TEST}


def _is_called(name: str) -> bool:
    return bool(sys.argv) and os.path.basename(sys.argv[0] or "") in (name, "__main__.py")  # noqa: PTH119 -- cheap


def _is_short_lived() -> bool:
    """Tell whether a command runs that says `server` of itself and stays no longer than its answer."""
    return _is_called("airflow") and sys.argv[1:2] in (["connections"], ["variables"], ["dags"], ["tasks"])


def _is_executing(module: str) -> bool:
    found: Any = getattr(sys.modules.get(module), "_CURRENT_CONTEXT", None)
    try:
        return bool(found)
    except Exception:  # noqa: BLE001 -- as above
        return False


def has_portal() -> bool:
    """Tell whether this is a coroutine of a trigger that may wait from plain functions (greenback)."""
    greenback: Any = sys.modules.get("greenback")
    if greenback is None:
        return False
    try:
        return bool(greenback.has_portal())
    except Exception:  # noqa: BLE001 -- outside of any task of a loop it raises
        return False
