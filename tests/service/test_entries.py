from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from strongroom.chain import Link
from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, MUST_BE_ABSENT, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import HIDDEN, Change, merge_hidden
from strongroom.testing.fakes import Memory

DB = Ref("connection", "orders_db")
REGION = Ref("variable", "region")
URI = "postgres://reader:canary-1@db:5432/orders"


class ReadOnly:
    """A backend that only reads."""

    is_local = True

    def __init__(self, name: str, held: dict[Ref, str]) -> None:
        self.name = name
        self._memory = Memory(name, held)

    def read(self, ref):
        return self._memory.read(ref)

    def close(self):
        pass


def write(room, ref=REGION, text="eu", **options):
    change = {key: options.pop(key) for key in ("metadata", "expected_version", "seen") if key in options}
    return room.entries.write(Change(ref=ref, secret=Secret(text), **change), **options)


def test_a_write_is_kept_with_author_and_comment_and_recorded(house):
    native = Memory("native")
    room = house.room(native)
    written = write(room, comment="first")
    assert (written.backend, written.version) == ("native", "1")
    (info,) = native.history(REGION)
    assert (info.author, info.comment) == (room.actor.id, "first")
    assert house.acts() == [("write", "region", "begun"), ("write", "region", "done")]
    assert [record.reason for record in house.records()] == ["first", "first"]


def test_an_expired_entry_is_described_with_its_problem_and_still_refused(house):
    noon = house.clock.now
    room = house.room(Memory("native", clock=house.clock))
    write(room, metadata=Metadata(owner="ana", not_after=noon + timedelta(hours=1)))
    house.clock.advance(hours=2)
    described = room.entries.describe(REGION)
    assert (described.metadata.owner, described.version) == ("ana", "1")
    assert "past its not_after" in described.problem
    with pytest.raises(MalformedEntryError):
        room.lookup.variable("region")
    with pytest.raises(MalformedEntryError):
        room.entries.reveal(REGION, reason="test")


def test_a_new_value_over_an_expired_one_is_good_again_and_keeps_the_rest(house):
    noon = house.clock.now
    room = house.room(Memory("native", clock=house.clock))
    write(room, metadata=Metadata(owner="ana", not_after=noon + timedelta(hours=1)))
    house.clock.advance(hours=2)
    write(room, text="new")
    assert room.lookup.variable("region") == "new"
    metadata = room.entries.describe(REGION).metadata
    assert (metadata.owner, metadata.not_after) == ("ana", None)


def test_a_write_is_seen_by_the_next_read(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    assert room.lookup.variable("region") == "eu"
    write(room, text="us")
    assert room.lookup.variable("region") == "us"
    room.entries.delete(REGION)
    with pytest.raises(NotFoundError):
        room.lookup.variable("region")
    room.entries.undelete(REGION)
    assert room.lookup.variable("region") == "us"


def test_a_write_goes_where_the_value_is(house):
    upper, lower = Memory("upper"), Memory("lower", {REGION: "eu"})
    room = house.room(upper, lower, STRONGROOM__CHAIN="upper,lower", STRONGROOM__WRITE_TO="upper")
    assert write(room, text="us").backend == "lower"
    assert write(room, Ref("variable", "new")).backend == "upper"
    assert write(room, Ref("variable", "named"), to="lower").backend == "lower"


def test_a_shadowed_place_is_written_only_by_force(house):
    room = house.room(ReadOnly("env", {REGION: "eu"}), Memory("native"))
    with pytest.raises(ReadOnlyError, match="env shadows it"):
        write(room)
    assert write(room, force=True).backend == "native"


def test_without_a_store_a_write_names_the_command_that_makes_one(house):
    room = house.room(ReadOnly("env", {}))
    with pytest.raises(ReadOnlyError) as caught:
        write(room)
    assert caught.value.hint == "strongroom init"


def test_an_unknown_backend_is_named_with_those_there_are(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    with pytest.raises(StrongroomError):
        write(room, to="nativ")
    with pytest.raises(InvalidInputError) as caught:
        room.entries.delete(REGION, at="nativ")
    assert "native" in caught.value.hint


def test_a_connection_must_parse_before_anything_is_recorded(house):
    native = Memory("native")
    room = house.room(native)
    with pytest.raises(InvalidInputError) as caught:
        write(room, DB, "canary-1 no uri")
    assert caught.value.rule
    assert "canary" not in str(caught.value)
    assert native.read(DB) is None
    assert house.records() == []


def test_the_type_of_a_connection_is_kept_beside_it(house):
    native = Memory("native")
    room = house.room(native)
    write(room, DB, URI, metadata=Metadata(description="orders", conn_type="wrong"))
    assert native.read(DB).metadata == Metadata(description="orders", conn_type="postgres")


@pytest.mark.parametrize(
    ("text", "is_legal"), [("x" * MAX_VALUE_BYTES, True), ("x" * (MAX_VALUE_BYTES + 1), False)]
)
def test_a_value_has_a_limit(house, text, is_legal):
    room = house.room(Memory("native"))
    if is_legal:
        assert write(room, text=text).version == "1"
    else:
        with pytest.raises(InvalidInputError) as caught:
            write(room, text=text)
        assert caught.value.limit == MAX_VALUE_BYTES


def test_half_a_surrogate_pair_is_no_value(house):
    with pytest.raises(InvalidInputError, match="Unicode"):
        write(house.room(Memory("native")), text="\ud800")


def test_a_write_without_metadata_keeps_what_stands(house):
    native = Memory("native")
    native.put(REGION, "eu", Metadata(owner="ada", tags=("a",)))
    write(house.room(native), text="us")
    assert native.read(REGION).metadata == Metadata(owner="ada", tags=("a",))


def test_a_change_made_meanwhile_is_a_conflict_and_never_a_mixed_row(house):
    class Raced(Memory):
        def read(self, ref):
            found = super().read(ref)
            if not self.is_raced:
                self.is_raced = True
                return found
            self.put(ref, "other", Metadata(owner="eve"))
            return found

    native = Raced("native", {REGION: "eu"})
    native.is_raced = False
    room = house.room(native)
    with pytest.raises(ConflictError):
        write(room, text="us")
    assert house.acts()[-1] == ("write", "region", "failed")
    assert house.records()[-1].reason == "conflict"


def test_expected_versions_are_passed_on(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    with pytest.raises(ConflictError):
        write(room, expected_version=MUST_BE_ABSENT)
    with pytest.raises(ConflictError):
        write(room, metadata=Metadata(), expected_version="7")
    assert write(room, metadata=Metadata(), expected_version="1").version == "2"


class Uncompared(Memory):
    """A store that cannot compare versions, as some clouds' cannot."""

    has_compare_and_set = False

    def write(self, draft):
        return self.write_many([draft])[0]

    def write_many(self, drafts):
        if any(draft.expected_version is not None for draft in drafts):
            raise ReadOnlyError("it cannot compare versions")
        return super().write_many(drafts)


def test_where_a_place_cannot_compare_what_was_seen_is_looked_at_right_before_the_write(house):
    cloud = Uncompared("cloud")
    room = house.room(cloud)
    assert write(room, seen=MUST_BE_ABSENT).version == "1"
    assert write(room, text="us", seen="1").version == "2"
    for seen in (MUST_BE_ABSENT, "1"):
        with pytest.raises(ConflictError, match="changed meanwhile, or exists") as refused:
            write(room, text="ap", seen=seen)
        assert refused.value.current_version == "2"
    cloud.delete(REGION, author="somebody")
    with pytest.raises(ConflictError):
        write(room, text="ap", seen="2")
    with pytest.raises(ReadOnlyError, match="cannot compare"):
        write(room, text="ap", expected_version=MUST_BE_ABSENT)


def test_where_a_place_compares_what_was_seen_is_compared_there(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    for seen in (MUST_BE_ABSENT, "7"):
        with pytest.raises(ConflictError):
            write(room, seen=seen)
    assert write(room, seen="1").version == "2"


def test_many_are_written_or_none(house):
    native = Memory("native", {REGION: "eu"})
    room = house.room(native)
    names = [Ref("variable", name) for name in ("a", "region", "z")]
    changes = [
        Change(ref=ref, secret=Secret("new"), metadata=Metadata(), expected_version=MUST_BE_ABSENT)
        for ref in names
    ]
    with pytest.raises(ConflictError):
        room.entries.write_many(changes)
    assert native.read(names[0]) is None
    written = room.entries.write_many([changes[0], changes[2]])
    assert [one.version for one in written] == ["1", "1"]


def test_many_may_go_to_several_backends_and_answer_in_order(house):
    upper, lower = Memory("upper"), Memory("lower", {REGION: "eu"})
    room = house.room(upper, lower, STRONGROOM__CHAIN="upper,lower", STRONGROOM__WRITE_TO="upper")
    refs = [Ref("variable", "a"), REGION, Ref("variable", "b")]
    written = room.entries.write_many([Change(ref=ref, secret=Secret("x")) for ref in refs])
    assert [one.backend for one in written] == ["upper", "lower", "upper"]


# --- deleting and bringing back --------------------------------------------------------------------


def test_what_is_nowhere_cannot_be_deleted(house):
    room = house.room(Memory("native"))
    with pytest.raises(NotFoundError):
        room.entries.delete(REGION)
    with pytest.raises(NotFoundError):
        room.entries.delete(REGION, at="native")


def test_what_cannot_be_written_cannot_be_deleted(house):
    room = house.room(ReadOnly("env", {REGION: "eu"}), Memory("native", {REGION: "us"}))
    with pytest.raises(ReadOnlyError, match="env"):
        room.entries.delete(REGION)
    assert room.entries.delete(REGION, at="native").backend == "native"


def test_deleting_a_teams_entry_leaves_the_global_one(house):
    native = Memory("native", {REGION: "eu"})
    room = house.room(native)
    with pytest.raises(NotFoundError):
        room.entries.delete(Ref("variable", "region", "data"))
    assert native.read(REGION) is not None


def test_deleting_another_version_is_a_conflict(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    with pytest.raises(ConflictError):
        room.entries.delete(REGION, expected_version="9")


def test_history_and_rollback(house):
    room = house.room(Memory("native"))
    for text in ("one", "two", "three"):
        write(room, text=text)
    assert [info.version for info in room.entries.history(REGION)] == ["3", "2", "1"]
    assert room.entries.rollback(REGION, "1").version == "4"
    assert room.lookup.variable("region") == "one"
    assert room.entries.history(REGION)[0].comment == "rollback to version 1"


def test_a_rollback_brings_a_deleted_entry_back(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    room.entries.delete(REGION)
    room.entries.rollback(REGION, "1")
    assert room.lookup.variable("region") == "eu"


def test_a_rollback_brings_an_expired_entry_back(house):
    room = house.room(Memory("native", clock=house.clock))
    for text in ("one", "two"):
        write(room, text=text, metadata=Metadata(expires_at=house.clock() + timedelta(hours=1)))
    house.clock.advance(hours=2)
    room.entries.rollback(REGION, "1")
    assert room.lookup.variable("region") == "one"


@pytest.mark.parametrize("value", [5, None, b"eu", {"a": 1}])
def test_a_value_that_is_no_text_is_refused(house, value):
    room = house.room(Memory("native"))
    with pytest.raises(InvalidInputError, match="is not text"):
        room.entries.write(Change(ref=REGION, secret=Secret(value)))


def test_rollback_to_no_version(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    with pytest.raises(NotFoundError):
        room.entries.rollback(REGION, "7")


@pytest.mark.parametrize(
    "ask",
    [
        lambda entries: entries.history(REGION),
        lambda entries: entries.undelete(REGION),
        lambda entries: entries.rollback(REGION, "1"),
    ],
)
def test_without_versions_the_past_is_refused_and_without_a_past_it_is_not_found(house, ask):
    with pytest.raises(ReadOnlyError, match="keeps versions"):
        ask(house.room(ReadOnly("env", {REGION: "eu"})).entries)
    with pytest.raises(NotFoundError, match="no versions"):
        ask(house.room(Memory("native")).entries)


class Closed(Memory):
    """A backend that gives nothing of what was deleted, as Vault."""

    def read_version(self, ref, version):
        if self.read(ref) is None:
            raise NotFoundError(f"{ref} has no such version that can be read")
        return super().read_version(ref, version)


def test_what_cannot_be_looked_into_is_brought_back_unless_it_may_refer_to_something(house):
    for link in (Link(backend=Closed("vault")), Link(backend=Closed("vault"), references=True)):
        room = house.room(link)
        write(room)
        room.entries.delete(REGION)
        if link.references:
            with pytest.raises(NotFoundError):
                room.entries.undelete(REGION)
            assert link.backend.read(REGION) is None
        else:
            room.entries.undelete(REGION)
            assert link.backend.read(REGION).secret.reveal() == "eu"


class Hiding(Memory):
    """A store that tells nothing of what is deleted, until it is brought back."""

    hides_deleted = True

    def history(self, ref):
        return super().history(ref) if self.read(ref) is not None else []


def test_what_a_store_tells_nothing_of_while_it_is_deleted_is_brought_back(house):
    room = house.room(Hiding("cloud", {REGION: "eu"}))
    room.entries.delete(REGION)
    with pytest.raises(NotFoundError, match="nor kept of what was"):
        room.entries.history(REGION)
    assert room.entries.undelete(REGION).backend == "cloud"
    assert room.lookup.variable("region") == "eu"
    with pytest.raises(NotFoundError):
        room.entries.undelete(Ref("variable", "never"))


def test_what_is_not_deleted_cannot_be_undeleted(house):
    with pytest.raises(ConflictError):
        house.room(Memory("native", {REGION: "eu"})).entries.undelete(REGION)


# --- looking ---------------------------------------------------------------------------------------


def test_describing_tells_everything_but_secrets(house):
    native = Memory("native")
    native.put(DB, URI, Metadata(owner="ada"))
    room = house.room(native, Memory("lower", {DB: URI}))
    described = room.entries.describe(DB)
    assert (described.backend, described.version, described.shadowed) == ("native", "1", ("lower",))
    assert described.metadata.owner == "ada"
    assert described.changed_at == datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert described.connection.to_dict()["password"] == HIDDEN
    assert described.size == len(URI)
    assert "canary" not in repr(described)
    assert house.records() == []


def test_describing_what_does_not_parse_says_why(house):
    room = house.room(Memory("native", {DB: "canary-1"}))
    described = room.entries.describe(DB)
    assert described.connection is None
    assert described.problem
    assert "canary" not in described.problem


def test_describing_nothing_is_not_found(house):
    with pytest.raises(NotFoundError):
        house.room(Memory("native")).entries.describe(DB)


def test_revealing_needs_a_reason_and_is_recorded_each_time(house):
    room = house.room(Memory("native", {REGION: "eu"}))
    with pytest.raises(InvalidInputError, match="reason"):
        room.entries.reveal(REGION, reason=" ")
    for _ in range(2):
        assert room.entries.reveal(REGION, reason="checking").secret.reveal() == "eu"
    assert [(record.action, record.reason) for record in house.records()] == [("reveal", "checking")] * 2


def test_revealing_nothing_is_recorded_as_absent(house):
    room = house.room(Memory("native"))
    with pytest.raises(NotFoundError):
        room.entries.reveal(REGION, reason="checking")
    assert house.acts() == [("reveal", "region", "absent")]


def test_listing_pages_by_name(house):
    room = house.room(Memory("native", {Ref("variable", name): "x" for name in "abcd"}))
    assert [row.ref.name for row in room.entries.list("variable", after="a", limit=2)] == ["b", "c"]


# --- forms with hidden secrets -----------------------------------------------------------------------

OLD = Connection.from_dict(
    {
        "conn_type": "http",
        "login": "reader",
        "password": "canary-1",
        "extra": {"token": "canary-2", "deep": {"key": "canary-3"}, "list": ["canary-4", "canary-5"]},
    }
)


def edited(**changes):
    return {**OLD.to_dict(), **changes}


def test_a_form_left_as_it_is_changes_nothing():
    assert Connection.from_dict(merge_hidden(OLD, edited())) == OLD


def test_new_values_replace_and_hidden_ones_stay():
    merged = merge_hidden(OLD, edited(login="writer", extra={"token": HIDDEN, "new": 1}))
    assert (merged["login"], merged["password"]) == ("writer", "canary-1")
    assert merged["extra"] == {"token": "canary-2", "new": 1}


def test_a_secret_may_be_replaced_or_taken_away():
    assert merge_hidden(OLD, edited(password="new"))["password"] == "new"
    assert merge_hidden(OLD, edited(password=None))["password"] is None
    form = edited()
    del form["password"]
    assert Connection.from_dict(merge_hidden(OLD, form)).password is None


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"login": HIDDEN}, "login"),
        ({"extra": {"other": HIDDEN}}, "extra.other"),
        ({"extra": {"deep": {"other": HIDDEN}}}, "extra.deep.other"),
        ({"extra": {"list": [HIDDEN]}}, r"extra.list\[0\]"),
        ({"extra": {"list": [HIDDEN, HIDDEN, HIDDEN]}}, r"extra.list\[0\]"),
        ({"extra": {"token": [HIDDEN]}}, r"extra.token\[0\]"),
        ({"extra": HIDDEN}, "extra"),
    ],
)
def test_hidden_without_anything_to_keep_is_refused_by_name(changes, place):
    with pytest.raises(InvalidInputError, match=place):
        merge_hidden(OLD, edited(**changes))


def test_a_list_of_the_same_length_keeps_its_places():
    merged = merge_hidden(OLD, edited(extra={"list": [HIDDEN, "new"]}))
    assert merged["extra"]["list"] == ["canary-4", "new"]


def test_a_link_with_kinds_is_not_written_for_others(house):
    room = house.room(Link(backend=Memory("native"), kinds=("connection",)))
    with pytest.raises(ReadOnlyError):
        write(room)


def test_a_malformed_entry_is_mended_by_a_write(house):
    class Broken(Memory):
        def read(self, ref):
            raise MalformedEntryError("broken", backend=self.name, ref=str(ref))

    native = Broken("native")
    assert write(house.room(native)).version == "1"
