"""`PATCH /entries/…`: single fields over HTTP, merged with what another wrote; no secret is told."""

from __future__ import annotations

import pytest

SECRET = "s3cret-canary"
DB = {"conn_type": "postgres", "host": "db", "login": "svc", "password": SECRET, "port": 5432}


@pytest.fixture
def db(api, request):
    name = f"db_{abs(hash(request.node.name))}"
    api.put("connection", name, {"connection": DB})
    return f"/entries/connection/{name}"


def view(api, path):
    return api.ask("GET", path).json()["connection"]


def test_a_field_is_changed_and_the_rest_stays(api, db):
    answer = api.ask("PATCH", db, {"changes": {"host": "db2", "extra.sslmode": "require"}, "seen": "1"})
    assert (answer.status, answer.headers["etag"], answer.json()["merged"]) == (200, '"2"', [])
    found = view(api, db)
    assert (found["host"], found["login"], found["password"]) == ("db2", "svc", "***")
    assert found["extra"] == {"sslmode": "require"}


def test_different_fields_of_two_people_are_merged(api, db):
    api.ask("PATCH", db, {"changes": {"port": 5433}, "seen": "1"})
    answer = api.ask("PATCH", db, {"changes": {"host": "db2"}, "seen": "1"})
    assert (answer.status, answer.json()["merged"]) == (200, ["port"])
    assert (view(api, db)["host"], view(api, db)["port"]) == ("db2", 5433)


def test_the_same_field_is_a_conflict_that_names_it(api, db):
    api.ask("PATCH", db, {"changes": {"host": "db3"}, "seen": "1"})
    answer = api.ask("PATCH", db, {"changes": {"host": "db2"}, "seen": "1"})
    assert (answer.status, answer.code) == (409, "conflict")
    error = answer.json()["error"]
    assert "host" in error["message"]
    assert error["current_version"] == "2"


def test_if_match_refuses_what_would_be_a_merge(api, db):
    api.ask("PATCH", db, {"changes": {"port": 5433}, "seen": "1"})
    answer = api.ask("PATCH", db, {"changes": {"host": "db2"}}, headers={"If-Match": '"1"'})
    assert (answer.status, answer.code) == (412, "precondition_failed")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 422),
        ({"password": "***"}, 422),
        ({"hots": "x"}, 422),
        ({"port": 70000}, 422),
        ({"port": "x"}, 422),
        ({"tags": "x"}, 422),
        ({"not_after": "soon"}, 422),
        ({"host": {"a": 1}}, 422),
        ({"extra.": "x"}, 422),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_of_it_repeated(api, db, changes, status):
    answer = api.ask("PATCH", db, {"changes": changes, "seen": "1"})
    assert answer.status == status
    assert SECRET not in str(answer.json())
    assert api.ask("GET", db).headers["etag"] == '"1"'


def test_facts_and_moments_are_edited(api, db):
    changes = {"tags": ["pii", "eu"], "owner": "ada", "not_after": "2030-01-01T00:00:00Z"}
    assert api.ask("PATCH", db, {"changes": changes, "seen": "1"}).status == 200
    found = api.ask("GET", db).json()
    assert (found["tags"], found["owner"], found["not_after"]) == (
        ["eu", "pii"],
        "ada",
        "2030-01-01T00:00:00Z",
    )


def test_what_is_not_there_cannot_be_edited(api):
    assert api.ask("PATCH", "/entries/connection/nowhere", {"changes": {"host": "x"}}).status == 404
