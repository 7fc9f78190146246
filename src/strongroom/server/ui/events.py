"""
`/events`: what changes, as a page follows it: names and versions, never content.

Rules of this file:

1. Changes that come together are told together, so that a page asks once for what it shows.
2. A page that stands open is no use of its session: the stream ends with it.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.listening import LISTENING, is_good
from strongroom.service.changes import Beat, Notice

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]

_RETRY_MILLISECONDS = 3000
_GATHER_SECONDS = 0.25
_MOST_AT_ONCE = 200
_BEATS = 15  # of `follow`, one a second, to one sign of life of ours
_MAX_ID = 100  # characters


def events(call: Call) -> Answer:
    """Follow what changes of what the reader may see."""
    last = call.headers.get("last-event-id", "")
    if len(last) > _MAX_ID or not all(one.isalnum() or one in "_=.-" for one in last):
        raise InvalidInputError("this is the id of no event")
    now = call.room.changes.now()
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Answer(_told(call, last or now), headers=headers, media_type="text/event-stream")


async def _told(call: Call, after: str) -> AsyncIterator[bytes]:
    with LISTENING.one((call.deployment, call.identity.actor.id)):
        yield f"retry: {_RETRY_MILLISECONDS}\nid: {after}\n: listening\n\n".encode()
        follow = call.room.changes.follow(after, is_alive=is_good(call, is_use=False))
        async with aclosing(_gathered(follow)) as batches:
            async for batch in batches:
                yield _event(batch) if batch else b": here\n\n"


async def _gathered(follow: AsyncIterator[Notice | Beat]) -> AsyncGenerator[list[Notice], None]:
    """Give notices in batches, and an empty one now and then where there are none."""
    batch: list[Notice] = []
    coming: asyncio.Future[Notice | Beat | None] = asyncio.ensure_future(_next(follow))
    beats = 0
    try:
        while True:
            await asyncio.wait({coming}, timeout=_GATHER_SECONDS if batch else None)
            if not coming.done() or len(batch) >= _MOST_AT_ONCE:
                yield batch
                batch = []
                continue
            found = coming.result()
            if found is None:
                return
            coming = asyncio.ensure_future(_next(follow))
            if isinstance(found, Notice):
                batch.append(found)
            elif not batch:
                beats += 1
                if beats % _BEATS == 0:
                    yield []
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, StrongroomError):
            await coming


async def _next(follow: AsyncIterator[Notice | Beat]) -> Notice | Beat | None:
    return await anext(follow, None)


def _event(batch: list[Notice]) -> bytes:
    changes = [
        {"kind": one.ref.kind, "name": one.ref.name, "team": one.ref.team, "version": one.version}
        for one in batch
        if one.ref is not None
    ]
    told = {"changes": changes, "all": any(one.is_gap for one in batch)}
    # JSON has no bare line break, so one line of data holds it whole.
    return b"event: changed\nid: %s\ndata: %s\n\n" % (batch[-1].id.encode(), msgspec.json.encode(told))


ENDPOINTS = (Endpoint("GET", "/events", events, "Follow what changes", "page", stream=True),)
