"""Workloads that show what somebody else signed, over HTTP: as the service they are, or nobody."""

from __future__ import annotations

import threading
import time

import pytest

from parts.server import serving
from parts.signing import KeyServer, Signer, claims
from strongroom.caller import Client, ServerAddress
from strongroom.caller.credential import Credential
from strongroom.errors import BackendConfigError, NotAuthenticatedError
from strongroom.wire.access import WhoAmI

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


def test_while_an_issuer_keeps_us_waiting_everybody_else_is_served(tmp_path):
    with KeyServer(Signer("ed")) as slow:
        slow.hold.clear()
        with serving(tmp_path, SETTINGS.format(issuer=slow.url)) as server:
            own = server.token("own")
            waiting = [
                threading.Thread(target=server.ask, args=("GET", "/v1/whoami"), kwargs={"token": token(slow)})
                for _ in range(8)
            ]
            for thread in waiting:
                thread.start()
            deadline = time.monotonic() + 10
            while slow.count("/.well-known/openid-configuration") == 0:
                assert time.monotonic() < deadline
            assert server.ask("GET", "/v1/whoami", token=own).status == 200
            wanted = {"refs": [{"kind": "variable", "name": "region"}]}
            assert server.ask("POST", "/v1/read", wanted, token=own).status == 200
            slow.hold.set()
            for thread in waiting:
                thread.join(20)
            assert slow.count("/jwks") == 1


def test_an_issuer_that_is_down_is_trouble_and_no_refusal_and_nobody_is_locked_out(tmp_path):
    with KeyServer(Signer("ed")) as down:
        down.say["/.well-known/openid-configuration"] = (503, {}, b"")
        with serving(tmp_path, SETTINGS.format(issuer=down.url)) as server:
            answer = server.ask("GET", "/v1/whoami", token=token(down))
            assert (answer.status, answer.code) == (503, "backend_unavailable")
            assert int(answer.headers["retry-after"]) <= 30
            assert server.ask("GET", "/v1/whoami", token=server.token("own")).status == 200


def test_what_can_never_work_is_told_when_the_server_starts(tmp_path):
    text = SETTINGS.replace('issuer = "{issuer}"', 'issuer = "https://x.test"\njwks = "gone.json"')
    told = pytest.raises(BackendConfigError, match="the keys of the issuer ci cannot be read")
    with told, serving(tmp_path, text.format()):
        pass


def test_a_client_reads_its_token_anew_when_the_file_changes(server, keys, tmp_path):
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(token(keys, jti="one"))
    client = Client(ServerAddress(server.address), Credential(file=file))
    assert client.get("/whoami", WhoAmI).actor == "service:deployer"
    file.write_text(token(keys, jti="two", ref="refs/heads/other"))
    assert client.get("/whoami", WhoAmI).actor == "service:scheduled"
    file.write_text(token(keys, exp=int(time.time()) - 60, iat=int(time.time()) - 120))
    with pytest.raises(NotAuthenticatedError):
        client.get("/whoami", WhoAmI)
    client.close()


def test_the_services_of_a_deployment_are_looked_at_from_afar(server, keys):
    mine = token(keys)
    assert server.ask("GET", "/v1/whoami", token=mine).status == 200
    (row,) = (
        row
        for row in server.ask("GET", "/v1/services", token=server.admin).json()["services"]
        if row["name"] == "deployer"
    )
    assert (row["issuers"], row["has_token"], row["is_enabled"]) == (["ci"], False, True)
    assert row["last_used_at"] is not None
    path = "/v1/services/deployer"
    assert server.ask("PATCH", path, {"is_enabled": False}, token=server.admin).status == 204
    assert server.ask("GET", "/v1/whoami", token=mine).status == 401
    assert server.ask("PATCH", path, {"is_enabled": True}, token=server.admin).status == 204
    assert server.ask("GET", "/v1/whoami", token=mine).status == 200
    for name, status in (("nobody", 404), ("service:deployer", 204)):
        given = server.ask("PATCH", f"/v1/services/{name}", {"is_enabled": True}, token=server.admin)
        assert given.status == status
    assert server.ask("PATCH", path, {"is_enabled": "no"}, token=server.admin).status == 422


def test_a_stream_of_a_workload_lasts_until_its_service_is_disabled(server, keys):
    access = server.house.deployment(None).root.access
    line = server.connect()
    line.request("GET", "/v1/changes", headers={"Authorization": f"Bearer {token(keys, jti='stream')}"})
    answer = line.getresponse()
    assert answer.status == 200
    gate = access._gate
    for held in list(gate._memo.held.values()):
        held.again = gate.clock()  # as if a minute had gone by: proven again, aside
    for _ in range(2):
        assert answer.readline()
    access.services.disable("deployer")
    try:
        deadline = time.monotonic() + 15
        while answer.readline():
            assert time.monotonic() < deadline
    finally:
        access.services.enable("deployer")
        line.close()
