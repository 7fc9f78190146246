"""One connection of an agent, frame by frame: what is answered, what is refused, and what holds up nobody."""

import asyncio
import json
import os
import struct
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from parts.agent import until
from parts.floor import floor
from strongroom.agent.floor import Bounds, Peer
from strongroom.agent.protocol import MAX_FOLLOWED, MAX_IN_FLIGHT
from strongroom.caller import frames
from strongroom.errors import AccessDeniedError
from strongroom.settings import load

ENVIRON = {
    "AIRFLOW_VAR_REGION": "eu-west-1",
    "AIRFLOW_VAR_BIG": "x" * 100_000,
    "AIRFLOW_CONN_ORDERS_DB": json.dumps(
        {"conn_type": "postgres", "host": "db", "password": "pw", "port": 5432, "extra": {"a": 1}}
    ),
    "AIRFLOW_CONN_BROKEN": "no connection at all",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with floor(tmp_path_factory.mktemp("f"), environ=ENVIRON) as running:
        yield running


@pytest.fixture
def wire(one):
    with one.connect() as opened:
        yield opened


# --- reads ------------------------------------------------------------------------------------------


def test_a_value_is_answered_and_from_then_on_it_comes_from_memory(wire):
    first, second, third = (wire.ask("variable", "region") for _ in range(3))
    assert [answer.text for answer in (first, second, third)] == ["eu-west-1"] * 3
    assert second.flags & third.flags & frames.CACHED
    assert second.backend == "env"
    assert second.age_ms <= third.age_ms
    assert second.ttl_ms > 0


def test_a_connection_is_answered_field_by_field_each_time(wire):
    for _ in range(3):
        fields = wire.ask("connection", "orders_db").fields
        assert fields[:5] == ("postgres", None, "db", None, "pw")
        assert (fields[6], json.loads(fields[7])) == (5432, {"a": 1})


def test_a_connection_is_answered_as_it_is_stored_where_that_is_asked_for(wire):
    for _ in range(2):
        answer = wire.ask("connection", "orders_db", flags=frames.RAW)
        assert answer.text == ENVIRON["AIRFLOW_CONN_ORDERS_DB"]


def test_what_is_nowhere_is_absent(wire):
    for _ in range(2):
        assert wire.ask("variable", "nowhere").outcome == frames.ABSENT


def test_what_is_no_connection_is_invalid_each_time_and_its_text_is_not_told(wire):
    for _ in range(2):
        answer = wire.ask("connection", "broken")
        assert answer.outcome == frames.INVALID
        assert answer.refusal.code == "malformed_entry"
        assert "no connection at all" not in answer.refusal.message


def test_a_name_that_is_none_is_invalid_and_the_connection_goes_on(wire):
    answer = wire.ask("variable", "/etc/../passwd")
    assert (answer.outcome, answer.refusal.code) == (frames.INVALID, "invalid_input")
    assert wire.ask("variable", "region").text == "eu-west-1"


def test_many_are_answered_in_their_order_each_with_its_outcome(wire):
    refs = [("variable", "region", None), ("variable", "nowhere", None), ("connection", "broken", None)]
    refs += [("variable", "/bad", None), ("connection", "orders_db", None)]
    wire.send(frames.frame(frames.READ_MANY, 7, frames.pack_read_many(refs)))
    type_, number, payload = wire.receive()
    assert (type_, number) == (frames.READ_MANY | frames.ANSWER, 7)
    first, answers, has_more = frames.read_results(payload)
    assert (first, has_more) == (0, False)
    wanted = [frames.FOUND, frames.ABSENT, frames.INVALID, frames.INVALID, frames.FOUND]
    assert [answer.outcome for answer in answers] == wanted


def test_a_batch_that_is_larger_than_a_frame_may_be_comes_in_parts(wire):
    refs = [("variable", "big", None)] * 300
    wire.send(frames.frame(frames.READ_MANY, 7, frames.pack_read_many(refs)))
    found = []
    has_more = True
    while has_more:
        first, answers, has_more = frames.read_results(wire.receive()[2])
        assert first == len(found)
        found += answers
    assert [len(answer.text) for answer in found] == [100_000] * 300


def test_a_new_question_to_the_backends_is_asked_where_the_cache_is_passed_by(wire, one):
    wire.ask("variable", "region")
    before = one.host.cache.statistics().misses
    answer = wire.ask("variable", "region", flags=frames.BYPASS_CACHE)
    assert answer.text == "eu-west-1"
    assert not answer.flags & frames.CACHED
    assert one.host.cache.statistics().misses == before + 1


def test_every_use_of_a_run_is_of_that_run(wire, one):
    wire.send(frames.frame(frames.CLAIM, 3, frames.pack_claim(("pay", "load", "r1", None, 2, None))))
    assert wire.receive()[:2] == (frames.CLAIM | frames.ANSWER, 3)
    wire.ask("variable", "region")
    runs = {reader.actor.run for reader in one.host.reading.readers()} - {None}
    assert ("pay", "load") in {(run.dag_id, run.task_id) for run in runs}


def test_what_was_asked_before_a_claim_is_not_of_its_run(wire, one):
    claim = frames.frame(frames.CLAIM, 4, frames.pack_claim(("late", None, None, None, None, None)))
    # Past the cache each must be waited for, so that the claim comes in between.
    wire.send(frames.pack_read(3, "variable", "region", None, frames.BYPASS_CACHE) + claim)
    assert {wire.receive()[0] for _ in range(2)} == {
        kind | frames.ANSWER for kind in (frames.READ, frames.CLAIM)
    }
    late = [each for each in one.host.reading.readers() if each.actor.run and each.actor.run.dag_id == "late"]
    assert sum(each.tally[0] for each in late) == 0


def test_a_claim_of_any_length_is_refused_and_the_connection_goes_on(wire):
    wire.send(frames.frame(frames.CLAIM, 3, frames.pack_claim(("x" * 300, None, None, None, None, None))))
    number, refusal = wire.error()
    assert (number, refusal.code) == (3, "invalid_input")
    assert wire.ask("variable", "region").text == "eu-west-1"


# --- frames as they come ----------------------------------------------------------------------------


def test_a_frame_that_comes_byte_by_byte_is_answered(wire):
    for byte in frames.pack_read(5, "variable", "region"):
        wire.send(bytes((byte,)))
    assert frames.read_answer(wire.receive()[2]).text == "eu-west-1"


def test_a_thousand_questions_at_once_are_all_answered_under_their_ids(wire):
    wire.ask("variable", "region")
    wire.send(b"".join(frames.pack_read(number, "variable", "region") for number in range(100, 1100)))
    assert sorted(wire.receive()[1] for _ in range(1000)) == list(range(100, 1100))


def test_more_questions_than_are_waited_for_at_once_are_all_answered(wire):
    count = 3 * MAX_IN_FLIGHT
    wire.send(
        b"".join(
            frames.pack_read(number, "variable", "region", None, frames.BYPASS_CACHE)
            for number in range(count)
        )
    )
    assert sorted(wire.receive()[1] for _ in range(count)) == list(range(count))


def test_questions_may_follow_the_hello_at_once(one):
    with one.connect(hello=False) as wire:
        wire.send(
            frames.frame(frames.HELLO, 1, frames.pack_hello("t")) + frames.pack_read(2, "variable", "region")
        )
        assert sorted(wire.receive()[1] for _ in range(2)) == [1, 2]


def test_a_type_nobody_knows_is_answered_by_an_error_and_the_connection_goes_on(wire):
    wire.send(frames.frame(0x6E, 9, b"anything"))
    number, refusal = wire.error()
    assert (number, refusal.code) == (9, "unsupported")
    assert wire.ask("variable", "region").text == "eu-west-1"


@pytest.mark.parametrize(
    "type_", [frames.READ, frames.READ_MANY, frames.CLAIM, frames.FOLLOW, frames.EXPLAIN]
)
def test_a_payload_that_is_cut_short_is_answered_by_an_error_and_the_connection_goes_on(wire, type_):
    wire.send(frames.frame(type_, 9, b"\x01"))
    number, refusal = wire.error()
    assert (number, refusal.code) == (9, "malformed_frame")
    assert wire.ask("variable", "region").text == "eu-west-1"


def test_what_follows_the_known_fields_of_a_question_is_passed_over(wire):
    question = frames.pack_read(4, "variable", "region")[frames.HEAD_BYTES :]
    wire.send(frames.frame(frames.READ, 4, question + b"of a later version"))
    assert frames.read_answer(wire.receive()[2]).text == "eu-west-1"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (struct.pack(">I", frames.MAX_REQUEST_BYTES + 1), "too_large"),
        (struct.pack(">I", 4) + b"\x02\0\0\0\0", "malformed_frame"),
        (b"GET / HTTP/1.1\r\n\r\n", "too_large"),
    ],
)
def test_what_is_no_frame_is_told_once_and_ends_this_connection_alone(one, wire, data, code):
    with one.connect() as other:
        other.send(data)
        assert other.error()[1].code == code
        assert other.is_ended()
    assert wire.ask("variable", "region").text == "eu-west-1"


def test_who_does_not_begin_with_a_hello_is_told_and_ended(one):
    with one.connect(hello=False) as wire:
        wire.send(frames.pack_read(2, "variable", "region"))
        assert wire.error()[1].code == "malformed_frame"
        assert wire.is_ended()


def test_another_major_version_is_told_both_numbers_and_ended(one):
    with one.connect(hello=False) as wire:
        wire.send(frames.frame(frames.HELLO, 1, frames.pack_hello("t", major=frames.MAJOR + 1)))
        refusal = wire.error()[1]
        assert refusal.code == "unsupported_version"
        assert f"{frames.MAJOR + 1}.{frames.MINOR}" in refusal.message
        assert f"{frames.MAJOR}.{frames.MINOR}" in refusal.message
        assert wire.is_ended()


def test_what_was_answered_before_a_frame_that_ends_the_connection_is_not_lost(one):
    hello = frames.frame(frames.HELLO, 1, frames.pack_hello("t"))
    last = frames.frame(frames.HELLO, 3, frames.pack_hello("t", major=frames.MAJOR + 1))
    with one.connect(hello=False) as wire:
        wire.send(hello + frames.frame(frames.PING, 2, b"still there") + last)
        assert wire.receive()[0] == frames.HELLO | frames.ANSWER
        assert wire.receive()[1:] == (2, b"still there")
        assert wire.error()[1].code == "unsupported_version"
        assert wire.is_ended()


def test_a_minor_version_more_or_less_is_answered(one):
    for minor in (frames.MINOR + 1, 0):
        with one.connect(hello=False) as wire:
            wire.send(frames.frame(frames.HELLO, 1, frames.pack_hello("t", minor=minor) + b"more"))
            assert wire.receive()[0] == frames.HELLO | frames.ANSWER
            assert wire.ask("variable", "region").text == "eu-west-1"


# --- everything else --------------------------------------------------------------------------------


def test_a_ping_is_answered(wire):
    wire.send(frames.frame(frames.PING, 8))
    assert wire.receive()[:2] == (frames.PING | frames.ANSWER, 8)


def test_it_is_explained_which_backend_answers_and_not_what(wire):
    wire.send(frames.frame(frames.EXPLAIN, 8, frames.pack_ref("variable", "region")))
    type_, _, payload = wire.receive()
    assert type_ == frames.EXPLAIN | frames.ANSWER
    told = frames.read_json(payload)
    assert json.loads(told)["outcome"] == "found"
    assert "eu-west-1" not in told


def test_who_follows_is_told_of_a_change_until_it_ends(tmp_path):
    values = tmp_path / "values.json"
    values.write_text('{"region": "eu"}')
    values.chmod(0o600)
    settings = f'chain = ["file"]\n[backend.file]\nvariables_file_path = "{values}"\n'
    with floor(tmp_path, settings) as one, one.connect() as wire:
        wire.send(frames.frame(frames.FOLLOW, 3, frames.pack_ref("variable", "region")))
        type_, _, payload = wire.receive()
        assert type_ == frames.FOLLOW | frames.ANSWER
        version = frames.read_version(payload)
        assert version
        values.write_text('{"region": "us"}')
        one.host.freshness.gap(None)
        type_, number, payload = wire.receive()
        assert (type_, number) == (frames.NOTICE, 0)
        assert frames.read_notice(payload)[:3] == ("variable", "region", None)
        assert wire.ask("variable", "region").text == "us"
        wire.send(frames.frame(frames.UNFOLLOW, 4, frames.pack_ref("variable", "region")))
        assert wire.receive()[:2] == (frames.UNFOLLOW | frames.ANSWER, 4)
        assert one.host.freshness.followed == 0


def test_whoever_goes_away_follows_nothing_any_more(one):
    with one.connect() as wire:
        wire.send(frames.frame(frames.FOLLOW, 3, frames.pack_ref("variable", "region")))
        wire.receive()
        assert one.host.freshness.followed == 1
    until(lambda: one.host.freshness.followed == 0, what="the end of following")


RULES = """
@id("rules.public") permit(principal, action == Action::"read", resource is Entry)
when {{ resource.name like "public*" {more} }};
"""


@pytest.fixture
def ruled(tmp_path):
    """Give a host of two variables whose policy allows what `allow` says, and all that is public."""
    values, rules = tmp_path / "values.json", tmp_path / "rules.cedar"
    values.touch(mode=0o600)
    settings = f'chain = ["file"]\n[backend.file]\nvariables_file_path = "{values}"\n'
    settings += f'[agent]\npolicy = "{rules}"\n'

    def allow(one, more=""):
        rules.write_text(RULES.format(more=more))
        if one is not None:
            one.host.reload(one.host.settings)
            one.loop.call_soon_threadsafe(one.floor.renew)

    def put(value):
        values.write_text(json.dumps({"region": value, "public": value}))

    put("eu")
    allow(None)
    with floor(tmp_path, settings) as one:
        one.allow, one.put = partial(allow, one), put
        yield one


def follow(wire, name, team=None):
    wire.send(frames.frame(frames.FOLLOW, 3, frames.pack_ref("variable", name, team)))
    return wire.receive()


def notices(one, wire, value):
    """Have everything changed to *value*, and give the names that are told; twice is as good as once."""
    freshness = one.host.freshness
    woken = {ref: threading.Event() for ref in freshness._following.refs()}
    ends = [freshness.follow(ref, lambda *_, seen=seen: seen.set()) for ref, seen in woken.items()]
    one.put(value)
    freshness.gap(None)
    for seen in woken.values():  # after the one who is asked, who followed before
        assert seen.wait(10)
    for end in ends:
        end()
    until(lambda: not is_telling(one.loop), what="the end of telling")
    wire.send(frames.frame(frames.PING, 9))
    told = []
    while (found := wire.receive())[0] == frames.NOTICE:
        assert found[1] == 0
        told.append(frames.read_notice(found[2])[1])
    return sorted({*told})


def is_telling(loop):
    """Tell whether *loop*, once it has done what it was given so far, is still at telling somebody."""

    async def looked():
        return any(task.get_coro().__name__ == "_notify" for task in asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(looked(), loop).result(10)


def test_nothing_is_looked_up_for_who_follows_what_he_may_not_read(ruled):
    with ruled.connect() as wire:
        assert follow(wire, "region")[0] == frames.ERROR
        assert ruled.host.freshness.followed == 0
        assert ruled.host.cache.statistics().misses == 0


def test_what_is_ended_before_it_began_is_not_followed(ruled):
    with ruled.connect() as wire:
        question = frames.pack_ref("variable", "public")
        wire.send(frames.frame(frames.FOLLOW, 3, question) + frames.frame(frames.UNFOLLOW, 4, question))
        answered = {wire.receive()[0], wire.receive()[0]}
        assert answered == {frames.FOLLOW | frames.ANSWER, frames.UNFOLLOW | frames.ANSWER}
        assert ruled.host.freshness.followed == 0


def test_nobody_is_told_of_what_he_may_not_read_any_more(ruled):
    ruled.allow('|| resource.name == "region"')
    with ruled.connect() as wire:
        for name in ("region", "public"):
            assert follow(wire, name)[0] == frames.FOLLOW | frames.ANSWER
        assert notices(ruled, wire, "us") == ["public", "region"]
        ruled.allow()
        assert notices(ruled, wire, "ap") == ["public"]


def test_nobody_is_told_of_a_global_name_behind_his_teams_that_he_may_not_read(ruled):
    ruled.allow('|| resource.team == "data"')
    with ruled.connect() as wire:
        type_, _, payload = follow(wire, "region", "data")
        assert (type_, frames.read_version(payload)) == (frames.FOLLOW | frames.ANSWER, None)
        follow(wire, "public")
        assert notices(ruled, wire, "us") == ["public"]


def test_a_connection_follows_so_many_entries_and_no_more(wire):
    for number in range(MAX_FOLLOWED):
        wire.send(frames.frame(frames.FOLLOW, number, frames.pack_ref("variable", f"v{number}")))
        assert wire.receive()[0] == frames.FOLLOW | frames.ANSWER
    wire.send(frames.frame(frames.FOLLOW, 5, frames.pack_ref("variable", "one_more")))
    assert wire.error()[1].code == "invalid_input"


def test_an_order_is_for_administrators(one, wire):
    wire.send(frames.frame(frames.ADMIN, 2, frames.pack_json('{"do": "status"}')))
    assert json.loads(frames.read_json(wire.receive()[2])) == {"did": "status"}
    one.is_admin = False
    try:
        with one.connect() as other:
            other.send(frames.frame(frames.ADMIN, 2, frames.pack_json('{"do": "status"}')))
            assert other.error()[1].code == "access_denied"
            assert other.ask("variable", "region").text == "eu-west-1"
    finally:
        one.is_admin = True


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 50_000])
def test_an_order_that_is_no_json_object_is_refused(wire, text):
    wire.send(frames.frame(frames.ADMIN, 2, frames.pack_json(text)))
    assert wire.error()[1].code == "invalid_input"


def test_who_may_not_connect_is_told_in_one_frame_and_ended(one):
    one.refusal = AccessDeniedError(
        "the user 7 may not connect to this agent", reason="x", hint="agent.users"
    )
    try:
        with one.connect(hello=False) as wire:
            number, refusal = wire.error()
            assert (number, refusal.code, refusal.hint) == (0, "access_denied", "agent.users")
            assert wire.is_ended()
    finally:
        one.refusal = None


# --- bounds -----------------------------------------------------------------------------------------


def test_a_frame_that_does_not_come_whole_is_told_and_ended_while_others_are_served(tmp_path):
    with floor(tmp_path, environ=ENVIRON, bounds=Bounds(receipt_seconds=0.3)) as one:
        with one.connect() as slow, one.connect() as quick:
            slow.send(frames.pack_read(5, "variable", "region")[:7])
            assert quick.ask("variable", "region").text == "eu-west-1"
            assert slow.error()[1].code == "timeout"
            assert slow.is_ended()
            assert quick.ask("variable", "region").text == "eu-west-1"
        assert one.floor.closed == {"slow": 1}


def test_who_never_says_hello_is_ended_and_who_only_is_quiet_is_not(tmp_path):
    bounds = Bounds(receipt_seconds=0.3)
    with (
        floor(tmp_path, environ=ENVIRON, bounds=bounds) as one,
        one.connect() as quiet,
        one.connect(hello=False) as silent,
    ):
        assert silent.error()[1].code == "timeout"
        assert silent.is_ended()
        assert quiet.ask("variable", "region").text == "eu-west-1"


def test_who_takes_no_answers_is_not_read_from_and_then_cut_off(tmp_path):
    bounds = Bounds(unread_seconds=0.5)
    with (
        floor(tmp_path, environ=ENVIRON, bounds=bounds) as one,
        one.connect() as greedy,
        one.connect() as other,
    ):
        greedy.ask("variable", "big")
        greedy.send(frames.pack_read(5, "variable", "big") * 200)
        (line,) = until(lambda: [line for line in one.floor.lines if line.waiting_bytes], what="a pause")
        assert line.waiting_bytes < 2_000_000
        assert other.ask("variable", "region").text == "eu-west-1"
        until(lambda: one.floor.closed.get("unread"), what="the cut")
        assert other.ask("variable", "region").text == "eu-west-1"
        while greedy.receive() is not None:
            pass


def test_who_takes_answers_late_gets_all_of_them(tmp_path):
    with floor(tmp_path, environ=ENVIRON) as one, one.connect() as late:
        late.ask("variable", "big")
        late.send(b"".join(frames.pack_read(number, "variable", "big") for number in range(100)))
        until(lambda: any(line.waiting_bytes for line in one.floor.lines), what="a pause")
        assert sorted(late.receive()[1] for _ in range(100)) == list(range(100))


def test_beyond_the_bound_of_connections_a_new_one_is_told_so_and_the_others_go_on(tmp_path):
    with floor(tmp_path, environ=ENVIRON, bounds=Bounds(most=3, most_of_one=3)) as one:
        wires = [one.connect() for _ in range(3)]
        with one.connect(hello=False) as late:
            refusal = late.error()[1]
            assert refusal.code == "overloaded"
            assert late.is_ended()
        assert [wire.ask("variable", "region").text for wire in wires] == ["eu-west-1"] * 3
        wires.pop().close()
        until(lambda: len(one.floor.lines) == 2, what="room")
        wires.append(one.connect())
        for wire in wires:
            wire.close()


def test_a_connection_that_was_quiet_makes_room_for_a_new_one(tmp_path):
    bounds = Bounds(most=10, most_of_one=2, quiet_seconds=0.0)
    with (
        floor(tmp_path, environ=ENVIRON, bounds=bounds) as one,
        one.connect() as oldest,
        one.connect() as newer,
    ):
        assert newer.ask("variable", "region").text == "eu-west-1"
        with one.connect() as third:
            assert oldest.is_ended()
            assert third.ask("variable", "region").text == "eu-west-1"
        assert one.floor.closed == {"room": 1}


# --- what must be waited for ------------------------------------------------------------------------


class Held(BaseHTTPRequestHandler):
    """A Vault that answers once it is told to."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.release()
        assert self.server.go.wait(20)
        value = {"data": {"data": {"value": "late"}, "metadata": {"version": 1}}}
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_details):
        pass


@pytest.fixture
def held(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Held)
    server.asked, server.go = threading.Semaphore(0), threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = f"""
        chain = ["env", "vault"]
        [backend.vault]
        url = "http://127.0.0.1:{server.server_port}"
        timeout = 15
        token = {{ env = "TOKEN" }}
    """
    try:
        with floor(tmp_path, settings, environ=ENVIRON | {"TOKEN": "t"}) as one:
            one.vault = server
            yield one
    finally:
        server.go.set()
        server.shutdown()
        server.server_close()
        thread.join(20)


def test_what_is_at_hand_is_answered_while_something_else_is_waited_for(held):
    with held.connect() as wire:
        wire.send(frames.pack_read(5, "variable", "slow"))
        assert held.vault.asked.acquire(timeout=20)
        assert wire.ask("variable", "region").text == "eu-west-1"
        held.vault.go.set()
        type_, number, payload = wire.receive()
        assert (type_, number) == (frames.READ | frames.ANSWER, 5)
        assert frames.read_answer(payload).text == "late"


def test_what_is_under_way_is_answered_while_draining_and_nothing_new_is_taken(held):
    with held.connect() as wire:
        wire.send(frames.pack_read(5, "variable", "slow"))
        assert held.vault.asked.acquire(timeout=20)
        draining = asyncio.run_coroutine_threadsafe(held.floor.drain(10.0), held.loop)
        until(lambda: held.floor.is_draining, what="draining")
        with held.connect(hello=False) as late:
            assert late.error()[1].code == "overloaded"
        held.vault.go.set()
        type_, number, payload = wire.receive()
        assert (type_, number) == (frames.READ | frames.ANSWER, 5)
        assert frames.read_answer(payload).text == "late"
        assert wire.is_ended()
        draining.result(20)


def test_a_client_that_goes_away_while_it_waits_holds_nothing(held):
    with held.connect() as wire:
        wire.send(frames.pack_read(5, "variable", "slow"))
        assert held.vault.asked.acquire(timeout=20)
    until(lambda: not held.floor.lines, what="the end of the connection")
    held.vault.go.set()
    with held.connect() as wire:
        assert wire.ask("variable", "slow").text == "late"


# --- what is made ready -----------------------------------------------------------------------------


def test_answers_that_were_made_ready_are_forgotten_when_that_is_ordered(wire, one):
    wire.ask("variable", "region")
    wire.ask("variable", "region")
    assert len(one.floor.answers.remembered) > 0
    one.loop.call_soon_threadsafe(one.floor.renew)
    until(lambda: len(one.floor.answers.remembered) == 0, what="forgetting")
    assert wire.ask("variable", "region").text == "eu-west-1"


def test_what_was_dropped_from_memory_is_not_answered_from_what_was_made_ready(tmp_path):
    values = tmp_path / "values.json"
    values.write_text('{"region": "eu"}')
    values.chmod(0o600)
    settings = f'chain = ["file"]\n[backend.file]\nvariables_file_path = "{values}"\n'
    with floor(tmp_path, settings) as one, one.connect() as wire:
        assert [wire.ask("variable", "region").text for _ in range(3)] == ["eu"] * 3
        values.write_text('{"region": "us"}')
        one.host.flush(None)
        assert [wire.ask("variable", "region").text for _ in range(3)] == ["us"] * 3


def test_no_connection_is_kept_by_what_it_left_behind(one):
    before = len(one.floor.lines)
    for _ in range(50):
        with one.connect() as wire:
            wire.send(frames.pack_read(5, "variable", "region", None, frames.BYPASS_CACHE))
    until(lambda: len(one.floor.lines) == before, what="all of them to be gone")


def test_who_is_named_no_more_is_dismissed_when_the_settings_are_taken_anew(tmp_path):
    other = os.getuid() + 1

    def settings(users):
        file = tmp_path / "strongroom.toml"
        file.write_text(f'chain = ["env"]\n[agent]\nusers = {users}\n')
        return file

    with floor(tmp_path, settings([other]).read_text(), environ={"AIRFLOW_VAR_REGION": "eu"}) as one:
        one.floor.admit = lambda _transport: Peer(1, other, other, is_admin=False)
        with one.connect() as wire:
            assert wire.ask("variable", "region").text == "eu"
            one.host.reload(load(settings([]), environ={"STRONGROOM_HOME": str(tmp_path)}))
            one.loop.call_soon_threadsafe(one.floor.renew)
            assert wire.error()[1].code == "access_denied"
            assert wire.is_ended()
        assert one.floor.closed == {"unwelcome": 1}
