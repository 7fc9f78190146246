"""The pytest plugin, run inside a pytest of its own."""

import asyncio
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import strongroom
from strongroom.errors import BackendUnavailableError, InvalidInputError, NotFoundError
from strongroom.testing.plugin import FakeRoom, strongroom_room

__all__ = ["strongroom_room"]
pytest_plugins = ["pytester"]


def test_connection_and_variable_answer_from_the_room(strongroom_room):
    strongroom_room.connection("orders_db", "postgres://u:p%2F@db/orders")
    strongroom_room.connection("api", {"conn_type": "http", "host": "h", "extra": {"timeout": 3}})
    strongroom_room.variable("region", "eu")
    strongroom_room.variable("limits", {"rows": 5})
    assert strongroom.connection("orders_db").password.reveal() == "p/"
    assert strongroom.connection("api").extra["timeout"].reveal() == 3
    assert strongroom.variable("region") == "eu"
    assert strongroom.variable("limits", json=True) == {"rows": 5}


def test_async_forms_answer_from_the_room(strongroom_room):
    strongroom_room.variable("region", "eu")
    assert asyncio.run(strongroom.avariable("region")) == "eu"


def test_nothing_outside_the_room_answers(strongroom_room, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_REGION", "from the environment")
    with pytest.raises(NotFoundError):
        strongroom.variable("region")


def test_team_is_kept_apart(strongroom_room):
    strongroom_room.variable("region", "eu")
    strongroom_room.variable("region", "us", team="data")
    assert (strongroom.variable("region"), strongroom.variable("region", team="data")) == ("eu", "us")


def test_outage_and_change_are_seen_at_once(strongroom_room):
    strongroom_room.variable("region", "eu")
    assert strongroom.variable("region") == "eu"
    strongroom_room.variable("region", "us")
    assert strongroom.variable("region") == "us"
    strongroom_room.backend.fail()
    with pytest.raises(BackendUnavailableError):
        strongroom.variable("region")
    strongroom_room.backend.recover()
    assert strongroom.variable("region") == "us"


def test_connection_that_is_none_is_refused(strongroom_room):
    with pytest.raises(InvalidInputError):
        strongroom_room.connection("orders_db", "no connection at all")


def test_room_is_gone_after_the_test(tmp_path):
    before = strongroom._room
    fake = FakeRoom(tmp_path)
    with fake.room, strongroom.use_room(fake.room):
        assert strongroom._room is fake.room
    assert strongroom._room is before


def test_fixture_is_found_by_a_pytest_of_its_own(pytester):
    pytester.makepyfile(
        """
        import strongroom

        def test_task(strongroom_room):
            strongroom_room.variable("region", "eu")
            assert strongroom.variable("region") == "eu"
        """
    )
    # The installed entry point is switched off for our own suite; here the module is named instead.
    result = pytester.runpytest_inprocess("-p", "strongroom.testing.plugin", "-p", "no:strongroom")
    result.assert_outcomes(passed=1)


def test_plugin_is_registered_for_everybody_who_installs_us():
    (point,) = entry_points(group="pytest11", name="strongroom")
    assert point.value == "strongroom.testing.plugin"


def test_plugin_alone_loads_nothing_but_itself():
    code = (
        "import sys, strongroom.testing.plugin;"
        "print([module for module in sys.modules if module.startswith('strongroom.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == ["strongroom.errors", "strongroom.testing", "strongroom.testing.plugin"]
