"""
Who was given what this agent was lent, and giving it back when nobody has it any more.

Not for lending (`vendors/vault_lease.py`) nor for what a process is lent itself (`service/borrowed.py`).

Rules of this file:

1. Whoever follows a connection has it until he says that he does not, or until his connection ends: then for
   `_RETURN_SECONDS` more, since what lives connects anew. So ends that of a process that is killed.
2. Whoever reads it otherwise has it while his process lives, and at least for as long as it is fresh when it
   is answered: what he started may have it still. A process that cannot be seen has it for good, and so have
   files and who asks over HTTP.
3. Nothing is revoked that nobody ever followed: it ends by itself.
4. First something else is lent, and what is remembered is forgotten; then who came meanwhile is looked for,
   on the loop, where nobody is given anything in between; then it is revoked.
5. What cannot be revoked is tried again some times, and then told. All of it is on the record.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.agent.announced import ancestors
from strongroom.caller import frames
from strongroom.errors import StrongroomError
from strongroom.policy import Action
from strongroom.service.borrowed import PAUSES_SECONDS
from strongroom.service.guard import event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.agent.announced import Process
    from strongroom.agent.floor import Floor
    from strongroom.agent.protocol import Line
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind, Ref
    from strongroom.policy import Actor

    Name = tuple[Kind, str]

__all__ = ["Lending"]

_RETURN_SECONDS = 2.0  # for a client whose connection ended to make another, as `docs/protocol.md` has it
_BEGIN_SECONDS = 10.0  # for who read to follow, to begin to follow
_LOOK_SECONDS = 2.0  # between two looks whether a process lives
_LONGEST_SECONDS = 60.0  # between two looks at anything
_AGAIN_SECONDS = 10.0  # after a lease was revoked: what was being renewed then may have been lent anew
_MAX_HOLDERS = 256  # then those that have ended are forgotten


class _Lent(NamedTuple):
    """What is recorded of something lent."""

    backend: str
    version: str | None


class _Row:
    """Who has one name."""

    __slots__ = (
        "asking",
        "beginning",
        "followers",
        "holders",
        "is_due",
        "last",
        "lent",
        "task",
        "timer",
        "until",
    )

    def __init__(self) -> None:
        self.followers: dict[tuple[Line, Ref], Actor] = {}
        self.holders: set[Process] = set()
        self.until = 0.0
        self.beginning: dict[int, float] = {}  # until when which process is waited for to follow
        self.asking = 0
        self.is_due = False  # to be looked at once its task is done
        self.lent: dict[Ref, _Lent] = {}
        self.last: Actor | None = None  # who followed it
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.followers or self.holders or self.asking or self.lent or self.task)


class Lending:
    """
    What one agent was lent. Used on its loop alone.

    Args:
        floor: what all connections share.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._rows: dict[Name, _Row] = {}
        # Of those who were given something that was put together: nobody tells of what.
        self._whole = _Row()

    def __len__(self) -> int:
        return sum(1 for row in self._rows.values() if row.lent)

    # --- who has it ----------------------------------------------------------------------------------

    def follow(self, line: Line, ref: Ref) -> None:
        """Take note that *line* follows *ref*."""
        row = self._row(ref)
        row.followers[line, ref] = row.last = line.reader.actor
        if line.peer.pid > 0:  # else it may be another process
            row.beginning.pop(line.peer.pid, None)

    def leave(self, line: Line, ref: Ref, *, is_said: bool) -> None:
        """Take note that *line* follows *ref* no more: it said so, or it ended."""
        row = self._rows.get(ref[:2])
        if row is not None and row.followers.pop((line, ref), None) is not None:
            if not is_said:
                self._await(row, line.peer.pid, _RETURN_SECONDS)
            self._look(ref[:2])

    def asks(self, refs: Sequence[Ref]) -> Callable[[], None]:
        """Take note that *refs* are about to be read; give what is called when it is known to whom."""
        names = [ref[:2] for ref in refs if ref.kind == "connection"]
        for ref in refs:
            if ref.kind == "connection":
                self._row(ref).asking += 1
        return partial(self._answered, names)

    def _answered(self, names: Sequence[Name]) -> None:
        for name in names:
            self._rows[name].asking -= 1
            self._look(name)

    def given(self, line: Line, asked: Ref, entry: Entry, flags: int) -> None:
        """Take note that *line*, which asked for *asked* with *flags*, is given *entry*, which is lent."""
        now = self._floor.clock()
        if not self._floor.host.is_lent(asked, entry):
            self._hold(line, self._whole, None, self._fresh_for(asked, entry), now)
            return
        row = self._row(asked)
        row.lent[entry.ref] = _Lent(entry.backend, entry.version)
        if not flags & frames.FOLLOWED:
            self._hold(line, row, asked, self._fresh_for(asked, entry), now)
            return
        pid = line.peer.pid
        if pid <= 0 or not any(follower.peer.pid == pid for follower, _ in row.followers):
            row.last = line.reader.actor
            self._await(row, pid, _BEGIN_SECONDS)
            self._look(asked[:2])

    def _await(self, row: _Row, pid: int, seconds: float) -> None:
        """Take note that the process *pid* may follow within so many seconds."""
        row.beginning[pid] = max(row.beginning.get(pid, 0.0), self._floor.clock() + seconds)

    def _fresh_for(self, asked: Ref, entry: Entry) -> float:
        times = self._floor.host.cache.times(asked)
        if times is not None:
            return times[1]
        return 0.0 if entry.lifetime is None else entry.lifetime.total_seconds()

    def _hold(self, line: Line, row: _Row, ref: Ref | None, seconds: float, now: float) -> None:
        row.until = max(row.until, now + seconds)
        pid, proc = line.peer.pid, self._floor.announced.proc
        process = next(ancestors(pid, proc), None)
        if process is not None:
            row.holders.add(process)
            if len(row.holders) > _MAX_HOLDERS:
                self._forget_ended(row)
        elif not _has_ended(pid):
            self._floor.host.keep(None if ref is None else ref[:2])

    def _forget_ended(self, row: _Row) -> None:
        proc = self._floor.announced.proc
        row.holders = {each for each in row.holders if next(ancestors(each.pid, proc), None) == each}

    def _row(self, ref: Ref) -> _Row:
        row = self._rows.get(ref[:2])
        if row is None:
            row = self._rows[ref[:2]] = _Row()
        return row

    # --- whether anybody has it ----------------------------------------------------------------------

    def _look(self, name: Name) -> None:
        """Begin to give back *name* if nobody has it; look again when that may be so."""
        row = self._rows.get(name)
        if row is None or self._floor.is_draining:
            return
        if row.task is not None:
            row.is_due = True
            return
        if not row.lent or row.last is None:
            if row.is_empty:
                del self._rows[name]
            return
        wait = self._wait(name, row)
        if wait == 0.0:
            row.task = self._floor.loop.create_task(self._give_back(name, row))
        elif wait is not None:
            self._look_in(name, row, min(wait, _LONGEST_SECONDS))

    def _look_in(self, name: Name, row: _Row, seconds: float) -> None:
        at = self._floor.clock() + seconds
        if row.timer is not None and row.timer.when() <= at:
            return
        if row.timer is not None:
            row.timer.cancel()
        row.timer = self._floor.loop.call_at(at, self._timed, name, row)

    def _timed(self, name: Name, row: _Row) -> None:
        row.timer = None
        self._look(name)

    def _wait(self, name: Name, row: _Row) -> float | None:
        """Give for how long somebody has it at least; 0 for nobody, None while that must be told."""
        if row.followers or row.asking or self._floor.host.is_kept(name):
            return None
        now = self._floor.clock()
        row.beginning = {pid: until for pid, until in row.beginning.items() if until > now}
        wait = max(row.beginning.values(), default=now) - now
        for each in (row, self._whole):
            wait = max(wait, each.until - now)
            if wait <= 0.0 and each.holders:
                self._forget_ended(each)
                wait = _LOOK_SECONDS if each.holders else wait
        return max(wait, 0.0)

    # --- giving back ---------------------------------------------------------------------------------

    async def _give_back(self, name: Name, row: _Row) -> None:
        pauses: list[float] = []
        try:
            pauses += [await self._give_back_one(name, row, ref) for ref in list(row.lent)]
        except Exception as error:  # noqa: BLE001 -- the agent's loop goes on, and looks again
            self._floor.unexpected(error)
            pauses.append(_LONGEST_SECONDS)
        row.task = None
        if row.is_due or not any(pauses):
            row.is_due = False
            self._look(name)
        else:
            self._look_in(name, row, min(pause for pause in pauses if pause))

    async def _give_back_one(self, name: Name, row: _Row, ref: Ref) -> float:
        """Give back *ref* unless somebody has come meanwhile; give when to look again, in seconds, or 0."""
        host = self._floor.host
        try:
            revoke = await host.reading.bridge().run(lambda: host.withdraw(ref))
        except StrongroomError:  # it is just being renewed
            return PAUSES_SECONDS[1]
        if revoke is None:
            row.lent.pop(ref, None)
            return 0.0
        if self._wait(name, row) != 0.0:
            return 0.0
        lent, actor = row.lent[ref], row.last
        error = await self._revoked(revoke)
        if actor is not None:
            await self._record(actor, ref, lent, error)
        return _AGAIN_SECONDS

    async def _revoked(self, revoke: Callable[[], StrongroomError | None]) -> StrongroomError | None:
        """Revoke, several times where it must be, and give why it could not."""
        run = self._floor.host.reading.bridge().run
        error: StrongroomError | None = None
        for pause in (0.0, *PAUSES_SECONDS):
            await asyncio.sleep(pause)
            try:
                error = await run(revoke)
            except StrongroomError as trouble:
                error = trouble
            if error is None:
                break
        return error

    async def _record(self, actor: Actor, ref: Ref, lent: _Lent, error: StrongroomError | None) -> None:
        say, reason = self._floor.journal.say, "nobody has it any more"
        if error is not None:
            reason = error.code
            say(
                "what was lent could not be revoked, and ends by itself",
                level="warning",
                entry=str(ref),
                code=error.code,
                why=f"{error}" if error.hint is None else f"{error}: {error.hint}",
            )
        outcome = "done" if error is None else "failed"
        event = event_of(actor, Action.READ, ref, outcome, reason=reason, answer=lent)
        host = self._floor.host
        try:
            await host.reading.bridge().run(lambda: host.recorder.append(replace(event, action="give_back")))
        except StrongroomError as trouble:
            say("what was given back is not on record", level="error", code=trouble.code)

    def close(self) -> None:
        """Look no more: what is left is revoked with the backends."""
        for row in self._rows.values():
            if row.timer is not None:
                row.timer.cancel()
            if row.task is not None:
                row.task.cancel()


def _has_ended(pid: int) -> bool:
    """Tell whether there is no process *pid*, rather than one that cannot be seen."""
    if pid <= 0:
        return False
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    return False
