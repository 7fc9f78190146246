"""What the writer does besides: none of it stands between a record and its answer."""

import json
import os
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from audit_parts import HttpWitness, event, reading, until, written
from strongroom.audit.follow import durable
from strongroom.audit.sink import Courier, LineSink, SyslogSink, sinks_in
from strongroom.audit.verify import verify_log
from strongroom.server.api import ENDPOINTS

CHECKPOINT = {"records": 50, "seconds": 1.0}


def duties(tmp_path, **more):
    return {"checkpoint": {**CHECKPOINT, "key": str(tmp_path / "keys" / "audit.key")}, **more}


def test_a_server_signs_by_itself_and_at_its_end(tmp_path):
    folder = tmp_path / "audit"
    with written(folder, duties=duties(tmp_path)) as (_, log, troubles):
        log.append(*(event(f"n{number}") for number in range(70)))
        until(lambda: log.state().get("signed") == 70)
        log.append(event("last"))
    verdict = verify_log(folder)
    assert (verdict.is_ok, verdict.count, verdict.signed) == (True, 71, 71)
    assert not troubles


def test_witnesses_and_sinks_get_everything_up_to_the_end(tmp_path):
    folder, witness = tmp_path / "audit", HttpWitness()
    settings = duties(
        tmp_path,
        witnesses=[
            {"kind": "file", "name": "disk", "path": str(tmp_path / "notes")},
            {"kind": "http", "name": "other", "url": witness.url, "key": witness.key, "token": None},
        ],
        sinks=[{"kind": "jsonl", "name": "copy", "path": str(tmp_path / "copy.jsonl")}],
    )
    with written(folder, duties=settings) as (_, log, troubles):
        for number in range(30):
            log.append(event(f"n{number}"))
    assert not troubles
    assert (tmp_path / "copy.jsonl").read_bytes() == (folder / f"{0:020d}.jsonl").read_bytes()
    assert (tmp_path / "notes").read_text() == (folder / "checkpoints").read_text()
    assert [size for size, _ in witness.seen.values()] == [30]
    assert sinks_in(folder) == {"copy": 30}
    witness.close()


class Receiver:
    """A receiver over HTTP that may be down or hang."""

    def __init__(self):
        self.got, self.status, self.gate, self.tokens = [], 200, threading.Event(), set()
        self.gate.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.gate.wait(30)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.tokens.add(self.headers["Authorization"])
                if receiver.status == 200:
                    receiver.got += json.loads(body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_AU05_a_sink_that_hangs_or_is_down_freezes_nothing_and_gets_all_of_it_later(tmp_path, receiver):
    folder = tmp_path / "audit"
    sinks = [
        {"kind": "http", "name": "siem", "url": receiver.url, "form": "ocsf", "token": "t0k3n"},
        {"kind": "jsonl", "name": "copy", "path": str(tmp_path / "copy.jsonl")},
        {"kind": "jsonl", "name": "full", "path": "/dev/full"},
        {"kind": "jsonl", "name": "pipe", "path": str(tmp_path / "pipe")},
    ]
    os.mkfifo(tmp_path / "pipe")
    receiver.gate.clear()
    with written(folder, duties={"sinks": sinks}) as (_, log, troubles):
        log.append(event("first"))
        until(lambda: log.state().get("sinks", {}).get("copy", {}).get("seq") == 1)
        slowest = 0.0
        for number in range(50):
            began = time.monotonic()
            log.append(event(f"n{number}"))
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 3
        until(lambda: any("siem" in each for each in troubles))
        assert any("full" in each for each in troubles)
        assert any("pipe" in each for each in troubles)
        receiver.status = 503
        receiver.gate.set()
        until(lambda: any("503" in each for each in troubles), 40)
        receiver.status = 200
        until(lambda: len({each["metadata"]["sequence"] for each in receiver.got}) == 51, 60)
        until(lambda: any("takes records again" in each for each in troubles))
    assert [each["metadata"]["sequence"] for each in receiver.got] == list(range(51))
    assert receiver.tokens == {"Bearer t0k3n"}
    assert not any("t0k3n" in each for each in troubles)
    assert len((tmp_path / "copy.jsonl").read_bytes().splitlines()) == 51


def carried(folder, sink):
    Courier(folder, sink, start=0, wait=lambda _seconds: False).run()


@pytest.fixture
def filled(tmp_path):
    folder = tmp_path / "audit"
    with written(folder) as (_, log, _troubles):
        log.append(event("a\nb", reason='quote " and ] and \\'), event("c"))
    return folder


def test_syslog_goes_over_udp_tcp_and_a_local_socket(filled, tmp_path):
    local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    local.bind(str(tmp_path / "log"))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    for number, (receiver, sink) in enumerate(
        [
            (local, SyslogSink("unix", path=tmp_path / "log")),
            (udp, SyslogSink("udp", address=f"udp://127.0.0.1:{udp.getsockname()[1]}")),
        ]
    ):
        receiver.settimeout(10)
        carried(filled, sink)
        messages = [receiver.recv(65_536).decode() for _ in range(2)]
        assert messages[0].startswith("<86>1 2"), number
        assert "\n" not in messages[0]
        assert 'reason="quote \\" and \\] and \\\\"' in messages[0]
        receiver.close()


def test_syslog_over_tcp_counts_its_octets(filled):
    got = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while head := self.rfile.readline(0) or _until_space(self.rfile):
                got.append(self.rfile.read(int(head)).decode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sink = SyslogSink("tcp", address=f"tcp://127.0.0.1:{server.server_address[1]}")
        carried(filled, sink)
        sink._drop()
        until(lambda: len(got) == 2)
        server.shutdown()
    assert got[1].endswith("read found connection c")


def _until_space(file):
    head = b""
    while (each := file.read(1)) not in (b"", b" "):
        head += each
    return head


def test_a_sink_goes_on_where_it_was_and_follows_no_link(filled, tmp_path):
    out = tmp_path / "out.jsonl"
    carried(filled, LineSink("s", out))
    carried(filled, LineSink("s", out))
    assert len(out.read_bytes().splitlines()) == durable(filled) == 2
    with written(filled) as (_, log, _troubles):
        log.append(event("d"))
    carried(filled, LineSink("s", out))
    assert len(out.read_bytes().splitlines()) == 3
    link = tmp_path / "link"
    link.symlink_to(out)
    courier = Courier(filled, LineSink("other", link), start=0, wait=lambda _seconds: False)
    courier.run()
    assert courier.trouble
    assert len(out.read_bytes().splitlines()) == 3


def test_AU08_no_request_can_name_where_records_go():
    for endpoint in ENDPOINTS:
        for shape in (endpoint.takes, endpoint.asks):
            members = getattr(shape, "__struct_fields__", ())
            if "audit" in endpoint.path:
                assert not {"path", "sink", "sinks", "witness", "witnesses", "folder", "url", "out"} & set(
                    members
                )
    assert not [
        endpoint.path
        for endpoint in ENDPOINTS
        if endpoint.method in ("PUT", "PATCH", "DELETE") and "audit" in endpoint.path
    ]


def test_trouble_with_the_key_is_told_and_reads_go_on(tmp_path):
    settings = duties(tmp_path)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "audit.key").write_text("no key")
    (tmp_path / "keys" / "audit.key").chmod(0o600)
    with written(tmp_path / "audit", duties=settings) as (_, log, troubles):
        log.append(event())
        until(lambda: any("damaged" in each for each in troubles))
        log.append(event())
        until(lambda: "damaged" in log.state().get("signing", ""))
    assert reading(tmp_path / "audit").verify().count == 2
