"""Tests of connections from a task of real Airflow, through the agent of its host."""

from __future__ import annotations

import socket

import pytest

from inside_airflow.test_examples import DAGS
from parts.agent import agent
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

CANARY = "canary-of-a-test-from-a-task-5"
DAG = """
from __future__ import annotations
import datetime
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG
from strongroom.airflow import StrongroomTestOperator

with DAG("tests", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    StrongroomTestOperator(task_id="good", names=["go{{ 'od' }}"])
    StrongroomTestOperator(task_id="listed", prefix="go", conn_types=["ftp"])

with DAG("fails", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    StrongroomTestOperator(task_id="all", names=["good", "closed", "nowhere"])
"""
SCRIPT = """
for name in ("tests", "fails", "nightly_check"):
    tell(**{name: run_dag(name)})
tell(errors={str(file): text for file, text in bag().import_errors.items()})
"""


@pytest.fixture(scope="session")
def tested(inside):
    def make(folder):
        home = folder / "agent"
        home.mkdir()
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            agent(home, 'chain = ["native"]\n', start=False) as one,
        ):
            with create_room(one.settings, environ={"HOME": str(home), "STRONGROOM_HOME": str(home)}) as room:
                port = server.getsockname()[1]
                for name, at in (("good", port), ("orders_db", port), ("billing_api", port), ("closed", 1)):
                    text = f"ftp://svc:{CANARY}@127.0.0.1:{at}/"
                    room.entries.write(Change(ref=Ref("connection", name), secret=Secret(text)))
            one.start()
            dags = {"testing.py": DAG, "nightly_check.py": DAGS["nightly_check.py"]}
            environ = inside.backend(socket=one.socket)
            ran = inside.run(folder, SCRIPT, dags=dags, environ=environ, seconds=240)
            return ran.keep(log=one.log())

    return inside.once("testing", make)


def test_a_task_tests_by_name_and_by_prefix_and_type(tested):
    assert tested.told["errors"] == {}
    assert tested.told["tests"]["state"] == "success", tested.told_of_itself()
    for task in ("good", "listed"):
        (one,) = tested.told["tests"]["xcoms"][task]
        assert (one["name"], one["is_ok"], one["message"]) == ("good", True, "every step went well")


def test_the_task_fails_naming_each_connection_and_its_step(tested):
    assert tested.told["fails"]["state"] == "failed"
    text = "".join(tested.logs.values()) + tested.err + tested.out
    assert "2 of 3 connections do not work" in text
    assert "closed: failed at tcp" in text
    assert 'nowhere: connection \\"nowhere\\"' in text or 'nowhere: connection "nowhere"' in text
    assert "good: every step went well" in text


def test_the_nightly_check_of_the_examples_runs_as_it_stands(tested):
    assert tested.told["nightly_check"]["state"] == "success", tested.told_of_itself()


def test_no_value_is_anywhere(tested):
    assert tested.leaks(CANARY) == []
