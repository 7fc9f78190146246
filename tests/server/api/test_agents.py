"""`/agents` over HTTP: enrolled with a code, logged in by a key, told of changes, ended within a second."""

from __future__ import annotations

import base64
import json
import os
import time
from contextlib import contextmanager

import pytest

from parts.enrolled import enrolled_in, invited
from strongroom.backend import Watched
from strongroom.caller import Client
from strongroom.caller.enrolled import AgentCredential, client_of, credential_of, find
from strongroom.caller.hostkey import HostKey
from strongroom.caller.stream import Hearing
from strongroom.errors import NotAuthenticatedError
from strongroom.model.enrolment import Claim, enrolment
from strongroom.policy import Scope
from strongroom.wire.access import WhoAmI

PATIENCE = 10


def until(claim, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def spelled(data):
    return base64.b64encode(data).decode()


@contextmanager
def listening(client):
    heard = []
    hearing = Hearing(client, heard.append)
    try:
        until(lambda: heard)
        yield heard
    finally:
        hearing.close()
        client.close()


def test_an_enrolled_agent_asks_as_itself(api, tmp_path):
    found = enrolled_in(tmp_path, api.server, "asks")
    assert (found.name, found.deployment, found.url) == ("asks", "prod", api.server.address)
    client = client_of(tmp_path)
    seen = client.get("/whoami", WhoAmI)
    assert (seen.actor, seen.how, seen.assurance) == ("agent:asks", "session", 1)
    assert [role.name for role in seen.roles] == ["reader"]
    client.close()


def test_all_that_asks_in_one_process_asks_in_one_session(api, tmp_path):
    enrolled_in(tmp_path, api.server, "single")
    for _ in range(3):
        client = client_of(tmp_path)
        client.get("/whoami", WhoAmI)
        client.close()
    (row,) = (row for row in api.ask("GET", "/agents").json()["agents"] if row["name"] == "single")
    assert row["sessions"] == 1
    assert row["last_login_at"] is not None


def test_a_session_is_renewed_while_it_is_good_and_replaced_when_it_is_not(api, tmp_path):
    enrolled = enrolled_in(tmp_path, api.server, "renews")
    now = [0.0]
    credential = AgentCredential(enrolled, lambda: HostKey.of(tmp_path), timer=lambda: now[0])
    first = credential.token()
    now[0] = 599.0
    assert credential.token() == first
    now[0] = 601.0
    second = credential.token()
    assert second != first
    api.house.deployment().root.access.sessions.revoke_all("agent:renews")
    client = Client(credential.address, credential)
    assert client.get("/whoami", WhoAmI).actor == "agent:renews"
    client.close()
    assert credential.token() not in (first, second)


def test_a_code_and_a_login_are_refused_the_second_time(api, tmp_path):
    code = invited(api.server, "twice").reveal()
    key, _ = HostKey.drawn()
    body = {
        "code": code,
        "public_key": spelled(key.public),
        "fingerprint": spelled(key.fingerprint),
        "signature": spelled(key.sign(enrolment(code, key.public, key.fingerprint))),
    }
    assert api.ask("POST", "/agents/enrol", body, role=None).status == 201
    assert api.ask("POST", "/agents/enrol", body, role=None).status == 401
    claim = Claim("twice", time.time_ns() // 1000, os.urandom(16), key.fingerprint)
    login = {
        "name": claim.name,
        "at": claim.at,
        "nonce": spelled(claim.nonce),
        "fingerprint": spelled(claim.fingerprint),
        "signature": spelled(key.sign(claim.signed("prod"))),
    }
    first = api.ask("POST", "/agents/login", login, role=None)
    assert first.status == 200
    assert first.headers["cache-control"] == "no-store"
    assert 890 < first.json()["lifetime"] <= 900
    again = api.ask("POST", "/agents/login", login, role=None)
    assert (again.status, again.code) == (401, "not_authenticated")


@pytest.mark.parametrize(
    "changed",
    [
        {"at": -1},
        {"at": 2**63},
        {"at": "soon"},
        {"nonce": ""},
        {"nonce": "!"},
        {"fingerprint": spelled(b"x")},
        {"signature": spelled(b"x" * 65)},
        {"name": None},
        {"more": 1},
    ],
)
def test_a_login_of_another_shape_is_one_clear_error(api, changed):
    body = {
        "name": "x",
        "at": 1,
        "nonce": spelled(bytes(16)),
        "fingerprint": spelled(bytes(32)),
        "signature": spelled(bytes(64)),
    } | changed
    answer = api.ask("POST", "/agents/login", body, role=None)
    assert answer.status in (400, 413, 422)
    assert "message" in answer.json()["error"]


def test_invitations_and_agents_are_listed_without_what_proves_them(api, tmp_path):
    answer = api.ask("POST", "/agents/invite", {"name": "seen", "roles": [{"name": "reader"}]})
    assert answer.status == 201
    code = answer.json()["token"]
    enrolled_in(tmp_path, api.server, "seen-too", scope=Scope(names=("prod/*",)))
    told = api.ask("GET", "/agents")
    names = [row["name"] for row in told.json()["invitations"]]
    assert "seen" in names
    assert code not in told.body.decode()
    (row,) = (row for row in told.json()["agents"] if row["name"] == "seen-too")
    assert row["scope"]["names"] == ["prod/*"]
    assert api.ask("DELETE", "/agents/seen").status == 204
    assert api.ask("DELETE", "/agents/agent:seen-too").status == 204
    assert api.ask("DELETE", "/agents/seen-too").status == 404


# --- hearing --------------------------------------------------------------------------------------------


def test_an_agent_hears_a_gap_then_changes_and_signs_of_life(api, tmp_path):
    enrolled_in(tmp_path, api.server, "hears")
    with listening(client_of(tmp_path)) as heard:
        assert heard[0] == Watched(is_gap=True)
        api.put("variable", "heard-of", {"value": "x"})
        until(lambda: any(ref.name == "heard-of" for one in heard for ref in one.refs))
        until(lambda: sum(one.policy is not None for one in heard) >= 3)
        assert len({one.policy for one in heard if one.policy}) == 1


def test_a_changed_policy_is_told_at_once(api, tmp_path):
    enrolled_in(tmp_path, api.server, "judged")
    with listening(client_of(tmp_path)) as heard:
        until(lambda: any(one.policy for one in heard))
        before = next(one.policy for one in heard if one.policy)
        text = '@id("told-of")\nforbid (principal, action == Action::"reveal", resource is Entry);'
        assert api.ask("POST", "/policies", {"id": "told-of", "text": text}).status in (200, 201)
        until(lambda: any(one.policy not in (None, before) for one in heard), 1.0)


def test_a_role_that_is_given_or_taken_is_told_with_the_next_stream(api, tmp_path):
    enrolled_in(tmp_path, api.server, "promoted")
    with listening(client_of(tmp_path)) as heard:
        until(lambda: any(one.policy for one in heard))
        before = next(one.policy for one in heard if one.policy)
        api.house.deployment().root.access.roles.grant("op", "agent:promoted")
        until(lambda: any(one.policy not in (None, before) for one in heard))
        assert not any(one.is_lost for one in heard)


def test_a_revoked_agent_is_told_nothing_any_more_within_a_second(api, tmp_path):
    enrolled_in(tmp_path, api.server, "gone")
    token = credential_of(tmp_path).token().reveal()
    connection = api.server.connect()
    connection.request("GET", "/v1/changes", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    assert answer.readline().startswith(b"retry")
    api.house.deployment().root.access.agents.revoke("gone")
    begun = time.monotonic()
    while answer.readline():
        pass
    assert time.monotonic() - begun < PATIENCE  # it ended; the figure of a second is measured in bench/
    connection.close()
    with pytest.raises(NotAuthenticatedError):
        client_of(tmp_path).get("/whoami", WhoAmI)


def test_as_stored_is_for_agents_alone(api, tmp_path):
    api.put("variable", "base-of-all", {"value": "eu"})
    api.put("variable", "outer-of-all", {"value": "in ${variable/base-of-all}", "references": True})
    body = {"refs": [{"kind": "variable", "name": "outer-of-all"}], "as_stored": True}
    (plain,) = api.ask("POST", "/read", body, role="reader").json()["results"]
    assert plain["value"] == "in eu"
    assert "facts" not in plain
    enrolled_in(tmp_path, api.server, "keeps")
    token = credential_of(tmp_path).token().reveal()
    (stored,) = api.ask("POST", "/read", body, token=token).json()["results"]
    assert stored["value"] == "in ${variable/base-of-all}"
    assert stored["facts"]["references"] is True


def test_an_agent_asks_for_no_more_than_its_scope(api, tmp_path):
    api.put("variable", "prod/x", {"value": "1"})
    api.put("variable", "dev/x", {"value": "1"})
    enrolled_in(tmp_path, api.server, "bounded", scope=Scope(names=("prod/*",)))
    token = credential_of(tmp_path).token().reveal()
    names = [{"kind": "variable", "name": name} for name in ("prod/x", "dev/x")]
    results = api.ask("POST", "/read", {"refs": names}, token=token).json()["results"]
    assert [one["outcome"] for one in results] == ["found", "denied"]


def test_what_is_kept_of_an_enrolment_is_for_its_owner_alone(api, tmp_path):
    folder = tmp_path / "state" / "agent"
    enrolled_in(folder, api.server, "private")
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("agent.key", "server.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["agent.key", "server.json"]
    assert find(folder).name == "private"
    assert "srm_" not in json.dumps(find(folder).url)


def test_a_server_that_is_gone_is_tried_again_and_a_gap_is_told_where_it_forgot(api, tmp_path):
    """What the server cannot go on from is a gap: here an id of another deployment's."""
    enrolled_in(tmp_path, api.server, "resumes")
    client = client_of(tmp_path)
    listened = client.listen("/changes", {"Last-Event-ID": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})
    data = b""
    while b"event: gap" not in data:
        data += listened.some(PATIENCE)
    listened.close()
    client.close()


def test_nobody_waits_on_a_stream_that_was_ended(api, tmp_path):
    enrolled_in(tmp_path, api.server, "ended")
    client = client_of(tmp_path)
    heard = []
    hearing = Hearing(client, heard.append)
    until(lambda: heard)
    hearing.end()
    hearing.end()
    count = len(heard)
    api.put("variable", "after-the-end", {"value": "x"})
    hearing.close()
    assert len(heard) <= count + 1
    assert not any(ref.name == "after-the-end" for one in heard for ref in one.refs)
    client.close()
