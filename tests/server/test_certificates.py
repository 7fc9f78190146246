"""Agents that prove themselves with a TLS client certificate: admitted ones, until they are revoked."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import timedelta
from http.client import HTTPSConnection

import pytest

from parts.certificates import Authority
from parts.server import serving
from strongroom.agent.enrol import enrol_with_certificate
from strongroom.caller import Client, ServerAddress
from strongroom.caller.enrolled import client_of
from strongroom.errors import BackendUnavailableError, ConflictError, NotAuthenticatedError, SettingsError
from strongroom.model.enrolment import Claim
from strongroom.policy import Role, Scope
from strongroom.settings import load
from strongroom.wire.access import WhoAmI
from strongroom.wire.agents import AgentSession

SETTINGS = """
[server]
tls_cert = "server.crt"
tls_key = "server.key"
tls_client_ca = "fleet.pem"
[server.limits]
identity_per_second = 0
stranger_per_second = 0
[access.certificates.agents]
"spiffe://example.org/host-1" = "host-1"
"host-2.example.org" = "host-2"
"both.test" = "host-3"
"""


class Fleet:
    """Authorities of a server and of its agents."""

    def __init__(self, folder):
        self.folder = folder
        self.place = Authority(folder, "authority")
        _, key = self.place.issue("server", "127.0.0.1", "localhost")
        key.chmod(0o600)
        self.fleet = Authority(folder, "fleet")
        (folder / "others").mkdir()
        self.others = Authority(folder / "others", "others")

    def address(self, server, name=None, *names, authority=None, **more):
        shown = (None, None) if name is None else (authority or self.fleet).issue(name, *names, **more)
        return ServerAddress(server.address, None, self.place.file, client_cert=shown[0], client_key=shown[1])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(fleet):
    with serving(fleet.folder, SETTINGS) as found:
        yield found


@pytest.fixture(autouse=True)
def nobody_is_left(server):
    yield
    agents = root(server).access.agents
    for row in agents.list():
        agents.revoke(row.name)


def root(server):
    return server.house.deployment(None).root


def begin(address):
    client = Client(address)
    try:
        return client.post("/agents/login/certificate", AgentSession)
    finally:
        client.close()


def is_known(client):
    try:
        return bool(client.get("/whoami", WhoAmI))
    except NotAuthenticatedError:
        return False


HOST_1 = ("host-1", "spiffe://example.org/host-1")


def test_a_certificate_begins_a_session_of_the_agent_it_is_of(server, fleet):
    root(server).access.agents.admit("host-1", roles=[Role("reader")], scope=Scope(names=("prod/*",)))
    found = begin(fleet.address(server, *HOST_1))
    assert (found.actor, found.deployment) == ("agent:host-1", "default")
    assert 0 < found.lifetime <= 900
    (row,) = root(server).access.agents.list()
    assert (row.name, row.roles, row.sessions, row.source) == ("host-1", (Role("reader"),), 1, "127.0.0.1")
    assert row.scope == Scope(names=("prod/*",))
    assert {one.how for one in root(server).access.sessions.list(None)} == {"certificate"}


def test_a_name_of_dns_is_as_good(server, fleet):
    root(server).access.agents.admit("host-2")
    assert begin(fleet.address(server, "host-2", "host-2.example.org")).actor == "agent:host-2"


def test_a_host_is_enrolled_by_its_certificate_without_a_code(server, fleet, tmp_path):
    root(server).access.agents.admit("host-1", roles=[Role("reader")])
    address = fleet.address(server, *HOST_1)
    found = enrol_with_certificate(tmp_path, address)
    assert (found.name, found.client_cert) == ("host-1", str(address.client_cert))
    client = client_of(tmp_path)
    seen = client.get("/whoami", WhoAmI)
    assert (seen.actor, seen.how, [role.name for role in seen.roles]) == (
        "agent:host-1",
        "session",
        ["reader"],
    )
    client.close()
    with pytest.raises(ConflictError):
        enrol_with_certificate(tmp_path, address)
    assert not list(tmp_path.glob("*.key"))


def test_an_agent_that_was_revoked_is_nobody_within_a_second(server, fleet, tmp_path):
    root(server).access.agents.admit("host-1")
    enrol_with_certificate(tmp_path, fleet.address(server, *HOST_1))
    client = client_of(tmp_path)
    client.get("/whoami", WhoAmI)
    root(server).access.agents.revoke("host-1")
    deadline = time.monotonic() + 5
    while is_known(client):
        assert time.monotonic() < deadline
    client.close()
    with pytest.raises(NotAuthenticatedError):
        begin(fleet.address(server, *HOST_1))


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("spiffe://example.org/host-10",),
        ("spiffe://example.org/host",),
        ("SPIFFE://EXAMPLE.ORG/HOST-1",),
        ("*.example.org",),
        ("host-2.example.org.attacker.test",),
        ("spiffe://example.org/host-1", "both.test"),
    ],
)
def test_a_certificate_of_no_one_agent_begins_nothing(server, fleet, names):
    for name in ("host-1", "host-2", "host-3"):
        root(server).access.agents.admit(name)
    with pytest.raises(NotAuthenticatedError, match="certificate"):
        begin(fleet.address(server, "somebody", *names))


def test_the_common_name_of_a_certificate_names_nobody(server, fleet):
    root(server).access.agents.admit("host-2")
    with pytest.raises(NotAuthenticatedError):
        begin(fleet.address(server, "host-2.example.org", "other.test"))


def test_an_agent_that_was_not_admitted_is_nobody(server, fleet):
    with pytest.raises(NotAuthenticatedError):
        begin(fleet.address(server, *HOST_1))


def test_who_shows_no_certificate_is_let_in_with_a_token_as_ever(server, fleet):
    with pytest.raises(NotAuthenticatedError, match="no client certificate"):
        begin(fleet.address(server))
    token = server.token("ci")
    context = ssl.create_default_context(cafile=fleet.place.file)
    plain = socket.create_connection(("127.0.0.1", server.port), 10)
    with context.wrap_socket(plain, server_hostname="localhost") as line:
        line.sendall(
            b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("how", ["of another authority", "that has ended"])
def test_a_certificate_that_tls_does_not_take_gets_no_answer(server, fleet, how):
    root(server).access.agents.admit("host-1")
    more = {"authority": fleet.others} if "another" in how else {"lasts": timedelta(days=-1)}
    with pytest.raises(BackendUnavailableError):
        begin(fleet.address(server, *HOST_1, **more))


def test_a_connection_that_outlasts_its_certificate_begins_nothing_more(server, fleet):
    root(server).access.agents.admit("host-1")
    shown = fleet.fleet.issue(*HOST_1, lasts=timedelta(seconds=3))
    context = ssl.create_default_context(cafile=str(fleet.place.file))
    context.load_cert_chain(*shown)
    line = HTTPSConnection("localhost", server.port, timeout=10, context=context)
    deadline, statuses = time.monotonic() + 15, set()
    line.connect()
    kept = line.sock
    while 401 not in statuses and time.monotonic() < deadline:
        line.request("POST", "/v1/agents/login/certificate")
        answer = line.getresponse()
        answer.read()
        statuses.add(answer.status)
        assert line.sock in (kept, None)
    line.close()
    assert statuses == {200, 401}


def test_a_header_that_names_a_certificate_is_not_believed(server, fleet):
    root(server).access.agents.admit("host-1")
    client = Client(fleet.address(server))
    reply = client._transport.request(
        "POST",
        "/v1/agents/login/certificate",
        headers={"X-SSL-Client-SAN": HOST_1[1], "X-Forwarded-Client-Cert": f"URI={HOST_1[1]}"},
        body=b"",
    )
    client.close()
    assert reply.status == 401


def test_an_admitted_agent_has_no_key_that_anybody_could_sign_with(server):
    root(server).access.agents.admit("host-1")
    claim = Claim("host-1", time.time_ns() // 1000, bytes(16), bytes(32))
    with pytest.raises(NotAuthenticatedError):
        root(server).access.enrolment.login(claim, bytes(64), source="127.0.0.1")


def test_authorities_of_clients_need_tls(tmp_path):
    (tmp_path / "s.toml").write_text('[server]\ntls_client_ca = "x.pem"\n')
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "s.toml", environ={})
    assert caught.value.key == "server.tls_client_ca"
