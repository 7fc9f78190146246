"""
A web service, and what Slack answers, that keep what they were asked.

    with served() as web:
        ...
        assert web.asked == [("HEAD", "/")]
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from parts.redis import PASSWORD
from parts.trying import CANARY


class Web:
    """A web service that keeps what it was asked."""

    def __init__(self, context=None):
        self.asked, self.posted, self.statuses = [], [], {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, method, path, headers, body):
        """Give (status, body)."""
        self.asked.append((method, path))
        if method == "POST":
            return self._slack(path, headers, body)
        if path in self.statuses:
            return self.statuses[path], b""
        good = b"Basic " + base64.b64encode(f"app:{PASSWORD}".encode())
        return 200 if headers.get("Authorization", "").encode() == good else 401, b""

    def _slack(self, path, headers, body):
        self.posted.append(body)
        if path.startswith("/moved"):
            return 302, b""
        if path.endswith("/auth.test"):
            is_known = headers.get("Authorization") == "Bearer xoxb-good"
            return 200, json.dumps({"ok": is_known, "error": "invalid_auth", "url": CANARY}).encode()
        return (400, b"no_text") if path == "/services/good" else (404, b"no_service")

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def _handler(web):
    class Handler(BaseHTTPRequestHandler):
        def _serve(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = web.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.send_header("Location", f"http://127.0.0.1:{web.port}/elsewhere")
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815 -- as the library calls them

        def log_message(self, *_arguments):
            pass

    return Handler


@contextmanager
def served(context=None):
    web = Web(context)
    try:
        yield web
    finally:
        web.stop()
