"""The store of a deployment and its keys, opened and made. Not for what stands in it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.assembly.ways import now
from strongroom.assembly.wrappers import load_wrappers
from strongroom.errors import BackendConfigError, ConflictError
from strongroom.settings import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.assembly.ways import Ways
    from strongroom.backend import Backend
    from strongroom.barrier import Barrier
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.model.secret import Secret
    from strongroom.settings import Settings
    from strongroom.store.store import Store


def open_barrier(name: str, settings: Settings, ways: Ways) -> Barrier:
    """Open the store called *name* with the first wrapper that opens it."""
    from strongroom.barrier import Barrier  # noqa: PLC0415 -- only a chain with a store loads it

    store = open_store(settings, ways.environ, name=name)
    wrappers: list[Wrapper] = []
    try:
        wrappers += load_wrappers(settings, ways)
        return Barrier.open(store, wrappers, deployment=settings.deployment, clock=ways.clock)
    except BaseException:
        for wrapper in wrappers:
            wrapper.close()
        store.close()
        raise


def open_store(
    settings: Settings, environ: Mapping[str, str], *, create: bool = False, name: str = "native"
) -> Store:
    """Open the store of *settings*, as `Store.open`."""
    from strongroom.store.store import Store  # noqa: PLC0415 -- only a chain with a store loads it

    place, password = _where(settings, environ)
    return Store.open(place, create=create, name=name, password=password)


def _where(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[str | Path, Callable[[], Secret[str]] | None]:
    source = settings.store.password
    place = settings.store.url or settings.store.path
    return place, None if source is None else lambda: resolve(source, environ=environ)


def has_key(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Tell whether the store is there and has a key of this deployment, which only its wrappers may open."""
    from strongroom.barrier import Barrier  # noqa: PLC0415 -- only `init` asks

    store = _made(settings, environ)
    if store is None:
        return False
    try:
        return bool(Barrier(store, (), deployment=settings.deployment, clock=now).keys())
    finally:
        store.close()


def make_parents(path: Path) -> None:
    """Make the missing folders above *path* closed to others, which `mkdir(parents=True)` does not."""
    with suppress(OSError):  # the log or the store tells it, in its words
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)


def create_store(settings: Settings, ways: Ways) -> None:
    """Make what is missing: the outer key, the store, and in it a key of the deployment."""
    from strongroom.barrier import Barrier  # noqa: PLC0415 -- only `init` makes one

    make_key_files(settings, ways.environ)
    wrappers = load_wrappers(settings, ways)
    store = open_store(settings, ways.environ, create=True)
    Barrier.create(store, wrappers, deployment=settings.deployment, clock=ways.clock).close()


def make_key_files(settings: Settings, environ: Mapping[str, str]) -> None:
    """Make the key files of the settings that are not there, and never wrapped anything in this store."""
    from strongroom.wrappers import file  # noqa: PLC0415 -- only what makes keys

    for wrapper in settings.store.wrappers:
        # A file that wraps a key in this store, of whichever deployment, is missing: not yet to be made.
        if wrapper.path is not None and not _is_in_use(wrapper.path, settings, environ):
            # Another process may have been faster: its key is the key.
            with suppress(ConflictError):
                file.create(wrapper.path)


def _made(settings: Settings, environ: Mapping[str, str]) -> Store | None:
    """Open the store that was made, a half made file made whole; None where there is none."""
    from strongroom.store.store import is_made  # noqa: PLC0415 -- as `open_store`

    if settings.store.url is None:
        return open_store(settings, environ, create=True) if settings.store.path.exists() else None
    return open_store(settings, environ) if is_made(*_where(settings, environ)) else None


def _is_in_use(key: Path, settings: Settings, environ: Mapping[str, str]) -> bool:
    store = _made(settings, environ)
    if store is None:
        return False
    try:
        return store.is_wrapped_by("file", str(key.absolute()))
    finally:
        store.close()


def barrier_of(backend: Backend) -> Barrier | None:
    """Give the barrier that a backend stands on, if it is a store of ours."""
    return getattr(backend, "barrier", None)


def no_store(settings: Settings) -> BackendConfigError:
    """Give the error of a deployment that cannot say who may."""
    return BackendConfigError(
        f"the deployment {settings.deployment} has no store, where people, tokens and policies stand",
        hint="strongroom init, and a backend of the kind native in its chain",
    )
