"""Tests of connections by the API: from the server and from agents, who may, how often, and what is told."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from parts.api import SETTINGS, asking
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.policy import Actor, Assurance, Role, Scope
from strongroom.server import reach
from strongroom.service import scheduled

CANARY = "c4nary-in-a-password"
TCP = "ftp"  # a type of which nothing but its host is asked


def test_SS04_one_actor_has_five_tests_a_minute():
    allowance = reach._Allowance()
    for _ in range(5):
        allowance.take(("prod", "person:anna"))
    with pytest.raises(reach.RateLimitedError):
        allowance.take(("prod", "person:anna"))
    allowance.take(("prod", "person:otto"))


@pytest.fixture(scope="module")
def reaching(tmp_path_factory):
    """A server whose settings let people test hosts of loopback."""
    switched_on = '[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n\n[server.limits]'
    with asking(tmp_path_factory.mktemp("reach"), SETTINGS.replace("[server.limits]", switched_on)) as api:
        yield api


@pytest.fixture(scope="module")
def near(reaching):
    """A connection whose host listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        put(reaching, "near", f"127.0.0.1:{server.getsockname()[1]}")
        yield "near"


@pytest.fixture(autouse=True)
def unbounded():
    reach._ALLOWANCE._buckets = reach._Allowance()._buckets


def put(api, name, where):
    api.put("connection", name, {"value": f"{TCP}://svc:{CANARY}@{where}/"})


def asked(api, name, **more):
    return api.ask("POST", f"/test/connection/{name}", **more)


def test_a_test_tells_each_step_with_its_time(reaching, near):
    told = asked(reaching, near).json()
    assert (told["status"], told["place"], told["failed"]) == ("ok", "server", None)
    assert [(step["name"], step["outcome"]) for step in told["steps"]][-1] == ("tcp", "ok")
    assert all(step["milliseconds"] >= 0 for step in told["steps"])


def test_a_test_that_fails_names_the_step_and_what_to_do(reaching):
    put(reaching, "closed", "127.0.0.1:1")
    told = asked(reaching, "closed").json()
    assert (told["status"], told["failed"]) == ("failed", "tcp")
    assert told["message"] == "failed at tcp: it leads to a machine on which nothing listens at its port"
    assert told["advice"] == "correct host and port, or start the service"


def test_SS04_what_may_not_be_asked_is_told_alike_whatever_the_reason(reaching):
    told = set()
    for name, where in (("unlisted", "169.254.169.254:80"), ("nowhere", "no-such-host.invalid:80")):
        put(reaching, name, where)
        answer = asked(reaching, name).json()
        told.add(json.dumps({key: answer[key] for key in ("status", "failed", "message", "steps")}))
    assert len(told) == 1
    assert '"failed": "address"' in told.pop()


def test_no_answer_and_no_record_holds_a_value(reaching, near):
    put(reaching, "secret", "127.0.0.1:1")
    answers = [
        asked(reaching, "secret"),
        reaching.ask("GET", "/test/connection/secret"),
        reaching.ask("GET", "/tests"),
        reaching.ask("GET", "/audit", query={"kind": "connection", "name": "secret"}),
    ]
    assert all(CANARY.encode() not in answer.body for answer in answers)


def test_tests_are_kept_and_on_record(reaching, near):
    asked(reaching, near)
    (last, *_) = reaching.ask("GET", f"/test/connection/{near}").json()["tests"]
    assert (last["status"], last["place"], last["by"]) == ("ok", "server", "service:api-admin")
    records = reaching.ask("GET", "/audit", query={"kind": "connection", "name": near}).json()["records"]
    assert ("test", "done") in {(row["action"], row["outcome"]) for row in records}


def test_what_failed_last_is_listed_for_whoever_may_list_it(reaching, near):
    put(reaching, "broken", "127.0.0.1:1")
    asked(reaching, "broken")
    asked(reaching, near)
    listed = {row["name"]: row["test"]["failed"] for row in reaching.ask("GET", "/tests").json()["tests"]}
    assert listed["broken"] == "tcp"
    assert near not in listed


def test_only_what_may_be_tested_is(reaching):
    put(reaching, "denied", "127.0.0.1:1")
    assert asked(reaching, "denied", role="viewer").status == 403
    assert reaching.ask("POST", "/test/variable/denied").status == 400
    assert asked(reaching, "nobody").status == 404
    assert asked(reaching, "denied", query={"on": "here"}).status == 400
    assert asked(reaching, "denied", query={"on": "moon"}).status == 400


def test_SS04_few_tests_run_at_once(reaching, near):
    with ExitStack() as held:
        for _ in range(reach._AT_ONCE):
            held.enter_context(reach._one_turn())
        answer = asked(reaching, near)
    assert (answer.status, answer.code) == (429, "rate_limited")


# --- from an agent -------------------------------------------------------------------------------------


def test_an_agent_must_be_enrolled_and_where_there_are_several_be_named(reaching, near):
    answer = asked(reaching, near, query={"on": "agent:nobody"})
    assert (answer.status, answer.code) == (404, "not_found")
    answer = asked(reaching, near, query={"on": "agent"})
    assert (answer.status, answer.json()["error"]["message"]) == (400, "no agent is enrolled")


def test_only_an_agent_answers_what_agents_are_asked(reaching):
    answer = reaching.ask("POST", "/agents/tests", {"order": "x", "steps": []})
    assert (answer.status, answer.code) == (403, "access_denied")


def test_an_order_that_nobody_gave_is_told_as_silence(reaching, near):
    answer = reaching.ask("GET", f"/test/connection/{near}", query={"order": "x"})
    assert (answer.status, answer.code) == (503, "backend_unavailable")
    assert reaching.house.deployment("prod").trials.of(Ref("connection", "x")) == ()


def test_credentials_of_another_connection_are_used_only_for_who_may_test_that_too(reaching, near):
    put(reaching, "lender", "127.0.0.1:1")
    call = Asker(reaching, Scope(actions=("test",), names=("near",)))
    assert not reach._may(call)(Ref("connection", "lender"))
    assert reach._may(call)(Ref("connection", "near"))
    tester = scheduled.tester_of(call.place, call.place.settings.server, reach._may(call))
    text = '{"conn_type": "postgres", "host": "db", "extra": {"iam": true, "aws_conn_id": "lender"}}'
    assert tester._named_in(Connection.parse(text), None) == {}
    free = scheduled.tester_of(call.place, call.place.settings.server, scheduled.anything)
    assert set(free._named_in(Connection.parse(text), None)) == {"lender"}


class Asker:
    """What a test looks at of a request: the deployment, and who asks, within *scope*."""

    def __init__(self, api, scope):
        self.place = api.house.deployment("prod")
        actor = Actor("service:scoped", Assurance.HOST_USER, roles=(Role("admin"),), scope=scope)
        self.identity = SimpleNamespace(actor=actor)
