"""A server as a backend, against a real server: as an enrolled agent, and with a token of a service."""

from __future__ import annotations

import socket
from contextlib import closing
from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from parts.enrolled import enrolled_in
from parts.proxy import Proxy
from parts.server import serving
from strongroom.backend import load
from strongroom.backends.remote import Remote, RemoteOptions
from strongroom.cache import Cache, Lifetimes
from strongroom.caller import ServerAddress
from strongroom.caller.enrolled import client_of
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model.entry import Draft, Metadata
from strongroom.model.ref import KINDS, Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.settings import load as load_settings
from strongroom.settings import options as options_of
from strongroom.testing.contract import BackendContract

SETTINGS = """
deployment = "prod"
chain = ["native"]

[backend.native]
team_fallback = false

[server.limits]
read_per_second = 100000
identity_per_second = 100000
identity_burst = 100000
stranger_per_second = 10000
stranger_burst = 10000
"""
AGENT = "agent:contract"


def clock():
    return datetime.now(timezone.utc)


class Held:
    """The server of a module, and what stands in it."""

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder
        self.place = server.house.deployment()
        self.native = self.place.chain.links[0].backend
        self.access = self.place.root.access

    def put(self, ref, text, **facts):
        self.native.write(Draft(ref=ref, secret=Secret(text), author="contract", metadata=Metadata(**facts)))
        self.place.feed.poll()

    def remove(self, ref):
        self.native.delete(ref, author="contract")
        self.place.feed.poll()

    def empty(self):
        for kind in KINDS:
            for team in (None, "data", "web"):
                for row in self.native.list(kind, team=team):
                    self.native.delete(row.ref, author="contract")
        self.place.feed.poll()

    def allow(self, actor):
        """Let *actor* read, whatever a test took from it."""
        for role in ("reader", "op"):
            self.access.roles.grant(role, actor, team=None)


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    with serving(folder, SETTINGS) as server:
        enrolled_in(folder / "agent", server, "contract")
        yield Held(server, folder)


class OfServer(BackendContract):
    @pytest.fixture(autouse=True)
    def server(self, held):
        self.held = held
        held.empty()
        with Proxy("127.0.0.1", held.server.port) as self.proxy:
            yield

    def put(self, backend, ref, text):
        self.held.put(ref, text)

    def put_oversized(self, backend, ref, text):
        pytest.skip("a server refuses to hold it")

    def remove(self, backend, ref):
        self.held.remove(ref)

    def down(self, backend):
        self.proxy.become("refuse")


class TestRemoteAsAgent(OfServer):
    def make(self, tmp_path):
        self.held.allow(AGENT)
        options = RemoteOptions(url=self.proxy.url(), state=self.held.folder / "agent")
        return Remote("server", options, clock)

    def deny(self, backend, ref):
        for role in ("reader", "op"):
            self.held.access.roles.revoke(role, AGENT)

    def test_delete_tells_whether_there_was_anything(self, backend):
        with pytest.raises(ReadOnlyError, match="an agent deletes nothing"):
            backend.delete(Ref("variable", "brief"), author="local:1000")

    def test_delete_with_a_stale_version_conflicts(self, backend):
        pytest.skip("an agent deletes nothing, which another test proves")


class TestRemoteWithToken(OfServer):
    def make(self, tmp_path):
        tokens = self.held.access.tokens
        if any(row.name == "contract" for row in tokens.list()):
            tokens.revoke("contract")
        token = tokens.issue("contract", roles=[Role("reader"), Role("op")]).token
        return Remote("server", RemoteOptions(url=self.proxy.url(), token=token), clock)

    def deny(self, backend, ref):
        for role in ("reader", "op"):
            self.held.access.roles.revoke(role, "service:contract")


@pytest.fixture
def remote(held):
    held.empty()
    held.allow(AGENT)
    made = Remote("server", RemoteOptions(), clock, state=held.folder / "agent")
    yield made
    made.close()


# --- what an answer says -----------------------------------------------------------------------------


def variable(name, team=None):
    return Ref("variable", name, team)


def test_an_agent_is_given_what_is_stored_with_what_is_public_about_it(held, remote):
    later = datetime(2099, 1, 1, tzinfo=timezone.utc)
    held.put(variable("region"), "eu")
    held.put(
        variable("outer"),
        "in ${variable/region}",
        references=True,
        tags=("pii",),
        owner="ops",
        not_after=later,
    )
    found = remote.read(variable("outer"))
    assert found.secret.reveal() == "in ${variable/region}"
    assert found.metadata == Metadata(references=True, tags=("pii",), owner="ops", not_after=later)
    assert found.fresh_for is not None
    assert timedelta(0) < found.fresh_for <= timedelta(seconds=400)
    assert found.lifetime is None  # of its backend; what the server's cache holds it for is no lease
    assert abs(found.read_at - clock()) < timedelta(seconds=60)


def test_a_service_is_given_what_references_resolve_to(held):
    held.put(variable("region"), "eu")
    held.put(variable("outer"), "in ${variable/region}", references=True)
    made = Remote(
        "server",
        RemoteOptions(url=held.server.address, token=Secret(held.server.token("plain", "reader"))),
        clock,
    )
    found = made.read(variable("outer"))
    assert (found.secret.reveal(), found.metadata.references) == ("in eu", False)
    made.close()


def test_strict_is_what_its_tags_say(held, remote):
    held.put(variable("tight"), "x", tags=("strict",))
    held.put(variable("loose"), "x")
    assert remote.read(variable("tight")).metadata.tags == ("strict",)
    assert remote.read(variable("loose")).metadata.tags == ()
    answer = held.server.ask(
        "POST",
        "/v1/read",
        {"refs": [{"kind": "variable", "name": "tight"}]},
        token=held.server.token("strict-looker", "reader"),
    )
    assert answer.json()["results"][0]["is_strict"] is True


def test_many_names_are_read_in_one_request_each_with_an_outcome_of_its_own(held):
    held.empty()
    held.allow(AGENT)
    with Proxy("127.0.0.1", held.server.port) as proxy:
        made = Remote("server", RemoteOptions(url=proxy.url(), state=held.folder / "agent"), clock)
        held.put(variable("one"), "1")
        made.read(variable("one"))  # logs in
        before = proxy.requests
        found = made.read_many([variable("one"), variable("none"), Ref("connection", "one")])
        assert proxy.requests == before + 1
        assert [entry and entry.secret.reveal() for entry in found] == ["1", None, None]
        with pytest.raises(InvalidInputError):
            made.read_many([variable(str(number)) for number in range(1001)])
        made.close()


def test_freshness_is_the_servers_and_keeping_is_ones_own(held, remote):
    held.put(variable("kept"), "x")
    cache = Cache(remote, Lifetimes(ttl=timedelta(seconds=3000)), clock=clock)
    assert cache.read(variable("kept")) is not None
    _, ttl = cache.times(variable("kept"))
    assert ttl <= 400  # the server's 300 s and their jitter, not the 3,000 s here


# --- refusals are never an absence --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome", "kind"),
    [
        ("access_denied", "denied", AccessDeniedError),
        ("not_found", "denied", AccessDeniedError),
        ("backend_unavailable", "unavailable", BackendUnavailableError),
        ("not_found", "unavailable", BackendUnavailableError),
        ("rate_limited", "unavailable", BackendUnavailableError),
        ("not_found", "invalid", BackendUnavailableError),
        ("of_a_newer_server", "invalid", BackendUnavailableError),
        ("of_a_newer_server", "denied", AccessDeniedError),
    ],
)
def test_what_a_server_refuses_is_told_as_what_it_is(held, code, outcome, kind):
    answer = {
        "results": [
            {"kind": "variable", "name": "x", "outcome": outcome, "error": {"code": code, "message": "no"}}
        ]
    }
    with Proxy("127.0.0.1", held.server.port) as proxy:
        proxy.answer(200, {"Content-Type": "application/json"}, body=msgspec.json.encode(answer))
        made = Remote("server", RemoteOptions(url=proxy.url(), token=Secret("srm_t_x")), clock)
        with pytest.raises(kind):
            made.read(variable("x"))
        made.close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"results": []}', BackendUnavailableError),
        (200, b'{"results": [{"kind":"variable","name":"y","outcome":"absent"}]}', BackendUnavailableError),
        (200, b'{"results": [{"kind":"variable","name":"x","outcome":"found"}]}', BackendUnavailableError),
        (200, b"<html>", BackendUnavailableError),
        (401, b'{"error":{"code":"not_authenticated","message":"no"}}', AccessDeniedError),
        (403, b'{"error":{"code":"access_denied","message":"no"}}', AccessDeniedError),
        (404, b'{"error":{"code":"not_found","message":"no"}}', BackendConfigError),
        (404, b"nothing here", BackendUnavailableError),
        (429, b'{"error":{"code":"rate_limited","message":"no"}}', BackendUnavailableError),
        (503, b'{"error":{"code":"overloaded","message":"no"}}', BackendUnavailableError),
        (302, b"", BackendUnavailableError),
    ],
)
def test_an_answer_about_nothing_in_particular_is_no_absence(held, status, body, kind):
    with Proxy("127.0.0.1", held.server.port) as proxy:
        proxy.answer(status, {"Content-Type": "application/json"}, body=body)
        made = Remote("server", RemoteOptions(url=proxy.url(), token=Secret("srm_t_x")), clock)
        with pytest.raises(kind):
            made.read(variable("x"))
        made.close()


def test_a_revoked_agent_is_denied_and_served_nothing_old(held, tmp_path):
    held.put(variable("old"), "x")
    enrolled_in(tmp_path / "agent", held.server, "passing")
    made = Remote("server", RemoteOptions(), clock, state=tmp_path / "agent")
    cache = Cache(made, Lifetimes(ttl=timedelta(0), stale_if_error=timedelta(hours=1)), clock=clock)
    assert cache.read(variable("old")) is not None
    held.access.agents.revoke("passing")
    with pytest.raises(AccessDeniedError):
        cache.read(variable("old"))
    assert made.check().status == "error"
    made.close()


# --- settings ------------------------------------------------------------------------------------------


def test_where_and_who_are_as_enrolled_or_as_the_settings_say(held, tmp_path):
    assert load("remote") is Remote
    with pytest.raises(BackendConfigError, match="no agent is enrolled"):
        Remote("server", RemoteOptions(), clock, state=tmp_path)
    with pytest.raises(BackendConfigError, match=r"backend\.server\.url is missing"):
        Remote("server", RemoteOptions(token=Secret("srm_t_x")), clock)
    with pytest.raises(BackendConfigError, match="readable on the way"):
        Remote("server", RemoteOptions(url="http://192.0.2.1", token=Secret("srm_t_x")), clock)


def test_settings_name_the_options_and_no_token(tmp_path):
    file = tmp_path / "strongroom.toml"
    file.write_text(
        'chain = ["server"]\n[backend.server]\nkind = "remote"\nurl = "https://strongroom.example.com"\n'
        'deployment = "prod"\ntoken = { env = "TOKEN" }\nca = "ca.pem"\n'
    )
    file.chmod(0o600)
    settings = load_settings(file, environ={"HOME": str(tmp_path)})
    found = options_of(settings.backend["server"], RemoteOptions, environ={"TOKEN": "srm_t_x"})
    assert (found.url, found.deployment, found.ca) == (
        "https://strongroom.example.com",
        "prod",
        tmp_path / "ca.pem",
    )
    assert "srm_t_x" not in repr(found)


def test_a_server_that_fails_is_not_asked_for_a_while_and_that_is_told(held):
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    options = RemoteOptions(url=f"http://127.0.0.1:{port}", token=Secret("srm_s_" + "a" * 43))
    with closing(Remote("server", options, clock)) as remote:
        assert not remote.is_circuit_open
        for _ in range(20):
            with pytest.raises(BackendUnavailableError):
                remote.read(variable("region"))
        assert remote.is_circuit_open


def test_one_agent_is_one_asker_whatever_setting_named_its_server(held, remote):
    address = ServerAddress(held.server.address, setting="agent.server.url")
    other = client_of(held.folder / "agent", address)
    assert remote.client.is_as(other)
    assert other.address.setting == "agent.server.url"
    stranger = client_of(held.folder / "agent", ServerAddress(held.server.address, "prod"))
    assert not remote.client.is_as(stranger)


def test_a_list_that_lacks_a_backend_of_the_server_is_none(held):
    page = {
        "entries": [],
        "cursor": None,
        "not_listable": [],
        "troubles": [{"backend": "vault", "error": {"code": "backend_unavailable", "message": "down"}}],
    }
    with Proxy("127.0.0.1", held.server.port) as proxy:
        proxy.answer(200, {"Content-Type": "application/json"}, body=msgspec.json.encode(page))
        made = Remote("server", RemoteOptions(url=proxy.url(), token=Secret("srm_t_x")), clock)
        with pytest.raises(BackendUnavailableError):
            made.list("variable")
        made.close()


def test_an_agent_that_is_not_there_is_not_found(held):
    with pytest.raises(NotFoundError):
        held.access.agents.revoke("nobody")
