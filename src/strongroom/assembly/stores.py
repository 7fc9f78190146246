"""What `strongroom store` works on: the store of the settings as a whole, and the place it is moved to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.assembly.ways import Ways, local_owner, now
from strongroom.assembly.wrappers import load_wrappers
from strongroom.audit import AuditLog
from strongroom.barrier import Barrier
from strongroom.errors import BackendConfigError, SealedError, SettingsError
from strongroom.model.secret import Secret
from strongroom.policy import OwnerPolicy
from strongroom.service.guard import Guard
from strongroom.service.moving import Checked
from strongroom.service.opening import open_all
from strongroom.service.stores import Stores
from strongroom.settings import load, resolve
from strongroom.store.engine import engine_of
from strongroom.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.settings import SecretSource, Settings
    from strongroom.store.engine import Engine

__all__ = ["StorePlace", "open_stores", "place_at"]


@dataclass(frozen=True, slots=True)
class StorePlace:
    """
    Where a store is, or shall be.

    Args:
        where: a path or an address.
        password: gives the password of the database's user.
        is_typed: it comes from `--to` and `--password-file`, so errors name these and not the settings.
    """

    where: str | Path
    password: Callable[[], Secret[str]] | None = None
    is_typed: bool = False

    def engine(self) -> Engine:
        """Give its engine, nothing of it opened yet."""
        with self._told():
            return engine_of(self.where, name=self._name, password=self.password)

    def open(self, *, create: bool = False, past_marks: bool = False) -> Store:
        """Open it, as `Store.open`."""
        with self._told():
            return Store.open(
                self.where, create=create, name=self._name, password=self.password, past_marks=past_marks
            )

    @property
    def _name(self) -> str:
        return "at --to" if self.is_typed else "native"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BackendConfigError as error:
            if not self.is_typed:
                raise
            hint = None if error.hint is None else _typed(error.hint)
            raise BackendConfigError(_typed(str(error)), hint=hint) from None


def place_of(settings: Settings, environ: Mapping[str, str]) -> StorePlace:
    """Give where the settings say the store is."""
    return place_at(settings.store.url or settings.store.path, settings.store.password, environ)


def place_at(
    where: str | Path,
    password: SecretSource | None,
    environ: Mapping[str, str],
    *,
    is_typed: bool = False,
) -> StorePlace:
    """
    Give a place by its path or address.

    Args:
        where: as `store.url`.
        password: as `store.password`; None for none.
        environ: where it may be fetched from.
        is_typed: as of `StorePlace`.
    """
    secret = None if password is None else lambda: resolve(password, environ=environ)
    return StorePlace(where, secret, is_typed)


def _typed(text: str) -> str:
    """Name what was typed in the place of the settings."""
    text = text.replace("store.password = { file = … }", "--password-file FILE")
    text = text.replace('store.password = { file = "…" }', "--password-file FILE")
    return text.replace("store.url", "--to").replace("store.password", "--password-file")


def open_stores(
    settings: Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    passphrase: Callable[[], Secret[str]] | None = None,
) -> Stores:
    """
    Open what looks at, migrates and moves the store of *settings*. Close it.

    Args:
        settings: of one deployment of it.
        environ: the environment.
        passphrase: asks a person, where the store is wrapped by one that the settings do not fetch.
    """
    ways = Ways(environ=environ, clock=now, ask=passphrase)
    log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=now)
    owner = local_owner()
    return Stores(
        place_of(settings, environ),
        Guard(OwnerPolicy(owner), log),
        owner,
        check=_Check(settings, ways),
        recorder=log,
    )


class _Check:
    """Opens everything of one deployment of a store that was moved, with the keys its settings name."""

    def __init__(self, settings: Settings, ways: Ways) -> None:
        self._settings = settings
        self._ways = ways

    def __call__(self, store: Store, deployment: str, progress: Callable[[int], None], /) -> Checked:
        if deployment == self._settings.deployment:
            return self._opened(store, self._settings, progress)
        if deployment not in self._settings.others:
            return Checked(deployment=deployment, trouble="these settings do not know it")
        try:
            sibling = load(self._settings.source, environ=self._ways.environ, deployment=deployment)
            return self._opened(store, sibling, progress)
        except (SealedError, SettingsError, BackendConfigError) as error:
            return Checked(deployment=deployment, trouble=str(error))

    def _opened(self, store: Store, settings: Settings, progress: Callable[[int], None]) -> Checked:
        wrappers = load_wrappers(settings, self._ways)
        try:
            barrier = Barrier.open(store, wrappers, deployment=settings.deployment, clock=self._ways.clock)
            opened = open_all(barrier, progress=progress)
        finally:
            for wrapper in wrappers:
                wrapper.close()
        return Checked(
            deployment=settings.deployment, entries=opened.entries, versions=opened.versions, keys=opened.keys
        )
