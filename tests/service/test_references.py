"""References and `extends` between people: rights, records, teams, explanations, masks, names."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strongroom
from strongroom.bulkhead import seconds_left
from strongroom.cache import Cache, Lifetimes
from strongroom.chain import Chain, Link, Outcome
from strongroom.cli.gift import plan, read_values
from strongroom.errors import AccessDeniedError, InvalidInputError, MalformedEntryError, NotFoundError
from strongroom.model.entry import Metadata
from strongroom.model.masking import Masker
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Actor, Decision
from strongroom.service.entries import Change, Entries
from strongroom.service.guard import Guard, Guarded
from strongroom.service.inventory import Inventory
from strongroom.service.lookup import Lookup
from strongroom.testing.fakes import Memory, frozen_clock

ON = Metadata(references=True)
BASE = Ref("connection", "base")
TOP = Ref("connection", "top")
CANARY = "kanarienvogel"
PLAIN = json.dumps({"conn_type": "postgres", "host": "db", "login": "svc", "password": CANARY})


@dataclass
class Rules:
    """Refuses (actor, action, name) that are listed, and allows the rest."""

    denied: set[tuple[str, Action, str]] = field(default_factory=set)

    needs_facts = False

    def decide(self, actor, action, ref, facts=None):
        is_denied = ref is not None and (actor.id, action, ref.name) in self.denied
        return Decision(is_allowed=not is_denied, reason="the rules", policies=("rules",))


@dataclass
class Records:
    events: list = field(default_factory=list)

    def append(self, *events):
        self.events += events

    def acts(self):
        return [(event.actor, event.action, event.name, event.outcome) for event in self.events]


class Place:
    """One store, with a lookup and a writer for each actor."""

    def __init__(self, *links, denied=()) -> None:
        self.memory = Memory("native")
        self.rules = Rules(set(denied))
        self.records = Records()
        self.chain = Chain(links or (Link(backend=self.memory),), clock=frozen_clock)
        self.guard = Guard(self.rules, self.records)

    def lookup(self, name="reader"):
        self.cache = Cache(
            Guarded(self.chain, self.guard, Actor(name)),
            Lifetimes(),
            clock=frozen_clock,
            patience=timedelta(seconds=5),
        )
        return Lookup(self.cache, self.chain, self.guard, Actor(name))

    def entries(self, name="writer"):
        lookup = self.lookup(name)
        return Entries(
            lookup=lookup,
            inventory=Inventory(self.chain, self.guard, Actor(name), clock=frozen_clock),
            cache=self.cache,
            chain=self.chain,
            guard=self.guard,
            actor=Actor(name),
            clock=frozen_clock,
        )

    def write(self, ref, text, name="writer", metadata=ON):
        return self.entries(name).write(Change(ref=ref, secret=Secret(text), metadata=metadata))


# --- rights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"conn_type": "http", "password": "${connection.password/base}"}', "password"),
        ('{"conn_type": "http", "extra": {"a": {"b": ["x${connection.password/base}"]}}}', "extra.a.b"),
        ('{"extends": "base"}', "extends"),
        ("http://u:${connection.password/base}@h", "the URI"),
    ],
)
def test_a_writer_may_not_refer_to_what_he_may_not_read(text, place):
    denied = [("writer", Action.READ, "base")]
    home = Place(denied=denied)
    home.memory.put(BASE, PLAIN)
    with pytest.raises(AccessDeniedError) as caught:
        home.write(TOP, text)
    assert (
        str(caught.value) == f'connection "top": {place} refers to connection "base", which may not be read'
    )
    assert caught.value.reason == "the rules"
    assert home.memory.read(TOP) is None
    home.write(TOP, text, name="another")


def test_who_writes_an_old_version_again_must_be_allowed_to_read_what_it_refers_to():
    home = Place(denied=[("writer", Action.READ, "base")])
    home.memory.put(BASE, PLAIN)
    home.write(TOP, '{"extends": "base"}', name="another")
    home.write(TOP, "http://h", name="another", metadata=Metadata())
    with pytest.raises(AccessDeniedError, match="extends refers to"):
        home.entries("writer").rollback(TOP, "1")
    home.entries("another").rollback(TOP, "1")
    assert home.lookup().connection("top").host == "db"


def test_who_brings_an_entry_back_must_be_allowed_to_read_what_it_refers_to():
    home = Place(denied=[("writer", Action.READ, "base")])
    home.memory.put(BASE, PLAIN)
    home.write(TOP, '{"extends": "base"}', name="another")
    home.entries("another").delete(TOP)
    with pytest.raises(AccessDeniedError, match="extends refers to"):
        home.entries("writer").undelete(TOP)
    assert home.memory.read(TOP) is None
    home.entries("another").undelete(TOP)
    assert home.lookup().connection("top").host == "db"


@pytest.mark.parametrize("text", [PLAIN, None, "no connection", '{"extends": "top"}'])
def test_who_may_not_read_a_part_cannot_tell_whether_it_is_there(text):
    home = Place(denied=[("guest", Action.READ, "base")])
    if text is not None:
        home.memory.put(BASE, text, ON)
    home.memory.put(TOP, '{"extends": "base"}', ON)
    for act in (
        lambda: home.lookup("guest").connection("top"),
        lambda: home.write(Ref("connection", "top2"), '{"extends": "base"}', name="guest"),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            act()
        assert (str(caught.value).split(": ")[1], caught.value.reason, caught.value.hint) == (
            'extends refers to connection "base", which may not be read',
            "the rules",
            None,
        )
    told = home.lookup("guest").explain(TOP).references[0].to_dict()
    assert (told["outcome"], told["backend"], told["steps"]) == ("denied", None, [])


def test_a_reader_must_be_allowed_to_read_every_part_and_each_is_recorded():
    home = Place(denied=[("guest", Action.READ, "base")])
    home.memory.put(BASE, PLAIN)
    home.write(TOP, '{"extends": "base", "host": "replica"}')
    home.records.events.clear()
    assert home.lookup("reader").connection("top").password.reveal() == CANARY
    assert home.records.acts() == [
        ("reader", "read", "top", "found"),
        ("reader", "read", "base", "found"),
    ]
    with pytest.raises(AccessDeniedError, match='extends refers to connection "base"') as caught:
        home.lookup("guest").connection("top")
    assert CANARY not in str(caught.value)
    assert home.records.acts()[-1] == ("guest", "read", "base", "denied")


def test_a_right_to_the_part_is_none_to_the_whole():
    home = Place(denied=[("guest", Action.READ, "top")])
    home.memory.put(BASE, PLAIN)
    home.write(TOP, '{"extends": "base"}')
    with pytest.raises(AccessDeniedError, match=r"may not read connection .top."):
        home.lookup("guest").connection("top")


# --- teams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["other/secret", "secret", "other:secret", "other--secret"])
def test_a_reference_never_reaches_another_team(name):
    home = Place()
    home.memory.put(Ref("variable", "secret", "other"), CANARY)
    change = Change(ref=Ref("variable", "mine", "data"), secret=Secret(f"${{variable/{name}}}"), metadata=ON)
    with pytest.raises(InvalidInputError, match="which no backend has") as caught:
        home.entries().write(change)
    assert CANARY not in str(caught.value)
    home.memory.put(Ref("variable", "mine", "data"), f"${{variable/{name}}}", ON)
    with pytest.raises(MalformedEntryError):
        home.lookup().variable("mine", "data")


def test_a_global_entry_refers_to_global_ones_whoever_reads_it():
    home = Place()
    home.memory.put(Ref("variable", "region", "data"), CANARY)
    home.memory.put(Ref("variable", "region"), "eu")
    home.memory.put(Ref("variable", "bucket"), "b-${variable/region}", ON)
    assert home.lookup().variable("bucket", "data") == "b-eu"


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_whatever_a_reference_names_it_stays_in_its_team(name):
    home = Place()
    for team in ("other", "oth", "o"):
        home.memory.put(Ref("variable", "secret", team), CANARY)
        home.memory.put(Ref("variable", f"{team}/secret", team), CANARY)
    home.memory.put(Ref("variable", "mine", "data"), f"${{variable/{name}}}", ON)
    with pytest.raises((MalformedEntryError, InvalidInputError)) as caught:
        home.lookup().variable("mine", "data")
    assert CANARY not in str(caught.value)


# --- what is remembered ----------------------------------------------------------------------------


def test_the_cache_and_the_parsed_connections_hold_no_resolved_text():
    home = Place()
    home.memory.put(BASE, PLAIN)
    home.memory.put(TOP, '{"conn_type": "http", "password": "x-${connection.password/base}"}', ON)
    lookup = home.lookup()
    assert lookup.connection("top").password.reveal() == f"x-{CANARY}"
    asyncio.run(lookup.aconnection("top"))
    held = lookup.peek(("connection", "top", None))
    assert held is not None
    assert CANARY not in held.secret.reveal()
    assert ("connection", "top", None) not in lookup._parsed  # nowhere else to look


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14))
def test_any_web_of_references_is_resolved_or_refused_and_nothing_of_it_is_remembered(edges):
    home = Place()
    for number in range(8):
        names = "".join(f"${{variable/v{end}}}" for start, end in edges if start == number)
        home.memory.put(Ref("variable", f"v{number}"), f"<{number}{names}>", ON)
    lookup = home.lookup()
    for number in range(8):
        text = (
            f"<{number}" + "".join(f"${{variable/v{end}}}" for start, end in edges if start == number) + ">"
        )
        explained = lookup.explain(Ref("variable", f"v{number}"))
        try:
            found = lookup.variable(f"v{number}")
        except MalformedEntryError:
            assert explained.outcome is Outcome.INVALID
            assert is_circle(number, edges)
        else:
            assert "${" not in found
            assert explained.outcome is Outcome.FOUND
        assert lookup.peek(("variable", f"v{number}", None)).secret.reveal() == text


def is_circle(start, edges, above=()):
    if start in above:
        return True
    return any(is_circle(end, edges, (*above, start)) for begin, end in edges if begin == start)


class Clocked(Memory):
    """Notes how long its caller still waits."""

    def _before(self, verb, ref):
        super()._before(verb, ref)
        self.waits = [*getattr(self, "waits", []), seconds_left()]


def test_all_references_of_an_entry_share_the_time_of_one_question():
    memory = Clocked("native")
    home = Place(Link(backend=memory))
    for name, text in (("x", "${variable/y}${variable/z}"), ("y", "${variable/z}"), ("z", "z")):
        memory.put(Ref("variable", name), text, ON)
    memory.waits = []
    assert home.lookup().variable("x") == "zz"
    first, *others = memory.waits
    assert first is None
    assert len(others) == 2
    assert 15 >= others[0] > others[1] > 0
    assert seconds_left() is None


# --- explaining ------------------------------------------------------------------------------------


def test_an_explanation_tells_of_each_reference_with_an_outcome_of_its_own():
    home = Place(denied=[("reader", Action.READ, "secret")])
    home.memory.put(Ref("variable", "zone"), "a")
    home.memory.put(Ref("variable", "region"), "eu-${variable/zone}", ON)
    home.memory.put(Ref("variable", "secret"), CANARY)
    home.memory.put(BASE, PLAIN)
    text = (
        '{"extends": "base", "host": "${variable/region}",'
        ' "login": "${variable/secret}", "schema": "${variable/no}"}'
    )
    home.memory.put(TOP, text, ON)
    told = home.lookup().explain(TOP)
    assert [(one.ref.name, one.outcome.value) for one in told.references] == [
        ("base", "found"),
        ("region", "found"),
        ("secret", "denied"),
        ("no", "absent"),
    ]
    (zone,) = told.references[1].references
    assert (zone.ref.name, zone.outcome) == ("zone", Outcome.FOUND)
    assert told.outcome is Outcome.DENIED  # as the reader meets it first
    assert "login refers to" in told.reason
    assert CANARY not in json.dumps(told.to_dict())
    assert told.to_dict()["references"][2]["reason"] == "the rules"


def test_an_explanation_of_a_circle_ends():
    home = Place()
    home.memory.put(Ref("variable", "a"), "${variable/b}", ON)
    home.memory.put(Ref("variable", "b"), "${variable/a}", ON)
    told = home.lookup().explain(Ref("variable", "a"))
    assert told.outcome is Outcome.INVALID
    (b,) = told.references
    (a,) = b.references
    assert (a.outcome, a.reason, a.references) == (Outcome.INVALID, "leads back to itself", ())


def test_an_explanation_tells_in_full_only_once_of_what_many_refer_to():
    home = Place()
    wide = range(12)
    for level in range(8):
        names = "".join(f"${{variable/d{level + 1}_{number}}}" for number in wide) if level < 7 else ""
        for number in wide:
            home.memory.put(Ref("variable", f"d{level}_{number}"), names, ON)
    told = home.lookup().explain(Ref("variable", "d0_0"))
    assert told.outcome is Outcome.FOUND
    assert len(json.dumps(told.to_dict())) < 1_000_000  # twelve to the eighth otherwise


def test_an_explanation_of_very_many_references_stops_telling():
    home = Place()
    home.memory.put(Ref("variable", "x"), "".join(f"${{variable/v{number}}}" for number in range(5000)), ON)
    told = home.lookup().explain(Ref("variable", "x"))
    assert len(told.references) == 101
    assert told.references[-1].reason == "too many references"


def test_an_explanation_records_no_read():
    home = Place()
    home.memory.put(BASE, PLAIN)
    home.memory.put(TOP, '{"extends": "base"}', ON)
    home.lookup().explain(TOP)
    assert home.records.acts() == []


# --- masking ---------------------------------------------------------------------------------------


def test_the_mask_knows_the_whole_and_each_part():
    home = Place()
    home.memory.put(BASE, PLAIN)
    home.memory.put(Ref("variable", "inner"), "inner-secret")
    home.memory.put(Ref("variable", "outer"), "o-${variable/inner}", ON)
    home.memory.put(
        Ref("variable", "url"), "postgres://svc:${connection.password/base}@db/${variable/outer}", ON
    )
    lookup = home.lookup()
    values = read_values(plan([Ref("variable", "url")], [], team=None, is_files=False), lookup)
    masker = Masker(secret.reveal() for secret in values.secrets)
    printed = f"password {CANARY}, outer o-inner-secret, inner inner-secret, host db"
    masked = masker.mask(printed)
    assert CANARY not in masked
    assert "inner-secret" not in masked
    assert masked.endswith("host db")
    assert lookup.referenced(Ref("variable", "inner")) == ()
    assert lookup.referenced(Ref("variable", "nowhere")) == ()


def test_the_mask_knows_the_secrets_of_what_is_extended_though_they_were_replaced():
    home = Place()
    home.memory.put(BASE, PLAIN)
    home.memory.put(TOP, '{"extends": "base", "password": "another"}', ON)
    assert CANARY in [part.reveal() for part in home.lookup().referenced(TOP)]


# --- names chosen at run time ----------------------------------------------------------------------


def test_a_name_may_be_chosen_at_run_time_wherever_one_is_read(house):
    native = Memory(
        "native", {Ref("variable", "region_acme"): "eu", Ref("connection", "dwh/acme"): "http://h"}
    )
    room = house.room(native)
    assert room.lookup.variable("region_{tenant}", tenant="acme") == "eu"
    assert room.lookup.connection("dwh/{tenant}", tenant="acme").host == "h"
    with strongroom.use_room(room):
        assert strongroom.variable("region_{tenant}", tenant="acme") == "eu"
        assert strongroom.variable("region_{tenant}", "none", tenant="other") == "none"
        assert strongroom.connection("dwh/{tenant}", tenant="acme").host == "h"
        assert asyncio.run(strongroom.aconnection("dwh/{tenant}", tenant="acme")).host == "h"
        assert asyncio.run(strongroom.avariable("region_{tenant}", tenant="acme")) == "eu"
        with strongroom.follow("region_{tenant}", kind="variable", tenant="acme") as followed:
            assert followed.current.secret.reveal() == "eu"


def test_a_name_without_parameters_keeps_its_braces(house):
    room = house.room(Memory("native", {Ref("variable", "odd_{x}"): "braces"}))
    with strongroom.use_room(room):
        assert strongroom.variable("odd_{x}") == "braces"


def test_a_tenant_cannot_ask_for_another_name(house):
    room = house.room(Memory("native", {Ref("connection", "admin"): "http://h"}))
    with strongroom.use_room(room):
        for tenant in ("../admin", "x/../../admin", "", "..", "acme/admin"):
            with pytest.raises(InvalidInputError, match="tenant"):
                strongroom.connection("tenants/{tenant}", tenant=tenant)
        with pytest.raises(NotFoundError):
            strongroom.connection("tenants/{tenant}", tenant="admin")


# --- describing and editing what extends -----------------------------------------------------------


def test_what_extends_is_described_by_its_own_fields():
    home = Place()
    home.memory.put(BASE, PLAIN)
    home.write(TOP, '{"extends": "base", "host": "replica", "password": null}')
    found = home.entries().describe(TOP)
    assert found.problem is None
    assert (found.connection.host, found.connection.login) == ("replica", None)
    assert found.overlay == {"extends": "base", "password": None}
    assert CANARY not in repr(found)
