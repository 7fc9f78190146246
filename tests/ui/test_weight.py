"""What a visit weighs: 150 kB the first time, 20 kB for each page after it."""

from __future__ import annotations

from parts.browser import browsing

FIRST_BYTES = 150_000
LATER_BYTES = 20_000
LATER = ("/inventory", "/entries/variable/region", "/audit", "/access/people", "/deployments", "/backends")


def test_the_first_visit_and_those_after_it_are_light(chromium, house):
    with browsing(chromium, house) as page:
        wire = page.context.new_cdp_session(page)
        wire.send("Network.enable")
        sizes = []
        wire.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
        page.goto("/", wait_until="load")
        page.wait_for_selector("#live[data-state=on]")
        assert sum(sizes) <= FIRST_BYTES
        for path in LATER:
            sizes.clear()
            page.goto(path, wait_until="load")
            page.wait_for_selector("#live[data-state=on]")
            assert sum(sizes) <= LATER_BYTES, path
