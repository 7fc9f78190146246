"""Empty places for a store in each kind of database: a new file, or a new database of our own server."""

from __future__ import annotations

import os
from itertools import count

from parts import databases

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
