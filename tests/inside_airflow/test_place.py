"""The harness itself: real Airflow runs a script, tells, and is cleaned up after."""

from __future__ import annotations

import pytest

SECRET = 'pl/ace "secret" ü\nsecond line of it'
SCRIPT = """
    import os
    from airflow.version import version
    tell(version=version, home=os.environ["HOME"], nothing=caught(lambda: 1 / 0))
    tell(ordered=please("count"))
    print(os.environ["PLANTED"])
"""


@pytest.fixture(scope="session")
def plain(inside):
    def make(folder):
        orders = {"count": lambda: [1, 2]}
        return inside.run(folder, SCRIPT, environ={"PLANTED": SECRET}, orders=orders).keep(made="here")

    return inside.once("plain", make)


def test_a_script_runs_in_that_airflow(inside, plain):
    assert int(plain.told["version"].split(".")[0]) == inside.version
    assert plain.told["nothing"]["error"] == "ZeroDivisionError"
    assert plain.told["home"] == str(plain.folder)


def test_a_script_has_the_test_do_what_it_knows(plain):
    assert plain.told["ordered"] == [1, 2]
    assert plain.kept == {"made": "here"}


def test_a_secret_that_was_printed_is_found(plain):
    assert "stdout: line 2" in plain.leaks(SECRET)
    assert plain.leaks(SECRET, without=("stdout",)) == []
