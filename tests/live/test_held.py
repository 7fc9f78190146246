"""One connection that the clients of a process share."""

from __future__ import annotations

import gc
import os
import threading
from datetime import datetime, timezone

import pytest

from strongroom.errors import BackendUnavailableError, MalformedEntryError, NotFoundError
from strongroom.live.follow import Follow
from strongroom.live.held import Held, Known
from strongroom.model.connection import Connection
from strongroom.model.entry import Entry
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

REF = Ref("connection", "orders_db", None)


class Shelf:
    """A source whose entry the test changes, and that counts what it is asked."""

    def __init__(self, uri: str = "postgres://app:first@db/orders") -> None:
        self.entry: Entry | None = self.of(uri, "1")
        self.asked = 0
        self.fails: Exception | None = None
        self.wake = lambda: None

    @staticmethod
    def of(uri: str, version: str) -> Entry:
        return Entry(
            ref=REF, secret=Secret(uri), backend="shelf", read_at=datetime.now(timezone.utc), version=version
        )

    def follow(self, ref: Ref, on_change) -> Follow:
        def listen(wake):
            self.wake = wake
            return lambda: None

        return Follow(lambda: self.entry, on_change, listen=listen)

    def anew(self, ref: Ref) -> Entry | None:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        return self.entry

    def parsed(self, entry: Entry) -> Connection:
        text = entry.secret.reveal()
        if "://" not in text:
            raise MalformedEntryError("no connection", backend="shelf", ref=str(entry.ref))
        return Connection.parse(text)

    def write_back(self, ref, change, comment) -> Connection:
        before = self.parsed(self.entry)
        after = change(before) or before
        self.entry = self.of(after.format("uri").reveal(), self.entry.version + "+")
        return after


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def held(shelf):
    made = Held(REF, shelf, iter(range(0, 10_000, 10)).__next__)
    yield made
    made.close()


def test_what_is_known_is_there_at_once_and_asks_nobody(held, shelf):
    assert held.known.connection.password.reveal() == "first"
    assert held.known.number == 1
    assert shelf.asked == 0


def test_a_change_that_is_told_is_known_and_calls_back(held, shelf):
    heard = threading.Event()
    told: list[Known] = []
    end = held.on_change(lambda known: (told.append(known), heard.set()))
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    shelf.wake()
    assert heard.wait(10)
    assert (told[0].number, told[0].connection.password.reveal()) == (2, "second")
    end()
    assert held.known is told[0]


def test_another_version_with_the_same_content_counts_no_further(held, shelf):
    shelf.entry = shelf.of("postgres://app:first@db/orders", "2")
    assert held.refreshed(held.known) is None
    assert (held.known.number, held.known.version) == (1, "2")


def test_a_refusal_asks_past_what_is_remembered_and_gives_what_is_newer(held, shelf):
    used = held.known
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    assert held.refreshed(used).connection.password.reveal() == "second"
    assert held.refreshed(used).number == 2
    assert shelf.asked == 1


def test_a_refusal_of_what_is_newest_gives_nothing_newer(held, shelf):
    assert held.refreshed(held.known) is None
    assert shelf.asked == 1


class Hands:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def wait(self, _news: threading.Event, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    def tick(self) -> float:
        self.now += 0.001
        return self.now


def test_a_refusal_that_waits_for_its_turn_goes_on_when_the_change_is_told(shelf):
    waits = threading.Event()

    def wait(news: threading.Event, _seconds: float) -> None:
        waits.set()
        assert news.wait(10)

    held = Held(REF, shelf, Hands().tick, wait)
    held.refreshed(held.known)
    found: list[Known | None] = []
    thread = threading.Thread(target=lambda: found.append(held.refreshed(held.known)))
    thread.start()
    assert waits.wait(10)
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    shelf.wake()
    thread.join(10)
    assert [one.number for one in found] == [2]
    assert shelf.asked <= 1
    held.close()


def test_many_that_are_refused_at_once_ask_once(shelf):
    hands = Hands()
    held = Held(REF, shelf, lambda: hands.now, hands.wait)
    hands.now += 10
    used = held.known
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    found: list[Known | None] = []
    threads = [threading.Thread(target=lambda: found.append(held.refreshed(used))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [known.number for known in found] == [2] * 20
    assert shelf.asked == 1
    held.close()


def test_a_refusal_within_a_second_of_the_last_question_waits_for_its_turn(shelf):
    hands = Hands()
    held = Held(REF, shelf, hands.tick, hands.wait)
    assert held.refreshed(held.known) is None
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    assert held.refreshed(held.known).number == 2
    assert shelf.asked == 2
    assert len(hands.waited) == 1
    assert 0.9 < hands.waited[0] <= 1.0
    held.close()


def test_an_answer_that_comes_late_is_not_kept_over_a_newer_one(held, shelf):
    used = held.known
    late = shelf.of("postgres://app:second@db/orders", "2")

    def overtaken(_ref):
        held._followed(shelf.of("postgres://app:third@db/orders", "3"))
        return late

    shelf.anew = overtaken
    assert held.refreshed(used).connection.password.reveal() == "third"
    assert held.known.version == "3"


def test_a_callback_that_fails_keeps_the_others_from_nothing(held, shelf):
    told: list[Known] = []

    def fails(_known):
        raise RuntimeError("a client's own")

    held.on_change(fails)
    held.on_change(told.append)
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    assert held.refreshed(held.known).number == 2
    assert [known.number for known in told] == [2]


def test_a_store_that_is_down_leaves_what_is_known_and_shows_as_trouble(held, shelf):
    shelf.fails = BackendUnavailableError("no answer", backend="shelf")
    used = held.known
    assert held.refreshed(used) is None
    assert held.known is used
    assert held.trouble is shelf.fails
    shelf.fails = None
    held.refreshed(used)
    assert held.trouble is None


def test_a_connection_that_is_gone_shows_as_trouble(held, shelf):
    shelf.entry = None
    assert held.refreshed(held.known) is None
    assert isinstance(held.trouble, NotFoundError)


def test_text_that_is_no_connection_leaves_the_one_that_was(held, shelf):
    shelf.entry = shelf.of("nonsense", "2")
    assert held.refreshed(held.known) is None
    assert held.known.connection.password.reveal() == "first"
    assert isinstance(held.trouble, MalformedEntryError)


def test_what_is_written_back_is_known_at_once(held):
    known = held.write_back(
        lambda connection: connection.replace(password=Secret("third")), comment="renewed"
    )
    assert known.connection.password.reveal() == "third"
    assert held.known is known


def test_it_is_idle_a_minute_after_its_last_client_is_gone(shelf):
    class Client:
        """Stands for a library's."""

    now = [0.0]
    held = Held(REF, shelf, lambda: now[0])
    closed: list[str] = []
    now[0] += 60.0
    assert held.is_idle()  # nobody has a client of it yet
    held.use()
    assert not held.is_idle()
    one, other = Client(), Client()
    held.lasts(one, lambda: closed.append("one"))
    end = held.lasts(other)
    end()
    end()
    now[0] = 1000.0
    assert not held.is_idle()
    del one
    gc.collect()
    assert closed == ["one"]
    assert not held.is_idle()
    now[0] += 60.0
    assert held.is_idle()
    held.close()


def test_nothing_of_it_shows_a_secret(held):
    for shown in (repr(held), repr(held.known), str(held.known), f"{held.known}"):
        assert "first" not in shown
        assert "app" not in shown


def test_a_forked_child_does_not_close_what_is_its_parents(held):
    class Client:
        """Stands for a library's."""

    read, write = os.pipe()
    client = Client()
    end = held.lasts(client, lambda: os.write(write, b"closed"))
    child = os.fork()
    if child == 0:
        end()
        os._exit(0)
    os.waitpid(child, 0)
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 10)
    end()
    assert os.read(read, 10) == b"closed"
    os.close(read)
    os.close(write)


def test_a_forked_child_that_could_not_ask_follows_from_its_next_refusal_on(held, shelf):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        follow, shelf.follow = (
            shelf.follow,
            lambda *_: (_ for _ in ()).throw(BackendUnavailableError("no answer", backend="shelf")),
        )
        used = held.known
        was_down = held.trouble is not None
        shelf.follow = follow
        shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
        found = held.refreshed(used)
        os.write(write, f"{was_down} {found.number} {held.trouble} {held._is_followed}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"True 2 None True"
    os.close(read)
    os.close(write)


def test_a_forked_child_follows_by_itself(held, shelf):
    shelf.entry = shelf.of("postgres://app:second@db/orders", "2")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        known = held.known
        os.write(write, f"{known.number} {known.connection.password.reveal()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"2 second"
    assert held.known.number == 1
    os.close(read)
    os.close(write)
