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

theirs, told = EnvironmentVariablesBackend(), []
for name, team in itertools.product({names!r}, {teams!r}):
    said = {{"team_name": team}} if {version} == 3 else {{}}
    for kind, ask in (("connection", theirs.get_conn_value), ("variable", theirs.get_variable)):
        ours = in_environment(os.environ, kind, name, team if said else None)
        told.append([kind, name, team, ask(name, **said), ours])
tell(answers=told, has_teams=has_teams(), config=in_environment(os.environ, "config", "orders_db", None))
"""
HELD = {
    "AIRFLOW_CONN_ORDERS_DB": "http://everybodys",
    "AIRFLOW_CONN__DATA___ORDERS_DB": "http://datas",
    "AIRFLOW_VAR_ORDERS_DB": "everybodys",
    "AIRFLOW_VAR__DATA___ORDERS_DB": "",
    "AIRFLOW_CONN_EMPTY": "",
    "AIRFLOW_VAR_EMPTY": "",
}


@pytest.mark.parametrize("is_shared", [False, True], ids=["without teams", "with teams"])
def test_the_environment_answers_as_airflow_reads_it(inside, tmp_path, is_shared):
    environ = HELD | {"AIRFLOW__CORE__MULTI_TEAM": str(is_shared)}
    script = SCRIPT.format(names=NAMES, teams=TEAMS, version=inside.version)
    told = inside.run(tmp_path, script, environ=environ).told
    assert len(told["answers"]) == len(list(itertools.product(NAMES, TEAMS))) * 2
    assert [one for one in told["answers"] if one[3] != one[4]] == []
    assert told["has_teams"] is (is_shared and inside.version == 3)
    assert told["config"] is None
