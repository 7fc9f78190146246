"""The inventory: everything there is, found, counted, sorted, and acted on several lines at once."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from parts.browser import ADA, DATA, MEI, barriers, browsing, furnished, settled
from parts.seat import Seat
from strongroom.cli.app import tree
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.ui.inventory import InventoryQuery, twin_of
from strongroom.service.entries import Change

CORPUS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "{{ 7*7 }}",
    "'; DROP TABLE entries;--",
)


@pytest.fixture(scope="module")
def ada(house):
    return Seat(house, ADA)


@pytest.fixture(scope="module")
def rita(house):
    """Somebody who may list and read, and change nothing."""
    people = house.house.deployment().root.access.people
    people.add("rita.vega", Secret("four plain words here"), roles=[Role("reader")])
    return Seat(house, "person:rita.vega")


def names(answer):
    return [
        unescape(one)
        for one in re.findall(r'class="nm clip" href="[^"]*" title="([^"]*)"', answer.body.decode())
    ]


def marks(answer):
    return [unescape(one) for one in re.findall(r'name="mark" value="([^"]*)"', answer.body.decode())]


def write(house, name, **facts):
    change = Change(ref=Ref("variable", name), secret=Secret("a value"), metadata=Metadata(**facts))
    house.house.deployment().root.entries.write(change, to="native", force=True)


def owner_of(house, name):
    return house.house.deployment().root.entries.describe(Ref("variable", name)).metadata.owner


# --- what is shown -------------------------------------------------------------------------------------


def test_a_page_shows_fifty_lines_of_every_store_and_the_next_page_the_rest(ada):
    first, second = ada.get("/inventory"), ada.get("/inventory?page=2")
    assert first.status == second.status == 200
    assert len(names(first)) == 50
    shown = names(first) + names(second)
    assert shown == sorted(shown, key=lambda name: (name.casefold(), name))
    assert {"aws_0", "billing_api", "region", "multiünicode"} <= set(shown)
    assert shown.count("region") == 2


def test_a_page_past_the_end_is_the_last_one(ada):
    assert names(ada.get("/inventory?page=999")) == names(ada.get("/inventory?page=2"))


def test_a_shadowed_line_is_struck_through_and_leads_to_what_shadows_it(ada):
    body = ada.get("/inventory?health=shadowed").body.decode()
    assert '<tr role="row" class="gone' in body
    assert "Shadowed by 1 env" in body
    assert '/entries/variable/region?tab=resolution"' in body


def test_words_facets_and_orders_stand_in_the_address(ada):
    assert all("aws" in name for name in names(ada.get("/inventory?q=aws")))
    assert names(ada.get("/inventory?source=env")) == ["billing_api", "cutoff_hour", "region"]
    assert names(ada.get("/inventory?q=%23pci&kind=variable"))
    down = names(ada.get("/inventory?sort=-name"))
    assert down == sorted(down, key=lambda name: (name.casefold(), name), reverse=True)
    for column in ("source", "team", "owner", "type", "version", "age", "read", "expires", "health"):
        assert ada.get(f"/inventory?sort={column}").status == 200
        assert ada.get(f"/inventory?sort=-{column}").status == 200


def test_a_part_is_given_to_htmx_with_what_changes_beside_it(ada):
    answer = ada.get("/inventory?q=aws", htmx="lines")
    body = answer.body.decode()
    assert "<html" not in body
    for part in ("views", "facets", "chips", "kept", "twin", "n-inventory"):
        assert re.search(rf'id="{part}"[^>]*hx-swap-oob="true"', body), part
    assert "HX-Request" in answer.headers["vary"]


def test_who_may_list_no_entry_is_not_led_to_an_import(house):
    body = Seat(house, MEI).get("/inventory").body.decode()
    assert "No entry here is one you may list" in body
    assert names(Seat(house, MEI).get("/inventory?q=region")) == []


def test_nothing_found_says_so_and_offers_the_way_back(ada):
    body = ada.get("/inventory?q=nothing-like-it").body.decode()
    assert "Nothing here matches" in body
    assert "Clear the filters" in body


@pytest.mark.parametrize(
    "query", ["sort=password", "page=0", "page=x", "health=fine", "q=" + "x" * 201, "hide=name", "unknown=1"]
)
def test_a_wrong_address_is_refused_in_a_page(ada, query):
    answer = ada.get(f"/inventory?{query}")
    assert answer.status in (400, 413)
    assert "<h1" in answer.body.decode()


def test_an_empty_house_leads_to_the_import(tmp_path):
    with furnished(tmp_path, environ={}, entries=False) as bare:
        body = Seat(bare).get("/inventory").body.decode()
        assert "Bring what you have" in body
        assert 'href="/import"' in body
        assert "<table" not in body


def test_what_people_wrote_is_shown_as_they_wrote_it_and_runs_nowhere(house, ada):
    for number, text in enumerate(CORPUS):
        write(house, f"hostile_{number}", owner=text, tags=(text,), description=text)
    body = ada.get("/inventory?q=hostile").body.decode()
    for text in CORPUS[:2]:
        assert text not in body
    assert "&lt;script&gt;" in body
    assert "{{ 7*7 }}" in unescape(body)
    assert ada.get("/inventory?q=" + "%3Cscript%3Ealert(1)%3C/script%3E").body.decode().count("<script>") == 0


def test_no_value_stands_in_any_part_of_it(house, ada):
    write(house, "canary", description="not the value")
    change = Change(ref=Ref("variable", "canary"), secret=Secret("canary-7f3a-value"))
    house.house.deployment().root.entries.write(change, to="native")
    for path in ("/inventory?q=canary", "/inventory?q=canary-7f3a"):
        assert "canary-7f3a-value" not in ada.get(path).body.decode()


# --- the same elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        InventoryQuery(),
        InventoryQuery(q="orders #pci", health=["unreadable", "soon"], sort="-age", page=3),
        InventoryQuery(
            owner=[""], team=["data"], source=["vault"], kind=["variable"], type_=["aws"], tag=["eu"]
        ),
    ],
)
def test_the_command_and_the_call_of_a_view_are_real(ada, asked):
    import shlex  # noqa: PLC0415 -- here alone

    twin = twin_of(asked)
    words = shlex.split(twin.command)
    command = tree().get_command(None, words[1])
    assert command.make_context(words[1], words[2:], resilient_parsing=False) is not None
    token = ada.house.token(f"twin-{asked.page}-{len(asked.owner)}")
    answer = ada.house.ask("GET", twin.path, token=token)
    assert answer.status == 200, answer.body


def test_the_api_finds_what_the_page_finds(ada):
    token = ada.house.token("finder")
    told = json.loads(ada.house.ask("GET", "/v1/find?source=env&limit=500", token=token).body)
    assert [row["name"] for row in told["entries"]] == names(ada.get("/inventory?source=env"))
    assert told["total"] == 3


# --- several at once -------------------------------------------------------------------------------------


def test_an_owner_is_set_for_several_lines_and_taken_back(house, ada):
    for number in range(2):
        write(house, f"bulk_{number}", owner="dave")
    marked = marks(ada.get("/inventory?q=bulk_"))
    asked = ada.post("/inventory/marked", {"act": "owner", "mark": marked, "back": "/inventory?q=bulk_"})
    assert "these 2 entries" in asked.body.decode()
    done = ada.post("/inventory/owner", {"mark": marked, "owner": "jon", "back": "/inventory?q=bulk_"})
    assert (done.status, done.headers["location"]) == (303, "/inventory?q=bulk_")
    assert owner_of(house, "bulk_0") == owner_of(house, "bulk_1") == "jon"
    toast = ada.get("/inventory?q=bulk_").body.decode()
    assert "Set the owner of 2 entries" in toast
    token = re.search(r'name="token" value="([^"]+)"', toast)[1]
    assert ada.post("/inventory/undo", {"token": token}).status == 303
    assert owner_of(house, "bulk_0") == "dave"
    assert ada.post("/inventory/undo", {"token": token}).status == 404


def test_tags_are_added_and_taken_away(house, ada):
    write(house, "tagged", tags=("old", "eu"))
    (mark,) = marks(ada.get("/inventory?q=tagged"))
    assert ada.post("/inventory/tag", {"mark": mark, "add": "#pci new", "drop": "old"}).status == 303
    found = house.house.deployment().root.entries.describe(Ref("variable", "tagged")).metadata.tags
    assert found == ("eu", "new", "pci")
    wrong = ada.post("/inventory/tag", {"mark": mark, "add": " "})
    assert wrong.status == 422
    assert "Say which tags" in wrong.body.decode()


def test_what_is_deleted_with_its_history_comes_back(house, ada):
    write(house, "going")
    (mark,) = marks(ada.get("/inventory?q=going"))
    assert ada.post("/inventory/delete", {"mark": mark}).status == 303
    page = ada.get("/inventory?q=going")
    assert names(page) == []
    token = re.search(r'name="token" value="([^"]+)"', page.body.decode())[1]
    assert ada.post("/inventory/undo", {"token": token}).status == 303
    assert names(ada.get("/inventory?q=going")) == ["going"]


def test_what_cannot_be_written_is_left_out_with_the_reason(ada):
    marked = marks(ada.get("/inventory?source=env"))
    body = ada.post("/inventory/marked", {"act": "delete", "mark": marked}).body.decode()
    assert "env cannot be written from here" in body
    assert "None of these can be acted on" in body


def test_who_may_only_look_is_told_so_and_changes_nothing(house, rita):
    write(house, "looked_at", owner="alice")
    (mark,) = marks(rita.get("/inventory?q=looked_at"))
    body = rita.post("/inventory/marked", {"act": "owner", "mark": mark}).body.decode()
    assert "You may list this, not change it" in body
    rita.post("/inventory/owner", {"mark": mark, "owner": "dave"})
    assert owner_of(house, "looked_at") == "alice"


def test_an_undo_is_only_of_who_did_it(house, ada, rita):
    write(house, "mine")
    (mark,) = marks(ada.get("/inventory?q=mine"))
    ada.post("/inventory/owner", {"mark": mark, "owner": "ada"})
    token = re.search(r'name="token" value="([^"]+)"', ada.get("/inventory").body.decode())[1]
    assert rita.post("/inventory/undo", {"token": token}).status == 404
    assert owner_of(house, "mine") == "ada"


def test_a_file_of_lines_holds_no_value_and_no_formula(house, ada):
    write(house, "sheet", owner="=HYPERLINK(1)", description="seen")
    (mark,) = marks(ada.get("/inventory?q=sheet"))
    answer = ada.post("/inventory/export", {"mark": mark, "form": "csv"})
    assert "attachment" in answer.headers["content-disposition"]
    (head, row) = csv.reader(io.StringIO(answer.body.decode()))
    told = dict(zip(head, row, strict=True))
    assert (told["name"], told["owner"]) == ("sheet", "'=HYPERLINK(1)")
    assert b"a value" not in answer.body
    told = json.loads(ada.post("/inventory/export", {"mark": mark, "form": "json"}).body)
    assert [one["name"] for one in told] == ["sheet"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"act": "owner"}, 400),
        ({"act": "rename", "mark": "native/variable/-/region"}, 400),
        ({"act": "owner", "mark": "region"}, 400),
        ({"act": "owner", "mark": "native/variable/-/" + "x" * 300}, 413),
        ({"act": "owner", "mark": [f"native/variable/-/v{number}" for number in range(501)]}, 413),
        ({"act": "owner", "mark": "native/variable/-/region", "unknown": "1"}, 422),
    ],
)
def test_a_wrong_form_is_refused(ada, fields, status):
    assert ada.post("/inventory/marked", fields).status == status


def test_the_way_back_never_leads_away(ada):
    for back in ("https://evil.example/inventory", "//evil.example/inventory", "/settings/you"):
        answer = ada.post(
            "/inventory/owner", {"mark": "native/variable/-/region", "owner": "alice", "back": back}
        )
        assert urlsplit(answer.headers["location"]).path == "/inventory"
        assert not urlsplit(answer.headers["location"]).netloc


# --- in a browser ------------------------------------------------------------------------------------------


def test_it_is_searched_as_one_types_and_back_leads_back(page):
    page.goto("/inventory")
    page.keyboard.press("/")
    page.keyboard.type("aws_")
    page.wait_for_url("**q=aws_**")
    settled(page)
    assert page.locator(".inv-t tbody tr").count() == 3
    page.locator("#f-kind-0").check()
    page.wait_for_url("**kind=connection**")
    settled(page)
    assert page.evaluate("document.activeElement.id") == "f-kind-0"
    assert parse_qs(urlsplit(page.url).query) == {"q": ["aws_"], "kind": ["connection"]}
    page.go_back()
    page.wait_for_function("!location.search.includes('kind')")


def test_by_keyboard_alone_a_line_is_opened_closed_marked_and_given_an_owner(page):
    page.goto("/inventory?q=aws_")
    for key in ("j", "j", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#drawer")
    assert "open=" in page.url
    page.keyboard.press("Escape")
    page.wait_for_selector("#drawer", state="detached")
    assert page.evaluate("document.activeElement.textContent") == "aws_1"
    page.keyboard.press("x")
    page.get_by_role("button", name="Set owner").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.type("bob")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".toast")
    assert "Set the owner of 1 entry" in page.locator(".toast").inner_text()


def test_without_script_it_is_searched_filtered_sorted_and_acted_on(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/inventory")
        page.fill("#find", "azure_")
        page.press("#find", "Enter")
        assert page.locator(".inv-t tbody tr").count() == 3
        page.locator("#f-kind-0").check()
        page.get_by_role("button", name="Apply").click()
        assert "kind=connection" in page.url
        assert "q=azure_" in page.url
        page.locator("thead a", has_text="Name").click()
        assert "sort=-name" in page.url
        page.locator("[data-mark]").first.check()
        page.locator("#bulk button[value=tag]").click()
        page.fill("#m-add", "reviewed")
        page.locator("#marked-form .btn.main").click()
        assert "Set tags of 1 entry" in page.content()


def test_it_has_no_barrier_with_filters_and_drawer_open(page):
    page.goto("/inventory?q=aws_#facets")
    assert barriers(page) == {}
    page.locator("#lines a.nm").first.click()
    page.wait_for_selector("#drawer")
    settled(page)
    assert barriers(page) == {}


def test_an_act_on_marked_lines_leaves_the_list_where_it_stands(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/inventory")
        page.locator("[data-mark]").first.check()
        button = page.locator("#bulk button[value=owner]").bounding_box()
        page.mouse.click(button["x"] + 5, button["y"] + 5)  # `click` of a locator scrolls by itself
        page.locator("dialog[open] #m-owner").wait_for()
        assert page.evaluate("scrollY") == 0
        page.keyboard.press("Escape")
        page.wait_for_function("document.activeElement.value === 'owner'")


def test_an_empty_house_is_the_first_step_of_an_import(chromium, tmp_path):
    with furnished(tmp_path, environ={}, entries=False) as empty:
        owner = Seat(empty, "local:0")
        assert "owner of the store on its machine" in unescape(owner.get("/settings/you").body.decode())
        with browsing(chromium, empty) as page:
            page.goto("/inventory")
            assert page.locator("main .btn.main").all_inner_texts() == ["See what it holds"]
            foot = page.locator("#twin").bounding_box()
            assert foot["y"] + foot["height"] == page.viewport_size["height"]  # low pages too
            page.set_input_files("#files", str(DATA / "variables.json"))
            page.locator("main .btn.main").click()
            page.locator("#import-form").wait_for(state="attached")
