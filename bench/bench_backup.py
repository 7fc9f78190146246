"""
Backup and restore of 100,000 entries; ours beside a bare copy of the same file.

The peer copies the SQLite file with SQLite's own backup and seals the copy with age, and the other way round:
it signs nothing, opens nothing, and compares nothing with a record.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyrage

from bench import stores
from strongroom.assembly import create_room
from strongroom.assembly.backup import new_identity, open_backups
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import load

TITLE = "Backup and restore (100,000 entries of 200 bytes, SQLite)"
ENTRIES = 100_000
TEXT = "p" * 200
NOTE = "peer: SQLite's own backup and age, unsigned and unproven"


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        return _measured(Path(folder))


def _measured(folder: Path) -> list[dict[str, object]]:
    environ = {"STRONGROOM_HOME": str(folder / "room")}
    settings = load(environ=environ, cwd=folder)
    with create_room(settings, environ=environ) as room:
        _fill(room)
    identity, recipient = new_identity()
    file = folder / "backup.srb"
    peer_out, peer_in = _peer(settings.store.path, folder, recipient, identity)
    with open_backups(settings, environ=environ) as desk:
        started = time.perf_counter()
        made = desk.create(file, recipients=[recipient], progress=_told)
        create = time.perf_counter() - started
        started = time.perf_counter()
        desk.verify(file, identity=None, keys=(), progress=_told)
        verify = time.perf_counter() - started
        drill = desk.drill(file, identity=identity, keys=(), progress=_told).seconds
        rows = [
            _row(f"create: {made.size / 1e6:.0f} MB", create, peer_out, ""),
            _row("verify, without the identity", verify, None, ""),
            _row("drill: every value opened", drill, None, ""),
            _row("restore in place", _restored(desk, file, identity, None), peer_in, "≤ 300 s"),
        ]
        for kind, name in (("postgresql", "PostgreSQL"), ("mariadb", "MariaDB")):
            seconds = _restored(desk, file, identity, _home(kind, folder))
            rows.append(_row(f"restore into {name}", seconds, None, "≤ 300 s"))
        return rows


def _home(kind: str, folder: Path) -> str:
    sys.path.insert(0, str(stores.TESTS))
    from parts.homes import home  # noqa: PLC0415 -- the tests' own servers

    return str(home(kind, folder))


def _fill(room: Any) -> None:
    # Past the record, which would be two thirds of the time.
    found = (getattr(link.backend, "barrier", None) for link in room.lookup._chain.links)
    barrier = next(barrier for barrier in found if barrier is not None)
    barrier.write_many(
        Draft(ref=Ref("variable", f"name_{number:06}"), secret=Secret(TEXT), author="bench")
        for number in range(ENTRIES)
    )


def _restored(desk: Any, file: Path, identity: Secret[str], to: str | None) -> float:
    started = time.perf_counter()
    with desk.restoring(file, identity=identity, keys=(), progress=_told) as found:
        desk.finish(found, to=to, password=None, accepts_rollback=True, progress=_told)
    return time.perf_counter() - started


def _peer(store: Path, folder: Path, recipient: str, identity: Secret[str]) -> tuple[float, float]:
    copy, sealed, back = folder / "copy.db", folder / "copy.age", folder / "back.db"
    started = time.perf_counter()
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    to = pyrage.x25519.Recipient.from_str(recipient)
    sealed.write_bytes(pyrage.encrypt(copy.read_bytes(), [to]))
    _sync(sealed)
    out = time.perf_counter() - started
    started = time.perf_counter()
    own = pyrage.x25519.Identity.from_str(identity.reveal())
    back.write_bytes(pyrage.decrypt(sealed.read_bytes(), [own]))
    _sync(back)
    return out, time.perf_counter() - started


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _row(path: str, ours: float, peer: float | None, target: str) -> dict[str, object]:
    return {
        "path": path,
        "ours": ours,
        "peer": peer,
        "unit": "s",
        "ratio": None if peer is None else ours / peer,
        "target": target,
        "note": NOTE if peer is not None else None,
    }


def _told(*_progress: object) -> None:
    """Be told of progress."""
