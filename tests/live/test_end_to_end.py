"""
Live clients end to end: a server, an agent enrolled with it, and a process that asks either, or a library.

The service is a real PostgreSQL whose role has its password rotated. The client lives in a process of its
own, as in a task; what it does there is told on its input, a line at a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from parts.agent import agent, until
from parts.proxy import Proxy
from parts.rotating import Rotating
from parts.server import serving
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

CHAIN = """
chain = ["{chain}"]
[cache]
ttl = 3600
stale_if_error = 7200
"""
# Does what each line asks and answers with a line of JSON: what it gave, or which error of ours it was.
TASK = """
import json, os, sys, threading
import strongroom
from sqlalchemy import text

def whole(error):
    import traceback
    return {
        "error": type(error).__name__,
        "reason": getattr(error, "reason", None),
        "text": "".join(traceback.format_exception(error)),
    }

engine = strongroom.client(sys.argv[1], options={"pool_size": 3})
maker = strongroom.client(sys.argv[1], driver="psycopg")

def pooled():
    with engine.connect() as session:
        return session.execute(text("SELECT pg_backend_pid()")).scalar_one()

def fresh():
    with maker.connect() as session:
        return session.execute("SELECT pg_backend_pid()").fetchone()[0]

def many():
    # Work under way on four threads, more than there are places in the pool's first line.
    done, begun = [], threading.Semaphore(0)
    def works():
        for turn in range(100):
            done.append(pooled())
            if turn == 10:
                begun.release()
    threads = [threading.Thread(target=works) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        begun.acquire()
    say("begun")
    for thread in threads:
        thread.join()
    return len(done)

def forked():
    # A child that leaves as a program does, with all that is closed at exit.
    held = pooled()
    child = os.fork()
    if child == 0:
        sys.exit(0 if pooled() != held and fresh() else 2)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pooled() == held]

def forked_idle():
    held = pooled()
    child = os.fork()
    if child == 0:
        sys.exit(0)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pooled() == held]

def closed():
    engine.dispose()
    maker.close()
    return "closed"

def say(what):
    print(json.dumps(what), flush=True)

say("ready")
for line in sys.stdin:
    try:
        say(globals()[line.strip()]())
    except strongroom.errors.StrongroomError as error:
        say(whole(error))
"""


class Task:
    """The process, and what is said to it."""

    def __init__(self, environ, home, role):
        self._log = home / "task.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", "-c", TASK, role.name],
                env={"PATH": os.environ["PATH"], "HOME": str(home)} | environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=home,
            )
        assert self.hear() == "ready"

    def order(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def ask(self, what):
        self.order(what)
        return self.hear()

    def end(self):
        """Have it end by itself, as a task does, and give its exit status and what it printed of trouble."""
        self.process.stdin.close()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status, self._log.read_text()


@contextmanager
def task(environ, home, role):
    one = Task(environ, home, role)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(20)
        one.process.stdin.close()
        one.process.stdout.close()


@pytest.fixture
def role():
    with Rotating() as made:
        yield made


# --- where a process asks ------------------------------------------------------------------------------


@contextmanager
def by_agent(folder):
    """A server, and an agent enrolled with it; gives what processes need and what writes."""
    (folder / "server").mkdir()
    with (
        serving(folder / "server") as server,
        agent(folder, CHAIN.format(chain="remote"), start=False) as one,
    ):
        one.enrol(server)
        one.start()
        yield one.environ, server.house.deployment().root.entries.write


@contextmanager
def by_server(folder):
    """A server alone."""
    (folder / "server").mkdir()
    with serving(folder / "server") as server:
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(server.token("task", "admin"))
        environ = {"STRONGROOM_URL": server.address, "STRONGROOM_TOKEN_FILE": str(token)}
        yield environ, server.house.deployment().root.entries.write


@contextmanager
def by_library(folder):
    """A store of this machine."""
    file = folder / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(CHAIN.format(chain="native"))
    environ = {"HOME": str(folder), "STRONGROOM_HOME": str(folder), "STRONGROOM_CONFIG": str(file)}
    with create_room(file, environ=environ) as room:
        yield environ, room.entries.write


_PLACES = {"agent": by_agent, "server": by_server, "library": by_library}


def _running(which, factory):
    folder = factory.mktemp(which)
    folder.chmod(0o700)
    return _PLACES[which](folder)


@pytest.fixture(scope="module", params=list(_PLACES))
def place(request, tmp_path_factory):
    """Each place in turn: the environment of processes that ask there, and what writes there."""
    with _running(request.param, tmp_path_factory) as found:
        yield found


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The agent alone."""
    with _running("agent", tmp_path_factory) as found:
        yield found


def written(write, role):
    """Write a connection, of the name of its role, with the password that is good now."""
    write(Change(ref=Ref("connection", role.name), secret=Secret(role.connection)))


def test_the_first_session_after_a_rotation_uses_the_new_password(tmp_path, role, place):
    environ, write = place
    written(write, role)
    with task(environ, tmp_path, role) as one:
        before = one.ask("pooled")
        assert one.ask("fresh") != before
        assert one.ask("pooled") == before
        for _ in range(3):
            role.rotate()
            written(write, role)
            assert isinstance(one.ask("fresh"), int)
        # What idled in the pool with the old password is replaced when it is next checked out.
        assert one.ask("pooled") != before
        assert one.end() == (0, "")


def test_no_query_is_lost_while_the_password_is_rotated_under_them(tmp_path, role, host):
    environ, write = host
    written(write, role)
    with task(environ, tmp_path, role) as one:
        one.order("many")
        assert one.hear() == "begun"
        for _ in range(3):
            role.rotate()
            written(write, role)
        assert one.hear() == 400
        assert one.end() == (0, "")


def test_a_password_that_nobody_has_written_yet_is_one_error_that_tells_none(tmp_path, role, host):
    environ, write = host
    written(write, role)
    with task(environ, tmp_path, role) as one:
        held = one.ask("pooled")
        old, new = role.password, role.rotate()
        told = one.ask("fresh")
        assert (told["error"], told["reason"]) == ("AccessDeniedError", "credentials")
        assert role.name in told["text"], "the connection's name is the role's here"
        for secret in (old, new):
            assert secret not in told["text"]
        assert one.ask("pooled") == held, "a session that is open goes on"
        written(write, role)
        assert isinstance(until(lambda: _number(one.ask("fresh")), what="the new password"), int)


def _number(told):
    return told if isinstance(told, int) else None


def test_clients_go_on_while_the_store_and_then_the_agent_are_away(tmp_path, role):
    tmp_path.chmod(0o700)
    (tmp_path / "server").mkdir()
    with (
        serving(tmp_path / "server") as server,
        Proxy("127.0.0.1", server.port) as proxy,
        agent(tmp_path, CHAIN.format(chain="remote"), start=False) as one,
    ):
        one.enrol(server, url=proxy.url())
        write = server.house.deployment().root.entries.write
        written(write, role)
        one.start()
        with task(one.environ, tmp_path, role) as working:
            before = working.ask("fresh")
            proxy.become("refuse")
            proxy.cut()
            assert working.ask("fresh") != before
            one.kill()
            for _ in range(3):
                assert isinstance(working.ask("fresh"), int)
                assert isinstance(working.ask("pooled"), int)
            # Rotated meanwhile: nobody can tell, and that is one typed error, at once.
            role.rotate()
            told = working.ask("fresh")
            assert (told["error"], told["reason"]) == ("AccessDeniedError", "credentials")
            written(write, role)
            proxy.become("pass")
            one.start()
            assert until(lambda: _number(working.ask("fresh")), what="the new password", told=one.log)


def test_a_forked_child_has_sessions_of_its_own_and_leaves_the_parents_alone(tmp_path, role, host):
    environ, write = host
    written(write, role)
    with task(environ, tmp_path, role) as one:
        assert one.ask("forked_idle") == [0, True]
        assert one.ask("forked") == [0, True]
        before = one.ask("pooled")
        role.rotate()
        written(write, role)
        until(lambda: one.ask("pooled") != before, what="the rotation")
        assert one.ask("forked") == [0, True]
        assert one.end() == (0, "")


def test_closing_clients_ends_their_sessions(tmp_path, role, host):
    environ, write = host
    written(write, role)
    with task(environ, tmp_path, role) as one:
        one.ask("pooled")
        assert one.ask("closed") == "closed"
        until(lambda: role.sessions() == [], what="its sessions to end")
        assert one.end() == (0, "")


def test_a_process_that_closes_nothing_ends_by_itself_and_leaves_no_session(tmp_path, role, host):
    environ, write = host
    written(write, role)
    with task(environ, tmp_path, role) as one:
        one.ask("pooled")
        assert one.end() == (0, "")
        until(lambda: role.sessions() == [], what="its sessions to end")
