"""The grid of entries by deployment."""

from __future__ import annotations

import contextlib
import time

import pytest

from parts.browser import ADA, MEI, PASSWORD, browsing, signed_in
from parts.pages import Pages
from strongroom.errors import ConflictError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.service.entries import Change

CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def two(house):
    """The house, where Ada is known in both deployments and three entries are not the same."""
    root = house.house.deployment("staging").root
    with contextlib.suppress(ConflictError):
        root.access.people.add("alice", Secret(PASSWORD), roles=[Role("admin")])
    root.entries.write(Change(ref=Ref("variable", "bool"), secret=Secret(CANARY)))
    root.entries.delete(Ref("variable", "float"))
    root.entries.write(Change(ref=Ref("variable", "only_staging"), secret=Secret("1")))
    return house


@pytest.fixture(scope="module")
def ada(two):
    return Pages(two, ADA, others=("staging",))


def test_each_deployment_is_a_column_and_the_same_letter_is_the_same_content(ada):
    found = ada.get("/deployments")
    assert found.status == 200
    assert "Same as prod" in found.text
    assert "strongroom diff --between prod,staging --only all" in found.text


def settled(pages, path):
    """Give the page once everything was compared, which is done behind it."""
    until = time.monotonic() + 30
    while "Compared so far" in (text := pages.get(path).text) and time.monotonic() < until:
        time.sleep(0.05)
    return text


def test_lines_that_differ_or_are_missing_somewhere_have_an_address(ada):
    differing = settled(ada, "/deployments?only=differing")
    assert ">bool</a>" in differing
    assert ">float</a>" not in differing
    missing = settled(ada, "/deployments?only=missing")
    assert ">float</a>" in missing
    assert ">only_staging</a>" in missing
    assert ">bool</a>" not in missing


def test_no_value_stands_in_the_page(ada):
    assert CANARY not in ada.get("/deployments?only=differing").text


def test_another_deployment_may_be_the_one_to_compare_with(ada):
    assert "A is what staging holds" in ada.get("/deployments?reference=staging").text
    assert "A is what prod holds" in ada.get("/deployments?reference=nowhere").text


def test_a_deployment_without_a_session_is_not_named(two):
    found = Pages(two, MEI).get("/deployments")
    assert "staging" not in found.text
    assert "prod alone is open in this browser" in found.text


def test_a_session_that_ended_is_left_out_with_a_way_back_in(two):
    pages = Pages(two, ADA)
    pages.cookies["strongroom-staging"] = "srm_s_no-such-session"
    found = pages.get("/deployments")
    assert found.status == 200
    assert "is left out: your session there ended" in found.text
    assert "/d/staging/sign-in?next=" in found.text


@pytest.mark.parametrize("query", ["?begin=-5", "?begin=100000", "?only=nonsense", "?reference=%3Cb%3E"])
def test_an_address_of_nothing_shows_what_there_is(ada, query):
    assert ada.get(f"/deployments{query}").status == 200


def test_a_page_follows_the_other(ada):
    first = ada.get("/deployments").text
    assert "begin=50" in first
    assert "Lines 51" in ada.get("/deployments?begin=50").text


def test_it_is_reached_by_keys_alone(chromium, two):
    with browsing(chromium, two, cookies=[signed_in(two, deployment="staging")]) as page:
        page.goto("/explain")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_selector("table.grid-t")
        assert page.url.endswith("/deployments")
