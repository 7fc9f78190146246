"""The form of an entry: typed, checked, reviewed, merged, saved; secrets go in and never come out."""

from __future__ import annotations

import html
import json
import re

import pytest

from parts.browser import ADA, MEI, PASSWORD, SETTINGS, axe, browsing, furnished, overflows, settled
from parts.seat import Seat
from strongroom import catalog
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.ui.drafts import LIFETIME_SECONDS, Drafts
from strongroom.service.entries import Change
from strongroom.service.merging import Edit, save
from strongroom.service.policies import Draft

CANARY = "canary-of-the-form"
TYPED = "typed-canary"
FIELDS = {
    "conn_type": "postgres",
    "host": "orders-db.example.com",
    "login": "etl_writer",
    "password": CANARY,
    "schema": "orders",
    "port": 5432,
    "extra": {"sslmode": "verify-full", "unheard_of": CANARY},
}
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('{{7*7}}')</script>'"
TESTED = SETTINGS.replace(
    "[server.limits]", '[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n[server.limits]'
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("form"), TESTED) as server:
        known = server.house.deployment().root.access.people
        known.add("kai", Secret(PASSWORD), roles=[Role("admin")])
        yield server


@pytest.fixture(scope="module")
def room(house):
    return house.house.deployment().root


@pytest.fixture
def db(house, room, request):
    """A connection of the test's own."""
    name = f"db_{re.sub('[^a-z0-9]', '_', request.node.name.lower())[:60]}"
    ref = Ref("connection", name)
    room.entries.write(Change(ref=ref, secret=Secret(json.dumps(FIELDS))), to="native", force=True)
    return ref


@pytest.fixture
def ada(house):
    return Seat(house, ADA)


def text_of(answer):
    return html.unescape(answer.body.decode())


def shown(answer):
    """Give every named control of the page with its value."""
    return dict(re.findall(r'name="([^"]+)"[^>]*? value="([^"]*)"', answer.body.decode()))


def stored(room, ref):
    return room.lookup.connection(ref.name).to_dict(reveal=True)


def typed(was, **changes):
    """Give what a form sends of changed fields: what is typed and what stood there."""
    fields = {}
    for name, value in changes.items():
        path = name.replace("__", ".")
        fields[f"f.{path}"] = value
        fields[f"w.{path}"] = was.get(path, "")
    return fields


def hidden(answer, form="save-form"):
    """Give the hidden fields of one form of a page."""
    body = answer.body.decode()
    part = body[body.index(f'id="{form}"') :]
    part = part[: part.index("</form>")]
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', part)
    return {html.unescape(name): html.unescape(value) for name, value in pairs if name != "csrf"}


WAS = {"host": "orders-db.example.com", "port": "5432", "extra.sslmode": "verify-full", "schema": "orders"}


# --- how it is drawn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgres", "aws", "kafka", "http", "snowflake", "my_custom_type"])
def test_the_form_of_a_type_is_drawn(ada, kind):
    answer = ada.get(f"/entries/new?kind=connection&type={kind}")
    assert answer.status == 200
    found = catalog.find(kind)
    for one in found.standard if found else ():
        assert f'id="f-{one.name}"' in answer.body.decode()


def test_every_connection_of_airflow_has_a_form_without_its_secrets(ada, room):
    for page in room.inventory.pages("connection"):
        for row in page:
            answer = ada.get(f"/edit/connection/{row.ref.name}")
            assert answer.status == 200, row.ref
            if row.backend != "native":
                continue
            password = stored(room, row.ref)["password"]
            if password and len(password) > 7:
                assert password not in text_of(answer), row.ref


def test_the_form_says_what_is_stored_and_seals_what_is_secret(ada, db):
    answer = ada.get(f"/edit/connection/{db.name}")
    fields = shown(answer)
    assert (fields["f.host"], fields["f.port"]) == ("orders-db.example.com", "5432")
    assert CANARY not in text_of(answer)
    assert text_of(answer).count("Sealed, unchanged") == 2


def test_a_sealed_field_is_shown_or_copied_by_who_may_reveal(house, ada, db):
    answer = text_of(ada.get(f"/edit/connection/{db.name}"))
    for act in ("show", "copy"):
        assert f"/reveal/connection/{db.name}?part=password&act={act}" in answer
    people = house.house.deployment().root.access.people
    people.add("op.of.forms", Secret(PASSWORD), roles=[Role("op")])
    assert "/reveal/" not in text_of(Seat(house, "person:op.of.forms").get(f"/edit/connection/{db.name}"))


def test_a_variable_has_its_value_sealed(ada, room):
    room.entries.write(Change(ref=Ref("variable", "v_sealed"), secret=Secret(CANARY)), to="native")
    answer = ada.get("/edit/variable/v_sealed")
    assert answer.status == 200
    assert CANARY not in text_of(answer)


def test_who_may_only_look_is_told_so(house, db):
    answer = Seat(house, MEI).get(f"/edit/connection/{db.name}")
    assert answer.status in (200, 403)
    if answer.status == 200:
        assert "not change it" in text_of(answer)


def test_a_backend_that_cannot_be_written_is_named(ada):
    assert "env cannot be written from here" in text_of(ada.get("/edit/connection/billing_api"))


# --- while it is filled in ---------------------------------------------------------------------------


def test_what_is_wrong_is_told_at_its_field_as_one_types(ada, db):
    fields = {"act": "check", "seen": "1", **typed(WAS, port="5432O", extra__sslmode="disable")}
    answer = ada.post(f"/edit/connection/{db.name}", fields, htmx="check")
    body = text_of(answer)
    port = body[body.index('id="say-f-port"') :].split("</div>")[0]
    assert "This one ends in the letter O." in port
    assert "Version 1 had" in body[body.index('id="say-f-extra-sslmode"') :].split("</div>")[0]
    assert "<html" not in body


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("port", "0x10", "from 1 to 65535"),
        ("port", "70000", "larger"),
        ("extra.connect_timeout", "soon", "whole number"),
        ("remind_at", "tomorrow", "2026-12-31"),
        ("owner", "x" * 300, "250 characters"),
        ("tags", " ".join(f"t{n}" for n in range(60)), "50 tags"),
    ],
)
def test_what_does_not_fit_is_kept_in_the_form_and_told(ada, db, path, text, said):
    fields = {"act": "review", "seen": "1", f"f.{path}": text, f"w.{path}": ""}
    answer = ada.post(f"/edit/connection/{db.name}", fields)
    assert answer.status == 422
    assert said in text_of(answer)
    assert text in text_of(answer)


def test_a_typed_secret_is_sealed_at_once_and_saved(ada, db, room):
    first = ada.post(f"/edit/connection/{db.name}", {"seen": "1", "s.password": TYPED, "act": "review"})
    assert first.status == 200
    assert TYPED not in text_of(first)
    saved = ada.post(f"/entries/connection/{db.name}", hidden(first))
    assert (saved.status, saved.headers["location"]) == (303, f"/entries/connection/{db.name}")
    found = stored(room, db)
    assert (found["password"], found["host"], found["extra"]["unheard_of"]) == (TYPED, FIELDS["host"], CANARY)


def test_a_typed_secret_belongs_to_who_typed_it(house, ada, db):
    first = ada.post(f"/edit/connection/{db.name}", {"seen": "1", "s.password": TYPED, "act": "review"})
    other = Seat(house, "person:kai")
    answer = other.post(f"/entries/connection/{db.name}", hidden(first))
    assert answer.status == 422
    assert stored(house.house.deployment().root, db)["password"] == CANARY


def test_a_secret_that_waited_too_long_is_asked_for_again(ada, db, room):
    first = ada.post(f"/edit/connection/{db.name}", {"seen": "1", "s.password": TYPED, "act": "review"})
    answer = ada.post(f"/entries/connection/{db.name}", {**hidden(first), "draft": "gone"})
    assert answer.status == 422
    assert "1 secret you typed was held for half an hour" in text_of(answer)
    assert stored(room, db)["password"] == CANARY


def test_a_sealed_field_is_taken_out(ada, db, room):
    first = ada.post(
        f"/edit/connection/{db.name}", {"seen": "1", "c.extra.unheard_of": "yes", "act": "review"}
    )
    ada.post(f"/entries/connection/{db.name}", hidden(first))
    assert stored(room, db)["extra"] == {"sslmode": "verify-full"}


def test_looking_at_what_was_typed_compares_nothing_with_a_stored_secret(ada, db):
    """Lint tells that a login is the same as the password; a form must not tell who cannot reveal it."""
    guess = {"act": "check", "seen": "1", **typed({"login": "etl_writer"}, login=CANARY)}
    wrong = {"act": "check", "seen": "1", **typed({"login": "etl_writer"}, login="canary-of-another")}
    answers = [ada.post(f"/edit/connection/{db.name}", one, htmx="check") for one in (guess, wrong)]
    said = [text_of(one)[text_of(one).index('id="say-f-login"') :].split("</div>")[0] for one in answers]
    assert said[0] == said[1]


# --- paste anything ----------------------------------------------------------------------------------


def test_what_is_pasted_fills_the_form_and_its_secret_is_sealed(ada, room):
    text = f"PGPASSWORD='{TYPED}' psql -h db.example.com -p 5433 -U svc -d orders"
    answer = ada.post("/entries/new", {"kind": "connection", "act": "paste", "paste": text, "name": "pasted"})
    fields, body = shown(answer), text_of(answer)
    assert (fields["f.host"], fields["f.port"], fields["name"]) == ("db.example.com", "5433", "pasted")
    assert "Read as psql command" in body
    assert TYPED not in body
    carried = {name: value for name, value in fields.items() if name[:2] in ("f.", "w.")}
    again = {"kind": "connection", "name": "pasted", "draft": fields["draft"], "f.conn_type": "postgres"}
    review = ada.post("/entries/new", {**carried, **again, "act": "review"})
    made = ada.post("/entries", hidden(review))
    assert made.status == 303
    found = stored(room, Ref("connection", "pasted"))
    assert (found["host"], found["password"]) == ("db.example.com", TYPED)


def test_what_cannot_be_read_changes_nothing_and_is_not_repeated(ada):
    answer = ada.post(
        "/entries/new", {"kind": "connection", "act": "paste", "paste": f'{{"a": {TYPED}', "f.host": "h"}
    )
    assert answer.status == 422
    assert TYPED not in text_of(answer)
    assert "Nothing was changed." in text_of(answer)
    assert shown(answer)["f.host"] == "h"


def test_of_several_connections_one_is_chosen(ada):
    text = "[one]\nhost=a\nuser=u\ndbname=d\n[two]\nhost=b\nuser=u\ndbname=d\n"
    answer = ada.post("/entries/new", {"kind": "connection", "act": "paste", "paste": text})
    assert "2 connections" in text_of(answer)
    held = shown(answer)["paste_held"]
    chosen = ada.post(
        "/entries/new", {"kind": "connection", "act": "paste", "paste_held": held, "pick": "two"}
    )
    assert (shown(chosen)["f.host"], shown(chosen)["name"]) == ("b", "two")


# --- saving ------------------------------------------------------------------------------------------


def test_only_what_was_changed_is_written_and_untouched_fields_need_not_be_sent(ada, db, room):
    ada.get(f"/edit/connection/{db.name}")
    fields = {"seen": "1", **typed(WAS, host="db2", schema="orders")}
    answer = ada.post(f"/entries/connection/{db.name}", fields)
    assert answer.status == 303
    assert stored(room, db) == {**FIELDS, "host": "db2", "description": None}


def test_nothing_changed_is_nothing_written(ada, db, room):
    answer = ada.post(f"/entries/connection/{db.name}", {"seen": "1", **typed(WAS, schema="orders")})
    assert answer.status == 303
    assert room.entries.describe(db).version == "1"


def other_saves(room, db, **changes):
    found = room.entries.describe(db)
    save(room.entries, Edit(ref=db, changes=changes, seen=found.version))


def test_two_people_who_change_different_fields_both_keep_theirs(ada, db, room):
    other_saves(room, db, port=5433)
    answer = ada.post(f"/entries/connection/{db.name}", {"seen": "1", **typed(WAS, host="db2")})
    assert answer.status == 303
    assert (stored(room, db)["host"], stored(room, db)["port"]) == ("db2", 5433)


@pytest.mark.parametrize(("take", "host"), [("mine", "db2"), ("theirs", "db3")])
def test_two_people_who_change_the_same_field_are_asked(ada, db, room, take, host):
    other_saves(room, db, host="db3", port=5433)
    fields = {"seen": "1", **typed(WAS, host="db2", schema="other")}
    answer = ada.post(f"/entries/connection/{db.name}", fields)
    body = text_of(answer)
    assert answer.status == 409
    assert ("db2" in body, "db3" in body) == (True, True)
    assert stored(room, db)["host"] == "db3"
    merged = ada.post(f"/entries/connection/{db.name}", {**hidden(answer, "merge-form"), "take.host": take})
    assert merged.status == 303
    found = stored(room, db)
    assert (found["host"], found["port"], found["schema"]) == (host, 5433, "other")


def test_what_was_deleted_meanwhile_is_offered_anew_with_what_was_typed(ada, db, room):
    room.entries.delete(db, at="native")
    answer = ada.post(f"/entries/connection/{db.name}", {"seen": "1", **typed(WAS, host="db2")})
    assert answer.status == 409
    assert "was deleted while you were typing" in text_of(answer)
    assert shown(answer)["f.host"] == "db2"


def test_a_new_name_that_is_taken_is_told_at_the_name(ada, db):
    fields = {"kind": "connection", "name": db.name, "f.conn_type": "http", "f.host": "h"}
    answer = ada.post("/entries", fields)
    assert answer.status == 409
    assert "This name is taken in native" in text_of(answer)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "connection", "f.host": "h"}, "A name is needed"),
        ({"kind": "connection", "name": "n", "f.host": "h"}, "A type is needed"),
        ({"kind": "variable", "name": "n"}, "A variable has a value"),
        ({"kind": "connection", "name": "a" * 300, "f.conn_type": "http"}, "Name"),
    ],
)
def test_what_is_missing_of_a_new_entry_is_told(ada, fields, said):
    answer = ada.post("/entries", fields)
    assert answer.status == 422
    assert said in text_of(answer)


def test_a_variable_is_made_and_edited(ada, room):
    made = ada.post(
        "/entries", {"kind": "variable", "name": "v_made", "s.value": '{"a": 1}', "f.tags": "pii, eu"}
    )
    assert made.status == 303
    ref = Ref("variable", "v_made")
    assert (room.lookup.variable("v_made"), room.entries.describe(ref).metadata.tags) == (
        '{"a": 1}',
        ("eu", "pii"),
    )
    ada.post("/entries/variable/v_made", {"seen": "1", "f.owner": "mei", "w.owner": ""})
    found = room.entries.describe(ref)
    assert (found.metadata.owner, room.lookup.variable("v_made")) == ("mei", '{"a": 1}')


# --- attacks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["host", "login", "schema", "extra.application_name", "description", "owner"]
)
def test_RT32_what_is_hostile_is_drawn_as_text(ada, db, path):
    fields = {"act": "form", "seen": "1", f"f.{path}": HOSTILE, f"w.{path}": ""}
    body = ada.post(f"/edit/connection/{db.name}", fields).body.decode()
    assert "<img src=x" not in body
    assert "{{7*7}}" in html.unescape(body) or "49" not in body


def test_UI03_a_save_without_the_token_of_the_page_is_refused(ada, db, room):
    ada.get(f"/edit/connection/{db.name}")
    answer = ada.post(f"/entries/connection/{db.name}", {"seen": "1", **typed(WAS, host="x")}, csrf="wrong")
    assert answer.status == 403
    assert stored(room, db)["host"] == FIELDS["host"]


def test_who_may_not_write_saves_nothing(house, db, room):
    mei = Seat(house, MEI)
    answer = mei.post(f"/entries/connection/{db.name}", {"seen": "1", **typed(WAS, host="x")})
    assert answer.status == 403
    assert stored(room, db)["host"] == FIELDS["host"]


def test_a_field_that_is_not_known_is_refused(ada, db):
    assert ada.post(f"/edit/connection/{db.name}", {"act": "form", "zz": "1"}).status == 422


# --- tests from this server --------------------------------------------------------------------------


@pytest.fixture
def listening(house, room):
    ref = Ref("connection", "listening")
    text = f"ftp://svc:{CANARY}@127.0.0.1:{house.port}/"
    room.entries.write(Change(ref=ref, secret=Secret(text)), to="native", force=True)
    return ref


def test_a_test_from_this_server_is_kept_and_shown_step_by_step(ada, listening, house):
    answer = ada.post(f"/test/connection/{listening.name}", {"from": "server"}, htmx="tests")
    assert answer.status == 200
    shown = text_of(answer)
    assert all(word in shown for word in ("works", "Connection", "ms", "from this server"))
    (kept, *_) = house.house.deployment().trials.of(listening)
    assert (kept.is_ok, kept.by, kept.place) == (True, ADA, "server")
    for page in (f"/edit/connection/{listening.name}", f"/entries/connection/{listening.name}?tab=tests"):
        assert "works" in text_of(ada.get(page))


def test_a_test_that_fails_shows_the_step_and_what_to_do_and_no_secret(ada, db, room, house):
    save(room.entries, Edit(ref=db, changes={"conn_type": "ftp", "host": "127.0.0.1", "port": 1}, seen="1"))
    answer = ada.post(f"/test/connection/{db.name}", {"from": "server"}, htmx="tests")
    (kept,) = house.house.deployment().trials.of(db)
    assert not kept.is_ok
    shown = text_of(answer)
    assert "does not work" in shown
    assert kept.tested.advice in shown
    assert CANARY not in answer.body.decode()


def test_a_place_that_there_is_not_is_told_as_a_problem(ada, db):
    answer = ada.post(f"/test/connection/{db.name}", {"from": "agent:nobody"}, htmx="tests")
    assert "there is no agent nobody" in text_of(answer)


def test_who_may_look_at_it_and_not_test_it_is_told_so_and_not_which_agents_there_are(house, listening):
    known = house.house.deployment().root
    known.access.people.add("noa", Secret(PASSWORD), roles=[Role("lookers")])
    text = 'permit (principal in Role::"lookers", action in [Action::"list", Action::"describe"], resource);'
    known.policies.put(Draft(text, "lookers"))
    answer = Seat(house, "person:noa").get(f"/test/connection/{listening.name}")
    assert "needs the right" in text_of(answer)
    assert 'id="f-from"' not in text_of(answer)
    assert (
        Seat(house, "person:noa").post(f"/test/connection/{listening.name}", {"from": "server"}).status == 403
    )


# --- drafts ------------------------------------------------------------------------------------------


class Asker:
    def __init__(self, actor):
        self.deployment = "prod"
        self.identity = type("I", (), {"actor": type("A", (), {"id": actor})()})()


def test_a_draft_is_its_owners_and_ends():
    now = [0.0]
    drafts = Drafts(lambda: now[0])
    ada, eve = Asker("ada"), Asker("eve")
    key = drafts.put(ada, {"password": "x"}, size=1)
    assert drafts.get(eve, key) is None
    drafts.drop(eve, key)
    assert drafts.get(ada, key) == {"password": "x"}
    now[0] = LIFETIME_SECONDS + 1
    assert drafts.get(ada, key) is None


def test_drafts_are_bounded_for_one_and_for_all():
    drafts, ada, eve = Drafts(), Asker("ada"), Asker("eve")
    first = drafts.put(eve, "e", size=1)
    keys = [drafts.put(ada, n, size=1) for n in range(60)]
    assert sum(drafts.get(ada, key) is not None for key in keys) == 40
    assert drafts.get(eve, first) == "e"
    drafts.put(ada, "big", size=70_000_000)
    assert drafts.get(eve, first) == "e"


def test_whoever_brings_most_makes_room_for_others():
    drafts, eve, eleven = Drafts(), Asker("eve"), [Asker(f"person {n}") for n in range(11)]
    first = drafts.put(eve, "e", size=100)
    for _ in range(3):
        keys = [drafts.put(one, one, size=16_000_000) for one in eleven]
    assert drafts.get(eve, first) == "e"
    # What is held is bounded, however many bring something; the newest of each stays longest.
    assert 0 < sum(drafts.get(one, key) is not None for one, key in zip(eleven, keys, strict=True)) <= 4


# --- journeys in a browser ---------------------------------------------------------------------------


def test_a_connection_is_edited_by_keyboard_alone(chromium, house, db, room):
    with browsing(chromium, house) as page:
        page.goto(f"/edit/connection/{db.name}")
        page.focus("#f-host")
        page.keyboard.press("Control+a")
        page.keyboard.type("db2.example.com")
        page.keyboard.press("Tab")
        page.wait_for_selector("#foot-said:has-text('host')")
        with page.expect_request(lambda asked: asked.method == "POST") as asked:
            page.focus("#f-host")
            page.keyboard.press("Enter")
        page.wait_for_selector("#save-form")
        sent = asked.value.post_data
        assert "f.host=" in sent
        assert "f.port=" not in sent
        page.focus(".formfoot .btn.main")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/entries/connection/{db.name}")
    assert stored(room, db) == {**FIELDS, "host": "db2.example.com", "description": None}


def test_a_sealed_field_is_copied_beside_the_form_and_what_was_typed_stays(chromium, house, db):
    with browsing(chromium, house) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=house.address)
        page.goto(f"/edit/connection/{db.name}")
        page.fill("#f-schema", "half typed")
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Copy password without showing it").click()
        beside = opened.value
        beside.fill("form.why input[name=reason]", "for psql")
        beside.keyboard.press("Enter")
        beside.wait_for_selector("text=without being shown. Recorded.")
        assert beside.evaluate("navigator.clipboard.readText()") == CANARY
        assert CANARY not in beside.content()
        assert page.input_value("#f-schema") == "half typed"


def test_a_connection_is_edited_without_script(chromium, house, db, room):
    with browsing(chromium, house, script=False) as page:
        page.goto(f"/edit/connection/{db.name}")
        page.fill("#f-port", "5433")
        page.click(".swap summary >> nth=0")
        page.fill("#f-password", TYPED)
        page.click(".formfoot .btn.main")
        assert TYPED not in page.content()
        page.click(".formfoot .btn.main")
        assert page.url.endswith(f"/entries/connection/{db.name}")
    found = stored(room, db)
    assert (found["port"], found["password"], found["host"]) == (5433, TYPED, FIELDS["host"])


def test_a_conflict_is_merged_in_the_browser(chromium, house, db, room):
    with browsing(chromium, house, theme="dark", width=360, allowed=("409",)) as page:
        page.goto(f"/edit/connection/{db.name}")
        page.fill("#f-host", "db2")
        other_saves(room, db, host="db3")
        page.click(".formfoot .btn.main")
        page.wait_for_selector("#save-form", state="attached")
        page.click(".formfoot .btn.main")
        page.wait_for_selector("#merge-form")
        settled(page)
        assert axe(page) == []
        assert overflows(page) == 0
        page.check("input[name='take.host'][value=theirs]")
        page.click(".formfoot .btn.main")
        page.wait_for_url(f"**/entries/connection/{db.name}")
    assert stored(room, db)["host"] == "db3"


def test_errors_bar_nobody_and_a_paste_fills_the_form_without_its_secret(chromium, house, db):
    with browsing(chromium, house, allowed=("422",)) as page:
        page.goto(f"/edit/connection/{db.name}")
        page.fill("#f-port", "5432O")
        page.click(".formfoot .btn.main")
        page.wait_for_selector("#errors")
        assert axe(page) == []
        page.fill("#paste", f"postgres://u:{TYPED}@db9/x")
        page.click("[data-paste-read]")
        page.wait_for_selector(".paste .st.ok")
        assert page.input_value("#f-host") == "db9"
        assert TYPED not in page.content()


def test_a_save_is_undone_from_its_message(chromium, house, db, room):
    with browsing(chromium, house) as page:
        page.goto(f"/edit/connection/{db.name}")
        page.fill("#f-host", "db2")
        page.click(".formfoot .btn.main")
        page.wait_for_selector("#save-form", state="attached")
        page.click(".formfoot .btn.main")
        page.click(".toast button")
        page.wait_for_selector(".toast:has-text('Rolled back')")
    assert stored(room, db)["host"] == FIELDS["host"]
