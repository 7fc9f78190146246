"""Traces, as a collector gets them: a real one of a few lines, real servers, and OpenTelemetry's own form."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from parts import warm
from parts.server import serving
from strongroom import assembly, tracing
from strongroom.assembly.traces import traced
from strongroom.errors import SettingsError
from strongroom.settings import load

SECRET = "hunter2-of-the-trace"


class Collector:
    """What takes OTLP over HTTP, and keeps it."""

    def __init__(self):
        self.requests = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    @property
    def spans(self):
        return [span for _, span in self.told]

    @property
    def told(self):
        """Each span, with the name of the service it is of."""
        found = []
        for _, _, body in self.requests:
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {one.key: one.value.string_value for one in of_resource.resource.attributes}
                found += [
                    (names["service.name"], span) for scope in of_resource.scope_spans for span in scope.spans
                ]
        return found

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


@contextmanager
def tracing_to(tmp_path, collector, text="", said=None, sample=1):
    file = tmp_path / "traces.toml"
    file.write_text(f'[traces]\nurl = "{collector.url}"\nsample = {sample}\n{text}')
    environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path), "COLLECTOR": SECRET}
    settings = load(file, environ=environ)
    said = [] if said is None else said
    with traced(settings.traces, service="a-test", version="1", environ=environ, say=said.append):
        yield


def attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def named(collector, name):
    return [span for span in collector.spans if span.name == name]


def test_a_request_the_backend_it_asked_and_the_server_behind_that_are_one_trace(tmp_path, collector):
    home = tmp_path / "far"
    home.mkdir()
    near = tmp_path / "near"
    near.mkdir()
    with tracing_to(tmp_path, collector), serving(home) as server:
        token = server.token()
        server.ask("PUT", "/v1/entries/variable/named-entry", {"value": SECRET}, token=token)
        (near / "token").write_text(token)
        (near / "token").chmod(0o600)
        file = near / "strongroom.toml"
        file.write_text(
            f'chain = ["far"]\n[backend.far]\nkind = "remote"\nurl = "{server.address}"\n'
            f'token = {{ file = "{near}/token" }}\n'
        )
        environ = {"HOME": str(near), "STRONGROOM_HOME": str(near)}
        with assembly.open_room(file, environ=environ) as room:
            assert room.lookup.variable("named-entry") == SECRET
    (asked,) = [
        one for one in named(collector, "ask a backend") if attributes(one)["strongroom.backend"] == "far"
    ]
    (sent,) = [one for one in named(collector, "HTTP POST") if one.parent_span_id == asked.span_id]
    (answered,) = [one for one in named(collector, "answer a request") if one.parent_span_id == sent.span_id]
    assert {asked.trace_id} == {sent.trace_id, answered.trace_id}
    within = [
        one for one in collector.spans if one.trace_id == asked.trace_id and one.name == "ask a backend"
    ]
    assert {attributes(one)["strongroom.backend"] for one in within} == {"far", "env", "native"}
    assert attributes(answered)["http.route"] == "/v1/read"
    assert attributes(answered)["http.response.status_code"] == 200
    assert attributes(asked)["strongroom.refs.found"] == 1


def test_a_trace_holds_no_value_name_actor_or_path(tmp_path, collector):
    with tracing_to(tmp_path, collector), serving(tmp_path) as server:
        token = server.token("named-actor", "admin")
        server.ask("PUT", "/v1/entries/variable/named-entry", {"value": SECRET}, token=token)
        server.ask("POST", "/v1/read", {"refs": [{"kind": "variable", "name": "named-entry"}]}, token=token)
        server.ask("GET", f"/v1/entries/variable/named-entry?x={SECRET}", token=token)
        server.ask("GET", f"/no/such/{SECRET}", token=token)
    assert collector.spans
    sent = b"".join(body for _, _, body in collector.requests)
    for text in (SECRET, "named-entry", "named-actor", token, str(tmp_path)):
        assert text.encode() not in sent


def test_what_failed_is_told_by_its_code_alone(tmp_path, collector):
    with tracing_to(tmp_path, collector), serving(tmp_path) as server:
        server.ask("GET", "/v1/entries/variable/absent", token=server.token())
    (span,) = named(collector, "answer a request")
    assert attributes(span)["error.type"] == "not_found"
    assert attributes(span)["http.response.status_code"] == 404
    assert span.status.message == ""
    assert not span.events


@pytest.mark.parametrize(
    "parent",
    ["", "nonsense", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "01-" + "1" * 32 + "-" + "1" * 16 + "-01"],
)
def test_a_parent_that_is_none_is_passed_over(tmp_path, collector, parent):
    with tracing_to(tmp_path, collector), serving(tmp_path, served=()) as server:
        assert server.ask("GET", "/health/live", headers={"traceparent": parent}).status == 200
    (span,) = named(collector, "answer a request")
    assert span.parent_span_id == b""


def test_a_caller_does_not_choose_what_is_kept(tmp_path, collector):
    with (
        tracing_to(tmp_path, collector, sample=0),
        serving(tmp_path, served=()) as server,
    ):
        server.ask("GET", "/health/live", headers={"traceparent": "00-" + "1" * 32 + "-" + "1" * 16 + "-01"})
    assert collector.spans == []


def test_the_token_goes_to_the_collector_in_the_header_it_wants(tmp_path, collector):
    text = 'token = { env = "COLLECTOR" }\ntoken_header = "X-Api-Key"\n'
    with tracing_to(tmp_path, collector, text), tracing.span("one"):
        assert tracing.is_on()
    ((path, headers, _),) = collector.requests
    assert path == "/v1/traces"
    assert headers["X-Api-Key"] == SECRET
    assert not tracing.is_on()


def test_a_collector_that_takes_nothing_is_told_of_once_and_holds_nobody_up(tmp_path, collector):
    said = []
    collector.status = 503
    with tracing_to(tmp_path, collector, said=said):
        for _ in range(3):
            with tracing.span("one"):
                assert tracing.traceparent()
            tracing._current.flush()
        collector.status = 200
        with tracing.span("one"):
            assert tracing.traceparent()
        tracing._current.flush()
    assert said == ["traces are not taken: the collector answered 503", "traces are taken again"]


def test_sending_spans_makes_none(tmp_path, collector):
    with tracing_to(tmp_path, collector):
        with tracing.span("one"):
            assert tracing.traceparent()
        tracing._current.flush()
        tracing._current.flush()
    assert [span.name for span in collector.spans] == ["one"]


def test_untraced_work_is_not_changed_by_being_carried():
    def work():
        return 1

    assert tracing.carried(work) is work
    assert tracing.traceparent() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('url = "ftp://x/"', "traces.url must be http:// or https://, without a user or a query in it"),
        ('url = "http://u:p@x/"', "traces.url must be http:// or https://, without a user or a query in it"),
        ('url = "http://x/"\nsample = 2', "traces.sample must be from 0 to 1"),
        (
            'url = "http://x/"\ntoken = "written out"',
            "traces.token must be fetched from elsewhere, not written out",
        ),
        ('url = "http://x/"\ntoken_header = "a b"', "traces.token_header must be the name of a header"),
        ("sample = 1", "traces.url is missing"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(tmp_path, text, message):
    file = tmp_path / "strongroom.toml"
    file.write_text(f"[traces]\n{text}\n")
    with pytest.raises(SettingsError, match=message.replace("(", r"\(")):
        load(file, environ={"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)})


def test_a_server_process_sends_its_traces_and_what_waits_when_it_ends(tmp_path, collector):
    file = tmp_path / "strongroom.toml"
    file.write_text(f'[server]\nport = 0\n[traces]\nurl = "{collector.url}"\nsample = 1\n')
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STRONGROOM_HOME": str(tmp_path),
        "STRONGROOM_CONFIG": str(file),
    }
    assembly.create_room(file, environ=environ).close()
    process = warm.Popen(
        ["serve"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        line = b""
        while b"http://127.0.0.1:" not in line:
            line = process.stdout.readline()
            assert line, "the server ended"
        address = re.search(rb"http://(127\.0\.0\.1:\d+)", line)[1].decode()
        connection = HTTPConnection(address, timeout=20)
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout.close()
    assert ("strongroom-server", "answer a request") in {
        (service, span.name) for service, span in collector.told
    }
