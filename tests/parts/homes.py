"""Places for a store in each kind of database: a new file, or a database of our own server."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, contextmanager
from itertools import count
from urllib.parse import urlsplit

import psycopg
import pymysql

from native_room import copy_store
from parts import databases
from strongroom.store.store import Store

KINDS = databases.KINDS
_numbers = count()


def home(kind, folder):
    """Give an empty place: a path below *folder*, or an address."""
    number = next(_numbers)
    if kind == "sqlite":
        return folder / f"home{number}" / "store.db"
    server = databases.server_of(kind)
    name = f"home_{os.getpid()}_{number}"
    # What a server was made with must not matter.
    server.run(f"CREATE DATABASE {name}{' CHARACTER SET latin1' if kind == 'mariadb' else ''}")
    return address(kind, name)


def address(kind, database, user=None):
    """Give the address of a database of this process's own server."""
    server = databases.server_of(kind)
    if kind == "postgresql":
        return f"postgresql://{user or 'postgres'}@/{database}?host={server.socket}"
    return f"mariadb://{user or 'root'}@/{database}?unix_socket={server.socket}"


REFUSALS = (sqlite3.Error, psycopg.Error, pymysql.Error)
"""What a database raises that does not take what a hand would put into it."""

# --- a store that is there, of a test's own --------------------------------------------------------

_FREE = {"postgresql": [], "mariadb": []}
_EMPTIED = (
    "key_jobs",
    "kek_uses",
    "registry",
    "registry_heads",
    "changes",
    "versions",
    "entries",
    "kek_wraps",
    "keks",
    "settings",
)


@contextmanager
def lent(kind, folder):
    """
    Give the place of a store without rows, of this test alone: a path below *folder*, or the address of a
    database that other tests had before and will have after it, because making its tables takes longer.
    """
    if kind == "sqlite":
        yield copy_store(folder / f"lent{next(_numbers)}")
        return
    free = _FREE[kind]
    if free:
        place = free.pop()
    else:
        Store.open(place := home(kind, folder), create=True).close()
    with by_hand(place) as hand:
        _empty(hand, kind)
    yield place
    free.append(place)


def _empty(hand, kind):
    for table in {name for (name,) in hand.execute(_NAMES[kind])} - {"schema_revision", *_EMPTIED}:
        hand.execute(f"DELETE FROM {table}")
    for table in _EMPTIED:
        hand.execute(f"DELETE FROM {table}")
    hand.execute(_RESTART[kind])
    hand.execute("INSERT INTO settings (\"key\", value) VALUES ('store_id', ?)", (secrets.token_hex(16),))


_NAMES = {
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    "mariadb": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
}
_RESTART = {
    "postgresql": "ALTER SEQUENCE changes_sequence_seq RESTART",
    "mariadb": "ALTER TABLE changes AUTO_INCREMENT = 1",
}


@contextmanager
def by_hand(place):
    """Give what changes the tables of a store past it: `execute` with `?` for parameters."""
    if "://" not in str(place):
        with closing(sqlite3.connect(place)) as opened:
            yield opened
            opened.commit()
        return
    at = urlsplit(str(place))
    with (
        closing(databases.server_of(at.scheme).admin(at.path[1:])) as opened,
        closing(opened.cursor()) as cursor,
    ):
        cursor.execute(_LET_BE[at.scheme])
        yield _Hand(cursor)


# No foreign key is looked at, and names are quoted as elsewhere.
_LET_BE = {
    "postgresql": "SET session_replication_role = replica",
    "mariadb": "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES'), foreign_key_checks = 0",
}


def everything(place):
    """Give every row of every table of a store, by its name, but how many writers there were."""
    with by_hand(place) as hand:
        found = {name: hand.execute(f"SELECT * FROM {name}").fetchall() for name in _EMPTIED}
    return {name: sorted(repr(row) for row in rows if row[0] != "turn") for name, rows in found.items()}


class _Hand:
    """A cursor of another driver, asked as sqlite3's connection is."""

    def __init__(self, cursor):
        self._cursor = cursor

    def execute(self, sql, parameters=()):
        given = sql.replace("%", "%%").replace("?", "%s")
        self._cursor.execute(given, tuple(parameters)) if parameters else self._cursor.execute(sql)
        return self._cursor
