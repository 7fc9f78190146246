"""
A real server decides for a real host: what it allows, what it takes back, and what is left when it is away.

The host is opened in this process, so that a test may look behind it; its server is a real one on a port,
with a proxy in front of it.
"""

import asyncio
import json
import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from audit_parts import event, until
from parts.proxy import Proxy
from parts.server import serving
from strongroom.agent.enrol import enrol
from strongroom.assembly import open_host
from strongroom.audit import AuditLog
from strongroom.audit.verify import verify_log
from strongroom.caller.address import ServerAddress
from strongroom.errors import AccessDeniedError, BackendUnavailableError, SettingsError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Assurance, Role, Run
from strongroom.service.policies import Draft
from strongroom.settings import load

SERVER = """
deployment = "prod"
[server.limits]
identity_per_second = 0
stranger_per_second = 0
"""
AGENT = """
deployment = "prod"
chain = ["file"]
[backend.file]
variables_file_path = "variables.json"
[agent]
state = "state"
strict = ["pci/*"]
revoke_bound = 2
{more}
"""
REGION = Ref("variable", "region")
PCI = Ref("variable", "pci/key")
ME = os.geteuid()
BOUND_SECONDS = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), SERVER) as found:
        found.admin = found.token("admin", "admin")
        yield found


class Site:
    """A host enrolled with the server as *name*, through a proxy."""

    def __init__(self, folder, server, proxy, name):
        self.folder, self.server, self.proxy, self.name = folder, server, proxy, name
        self.state = folder / "state"
        self.troubles = []
        values = {"region": "eu", "pci/key": "k", "other": "o", **{f"v{n}": str(n) for n in range(50)}}
        (folder / "variables.json").write_text(json.dumps(values))
        self.access = server.house.deployment().root.access
        invited = self.access.agents.invite(name, roles=[Role("reader")])
        address = ServerAddress(proxy.url())
        enrol(self.state, address, invited.code)

    def open(self, more=""):
        path = self.folder / "strongroom.toml"
        path.write_text(AGENT.format(more=more))
        path.chmod(0o600)
        environ = {"STRONGROOM_HOME": str(self.folder), "HOME": str(self.folder)}
        host = open_host(
            load(path, environ=environ),
            environ=environ,
            on_trouble=lambda what, error: self.troubles.append(f"{what}: {error}"),
        )
        host.start()
        return host

    def records(self):
        """Give what of this agent is on record at the server."""
        trail = self.server.house.deployment().root.audit
        return [record for record in trail.tail(1000) if record.actor == f"agent:{self.name}"]


@contextmanager
def put_up(folder, server, name):
    with Proxy("127.0.0.1", server.port) as proxy:
        made = Site(folder, server, proxy, name)
        hosts = []

        def open_(more="", *, is_heard=True):
            hosts.append(made.open(more))
            # Until it listens, what it was told may be asked a second time.
            until(lambda: not is_heard or hosts[-1].guard.current()._inner.revision)
            return hosts[-1]

        made.host = open_
        try:
            yield made
        finally:
            proxy.become("pass")
            for host in hosts:
                host.close()


@pytest.fixture
def site(tmp_path, server, request):
    name = "h" + request.node.name.lower().replace("_", "-").strip("-")[-40:].strip("-[]")
    with put_up(tmp_path, server, name.replace("[", "-").replace("]", "")) as made:
        yield made


def value(host, ref=REGION, uid=1000, run=None):
    return host.reader(uid, run).read(ref).secret.reveal()


def taken_back(host, ref=REGION, **more):
    """Read until it is denied; give the seconds that took."""
    began = time.monotonic()

    def is_denied():
        try:
            value(host, ref, **more)
        except AccessDeniedError:
            return True
        return False

    until(is_denied, seconds=BOUND_SECONDS + 5)
    return time.monotonic() - began


@contextmanager
def policy(server, id_, text):
    """Have one policy more in force."""
    policies = server.house.deployment().root.policies
    policies.put(Draft(text=text, id=id_))
    try:
        yield
    finally:
        policies.delete(id_)


def test_the_server_decides_and_the_host_says_so(site):
    host = site.host()
    assert host.status().decided_by == "server"
    assert value(host) == "eu"
    assert host.status().decisions["state"] == "connected"
    decided = host.guard.current().decide(host.actor(1000), *_read(REGION))
    assert decided.policies == ("reader",)


def _read(ref):
    return Action.READ, ref


def test_many_names_are_one_question(site):
    host = site.host()
    refs = [Ref("variable", f"v{number}") for number in range(50)]
    before = sum("agents/decide" in line for line in site.proxy.lines)
    answers = _many(host, refs)
    assert [answer.entry.secret.reveal() for answer in answers] == [str(number) for number in range(50)]
    assert sum("agents/decide" in line for line in site.proxy.lines) - before <= 2


def _many(host, refs):
    return asyncio.run(host.reader(1000).aread_many(refs))


def test_the_local_user_is_context_of_the_decision(site, server):
    host = site.host()
    text = (
        'forbid (principal is Agent, action == Action::"read", resource is Entry) '
        'when { context.user == "local:1001" };'
    )
    with policy(server, "not-1001", text):
        until(lambda: "not-1001" in _deciders(host, 1001))
        assert value(host, uid=1000) == "eu"
        with pytest.raises(AccessDeniedError):
            value(host, uid=1001)
        (denied, *_) = [record for record in site.records() if record.outcome == "denied" and record.agent]
        assert denied.agent["user"] == "local:1001"
        assert denied.policies == ("not-1001",)


def _deciders(host, uid):
    return host.guard.current().decide(host.actor(uid), *_read(REGION)).policies


def test_a_run_is_asked_for_only_where_a_policy_looks_at_runs(site, server):
    host = site.host()
    run_a, run_b = (Run(Assurance.CLAIMED, dag_id=dag) for dag in ("a", "b"))
    assert value(host, run=run_a) == "eu"
    assert host.guard.current().knows(host.actor(1000, run_b), *_read(REGION))
    text = (
        'forbid (principal is Agent, action == Action::"read", resource is Entry) '
        'when { context.run.dag_id == "b" };'
    )
    with policy(server, "not-b", text):
        taken_back(host, run=run_b)
        assert value(host, run=run_a) == "eu"
        assert not host.guard.current().knows(host.actor(1000), *_read(REGION))


def test_a_policy_that_is_added_reaches_hits_within_the_bound(site, server):
    host = site.host()
    until(lambda: value(host) == "eu" and host.reader(1000).peek(REGION) is not None)
    text = 'forbid (principal is Agent, action == Action::"read", resource is Entry);'
    with policy(server, "stop-agents", text):
        assert taken_back(host) < BOUND_SECONDS
        assert host.reader(1000).peek(REGION) is None
    until(lambda: host.guard.current().decide(host.actor(1000), *_read(REGION)).is_allowed)
    assert value(host) == "eu"


def test_a_role_that_is_taken_back_reaches_hits_within_the_bound(site):
    host = site.host()
    assert value(host) == "eu"
    site.access.roles.revoke("reader", f"agent:{site.name}")
    assert taken_back(host) < BOUND_SECONDS


def test_an_agent_that_is_revoked_is_denied_everything_within_the_bound(site):
    host = site.host()
    assert (value(host), value(host, PCI)) == ("eu", "k")
    site.access.agents.revoke(site.name)
    assert taken_back(host) < BOUND_SECONDS
    until(
        lambda: host.guard.current().decide(host.actor(0), *_read(Ref("variable", "other"))).trouble is None
    )
    with pytest.raises(AccessDeniedError):
        value(host, PCI)
    told = host.status().decisions
    assert (told["state"], "no agent is known" in told["trouble"]) == ("refused", True)


WAYS_APART = ["refuse", "drop", "reset", "hang", "mute"]


@pytest.fixture(scope="module")
def parted(server, tmp_path_factory):
    """A site for each way of being cut off, all cut at once: their waits are one."""
    with ExitStack() as stack:
        sites = {}
        for mode in WAYS_APART:
            made = put_up(tmp_path_factory.mktemp(mode), server, f"parted-{mode}")
            sites[mode] = stack.enter_context(made)
            sites[mode].opened = sites[mode].host()
        for site in sites.values():
            assert (value(site.opened), value(site.opened, PCI)) == ("eu", "k")
        for mode, site in sites.items():
            site.proxy.become(mode)
            site.proxy.cut()
            site.refusal = Refusal(site.opened)
        yield sites


class Refusal:
    """Read the strict entry until that is unavailable; `seconds` says when that was."""

    def __init__(self, host):
        self.seconds = None
        self._host = host
        self._began = time.monotonic()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        def is_unavailable():
            try:
                value(self._host, PCI)
            except BackendUnavailableError:
                return True
            return False

        until(is_unavailable, seconds=25)
        self.seconds = time.monotonic() - self._began


@pytest.mark.parametrize("mode", WAYS_APART)
def test_F17_parted_from_its_server_strict_entries_end_with_revoke_bound_and_others_go_on(parted, mode):
    site = parted[mode]
    host, refusal = site.opened, site.refusal
    until(lambda: refusal.seconds is not None, seconds=25)
    # What was asked a moment before may be answered a moment after.
    assert refusal.seconds >= 1.5 or mode in ("refuse", "drop", "reset")
    assert value(host) == "eu"
    with pytest.raises(BackendUnavailableError):
        value(host, Ref("variable", "other"), uid=4711)
    site.proxy.become("pass")
    until(lambda: host.guard.current().decide(host.actor(1000), *_read(PCI)).is_allowed, seconds=30)
    assert value(host, PCI) == "k"


def test_nothing_of_a_decision_is_made_up_where_the_server_was_never_reached(site):
    site.proxy.become("refuse")
    host = site.host(is_heard=False)
    with pytest.raises(BackendUnavailableError):
        value(host)
    with pytest.raises(BackendUnavailableError):
        host.explain(1000, None, REGION)
    log = AuditLog(site.state / "audit", deployment="prod", clock=None)
    assert "denied" not in {record.outcome for record in log.tail(100)}


def test_uses_come_to_the_server_and_its_log_verifies_with_the_agents_chain(site, server):
    host = site.host()
    run = Run(Assurance.CLAIMED, dag_id="daily", task_id="load")
    assert value(host, run=run) == "eu"
    assert value(host, PCI) == "k"
    until(lambda: host.recorder.status()["waiting"] == 0 and host.recorder.status()["delivered"] >= 2)
    mine = {(record.name, record.agent["user"]) for record in site.records() if record.agent}
    assert {("region", "local:1000"), ("pci/key", "local:1000")} <= mine
    (used,) = [r for r in site.records() if r.name == "region" and r.agent and r.outcome == "found"]
    assert used.run == {"assurance": 0, "dag_id": "daily", "task_id": "load"}
    assert used.policies == ("reader",)
    assert server.house.deployment().root.audit.verify().is_ok
    assert verify_log(site.state / "audit").is_ok


def test_uses_of_an_outage_come_once_it_is_over(site):
    host = site.host()
    assert value(host) == "eu"
    site.proxy.become("refuse")
    assert value(host) == "eu"
    host.recorder.append_strict(event("outage"))
    site.proxy.become("pass")
    host.close()
    numbers = [record.agent["seq"] for record in site.records() if record.agent and "seq" in record.agent]
    assert sorted(numbers) == list(range(len(numbers)))


def test_AU09_a_writer_that_is_killed_while_records_come_neither_loses_nor_doubles_one(site, server):
    """The server's own process of the log, under a delivery that goes on."""
    host = site.host()
    writer = server.house.deployment().recorder._writer
    for number in range(6):
        for each in range(30):
            host.recorder.append(event(f"{number}-{each}"))
        host.recorder.append_strict(event(f"{number}"))
        pid = writer.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: writer.pid not in (None, pid))
    until(lambda: host.recorder.status()["waiting"] == 0, seconds=60)
    folder = server.house.deployment().root.audit.folder
    numbers = [
        record.agent["seq"]
        for record in AuditLog(folder, deployment="prod", clock=None).tail(100_000)
        if record.actor == f"agent:{site.name}" and record.agent and "seq" in record.agent
    ]
    assert numbers == list(range(host.recorder.durable))
    assert verify_log(folder).is_ok


def test_only_agents_may_ask_and_deliver(server):
    for path, body in (
        ("/v1/agents/decide", {"questions": []}),
        ("/v1/agents/records", {"chain": "0" * 16, "lines": []}),
        ("/v1/agents/write", {"user": "local:1000", "changes": []}),
    ):
        answer = server.ask("POST", path, body, token=server.admin)
        assert (answer.status, answer.code) == (403, "access_denied")
        assert server.ask("POST", path, body).status == 401


def test_a_policy_file_beside_a_server_is_refused(site):
    (site.folder / "p.cedar").write_text("permit (principal, action, resource);")
    with pytest.raises(SettingsError, match=r"agent\.policy"):
        site.host('policy = "p.cedar"')


def test_the_status_tells_of_the_record_and_its_delivery(site):
    host = site.host()
    value(host)
    found = host.status().spool
    assert SimpleNamespace(**found).max_bytes == 67_108_864
    until(lambda: host.status().spool["delivered"] >= 1)
    assert host.status().spool["delivery"] == ""
