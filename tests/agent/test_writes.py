"""Writing through an agent: into its own store, and on to the server it is enrolled with, as who asks."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from audit_parts import lines_in
from parts.agent import agent
from parts.proxy import Proxy
from parts.server import serving
from strongroom.assembly import create_room
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient
from strongroom.caller.writes import write
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    ReadOnlyError,
)
from strongroom.model.ref import Ref

CANARY = "cAnArY-5up3r-s3cret"
TOKEN = Ref("variable", "token")
# Adds one to a number, as often as it is told; says what it last wrote.
COUNTER = """
import sys, strongroom
for _ in range(int(sys.argv[1])):
    last = strongroom.update("count", lambda text: str(int(text or 0) + 1), expires_in=3600)
print(last)
"""
SETTINGS = """
chain = ["{chain}"]
[cache]
ttl = 3600
"""


def recorded(folder):
    return [json.loads(line) for line in lines_in(folder)]


@contextmanager
def of_store(folder):
    """Run an agent on a store of ours, which another process has made."""
    with agent(folder, SETTINGS.format(chain="native"), start=False) as one:
        environ = {"HOME": str(folder), "STRONGROOM_HOME": str(folder)}
        create_room(one.settings, environ=environ).close()
        one.start()
        yield one, lambda: recorded(one.audit)


@contextmanager
def of_server(folder):
    """Run an agent that is enrolled with a server."""
    (folder / "server").mkdir()
    with (
        serving(folder / "server") as server,
        agent(folder, SETTINGS.format(chain="remote"), start=False) as one,
    ):
        one.enrol(server)
        one.start()
        one.server = server
        yield one, lambda: recorded(server.house.deployment().root.audit.folder)


@pytest.fixture(scope="module", params=[of_store, of_server], ids=["store", "server"])
def held(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("w")) as (one, records):
        yield one, records


@pytest.fixture
def one(held):
    return held[0]


@pytest.fixture
def client(one):
    return AgentClient(str(one.socket))


def test_what_is_written_is_read_at_once_by_who_had_read_before(one, client):
    write(client, {"kind": "variable", "name": "region", "value": "eu"})
    assert client.variable("region") == "eu"
    _, version = write(client, {"kind": "variable", "name": "region", "value": "us"})
    assert client.variable("region") == "us"
    assert client.read("variable", "region").version == version


def test_two_processes_that_change_one_value_lose_nothing(one):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTER, "15"],
            env=one.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert max(int(out) for out, _ in said) == 30
    assert one.client().variable("count") == "30"


def test_another_version_than_expected_is_a_conflict_and_nothing_is_written(one, client):
    _, first = write(client, {"kind": "variable", "name": "raced", "value": "one"})
    write(client, {"kind": "variable", "name": "raced", "value": "two", "expected_version": first})
    for expected in (first, "absent", ""):
        with pytest.raises(ConflictError):
            write(
                client, {"kind": "variable", "name": "raced", "value": CANARY, "expected_version": expected}
            )
    assert client.variable("raced") == "two"


def test_a_connection_is_written_by_its_fields(one, client):
    fields = {"conn_type": "http", "host": "example.com", "password": "pw"}
    write(client, {"kind": "connection", "name": "api", "fields": fields})
    found = client.connection("api")
    assert (found.host, found.password.reveal()) == ("example.com", "pw")


def test_what_expires_is_gone_then_and_what_is_public_stays_with_the_next_write(one):
    told = one.python(
        """
import strongroom, time
strongroom.write("brief", "1", expires_in=3600, description="of the load")
strongroom.write("brief", "2")
strongroom.write("gone", "1", expires_in=0.01)
until = time.monotonic() + 20
while strongroom.variable("gone", default=None) and time.monotonic() < until:
    time.sleep(0.01)
print(strongroom.variable("brief"), strongroom.variable("gone", default="nothing"))
"""
    )
    assert told == "2 nothing"


def test_a_team_gets_a_value_of_its_own_over_the_global_one(one):
    told = one.python(
        """
import strongroom
strongroom.write("shared", "global")
strongroom.update("shared", lambda text: text + "+team", team="data")
print(strongroom.variable("shared"), strongroom.variable("shared", team="data"))
"""
    )
    assert told == "global global+team"


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"kind": "variable", "name": "x"},
        {"kind": "variable", "name": "x", "value": CANARY, "fields": {}},
        {"kind": "secret", "name": "x", "value": CANARY},
        {"kind": "variable", "name": "/etc/passwd", "value": CANARY},
        {"kind": "variable", "name": "x", "value": [CANARY]},
        {"kind": "variable", "name": "x", "value": CANARY, "expires_in": -1},
        {"kind": "variable", "name": "x", "value": CANARY, "expires_in": 1e300},
        {"kind": "variable", "name": "x", "value": CANARY, "description": "d" * 5000},
        {"kind": "variable", "name": "x", "value": CANARY + "\ud800"},
        {"kind": "variable", "name": "x", "value": CANARY * 20_000},
        {"kind": "connection", "name": "x", "value": CANARY},
        {"kind": "connection", "name": "x", "fields": {"port": CANARY}},
    ],
)
def test_what_is_no_write_is_refused_without_a_word_of_its_value(one, client, order):
    with pytest.raises(InvalidInputError) as caught:
        write(client, order)
    assert CANARY not in f"{caught.value} {caught.value.hint}"
    assert client.variable("x") is None
    assert CANARY not in one.log()


def test_members_that_are_not_known_are_passed_over(one, client):
    write(client, {"kind": "variable", "name": "later", "value": "1", "of_a_later_version": True})
    assert client.variable("later") == "1"


def test_a_write_is_recorded_for_who_wrote_and_for_the_run(held):
    one, records = held
    environ = {"AIRFLOW_CTX_DAG_ID": "daily", "AIRFLOW_CTX_TASK_ID": "renew"}
    one.python(f"import strongroom; strongroom.write('recorded', {CANARY!r})", environ=environ)
    found = [
        line
        for line in records()
        if line.get("name") == "recorded"
        and line["action"] == "write"
        # The agent's own record of it may have been delivered to the server by now.
        and "chain" not in (line.get("agent") or {})
    ]
    assert [line["outcome"] for line in found] == ["begun", "done"]
    for line in found:
        assert (line["run"]["dag_id"], line["run"]["task_id"]) == ("daily", "renew")
        assert "local:" in json.dumps([line["actor"], line.get("agent")])
    assert CANARY not in json.dumps(found)


# --- who may, and where nothing takes it -----------------------------------------------------------


def test_who_may_only_read_at_the_server_is_denied_and_that_is_recorded(tmp_path):
    (tmp_path / "server").mkdir()
    with (
        serving(tmp_path / "server") as server,
        agent(tmp_path, SETTINGS.format(chain="remote"), start=False) as one,
    ):
        one.enrol(server, roles=("reader",))
        one.start()
        with pytest.raises(AccessDeniedError) as caught:
            write(one.client(), {"kind": "variable", "name": "token", "value": CANARY})
        assert CANARY not in str(caught.value)
        found = [
            line
            for line in recorded(server.house.deployment().root.audit.folder)
            if line.get("name") == "token"
        ]
        assert {(line["action"], line["outcome"]) for line in found} == {("write", "denied")}


def test_a_place_that_is_only_read_refuses_and_says_which(tmp_path):
    with agent(tmp_path, 'chain = ["env"]\n', environ={"AIRFLOW_VAR_REGION": "eu"}) as one:
        client = one.client()
        for name in ("region", "other"):
            with pytest.raises(ReadOnlyError, match="env"):
                write(client, {"kind": "variable", "name": name, "value": CANARY})
        assert client.variable("region") == "eu"


def test_a_policy_file_says_who_may_write_what(tmp_path):
    policy = """
@id("p.read") permit (principal, action == Action::"read", resource is Entry);
@id("p.renew") permit (principal, action == Action::"write", resource in Folder::"tokens");
"""
    settings = 'chain = ["native"]\n[agent]\npolicy = "p.cedar"\n'
    (tmp_path / "p.cedar").write_text(policy)
    with agent(tmp_path, settings, start=False) as one:
        environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
        create_room(one.settings, environ=environ).close()
        one.start()
        client = one.client()
        write(client, {"kind": "variable", "name": "tokens/api", "value": "1"})
        with pytest.raises(AccessDeniedError):
            write(client, {"kind": "variable", "name": "other", "value": "1"})


def test_a_write_whose_answer_is_lost_is_not_done_twice(tmp_path):
    (tmp_path / "server").mkdir()
    with (
        serving(tmp_path / "server") as server,
        Proxy("127.0.0.1", server.port) as proxy,
        agent(tmp_path, SETTINGS.format(chain="remote"), start=False) as one,
    ):
        one.enrol(server, url=proxy.url())
        one.start()
        client = one.client()
        write(client, {"kind": "variable", "name": "token", "value": "1"})
        proxy.become("refuse")
        with pytest.raises(BackendUnavailableError):
            write(client, {"kind": "variable", "name": "token", "value": "2"})
        proxy.become("pass")
        assert len(server.house.deployment().root.entries.history(TOKEN)) == 1


def test_a_write_is_not_sent_again_where_the_agent_ends_after_it_came(tmp_path):
    path = tmp_path / "run" / "agent.sock"
    path.parent.mkdir(mode=0o700)
    seen = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def end_each():
            while True:
                try:
                    opened, _ = listening.accept()
                except OSError:
                    return
                with opened:
                    seen.append(opened.recv(65_536))

        thread = threading.Thread(target=end_each, daemon=True)
        thread.start()
        with pytest.raises(BackendUnavailableError) as caught:
            write(AgentClient(str(path)), {"kind": "variable", "name": "token", "value": CANARY})
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert "may have been done" in caught.value.hint
    assert sum(data.count(CANARY.encode()) for data in seen) == 1
    assert frames.WRITE == 0x0B
