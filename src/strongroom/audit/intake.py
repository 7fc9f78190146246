"""
Records of agents, taken into the server's log: each once, in order, without a gap.

Not for how they come (`server/api/agents.py`), nor for how they are kept and sent (`spool.py`,
`delivery.py`).

Rules of this file:

1. What is on record is what stands in the log: the last number of a chain is learnt from there, never from
   what was answered. A file beside the log says from where on there is anything to learn.
2. Where an append ended without a word, it is not known what became of it. Then another record is written
   through the same channel first: once that is durable, all before it are, or never will be.
3. A line is taken where it follows the last one by number and by hash. What was taken before is passed over
   if it is the same; a gap and a fork are refused, and an alarm is recorded.
4. An agent may begin a chain anew (its folder was lost); that is an alarm, too, unless it is its first.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.audit.adopted import CHAIN_CHARACTERS, MARK, chain_of, read
from strongroom.audit.follow import durable, lines_of, position_of
from strongroom.audit.log import segments_of, why
from strongroom.audit.record import ZERO, Event, read_line
from strongroom.errors import BackendUnavailableError, ConflictError, InvalidInputError, NotRecordedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from strongroom.audit.adopted import Delivered

__all__ = ["MAX_LINES", "Head", "Intake"]

MAX_LINES = 1000  # of one delivery
_KNOWN = "agents"  # the file beside the log
_KEEP_EVERY = 64  # deliveries, between two writes of it
_MAX_FILE_BYTES = 16_777_216
_MAX_ALARMS = 1000  # remembered, so that each is recorded once
_NOTHING = (-1, ZERO)
_HEX = frozenset("0123456789abcdef")


class Recorder(Protocol):
    """What writes the server's log."""

    def append(self, *events: Event) -> None: ...


class Head(NamedTuple):
    """
    The last record of a chain that is on record.

    Args:
        agent: whose chain it is.
        chain: its name.
        seq: its number; -1 for none.
        digest: its hash.
    """

    agent: str
    chain: str
    seq: int
    digest: str


class Intake:
    """
    Takes what agents deliver, for one deployment.

    Threads: may be used from several threads at once; one process per log.

    Args:
        folder: of the server's log.
        recorder: appends to it.
    """

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self._folder = folder
        self._recorder = recorder
        self._turn = threading.Lock()
        self._ends: dict[tuple[str, str], tuple[int, str]] = {}
        self._learnt = -1  # records of the log that were looked at; -1: what the file says is not known yet
        self._is_sure = False
        self._until_kept = _KEEP_EVERY
        self._alarms: set[tuple[str, str, str]] = set()

    def take(self, agent: str, chain: str, lines: Sequence[bytes]) -> int:
        """
        Take *lines* of *agent*, without their newlines, into the log; give the number of the last record of
        the chain that is on record then.

        Args:
            agent: the actor that delivers.
            chain: the name of its chain (`adopted.chain_of`).
            lines: in order; at most `MAX_LINES`.

        Raises:
            InvalidInputError: a line is no record, or the lines do not follow each other.
            ConflictError: they do not follow what is on record; `current_version` is the last number there.
            NotRecordedError: they could not be written; nothing is acknowledged.
        """
        if len(lines) > MAX_LINES:
            raise InvalidInputError(f"a delivery has at most {MAX_LINES} records", limit=MAX_LINES)
        if len(chain) != CHAIN_CHARACTERS or not _HEX.issuperset(chain):
            raise InvalidInputError("this is the name of no chain")
        records = [read(line, agent=agent, chain=chain) for line in lines]
        _check_order(records)
        with self._turn:
            self._learn()
            end = self._ends.get((agent, chain), _NOTHING)
            fresh = self._fresh(Head(agent, chain, *end), records)
            if fresh:
                self._append(fresh)
                end = self._ends[agent, chain] = (fresh[-1].seq, fresh[-1].digest)
            return end[0]

    def heads(self) -> Mapping[tuple[str, str], int]:
        """Give the last number of every chain, as far as that is known."""
        return {key: seq for key, (seq, _) in list(self._ends.items())}

    # --- what follows ------------------------------------------------------------------------------

    def _fresh(self, head: Head, records: Sequence[Delivered]) -> Sequence[Delivered]:
        """Give those of *records* that are not on record. Raises ConflictError."""
        if not records:
            return ()
        first, last = records[0], records[-1]
        if head.seq < 0:
            self._check_begin(head, first)
            return records
        if first.seq > head.seq + 1:
            raise self._refused(head, f"record {head.seq + 1} is missing before number {first.seq}")
        if last.seq < head.seq:
            # Older than what is on record: they were taken before, or another line of them would be.
            return ()
        fresh = [record for record in records if record.seq > head.seq]
        known = records[head.seq - first.seq].digest if first.seq <= head.seq else first.prev
        if known != head.digest:
            raise self._refused(head, f"record {head.seq} is another than the one on record")
        return fresh

    def _check_begin(self, head: Head, first: Delivered) -> None:
        is_first = first.seq == 0 and first.prev == ZERO and chain_of(first.digest) == head.chain
        if not is_first and not self._is_cut():
            raise self._refused(head, f"the records before number {first.seq} are missing")
        if any(agent == head.agent for agent, _ in self._ends):
            self._alarm(head, "it begins a chain anew: what its host had not delivered before is lost")

    def _refused(self, head: Head, what: str) -> ConflictError:
        self._alarm(head, what)
        return ConflictError(
            f"these records do not follow those on record: {what}",
            current_version=str(head.seq),
            hint="docs/audit.md, Agents, says what that means",
        )

    def _alarm(self, head: Head, what: str) -> None:
        key = (head.agent, head.chain, what)
        if key in self._alarms:
            return
        if len(self._alarms) >= _MAX_ALARMS:
            self._alarms.clear()
        self._alarms.add(key)
        # What cannot be recorded is refused all the same, and is tried again with the next delivery.
        try:
            self._recorder.append(
                Event(
                    actor=head.agent,
                    assurance=1,
                    action="administer",
                    outcome="invalid",
                    reason=f"alarm: the records of {head.agent}: {what}",
                )
            )
        except NotRecordedError:
            self._alarms.discard(key)

    def _is_cut(self) -> bool:
        """Tell whether the beginning of the log was archived or removed, and records of agents with it."""
        names = segments_of(self._folder)
        return bool(names) and int(names[0][:-6]) > 0

    # --- what is on record -------------------------------------------------------------------------

    def _append(self, records: Sequence[Delivered]) -> None:
        self._is_sure = False
        self._recorder.append(*(record.event for record in records))
        self._is_sure = True
        self._until_kept -= 1
        if self._until_kept <= 0:
            self._keep()

    def _learn(self) -> None:
        """Learn what is on record, where that is not known for sure (rules 1 and 2)."""
        if self._is_sure:
            return
        self._recorder.append(_SETTLED)
        try:
            if self._learnt < 0:
                self._recall()
            until = durable(self._folder)
            for _, line in lines_of(self._folder, position_of(self._folder, self._learnt), until):
                if MARK in line:
                    self._see(line)
            self._learnt = until
        except (OSError, ValueError, LookupError) as error:
            text = why(error) if isinstance(error, OSError) else "it is damaged"
            raise BackendUnavailableError(
                f"the audit log in {self._folder} cannot be read ({text})", backend="audit"
            ) from None
        self._is_sure = True
        self._keep()

    def _see(self, line: bytes) -> None:
        record = read_line(line)
        if record is None or not record.agent or "seq" not in record.agent:
            return
        found = record.agent
        with suppress(KeyError, ValueError):
            key = (record.actor, str(found["chain"]))
            seq = int(found["seq"])
            if seq > self._ends.get(key, _NOTHING)[0]:
                self._ends[key] = (seq, str(found["digest"]))

    def _recall(self) -> None:
        """Read what is known without looking at the whole log."""
        self._learnt = 0
        try:
            with (self._folder / _KNOWN).open("rb") as file:
                found = json.loads(file.read(_MAX_FILE_BYTES))
            ends = {(str(a), str(c)): (int(seq), str(digest)) for a, c, seq, digest in found["chains"]}
            learnt = int(found["learnt"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if 0 <= learnt <= durable(self._folder):
            self._ends, self._learnt = ends, learnt

    def _keep(self) -> None:
        """Write down what is known, for the next start; without it the whole log is looked at."""
        self._until_kept = _KEEP_EVERY
        with suppress(OSError, ValueError):
            # Everything up to here is known: what this process appended, and what it learnt before.
            self._learnt = durable(self._folder)
            chains = [[*key, *end] for key, end in self._ends.items()]
            data = json.dumps({"learnt": self._learnt, "chains": chains}).encode()
            draft = self._folder / f".{_KNOWN}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(data)
            draft.replace(self._folder / _KNOWN)


_SETTLED = Event(
    actor="strongroom",
    assurance=0,
    action="resume",
    outcome="done",
    reason="from here on it is known which records of agents are in this log",
)


def _check_order(records: Sequence[Delivered]) -> None:
    for before, after in pairwise(records):
        if after.seq != before.seq + 1 or after.prev != before.digest:
            raise InvalidInputError("the records do not follow each other")
