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
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec
from msgspec.structs import astuple

from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.principal import AGENT
from strongroom.server.endpoint import MAX_BATCH, Call, Endpoint
from strongroom.server.proof import require_proof
from strongroom.service.answers import Answers, as_run
from strongroom.wire.entry import ReadAnswer, ReadRequest
from strongroom.wire.failure import TooLargeError, answer_of
from strongroom.wire.head import new_id
from strongroom.wire.strict import check_keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from strongroom.policy import Actor
    from strongroom.server.limits import Bucket, Buckets
    from strongroom.server.metrics import Metrics
    from strongroom.server.request import App, Message, Receive, Scope, Send
    from strongroom.service.house import Deployment
    from strongroom.service.reading import Reader
    from strongroom.wire.entry import Name, RunClaim
    from strongroom.wire.failure import ErrorAnswer

__all__ = ["Hot", "Reads", "endpoint"]

_DECODER = msgspec.json.Decoder(ReadRequest)
_ENCODE = msgspec.json.Encoder().encode
_MAX_CALLERS = 4096
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


class Caller(NamedTuple):
    """
    One actor as its requests come in, for one run or for none.

    Args:
        actor: as `access` keeps it.
        bucket: its allowance, in Refs.
    """

    actor: Actor
    reader: Reader
    bucket: Bucket


class Reads(Answers):
    """
    The reads of one deployment over HTTP.

    Args:
        limits: the allowance of each identity, in Refs.
    """

    def __init__(self, deployment: Deployment, metrics: Metrics, limits: Buckets) -> None:
        super().__init__(deployment.cache.times)
        self.deployment = deployment
        self._metrics = metrics
        self._limits = limits
        self._callers: dict[object, Caller] = {}

    def caller(self, actor: Actor, run: RunClaim | None) -> Caller:
        """Give the reader of *actor* and its allowance, for the run the request claims to be of."""
        # By identity, which `access` keeps for a credential: comparing actors costs more than the read.
        key = id(actor) if run is None else (id(actor), astuple(run))
        held = self._callers.get(key)
        if held is not None and held.actor is actor:
            return held
        reader = self.deployment.reading.reader(actor if run is None else as_run(actor, run))
        if len(self._callers) >= _MAX_CALLERS:
            self._callers.clear()
        made = self._callers[key] = Caller(actor, reader, self._limits.of((self.deployment.name, actor.id)))
        return made

    def take(self, actor: Actor, count: int) -> None:
        """Take *count* Refs from the allowance of *actor*. Raises RateLimitedError."""
        self._limits.take((self.deployment.name, actor.id), count)

    def counted(self, outcome: str, backend: str, name: Name) -> None:
        self._metrics.reads[self.deployment.name, outcome, backend] += 1
        if self._metrics.with_names and outcome == "found":
            self._metrics.named(self.deployment.name, name.kind, name.name)


def endpoint(reads: Callable[[str], Reads]) -> Endpoint:
    """Give the endpoint of the ordinary way."""

    def handle(call: Call) -> ReadAnswer:
        request = call.take(ReadRequest)
        if len(request.refs) > MAX_BATCH:
            raise TooLargeError(f"a batch has at most {MAX_BATCH} names", limit=MAX_BATCH)
        if "authorization" not in call.headers:
            require_proof(call)  # a browser is a person's screen: this would show what a reveal shows
        found = reads(call.deployment)
        actor = call.identity.actor
        found.take(actor, len(request.refs))
        reader = found.caller(actor, request.run).reader
        as_stored = request.as_stored and actor.id.startswith(AGENT)
        return ReadAnswer(results=call.await_(found.answers(reader, request.refs, as_stored=as_stored)))

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
        on_end: told of every read that was answered here: its status, and the seconds it took.
        on_trouble: told of what nobody expected.

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
        on_end: Callable[[int, float], None],
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self._inner = inner
        self._places = dict(places)
        self._is_ours = is_ours
        self._headers = tuple(headers)
        self.timed = on_end
        self._on_trouble = on_trouble
        self.paths = {place.encode() for place in places}
        self.head = b"".join(b"%b: %b\r\n" % header for header in self._headers)

    def serve(self, places: Iterable[str], reads: Reads | None) -> None:
        """Answer reads at *places* with *reads* from now on; with None, let others answer there."""
        for place in places:
            if reads is None:
                self.paths.discard(place.encode())
                self._places.pop(place, None)
            else:
                self._places[place] = reads
                self.paths.add(place.encode())

    def wants(self, method: str, path: str) -> bool:
        """Tell whether a request may be answered here."""
        return method == "POST" and path in self._places

    def attempt(self, scope: Scope, body: bytes, token: str | None = None) -> bytes | Awaitable[bytes] | None:
        """
        Give the body of the answer where one value is asked for and everything is at hand, without waiting
        for anything; else what gives it later, or raises one of our errors. None: this is no plain request.

        Args:
            scope: the request, as ASGI has it.
            body: of it.
            token: what `token_of` gave for these very headers; looked for if unsaid.
        """
        try:
            asked = self._asked(scope, body, token)
        except Exception as error:  # noqa: BLE001 -- the last resort, as in `guard.py`
            self._on_trouble(error)
            return None
        if asked is None:
            return None
        reads, reader, names = asked
        if len(names) == 1:
            found = reads.at_hand(reader, names[0])
            if found is not None:
                return _ENCODE(ReadAnswer(results=[found]))
        return _later(reads, reader, names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.wants(scope["method"], scope["path"]):
            await self._inner(scope, receive, send)
            return
        started = time.monotonic()
        messages, body = await _received(receive)
        answer = None if body is None else self.attempt(scope, body)
        if answer is None:
            await self._inner(scope, _again(messages, receive), send)
            return
        status, more = 200, cast("tuple[tuple[bytes, bytes], ...]", ())
        try:
            data = answer if isinstance(answer, bytes) else await answer
        except Exception as error:  # noqa: BLE001 -- the last resort, as in `guard.py`
            status, data, more = self._refusal(error)
        headers = [
            *self._headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(data)).encode()),
            (b"x-request-id", new_id().encode()),
            *more,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})
        self.timed(status, time.monotonic() - started)

    def failed(self, error: Exception) -> tuple[int, bytes, bytes]:
        """Give status, body and further headers, as they are sent, of a read that *error* ended."""
        status, body, headers = self._refusal(error)
        return status, body, b"".join(b"%b: %b\r\n" % header for header in headers)

    def _refusal(self, error: Exception) -> ErrorAnswer:
        if not isinstance(error, StrongroomError):
            self._on_trouble(error)
            error = StrongroomError("the server could not answer this request", hint="its log tells more")
        return answer_of(error)

    def _asked(self, scope: Scope, body: bytes, token: str | None) -> tuple[Reads, Reader, list[Name]] | None:
        """Give who asks for what, where that is plain to see and may be answered."""
        if token is None:
            token = None if scope["query_string"] else self.token_of(scope["headers"])
        if token is None or len(body) > _MAX_INLINE_BYTES:
            return None
        reads = self._places.get(scope["path"])
        if reads is None:  # sealed a moment ago
            return None
        client = scope["client"]
        try:
            request = _DECODER.decode(body)
            source = client[0] if client else ""
            actor = reads.deployment.access.authenticate(token, source=source, waits=False).actor
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, StrongroomError):
            return None
        names = request.refs
        # What an agent keeps comes rarely, and costs more to shape.
        if request.as_stored or len(names) > MAX_BATCH or not _is_plain(request, body):
            return None
        caller = reads.caller(actor, request.run)
        return None if caller.bucket.wait(len(names)) else (reads, caller.reader, names)

    def token_of(self, given: Sequence[tuple[bytes, bytes]]) -> str | None:
        """Give the token of a request that has nothing but what a program sends, each once."""
        headers = dict(given)
        if len(headers) != len(given) or not headers.keys() <= _PLAIN:
            return None
        credential = headers.get(b"authorization", b"")
        if credential[:7] != _BEARER or headers.get(b"content-type") not in _JSON:
            return None
        if not self._is_ours(headers.get(b"host", b"")):
            return None
        return credential[7:].decode("latin-1")


async def _later(reads: Reads, reader: Reader, names: Sequence[Name]) -> bytes:
    return _ENCODE(ReadAnswer(results=await reads.answers(reader, names)))


def _is_plain(request: ReadRequest, body: bytes) -> bool:
    """
    Tell whether *body* has as many colons as *request* has members: then no key is in it twice. Where a
    name has a colon, or a member says null, it is looked at the ordinary way.
    """
    count = 1
    for name in request.refs:
        count += 2 + (name.team is not None) + (name.version is not None)
    if request.run is not None:
        count += 1 + sum(value is not None for value in astuple(request.run))
    if body.count(b":") == count:
        return True
    try:
        check_keys(body)
    except InvalidInputError:
        return False
    return True


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
