"""
An HTTP service for tests of clients: it knows users, tokens, keys and client certificates, and redirects.

    with web_service() as service:                  # over TLS with context=server_context(…)
        service.users["app"] = "secret"
        service.url, service.port
        service.asked[-1].headers["x-team"], .path, .body

Whoever shows a user's password, a token, a key or a certificate is let in; where none is known, anybody is.

| path | what happens |
|---|---|
| `/redirect?to=URL` | 302 to that |
| `/slow` | half of an answer, the rest when `service.go` is set |
| any other | who asked, and what, as JSON |
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict
    body: bytes
    who: str | None


class Service(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, context=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        self.port = self.server_address[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self.forget()

    def forget(self):
        """Know nobody, and nothing of what was asked."""
        self.users, self.tokens, self.keys, self.names = {}, set(), set(), set()
        self.asked = []
        self.connections = 0
        self.faults = []
        self.go = threading.Event()

    @property
    def is_open(self):
        return not (self.users or self.tokens or self.keys or self.names)

    def finish_request(self, request, client_address):
        self.connections += 1
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as private:
            super().finish_request(private, client_address)

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_any(self):
        service = self.server
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        who = self._who(headers)
        service.asked.append(Asked(self.command, self.path, headers, body, who))
        parts = urlsplit(self.path)
        if service.faults:
            self.answer(*service.faults.pop(0))
        elif who is None and not service.is_open:
            self.answer(401, {"WWW-Authenticate": 'Basic realm="tests"'}, b'{"error": "who are you?"}')
        elif parts.path == "/redirect":
            self.answer(302, {"Location": parse_qs(parts.query)["to"][0]}, b"")
        elif parts.path == "/slow":
            self._slowly()
        else:
            said = {"who": who, "method": self.command, "path": self.path, "body": body.decode("latin-1")}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_any  # noqa: N815 -- http.server's names

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _who(self, headers):
        service = self.server
        scheme, _, said = headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            login, _, password = base64.b64decode(said).decode().partition(":")
            return login if service.users.get(login) == password else None
        if scheme == "Bearer":
            return "bearer" if said in service.tokens else None
        if headers.get("x-api-key") in service.keys:
            return "key"
        shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        names = [
            value for part in (shown or {}).get("subject", ()) for key, value in part if key == "commonName"
        ]
        return names[0] if names and names[0] in service.names else None

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _slowly(self):
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"half")
        self.wfile.flush()
        assert self.server.go.wait(10)
        self.wfile.write(b"half")


@contextmanager
def web_service(context=None, kind=Service):
    """Run a service on a free port."""
    with kind(context) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join(10)
