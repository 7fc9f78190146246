"""
The nouns of a room, each made when it is first asked for.

Not for opening anything: backends, keys and log are open when they come here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.assembly.backends import patience_of
from strongroom.assembly.store import barrier_of, make_key_files, no_store
from strongroom.assembly.ways import local_owner
from strongroom.audit import AuditLog
from strongroom.cache import Cache, Lifetimes, boot_seconds
from strongroom.chain import Chain
from strongroom.errors import StrongroomError, TamperedError
from strongroom.policy import Action, Actor
from strongroom.service.guard import Guard, event_of
from strongroom.service.known import known_facts, known_metadata
from strongroom.service.lookup import Lookup
from strongroom.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.asynchronous import Bridge
    from strongroom.audit.intake import Intake
    from strongroom.backend import Backend
    from strongroom.barrier import Barrier
    from strongroom.model.ref import Ref
    from strongroom.registry import Registry
    from strongroom.service.access import Access
    from strongroom.service.arrangement import Arrangement
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Backends
    from strongroom.service.backup import KeptBackups
    from strongroom.service.changes import Changes, Feed
    from strongroom.service.connection_tests import ConnectionTests
    from strongroom.service.deployments import Deployments
    from strongroom.service.doctor import Doctor, Reports
    from strongroom.service.entries import Entries
    from strongroom.service.guard import Recorder
    from strongroom.service.inventory import Inventory
    from strongroom.service.keys import Keys
    from strongroom.service.order import Orders
    from strongroom.service.policies import Policies
    from strongroom.service.proving import Proofs
    from strongroom.service.reading import Reader, Reading, Uses
    from strongroom.service.registered import Registered, Views
    from strongroom.service.room import Room
    from strongroom.service.series import Ring, Series
    from strongroom.service.transfer import Transfer
    from strongroom.service.trials import Trials
    from strongroom.service.verified import VerifiedRuns

_NOTHING_KEPT = Lifetimes(ttl=timedelta(), stale_if_error=timedelta(), absent_ttl=timedelta(), max_absences=0)


class OfHouse(NamedTuple):
    """What a deployment has in a house and a room alone makes when it needs it."""

    registry: Registry
    feed: Feed
    uses: Uses | None
    ring: Ring | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """
    Makes each noun when it is first asked for; see `service/room.py`.

    Args:
        cache: in the library the owner's own, whose fills are recorded; in a house the chain's as such.
        owner: whose *cache* is; None where it is everybody's.
        house: what it shares with the watchers of a house, where there is one.
        environ: where secrets of the settings may stand.
    """

    settings: Settings
    chain: Chain
    cache: Cache
    guard: Guard
    log: AuditLog
    clock: Callable[[], datetime]
    owner: Actor | None = None
    house: OfHouse | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for barrier in self._barriers():
            barrier.on_worn = partial(raise_key_alarm, self.guard.recorder)

    def lookup(self, actor: Actor) -> Lookup:
        return Lookup(
            self.reading.reader(actor),
            self.chain,
            self.guard,
            actor,
            dialect=self.settings.lookup.dialect,
            bridge=self._bridge,
        )

    def reader(self, room: Room) -> Reader:
        return self.reading.reader(room.actor)

    def entries(self, room: Room) -> Entries:
        from strongroom.service.entries import Entries  # noqa: PLC0415 -- see the class

        return Entries(
            lookup=room.lookup,
            inventory=room.inventory,
            cache=self.cache,
            chain=self.chain,
            guard=self.guard,
            actor=room.actor,
            clock=self.clock,
            dialect=self.settings.lookup.dialect,
            has_store=bool(self._barriers()),
            on_change=None if self.house is None else self._tell_of_change,
            before_reveal=None if self.house is None else self.all_policies.as_actor(room.actor).spend,
        )

    def inventory(self, room: Room) -> Inventory:
        return self._inventory(room.actor)

    def _inventory(self, actor: Actor) -> Inventory:
        from strongroom.service.inventory import Inventory  # noqa: PLC0415 -- see the class

        return Inventory(
            self.chain,
            self.guard,
            actor,
            clock=self.clock,
            orders=None if self.house is None else lambda: self._orders,
        )

    def register(self, room: Room) -> Registered:
        from strongroom.service.registered import Registered  # noqa: PLC0415 -- see the class

        return Registered(lambda: self._views, self.guard, room.actor)

    def transfer(self, room: Room) -> Transfer:
        from strongroom.service.transfer import Transfer  # noqa: PLC0415 -- see the class

        return Transfer(room)

    def backends(self, room: Room) -> Backends:
        from strongroom.service.backends import Backends  # noqa: PLC0415 -- see the class

        kinds = {name: backend.kind for name, backend in self.settings.backend.items()}
        return Backends(
            self.chain,
            self.guard,
            room.actor,
            kinds=kinds,
            arrangement=self.arrangement,
            clock=self.clock,
        )

    def keys(self, room: Room) -> Keys:
        from strongroom.service.keys import Keys  # noqa: PLC0415 -- see the class

        return Keys(
            self._barriers(),
            self.guard,
            room.actor,
            registry=lambda: self.registry,
            rate=self.settings.keys.rewrap_rate,
            lifetime=timedelta(days=self.settings.keys.rotate_after_days),
            make_outer=partial(make_key_files, self.settings, self.environ),
        )

    def backups(self, room: Room) -> KeptBackups:
        from strongroom.assembly.backup import kept_backups  # noqa: PLC0415 -- see the class
        from strongroom.assembly.ways import Ways  # noqa: PLC0415 -- as above

        return kept_backups(
            self.settings,
            Ways(environ=self.environ, clock=self.clock),
            barrier=self._barrier(),
            log=self.log,
            guard=self.guard,
            actor=room.actor,
        )

    def audit(self, room: Room) -> AuditTrail:
        from strongroom.service.audit import AuditTrail  # noqa: PLC0415 -- see the class

        return AuditTrail(self.log, self.guard, room.actor, self.settings.audit, self._proofs)

    def series(self, room: Room) -> Series:
        from strongroom.service.series import Series  # noqa: PLC0415 -- see the class

        ring = None if self.house is None else self.house.ring
        return Series(ring, self.guard, room.actor, clock=self.clock)

    def doctor(self, room: Room) -> Doctor:
        from strongroom.service.doctor import Case, Doctor  # noqa: PLC0415 -- see the class

        case = Case(clock=self.clock, settings=self.settings, room=room, audit=room.audit)
        if self.house is None:
            return Doctor(case)
        check = partial(self.guard.check, room.actor, Action.ADMINISTER, None, None)
        return Doctor(case, reports=self._reports, require=check)

    def access(self, room: Room) -> Access:
        return self.all_access.as_actor(room.actor)

    def policies(self, room: Room) -> Policies:
        return self.all_policies.as_actor(room.actor)

    def changes(self, room: Room) -> Changes:
        from strongroom.service.changes import Changes  # noqa: PLC0415 -- see the class

        metadata = partial(known_metadata, self.chain)
        return Changes(self._feed, self.guard, room.actor, self._bridge, metadata)

    def deployments(self, room: Room) -> Deployments:
        from strongroom.service.deployments import Deployments  # noqa: PLC0415 -- see the class

        return Deployments(
            room,
            self.guard,
            self._teams,
            chain=self.chain,
            dialect=self.settings.lookup.dialect,
            has_register=self.house is not None,
        )

    def tests(self, room: Room) -> ConnectionTests:
        from strongroom.service.connection_tests import ConnectionTests  # noqa: PLC0415 -- see the class

        return ConnectionTests(
            room.lookup,
            self.guard,
            room.actor,
            trials=self._trials,
            clock=self.clock,
            dialect=self.settings.lookup.dialect,
        )

    def _trials(self) -> Trials | None:
        from strongroom.service.trials import trials_of  # noqa: PLC0415 -- see the class

        return trials_of(self.registry) if self._barriers() else None

    def warm(self) -> None:
        """Begin to read behind what pages ask for."""
        if self._barriers():
            self._views.register.warm()

    def close(self) -> None:
        if "bridge" in self.__dict__:
            self.bridge.close()
        if "verified" in self.__dict__:
            self.verified.close()
        if "_views" in self.__dict__:
            self._views.register.close()
        if self.house is None and "registry" in self.__dict__:
            self.registry.close()
        self.cache.close()
        self.log.close()

    # --- what many actors share --------------------------------------------------------------------

    @cached_property
    def reading(self) -> Reading:
        """Reads as anybody; where the cache is its owner's, past it."""
        from strongroom.service.reading import Reading  # noqa: PLC0415 -- a room of one owner does without

        cache = self.cache
        if self.owner is not None:
            cache = Cache(self.chain, _NOTHING_KEPT, clock=self.clock, patience=patience_of(self.settings))
        return Reading(
            cache,
            self.guard,
            self._bridge,
            uses=None if self.house is None else self.house.uses,
            facts=known_facts(self.chain),
            dialect=self.settings.lookup.dialect,
        )

    @cached_property
    def bridge(self) -> Bridge:
        """For all who wait beside a loop."""
        from strongroom.asynchronous import Bridge  # noqa: PLC0415 -- asyncio: 20 ms

        # More threads than the backends' own together: one slow backend must not take them all.
        threads = max(64, self.chain.capacity + 8)
        return Bridge(self.cache, threads=threads, patience=patience_of(self.settings))

    def _bridge(self) -> Bridge:
        return self.bridge

    @cached_property
    def registry(self) -> Registry:
        """The rows of who may, in the store of this deployment."""
        if self.house is not None:
            return self.house.registry
        return registry_of(self._barrier(), self.settings, partial(raise_alarm, self.guard.recorder))

    @cached_property
    def arrangement(self) -> Arrangement:
        """How the chain stands while it is asked."""
        from strongroom.service.arrangement import Arrangement  # noqa: PLC0415 -- only who changes it loads it

        return Arrangement(
            self.chain,
            (lambda: self.registry) if self._barriers() else None,
            is_managed=self.settings.managed == "server",
            clock=self.clock,
            on_change=self._turn,
        )

    def _turn(self, backends: frozenset[str] | None) -> None:
        """Ask anew for what *backends* answered; where it may be any, tell whoever follows, too."""
        self.cache.expire(backends)
        if backends is None:
            if "_orders" in self.__dict__:
                self._orders.clear()
            if "_views" in self.__dict__:
                self._views.register.clear()
            if self.house is not None:
                self.house.feed.turn()

    @cached_property
    def intake(self) -> Intake:
        """What takes the records of agents."""
        from strongroom.audit.intake import Intake  # noqa: PLC0415 -- only who has agents

        return Intake(self.log.folder, self.guard.recorder)

    @cached_property
    def verified(self) -> VerifiedRuns:
        """What verifies runs for agents."""
        from strongroom.assembly.runs import verified_runs  # noqa: PLC0415 -- only who has agents

        return verified_runs(
            self.settings,
            self._barrier(),
            self.registry,
            self.guard.recorder,
            clock=self.clock,
            environ=self.environ,
        )

    @cached_property
    def all_access(self) -> Access:
        """People, tokens and roles, as nobody."""
        return _access(self)

    @cached_property
    def all_policies(self) -> Policies:
        """Policies, as nobody."""
        from strongroom.service.policies import Policies, Sources  # noqa: PLC0415 -- only who asks who may

        sources = Sources(
            inventory=self._inventory,
            teams=self._teams,
            facts=known_facts(self.chain),
            version=self._version,
        )
        return Policies(self.registry, self.guard, local_owner(), clock=self.clock, sources=sources)

    @cached_property
    def _reports(self) -> Reports:
        from strongroom.service.doctor import Reports  # noqa: PLC0415 -- only who looks

        return Reports()

    @cached_property
    def _proofs(self) -> Proofs | None:
        from strongroom.service.proving import Proofs  # noqa: PLC0415 -- only who looks

        return None if self.house is None else Proofs(self.clock)

    @cached_property
    def _feed(self) -> Feed:
        from strongroom.service.changes import Feed  # noqa: PLC0415 -- see the class

        return Feed(self._barrier(), self.cache) if self.house is None else self.house.feed

    @cached_property
    def _orders(self) -> Orders:
        from strongroom.service.order import Orders  # noqa: PLC0415 -- see the class

        barrier = self._barrier()
        tracked = frozenset(link.name for link in self.chain.links if barrier_of(link.backend) is barrier)
        return Orders(self.chain, self._feed, tracked, clock=self.clock)

    @cached_property
    def _views(self) -> Views:
        from strongroom.service.host_inventory import LastReads  # noqa: PLC0415 -- see the class
        from strongroom.service.register import Register  # noqa: PLC0415 -- as above
        from strongroom.service.registered import Views  # noqa: PLC0415 -- as above
        from strongroom.service.trials import trials_of  # noqa: PLC0415 -- as above

        barrier = self._barrier()
        uses = None if self.house is None else self.house.uses
        register = Register(
            self.chain,
            self._feed,
            frozenset(link.name for link in self.chain.links if barrier_of(link.backend) is barrier),
            teams=self._teams,
            clock=self.clock,
            reads=uses.last_reads if isinstance(uses, LastReads) else dict,
            tests=trials_of(self.registry).all,
        )
        return Views(register)

    def _tell_of_change(self, place: Backend, refs: Sequence[Ref]) -> None:
        """Let other processes hear of a change that a backend without a line in our store has made."""
        if barrier_of(place) is not None:
            self._feed.ring()
            return
        with suppress(StrongroomError):  # it was made; caches elsewhere see it within their `ttl`
            self._feed.note(refs)

    def _version(self, ref: Ref) -> str | None:
        entry = self.chain.read(ref)
        return None if entry is None else entry.version

    def _teams(self) -> list[str]:
        return sorted({team for barrier in self._barriers() for team in barrier.teams()})

    def _barrier(self) -> Barrier:
        for barrier in self._barriers():
            return barrier
        raise no_store(self.settings)

    def _barriers(self) -> list[Barrier]:
        found = (barrier_of(link.backend) for link in self.chain.links)
        return [barrier for barrier in found if barrier is not None]


def raise_alarm(recorder: Recorder, error: TamperedError) -> None:
    """Put on record that the rows of who may were changed by hand; every decision is a denial until then."""
    alarm = event_of(local_owner(), Action.ADMINISTER, None, "invalid", reason=f"alarm: {error}")
    with suppress(StrongroomError):  # what cannot be recorded is refused wherever it is asked for
        recorder.append(alarm)


def raise_key_alarm(recorder: Recorder, told: str) -> None:
    """Put on record that a key has sealed as much as it should."""
    alarm = event_of(local_owner(), Action.ADMINISTER, None, "done", reason=f"alarm: {told}")
    with suppress(StrongroomError):  # the write that it came with stands
        recorder.append(alarm)


def registry_of(barrier: Barrier, settings: Settings, on_alarm: Callable[[TamperedError], None]) -> Registry:
    """Open the rows of who may, in the store of a deployment."""
    from strongroom.registry import Registry  # noqa: PLC0415 -- only who asks who may loads it

    return Registry(
        barrier.store,
        barrier,
        deployment=settings.deployment,
        anchor=settings.audit.path.parent / f"{settings.deployment}.anchor",
        on_alarm=on_alarm,
        memory=timedelta(seconds=settings.access.revoke_bound),
        timer=boot_seconds,
    )


def _access(parts: Parts) -> Access:
    from strongroom.assembly.identity import certificates_of, workloads_of  # noqa: PLC0415 -- as above
    from strongroom.assembly.oidc import demands_of, logins_of  # noqa: PLC0415 -- as above
    from strongroom.crypto._primitives import ed25519_check  # noqa: PLC0415 -- as above
    from strongroom.crypto.wrapping import stretch  # noqa: PLC0415 -- as above
    from strongroom.service.access import open_access  # noqa: PLC0415 -- as above

    return open_access(
        parts.registry,
        parts.guard,
        local_owner(),
        clock=parts.clock,
        stretch=stretch,
        check=ed25519_check,
        demands=demands_of(parts.settings),
        oidc=logins_of(parts.settings, parts.environ, parts.clock),
        workloads=workloads_of(parts.settings.access, clock=parts.clock, environ=parts.environ),
        certificates=certificates_of(parts.settings.access),
    )
