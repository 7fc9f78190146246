"""
What must hold whatever fails: every read of every process is held against every write and every record.

    history = History(staleness_seconds=5)
    with history.writing("v1", "v1.7"):      # the act itself; a name has one writer
        put("v1", "v1.7")
    history.load(path_of_a_readers_log)      # one line of JSON a read, see READER
    history.check_values()                   # I2 and I6
    history.check_records(uses_in(folder), version_of=…)  # I4
    history.check_trouble({"unavailable"})   # I10
    history.recovered_within(2, since=back)  # I8

| invariant | here |
|---|---|
| I2 | a value that was given was the value of that name at some time in [asked less S, answered] |
| I4 | a value that was given has its record, and the record was there before the value |
| I6 | what one observer sees of one name never goes back |
| I8 | after the fault every observer has a value again, without a restart of its own |
| I10 | trouble is told as what it is: nothing that exists is *absent*, nobody allowed is *denied* |

Times are of `CLOCK_MONOTONIC`, which all processes of a machine share. A value's text is `NAME.NUMBER`, with
numbers that grow.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections import defaultdict
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import NamedTuple

from strongroom.audit.log import AuditLog, segments_of
from strongroom.audit.record import read_line

FOREVER = float("inf")
_SLACK_SECONDS = 0.05  # wall and monotonic clock are read one after the other, and records say milliseconds

# A process that reads names in turn until its file `stop` is there, and notes what it saw. The arguments: its
# log, the file that ends it, seconds between reads, and the names.
READER = r"""
import os, sys, time
import strongroom
log, stop, pause, *names = sys.argv[1:]
pause = float(pause)
import json
with open(log, "w", buffering=1) as file:
    count = 0
    while not os.path.exists(stop):
        name = names[count % len(names)]
        count += 1
        begun = time.monotonic()
        try:
            text, code = strongroom.variable(name), None
        except strongroom.StrongroomError as error:
            text, code = None, error.code
        ended = time.monotonic()
        print(json.dumps([begun, ended, name, text, code]), file=file)
        if pause:
            time.sleep(pause)
"""


class Read(NamedTuple):
    observer: str
    begun: float
    ended: float
    name: str
    text: str | None
    code: str | None


class History:
    """
    Writes as they were made and reads as they were seen.

    Args:
        staleness_seconds: S, how much older than the request a value may be.
    """

    def __init__(self, *, staleness_seconds):
        self.staleness = staleness_seconds
        self.reads = []
        self._begun = defaultdict(list)  # by name: when the write of each number began
        self._ended = defaultdict(list)  # by name: when it was acknowledged, FOREVER if it never was

    # --- what happened -------------------------------------------------------------------------------

    @contextmanager
    def writing(self, name, text):
        """Note a write; one that raises may have happened or not."""
        number = number_of(name, text)
        assert number == len(self._begun[name]), "a name's values are numbered from 0 and written in order"
        self._begun[name].append(time.monotonic())
        self._ended[name].append(FOREVER)
        yield
        self._ended[name][-1] = time.monotonic()

    def load(self, log):
        """Read the log of a reader; one that was killed may have left half a line."""
        for line in log.read_text().splitlines():
            try:
                begun, ended, name, text, code = json.loads(line)
            except ValueError:
                continue
            self.reads.append(Read(log.stem, begun, ended, name, text, code))

    @property
    def given(self):
        """The reads that gave a value."""
        return [read for read in self.reads if read.text is not None]

    # --- what must hold ------------------------------------------------------------------------------

    def check_values(self):
        """I2 and I6: no wrong value, none too old, and none that goes back."""
        latest = {}
        for read in sorted(self.given, key=lambda read: read.begun):
            number = number_of(read.name, read.text)
            first, last = self._current(read.name, number)
            assert first <= read.ended, f"read before it was written: {read}"
            assert read.begun - self.staleness <= last, f"older than {self.staleness} s allow: {read}"
            seen = latest.get((read.observer, read.name), -1)
            assert seen <= number, f"went back from {seen}: {read}"
            latest[read.observer, read.name] = number

    def _current(self, name, number):
        """Give the longest time in which a number can have been the value."""
        begun = self._begun[name]
        assert number < len(begun), f"never written: {name}.{number}"
        following = number + 1
        while following < len(begun) and self._ended[name][following] == FOREVER:
            following += 1  # one that was never acknowledged may never have been
        return begun[number], self._ended[name][following] if following < len(begun) else FOREVER

    def check_records(self, uses, *, version_of, lives=(0.0,), window_seconds=60.0):
        """
        I4: each value that was given has a use on record, made before it was given.

        Args:
            uses: of `uses_in`.
            version_of: gives the version of a name's number.
            lives: when each process of the agent was started: a use is recorded by the one that gave it.
            window_seconds: for how long one record stands for repeats.
        """
        made = defaultdict(list)
        for at, name, version in uses:
            made[name, version].append(at)
        for times in made.values():
            times.sort()
        for read in self.given:
            times = made[read.name, version_of(number_of(read.name, read.text))]
            before = bisect_right(times, read.ended + _SLACK_SECONDS)
            assert before, f"given without a record: {read}"
            latest = times[before - 1]
            born = max(life for life in lives if life <= read.ended)
            assert latest >= born - _SLACK_SECONDS, f"given by an agent that did not record it: {read}"
            age = read.begun - latest
            assert age <= window_seconds + _SLACK_SECONDS, f"given {age:.0f} s after its record: {read}"

    def check_trouble(self, codes):
        """I10: whoever got no value was told one of *codes*."""
        told = {read.code for read in self.reads if read.code is not None}
        assert told <= set(codes), told - set(codes)

    def recovered_within(self, seconds, *, since, before=FOREVER):
        """
        I8: every observer has a value again within *seconds* after *since*, and keeps getting them.

        Args:
            before: when the next fault began.
        """
        for observer in {read.observer for read in self.reads}:
            after = [
                r for r in self.reads if r.observer == observer and r.ended >= since and r.ended < before
            ]
            good = [read.ended for read in after if read.text is not None]
            assert good, f"{observer} got nothing any more: {after[-3:]}"
            assert good[0] - since <= seconds, f"{observer} was without a value for {good[0] - since:.1f} s"
            late = [read for read in after if read.text is None and read.begun >= since + seconds]
            assert not late, f"{observer} was refused again: {late[0]}"


def uses_in(folder):
    """Give (monotonic seconds, name, version) of each use in an audit log that found something."""
    ahead = time.time() - time.monotonic()
    return [
        (datetime.fromisoformat(record.at.replace("Z", "+00:00")).timestamp() - ahead, use.name, use.version)
        for record in records_in(folder)
        if record.action == "read"
        for use in record.refs or (record,)
        if use.outcome == "found"
    ]


def records_in(folder):
    """Give the records of an audit log in order, as they stand there."""
    lines = [line for name in segments_of(folder) for line in (folder / name).read_bytes().splitlines()]
    # What is left is room that was taken ahead of the lines, or a line that a kill cut short.
    return [record for line in lines if (record := read_line(line)) is not None]


def verdict(folder, deployment="default"):
    """Give what `audit verify` says of a log."""
    return AuditLog(folder, deployment=deployment, clock=lambda: datetime.now(timezone.utc)).verify()


def number_of(name, text):
    """Give the number in a value; a text that is no value of *name* is a wrong value."""
    begun, _, number = text.rpartition(".")
    assert begun == name, f"{text!r} is no value of {name}"
    return int(number)
