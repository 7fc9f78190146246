"""
A kill between any two messages to a database server leaves the old or the new state and loses nothing
acknowledged.

A victim process forks a child for each kill. It reaches the server through a proxy that counts what is said
on either side, and strikes the child at one of them: before the server hears it, or before the child hears
the answer. First every scenario runs once unharmed, and what is said is counted.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

import pytest

import sql_victim
from native_room import draft
from parts import databases
from parts.homes import address, home
from strongroom.model.ref import Ref
from strongroom.store.engine import engine_of
from strongroom.store.store import REVISION

KINDS = ("postgresql", "mariadb")
# Of the 300 in the suite; `make trials` kills more often, then boundaries come up several times.
KILLS = int(os.environ.get("STRONGROOM_KILLS", "240")) // 5
OF_KEYS = ("rewrap", "keys")
SOCKETS = {"postgresql": ".s.PGSQL.5432", "mariadb": "s"}
SHARES = {
    ("postgresql", "put"): 8,
    ("postgresql", "delete"): 4,
    ("postgresql", "write_many"): 4,
    ("postgresql", "registry"): 4,
    ("postgresql", "rewrap"): 8,
    ("postgresql", "keys"): 4,
    ("postgresql", "migrate"): 6,
    ("mariadb", "put"): 4,
    ("mariadb", "rewrap"): 4,
    ("mariadb", "migrate"): 4,
}


class Striking:
    """
    A proxy before a database's socket.

    Attributes:
        said: how many messages came since `aim`, from either side.
        commits: which of them are answers to a commit.
    """

    def __init__(self, kind, folder):
        self._upstream = str(Path(databases.server_of(kind).socket, SOCKETS[kind]))
        if kind == "mariadb":
            self._upstream = databases.server_of(kind).socket
        self.path = str(folder / SOCKETS[kind])
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._lock = threading.Lock()
        self.aim()
        threading.Thread(target=self._accept, daemon=True).start()

    def aim(self, at=None):
        """Strike at the *at*-th message, counted from 1."""
        self.said, self.commits, self._at, self._pids = 0, [], at, SimpleQueue()

    def at(self, pid):
        """Say whom to strike."""
        self._pids.put(pid)

    def _accept(self):
        with suppress(OSError):
            while True:
                theirs, _ = self._listener.accept()
                ours = socket.socket(socket.AF_UNIX)
                ours.connect(self._upstream)
                threading.Thread(target=self._pump, args=(theirs, ours), daemon=True).start()

    def _pump(self, one, other):
        with one, other, suppress(OSError):
            while True:
                for ready in select.select([one, other], [], [])[0]:
                    said = ready.recv(1_048_576)
                    if not said or self._strikes(said):
                        return
                    (other if ready is one else one).sendall(said)

    def _strikes(self, said):
        with self._lock:
            self.said += 1
            if b"COMMIT" in said and self.commits[-1:] != [self.said]:
                self.commits.append(self.said + 1)
            if self.said != self._at:
                return False
            os.kill(self._pids.get(timeout=10), signal.SIGKILL)
            return True

    def close(self):
        self._listener.close()


class Victim:
    """The victim's orders and answers."""

    def __init__(self, orders):
        self._orders = orders

    def run(self, scenario, place, proxy, at=None):
        """Run *scenario*; give how many acts it acknowledged and its exit status."""
        proxy.aim(at)
        self._orders.send(json.dumps({"scenario": scenario, "place": place}).encode())
        proxy.at(json.loads(self._orders.recv(65_536))["pid"])
        acknowledged = 0
        while True:
            answer = json.loads(self._orders.recv(65_536))
            if isinstance(answer, str):
                acknowledged += 1
            elif "raised" in answer:
                pytest.fail(f"{scenario} raised {answer['raised']}")
            else:
                return acknowledged, answer["status"]


@pytest.fixture(scope="module")
def victims():
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.settimeout(60)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, str(Path(sql_victim.__file__)), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env=environment,
    )
    theirs.close()
    yield Victim(mine)
    mine.close()
    process.wait(timeout=60)


@pytest.fixture
def proxied(tmp_path):
    """Give what makes a proxy for a kind of database, and the address through it."""
    made = []

    def proxy(kind):
        made.append(Striking(kind, tmp_path))
        return made[-1]

    yield proxy
    for one in made:
        one.close()


def through(proxy, place):
    """Give the address *place* by way of *proxy*."""
    where = proxy.path.removesuffix("/" + SOCKETS["postgresql"])
    return place.partition("=")[0] + "=" + where


@contextmanager
def opened(place):
    barrier = sql_victim.open_barrier(place)
    try:
        yield barrier
    finally:
        barrier.close()


def snapshot(barrier):
    """Everything there is to know of a store; reading it opens and authenticates every row."""
    seen = []
    for team in (None, "data"):
        for summary in barrier.list("variable", team=team, with_deleted=True):
            entry = barrier.read(summary.ref)
            texts = [
                (info, barrier.read_version(summary.ref, info.version).secret.reveal())
                for info in barrier.history(summary.ref)
            ]
            seen.append((summary, entry and entry.secret.reveal(), texts))
    changes = [change._replace(sequence=0) for change in barrier.changes()]  # numbers may be left out
    return seen, changes, sql_victim.registry_of(barrier).snapshot()


class Seeds:
    """Stores to begin from, each a copy of one."""

    def __init__(self, kind, folder, *, is_older=False):
        self._kind = kind
        self._folder = folder
        self._is_older = is_older
        self._name = None

    def place(self):
        if self._kind == "mariadb":
            place = home(self._kind, self._folder)
            sql_victim.seed(place, is_older=self._is_older)
            return place
        if self._name is None:
            place = home(self._kind, self._folder)
            sql_victim.seed(place, is_older=self._is_older)
            self._name = place.rpartition("/")[0] and place.split("@/")[1].partition("?")[0]
        name = f"{self._name}_{os.urandom(4).hex()}"
        databases.server_of(self._kind).run(f"CREATE DATABASE {name} TEMPLATE {self._name}")
        return address(self._kind, name)


def states(scenario, place):
    """Give what the store at *place* looks like before the first act and after each of them."""
    acts = sql_victim.steps(scenario, place)
    next(acts)
    seen = []

    def look():
        with opened(place) as barrier:
            seen.append(snapshot(barrier))

    look()
    for act in acts:
        act()
        look()
    return seen


def spread(proxy, kills):
    """
    Give *kills* of the messages of the last run: all over, the first among them, the last but the goodbyes,
    and the answers to commits, after which the new state stands and nobody was told.
    """
    commits = proxy.commits[: kills // 2]
    count, others = proxy.said - 4, kills - len(commits)  # four: two that arrive together are one
    return sorted([*commits, *(1 + index * (count - 1) // max(1, others - 1) for index in range(others))])


def struck(run, proxy, at):
    """
    Have *run* (given where to strike) struck at the *at*-th message; give what it gave.

    On a busy machine messages that were told apart when they were counted come together. Whoever had ended by
    then is struck earlier.
    """
    *found, status = run(at)
    while status == 0 and at > 4:
        at = min(at, proxy.said) - 4
        *found, status = run(at)
    assert status == -signal.SIGKILL, f"no kill at {at} of {proxy.said}"
    return found


@pytest.mark.parametrize(("kind", "scenario"), SHARES)
def test_kill_leaves_the_old_or_the_new_state_whole(kind, scenario, victims, proxied, tmp_path):
    proxy, seeds = proxied(kind), Seeds(kind, tmp_path, is_older=scenario == "migrate")
    expected = states(scenario, seeds.place())
    assert victims.run(scenario, through(proxy, seeds.place()), proxy)[1] == 0
    ends = Counter()
    kills = max(3, KILLS * SHARES[kind, scenario] // sum(SHARES.values()))

    def strike(at):
        place = seeds.place()
        return place, *victims.run(scenario, through(proxy, place), proxy, at)

    for at in spread(proxy, kills):
        place, acknowledged = struck(strike, proxy, at)
        done = max(0, acknowledged - 1)  # the first is for opening
        assert engine_of(place).revision() in ("0002", REVISION)
        with opened(place) as barrier:
            found = snapshot(barrier)
            assert found in expected[done : done + 2], f"{at}, {done} acts acknowledged"
            if scenario in OF_KEYS:
                sql_victim.victim.finish(barrier, sql_victim.registry_of(barrier))
                assert snapshot(barrier)[0] == found[0]
            assert barrier.write(draft("after", "alive"))
        ends["old" if found == expected[done] else "new"] += 1
    print(f"{kind} {scenario}: {kills} kills over {proxy.said} messages, {dict(ends)}")


@pytest.mark.parametrize("kind", KINDS)
def test_kill_while_creating_leaves_nothing_or_a_store_that_is_finished(kind, victims, proxied, tmp_path):
    proxy = proxied(kind)
    assert victims.run("create", through(proxy, home(kind, tmp_path)), proxy)[1] == 0
    kills = max(4, KILLS // 6)

    def strike(at):
        place = home(kind, tmp_path)
        return place, *victims.run("create", through(proxy, place), proxy, at)

    for at in spread(proxy, kills):
        place, acknowledged = struck(strike, proxy, at)
        barrier = sql_victim.make_barrier(place)
        entry = barrier.read(Ref("variable", "first"))
        assert entry is not None or acknowledged < 2, at
        assert entry is None or entry.secret.reveal() == "kept"
        assert barrier.write(draft("first", "again"))
        assert len(barrier.keys()) == 1
        barrier.close()
        assert engine_of(place).revision() == REVISION
    print(f"{kind} create: {kills} kills over {proxy.said} messages")
