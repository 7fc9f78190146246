"""The connections that are held for the live clients of a process."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

import strongroom
from strongroom.assembly import create_room
from strongroom.errors import BackendConfigError, NotFoundError, ReadOnlyError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.clients import Clients


@contextmanager
def using(tmp_path, **connections):
    environ = {f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in connections.items()}
    with (
        strongroom.open_room(
            environ={"HOME": str(tmp_path), "STRONGROOM__CHAIN": '["env"]', **environ}
        ) as room,
        strongroom.use_room(room),
    ):
        yield room


def following():
    return [thread for thread in threading.enumerate() if thread.name.startswith("strongroom follow")]


def ended(threads):
    for thread in threads:
        thread.join(10)
    return not any(thread.is_alive() for thread in threads)


def test_a_connection_is_held_once_however_many_ask(tmp_path):
    with using(tmp_path, orders="sqlite:///a", other="sqlite:///b"):
        live = strongroom._live()
        found = []
        threads = [threading.Thread(target=lambda: found.append(live.held("orders"))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1
        assert live.held("other") is not found[0]


def test_what_was_followed_in_a_room_ends_with_it(tmp_path):
    before = set(following())
    with using(tmp_path, orders="sqlite:///a"):
        strongroom._live().held("orders")
        own = set(following()) - before
        assert len(own) == 1
    assert ended(own)


def test_clients_of_another_room_ask_that_room(tmp_path):
    with using(tmp_path, orders="sqlite:///a"):
        outer = strongroom._live().held("orders")
        with using(tmp_path, orders="sqlite:///b"):
            assert strongroom._live().held("orders").known.connection.schema == "b"
        assert outer.known.connection.schema == "a"
        assert outer.refreshed(outer.known) is None
        assert outer.trouble is None


def test_what_no_client_could_be_made_of_is_not_followed_for_ever(tmp_path):
    with using(tmp_path, orders="winrm://a"):
        with pytest.raises(BackendConfigError):
            strongroom.client("orders")
        held = strongroom._live().held("orders")
        held._clock = lambda: held._idle_since + 60
        assert held.is_idle()


def test_a_name_that_is_nowhere_is_an_absence_and_leaves_nothing(tmp_path):
    with using(tmp_path):
        with pytest.raises(NotFoundError):
            strongroom._live().held("nowhere")
        assert strongroom._live()._held == {}


def test_a_place_that_takes_no_writes_says_so_of_what_is_written_back(tmp_path):
    with using(tmp_path, orders="sqlite:///a"), pytest.raises(ReadOnlyError):
        strongroom._live().held("orders").write_back(
            lambda connection: connection.replace(schema="c"), comment=""
        )


def test_what_is_written_back_is_stored_and_known_at_once(tmp_path):
    with create_room(environ={"HOME": str(tmp_path)}, cwd=tmp_path) as room, strongroom.use_room(room):
        strongroom.write("orders", "http://app:old@host", kind="connection")
        held = strongroom._live().held("orders")
        seen = []

        def change(connection):
            seen.append(connection.password.reveal())
            if len(seen) == 1:  # another process is faster
                strongroom.write("orders", "http://app:theirs@host", kind="connection")
            return connection.replace(password=Secret(seen[-1] + "+"))

        known = held.write_back(change, comment="renewed")
        assert seen == ["old", "theirs"]
        assert known.connection.password.reveal() == "theirs+"
        assert strongroom.connection("orders").password.reveal() == "theirs+"
        assert next(iter(room.entries.history(Ref("connection", "orders")))).comment == "renewed"


def test_what_nobody_uses_any_more_is_let_go_by_itself(tmp_path):
    before = set(threading.enumerate())
    with using(tmp_path, orders="sqlite:///a") as room:
        live = Clients(
            room,
            lookup=lambda: room.lookup,
            anew=lambda: room.lookup,
            writing=list,
            environ={},
            run=lambda: None,
            seen=lambda _name, _found: None,
            is_told=False,
            idle_seconds=0.05,
        )
        live.held("orders")
        own = set(threading.enumerate()) - before
        assert {thread.name for thread in own} >= {"strongroom clients"}
        assert ended(own)
        assert live._held == {}
        assert live.held("orders").known.connection.schema == "a"
        live.close()


def test_the_end_of_a_process_ends_what_is_followed_in_it(tmp_path):
    script = """
import strongroom
from strongroom.live.follow import Follow
close = Follow.close
def told(self):
    close(self)
    print("ended", self.current.ref)
Follow.close = told
strongroom._live().held("orders")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={"HOME": str(tmp_path), "AIRFLOW_CONN_ORDERS": "sqlite:///a", "STRONGROOM__CHAIN": '["env"]'},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ('ended connection "orders"\n', "")
