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
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.audit import AuditLog
from strongroom.backend import load as load_backend
from strongroom.cache import Cache, Lifetimes
from strongroom.chain import Chain, Link
from strongroom.errors import BackendConfigError, ConflictError, SealedError, StrongroomError
from strongroom.model.ref import KINDS, Ref
from strongroom.model.secret import Secret
from strongroom.place import require_library
from strongroom.policy import Action, Actor, Assurance, OwnerPolicy
from strongroom.service.guard import Guard, Guarded
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

    from strongroom.backend import Backend
    from strongroom.barrier import Barrier
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Backends
    from strongroom.service.doctor import Doctor
    from strongroom.service.entries import Entries
    from strongroom.service.inventory import Inventory
    from strongroom.service.keys import Keys
    from strongroom.service.transfer import Transfer
    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["create_room", "local_owner", "open_backend", "open_doctor", "open_room", "room_of"]

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
    deadline = timedelta(seconds=settings.lookup.deadline_seconds)
    chain = Chain(links, clock=clock, deadline=deadline, write_to=settings.write_to)
    log = log or AuditLog(settings.audit.path, deployment=settings.deployment, clock=clock)
    actor = local_owner()
    guard = Guard(OwnerPolicy(actor), log)
    patience = deadline * 1.5
    cache = Cache(Guarded(chain, guard, actor), _lifetimes(settings), clock=clock, patience=patience)
    lookup = Lookup(cache, chain, guard, actor, dialect=settings.lookup.dialect, patience=patience)
    parts = _Parts(
        settings=settings, chain=chain, cache=cache, guard=guard, log=log, lookup=lookup, clock=clock
    )
    return Room(deployment=settings.deployment, actor=actor, lookup=lookup, parts=parts)


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


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Makes each noun when it is first asked for; see `service/room.py`."""

    settings: Settings
    chain: Chain
    cache: Cache
    guard: Guard
    log: AuditLog
    lookup: Lookup
    clock: Callable[[], datetime]

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
        )

    def inventory(self, room: Room) -> Inventory:
        from strongroom.service.inventory import Inventory  # noqa: PLC0415 -- see the class

        return Inventory(self.chain, self.guard, room.actor, clock=self.clock)

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

        return AuditTrail(self.log, self.guard, room.actor)

    def doctor(self, room: Room) -> Doctor:
        from strongroom.service.doctor import Case, Doctor  # noqa: PLC0415 -- see the class

        return Doctor(Case(clock=self.clock, settings=self.settings, room=room, audit=room.audit))

    def close(self) -> None:
        self.lookup.close()
        self.cache.close()
        self.log.close()

    def _barriers(self) -> list[Barrier]:
        backends = (link.backend for link in self.chain.links)
        return [barrier for backend in backends if (barrier := getattr(backend, "barrier", None)) is not None]
