"""
Azure as far as a vault's secrets need it, on this machine and strict: a Key Vault, Entra ID, and the endpoint
of a machine's identity, each on a port of its own.

    with Azure(authority) as azure:      # an `Authority` of parts.certificates
        azure.vault_url, azure.entra, azure.machine

It answers as the REST API of 2026-04-01 does: challenge, names without regard to case, versions, soft
deletion, pages of 25, the errors' codes. What it must not be sent it notes in `wrong`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from parts.certificates import server_context

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
PRINCIPAL = "99999999-8888-7777-6666-555555555555"
MACHINE = "cccccccc-0000-0000-0000-000000000000"
SECRET = "the-clients-own-s3cret"
EVERY_RIGHT = frozenset({"get", "list", "set", "delete", "recover", "purge"})
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}", re.ASCII)
_PAGE = 25


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer, context):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def _serve(handler):  # noqa: N805 -- `self` is the server's
                length = int(handler.headers.get("content-length") or 0)
                body = handler.rfile.read(length)
                status, found, headers = answer(handler.command, handler.path, handler.headers, body)
                data = (
                    b""
                    if found is None
                    else found
                    if isinstance(found, bytes)
                    else json.dumps(found).encode()
                )
                told = {
                    "content-type": "application/json; charset=utf-8",
                    **headers,
                    "content-length": str(len(data)),
                }
                head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
                # In one piece: head and body apart cost the wait of a delayed acknowledgement.
                handler.wfile.write(f"HTTP/1.1 {status} x\r\n{head}\r\n".encode() + data)

            do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self._context = context

    @property
    def port(self):
        return self.server_address[1]

    def finish_request(self, request, client_address):
        with suppress(OSError):  # whoever does not trust the certificate hangs up
            if self._context is None:
                self.RequestHandlerClass(request, client_address, self)
                return
            request.settimeout(10)
            with self._context.wrap_socket(request, server_side=True) as secured:
                self.RequestHandlerClass(secured, client_address, self)

    def shutdown_request(self, request):
        with suppress(OSError):
            super().shutdown_request(request)

    def handle_error(self, *_):
        pass


class Version:
    """One version of a secret."""

    def __init__(self, body, created):
        self.id = uuid.uuid4().hex
        self.value = body["value"]
        self.tags = body.get("tags")
        self.content_type = body.get("contentType")
        self.attributes = {
            "enabled": True,
            **(body.get("attributes") or {}),
            "created": created,
            "updated": created,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        }


class Azure:
    """
    Attributes:
        rights: by client, the permissions it has; any other has every one.
        denial: the inner code of a refusal.
        requests: (method, path without query, whether it bore a token) of the vault's.
        logins: how many tokens were given.
        wrong: what was sent and must not have been.
        answers: answered in place of the vault, first to last, as (status, body, headers).
        answers_unasked: likewise, even without a token.
        hold: what every question to the vault waits for; `waiting` counts those that came.
        resource: that the challenge names.
        challenge: in place of the whole header.
        limits: (permission, which of its questions from now is answered with a 503).
        settle: looks for which the vault is still at work on a deletion or recovery.
    """

    def __init__(self, authority):
        certificate, key = authority.issue("azure", "127.0.0.1", "localhost")
        context = server_context(certificate, key)
        self.ca = authority.file
        self._lock = threading.RLock()
        self._servers = [
            _Server(self._vault, context),
            _Server(self._entra, context),
            _Server(self._machine, None),
            _Server(self._behind, None),
        ]
        self.clear()

    def __enter__(self):
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def clear(self):
        """Forget everything that a test did."""
        self.secrets, self.deleted, self.tokens = {}, {}, {}
        self.rights, self.denial = {}, "ForbiddenByPolicy"
        self.requests, self.wrong, self.answers = [], [], []
        self.logins, self.settle, self.limits = 0, 0, []
        self._busy = {}
        self.client_secret, self.certificate, self.assertion = SECRET, None, None
        self.tenant, self.entra_answers, self.machine_answers = TENANT, [], []
        self.token_seconds = 3600
        self.token_endpoint = None
        self.machine_clients = {None, MACHINE}
        self._front = None
        self.hold, self.waiting, self.answers_unasked = None, threading.Semaphore(0), []
        self.resource = _below(self.vault_url)
        self.challenge = None
        self._created = int(time.time()) - 1_000_000

    @property
    def plain_port(self):
        """Where vault and Entra ID answer both, for a proxy that speaks TLS before them."""
        return self._servers[3].port

    @property
    def vault_url(self):
        return self._front or f"https://127.0.0.1:{self._servers[0].port}"

    @property
    def entra(self):
        return self._front or f"https://127.0.0.1:{self._servers[1].port}"

    @property
    def machine(self):
        return f"http://127.0.0.1:{self._servers[2].port}"

    # --- what tests put there, past the API ---

    def put(self, name, value, **attributes):
        """Write a version, as somebody else would; `tags` among the attributes are tags."""
        with self._lock:
            tags = attributes.pop("tags", None)
            content_type = attributes.pop("content_type", None)
            body = {"value": value, "tags": tags, "attributes": attributes, "contentType": content_type}
            return self._write(name, body).id

    def remove(self, name):
        with self._lock:
            self.secrets.pop(name.lower(), None)

    def revoke(self):
        """Make every token given so far good for nothing."""
        with self._lock:
            self.tokens = {}

    def token(self, client=CLIENT, *, audience=None, seconds=None):
        """Give a token, as Entra ID would."""
        claims = {"appid": client, "oid": PRINCIPAL, "tid": self.tenant, "iat": int(time.time())}
        parts = [{"alg": "RS256"}, {**claims, "jti": uuid.uuid4().hex}]
        text = ".".join(_b64(json.dumps(part).encode()) for part in parts) + ".c2ln"
        with self._lock:
            ends = time.time() + (self.token_seconds if seconds is None else seconds)
            self.tokens[text] = (client, audience or self.resource, ends)
            self.logins += 1
        return text

    def _behind(self, method, target, headers, body):
        with self._lock:
            kept, self._front = self.resource, f"https://{headers['host']}"
            self.resource = _below(self._front)
            try:
                is_login = target.startswith(f"/{self.tenant}/")
                return (self._entra if is_login else self._vault)(method, target, headers, body)
            finally:
                self.resource, self._front = kept, None

    # --- the vault ---

    def _vault(self, method, target, headers, body):
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        bearer = headers.get("authorization", "")
        if self.hold is not None:
            self.waiting.release()
            self.hold.wait(20)
        with self._lock:
            if self.answers_unasked:
                return self.answers_unasked.pop(0)
            self.requests.append((method, parts.path, bool(bearer)))
            if not bearer:
                if body:
                    self.wrong.append("a body without a token")
                return 401, _error("Unauthorized", "AKV10000"), self._challenge()
            holder = self.tokens.get(bearer.removeprefix("Bearer "))
            if holder is None or holder[1] != self.resource or holder[2] < time.time():
                return 401, _error("Unauthorized", "AKV10032"), self._challenge()
            if self.answers:
                return self.answers.pop(0)
            if "api-version" not in query:
                return 400, _error("BadParameter"), {}
            return self._answer(method, parts.path, query, body, holder[0])

    def _challenge(self):
        said = self.challenge
        if said is None:
            said = f'Bearer authorization="{self.entra}/{self.tenant}", resource="{self.resource}"'
        return {"www-authenticate": said} if said else {}

    def _answer(self, method, path, query, body, client):
        kind, _, rest = path.strip("/").partition("/")
        name, _, more = rest.partition("/")
        verb = self._verb(method, kind, name, more)
        if verb is None:
            return 404, b"<html>no such page</html>", {"content-type": "text/html"}
        if verb not in self.rights.get(client, EVERY_RIGHT):
            return 403, _error("Forbidden", self.denial), {}
        self.limits = [(of, left - (of == verb)) for of, left in self.limits]
        if (verb, 0) in self.limits:
            return 503, None, {}
        if name and not _NAME.fullmatch(name):
            return 400, _error("BadParameter"), {}
        if verb == "list":
            return self._list(kind, name, query)
        return getattr(self, f"_{verb}_{kind}")(name, more, body)

    def _verb(self, method, kind, name, more):
        if kind not in ("secrets", "deletedsecrets"):
            return None
        if method == "GET":
            return "list" if not name or more == "versions" else "get"
        if kind == "secrets" and not more:
            return {"PUT": "set", "DELETE": "delete"}.get(method)
        if kind == "deletedsecrets":
            if method == "POST" and more == "recover":
                return "recover"
            return "purge" if method == "DELETE" and not more else None
        return None

    def _list(self, kind, name, query):
        most = int(query.get("maxresults", [_PAGE])[0])
        if not 1 <= most <= _PAGE:
            return 400, _error("BadParameter"), {}
        if name:
            held = self.secrets.get(name.lower())
            if held is None:
                return 404, _error("SecretNotFound"), {}
            items = [self._item(held[0], one, lists=True) for one in sorted(held[1], key=lambda one: one.id)]
        else:
            shelf = self.secrets if kind == "secrets" else self.deleted
            items = [
                {**self._item(own, versions[-1], lists=True, kind=kind), **self._gone(kind)}
                for own, versions in sorted(shelf.values(), key=lambda held: hash(held[0]))
            ]
            for item in items:
                item["id"] = item["id"].rsplit("/", 1)[0]
        start = int(query.get("$skiptoken", ["0"])[0])
        link = None
        if start + most < len(items):
            # As the real one gives it: whole, with its port, in its own spelling.
            path = f"{kind}/{name}/versions" if name else kind
            link = (
                f"{self.vault_url}/{path}?api-version={quote(query['api-version'][0])}"
                f"&$skiptoken={start + most}&maxresults={most}"
            )
        return 200, {"value": items[start : start + most], "nextLink": link}, {}

    def _gone(self, kind):
        if kind == "secrets":
            return {}
        return {"deletedDate": self._created, "scheduledPurgeDate": self._created + 90 * 86_400}

    def _item(self, own, version, *, lists=False, kind="secrets"):
        item = {
            "id": f"{self.vault_url}/{kind}/{own}/{version.id}",
            "attributes": version.attributes,
            "tags": version.tags,
            "contentType": version.content_type,
        }
        if not lists:
            item["value"] = version.value
        return {key: value for key, value in item.items() if value is not None}

    def _get_secrets(self, name, version, _body):
        held = self.secrets.get(name.lower())
        found = None
        if held is not None and not self._is_busy(name):
            found = next((one for one in reversed(held[1]) if version in ("", one.id)), None)
        if found is None:
            return 404, _error("SecretNotFound"), {}
        if not found.attributes["enabled"]:
            return 403, _error("Forbidden", "SecretDisabled"), {}
        return 200, self._item(held[0], found), {}

    def _set_secrets(self, name, _more, body):
        try:
            said = json.loads(body)
            value, tags = said["value"], said.get("tags") or {}
            is_good = isinstance(value, str) and len(value.encode()) <= 25_600 and len(tags) <= 15
            is_good = is_good and all(len(key) <= 256 and len(tag) <= 256 for key, tag in tags.items())
        except (ValueError, KeyError, TypeError, AttributeError):
            is_good = False
        if not is_good:
            return 400, _error("BadParameter"), {}
        if name.lower() in self.deleted:
            return 409, _error("Conflict", "ObjectIsDeletedButRecoverable"), {}
        if self._is_busy(name):
            return 409, _error("Conflict", "ObjectIsBeingRecovered"), {}
        version = self._write(name, said)
        return 200, self._item(self.secrets[name.lower()][0], version), {}

    def _write(self, name, body):
        self._created += 1
        version = Version(body, self._created)
        self.secrets.setdefault(name.lower(), (name, []))[1].append(version)
        return version

    def _delete_secrets(self, name, _more, _body):
        held = self.secrets.pop(name.lower(), None)
        if held is None:
            return 404, _error("SecretNotFound"), {}
        self.deleted[name.lower()] = held
        self._busy[name.lower()] = self.settle
        item = self._item(held[0], held[1][-1], lists=True)
        return 200, {**item, "recoveryId": f"{self.vault_url}/deletedsecrets/{held[0]}"}, {}

    def _get_deletedsecrets(self, name, _more, _body):
        held = self.deleted.get(name.lower())
        if held is None or self._is_busy(name):
            return 404, _error("SecretNotFound"), {}
        return 200, {**self._item(held[0], held[1][-1], lists=True), **self._gone("deletedsecrets")}, {}

    def _recover_deletedsecrets(self, name, _more, _body):
        if self._is_busy(name):
            return 409, _error("Conflict", "ObjectIsBeingDeleted"), {}
        held = self.deleted.pop(name.lower(), None)
        if held is None:
            return 404, _error("SecretNotFound"), {}
        self.secrets[name.lower()] = held
        self._busy[name.lower()] = self.settle
        return 200, self._item(held[0], held[1][-1], lists=True), {}

    def _purge_deletedsecrets(self, name, _more, _body):
        if self._is_busy(name):
            return 409, _error("Conflict", "ObjectIsBeingDeleted"), {}
        if self.deleted.pop(name.lower(), None) is None:
            return 404, _error("SecretNotFound"), {}
        return 204, None, {}

    def _is_busy(self, name):
        left = self._busy.get(name.lower(), 0)
        self._busy[name.lower()] = max(left - 1, 0)
        return left > 0

    # --- Entra ID ---

    def _entra(self, method, target, _headers, body):
        path = urlsplit(target).path
        tenant, _, rest = path.strip("/").partition("/")
        with self._lock:
            if self.entra_answers:
                return self.entra_answers.pop(0)
            if tenant != self.tenant:
                return _refused(400, "invalid_tenant", 90002)
            if method == "GET" and rest == "v2.0/.well-known/openid-configuration":
                at = f"{self.entra}/{tenant}/oauth2/v2.0"
                return (
                    200,
                    {
                        "issuer": f"{self.entra}/{tenant}/v2.0",
                        "authorization_endpoint": f"{at}/authorize",
                        "token_endpoint": self.token_endpoint or f"{at}/token",
                    },
                    {},
                )
            if method != "POST" or rest != "oauth2/v2.0/token":
                return 404, b"<html>", {"content-type": "text/html"}
            form = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
            return self._grant(form)

    def _grant(self, form):
        if form.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", 70003)
        if form.get("client_id") != CLIENT:
            return _refused(400, "unauthorized_client", 700016)
        resource, _, scope = form.get("scope", "").rpartition("/")
        if scope != ".default" or not resource:
            return _refused(400, "invalid_scope", 70011)
        code = self._why_not(form)
        if code is not None:
            return _refused(401, "invalid_client", code)
        token = self.token(form["client_id"], audience=resource)
        return (
            200,
            {"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": token},
            {},
        )

    def _why_not(self, form):
        """Give the number of what is wrong with what a client shows."""
        if "client_secret" in form:
            return None if form["client_secret"] == self.client_secret else 7000215
        shown = form.get("client_assertion", "")
        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return 7000218
        if self.certificate is not None:
            return None if _is_signed(shown, self.certificate) else 700027
        return None if shown == self.assertion else 70021

    # --- the machine ---

    def _machine(self, method, target, headers, _body):
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        with self._lock:
            if self.machine_answers:
                return self.machine_answers.pop(0)
            if method != "GET" or parts.path != "/metadata/identity/oauth2/token":
                return 404, {"error": "not_found"}, {}
            if headers.get("metadata") != "true" or query.get("api-version") != ["2018-02-01"]:
                return 400, {"error": "invalid_request"}, {}
            client = query.get("client_id", [None])[0]
            if client not in self.machine_clients:
                said = {"error": "invalid_request", "error_description": "Identity not found"}
                return 400, said, {}
            resource = query["resource"][0]
            token = self.token(client or MACHINE, audience=resource)
            ends = int(time.time()) + self.token_seconds
            return (
                200,
                {
                    "access_token": token,
                    "client_id": client or MACHINE,
                    "expires_in": str(self.token_seconds),
                    "expires_on": str(ends),
                    "resource": resource,
                    "token_type": "Bearer",
                },
                {},
            )


def _below(url):
    # 127.0.0.1 is below the domain 0.0.1, so that the check of the resource can stay switched on.
    return url.replace("//127.0.0.1:", "//0.0.1:")


def _error(code, inner=None):
    error = {"code": code, "message": "words of the vault that nobody is to see"}
    return {"error": {**error, "innererror": {"code": inner}} if inner else error}


def _refused(status, error, code):
    return (
        status,
        {
            "error": error,
            "error_description": f"AADSTS{code}: words of Entra ID that nobody is to see",
            "error_codes": [code],
            "trace_id": str(uuid.uuid4()),
        },
        {},
    )


def _is_signed(assertion, certificate):
    head, payload, signature = (*assertion.split("."), "", "")[:3]
    key = x509.load_pem_x509_certificate(certificate).public_key()
    signed = f"{head}.{payload}".encode()
    algorithm = json.loads(_unb64(head))["alg"]
    way = (
        padding.PKCS1v15()
        if algorithm == "RS256"
        else padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    )
    try:
        key.verify(_unb64(signature), signed, way, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
