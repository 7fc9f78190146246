"""The place itself: versions, explanations, inventory, backends, keys, deployments, settings, mode."""

from __future__ import annotations

import json

import pytest

SECRET = "s3cret-canary"


@pytest.fixture(scope="module")
def versions(api):
    first = {
        "conn_type": "postgres",
        "host": "h1",
        "login": "u",
        "password": SECRET,
        "extra": {"sslmode": "require"},
    }
    api.put("connection", "v", {"connection": first}, role="admin")
    api.put(
        "connection",
        "v",
        {"connection": {**first, "host": "h2", "password": SECRET + "2"}, "comment": "moved"},
    )
    api.put("connection", "v", {"connection": {**first, "login": None}})
    return api


def test_a_history_tells_who_when_and_why_and_no_value(versions):
    answer = versions.ask("GET", "/history/connection/v")
    found = answer.json()["versions"]
    assert [one["version"] for one in found] == ["3", "2", "1"]
    assert [one["is_current"] for one in found] == [True, False, False]
    assert (found[1]["author"], found[1]["comment"]) == ("service:api-admin", "moved")
    assert SECRET.encode() not in answer.body


def test_a_diff_names_fields_and_holds_none_of_their_content(versions):
    answer = versions.ask("GET", "/diff/connection/v", query={"from": "1", "to": "2"})
    found = answer.json()
    assert (found["from"], found["to"], found["is_same"]) == ("1", "2", False)
    assert found["fields"] == [
        {"field": "host", "change": "changed"},
        {"field": "password", "change": "changed"},
    ]
    assert SECRET.encode() not in answer.body
    current = versions.ask("GET", "/diff/connection/v", query={"from": "1"}).json()
    assert (current["to"], current["fields"]) == ("3", [{"field": "login", "change": "removed"}])


def test_a_diff_of_what_is_not_there_is_not_found(versions):
    assert versions.ask("GET", "/diff/connection/v", query={"from": "99"}).status == 404
    assert versions.ask("GET", "/diff/connection/never", query={"from": "1"}).status == 404
    assert versions.ask("GET", "/diff/connection/v").status == 400


def test_a_rollback_is_a_new_version_with_the_old_value(versions):
    versions.put("variable", "r", {"value": "one"})
    versions.put("variable", "r", {"value": "two"})
    answer = versions.ask("POST", "/rollback/variable/r", {"version": "1", "comment": "back"})
    assert (answer.status, answer.json()["version"], answer.headers["etag"]) == (200, "3", '"3"')
    refs = {"refs": [{"kind": "variable", "name": "r"}]}
    assert versions.ask("POST", "/read", refs).json()["results"][0]["value"] == "one"
    assert versions.ask("POST", "/rollback/variable/r", {"version": "99"}).status == 404


def test_a_rollback_is_made_over_the_version_that_was_looked_at(versions):
    versions.put("variable", "over", {"value": "one"})
    versions.put("variable", "over", {"value": "two"})
    body, path = {"version": "1"}, "/rollback/variable/over"
    stale = versions.ask("POST", path, body, headers={"If-Match": '"1"'})
    assert (stale.status, stale.json()["error"]["code"]) == (412, "precondition_failed")
    assert versions.ask("POST", path, body, headers={"If-Match": '"2"'}).json()["version"] == "3"


def test_undeleting_what_stands_is_a_conflict(versions):
    versions.put("variable", "u", {"value": "x"})
    assert versions.ask("POST", "/undelete/variable/u").status == 409
    assert versions.ask("POST", "/undelete/variable/never").status == 404


def test_an_explanation_tells_every_step_and_no_value(api):
    api.put("variable", "why", {"value": SECRET})
    answer = api.ask("GET", "/explain/variable/why")
    found = answer.json()
    assert (found["outcome"], found["backend"]) == ("found", "native")
    assert [step["backend"] for step in found["steps"]] == ["env", "native"]
    assert found["policies"]
    assert SECRET.encode() not in answer.body
    assert api.ask("GET", "/explain/variable/nowhere").json()["outcome"] == "absent"


def test_the_inventory_counts_and_filters(api):
    api.put("variable", "inv", {"value": "x"})
    counts = api.ask("GET", "/inventory/counts").json()
    assert counts["variables"] >= 1
    assert counts["troubles"] == []
    page = api.ask("GET", "/inventory", query={"prefix": "inv", "backend": "native"}).json()
    assert [row["name"] for row in page["entries"]] == ["inv"]
    assert api.ask("GET", "/inventory", query={"only_problems": "true"}).json()["entries"] == []
    assert api.ask("GET", "/inventory", query={"state": "broken"}).status == 400
    assert api.ask("GET", "/inventory/clashes").json() == {"clashes": []}


def test_backends_tell_what_they_can_and_how_they_are(api):
    rows = api.ask("GET", "/backends").json()["backends"]
    assert [(row["order"], row["name"]) for row in rows] == [(1, "env"), (2, "native")]
    checked = api.ask("POST", "/backends/check").json()["backends"]
    assert {row["name"]: row["status"] for row in checked} == {"env": "ready", "native": "ready"}
    assert [(row["identity"], row["is_reachable"]) for row in checked] == [("", True), ("", True)]
    assert [row["may"]["write"] for row in checked] == ["no", "yes"]


def test_keys_are_told_without_their_bytes(api):
    (key,) = api.ask("GET", "/keys").json()["keys"]
    assert (key["number"], key["state"]) == (1, "active")


def test_a_deployment_is_told_to_its_own_and_no_other_is(api):
    (row,) = api.ask("GET", "/deployments").json()["deployments"]
    assert (row["name"], row["is_first"], row["chain"]) == ("prod", True, ["env", "native"])
    assert api.ask("GET", "/deployments/prod").json()["variables"] >= 1
    assert api.ask("GET", "/deployments/other").status == 404


def test_RT04_the_settings_in_force_hold_no_text_that_was_not_chosen(api):
    answer = api.ask("GET", "/config")
    settings = answer.json()["settings"]
    assert settings["deployment"] == "prod"
    assert settings["server"]["limits"]["identity_per_second"] == 0
    assert str(api.server.house.deployment().settings.store.path).encode() not in answer.body


def test_read_only_mode_refuses_changes_and_can_be_ended(api):
    assert api.ask("PUT", "/mode", {"is_read_only": True, "reason": "move"}).json()["is_read_only"] is True
    try:
        answer = api.ask("PUT", "/entries/variable/ro", {"value": "x"})
        assert (answer.status, answer.code) == (403, "read_only")
        assert api.ask("POST", "/tokens", {"name": "ro"}).code == "read_only"
        assert api.ask("GET", "/entries").status == 200
        assert api.ask("GET", "/mode").json()["is_read_only"] is True
    finally:
        assert api.ask("PUT", "/mode", {"is_read_only": False}).json()["is_read_only"] is False
    assert api.ask("PUT", "/entries/variable/ro", {"value": "x"}).status == 200


def test_the_level_of_the_log_changes_at_run_time(api):
    assert api.ask("PUT", "/mode", {"log_level": "debug"}).json()["log_level"] == "debug"
    assert api.ask("PUT", "/mode", {"log_level": "info"}).json()["log_level"] == "info"
    assert api.ask("PUT", "/mode", {"log_level": "loud"}).status == 422


def test_the_document_is_served_with_its_version(api):
    answer = api.ask("GET", "/openapi.json")
    assert json.loads(answer.body)["openapi"] == "3.1.0"
    again = api.ask("GET", "/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status == 304


def test_testing_connections_is_off_unless_it_is_switched_on(api):
    api.put("connection", "reached", {"value": "postgres://127.0.0.1:1/db"})
    answer = api.ask("POST", "/test/connection/reached")
    assert (answer.status, answer.code) == (403, "access_denied")
