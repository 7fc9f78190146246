"""The overview: what it tells, to whom, and what it asks nobody for."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone

import pytest

from parts.browser import ADA, MEI, browsing, settled
from parts.seat import Seat
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.server.ui.chart import HEIGHT, WIDTH, chart_of
from strongroom.service.entries import Change
from strongroom.service.series import Minute, Span

NOW = datetime.now(timezone.utc).replace(second=0, microsecond=0)


def minutes(count, *, cache=90, backend=10, stale=0, end=NOW, missing=()):
    """Give *count* minutes up to *end*, those of the numbers *missing* left out."""
    found = [
        Minute(end - timedelta(minutes=count - number), cache, backend, stale, 0)
        for number in range(count)
        if number not in missing
    ]
    return Span(found[0].at, end, (*found, Minute(end)))


@pytest.fixture(scope="module")
def busy(house):
    """A house that was read from, for hours as far as its ring knows."""
    token = house.token("etl", "reader")
    names = [{"kind": "variable", "name": "region"}, {"kind": "connection", "name": "billing_api"}]
    for _ in range(5):
        assert house.ask("POST", "/v1/read", {"refs": names}, token=token).status == 200
    viewer = house.token("report", "viewer")
    house.ask("POST", "/v1/read", {"refs": names}, token=viewer)
    ring = house.house.deployment().ring
    ring._began = NOW - timedelta(hours=3)
    ring._kept.extend(minutes(170, stale=3).minutes[:-1])
    return house


@pytest.fixture(scope="module")
def ada(busy):
    return Seat(busy, ADA)


@pytest.fixture(scope="module")
def mei(busy):
    return Seat(busy, MEI)


def text_of(answer):
    plain = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", answer.body.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", plain))


# --- what it tells ---------------------------------------------------------------------------------------


def test_it_counts_entries_reads_and_records(ada):
    text = text_of(ada.get("/"))
    assert "61 connections, 20 variables" in text
    assert re.search(r"Reads since 1?\d:\d\d 17,5\d\d", text) or "17,5" in text
    assert re.search(r"From cache 8\d\.\d %", text)
    assert "Not checked" in text


def test_what_needs_attention_leads_to_the_list_that_it_counts(ada):
    page = ada.get("/").body.decode()
    counted = re.findall(r'class="cnt">([\d,]+)</td>.*?href="(/inventory\?health=\w+)"', page, re.DOTALL)
    assert {there for _, there in counted} >= {"/inventory?health=soon", "/inventory?health=shadowed"}
    for count, there in counted:
        listed = ada.get(there)
        assert listed.status == 200
        assert f"{count} of " in text_of(listed) or f" {count} " in text_of(listed)


def test_a_line_says_why(ada):
    assert "region in native is hidden by env: nothing reads it" in re.sub(r"\s+", " ", text_of(ada.get("/")))


def test_stale_answers_are_told_with_how_many_and_when(ada):
    text = text_of(ada.get("/"))
    assert "510 reads were answered from older copies between" in text


def test_the_chain_is_told_from_what_was_asked_anyway(ada, busy):
    backends = busy.house.deployment().chain
    before = {name: one.asked for name, one in backends.figures().items()}
    text = text_of(ada.get("/"))
    assert "env" in text
    assert "Answers" in text
    assert {name: one.asked for name, one in backends.figures().items()} == before


def test_the_latest_changes_fold_what_one_did_to_many(ada, busy):
    root = busy.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", "cutoff"), secret=Secret("18")), to="native")
    text = text_of(ada.get("/"))
    assert "cutoff written, v1" in text
    assert re.search(r"\d+ entries written", text)


# --- to whom ---------------------------------------------------------------------------------------------


def test_whoever_may_not_describe_is_told_less_and_never_refused(busy):
    room = busy.house.deployment().root
    room.access.people.add("no.body", Secret("four plain words here"), roles=[])
    answer = Seat(busy, "person:no.body").get("/")
    assert answer.status == 200
    text = text_of(answer)
    assert "You may not look at this" in text
    assert "61 connections" not in text
    assert "region" not in text


def test_a_viewer_sees_no_keys_and_no_agents_that_are_not_his(mei):
    text = text_of(mei.get("/"))
    assert "Keys to be replaced" not in text
    assert "Agents behind" not in text


# --- parts, bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["attention", "reads", "chain", "latest"])
def test_a_part_is_answered_alone(ada, part):
    answer = ada.get("/", htmx=part)
    assert answer.status == 200
    assert b"<html" not in answer.body
    whole = ada.get("/").body
    for frame in (b'id="main"', b'class="rail', b"<dialog"):
        assert frame in whole
        assert frame not in answer.body


@pytest.mark.parametrize(
    "query",
    ["minutes=0", "minutes=1441", "minutes=x", "every=0", "every=9999", "other=1", "minutes=5&minutes=6"],
)
def test_a_span_that_is_none_is_refused(ada, query):
    assert ada.get(f"/reads?{query}").status == 400
    assert ada.get(f"/reads/series?{query}").status == 400


def test_figures_add_up_to_what_the_series_says(ada):
    found = json.loads(ada.get("/reads/series?minutes=1440").body)
    assert len({len(column) for column in found.values()}) == 1
    total = sum(one or 0 for name in ("cache", "backend", "stale") for one in found[name])
    assert f"{total:,}"[:3] in text_of(ada.get("/reads"))


# --- the picture -----------------------------------------------------------------------------------------


def points(path):
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_the_picture_begins_at_zero_and_stays_inside():
    found = chart_of(minutes(600, cache=1200, backend=37, stale=5), timezone.utc)
    for path in (found.cache, found.backend, found.stale):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(path))
    assert max(y for _, y in points(found.backend)) == HEIGHT
    assert found.most == 1242


def test_a_gap_is_not_drawn_across():
    whole = chart_of(minutes(100), timezone.utc)
    broken = chart_of(minutes(100, missing=range(40, 60)), timezone.utc)
    assert whole.cache.count("M") == 1
    assert broken.cache.count("M") == 2


def test_what_is_counted_for_less_than_two_minutes_has_no_picture():
    assert chart_of(minutes(1), timezone.utc) is None


def test_a_layer_without_anything_has_no_path():
    assert chart_of(minutes(100), timezone.utc).stale == ""


@pytest.mark.parametrize("most", [0, 1, 7, 400, 10**9])
def test_three_rules_are_round_and_under_what_is_highest(most):
    found = chart_of(minutes(10, cache=most, backend=0), timezone.utc)
    step = found.rules[2]
    assert found.rules == (3 * step, 2 * step, step)
    assert step * 3.6 >= most
    assert str(step).strip("0") in ("1", "2", "4", "5")


# --- in a browser ----------------------------------------------------------------------------------------


def test_the_picture_can_be_read_off(page, busy):
    page.goto("/")
    box = page.locator(".plot.zoomed .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.wait_for_function("/\\d/.test(document.querySelector('.u-legend').innerText)")
    assert "90" in page.locator(".u-legend").inner_text()


def test_without_script_the_picture_and_all_links_stand(chromium, busy):
    with browsing(chromium, busy, script=False) as page:
        page.goto("/")
        assert page.locator("svg.chart path.a1").count() == 1
        page.get_by_role("link", name="Figures").click()
        assert page.get_by_role("heading", level=1).inner_text() == "Reads over time"
        assert page.locator("table.ledger tbody tr").count() >= 3
        page.go_back()
        page.get_by_role("link", name="Shadowed").click()
        assert "/inventory?health=shadowed" in page.url


def test_a_change_comes_by_itself(page, busy):
    page.goto("/")
    page.wait_for_selector(".plot.zoomed")
    root = busy.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", "came_by_itself"), secret=Secret("x")), to="native")
    page.get_by_text("came_by_itself").wait_for()
    settled(page)
