"""Edits of fields, and two of them at once: what differs is kept of both, what clashes is asked about."""

from __future__ import annotations

import pytest

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.service.merging import Edit, MergeError, fields_of, save
from strongroom.testing.fakes import Memory

DB = Ref("connection", "orders_db")
REGION = Ref("variable", "region")
URI = "postgres://reader:canary-1@db:5432/orders?sslmode=require"


@pytest.fixture
def room(house):
    room = house.room(Memory("native"))
    room.entries.write(Change(ref=DB, secret=Secret(URI), metadata=Metadata(owner="ada")))
    room.entries.write(Change(ref=REGION, secret=Secret("eu")))
    return room


def edit(room, *, of=None, ref=DB, **changes):
    """Give an edit made of what stands now, or of what *of* described."""
    of = of or room.entries.describe(ref)
    fields = fields_of(of)
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return Edit(ref=ref, changes=named, seen=of.version, was={name: fields.get(name) for name in named})


def stored(room, ref=DB):
    return room.lookup.connection(ref.name).to_dict(reveal=True)


def test_a_field_is_changed_and_the_rest_stays_secrets_too(room):
    saved = save(room.entries, edit(room, host="db2"))
    assert (saved.written.version, saved.merged) == ("2", ())
    assert stored(room) == {
        "conn_type": "postgres",
        "description": None,
        "host": "db2",
        "login": "reader",
        "password": "canary-1",
        "schema": "orders",
        "port": 5432,
        "extra": {"sslmode": "require"},
    }


def test_none_takes_a_field_away_and_a_key_of_extra_may_hold_dots(room):
    save(room.entries, edit(room, schema=None, extra__sslmode=None))
    save(room.entries, Edit(ref=DB, changes={"extra.bootstrap.servers": "a:1"}, seen="2"))
    found = stored(room)
    assert (found["schema"], found["extra"]) == (None, {"bootstrap.servers": "a:1"})


def test_different_fields_of_two_people_are_both_kept(room):
    mine = edit(room, host="db2")
    save(room.entries, edit(room, port=5433, password=Secret("canary-2")))
    saved = save(room.entries, mine)
    assert saved.merged == ("password", "port")
    found = stored(room)
    assert (found["host"], found["port"], found["password"]) == ("db2", 5433, "canary-2")


def test_the_same_field_of_two_people_is_a_conflict_that_names_it_and_who(room):
    mine = edit(room, host="db2", login="etl")
    save(room.entries, edit(room, host="db3", port=5433))
    with pytest.raises(MergeError) as caught:
        save(room.entries, mine)
    error = caught.value
    assert (error.fields, error.merged, error.current_version) == (("host",), ("port",), "2")
    assert error.author == room.actor.id
    assert "db3" not in str(error)
    assert stored(room)["host"] == "db3"


def test_who_typed_the_secret_that_stands_is_not_told_so(room):
    mine = edit(room, password=Secret("canary-2"))
    save(room.entries, edit(room, password=Secret("canary-2")))
    with pytest.raises(MergeError) as caught:
        save(room.entries, mine)
    assert caught.value.fields == ("password",)


def test_an_edit_of_what_stands_after_a_conflict_is_written(room):
    mine = edit(room, host="db2")
    save(room.entries, edit(room, host="db3"))
    with pytest.raises(MergeError):
        save(room.entries, mine)
    assert save(room.entries, edit(room, host="db2")).written.version == "3"


def test_facts_merge_field_by_field(room):
    mine = edit(room, tags=["eu"])
    save(room.entries, edit(room, owner="mei"))
    save(room.entries, mine)
    found = room.entries.describe(DB).metadata
    assert (found.owner, found.tags) == ("mei", ("eu",))
    late = edit(room, owner="ada")
    save(room.entries, edit(room, owner="kai"))
    with pytest.raises(MergeError) as caught:
        save(room.entries, late)
    assert caught.value.fields == ("owner",)


def test_the_value_of_a_variable_and_its_facts_merge(room):
    mine = edit(room, ref=REGION, description="where we are")
    save(room.entries, edit(room, ref=REGION, value=Secret("us")))
    save(room.entries, mine)
    assert room.lookup.variable("region") == "us"
    assert room.entries.describe(REGION).metadata.description == "where we are"


def test_an_edit_of_a_version_that_is_gone_compares_what_is_public(room):
    mine = edit(room, host="db2")
    save(room.entries, edit(room, port=5433))
    gone = Edit(ref=DB, changes=mine.changes, seen="99", was=mine.was)
    assert save(room.entries, gone).written.version == "3"
    late = Edit(ref=DB, changes={"password": Secret("x")}, seen="99", was={"password": "***"})
    with pytest.raises(MergeError) as caught:
        save(room.entries, late)
    assert caught.value.fields == ("password",)


def test_an_edit_of_what_was_deleted_is_refused(room):
    mine = edit(room, host="db2")
    room.entries.delete(DB)
    with pytest.raises(NotFoundError):
        save(room.entries, mine)


def test_a_field_that_nothing_has_is_refused(room):
    with pytest.raises(InvalidInputError, match="1 fields that no connection has"):
        save(room.entries, edit(room, hots="db2"))
    with pytest.raises(InvalidInputError, match="port"):
        save(room.entries, edit(room, port=70_000))


def test_no_edit_prints_what_was_typed(room):
    made = edit(room, password=Secret("canary-9"), host="canary-8")
    assert "canary" not in repr(made)
    assert issubclass(MergeError, ConflictError)
