"""The feed of changes: what is told, to whom, from where on; and caches that hear of other processes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from dataclasses import replace

import pytest

from parts.house import ADMIN, ANNA, Site, named, variables
from strongroom.assembly import open_room
from strongroom.errors import AccessDeniedError
from strongroom.model.entry import Metadata
from strongroom.model.secret import Secret
from strongroom.service.changes import Beat
from strongroom.service.entries import Change
from strongroom.testing.fakes import Memory

A, B, C = variables("a", "b", "c")


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def house(site):
    with site.house() as house:
        house.start()
        yield house


@pytest.fixture
def quiet(site):
    """Give a house that nobody rings for."""
    with site.house() as house:
        yield house


def put(room, *refs, text="x", **others):
    room.entries.write_many([Change(ref=ref, secret=Secret(text), **others) for ref in refs])


def elsewhere(site, deployment="prod"):
    """Give the room as another process has it."""
    return open_room(site.config, environ=site.environ, cwd=site.folder, deployment=deployment)


def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def names(notices):
    return [notice.ref.name for notice in notices]


# --- asking ----------------------------------------------------------------------------------------------


def test_what_changed_since_is_told_in_order_with_its_version(quiet):
    room = quiet.room(None, ADMIN)
    start = room.changes.now()
    put(room, A, B)
    room.entries.delete(A)
    quiet.deployment().feed.poll()
    notices, cursor = room.changes.after(start)
    assert [(notice.ref.name, notice.version) for notice in notices] == [("a", "1"), ("b", "1"), ("a", None)]
    assert room.changes.after(cursor)[0] == []
    assert names(room.changes.after(notices[0].id)[0]) == names(notices[1:])


def test_pages_go_on_where_the_last_ended(quiet):
    room = quiet.room(None, ADMIN)
    cursor = room.changes.now()
    refs = variables(*"abcdefg")
    put(room, *refs)
    quiet.deployment().feed.poll()
    told = []
    for _ in range(4):
        notices, cursor = room.changes.after(cursor, limit=2)
        told += names(notices)
    assert told == [*"abcdefg"]


def test_what_is_not_kept_in_memory_any_more_comes_from_the_store(site, quiet):
    room = quiet.room(None, ADMIN)
    start = room.changes.now()
    put(room, A, B)
    with site.house() as later:  # begins with what changes from now on
        assert names(later.room(None, ADMIN).changes.after(start)[0]) == ["a", "b"]


def test_RT10_an_actor_is_told_of_what_he_may_list_and_cannot_count_the_rest(site, quiet):
    site.allow(named("b"))
    admin, anna = quiet.room(None, ADMIN), quiet.room(None, ANNA)
    start = anna.changes.now()
    put(admin, A, B, C)
    quiet.deployment().feed.poll()
    notices, cursor = anna.changes.after(start)
    assert names(notices) == ["b"]
    assert all(len(text) == 32 and not text.isdigit() for text in (start, cursor, notices[0].id))
    put(admin, A)
    quiet.deployment().feed.poll()
    assert anna.changes.after(cursor)[0] == []


def test_cursors_of_neighbours_have_nothing_in_common(quiet):
    feed = quiet.deployment().feed
    sealed = [feed.sealed(number) for number in (1, 1, 2, 3)]
    assert len(set(sealed)) == 4  # not even the same number looks the same
    assert [feed.opened(text) for text in sealed] == [1, 1, 2, 3]


@pytest.mark.parametrize("cursor", ["", "0", "x" * 32, "é", "A" * 10_000, "*", "null"])
def test_a_cursor_that_is_none_tells_of_a_gap(quiet, cursor):
    room = quiet.room(None, ADMIN)
    put(room, A)
    quiet.deployment().feed.poll()
    notices, fresh = room.changes.after(cursor)
    assert [(notice.ref, notice.is_gap) for notice in notices] == [(None, True)]
    assert room.changes.after(fresh)[0] == []


def test_a_cursor_of_one_deployment_is_none_in_another(quiet):
    foreign = quiet.room("staging", ADMIN).changes.now()
    assert quiet.room("prod", ADMIN).changes.after(foreign)[0][0].is_gap


def test_changes_of_another_deployment_are_not_told(quiet):
    start = quiet.room("prod", ADMIN).changes.now()
    put(quiet.room("staging", ADMIN), A)
    quiet.deployment("prod").feed.poll()
    assert quiet.room("prod", ADMIN).changes.after(start)[0] == []


def test_whoever_may_list_nothing_hears_nothing(site, quiet):
    site.allow(lambda *_: False)
    with pytest.raises(AccessDeniedError):
        quiet.room(None, ANNA).changes.now()
    with pytest.raises(AccessDeniedError):
        quiet.room(None, ANNA).changes.after("x")


def test_a_deleted_entry_is_told_by_the_tags_it_had(site, quiet):
    admin, anna = quiet.room(None, ADMIN), quiet.room(None, ANNA)
    start = admin.changes.now()
    put(admin, A, metadata=Metadata(tags=("pii",)))
    put(admin, B, metadata=Metadata(tags=("dev",)))
    admin.entries.delete(A)
    admin.entries.delete(B)
    quiet.deployment().feed.poll()
    site.allow(
        lambda _a, _b, ref, facts: ref is None or bool(facts and "dev" in facts.tags), needs_facts=True
    )
    assert names(anna.changes.after(start)[0]) == ["b", "b"]


# --- forgetting ------------------------------------------------------------------------------------------


def test_old_changes_are_forgotten_and_who_missed_them_is_told_of_a_gap(site, quiet):
    room, feed = quiet.room(None, ADMIN), quiet.deployment().feed
    start = room.changes.now()
    put(room, *variables(*[f"v{number:02}" for number in range(25)]))
    feed.poll()
    middle = room.changes.after(start, limit=20)[1]
    feed.prune(10)
    with site.house() as later:
        told = later.room(None, ADMIN).changes
        assert told.after(start)[0][0].is_gap
        assert names(told.after(middle)[0]) == [f"v{number}" for number in range(20, 25)]
        assert told.after(told.after(start)[1])[0] == []


def test_few_changes_are_all_kept(quiet):
    room, feed = quiet.room(None, ADMIN), quiet.deployment().feed
    put(room, *variables(*[f"v{number}" for number in range(20)]))
    feed.prune(10)
    assert len(feed._barrier.changes()) == 20


def test_pruning_one_deployment_leaves_the_others(quiet):
    for deployment in quiet.names:
        put(quiet.room(deployment, ADMIN), *variables(*[f"v{number:02}" for number in range(25)]))
    quiet.deployment("prod").feed.prune(10)
    assert len(quiet.deployment("prod").feed._barrier.changes()) == 10
    assert len(quiet.deployment("staging").feed._barrier.changes()) == 25
    assert quiet.deployment("staging").feed._barrier.pruned_to() == 0


def test_an_old_copy_of_the_store_is_a_gap_and_empties_the_cache(site, quiet):
    room, feed = quiet.room(None, ADMIN), quiet.deployment().feed
    put(room, A, text="old")
    feed.poll()
    source, copy = (sqlite3.connect(site.folder / name) for name in ("store.db", "copy.db"))
    with contextlib.closing(source), contextlib.closing(copy):
        source.backup(copy)
    put(room, A, text="new")
    feed.poll()
    cursor = room.changes.now()
    assert room.lookup.variable("a") == "new"
    (site.folder / "copy.db").chmod(0o600)
    for suffix in ("-wal", "-shm"):
        (site.folder / f"store.db{suffix}").unlink(missing_ok=True)
    (site.folder / "copy.db").replace(site.folder / "store.db")

    def is_old():
        feed.poll()
        return room.lookup.variable("a") == "old"

    until(is_old)
    assert room.changes.after(cursor)[0][0].is_gap


# --- following -------------------------------------------------------------------------------------------


async def gathered(room, count, *, cursor=None, act=lambda: None, is_alive=None):
    """Follow until *count* notices came, and give them; *act* is done once it listens."""
    told = []

    async def follow():
        async for notice in room.changes.follow(cursor, is_alive=is_alive):
            if not isinstance(notice, Beat):
                told.append(notice)
            if len(told) >= count:
                return

    task = asyncio.create_task(follow())
    feed = room._parts._feed
    while not feed.listeners and not task.done():  # noqa: ASYNC110 -- nobody tells that it listens
        await asyncio.sleep(0.005)
    await asyncio.to_thread(act)
    await asyncio.wait_for(task, 10)
    return told


def test_who_follows_is_told_of_each_change_as_it_happens(house):
    room = house.room(None, ADMIN)
    told = asyncio.run(gathered(room, 2, act=lambda: put(room, A, B)))
    assert names(told) == ["a", "b"]


def test_who_follows_hears_of_another_process(site, house):
    room = house.room(None, ADMIN)
    with elsewhere(site) as other:
        told = asyncio.run(gathered(room, 1, act=lambda: put(other, A)))
    assert names(told) == ["a"]


def test_following_goes_on_from_a_cursor(house):
    room = house.room(None, ADMIN)
    start = room.changes.now()
    put(room, A, B)
    first = asyncio.run(gathered(room, 1, cursor=start))
    assert names(asyncio.run(gathered(room, 1, cursor=first[0].id))) == ["b"]


def test_following_ends_when_the_listener_may_listen_no_more(site, house):
    room = house.room(None, ANNA)
    site.allow(named("a"))
    alive = iter([True, False])
    assert asyncio.run(gathered(room, 9, is_alive=lambda: next(alive))) == []
    site.allow(named("a"))
    with pytest.raises(AccessDeniedError):
        asyncio.run(gathered(room, 9, act=lambda: site.allow(lambda *_: False)))


def test_a_listener_that_left_is_forgotten(house):
    room = house.room(None, ADMIN)
    asyncio.run(gathered(room, 1, act=lambda: put(room, A)))
    assert house.deployment().feed.listeners == 0
    assert not house.deployment().feed._listeners


def test_many_listeners_stand_behind_one_watcher(site, house):
    site.allow(named("b"))
    readers = [house.room(None, replace(ANNA, source=str(number))) for number in range(50)]

    async def all_of_them():
        tasks = [asyncio.create_task(gathered(room, 1)) for room in readers]
        while house.deployment().feed.listeners < len(readers):  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.005)
        await asyncio.to_thread(put, house.room(None, ADMIN), A, B)
        return await asyncio.gather(*tasks)

    assert all(names(told) == ["b"] for told in asyncio.run(all_of_them()))


# --- caches ----------------------------------------------------------------------------------------------


def test_another_process_changes_what_this_one_remembers(site, house):
    room = house.room(None, ADMIN)
    put(room, A, text="old")
    assert room.lookup.variable("a") == "old"
    assert room.lookup.find(B) is None
    with elsewhere(site) as other:
        put(other, A, B, text="new")
    until(lambda: room.lookup.variable("a") == "new" and room.lookup.find(B) is not None, 1.0)


def test_a_global_change_drops_what_it_answered_for_a_team(site, house):
    room = house.room(None, ADMIN)
    put(room, A, text="old")
    assert room.lookup.variable("a", "data") == "old"
    with elsewhere(site) as other:
        put(other, A, text="new")
    until(lambda: room.lookup.variable("a", "data") == "new", 1.0)


def test_a_change_in_a_backend_without_history_is_told_to_others(site):
    with site.house() as here, site.house() as there:
        start = there.room(None, ADMIN).changes.now()
        here.room(None, ADMIN)._parts._tell_of_change(Memory("vault"), [A])
        there.deployment().feed.poll()
        told, _ = there.room(None, ADMIN).changes.after(start)
        assert [(notice.ref, notice.version) for notice in told] == [(A, None)]


def test_a_store_that_gives_no_answer_is_asked_again(site, quiet):
    room, feed = quiet.room(None, ADMIN), quiet.deployment().feed
    start = room.changes.now()
    with elsewhere(site) as other:
        put(other, A)
    path = site.folder / "store.db"
    path.rename(site.folder / "away.db")
    with contextlib.suppress(Exception):
        feed.poll()
    shutil.move(site.folder / "away.db", path)

    def is_told():
        with contextlib.suppress(Exception):
            feed.poll()
            return names(room.changes.after(start)[0]) == ["a"]
        return False

    until(is_told)


def test_cursor_of_before_keys_were_replaced_is_still_good(quiet):
    feed = quiet.deployment().feed
    rotation = feed._barrier.rotation
    cursor = feed.sealed(7)
    for number in (2, 3):
        rotation.rotate([""], author="alice")
        feed.poll()
        assert feed.opened(feed.sealed(number)) == number
        assert feed.opened(cursor) == (7 if number == 2 else None)
