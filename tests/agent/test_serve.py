"""An agent from its start to its end: a process, its signals, its settings, and its service manager."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from parts import warm
from parts.agent import ROOT, agent, missing, until
from strongroom.caller import frames

OTHER = 54_321
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
SETTINGS = 'chain = ["env"]\n'
ENVIRON = {"AIRFLOW_VAR_REGION": "eu-west-1"}
READ = "import strongroom; print(strongroom.variable('region'))"


def lines_of(one):
    return [json.loads(line) for line in one.log().splitlines() if line.startswith("{")]


def events_of(one):
    return [line["event"] for line in lines_of(one)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("a"), SETTINGS, environ=ENVIRON) as one:
        yield one


# --- from start to end ------------------------------------------------------------------------------


def test_told_to_stop_it_ends_with_0_and_takes_its_sockets_away(tmp_path):
    with agent(tmp_path, SETTINGS, environ=ENVIRON) as one:
        assert one.python(READ) == "eu-west-1"
        assert one.stop() == 0
        assert not one.socket.exists()
        assert not one.http.exists()
        assert events_of(one)[-2:] == ["draining", "ended"]


def test_a_second_one_says_who_is_there_and_ends(shared):
    for option in ([], ["--socket", str(shared.home / "run" / "second.sock")]):
        done = warm.run(
            ["agent", "--socket", str(shared.socket), *option],
            env=shared._own,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 5, done.stderr
        assert f"(pid {shared.pid})" in done.stderr
        assert shared.python(READ) == "eu-west-1"


def test_one_that_was_killed_is_followed_by_another_at_the_same_path(tmp_path):
    with agent(tmp_path, SETTINGS, environ=ENVIRON) as one:
        one.kill()
        assert one.socket.exists()
        one.start()
        assert one.python(READ) == "eu-west-1"


def test_without_a_place_for_its_socket_it_says_how_to_name_one(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root has a place of the system's")
    done = subprocess.run(
        [sys.executable, "-m", "strongroom", "agent"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "--socket" in done.stderr


def test_with_wrong_settings_it_does_not_start_and_leaves_no_socket(tmp_path):
    with agent(tmp_path, 'chain = ["file"]\n[backend.file]\nno_such_key = 1\n', start=False) as one:
        one.start(wait=False)
        assert one._process.wait(20) == 7
        assert not one.socket.exists()
        assert "no_such_key" in one.log()


# --- settings taken anew ----------------------------------------------------------------------------


def test_settings_are_taken_anew_and_what_is_remembered_stays(tmp_path):
    with agent(tmp_path, SETTINGS, environ=ENVIRON) as one:
        one.python(READ)
        before = one.status()
        one.configure(SETTINGS + '[agent]\nlog_level = "debug"\nmax_connections = 10\n')
        one.signal(signal.SIGHUP)
        until(lambda: one.status()["reloaded_at"], what="the reload", told=one.log)
        after = one.status()
        assert (after["log_level"], after["pid"]) == ("debug", before["pid"])
        assert after["cache"]["entries"] == before["cache"]["entries"] == 1
        (line,) = [line for line in lines_of(one) if line["event"] == "the settings were taken anew"]
        assert line["after_a_restart"] == ["max_connections"]
        assert one.python(READ) == "eu-west-1"


def test_settings_that_cannot_be_used_change_nothing_and_the_status_says_why(tmp_path):
    with agent(tmp_path, SETTINGS, environ=ENVIRON) as one:
        one.configure('chain = ["file"]\n[backend.file]\nno_such_key = 1\n')
        one.signal(signal.SIGHUP)
        told = until(lambda: one.status()["reload_trouble"], what="the trouble", told=one.log)
        assert "no_such_key" in told
        assert one.python(READ) == "eu-west-1"
        one.configure("this is no TOML")
        one.signal(signal.SIGHUP)
        until(
            lambda: events_of(one).count("the settings were not taken anew") == 2, what="the second refusal"
        )
        assert "is not TOML" in one.status()["reload_trouble"]
        assert one.python(READ) == "eu-west-1"


# --- the service manager ----------------------------------------------------------------------------


def test_the_service_manager_is_told_of_start_reload_and_end_and_that_all_is_well(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environ = {**ENVIRON, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}

        def told(word):
            while word not in (text := manager.recv(4096).decode().split("\n")):
                assert text[0] == "WATCHDOG=1"
            return text

        with agent(tmp_path, SETTINGS, environ=environ) as one:
            assert f"MAINPID={one.pid}" in told("READY=1")
            told("WATCHDOG=1")
            told("WATCHDOG=1")
            one.signal(signal.SIGHUP)
            assert told("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
            told("READY=1")
            one.signal(signal.SIGTERM)
            told("STOPPING=1")


HANDED_OVER = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "strongroom", "agent"])
"""


def test_a_socket_that_was_handed_over_is_answered_at_and_stays(tmp_path):
    path = tmp_path / "handed.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", HANDED_OVER, str(path)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path), **ENVIRON},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(path.exists, what="the socket", alive=process)
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRONGROOM_SOCKET": str(path)}
        found = subprocess.run(
            [sys.executable, "-c", READ],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert found.stdout == "eu-west-1\n", found.stderr
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert path.exists()


# --- the process ------------------------------------------------------------------------------------


def test_no_core_is_dumped_no_privilege_gained_and_no_file_open_to_others(shared):
    limits = Path(f"/proc/{shared.pid}/limits").read_text()
    (core,) = [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core == ["0", "0"]
    status = Path(f"/proc/{shared.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Umask:\t0077" in status
    for path in [shared.home / "agent", *(shared.home / "agent").rglob("*")]:
        assert not path.lstat().st_mode & 0o077, path


def test_the_limit_of_open_files_is_raised_for_the_connections_it_may_have(shared):
    limits = Path(f"/proc/{shared.pid}/limits").read_text()
    (soft, hard) = next(
        line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max open files")
    )
    assert soft == hard or int(soft) >= 8000


@pytest.fixture
def open_folder():
    """A folder that other users get through, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="srm-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def first_closed(path):
    """Give the uppermost folder on the way to *path* that other users do not get through, or None."""
    return next((each for each in reversed((path, *path.parents)) if not each.stat().st_mode & 0o001), None)


def where_others_reach_python(folder):
    """Give a command that runs another where other users get to this interpreter and to these sources."""
    closed = {path: first_closed(path) for path in (Path(sys.base_prefix), ROOT)}
    closed = {path: above for path, above in closed.items() if above is not None}
    if not closed:
        return ()
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        missing("other users cannot reach this interpreter, and mounts of its own are refused")
    kept = {path: folder / f"kept-{number}" for number, path in enumerate(closed)}
    for keep in kept.values():
        keep.mkdir()
    mounts = [["mount", "--bind", path, keep] for path, keep in kept.items()]
    mounts += [["mount", "-t", "tmpfs", "-o", "mode=0755", "none", above] for above in set(closed.values())]
    for path, keep in kept.items():
        mounts += [["mkdir", "-p", path], ["mount", "--bind", keep, path]]
    script = "; ".join(shlex.join(map(str, command)) for command in mounts)
    return ("unshare", "-m", "sh", "-ec", f'{script}; exec "$@"', "sh")


@only_root
def test_it_becomes_the_user_it_was_told_to_once_its_socket_is_there(open_folder):
    settings = SETTINGS + '[agent]\nuser = "nobody"\nstate = "state"\n'
    prefix = where_others_reach_python(open_folder)
    with agent(open_folder, settings, environ=ENVIRON, prefix=prefix) as one:
        assert one.python(READ) == "eu-west-1"  # the socket is there first, who answers has become the user
        status = Path(f"/proc/{one.pid}/status").read_text()
        uid = one.socket.lstat().st_uid
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
        assert "NoNewPrivs:\t1" in status
        assert one.socket.parent.lstat().st_uid == 0
        assert (open_folder / "state").lstat().st_uid == uid != 0


KNOCK = """
import os, socket, sys
os.setgid(54321); os.setuid(54321)
one = socket.socket(socket.AF_UNIX)
one.connect(sys.argv[1])
data = b""
while part := one.recv(4096):
    data += part
sys.stdout.buffer.write(data)
"""


@only_root
def test_another_user_is_told_so_once_and_it_is_on_record(open_folder):
    settings = SETTINGS + "[agent]\nusers = [54322]\n"
    with agent(open_folder, settings, environ=ENVIRON) as one:
        for _ in range(5):
            # The interpreter as it is: a stranger may not read the tree.
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", KNOCK, str(one.socket)], capture_output=True, check=False
            )
            found = frames.take(done.stdout, 0, frames.MAX_ANSWER_BYTES)
            assert found is not None, done.stderr
            assert found[0] == frames.ERROR
            assert frames.read_refusal(found[2]).code == "access_denied"
            assert found[3] == len(done.stdout)
        assert one.status()["refused_users"] == {str(OTHER): 5}
        assert events_of(one).count("a user who may not connect was refused") == 1
        assert one.stop() == 0
        records = "".join(
            path.read_text(errors="replace") for path in (open_folder / "agent").rglob("*") if path.is_file()
        )
        assert f"local:{OTHER}" in records


def test_it_loads_no_server_no_database_and_no_policy_engine():
    program = "import sys, strongroom.agent.serve; print([m for m in sys.argv[1:] if m in sys.modules])"
    unwanted = [
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "cedarpy",
        "rich",
        "typer",
        "prometheus_client",
        "hvac",
        "http",
    ]
    found = subprocess.run(
        [sys.executable, "-c", program, *unwanted], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout == "[]\n"


def test_an_agent_that_nobody_asks_wakes_up_a_few_times_a_second_at_most(shared):
    def switches():
        texts = [(one / "status").read_text() for one in Path(f"/proc/{shared.pid}/task").iterdir()]
        return sum(int(text.partition("\nvoluntary_ctxt_switches:\t")[2].split()[0]) for text in texts)

    def calm():
        begun, before = time.monotonic(), switches()
        until(lambda: time.monotonic() > begun + 1.0, what="a second")
        return switches() - before < 20

    until(calm, what="a calm second", seconds=60)
