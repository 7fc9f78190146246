"""Help: every command has an example, fits 80 columns, and stands in docs/cli.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cli_shell import Shell
from parts import warm
from strongroom.cli.app import COMMANDS, tree

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from cli_manual import commands, manual  # noqa: E402 -- a script of this repository

FOUND = dict(commands())
PATHS = list(FOUND)


@pytest.mark.parametrize("path", [(), *PATHS], ids=" ".join)
def test_help_of_every_command_has_an_example_and_fits_80_columns(path, tmp_path):
    result = Shell(tmp_path)([*path, "--help"], COLUMNS="80")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"\nExample:\n  \$ .*strongroom", result.out)
    assert max(map(len, result.out.splitlines())) <= 80
    assert result.out.partition("\n\n")[0].endswith(".")


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_option_says_what_it_does(path):
    for parameter in FOUND[path].params:
        if not getattr(parameter, "hidden", False):
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.help


def test_command_line_is_documented_as_it_is():
    documented = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert documented == manual(documented), "run: python scripts/cli_manual.py"


def test_every_command_the_design_names_is_there():
    wanted = {
        "connections": "get list add edit delete undelete import export convert history rollback types lint"
        " test",
        "variables": "get set list delete undelete import export history rollback",
        "explain": "connection variable",
        "backends": "list check setup order set pause resume",
        "store": "status migrate move",
        "keys": "status job rotate destroy",
        "audit": "tail run state verify export sign hold retain",
    }
    assert {path[0] for path in PATHS} == {name for names in COMMANDS.values() for name in names}
    for noun, verbs in wanted.items():
        assert {path[1] for path in PATHS if path[0] == noun and len(path) == 2} == set(verbs.split())


@pytest.mark.parametrize("line", ["", "--help", "connections", "connections --help"])
def test_a_noun_alone_shows_its_help(line, tmp_path):
    result = Shell(tmp_path)(line)
    assert result.code == 0
    assert "Usage: strongroom" in result.out


def test_the_options_of_the_session_stand_anywhere(tmp_path):
    shell = Shell(tmp_path)
    lines = ["--output json variables list", "variables --output json list", "variables list --output json"]
    assert {shell(line).out for line in lines} == {"[]\n"}


def test_the_option_nearest_the_end_of_the_line_counts(tmp_path):
    assert Shell(tmp_path)("--output yaml variables list --output json").out == "[]\n"
    assert Shell(tmp_path)("--output json variables list").err == ""


def test_shell_completion_completes_commands_options_and_names(tmp_path):
    shell = Shell.with_room(tmp_path)
    shell("variables set region", "eu")

    def completed(words: str) -> list[str]:
        asked = {
            "_STRONGROOM_COMPLETE": "complete_bash",
            "COMP_WORDS": f"strongroom {words}",
            "COMP_CWORD": str(len(words.split(" "))),
        }
        ended = warm.run([], env={**shell.environ, **asked}, capture_output=True, text=True, check=True)
        assert ended.stderr == ""
        return ended.stdout.split()

    assert completed("conn") == ["connections"]
    assert completed("variables get --rev") == ["--reveal"]
    assert completed("variables get re") == ["region"]


def test_the_tree_knows_its_commands_before_it_imports_them():
    assert list(tree().commands) == []
