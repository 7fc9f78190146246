"""From the door to a change and back: once without script, once without a mouse."""

from __future__ import annotations

import pytest

from parts.browser import PASSWORD, browsing, settled

NAME = "alice"


@pytest.fixture
def stranger(chromium, house):
    """A window of somebody nobody knows yet."""
    with browsing(chromium, house, None) as found:
        yield found


def test_without_script_one_signs_in_finds_changes_and_takes_it_back(chromium, house):
    with browsing(chromium, house, None, script=False) as page:
        page.goto("/inventory")
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        assert page.url.endswith("/inventory")  # where one wanted to go

        page.fill("#find", "path/with")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="path/with/slash", exact=True).click()
        page.get_by_role("link", name="Edit").click()
        page.get_by_label("Description").fill("how many")
        page.locator("[name=comment]").fill("by hand")
        page.get_by_role("button", name="Review and save").last.click()
        assert page.get_by_role("heading", level=1).inner_text() == "Review path/with/slash"
        assert "how many" in page.locator(".diff ins").inner_text()
        page.get_by_role("button", name="Save").last.click()
        assert page.locator("#toasts .toast > span").inner_text() == "Saved path/with/slash as version 3"

        page.get_by_role("link", name="History").click()
        assert page.locator(".vers .cm").first.inner_text().startswith("by hand")
        page.get_by_role("button", name="Roll back to version 2").click()
        assert "Rolled back path/with/slash to v2." in page.locator("#toasts").inner_text()
        page.get_by_role("button", name="Undo").click()
        assert "v3" in page.locator("#toasts").inner_text()

        page.goto("/inventory")
        page.get_by_label("Variable", exact=False).first.check()
        page.get_by_role("button", name="Apply").click()
        assert "kind=variable" in page.url


def typed(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def tabbed(page, wanted, most=60):
    """Press Tab until *wanted* is the name of what has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
                const it = document.activeElement;
                const label = it.labels?.[0]?.textContent;
                return (it.getAttribute("aria-label") || label || it.textContent).trim();
            }"""
        )
        if name == wanted:
            return
    raise AssertionError(f"{wanted!r} is not reached")


def test_without_a_mouse_one_signs_in_finds_changes_and_signs_out(stranger):
    page = stranger
    page.goto("/")
    page.locator("#main").focus()
    tabbed(page, "Name")
    page.keyboard.type(NAME)
    tabbed(page, "Password", 1)
    page.keyboard.type(PASSWORD)
    with page.expect_navigation():
        page.keyboard.press("Enter")

    page.keyboard.press("Control+k")
    page.wait_for_selector("#palette [aria-selected=true]")
    page.keyboard.type("multiline")
    page.wait_for_selector("#palette #pg-entries")
    settled(page)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url.endswith("/entries/variable/multiline")

    with page.expect_navigation():
        page.keyboard.press("e")
    assert "/edit/variable/multiline" in page.url
    tabbed(page, "Description")
    page.keyboard.press("Control+a")
    page.keyboard.type("three lines")
    page.keyboard.press("Control+Enter")
    page.get_by_role("heading", name="Review multiline").wait_for()
    settled(page)
    with page.expect_navigation():
        page.keyboard.press("Control+Enter")
    assert "Saved multiline as version 3" in page.locator("#toasts").inner_text()

    typed(page, "g")
    with page.expect_navigation(url="**/audit*"):
        page.keyboard.press("a")
    page.keyboard.press("Control+k")
    page.wait_for_selector("#palette [aria-selected=true]")
    page.keyboard.type("you")
    page.wait_for_selector("#palette [data-go$='/settings/you'][aria-selected=true]")
    settled(page)
    with page.expect_navigation(url="**/settings/you"):
        page.keyboard.press("Enter")
    page.locator("#main").focus()
    tabbed(page, "Sign out")
    with page.expect_navigation(url="**/sign-in*"):
        page.keyboard.press("Enter")
