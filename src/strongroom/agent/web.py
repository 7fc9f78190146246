"""
What the agent answers over HTTP: the server's read routes, for languages that have no client of ours.

Not for connections (`http.py`) nor for what a read is (`service/reading.py`).

Rules of this file:

1. Paths, shapes and errors are those of `/v1` of a server; nothing is written here.
2. Who asks is told by the connection, never by the request. What a request says of its run is a claim.
3. Whatever goes wrong ends in the one shape of an error; what nobody expected says nothing of itself.
4. Nothing waits on the loop: what is not at hand is looked for beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from strongroom.agent.changes import Changes, follow_of
from strongroom.errors import InvalidInputError, NotAuthenticatedError, NotFoundError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.service.answers import Answers, as_run, run_of
from strongroom.wire.access import WhoAmI
from strongroom.wire.entry import ReadAnswer, ReadRequest, TeamQuery
from strongroom.wire.explain import explained
from strongroom.wire.failure import MethodError, TooLargeError, answer_of
from strongroom.wire.head import decoded_path, parsed_query
from strongroom.wire.shape import MAX_BATCH
from strongroom.wire.strict import check_media, read_json, read_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from strongroom.agent.announced import Process
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.policy import Actor, Run
    from strongroom.service.host import Host
    from strongroom.service.reading import Reader
    from strongroom.wire.entry import Name, ReadResult, RunClaim

__all__ = ["Asked", "Caller", "Reply", "Routes"]

_HINT = "docs/agent-http.md shows what is taken"
_JSON = b"application/json"
_CHALLENGE = b'X-Strongroom-Token realm="strongroom"'
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_EVENTS = b"text/event-stream"
_ENCODE = msgspec.json.Encoder().encode
_KINDS = ("connection", "variable", "config")
_MAX_PATH_BYTES = 4096


class Caller(NamedTuple):
    """
    Who stands at the other end of a connection.

    Args:
        actor: as policies and records name him.
        how: the kernel told the `user`, or a `token` was sent.
        uid: the user; None where nobody told.
        is_welcome: whether he may still be answered.
        run: what was announced for him; it goes before what a request says.
        above: the process that announced it.
    """

    actor: Actor
    how: Literal["user", "token"]
    uid: int | None
    is_welcome: Callable[[], bool]
    run: Run | None = None
    above: Process | None = None


class Asked(NamedTuple):
    """
    One request, whole.

    Args:
        target: path and query as they came.
        headers: names in lower case.
        caller: None for nobody, who may ask how the agent is and nothing else.
    """

    method: str
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    caller: Caller | None

    def __repr__(self) -> str:
        # Neither headers, one of which is a token, nor a body: a debugger prints it.
        return f"Asked(method={self.method!r})"


class Reply(NamedTuple):
    """
    What is answered.

    Args:
        body: whole, or parts that come as they are.
        headers: names in lower case.
    """

    status: int
    body: bytes | AsyncIterator[bytes]
    media_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"Reply(status={self.status})"


class Routes:
    """
    Answers requests.

    Args:
        host: what is served.
        is_ready: whether to send requests; False while the agent is told to stop.
        figures: what the agent counts, in the form Prometheus reads.
        on_trouble: told of what nobody expected.

    Attributes:
        changes: what is told to those who follow.
    """

    def __init__(
        self,
        host: Host,
        *,
        is_ready: Callable[[], bool],
        figures: Callable[[], str],
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self._host = host
        self._is_ready = is_ready
        self._figures = figures
        self._on_trouble = on_trouble
        self._reads = _Reads(host)
        self.changes = Changes(host)
        self._table: dict[str, tuple[str, Callable[[Asked, Caller], Reply | Awaitable[Reply]]]] = {
            "/v1/read": ("POST", self._read),
            "/v1/whoami": ("GET", self._whoami),
            "/v1/changes": ("GET", self._changes),
            "/metrics": ("GET", self._metrics),
        }

    @property
    def reads(self) -> Mapping[str, int]:
        """How many names were read over HTTP, by outcome."""
        return self._reads.counts

    def answer(self, asked: Asked) -> Reply | Awaitable[Reply]:
        """Give what is answered, now or later; never raises, and neither does what comes later."""
        try:
            found = self._answer(asked)
        except Exception as error:  # noqa: BLE001 -- the last resort of the agent
            return self._refusal(error)
        return found if isinstance(found, Reply) else self._later(found)

    async def _later(self, reply: Awaitable[Reply]) -> Reply:
        try:
            return await reply
        except Exception as error:  # noqa: BLE001 -- as above
            return self._refusal(error)

    def _refusal(self, error: Exception) -> Reply:
        if not isinstance(error, StrongroomError):
            self._on_trouble(error)
            error = StrongroomError("the agent could not answer this request", hint="its log tells more")
        status, body, headers = answer_of(error)
        kept = [header for header in headers if header[0] != b"www-authenticate"]
        if len(kept) < len(headers):
            kept.append((b"www-authenticate", _CHALLENGE))
        return Reply(status, body, headers=tuple(kept))

    # --- routes ------------------------------------------------------------------------------------

    def _answer(self, asked: Asked) -> Reply | Awaitable[Reply]:
        raw, _, query = asked.target.partition(b"?")
        if len(asked.target) > _MAX_PATH_BYTES:
            raise TooLargeError("the address is too long", limit=_MAX_PATH_BYTES)
        path = decoded_path(raw) if b"%" in raw else raw.decode("ascii")
        if path in ("/health/live", "/health/ready"):
            _check_method(asked, "GET")
            _check_bare(asked, query)
            return self._health(path)
        if asked.caller is None:
            raise NotAuthenticatedError("the header X-Strongroom-Token is missing or wrong", hint=_HINT)
        if path.startswith("/v1/explain/"):
            _check_method(asked, "GET")
            _check_bare(asked, b"")
            return self._explain(asked.caller, path, query)
        method, handler = self._table.get(path, ("", _nothing))
        if not method:
            raise NotFoundError("there is nothing at this address", hint=_HINT)
        _check_method(asked, method)
        if method == "GET":
            _check_bare(asked, b"" if path == "/v1/changes" else query)
        elif query:
            raise InvalidInputError("this takes no parameters in the query")
        return handler(asked, asked.caller)

    def _health(self, path: str) -> Reply:
        if path == "/health/live":
            return _json({"status": "live"})
        if self._is_ready():
            return _json({"status": "ready"})
        return _json({"status": "not ready"}, 503)

    def _metrics(self, _asked: Asked, _caller: Caller) -> Reply:
        return Reply(200, self._figures().encode(), _TEXT)

    def _whoami(self, _asked: Asked, caller: Caller) -> Reply:
        actor = caller.actor
        return _json(
            WhoAmI(
                deployment=self._host.deployment,
                actor=actor.id,
                how=caller.how,
                assurance=int(actor.assurance),
                level=actor.assurance.level,
                roles=[],
                scope=None,
                expires_at=None,
            )
        )

    # --- reading -----------------------------------------------------------------------------------

    def _read(self, asked: Asked, caller: Caller) -> Reply | Awaitable[Reply]:
        check_media(asked.headers.get(b"content-type", b"").decode("latin-1"))
        request = read_json(asked.body, ReadRequest, hint=_HINT)
        if len(request.refs) > MAX_BATCH:
            raise TooLargeError(f"a batch has at most {MAX_BATCH} names", limit=MAX_BATCH)
        reader = self._reader(caller, request.run)
        if len(request.refs) == 1:
            found = self._reads.at_hand(reader, request.refs[0])
            if found is not None:
                return _json(ReadAnswer(results=[found]))
        for name in request.refs:  # nobody tells when its reader has it no more
            if name.kind == "connection":
                self._host.keep((name.kind, name.name))
        return self._read_later(reader, request)

    async def _read_later(self, reader: Reader, request: ReadRequest) -> Reply:
        return _json(ReadAnswer(results=await self._reads.answers(reader, request.refs)))

    def _reader(self, caller: Caller, run: RunClaim | None) -> Reader:
        if caller.uid is not None:
            return self._host.reader(caller.uid, caller.run or (None if run is None else run_of(run)))
        return self._host.reading.reader(caller.actor if run is None else as_run(caller.actor, run))

    # --- why ---------------------------------------------------------------------------------------

    async def _explain(self, caller: Caller, path: str, query: bytes) -> Reply:
        kind, _, name = path.removeprefix("/v1/explain/").partition("/")
        if kind not in _KINDS:
            raise NotFoundError("there is no such kind of entry", hint=f"one of {', '.join(_KINDS)}")
        asked = read_query(parsed_query(query), TeamQuery)
        ref = Ref(kind, name, asked.team)  # type: ignore[arg-type]  # one of the three
        bridge = self._host.reading.bridge()
        told = await bridge.run(lambda: self._host.explain_as(caller.actor, ref))
        return _json(explained(told))

    # --- changes -----------------------------------------------------------------------------------

    def _changes(self, asked: Asked, caller: Caller) -> Reply:
        raw = asked.target.partition(b"?")[2]
        last = asked.headers.get(b"last-event-id")
        following = follow_of(parsed_query(raw), None if last is None else last.decode("latin-1"))
        return Reply(200, self.changes.events(caller.actor, following, caller.is_welcome), _EVENTS)


class _Reads(Answers):
    """The reads over HTTP, counted by outcome."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.cache.times)
        self._host = host
        self.counts = dict.fromkeys(("found", "absent", "denied", "unavailable", "invalid"), 0)

    def counted(self, outcome: str, backend: str, name: Name) -> None:  # noqa: ARG002 -- no label names an entry
        self.counts[outcome] += 1

    def _found(self, name: Name, key: tuple[Kind, str, str | None], entry: Entry) -> ReadResult:
        if entry.is_lent:
            asked = Ref(name.kind, name.name, name.team)
            self._host.keep(asked[:2] if self._host.is_lent(asked, entry) else None)
        return super()._found(name, key, entry)


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, _ENCODE(value))


def _nothing(_asked: Asked, _caller: Caller) -> Reply:
    raise NotFoundError("there is nothing at this address", hint=_HINT)


def _check_method(asked: Asked, method: str) -> None:
    allowed = ("GET", "HEAD") if method == "GET" else (method,)
    if asked.method not in allowed:
        raise MethodError(allowed)


def _check_bare(asked: Asked, query: bytes) -> None:
    if query:
        raise InvalidInputError("this takes no parameters in the query")
    if asked.body:
        raise InvalidInputError("this takes no body")
