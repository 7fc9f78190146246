"""`connections edit`: a form without secrets, an editor that does anything, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from cli_shell import Shell
from parts import warm
from terminal import on_terminal

CANARY = "canary-31c0"
CONNECTION = {
    "conn_type": "postgres",
    "host": "db.example.com",
    "login": "svc",
    "password": CANARY,
    "port": 5432,
    "extra": {"sslmode": "require", "ssl": {"key": f"{CANARY}-key"}, "hosts": [f"{CANARY}-a", f"{CANARY}-b"]},
}


class Desk:
    """A room with one connection, and an editor that is a Python program."""

    def __init__(self, folder):
        self.folder = folder
        self.shell = Shell.with_room(folder)
        self.runtime = folder / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.shell.environ["XDG_RUNTIME_DIR"] = str(self.runtime)
        assert self.shell("connections add db --conn-json -", json.dumps(CONNECTION)).code == 0

    def editor(self, program: str) -> dict[str, str]:
        """Give the environment with an editor that runs *program* on `text`, the form, and writes it."""
        script = self.folder / "editor.py"
        script.write_text(
            "import json, os, pathlib, sys\n"
            "path = pathlib.Path(sys.argv[-1]); text = path.read_text()\n"
            f"seen = pathlib.Path({str(self.folder / 'seen')!r})\n"
            "seen.write_text(text)\n"
            f"{program}\n"
            "path.write_text(text) if text is not None else path.unlink()\n"
        )
        return {"VISUAL": f"{sys.executable} {script}"}

    def edit(self, program: str, options: str = ""):
        return self.shell(f"connections edit db {options}", **self.editor(program))

    def now(self) -> dict:
        return json.loads(self.shell("read db --connection").out)

    @property
    def seen(self) -> str:
        return (self.folder / "seen").read_text()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    assert list(desk.runtime.iterdir()) == []


def test_the_form_holds_no_secret(desk):
    desk.edit("pass")
    assert CANARY not in desk.seen
    assert "sslmode: require" in desk.seen  # which the type says is none
    assert 'password: "***"' in desk.seen
    assert desk.seen.startswith('# connection "db" in native, version 1\n')


def test_stars_left_as_they_are_keep_the_secrets(desk):
    result = desk.edit("text = text.replace('db.example.com', 'db2.example.com')", "--comment moved")
    assert result.out == 'connection "db": written to native, version 2\n'
    assert desk.now() == {**CONNECTION, "host": "db2.example.com"}
    assert "moved" in desk.shell("connections history db").out


def test_secrets_written_over_are_changed(desk):
    desk.edit(
        "text = text.replace('password: \"***\"', 'password: new')"
        ".replace('sslmode: require', 'sslmode: off')"
    )
    assert desk.now()["password"] == "new"
    # YAML 1.1, as Airflow's files: an unquoted `off` is no text.
    assert desk.now()["extra"]["sslmode"] is False


def test_lines_taken_out_are_taken_away_and_new_ones_added(desk):
    desk.edit(
        "text = text.replace('login: svc\\n', '').replace('extra:\\n', 'extra:\\n  keepalives: 1\\n')"
        ".replace('  ssl:\\n    key: \"***\"\\n', '')"
    )
    assert "login" not in desk.now()
    assert desk.now()["extra"] == {
        "keepalives": 1,
        "sslmode": "require",
        "hosts": CONNECTION["extra"]["hosts"],
    }


def test_port_zero_and_an_empty_extra_are_what_they_say(desk):
    desk.edit("text = 'conn_type: http\\nport: 0\\nextra: {}\\n'")
    assert desk.now() == {"conn_type": "http", "port": "0", "extra": "{}"}  # as Airflow reads them back


def test_facts_beside_the_value_are_edited_too(desk):
    desk.edit(
        "text = text.replace('tags: []', 'tags: [eu, fin]').replace('owner: null', 'owner: data')"
        ".replace('not_after: null', 'not_after: 2099-12-31')"
        ".replace('description: null', 'description: Orders')"
    )
    (row,) = json.loads(desk.shell("connections list --output json").out)
    assert (row["tags"], row["owner"], row["description"]) == (["eu", "fin"], "data", "Orders")
    assert row["not_after"] == "2099-12-31T00:00:00Z"
    assert desk.now()["description"] == "Orders"


@pytest.mark.parametrize("program", ["pass", "text = ''", "text = None", "text = '# only a comment\\n'"])
def test_unchanged_emptied_and_removed_forms_change_nothing(desk, program):
    result = desk.edit(program)
    assert (result.code, result.err) == (0, "strongroom: nothing was changed\n")
    assert len(json.loads(desk.shell("connections history db --output json").out)) == 1


BROKEN = {
    "yaml": "text = 'host: [\\n'",
    "no fields": f"text = '- {CANARY}\\n'",
    "unknown field": f"text = '{CANARY}: 1\\n'",
    "unknown fact": f"text = 'about: {{{CANARY}: 1}}\\n'",
    "port": "text = text.replace('5432', '99999')",
    "nothing to keep": "text = text.replace('login: svc', 'login: \"***\"')",
    "list changed": "text = text.replace('    - \"***\"\\n', '', 1)",
    "date": "text = text.replace('remind_at: null', 'remind_at: soon')",
    "tags": "text = text.replace('tags: []', 'tags: eu')",
    "owner": "text = text.replace('owner: null', 'owner: 1')",
    "references": "text = text.replace('references: false', 'references: 1')",
    "about": "text = 'about: 1\\n'",
}


@pytest.mark.parametrize("program", BROKEN.values(), ids=BROKEN)
def test_a_form_that_does_not_read_back_writes_nothing(desk, program):
    result = desk.edit(program)
    assert result.code == 2
    assert CANARY not in result.out + result.err
    assert desk.now() == CONNECTION


def test_a_form_that_is_not_text_writes_nothing(desk):
    result = desk.edit("path.write_bytes(bytes([255])); sys.exit()")
    assert (result.code, "not UTF-8" in result.err) == (2, True)


def test_a_broken_form_is_offered_again(desk):
    environ = desk.editor(
        "count = desk.read_text() if (desk := path.parent / 'count').exists() else ''\n"
        "desk.write_text(count + 'x')\n"
        "text = text.replace('5432', 'ninety') if not count else text.replace('ninety', '90')"
    )
    seen = on_terminal(
        ["connections", "edit", "db"],
        {**desk.shell.environ, **environ},
        answers=[("edit again? [Y/n] ", "\n")],
    )
    assert seen.code == 0
    assert desk.now()["port"] == 90


def test_a_broken_form_may_be_given_up(desk):
    environ = {**desk.shell.environ, **desk.editor("text = text.replace('5432', 'ninety')")}
    seen = on_terminal(["connections", "edit", "db"], environ, answers=[("edit again? [Y/n] ", "n\n")])
    assert seen.code == 2
    assert desk.now() == CONNECTION


def test_the_form_is_only_for_its_owner(desk):
    desk.edit("seen.write_text(oct(path.stat().st_mode)[-3:] + oct(path.parent.stat().st_mode)[-3:])")
    assert desk.seen == "600700"


def test_a_change_made_meanwhile_is_not_lost(desk):
    add = [
        sys.executable,
        "-m",
        "strongroom",
        *["connections", "add", "db", "--conn-uri", "http://other", "--yes"],
    ]
    program = f"import subprocess; subprocess.run({add!r}, check=True); text = text.replace('5432', '90')"
    result = desk.edit(program)
    assert result.code == 5
    assert desk.now() == {"conn_type": "http", "host": "other", "schema": ""}


@pytest.mark.parametrize("editor", ["false", "/nowhere/editor", "'"])
def test_an_editor_that_fails_writes_nothing(desk, editor):
    result = desk.shell("connections edit db", VISUAL=editor)
    assert result.code == 2
    assert desk.now() == CONNECTION


def test_ctrl_c_in_the_editor_leaves_nothing_behind(desk):
    environ = desk.editor("import signal; os.kill(os.getppid(), signal.SIGINT); signal.pause()")
    seen = on_terminal(["connections", "edit", "db"], {**desk.shell.environ, **environ})
    assert seen.code == 130


def test_what_cannot_be_written_is_refused_before_the_editor_opens(desk):
    environ = {"AIRFLOW_CONN_DB": "http://in-the-environment"}
    result = desk.shell("connections edit db", **environ, **desk.editor("text = text.replace('null', '1')"))
    assert (result.code, "env, which cannot be written" in result.err) == (5, True)
    assert not (desk.folder / "seen").exists()
    program = "text = text.replace('in-the-environment', 'copied')"
    copied = desk.shell("connections edit db --to native --force", **environ, **desk.editor(program))
    assert copied.code == 0
    assert desk.now()["host"] == "copied"


def test_what_is_no_connection_cannot_be_edited(desk):
    result = desk.shell("connections edit broken", AIRFLOW_CONN_BROKEN=f"no scheme {CANARY}", VISUAL="false")
    assert result.code == 9
    assert CANARY not in result.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_leaves_no_form_behind(desk, number):
    ready = desk.folder / "ready"
    os.mkfifo(ready)
    script = desk.folder / "slow.py"
    script.write_text(
        "import pathlib, signal, sys\n"
        f"path = pathlib.Path(sys.argv[-1]); path.write_text('password: {CANARY}')\n"
        f"pathlib.Path({str(ready)!r}).write_text('ready')\n"
        "signal.pause()\n"
    )
    process = warm.Popen(
        ["connections", "edit", "db"],
        env={**desk.shell.environ, "EDITOR": f"{sys.executable} {script}"},
        stdin=subprocess.DEVNULL,
    )
    assert ready.read_text() == "ready"
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert list(desk.runtime.iterdir()) == []


def test_a_port_that_is_none_is_not_explained_by_the_rules_of_uris(desk):
    result = desk.edit("text = text.replace('port: 5432', 'port: many')")
    assert (result.code, result.err.startswith("strongroom: the port is not")) == (2, True)
    assert "URI" not in result.err


def test_what_extends_another_is_edited_by_its_own_fields(desk):
    text = '{"extends": "db", "host": "replica", "login": null}'
    assert desk.shell("connections add top --conn-json - --references", text).code == 0
    program = "text = text.replace('replica', 'other')"
    edited = desk.shell("connections edit top", **desk.editor(program))
    assert (edited.code, "over db" in desk.seen.splitlines()[0]) == (0, True)
    whole = json.loads(desk.shell("read top --connection").out)
    assert (whole["host"], whole["password"], whole.get("login")) == ("other", CANARY, None)
    assert CANARY not in desk.seen


def test_what_extends_another_keeps_its_references(desk):
    assert desk.shell("connections add top --conn-json - --references", '{"extends": "db"}').code == 0
    program = "text = text.replace('references: true', 'references: false')"
    edited = desk.shell("connections edit top", **desk.editor(program))
    assert (edited.code, "extends another" in edited.err) == (2, True)


def test_with_strict_what_is_an_error_is_not_written(desk):
    program = "text = text.replace('db.example.com', 'postgresql://db.example.com')"
    edited = desk.edit(program, "--strict")
    assert (edited.code, "(L10); nothing was written" in edited.err) == (2, True)
    assert desk.now()["host"] == "db.example.com"
    assert "(L10)" in desk.edit(program).err
    assert desk.now()["host"] == "postgresql://db.example.com"
