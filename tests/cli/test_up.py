"""`strongroom up` where there is something already: what it asks, writes and brings in."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli_shell import Shell
from parts.openbao import bao
from terminal import on_terminal

__all__ = ["bao"]

CANARY = "canary-77aa"
DATA = Path(__file__).parent.parent / "data"
DOTENV = f"AIRFLOW_CONN_A=postgres://u:{CANARY}@h/d\nAIRFLOW_VAR_B={CANARY}\n"


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "home").mkdir()
    shell.environ["HOME"] = str(tmp_path / "home")
    return shell


@pytest.fixture
def airflow(shell):
    """The home of a real Airflow 3 with 60 connections and 18 variables, and its key."""
    home = shell.folder / "home/airflow"
    home.mkdir()
    shutil.copy(DATA / "airflow3/airflow.db", home)
    key = (DATA / "airflow3/fernet.env").read_text().strip().partition("=")[2]
    (home / "airflow.cfg").write_text(f"[core]\nfernet_key = {key}\n")
    return home


def facts(shell: Shell, line: str, **environ: str):
    result = shell(f"{line} --output json", **environ)
    assert result.code == 0, result.err
    assert CANARY not in result.out + result.err
    return json.loads(result.out)


def on_answers(shell: Shell, *answers: tuple[str, str], arguments=("up",)):
    return on_terminal(arguments, shell.environ, answers=answers, cwd=shell.folder, columns=100)


# --- what is found -------------------------------------------------------------------------------------


def test_a_real_airflow_is_shown_and_brought_in_whole(shell, airflow):
    found = facts(shell, "up")
    assert (found["connections"], found["variables"], found["unreadable"]) == (60, 18, 0)
    assert [(place["name"], place["entries"]) for place in found["places"]] == [("metastore", 78)]
    assert (found["importable"], found["imported"], found["written"]) == (78, None, [])
    assert found["next"][0] == "strongroom up --yes"
    assert not (shell.folder / "strongroom.toml").exists()
    done = facts(shell, "up --yes")
    assert done["imported"] == {"imported": 78}
    assert done["written"] == [
        "./strongroom.toml",
        "./.strongroom/.gitignore",
        "./.strongroom/strongroom.toml",
    ]
    shutil.rmtree(airflow)
    (shell.folder / ".strongroom/strongroom.toml").unlink()
    again = facts(shell, "up")
    assert (again["connections"], again["variables"], again["unreadable"]) == (60, 18, 0)


def test_what_a_vault_answers_is_shown_and_stays_in_the_vault(shell, bao):
    mount = bao.mount(2, path="secret-of-up")
    bao.put(mount, "connections/wh", {"conn_uri": f"postgres://u:{CANARY}@h/d"})
    around = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(
            {"url": bao.url, "token": bao.token("root"), "mount_point": mount}
        ),
        "AIRFLOW_CONN_MINE": f"http://u:{CANARY}@h",
    }
    found = facts(shell, "up", **around)
    assert {place["name"]: place["entries"] for place in found["places"]} == {"vault": 1, "env": 1}
    assert (found["connections"], found["importable"]) == (2, 1)
    assert facts(shell, "up --yes", **around)["imported"] == {"imported": 1}
    alone = shell("connections list --output json", STRONGROOM__CHAIN="native")
    assert [row["name"] for row in json.loads(alone.out)] == ["mine"]


def test_a_vault_that_never_answers_hides_nothing(shell):
    (shell.folder / ".env").write_text(DOTENV)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = facts(shell, "up", VAULT_ADDR=address, VAULT_TOKEN=CANARY)
    assert (found["connections"], found["variables"]) == (1, 1)
    places = {place["name"]: place for place in found["places"]}
    assert places["dotenv"]["entries"] == 2
    assert places["vault"]["entries"] is None
    assert "answer within" in places["vault"]["reason"]
    assert not any("vault" in file["text"] for file in found["files"])


def test_a_place_that_cannot_be_made_hides_nothing_and_is_not_written_down(shell):
    (shell.folder / ".env").write_text(DOTENV)
    kwargs = {"url": "http://127.0.0.1:1", "auth_type": "okta", "username": "u", "password": CANARY}
    found = facts(
        shell,
        "up",
        AIRFLOW__SECRETS__BACKEND="airflow.providers.hashicorp.secrets.vault.VaultBackend",
        AIRFLOW__SECRETS__BACKEND_KWARGS=json.dumps(kwargs),
    )
    assert found["connections"] == 1
    assert next(place["reason"] for place in found["places"] if place["name"] == "vault")
    assert not any("vault" in file["text"] for file in found["files"])


def test_what_airflow_would_ask_is_written_down_though_it_is_down_now(shell):
    kwargs = {"url": "http://127.0.0.1:1", "token": CANARY}
    done = facts(
        shell,
        "up --yes",
        AIRFLOW__SECRETS__BACKEND="airflow.providers.hashicorp.secrets.vault.VaultBackend",
        AIRFLOW__SECRETS__BACKEND_KWARGS=json.dumps(kwargs),
    )
    token = shell.folder / ".strongroom/vault-token"
    assert "./.strongroom/vault-token" in done["written"]
    assert token.read_text() == CANARY
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert CANARY not in (shell.folder / "strongroom.toml").read_text()
    assert [row["name"] for row in json.loads(shell("backends list --output json").out)] == [
        "vault",
        "env",
        "native",
    ]


def test_a_command_of_airflows_configuration_runs_on_a_yes_only(shell, airflow):
    ran = shell.folder / "ran"
    script = shell.folder / "where"
    script.write_text(f"#!/bin/sh\ntouch {ran}\necho sqlite:///{airflow}/airflow.db\n")
    script.chmod(0o700)
    with (airflow / "airflow.cfg").open("a") as file:
        file.write(f"[database]\nsql_alchemy_conn_cmd = {script}\n")
    found = facts(shell, "up")
    assert not ran.exists()
    assert (found["connections"], found["next"][0]) == (0, "strongroom up --yes")
    assert "sql_alchemy_conn_cmd" in found["places"][0]["reason"]
    assert facts(shell, "up --yes")["connections"] == 60
    assert ran.exists()


def test_settings_that_were_only_come_across_do_nothing_before_a_yes_and_yes_beforehand_is_none(shell):
    ran = shell.folder / "ran"
    text = 'chain = ["env", "v"]\n[backend.v]\nkind = "vault"\nurl = "http://127.0.0.1:1"\n'
    (shell.folder / "strongroom.toml").write_text(
        text + f'token = {{ command = ["sh", "-c", "touch {ran}; echo x"] }}\n'
    )
    for line in ("up", "up --yes", "up --no", "inventory", "doctor", "doctor --bundle", "read a"):
        result = shell(line)
        assert "nobody agreed" in result.out + result.err or line == "doctor --bundle", line
        assert result.code == (0 if line == "doctor --bundle" else 7)
    assert not ran.exists()
    seen = on_answers(shell, ("? [y/N]", "n\n"))
    assert (seen.code, ran.exists()) == (7, False)
    assert "backend.v (vault): asks http://127.0.0.1:1; runs sh -c touch" in seen.text
    seen = on_answers(shell, ("? [y/N]", "y\n"))
    assert (seen.code, ran.exists()) == (0, True)
    assert "nobody agreed" not in shell("doctor").out


def test_what_up_wrote_itself_is_agreed_to(shell, airflow):
    facts(shell, "up --yes")
    assert shell("doctor --only room-closed --output json").out == "[]\n"
    assert shell("inventory").code == 0


def test_a_working_directory_that_is_gone_is_told_in_words(shell):
    gone = str(shell.folder / "gone")
    script = (
        "import os, sys\n"
        f"os.mkdir({gone!r}); os.chdir({gone!r}); os.rmdir({gone!r})\n"
        "from strongroom.cli.main import run\nrun()\n"
    )
    for command in ("up", "doctor", "inventory"):
        done = subprocess.run(
            [sys.executable, "-c", script, command],
            env=shell.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "cd to one that is" in done.stderr) == (7, True), done.stderr


def test_settings_that_are_there_are_used_and_the_rest_is_only_told(shell):
    (shell.folder / "strongroom.toml").write_text('chain = ["env"]\n')
    (shell.folder / ".env").write_text(DOTENV)
    found = facts(shell, "up --yes", AIRFLOW_VAR_C="x")
    assert (found["connections"], found["variables"]) == (0, 1)
    assert [(place["name"], place["reason"]) for place in found["places"]] == [
        ("dotenv", "your settings do not name it")
    ]
    assert (found["files"], found["written"], found["imported"]) == ([], [], None)
    assert (shell.folder / "strongroom.toml").read_text() == 'chain = ["env"]\n'
    assert not (shell.folder / ".strongroom").exists()


def test_beside_settings_the_commands_that_bring_in_the_rest_are_named_and_work(shell, airflow):
    (shell.folder / "strongroom.toml").write_text('chain = ["env", "native"]\n')
    (shell.folder / ".env").write_text(DOTENV)
    found = facts(shell, "up --no")
    typed = [line for line in found["next"] if " import " in line and "connections.json" not in line]
    assert typed == [
        "strongroom airflow import --home ./home/airflow",
        "strongroom connections import ./.env",
        "strongroom variables import ./.env",
    ]
    for line in typed:
        assert shell(line.removeprefix("strongroom ")).code == 0
    after = facts(shell, "up --no")
    assert (after["connections"], after["variables"]) == (61, 19)


@pytest.mark.skipif(shutil.which("git") is None and not os.environ.get("CI"), reason="git is not installed")
def test_a_dotenv_that_git_would_take_along_is_warned_of(shell):
    subprocess.run(["git", "init", "-q", str(shell.folder)], check=True)
    (shell.folder / ".env").write_text(DOTENV)
    assert "warning: ./.env is not ignored by git: add .env to .gitignore" in shell("up").err
    shell("up --yes")
    status = subprocess.run(
        ["git", "-C", str(shell.folder), "status", "--porcelain", "-uall"], capture_output=True, check=True
    )
    assert b".strongroom/" not in status.stdout


# --- what is asked -------------------------------------------------------------------------------------


def test_each_offer_is_asked_about_and_done_on_a_yes(shell):
    (shell.folder / ".env").write_text(DOTENV)
    seen = on_answers(
        shell,
        ("write ./strongroom.toml? [y/N] ", "y\n"),
        ("./.strongroom/strongroom.toml? [y/N] ", "y\n"),
        ("where what it holds stays? [y/N] ", "y\n"),
    )
    assert seen.code == 0
    assert CANARY not in seen.raw
    assert "2 imported" in seen.text
    assert 'environment = "../.env"' in seen.text
    assert (shell.folder / "strongroom.toml").exists()
    assert shell("read a --field password").out == CANARY


def test_on_a_narrow_terminal_why_something_cannot_be_read_stays(shell, airflow):
    (airflow / "airflow.cfg").unlink()
    seen = on_terminal(["up", "--no"], shell.environ, cwd=shell.folder, columns=80)
    assert "76 that cannot be read" in seen.text
    assert "Fernet key" in seen.text
    table = seen.text.partition("PROBLEM")[2].partition("more:")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_a_no_changes_nothing_and_names_the_command(shell):
    (shell.folder / ".env").write_text(DOTENV)
    question = "[y/N] "
    seen = on_answers(shell, (question, "n\n"), (question, "\n"), (question, "no\n"))
    assert seen.code == 0
    assert not (shell.folder / "strongroom.toml").exists()
    assert not (shell.folder / ".strongroom").exists()
    assert "strongroom up --yes" in seen.text
    assert shell("inventory").out == ""


def test_without_the_teams_part_what_is_only_mine_holds_all_of_it(shell):
    (shell.folder / ".env").write_text(DOTENV)
    seen = on_answers(
        shell, ("strongroom.toml? [y/N] ", "n\n"), ("strongroom.toml? [y/N] ", "y\n"), ("[y/N] ", "n\n")
    )
    assert seen.code == 0
    assert not (shell.folder / "strongroom.toml").exists()
    assert "a  " in shell("connections list").out


def test_a_name_that_looks_like_an_option_is_typed_so_that_it_is_none(shell):
    (shell.folder / ".env").write_text("")
    (shell.folder / "airflow_settings.yaml").write_text(
        "airflow:\n  variables:\n    - variable_name: '-rf'\n      variable_value: x\n"
    )
    explain, _run = (line for line in facts(shell, "up --yes")["next"] if "-rf" in line)
    assert shell(explain.removeprefix("strongroom ")).code == 0


def test_no_is_never_asked(shell):
    (shell.folder / ".env").write_text(DOTENV)
    seen = on_answers(shell, arguments=("up", "--no"))
    assert seen.code == 0
    assert "[y/N]" not in seen.text


def test_yes_and_no_exclude_one_another(shell):
    assert shell("up --yes --no").code == 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="making a store needs Python 3.11")
def test_a_passphrase_is_asked_for_once_in_all(shell):
    (shell.folder / ".env").write_text(DOTENV)
    first = on_answers(
        shell,
        ("passphrase of the store: ", "correct horse\n"),
        ("the same again: ", "correct horse\n"),
        arguments=("init", "--passphrase"),
    )
    assert first.code == 0
    (shell.folder / "strongroom.toml").unlink()
    shell.environ["STRONGROOM__STORE__WRAPPERS"] = '[{ kind = "passphrase" }]'
    seen = on_answers(shell, ("passphrase of the store: ", "correct horse\n"), arguments=("up", "--yes"))
    assert seen.code == 0, seen.text
    assert "2 imported" in seen.text
    assert seen.text.count("passphrase of the store") == 1
