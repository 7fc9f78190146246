"""A host in front of a real server: decided there, pushed from there, kept through its absence."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from parts.bell import until
from parts.enrolled import enrolled_in
from parts.server import serving
from strongroom.assembly import open_host
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Decision
from strongroom.service.entries import Change
from strongroom.service.policies import Draft
from strongroom.settings import load

ME = os.geteuid()
NAMES = [Ref("variable", f"v{number}") for number in range(60)]
REGION = Ref("variable", "region")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # Each test enrols an agent of its own, all from one address.
    with serving(
        tmp_path_factory.mktemp("server"),
        "[server.limits]\nstranger_per_second = 1000\nstranger_burst = 1000\n",
    ) as running:
        changes = [Change(ref=ref, secret=Secret(ref.name)) for ref in NAMES]
        write(running, *changes, Change(ref=REGION, secret=Secret("eu")))
        yield running


def write(server, *changes):
    server.house.deployment().root.entries.write_many(changes)


@pytest.fixture
def host(tmp_path, server, request):
    home = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    (tmp_path / "strongroom.toml").write_text('chain = ["remote"]\n')
    settings = load(tmp_path / "strongroom.toml", environ=home)
    settings.agent.state.mkdir(parents=True, mode=0o700, exist_ok=True)
    name = "agent-" + "".join(each for each in request.node.name if each.isalnum())[-40:].lower()
    enrolled_in(settings.agent.state, server, name)
    with open_host(settings, environ=home) as host:
        host.start()
        until(lambda: host.freshness.hearing("remote").is_live)
        host.name = name
        yield host


def text(host, ref=REGION, uid=ME):
    entry = host.reader(uid, None).read(ref)
    return None if entry is None else entry.secret.reveal()


def is_denied(host):
    try:
        text(host)
    except AccessDeniedError:
        return True
    return False


def test_the_server_decides_for_an_agent_that_is_enrolled(host):
    assert text(host) == "eu"
    assert host.status().decided_by == "server"


def test_write_on_the_server_is_served_within_a_second(host, server):
    text(host)
    write(server, Change(ref=REGION, secret=Secret("us")))
    until(lambda: text(host) == "us", seconds=5)
    write(server, Change(ref=REGION, secret=Secret("eu")))
    until(lambda: text(host) == "eu", seconds=5)


def test_followers_hear_of_a_write_on_the_server(host, server):
    text(host)
    woken = []
    host.follow(REGION, lambda ref, version: woken.append((ref, version)))
    write(server, Change(ref=REGION, secret=Secret("us")))
    until(lambda: woken, seconds=5)
    assert woken == [(REGION, host.cache.glance(REGION).version)]
    write(server, Change(ref=REGION, secret=Secret("eu")))
    until(lambda: len(woken) == 2, seconds=5)


def test_an_agent_listens_to_its_server_once_for_what_changed_and_for_who_may(host, server):
    assert [thread.name for thread in threading.enumerate()].count("strongroom-hearing") == 1
    (backend,) = host.status().backends
    assert (backend.watched, backend.circuit) == ("live", "closed")
    assert text(host) == "eu"
    forbid = 'forbid (principal is Agent, action == Action::"read", resource is Entry);'
    policies = server.house.deployment().root.policies
    policies.put(Draft(text=forbid, id="no-agents"))
    try:
        until(lambda: is_denied(host), seconds=3)  # sooner than it would ask by itself
    finally:
        policies.delete("no-agents")


def asked(server, path):
    return sum(path in line for line in server.log.splitlines())


def test_a_batch_is_one_question_of_who_may_and_one_of_what_is_there(host, server):
    before = [asked(server, "/agents/decide"), asked(server, "/v1/read")]
    answers = asyncio.run(host.reader(ME, None).aread_many(NAMES))
    assert [one.entry.secret.reveal() for one in answers] == [ref.name for ref in NAMES]
    until(lambda: asked(server, "/v1/read") > before[1])
    assert [asked(server, "/agents/decide"), asked(server, "/v1/read")] == [one + 1 for one in before]


def listed(host, uid=ME):
    return [row.ref for page in host.inventory(uid).pages() for row in page]


def test_what_there_is_is_listed_with_one_question_of_who_may_see_it(host, server):
    users = iter(range(ME + 1, ME + 1000))

    def questions():
        before = asked(server, "/agents/decide")
        assert listed(host, next(users)) == sorted([REGION, *NAMES], key=lambda ref: ref.name)
        return asked(server, "/agents/decide") - before

    # A listing meanwhile the rules are first heard of forgets what it had asked, and asks again.
    until(lambda: questions() == 1)


def test_a_name_that_may_not_be_listed_is_left_out_and_nobody_is_on_record_as_denied(host, server):
    root = server.house.deployment().root
    forbid = 'forbid (principal is Agent, action == Action::"list", resource is Entry)'
    forbid += f' when {{ context has user && context.user == "local:{ME}" && resource.name like "v1*" }};'
    root.policies.put(Draft(text=forbid, id="no-ones"))
    try:
        until(lambda: not any(ref.name.startswith("v1") for ref in listed(host)), seconds=5)
        assert REGION in listed(host)
    finally:
        root.policies.delete("no-ones")
    denied = [record for record in root.audit.tail(200) if record.outcome == "denied"]
    assert [record for record in denied if record.action == "list"] == []


def test_where_nobody_can_decide_who_sees_it_that_is_told_and_no_list_is_short(host):
    asking = host.inventory(ME)
    trouble = BackendUnavailableError("nobody decides", backend="server")
    undecided = Decision(is_allowed=False, reason="", trouble=trouble)
    host.guard.current = lambda: Undecided(undecided)
    with pytest.raises(BackendUnavailableError, match="nobody decides"):
        list(asking.pages())


class Undecided:
    needs_facts = False

    def __init__(self, decision):
        self._decision = decision

    def prepare(self, actor, action, refs):
        pass

    def decide(self, actor, action, ref, facts=None):
        return self._decision


def test_reload_that_changes_nothing_asks_for_nothing_anew(host, tmp_path):
    text(host)
    misses = host.cache.statistics().misses
    host.reload(host.settings)
    until(lambda: host.freshness.hearing("remote").is_live)
    assert text(host) == "eu"
    assert host.cache.statistics().misses <= misses + 1


def test_agent_that_is_revoked_is_denied_what_it_holds(host, server):
    assert text(host) == "eu"
    server.house.deployment().root.access.agents.revoke(host.name)
    until(lambda: is_denied(host), seconds=10)
