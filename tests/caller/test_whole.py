"""The public face, the commands that read and `strongroom-read`, over a real agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from parts import warm
from parts.agent import agent
from strongroom import place
from strongroom.caller import readnow
from strongroom.cli import main as cli
from strongroom.errors import SettingsError
from strongroom.model.ref import Ref
from strongroom.remote import host

pytestmark = pytest.mark.skipif(
    find_spec("uvloop") is None, reason="an agent needs strongroom[agent], Python 3.11"
)

SETTINGS = """
chain = ["env", "files"]

[backend.files]
kind = "file"
variables = "variables.json"
connections = "connections.json"
"""
ENVIRON = {
    "AIRFLOW_VAR_REGION": "eu-west-1",
    "AIRFLOW_VAR_LIMITS": '{"a": [1, 2]}',
    "AIRFLOW_VAR_BOTH": "a variable",
    "AIRFLOW_CONN_BOTH": "http://connection",
    "AIRFLOW_CONN_ORDERS_DB": "postgres://svc:p%40ss@db.example.com:5432/orders?sslmode=require",
    "AIRFLOW_CONN_LAKE": '{"conn_type": "aws", "port": "0", "extra": {"region": {"name": "eu"}, "n": 5}}',
    "AIRFLOW_CONN_BARE": json.dumps({"conn_type": "http", "extra": "{}"}),
    "AIRFLOW_CONN_BROKEN": "no connection at all",
    "AIRFLOW_VAR_HALF": "a variable",
    "AIRFLOW_CONN_HALF": "no connection at all",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    home = tmp_path_factory.mktemp("agent")
    write(home, "variables.json", {"fresh": "old"})
    write(home, "connections.json", {})
    with agent(home, SETTINGS, environ=ENVIRON) as running:
        yield running


def write(home, name, found):
    new = home / (name + ".new")
    new.write_text(json.dumps(found))
    new.chmod(0o600)
    new.rename(home / name)


def run(program, line, environ):
    done = subprocess.run(
        [*program, *line.split()], env=environ, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout, done.stderr


# --- the public face -------------------------------------------------------------------------------------


def test_every_function_asks_the_agent(one):
    said = one.python("""
import asyncio, strongroom
db = strongroom.connection("orders_{what}", what="db")
print(db.host, db.password.reveal(), db.extra["sslmode"].reveal(), strongroom.variable("{a}", a="region"))
print(strongroom.variable("limits", json=True), strongroom.variable("none", "default"))
async def ask():
    print((await strongroom.aconnection("orders_db")) == db, await strongroom.avariable("limits", json=True))
    print(await strongroom.avariable("region"), await strongroom.avariable("none", default=None))
asyncio.run(ask())
with strongroom.open_room() as room:
    print(room.lookup.variable("region"), room.lookup.connection("orders_db") == db)
with strongroom.follow("region", kind="variable") as follow:
    print(follow.current.secret.reveal(), follow.current.backend)
""")
    assert said.splitlines() == [
        "db.example.com p@ss require eu-west-1",
        "{'a': [1, 2]} default",
        "True {'a': [1, 2]}",
        "eu-west-1 None",
        "eu-west-1 True",
        "eu-west-1 env",
    ]


def test_errors_are_those_of_the_library(one):
    asked = """
import asyncio, strongroom
for ask in (
    lambda: strongroom.connection("none"),
    lambda: strongroom.variable("none"),
    lambda: strongroom.variable("region", json=True),
    lambda: strongroom.connection("broken"),
    lambda: strongroom.connection("a/../b"),
    lambda: strongroom.variable(5),
    lambda: asyncio.run(strongroom.avariable("none")),
    lambda: asyncio.run(strongroom.aconnection("none")),
):
    try:
        ask()
    except strongroom.errors.StrongroomError as error:
        print(type(error).__name__, getattr(error, "offset", ""), str(error))
"""
    over_agent = one.python(asked)
    library = subprocess.run(
        [sys.executable, "-c", asked],
        env={"PATH": os.environ["PATH"], "HOME": str(one.home), "STRONGROOM_HOME": str(one.home), **ENVIRON},
        capture_output=True,
        text=True,
        check=True,
        cwd=one.home / "run",
    ).stdout.strip()
    kinds = [line.split(" ", 1)[0] for line in library.splitlines()]
    assert [line.split(" ", 1)[0] for line in over_agent.splitlines()] == kinds
    assert over_agent.splitlines()[:3] == library.splitlines()[:3]
    assert over_agent.splitlines()[4:] == library.splitlines()[4:]


def test_a_room_inside_use_room_goes_before_the_agent(one):
    assert one.python("""
import os, strongroom
environ = {"HOME": os.environ["HOME"], "STRONGROOM_HOME": os.environ["HOME"], "STRONGROOM_AGENT": "off"}
mine = strongroom.open_room(environ=environ | {"AIRFLOW_VAR_REGION": "mine"})
print(strongroom.variable("region"))
with strongroom.use_room(mine):
    print(strongroom.variable("region"))
print(strongroom.variable("region"))
""").split() == ["eu-west-1", "mine", "eu-west-1"]


def test_the_room_of_an_agent_reads_explains_lists_and_says_where_the_rest_is_done(one):
    with host.open_room(place.Place(place.AGENT, "STRONGROOM_SOCKET", str(one.socket)), environ={}) as room:
        ref = Ref("variable", "region")
        assert room.lookup.entry(ref).secret.reveal() == "eu-west-1"
        explained = room.lookup.explain(ref)
        assert (explained.backend, explained.ref) == ("env", ref)
        assert explained.steps
        assert ref in [row.ref for row in room.inventory.page("variable")]
        for noun in ("entries", "transfer", "backends", "keys", "audit", "doctor", "access"):
            with pytest.raises(SettingsError, match="STRONGROOM_SOCKET names an agent"):
                getattr(room, noun)
    with pytest.raises(SettingsError, match="one deployment"):
        host.open_room(place.Place(place.AGENT, None, str(one.socket)), environ={}, deployment="prod")


def test_the_cache_is_bypassed_where_that_is_asked_for(one):
    where = place.Place(place.AGENT, None, str(one.socket))
    ref = Ref("variable", "fresh")
    with (
        host.open_room(where, environ={}) as cached,
        host.open_room(where, environ={}, bypasses_cache=True) as fresh,
    ):
        assert cached.lookup.entry(ref).secret.reveal() == "old"
        write(one.home, "variables.json", {"fresh": "new"})
        assert cached.lookup.entry(ref).secret.reveal() == "old"
        assert fresh.lookup.entry(ref).secret.reveal() == "new"
        assert cached.lookup.entry(ref).secret.reveal() == "new"


def command(line, environ):
    done = warm.run(
        line.split(), env=environ | {"LC_ALL": "C.UTF-8"}, capture_output=True, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout, done.stderr


def test_the_commands_that_read_ask_the_agent_and_the_others_say_where_they_work(one):
    code, out, _ = command("explain variable region --output json", one.environ)
    told = json.loads(out)
    assert (code, told["backend"], told["outcome"]) == (0, "env", "found")
    assert "eu-west-1" not in out.decode()
    code, out, err = command("run --variable region --connection orders_db -- env", one.environ)
    assert code == 0, err
    assert {b"AIRFLOW_VAR_REGION=***", b"AIRFLOW_VAR_REGION=eu-west-1"} & set(out.splitlines())
    for line in ("variables list", "connections get orders_db", "backends list"):
        code, _, err = command(line, one.environ)
        assert code == 7
        assert b"STRONGROOM_SOCKET names an agent" in err


def test_an_agent_that_is_down_is_unavailable_and_nothing_else_is_asked(tmp_path):
    with agent(tmp_path, SETTINGS, environ=ENVIRON, start=False) as never:
        said = never.python(
            """
import strongroom
try:
    strongroom.variable("region", "default")
except strongroom.BackendUnavailableError as error:
    print(error.backend)
""",
            environ=ENVIRON,
        )
    assert said == "agent"


# --- strongroom-read -------------------------------------------------------------------------------------

LINES = [
    "region",
    "region --variable",
    "orders_db",
    "orders_db --connection",
    "orders_db --field password",
    "orders_db --field=extra.sslmode",
    "orders_db --field extra",
    "orders_db --field uri",
    "orders_db --field port",
    "orders_db --field description",
    "orders_db --field nothing",
    "lake",
    "lake --field extra.region.name",
    "lake --field extra.region",
    "lake --field extra.n",
    "lake --field extra.none",
    "lake --field port",
    "bare",
    "bare --field extra",
    "bare --field extra.a",
    "broken",
    "half",
    "half --variable",
    "both",
    "both --variable",
    "none",
    "none --connection",
    "region --bypass-cache",
    "region --team data",
    "region --variable --field host",
    "../x",
]
ELSE = ["--help", "", "region --output json"]  # what the short form leaves to the other


@pytest.mark.parametrize("line", LINES)
def test_strongroom_read_and_its_short_form_answer_alike(one, line, capfdbinary):
    short = readnow.main(line.split(), one.environ), *capfdbinary.readouterr()
    whole = cli.main(["read", *line.split()], one.environ), *capfdbinary.readouterr()
    assert short == whole


def test_where_only_the_other_kind_is_in_trouble_it_is_said_how_to_ask_for_this_one(tmp_path, capfdbinary):
    settings = SETTINGS + 'kinds = ["connection"]\n'
    with agent(tmp_path, settings, environ=ENVIRON) as one:  # with no files: they are unavailable
        for ask in (readnow.main, lambda words, environ: cli.main(["read", *words], environ)):
            assert ask(["region"], one.environ) == 6
            assert b"hint: say --variable or --connection" in capfdbinary.readouterr().err
            assert ask(["region", "--variable"], one.environ) == 0


@pytest.mark.parametrize("line", ELSE)
def test_what_the_short_form_does_not_know_the_other_one_does(one, line):
    environ = one.environ | {"LC_ALL": "C.UTF-8"}
    short = run([sys.executable, "-c", "from strongroom.caller.readnow import run; run()"], line, environ)
    assert short == run([sys.executable, "-m", "strongroom", "read"], line, environ)


def test_without_an_agent_it_is_strongroom_read(tmp_path):
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AIRFLOW_VAR_REGION": "eu"}
    environ["STRONGROOM_HOME"] = str(tmp_path)
    short = run([sys.executable, "-c", "from strongroom.caller.readnow import run; run()"], "region", environ)
    assert short == (0, b"eu", b"")


def test_its_exit_codes_are_those_of_the_command_line():
    assert {kind.code: code for kind, code in cli.EXIT_CODES.items()} == readnow.EXIT_CODES


def test_it_is_an_entry_point_and_loads_no_parser_of_command_lines(one):
    names = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text()
    assert 'strongroom-read = "strongroom.caller.readnow:run"' in names
    loaded = one.python("""
import contextlib, io, os, sys
sys.stdout = io.TextIOWrapper(io.BytesIO())
from strongroom.caller import readnow
code = readnow.main(["region"], os.environ)
loaded = {name.partition(".")[0] for name in sys.modules}
sys.stdout = sys.__stdout__
heavy = {"typer", "rich", "click", "msgspec", "json", "dataclasses", "typing", "argparse"}
print(code, *sorted(loaded & heavy))
""")
    assert loaded == "0"


def test_a_pipe_that_nobody_reads_ends_it_quietly(one):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", "from strongroom.caller.readnow import run; run()", "region"],
        env=one.environ,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
