"""Tests of connections that a server makes by itself: when, which, by one of several, and what is kept."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta, timezone

import pytest

from audit_parts import until
from parts.api import SETTINGS, asking
from strongroom.errors import SettingsError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.service.assignment import Assignments
from strongroom.service.entries import Change
from strongroom.service.scheduled import BY, Schedule
from strongroom.settings import load

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ON = '[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n\n[server.limits]'
TESTS = '\n[tests]\nevery_seconds = 3600\nnames = ["nightly_*"]\n'
GOOD, BAD, OTHER = (Ref("connection", name) for name in ("nightly_good", "nightly_bad", "by_hand"))


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def served(folder, listening, more):
    api = asking(folder, SETTINGS.replace("[server.limits]", ON) + more)

    def fill(api):
        write = api.house.deployment().root.entries.write
        for ref, port in ((GOOD, listening), (BAD, 1), (OTHER, 1)):
            write(Change(ref=ref, secret=Secret(f"ftp://svc:c4nary@127.0.0.1:{port}/")))
        return api

    return api, fill


@pytest.fixture(scope="module")
def api(tmp_path_factory, listening):
    context, fill = served(tmp_path_factory.mktemp("scheduled"), listening, TESTS)
    with context as api:
        yield fill(api)


def test_a_round_tests_what_the_settings_name_and_keeps_how_it_went(api):
    deployment = api.house.deployment()
    Schedule(api.house.settings.server, lambda: False).round(deployment)
    (good, *_), (bad, *_) = deployment.trials.of(GOOD), deployment.trials.of(BAD)
    assert (good.is_ok, good.by, good.place) == (True, BY, "server")
    assert (bad.is_ok, bad.tested.failed.name) == (False, "tcp")
    assert deployment.trials.of(OTHER) == ()
    assert set(deployment.trials.failing()) == {BAD}


def test_what_fails_is_a_figure(api):
    deployment = api.house.deployment()
    Schedule(api.house.settings.server, lambda: False).round(deployment)
    told = api.server.ask("GET", "/metrics", token=api.server.token("figures", "metrics")).body.decode()
    for outcome in ("ok", "failed"):
        assert f'strongroom_connections_tested{{deployment="prod",outcome="{outcome}"}} 1' in told


def test_of_two_servers_one_makes_a_round_and_the_next_one_comes_when_it_is_due(api):
    deployment, clock = api.house.deployment(), Clock()
    clock.now = datetime.now(timezone.utc) + timedelta(days=1)
    one, two = (Schedule(api.house.settings.server, lambda: False, clock=clock) for _ in range(2))
    assert [one._takes_turn(deployment), two._takes_turn(deployment)] == [True, False]
    clock.now += timedelta(seconds=3599)
    assert not two._takes_turn(deployment)
    clock.now += timedelta(seconds=1)
    assert [two._takes_turn(deployment), one._takes_turn(deployment)] == [True, False]


def test_a_schedule_begins_by_itself_and_not_while_the_server_changes_nothing(tmp_path, listening):
    context, fill = served(tmp_path, listening, TESTS)
    with context as api:
        fill(api)
        deployment, is_read_only = api.house.deployment(), [True]
        schedule = Schedule(api.house.settings.server, lambda: is_read_only[0], tick_seconds=0.01)
        schedule.heed(deployment.name, deployment)
        schedule.start()
        try:
            assert deployment.trials.of(GOOD) == ()
            is_read_only[0] = False
            until(lambda: deployment.trials.of(GOOD) != ())
        finally:
            schedule.close()


def test_a_round_on_an_agent_asks_it_for_each(tmp_path, listening):
    context, fill = served(tmp_path, listening, TESTS + 'on = "agent:worker"\n')
    with context as api:
        fill(api)
        deployment = api.house.deployment()
        deployment.root.access.agents.admit("worker", roles=[Role("reader")])
        Schedule(api.house.settings.server, lambda: False).round(deployment)
        asked = Assignments(deployment.registry, lambda: datetime.now(timezone.utc)).waiting("worker")
        assert {one.ref for one in asked} == {GOOD, BAD}
        assert {one.by for one in asked} == {BY}


def test_without_the_servers_tests_switched_on_a_round_asks_nobody(tmp_path, listening, caplog):
    with asking(tmp_path, SETTINGS + TESTS) as api:
        api.put("connection", GOOD.name, {"value": f"ftp://127.0.0.1:{listening}/"})
        Schedule(api.house.settings.server, lambda: False).round(api.house.deployment())
        assert api.house.deployment().trials.of(GOOD) == ()
    assert "server.test_connections is off" in caplog.text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("every_seconds = 5", "tests.every_seconds"),
        ('on = "here"', "tests.on"),
        ('on = "agent:"', "tests.on"),
        ("often = 5", "tests.often"),
    ],
)
def test_a_schedule_that_cannot_be_right_is_refused(tmp_path, text, key):
    file = tmp_path / "strongroom.toml"
    file.write_text(f"[tests]\n{text}\n")
    file.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        load(file, environ={"STRONGROOM_HOME": str(tmp_path), "HOME": str(tmp_path)})
    assert caught.value.key == key
