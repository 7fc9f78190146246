"""What we take the environment to answer after us is what real Airflow 3 and 2 answer from it."""

from __future__ import annotations

import itertools

import pytest

NAMES = ("orders_db", "Orders_DB", "empty", "_data___orders_db", "nobody")
TEAMS = (None, "data", "other", "")
SCRIPT = """
import itertools, os
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from strongroom.airflow.environment import has_teams, in_environment

for shared in ("False", "True"):
    os.environ["AIRFLOW__CORE__MULTI_TEAM"] = shared  # which both look at whenever they are asked
    theirs, told = EnvironmentVariablesBackend(), []
    for name, team in itertools.product({names!r}, {teams!r}):
        said = {{"team_name": team}} if {version} == 3 else {{}}
        for kind, ask in (("connection", theirs.get_conn_value), ("variable", theirs.get_variable)):
            ours = in_environment(os.environ, kind, name, team if said else None)
            told.append([kind, name, team, ask(name, **said), ours])
    config = in_environment(os.environ, "config", "orders_db", None)
    tell(**{{shared: {{"answers": told, "has_teams": has_teams(), "config": config}}}})
"""
HELD = {
    "AIRFLOW_CONN_ORDERS_DB": "http://everybodys",
    "AIRFLOW_CONN__DATA___ORDERS_DB": "http://datas",
    "AIRFLOW_VAR_ORDERS_DB": "everybodys",
    "AIRFLOW_VAR__DATA___ORDERS_DB": "",
    "AIRFLOW_CONN_EMPTY": "",
    "AIRFLOW_VAR_EMPTY": "",
}


@pytest.fixture(scope="session")
def told(inside):
    script = SCRIPT.format(names=NAMES, teams=TEAMS, version=inside.version)
    return inside.once("environment", lambda folder: inside.run(folder, script, environ=HELD)).told


@pytest.mark.parametrize("is_shared", [False, True], ids=["without teams", "with teams"])
def test_the_environment_answers_as_airflow_reads_it(inside, told, is_shared):
    found = told[str(is_shared)]
    assert len(found["answers"]) == len(list(itertools.product(NAMES, TEAMS))) * 2
    assert [one for one in found["answers"] if one[3] != one[4]] == []
    assert found["has_teams"] is (is_shared and inside.version == 3)
    assert found["config"] is None
