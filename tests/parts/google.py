"""
Google in this process: Secret Manager over gRPC and over REST, and whoever one logs in with.

    google.project()                         # a project of its own, in which `google.account` may do all
    google.key()                             # the account's key, as Google gives it
    google.model.calls, google.model.faults  # what was asked, and what is answered next

| who | how the fake knows them |
|---|---|
| a service account | the signature of its JWT, presented itself or exchanged at `/token` |
| the machine | `/computeMetadata/v1/…`, with its header |
| a federated workload | its subject token, exchanged at `/v1/token` |
| another account | `generateAccessToken` by who may act as it |
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
import time
from concurrent import futures
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.protobuf import any_pb2, empty_pb2, json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from parts.google_model import ERROR_INFO, Fault, Model, iam_policy_pb2, sm

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
_POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p"
_ITEM = r"projects/[^/]+(?:/locations/[^/]+)?/secrets/[^/:]+"
_PARENT = r"projects/[^/]+(?:/locations/[^/]+)?"
# method, path, rpc, the member that the path is, the member that the body is ("*": the whole)
_ROUTES = tuple(
    (method, re.compile(f"/v1/{path}"), rpc, member, body)
    for method, path, rpc, member, body in (
        ("GET", f"(?P<p>{_PARENT})/secrets", "ListSecrets", "parent", None),
        ("POST", f"(?P<p>{_PARENT})/secrets", "CreateSecret", "parent", "secret"),
        ("POST", f"(?P<p>{_ITEM}):addVersion", "AddSecretVersion", "parent", "*"),
        ("GET", f"(?P<p>{_ITEM})", "GetSecret", "name", None),
        ("PATCH", f"(?P<p>{_ITEM})", "UpdateSecret", "secret.name", "secret"),
        ("DELETE", f"(?P<p>{_ITEM})", "DeleteSecret", "name", None),
        ("GET", f"(?P<p>{_ITEM})/versions", "ListSecretVersions", "parent", None),
        ("GET", f"(?P<p>{_ITEM}/versions/[^/:]+)", "GetSecretVersion", "name", None),
        ("GET", f"(?P<p>{_ITEM}/versions/[^/:]+):access", "AccessSecretVersion", "name", None),
        ("POST", f"(?P<p>{_ITEM}/versions/[^/:]+):disable", "DisableSecretVersion", "name", "*"),
        ("POST", f"(?P<p>{_ITEM}/versions/[^/:]+):enable", "EnableSecretVersion", "name", "*"),
        ("POST", f"(?P<p>{_ITEM}/versions/[^/:]+):destroy", "DestroySecretVersion", "name", "*"),
        ("POST", f"(?P<p>{_ITEM}):testIamPermissions", "TestIamPermissions", "resource", "*"),
    )
)
_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_ANSWERS = {
    "DeleteSecret": empty_pb2.Empty,
    "CreateSecret": sm.Secret,
    "GetSecret": sm.Secret,
    "UpdateSecret": sm.Secret,
    "AccessSecretVersion": sm.AccessSecretVersionResponse,
    "ListSecrets": sm.ListSecretsResponse,
    "ListSecretVersions": sm.ListSecretVersionsResponse,
    "TestIamPermissions": iam_policy_pb2.TestIamPermissionsResponse,
}


def _asks(rpc):
    return (
        iam_policy_pb2.TestIamPermissionsRequest
        if rpc == "TestIamPermissions"
        else getattr(sm, f"{rpc}Request")
    )


def _pb(message):
    return type(message).pb(message) if hasattr(type(message), "pb") else message


class Google:
    """
    Both servers over one model, and the accounts there are.

    Attributes:
        logins: (what was asked for, by whom) of each token that was given out or refused.
        lifetime: of the tokens given out, in seconds.
        payers: the project that each question over REST was charged to.
        key_bytes: of the account's key, and of what it signs.
    """

    key_bytes = 128

    def __init__(self):
        self.model = Model()
        self.logins = []
        self.lifetime = 3600
        self.payers = []
        self.account = "agent@home.iam.gserviceaccount.com"
        self.subjects = {}  # subject token: whom it stands for
        self.may_act_as = set()  # (who, as whom)
        self.machine = None  # the account of this machine
        self.login_faults = []  # statuses that whoever gives tokens answers with next
        self.revoked = set()
        self._tokens = {}
        self._numbers = itertools.count(1)
        # Half of Google's own: its library looks for the factors of a key each time it reads one.
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=8 * self.key_bytes)
        self._grpc = grpc.server(futures.ThreadPoolExecutor(40), options=[("grpc.so_reuseport", 0)])
        self._grpc.add_generic_rpc_handlers((_handlers(self),))
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._http = _Server(("127.0.0.1", 0), _handler_of(self))
        self.http_port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.http_port}"
        self._grpc.start()
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self._grpc.stop(None).wait()
        self._http.shutdown()
        self._http.server_close()

    def over_tls(self, certificate, key):
        """Give one more server over gRPC, with TLS, and its port."""
        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((_handlers(self),))
        pair = (key.read_bytes(), certificate.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        server.start()
        return server, port

    def project(self, *accounts):
        """Give a new project, in which *accounts* may do all."""
        name = f"home-{next(self._numbers)}"
        self.model.enabled[name] = list(accounts) or [self.account]
        return name

    def key(self, account=None, **changes):
        """Give the key of *account*, as Google gives it: text of JSON."""
        private = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = account or self.account
        held = {
            "type": "service_account",
            "project_id": account.partition("@")[2].partition(".")[0],
            "private_key_id": "k1",
            "private_key": private.decode(),
            "client_email": account,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        return json.dumps({**held, **changes})

    def federation(self, **changes):
        """Give a configuration of workload identity federation; say where its tokens come from."""
        held = {
            "type": "external_account",
            "audience": f"{_POOL}/providers/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/v1/token",
        }
        return {**held, **changes}

    def issue(self, who):
        """Give a new token of *who*."""
        token = f"ya29.token-{next(self._numbers)}"
        self._tokens[token] = (who, time.time() + self.lifetime)
        return token

    def known(self, header, scope="cloud-platform"):
        """Give whom a header authenticates for *scope*, or raise what Google answers."""
        scheme, _, token = (header or "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Fault.of(
                "UNAUTHENTICATED", "Request is missing required authentication.", "CREDENTIALS_MISSING"
            )
        who, ends = (
            self._signed(token, scope) if token.count(".") == 2 else self._tokens.get(token, (None, 0))
        )
        if who is None or ends < time.time() or who in self.revoked or token in self.revoked:
            raise Fault.of("UNAUTHENTICATED", "Request had invalid authentication.", "ACCESS_TOKEN_EXPIRED")
        return who

    def _signed(self, token, scope="cloud-platform"):
        """Read a JWT that a service account signed itself (AIP-4111)."""
        head, body, signature = token.split(".")
        try:
            self._private.public_key().verify(
                _decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return None, 0
        claims = json.loads(_decoded(body))
        is_meant = scope in claims.get("scope", "") or "aud" in claims
        return (claims["iss"], claims["exp"]) if is_meant else (None, 0)

    # --- whoever gives tokens ---

    def login(self, path, headers, body):
        """Answer who asks for a token: (status, body)."""
        status, answer = (
            (self.login_faults.pop(0), {}) if self.login_faults else self._login(path, headers, body)
        )
        self.logins.append((path, status))
        return status, answer

    def _login(self, path, headers, body):
        if path.startswith("/computeMetadata/v1/"):
            return self._of_machine(path.partition("/v1/")[2], headers)
        if path == "/subject":
            return 200, {"id_token": next(iter(self.subjects))}
        if path.endswith(":generateAccessToken"):
            return self._of_other(
                unquote(path.rpartition("/")[2].partition(":")[0]), headers, json.loads(body)
            )
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        if path == "/token":
            who, ends = self._signed(form["assertion"]) if "assertion" in form else (None, 0)
            return self._given(who if ends > time.time() else None)
        if (
            form.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange"
            or "audience" not in form
        ):
            return 400, {"error": "invalid_request"}
        return self._given(self.subjects.get(_subject(form["subject_token"])))

    def _given(self, who):
        if who is None or who in self.revoked:
            return 400, {"error": "invalid_grant", "error_description": "invalid token"}
        return 200, {"access_token": self.issue(who), "expires_in": self.lifetime, "token_type": "Bearer"}

    def _of_machine(self, path, headers):
        if headers.get("Metadata-Flavor") != "Google" or self.machine is None:
            return 403, {}
        answers = {
            "project/project-id": "machine-home",
            "instance/service-accounts/default/email": self.machine,
        }
        return (200, answers[path]) if path in answers else self._given(self.machine)

    def _of_other(self, target, headers, asked):
        try:
            who = self.known(headers.get("Authorization"), "auth/")
        except Fault:
            return 401, {}
        chain = [who, *(one.rpartition("/")[2] for one in asked.get("delegates") or ()), target]
        if any(pair not in self.may_act_as for pair in itertools.pairwise(chain)):
            return 403, {
                "error": {"status": "PERMISSION_DENIED", "message": "iam.serviceAccounts.getAccessToken"}
            }
        ends = datetime.now(timezone.utc) + timedelta(seconds=self.lifetime)
        return 200, {"accessToken": self.issue(target), "expireTime": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _subject(token):
    """Give the token, or of a signed request to AWS's STS the key that signed it."""
    if not token.startswith("%7B"):
        return token
    asked = json.loads(unquote(token))
    headers = {one["key"]: one["value"] for one in asked["headers"]}
    assert "GetCallerIdentity" in asked["url"]
    assert "x-goog-cloud-target-resource" in headers
    return re.search(r"Credential=([^/]+)/", headers["Authorization"])[1]


def _decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- gRPC ---


def _handlers(google):
    def handler(rpc):
        def answer(request, context):
            sent = dict(context.invocation_metadata())
            try:
                who = google.known(sent.get("authorization"))
                assert "x-goog-request-params" in sent
                return google.model.ask(rpc, request, who)
            except Fault as fault:
                context.abort_with_status(rpc_status.to_status(_status(fault)))

        asks, gives = _asks(rpc), _ANSWERS.get(rpc, sm.SecretVersion)
        return grpc.unary_unary_rpc_method_handler(
            answer,
            getattr(asks, "deserialize", None) or asks.FromString,
            getattr(gives, "serialize", None) or gives.SerializeToString,
        )

    return grpc.method_handlers_generic_handler(SERVICE, {rpc: handler(rpc) for _, _, rpc, _, _ in _ROUTES})


def _status(fault):
    details = []
    for held in fault.details:
        kind = error_details_pb2.ErrorInfo if held["@type"] == ERROR_INFO else error_details_pb2.RetryInfo
        message = json_format.ParseDict({key: value for key, value in held.items() if key != "@type"}, kind())
        packed = any_pb2.Any()
        packed.Pack(message)
        details.append(packed)
    code = grpc.StatusCode[fault.status].value[0]
    return status_pb2.Status(code=code, message=fault.words, details=details)


# --- HTTP ---


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of the five of the library, many who come at once wait a second


def _handler_of(google):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            for method, pattern, rpc, member, inner in _ROUTES:
                found = pattern.fullmatch(parts.path)
                if found and method == self.command:
                    return self._ask(rpc, member, found["p"], inner, parts.query, body)
            status, held = google.login(parts.path, self.headers, body)
            return self._send(status, held)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 -- the library's names

        def _ask(self, rpc, member, value, inner, query, body):
            google.payers.append(self.headers.get("X-Goog-User-Project"))
            try:
                who = google.known(self.headers.get("Authorization"))
                request = _request(rpc, member, value, inner, query, body)
                message = _pb(google.model.ask(rpc, request, who))
                return self._send(200, json_format.MessageToDict(message, use_integers_for_enums=True))
            except Fault as fault:
                said = {
                    "code": _HTTP[fault.status],
                    "message": fault.words,
                    "status": fault.status,
                    "details": list(fault.details),
                }
                return self._send(_HTTP[fault.status], {"error": said})

        def _send(self, status, held):
            data = held.encode() if isinstance(held, str) else json.dumps(held).encode()
            head = (
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nMetadata-Flavor: Google\r\n"
                f"Content-Length: {len(data)}\r\n\r\n"
            )
            self.wfile.write(head.encode() + data)

        def log_message(self, *_args):
            pass

    return Handler


def _request(rpc, member, value, inner, query, body):
    kind = _asks(rpc)
    held = {key: values[0] for key, values in parse_qs(query).items() if not key.startswith("$")}
    if inner == "*":
        held.update(json.loads(body))
    elif inner is not None:
        held[inner] = json.loads(body)
    outer, _, last = member.rpartition(".")
    (held.setdefault(outer, {}) if outer else held)[last] = value
    message = kind.pb(kind()) if hasattr(kind, "pb") else kind()
    try:
        json_format.ParseDict(held, message)
    except json_format.ParseError:
        raise Fault("INVALID_ARGUMENT", "The body is malformed.") from None
    return kind(message) if hasattr(kind, "pb") else message


@pytest.fixture(scope="session")
def google_servers():
    made = Google()
    yield made
    made.stop()


@pytest.fixture
def google(google_servers):
    """Give the fakes, as if nobody had asked them anything yet."""
    fresh = google_servers
    fresh.model.calls.clear()
    fresh.model.faults.clear()
    fresh.model.denied.clear()
    fresh.model.seconds, fresh.model.spoil, fresh.model.before = 0.0, None, None
    fresh.model.most = 0
    fresh.logins.clear()
    fresh.login_faults.clear()
    fresh.revoked.clear()
    fresh.subjects.clear()
    fresh.may_act_as.clear()
    fresh.machine, fresh.lifetime = None, 3600
    return fresh
