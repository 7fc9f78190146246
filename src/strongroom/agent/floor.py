"""
What all connections of one agent share: how many there may be, what each is waited for, and the end.

Not for what is said on one (`protocol.py`).

Rules of this file:

1. At the bound of connections, of all or of one user, the one that was quiet for longest makes room; where
   none was quiet for a minute, the new one is refused. So a program that forgets its connections locks out
   nobody, and whoever opens many of them his own at most.
2. Time is kept only of what is waited for: an agent that nobody keeps waiting has no timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from strongroom.agent.announced import Announced
from strongroom.agent.lending import Lending
from strongroom.agent.verifying import Verifying
from strongroom.caller import frames
from strongroom.service.journal import where
from strongroom.wire.failure import OverloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from strongroom.agent.answers import Answers
    from strongroom.agent.protocol import Line
    from strongroom.errors import StrongroomError
    from strongroom.service.host import Host
    from strongroom.service.journal import Journal

__all__ = ["Bounds", "Floor", "Peer"]

_MAX_UNREAD_BYTES = 67_108_864  # 64 MiB waiting to be taken by all connections together
_SWEEP_SECONDS = 1.0
_TURN_SECONDS = 60.0  # answers are kept ready for so long


class Peer(NamedTuple):
    """
    Who opened a connection, as the kernel said then.

    Args:
        pid: only a hint: it may be another process by now.
        is_admin: the agent's own user, or root.
        gids: all groups the process had.
    """

    pid: int
    uid: int
    gid: int
    is_admin: bool
    gids: tuple[int, ...] = ()


class Bounds(NamedTuple):
    """
    How many connections there may be, and how long each is waited for.

    Args:
        most: connections at once.
        most_of_one: of these, by one user.
        receipt_seconds: for the first frame, and for one that began.
        unread_seconds: for an answer to be taken.
        quiet_seconds: then a connection may have to make room for a new one.
    """

    most: int = 8000
    most_of_one: int = 4000
    receipt_seconds: float = 10.0
    unread_seconds: float = 30.0
    quiet_seconds: float = 60.0


class Floor:
    """
    What all connections share.

    Args:
        admit: tells who opened a connection, or refuses: raises one of our errors.
        admin: does an order of an administrator.
        journal: its log.
        version: of strongroom, which clients are told.
        bounds: of connections.

    Attributes:
        clock: of the loop.
        lines: every open connection.
        announced: which runs their supervisors announced.
        verifying: which of these are verified.
        lending: who has what is lent.
        is_draining: nothing new is taken.
    """

    def __init__(  # noqa: PLR0913 -- what connections share
        self,
        host: Host,
        answers: Answers,
        *,
        admit: Callable[[asyncio.BaseTransport], Peer],
        admin: Callable[[Peer, Mapping[str, object]], Coroutine[None, None, Mapping[str, object]]],
        journal: Journal,
        version: str,
        bounds: Bounds | None = None,
    ) -> None:
        self.host = host
        self.answers = answers
        self.admit = admit
        self.admin = admin
        self.journal = journal
        self.bounds = bounds or Bounds()
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.time
        self.hello = frames.pack_hello(version)
        self.announced = Announced()
        self.verifying = Verifying(self)
        self.lending = Lending(self)
        self.lines: dict[Line, None] = {}
        self.of_user: dict[int, int] = {}
        self.served = 0
        self.closed: dict[str, int] = {}
        self.is_draining = False
        self._due: dict[Line, None] = {}
        self._unread: dict[Line, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._turning: asyncio.TimerHandle | None = None

    # --- who is in -----------------------------------------------------------------------------------

    def enter(self, line: Line, peer: Peer) -> StrongroomError | None:
        """Let *line* of *peer* in, or give why not."""
        if self.is_draining:
            return OverloadError("this agent is stopping")
        if self.of_user.get(peer.uid, 0) >= self.bounds.most_of_one and not self._make_room(peer.uid):
            return _full(
                f"the user {peer.uid} has {self.bounds.most_of_one} connections", "agent.max_of_one_user"
            )
        if len(self.lines) >= self.bounds.most and not self._make_room(None):
            return _full(f"this agent has {self.bounds.most} connections", "agent.max_connections")
        self.lines[line] = None
        self.of_user[peer.uid] = self.of_user.get(peer.uid, 0) + 1
        self.journal.say("connected", level="debug", user=peer.uid, pid=peer.pid)
        return None

    def _make_room(self, uid: int | None) -> bool:
        """Close the connection that was quiet for longest, of *uid* or of who has most."""
        if uid is None:
            uid = max(self.of_user, key=lambda each: self.of_user[each])
        before = self.clock() - self.bounds.quiet_seconds
        quiet = [line for line in self.lines if line.peer.uid == uid and line.is_quiet(before)]
        if not quiet:
            return False
        self.count("room")
        min(quiet, key=lambda line: line.seen).end()
        return True

    def leave(self, line: Line) -> None:
        """Forget a connection that ended."""
        self._due.pop(line, None)
        self._unread.pop(line, None)
        if line in self.lines:
            del self.lines[line]
            left = self.of_user[line.peer.uid] - 1
            if left:
                self.of_user[line.peer.uid] = left
            else:
                del self.of_user[line.peer.uid]
            self.served += line.reads
            peer = line.peer
            self.journal.say(
                "ended a connection", level="debug", user=peer.uid, pid=peer.pid, reads=line.reads
            )

    def count(self, reason: str) -> None:
        """Count a connection that is ended from this side."""
        self.closed[reason] = self.closed.get(reason, 0) + 1

    def renew(self) -> None:
        """Have every connection read by the readers the host has now, and end that of who may not connect."""
        self.answers.remembered.forget()
        for line in list(self.lines):
            if self.host.may_connect(line.peer.uid, line.peer.gids):
                line.renew()
            else:
                self.count("unwelcome")
                line.dismiss()

    # --- time ----------------------------------------------------------------------------------------

    def expect(self, line: Line, seconds: float) -> None:
        """Have *line* ended unless it is told `satisfied` within *seconds*."""
        line.ends_at = self.clock() + seconds
        self._due[line] = None
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def satisfied(self, line: Line) -> None:
        """What was expected of *line* came."""
        self._due.pop(line, None)
        self._unread.pop(line, None)

    def read(self, line: Line) -> None:
        """What *line* took slower than it came is taken."""
        self._unread.pop(line, None)

    def unexpected(self, error: Exception) -> None:
        """Tell the log what nobody expected: the class and the places, nothing of what variables held."""
        self.journal.say(
            "a question failed in an unexpected way",
            level="error",
            error=type(error).__name__,
            where=where(error),
        )

    def unread(self, line: Line) -> None:
        """Note that *line* takes its answers slower than they come."""
        self._unread[line] = None
        self.expect(line, self.bounds.unread_seconds)
        if sum(each.waiting_bytes for each in self._unread) > _MAX_UNREAD_BYTES:
            largest = max(self._unread, key=lambda each: each.waiting_bytes)
            self.count("unread")
            largest.end()

    def _sweep(self) -> None:
        self._sweeping = None
        now = self.clock()
        for line in [line for line in self._due if line.ends_at <= now]:
            line.expire()
        if self._due:  # nothing wakes an agent that nobody keeps waiting
            self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def keep_turning(self) -> None:
        """See to it that answers which were kept are let go of."""
        if self._turning is None:
            self._turning = self.loop.call_later(_TURN_SECONDS, self._turn)

    def _turn(self) -> None:
        self._turning = None  # the next one that is kept asks for another turn
        self.answers.remembered.forget()

    # --- the end -------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Take nothing new, let what is under way be answered for at most *seconds*, then close."""
        self.is_draining = True
        self.verifying.close()
        self.lending.close()
        lines = list(self.lines)
        for line in lines:
            line.stop()
        tasks = [task for line in lines for task in line.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        until = self.clock() + seconds
        while any(line.is_busy for line in lines) and self.clock() < until:  # noqa: ASYNC110 -- as below
            await asyncio.sleep(0.01)
        for line in lines:
            line.finish()
        until = self.clock() + min(1.0, seconds)
        while self.lines and self.clock() < until:  # noqa: ASYNC110 -- each closes by itself
            await asyncio.sleep(0.01)
        for line in list(self.lines):
            line.end()
        for timer in (self._sweeping, self._turning):
            if timer is not None:
                timer.cancel()


def _full(what: str, key: str) -> StrongroomError:
    return OverloadError(f"{what}, and all are in use ({key})")
