import csv
import io
import json
from datetime import datetime, timedelta, timezone

import pytest

from audit_parts import NOW, Clock, event, lines_in, open_log
from strongroom.audit import RefUse
from strongroom.audit.export import export, ocsf, syslog
from strongroom.audit.query import Filter, find, seen_by
from strongroom.audit.record import ZERO, read_line, spell


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clock = Clock()
    log = open_log(tmp_path_factory.mktemp("log") / "audit", clock, segment_bytes=8000)
    for number in range(300):
        clock.now += timedelta(hours=1)
        if number % 10 == 3:
            refs = (RefUse("connection", f"n{number}"), RefUse("variable", "shared", "data", "absent"))
            log.append(event(None, kind=None, outcome="mixed", refs=refs))
        else:
            actor = "person:anna" if number % 7 == 0 else "service:ci"
            log.append(
                event(f"n{number % 20}", actor=actor, outcome="denied" if number % 50 == 0 else "found")
            )
    log.close()
    return log.folder


def everything(folder, wanted, **options):
    pages, start = [], None
    while True:
        page = find(folder, wanted, start=start, **options)
        pages.append([record.seq for record, _ in page.records])
        start = page.next
        if start is None:
            return [seq for page in pages for seq in page]


RECORDS = {
    "all": (Filter(), lambda _record: True),
    "actor": (Filter(actor="person:anna"), lambda record: record.actor == "person:anna"),
    "name": (Filter(name="n13"), lambda r: r.name == "n13" or any(ref.name == "n13" for ref in r.refs)),
    "team": (Filter(team="data"), lambda record: bool(record.refs)),
    "global": (Filter(team="", name="shared"), lambda _record: False),
    "outcome": (Filter(outcome="absent"), lambda record: bool(record.refs)),
    "both": (
        Filter(actor="service:ci", outcome="denied"),
        lambda record: record.actor == "service:ci" and record.outcome == "denied",
    ),
    "time": (
        Filter(since=NOW + timedelta(hours=50), until=NOW + timedelta(hours=90)),
        lambda record: NOW + timedelta(hours=50) <= _at(record) < NOW + timedelta(hours=90),
    ),
    "since": (Filter(since=NOW + timedelta(hours=250)), lambda r: _at(r) >= NOW + timedelta(hours=250)),
    "until": (Filter(until=NOW + timedelta(hours=30)), lambda r: _at(r) < NOW + timedelta(hours=30)),
    "none": (Filter(name="nowhere"), lambda _record: False),
}


def _at(record):
    return datetime.strptime(record.at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)


@pytest.mark.parametrize("is_newest_first", [True, False])
@pytest.mark.parametrize("options", [{"limit": 7}, {"limit": 1000}, {"limit": 50, "max_looked_at": 13}])
@pytest.mark.parametrize("what", RECORDS)
def test_every_record_asked_for_is_given_once_in_order(folder, what, options, is_newest_first):
    wanted, is_wanted = RECORDS[what]
    expected = [record.seq for line in lines_in(folder) if is_wanted(record := read_line(line))]
    found = everything(folder, wanted, is_newest_first=is_newest_first, **options)
    assert found == (expected[::-1] if is_newest_first else expected)


def test_a_page_goes_on_though_records_came_meanwhile(tmp_path):
    log = open_log(tmp_path / "audit")
    for number in range(10):
        log.append(event(f"n{number}"))
    page = find(log.folder, Filter(), limit=4)
    log.append(event("later"))
    rest = find(log.folder, Filter(), limit=100, start=page.next)
    assert [record.seq for record, _ in page.records + rest.records] == list(range(9, -1, -1))
    log.close()


def test_lines_that_are_none_are_passed_over_and_end_no_search(tmp_path):
    log = open_log(tmp_path / "audit")
    for number in range(6):
        log.append(event(f"n{number}"))
    log.close()
    (path,) = log.folder.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"{]\n", *lines[4:]]))
    for is_newest_first in (True, False):
        found = everything(log.folder, Filter(), limit=1, max_looked_at=1, is_newest_first=is_newest_first)
        assert sorted(found) == [0, 1, 2, 4, 5]


def test_what_may_not_be_seen_is_left_out_of_records_and_counts():
    line_of = open_line(
        event(None, refs=(RefUse("variable", "mine", uses=2), RefUse("variable", "theirs", uses=5)), count=7)
    )
    seen = seen_by(line_of, lambda ref: ref.name == "mine")
    assert ([ref.name for ref in seen.refs], seen.count) == (["mine"], 2)
    assert seen_by(line_of, lambda _ref: False) is None
    assert seen_by(open_line(event(None, kind=None)), lambda _ref: True) is None
    assert seen_by(open_line(event("mine")), lambda ref: ref.name == "mine") is not None


def open_line(found):
    return read_line(spell(found, 0, "2026-01-01T00:00:00.000000Z", ZERO, "prod")[0])


EVIL = ("=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "|calc", "a\nb", 'quote " , ;')


def test_no_cell_of_a_csv_is_a_formula(tmp_path):
    log = open_log(tmp_path / "audit")
    log.append(*(event(text, reason=text, actor=text, request=text) for text in EVIL))
    log.close()
    found = ((read_line(line), line) for line in lines_in(log.folder))
    rows = list(csv.reader(io.StringIO(b"".join(export("csv", found)).decode(), newline="")))
    assert len(rows) == 1 + len(EVIL)
    for row, text in zip(rows[1:], EVIL, strict=True):
        for cell in row:
            assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "|")), cell
        assert row[rows[0].index("name")] in (text, f"'{text}")


def test_lines_go_out_as_they_are(folder):
    lines = lines_in(folder)
    assert b"".join(export("jsonl", ((read_line(line), line) for line in lines))) == b"".join(lines)


def test_a_syslog_message_is_one_line_with_its_data_escaped():
    record = open_line(event("a\nb", reason='"]\\\x1b', outcome="denied"))
    text = syslog(record)
    assert text.startswith("<84>1 2026-01-01T00:00:00.000000Z - strongroom - 0 [strongroom@32473 ")
    assert "\n" not in text
    assert "\x1b" not in text
    assert 'reason="\\"\\]\\\\ "' in text
    assert text.endswith("read denied connection a b")


def test_an_ocsf_event_names_class_time_actor_and_resources():
    found = event(source="10.0.0.1", policies=("p",), run={"dag_id": "d", "assurance": 0}, outcome="denied")
    told = ocsf(open_line(found))
    assert (told["class_uid"], told["type_uid"], told["time"]) == (6003, 600302, 1767225600000)
    assert (told["status_id"], told["severity_id"]) == (2, 3)
    assert told["actor"]["user"]["uid"] == "service:ci"
    assert told["resources"] == [
        {"name": "orders_db", "type": "connection", "group": {"name": ""}, "version": "3"}
    ]
    assert told["src_endpoint"] == {"ip": "10.0.0.1"}
    assert json.loads(json.dumps(told)) == told
