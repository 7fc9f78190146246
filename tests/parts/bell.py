"""A backend that tells of changes, as loud as a test wants."""

from __future__ import annotations

import threading
import time

from strongroom.backend import Watched
from strongroom.errors import StrongroomError
from strongroom.testing.fakes import Flaky


class Bell(Flaky):
    """
    Tells whoever watches what the test says: a gap first, as every watch does.

    `put` changes silently; `ring(ref)` tells of it, `change(ref, text)` does both. With `is_many` it is
    asked for many at once.
    """

    is_local = False

    def __init__(self, name="server", entries=None, *, is_many=False, **options):
        self.watching = []
        self.batches = []
        self.is_many = is_many
        super().__init__(name, entries, **options)

    def watch(self, on_notice):
        self.watching.append(on_notice)
        on_notice(Watched(is_gap=True))
        return lambda: self.watching.remove(on_notice) if on_notice in self.watching else None

    def tell(self, **notice):
        for on_notice in list(self.watching):
            on_notice(Watched(**notice))

    def ring(self, *refs):
        self.tell(refs={ref: self._version(ref) for ref in refs})

    def change(self, ref, text):
        self.put(ref, text)
        self.ring(ref)

    @property
    def is_batched(self):
        return self.is_many

    def read_many(self, refs):
        self.batches.append(list(refs))
        self._before("read_many", None)
        return [self._given(ref) for ref in refs]

    def _given(self, ref):
        try:
            return Flaky.read(self, ref)
        except StrongroomError as error:
            return error

    def _version(self, ref):
        with self._lock:
            version = self._live(ref)
            return None if version is None else self._entry(ref, version).version

    def reads(self, ref):
        return self.calls.count(("read", ref))


def until(holds, seconds=10.0):
    """Wait until *holds* gives something true, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to be"
        threading.Event().wait(0.005)
    return found
