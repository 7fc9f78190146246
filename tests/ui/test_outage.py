"""Pages while the store is down: what was seen stays, each says since when, and typing is not lost."""

from __future__ import annotations

import re
from html import unescape

import pytest

from parts.browser import ADA, SETTINGS, furnished
from parts.restartable import restartable
from parts.seat import Seat
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

STORED = Ref("variable", "stored")

pytestmark = pytest.mark.trial

PAGES = (
    "/",
    "/inventory",
    "/entries/variable/region",
    "/explain?kind=variable&name=region",
    "/backends",
    "/agents",
    "/audit",
    "/settings/you",
)
CHANGE = {"kind": "variable", "name": "fresh", "s.value": "typed before", "act": "review"}


@pytest.fixture(scope="module")
def database():
    with restartable("postgresql") as server:
        yield server


@pytest.fixture(scope="module")
def house(tmp_path_factory, database):
    settings = f'{SETTINGS}\n[store]\nurl = "{database.place}"\n'
    with furnished(tmp_path_factory.mktemp("house"), settings, entries=False) as server:
        server.house.deployment().root.entries.write(Change(ref=STORED, secret=Secret("kept")))
        yield server


@pytest.fixture
def ada(house):
    seat = Seat(house, ADA)
    assert [seat.get(path).status for path in PAGES] == [200] * len(PAGES)
    return seat


@pytest.fixture
def down(ada, database):
    database.kill()
    yield database
    database.start()


def hidden(answer):
    """Give the hidden fields of the form that saves."""
    part = answer.body.decode().partition('id="save-form"')[2].partition("</form>")[0]
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', part)
    return {name: unescape(value) for name, value in pairs if name != "csrf"}


def said(answer):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.body.decode())).split())


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_what_is_known_is_there_while_the_store_is_down(ada, down, path):
    answer = ada.get(path)
    assert answer.status == 200, said(answer)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_pages_of_all_there_is_say_who_is_silent_and_since_when(ada, down):
    assert "native has given no answer since " in said(ada.get("/"))
    inventory = said(ada.get("/inventory"))
    assert "native has not answered since " in inventory
    assert "What was read before is still here." in inventory
    assert "stored" in inventory
    ada.get("/entries/variable/stored")
    assert "No answer for " in said(ada.get("/backends"))  # of what it was asked


def test_an_entry_of_the_store_says_that_it_does_not_answer_and_how_to_go_on(ada, down):
    answer = ada.get("/entries/variable/stored")
    assert answer.status == 503
    assert "A store does not answer" in said(answer)
    assert "What other stores hold can be read and changed as before." in said(answer)
    assert "Try again" in said(answer)


def test_an_explanation_names_the_store_that_is_down_and_that_nobody_else_is_asked(ada, down):
    text = said(ada.get("/explain?kind=variable&name=stored"))
    assert "native gives no answer, and nobody else is asked" in text


def test_what_was_typed_stays_while_the_store_is_down_and_is_written_once_it_is_back(ada, database):
    review = hidden(ada.post("/entries/new", CHANGE))
    database.kill()
    try:
        refused = ada.post("/entries", review)
        assert refused.status == 503
        assert "What you typed is still here." in said(refused)
    finally:
        database.start()
    assert ada.post("/entries", review).status == 303
    assert ada.house.house.deployment().root.lookup.variable("fresh") == "typed before"


def test_nothing_is_revealed_while_the_store_is_down(ada, down):
    answer = ada.post("/reveal/variable/stored", {"part": "value", "act": "show", "reason": "looking"})
    assert answer.status == 503
    assert b"kept" not in answer.body
