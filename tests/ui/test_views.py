"""Views of the inventory that people name: kept in the browser, theirs alone, addresses and nothing else."""

from __future__ import annotations

import base64
import json
import re
from html import unescape

import pytest

from parts.browser import ADA, PASSWORD, axe, browsing
from parts.seat import Seat
from strongroom.model.secret import Secret
from strongroom.policy import Role


@pytest.fixture
def ada(house):
    return Seat(house, ADA)


def tabs(answer):
    """Give the saved views: address by name."""
    body = answer.body.decode()
    part = body[body.index('aria-label="Saved views"') :]
    part = part[: part.index("</nav>")]
    found = re.findall(r'<a href="([^"]*)"[^>]*>(.*?)(?: <span class="c">.*?</span>)?</a>', part)
    return {unescape(name): unescape(href) for href, name in found}


def keep(seat, name, back="/inventory?type=postgres&tag=pci", act="keep"):
    return seat.post("/inventory/views", {"act": act, "name": name, "back": back})


def test_a_view_is_named_shown_among_the_others_and_forgotten(ada):
    answer = keep(ada, "  Card   data ")
    assert answer.status == 303
    assert tabs(ada.get("/inventory"))["Card data"] == "/inventory?type=postgres&tag=pci"
    there = ada.get("/inventory?type=postgres&tag=pci").body.decode()
    assert "Forget view" in there
    assert re.search(r'aria-current="page"[^>]*>Card data', there)
    assert keep(ada, "Card data", act="forget").status == 303
    assert "Card data" not in tabs(ada.get("/inventory"))


def test_what_it_finds_is_counted_but_of_words(ada):
    keep(ada, "Postgres", "/inventory?type=postgres")
    keep(ada, "Orders", "/inventory?q=orders")
    body = ada.get("/inventory").body.decode()
    assert re.search(r'>Postgres <span class="c">\d+</span></a>', body)
    assert ">Orders</a>" in body


def test_it_keeps_no_page_that_was_open_and_names_no_shipped_view(ada):
    assert "Keep view" not in ada.get("/inventory").body.decode()
    assert "Keep view" in ada.get("/inventory?type=postgres").body.decode()
    assert 'value="/inventory?type=postgres"' in ada.get("/inventory?type=postgres&page=2").body.decode()


def test_the_same_name_again_is_another_view_of_that_name(ada):
    keep(ada, "Mine too", "/inventory?type=postgres")
    keep(ada, "Mine too", "/inventory?type=aws")
    assert tabs(ada.get("/inventory"))["Mine too"] == "/inventory?type=aws"


@pytest.mark.parametrize(
    ("name", "back"),
    [
        ("", "/inventory?q=a"),
        ("x" * 41, "/inventory?q=a"),
        ("a\u202eb", "/inventory"),
        ("far", f"?q={'x' * 400}"),
    ],
)
def test_what_is_no_name_or_too_long_is_refused(ada, name, back):
    answer = keep(ada, name, back)
    assert answer.status in (400, 413, 422)
    assert answer.headers.get_all("set-cookie") is None or "strongroom.views" not in str(answer.headers)


def test_a_browser_keeps_six(ada):
    for number in range(6):
        assert keep(ada, f"view {number}").status == 303
    assert "Forget one to keep another" in ada.get("/inventory?type=aws").body.decode()
    assert keep(ada, "one more").status in (400, 413)


def test_they_are_one_persons_in_one_deployment(house, ada):
    keep(ada, "Card data")
    house.house.deployment().root.access.people.add("kai", Secret(PASSWORD), roles=[Role("admin")])
    kai = Seat(house, "person:kai")
    kai._cookies = {**ada._cookies, **kai._cookies}
    assert "Card data" not in tabs(kai.get("/inventory"))


@pytest.mark.parametrize(
    "held",
    [
        "%%%",
        base64.urlsafe_b64encode(b"[1,2]").decode(),
        base64.urlsafe_b64encode(
            json.dumps([["x", "sort=nothing"], ["y", "q=%ff"], ["z", "a=b"]]).encode()
        ).decode(),
    ],
)
def test_a_cookie_that_is_none_of_ours_is_passed_over(ada, held):
    keep(ada, "Card data")
    name = next(one for one in ada._cookies if one.startswith("strongroom.views-"))
    ada._cookies[name] = held
    answer = ada.get("/inventory")
    assert answer.status == 200
    assert list(tabs(answer)) == ["All", "Needs attention", "Mine", "Without owner"]


def test_RT32_its_name_is_drawn_as_text_and_it_leads_nowhere_else(ada):
    keep(ada, '"><script>x</script>', "https://evil.example/inventory?type=aws")
    body = ada.get("/inventory").body.decode()
    assert "<script>x" not in body
    assert "evil.example" not in body


def test_a_view_is_named_in_a_browser_and_taken_back(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/inventory?type=postgres")
        page.get_by_text("Keep view").click()
        page.fill("#view-name", "Card data")
        assert axe(page) == []
        page.keyboard.press("Enter")
        page.get_by_role("navigation", name="Saved views").get_by_role("link", name="Card data").wait_for()
        page.get_by_role("button", name="Forget view").click()
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("button", name="Forget view").wait_for()


def test_without_script_a_view_is_named_too(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/inventory?type=aws")
        page.get_by_text("Keep view").click()
        page.fill("#view-name", "Cloud")
        page.get_by_role("button", name="Keep", exact=True).click()
        page.get_by_role("link", name="Cloud").first.wait_for()
