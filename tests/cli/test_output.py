"""Tables, JSON and YAML: whole, in order, read back alike by every reader."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cli_shell import Shell
from strongroom.cli.output import Column, format_yaml, plain, show_rows
from strongroom.cli.session import Session
from strongroom.model.yaml11 import parse_yaml

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1))
def test_yaml_reads_back_alike_by_the_rules_of_1_1_and_1_2(value):
    text = format_yaml(value)
    assert parse_yaml(text) == value
    assert YAML(typ="safe", pure=True).load(text) == value


@given(st.text())
def test_json_and_yaml_hold_nothing_that_moves_the_cursor(text):
    assert not set(format_yaml({"key": text})) & {"\x1b", "\x9b", "\x7f", "\u202e", "\u200b", "\r"}


def test_times_are_plain_utc():
    moment = datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    assert plain({"at": moment, "tags": ("a",)}) == {"at": "2026-01-02T01:04:00Z", "tags": ["a"]}


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_pages_are_shown_as_one_list(output, capsys):
    pages = [[{"name": f"n{page}-{row}"} for row in range(3)] for page in range(3)]
    count = show_rows(Session(environ={}, output=output), [Column("name", "NAME")], iter([*pages, []]))
    out = capsys.readouterr().out
    names = [row["name"] for page in pages for row in page]
    assert count == 9
    if output == "table":
        assert out.split() == ["NAME", *names]
    else:
        assert parse_yaml(out) == [{"name": name} for name in names]


def test_nothing_is_an_empty_list(capsys):
    for output, said in (("json", "[]\n"), ("yaml", "[]\n"), ("table", "")):
        assert show_rows(Session(environ={}, output=output), [Column("name", "NAME")], []) == 0
        assert capsys.readouterr().out == said


def test_listing_goes_on_over_pages_and_stops_at_the_limit(tmp_path):
    shell = Shell.with_room(tmp_path)
    variables = {f"n{index:04}": "v" for index in range(1003)}
    shell("variables import - --format json", json.dumps(variables))
    names = [row["name"] for row in json.loads(shell("variables list --output json").out)]
    assert names == sorted(variables)
    limited = json.loads(shell("variables list --output json --limit 1001 --after n0001").out)
    assert [row["name"] for row in limited] == names[2:1003][:1001]
    both = json.loads(shell("inventory --output json --after variable:n0999").out)
    assert [row["name"] for row in both] == names[1000:]
