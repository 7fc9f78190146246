"""Step-up: what shows a secret, gives a right or touches keys wants a proof of the last minutes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from parts.api import SETTINGS, Asking, asking
from parts.server import serving
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.api import DESCRIBED
from strongroom.service.access.begun import Begun

PASSWORD = "four plain words here"
POLICY = '@id("{}") permit(principal == Person::"anna", action == Action::"list", resource);'
SHOWS_OR_GIVES = {
    ("POST", "/policies"),
    ("PUT", "/policies/{id}"),
    ("PATCH", "/policies/{id}"),
    ("DELETE", "/policies/{id}"),
    ("POST", "/actors"),
    ("POST", "/tokens"),
    ("PUT", "/roles/{role}/members/{actor}"),
    ("POST", "/grants"),
    ("POST", "/approvals/{id}/approve"),
    ("PUT", "/approvals/switches/{name}"),
    ("POST", "/agents/invite"),
    ("POST", "/agents/admit"),
    ("POST", "/break-glass"),
}


def session_of(api, actor, age):
    """Begin a session of somebody who proved *age* ago who he is, and give its token."""
    gate = api.house.deployment().access._gate
    proven = datetime.now(timezone.utc) - age
    return gate.begin(Begun(actor, "oidc", "127.0.0.1", None, [], [], proven)).token.reveal()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    # With every API: what takes a proof in one is to take it in each.
    with serving(tmp_path_factory.mktemp("step-up"), SETTINGS) as server:
        found = Asking(server)
        found.house.deployment().root.access.people.add("anna", Secret(PASSWORD), roles=[Role("admin")])
        yield found


@pytest.fixture
def stale(api):
    return session_of(api, "person:anna", timedelta(minutes=6))


@pytest.fixture
def fresh(api):
    return session_of(api, "person:anna", timedelta(minutes=4))


def test_what_shows_or_gives_is_marked_so():
    marked = {(one.method, one.path) for one in DESCRIBED if one.needs_proof}
    assert marked >= SHOWS_OR_GIVES
    assert all(method != "GET" for method, _ in marked)


def test_a_stale_proof_is_told_to_be_renewed_and_nothing_is_done(api, stale, fresh):
    body = {"text": POLICY.format("step-up")}
    refused = api.ask("POST", "/policies", body, token=stale)
    assert (refused.status, refused.code) == (403, "step_up_required")
    assert "5 minutes" in refused.json()["error"]["message"]
    assert api.ask("GET", "/policies/step-up", token=fresh).status == 404
    assert api.ask("POST", "/policies", body, token=fresh).status == 201
    found = [
        one for one in api.house.deployment().root.audit.tail(50) if one.reason.startswith("step_up_required")
    ]
    assert found[-1].outcome == "denied"
    assert found[-1].actor == "person:anna"


@pytest.mark.parametrize(("method", "path"), sorted(SHOWS_OR_GIVES))
def test_each_of_them_refuses_a_stale_proof_before_it_looks_at_anything(api, stale, method, path):
    for name, value in (("{id}", "x"), ("{role}", "op"), ("{actor}", "person:anna"), ("{name}", "changes")):
        path = path.replace(name, value)
    assert api.ask(method, path, {}, token=stale).code == "step_up_required"


def test_a_stale_proof_reveals_nothing_and_looks_at_everything(api, stale, fresh):
    api.put("connection", "stale", {"value": "postgres://u:canary-77@h/db"})
    refused = api.ask("POST", "/reveal/connection/stale", {"reason": "port"}, token=stale)
    assert refused.code == "step_up_required"
    assert b"canary-77" not in refused.body
    assert api.ask("GET", "/entries/connection/stale", token=stale).status == 200
    assert api.ask("POST", "/reveal/connection/stale", {"reason": "port"}, token=fresh).status == 200


def test_a_new_login_is_fresh_and_ends_the_stale_session(api, stale):
    headers = {"Authorization": f"Bearer {stale}"}
    answer = api.ask("POST", "/login", {"name": "anna", "password": PASSWORD}, role=None, headers=headers)
    assert answer.status == 200
    assert api.ask("GET", "/whoami", token=stale).status == 401
    assert (
        api.ask("POST", "/policies", {"text": POLICY.format("again")}, token=answer.json()["token"]).status
        == 201
    )


def test_what_takes_a_right_away_never_waits_for_a_proof(api, stale):
    api.house.deployment().root.access.people.add("gone")
    assert api.ask("PATCH", "/actors/gone", {"is_enabled": False}, token=stale).status == 200
    assert api.ask("DELETE", "/actors/gone", token=stale).status == 204


def test_letting_somebody_in_again_takes_a_proof(api, stale, fresh):
    people = api.house.deployment().root.access.people
    people.add("back")
    people.disable("back")
    for changed in ({"is_enabled": True}, {"is_linked": False}):
        assert api.ask("PATCH", "/actors/back", changed, token=stale).code == "step_up_required"
    assert not api.ask("GET", "/actors/back").json()["is_enabled"]
    assert api.ask("PATCH", "/actors/back", {"is_enabled": True}, token=fresh).status == 200


def test_a_service_is_enabled_by_a_fresh_proof_and_disabled_by_any(api, stale, fresh):
    api.house.deployment().root.access.tokens.issue("nightly")
    assert api.ask("PATCH", "/services/nightly", {"is_enabled": False}, token=stale).status == 204
    refused = api.ask("PATCH", "/services/nightly", {"is_enabled": True}, token=stale)
    assert refused.code == "step_up_required"
    assert api.ask("PATCH", "/services/nightly", {"is_enabled": True}, token=fresh).status == 204


@pytest.mark.parametrize("place", ["/api/v2/variables/plain", "/api/v1/variables/plain", "/api/v2/variables"])
def test_the_apis_of_airflow_show_no_value_to_a_stale_proof(api, stale, fresh, place):
    api.put("variable", "plain", {"value": "canary-78"})
    assert b"canary-78" in api.server.ask("GET", place, token=fresh).body
    hidden = api.server.ask("GET", place, token=stale)
    assert hidden.status == 200
    assert b"canary-78" not in hidden.body
    assert b"***" in hidden.body


def test_a_browser_reads_nothing_with_a_stale_proof(api, stale, fresh):
    api.put("variable", "read", {"value": "canary-80"})
    asked = {"refs": [{"kind": "variable", "name": "read"}]}
    for proof, code in ((fresh, None), (stale, "step_up_required")):
        headers = {"Cookie": f"strongroom={proof}", "Sec-Fetch-Site": "same-origin"}
        answer = api.ask("POST", "/read", asked, role=None, headers=headers)
        assert (b"canary-80" in answer.body, answer.code if code else None) == (code is None, code)


def test_writing_back_what_is_hidden_is_no_way_around_a_fresh_proof(api, stale, fresh):
    api.put("variable", "parts", {"value": '{"host": "canary-79", "port": 1}'})
    said = {"key": "parts", "value": {"host": "***", "port": 2}}
    refused = api.server.ask("PATCH", "/api/v2/variables/parts", said, token=stale)
    assert (refused.status, b"canary-79" in refused.body) == (403, False)
    assert "5 minutes" in refused.json()["detail"]
    assert api.server.ask("PATCH", "/api/v2/variables/parts", said, token=fresh).status == 200


def test_another_s_password_takes_a_proof_and_one_s_own_the_old_one(api, stale):
    api.house.deployment().root.access.people.add("bert")
    refused = api.ask("POST", "/actors/bert/password", {"password": "other plain words"}, token=stale)
    assert refused.code == "step_up_required"
    own = {"password": "new plain words here", "old_password": PASSWORD}
    assert api.ask("POST", "/actors/anna/password", own, token=stale).status == 204
    api.house.deployment().root.access.people.set_password("anna", Secret(PASSWORD))


def test_programs_are_bounded_by_their_tokens_and_not_asked(api):
    assert api.ask("POST", "/policies", {"text": POLICY.format("token")}, role="admin").status == 201


def test_the_settings_say_how_long_a_proof_is_fresh(tmp_path):
    with asking(tmp_path, 'deployment = "prod"\n[access]\nstep_up_seconds = 60\n') as api:
        api.house.deployment().root.access.people.add("anna", roles=[Role("admin")])
        token = session_of(api, "person:anna", timedelta(seconds=90))
        refused = api.ask("POST", "/actors", {"name": "x"}, token=token)
        assert "60 seconds" in refused.json()["error"]["message"]
