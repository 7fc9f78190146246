"""`/reveal`: a reason, a fresh identity, a record, and where switched on a second person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from strongroom.model.secret import Secret
from strongroom.policy import Role, Scope
from strongroom.server.proof import is_fresh, stale
from strongroom.service.access import Demands

SECRET = "s3cret-canary"
PASSWORD = "four plain words here"


@pytest.fixture(scope="module")
def people(api):
    """Sessions of two administrators."""
    root = api.house.deployment().root
    tokens = {}
    for name in ("anna", "otto"):
        root.access.people.add(name, Secret(PASSWORD), roles=[Role("admin")])
        answer = api.ask("POST", "/login", {"name": name, "password": PASSWORD}, role=None)
        assert answer.status == 200, answer.body
        tokens[name] = answer.json()["token"]
    return tokens


@pytest.fixture(scope="module")
def entry(api):
    api.put("connection", "revealed", {"value": f"postgres://u:{SECRET}@h/db"})
    return "/reveal/connection/revealed"


def records(api):
    return api.house.deployment().root.audit.tail(50)


def test_a_fresh_session_sees_a_secret_with_its_reason_on_record(api, people, entry):
    answer = api.ask("POST", entry, {"reason": "checking the port"}, token=people["anna"])
    assert answer.status == 200
    assert answer.json()["connection"]["password"] == SECRET
    assert answer.headers["cache-control"] == "no-store"
    found = [one for one in records(api) if one.action == "reveal" and one.actor == "person:anna"][-1]
    assert (found.name, found.outcome, found.reason) == ("revealed", "found", "checking the port")


@pytest.mark.parametrize("reason", ["", "   ", "\n", "x" * 501, "a\x00b"])
def test_AA14_a_reveal_needs_a_reason(api, people, entry, reason):
    answer = api.ask("POST", entry, {"reason": reason}, token=people["anna"])
    assert (answer.status, answer.code) == (422, "invalid_field")


def test_AA14_a_token_that_was_not_made_for_it_is_asked_to_step_up_and_that_is_recorded(api, entry):
    answer = api.ask("POST", entry, {"reason": "curious"}, role="admin")
    assert (answer.status, answer.code) == (403, "step_up_required")
    assert SECRET.encode() not in answer.body
    found = [one for one in records(api) if one.actor == "service:api-admin" and one.action == "reveal"][-1]
    assert found.outcome == "denied"
    assert "curious" in found.reason


def test_AA14_a_token_whose_scope_names_reveal_may(api, entry):
    token = api.server.token("revealer", "admin", scope=Scope(("reveal",)))
    assert api.ask("POST", entry, {"reason": "nightly check"}, token=token).status == 200


@pytest.mark.parametrize("who", ["person:anna", "local:0"])
def test_AA14_a_session_is_fresh_for_as_long_as_the_settings_say(who):
    now, demands = datetime.now(timezone.utc), Demands(fresh=timedelta(minutes=5))

    def is_one(age):
        return is_fresh(
            SimpleNamespace(how="session", since=now - age, actor=SimpleNamespace(id=who)), demands, now
        )

    assert is_one(timedelta())
    assert is_one(demands.fresh)
    assert not is_one(demands.fresh + timedelta(microseconds=1))
    assert not is_one(timedelta(seconds=-1))  # begun in the future: a clock was set back


@pytest.mark.parametrize(
    ("seconds", "span"), [(30, "30 seconds"), (60, "60 seconds"), (90, "90 seconds"), (300, "5 minutes")]
)
def test_how_lately_a_proof_must_be_is_said_in_whole_numbers(seconds, span):
    assert str(stale(Demands(fresh=timedelta(seconds=seconds)))).endswith(f"within the last {span}")


def test_RT11_a_view_of_the_same_entry_shows_nothing(api, people, entry):
    view = api.ask("GET", "/entries/connection/revealed", token=people["anna"])
    assert SECRET.encode() not in view.body


def test_what_a_role_may_not_reveal_is_denied_though_it_is_fresh(api, entry):
    token = api.server.token("op-revealer", "op", scope=Scope(("reveal",)))
    assert api.ask("POST", entry, {"reason": "x"}, token=token).status == 403


@pytest.fixture
def two(api, people):
    """Give a deployment where a second person has to agree."""
    switch = "/approvals/switches/two-person-reveal"
    assert api.ask("PUT", switch, {"is_on": True}, token=people["anna"]).status == 200
    yield api
    assert api.ask("PUT", switch, {"is_on": False}, token=people["anna"]).status == 200


def ask_for(api, people, name):
    api.put("variable", name, {"value": SECRET})
    answer = api.ask("POST", f"/reveal/variable/{name}", {"reason": "incident"}, token=people["anna"])
    assert answer.status == 202
    assert SECRET.encode() not in answer.body
    return answer.json()


def test_a_reveal_waits_for_a_second_person_and_is_good_once(two, people):
    asked = ask_for(two, people, "two-1")
    assert asked["state"] == "pending"
    approve = f"/approvals/{asked['id']}/approve"
    approved = two.ask("POST", approve, {"content_hash": asked["content_hash"]}, token=people["otto"])
    assert approved.json()["state"] == "approved"
    body = {"reason": "incident", "approval": asked["id"]}
    first = two.ask("POST", "/reveal/variable/two-1", body, token=people["anna"])
    assert first.json()["value"] == SECRET
    second = two.ask("POST", "/reveal/variable/two-1", body, token=people["anna"])
    assert second.status in (403, 409)


def test_AA13_nobody_approves_his_own_request(two, people):
    asked = ask_for(two, people, "two-2")
    answer = two.ask("POST", f"/approvals/{asked['id']}/approve", {}, token=people["anna"])
    assert answer.status == 403


def test_AA13_a_program_approves_nothing(two, people):
    asked = ask_for(two, people, "two-3")
    assert two.ask("POST", f"/approvals/{asked['id']}/approve", {}).status == 403


def test_AA13_an_approval_of_other_content_is_refused(two, people):
    asked = ask_for(two, people, "two-4")
    body = {"content_hash": "0" * 64}
    answer = two.ask("POST", f"/approvals/{asked['id']}/approve", body, token=people["otto"])
    assert answer.status == 409


def test_AA13_an_approval_is_void_once_the_entry_has_changed(two, people):
    asked = ask_for(two, people, "two-5")
    assert two.ask("POST", f"/approvals/{asked['id']}/approve", {}, token=people["otto"]).status == 200
    two.put("variable", "two-5", {"value": "another"})
    answer = two.ask("POST", "/reveal/variable/two-5", {"reason": "incident"}, token=people["anna"])
    assert answer.status == 403
    assert b"another" not in answer.body.replace(b"another version", b"")


def test_AA09_of_many_reveals_at_once_one_approval_lets_one_through(two, people):
    asked = ask_for(two, people, "two-6")
    assert two.ask("POST", f"/approvals/{asked['id']}/approve", {}, token=people["otto"]).status == 200
    body = {"reason": "incident"}
    with ThreadPoolExecutor(8) as pool:
        ask = lambda _: two.ask("POST", "/reveal/variable/two-6", body, token=people["anna"])  # noqa: E731
        answers = list(pool.map(ask, range(8)))
    assert sum(answer.status == 200 for answer in answers) == 1
    assert sum(SECRET.encode() in answer.body for answer in answers) == 1


def test_a_rejected_request_reveals_nothing(two, people):
    asked = ask_for(two, people, "two-7")
    rejected = two.ask("POST", f"/approvals/{asked['id']}/reject", token=people["otto"])
    assert rejected.json()["state"] == "rejected"
    answer = two.ask("POST", "/reveal/variable/two-7", {"reason": "incident"}, token=people["anna"])
    assert answer.status == 202
