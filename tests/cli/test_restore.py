"""`strongroom restore` on a terminal: it shows what is lost, then asks; the rest stands in backup.txt."""

import pytest

from cli_shell import Shell
from terminal import on_terminal

READABLE = "others on this machine can read the recovery identity"
QUESTION = "? [y/N] "


@pytest.fixture
def shell(tmp_path):
    made = Shell.with_room(tmp_path)
    for step in ("variables set region --value-stdin", "variables set owner --value-stdin"):
        assert made(step, "of then").code == 0
    recipient = made("backup keygen identity.txt").out.split()[1]
    assert made(f"backup create then.srb --recipient {recipient}").code == 0
    assert made("variables set region --value-stdin", "of now").code == 0
    return made


@pytest.mark.parametrize(
    ("answer", "code", "region"), [("n", 1, "of now"), ("", 1, "of now"), ("y", 0, "of then")]
)
def test_what_is_lost_is_shown_before_it_is_asked_and_only_a_yes_loses_it(shell, answer, code, region):
    command = ["restore", "then.srb", "--identity", "identity.txt", "--accept-rollback"]
    seen = on_terminal(
        command, shell.environ, answers=[(QUESTION, f"{answer}\n")], columns=120, cwd=shell.folder
    )
    assert seen.code == code, seen.text
    shown, _, _ = seen.text.partition(QUESTION)
    assert "1 change" in shown
    assert 'variable "region"' in shown
    assert 'variable "owner"' not in shown
    assert shell("read region").out == region


def test_identity_that_others_can_read_is_told_and_used(shell):
    command = "backup drill then.srb --identity identity.txt"
    assert READABLE not in shell(command).err
    (shell.folder / "identity.txt").chmod(0o644)
    told = shell(command)
    assert READABLE in told.err
    assert told.code == 0


def test_place_that_was_typed_is_told_as_the_settings_would_name_it(shell):
    done = shell("restore then.srb --identity identity.txt --to ./other.db --accept-rollback --yes")
    assert f'path = "{shell.folder / "other.db"}"' in done.err.replace("\n", " ").replace("  ", " ")
