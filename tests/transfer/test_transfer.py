"""Import and export through a room."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.assembly import room_of
from strongroom.audit import AuditLog
from strongroom.chain import Link
from strongroom.errors import ConflictError, InvalidInputError, MalformedEntryError, ReadOnlyError
from strongroom.model.connection import Connection
from strongroom.model.document import form_of, parse_connections, parse_variables
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.service.transfer import ImportOptions
from strongroom.settings import load
from strongroom.testing.fakes import Flaky, Memory, frozen_clock

DATA = Path(__file__).parents[1] / "data"
CANARY = "cAnArY-91b7"
FILES = ["connections.json", "connections.yaml", "connections-json.env"]


class NotListable:
    """A backend that reads and writes and cannot list."""

    is_local = True

    def __init__(self, inner):
        self.name = inner.name
        self.read, self.write, self.write_many = inner.read, inner.write, inner.write_many
        self.delete, self.close = inner.delete, inner.close


@pytest.fixture
def open_room(tmp_path):
    rooms = []

    def opened(*backends, **environ):
        settings = load(environ={"STRONGROOM_HOME": str(tmp_path), **environ}, cwd=tmp_path)
        rooms.append(room_of([Link(backend=found) for found in backends], settings, clock=frozen_clock))
        return rooms[-1]

    yield opened
    for room in rooms:
        room.close()


@pytest.fixture
def acts(tmp_path):
    def told():
        log = AuditLog(tmp_path / "audit", deployment="default", clock=frozen_clock)
        return [(record.action, record.name, record.outcome) for record in log.tail(1000)]

    return told


def connection(name):
    return Ref("connection", name)


def texts(memory, kind="variable"):
    return {row.ref.name: memory.read(row.ref).secret.reveal() for row in memory.list(kind)}


def outcomes(report):
    return {line.name: line.outcome for line in report.lines}


# --- real exports ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("folder", ["airflow3", "airflow2"])
def test_real_connections_come_in_go_out_in_every_form_and_come_in_again(open_room, folder, file):
    data = (DATA / folder / file).read_bytes()
    expected = parse_connections((DATA / folder / "connections.json").read_text(), "json")
    room = open_room(Memory())
    report = room.transfer.import_connections(data, form_of(file))
    assert report.is_written
    assert len(report.of("imported")) == 60
    for form in ("json", "yaml", "env"):
        for serialization in ("uri", "json"):
            out = room.transfer.export_connections(form, serialization=serialization)
            assert len(out.names) == 60
            again = open_room(Memory())
            again.transfer.import_connections(out.reveal(), form)
            found = again.transfer.export_connections("json").reveal()
            assert parse_connections(found, "json") == expected


@pytest.mark.parametrize("folder", ["airflow3", "airflow2"])
def test_real_uri_file_comes_in_and_goes_out_equal(open_room, folder):
    text = (DATA / folder / "connections.env").read_text()
    room = open_room(Memory())
    room.transfer.import_connections(text, "env")
    found = room.transfer.export_connections("json").reveal()
    assert parse_connections(found, "json") == parse_connections(text, "env")


@pytest.mark.parametrize("folder", ["airflow3", "airflow2"])
def test_real_variables_come_in_go_out_and_come_in_again(open_room, folder):
    text = (DATA / folder / "variables.json").read_text()
    expected = parse_variables(text, "json")
    room = open_room(Memory())
    assert len(room.transfer.import_variables(text).of("imported")) == 18
    for form in ("json", "yaml"):
        out = room.transfer.export_variables(form).reveal()
        assert parse_variables(out, form) == expected
    out = room.transfer.export_variables("env", descriptions=False).reveal()
    found = {name: item.value for name, item in parse_variables(out, "env").items()}
    assert found == {name: item.value for name, item in expected.items()}


@pytest.mark.parametrize("on_existing", ["skip", "overwrite"])
def test_same_import_twice_changes_nothing(open_room, on_existing):
    memory = Memory()
    room = open_room(memory)
    options = ImportOptions(on_existing=on_existing)
    files = [(DATA / "airflow3" / name).read_bytes() for name in ("connections.json", "variables.json")]
    for _ in range(2):
        assert room.transfer.import_connections(files[0], options=options).is_written
        assert room.transfer.import_variables(files[1], options=options).is_written
        held = {kind: texts(memory, kind) for kind in ("connection", "variable")}
    assert [len(found) for found in held.values()] == [60, 18]
    expected = parse_connections(files[0].decode(), "json")
    assert {name: Connection.parse(text) for name, text in held["connection"].items()} == expected


# --- environments ------------------------------------------------------------------------------

ENVIRONMENT = """PATH=/usr/bin
export AIRFLOW_CONN_A='http://a'
AIRFLOW_CONN__DATA___A={"conn_type": "http", "host": "of data"}
AIRFLOW_VAR_B="one\\ntwo"
"""


def test_dotenv_of_a_team_comes_in_under_the_names_airflow_asks_for(open_room):
    memory = Memory()
    room = open_room(memory)
    report = room.transfer.import_connections(ENVIRONMENT, "env")
    assert [(line.name, line.team, line.outcome) for line in report.lines] == [
        ("a", None, "imported"),
        ("_data___a", "data", "imported"),
    ]
    assert report.passed_over == 2
    assert report.renamed == ()
    assert Connection.parse(memory.read(connection("a")).secret.reveal()).host == "a"
    of_data = memory.read(Ref("connection", "a", "data"))
    assert Connection.parse(of_data.secret.reveal()).host == "of data"
    assert room.transfer.import_variables(ENVIRONMENT, "env").passed_over == 3
    assert texts(memory) == {"b": "one\ntwo"}
    again = room.transfer.import_connections(ENVIRONMENT, "env")
    assert [line.outcome for line in again.lines] == ["skipped", "skipped"]


def test_names_of_an_environment_can_be_renamed_and_go_to_the_team_that_asks(open_room):
    memory = Memory()
    options = ImportOptions(team="Data", rename={"_data___a": "c"})
    report = open_room(memory).transfer.import_connections(ENVIRONMENT, "env", options)
    assert [line.new_name for line in report.lines] == [None, "c"]
    assert {row.ref.name for row in memory.list("connection", team="Data")} == {"a", "c"}


def test_names_of_an_environment_that_are_not_legal_are_told(open_room):
    source = "AIRFLOW_VAR_A\\B=1\nAIRFLOW_VAR__DATA___A\\B=1\n"
    rows = open_room(Memory()).transfer.names_to_change(source, "env", kind="variable")
    assert [(row.name, row.suggestion) for row in rows] == [("a\\b", "a_b"), ("_data___a\\b", "a_b")]


@pytest.mark.parametrize("team", [None, "data"])
def test_environment_that_was_exported_comes_in_again_equal(open_room, team):
    data = (DATA / "airflow3" / "connections.json").read_bytes()
    room = open_room(Memory())
    room.transfer.import_connections(data, "json", ImportOptions(team=team))
    for serialization in ("uri", "json"):
        out = room.transfer.export_connections(
            "env", serialization=serialization, team=team, is_environment=True
        )
        assert out.lowered == ()
        assert len(out.names) == 60
        again = open_room(Memory())
        assert again.transfer.import_connections(out.reveal(), "env").is_written
        found = again.transfer.export_connections("json", team=team).reveal()
        assert parse_connections(found, "json") == parse_connections(data.decode(), "json")


def test_export_under_the_names_of_an_environment_tells_what_it_lowers_and_refuses_what_meets(open_room):
    room = open_room(Memory(entries={Ref("variable", "Region"): "eu", Ref("variable", "b"): "x"}))
    out = room.transfer.export_variables("env", is_environment=True)
    assert out.reveal() == "AIRFLOW_VAR_B=x\nAIRFLOW_VAR_REGION=eu\n"
    assert out.lowered == ("Region",)
    with pytest.raises(InvalidInputError):
        room.transfer.export_variables("json", is_environment=True)
    room = open_room(Memory(entries={Ref("variable", "a"): "1", Ref("variable", "A"): "2"}))
    with pytest.raises(InvalidInputError):
        room.transfer.export_variables("env", is_environment=True)


# --- what happens to what is there -------------------------------------------------------------


def test_connections_that_are_there_are_skipped_unless_told(open_room):
    memory = Memory(entries={connection("a"): "http://old"})
    room = open_room(memory)
    report = room.transfer.import_connections({"a": "http://new", "b": "http://new"})
    assert outcomes(report) == {"a": "skipped", "b": "imported"}
    assert report.of("skipped")[0].reason == "already held by memory"
    assert memory.read(connection("a")).secret.reveal() == "http://old"
    report = room.transfer.import_connections(
        {"a": "http://new"}, options=ImportOptions(on_existing="overwrite")
    )
    assert report.of("imported")[0].is_overwritten
    assert Connection.parse(memory.read(connection("a")).secret.reveal()).host == "new"


def test_variables_that_are_there_are_overwritten_unless_told(open_room):
    memory = Memory(entries={Ref("variable", "a"): "old"})
    room = open_room(memory)
    room.transfer.import_variables({"a": "new"})
    assert texts(memory) == {"a": "new"}
    room.transfer.import_variables({"a": "newer"}, options=ImportOptions(on_existing="skip"))
    assert texts(memory) == {"a": "new"}


def test_fail_refuses_all_when_one_is_there(open_room):
    memory = Memory(entries={Ref("variable", "a"): "old"})
    report = open_room(memory).transfer.import_variables(
        {"a": "new", "b": "new"}, options=ImportOptions(on_existing="fail")
    )
    assert (report.is_written, outcomes(report)) == (False, {"a": "refused", "b": "not reached"})
    assert texts(memory) == {"a": "old"}


def test_overwriting_keeps_what_only_the_room_knows(open_room):
    memory = Memory()
    memory.put(Ref("variable", "a"), "old", Metadata(description="old", tags=("t",), owner="me"))
    open_room(memory).transfer.import_variables({"a": {"value": "new", "description": "told"}})
    metadata = memory.read(Ref("variable", "a")).metadata
    assert (metadata.description, metadata.tags, metadata.owner) == ("told", ("t",), "me")


def test_description_and_type_become_public_metadata(open_room):
    memory = Memory()
    open_room(memory).transfer.import_connections({"a": {"conn_type": "http", "description": "d"}})
    metadata = memory.read(connection("a")).metadata
    assert (metadata.conn_type, metadata.description) == ("http", "d")


def test_backend_that_cannot_list_is_asked_for_every_name(open_room):
    memory = Memory(entries={connection("a"): "http://old"})
    report = open_room(NotListable(memory)).transfer.import_connections(
        {"a": "http://new", "b": "http://new"}
    )
    assert outcomes(report) == {"a": "skipped", "b": "imported"}


def test_team_gets_its_own_entries(open_room):
    memory = Memory(entries={Ref("variable", "a"): "global"})
    room = open_room(memory)
    report = room.transfer.import_variables(
        {"a": "mine"}, options=ImportOptions(team="data", on_existing="skip")
    )
    assert outcomes(report) == {"a": "imported"}
    assert memory.read(Ref("variable", "a", "data")).secret.reveal() == "mine"
    assert room.transfer.export_variables(team="data").names == ("a",)
    assert json.loads(room.transfer.export_variables().reveal()) == {"a": "global"}


# --- all or nothing ----------------------------------------------------------------------------


def test_one_bad_entry_means_nothing_is_written(open_room):
    memory = Memory()
    bad = {"good": "http://h", "bad": {"port": CANARY}, "worse": 5}
    report = open_room(memory).transfer.import_connections(bad)
    assert not report.is_written
    assert outcomes(report) == {"good": "not reached", "bad": "refused", "worse": "refused"}
    assert CANARY not in repr(report)
    assert memory.list("connection") == []


def test_keep_going_writes_what_can_be_written(open_room):
    memory = Memory()
    bad = {"good": "http://h", "bad": {"port": CANARY}}
    report = open_room(memory).transfer.import_connections(bad, options=ImportOptions(keep_going=True))
    assert report.is_written
    assert outcomes(report) == {"good": "imported", "bad": "refused"}
    assert list(texts(memory, "connection")) == ["good"]


def test_one_refusal_of_the_store_means_nothing_is_written(open_room):
    class Picky(Memory):
        def _check(self, draft):
            super()._check(draft)
            if draft.ref.name == "b":
                raise ConflictError("b changed meanwhile")

    memory = Picky()
    room = open_room(memory)
    with pytest.raises(ConflictError):
        room.transfer.import_variables({"a": "1", "b": "2"})
    assert texts(memory) == {}
    report = room.transfer.import_variables({"a": "1", "b": "2"}, options=ImportOptions(keep_going=True))
    assert outcomes(report) == {"a": "imported", "b": "refused"}
    assert report.of("refused")[0].reason == "b changed meanwhile"


def test_entry_made_meanwhile_is_a_conflict_and_not_lost(open_room):
    class Raced(Memory):
        def list(self, kind, **narrow):
            page = super().list(kind, **narrow)
            self.put(Ref("variable", "a"), "theirs")
            return page

    memory = Raced()
    with pytest.raises(ConflictError):
        open_room(memory).transfer.import_variables({"a": "mine"}, options=ImportOptions(on_existing="skip"))
    assert memory.read(Ref("variable", "a")).secret.reveal() == "theirs"


def test_store_without_compare_and_set_is_written_all_the_same(open_room):
    class Plain(Memory):
        def _check(self, draft):
            if draft.expected_version is not None:
                raise ReadOnlyError("no compare-and-set here")

    memory = Plain()
    open_room(memory).transfer.import_variables({"a": "1"})
    assert texts(memory) == {"a": "1"}


def test_shadowed_place_is_refused_and_nothing_is_written(open_room):
    upper, lower = NotListable(Memory("upper", {Ref("variable", "a"): "1"})), Memory("lower")
    del upper.write, upper.write_many
    room = open_room(upper, lower)
    with pytest.raises(ReadOnlyError):
        room.transfer.import_variables({"a": "2", "b": "2"})
    assert texts(lower) == {}


def test_trial_run_judges_and_writes_nothing(open_room):
    memory = Memory(entries={Ref("variable", "a"): "old"})
    report = open_room(memory).transfer.import_variables(
        {"a": "new", "b": "new"}, options=ImportOptions(dry_run=True, on_existing="skip")
    )
    assert (report.is_written, outcomes(report)) == (False, {"a": "skipped", "b": "not reached"})
    assert texts(memory) == {"a": "old"}


def test_trial_run_is_refused_what_the_import_would_be(open_room):
    upper, lower = NotListable(Memory("upper", {Ref("variable", "a"): "1"})), Memory("lower")
    del upper.write, upper.write_many
    room = open_room(upper, lower)
    trial = ImportOptions(dry_run=True, on_existing="overwrite")
    with pytest.raises(ReadOnlyError, match="upper shadows it"):
        room.transfer.import_variables({"a": "2", "b": "2"}, options=trial)
    with pytest.raises(InvalidInputError, match="no backend of that name"):
        room.transfer.import_variables({"b": "2"}, options=replace(trial, to="nowhere"))
    report = room.transfer.import_variables({"a": "2", "b": "2"}, options=replace(trial, keep_going=True))
    assert outcomes(report) == {"a": "refused", "b": "not reached"}
    assert texts(lower) == {}


# --- names -------------------------------------------------------------------------------------


def test_illegal_names_are_told_with_suggestions_and_can_be_renamed(open_room):
    memory = Memory()
    room = open_room(memory)
    text = json.dumps({"a\\b": "1", "fine": "2"})
    report = room.transfer.import_variables(text)
    assert not report.is_written
    (row,) = report.names_to_change
    assert (row.name, row.suggestion) == ("a\\b", "a_b")
    assert room.transfer.names_to_change(text) == report.names_to_change
    report = room.transfer.import_variables(text, options=ImportOptions(rename={row.name: row.suggestion}))
    assert [(line.name, line.new_name) for line in report.renamed] == [("a\\b", "a_b")]
    assert texts(memory) == {"a_b": "1", "fine": "2"}


def test_rename_to_an_illegal_name_names_the_old_one(open_room):
    report = open_room(Memory()).transfer.import_variables(
        {"a": "1"}, options=ImportOptions(rename={"a": "../b"})
    )
    (row,) = report.names_to_change
    assert row.name == "a"


# --- the mask ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "old", "masked"),
    [
        ("connection", "http://:real@h", {"conn_type": "http", "password": "***"}),
        ("connection", "http://h", {"conn_type": "http", "extra": {"a": {"token": "***"}}}),
        ("variable", "real", "***"),
        ("variable", "real", {"token": "***"}),
    ],
)
def test_mask_never_replaces_a_value_that_stands(open_room, kind, old, masked):
    memory = Memory(entries={Ref(kind, "a"): old})
    transfer = open_room(memory).transfer
    write = transfer.import_connections if kind == "connection" else transfer.import_variables
    report = write({"a": masked}, options=ImportOptions(on_existing="overwrite"))
    assert outcomes(report) == {"a": "refused"}
    assert memory.read(Ref(kind, "a")).secret.reveal() == old
    report = write({"a": masked}, options=ImportOptions(on_existing="overwrite", allow_mask=True))
    assert outcomes(report) == {"a": "imported"}


def test_new_entry_with_a_mask_is_imported_with_a_warning(open_room):
    report = open_room(Memory()).transfer.import_variables({"stars": "***", "b": "x"})
    assert [line.name for line in report.warnings] == ["stars"]
    assert outcomes(report) == {"stars": "imported", "b": "imported"}


def test_mask_over_what_no_longer_parses_is_refused(open_room):
    memory = Memory(entries={connection("a"): "no connection"})
    report = open_room(memory).transfer.import_connections(
        {"a": {"conn_type": "http", "password": "***"}}, options=ImportOptions(on_existing="overwrite")
    )
    assert outcomes(report) == {"a": "refused"}


# --- bad files, progress, records --------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"", "json"),
        (b" \n", "env"),
        (b"\xff", "json"),
        (b'{"a": 1', "json"),
        (b"a=1\na=2\n", "env"),
        (b"[1]", "yaml"),
    ],
)
def test_bad_file_is_one_error_and_nothing_happens(open_room, acts, data, form):
    with pytest.raises(InvalidInputError) as caught:
        open_room(Memory()).transfer.import_variables(data, form)
    assert caught.value.rule
    assert acts() == []


def test_progress_is_told_and_ends_at_the_total(open_room):
    told = []
    variables = {f"v{number}": "x" for number in range(250)}
    options = ImportOptions(progress=lambda done, total: told.append((done, total)))
    open_room(Memory()).transfer.import_variables(variables, options=options)
    assert told == [(100, 500), (200, 500), (500, 500)]


def test_import_is_recorded_item_by_item_and_holds_no_value(open_room, acts, tmp_path):
    room = open_room(Memory())
    room.transfer.import_variables({"a": CANARY, "b": CANARY})
    assert acts() == [("write", None, "begun"), ("write", "a", "done"), ("write", "b", "done")]
    room.transfer.export_variables(reason="moving house")
    assert acts()[3:] == [("reveal", "a", "found"), ("reveal", "b", "found")]
    assert CANARY not in "".join(
        path.read_text() for path in (tmp_path / "audit").iterdir() if path.is_file()
    )


def test_export_needs_a_reason(open_room):
    with pytest.raises(InvalidInputError):
        open_room(Memory(entries={Ref("variable", "a"): "x"})).transfer.export_variables(reason=" ")


def test_export_narrows_by_prefix(open_room):
    memory = Memory(entries={connection(name): "http://h" for name in ("a_1", "a_2", "b_1")})
    assert open_room(memory).transfer.export_connections(prefix="a_").names == ("a_1", "a_2")


def test_export_of_what_is_no_connection_names_it(open_room):
    memory = Memory(entries={connection("broken"): CANARY})
    with pytest.raises(MalformedEntryError, match="broken") as caught:
        open_room(memory).transfer.export_connections()
    assert CANARY not in str(caught.value)


def test_export_of_many_pages_holds_all(open_room):
    memory = Memory(entries={Ref("variable", f"v{number:04}"): "x" for number in range(2100)})
    assert len(open_room(memory).transfer.export_variables("env").names) == 2100


def test_exported_text_does_not_print(open_room):
    out = open_room(Memory(entries={Ref("variable", "a"): CANARY})).transfer.export_variables()
    assert CANARY in out.reveal()
    assert CANARY not in repr(out)


def test_outage_stops_an_import_before_anything_is_written(open_room):
    flaky = Flaky()
    room = open_room(flaky)
    flaky.fail()
    with pytest.raises(Exception, match="no answer"):
        room.transfer.import_variables({"a": "1"})
    flaky.recover()
    assert texts(flaky) == {}


def test_astros_settings_are_imported_by_their_shape(open_room):
    text = (
        "airflow:\n  connections:\n  - {conn_id: db, conn_type: postgres, conn_host: h}\n"
        f"  - {{conn_id: odd, conn_type: http, conn_token: {CANARY}}}\n  - conn_id:\n"
        "  variables:\n  - {variable_name: region, variable_value: eu}\n  pools: []\n"
    )
    room = open_room(Memory("native"))
    report = room.transfer.import_connections(text, "yaml", ImportOptions(keep_going=True))
    assert [(line.name, line.outcome) for line in report.lines] == [("db", "imported"), ("odd", "refused")]
    assert CANARY not in repr(report)
    room.transfer.import_variables(text, "yaml")
    assert room.lookup.variable("region") == "eu"
