"""The audit as a page: found, followed, proven, handed over, and to whom."""

from __future__ import annotations

import html
import json
import re
import shlex
import threading

import pytest

from parts.browser import ADA, MEI, barriers, browsing, furnished, settled
from parts.seat import Seat
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.server.ui.records import line_of, name_of
from strongroom.service.entries import Change

RUN = {"dag_id": "orders_daily", "task_id": "load_facts", "run_id": "scheduled__2026-11-22T11:00:00+00:00"}
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('{{7*7}}')</script>'"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("house"), entries=False) as server:
        root = server.house.deployment().root
        root.entries.write(
            Change(ref=Ref("variable", "plain/one"), secret=Secret("canary-value")),
            to="native",
            comment=HOSTILE,
        )
        token = server.token("etl", "reader")
        names = [{"kind": "variable", "name": "region"}, {"kind": "variable", "name": "plain/one"}]
        for _ in range(3):
            server.ask("POST", "/v1/read", {"refs": names, "run": RUN}, token=token)
        viewer = server.token("report", "viewer")
        server.ask("POST", "/v1/read", {"refs": names[:1], "run": {**RUN, "dag_id": HOSTILE}}, token=viewer)
        yield server


@pytest.fixture(scope="module")
def ada(house):
    return Seat(house, ADA)


def text_of(answer):
    plain = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", answer.body.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", plain)))


def rows_of(answer):
    body = answer.body.decode().partition("<tbody")[2].partition("</tbody>")[0]
    plain = [
        re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", row))) for row in body.split("<tr ")[1:]
    ]
    return [row.partition(">")[2] if ">" in row else row for row in plain]


# --- finding ---------------------------------------------------------------------------------------------


def test_records_stand_newest_first_with_who_what_and_why(ada):
    text = text_of(ada.get("/audit"))
    assert "orders_daily / load_facts" in text
    assert "Allowed" in text
    assert text.index("Denied") < text.index("orders_daily / load_facts")


@pytest.mark.parametrize(
    ("query", "has", "lacks"),
    [
        ("show=denied", "Denied", "Allowed"),
        ("show=changes", "plain/one", "Denied"),
        ("q=ORDERS_daily", "load_facts", "Denied"),
        ("q=127.0.0.1", "load_facts", "local user"),
        ("dag=orders_daily", "region", "Denied"),
        ("run=nothing", "No record is like that", "region"),
        ("action=read&name=region&outcome=denied", "Denied", "plain/one"),
        ("actor=service:etl&within=1h", "load_facts", "Denied"),
    ],
)
def test_filters_narrow_what_is_shown(ada, query, has, lacks):
    found = ada.get(f"/audit?{query}", htmx="lines")
    text = text_of(found)
    assert found.status == 200
    assert has in text
    assert lacks not in text.partition("Newest first")[0]


@pytest.mark.parametrize(
    "query",
    [
        "show=some",
        "within=2h",
        "from=1",
        "from=a.b.c",
        "from=-9.0.0",
        f"from={10**30}.0.0",
        "live=maybe",
        "kind=thing",
        f"q={'x' * 201}",
        f"actor={'x' * 251}",
        "other=1",
        "q=a&q=b",
    ],
)
def test_what_is_no_filter_is_refused_and_said(ada, query):
    assert ada.get(f"/audit?{query}").status == 400


def test_what_somebody_wrote_is_text_and_nothing_else(ada):
    for path in ("/audit", "/audit/run", "/audit?dag=" + "%22%3E%3Cimg", f"/audit?q={'%3Cscript%3E'}"):
        body = ada.get(path).body.decode()
        assert "<img src=x" not in body
        assert "<script>alert" not in body
        assert "49" not in re.findall(r"alert\('(\d+)'\)", body)


def test_no_record_holds_a_value(ada):
    assert "canary-value" not in ada.get("/audit").body.decode()


def test_pages_follow_one_another_and_miss_nothing(house, ada):
    root = house.house.deployment().root
    for number in range(60):
        root.entries.write(
            Change(ref=Ref("variable", f"many/{number}"), secret=Secret("x")),
            to="native",
            comment=f"n{number}",
        )
    seen, path = [], "/audit?action=write&outcome=done"
    while path:
        body = ada.get(path).body.decode()
        seen += re.findall(r'title="many/(\d+)"', body)
        found = re.search(r'rel="next" href="([^"]+)"', body)
        path = html.unescape(found[1]) if found else None
    assert [int(one) for one in seen] == list(range(59, -1, -1))


def test_an_act_that_began_and_ended_is_one_line(ada):
    text = text_of(ada.get("/audit?name=many/7"))
    assert text.count("many/7") - text.count("Name: many/7") <= 3
    assert "Begun" not in text
    assert "Begun" in text_of(ada.get("/audit?name=many/7&outcome=begun"))


# --- following -------------------------------------------------------------------------------------------


def test_what_is_newer_waits_and_is_counted(house, ada):
    body = ada.get("/audit?name=fresh").body.decode()
    there = html.unescape(re.search(r'id="newer" hx-get="([^"]+)"', body)[1])
    assert ada.get(there, htmx="newer").status == 204
    root = house.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", "fresh"), secret=Secret("x")), to="native")
    answer = ada.get(there, htmx="newer")
    assert answer.status == 200
    assert "2 newer" in text_of(answer)
    assert ada.get(there.replace("fresh", "stale"), htmx="newer").status == 204


def test_a_paused_list_asks_for_nothing(ada):
    assert 'id="newer"' not in ada.get("/audit?live=off").body.decode()


def test_new_records_come_by_themselves_while_nobody_points_at_them(page, house):
    page.goto("/audit?name=by_itself")
    root = house.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", "by_itself"), secret=Secret("x")), to="native")
    page.locator(".log .nm", has_text="by_itself").first.wait_for()


def test_new_records_wait_while_somebody_points_at_the_list(page, house):
    page.goto("/audit?name=many/1")
    page.locator(".log tbody tr").first.hover()
    root = house.house.deployment().root
    root.entries.write(Change(ref=Ref("variable", "many/1"), secret=Secret("y")), to="native")
    page.get_by_role("link", name="2 newer").wait_for()
    before = page.locator(".log tbody tr").count()
    page.get_by_role("link", name="2 newer").click()
    settled(page)
    page.wait_for_function(f"document.querySelectorAll('.log tbody tr').length > {before}")


# --- one record ------------------------------------------------------------------------------------------


def test_a_record_is_shown_whole_with_its_place_in_the_chain(house, ada):
    last = house.house.deployment().root.audit.tail(1)[0]
    text = text_of(ada.get(f"/audit/records/{last.seq}"))
    assert last.hash in text
    assert last.prev in text


@pytest.mark.parametrize("seq", ["999999999", "-1", "x", "1e3", "9" * 40])
def test_a_record_that_is_not_there_is_not_found(ada, seq):
    assert ada.get(f"/audit/records/{seq}").status == 404


# --- what a run saw --------------------------------------------------------------------------------------


def test_a_run_is_told_by_task_entry_and_version(ada):
    answer = ada.get("/audit/run?run=scheduled__2026-11-22T11:00:00%2B00:00&dag=orders_daily")
    text = text_of(answer)
    assert "It asked for 2 entries" in text
    assert "load_facts" in text
    assert "plain/one" in text
    assert "L0" in text


def test_what_a_run_was_refused_is_told(ada):
    text = text_of(ada.get("/audit/run?run=scheduled__2026-11-22T11:00:00%2B00:00"))
    assert "1 was refused" in text


def test_runs_on_record_lately_are_offered(ada):
    body = ada.get("/audit/run").body.decode()
    assert "/audit/run?run=scheduled__2026-11-22T11%3A00%3A00%2B00%3A00&amp;dag=orders_daily" in body


def test_a_run_that_nobody_knows_says_so(ada):
    assert "No use is on record" in text_of(ada.get("/audit/run?run=nothing"))


# --- proof -----------------------------------------------------------------------------------------------


def test_the_log_is_proven_behind_and_the_verdict_stays(house, ada):
    assert "Not checked since this server began" in text_of(ada.get("/audit"))
    assert ada.post("/audit/prove").status == 303
    trail = house.house.deployment().root.audit
    trail._proofs._thread.join(20)
    text = text_of(ada.get("/audit"))
    assert re.search(r"Intact: [\d,]+ records, none missing, none changed", text)
    assert "[path]" not in text
    assert "Intact" in text_of(ada.get("/"))
    assert "Check again" in text


def test_a_second_proof_waits_for_the_first(house, ada):
    proofs = house.house.deployment().root.audit._proofs
    hold = threading.Event()
    last = proofs.last.verdict
    proofs.begin(lambda told: (told(42), hold.wait(20), last)[2], by="person:dave")
    try:
        assert "Checking: 42 records so far" in text_of(ada.get("/audit"))
        assert ada.post("/audit/prove").status == 303
        assert "A check is under way already" in text_of(ada.get("/audit"))
    finally:
        hold.set()
        proofs._thread.join(20)


def test_a_broken_log_names_the_first_bad_record(tmp_path, chromium):
    with furnished(tmp_path, entries=False) as server:
        folder = server.house.deployment().settings.audit.path
        root = server.house.deployment().root
        for number in range(5):
            root.entries.write(Change(ref=Ref("variable", f"v{number}"), secret=Secret("x")), to="native")
        seat = Seat(server, ADA)
        (segment,) = folder.glob("*.jsonl")
        data = segment.read_bytes()
        segment.write_bytes(data.replace(b'"name":"v1"', b'"name":"v9"', 1))
        assert seat.post("/audit/prove").status == 303
        root.audit._proofs._thread.join(20)
        page = seat.get("/audit")
        assert re.search(r"Broken at record \d+", text_of(page))
        assert b"proof broken" in page.body
        assert "Broken" in text_of(seat.get("/"))


# --- as a file -------------------------------------------------------------------------------------------


def test_records_are_handed_over_as_they_are(ada):
    answer = ada.get("/audit/file?format=jsonl&dag=orders_daily")
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines
    assert {line["run"]["dag_id"] for line in lines} == {"orders_daily"}


@pytest.mark.parametrize("form", ["csv", "ocsf", "syslog"])
def test_every_form_is_given(ada, form):
    assert ada.get(f"/audit/file?format={form}").status == 200


def test_a_form_that_is_none_is_refused(ada):
    assert ada.get("/audit/file?format=pdf").status == 400


# --- to whom ---------------------------------------------------------------------------------------------


def test_a_viewer_sees_no_record_at_all_unless_policy_lets_him(house):
    mei = Seat(house, MEI)
    for path in ("/audit", "/audit/run", "/audit/records/3", "/audit/file"):
        assert mei.get(path).status == 403, path
    assert mei.post("/audit/prove").status == 403


def test_whoever_is_nobody_is_sent_to_sign_in(house):
    answer = Seat(house, None).get("/audit?show=denied")
    assert answer.status == 303
    assert "/sign-in" in answer.headers["location"]


def test_a_proof_is_begun_by_a_form_of_ours_alone(ada):
    assert ada.post("/audit/prove", csrf="wrong").status == 403
    assert ada.get("/audit/prove").status == 405


# --- twins, words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "command"),
    [
        ("", "strongroom audit tail --lines 40"),
        ("show=denied&within=24h", "strongroom audit tail --lines 40 --since 24h --outcome denied"),
        ("q=a%20b&team=data", "strongroom audit tail --team data --lines 40 --text 'a b'"),
    ],
)
def test_the_command_says_the_same(ada, query, command):
    body = html.unescape(ada.get(f"/audit?{query}").body.decode())
    assert command in body
    assert shlex.split(command)


def test_actors_are_called_as_people_call_them():
    assert name_of("person:dave") == "dave"
    assert name_of("service:etl") == "service etl"
    assert name_of("local:1000") == "local user 1000"
    assert name_of("nobody") == "nobody"


def test_a_line_of_a_batch_names_a_few_and_counts_the_rest(house):
    for one in house.house.deployment().root.audit.tail(50):
        line = line_of(one)
        assert len(line.refs) <= 3
        assert line.more == max(0, len(one.refs) - 3)


# --- in a browser ----------------------------------------------------------------------------------------


def test_every_page_is_accessible_in_both_themes_and_fits(page):
    found = {}
    for path in ("/audit?show=denied#offline", "/audit/run", "/audit/export", "/audit/records/3"):
        page.goto(path)
        if wrong := barriers(page):
            found[path] = wrong
    assert found == {}


def test_without_script_the_log_is_filtered_and_proven(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/audit")
        page.get_by_role("link", name="Denied", exact=True).click()
        assert "show=denied" in page.url
        page.get_by_label("Filter records").fill("orders")
        page.get_by_label("Filter records").press("Enter")
        assert "q=orders" in page.url
        assert "show=denied" in page.url
        page.get_by_role("button", name=re.compile("Check")).click()
        assert page.get_by_role("heading", level=2).first.inner_text()


def test_by_keyboard_alone_a_record_is_found_and_opened(page):
    page.goto("/audit")
    page.keyboard.press("/")
    page.keyboard.type("orders_daily")
    page.wait_for_url(re.compile("q=orders_daily"))
    settled(page)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('td.c-hash') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/audit/records/\d+"))
