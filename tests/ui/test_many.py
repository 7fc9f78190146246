"""Very many entries in a browser: found as one types, sorted, filtered, paged, opened by keys."""

from __future__ import annotations

import os
import re
import time

import pytest

from parts.browser import browsing, furnished
from strongroom.model.entry import Draft, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

# A trial has 100,000: STRONGROOM_UI_ENTRIES=100000, which prints how soon the first paint was.
ENTRIES = int(os.environ.get("STRONGROOM_UI_ENTRIES", "2000"))
LAST = (ENTRIES + 49) // 50
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def draft(number):
    return Draft(
        ref=Ref("variable", f"many/v{number:06}"),
        secret=Secret("x" * 40),
        author="a test",
        metadata=Metadata(owner=f"person{number % 7}", tags=(f"t{number % 10}",)),
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    settings = 'chain = ["native"]\n[server.limits]\nidentity_per_second = 0\nstranger_per_second = 0\n'
    with furnished(tmp_path_factory.mktemp("many"), settings, environ={}, entries=False) as server:
        parts = server.house.deployment().parts
        (link,) = parts.chain.links
        for start in range(0, ENTRIES, 1000):
            link.backend.write_many([draft(one) for one in range(start, min(start + 1000, ENTRIES))])
        parts.warm()
        yield server


def names(page):
    return page.locator("#lines a.nm").all_inner_texts()


def test_very_many_entries_are_found_sorted_filtered_paged_and_opened_by_keys(chromium, many):
    from playwright import sync_api  # noqa: PLC0415 -- there is a browser, so it is there

    with browsing(chromium, many) as page:
        page.set_default_timeout(60_000)
        page.goto("/inventory")
        page.locator("#lines a.nm").first.wait_for()
        page.goto("/inventory")
        page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        print(f"first paint with {ENTRIES} entries: {page.evaluate(PAINT):.0f} ms")
        assert [name.strip() for name in names(page)][:2] == ["many/v000000", "many/v000001"]

        page.goto(f"/inventory?page={LAST}")
        assert names(page)[-1].strip() == f"many/v{ENTRIES - 1:06}"
        page.goto("/inventory?sort=-name")
        assert names(page)[0].strip() == f"many/v{ENTRIES - 1:06}"
        page.goto("/inventory?owner=person3&tag=t4")
        assert names(page)[0].strip() == "many/v000024"

        page.goto("/inventory")
        begun = time.perf_counter()
        page.locator("#find").press_sequentially("v0012")
        sync_api.expect(page.locator("#lines a.nm").first).to_have_text("many/v001200", timeout=60_000)
        print(f"found as one types within {(time.perf_counter() - begun) * 1000:.0f} ms")
        page.locator("#find").blur()
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.locator("#drawer").wait_for()
        first = page.locator("#d-h").inner_text()
        page.keyboard.press("j")
        sync_api.expect(page.locator("#d-h")).not_to_have_text(first, timeout=60_000)
        page.keyboard.press("k")
        sync_api.expect(page.locator("#d-h")).to_have_text(first, timeout=60_000)
        assert re.search("v0012", first)
