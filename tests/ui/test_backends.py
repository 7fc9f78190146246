"""The page of the chain: looked at, put in order by buttons, keys and hand, its settings, and drills."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from parts.browser import ADA, MEI, barriers, browsing, furnished, signed_in
from parts.pages import Pages

SETTINGS = """
deployment = "prod"
chain = ["env", "shared", "native"]
managed = "server"

[backend.shared]
kind = "file"
variables = "{folder}/shared.json"
match = ["team_*", "shared_*"]

[server.limits]
identity_per_second = 0
stranger_per_second = 0

[deployments.staging]
chain = ["env", "native"]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("managed")
    (folder / "shared.json").write_text(json.dumps({"shared_bucket": "canary-7f3a"}))
    with furnished(folder, SETTINGS.replace("{folder}", str(folder))) as server:
        yield server


@pytest.fixture(autouse=True)
def _as_written(house):
    yield
    backends = house.house.deployment().root.backends
    for pause in backends.pauses():
        backends.resume(pause.backend)
    backends.arrange(["env", "shared", "native"])


@pytest.fixture
def ada(house):
    return Pages(house, ADA)


@pytest.fixture
def mei(house):
    return Pages(house, MEI)


def chain(house):
    return [link.name for link in house.house.deployment().chain.links]


# --- over HTTP ---------------------------------------------------------------------------------------


def test_the_chain_stands_in_its_order_with_how_each_is(ada):
    found = ada.get("/backends")
    assert found.status == 200
    places = [found.text.index(f'data-backend="{name}"') for name in ("env", "shared", "native")]
    assert places == sorted(places)
    assert "when down, the last good value serves" in found.text
    assert "The server keeps the order" in found.text


def test_a_button_moves_a_backend_without_script_and_undo_puts_it_back(house, ada):
    answer = ada.post("/backends", {"act": "order", "names": chain(house), "move": "native:up"})
    assert answer.status == 303
    assert chain(house) == ["env", "native", "shared"]
    page = ada.get(answer.headers["location"])
    assert "Moved native to place 2 of 3." in page.text
    assert ada.post("/backends", {"act": "order", "order": "env,shared,native"}).status == 303
    assert chain(house) == ["env", "shared", "native"]


def test_an_order_that_another_changed_meanwhile_is_not_written_over(house, ada):
    version = house.house.deployment().root.backends.order().version
    house.house.deployment().root.backends.arrange(["native", "env", "shared"])
    answer = ada.post("/backends", {"act": "order", "order": "shared,env,native", "version": version})
    assert answer.status == 409
    assert "The order was changed while you looked at it" in answer.text
    assert chain(house) == ["native", "env", "shared"]


@pytest.mark.parametrize("order", ["env", "env,env,native", "env,shared,native,vault", "a,b,c"])
def test_an_order_that_is_none_is_told_and_changes_nothing(house, ada, order):
    answer = ada.post("/backends", {"act": "order", "order": order})
    assert answer.status == 422
    assert "names every backend of the settings once" in answer.text
    assert chain(house) == ["env", "shared", "native"]


def test_what_is_said_of_a_backend_is_saved_and_shown_as_not_of_the_file(house, ada):
    typed = {"act": "settings", "on_unavailable": "next", "timeout_seconds": "1.5", "match": "a_*\nb_*"}
    assert ada.post("/backends/shared", typed).status == 303
    link = house.house.deployment().chain.links[1]
    assert (link.on_unavailable, link.timeout.total_seconds(), link.match) == ("next", 1.5, ("a_*", "b_*"))
    page = ada.get("/backends/shared")
    assert "not as in the file" in page.text
    assert ada.post("/backends/shared", {"act": "settings"}).status == 303
    assert house.house.deployment().chain.links[1].match == ("team_*", "shared_*")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"timeout_seconds": "never"}, "A number of seconds from 0.05 to 3600."),
        ({"timeout_seconds": "nan"}, "A number of seconds from 0.05 to 3600."),
        ({"on_unavailable": "explode"}, "stale, stop or next"),
        ({"kinds": ["password"]}, "there is no such kind"),
        ({"match": "x" * 300}, "a pattern has 1 to 250 characters"),
        ({"reason": "x" * 501}, "A reason has at most 500 characters"),
    ],
)
def test_a_wrong_setting_is_told_at_its_field_and_what_was_typed_stays(house, ada, typed, said):
    answer = ada.post("/backends/shared", {"act": "settings", "match": "kept_*", **typed})
    assert answer.status == 422
    assert said in answer.text
    assert typed.get("match", "kept_*") in answer.text
    assert house.house.deployment().chain.links[1].match == ("team_*", "shared_*")


def test_a_drill_shows_on_every_page_and_ends_early(house, ada, mei):
    reason = "fire drill <b>of</b> the platform team"
    assert ada.post("/backends/shared", {"act": "pause", "seconds": "60", "reason": reason}).status == 303
    for pages in (ada, mei):
        found = pages.get("/explain")
        assert "is paused for a drill for another" in found.text
        assert "fire drill &lt;b&gt;of&lt;/b&gt; the platform team" in found.text
    assert "Paused for a drill" in ada.get("/backends").text
    assert ada.post("/backends/shared", {"act": "resume"}).status == 303
    assert "is paused for a drill" not in ada.get("/explain").text
    assert (
        ada.post("/backends/shared", {"act": "resume"}).status == 303
    )  # it has ended: what was wanted is so


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"seconds": "60", "reason": " "}, "A drill needs a reason"),
        ({"seconds": "60", "reason": "x" * 501}, "A reason has at most 500 characters"),
        ({"seconds": "1", "reason": "drill"}, "A drill lasts 10 seconds to 1 hour."),
        ({"seconds": "١٢٣", "reason": "drill"}, "A drill lasts 10 seconds to 1 hour."),
        ({"reason": "drill"}, "A drill lasts 10 seconds to 1 hour."),
    ],
)
def test_a_drill_that_is_none_is_told_at_its_field(house, ada, typed, said):
    answer = ada.post("/backends/shared", {"act": "pause", **typed})
    assert answer.status == 422
    assert said in answer.text
    assert house.house.deployment().arrangement.pauses == {}


def test_who_does_not_administer_sees_the_chain_and_no_way_to_change_it(house, mei):
    page = mei.get("/backends/shared")
    assert page.status == 200
    assert 'name="move"' not in page.text
    assert 'name="act" value="pause"' not in page.text
    assert "Only who administers this deployment may change this." in page.text
    for path, typed in (
        ("/backends", {"act": "order", "order": "native,shared,env"}),
        ("/backends", {"act": "check"}),
        ("/backends/shared", {"act": "settings"}),
        ("/backends/shared", {"act": "pause", "seconds": "60", "reason": "drill"}),
        ("/backends/shared", {"act": "resume"}),
    ):
        assert mei.post(path, typed).status == 403
    assert chain(house) == ["env", "shared", "native"]


def test_an_old_proof_is_asked_for_anew_and_what_was_typed_stays(house):
    pages = Pages(house, ADA)
    old = signed_in(house, ADA, proven=timedelta(hours=3))
    pages.cookies = {old["name"]: old["value"]}
    reason = "fire drill of the platform team"
    answer = pages.post("/backends/shared", {"act": "pause", "seconds": "60", "reason": reason})
    assert answer.status == 403
    assert reason in answer.text
    assert house.house.deployment().arrangement.pauses == {}


def test_a_backend_that_is_none_is_not_found(ada):
    assert ada.get("/backends/nowhere").status == 404
    assert ada.post("/backends/nowhere", {"act": "pause", "seconds": "60", "reason": "drill"}).status == 404


def test_an_unknown_field_is_refused(ada):
    assert ada.post("/backends", {"act": "order", "nonsense": "1"}).status in (400, 422)


def test_no_text_of_the_settings_stands_in_the_page(house, ada):
    page = ada.get("/backends/shared")
    assert "shared.json" not in page.text
    assert "canary-7f3a" not in page.text


def test_a_chain_of_the_file_cannot_be_moved(house):
    pages = Pages(house, ADA, deployment="staging")
    page = pages.get("/d/staging/backends")
    assert "The settings file keeps the order." in page.text
    assert 'name="move"' not in page.text
    answer = pages.post("/d/staging/backends", {"act": "order", "order": "native,env"})
    assert answer.status == 422
    assert "the settings file manages this chain" in answer.text


# --- in a browser ------------------------------------------------------------------------------------


def test_alt_and_the_arrows_move_a_backend_and_the_focus_stays_with_it(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/backends")
        page.focus("#up-native")
        page.keyboard.press("Alt+ArrowUp")
        page.wait_for_selector('#order li:nth-child(2)[data-backend="native"]')
        assert chain(house) == ["env", "native", "shared"]
        page.wait_for_selector('li[data-backend="native"]:focus-within')
        page.keyboard.press("Alt+ArrowUp")
        page.wait_for_selector('#order li:first-child[data-backend="native"]')
        page.wait_for_selector('li[data-backend="native"]:focus-within')
        assert "native is now number 1 of 3." in page.inner_text("#order-said")


def test_a_backend_is_dragged_to_another_place(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/backends")
        page.drag_and_drop(
            'li[data-backend="native"] .dot',
            'li[data-backend="env"]',
            target_position={"x": 20, "y": 4},
        )
        page.wait_for_selector(".toast")
        assert chain(house) == ["native", "env", "shared"]
        page.click(".toast button")
        page.wait_for_selector('#order li:first-child[data-backend="env"]')
        assert chain(house) == ["env", "shared", "native"]


def test_the_page_is_sound_in_both_themes_and_at_every_width_with_wrong_fields_too(chromium, house):
    house.house.deployment().root.backends.check()
    with browsing(chromium, house, allowed=("422",)) as page:
        page.goto("/backends")
        assert barriers(page) == {}
        page.goto("/backends/shared")
        page.click("#pause button[type=submit]")
        page.wait_for_selector("#p-why-e")
        assert barriers(page) == {}
