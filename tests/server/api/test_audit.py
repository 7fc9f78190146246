"""`/audit` over HTTP: searched, paged, filtered for who asks, proven, handed over."""

from __future__ import annotations

import csv
import io
import json

import pytest


@pytest.fixture(scope="module")
def written(api):
    api.put("variable", "audited/a", {"value": "x", "comment": "first"})
    api.put("variable", "audited/b", {"value": "x", "comment": '=HYPERLINK("http://evil.example.com")'})
    assert api.ask("GET", "/entries/variable/audited/a", role="viewer").status == 403
    return api


def test_records_come_newest_first_and_miss_nothing(written):
    found, cursor = [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = written.ask("GET", "/audit", query=query).json()
        found += [one["seq"] for one in page["records"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert found[-1] == 0


def test_records_can_be_asked_for_oldest_first(written):
    page = written.ask("GET", "/audit", query={"order": "asc", "limit": 2}).json()
    assert [one["seq"] for one in page["records"]] == [0, 1]


def test_filters_narrow_one_another(written):
    ask = lambda **query: written.ask("GET", "/audit", query=query).json()["records"]  # noqa: E731
    assert {one["name"] for one in ask(name="audited/a")} == {"audited/a"}
    assert [one["outcome"] for one in ask(name="audited/a", actor="service:api-viewer")] == ["denied"]
    assert ask(name="audited/a", action="reveal") == []
    assert ask(until="2020-01-01T00:00:00Z") == []
    assert ask(since="2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"until": "0001-01-01T00:00:00+23:00"},
        {"order": "up"},
    ],
)
def test_a_time_that_is_none_is_refused(written, query):
    assert written.ask("GET", "/audit", query=query).status == 400


def test_a_cursor_of_another_search_is_refused(written):
    cursor = written.ask("GET", "/audit", query={"limit": 1}).json()["cursor"]
    other = {"limit": 1, "cursor": cursor, "action": "write"}
    assert written.ask("GET", "/audit", query=other).status == 400
    assert written.ask("GET", "/audit", query={"limit": 1, "cursor": cursor}, role="op").status == 400


def test_RT10_whoever_sees_some_entries_sees_records_about_those_and_no_others(written):
    text = """
    @id("auditor") permit (principal in Role::"auditor", action == Action::"describe", resource is Entry)
    when { resource.name == "audited/a" };
    @id("auditor.room") permit (principal in Role::"auditor", action == Action::"describe", resource is Room);
    """
    assert written.ask("POST", "/policies", {"id": "auditor", "text": text}).status == 201
    token = written.server.token("narrow", "auditor")
    found = written.ask("GET", "/audit", query={"limit": 1000}, token=token).json()["records"]
    assert {one["name"] for one in found} == {"audited/a"}
    export = written.ask("GET", "/audit/export", token=token).body
    assert b"audited/b" not in export
    assert written.ask("GET", "/audit", role="viewer").status == 403


def test_the_state_tells_how_many_records_there_are(written):
    found = written.ask("GET", "/audit/state").json()
    assert found["count"] > 1
    assert found["is_writable"] is True
    assert found["hold"] is None


def test_a_whole_log_is_proven(written):
    found = written.ask("POST", "/audit/verify").json()
    assert (found["is_ok"], found["index"], found["reason"]) == (True, None, "")


def test_DS08_one_verification_runs_at_a_time(written):
    with written.house.deployment().root.audit._proofs._turn:
        answer = written.ask("POST", "/audit/verify")
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) > 0
    assert written.ask("POST", "/audit/verify").status == 200


def test_an_export_is_the_lines_of_the_log_themselves(written):
    answer = written.ask("GET", "/audit/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "attachment" in answer.headers["content-disposition"]
    lines = answer.body.splitlines(keepends=True)
    log = b"".join(
        file.read_bytes().rstrip(b"\0")
        for file in sorted(written.house.deployment().settings.audit.path.glob("*.jsonl"))
    )
    assert log.startswith(b"".join(lines))
    assert [json.loads(line)["seq"] for line in lines] == list(range(len(lines)))


def test_a_csv_has_no_formula_in_any_cell(written):
    answer = written.ask("GET", "/audit/export", query={"format": "csv", "name": "audited/b"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.body.decode())))
    assert len(rows) > 1
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell


@pytest.mark.parametrize("form", ["ocsf", "syslog"])
def test_other_forms_hold_one_record_a_line(written, form):
    answer = written.ask("GET", "/audit/export", query={"format": form, "name": "audited/a"})
    assert answer.status == 200
    assert answer.body.count(b"\n") >= 3
    if form == "ocsf":
        assert all(json.loads(line)["class_uid"] for line in answer.body.splitlines())


def test_an_unknown_form_is_refused(written):
    assert written.ask("GET", "/audit/export", query={"format": "pdf"}).status == 400


def test_an_export_that_nobody_takes_gives_its_turn_back(written):
    for _ in range(8):
        connection = written.server.connect()
        connection.request(
            "GET", "/v1/audit/export", headers={"Authorization": f"Bearer {written.tokens['admin']}"}
        )
        assert connection.getresponse().status == 200
        connection.close()
    assert written.ask("GET", "/audit/export").status == 200
