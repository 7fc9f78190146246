"""
What `strongroom backends setup` works on: one backend of the settings, or of nothing but its kind.

Not for what is done with it (`service/provisioning.py`).

Rules of this file:

1. How a Vault is logged in to is left out of its settings: what logs in is what is to be made.
2. Nothing is asked here: a store is asked when it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

from strongroom.assembly.backends import backend_of
from strongroom.assembly.ways import Ways, now
from strongroom.backend import Provisioning
from strongroom.backend import load as load_backend
from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.service.provisioning import LeastPolicy, VaultProvisioning, VaultWish, Verb
from strongroom.settings import BackendSettings, SecretSource, Settings
from strongroom.vendors.sessions import Sessions, access_of

if TYPE_CHECKING:
    from strongroom.backend import Backend
    from strongroom.model.secret import Secret

__all__ = ["RoleNames", "find_backend", "least_policy", "open_vault"]

_VAULT = "vault"
# Whose kinds begin with them, and which one is meant where the settings have none.
_FAMILIES = {"aws": "aws_secrets_manager", "gcp": "gcp_secret_manager", "azure": "azure_key_vault"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SERVERS_OWN = ("root", "default")  # policies, whose names the server reads without regard to case
_DEFAULT_MOUNT = "approle"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleNames:
    """
    How what is made is called.

    Args:
        role: of AppRole.
        policy: named as the role if unsaid.
        secret_id_seconds: how long a secret_id is good for; 0 for ever.

    Raises:
        InvalidInputError: a name is none, or is one of the server's own.
    """

    role: str = "strongroom"
    policy: str | None = None
    secret_id_seconds: int = 0

    def __post_init__(self) -> None:
        for option, name in (("--role", self.role), ("--policy", self.policy)):
            if name is not None and (not _NAME.fullmatch(name) or name.lower() in _SERVERS_OWN):
                raise InvalidInputError(
                    f"{option} is no name that can be used",
                    hint="letters, digits, '.', '_' and '-', 64 at most; not root nor default",
                )


def find_backend(settings: Settings, name: str, *, url: str | None = None) -> BackendSettings:
    """
    Give the backend called *name*, or the only one of the kind *name*, or that kind as it is by itself.

    Args:
        settings: of the deployment.
        name: of a backend, of a kind, or of a family of kinds (`aws`).
        url: of the server, for a Vault that has no settings yet.

    Raises:
        InvalidInputError: several are meant, or the url belongs to none.
        BackendConfigError: there is no such kind.
    """
    found = settings.backend.get(name) or _of_kind(settings, name)
    if found is None:
        kind = _kind(name)
        return BackendSettings(name=kind, kind=kind, options={} if url is None else {"url": url})
    if url is not None:
        raise InvalidInputError(
            f"the settings say where {found.name} is", hint=f"change backend.{found.name}.url, or drop --url"
        )
    return found


def _of_kind(settings: Settings, name: str) -> BackendSettings | None:
    every = [one for one in settings.backend.values() if _is_of(one.kind, name)]
    if len(every) > 1:
        raise InvalidInputError(
            f"several backends are of the kind {name}",
            hint=f"say which: {', '.join(one.name for one in every)}",
        )
    return every[0] if every else None


def _is_of(kind: str, name: str) -> bool:
    return kind == name or (name in _FAMILIES and kind.startswith(f"{name}_"))


def _kind(name: str) -> str:
    kind = _FAMILIES.get(name, name)
    try:
        load_backend(kind)
    except BackendConfigError as error:
        if not (error.hint or "").startswith("installed kinds"):
            raise
        # Not repeated: what stands where a name belongs may be a secret.
        unknown = InvalidInputError("there is no backend and no kind of that name", hint=error.hint)
    else:
        return kind
    raise unknown


def least_policy(
    settings: Settings, backend: BackendSettings, *, environ: Mapping[str, str], verbs: Collection[Verb]
) -> LeastPolicy:
    """
    Give the least policy of *backend* for *verbs*; nothing is asked.

    Raises:
        InvalidInputError: its kind needs none.
        SettingsError, BackendConfigError: its settings are wrong.
    """
    made = _made(settings, backend, environ, None)
    try:
        return LeastPolicy(name=backend.name, kind=backend.kind, text=_policy(made, backend, verbs))
    finally:
        made.close()


def open_vault(
    settings: Settings,
    backend: BackendSettings,
    *,
    environ: Mapping[str, str],
    verbs: Collection[Verb],
    names: RoleNames,
    admin: Secret[str],
) -> VaultProvisioning:
    """
    Give what sets *backend* up on its server; use it as a context manager.

    Args:
        settings: of the deployment.
        backend: of the kind vault.
        environ: where its settings may fetch from.
        verbs: what the role may.
        names: how policy and role are called.
        admin: a token that may write policies, mount AppRole and write roles. It is kept in memory only.

    Raises:
        SettingsError, BackendConfigError: the settings of the backend are wrong.
    """
    from strongroom.vendors.vault import VaultSession  # noqa: PLC0415 -- only where a Vault is set up
    from strongroom.vendors.vault_options import VaultAccess  # noqa: PLC0415 -- as above
    from strongroom.vendors.vault_setup import VaultSetup  # noqa: PLC0415 -- as above

    made = _made(settings, backend, environ, admin)
    try:
        rules = _policy(made, backend, verbs)
        access = access_of(cast("Any", made).options, VaultAccess)
    finally:
        made.close()
    wish = VaultWish(
        policy=names.policy or names.role,
        rules=rules,
        mount=_approle_mount(backend),
        role=names.role,
        secret_id_seconds=names.secret_id_seconds,
    )
    session = VaultSession.of(backend.name, access)
    setup = VaultSetup(session, place=backend.name, wish=wish)
    return VaultProvisioning(name=backend.name, url=access.url, wish=wish, setup=setup, close=session.close)


def _policy(made: Backend, backend: BackendSettings, verbs: Collection[Verb]) -> str:
    if not isinstance(made, Provisioning):
        raise InvalidInputError(
            f"the kind {backend.kind} needs no policy", hint="strongroom backends check tells how it is"
        )
    return made.least_policy(verbs)


def _made(
    settings: Settings, backend: BackendSettings, environ: Mapping[str, str], admin: Secret[str] | None
) -> Backend:
    if backend.kind != _VAULT:
        if not hasattr(load_backend(backend.kind), "least_policy"):
            raise InvalidInputError(
                f"the kind {backend.kind} needs no policy", hint="strongroom backends check tells how it is"
            )
        return backend_of(_reachable(backend), settings, _ways(environ))
    options = _without_login(backend)
    if "url" not in options:
        raise BackendConfigError(
            "nothing says where the Vault is",
            hint='say --url https://host:8200, or write [backend.vault] and url = "…"',
        )
    # A token must be there for the options to be whole; without an administrator's nothing is asked with it.
    text = "unused" if admin is None else admin.reveal()
    options["token"] = SecretSource(kind="text", argument=(text,), key="token")
    return backend_of(replace(backend, options=options), settings, _ways(environ))


def _reachable(backend: BackendSettings) -> BackendSettings:
    """Give *backend* so that it can be made outside the cluster it runs in: nothing is asked of it."""
    if backend.kind != "kubernetes" or {"url", "kubeconfig"} & set(backend.options):
        return backend
    token = SecretSource(kind="text", argument=("unused",), key="token")
    said = {key: value for key, value in backend.options.items() if key != "token_path"}
    options = {"namespace": "your-namespace", **said, "url": "https://kubernetes.default.svc", "token": token}
    return replace(backend, options=options)


def _ways(environ: Mapping[str, str]) -> Ways:
    return Ways(
        environ=environ, clock=now, sessions=Sessions()
    )  # shared with nobody: it is of an administrator


def _without_login(backend: BackendSettings) -> dict[str, object]:
    from strongroom.vendors.vault_options import LoginWords  # noqa: PLC0415 -- only where a Vault is meant

    login = {word.name for word in fields(LoginWords)} | {"auth", "auth_type", "auth_mount_point"}
    return {key: value for key, value in backend.options.items() if key not in login}


def _approle_mount(backend: BackendSettings) -> str:
    """Give where AppRole is, as the settings of *backend* have it; of another method they say nothing."""
    auth = backend.options.get("auth")
    table = auth if isinstance(auth, Mapping) else {}
    method = table.get("method") or backend.options.get("auth_type") or _DEFAULT_MOUNT
    mount = table.get("mount_point") or backend.options.get("auth_mount_point")
    return str(mount).strip("/") if mount and method == "approle" else _DEFAULT_MOUNT
