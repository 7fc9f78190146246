"""One entry in Airflow's forms, sealed and whole."""

from __future__ import annotations

import json
import shlex
from datetime import datetime, timezone

import pytest

from strongroom.errors import NotFoundError
from strongroom.model.connection import Connection
from strongroom.model.entry import Entry, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.spelled import FORMS, part_of, spelled, spelled_variable

DB = Ref("connection", "orders_db")
CANARY = "s3cret-canary"
FIELDS = {
    "conn_type": "postgres",
    "host": "db.example.com",
    "login": "etl",
    "password": CANARY,
    "schema": "orders",
    "port": 5432,
    "extra": {"sslmode": "verify-full", "unheard_of": CANARY},
}


@pytest.fixture
def connection():
    return Connection.from_dict(FIELDS)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_looked_at_holds_no_secret_and_not_its_length(connection, form):
    short = Connection.from_dict({**FIELDS, "password": "x", "extra": {**FIELDS["extra"], "unheard_of": "y"}})
    found = spelled(DB, connection, form)
    assert CANARY not in found.text
    assert "***" in found.text
    assert not found.is_whole
    assert found == spelled(DB, short, form)


def test_each_form_reads_back_as_what_was_spelled(connection):
    texts = {form: spelled(DB, connection, form, reveal=True).text for form in FORMS}
    name, _, value = texts["env"].partition("=")
    assert name == "AIRFLOW_CONN_ORDERS_DB"
    for text in (texts["json"], texts["uri"], shlex.split(value)[0]):
        assert Connection.parse(text) == connection


def test_the_three_stars_of_a_uri_are_not_escaped(connection):
    assert spelled(DB, connection, "uri").text == (
        "postgres://etl:***@db.example.com:5432/orders?sslmode=verify-full&unheard_of=***"
    )


def test_what_a_uri_would_lose_is_named_and_an_environment_holds_json_instead(connection):
    lossy = Connection.from_dict({**FIELDS, "description": "why"})
    found = spelled(DB, lossy, "uri")
    assert (found.text, found.losses) == ("", ("description",))
    line = shlex.split(spelled(DB, lossy, "env", reveal=True).text)[0]
    assert Connection.parse(line.partition("=")[2]) == lossy


def test_what_only_a_reference_has_stands_in_json_alone(connection):
    over = {"extends": "base"}
    assert json.loads(spelled(DB, connection, "json", over=over).text)["extends"] == "base"
    assert spelled(DB, connection, "uri", over=over).losses == ("extends",)


def test_a_name_that_would_be_another_teams_has_no_line():
    assert spelled_variable(Ref("variable", "_data___x"), "env").losses == ("name",)


def test_a_variable_is_sealed_throughout_until_it_is_revealed():
    region = Ref("variable", "region")
    assert spelled_variable(region, "env").text == "AIRFLOW_VAR_REGION='***'"
    assert json.loads(spelled_variable(region, "json").text) == {"region": "***"}
    assert spelled_variable(region, "env", "it's").text == """AIRFLOW_VAR_REGION='it'"'"'s'"""
    assert spelled_variable(region, "uri").losses == ("value",)


# --- what one revealed is given in parts --------------------------------------------------------


def entry(text, ref=DB, **metadata):
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return Entry(ref=ref, secret=Secret(text), backend="native", read_at=now, metadata=Metadata(**metadata))


@pytest.mark.parametrize(
    ("part", "text"),
    [("password", CANARY), ("extra.unheard_of", CANARY), ("port", "5432"), ("host", "db.example.com")],
)
def test_a_part_is_the_one_field_and_nothing_beside(part, text):
    assert part_of(entry(json.dumps(FIELDS)), part) == text


def test_the_whole_is_the_text_as_it_is_stored():
    assert part_of(entry("no connection at all"), "value") == "no connection at all"


@pytest.mark.parametrize("part", ["", "passwd", "extra.gone", "password.x", "extra.", "__class__", "uri"])
def test_a_part_that_is_not_there_is_not_found_and_tells_nothing(part):
    with pytest.raises(NotFoundError) as caught:
        part_of(entry(json.dumps({**FIELDS, "description": "a URI cannot hold this"})), part)
    assert CANARY not in str(caught.value)


def test_a_field_of_what_cannot_be_parsed_is_not_found():
    with pytest.raises(NotFoundError):
        part_of(entry("{"), "password")


def test_a_variable_has_no_fields():
    region = entry("eu", Ref("variable", "region"))
    assert part_of(region, "env") == "AIRFLOW_VAR_REGION=eu"
    with pytest.raises(NotFoundError):
        part_of(region, "password")


def test_what_is_laid_over_another_is_revealed_as_it_is_written():
    text = json.dumps({"extends": "base", "password": "${variable/pw}"})
    assert part_of(entry(text, references=True), "password") == "${variable/pw}"
    assert json.loads(part_of(entry(text, references=True), "json"))["extends"] == "base"
