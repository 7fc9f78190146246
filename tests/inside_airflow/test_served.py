"""
Real Airflow 3 and 2 whose tasks ask a server: in whose name, with a token that ends, and in 3 by the setting
for workers alone.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from inside_airflow.place import BACKEND
from parts.openbao import until
from parts.oracle import records_in
from parts.server import serving
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

DAGS = """
import datetime, os
try:
    from airflow.sdk import DAG, Variable, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.models import Variable

START = {"start_date": datetime.datetime(2024, 1, 1), "schedule": None}

with DAG("asking", **START):
    @task
    def asks():
        import subprocess, sys
        child = "import strongroom; print(strongroom.variable('of_child'))"
        environ = {**os.environ, "STRONGROOM_URL": os.environ["PLACE"],
                   "STRONGROOM_TOKEN_FILE": os.environ["TOKEN_FILE"]}
        subprocess.run([sys.executable, "-c", child], check=True, env=environ)
        return Variable.get("region")

    asks()

with DAG("late", **START):
    @task
    def asks_late():
        return Variable.get("region", "a default")

    asks_late()

with DAG("counting", **START):
    @task
    def counts():
        from threading import Thread
        from strongroom.airflow import StrongroomHook

        def add():
            hook = StrongroomHook()
            for _ in range(10):
                hook.update("count", lambda text: str(int(text or 0) + 1))

        children = []
        for _ in range(2):
            child = os.fork()
            if child == 0:
                try:
                    add()
                finally:
                    os._exit(0)
            children.append(child)
        ended = [os.waitpid(child, 0)[1] for child in children]
        return [ended, Variable.get("count")]

    counts()
"""
SCRIPT = """
from airflow.models import Variable
tell(here=caught(Variable.get, "region"))
tell(asking=run_dag("asking", is_supervised=True), counting=run_dag("counting", is_supervised=True))
please("expire")
tell(late=run_dag("late", is_supervised=True))
"""


def _made(inside, folder):
    served = folder / "server"
    served.mkdir()
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    with serving(served) as server:
        entries = server.house.deployment().root.entries
        entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
        entries.write(Change(ref=Ref("variable", "of_child"), secret=Secret("c")))
        token_file.write_text(server.token("airflow", "admin"))

        def expire():
            ending = server.token("ending", "admin", lifetime=timedelta(seconds=1))
            until(
                lambda: server.ask("GET", "/v1/whoami", token=ending).status == 401,
                what="the token to end",
            )
            token_file.write_text(ending)

        options = {"url": server.address, "token_file": str(token_file)}
        environ = {
            **inside.supervised,
            "PLACE": server.address,
            "TOKEN_FILE": str(token_file),
            "AIRFLOW_VAR_REGION": "planted",
        }
        if inside.version == 3:
            environ["AIRFLOW__WORKERS__SECRETS_BACKEND"] = BACKEND
            environ["AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS"] = json.dumps(options)
        else:
            environ |= inside.backend(**options)
        ran = inside.run(folder, SCRIPT, dags={"served.py": DAGS}, environ=environ, orders={"expire": expire})
        records = [
            [record.name, record.run or {}]
            for record in records_in(served / "audit")
            if record.action == "read"
        ]
        return ran.keep(records=records, token=token_file.read_text())


@pytest.fixture(scope="session")
def ran(inside):
    return inside.once("served", lambda folder: _made(inside, folder))


def test_workers_ask_what_is_set_for_them_and_the_rest_of_airflow_3_asks_as_ever(ran, inside):
    assert ran.told["asking"]["xcoms"] == {"asks": "eu"}
    assert ran.told["here"] == {"value": "planted" if inside.version == 3 else "eu"}


def test_the_record_of_a_server_has_the_run_that_a_task_claims(ran, inside):
    (said,) = [run for name, run in ran.kept["records"] if name == "region" and run.get("dag_id")]
    assert (said["dag_id"], said["task_id"], said["source"]) == ("asking", "asks", "task")
    assert (said["run_id"], said["assurance"]) == (ran.told["asking"]["run_id"], 0)
    assert ("ti_id" in said) is (inside.version == 3)


def test_a_program_that_a_task_starts_claims_the_same_run(ran):
    (said,) = [run for name, run in ran.kept["records"] if name == "of_child"]
    assert (said["dag_id"], said["task_id"], said["assurance"]) == ("asking", "asks", 0)


def test_two_processes_that_update_one_entry_lose_nothing(ran):
    assert ran.told["counting"]["xcoms"] == {"counts": [[0, 0], "20"]}


def test_a_token_that_has_ended_is_one_line_in_the_task_log_and_no_default_hides_it(ran):
    assert ran.told["late"]["tasks"] == {"asks_late": "failed"}
    (log,) = [text for name, text in ran.logs.items() if "dag_id=late/" in name and "task_id=" in name]
    told = [line for line in log.replace('\\"', '"').splitlines() if 'variable "region" is denied' in line]
    assert told
    assert all("(strongroom, server 127.0.0.1:" in line and "token" in line for line in told)
    assert ran.leaks(ran.kept["token"]) == []
