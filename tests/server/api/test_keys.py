"""`/keys`: replaced, moved by the server itself, wrapped anew and destroyed, over the wire."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from strongroom.caller import Client
from strongroom.caller.address import ServerAddress
from strongroom.caller.credential import Credential
from strongroom.model.secret import Secret
from strongroom.remote.keys import RemoteKeys

SECRET = "s3cret-canary"


@pytest.fixture(scope="module")
def filled(api):
    for number in range(60):
        api.put("variable", f"k{number}", {"value": f"{SECRET}{number}"})
    return api


def until(found, seconds=30):
    """Give what *found* gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = found()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("never came")


def finished(api):
    return until(
        lambda: (job := api.ask("GET", "/keys").json()["job"]) and job["state"] == "finished" and job
    )


def test_keys_are_replaced_and_the_server_moves_what_stands_under_the_old_one(filled):
    before = filled.ask("GET", "/keys").json()["keys"][-1]
    answer = filled.ask("POST", "/keys/rotate", {"reason": "spring"})
    (made,) = answer.json()["keys"]
    assert (made["team"], made["replaced"]) == (None, before["id"])
    job = finished(filled)
    assert (job["damaged"], job["started_by"]) == (0, "service:api-admin")
    found = {key["id"]: key for key in filled.ask("GET", "/keys").json()["keys"]}
    assert (found[before["id"]]["state"], found[before["id"]]["sealed_versions"]) == ("deactivated", 0)
    assert found[made["id"]]["state"] == "active"
    assert found[made["id"]]["due_at"] is not None
    for number in range(60):
        read = filled.ask("POST", "/read", {"refs": [{"kind": "variable", "name": f"k{number}"}]})
        assert f"{SECRET}{number}".encode() in read.body
    assert SECRET.encode() not in answer.body


def test_a_key_is_destroyed_by_its_whole_id_once_nothing_hangs_on_it(filled):
    filled.ask("POST", "/keys/rotate", {})
    finished(filled)
    keys = filled.ask("GET", "/keys").json()["keys"]
    active, old = keys[-1]["id"], keys[-2]["id"]
    assert filled.ask("GET", f"/keys/{old[:12]}").json() == {
        "key": old,
        "state": "deactivated",
        "versions": 0,
        "entries": 0,
        "registry": 0,
        "passwords": 0,
    }
    assert filled.ask("POST", f"/keys/{old[:12]}/destroy", {}).status == 400
    assert filled.ask("POST", f"/keys/{active}/destroy", {}).status == 409
    assert filled.ask("POST", f"/keys/{old}/destroy", {"reason": "gone"}).json()["state"] == "destroyed"
    assert filled.ask("POST", f"/keys/{old}/destroy", {}).status == 409
    assert filled.ask("GET", "/keys/zz").status == 404
    assert filled.ask("GET", "/entries/variable/k1").status == 200
    reasons = [one.get("reason") for one in filled.ask("GET", "/audit").json()["records"]]
    assert f"keys: destroy {old}: gone" in reasons


def test_keys_are_wrapped_anew(filled):
    answer = filled.ask("POST", "/keys/wrap", {"reason": "another file"})
    assert all(len(key["wrapped_by"]) == 1 for key in answer.json()["keys"] if key["state"] != "destroyed")


def test_a_job_that_nobody_works_on_is_gone_on_with(filled):
    assert filled.ask("POST", "/keys/rotate", {"is_resumed": True}).json()["keys"] == []
    finished(filled)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"team": "nobody"}, 404),
        ({"team": "data", "is_every": True}, 400),
        ({"is_every": True, "is_resumed": True}, 400),
        ({"is_every": "yes"}, 422),
        ({"rate": 5}, 422),
        ({"reason": "x" * 5000}, 422),
        ({"team": "../x"}, 404),
        ([], 422),
    ],
)
def test_what_cannot_be_meant_replaces_no_key(filled, body, status):
    before = len(filled.ask("GET", "/keys").json()["keys"])
    assert filled.ask("POST", "/keys/rotate", body).status == status
    assert len(filled.ask("GET", "/keys").json()["keys"]) == before


@pytest.mark.parametrize("role", ["op", "user", "viewer", "reader"])
def test_who_does_not_administer_changes_no_key_and_sees_no_job(filled, role):
    before = filled.ask("GET", "/keys").json()["keys"]
    for path in ("/keys/rotate", "/keys/wrap", f"/keys/{before[0]['id']}/destroy"):
        assert filled.ask("POST", path, {}, role=role).status == 403
    assert filled.ask("GET", f"/keys/{before[0]['id']}", role=role).status == 403
    assert filled.ask("GET", "/keys").json()["keys"] == before


def test_keys_are_not_changed_in_read_only_mode(filled):
    filled.ask("PUT", "/mode", {"is_read_only": True})
    try:
        assert filled.ask("POST", "/keys/rotate", {}).code == "read_only"
    finally:
        filled.ask("PUT", "/mode", {"is_read_only": False})


def test_a_password_follows_when_its_person_logs_in_and_holds_its_key_until_then(filled):
    people = filled.house.deployment().root.access.people
    people.add("anna", Secret("correct horse battery"))
    old = filled.ask("GET", "/keys").json()["keys"][-1]["id"]
    filled.ask("POST", "/keys/rotate", {})
    finished(filled)
    assert filled.ask("GET", f"/keys/{old}").json()["passwords"] == 1
    refused = filled.ask("POST", f"/keys/{old}/destroy", {})
    assert refused.status == 409
    assert "1 passwords" in refused.json()["error"]["message"]
    login = {"name": "anna", "password": "correct horse battery"}
    assert filled.ask("POST", "/login", login, role=None).status == 200
    assert filled.ask("GET", f"/keys/{old}").json()["passwords"] == 0
    assert filled.ask("POST", f"/keys/{old}/destroy", {}).status == 200
    assert filled.ask("POST", "/login", login, role=None).status == 200
    assert filled.ask("POST", "/login", {**login, "name": "nobody"}, role=None).status == 401
    people.delete("anna")


def test_the_remote_room_says_and_does_the_same(filled):
    credential = Credential(Secret(filled.tokens["admin"]))
    with closing(Client(ServerAddress(filled.server.address), credential)) as client:
        keys = RemoteKeys(client)
        told = filled.house.deployment().root.keys
        assert keys.status() == told.status()
        (made,) = keys.rotate(reason="remote")
        seen = []
        job = keys.rewrap(progress=lambda done, total: seen.append((done, total)))
        assert job.state == "finished"
        assert keys.job() == told.job()
        assert keys.wrap_anew() == sum(key.state != "destroyed" for key in told.status())
        keys.resume()
        assert keys.rewrap().state == "finished"
        assert keys.remains(made.replaced[:10]).key == made.replaced
        assert keys.destroy(made.replaced, reason="remote") == made.replaced
        assert keys.remains(made.replaced).state == "destroyed"
