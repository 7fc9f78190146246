"""Lint with what a machine knows: types of an installed Airflow, connections of a room, records."""

from __future__ import annotations

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.service.kinds import Kinds
from strongroom.service.lint import Linter
from strongroom.testing.fakes import Denying, Memory

DB = Ref("connection", "orders_db")
CANARY = "kanarienvogel"


class Known:
    """Types of ours alone; tells whether it was asked."""

    def __init__(self) -> None:
        self.was_asked = False

    def find(self, name):
        self.was_asked = True
        raise InvalidInputError("no")

    def nearest(self, name):
        return ("postgres",)


def looked(room, *refs):
    return [
        (one.ref.name, [remark.rule for remark in one.remarks]) for one in Linter(Known()).look(room, refs)
    ]


def test_each_connection_that_is_looked_at_is_recorded_as_one_read(house):
    room = house.room(
        Memory("native", {DB: "postgres://h", Ref("connection", "b"): "postgres://h/?sslmode=disable"})
    )
    assert looked(room, DB, Ref("connection", "b")) == [("orders_db", []), ("b", ["L13"])]
    assert house.acts() == [("read", "orders_db", "found"), ("read", "b", "found")]


def test_what_cannot_be_read_is_told_and_hides_nothing(house):
    broken, nowhere = Ref("connection", "broken"), Ref("connection", "nowhere")
    room = house.room(Memory("native", {broken: f"no connection {CANARY}", DB: "postgres://h"}))
    assert looked(room, broken, nowhere, DB) == [("broken", ["L1"]), ("nowhere", ["L1"]), ("orders_db", [])]
    (one,) = Linter(Known()).look(room, [broken])
    assert CANARY not in str(one)
    assert looked(house.room(Denying("vault", {DB: "postgres://h"})), DB) == [("orders_db", ["L1"])]


def test_a_connection_with_references_is_looked_at_as_its_reader_gets_it(house):
    native = Memory("native", {DB: f"postgres://svc:{CANARY}@h", Ref("variable", "tls"): "disable"})
    text = '{"extends": "orders_db", "extra": {"sslmode": "${variable/tls}", "options": "$${variable/x}"}}'
    native.put(Ref("connection", "top"), text, Metadata(references=True))
    assert looked(house.room(native), Ref("connection", "top")) == [("top", ["L13"])]


def test_an_installed_airflow_is_asked_only_where_something_is_unknown():
    kinds = Known()
    linter = Linter(kinds)
    assert linter.remarks(Connection.parse("postgres://h/?sslmode=disable"))
    assert not kinds.was_asked
    (remark,) = linter.remarks(Connection.parse("posgres://h"))
    assert (kinds.was_asked, remark.rule, remark.fix) == (True, "L2", "did you mean postgres?")


def test_types_and_options_of_an_installed_provider_are_known(airflow, tmp_path):
    linter = Linter(Kinds(airflow, cache=tmp_path / "cache"))
    lake = Connection(conn_type="acme_lake", host="h")
    linter.check_type(lake)
    assert [one.rule for one in linter.remarks(lake)] == []
    redis = Connection.from_dict({"conn_type": "redis", "host": "h", "extra": {"new_in_redis": "x"}})
    assert linter.remarks(redis) == ()
    with pytest.raises(InvalidInputError) as caught:
        linter.check_type(Connection(conn_type="acme_lak"))
    assert "did you mean acme_lake?" in caught.value.hint


@pytest.mark.parametrize("conn_type", ["Postgres", " postgres", "posgres", "my_own", "mssql+odbc"])
def test_a_type_nobody_knows_by_exactly_this_name_is_refused_with_the_nearest(conn_type, tmp_path):
    linter = Linter(Kinds({"PATH": ""}, cache=tmp_path))
    with pytest.raises(InvalidInputError, match="conn_type") as caught:
        linter.check_type(Connection(conn_type=conn_type))
    assert "--type-unchecked" in caught.value.hint
    assert ("postgres?" in caught.value.hint) == ("gres" in conn_type)


@pytest.mark.parametrize("conn_type", [None, "postgres", "generic", "google-cloud-platform"])
def test_a_type_there_is_passes_and_so_does_none(conn_type, tmp_path):
    Linter(Kinds({"PATH": ""}, cache=tmp_path)).check_type(Connection(conn_type=conn_type))
