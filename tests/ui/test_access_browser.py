"""The pages of who may in a browser: from end to end, by keys alone, without script, and without barriers."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from parts.browser import ADA, PASSWORD, axe, barriers, browsing, furnished, settled, signed_in
from parts.offices import asked_for, peopled
from strongroom.policy import Role

# A page that refuses a form, or asks who one is, says so by its status: the browser's console notes that.
REFUSED = ("status of 4", "/events")
NIGHT = """\
@id("night-shift")
permit (principal in Role::"viewer",
  action == Action::"list", resource is Entry);
"""
OPEN = (
    "/access/add/person",
    "/access/add/policy",
    "/access/people/erin?ask=delete",
    "/access/tokens/{token}?ask=revoke",
    "/access/approvals/{request}",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("offices"), entries=False) as server:
        server.root = peopled(server)
        server.request = asked_for(server)
        server.token_id = server.root.access.tokens.list()[0].id
        yield server


def here(path, house):
    return path.format(token=house.token_id, request=house.request.id)


# --- journeys --------------------------------------------------------------------------------------------


def test_a_policy_is_written_with_help_tried_saved_and_asked_about(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/access/policies")
        page.get_by_role("link", name="Write a policy").click()
        page.fill("#f-id", "night-shift")
        page.fill("#f-text", NIGHT.replace("list", "reed"))
        page.wait_for_selector("#remarks li.bad")
        assert "there is no action reed" in page.inner_text("#remarks")
        assert page.locator(".cedar li").nth(2).get_attribute("class") == "error"
        page.locator("#remarks [data-line]").first.click()
        assert page.evaluate("document.activeElement.id") == "f-text"
        page.fill("#f-text", NIGHT)
        page.wait_for_selector("#remarks .well-said")
        page.get_by_role("button", name="See what would turn").click()
        page.wait_for_selector("#simulated .well-said")
        assert "would turn" in page.inner_text("#simulated")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/access/policies/night-shift")
        assert "Saved night-shift" in page.inner_text("#toasts")
        page.goto("/access/tester?who=person:dave&action=list&kind=variable&name=x")
        assert "Yes: person:dave may list variable x" in page.inner_text("#answer")
        page.select_option("[name=action]", "write")
        page.wait_for_selector(".verdict.bad")
        assert "action=write" in page.url
        page.go_back()
        page.wait_for_selector(".verdict.ok")


def test_a_token_is_issued_copied_and_nowhere_after(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/access/add/token")
        page.fill("#f-name", "browser-made")
        page.fill("#f-role", "reader")
        page.get_by_label("read", exact=True).check()
        page.get_by_role("button", name="Issue").click()
        page.wait_for_selector("#token-text")
        token = page.inner_text("#token-text")
        assert re.fullmatch(r"srm_t_[A-Za-z0-9_-]+", token)
        assert axe(page) == []
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy", exact=True).click()
        assert page.evaluate("navigator.clipboard.readText()") == token
        page.get_by_role("link", name="I have it").click()
        page.wait_for_selector("#drawer")
        assert token not in page.content()
        kept = page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        )
        assert token not in kept


def test_a_stale_proof_is_renewed_on_the_way_and_nothing_typed_is_lost(chromium, house):
    with browsing(chromium, house, actor=None, allowed=REFUSED) as page:
        page.context.add_cookies([signed_in(house, ADA, proven=timedelta(minutes=30))])
        page.goto("/access/add/person")
        page.fill("#f-name", "kept.typed")
        page.fill("#f-role", "viewer")
        page.get_by_role("button", name="Add", exact=True).click()
        page.locator("input[type=password]:visible").first.fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/access/people/kept.typed")
        assert house.root.access.people.find("kept.typed").roles == (Role("viewer"),)


def test_by_keys_alone_somebody_is_found_opened_and_given_a_role(chromium, house):
    house.root.access.people.add("by.keys")
    with browsing(chromium, house) as page:
        page.goto("/access/people")
        page.keyboard.press("/")
        page.keyboard.type("by.keys")
        page.wait_for_selector("#lines tbody tr:only-child:has-text('by.keys')")
        settled(page)
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent.trim()") == "by.keys":
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/access/people/by.keys*")
        page.wait_for_selector("#drawer")
        for _ in range(60):
            if page.evaluate("document.activeElement.name") == "role":
                break
            page.keyboard.press("Tab")
        page.keyboard.type("viewer")
        page.keyboard.press("Enter")
        page.wait_for_selector("#toasts .toast")
        assert house.root.access.people.find("by.keys").roles == (Role("viewer"),)
        page.goto("/access/people/by.keys")
        page.keyboard.press("Escape")
        page.wait_for_selector("#drawer", state="detached")
        assert page.url.endswith("/access/people")
        assert page.locator("tr.on").count() == 0


def test_the_drawer_follows_whoever_walks_the_list(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/access/people/alice")
        page.keyboard.press("j")
        page.wait_for_selector('#d-h .nm:not(:text-is("alice"))')
        page.wait_for_selector("tr.on:not(:has-text('alice'))")
        second = page.inner_text("#d-h .nm")
        assert page.url.endswith(f"/access/people/{second}")
        assert page.inner_text("tr.on .nm") == second
        assert f"what person:{second}" in page.inner_text("#twin code")
        page.go_back()
        page.wait_for_selector('#d-h .nm:text-is("alice")')


def test_without_script_every_form_works(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/access/add/person")
        page.fill("#f-name", "no.script")
        page.fill("#f-role", "viewer")
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**/access/people/no.script")
        page.get_by_role("button", name="Let in no more").click()
        page.wait_for_url("**/access/people/no.script")
        assert house.root.access.people.find("no.script").is_disabled
        page.get_by_role("button", name="Undo").click()
        page.wait_for_url("**/access/people/no.script")
        assert not house.root.access.people.find("no.script").is_disabled
        page.goto("/access/add/policy")
        page.fill("#f-text", "permit (")
        page.get_by_role("button", name="Check", exact=True).click()
        assert "no Cedar" in page.inner_text("#remarks")
        assert page.input_value("#f-text").strip() == "permit ("
        page.goto("/access/tester")
        page.fill("[name=who]", "person:dave")
        page.fill("[name=name]", "x")
        page.get_by_role("button", name="Ask", exact=True).click()
        assert "No: person:dave may not read connection x" in page.inner_text("#answer")


# --- barriers --------------------------------------------------------------------------------------------


def test_there_is_no_barrier_with_a_line_open(chromium, house):
    found = {}
    with browsing(chromium, house, allowed=("/events",)) as page:
        for path in OPEN:
            page.goto(here(path, house))
            settled(page)
            if wrong := barriers(page):
                found[path] = wrong
    assert found == {}


def test_there_is_none_with_errors_either(chromium, house):
    with browsing(chromium, house, allowed=REFUSED) as page:
        page.goto("/access/add/person")
        page.fill("#f-name", "erin")
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_selector("#f-name[aria-invalid=true]")
        assert barriers(page) == {}
        assert page.evaluate("document.activeElement.id") == "f-name"
        page.goto("/access/policies/finance-reads")
        page.fill("#f-text", "permit (")
        page.wait_for_selector("#remarks li.bad")
        assert barriers(page) == {}
        page.goto("/access/add/token")
        page.get_by_role("button", name="Issue").click()
        page.wait_for_selector("#f-name[aria-invalid=true]")
        assert barriers(page) == {}
