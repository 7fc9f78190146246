"""
The rows of keys in use: how often each sealed, what still stands under one, and the job that moves it.

Statements only, plain SQL as in `rows.py`: what is read with `Store.ask`, what is written on the connection
of a transaction. Not for what a key may still do: `barrier/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.store.rows import EntryRow, KekRow, VersionRow, WrapRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.store.engine import Connection

__all__ = [
    "JobRow",
    "Moved",
    "Named",
    "Standing",
    "add_wraps",
    "beat",
    "change_kek",
    "entries_naming",
    "erase_wraps",
    "job",
    "move",
    "named",
    "put_job",
    "put_wraps",
    "set_wraps",
    "take",
    "versions_under",
    "versions_under_all",
    "wraps_of",
]


class JobRow(NamedTuple):
    """
    The one row of `key_jobs` of a deployment, in the order of its columns.

    Nothing authenticates it, so it is believed in nothing but how far a job came.

    Args:
        state: `running` until no row is left, then `finished`.
        reached: the id of the last entry looked at under the key that is being left.
        holder: 16 random bytes of the process at work, b"" for none.
        beat_at: when that one was last heard of.
    """

    deployment: str
    state: str
    started_at: int
    started_by: str
    total: int
    done: int
    damaged: int
    reached: bytes
    holder: bytes
    beat_at: int
    finished_at: int | None


class Named(NamedTuple):
    """How many rows of each table name a key, by its id at their beginning."""

    versions: int
    entries: int
    registry: int

    @property
    def total(self) -> int:
        """Of all tables."""
        return sum(self)


class Standing(NamedTuple):
    """A version as it stands, and its entry without sealed bytes, None where that is missing."""

    entry: EntryRow | None
    version: VersionRow


class Moved(NamedTuple):
    """One version under another key: its new columns, and the MAC that it must still have."""

    entry_id: bytes
    number: int
    sealed: bytes
    kek_id: bytes
    mac: bytes
    was: bytes


_ID = 16  # bytes of a key's id, before every MAC
_JOB = f"SELECT {', '.join(JobRow._fields)} FROM key_jobs WHERE deployment = ?"  # noqa: S608 -- constants
_PUT_JOB = (
    f"INSERT INTO key_jobs ({', '.join(JobRow._fields)}) VALUES ({', '.join('?' * len(JobRow._fields))})"  # noqa: S608
)
_ENTRY = EntryRow._fields[:-1]
# From the versions outwards: one whose entry is gone must be found too. Told so that every database goes
# along its index.
_UNDER = (
    f"SELECT {', '.join(f'v.{column}' for column in VersionRow._fields)},"  # noqa: S608 -- constants
    f" {', '.join(f'e.{column}' for column in _ENTRY)}"
    " FROM versions v LEFT JOIN entries e ON e.id = v.entry_id"
    " WHERE v.kek_id = ? AND v.entry_id >= ? AND (v.entry_id > ? OR v.number > ?)"
    " ORDER BY v.entry_id, v.number LIMIT ?"
)
_NAMING = (
    f"SELECT {', '.join(_ENTRY)} FROM entries"  # noqa: S608 -- constants
    f" WHERE deployment = ? AND id > ? AND substr(mac, 1, {_ID}) = ? ORDER BY id LIMIT ?"
)
_MOVE = "UPDATE versions SET sealed = ?, kek_id = ?, mac = ? WHERE entry_id = ? AND number = ? AND mac = ?"
_REMARK = "UPDATE entries SET mac = ? WHERE id = ? AND mac = ?"


# --- reading -------------------------------------------------------------------------------------


def job(connection: Connection, deployment: str) -> JobRow | None:
    """Give the job of a deployment, None where none was ever begun."""
    row = connection.execute(_JOB, (deployment,)).fetchone()
    return None if row is None else JobRow._make(row)


def wraps_of(connection: Connection, kek_id: bytes) -> int:
    """Give how often a key has sealed, as far as it was counted."""
    row = connection.execute("SELECT wraps FROM kek_uses WHERE kek_id = ?", (kek_id,)).fetchone()
    return 0 if row is None else int(row[0])


def entries_naming(
    connection: Connection, deployment: str, kek_id: bytes, after: bytes, limit: int
) -> list[EntryRow]:
    """Give entries whose own MAC names a key, of ids greater than *after*, in order, without sealed bytes."""
    found = connection.execute(_NAMING, (deployment, after, kek_id, limit)).fetchall()
    return [EntryRow(*row) for row in found]


def versions_under(
    connection: Connection, kek_id: bytes, after: tuple[bytes, int], limit: int
) -> list[Standing]:
    """Give up to *limit* versions under a key, by entry and number, each with its entry, those after one."""
    entry_id, number = after
    found = connection.execute(_UNDER, (kek_id, entry_id, entry_id, number, limit)).fetchall()
    return [_standing(row) for row in found]


def _standing(row: Sequence[Any]) -> Standing:
    width = len(VersionRow._fields)
    return Standing(None if row[width] is None else EntryRow(*row[width:]), VersionRow(*row[:width]))


def versions_under_all(connection: Connection, kek_ids: Sequence[bytes]) -> int:
    """Count the versions under any of some keys."""
    return sum(
        int(connection.execute("SELECT count(*) FROM versions WHERE kek_id = ?", (kek_id,)).fetchone()[0])
        for kek_id in kek_ids
    )


def named(connection: Connection, deployment: str, kek_id: bytes) -> Named:
    """Count the rows that name a key: sealed under it, or authenticated by it."""

    def count(sql: str, *parameters: object) -> int:
        return int(connection.execute(sql, parameters).fetchone()[0])

    of_mac = f"deployment = ? AND substr(mac, 1, {_ID}) = ?"
    return Named(
        # A version names it twice; a row changed by hand may do so once.
        count(
            f"SELECT count(*) FROM versions WHERE kek_id = ? OR (kek_id <> ? AND substr(mac, 1, {_ID}) = ?)",  # noqa: S608
            kek_id,
            kek_id,
            kek_id,
        ),
        count(f"SELECT count(*) FROM entries WHERE {of_mac}", deployment, kek_id),  # noqa: S608 -- constants
        count(f"SELECT count(*) FROM registry WHERE {of_mac}", deployment, kek_id)  # noqa: S608 -- as above
        + count(f"SELECT count(*) FROM registry_heads WHERE {of_mac}", deployment, kek_id),  # noqa: S608
    )


# --- writing -------------------------------------------------------------------------------------


def add_wraps(connection: Connection, kek_id: bytes, count: int, alarm: int) -> int | None:
    """
    Count *count* more uses of a key; give the sum where it has come to *alarm*, else None.

    One statement for nearly every write.
    """
    if (
        connection.execute(
            "UPDATE kek_uses SET wraps = wraps + ? WHERE kek_id = ? AND wraps + ? < ?",
            (count, kek_id, count, alarm),
        ).rowcount
        == 1
    ):
        return None
    if (
        connection.execute("UPDATE kek_uses SET wraps = wraps + ? WHERE kek_id = ?", (count, kek_id)).rowcount
        == 1
    ):
        return wraps_of(connection, kek_id)
    set_wraps(connection, kek_id, count)
    return None


def set_wraps(connection: Connection, kek_id: bytes, count: int) -> None:
    """Say how often a key has sealed."""
    connection.execute("DELETE FROM kek_uses WHERE kek_id = ?", (kek_id,))
    connection.execute("INSERT INTO kek_uses (kek_id, wraps) VALUES (?, ?)", (kek_id, count))


def change_kek(connection: Connection, kek: KekRow) -> None:
    """Write the state of a key, and the canary that proves it."""
    connection.execute("UPDATE keks SET state = ?, canary = ? WHERE id = ?", (kek.state, kek.canary, kek.id))


def put_wraps(connection: Connection, kek_id: bytes, wraps: Sequence[WrapRow]) -> None:
    """Put *wraps* in the place of every wrapped form of a key."""
    erase_wraps(connection, kek_id)
    for wrap in wraps:
        connection.execute(
            "INSERT INTO kek_wraps (kek_id, number, kind, name, wrapped) VALUES (?, ?, ?, ?, ?)", wrap
        )


def erase_wraps(connection: Connection, kek_id: bytes) -> None:
    """Take every wrapped form of a key away."""
    # Written over first: a file keeps what is only deleted in pages that nobody names any more.
    for number, length in connection.execute(
        "SELECT number, length(wrapped) FROM kek_wraps WHERE kek_id = ?", (kek_id,)
    ).fetchall():
        connection.execute(
            "UPDATE kek_wraps SET wrapped = ? WHERE kek_id = ? AND number = ?",
            (bytes(int(length)), kek_id, number),
        )
    connection.execute("DELETE FROM kek_wraps WHERE kek_id = ?", (kek_id,))


def put_job(connection: Connection, row: JobRow) -> None:
    """Write the job of a deployment, in the place of the one before."""
    connection.execute("DELETE FROM key_jobs WHERE deployment = ?", (row.deployment,))
    connection.execute(_PUT_JOB, row)


def take(connection: Connection, deployment: str, holder: bytes, now: int) -> bool:
    """Make *holder* the one at work; False where there is no job to be done."""
    sql = "UPDATE key_jobs SET holder = ?, beat_at = ? WHERE deployment = ? AND state = 'running'"
    return connection.execute(sql, (holder, now, deployment)).rowcount == 1


def beat(connection: Connection, row: JobRow) -> bool:
    """Write how far a job came; False where another process is at work on it now."""
    return (
        connection.execute(
            "UPDATE key_jobs SET state = ?, done = ?, damaged = ?, reached = ?, beat_at = ?, finished_at = ?"
            " WHERE deployment = ? AND holder = ? AND state = 'running'",
            (
                row.state,
                row.done,
                row.damaged,
                row.reached,
                row.beat_at,
                row.finished_at,
                row.deployment,
                row.holder,
            ),
        ).rowcount
        == 1
    )


def move(
    connection: Connection, versions: Sequence[Moved], marks: Sequence[tuple[bytes, bytes, bytes]]
) -> int:
    """
    Put versions under another key, and new MACs to entries, each only where nobody changed it since it was
    read; give how many versions were moved.

    Args:
        connection: of a transaction.
        versions: as they shall stand.
        marks: new MAC, id and old MAC of each entry.
    """
    moved = 0
    if versions:
        changed = [(row.sealed, row.kek_id, row.mac, row.entry_id, row.number, row.was) for row in versions]
        moved = connection.executemany(_MOVE, changed).rowcount
    if marks:
        connection.executemany(_REMARK, marks)
    return moved
