"""
Where an API server of Kubernetes is and who asks it: as a pod is told, a kubeconfig says, or options say.

Rules of this file:

1. Nothing is guessed: without `url` and `kubeconfig` it is the cluster this process runs in, never
   `~/.kube/config` or `KUBECONFIG`, which may lead anywhere.
2. What a kubeconfig may say and is not done here is refused by its name: a proxy, another server name, an
   `auth-provider`, a password, acting as another, a program that asks or gives a certificate.
3. No message holds what a kubeconfig says, but names of contexts, clusters and users.

Source: kubernetes.io/docs/reference/config-api/kubeconfig.v1 and client-authentication.v1.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.secret import Secret
from strongroom.vendors.kubernetes_login import (
    Bearer,
    GivenToken,
    MemoryFiles,
    Program,
    ProgramToken,
    TokenFile,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["ClusterPlace", "KubernetesAccess", "place_of"]

_MAX_FILE_BYTES = 1_048_576
_MAX_LINE = 65_536  # characters: a bundle of certificates in base64; the YAML reader takes its time for more
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NO_USER = ("username", "password", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra")
_NO_CLUSTER = ("proxy-url", "tls-server-name")
_Fetch = Callable[[], Secret[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesAccess:
    """
    Which API server, and who asks it.

    Args:
        namespace: the one the Secrets are in; unsaid, that of the service account or the context.
        kubeconfig: a file of that form.
        context: of `kubeconfig`; its current one if unsaid.
        url: `https://host:6443`, in place of both.
        token: a bearer token, for `url`.
        token_path: a file that holds one and that somebody else replaces.
        ca: certificates to trust in place of those the cluster names.
        client_cert: shown to the server, for `url`.
        client_key: of `client_cert`.
        verify: False checks nothing of the server's certificate.
        service_account: the folder in which a pod finds its service account.
        timeout: for connecting and for each wait of an answer.
    """

    namespace: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    url: str | None = None
    token: _Fetch | Secret[str] | None = None
    token_path: Path | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    service_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    timeout: timedelta = timedelta(seconds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlace:
    """
    What `place_of` found.

    Args:
        url: of the API server.
        namespace: the Secrets are in.
        bearer: who asks; None where a certificate says it.
        files: holds what the paths of this one may lead to; closed by whoever speaks to the server.
    """

    url: str = field(repr=False)
    namespace: str
    bearer: Bearer | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    files: MemoryFiles = field(default_factory=MemoryFiles)


def place_of(
    name: str, access: KubernetesAccess, *, environ: Mapping[str, str], clock: Callable[[], datetime]
) -> ClusterPlace:
    """
    Give where the API server of the backend *name* is, and who asks.

    Args:
        name: for messages.
        access: which, and how.
        environ: says where the cluster of this pod is, and is what programs run in.
        clock: wall clock, UTC.

    Raises:
        BackendConfigError: the options contradict one another or say too little, or a file cannot be used.
    """
    _check(name, access)
    if access.kubeconfig is not None:
        found = _as_kubeconfig_says(name, access, environ, clock)
    elif access.url is not None:
        found = _as_said(name, access, access.url)
    else:
        found = _in_cluster(name, access, environ)
    namespace = access.namespace or found.namespace
    if _NAMESPACE.fullmatch(namespace) is None:
        found.files.close()
        raise BackendConfigError(
            f"backend.{name}.namespace is not one",
            hint="set namespace to the one the Secrets are in: 1 to 63 of a-z, 0-9 and -",
        )
    return replace(
        found, namespace=namespace, ca=access.ca or found.ca, verify=found.verify and access.verify
    )


def _check(name: str, access: KubernetesAccess) -> None:
    if access.url is not None and access.kubeconfig is not None:
        raise BackendConfigError(f"backend.{name} has both url and kubeconfig", hint="keep one of them")
    if access.context is not None and access.kubeconfig is None:
        raise BackendConfigError(f"backend.{name} has a context without a kubeconfig", hint="set kubeconfig")
    for key in ("token", "client_cert", "client_key"):
        if access.url is None and getattr(access, key) is not None:
            raise BackendConfigError(
                f"backend.{name} has a {key} without a url", hint=f"set url, or drop {key}"
            )
    if access.token_path is not None and (access.token is not None or access.kubeconfig is not None):
        other = "token" if access.token is not None else "kubeconfig"
        raise BackendConfigError(f"backend.{name} has both token_path and {other}", hint="keep one of them")


def _as_kubeconfig_says(
    name: str, access: KubernetesAccess, environ: Mapping[str, str], clock: Callable[[], datetime]
) -> ClusterPlace:
    try:
        return _Kubeconfig(name, access.kubeconfig or Path(), access.context).place(environ, clock)
    except BackendConfigError as caught:
        error = caught
    # Raised anew, outside `except`: the frames it came through hold what the file says.
    error.__context__ = None
    raise error.with_traceback(None)


def _as_said(name: str, access: KubernetesAccess, url: str) -> ClusterPlace:
    bearer: Bearer | None = None
    if access.token_path is not None:
        bearer = TokenFile(name, access.token_path)
    elif access.token is not None:
        given = access.token
        bearer = GivenToken((lambda: given) if isinstance(given, Secret) else given)
    elif access.client_cert is None:
        raise BackendConfigError(
            f"backend.{name} has a url and says not who asks", hint="set token, token_path or client_cert"
        )
    return ClusterPlace(
        url=url,
        namespace="default",
        bearer=bearer,
        client_cert=access.client_cert,
        client_key=access.client_key,
    )


def _in_cluster(name: str, access: KubernetesAccess, environ: Mapping[str, str]) -> ClusterPlace:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise BackendConfigError(
            f"the backend {name} does not run in a cluster: KUBERNETES_SERVICE_HOST is not set",
            hint="set kubeconfig to a file, or url",
        )
    folder = access.service_account
    ca = folder / "ca.crt"
    if not ca.is_file() and access.ca is None:
        raise BackendConfigError(
            f"the backend {name} finds no service account: {ca} is missing",
            hint="set automountServiceAccountToken, or ca and token_path",
        )
    try:
        namespace = (folder / "namespace").read_text("ascii").strip()
    except (OSError, ValueError):
        namespace = ""
    return ClusterPlace(
        url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace,
        bearer=TokenFile(name, access.token_path or folder / "token"),
        ca=ca,
    )


class _Kubeconfig:
    """One context of a kubeconfig."""

    def __init__(self, name: str, path: Path, context: str | None) -> None:
        self._name = name
        self._path = path
        self._files = MemoryFiles()
        file = self._read()
        wanted = file.get("current-context") if context is None else context
        self._context = self._named(file, "context", wanted)
        self._cluster = self._named(file, "cluster", self._context.get("cluster"))
        user = self._context.get("user")
        self._user = {} if user is None else self._named(file, "user", user)

    def place(self, environ: Mapping[str, str], clock: Callable[[], datetime]) -> ClusterPlace:
        for part, refused in ((self._cluster, _NO_CLUSTER), (self._user, _NO_USER)):
            for key in refused:
                if part.get(key):
                    raise self._unfit(f"says {key}, which is not done here", f"use a context without {key}")
        server = self._cluster.get("server")
        if not isinstance(server, str):
            raise self._unfit("names no server", "look at: kubectl config view --minify")
        try:
            return ClusterPlace(
                url=server.rstrip("/"),
                namespace=str(self._context.get("namespace") or "default"),
                bearer=self._bearer(environ, clock),
                ca=self._file(self._cluster, "certificate-authority"),
                client_cert=self._file(self._user, "client-certificate"),
                client_key=self._file(self._user, "client-key"),
                verify=self._cluster.get("insecure-skip-tls-verify") is not True,
                files=self._files,
            )
        except BackendConfigError:
            self._files.close()
            raise

    def _read(self) -> dict[str, Any]:
        from strongroom.model.yaml11 import parse_yaml  # noqa: PLC0415 -- a pod has no kubeconfig

        try:
            found = self._path.stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
                raise self._unfit("is no file, or over 1 MiB", "name a kubeconfig")
            text = self._path.read_bytes().decode()
        except (OSError, ValueError):
            raise self._unfit("cannot be read", "check the path, and who may read it") from None
        if any(len(line) > _MAX_LINE for line in text.splitlines()) and not text.lstrip().startswith("{"):
            raise self._unfit(f"has a line of more than {_MAX_LINE} characters", "keep certificates in files")
        try:
            file = parse_yaml(text)
        except InvalidInputError as error:
            raise self._unfit(f"is no kubeconfig: {error}", "look at: kubectl config view") from None
        if not isinstance(file, dict):
            raise self._unfit("is no kubeconfig", "look at: kubectl config view")
        return file

    def _named(self, file: dict[str, Any], kind: str, wanted: object) -> dict[str, Any]:
        rows = file.get(f"{kind}s")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and row.get("name") == wanted and wanted is not None:
                found = row.get(kind)
                if isinstance(found, dict):
                    return found
        raise self._unfit(f"has no {kind} of the name asked for", "see: kubectl config get-contexts")

    def _bearer(self, environ: Mapping[str, str], clock: Callable[[], datetime]) -> Bearer | None:
        user = self._user
        path, token, program = user.get("tokenFile"), user.get("token"), user.get("exec")
        if isinstance(path, str) and path:  # as client-go: the file, where both are said
            return TokenFile(self._name, self._path.parent / path)
        if isinstance(token, str) and token:
            held = Secret(token)
            return GivenToken(lambda: held)
        if isinstance(program, dict):
            return ProgramToken(self._name, self._program(program), environ, clock)
        return None

    def _program(self, said: dict[str, Any]) -> Program:
        command, arguments = said.get("command"), said.get("args") or []
        pairs = said.get("env") or []
        is_sound = isinstance(command, str) and command and isinstance(arguments, list)
        is_sound = is_sound and all(isinstance(one, str) for one in arguments) and isinstance(pairs, list)
        if not is_sound or not all(isinstance(pair, dict) for pair in pairs):
            raise self._unfit("names a program in a way that is not understood", "see its part exec")
        if said.get("interactiveMode") == "Always":
            raise self._unfit("signs in by a program that asks at a terminal", "use a context that does not")
        path = str(command)
        if "/" in path:  # as client-go: relative to the kubeconfig
            path = str(self._path.parent / path)
        api = str(said.get("apiVersion"))
        return Program(
            command=(path, *arguments),
            api=api,
            environ={str(pair.get("name")): str(pair.get("value")) for pair in pairs},
            info=self._info(api, tells_cluster=said.get("provideClusterInfo") is True),
        )

    def _info(self, api: str, *, tells_cluster: bool) -> str:
        spec: dict[str, object] = {"interactive": False}
        if tells_cluster:
            known = ("server", "certificate-authority-data", "insecure-skip-tls-verify")
            spec["cluster"] = {key: self._cluster[key] for key in known if key in self._cluster}
        return json.dumps({"apiVersion": api, "kind": "ExecCredential", "spec": spec})

    def _file(self, part: dict[str, Any], key: str) -> Path | None:
        data, path = part.get(f"{key}-data"), part.get(key)
        if isinstance(data, str) and data:  # as client-go: the data, where both are said
            try:
                return self._files.keep(base64.b64decode(data, validate=True))
            except (binascii.Error, ValueError):
                raise self._unfit(f"has a {key}-data that is no base64", "make it anew") from None
        return self._path.parent / path if isinstance(path, str) and path else None

    def _unfit(self, what: str, hint: str) -> BackendConfigError:
        return BackendConfigError(
            f"the kubeconfig {self._path} of the backend {self._name} {what}", hint=hint
        )
