"""The environment as a backend, under Airflow's names."""

from datetime import datetime, timezone

import pytest

from strongroom.backends.env import Env, EnvOptions, spell
from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.testing.contract import CONNECTION_TEXT, BackendContract


def clock():
    return datetime(2026, 1, 1, tzinfo=timezone.utc)


def env(**environ):
    return Env("env", EnvOptions(), environ, clock)


class TestEnv(BackendContract):
    looks_at_values = True

    def make(self, tmp_path):
        self.environ = {"PATH": "/bin"}
        return Env("env", EnvOptions(), self.environ, clock)

    def put(self, backend, ref, text):
        variable = spell(ref)
        if variable is None:
            raise InvalidInputError("the environment cannot spell this name")
        self.environ[variable] = text

    def remove(self, backend, ref):
        del self.environ[spell(ref)]


@pytest.mark.parametrize(
    ("ref", "variable"),
    [
        (Ref("connection", "orders_db"), "AIRFLOW_CONN_ORDERS_DB"),
        (Ref("variable", "a-b.c/d e"), "AIRFLOW_VAR_A-B.C/D E"),
        (Ref("variable", "region", "data"), "AIRFLOW_VAR__DATA___REGION"),
        (Ref("connection", "_x", "a_b"), "AIRFLOW_CONN__A_B____X"),
        (Ref("variable", "a___b"), "AIRFLOW_VAR_A___B"),
        (Ref("variable", "straße"), "AIRFLOW_VAR_STRASSE"),
        (Ref("variable", "_data___x"), None),
        (Ref("variable", "c", "a___b"), None),
        (Ref("config", "sql_alchemy_conn"), None),
    ],
)
def test_names_are_spelled_as_airflow_spells_them(ref, variable):
    assert spell(ref) == variable


def test_global_name_never_reads_a_teams_variable():
    backend = env(AIRFLOW_VAR__DATA___REGION="theirs")
    assert backend.read(Ref("variable", "_data___region")) is None
    assert backend.read(Ref("variable", "region", "data")).secret.reveal() == "theirs"
    assert backend.list("variable") == []
    assert [row.ref.name for row in backend.list("variable", team="data")] == ["region"]


def test_empty_connection_is_absent_and_empty_variable_is_a_value():
    backend = env(AIRFLOW_CONN_C="", AIRFLOW_VAR_V="", AIRFLOW_VAR__DATA___V="")
    assert backend.read(Ref("connection", "c")) is None
    assert backend.read(Ref("variable", "v")).secret.reveal() == ""
    assert backend.read(Ref("variable", "v", "data")) is None
    assert [backend.list("connection"), backend.list("variable", team="data")] == [[], []]
    assert [row.ref.name for row in backend.list("variable")] == ["v"]


def test_listed_names_are_lower_case_and_read_back():
    backend = env(AIRFLOW_CONN_ORDERS_DB=CONNECTION_TEXT, AIRFLOW_CONN_lower="x", AIRFLOW_CONN_="x")
    (row,) = backend.list("connection")
    assert row.ref == Ref("connection", "orders_db")
    assert backend.read(row.ref).secret.reveal() == CONNECTION_TEXT


def test_version_changes_with_the_text_and_tells_nothing_elsewhere():
    environ = {"AIRFLOW_VAR_V": "one"}
    backend, other = (Env("env", EnvOptions(), environ, clock) for _ in range(2))
    ref = Ref("variable", "v")
    first = backend.read(ref).version
    assert backend.read(ref).version == first
    assert other.read(ref).version != first
    environ["AIRFLOW_VAR_V"] = "two"
    assert backend.read(ref).version != first


def test_names_that_share_a_variable_are_spelled_alike():
    names = [Ref("variable", name) for name in ("a_b", "A_b")]
    teams = [Ref("variable", "a_b", team) for team in ("data", "Data")]
    backend = env()
    assert {backend.spell(ref) for ref in names} == {"AIRFLOW_VAR_A_B"}
    assert {backend.spell(ref) for ref in teams} == {"AIRFLOW_VAR__DATA___A_B"}
    assert backend.spell(Ref("variable", "stra\u00dfe")) == backend.spell(Ref("variable", "STRASSE"))


def test_another_spelling_meets_the_same_variable():
    backend = env(AIRFLOW_CONN_ORDERS_DB="http://h", AIRFLOW_CONN_EMPTY="")
    summary = backend.folded(Ref("connection", "Orders_DB"))
    assert (summary.ref.name, summary.metadata.conn_type) == ("Orders_DB", "http")
    assert backend.folded(Ref("connection", "Empty")) is None
    assert backend.folded(Ref("connection", "orders_db")) is None  # the list gives it
    assert backend.folded(Ref("config", "orders_db")) is None


def test_listing_follows_variables_that_come_and_go():
    environ = {"AIRFLOW_VAR_A": "1"}
    backend = Env("env", EnvOptions(), environ, clock)
    assert [row.ref.name for row in backend.list("variable")] == ["a"]
    environ["AIRFLOW_VAR_B"] = "2"
    assert [row.ref.name for row in backend.list("variable")] == ["a", "b"]
    del environ["AIRFLOW_VAR_A"]
    assert [row.ref.name for row in backend.list("variable")] == ["b"]


def test_bytes_that_are_no_text_do_not_parse():
    (row,) = env(AIRFLOW_VAR_V="\udce9").list("variable")
    assert (row.state.value, row.problem) == (
        "unparsable",
        "the value holds half a surrogate pair, which is not Unicode text (R3)",
    )


def test_environment_is_always_ready():
    assert env().check().status == "ready"
