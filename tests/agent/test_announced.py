"""Announced runs by ancestry, on processes that a test makes up and on real ones."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from strongroom.agent.announced import Announced, Process, ancestors
from strongroom.errors import AccessDeniedError
from strongroom.policy import Assurance, Run
from strongroom.wire.failure import OverloadError

FIRST = Run(Assurance.CLAIMED, "first", announced=True)
SECOND = Run(Assurance.CLAIMED, "second", announced=True)


class Machine:
    """Processes as the kernel would show them: pid, parent, start."""

    def __init__(self, folder):
        self.folder = folder
        self.start(1, 0, 1)

    def start(self, pid, parent, start, name="sh"):
        (self.folder / str(pid)).mkdir(exist_ok=True)
        rest = f"S {parent} 1 1 0 -1 4194304 1 1 0 0 0 0 0 0 20 0 1 0 {start} 1 1"
        (self.folder / str(pid) / "stat").write_text(f"{pid} ({name}) {rest}")

    def end(self, pid):
        (self.folder / str(pid) / "stat").unlink()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def announced(tmp_path):
    return Announced(str(tmp_path))


def run_of(announced, pid):
    return announced.run_of(announced.above(pid))


def test_all_below_a_supervisor_are_of_its_run_and_nobody_else(machine, announced):
    machine.start(10, 1, 100)  # a worker, its two supervisors, and what they started
    machine.start(20, 10, 200)
    machine.start(21, 10, 200)
    machine.start(30, 20, 300)
    machine.start(31, 30, 400, name="a) S 1 1 (b")
    announced.announce(20, FIRST)
    announced.announce(21, SECOND)
    assert [run_of(announced, pid) for pid in (20, 30, 31)] == [FIRST] * 3
    assert run_of(announced, 21) == SECOND
    assert [run_of(announced, pid) for pid in (1, 10, 99, 0, -1)] == [None] * 5


def test_nobody_is_looked_at_while_nothing_is_announced(machine, announced):
    machine.start(10, 1, 100)
    assert announced.above(10) is None


def test_an_orphan_is_nobodys(machine, announced):
    machine.start(20, 1, 200)
    machine.start(30, 20, 300)
    announced.announce(20, FIRST)
    machine.start(30, 1, 300)  # its parent has ended, and it is the first process's now
    assert run_of(announced, 30) is None


def test_an_id_that_is_used_anew_is_another_process(machine, announced):
    machine.start(20, 1, 200)
    machine.start(30, 20, 300)
    announced.announce(20, FIRST)
    machine.start(20, 1, 900)
    assert run_of(announced, 20) is None
    # Nor is a process below one that is younger than itself: that one only has the id of its parent.
    announced.announce(20, SECOND)
    assert run_of(announced, 30) is None


def test_below_an_announced_process_nobody_announces_and_it_may_do_so_again(machine, announced):
    machine.start(20, 1, 200)
    machine.start(30, 20, 300)
    announced.announce(20, FIRST)
    with pytest.raises(AccessDeniedError, match="below an announced one"):
        announced.announce(30, SECOND)
    assert announced.announce(20, SECOND) == Process(20, 200)
    assert run_of(announced, 30) == SECOND
    announced.announce(20, None)
    assert run_of(announced, 30) is None
    assert len(announced) == 0
    announced.announce(30, FIRST)
    assert run_of(announced, 30) == FIRST


@pytest.mark.parametrize(
    "text", ["", "20", "20 (sh", "20 (sh) S", "20 (sh) S one two " + "x " * 20, "\0" * 99]
)
def test_a_process_that_cannot_be_seen_announces_nothing(machine, announced, text):
    machine.start(20, 1, 200)
    (machine.folder / "20" / "stat").write_text(text)
    with pytest.raises(AccessDeniedError, match="cannot be seen"):
        announced.announce(20, FIRST)
    assert list(ancestors(20, str(machine.folder))) == []


def test_a_ring_of_parents_ends(machine, announced):
    machine.start(20, 21, 200)
    machine.start(21, 20, 200)
    assert len(list(ancestors(20, str(machine.folder)))) == 128


def test_what_ended_makes_room_and_what_lives_does_not(machine):
    announced = Announced(str(machine.folder), most=50)
    for pid in range(100, 150):
        machine.start(pid, 1, 5)
        announced.announce(pid, FIRST)
    machine.start(20, 1, 200)
    with pytest.raises(OverloadError):
        announced.announce(20, SECOND)
    machine.end(100)
    announced.announce(20, SECOND)
    assert len(announced) == 50
    assert run_of(announced, 20) == SECOND


def test_real_processes_are_seen_with_their_parents():
    found = list(ancestors(os.getpid()))
    assert found[0].pid == os.getpid()
    assert found[1].pid == os.getppid()
    assert found[0].start >= found[1].start
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert list(ancestors(child.pid))[1] == found[0]
        child.communicate(b"\n", timeout=20)
    assert list(ancestors(child.pid)) == []
