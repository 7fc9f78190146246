"""
A strict Slack for tests: its Web API at `/api/`, and incoming webhooks at `/services/`.

    with slack() as workspace:
        workspace.tokens.add("xoxb-1")
        workspace.hooks.add("T1/B1/secret")
        workspace.api, workspace.webhooks            # the two addresses
        workspace.posted                             # what was written, by either

As Slack it says no with 200 and `{"ok": false}` in the Web API, and with a word in a webhook.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from parts.web_service import Asked, Service, web_service


class Workspace(Service):
    def __init__(self, context=None):
        super().__init__(context)
        self.RequestHandlerClass = _Handler
        self.api = f"{self.url}/api/"
        self.webhooks = f"{self.url}/services"

    def forget(self):
        super().forget()
        self.hooks = set()
        self.posted = []
        self.error = "invalid_auth"  # what is said of a token that is none
        self.word = (404, "no_service")  # and of an address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_POST(self):
        slack = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        slack.asked.append(Asked("POST", self.path, headers, body, None))
        if slack.faults:
            self._answer(*slack.faults.pop(0))
        elif self.path.startswith("/api/"):
            self._method(self.path.removeprefix("/api/"), self._said(headers, body))
        else:
            self._hook(self.path.removeprefix("/services/"), headers, body)

    def do_GET(self):  # where a redirect of a POST leads
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked("GET", self.path, headers, b"", None))
        self._answer(200, {"Content-Type": "application/json"}, b'{"ok": true}')

    def _said(self, headers, body):
        kind = headers.get("content-type", "").partition(";")[0]
        if not body:
            return {}
        if kind == "application/json":
            return json.loads(body)
        if kind == "application/x-www-form-urlencoded":
            return dict(parse_qsl(body.decode(), strict_parsing=True))
        raise AssertionError(kind)

    def _method(self, method, said):
        assert "token" not in said, "a token belongs in the header"
        assert not urlsplit(self.path).query
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.server.tokens:
            found = {"ok": False, "error": self.server.error if token else "not_authed"}
        elif method == "auth.test":
            found = {"ok": True, "url": "https://tests.slack.com/", "user": "robot"}
        elif method == "chat.postMessage" and not said.get("channel"):
            found = {"ok": False, "error": "channel_not_found"}
        elif method == "chat.postMessage":
            self.server.posted.append(said["text"])
            found = {"ok": True, "channel": said["channel"], "ts": "1.0", "message": {"text": said["text"]}}
        else:
            found = {"ok": False, "error": "unknown_method"}
        self._answer(200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(found).encode())

    def _hook(self, place, headers, body):
        text = {"Content-Type": "text/html"}
        if place not in self.server.hooks:
            status, word = self.server.word
            self._answer(status, text, word.encode())
            return
        said = self._said(headers, body)
        if not said.get("text"):
            self._answer(400, text, b"no_text")
            return
        self.server.posted.append(said["text"])
        self._answer(200, text, b"ok")

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def slack(context=None):
    """Run a workspace on a free port."""
    return web_service(context, Workspace)
