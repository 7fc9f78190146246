"""
A coordinator of Trino as its client sees it: over TLS, with passwords or tokens, answering `SELECT 1`.

    with trino(folder) as server:
        server.passwords["app"] = "…"       # or server.tokens.add("…")
        server.place, server.ca

Source: trino.io/docs/current/develop/client-protocol.html
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from parts.certificates import Authority, server_context


class Trino(ThreadingHTTPServer):
    """
    Attributes:
        passwords, tokens: who is let in.
        asked: (user, statement) of what was let in.
        refused: how many requests were not.
        headers: of the last statement.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        authority = Authority(folder, "trino")
        context = server_context(*authority.issue("coordinator", "127.0.0.1"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.ca = str(authority.file)
        self.passwords, self.tokens, self.asked, self.refused = {}, set(), [], 0
        self.headers = {}

    @property
    def place(self):
        return {"host": "127.0.0.1", "port": self.server_address[1]}

    def lets_in(self, said):
        kind, _, what = said.partition(" ")
        if kind == "Basic":
            user, _, password = base64.b64decode(what).decode().partition(":")
            return bool(password) and self.passwords.get(user) == password
        return kind == "Bearer" and what in self.tokens

    def handle_error(self, *_):
        """Say nothing where a client did not believe the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        statement = self.rfile.read(int(self.headers["Content-Length"])).decode()
        server = self.server
        if not server.lets_in(self.headers.get("Authorization", "")):
            server.refused += 1
            self._answer(401, {})
            return
        server.asked.append((self.headers["X-Trino-User"], statement))
        server.headers = dict(self.headers)
        self._answer(
            200,
            {
                "id": "q1",
                "infoUri": "https://127.0.0.1/",
                "columns": [{"name": "one", "type": "integer", "typeSignature": _INTEGER}],
                "data": [[1]],
                "stats": {"state": "FINISHED"},
            },
        )

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""


_INTEGER = {"rawType": "integer", "arguments": []}


@contextmanager
def trino(folder):
    """Run one for the block."""
    with Trino(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
