"""The secrets backend in real Airflow: what it answers, what stops Airflow, and what it costs to have it."""

from __future__ import annotations

import json

import pytest

from parts.agent import agent
from parts.server import serving
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

PASSWORD = "pl/ace 'of' ü secrets"
CONNECTIONS = {
    "good": f"postgres://user:{'pl%2Face%20%27of%27%20%C3%BC%20secrets'}@Host/db?a=1&b=true",
    "as_json": json.dumps({"conn_type": "http", "password": PASSWORD, "extra": {"deep": [1, {"x": None}]}}),
    "broken": "my_conn://user:of-a-broken-one@host",
}
VARIABLES = {"good": "value of good", "empty": "", "text_json": '{"a": [1, 2]}'}
# What Airflow would find next, if it went on.
PLANTED = {
    f"AIRFLOW_{kind}_{name}": "postgres://planted" if kind == "CONN" else "planted"
    for kind in ("CONN", "VAR")
    for name in ("DENIED_X", "DOWN_X", "BROKEN")
}
DAG = """
import datetime, json, os
try:
    from airflow.sdk import DAG, BaseHook, Variable, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
from stage import caught

def look():
    one = BaseHook.get_connection("good")
    calls = [(BaseHook.get_connection, (name,)) for name in ("denied_x", "down_x", "broken")]
    calls += [(Variable.get, (name,)) for name in ("denied_x", "down_x")]
    refused = [caught(call, *arguments) for call, arguments in calls]
    return {"found": [one.host, one.password, one.extra_dejson, Variable.get("good")], "refused": refused}

with DAG("looking", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    @task
    def looks():
        return look()

    looks()

with DAG("failing", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    @task
    def fails():
        with open(os.environ["AIRFLOW_HOME"] + "/looked.json", "w") as out:
            json.dump(look(), out)
        Variable.get("denied_x")

    fails()
"""
AT_TOP = """
# a dag of airflow's, as far as a look at these words tells
try:
    from airflow.sdk import Variable
except ImportError:
    from airflow.models import Variable
Variable.get("down_x")
"""
SCRIPT = """
import asyncio, json, os, sys, threading, time

FORBIDDEN = ("open", "os.open", "socket.", "subprocess.", "os.fork", "os.listdir", "sqlite3.", "ctypes.")
seen, is_watching = [], False

def watch(event, arguments):
    if is_watching and event.startswith(FORBIDDEN):
        seen.append(event)

class Looking:
    "Notes what we are the first to import."
    found = []

    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame is not None and not name.startswith("strongroom"):
            if "/strongroom/" in frame.f_code.co_filename:
                self.found.append(name)
                break
            frame = frame.f_back

sys.meta_path.insert(0, Looking())
import airflow
from airflow.configuration import conf, ensure_secrets_loaded
ours = ensure_secrets_loaded()[0]
tell(first=type(ours).__module__ + "." + type(ours).__name__)
tell(loaded=sorted(name for name in sys.modules if name.startswith("strongroom")), caused=Looking.found)
del sys.meta_path[0]
IS_3 = airflow.__version__.startswith("3")

sys.addaudithook(watch)
before = set(sys.modules), threading.active_count(), len(os.listdir("/proc/self/fd"))
is_watching = True
from strongroom.airflow import StrongroomBackend
for kwargs in ({}, {"settings": "/not/there"}, {"chain": "{"}, {"what": 1}, {"socket": "/not/there"}):
    StrongroomBackend(**kwargs)
is_watching = False
after = set(sys.modules), threading.active_count(), len(os.listdir("/proc/self/fd"))
tell(making=[sorted(after[0] - before[0]), after[1] - before[1], after[2] - before[2], seen])

from airflow.models import Connection, Variable

def shown(found):
    names = ("conn_type", "host", "login", "password", "schema", "port", "extra_dejson")
    return found if found is None or isinstance(found, str) else [getattr(found, name) for name in names]

def apart(call, *arguments, **options):
    # On a thread: no top level of a file stands on its stack.
    told = []
    run = threading.Thread(target=lambda: told.append(caught(lambda: shown(call(*arguments, **options)))))
    run.start()
    run.join()
    return told[0]

# --- as Airflow asks, the core's way and the Task SDK's ------------------------------------------------
ways = {"core": (Connection.get_connection_from_secrets, Variable.get, "default_var")}
if IS_3:
    from airflow.sdk import Connection as TaskConnection, Variable as TaskVariable
    ways["sdk"] = (TaskConnection.get, TaskVariable.get, "default")
NAMES = ("good", "as_json", "broken", "denied_x", "down_x", "absent_x")
for way, (connection, variable, default) in ways.items():
    tell(**{way: {
        "connections": {name: apart(connection, name) for name in NAMES},
        "variables": {name: apart(variable, name) for name in ("good", "empty", "denied_x", "down_x")},
        "defaults": {
            name: apart(variable, name, **{default: "DEFAULT"}) for name in ("denied_x", "down_x", "absent_x")
        },
    }})

# --- the same from other places ------------------------------------------------------------------------
given = json.loads(os.environ["GIVEN"])
for place, options in given.items():
    one = StrongroomBackend(**options)
    tell(**{place: {
        "connections": {name: apart(one.get_connection, name) for name in NAMES},
        "variables": {name: apart(one.get_variable, name) for name in ("good", "denied_x", "absent_x")},
        "config": apart(one.get_config, "absent_x"),
    }})

# --- what is wrong -------------------------------------------------------------------------------------
wrong = {
    "unknown": {"sokcet": "/x"},
    "two places": {"socket": "/x", "settings": "/y"},
    "no json": {"chain": '["env"'},
    "no file": {"settings": "/not/there.toml"},
    "no socket": {"socket": "/not/there.sock"},
    "no server": {"url": "http://127.0.0.1:9", "token": "srm_t_secret-of-mine"},
    "bad token": {"url": given["server"]["url"], "token": "srm_t_secret-of-mine"},
    "no kind": {"chain": '[{"name": "x", "kind": "nokind"}]'},
    "no class": {"chain": ["not.there.VaultBackend"]},
}
tell(wrong={name: apart(StrongroomBackend(**kwargs).get_variable, "good") for name, kwargs in wrong.items()})
tell(names={name: apart(ours.get_variable, name) for name in ("../up", "a\\\\b", "x" * 251)})
tell(next=apart(StrongroomBackend(**given["library"], on_unavailable="next").get_variable, "down_x"))
tell(next_denied=apart(StrongroomBackend(**given["library"], on_unavailable="next").get_variable, "denied_x"))

def held_by(call):
    "Give the text of every local variable of every frame of what *call* raised."
    told = []
    try:
        call()
    except BaseException as error:
        one = error
        while one is not None:
            frame = one.__traceback__
            while frame is not None:
                told += [f"{name}={value!r}" for name, value in frame.tb_frame.f_locals.items()]
                frame = frame.tb_next
            told += [f"{one.__cause__!r}", f"{vars(one)!r}"]
            one = one.__context__
    return [line for line in told if "of-a-broken-one" in line or "secret-of-mine" in line]

library = StrongroomBackend(**given["library"])
stranger = StrongroomBackend(url=given["server"]["url"], token="srm_t_secret-of-mine")
tell(held=[held_by(lambda: library.get_connection("broken")), held_by(lambda: stranger.get_variable("x"))])

async def in_triggers():
    async def asks(name):
        return ours.get_variable(name)
    tasks = [asyncio.create_task(asks(name)) for name in ("good", "denied_x", "down_x", "good")]
    await asyncio.wait(tasks)
    return [type(one.exception()).__name__ if one.exception() else one.result() for one in tasks]

tell(triggers=caught(asyncio.run, in_triggers()))
os.environ["AIRFLOW_VAR__DATA___OF_TEAM"] = "of the team"
os.environ["AIRFLOW_CONN__DATA___OF_TEAM"] = "http://of-the-team"
environment, of_team = StrongroomBackend(chain="env"), StrongroomBackend(chain="env", team="data")
tell(team=[
    environment.get_variable("of_team", team_name="data"),
    environment.get_variable("of_team"),
    of_team.get_variable("of_team"),
    of_team.get_variable("of_team", team_name="other"),
])
tell(team_connections=[
    environment.get_conn_value("of_team", team_name="data"),
    environment.get_conn_value("of_team"),
    of_team.get_conn_value("of_team"),
    of_team.get_conn_value("of_team", team_name="other"),
])
unsaid = StrongroomBackend()
home = os.environ.pop("STRONGROOM_HOME")
tell(unsaid=[apart(unsaid.get_variable, "absent_x"), apart(unsaid.get_variable, "absent_y")])
os.environ["STRONGROOM_HOME"] = home

# --- one client a process ------------------------------------------------------------------------------
reader, writer = os.pipe()
source = ours.source()
child = os.fork()
if child == 0:
    try:
        told = [ours.get_variable("good"), ours.source() is source, ours.source().kind]
        os.write(writer, json.dumps(told).encode())
    finally:
        os._exit(0)
os.waitpid(child, 0)
tell(child=json.loads(os.read(reader, 65536)), parent=[ours.get_variable("good"), ours.source() is source])
again = StrongroomBackend(**json.loads(os.environ["AIRFLOW__SECRETS__BACKEND_KWARGS"]))
tell(shared=again.source() is source)

import strongroom
tell(face=[strongroom.variable("good"), strongroom.connection("good").host])
tell(aface=asyncio.run(strongroom.avariable("good")))

# --- in Dag files, tasks and commands ------------------------------------------------------------------
tell(run=run_dag("looking"), errors={os.path.basename(k): v for k, v in bag().import_errors.items()})
tell(failing=run_dag("failing", is_supervised=True))
tell(supervised=json.loads((HOME / "looked.json").read_text()))

import contextlib, io
from airflow.cli import cli_parser

def command(*words):
    arguments = cli_parser.get_parser().parse_args(words)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        told = caught(arguments.func, arguments)
    return told, out.getvalue()

tell(commands={
    "good": command("variables", "get", "good"),
    "connection": command("connections", "get", "good", "-o", "json"),
    "denied_x": command("variables", "get", "denied_x"),
    "down_x": command("connections", "get", "down_x"),
})
"""
IN_TASKS_OF_3 = """
# --- the API server, as a worker sees it ---------------------------------------------------------------
os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
import httpx
from airflow.sdk.api.client import Client
from airflow.sdk.execution_time.supervisor import in_process_api_server
transport = in_process_api_server().transport
raw = httpx.Client(transport=transport, base_url="http://in-process.invalid")
answers = {}
for name in ("good", "denied_x", "down_x", "broken", "absent_x"):
    answer = raw.get(f"/connections/{name}")
    answers[name] = [answer.status_code, answer.json().get("detail")]
worker = Client(base_url="http://in-process.invalid/", token="", transport=transport)
tell(api=answers, worker=caught(lambda: worker.connections.get("denied_x").error.value))

# --- a loop of triggers --------------------------------------------------------------------------------
import greenback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOGETHER = threading.Barrier(3)

class Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "slow" in self.path:
            TOGETHER.wait(30)  # nobody is answered before three have asked
        metadata = {"version": 1, "created_time": "2024-01-01T00:00:00Z", "deletion_time": ""}
        metadata["destroyed"] = False
        body = {"request_id": "1", "data": {"data": {"conn_uri": "postgres://slow"}, "metadata": metadata}}
        body = json.dumps(body)
        self.send_response(200 if "slow" in self.path else 404)
        self.send_header("Content-Type", "application/json")
        body = body if "slow" in self.path else '{"errors": []}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass

store = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=store.serve_forever, daemon=True).start()
os.environ["TOKEN_OF_TESTS"] = "hvs.one"
vault = {"url": f"http://127.0.0.1:{store.server_port}", "token": {"env": "TOKEN_OF_TESTS"}}
slow = StrongroomBackend(chain=["vault"], backend={"vault": vault})
slow._set_connection_class(TaskConnection)
os.environ["AIRFLOW_CONN_ONLY_HERE"] = "postgres://only-here"

async def awaited():
    before = {one.name for one in threading.enumerate()}
    three = await asyncio.gather(*(slow.aget_connection(f"slow_{number}") for number in range(3)))
    missed = await slow.aget_connection("only_here")
    nowhere = await slow.aget_connection("absent_x")
    threads = {one.name for one in threading.enumerate()} - before
    return [one.host for one in three], [missed.host, missed.extra_dejson], nowhere, sorted(threads)

async def through_portal():
    async def one(number):
        await greenback.ensure_portal()
        return slow.get_connection(f"slow_{number}").host, slow.get_variable("absent_x")
    return await asyncio.gather(*(one(number) for number in range(10, 13)))

async def through_agent():
    one = await TaskConnection.async_get("good")
    failed = await asyncio.gather(
        *(TaskConnection.async_get(name) for name in ("denied_x", "down_x", "broken")), return_exceptions=True
    )
    return one.password, [type(error).__name__ for error in failed]

tell(awaited=caught(asyncio.run, awaited()), portal=caught(asyncio.run, through_portal()))
tell(agent_awaited=caught(asyncio.run, through_agent()))
"""
SETTINGS = """
chain = ["kept", "open", "dead"]
[cache]
stale_if_error = 0
[backend.kept]
kind = "file"
connections_file_path = "{folder}/connections.json"
variables_file_path = "{folder}/variables.json"
[backend.open]
kind = "file"
connections_file_path = "{folder}/open.json"
variables_file_path = "{folder}/open.json"
match = ["denied_*"]
[backend.dead]
kind = "vault"
url = "http://127.0.0.1:9"
token = {{ file = "{folder}/token" }}
match = ["down_*"]
"""


def settings_in(folder):
    """Write a place where entries are found, broken, denied, unavailable or absent; give its settings."""
    folder.mkdir()
    (folder / "connections.json").write_text(json.dumps(CONNECTIONS))
    (folder / "variables.json").write_text(json.dumps(VARIABLES))
    (folder / "open.json").write_text("{}")
    (folder / "open.json").chmod(0o666)
    for name in ("connections.json", "variables.json", "token"):
        (folder / name).touch()
        (folder / name).chmod(0o600)
    (folder / "token").write_text("hvs.not-one")
    text = SETTINGS.format(folder=folder)
    (folder / "strongroom.toml").write_text(text)
    (folder / "strongroom.toml").chmod(0o600)
    return text


def backend_looked(inside):
    """Give what one process of Airflow saw, which is all there is to be seen here."""

    def make(folder):
        text = settings_in(folder / "place")
        for name in ("agent", "server"):
            (folder / name).mkdir()
        with agent(folder / "agent", text) as one, serving(folder / "server") as server:
            entries = server.house.deployment().root.entries
            entries.write(Change(ref=Ref("variable", "good"), secret=Secret(VARIABLES["good"])))
            entries.write(Change(ref=Ref("connection", "good"), secret=Secret(CONNECTIONS["good"])))
            given = {
                "library": {"settings": str(folder / "place" / "strongroom.toml")},
                "server": {"url": server.address, "token": server.token("airflow", "admin")},
                "inline": {
                    "chain": '["kept"]',
                    "backend": json.dumps(
                        {
                            "kept": {
                                "kind": "file",
                                "connections_file_path": f"{folder}/place/connections.json",
                                "variables_file_path": f"{folder}/place/variables.json",
                            }
                        }
                    ),
                },
                "classes": {
                    "chain": [
                        {
                            "class": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
                            "kwargs": {"variables_file_path": f"{folder}/place/variables.json"},
                        },
                        "airflow.secrets.environment_variables.EnvironmentVariablesBackend",
                    ]
                },
            }
            environ = (
                inside.backend(socket=one.socket) | inside.supervised | PLANTED | {"GIVEN": json.dumps(given)}
            )
            environ["STRONGROOM_HOME"] = str(folder / "ours")
            dags = {"looking.py": DAG, "top.py": AT_TOP}
            script = SCRIPT + (IN_TASKS_OF_3 if inside.version == 3 else "")
            return inside.run(folder, script, environ=environ, dags=dags, is_fresh=True)

    return inside.once("backend", make)


@pytest.fixture(scope="session")
def looked(inside):
    return backend_looked(inside)


# --- what is answered ----------------------------------------------------------------------------------

GOOD = ["postgres", "host", "user", PASSWORD, "db", None]
TYPED, PLAIN = {"a": 1, "b": True}, {"a": "1", "b": "true"}


@pytest.fixture(params=["core", "library", "server", "inline"])
def way(request):
    return request.param


@pytest.fixture(scope="session")
def looked3(airflow):
    return backend_looked(airflow(3))


def test_a_connection_is_read_from_each_place_as_this_airflow_reads_it(inside, looked, way):
    extra = PLAIN if inside.version == 2 else TYPED
    assert looked.told[way]["connections"]["good"] == {"value": [*GOOD, extra]}


def test_the_task_sdk_reads_the_same_text_as_it_does_elsewhere(looked3):
    assert looked3.told["sdk"]["connections"]["good"] == {"value": [*GOOD, PLAIN]}
    assert looked3.told["sdk"]["variables"]["good"] == {"value": VARIABLES["good"]}


def test_a_connection_in_json_is_read_with_its_nested_extra(looked):
    found = looked.told["core"]["connections"]["as_json"]["value"]
    assert (found[0], found[3], found[6]) == ("http", PASSWORD, {"deep": [1, {"x": None}]})


def test_a_variable_is_read_from_each_place(looked, way):
    assert looked.told[way]["variables"]["good"] == {"value": VARIABLES["good"]}


def test_an_empty_variable_is_a_value(looked):
    assert looked.told["core"]["variables"]["empty"] == {"value": ""}


def test_classes_of_airflow_stand_in_a_chain_with_their_keywords(looked):
    told = looked.told["classes"]
    assert told["variables"]["good"] == {"value": VARIABLES["good"]}
    assert told["variables"]["denied_x"] == {"value": "planted"}


def test_a_teams_entry_is_given_to_the_team_that_airflow_or_the_option_names(looked):
    assert looked.told["team"] == ["of the team", None, "of the team", None]
    found = "http://of-the-team"
    assert looked.told["team_connections"] == [found, None, found, None]


def test_absent_everywhere_is_none_and_the_default_of_airflow(looked):
    assert looked.told["library"]["connections"]["absent_x"] == {"value": None}
    assert looked.told["core"]["defaults"]["absent_x"] == {"value": "DEFAULT"}


# --- what stops Airflow --------------------------------------------------------------------------------

STOPS = {
    3: "airflow.sdk.exceptions.AirflowSecretsBackendAccessDenied",
    2: "airflow.exceptions.AirflowTaskTimeout",
}
OUTCOMES = {"denied_x": "DeniedError", "down_x": "UnavailableError", "broken": "InvalidError"}


def assert_stopped(inside, told, name):
    assert told["error"] == OUTCOMES[name], told
    assert STOPS[inside.version] in told["bases"]
    assert ("builtins.Exception" in told["bases"]) == (inside.version == 3)
    assert told["text"].count("\n") == 0
    assert f'"{name}" is {OUTCOMES[name].removesuffix("Error").lower()} (strongroom, ' in told["text"]


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.parametrize("way", ["core", "sdk", "library"])
def test_trouble_stops_airflow_though_its_next_backend_has_the_name(inside, looked, way, name):
    if way in looked.told:
        assert_stopped(inside, looked.told[way]["connections"][name], name)
        if name in looked.told[way]["variables"]:
            assert_stopped(inside, looked.told[way]["variables"][name], name)


@pytest.mark.parametrize("name", ["denied_x", "down_x"])
@pytest.mark.parametrize("way", ["core", "sdk"])
def test_a_default_hides_no_trouble(inside, looked, way, name):
    if way in looked.told:
        assert_stopped(inside, looked.told[way]["defaults"][name], name)


@pytest.mark.parametrize("run", ["in dags test", "supervised"])
def test_a_task_finds_or_sees_what_is_true(inside, looked, run):
    told = looked.told["supervised"] if run == "supervised" else looked.told["run"]["xcoms"]["looks"]
    assert told["found"] == ["host", PASSWORD, PLAIN, VARIABLES["good"]]
    for stopped, name in zip(told["refused"], [*OUTCOMES, "denied_x", "down_x"], strict=True):
        assert_stopped(inside, stopped, name)


def test_a_task_fails_by_it_as_by_any_other_error(looked):
    assert looked.told["failing"]["tasks"] == {"fails": "failed"}
    logs = "".join(text for name, text in looked.logs.items() if "failing" in name)
    assert 'variable "denied_x" is denied (strongroom, agent ' in logs.replace('\\"', '"')


def test_a_dag_file_that_asks_in_vain_is_an_import_error_with_our_line(looked):
    line = looked.told["errors"]["top.py"].strip().splitlines()[-1]
    assert 'UnavailableError: variable "down_x" is unavailable (strongroom, agent ' in line


def test_commands_print_what_is_found_and_stop_at_trouble(inside, looked):
    told = looked.told["commands"]
    assert told["good"][1].strip() == VARIABLES["good"]
    assert json.loads(told["connection"][1])[0]["password"] == PASSWORD
    assert_stopped(inside, told["denied_x"][0], "denied_x")
    assert_stopped(inside, told["down_x"][0], "down_x")


def test_the_api_server_answers_a_denial_as_a_denial(looked3):
    api = looked3.told["api"]
    assert {name: status for name, (status, _) in api.items()} == {
        "good": 200,
        "denied_x": 403,
        "down_x": 503,
        "broken": 403,
        "absent_x": 404,
    }
    assert api["down_x"][1]["reason"] == "unavailable"
    assert '"denied_x" is denied' in api["denied_x"][1]["message"]
    assert looked3.told["worker"] == {"value": "PERMISSION_DENIED"}


# --- what is wrong with the settings -------------------------------------------------------------------

WRONG = {
    "unknown": "has no option sokcet; did you mean socket?",
    "two places": "socket and settings name two places to ask",
    "no json": "the option chain of the secrets backend is text that is no JSON",
    "no file": "the settings file /not/there.toml cannot be read",
    "no socket": "no agent answers at /not/there.sock",
    "no server": "cannot be reached: connection refused",
    "bad token": "does not take the token of the option token",
    "no kind": "there is no backend of the kind nokind",
    "no class": "the class not.there.VaultBackend cannot be imported",
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings_are_told_at_the_first_lookup_in_one_line(looked, what):
    told = looked.told["wrong"][what]
    expected = {"no socket": "UnavailableError", "no server": "UnavailableError", "bad token": "DeniedError"}
    assert told["error"] == expected.get(what, "InvalidError")
    assert told["text"].startswith('variable "good" is ')
    assert WRONG[what] in told["text"]
    assert "\n" not in told["text"]


def test_what_is_raised_holds_no_value_in_any_of_its_frames(looked):
    assert looked.told["held"] == [[], []]


def test_one_warning_where_nothing_says_where_to_ask(looked):
    assert looked.told["unsaid"] == [{"value": None}, {"value": None}]
    assert (looked.out + looked.err).count("strongroom has no options (backend_kwargs is empty") == 1


def test_names_that_are_refused_are_absent_with_one_warning(looked):
    assert set(map(str, looked.told["names"].values())) == {"{'value': None}"}
    said = looked.out + looked.err
    assert said.count("strongroom is not asked for the variable '../up'") == 1
    assert "segment; rename it, as 'up'" in said
    assert "backslash; rename it, as 'a_b'" in said


def test_what_is_unavailable_goes_on_to_the_next_where_that_is_asked_for(inside, looked):
    assert looked.told["next"] == {"value": None}
    assert_stopped(inside, looked.told["next_denied"], "denied_x")
    assert (looked.out + looked.err).count('on_unavailable = "next"') == 1


def test_failed_lookups_say_who_was_asked_and_no_value(looked):
    said = looked.out + looked.err
    assert 'strongroom explain connection "down_x": unavailable' in said
    assert "asked kept absent, dead unavailable" in said
    assert "of-a-broken-one" not in said + json.dumps(looked.told)
    assert "srm_t_secret-of-mine" not in said + json.dumps(looked.told)


# --- what it is to have it -----------------------------------------------------------------------------


def test_airflow_has_it_as_its_first_backend(looked):
    assert looked.told["first"] == "strongroom.airflow.backend.StrongroomBackend"


def test_loading_airflow_loads_next_to_nothing_for_it(looked):
    assert set(looked.told["loaded"]) <= {
        "strongroom",
        "strongroom.airflow",
        "strongroom.airflow.backend",
        "strongroom.airflow.conflict",
        "strongroom.airflow.edge",
        "strongroom.airflow.masker",
        "strongroom.airflow.masks",
        "strongroom.airflow.process",
        "strongroom.airflow.provider",  # Airflow itself loads it, with all providers
        "strongroom.errors",
    }
    assert looked.told["caused"] == []


def test_a_broken_setting_breaks_no_command_that_asks_for_nothing(inside, tmp_path):
    ran = inside.command(tmp_path, "version", environ=inside.backend(chain="{", what="1"))
    assert ran.status == 0, ran.told_of_itself()
    assert ran.out.strip().startswith(str(inside.version))


def test_making_one_does_nothing_however_wrong_its_settings_are(looked):
    assert looked.told["making"] == [[], 0, 0, []]


def test_a_child_asks_by_a_client_of_its_own(looked):
    assert looked.told["child"] == [VARIABLES["good"], False, "agent"]
    assert looked.told["parent"] == [VARIABLES["good"], True]


def test_equal_options_share_one_client(looked):
    assert looked.told["shared"] is True


def test_the_public_face_asks_where_the_backend_asks(looked):
    assert looked.told["face"] == [VARIABLES["good"], "host"]
    assert looked.told["aface"] == VARIABLES["good"]


# --- triggers ------------------------------------------------------------------------------------------


def test_trouble_ends_the_trigger_that_asked_and_no_other(looked):
    good = VARIABLES["good"]
    assert looked.told["triggers"] == {"value": [good, "DeniedError", "UnavailableError", good]}


def test_asynchronous_reads_of_one_loop_are_under_way_together(looked3):
    hosts, _, nowhere, _ = looked3.told["awaited"]["value"]
    assert hosts == ["slow"] * 3
    assert nowhere is None


def test_an_asynchronous_miss_is_looked_for_in_the_environment_without_airflows_one_thread(looked3):
    _, missed, _, threads = looked3.told["awaited"]["value"]
    assert missed == ["only-here", {}]
    assert not [name for name in threads if "asgiref" in name or "ThreadPoolExecutor" in name]


def test_plain_reads_inside_a_trigger_wait_through_the_portal(looked3):
    assert looked3.told["portal"] == {"value": [["slow", None]] * 3}


def test_asynchronous_reads_of_an_agent_find_and_stop(looked3):
    assert looked3.told["agent_awaited"] == {"value": [PASSWORD, list(OUTCOMES.values())]}


# --- a process in straits ------------------------------------------------------------------------------

EXHAUSTED = """
import os, resource
from airflow.models import Connection

def shown():
    return Connection.get_connection_from_secrets("down_x").host

tell(warm=Connection.get_connection_from_secrets("good").host)
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
told = caught(shown)
for one in held:
    os.close(one)
tell(exhausted=told)
"""
SHADOWED = """
from airflow.models import Connection
tell(answer=Connection.get_connection_from_secrets("good").host)
"""


def test_a_process_that_may_open_nothing_more_gets_no_other_backends_value(inside, tmp_path):
    settings_in(tmp_path / "place")
    backend = inside.backend(settings=tmp_path / "place" / "strongroom.toml")
    ran = inside.run(tmp_path, EXHAUSTED, environ=backend | PLANTED)
    assert ran.told["warm"].lower() == "host"
    assert ran.told["exhausted"].get("error") == "UnavailableError", ran.told["exhausted"]
    assert ran.told["exhausted"]["text"].startswith('connection "down_x" is unavailable')


def test_in_shadow_mode_an_environment_that_is_wrong_for_ours_stops_nobody(inside, tmp_path):
    settings_in(tmp_path / "place")
    backend = inside.backend(
        mode="shadow",
        shadow_backend="airflow.secrets.local_filesystem.LocalFilesystemBackend",
        shadow_backend_kwargs={"connections_file_path": f"{tmp_path}/place/connections.json"},
    )
    ran = inside.run(tmp_path, SHADOWED, environ=backend | {"STRONGROOM_AGENT": "nonsense"})
    assert ran.told["answer"].lower() == "host"
