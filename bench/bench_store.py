"""
The store on SQLite and PostgreSQL: reading by name, listing, writing; ours beside SQLAlchemy's ORM.

On PostgreSQL, over its Unix socket, psycopg's own cursor with a prepared statement is a peer too, and the
round trip of a statement that does nothing is the limit.

The peer is one ORM class over our own tables in the same file (the same columns, the same join),
with one session a call, as web applications and Airflow's metastore use it; where ours opens a
sealed value, the peer opens one with Fernet. It writes to a copy of the file.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy import orm

from bench import stores
from strongroom.barrier import Barrier
from strongroom.crypto import wrapping
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.store import rows, schema, sqlite
from strongroom.store.store import Store

TITLE = "Store (10,000 entries of 200 bytes)"
ENTRIES = 10_000
READS = 1_000
WRITES = 100
PAGE = 1_000
ROUNDS = 7
TEXT = "p" * 200
SECOND, MICRO, MILLI = (1, "s"), (1e6, "µs"), (1e3, "ms")


class _HeldKey(wrapping.Wrapper):
    """An outer key in memory: the key file is read once a process and would measure nothing here."""

    kind = "held"
    name = "bench"

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        return wrapping.wrap_under(b"k" * 32, key, context=context)

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        return wrapping.unwrap_under(b"k" * 32, blob, context=context)


class _PeerRow:
    """One entry with its current version, as the ORM maps it."""


def _map_peer() -> None:
    entries, versions = schema.entries, schema.versions
    joined = sa.outerjoin(
        entries,
        versions,
        sa.and_(versions.c.entry_id == entries.c.id, versions.c.number == entries.c.current_version),
    )
    orm.registry().map_imperatively(
        _PeerRow,
        joined,
        primary_key=[entries.c.deployment, entries.c.team, entries.c.kind, entries.c.name],
        properties={
            "id": [entries.c.id],
            "version_mac": versions.c.mac,
            "version_type": versions.c.conn_type,
        },
    )


class _Peer:
    """The peer on its copy of the file, with the same durability."""

    def __init__(self, path: Path) -> None:
        self.engine = sa.create_engine("sqlite://", creator=lambda: sqlite.connect(path))
        self.fernet = Fernet(Fernet.generate_key())
        self.token = self.fernet.encrypt(TEXT.encode())

    def read(self, name: str) -> object:
        with orm.Session(self.engine) as session:
            return session.get(_PeerRow, ("bench", "", "variable", name))

    def open(self, name: str) -> bytes:
        self.read(name)
        return self.fernet.decrypt(self.token)

    def page(self) -> list[_PeerRow]:
        with orm.Session(self.engine) as session:
            wanted = sa.select(_PeerRow).order_by(schema.entries.c.name).limit(PAGE)
            return list(session.scalars(wanted))

    def write(self, names: list[str]) -> None:
        with orm.Session(self.engine) as session, session.begin():
            for name in names:
                session.execute(
                    sa.update(schema.versions)
                    .where(
                        schema.versions.c.entry_id
                        == sa.select(schema.entries.c.id)
                        .where(
                            schema.entries.c.deployment == "bench",
                            schema.entries.c.team == "",
                            schema.entries.c.kind == "variable",
                            schema.entries.c.name == name,
                        )
                        .scalar_subquery()
                    )
                    .values(sealed=self.fernet.encrypt(TEXT.encode()))
                )


def measure() -> list[dict[str, object]]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-bench-"))
    _map_peer()
    try:
        on_sqlite = _measure(folder)
    finally:
        shutil.rmtree(folder)
    with stores.store("postgresql") as server:
        return on_sqlite + _measure_postgresql(server)


def _measure_postgresql(server: Mapping[str, Any]) -> list[dict[str, object]]:
    conninfo = f"host={server['socket']} dbname={server['database']} user={server['user']}"
    place = f"postgresql://{server['user']}@/{server['database']}?host={server['socket']}"
    store = Store.open(place, create=True)
    barrier = Barrier.create(
        store, [_HeldKey()], deployment="bench", clock=lambda: datetime.now(timezone.utc)
    )
    names = [f"team_{number % 50}/entry_{number}" for number in range(ENTRIES)]
    filling = _timed(lambda: barrier.write_many(map(_draft, names)))
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo),
        isolation_level="AUTOCOMMIT",
    )
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=0) as raw:
        raw.execute("ANALYZE")
        found = _postgresql_rows(store, barrier, engine, raw, names)
    note = f"one transaction, {ENTRIES / filling:,.0f} a second"
    found.append(_row(f"PostgreSQL: write {ENTRIES:,} at once", filling, None, SECOND, "", note))
    barrier.close()
    engine.dispose()
    return found


def _postgresql_rows(
    store: Store, barrier: Barrier, engine: sa.Engine, raw: psycopg.Connection[Any], names: list[str]
) -> list[dict[str, object]]:
    chosen = random.Random(7).sample(names, READS)
    refs = [Ref("variable", name) for name in chosen]
    few = chosen[:WRITES]
    statement = rows._CURRENT.replace("?", "%s")

    def mapped(name: str) -> object:
        with orm.Session(engine) as session:
            return session.get(_PeerRow, ("bench", "", "variable", name))

    def cursor(name: str) -> object:
        return raw.execute(statement, ("bench", "", "variable", name)).fetchone()

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "row": (lambda: [store.current("bench", "", "variable", name) for name in chosen], READS),
        "cursor": (lambda: [cursor(name) for name in chosen], READS),
        "orm": (lambda: [mapped(name) for name in chosen[: READS // 4]], READS // 4),
        "open": (lambda: [barrier.read(ref) for ref in refs], READS),
        "bell": (lambda: [store.data_version() for _ in range(READS)], READS),
        "nothing": (lambda: [raw.execute("SELECT 1").fetchone() for _ in range(READS)], READS),
        "page": (lambda: barrier.list("variable", limit=PAGE), 1),
        "write": (lambda: [barrier.write(_draft(name)) for name in few], WRITES),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (way, count) in ways.items():
            took[name].append(_timed(way) / count)
    median = {name: statistics.median(times) for name, times in took.items()}
    best = min(took["row"]) * 1e6
    beside = f"best round {best:.1f} µs; psycopg's cursor {median['cursor'] * 1e6:.0f} µs"
    nothing = f"SELECT 1 by psycopg {median['nothing'] * 1e6:.0f} µs; bell {median['bell'] * 1e6:.0f} µs"
    return [
        _row("PostgreSQL: row by name", median["row"], median["orm"], MICRO, "≤ 100 µs", beside),
        _row("PostgreSQL: row by name beside psycopg", median["row"], median["cursor"], MICRO, "", nothing),
        _row("PostgreSQL: row authenticated, value opened", median["open"], None, MICRO, "", ""),
        _row(f"PostgreSQL: page of {PAGE:,}", median["page"], None, MILLI, "", "each row authenticated"),
        _row("PostgreSQL: write one", median["write"], None, MICRO, "", "durable"),
    ]


def _measure(folder: Path) -> list[dict[str, object]]:
    store = Store.open(folder / "ours" / "store.db", create=True)
    barrier = Barrier.create(
        store, [_HeldKey()], deployment="bench", clock=lambda: datetime.now(timezone.utc)
    )
    names = [f"team_{number % 50}/entry_{number}" for number in range(ENTRIES)]
    filling = _timed(lambda: barrier.write_many(map(_draft, names)))
    store.close()
    shutil.copytree(folder / "ours", folder / "peer")
    store = Store.open(folder / "ours" / "store.db")
    barrier = Barrier.open(store, [_HeldKey()], deployment="bench", clock=lambda: datetime.now(timezone.utc))
    peer = _Peer(folder / "peer" / "store.db")
    found = _rows(store, barrier, peer, names)
    note = f"one transaction, {ENTRIES / filling:,.0f} a second; the peer updates as many"
    peer_filling = _timed(lambda: peer.write(names))
    found.append(_row(f"write {ENTRIES:,} at once", filling, peer_filling, SECOND, "well under 6 s", note))
    barrier.close()
    peer.engine.dispose()
    return found


def _rows(store: Store, barrier: Barrier, peer: _Peer, names: list[str]) -> list[dict[str, object]]:
    chosen = random.Random(7).sample(names, READS)
    refs = [Ref("variable", name) for name in chosen]
    few = chosen[:WRITES]
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "row": (lambda: [store.current("bench", "", "variable", name) for name in chosen], READS),
        "peer row": (lambda: [peer.read(name) for name in chosen], READS),
        "open": (lambda: [barrier.read(ref) for ref in refs], READS),
        "peer open": (lambda: [peer.open(name) for name in chosen], READS),
        "page": (lambda: barrier.list("variable", limit=PAGE), 1),
        "peer page": (peer.page, 1),
        "write": (lambda: [barrier.write(_draft(name)) for name in few], WRITES),
        "peer write": (lambda: [peer.write([name]) for name in few], WRITES),
        "sync": (lambda: _syncs(store.path.with_name("sync")), WRITES),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (way, count) in ways.items():
            took[name].append(_timed(way) / count)
    median = {name: statistics.median(times) for name, times in took.items()}
    best = min(took["row"]) * 1e6
    sync = f"sync of this disk {median['sync'] * 1e6:.0f} µs; ours writes four rows, the peer one"
    return [
        _row("row by name", median["row"], median["peer row"], MICRO, "≤ 25 µs", f"best round {best:.1f} µs"),
        _row(
            "row authenticated, value opened", median["open"], median["peer open"], MICRO, "", "peer: Fernet"
        ),
        _row(f"page of {PAGE:,}", median["page"], median["peer page"], MILLI, "", "each row authenticated"),
        _row("write one", median["write"], median["peer write"], MICRO, "", sync),
    ]


def _draft(name: str) -> Draft:
    return Draft(ref=Ref("variable", name), secret=Secret(TEXT), author="bench")


def _syncs(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for _ in range(WRITES):
        os.write(descriptor, b"x" * 400)
        os.fdatasync(descriptor)
    os.close(descriptor)


def _timed(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def _row(
    path: str, ours: float, peer: float | None, unit: tuple[float, str], target: str, note: str
) -> dict[str, object]:
    factor, name = unit
    figures: dict[str, object] = {"ours": ours * factor, "unit": name}
    if peer is not None:
        figures |= {"peer": peer * factor, "ratio": ours / peer}
    return {"path": path, **figures, "target": target, "note": note}
