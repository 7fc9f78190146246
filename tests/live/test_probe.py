"""Tests of a connection: the process that makes one, what it is given, and what it is believed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from parts.databases import wait_for
from parts.trying import ANYWHERE, CANARY, LOOPBACK, failed, made, steps, tried
from strongroom.live import probe
from strongroom.live.around import Around, Run


@pytest.fixture
def silent():
    """A service that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def at(server, **fields):
    return made("mongo", host="127.0.0.1", port=server.getsockname()[1], **fields)


def test_a_type_without_a_driver_of_ours_is_looked_for_at_its_port(silent):
    assert steps(tried(at(silent))) == ["name: ok", "tcp: ok"]
    assert steps(tried(at(silent), LOOPBACK)) == ["name: ok", "tcp: ok"]


def test_a_type_without_a_host_has_nothing_to_test():
    found = tried(made("kafka"))
    assert steps(found) == ["driver: skipped"]
    assert not found.is_ok


def test_a_host_or_a_port_that_is_missing_is_told():
    assert failed(tried(made("mongo"))) == ("options", "missing")
    assert failed(tried(made("postgres"), LOOPBACK)) == ("options", "missing")


def test_a_library_that_is_not_installed_is_told_with_what_to_install():
    found = tried(made("snowflake", login="a", password="secret", extra={"account": "x"}))
    assert failed(found) == ("driver", "missing")
    assert found.advice == "pip install 'strongroom[snowflake]'"


def test_a_step_that_fails_is_the_last_and_says_what_to_do(silent):
    port = silent.getsockname()[1]
    silent.close()
    found = tried(made("mongo", host="127.0.0.1", port=port))
    assert failed(found) == ("tcp", "refused")
    assert steps(found) == ["name: ok", "tcp: refused"]
    assert found.advice == "correct host and port, or start the service"


def test_a_host_without_an_address_fails_by_its_name():
    assert failed(tried(made("mongo", host="nowhere.invalid", port=1)))[0] == "name"


class Watched:
    """A test under way that its service keeps waiting; `child` is its process."""

    def __init__(self, silent, connection, limits=ANYWHERE, *, lines=2):
        self.found = None
        self.silent = silent
        self.thread = threading.Thread(target=self._run, args=(connection, limits))
        before = set(psutil.Process().children())
        self.thread.start()
        self.accepted = [silent.accept()[0] for _ in range(lines)]
        (self.child,) = (one for one in psutil.Process().children() if one not in before)

    def _run(self, connection, limits):
        self.found = probe.tested("orders", connection, limits, around=None)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for one in (self.silent, *self.accepted):  # a driver that tries again is refused
            one.close()
        self.thread.join(30)


def waiting(silent, **fields):
    """A connection to a service that is spoken to twice: by TCP, and by the driver."""
    port = silent.getsockname()[1]
    extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 1}
    return made("smtp", host="127.0.0.1", port=port, login="a", extra=extra, **fields)


def test_the_process_of_a_test_has_no_environment_arguments_folder_or_files_of_ours(silent):
    os.environ["STRONGROOM_F_CANARY"] = CANARY
    with Watched(silent, waiting(silent, password=CANARY)) as watched:
        process = Path("/proc") / str(watched.child.pid)
        assert CANARY not in (process / "cmdline").read_text()
        assert watched.child.cmdline()[1:] == ["-I", "-B", "-m", "strongroom.live.child"]
        if os.geteuid() == 0:  # nobody else may look into it
            assert CANARY.encode() not in (process / "environ").read_bytes()
            assert (process / "environ").read_bytes() == b"LANG=C\0"
            assert (process / "cwd").readlink() == Path("/")
            limits = (process / "limits").read_text()
            assert "Max core file size        0 " in limits
            assert f"Max address space         {1 << 30} " in limits
            assert "NoNewPrivs:\t1" in (process / "status").read_text()
        assert os.getsid(watched.child.pid) == watched.child.pid
    del os.environ["STRONGROOM_F_CANARY"]
    assert watched.found.failed.name == "tcp"  # to which nobody answers any more


def test_a_test_that_takes_too_long_ends_with_its_time_and_names_the_step_under_way(silent):
    limits = probe.Limits(networks=None, has_any_option=True, seconds=4.5)  # a handshake waits for 5
    there = made("redis", host="127.0.0.1", port=silent.getsockname()[1], extra={"ssl": True})
    with Watched(silent, there, limits, lines=1) as watched:
        watched.thread.join(60)
        assert steps(watched.found) == ["name: ok", "tcp: ok", "tls: timeout"]
        wait_for(lambda: not watched.child.is_running())


def test_a_test_whose_process_is_killed_tells_the_step_under_way(silent):
    with Watched(silent, waiting(silent)) as watched:
        watched.child.kill()
        watched.thread.join(30)
    assert failed(watched.found) == ("authentication", "other")


def test_a_process_that_never_begins_is_no_test_that_went_well(monkeypatch):
    monkeypatch.setattr(probe.sys, "executable", "/bin/true")
    assert failed(tried(made("mongo", host="127.0.0.1", port=1))) == ("driver", "other")


def test_a_large_connection_reaches_a_process_that_reads_it(silent):
    extra = {f"option_{number}": "x" * 1_000 for number in range(500)}
    assert tried(at(silent, extra=extra)).is_ok


# --- what it is given ----------------------------------------------------------------------------------


def around(**environ):
    return Around(environ=environ, now=time.time, run=lambda: Run("dag", "task", "run"), held=None)


def given(limits, **environ):
    document = probe._document("orders", made("aws"), limits, around(**environ), {"other": made("http")})
    return json.loads(document)


def test_what_the_cloud_said_to_this_process_is_given_where_its_identity_may_be_used():
    said = {"AWS_ROLE_ARN": "arn", "HOME": "/home/otto", "HTTPS_PROXY": "http://p", "STRONGROOM__X": "y"}
    assert given(ANYWHERE, **said)["environ"] == {"AWS_ROLE_ARN": "arn", "HOME": "/home/otto"}
    assert given(ANYWHERE)["run"] == ["dag", "task", "run", None, None]
    assert set(given(ANYWHERE)["also"]) == {"other"}


@pytest.mark.parametrize("limits", [LOOPBACK, probe.Limits(networks=None, has_any_option=False)])
def test_a_test_for_others_is_given_no_identity_of_this_machine(limits):
    assert given(limits, AWS_ROLE_ARN="arn", HOME="/root")["environ"] == {}


# --- what it tells -------------------------------------------------------------------------------------

GOOD = ["name", "ok", "", 1.5, None, ""]


def read(*lines):
    return probe._read(b"\n".join(json.dumps(line).encode() for line in lines), is_late=False)


def test_steps_are_read_in_their_order():
    found = read(["name", None], GOOD, ["tls", "ok", "", 2, 12, ""], None)
    assert found.steps == (probe.Step("name", "ok", "", 1.5), probe.Step("tls", "ok", "", 2.0, 12))
    assert found.is_ok
    assert found.advice == ""


@pytest.mark.parametrize(
    "line",
    [
        [CANARY, "ok", "", 1, None, ""],
        ["name", CANARY, "", 1, None, ""],
        ["name", "failed", CANARY, 1, None, ""],
        ["name", "failed", "refused", CANARY, None, ""],
        ["name", "failed", "refused", 1, CANARY, ""],
        ["name", "ok", "", -1, None, ""],
        ["name", "ok", "", 1e12, None, ""],
        ["name", "ok", "", 1, 10**9, ""],
        ["name", "ok", "", 1, None],
        [CANARY, None],
        {"name": CANARY},
        CANARY,
        True,
        [],
    ],
)
def test_a_line_that_no_test_tells_is_a_failure_without_a_word_of_it(line):
    found = read(GOOD, line, None)
    assert found.failed == probe.Step("driver", "failed", "other")
    assert CANARY not in repr(found)


@pytest.mark.parametrize("told", [b"\xff\xfe", b"{", b'["name", null', b"NaN", b"[" * 60_000])
def test_bytes_that_are_no_line_are_a_failure(told):
    assert probe._read(told, is_late=False).failed == probe.Step("driver", "failed", "other")


def test_what_is_missing_is_named_by_an_extra_of_ours_and_by_nothing_else():
    assert read(["driver", "failed", "missing", 1, None, "redis"]).advice == "pip install 'strongroom[redis]'"
    assert read(["driver", "failed", "missing", 1, None, f"x'; {CANARY}"]).advice == "install it"


def test_a_test_that_says_no_farewell_failed_at_the_step_under_way():
    assert read(GOOD, ["tcp", None]).failed == probe.Step("tcp", "failed", "other")
    late = probe._read(b'["tcp", null]', is_late=True)
    assert late.failed == probe.Step("tcp", "failed", "timeout")


def test_a_test_without_a_step_is_none_that_went_well():
    assert not read(None).is_ok
    assert not read(["tls", "skipped", "", 0, None, ""], None).is_ok
