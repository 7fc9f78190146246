"""Secrets on their way in: nothing from the command line, everything else exactly."""

from __future__ import annotations

import json

import pytest

from cli_shell import Shell

CANARY = "canary-9b2e"

REFUSED = {
    "password": ["--conn-type", "http", "--conn-password", CANARY],
    "password with =": ["--conn-type", "http", f"--conn-password={CANARY}"],
    "uri": ["--conn-uri", f"http://u:{CANARY}@h"],
    "uri, quoted": ["--conn-uri", f"http://u:{CANARY}%40@h"],
    "uri, query": ["--conn-uri", f"aws://?aws_secret_access_key={CANARY}"],
    "uri, extra": ["--conn-uri", f"aws://?__extra__=%7B%22token%22%3A%22{CANARY}%22%7D"],
    "uri in host": ["--conn-uri", f"http://https%3A%2F%2Fu%3A{CANARY}%40h"],
    "no uri": ["--conn-uri", CANARY],
    "broken uri": ["--conn-uri", f"http://u:{CANARY}@h:port"],
    "json": ["--conn-json", json.dumps({"conn_type": "http", "password": CANARY})],
    "json extra": ["--conn-json", json.dumps({"conn_type": "http", "extra": {"a": {"b": [CANARY]}}})],
    "json extra text": ["--conn-json", json.dumps({"conn_type": "http", "extra": json.dumps({"k": CANARY})})],
    "broken json": ["--conn-json", f'{{"password": "{CANARY}"'],
    "unknown field": ["--conn-json", json.dumps({CANARY: 1})],
    "extra": ["--conn-type", "http", "--conn-extra", json.dumps({"key": CANARY})],
    "extra, public key": ["--conn-type", "http", "--conn-extra", json.dumps({"sslmode": f"{CANARY}:@!"})],
    "broken extra": ["--conn-type", "http", "--conn-extra", CANARY],
    "host": ["--conn-type", "http", "--conn-host", f"https://u:{CANARY}@h"],
    "schema": ["--conn-type", "http", "--conn-schema", f"u:{CANARY}@h"],
    "unknown option": ["--conn-type", "http", f"--conn-pass={CANARY}"],
    "one argument too many": ["--conn-type", "http", CANARY],
    "port": ["--conn-type", "http", "--conn-port", CANARY],
    "date": ["--conn-type", "http", "--not-after", CANARY],
}
TAKEN = {
    "uri": ["--conn-uri", "postgres://svc@db:5432/orders?sslmode=require&keepalives=1"],
    "json": ["--conn-json", '{"conn_type": "aws", "extra": {"region_name": "eu-west-1", "verify": false}}'],
    "extra": [
        "--conn-type",
        "generic",
        "--conn-extra",
        '{"timeout": 10, "flag": true, "none": null, "empty": ""}',
    ],
    "empty password": ["--conn-type", "http", "--conn-password", ""],
}


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_secret_on_the_command_line_is_refused_and_not_repeated(shell, options, output):
    result = shell(["connections", "add", "x", *options, "--output", output])
    assert result.code == 2
    assert CANARY not in result.out + result.err
    assert "hint" in result.err
    assert shell("connections list --output json").out == "[]\n"
    assert CANARY not in shell("audit tail --output json").out


@pytest.mark.parametrize("options", TAKEN.values(), ids=TAKEN)
def test_what_holds_no_secret_may_stand_on_the_command_line(shell, options):
    assert shell(["connections", "add", "x", *options]).code == 0


@pytest.mark.parametrize("arguments", [[CANARY], ["--json", CANARY], [CANARY, "--description", "d"]])
def test_value_of_a_variable_on_the_command_line_is_refused(shell, arguments):
    result = shell(["variables", "set", "x", *arguments], "from stdin")
    assert (result.code, CANARY in result.err) == (2, False)
    assert "stdin" in result.err
    assert shell("read x").code == 3


@pytest.mark.parametrize(
    ("stdin", "options", "value"),
    [
        ("a\n", "", "a"),
        ("a\r\n", "", "a"),
        ("a\n\n", "", "a\n"),
        ("a\n", "--exact", "a\n"),
        ("", "", ""),
        ("a", "--value-file -", "a"),
        (" a ", "--value-stdin", " a "),
    ],
)
def test_one_newline_at_the_end_of_a_value_is_dropped(shell, stdin, options, value):
    assert shell(f"variables set x {options}", stdin).code == 0
    assert shell("read x").out == value


def test_password_and_whole_connections_come_from_files(shell):
    (shell.folder / "pw").write_text(f"{CANARY}\n")
    (shell.folder / "uri").write_text(f"http://u:{CANARY}@h\n")
    assert shell("connections add a --conn-type http --password-file pw").code == 0
    assert shell("connections add b --conn-uri @uri").code == 0
    assert shell("read a --field password").out == shell("read b --field password").out == CANARY


def test_stdin_serves_one_option_only(shell):
    result = shell("connections add x --conn-type http --conn-extra - --password-stdin", "{}")
    assert (result.code, "only once" in result.err) == (2, True)
    result = shell("connections add x --conn-type http --password-file f --password-stdin", "{}")
    assert (result.code, "not from both" in result.err) == (2, True)
    result = shell("variables set x --value-file f --value-stdin", "{}")
    assert (result.code, "not from both" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\xff\xfe", "not UTF-8"), (b"a" * 1_048_580, "bytes")],
    ids=["not UTF-8", "over the limit"],
)
def test_unfit_values_are_refused(shell, data, said):
    result = shell("variables set x", data)
    assert (result.code, said in result.err) == (2, True)
    assert len(result.err) < 300


def test_value_of_exactly_the_limit_is_kept(shell):
    assert shell("variables set x", b"a" * 1_048_576 + b"\n").code == 0
    assert len(shell("read x").out) == 1_048_576


@pytest.mark.parametrize("source", ["nowhere", ".", "a\0b"])
def test_files_that_cannot_be_read_are_refused_without_their_names(shell, source):
    result = shell(["variables", "set", "x", "--value-file", source])
    assert (result.code, "cannot be read" in result.err) == (2, True)
    assert source == "." or source not in result.err


def test_description_is_kept_beside_the_connection_and_in_it(shell):
    shell("connections add x --conn-type http --conn-description Orders")
    assert shell("read x --field description").out == "Orders"
    assert json.loads(shell("connections list --output json").out)[0]["description"] == "Orders"
