"""Break-glass: an administrator in need, for a while, heard by everybody."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from parts.api import asking
from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.service.access.begun import Begun
from strongroom.service.policies import Draft

PASSWORD = "four plain words here"
POLICY = '@id("oncall") permit(principal in Role::"oncall", action == Action::"break_glass", resource);'
WHY = "INC-42: nobody of the admins answers"


@pytest.fixture
def api(tmp_path):
    with asking(tmp_path, 'deployment = "prod"\n[access]\nbreak_glass_seconds = 7200\n') as found:
        root = found.house.deployment().root
        root.policies.put(Draft(text=POLICY))
        root.access.people.add("olga", Secret(PASSWORD), roles=[Role("oncall")])
        root.access.people.add("bert", Secret(PASSWORD), roles=[Role("op")])
        yield found


def log_in(api, name):
    answer = api.ask("POST", "/login", {"name": name, "password": PASSWORD}, role=None)
    assert answer.status == 200, answer.body
    return answer.json()["token"]


def break_it(api, token, *, reason=WHY, seconds=3600):
    return api.ask("POST", "/break-glass", {"reason": reason, "seconds": seconds}, token=token)


def records(api):
    return [one for one in api.house.deployment().root.audit.tail(100) if one.action == "break_glass"]


def test_whom_policy_lets_is_an_administrator_at_once_in_every_session_of_his(api):
    token, other = log_in(api, "olga"), log_in(api, "olga")
    assert api.ask("GET", "/actors", token=token).status == 403
    assert break_it(api, token).status == 201
    for one in (token, other):
        assert api.ask("GET", "/actors", token=one).status == 200
        seen = api.ask("GET", "/whoami", token=one).json()
        assert {"name": "admin", "team": None} in seen["roles"]
        assert seen["break_glass"]["reason"] == WHY


def test_whom_policy_does_not_let_is_denied_and_that_is_on_record(api):
    token = log_in(api, "bert")
    answer = break_it(api, token)
    assert (answer.status, answer.code) == (403, "access_denied")
    assert [(one.actor, one.outcome) for one in records(api)] == [("person:bert", "denied")]
    assert api.ask("GET", "/whoami", token=token).json()["break_glass"] is None


def test_without_a_reason_the_glass_stays_whole(api):
    token = log_in(api, "olga")
    for reason in ("", "   ", "\n", "x" * 501, "a\x00b"):
        assert break_it(api, token, reason=reason).status in (400, 413), reason
    assert records(api) == []


def test_it_lasts_as_long_as_the_settings_let_it_at_most(api):
    token = log_in(api, "olga")
    for seconds in (0, -1, 59, 7201, 90_000):
        assert break_it(api, token, seconds=seconds).status in (400, 422), seconds
    assert break_it(api, token, seconds=7200).status == 201


def test_one_at_a_time(api):
    token = log_in(api, "olga")
    assert break_it(api, token).status == 201
    assert break_it(api, token, reason="another").code == "conflict"
    assert api.ask("DELETE", "/break-glass/person:olga", token=token).status == 204
    assert break_it(api, token, reason="another").status == 201


def test_it_ends_by_itself_and_that_is_on_record(api):
    token = log_in(api, "olga")
    gate = api.house.deployment().access._gate
    before = gate.clock
    assert break_it(api, token, seconds=60).status == 201
    try:
        gate.clock = lambda: before() + timedelta(seconds=61)
        assert api.ask("GET", "/actors", token=token).status == 403
        assert api.ask("GET", "/whoami", token=token).json()["break_glass"] is None
        assert api.ask("GET", "/break-glass").json() == {"break_glass": []}
        gate._sweep_at = 0.0
        gate.tick()
    finally:
        gate.clock = before
    assert records(api)[-1].reason == "its time is up"
    assert records(api)[-1].actor == "person:olga"


def test_an_administrator_ends_somebody_else_s_and_others_do_not(api):
    token = log_in(api, "olga")
    break_it(api, token)
    assert api.ask("DELETE", "/break-glass/person:olga", token=log_in(api, "bert")).status == 403
    assert api.ask("DELETE", "/break-glass/person:olga").status == 204
    assert api.ask("GET", "/actors", token=token).status == 403


def test_who_is_disabled_has_no_broken_glass_when_he_comes_back(api):
    people = api.house.deployment().root.access.people
    break_it(api, log_in(api, "olga"))
    people.disable("olga")
    people.enable("olga")
    assert api.ask("GET", "/actors", token=log_in(api, "olga")).status == 403


def test_who_does_not_administer_sees_his_own_alone(api):
    token = log_in(api, "olga")
    break_it(api, token)
    assert api.ask("GET", "/break-glass", token=log_in(api, "bert")).json() == {"break_glass": []}
    for one in (token, api.tokens["admin"]):
        (row,) = api.ask("GET", "/break-glass", token=one).json()["break_glass"]
        assert (row["actor"], row["reason"], row["source"]) == ("person:olga", WHY, "127.0.0.1")


def test_it_is_loud_in_the_record_the_log_and_the_figures(api):
    break_it(api, log_in(api, "olga"))
    assert [one.outcome for one in records(api)] == ["begun", "done"]
    assert all(one.reason.startswith("alarm: person:olga breaks the glass until") for one in records(api))
    assert WHY in records(api)[0].reason
    line = api.server.logged(lambda one: one["event"].startswith("alarm: person:olga broke the glass"))
    assert line["level"] == "error"
    shown = api.server.ask("GET", "/metrics", token=api.tokens["admin"]).body.decode()
    assert 'strongroom_break_glass{deployment="prod"} 1.0' in shown


def test_read_only_mode_does_not_stand_in_its_way_and_stays(api):
    token = log_in(api, "olga")
    assert api.ask("PUT", "/mode", {"is_read_only": True}).status == 200
    assert break_it(api, token).status == 201
    assert api.ask("POST", "/actors", {"name": "eve"}, token=token).code == "read_only"


def test_a_stale_proof_does_not_do(api):
    gate = api.house.deployment().access._gate
    proven = gate.clock() - timedelta(minutes=6)
    token = gate.begin(Begun("person:olga", "oidc", "127.0.0.1", None, [], [], proven)).token.reveal()
    assert break_it(api, token).code == "step_up_required"


def test_only_a_person_breaks_it(api):
    root = api.house.deployment().root
    with pytest.raises(InvalidInputError, match="only a person"):
        root.access.break_glass.begin(WHY, timedelta(hours=1))
    assert break_it(api, api.tokens["admin"]).status == 400
    with pytest.raises(NotFoundError):
        root.access.break_glass.end("person:olga")


def test_rows_that_are_accepted_by_hand_leave_no_glass_broken(api):
    token = log_in(api, "olga")
    break_it(api, token)
    api.house.deployment().root.access.accept()
    assert api.ask("GET", "/break-glass").json() == {"break_glass": []}
    assert json.dumps([row.actor for row in api.house.deployment().root.access.break_glass.list()]) == "[]"


def test_the_conflict_is_ours(api):
    token = log_in(api, "olga")
    break_it(api, token)
    identity = api.house.deployment().access.authenticate(token, source="127.0.0.1")
    with pytest.raises(ConflictError, match="broken already"):
        api.house.room("prod", identity.actor).access.break_glass.begin(WHY, timedelta(hours=1))
