"""
`/changes`: what changes, as server-sent events.

Rules of this file:

1. Nothing is gathered for a listener: each is given what comes after the last event it was sent, read from
   the one table when it is ready for more. A slow one costs no memory, and hears of a gap if it is too slow.
2. A stream ends when the client goes, the server drains, or its credential is good no more (within 1 s).
3. An event `policy` tells what decides about the listener: first of all, when that changes, and every two
   seconds as a sign of life. It has no `id`, and who does not know it passes over it.
4. An event `test` asks an agent to test a connection (`/agents/tests` takes its answer). It has no `id`
   either, is told again in another stream until it is answered, and is told to that agent alone.
5. One actor may listen a bounded number of times at once.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import InvalidInputError
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.listening import LISTENING, is_good
from strongroom.server.reach import assignments_of
from strongroom.service.changes import Beat
from strongroom.service.trials import AGENT
from strongroom.wire.place import ChangeQuery, ChangeRow, PolicyNotice
from strongroom.wire.tested import TestNotice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from strongroom.server.endpoint import Call
    from strongroom.service.changes import Notice

__all__ = ["ENDPOINTS"]

_RETRY_MILLISECONDS = 2000
_BEATS = 2  # of `follow`, one a second, to one event of ours
_ID = re.compile(r"[A-Za-z0-9_=.-]{1,100}", re.ASCII)


def changes(call: Call) -> Answer:
    """
    Follow the changes the actor may see: events `change` and `gap`; `policy` tells what decides about him, at
    once when that is another, and every two seconds as a sign of life.
    """
    asked = call.asked(ChangeQuery)
    last = call.headers.get("last-event-id")
    if asked.after is not None and last is not None:
        raise InvalidInputError("after and Last-Event-ID say the same", hint="say one of them")
    after = asked.after if last is None else last
    if after is not None and not _ID.fullmatch(after):
        # It is said again in the stream, where a line break would begin another event.
        raise InvalidInputError("this is the id of no event", hint="leave it out to begin with what comes")
    # Refused at once, and not in the middle of a stream: who goes on from an event may see less by now.
    now = call.room.changes.now()
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Answer(_events(call, after or now), headers=headers, media_type="text/event-stream")


async def _events(call: Call, after: str) -> AsyncIterator[bytes]:
    with LISTENING.one((call.deployment, call.identity.actor.id)):
        # The first event says where to go on from, before anything has changed.
        yield f"retry: {_RETRY_MILLISECONDS}\nid: {after}\n: listening\n\n".encode()
        told, beats, asked = "", 0, set[str]()
        async for found in call.room.changes.follow(after, is_alive=is_good(call)):
            if not isinstance(found, Beat):
                yield _event(found)
                continue
            for event in _tests(call, asked):
                yield event
            beats += 1
            if found.revision != told or beats >= _BEATS:
                told, beats = found.revision, 0
                yield b"event: policy\ndata: %s\n\n" % msgspec.json.encode(PolicyNotice(revision=told))


def _tests(call: Call, asked: set[str]) -> Iterator[bytes]:
    """Give the tests that the agent who listens is asked for, and was not in this stream."""
    name = call.identity.actor.id
    if not name.startswith(AGENT):
        return
    for one in assignments_of(call.place).waiting(name.removeprefix(AGENT)):
        if one.id not in asked:
            asked.add(one.id)
            row = TestNotice(order=one.id, kind=one.ref.kind, name=one.ref.name, team=one.ref.team)
            yield b"event: test\ndata: %s\n\n" % msgspec.json.encode(row)


def _event(notice: Notice) -> bytes:
    if notice.ref is None:
        return f"event: gap\nid: {notice.id}\ndata: {{}}\n\n".encode()
    ref = notice.ref
    row = ChangeRow(kind=ref.kind, name=ref.name, team=ref.team, version=notice.version)
    # JSON has no bare line break, so one line of data holds it whole.
    return b"event: change\nid: %s\ndata: %s\n\n" % (notice.id.encode(), msgspec.json.encode(row))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/changes",
        changes,
        "Follow changes as they happen",
        "changes",
        asks=ChangeQuery,
        gives=ChangeRow,
        stream=True,
    ),
)
