"""A person before the pages, and an identity provider beside them: there and back, and on where he was."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from parts.browser import axe, barriers, browsing, signed_in
from parts.oidc import Browser, mock_provider  # noqa: F401 -- a fixture
from parts.openbao import free_port
from parts.seat import Seat
from parts.server import serving
from strongroom.model.pairing import challenge_of, mark_of

ANNA = "person:anna"
ELSEWHERE = ("asked of", "401", "403", "EventSource", "NAME_NOT_RESOLVED", "favicon")
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def house(tmp_path_factory, mock_provider):  # noqa: F811 -- the fixture
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    text = 'deployment = "prod"\n[server.limits]\nstranger_per_second = 0\nidentity_per_second = 0\n'
    text += mock_provider.settings(url, roles={"data": ["admin"]})
    mock_provider.person("anna", groups=["data"])
    mock_provider.person("nobody.here", groups=[])
    with serving(tmp_path_factory.mktemp("oidc"), text, port=port) as server:
        server.provider = mock_provider
        browser = Browser()
        page = mock_provider.log_in(browser, browser.get(f"{url}/v1/login/oidc"), "anna")
        assert page.status == 200, page.text
        yield server


def come_back(house, name, browser=None, query=""):
    browser = browser or Browser()
    there = browser.get(f"{house.address}/v1/login/oidc{query}")
    return house.provider.log_in(browser, there, name)


def test_who_comes_back_goes_on_to_what_he_asked_for(house):
    browser = Browser()
    browser.get(f"{house.address}/settings/sessions?who=everybody")
    page = come_back(house, "anna", browser)
    assert 'content="0; url=/login"' in page.text
    assert "style.css" in page.text
    on = browser.get(f"{house.address}/login", headers=OURS, follow=False)
    assert (on.status, on.headers["Location"]) == (303, "/settings/sessions?who=everybody")
    assert "strongroom.next" not in browser.cookies[urlsplit(house.address).netloc]
    on = browser.get(f"{house.address}/login", headers=OURS, follow=False)
    assert on.headers["Location"] == "/"


def test_coming_back_leaves_the_forms_of_other_windows_as_good_as_they_were(house):
    browser = Browser()
    browser.get(f"{house.address}/sign-in")
    before = browser.cookies[urlsplit(house.address).netloc]["strongroom.form"]
    there = browser.get(f"{house.address}/v1/login/oidc")
    strict = browser.cookies[urlsplit(house.address).netloc].pop("strongroom.form")
    page = house.provider.log_in(browser, there, "anna")  # to which the browser keeps it back
    assert strict == before
    assert not [one for one in page.headers.get_all("set-cookie") if one.startswith("strongroom.form=")]


def test_who_is_not_let_in_is_told_why_in_a_page_and_may_begin_again(house):
    page = come_back(house, "nobody.here")
    assert page.status == 401
    assert "Not signed in" in page.text
    assert "has no role here" in page.text
    assert '<a class="btn main" href="/sign-in">' in page.text
    assert "style.css" in page.text


def test_a_program_is_let_in_by_a_page_of_ours_that_never_goes_on_by_itself(house):
    challenge = challenge_of("v" * 43)
    page = come_back(house, "anna", query=f"?challenge={challenge}&port=50123")
    assert mark_of(challenge) in page.text
    assert "refresh" not in page.text
    assert page.link.startswith("http://127.0.0.1:50123/?code=")
    page = come_back(house, "anna", query=f"?challenge={challenge}")
    assert re.search(r"<code>srm_[^<]+</code>", page.text)
    assert page.headers["referrer-policy"] == "no-referrer"


def test_a_proof_by_the_provider_in_another_window_is_taken(house):
    seat = Seat(house, ANNA, proven=timedelta(hours=1))
    seat.get("/settings/you")
    asked = seat.post("/prove", {}, htmx="main")
    assert asked.status == 403
    assert b'href="/v1/login/oidc?again=true&amp;beside=true" target="_blank"' in asked.body
    seat._cookies["strongroom"] = signed_in(house, ANNA)["value"]  # what the other window has brought
    done = seat.post("/prove", {}, htmx="panel")
    assert (done.status, done.headers["hx-trigger"]) == (200, "sr:proven")


def test_a_sign_in_by_the_provider_in_another_window_is_taken_with_what_was_typed(house):
    seat = Seat(house, ANNA)
    seat.get("/settings/you")
    token = seat.csrf
    held = seat._cookies.pop("strongroom")
    asked = seat.post("/settings/you", {"theme": "dark"}, csrf=token)
    assert asked.status == 401
    assert b"data-goes-on" in asked.body
    seat._cookies["strongroom"] = held
    on = seat.post("/sign-in", {"to": "/settings/you", "files": "0", "kept.theme": "dark"})
    assert on.status == 200
    assert b'name="theme" value="dark"' in on.body
    assert seat.post("/sign-in", {}, htmx="panel").headers["hx-trigger"] == "sr:signed-in"


def log_in_there(page):
    page.wait_for_selector("input[name=sub]")
    page.fill("input[name=sub]", "sub-of-anna")
    page.press("input[name=sub]", "Enter")


def test_a_real_browser_goes_to_the_provider_and_on_to_what_it_asked_for(house, chromium):
    with browsing(chromium, house, actor=None, allowed=ELSEWHERE) as page:
        page.goto("/settings/you")
        page.click("a:text('Continue with')")
        log_in_there(page)
        page.wait_for_url(f"{house.address}/settings/you")
        assert "anna" in page.inner_text("header.top .who")


def test_what_waits_for_a_proof_goes_on_by_itself_once_the_other_window_has_it(house, chromium):
    with browsing(chromium, house, actor=None, allowed=ELSEWHERE) as page:
        page.context.add_cookies([signed_in(house, ANNA, proven=timedelta(hours=1))])
        page.goto("/settings/you")
        page.evaluate("htmx.ajax('POST', '/prove', { target: '#panel' })")
        page.wait_for_selector("dialog.ask form[data-goes-on]")
        assert axe(page) == []
        with page.expect_popup() as opened:
            page.click("dialog.ask a:text('Prove it with')")
        log_in_there(opened.value)
        opened.value.wait_for_url(f"{house.address}/signed-in")
        assert opened.value.inner_text("h1") == "You are signed in"
        page.wait_for_selector("dialog.ask", state="detached")


def test_the_pages_of_who_comes_back_hold_their_shape_and_axe_finds_nothing(house, chromium):
    with browsing(chromium, house, ANNA, allowed=("401",)) as page:
        for path in ("/v1/login/oidc/callback?state=x&code=y", "/signed-in"):
            page.goto(path)
            assert barriers(page) == {}
