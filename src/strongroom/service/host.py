"""
A Host: one deployment, served to the processes of one machine.

Not for speaking to them (`agent/`) nor for making the parts (`assembly.open_host`).

Rules of this file:

1. Who asks is a Unix user of this machine, as the kernel says; what it says of its run is its own word.
2. Settings are taken anew as a whole or not at all: where chain or policy cannot be made, the old ones stay,
   and the trouble is told. What is remembered outlives it, but for what came from a backend that is gone or
   is another now; of the rest nothing is served before it was asked for anew.
3. What runs on behind it ends with `close`: watches first, then records of what was still counted.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from strongroom.errors import StrongroomError
from strongroom.policy import Action, Actor, Assurance, Run
from strongroom.service.guard import Guard
from strongroom.service.host_status import HostStatus, backend_status, parse_status, top_readers
from strongroom.service.known import known_facts
from strongroom.service.pins import Pins
from strongroom.service.reading import Reading
from strongroom.service.snapshot import renew, snapshot_of
from strongroom.service.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.asynchronous import Bridge
    from strongroom.backend import Watched
    from strongroom.cache import Cache, Lifetimes
    from strongroom.chain import Chain
    from strongroom.model.entry import Entry
    from strongroom.model.explanation import Explanation
    from strongroom.model.ref import Ref
    from strongroom.policy import Facts, Policy
    from strongroom.service.entries import Written
    from strongroom.service.freshness import Freshness
    from strongroom.service.guard import Recorder
    from strongroom.service.inventory import Inventory
    from strongroom.service.kept import KeptDecisions
    from strongroom.service.mode import Mode
    from strongroom.service.reading import Reader, Uses
    from strongroom.service.runs import RunVerifier
    from strongroom.service.writing import Wanted
    from strongroom.settings import Settings

__all__ = ["Host", "Served"]

_MAX_KEPT = 10_000  # names; beyond that any may be
_MAX_READERS = 4096  # as `reading.py` remembers them
_PARSE = "parse"
_NO_RUN = Run(Assurance.CLAIMED)
_NO_USER = 4_294_967_295  # what the kernel says of a peer it cannot tell: nobody


class Served(NamedTuple):
    """
    What a host has of one version of its settings.

    Args:
        settings: they themselves.
        chain: its backends.
        lifetimes: how long and how much is remembered.
        current: gives the policy that decides now; the same object until it is no longer the one.
        decided_by: `server`, `file` or `owner`, for the status.
        uids, gids: who may connect beside root and the agent's own user.
        is_strict: whether the uses of a name are strict; with its entry, where one is known.
        told_of: names of the backends whose changes are told without a watch of theirs, or that never change.
        heard: told of every notice of a backend, before what it tells of is forgotten: (name, notice).
        start, close: what belongs to it beside the chain runs from here to there. Both may be called twice.
        kept: what of its decisions the last good copy keeps; None for nothing.
        decisions: tells how it stands with the server that decides; None where none does.
        runs: verifies runs; None where nobody does.
    """

    settings: Settings
    chain: Chain
    lifetimes: Lifetimes
    current: Callable[[], Policy]
    decided_by: str
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    is_strict: Callable[[Ref, Entry | None], bool] = lambda _ref, _entry: False
    told_of: frozenset[str] = frozenset()
    heard: Callable[[str, Watched], None] = lambda _name, _notice: None
    start: Callable[[], None] = lambda: None
    close: Callable[[], None] = lambda: None
    kept: KeptDecisions | None = None
    decisions: Callable[[], Mapping[str, object]] | None = None
    runs: RunVerifier | None = None


@runtime_checkable
class _Closing(Protocol):
    def close(self) -> None: ...


@runtime_checkable
class _Starting(Protocol):
    def start(self) -> None: ...


@runtime_checkable
class _Telling(Protocol):
    """A recorder that can tell how it is."""

    def status(self) -> Mapping[str, object]: ...


class Host:
    """
    What one agent serves.

    Threads: may be used from several threads and loops at once.

    Args:
        served: what is made of the settings.
        make: makes the same of others, for `reload`.
        patience: how long a task waits for one answer.
        cache: of the chain as such; shared by all who ask.
        recorder: makes records; one that has `close` is closed with the host.
        uses: which uses are on record.
        freshness: keeps the cache fresh.
        mode: the log level, changed at run time.
        clock: wall clock, UTC.
        on_trouble: told what went wrong behind: (what, error).

    Attributes:
        cache, recorder, freshness, mode: as given.
        guard: decides and records what is no read.
        reading: the reads of all actors.
        snapshot: what those who parse DAG files are given, and `parsing` their reads.
        pins: what runs were given first, where that is what they are to be given again.
    """

    def __init__(  # noqa: PLR0913 -- a service is made of the parts it joins
        self,
        served: Served,
        *,
        make: Callable[[Settings], Served],
        cache: Cache,
        recorder: Recorder,
        uses: Uses,
        freshness: Freshness,
        mode: Mode,
        clock: Callable[[], datetime],
        patience: timedelta = timedelta(seconds=15),
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> None:
        self._served = served
        self._make = make
        self.cache = cache
        self.recorder = recorder
        self.freshness = freshness
        self.mode = mode
        self._clock = clock
        self._patience = patience
        self._on_trouble = on_trouble or (lambda _what, _error: None)
        # Readers keep hold of this function for good, so it is the one thing that looks for who decides now.
        self._deciding = [served.current]
        self.guard = Guard(served.current(), recorder, current=_calling(self._deciding), facts=self._facts)
        self.pins = Pins(cache, _max_age(served.settings), is_strict=self.is_strict, clock=clock)
        self.snapshot = snapshot_of(
            cache, _parse_lifetime(served.settings), is_strict=self.is_strict, clock=clock
        )
        reading = partial(
            Reading,
            guard=self.guard,
            bridge=self._bridge,
            uses=uses,
            facts=self._facts,
            dialect=served.settings.lookup.dialect,
            is_strict=self.is_strict,
        )
        self.reading: Reading = reading(cache, seen_by=self._seen_by)
        self.parsing: Reading = reading(self.snapshot)
        self._readers: dict[tuple[int, Run | None], Reader] = {}
        self._kept: set[tuple[str, str] | None] = set()
        self._made_bridge: Bridge | None = None
        self._turn = threading.Lock()
        self._windows = Windows([self.reading], partial(self._on_trouble, "counted uses are not on record"))
        self._is_started = False
        self._started_at = clock()
        self._reloaded_at: datetime | None = None
        self._reload_trouble = ""

    @property
    def settings(self) -> Settings:
        """Those in use."""
        return self._served.settings

    @property
    def chain(self) -> Chain:
        """The backends in use."""
        return self._served.chain

    @property
    def kept(self) -> KeptDecisions | None:
        """What of the decisions the last good copy keeps; None for nothing."""
        return self._served.kept

    @property
    def runs(self) -> RunVerifier | None:
        """What verifies runs; None where nobody does."""
        return self._served.runs

    @property
    def deployment(self) -> str:
        """The name of the one that is served."""
        return self._served.settings.deployment

    # --- who ---------------------------------------------------------------------------------------

    def may_connect(self, uid: int, gids: Sequence[int]) -> bool:
        """Tell whether the user *uid*, who is in *gids*, may connect; before anything else is said."""
        if uid == _NO_USER:
            return False
        served = self._served
        return uid in (0, os.geteuid()) or uid in served.uids or not served.gids.isdisjoint(gids)

    def actor(self, uid: int, run: Run | None = None) -> Actor:
        """Give the user *uid* of this machine, who says he is *run*."""
        return Actor(f"local:{uid}", Assurance.HOST_USER, run=run)

    def reader(self, uid: int, run: Run | None = None) -> Reader:
        """Give the reads of *uid*, the same object while it is remembered. Takes no lock."""
        key = (uid, run)
        found = self._readers.get(key)
        if found is None:
            found = self.reading.reader(self.actor(uid, run))
            while len(self._readers) >= _MAX_READERS:
                with suppress(StopIteration, RuntimeError):  # somebody else makes room, too
                    self._readers.pop(next(iter(self._readers)), None)
            self._readers[key] = found
        return found

    def parser(self, uid: int, run: Run | None = None) -> Reader:
        """Give the reads of *uid* at the top level of DAG files, which one snapshot answers."""
        return self.parsing.reader(self.actor(uid, (run or _NO_RUN)._replace(source=_PARSE)))

    def age_of(self, entry: Entry) -> float:
        """Tell how many seconds ago *entry* was read from its store, by the clock on the wall."""
        return max(0.0, (self._clock() - entry.read_at).total_seconds())

    def is_strict(self, ref: Ref, entry: Entry | None = None) -> bool:
        """Tell whether the uses of *ref* are strict, as the settings say or its *entry*."""
        return self._served.is_strict(ref, entry)

    # --- what is asked beside reads ----------------------------------------------------------------

    def explain(self, uid: int, run: Run | None, ref: Ref) -> Explanation:
        """
        Tell which backend answers *ref* for *uid* and why; never the value. Waits.

        Raises:
            AccessDeniedError: he may not even be told what there is.
        """
        return self.explain_as(self.actor(uid, run), ref)

    def explain_as(self, actor: Actor, ref: Ref) -> Explanation:
        """Do what `explain` does for any *actor*."""
        from strongroom.service.explaining import Explaining  # noqa: PLC0415 -- only people ask why

        served = self._served
        explaining = Explaining(self.cache, served.chain, self.guard, actor, served.settings.lookup.dialect)
        return explaining.explain(ref)

    def inventory(self, uid: int, run: Run | None = None) -> Inventory:
        """Give what *uid* may see of what the backends hold: no values."""
        from strongroom.service.host_inventory import LastReads, host_inventory  # noqa: PLC0415 -- as above

        uses = self.reading.uses
        read_at = uses.last_read if isinstance(uses, LastReads) else None
        actor = self.actor(uid, run)
        return host_inventory(self._served.chain, self.guard, actor, clock=self._clock, read_at=read_at)

    def write(self, actor: Actor, asked: Wanted) -> Written:
        """
        Write as *actor* what he asks for: where it is now if that backend writes, else to `write_to`. Waits.

        Raises:
            AccessDeniedError: he may not.
            ReadOnlyError: no backend of this agent takes it; names what would.
            As `Entries.write`.
        """
        from strongroom.service.entries import Entries  # noqa: PLC0415 -- most agents are never written through
        from strongroom.service.inventory import Inventory  # noqa: PLC0415 -- as above
        from strongroom.service.lookup import Lookup  # noqa: PLC0415 -- as above
        from strongroom.service.writing import change_of  # noqa: PLC0415 -- as above

        chain, dialect = self._served.chain, self._served.settings.lookup.dialect
        reader = self.reading.reader(actor)
        entries = Entries(
            lookup=Lookup(reader, chain, self.guard, actor, dialect=dialect, bridge=self._bridge),
            inventory=Inventory(chain, self.guard, actor, clock=self._clock),
            cache=self.cache,
            chain=chain,
            guard=self.guard,
            actor=actor,
            clock=self._clock,
            dialect=dialect,
            # Own writes are seen at once, by who follows too: nobody waits for the bell of the store.
            on_change=lambda _place, refs: self._changed(actor, refs),
        )
        return entries.write(change_of(asked, self._clock()), comment=asked.comment)

    def _changed(self, actor: Actor, refs: Sequence[Ref]) -> None:
        """Hear that *actor* wrote *refs*: his own run is given what it wrote, and others their pins."""
        self.freshness.drop(*refs)
        self.snapshot.drop(*refs)
        if actor.run is not None and actor.run.dag_id and actor.run.run_id:
            self.pins.drop(*refs, run=actor.run)

    def flush(self, ref: Ref | None) -> int:
        """Forget *ref*, or everything where it is None; give how many entries that were."""
        before = len(self.cache)
        for held in (self.cache, self.snapshot, self.pins):
            if ref is None:
                held.clear()
            else:
                held.drop(ref)
        count = max(0, before - len(self.cache))
        self.freshness.look_again(ref)
        return count

    def follow(self, ref: Ref, wake: Callable[[Ref, str | None], None]) -> Callable[[], None]:
        """
        Call *wake* with *ref* and its version whenever another entry is served for it; the version is None
        where it has none or is gone. Give what ends that; safe to call twice.

        It comes from a thread of the host's and must not block. What it tells is that there is something
        to read, not that its reader may.
        """
        return self.freshness.follow(ref, wake)

    def may_hear(self, actor: Actor, ref: Ref) -> bool | None:
        """
        Tell whether *actor* may be told that something changed for *ref*: he may read it, and what stands
        behind a team's name if that is what is given for it. None where nobody can decide. Waits.
        """
        entry = None if ref.team is None else self.cache.glance(ref)
        for each in {ref, ref if entry is None else entry.ref}:
            decision = self.guard.can(actor, Action.READ, each)
            if not decision.is_allowed:
                return None if decision.trouble is not None else False
        return True

    # --- what is lent ------------------------------------------------------------------------------

    def keep(self, name: tuple[str, str] | None) -> None:
        """
        Take note that *name* (kind and name), or None for any, is about to be given to somebody of whom
        nobody tells when he has it no more: what is lent for it is not given back. Any thread.
        """
        self._kept.add(name[:2] if name is not None and len(self._kept) < _MAX_KEPT else None)

    def is_lent(self, asked: Ref, entry: Entry) -> bool:
        """Tell whether *entry*, given for *asked*, is lent itself; else it was put together of what is."""
        raw = self.cache.glance(asked)
        return self.chain.lends(entry.ref) and not (raw is not None and raw.metadata.references)

    def is_kept(self, name: tuple[str, str]) -> bool:
        """Tell whether somebody may have *name* for good."""
        return name in self._kept or None in self._kept

    def withdraw(self, ref: Ref) -> Callable[[], StrongroomError | None] | None:
        """
        Have something else lent for *ref* from now on and remember nothing of what was; give what revokes
        that. Waits.

        Raises:
            As `Lending.withdraw`.
        """
        revoke = self.chain.withdraw(ref)
        for held in (self.cache, self.snapshot, self.pins):
            held.drop(ref)
        self.freshness.withdrawn(ref)
        return revoke

    # --- settings ----------------------------------------------------------------------------------

    def reload(self, settings: Settings) -> None:
        """
        Use *settings* from now on, keeping what is remembered (rule 2).

        What the record is and where it goes stays as it was opened.

        Raises:
            StrongroomError: chain or policy cannot be made of them; the old ones stay.
        """
        with self._turn:
            try:
                served = self._make(settings)
            except StrongroomError as error:
                self._reload_trouble = f"{error.code}: {error}"
                raise
            self._exchange(served)
            self._reload_trouble = ""
            self._reloaded_at = self._clock()

    def _exchange(self, served: Served) -> None:
        before, self._served = self._served, served
        # Who may first: a right that the new settings take away must not outlive them.
        self._deciding[0] = served.current
        served.start()
        self.cache.use(served.chain, served.lifetimes)
        self.cache.drop_from(_other_backends(before.settings, served.settings))
        self.pins.drop_from(_other_backends(before.settings, served.settings))
        self.pins.max_age = _max_age(served.settings).total_seconds()
        if before.settings.cache.pin != served.settings.cache.pin:
            self.pins.clear()
            self._readers.clear()
            self.reading.forget_readers()
        renew(self.snapshot, self.cache, _parse_lifetime(served.settings), is_strict=self.is_strict)
        self.freshness.is_revalidating = served.settings.agent.revalidate
        self.freshness.use(served.chain, served.heard, told_of=served.told_of)
        if _asks_otherwise(before.settings, served.settings):
            self.freshness.gap(None)
        # The backends of before revoke what they lent when they are closed.
        lent = [held.ref for held in self.cache.held() if held.entry.is_lent]
        self.snapshot.drop(*lent)
        self.pins.drop(*lent)
        self.freshness.drop(*lent)
        before.close()
        # Questions under way end by themselves within their time.
        self.freshness.later(before.settings.lookup.deadline_seconds, before.chain.close)

    # --- what is told ------------------------------------------------------------------------------

    def status(self) -> HostStatus:
        """Tell how it is, asking nobody."""
        served = self._served
        held = self.cache.held()
        backends = tuple(
            backend_status(link, _kind(served.settings, link.name), self.freshness.hearing(link.name), held)
            for link in served.chain.links
        )
        notices = [one.last_notice for one in backends if one.last_notice is not None]
        stale = [one.age.total_seconds() for one in held if not one.is_fresh]
        return HostStatus(
            deployment=self.deployment,
            decided_by=served.decided_by,
            started_at=self._started_at,
            reloaded_at=self._reloaded_at,
            reload_trouble=self._reload_trouble,
            backends=backends,
            cache=self.cache.statistics(),
            oldest_stale=max(stale, default=None),
            last_notice=max(notices, default=None),
            followed=self.freshness.followed,
            renewed=self.freshness.renewed,
            top_readers=top_readers(self.reading),
            parsing=parse_status(self.parsing),
            pins=len(self.pins),
            spool=self.recorder.status() if isinstance(self.recorder, _Telling) else {},
            decisions=None if served.decisions is None else served.decisions(),
        )

    # --- what runs on behind -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to hear of changes, to look again, and to record windows that ended. Safe to call twice."""
        if self._is_started:
            return
        self._is_started = True
        if isinstance(self.recorder, _Starting):
            try:
                self.recorder.start()
            except StrongroomError as error:  # it tries again by itself, and says what it cannot take
                self._on_trouble("the record", error)
        self._served.start()
        self.freshness.use(self._served.chain, self._served.heard, told_of=self._served.told_of)
        self.freshness.start()
        self._windows.start()

    def drain(self) -> None:
        """Begin nothing ahead of readers any more; who reads is still answered. Safe to call twice."""
        self.freshness.close()

    def close(self) -> None:
        """Let go of everything; what was counted is recorded before. Safe to call twice."""
        with self._turn:
            self.freshness.close()
            self._windows.close()
            self._served.close()
            if self._made_bridge is not None:
                self._made_bridge.close()
            self.cache.close()
            if isinstance(self.recorder, _Closing):
                self.recorder.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    # --- parts -------------------------------------------------------------------------------------

    def _seen_by(self, actor: Actor) -> Cache:
        return self.pins.view(actor) if self._served.settings.cache.pin == "run" else self.cache

    def _facts(self, ref: Ref) -> Facts | None:
        return known_facts(self._served.chain)(ref)

    def _bridge(self) -> Bridge:
        made = self._made_bridge
        if made is None:
            from strongroom.asynchronous import Bridge  # noqa: PLC0415 -- made when it is first needed

            # More threads than the backends' own together: one slow backend must not take them all.
            threads = max(64, self._served.chain.capacity + 8)
            made = self._made_bridge = Bridge(self.cache, threads=threads, patience=self._patience)
        return made


def _calling(cell: list[Callable[[], Policy]]) -> Callable[[], Policy]:
    """Give what calls whatever stands in *cell* at that moment."""

    def current() -> Policy:
        return cell[0]()

    return current


def _parse_lifetime(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.agent.parse_ttl)


def _max_age(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.cache.pin_max_age)


def _kind(settings: Settings, backend: str) -> str:
    known = settings.backend.get(backend)
    return backend if known is None else known.kind


def _other_backends(before: Settings, after: Settings) -> frozenset[str]:
    """Give the names of backends that are gone, or are another place now."""
    return frozenset(
        name
        for name, backend in before.backend.items()
        if name not in after.chain or after.backend.get(name) != backend
    )


def _asks_otherwise(before: Settings, after: Settings) -> bool:
    """Tell whether a lookup could end at another backend than before."""
    return (before.chain, before.backend) != (after.chain, after.backend)
