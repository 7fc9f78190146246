"""Pages while something is away: the server, a session, or leave to change anything."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest

from parts.browser import ADA, PASSWORD, axe, browsing, furnished, signed_in
from parts.seat import Seat

LOST = ("ERR_", "EventSource", "htmx:sendError", "500", "401", "403", "503", "405")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("house"), entries=False) as server:
        yield server


@pytest.fixture
def ada(house):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    return seat


def said(answer):
    return unescape(re.sub(r"<[^>]+>", " ", answer.body.decode()))


@pytest.fixture
def read_only(house):
    house.house.mode.read_only = True
    yield house
    house.house.mode.read_only = False


def test_in_read_only_mode_every_page_reads_and_every_change_says_why_it_waits(read_only, ada):
    for path in ("/", "/inventory", "/entries/new", "/backends", "/access/people", "/settings/you"):
        assert ada.get(path).status == 200, path
    answer = ada.post("/entries", {"kind": "variable", "name": "x", "value": "typed before"})
    assert answer.status in (403, 405, 503)
    assert "Nothing can be changed now" in said(answer)
    assert "read-only mode" in said(answer)
    assert 'name="name" value="x"' in answer.body.decode()
    assert "Send it again" in said(answer)


def test_in_read_only_mode_pages_say_so_before_anybody_types(read_only, ada):
    for path in ("/", "/inventory", "/entries/new", "/access/people"):
        assert "Read-only mode:" in said(ada.get(path)), path


def test_without_the_server_what_was_typed_stays_and_the_page_says_so_until_it_is_back(house, chromium):
    with browsing(chromium, house, allowed=LOST) as page:
        page.goto("/settings/you")
        page.wait_for_selector("#live[data-state=on]")
        page.fill("#y-old", "typed before it went")
        page.route("**/settings/sessions", lambda asked: asked.abort())
        page.evaluate("htmx.ajax('GET', '/settings/sessions', { target: '#main' }).catch(() => 0)")
        page.wait_for_selector("#offline:not([hidden])")
        assert axe(page) == []
        assert page.input_value("#y-old") == "typed before it went"
        page.unroute("**/settings/sessions")
        page.evaluate("htmx.ajax('GET', '/settings/sessions', { target: '#toasts' })")
        page.wait_for_selector("#offline", state="hidden")


def test_a_session_near_its_end_says_so_and_goes_on_where_one_stays(house, chromium):
    with browsing(chromium, house) as page:
        page.clock.install()
        page.goto("/settings/you")
        page.fill("#y-old", "typed before")
        idle = int(page.get_attribute("body", "data-idle"))
        assert page.is_hidden("#ending")
        page.clock.fast_forward((idle - 100) * 1000)
        page.clock.run_for(6000)
        page.wait_for_selector("#ending:not([hidden])")
        page.click("#ending button")
        page.wait_for_selector("#ending", state="hidden")
        assert page.input_value("#y-old") == "typed before"


def test_what_waited_for_a_proof_in_a_panel_goes_on_by_itself(house, chromium):
    with browsing(chromium, house, actor=None, allowed=("403", "401")) as page:
        page.context.add_cookies([signed_in(house, ADA, proven=timedelta(hours=1))])
        page.goto("/access/add/token")
        page.fill("input[name=name]", "by-the-panel")
        page.click("main form[action='/access/tokens'] .btn.main")
        page.wait_for_selector("#p-p")
        page.fill("#p-p", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=srm_")
