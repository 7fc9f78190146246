"""Our own store keeps the promise of a backend."""

import pytest

from native_room import draft, make_barrier
from parts.homes import lent
from strongroom.backend import Checkable, Listable, Versioned, Writable, load
from strongroom.backends.native import Native
from strongroom.model.ref import Ref
from strongroom.testing.contract import BackendContract


class TestNative(BackendContract):
    kind = "sqlite"

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path):
        with lent(self.kind, tmp_path) as self.place:
            yield

    def make(self, tmp_path):
        return Native(make_barrier(self.place))

    def down(self, backend):
        backend.close()


class TestNativeOnPostgresql(TestNative):
    kind = "postgresql"


class TestNativeOnMariadb(TestNative):
    kind = "mariadb"


@pytest.fixture
def native(tmp_path):
    made = Native(make_barrier(tmp_path / "room" / "store.db"))
    yield made
    made.close()


def test_native_is_found_by_its_kind_and_has_every_ability(native):
    assert load("native") is Native
    assert native.is_local
    assert isinstance(native, (Writable, Listable, Versioned, Checkable))
    for ability in (Writable, Listable, Versioned, Checkable):
        assert isinstance(native, ability)


def test_check_touches_no_entry_and_leaves_no_change(native):
    native.write(draft("x"))
    assert native.check().status == "ready"
    assert native.barrier.last_sequence() == 1


def test_batch_of_one_new_team_writes_one_name_twice(native):
    assert native.write_many([draft("x", "one", team="data"), draft("x", "two", team="data")]) == ["1", "2"]
    entry = native.read(Ref("variable", "x", "data"))
    assert entry is not None
    assert entry.secret.reveal() == "two"
