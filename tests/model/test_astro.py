"""`airflow_settings.yaml`, as Astro's command line reads it."""

from __future__ import annotations

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.astro import is_settings, settings_entries
from strongroom.model.document import connection_of, parse, variable_of
from strongroom.testing.contract import CANARY

TEMPLATE = """\
# Made by `astro dev init`.
airflow:
  connections:
    - conn_id:
      conn_type:
      conn_host:
      conn_schema:
      conn_login:
      conn_password:
      conn_port:
      conn_uri:
      conn_extra:
        example_extra_field: example-value
  pools:
    - pool_name:
      pool_slot:
      pool_description:
  variables:
    - variable_name:
      variable_value:
"""
FILLED = """\
airflow:
  connections:
  - conn_id: orders_db
    conn_description: ""
    conn_type: postgres
    conn_host: db.example.com
    conn_schema: sales
    conn_login: svc
    conn_password: s3cret
    conn_port: 5432
    conn_uri: ""
    conn_extra: {sslmode: require, retries: 3}
  - conn_id: site
    conn_uri: http://u:p@h:80/x
  - conn_id: text_extra
    conn_type: aws
    conn_port: 0
    conn_extra: '{"region_name": "eu-west-1"}'
  - conn_id: nothing
    conn_host: alone
  pools:
  - pool_name: default_pool
    pool_slot: 128
  variables:
  - variable_name: region
    variable_value: eu-west-1
  - variable_name: retries
    variable_value: 5
  - variable_name: rate
    variable_value: 1.5
  - variable_name: unset
    variable_value: ""
"""


def entries(text, kind="connection"):
    return settings_entries(parse(text, "yaml"), kind)


def item(*lines, kind="connections"):
    return f"airflow:\n  {kind}:\n  - " + "\n    ".join(lines) + "\n"


def test_template_holds_nothing():
    assert is_settings(parse(TEMPLATE, "yaml"))
    assert (entries(TEMPLATE), entries(TEMPLATE, "variable")) == ({}, {})


def test_connections_come_with_their_fields():
    found = {name: connection_of(name, raw) for name, raw in entries(FILLED).items()}
    assert list(found) == ["orders_db", "site", "text_extra"]
    assert found["orders_db"].to_dict(reveal=True) == {
        "conn_type": "postgres",
        "description": None,
        "host": "db.example.com",
        "login": "svc",
        "password": "s3cret",
        "schema": "sales",
        "port": 5432,
        "extra": {"sslmode": "require", "retries": 3},
    }
    assert (found["site"].conn_type, found["site"].port) == ("http", 80)
    assert (found["text_extra"].port, found["text_extra"].extra.reveal()) == (
        None,
        {"region_name": "eu-west-1"},
    )


def test_variables_are_text_and_numbers_become_text():
    found = entries(FILLED, "variable")
    texts = {name: variable_of(name, raw, unwrap=False).value.reveal() for name, raw in found.items()}
    assert texts == {"region": "eu-west-1", "retries": "5", "rate": "1.5"}


@pytest.mark.parametrize(
    "part", ["", "  connections:\n", "  pools: []\n", "  variables: []\n  connections:\n"]
)
def test_lists_may_be_missing_or_empty(part):
    text = f"airflow:\n{part or '  pools:'}"
    assert entries(text) == entries(text, "variable") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("orders_db: {conn_type: http}\n", "no airflow_settings.yaml"),
        ("airflow: {conn_type: http}\n", "no airflow_settings.yaml"),
        ("airflow:\n  connections: {a: b}\n", "no airflow_settings.yaml"),
        ("airflow:\n  connections: []\nother: 1\n", "no airflow_settings.yaml"),
        ("airflow:\n", "no airflow_settings.yaml"),
        (f"airflow:\n  connections:\n  - {CANARY}\n", "the connection 1 is no object"),
        (item("conn_id: 5", "conn_type: http"), "the name of the connection 1 is not text"),
    ],
)
def test_file_of_another_shape_is_refused(text, told):
    with pytest.raises(InvalidInputError, match=told) as caught:
        entries(text)
    assert caught.value.rule == "F15"
    assert CANARY not in str(caught.value) + str(caught.value.hint)


def test_name_that_stands_twice_is_refused():
    with pytest.raises(InvalidInputError, match='more than once: "a"') as caught:
        entries(item("conn_id: a", "conn_type: http").rstrip() + "\n  - {conn_id: a, conn_type: http}\n")
    assert caught.value.rule == "F6"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("conn_id: a", "conn_type: http", f"conn_pasword: {CANARY}"), "a field that Astro does not know"),
        (("conn_id: a", "conn_type: http", f"login: {CANARY}"), "a field that Astro does not know"),
        (("conn_id: a", "conn_type: http", "conn_password: 1234"), "password is not text"),
        (("conn_id: a", f"conn_uri: {CANARY}"), "does not start with a type"),
        (("conn_id: a", "conn_type: x", f"conn_port: {CANARY}"), "the port is not a whole number"),
    ],
)
def test_one_entry_at_fault_is_refused_alone(lines, told):
    found = entries(item(*lines) + "  - {conn_id: b, conn_type: http}\n")
    assert connection_of("b", found["b"]).conn_type == "http"
    with pytest.raises(InvalidInputError, match=f'"a": .*{told}') as caught:
        connection_of("a", found["a"])
    assert CANARY not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize("value", ["true", "[1]", "{a: 1}", "2026-01-01"])
def test_variable_that_astro_reads_as_something_else_is_refused_alone(value):
    found = entries(item("variable_name: a", f"variable_value: {value}", kind="variables"), "variable")
    with pytest.raises(InvalidInputError, match="no text and no number"):
        variable_of("a", found["a"])
