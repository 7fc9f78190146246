"""
An Airflow that is moved to Strongroom: compared, run in shadow mode, and put back.

Two checks and one run of each version's real Airflow, over its own airflow.cfg, the database of tests/data,
and a LocalFilesystemBackend as the one that was there.
"""

from __future__ import annotations

import json
import shutil

import pytest

from cli_shell import Shell
from inside_airflow.place import ROOT
from strongroom.service.airflow.cfg import set_option

SECRET = "held/by 'the' \"old\" ü"
FILES = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
OURS = "strongroom.airflow.StrongroomBackend"
OLD_VARIABLES = {"same": SECRET, "differs": SECRET, "only_old": SECRET, "which": "old"}
OLD_CONNECTIONS = {
    "same_db": {"conn_type": "postgres", "host": "h", "password": SECRET, "extra": {"region": "eu"}},
    "differs_db": {"conn_type": "postgres", "host": "h", "password": SECRET, "extra": {"region": "eu"}},
    "broken_db": {"conn_type": "http", "host": "h", "password": SECRET},
}
OUR_VARIABLES = {"same": SECRET, "differs": "other", "only_ours": SECRET, "which": "ours"}
OUR_CONNECTIONS = {
    "same_db": OLD_CONNECTIONS["same_db"],
    "differs_db": {"conn_type": "postgres", "host": "h", "password": "other", "extra": {"region": "us"}},
    "broken_db": {"conn_type": "http", "host": "h", "port": "no port"},
}
SETTINGS = """
chain = ["ours", "env"]
[backend.ours]
kind = "file"
variables = "ours-variables.json"
connections = "ours-connections.json"
"""
DAG = """
try:
    from airflow.sdk import DAG, BaseHook, Variable, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
import datetime
from stage import caught

with DAG("{name}", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    @task
    def read():
        found = [Variable.get("which")]
        for name in ("same", "differs", "only_old", "only_ours", "from_a_dag", "region"):
            found.append(sorted(caught(Variable.get, name)))
        for name in ("same_db", "differs_db", "broken_db"):
            found.append(sorted(caught(lambda: BaseHook.get_connection(name).host)))
        return found
    read()
"""
SCRIPT = """
import datetime, json
tell(plain=run_dag("plain"), canary=run_dag("canary_one"))
report = HOME / "strongroom-shadow.jsonl"
until(lambda: report.exists() and len(report.read_text().splitlines()) >= 10)

from strongroom.backends.airflow_class import AirflowClass, AirflowClassOptions
from strongroom.model.ref import Ref

def wrapped(path, **kwargs):
    clock = lambda: datetime.datetime.now(datetime.timezone.utc)
    return AirflowClass("old", AirflowClassOptions(path=path, kwargs=kwargs), clock)

def revealed(backend, kind, name):
    entry = backend.read(Ref(kind, name))
    return None if entry is None else entry.secret.reveal()

from airflow.configuration import conf
path = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
files = json.loads(conf.get("secrets", "backend_kwargs"))["shadow_backend_kwargs"]
held = wrapped(path, **files)
environ = wrapped("airflow.secrets.environment_variables.EnvironmentVariablesBackend")
broken = wrapped(path, variables_file_path="/nowhere.json")
store = wrapped("airflow.secrets.metastore.MetastoreBackend")
tell(
    wrapped={
        "connection": json.loads(revealed(held, "connection", "same_db")),
        "variable": revealed(held, "variable", "which"),
        "absent": revealed(held, "variable", "nobody"),
        "environment": revealed(environ, "variable", "from_environment"),
        "broken": caught(revealed, broken, "variable", "x")["error"],
        "database": revealed(store, "variable", "region"),
    }
)
"""


@pytest.fixture(scope="module")
def moved(inside):
    def make(folder):
        home = inside.home(folder, {f"{name}.py": DAG.format(name=name) for name in ("plain", "canary_one")})
        data = ROOT / "tests" / "data" / f"airflow{inside.version}"
        shutil.copy(data / "airflow.db", home)
        key = (data / "fernet.env").read_text().strip().partition("=")[2]
        more = {"AIRFLOW__CORE__FERNET_KEY": key, "AIRFLOW_VAR_FROM_ENVIRONMENT": "set"}
        for name, held in (
            ("old-variables", OLD_VARIABLES),
            ("old-connections", OLD_CONNECTIONS),
            ("ours-variables", OUR_VARIABLES),
            ("ours-connections", OUR_CONNECTIONS),
        ):
            (folder / f"{name}.json").write_text(json.dumps(held))
        (folder / "strongroom.toml").write_text(SETTINGS)
        config = home / "airflow.cfg"
        text = config.read_text()
        kwargs = {
            f"{kind}_file_path": str(folder / f"old-{kind}.json") for kind in ("variables", "connections")
        }
        for option, value in (("backend", FILES), ("backend_kwargs", json.dumps(kwargs))):
            text, _ = set_option(text, "secrets", option, value)
        config.write_text(text)

        shell = Shell(folder)
        shell.environ |= inside.environ(home) | more
        look = "--config strongroom.toml airflow check --output json"
        before = shell(look)
        enabled = shell("--config strongroom.toml airflow enable --shadow --canary 'canary_*' --yes")
        ran = inside.run(folder, SCRIPT, home=home, environ=more)
        report = shell("airflow check --shadow-report --output json")
        again = shell(look)
        disabled = shell("airflow disable --yes")
        results = (before, enabled, report, again, disabled)
        return ran.keep(
            before=json.loads(before.out),
            report=json.loads(report.out),
            again=json.loads(again.out),
            codes=[result.code for result in results],
            said="".join(result.out + result.err for result in results),
            reported=(home / "strongroom-shadow.jsonl").read_text(),
            is_back=config.read_text() == text,
        )

    return inside.once("moved", make)


def outcomes(told):
    return {row["name"]: (row["outcome"], tuple(row["detail"])) for row in told["ids"]}


def test_check_tells_of_each_id_what_would_change(moved):
    found = outcomes(moved.kept["before"])
    assert found["same"] == ("equal", ())
    assert found["same_db"] == ("equal", ())
    assert found["differs"] == ("different", ("value",))
    assert found["differs_db"] == ("different", ("password", "extra.region"))
    assert found["only_old"] == ("missing", ())
    assert found["only_ours"] == ("new", ())
    assert found["broken_db"] == ("error", ())


def test_check_finds_ids_of_the_database_the_environment_and_dag_files(moved):
    rows = {row["name"]: row for row in moved.kept["before"]["ids"]}
    assert (rows["region"]["outcome"], rows["region"]["today"]) == ("equal", "MetastoreBackend")
    assert (rows["from_environment"]["outcome"], rows["from_environment"]["ours"]) == (
        "equal",
        "strongroom: env",
    )
    assert rows["which"]["today"] == "LocalFilesystemBackend"
    assert rows["which"]["ours"] == "strongroom: ours"
    assert len(rows) > 78


def test_check_says_what_is_wrong_with_ours_by_its_own_error(moved):
    (row,) = [row for row in moved.kept["before"]["ids"] if row["name"] == "broken_db"]
    assert "broken_db" in row["why"]
    assert "invalid" in row["why"]


def test_check_ends_with_7_and_names_the_versions(moved, inside):
    told = moved.kept["before"]
    assert moved.kept["codes"][0] == 7
    assert told["airflow"].startswith("3.3" if inside.version == 3 else "2.11")
    assert told["today"][0] == "LocalFilesystemBackend"
    assert told["with_us"][0] == "StrongroomBackend"


def test_stdout_copy_of_task_logs_is_warned_of_where_airflow_makes_one(moved, inside):
    names = {one["name"] for one in moved.kept["before"]["notices"]}
    assert ("unmasked-stdout" in names) is (inside.version == 3)


def test_in_shadow_mode_the_old_backend_answers(moved):
    run = moved.told["plain"]
    assert run["state"] == "success"
    which, same, differs, only_old, only_ours, nowhere, region, *connections = run["xcoms"]["read"]
    assert which == "old"
    assert same == differs == only_old == region == ["value"]
    assert "value" not in only_ours + nowhere
    assert connections == [["value"]] * 3


def test_canary_is_answered_by_us(moved):
    run = moved.told["canary"]
    assert run["xcoms"]["read"][0] == "ours"
    assert "error" in run["xcoms"]["read"][-1]  # what is broken here stops there


def test_shadow_mode_reports_each_id_and_no_value(moved):
    found = {row["name"]: (row["outcome"], row["detail"]) for row in moved.kept["report"]}
    assert found["same"] == found["same_db"] == ("equal", "")
    assert found["differs"] == ("different", "value")
    assert found["differs_db"] == ("different", "password, extra")
    assert found["only_old"] == ("missing", "")
    assert found["only_ours"] == ("new", "")
    assert found["from_a_dag"] == ("elsewhere", "")
    assert found["broken_db"][0] == "error"
    assert SECRET not in moved.kept["reported"]


def test_check_compares_with_the_old_backend_while_we_are_enabled(moved):
    assert outcomes(moved.kept["again"]) == outcomes(moved.kept["before"])
    assert moved.kept["again"]["today"] == moved.kept["before"]["today"]


def test_airflow_cfg_is_back_to_the_byte(moved):
    assert moved.kept["codes"][1:] == [0, 0, 7, 0]
    assert moved.kept["is_back"]


def test_no_answer_of_the_commands_holds_a_secret(moved):
    assert SECRET not in moved.kept["said"]
    assert json.dumps(SECRET)[1:-1] not in moved.kept["said"]


def test_wrapped_classes_of_airflow_answer_as_they_do_there(moved):
    assert moved.told["wrapped"] == {
        "connection": {"conn_type": "postgres", "host": "h", "password": SECRET, "extra": {"region": "eu"}},
        "variable": "old",
        "absent": None,
        "environment": "set",
        "broken": "BackendUnavailableError",
        "database": "eu-west-1",
    }
