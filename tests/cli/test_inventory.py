"""`strongroom inventory`: what is chosen, how trouble is told, and that no value shows."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from cli_shell import Shell
from strongroom.cli.entry import age
from strongroom.testing.contract import BROKEN_CONNECTIONS, CANARY

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (timedelta(seconds=-5), "now"),
        (timedelta(seconds=59), "now"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=2), "2 d"),
        (timedelta(days=500), "500 d"),
        (timedelta(days=4 * 366), "4 y"),
    ],
)
def test_age_is_told_as_people_say_it(ago, told):
    assert age(NOW - ago, NOW) == told


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_texts_that_do_not_parse_are_listed_with_the_reason_and_without_a_piece_of_them(shell, output):
    environ = {f"AIRFLOW_CONN_X{number}": text for number, text in enumerate(BROKEN_CONNECTIONS)}
    environ["AIRFLOW_VAR_V"] = CANARY
    result = shell(["inventory", "--output", output], **environ)
    assert result.code == 0
    assert result.out.count("unparsable") == len(BROKEN_CONNECTIONS)
    assert CANARY not in result.out + result.err


def test_list_is_whole_json_beside_trouble_which_is_json_too(shell):
    (shell.folder / "strongroom.toml").write_text(
        'chain = ["one", "two", "env"]\n'
        '[backend.one]\nkind = "file"\nvariables = "one.json"\n'
        '[backend.two]\nkind = "file"\nvariables = "two.json"\n'
    )
    (shell.folder / "two.json").write_text("{}")
    (shell.folder / "two.json").chmod(0o666)
    result = shell("inventory --output json", AIRFLOW_VAR_V="x")
    assert [row["name"] for row in json.loads(result.out)] == ["v"]
    told = [json.loads(line)["error"] for line in result.err.splitlines()]
    assert [error["code"] for error in told] == ["backend_unavailable", "access_denied"]
    assert result.code == 6


def test_clashes_are_objects_beside_whole_json(shell):
    (shell.folder / "strongroom.toml").write_text(
        'chain = ["env", "two"]\n[backend.two]\nkind = "file"\nvariables = "two.json"\n'
    )
    (shell.folder / "two.json").write_text('{"x": "1", "X": "2"}')
    result = shell("inventory --output json", AIRFLOW_VAR_X="3")
    assert len(json.loads(result.out)) == 2
    (told,) = [json.loads(line)["warning"] for line in result.err.splitlines()]
    assert (told["code"], told["backend"], told["names"]) == (
        "clash",
        "env",
        ['variable "X"', 'variable "x"'],
    )
    assert "cannot keep" in told["message"]


def test_refusing_place_alone_gives_the_code_of_a_refusal(shell):
    (shell.folder / "strongroom.toml").write_text(
        'chain = ["two", "env"]\n[backend.two]\nkind = "file"\nvariables = "two.json"\n'
    )
    (shell.folder / "two.json").write_text("{}")
    (shell.folder / "two.json").chmod(0o666)
    result = shell("inventory", AIRFLOW_VAR_V="x")
    assert "v" in result.out
    assert "the names of two are missing here" in result.err
    assert "hint: chmod o-w" in result.err
    assert result.code == 4


def test_limit_counts_names_and_ends_a_long_list(shell):
    environ = {f"AIRFLOW_VAR_N{number:03}": "x" for number in range(450)}
    rows = json.loads(shell("inventory --output json --limit 410", **environ).out)
    assert [row["name"] for row in rows] == [f"n{number:03}" for number in range(410)]


def test_later_pages_stand_below_the_first(shell):
    environ = {f"AIRFLOW_VAR_N{number:03}": "x" for number in range(450)}
    lines = shell("inventory", **environ).out.splitlines()
    assert len(lines) == 451
    assert len({line.index("variable") for line in lines[1:]}) == 1


@pytest.mark.parametrize("state", ["unparsable", "UNPARSABLE", "plain-text", "plain_text", "plain text"])
def test_states_are_typed_as_people_spell_them(shell, state):
    result = shell(["inventory", "--output", "json", "--state", state], AIRFLOW_CONN_X="broken")
    assert result.code == 0
    assert len(json.loads(result.out)) == ("unparsable" in state.lower())


def test_nothing_of_what_was_asked_for_is_said_so(shell):
    result = shell("inventory --problems", AIRFLOW_VAR_V="x")
    assert result.out == ""
    assert "there is nothing among the names asked for" in result.err
