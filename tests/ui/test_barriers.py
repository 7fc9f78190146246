"""No page bars anybody: axe-core in both themes, wide and narrow, and nothing that scrolls sideways."""

from __future__ import annotations

import pytest

from parts.browser import axe, browsing, furnished, looks, overflows, turned
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
