"""
Run the agent: its sockets, signals, start and end.

Rules of this file:

1. Everything that can be wrong is found before the first connection is accepted. What needs privileges comes
   first, then they are dropped, and only then anything is opened that holds a secret.
2. SIGTERM and Ctrl-C drain: no new connection, no new question; what is under way has `drain_seconds`, then
   what was counted is recorded and the process ends with 0. SIGHUP takes the settings anew and keeps what is
   remembered; where they cannot be used, the old ones stay, and the log and the status say why.
3. An agent that nobody asks does nothing: no timer of its own runs but that of the service manager.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from strongroom import __version__
from strongroom.agent import hygiene
from strongroom.agent.admin import Admin
from strongroom.agent.answers import Answers
from strongroom.agent.door import BACKLOG, Door, Lock, Peers, listen, loopback, prepare
from strongroom.agent.floor import Bounds, Floor
from strongroom.agent.lastgood import open_last_good
from strongroom.agent.notify import Manager, sockets_of
from strongroom.agent.outputs import Outputs, write_files
from strongroom.agent.protocol import Line
from strongroom.assembly.host import open_host
from strongroom.assembly.traces import traced
from strongroom.caller import frames
from strongroom.errors import SettingsError, StrongroomError
from strongroom.policy import Action
from strongroom.service.guard import event_of
from strongroom.service.host_status import parse_status
from strongroom.service.journal import Journal
from strongroom.settings import resolve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from strongroom.agent.http import Web
    from strongroom.model.secret import Secret
    from strongroom.service.host import Host
    from strongroom.settings import AgentSettings, Settings

__all__ = ["Agent", "serve", "write_once"]

HTTP_NAME = "http.sock"
_LOGGER = "strongroom.agent"
# What is read once, at the start; everything else of [agent] counts from a reload on.
_AT_START = ("socket", "state", "http", "tcp", "user", "max_connections", "max_of_one_user", "last_good")


class Doors:
    """
    The sockets of one agent, and the folder of its state: all that needs privileges.

    Args:
        settings: of the agent.
        environ: where a service manager says what it hands over.

    Attributes:
        main: of frames.
        http: of HTTP, or None.
        tcp: of HTTP on loopback, or None.
        account: whom the agent becomes, or None.
    """

    def __init__(self, settings: AgentSettings, environ: Mapping[str, str]) -> None:
        self._open = ExitStack()
        self.http: Door | None = None
        self.tcp: socket.socket | None = None
        try:
            self.account = hygiene.account_of(settings.user) if settings.user else None
            self._make_state(settings.state)
            given = sockets_of(environ)
            self.main = self._door(settings.socket, settings, given.get("agent"))
            if settings.http and "http" in given:
                self.http = self._keep(Door(given["http"], None))
            elif settings.http and settings.socket is not None and "agent" not in given:
                path = settings.socket.with_name(HTTP_NAME)
                self.http = self._keep(listen(path, settings, account=self.account, is_locked=False))
            if settings.tcp is not None:
                self.tcp = loopback(settings.tcp)
                self._open.callback(self.tcp.close)
            hygiene.become(self.account)
        except BaseException:
            self.close()
            raise

    def _make_state(self, folder: Path) -> None:
        prepare(folder, 0o700, owner=self.account, key="agent.state")
        lock = Lock(folder / "agent.lock", f"the state folder {folder}")
        self._open.callback(lock.close)
        hygiene.give(folder / "agent.lock", self.account)

    def _door(self, path: Path | None, settings: AgentSettings, given: object) -> Door:
        if given is not None:
            return self._keep(Door(given, None))  # type: ignore[arg-type]  # of `sockets_of`
        if path is None:
            raise SettingsError(
                "there is no place for the agent's socket: neither a runtime folder nor a setting names one",
                key="agent.socket",
                hint="strongroom agent --socket /path/agent.sock",
            )
        return self._keep(listen(path, settings, account=self.account))

    def _keep(self, door: Door) -> Door:
        self._open.callback(door.close)
        return door

    def close(self) -> None:
        """Take the sockets away and let go of the locks."""
        self._open.close()


class Agent:
    """
    One agent, from its first connection to its last.

    Args:
        host: what is served; its owner closes it.
        doors: its sockets.
        environ: the environment.
        journal: its log.
        manager: the service manager.
        reload: reads the settings anew.
        on_ready: told once connections are accepted.
        on_reload: told once settings were taken anew.
        early: signals to take the settings anew that came before there was a loop.
        more: parts of the status that others tell.
    """

    def __init__(  # noqa: PLR0913 -- what an agent is made of
        self,
        host: Host,
        doors: Doors,
        *,
        environ: Mapping[str, str],
        journal: Journal,
        manager: Manager,
        reload: Callable[[], Settings],
        on_ready: Callable[[Agent], None] | None = None,
        on_reload: Callable[[], None] = lambda: None,
        early: Sequence[int] = (),
        more: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self.host = host
        self.doors = doors
        self.journal = journal
        self.manager = manager
        self._environ = environ
        self._read_settings = reload
        self._on_ready = on_ready
        self._on_reload = on_reload
        self._early = early
        self._more = dict(more or {})
        self._stop: asyncio.Event
        self._floor: Floor
        self._peers: Peers
        self._reloading: asyncio.Task[None] | None = None
        self._reload_trouble = ""
        self._is_told = False
        self._admin = Admin(
            lambda: self._floor,
            facts={
                "version": __version__,
                "protocol": f"{frames.MAJOR}.{frames.MINOR}",
                "socket": doors.main.name,
                "http": None if doors.http is None else doors.http.name,
                "tcp": host.settings.agent.tcp,
                "user": os.geteuid(),
            },
            reload=self.reload,
            more={
                "refused_users": lambda: {str(uid): n for uid, n in self._peers.refused.items()},
                # Beside what the host tells of settings it could not use: those that could not even be read.
                "reload_trouble": lambda: self._reload_trouble,
                "server": lambda: _server_of(self.host) or None,
                **self._more,
            },
        )

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        settings = self.host.settings.agent
        self._stop = asyncio.Event()
        self._peers = Peers(self.host.may_connect, self._stranger, loop.call_later)
        most = hygiene.most_connections(settings.max_connections)
        if most < settings.max_connections:
            self.journal.say(
                "fewer connections than configured: the limit of open files", level="warning", most=most
            )
        self._floor = Floor(
            self.host,
            Answers(self.host),
            admit=self._peers.admit,
            admin=self._admin,
            journal=self.journal,
            version=__version__,
            bounds=Bounds(most=most, most_of_one=min(settings.most_of_one_user, most)),
        )
        async with _Listening(self._floor, self.doors, self._web(most)) as listening:
            self._handle_signals(loop)
            self._begin()
            await self._stop.wait()
            self.manager.stopping()
            self.journal.say("draining", connections=len(self._floor.lines))
            await listening.drain(settings.drain_seconds)
        self._peers.close()
        await loop.shutdown_default_executor()

    def _web(self, most: int) -> Web | None:
        """Give what answers HTTP; a process without it loads nothing of it."""
        if self.doors.http is None and self.doors.tcp is None:
            return None
        from strongroom.agent import http  # noqa: PLC0415 -- if wanted

        settings = self.host.settings.agent
        token = settings.tcp_token
        bounds = http.Bounds()
        return http.Web(
            self.host,
            self._peers,
            bounds=bounds._replace(most=min(most, bounds.most), most_of_one=min(most, bounds.most_of_one)),
            token=None if token is None else resolve(token, environ=self._environ),
            hosts=[host.lower() for host in settings.tcp_hosts],
            figures=partial(_figures, self._floor, self._peers),
            announced=self._floor.announced,
            on_trouble=self._floor.unexpected,
        )

    def _begin(self) -> None:
        self.host.start()
        # What was made so far lives as long as the process: never looked through again.
        gc.collect()
        gc.freeze()
        server = _server_of(self.host)
        self.journal.say("serving", deployment=self.host.deployment, socket=self.doors.main.name, **server)
        self.manager.ready(f"serving {self.host.deployment}")
        self._beat()
        if self._on_ready is not None:
            self._on_ready(self)

    def _beat(self) -> None:
        if self.manager.beat_seconds is not None:
            self.manager.beat()
            asyncio.get_running_loop().call_later(self.manager.beat_seconds, self._beat)

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._early:
            self._hang_up()

    def stop(self) -> None:
        """Drain, and end; told twice, end at once."""
        if self._is_told:
            for line in list(self._floor.lines):
                line.end()
        self._is_told = True
        self._stop.set()

    # --- settings taken anew -------------------------------------------------------------------------

    def _hang_up(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._try_reload())

    async def _try_reload(self) -> None:
        with suppress(StrongroomError):  # it is in the log and the status
            await self.reload()

    async def reload(self) -> None:
        """
        Take the settings anew, keeping what is remembered.

        Raises:
            StrongroomError: they cannot be used; the old ones stay.
        """
        self.manager.reloading()
        before = self.host.settings.agent
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._take)
        except StrongroomError as error:
            self._reload_trouble = f"{error.code}: {error}"
            _trouble(self.journal, "the settings were not taken anew", error, level="error")
            raise
        else:
            self._reload_trouble = ""
            after = self.host.settings.agent
            self.journal.level = self.host.mode.log_level = after.log_level
            late = [key for key in _AT_START if getattr(before, key) != getattr(after, key)]
            self.journal.say("the settings were taken anew", after_a_restart=late)
            self._floor.renew()
        finally:
            self.manager.ready(f"serving {self.host.deployment}")

    def _take(self) -> None:
        self.host.reload(self._read_settings())
        self._on_reload()

    # --- strangers -----------------------------------------------------------------------------------

    def _stranger(self, uid: int, count: int) -> None:
        """Record that a user who may not connect tried to."""
        self.journal.say("a user who may not connect was refused", level="warning", user=uid, count=count)
        event = event_of(
            self.host.actor(uid), Action.READ, None, "denied", reason=f"may not connect: {count} times"
        )
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._record, event)

    def _record(self, event: object) -> None:
        try:
            self.host.recorder.append(event)  # type: ignore[arg-type]  # an event of ours
        except StrongroomError as error:
            self.journal.say("a refusal is not on record", level="error", code=error.code)


class _Listening:
    """Accepts connections, from the first to the drain."""

    def __init__(self, floor: Floor, doors: Doors, web: Web | None) -> None:
        self._floor = floor
        self._doors = doors
        self._web = web
        self._servers: list[asyncio.AbstractServer] = []

    async def __aenter__(self) -> _Listening:
        loop = asyncio.get_running_loop()
        doors, floor, web = self._doors, self._floor, self._web
        listen = partial(loop.create_unix_server, backlog=BACKLOG)
        self._servers.append(await listen(lambda: Line(floor), sock=doors.main.socket))
        if web is not None:
            web.start(loop)
            if doors.http is not None:
                self._servers.append(await listen(web.unix, sock=doors.http.socket))
            if doors.tcp is not None:
                self._servers.append(await loop.create_server(web.tcp, sock=doors.tcp, backlog=BACKLOG))
        return self

    async def drain(self, seconds: float) -> None:
        """Accept nothing any more, and let what is under way be answered."""
        for server in self._servers:
            server.close()
        if self._web is not None:
            self._web.drain()
        await self._floor.drain(seconds)
        if self._web is not None:
            await self._web_ended(seconds)

    async def _web_ended(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while self._web is not None and self._web.lines and clock() < until:  # noqa: ASYNC110 -- each ends by itself
            await asyncio.sleep(0.01)

    async def __aexit__(self, *_details: object) -> None:
        for server in self._servers:
            server.close()
        if self._web is not None:
            self._web.close()


def serve(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    reload: Callable[[], Settings],
    passphrase: Callable[[], Secret[str]] | None = None,
    on_ready: Callable[[Agent], None] | None = None,
) -> None:
    """
    Serve one deployment to the processes of this machine, until told to stop.

    Args:
        settings: of the deployment.
        environ: the environment.
        reload: reads the settings anew.
        passphrase: asks a person, where a store needs it.
        on_ready: told once connections are accepted.

    Raises:
        ConflictError: an agent runs there already.
        SettingsError: the settings are wrong, or no socket can be made.
        As `assembly.open_host`.
    """
    hygiene.secure()
    early: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _frame: early.append(number))  # done once there is a loop
    with ExitStack() as stack:
        doors = Doors(settings.agent, environ)
        stack.callback(doors.close)
        journal = Journal(settings.agent.log_level, name=_LOGGER)
        stack.callback(journal.close)
        say = partial(journal.say, level="warning")
        stack.enter_context(
            traced(settings.traces, service="strongroom-agent", version=__version__, environ=environ, say=say)
        )
        host = open_host(
            settings, environ=environ, passphrase=passphrase, on_trouble=partial(_trouble, journal)
        )
        stack.callback(host.close)
        copy = open_last_good(host, environ=environ, on_trouble=partial(_trouble, journal))
        if copy is not None:
            restored = copy.restore()
            if restored:
                journal.say("the last good copy was read", entries=restored)
            copy.start()
            stack.callback(copy.close)
        outputs = Outputs(host, environ=environ, say=journal.say)
        stack.callback(outputs.close)
        outputs.start()
        agent = Agent(
            host,
            doors,
            environ=environ,
            journal=journal,
            manager=Manager(environ),
            reload=reload,
            on_ready=on_ready,
            on_reload=outputs.renew,
            early=early,
            more={
                "last_good": lambda: None if copy is None else copy.status()._asdict(),
                "files": lambda: [file._asdict() for file in outputs.status()],
            },
        )
        uvloop.run(agent.run())
        host.drain()
        journal.say("ended")


def write_once(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    passphrase: Callable[[], Secret[str]] | None = None,
) -> list[tuple[str, StrongroomError | None]]:
    """
    Write the files of *settings* once, as an agent would, and tell nobody of a change.

    Returns:
        the name of each file, and what was wrong with it.

    Raises:
        ConflictError: an agent runs on the same state.
        As `serve`.
    """
    hygiene.secure()
    with ExitStack() as stack:
        folder = settings.agent.state
        prepare(folder, 0o700, key="agent.state")
        stack.callback(Lock(folder / "agent.lock", f"the state folder {folder}").close)
        host = open_host(settings, environ=environ, passphrase=passphrase)
        stack.callback(host.close)
        host.start()
        return write_files(host)


def _figures(floor: Floor, peers: Peers) -> str:
    """Give what is counted of the socket of frames, for `/metrics`."""
    from strongroom.agent.http import figure  # noqa: PLC0415 -- only where HTTP is answered

    reads = floor.served + sum(line.reads for line in floor.lines)
    parsed = parse_status(floor.host.parsing)
    told = [
        *figure("strongroom_agent_connections", "", {"": len(floor.lines)}),
        *figure("strongroom_agent_reads_total", "", {"": reads}),
        *figure("strongroom_agent_parse_reads_total", "", {"": parsed.reads}),
        *figure("strongroom_agent_parse_asked_total", "", {"": parsed.asked}),
        *figure("strongroom_agent_announced", "", {"": len(floor.announced)}),
        *_verified(floor),
        *figure("strongroom_agent_closed_total", "reason", floor.closed),
        *figure("strongroom_agent_refused_total", "", {"": sum(peers.refused.values())}),
    ]
    return "".join(f"{line}\n" for line in told)


def _verified(floor: Floor) -> Iterable[str]:
    """Give what is counted of runs that were to be verified."""
    from strongroom.agent.http import figure  # noqa: PLC0415 -- as above

    told = dict(floor.verifying.status())
    states = {"verified": told.pop("now"), "pending": told.pop("pending")}
    yield from figure("strongroom_agent_runs", "state", states)
    yield from figure("strongroom_agent_verifications_total", "outcome", told)


def _server_of(host: Host) -> dict[str, str]:
    """Tell which server decides for *host*, and what it calls this agent; nothing where none does."""
    if host.status().decided_by != "server":
        return {}
    from strongroom.caller import enrolled  # noqa: PLC0415 -- only who has a server

    settings = host.settings.agent
    with suppress(StrongroomError):
        found = enrolled.find(settings.state)
        if found is not None:
            return {
                "server": found.url if settings.server is None else settings.server.url,
                "agent": found.name,
            }
    return {}


def _trouble(journal: Journal, what: str, error: StrongroomError, *, level: str = "warning") -> None:
    hint = {"hint": error.hint} if error.hint else {}
    journal.say(what, level=level, code=error.code, why=str(error), **hint)
