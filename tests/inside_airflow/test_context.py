"""
In whose name real Airflow 3 and 2 read, what counts as a read of a parser, and what is seen of a change
that comes while a task or a trigger runs.
"""

from __future__ import annotations

import pytest

from parts.agent import agent
from parts.oracle import records_in
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

FILES, EACH = 20, 10
COMMON = """
import datetime, os
try:
    from airflow.sdk import DAG, BaseHook, Variable, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable

START = {"start_date": datetime.datetime(2024, 1, 1), "schedule": None}

def through(read):
    return read()

def helper(name):
    return through(lambda: Variable.get(name))
"""
DAGS = """
# a dag for airflow
from common import *
from threading import Thread
from stage import caught, please, until
import strongroom

AT_TOP = helper("at_top")

with DAG("telling", **START):
    @task
    def plain():
        import subprocess, sys
        # As a supervised task has them while it executes; they say nothing of parsing.
        os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "telling"
        os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = "plain"
        import read_when_imported
        Variable.get("in_task")
        thread = Thread(target=Variable.get, args=("in_thread",))
        thread.start()
        thread.join()
        child = "from strongroom.airflow.context import run_now; print(run_now()[:3])"
        os.environ["A_CHILD_SAID"] = subprocess.check_output([sys.executable, "-c", child], text=True)
        return BaseHook.get_connection("in_task").host

    @task
    def shard(number):
        return Variable.get(f"in_shard_{number}")

    @task
    def rendered(text):
        return text

    plain() >> shard.expand(number=[0, 1]) >> rendered("{{ var.value.in_template }}")

with DAG("changing", **START):
    @task
    def long():
        first = [BaseHook.get_connection("rotated").password, Variable.get("changed")]
        told = []
        with strongroom.follow("changed", lambda entry: told.append(1), kind="variable") as follow:
            please("rotate")
            until(lambda: follow.current.secret.reveal() == "after")
        until(lambda: told)
        return [first, [BaseHook.get_connection("rotated").password, Variable.get("changed")]]

    long()

with DAG("supervised", **START):
    @task
    def one():
        Variable.get("in_supervised")

    one()
"""
REFUSED = """
# a dag for airflow
from common import *
from strongroom.airflow import StrongroomBackend

backend = StrongroomBackend(at_parse="refuse", socket=os.environ["STRONGROOM_SOCKET"])
{read}
"""
READS = {
    "straight": ('backend.get_variable("at_top")', 7),
    "helped": ('def asked(name):\n    return backend.get_variable(name)\nx = [asked("at_top")]', 9),
    "in_a_lambda": ('x = 1\nthrough(lambda: backend.get_conn_value("in_task"))', 8),
    "imported": ("import refused_library", None),
}
LIBRARY = """
import os
from strongroom.airflow import StrongroomBackend
backend = StrongroomBackend(at_parse="refuse", socket=os.environ["STRONGROOM_SOCKET"])
class Options:
    region = backend.get_variable("at_top")
"""
FINE = """
# a dag for airflow
from common import *
from strongroom.airflow import StrongroomBackend

backend = StrongroomBackend(at_parse="refuse", socket=os.environ["STRONGROOM_SOCKET"])
with DAG("refusing", **START):
    @task
    def inside():
        return backend.get_variable("in_task")

    inside()
"""
MANY = """
# a dag for airflow
from common import *
READ = [Variable.get(f"top_{{number}}") for number in range({first}, {first} + {each})]
"""
SCRIPT = """
import asyncio, json, os, sys, time
from types import SimpleNamespace
from collections import deque

tell(before=please("status"))
errors = {os.path.basename(path): text for path, text in bag().import_errors.items()}
tell(errors=errors, parsed=please("status"))
for _ in range(2):  # as other parsers do, with nothing in memory
    for name in list(sys.modules):
        if name.startswith("unusual_prefix_") or name == "read_when_imported":
            del sys.modules[name]
    type(bag())(bag().dag_folder)
tell(parsed_again=please("status"))
tell(telling=run_dag("telling"), child=os.environ["A_CHILD_SAID"])
tell(changing=run_dag("changing"), refusing=run_dag("refusing"))
tell(supervised=run_dag("supervised", is_supervised=True))
please("restore")

# --- triggers, as the triggerer runs them ---
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.triggers.base import BaseTrigger, TriggerEvent
sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
from common import BaseHook, Variable
import strongroom

class Reading(BaseTrigger):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def serialize(self):
        return "x.Reading", {}

    async def run(self):
        if self.number == REFUSED:
            Variable.get("denied_x")
        for _ in range(3):
            await asyncio.sleep(0)
            if hasattr(BaseHook, "aget_connection"):
                await BaseHook.aget_connection(f"in_trigger_{self.number}")
            else:
                BaseHook.get_connection(f"in_trigger_{self.number}")
            Variable.get(f"in_trigger_{self.number}")
        if self.number == 0:
            with strongroom.follow("changed", kind="variable") as follow:
                please("rotate")
                while follow.current.secret.reveal() != "after":
                    await asyncio.sleep(0.02)
            FOLLOWED.append(Variable.get("changed"))
        yield TriggerEvent(self.number)

class Log(SimpleNamespace):
    def info(self, *args, **more): pass
    debug = error = warning = exception = info
    async def ainfo(self, *args, **more): pass

FOLLOWED, REFUSED = [], 4

async def triggers():
    runner = TriggerRunner.__new__(TriggerRunner)
    runner.__dict__.update(events=deque(), triggers={n: {"name": str(n), "events": 0} for n in range(5)})
    object.__setattr__(runner, "_log", Log())
    try:
        runner.log = Log()
    except AttributeError:
        pass
    tasks = []
    for number in range(5):
        trigger = Reading(number)
        trigger.trigger_id = number
        trigger.task_instance = SimpleNamespace(
            id=f"ti-{number}", dag_id=f"dag{number}", task_id="waits", run_id="r", try_number=1, map_index=-1,
            trigger_timeout=None, context_carrier=None,
        )
        tasks.append(asyncio.create_task(runner.run_trigger(number, trigger)))
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    tell(ended=[None if one is None else [type(one).__name__, str(one)] for one in ended])
    return [runner.triggers[number]["events"] for number in range(5)]

tell(triggers=asyncio.run(triggers()), followed=FOLLOWED)
"""


def made(inside, folder):
    """Run the scenario on an agent in front of a store of ours."""
    home = folder / "agent"
    home.mkdir()
    environ = {"HOME": str(home), "STRONGROOM_HOME": str(home)}
    # Nothing is remembered for runs: what parsers share is the snapshot's doing alone.
    settings = 'chain = ["native", "open"]\n[cache]\nttl = 0\nabsent_ttl = 0\n[agent]\nrevalidate = false\n'
    settings += f'[backend.open]\nkind = "file"\nmatch = ["denied_*"]\nvariables = "{home}/open.json"\n'
    (home / "open.json").write_text("{}")
    (home / "open.json").chmod(0o666)  # which is denied
    dags = {"common.py": COMMON, "telling.py": DAGS, "refusing.py": FINE}
    dags |= {f"{name}.py": REFUSED.format(read=read) for name, (read, _) in READS.items()}
    dags |= {
        "refused_library.py": LIBRARY,
        "read_when_imported.py": "from common import *\nhelper('in_import')\n",
    }
    dags |= {f"many_{n}.py": MANY.format(first=n * EACH, each=EACH) for n in range(FILES)}
    dags[".airflowignore"] = "common.py\nrefused_library.py\nread_when_imported.py\n"
    with agent(home, settings, start=False) as one, create_room(one.settings, environ=environ) as room:

        def write(name, text, kind="variable"):
            room.entries.write(Change(ref=Ref(kind, name), secret=Secret(text)))

        def rotate(word="after"):
            write("rotated", f"http://user:{word}@host", "connection")
            write("changed", word)

        for name in ("at_top", "in_task", "in_thread", "in_import", "in_template", "in_supervised"):
            write(name, name)
        for number in range(FILES * EACH):
            write(f"top_{number}", "top")
        for number in range(4):
            write(f"in_shard_{number}", "s")
            write(f"in_trigger_{number}", "t")
            write(f"in_trigger_{number}", "http://host", "connection")
        write("in_task", "http://host", "connection")
        rotate("before")
        one.start()
        orders = {
            "rotate": rotate,
            "restore": lambda: rotate("before"),
            "status": lambda: one.status()["parsing"],
        }
        environ = {**inside.backend(socket=one.socket), **inside.supervised, "STRONGROOM_SOCKET": one.socket}
        ran = inside.run(folder, SCRIPT, dags=dags, environ=environ, orders=orders)
        said = [
            (record.kind, record.name, record.run or {})
            for record in records_in(one.audit)
            if record.action == "read"
        ]
        return ran.keep(said=said, status=one.status())


@pytest.fixture(scope="session")
def ran(inside):
    return inside.once("context", lambda folder: made(inside, folder))


def of(ran, name):
    """Give what was said of the run with each read of *name*."""
    return [run for _, known, run in ran.kept["said"] if known == name]


def test_a_task_says_which_it_is(ran, inside):
    assert ran.told["telling"]["state"] == "success", ran.told
    (said, *more) = of(ran, "in_task")
    assert more
    run_id = ran.told["telling"]["run_id"]
    assert {key: said[key] for key in ("dag_id", "task_id", "run_id", "source")} == {
        "dag_id": "telling",
        "task_id": "plain",
        "run_id": run_id,
        "source": "task",
    }
    assert said["try_number"] in (0, 1)
    assert said["map_index"] == -1
    assert said["assurance"] == 0
    assert ("ti_id" in said) is (inside.version == 3)


def test_threads_and_imports_of_a_task_say_the_same(ran):
    for name in ("in_thread", "in_import"):
        (said,) = of(ran, name)
        assert (said["task_id"], said["source"]) == ("plain", "task")


def test_what_a_task_starts_says_the_same(ran):
    assert ran.told["child"].startswith("('telling', 'plain', ")


def test_mapped_tasks_say_their_index(ran):
    assert [[said["map_index"] for said in of(ran, f"in_shard_{number}")] for number in (0, 1)] == [[0], [1]]


def test_what_is_rendered_is_read_in_the_tasks_name(ran):
    assert {said.get("task_id") for said in of(ran, "in_template")} == {"rendered"}


def test_a_supervised_task_says_which_it_is_and_its_reads_are_no_parsers(ran, inside):
    assert ran.told["supervised"]["state"] == "success", ran.told
    (said,) = of(ran, "in_supervised")
    assert (said["dag_id"], said["task_id"], said["source"]) == ("supervised", "one", "task")
    if inside.version == 3:
        assert (len(said["ti_id"]), said["bundle"]) == (36, "dags-folder")


def test_each_trigger_reads_in_its_own_name(ran, inside):
    assert ran.told["triggers"] == [1, 1, 1, 1, 0]
    for number in range(4):
        said = of(ran, f"in_trigger_{number}")
        assert said
        assert {each["source"] for each in said} == {"trigger"}
        assert {each["assurance"] for each in said} == {0}  # they share one process: a claim
        assert {each["dag_id"] for each in said} == {f"dag{number}"}
        if inside.version == 3:
            assert {each["ti_id"] for each in said} == {f"ti-{number}"}


def test_a_denial_ends_the_trigger_that_asked_and_no_other(ran):
    *others, (name, text) = ran.told["ended"]
    assert others == [None] * 4
    assert name == "DeniedError"
    assert text.startswith('variable "denied_x" is denied (strongroom, agent ')


def test_reads_at_the_top_of_files_are_answered_by_one_snapshot(ran):
    before, once, again = ran.told["before"], ran.told["parsed"], ran.told["parsed_again"]
    assert once["reads"] - before["reads"] >= FILES * EACH
    assert again["reads"] - once["reads"] >= 2 * FILES * EACH
    assert again["asked"] == once["asked"]
    assert all(
        said == [{"assurance": 0, "source": "parse"}] for said in (of(ran, "top_0"), of(ran, "top_199"))
    )


def test_what_a_task_left_behind_in_a_process_is_not_claimed_for_the_next_parse(ran):
    # `dags test` parses and runs in one process; only the supervised task reads its file in its own name.
    dags = [said.get("dag_id") for said in of(ran, "at_top")]
    assert dags[0] is None
    assert set(dags) <= {None, "supervised"}


@pytest.mark.parametrize("name", READS)
def test_refuse_names_the_file_and_the_line(ran, name):
    text = ran.told["errors"][f"{name}.py"]
    line = READS[name][1]
    place = "refused_library.py:6" if line is None else f"{name}.py:{line}"
    assert f"at {ran.home}/dags/{place}, is refused" in text


def test_refuse_lets_tasks_read(ran):
    assert ran.told["refusing"]["xcoms"] == {"inside": "in_task"}


def test_a_change_is_fresh_in_a_long_task_and_told_to_who_follows(ran):
    assert ran.told["changing"]["xcoms"]["long"] == [["before", "before"], ["after", "after"]]


def test_a_change_is_told_to_a_trigger_that_follows(ran):
    assert ran.told["followed"] == ["after"]
