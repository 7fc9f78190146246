"""
What one connection follows, and the notices it is sent.

Not for hearing of changes (`service/freshness.py`).

Rules of this file:

1. Nothing is followed for who may not read it, and nobody is told of what he may not read any more.
2. What is followed is looked up before that is answered, so that a change in between is told.
3. Of several changes of one entry only the last is told, and none while answers are not taken.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from strongroom.caller import frames
from strongroom.errors import InvalidInputError, StrongroomError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from strongroom.agent.floor import Floor
    from strongroom.agent.protocol import Line
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor
    from strongroom.service.reading import Reader

__all__ = ["MAX_FOLLOWED", "Following"]

MAX_FOLLOWED = 1000
"""Most entries that one connection follows."""


class Following:
    """
    What one connection follows.

    Args:
        line: the connection.
        floor: what all connections share.
    """

    __slots__ = ("_actors", "_floor", "_followed", "_line", "_notices", "_telling")

    def __init__(self, line: Line, floor: Floor) -> None:
        self._line = line
        self._floor = floor
        self._followed: dict[Ref, Callable[[], None]] = {}
        self._actors: dict[Ref, Actor] = {}  # who asked to follow, with the run he was in
        self._notices: dict[Ref, str | None] = {}
        self._telling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._followed)

    def begin(self, number: int, ref: Ref) -> None:
        """
        Follow *ref*; the answer to the question *number* comes later.

        Raises:
            InvalidInputError: too much is followed.
        """
        if ref not in self._followed:
            if len(self._followed) >= MAX_FOLLOWED:
                raise InvalidInputError(
                    f"a connection follows at most {MAX_FOLLOWED} entries", limit=MAX_FOLLOWED
                )
            self._followed[ref] = _not_yet
            self._actors[ref] = self._line.reader.actor
            if ref.kind == "connection":
                self._floor.lending.follow(self._line, ref)
        self._line.spawn(number, partial(self._begin, self._line.reader, number, ref))

    async def _begin(self, reader: Reader, number: int, ref: Ref) -> None:
        """Follow what may be read, and only then look: what changes between the two is told."""
        loop, noticed = self._floor.loop, self._noticed

        def wake(_ref: Ref, version: str | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(noticed, ref, version)

        is_new = self._followed.get(ref) is _not_yet
        try:
            if is_new:
                # What is followed is looked up, so that it may be is decided before.
                await self._looked(reader, ref)
            if self._followed.get(ref) is _not_yet:  # nobody has ended it meanwhile
                self._followed[ref] = self._floor.host.follow(ref, wake)
            entry = await self._looked(reader, ref)
        except StrongroomError:
            if is_new:
                self.leave(ref)
            raise
        version = None if entry is None else entry.version
        self._line.write(frames.frame(frames.FOLLOW | frames.ANSWER, number, frames.pack_version(version)))

    async def _looked(self, reader: Reader, ref: Ref) -> Entry | None:
        (answer,) = await self._line.answers(reader, (ref,), frames.FOLLOWED)
        if answer.error is not None:
            raise answer.error
        return answer.entry

    def leave(self, ref: Ref) -> None:
        """Follow *ref* no more."""
        self._actors.pop(ref, None)
        end = self._followed.pop(ref, None)
        if end is not None:
            end()
            self._floor.lending.leave(self._line, ref, is_said=True)

    def end(self) -> None:
        """Follow nothing any more, and tell of nothing."""
        followed = dict(self._followed)
        self._followed.clear()
        for ref, end in followed.items():
            end()
            self._floor.lending.leave(self._line, ref, is_said=False)
        if self._telling is not None:
            self._telling.cancel()

    # --- notices -------------------------------------------------------------------------------------

    def _noticed(self, ref: Ref, version: str | None) -> None:
        if ref in self._followed and not self._line.is_stopped:
            self._notices[ref] = version  # of several only the last matters
            self.tell()

    def tell(self) -> None:
        """Tell what is to be told, where it is taken."""
        if self._notices and not self._line.is_paused and self._telling is None:
            self._telling = self._floor.loop.create_task(self._notify())
            self._telling.add_done_callback(self._told)

    def _told(self, _task: asyncio.Task[None]) -> None:
        self._telling = None
        if not self._line.is_stopped:
            self.tell()

    async def _notify(self) -> None:
        """Tell of what changed, as far as it may be read now."""
        notices, self._notices = self._notices, {}
        notices = {ref: version for ref, version in notices.items() if ref in self._actors}
        host, actors = self._floor.host, [self._actors[ref] for ref in notices]
        try:
            may = await host.reading.bridge().run(
                lambda: [host.may_hear(actor, ref) for actor, ref in zip(actors, notices, strict=True)]
            )
        except StrongroomError:
            may = [None]
        told = [
            frames.pack_notice(ref.kind, ref.name, ref.team, version)
            for (ref, version), is_heard in zip(notices.items(), may, strict=False)
            if is_heard and ref in self._followed
        ]
        if None in may:  # it may be anything that is followed: that says nothing
            told.append(frames.pack_gap())
        self._line.write(b"".join(frames.frame(frames.NOTICE, 0, payload) for payload in told))


def _not_yet() -> None:
    """End what is to be followed once it is known that it may be read."""
