"""
From a request on a route to its handler and back: everything an endpoint need not do itself.

In this order: who asks, whether that method is there, how much they may ask, the body, whether changes
are let through, whether this very request was answered already, the handler, the answer.

Rules of this file:

1. A route that is not public answers 401 to whoever is unknown, whatever method was used.
2. A body is read after the identity is known, and counted while it is read.
3. Blocking work, the handler's and the encoding's, is done on a thread.
4. While the database of who may gives no answer, a person's session goes on for a bounded time to look at
   pages, and nothing else is let through. An API answers 503 at once: programs wait, or have an agent.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    StrongroomError,
)
from strongroom.policy import Action
from strongroom.server.auth import (
    browser_of,
    check_origin,
    check_same_site,
    cookie_name,
    credential_of,
    identify,
)
from strongroom.server.endpoint import MAX_BODY_BYTES, Answer, Call, Endpoint
from strongroom.server.form import CSRF, CSRF_HEADER, check_token, read_form
from strongroom.server.guard import send_error
from strongroom.server.limits import network_of
from strongroom.server.proof import PROOF, PROOF_CODE, prove, require_proof
from strongroom.server.request import CERTIFICATE, request_of
from strongroom.service.access.gate import refused
from strongroom.service.access.workload import is_signed
from strongroom.service.guard import event_of, undecided
from strongroom.wire.failure import (
    ErrorAnswer,
    MethodError,
    ReadOnlyModeError,
    TooLargeError,
    headers_of,
    status_of,
)
from strongroom.wire.head import parsed_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.server.auth import Credential
    from strongroom.server.idempotency import Repeats
    from strongroom.server.limits import Buckets
    from strongroom.server.request import Receive, Request, Scope, Send
    from strongroom.server.threads import Threads
    from strongroom.server.tls import Shown
    from strongroom.service.access import Access, Identity
    from strongroom.service.house import House

    ErrorShape = Callable[[StrongroomError, str], Answer]
    PageShape = Callable[[Call, StrongroomError], Answer]

__all__ = ["BY_ITSELF", "Desk", "Resource", "read_body"]

_MAX_STRANGERS_BODY_BYTES = 65_536  # of who has no identity yet: a login
_MAX_DIGITS = 10  # of a length: more than any body of ours has
_READS = ("GET", "HEAD")
BY_ITSELF = "x-by-itself"
"""The header of what a page asks by itself: nobody uses the session by it."""
# What a request that never reached its handler would have been, as a record names it.
_ACTIONS = {
    "GET": Action.LIST,
    "POST": Action.WRITE,
    "PUT": Action.WRITE,
    "PATCH": Action.WRITE,
    "DELETE": Action.DELETE,
}


class Desk(NamedTuple):
    """
    What every endpoint of a server shares.

    Args:
        house: the deployments.
        threads: where handlers run.
        identities: the allowance of each identity.
        strangers: of each source that nobody is known from.
        paths: of each identity on a route that has a limit of its own, by template.
        repeats: answers of changes that may be asked for again.
        closing: set when the server drains: streams end.
    """

    house: House
    threads: Threads
    identities: Buckets
    strangers: Buckets
    paths: Mapping[str, Buckets]
    repeats: Repeats
    closing: asyncio.Event


class Resource:
    """
    All methods on one path.

    Args:
        endpoints: one a method.
        template: the path with its prefix.
        errors: gives an error in the shape of this API; ours if None.
        allows_basic: whether HTTP Basic is taken here.
        pages: gives an error as a page, for what a browser shows.
    """

    def __init__(
        self,
        desk: Desk,
        endpoints: Iterable[Endpoint],
        *,
        template: str,
        errors: ErrorShape | None = None,
        allows_basic: bool = False,
        pages: PageShape | None = None,
    ) -> None:
        self._desk = desk
        self._endpoints = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._endpoints:
            self._endpoints.setdefault("HEAD", self._endpoints["GET"])
        self._template = template
        self._errors = errors
        self._allows_basic = allows_basic
        self._pages = pages
        self._is_public = all(endpoint.is_public for endpoint in self._endpoints.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        request.template = self._template
        try:
            call = _call(self._desk.house, scope, request)
            if self._pages is not None:
                request.shape = partial(_page_of, self._pages, call)
            await self._answer(call, scope, receive, send)
        except StrongroomError as error:
            if self._errors is None or request.status:
                raise
            request.failed(error)
            await send_error(send, _shaped(error, self._errors(error, request.id)))

    async def _answer(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        endpoint = self._endpoints.get(scope["method"])
        self._check_open(endpoint, call, request)
        is_public = self._is_public if endpoint is None else endpoint.is_public
        try:
            is_session = await self._identify(call, request, endpoint, is_public=is_public)
        except (NotAuthenticatedError, BackendUnavailableError):
            if endpoint is not None and endpoint.takes_form:
                await self._keep(call, receive)
            raise
        if endpoint is None:
            raise MethodError(sorted(self._endpoints))
        try:
            self._limit(endpoint, call, request)
            self._check_let_through(endpoint, call, is_session=is_session)
        except StrongroomError as error:
            if endpoint.takes_form and call.has_identity:
                await self._keep(call, receive)
            if isinstance(error, AccessDeniedError):
                await self._record(endpoint, call, error)
            raise
        if endpoint.method not in _READS:
            most = MAX_BODY_BYTES if call.has_identity else _MAX_STRANGERS_BODY_BYTES
            call.body = await read_body(receive, call.headers, most=most)
        if endpoint.takes_form:
            await self._take_form(endpoint, call, is_session=is_session)
        answer, body = await self._handled(endpoint, call)
        if call.cookies:
            answer = answer._replace(cookies=(*call.cookies, *answer.cookies))
        await self._send(answer, body, scope, receive, send)

    def _check_open(self, endpoint: Endpoint | None, call: Call, request: Request) -> None:
        """Refuse what is asked of a sealed deployment, where nobody can be known."""
        refusal = self._desk.house.seals.refusal(call.deployment)
        if refusal is not None and (endpoint is None or not endpoint.when_sealed):
            self._desk.strangers.take(network_of(request.source))
            raise refusal

    # --- who asks, and how much ------------------------------------------------------------------

    async def _identify(
        self, call: Call, request: Request, endpoint: Endpoint | None, *, is_public: bool
    ) -> bool:
        """Find who asks; True where it came with a cookie."""
        if call.deployment in self._desk.house.seals.names:
            return False
        name = cookie_name(call.deployment, self._desk.house.first, is_secure=request.is_secure)
        call.browser = browser_of(call.headers, is_secure=request.is_secure)
        try:
            credential = credential_of(call.headers, name, allows_basic=self._allows_basic)
            access = _access(self._desk.house, call.deployment)
            is_use = credential.kind != "cookie" or BY_ITSELF not in call.headers
            if self._pages is None or credential.kind != "cookie":
                identity = await self._proven(access, credential, request.source, is_use=is_use)
            else:
                asks = endpoint is None or not _only_looks(endpoint)
                identity = await self._recognised(
                    access, credential, request.source, is_use=is_use, asks=asks
                )
        except BackendUnavailableError:
            if not is_public or self._pages is None:
                raise
            return False  # what is shown to anybody needs nobody to be known
        except NotAuthenticatedError:
            if not is_public:
                self._desk.strangers.take(network_of(request.source))
                raise
            if call.deployment not in self._desk.house.names:
                raise
            return False
        call.identify(identity)
        request.actor = identity.actor.id
        if credential.kind == "cookie":
            call.session = credential.text
        return credential.kind == "cookie"

    async def _proven(self, access: Access, credential: Credential, source: str, *, is_use: bool) -> Identity:
        # A password takes long to check, whoever signed a token may have to be asked for his keys, and a
        # store of which it is not known that it is silent is waited for.
        if credential.kind != "basic" and not is_signed(credential.text) and access.is_prompt:
            return identify(access, credential, source=source, is_use=is_use)
        return await self._desk.threads.run(
            lambda: identify(access, credential, source=source, is_use=is_use)
        )

    async def _recognised(
        self, access: Access, credential: Credential, source: str, *, is_use: bool, asks: bool
    ) -> Identity:
        """Give who looks at a page, or sends a form."""
        if is_signed(credential.text):
            return await self._proven(access, credential, source, is_use=is_use)
        if access.is_fresh:
            with suppress(BackendUnavailableError):  # not any more
                return identify(access, credential, source=source, is_use=is_use)
        return await self._desk.threads.run(
            lambda: access.recognise(credential.text, source=source, is_use=is_use, asks=asks)
        )

    def _check_let_through(self, endpoint: Endpoint, call: Call, *, is_session: bool) -> None:
        self._check_origin(endpoint, call, is_session=is_session)
        if call.has_identity and call.identity.actor.as_of is not None and not _only_looks(endpoint):
            raise undecided()
        if endpoint.needs_proof and not endpoint.takes_form:
            require_proof(call)
        if endpoint.is_change and self._desk.house.mode.read_only:
            raise ReadOnlyModeError("the server is in read-only mode", reason="read-only mode")

    async def _record(self, endpoint: Endpoint, call: Call, error: AccessDeniedError) -> None:
        """Put on record that somebody known was refused; of what he asked for, only the route."""
        if not call.has_identity:
            return
        reason = f"{error.code}: {endpoint.method} {self._template}"
        event = event_of(call.identity.actor, _ACTIONS[endpoint.method], None, "denied", reason=reason)
        await self._desk.threads.run(lambda: call.place.guard.recorder.append(event))

    def _check_origin(self, endpoint: Endpoint, call: Call, *, is_session: bool) -> None:
        host = call.headers.get("host", "")
        if is_session or (endpoint.takes_form and not call.has_identity):
            check_same_site(
                endpoint.method,
                call.headers,
                host=host,
                is_secure=call.is_secure,
                takes_form=endpoint.takes_form,
            )
        elif not call.has_identity and endpoint.method not in _READS:
            check_origin(call.headers, host=host, is_secure=call.is_secure)

    # --- forms -----------------------------------------------------------------------------------

    async def _keep(self, call: Call, receive: Receive) -> None:
        """
        Read what somebody typed whose session ended, or that is not taken now, so that the page that says so
        has it still. What came from another site, or is no form, is not kept.
        """
        host = call.headers.get("host", "")
        with suppress(AccessDeniedError, InvalidInputError):
            check_same_site(call.method, call.headers, host=host, is_secure=call.is_secure, takes_form=True)
            most = MAX_BODY_BYTES if call.has_identity else _MAX_STRANGERS_BODY_BYTES
            body = await read_body(receive, call.headers, most=most)
            call.form = read_form(body, call.headers.get("content-type", ""))

    async def _take_form(self, endpoint: Endpoint, call: Call, *, is_session: bool) -> None:
        """Read a form and prove that it came from a page of this session, before anything is done with it."""

        def take() -> None:
            call.form = read_form(call.body, call.headers.get("content-type", ""))
            if is_session or not call.has_identity:
                actors = {call.identity.actor.id if call.has_identity else ""}
                if endpoint.is_public:  # a page that was made before somebody signed in, or after he was out
                    actors.add("")
                check_token((call.headers.get(CSRF_HEADER, ""), *call.form.all(CSRF)), call.browser, actors)
            has_proof = PROOF in call.form or PROOF_CODE in call.form
            if endpoint.needs_proof or (has_proof and call.has_identity):
                prove(call, anew=has_proof)

        try:
            await self._desk.threads.run(take)
        except AccessDeniedError as error:
            await self._record(endpoint, call, error)
            raise

    def _limit(self, endpoint: Endpoint, call: Call, request: Request) -> None:
        if not call.has_identity:
            self._desk.strangers.take(network_of(request.source), endpoint.cost)
            return
        who = (call.deployment, request.actor)
        self._desk.identities.take(who, endpoint.cost)
        bucket = self._desk.paths.get(self._template)
        if bucket is not None:
            bucket.take(who)

    # --- the handler -----------------------------------------------------------------------------

    async def _handled(self, endpoint: Endpoint, call: Call) -> tuple[Answer, bytes | None]:
        """Give the answer and its body as bytes; None for a stream."""
        loop = asyncio.get_running_loop()
        call.aside = self._desk.threads.run
        call.await_ = lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()

        def work() -> tuple[Answer, bytes | None]:
            if endpoint.asks is None and call.query and self._template:
                raise InvalidInputError("this takes no parameters in the query")
            answer = _answer_of(endpoint, endpoint.handler(call))
            return answer, _encoded(answer)

        if not endpoint.is_change or "idempotency-key" not in call.headers or not call.has_identity:
            return await self._desk.threads.run(work)
        return await self._desk.threads.run(lambda: self._desk.repeats.once(endpoint, call, work))

    # --- the answer ------------------------------------------------------------------------------

    async def _send(
        self, answer: Answer, body: bytes | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = _answer_headers(answer)
        status = answer.status
        if status == 200 and scope["method"] in _READS and _is_unchanged(scope, answer):  # noqa: PLR2004 -- HTTP
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body"})
            return
        if body is None:
            await self._stream(answer, headers, scope, receive, send)
            return
        if status not in (204, 304):
            headers.append((b"content-length", str(len(body)).encode()))
        if body:
            headers.append((b"content-type", answer.media_type.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(
        self,
        answer: Answer,
        headers: list[tuple[bytes, bytes]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        chunks = _Chunks(answer.value, self._desk)
        try:
            # Before anything is sent: what fails at once has a status of its own.
            first = None if scope["method"] == "HEAD" else await chunks.next()
            headers.append((b"content-type", answer.media_type.encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            gone = asyncio.create_task(_until_gone(receive))
            try:
                while first is not None and not gone.done():
                    await send({"type": "http.response.body", "body": first, "more_body": True})
                    first = await chunks.next(gone)
            finally:
                gone.cancel()
            await send({"type": "http.response.body"})
        finally:
            await chunks.close()


class _Chunks:
    """A stream, asked for one chunk after the other; it ends when nobody waits any more."""

    def __init__(self, source: Any, desk: Desk) -> None:  # noqa: ANN401 -- either kind of iterator
        self._source = source
        self._desk = desk
        self._is_async = isinstance(source, AsyncIterator)
        # A step goes on when nobody waits for it any more, and what runs cannot be closed.
        self._stepping = threading.Lock()

    async def next(self, gone: asyncio.Task[None] | None = None) -> bytes | None:
        """Give the next chunk; None at the end, when the client is *gone* or the server drains."""
        step = asyncio.ensure_future(self._step())
        closing = asyncio.ensure_future(self._desk.closing.wait())
        waits = {step, closing} if gone is None else {step, closing, gone}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return step.result() if step.done() else None
        finally:
            closing.cancel()
            if not step.done():
                step.cancel()
                with suppress(asyncio.CancelledError, StrongroomError):
                    await step

    async def _step(self) -> bytes | None:
        if self._is_async:
            return await anext(self._source, None)
        return await self._desk.threads.run(self._step_here)

    def _step_here(self) -> bytes | None:
        with self._stepping:
            found: bytes | None = next(self._source, None)
            return found

    async def close(self) -> None:
        with suppress(StrongroomError):
            if self._is_async:
                end = getattr(self._source, "aclose", None)
                if end is not None:
                    await end()
            else:
                await self._desk.threads.run(self._close_here)

    def _close_here(self) -> None:
        end = getattr(self._source, "close", None)
        with self._stepping:
            if end is not None:
                end()


def _only_looks(endpoint: Endpoint) -> bool:
    """Tell whether *endpoint* shows a page, and does nothing else."""
    does = endpoint.is_change or endpoint.needs_proof or endpoint.stream
    return endpoint.is_public or (endpoint.method in _READS and not does)


async def read_body(receive: Receive, headers: Mapping[str, str], *, most: int = MAX_BODY_BYTES) -> bytes:
    """
    Read a body of at most *most* bytes, counting.

    Raises:
        TooLargeError: it is over the limit; the rest is not read.
        InvalidInputError: it ended before its length.
    """
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise InvalidInputError("the length of the body is no number")
    if len(length) > _MAX_DIGITS or int(length) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInputError("the connection ended before the body was complete")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"the body has more than {most} bytes", limit=most)


def _call(house: House, scope: Scope, request: Request) -> Call:
    params = dict(scope.get("path_params", {}))
    deployment = params.pop("deployment", house.first)
    return Call(
        house=house,
        deployment=deployment,
        params=params,
        query=parsed_query(scope["query_string"]),
        headers=_headers(scope["headers"]),
        request_id=request.id,
        source=request.source,
        is_secure=request.is_secure,
        certificate=_certificate(scope),
        method=scope["method"],
        path=_path_below(scope["path"], deployment, is_named="deployment" in scope.get("path_params", {})),
    )


def _path_below(path: str, deployment: str, *, is_named: bool) -> str:
    return path.removeprefix(f"/d/{deployment}") or "/" if is_named else path


def _page_of(pages: PageShape, call: Call, error: StrongroomError) -> ErrorAnswer:
    answer = pages(call, error)
    return _shaped(error, answer._replace(cookies=(*call.cookies, *answer.cookies)))


def _certificate(scope: Scope) -> tuple[str, ...]:
    """Give the names of the TLS client certificate a request came with, if that has not ended meanwhile."""
    shown: Shown | None = scope.get("state", {}).get(CERTIFICATE)
    return () if shown is None or time.time() >= shown.ends else shown.names


def _access(house: House, deployment: str) -> Access:
    try:
        return house.deployment(deployment).access
    except NotFoundError:
        pass
    # Whether there is such a deployment is nobody's business who has no identity in it: as a wrong token.
    raise refused()


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _answer_of(endpoint: Endpoint, given: object) -> Answer:
    answer = given if isinstance(given, Answer) else Answer(given)
    return answer if answer.status else answer._replace(status=endpoint.status)


def _encoded(answer: Answer) -> bytes | None:
    if answer.value is None:
        return b""
    if isinstance(answer.value, bytes):
        return answer.value
    if isinstance(answer.value, Iterator | AsyncIterator):
        return None
    return msgspec.json.encode(answer.value)


def _answer_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = []
    for name, value in answer.headers.items():
        if not value.isprintable():
            raise ValueError("a header of an answer has a line break")  # a fault of ours: 500
        headers.append((name.lower().encode("ascii"), value.encode("latin-1", "replace")))
    headers += [(b"set-cookie", cookie.encode("ascii")) for cookie in answer.cookies]
    if answer.etag is not None:
        headers.append((b"etag", f'"{_etag(answer.etag)}"'.encode()))
    return headers


def _etag(version: str) -> str:
    return quote(version, safe="!#$&'()*+,-./:;<=>?@[]^_`{|}~")


def _is_unchanged(scope: Scope, answer: Answer) -> bool:
    if answer.etag is None:
        return False
    wanted = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"").decode(
        "latin-1"
    )
    tags = {tag.strip().removeprefix("W/") for tag in wanted.split(",")}
    return "*" in tags or f'"{_etag(answer.etag)}"' in tags


def _shaped(error: StrongroomError, answer: Answer) -> ErrorAnswer:
    """Give an error in the shape of an API's own, with the headers every shape has."""
    body = _encoded(answer) or b""
    ours = _answer_headers(answer)
    if answer.media_type != "application/json":
        ours.append((b"content-type", answer.media_type.encode()))
    headers = (*headers_of(error), *ours)
    return ErrorAnswer(answer.status or status_of(error), body, headers)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
