"""What rings when somebody writes: a number that differs, in every database, and a PostgreSQL's own bell."""

import os
import threading
import time

import pytest

from parts.homes import KINDS, home
from strongroom.store.rows import ChangeRow
from strongroom.store.store import Store


def write(store, *, fails=False):
    with store.write() as transaction:
        transaction.add_changes("prod", [ChangeRow(0, "", "variable", "a", 1)])
        if fails:
            raise KeyError


@pytest.mark.parametrize("kind", KINDS)
def test_number_differs_after_each_commit_of_anybody_and_stays_without(kind, tmp_path):
    place = home(kind, tmp_path)
    mine, theirs = Store.open(place, create=True), Store.open(place)
    before = mine.data_version()
    assert mine.data_version() == before
    write(theirs)
    after = mine.data_version()
    assert after != before
    assert mine.data_version() == after
    with pytest.raises(KeyError):
        write(theirs, fails=True)
    assert mine.data_version() == after
    mine.close()
    theirs.close()


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_database_that_rings_nothing_has_no_bell(kind, tmp_path):
    store = Store.open(home(kind, tmp_path), create=True)
    assert store.engine.bell() is None
    store.close()


@pytest.fixture
def place(tmp_path):
    place = home("postgresql", tmp_path)
    Store.open(place, create=True).close()
    return place


def test_bell_rings_for_who_waits_and_for_what_was_rung_before(place):
    store, writer = Store.open(place), Store.open(place)
    bell = store.engine.bell()
    assert not bell.wait(0)
    write(writer)
    assert bell.wait(10)
    heard = threading.Event()
    waiting = threading.Thread(target=lambda: bell.wait(10) and heard.set())
    waiting.start()
    write(writer)
    assert heard.wait(10)
    waiting.join()
    bell.close()
    bell.end()
    store.close()
    writer.close()


def test_bell_that_is_closed_keeps_nobody_waiting(place):
    store = Store.open(place)
    bell = store.engine.bell()
    waiting = threading.Thread(target=bell.wait, args=(60,))
    waiting.start()
    bell.close()
    waiting.join(10)
    assert not waiting.is_alive()
    started = time.monotonic()
    assert not bell.wait(60)
    assert time.monotonic() - started < 30
    bell.end()
    store.close()


def test_bell_that_ended_closes_no_descriptor_of_somebody_else(place):
    store = Store.open(place)
    bell = store.engine.bell()
    bell.end()
    others = os.pipe()  # takes the numbers that have become free
    bell.close()
    bell.end()
    for descriptor in others:
        os.close(descriptor)
    store.close()
