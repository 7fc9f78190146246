"""The page of one entry: its tabs, its history, and the reveal, which is attacked first."""

from __future__ import annotations

import html
import json
import re
import shlex
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote

import pytest

from parts.browser import ADA, MEI, PASSWORD, barriers, browsing, furnished, settled, signed_in
from parts.seat import Seat
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.ui.entry import twin_of
from strongroom.server.ui.entry_rows import lines_of
from strongroom.service.entries import Change
from strongroom.service.spelled import part_of

DB = Ref("connection", "orders_db")
PATH = "connection/orders_db"
CANARY = "canary-of-the-password"
SECOND = "canary-of-the-extra"
FIELDS = {
    "conn_type": "postgres",
    "host": "orders-db.example.com",
    "login": "etl_writer",
    "password": CANARY,
    "schema": "orders",
    "port": 5432,
    "extra": {"sslmode": "verify-full", "unheard_of": SECOND},
}
TABS = ("form", "json", "uri", "env", "history", "used", "resolution", "access", "tests")
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('{{7*7}}')</script>'--%0d%0aX: y"


def write(house, fields, *, ref=DB, comment="", **metadata):
    """Write a connection, or a variable of a text."""
    text = fields if isinstance(fields, str) else json.dumps(fields)
    change = Change(ref=ref, secret=Secret(text), metadata=Metadata(**metadata) if metadata else None)
    return (
        house.house.deployment().root.entries.write(change, to="native", force=True, comment=comment).version
    )


@pytest.fixture(scope="module")
def room(house):
    root = house.house.deployment().root
    write(house, {**FIELDS, "password": "older", "extra": {"sslmode": "require"}}, comment="Promoted")
    write(house, FIELDS, comment="Password changed after the vendor's notice")
    return root


@pytest.fixture
def ada(house, room):
    return Seat(house, ADA)


@pytest.fixture
def mei(house, room):
    return Seat(house, MEI)


def reveals(room, name="orders_db"):
    """Give what is on record of reveals of one entry, oldest first."""
    return [one for one in room.audit.tail(200) if one.action == "reveal" and one.name == name]


def reveal(seat, part="password", reason="checking the port", path=PATH, act="show", **more):
    return seat.post(f"/reveal/{path}", {"part": part, "act": act, "reason": reason}, **more)


# --- nothing before the reveal -------------------------------------------------------------------


def secrets_of(room):
    """Give every secret of the house long enough to be told from chance."""
    found = set()
    for row in (row for page in room.inventory.pages() for row in page):
        if row.backend != "native":
            continue
        entry = room.entries.reveal(row.ref, reason="what to look for")
        described = room.entries.describe(row.ref)
        if described.connection is None:
            found.add(part_of(entry, "value"))
        else:
            sealed = [line.part for line in lines_of(described)[0] if line.text is None]
            found |= {part_of(entry, part) for part in sealed}
    return {text for text in found if len(text) > 7}


def test_UI07_no_tab_of_any_entry_holds_a_secret(house, room, ada):
    canaries = secrets_of(room)
    assert CANARY in canaries
    assert len(canaries) > 25
    for page in room.inventory.pages():
        for row in page:
            for tab in ("form", "json"):
                answer = ada.get(f"/entries/{row.ref.kind}/{quote(row.ref.name)}?tab={tab}")
                assert answer.status == 200, (row.ref, tab, answer.body)
                text = html.unescape(answer.body.decode())
                assert [one for one in canaries if one in text] == [], (row.ref, tab)


@pytest.mark.parametrize("tab", TABS)
def test_UI07_no_tab_holds_what_is_sealed_nor_how_long_it_is(house, ada, tab):
    long, short = Ref("connection", "twin_of_long"), Ref("connection", "twin_of_short")
    for ref, password in ((long, CANARY * 5), (short, "x")):
        write(house, {**FIELDS, "password": password, "extra": {"unheard_of": password}}, ref=ref)
    pages = [ada.get(f"/entries/connection/{ref.name}?tab={tab}").body.decode() for ref in (long, short)]
    assert CANARY not in pages[0]
    plain = [
        re.sub(r"(?i)twin_of_\w+|value=\"[^\"]*\"|X-CSRF-Token[^}]*|seal-\w+|<time.*?</time>|\d+", "", one)
        for one in pages
    ]
    assert plain[0] == plain[1] or tab in ("history", "resolution")


def test_asking_for_the_reason_looks_nothing_up_and_is_not_on_record(ada, room):
    before = len(reveals(room))
    answer = ada.get(f"/reveal/{PATH}?part=password&act=show")
    assert answer.status == 200
    assert CANARY.encode() not in answer.body
    there = ada.get("/reveal/connection/never_was?part=password&act=show")
    assert there.status == 200
    assert len(reveals(room)) == before


# --- the reveal, as an attacker would have it ----------------------------------------------------


def test_a_reveal_gives_the_one_part_and_is_on_record_with_what_was_shown(ada, room):
    answer = reveal(ada, htmx="seal")
    assert answer.status == 200
    assert CANARY.encode() in answer.body
    assert SECOND.encode() not in answer.body
    last = reveals(room)[-1]
    assert (last.actor, last.outcome, last.reason) == (ADA, "found", "checking the port [password shown]")


def test_UI06_the_answer_is_kept_nowhere_and_sends_the_browser_back(ada):
    answer = reveal(ada, headers={"Accept-Encoding": "gzip"})
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["refresh"] == f"30; url=/entries/{PATH}"
    assert CANARY not in str(answer.headers)
    assert 'autocomplete="off"' in answer.body.decode() or "<input" not in answer.body.decode()


def test_the_length_of_an_answer_tells_nothing_since_it_is_not_packed_and_repeats_nothing(ada):
    answer = reveal(ada, reason=f"guess: {CANARY[:9]}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers.get("content-encoding") in (None, "identity")
    assert answer.body.decode().count("guess:") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": None, "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": None, "Origin": None},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json"},
    ],
)
def test_UI03_a_reveal_from_elsewhere_is_refused_and_nothing_leaves(ada, room, headers):
    before = [one.outcome for one in reveals(room)]
    answer = reveal(ada, headers=headers)
    assert answer.status in (400, 403, 415)
    assert CANARY.encode() not in answer.body
    assert [one.outcome for one in reveals(room)] == before


@pytest.mark.parametrize("token", ["", "x", "A" * 88])
def test_UI03_a_reveal_without_the_token_of_our_own_pages_is_refused(ada, room, token):
    before = len(reveals(room))
    answer = reveal(ada, csrf=token)
    assert answer.status == 403
    assert CANARY.encode() not in answer.body
    assert len(reveals(room)) == before


def test_UI03_the_token_of_another_is_refused(ada, mei):
    mei.get("/entries/variable/region")
    assert reveal(ada, csrf=mei.csrf).status == 403


@pytest.mark.parametrize("reason", ["", "   ", "\n\t", "x" * 301, "a\x07b"])
def test_AA14_a_reveal_needs_a_reason_and_keeps_what_was_typed(ada, room, reason):
    before = len(reveals(room))
    answer = reveal(ada, reason=reason, htmx="seal")
    assert answer.status == 422
    assert CANARY.encode() not in answer.body
    assert b"aria-invalid" in answer.body
    assert len(reveals(room)) == before


def test_AA14_a_screen_that_was_left_alone_reveals_nothing_and_that_is_on_record(house, room):
    stale = Seat(house, ADA, proven=timedelta(hours=2))
    answer = reveal(stale, reason="left alone", htmx="seal")
    assert answer.status == 403
    assert CANARY.encode() not in answer.body
    last = reveals(room)[-1]
    assert last.outcome == "denied"
    assert "left alone" in last.reason


def test_who_may_look_and_not_reveal_sees_no_button_and_gets_nothing(house, room):
    room.access.people.add("otto", Secret("four plain words here"), roles=[Role("op")])
    otto = Seat(house, "person:otto")
    page = otto.get(f"/entries/{PATH}").body.decode()
    assert "/reveal/" not in page
    assert "not reveal it" in page
    answer = reveal(otto)
    assert answer.status == 403
    assert CANARY.encode() not in answer.body
    assert reveals(room)[-1].outcome == "denied"


def test_who_may_not_even_look_is_told_nothing(mei):
    for answer in (mei.get(f"/entries/{PATH}"), reveal(mei)):
        assert answer.status in (403, 404)
        assert b"orders-db.example.com" not in answer.body
        assert CANARY.encode() not in answer.body


def test_a_repeated_key_of_idempotency_keeps_no_secret_for_later(ada, room):
    before = len(reveals(room))
    for _ in range(2):
        assert reveal(ada, headers={"Idempotency-Key": "0123456789abcdef"}).status == 200
    assert len(reveals(room)) == before + 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_no_other_method_reveals(ada, room, method):
    before = len(reveals(room))
    answer = ada.ask(method, f"/reveal/{PATH}?part=password&act=show&reason=x")
    assert CANARY.encode() not in answer.body
    assert len(reveals(room)) == before


@pytest.mark.parametrize("part", ["passwd", "extra.none", "__class__", "password.x", "extra", "uri "])
def test_a_part_that_is_not_there_is_said_so_and_nothing_else_is_shown(ada, part):
    answer = reveal(ada, part=part)
    assert answer.status in (200, 404)
    if part != "extra":
        assert answer.status == 404
        assert CANARY.encode() not in answer.body
    assert answer.status == 200 or SECOND.encode() not in answer.body


@pytest.mark.parametrize("part", ["", "x" * 121, "a\nb", "\x00"])
def test_a_part_that_can_be_none_is_refused(ada, part):
    assert reveal(ada, part=part).status in (400, 422)


def test_a_value_that_looks_like_a_page_is_shown_as_text(house, ada):
    ref = Ref("variable", "hostile_value")
    write(house, f"\n</pre>{HOSTILE}", ref=ref)
    text = reveal(ada, part="value", path="variable/hostile_value").body.decode()
    assert "<script>alert" not in text
    assert "&lt;/pre&gt;" in text


def test_UI08_to_copy_is_a_reveal_that_only_our_script_gets(ada, room):
    before = len(reveals(room))
    page = reveal(ada, act="copy", headers={"Accept": "text/html"})
    assert CANARY.encode() not in page.body
    assert len(reveals(room)) == before
    answer = reveal(ada, act="copy", headers={"Accept": "text/plain"})
    assert (answer.status, answer.body) == (200, CANARY.encode())
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "no-store" in answer.headers["cache-control"]
    assert reveals(room)[-1].reason == "checking the port [password copied]"


def test_no_log_holds_what_was_revealed_nor_why(house, ada):
    reveal(ada, reason="reason-for-nobody-else")
    assert CANARY not in house.log
    assert "reason-for-nobody-else" not in house.log


def test_a_second_person_is_asked_first_and_agrees_once(house, room, ada):
    write(house, CANARY, ref=Ref("variable", "two_people"))
    room.policies.require_two("two-person-reveal", is_on=True)
    try:
        path = "variable/two_people"
        asked = reveal(ada, part="value", path=path, htmx="seal")
        assert asked.status == 202
        assert CANARY.encode() not in asked.body
        assert b"second person" in asked.body
        room.access.people.add("boss", Secret("four plain words here"), roles=[Role("admin")])
        boss = house.house.room("prod", Seat(house, "person:boss").actor)
        (wanted,) = [one for one in room.policies.approvals.list() if one.state == "pending"]
        boss.policies.approvals.approve(wanted.id)
        assert CANARY.encode() in reveal(ada, part="value", path=path).body
        assert CANARY.encode() not in reveal(ada, part="value", path=path).body
    finally:
        room.policies.require_two("two-person-reveal", is_on=False)


# --- what was, and going back --------------------------------------------------------------------


def test_the_history_shows_how_two_versions_differ_and_seals_what_is_sealed(ada):
    text = ada.get(f"/entries/{PATH}?tab=history&from=1&to=2").body.decode()
    assert "<del>" in text
    assert "require</del>" in text
    assert "verify-full</ins>" in text
    assert text.count('class="mini"') == 3  # the password twice, and the extra that came
    assert "Password changed after the vendor" in text
    assert CANARY not in text


def test_who_rolls_back_is_offered_the_way_back(house, ada):
    ref = Ref("variable", "rolled")
    for text in ("one", "two"):
        write(house, text, ref=ref)
    entries = house.house.deployment().root.entries
    answer = ada.post("/rollback/variable/rolled", {"version": "1", "seen": "2"}, htmx="entry")
    text = answer.body.decode()
    assert "Rolled back rolled to v1." in text
    assert 'name="version" value="2"' in text
    assert 'name="seen" value="3"' in text
    assert part_of(entries.reveal(ref, reason="test"), "value") == "one"
    ada.post("/rollback/variable/rolled", {"version": "2", "seen": "3"}, htmx="main")
    assert part_of(entries.reveal(ref, reason="test"), "value") == "two"


def test_the_way_back_of_a_teams_entry_is_that_teams(house, ada):
    ref = Ref("variable", "Größe / m²", "ml")
    for text in ("one", "two"):
        write(house, text, ref=ref)
    act = f"/rollback/variable/{quote(ref.name)}?team=ml"
    text = ada.post(act, {"version": "1", "seen": "2"}, htmx="entry").body.decode()
    undo = html.unescape(re.search(r'<div class="toast".*?action="([^"]*)"', text)[1])
    assert unquote(undo) == unquote(act)
    assert ada.post(undo, {"version": "2", "seen": "3"}, htmx="main").status == 200
    assert house.house.deployment().root.lookup.variable(ref.name, "ml") == "two"


def test_a_roll_back_of_what_changed_meanwhile_is_a_conflict(house, ada):
    ref = Ref("variable", "raced")
    for text in ("one", "two", "three"):
        write(house, text, ref=ref)
    assert ada.post("/rollback/variable/raced", {"version": "1", "seen": "2"}).status == 409
    assert house.house.deployment().root.lookup.variable("raced") == "three"


def test_without_script_a_roll_back_ends_at_the_history(house, ada):
    ref = Ref("variable", "plainly")
    for text in ("one", "two"):
        write(house, text, ref=ref)
    answer = ada.post("/rollback/variable/plainly", {"version": "1", "seen": "2"})
    assert (answer.status, answer.headers["location"]) == (303, "/entries/variable/plainly?tab=history")
    assert "Rolled back plainly to v1." in ada.get(answer.headers["location"]).body.decode()


@pytest.mark.parametrize("version", ["", "99", "x", "../1"])
def test_going_back_to_a_version_there_is_none_of_changes_nothing(house, ada, version):
    answer = ada.post(f"/rollback/{PATH}", {"version": version})
    assert answer.status in (400, 404, 422)
    assert house.house.deployment().root.lookup.connection("orders_db").password.reveal() == CANARY


def test_who_may_not_write_is_offered_no_way_back(house, room):
    room.access.people.add("udo", Secret("four plain words here"), roles=[Role("reader")])
    udo = Seat(house, "person:udo")
    page = udo.get(f"/entries/{PATH}?tab=history")
    assert page.status == 200
    assert "/rollback/" not in page.body.decode()
    assert udo.post(f"/rollback/{PATH}", {"version": "1"}).status == 403


def test_what_was_deleted_shows_its_versions_and_comes_back(house, ada):
    ref = Ref("variable", "gone")
    write(house, "kept", ref=ref)
    root = house.house.deployment().root
    root.entries.delete(ref)
    page = ada.get("/entries/variable/gone").body.decode()
    assert "Deleted. Nothing answers for this name" in page
    assert ada.post("/undelete/variable/gone").status == 303
    assert root.lookup.variable("gone") == "kept"


@pytest.mark.parametrize(
    "path", ["variable/never_was", "connection/never%20was", "secret/x", "variable/a%00b"]
)
def test_a_name_there_never_was_is_not_found(ada, path):
    assert ada.get(f"/entries/{path}").status in (400, 404)


@pytest.mark.parametrize("query", ["tab=none", "tab=form&x=1", "team=a%2Fb", "before=x", "from=1&from=2"])
def test_an_address_that_makes_no_sense_is_refused(ada, query):
    assert ada.get(f"/entries/{PATH}?{query}").status in (400, 404, 422)


# --- who uses it, how it is found, who may -------------------------------------------------------


def test_who_reads_it_and_who_saw_it_is_told(house, ada, room):
    token = house.token("etl-prod", "user")
    body = {
        "refs": [{"kind": "connection", "name": "orders_db"}],
        "run": {"dag_id": "orders_daily", "task_id": "load"},
    }
    assert house.ask("POST", "/v1/read", body, token=token).status == 200
    reveal(ada, reason="checking the login")
    text = ada.get(f"/entries/{PATH}?tab=used").body.decode()
    assert "orders_daily / load" in text
    assert "service:etl-prod" in text
    assert "checking the login [password shown]" in text


def test_the_facts_say_by_how_many_it_is_read_without_waiting_for_it(page, house):
    token = house.token("etl-of-facts", "reader")
    asked = [{"kind": "connection", "name": "orders_db"}]
    for task in ("load", "upsert"):
        body = {"refs": asked, "run": {"dag_id": "orders_daily", "task_id": task}}
        assert house.ask("POST", "/v1/read", body, token=token).status == 200
    page.goto(f"/entries/{PATH}")
    page.locator("#dmeta a", has_text="read by").wait_for()
    assert re.search(r"read by \d+ tasks", page.inner_text("#dmeta"))
    assert page.title().startswith("orders_db")
    page.locator("#dmeta a", has_text="read by").click()
    page.wait_for_url("**tab=used**")
    assert re.search(r"Used by\s+\d+", page.inner_text(".tabs"))
    page.goto(f"/edit/{PATH}")
    page.locator("#touched", has_text="read this in the last 24 hours").wait_for()
    assert "orders_db" in page.title() or page.title().startswith("Edit")


def test_whoever_may_not_look_at_records_is_told_no_number_and_not_refused(house, room):
    room.access.people.add("op.of.facts", Secret(PASSWORD), roles=[Role("op")])
    before = room.audit.tail(1)[-1].seq
    op = Seat(house, "person:op.of.facts")
    assert op.get(f"/touched/{PATH}", htmx="read-by").status == 200
    assert not [one for one in room.audit.tail(20) if one.seq > before and one.outcome == "denied"]


def test_the_resolution_says_who_answers_and_what_is_shadowed(house, ada):
    text = ada.get("/entries/variable/region?tab=resolution").body.decode()
    assert "Found in env" in text
    assert "hidden by env" in text
    assert "eu-west" not in text


def test_the_state_is_the_worst_that_is_known(house, ada):
    write(house, "x", ref=Ref("variable", "Region"))
    assert "Clashes with " in ada.get("/entries/variable/Region").body.decode()
    ended = datetime.now(timezone.utc) - timedelta(minutes=1)
    write(house, "x", ref=Ref("variable", "ended"), not_after=ended)
    text = ada.get("/entries/variable/ended").body.decode()
    assert "Unreadable" in text
    assert "past its not_after" in text
    write(house, "no connection", ref=Ref("variable", "soon"), not_after=ended + timedelta(days=6, hours=1))
    assert "Ends in 6 days" in ada.get("/entries/variable/soon").body.decode()


def test_what_cannot_be_read_says_why_and_shows_nothing_of_it(tmp_path):
    environ = {
        "AIRFLOW_CONN_BROKEN": '{"conn_type": "postgres", "port": "543O", "password": "' + CANARY + '"'
    }
    with furnished(tmp_path, environ=environ, entries=False) as server:
        ada = Seat(server, ADA)
        for tab in TABS:
            text = ada.get(f"/entries/connection/broken?tab={tab}").body.decode()
            assert "Unreadable" in text, tab
            assert CANARY not in text, tab
        assert "Readers are refused" in ada.get("/entries/connection/broken").body.decode()
        assert "keeps no versions" in ada.get("/entries/connection/broken?tab=history").body.decode()


def test_the_resolution_of_a_reference_leads_to_what_it_refers_to(house, ada):
    ref = Ref("connection", "referring")
    write(house, {"conn_type": "http", "host": "${variable/region}"}, ref=ref, references=True)
    text = ada.get("/entries/connection/referring?tab=resolution").body.decode()
    assert 'href="/entries/variable/region"' in text


def test_who_may_is_told_to_administrators_and_to_others_what_they_may(ada, house, room):
    assert "May reveal" in ada.get(f"/entries/{PATH}?tab=access").body.decode()
    room.access.people.add("ulla", Secret("four plain words here"), roles=[Role("op")])
    text = Seat(house, "person:ulla").get(f"/entries/{PATH}?tab=access").body.decode()
    assert "told to administrators" in text
    assert "alice" not in text


def test_UI02_nothing_hostile_in_any_field_is_more_than_text(house, ada):
    fields = {
        **FIELDS,
        "host": HOSTILE,
        "login": HOSTILE,
        "schema": HOSTILE,
        "conn_type": "x<script>alert(1)</script>",
    }
    fields["extra"] = {HOSTILE: "1", "sslmode": HOSTILE}
    ref = Ref("connection", "hostile")
    more = {"description": HOSTILE, "owner": HOSTILE[:60], "tags": ("<b>tag</b>", "'--")}
    for at in range(2):
        write(house, {**fields, "port": at + 1}, ref=ref, comment=HOSTILE, **more)
    for tab in TABS:
        text = ada.get(f"/entries/connection/hostile?tab={tab}").body.decode()
        for broken in ("<script>alert", "<img src=x", "<b>tag", "49--", "javascript:"):
            assert broken not in text, (tab, broken)


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_is_a_part_to_htmx_and_a_page_to_everybody_else(ada, tab):
    part = ada.get(f"/entries/{PATH}?tab={tab}", htmx="entry").body.decode()
    assert "<html" not in part
    assert 'id="dmeta" hx-swap-oob="true"' in part
    drawer = ada.get(f"/entries/{PATH}?tab={tab}", htmx="drawer-place").body.decode()
    assert drawer.count('<aside class="drawer"') == 1
    assert "<html" in ada.get(f"/entries/{PATH}?tab={tab}").body.decode()


@pytest.mark.parametrize("path", [PATH, "variable/region"])
def test_every_link_of_an_entry_leads_somewhere(ada, path):
    found = set()
    for tab in TABS:
        answer = ada.get(f"/entries/{path}?tab={tab}")
        main = answer.body.decode().partition("<main")[2].partition("</main>")[0]
        found |= {
            html.unescape(href) for href in re.findall(r'href="(/[^"#]*)"', main) if "/static/" not in href
        }
    assert len(found) > 10
    assert [href for href in found if ada.get(href).status != 200] == []


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_is_a_command_and_a_call_that_there_are(house, ada, tab):
    for ref in (DB, Ref("variable", "a b/c'd", "ml")):
        twin = twin_of(tab, ref)
        words = shlex.split(twin.command)
        assert words[0] == "strongroom"
        assert ref.name in words
        assert (ref.team in words) is (ref.team is not None)
    answer = house.ask(
        twin_of(tab, DB).method, twin_of(tab, DB).path, token=house.token(f"twin-{tab}", "admin")
    )
    assert answer.status == 200, (twin_of(tab, DB), answer.body)


# --- in a browser --------------------------------------------------------------------------------


def test_a_reveal_by_keyboard_alone_is_gone_after_thirty_seconds(page, room):
    page.clock.install()
    page.goto(f"/entries/{PATH}")
    page.get_by_role("link", name="Reveal password").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("form.why")
    assert page.evaluate("document.activeElement.name") == "reason"
    page.keyboard.type("checking the port")
    page.keyboard.press("Enter")
    page.wait_for_selector(".unsealed")
    assert page.inner_text(".unsealed pre") == CANARY
    page.clock.fast_forward(29_000)
    assert page.locator(".unsealed").count() == 1
    page.clock.fast_forward(2_000)
    page.wait_for_selector(".unsealed", state="detached")
    assert CANARY not in page.content()
    assert (
        page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])").count(
            CANARY
        )
        == 0
    )


def test_what_is_revealed_is_hidden_by_a_press_and_not_there_when_one_comes_back(page, room):
    page.goto(f"/entries/{PATH}")
    for way in ("press", "leave"):
        page.get_by_role("link", name="Reveal password").click()
        page.fill("form.why input[name=reason]", "checking the port")
        page.keyboard.press("Enter")
        page.wait_for_selector(".unsealed")
        if way == "press":
            page.click("[data-hide]")
        else:
            page.goto("/search")
            page.go_back()
        page.wait_for_selector(".sealed")
        assert CANARY not in page.content()


def test_copying_puts_it_on_the_clipboard_alone_and_takes_it_off_again(page, house, room):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=house.address)
    page.clock.install()
    page.goto(f"/entries/{PATH}")
    page.get_by_role("link", name="Copy password without showing it").click()
    page.fill("form.why input[name=reason]", "for psql")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=without being shown. Recorded.")
    assert page.evaluate("navigator.clipboard.readText()") == CANARY
    assert CANARY not in page.content()
    page.clock.fast_forward(31_000)
    page.wait_for_function("() => navigator.clipboard.readText().then((text) => text === '')")
    assert page.get_by_role("link", name="Reveal password").count() == 1
    assert reveals(room)[-1].reason == "for psql [password copied]"


def test_without_script_it_is_revealed_on_a_page_of_its_own_and_copying_is_not_offered(chromium, house, room):
    with browsing(chromium, house, script=False) as page:
        page.goto(f"/entries/{PATH}")
        assert not page.get_by_role("link", name="Copy password").is_visible()
        page.get_by_role("link", name="Reveal password").click()
        page.fill("input[name=reason]", "no script here")
        page.get_by_role("button", name="Show for 30 s").click()
        assert CANARY in page.inner_text("main")
        assert CANARY not in page.url
        page.get_by_role("button", name="Hide now").click()
        assert CANARY not in page.content()


def test_a_drawer_opens_with_its_address_and_leaves_it_to_the_list(page, house):
    page.goto("/inventory?q=orders_db&open=native/connection/-/orders_db")
    page.wait_for_selector("#drawer")
    page.locator("#drawer .tabs a", has_text="History").click()
    page.wait_for_selector("#versions")
    assert "/inventory?" in page.url
    page.get_by_role("link", name="Open as a page").click()
    page.wait_for_url(f"**/entries/{PATH}")
    assert page.locator("h1").inner_text().endswith("orders_db")


def test_who_looks_is_told_that_somebody_else_changed_it(page, house):
    ref = Ref("variable", "watched")
    write(house, "one", ref=ref)
    page.goto("/entries/variable/watched?tab=history")
    page.wait_for_selector("#live[data-state=on]")
    write(house, "two", ref=ref)
    page.get_by_role("link", name="It changed meanwhile").click()
    page.wait_for_selector("#h-diff >> text=v1 to v2")


def test_a_proof_that_is_asked_for_goes_on_with_the_reason(chromium, house, room):
    with browsing(chromium, house, None, allowed=("status of 403",)) as page:
        page.context.add_cookies([signed_in(house, proven=timedelta(hours=1))])
        page.goto(f"/entries/{PATH}")
        page.get_by_role("link", name="Reveal password").click()
        page.fill("form.why input[name=reason]", "proven once more")
        page.keyboard.press("Enter")
        page.fill("dialog.ask input[type=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(".unsealed")
        assert page.inner_text(".unsealed pre") == CANARY
        assert reveals(room)[-1].reason == "proven once more [password shown]"


def test_rolling_back_and_undoing_it_in_the_page(page, house):
    ref = Ref("variable", "undone")
    for text in ("one", "two"):
        write(house, text, ref=ref)
    page.goto("/entries/variable/undone?tab=history")
    page.get_by_role("button", name="Roll back to version 1").click()
    page.wait_for_selector(".toast >> text=Rolled back undone to v1.")
    root = house.house.deployment().root
    assert root.lookup.variable("undone") == "one"
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".toast >> text=Rolled back undone to v2.")
    assert root.lookup.variable("undone") == "two"
    settled(page)
    assert page.locator("h1").count() == 1
    assert page.locator("#versions li").count() == 4


def test_comparing_follows_the_marks_and_has_an_address(page, house):
    for text in ("one", "two", "three"):
        write(house, text, ref=Ref("variable", "compared"))
    page.goto("/entries/variable/compared?tab=history")
    page.get_by_label("Compare from version 1").check()
    page.wait_for_url("**from=1*")
    page.wait_for_selector("#h-diff >> text=v1 to v3")
    page.go_back()
    page.wait_for_selector("#h-diff >> text=v2 to v3")
    page.keyboard.press("r")
    page.wait_for_selector(".verdict")


def test_neither_a_refused_reveal_nor_what_is_revealed_hinders_anybody(chromium, house, room):
    with browsing(chromium, house, allowed=("status of 422",)) as page:
        page.goto(f"/entries/{PATH}")
        page.get_by_role("link", name="Reveal password").click()
        page.wait_for_selector("form.why")
        page.get_by_role("button", name="Show for").click()
        page.wait_for_selector("[aria-invalid]")
        assert barriers(page) == {}
        page.fill("form.why input[name=reason]", "checking the port")
        page.keyboard.press("Enter")
        page.wait_for_selector(".unsealed")
        assert barriers(page) == {}
