"""`connections add --interactive`: what is asked, in which order, and what is written of it."""

from __future__ import annotations

import json

import pytest

from cli_shell import Shell
from terminal import on_terminal

CANARY = "canary-77d2"
NONE = ("which (empty for none): ", "\n")
END = ("empty to finish): ", "\n")


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


def add(shell, *answers, name="db", options=()):
    arguments = ["connections", "add", name, "--interactive", *options]
    return on_terminal(arguments, shell.environ, answers=answers, cwd=shell.folder)


def written(shell, name="db"):
    return json.loads(shell(f"read {name}").out)


def test_required_fields_come_first_then_a_way_to_sign_in_then_what_is_named(shell):
    seen = add(
        shell,
        ("type (as postgres, aws, http): ", "postgres\n"),
        ("Host: ", "db.example.com\n"),
        ("Port [5432]: ", "\n"),
        ("Database: ", "orders\n"),
        ("which (empty for none): ", "1\n"),
        ("Login: ", "svc\n"),
        ("Password (not shown): ", f"{CANARY}\n"),
        NONE,
        ("empty to finish): ", "sslmode\n"),
        (") [prefer]: ", "REQUIRE\n"),
        END,
    )
    assert seen.code == 0, seen.text
    assert CANARY not in seen.raw
    assert "Sign in:\n  1  Password\n  2  AWS IAM\n  3  Entra ID\n" in seen.text
    assert written(shell) == {
        "conn_type": "postgres",
        "host": "db.example.com",
        "schema": "orders",
        "login": "svc",
        "password": CANARY,
        "extra": {"sslmode": "require"},
    }


def test_a_way_that_is_a_yes_is_not_asked_about(shell):
    seen = add(
        shell,
        ("Host: ", "db.example.com\n"),
        ("Port [5432]: ", "5433\n"),
        ("Database: ", "\n"),
        ("which (empty for none): ", "2\n"),
        ("Login: ", "svc\n"),
        ("AWS connection [aws_default]: ", "\n"),
        NONE,
        END,
        options=["--conn-type", "postgres"],
    )
    assert seen.code == 0, seen.text
    assert "Password (" not in seen.text
    assert written(shell)["extra"] == {"iam": True}
    assert written(shell)["port"] == 5433


def test_what_was_said_on_the_command_line_is_not_asked(shell):
    options = ["--conn-type", "slack", "--description", "Alerts"]
    seen = add(shell, ("Slack API Token (not shown): ", f"{CANARY}\n"), END, name="chat", options=options)
    assert seen.code == 0, seen.text
    assert written(shell, "chat")["password"] == CANARY
    assert "Alerts" in shell("connections get chat").out


def test_answers_that_do_not_fit_are_asked_for_again(shell):
    seen = add(
        shell,
        ("type (as postgres, aws, http): ", "rediss\n"),
        ("type (as postgres, aws, http): ", "redis\n"),
        ("Host: ", "\n"),
        ("Host: ", "cache\n"),
        ("Port [6379]: ", "many\n"),
        ("Port [6379]: ", "6380\n"),
        ("Login: ", "\n"),
        ("Password (not shown): ", "\n"),
        ("empty to finish): ", "tsl\n"),
        ("empty to finish): ", "ssl\n"),
        ("Enable SSL [false]: ", "perhaps\n"),
        ("Enable SSL [false]: ", "y\n"),
        END,
    )
    assert seen.code == 0, seen.text
    for told in (
        "did you mean redis",
        "Host is required",
        "Port is a whole number",
        "no such field",
        "yes or no",
    ):
        assert told in seen.text
    assert written(shell) == {"conn_type": "redis", "host": "cache", "port": 6380, "extra": {"ssl": True}}


def test_three_answers_that_do_not_fit_end_it_and_write_nothing(shell):
    wrong = ("type (as postgres, aws, http): ", "qqqqqq\n")
    seen = add(shell, wrong, wrong, wrong)
    assert seen.code == 2
    assert "no connection type was given" in seen.text
    assert shell("read db").code == 3


def test_a_key_with_line_breaks_is_read_from_a_file(shell):
    (shell.folder / "key.pem").write_text(f"-----BEGIN\n{CANARY}\n-----END\n")
    seen = add(
        shell,
        ("Host: ", "host\n"),
        ("Port [22]: ", "\n"),
        ("Username: ", "svc\n"),
        ("which (empty for none): ", "2\n"),
        ("Private key, here (a file with it): ", "key.pem\n"),
        ("Passphrase of the key (not shown): ", "\n"),
        NONE,
        END,
        options=["--conn-type", "ssh"],
    )
    assert seen.code == 0, seen.text
    assert written(shell)["extra"] == {"private_key": f"-----BEGIN\n{CANARY}\n-----END"}


def test_without_a_terminal_it_is_refused(shell):
    refused = shell("connections add db --interactive")
    assert refused.code == 2
    assert "there is no terminal to ask on" in refused.err


def test_a_whole_connection_and_questions_exclude_one_another(shell):
    refused = shell("connections add db --interactive --conn-uri -", "http://h")
    assert refused.code == 2
    assert "--interactive asks for the fields" in refused.err


def test_where_the_input_ends_nothing_is_written(shell):
    seen = add(shell, ("which (empty for none): ", "\x04"), options=["--conn-type", "aws"])
    assert seen.code == 2
    assert "the input ended before the last answer" in seen.text
    assert shell("read db").code == 3


def test_a_secret_that_a_terminal_cuts_off_is_not_taken(shell):
    cut = ("Slack API Token (not shown): ", CANARY * 500 + "\n")
    seen = add(shell, cut, cut, cut, options=["--conn-type", "slack"])
    assert seen.code == 2
    assert "a terminal takes no line as long as that" in seen.text
    assert "--password-file" in seen.text
    assert CANARY not in seen.raw
    assert shell("read db").code == 3


def test_control_characters_are_asked_about_again(shell):
    seen = add(
        shell,
        ("Slack API Token (not shown): ", f"{CANARY}\x1b[D\n"),
        ("Slack API Token (not shown): ", f"{CANARY}\n"),
        ("empty to finish): ", "base\x1b[Durl\n"),
        END,
        options=["--conn-type", "slack"],
    )
    assert seen.code == 0, seen.text
    assert seen.text.count("holds a control character") == 2
    assert written(shell)["password"] == CANARY
    assert CANARY not in seen.raw


def test_a_port_that_is_none_is_asked_about_at_once(shell):
    seen = add(
        shell,
        ("Host: ", "h\n"),
        ("Port [22]: ", "70000\n"),
        ("Port [22]: ", "2222\n"),
        ("Username: ", "svc\n"),
        NONE,
        NONE,
        END,
        options=["--conn-type", "ssh"],
    )
    assert seen.code == 0, seen.text
    assert written(shell)["port"] == 2222


def test_what_is_not_utf_8_is_asked_for_again_without_showing_it(shell):
    seen = add(
        shell,
        ("Slack API Token (not shown): ", b"\xff\xfe\n"),
        ("Slack API Token (not shown): ", f"{CANARY}\n"),
        END,
        options=["--conn-type", "slack"],
    )
    assert seen.code == 0, seen.text
    assert "what was typed is not UTF-8" in seen.text
    assert written(shell)["password"] == CANARY
