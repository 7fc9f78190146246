"""Bringing what one backend holds into a room."""

import pytest

from strongroom.assembly import room_of
from strongroom.audit import AuditLog
from strongroom.backend import Backend
from strongroom.chain import Link
from strongroom.errors import BackendUnavailableError, ConflictError, InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.entry import EntryState, Metadata
from strongroom.model.held import Held
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.transfer import ImportOptions
from strongroom.settings import load
from strongroom.testing.fakes import Flaky, Memory, frozen_clock

CANARY = "cAnArY-91b7"


class Dump(Backend):
    """Gives what it was given."""

    name = "dump"

    def __init__(self, *held):
        self.held = held

    def read(self, ref):
        raise AssertionError("it is dumped, not read")

    def dump(self, kind):
        return iter([one for one in self.held if one.kind == kind])


class Mute(Backend):
    name = "mute"

    def read(self, ref):
        return None


def variable(name, text="eu", **more):
    return Held(kind="variable", name=name, secret=Secret(text), **more)


def refused(name, **more):
    return Held(
        kind="connection", name=name, state=EntryState.WRONG_KEY, problem="sealed by another key", **more
    )


@pytest.fixture
def store():
    return Memory("store", clock=frozen_clock)


@pytest.fixture
def room(tmp_path, store):
    settings = load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)
    with room_of([Link(backend=store)], settings, clock=frozen_clock) as made:
        yield made


def texts(store, *refs):
    entries = [store.read(ref) for ref in refs]
    return [None if entry is None else entry.secret.reveal() for entry in entries]


def test_both_kinds_are_written_in_one_batch_with_team_and_description(room, store, tmp_path):
    source = Dump(
        variable("region", metadata=Metadata(description="where"), team="data"),
        Held(kind="connection", name="api", secret=Secret("http://:p@host")),
    )
    connections, variables = room.transfer.import_entries(source)
    assert [line.outcome for report in (connections, variables) for line in report.lines] == ["imported"] * 2
    assert variables.states == {EntryState.OK: 1}
    entry = store.read(Ref("variable", "region", "data"))
    assert (entry.secret.reveal(), entry.metadata.description) == ("eu", "where")
    api = store.read(Ref("connection", "api"))
    assert Connection.parse(api.secret.reveal()).host == "host"
    assert api.metadata.conn_type == "http"
    log = AuditLog(tmp_path / "audit", deployment="default", clock=frozen_clock)
    assert {record.name for record in log.tail(100) if record.action == "write"} >= {"api", "region"}


def test_one_that_cannot_be_read_keeps_both_kinds_out(room, store):
    source = Dump(refused("foreign", team="data"), variable("region"))
    connections, variables = room.transfer.import_entries(source)
    assert (connections.is_written, variables.is_written) == (False, False)
    (line,) = connections.lines
    assert (line.outcome, line.reason, line.team) == ("refused", "sealed by another key", "data")
    assert [line.outcome for line in variables.lines] == ["not reached"]
    assert texts(store, Ref("variable", "region")) == [None]


def test_going_on_writes_the_others(room, store):
    source = Dump(
        refused("foreign"), variable("region"), Held(kind="connection", name="odd", secret=Secret("text"))
    )
    connections, _ = room.transfer.import_entries(source, ImportOptions(keep_going=True))
    assert [line.outcome for line in connections.lines] == ["refused", "refused"]
    assert texts(store, Ref("variable", "region")) == ["eu"]


def test_team_that_is_none_here_refuses_its_own_entry_alone(room, store):
    # Airflow takes names of teams that begin or end with a sign.
    source = Dump(variable("theirs", team="data_"), variable("region"))
    _, variables = room.transfer.import_entries(source, ImportOptions(keep_going=True))
    assert [(line.name, line.outcome) for line in variables.lines] == [
        ("theirs", "refused"),
        ("region", "imported"),
    ]
    assert "a team name" in variables.lines[0].reason
    assert texts(store, Ref("variable", "region")) == ["eu"]


def test_new_name_is_for_both_kinds_and_must_be_there(room, store):
    source = Dump(
        variable("/a"),
        Held(kind="connection", name="/a", secret=Secret("http://host")),
        variable("ok"),
    )
    trial = room.transfer.import_entries(source, ImportOptions(dry_run=True))
    assert [row.suggestion for report in trial for row in report.names_to_change] == ["a", "a"]
    with pytest.raises(InvalidInputError, match="1 of the names to change are not there"):
        room.transfer.import_entries(source, ImportOptions(rename={"nothing": "x"}))
    room.transfer.import_entries(source, ImportOptions(rename={"/a": "b"}))
    assert texts(store, Ref("variable", "b"), Ref("variable", "ok")) == ["eu", "eu"]
    assert store.read(Ref("connection", "b")) is not None


@pytest.mark.parametrize(
    ("on_existing", "outcome", "text"),
    [("skip", "skipped", "here"), ("overwrite", "imported", "eu"), ("fail", "refused", "here")],
)
def test_what_is_held_is_met_as_asked(room, store, on_existing, outcome, text):
    room.transfer.import_entries(Dump(variable("region", "here")))
    _, report = room.transfer.import_entries(Dump(variable("region")), ImportOptions(on_existing=on_existing))
    assert [line.outcome for line in report.lines] == [outcome]
    assert texts(store, Ref("variable", "region")) == [text]


def test_backend_that_lists_is_read_name_by_name(room, store):
    source = Memory("source", clock=frozen_clock)
    source.put(Ref("variable", "region"), "eu")
    source.put(Ref("connection", "api"), "http://host")
    connections, variables = room.transfer.import_entries(source)
    assert (len(connections.of("imported")), len(variables.of("imported"))) == (1, 1)
    assert texts(store, Ref("variable", "region")) == ["eu"]


def test_backend_that_can_tell_nothing_is_refused(room):
    with pytest.raises(InvalidInputError, match="mute cannot tell what it holds"):
        room.transfer.import_entries(Mute())


def test_source_that_is_down_writes_nothing(room, store):
    source = Flaky("source", clock=frozen_clock)
    source.put(Ref("variable", "region"), "eu")
    source.fail()
    with pytest.raises(BackendUnavailableError):
        room.transfer.import_entries(source)
    assert texts(store, Ref("variable", "region")) == [None]


class Racing(Memory):
    """Somebody else writes as soon as this was listed."""

    def list(self, kind, **more):
        found = super().list(kind, **more)
        self.put(Ref("variable", "region"), "meanwhile")
        return found


def test_what_was_written_meanwhile_is_a_conflict(tmp_path):
    store = Racing("store", clock=frozen_clock)
    settings = load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)
    room = room_of([Link(backend=store)], settings, clock=frozen_clock)
    with room, pytest.raises(ConflictError):
        room.transfer.import_entries(Dump(variable("region")))
    assert texts(store, Ref("variable", "region")) == ["meanwhile"]


def test_nothing_of_a_held_entry_prints():
    held = variable("region", CANARY)
    assert CANARY not in repr(held)
    connection = Connection.parse(f"http://u:{CANARY}@h")
    assert CANARY not in repr(Held(kind="connection", name="c", connection=connection))
