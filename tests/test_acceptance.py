"""
Real Airflow exports through the real command line: in, out in every form, in again, and to a job.

Every case has rooms of its own; variables speak to them as a person does, in processes of their own, and
connections in one for each way, as starting Python is most of a command's time. What is expected is read
from Airflow's own JSON export with `json` alone; nothing of ours parses here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parts import warm

DATA = Path(__file__).parent / "data"
CONNECTION_FILES = ["connections.json", "connections.yaml", "connections.env", "connections-json.env"]
OUT_CONNECTIONS = {
    "out.json": [],
    "out.yaml": [],
    "out.env": ["--serialization-format", "uri"],
    "out-json.env": ["--serialization-format", "json"],
}
OUT_VARIABLES = {
    "out.json": [],
    "out.yaml": [],
    "out.env": ["--no-descriptions"],
    "environment.env": ["--no-descriptions", "--env-names"],
}

# Reads what it was given as a job without Airflow and without us would.
JOB = """
import json, os, sys
from urllib.parse import parse_qsl, unquote, urlsplit

FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")

def parsed(text):
    if text.startswith("{"):
        found = {field: json.loads(text).get(field) for field in FIELDS}
        extra = found["extra"]
        found["extra"] = json.loads(extra) if isinstance(extra, str) else extra
        return found
    parts = urlsplit(text)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return {
        "conn_type": parts.scheme.replace("-", "_"),
        "description": None,
        "host": unquote(parts.hostname or ""),
        "login": parts.username and unquote(parts.username),
        "password": parts.password and unquote(parts.password),
        "schema": unquote(parts.path[1:]),
        "port": parts.port,
        "extra": json.loads(query["__extra__"]) if "__extra__" in query else query or None,
    }

def given(prefix):
    return {name[len(prefix):]: text for name, text in os.environ.items() if name.startswith(prefix)}

found = {
    "connections": {name: parsed(text) for name, text in given("AIRFLOW_CONN_").items()},
    "variables": given("AIRFLOW_VAR_"),
}
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(found, file)
"""

# Several commands in one process, each with a room of its own.
BATCH = """
import json, os, sys
from strongroom.cli.main import main
for home, *arguments in json.load(sys.stdin):
    if code := main(arguments, {**os.environ, "STRONGROOM_HOME": home}):
        sys.exit(f"exit code {code}: {arguments}")
"""


def environ_in(folder):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "no home"),
        "STRONGROOM_HOME": str(folder / "first"),
    }


def run(folder, *command, stdin=None, by=subprocess.run):
    done = by(
        command,
        cwd=folder,
        env=environ_in(folder),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "no home").exists()


def strongroom(folder, *arguments):
    run(folder, *arguments, by=warm.run)


def go_out_and_come_again(folder, noun, outs, before=()):
    """
    Have the first room do the commands *before* and export to all of *outs*, take each of those into a fresh
    room, and give what that room exports as JSON.
    """
    home = str(folder / "first")
    commands = [[home, *command] for command in before]
    commands += [[home, noun, "export", name, *options] for name, options in outs.items()]
    for name in outs:
        home = str(folder / f"room of {name}")
        commands += [
            [home, "init"],
            [home, noun, "import", str(folder / name)],
            [home, noun, "export", str(folder / f"{name}.again.json")],
        ]
    run(folder, sys.executable, "-c", BATCH, stdin=json.dumps(commands))
    return {name: json.loads((folder / f"{name}.again.json").read_text()) for name in outs}


def given_to_a_job(folder):
    (folder / "job.py").write_text(JOB)
    strongroom(folder, "run", "--", sys.executable, "job.py", "given.json")
    return json.loads((folder / "given.json").read_text())


# --- connections -------------------------------------------------------------------------------


def expected_connections(major, file):
    items = json.loads((DATA / major / "connections.json").read_text())
    expected = {name: as_fields(item) for name, item in items.items()}
    if file != "connections.env":
        return expected
    return {name: as_a_uri_reads(item) for name, item in expected.items()}


def as_fields(item):
    extra = item["extra"]
    return {
        **item,
        # As Airflow spells a type in every form but its file import: docs/compatibility.md, "Files".
        "conn_type": item["conn_type"].replace("-", "_"),
        "extra": json.loads(extra) if isinstance(extra, str) else extra,
    }


def as_a_uri_reads(fields):
    """
    Give what is left of a connection in the URI that Airflow's own export wrote, by Airflow's reading.

    1. The description is lost.
    2. No host and no schema become empty ones; the host comes in lower case.
    3. No login beside a password becomes an empty one; an empty login without a password none.
    4. An extra of texts alone stands in the query, where `true` is read as true itself.
    """
    extra, has_password = fields["extra"], fields["password"] is not None
    if extra and all(isinstance(value, str) for value in extra.values()):
        extra = {key: True if value == "true" else value for key, value in extra.items()}
    return {
        **fields,
        "description": None,
        "host": (fields["host"] or "").lower(),
        "schema": fields["schema"] or "",
        "login": (fields["login"] or "") if has_password else fields["login"] or None,
        "extra": extra,
    }


@pytest.mark.parametrize("file", CONNECTION_FILES)
@pytest.mark.parametrize("major", ["airflow3", "airflow2"])
def test_real_connections_come_in_go_out_come_in_again_and_reach_a_job(tmp_path, major, file):
    expected = expected_connections(major, file)
    assert len(expected) == 60
    come_in = [["init"], ["connections", "import", str(DATA / major / file)]]
    again = go_out_and_come_again(tmp_path, "connections", OUT_CONNECTIONS, come_in)
    exported = json.loads((tmp_path / "out.json").read_text())
    assert {name: as_fields(item) for name, item in exported.items()} == expected
    assert again == dict.fromkeys(OUT_CONNECTIONS, exported)
    given = given_to_a_job(tmp_path)
    assert given["connections"] == {name.upper(): item for name, item in expected.items()}
    assert given["variables"] == {}


# --- variables ---------------------------------------------------------------------------------


def as_import_stores(item):
    """Give text and description of a variable as `airflow variables import` stores them."""
    value, description = item, None
    if isinstance(item, dict) and "value" in item:
        value, description = item["value"], item.get("description")
    return (value if isinstance(value, str) else json.dumps(value, indent=2)), description


@pytest.mark.parametrize("major", ["airflow3", "airflow2"])
def test_real_variables_come_in_go_out_come_in_again_and_reach_a_job(tmp_path, major):
    items = json.loads((DATA / major / "variables.json").read_text())
    expected = {name: as_import_stores(item) for name, item in items.items()}
    texts = {name: text for name, (text, _) in expected.items()}
    assert len(expected) == 18
    strongroom(tmp_path, "init")
    strongroom(tmp_path, "variables", "import", str(DATA / major / "variables.json"))
    come_again = go_out_and_come_again(tmp_path, "variables", OUT_VARIABLES)
    exported = json.loads((tmp_path / "out.json").read_text())
    assert {name: as_import_stores(item) for name, item in exported.items()} == expected
    for name, again in come_again.items():
        if name.endswith(".env"):  # which cannot hold descriptions
            assert {key: as_import_stores(item)[0] for key, item in again.items()} == texts, name
        else:
            assert again == exported, name
    given = given_to_a_job(tmp_path)
    assert given["variables"] == {name.upper(): text for name, text in texts.items()}
    assert given["connections"] == {}
