"""A working day without a mouse: lists, drawer, tabs, marks and dialogs by keys alone; and what is live."""

from __future__ import annotations

import pytest

from parts.browser import browsing, settled
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change


@pytest.fixture
def listed(page):
    page.goto("/inventory")
    page.locator("#main").focus()
    return page


def focused(page):
    return page.evaluate("document.activeElement.textContent.trim()")


def test_j_and_k_walk_the_lines_and_x_marks_them(listed):
    names = listed.locator(".inv-t a.nm").all_inner_texts()
    for key in "jj":
        listed.keyboard.press(key)
    assert focused(listed) == names[1]
    listed.keyboard.press("k")
    assert focused(listed) == names[0]
    assert listed.locator("[data-bulk]").is_hidden()
    listed.keyboard.press("x")
    listed.keyboard.press("j")
    listed.keyboard.press("j")
    listed.keyboard.press("Shift+X")
    assert listed.locator("[data-bulk] b").inner_text() == "3 selected"
    listed.keyboard.press("Escape")
    assert listed.locator("[data-bulk]").is_hidden()


def test_enter_opens_the_line_beside_the_list_and_escape_leads_back(listed):
    listed.keyboard.press("j")
    name = focused(listed)
    listed.keyboard.press("Enter")
    listed.wait_for_selector("#drawer")
    settled(listed)
    assert name in focused(listed)
    assert "open=" in listed.url
    listed.keyboard.press("h")
    listed.wait_for_selector("#drawer .vers")
    listed.keyboard.press("Escape")
    listed.wait_for_selector("#drawer", state="detached")
    assert focused(listed) == name


def test_o_opens_the_line_as_a_page(listed):
    listed.keyboard.press("j")
    name = focused(listed)
    with listed.expect_navigation():
        listed.keyboard.press("o")
    assert name in listed.title()
    assert "/entries/" in listed.url


def test_slash_searches_and_the_list_answers_as_one_types(listed):
    listed.keyboard.press("/")
    listed.keyboard.type("postg")
    listed.wait_for_url("**q=postg*")
    settled(listed)
    assert listed.locator(".inv-t tbody tr").count() == 3


def test_one_search_is_one_step_back_however_slowly_it_is_typed(listed):
    listed.keyboard.press("/")
    for typed in ("p", "po", "pos"):  # each letter is answered before the next
        listed.keyboard.type(typed[-1])
        listed.wait_for_url(f"**q={typed}")
    listed.locator("#main").focus()
    listed.keyboard.press("/")
    listed.keyboard.type("t")  # who comes back to the field begins another search
    listed.wait_for_url("**q=post")
    listed.go_back()
    listed.wait_for_url("**q=pos")
    listed.go_back()
    listed.wait_for_url("**/inventory")
    listed.locator(".inv-t tbody tr").nth(3).wait_for()
    assert listed.locator("#find").input_value() == ""


def test_a_list_does_not_move_but_says_how_much_is_newer(house, listed):
    listed.wait_for_selector("#live[data-state=on]")
    before = listed.locator(".inv-t tbody").inner_text()
    root = house.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", "a_new_one"), secret=Secret("1")), to="native")
    listed.wait_for_selector("[data-newer]:not([hidden])")
    assert listed.locator("[data-newer]").inner_text() == "1 newer"
    assert listed.locator(".inv-t tbody").inner_text() == before
    listed.locator("[data-newer]").click()
    listed.get_by_role("link", name="a_new_one").wait_for()


def test_the_stream_can_be_paused(listed):
    listed.wait_for_selector("#live[data-state=on]")
    listed.get_by_role("button", name="Live").click()
    assert listed.locator("#live").inner_text() == "Paused"
    listed.get_by_role("button", name="Paused").click()
    listed.wait_for_selector("#live[data-state=on]")


def test_letters_can_be_switched_off(chromium, house):
    off = [{"name": "keys", "value": "off", "url": house.address}]
    with browsing(chromium, house, cookies=off) as page:
        page.goto("/inventory")
        page.locator("#main").focus()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Control+k")
        page.wait_for_selector("#palette[open]")


def test_every_control_of_the_frame_is_reached_by_tab_and_shows_it(page):
    page.goto("/keys")
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                """() => {
                    const it = document.activeElement, style = getComputedStyle(it);
                    if (it === document.body) return ["", true];
                    const name = it.getAttribute("aria-label") || it.textContent.trim();
                    return [name, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
                }"""
            )
        )
    names = [name for name, _ in seen]
    assert names[0] == "Skip to content"
    assert any(name.startswith("Overview") for name in names)
    assert "Switch between light and dark" in names
    assert [name for name, shows in seen if not shows and name] == []
