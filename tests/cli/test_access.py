"""`strongroom access` on a terminal and in a pipe: no password on the command line, nothing unasked."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest

from cli_shell import Shell
from terminal import on_terminal

CANARY = "canary-horse-battery"
TOKEN = re.compile(r"srm_t_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}")


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


def typed(shell, line, *answers):
    return on_terminal(line.split(), shell.environ, answers=answers, cwd=shell.folder)


def people(shell):
    return [row["name"] for row in json.loads(shell("access people list -o json").out)]


def test_new_password_is_asked_for_twice_and_not_shown(shell):
    seen = typed(
        shell,
        "access people add anna",
        ("new password: ", f"{CANARY}\n"),
        ("the same again: ", f"{CANARY}\n"),
    )
    assert (seen.code, CANARY in seen.raw) == (0, False)
    assert people(shell) == ["anna"]


def test_two_passwords_that_differ_set_none(shell):
    seen = typed(
        shell,
        "access people add anna",
        ("new password: ", f"{CANARY}\n"),
        ("the same again: ", f"{CANARY}x\n"),
    )
    assert seen.code == 2
    assert "differ" in seen.text
    assert CANARY not in seen.raw
    assert people(shell) == []


@pytest.mark.parametrize("given", ["--password x", f"--password={CANARY}", f"-p {CANARY}", CANARY])
def test_LK05_password_on_the_command_line_is_refused_and_not_repeated(shell, given):
    refused = shell(f"access people add anna {given}")
    assert refused.code == 2
    assert CANARY not in refused.out + refused.err
    assert people(shell) == []


def test_password_comes_from_a_file(shell):
    (shell.folder / "password").write_text(f"{CANARY}\n")
    assert shell("access people add anna --password-file password").code == 0
    assert shell("access people add bert --password-file nowhere").code == 2
    both = shell("access people add bert --password-file password --password-stdin", CANARY)
    neither = shell("access people add bert --password-file password --no-password")
    assert (both.code, neither.code) == (2, 2)
    assert people(shell) == ["anna"]


def test_password_that_is_no_text_or_endless_is_refused(shell):
    assert shell("access people add anna --password-stdin", b"\xff" * 20).code == 2
    assert shell("access people add anna --password-stdin", b"x" * 100_000).code == 2
    assert people(shell) == []


ASKED = [
    ("access people disable anna", "disable person anna? [y/N] "),
    ("access people delete anna", "delete person anna? [y/N] "),
    ("access tokens revoke ci", "revoke the token of service ci? [y/N] "),
    ("access roles revoke op person:anna", "take the role op from person:anna? [y/N] "),
    ("access sessions revoke --all person:anna", "end every session of person:anna? [y/N] "),
]


@pytest.mark.parametrize(("line", "question"), ASKED)
def test_what_cannot_be_undone_is_asked_first(shell, line, question):
    shell("access people add anna --role op --no-password")
    shell("access tokens issue --name ci")
    before = shell("access people list -o json").out, shell("access tokens list -o json").out
    assert typed(shell, line, (question, "n\n")).code == 1
    assert shell(line).code == 2, "nobody to ask"
    assert (shell("access people list -o json").out, shell("access tokens list -o json").out) == before
    assert typed(shell, line, (question, "y\n")).code == 0


def test_token_is_all_there_is_on_stdout_and_nowhere_else(shell):
    issued = shell("access tokens issue --name ci --role reader --expires 90d")
    assert TOKEN.fullmatch(issued.out.strip())
    assert "srm_" not in issued.err
    again = shell("access tokens list -o json").out + shell("audit tail -n 100 -o json").out
    assert "srm_" not in again
    files = b"".join(path.read_bytes() for path in shell.folder.rglob("*") if path.is_file())
    assert issued.out.strip().encode() not in files


def test_token_as_json_has_everything_a_program_needs(shell):
    issued = json.loads(
        shell(
            "access tokens issue --name ci --role reader --expires 90d --scope names=a/*,b --output json"
        ).out
    )
    assert TOKEN.fullmatch(issued["token"])
    assert issued["scope"]["names"] == ["a/*", "b"]
    assert issued["roles"] == [{"name": "reader", "team": None}]
    assert issued["expires"].endswith("Z")


def test_revoking_a_token_by_the_token_itself_does_not_repeat_it(shell):
    token = shell("access tokens issue --name ci").out.strip()
    refused = shell(f"access tokens revoke {token} --yes")
    assert refused.code == 3
    assert token not in refused.err
    assert token not in shell("audit tail -n 100 -o json").out


def test_role_of_a_team_is_given_and_taken_with_the_team_of_the_session(shell):
    shell("access people add anna --no-password")
    assert shell("access roles grant op person:anna --team data").out == (
        "person:anna has the role op of data\n"
    )
    assert shell("access roles revoke op person:anna --yes").code == 3
    assert shell("access roles revoke op person:anna --team data --yes").code == 0


def test_CR11_change_by_hand_is_told_and_accepted_on_purpose_only(shell):
    shell("access people add anna --role admin --no-password")
    shell("access tokens issue --name ci")
    with closing(sqlite3.connect(shell.folder / "room" / "store.db")) as connection:
        connection.execute("UPDATE registry SET body = x'00' WHERE kind = 'role'")
        connection.commit()
    refused = shell("access people list")
    assert (refused.code, refused.out) == (9, "")
    checked = shell("access check")
    assert checked.code == 9
    assert "failed authentication" in checked.err
    assert shell("access accept").code == 2
    assert typed(shell, "access accept", ("for right? [y/N] ", "n\n")).code == 1
    assert shell("access check").code == 9
    assert shell("access accept --yes").code == 0
    assert shell("access check").code == 0
    (anna,) = json.loads(shell("access people list -o json").out)
    assert anna["roles"] == []
    told = json.loads(shell("audit tail -n 100 -o json").out)
    assert any("changed by hand" in record["reason"] for record in told)
    assert shell("audit verify").code == 0


def test_deployments_of_one_settings_file_have_their_own_people(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "strongroom.toml").write_text(
        'deployment = "prod"\nchain = ["native"]\n[store]\npath = "room/store.db"\n'
        '[deployments.dev]\nchain = ["native"]\n[deployments.dev.store]\npath = "room/store.db"\n'
        '[deployments.dev.audit]\npath = "room/audit-dev"\n'
    )
    for name in ("prod", "dev"):
        assert shell(f"init --deployment {name}").code == 0
    assert shell("access people add anna --no-password --deployment dev").code == 0
    assert people(shell) == []
    assert json.loads(shell("access people list --deployment dev -o json").out)[0]["name"] == "anna"
