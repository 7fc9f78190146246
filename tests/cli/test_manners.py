"""What a newcomer types first and an attacker types next: each answered before harm is done."""

from __future__ import annotations

import json

import pytest

from cli_shell import Shell
from terminal import on_terminal

CANARY = "canary-7be2"
NO_TEXT = "d\udcff"  # the byte FF, as it stands in sys.argv


@pytest.fixture
def shell(tmp_path):
    shell = Shell.with_room(tmp_path)
    shell("variables set region", "eu")
    return shell


@pytest.mark.parametrize(
    "line", ["variables delete nope", "variables rollback region 9", "connections rollback nope 1"]
)
def test_nothing_is_asked_about_what_is_not_there(shell, line):
    assert shell(line).code == 3
    seen = on_terminal(line.split(), shell.environ)
    assert (seen.code, "[y/N]" in seen.text) == (3, False)


def test_a_version_that_is_not_there_names_the_command_that_lists_them(shell):
    result = shell("variables rollback region 9 --yes")
    assert result.err.endswith("hint: strongroom variables history region lists them\n")


@pytest.mark.parametrize("kind", [f"postgres://u:{CANARY}@h", f"u:{CANARY}@h"])
def test_a_uri_given_as_the_type_is_refused_and_not_repeated(shell, kind):
    result = shell(["connections", "add", "x", "--conn-type", kind])
    assert result.code == 2
    assert "--conn-uri -" in result.err
    assert CANARY not in result.out + result.err + shell("connections list -o json").out


@pytest.mark.parametrize("option", ["--description", "--comment", "--tag", "--owner", "--team"])
def test_what_is_no_text_is_refused_by_the_name_of_its_option(shell, option):
    result = shell(["variables", "set", "x", option, NO_TEXT], "1")
    assert result.code == 2
    assert option.removeprefix("--") in result.err
    assert shell("read x").code == 3


@pytest.mark.parametrize(
    "line", ["variables get region --reveal --reason", "variables export - --reason"], ids=["get", "export"]
)
def test_a_reason_that_is_no_text_reveals_nothing(shell, line):
    result = shell([*line.split(), NO_TEXT])
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize("line", ["connections list", "inventory", "variables export -", "run -- true"])
def test_a_malformed_team_is_refused_where_nothing_is_named_too(shell, line):
    assert shell(f"--team a/b {line}").err.startswith("strongroom: a team name has 1 to 50 letters")


def test_a_place_that_settings_cannot_name_makes_nothing(tmp_path):
    shell = Shell(tmp_path)
    assert shell(["init", "--store", f"./{NO_TEXT}.db"]).code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_no_text_is_a_setting_to_change(tmp_path):
    shell = Shell(tmp_path)
    result = shell("up", STRONGROOM_HOME=str(tmp_path / NO_TEXT))
    assert (result.code, "STRONGROOM_HOME" in result.err) == (7, True)


def test_a_value_of_the_environment_that_is_no_text_is_malformed(shell):
    for line in ("read --variable x", "run --variable x -- true", "variables get x"):
        result = shell(line, AIRFLOW_VAR_X=NO_TEXT)
        assert (result.code, "not UTF-8" in result.err) == (9, True), line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("connections list", "there are no connections here yet"),
        ("connections list --prefix x", "there are no connections among the names asked for"),
        ("--team ops variables list", "there are no variables of the team ops here yet"),
        ("inventory --kind connection", "there is nothing among the names asked for"),
    ],
)
def test_an_empty_listing_tells_what_it_is_empty_of(shell, line, said):
    assert said in shell(line).err


@pytest.mark.parametrize(
    "line",
    [
        "variables set x --to nope",
        "variables delete region --at nope --yes",
        "variables history region --at nope",
    ],
)
def test_a_backend_that_is_not_there_is_the_callers_mistake_everywhere(shell, line):
    result = shell(line, "1")
    assert (result.code, result.err.splitlines()[1]) == (2, "hint: its backends: env, native")


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("connections import x.txt", "--format"),
        ("connections export x.txt", "--format"),
        ("connections convert x.txt", "--from"),
    ],
)
def test_a_file_of_no_known_form_names_the_option_that_tells_it(shell, line, option):
    assert f"say {option} json, yaml or env" in shell(line).err


def test_get_answers_both_kinds_alike(shell):
    shell("connections add db --conn-type http --conn-host h")
    both = [
        json.loads(shell(line + " -o json").out) for line in ("variables get region", "connections get db")
    ]
    beside = ["problem", "backend", "shadowed", "version", "changed_at", "description", "tags", "owner"]
    for record in both:
        assert list(record)[:3] == ["kind", "name", "team"]
        assert set(beside) <= set(record)
