"""
A strict API server for tests of Kubernetes Secrets: HTTPS, RBAC, resource versions, lists, watches.

    from parts.kubernetes import cluster, kubectl     # fixtures

    def test_something(cluster):
        token = cluster.account("reader")             # a service account, which may do nothing yet
        cluster.allow("reader", "get", "list")
        cluster.put("orders-db", {"value": "postgres://h"}, labels={"app": "x"})

What it knows is what the API reference promises of core/v1 Secrets and of reviews of access; the real
`kubectl` and lightkube are held against it in tests/vendors/test_kubernetes_counterpart.py and
test_kubernetes_lightkube.py, so that it cannot be lenient where a cluster is not. It is no cluster: no
etcd, no admission, no aggregation.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from parts.certificates import Authority, server_context
from parts.kubernetes_accounts import Accounts
from parts.kubernetes_secrets import (
    Refused,
    Store,
    field_selector,
    label_selector,
    review_of_protobuf,
    secret_of_protobuf,
    status,
    without_values,
)

NAMESPACE = "airflow"
PROTOBUF = "application/vnd.kubernetes.protobuf"
_SECRETS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/secrets(?:/(?P<name>[^/]+))?")
_RESOURCES = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": f"{group}.k8s.io",
                "versions": [{"groupVersion": f"{group}.k8s.io/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": f"{group}.k8s.io/v1", "version": "v1"},
            }
            for group in ("authorization", "authentication", "rbac.authorization")
        ],
    },
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "secrets",
                "singularName": "secret",
                "namespaced": True,
                "kind": "Secret",
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            },
            {
                "name": "namespaces",
                "singularName": "",
                "namespaced": False,
                "kind": "Namespace",
                "verbs": ["get"],
            },
        ],
    },
    "/apis/authorization.k8s.io/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "authorization.k8s.io/v1",
        "resources": [
            {
                "name": "selfsubjectaccessreviews",
                "singularName": "",
                "namespaced": False,
                "kind": "SelfSubjectAccessReview",
                "verbs": ["create"],
            }
        ],
    },
    "/apis/rbac.authorization.k8s.io/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "rbac.authorization.k8s.io/v1",
        "resources": [
            {
                "name": f"{kind.lower()}s",
                "singularName": "",
                "namespaced": True,
                "kind": kind,
                "verbs": ["create"],
            }
            for kind in ("Role", "RoleBinding")
        ],
    },
    "/apis/authentication.k8s.io/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "authentication.k8s.io/v1",
        "resources": [
            {
                "name": "selfsubjectreviews",
                "singularName": "",
                "namespaced": False,
                "kind": "SelfSubjectReview",
                "verbs": ["create"],
            }
        ],
    },
    "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0", "platform": "linux/amd64"},
    "/openapi/v3": {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=1"}}},
    # As much of it as kubectl reads: that unknown fields are judged by the server.
    "/openapi/v3/api/v1": {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": {
            "/api/v1/namespaces/{namespace}/secrets/{name}": {
                "patch": {
                    "x-kubernetes-action": "patch",
                    "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": "Secret"},
                    "parameters": [
                        {"name": "fieldValidation", "in": "query"},
                        {"name": "dryRun", "in": "query"},
                    ],
                    "responses": {},
                }
            }
        },
    },
}


@pytest.fixture(scope="session")
def cluster_server(tmp_path_factory):
    """One server a process."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture
def cluster(cluster_server):
    """The server, empty."""
    cluster_server.reset()
    return cluster_server


def binary():
    """Give the path of `kubectl`, or skip; where `CI` is set it must be there."""
    found = shutil.which("kubectl")
    if found is None:
        why = "no kubectl here: scripts/system-packages"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    return found


class Cluster:
    """
    A running server and what a test may want of it.

    `asked` has every request as (method, path with query, who asked); `faults` what is answered in place
    of the next requests, as (status, headers, body).
    """

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder, "cluster-authority")
        certificate, key = self.authority.issue("apiserver", "127.0.0.1", "localhost")
        context = server_context(certificate, key)
        context.load_verify_locations(self.authority.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.ca = self.authority.file
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._plain = _Server(("127.0.0.1", 0), _Handler)  # as behind a proxy that speaks TLS for it
        self._server.cluster = self._plain.cluster = self
        self.plain_port = self._plain.server_address[1]
        self.port = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.reset()

    def __enter__(self):
        for server in (self._server, self._plain):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error):
        self.store.hang_up()
        for server in (self._server, self._plain):
            server.shutdown()
            server.server_close()

    def reset(self):
        """Forget everything: a cluster with two namespaces and an administrator `root`."""
        with suppress(AttributeError):
            self.store.hang_up()
        self.store = Store({NAMESPACE, "other"})
        self.tokens = {"root-token": "root"}
        self.rules = [("root", "*", {"*"}, {"*"}, set(), {"*"})]
        self.accounts = Accounts()
        self.asked = []
        self.faults = []

    # --- making things ---

    def account(self, name, token=None):
        """Make a service account and give its token."""
        token = token or f"token-of-{name}-{len(self.tokens)}"
        self.tokens[token] = user_of(name)
        return token

    def allow(self, name, *verbs, namespace=NAMESPACE, resources=("secrets",), names=(), groups=("",)):
        """Add one rule of a Role, bound to the service account *name*."""
        self.rules.append((user_of(name), namespace, set(verbs), set(resources), set(names), set(groups)))

    def apply_role(self, role, name):
        """Bind the rules of a Role, as its manifest says, to the service account *name*."""
        for rule in role["rules"]:
            self.allow(
                name,
                *rule["verbs"],
                namespace=role["metadata"]["namespace"],
                resources=rule["resources"],
                names=rule.get("resourceNames", ()),
                groups=rule["apiGroups"],
            )

    def forbid(self, name):
        """Take every right away from a service account."""
        self.rules = [rule for rule in self.rules if rule[0] != user_of(name)]

    def put(self, name, data, *, namespace=NAMESPACE, labels=None, **more):
        """Create or replace a Secret; *data* is text or bytes by key."""
        held = {key: b64(value) for key, value in data.items()}
        secret = {"metadata": {"name": name, "labels": dict(labels or {})}, "data": held, **more}
        with suppress(Refused):
            return self.store.create(namespace, secret)
        return self.store.replace(namespace, name, secret)

    def get(self, name, namespace=NAMESPACE):
        """Give a Secret as it is stored."""
        return self.store.get(namespace, name)

    def data(self, name, namespace=NAMESPACE):
        """Give the data of a Secret as text by key."""
        held = self.get(name, namespace).get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in held.items()}

    def fail(self, status_code, *, headers=None, body=b"", times=1):
        """Answer the next requests in this way, whatever they ask."""
        self.faults += [(status_code, headers or {}, body)] * times

    # --- files for clients ---

    def pod(self, folder, token, namespace=NAMESPACE):
        """Write what a pod finds of its service account, and give the folder and its environment."""
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(token)
        (folder / "namespace").write_text(namespace)
        shutil.copy(self.ca, folder / "ca.crt")
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def kubeconfig(self, path, user, *, namespace=NAMESPACE, cluster=None):
        """Write a kubeconfig with one context called `test`."""
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        where = {"server": self.url, "certificate-authority-data": ca} if cluster is None else cluster
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "c", "cluster": where}],
                    "users": [{"name": "u", "user": user}],
                    "contexts": [
                        {"name": "test", "context": {"cluster": "c", "user": "u", "namespace": namespace}}
                    ],
                }
            )
        )
        return path

    def kubectl(self, *arguments, token="root-token", given=None, check=True):
        """Run the real `kubectl` against it and give its output."""
        config = self.kubeconfig(self.folder / f"kubectl-{token[:8]}", {"token": token})
        done = subprocess.run(
            [binary(), f"--kubeconfig={config}", f"--cache-dir={self.folder}/kubectl", *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done

    # --- who may what ---

    def may(self, user, verb, group, resource, namespace, name):
        return any(
            who == user
            and where in ("*", namespace)
            and not {verb, "*"}.isdisjoint(verbs)
            and not {resource, "*"}.isdisjoint(resources)
            and not {group, "*"}.isdisjoint(groups)
            and (not names or name in names)
            for who, where, verbs, resources, names, groups in self.rules
        )


def user_of(name):
    return name if name == "root" else f"system:serviceaccount:{NAMESPACE}:{name}"


def b64(value):
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def log_message(self, *_arguments):
        """Say nothing."""

    def _serve(self):
        cluster = self.server.cluster
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = {
            key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        try:
            user = self._user(cluster)
            cluster.asked.append((self.command, self.path, user))
            if cluster.faults:
                self._answer(*cluster.faults.pop(0))
                return
            found = self._route(cluster, user, unquote(parts.path), body)
            if found is not None:
                self._answer(found[0], {}, json.dumps(found[1]).encode())
        except Refused as refused:
            self._answer(refused.code, refused.headers, json.dumps(status(refused)).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 -- the names http.server calls

    def _user(self, cluster):
        seen = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        subject = (seen or {}).get("subject", ())
        named = [value for part in subject for key, value in part if key == "commonName"]
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":  # Kubernetes' own Python client writes it small
            return cluster.tokens.get(token)
        return user_of(named[0]) if named else "system:anonymous"

    def _answer(self, code, headers, body):
        head = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        # In one go: a head and a body apart cost a delayed acknowledgement.
        self.wfile.write(f"HTTP/1.1 {code} Status\r\n{lines}\r\n".encode() + body)

    def _route(self, cluster, user, path, body):
        if user is None:
            raise Refused(401, "Unauthorized", "Unauthorized")
        if self.command == "GET" and path in _RESOURCES:
            return 200, _RESOURCES[path]
        secrets = _SECRETS.fullmatch(path)
        if secrets is not None:
            return self._secrets(cluster, user, secrets["namespace"], secrets["name"], body)
        pod = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)", path)
        if pod is not None and self.command == "GET":
            self._allow(cluster, user, "get", "pods", *pod.groups())
            return 200, cluster.accounts.pod(*pod.groups())
        namespace = re.fullmatch(r"/api/v1/namespaces/([^/]+)", path)
        if namespace is not None and self.command == "GET":
            self._allow(cluster, user, "get", "namespaces", namespace[1], namespace[1])
            cluster.store.check_namespace(namespace[1])
            return 200, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace[1]}}
        if self.command == "POST" and path.startswith(
            ("/apis/authorization.k8s.io/v1/", "/apis/authentication")
        ):
            is_binary = self.headers.get("Content-Type") == PROTOBUF
            return self._review(
                cluster, user, path, review_of_protobuf(body) if is_binary else json.loads(body)
            )
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _review(self, cluster, user, path, body):
        if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            asked = body["spec"]["resourceAttributes"]
            allowed = cluster.may(
                user,
                asked["verb"],
                asked.get("group", ""),
                asked["resource"],
                asked.get("namespace", ""),
                asked.get("name", ""),
            )
            return 201, {**body, "status": {"allowed": allowed}}
        if path == "/apis/authentication.k8s.io/v1/selfsubjectreviews":
            return 201, {
                **body,
                "status": {"userInfo": {"username": user, "groups": ["system:authenticated"]}},
            }
        if path == "/apis/authentication.k8s.io/v1/tokenreviews":
            self._allow(cluster, user, "create", "tokenreviews", "", "", group="authentication.k8s.io")
            return 201, cluster.accounts.reviewed(body)
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _allow(self, cluster, user, verb, resource, namespace, name, *, group=""):
        if not cluster.may(user, verb, group, resource, namespace, name):
            named = f' "{name}"' if name else ""
            raise Refused(
                403,
                "Forbidden",
                f'{resource}{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API '
                f'group "{group}" in the namespace "{namespace}"',
                details={"name": name, "kind": resource},
            )

    def _secrets(self, cluster, user, namespace, name, body):
        is_watch = self.query.get("watch") in ("true", "1")
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(self.command)
        verb = verb or ("get" if name else "watch" if is_watch else "list")
        fields = field_selector(self.query.get("fieldSelector", ""))
        self._allow(cluster, user, verb, "secrets", namespace, name or fields or "")
        store = cluster.store
        if self.command == "GET" and name:
            return 200, self._shape(store.get(namespace, name))
        if self.command == "GET" and not name:
            chosen = label_selector(self.query.get("labelSelector", ""))

            def is_chosen(secret):
                return chosen(secret) and fields in (None, secret["metadata"]["name"])

            if is_watch:
                return self._watch(store, namespace, is_chosen)
            return 200, self._list(store.page(namespace, is_chosen, self.query))
        return self._change(store, namespace, name, body)

    def _change(self, store, namespace, name, body):
        kind = (self.headers.get("Content-Type") or "").partition(";")[0]
        if kind == PROTOBUF and self.command == "POST":
            kind, body = "application/json", json.dumps(secret_of_protobuf(body)).encode()
        dry = self.query.get("dryRun") == "All"
        if self.command == "DELETE":
            store.delete(
                namespace, name, (json.loads(body) if body else {}).get("preconditions") or {}, dry=dry
            )
            return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        if self.command == "PATCH":
            if kind not in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
                raise Refused(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            return 200, store.patch(namespace, name, json.loads(body), dry=dry)
        if kind != "application/json":
            raise Refused(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        if self.command == "PUT":
            return 200, store.replace(namespace, name, json.loads(body), dry=dry)
        return 201, store.create(namespace, json.loads(body), dry=dry)

    def _list(self, page):
        items, version, more = page
        meta = {"resourceVersion": version, **({"continue": more} if more else {})}
        if "as=PartialObjectMetadataList" in self.headers.get("Accept", ""):
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            # Of no objects it makes null: `asPartialObjectMetadataList` of k8s.io/apiserver.
            return {**head, "metadata": meta, "items": [without_values(item) for item in items] or None}
        return {"kind": "SecretList", "apiVersion": "v1", "metadata": meta, "items": items}

    def _shape(self, secret):
        is_outline = "as=PartialObjectMetadata;" in self.headers.get("Accept", "") + ";"
        return without_values(secret) if is_outline else secret

    def _watch(self, store, namespace, is_chosen):
        """Give events in chunks until the time is over; what is too old is told as an event."""
        until = time.monotonic() + float(self.query.get("timeoutSeconds") or 1800)
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.wfile.write(head.encode())
        bookmarks = self.query.get("allowWatchBookmarks") in ("true", "1")
        for event in store.events(
            namespace, is_chosen, self.query.get("resourceVersion", ""), until, has_bookmarks=bookmarks
        ):
            if event["type"] not in ("ERROR", "BOOKMARK"):
                event = {**event, "object": self._shape(event["object"])}  # noqa: PLW2901 -- as it goes out
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")
