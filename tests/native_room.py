"""What the tests of store, barrier, native backend and faults share: an outer key and a clock."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from shutil import copytree

from strongroom.barrier import Barrier
from strongroom.crypto import wrapping
from strongroom.errors import SealedError, TamperedError
from strongroom.model.entry import Draft, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.store.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


class HeldKey(wrapping.Wrapper):
    """An outer key held in memory."""

    kind = "held"

    def __init__(self, key: bytes = b"k" * 32, name: str = "first") -> None:
        self.key = key
        self.name = name

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        return wrapping.wrap_under(self.key, key, context=context)

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        try:
            return wrapping.unwrap_under(self.key, blob, context=context)
        except TamperedError:
            raise SealedError(f"the key {self.name} did not wrap this") from None


class Clock:
    """A clock that moves only when told."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


def make_barrier(path: Path, *, clock=None, key: HeldKey | None = None, deployment: str = "prod") -> Barrier:
    """Create (or open again) the store at *path* with its key."""
    store = Store.open(path, create=True)
    return Barrier.create(store, [key or HeldKey()], deployment=deployment, clock=clock or Clock())


def copy_store(folder: Path) -> Path:
    """
    Give the store in *folder*; without one a copy, which has no key: making its tables takes 30 ms.

    Every copy has the id of the others: for tests with one store each.
    """
    if not folder.exists():
        copytree(_first_store().name, folder)
    return folder / "store.db"


@cache
def _first_store() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    Store.open(Path(folder.name) / "store.db", create=True).close()
    return folder


def open_barrier(path: Path, *, clock=None, key: HeldKey | None = None, deployment: str = "prod") -> Barrier:
    """Open the store at *path*, which must be there."""
    store = Store.open(path)
    return Barrier.open(store, [key or HeldKey()], deployment=deployment, clock=clock or Clock())


def draft(name: str, text: str = "plaintext", *, kind="variable", team=None, **rest) -> Draft:
    """Give one write; what is not said is a variable of alice's."""
    metadata = rest.pop("metadata", Metadata())
    return Draft(
        ref=Ref(kind, name, team),
        secret=Secret(text),
        metadata=metadata,
        author=rest.pop("author", "alice"),
        **rest,
    )
