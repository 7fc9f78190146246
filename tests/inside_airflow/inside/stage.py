"""
Run a scenario inside real Airflow: `python stage.py script.py told.json` with that Airflow's own Python.

The script finds `tell(**facts)`, `caught(call, …)`, `run_dag(dag_id, …)`, `bag()`, `please(order)`, `until`
and `HOME`; a Dag file imports them from `stage`. What it told is written as JSON when it ends, also when it
fails. It goes to a file and not to the output, which is looked through for leaks.
"""

# ruff: noqa: PLC0415 -- Airflow is imported when a scenario asks for it

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

from shortly import speak_shortly

# Airflow makes a hundred thousand objects that stay: looking through them again and again costs seconds.
gc.set_threshold(100_000, 50, 50)

HOME = Path(os.environ["AIRFLOW_HOME"])
ORDERS = HOME.parent / "orders"
PATIENCE_SECONDS = 60
_told = {}
_bags = {}


def tell(**facts):
    """Keep *facts* for the tests; they become JSON."""
    _told.update(facts)


def caught(call, *arguments, **options):
    """Give {"value"} of a call, or {"error", "bases", "text"} of what it raised; BaseException, too."""
    try:
        return {"value": call(*arguments, **options)}
    except BaseException as error:  # noqa: BLE001 -- what stops a task in 2 is one
        bases = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
        return {"error": type(error).__name__, "bases": bases, "text": str(error)}


def please(order):
    """Let the test do what it knows by the name *order*, and give what that gave when it is done."""
    number = len(list(ORDERS.glob("*.order")))
    asked, answered = ORDERS / f"{number}.order", ORDERS / f"{number}.done"
    asked.with_suffix(".new").write_text(order)
    asked.with_suffix(".new").rename(asked)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not answered.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody did {order}")
        time.sleep(0.01)
    return json.loads(answered.read_text())


def until(is_so, seconds=PATIENCE_SECONDS):
    """Give what *is_so* gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        if time.monotonic() > deadline:
            raise TimeoutError("it never was so")
        time.sleep(0.02)
    return found


def bag(*, is_fresh=False):
    """Parse the Dag folder, once unless *is_fresh*; gives the DagBag (`.dags`, `.import_errors`)."""
    if is_fresh or "bag" not in _bags:
        try:
            from airflow.dag_processing.dagbag import DagBag
        except ImportError:
            from airflow.models.dagbag import DagBag
        folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
        if folder not in sys.path:
            sys.path.append(folder)  # as Airflow's own commands do
        _bags["bag"] = DagBag(folder)
    return _bags["bag"]


def run_dag(dag_id, conf=None, *, is_supervised=False, **options):
    """
    Run a Dag of the folder with `dag.test()`, as `airflow dags test` does.

    Args:
        is_supervised: each task in a process of its own below a supervisor, with a log file; needs
            `environ=inside.supervised` of the run.

    Returns:
        state of the run; tasks: states by task id, `id[index]` for mapped ones; xcoms: what they returned,
        likewise; run_id; stopped: the name of what ended the command itself.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    speak_shortly()
    dag = bag().dags.get(dag_id)
    if dag is None:
        raise LookupError(f"no Dag {dag_id}: {bag().import_errors}")
    stopped = None
    try:
        dag.test(run_conf=conf, use_executor=is_supervised, **options)
    except BaseException as error:
        if is_supervised:
            raise
        stopped = type(error).__name__  # in 2 it ends the command, and the task has failed before
    tasks, xcoms = {}, {}
    with create_session() as session:
        run = session.query(DagRun).filter(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).first()
        asked = session.query(TaskInstance).filter(
            TaskInstance.dag_id == dag_id, TaskInstance.run_id == run.run_id
        )
        for ti in asked:
            name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
            tasks[name] = str(getattr(ti.state, "value", ti.state))
            value = _returned(ti, session)
            if value is not None:
                xcoms[name] = value
        state, run_id = str(getattr(run.state, "value", run.state)), run.run_id
    return {"state": state, "tasks": tasks, "xcoms": xcoms, "run_id": run_id, "stopped": stopped}


def _returned(ti, session):
    try:
        from airflow.models.xcom import XComModel
    except ImportError:
        return ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index, session=session)
    # Airflow 3 keeps it as it is, and its `xcom_pull` here reads a text as JSON once more: eight digits that
    # happen to be decimal would be a number.
    of_task = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    return session.query(XComModel.value).filter_by(key="return_value", **of_task).scalar()


def main(script, told):
    """Run the file *script* and write what it told to the file *told*."""
    stands = {
        "__name__": "scenario",
        "__file__": str(script),
        "HOME": HOME,
        "tell": tell,
        "caught": caught,
        "bag": bag,
        "run_dag": run_dag,
        "please": please,
        "until": until,
    }
    try:
        exec(compile(script.read_text(), str(script), "exec"), stands)
    finally:
        told.write_text(json.dumps(_told, default=repr))


if __name__ == "__main__":
    sys.modules["stage"] = sys.modules["__main__"]  # for Dag files
    main(Path(sys.argv[1]), Path(sys.argv[2]))
