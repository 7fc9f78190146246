"""Tests of connections through a room: of this machine and of a server, against a real Redis."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

import strongroom
from parts.api import SETTINGS, asking
from parts.certificates import Authority
from parts.redis import redis_server
from strongroom.assembly import create_room
from strongroom.errors import AccessDeniedError, BackendUnavailableError, InvalidInputError, NotFoundError
from strongroom.live.probe import Limits
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Role, Scope
from strongroom.server import reach
from strongroom.service import connection_tests
from strongroom.service.entries import Change

ON = '[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n\n[server.limits]'
CANARY = "c4nary-of-a-password"
GOOD, BAD = (Ref("connection", name) for name in ("cache", "cache_wrong"))


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder / "server", Authority(folder)) as server:
        server.add_user("app", CANARY, "~*", "+@all")
        yield server


def fill(room, redis):
    for ref, password in ((GOOD, CANARY), (BAD, CANARY + "!")):
        fields = {"conn_type": "redis", "host": "127.0.0.1", "port": redis.port, "login": "app"}
        room.entries.write(Change(ref=ref, secret=Secret(json.dumps(fields | {"password": password}))))


@pytest.fixture
def here(tmp_path, redis):
    file = tmp_path / "strongroom.toml"
    file.write_text('chain = ["native"]\n')
    file.chmod(0o600)
    environ = {"STRONGROOM_HOME": str(tmp_path), "HOME": str(tmp_path)}
    with create_room(file, environ=environ) as room:
        fill(room, redis)
        yield room


@pytest.fixture(scope="module")
def served(tmp_path_factory, redis):
    settings = SETTINGS.replace("[server.limits]", ON)
    with asking(tmp_path_factory.mktemp("served"), settings) as api:
        fill(api.house.deployment().root, redis)
        scope = Scope(actions=tuple(action.value for action in Action))
        api.tester = api.server.token("tester", "admin", scope=scope)
        yield api


@pytest.fixture
def far(served):
    reach._ALLOWANCE._buckets = reach._Allowance()._buckets
    with strongroom.open_room(
        environ={"STRONGROOM_URL": served.server.address, "STRONGROOM_TOKEN": served.tester}
    ) as room:
        yield room


def test_a_connection_that_works_says_so_step_by_step(here):
    trial = here.tests.begin(GOOD).trial
    assert (trial.is_ok, trial.place, trial.version, trial.said) == (
        True,
        "here",
        "1",
        "every step went well",
    )
    assert [step.name for step in trial.steps][-2:] == ["authentication", "read"]
    assert here.tests.history(GOOD) == (trial,)
    assert here.tests.failing() == {}


def test_a_wrong_password_is_told_by_its_step_and_by_no_value(here):
    trial = here.tests.begin(BAD).trial
    assert (trial.is_ok, trial.tested.failed.name, trial.tested.failed.reason) == (
        False,
        "authentication",
        "credentials",
    )
    assert "rotated" in trial.tested.advice
    assert set(here.tests.failing()) == {BAD}
    records = here.audit.tail(100)
    tests = [(one.action, one.outcome) for one in records if one.name == BAD.name and one.action == "test"]
    assert tests == [("test", "failed")]
    assert CANARY not in repr((trial, records, here.tests.history(BAD)))


def test_what_cannot_be_tested_here_is_an_error(here):
    with pytest.raises(NotFoundError):
        here.tests.begin(Ref("connection", "nobody"))
    with pytest.raises(InvalidInputError):
        here.tests.begin(Ref("variable", "region"))
    for place in ("server", "agent", "agent:one", "moon", "agent:"):
        with pytest.raises(InvalidInputError):
            here.tests.begin(GOOD, on=place)
    with pytest.raises(InvalidInputError):
        here.tests.order(GOOD, "none")
    assert here.tests.places(GOOD) == ("here",)


def test_through_a_server_a_test_is_the_servers_unless_said_otherwise(far):
    assert far.tests.places(GOOD)[:2] == ("server", "here")
    trial = far.tests.begin(GOOD, on="server").trial
    assert (trial.is_ok, trial.place, trial.by) == (True, "server", "service:tester")
    assert far.tests.history(GOOD)[0] == trial


def test_a_failure_comes_through_a_server_whole(far):
    trial = far.tests.begin(BAD, on="server").trial
    assert trial.said == (
        "failed at authentication: it is refused by its service: the credentials are wrong or no longer count"
    )
    assert trial.tested.advice == "correct them in the store, or have them rotated"
    assert far.tests.failing()[BAD] == trial


def test_a_test_from_here_with_what_a_server_gives_is_kept_nowhere(far, served):
    before = far.tests.history(GOOD)
    assert far.tests.begin(GOOD, on="here").trial.is_ok
    assert far.tests.history(GOOD) == before
    records = served.house.deployment().root.audit.tail(100)
    assert ("read", GOOD.name) in {(one.action, one.name) for one in records}


def test_an_agent_is_waited_for_and_its_refusal_is_told_as_it_is(far, served):
    deployment = served.house.deployment()
    deployment.root.access.agents.admit("worker", roles=[Role("reader")])
    assert "agent:worker" in far.tests.places(GOOD)
    tried = far.tests.begin(GOOD, on="agent")
    assert (tried.trial, tried.until is not None) == (None, True)
    assert far.tests.order(GOOD, tried.order).trial is None
    assert far.tests.history(GOOD) == tuple(deployment.trials.of(GOOD))
    reach.assignments_of(deployment).take("worker", tried.order, refused="settings")
    with pytest.raises(AccessDeniedError) as caught:
        far.tests.order(GOOD, tried.order)
    assert caught.value.hint.startswith("agent.test_connections")
    with pytest.raises(BackendUnavailableError):
        far.tests.order(GOOD, "never-given")


def test_a_server_whose_tests_are_off_says_which_setting_it_is(tmp_path, redis):
    with asking(tmp_path, SETTINGS) as api:
        fill(api.house.deployment().root, redis)
        environ = {"STRONGROOM_URL": api.server.address, "STRONGROOM_TOKEN": api.tokens["admin"]}
        with strongroom.open_room(environ=environ) as room:
            with pytest.raises(AccessDeniedError) as caught:
                room.tests.begin(GOOD, on="server")
            assert caught.value.hint == "server.test_connections = true"
            assert room.tests.places(GOOD) == ("here",)


def test_a_type_that_has_nothing_to_test_does_not_fail(here):
    ref = Ref("connection", "events")
    here.entries.write(Change(ref=ref, secret=Secret('{"conn_type": "kafka"}')))
    trial = here.tests.begin(ref).trial
    assert (trial.is_ok, trial.said) == (True, "there was nothing to test")
    assert here.tests.failing() == {}


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        ({"iam": True}, ["aws_default"]),
        ({"iam": True, "aws_conn_id": "prod_aws"}, ["prod_aws"]),
        ({"azure_conn_id": "entra"}, ["entra"]),
        ({"iam": False}, []),
    ],
)
def test_a_test_is_given_the_connections_that_the_tested_one_gets_its_login_from(extra, asked):
    seen = []
    tester = connection_tests.Tester(
        lambda ref: seen.append(ref.name),
        limits=Limits(networks=("192.0.2.0/24",), has_any_option=False, seconds=0.1),
        clock=lambda: datetime.now(timezone.utc),
    )
    connection = Connection(conn_type="postgres", host="127.0.0.1", extra=Extra(extra))
    tester.connection(Ref("connection", "orders"), connection)
    assert seen == asked
