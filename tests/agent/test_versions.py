"""
Versions that meet: a frozen client of protocol 1.0, a client and an agent of the next minor version, and
others that speak another major version, which are told so and nothing else.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from parts.agent import ROOT, agent, until
from parts.oracle import records_in
from parts.proxy import Proxy
from parts.server import serving
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient
from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

FROZEN = ROOT / "tests" / "vectors" / "client_1_0.py"
ENVIRON = {
    "AIRFLOW_VAR_REGION": "eu-west-1",
    "AIRFLOW_CONN_ORDERS": "postgres://svc:pw@db.example.com:5432/orders?sslmode=require",
}
LATER = b"\x00\x07of 1.1\xff\xfe\x00"  # what a later minor version may say behind the fields of this one
NEXT = frames.MINOR + 1


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("agent"), 'chain = ["env"]\n', environ=ENVIRON) as running:
        yield running


class Wire:
    """A connection on which a test says every byte itself."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self._held = b""

    def send(self, type_, number, payload=b""):
        self.socket.sendall(frames.frame(type_, number, payload))

    def receive(self):
        """Give type, id and payload of the next frame; None at the end."""
        while (found := frames.take(self._held, 0, frames.MAX_ANSWER_BYTES)) is None:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._held += data
        type_, number, payload, end = found
        self._held = self._held[end:]
        return type_, number, payload


@contextmanager
def wire(one):
    opened = Wire(one.socket)
    try:
        yield opened
    finally:
        opened.socket.close()


# --- clients that this agent meets -----------------------------------------------------------------------


def test_the_frozen_client_of_1_0_is_served(one):
    asked = ["variable:REGION", "variable:nowhere", "connection:ORDERS"]
    done = subprocess.run(
        [sys.executable, "-I", str(FROZEN), str(one.socket), *asked],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["variable:REGION"] == ["found", "env", "eu-west-1"]
    assert found["variable:nowhere"][0] == "absent"
    outcome, backend, fields = found["connection:ORDERS"]
    assert (outcome, backend) == ("found", "env")
    assert json.loads(fields.pop("extra")) == {"sslmode": "require"}
    assert fields == {
        "conn_type": "postgres",
        "description": None,
        "host": "db.example.com",
        "login": "svc",
        "password": "pw",
        "schema": "orders",
        "port": 5432,
    }
    assert [answer[0] for answer in found["many"]] == ["found", "absent", "absent"]
    runs = [record.run.get("dag_id") for record in records_in(one.audit) if record.run]
    assert "frozen" in runs


def test_a_client_of_the_next_minor_version_is_served(one):
    with wire(one) as client:
        client.send(frames.HELLO, 1, frames.pack_hello("9.9.9", 0xFFFFFFFF, minor=NEXT) + LATER)
        client.send(frames.CLAIM, 2, frames.pack_claim(("later", *[None] * 8, "task")) + LATER)
        client.send(frames.READ, 3, frames.pack_ref("variable", "REGION", None, 0) + LATER)
        client.send(0x3F, 4, LATER)  # a question that only it knows
        client.send(frames.READ_MANY, 5, frames.pack_read_many([("variable", "REGION", None)]) + LATER)
        client.send(frames.PING, 6, LATER)
        answers = {}
        while len(answers) < 6:
            type_, number, payload = client.receive()
            answers[number] = (type_, payload)
    hello = frames.read_hello(answers[1][1])
    assert (hello.major, hello.minor) == (frames.MAJOR, frames.MINOR)
    assert answers[2][0] == frames.CLAIM | frames.ANSWER
    assert frames.read_answer(answers[3][1]).text == "eu-west-1"
    assert answers[4][0] == frames.ERROR
    assert frames.read_refusal(answers[4][1]).code == "unsupported"
    assert frames.read_results(answers[5][1])[1][0].text == "eu-west-1"
    assert answers[6][0] == frames.PING | frames.ANSWER


@pytest.mark.parametrize("flags", [0x08, 0x80])
def test_a_flag_of_a_later_version_does_not_stop_a_read(flags, one):
    with wire(one) as client:
        client.send(frames.HELLO, 1, frames.pack_hello("9.9.9", minor=NEXT))
        client.send(frames.READ, 2, frames.pack_ref("variable", "REGION", None, flags))
        answers = {number: payload for _, number, payload in (client.receive(), client.receive())}
    assert frames.read_answer(answers[2]).text == "eu-west-1"


def test_a_client_of_another_major_version_is_told_both_and_nothing_more(one):
    with wire(one) as client:
        client.send(frames.HELLO, 1, frames.pack_hello("9.9.9", major=frames.MAJOR + 1))
        with suppress(BrokenPipeError):  # it may have ended by now
            client.send(frames.READ, 2, frames.pack_ref("variable", "REGION"))
        type_, _, payload = client.receive()
        assert type_ == frames.ERROR
        refusal = frames.read_refusal(payload)
        assert refusal.code == "unsupported_version"
        assert str(frames.MAJOR) in refusal.message
        assert str(frames.MAJOR + 1) in refusal.message
        assert ended(client)


def ended(client):
    try:
        return client.receive() is None
    except ConnectionError:  # it had sent more than was read
        return True


# --- agents that this client meets -----------------------------------------------------------------------


class Played:
    """An agent of another version, which says what `say` makes of each frame."""

    def __init__(self, folder, say):
        self.path = folder / "played.sock"
        self._say = say
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen(8)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection):
        held = b""
        with connection, suppress(OSError):  # the client ends it whenever it likes
            while data := connection.recv(65536):
                held += data
                while (found := frames.take(held, 0, frames.MAX_REQUEST_BYTES)) is not None:
                    type_, number, payload, end = found
                    held = held[end:]
                    answer = self._say(type_, number, payload)
                    if answer is None:
                        return
                    connection.sendall(answer)

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def folder():
    """A folder whose path leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="srm-") as made:
        yield Path(made)


@contextmanager
def played(folder, say):
    one = Played(folder, say)
    try:
        yield one
    finally:
        one.close()


def next_minor(type_, number, payload):
    """Answer as an agent of the next minor version may."""
    unasked = frames.frame(0x6E | frames.ANSWER, 0, LATER)  # a notice that only later clients know
    if type_ == frames.HELLO:
        return frames.frame(
            type_ | frames.ANSWER, number, frames.pack_hello("9.9.9", 0xFF, minor=NEXT) + LATER
        )
    if type_ == frames.READ:
        kind, name, _, _ = frames.read_read(payload)
        fields = ("postgres", None, "db.example.com", "svc", "pw", "orders", 5432, '{"a": 1}')
        body = (
            frames.pack_text("env", "7", f"of {name}")
            if kind == "variable"
            else frames.pack_fields("env", "7", fields)
        )
        answer = frames.pack_answer(number, frames.FOUND, body + LATER, 0xF0 | frames.CACHED, 5, 10)
        return unasked + answer
    if type_ == frames.READ_MANY:
        refs, _ = frames.read_read_many(payload)
        results = [
            frames.pack_result(frames.FOUND, frames.pack_text("env", "7", f"of {name}") + LATER, 0xF0, 5, 10)
            for _, name, _ in refs
        ]
        return unasked + frames.frame(type_ | frames.ANSWER, number, frames.pack_results(0, results) + LATER)
    return frames.frame(type_ | frames.ANSWER, number, LATER)


def test_an_agent_of_the_next_minor_version_is_understood(folder):
    with played(folder, next_minor) as other:
        client = AgentClient(str(other.path))
        assert client.variable("region") == "of region"
        connection = client.connection("orders")
        assert (connection.host, connection.port) == ("db.example.com", 5432)
        answers = client.read_many([("variable", "a", None), ("variable", "b", None)])
        assert [answer.text for answer in answers] == ["of a", "of b"]
        client.claim(("dag", None, None, None, None, None))
        assert client.variable("region") == "of region"
        client.ping()
        client.close()


def test_a_refusal_whose_code_only_a_later_version_knows_is_an_error_all_the_same(folder):
    def say(type_, number, payload):
        if type_ != frames.READ:
            return next_minor(type_, number, payload)
        refusal = frames.Refusal("of_a_later_version", "this is refused for a new reason", None, 1000, None)
        return frames.pack_answer(number, frames.UNAVAILABLE, frames.pack_refused(refusal) + LATER)

    with played(folder, say) as other:
        client = AgentClient(str(other.path))
        with pytest.raises(StrongroomError) as told:
            client.variable("region")
        assert "a new reason" in str(told.value)
        client.close()


def test_an_agent_of_another_major_version_is_unavailable_and_says_which(folder):
    def say(type_, number, payload):
        if type_ != frames.HELLO:
            return None
        refusal = frames.Refusal(
            "unsupported_version", "this agent speaks version 2, and was asked in version 1"
        )
        return frames.frame(frames.ERROR, number, frames.pack_refusal(refusal))

    with played(folder, say) as other:
        client = AgentClient(str(other.path), patience=0.2)
        with pytest.raises(StrongroomError) as told:
            client.variable("region")
        assert not isinstance(told.value, BackendUnavailableError) or "version" in str(told.value)
        client.close()


def test_what_does_not_speak_the_protocol_is_unavailable(folder):
    def say(type_, number, payload):
        return b"HTTP/1.1 400 Bad Request\r\n\r\n" + struct.pack(">I", 1)

    with played(folder, say) as other:
        client = AgentClient(str(other.path), patience=0.2, timeout=2)
        with pytest.raises(BackendUnavailableError):
            client.variable("region")
        client.close()


# --- servers that this agent meets -----------------------------------------------------------------------


class LaterServer(Proxy):
    """A server whose every answer says more than this version knows."""

    def _pass_back(self, connection, data):
        head, split, body = data.partition(b"\r\n\r\n")
        if split and b"application/json" in head and body.startswith(b"{"):
            length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
            if len(body) == length:  # else it came in pieces, and passes as it is
                self.said += 1
                body = b'{"of_a_later_version": {"a": [1, null]}, ' + body[1:]
                head = re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(body), head)
                data = head + split + body
        return super()._pass_back(connection, data)


def test_a_server_that_says_more_than_the_agent_knows_serves_it(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "host").mkdir()
    with (
        serving(tmp_path / "server") as server,
        LaterServer("127.0.0.1", server.port) as proxy,
        agent(tmp_path / "host", 'chain = ["remote"]\n', start=False) as host,
    ):
        proxy.said = 0
        entries = server.house.deployment().root.entries
        entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
        host.enrol(server, url=proxy.url())
        host.start()
        assert host.python("import strongroom; print(strongroom.variable('region'))") == "eu"
        entries.write(Change(ref=Ref("variable", "region"), secret=Secret("us")))
        client = host.client()
        until(lambda: client.variable("region") == "us", what="the change to be heard of")
        client.close()
        until(lambda: host.status()["spool"]["waiting"] == 0, what="the delivery of records")
        # Enrolled, logged in, decided, read and delivered.
        assert proxy.said >= 5


class LaterAgent(Proxy):
    """Stands for an agent that says more than this server knows, to what ends with one of `paths`."""

    paths = ()

    def _pass_on(self, connection, behind, request):
        head, split, body = request.partition(b"\r\n\r\n")
        if body.startswith(b"{") and head.split(b" ")[1].decode().endswith(self.paths or "?"):
            body = b'{"of_a_later_version": 1, ' + body[1:]
            head = re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(body), head)
            request = head + split + body
        return super()._pass_on(connection, behind, request)


@contextmanager
def before_an_older_server(folder):
    """Run a server, what makes it older than the agent, and that agent."""
    (folder / "server").mkdir()
    (folder / "host").mkdir()
    with (
        serving(folder / "server") as server,
        LaterAgent("127.0.0.1", server.port) as proxy,
        agent(folder / "host", 'chain = ["remote"]\n', start=False) as host,
    ):
        entries = server.house.deployment().root.entries
        entries.write_many(
            [Change(ref=Ref("variable", name), secret=Secret(name)) for name in ("a", "b", "c")]
        )
        host.enrol(server, url=proxy.url())
        yield server, proxy, host


UNREAD = "there is a field that is not known here"


def test_what_an_older_server_cannot_read_is_told_and_nothing_else_is_hurt(tmp_path):
    with before_an_older_server(tmp_path) as (server, proxy, host):
        proxy.paths = ("/records",)
        client = host.start().client()
        # What is read before the agent listens is asked for once more as soon as it does.
        until(lambda: host.status()["backends"][0]["watched"] == "live", what="the agent to listen")
        assert client.variable("a") == "a"
        until(lambda: UNREAD in host.status()["spool"]["delivery"], what="the refusal of the record")
        assert host.status()["spool"]["waiting"] == 1
        proxy.paths = ("/v1/read",)
        answer = client.read("variable", "b")
        assert (answer.outcome, answer.refusal.message) == (frames.INVALID, UNREAD)
        assert client.variable("a") == "a"
        proxy.paths = ("/decide",)
        assert client.read("variable", "c").outcome == frames.UNAVAILABLE
        assert UNREAD in host.status()["decisions"]["trouble"]
        assert host.log().count("the server cannot read what it is asked") == 1
        assert client.variable("a") == "a"
        proxy.paths = ()  # the server is upgraded
        assert client.variable("c") == "c"
        until(lambda: host.status()["decisions"]["trouble"] == "", what="the end of the trouble")
        until(lambda: host.status()["spool"]["waiting"] == 0, what="the records that waited")
        client.close()
        trail = [one for one in server.house.deployment().root.audit.tail(1000) if one.agent]
        assert {"a", "c"} <= {one.name for one in trail}


def test_an_older_server_that_cannot_read_a_login_is_named_by_the_status(tmp_path):
    with before_an_older_server(tmp_path) as (_server, proxy, host):
        proxy.paths = ("/login",)
        client = host.start().client()
        assert client.read("variable", "a").outcome == frames.UNAVAILABLE
        assert UNREAD in host.status()["decisions"]["trouble"]
        proxy.paths = ()
        until(lambda: client.read("variable", "a").text == "a", what="the login")
        client.close()
