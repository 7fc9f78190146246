"""A room whose store is backed up: its settings, its recovery identity, and what is done with both."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

from strongroom.assembly import create_room, open_room
from strongroom.assembly.backup import new_identity, open_backups
from strongroom.crypto.recovery import Identities
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.settings import load


@cache
def identity():
    """
    Give one recovery identity and its recipient, the same in all tests of a process, and in those it says it
    to: a victim restores what the test backed up.
    """
    said = os.environ.get("STRONGROOM_TEST_IDENTITY")
    if said is None:
        return new_identity()
    return Secret(said), Identities(Secret(said)).recipients[0]


def told(*_progress):
    """Be told of progress."""


class BackedUp:
    """
    One room in a folder of its own.

    Args:
        place: of its store, where that is not the usual file.
        config: the text of its settings.
    """

    def __init__(self, folder, *, place=None, config=""):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "strongroom.toml").write_text(config)
        self.environ = {"STRONGROOM_HOME": str(folder / "room")}
        self.settings = self.loaded(place)
        self.file = folder / "backup.srb"

    def loaded(self, place=None, deployment=None):
        environ = dict(self.environ)
        if place is not None:
            environ["STRONGROOM__STORE__URL" if "://" in str(place) else "STRONGROOM__STORE__PATH"] = str(
                place
            )
        return load(self.folder / "strongroom.toml", environ=environ, deployment=deployment)

    def at(self, place):
        """Give the same room with its store at another place."""
        other = object.__new__(BackedUp)
        other.__dict__ = {**self.__dict__, "settings": self.loaded(place)}
        return other

    @contextmanager
    def room(self, *, create=False):
        with (create_room if create else open_room)(self.settings, environ=self.environ) as room:
            yield room

    def desk(self):
        return open_backups(self.settings, environ=self.environ)

    def write(self, **texts):
        with self.room(create=True) as room:
            changes = [Change(ref=Ref("variable", name), secret=Secret(text)) for name, text in texts.items()]
            room.entries.write_many(changes)

    def delete(self, name):
        with self.room() as room:
            room.entries.delete(Ref("variable", name))

    def read(self):
        """Give every variable that stands, and its versions."""
        with self.room() as room:
            found = {}
            for row in room.entries.list("variable"):
                ref = row.ref
                found[ref.name] = (
                    room.entries.reveal(ref, reason="test").secret.reveal(),
                    len(room.entries.history(ref)),
                )
            return found

    def back_up(self, file=None):
        with self.desk() as desk:
            return desk.create(file or self.file, recipients=[identity()[1]], progress=told)

    def verify(self, file=None, *, opened=True, keys=()):
        with self.desk() as desk:
            secret = identity()[0] if opened else None
            return desk.verify(file or self.file, identity=secret, keys=keys, progress=told)

    def drill(self, file=None):
        with self.desk() as desk:
            return desk.drill(file or self.file, identity=identity()[0], keys=(), progress=told)

    def restore(self, file=None, *, to=None, accepts=False, keys=(), secret=None):
        with (
            self.desk() as desk,
            desk.restoring(
                file or self.file,
                identity=identity()[0] if secret is None else secret,
                keys=keys,
                progress=told,
            ) as found,
        ):
            desk.finish(
                found,
                to=None if to is None else str(to),
                password=None,
                accepts_rollback=accepts,
                progress=told,
            )
            return found.checked

    def records(self, count=10):
        with self.room() as room:
            return [(record.action, record.outcome, record.reason) for record in room.audit.tail(count)]


def with_store(settings, **changes):
    return replace(settings, store=replace(settings.store, **changes))
