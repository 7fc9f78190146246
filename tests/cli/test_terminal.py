"""What people see and are asked on a terminal: questions, secrets typed, colours, widths."""

from __future__ import annotations

import io

import pytest

from cli_shell import Shell
from strongroom.cli import terminal
from strongroom.cli.terminal import clean, progress
from terminal import on_terminal

CANARY = "canary-5e1d"


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


def test_password_is_asked_for_and_not_shown(shell):
    seen = on_terminal(
        ["connections", "add", "db", "--conn-type", "postgres", "--conn-login", "svc"],
        shell.environ,
        answers=[("password of db (empty for none): ", f"{CANARY}\n")],
        is_cold=True,
    )
    assert seen.code == 0
    assert CANARY not in seen.raw
    assert shell("read db --field password").out == CANARY


def test_value_of_a_variable_is_asked_for_and_not_shown(shell):
    seen = on_terminal(
        ["variables", "set", "token"], shell.environ, answers=[("value of token: ", f"{CANARY}\n")]
    )
    assert seen.code == 0
    assert CANARY not in seen.raw
    assert shell("read token").out == CANARY


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 3), ("n", 1, 0), ("", 1, 0)])
def test_deleting_asks_first(shell, answer, code, left):
    shell("variables set x", "1")
    seen = on_terminal(
        ["variables", "delete", "x"],
        shell.environ,
        answers=[('delete variable "x"? [y/N] ', f"{answer}\n")],
    )
    assert seen.code == code
    assert ("nothing was done" in seen.text) == bool(code)
    assert shell("read x").code == left


def test_no_is_answered_before_a_password_is_asked_for(shell):
    shell("connections add db --conn-uri http://h")
    seen = on_terminal(
        ["connections", "add", "db", "--conn-type", "http"], shell.environ, answers=[("[y/N] ", "n\n")]
    )
    assert seen.code == 1
    assert "password" not in seen.text
    assert shell("read db --field host").out == "h"


def test_writing_over_variables_by_an_import_asks_first(shell):
    shell("variables set x", "1")
    (shell.folder / "v.json").write_text('{"x": "2", "y": "3"}')
    seen = on_terminal(
        ["variables", "import", str(shell.folder / "v.json")],
        shell.environ,
        answers=[("write over 1 variable? [y/N] ", "y\n")],
    )
    assert "2 variables imported, 1 of them over what stood" in seen.text
    assert shell("read x").out == "2"


def test_reveal_asks_for_its_reason_and_records_it(shell):
    shell("variables set x", "1")
    on_terminal(
        ["variables", "get", "x", "--reveal"],
        shell.environ,
        answers=[("reason, for the record: ", "checking\n")],
    )
    assert '"reason": "checking"' in shell("audit tail --output json").out


def test_ctrl_c_at_a_question_changes_nothing(shell):
    shell("variables set x", "1")
    seen = on_terminal(["variables", "delete", "x"], shell.environ, answers=[("[y/N] ", "\x03")])
    assert seen.code == 130
    assert "Traceback" not in seen.text
    assert shell("read x").out == "1"


def test_read_ends_the_line_on_a_terminal_only(shell):
    shell("variables set x", "1")
    assert on_terminal(["read", "x"], shell.environ).text == "1\n"
    assert shell("read x").out == "1"


def test_passphrase_is_asked_for_twice_when_new_and_once_later(tmp_path):
    shell = Shell(tmp_path)
    answers = [("passphrase of the store: ", f"{CANARY}\n"), ("the same again: ", f"{CANARY}\n")]
    seen = on_terminal(["init", "--passphrase"], shell.environ, answers=answers, cwd=tmp_path)
    assert (seen.code, CANARY in seen.raw) == (0, False)
    listed = on_terminal(["keys", "status"], shell.environ, answers=answers[:1], cwd=tmp_path)
    assert any("passphrase" in line and "active" in line for line in listed.text.splitlines())
    refused = shell("variables list")
    assert (refused.code, "no terminal to ask for it on" in refused.err) == (8, True)


def test_two_different_passphrases_make_nothing(tmp_path):
    answers = [("passphrase of the store: ", "one\n"), ("the same again: ", "two\n")]
    seen = on_terminal(["init", "--passphrase"], Shell(tmp_path).environ, answers=answers, cwd=tmp_path)
    assert seen.code == 2
    assert "the two passphrases differ" in seen.text
    assert not list(tmp_path.rglob("*.toml"))


# --- widths and colours --------------------------------------------------------------------------


@pytest.fixture
def full(shell):
    for index in range(3):
        text = f'{{"conn_type": "google_cloud_platform", "description": "The account of team {index}"}}'
        name = f"warehouse_of_the_finance_team_{index}"
        shell(f"connections add {name} --conn-json - --owner data --tag eu --tag x", text)
    return shell


LOOKS = [["connections", "list"], ["inventory"], ["audit", "tail"], ["up"], ["doctor"], ["backends", "list"]]


@pytest.mark.parametrize("arguments", LOOKS, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 40])
def test_tables_fit_the_terminal_and_no_color_turns_colours_off(full, arguments, columns):
    seen = on_terminal(arguments, {**full.environ, "NO_COLOR": "1"}, columns=columns)
    assert "\x1b" not in seen.raw
    if arguments != ["up"]:  # commands to type and paths are not broken
        assert all(len(line) <= columns or " " not in line.strip() for line in seen.text.splitlines())
    if arguments == ["connections", "list"] and columns == 80:
        assert "warehouse_of_the_finance_team_2" in seen.text


def test_colours_are_for_terminals(full):
    assert "\x1b[" in on_terminal(["connections", "list"], full.environ).raw
    assert "\x1b[" in on_terminal(["read", "nothing"], full.environ).raw
    assert "\x1b" not in full("connections list").out


def test_in_a_pipe_a_table_has_every_column_on_one_line(full):
    out = full("connections list").out.splitlines()
    assert len(out) == 4
    assert out[0].split() == ["NAME", "TYPE", "BACKEND", "VERSION", "AGE", "OWNER", "TAGS", "DESCRIPTION"]
    assert out[1].endswith("The account of team 0")


def test_text_from_elsewhere_cannot_move_the_cursor(shell):
    shell(["variables", "set", "x", "--description", "a\x1b[2Jb\x9b1mc\u202ed"], "1")
    shown = on_terminal(["variables", "get", "x"], {**shell.environ, "NO_COLOR": "1"}).text
    assert "a\\u001b[2Jb\\u009b1mc\\u202ed" in shown
    for output in ("json", "yaml"):
        out = shell(f"variables get x --output {output}").out
        assert not set(out) & {"\x1b", "\x9b", "\u202e"}


def test_clean_keeps_what_prints():
    assert clean("größe 🔑 x") == "größe 🔑 x"
    assert clean("a\tb\U000e0001") == "a\\u0009b\\U000e0001"


# --- progress ------------------------------------------------------------------------------------


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_only_after_a_second_and_cleared(monkeypatch):
    now = iter([0.0, 0.5, 1.5, 2.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    with progress("importing", stream=(stream := _Terminal())) as show:
        show(1, 4)
        assert stream.getvalue() == ""
        show(2, 4)
        show(4, 4)
    assert "importing ━━━━━━━━━━━━──────────── 50 %" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_no_progress_where_nobody_looks():
    with progress("importing", stream=io.StringIO()) as show:
        assert show is None


def test_a_step_that_takes_long_shows_the_seconds_go_on():
    class Ended:
        def __init__(self):
            self.waits = iter([False, False, True])

        def wait(self, _seconds):
            return next(self.waits)

    bar = terminal._Bar("importing", stream := _Terminal())
    bar.count(Ended())
    bar.clear()
    assert stream.getvalue() == "\rimporting …  1 s\x1b[K\rimporting …  2 s\x1b[K\r\x1b[K"


@pytest.mark.parametrize("columns", [40, 80])
def test_messages_and_hints_are_folded_between_words(shell, columns):
    seen = on_terminal(["connections", "import", "connections.txt"], shell.environ, columns=columns)
    other = on_terminal(["variables", "get", "region"], shell.environ, columns=columns)
    for text in (seen.text, other.text):
        assert max(map(len, text.splitlines())) <= columns
    assert "rename it, or say --format json, yaml or env" in " ".join(seen.text.split())


@pytest.mark.parametrize("name", ["a", "a" * 60])
def test_up_fits_the_terminal_whatever_the_names(shell, name):
    shell(["variables", "set", name], "1")
    seen = on_terminal(["up"], shell.environ)
    told = seen.text.partition("next:\n")[2].splitlines()
    assert (
        max(len(line) for line in told if "strongroom run" not in line and "strongroom ex" not in line) <= 80
    )
    assert "hand it to a job" in seen.text
    if name == "a":
        assert max(map(len, told)) <= 80
