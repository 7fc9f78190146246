"""
How a Vault or OpenBao is reached and logged in to, as options: one table for whoever speaks to one.

Airflow's keyword arguments are accepted as they stand. What contradicts itself, says too little, or names
what the method does not have, is refused by name; no message holds what was given.

Not for what each method makes of its words (`vault_login_method.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.vendors.transport import TransportOptions

if TYPE_CHECKING:
    from strongroom.vendors.vault_login import Login

__all__ = ["METHODS", "LoginWords", "VaultAccess", "VaultAuth", "login_of", "transport_of"]

_MAX_BODY_BYTES = 8 * 1024 * 1024  # a value of 1 MiB with every character escaped, and what is around it
_Fetch = Callable[[], Secret[str]]

METHODS: dict[str, tuple[str, ...]] = {
    "token": ("token", "token_path", "token_helper"),
    "approle": ("role_id", "secret_id", "secret_id_wrapped"),
    "userpass": ("username", "password"),
    "ldap": ("username", "password"),
    "radius": ("username", "password", "radius_host", "radius_secret", "radius_port"),
    "github": ("token", "token_path"),
    "kubernetes": ("kubernetes_role", "kubernetes_jwt_path"),
    "jwt": ("jwt_role", "jwt_token", "jwt_token_path"),
    "cert": ("role_id",),
    "aws_iam": (
        *("role_id", "key_id", "secret_id", "assume_role_kwargs", "region"),
        *("iam_server_id", "identity_url"),
    ),
    "gcp": ("role_id", "gcp_key_path", "gcp_keyfile_dict", "gcp_scopes", "identity_url"),
    "azure": ("role_id", "azure_tenant_id", "azure_resource", "key_id", "secret_id", "identity_url"),
}
"""Every method by Airflow's name, or the server's where Airflow has none, and the options it has."""

_ALIASES = {"aws": "aws_iam", "oidc": "jwt"}
_MOUNTS = {"aws_iam": "aws"}  # where a method stands that is not mounted under its own name


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginWords:
    """
    What the methods are told, each its own; Airflow's words, and a few it has none for.

    Args:
        token: a token; of github, GitHub's.
        token_path: a file that holds one and that somebody else replaces.
        token_helper: True for `~/.vault-token`, where `vault login` and `bao login` put it; or another file.
        username: of userpass, ldap and radius.
        password: likewise.
        role_id: of AppRole; of aws_iam, gcp, azure and cert, the name of the role.
        secret_id: of AppRole; of aws_iam, the secret access key; of azure, the application's secret.
        secret_id_wrapped: of AppRole, a token that wraps it, in its place.
        key_id: of aws_iam, the access key's id; of azure, the client id.
        assume_role_kwargs: of aws_iam, arguments of `sts:AssumeRole`.
        region: of aws_iam, whose STS is meant; unsaid, the global one.
        iam_server_id: of aws_iam, what the server wants in `X-Vault-AWS-IAM-Server-ID`.
        identity_url: `http(s)://host[:port]` of who tells our identity, in place of the usual one: STS, the
            metadata service, Google's IAM, Azure's directory.
        kubernetes_role: of kubernetes.
        kubernetes_jwt_path: the service account's token; unsaid, where Kubernetes puts it.
        gcp_key_path: a credential file of Google's.
        gcp_keyfile_dict: what would stand in it.
        gcp_scopes: of the token that asks IAM to sign; text with commas, or a list.
        azure_tenant_id: of the application's directory.
        azure_resource: whom Azure's token is made for.
        radius_host: known to the server; accepted because Airflow has it, and not used.
        radius_secret: likewise.
        radius_port: likewise.
        jwt_role: of jwt and oidc; unsaid, the server's default role.
        jwt_token: a signed token, fetched for each login.
        jwt_token_path: a file that holds one.
    """

    token: _Fetch | Secret[str] | None = None
    token_path: Path | None = None
    token_helper: bool | Path | None = None
    username: str | None = field(default=None, repr=False)
    password: _Fetch | Secret[str] | None = None
    role_id: str | Secret[str] | None = field(default=None, repr=False)
    secret_id: _Fetch | Secret[str] | None = None
    secret_id_wrapped: _Fetch | Secret[str] | None = None
    key_id: str | Secret[str] | None = field(default=None, repr=False)
    assume_role_kwargs: Mapping[str, Secret[str] | object] | None = field(default=None, repr=False)
    region: str | None = None
    iam_server_id: str | None = None
    identity_url: str | None = field(default=None, repr=False)
    kubernetes_role: str | None = field(default=None, repr=False)
    kubernetes_jwt_path: Path | None = None
    gcp_key_path: Path | None = None
    gcp_keyfile_dict: _Fetch | Secret[str] | Mapping[str, Secret[str] | object] | None = field(
        default=None, repr=False
    )
    gcp_scopes: tuple[str, ...] | str | None = None
    azure_tenant_id: str | None = None
    azure_resource: str | None = None
    radius_host: str | None = field(default=None, repr=False)
    radius_secret: _Fetch | Secret[str] | None = None
    radius_port: int | None = None
    jwt_role: str | None = field(default=None, repr=False)
    jwt_token: _Fetch | Secret[str] | None = None
    jwt_token_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAuth(LoginWords):
    """
    How to log in, in one table.

    Args:
        method: a name of `METHODS`; `aws` and `oidc` are other names for two of them.
        mount_point: where the method is mounted, without `auth/`; the server's own name for it if unsaid.
    """

    method: str = "token"
    mount_point: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAccess(LoginWords):
    """
    Where the server is and how to log in. Airflow's keyword arguments are accepted.

    Args:
        url: `https://host:8200`.
        auth: how to log in, in one table; its words may also stand here in place of it.
        auth_type, auth_mount_point: Airflow's words for its `method` and `mount_point`.
        namespace: of Vault Enterprise or OpenBao.
        verify: False checks no certificate; a path is `ca`.
        ca: certificates to trust in place of the system's.
        cert: Airflow's words for the next two: one file, or the certificate and its key.
        client_cert: shown to the server.
        client_key: of `client_cert`.
        timeout: for connecting and for each wait of an answer.
    """

    url: str
    auth: VaultAuth | None = None
    auth_type: str | None = None
    auth_mount_point: str | None = None
    namespace: str | None = None
    verify: bool | Path = True
    ca: Path | None = None
    cert: tuple[Path, ...] | Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout: timedelta = timedelta(seconds=3)


def login_of(name: str, access: VaultAccess) -> Login:
    """
    Give the login that *access* of the backend *name* says.

    Raises:
        BackendConfigError: it contradicts itself, says too little, or names what is not known here.
        SettingsError: a secret of it cannot be fetched.
    """
    from strongroom.vendors.vault_login_method import made_login  # noqa: PLC0415 -- it stands on this file

    return made_login(name, _auth(name, access), access)


def _auth(name: str, access: VaultAccess) -> VaultAuth:
    """Join what `auth` says and what stands beside it; they may agree, and not contradict."""
    beside = {word.name: getattr(access, _BESIDE.get(word.name, word.name)) for word in fields(VaultAuth)}
    beside["method"] = _method(beside["method"])
    inner = access.auth
    if inner is None:
        auth = VaultAuth(**{**beside, **_placed(access.auth_type, access.auth_mount_point)})
    else:
        said = {word.name: getattr(inner, word.name) for word in fields(VaultAuth)}
        said |= _placed(inner.method, inner.mount_point)
        for key, value in beside.items():
            if value is not None and value != said[key]:
                word = _BESIDE.get(key, key)
                raise BackendConfigError(
                    f"backend.{name} says both {word} and auth.{key}", hint=f"keep auth and drop {word}"
                )
        auth = VaultAuth(**said)
    _check_method(name, auth)
    return auth


_BESIDE = {"method": "auth_type", "mount_point": "auth_mount_point"}


def _method(given: str | None) -> str | None:
    return None if given is None else _ALIASES.get(given, given)


def _placed(given: str | None, mount: str | None) -> dict[str, str]:
    """Give the method under its one name, and where it is mounted: an alias says both."""
    method = _method(given) or "token"
    return {"method": method, "mount_point": (mount or _MOUNTS.get(method, given or method)).strip("/")}


def _check_method(name: str, auth: VaultAuth) -> None:
    if auth.method not in METHODS:
        # Not shown: what stands here may be a secret in the wrong place.
        raise BackendConfigError(
            f"backend.{name} logs in by a method, which is not known here",
            hint=f"known: {', '.join(METHODS)}{_nearest(auth.method)}",
        )
    known = METHODS[auth.method]
    for word in fields(LoginWords):
        if word.name in known or getattr(auth, word.name) is None:
            continue
        others = [method for method, words in METHODS.items() if word.name in words]
        raise BackendConfigError(
            f"backend.{name} logs in by {auth.method}, which has no {word.name}",
            hint=f'drop {word.name}, or set auth_type = "{others[0]}"',
        )


def _nearest(given: str) -> str:
    import difflib  # noqa: PLC0415 -- only a mistake pays for it

    near = difflib.get_close_matches(given, (*METHODS, *_ALIASES), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def transport_of(name: str, access: VaultAccess) -> TransportOptions:
    """
    Give what the transport of the backend *name* needs to know.

    Raises:
        BackendConfigError: it contradicts itself.
    """
    ca = access.ca
    if isinstance(access.verify, Path):
        if ca is not None:
            raise BackendConfigError(f"backend.{name} names its ca in verify and in ca", hint="keep ca")
        ca = access.verify
    cert, key = _certificate(name, access)
    return TransportOptions(
        place=name,
        url=access.url,
        timeout=access.timeout,
        ca=ca,
        client_cert=cert,
        client_key=key,
        verify=access.verify is not False,
        max_body_bytes=_MAX_BODY_BYTES,
    )


def _certificate(name: str, access: VaultAccess) -> tuple[Path | None, Path | None]:
    if access.cert is None:
        return access.client_cert, access.client_key
    if access.client_cert is not None or access.client_key is not None:
        raise BackendConfigError(f"backend.{name} has both cert and client_cert", hint="keep client_cert")
    both = access.cert if isinstance(access.cert, tuple) else (access.cert,)
    if len(both) not in (1, 2):
        raise BackendConfigError(f"backend.{name}.cert must be one file, or a certificate and its key")
    return both[0], both[1] if len(both) == 2 else None  # noqa: PLR2004 -- the pair
