"""`strongroom seal` and `unseal` against a real `strongroom serve` over the same store."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager

import pytest

from cli_shell import Shell
from parts import warm
from parts.openbao import until
from terminal import on_terminal

PASSPHRASE = "correct horse battery"


@contextmanager
def serving(shell: Shell):
    """`strongroom serve` as a process of its own; its address stands in `server.lock`."""
    process = warm.Popen(
        ["serve", "--port", "0"],
        cwd=shell.folder,
        env=shell.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert b"serving at" in process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def facts(shell: Shell, line: str):
    result = shell(f"{line} --output json")
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path)
    shell.environ["HOME"] = str(tmp_path)
    return shell


def test_a_server_with_a_passphrase_is_opened_by_it_and_sealed_again(shell):
    (shell.folder / "strongroom.toml").write_text('[store]\nwrappers = [{ kind = "passphrase" }]\n')
    answers = (("passphrase of the store: ", f"{PASSPHRASE}\n"), ("the same again: ", f"{PASSPHRASE}\n"))
    assert on_terminal(("init",), shell.environ, answers=answers, cwd=shell.folder).code == 0
    with serving(shell):
        assert facts(shell, "seal --status")["sealed"] is True
        wrong = shell("unseal --passphrase-file -", stdin="this is not the one\n")
        assert wrong.code == 4
        assert wrong.err.startswith("strongroom: the passphrase does not open the store")
        soon = shell("unseal --passphrase-file -", stdin=PASSPHRASE)
        assert soon.code == 6
        until(
            lambda: shell("unseal --passphrase-file -", stdin=f"{PASSPHRASE}\n").code == 0,
            what="the wait to end",
        )
        assert facts(shell, "seal --status")["sealed"] is False
        again = shell("unseal")
        assert (again.code, again.out) == (0, "the deployment default is open\n")


def test_the_owner_of_the_machine_seals_and_opens(shell):
    assert shell("init").code == 0
    with serving(shell):
        refused = shell("seal")
        assert refused.code == 2
        sealed = shell("seal --yes --reason drill")
        assert (sealed.code, sealed.out) == (0, "the deployment default is sealed\n")
        state = shell("seal --status")
        assert "an administrator" in state.out
        opened = shell("unseal")
        assert (opened.code, opened.out) == (0, "the deployment default is open\n"), opened.err
        assert facts(shell, "seal --status")["sealed"] is False


def test_without_a_server_there_is_nothing_to_seal(shell):
    assert shell("init").code == 0
    for line in ("seal --yes", "seal --status", "unseal"):
        result = shell(line)
        assert result.code == 3
        assert "no server runs over this store" in result.err
