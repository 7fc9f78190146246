"""
A strict provider of OAuth2 for tests: its token endpoint, as RFC 6749 and RFC 9700 want it.

    with provider() as office:
        office.clients["app"] = "secret"
        office.url                       # of the endpoint
        office.grown("app")              # a refresh token for it
        office.access                    # the access tokens that are good now
        office.questions                 # how often a token was asked for
        office.is_burnt                  # a refresh token was used twice: all that came of it is revoked

A refresh token counts once (RFC 9700 §4.14.2), and another comes with each access token, unless `rotates`
is False.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, unquote_plus

from parts.web_service import Service, web_service


class _Refused(Exception):  # noqa: N818 -- an answer
    pass


class Office(Service):
    def __init__(self, context=None):
        super().__init__(context)
        self.RequestHandlerClass = _Handler
        self.path = "/oauth2/token"
        self.url += self.path

    def forget(self):
        super().forget()
        self.clients, self.access, self.refresh, self.spent = {}, set(), {}, set()
        self.life = 3600
        self.rotates = True
        self.is_burnt = False
        self.forms = []
        self.answers = []  # (status, body) in place of the next ones
        self.go.set()
        self.begun = threading.Event()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def questions(self):
        return len(self.forms)

    def grown(self, client):
        """Give a refresh token of *client*, as after somebody has agreed to it in a browser."""
        token = f"refresh-{next(self._numbers)}-of-{client}"
        self.refresh[token] = client
        return token

    def given(self, client, form):
        """Give the answer to *form* of *client*."""
        with self._lock:
            grant = form.get("grant_type")
            if grant == "client_credentials":
                return self._token({})
            if grant != "refresh_token":
                raise _Refused("unsupported_grant_type")
            used = form.get("refresh_token", "")
            if used in self.spent:
                self.is_burnt = True
                self.refresh.clear()
                self.access.clear()
            if self.refresh.get(used) != client:
                raise _Refused("invalid_grant")
            if not self.rotates:
                return self._token({})
            del self.refresh[used]
            self.spent.add(used)
            return self._token({"refresh_token": self.grown(client)})

    def _token(self, more):
        token = f"access-{next(self._numbers)}"
        self.access.add(token)
        said = {"access_token": token, "token_type": "Bearer", **more}
        return said if self.life is None else {**said, "expires_in": self.life}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_POST(self):
        office = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
        office.forms.append(dict(pairs))
        office.begun.set()
        assert office.go.wait(10)
        if office.answers:
            self._answer(*office.answers.pop(0))
            return
        try:
            assert self.path == office.path, self.path
            assert self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            assert len(pairs) == len(dict(pairs)), "a parameter twice (RFC 6749 §3.2)"
            self._answer(200, office.given(self._client(dict(pairs)), dict(pairs)))
        except _Refused as refused:
            self._answer(401 if str(refused) == "invalid_client" else 400, {"error": str(refused)})

    def _client(self, form):
        scheme, _, said = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            assert "client_secret" not in form, "two ways to say who asks (RFC 6749 §2.3)"
            name, _, secret = (unquote_plus(one) for one in base64.b64decode(said).decode().partition(":"))
        else:
            name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if name not in self.server.clients or self.server.clients[name] != secret:
            raise _Refused("invalid_client")
        return name

    def _answer(self, status, said):
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def provider(context=None):
    """Run a provider on a free port."""
    return web_service(context, Office)
