"""What an actor with less than everything sees and may change; each listing is smaller, none has a gap."""

from __future__ import annotations

import json

import pytest

from parts.house import ADMIN, ANNA, Site, named, variables
from strongroom.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action
from strongroom.service.entries import Change
from strongroom.service.guard import facts_of
from strongroom.service.inventory import Choice

PII = Metadata(tags=("pii",))
DEV = Metadata(tags=("dev",))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def house(site):
    with site.house() as house:
        yield house


@pytest.fixture
def admin(house):
    return house.room(None, ADMIN)


@pytest.fixture
def anna(house):
    return house.room(None, ANNA)


def put(room, name, text="x", **others):
    return room.entries.write(Change(ref=Ref("variable", name), secret=Secret(text), **others))


def tagged(*tags):
    """Give a rule: what bears one of *tags*; nothing where that is not known."""
    return lambda _actor, _action, ref, facts: ref is None or bool(facts and set(tags) & set(facts.tags))


def untagged(*tags):
    """Give a rule as a forbidding policy makes it: what bears none of *tags*; nothing where nobody knows."""
    return lambda _actor, _action, ref, facts: ref is None or bool(facts and not set(tags) & set(facts.tags))


# --- listing --------------------------------------------------------------------------------------------


def test_RT10_rows_counts_and_clashes_are_of_what_the_actor_may_see(site, admin, anna):
    for name in ("a", "b", "ﬁle", "file", "z"):
        put(admin, name)
    site.allow(named("a", "file", "z"))
    assert [row.ref.name for row in anna.inventory.page()] == ["a", "file", "z"]
    assert anna.inventory.counts().variables == 3
    assert (anna.inventory.clashes(), anna.inventory.counts().clashes) == ([], 0)
    assert len(admin.inventory.clashes()) == 1
    assert [row.ref.name for row in anna.entries.list("variable")] == ["a", "file", "z"]


def test_RT10_a_page_is_full_and_goes_on_over_what_is_not_seen(site, admin, anna):
    names = [f"v{number:03}" for number in range(40)]
    admin.entries.write_many([Change(ref=ref, secret=Secret("x")) for ref in variables(*names)])
    site.allow(named(*names[::4]))
    first = anna.inventory.page("variable", limit=4)
    assert [row.ref.name for row in first] == names[:16:4]
    rest = anna.inventory.page("variable", after=first[-1].ref, limit=100)
    assert [row.ref.name for row in rest] == names[16::4]


def test_RT10_a_search_for_a_hidden_name_finds_what_one_for_none_does(site, admin, anna):
    put(admin, "secret/plan")
    put(admin, "a")
    site.allow(named("a"))
    assert anna.inventory.page("variable", prefix="secret/") == anna.inventory.page("variable", prefix="no/")
    pages = list(anna.inventory.pages(choice=Choice(prefix="secret/", with_shadowed=True)))
    assert pages == []


def test_whoever_may_list_everything_is_asked_of_nothing(site, admin):
    admin.entries.write_many([Change(ref=ref, secret=Secret("x")) for ref in variables("a", "b", "c")])
    rules = site.allow(named())
    assert len(admin.inventory.page()) == 3
    assert [question for question in rules.asked if question[2] is not None] == []


def test_whoever_may_list_nothing_is_refused(site, admin, anna):
    put(admin, "a")
    site.allow(lambda *_: False)
    with pytest.raises(AccessDeniedError):
        anna.inventory.page()


def test_names_are_listed_by_the_tags_they_have(site, admin, anna):
    put(admin, "a", metadata=PII)
    put(admin, "b", metadata=DEV)
    site.allow(tagged("dev"), needs_facts=True)
    assert [row.ref.name for row in anna.inventory.page()] == ["b"]


# --- describing, revealing, history ----------------------------------------------------------------------


def test_what_is_public_decides_about_an_entry_that_was_deleted(site, admin, anna):
    put(admin, "a", metadata=PII)
    admin.entries.delete(Ref("variable", "a"))
    site.allow(untagged("pii"), needs_facts=True)
    for act in (
        lambda: anna.entries.history(Ref("variable", "a")),
        lambda: anna.entries.undelete(Ref("variable", "a")),
        lambda: anna.entries.rollback(Ref("variable", "a"), "1"),
        lambda: anna.entries.diff(Ref("variable", "a"), "1", "1"),
        lambda: anna.entries.describe(Ref("variable", "a")),
        lambda: anna.entries.reveal(Ref("variable", "a"), reason="why"),
        lambda: put(anna, "a", metadata=DEV),
    ):
        with pytest.raises(AccessDeniedError):
            act()


@pytest.mark.parametrize("name", ["held", "absent", "deleted"])
def test_RT10_a_refusal_is_the_same_for_what_is_and_what_is_not(site, admin, anna, name):
    put(admin, "held")
    put(admin, "deleted")
    admin.entries.delete(Ref("variable", "deleted"))
    ref = Ref("variable", name)
    for act in (
        lambda: anna.entries.describe(ref),
        lambda: anna.entries.reveal(ref, reason="why"),
        lambda: anna.entries.history(ref),
        lambda: anna.entries.diff(ref, "1", "2"),
        lambda: anna.entries.delete(ref),
        lambda: anna.entries.undelete(ref),
        lambda: anna.entries.rollback(ref, "1"),
        lambda: put(anna, name),
        lambda: anna.lookup.explain(ref),
        lambda: anna.lookup.entry(ref),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            act()
        assert str(caught.value).endswith(f'variable "{name}"')
        assert (caught.value.reason, caught.value.hint) == ("the rules", None)


# --- writing ---------------------------------------------------------------------------------------------


def test_a_write_is_decided_on_what_stands_and_on_what_would_stand(site, admin, anna):
    put(admin, "prod", metadata=PII)
    put(admin, "dev", metadata=DEV)
    site.allow(tagged("dev"), needs_facts=True)
    put(anna, "dev", "new", metadata=DEV)
    put(anna, "dev", "newer")  # what stands beside it is kept
    put(anna, "made", metadata=DEV)
    with pytest.raises(AccessDeniedError):
        put(anna, "prod", metadata=DEV)  # what stands
    with pytest.raises(AccessDeniedError):
        put(anna, "dev", metadata=PII)  # what would stand
    with pytest.raises(AccessDeniedError):
        put(anna, "other", metadata=PII)
    with pytest.raises(AccessDeniedError):
        put(anna, "other")
    assert admin.lookup.variable("prod") == "x"
    assert admin.lookup.variable("dev") == "newer"


def test_a_connection_is_written_by_the_type_it_has_and_would_have(site, admin, anna):
    def postgres_only(_actor, _action, ref, facts):
        return ref is None or bool(facts and facts.conn_type == "postgres")

    def write(room, name, conn_type):
        text = json.dumps({"conn_type": conn_type, "host": "h"})
        room.entries.write(Change(ref=Ref("connection", name), secret=Secret(text)))

    write(admin, "bus", "kafka")
    site.allow(postgres_only, needs_facts=True)
    write(anna, "db", "postgres")
    with pytest.raises(AccessDeniedError):
        write(anna, "db", "kafka")
    with pytest.raises(AccessDeniedError):
        write(anna, "bus", "postgres")
    with pytest.raises(AccessDeniedError):
        anna.entries.delete(Ref("connection", "bus"))


def test_RT06_a_batch_is_refused_whole_for_one_that_may_not_be_written(site, admin, anna):
    put(admin, "held", metadata=PII)
    site.allow(tagged("dev"), needs_facts=True)
    changes = [Change(ref=ref, secret=Secret("n"), metadata=DEV) for ref in variables("a", "b", "held")]
    with pytest.raises(AccessDeniedError):
        anna.entries.write_many(changes)
    assert [row.ref.name for row in admin.inventory.page()] == ["held"]
    assert ("write", "a", "done") not in site.notebooks["prod"].acts()


def test_a_write_decided_on_what_stood_before_is_a_conflict(site, admin, anna):
    put(admin, "a", metadata=DEV)

    def and_then(actor, action, ref, facts):
        if action is Action.WRITE and actor == ANNA and facts == wanted and not moved:
            moved.append(put(admin, "a", "theirs", metadata=PII))
        return ref is None or bool(facts and "dev" in facts.tags)

    moved: list = []
    wanted = facts_of(Metadata(tags=("dev", "mine")))
    site.allow(and_then, needs_facts=True)
    with pytest.raises(ConflictError):
        put(anna, "a", "mine", metadata=Metadata(tags=("dev", "mine")))
    assert admin.lookup.variable("a") == "theirs"


def test_writing_needs_no_right_to_look(site, anna, admin):
    site.allow(lambda _actor, action, *_: action is Action.WRITE)
    put(anna, "a")
    with pytest.raises(AccessDeniedError):
        anna.entries.describe(Ref("variable", "a"))
    assert admin.lookup.variable("a") == "x"


def test_who_refers_to_what_he_may_not_read_writes_nothing(site, admin, anna):
    put(admin, "base", "hidden")
    site.allow(named("mine"))
    with pytest.raises(AccessDeniedError):
        put(anna, "mine", "${variable/base}", metadata=Metadata(references=True))
    assert admin.lookup.find(Ref("variable", "mine")) is None


# --- differences -----------------------------------------------------------------------------------------

OLD = {"conn_type": "postgres", "host": "old", "login": "svc", "password": "hunter2hunter2", "port": 5432}


DB = Ref("connection", "db")


def versions(room, *documents, ref=DB):
    for document in documents:
        text = document if isinstance(document, str) else json.dumps(document)
        room.entries.write(Change(ref=ref, secret=Secret(text)))
    return room.entries.diff(ref, "1", str(len(documents)))


def test_a_diff_names_the_fields_that_differ(admin):
    new = {**OLD, "host": "new", "password": "canary-canary", "schema": "s"}
    del new["login"]
    found = versions(admin, OLD, new)
    assert [(one.field, one.change) for one in found.fields] == [
        ("host", "changed"),
        ("login", "removed"),
        ("password", "changed"),
        ("schema", "added"),
    ]
    assert (found.is_same, found.backend, found.from_version, found.to_version) == (False, "native", "1", "2")


@pytest.mark.parametrize("password", ["c", "canary" * 100])
def test_a_diff_tells_no_value_and_no_length(admin, password):
    told = repr(versions(admin, OLD, {**OLD, "password": password}))
    assert "hunter2" not in told
    assert "canary" not in told
    assert told == repr(admin.entries.diff(Ref("connection", "db"), "1", "2"))
    assert "changed" in told


def test_a_diff_shows_of_both_versions_what_a_form_would_show(admin):
    one = {**OLD, "extra": {"sslmode": "require", "unheard_of": "canary"}}
    two = {**OLD, "host": "new", "password": "other", "extra": {"sslmode": "disable", "unheard_of": "c"}}
    found = {one.field: one for one in versions(admin, one, two).fields}
    texts = {name: (one.before.text, one.after.text) for name, one in found.items()}
    assert texts == {
        "host": ("old", "new"),
        "password": (None, None),
        "extra.sslmode": ("require", "disable"),
        "extra.unheard_of": (None, None),
    }


def test_a_field_that_came_or_went_has_one_side(admin):
    found = versions(admin, {**OLD, "login": None}, {**OLD, "port": None})
    sides = [(one.field, one.before is None, one.after is None) for one in found.fields]
    assert sides == [("login", True, False), ("port", False, True)]


def test_what_is_shown_is_what_the_type_of_that_version_shows(admin):
    one = {"conn_type": "postgres", "extra": {"sslmode": "require"}}
    two = {"conn_type": "acme", "extra": {"sslmode": "canary"}}
    told = {one.field: one for one in versions(admin, one, two).fields}
    assert told["conn_type"].after.text == "acme"
    assert "canary" not in repr(told)


def test_marks_of_one_field_are_equal_where_it_holds_the_same_and_of_no_other(admin):
    three = [{**OLD, "password": text, "login": text} for text in ("a", "b", "a")]
    versions(admin, *three)
    first, back = admin.entries.diff(DB, "1", "2"), admin.entries.diff(DB, "2", "3")
    marks = [
        {one.field: (one.before.mark, one.after.mark) for one in found.fields} for found in (first, back)
    ]
    assert marks[0]["password"] == marks[1]["password"][::-1]
    assert not set(marks[0]["password"]) & set(marks[0]["login"])
    other = versions(admin, *three[:2], ref=Ref("connection", "twin"))
    assert (
        marks[0]["password"]
        != {one.field: (one.before.mark, one.after.mark) for one in other.fields}["password"]
    )


def test_a_diff_counts_the_fields_there_are(admin):
    assert versions(admin, OLD, {**OLD, "schema": "s"}).total == 6


def test_a_rollback_of_what_changed_since_it_was_seen_is_refused(admin):
    versions(admin, OLD, {**OLD, "host": "new"})
    with pytest.raises(ConflictError) as caught:
        admin.entries.rollback(DB, "1", seen="1")
    assert caught.value.current_version == "2"
    assert admin.entries.rollback(DB, "1", seen="2").version == "3"


def test_equal_versions_are_the_same(admin):
    found = versions(admin, OLD, OLD)
    assert (found.is_same, found.fields) == (True, ())


def test_the_same_in_other_words_has_no_field_that_differs(admin):
    found = versions(admin, OLD, json.dumps(OLD, indent=2))
    assert (found.is_same, found.fields) == (False, ())


def test_a_variable_differs_as_a_whole(admin):
    found = versions(admin, "a", "b", ref=Ref("variable", "v"))
    assert [(one.field, one.change) for one in found.fields] == [("value", "changed")]


def test_keys_of_extra_are_named_where_a_form_shows_them(admin):
    one = {**OLD, "extra": {"sslmode": "require", "keepalives": 1}}
    two = {**OLD, "extra": {"sslmode": "disable", "keepalives": 1}}
    assert [found.field for found in versions(admin, one, two).fields] == ["extra.sslmode"]


def test_versions_of_a_deleted_entry_can_be_compared(admin):
    versions(admin, OLD, {**OLD, "host": "new"})
    admin.entries.delete(Ref("connection", "db"))
    assert [one.field for one in admin.entries.diff(Ref("connection", "db"), "1", "2").fields] == ["host"]


@pytest.mark.parametrize("version", ["9", "x", "", "*", "-1"])
def test_a_version_that_is_none_is_not_found(admin, version):
    versions(admin, OLD, OLD)
    with pytest.raises((NotFoundError, InvalidInputError)) as caught:
        admin.entries.diff(Ref("connection", "db"), "1", version)
    assert "hunter2" not in str(caught.value)
