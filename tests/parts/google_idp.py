"""
An identity provider that gives a client one token for its credentials (RFC 6749 §4.4), for federation with
Google: `idp.url`, `idp.client`, `idp.secret`, `idp.token`; `idp.forms` is what it was sent.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest


class Provider:
    """
    Attributes:
        forms: what was posted, first to last.
        answer: (status, body, location) in place of a token.
    """

    def __init__(self):
        self.client, self.secret, self.token = "partner", "the-partners-s3cret", "eyJ.partner"
        self.forms, self.answer = [], None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/oauth/token"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def answered(self, kind, form):
        """Give (status, body) to *form*, and where else to ask."""
        self.forms.append(form)
        if self.answer is not None:
            return self.answer
        if kind != "application/x-www-form-urlencoded" or form.get("grant_type") != "client_credentials":
            return 400, {"error": "invalid_request"}, None
        if (form.get("client_id"), form.get("client_secret")) != (self.client, self.secret):
            return 401, {"error": "invalid_client", "error_description": "words nobody is to see"}, None
        return 200, {"access_token": self.token, "token_type": "Bearer", "expires_in": 300}, None


def _handler_of(provider):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = {key: values[0] for key, values in parse_qs(body).items()}
            status, said, where = provider.answered(self.headers.get("Content-Type"), form)
            data = json.dumps(said).encode()
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
            head += f"Location: {where}\r\n\r\n" if where else "\r\n"
            self.wfile.write(head.encode() + data)

        def log_message(self, *_args):
            pass

    return Handler


@pytest.fixture
def idp():
    made = Provider()
    yield made
    made.stop()
