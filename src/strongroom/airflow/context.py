"""
For which run the code that asks is running, as far as this process says.

Not for who asks: all of this is the process's own word, a claim (L0), and goes along for the record and for
rules that look at claims. Code of a task can change every one of these.

Rules of this file:

1. It imports nothing of Airflow: it looks at what this process has loaded already, so it costs microseconds,
   and it never raises. What a release of Airflow has moved is a claim less.
2. What Airflow puts into the environment of a task counts where it was inherited, by what a task has started:
   in the process of the task itself it stays behind after the task, and the next one is another's.
3. The variables of the running context come first: in a triggerer all triggers share one process, and only
   they tell one from another.
"""

from __future__ import annotations

import os
import sys

from strongroom.airflow.process import Process, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from strongroom import policy
    from strongroom.caller.frames import Run

__all__ = ["IN_RUN", "claimed", "run_now"]

IN_RUN = frozenset({"task", "trigger"})
"""Sources of a claim by code that runs for a task; what other code reads may be read for all of them."""
# Of no run, what kind of process it is. A task or trigger of which nothing is known is none of these.
_SOURCES: dict[Process, Run] = {
    process: (None,) * 9 + (source,)
    for process, source in (
        (Process.SERVER, "server"),
        (Process.SUPERVISOR, "server"),
        (Process.CLI, "cli"),
        (Process.PARSE, "parse"),
    )
}
_MAX_CHARACTERS = 250  # of one text: what the agent and the server take
_CONTEXTS = ("airflow.sdk.definitions._internal.contextmanager", "airflow.models.taskinstance")


def run_now() -> Run | None:
    """
    Give what is known of the run for which the calling code works, None where there is none.

    Returns:
        dag_id, task_id, run_id, map_index, try_number, bundle, ti_id, bundle_version, team, source.
    """
    try:
        return _of_trigger() or _of_log() or _of_stack() or _of_parent() or _SOURCES.get(which())
    except Exception:  # noqa: BLE001 -- rule 1: Airflow's insides, and a lookup must not fail for a claim
        return None


def claimed() -> policy.Run | None:
    """Give the same as what a room takes: proven by nothing."""
    said = run_now()
    if said is None:
        return None
    from strongroom.policy import Assurance, Run  # noqa: PLC0415 -- whoever opened a room has it

    return Run(Assurance.CLAIMED, *said)


def _of_log() -> Run | None:
    """What Airflow 3 binds for the log lines of a task, and of each trigger."""
    module = sys.modules.get("structlog.contextvars")
    if module is None:
        return None
    bound = _bound(module)
    if "trigger_id" in bound:
        return _run(bound, "trigger")
    # The API server binds a `ti_id` while it answers about a task: that is not the code of one.
    if not bound.get("dag_id") or not bound.get("ti_id"):
        return None
    instance = _stacked()
    known = _told[0]
    if known is not None and known[0] == bound and known[1] == id(instance):
        return known[2]
    bundle, version, team = _around(instance)
    run = _run(bound, "task", bundle, version, team)
    _told[0] = (bound, id(instance), run)
    return run


def _bound(log: ModuleType) -> Mapping[str, object]:
    """Give what `structlog.contextvars.get_contextvars` gives, without a copy of the whole context."""
    held, prefix = getattr(log, "_CONTEXT_VARS", None), getattr(log, "STRUCTLOG_KEY_PREFIX", None)
    if held is None or prefix is None:
        found: Mapping[str, object] = log.get_contextvars()
        return found
    begin = len(prefix)
    given = ((name[begin:], held[name].get(...)) for name in tuple(held))
    return {name: value for name, value in given if value is not ...}


# What was said last in this process: a task says the same for each of its lookups.
_told: list[tuple[Mapping[str, object], int, Run] | None] = [None]


def _of_trigger() -> Run | None:
    """What Airflow 2 binds for each trigger."""
    module = sys.modules.get("airflow.utils.log.trigger_handler")
    if module is None:
        return None
    held = getattr(module, "ctx_trigger_id", None)
    if held is None or held.get(None) is None:
        return None
    instance = module.ctx_task_instance.get(None)
    return _run({} if instance is None else _said(instance), "trigger")


def _of_stack() -> Run | None:
    """The context of the task that is executing in this process: `dags test`, Airflow 2, another thread."""
    instance = _stacked()
    if instance is None:
        return None
    bundle, version, team = _around(instance)
    return _run(_said(instance), "task", bundle, version, team)


def _of_parent() -> Run | None:
    """What the task said that started this process, or one above it."""
    if not _parent:
        _parent.append(_of_environment(_inherited()))
    return _parent[0]


_parent: list[Run | None] = []


def _inherited() -> dict[str, str]:
    """Give the environment that this program was started with; a fork has that of its parent."""
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- no path is needed
            pairs = [pair.partition(b"=") for pair in file.read().split(b"\0")]
    except OSError:
        return dict(os.environ)  # another kernel: it may be behind by a task, in `dags test`
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _of_environment(environ: Mapping[str, str]) -> Run | None:
    if "AIRFLOW_CTX_DAG_ID" not in environ:
        return None
    tried = environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
    said: dict[str, object] = {
        "dag_id": environ["AIRFLOW_CTX_DAG_ID"],
        "task_id": environ.get("AIRFLOW_CTX_TASK_ID"),
        "run_id": environ.get("AIRFLOW_CTX_DAG_RUN_ID"),
        "try_number": int(tried) if tried.isascii() and tried.isdigit() else None,
    }
    return _run(said, "task", team=environ.get("AIRFLOW_CTX_TEAM_NAME"))


def _stacked() -> object | None:
    for name in _CONTEXTS:
        stack = getattr(sys.modules.get(name), "_CURRENT_CONTEXT", None)
        if stack:
            instance: object = stack[-1].get("ti")
            return instance
    return None


def _said(instance: object) -> dict[str, object]:
    names = ("dag_id", "task_id", "run_id", "map_index", "try_number")
    said: dict[str, object] = {name: getattr(instance, name, None) for name in names}
    id_ = getattr(instance, "id", None)
    said["ti_id"] = None if id_ is None else str(id_)
    return said


def _around(instance: object | None) -> tuple[object, object, object]:
    """Bundle, its version and the team, which only the instance of a running task knows."""
    if instance is None:
        return None, None, os.environ.get("AIRFLOW_CTX_TEAM_NAME")
    bundle = getattr(instance, "bundle_instance", None)
    dag_run = getattr(getattr(instance, "_ti_context_from_server", None), "dag_run", None)
    team = getattr(dag_run, "team_name", None) or os.environ.get("AIRFLOW_CTX_TEAM_NAME")
    return getattr(bundle, "name", None), getattr(bundle, "version", None), team


def _run(
    said: Mapping[str, object],
    source: str,
    bundle: object = None,
    version: object = None,
    team: object = None,
) -> Run:
    return (
        _text(said.get("dag_id")),
        _text(said.get("task_id")),
        _text(said.get("run_id")),
        _number(said.get("map_index")),
        _number(said.get("try_number")),
        _text(bundle),
        _text(said.get("ti_id")),
        _text(version),
        _text(team),
        source,
    )


def _text(value: object) -> str | None:
    # Longer ones would be refused, and the read with them: a claim is not worth that.
    return value[:_MAX_CHARACTERS] or None if isinstance(value, str) else None


def _number(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < -1 or value >= 2**31:
        return None
    return value
