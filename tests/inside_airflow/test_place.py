"""The harness itself: real Airflow runs a script, tells, and is cleaned up after."""

from __future__ import annotations

import pytest

SECRET = 'pl/ace "secret" ü\nsecond line of it'
DAG = """
from __future__ import annotations
import datetime
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow.decorators import task
    from airflow import DAG

with DAG("plain", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    @task
    def one():
        return "made"

    @task
    def many(number):
        return number

    one() >> many.expand(number=[1, 2])
"""
SCRIPT = """
    import os
    from airflow.version import version
    tell(version=version, home=os.environ["HOME"], nothing=caught(lambda: 1 / 0))
    tell(run=run_dag("plain"))
    print(os.environ["PLANTED"])
"""


@pytest.fixture(scope="session")
def plain(inside):
    def make(folder):
        return inside.run(folder, SCRIPT, dags={"plain.py": DAG}, environ={"PLANTED": SECRET})

    return inside.once("plain", make)


def test_a_script_runs_in_that_airflow(inside, plain):
    assert int(plain.told["version"].split(".")[0]) == inside.version
    assert plain.told["nothing"]["error"] == "ZeroDivisionError"
    assert plain.told["home"] == str(plain.folder)


def test_a_dag_runs_with_its_states_and_values(plain):
    run = plain.told["run"]
    assert run["state"] == "success"
    assert run["tasks"] == {"one": "success", "many[0]": "success", "many[1]": "success"}
    assert run["xcoms"] == {"one": "made", "many[0]": 1, "many[1]": 2}


def test_a_secret_that_was_printed_is_found(plain):
    assert "stdout: line 2" in plain.leaks(SECRET)
    assert plain.leaks(SECRET, without=("stdout",)) == []
