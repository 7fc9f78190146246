"""
What holds for the lifetime of one thing in real Airflow 3 and 2: of a run, which is pinned; of a deferrable
operator, which follows; of a parser, which Airflow's own Dag processor starts; and what the log of a task
says of a lookup that failed there.
"""

from __future__ import annotations

import json

import pytest

from parts.agent import agent
from parts.openbao import until
from parts.oracle import records_in
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

NO_CONNECTION = "of-the-text that is no connection"
PLANTED = {f"AIRFLOW_CONN_{name}": "http://planted" for name in ("BROKEN", "DENIED_X")}
SETTINGS = """
chain = ["native", "kept", "open"]
[cache]
pin = "run"
[agent]
strict = ["followed"]
[backend.kept]
kind = "file"
connections_file_path = "{folder}/kept.json"
match = ["broken"]
[backend.open]
kind = "file"
connections_file_path = "{folder}/open.json"
match = ["denied_*"]
"""
COMMON = """
import datetime
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
"""
DAGS = """
from common import *  # for airflow, which reads files with its name in them
import asyncio
import strongroom
from stage import please

with DAG("pinned", **START):
    @task
    def first():
        found = Variable.get("pinned")
        please("change")
        return found

    @task
    def second():
        return Variable.get("pinned")

    first() >> second()

with DAG("later", **START):
    @task
    def third():
        return Variable.get("pinned")

    third()

async def seen(follow, wanted):
    while follow.current.secret.reveal() != wanted:
        await asyncio.sleep(0.02)
    return wanted

class Waiting(BaseTrigger):
    def serialize(self):
        return "lifetimes.Waiting", {}

    async def run(self):
        with strongroom.follow("followed", kind="variable") as follow:
            first = follow.current.secret.reveal()
            please("second")
            yield TriggerEvent([first, await seen(follow, "two")])

class Deferring(BaseOperator):
    def execute(self, context):
        with strongroom.follow("followed", kind="variable") as follow:
            please("first")
            asyncio.run(seen(follow, "one"))
        self.defer(trigger=Waiting(), method_name="resumed")

    def resumed(self, context, event=None):
        with strongroom.follow("followed", kind="variable") as follow:
            please("third")
            return [*event, asyncio.run(seen(follow, "three")), Variable.get("followed")]

with DAG("following", **START):
    Deferring(task_id="wait")

for name in ("broken", "denied_x"):
    with DAG(f"asking_{name}", **START):
        @task
        def asks(name):
            return BaseHook.get_connection(name).host

        asks(name)
"""
TOP = """
# a dag
from common import *  # for airflow, which reads files with its name in them
READ = [Variable.get("at_top") for _ in range(3)]
"""
REFUSED = """
# a dag
from common import *  # for airflow, which reads files with its name in them
BaseHook.get_connection("broken")
"""
SCRIPT = """
tell(pinned=run_dag("pinned", is_supervised=True), later=run_dag("later", is_supervised=True))
tell(following=run_dag("following"))
tell(**{name: run_dag(f"asking_{name}", is_supervised=True) for name in ("broken", "denied_x")})
"""
SUPERVISOR_OF_3 = """
import structlog, threading
from airflow.sdk.execution_time import supervisor

def looks():
    client = supervisor.InProcessTestSupervisor._api_client()
    with structlog.testing.capture_logs() as lines:
        found = caught(lambda: supervisor._fetch_remote_logging_conn("denied_x", client).host)
    tell(supervisor=[found, [repr(line) for line in lines]])

# On a thread: no top level of a file stands on its stack.
looking = threading.Thread(target=looks)
looking.start()
looking.join()
"""


def _made(inside, folder):
    home = folder / "agent"
    home.mkdir()
    for name, mode, held in (("kept", 0o600, {"broken": NO_CONNECTION}), ("open", 0o666, {})):
        (home / f"{name}.json").write_text(json.dumps(held))
        (home / f"{name}.json").chmod(mode)
    environ = {"HOME": str(home), "STRONGROOM_HOME": str(home)}
    with (
        agent(home, SETTINGS.format(folder=home), start=False) as one,
        create_room(one.settings, environ=environ) as room,
    ):

        def write(name, text):
            room.entries.write(Change(ref=Ref("variable", name), secret=Secret(text)))

        def change():
            write("pinned", "after")
            read = "import strongroom; print(strongroom.variable('pinned'))"
            until(lambda: one.python(read).strip() == "after", what="the agent to see the change")

        for name, text in (("pinned", "before"), ("followed", "none"), ("at_top", "t")):
            write(name, text)
        one.start()
        orders = {"change": change}
        for order, text in (("first", "one"), ("second", "two"), ("third", "three")):
            orders[order] = lambda text=text: write("followed", text)
        given = {**inside.backend(socket=one.socket), **inside.supervised, **PLANTED}
        script = SCRIPT + (SUPERVISOR_OF_3 if inside.version == 3 else "")
        ran = inside.run(
            folder,
            script,
            dags={"common.py": COMMON, "lifetimes.py": DAGS},
            environ=given,
            orders=orders,
        )
        after_runs = one.status()["parsing"]
        known = len(list(records_in(one.audit)))
        (ran.home / "dags" / "lifetimes.py").unlink()
        (ran.home / "dags" / "top.py").write_text(TOP)
        (ran.home / "dags" / "refused.py").write_text(REFUSED)
        (folder / "processor").mkdir()
        # In 2 the scheduler parses beside a database of SQLite, each file in a child of its own.
        command = ("dag-processor", "-n", "1") if inside.version == 3 else ("scheduler", "-n", "5")
        given["AIRFLOW__CORE__EXECUTOR"] = "SequentialExecutor" if inside.version == 2 else "LocalExecutor"
        parsed = inside.command(folder / "processor", *command, home=ran.home, environ=given)
        (folder / "command").mkdir()
        shown = inside.command(
            folder / "command", "connections", "get", "denied_x", home=ran.home, environ=given
        )
        return ran.keep(
            command=[shown.status, shown.out, shown.err],
            parsed=[after_runs, one.status()["parsing"]],
            processor=[parsed.status, parsed.told_of_itself()],
            records=[
                [record.name, record.run or {}]
                for record in list(records_in(one.audit))[known:]
                if record.action == "read"
            ],
        )


@pytest.fixture(scope="session")
def ran(inside):
    return inside.once("lifetimes", lambda folder: _made(inside, folder))


@pytest.fixture(scope="session")
def ran3(airflow):
    return airflow(3).once("lifetimes", lambda folder: _made(airflow(3), folder))


# --- runs and followers ----------------------------------------------------------------------------------


def test_all_tasks_of_a_pinned_run_are_given_what_its_first_was(ran):
    run = ran.told["pinned"]
    assert (run["state"], run["xcoms"]) == ("success", {"first": "before", "second": "before"})


def test_the_next_run_is_given_what_stands(ran):
    assert ran.told["later"]["xcoms"] == {"third": "after"}


def test_a_deferrable_operator_follows_before_while_and_after_it_is_deferred(ran):
    run = ran.told["following"]
    assert (run["state"], run["xcoms"]) == ("success", {"wait": ["one", "two", "three", "three"]})


# --- the log of a task -----------------------------------------------------------------------------------


def said(ran, dag):
    """Give the log file of the one task of *dag*, the quotes of JSON undone."""
    (log,) = [text for name, text in ran.logs.items() if f"dag_id={dag}/" in name and "task_id=" in name]
    return log.replace('\\"', '"')


@pytest.mark.parametrize(
    ("name", "outcome", "asked"), [("broken", "invalid", "kept"), ("denied_x", "denied", "open")]
)
def test_the_log_of_a_task_says_what_failed_where_and_who_was_asked(ran, name, outcome, asked):
    assert ran.told[name]["tasks"] == {"asks": "failed"}
    log = said(ran, f"asking_{name}")
    assert f'connection "{name}" is {outcome} (strongroom, agent ' in log
    (line,) = [
        line for line in log.splitlines() if f'strongroom explain connection "{name}": {outcome}' in line
    ]
    assert f"{asked} {outcome}" in line or outcome == "invalid"


def test_the_text_that_is_no_connection_is_nowhere(ran):
    assert ran.leaks(NO_CONNECTION) == []


# --- parsers ---------------------------------------------------------------------------------------------


def test_airflows_dag_processor_reads_from_the_snapshot_and_is_counted_apart(ran):
    after_runs, parsed = ran.kept["parsed"]
    assert after_runs["reads"] == 0, "tasks, triggers and what they follow are no parsers"
    assert parsed["reads"] >= 3, ran.kept["processor"]
    assert parsed["asked"] <= 2
    sources = {(name, run.get("source")) for name, run in ran.kept["records"]}
    assert sources == {("at_top", "parse"), ("broken", "parse"), ("denied_x", "cli")}


def test_an_import_error_that_the_dag_processor_keeps_ends_with_our_line(ran):
    kept = ran.database["import_error.stacktrace"].decode()
    (line,) = [line for line in kept.splitlines() if "InvalidError" in line]
    assert 'InvalidError: connection "broken" is invalid (strongroom, agent ' in line
    assert NO_CONNECTION not in kept


# --- commands --------------------------------------------------------------------------------------------


def test_a_command_of_airflows_stops_at_a_denial_and_our_line_is_its_last(ran):
    status, out, err = ran.kept["command"]
    assert status != 0
    assert "planted" not in out + err
    last = err.strip().splitlines()[-1]
    assert 'DeniedError: connection "denied_x" is denied (strongroom, agent ' in last


# --- supervisors -----------------------------------------------------------------------------------------


def test_a_supervisor_that_looks_for_the_connection_of_remote_logs_logs_why_and_looks_further(ran3):
    found, lines = ran3.told["supervisor"]
    assert found == {"value": "planted"}
    assert len([line for line in lines if "StrongroomBackend" in line]) == 1
