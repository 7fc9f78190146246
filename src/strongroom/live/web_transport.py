"""
The transports under clients of httpx2: they put on each request who asks, as it is known at that moment.

The client above them is the library's own and holds no credential: it cannot show one in a log, in a
response's request or in a redirect.

Rules of this file:

1. Headers of the connection go to the connection's own origin alone, wherever a redirect or a caller's URL
   leads; and only there may an address be link-local, where clouds keep their metadata.
2. A refusal (401, or a certificate refused) is tried once more with newer credentials, never twice.
3. What the caller says of a request counts: with an `Authorization` of its own a refusal is not ours.
4. Ways to a service that changed (its certificates, its proxies) end when the last answer over them was read.
5. Errors while connecting are ours; those of what is under way are the library's, without the frames that
   hold what was sent.
"""

from __future__ import annotations

import ipaddress
from asyncio import to_thread
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import httpx2

from strongroom.live.trouble import trouble
from strongroom.live.unframed import bare
from strongroom.live.web_pool import Pools
from strongroom.live.web_trouble import is_refusal_of_certificate, trouble_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from strongroom.live.web_login import Login, Session
    from strongroom.live.web_pool import Pool

__all__ = ["AsyncTransport", "Transport"]

_UNAUTHORIZED = 401
_MOST_BASES = 8
_NEVER = "such addresses are asked by no client of this connection"
_AGAIN = "send it again: the credentials have changed, and its content can be read only once"

_url = lru_cache(maxsize=64)(httpx2.URL)  # of addresses without user-info alone


class _Dresser:
    """What both transports do without waiting."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._bases: tuple[str, ...] = ()

    def dressed(self, request: httpx2.Request, session: Session) -> tuple[httpx2.Request, bool]:
        """Give *request* as it goes out, and whether a refusal of it is one of what *session* brings."""
        url = self._led(request.url, session.base)
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        # First, as RFC 9110 §7.2 wants it.
        headers.insert(0, (b"Host", url.netloc if url != request.url else _host(request)))
        is_ours = _origin(url) == _origin(_url(session.base))
        is_own = is_ours and session.has_credentials and "authorization" not in request.headers
        if is_ours:
            headers += [
                (name.encode(), value) for name, value in session.headers if name not in request.headers
            ]
        made = httpx2.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
        )
        return made, is_own

    def _led(self, url: httpx2.URL, base: str) -> httpx2.URL:
        """Give *url* as it is now: a client keeps the address that the connection had when it was made."""
        if base not in self._bases:
            self._bases = (base, *self._bases)[:_MOST_BASES]
        for earlier in self._bases:
            old = _url(earlier)
            path = old.raw_path.rstrip(b"/")
            below = url.raw_path[len(path) :]
            is_below = url.raw_path.startswith(path) and below[:1] in (b"", b"/", b"?")
            if is_below and _origin(old) == _origin(url):
                if earlier == base:
                    return url
                new = _url(base)
                return new.copy_with(raw_path=(new.raw_path.rstrip(b"/") + below) or b"/")
        return url

    def check_way(self, request: httpx2.Request, response: httpx2.Response, session: Session) -> None:
        """
        Refuse an answer of this machine's metadata service, to which a redirect has led.

        Raises:
            AccessDeniedError: that is where it comes from.
        """
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        is_home = _origin(request.url) == _origin(_url(session.base))
        if not is_home and isinstance(peer, tuple) and _is_link_local(str(peer[0])):
            raise trouble("address", "forbidden", name=self._login.name, hint=_NEVER)

    def failure(self, error: httpx2.HTTPError, session: Session, *, is_own: bool) -> Exception | None:
        """Give what is raised for *error*; None where it is a refusal of the certificate that was shown."""
        name = self._login.name
        if is_refusal_of_certificate(error):
            if is_own and session.way.cert is not None:
                return None
            return trouble("authentication", "missing", name=name, detail="cert")
        if isinstance(error, httpx2.ProxyError):
            return trouble("tcp", "unavailable", name=name, detail="its proxy", hint="see to its proxies")
        if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
            return trouble_of(error, name, is_timeout=isinstance(error, httpx2.ConnectTimeout))
        return _unquoted(error)

    def check_again(self, request: httpx2.Request, newer: Session | None) -> Session:
        """
        Give *newer* where *request* may be sent once more with it.

        Raises:
            AccessDeniedError: there is nothing newer.
            BackendUnavailableError: what was sent cannot be read again.
        """
        if newer is None:
            raise trouble("authentication", "credentials", name=self._login.name)
        try:
            request.content  # noqa: B018 -- raises where it was not read into memory
        except httpx2.RequestNotRead:
            raise trouble("authentication", "unavailable", name=self._login.name, hint=_AGAIN) from None
        return newer


class Transport(httpx2.BaseTransport):
    """
    Send requests for one connection.

    Args:
        login: who asks.
        options: for `httpx2.HTTPTransport`; a `transport` is used in its place.
        release: called when it is closed.

    Threads: safe. After a fork the child connects anew.
    """

    def __init__(
        self, login: Login, options: Mapping[str, Any], release: Callable[[], None] | None = None
    ) -> None:
        self._login = login
        self._dresser = _Dresser(login)
        self._pools: Pools[httpx2.BaseTransport] = Pools(login.name, httpx2.HTTPTransport, options)
        self.release = release

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        session = self._login.ready() or self._login.session()
        answer = self._tried(request, session)
        if answer is None:
            newer = self._dresser.check_again(request, self._login.renewed(session))
            answer = self._tried(request, newer)
        if answer is None:
            raise trouble("authentication", "credentials", name=self._login.name)
        return answer

    def _tried(self, request: httpx2.Request, session: Session) -> httpx2.Response | None:
        """Send *request*; None where it was refused."""
        sent, is_own = self._dresser.dressed(request, session)
        try:
            response = self._sent(sent, session)
        except httpx2.HTTPError as error:
            failed = self._dresser.failure(error, session, is_own=is_own)
            if failed is None:
                return None
            raise failed from None if failed is not error else bare(error).__cause__
        if response.status_code == _UNAUTHORIZED and is_own:
            response.close()
            return None
        return response

    def _sent(self, request: httpx2.Request, session: Session) -> httpx2.Response:
        pool, closing = self._pools.take(session.way, request.url.scheme, request.url.host)
        for inner in closing:
            inner.close()
        try:
            response = pool.inner.handle_request(request)
        except BaseException:
            self._done(pool)
            raise
        response.stream = _Read(response.stream, lambda: self._done(pool))
        try:
            self._dresser.check_way(request, response, session)
        except BaseException:
            response.close()
            raise
        return response

    def _done(self, pool: Pool[httpx2.BaseTransport]) -> None:
        if self._pools.give_back(pool):
            pool.inner.close()

    def close(self) -> None:
        for inner in self._pools.end():
            inner.close()
        if self.release is not None:
            self.release()


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Send requests for one connection without blocking the loop. Arguments as `Transport`."""

    def __init__(
        self, login: Login, options: Mapping[str, Any], release: Callable[[], None] | None = None
    ) -> None:
        self._login = login
        self._dresser = _Dresser(login)
        self._pools: Pools[httpx2.AsyncBaseTransport] = Pools(login.name, httpx2.AsyncHTTPTransport, options)
        self.release = release

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        session = self._login.ready()
        if session is None:
            session = await to_thread(self._login.session)
        answer = await self._tried(request, session)
        if answer is None:
            newer = self._dresser.check_again(request, await to_thread(self._login.renewed, session))
            answer = await self._tried(request, newer)
        if answer is None:
            raise trouble("authentication", "credentials", name=self._login.name)
        return answer

    async def _tried(self, request: httpx2.Request, session: Session) -> httpx2.Response | None:
        """Send *request*; None where it was refused."""
        sent, is_own = self._dresser.dressed(request, session)
        try:
            response = await self._sent(sent, session)
        except httpx2.HTTPError as error:
            failed = self._dresser.failure(error, session, is_own=is_own)
            if failed is None:
                return None
            raise failed from None if failed is not error else bare(error).__cause__
        if response.status_code == _UNAUTHORIZED and is_own:
            await response.aclose()
            return None
        return response

    async def _sent(self, request: httpx2.Request, session: Session) -> httpx2.Response:
        pool, closing = self._pools.take(session.way, request.url.scheme, request.url.host)
        for inner in closing:
            await inner.aclose()
        try:
            response = await pool.inner.handle_async_request(request)
        except BaseException:
            await self._done(pool)
            raise

        async def done() -> None:
            await self._done(pool)

        response.stream = _AsyncRead(response.stream, done)
        try:
            self._dresser.check_way(request, response, session)
        except BaseException:
            await response.aclose()
            raise
        return response

    async def _done(self, pool: Pool[httpx2.AsyncBaseTransport]) -> None:
        if self._pools.give_back(pool):
            await pool.inner.aclose()

    async def aclose(self) -> None:
        for inner in self._pools.end():
            await inner.aclose()
        if self.release is not None:
            self.release()


class _Read(httpx2.SyncByteStream):
    """An answer's content, which tells when it was read."""

    def __init__(self, stream: Any, done: Callable[[], None]) -> None:  # noqa: ANN401 -- of either kind
        self._stream = stream
        self._done: Callable[[], None] | None = done

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except httpx2.ProtocolError as caught:
            error = _unquoted(bare(caught))
        else:
            return
        raise error

    def close(self) -> None:
        done, self._done = self._done, None
        try:
            self._stream.close()
        finally:
            if done is not None:
                done()


class _AsyncRead(httpx2.AsyncByteStream):
    """As `_Read`."""

    def __init__(self, stream: Any, done: Callable[[], Any]) -> None:  # noqa: ANN401 -- of either kind
        self._stream = stream
        self._done: Callable[[], Any] | None = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except httpx2.ProtocolError as caught:
            error = _unquoted(bare(caught))
        else:
            return
        raise error

    async def aclose(self) -> None:
        done, self._done = self._done, None
        try:
            await self._stream.aclose()
        finally:
            if done is not None:
                await done()


def _unquoted(error: httpx2.HTTPError) -> httpx2.HTTPError:
    """Give *error* without what came, which may be what went out, or what a caller put in a header."""
    if isinstance(error, httpx2.ProtocolError) and any(quote in str(error) for quote in ("b'", 'b"')):
        return type(error)("what came, or was to be sent, is no HTTP")
    return error


def _host(request: httpx2.Request) -> bytes:
    return request.headers.get("host", "").encode("ascii", "ignore") or request.url.netloc


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_link_local(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    # The metadata services of AWS over IPv6, and of Alibaba, are the two that are not link-local.
    return mapped.is_link_local or str(mapped) in ("fd00:ec2::254", "100.100.100.200")
