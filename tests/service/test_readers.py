"""Who used an entry, told from its records."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit_parts import Clock, event, open_log
from strongroom.audit import RefUse
from strongroom.errors import AccessDeniedError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Decision
from strongroom.service.audit import AuditTrail
from strongroom.service.guard import Guard

DB = Ref("connection", "db")


class Openly:
    """A policy by which everybody but strangers may look at everything."""

    needs_facts = False

    def decide(self, actor, action, ref, facts=None):
        return Decision(is_allowed=actor.id != "stranger", reason="by name", policies=())

    def covers(self, actor, action):
        return action in (Action.DESCRIBE, Action.ADMINISTER)


@pytest.fixture
def log(tmp_path):
    clock = Clock()
    found = open_log(tmp_path / "audit", clock)

    def tell(actor="service:etl", outcome="found", action="read", name="db", **more):
        clock.now += timedelta(minutes=1)
        found.append(event(name, kind="connection", actor=actor, action=action, outcome=outcome, **more))

    found.tell = tell
    yield found
    found.close()


def readers(log, ref=DB, who="boss", **more):
    return AuditTrail(log, Guard(Openly(), log), Actor(who)).readers(ref, **more)


def run(dag, task="load", assurance=2):
    return {"dag_id": dag, "task_id": task, "assurance": assurance}


def test_one_task_is_told_once_with_all_its_uses_and_its_newest_record(log):
    log.tell(run=run("orders"), version="1")
    log.tell(run=run("orders"), version="2", count=41)
    log.tell(run=run("daily"), version="2")
    found = readers(log).readers
    assert [(one.dag_id, one.task_id, one.uses, one.version) for one in found] == [
        ("daily", "load", 1, "2"),
        ("orders", "load", 42, "2"),
    ]
    assert found[0].last_at > found[1].last_at
    assert found[0].assurance == 2


def test_a_use_in_a_batch_counts_for_its_own_entry_alone(log):
    refs = (RefUse("connection", "db", None, "found", "3", "vault", 7), RefUse("connection", "other"))
    log.tell(name=None, refs=refs)
    (one,) = readers(log).readers
    assert (one.actor, one.uses, one.version) == ("service:etl", 7, "3")


def test_who_was_refused_uses_nothing_and_is_told_apart(log):
    log.tell("service:adhoc", "denied")
    log.tell()
    found = readers(log)
    assert [one.actor for one in found.readers] == ["service:etl"]
    assert [one.actor for one in found.refused] == ["service:adhoc"]


def test_a_person_who_saw_the_value_is_told_with_his_reason(log):
    log.tell("person:ada", action="reveal", reason="checking the port")
    log.tell("person:ada", action="write", outcome="done", reason="not a use")
    (one,) = readers(log).readers
    assert (one.action, one.reason) == ("reveal", "checking the port")


def test_absent_and_begun_are_no_uses(log):
    log.tell(outcome="absent")
    log.tell(outcome="begun")
    assert readers(log)[:2] == ((), ())


def test_who_used_a_global_name_for_a_team_is_told_with_it(log):
    log.tell(team="ml")
    log.tell()
    assert {one.team for one in readers(log).readers} == {None, "ml"}
    assert [one.team for one in readers(log, Ref("connection", "db", "ml")).readers] == ["ml"]


def test_a_look_is_bounded_and_says_where_to_go_on(log):
    log.tell("service:old")
    for _ in range(20):
        log.tell(name="another")
    log.tell("service:new")
    found = readers(log, most=10)
    assert [one.actor for one in found.readers] == ["service:new"]
    back = readers(log, start=found.next, most=100)
    assert ([one.actor for one in back.readers], back.next) == (["service:old"], None)


def test_who_may_not_look_is_told_nothing(log):
    log.tell()
    with pytest.raises(AccessDeniedError):
        readers(log, who="stranger")
