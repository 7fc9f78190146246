"""
What aiohttp meets on its way to a cloud's storage, as troubles of ours; for the file systems on it.

Not for what storage says of the work it is given: that stays the library's own error. Imports aiohttp.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import aiohttp

from strongroom.live.trouble import trouble
from strongroom.live.web_trouble import trouble_of
from strongroom.model.machine import is_private_way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from strongroom.errors import StrongroomError

__all__ = ["check_hidden", "ending", "is_hopeless", "way_trouble"]

_MAX_DEEP = 16
_END_SECONDS = 0.5  # for sessions that nobody has any more


def way_trouble(error: BaseException, name: str) -> StrongroomError | None:
    """Give what *error* comes to where it arose before storage was asked; None where it did not."""
    found: BaseException | None = error
    for _ in range(_MAX_DEEP):
        if found is None:
            return None
        if isinstance(found, aiohttp.ConnectionTimeoutError):
            return trouble_of(found, name, is_timeout=True)
        if isinstance(found, aiohttp.ClientConnectorError):
            return trouble_of(_said(found), name)
        if isinstance(found, aiohttp.ClientConnectorCertificateError):
            return trouble_of(found.certificate_error, name)
        found = found.__cause__ or found.__context__
    return None


def _said(error: aiohttp.ClientConnectorError) -> BaseException:
    """Give what Python said: aiohttp's own error is an OSError, too, and that of names is not behind it."""
    inner: BaseException | None = error.os_error
    for _ in range(_MAX_DEEP):
        if inner is None:
            break
        if isinstance(inner, socket.gaierror):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error.os_error


def is_hopeless(error: BaseException) -> bool:
    """Tell whether another try would meet the same: a certificate does not heal while one waits."""
    return isinstance(error, aiohttp.ClientSSLError)


def check_hidden(url: str, name: str, field: str) -> None:
    """
    Refuse to show credentials at *url* where others could read them on the way.

    Raises:
        BackendConfigError: it has no TLS, and is no address of this machine.
    """
    if not is_private_way(url):
        hint = "write https: what is sent there is secret"
        raise trouble("options", "malformed", name=name, detail=field, hint=hint)


def ending(loop: asyncio.AbstractEventLoop | None, close: Callable[[], Awaitable[None]]) -> None:
    """
    Run *close* on *loop*, from any thread and at the end of the process; do without where it runs no more.

    Whoever has made an asynchronous file system on a loop of his own closes its session before that ends.
    """
    if loop is None or not loop.is_running():
        return
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    ended = threading.Event()

    async def end() -> None:
        try:
            await close()
        finally:
            ended.set()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if here is None:
        ended.wait(_END_SECONDS)
