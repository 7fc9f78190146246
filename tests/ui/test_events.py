from __future__ import annotations

import http.client
import json
import time
from contextlib import contextmanager

import pytest

from parts.browser import ADA, browsing, furnished, signed_in
from parts.seat import Seat
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

CANARY = "kanarie-91d2"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("house"), entries=False) as server:
        yield server


def write(house, name, text=CANARY):
    root = house.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", name), secret=Secret(text)), to="native", comment="a test")


@contextmanager
def following(house, actor=ADA, **headers):
    """Give a function that reads the next event of a stream as its fields."""
    cookie = signed_in(house, actor)
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=15)
    try:
        said = {"Cookie": f"{cookie['name']}={cookie['value']}", "Accept": "text/event-stream", **headers}
        connection.request("GET", "/events", headers=said)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream")
        assert answer.getheader("cache-control") == "no-store"

        def event():
            fields = {}
            while line := answer.readline().decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            return fields

        yield event
    finally:
        connection.close()


def changed(event):
    while True:
        found = event()
        if found.get("event") == "changed":
            return found


def test_a_page_hears_of_names_and_versions_and_never_of_content(house):
    with following(house) as event:
        assert "id" in event()
        write(house, "told")
        found = changed(event)
    told = json.loads(found["data"])
    assert told["all"] is False
    assert {"kind": "variable", "name": "told", "team": None, "version": "1"} in told["changes"]
    assert CANARY not in found["data"]


def test_changes_that_come_together_are_told_together_and_a_stream_goes_on_where_it_ended(house):
    with following(house) as event:
        event()
        write(house, "first")
        last = changed(event)["id"]
    for name in ("a", "b", "c", "d"):
        write(house, name)
    with following(house, **{"Last-Event-ID": last}) as event:
        event()
        names = []
        while len(names) < 4:
            names += [one["name"] for one in json.loads(changed(event)["data"])["changes"]]
    assert names == ["a", "b", "c", "d"]


def test_a_stream_ends_with_its_session_within_two_seconds(house):
    with following(house, "person:dave") as event:
        event()
        house.house.deployment().root.access.sessions.revoke_all("person:dave")
        deadline = time.monotonic() + 10
        while event() and time.monotonic() < deadline:
            pass
        assert time.monotonic() < deadline


def test_nobody_follows_and_a_wrong_id_is_refused(house):
    assert house.ask("GET", "/events", headers={"Accept": "text/event-stream"}).status == 401
    ada = Seat(house, ADA)
    for wrong in ("x" * 200, "a b", "<script>"):
        assert ada.get("/events", headers={"Last-Event-ID": wrong}).status == 400


def test_a_page_that_stands_open_shows_that_it_is_live_and_says_when_something_came(house, chromium):
    with browsing(chromium, house) as page:
        page.goto("/settings/you")
        page.wait_for_selector("#live:has-text('Live')")
        page.evaluate(
            """document.body.addEventListener("sr:changed", (e) => {
                document.body.dataset.heard = e.detail.changes.map((one) => one.name).join(" ");
            })"""
        )
        write(house, "seen")
        page.wait_for_selector("body[data-heard~=seen]")
        assert CANARY not in page.content()


def test_a_closed_stream_gives_its_seat_back_at_once_so_that_a_person_may_walk_through_pages_quickly(house):
    for _ in range(
        60
    ):  # three times what one may follow at once; each would be held to its next sign of life
        with following(house) as event:
            event()
