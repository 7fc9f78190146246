"""
`POST /v1/read`: the path every task takes, as one ASGI callable in front of everything else.

Token, decision, use and value are at hand for nearly every request, so it is answered on the loop
without a route, a thread or a task. What is not at hand is awaited; what is unusual (a cookie, a wrong
token, a proxy, a body that is no request) goes the ordinary way, which answers the same.

Rules of this file:

1. Nothing is allowed here that the ordinary way refuses: it does less, never else.
2. A value leaves when its use is on record (`service/reading.py`), here as there.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.policy import Assurance, Run
from strongroom.server.endpoint import MAX_BATCH, Call, Endpoint, check_keys
from strongroom.server.errors import TooLargeError, members_of
from strongroom.server.request import new_id
from strongroom.wire.entry import ReadAnswer, ReadRequest, ReadResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.model.entry import Entry
    from strongroom.policy import Actor
    from strongroom.server.limits import Buckets
    from strongroom.server.metrics import Metrics
    from strongroom.server.request import App, Message, Receive, Scope, Send
    from strongroom.service.house import Deployment
    from strongroom.service.reading import Answer, Reader
    from strongroom.wire.entry import Name, RunClaim

__all__ = ["Hot", "Reads", "endpoint"]

_DECODER = msgspec.json.Decoder(ReadRequest)
_ENCODE = msgspec.json.Encoder().encode
_MAX_READERS = 4096
# What a request of a program has; anything else is looked at the ordinary way.
_PLAIN = frozenset(
    {
        b"host",
        b"authorization",
        b"content-type",
        b"content-length",
        b"accept",
        b"accept-encoding",
        b"user-agent",
        b"connection",
    }
)
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8"})
_BEARER = b"Bearer "
_MAX_INLINE_BYTES = 65_536  # of a body; decoding a larger one holds the loop for longer than a thread costs


class Reads:
    """
    The reads of one deployment over HTTP.

    Args:
        limits: the allowance of each identity, in Refs.
    """

    def __init__(self, deployment: Deployment, metrics: Metrics, limits: Buckets) -> None:
        self.deployment = deployment
        self._metrics = metrics
        self._limits = limits
        self._readers: dict[object, tuple[Actor, Reader]] = {}

    def reader(self, actor: Actor, run: RunClaim | None) -> Reader:
        """Give the reader of *actor*, for the run the request claims to be of."""
        # By identity, which `access` keeps for a credential: comparing actors costs more than the read.
        key = id(actor) if run is None else (id(actor), msgspec.structs.astuple(run))
        held = self._readers.get(key)
        if held is not None and held[0] is actor:
            return held[1]
        who = actor if run is None else _as_run(actor, run)
        found = self.deployment.reading.reader(who)
        if len(self._readers) >= _MAX_READERS:
            self._readers.clear()
        self._readers[key] = (actor, found)
        return found

    def take(self, actor: Actor, count: int) -> None:
        """Take *count* Refs from the allowance of *actor*. Raises RateLimitedError."""
        self._limits.take((self.deployment.name, actor.id), count)

    def may_take(self, actor: Actor, count: int) -> bool:
        """Take *count* Refs from the allowance of *actor*, or nothing where it has not as many."""
        return self._limits.may_take((self.deployment.name, actor.id), count)

    async def answers(self, reader: Reader, names: Sequence[Name]) -> list[ReadResult]:
        """
        Read *names*; each has an outcome of its own.

        Raises:
            NotRecordedError: the uses cannot be recorded; nothing is given.
        """
        results: list[ReadResult | None] = [None] * len(names)
        refs: list[Ref] = []
        places: list[int] = []
        for index, name in enumerate(names):
            try:
                refs.append(Ref(name.kind, name.name, name.team))
                places.append(index)
            except InvalidInputError as error:
                results[index] = self._refused(name, error, "invalid")
        found = await reader.aread_many(refs)
        for index, answer in zip(places, found, strict=True):
            results[index] = self._told(names[index], answer)
        return [result for result in results if result is not None]

    def result(self, name: Name, entry: Entry) -> ReadResult:
        """Give the answer to *name*, which *entry* is."""
        times = self.deployment.cache.times((name.kind, name.name, name.team))
        age, ttl = (
            (None, None) if times is None else (int(times[0] * 1000) / 1000, int(times[1] * 1000) / 1000)
        )
        self._count("found", entry.backend, name)
        return ReadResult(
            kind=name.kind,
            name=name.name,
            outcome="found",
            team=name.team,
            value=entry.secret.reveal(),
            version=entry.version,
            backend=entry.backend,
            age=age,
            ttl=ttl,
            is_stale=entry.is_stale,
        )

    def _told(self, name: Name, answer: Answer) -> ReadResult:
        if answer.error is not None:
            return self._refused(name, answer.error, answer.outcome)
        entry = answer.entry
        if entry is None or (name.version is not None and name.version != entry.version):
            self._count("absent", "", name)
            return ReadResult(kind=name.kind, name=name.name, team=name.team, outcome="absent")
        return self.result(name, entry)

    def _refused(self, name: Name, error: StrongroomError, outcome: str) -> ReadResult:
        self._count(outcome, "", name)
        return msgspec.convert(
            {
                "kind": name.kind,
                "name": name.name,
                "team": name.team,
                "outcome": outcome,
                "error": members_of(error),
            },
            ReadResult,
        )

    def _count(self, outcome: str, backend: str, name: Name) -> None:
        self._metrics.reads[self.deployment.name, outcome, backend] += 1
        if self._metrics.with_names and outcome == "found":
            self._metrics.named(self.deployment.name, name.kind, name.name)


def endpoint(reads: Callable[[str], Reads]) -> Endpoint:
    """Give the endpoint of the ordinary way."""

    def handle(call: Call) -> ReadAnswer:
        request = call.take(ReadRequest)
        if len(request.refs) > MAX_BATCH:
            raise TooLargeError(f"a batch has at most {MAX_BATCH} names", limit=MAX_BATCH)
        found = reads(call.deployment)
        actor = call.identity.actor
        found.take(actor, len(request.refs))
        return ReadAnswer(results=call.await_(found.answers(found.reader(actor, request.run), request.refs)))

    return Endpoint(
        "POST",
        "/read",
        handle,
        "Read up to 1,000 values; each has an outcome of its own",
        "read",
        takes=ReadRequest,
        gives=ReadAnswer,
        cost=0.0,
    )


class Hot:
    """
    Answer reads, hand everything else to *inner*.

    Args:
        inner: the layers that answer everything.
        places: where reads are asked for, by path.
        is_ours: whether a Host header is one this server answers for.
        headers: on every answer.
        on_end: told of every read that was answered here, with the seconds it took.

    Attributes:
        paths: where reads are asked for, as they stand in a request.
        head: the headers as they are sent.
        timed: as *on_end*.
    """

    def __init__(
        self,
        inner: App,
        places: Mapping[str, Reads],
        *,
        is_ours: Callable[[bytes], bool],
        headers: Sequence[tuple[bytes, bytes]],
        on_end: Callable[[float], None],
    ) -> None:
        self._inner = inner
        self._places = places
        self._is_ours = is_ours
        self._headers = tuple(headers)
        self.timed = on_end
        self.paths = frozenset(place.encode() for place in places)
        self.head = b"".join(b"%b: %b\r\n" % header for header in self._headers)

    def wants(self, method: str, path: str) -> bool:
        """Tell whether a request may be answered here."""
        return method == "POST" and path in self._places

    def attempt(self, scope: Scope, body: bytes) -> bytes | None:
        """
        Give the body of the answer where one value is asked for and everything is at hand, without waiting
        for anything; None: call this as an application.
        """
        asked = self._asked(scope, body)
        if asked is None:
            return None
        reads, actor, request = asked
        names = request.refs
        if len(names) != 1 or names[0].version is not None:
            return None
        name = names[0]
        reader = reads.reader(actor, request.run)
        if not reads.may_take(actor, 1):
            return None
        entry = reader.peek((name.kind, name.name, name.team))
        return None if entry is None else _ENCODE(ReadAnswer(results=[reads.result(name, entry)]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.wants(scope["method"], scope["path"]):
            await self._inner(scope, receive, send)
            return
        started = time.monotonic()
        messages, body = await _received(receive)
        answer = None if body is None else await self._answer(scope, body)
        if answer is None:
            await self._inner(scope, _again(messages, receive), send)
            return
        headers = [
            *self._headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
            (b"x-request-id", new_id().encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        self.timed(time.monotonic() - started)

    async def _answer(self, scope: Scope, body: bytes) -> bytes | None:
        asked = self._asked(scope, body)
        if asked is None:
            return None
        reads, actor, request = asked
        if len(request.refs) > MAX_BATCH or not reads.may_take(actor, len(request.refs)):
            return None
        try:
            results = await reads.answers(reads.reader(actor, request.run), request.refs)
        except StrongroomError:
            return None  # nothing was given; the ordinary way tells why, or succeeds
        return _ENCODE(ReadAnswer(results=results))

    def _asked(self, scope: Scope, body: bytes) -> tuple[Reads, Actor, ReadRequest] | None:
        """Give who asks for what, where that is plain to see."""
        token = self._token(scope)
        if token is None or len(body) > _MAX_INLINE_BYTES:
            return None
        reads = self._places[scope["path"]]
        client = scope["client"]
        try:
            request = _DECODER.decode(body)
            actor = reads.deployment.access.authenticate(token, source=client[0] if client else "").actor
        except (msgspec.MsgspecError, RecursionError, StrongroomError):
            return None
        return (reads, actor, request) if _is_plain(request, body) else None

    def _token(self, scope: Scope) -> str | None:
        """Give the token of a request that has nothing but what a program sends, each once."""
        if scope["query_string"]:
            return None
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not headers.keys() <= _PLAIN:
            return None
        given = headers.get(b"authorization", b"")
        if given[:7] != _BEARER or headers.get(b"content-type") not in _JSON:
            return None
        if not self._is_ours(headers.get(b"host", b"")):
            return None
        return given[7:].decode("latin-1")


def _is_plain(request: ReadRequest, body: bytes) -> bool:
    """
    Tell whether *body* has as many colons as *request* has members: then no key is in it twice. Where a
    name has a colon, or a member says null, it is looked at the ordinary way.
    """
    count = 1
    for name in request.refs:
        count += 2 + (name.team is not None) + (name.version is not None)
    if request.run is not None:
        count += 1 + sum(value is not None for value in msgspec.structs.astuple(request.run))
    if body.count(b":") == count:
        return True
    try:
        check_keys(body)
    except InvalidInputError:
        return False
    return True


def _as_run(actor: Actor, run: RunClaim) -> Actor:
    claimed = Run(
        Assurance.CLAIMED, run.dag_id, run.task_id, run.run_id, run.map_index, run.try_number, run.bundle
    )
    return replace(actor, run=claimed)


async def _received(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Give what came, and the body where it is whole and small."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, None
        size += len(message["body"])
        if not message.get("more_body", False):
            return messages, b"".join(part["body"] for part in messages)
        if size > _MAX_INLINE_BYTES:
            return messages, None


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Give what gives *messages* once more, and then what comes after them."""
    waiting = iter(messages)

    async def once_more() -> Message:
        found = next(waiting, None)
        return found if found is not None else await receive()

    return once_more
