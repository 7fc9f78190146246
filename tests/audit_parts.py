"""Logs, keys and a witness that tests of the audit log share."""

import threading
import time
from base64 import b64decode, b64encode
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from strongroom.audit import AuditLog, Event
from strongroom.audit import note as notes
from strongroom.audit.checkpoint import Keeper
from strongroom.audit.desk import Plan
from strongroom.audit.line import spell_quickly
from strongroom.audit.tree import check_consistency
from strongroom.audit.writer import Writer

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Clock:
    """A wall clock that goes on a millisecond with every look."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        self.now += timedelta(milliseconds=1)
        return self.now


def event(name="orders_db", **changes):
    members = {
        "actor": "service:ci",
        "assurance": 1,
        "action": "read",
        "outcome": "found",
        "kind": "connection",
        "name": name,
        "backend": "native",
        "version": "3",
    }
    return Event(**{**members, **changes})


def open_log(folder, clock=None, **options):
    return AuditLog(folder, deployment="prod", clock=clock or Clock(), speller=spell_quickly, **options)


def keeper_of(folder, key, clock=None):
    return Keeper(folder, key, deployment="prod", clock=clock or Clock())


def lines_in(folder):
    return [
        line
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().rstrip(b"\0").splitlines(keepends=True)
    ]


WAIT_SECONDS = 20


def until(is_so, seconds=WAIT_SECONDS):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@contextmanager
def written(folder, **options):
    troubles = []
    writer = Writer(on_trouble=troubles.append)
    log = writer.open(Plan(folder=folder, deployment="prod", **options))
    try:
        yield writer, log, troubles
    finally:
        writer.close()


def reading(folder):
    return AuditLog(folder, deployment="prod", clock=None)


class HttpWitness:
    """A witness of C2SP tlog-witness that checks what it is shown."""

    def __init__(self, *, name="witness.example"):
        self.signer = notes.new_signer(name)
        self.seen = {}
        self.log_keys = []
        self.mood = "well"
        self.requests = 0
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                witness.requests += 1
                status, text = witness.answer(self.path, body)
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.gate = threading.Event()

    @property
    def key(self):
        return self.signer.witness.format()

    def answer(self, path, body):
        if self.mood == "down":
            return 503, ""
        if self.mood == "hangs":
            self.gate.wait(20)
            return 503, ""
        assert path == "/add-checkpoint"
        head, _, rest = body.partition("\n\n")
        first, *proof = head.split("\n")
        old = int(first.removeprefix("old "))
        (found,) = notes.parse_notes(rest)
        checkpoint = notes.parse_checkpoint(found)
        if self.log_keys and not any(key.has_signed(found) for key in self.log_keys):
            return 403, ""
        size, root = self.seen.get(checkpoint.origin, (0, b""))
        if old != size:
            return 409, f"{size}\n"
        hashes = [b64decode(line) for line in proof]
        if size and not check_consistency((size, root), (checkpoint.size, checkpoint.root), hashes):
            return 422, ""
        self.seen[checkpoint.origin] = (checkpoint.size, checkpoint.root)
        name, id_, signature = self.signer.cosign(found, 1_700_000_000)
        return 200, f"— {name} {b64encode(id_ + signature).decode()}\n"

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
