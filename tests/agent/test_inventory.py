"""What there is, asked of an agent: pages of names without values, for who may list them."""

import json
import sqlite3

import pytest

from parts import warm
from parts.agent import agent
from parts.floor import floor
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient
from strongroom.errors import InvalidInputError, SettingsError
from strongroom.model.ref import Ref
from strongroom.remote.host import HostRoom
from strongroom.service.inventory import Choice

CANARY = "c4n4ry-t3xt"
ENVIRON = {
    "AIRFLOW_CONN_ORDERS_DB": f"postgres://u:{CANARY}@db/orders",
    "AIRFLOW_CONN_BROKEN": f"{CANARY} no connection",
    "AIRFLOW_VAR_REGION": CANARY,
}
DOTENV = f"region={CANARY}\nowner={CANARY}\n"
SETTINGS = 'chain = ["env", "dotenv"]\n[backend.dotenv]\nkind = "file"\nvariables = "{path}"\n'


def settings(folder):
    path = folder / "values.env"
    path.touch(mode=0o600)
    path.write_text(DOTENV)
    return SETTINGS.format(path=path)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("f")
    with floor(folder, settings(folder), environ=ENVIRON) as running:
        yield running


@pytest.fixture
def wire(one):
    with one.connect() as opened:
        yield opened


@pytest.fixture
def room(one):
    with HostRoom(AgentClient(str(one.path))) as opened:
        yield opened


def ask(wire, **question):
    wire.send(frames.frame(frames.INVENTORY, 7, frames.pack_json(json.dumps(question))))
    type_, number, payload = wire.receive()
    assert number == 7
    if type_ == frames.ERROR:
        return frames.read_refusal(payload)
    assert type_ == frames.INVENTORY | frames.ANSWER
    assert CANARY.encode() not in payload
    return json.loads(frames.read_json(payload))


def names(page):
    return [(row["kind"], row["name"], row["backend"]) for row in page["entries"]]


def test_every_name_is_told_with_the_backend_that_answers(wire):
    page = ask(wire)
    assert names(page) == [
        ("connection", "broken", "env"),
        ("connection", "orders_db", "env"),
        ("variable", "owner", "dotenv"),
        ("variable", "region", "env"),
    ]
    assert page["entries"][3]["shadowed"] == ["dotenv"]
    assert page["entries"][1]["conn_type"] == "postgres"
    assert page["entries"][0]["state"] == "unparsable"
    assert page["places"] == ["env", "dotenv"]
    assert (page["cursor"], page["troubles"], page["not_listable"]) == (None, [], [])


def test_pages_follow_one_another_and_end(wire):
    found, after = [], None
    for _ in range(4):
        page = ask(wire, after=after, limit=1)
        found += names(page)
        after = page["cursor"]
    assert len(found) == 4
    assert after is None


def test_hidden_entries_come_after_the_one_that_hides_them(wire):
    page = ask(wire, filter={"with_shadowed": True, "prefix": "reg"})
    assert [(row["backend"], row["shadowed_by"]) for row in page["entries"]] == [
        ("env", None),
        ("dotenv", "env"),
    ]


def test_an_entry_that_was_read_says_when_and_one_that_was_not_says_nothing(wire):
    before = {row["name"]: row["read_at"] for row in ask(wire, filter={"kind": "variable"})["entries"]}
    assert before["owner"] is None
    assert wire.ask("variable", "owner").text == CANARY
    after = {row["name"]: row["read_at"] for row in ask(wire, filter={"kind": "variable"})["entries"]}
    assert after["owner"] is not None


@pytest.mark.parametrize(
    "question",
    [
        {"what": "values"},
        {"after": "orders_db"},
        {"after": "dag:x"},
        {"limit": 0},
        {"limit": 501},
        {"filter": {"state": ["good"]}},
        {"filter": {"backend": ["nowhere"]}},
        {"filter": {"team": "../x"}},
        {"filter": {"value": "x"}},
        {"more": 1},
    ],
)
def test_what_is_no_question_is_refused_and_the_connection_goes_on(wire, question):
    refusal = ask(wire, **question)
    assert refusal.code in ("invalid_input", "invalid_field")
    assert len(ask(wire)["entries"]) == 4


def test_what_is_no_json_is_refused(wire):
    wire.send(frames.frame(frames.INVENTORY, 7, frames.pack_json("[")))
    assert wire.error()[1].code == "invalid_input"
    wire.send(frames.frame(frames.INVENTORY, 8, b"\x00"))
    assert wire.error()[1].code == "malformed_frame"


def test_a_backend_that_gives_no_answer_is_told_and_the_others_are_listed(tmp_path):
    database = tmp_path / "airflow.db"
    sqlite3.connect(database).close()  # no tables
    text = 'chain = ["meta", "env"]\n[backend.meta]\nkind = "airflow_metastore"\n'
    text += 'sql_alchemy_conn = { env = "META" }\n'
    environ = ENVIRON | {"META": f"sqlite:///{database}"}
    with floor(tmp_path, text, environ=environ) as running, running.connect() as wire:
        page = ask(wire)
        assert [trouble["backend"] for trouble in page["troubles"]] == ["meta"]
        assert str(tmp_path) not in json.dumps(page)
        assert len(page["entries"]) == 3


# --- the room of an agent ----------------------------------------------------------------------------


def test_the_room_of_an_agent_lists_as_any_room_does(room):
    rows = [row for page in room.inventory.pages(choice=Choice(with_shadowed=True), size=1) for row in page]
    assert [(row.ref.name, row.backend, row.shadowed_by) for row in rows] == [
        ("broken", "env", None),
        ("orders_db", "env", None),
        ("owner", "dotenv", None),
        ("region", "env", None),
        ("region", "dotenv", "env"),
    ]
    assert room.inventory.places == ("env", "dotenv")
    assert room.inventory.not_listable == ()


def test_the_room_of_an_agent_counts_and_goes_on_after_a_name(room):
    counts = room.inventory.counts()
    assert (counts.connections, counts.variables, counts.shadowed, counts.unreadable) == (2, 2, 1, 1)
    assert room.inventory.clashes() == []
    page = room.inventory.page(after=Ref("connection", "orders_db"), limit=1)
    assert [row.ref.name for row in page] == ["owner"]


def test_a_backend_that_is_not_there_is_refused_in_the_room_too(room):
    with pytest.raises(InvalidInputError, match="no backend of that name"):
        list(room.inventory.pages(choice=Choice(backends=("nowhere",))))


def test_what_was_deleted_is_listed_where_the_store_is(room):
    with pytest.raises(SettingsError, match="deleted entries are listed"):
        room.inventory.deleted()


def test_the_command_line_lists_through_an_agent(tmp_path):
    with agent(tmp_path, settings(tmp_path), environ=ENVIRON) as one:
        command = ["inventory", "--all", "--output", "json"]
        told = warm.run(command, env=one.environ, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 0, told.stderr
        rows = json.loads(told.stdout)
        assert [(row["name"], row["backend"]) for row in rows][-2:] == [
            ("region", "env"),
            ("region", "dotenv"),
        ]
        assert CANARY not in told.stdout + told.stderr


# --- who sees what -----------------------------------------------------------------------------------

POLICY = """
permit (principal, action, resource is Entry) when { resource.name like "o*" };
"""


def test_only_names_that_may_be_listed_are_told(tmp_path):
    file = tmp_path / "policy.cedar"
    file.touch(mode=0o600)
    file.write_text(POLICY)
    text = settings(tmp_path) + f'[agent]\npolicy = "{file}"\n'
    with floor(tmp_path, text, environ=ENVIRON) as running, running.connect() as wire:
        page = ask(wire)
        assert [name for _, name, _ in names(page)] == ["orders_db", "owner"]
        counted = ask(wire, what="counts")
        assert (counted["connections"], counted["variables"], counted["shadowed"]) == (1, 1, 0)
