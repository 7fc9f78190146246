"""Backups of the store of a deployment: the parts they take, made of its settings and a recovery identity."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from strongroom.assembly.store import make_parents
from strongroom.assembly.ways import Ways, local_owner, now
from strongroom.assembly.wrappers import load_wrappers
from strongroom.audit import AuditLog
from strongroom.crypto.recovery import Identities, Recipients, RecoveryWrapper, new_identity
from strongroom.errors import ConflictError, StrongroomError
from strongroom.policy import OwnerPolicy
from strongroom.service.audit import AuditTrail
from strongroom.service.backup import Backups, KeptBackups
from strongroom.service.guard import Guard
from strongroom.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from strongroom.barrier import Barrier
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.model.secret import Secret
    from strongroom.policy import Actor
    from strongroom.service.backup import Checked, Drilled, Made, Restoring, Source
    from strongroom.settings import SecretSource, Settings
    from strongroom.store.store import Store

__all__ = ["BackupDesk", "kept_backups", "new_identity", "open_backups"]


def open_backups(
    settings: Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    passphrase: Callable[[], Secret[str]] | None = None,
) -> BackupDesk:
    """
    Open what backups of a deployment's store take, the store itself not yet. Close it.

    Args:
        settings: of the deployment; the others of its file that share the store are looked for.
        environ: the environment.
        passphrase: asks a person, where a store is wrapped by one that the settings do not fetch.

    Raises:
        SettingsError: the settings of another deployment are wrong.
    """
    return BackupDesk(settings, Ways(environ=environ, clock=now, ask=passphrase))


def kept_backups(
    settings: Settings, ways: Ways, *, barrier: Barrier, log: AuditLog, guard: Guard, actor: Actor
) -> KeptBackups:
    """
    Give the backups in the folder of the settings, made of a store that is open, as *actor*.

    The keys that are in memory go into them, whatever became of their outer key since.
    """

    def make(path: Path) -> Made:
        make_parents(path)
        with BackupDesk(settings, ways, opened=_Opened(barrier, log, guard, actor)) as desk:
            return desk.create(path, progress=lambda _done, _total: None)

    return KeptBackups(
        make,
        guard,
        actor,
        folder=settings.backup.folder,
        deployment=settings.deployment,
        clock=ways.clock,
    )


class _Opened(NamedTuple):
    """What a room has open already."""

    barrier: Barrier
    log: AuditLog
    guard: Guard
    actor: Actor


class BackupDesk:
    """
    Backups of one store, as the local owner or as somebody in a room that is open.

    Threads: one.
    """

    def __init__(self, settings: Settings, ways: Ways, *, opened: _Opened | None = None) -> None:
        self._ways = ways
        self._settings = settings
        self._opened = opened
        self._all = {settings.deployment: settings, **_siblings(settings, ways)}
        make_parents(settings.audit.path)
        if opened is None:
            log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=ways.clock)
            guard, actor = Guard(OwnerPolicy(local_owner()), log), local_owner()
        else:
            log, guard, actor = opened.log, opened.guard, opened.actor
        self._trails = {
            name: AuditTrail(
                log
                if name == settings.deployment
                else AuditLog(each.audit.path, deployment=name, clock=ways.clock),
                guard,
                actor,
                each.audit,
            )
            for name, each in self._all.items()
        }
        self.backups = Backups(
            guard,
            actor,
            clock=ways.clock,
            trails=self._trails,
            anchors={name: each.audit.path.parent / f"{name}.anchor" for name, each in self._all.items()},
        )

    def create(
        self, path: Path, *, recipients: Sequence[str] = (), progress: Callable[[int, int], None]
    ) -> Made:
        """
        Make a backup.

        Args:
            path: of a file that is not there yet.
            recipients: `age1…` each; those of the settings if none are said.
            progress: told rows done, and all.

        Raises:
            As `Backups.create`; InvalidInputError: there is no recipient.
        """
        to = Recipients(recipients or self._settings.backup.recipients)
        with self._source() as source:
            return self.backups.create(
                source, path, sealing=to, wrapper=RecoveryWrapper(recipients=to), progress=progress
            )

    def verify(
        self,
        path: Path,
        *,
        identity: Secret[str] | None,
        keys: Sequence[str],
        progress: Callable[[str, int, int], None],
    ) -> Checked:
        """
        Prove a backup. Raises as `Backups.verify`.

        Args:
            path: of the file.
            identity: text of an identity file; None proves its signature and its parts alone.
            keys: verifier keys to trust, instead of those known here.
            progress: told the step, how much is done, and all.
        """
        opening = None if identity is None else Identities(identity)
        return self.backups.verify(
            path,
            keys=keys,
            opening=opening,
            wrapper=None if opening is None else RecoveryWrapper(identities=opening),
            beside=self._beside(),
            progress=progress,
        )

    def drill(
        self,
        path: Path,
        *,
        identity: Secret[str],
        keys: Sequence[str],
        progress: Callable[[str, int, int], None],
    ) -> Drilled:
        """Try a backup out and throw it away. The arguments are those of `verify`."""
        opening = Identities(identity)
        return self.backups.drill(
            path,
            opening=opening,
            wrapper=RecoveryWrapper(identities=opening),
            wrappers=self._wrappers,
            beside=self._beside(),
            keys=keys,
            progress=progress,
        )

    @contextmanager
    def restoring(
        self,
        path: Path,
        *,
        identity: Secret[str],
        keys: Sequence[str],
        progress: Callable[[str, int, int], None],
    ) -> Iterator[Restoring]:
        """
        Lay a backup out and prove it for as long as the block runs. The arguments are those of `verify`.
        Raises as `Backups.restoring`.
        """
        opening = Identities(identity)
        with self.backups.restoring(
            path,
            opening=opening,
            wrapper=RecoveryWrapper(identities=opening),
            beside=self._beside(),
            keys=keys,
            progress=progress,
        ) as found:
            yield found

    def finish(
        self,
        restoring: Restoring,
        *,
        to: str | None,
        password: SecretSource | None,
        accepts_rollback: bool,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """
        Bring a backup back. Raises as `Restoring.finish`.

        Args:
            restoring: it was laid out.
            to: a path or an address; None for the place of the settings.
            password: of the database's user at *to*.
            accepts_rollback: changes on record may be lost.
            progress: told the step, rows done, and all.
        """
        restoring.finish(
            lambda: self._store(to, password, create=True),
            lambda: self._wrappers(makes_files=True),
            accepts_rollback=accepts_rollback,
            progress=progress,
        )

    def place(self, to: str | None) -> str:
        """Tell where a backup would be brought back to."""
        return to or self._settings.store.place

    def close(self) -> None:
        """Let go of the records. Safe to call twice."""
        for name, trail in self._trails.items():
            if self._opened is None or name != self._settings.deployment:
                trail.close()

    def __enter__(self) -> BackupDesk:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    # --- parts ---------------------------------------------------------------------------------------

    @contextmanager
    def _source(self) -> Iterator[Source]:
        from strongroom.audit.checkpoint import Keeper  # noqa: PLC0415 -- only who signs
        from strongroom.barrier import Barrier  # noqa: PLC0415 -- as `open_barrier`
        from strongroom.service.backup import Source  # noqa: PLC0415 -- as above

        opened = self._opened
        store = self._store(None, None, create=False) if opened is None else opened.barrier.store
        held = {} if opened is None else {opened.barrier.deployment: opened.barrier}
        barriers: dict[str, Barrier] = {}
        try:
            for name, each in self._all.items():
                if name not in held and store.keks(name):
                    barriers[name] = Barrier.open(
                        store, load_wrappers(each, self._ways), deployment=name, clock=self._ways.clock
                    )
            yield Source(
                store=store,
                barriers=barriers | held,
                keepers={
                    name: Keeper(
                        each.audit.path, each.audit.checkpoint.key, deployment=name, clock=self._ways.clock
                    )
                    for name, each in self._all.items()
                    if each.audit.checkpoint.key is not None
                },
                deployment=self._settings.deployment,
                release=version("strongroom"),
            )
        finally:
            for barrier in barriers.values():
                barrier.forget()
            if opened is None:
                store.close()

    def _store(self, place: str | None, password: SecretSource | None, *, create: bool) -> Store:
        from strongroom.assembly.stores import place_at  # noqa: PLC0415 -- it loads the store

        settings = self._settings.store
        # The password of the settings is of the database they name, and is shown to no other.
        password = settings.password if place in (None, settings.place) and password is None else password
        where = place or settings.url or settings.path
        return place_at(where, password, self._ways.environ, is_typed=place is not None).open(create=create)

    def _wrappers(self, *, makes_files: bool = False) -> dict[str, list[Wrapper]]:
        """Make what wraps the keys of each deployment; with *makes_files* key files that are gone, too."""
        if makes_files:
            from strongroom.wrappers import file  # noqa: PLC0415 -- only who restores

            for each in self._all.values():
                for wrapper in each.store.wrappers:
                    if wrapper.path is not None and not wrapper.path.exists():
                        with suppress(ConflictError):
                            file.create(wrapper.path)
        return {name: load_wrappers(each, self._ways) for name, each in self._all.items()}

    def _beside(self) -> Path:
        """Give a folder of ours with room for a store: that of the store, or that of the record."""
        path = self._settings.store.path
        make_parents(path)
        return path.parent


def _siblings(settings: Settings, ways: Ways) -> dict[str, Settings]:
    """Give the other deployments of the settings' file whose rows stand in the same store."""
    found: dict[str, Settings] = {}
    for name in settings.others:
        with suppress(StrongroomError):  # of a deployment that is not set up nothing can be in the store
            each = load(settings.source, environ=ways.environ, deployment=name)
            if each.store.place == settings.store.place:
                found[name] = each
    return found
