"""
A connection held as live clients hold it, whose stored content the test changes.

    with kept(conn_type="google_cloud_platform", extra={…}) as stored:
        made = google.client(stored.held, stored.asked(environ={}))
        stored.write(extra={…})        # stands in the store; nobody is told
        stored.tell()                  # and now whoever follows knows it
        stored.questions               # how often the store was asked past everything remembered
"""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from datetime import datetime, timezone

from strongroom.live.around import Around, Asked
from strongroom.live.follow import Follow
from strongroom.live.held import Held
from strongroom.model.connection import NAMES, Connection
from strongroom.model.entry import Entry
from strongroom.model.extra import Extra
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

WAIT_SECONDS = 10


class Stored:
    """A `live.held.Source` of one connection, and what is held of it."""

    def __init__(self, name, fields):
        self.ref = Ref("connection", name, None)
        self.questions = 0
        self._versions = itertools.count(1)
        self._wake = lambda: None
        self.write(**fields)
        self.held = Held(self.ref, self, itertools.count(0, 10).__next__)

    def write(self, **fields):
        """Store another connection."""
        if isinstance(fields.get("password"), str):
            fields["password"] = Secret(fields["password"])
        if fields.get("extra") is not None:
            fields["extra"] = Extra(fields["extra"])
        self._connection = Connection(**fields)
        self._entry = Entry(
            ref=self.ref,
            secret=self._connection.format("json"),
            backend="shelf",
            read_at=datetime.now(timezone.utc),
            version=str(next(self._versions)),
        )

    def tell(self):
        """Have it known by all who follow."""
        known = threading.Event()
        end = self.held.on_change(lambda _known: known.set())
        self._wake()
        assert known.wait(WAIT_SECONDS), "nobody took note"
        end()

    def asked(self, service=None, *, driver="", environ=None, others=None, **options):
        """Say what is wanted of it; *others* are connections by name, stored likewise."""
        around = Around(
            environ=environ or {},
            now=lambda: datetime.now(timezone.utc),
            run=lambda: None,
            held=lambda name, _team: others[name].held,
        )
        return Asked(driver, service, options, around)

    # --- a source ---

    def follow(self, _ref, on_change):
        def listen(wake):
            self._wake = wake
            return lambda: None

        return Follow(lambda: self._entry, on_change, listen=listen)

    def anew(self, _ref):
        self.questions += 1
        return self._entry

    def parsed(self, entry):
        return Connection.parse(entry.secret.reveal())

    def write_back(self, _ref, change, comment):
        del comment
        after = change(self._connection)
        if after is not None:
            self.write(**{name: getattr(after, name) for name in NAMES})
        return self._connection


@contextmanager
def kept(name="cloud", **fields):
    """Store a connection of *fields* and hold it."""
    stored = Stored(name, fields)
    try:
        yield stored
    finally:
        stored.held.close()
