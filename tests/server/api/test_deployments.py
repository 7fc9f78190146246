"""Two deployments of one server: nothing of one is told, or done, in the other."""

from __future__ import annotations

import pytest

from parts.api import asking

SETTINGS = """
deployment = "prod"
chain = ["native"]

[server.limits]
identity_per_second = 0
stranger_per_second = 0

[deployments.staging]
chain = ["native"]
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A server of two deployments, and an administrator's token of each."""
    with asking(tmp_path_factory.mktemp("two"), SETTINGS) as api:
        tokens = {"prod": api.tokens["admin"], "staging": api.server.token("root", deployment="staging")}

        def ask(deployment, method, path, body=None, *, of=None, **more):
            token = tokens[of or deployment]
            return api.server.ask(method, f"/d/{deployment}/v1{path}", body, token=token, **more)

        ask("prod", "PUT", "/entries/variable/only-prod", {"value": "p"})
        ask("staging", "PUT", "/entries/variable/only-staging", {"value": "s"})
        yield ask


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/whoami"), ("GET", "/entries"), ("GET", "/changes"), ("GET", "/audit/export")],
)
def test_a_token_of_one_is_nobody_in_the_other(both, method, path):
    assert both("staging", method, path, of="prod").status == 401
    assert both("prod", method, path, of="staging").status == 401


def test_a_deployment_that_is_not_there_is_answered_as_one_without_an_identity(both):
    there, nowhere = (
        both("staging", "GET", "/whoami", of="prod"),
        both("nowhere", "GET", "/whoami", of="prod"),
    )
    assert (there.status, nowhere.status) == (401, 401)


def test_lists_counts_records_and_people_are_of_one(both):
    for here, there in (("prod", "staging"), ("staging", "prod")):
        for path in (
            "/entries",
            "/inventory",
            "/audit?limit=1000",
            "/tokens",
            "/access/actor/service:root",
            "/deployments",
        ):
            assert f"only-{there}".encode() not in both(here, "GET", path).body
        assert both(here, "GET", "/inventory/counts").json()["variables"] == 1
        assert both(here, "GET", f"/entries/variable/only-{there}").status == 404
        assert both(here, "GET", f"/deployments/{there}").status == 404


def test_RT09_a_cursor_of_one_is_none_in_the_other(both):
    for number in range(3):
        for deployment in ("prod", "staging"):
            both(deployment, "PUT", f"/entries/variable/page/{number}", {"value": "x"})
    cursor = both("prod", "GET", "/entries?prefix=page/&limit=1").json()["cursor"]
    assert both("prod", "GET", f"/entries?prefix=page/&limit=1&cursor={cursor}").status == 200
    assert both("staging", "GET", f"/entries?prefix=page/&limit=1&cursor={cursor}").status == 400


def test_only_an_administrator_of_the_first_changes_how_the_server_runs(both):
    answer = both("staging", "PUT", "/mode", {"is_read_only": True})
    assert (answer.status, answer.code) == (403, "access_denied")
    assert both("prod", "GET", "/mode").json()["is_read_only"] is False
    assert "server" not in both("staging", "GET", "/config").json()["settings"]
    assert "server" in both("prod", "GET", "/config").json()["settings"]


def test_one_name_may_be_two_people(both):
    for deployment, password in (
        ("prod", "one plain long password"),
        ("staging", "another plain long password"),
    ):
        both(deployment, "POST", "/actors", {"name": "anna", "password": password})
    wrong = both("staging", "POST", "/login", {"name": "anna", "password": "one plain long password"})
    assert wrong.status == 401
    right = both("staging", "POST", "/login", {"name": "anna", "password": "another plain long password"})
    assert right.json()["actor"] == "person:anna"


def test_an_idempotency_key_of_one_is_not_that_of_the_other(both):
    key = {"Idempotency-Key": "same"}
    for deployment in ("prod", "staging"):
        answer = both(deployment, "PUT", "/entries/variable/keyed", {"value": deployment}, headers=key)
        assert answer.status == 200
        assert answer.headers["idempotency-replayed"] is None
