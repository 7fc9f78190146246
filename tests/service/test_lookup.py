from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from strongroom.chain import Link, Outcome
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    NotRecordedError,
)
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.testing.fakes import Denying, Flaky, Memory

DB = Ref("connection", "orders_db")
REGION = Ref("variable", "region")
URI = "postgres://reader:canary-1@db:5432/orders"


def test_a_value_is_recorded_when_it_is_fetched_and_not_when_it_is_remembered(house):
    native = Memory("native", {REGION: "eu"})
    room = house.room(native)
    assert [room.lookup.variable("region") for _ in range(5)] == ["eu"] * 5
    assert house.acts() == [("read", "region", "found")]
    assert house.records()[0].backend == "native"
    assert native.calls == [("read", REGION)]


def test_an_absence_is_recorded_and_remembered_too(house):
    room = house.room(Memory("native"))
    for _ in range(3):
        with pytest.raises(NotFoundError):
            room.lookup.variable("region")
    assert house.acts() == [("read", "region", "absent")]


def test_a_denial_is_recorded_and_final(house):
    room = house.room(Denying("vault"), Memory("native", {REGION: "eu"}))
    with pytest.raises(AccessDeniedError):
        room.lookup.variable("region")
    assert house.acts() == [("read", "region", "denied")]


def test_an_answer_that_cannot_be_recorded_does_not_leave_and_nothing_stale_stands_in(house):
    native = Memory("native", {REGION: "eu"})
    room = house.room(native, STRONGROOM__CACHE__TTL="0")
    assert room.lookup.variable("region") == "eu"
    (house.folder / "audit").rename(house.folder / "elsewhere")
    with pytest.raises(NotRecordedError):
        room.lookup.variable("region")


def test_in_an_outage_the_last_value_stands_in_and_the_outage_is_recorded(house):
    native = Flaky("native", {REGION: "eu"})
    room = house.room(native, STRONGROOM__CACHE__TTL="0")
    assert room.lookup.variable("region") == "eu"
    native.fail()
    assert room.lookup.entry(REGION).is_stale
    assert [outcome for _, _, outcome in house.acts()] == ["found", "unavailable"]


def test_what_is_nowhere_names_who_was_asked_and_what_to_type(house):
    room = house.room(Memory("upper"), Memory("lower", {Ref("connection", "orders_db2"): URI}))
    with pytest.raises(NotFoundError) as caught:
        room.lookup.connection("orders_db")
    assert caught.value.asked == (("upper", "absent"), ("lower", "absent"))
    assert caught.value.hint.startswith("did you mean orders_db2? ")
    assert "strongroom explain connection orders_db " in caught.value.hint


def test_a_name_in_a_hint_is_quoted_for_the_shell(house):
    with pytest.raises(NotFoundError) as caught:
        house.room(Memory("native")).lookup.variable("a b; rm")
    assert "strongroom explain variable 'a b; rm' shows" in caught.value.hint


def test_a_connection_is_parsed_once_for_each_cached_entry(house):
    native = Memory("native", {DB: URI})
    room = house.room(native)
    first = room.lookup.connection("orders_db")
    assert first.host == "db"
    assert room.lookup.connection("orders_db") is first
    room.entries.write(Change(ref=DB, secret=Secret(URI.replace("@db", "@db2"))))
    assert room.lookup.connection("orders_db").host == "db2"


def test_a_team_gets_its_own_and_otherwise_the_global_one(house):
    native = Memory("native", {DB: URI, Ref("connection", "orders_db", "data"): URI.replace("@db", "@data")})
    room = house.room(native)
    hosts = [room.lookup.connection("orders_db", team).host for team in (None, "data", "other")]
    assert hosts == ["db", "data", "db"]


def test_what_is_no_connection_is_malformed_and_says_where_without_the_text(house):
    room = house.room(Memory("native", {DB: "canary-1 is no uri"}))
    with pytest.raises(MalformedEntryError) as caught:
        room.lookup.connection("orders_db")
    assert caught.value.backend == "native"
    assert "canary" not in f"{caught.value} {caught.value.hint}"


def test_the_dialect_is_a_setting(house):
    text = '{"conn_type": "http", "password": ""}'
    core = house.room(Memory("native", {DB: text})).lookup.connection("orders_db")
    sdk = house.room(Memory("native", {DB: text}), STRONGROOM__LOOKUP__DIALECT="sdk").lookup.connection(
        "orders_db"
    )
    assert core.password != sdk.password


def test_json_of_a_variable(house):
    room = house.room(Memory("native", {REGION: '{"a": [1]}', Ref("variable", "bad"): "{canary-1"}))
    assert room.lookup.json_of(room.lookup.entry(REGION)) == {"a": [1]}
    with pytest.raises(MalformedEntryError) as caught:
        room.lookup.json_of(room.lookup.variable_entry("bad"))
    assert "canary" not in f"{caught.value} {caught.value.hint}"


def test_a_bad_name_is_refused(house):
    with pytest.raises(InvalidInputError):
        house.room(Memory("native")).lookup.variable("../etc")


def test_an_explanation_tells_who_answered_and_why_and_is_not_recorded(house):
    room = house.room(Memory("upper"), Memory("lower", {REGION: "canary-1"}))
    room.lookup.variable("region")
    explanation = room.lookup.explain(REGION)
    assert (explanation.outcome, explanation.backend) == (Outcome.FOUND, "lower")
    assert explanation.policies == ("local-owner",)
    assert explanation.remembered.is_fresh
    assert "canary" not in repr(explanation)
    assert house.acts() == [("read", "region", "found")]


# --- references --------------------------------------------------------------------------------------

ON = Metadata(references=True)


def test_references_are_resolved_for_the_reader_and_recorded_each(house):
    native = Memory("native", {REGION: "eu"})
    native.put(Ref("variable", "bucket"), "data-${variable/region}", ON)
    room = house.room(native)
    assert room.lookup.variable("bucket") == "data-eu"
    assert house.acts() == [("read", "bucket", "found"), ("read", "region", "found")]
    assert room.lookup.variable("bucket") == "data-eu"
    assert len(house.records()) == 2


def test_references_stay_text_where_they_are_off(house):
    room = house.room(Memory("native", {REGION: "${variable/x}"}))
    assert room.lookup.variable("region") == "${variable/x}"


def test_references_may_be_on_for_a_whole_backend(house):
    native = Memory("native", {REGION: "eu", Ref("variable", "b"): "${variable/region}"})
    assert house.room(Link(backend=native, references=True)).lookup.variable("b") == "eu"


def test_a_referenced_connection_follows_a_change_of_what_it_refers_to(house):
    native = Memory("native", {Ref("variable", "host"): "one"})
    native.put(DB, '{"conn_type": "http", "host": "${variable/host}"}', ON)
    room = house.room(native)
    assert room.lookup.connection("orders_db").host == "one"
    room.entries.write(Change(ref=Ref("variable", "host"), secret=Secret("two")))
    assert room.lookup.connection("orders_db").host == "two"


def test_a_writer_must_be_able_to_read_what_he_refers_to(house):
    room = house.room(Memory("native"))
    change = Change(ref=REGION, secret=Secret("${variable/none}"), metadata=ON)
    with pytest.raises(InvalidInputError, match="no backend has"):
        room.entries.write(change)
    room = house.room(Memory("native"), Denying("vault"))
    with pytest.raises(AccessDeniedError):
        room.entries.write(change, to="native", force=True)


def test_a_connection_that_extends_another_can_be_written(house):
    room = house.room(Memory("native", {DB: URI}))
    text = '{"extends": "orders_db", "host": "replica"}'
    room.entries.write(Change(ref=Ref("connection", "replica"), secret=Secret(text), metadata=ON))
    replica = room.lookup.connection("replica")
    assert (replica.host, replica.login, replica.conn_type) == ("replica", "reader", "postgres")


# --- following, and asyncio --------------------------------------------------------------------------


class Counting(Memory):
    """Tells when it was asked for the sixth time."""

    def __init__(self, *details) -> None:
        self.was_asked_often = threading.Event()
        super().__init__(*details)

    def _before(self, verb, ref):
        super()._before(verb, ref)
        if len(self.calls) == 6:
            self.was_asked_often.set()


def test_following_calls_back_with_each_new_version_and_records_only_those(house):
    native = Counting("native", {REGION: "eu"})
    room = house.room(native)
    seen, came = [], threading.Event()

    def on_change(entry):
        seen.append(entry.secret.reveal())
        came.set()

    with room.lookup.follow(REGION, on_change, interval=timedelta(milliseconds=1)) as follow:
        assert follow.current.secret.reveal() == "eu"
        assert native.was_asked_often.wait(10)
        native.put(REGION, "us")
        assert came.wait(10)
        assert follow.current.secret.reveal() == "us"
    assert seen == ["us"]
    assert house.acts() == [("read", "region", "found")] * 2


def test_following_nothing_is_not_found(house):
    with pytest.raises(NotFoundError):
        house.room(Memory("native")).lookup.follow(REGION)


def test_asyncio_gets_the_same_answers(house):
    native = Memory("native", {DB: URI, REGION: "eu"})
    native.put(Ref("variable", "bucket"), "data-${variable/region}", ON)
    room = house.room(native)

    async def ask():
        connection = await room.lookup.aconnection("orders_db")
        assert await room.lookup.aconnection("orders_db") is connection
        assert (await room.lookup.avariable_entry("bucket")).secret.reveal() == "data-eu"
        assert await room.lookup.afind_variable("none") is None
        with pytest.raises(NotFoundError) as caught:
            await room.lookup.aentry(Ref("variable", "regio"))
        assert "did you mean region?" in caught.value.hint
        return connection

    assert asyncio.run(ask()) is room.lookup.connection("orders_db")


def test_an_outage_without_anything_remembered_is_unavailable(house):
    native = Flaky("native", {REGION: "eu"})
    native.fail()
    with pytest.raises(BackendUnavailableError):
        house.room(native).lookup.variable("region")


def test_a_task_waits_as_long_as_the_settings_let_a_thread_wait(house):
    class Hanging(Memory):
        def read(self, ref):
            leave.wait(30)
            return super().read(ref)

    leave = threading.Event()
    room = house.room(Hanging("native"), STRONGROOM__LOOKUP__DEADLINE_SECONDS="0.1")
    with pytest.raises(BackendUnavailableError, match=r"within 0\.15 s"):
        asyncio.run(room.lookup.aentry(REGION))
    leave.set()


def test_explain_says_what_a_reader_meets_when_the_text_is_no_connection(house):
    room = house.room(Memory("upper", {DB: "canary-1 is no uri"}), Memory("lower", {DB: URI}))
    explanation = room.lookup.explain(DB)
    assert [(step.backend, step.outcome) for step in explanation.steps] == [
        ("upper", Outcome.INVALID),
        ("lower", Outcome.FOUND),
    ]
    assert explanation.outcome is Outcome.INVALID
    assert "is no connection" in explanation.steps[0].reason
    assert "canary" not in repr(explanation)
