from __future__ import annotations

import re
import threading
from datetime import timedelta
from html import unescape

import pytest

from parts.browser import ADA, PASSWORD, axe, barriers, browsing, furnished
from parts.seat import Seat

ADA_TYPES = {"name": "alice", "password": PASSWORD}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("house"), entries=False) as server:
        yield server


@pytest.fixture
def nobody(house):
    seat = Seat(house, None)
    seat.get("/sign-in")
    return seat


def said(answer):
    return unescape(re.sub(r"<[^>]+>", "", answer.body.decode()))


def link_code(house, name="alice"):
    return house.house.deployment().root.access.login_link(name).reveal()


# --- beginning ----------------------------------------------------------------------------------------


def test_whoever_is_not_known_is_sent_to_sign_in_and_comes_back(house, nobody):
    answer = nobody.get("/settings/sessions?who=everybody")
    assert (answer.status, answer.headers["location"]) == (
        303,
        "/sign-in?next=%2Fsettings%2Fsessions%3Fwho%3Deverybody",
    )
    answer = nobody.post("/sign-in", ADA_TYPES | {"next": "/settings/sessions?who=everybody"})
    assert (answer.status, answer.headers["location"]) == (303, "/settings/sessions?who=everybody")
    cookie = next(one for one in answer.headers.get_all("set-cookie") if one.startswith("strongroom=srm_s_"))
    assert "HttpOnly; SameSite=Strict" in cookie
    assert nobody.get("/settings/sessions?who=everybody").status == 200
    assert nobody.get("/sign-in?next=/settings/you").headers["location"] == "/settings/you"


@pytest.mark.parametrize(
    "typed",
    [
        {"name": "alice", "password": "wrong"},
        {"name": "nobody.here", "password": PASSWORD},
        {"name": "", "password": ""},
        {"name": "x" * 200, "password": "y"},
        {"name": "<script>", "password": "y"},
    ],
)
def test_a_wrong_attempt_says_the_same_whatever_was_wrong_and_keeps_the_name(nobody, typed):
    answer = nobody.post("/sign-in", typed)
    assert answer.status == 401
    assert "That did not match." in said(answer)
    assert b"<script>" not in answer.body.replace(b"<script src=", b"")
    assert typed["password"].encode() not in answer.body or len(typed["password"]) < 2
    assert typed["name"] in unescape(answer.body.decode())


def test_a_link_opens_one_session_once_and_its_code_may_be_pasted_whole(house, nobody):
    code = link_code(house)
    answer = nobody.post("/sign-in", {"code": f" {house.address}/login#code={code}\n"})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    other = Seat(house, None)
    other.get("/sign-in")
    again = other.post("/sign-in", {"code": code})
    assert again.status == 401
    assert "This link was used already" in said(again)
    assert code not in again.body.decode() + house.log


def test_of_many_who_use_one_link_at_once_one_is_let_in(house):
    code, found = link_code(house), []

    def use():
        seat = Seat(house, None)
        seat.get("/sign-in")
        found.append(seat.post("/sign-in", {"code": code}).status)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == [303, *[401] * 5]


def test_RT28_UI03_a_session_that_stood_ends_where_another_begins(house, nobody):
    nobody.post("/sign-in", ADA_TYPES)
    first = nobody._cookies["strongroom"]
    nobody.get("/settings/you")
    nobody.post("/sign-in", {"name": "dave", "password": PASSWORD})
    assert nobody._cookies["strongroom"] != first
    assert house.ask("GET", "/v1/whoami", headers={"Cookie": f"strongroom={first}"}).status == 401


# --- what was typed ------------------------------------------------------------------------------------


def test_what_was_typed_while_a_session_ended_is_still_there_after_signing_in(house):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    token = seat.csrf
    del seat._cookies["strongroom"]
    typed = {"old": "one\r\ntwo", "new": '"><b>&amp;', "again": "é"}
    ended = seat.post("/settings/password", typed, csrf=token)
    assert ended.status == 401
    assert "Your session ended" in said(ended)
    form = fields_of(ended, "/sign-in")
    assert form["kept.new"] == typed["new"]
    seat.csrf = form.pop("csrf")
    again = seat.post("/sign-in", form | ADA_TYPES)
    assert again.status == 200
    kept = fields_of(again, "/settings/password")
    assert {name: kept[name] for name in typed} == typed
    seat.csrf = kept.pop("csrf")
    answer = seat.post("/settings/password", kept)
    assert answer.status == 422  # it arrived, as it was typed
    assert "This is not what stands above." in said(answer)


def test_a_form_of_another_sign_in_is_refused_and_shown_with_what_was_typed(house):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    answer = seat.post("/settings/you", {"theme": "dark"}, csrf="nothing")
    assert answer.status == 403
    assert "This page is of an earlier sign-in" in said(answer)
    assert "set-cookie" not in answer.headers
    kept = fields_of(answer, "/settings/you")
    assert kept["theme"] == "dark"
    seat.csrf = kept.pop("csrf")
    assert seat.post("/settings/you", kept).status == 303


def test_a_page_in_a_second_window_goes_on_after_the_same_person_signed_in_anew(house):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    token = seat.csrf
    seat.post("/sign-in", ADA_TYPES)
    assert seat.post("/settings/you", {"theme": "light"}, csrf=token).status == 303


def fields_of(answer, action):
    """Give the hidden fields of the first form that goes to *action*."""
    form = re.search(rf'<form method="post" action="{action}".*?</form>', answer.body.decode(), re.DOTALL)[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found}


# --- proving anew ---------------------------------------------------------------------------------------


@pytest.fixture
def stale(house):
    seat = Seat(house, ADA, proven=timedelta(hours=1))
    seat.get("/settings/you")
    return seat


def needing_proof():
    """Give a form of the pages that asks for a proof."""
    from strongroom.server import ui  # noqa: PLC0415 -- beside its use

    return [one for one in ui.ENDPOINTS if one.needs_proof and one.takes_form]


def test_what_needs_a_proof_asks_for_it_with_what_was_typed_and_goes_on(house, stale):
    assert needing_proof()
    asked = stale.post("/access/tokens", TOKEN)
    assert asked.status == 403
    assert "Is it still you?" in said(asked)
    form = fields_of(asked, "/access/tokens")
    assert {name: form[name] for name in TOKEN} == TOKEN
    stale.csrf = form.pop("csrf")
    wrong = stale.post("/access/tokens", form | {"proof_password": "wrong"})
    assert wrong.status == 403
    assert "This is not your password." in said(wrong)
    assert b'"wrong"' not in wrong.body
    before = stale._cookies["strongroom"]
    done = stale.post("/access/tokens", form | {"proof_password": PASSWORD})
    assert done.status in (200, 303)
    assert stale._cookies["strongroom"] != before


TOKEN = {"name": "from-the-page", "role": "reader", "expires": "30d"}


def test_a_proof_by_link_is_taken_only_from_the_same_person(house, stale):
    wrong = stale.post("/prove", {"proof_code": link_code(house, "dave")})
    assert wrong.status == 403
    assert "signs in somebody else" in said(wrong)
    right = stale.post("/prove", {"proof_code": link_code(house), "next": "/settings/you"})
    assert (right.status, right.headers["location"]) == (303, "/settings/you")
    assert "lately enough" in said(stale.get("/settings/you"))


def test_to_htmx_a_proof_is_a_panel_and_its_answer_an_event(stale):
    panel = stale.post("/prove", {}, htmx="main")
    assert (panel.status, panel.headers["hx-retarget"], panel.headers["x-proof"]) == (403, "#panel", "needed")
    assert b"<dialog" in panel.body
    assert b"<html" not in panel.body
    done = stale.post("/prove", {"proof_password": PASSWORD}, htmx="panel")
    assert (done.status, done.headers["hx-trigger"], done.body) == (200, "sr:proven", b"")


# --- ending ---------------------------------------------------------------------------------------------


def test_RT27_signing_out_ends_the_session_at_once_and_for_good(house):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    token = seat._cookies["strongroom"]
    answer = seat.post("/sign-out")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?why=out")
    assert house.ask("GET", "/v1/whoami", headers={"Cookie": f"strongroom={token}"}).status == 401
    assert "signed out" in said(seat.get("/sign-in?why=out"))


def test_RT27_signing_out_everywhere_ends_every_session_of_ones_own_and_nobody_elses(house):
    seats = [Seat(house, ADA) for _ in range(3)]
    other = Seat(house, "person:dave")
    seats[0].get("/settings/sessions")
    answer = seats[0].post("/settings/sessions/end-all")
    assert answer.headers["location"] == "/sign-in?why=everywhere"
    assert [seat.get("/settings/you").status for seat in seats] == [303, 303, 303]
    assert other.get("/settings/you").status == 200


def test_one_session_is_ended_from_the_list_and_an_end_that_came_before_is_told(house):
    seat, other = Seat(house, ADA), Seat(house, ADA)
    page = seat.get("/settings/sessions")
    assert "this one" in said(page)
    own = house.house.deployment().root.access.sessions.list(ADA)
    held = {one.id for one in own}
    ids = set(re.findall(r'name="id" value="([^"]+)"', page.body.decode()))
    assert ids == held
    mine = re.search(r'this one</span>.*?name="id" value="([^"]+)"', page.body.decode(), re.DOTALL)[1]
    for which in ids - {mine}:
        assert seat.post("/settings/sessions/end", {"id": which}).status == 303
    assert other.get("/settings/you").status == 303
    assert seat.get("/settings/you").status == 200
    gone = seat.post("/settings/sessions/end", {"id": next(iter(ids - {mine}))})
    assert gone.status == 303
    assert "had ended already" in said(seat.get("/settings/sessions"))


def test_nobody_ends_or_sees_what_is_anothers_without_leave(house):
    mei, ada = Seat(house, "person:dave"), Seat(house, ADA)
    whose = house.house.deployment().root.access.sessions.list(ADA)[0].id
    mei.get("/settings/you")
    assert mei.get("/settings/sessions?who=everybody").status == 403
    assert "verybody" not in said(mei.get("/settings/sessions"))
    assert mei.post("/settings/sessions/end", {"id": whose}).status == 403
    assert ada.get("/settings/sessions?actor=person:dave").status == 200


def test_a_new_password_ends_every_session_and_signs_in(house):
    people = house.house.deployment().root.access.people
    from strongroom.model.secret import Secret  # noqa: PLC0415 -- beside its use

    people.add("lena.fuchs", Secret(PASSWORD))
    seat, other = Seat(house, "person:lena.fuchs"), Seat(house, "person:lena.fuchs")
    seat.get("/settings/you")
    for typed, told in (
        ({"old": "no", "new": "another good one", "again": "another good one"}, "not your password"),
        ({"old": PASSWORD, "new": "short", "again": "short"}, "too short"),
        ({"old": PASSWORD, "new": "another good one", "again": "another"}, "not what stands above"),
    ):
        answer = seat.post("/settings/password", typed)
        assert answer.status == 422
        assert told in said(answer)
    done = seat.post(
        "/settings/password", {"old": PASSWORD, "new": "another good one", "again": "another good one"}
    )
    assert done.headers["location"] == "/sign-in?why=password"
    assert other.get("/settings/you").status == 303
    seat.get("/sign-in")
    assert seat.post("/sign-in", {"name": "lena.fuchs", "password": "another good one"}).status == 303


# --- a page that stands open ------------------------------------------------------------------------------


def test_what_a_page_asks_by_itself_is_no_use_of_its_session(house):
    seat = Seat(house, ADA)
    access = house.house.deployment().access
    token = seat._cookies["strongroom"]

    def last_use():
        identity = access.authenticate(token, source="127.0.0.1", is_use=False)
        return access._gate.uses.seen[("session", identity.id)][0]

    seat.get("/settings/you")
    before = last_use()
    seat.get("/settings/you", headers={"X-By-Itself": "yes"})
    assert last_use() == before
    seat.get("/settings/you")
    assert last_use() > before


# --- in a browser -----------------------------------------------------------------------------------------


def test_a_person_signs_in_by_link_by_keys_alone_and_by_name_without_script(house, chromium):
    with browsing(chromium, house, actor=None) as page:
        page.goto(f"/login#code={link_code(house)}")
        page.wait_for_url(f"{house.address}/")
        assert "code=" not in page.evaluate("location.href + JSON.stringify(history.state)")
    with browsing(chromium, house, actor=None) as page:
        page.goto("/settings/you")
        page.keyboard.type("alice")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/settings/you")
    with browsing(chromium, house, actor=None, script=False, allowed=("401",)) as page:
        page.goto("/settings/sessions")
        page.fill("#s-n", "alice")
        page.fill("#s-p", "wrong")
        page.click("button:text('Sign in')")
        assert "did not match" in page.inner_text(".banner")
        assert page.input_value("#s-n") == "alice"
        page.fill("#s-p", PASSWORD)
        page.click("button:text('Sign in')")
        assert page.inner_text("h1") == "Sessions"
        page.click("button:text('Sign out everywhere')")
        assert "Every session of yours has ended" in page.inner_text(".banner")


def test_a_session_that_ends_asks_over_the_page_and_what_was_typed_stays(house, chromium):
    with browsing(chromium, house, allowed=("401", "EventSource")) as page:
        page.goto("/settings/you")
        page.fill("#y-old", "typed before it ended")
        page.context.clear_cookies(name="strongroom")
        page.evaluate("htmx.ajax('GET', '/settings/sessions', { target: '#main' })")
        page.wait_for_selector("dialog #s-p")
        assert axe(page) == []
        page.fill("dialog #s-n", "alice")
        page.fill("dialog #s-p", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog.ask", state="detached")
        assert page.input_value("#y-old") == "typed before it ended"
        page.click("button:text('Save')")
        page.wait_for_selector(".toast")


def test_pages_of_the_frame_hold_their_shape_and_axe_finds_nothing(house, chromium):
    with browsing(chromium, house, allowed=("404",)) as page:
        for path in ("/settings/sessions?who=everybody", "/nothing"):
            page.goto(path)
            assert barriers(page) == {}
