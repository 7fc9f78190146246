"""Every connection and variable call of the published client of Airflow 3, to a real `strongroom serve`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def call(client3, strongroom):
    def send(api, name, *, who="admin", at="", **arguments):
        token = strongroom.tokens[who]
        asked = {"host": strongroom.address + at, "token": token, "api": api, "call": name, "args": arguments}
        return client3.send(asked)

    return send


def body(name, **more):
    return {"ConnectionBody": {"connection_id": name, "conn_type": "postgres", **more}}


def variable(key, value, **more):
    return {"VariableBody": {"key": key, "value": value, **more}}


def test_a_connection_is_created_seen_changed_listed_and_deleted(call):
    extra = json.dumps({"sslmode": "require", "password": "x"})
    made = call(
        "connection",
        "post_connection",
        connection_body=body("k1", host="h", port=5432, password="pw-very-secret", schema="db", extra=extra),
    )
    assert made["status"] == 201
    assert made["data"]["password"] == "***"
    assert json.loads(made["data"]["extra"]) == {"sslmode": "require", "password": "***"}
    seen = call("connection", "get_connection", connection_id="k1")
    assert seen["status"] == 200
    assert seen["data"] == made["data"]
    changed = call(
        "connection",
        "patch_connection",
        connection_id="k1",
        connection_body=body("k1", host="h2", password="***"),
        update_mask=["host", "password"],
    )
    assert changed["status"] == 200
    assert changed["data"] == {**seen["data"], "host": "h2"}
    assert changed["headers"]["strongroom-kept"] == "password"
    listed = call(
        "connection",
        "get_connections",
        connection_id_pattern="k1",
        order_by=["-connection_id"],
        limit=5,
        offset=0,
    )
    assert listed["data"] == {"connections": [changed["data"]], "total_entries": 1}
    assert call("connection", "delete_connection", connection_id="k1")["status"] == 204
    assert call("connection", "get_connection", connection_id="k1")["error"] == "NotFoundException"


def test_what_is_wrong_with_a_connection_comes_as_the_client_knows_it(call):
    assert call("connection", "post_connection", connection_body=body("k2"))["status"] == 201
    assert call("connection", "post_connection", connection_body=body("k2"))["error"] == "ConflictException"
    assert call("connection", "post_connection", connection_body=body("k9", extra="[]"))["status"] == 422
    assert call("connection", "get_connections", order_by=["password"])["error"] == "BadRequestException"
    assert call("connection", "get_connections", who="viewer")["error"] == "ForbiddenException"
    assert call("connection", "delete_connection", connection_id="k2")["status"] == 204


def test_connections_are_changed_in_bulk(call):
    bulk = {
        "BulkBodyConnectionBody": {
            "actions": [
                {
                    "action": "create",
                    "entities": [{"connection_id": "m1", "conn_type": "http"}],
                    "action_on_existence": "overwrite",
                },
                {"action": "update", "entities": [{"connection_id": "m0", "conn_type": "http"}]},
                {"action": "delete", "entities": ["m1"]},
            ]
        }
    }
    done = call("connection", "bulk_connections", bulk_body_connection_body=bulk)
    assert done["status"] == 200
    assert done["data"]["create"]["success"] == ["m1"]
    assert done["data"]["update"]["errors"][0]["status_code"] == 404
    assert done["data"]["delete"]["success"] == ["m1"]


def test_tests_and_defaults_are_refused_as_where_airflow_switches_them_off(call):
    assert call("connection", "test_connection", connection_body=body("t1"))["status"] == 403
    asked = {"ConnectionTestRequestBody": {"connection_id": "t1", "conn_type": "http"}}
    assert call("connection", "enqueue_connection_test", connection_test_request_body=asked)["status"] == 403
    assert call("connection", "get_connection_test", airflow_connection_test_token="none")["status"] == 404
    assert call("connection", "create_default_connections")["status"] == 403


def test_a_variable_is_created_seen_changed_listed_and_deleted(call):
    made = call(
        "variable",
        "post_variable",
        variable_body=variable("q/1", {"a": [1, None], "token": "t-very-secret"}, description="d"),
    )
    assert made["status"] == 201
    assert json.loads(made["data"]["value"]) == {"a": [1, None], "token": "***"}
    seen = call("variable", "get_variable", variable_key="q/1")
    assert seen["data"] == made["data"]
    listed = call("variable", "get_variables", variable_key_prefix_pattern="q", order_by=["key"], limit=1)
    assert listed["data"] == {"variables": [made["data"]], "total_entries": 1}
    changed = call(
        "variable",
        "patch_variable",
        variable_key="q/1",
        variable_body=variable("q/1", "plain"),
        update_mask=["value"],
    )
    assert (changed["data"]["value"], changed["data"]["description"]) == ("plain", "d")
    kept = call("variable", "patch_variable", variable_key="q/1", variable_body=variable("q/1", "***"))
    assert kept["headers"]["strongroom-kept"] == "value"
    assert call("variable", "get_variable", variable_key="q/1")["data"]["value"] == "plain"
    assert call("variable", "delete_variable", variable_key="q/1")["status"] == 204
    assert call("variable", "delete_variable", variable_key="q/1")["error"] == "NotFoundException"


def test_variables_are_changed_in_bulk(call):
    bulk = {
        "BulkBodyVariableBody": {
            "actions": [
                {"action": "create", "entities": [{"key": "r1", "value": 1}, {"key": "r2", "value": "x"}]},
                {"action": "update", "entities": [{"key": "r1", "value": 2}]},
                {"action": "delete", "entities": ["r1", "r2", "r3"], "action_on_non_existence": "skip"},
            ]
        }
    }
    done = call("variable", "bulk_variables", bulk_body_variable_body=bulk)["data"]
    assert [done[one]["success"] for one in ("create", "update", "delete")] == [
        ["r1", "r2"],
        ["r1"],
        ["r1", "r2"],
    ]


def test_what_clients_look_at_first_is_there(call):
    assert call("version", "get_version")["data"]["version"] == "3.3.2"
    assert call("monitor", "get_health")["data"]["metadatabase"] == {"status": "healthy"}
    assert call("provider", "get_providers")["data"] == {"providers": [], "total_entries": 0}


def test_another_deployment_has_its_own(call, strongroom):
    made = strongroom.run(
        "access",
        "tokens",
        "issue",
        "--name",
        "o",
        "--role",
        "admin",
        "--deployment",
        "other",
        "--output",
        "json",
    )
    strongroom.tokens["other"] = json.loads(made)["token"]
    at = "/d/other"
    assert (
        call("variable", "post_variable", who="other", at=at, variable_body=variable("only-there", "x"))[
            "status"
        ]
        == 201
    )
    assert (
        call("variable", "get_variable", who="other", at=at, variable_key="only-there")["data"]["value"]
        == "x"
    )
    assert call("variable", "get_variable", variable_key="only-there")["status"] == 404
    assert call("variable", "get_variable", at=at, variable_key="only-there")["status"] == 401
    assert call("variable", "get_variable", who="other", variable_key="only-there")["status"] == 401


def test_every_call_of_the_client_is_made_here(client3):
    made = set(re.findall(r'call\(\s*"(\w+)",\s*"(\w+)"', Path(__file__).read_text()))
    for api in ("connection", "variable"):
        assert {name for asked, name in made if asked == api} == client3.methods(api)
