"""How trouble leaves for Airflow: which class, which text; and docs/compatibility.md tells the same."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.airflow import edge
from strongroom.airflow.process import Process

TABLES = (Path(__file__).parent.parent.parent / "docs" / "compatibility.md").read_text(encoding="utf-8")
TABLES = TABLES.partition("## What a failed lookup is in Airflow")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLES.splitlines() if "|" in line]
EVIDENCE = {
    "AccessDeniedError": {"reason": "policy"},
    "BackendUnavailableError": {"backend": "vault"},
    "MalformedEntryError": {"backend": "vault", "ref": 'variable "x"'},
    "NotRecordedError": {"folder": "/audit"},
}
RAISED = [name for name in errors.__all__ if name != "StrongroomError"]


def error_of(name):
    return getattr(errors, name)("it is so", hint="do this", **EVIDENCE.get(name, {}))


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("name", RAISED)
def test_every_error_of_ours_has_the_outcome_that_the_table_tells(name):
    told = [row[0].strip("* ") for row in ROWS if name in words(row[2])]
    assert told == [edge.outcome_of(error_of(name))]


@pytest.mark.parametrize("outcome", edge.OUTCOMES)
def test_every_outcome_has_the_class_and_status_that_the_table_tells(outcome):
    (row,) = [row for row in ROWS if row[0].strip("* ") == outcome]
    name, status = edge.OUTCOMES[outcome]
    assert words(row[1]) == [name]
    assert row[3] == str(status)
    assert edge.edge_class(outcome, Process.TASK).__name__ == name


def test_the_table_tells_of_every_process():
    told = {word for row in ROWS for word in words(row[0])}
    assert {one.value for one in Process} <= told


def test_what_nobody_foresaw_is_unavailable_and_told_by_its_class_alone():
    made = edge.edge_error(ValueError("of-the-secret"), Process.TASK, asked='variable "x"', place="agent /s")
    assert type(made).__name__ == "UnavailableError"
    assert (
        str(made) == 'variable "x" is unavailable (strongroom, agent /s): the lookup failed with ValueError'
    )


def test_the_text_is_one_bounded_line_with_entry_outcome_place_and_remedy():
    error = errors.AccessDeniedError("no\nrule\tallows it " + "x" * 2000, reason="r", hint="ask somebody")
    text = str(edge.edge_error(error, Process.TASK, asked='connection "x"', place="server s:8200"))
    assert text.startswith('connection "x" is denied (strongroom, server s:8200): no rule allows it x')
    assert len(text) <= 600
    assert "\n" not in text
    short = errors.AccessDeniedError("no rule allows it", reason="r", hint="ask somebody")
    assert str(edge.edge_error(short, Process.TASK)).endswith("no rule allows it; ask somebody")


def test_the_words_of_the_place_replace_those_of_the_error():
    error = errors.SettingsError("STRONGROOM_TOKEN holds no token", key="STRONGROOM_TOKEN")
    made = edge.edge_error(error, Process.TASK, worded=lambda text: text.replace("STRONGROOM_TOKEN", "token"))
    assert str(made).endswith("token holds no token")


@pytest.mark.parametrize("outcome", edge.OUTCOMES)
def test_the_class_of_an_outcome_is_one_object(outcome):
    name = edge.OUTCOMES[outcome][0]
    assert getattr(edge, name) is edge.edge_class(outcome, Process.UNKNOWN)


@pytest.mark.parametrize("copied", [copy.copy, lambda made: pickle.loads(pickle.dumps(made))])
def test_it_crosses_to_another_process_with_its_text(copied):
    made = edge.edge_error(
        error_of("AccessDeniedError"), Process.TASK, asked='variable "x"', place="agent /s"
    )
    again = copied(made)
    assert type(again) is type(made)
    assert str(again) == str(made)
    assert (again.outcome, again.code) == ("denied", "denied")
