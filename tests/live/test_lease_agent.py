"""What an agent was lent for those who follow: one lease for all, given back when the last of them ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from parts.agent import agent
from parts.databases import wait_for
from parts.openbao import bao  # noqa: F401 -- a fixture
from parts.openbao_kv import Lending
from parts.oracle import records_in
from parts.proxy import Proxy
from strongroom.caller import frames
from strongroom.caller.channel import ASKED, Channel

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="an agent needs Python 3.11")
# Does each line it is told as code, and says what that gives.
PROCESS = """
import os, sys, strongroom, sqlalchemy as sa
def user(engine):
    with engine.connect() as session:
        return session.execute(sa.text("SELECT current_user")).scalar_one()
for line in sys.stdin:
    try:
        try:
            print(eval(line), flush=True)
        except SyntaxError:
            exec(line)
            print("done", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.fixture(scope="module")
def lending(bao):  # noqa: F811
    return Lending(bao)


@pytest.fixture(scope="module")
def proxy(bao):  # noqa: F811
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def one(lending, proxy, tmp_path_factory):
    """An agent that is lent the login of each of some connections."""
    mount, names = lending.bao.mount(version=2), [f"db{number}" for number in range(12)]
    stored = {"conn_type": "postgres", "host": lending.database.socket, "schema": "postgres"}
    for name in names:
        lending.bao.put(mount, f"connections/{name}", {"conn_uri": json.dumps(stored)})
    dynamic = ", ".join(f'"{name}" = "{lending.role(default_ttl="1h")}"' for name in names[:-1])
    brief = lending.role(default_ttl="3s", max_ttl="1h")
    settings = (
        f'chain = ["vault"]\n[backend.vault]\nurl = "{proxy.url()}"\ntoken = {{ env = "BAO" }}\n'
        f'mount_point = "{mount}"\ndynamic = {{ {dynamic}, "db11" = "{brief}" }}\n'
    )
    home = tmp_path_factory.mktemp("agent")
    home.chmod(0o700)
    with agent(home, settings, environ={"BAO": lending.bao.root}) as running:
        running.brief = brief
        yield running


class Process:
    """A process that asks the agent, line by line."""

    def __init__(self, one):
        self._running = subprocess.Popen(
            [sys.executable, "-c", PROCESS],
            env=one.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=one.home,
        )

    def do(self, line):
        self._running.stdin.write(f"{line}\n")
        self._running.stdin.flush()
        return self._running.stdout.readline().strip()

    @property
    def is_running(self):
        return self._running.poll() is None

    def kill(self):
        self._running.kill()
        self.end()

    def end(self):
        self._running.stdin.close()
        self._running.wait(20)
        self._running.stdout.close()


@pytest.fixture(scope="module")
def idle(one):
    """Processes that no test has now: starting one takes longer than most tests."""
    made = []
    yield made
    for each in made:
        each.end()


@pytest.fixture
def process(one, idle):
    taken = []

    def take():
        taken.append(idle.pop() if idle else Process(one))
        return taken[-1]

    yield take
    for each in taken:
        if each.is_running:
            each.do("engine = None")
            idle.append(each)


def following(process, name):
    """Have a process follow *name*, and give it with the login it uses."""
    made = process()
    assert made.do(f"engine = strongroom.client('{name}')") == "done"
    login = made.do("user(engine)")
    assert login.startswith("v-"), login
    return made, login


def test_what_the_last_client_of_a_process_closes_is_revoked_and_on_record(lending, process, one):
    made, login = following(process, "db0")
    made.do("engine.dispose()")
    wait_for(lambda: login not in lending.logins())
    again = made.do("user(engine)")
    assert again.startswith("v-")
    assert again != login
    made.do("engine.dispose()")
    wait_for(lambda: again not in lending.logins())
    told = [each for each in records_in(one.audit) if each.action == "give_back" and each.name == "db0"]
    assert [(each.outcome, each.actor, each.backend) for each in told] == [
        ("done", f"local:{os.getuid()}", "vault")
    ] * len(told)
    assert len(told) >= 1


def test_all_processes_share_one_and_only_the_end_of_the_last_revokes_it(lending, process):
    (one, first), (two, second), (three, third) = (following(process, "db1") for _ in range(3))
    assert first == second == third
    witness, other = following(process, "db2")  # its end is heard after those
    one.do("engine.dispose()")
    two.kill()
    witness.kill()
    wait_for(lambda: other not in lending.logins())
    assert first in lending.logins()
    assert three.do("user(engine)") == first
    three.kill()
    wait_for(lambda: first not in lending.logins())


def test_a_forked_child_does_not_keep_what_its_killed_parent_followed(lending, process):
    made, login = following(process, "db2")
    assert made.do("child = os.fork() or (os.close(0), __import__('time').sleep(60), os._exit(0))") == "done"
    child = int(made.do("child"))
    try:
        made.kill()
        wait_for(lambda: login not in lending.logins())
    finally:
        os.kill(child, signal.SIGKILL)


def test_settings_that_are_taken_anew_leave_who_follows_with_a_login_that_counts(lending, process, one):
    made, login = following(process, "db9")
    assert one.admin({"do": "reload"}) == {"reloaded": True}
    wait_for(lambda: login not in lending.logins())
    again = made.do("user(engine)")
    assert again.startswith("v-")
    assert again != login
    made.do("engine.dispose()")
    wait_for(lambda: again not in lending.logins())


def test_a_plain_read_keeps_it(lending, process):
    reader = process()
    login = reader.do("strongroom.connection('db3').login")
    made, same = following(process, "db3")
    assert same == login
    witness, other = following(process, "db4")
    made.do("engine.dispose()")
    witness.do("engine.dispose()")
    wait_for(lambda: other not in lending.logins())
    assert login in lending.logins()
    reader.kill()  # and what it started may go on with it, for as long as it was told to be fresh


def test_who_read_it_for_a_while_and_has_ended_keeps_it_no_longer(lending, process, one):
    made, _ = following(process, "db11")
    reader = process()
    wait_for(lambda: reader.do("strongroom.connection('db11').login") == made.do("user(engine)"))
    reader.kill()
    left = made.do("user(engine)")
    made.do("engine.dispose()")
    wait_for(lambda: left not in lending.logins())
    wait_for(lambda: not lending.renewals(one.brief))


def test_it_is_renewed_while_somebody_follows_though_others_ended(lending, process, one):
    stays, _ = following(process, "db11")
    goes, _ = following(process, "db11")
    goes.kill()

    def is_renewed():
        found = lending.renewals(one.brief)
        return found and all(found.values())

    wait_for(is_renewed)
    assert stays.do("user(engine)").startswith("v-")
    stays.do("engine.dispose()")
    wait_for(lambda: not lending.renewals(one.brief))


def test_processes_that_come_while_others_go_are_never_refused(lending, process):
    before, refused = lending.logins(), []

    def come_and_go():
        made = process()
        made.do("engine = strongroom.client('db5')")
        for _ in range(6):
            login = made.do("user(engine)")
            if not login.startswith("v-"):
                refused.append(login)
            made.do("engine.dispose()")

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    wait_for(lambda: lending.logins() <= before)


def test_a_store_that_is_down_is_asked_again_and_nobody_waits(lending, process, proxy):
    made, login = following(process, "db6")
    proxy.become("refuse")
    try:
        made.do("engine.dispose()")
        assert made.do("1 + 1") == "2"
        assert login in lending.logins()
    finally:
        proxy.become("pass")
    wait_for(lambda: login not in lending.logins())


def test_a_client_of_before_keeps_it_while_it_lives(lending, process):
    """It reads without the flag, so nobody knows when it lets go: the end of its process is that."""
    before = process()
    before.do("from strongroom.caller import frames, channel; F = frames.frame; ref = frames.pack_ref")
    before.do("hello = F(1, 1, frames.pack_hello('0.1.0', minor=2))")
    before.do("told = channel.Channel(os.environ['STRONGROOM_SOCKET'], hello, 20)")
    before.do("read = told.ask(frames.pack_read(3, 'connection', 'db7'), 0x82)")
    assert before.do("told.ask(F(5, 3, ref('connection', 'db7')), 0x85) != b''") == "True"
    assert before.do("told.ask(F(6, 3, ref('connection', 'db7')), 0x86)") == "b''"
    login = before.do("frames.read_answer(read).fields[3]")
    made, same = following(process, "db7")
    assert same == login
    witness, other = following(process, "db8")
    made.do("engine.dispose()")
    witness.do("engine.dispose()")
    wait_for(lambda: other not in lending.logins())
    assert login in lending.logins()
    before.kill()


def greeting():
    return frames.frame(frames.HELLO, 1, frames.pack_hello("0.1.0", minor=2))


@contextmanager
def channel(one):
    opened = Channel(str(one.socket), greeting(), 20)
    try:
        yield opened
    finally:
        opened.close()


def test_the_answer_says_that_it_is_lent(one):
    with channel(one) as opened:
        for flags in (frames.FOLLOWED, frames.FOLLOWED | frames.BYPASS_CACHE, frames.FOLLOWED):
            asking = frames.pack_read(ASKED, "connection", "db9", None, flags)
            answer = frames.read_answer(opened.ask(asking, frames.READ | frames.ANSWER))
            assert answer.flags & frames.LENT


def test_who_read_to_follow_and_never_did_keeps_it_for_a_moment_only(lending, one):
    with channel(one) as opened:
        asking = frames.pack_read(ASKED, "connection", "db10", None, frames.FOLLOWED)
        answer = frames.read_answer(opened.ask(asking, frames.READ | frames.ANSWER))
        login = answer.fields[3]
        assert login in lending.logins()
        wait_for(lambda: login not in lending.logins())


def test_an_agent_that_is_killed_is_found_again_and_its_clients_go_on(lending, process, one):
    made, login = following(process, "db0")
    one.kill()
    one.start()
    wait_for(lambda: made.do("user(engine)") not in ("", login))
    again = made.do("user(engine)")
    assert again.startswith("v-")
    made.kill()
    wait_for(lambda: again not in lending.logins())
