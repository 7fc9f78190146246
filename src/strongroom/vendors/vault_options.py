"""
How a Vault or OpenBao is reached and logged in to, as options: one table for whoever speaks to one.

Airflow's keyword arguments are accepted as they stand. What contradicts itself, or names a method that is
not known here, is refused by name; no message holds what was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.vendors.transport import TransportOptions
from strongroom.vendors.vault_login import AppRole, Login, StaticToken, TokenFile

__all__ = ["VaultAccess", "VaultAuth", "login_of", "transport_of"]

_MAX_BODY_BYTES = 8 * 1024 * 1024  # a value of 1 MiB with every character escaped, and what is around it
_Fetch = Callable[[], Secret[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAuth:
    """
    How to log in.

    Args:
        method: `token` or `approle`.
        mount_point: where the method is mounted, without `auth/`; its name if unsaid.
        token: a token.
        token_path: a file that holds one and that somebody else replaces.
        role_id: of AppRole.
        secret_id: of AppRole.
        secret_id_wrapped: a token that wraps it, in its place.
    """

    method: str = "token"
    mount_point: str | None = None
    token: _Fetch | Secret[str] | None = None
    token_path: Path | None = None
    role_id: str | Secret[str] | None = field(default=None, repr=False)
    secret_id: _Fetch | Secret[str] | None = None
    secret_id_wrapped: _Fetch | Secret[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAccess:
    """
    Where the server is and how to log in. Airflow's keyword arguments are accepted.

    Args:
        url: `https://host:8200`.
        auth: how to log in, in one table.
        auth_type, auth_mount_point: Airflow's words for its `method` and `mount_point`; like the next
            five, they may stand here in place of `auth`.
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
    token: _Fetch | Secret[str] | None = None
    token_path: Path | None = None
    role_id: str | Secret[str] | None = field(default=None, repr=False)
    secret_id: _Fetch | Secret[str] | None = None
    secret_id_wrapped: _Fetch | Secret[str] | None = None
    namespace: str | None = None
    verify: bool | Path = True
    ca: Path | None = None
    cert: tuple[Path, ...] | Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout: timedelta = timedelta(seconds=3)
    # Of Airflow's other methods: known, so that what is refused is the method and not a spelling.
    username: object = field(default=None, repr=False)
    password: object = field(default=None, repr=False)
    key_id: object = field(default=None, repr=False)
    assume_role_kwargs: object = field(default=None, repr=False)
    region: object = field(default=None, repr=False)
    kubernetes_role: object = field(default=None, repr=False)
    kubernetes_jwt_path: object = field(default=None, repr=False)
    gcp_key_path: object = field(default=None, repr=False)
    gcp_keyfile_dict: object = field(default=None, repr=False)
    gcp_scopes: object = field(default=None, repr=False)
    azure_tenant_id: object = field(default=None, repr=False)
    azure_resource: object = field(default=None, repr=False)
    radius_host: object = field(default=None, repr=False)
    radius_secret: object = field(default=None, repr=False)
    radius_port: object = field(default=None, repr=False)
    jwt_role: object = field(default=None, repr=False)
    jwt_token: object = field(default=None, repr=False)
    jwt_token_path: object = field(default=None, repr=False)


def login_of(name: str, access: VaultAccess) -> Login:
    """
    Give the login that *access* of the backend *name* says.

    Raises:
        BackendConfigError: it contradicts itself, says too little, or names what is not known here.
    """
    auth = _auth(name, access)
    if auth.method == "token":
        return _token(name, auth)
    if auth.role_id is None:
        raise BackendConfigError(f"backend.{name} logs in by approle without a role_id", hint="set role_id")
    if auth.secret_id is not None and auth.secret_id_wrapped is not None:
        raise BackendConfigError(
            f"backend.{name} has both secret_id and secret_id_wrapped", hint="keep one of them"
        )
    return AppRole(
        name,
        mount=(auth.mount_point or "approle").strip("/"),
        role_id=auth.role_id if isinstance(auth.role_id, Secret) else Secret(auth.role_id),
        secret_id=_fetch(auth.secret_id),
        wrapped=_fetch(auth.secret_id_wrapped),
    )


def _token(name: str, auth: VaultAuth) -> Login:
    if auth.token_path is not None and auth.token is None:
        return TokenFile(name, auth.token_path)
    fetch = _fetch(auth.token)
    if fetch is None or auth.token_path is not None:
        what = "no token" if fetch is None else "both token and token_path"
        raise BackendConfigError(
            f"backend.{name} has {what}",
            hint='set token = { env = "VAULT_TOKEN" }, or token_path, or auth_type = "approle"',
        )
    return StaticToken(name, fetch)


def _fetch(given: _Fetch | Secret[str] | None) -> _Fetch | None:
    return (lambda: given) if isinstance(given, Secret) else given


def _auth(name: str, access: VaultAccess) -> VaultAuth:
    """Join what `auth` says and what stands beside it; they may agree, and not contradict."""
    inner = access.auth
    beside = {
        member.name: getattr(access, _BESIDE.get(member.name, member.name)) for member in fields(VaultAuth)
    }
    if inner is None:
        auth = VaultAuth(**{**beside, "method": beside["method"] or "token"})
    else:
        for key, value in beside.items():
            if value is not None and value != getattr(inner, key):
                said = _BESIDE.get(key, key)
                raise BackendConfigError(
                    f"backend.{name} says both {said} and auth.{key}", hint=f"keep auth and drop {said}"
                )
        auth = inner
    _check_method(name, auth, access)
    return auth


_BESIDE = {"method": "auth_type", "mount_point": "auth_mount_point"}
_OF_METHOD = {
    "token": ("token", "token_path"),
    "approle": ("role_id", "secret_id", "secret_id_wrapped"),
}
_OF_OTHERS: dict[str, tuple[str, ...]] = {
    "aws_iam": ("key_id", "assume_role_kwargs", "region"),
    "azure": ("azure_tenant_id", "azure_resource"),
    "gcp": ("gcp_key_path", "gcp_keyfile_dict", "gcp_scopes"),
    "github": (),
    "jwt": ("jwt_role", "jwt_token", "jwt_token_path"),
    "kubernetes": ("kubernetes_role", "kubernetes_jwt_path"),
    "ldap": ("username", "password"),
    "radius": ("radius_host", "radius_secret", "radius_port"),
    "userpass": (),
}


def _check_method(name: str, auth: VaultAuth, access: VaultAccess) -> None:
    if auth.method not in _OF_METHOD:
        # Only a name that is known is shown: what stands here may be a secret in the wrong place.
        what = auth.method if auth.method in _OF_OTHERS else "a method"
        raise BackendConfigError(
            f"backend.{name} logs in by {what}, which is not known here",
            hint=f"known: {', '.join(_OF_METHOD)}",
        )
    others = [(method, key) for method, keys in _OF_METHOD.items() if method != auth.method for key in keys]
    stray = [(method, key) for method, key in others if getattr(auth, key) is not None]
    stray += [
        (method, key)
        for method, keys in _OF_OTHERS.items()
        for key in keys
        if getattr(access, key) is not None
    ]
    for method, key in stray:
        hint = f'drop {key}, or set auth_type = "{method}"' if method in _OF_METHOD else f"drop {key}"
        raise BackendConfigError(f"backend.{name} logs in by {auth.method}, which has no {key}", hint=hint)


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
