"""Where the page is not drawn in its own colours: in those somebody chose for all, and on paper."""

from __future__ import annotations

from parts.browser import browsing

NAME = "postgres_2.v2"
STYLE = "(it, name) => getComputedStyle(it)[name]"


def style(page, selector, name):
    return page.locator(selector).first.evaluate(STYLE, name)


def test_in_chosen_colours_it_is_seen_what_is_marked_current_focused_sealed_and_shadowed(page):
    page.emulate_media(forced_colors="active")
    page.goto("/inventory?q=aws_")
    page.locator("[data-mark]").first.check()
    grounds = [one.evaluate(STYLE, "backgroundColor") for one in page.locator("[data-mark]").all()[:2]]
    assert grounds[0] != grounds[1]
    assert style(page, "[data-mark]:checked", "color") != grounds[0]  # the tick
    assert style(page, "tr.on", "outlineStyle") == "solid"
    assert style(page, "[data-bulk]", "borderLeftStyle") == "solid"
    page.locator("#main").focus()
    page.keyboard.press("j")
    assert style(page, ":focus", "outlineWidth") == "2px"
    page.goto("/inventory?health=shadowed")
    assert style(page, "tr.gone .nm", "textDecorationLine") == "line-through"
    page.goto(f"/entries/connection/{NAME}")
    for current in (".rail [aria-current]", ".tabs [aria-current]"):
        assert style(page, current, "textDecorationLine") == "underline"
    assert style(page, ".sealed", "borderLeftStyle") == "solid"
    assert page.locator(".sealed b").first.inner_text() == "Sealed"


def test_in_chosen_colours_the_layers_of_a_picture_are_still_three(page):
    page.emulate_media(forced_colors="active")
    page.goto("/keys")
    drawn = page.evaluate(
        """() => ["s1", "s2", "s3"].map((name) => {
            const probe = document.createElement("span");
            probe.className = `ink-${name}`; document.body.append(probe);
            return getComputedStyle(probe).color;
        })"""
    )
    assert len(set(drawn)) == 3


def test_on_paper_stands_what_is_told_dark_on_white_and_neither_what_is_pressed_nor_what_is_revealed(
    chromium, house
):
    dark = [{"name": "theme", "value": "dark", "url": house.address}]
    with browsing(chromium, house, theme="dark", cookies=dark) as page:
        page.goto("/inventory?q=aws_")
        page.locator("[data-mark]").first.check()
        page.emulate_media(media="print")
        for part in (".top", ".rail", ".twin", ".facets", "#find", "[data-bulk]"):
            assert page.locator(part).first.is_hidden(), part
        assert page.get_by_role("link", name="aws_1").is_visible()
        assert style(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
        ink = style(page, "#lines a.nm", "color")
        assert max(map(int, ink[4:-1].split(","))) < 100, ink
        assert (
            style(page, "[data-mark]:checked", "printColorAdjust") == "exact"
        )  # or its tick is white on white
        page.emulate_media(media="screen")
        page.goto(f"/entries/connection/{NAME}")
        page.get_by_role("link", name="Reveal password").click()
        page.fill("form.why input[name=reason]", "checking the port")
        page.keyboard.press("Enter")
        page.locator(".unsealed").wait_for()
        page.emulate_media(media="print")
        assert page.locator(".unsealed").is_hidden()
