"""One deployment's room, opened or made, and what can be looked at without one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.assembly.backends import backend_of, chain_of, lifetimes_of, links_of, patience_of
from strongroom.assembly.nouns import Parts
from strongroom.assembly.store import create_store, has_key, make_parents
from strongroom.assembly.ways import Ways, local_owner, now, settings_from
from strongroom.audit import AuditLog
from strongroom.cache import Cache
from strongroom.errors import StrongroomError
from strongroom.place import missing_agent, require_library
from strongroom.policy import Action, OwnerPolicy
from strongroom.service.guard import Guard, Guarded
from strongroom.service.known import known_facts
from strongroom.service.lookup import Lookup
from strongroom.service.room import Room
from strongroom.settings import BackendSettings, Settings, working_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from strongroom.backend import Backend
    from strongroom.chain import Link
    from strongroom.model.secret import Secret
    from strongroom.service.audit import AuditTrail
    from strongroom.service.doctor import Doctor


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
        BackendUnavailableError: settings that were found, not given, require an agent.
        BackendConfigError: a backend will never work as configured, or its store is not there.
        SealedError: no wrapper opens the store.
    """
    require_library(environ)
    settings = settings_from(config, environ, cwd, deployment)
    if config is None and settings.agent.required:
        raise missing_agent()
    ways = Ways(environ=environ, clock=now, ask=passphrase)
    made: list[Backend] = []
    try:
        return room_of(links_of(settings, ways, made, on_trouble), settings, clock=ways.clock)
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
    settings = settings_from(config, environ, cwd, deployment)
    ways = Ways(environ=environ, clock=now, ask=passphrase)
    if not has_key(settings, environ):
        require_store_tools()
        make_parents(settings.audit.path)
        log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=ways.clock)
        try:
            guard = Guard(OwnerPolicy(local_owner()), log)
            guard.act(
                local_owner(), Action.ADMINISTER, None, lambda: create_store(settings, ways), reason="init"
            )
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

    log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=now)
    return AuditTrail(log, Guard(OwnerPolicy(local_owner()), log), local_owner(), settings.audit)


def open_audit_copy(folder: Path) -> AuditTrail:
    """
    Open the copy or the archive of a log that stands in *folder*, for looking at. Close it.

    A refusal to look is recorded beside it, as with any other log; the local owner is not refused.
    """
    from strongroom.service.audit import AuditTrail  # noqa: PLC0415 -- reads of values do without

    log = AuditLog(folder, deployment="", clock=now)
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
        settings = settings_from(config, environ, cwd, deployment)
        audit = open_audit(settings)
        room = open_room(settings, environ=environ, passphrase=passphrase)
    except StrongroomError as error:
        trouble = error
    case = Case(clock=now, settings=settings, room=room, audit=audit, around=around, trouble=trouble)
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
    return backend_of(backend, settings, Ways(environ=environ, clock=now))


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
    chain = chain_of(links, settings, clock)
    log = log or AuditLog(settings.audit.path, deployment=settings.deployment, clock=clock)
    actor = local_owner()
    guard = Guard(OwnerPolicy(actor), log, facts=known_facts(chain))
    patience = patience_of(settings)
    cache = Cache(Guarded(chain, guard, actor), lifetimes_of(settings), clock=clock, patience=patience)
    lookup = Lookup(cache, chain, guard, actor, dialect=settings.lookup.dialect, patience=patience)
    parts = Parts(settings=settings, chain=chain, cache=cache, guard=guard, log=log, clock=clock, owner=actor)
    if settings.managed == "server":
        parts.registry  # noqa: B018 -- without a store there is nowhere to keep what the server says
        parts.arrangement.look()
    return Room(deployment=settings.deployment, actor=actor, lookup=lookup, parts=parts)
