"""
A whole Airflow for each version, by `airflow standalone` with LocalExecutor: scheduler, Dag processor,
triggerer, server, supervisors and tasks are processes of their own. They read a real OpenBao by AppRole
through an agent.

A long trial: `make trials`, or STRONGROOM_TRIALS=1.
"""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager, suppress

import pytest

from inside_airflow.place import Ran, end_group
from inside_airflow.test_dags import COMMON, PASSWORD, SECRETS, TOKEN, Site, mark
from parts.agent import agent
from parts.openbao import Dev, shared

START_SECONDS = 600
ENDED = {"success", "failed"}
DAGS = """
from common import *  # for airflow, which reads files with its name in them
import base64, urllib.parse

ONCE = {**START, "schedule": "@once"}
AT_PARSE = mark(Variable.get("token"))

with DAG("everyday", default_args={"retries": 2, "retry_delay": datetime.timedelta(seconds=1)}, **ONCE):
    @task
    def read():
        one = BaseHook.get_connection("warehouse")
        return [AT_PARSE, mark(one.password), mark(one.extra_dejson["key"]), mark(Variable.get("token"))]

    @task
    def shard(name):
        return mark(BaseHook.get_connection(name).password)

    rendered = Rendered(task_id="render", text=["{{ conn.warehouse.password }}", "{{ var.value.token }}"])
    # A supervisor stays for some seconds after its task was deferred; a trigger that is done before fails it.
    waits = Deferring(task_id="wait", seconds=8.5)
    read() >> rendered >> shard.expand(name=["shard_0", "shard_1"]) >> waits

with DAG("printing", **ONCE):
    @task
    def prints():
        one = BaseHook.get_connection("warehouse")
        for text in (one.password, one.extra_dejson["key"], Variable.get("token")):
            encoded = base64.b64encode(text.encode()).decode()
            for shown in (text, urllib.parse.quote(text, safe=""), encoded, json.dumps(text), repr(text)):
                print("printed", shown, flush=True)
        raise ValueError(f"failed with {one.password} in its text")

    prints()

with DAG("denied", **ONCE):
    @task
    def refused():
        return BaseHook.get_connection("forbidden").host

    refused()
"""

pytestmark = pytest.mark.trial


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings(place, port):
    """Give the environment of a standalone Airflow that meets no other on this machine."""
    environ = {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": free_port(),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": free_port(),
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    }
    if place.version == 2:
        # SQLite bears what runs here; Airflow 2 would turn to one task at a time without a word.
        return environ | {
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
            "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": port,
            "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__WEBSERVER__WORKERS": "1",
        }
    return environ | {
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # a busy machine builds that API for longer than 5 s
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        **place.coordinated(),
    }


@contextmanager
def standalone(place, folder, home, environ):
    """Run `airflow standalone` until the block ends, and everything that it started with it."""
    (folder / "ran").write_text(json.dumps({"home": str(home), "status": None}))
    given = place.environ(home) | environ
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [str(place.python), "-m", "airflow", "standalone"],
            env={key: str(value) for key, value in given.items()},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            end_group(process)


def rows(home, query):
    with closing(sqlite3.connect(f"file:{home}/airflow.db?mode=ro", uri=True, timeout=60)) as opened:
        return opened.execute(query).fetchall()


def until_answers(place, port, process, told):
    """Wait until the server of the standalone answers what it is."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with closing(asked), suppress(OSError, http.client.HTTPException):
            asked.request("GET", "/execution/health" if place.version == 3 else "/health")
            if asked.getresponse().status == 200:
                return
        assert process.poll() is None, told()
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


def until_ended(home, process, told):
    """Wait for one run of each Dag, and give their states."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        states = dict(rows(home, "SELECT dag_id, state FROM dag_run"))
        if len(states) == 3 and set(states.values()) <= ENDED:
            return states
        assert process.poll() is None, told()
        assert time.monotonic() < deadline, f"{states}\n{told()}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def trial(inside):
    def make(folder):
        home = inside.home(folder)
        (folder / "agent").mkdir()
        (folder / "modules").mkdir()  # a triggerer knows no Dag folder
        (folder / "modules" / "common.py").write_text(COMMON)
        with shared(Dev) as bao:
            site = Site(bao, bao.port, folder)
            with agent(folder / "agent", site.settings) as one:
                port = free_port()
                environ = settings(inside, port) | inside.backend(socket=one.socket)
                environ["PYTHONPATH"] = str(folder / "modules")
                with standalone(inside, folder, home, environ) as process:
                    ran = Ran(folder)
                    until_answers(inside, port, process, ran.told_of_itself)
                    # Only now: a task that is started before its server answers has failed.
                    (home / "dags" / "dags.py").write_text(DAGS)
                    states = until_ended(home, process, ran.told_of_itself)
                    status = one.status()
                ran.keep(states=states, status=status, log=one.log())
                record = [file.read_text() for file in sorted(one.audit.rglob("*")) if file.is_file()]
                return ran.keep(record=record)

    return inside.once("trial", make)


def test_every_dag_ends_as_it_should(trial):
    assert trial.kept["states"] == {"everyday": "success", "printing": "failed", "denied": "failed"}


def test_tasks_and_triggers_had_the_right_values(trial):
    found = trial.database["xcom.value"]
    for secret in (PASSWORD, TOKEN):
        assert mark(secret).encode() in found


def test_no_secret_is_left_anywhere(trial):
    logs = "".join(trial.logs.values())
    assert logs.count("printed") >= 15
    assert "failed with ***" in logs
    beside = {"the agent's log": trial.kept["log"], "the agent's record": "".join(trial.kept["record"])}
    assert trial.leaks(*SECRETS, beside=beside.items()) == []


def test_the_denied_task_says_why_in_its_log(trial):
    (log,) = [text for name, text in trial.logs.items() if "dag_id=denied" in name]
    assert 'connection "forbidden" is denied' in log.replace("\\", "")  # in 3 a log is lines of JSON


def test_the_record_names_the_runs(inside, trial):
    record = [
        json.loads(line) for text in trial.kept["record"] for line in text.splitlines() if line[:1] == "{"
    ]
    print(json.dumps(record[:5], indent=1))
    runs = [one["run"] for one in record if one.get("run")]
    assert {run.get("dag_id") for run in runs} >= {"everyday", "printing", "denied"}
    if inside.version == 3:
        assert any(run.get("announced") for run in runs)
