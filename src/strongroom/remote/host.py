"""
The room of an agent: it is read, explained, listed and followed, and programs write through it
(`HostWriter`); everything else is done where the store is.

Rules of this file:

1. Nothing is remembered between two reads: the agent decides and records each (`caller/agent.py`).
2. What an agent does not do raises one error that says where it is done (`place.elsewhere`); nothing falls
   back to the stores of this machine.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NoReturn

import msgspec

from strongroom.caller import frames
from strongroom.caller.agent import AgentClient, connection_in, outcome_error
from strongroom.caller.channel import NAME, no_answer
from strongroom.errors import SettingsError
from strongroom.model.entry import Entry
from strongroom.model.pattern import fill
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.place import AGENT, elsewhere
from strongroom.policy import Actor, Assurance
from strongroom.remote.answered import AnsweredLookup
from strongroom.remote.reads import explanation_of
from strongroom.service.room import Room
from strongroom.wire.entry import Explained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.live.follow import Follow
    from strongroom.model.connection import Connection, Dialect
    from strongroom.model.explanation import Explanation
    from strongroom.place import Place
    from strongroom.policy import Run
    from strongroom.service.connection_tests import ConnectionTests
    from strongroom.service.entries import Written
    from strongroom.service.inventory import Inventory
    from strongroom.service.lookup import Lookup
    from strongroom.service.writing import Wanted

__all__ = ["HostLookup", "HostRoom", "HostWriter", "open_room"]


def open_room(
    where: Place,
    *,
    environ: Mapping[str, str],
    deployment: str | None = None,
    dialect: Dialect | None = None,
    bypasses_cache: bool = False,
    version: str = "",
) -> HostRoom:
    """
    Open a room of the agent at *where*. Asks nothing yet: an outage shows with the first question.

    Args:
        where: an agent's place.
        environ: what it says of the run is passed on as a claim.
        deployment: none may be named, since an agent serves one.
        dialect: which of Airflow's two readings connections follow; the agent's, where unsaid.
        bypasses_cache: have the backends asked anew each time.
        version: of strongroom, which the agent is told.

    Raises:
        SettingsError: a deployment is named.
    """
    if deployment is not None:
        raise SettingsError(
            "an agent serves one deployment, which its own settings name",
            key=where.setting,
            hint="leave --deployment out; or name the socket of the agent that serves it",
        )
    agent = AgentClient(where.path or "", version=version, environ=environ)
    return HostRoom(agent, setting=where.setting, dialect=dialect, bypasses_cache=bypasses_cache)


class HostRoom(Room):
    """
    The deployment of an agent, as the user of this process.

    Threads: may be used from several at once, and after a fork.

    Attributes:
        deployment: "", since only the agent knows its name.
        actor: says only that the agent knows who asks.
    """

    def __init__(
        self,
        agent: AgentClient,
        *,
        setting: str | None = None,
        dialect: Dialect | None = None,
        bypasses_cache: bool = False,
    ) -> None:
        lookup = HostLookup(agent, dialect, bypasses_cache=bypasses_cache)
        super().__init__(
            deployment="",
            actor=Actor("local:agent", Assurance.CLAIMED),
            lookup=lookup,
            parts=_Parts(lookup, setting),
        )

    def as_actor(self, actor: Actor) -> Room:
        """Refuse another actor than whoever opened the connection."""
        if actor == self.actor:
            return self
        raise elsewhere("one acts as another", kind=AGENT)


class HostLookup(AnsweredLookup):
    """
    Read as whoever the agent takes this process to be of.

    Threads: may be used from several threads and loops at once, and after a fork.

    Args:
        agent: asks it.
        dialect: as `open_room`.
        bypasses_cache: as `open_room`.
    """

    def __init__(
        self, agent: AgentClient, dialect: Dialect | None = None, *, bypasses_cache: bool = False
    ) -> None:
        super().__init__()
        self._agent = agent
        self._said = dialect
        self._dialect = dialect or "core"  # for `parsed`; what the agent's own settings say is not told here
        self._flags = frames.BYPASS_CACHE if bypasses_cache else 0

    @property
    def agent(self) -> AgentClient:
        """What asks it."""
        return self._agent

    def claim_by(self, claims: Callable[[], Run | None]) -> None:
        """Tell the agent with each read for which run it is; it takes that for a claim."""

        def said() -> frames.Run | None:
            run = claims()
            return None if run is None else run[1:11]  # without what only others can know of it

        self._agent.claims = said

    # --- reading -----------------------------------------------------------------------------------

    def find(self, ref: Ref) -> Entry | None:
        """Give the entry of *ref*, references resolved by the agent; None where it is nowhere."""
        return _entry(self._agent.read(*ref, flags=self._flags | frames.RAW), ref)

    def connection(self, name: str, team: str | None = None, **values: str | int) -> Connection:
        """Give a connection. Arguments and errors as `Lookup.connection`."""
        ref = Ref("connection", fill(name, values) if values else name, team)
        found = self._agent.connection(ref.name, ref.team, dialect=self._said, flags=self._flags)
        if found is None:
            raise self.absent(ref)
        return found

    # --- why ---------------------------------------------------------------------------------------

    def explain(self, ref: Ref, *, run: Run | None = None) -> Explanation:
        """Tell which backend of the agent answers *ref* and why; never the value. Of its caller alone."""
        if run is not None:
            raise elsewhere("a lookup for another run is explained", kind=AGENT)
        try:
            told = msgspec.json.decode(self._agent.explain(*ref), type=Explained)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            return explanation_of(told, ref)
        raise no_answer(self._agent.path)

    # --- following, and asyncio ----------------------------------------------------------------------

    def follow(
        self,
        ref: Ref,
        on_change: Callable[[Entry], None] | None = None,
        *,
        interval: timedelta | None = None,
        gives_back: bool = False,
    ) -> Follow:
        """
        Keep the current entry of *ref*, and read it anew when the agent tells that it changed.

        Args:
            ref: what to follow.
            on_change: called with the new entry, on the following thread.
            interval: as `Follow`, for what was not told; 5 s if unsaid.
            gives_back: as `Lookup.follow`, by the agent, once nobody else has it either.

        Raises:
            As `entry`.
        """
        from strongroom.live.follow import Follow  # noqa: PLC0415 -- most processes follow nothing

        agent, key = self._agent, (ref.kind, ref.name, ref.team)
        interval = timedelta(seconds=5) if interval is None else interval
        return Follow(
            (lambda: self._followed(ref)) if gives_back else (lambda: self.entry(ref)),
            on_change,
            interval=interval,
            listen=lambda wake: agent.listen(key, wake),
        )

    def anew(self, ref: Ref) -> Entry | None:
        """Give what `find` gives, to who follows it."""
        return _entry(self._agent.read(*ref, flags=self._flags | frames.RAW | frames.FOLLOWED), ref)

    def _followed(self, ref: Ref) -> Entry:
        found = self.anew(ref)
        if found is None:
            raise self.absent(ref)
        return found

    async def afind(self, ref: Ref) -> Entry | None:
        """Give what `find` gives without blocking the loop, and without a thread."""
        return _entry(await self._agent.native().read(*ref, flags=self._flags | frames.RAW), ref)

    async def aentry(self, ref: Ref) -> Entry:
        """Give what `entry` gives without blocking the loop."""
        found = await self.afind(ref)
        if found is None:
            raise self.absent(ref)
        return found

    async def aconnection(self, name: str, team: str | None = None, **values: str | int) -> Connection:
        """Give what `connection` gives without blocking the loop."""
        ref = Ref("connection", fill(name, values) if values else name, team)
        answer = await self._agent.native().read(*ref, flags=self._flags | _dialect_flag(self._said))
        if answer.outcome == frames.ABSENT:
            raise self.absent(ref)
        return connection_in(answer, ref.name, ref.team)

    async def afind_variable(self, name: str, team: str | None = None) -> Entry | None:
        """Give what `find_variable` gives without blocking the loop."""
        return await self.afind(Ref("variable", name, team))

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._agent.close()


class HostWriter:
    """
    Writes through an agent, as whoever it takes this process to be of; a `Writer` (`service/writing.py`).

    Args:
        agent: asks it.
    """

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent
        self._lookup = HostLookup(agent, bypasses_cache=True)

    def write(self, asked: Wanted) -> Written:
        """Write; as `Writer.write`."""
        from strongroom.caller.writes import write  # noqa: PLC0415 -- most processes only read
        from strongroom.service.entries import Written  # noqa: PLC0415 -- as above

        order: dict[str, object] = {
            "kind": asked.ref.kind,
            "name": asked.ref.name,
            "team": asked.ref.team,
            "value": asked.secret.reveal(),
            "expected_version": asked.expected_version,
            "expires_in": None if asked.expires_in is None else asked.expires_in.total_seconds(),
            "description": asked.description,
            "comment": asked.comment,
        }
        return Written(*write(self._agent, order))

    def read(self, ref: Ref) -> Entry | None:
        """Give what stands; as `Writer.read`."""
        return self._lookup.find(ref)


class _Parts:
    """The nouns that an agent does not have."""

    def __init__(self, lookup: HostLookup, setting: str | None) -> None:
        self._lookup = lookup
        self._setting = setting

    def lookup(self, actor: Actor) -> Lookup:  # noqa: ARG002 -- there is one
        return self._lookup

    def entries(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("entries are described and changed")

    def inventory(self, room: Room) -> Inventory:  # noqa: ARG002 -- as Parts
        from strongroom.remote.host_listed import HostListed  # noqa: PLC0415 -- reads do without

        return HostListed(self._lookup.agent, self._setting)

    def register(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("all there is is found by words")

    def transfer(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("entries are imported and exported")

    def backends(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("backends are looked at")

    def keys(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("keys are looked at")

    def backups(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("backups are made and listed")

    def audit(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("records are read")

    def series(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("reads are counted by the minute")

    def deployments(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("deployments are looked at")

    def access(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("access is given")

    def policies(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("policies are looked at and changed")

    def doctor(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("a room is examined")

    def tests(self, room: Room) -> ConnectionTests:
        from strongroom.service.connection_tests import ConnectionTests  # noqa: PLC0415 -- reads do without

        return ConnectionTests(
            self._lookup, None, room.actor, trials=lambda: None, clock=lambda: datetime.now(timezone.utc)
        )

    def reader(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("reads of many actors are answered")

    def changes(self, room: Room) -> NoReturn:  # noqa: ARG002 -- as Parts
        self._refuse("changes are gathered")

    def _refuse(self, what: str) -> NoReturn:
        raise elsewhere(what, setting=self._setting, kind=AGENT)

    def close(self) -> None:
        self._lookup.close()


def _entry(answer: frames.Answer, ref: Ref) -> Entry | None:
    if answer.outcome == frames.ABSENT:
        return None
    if answer.text is None:
        raise outcome_error(answer, *ref)
    return Entry(
        ref=ref,
        secret=Secret(answer.text),
        backend=answer.backend or NAME,
        version=answer.version,
        read_at=datetime.now(timezone.utc) - timedelta(milliseconds=answer.age_ms or 0),
        lifetime=None if answer.ttl_ms is None else timedelta(milliseconds=answer.ttl_ms),
        is_stale=bool(answer.flags & frames.STALE),
        is_lent=bool(answer.flags & frames.LENT),
    )


def _dialect_flag(dialect: Dialect | None) -> int:
    return frames.SDK if dialect == "sdk" else 0
