"""Files that commands read and write: exports, settings, stores, and Airflow's real ones."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from cli_shell import Shell

DATA = Path(__file__).parents[1] / "data"
CANARY = "canary-c4d8"


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


@pytest.fixture
def kept(shell):
    shell("connections add db --conn-uri -", f"postgres://svc:{CANARY}@h:1/s?a=b")
    shell("variables set x", CANARY)
    return shell


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- export --------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", ["connections", "variables"])
@pytest.mark.parametrize("form", ["json", "yaml", "env"])
def test_exports_are_private_and_say_so(kept, noun, form):
    before = os.umask(0)
    try:
        result = kept(f"{noun} export out.{form}")
    finally:
        os.umask(before)
    assert (result.code, "in clear" in result.err) == (0, True)
    assert CANARY not in result.out + result.err
    assert CANARY in (kept.folder / f"out.{form}").read_text()
    assert mode(kept.folder / f"out.{form}") == 0o600
    assert kept(f"{noun} export - --format {form}").out == (kept.folder / f"out.{form}").read_text()


def test_export_replaces_a_file_only_when_told_and_then_whole(kept):
    target = kept.folder / "out.json"
    target.write_text("mine")
    assert kept("connections export out.json").code == 5
    assert target.read_text() == "mine"
    assert kept("connections export out.json --force").code == 0
    assert list(json.loads(target.read_text())) == ["db"]
    assert not [path for path in kept.folder.iterdir() if path.name.startswith(".")]


def test_export_does_not_follow_a_link_to_somewhere_else(kept):
    (kept.folder / "elsewhere").write_text("mine")
    (kept.folder / "out.json").symlink_to("elsewhere")
    (kept.folder / "dangling.json").symlink_to("nowhere")
    assert kept("connections export out.json").code == 5
    assert kept("connections export dangling.json").code == 5
    assert kept("connections export out.json --force").code == 0
    assert (kept.folder / "elsewhere").read_text() == "mine"


def test_a_refused_export_reveals_nothing(kept):
    (kept.folder / "out.json").write_text("mine")
    kept("connections export out.json")
    assert '"reveal"' not in kept("audit tail --output json").out


def test_export_is_recorded_with_its_reason(kept):
    kept(["variables", "export", "-", "--reason", "moving house"])
    assert "moving house" in kept("audit tail --output json").out


@pytest.mark.parametrize("options", ["", "--to env", "--to yaml"])
def test_converted_file_is_private_too(shell, options):
    (shell.folder / "c.json").write_text(json.dumps({"db": f"http://u:{CANARY}@h"}))
    assert shell(f"connections convert c.json {options} --out made").code == 0
    assert mode(shell.folder / "made") == 0o600
    assert shell(f"connections convert c.json {options} --out made").code == 5


# --- import --------------------------------------------------------------------------------------


@pytest.mark.parametrize("airflow", ["airflow2", "airflow3"])
def test_real_exports_come_in_and_go_out_equal(shell, airflow):
    folder = DATA / airflow
    assert "60 connections imported" in shell(f"connections import {folder}/connections.json").out
    assert "18 variables imported" in shell(f"variables import {folder}/variables.json").out
    for form in ("json", "yaml", "env"):
        shell(f"connections export first.{form} --force")
        other = Shell(shell.folder / form)
        other.folder.mkdir()
        other("init")
        assert "60 connections imported" in other(f"connections import ../first.{form}").out
        first, second = (each("connections export - --format json").out for each in (shell, other))
        assert json.loads(first) == json.loads(second)


def test_import_reads_what_airflow_itself_cannot(shell):
    result = shell(f"connections import {DATA}/airflow3/connections-json.env")
    assert "60 connections imported" in result.out


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.json", b""),
        ("cut.json", b'{"db": {"conn_type": "http", "password": "%b'),
        ("bytes.json", b"\xff\xfe\x00"),
        ("twice.json", b'{"db": "http://%b", "db": "http://h"}'),
        ("list.yaml", b"- %b\n"),
        (
            "bomb.yaml",
            b"a: &a [%b]\n"
            + b"".join(b"%c: &%c [*%c, *%c]\n" % (i, i, i - 1, i - 1) for i in range(98, 122)),
        ),
        ("lines.env", b"%b\n"),
        ("deep.json", b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}"),
    ],
)
def test_bad_files_are_refused_whole_and_not_repeated(shell, name, data):
    (shell.folder / name).write_bytes(data.replace(b"%b", CANARY.encode()))
    for noun in ("connections", "variables"):
        result = shell(f"{noun} import {name}")
        assert result.code == 2
        assert CANARY not in result.out + result.err
    assert shell("inventory --output json").out == "[]\n"


def test_new_names_may_stand_in_a_file(shell):
    (shell.folder / "c.json").write_text('{"a\\tb": "http://h", "/c": "http://h"}')
    (shell.folder / "names.json").write_text('{"a\\tb": "ab", "/c": "c"}')
    assert (
        "2 connections imported, 2 renamed" in shell("connections import c.json --rename-file names.json").out
    )
    (shell.folder / "names.json").write_text("[1]")
    assert shell("connections import c.json --rename-file names.json").code == 2


def test_names_with_control_characters_are_shown_written_out(shell):
    (shell.folder / "c.json").write_text('{"a\\u001b[2Jb": "http://h"}')
    result = shell("connections import c.json")
    assert "\x1b" not in result.out + result.err
    assert "a\\u001b[2Jb" in result.out


# --- init ----------------------------------------------------------------------------------------


def test_chosen_places_are_written_to_settings_that_later_commands_find(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "keys").mkdir(mode=0o700)
    made = shell("init --store store/room.db --key-file keys/room.key --audit log --output json")
    assert made.code == 0
    assert json.loads(made.out)["settings"] == "strongroom.toml"
    assert mode(tmp_path / "keys" / "room.key") == 0o600
    assert (tmp_path / "store" / "room.db").is_file()
    assert not (tmp_path / "room").exists()
    shell("variables set x", "1")
    assert shell("read x").out == "1"
    assert shell("doctor").code == 0


def test_settings_are_never_written_over(tmp_path):
    shell = Shell(tmp_path)
    assert shell("init --settings").code == 0
    text = (tmp_path / "strongroom.toml").read_text()
    again = shell("init --store elsewhere.db")
    assert (again.code, "strongroom.toml" in again.err) == (5, True)
    assert (tmp_path / "strongroom.toml").read_text() == text
    assert not (tmp_path / "elsewhere.db").exists()


def test_passphrase_from_a_file_opens_the_store(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "phrase").write_text("correct horse battery staple\n")
    (tmp_path / "phrase").chmod(0o600)
    assert shell("init --passphrase-file phrase").code == 0
    assert "passphrase" in shell("keys status").out
    (tmp_path / "phrase").write_text("another one\n")
    refused = shell("keys status")
    assert (refused.code, "another" in refused.err) == (8, False)


def test_ways_to_hold_the_key_exclude_one_another(tmp_path):
    result = Shell(tmp_path)("init --key-file k --passphrase")
    assert (result.code, "exclude one another" in result.err) == (2, True)


def test_a_store_whose_key_is_gone_is_left_alone(shell):
    (shell.folder / "room" / "key").unlink()
    for command in ("init", "up", "variables list", "read x"):
        assert shell(command).code == 8, command
    assert not (shell.folder / "room" / "key").exists()


def test_doctor_says_why_a_room_does_not_open(shell):
    (shell.folder / "room" / "key").unlink()
    result = shell("doctor --output json")
    (finding,) = [one for one in json.loads(result.out) if one["name"] == "room-closed"]
    assert (result.code, finding["level"]) == (7, "error")
    assert "key" in finding["what"]
    (shell.folder / "strongroom.toml").write_text("[")
    assert shell("doctor").out.startswith("error")


# --- a lost key ----------------------------------------------------------------------------------


def test_the_record_can_be_looked_at_and_proven_without_the_key(kept):
    (kept.folder / "room" / "key").unlink()
    assert kept("variables get x").code == 8
    assert "write" in kept("audit tail").out
    assert "whole" in kept("audit verify").out
