"""A chain as the server keeps it: its order, what is said of backends, and drills; in every server of it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from functools import partial

import pytest

from parts.house import ADMIN, ANNA, Site, named
from strongroom.assembly import open_room
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action
from strongroom.service.backends import Said
from strongroom.service.entries import Change

SETTINGS = """
deployment = "prod"
chain = ["first", "second", "native"]
managed = "server"

[store]
path = "{folder}/store.db"
[audit]
path = "{folder}/prod/audit"
[cache]
ttl = 300
stale_if_error = 900
[backend.first]
kind = "file"
variables = "{folder}/first.json"
[backend.second]
kind = "file"
variables = "{folder}/second.json"

[deployments.staging]
chain = ["native", "env"]
[deployments.staging.store]
path = "{folder}/store.db"
wrappers = [{{ kind = "file", path = "{folder}/staging.key" }}]
[deployments.staging.audit]
path = "{folder}/staging/audit"
"""
REGION = Ref("variable", "region")


@pytest.fixture
def site(tmp_path):
    (tmp_path / "first.json").write_text('{"region": "from-first"}')
    (tmp_path / "second.json").write_text('{"region": "from-second"}')
    return Site(tmp_path, SETTINGS)


@pytest.fixture
def house(site):
    with site.house() as found:
        yield found


def _region(house):
    return house.room("prod", ADMIN).lookup.variable("region")


def _soon(claim, seconds=5.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if claim():
            return True
        time.sleep(0.01)
    return False


def test_an_order_counts_for_the_next_read_though_the_value_was_remembered(house):
    backends = house.room("prod", ADMIN).backends
    assert _region(house) == "from-first"
    order = backends.arrange(["second", "native", "first"], reason="first is moving")
    assert _region(house) == "from-second"
    assert [row.name for row in backends.list()] == ["second", "native", "first"]
    assert order.is_managed
    assert order.changed_by == ADMIN.id


def test_another_server_of_the_deployment_heeds_an_order_within_a_second(site, house):
    with site.house() as other:
        other.start()
        assert _region(other) == "from-first"
        house.room("prod", ADMIN).backends.arrange(["second", "first", "native"])
        begun = time.monotonic()
        assert _soon(lambda: _region(other) == "from-second")
        assert time.monotonic() - begun < 5  # at most a second on a quiet machine


def test_an_order_stands_after_a_restart_and_in_a_process_without_a_server(site):
    with site.house() as house:
        house.room("prod", ADMIN).backends.arrange(["second", "first", "native"])
    with site.house() as house:
        assert _region(house) == "from-second"
    with open_room(site.config, environ=site.environ, cwd=site.folder) as room:
        assert room.lookup.variable("region") == "from-second"


def test_an_order_and_a_drill_are_recorded_before_and_after(site, house):
    backends = house.room("prod", ADMIN).backends
    backends.arrange(["second", "first", "native"], reason="first is moving")
    backends.pause("first", timedelta(minutes=1), reason="fire drill")
    told = [(event.outcome, event.reason) for event in site.notebooks["prod"].events]
    assert [outcome for outcome, _ in told] == ["begun", "done", "begun", "done"]
    assert told[0][1] == "order of the chain: second, first, native: first is moving"
    assert told[2][1].startswith("pause backend first until ")
    assert told[2][1].endswith(": fire drill")


@pytest.mark.parametrize(
    "names",
    [[], ["first"], ["first", "second", "native", "native"], ["first", "second", "vault"], ["a"] * 3],
)
def test_an_order_that_is_none_of_the_settings_backends_is_refused(house, names):
    with pytest.raises(InvalidInputError) as refused:
        house.room("prod", ADMIN).backends.arrange(names)
    assert refused.value.hint == "its backends: first, second, native"


def test_a_chain_that_the_file_manages_is_read_only_here(site, house):
    backends = house.room("staging", ADMIN).backends
    assert not backends.order().is_managed
    with pytest.raises(ReadOnlyError) as refused:
        backends.arrange(["env", "native"])
    assert "managed" in refused.value.hint
    with pytest.raises(ReadOnlyError):
        backends.adjust("env", Said(on_unavailable="next"))


def test_an_order_over_one_that_changed_meanwhile_is_refused(house):
    backends = house.room("prod", ADMIN).backends
    seen = backends.order().version
    backends.arrange(["second", "first", "native"], expected=seen)
    with pytest.raises(ConflictError):
        backends.arrange(["native", "first", "second"], expected=seen)
    with pytest.raises(ConflictError):
        backends.arrange(["native", "first", "second"], expected="no version")
    assert [row.name for row in backends.list()] == ["second", "first", "native"]


def test_who_does_not_administer_changes_nothing_and_is_told_nothing_of_the_chain(site, house):
    site.allow(named())
    backends = house.room("prod", ANNA).backends
    for act in (
        lambda: backends.arrange(["second", "first", "native"]),
        lambda: backends.adjust("nowhere", Said()),
        lambda: backends.pause("nowhere", timedelta(minutes=1), reason="drill"),
        lambda: backends.resume("nowhere"),
    ):
        with pytest.raises(AccessDeniedError):
            act()
    assert [event.outcome for event in site.notebooks["prod"].events] == ["denied"] * 4


def test_what_is_said_of_a_backend_counts_in_place_of_its_settings(house):
    backends = house.room("prod", ADMIN).backends
    backends.adjust("first", Said(match=("other_*",), timeout_seconds=1.5), reason="only for others")
    assert _region(house) == "from-second"
    row = backends.list()[0]
    assert (row.match, row.timeout_seconds, row.is_adjusted) == (("other_*",), 1.5, True)
    assert backends.order().said["first"].match == ("other_*",)
    backends.adjust("first", Said())
    assert _region(house) == "from-first"
    assert not backends.list()[0].is_adjusted


@pytest.mark.parametrize(
    "said",
    [
        Said(match=("",)),
        Said(match=("a\n",)),
        Said(match=("a" * 251,)),
        Said(match=("a",) * 101),
        Said(kinds=("password",)),
        Said(on_unavailable="never"),
        Said(timeout_seconds=0.0),
        Said(timeout_seconds=float("nan")),
        Said(timeout_seconds=1e9),
    ],
)
def test_what_no_settings_could_say_is_refused(house, said):
    with pytest.raises(InvalidInputError):
        house.room("prod", ADMIN).backends.adjust("first", said)


def test_a_backend_that_the_rows_do_not_know_stands_last(site):
    with site.house() as house:
        house.room("prod", ADMIN).backends.arrange(["native", "second", "first"])
    site.config.write_text(
        site.config.read_text().replace('["first", "second", "native"]', '["env", "first", "native"]')
    )
    with site.house() as house:
        names = [row.name for row in house.room("prod", ADMIN).backends.list()]
    assert names == ["native", "first", "env"]


def test_a_list_is_of_the_new_order(house):
    room = house.room("prod", ADMIN)
    assert [row.backend for row in room.inventory.page("variable")] == ["first"]
    room.backends.arrange(["second", "first", "native"])
    assert [row.backend for row in room.inventory.page("variable")] == ["second"]


def test_whoever_follows_the_deployment_is_told_to_read_everything_again(house):
    async def heard():
        following = house.room("prod", ADMIN).changes.follow()
        async for notice in following:
            if getattr(notice, "is_gap", False):
                await following.aclose()
                return True
            # The first beat: it listens now.
            work = partial(house.room("prod", ADMIN).backends.arrange, ["second", "native", "first"])
            await asyncio.to_thread(work)
        return False

    assert asyncio.run(asyncio.wait_for(heard(), 10))


# --- drills ----------------------------------------------------------------------------------------


def test_a_paused_backend_is_unavailable_and_the_last_good_value_stands_in(house):
    room = house.room("prod", ADMIN)
    assert not room.lookup.entry(REGION).is_stale
    room.backends.pause("first", timedelta(minutes=1), reason="fire drill")
    entry = room.lookup.entry(REGION)
    assert entry.is_stale
    assert entry.secret.reveal() == "from-first"
    with pytest.raises(BackendUnavailableError, match="paused for a drill"):
        room.lookup.variable("never_read")


def test_it_holds_in_every_server_and_ends_early_in_all(site, house):
    with site.house() as other:
        house.start()
        other.start()
        house.room("prod", ADMIN).backends.pause("first", timedelta(minutes=1), reason="fire drill")
        assert _soon(lambda: _is_down(other))
        other.room("prod", ADMIN).backends.resume("first")
        assert _soon(lambda: not _is_down(house))


def _is_down(house):
    try:
        return house.room("prod", ADMIN).lookup.anew(REGION).is_stale
    except BackendUnavailableError:
        return True


def test_a_drill_is_shown_to_whoever_may_list(site, house):
    house.room("prod", ADMIN).backends.pause("second", timedelta(minutes=1), reason="fire drill")
    site.allow(named())
    (pause,) = house.room("prod", ANNA).backends.pauses()
    assert (pause.backend, pause.by, pause.reason) == ("second", ADMIN.id, "fire drill")
    assert house.room("prod", ANNA).backends.list()[1].pause == pause


def test_a_write_to_a_paused_backend_waits(house):
    room = house.room("prod", ADMIN)
    room.backends.pause("native", timedelta(minutes=1), reason="fire drill")
    with pytest.raises(BackendUnavailableError):
        room.entries.write(Change(ref=Ref("variable", "fresh"), secret=Secret("x")), to="native", force=True)


@pytest.mark.parametrize(
    ("name", "lasts", "reason", "error"),
    [
        ("vault", timedelta(minutes=1), "drill", NotFoundError),
        ("first", timedelta(seconds=1), "drill", InvalidInputError),
        ("first", timedelta(hours=2), "drill", InvalidInputError),
        ("first", timedelta(minutes=1), "  ", InvalidInputError),
        ("first", timedelta(minutes=1), "a\nb", InvalidInputError),
        ("first", timedelta(minutes=1), "a" * 501, InvalidInputError),
    ],
)
def test_a_drill_without_bound_reason_or_backend_is_refused(house, name, lasts, reason, error):
    with pytest.raises(error):
        house.room("prod", ADMIN).backends.pause(name, lasts, reason=reason)


def test_ending_what_is_not_paused_says_so(house):
    with pytest.raises(NotFoundError):
        house.room("prod", ADMIN).backends.resume("first")


def test_a_drill_cannot_begin_in_read_only_mode_and_can_end(house):
    backends = house.room("prod", ADMIN).backends
    backends.pause("first", timedelta(minutes=1), reason="fire drill")
    house.set_mode(ADMIN, read_only=True)
    with pytest.raises(ReadOnlyError):
        backends.pause("second", timedelta(minutes=1), reason="fire drill")
    backends.resume("first")
    assert backends.pauses() == []


def test_figures_count_what_each_backend_was_asked(house):
    room = house.room("prod", ADMIN)
    room.lookup.variable("region")
    figures = room.backends.figures()
    assert figures["first"].outcomes == {"found": 1}
    assert figures["first"].median_ms is not None
    assert figures["second"].asked == 0
    assert [minute.asked for minute in figures["first"].minutes][-1] + figures["first"].minutes[-2].asked == 1


def test_figures_are_for_whoever_may_list(site, house):
    site.allow(lambda *_question: False)
    with pytest.raises(AccessDeniedError):
        house.room("prod", ANNA).backends.figures()
    assert site.notebooks["prod"].events[-1].action == Action.LIST.value
