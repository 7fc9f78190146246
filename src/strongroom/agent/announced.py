"""
Runs that their supervisor announced: whose processes they are is told by ancestry, not by their own word.

The supervisor of a task says, before the task exists, for which run the processes below it will ask. Whoever
asks later and has that process among its ancestors asks for that run, whatever it says itself. Nothing is
handed to the task, so there is nothing in it to steal or to forge.

Rules of this file:

1. A process is told by its id and its start time, so that an id used anew is another process.
2. Whoever is below an announced process cannot announce.
3. What is announced ends with the process that announced it, and is replaced by what it announces next.
4. A process that the agent cannot see (another PID namespace) is below nobody.
5. The announcement is as good as who may connect: it stays a claim (`CLAIMED`) that is marked as announced,
   unless it came with a token by which it was verified (`verifying.py`).

Source: proc_pid_stat(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import AccessDeniedError
from strongroom.wire.failure import OverloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.policy import Run

__all__ = ["Announced", "Process", "ancestors"]

_MAX_ANNOUNCED = 10_000
_MAX_GENERATIONS = 128
_STAT_BYTES = 4096
_PPID, _START = (
    1,
    19,
)  # places of ppid and starttime behind the name, which may hold anything but ends with ")"


class Process(NamedTuple):
    """
    One process of this machine.

    Args:
        start: when it began, in ticks since boot.
    """

    pid: int
    start: int


class Announced:
    """
    What was announced to one agent.

    Args:
        proc: where the kernel shows processes.
        most: live processes that have announced.

    Attributes:
        proc: as given.
    """

    def __init__(self, proc: str = "/proc", most: int = _MAX_ANNOUNCED) -> None:
        self.proc = proc
        self._most = most
        self._runs: dict[Process, Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def announce(self, pid: int, run: Run | None) -> Process:
        """
        Take that the process *pid* and all below it ask for *run*; None ends that. Give that process.

        Raises:
            AccessDeniedError: it is below one that was announced, or it cannot be seen.
            OverloadError: too many live processes have announced.
        """
        line = list(ancestors(pid, self.proc))
        if not line:
            raise AccessDeniedError(
                f"the process {pid} cannot be seen by this agent",
                reason="it runs in another PID namespace, or has ended",
                hint="have the agent and its tasks in one PID namespace",
            )
        if any(process in self._runs for process in line[1:]):
            raise AccessDeniedError(
                "a process below an announced one cannot announce", reason="the agent's own rule"
            )
        process = line[0]
        if run is None:
            self._runs.pop(process, None)
            return process
        if process not in self._runs and len(self._runs) >= self._most:
            self._sweep()
        self._runs[process] = run
        return process

    def above(self, pid: int) -> Process | None:
        """Give the process that announced a run for *pid*: it, or the nearest above it; None for nobody."""
        if not self._runs:
            return None
        younger: int | None = None
        for process in ancestors(pid, self.proc):
            if younger is not None and process.start > younger:
                return None  # its id was given to another one while we looked
            if process in self._runs:
                return process
            younger = process.start
        return None

    def of(self, pid: int) -> Run | None:
        """Give what was announced for *pid*, by it or by the nearest above it; None for nothing."""
        return self.run_of(self.above(pid))

    def run_of(self, process: Process | None) -> Run | None:
        """Give what *process* announced, if that still counts."""
        return None if process is None else self._runs.get(process)

    def replace(self, process: Process, run: Run) -> None:
        """Take that *process* asks for *run*, if it still asks for any."""
        if process in self._runs:
            self._runs[process] = run

    def forget(self, process: Process) -> None:
        """Take that *process* has ended. Safe to call twice."""
        self._runs.pop(process, None)

    def _sweep(self) -> None:
        for process in [each for each in self._runs if next(ancestors(each.pid, self.proc), None) != each]:
            del self._runs[process]
        if len(self._runs) >= self._most:
            raise OverloadError(f"{self._most} live processes have announced runs to this agent")


def ancestors(pid: int, proc: str = "/proc") -> Iterator[Process]:
    """Give the process *pid*, its parent, and so on, as far as they can be seen."""
    for _ in range(_MAX_GENERATIONS):
        found = None if pid <= 0 else _looked(pid, proc)
        if found is None:
            return
        parent, start = found
        yield Process(pid, start)
        pid = parent


def _looked(pid: int, proc: str) -> tuple[int, int] | None:
    """Give parent and start of *pid*, or None where it is not there."""
    try:
        with open(f"{proc}/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 -- no path is needed
            behind = file.read(_STAT_BYTES).rpartition(b")")[2].split()
        return int(behind[_PPID]), int(behind[_START])
    except (OSError, IndexError, ValueError):
        return None
