"""
The shapes of rows, and every statement that reads them.

Plain SQL, so that no process loads SQLAlchemy (0.3 s of a cold start) to read or write, and a read by
name costs the driver alone. The values are bound, never pasted; what varies in a text is chosen from
constants of this file. What all databases understand, and what an engine translates: `engine.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.store.engine import Connection

__all__ = [
    "ChangeRow",
    "EntryRow",
    "HeadRow",
    "KekRow",
    "Page",
    "RegistryRow",
    "VersionRow",
    "WrapRow",
]


class EntryRow(NamedTuple):
    """
    One row of `entries`, in the order of its columns, and the sealed bytes of its current version.

    Times are microseconds since 1970 UTC; `sealed` is None in listings, and where the version row
    is missing.
    """

    id: bytes
    deployment: str
    team: str
    kind: str
    name: str
    current_version: int
    is_deleted: int
    conn_type: str | None
    description: str | None
    tags: str
    owner: str | None
    remind_at: int | None
    not_after: int | None
    expires_at: int | None
    has_references: int
    changed_at: int
    changed_by: str
    mac: bytes
    sealed: bytes | None = None


class VersionRow(NamedTuple):
    """One row of `versions`, in the order of its columns."""

    entry_id: bytes
    number: int
    sealed: bytes
    kek_id: bytes
    conn_type: str | None
    created_at: int
    author: str
    comment: str
    mac: bytes


class KekRow(NamedTuple):
    """One row of `keks`, in the order of its columns."""

    id: bytes
    deployment: str
    team: str
    number: int
    state: str
    created_at: int
    canary: bytes


class WrapRow(NamedTuple):
    """One row of `kek_wraps`, in the order of its columns."""

    kek_id: bytes
    number: int
    kind: str
    name: str
    wrapped: bytes


PRUNED = "changes_pruned/"
"""Before the name of a deployment: the setting that says up to where its changes were forgotten."""
MOVED = "moved_to"
"""The setting of a store that was moved: where to, without a password. It is not written to any more."""
ARRIVING = "move_arriving"
"""The setting of a store that is being moved here: nothing opens it before it is whole and the only one."""
TURN = "turn"
"""The setting that counts the writers, where an engine has no other way to tell that somebody wrote."""


class ChangeRow(NamedTuple):
    """One row of `changes`; `version` is None where the entry was deleted."""

    sequence: int
    team: str
    kind: str
    name: str
    version: int | None


class RegistryRow(NamedTuple):
    """One row of `registry`, in the order of its columns."""

    deployment: str
    kind: str
    id: str
    body: bytes
    revision: int
    mac: bytes


class HeadRow(NamedTuple):
    """One row of `registry_heads`, in the order of its columns."""

    deployment: str
    revision: int
    row_count: int
    digest: bytes
    mac: bytes


class Page(NamedTuple):
    """
    Which entries to list.

    Args:
        now: microseconds; what expired before is left out.
    """

    deployment: str
    team: str
    kind: str
    prefix: str
    after: str
    limit: int
    now: int
    with_deleted: bool
    only_deleted: bool = False


_ENTRY = ", ".join(f"e.{field}" for field in EntryRow._fields[:-1])
_CURRENT = (
    f"SELECT {_ENTRY}, v.sealed FROM entries e"  # noqa: S608 -- columns are constants of this file
    # LEFT: an entry whose version row was taken away must not look as if it had never been.
    " LEFT JOIN versions v ON v.entry_id = e.id AND v.number = e.current_version"
    " WHERE e.deployment = ? AND e.team = ? AND e.kind = ? AND e.name = ?"
)
_VERSION = f"SELECT {', '.join(VersionRow._fields)} FROM versions WHERE entry_id = ?"  # noqa: S608 -- as above
_KEKS = f"SELECT {', '.join(KekRow._fields)} FROM keks WHERE deployment = ?"  # noqa: S608 -- as above
_WRAPS = f"SELECT {', '.join(WrapRow._fields)} FROM kek_wraps WHERE kek_id = ? ORDER BY number"  # noqa: S608 -- as above

_REGISTRY = f"SELECT {', '.join(RegistryRow._fields)} FROM registry WHERE deployment = ?"  # noqa: S608 -- as above
_HEAD = f"SELECT {', '.join(HeadRow._fields)} FROM registry_heads WHERE deployment = ?"  # noqa: S608 -- as above


def current(connection: Connection, deployment: str, team: str, kind: str, name: str) -> EntryRow | None:
    """Give the entry under exactly this name with the sealed bytes of its current version."""
    row = connection.execute(_CURRENT, (deployment, team, kind, name)).fetchone()
    return None if row is None else EntryRow(*row)


def version(connection: Connection, entry_id: bytes, number: int) -> VersionRow | None:
    """Give one version of an entry."""
    row = connection.execute(f"{_VERSION} AND number = ?", (entry_id, number)).fetchone()
    return None if row is None else VersionRow._make(row)


def has_version(connection: Connection, entry_id: bytes, number: int) -> bool:
    """Tell whether an entry has one version, without reading it."""
    sql = "SELECT 1 FROM versions WHERE entry_id = ? AND number = ?"
    return connection.execute(sql, (entry_id, number)).fetchone() is not None


def versions(connection: Connection, entry_id: bytes) -> list[VersionRow]:
    """Give every version of an entry, newest first."""
    rows = connection.execute(f"{_VERSION} ORDER BY number DESC", (entry_id,)).fetchall()
    return [VersionRow._make(row) for row in rows]


def keks(connection: Connection, deployment: str, team: str | None = None) -> list[KekRow]:
    """Give the keys of one team ('' for none), or of the whole deployment, oldest first."""
    if team is None:
        rows = connection.execute(f"{_KEKS} ORDER BY team, number", (deployment,)).fetchall()
    else:
        rows = connection.execute(f"{_KEKS} AND team = ? ORDER BY number", (deployment, team)).fetchall()
    return [KekRow._make(row) for row in rows]


def wraps(connection: Connection, kek_id: bytes) -> list[WrapRow]:
    """Give the wrapped forms of one key, in the order of the wrappers that made them."""
    return [WrapRow._make(row) for row in connection.execute(_WRAPS, (kek_id,)).fetchall()]


def is_wrapped_by(connection: Connection, kind: str, name: str) -> bool:
    """Tell whether any key is wrapped by the wrapper of this kind and name."""
    sql = "SELECT 1 FROM kek_wraps WHERE kind = ? AND name = ? LIMIT 1"
    return connection.execute(sql, (kind, name)).fetchone() is not None


def sealed_versions(connection: Connection, kek_id: bytes) -> int:
    """Count the versions sealed under one key."""
    row = connection.execute("SELECT count(*) FROM versions WHERE kek_id = ?", (kek_id,)).fetchone()
    return int(row[0])


def has_entries(connection: Connection, deployment: str, team: str | None) -> bool:
    """Tell whether a team ('' for none), or with None the deployment, has any entry, deleted or not."""
    sql = "SELECT 1 FROM entries WHERE deployment = ?"
    if team is None:
        return connection.execute(f"{sql} LIMIT 1", (deployment,)).fetchone() is not None
    return connection.execute(f"{sql} AND team = ? LIMIT 1", (deployment, team)).fetchone() is not None


def page(connection: Connection, wanted: Page) -> list[EntryRow]:
    """Give entries in the order of their names, by code point, without their sealed bytes."""
    clauses, parameters = _bounds(wanted)
    if wanted.only_deleted:
        clauses.append("e.is_deleted = 1")
    elif not wanted.with_deleted:
        clauses.append("e.is_deleted = 0 AND (e.expires_at IS NULL OR e.expires_at > ?)")
        parameters.append(wanted.now)
    sql = f"SELECT {_ENTRY} FROM entries e WHERE {' AND '.join(clauses)} ORDER BY e.name LIMIT ?"  # noqa: S608 -- constants
    rows = connection.execute(sql, (*parameters, max(0, wanted.limit))).fetchall()
    return [EntryRow(*row) for row in rows]


OUTLINE_CHARACTERS = 200  # of a description: enough to put lists in order by


def outline(connection: Connection, wanted: Page) -> list[tuple[object, ...]]:
    """
    Give name, time of change, connection type, beginning of the description, end, version, tags, owner, times
    and references of what `page` would give. Nothing has authenticated them: each may be of any type.
    """
    clauses, parameters = _bounds(wanted)
    sql = (
        f"SELECT e.name, e.changed_at, e.conn_type, substr(e.description, 1, {OUTLINE_CHARACTERS}),"  # noqa: S608 -- constants
        " e.expires_at, e.current_version, e.tags, e.owner, e.remind_at, e.not_after, e.has_references"
        f" FROM entries e WHERE {' AND '.join(clauses)} AND e.is_deleted = 0"
        " AND (e.expires_at IS NULL OR e.expires_at > ?) ORDER BY e.name LIMIT ?"
    )
    return connection.execute(sql, (*parameters, wanted.now, max(0, wanted.limit))).fetchall()


def named(connection: Connection, wanted: Page, names: Sequence[str]) -> list[EntryRow]:
    """Give those of *names* that `page` would give, in its order; at most 500 names at once."""
    marks = ", ".join([_NAME] * len(names))
    sql = (
        f"SELECT {_ENTRY} FROM entries e WHERE e.deployment = ? AND e.team = ? AND e.kind = ?"  # noqa: S608 -- constants
        f" AND e.name IN ({marks}) AND e.is_deleted = 0 AND (e.expires_at IS NULL OR e.expires_at > ?)"
        " ORDER BY e.name"
    )
    spelled = [_spelled(name) for name in names]
    found = connection.execute(sql, (wanted.deployment, wanted.team, wanted.kind, *spelled, wanted.now))
    return [EntryRow(*row) for row in found.fetchall()]


def _bounds(wanted: Page) -> tuple[list[str], list[object]]:
    # A range over the index instead of LIKE: no wildcard to escape, and Python compares bytes
    # exactly as SQLite compares its UTF-8.
    clauses = ["e.deployment = ?", "e.team = ?", "e.kind = ?", f"e.name >= {_NAME}", f"e.name <> {_NAME}"]
    prefix, after = _spelled(wanted.prefix), _spelled(wanted.after)
    parameters: list[object] = [wanted.deployment, wanted.team, wanted.kind, max(prefix, after), after]
    end = _successor(wanted.prefix)
    if end is not None:
        clauses.append(f"e.name < {_NAME}")
        parameters.append(_spelled(end))
    return clauses, parameters


_NAME = "CAST(? AS TEXT)"  # a name as bytes, see `_spelled`


def _spelled(name: str) -> bytes:
    """
    Give *name* as the file holds it. What a caller typed, or a damaged row holds, may be no UTF-8, and
    the driver would raise an error of its own over it as text.
    """
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


_ALL = 2**62  # rows: no database has so many, and only SQLite takes -1 for all
_FIRST_SURROGATE, _AFTER_SURROGATES, _LAST = 0xD800, 0xE000, 0x10FFFF  # code points


def _successor(prefix: str) -> str | None:
    """Give the least text above every text that begins with *prefix*, None where there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        following = ord(prefix[index]) + 1
        if following == _FIRST_SURROGATE:  # these are no characters: UTF-8 cannot spell them
            following = _AFTER_SURROGATES
        if following <= _LAST:
            return prefix[:index] + chr(following)
    return None


def expired(connection: Connection, deployment: str, now: int, limit: int) -> list[EntryRow]:
    """Give up to *limit* entries, with -1 all, that stand and whose time was up at *now* (microseconds)."""
    rows = connection.execute(
        f"SELECT {_ENTRY} FROM entries e"  # noqa: S608 -- columns are constants of this file
        " WHERE e.deployment = ? AND e.expires_at <= ? AND e.is_deleted = 0"
        " ORDER BY e.expires_at LIMIT ?",
        (deployment, now, limit if limit >= 0 else _ALL),
    ).fetchall()
    return [EntryRow(*row) for row in rows]


def changes(connection: Connection, deployment: str, after: int, limit: int) -> list[ChangeRow]:
    """Give up to *limit* changes after the sequence number *after*, oldest first."""
    rows = connection.execute(
        "SELECT sequence, team, kind, name, version FROM changes"
        " WHERE deployment = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (deployment, after, max(0, limit)),
    ).fetchall()
    return [ChangeRow._make(row) for row in rows]


def pruned_to(connection: Connection, deployment: str) -> int:
    """Give the sequence number up to which changes of a deployment were forgotten, 0 where none were."""
    row = connection.execute('SELECT value FROM settings WHERE "key" = ?', (PRUNED + deployment,)).fetchone()
    return int(row[0]) if row is not None and str(row[0]).isdecimal() else 0


def prunable(connection: Connection, deployment: str, keep: int) -> int | None:
    """Give the number up to which changes can be forgotten so that the newest *keep* stay; None for none."""
    row = connection.execute(
        "SELECT sequence FROM changes WHERE deployment = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?",
        (deployment, keep),
    ).fetchone()
    return None if row is None else int(row[0])


def setting(connection: Connection, key: str) -> str | None:
    """Give one setting of the store, None where it has none."""
    row = connection.execute('SELECT value FROM settings WHERE "key" = ?', (key,)).fetchone()
    return None if row is None else str(row[0])


def last_sequence(connection: Connection) -> int:
    """Give the sequence number of the newest change, 0 before the first."""
    row = connection.execute("SELECT max(sequence) FROM changes").fetchone()
    return int(row[0] or 0)


def head(connection: Connection, deployment: str) -> HeadRow | None:
    """Give the head of a deployment's registry, None where nothing was ever written to it."""
    row = connection.execute(_HEAD, (deployment,)).fetchone()
    return None if row is None else HeadRow._make(row)


def registry(connection: Connection, deployment: str, after: int | None) -> list[RegistryRow]:
    """Give the rows of a deployment's registry, those written after the revision *after* or all of them."""
    if after is None:
        # No bound of any kind: a row planted with a revision of its own making must be seen too.
        found = connection.execute(_REGISTRY, (deployment,)).fetchall()
    else:
        found = connection.execute(f"{_REGISTRY} AND revision > ?", (deployment, after)).fetchall()
    return [RegistryRow._make(row) for row in found]
