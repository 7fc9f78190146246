"""`/changes`: server-sent events with resume, for what an actor may see, as long as he may."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from strongroom.errors import RateLimitedError
from strongroom.model.secret import Secret
from strongroom.policy import Role, Scope
from strongroom.server import listening as listeners

PASSWORD = "four plain words here"


class Stream:
    """Events as they come."""

    def __init__(self, answer):
        self.answer = answer

    def event(self):
        """Give the next event as a dict of its fields, comments under ''."""
        found = {}
        while True:
            line = self.answer.readline()
            if not line:
                return None
            if not line.strip():
                if found:
                    return found
                continue
            name, _, value = line.decode().rstrip("\r\n").partition(":")
            found[name] = value.strip()

    def change(self):
        """Give the next event that is a change or a gap."""
        while (event := self.event()) is not None:
            if event.get("event") in ("change", "gap"):
                return event["event"], json.loads(event["data"]), event["id"]
        return None


@contextmanager
def listening(api, query="", *, role="admin", token=None, headers=None):
    connection = api.server.connect()
    connection.timeout = 10
    given = {"Authorization": f"Bearer {token or api.tokens[role]}"} | (headers or {})
    connection.request("GET", f"/v1/changes{query}", headers=given)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    try:
        yield Stream(answer)
    finally:
        connection.close()


def test_a_change_is_told_as_it_happens(api):
    with listening(api) as stream:
        first = stream.event()
        assert first["retry"] == "2000"
        assert first["id"]
        api.put("variable", "told", {"value": "s3cret-canary"})
        kind, data, _ = stream.change()
        assert (kind, data) == ("change", {"kind": "variable", "name": "told", "team": None, "version": "1"})
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("way", ["header", "query"])
def test_a_stream_goes_on_after_the_last_event_that_was_seen(api, way):
    with listening(api) as stream:
        last = stream.event()["id"]
    for name in ("missed-1", "missed-2"):
        api.put("variable", f"{name}-{way}", {"value": "x"})
    headers, query = ({"Last-Event-ID": last}, "") if way == "header" else ({}, f"?after={quote(last)}")
    with listening(api, query, headers=headers) as stream:
        names = [stream.change()[1]["name"] for _ in range(2)]
    assert names == [f"missed-1-{way}", f"missed-2-{way}"]


def test_what_is_no_place_of_a_stream_is_answered_with_a_gap(api):
    with listening(api, "?after=nonsense") as stream:
        assert stream.change()[0] == "gap"


def test_two_places_at_once_or_one_too_long_are_refused(api):
    both = api.ask("GET", "/changes", query={"after": "x"}, headers={"Last-Event-ID": "y"})
    assert both.status == 400
    for text in ("x" * 101, "", "x\ndata: {}", "x\r\nevent: change", "\u2028"):
        assert api.ask("GET", "/changes", query={"after": text}).status == 400


def test_RT10_only_what_may_be_seen_is_told(api):
    scope = Scope(("list",), (), ("seen/*",))
    token = api.server.token("listener", "admin", scope=scope)
    with listening(api, token=token) as stream:
        stream.event()
        api.put("variable", "unseen/a", {"value": "x"})
        api.put("variable", "seen/a", {"value": "x"})
        assert stream.change()[1]["name"] == "seen/a"


def test_AA11_a_stream_ends_with_its_session(api):
    root = api.house.deployment().root
    root.access.people.add("streamer", Secret(PASSWORD), roles=[Role("admin")])
    body = {"name": "streamer", "password": PASSWORD}
    token = api.ask("POST", "/login", body, role=None).json()["token"]
    with listening(api, token=token) as stream:
        stream.event()
        assert api.ask("POST", "/logout", token=token).status == 204
        begun = time.monotonic()
        assert stream.change() is None
        assert time.monotonic() - begun < 8


def test_who_may_list_nothing_hears_nothing(api):
    token = api.server.token("deaf", "nobody")
    assert api.ask("GET", "/changes", token=token).status == 403
    with listening(api) as stream:
        last = stream.event()["id"]
    assert api.ask("GET", "/changes", token=token, headers={"Last-Event-ID": last}).status == 403


def test_one_actor_listens_a_bounded_number_of_times_and_a_stream_that_ended_counts_no_more():
    counted = listeners._Listening()
    streams = [counted.one("anna") for _ in range(listeners._MAX_OF_ONE_ACTOR)]
    for stream in streams:
        stream.__enter__()
    with pytest.raises(RateLimitedError), counted.one("anna"):
        pass
    with counted.one("otto"):
        pass
    streams.pop().__exit__(None, None, None)
    with counted.one("anna"):
        pass
    for stream in streams:
        stream.__exit__(None, None, None)
    assert not counted._counts


def test_DS08_a_listener_that_goes_away_is_forgotten(api):
    who = ("prod", "service:api-op")
    with listening(api, role="op") as stream:
        stream.event()
        assert listeners.LISTENING._counts[who] == 1
    deadline = time.monotonic() + 10
    while listeners.LISTENING._counts[who] and time.monotonic() < deadline:
        api.put("variable", "nudge", {"value": "x"})
    assert not listeners.LISTENING._counts[who]
