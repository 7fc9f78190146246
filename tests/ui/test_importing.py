"""Import: what was dropped is looked at, planned and brought in; nothing of it is drawn but names."""

from __future__ import annotations

import html
import json
import re

import pytest

from parts.browser import ADA, DATA, MEI, browsing, furnished
from parts.seat import Seat
from strongroom.model.ref import Ref
from strongroom.service.bringing import sort_out

CANARY = "canary-of-the-import"
ENV = (
    f"# prod\nAIRFLOW_CONN_ORDERS_DB=postgres://u:{CANARY}@db/orders\n"
    "AIRFLOW_CONN_BAD\nAIRFLOW_VAR_CUTOFF=18\n"
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """An empty house: what a test brings in has a name of its own."""
    with furnished(tmp_path_factory.mktemp("import"), entries=False) as server:
        yield server


@pytest.fixture(scope="module")
def room(house):
    return house.house.deployment().root


@pytest.fixture
def ada(house):
    return Seat(house, ADA)


def text_of(answer):
    return html.unescape(answer.body.decode())


def upload(seat, *files, **fields):
    """Send files as a browser does."""
    if not seat.csrf:
        seat.get("/import")
    mark = "----strongroom-test"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"csrf": seat.csrf, "act": "read", **fields}.items()
    ]
    for name, content in files:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={mark}",
        "Sec-Fetch-Site": "same-origin",
        "Accept": "text/html",
    }
    return seat.ask("POST", "/import", body, headers)


def carried(answer, form="import-form"):
    body = answer.body.decode()
    part = body[body.index(f'id="{form}"') :].split("</form>")[0]
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', part)
    pairs += re.findall(r'<input type="checkbox" name="([^"]+)" value="([^"]*)" checked', part)
    fields = {}
    for name, value in pairs:
        if name != "csrf":
            fields.setdefault(html.unescape(name), []).append(html.unescape(value))
    return fields


def planned(seat, answer, **more):
    fields = {**carried(answer), "existing": "skip", "team": "", **more, "act": "plan"}
    return seat.post("/import", fields)


def test_what_a_file_holds_is_told_and_nothing_of_it_drawn(ada):
    answer = upload(ada, (".env.production", ENV.encode()))
    body = text_of(answer)
    assert answer.status == 200
    assert ("orders_db" in body, "cutoff" in body) == (True, True)
    assert "line 3" in body
    assert CANARY not in body


def test_nothing_is_written_before_the_plan_was_agreed_to(ada, room):
    answer = upload(ada, ("a.json", json.dumps({"plan_only": {"conn_type": "http", "host": "h"}}).encode()))
    plan = planned(ada, answer)
    assert plan.status == 200
    assert "Nothing is written yet" in text_of(plan)
    assert "plan_only" in text_of(plan)
    assert [row.ref.name for row in room.inventory.page("connection") if row.ref.name == "plan_only"] == []
    done = ada.post("/import/run", carried(plan, "run-form"))
    assert (done.status, done.headers["location"]) == (303, "/inventory")
    assert room.lookup.connection("plan_only").host == "h"


def test_a_whole_house_of_airflow_is_brought_in(ada, room):
    files = [(name, (DATA / name).read_bytes()) for name in ("connections.json", "variables.json")]
    answer = upload(ada, *files)
    assert "78 entries chosen" in text_of(answer)
    plan = planned(ada, answer)
    assert "Holds ***" in text_of(plan)
    done = ada.post("/import/run", carried(plan, "run-form"))
    assert done.status in (200, 303)
    assert room.lookup.connection("postgres_0").conn_type == "postgres"


def test_what_stands_is_left_or_written_over_as_was_chosen(ada, room):
    first = json.dumps({"twice": {"conn_type": "http", "host": "one"}}).encode()
    second = json.dumps({"twice": {"conn_type": "http", "host": "two"}}).encode()
    ada.post("/import/run", carried(planned(ada, upload(ada, ("a.json", first))), "run-form"))
    plan = planned(ada, upload(ada, ("b.json", second)))
    assert "Left as it stands" in text_of(plan)
    assert "Nothing to import" in text_of(plan)
    plan = planned(ada, upload(ada, ("b.json", second)), existing="overwrite")
    ada.post("/import/run", carried(plan, "run-form"))
    assert room.lookup.connection("twice").host == "two"


def test_a_name_that_is_not_legal_gets_another(ada, room):
    bad = "x" * 260
    answer = upload(ada, ("a.json", json.dumps({bad: {"conn_type": "http", "host": "h"}}).encode()))
    plan = planned(ada, answer)
    assert "Refused" in text_of(plan)
    again = ada.post("/import", {**carried(plan, "run-form"), "act": "plan", f"rename.{bad}": "short_name"})
    assert "becomes short_name" in text_of(again)
    ada.post("/import/run", carried(again, "run-form"))
    assert room.lookup.connection("short_name").host == "h"


@pytest.mark.parametrize(
    ("files", "fields", "status", "said"),
    [
        ((), {}, 422, "Nothing was chosen"),
        ((("a.json", b'{"a": '),), {}, 200, "a.json"),
        ((("a.bin", b"\xff\xfe\x00"),), {}, 200, "a.bin"),
        ((("empty.env", b" "),), {}, 200, "It is empty"),
        (tuple((f"{n}.env", b"A=1") for n in range(21)), {}, 422, "At most 20 files"),
        ((), {"text": f'{{"b": {CANARY}'}, 200, "Pasted text"),
    ],
)
def test_what_cannot_be_read_is_told(ada, files, fields, status, said):
    answer = upload(ada, *files, **fields)
    assert answer.status == status
    assert said in text_of(answer)
    assert CANARY not in text_of(answer)


def test_a_file_over_the_limit_is_refused(ada):
    assert upload(ada, ("big.env", b"A=" + b"x" * 9_000_000)).status == 413


def test_what_was_brought_is_its_owners_and_ends(house, ada):
    answer = upload(ada, ("a.json", json.dumps({"mine": {"conn_type": "http", "host": "h"}}).encode()))
    fields = carried(answer)
    gone = Seat(house, MEI).post("/import/run", fields)
    assert gone.status in (403, 410)
    late = ada.post("/import", {**fields, "draft": "gone", "act": "plan"})
    assert late.status == 410
    assert "is gone" in text_of(late)


def test_who_may_not_write_brings_nothing_in(house, room):
    mei = Seat(house, MEI)
    answer = upload(mei, ("a.json", json.dumps({"of_mei": {"conn_type": "http", "host": "h"}}).encode()))
    plan = planned(mei, answer)
    assert plan.status in (200, 403, 422)
    fields = carried(answer)
    assert mei.post("/import/run", fields).status == 403
    assert [row.ref for row in room.inventory.page("connection") if row.ref.name == "of_mei"] == []


def test_RT32_hostile_names_are_drawn_as_text(ada):
    name = '"><img src=x onerror=alert(1)>'
    answer = upload(ada, ("a.json", json.dumps({name: {"conn_type": "http"}}).encode()))
    plan = planned(ada, answer)
    assert "<img src=x" not in answer.body.decode() + plan.body.decode()


def test_a_file_is_brought_in_by_a_browser_without_script(chromium, house, room, tmp_path):
    file = tmp_path / ".env"
    file.write_text("AIRFLOW_CONN_NO_SCRIPT=http://h\n")
    with browsing(chromium, house, script=False) as page:
        page.goto("/import")
        page.set_input_files("#files", str(file))
        for _ in range(3):
            page.click(".btn.main")
        assert "/inventory" in page.url
    assert room.lookup.connection("no_script").conn_type == "http"


def test_the_names_of_a_team_go_to_the_team(ada, room):
    answer = upload(ada, ("a.json", json.dumps({"of_team": {"conn_type": "http", "host": "h"}}).encode()))
    plan = planned(ada, answer, team="finance")
    ada.post("/import/run", carried(plan, "run-form"))
    assert room.entries.describe(Ref("connection", "of_team", "finance")).backend == "native"


def test_lines_that_cannot_be_read_are_looked_for_as_long_as_a_file_is_small():
    small = "".join(f"A_{n}=1\n" if n % 50 else "=\n" for n in range(2000))
    found = sort_out("x.env", small.encode())
    assert len(found.faults) == 40
    large = "".join(f"A_{n}={'x' * 20_000}\n" if n % 5 else "=\n" for n in range(200))
    (fault,) = sort_out("x.env", large.encode()).faults
    assert "lines cannot be read" in fault.what
