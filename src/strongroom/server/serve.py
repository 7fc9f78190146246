"""
Run the server: sockets, signals, limits of the process, start and end.

Rules of this file:

1. Everything that can be wrong is found before the first connection is accepted.
2. SIGTERM and Ctrl-C drain: no new connection, no new request on a kept one, streams end, what is under
   way has `drain_seconds`; then the records that wait are written, and the process ends with 0.
   A second Ctrl-C ends at once. SIGHUP reads the certificate anew.
3. A secret in memory stays there: no core dump, and no other process of the same user looks in.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from strongroom import __version__
from strongroom.assembly import open_house
from strongroom.assembly.traces import traced
from strongroom.audit.plan import plan_of
from strongroom.audit.writer import RemoteLog, Writer
from strongroom.cache import boot_seconds
from strongroom.errors import SettingsError
from strongroom.server import tls, ui
from strongroom.server.app import make_app
from strongroom.server.logs import Journal
from strongroom.server.protocol import Door, Hello, Line
from strongroom.service.host_inventory import LastReads
from strongroom.service.process import give_back, harden, room_for_files
from strongroom.settings import check_reach

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.audit.writer import RemoteLog
    from strongroom.errors import StrongroomError
    from strongroom.model.secret import Secret
    from strongroom.server.app import Application
    from strongroom.service.house import House
    from strongroom.service.mode import Mode
    from strongroom.service.sealing import SealNotice
    from strongroom.settings import ServerSettings, Settings

__all__ = ["Server", "give_back", "harden", "listen", "recorders", "serve", "uses_of"]

_SPARE_FILES = 256  # beside connections: store, log, vendors, threads
_BACKLOG = 2048
_ACCEPT_PAUSE_SECONDS = 0.05


class Server(uvicorn.Server):
    """
    One server on its sockets.

    Args:
        house: what is served; its owner closes it.
        settings: of the server.
        sockets: bound ones; those of the settings if unsaid.
        context: TLS, or None.
        on_ready: told the address once connections are accepted.
    """

    def __init__(  # noqa: PLR0913 -- what a server is made of
        self,
        house: House,
        settings: ServerSettings,
        *,
        journal: Journal,
        sockets: list[socket.socket] | None = None,
        context: ssl.SSLContext | None = None,
        on_ready: Callable[[str], None] | None = None,
        app: Application | None = None,
    ) -> None:
        self.app = app or make_app(house, settings, journal=journal)
        self._settings = settings
        self._journal = journal
        self._context = context
        self._on_ready = on_ready
        self._sockets = sockets or listen(settings)
        self._background: list[asyncio.Task[None]] = []
        self.address = _address(settings, self._sockets[0])
        self.door = Door(
            most=_most_connections(settings, journal),
            receipt_seconds=settings.receipt_seconds,
            idle_seconds=settings.idle_seconds,
            closed=self.app.metrics.closed,
            hot=self.app.hot,
        )
        self.app.metrics.gauge("strongroom_connections", lambda: [((), float(len(self.door.lines)))])
        super().__init__(
            uvicorn.Config(
                self.app,
                http=Line,
                ws="none",
                lifespan="off",
                loop="uvloop",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 -- ours are bound
        """Accept connections."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def line() -> Line:
            return Line(self.config, self.server_state, self.lifespan.state, loop, door=self.door)

        self.servers = []
        if self._context is None:
            self.servers = [
                await loop.create_server(line, sock=each, backlog=_BACKLOG) for each in self._sockets
            ]
        else:
            for each in self._sockets:
                each.listen(_BACKLOG)
                self._background.append(asyncio.create_task(self._accept(each, self._context, line)))
        self._background.append(asyncio.create_task(self.door.sweep()))
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        # What was made so far lives as long as the process: never looked through again.
        gc.collect()
        gc.freeze()
        self.started = True
        self._journal.say("serving", address=self.address, deployments=len(self.app.house.names))
        if self._on_ready is not None:
            self._on_ready(self.address)

    async def _accept(
        self, listening: socket.socket, context: ssl.SSLContext, line: Callable[[], Line]
    ) -> None:
        """Accept connections that begin with a handshake, each counted from its first moment."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                plain, _ = await loop.sock_accept(listening)
            except OSError:  # no file left, or it was gone before we looked
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Hello(line(), self.door, context, self._settings.receipt_seconds).begin(plain)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: streams end, what is under way is answered."""
        self._journal.say("draining", connections=len(self.door.lines))
        self.app.closing.set()
        *accepting, sweeping = self._background
        for task in accepting:
            task.cancel()
        for each in self._sockets if accepting else ():
            each.close()
        await super().shutdown(sockets)
        sweeping.cancel()
        self.door.close()
        self.app.close()
        self._journal.say("ended")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and Ctrl-C; having drained is a success, so the signal is not raised again."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()

    def _reload(self) -> None:
        if self._context is None:
            return
        try:
            tls.reload(self._context, self._settings)
        except SettingsError as error:
            self._journal.say("the certificate was not reloaded", level="error", why=str(error))
        else:
            self._journal.say("the certificate was reloaded")

    def run_until_told(self) -> None:
        """Serve until a signal, or `should_exit`."""
        uvloop.run(self.serve())


def serve(
    settings: Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    passphrase: Callable[[], Secret[str]] | None = None,
    on_ready: Callable[[str], None] | None = None,
    is_flexible: bool = False,
    may_wait: bool = True,
) -> None:
    """
    Serve every deployment of the file of *settings* until told to stop.

    Args:
        settings: of the first of them, and of the server.
        environ: the environment.
        passphrase: asks a person, where a store needs it.
        on_ready: told the address once connections are accepted.
        is_flexible: take a free port where the configured one is taken.
        may_wait: begin with what is sealed too, and wait for its key.

    Raises:
        SettingsError: the settings are wrong, or the address is taken.
        As `assembly.open_house`.
    """
    check_reach(settings.server)
    context = tls.context_of(settings.server)
    harden()
    give_back()
    sockets = listen(settings.server, is_flexible=is_flexible)
    journal = Journal(settings.server.log_level)
    try:
        say = partial(journal.say, level="warning")
        with (
            traced(
                settings.traces, service="strongroom-server", version=__version__, environ=environ, say=say
            ),
            _house(settings, environ, passphrase, journal, may_wait=may_wait) as house,
        ):
            server = Server(
                house, settings.server, journal=journal, sockets=sockets, context=context, on_ready=on_ready
            )
            house.mode.watch(partial(_follow, journal))
            house.seals.watch(partial(tell_of_seal, journal))
            house.start()
            # Whoever opens the first page does not wait until all of them are read.
            threading.Thread(target=ui.warm, name="strongroom-pages", daemon=True).start()
            server.run_until_told()
    finally:
        journal.close()


def _follow(journal: Journal, mode: Mode) -> None:
    if mode.log_level != journal.level:
        journal.level = mode.log_level


def tell_of_seal(journal: Journal, notice: SealNotice) -> None:
    if notice.error is None:
        journal.say("a deployment is open", deployment=notice.name)
        return
    what = "a deployment is sealed" if notice.what == "sealed" else "no outer key is to be had; it goes on"
    hint = notice.error.hint or ""
    journal.say(what, level="error", deployment=notice.name, why=str(notice.error), hint=hint)


def _house(
    settings: Settings,
    environ: Mapping[str, str],
    passphrase: Callable[[], Secret[str]] | None,
    journal: Journal,
    *,
    may_wait: bool,
) -> House:
    def trouble(name: str, error: StrongroomError) -> None:
        journal.say(
            "a deployment is not served", level="error", deployment=name, code=error.code, why=str(error)
        )

    house = open_house(
        settings,
        environ=environ,
        passphrase=passphrase,
        recorder=recorders(journal, environ),
        uses=uses_of,
        on_trouble=trouble if settings.others else None,
        may_wait=may_wait,
    )
    house.mode.read_only = settings.server.read_only
    house.mode.log_level = settings.server.log_level
    return house


def recorders(journal: Journal, environ: Mapping[str, str]) -> Callable[[Settings], RemoteLog]:
    """Give what makes the recorder of each deployment: all of them write by one process."""
    writer = Writer(on_trouble=lambda text: journal.say(text, level="error"))
    return lambda settings: writer.open(plan_of(settings, environ))


def uses_of(_settings: Settings) -> LastReads:
    """Give what remembers which uses of a deployment are on record."""
    return LastReads(timer=boot_seconds, clock=_now)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def listen(settings: ServerSettings, *, is_flexible: bool = False) -> list[socket.socket]:
    """
    Bind the address.

    Args:
        settings: of the server.
        is_flexible: take a free port where the configured one is taken.

    Raises:
        SettingsError: it is taken, or none of this machine's.
    """
    made: list[socket.socket] = []
    try:
        _bind(settings.host, settings.port, made)
    except (OSError, UnicodeError) as error:
        for each in made:
            each.close()
        number = error.errno if isinstance(error, OSError) else None
    else:
        return made
    if is_flexible and settings.port and number == errno.EADDRINUSE:
        return listen(replace(settings, port=0))
    reason = os.strerror(number).lower() if number and number > 0 else "no such host"
    raise SettingsError(
        f"the server cannot listen on {settings.host} port {settings.port} ({reason})",
        key="server.port",
        hint="choose another with --port, or see who listens there",
    )


def _bind(host: str, port: int, made: list[socket.socket]) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        each = socket.socket(family, kind, protocol)
        made.append(each)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind((address[0], port, *address[2:]))
        port = each.getsockname()[1]  # a free one is chosen once, for every family
        each.setblocking(False)  # noqa: FBT003 -- the socket's own way


def _address(settings: ServerSettings, bound: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.has_tls else 'http'}://{host}:{bound.getsockname()[1]}"


def _most_connections(settings: ServerSettings, journal: Journal) -> int:
    """Make room for as many open files as there may be connections, or say how many there may be."""
    most = room_for_files(settings.max_connections, _SPARE_FILES)
    if most < settings.max_connections:
        journal.say("fewer connections than configured: the limit of open files", level="warning", most=most)
    return most
