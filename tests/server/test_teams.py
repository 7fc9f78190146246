"""A role of one team, asked with that team's name: it gives nothing of the global names behind it."""

from __future__ import annotations

import pytest

from parts.server import serving
from strongroom.policy import Role, Scope

SECRET = "CANARY-global"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("teams"), "[server.limits]\nidentity_per_second = 0\n") as server:
        issue = server.house.deployment().root.access.tokens.issue
        server.admin = server.token()
        server.team = {
            role: issue(f"team-{role}", roles=[Role(role, "data")]).token.reveal()
            for role in ("reader", "admin")
        }
        revealing = issue("revealing", roles=[Role("admin", "data")], scope=Scope(("reveal",)))
        server.team["revealing"] = revealing.token.reveal()
        for path in ("/variable/shared", "/variable/own?team=data"):
            answer = server.ask("PUT", f"/v1/entries{path}", {"value": SECRET}, token=server.admin)
            assert answer.status in (200, 201)
        yield server


def read(server, token, name, headers=None):
    body = {"refs": [{"kind": "variable", "name": name, "team": "data"}]}
    answer = server.ask("POST", "/v1/read", body, token=token, headers=headers)
    return answer.json()["results"][0]


@pytest.mark.parametrize("headers", [{}, {"X-Other": "the ordinary way"}])
@pytest.mark.parametrize("role", ["reader", "admin"])
def test_AA02_a_role_of_a_team_reads_what_the_team_owns_and_no_global_name_behind_it(served, role, headers):
    token = served.team[role]
    assert read(served, token, "own", headers)["value"] == SECRET
    assert read(served, served.admin, "shared", headers)["value"] == SECRET
    for _ in range(2):
        assert read(served, token, "shared", headers) == {**read(served, token, "none"), "name": "shared"}


@pytest.mark.parametrize(
    ("method", "path", "role", "body"),
    [
        ("GET", "/v1/entries/variable/{}?team=data", "admin", None),
        ("GET", "/v1/entries/variable/{}?team=data", "reader", None),
        ("POST", "/v1/reveal/variable/{}?team=data", "revealing", {"reason": "curious"}),
        ("GET", "/v1/history/variable/{}?team=data", "admin", None),
    ],
)
def test_AA02_whether_there_is_a_global_name_stays_untold(served, method, path, role, body):
    found, nothing = (
        served.ask(method, path.format(name), body, token=served.team[role]) for name in ("shared", "nobody")
    )
    assert SECRET.encode() not in found.body
    assert found.status == nothing.status == 404
    assert found.body.replace(b"shared", b"nobody") == nothing.body


def test_AA02_an_explanation_for_a_role_of_a_team_ends_with_the_team(served):
    ask = lambda token: served.ask("GET", "/v1/explain/variable/shared?team=data", token=token).json()  # noqa: E731 -- one line
    assert ask(served.admin)["outcome"] == "found"
    told = ask(served.team["reader"])
    assert (told["outcome"], told["backend"], told["version"]) == ("absent", None, None)
    assert {step["team"] for step in told["steps"]} == {"data"}


def test_AA02_a_reference_of_a_team_leads_to_no_global_name_that_its_writer_may_not_read(served):
    body = {"value": "${variable/shared}", "references": True}
    answer = served.ask("PUT", "/v1/entries/variable/refers?team=data", body, token=served.team["admin"])
    assert answer.status == 422
    assert SECRET.encode() not in answer.body
