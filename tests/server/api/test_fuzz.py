"""
Schemathesis over our own OpenAPI document: any request it thinks of, valid or not, is answered as documented.

In the suite 5,000 cases with a fixed seed, each request asked as three roles;
`STRONGROOM_FUZZ_CASES=20000` in the long trial takes new ones each time. The server is called as an ASGI
application: what is proven is its answers, not its sockets. A test is one route, so that workers share them.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from urllib.parse import urlsplit

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.transport import Response

from parts.api import SETTINGS, asking
from strongroom.server import openapi
from strongroom.server.api import DESCRIBED

CASES = int(os.environ.get("STRONGROOM_FUZZ_CASES", "5000"))
IS_TRIAL = "STRONGROOM_FUZZ_CASES" in os.environ
# Making a request up costs more than answering it, so each is asked as three roles.
ROLES = ("admin", "op", "viewer")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# Fewer cases where a password is checked or set, which argon2id makes slow, and where a stream is waited for.
SLOW = {"/login": 4, "/actors": 4, "/actors/{id}/password": 4, "/login/code": 2, "/changes": 8, "/seal": 20}
PROTOCOL = {405, 408, 421, 431}  # answers of the layers in front of every route

DOCUMENT = json.loads(msgspec.json.encode(openapi.document(DESCRIBED, version="1")))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.config.update(base_url="http://127.0.0.1/v1")
SCHEMA.config.generation.update(
    modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE], with_security_parameters=False
)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


class Caller:
    """Calls an ASGI application from a thread, on a loop of its own."""

    def __init__(self, app):
        self.app = app
        self.count = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, request):
        """Send a prepared request; gives status, headers and body. A stream is left after its first event."""
        return asyncio.run_coroutine_threadsafe(self._call(request), self.loop).result(60)

    async def _call(self, request):
        address = urlsplit(request.url)
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        headers = [(b"host", b"127.0.0.1")]
        headers += [
            (_bytes(name).lower(), _bytes(value))
            for name, value in request.headers.items()
            if name.lower() != "host"
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": address.path,
            "raw_path": address.path.encode(),
            "query_string": address.query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent, gone = [], asyncio.Event()
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if waiting:
                return waiting.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if message["type"] == "http.response.body" and message.get("more_body"):
                gone.set()

        await self.app(scope, receive, send)
        start = sent[0]
        found = {}
        for name, value in start["headers"]:
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        return start["status"], found, b"".join(message.get("body", b"") for message in sent[1:])

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def prepared(case, token):
    """Give the request of *case* with our token instead of whatever it has."""
    kwargs = case.as_transport_kwargs()
    headers = dict(kwargs.pop("headers", None) or {}) | {"Authorization": f"Bearer {token}"}
    allowed = ("method", "url", "params", "json", "data", "cookies")
    given_ = {name: value for name, value in kwargs.items() if name in allowed}
    return requests.Request(headers=headers, **given_).prepare()


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1", "replace")


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    quiet = SETTINGS.replace("[server.limits]", '[server]\nlog_level = "error"\n\n[server.limits]')
    with asking(tmp_path_factory.mktemp("fuzz"), quiet) as found:
        yield found


@pytest.fixture(scope="module")
def caller(api):
    found = Caller(api.server.app)
    yield found
    found.close()


def weight_of(operation):
    """Give a route its share of the cases; one that takes nothing has a single request."""
    said = operation.definition.raw
    return 1 / SLOW.get(operation.path, 1) if said.get("parameters") or "requestBody" in said else 0


def settings_of(operation):
    weights = {one.label: weight_of(one) for one in OPERATIONS}
    count = max(1, round(CASES / len(ROLES) * weights[operation.label] / sum(weights.values())))
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=not IS_TRIAL,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.label)
def test_any_request_is_answered_as_documented(api, caller, operation):
    @settings_of(operation)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) | operation.as_strategy())
    def ask(case):
        for role in ROLES:
            request = prepared(case, api.tokens[role])
            status, headers, body = caller.call(request)
            caller.count += 1
            api.reopen()
            if status not in PROTOCOL:
                response = Response(status, headers, body, request, 0.0, verify=False)
                case.validate_response(response, checks=CHECKS)
        mode = api.house.mode
        if mode.read_only or mode.log_level != "error":
            mode.change(read_only=False, log_level="error")

    ask()
