"""
Which login the settings of a Vault or OpenBao mean: from the words of `vault_options.py` to the classes of
`vault_login*.py`, each of which is imported only where it is meant.

A method that is told too little is refused by the name of what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.vendors.stream import Address
from strongroom.vendors.vault_login import Login, StaticToken, TokenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.origins import Origins
    from strongroom.vendors.vault_options import VaultAccess, VaultAuth

__all__ = ["made_login"]

_HELPER = Path("~/.vault-token")  # of `vault login` and `bao login`


class _Case(NamedTuple):
    """What a method is made from."""

    name: str
    auth: VaultAuth
    access: VaultAccess

    @property
    def mount(self) -> str:
        return self.auth.mount_point or self.auth.method

    def missing(self, word: str, hint: str | None = None) -> BackendConfigError:
        article = "an" if word.startswith("a") else "a"
        return BackendConfigError(
            f"backend.{self.name} logs in by {self.auth.method} without {article} {word}",
            hint=hint or f"set {word}",
        )

    def both(self, one: str, other: str) -> BackendConfigError:
        return BackendConfigError(f"backend.{self.name} has both {one} and {other}", hint="keep one of them")

    def needed(self, word: str) -> str:
        """Give the text of a word that must be said."""
        found = getattr(self.auth, word)
        text = found.reveal() if isinstance(found, Secret) else found
        if not text:
            raise self.missing(word)
        return str(text)

    def role(self) -> str | None:
        """Give the name of a role, where there is one."""
        found = self.auth.role_id
        return found.reveal() if isinstance(found, Secret) else found

    def fetch(self, word: str) -> Callable[[], Secret[str]] | None:
        """Give what fetches a secret, where there is one."""
        found = getattr(self.auth, word)
        return (lambda: found) if isinstance(found, Secret) else found

    def fetched(self, word: str) -> Callable[[], Secret[str]]:
        found = self.fetch(word)
        if found is None:
            raise self.missing(word, f"set {word} = {{ file = … }}, {{ env = … }} or {{ command = […] }}")
        return found

    def origins(self, who: str) -> Origins:
        """Give what carries questions to *who* tells our identity."""
        from strongroom.vendors.origins import Origins  # noqa: PLC0415 -- most logins ask the server alone

        return Origins(f"{self.name} ({who})", timeout=self.access.timeout)


def made_login(name: str, auth: VaultAuth, access: VaultAccess) -> Login:
    """
    Give the login that *auth* of the backend *name* means.

    Args:
        name: for messages.
        auth: one way to log in, its words checked to be those of its method.
        access: everything else of the server.

    Raises:
        BackendConfigError: too little is said, or too much.
        SettingsError: a secret cannot be fetched.
    """
    if auth.identity_url is not None and Address.of(auth.identity_url) is None:
        raise BackendConfigError(
            f"backend.{name}.identity_url is not one this can speak to",
            hint="write http(s)://host[:port], without user, query and fragment",
        )
    return _MAKERS[auth.method](_Case(name, auth, access))


def _token(case: _Case) -> Login:
    auth = case.auth
    given = [
        word for word in ("token", "token_path", "token_helper") if getattr(auth, word) not in (None, False)
    ]
    if not given:
        raise BackendConfigError(
            f"backend.{case.name} has no token",
            hint='set token = { env = "VAULT_TOKEN" }, or token_path, or auth_type = "approle"',
        )
    if len(given) > 1:
        raise case.both(*given[:2])
    if auth.token_path is not None:
        return TokenFile(case.name, auth.token_path)
    if auth.token_helper:
        path = auth.token_helper if isinstance(auth.token_helper, Path) else _HELPER.expanduser()
        return TokenFile(case.name, path, setting="token_helper")
    return StaticToken(case.name, case.fetched("token"))


def _approle(case: _Case) -> Login:
    from strongroom.vendors.vault_login_approle import AppRole  # noqa: PLC0415 -- see the module

    if case.auth.secret_id is not None and case.auth.secret_id_wrapped is not None:
        raise case.both("secret_id", "secret_id_wrapped")
    return AppRole(
        case.name,
        mount=case.mount,
        role_id=Secret(case.needed("role_id")),
        secret_id=case.fetch("secret_id"),
        wrapped=case.fetch("secret_id_wrapped"),
    )


def _password(case: _Case) -> Login:
    from strongroom.vendors.vault_login_password import Password  # noqa: PLC0415 -- see the module

    auth = case.auth
    if auth.method == "radius" and (auth.username is None or auth.password is None):
        raise case.missing(
            "username" if auth.username is None else "password",
            "set username and password: radius_host and radius_secret are the server's to know",
        )
    username = case.needed("username")
    if username in (".", "..") or not username.isprintable() or set("/\\") & set(username):
        raise BackendConfigError(
            f"backend.{case.name}.username holds what no name does",
            hint="write the name alone, without a path",
        )
    return Password(
        case.name,
        method=auth.method,
        mount=case.mount,
        username=username,
        password=case.fetched("password"),
    )


def _github(case: _Case) -> Login:
    from strongroom.vendors.vault_login_password import GitHub  # noqa: PLC0415 -- see the module

    auth = case.auth
    if auth.token is not None and auth.token_path is not None:
        raise case.both("token", "token_path")
    if auth.token_path is not None:
        return GitHub(case.name, mount=case.mount, path=auth.token_path)
    return GitHub(case.name, mount=case.mount, token=case.fetched("token"))


def _kubernetes(case: _Case) -> Login:
    from strongroom.vendors.vault_login_jwt import SERVICE_ACCOUNT_TOKEN, JwtFile  # noqa: PLC0415 -- see above

    return JwtFile(
        case.name,
        method="kubernetes",
        mount=case.mount,
        role=case.needed("kubernetes_role"),
        path=case.auth.kubernetes_jwt_path or Path(SERVICE_ACCOUNT_TOKEN),
        setting="kubernetes_jwt_path",
    )


def _jwt(case: _Case) -> Login:
    from strongroom.vendors.vault_login_jwt import Jwt, JwtFile  # noqa: PLC0415 -- see above

    auth = case.auth
    if auth.jwt_token is not None and auth.jwt_token_path is not None:
        raise case.both("jwt_token", "jwt_token_path")
    if auth.jwt_token_path is not None:
        return JwtFile(
            case.name,
            method="jwt",
            mount=case.mount,
            role=auth.jwt_role,
            path=auth.jwt_token_path,
            setting="jwt_token_path",
        )
    return Jwt(case.name, method="jwt", mount=case.mount, role=auth.jwt_role, jwt=case.fetched("jwt_token"))


def _cert(case: _Case) -> Login:
    from strongroom.vendors.vault_login_password import Certificate  # noqa: PLC0415 -- see above

    if case.access.client_cert is None and case.access.cert is None:
        raise case.missing("client_cert", "set client_cert and client_key")
    if case.access.url.startswith("http://"):
        raise BackendConfigError(
            f"backend.{case.name} logs in by cert over plain HTTP, which shows no certificate",
            hint="write https:// in url",
        )
    return Certificate(case.name, mount=case.mount, role=case.role())


def _aws(case: _Case) -> Login:
    from strongroom.vendors.aws_options import AwsAccess  # noqa: PLC0415 -- see above
    from strongroom.vendors.vault_login_aws import (  # noqa: PLC0415 -- see above
        AwsIam,
        AwsWay,
        given_keys,
        role_access,
        session_keys,
    )

    auth, wanted = case.auth, case.auth.assume_role_kwargs
    way = AwsWay(region=auth.region, endpoint=auth.identity_url, server_id=auth.iam_server_id)
    if auth.key_id is not None or auth.secret_id is not None:
        if wanted is not None:
            raise case.both("key_id", "assume_role_kwargs")
        keys = given_keys(case.needed("key_id"), case.fetched("secret_id"))
        return AwsIam(case.name, mount=case.mount, role=case.role(), keys=keys, way=way)
    access = AwsAccess(
        region_name=auth.region, sts_endpoint_url=auth.identity_url, timeout=case.access.timeout
    )
    if wanted is not None:
        access = role_access(case.name, wanted, access)
    keys, close = session_keys(case.name, access)
    return AwsIam(case.name, mount=case.mount, role=case.role(), keys=keys, way=way, close=close)


def _gcp(case: _Case) -> Login:
    from strongroom.vendors.vault_login_google import (  # noqa: PLC0415 -- see above
        GoogleAccount,
        GoogleMachine,
        account_login,
    )

    auth, role = case.auth, case.needed("role_id")
    key = auth.gcp_keyfile_dict
    if auth.gcp_key_path is not None and key is not None:
        raise case.both("gcp_key_path", "gcp_keyfile_dict")
    origins = case.origins("Google")
    if auth.gcp_key_path is None and key is None and auth.gcp_scopes is None:
        return GoogleMachine(
            case.name, mount=case.mount, role=role, origins=origins, metadata=auth.identity_url
        )
    login = account_login(
        case.name,
        origins,
        path=auth.gcp_key_path,
        key=key,
        scopes=auth.gcp_scopes,
        metadata=auth.identity_url,
    )
    return GoogleAccount(
        case.name, mount=case.mount, role=role, origins=origins, account=login, iam=auth.identity_url
    )


def _azure(case: _Case) -> Login:
    from strongroom.vendors.vault_login_azure import (  # noqa: PLC0415 -- see above
        RESOURCE,
        AzureApplication,
        AzureMachine,
    )

    auth = case.auth
    role = case.role()
    if role is None:
        raise case.missing("role_id", "set role_id to the role's name; without one nobody can log in")
    resource = auth.azure_resource or RESOURCE
    client_id = None if auth.key_id is None else case.needed("key_id")
    if auth.secret_id is None:
        return AzureMachine(
            case.name,
            mount=case.mount,
            role=role,
            resource=resource,
            origins=case.origins("Azure"),
            client_id=client_id,
            metadata=auth.identity_url,
        )
    return AzureApplication(
        case.name,
        mount=case.mount,
        role=role,
        resource=resource,
        origins=case.origins("Azure"),
        tenant=case.needed("azure_tenant_id"),
        client_id=client_id or case.needed("key_id"),
        secret=case.fetched("secret_id"),
        authority=auth.identity_url,
    )


_MAKERS: Mapping[str, Callable[[_Case], Login]] = {
    "token": _token,
    "approle": _approle,
    "userpass": _password,
    "ldap": _password,
    "radius": _password,
    "github": _github,
    "kubernetes": _kubernetes,
    "jwt": _jwt,
    "cert": _cert,
    "aws_iam": _aws,
    "gcp": _gcp,
    "azure": _azure,
}
