"""The register: the rows of the inventory, kept fresh, counted for whoever may see them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest

from parts.house import ADMIN, ANNA, Notebook, Rules, Site, named
from strongroom.chain import Chain, Link
from strongroom.errors import BackendUnavailableError, InvalidInputError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action
from strongroom.service.entries import Change
from strongroom.service.guard import Guard
from strongroom.service.inventory import Choice, Inventory
from strongroom.service.register import Register
from strongroom.service.registered import SORTS, Asked, Registered, Views
from strongroom.service.trials import SERVER, Trial
from strongroom.testing.fakes import Flaky, Memory

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TEAMS = ("data", "ml")


class Quiet:
    """A feed of a store in which nothing changes."""

    gaps = 0
    last = 0

    def poll(self):
        """Nothing rang."""

    def since(self, _after, _limit):
        return [], False


class Bench:
    """A register of fake backends, a clock and a timer in the hand of a test."""

    def __init__(self, *backends, teams=TEAMS, tests=None, aside=lambda work: work()):
        self.now, self.seconds = START, 0.0
        links = [one if isinstance(one, Link) else Link(backend=one) for one in backends]
        self.chain = Chain(links, clock=self.clock)
        self.guard = Guard(Rules(), Notebook())
        self.register = Register(
            self.chain,
            Quiet(),
            frozenset(),
            teams=lambda: teams,
            clock=self.clock,
            timer=lambda: self.seconds,
            tests=tests,
            aside=aside,
        )
        self.views = Views(self.register, lambda: self.seconds)

    def clock(self):
        return self.now

    def as_(self, actor=ADMIN):
        return Registered(lambda: self.views, self.guard, actor)

    def find(self, text="", *, actor=ADMIN, **chosen):
        return self.as_(actor).find(
            Asked(text=text, chosen={key: tuple(value) for key, value in chosen.items()})
        )

    def inventory(self):
        found = Inventory(self.chain, self.guard, ADMIN, clock=self.clock)
        choice = Choice(with_shadowed=True)
        return [
            row for team in (None, *TEAMS) for page in found.pages(team=team, choice=choice) for row in page
        ]


def variable(name, team=None):
    return Ref("variable", name, team)


def rows(found):
    return [one.line.row for one in found.lines]


def told(found):
    return [(row.ref.name, row.backend, row.shadowed_by) for row in rows(found)]


def key(row):
    return (str(row.ref), row.backend)


def test_its_rows_are_those_of_the_inventory_of_every_team():
    upper = Memory("upper", {variable("a"): "1", variable("b", "data"): "2", variable("x"): "3"})
    lower = Memory(
        "lower", {variable("a"): "1", variable("b"): "2", variable("x", "ml"): "4", variable("c", "ml"): "5"}
    )
    bench = Bench(upper, lower)
    found = bench.find()
    assert sorted(rows(found), key=key) == sorted(bench.inventory(), key=key)
    assert found.total == found.all == 8
    assert ("a", "lower", "upper") in told(found)
    assert ("x", "upper", None) in [
        (row.ref.name, row.backend, None) for row in rows(found) if row.ref.team == "ml"
    ]


def test_closing_waits_for_a_thread_that_is_about_to_begin(monkeypatch):
    bench = Bench(Memory("native", {variable("a"): "1"}), aside=None)
    begins, start = threading.Event(), threading.Thread.start

    def slowly(thread):
        if thread.name == "strongroom-register":
            begins.set()
            time.sleep(0.1)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", slowly)
    warming = threading.Thread(target=bench.register.warm)
    warming.start()
    assert begins.wait(10)
    bench.register.close()
    warming.join()
    assert not [one for one in threading.enumerate() if one.name == "strongroom-register"]


def test_nobody_waits_for_what_was_closed_before_it_began():
    bench = Bench(Memory("native", {variable("a"): "1"}), aside=None)
    bench.register.close()
    bench.register.warm()
    with pytest.raises(BackendUnavailableError):
        bench.register.refresh()


def test_what_changes_in_a_backend_that_tells_nothing_is_seen_some_seconds_later():
    memory = Memory("native", {variable("a"): "1", variable("b"): "2"})
    bench = Bench(memory)
    assert bench.find().total == 2
    memory.put(variable("c"), "3", Metadata(owner="ada", tags=("pci",)))
    memory.delete(variable("a"), author="x")
    assert bench.find().total == 2
    bench.seconds += 16
    found = bench.find()
    assert [row.ref.name for row in rows(found)] == ["b", "c"]
    assert found.counts["owner"] == {"": 1, "ada": 1}
    assert [row.ref.name for row in rows(bench.find("#pc"))] == ["c"]


def test_what_is_warmed_is_read_and_put_in_every_order_before_anybody_asks_and_no_far_backend_is_asked():
    far, near = Flaky("vault", {variable("a"): "1"}), Memory("native", {variable("b"): "2"})
    bench = Bench(Link(backend=far), near)
    far.is_local = False
    far.fail()
    bench.register.warm()
    assert [line.row.ref.name for line in bench.register.lines.lines] == ["b"]
    assert all(bench.register.lines.drafted(order) is None for order in SORTS if order != "read")
    assert bench.register.silences == []
    far.recover()
    assert [row.ref.name for row in rows(bench.find())] == ["a", "b"]
    bench.register.close()
    bench.register.warm()


def test_whoever_has_little_patience_does_not_wait_for_a_first_read_that_takes_long():
    memory = Memory("native", {variable("a"): "1"})
    bench = Bench(memory)
    later = []
    bench.register._aside = later.append
    bench.register.warm()
    bench.register._build.is_told.set()  # as when there are more lines than a few
    found = bench.as_().find(Asked(), patience=60.0)
    assert (found.total, found.unread) == (0, ("native",))
    for work in later:
        work()
    assert bench.register.refresh(0.0)


def test_whether_a_line_may_be_seen_is_decided_once_while_the_same_policy_decides():
    bench = Bench(Memory("native", {variable("a"): "1", variable("b"): "2"}))
    policy = bench.guard.current()
    policy.rule = lambda _actor, _action, ref, _facts: ref is None or ref.name == "a"
    assert bench.find(actor=ANNA).total == 1
    asked = len(policy.asked)
    bench.seconds += 600
    assert bench.find(actor=ANNA).total == 1
    # the room, and the one line that is given out, which is decided anew
    assert len(policy.asked) - asked <= 3


def test_a_backend_that_falls_silent_keeps_its_lines_and_tells_since_when():
    flaky = Flaky("vault", {variable("a"): "1"})
    bench = Bench(flaky, Memory("native", {variable("b"): "2"}))
    assert bench.find().silences == ()
    flaky.fail()
    bench.seconds += 61
    bench.now += timedelta(minutes=1)
    found = bench.find()
    assert [row.ref.name for row in rows(found)] == ["a", "b"]
    (silence,) = found.silences
    assert (silence.backend, silence.since, silence.read_at) == ("vault", bench.now, START)


def test_a_word_is_found_in_names_owners_types_tags_and_descriptions_whatever_its_case():
    memory = Memory("native")
    memory.put(variable("Orders/cutoff"), "1", Metadata(owner="Ada"))
    memory.put(variable("region"), "1", Metadata(description="where ORDERS go", tags=("eu",)))
    memory.put(variable("other"), "1")
    bench = Bench(memory)
    assert [row.ref.name for row in rows(bench.find("orders"))] == ["Orders/cutoff", "region"]
    assert [row.ref.name for row in rows(bench.find("ORDERS ada"))] == ["Orders/cutoff"]
    assert [row.ref.name for row in rows(bench.find("#eu"))] == ["region"]
    assert bench.find("nothing like it").total == 0


def test_a_facet_counts_what_choosing_it_would_give():
    memory = Memory("native")
    for number in range(4):
        memory.put(
            variable(f"v{number}"),
            "1",
            Metadata(owner="ada" if number else None, tags=("pci",) * (number == 3)),
        )
    bench = Bench(memory)
    found = bench.find(owner=["ada"], tag=["pci"])
    assert found.total == 1
    assert found.counts["owner"] == {"ada": 1}
    assert found.counts["tag"] == {"pci": 1}
    assert bench.find(owner=["ada"]).counts["owner"] == {"": 1, "ada": 3}
    assert bench.find(owner=["ada", ""]).total == 4


def test_health_is_the_worst_that_is_known_and_turns_with_time_alone():
    memory = Memory("native")
    memory.put(Ref("connection", "old"), "mysql://h/", Metadata(conn_type="mysql"))
    memory.put(variable("ends"), "1", Metadata(not_after=START + timedelta(days=40)))
    memory.put(Ref("connection", "broken"), "{not json")
    bench = Bench(memory)
    health = lambda: {one.line.row.ref.name: one.line.health for one in bench.find().lines}  # noqa: E731 -- one line
    assert health() == {"old": "healthy", "ends": "healthy", "broken": "unreadable"}
    bench.now += timedelta(days=11)
    assert health()["ends"] == "soon"
    bench.now += timedelta(days=30)
    assert health()["ends"] == "unreadable"
    assert bench.find(health=["unreadable"]).total == 2
    bench.now += timedelta(days=60)
    assert health()["old"] == "never"


def test_names_that_look_alike_clash_with_each_other_until_one_goes():
    memory = Memory("native", {variable("file"): "1", variable("ﬁle"): "2", variable("other"): "3"})
    bench = Bench(memory)
    clashes = {one.line.row.ref.name: one.line.clash for one in bench.find(health=["clash"]).lines}
    assert clashes == {"file": "ﬁle", "ﬁle": "file"}
    memory.delete(variable("file"), author="x")
    bench.seconds += 16
    assert bench.find(health=["clash"]).total == 0


def test_a_test_that_failed_counts_until_the_connection_changes():
    ref = Ref("connection", "orders")
    trials = {ref: (Trial(START, "person:ada", SERVER, False, "1"),)}
    kept = [trials]
    memory = Memory("native", {ref: "mysql://h/"})
    bench = Bench(memory, tests=lambda: kept[0])
    assert bench.find(health=["failed"]).total == 1
    kept[0] = {ref: (Trial(START, "person:ada", SERVER, True, "1"),)}
    assert bench.find(health=["failed"]).total == 0
    kept[0] = trials
    assert bench.find(health=["failed"]).total == 1
    memory.put(ref, "mysql://other/")
    bench.seconds += 16
    assert bench.find(health=["failed"]).total == 0


@pytest.mark.parametrize(
    "asked",
    [
        Asked(text="x" * 201),
        Asked(sort="password"),
        Asked(chosen={"value": ("x",)}),
        Asked(chosen={"health": ("fine",)}),
        Asked(begin=-1),
        Asked(count=501),
    ],
)
def test_what_nobody_can_answer_is_refused(asked):
    with pytest.raises(InvalidInputError):
        Bench(Memory("native")).as_().find(asked)


# --- in a house: a store, and people who may see some ------------------------------------------------


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def write(house, *names, actor=ADMIN, metadata=None, secret="x"):
    room = house.room("prod", actor)
    room.entries.write_many(
        [Change(ref=variable(name), secret=Secret(secret), metadata=metadata or Metadata()) for name in names]
    )


def seen(house, actor, **chosen):
    found = house.room("prod", actor).register.find(
        Asked(chosen={key: tuple(value) for key, value in chosen.items()}), patience=None
    )
    return [row.ref.name for row in rows(found)], found


def test_a_change_of_the_store_is_in_the_very_next_page(site):
    with site.house() as house:
        write(house, "a", "b")
        assert seen(house, ADMIN)[0] == ["a", "b"]
        write(house, "c", metadata=Metadata(owner="ada"))
        assert seen(house, ADMIN)[0] == ["a", "b", "c"]
        house.room("prod", ADMIN).entries.delete(variable("a"))
        names, found = seen(house, ADMIN)
        assert names == ["b", "c"]
        assert found.counts["owner"] == {"": 1, "ada": 1}


def test_lines_that_may_not_be_seen_leave_no_gap_and_count_nowhere(site):
    with site.house() as house:
        write(house, *(f"v{number}" for number in range(6)), metadata=Metadata(owner="ada"))
        site.allow(named("v1", "v4", actions=(Action.LIST,)))
        names, found = seen(house, ANNA)
        assert names == ["v1", "v4"]
        assert (found.total, found.all, found.counts["owner"]) == (2, 2, {"ada": 2})
        site.allow(named("v2", actions=(Action.LIST,)))
        assert seen(house, ANNA)[0] == ["v2"]


def test_a_policy_by_tag_decides_on_what_stands_now(site):
    with site.house() as house:
        write(house, "open", metadata=Metadata(tags=("open",)))
        write(house, "shut", metadata=Metadata(tags=("shut",)))
        site.allow(
            lambda _who, action, ref, facts: (
                action is Action.LIST and (ref is None or (facts is not None and "open" in facts.tags))
            ),
            needs_facts=True,
        )
        assert seen(house, ANNA)[0] == ["open"]
        write(house, "shut", metadata=Metadata(tags=("open",)))
        write(house, "open", metadata=Metadata(tags=("shut",)))
        assert seen(house, ANNA)[0] == ["shut"]


def test_the_name_a_line_clashes_with_is_told_to_who_may_see_that_one(site):
    with site.house() as house:
        write(house, "file")
        write(house, "\ufb01le")
        site.allow(named("file", actions=(Action.LIST,)))
        for actor, told_ in ((ADMIN, "\ufb01le"), (ANNA, None)):
            register = house.room("prod", actor).register
            (found,) = (
                one.line
                for one in register.find(Asked(), patience=None).lines
                if one.line.row.ref.name == "file"
            )
            (line,) = register.lines([found.row.ref])
            assert (found.health, found.clash, line.clash) == ("clash", told_, told_)


def test_who_may_list_nothing_is_refused(site):
    from strongroom.errors import AccessDeniedError  # noqa: PLC0415 -- here alone

    with site.house() as house:
        write(house, "a")
        site.allow(lambda *_: False)
        with pytest.raises(AccessDeniedError):
            seen(house, ANNA)


def test_a_row_that_was_tampered_with_is_shown_as_unreadable_and_believed_nothing(site):
    import sqlite3  # noqa: PLC0415 -- to write past the store

    with site.house() as house:
        write(house, "a", metadata=Metadata(owner="ada"))
        assert seen(house, ADMIN)[1].counts["health"] == {"healthy": 1}
        with sqlite3.connect(site.folder / "store.db") as file:
            file.execute("UPDATE entries SET owner = 'mallory'")
        _, found = seen(house, ADMIN)
        (line,) = found.lines
        assert line.line.health == "unreadable"
        assert line.line.row.metadata.owner is None
        assert seen(house, ADMIN, health=["unreadable"])[0] == ["a"]


def test_a_close_ends_what_runs_behind(site):
    with site.house() as house:
        write(house, "a")
        seen(house, ADMIN)
        views = house.deployment("prod").root._parts._views
    assert not views.register._threads
    with suppress(BackendUnavailableError):
        views.register.clear()
        views.register.refresh()
