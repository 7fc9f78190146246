"""
Where the backend asks: one source for each set of options, made at the first lookup of a process.

Not for how Airflow calls (`backend.py`), nor for what becomes of trouble (`edge.py`).

Rules of this file:

1. Nothing is opened before the first lookup: making a backend does nothing, in any of Airflow's processes.
2. A source belongs to one process. A child makes its own, and what it inherited it leaves alone.
3. An agent is asked with what its client needs and no more; a room, of this machine or of a server, is
   loaded only where one is asked.
4. What the options name goes before what the environment names, except `STRONGROOM_AGENT`, which forbids.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from abc import ABC, abstractmethod
from collections.abc import Mapping

import strongroom
from strongroom import place
from strongroom.errors import BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.airflow.options import Options
    from strongroom.caller.agent import AgentClient
    from strongroom.caller.frames import Answer
    from strongroom.model.ref import Ref
    from strongroom.service.room import Room

__all__ = ["AgentSource", "RoomSource", "Source", "source_of"]

_NAMED_PLACES = ("STRONGROOM_SOCKET", "STRONGROOM_URL", "STRONGROOM_PROFILE")
_SAID_BESIDE_A_URL = ("STRONGROOM_TOKEN_FILE", "STRONGROOM_TOKEN", "STRONGROOM_URL", "STRONGROOM_CA")
_OF_A_SERVER = ("STRONGROOM_TOKEN", "STRONGROOM_TOKEN_FILE", "STRONGROOM_CA", "STRONGROOM_DEPLOYMENT")


class Source(ABC):
    """
    One place to ask.

    Threads: may be used from several threads and loops at once, in the process that made it.

    Attributes:
        kind: `agent`, `server` or `library`.
        place: the same with its address, for messages.
        client: asks the agent; None where there is none.
    """

    kind: str
    place: str
    client: AgentClient | None = None

    @abstractmethod
    def text(self, ref: Ref, *, is_parse: bool = False) -> str | None:
        """
        Give the stored text of *ref*, references resolved; None where it is nowhere.

        Args:
            ref: what is asked for.
            is_parse: all that parse may share one answer.

        Raises:
            AccessDeniedError, BackendUnavailableError, MalformedEntryError, …: as docs/errors.md says.
        """

    @abstractmethod
    async def atext(self, ref: Ref, *, is_parse: bool = False) -> str | None:
        """Give what `text` gives without blocking the loop."""

    @abstractmethod
    def explain(self, ref: Ref) -> str:
        """
        Tell in one line who was asked for *ref* and what each said; never a value.

        Raises:
            As `text`.
        """

    @abstractmethod
    def room(self) -> Room:
        """Give a room of the same place, for all else that can be done there."""

    def worded(self, text: str) -> str:
        """Give a *text* for people with the names of variables of the environment as they were said here."""
        return text


class AgentSource(Source):
    """The agent of this machine."""

    kind = place.AGENT
    client: AgentClient

    def __init__(self, path: str, *, setting: str | None = None) -> None:
        from strongroom.airflow.context import run_now  # noqa: PLC0415 -- with the first lookup
        from strongroom.caller import frames  # noqa: PLC0415 -- as above
        from strongroom.caller.agent import AgentClient  # noqa: PLC0415 -- as above

        self.place = f"agent {path}"
        self.client = AgentClient(path, version=strongroom.__version__, claims=run_now)
        self._raw = frames.RAW
        self._parse = frames.RAW | frames.PARSE
        self._setting = setting
        self._room: Room | None = None

    def text(self, ref: Ref, *, is_parse: bool = False) -> str | None:
        flags = self._parse if is_parse else self._raw
        return _text_in(self.client.read(*ref, flags=flags), ref)

    async def atext(self, ref: Ref, *, is_parse: bool = False) -> str | None:
        flags = self._parse if is_parse else self._raw
        return _text_in(await self.client.native().read(*ref, flags=flags), ref)

    def explain(self, ref: Ref) -> str:
        import json  # noqa: PLC0415 -- Airflow has it loaded

        return _line_of(json.loads(self.client.explain(*ref)))

    def room(self) -> Room:
        if self._room is None:
            from strongroom.remote.host import HostRoom  # noqa: PLC0415 -- only for more than reading

            self._room = HostRoom(self.client, setting=self._setting)
        return self._room


def _text_in(answer: Answer, ref: Ref) -> str | None:
    if answer.text is not None:
        return answer.text
    from strongroom.caller import frames  # noqa: PLC0415 -- loaded by then
    from strongroom.caller.agent import outcome_error  # noqa: PLC0415 -- as above

    if answer.outcome == frames.ABSENT:
        return None
    error = outcome_error(answer, *ref)
    if isinstance(error, BackendUnavailableError) and error.backend == place.AGENT:
        error.backend = "a backend of the agent"  # which itself is there, and can tell why
    raise error


class RoomSource(Source):
    """A server, or the stores of this machine, asked through a room that the first lookup opens."""

    def __init__(self, kind: str, options: Options, environ: Mapping[str, str]) -> None:
        self.kind = kind
        self.place = _address(kind, options, environ)
        self._options = options
        self._environ = environ
        self._lock = allocate_lock()
        self._room: Room | None = None

    def room(self) -> Room:
        room = self._room
        if room is None:
            with self._lock:
                if self._room is None:
                    from strongroom.airflow.context import claimed  # noqa: PLC0415 -- with the first lookup

                    self._room = _open(self._options, self._environ)
                    self._room.lookup.claim_by(claimed)
                room = self._room
        return room

    def text(self, ref: Ref, *, is_parse: bool = False) -> str | None:  # noqa: ARG002 -- no snapshot without an agent
        found = (self._room or self.room()).lookup.find(ref)
        return None if found is None else found.secret.reveal()

    async def atext(self, ref: Ref, *, is_parse: bool = False) -> str | None:  # noqa: ARG002 -- as text
        if self._room is None:
            from asyncio import to_thread  # noqa: PLC0415 -- who awaits has it loaded

            # A passphrase or a command of the settings takes its time, and the loop goes on meanwhile.
            await to_thread(self.room)
        found = await self.room().lookup.afind(ref)
        return None if found is None else found.secret.reveal()

    def worded(self, text: str) -> str:
        for variable in _SAID_BESIDE_A_URL if self._options.url else ():
            if variable not in self._environ or variable not in os.environ:
                text = text.replace(variable, f"the option {variable[11:].lower()}")
        return text

    def explain(self, ref: Ref) -> str:
        return _line_of(self.room().lookup.explain(ref).to_dict())


# --- the one of this process -------------------------------------------------------------------------

_lock = allocate_lock()
_made: list[tuple[int, Options, Source]] = []


def source_of(options: Options) -> Source:
    """
    Give the source of *options* in this process: the same one to everybody with equal options.

    Raises:
        SettingsError: the environment says what cannot be right about the place.
    """
    process = os.getpid()
    with _lock:
        for owner, known, source in _made:
            if owner == process and known == options:
                return source
        source = _source(options)
        # What a parent made is kept and never touched: letting go of it could end what it shares with us.
        _made.append((process, options, source))
        return source


def _source(options: Options) -> Source:
    if options.socket:
        return AgentSource(options.socket)
    if options.url:
        return RoomSource(place.SERVER, options, _Environ(os.environ, _of_server(options)))
    if options.is_placed:
        return RoomSource(place.LIBRARY, options, _Environ(os.environ, dict.fromkeys(_NAMED_PLACES)))
    where = place.find(os.environ)
    if where.kind == place.AGENT:
        return AgentSource(where.path or "", setting=where.setting)
    return RoomSource(where.kind, options, os.environ)


def _of_server(options: Options) -> dict[str, str | None]:
    # The token goes with the url it was said beside; one of the environment is somebody else's.
    said: dict[str, str | None] = dict.fromkeys((*_NAMED_PLACES, *_OF_A_SERVER))
    said["STRONGROOM_URL"] = options.url
    said["STRONGROOM_CA"] = options.ca or os.environ.get("STRONGROOM_CA")
    said["STRONGROOM_TOKEN"] = options.token
    said["STRONGROOM_TOKEN_FILE"] = options.token_file
    if not options.token and not options.token_file:
        said["STRONGROOM_TOKEN"] = os.environ.get("STRONGROOM_TOKEN")
        said["STRONGROOM_TOKEN_FILE"] = os.environ.get("STRONGROOM_TOKEN_FILE")
    return said


def _open(options: Options, environ: Mapping[str, str]) -> Room:
    deployment = options.deployment
    if options.url or not (options.chain or options.backend):
        return strongroom.open_room(options.settings, deployment=deployment, environ=environ)
    from strongroom.settings import load, without_file  # noqa: PLC0415 -- only for what is written out

    tables: dict[str, object] = {"chain": list(options.chain)} if options.chain else {}
    if options.backend:
        tables["backend"] = options.backend
    if options.settings:
        settings = load(options.settings, environ=environ, deployment=deployment, tables=tables)
    else:
        settings = without_file(environ, tables=tables, deployment=deployment)
    return strongroom.open_room(settings, environ=environ)


def _address(kind: str, options: Options, environ: Mapping[str, str]) -> str:
    if kind == place.SERVER:
        # A host and no more of it: a url may have been pasted with a password in it.
        named = options.url or environ.get("STRONGROOM_URL") or ""
        host = named.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
        return f"server {host}" if host else "server of the profile"
    if options.settings:
        return f"settings {options.settings}"
    if options.chain:
        return f"chain {', '.join(options.chain)}"
    file = environ.get("STRONGROOM_CONFIG")
    return f"settings {file}" if file else "settings as the command line finds them"


class _Environ(Mapping[str, str]):
    """The environment as it is at each look, with some variables said otherwise; None hides one."""

    def __init__(self, under: Mapping[str, str], over: Mapping[str, str | None]) -> None:
        self._under = under
        self._over = over

    def __getitem__(self, name: str) -> str:
        if name not in self._over:
            return self._under[name]
        found = self._over[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys((*self._under, *self._over))
        return (name for name in names if self._over.get(name, "") is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _line_of(told: Mapping[str, object]) -> str:
    """Give one line of an `Explanation` as plain JSON types: outcome, then each backend in order."""
    steps = told.get("steps")
    parts = [
        f"{step.get('backend')} {step.get('outcome')}"
        + (f" ({step['reason']})" if step.get("reason") else "")
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict)
    ]
    reason = f" ({told['reason']})" if told.get("reason") else ""
    line = f"{told.get('outcome')}{reason}: asked {', '.join(parts) or 'nobody'}"
    return "".join(one if one.isprintable() else " " for one in line)[:1000]


def _forget_after_fork() -> None:
    global _lock  # noqa: PLW0603 -- another thread of the parent may have held it
    _lock = allocate_lock()


os.register_at_fork(after_in_child=_forget_after_fork)
