"""No page bars anybody: axe-core in both themes, wide and narrow, and nothing that scrolls sideways."""

from __future__ import annotations

import pytest

from parts.browser import axe, barriers, browsing, furnished, looks, overflows, turned
from parts.busy import busied
from parts.pictures import PICTURES, shown

LOOKS = (("light", 360), ("dark", 1440))
# What a script draws by theme or does by width is shown anew in each look; the rest is the stylesheet alone.
ANEW = {"overview", "inventory-marked", "entry-drawer"}


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("used")) as server:
        busied(server)
        yield server


@pytest.fixture(scope="module")
def windows(chromium, used):
    with browsing(chromium, used) as known, browsing(chromium, used, None) as stranger:
        yield {True: known, False: stranger}


@pytest.mark.parametrize("name", PICTURES)
def test_no_barrier_in(windows, name):
    picture = PICTURES[name]
    page = windows[picture.actor is not None]
    turned(page, *LOOKS[0])
    shown(page, picture)
    for look in looks(page, LOOKS):
        if name in ANEW and look != LOOKS[0]:
            shown(page, picture)
        assert axe(page) == [], look
        assert overflows(page) == 0, look
    turned(page, "light", 1024)
    assert overflows(page) == 0


def test_a_barrier_is_found_by_look_wherever_it_stands(windows):
    page = windows[True]
    page.goto("/inventory?q=aws_")
    assert barriers(page) == {}
    page.evaluate(
        """() => {
            const bad = document.createElement("div"), wide = document.createElement("div");
            bad.append("dark on dark, where it is dark", document.createElement("button"));
            bad.style.cssText = "color: light-dark(#000, #333); background: light-dark(#fff, #222)";
            document.querySelector("#lines tbody tr:last-child .c-name").append(bad);
            wide.style.cssText = "width: 1100px; height: 1px";
            document.getElementById("main").append(wide);
        }"""
    )
    found = barriers(page)
    assert [one.partition(":")[0] for one in found["light", 360] if "wide" not in one] == ["button-name"]
    assert [one.partition(":")[0] for one in found["dark", 1440]] == ["color-contrast"]
    assert [look for look, wrong in found.items() if any("too wide" in one for one in wrong)] == [
        ("light", 1024),
        ("light", 360),
    ]
