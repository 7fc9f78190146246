"""
A job that puts a store under a new key and is killed over and over leaves no row that cannot be read.

Whoever works at it is a process of its own, while somebody reads. It is killed in batches all over the job,
at some moment within each. `make trials` does it with 100,000 entries; kills at each call and at each message
are those of test_kill.py and test_sql_kill.py.
"""

import multiprocessing
import os
import random
import signal
import threading
from contextlib import closing, contextmanager

import pytest

import rewrap_victim
from native_room import Clock, HeldKey, draft
from parts.homes import KINDS, home
from strongroom.barrier import Barrier
from strongroom.model.ref import Ref
from strongroom.store.store import Store

ENTRIES = int(os.environ.get("STRONGROOM_REWRAP_ENTRIES", "500"))
KILLS = int(os.environ.get("STRONGROOM_REWRAP_KILLS", "4"))

KILLED = (-signal.SIGALRM, -signal.SIGKILL)


@pytest.fixture(scope="module")
def worked():
    """Give what works at the job in a process of its own, forked from one that has imported it all."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["rewrap_victim"])

    def work(place, until):
        """Be killed in the batch after *until* versions were moved; give the exit status."""
        process = forks.Process(target=rewrap_victim.work, args=(place, until))
        process.start()
        process.join()
        return process.exitcode

    return work


def text(number):
    return f"value of {number}"


def ref(number):
    return Ref("variable", f"team_{number % 50}/entry_{number}")


@contextmanager
def beside(barrier):
    """Read at random all the time; give what was not as it should be, and how many reads there were."""
    wrong, reads, ended, chosen = [], [0], threading.Event(), random.Random(7)

    def read_on():
        while not ended.wait(0.005):  # beside whoever works, not in place of them
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
def test_job_that_is_killed_over_and_over_leaves_no_row_unreadable(kind, worked, tmp_path):
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
