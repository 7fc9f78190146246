"""Workloads that show what somebody else signed, over HTTP: as the service they are, or nobody."""

from __future__ import annotations

import time

import pytest

from parts.server import serving
from parts.signing import KeyServer, Signer, claims

SETTINGS = """
[server.limits]
identity_per_second = 0
stranger_per_second = 0
[access.issuer.ci]
issuer = "{issuer}"
audience = "strongroom"
[[access.issuer.ci.allow]]
service = "deployer"
claims = {{ repository = "acme/*", ref = "refs/heads/main" }}
[[access.issuer.ci.allow]]
service = "scheduled"
claims = {{ repository = "acme/*" }}
level = "run"
"""


@pytest.fixture(scope="module")
def keys():
    with KeyServer(Signer("rsa", "ed")) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory, keys):
    with serving(tmp_path_factory.mktemp("server"), SETTINGS.format(issuer=keys.url)) as found:
        found.admin = found.token("admin", "admin")
        yield found


def token(keys, **more):
    said = {"iss": keys.url, "repository": "acme/etl", "ref": "refs/heads/main", **more}
    return keys.signer.sign(claims(**said))


def test_a_signed_token_is_the_service_of_its_rule(server, keys):
    answer = server.ask("GET", "/v1/whoami", token=token(keys))
    assert answer.status == 200, answer.body
    seen = answer.json()
    assert (seen["actor"], seen["how"], seen["assurance"]) == ("service:deployer", "jwt", 1)
    assert seen["expires_at"] is not None


def test_a_rule_may_say_that_its_tokens_are_verified_runs(server, keys):
    seen = server.ask("GET", "/v1/whoami", token=token(keys, ref="refs/heads/other")).json()
    assert (seen["actor"], seen["assurance"]) == ("service:scheduled", 2)


def test_a_workload_reads_what_its_role_may(server, keys):
    body = {"kind": "variable", "value": "eu"}
    assert (
        server.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, token=server.admin).status < 300
    ), body
    wanted = {"refs": [{"kind": "variable", "name": "region"}]}
    mine = token(keys)
    (denied,) = server.ask("POST", "/v1/read", wanted, token=mine).json()["results"]
    assert denied["outcome"] == "denied"
    server.house.deployment(None).root.access.roles.grant("reader", "service:deployer")
    for _ in range(3):
        (found,) = server.ask("POST", "/v1/read", wanted, token=mine).json()["results"]
        assert found["value"] == "eu"


def test_a_token_of_nobody_is_refused_like_any_other(server, keys):
    wrong = server.ask("GET", "/v1/whoami", token="srm_nobody")
    for bad in (
        token(keys, aud="somebody-else"),
        token(keys, iss="https://nobody.test"),
        token(keys, repository="acme-evil/etl"),
        Signer("rsa").sign(claims(iss=keys.url, repository="acme/etl")),
        token(keys)[:-4] + "AAAA",
    ):
        answer = server.ask("GET", "/v1/whoami", token=bad)
        assert (answer.status, answer.body) == (wrong.status, wrong.body)


def test_JW10_a_token_in_the_address_is_no_credential(server, keys):
    for path in ("/v1/whoami?access_token=", "/v1/whoami?token="):
        assert server.ask("GET", path + token(keys)).status in (400, 401)


def test_JW10_the_record_names_the_issuer_and_the_workload_and_never_the_token(server, keys):
    mine = token(keys, sub="repo:acme/etl:ref:refs/heads/main", jti="recorded")
    assert server.ask("GET", "/v1/whoami", token=mine).status == 200
    deadline = time.monotonic() + 10
    while True:
        told = server.house.deployment(None).root.audit.tail(100)
        found = [one.reason for one in told if one.actor == "service:deployer" and one.action == "login"]
        if (
            any("repo:acme/etl:ref:refs/heads/main" in reason for reason in found)
            or time.monotonic() > deadline
        ):
            break
    assert any(reason.startswith("signed token of ci, repo:acme/etl") for reason in found)
    assert mine.rpartition(".")[2] not in str(told)


def test_JW10_a_token_shows_in_no_line_of_the_log(server, keys):
    mine, bad = token(keys), token(keys, aud="somebody-else")
    for one in (mine, bad):
        server.ask("GET", "/v1/whoami", token=one)
        server.ask("GET", f"/v1/whoami?token={one}")
        server.ask("GET", "/v1/whoami", headers={"Referer": f"https://x.test/?token={one}"})
    for one in (mine, bad):
        assert one.rpartition(".")[2] not in server.log
