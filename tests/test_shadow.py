"""Shadow mode without Airflow: the old backend answers, ours is compared."""

import contextvars
import json
import logging
import os
import threading

import pytest

from strongroom.airflow.options import options_of
from strongroom.airflow.question import Asking, Question
from strongroom.airflow.shadow import Shadow, compare
from strongroom.errors import AccessDeniedError, InvalidInputError
from strongroom.testing.contract import CANARY

HTTP = f"http://u:{CANARY}@host/"


class Old:
    def __init__(self, **kwargs):
        self.held = {("connection", "orders_db"): HTTP, ("variable", "region"): CANARY}
        if "refuse" in kwargs:
            raise OSError(CANARY)

    def get_conn_value(self, conn_id):
        return self.held.get(("connection", conn_id))

    def get_variable(self, key):
        if key == "trouble":
            raise RuntimeError(CANARY)
        return self.held.get(("variable", key))


OLD = f"{__name__}.Old"


@pytest.fixture
def report(tmp_path):
    return tmp_path / "shadow.jsonl"


@pytest.fixture
def shadow(report):
    return Shadow(OLD, {}, report=report, environ={"AIRFLOW_VAR_ZONE": "z", "AIRFLOW_CONN_BLANK": ""})


def told(shadow, report):
    assert shadow.wait(20)
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def outcomes(shadow, report):
    return [(line["name"], line["outcome"], line["detail"]) for line in told(shadow, report)]


def denied():
    raise AccessDeniedError("no", reason="rule")


@pytest.mark.parametrize(
    ("asked", "ours", "outcome"),
    [
        ("variable region", lambda: CANARY, "equal"),
        ("variable region", lambda: "other", "different (value)"),
        ("variable region", lambda: None, "missing"),
        ("variable region", denied, "error (access_denied)"),
        ("variable region", lambda: 1 / 0, "error (ZeroDivisionError)"),
        ("variable zone", lambda: "z", "equal"),
        ("variable nowhere", lambda: None, "elsewhere"),
        ("variable nowhere", lambda: "x", "new"),
        ("connection blank", lambda: None, "elsewhere"),
        ("connection orders_db", lambda: HTTP, "equal"),
        ("connection orders_db", lambda: "http://u:other@host/", "different (password)"),
        ("connection orders_db", lambda: "no connection", "different (text)"),
    ],
)
def test_each_outcome_is_told_by_name_and_without_values(shadow, report, caplog, asked, ours, outcome):
    with caplog.at_level(logging.INFO):
        shadow.text(*asked.split(), None, ours)
        (line,) = told(shadow, report)
    detail = f" ({line['detail']})" if line["detail"] else ""
    assert (f"{line['kind']} {line['name']}", f"{line['outcome']}{detail}") == (asked, outcome)
    assert CANARY not in report.read_text() + caplog.text
    assert f"{asked}: {outcome}" in caplog.text
    assert report.stat().st_mode & 0o777 == 0o600


def test_a_connection_that_we_would_refuse_is_an_error_though_both_hold_the_same_text(tmp_path):
    held, settings = tmp_path / "held.json", tmp_path / "strongroom.toml"
    held.write_text(json.dumps({"orders_db": "no connection"}))
    settings.write_text(f'chain = ["ours"]\n[backend.ours]\nkind = "file"\nconnections = "{held}"\n')
    options = options_of({"settings": str(settings), "mode": "shadow", "shadow_backend": OLD})
    question = Question("connection", "orders_db", None, "sdk")
    assert not question.prepare(Asking(options))
    with pytest.raises(InvalidInputError):
        question._ours()


def test_json_and_uri_of_one_connection_are_equal():
    assert (
        compare(
            "connection",
            HTTP,
            json.dumps({"conn_type": "http", "login": "u", "password": CANARY, "host": "host"}),
        )
        == []
    )


def test_answer_is_the_old_ones_whatever_ours_does(shadow):
    assert shadow.text("variable", "region", None, denied) == CANARY
    assert shadow.text("variable", "nowhere", None, lambda: "ours") is None


def test_answer_does_not_wait_for_ours(shadow, report):
    gate = threading.Event()
    assert shadow.text("variable", "region", None, lambda: gate.wait(20) and CANARY) == CANARY
    assert not report.exists()
    gate.set()
    assert outcomes(shadow, report) == [("region", "equal", "")]


def test_trouble_of_the_old_one_goes_through_unchanged(shadow, report):
    with pytest.raises(RuntimeError):
        shadow.text("variable", "trouble", None, lambda: "x")
    assert outcomes(shadow, report) == [("trouble", "new", "the old backend failed")]


def test_old_class_that_cannot_be_made_fails_lookups_only(report):
    shadow = Shadow(OLD, {"refuse": True}, report=report, environ={})
    for _ in range(2):
        with pytest.raises(OSError, match="cAnArY"):
            shadow.text("variable", "region", None, lambda: None)


def test_without_an_old_class_the_environment_is_compared(report):
    shadow = Shadow(
        None, {}, report=report, environ={"AIRFLOW_VAR__DATA___ZONE": "of the team", "AIRFLOW_VAR_ZONE": "z"}
    )
    assert shadow.text("variable", "zone", "data", lambda: "of the team") is None
    assert outcomes(shadow, report) == [("zone", "equal", "")]


def test_same_id_is_asked_once_however_often_it_is_read(shadow, report):
    asked = []
    for _ in range(50):
        shadow.text("variable", "region", None, lambda: asked.append(1))
    assert outcomes(shadow, report) == [("region", "missing", "")]
    assert len(asked) == 1


def test_what_waits_is_bounded(shadow, report):
    gate = threading.Event()
    shadow.text("variable", "first", None, lambda: gate.wait(20) and None)
    for number in range(1000):
        shadow.text("variable", f"v{number}", None, lambda: None)
    gate.set()
    assert len(told(shadow, report)) <= 258


def test_ours_is_asked_in_the_context_of_the_reader(shadow, report):
    run = contextvars.ContextVar("run")
    run.set("mine")
    seen = []
    shadow.text("variable", "region", None, lambda: seen.append(run.get()))
    assert shadow.wait(20)
    assert seen == ["mine"]


def test_forked_child_compares_with_a_thread_of_its_own(shadow, report):
    shadow.text("variable", "region", None, lambda: CANARY)
    assert shadow.wait(20)
    child = os.fork()
    if child == 0:
        shadow.text("variable", "region", None, lambda: None)
        os._exit(0 if shadow.wait(20) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [outcome for _, outcome, _ in outcomes(shadow, report)] == ["equal", "missing"]
    assert len({line["process"] for line in told(shadow, report)}) == 2


def test_a_name_with_line_breaks_makes_no_line_of_its_own(shadow, report, caplog):
    caplog.set_level(logging.INFO)
    shadow.text("variable", "one\nforged\x1b[31m", None, lambda: None)
    assert [line["name"] for line in told(shadow, report)] == ["one\nforged\x1b[31m"]
    assert [one.getMessage() for one in caplog.records] == [
        "strongroom shadow: variable one forged [31m: elsewhere"
    ]


def test_report_that_cannot_be_written_changes_nothing(tmp_path, caplog):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    shadow = Shadow(OLD, {}, report=tmp_path / "link", environ={})
    with caplog.at_level(logging.INFO):
        assert shadow.text("variable", "region", None, lambda: CANARY) == CANARY
        assert shadow.wait(20)
    assert "region: equal" in caplog.text
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("dag", "is_canary"), [("sales_daily", True), ("sales", False), ("Sales_daily", False), (None, False)]
)
def test_canary_is_by_pattern_of_the_dag(dag, is_canary):
    assert Shadow(OLD, {}, canary=["sales_*", "one"]).is_canary(dag) is is_canary


def test_nothing_of_its_arguments_prints():
    assert CANARY not in repr(Shadow(OLD, {"token": CANARY}))
