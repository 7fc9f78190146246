"""Keys as a server keeps them by itself, and what is on record of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest

from cli_shell import Shell
from strongroom import assembly
from strongroom.barrier import ROTATOR
from strongroom.crypto.keyring import ALARM_WRAPS

AGES = timedelta(days=91)


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


@pytest.fixture
def room(shell):
    with assembly.open_room(environ=shell.environ, cwd=shell.folder) as found:
        yield found


def now():
    return datetime.now(timezone.utc)


def kept(room, *, after=timedelta()):
    room.keys.keep(old_at=now() + after, is_ended=lambda: False)
    return [(key.number, key.state) for key in room.keys.status()]


def reasons(room):
    return [(one.outcome, one.reason) for one in room.audit.tail(50) if one.action == "administer"]


def test_key_that_has_come_to_its_age_is_replaced_and_left_by_all_it_sealed(room):
    assert kept(room, after=timedelta(days=89)) == [(1, "active")]
    assert kept(room, after=AGES) == [(1, "deactivated"), (2, "active")]
    assert (room.keys.job().state, room.keys.job().started_by) == ("finished", ROTATOR)
    old = room.keys.status()[0].id
    assert reasons(room)[-4:] == [
        ("begun", f"keys: rotate {old}, which has come to its age"),
        ("done", f"keys: rotate {old}, which has come to its age"),
        ("begun", "keys: re-wrap"),
        ("done", "keys: re-wrap"),
    ]
    assert kept(room) == [(1, "deactivated"), (2, "active")]


def test_age_0_is_none(shell):
    (shell.folder / "strongroom.toml").write_text("[keys]\nrotate_after_days = 0\n")
    with assembly.open_room(environ=shell.environ, cwd=shell.folder) as room:
        assert kept(room, after=timedelta(days=36_500)) == [(1, "active")]
        assert room.keys.status()[0].due_at is None


def test_alarm_of_a_worn_key_is_on_record(shell, room):
    with closing(sqlite3.connect(shell.folder / "room" / "store.db")) as connection, connection:
        connection.execute("DELETE FROM kek_uses")
        connection.execute("INSERT INTO kek_uses SELECT id, ? FROM keks", (ALARM_WRAPS,))
    assert shell("variables set region --value-stdin", "eu-west-1").code == 0
    assert [key.state for key in room.keys.status()] == ["deactivated", "active"]
    assert any("alarm: the key of the deployment sealed" in reason for _, reason in reasons(room))
