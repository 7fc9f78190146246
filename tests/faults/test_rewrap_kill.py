"""
A job that puts a store under a new key and is killed over and over leaves no row that cannot be read.

Whoever works at it is a process of its own, while somebody reads. It is killed in batches all over the job,
at some moment within each. `make trials` does it with 100,000 entries; kills at each call and at each message
are those of test_kill.py and test_sql_kill.py.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest

from native_room import Clock, HeldKey, draft
from parts.homes import KINDS, home
from strongroom.barrier import Barrier
from strongroom.model.ref import Ref
from strongroom.store.store import Store

ENTRIES = int(os.environ.get("STRONGROOM_REWRAP_ENTRIES", "500"))
KILLS = int(os.environ.get("STRONGROOM_REWRAP_KILLS", "4"))

WORKER = """
import os, random, signal, sys, time
from native_room import Clock, HeldKey
from strongroom.barrier import Barrier
from strongroom.store.store import Store

place, until = sys.argv[1], int(sys.argv[2])
began = [time.monotonic()]
is_aimed = []

def look(done, total):
    took, began[0] = time.monotonic() - began[0], time.monotonic()
    if is_aimed:
        os.kill(os.getpid(), signal.SIGKILL)
    if done >= until:
        is_aimed.append(True)
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, took))  # ends the process where it stands

barrier = Barrier.open(Store.open(place), [HeldKey()], deployment="prod", clock=Clock())
barrier.rotation.resume(author="bob")  # whoever was at work on it was killed
barrier.rewrap.run(progress=look)
barrier.close()
"""
KILLED = (-signal.SIGALRM, -signal.SIGKILL)


def worked(place, until):
    """Work at the job, killed in the batch after *until* versions were moved; give the exit status."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", WORKER, str(place), str(until)]
    return subprocess.run(command, env=environ, check=False).returncode


def text(number):
    return f"value of {number}"


def ref(number):
    return Ref("variable", f"team_{number % 50}/entry_{number}")


@contextmanager
def beside(barrier):
    """Read at random all the time; give what was not as it should be, and how many reads there were."""
    wrong, reads, ended, chosen = [], [0], threading.Event(), random.Random(7)

    def read_on():
        while not ended.is_set():
            number = chosen.randrange(ENTRIES)
            try:
                found = barrier.read(ref(number)).secret.reveal()
            except Exception as error:  # noqa: BLE001 -- whatever it was, it is told below
                found = repr(error)
            reads[0] += 1
            if found != text(number):
                wrong.append((number, found))

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        yield wrong, reads
    finally:
        ended.set()
        reader.join()


@pytest.mark.parametrize("kind", KINDS)
def test_job_that_is_killed_over_and_over_leaves_no_row_unreadable(kind, tmp_path):
    place = home(kind, tmp_path)
    store = Store.open(place, create=True)
    with closing(Barrier.create(store, [HeldKey()], deployment="prod", clock=Clock())) as barrier:
        barrier.write_many(draft(ref(number).name, text(number)) for number in range(ENTRIES))
        before = barrier.rotation.find(barrier.keys()[0].id)
        barrier.rotation.rotate([""], author="bob")
        with beside(barrier) as (wrong, reads):
            for _ in range(KILLS):
                assert worked(place, ENTRIES // (KILLS + 1) - 50) in KILLED
                assert barrier.rewrap.status().state == "running"
            assert worked(place, ENTRIES + 1) == 0
        assert wrong == []
        assert reads[0] > 0
        job = barrier.rewrap.status()
        assert (job.state, job.done, job.damaged) == ("finished", job.total, 0)
        assert 0 < job.total < ENTRIES  # which those before it had left
        barrier.rotation.destroy(before)  # which nothing may name any more
        unreadable = [n for n in range(ENTRIES) if barrier.read(ref(n)).secret.reveal() != text(n)]
    assert unreadable == []
    print(f"{kind}: {KILLS} kills over {ENTRIES:,} entries, {reads[0]:,} reads beside, 0 unreadable")
