"""
A credential of Azure's that follows a connection: whatever takes a `TokenCredential` takes this one.

Not for how a token is got: that is `vendors/azure.py`, for backends and live clients alike, over our own
transport. The fields are those of Airflow's hooks; `certificate` and `certificate_password` are ours.

Rules of this file:

1. What the connection says now decides; a login of what it said before is let go when its last caller ends.
2. A refusal reads the connection anew once, and is tried once more if it says something else.
3. Half a service principal is an error and never the machine's identity instead.
4. No error holds a word of Entra ID: of what it says only the number.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.live.families import loaded
from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in
from strongroom.vendors.azure import AzureAccess, AzureSession, origin_of
from strongroom.vendors.azure_login import Identity, OneLogin

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["FollowedAsyncCredential", "FollowedCredential", "fields_of"]

_TENANTS = {  # the key of each hook, where it is not `tenantId`
    "wasb": "tenant_id",
    "adls": "tenant_id",
    "azure_data_lake": "tenant",
    "azure_data_explorer": "tenant",
}
_KEYED = ("wasb", "adls", "azure_fileshare", "azure_cosmos", "azure_batch")  # whose password may be a key
_KEYS_OF_STORAGE = ("connection_string", "sas_token", "shared_access_key", "account_key")
_NO_TOKENS = (
    "it holds a key, which gives no tokens: name the service, such as storage.blob; or fill in the tenant of "
    "an application, or take the key out, and the machine's identity is used"
)
_CLOUDS = {
    "AzurePublicCloud": "login.microsoftonline.com",
    "AzureUSGovernment": "login.microsoftonline.us",
    "AzureChinaCloud": "login.chinacloudapi.cn",
}
_OPTIONS = ("authority", "connection_verify")
_ALLOWED = (
    *_OPTIONS,
    "disable_instance_discovery",
    "additionally_allowed_tenants",
)  # the last two: as it is anyhow
_KEYS = {"tenant": "tenantId", "client": "clientId", "secret": "clientSecret"}  # of the SDK's own files
_MAX_FILE_BYTES = 65_536
_NUMBER = re.compile(r"AADSTS[0-9]{4,9}")
_HINTS = {
    "client_secret": "put a valid secret of the application (its value, not its id) into the connection",
    "certificate": "register the certificate with the application in Entra ID, or renew it",
    "workload_identity": "add a federated credential for this service account to the application, "
    "and see to AZURE_FEDERATED_TOKEN_FILE",
    "developer": "type az login",
    "managed_identity": "assign the identity to this machine, or check managed_identity_client_id",
}
_UNKNOWN = "check tenant, client id and cloud_environment, and the service that the token is for"
_DEVELOPERS = ("dev", "azureclicredential")  # as azure-identity reads AZURE_TOKEN_CREDENTIALS
_PEM = (
    "it is PEM with the certificate and its RSA key, or the path of such a file; see to certificate_password"
)
_HALF = (
    "fill in the tenant, login (the client's id) and password (its secret) or certificate; or none, and "
    "the machine's identity is used"
)
_NO_MACHINE = "give this machine or pod an identity, or fill in a service principal"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access(AzureAccess):
    """As for backends; a certificate may be its text."""

    certificate: Path | Secret[str] | None = field(default=None, repr=False)  # type: ignore[assignment]


class _Session(Protocol):
    """What logs in: an `AzureSession`, or `_Developer`."""

    @property
    def way(self) -> str: ...

    @property
    def login(self) -> OneLogin: ...

    def close(self) -> None: ...


class _Developer:
    """Whoever has typed `az login` on this machine; asked where the environment says so, and never else."""

    way = "developer"

    def __init__(self, place: str) -> None:
        self._place = place
        self._logins: dict[int, OneLogin] = {}  # by process id: its locks do not survive a fork

    @property
    def login(self) -> OneLogin:
        return self._logins.setdefault(os.getpid(), OneLogin(self._place, self._identity))

    def _identity(self, again: bool) -> Identity | None:  # noqa: FBT001 -- one switch of `OneLogin`
        import azure.identity as sdk  # noqa: PLC0415 -- an extra, loaded when used

        return None if again else sdk.AzureCliCredential()

    def close(self) -> None:
        """Nothing: it holds no connection."""


class _Made(NamedTuple):
    """The login of one content of the connection."""

    known: Known
    session: _Session


class FollowedCredential:
    """
    An `azure.core.credentials.TokenCredential` of what a connection says, whenever it is asked.

    Args:
        held: the connection.
        asked: with the options `authority` and `connection_verify`, as azure-identity takes them.

    Threads: may be used from several threads at once, and after a fork.

    Raises:
        BackendConfigError: azure-identity is missing, the connection says half a way to log in, or an option
            is none.
    """

    def __init__(self, held: Held, asked: Asked) -> None:
        self._held = held
        self._environ = asked.around.environ
        self._options = {} if asked.service else dict(asked.options)
        for option in self._options:
            if option not in _OPTIONS:
                hint = f"options of credentials are {' and '.join(_OPTIONS)}"
                raise trouble("options", "unknown", name=held.name, detail=option, hint=hint)
        # By process id: a forked child must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, threading.Lock] = {}
        self._made = self._make(held.known)
        self._ended = held.lasts(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._held.name!r})"

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """
        Give a token for *scopes*: the one that is kept, while it lasts.

        Raises:
            AccessDeniedError: Entra ID refuses, also with what the connection says by now.
            BackendConfigError: there is no such tenant or client, or this machine has no identity.
            BackendUnavailableError: no answer now.
        """
        known = self._held.known
        try:
            return self._token(known, scopes, options)
        except (AccessDeniedError, BackendConfigError) as error:
            refusal: StrongroomError = error
        newer = self._held.refreshed(known)
        if newer is None:
            raise refusal
        return self._token(newer, scopes, options)

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        **more: Any,  # noqa: ANN401 -- azure-core's
    ) -> AccessToken:
        """As `get_token_info`, for libraries that know no better."""
        from azure.core.credentials import AccessToken  # noqa: PLC0415 -- an extra, loaded when used

        del tenant_id, more  # the connection says the tenant
        found = self.get_token_info(*scopes, options={"claims": claims} if claims else None)
        return AccessToken(found.token, found.expires_on)

    def close(self) -> None:
        """End the following and let go of tokens. Safe to call twice."""
        self._ended()
        self._made.session.close()

    def __enter__(self) -> FollowedCredential:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # --- one login ---------------------------------------------------------------------------------------

    def _token(
        self, known: Known, scopes: tuple[str, ...], options: TokenRequestOptions | None
    ) -> AccessTokenInfo:
        made = self._of(known)
        found: StrongroomError
        claims = (options or {}).get("claims")
        try:
            # Without `tenant_id`: a service of another tenant is not what the connection logs in to.
            return made.session.login.get_token_info(
                *scopes, options={"claims": claims, "enable_cae": True} if claims else None
            )
        except StrongroomError as error:
            found = self._told(error, made.session.way)
        found.__context__ = None
        raise found

    def _told(self, error: StrongroomError, way: str) -> StrongroomError:
        name = self._held.name
        if way in ("developer", "managed_identity"):
            is_missing = way == "developer" or isinstance(error, NotAuthenticatedError)
            hint = _HINTS[way] if is_missing else _NO_MACHINE
            return trouble("token", "missing" if is_missing else "unavailable", name=name, hint=hint)
        number = _NUMBER.search(str(error))
        detail = number[0] if number else ""
        if isinstance(error, NotAuthenticatedError):
            return trouble("token", "credentials", name=name, detail=detail, hint=_HINTS[way])
        if not isinstance(error, BackendConfigError):
            return trouble(*(cause_of(error) or ("token", "unavailable")), name=name)
        if number:
            return trouble("token", "unknown", name=name, detail=detail, hint=_UNKNOWN)
        if way == "certificate":
            return trouble("options", "malformed", name=name, detail=way, hint=_PEM)
        return trouble("token", "malformed", name=name, hint="correct cloud_environment or authority")

    def _of(self, known: Known) -> _Made:
        made = self._made
        if made.known.number == known.number:
            return made
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._made.known.number != known.number:
                self._made = self._make(known)
            return self._made

    def _read(self, known: Known) -> _Access:
        try:
            return _Reading(self._held.name, known.connection, self._options, self._environ).access()
        except StrongroomError as error:
            found = error
        # Without the frames that hold what the connection says.
        found.__context__ = None
        raise found.with_traceback(None)

    def _make(self, known: Known) -> _Made:
        name = self._held.name
        access = self._read(known)
        if (
            access.client_id is None
            and self._environ.get("AZURE_TOKEN_CREDENTIALS", "").lower() in _DEVELOPERS
        ):
            loaded("azure.identity", self._held, extra="azure")
            return _Made(known, _Developer(name))
        try:
            session = AzureSession(access, place=name, environ=self._environ)
        except BackendConfigError as error:
            is_missing = (error.hint or "").startswith("pip install")
            found = (
                trouble("driver", "missing", name=name, detail="azure-identity", hint=error.hint)
                if is_missing
                else trouble("options", "missing", name=name, detail="what to log in with", hint=_HALF)
            )
        else:
            # Whoever asks with it goes on; the last one lets go of its connections.
            weakref.finalize(session, session.origins.close)
            return _Made(known, session)
        raise found


class FollowedAsyncCredential:
    """
    An `azure.core.credentials_async.AsyncTokenCredential`, which asks on a thread and never holds the loop.

    Args:
        credential: does it.
    """

    def __init__(self, credential: FollowedCredential) -> None:
        self._credential = credential

    def __repr__(self) -> str:
        return f"FollowedAsync{repr(self._credential).removeprefix('Followed')}"

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """As `FollowedCredential.get_token_info`."""
        from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

        return await to_thread(self._credential.get_token_info, *scopes, options=options)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401 -- azure-core's
        """As `FollowedCredential.get_token`."""
        from asyncio import to_thread  # noqa: PLC0415 -- as above

        return await to_thread(self._credential.get_token, *scopes, **options)

    async def close(self) -> None:
        """As `FollowedCredential.close`."""
        self._credential.close()

    async def __aenter__(self) -> FollowedAsyncCredential:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


def fields_of(connection: Connection) -> dict[str, Any]:
    """Give what is filled in in the extra of *connection*, under old forms' keys too."""
    extra = {} if connection.extra is None else connection.extra.reveal()
    prefix = f"extra__{connection.conn_type}__"
    old = {key.removeprefix(prefix): value for key, value in extra.items() if key.startswith(prefix)}
    return {key: value for key, value in {**old, **extra}.items() if value not in ("", None)}


class _Reading:
    """How one content of a connection logs in."""

    def __init__(
        self, name: str, connection: Connection, options: Mapping[str, object], environ: Mapping[str, str]
    ) -> None:
        self._name = name
        self._connection = connection
        self._environ = environ
        self._said = fields_of(connection)
        more = self._said.get("client_secret_auth_config") or {}
        if isinstance(more, str):
            more = json_in(more)
        if not isinstance(more, Mapping):
            raise self._malformed("client_secret_auth_config", 'write it as {"name": "value"}')
        for key in more:
            if key not in _ALLOWED:
                hint = f"of client_secret_auth_config are known {', '.join(_ALLOWED)}"
                raise trouble("options", "unknown", name=name, detail="client_secret_auth_config", hint=hint)
        self._options = {**more, **options}

    def access(self) -> _Access:
        """
        Give how to log in.

        Raises:
            BackendConfigError: a field cannot be read.
        """
        where: dict[str, Any] = {"authority": self._authority(), **self._trust()}
        tenant, client, secret = self._principal()
        machine: dict[str, Any] = {
            key: str(self._said[key])
            for key in ("managed_identity_client_id", "workload_identity_tenant_id")
            if key in self._said
        }
        certificate = self._said.get("certificate")
        if certificate:
            is_text = str(certificate).lstrip().startswith("-----BEGIN")
            password = self._said.get("certificate_password")
            given: dict[str, Any] = {
                "certificate": Secret(str(certificate)) if is_text else Path(str(certificate)),
                "certificate_password": None if password is None else Secret(str(password)),
            }
            return _Access(tenant_id=tenant, client_id=client, **given, **where)
        if secret is not None:
            return _Access(tenant_id=tenant, client_id=client, client_secret=secret, **where)
        return _Access(tenant_id=tenant if client else None, client_id=client, **machine, **where)

    def _principal(self) -> tuple[str | None, str | None, Secret[str] | None]:
        """Give tenant, client and its secret."""
        given = self._document()
        if given is not None:
            found = {word: given.get(key) for word, key in _KEYS.items()}
            if not all(isinstance(value, str) and value for value in found.values()):
                raise self._malformed("key_json or key_path", f"it must hold {', '.join(_KEYS.values())}")
            return str(found["tenant"]), str(found["client"]), Secret(str(found["secret"]))
        tenant = self._said.get(_TENANTS.get(self._connection.conn_type or "", "tenantId"))
        login, password = self._connection.login, self._connection.password
        if self._connection.conn_type in _KEYED and not tenant and not self._said.get("certificate"):
            if password or any(key in self._said for key in _KEYS_OF_STORAGE):
                raise trouble("options", "missing", name=self._name, detail="the tenant", hint=_NO_TOKENS)
            return None, None, None  # a login may be the name of an account
        return None if tenant is None else str(tenant), login or None, password or None

    def _document(self) -> Mapping[str, Any] | None:
        """Give the service principal that stands in a document of its own."""
        path, given = self._said.get("key_path"), self._said.get("key_json")
        if path and given:
            raise self._malformed("key_path and key_json", "keep one of them")
        if path:
            try:
                with open(str(path), "rb") as file:  # noqa: PTH123 -- bounded
                    given = file.read(_MAX_FILE_BYTES).decode()
            except (OSError, ValueError):
                raise self._malformed("key_path", "name a file that can be read here") from None
        if given is None:
            return None
        found = json_in(given) if isinstance(given, str) else given
        if not isinstance(found, Mapping):
            raise self._malformed("key_path" if path else "key_json", "it is a JSON object")
        return found

    def _authority(self) -> str | None:
        cloud = self._said.get("cloud_environment")
        if cloud is not None and cloud not in _CLOUDS:
            raise self._malformed("cloud_environment", f"it is one of {', '.join(_CLOUDS)}")
        said = self._options.get("authority")
        if said is not None:
            url = str(said) if "://" in str(said) else f"https://{said}"
            if not origin_of(url).startswith("https://"):
                raise self._malformed("authority", "write the host of Entra ID alone")
            return str(said)
        return None if cloud is None else _CLOUDS[str(cloud)]

    def _trust(self) -> dict[str, Any]:
        said = self._options.get("connection_verify", True)
        return {"verify": said if isinstance(said, bool) else Path(str(said))}

    def _malformed(self, detail: str, hint: str) -> StrongroomError:
        return trouble("options", "malformed", name=self._name, detail=detail, hint=hint)
