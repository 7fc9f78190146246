"""
Every connection and variable call of the published client of Airflow 2, to a real `strongroom serve`.

No Airflow 2 stands beside: what is expected is what its source says (apache-airflow 2.11.2, api_connexion).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from airflow_api.places import PASSWORD

ITEM = {"connection_id", "conn_type", "description", "host", "login", "schema", "port"}


@pytest.fixture(scope="module")
def call(client2, strongroom):
    def send(api, name, *arguments, who="admin", way="token", at="", **named):
        proof = {
            "token": {"token": strongroom.tokens[who]},
            "person": {"name": who, "password": PASSWORD},
            "any name": {"name": "whoever", "password": strongroom.tokens[who]},
            "nothing": {},
        }[way]
        asked = {"host": f"{strongroom.address}{at}/api/v1", "api": api, "call": name, "args": arguments}
        return client2.send({**asked, "named": named, **proof})

    return send


def body(name, **more):
    return {"Connection": {"connection_id": name, "conn_type": "postgres", **more}}


def variable(key, value, **more):
    return {"Variable": {"key": key, "value": value, **more}}


@pytest.mark.parametrize("way", ["token", "person", "any name"])
def test_an_identity_is_proven_by_token_password_or_a_token_as_password(call, way):
    assert call("connection", "get_connections", way=way)["status"] == 200
    assert call("connection", "get_connections", who="viewer", way=way)["error"] == "ForbiddenException"


def test_nobody_is_answered_as_airflow_2_does(call):
    refused = call("connection", "get_connections", way="nothing")
    assert refused["error"] == "UnauthorizedException"
    assert (refused["data"]["status"], refused["data"]["title"]) == (401, "Unauthorized")
    assert set(refused["data"]) == {"detail", "status", "title", "type"}


def test_a_connection_is_created_seen_changed_listed_and_deleted(call):
    extra = json.dumps({"sslmode": "require", "password": "x"})
    made = call(
        "connection",
        "post_connection",
        body("o1", host="h", login="l", password="pw-very-secret", port=1, extra=extra),
    )
    assert made["status"] == 200
    assert set(made["data"]) == ITEM | {"extra"}
    assert json.loads(made["data"]["extra"]) == {"sslmode": "require", "password": "***"}
    assert call("connection", "get_connection", "o1")["data"] == made["data"]
    changed = call(
        "connection",
        "patch_connection",
        "o1",
        body("o1", host="h2", login="m", extra=made["data"]["extra"]),
        update_mask=["host", "extra"],
    )
    assert changed["status"] == 200
    assert changed["data"] == {**made["data"], "host": "h2"}
    assert changed["headers"]["strongroom-kept"] == "extra.password"
    listed = call("connection", "get_connections", limit=100, offset=0, order_by="-connection_id")
    assert [set(one) for one in listed["data"]["connections"]] == [ITEM] * int(
        listed["data"]["total_entries"]
    )
    assert call("connection", "delete_connection", "o1")["status"] == 204
    gone = call("connection", "get_connection", "o1")
    assert (gone["status"], gone["data"]["title"]) == (404, "Connection not found")


def test_what_is_wrong_with_a_connection_comes_in_the_words_of_airflow_2(call):
    assert call("connection", "post_connection", body("o2"))["status"] == 200
    again = call("connection", "post_connection", body("o2"))
    assert (again["status"], again["data"]["detail"]) == (409, "Connection already exist. ID: o2")
    assert call("connection", "post_connection", body("o 3"))["status"] == 400
    wrong = call("connection", "get_connections", order_by="password")
    assert (
        wrong["data"]["detail"]
        == "Ordering with 'password' is disallowed or the attribute does not exist on the model"
    )
    other = call("connection", "patch_connection", "o2", body("o3"))
    assert other["data"]["detail"] == "The connection_id cannot be updated."
    assert call("connection", "delete_connection", "o2")["status"] == 204
    assert call("connection", "test_connection", body("o2"))["status"] == 403


def test_a_variable_is_written_over_and_shown_in_clear(call):
    assert call("variable", "post_variables", variable("p/secret", "one", description="d"))["status"] == 200
    assert call("variable", "post_variables", variable("p/secret", "two"))["status"] == 200
    seen = call("variable", "get_variable", "p/secret")
    assert seen["data"] == {"key": "p/secret", "value": "two", "description": None}
    changed = call(
        "variable",
        "patch_variable",
        "p/secret",
        variable("p/secret", "three", description="e"),
        update_mask=["value"],
    )
    assert (changed["data"]["value"], changed["data"].get("description")) == ("three", None)
    listed = call("variable", "get_variables", order_by="-key", limit=100)["data"]
    assert {"key": "p/secret", "value": "three", "description": None} in listed["variables"]
    kept = call("variable", "patch_variable", "p/secret", variable("p/secret", "***"))
    assert (kept["data"]["value"], kept["headers"]["strongroom-kept"]) == ("three", "value")
    kept = call("variable", "post_variables", variable("p/secret", "***"))
    assert kept["headers"]["strongroom-kept"] == "value"
    assert call("variable", "get_variable", "p/secret")["data"]["value"] == "three"
    assert call("variable", "delete_variable", "p/secret")["status"] == 204
    gone = call("variable", "get_variable", "p/secret")
    assert (gone["status"], gone["data"]["title"]) == (404, "Variable not found")


def test_a_page_is_bounded_as_in_airflow_2(call, strongroom):
    token = strongroom.tokens["admin"]
    refused = strongroom.ask("GET", "/api/v1/variables?limit=-1", token=token)
    assert (refused.status, refused.json()["title"]) == (400, "Page limit must be a positive integer")
    assert refused.headers["content-type"] == "application/problem+json"
    assert strongroom.ask("GET", "/api/v1/variables?limit=0", token=token).status == 200
    assert strongroom.ask("GET", "/api/v1/variables?limit=x", token=token).status == 400


def test_bodies_are_refused_with_words_by_field(strongroom):
    token = strongroom.tokens["admin"]
    missing = strongroom.ask("POST", "/api/v1/connections", {"connection_id": "z"}, token=token).json()
    assert missing["detail"] == "{'conn_type': ['Missing data for required field.']}"
    unknown = strongroom.ask("POST", "/api/v1/variables", {"key": "z", "value": "z", "zap": 1}, token=token)
    assert unknown.json()["title"] == "Invalid Variable schema"
    assert "zap" not in unknown.body.decode()


def test_every_call_of_the_client_is_made_here(client2):
    made = set(re.findall(r'call\(\s*"(\w+)",\s*"(\w+)"', Path(__file__).read_text()))
    for api in ("connection", "variable"):
        assert {name for asked, name in made if asked == api} == client2.methods(api)
