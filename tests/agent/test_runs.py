"""
Runs at a real agent: who is claimed and who was announced, what parsers share, and what a run is given again.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar

import pytest

from parts.agent import agent, until
from parts.oracle import records_in
from strongroom.assembly import create_room
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient
from strongroom.errors import AccessDeniedError, BackendConfigError, InvalidInputError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

RUN = ContextVar("run", default=None)
NAMES = 24
ENVIRON = {f"AIRFLOW_VAR_V{number}": f"value {number}" for number in range(NAMES)}


def run(dag=None, run_id=None, source="task", **more):
    """Give a claim."""
    said = dict.fromkeys(("dag", "task", "run", "map", "try", "bundle", "ti", "version", "team", "source"))
    said.update(dag=dag, run=run_id, source=source, **more)
    return tuple(said.values())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    settings = 'chain = ["env"]\n[cache]\nttl = 0\nabsent_ttl = 0\n'
    with agent(tmp_path_factory.mktemp("agent"), settings, environ=ENVIRON) as running:
        yield running


def runs_of(one):
    """Give what the record says of the run of each read: (name, members)."""
    return [(record.name, record.run or {}) for record in records_in(one.audit) if record.action == "read"]


# --- claims ------------------------------------------------------------------------------------------------


def test_many_runs_in_one_process_are_recorded_each_with_its_own_reads(one):
    client = AgentClient(str(one.socket), claims=RUN.get)

    async def trigger(number):
        RUN.set(run(f"of v{number}", "r", "trigger"))
        for _ in range(5):
            await client.native().variable(f"v{number}")
            await asyncio.sleep(0)

    async def all_of_them():
        await asyncio.gather(*(trigger(number) for number in range(0, NAMES, 2)))

    def thread(number):
        RUN.set(run(f"of v{number}", "r"))
        for _ in range(5):
            client.variable(f"v{number}")

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(1, NAMES, 2)]
    for each in threads:
        each.start()
    asyncio.run(all_of_them())
    for each in threads:
        each.join(30)
    found = [(name, said) for name, said in runs_of(one) if said.get("run_id") == "r"]
    assert {name for name, _ in found} == {f"v{number}" for number in range(NAMES)}
    assert [name for name, said in found if said["dag_id"] != f"of {name}"] == []
    sources = {said["source"] for name, said in found if int(name[1:]) % 2}
    assert sources == {"task"}


def test_everything_that_is_said_of_a_run_is_recorded(one):
    said = ("etl", "load", "full", 3, 2, "main", "019a-ti", "3f2a", "pay", "task")
    AgentClient(str(one.socket), claims=lambda: said).variable("v0")
    (found,) = [members for _, members in runs_of(one) if members.get("run_id") == "full"]
    assert found == {
        "assurance": 0,
        "dag_id": "etl",
        "task_id": "load",
        "run_id": "full",
        "map_index": 3,
        "try_number": 2,
        "bundle": "main",
        "ti_id": "019a-ti",
        "bundle_version": "3f2a",
        "team": "pay",
        "source": "task",
    }


# --- parsers -----------------------------------------------------------------------------------------------


def test_parsers_share_one_snapshot_and_are_counted_and_recorded_apart(one):
    before = one.status()
    names = [f"v{number}" for number in range(5)] + ["nowhere"]
    for _ in range(40):  # each a process of its own, as far as the agent can tell
        client = AgentClient(str(one.socket))
        for name in names:
            answer = client.read("variable", name, flags=frames.PARSE)
            assert answer.text == (None if name == "nowhere" else f"value {name[1:]}")
        client.close()
    after = one.status()
    assert after["parsing"]["reads"] - before["parsing"]["reads"] == 40 * len(names)
    assert after["parsing"]["asked"] - before["parsing"]["asked"] <= len(names)
    assert (after["parsing"]["entries"], after["parsing"]["absences"]) == (5, 1)
    parsed = [name for name, said in runs_of(one) if said.get("source") == "parse"]
    assert set(parsed) == set(names)
    assert len(parsed) < 3 * len(names)


def test_a_batch_of_a_parser_is_answered_by_the_same_snapshot(one):
    client = AgentClient(str(one.socket))
    refs = [("variable", f"v{number}", None) for number in range(5)]
    client.read_many(refs, flags=frames.PARSE)
    before = one.status()["parsing"]
    assert [answer.text for answer in client.read_many(refs, flags=frames.PARSE)] == [
        f"value {number}" for number in range(5)
    ]
    after = one.status()["parsing"]
    assert (after["asked"], after["reads"]) == (before["asked"], before["reads"] + 5)


def test_a_snapshot_is_as_long_good_as_the_settings_say(tmp_path):
    settings = 'chain = ["env"]\n[cache]\nttl = 3600\n[agent]\nparse_ttl = 0\n'
    with agent(tmp_path, settings, environ=ENVIRON) as one:
        client = AgentClient(str(one.socket))
        for _ in range(5):
            assert client.read("variable", "v1", flags=frames.PARSE).text == "value 1"
        told = one.status()["parsing"]
    assert (told["reads"], told["asked"], told["entries"]) == (5, 5, 0)


def test_a_run_is_not_answered_by_the_snapshot_of_parsers(stored):
    one, write = stored
    write("first")
    client = AgentClient(str(one.socket))
    assert client.read("variable", "region", flags=frames.PARSE).text == "first"
    write("second")
    until(lambda: client.variable("region") == "second", what="the change to be seen")
    answer = client.read("variable", "region", flags=frames.PARSE)
    assert answer.text == "first"
    assert answer.age_ms is not None
    one.admin({"do": "flush", "kind": "variable", "name": "region"})
    assert client.read("variable", "region", flags=frames.PARSE).text == "second"


def test_strict_entries_are_in_no_snapshot(stored):
    one, write = stored
    write("first", name="strict_one")
    client = AgentClient(str(one.socket))
    answer = client.read("variable", "strict_one", flags=frames.PARSE)
    assert (answer.text, answer.flags & frames.STRICT) == ("first", frames.STRICT)
    write("second", name="strict_one")
    until(
        lambda: client.read("variable", "strict_one", flags=frames.PARSE).text == "second",
        what="the change to be seen",
    )


# --- pins --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An agent on a store of ours that gives runs what they were given first, and what writes there."""
    home = tmp_path_factory.mktemp("stored")
    settings = 'chain = ["native"]\n[cache]\npin = "run"\n[agent]\nstrict = ["strict_*"]\n'
    environ = {"HOME": str(home), "STRONGROOM_HOME": str(home)}
    with (
        agent(home, settings, start=False) as running,
        create_room(running.settings, environ=environ) as room,
    ):

        def write(text, name="region"):
            room.entries.write(Change(ref=Ref("variable", name), secret=Secret(text)))

        write("zero")
        running.start()
        yield running, write


def test_a_run_is_given_what_it_was_given_first_and_others_what_stands(stored):
    one, write = stored
    write("old", name="pinned")
    first = AgentClient(str(one.socket), claims=lambda: run("etl", "monday"))
    assert first.variable("pinned") == "old"
    write("new", name="pinned")
    other = AgentClient(str(one.socket), claims=lambda: run("etl", "tuesday"))
    nobody = AgentClient(str(one.socket))
    until(lambda: nobody.variable("pinned") == "new", what="the change to be seen")
    assert other.variable("pinned") == "new"
    assert [first.variable("pinned") for _ in range(3)] == ["old"] * 3
    again = AgentClient(str(one.socket), claims=lambda: run("etl", "monday"))  # another task of that run
    answer = again.read("variable", "pinned")
    assert (answer.text, answer.ttl_ms) == ("old", None)
    (batch,) = again.read_many([("variable", "pinned", None)])
    assert batch.text == "old"
    # A follower, and who asks anew, see what stands.
    assert again.read("variable", "pinned", flags=frames.BYPASS_CACHE).text == "new"
    assert again.variable("pinned") == "old"
    one.admin({"do": "flush", "kind": "variable", "name": "pinned"})
    assert again.variable("pinned") == "new"


def test_strict_entries_and_absences_are_never_pinned(stored):
    one, write = stored
    client = AgentClient(str(one.socket), claims=lambda: run("etl", "wednesday"))
    write("first", name="strict_two")
    assert client.variable("strict_two") == "first"
    assert client.variable("later") is None
    write("second", name="strict_two")
    write("there", name="later")
    until(lambda: client.variable("strict_two") == "second", what="the strict change to be seen")
    until(lambda: client.variable("later") == "there", what="the new one to be seen")


def test_what_is_asked_after_a_claim_that_is_refused_is_not_recorded_for_the_one_before(one):
    said = [run("before")]
    client = AgentClient(str(one.socket), claims=lambda: said[0])
    client.variable("alone_one")
    said[0] = run("x" * 251)
    with pytest.raises(InvalidInputError):
        client.variable("alone_two")
    of = {name: said.get("dag_id") for name, said in runs_of(one)}
    assert (of["alone_one"], of.get("alone_two")) == ("before", None)


# --- announcements -----------------------------------------------------------------------------------------

# A supervisor: it announces, then starts a task that claims to be of another run, and a stranger beside.
SUPERVISOR = r"""
import json, os, subprocess, sys
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
UNSAID = (None,) * 6
def run(dag): return (dag, "load", "r1", None, 1, None, "ti-" + dag, None, None, "task")
client = AgentClient(os.environ["STRONGROOM_SOCKET"])
TASK = '''
import os, subprocess, sys
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
client = AgentClient(os.environ["STRONGROOM_SOCKET"], claims=lambda: ("forged",) + (None,) * 8 + ("task",))
client.variable(sys.argv[1])
try:
    client.announce(("forged",) + (None,) * 9)
    print("announced")
except StrongroomError as error:
    print(error.code)
if len(sys.argv) > 2:
    child = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
    print(subprocess.run(child, capture_output=True, text=True).stdout)
'''
told = []
for dag, name in (("first", "v1"), ("second", "v2")):
    client.announce(run(dag))
    done = subprocess.run([sys.executable, "-c", TASK, name, TASK], capture_output=True, text=True)
    told.append(done.stdout.split() or done.stderr)
client.variable("v3")
client.announce(None)
client.variable("v4")
print(json.dumps(told))
"""


def test_whose_run_it_is_is_told_by_ancestry_and_not_by_who_asks(one):
    told = json.loads(one.python(SUPERVISOR))
    assert told == [["access_denied"] * 2, ["access_denied"] * 2]
    found = [
        (name, said) for name, said in runs_of(one) if said.get("announced") or said.get("dag_id") == "forged"
    ]
    assert {(name, said["dag_id"], said["ti_id"]) for name, said in found} == {
        ("v1", "first", "ti-first"),
        ("v2", "second", "ti-second"),
        ("v3", "second", "ti-second"),  # of the supervisor itself
    }
    assert all(said["announced"] is True and said["assurance"] == 0 for _, said in found)


# A supervisor of two runs, one after the other; what the first one's task left behind keeps its connection.
LEFT_BEHIND = r"""
import os
from strongroom.caller.agent import AgentClient
path = os.environ["STRONGROOM_SOCKET"]
supervisor = AgentClient(path)
asked, asks = os.pipe()
ended, ends = os.pipe()
told, tells = os.pipe()
supervisor.announce(("first",) + (None,) * 9)
if (task := os.fork()) == 0:
    if os.fork():
        os.read(ended, 1)
        os._exit(0)
    client = AgentClient(path)
    client.variable("v10")
    os.write(tells, b".")
    os.read(asked, 1)
    client.variable("v11")
    os.write(tells, b".")
    os._exit(0)
os.read(told, 1)
os.write(ends, b".")
os.waitpid(task, 0)
supervisor.announce(None)
supervisor.announce(("second",) + (None,) * 9)
os.write(asks, b".")
os.read(told, 1)
supervisor.variable("v12")
"""


def test_what_a_run_left_behind_is_not_of_the_supervisors_next_one(one):
    one.python(LEFT_BEHIND)
    of = {name: said.get("dag_id") for name, said in runs_of(one)}
    assert (of["v11"], of["v12"]) == (None, "second")


def test_a_process_beside_an_announced_one_is_not_of_its_run(one):
    with announcing(one, "beside"):
        client = AgentClient(str(one.socket), claims=lambda: run("a stranger", "s1"))
        client.variable("v5")
    (said,) = [said for name, said in runs_of(one) if said.get("run_id") == "s1"]
    assert "announced" not in said


@contextmanager
def announcing(one, dag):
    """Have another process announce a run, and be there meanwhile."""
    program = (
        "import os, sys; from strongroom.caller.agent import AgentClient;"
        "AgentClient(os.environ['STRONGROOM_SOCKET']).announce((sys.argv[1],) + (None,) * 9);"
        "print('done', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, dag],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=one.environ,
    ) as process:
        assert process.stdout.readline() == "done\n"
        yield process
        process.stdin.close()


def test_only_announced_runs_read_where_that_is_required(tmp_path):
    settings = 'chain = ["env"]\n[agent]\nannounced = "required"\n'
    with agent(tmp_path, settings, environ=ENVIRON) as strict:
        client = AgentClient(str(strict.socket), claims=lambda: run("etl", "r"))
        for flags in (0, frames.PARSE, frames.BYPASS_CACHE):
            answer = client.read("variable", "v0", flags=flags)
            assert frames.OUTCOMES[answer.outcome] == "denied"
            assert 'agent.announced = "required"' in answer.refusal.message + (answer.refusal.reason or "")
        with pytest.raises(AccessDeniedError):
            client.variable("v0")
        client.announce(run("etl", "r"))
        assert client.variable("v0") == "value 0"
        client.announce(None)
        with pytest.raises(AccessDeniedError):
            client.variable("v0")


def test_an_older_agent_answers_parsers_and_claims_and_says_that_it_takes_no_announcement(tmp_path):
    from parts.peer import Peer, error, usual  # noqa: PLC0415 -- of this test alone

    def of_minor_0(line, type_, number, payload):
        if type_ == frames.HELLO:
            return frames.frame(frames.HELLO | frames.ANSWER, number, frames.pack_hello("0.1", minor=0))
        if type_ == frames.ANNOUNCE:
            return error(number, "unsupported", "this agent does not know this type of frame")
        return usual(line, type_, number, payload)

    with Peer(tmp_path) as old:
        old.answer = of_minor_0
        client = AgentClient(old.path, claims=lambda: run("etl", "r"))
        assert client.read("variable", "x", flags=frames.PARSE).text == "x"
        with pytest.raises(BackendConfigError):
            client.announce(run("etl", "r"))
