"""How a command starts and ends: exit codes, errors for people and programs, cold starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from cli_shell import Shell
from parts import warm
from strongroom import errors
from strongroom.cli import answering
from strongroom.cli.main import EXIT_CODES, main
from strongroom.cli.session import Session
from strongroom.cli.value import Request, parse

CANARY = "canary-7f3a9b"
CODES = {
    errors.InvalidInputError("m", offset=3): 2,
    errors.NotFoundError("m", asked=[("env", "absent")]): 3,
    errors.AccessDeniedError("m", reason="no"): 4,
    errors.NotAuthenticatedError("m"): 4,
    errors.ConflictError("m", current_version="7"): 5,
    errors.ReadOnlyError("m"): 5,
    errors.BackendUnavailableError("m", backend="vault", retry_after=timedelta(seconds=2)): 6,
    errors.RateLimitedError("m"): 6,
    errors.BackendConfigError("m"): 7,
    errors.SettingsError("m", key="cache.ttl"): 7,
    errors.NotRecordedError("m", folder="/audit"): 7,
    errors.SealedError("m"): 8,
    errors.MalformedEntryError("m", backend="env", ref="variable x"): 9,
    errors.TamperedError("m"): 9,
}


class Failing(Mapping):
    """An environment that fails when a command first looks at it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key):
        raise self.error

    def __iter__(self):
        raise self.error

    def __len__(self):
        return 1


def ends(error: BaseException, capsys, *options: str) -> tuple[int, str]:
    code = main(["variables", "list", *options], Failing(error))
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


# --- exit codes ----------------------------------------------------------------------------------


def test_every_error_has_an_exit_code():
    named = {getattr(errors, name) for name in errors.__all__} - {errors.StrongroomError}
    assert set(EXIT_CODES) == named
    assert {type(error) for error in CODES} == named


@pytest.mark.parametrize(("error", "code"), CODES.items(), ids=lambda value: type(value).__name__)
def test_error_ends_the_command_with_its_code(error, code, capsys):
    error.hint = "do this"
    found, said = ends(error, capsys)
    assert found == code
    assert re.fullmatch(r"strongroom: m( \(at offset 3\))?\nhint: do this\n", said)


@pytest.mark.parametrize("error", CODES, ids=lambda error: type(error).__name__)
def test_error_is_told_to_programs_as_json_with_its_evidence(error, capsys):
    error.hint = "do this"
    told = json.loads(ends(error, capsys, "--output", "json")[1])["error"]
    assert (told.pop("code"), told.pop("message"), told.pop("hint")) == (error.code, "m", "do this")
    assert set(told) == set(vars(error)) - {"hint"}
    assert told.get("retry_after") in (None, 2.0)


def test_control_characters_in_a_message_are_written_out(capsys):
    assert ends(errors.NotFoundError("a\x1b[2Jb"), capsys)[1] == "strongroom: a\\u001b[2Jb\n"


def test_ctrl_c_ends_quietly(capsys):
    assert ends(KeyboardInterrupt(), capsys) == (130, "")


def test_a_closed_pipe_ends_quietly(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    ended = warm.run(
        ["--help"], stdout=writing, stderr=subprocess.PIPE, env={"STRONGROOM_HOME": str(tmp_path)}
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


# --- what nobody expected ------------------------------------------------------------------------


def test_unexpected_failure_is_told_by_class_and_place_alone(capsys):
    code, said = ends(KeyError(CANARY), capsys)
    assert code == 1
    assert re.fullmatch(
        r"strongroom: unexpected KeyError at [\w/]+\.py:\d+\nhint: say --debug to see where it came from\n",
        said,
    )


def test_debug_shows_the_way_there_without_values(capsys):
    error = KeyError(CANARY)
    error.__cause__ = ValueError(CANARY)
    _, said = ends(error, capsys, "--debug")
    assert CANARY not in said
    assert "in main\n" in said
    assert "  ValueError\n" in said
    assert said.index("  ValueError\n") < said.index("  KeyError\n") < said.index("strongroom: unexpected")


def test_unexpected_failure_is_told_to_programs_as_json(capsys):
    told = json.loads(ends(RuntimeError(CANARY), capsys, "-o", "json")[1])["error"]
    assert told["code"] == "error"
    assert "RuntimeError" in told["message"]


def test_names_the_terminal_cannot_show_stop_nothing(tmp_path):
    shell = Shell.with_room(tmp_path)
    shell("variables set größe", "1")
    ended = subprocess.run(
        [sys.executable, "-m", "strongroom", "variables", "list"],
        env={**shell.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0
    assert b"gr\\xf6\\xdfe" in ended.stdout


# --- reading by programs -------------------------------------------------------------------------

READS = [
    ["region"],
    ["region", "--variable"],
    ["--connection", "orders_db"],
    ["orders_db", "--field", "password"],
    ["orders_db", "--field=extra.key"],
    ["region", "--config", "a.toml", "--deployment=prod", "--team", "data"],
]


@pytest.mark.parametrize("arguments", READS, ids=" ".join)
def test_the_quick_reading_of_a_command_line_agrees_with_the_full_one(arguments, tmp_path):
    quick = parse(arguments, session := Session(environ={}))
    assert quick is not None
    shell = Shell.with_room(tmp_path)
    (tmp_path / "a.toml").write_text(f'deployment = "prod"\n[store]\npath = "{tmp_path}/room/store.db"\n')
    # A flag that changes nothing takes the full way.
    first, second = shell(["read", *arguments]), shell(["read", *arguments, "--output", "table"])
    assert first == second
    said = (session.config, session.deployment, session.team)
    assert said == (("a.toml", "prod", "data") if "--team" in arguments else (None, None, None))


@pytest.mark.parametrize(
    "arguments",
    [[], ["a", "b"], ["--help"], ["a", "--field"], ["a", "--output", "json"], ["a", "-x"], ["--", "a"]],
    ids=" ".join,
)
def test_unusual_command_lines_are_left_to_the_full_reading(arguments):
    session = Session(environ={})
    assert parse(arguments, session) is None
    assert session == Session(environ={})


def test_request_holds_what_was_said():
    session = Session(environ={})
    assert parse(["a", "--connection", "--field", "host"], session) == Request("a", "connection", "host")


@pytest.mark.parametrize("value", ["plain", "ends with a line\n", "", "\u00e4\U0001f511", "a\r\nb\n\n"])
def test_read_writes_exactly_the_bytes_of_the_value(value, tmp_path):
    shell = Shell.with_room(tmp_path)
    assert shell("variables set x --exact --value-stdin", value).code == 0
    assert shell("read x").out == value


def test_read_loads_neither_typer_nor_rich(tmp_path):
    program = (
        "import sys; from strongroom.cli.main import main; import os\n"
        "code = main(['read', 'region'], os.environ)\n"
        "heavy = {'typer', 'rich', 'tomlkit', 'alembic', 'ruamel'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)\n"
    )
    Shell.with_room(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"STRONGROOM_HOME": str(tmp_path / "room"), "AIRFLOW_VAR_REGION": "eu"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"eu", b"")


# --- an agent that serves ---------------------------------------------------------------------------


def test_the_usual_command_lines_of_an_agent_are_read_without_the_full_reading():
    session = Session(environ={})
    assert answering.parse([], session) == answering.Request(None)
    assert session == Session(environ={})
    line = ["--socket", "/run/a.sock", "--config=a.toml", "--deployment", "prod"]
    assert answering.parse(line, session) == answering.Request("/run/a.sock")
    assert (session.config, session.deployment) == ("a.toml", "prod")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["--once"],
        ["--help"],
        ["--socket"],
        ["--socket="],
        ["--socket", "--once"],
        ["--socket", "/run/a.sock", "status"],
        ["--config", "a.toml", "-o", "json"],
        ["--profile", "prod"],
    ],
    ids=" ".join,
)
def test_unusual_command_lines_of_an_agent_are_left_to_the_full_reading(arguments):
    session = Session(environ={})
    assert answering.parse(arguments, session) is None
    assert session == Session(environ={})


def test_an_agent_that_serves_keeps_no_parser_of_command_lines_in_memory(tmp_path):
    program = (
        "import os, signal, sys; from strongroom.cli.main import main\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "code = main(['agent', '--socket', sys.argv[1]], os.environ)\n"
        "heavy = {'typer', 'rich', 'email', 'tomlkit', 'shutil', 'strongroom.wire.shapes'}\n"
        "print(code, sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run" / "agent.sock")]
    with subprocess.Popen(
        command,
        env={"STRONGROOM_HOME": str(tmp_path / "room"), "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as agent:
        assert "answering at" in agent.stdout.readline()
        agent.terminate()
        assert agent.stdout.readline() == "0 []\n"


# --- streams and signals ----------------------------------------------------------------------------


def _process(shell, line, **kwargs):
    environ = {**shell.environ, **kwargs.pop("environ", {})}
    script = f'exec "$@" {kwargs.pop("redirected", "")}'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "strongroom", *line.split()]
    return subprocess.run(command, env=environ, capture_output=True, check=False, **kwargs)


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("line", ["read region", "variables list", "variables list -o json", "--help"])
def test_an_answer_that_cannot_be_written_is_an_error(tmp_path, line, is_closed):
    shell = Shell.with_room(tmp_path)
    shell("variables set region", "eu")
    if is_closed:
        ended = _process(shell, line, redirected=">&-")
    else:
        with Path("/dev/full").open("wb") as full:
            ended = warm.run(line.split(), env=shell.environ, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 2
    assert b"the answer cannot be written" in ended.stderr


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
def test_the_exit_code_tells_where_stderr_cannot(tmp_path, redirected):
    assert _process(Shell.with_room(tmp_path), "read nope", redirected=redirected).returncode == 3


@pytest.mark.parametrize(
    "line", ["variables set x", "connections add x --conn-uri -", "variables delete region"]
)
def test_a_closed_stdin_is_no_value_and_no_answer(tmp_path, line):
    shell = Shell.with_room(tmp_path)
    shell("variables set region", "eu")
    ended = _process(shell, line, redirected="<&-")
    assert (ended.returncode, b"unexpected" in ended.stderr) == (2, False)
    assert shell("variables list").out.count("native") == 1


def test_closed_streams_do_not_let_the_store_or_the_record_take_their_place(tmp_path):
    shell = Shell.with_room(tmp_path)
    assert _process(shell, "variables set x", input=b"1", redirected=">&- 2>&-").returncode == 2
    assert shell("read x").out == "1"
    assert shell("audit verify").code == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_programs_read_is_utf_8_on_any_terminal(tmp_path, encoding):
    shell = Shell.with_room(tmp_path)
    shell(["variables", "set", "größe", "--description", "€"], "é€")
    environ = {"PYTHONIOENCODING": encoding}
    for line in ("variables list -o json", "variables get größe -o json"):
        assert json.loads(_process(shell, line, environ=environ).stdout)
    for line in ("variables list -o yaml", "variables export - --format yaml"):
        assert "größe" in _process(shell, line, environ=environ).stdout.decode()
