"""Dags of real Airflow over an agent in front of a real OpenBao: what they read, and what is left of it."""

from __future__ import annotations

import hashlib
import json

import pytest

from inside_airflow.place import STAGE
from parts.agent import agent
from parts.openbao import Dev, shared
from parts.proxy import Proxy

PASSWORD = "pl/ace 'of' \"many\" ü\\forms"
KEY = "-----BEGIN KEY-----\nfirst/line+of=it\nsecond 'line' of it\n-----END KEY-----"
TOKEN = 'tok/en of a "variable" ü'
OLD, NEW = "before/the 'change' ü", "after/the 'change' ü"
TENANTS = {"north": "north/'pass' ü", "south": "south/'pass' ü"}
MAPPED = {f"shard_{number}": f"shard/'pass' ü {number}" for number in range(3)}
SECRETS = [PASSWORD, KEY, TOKEN, OLD, NEW, *TENANTS.values(), *MAPPED.values()]
PLANTED = "planted where airflow looks next"
READS = 200

COMMON = """
import asyncio, datetime, hashlib, json
try:
    from airflow.sdk import DAG, BaseHook, BaseOperator, Variable, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
    from airflow.models.baseoperator import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

START = {"start_date": datetime.datetime(2024, 1, 1), "schedule": None}

def mark(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]

class Rendered(BaseOperator):
    template_fields = ("text",)

    def __init__(self, text, **options):
        super().__init__(**options)
        self.text = text

    def execute(self, context):
        return [mark(self.text)] if isinstance(self.text, str) else [mark(one) for one in self.text]

class Waiting(BaseTrigger):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def serialize(self):
        return "common.Waiting", {"seconds": self.seconds}

    async def run(self):
        first = BaseHook.get_connection("warehouse").password
        await asyncio.sleep(self.seconds)
        if hasattr(BaseHook, "aget_connection"):
            last = (await BaseHook.aget_connection("warehouse")).password
        else:
            last = BaseHook.get_connection("warehouse").password
        yield TriggerEvent([mark(first), mark(last)])

class Deferring(BaseOperator):
    def __init__(self, seconds, **options):
        super().__init__(**options)
        self.seconds = seconds

    def execute(self, context):
        self.defer(trigger=Waiting(self.seconds), method_name="resumed")

    def resumed(self, context, event=None):
        return [*event, mark(BaseHook.get_connection("warehouse").password)]
"""
DAGS = """
from common import *  # for airflow, which reads files with its name in them
from stage import caught, please, until

with DAG("reading", **START):
    @task
    def read():
        one = BaseHook.get_connection("warehouse")
        return {
            "connection": [one.conn_type, one.host, one.port],
            "secrets": [mark(one.password), mark(one.extra_dejson["key"])],
            "variable": mark(Variable.get("token")),
            "parsed": Variable.get("settings", deserialize_json=True),
            "uri": PASSWORD_IN(one.get_uri()),
        }

    def PASSWORD_IN(uri):
        from urllib.parse import unquote, urlsplit
        return mark(unquote(urlsplit(uri).password))

    read()

with DAG("templated", **START):
    Rendered(
        task_id="render",
        text=[
            "{{ var.value.token }}",
            "{{ conn.warehouse.password }}",
            "{{ conn.warehouse.extra_dejson.key }}",
            "{{ var.json.settings.region }}",
        ],
    )

with DAG("tenants", params={"tenant": "south"}, **START):
    Rendered(task_id="render", text="{{ conn.get('wh_' ~ params.tenant).password }}")

with DAG("mapped", **START):
    @task
    def shard(name):
        return mark(BaseHook.get_connection(name).password)

    shard.expand(name=["shard_0", "shard_1", "shard_2"])
    Rendered.partial(task_id="rendered").expand(
        text=["{{ conn.shard_0.password }}", "{{ conn.shard_1.password }}", "{{ conn.shard_2.password }}"]
    )

with DAG("deferring", **START):
    Deferring(task_id="wait", seconds=1.5)  # longer than the cache is fresh

with DAG("changing", **START):
    @task
    def changing():
        first = BaseHook.get_connection("rotated").password
        please("rotate")
        last = until(lambda: (now := BaseHook.get_connection("rotated").password) != first and now)
        return [mark(first), mark(last)]

    changing()

with DAG("denied", **START):
    @task
    def caught_there():
        return [
            caught(BaseHook.get_connection, "forbidden"),
            caught(Variable.get, "forbidden"),
            caught(Variable.get, "forbidden", "a default"),
        ]

    @task(trigger_rule="all_done")
    def uncaught():
        return BaseHook.get_connection("forbidden").host

    caught_there() >> uncaught()

with DAG("down", **START):
    @task
    def during():
        please("cut")
        try:
            return [caught(BaseHook.get_connection, "unread"), caught(Variable.get, "unread", "a default")]
        finally:
            please("heal")

    @task
    def after():
        return until(lambda: caught(Variable.get, "unread").get("value"))

    during() >> after()

with DAG("printing", **START):
    @task
    def prints():
        import base64, urllib.parse
        one = BaseHook.get_connection("warehouse")
        for text in (one.password, one.extra_dejson["key"], Variable.get("token")):
            for shown in (
                text,
                urllib.parse.quote(text, safe=""),
                base64.b64encode(text.encode()).decode(),
                json.dumps(text),
                repr(text),
            ):
                print("printed", shown, flush=True)
        raise ValueError(f"failed with {one.password} in its text")

    prints()
"""
TOP = """
from common import *  # for airflow, which reads files with its name in them

VALUES = [Variable.get(f"top_{number}") for number in range(200)]
with DAG("top", **START):
    @task
    def count():
        return [len(VALUES), mark("".join(VALUES))]

    count()
"""
SCRIPT = """
tell(requests=[please("requests")])
tell(errors=bag().import_errors)
bag(is_fresh=True)
tell(requests_parsed=please("requests"), top=run_dag("top"))
(HOME / "dags" / "top.py").unlink()  # dag.test of 3 parses the folder again each time
tell(
    reading=run_dag("reading"),
    templated=run_dag("templated"),
    tenants={tenant: run_dag("tenants", conf={"tenant": tenant})["xcoms"] for tenant in ("north", "south")},
    mapped=run_dag("mapped"),
    deferring=run_dag("deferring"),
    changing=run_dag("changing"),
    denied=run_dag("denied"),
    down=run_dag("down"),
    printing=run_dag("printing", is_supervised=True),
)
"""
COMMANDS = {
    "dag": ("dags", "test", "reading"),
    "connection": ("connections", "get", "warehouse", "-o", "json"),
    "variable": ("variables", "get", "token"),
}
SETTINGS = """
chain = ["bao"]
[cache]
ttl = 1
stale_if_error = 0
[backend.bao]
kind = "vault"
url = "{url}"
mount_point = "{mount}"
auth = {{ method = "approle", role_id = "{role_id}", secret_id = {{ file = "{secret_id}" }} }}
"""


def mark(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Site:
    """An OpenBao with what the Dags read, and the settings of an agent that logs in by AppRole."""

    def __init__(self, bao, port, folder):
        self._bao = bao
        self._mount = bao.mount()
        for name, password in {**TENANTS, "warehouse": PASSWORD, "rotated": OLD, **MAPPED}.items():
            self.connection(f"wh_{name}" if name in TENANTS else name, password)
        for name, value in {
            "token": TOKEN,
            "settings": '{"region": "eu"}',
            "unread": "read after all",
        }.items():
            self.variable(name, value)
        for number in range(READS):
            self.variable(f"top_{number}", f"top {number}")
        allowed = f'path "{self._mount}/data/*" {{ capabilities = ["read"] }}\n'
        denied = "".join(
            f'path "{self._mount}/data/{kind}/forbidden" {{ capabilities = ["deny"] }}\n'
            for kind in ("connections", "variables")
        )
        role = bao.role(bao.policy(allowed + denied))
        secret_id = folder / "secret-id"
        secret_id.touch(mode=0o600)
        secret_id.write_text(role.secret_id())
        self.login = role.mount
        self.settings = SETTINGS.format(
            url=f"http://127.0.0.1:{port}", mount=self._mount, role_id=role.role_id, secret_id=secret_id
        ).replace('"approle",', f'"approle", mount_point = "{role.mount}",')

    def connection(self, name, password):
        extra = json.dumps({"key": KEY, "deep": {"list": [TOKEN]}})
        held = {"conn_type": "postgres", "host": "db.example.com", "port": 5432, "login": "svc"}
        self._bao.put(self._mount, f"connections/{name}", {**held, "password": password, "extra": extra})

    def variable(self, name, value):
        self._bao.put(self._mount, f"variables/{name}", {"value": value})


@pytest.fixture(scope="session")
def dags(inside):
    def make(folder):
        with shared(Dev) as bao, Proxy("127.0.0.1", bao.port) as proxy:
            site = Site(bao, proxy.port, folder)
            (folder / "agent").mkdir()
            orders = {
                "rotate": lambda: site.connection("rotated", NEW),
                "cut": lambda: proxy.become("refuse"),
                "heal": lambda: proxy.become("pass"),
                "requests": lambda: proxy.requests,
            }
            with agent(folder / "agent", site.settings) as one:
                environ = {
                    **inside.backend(socket=one.socket),
                    **inside.supervised,
                    **(inside.coordinated() if inside.version == 3 else {}),
                    "AIRFLOW_CONN_FORBIDDEN": f"http://{PLANTED}",
                    "AIRFLOW_VAR_FORBIDDEN": PLANTED,
                    "AIRFLOW_VAR_UNREAD": PLANTED,
                }
                files = {"common.py": COMMON, "dags.py": DAGS, "top.py": TOP}
                ran = inside.run(folder, SCRIPT, dags=files, environ=environ, orders=orders)
                return ran.keep(log=one.log(), status=one.status())

    return inside.once("dags", make)


@pytest.fixture(scope="session")
def commanded(inside):
    """What three `airflow` commands, each a process as in a shell, say of the same place."""

    def make(folder):
        with shared(Dev) as bao:
            site = Site(bao, bao.port, folder)
            (folder / "agent").mkdir()
            with agent(folder / "agent", site.settings) as one:
                home = inside.home(folder, {"common.py": COMMON, "dags.py": DAGS})
                environ = inside.backend(socket=one.socket) | {"PYTHONPATH": STAGE.parent}
                told = {}
                for name, command in COMMANDS.items():
                    ran = inside.command(folder, *command, home=home, environ=environ)
                    told[name] = {"status": ran.status, "out": ran.out, "err": ran.err}
                return ran.keep(**told)

    return inside.once("commands", make)


# --- what is read ----------------------------------------------------------------------------------------


def test_a_task_reads_variables_connections_and_extras(dags):
    assert dags.told["errors"] == {}
    run = dags.told["reading"]
    assert run["state"] == "success"
    assert run["xcoms"]["read"] == {
        "connection": ["postgres", "db.example.com", 5432],
        "secrets": [mark(PASSWORD), mark(KEY)],
        "variable": mark(TOKEN),
        "parsed": {"region": "eu"},
        "uri": mark(PASSWORD),
    }


def test_templates_render_variables_connections_and_extras(dags):
    run = dags.told["templated"]
    assert (run["state"], run["xcoms"]["render"]) == (
        "success",
        [mark(TOKEN), mark(PASSWORD), mark(KEY), mark("eu")],
    )


def test_a_template_chooses_a_connection_by_a_parameter(dags):
    found = {tenant: xcoms["render"] for tenant, xcoms in dags.told["tenants"].items()}
    assert found == {tenant: [mark(password)] for tenant, password in TENANTS.items()}


def test_mapped_tasks_each_read_their_own(dags):
    run = dags.told["mapped"]
    assert set(run["tasks"].values()) == {"success"}
    for number, password in enumerate(MAPPED.values()):
        assert run["xcoms"][f"shard[{number}]"] == mark(password)
        assert run["xcoms"][f"rendered[{number}]"] == [mark(password)]


def test_a_deferred_task_reads_in_its_trigger_and_after_it(dags):
    run = dags.told["deferring"]
    assert (run["state"], run["xcoms"]["wait"]) == ("success", [mark(PASSWORD)] * 3)


def test_a_second_read_in_a_long_task_sees_a_rotation(dags):
    run = dags.told["changing"]
    assert (run["state"], run["xcoms"]["changing"]) == ("success", [mark(OLD), mark(NEW)])


# --- trouble ---------------------------------------------------------------------------------------------


def test_what_is_denied_stops_the_task_whatever_stands_elsewhere(dags):
    run = dags.told["denied"]
    assert run["tasks"] == {"caught_there": "success", "uncaught": "failed"}
    for found in run["xcoms"]["caught_there"]:
        assert found["error"] == "DeniedError"
        assert "forbidden" in found["text"]
        assert "\n" not in found["text"]


def test_a_store_that_is_down_is_unavailable_and_not_absent(dags):
    run = dags.told["down"]
    assert run["state"] == "success"
    assert [found["error"] for found in run["xcoms"]["during"]] == ["UnavailableError"] * 2
    assert run["xcoms"]["after"] == "read after all"


def test_two_hundred_reads_at_the_top_of_a_file_ask_the_store_once_each(dags):
    assert dags.told["top"]["xcoms"]["count"][0] == READS
    # A login, and no second look for the second parse.
    assert READS < dags.told["requests_parsed"] - dags.told["requests"][0] <= READS + 5
    assert dags.kept["status"]


# --- what is left of it ----------------------------------------------------------------------------------


def test_no_secret_is_left_in_xcoms_rendered_fields_logs_or_anywhere_else(inside, dags):
    assert dags.told["printing"]["tasks"] == {"prints": "failed"}
    log = "".join(dags.logs.values())
    assert log.count("printed") >= 15
    assert "failed with ***" in log
    found = dags.database
    assert b"***" in found["rendered_task_instance_fields.rendered_fields"]
    assert mark(PASSWORD).encode() in found["xcom.value"]
    # In 3 with our coordinator: the copy of the log on standard output, too.
    assert dags.leaks(*SECRETS, PLANTED) == []


# --- commands --------------------------------------------------------------------------------------------


def test_the_commands_of_airflow_read_through_us(commanded):
    got = commanded.kept
    assert {name: told["status"] for name, told in got.items()} == dict.fromkeys(COMMANDS, 0), got
    found = json.loads(got["connection"]["out"][got["connection"]["out"].index("[") :])[0]
    assert (found["conn_id"], found["password"], found["port"]) == ("warehouse", PASSWORD, "5432")
    assert got["variable"]["out"].splitlines()[-1] == TOKEN


def test_dags_test_runs_a_dag_and_leaves_no_secret(commanded):
    states = commanded.database["dag_run.state"]
    assert states.split() == [b"success"]
    assert mark(PASSWORD).encode() in commanded.database["xcom.value"]
    shown = {f"{name} {end}": told[end] for name, told in commanded.kept.items() for end in ("out", "err")}
    without = ("connection out", "variable out", "stdout", "stderr")
    assert commanded.leaks(*SECRETS, beside=shown.items(), without=without) == []
