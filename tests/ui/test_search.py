"""The palette and the keys: names, acts and pages for a few letters, by keyboard, and without script."""

from __future__ import annotations

import pytest

from parts.browser import MEI, axe, browsing, settled


def asked(house, text, *, actor_cookie, htmx=True):
    headers = {"Cookie": actor_cookie}
    if htmx:
        headers |= {"HX-Request": "true", "HX-Target": "palette-list"}
    return house.ask("GET", f"/search?q={text}", headers=headers)


@pytest.fixture
def palette(page):
    page.goto("/search")
    page.keyboard.press("Escape")
    page.locator("#main").focus()
    page.keyboard.press("Control+k")
    page.wait_for_selector("#palette [aria-selected=true]")
    return page


def chosen(page):
    return page.locator("#palette [aria-selected=true]").inner_text().split("\n")[0]


def test_letters_find_entries_first_and_what_one_may_do_with_the_best(palette):
    palette.fill("#palette-q", "region")
    palette.wait_for_selector("#pg-entries")
    settled(palette)
    assert palette.locator("#palette [role=option]").first.inner_text().startswith("region")
    assert palette.locator("#palette mark").first.inner_text() == "region"
    done = palette.locator("#pg-do ~ [role=option]").all_inner_texts()
    assert any(text.startswith("Explain region") for text in done)
    assert any(text.startswith("Edit region") for text in done)


def test_arrows_choose_and_enter_opens(palette):
    palette.fill("#palette-q", "deplo")
    palette.wait_for_selector("#palette [data-go='/deployments']")
    settled(palette)
    while "Deployments" not in chosen(palette):
        palette.keyboard.press("ArrowDown")
    assert palette.locator("#palette-q").get_attribute("aria-activedescendant")
    with palette.expect_navigation(url="**/deployments*"):
        palette.keyboard.press("Enter")


def test_a_leading_angle_asks_for_acts_alone(palette):
    palette.fill("#palette-q", "> new")
    palette.wait_for_selector("#pg-go", state="detached")
    assert palette.locator("#palette [data-go='/entries/new']").count() == 1
    assert palette.locator("#pg-entries").count() == 0


def test_what_nobody_knows_may_still_be_explained(palette):
    palette.fill("#palette-q", "no_such_name")
    palette.wait_for_selector("#palette [data-go*='name=no_such_name']")
    settled(palette)
    assert "Explain no_such_name" in palette.locator("#palette-list").inner_text()


def test_escape_closes_it_and_gives_the_focus_back(palette):
    palette.keyboard.press("Escape")
    assert palette.evaluate("document.getElementById('palette').open") is False
    assert palette.evaluate("document.activeElement.id") == "main"


def test_one_who_may_not_change_is_offered_no_change(chromium, house):
    with browsing(chromium, house, MEI) as page:
        page.goto("/search?q=region")
        assert page.get_by_role("link", name="Explain region").count() == 1
        assert page.get_by_role("link", name="Edit region").count() == 0
        page.goto("/search?q=issue")
        assert page.get_by_role("link", name="Issue a token").count() == 0


def test_it_is_a_page_of_links_without_script(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/search")
        page.fill("#find", "region")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=region")
        assert page.locator(".finds a.opt").first.get_attribute("href") == "/entries/variable/region"


def test_the_list_of_keys_opens_over_the_page_by_its_key(page):
    page.goto("/keys")
    page.locator("#main").focus()
    page.keyboard.press("?")
    page.wait_for_selector("dialog#keys:modal")
    assert axe(page) == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog#keys", state="detached")


def test_g_and_a_letter_lead_to_a_page(page):
    page.goto("/keys")
    page.locator("#main").focus()
    page.keyboard.press("g")
    with page.expect_navigation(url="**/inventory*"):
        page.keyboard.press("i")


def test_single_letters_do_nothing_while_one_types(page):
    page.goto("/search")
    page.locator("#find").fill("")
    page.keyboard.type("gi?")
    assert page.locator("#find").input_value() == "gi?"
    assert page.url.endswith("/search")


def test_the_theme_is_kept_and_stands_before_the_first_paint(page):
    page.goto("/keys")
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto("/search")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert 'data-theme="dark"' in page.evaluate("document.documentElement.outerHTML.slice(0, 60)")


def test_the_command_of_a_page_is_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/search?q=region")
    page.locator("#main").focus()
    page.keyboard.press("c")
    page.wait_for_selector(".toast")
    assert page.evaluate("navigator.clipboard.readText()") == "strongroom find region"
