"""
Tests of connections from an agent: asked for at a real server, made on the host of a real agent, told back.
"""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from audit_parts import until
from cli_shell import Shell
from parts.api import Asking, native
from parts.proxy import Proxy
from strongroom.agent.enrol import enrol
from strongroom.assembly import open_host
from strongroom.assembly.upstream import tell_tested
from strongroom.caller.address import ServerAddress
from strongroom.caller.enrolled import client_of
from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.live.probe import Step
from strongroom.model.ref import Ref
from strongroom.policy import Role
from strongroom.server import reach
from strongroom.service.host_tests import Told
from strongroom.settings import load

SERVER = """
deployment = "prod"
chain = ["native"]
[server.limits]
identity_per_second = 0
stranger_per_second = 0
"""
CANARY = "c4nary-of-an-agents-test"
DB = Ref("connection", "near")
LOCAL = 'chain = ["file"]\n[backend.file]\nconnections_file_path = "connections.json"'


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with native(tmp_path_factory.mktemp("server"), SERVER) as server:
        asking = Asking(server)
        asking.put("connection", DB.name, {"value": f"ftp://svc:{CANARY}@127.0.0.1:{server.port}/"})
        yield asking


@pytest.fixture(autouse=True)
def unbounded():
    reach._ALLOWANCE._buckets = reach._Allowance()._buckets


@contextmanager
def agent(api, folder, name, *, chain='chain = ["remote"]', more="test_connections = true"):
    """An agent of the server, enrolled as *name*, that listens."""
    folder.mkdir(exist_ok=True)
    deployment = api.house.deployment()
    invited = deployment.root.access.agents.invite(name, roles=[Role("reader")])
    with Proxy("127.0.0.1", api.server.port) as proxy:
        enrol(folder / "state", ServerAddress(proxy.url()), invited.code)
        file = folder / "strongroom.toml"
        file.write_text(f'deployment = "prod"\n{chain}\n[agent]\nstate = "state"\n{more}\n')
        file.chmod(0o600)
        environ = {"STRONGROOM_HOME": str(folder), "HOME": str(folder)}
        with open_host(load(file, environ=environ), environ=environ) as host:
            host.start()
            until(lambda: deployment.feed.attendance.of(f"agent:{name}").is_here)
            try:
                yield proxy
            finally:
                deployment.root.access.agents.revoke(name)


def ordered(api, on, name=DB.name):
    answer = api.ask("POST", f"/test/connection/{name}", query={"on": on})
    assert answer.status == 200, answer.body
    told = answer.json()
    assert told["status"] == "waiting"
    return told["order"]


def answered(api, order, name=DB.name):
    """Give the answer of the server once it does not wait for the agent any more."""
    found = []

    def is_there():
        answer = api.ask("GET", f"/test/connection/{name}", query={"order": order})
        found[:] = [answer]
        return answer.status != 200 or answer.json()["tests"][0]["status"] != "waiting"

    until(is_there)
    return found[0]


def test_a_test_is_made_on_the_host_of_the_agent_and_told_back_step_by_step(api, tmp_path):
    with agent(api, tmp_path / "one", "one"):
        (told,) = answered(api, ordered(api, "agent:one")).json()["tests"]
    assert (told["status"], told["place"], told["by"]) == ("ok", "agent:one", "service:api-admin")
    assert told["steps"][-1]["name"] == "tcp"
    (kept, *_) = api.house.deployment().trials.of(DB)
    assert (kept.place, kept.is_ok) == ("agent:one", True)
    records = api.house.deployment().root.audit.tail(1000)
    assert [one.outcome for one in records if (one.actor, one.action) == ("agent:one", "test")] == ["done"]
    assert all(CANARY not in repr(one) for one in records)


def test_an_agent_alone_need_not_be_named_and_reads_through_its_own_chain(api, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    closed = {"conn_type": "ftp", "host": "127.0.0.1", "port": 1, "password": CANARY}
    (folder / "connections.json").write_text(json.dumps({DB.name: closed}))
    with agent(api, folder, "own", chain=LOCAL):
        (told,) = answered(api, ordered(api, "agent")).json()["tests"]
    assert (told["status"], told["failed"]) == ("failed", "tcp")


def test_an_agent_makes_none_unless_its_own_settings_say_so(api, tmp_path):
    with agent(api, tmp_path / "off", "off", more=""):
        answer = answered(api, ordered(api, "agent:off"))
    assert (answer.status, answer.code) == (403, "access_denied")
    assert answer.json()["error"]["hint"].startswith("agent.test_connections = true")


def test_an_agent_reaches_only_what_its_own_settings_list(api, tmp_path):
    more = 'test_connections = true\ntest_networks = ["10.99.0.0/16"]'
    with agent(api, tmp_path / "fenced", "fenced", more=more):
        (told,) = answered(api, ordered(api, "agent:fenced")).json()["tests"]
    assert (told["status"], told["failed"]) == ("failed", "address")


def test_an_agent_that_finds_no_such_connection_says_so(api, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "connections.json").write_text("{}")
    with agent(api, folder, "empty", chain=LOCAL):
        answer = answered(api, ordered(api, "agent:empty"))
    assert (answer.status, answer.code) == (404, "not_found")


def test_an_order_is_told_again_where_the_stream_broke_and_made_once(api, tmp_path):
    with agent(api, tmp_path / "again", "again") as proxy:
        proxy.become("refuse")
        until(lambda: not api.house.deployment().feed.attendance.of("agent:again").is_here)
        order = ordered(api, "agent:again")
        proxy.become("pass")
        (told,) = answered(api, order).json()["tests"]
    assert told["status"] == "ok"
    made = [one for one in api.house.deployment().trials.of(DB) if one.order == order]
    assert len(made) == 1


def test_an_agent_cannot_answer_what_another_was_asked(api, tmp_path):
    deployment = api.house.deployment()
    given = reach.assignments_of(deployment).give("victim", DB, "person:ada")
    with agent(api, tmp_path / "thief", "thief", more=""):
        (client,) = [client_of(tmp_path / "thief" / "state")]
        with pytest.raises(NotFoundError):
            tell_tested(client, Told(given.id, None, "1", (Step("tcp", "ok", "", 1.0),)))
        with pytest.raises(InvalidInputError):
            tell_tested(client, Told(given.id, None, "1", (Step("boom", "ok", CANARY, 1.0),)))
        client.close()
    assert reach.assignments_of(deployment).find(given.id) == given


def test_the_command_waits_for_the_agent_and_tells_its_refusal_as_an_error(api, tmp_path):
    shell = Shell(tmp_path)
    shell.environ |= {"STRONGROOM_URL": api.server.address, "STRONGROOM_TOKEN": api.tokens["admin"]}
    with agent(api, tmp_path / "cli", "cli"):
        done = shell(["connections", "test", DB.name, "--on", "agent:cli"])
        assert (done.code, "waiting for the agent" in done.err) == (0, True)
        assert "from agent:cli: every step went well" in done.out
    with agent(api, tmp_path / "shut", "shut", more=""):
        refused = shell(["connections", "test", DB.name, "--on", "agent:shut"])
        assert (refused.code, "lets nobody test" in refused.err) == (4, True)
    assert CANARY not in done.out + done.err + refused.out + refused.err
