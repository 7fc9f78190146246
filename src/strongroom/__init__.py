"""
Keep variables and connections in the stores you trust; hand each to the task that may have it.

    import strongroom

    orders = strongroom.connection("orders_db")
    region = strongroom.variable("region", default="eu")

The first call finds out where to ask, once for the process: an agent of this machine, a server, or the
room that the settings describe (none at all works too). Every task imports this file, so importing it loads
nothing but the errors.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from strongroom import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from typing import Any

    from strongroom.airflow.source import Source
    from strongroom.caller.agent import AgentClient
    from strongroom.live.around import Run
    from strongroom.live.follow import Follow
    from strongroom.model.connection import Connection
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.model.secret import Secret
    from strongroom.model.variable import Variable
    from strongroom.service.clients import Clients
    from strongroom.service.entries import Written
    from strongroom.service.lookup import Lookup
    from strongroom.service.room import Room
    from strongroom.service.writing import Writing
    from strongroom.settings import Settings

__version__ = "0.1.0"
__all__ = [
    "Connection",
    "Secret",
    "Variable",
    "aclient",
    "aconnection",
    "avariable",
    "awrite",
    "client",
    "connection",
    "errors",
    "follow",
    "open_room",
    "update",
    "use_room",
    "variable",
    "write",
]

_LAZY = {
    "Connection": "strongroom.model.connection",
    "Secret": "strongroom.model.secret",
    "Variable": "strongroom.model.variable",
}


class _Required:
    """Says that no default was given, because None may be one."""

    def __repr__(self) -> str:
        return "<required>"


_REQUIRED = _Required()


def connection(name: str, *, team: str | None = None, **values: str | int) -> Connection:
    """
    Give a connection; `password` and every leaf of `extra` are Secrets.

    Args:
        name: which one. With *values* it is a pattern, such as `warehouse_{tenant}`.
        team: whose it is; the global one answers where the team has none.
        values: one for each parameter of the pattern, each a single segment of a name; see docs/python.md.

    Raises:
        InvalidInputError: a value that is none of one segment, or one too many or too few.
        NotFoundError: no backend has it; `hint` is the next command to type.
        AccessDeniedError, BackendUnavailableError, MalformedEntryError, SettingsError, …: see
            docs/errors.md.
    """
    agent = _agent_asked() if _room is None else None
    if agent is None:
        found = (_room or _opened()).lookup.connection(name, team, **values)
    else:
        if values:
            name = _filled(name, values)
        told = agent.connection(name, team)
        if told is None:
            raise agent.absent("connection", name, team)
        found = told
    if _hiding is not None:
        _hiding().hide("connection", name, found)
    return found


def variable(
    name: str,
    default: object = _REQUIRED,
    *,
    json: bool = False,
    team: str | None = None,
    **values: str | int,
) -> Any:  # noqa: ANN401 -- text, or any JSON
    """
    Give the text of a variable.

    Args:
        name: which one.
        default: given back where no backend has it; without one that is an error.
        json: parse the text as JSON.
        team: whose it is; the global one answers where the team has none.
        values: as `connection`.

    Raises:
        NotFoundError: no backend has it, and there is no default.
        MalformedEntryError: with *json*, the text is not JSON.
        As `connection`.
    """
    if values:
        name = _filled(name, values)
    entry = _peek(("variable", name, team))
    # The way of nearly every call: in memory, plain text. Everything else takes the long way.
    if entry is not None and not json and not entry.metadata.references and _hiding is None:
        return entry.secret.reveal()
    agent = _agent_asked() if _room is None else None
    if agent is not None:
        said = agent.variable_json(name, team) if json else agent.variable(name, team)
        if said is not None:
            if _hiding is not None:
                _hiding().hide("variable", name, said)
            return said[0] if json else said
        if default is not _REQUIRED:
            return default
        raise agent.absent("variable", name, team)
    lookup = (_room or _opened()).lookup
    found = lookup.find_variable(name, team)
    if found is None:
        if default is not _REQUIRED:
            return default
        found = lookup.variable_entry(name, team)  # raises, with all that can be said about it
    if _hiding is not None:
        _hiding().hide("variable", name, found.secret)
    return lookup.json_of(found) if json else found.secret.reveal()


async def aconnection(name: str, *, team: str | None = None, **values: str | int) -> Connection:
    """Give what `connection` gives without blocking the loop."""
    agent = _agent_asked() if _room is None else None
    if agent is None:
        found = await (_room or await _aopened()).lookup.aconnection(name, team, **values)
    else:
        if values:
            name = _filled(name, values)
        told = await agent.native().connection(name, team)
        if told is None:
            raise agent.absent("connection", name, team)
        found = told
    if _hiding is not None:
        await _hiding().ahide("connection", name, found)
    return found


async def avariable(
    name: str,
    default: object = _REQUIRED,
    *,
    json: bool = False,
    team: str | None = None,
    **values: str | int,
) -> Any:  # noqa: ANN401 -- as variable
    """Give what `variable` gives without blocking the loop."""
    if values:
        name = _filled(name, values)
    agent = _agent_asked() if _room is None else None
    if agent is not None:
        native = agent.native()
        said = await (native.variable_json(name, team) if json else native.variable(name, team))
        if said is not None:
            if _hiding is not None:
                await _hiding().ahide("variable", name, said)
            return said[0] if json else said
        if default is not _REQUIRED:
            return default
        raise agent.absent("variable", name, team)
    lookup = (_room or await _aopened()).lookup
    found = await lookup.afind_variable(name, team)
    if found is None:
        if default is not _REQUIRED:
            return default
        found = await lookup.avariable_entry(name, team)  # raises, with all that can be said about it
    if _hiding is not None:
        await _hiding().ahide("variable", name, found.secret)
    return lookup.json_of(found) if json else found.secret.reveal()


def follow(
    name: str,
    on_change: Callable[[Entry], None] | None = None,
    *,
    kind: Kind = "connection",
    team: str | None = None,
    interval: timedelta | None = None,
    **values: str | int,
) -> Follow:
    """
    Follow an entry: `current` is the newest, *on_change* is called with each new version.

    Args:
        name: which one.
        on_change: called on a thread of its own.
        kind: `connection` or `variable`.
        team: whose it is.
        interval: how often to look; 5 s if unsaid. An agent tells of changes by itself.
        values: as `connection`.

    Returns:
        a context manager; `close` ends the following.
    """
    from strongroom.model.ref import Ref  # noqa: PLC0415 -- most processes follow nothing

    if values:
        name = _filled(name, values)
    ref = Ref(kind, name, team)
    if _hiding is not None:
        on_change = _hiding().telling(kind, name, on_change)
    agent = _agent_asked() if _room is None else None
    if agent is None:
        following = (_room or _opened()).lookup.follow(ref, on_change, interval=interval)
    else:
        from strongroom.remote.host import HostLookup  # noqa: PLC0415 -- as above

        following = HostLookup(agent).follow(ref, on_change, interval=interval)
    if _hiding is not None:
        _hiding().hide(kind, name, following.current.secret)
    return following


def client(
    name: str,
    *,
    driver: str | None = None,
    service: str | None = None,
    team: str | None = None,
    options: Mapping[str, object] | None = None,
    **values: str | int,
) -> Any:  # noqa: ANN401 -- a library's own object
    """
    Give a live client of a connection: its library's own object, which follows the connection.

    New sessions use what the connection says then, running ones finish; refused credentials are read anew
    once and tried once more. Each call makes another client; close it as its library says.

    Args:
        name: of the connection. With *values* a pattern, as `connection`.
        driver: which of the libraries that its type has, such as `psycopg`; its first one, if unsaid. The
            table is in docs/live.md.
        service: of a cloud, such as `s3`.
        team: whose it is.
        options: for the library's own constructor, such as `{"pool_size": 5}`.
        values: as `connection`.

    Raises:
        BackendConfigError: the library is not installed (`hint` is what to install), there is none for the
            type, or the connection lacks a field.
        As `connection`.
    """
    if values:
        name = _filled(name, values)
    return _live().client(name, driver=driver, service=service, team=team, options=options)


async def aclient(
    name: str,
    *,
    driver: str | None = None,
    service: str | None = None,
    team: str | None = None,
    options: Mapping[str, object] | None = None,
    **values: str | int,
) -> Any:  # noqa: ANN401 -- as client
    """Give the asynchronous client of a connection where its library has one, else what `client` gives."""
    from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

    if values:
        name = _filled(name, values)
    live = await to_thread(_live)
    return await live.aclient(name, driver=driver, service=service, team=team, options=options)


def write(  # noqa: PLR0913 -- what may be said of a write
    name: str,
    value: str | Secret[str] | Connection,
    *,
    kind: Kind = "variable",
    team: str | None = None,
    expected_version: str | None = None,
    expires_in: timedelta | float | None = None,
    description: str | None = None,
    comment: str = "",
) -> Written:
    """
    Write a variable or a connection: where it is now if that place can be written, else to `write_to`.

    Args:
        name: which one.
        value: its text (a connection's as JSON or URI), or a `Connection`.
        kind: `variable` or `connection`; a `Connection` is one whatever is said.
        team: whose it is.
        expected_version: write only over this version; `absent`: only if there is nothing.
        expires_in: seconds or a timedelta; then it is gone. Unsaid, what was said before stays.
        description: public. Unsaid, what was said before stays.
        comment: why; kept in the history and in the record.

    Returns:
        the `backend` that took it and the `version` that stands now.

    Raises:
        ConflictError: another version stands.
        ReadOnlyError: no place takes it, or one that cannot compare versions.
        InvalidInputError, AccessDeniedError, BackendUnavailableError, …: as `connection`.
    """
    if _hiding is not None:
        _hiding().hide(kind, name, value)
    return _writing(_agent_asked() if _room is None else None).write(
        name,
        value,
        kind=kind,
        team=team,
        expected_version=expected_version,
        expires_in=expires_in,
        description=description,
        comment=comment,
    )


async def awrite(name: str, value: str | Secret[str] | Connection, **said: Any) -> Written:  # noqa: ANN401 -- as write
    """Do what `write` does without blocking the loop."""
    from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

    return await to_thread(write, name, value, **said)


def update(  # noqa: PLR0913 -- as write
    name: str,
    change: Callable[[str | None], str | Secret[str] | Connection | None],
    *,
    kind: Kind = "variable",
    team: str | None = None,
    expires_in: timedelta | float | None = None,
    description: str | None = None,
    comment: str = "",
) -> str | None:
    """
    Change a value that others may change at the same time, losing nothing of theirs.

    *change* is given the text that stands, or None, and gives the new one; None leaves all as it is. Where
    another has written meanwhile it is called again with what stands then, so let it do nothing else.

    Args:
        name: which one.
        change: gives the new text; what it raises ends the update.
        kind: `variable` or `connection`.
        team: whose it is.
        expires_in: as `write`.
        description: as `write`.
        comment: as `write`.

    Returns:
        the text that stands now.

    Raises:
        ConflictError: others wrote it 100 times between reading and writing.
        ReadOnlyError: the place keeps no versions to compare.
        As `write`.
    """
    from strongroom.model.ref import Ref  # noqa: PLC0415 -- most processes only read

    if _hiding is not None:
        change = _hiding().hiding(kind, name, change)
    return _writing(_agent_asked() if _room is None else None).update(
        Ref(kind, name, team), change, expires_in=expires_in, description=description, comment=comment
    )


def open_room(
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    deployment: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Room:
    """
    Open a room of one's own, to close oneself: `with strongroom.open_room() as room`.

    Args:
        config: settings, or a settings file, or None to look for one.
        deployment: which of the file's, or the server's, deployments.
        environ: the environment, if not this process's.

    With `STRONGROOM_URL` or `STRONGROOM_PROFILE` it is a room of that server (docs/remote.md), with
    `STRONGROOM_SOCKET` one of that agent (docs/agent.md); settings that are given beside it are refused,
    since they could not count.

    Raises:
        SettingsError, BackendConfigError, SealedError: as their names say.
    """
    from strongroom import place  # noqa: PLC0415 -- only who opens a room asks where

    around = os.environ if environ is None else environ
    where = place.find(around) if config is None else None
    if where is not None and where.kind == place.SERVER:
        from strongroom import remote  # noqa: PLC0415 -- only where a server is named

        return remote.open_room(environ=around, deployment=deployment)
    if where is not None and where.kind == place.AGENT:
        from strongroom.remote import host  # noqa: PLC0415 -- only where an agent is asked

        return host.open_room(where, environ=around, deployment=deployment, version=__version__)
    from strongroom import assembly  # noqa: PLC0415 -- loads the stores; a task may never need it

    return assembly.open_room(config, deployment=deployment, environ=around)


class use_room:  # noqa: N801 -- used like a function: `with strongroom.use_room(room):`
    """
    Let `connection`, `variable` and the others above ask *room*, inside a `with` block.

    For tests, and for processes that open their room themselves. It counts for the whole process,
    all threads, and for a child forked inside the block; the room stays open afterwards.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._before: tuple[Room | None, bool] = (None, False)

    def __enter__(self) -> Room:
        with _lock:
            self._before = (_room, _is_given)
            _use(self._room, is_given=True)
        return self._room

    def __exit__(self, *_details: object) -> None:
        with _lock:
            room, is_given = self._before
            _forget_clients()
            _use(room, is_given=is_given)


# --- the room of this process ----------------------------------------------------------------------

_lock = allocate_lock()
_room: Room | None = None
_agent: AgentClient | None = None
_is_given = False
_configured: Callable[[], Source] | None = None
_hiding: Callable[[], Any] | None = None
_running: Callable[[], Any] | None = None


def _ask_through(
    configured: Callable[[], Source] | None,
    hiding: Callable[[], Any] | None = None,
    running: Callable[[], Any] | None = None,
) -> None:
    """
    Have this process ask where *configured* says, unless it asks somewhere by now; Airflow's backend does.

    Args:
        configured: gives where.
        hiding: gives what hides what is handed out from then on: `strongroom.airflow.hiding`.
        running: gives for which run the calling code works: `strongroom.airflow.context.run_now`.
    """
    global _configured, _hiding, _running  # where this process asks is its state
    _configured, _hiding, _running = configured, hiding, running


def _filled(pattern: str, values: Mapping[str, str | int]) -> str:
    from strongroom.model.pattern import fill  # noqa: PLC0415 -- most names are written out

    return fill(pattern, values)


def _nothing(_key: tuple[Kind, str, str | None]) -> Entry | None:
    return None


_peek: Callable[[tuple[Kind, str, str | None]], Entry | None] = _nothing


def _use(room: Room | None, *, is_given: bool = False) -> None:
    global _room, _is_given, _peek  # noqa: PLW0603 -- the one room of a process is its state
    _room, _is_given = room, is_given
    _peek = _nothing if room is None else room.lookup.peek


def _agent_asked() -> AgentClient | None:
    """Give the agent that this process asks; None where it asks a room."""
    return _agent or _find_agent()


def _find_agent() -> AgentClient | None:
    global _agent  # noqa: PLW0603 -- decided once for the process
    from strongroom import place  # noqa: PLC0415 -- who brings a room of their own never ask where

    with _lock:
        if _room is None and _agent is None and _configured is not None:
            _agent = _configured().client
        elif _room is None and _agent is None:
            where = place.find(os.environ)
            if where.kind == place.AGENT:
                from strongroom.caller.agent import AgentClient  # noqa: PLC0415 -- only where there is one

                _agent = AgentClient(where.path or "", version=__version__, environ=os.environ)
        return _agent


def _opened() -> Room:
    with _lock:
        if _room is not None:
            return _room
        room = open_room() if _configured is None else _configured().room()
        if _configured is None and os.environ.get("AIRFLOW_CTX_DAG_ID"):
            _claim_in(room)
        _use(room)
        return room


def _claim_in(room: Room) -> None:
    """Have *room* say with each read for which run of Airflow's it is: a task has started this program."""
    from strongroom.caller.agent import run_in  # noqa: PLC0415 -- few programs are started by tasks
    from strongroom.policy import Assurance, Run  # noqa: PLC0415 -- as above

    said = run_in(os.environ)
    run = None if said is None else Run(Assurance.CLAIMED, *said)
    room.lookup.claim_by(lambda: run)


async def _aopened() -> Room:
    from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

    # A passphrase or a command of the settings takes its time, and the loop goes on meanwhile.
    return await to_thread(_opened)


_clients: Clients | None = None


def _live() -> Clients:
    """Give what makes the live clients of this process, of the room or agent that it asks now."""
    global _clients  # noqa: PLW0603 -- what a process follows is its state
    agent = _agent_asked() if _room is None else None
    asked = agent or _room or _opened()
    with _lock:
        if _clients is None or _clients.asked is not asked:
            _forget_clients()
            _clients = _clients_of(asked)
        return _clients


def _clients_of(asked: Room | AgentClient) -> Clients:
    from strongroom.service.clients import Clients  # noqa: PLC0415 -- most processes have none
    from strongroom.service.room import Room  # noqa: PLC0415 -- as above

    is_given, process = _is_given, os.getpid()

    def place() -> Room | AgentClient:
        # A forked child opens a room of its own, unless it was told which to ask.
        return _opened() if isinstance(asked, Room) and not is_given and os.getpid() != process else asked

    def lookup(*, is_past_caches: bool = False) -> Lookup:
        found = place()
        if isinstance(found, Room):
            return found.lookup
        from strongroom.remote.host import HostLookup  # noqa: PLC0415 -- only where there is one

        return HostLookup(found, bypasses_cache=is_past_caches)

    def writing() -> Writing:
        found = place()
        return _writing(None, found) if isinstance(found, Room) else _writing(found)

    return Clients(
        asked,
        lookup=lookup,
        anew=lambda: lookup(is_past_caches=True),
        writing=writing,
        environ=os.environ,
        run=_run,
        seen=_seen,
        is_told=not isinstance(asked, Room),
    )


def _forget_clients() -> None:
    """End what is followed for the clients there are; they go on with what they know."""
    global _clients  # noqa: PLW0603 -- as `_live`
    if _clients is not None:
        _clients.close()
        _clients = None


def _seen(name: str, found: Connection) -> None:
    if _hiding is not None:
        _hiding().hide("connection", name, found)


def _run() -> Run | None:
    """Give for which run of Airflow's this code works, as its process says, or the task that started it."""
    from strongroom.caller.agent import run_in  # noqa: PLC0415 -- whoever calls this has it loaded
    from strongroom.live.around import Run  # noqa: PLC0415 -- as above

    said = run_in(os.environ) if _running is None else _running()
    return None if said is None or said[0] is None else Run(*said[:5])


def _writing(agent: AgentClient | None, room: Room | None = None) -> Writing:
    """Give what writes through *agent*; without one in *room*, or that of this process."""
    from strongroom.service.writing import RoomWriter, Writing  # noqa: PLC0415 -- most processes only read

    if agent is not None:
        from strongroom.remote.host import HostWriter  # noqa: PLC0415 -- as above

        return Writing(HostWriter(agent))
    from datetime import datetime, timezone  # noqa: PLC0415 -- as above

    return Writing(RoomWriter(room or _room or _opened(), lambda: datetime.now(timezone.utc)))


def _forget_after_fork() -> None:
    # The child opens its own, unless it was told which to ask: other values must not answer there.
    global _lock, _agent, _clients  # noqa: PLW0603 -- another thread of the parent may have held it
    _lock = allocate_lock()
    _agent = _clients = None
    if not _is_given:
        _use(None)


os.register_at_fork(after_in_child=_forget_after_fork)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module  # noqa: PLC0415 -- loaded by Python itself

        found: object = getattr(import_module(_LAZY[name]), name)
    elif name in errors.__all__:
        found = getattr(errors, name)
    else:
        raise AttributeError(f"module 'strongroom' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *errors.__all__})
