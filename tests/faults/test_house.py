"""
Store, key or record failing under a house that many actors read and write: the right error, nothing
acknowledged and lost, and everything goes on without a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from parts.house import ADMIN, ANNA, Notebook, Site, Windows, variables
from strongroom.audit import AuditLog, Event
from strongroom.errors import (
    BackendUnavailableError,
    NotRecordedError,
    SealedError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance
from strongroom.service.entries import Change

A, B = variables("a", "b")
ACTORS = [Actor(f"person:p{number}", Assurance.HOST_USER) for number in range(4)]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.allow(lambda *_: True)
    return site


def put(room, ref=A, text="x"):
    return room.entries.write(Change(ref=ref, secret=Secret(text)))


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def works(act):
    with contextlib.suppress(StrongroomError):
        act()
        return True
    return False


class Load:
    """Writers and readers that go on whatever happens; what was acknowledged, and what was raised."""

    def __init__(self, house) -> None:
        self.house = house
        self.acknowledged: list[str] = []
        self.errors: list[BaseException] = []
        self.ended = threading.Event()
        self._pool = ThreadPoolExecutor(len(ACTORS) + 2)

    def __enter__(self):
        for index, actor in enumerate(ACTORS):
            self._pool.submit(self._go_on, lambda index=index, actor=actor: self._write(index, actor))
        for actor in ACTORS[:2]:
            self._pool.submit(self._go_on, lambda actor=actor: self._read(actor))
        return self

    def __exit__(self, *_):
        self.ended.set()
        self._pool.shutdown()

    def _go_on(self, act):
        count = 0
        while not self.ended.is_set():
            count += 1
            try:
                act()
            except Exception as error:  # noqa: BLE001 -- every one is looked at
                self.errors.append(error)

    def _write(self, index, actor):
        name = f"w{index}-{len(self.acknowledged)}-{time.monotonic_ns()}"
        put(self.house.room(None, actor), Ref("variable", name), name)
        self.acknowledged.append(name)

    def _read(self, actor):
        reader = self.house.deployment().reading.reader(actor)
        asyncio.run(reader.aread_many([A, B]))

    def progresses(self):
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > before + 3)

    def raises(self, kinds):
        until(lambda: self.errors)
        assert {type(error) for error in self.errors} <= set(kinds)
        self.errors.clear()

    def nothing_was_lost(self):
        room = self.house.room(None, ADMIN)
        assert [name for name in self.acknowledged if room.lookup.variable(name) != name] == []


def test_a_store_that_is_locked_refuses_writes_and_goes_on(site):
    with site.house() as house, Load(house) as load:
        load.progresses()
        holder = sqlite3.connect(site.folder / "store.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        load.raises([BackendUnavailableError])
        holder.execute("ROLLBACK")
        holder.close()
        load.progresses()
        load.ended.set()
        load.nothing_was_lost()


def test_a_store_that_is_taken_away_refuses_and_comes_back(site):
    with site.house() as house, Load(house) as load:
        load.progresses()
        (site.folder / "store.db").rename(site.folder / "away.db")
        load.raises([BackendUnavailableError])
        (site.folder / "away.db").rename(site.folder / "store.db")
        until(lambda: works(lambda: put(house.room(None, ADMIN))))
        load.progresses()
        load.ended.set()
        # What was written while the file was away was not acknowledged; what was acknowledged is there.
        load.nothing_was_lost()


def test_a_record_that_cannot_be_written_stops_answers_and_changes_until_it_can(site):
    full = []

    class Failing(Notebook):
        def append(self, *events):
            if full:
                raise NotRecordedError("the disk is full", folder="/audit")
            super().append(*events)

    notebook = Failing()
    with site.house(recorder=lambda _settings: notebook) as house, Load(house) as load:
        load.progresses()
        full.append(1)
        load.errors.clear()
        load.raises([NotRecordedError])
        room = house.room(None, ADMIN)
        with pytest.raises(NotRecordedError):
            put(room)
        with pytest.raises(NotRecordedError):
            room.lookup.entry(Ref("variable", load.acknowledged[0]))
        full.clear()
        load.progresses()
        load.ended.set()
        load.nothing_was_lost()
    done = {event.name for event in notebook.events if (event.action, event.outcome) == ("write", "done")}
    assert set(load.acknowledged) <= done  # nothing acknowledged without a record


def test_the_audit_log_of_a_house_fails_and_recovers(site):
    log = site.folder / "prod" / "audit"
    with site.house(recorder=None) as house:
        room = house.room(None, ADMIN)
        put(room)
        log.rename(site.folder / "gone")
        log.write_text("in the way")
        with pytest.raises(NotRecordedError):
            put(room, B)
        with pytest.raises(NotRecordedError):
            room.lookup.variable("a")
        log.unlink()
        (site.folder / "gone").rename(log)
        put(room, B)
        assert room.lookup.variable("a") == "x"
    verdict = AuditLog(log, deployment="prod", clock=house.deployment().chain._clock).verify()
    assert verdict.is_ok


def test_counts_that_cannot_be_recorded_are_owed_until_they_can(site):
    windows = Windows()
    site.notebooks["prod"] = notebook = Notebook()
    with site.house(uses=lambda _settings: windows) as house:
        put(house.room(None, ADMIN))
        for _ in range(3):
            assert house.room(None, ANNA).lookup.variable("a") == "x"
        count = Event(actor=ANNA.id, assurance=1, action="read", outcome="found", name="a", count=2)
        windows.ended.append(count)
        notebook.is_full = True
        assert house.room(None, ANNA).lookup.variable("a") == "x"  # its use is on record
        with pytest.raises(NotRecordedError):
            house.deployment().reading.close_windows()
        windows.ended.append(count)
        notebook.is_full = False
    assert notebook.events[-2:] == [count, count]


def test_a_key_that_is_not_to_be_had_refuses_that_team_alone(site):
    with site.house() as house:
        put(house.room(None, ADMIN))
        put(house.room(None, ADMIN), Ref("variable", "a", "data"))
    key = next(site.folder.glob("key"))
    text = key.read_bytes()
    with site.house() as house:
        key.unlink()
        room = house.room(None, ADMIN)
        assert room.lookup.variable("a") == "x"  # unwrapped when it was opened
        with pytest.raises(SealedError):
            room.lookup.variable("a", "data")
        answers = asyncio.run(room.reader.aread_many([A, Ref("variable", "a", "data")]))
        assert [answer.outcome for answer in answers] == ["found", "unavailable"]
        key.write_bytes(text)
        key.chmod(0o600)
        assert room.lookup.variable("a", "data") == "x"


def test_a_row_that_was_tampered_with_fails_alone(site):
    with site.house() as house:
        put(house.room(None, ADMIN), A, "first")
        put(house.room(None, ADMIN), B, "second")
    with contextlib.closing(sqlite3.connect(site.folder / "store.db")) as raw:
        raw.execute("UPDATE entries SET owner = 'mallory' WHERE name = 'a'")
        raw.commit()
    with site.house() as house:
        answers = asyncio.run(house.room(None, ADMIN).reader.aread_many([A, B]))
        assert isinstance(answers[0].error, TamperedError)
        assert answers[1].entry.secret.reveal() == "second"
    assert ("read", "a", "invalid") in site.notebooks["prod"].acts()


def test_a_watcher_outlives_the_trouble_of_its_store(site):
    with site.house() as house:
        house.start()
        room = house.room(None, ADMIN)
        put(room, A, "old")
        assert room.lookup.variable("a") == "old"
        (site.folder / "store.db").rename(site.folder / "away.db")
        until(lambda: not works(lambda: put(room, B)))
        (site.folder / "away.db").rename(site.folder / "store.db")
        with site.house() as other:
            until(lambda: works(lambda: put(other.room(None, ADMIN), A, "new")))
        until(lambda: works(lambda: None) and room.lookup.variable("a") == "new")
