"""The suite for stores of many names holds for stores that keep the promise, and fails one that does not."""

import pytest

from parts.shelves import Blind, Careless, ShelfOptions, Shelves
from strongroom.backend import Health
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.testing.contract import BackendContract


class Unsteady(Shelves):
    """Writes in two steps, checks itself, and says what it needs."""

    is_down = False
    breaks = 0

    def _fetch(self, path):
        if self.is_down:
            raise BackendUnavailableError("no answer", backend=self.name)
        return super()._fetch(path)

    def _store(self, path, text, *, expected, draft):
        version = super()._store(path, text, expected=expected, draft=draft)
        if self.breaks:
            self.breaks -= 1
            raise BackendUnavailableError("the value was written, its tag was not", backend=self.name)
        return version

    def check(self):
        try:
            self._seam(lambda: self._fetch("strongroom-check"))
        except BackendUnavailableError as error:
            return Health.failed(error, identity="me")
        return Health(status="ready", identity="me", may={"read": "yes", "write": "unknown"})

    def least_policy(self, verbs):
        return f"allow {', '.join(verbs)}"


class TestShelves(BackendContract):
    kind = Unsteady

    def make(self, tmp_path):
        return self.kind()

    def make_holding(self, tmp_path):
        options = ShelfOptions(
            connections_prefix="airflow/connections#", variables_prefix="airflow/variables#"
        )
        return self.kind(options=options)

    def make_shaped(self, tmp_path, shape):
        return self.kind(options=ShelfOptions(connection_shape=shape))

    def put_oversized(self, backend, ref, text):
        backend.held[backend.naming.path(ref)] = (text, "1")

    def break_write(self, backend):
        backend.breaks = 1

    def down(self, backend):
        backend.is_down = True

    def deny(self, backend, ref):
        backend.trouble[backend.naming.path(ref)] = AccessDeniedError("no", reason="no")


class TestBlind(BackendContract):
    kind = Blind
    has_compare_and_set = False
    make, make_holding, make_shaped = TestShelves.make, TestShelves.make_holding, TestShelves.make_shaped
    put_oversized = TestShelves.put_oversized


class TestCareless(TestBlind):
    kind = Careless


class Small(Blind):
    max_text_bytes = 4096


class TestSmall(TestBlind):
    kind = Small
    max_text_bytes = 4096


def test_store_that_leaves_an_answer_out_does_not_pass(tmp_path):
    class Forgetful(Shelves):
        def read_many(self, refs):
            return [None if place else one for place, one in enumerate(super().read_many(refs))]

    with pytest.raises(AssertionError):
        TestShelves().test_many_are_answered_in_order_as_each_would_be_alone(Forgetful())
