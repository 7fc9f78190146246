"""
A kill at any write or sync leaves the old or the new state and loses nothing acknowledged; a call
that fails leaves the old state, and the next attempt succeeds.

One victim process under one strace forks a child for each kill. strace counts each child and each
call apart and strikes at a fixed count; the child first makes as many idle calls as move that count
to the boundary wanted. First every scenario runs once unharmed and its boundaries are noted.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import victim
from native_room import draft, make_barrier, open_barrier
from strongroom.model.ref import Ref

CALLS = ",".join(victim.CALLS)
# In nine scenarios. `make trials` kills more often; then boundaries come up several times.
KILLS_EACH = int(os.environ.get("STRONGROOM_KILLS", "240")) // len(victim.SCENARIOS)
OF_KEYS = ("rewrap", "keys")
NO_LIMIT = 60_000  # strace counts in 16 bits


def missing(reason):
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Victim:
    """The victim's orders and answers."""

    def __init__(self, orders, limit):
        self.orders = orders
        self.limit = limit

    def run(self, scenario, path, boundary=None):
        """
        Run *scenario* in a child that is struck entering *boundary* (call, which one of its kind), if any.

        Gives a count of its answers, its pid and its exit status.
        """
        call, count = boundary or ("write", self.limit)
        order = {"scenario": scenario, "path": str(path), "call": call, "idle": self.limit - count}
        self.orders.send(json.dumps(order).encode())
        answers = Counter()
        while True:
            answer = json.loads(self.orders.recv(65_536))
            if isinstance(answer, str):
                answers[answer] += 1
            elif "raised" in answer:
                pytest.fail(f"{scenario} raised {answer['raised']}")
            else:
                return answers, answer["pid"], answer["status"]

    def kill(self, scenario, path, boundary):
        """Run *scenario*, see that it dies, and give how many acts it acknowledged."""
        answers, _, status = self.run(scenario, path, boundary)
        assert status == -signal.SIGKILL, f"no kill at {boundary}"
        return answers["acknowledged"]


@contextmanager
def traced(log, limit, strike="signal=KILL", *, program=victim, environ=()):
    """
    Give a victim whose children are struck at their *limit*-th call of a kind.

    It is the process of *program*, with *environ* beside its environment.
    """
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.settimeout(60)
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={CALLS}"]
    command += ["-e", f"inject={CALLS}:{strike}:when={limit}"]
    command += [sys.executable, str(Path(program.__file__)), str(theirs.fileno())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # What is imported late is compiled once and written by the first child alone: calls that no other makes.
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **dict(environ)}
    process = subprocess.Popen(
        command, pass_fds=[theirs.fileno()], env=environment, stderr=subprocess.PIPE, text=True
    )
    theirs.close()
    try:
        yield Victim(mine, limit)
    except (ConnectionError, json.JSONDecodeError):
        process.terminate()
        missing(f"strace cannot trace here: {process.communicate()[1][-300:]}")
    finally:
        mine.close()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def boundaries(tmp_path_factory):
    """The calls each scenario makes in order, when nobody kills it: (call, which one of its kind)."""
    if shutil.which("strace") is None:
        missing("needs strace: apt install strace")
    folder = tmp_path_factory.mktemp("count")
    pids = {}
    with traced(folder / "log", NO_LIMIT) as unharmed:
        for scenario in victim.SCENARIOS:
            _, pid, status = unharmed.run(scenario, fresh(folder / scenario, scenario))
            assert status == 0
            pids[str(pid)] = scenario
    found = {scenario: [] for scenario in victim.SCENARIOS}
    for line in (folder / "log").read_text().splitlines():
        pid, call = line.partition("(")[0].split()[:2]
        if pid in pids and call in victim.CALLS:
            made = found[pids[pid]]
            made.append((call, 1 + sum(call == other for other, _ in made)))
    return found


@pytest.fixture(scope="module")
def limit(boundaries):
    """A count that no child reaches without idle calls."""
    return 1 + max(count for made in boundaries.values() for _, count in made)


@pytest.fixture(scope="module")
def killer(limit, tmp_path_factory):
    """A victim whose children die."""
    with traced(tmp_path_factory.mktemp("kill") / "log", limit) as victims:
        yield victims


def spread(made, count=KILLS_EACH):
    """Give *count* boundaries to strike at: all over the scenario, the first and the last among them."""
    return [made[index * (len(made) - 1) // (count - 1)] for index in range(count)]


def fresh(folder, scenario):
    path = folder / "store.db"
    if scenario != "create":
        victim.seed(path, is_older=scenario == "migrate")
    return path


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
    return seen, barrier.changes(), victim.registry_of(barrier).snapshot()


def states(folder, scenario):
    """Give what the store looks like before the first act and after each of them."""
    path = fresh(folder, scenario)
    acts = victim.steps(scenario, path)
    next(acts)
    seen = []

    def look():
        barrier = open_barrier(path)
        seen.append(snapshot(barrier))
        barrier.close()

    look()
    for act in acts:
        act()
        look()
    return seen


@pytest.mark.parametrize(
    "scenario", [name for name in victim.SCENARIOS if name != "create" and name not in OF_KEYS]
)
def test_kill_leaves_the_old_or_the_new_state_whole(scenario, boundaries, killer, tmp_path):
    expected = states(tmp_path / "unharmed", scenario)
    seeded = fresh(tmp_path / "seed", scenario)
    ends = Counter()
    for index, boundary in enumerate(spread(boundaries[scenario])):
        folder = tmp_path / f"kill{index}"
        shutil.copytree(seeded.parent, folder)
        acknowledged = killer.kill(scenario, folder / "store.db", boundary)
        done = max(0, acknowledged - 1)  # the first is for opening
        barrier = open_barrier(folder / "store.db")
        found = snapshot(barrier)
        assert found in expected[done : done + 2], f"{boundary}, {done} acts acknowledged"
        barrier.write(draft("after", "alive"))
        barrier.close()
        assert intact(folder / "store.db")
        ends["old" if found == expected[done] else "new"] += 1
    print(f"{scenario}: {KILLS_EACH} kills over {len(boundaries[scenario])} boundaries, {dict(ends)}")


@pytest.mark.parametrize("scenario", OF_KEYS)
def test_kill_while_keys_change_leaves_every_row_readable_and_the_job_is_gone_on_with(
    scenario, boundaries, killer, tmp_path
):
    expected = states(tmp_path / "unharmed", scenario)
    seeded = fresh(tmp_path / "seed", scenario)
    midway = 0
    for index, boundary in enumerate(spread(boundaries[scenario])):
        folder = tmp_path / f"kill{index}"
        shutil.copytree(seeded.parent, folder)
        acknowledged = killer.kill(scenario, folder / "store.db", boundary)
        done = max(0, acknowledged - 1)  # the first is for opening
        barrier = open_barrier(folder / "store.db")
        found = snapshot(barrier)
        assert found in expected[done : done + 2], f"{boundary}, {done} acts acknowledged"
        midway += any(
            key.sealed_versions > 0
            for key in barrier.keys()  # noqa: SIM118 -- not a mapping's
            if key.state == "deactivated"
        )
        victim.finish(barrier, victim.registry_of(barrier))
        entries, changes, _ = snapshot(barrier)
        assert (entries, changes) == found[:2]
        barrier.write(draft("after", "alive"))
        barrier.close()
        assert intact(folder / "store.db")
    print(f"{scenario}: {KILLS_EACH} kills over {len(boundaries[scenario])} boundaries, {midway} midway")


def test_kill_while_creating_leaves_nothing_or_a_store_that_opens(boundaries, killer, tmp_path):
    for index, boundary in enumerate(spread(boundaries["create"])):
        path = tmp_path / f"kill{index}" / "store.db"
        acknowledged = killer.kill("create", path, boundary)
        barrier = open_barrier(path) if acknowledged else make_barrier(path)
        entry = barrier.read(Ref("variable", "first"))
        assert entry is not None or acknowledged < 2, boundary
        assert entry is None or entry.secret.reveal() == "kept"
        barrier.write(draft("first", "again"))
        assert [status.number for status in barrier.keys()] == [1]  # noqa: SIM118 -- not a mapping's
        barrier.close()
        assert intact(path)
    print(f"create: {KILLS_EACH} kills over {len(boundaries['create'])} boundaries")


@pytest.mark.parametrize(
    ("strike", "calls"), [("error=ENOSPC", ("write", "pwrite64")), ("error=EIO", ("fsync", "fdatasync"))]
)
def test_call_that_fails_is_unavailable_and_the_next_attempt_succeeds(
    strike, calls, boundaries, limit, tmp_path
):
    expected = states(tmp_path / "unharmed", "put")
    seeded = fresh(tmp_path / "seed", "put")
    refused = 0
    with traced(tmp_path / "log", limit, strike) as victims:
        made = [boundary for boundary in boundaries["put"] if boundary[0] in calls]
        for index, boundary in enumerate(spread(made, min(len(made), KILLS_EACH // 2))):
            folder = tmp_path / f"failure{index}"
            shutil.copytree(seeded.parent, folder)
            answers, _, status = victims.run("put", folder / "store.db", boundary)
            assert status == 0
            refused += answers["refused"]
            barrier = open_barrier(folder / "store.db")
            assert snapshot(barrier) == expected[-1], boundary
            barrier.close()
            assert intact(folder / "store.db")
    assert refused >= 3
    print(f"{strike}: {index + 1} failures, {refused} refused writes, the others while folding the log")


def intact(path):
    with closing(sqlite3.connect(path)) as connection:
        checks = [
            connection.execute(f"PRAGMA {check}").fetchall()
            for check in ("integrity_check", "foreign_key_check")
        ]
    return checks == [[("ok",)], []]
