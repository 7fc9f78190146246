"""
What holds for every request, whatever answers it: the outermost layer.

Rules of this file:

1. Every answer carries the headers of `HEADERS`, errors too. A layer within may replace one by naming it
   (a page has its own content policy).
2. Whatever comes out of the layers within ends here: our errors by the table of `errors.py`, everything
   else as 500 that says nothing but the id of the request. Nothing of it is logged but its class and where
   in our own code it was.
3. Only a configured proxy is believed what it says of the client (`X-Forwarded-For`, `-Proto`), and only
   the entry nearest to it that is no such proxy.
4. A path is decoded once, and one that is no UTF-8 is refused, not mended.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

from strongroom import tracing
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.server.request import Request
from strongroom.wire.failure import MethodError, MisdirectedError, TooLargeError, answer_of
from strongroom.wire.head import HEADERS, decoded_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.server.request import App, Message, Receive, Scope, Send
    from strongroom.wire.failure import ErrorAnswer

__all__ = ["METHODS", "STRICT_TRANSPORT", "Guard", "send_error"]

STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_JSON = (b"content-type", b"application/json")
_MAX_PATH_BYTES = 4096
_MAX_QUERY_BYTES = 16_384
_OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})


class Guard:
    """
    Let requests through to *inner* and answers back.

    Args:
        inner: the layers within.
        hosts: names this server answers for, in lower case without port; () for any.
        proxies: networks whose word about the client is believed.
        on_end: told of every request that ended, with the seconds it took.
        on_trouble: told of what nobody expected: the class and where.

    Attributes:
        is_ours: tells whether a Host header is one this server answers for.
    """

    def __init__(
        self,
        inner: App,
        *,
        hosts: Iterable[str] = (),
        proxies: Iterable[str] = (),
        on_end: Callable[[Request, Scope], None],
        on_trouble: Callable[[Request, BaseException], None],
    ) -> None:
        self._inner = inner
        self._hosts = frozenset(hosts)
        self._proxies = tuple(ipaddress.ip_network(network, strict=False) for network in proxies)
        self._on_end = on_end
        self._on_trouble = on_trouble
        self._is_proxy = lru_cache(maxsize=4096)(self._is_of_a_proxy)
        self.is_ours = lru_cache(maxsize=1024)(self._is_known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._inner(scope, receive, send)
            return
        request = self._request(scope)
        scope["strongroom"] = request
        answering = _Answering(send, request)
        with tracing.span("answer a request", "server", parent=_parent(scope)) as span:
            try:
                await self._serve(scope, receive, answering)
            finally:
                _trace(span, request, scope)
                self._on_end(request, scope)

    async def _serve(self, scope: Scope, receive: Receive, send: _Answering) -> None:
        request = send.request
        try:
            self._check(scope)
            await self._inner(scope, receive, send)
        except StrongroomError as error:
            request.failed(error)
            # An answer that has begun stays torn: the connection closes before its length is reached, so
            # nobody takes the part for the whole.
            if not send.has_begun:
                await send_error(send, self._shaped(request, error))
        except Exception as error:  # noqa: BLE001 -- the last resort of the server
            request.code = "error"
            self._on_trouble(request, error)
            if not send.has_begun:
                await send_error(send, self._shaped(request, _nothing_told(request)))

    def _shaped(self, request: Request, error: StrongroomError) -> ErrorAnswer:
        """Give *error* as a page where a page was asked for, and in our own shape where that fails."""
        if request.shape is not None:
            try:
                return request.shape(error)
            except Exception as trouble:  # noqa: BLE001 -- the last resort of the server: a page that tells of trouble may be the trouble
                self._on_trouble(request, trouble)
        return answer_of(error, request_id=request.id)

    def _check(self, scope: Scope) -> None:
        if scope["method"] not in METHODS:
            raise MethodError(METHODS)
        raw = scope.get("raw_path") or scope["path"].encode()
        if len(raw) > _MAX_PATH_BYTES or len(scope["query_string"]) > _MAX_QUERY_BYTES:
            raise TooLargeError("the address is too long", limit=_MAX_PATH_BYTES)
        if b"%" in raw:
            scope["path"] = decoded_path(raw)
        host = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    raise InvalidInputError("the Host header came twice")
                host = value
            elif name in _OVERRIDES:
                raise InvalidInputError("a method cannot be overridden by a header")
        if host is None:
            raise InvalidInputError("the Host header is missing")
        if not self.is_ours(host):
            raise MisdirectedError(
                "this server does not answer for that host",
                hint="add the name to server.allowed_hosts",
            )

    def _is_known(self, host: bytes) -> bool:
        if not host:
            return False
        if not self._hosts:
            return True
        name = host.decode("latin-1").lower()
        if name in self._hosts:
            return True
        bare, mark, port = name.rpartition(":")
        return bool(mark) and port.isdigit() and bare in self._hosts

    # --- where it came from ----------------------------------------------------------------------

    def _request(self, scope: Scope) -> Request:
        client = scope.get("client")
        source: str = client[0] if client else ""
        is_secure = scope["scheme"] == "https"
        if self._proxies and self._is_proxy(source):
            source, is_secure = self._told(scope, source, is_secure=is_secure)
        return Request(source, is_secure=is_secure)

    def _told(self, scope: Scope, source: str, *, is_secure: bool) -> tuple[str, bool]:
        """Give what a trusted proxy says of the client."""
        chain: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                chain += [part.strip() for part in value.decode("latin-1").split(",")]
            elif name == b"x-forwarded-proto":
                is_secure = value.strip().lower() == b"https"
        for address in reversed(chain):
            if not _is_address(address):
                break
            source = address
            if not self._is_proxy(address):
                break
        return source, is_secure

    def _is_of_a_proxy(self, address: str) -> bool:
        if not _is_address(address):
            return False
        found = ipaddress.ip_address(address)
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self._proxies if network.version == found.version)


class _Answering:
    """Send, with the headers every answer has."""

    def __init__(self, send: Send, request: Request) -> None:
        self.request = request
        self.has_begun = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.request.status = message["status"]
            message["headers"] = self._with_ours(message.get("headers", ()))
        await self._send(message)

    def _with_ours(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = list(headers)
        names = {name for name, _ in given}
        given += [header for header in HEADERS if header[0] not in names]
        if self.request.is_secure:
            given.append(STRICT_TRANSPORT)
        given.append((b"x-request-id", self.request.id.encode()))
        return given


def _parent(scope: Scope) -> str | None:
    """Give what the caller says its request belongs to, where that is of use."""
    if not tracing.is_on():
        return None
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)


def _trace(span: tracing.Span, request: Request, scope: Scope) -> None:
    span.set("http.request.method", scope["method"])
    span.set("http.route", request.template)
    span.set("http.response.status_code", request.status)
    span.set("strongroom.request_id", request.id)
    if request.code:
        span.failed(request.code)


async def send_error(send: Send, answer: ErrorAnswer) -> None:
    """Send an error as `errors.answer_of` shapes it."""
    media = [] if any(name == b"content-type" for name, _ in answer.headers) else [_JSON]
    headers = [*media, (b"content-length", str(len(answer.body)).encode()), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _nothing_told(request: Request) -> StrongroomError:
    return StrongroomError(
        "the server could not answer this request", hint=f"its log tells more of request {request.id}"
    )


@lru_cache(maxsize=4096)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
