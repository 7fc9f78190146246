"""
Settings → objects: the only file that names concrete classes.

Not for deciding anything: it reads settings, makes the parts, and joins them.

Rules of this file:

1. Opening makes nothing: no store, no key, no folder. `create_room` makes what is missing and
   never overwrites; a key is never made beside a store that has one already.
2. What a room does not need is not imported: reading loads no writer.
3. Clock and environment come in here and are passed down.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.audit import AuditLog
from strongroom.backend import load as load_backend
from strongroom.cache import Cache, Lifetimes
from strongroom.chain import Chain, Link
from strongroom.errors import BackendConfigError, ConflictError, SealedError, StrongroomError, TamperedError
from strongroom.model.ref import KINDS, Ref
from strongroom.model.secret import Secret
from strongroom.place import require_library
from strongroom.policy import Action, Actor, Assurance, OwnerPolicy
from strongroom.service.guard import Guard, Guarded, event_of
from strongroom.service.known import known_facts, known_metadata
from strongroom.service.lookup import Lookup
from strongroom.service.room import Room
from strongroom.settings import (
    BackendSettings,
    SecretSource,
    Settings,
    WrapperSettings,
    load,
    options,
    resolve,
    working_folder,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.asynchronous import Bridge
    from strongroom.backend import Backend
    from strongroom.barrier import Barrier
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.policy import Policy
    from strongroom.registry import Registry
    from strongroom.service.access import Access
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Backends
    from strongroom.service.changes import Changes, Feed, Watch
    from strongroom.service.deployments import Deployments
    from strongroom.service.doctor import Doctor
    from strongroom.service.entries import Entries
    from strongroom.service.guard import Recorder
    from strongroom.service.house import Deployment, House, Mode
    from strongroom.service.inventory import Inventory
    from strongroom.service.keys import Keys
    from strongroom.service.policies import Policies
    from strongroom.service.reading import Reader, Reading, Uses
    from strongroom.service.transfer import Transfer
    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["create_room", "local_owner", "open_backend", "open_doctor", "open_house", "open_room", "room_of"]

NATIVE = "native"
ENV = "env"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    """What comes from outside: environment, clock, and whom to ask for a passphrase."""

    environ: Mapping[str, str]
    clock: Callable[[], datetime]
    ask: Callable[[], Secret[str]] | None = None


def open_room(
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    deployment: str | None = None,
    passphrase: Callable[[], Secret[str]] | None = None,
    on_trouble: Callable[[str, StrongroomError], None] | None = None,
) -> Room:
    """
    Open one deployment's room, making nothing.

    Args:
        config: settings, a settings file, or None to look for one; none at all works too.
        environ: the environment.
        cwd: where `./strongroom.toml` is looked for.
        deployment: which of the file's deployments; the first if unsaid.
        passphrase: asks a person, where the store is wrapped by one that the settings do not fetch.
        on_trouble: told the name of a backend that cannot be made, and why; the room is opened without
            it. Unsaid, trouble is raised.

    Raises:
        SettingsError: the settings are wrong, or an agent or server is named.
        BackendConfigError: a backend will never work as configured, or its store is not there.
        SealedError: no wrapper opens the store.
    """
    require_library(environ)
    settings = _settings(config, environ, cwd, deployment)
    ways = _Ways(environ=environ, clock=_now, ask=passphrase)
    made: list[Backend] = []
    try:
        return room_of(_links(settings, ways, made, on_trouble), settings, clock=ways.clock)
    except BaseException:
        for backend in made:
            backend.close()
        raise


def create_room(
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    deployment: str | None = None,
    passphrase: Callable[[], Secret[str]] | None = None,
    on_trouble: Callable[[str, StrongroomError], None] | None = None,
) -> Room:
    """
    Make the store and the outer key of a deployment, where they are missing, and open its room.

    Usable twice, and by several processes at once: what is there is left as it is, and whoever
    comes second opens what the first has made. All of it is on the disk before this returns.

    Raises:
        As `open_room`; and SealedError where the store has a key and the outer one is missing.
        NotRecordedError: the audit log cannot be written; nothing was made.
        BackendConfigError: what writes a store is not installed; nothing was made.
    """
    require_library(environ)
    settings = _settings(config, environ, cwd, deployment)
    ways = _Ways(environ=environ, clock=_now, ask=passphrase)
    if not _has_key(settings):
        require_store_tools()
        _make_parents(settings.audit.path)
        log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=ways.clock)
        try:
            guard = Guard(OwnerPolicy(local_owner()), log)
            guard.act(local_owner(), Action.ADMINISTER, None, lambda: _create(settings, ways), reason="init")
        finally:
            log.close()
    return open_room(settings, environ=environ, passphrase=passphrase, on_trouble=on_trouble)


def require_store_tools() -> None:
    """
    Refuse where this installation can make and write no store.

    Raises:
        BackendConfigError: the extra `store` is not installed.
    """
    from strongroom.store.store import require_tools  # noqa: PLC0415 -- reads do without

    require_tools()


def open_audit(settings: Settings) -> AuditTrail:
    """
    Open the record of a deployment without its room: it needs no key, so it can be looked at when
    the key is lost or the store is damaged. Close it.
    """
    from strongroom.service.audit import AuditTrail  # noqa: PLC0415 -- reads of values do without

    log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=_now)
    return AuditTrail(log, Guard(OwnerPolicy(local_owner()), log), local_owner(), settings.audit)


def open_audit_copy(folder: Path) -> AuditTrail:
    """
    Open the copy or the archive of a log that stands in *folder*, for looking at. Close it.

    A refusal to look is recorded beside it, as with any other log; the local owner is not refused.
    """
    from strongroom.service.audit import AuditTrail  # noqa: PLC0415 -- reads of values do without

    log = AuditLog(folder, deployment="", clock=_now)
    return AuditTrail(log, Guard(OwnerPolicy(local_owner()), log), local_owner())


def open_doctor(
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    deployment: str | None = None,
    passphrase: Callable[[], Secret[str]] | None = None,
) -> Doctor:
    """
    Open what there is to look at: a room that does not open, or settings that are wrong, are findings.
    Close it. The arguments are those of `open_room`.
    """
    from strongroom.insight.finding import Surroundings  # noqa: PLC0415 -- only doctors look around
    from strongroom.service.doctor import Case, Doctor  # noqa: PLC0415 -- as above

    # Without HOME nobody's home is looked at.
    folder = cwd.absolute() if cwd else working_folder()
    around = Surroundings(environ=environ, cwd=folder, home=Path(environ.get("HOME") or os.devnull))
    settings = room = audit = trouble = None
    try:
        settings = _settings(config, environ, cwd, deployment)
        audit = open_audit(settings)
        room = open_room(settings, environ=environ, passphrase=passphrase)
    except StrongroomError as error:
        trouble = error
    case = Case(clock=_now, settings=settings, room=room, audit=audit, around=around, trouble=trouble)
    return Doctor(case, is_owner=True)


def open_backend(
    backend: BackendSettings, settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Backend:
    """
    Make one backend that stands in no chain, to bring what it holds into a room. Close it.

    Args:
        backend: its settings, as a table `[backend.NAME]` gives them.
        settings: those of the deployment.
        environ: the environment.

    Raises:
        SettingsError, BackendConfigError: as `open_room`.
    """
    return _backend(backend, settings, _Ways(environ=environ, clock=_now))


def local_owner() -> Actor:
    """Give the actor a process without agent or server acts as: its Unix user on this host."""
    return Actor(f"local:{os.geteuid()}", Assurance.HOST_USER)


def room_of(
    links: Sequence[Link],
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    log: AuditLog | None = None,
) -> Room:
    """
    Join backends and everything above them into a room. Tests bring their own backends here.

    Raises:
        SettingsError, BackendConfigError: the chain cannot be right.
    """
    chain = _chain_of(links, settings, clock)
    log = log or AuditLog(settings.audit.path, deployment=settings.deployment, clock=clock)
    actor = local_owner()
    guard = Guard(OwnerPolicy(actor), log, facts=known_facts(chain))
    patience = _patience(settings)
    cache = Cache(Guarded(chain, guard, actor), _lifetimes(settings), clock=clock, patience=patience)
    lookup = Lookup(cache, chain, guard, actor, dialect=settings.lookup.dialect, patience=patience)
    parts = _Parts(
        settings=settings, chain=chain, cache=cache, guard=guard, log=log, clock=clock, owner=actor
    )
    return Room(deployment=settings.deployment, actor=actor, lookup=lookup, parts=parts)


def open_house(  # noqa: PLR0913 -- what comes from outside
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    passphrase: Callable[[], Secret[str]] | None = None,
    recorder: Callable[[Settings], Recorder] | None = None,
    uses: Callable[[Settings], Uses] | None = None,
    policy: Callable[[Settings], Callable[[], Policy]] | None = None,
    on_trouble: Callable[[str, StrongroomError], None] | None = None,
) -> House:
    """
    Open every deployment of the settings for many actors, making nothing.

    Args:
        config: as of `open_room`; settings open the deployment they are of and the others of their file.
        environ: as of `open_room`.
        cwd: as of `open_room`.
        passphrase: as of `open_room`.
        recorder: makes what records the acts of a deployment; unsaid, its audit log. One that has `close`
            is closed with the house.
        uses: makes what remembers which uses of a deployment are on record; unsaid, each is recorded.
        policy: gives what tells the policy that decides now, instead of those in the store of a deployment.
        on_trouble: told the name of a deployment that cannot be opened, and why; the others are opened.
            Unsaid, and where none can be opened, trouble is raised.

    Raises:
        SettingsError: the settings are wrong, or an agent or server is named.
        BackendConfigError: a backend will never work as configured, or a deployment has no store.
        SealedError: no wrapper opens a store.
    """
    from strongroom.service.house import House, Mode  # noqa: PLC0415 -- only who serves loads it

    require_library(environ)
    first = _settings(config, environ, cwd, None)
    ways = _Ways(environ=environ, clock=_now, ask=passphrase)
    mode = Mode()
    opened: list[Deployment] = []
    troubles: dict[str, StrongroomError] = {}
    serving = _Serving(ways, mode, recorder=recorder, uses=uses, policy=policy)
    try:
        for name in (first.deployment, *first.others):
            try:
                settings = _sibling(first, name, config, environ, cwd)
                opened.append(serving.deployment(settings))
            except StrongroomError as error:
                if on_trouble is None:
                    raise _in_deployment(name, error) from None
                troubles[name] = error
                on_trouble(name, error)
        if opened:
            return House(opened, mode=mode, watches=_watches(opened), troubles=troubles)
    except BaseException:
        for deployment in opened:
            deployment.root.close()
        raise
    raise next(iter(troubles.values()))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _settings(
    config: Settings | str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    cwd: Path | None,
    deployment: str | None,
) -> Settings:
    if isinstance(config, Settings):
        return config
    return load(config, environ=environ, cwd=cwd, deployment=deployment)


def _sibling(
    first: Settings,
    name: str,
    config: Settings | str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    cwd: Path | None,
) -> Settings:
    """Give the settings of the deployment *name*, of the file that those of the *first* came from."""
    if name == first.deployment:
        return first
    return load(
        first.source if isinstance(config, Settings) else config, environ=environ, cwd=cwd, deployment=name
    )


def _in_deployment(name: str, error: StrongroomError) -> StrongroomError:
    """Give *error* saying which deployment it is of."""
    told = copy(error)
    told.args = (f"deployment {name}: {error}",)
    return told


def _chain_of(links: Sequence[Link], settings: Settings, clock: Callable[[], datetime]) -> Chain:
    deadline = timedelta(seconds=settings.lookup.deadline_seconds)
    return Chain(links, clock=clock, deadline=deadline, write_to=settings.write_to)


def _patience(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.lookup.deadline_seconds * 1.5)


def _lifetimes(settings: Settings) -> Lifetimes:
    cache = settings.cache
    return Lifetimes(
        ttl=timedelta(seconds=cache.ttl),
        stale_if_error=timedelta(seconds=cache.stale_if_error),
        absent_ttl=timedelta(seconds=cache.absent_ttl),
        max_entries=cache.max_entries,
        max_absences=cache.max_entries,
    )


# --- backends --------------------------------------------------------------------------------------


def _chain(settings: Settings) -> list[BackendSettings]:
    """Give the backends in the order asked; unsaid, the environment and then the store there is."""
    names = settings.chain
    if not names:
        names = (ENV, NATIVE) if settings.store.path.exists() else (ENV,)
    return [settings.backend.get(name) or BackendSettings(name=name, kind=name) for name in names]


def _links(
    settings: Settings,
    ways: _Ways,
    made: list[Backend],
    on_trouble: Callable[[str, StrongroomError], None] | None,
) -> list[Link]:
    links = []
    for backend in _chain(settings):
        try:
            links.append(_link(backend, settings, ways, made))
        except StrongroomError as error:
            if on_trouble is None:
                raise
            on_trouble(backend.name, error)
    return links


def _link(backend: BackendSettings, settings: Settings, ways: _Ways, made: list[Backend]) -> Link:
    found = _backend(backend, settings, ways)
    made.append(found)
    seconds = backend.timeout_seconds or settings.lookup.timeout_seconds
    return Link(
        backend=found,
        match=backend.match,
        kinds=backend.kinds or KINDS,
        on_unavailable=backend.on_unavailable,
        team_fallback=backend.team_fallback,
        timeout=timedelta(seconds=seconds),
        references=backend.references,
    )


def _backend(backend: BackendSettings, settings: Settings, ways: _Ways) -> Backend:
    kind: Any = load_backend(backend.kind)
    if backend.kind == NATIVE:
        options(backend, _NoOptions, environ=ways.environ)
        return kind(_open_barrier(backend.name, settings, ways))  # type: ignore[no-any-return]
    made = options(backend, getattr(kind, "options_type", _NoOptions), environ=ways.environ)
    needs: dict[str, object] = {}
    if getattr(kind, "needs_environ", False):
        needs["environ"] = ways.environ
    if getattr(kind, "needs_secret", False):
        needs["secret"] = partial(_airflow_secret, settings=settings, ways=ways)
    return kind(backend.name, made, clock=ways.clock, **needs)  # type: ignore[no-any-return]


def _airflow_secret(
    config: AirflowConfig, name: str, *, settings: Settings, ways: _Ways
) -> Secret[str] | None:
    """Look a `…_secret` of Airflow's configuration up where Airflow does: in its own secrets backend."""
    found = config.secrets_backend()
    if found is None:
        return None
    if found.class_path.rpartition(".")[2] != "VaultBackend":
        raise BackendConfigError(
            "Airflow's configuration names a secret of a secrets backend that cannot be asked from here",
            hint="give the value itself: sql_alchemy_conn and fernet_key of the backend",
        )
    table = {key: _vault_option(key, value) for key, value in found.kwargs.items() if value is not None}
    vault = _backend(BackendSettings(name="airflow_secrets", kind="vault", options=table), settings, ways)
    try:
        entry = vault.read(Ref("config", name))
    finally:
        vault.close()
    return None if entry is None else entry.secret


def _vault_option(key: str, value: object) -> object:
    # What Airflow's settings say is not written into ours: it is taken as it stands there.
    if isinstance(value, str) and key in {"token", "secret_id"}:
        return SecretSource(kind="text", argument=(value,), key=key)
    return value


@dataclass(frozen=True)
class _NoOptions:
    """Options of a backend that has none."""


# --- the store and its keys ------------------------------------------------------------------------


def _open_barrier(name: str, settings: Settings, ways: _Ways) -> Barrier:
    from strongroom.barrier import Barrier  # noqa: PLC0415 -- only a chain with a store loads it
    from strongroom.store.store import Store  # noqa: PLC0415

    store = Store.open(settings.store.path, name=name)
    try:
        return Barrier.open(
            store, _wrappers(settings, ways), deployment=settings.deployment, clock=ways.clock
        )
    except BaseException:
        store.close()
        raise


def _has_key(settings: Settings) -> bool:
    """Tell whether the store is there and has a key of this deployment, which only its wrappers may open."""
    from strongroom.barrier import Barrier  # noqa: PLC0415 -- only `init` asks
    from strongroom.store.store import Store  # noqa: PLC0415

    if not settings.store.path.exists():
        return False
    store = Store.open(settings.store.path, create=True)
    try:
        return bool(Barrier(store, (), deployment=settings.deployment, clock=_now).keys())
    finally:
        store.close()


def _make_parents(path: Path) -> None:
    """Make the missing folders above *path* closed to others, which `mkdir(parents=True)` does not."""
    with suppress(OSError):  # the log or the store tells it, in its words
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)


def _create(settings: Settings, ways: _Ways) -> None:
    from strongroom.barrier import Barrier  # noqa: PLC0415 -- only `init` makes one
    from strongroom.store.store import Store  # noqa: PLC0415
    from strongroom.wrappers import file  # noqa: PLC0415

    for wrapper in settings.store.wrappers:
        # A file that wraps a key of another deployment in this store is missing, not yet to be made.
        if wrapper.path is not None and not _is_in_use(wrapper.path, settings):
            # Another process may have been faster: its key is the key.
            with suppress(ConflictError):
                file.create(wrapper.path)
    store = Store.open(settings.store.path, create=True)
    Barrier.create(store, _wrappers(settings, ways), deployment=settings.deployment, clock=ways.clock).close()


def _is_in_use(key: Path, settings: Settings) -> bool:
    from strongroom.store.store import Store  # noqa: PLC0415 -- as `_create`

    if not settings.store.path.exists():
        return False
    store = Store.open(settings.store.path, create=True)
    try:
        return store.is_wrapped_by("file", str(key.absolute()))
    finally:
        store.close()


def _wrappers(settings: Settings, ways: _Ways) -> list[Wrapper]:
    return [_wrapper(wrapper, ways) for wrapper in settings.store.wrappers]


def _wrapper(wrapper: WrapperSettings, ways: _Ways) -> Wrapper:
    if wrapper.path is not None:
        from strongroom.wrappers.file import FileWrapper  # noqa: PLC0415 -- only what is configured

        return FileWrapper(wrapper.path)
    from strongroom.wrappers.passphrase import PassphraseWrapper  # noqa: PLC0415 -- as above

    return PassphraseWrapper(lambda: _passphrase(wrapper, ways))


def _passphrase(wrapper: WrapperSettings, ways: _Ways) -> Secret[str]:
    if wrapper.passphrase is not None:
        return resolve(wrapper.passphrase, environ=ways.environ)
    if ways.ask is None:
        raise SealedError(
            "the store is wrapped by a passphrase, and nobody can be asked for it here",
            hint="name where it comes from: store.wrappers, passphrase = { file = … }",
        )
    return ways.ask()


# --- the nouns of a room ---------------------------------------------------------------------------


class _OfHouse(NamedTuple):
    """What a deployment has in a house and a room alone makes when it needs it."""

    registry: Registry
    feed: Feed
    uses: Uses | None


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """
    Makes each noun when it is first asked for; see `service/room.py`.

    Args:
        cache: in the library the owner's own, whose fills are recorded; in a house the chain's as such.
        owner: whose *cache* is; None where it is everybody's.
        house: what it shares with the watchers of a house, where there is one.
    """

    settings: Settings
    chain: Chain
    cache: Cache
    guard: Guard
    log: AuditLog
    clock: Callable[[], datetime]
    owner: Actor | None = None
    house: _OfHouse | None = None

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

        return Inventory(self.chain, self.guard, actor, clock=self.clock)

    def transfer(self, room: Room) -> Transfer:
        from strongroom.service.transfer import Transfer  # noqa: PLC0415 -- see the class

        return Transfer(room)

    def backends(self, room: Room) -> Backends:
        from strongroom.service.backends import Backends  # noqa: PLC0415 -- see the class

        kinds = {name: backend.kind for name, backend in self.settings.backend.items()}
        return Backends(self.chain, self.guard, room.actor, kinds=kinds)

    def keys(self, room: Room) -> Keys:
        from strongroom.service.keys import Keys  # noqa: PLC0415 -- see the class

        return Keys([barrier.keys for barrier in self._barriers()], self.guard, room.actor)

    def audit(self, room: Room) -> AuditTrail:
        from strongroom.service.audit import AuditTrail  # noqa: PLC0415 -- see the class

        return AuditTrail(self.log, self.guard, room.actor, self.settings.audit)

    def doctor(self, room: Room) -> Doctor:
        from strongroom.service.doctor import Case, Doctor  # noqa: PLC0415 -- see the class

        return Doctor(Case(clock=self.clock, settings=self.settings, room=room, audit=room.audit))

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

        return Deployments(room, self.guard, self._teams)

    def close(self) -> None:
        if "bridge" in self.__dict__:
            self.bridge.close()
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
            cache = Cache(self.chain, _NOTHING_KEPT, clock=self.clock, patience=_patience(self.settings))
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
        return Bridge(self.cache, threads=threads, patience=_patience(self.settings))

    def _bridge(self) -> Bridge:
        return self.bridge

    @cached_property
    def registry(self) -> Registry:
        """The rows of who may, in the store of this deployment."""
        if self.house is not None:
            return self.house.registry
        return _registry(self._barrier(), self.settings, partial(_raise_alarm, self.guard.recorder))

    @cached_property
    def all_access(self) -> Access:
        """People, tokens and roles, as nobody."""
        return _access(self.registry, self.guard, self.clock)

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
    def _feed(self) -> Feed:
        from strongroom.service.changes import Feed  # noqa: PLC0415 -- see the class

        return Feed(self._barrier(), self.cache) if self.house is None else self.house.feed

    def _tell_of_change(self, place: Backend, refs: Sequence[Ref]) -> None:
        """Let other processes hear of a change that a backend without a line in our store has made."""
        if _barrier_of(place) is not None:
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
        raise _no_store(self.settings)

    def _barriers(self) -> list[Barrier]:
        found = (_barrier_of(link.backend) for link in self.chain.links)
        return [barrier for barrier in found if barrier is not None]


def _no_store(settings: Settings) -> BackendConfigError:
    return BackendConfigError(
        f"the deployment {settings.deployment} has no store, where people, tokens and policies stand",
        hint="strongroom init, and a backend of the kind native in its chain",
    )


# --- a house -----------------------------------------------------------------------------------------

_NOTHING_KEPT = Lifetimes(ttl=timedelta(), stale_if_error=timedelta(), absent_ttl=timedelta(), max_absences=0)


class _Serving:
    """Opens one deployment after the other for many actors."""

    def __init__(
        self,
        ways: _Ways,
        mode: Mode,
        *,
        recorder: Callable[[Settings], Recorder] | None,
        uses: Callable[[Settings], Uses] | None,
        policy: Callable[[Settings], Callable[[], Policy]] | None,
    ) -> None:
        self._ways = ways
        self._mode = mode
        self._recorder = recorder
        self._uses = uses
        self._policy = policy

    def deployment(self, settings: Settings) -> Deployment:
        """
        Open one.

        Raises:
            As `open_house`.
        """
        made: list[Backend] = []
        try:
            return self._deployment(settings, made)
        except BaseException:
            for backend in made:
                backend.close()
            raise

    def _deployment(self, settings: Settings, made: list[Backend]) -> Deployment:
        from strongroom.service.changes import Feed  # noqa: PLC0415 -- only who serves loads it
        from strongroom.service.house import Deployment  # noqa: PLC0415 -- as above

        clock = self._ways.clock
        chain = _chain_of(_links(settings, self._ways, made, None), settings, clock)
        barrier = next((found for link in chain.links if (found := _barrier_of(link.backend))), None)
        if barrier is None:
            raise _no_store(settings)
        log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=clock)
        recorder = log if self._recorder is None else self._recorder(settings)
        registry = _registry(barrier, settings, on_alarm=partial(_raise_alarm, recorder))
        who = _Who(self._policy(settings) if self._policy else None)
        guard = Guard(
            OwnerPolicy(local_owner()),
            recorder,
            current=who.current,
            facts=known_facts(chain),
            is_read_only=lambda: self._mode.read_only,
        )
        cache = Cache(chain, _lifetimes(settings), clock=clock, patience=_patience(settings))
        feed = Feed(barrier, cache)
        parts = _Parts(
            settings=settings,
            chain=chain,
            cache=cache,
            guard=guard,
            log=log,
            clock=clock,
            house=_OfHouse(registry, feed, None if self._uses is None else self._uses(settings)),
        )
        root = Room(deployment=settings.deployment, actor=local_owner(), parts=parts)
        who.policies = parts.all_policies
        return Deployment(
            name=settings.deployment,
            settings=settings,
            root=root,
            chain=chain,
            cache=cache,
            guard=guard,
            recorder=recorder,
            reading=parts.reading,
            feed=feed,
            registry=registry,
            parts=parts,
        )


class _Who:
    """Gives the policy that decides now to a guard that the policies themselves stand on."""

    def __init__(self, given: Callable[[], Policy] | None) -> None:
        self.policies: Policies | None = None
        self._given = given

    def current(self) -> Policy:
        if self._given is not None:
            return self._given()
        if self.policies is None:
            return OwnerPolicy(local_owner())
        return self.policies.current()


def _raise_alarm(recorder: Recorder, error: TamperedError) -> None:
    """Put on record that the rows of who may were changed by hand; every decision is a denial until then."""
    alarm = event_of(local_owner(), Action.ADMINISTER, None, "invalid", reason=f"alarm: {error}")
    with suppress(StrongroomError):  # what cannot be recorded is refused wherever it is asked for
        recorder.append(alarm)


def _registry(barrier: Barrier, settings: Settings, on_alarm: Callable[[TamperedError], None]) -> Registry:
    from strongroom.registry import Registry  # noqa: PLC0415 -- only who asks who may loads it

    return Registry(
        barrier.store,
        barrier,
        deployment=settings.deployment,
        anchor=settings.audit.path.parent / f"{settings.deployment}.anchor",
        on_alarm=on_alarm,
    )


def _access(registry: Registry, guard: Guard, clock: Callable[[], datetime]) -> Access:
    from strongroom.crypto.wrapping import stretch  # noqa: PLC0415 -- as above
    from strongroom.service.access import open_access  # noqa: PLC0415 -- as above

    return open_access(registry, guard, local_owner(), clock=clock, stretch=stretch)


def _barrier_of(backend: Backend) -> Barrier | None:
    return getattr(backend, "barrier", None)


def _watches(deployments: Sequence[Deployment]) -> list[Watch]:
    """Give one watch for each store's file, however many deployments are in it."""
    from strongroom.service.changes import Watch  # noqa: PLC0415 -- only who serves loads it

    feeds: dict[Path, list[Feed]] = {}
    for deployment in deployments:
        feeds.setdefault(deployment.feed.store.absolute(), []).append(deployment.feed)
    return [Watch(shared) for shared in feeds.values()]
