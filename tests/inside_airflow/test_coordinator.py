"""Our coordinator in the supervisor of real Airflow 3.3: what it announces, what it does if it cannot."""

from __future__ import annotations

import json
import re
from importlib import import_module

import pytest

from parts.agent import agent
from parts.oracle import records_in

DAGS = """
import datetime, os
from airflow.sdk import DAG, Variable, task

for queue in ("default", "announced", "named", "lost", "later"):
    with DAG(f"on_{queue}", start_date=datetime.datetime(2024, 1, 1), schedule=None,
             default_args={"queue": queue}):

        @task
        def reads(given=None):
            try:
                return Variable.get("region")
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        @task
        def forges():
            import strongroom
            from strongroom.caller.agent import AgentClient
            client = AgentClient(os.environ["AGENT"])
            client.claim(("forged", "forged", "forged", None, None, None, None, None, None, "task"))
            return client.variable("forged")

        reads() >> forges() if queue == "announced" else reads()
"""
SCRIPT = """
import gc, logging, airflow.sdk
from airflow.sdk.execution_time import supervisor

class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

lines, told = [], {}
logging.getLogger("strongroom.airflow").addHandler(Lines())

def runs(queue):
    lines.clear()
    run = run_dag(f"on_{queue}", is_supervised=True)
    told[queue] = {"tasks": run["tasks"], "read": run["xcoms"].get("reads"), "run_id": run["run_id"],
                   "forged": run["xcoms"].get("forges"), "warned": list(lines)}

for queue in ("default", "announced", "named", "lost"):
    runs(queue)
airflow.sdk.__version__ = "9.9.9"
runs("later")
told["after"] = caught(__import__("strongroom").variable, "region")
tell(**told)
"""


@pytest.fixture(scope="session")
def coordinating(airflow):
    place = airflow(3)

    def make(folder):
        (folder / "agent").mkdir()
        settings = 'chain = ["env"]\n[agent]\nannounced = "required"\n'
        environ = {"AIRFLOW_VAR_REGION": "eu", "AIRFLOW_VAR_FORGED": "read all the same"}
        with agent(folder / "agent", settings, environ=environ) as one:
            ours = {"classpath": "strongroom.airflow.StrongroomCoordinator"}
            coordinators = {
                "announced": ours,
                "named": {**ours, "kwargs": {"socket": str(one.socket), "sockett": "x"}},
                "lost": {**ours, "kwargs": {"socket": str(folder / "nobody.sock")}},
                "later": ours,
            }
            given = {
                **place.backend(socket=one.socket),
                **place.supervised,
                "AGENT": str(one.socket),
                "AIRFLOW__SDK__COORDINATORS": json.dumps(coordinators),
                "AIRFLOW__SDK__QUEUE_TO_COORDINATOR": json.dumps({queue: queue for queue in coordinators}),
            }
            ran = place.run(folder, SCRIPT, dags={"queues.py": DAGS}, environ=given)
            records = [[one.name, one.run or {}] for one in records_in(one.audit) if one.action == "read"]
            said = one.log() + "".join(
                file.read_text(errors="replace") for file in one.audit.rglob("*") if file.is_file()
            )
            return ran.keep(records=records, tokens=re.findall(r"eyJ[\w-]+\.eyJ", said))

    return place.once("coordinating", make)


@pytest.fixture(scope="session")
def told(coordinating):
    return coordinating.told


def test_a_run_that_is_announced_reads_where_the_agent_requires_it(told):
    assert told["announced"]["tasks"] == {"reads": "success", "forges": "success"}
    assert told["announced"]["read"] == "eu"
    assert told["announced"]["warned"] == []


def test_a_run_that_is_not_announced_is_refused_there(told):
    assert told["default"]["tasks"] == {"reads": "success"}
    assert told["default"]["read"].startswith('DeniedError: variable "region" is denied')


def test_what_a_task_claims_to_be_is_overruled_by_what_was_announced(coordinating):
    [run] = [run for name, run in coordinating.kept["records"] if name == "forged"]
    assert (run["dag_id"], run["task_id"], run["announced"]) == ("on_announced", "forges", True)
    assert run["run_id"] == coordinating.told["announced"]["run_id"]
    assert re.fullmatch(r"[0-9a-f-]{36}", run["ti_id"])


def test_the_agent_may_be_named_by_the_coordinator(told):
    assert told["named"]["read"] == "eu"


def test_an_announcement_ends_with_the_task(told):
    assert told["after"]["error"] == "AccessDeniedError"


def test_a_task_that_cannot_be_announced_runs_and_is_warned_of(told):
    assert told["lost"]["tasks"] == {"reads": "success"}
    [line] = told["lost"]["warned"]
    assert line.startswith("the run is not announced to the agent: ")
    assert "nobody.sock" in line


def test_a_wrong_keyword_is_warned_of_and_the_task_runs(told):
    assert told["named"]["read"] == "eu"
    assert told["named"]["warned"] == ["[sdk] coordinators: sockett is no keyword of StrongroomCoordinator"]


def test_with_a_task_sdk_it_was_not_tested_with_tasks_run_as_without_it_and_one_warning_says_so(told):
    assert told["later"]["tasks"] == {"reads": "success"}
    assert told["later"]["read"].startswith("DeniedError")
    [line] = told["later"]["warned"]
    assert line.startswith(
        "StrongroomCoordinator was not tested with Task SDK 9.9.9: tasks run as without it"
    )


def test_no_token_of_a_run_reaches_the_agent(coordinating):
    assert coordinating.kept["tokens"] == []


def test_it_cannot_be_imported_without_airflow():
    with pytest.raises(ImportError, match=r"needs Airflow 3\.3 or later"):
        import_module("strongroom.airflow.coordinator")
