"""
`GET /v1/changes` of the agent: what changes, as server-sent events.

Without names a stream tells what the agent hears of from its server and its stores. With names (`?ref=`) it
tells of each whenever another entry is served for it, wherever that comes from.

Rules of this file:

1. Nobody is told of what he may not read; who cannot be asked about is told of a gap, which says nothing.
   Neither do ids: where one is left out nobody sees it. What he may not read is not followed for him either.
2. Nothing is gathered for a listener but one bounded line for all. Who comes back too late hears of a gap.
3. A stream ends when its reader goes, when he is not welcome any more, and with the agent.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter, deque
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from strongroom.errors import InvalidInputError, RateLimitedError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.wire.place import ChangeRow, FollowQuery
from strongroom.wire.strict import read_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from strongroom.policy import Actor
    from strongroom.service.host import Host

__all__ = ["Changes", "Following", "follow_of"]

_RETRY_MILLISECONDS = 2000
_HEARTBEAT_SECONDS = 10
_LOOK_SECONDS = 1.0  # between two looks whether the reader is welcome still
_MAX_KEPT = 1024  # changes that a stream may come back to
_MAX_OF_ONE_ACTOR = 20
_MAX_NAMES = 100  # followed by one stream
_NONCE_BYTES = _NUMBER_BYTES = 8
_ID = re.compile(r"([0-9a-f]{12})-([0-9a-f]{16})([0-9a-f]{16})", re.ASCII)


class Following(NamedTuple):
    """
    What one stream tells of.

    Args:
        after: the id of the last event its reader has seen; None to begin with what comes.
        refs: of these alone; empty for all that is heard of.
    """

    after: str | None
    refs: tuple[Ref, ...]


class _News(NamedTuple):
    """One change; no Ref: changes may have been missed."""

    number: int
    ref: Ref | None
    version: str | None


def follow_of(query: Mapping[str, Sequence[str]], last: str | None) -> Following:
    """
    Read what is to be followed from the *query* and the header `Last-Event-ID`.

    Raises:
        InvalidInputError: one of them is wrong.
    """
    asked = read_query(query, FollowQuery)
    if asked.after is not None and last is not None:
        raise InvalidInputError("after and Last-Event-ID say the same", hint="say one of them")
    after = asked.after if last is None else last
    if after is not None and not _ID.fullmatch(after):
        raise InvalidInputError("this is the id of no event", hint="leave it out to begin with what comes")
    if len(asked.ref) > _MAX_NAMES:
        raise InvalidInputError(f"a stream follows at most {_MAX_NAMES} names", limit=_MAX_NAMES)
    return Following(after, tuple(_ref(text, asked.team) for text in asked.ref))


def _ref(text: str, team: str | None) -> Ref:
    kind, mark, name = text.partition("/")
    if not mark or kind not in ("connection", "variable", "config"):
        raise InvalidInputError("ref is a kind and a name", hint="ref=variable/region")
    return Ref(kind, name, team)  # type: ignore[arg-type]  # one of the three


class Changes:
    """
    The streams of one agent.

    Threads: for the loop alone, but for what the host calls.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._begun = secrets.token_hex(6)
        self._key = secrets.token_bytes(32)
        self._number = 0
        self._kept: deque[_News] = deque(maxlen=_MAX_KEPT)
        self._waiting: set[asyncio.Event] = set()
        self._counts: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], None] | None = None

    # --- what is heard -----------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen."""
        self._loop = loop
        self._end = self._host.freshness.listen(self._heard)

    def close(self) -> None:
        """End every stream. Safe to call twice."""
        end, self._end = self._end, None
        self._loop = None
        if end is not None:
            end()
        self._wake()

    def _heard(self, refs: Mapping[Ref, str | None] | None) -> None:
        """Hear of changes on a thread of the host; None: some may have been missed."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._keep, refs)

    def _keep(self, refs: Mapping[Ref, str | None] | None) -> None:
        if not self._waiting:  # nobody listens; who comes back hears of a gap
            self._number += 1
            self._kept.clear()
            return
        for ref, version in [(None, None)] if refs is None else refs.items():
            self._number += 1
            self._kept.append(_News(self._number, ref, version))
        self._wake()

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    # --- one stream --------------------------------------------------------------------------------

    def events(
        self, actor: Actor, following: Following, is_welcome: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """
        Give the stream of *actor*, as it is sent, until he is not welcome any more.

        Raises:
            RateLimitedError: he has too many.
        """
        if self._counts[actor.id] >= _MAX_OF_ONE_ACTOR:
            raise RateLimitedError(
                f"one identity may follow changes {_MAX_OF_ONE_ACTOR} times at once",
                retry_after=timedelta(seconds=10),
            )
        return (
            self._named(actor, following, is_welcome)
            if following.refs
            else self._all(actor, following, is_welcome)
        )

    async def _all(
        self, actor: Actor, following: Following, is_welcome: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        changed = asyncio.Event()
        with _Listening(self._waiting, self._counts, changed, actor.id):
            seen, is_gap = self._from(following.after)
            yield self._hello(seen)
            if is_gap:
                yield self._gap(self._number)
                seen = self._number
            async for _ in self._looks(changed, is_welcome):
                news = [one for one in self._kept if one.number > seen]
                if news:
                    seen = news[-1].number
                    for part in await self._told(actor, news):
                        yield part
                elif _ == _HEARTBEAT_SECONDS:
                    yield b": still here\n\n"

    async def _named(
        self, actor: Actor, following: Following, is_welcome: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        changed = asyncio.Event()
        names = _Names(self._host, following.refs, changed)
        with _Listening(self._waiting, self._counts, changed, actor.id), names:
            names.follow(await self._may_hear(actor, names.hidden))
            yield self._hello(self._number)
            if following.after is not None:  # what changed meanwhile nobody followed
                yield self._gap(self._number)
            async for silent in self._looks(changed, is_welcome):
                if names.hidden and silent and names.follow(await self._may_hear(actor, names.hidden)):
                    yield self._gap(self._number)  # he may read it now, and may have looked before
                found = [_News(self._number, ref, version) for ref, version in names.take()]
                for part in await self._told(actor, found):
                    yield part
                if not found and silent == _HEARTBEAT_SECONDS:
                    yield b": still here\n\n"

    async def _looks(self, changed: asyncio.Event, is_welcome: Callable[[], bool]) -> AsyncIterator[int]:
        """Give a look for every change, and one a second without: how many of these it is."""
        silent = 0
        while self._loop is not None and is_welcome():
            try:
                await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
                changed.clear()
                silent = 0
            except asyncio.TimeoutError:
                silent = silent % _HEARTBEAT_SECONDS + 1
            yield silent

    def _from(self, after: str | None) -> tuple[int, bool]:
        """Give the number to go on from, and whether something was missed since *after*."""
        found = None if after is None else _ID.fullmatch(after)
        if found is None:
            return self._number, after is not None
        number = self._masked(bytes.fromhex(found[2]), int(found[3], 16))
        oldest = self._kept[0].number if self._kept else self._number + 1
        is_known = found[1] == self._begun and oldest - 1 <= number <= self._number
        return (number, False) if is_known else (self._number, True)

    async def _told(self, actor: Actor, news: Sequence[_News]) -> list[bytes]:
        if not news:
            return []
        may = await self._may_hear(actor, {one.ref for one in news if one.ref is not None})
        told = []
        for number, ref, version in news:
            is_heard = None if ref is None else may[ref]
            if ref is None or is_heard is None:
                told.append(self._gap(number))
            elif is_heard:
                told.append(self._change(number, ref, version))
        return told

    async def _may_hear(self, actor: Actor, refs: Collection[Ref]) -> Mapping[Ref, bool | None]:
        """Tell of each whether *actor* may be told of it; None where nobody can decide."""
        host, asked = self._host, tuple(refs)
        try:
            return await host.reading.bridge().run(lambda: {ref: host.may_hear(actor, ref) for ref in asked})
        except StrongroomError:
            return dict.fromkeys(asked)

    # --- as it is sent -----------------------------------------------------------------------------

    def _id(self, number: int) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        masked = self._masked(nonce, number).to_bytes(_NUMBER_BYTES, "big")
        return f"{self._begun}-{nonce.hex()}{masked.hex()}".encode()

    def _masked(self, nonce: bytes, number: int) -> int:
        mask = blake2b(nonce, key=self._key, digest_size=_NUMBER_BYTES).digest()
        return number ^ int.from_bytes(mask, "big")

    def _hello(self, number: int) -> bytes:
        # The first event says where to go on from, before anything has changed.
        return b"retry: %d\nid: %b\n: listening\n\n" % (_RETRY_MILLISECONDS, self._id(number))

    def _gap(self, number: int) -> bytes:
        return b"event: gap\nid: %b\ndata: {}\n\n" % self._id(number)

    def _change(self, number: int, ref: Ref, version: str | None) -> bytes:
        row = ChangeRow(kind=ref.kind, name=ref.name, team=ref.team, version=version)
        # JSON has no bare line break, so one line of data holds it whole.
        return b"event: change\nid: %b\ndata: %b\n\n" % (self._id(number), msgspec.json.encode(row))


class _Listening:
    """Counts a stream of one actor while it lasts."""

    def __init__(
        self, waiting: set[asyncio.Event], counts: Counter[str], changed: asyncio.Event, who: str
    ) -> None:
        self._waiting = waiting
        self._counts = counts
        self._changed = changed
        self._who = who

    def __enter__(self) -> None:
        self._waiting.add(self._changed)
        self._counts[self._who] += 1

    def __exit__(self, *_details: object) -> None:
        self._waiting.discard(self._changed)
        self._counts[self._who] -= 1
        if not self._counts[self._who]:
            del self._counts[self._who]


class _Names:
    """
    The names one stream follows. What is followed is looked up, so whether it may be read is decided before.

    Attributes:
        hidden: what is not followed, as its reader may not read it yet.
    """

    def __init__(self, host: Host, refs: Sequence[Ref], changed: asyncio.Event) -> None:
        self._host = host
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._news: dict[Ref, str | None] = {}
        self._ends: list[Callable[[], None]] = []
        self.hidden = set(refs)

    def follow(self, may: Mapping[Ref, bool | None]) -> bool:
        """Follow what *may* be told of; tell whether there is any."""
        found = [ref for ref in self.hidden if may[ref]]
        self.hidden.difference_update(found)
        self._ends += [self._host.follow(ref, self._wake) for ref in found]
        return bool(found)

    def take(self) -> list[tuple[Ref, str | None]]:
        """Give what changed since it was last taken."""
        news, self._news = self._news, {}
        return list(news.items())

    def _wake(self, ref: Ref, version: str | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._keep, ref, version)

    def _keep(self, ref: Ref, version: str | None) -> None:
        self._news[ref] = version
        self._changed.set()

    def __enter__(self) -> _Names:
        return self

    def __exit__(self, *_details: object) -> None:
        for end in self._ends:
            end()
