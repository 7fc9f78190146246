"""Records found by run and by text, and what a run saw."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from strongroom.audit.log import AuditLog
from strongroom.audit.query import Filter, find, seen_by
from strongroom.audit.record import Event, RefUse
from strongroom.service.sightings import sightings_of

RUN = {"dag_id": "orders", "task_id": "load", "run_id": "manual__1", "assurance": 2}


def read(name="region", **more):
    told = {"actor": "agent:w4", "assurance": 1, "action": "read", "kind": "variable", "outcome": "found"}
    return Event(**{**told, "name": name, **more})


@pytest.fixture
def log(tmp_path):
    with_clock = AuditLog(tmp_path / "audit", deployment="prod", clock=lambda: datetime.now(timezone.utc))
    yield with_clock
    with_clock.close()


def found(log, **wanted):
    return [record for record, _ in find(log.folder, Filter(**wanted)).records]


def test_runs_are_found_by_what_was_said_of_them(log):
    log.append(read("a", run=RUN), read("b", run={**RUN, "task_id": "dump"}), read("c"))
    assert [one.name for one in found(log, dag="orders")] == ["b", "a"]
    assert [one.name for one in found(log, dag="orders", task="dump")] == ["b"]
    assert [one.name for one in found(log, run="manual__1", task="load")] == ["a"]
    assert found(log, run="manual") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("REGION", ["Region"]),
        ("worker-4", ["b"]),
        ("vendor", ["c"]),
        ('ticket "44', ["c"]),
        ("straße", ["d"]),
        ("STRASSE", []),
        ("orders", ["e"]),
        ("no-such-thing", []),
    ],
)
def test_a_text_is_found_wherever_it_stands_in_any_case(log, text, names):
    log.append(
        read("Region"),
        read("b", source="worker-4"),
        read("c", reason='Vendor call, ticket "4471"'),
        read("d", reason="Straße"),
        read("e", run=RUN),
    )
    assert [one.name for one in found(log, text=text)] == names


def test_a_text_is_not_looked_for_in_what_may_not_be_seen(log):
    log.append(read(None, kind=None, refs=(RefUse("variable", "open"), RefUse("variable", "hidden"))))
    sees = lambda record: seen_by(record, lambda ref: ref.name == "open")  # noqa: E731 -- one line
    assert find(log.folder, Filter(text="hidden"), sees=sees).records == ()
    assert len(find(log.folder, Filter(text="open"), sees=sees).records) == 1


def test_what_a_run_saw_is_told_once_with_how_often(log):
    log.append(
        read("region", run=RUN, version="3", backend="native"),
        read("region", run=RUN, version="3", backend="native", count=57),
        read("region", run=RUN, version="4", backend="native"),
        read("secret", run=RUN, outcome="denied"),
        read(None, kind=None, run=RUN, refs=(RefUse("variable", "batch", uses=4),)),
        read("region", action="write", outcome="done", run=RUN),
    )
    rows = sightings_of(found(log, run="manual__1")).rows
    assert {(one.name, one.version, one.outcome): one.uses for one in rows} == {
        ("region", "3", "found"): 58,
        ("region", "4", "found"): 1,
        ("secret", None, "denied"): 1,
        ("batch", None, "found"): 4,
    }
    assert {one.assurance for one in rows} == {2}
    assert [one.first_at for one in rows] == sorted(one.first_at for one in rows)
