"""What a dropped file holds, whatever form it is in; one bad line takes no other with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.service.bringing import MAX_FILE_BYTES, sort_out
from strongroom.service.transfer import ImportOptions
from strongroom.testing.fakes import Memory

DATA = Path(__file__).parents[1] / "data" / "airflow3"


def told(name, text):
    found = sort_out(name, text.encode())
    return {piece.kind: piece.names for piece in found.pieces}, found


@pytest.mark.parametrize(
    ("file", "kind", "count"), [("connections.json", "connection", 60), ("variables.json", "variable", 18)]
)
def test_an_export_of_airflow_is_told_by_what_it_holds(file, kind, count):
    found = sort_out(file, (DATA / file).read_bytes())
    assert [(piece.kind, len(piece.names)) for piece in found.pieces] == [(kind, count)]
    assert found.faults == ()


def test_an_environment_holds_both_kinds_and_a_bad_line_is_told_by_its_number():
    text = (
        "# prod\nAIRFLOW_CONN_ORDERS_DB=postgres://u:p@db/orders\n"
        "AIRFLOW_VAR_REGION = eu\nAIRFLOW_VAR_CUTOFF=18\nOTHER=1\n"
    )
    kinds, found = told(".env", text)
    assert kinds == {"connection": ("orders_db",)}
    assert [fault.line for fault in found.faults] == [0]


def test_lines_that_are_no_pairs_are_left_out_by_their_number():
    text = "AIRFLOW_CONN_A=http://a\nAIRFLOW_CONN_B\nAIRFLOW_VAR_C='18\nAIRFLOW_VAR_D=4\n"
    kinds, found = told(".env", text)
    assert kinds["connection"] == ("a",)
    assert 2 in {fault.line for fault in found.faults}


def test_a_dotenv_of_another_program_is_offered_with_doubt():
    kinds, found = told(".env", "PORT=80\nDEBUG=1\nDATABASE_URL=postgres://u:p@db/x\n")
    assert kinds == {"connection": ("DATABASE_URL",), "variable": ("PORT", "DEBUG")}
    assert [piece.is_doubtful for piece in found.pieces] == [False, True]


def test_what_a_vendor_shows_becomes_a_connection_called_as_its_file():
    kinds, found = told("orders.txt", "PGPASSWORD='canary-1' psql -h db.example.com -U svc -d orders")
    assert kinds == {"connection": ("orders",)}
    assert found.form == "psql"
    assert "canary" not in repr(found)


def test_settings_of_astro_hold_both_kinds():
    text = (
        "airflow:\n  connections:\n    - conn_id: a\n      conn_type: http\n      conn_host: h\n"
        "  variables:\n    - variable_name: b\n      variable_value: c\n"
    )
    kinds, _ = told("airflow_settings.yaml", text)
    assert kinds == {"connection": ("a",), "variable": ("b",)}


@pytest.mark.parametrize(
    ("text", "line"), [("", 0), ('{"a": ', 1), ("just words", 0), ("{" * 20, 1), ("\xff\xfe", 0)]
)
def test_what_cannot_be_read_is_told_and_nothing_raised(text, line):
    found = sort_out("x.json", text.encode("latin-1"))
    assert found.pieces == ()
    assert len(found.faults) == 1


def test_a_file_over_the_limit_is_refused():
    assert "bytes" in sort_out("x.env", b"a" * (MAX_FILE_BYTES + 1)).faults[0].what


def test_only_what_is_chosen_is_imported(house):
    room = house.room(Memory("native"))
    found = sort_out("connections.json", (DATA / "connections.json").read_bytes())
    (piece,) = found.pieces
    report = room.transfer.import_connections(
        piece.source, piece.form, ImportOptions(only=frozenset({"postgres_0"}))
    )
    assert [line.name for line in report.lines] == ["postgres_0"]
    assert isinstance(room.lookup.connection("postgres_0"), Connection)
    assert [row.ref for row in room.inventory.page("connection")] == [Ref("connection", "postgres_0")]
