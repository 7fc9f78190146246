"""
Pages while the server's own database is down: who was known goes on looking for a bounded time, each page
says since when and until when, typing is not lost, and nothing is done by what was known before.

One database is killed once for all of this; `Outage` has it up or down for whichever test comes next.
"""

from __future__ import annotations

import re
import time
from html import unescape

import pytest

from parts.browser import ADA, MEI, SETTINGS, furnished
from parts.restartable import restartable
from parts.seat import Seat
from parts.server import serving
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

STORED = Ref("variable", "stored")
PATIENCE_SECONDS = 30

PAGES = (
    "/",
    "/inventory",
    "/entries/variable/region",
    "/explain?kind=variable&name=region",
    "/backends",
    "/agents",
    "/audit",
    "/access/people",
    "/access/roles",
    "/access/policies",
    "/settings/you",
    "/settings/sessions",
)
CHANGE = {"kind": "variable", "name": "fresh", "s.value": "typed before", "act": "review"}
BANNER = "The server's database gives no answer since "
REFUSED = "The server's database does not answer"


class Outage:
    """
    Two servers over one database, and who sits before them.

    In `prod` a session goes on for an hour, in `staging` not at all. `ada` was seen by both servers, `guest`
    by the first alone, `gone` was let in by both, and signed out before the database went down.
    """

    def __init__(self, database, first, second):
        self.database = database
        self.first, self.second = first, second
        self.is_up = True
        self.ada, self.guest, self.gone, self.mei = (Seat(first, who) for who in (ADA, ADA, ADA, MEI))
        self.staging = Seat(first, ADA, deployment="staging")
        self.there = self._at_second(self.ada)
        self.guest_there = self._at_second(self.guest)
        self.gone_there = self._at_second(self.gone)
        for path in PAGES:
            assert self.ada.get(path).status == 200, path
        assert self.staging.get("/d/staging/").status == 200
        assert self.mei.get("/").status == 200
        assert self.there.get("/").status == 200
        assert [one.get("/").status for one in (self.gone, self.gone_there)] == [200, 200]
        self.review = hidden(self.ada.post("/entries/new", CHANGE))
        assert self.gone.post("/sign-out").status == 303
        # Another server sees what ended within a second: what is asked here is what was seen.
        one, two = (house.house.deployment().registry for house in (first, second))
        self._until(lambda: one.snapshot().revision == two.snapshot().revision)

    def _at_second(self, seat):
        """Give the same window before the second server."""
        found = Seat(self.second, None)
        found._cookies = dict(seat._cookies)
        return found

    @property
    def registries(self):
        houses = (self.first.house, self.second.house)
        return [house.deployment(name).registry for house in houses for name in house.names]

    def down(self):
        """Have the database down, and each server know it."""
        if self.is_up:
            self.database.kill()
            self.is_up = False
        self._until(lambda: all(one.silence is not None for one in self.registries))

    def up(self):
        """Have the database up, and each server know it."""
        if not self.is_up:
            self.database.start()
            self.is_up = True
        self._until(lambda: all(one.silence is None for one in self.registries))

    def _until(self, holds):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "the servers did not notice"
            time.sleep(0.01)


@pytest.fixture(scope="module")
def outage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outage")
    with restartable("postgresql") as database:
        store = f'url = "{database.place}"\nwrappers = [{{ kind = "file", path = "{folder / "key"}" }}]\n'
        settings = (
            f"{SETTINGS}\n[store]\n{store}[deployments.staging.store]\n{store}"
            "[access]\nrevoke_bound = 3600\n[deployments.staging.access]\nrevoke_bound = 0\n"
        )
        homes = [folder / "one", folder / "two"]
        for home in homes:
            home.mkdir(mode=0o700)
        with furnished(homes[0], settings, entries=False) as first:
            first.house.deployment().root.entries.write(Change(ref=STORED, secret=Secret("kept")))
            with serving(homes[1], settings, make=False) as second:
                found = Outage(database, first, second)
                try:
                    yield found
                finally:
                    found.up()


@pytest.fixture
def down(outage):
    outage.down()
    return outage


@pytest.fixture
def ada(down):
    return down.ada


def hidden(answer):
    """Give the hidden fields of the form that saves."""
    part = answer.body.decode().partition('id="save-form"')[2].partition("</form>")[0]
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', part)
    return {name: unescape(value) for name, value in pairs if name != "csrf"}


def said(answer):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.body.decode())).split())


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_what_is_known_is_there_while_the_database_is_down_and_says_for_how_long(ada, path):
    answer = ada.get(path)
    assert answer.status == 200, said(answer)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = said(answer)
    assert re.search(
        BANNER + r"\d\d:\d\d:\d\d . You go on looking by what was known then, until \d\d:\d\d:\d\d", text
    )
    assert "whoever was signed out, disabled or given less since then is not known here" in text


def test_what_is_looked_for_on_a_page_says_it_too(ada):
    part = ada.get("/inventory?q=region", htmx="lines")
    assert part.status == 200
    assert BANNER in said(part)
    assert b'<div class="banners" id="outage" hx-swap-oob="true">' in part.body


def test_pages_of_all_there_is_say_who_is_silent_and_since_when(ada):
    assert "native has given no answer since " in said(ada.get("/"))
    inventory = said(ada.get("/inventory"))
    assert "native has not answered since " in inventory
    assert "What was read before is still here." in inventory
    assert "stored" in inventory
    ada.get("/entries/variable/stored")
    assert "No answer for " in said(ada.get("/backends"))  # of what it was asked


def test_an_entry_of_the_store_says_that_it_does_not_answer_and_how_to_go_on(ada):
    answer = ada.get("/entries/variable/stored")
    assert answer.status == 503
    assert REFUSED in said(answer)
    assert "Nothing is changed or revealed until the database is back." in said(answer)
    assert "Try again" in said(answer)


def test_an_explanation_names_the_store_that_is_down_and_that_nobody_else_is_asked(ada):
    text = said(ada.get("/explain?kind=variable&name=stored"))
    assert "native gives no answer, and nobody else is asked" in text


def test_who_may_see_less_sees_no_more_while_the_database_is_down(down):
    assert down.mei.get("/inventory").status == 200
    assert down.mei.get("/access/people").status == 403


def test_nothing_is_revealed_while_the_database_is_down(ada):
    answer = ada.post("/reveal/variable/stored", {"part": "value", "act": "show", "reason": "looking"})
    assert answer.status == 503
    assert b"kept" not in answer.body.replace(b'value="kept"', b"")
    other = ada.post("/reveal/variable/region", {"part": "value", "act": "show", "reason": "looking"})
    assert other.status == 503
    assert b"eu-west-4" not in other.body


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/access/break-glass", {"reason": "the night shift", "span": "1h"}),
        ("/access/people", {"name": "eve", "role": "admin"}),
        ("/access/policies", {"text": "permit (principal, action, resource);"}),
        ("/access/tokens", {"name": "ci", "role": "admin"}),
        ("/settings/keys/rotate", {"act": "start"}),
        ("/entries", {"kind": "variable", "name": "region", "s.value": "typed"}),
        ("/sign-out", {}),
    ],
)
def test_what_needs_to_be_decided_anew_is_refused_and_keeps_what_was_typed(ada, path, fields):
    answer = ada.post(path, fields)
    if answer.status in (404, 405):
        pytest.fail(f"no such form: {path}")
    assert answer.status == 503
    assert REFUSED in said(answer)
    assert ("What you typed is still here." in said(answer)) is bool(fields)


def test_nobody_signs_in_or_proves_himself_while_the_database_is_down(down):
    stranger = Seat(down.first, None)
    page = stranger.get("/sign-in")
    assert page.status == 200
    assert stranger.post("/sign-in", {"name": "alice", "password": "four plain words here"}).status == 503
    assert "session" not in str(stranger._cookies)


def test_what_follows_changes_and_what_hands_a_file_over_wait_for_the_database(ada):
    assert ada.get("/events").status == 503
    assert ada.get("/audit/file?form=jsonl").status == 503


def test_where_the_bound_is_nothing_pages_are_503_at_once_and_typing_is_kept(down):
    answer = down.staging.get("/d/staging/")
    assert answer.status == 503
    assert REFUSED in said(answer)
    assert "nobody can tell who asks, so no page is shown" in said(answer)
    assert BANNER not in said(answer)
    refused = down.staging.post("/d/staging/entries/new", CHANGE)
    assert refused.status == 503
    assert "What you typed is still here." in said(refused)


def test_an_api_decides_by_nothing_that_is_older_than_a_second(down):
    for path in ("/v1/whoami", "/v1/inventory"):
        assert down.ada.get(path, headers={"Accept": "application/json"}).status == 503, path
    read = down.ada.ask("POST", "/v1/read", {"refs": [{"kind": "variable", "name": "region"}]})
    assert read.status in (403, 503)
    assert b"eu-west-4" not in read.body


def test_a_session_goes_on_where_it_was_seen_and_nowhere_else(down):
    assert down.guest.get("/").status == 200
    assert down.there.get("/").status == 200
    assert down.guest_there.get("/").status == 503


def test_a_session_that_ended_before_stays_ended(down):
    assert down.gone_there.get("/").status == 503  # who that was cannot be asked, and is not remembered
    assert down.gone.get("/").status == 503


def test_it_is_on_record_that_a_session_goes_on_and_what_that_means(outage):
    outage.down()
    assert outage.ada.get("/").status == 200
    outage.up()
    told = [
        record
        for record in outage.first.house.deployment().root.audit.tail(200)
        if record.outcome == "unavailable" and record.actor == ADA and record.action == "login"
    ]
    assert told
    assert all("what was revoked since is not seen" in record.reason for record in told)
    assert all("for 3600 seconds at most" in record.reason for record in told)


def test_what_was_typed_is_written_once_the_database_is_back_and_the_banner_goes(outage):
    outage.down()
    refused = outage.ada.post("/entries", outage.review)
    assert refused.status == 503
    assert "What you typed is still here." in said(refused)
    outage.up()
    assert outage.ada.post("/entries", outage.review).status == 303
    assert outage.first.house.deployment().root.lookup.variable("fresh") == "typed before"
    assert BANNER not in said(outage.ada.get("/"))
    part = outage.ada.get("/inventory?q=region", htmx="lines")
    assert b'<div class="banners" id="outage" hx-swap-oob="true"></div>' in part.body
