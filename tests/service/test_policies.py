"""Policies kept, changed, asked about: over a real registry, a real guard and a record in memory."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest

from native_room import copy_store, make_barrier
from parts.house import Notebook
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    TamperedError,
)
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Facts, OwnerPolicy, Run, Scope
from strongroom.policy.cedar import NEEDS_APPROVAL
from strongroom.policy.grant import Right
from strongroom.registry import Registry
from strongroom.service.access import shape as rows
from strongroom.service.guard import Guard
from strongroom.service.inventory import Row
from strongroom.service.policies import Approval, Document, Draft, Policies, Sources
from strongroom.service.policies.actors import actor_of

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
LOCAL = Actor("local:0", Assurance.HOST_USER)
READ = (Action.READ,)
HOUR = timedelta(hours=1)


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self):
        return self.now


@dataclass
class Shelf:
    """What there is: names with what is public about them."""

    entries: dict[Ref, Metadata] = field(default_factory=dict)
    versions: dict[Ref, str] = field(default_factory=dict)

    def __call__(self, _actor):
        return self

    def pages(self, *, team=None):
        found = sorted(ref for ref in self.entries if ref.team == team)
        yield [Row(ref=ref, backend="native", metadata=self.entries[ref]) for ref in found]

    def teams(self):
        return sorted({ref.team for ref in self.entries if ref.team})

    def facts(self, ref):
        metadata = self.entries.get(ref)
        return None if metadata is None else Facts(metadata.tags, metadata.conn_type, metadata.owner)

    def add(self, ref, *tags):
        self.entries[ref] = Metadata(tags=tags)
        self.versions[ref] = "1"


class World:
    """One deployment: its rows, clock, record, and everybody's policies."""

    def __init__(self, registry):
        self.registry = registry
        self.clock = Clock()
        self.notebook = Notebook()
        self.shelf = Shelf()
        self.is_read_only = False
        self.guard = Guard(
            OwnerPolicy(LOCAL),
            self.notebook,
            current=lambda: self.all.current(),  # noqa: PLW0108 -- it is made below
            facts=self.shelf.facts,
            is_read_only=lambda: self.is_read_only,
        )
        sources = Sources(self.shelf, self.shelf.teams, self.shelf.facts, self.shelf.versions.get)
        self.all = Policies(registry, self.guard, LOCAL, clock=self.clock, sources=sources)
        for name, role in (("anna", "admin"), ("bert", "admin"), ("olga", "op"), ("vera", "viewer")):
            self.person(name, role)

    def person(self, name, role=None, team=None):
        body = rows.Person(created_at=NOW, created_by="local:0")
        self.registry.put(rows.PERSON, name, rows.encoded(body))
        if role:
            self.role(role, f"person:{name}", team)
        return self.known(name)

    def service(self, name, role=None, scope=None):
        token = rows.Token(digest=b"x", name=name, created_at=NOW, created_by="local:0", scope=scope)
        self.registry.put(rows.TOKEN, f"t-{name}", rows.encoded(token))
        self.registry.put(rows.SERVICE, name, rows.encoded(rows.Service(token=f"t-{name}")))
        if role:
            self.role(role, f"service:{name}")
        return actor_of(f"service:{name}", self.registry.snapshot())

    def role(self, role, actor, team=None):
        body = rows.Membership(role=role, actor=actor, created_at=NOW, created_by="local:0", team=team)
        self.registry.put(rows.ROLE, rows.membership_id(role, team, actor), rows.encoded(body))

    def as_(self, name):
        return self.all if name is None else self.all.as_actor(self.known(name))

    def known(self, name):
        return actor_of(f"person:{name}", self.registry.snapshot())

    def decide(self, name, action, ref, facts=None):
        return self.all.current().decide(self.known(name), action, ref, facts)

    def may(self, name, action, ref, facts=None):
        return self.decide(name, action, ref, facts).is_allowed

    def acts(self, name):
        return [
            (event.action, event.outcome, event.reason)
            for event in self.notebook.events
            if event.actor == name
        ]


@pytest.fixture
def world(tmp_path):
    barrier = make_barrier(copy_store(tmp_path / "room"), deployment="prod")
    registry = Registry(barrier.store, barrier, deployment="prod")
    yield World(registry)
    registry.close()
    barrier.close()


def permit(role="data", head="action, resource is Entry", rest=""):
    return f'permit (principal in Role::"{role}", {head}){rest};'


ORDERS = Ref("connection", "orders_db")
PAY = Ref("variable", "pay/db")


# --- documents -----------------------------------------------------------------------------------------


def test_policies_that_come_with_the_product_are_in_force_from_the_start(world):
    found = world.as_("anna").list()
    assert [one.id for one in found] == ["admin", "local-owner", "op", "reader", "user", "viewer"]
    assert all(one.is_shipped and one.is_enabled and one.version == "0" and one.description for one in found)
    assert world.decide("olga", Action.WRITE, ORDERS).policies == ("op",)


def test_policy_that_is_written_counts_from_the_next_decision(world):
    world.person("dora", "data")
    assert not world.may("dora", Action.READ, PAY)
    before = world.all.revision
    written = world.as_("anna").put(
        Draft(permit(), "data-team", "what the data team reads", comment="ticket 7")
    )
    assert isinstance(written, Document)
    assert (written.id, written.changed_by, written.changed_at) == ("data-team", "person:anna", NOW)
    assert world.all.revision != before
    assert world.decide("dora", Action.READ, PAY).policies == ("data-team",)
    assert world.as_("anna").show("data-team").text == permit()
    assert world.acts("person:anna")[-2:] == [
        ("administer", "begun", "policy.put: policy data-team: ticket 7"),
        ("administer", "done", "policy.put: policy data-team: ticket 7"),
    ]


def test_policy_in_force_is_the_same_object_until_something_changes(world):
    current = world.all.current()
    assert world.all.current() is current
    world.registry.put("session", "x", b"{}")
    assert world.all.current() is current
    world.as_("anna").put(Draft(permit(), "data-team"))
    assert world.all.current() is not current


def test_change_by_another_process_counts(world, tmp_path):
    world.person("dora", "data")
    assert not world.may("dora", Action.READ, PAY)
    barrier = make_barrier(tmp_path / "room" / "store.db", deployment="prod")
    other = Registry(barrier.store, barrier, deployment="prod")
    guard = Guard(OwnerPolicy(LOCAL), Notebook())
    Policies(other, guard, LOCAL, clock=world.clock).put(Draft(permit(), "data-team"))
    other.close()
    barrier.close()
    world.registry.look()
    assert world.may("dora", Action.READ, PAY)


def test_deleted_policy_counts_no_more(world):
    world.person("dora", "data")
    admin = world.as_("anna")
    admin.put(Draft(permit(), "data-team"))
    assert admin.delete("data-team").id == "data-team"
    assert not world.may("dora", Action.READ, PAY)
    with pytest.raises(NotFoundError):
        admin.delete("data-team")


def test_policy_is_switched_off_and_on(world):
    admin = world.as_("anna")
    for id_ in ("op", "mine"):
        if id_ == "mine":
            admin.put(Draft(permit(), "mine"))
        assert admin.set_enabled(id_, is_enabled=False).is_enabled is False
        assert admin.set_enabled(id_, is_enabled=True).is_enabled is True
    admin.set_enabled("op", is_enabled=False)
    assert not world.may("olga", Action.WRITE, ORDERS)
    assert admin.show("op").is_shipped
    with pytest.raises(ConflictError, match="way back in"):
        admin.set_enabled("local-owner", is_enabled=False)


def test_policy_of_the_product_is_neither_changed_nor_deleted(world):
    admin = world.as_("anna")
    with pytest.raises(ConflictError, match="comes with the product"):
        admin.put(Draft(permit(), "op"))
    with pytest.raises(ConflictError, match="comes with the product"):
        admin.delete("op")


def test_version_that_is_not_the_one_expected_is_a_conflict(world):
    admin = world.as_("anna")
    first = admin.put(Draft(permit(), "mine"), expected="")
    with pytest.raises(ConflictError) as exists:
        admin.put(Draft(permit("other"), "mine"), expected="")
    assert exists.value.current_version == first.version
    second = admin.put(Draft(permit("other"), "mine"), expected=first.version)
    with pytest.raises(ConflictError):
        admin.put(Draft(permit(), "mine"), expected=first.version)
    with pytest.raises(ConflictError):
        admin.delete("mine", expected=first.version)
    admin.delete("mine", expected=second.version)


def test_id_is_taken_from_the_text_where_it_is_unsaid(world):
    assert world.as_("anna").put(Draft('@id("from-text") ' + permit())).id == "from-text"
    with pytest.raises(InvalidInputError, match="has no id"):
        world.as_("anna").put(Draft(permit()))


@pytest.mark.parametrize("id_", ["Admin", "ADMIN", "\uff41dmin"])
def test_AA07_policy_of_another_spelling_of_a_shipped_name_is_refused(world, id_):
    with pytest.raises(ConflictError, match="comes with the product"):
        world.as_("anna").put(Draft(permit(), id_))


@pytest.mark.parametrize("id_", [" admin", "admin ", "\u0430dmin", "ad min", "a/b", "a" * 65, ""])
def test_AA07_policy_whose_id_is_no_name_is_refused(world, id_):
    with pytest.raises(InvalidInputError):
        world.as_("anna").put(Draft(permit(), id_))


@pytest.mark.parametrize("id_", ["adm1n", "0p", "vlewer", "two_person_reveal", "local.owner"])
def test_AA07_policy_that_looks_like_another_is_refused(world, id_):
    with pytest.raises(ConflictError, match="looks like"):
        world.as_("anna").put(Draft(permit(), id_))


def test_AA07_statement_that_looks_like_anothers_is_refused(world):
    admin = world.as_("anna")
    admin.put(Draft('@id("team.read") ' + permit() + '\n@id("team.list") ' + permit("x"), "team"))
    with pytest.raises(ConflictError, match="looks like"):
        admin.put(Draft('@id("tearn.read") ' + permit(), "tearn"))
    with pytest.raises(ConflictError):
        admin.put(Draft(permit(), "team.read"))
    with pytest.raises(ConflictError, match="given twice"):
        admin.put(Draft('@id("b.x") ' + permit() + '\n@id("b.x") ' + permit("x"), "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (permit(rest=' when { resource.tagz.contains("x") }'), "no attribute tagz"),
        (permit("Op"), "no Role is spelt like this"),
        ("permit (principal", "no Cedar"),
        ("", "holds no policy"),
        ("permit (principal == ?principal, action, resource);", "slots"),
        ("(" * 1000, "nests brackets"),
    ],
)
def test_text_that_is_no_policy_is_refused_with_what_is_wrong(world, text, message):
    with pytest.raises(InvalidInputError, match=message):
        world.as_("anna").put(Draft(text, "mine"))
    assert world.registry.snapshot().of("policy") == {}


def test_validating_changes_nothing_and_tells_both_errors_and_doubts(world):
    found = world.as_("anna").validate(Draft(permit("nobody", rest=' when { resource.tagz == "x" }')))
    assert [remark.severity for remark in found] == ["error", "warning"]
    assert "did you mean tags?" in found[0].hint
    assert world.registry.snapshot().of("policy") == {}


def test_AA13_whoever_changes_a_policy_could_undo_it(world):
    admin = world.as_("anna")
    locking = 'forbid (principal is Person, action == Action::"administer", resource);'
    with pytest.raises(ConflictError, match="no longer administer"):
        admin.put(Draft(locking, "locking"))
    with pytest.raises(ConflictError, match="no longer administer"):
        admin.set_enabled("admin", is_enabled=False)
    assert world.may("anna", Action.ADMINISTER, None)


def test_local_owner_may_lock_everybody_out_and_undo_it(world):
    host = Policies(world.registry, Guard(OwnerPolicy(LOCAL), world.notebook), LOCAL, clock=world.clock)
    host.put(Draft("forbid (principal, action, resource);", "stop"))
    assert not world.may("anna", Action.ADMINISTER, None)
    assert not world.all.current().decide(LOCAL, Action.READ, ORDERS).is_allowed
    host.delete("stop")
    assert world.may("anna", Action.ADMINISTER, None)


@pytest.mark.parametrize("name", ["olga", "vera"])
def test_who_does_not_administer_sees_and_changes_no_policy_and_that_is_recorded(world, name):
    noun = world.as_(name)
    tries = [
        noun.list,
        noun.switches,
        lambda: noun.show("op"),
        lambda: noun.validate(Draft(permit(), "x")),
        lambda: noun.put(Draft(permit(), "x")),
        lambda: noun.delete("op"),
        lambda: noun.set_enabled("op", is_enabled=False),
        lambda: noun.who_can(ORDERS),
        lambda: list(noun.what_can("person:anna")),
        noun.simulate,
        lambda: noun.compare([]),
        lambda: noun.can(Action.READ, ORDERS, actor="person:anna"),
        lambda: noun.require_two("two-person-reveal", is_on=True),
        lambda: noun.grants.add(Right("person:olga", READ), lasting=HOUR, reason="x"),
        lambda: noun.grants.revoke("g_x"),
        lambda: noun.approvals.approve("a_x"),
        lambda: noun.approvals.reject("a_x"),
    ]
    for attempt in tries:
        with pytest.raises(AccessDeniedError):
            attempt()
    assert [act[:2] for act in world.acts(f"person:{name}")] == [("administer", "denied")] * len(tries)


def test_read_only_mode_changes_no_policy_and_lets_rights_be_taken(world):
    admin = world.as_("anna")
    grant = admin.grants.add(Right("person:olga", READ), lasting=HOUR, reason="incident")
    world.is_read_only = True
    with pytest.raises(ReadOnlyError):
        admin.put(Draft(permit(), "x"))
    admin.grants.revoke(grant.id)
    assert admin.grants.list() == []


# --- failing closed ------------------------------------------------------------------------------------


class Failing:
    """A registry that cannot tell."""

    deployment = "prod"

    def __init__(self, error):
        self.error = error

    def snapshot(self):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [TamperedError("x"), BackendUnavailableError("x", backend="registry")],
    ids=lambda error: error.code,
)
def test_PO09_where_policies_cannot_be_told_nobody_may_anything(error):
    noun = Policies(Failing(error), Guard(OwnerPolicy(LOCAL), Notebook()), LOCAL, clock=Clock())
    for action in Action:
        decision = noun.current().decide(LOCAL, action, ORDERS)
        assert (decision.is_allowed, decision.reason) == (False, f"policies cannot be told: {error.code}")
        # A store that gives no answer is trouble that passes, and no denial; what was tampered with is.
        assert decision.trouble is (error if isinstance(error, BackendUnavailableError) else None)
    assert noun.current().covers(LOCAL, Action.LIST) is False
    assert noun.revision == ""


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("policy", b"{}"),
        ("policy", b"not json"),
        (
            "policy",
            json.dumps(
                {"text": "no cedar", "changed_at": "2026-01-01T00:00:00Z", "changed_by": "x"}
            ).encode(),
        ),
        (
            "policy",
            json.dumps(
                {"text": None, "changed_at": "2026-01-01T00:00:00Z", "changed_by": "x", "new": 1}
            ).encode(),
        ),
        ("grant", b"{}"),
        ("approval", b"[]"),
        ("switch", b"1"),
    ],
)
def test_PO09_row_that_cannot_be_read_denies_until_it_is_put_right(world, kind, body):
    assert world.may("anna", Action.READ, ORDERS)
    world.registry.put(kind, "strange", body)
    assert not world.may("anna", Action.READ, ORDERS)
    assert "cannot be told" in world.decide("anna", Action.READ, ORDERS).reason
    world.registry.delete(kind, "strange")
    assert world.may("anna", Action.READ, ORDERS)


def test_document_that_took_the_name_of_a_later_shipped_one_is_not_passed_over(world):
    body = {
        "text": "forbid (principal, action, resource);",
        "changed_at": "2026-01-01T00:00:00Z",
        "changed_by": "x",
    }
    world.registry.put("policy", "viewer", json.dumps(body).encode())
    assert not world.may("anna", Action.READ, ORDERS)


# --- grants --------------------------------------------------------------------------------------------


def test_grant_counts_at_once_and_ends_on_the_moment(world):
    admin = world.as_("anna")
    assert not world.may("olga", Action.READ, PAY)
    grant = admin.grants.add(
        Right("person:olga", READ, names=("pay/*",)), lasting=HOUR, reason="incident 4711"
    )
    assert grant.ends_at == NOW + HOUR
    assert world.decide("olga", Action.READ, PAY).policies == (f"grant:{grant.id}",)
    assert not world.may("olga", Action.READ, Ref("variable", "payroll"))
    held = world.all.current()
    world.clock.now = NOW + HOUR - timedelta(microseconds=1)
    assert world.may("olga", Action.READ, PAY)
    assert world.all.current() is held
    world.clock.now = NOW + HOUR
    assert not world.may("olga", Action.READ, PAY)
    assert world.all.current() is not held
    assert admin.grants.list() == []


def test_grant_that_ended_stays_ended_though_the_clock_is_set_back(world):
    world.as_("anna").grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    world.clock.now = NOW + HOUR
    assert not world.may("olga", Action.READ, PAY)
    world.clock.now = NOW
    assert not world.may("olga", Action.READ, PAY)


def test_grant_made_while_the_clock_was_ahead_lasts_no_longer(world):
    world.clock.now = NOW + timedelta(days=1)
    world.all.current()
    assert world.may("anna", Action.READ, PAY)
    world.all._desk.now  # noqa: B018 -- what was seen stays seen
    world.clock.now = NOW
    grant = world.as_("anna").grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    assert grant.ends_at == NOW + HOUR
    assert not world.may("olga", Action.READ, PAY)


def test_several_grants_end_each_at_its_time(world):
    admin = world.as_("anna")
    for hours, action in ((1, Action.READ), (2, Action.REVEAL), (3, Action.ROTATE)):
        admin.grants.add(Right("person:vera", (action,)), lasting=hours * HOUR, reason="x")
    seen = []
    for hours in range(4):
        world.clock.now = NOW + hours * HOUR
        seen.append([action.value for action in Action if world.may("vera", action, PAY)])
    assert seen == [["read", "reveal", "rotate"], ["reveal", "rotate"], ["rotate"], []]


def test_revision_changes_when_a_grant_ends(world):
    world.as_("anna").grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    during = world.all.revision
    world.clock.now = NOW + HOUR
    assert world.all.revision != during


def test_grant_turns_nothing_that_is_forbidden(world):
    admin = world.as_("anna")
    admin.put(Draft('forbid (principal is Person, action, resource in Folder::"pay");', "pay"))
    admin.grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    assert not world.may("olga", Action.READ, PAY)
    assert world.may("olga", Action.READ, ORDERS)


def test_revoked_grant_counts_no_more(world):
    admin = world.as_("anna")
    grant = admin.grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    assert admin.grants.revoke(grant.id) == grant
    assert not world.may("olga", Action.READ, PAY)
    with pytest.raises(NotFoundError):
        admin.grants.revoke(grant.id)


def test_whoever_has_a_grant_sees_it_and_may_give_it_back(world):
    admin = world.as_("anna")
    grant = admin.grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    admin.grants.add(Right("person:vera", READ), lasting=HOUR, reason="x")
    assert world.as_("olga").grants.list() == [grant]
    assert len(admin.grants.list()) == 2
    world.as_("olga").grants.revoke(grant.id)
    assert not world.may("olga", Action.READ, PAY)
    assert world.acts("person:olga")[-1][:2] == ("administer", "done")


@pytest.mark.parametrize(
    ("right", "lasting", "reason", "error"),
    [
        (Right("person:nobody", READ), HOUR, "x", NotFoundError),
        (Right("service:nobody", READ), HOUR, "x", NotFoundError),
        (Right("olga", READ), HOUR, "x", InvalidInputError),
        (Right("person:olga", (Action.ADMINISTER,)), HOUR, "x", InvalidInputError),
        (Right("person:olga", READ, names=("pay*",)), HOUR, "x", InvalidInputError),
        (Right("person:olga", READ), timedelta(), "x", InvalidInputError),
        (Right("person:olga", READ), -HOUR, "x", InvalidInputError),
        (Right("person:olga", READ), timedelta(days=31), "x", InvalidInputError),
        (Right("person:olga", READ), HOUR, "  ", InvalidInputError),
        (Right("person:olga", READ), HOUR, "a\nb", InvalidInputError),
        (Right("person:olga", READ), HOUR, "x" * 501, InvalidInputError),
    ],
)
def test_grant_that_makes_no_sense_is_refused(world, right, lasting, reason, error):
    with pytest.raises(error):
        world.as_("anna").grants.add(right, lasting=lasting, reason=reason)
    assert world.registry.snapshot().of("grant") == {}


def test_grants_that_are_long_over_are_forgotten(world):
    admin = world.as_("anna")
    admin.grants.add(Right("person:olga", READ), lasting=HOUR, reason="x")
    world.clock.now = NOW + timedelta(days=31)
    admin.grants.add(Right("person:olga", READ), lasting=HOUR, reason="y")
    assert len(world.registry.snapshot().of("grant")) == 1


# --- two people for a reveal ---------------------------------------------------------------------------


@pytest.fixture
def two(world):
    """A world where a reveal takes two; olga may reveal variables."""
    world.shelf.add(PAY)
    world.as_("anna").require_two("two-person-reveal", is_on=True)
    return world


def test_AA13_nobody_reveals_alone_where_two_are_needed(two):
    decision = two.decide("olga", Action.REVEAL, PAY)
    assert (decision.is_allowed, decision.reason) == (False, NEEDS_APPROVAL)
    assert decision.policies == ("two-person-reveal",)
    assert two.decide("anna", Action.REVEAL, PAY).reason == NEEDS_APPROVAL
    assert two.decide("vera", Action.REVEAL, PAY).reason == "forbidden by two-person-reveal"
    assert two.as_("anna").switches() == {"two-person-reveal": True, "two-person-changes": False}


def test_AA13_approved_reveal_is_allowed_once_for_an_hour(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="checking the port")
    assert (asked.state, asked.actor, asked.ref, asked.action) == ("pending", "person:olga", PAY, "reveal")
    assert not two.may("olga", Action.REVEAL, PAY)
    approved = two.as_("anna").approvals.approve(asked.id, seen=asked.content_hash)
    assert (approved.state, approved.decided_by, approved.ends_at) == ("approved", "person:anna", NOW + HOUR)
    assert two.may("olga", Action.REVEAL, PAY)
    assert not two.may("anna", Action.REVEAL, PAY)
    assert not two.may("olga", Action.REVEAL, Ref("variable", "pay/db", "data"))
    two.as_("olga").spend(PAY, "1")
    assert not two.may("olga", Action.REVEAL, PAY)
    assert two.as_("olga").approvals.list()[0].state == "used"


def test_AA13_approval_ends_on_the_moment(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    two.as_("anna").approvals.approve(asked.id)
    two.clock.now = NOW + HOUR
    assert not two.may("olga", Action.REVEAL, PAY)
    assert two.as_("olga").approvals.list()[0].state == "expired"


def test_AA13_nobody_approves_what_he_asked_for_himself_and_that_is_recorded(two):
    asked = two.as_("anna").approvals.ask(PAY, reason="x")
    with pytest.raises(AccessDeniedError, match="himself"):
        two.as_("anna").approvals.approve(asked.id)
    assert two.acts("person:anna")[-1] == ("administer", "denied", f"reveal {asked.id} approved: own request")
    two.as_("bert").approvals.approve(asked.id)
    assert two.may("anna", Action.REVEAL, PAY)


def test_AA13_program_approves_nothing(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    robot = two.all.as_actor(two.service("robot", "admin"))
    with pytest.raises(AccessDeniedError, match="only a person"):
        robot.approvals.approve(asked.id)


def test_AA13_who_does_not_administer_approves_nothing(two):
    asked = two.as_("anna").approvals.ask(PAY, reason="x")
    with pytest.raises(AccessDeniedError):
        two.as_("olga").approvals.approve(asked.id)


def test_AA13_approval_is_void_once_the_entry_has_changed(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    two.as_("anna").approvals.approve(asked.id)
    with pytest.raises(AccessDeniedError, match="has changed since"):
        two.as_("olga").spend(PAY, "2")


def test_AA13_approval_is_of_what_was_looked_at(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    with pytest.raises(ConflictError, match="not what is to be approved"):
        two.as_("anna").approvals.approve(asked.id, seen="0" * 64)
    assert two.as_("olga").approvals.list()[0].state == "pending"


def test_AA13_of_two_uses_at_once_one_succeeds(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    two.as_("anna").approvals.approve(asked.id)
    noun, outcomes, gate = two.as_("olga"), [], threading.Barrier(2)

    def use():
        gate.wait()
        try:
            if two.may("olga", Action.REVEAL, PAY):
                noun.spend(PAY, "1")
                outcomes.append("revealed")
            else:
                outcomes.append("denied")
        except AccessDeniedError:
            outcomes.append("denied")

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert two.as_("olga").approvals.list()[0].state == "used"
    assert outcomes.count("revealed") == 1


def test_AA13_request_is_decided_once(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    rejected = two.as_("bert").approvals.reject(asked.id)
    assert (rejected.state, rejected.decided_by) == ("rejected", "person:bert")
    for decide in (two.as_("anna").approvals.approve, two.as_("anna").approvals.reject):
        with pytest.raises(ConflictError, match="rejected already"):
            decide(asked.id)
    with pytest.raises(NotFoundError):
        two.as_("anna").approvals.approve("a_nothing")


def test_AA13_request_that_is_over_is_not_approved(two):
    asked = two.as_("olga").approvals.ask(PAY, reason="x")
    two.clock.now = NOW + timedelta(days=7)
    with pytest.raises(ConflictError, match="over"):
        two.as_("anna").approvals.approve(asked.id)


def test_who_asked_may_take_it_back_and_sees_only_his_own(two):
    mine = two.as_("olga").approvals.ask(PAY, reason="x")
    two.as_("anna").approvals.ask(PAY, reason="y")
    assert [one.id for one in two.as_("olga").approvals.list()] == [mine.id]
    assert len(two.as_("bert").approvals.list()) == 2
    assert two.as_("olga").approvals.reject(mine.id).state == "rejected"


def test_the_same_is_asked_for_once(two):
    two.as_("olga").approvals.ask(PAY, reason="x")
    with pytest.raises(ConflictError, match="asked for already"):
        two.as_("olga").approvals.ask(PAY, reason="x")


def test_AA13_nobody_reads_in_place_of_revealing(two):
    assert two.decide("anna", Action.READ, PAY).policies == ("two-person-reveal.people",)
    assert not two.all.current().decide(LOCAL, Action.READ, PAY).is_allowed
    reader = two.service("ci", "reader")
    assert two.all.current().decide(reader, Action.READ, PAY).is_allowed


def test_AA07_what_a_switch_puts_in_force_is_taken_beforehand(world):
    with pytest.raises(ConflictError):
        world.as_("anna").put(Draft(permit(), "two-person-reveal.people"))


def test_requests_that_are_over_are_kept_within_bounds(two, monkeypatch):
    monkeypatch.setattr("strongroom.service.policies.request._MAX_OVER", 3)
    noun = two.as_("olga")
    for number in range(8):
        noun.approvals.reject(noun.approvals.ask(PAY, reason=f"r{number}").id)
    assert len(two.registry.snapshot().of("approval")) <= 5


def test_reveal_that_an_approval_would_not_allow_is_not_asked_for(two):
    with pytest.raises(AccessDeniedError):
        two.as_("vera").approvals.ask(PAY, reason="x")
    with pytest.raises(AccessDeniedError):
        two.as_("olga").approvals.ask(ORDERS, reason="x")
    assert two.acts("person:vera")[-1][:2] == ("reveal", "denied")
    two.as_("anna").require_two("two-person-reveal", is_on=False)
    with pytest.raises(ConflictError, match="allowed without"):
        two.as_("olga").approvals.ask(PAY, reason="x")


def test_AA13_what_is_not_approved_is_not_spent(two):
    with pytest.raises(AccessDeniedError):
        two.as_("olga").spend(PAY, "1")
    two.as_("anna").require_two("two-person-reveal", is_on=False)
    assert two.as_("olga").spend(PAY, "1") is False


# --- two people for changes ----------------------------------------------------------------------------


@pytest.fixture
def changes(world):
    world.as_("anna").require_two("two-person-changes", is_on=True)
    world.person("dora", "data")
    return world


def test_AA13_change_is_done_when_another_agrees(changes):
    asked = changes.as_("anna").put(Draft(permit(), "mine", comment="ticket"))
    assert isinstance(asked, Approval)
    assert (asked.action, asked.state) == ("policy.put", "pending")
    assert json.loads(asked.content)["text"] == permit()
    assert not changes.may("dora", Action.READ, PAY)
    with pytest.raises(AccessDeniedError, match="himself"):
        changes.as_("anna").approvals.approve(asked.id)
    changes.as_("bert").approvals.approve(asked.id, seen=asked.content_hash)
    assert changes.may("dora", Action.READ, PAY)
    assert changes.as_("anna").show("mine").changed_by == "person:anna"


def test_AA13_change_is_void_once_what_it_changes_has_changed(changes):
    host = Policies(changes.registry, Guard(OwnerPolicy(LOCAL), Notebook()), LOCAL, clock=changes.clock)
    host.require_two("two-person-changes", is_on=False)
    host.put(Draft(permit(), "mine"))
    host.require_two("two-person-changes", is_on=True)
    asked = changes.as_("anna").put(Draft(permit("other"), "mine"))
    host.require_two("two-person-changes", is_on=False)
    host.put(Draft(permit("third"), "mine"))
    with pytest.raises(ConflictError, match="has changed since"):
        changes.as_("bert").approvals.approve(asked.id)
    assert changes.as_("bert").show("mine").text == permit("third")
    assert changes.as_("anna").approvals.list()[0].state == "pending"


def test_AA13_every_change_of_who_may_takes_two(changes):
    admin, other = changes.as_("anna"), changes.as_("bert")
    asked = admin.set_enabled("op", is_enabled=False)
    other.approvals.approve(asked.id)
    assert not changes.may("olga", Action.WRITE, ORDERS)
    asked = admin.grants.add(Right("person:dora", READ, names=("pay/*",)), lasting=HOUR, reason="incident")
    assert isinstance(asked, Approval)
    assert not changes.may("dora", Action.READ, PAY)
    changes.clock.now = NOW + 2 * HOUR
    other.approvals.approve(asked.id)
    assert changes.may("dora", Action.READ, PAY)
    (grant,) = admin.grants.list()
    assert (grant.reason, grant.created_by, grant.ends_at) == ("incident", "person:anna", NOW + 3 * HOUR)
    asked = admin.put(Draft(permit(), "mine"))
    other.approvals.approve(asked.id)
    asked = admin.delete("mine")
    assert isinstance(asked, Approval)
    other.approvals.approve(asked.id)
    with pytest.raises(NotFoundError):
        admin.show("mine")


def test_AA13_switching_it_off_takes_two_and_the_host_one(changes):
    asked = changes.as_("anna").require_two("two-person-changes", is_on=False)
    assert isinstance(asked, Approval)
    assert changes.as_("anna").switches()["two-person-changes"]
    changes.as_("bert").approvals.approve(asked.id)
    assert not changes.as_("anna").switches()["two-person-changes"]
    changes.as_("anna").require_two("two-person-changes", is_on=True)
    assert changes.all.require_two("two-person-changes", is_on=False) is False
    with pytest.raises(InvalidInputError, match="no such switch"):
        changes.as_("anna").require_two("two-person-lunch", is_on=True)


def test_AA13_what_became_wrong_meanwhile_is_not_done(changes):
    asked = changes.as_("anna").put(Draft('@id("mine.x") ' + permit(), "mine"))
    body = {"text": permit(), "changed_at": "2026-01-01T00:00:00Z", "changed_by": "x"}
    changes.registry.put("policy", "mine.x", json.dumps(body).encode())
    with pytest.raises(ConflictError):
        changes.as_("bert").approvals.approve(asked.id)


def test_AA13_taking_a_right_takes_one(changes):
    asked = changes.as_("anna").grants.add(Right("person:dora", READ), lasting=HOUR, reason="x")
    changes.as_("bert").approvals.approve(asked.id)
    (grant,) = changes.as_("anna").grants.list()
    changes.as_("anna").grants.revoke(grant.id)
    assert not changes.may("dora", Action.READ, PAY)


# --- questions -----------------------------------------------------------------------------------------


def test_anybody_may_ask_what_he_may_himself(world):
    noun = world.as_("olga")
    assert noun.can(Action.WRITE, ORDERS).policies == ("op",)
    assert noun.can(Action.WRITE, ORDERS, actor="person:olga").is_allowed
    assert not noun.can(Action.READ, ORDERS).is_allowed
    assert world.acts("person:olga") == []


def test_administrator_may_ask_about_anybody(world):
    noun = world.as_("anna")
    assert noun.can(Action.WRITE, ORDERS, actor="person:Olga").policies == ("op",)
    assert not noun.can(Action.WRITE, ORDERS, actor="person:nobody").is_allowed
    with pytest.raises(InvalidInputError):
        noun.can(Action.READ, ORDERS, actor="olga")


def test_question_may_name_run_and_source(world):
    admin = world.as_("anna")
    floor = ' when { context.run.bundle == "b" && context.run.assurance >= 2 && context has source && context.source.isInRange(ip("10.0.0.0/8")) }'  # noqa: E501
    admin.put(Draft(permit("viewer", rest=floor), "mine"))
    asks = {"actor": "person:vera", "run": Run(Assurance.VERIFIED_RUN, bundle="b"), "source": "10.1.1.1"}
    assert admin.can(Action.READ, PAY, **asks).policies == ("mine",)
    for change in ({"source": "192.0.2.1"}, {"run": Run(Assurance.CLAIMED, bundle="b")}, {"run": None}):
        assert not admin.can(Action.READ, PAY, **{**asks, **change}).is_allowed


def test_answer_about_oneself_tells_no_tags_of_what_one_may_not_see(world):
    world.shelf.add(PAY, "pci")
    world.as_("anna").put(
        Draft(
            'forbid (principal in Role::"op", action, resource is Entry) when { resource.tags.contains("pci") };',  # noqa: E501
            "pci",
        )
    )
    absent = Ref("variable", "pay/nothing")
    noun = world.as_("olga")
    assert noun.can(Action.WRITE, PAY) == noun.can(Action.WRITE, absent)
    assert world.as_("anna").can(Action.WRITE, PAY, actor="person:olga").policies == ("pci",)


def test_who_can_is_everybody_who_may_anything_and_what(world):
    world.service("ci", "reader", Scope(actions=("read",), names=("orders_*",)))
    world.person("dora", "op", "data")
    world.person("idle")
    found = {one.actor: one for one in world.as_("anna").who_can(ORDERS)}
    assert set(found) == {"person:anna", "person:bert", "person:olga", "service:ci"}
    assert found["service:ci"].actions == (Action.READ,)
    assert found["service:ci"].policies == ("reader",)
    assert set(found["person:olga"].actions) == {
        Action.LIST,
        Action.DESCRIBE,
        Action.WRITE,
        Action.DELETE,
        Action.TEST,
    }
    assert set(found["person:anna"].actions) == set(Action)
    team = {one.actor for one in world.as_("anna").who_can(Ref("connection", "orders_db", "data"))}
    assert team == {"person:anna", "person:bert", "person:olga", "person:dora", "service:ci"}
    room = {one.actor: one.actions for one in world.as_("anna").who_can(None)}
    assert room["person:vera"] == (Action.LIST,)


def test_who_is_disabled_can_nothing(world):
    body = rows.Person(created_at=NOW, created_by="x", is_disabled=True)
    world.registry.put(rows.PERSON, "olga", rows.encoded(body))
    assert "person:olga" not in {one.actor for one in world.as_("anna").who_can(ORDERS)}


def test_what_can_is_every_entry_exactly(world):
    for ref in (ORDERS, PAY, Ref("variable", "payroll"), Ref("variable", "x", "data"), Ref("config", "smtp")):
        world.shelf.add(ref)
    world.as_("anna").grants.add(Right("person:vera", READ, names=("pay/*",)), lasting=HOUR, reason="x")
    found = list(world.as_("anna").what_can("person:vera"))
    assert [(one.ref, one.actions) for one in found] == [(PAY, (Action.READ,))]
    assert found[0].policies[0].startswith("grant:g_")
    olga = [one.ref for one in world.as_("anna").what_can("person:olga", action=Action.REVEAL)]
    assert olga == [PAY, Ref("variable", "payroll"), Ref("variable", "x", "data")]
    assert [one.ref for one in world.as_("vera").what_can("person:vera")] == [PAY]


def test_effective_access_says_what_else_it_depends_on(world):
    floor = ' when { context.run.bundle == "b" && context.run.assurance >= 2 }'
    world.as_("anna").put(
        Draft(permit("viewer", 'action == Action::"read", resource is Entry', floor), "mine")
    )
    (vera,) = [one for one in world.as_("anna").who_can(None) if one.actor == "person:vera"]
    assert vera.depends_on == ()
    world.as_("anna").grants.add(Right("person:vera", (Action.LIST,)), lasting=HOUR, reason="x")
    found = {one.actor: one for one in world.as_("anna").who_can(PAY)}
    assert found["person:vera"].depends_on == ("run.assurance", "run.bundle")


def test_simulation_tells_every_decision_that_would_turn(world):
    for ref in (ORDERS, PAY, Ref("variable", "payroll"), Ref("variable", "pay/x", "data")):
        world.shelf.add(ref)
    world.service("ci", "reader", Scope(names=("orders_*",)))
    found = world.as_("anna").simulate(
        put=[
            Draft(
                'forbid (principal is Service, action, resource is Entry);\n@id("new.pay") forbid (principal in Role::"op", action == Action::"write", resource in Folder::"pay");',  # noqa: E501
                "new",
            )
        ]
    )
    told = {(flip.actor, flip.action, flip.ref, flip.after.policies) for flip in found.flips}
    assert told == {
        *(
            ("service:ci", action, ORDERS, ("new.1",))
            for action in (Action.READ, Action.LIST, Action.DESCRIBE)
        ),
        ("person:olga", Action.WRITE, PAY, ("new.pay",)),
        ("person:olga", Action.WRITE, Ref("variable", "pay/x", "data"), ("new.pay",)),
    }
    assert (found.total, found.entries, found.actors, found.is_complete) == (5, 4, 5, True)
    assert all(flip.before.is_allowed for flip in found.flips)
    assert world.registry.snapshot().of("policy") == {}


def test_simulation_of_a_deletion_and_of_what_is_not_there(world):
    world.shelf.add(PAY)
    world.person("dora", "data")
    world.as_("anna").put(Draft(permit(), "mine"))
    found = world.as_("anna").simulate(delete=["mine"])
    # The last of them opened the listing.
    assert {(flip.actor, flip.ref) for flip in found.flips} == {("person:dora", PAY), ("person:dora", None)}
    assert found.total == len(Action) + 1
    assert world.as_("anna").simulate(delete=["mine"], limit=2).total == len(Action) + 1
    assert len(world.as_("anna").simulate(delete=["mine"], limit=2).flips) == 2
    with pytest.raises(NotFoundError):
        world.as_("anna").simulate(delete=["nothing"])
    with pytest.raises(InvalidInputError, match="tagz"):
        world.as_("anna").simulate([Draft(permit(rest=' when { resource.tagz == "x" }'), "x")])
    assert world.as_("anna").simulate().total == 0


def test_simulation_agrees_with_deciding_one_by_one(world):
    for number in range(12):
        world.shelf.add(
            Ref("variable", f"{'pay' if number % 2 else 'x'}/v{number}"),
            *(["pci"] if number % 3 == 0 else []),
        )
    draft = Draft(
        permit(
            "viewer",
            'action in [Action::"read", Action::"list"], resource in Folder::"pay"',
            ' unless { resource.tags.contains("pci") }',
        ),
        "mine",
    )
    told = {(flip.actor, flip.action, flip.ref) for flip in world.as_("anna").simulate([draft]).flips}
    before = {
        (name, action, ref): world.may(name, action, ref, world.shelf.facts(ref))
        for name in ("anna", "olga", "vera")
        for action in Action
        for ref in world.shelf.entries
    }
    world.as_("anna").put(draft)
    turned = {
        (f"person:{name}", action, ref)
        for (name, action, ref), was in before.items()
        if world.may(name, action, ref, world.shelf.facts(ref)) != was
    }
    assert told == turned
    assert turned


def test_questions_are_compared_as_it_is_and_as_it_would_be(world):
    noun = world.as_("anna")
    questions = [(world.known("vera"), Action.READ, PAY), (world.known("olga"), Action.WRITE, PAY)]
    pairs = noun.compare(questions, [Draft(permit("viewer"), "mine")])
    assert [(before.is_allowed, after.is_allowed) for before, after in pairs] == [(False, True), (True, True)]
