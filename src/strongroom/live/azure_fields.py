"""
How a connection of Azure's logs in: its fields, read as the `AzureAccess` that backends have too.

Each hook of Airflow's reads the tenant under its own key, and so does this; `certificate` and
`certificate_password` are ours.

Source: apache-airflow-providers-microsoft-azure 15.2 (`base_azure.py`, `wasb.py`, `data_lake.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.live.trouble import trouble
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in
from strongroom.vendors.azure import AzureAccess, origin_of

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.model.connection import Connection

__all__ = ["OPTIONS", "Access", "access_of", "fields_of"]

OPTIONS = ("authority", "connection_verify")
"""What may be said beside the connection, as azure-identity calls it."""

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
_ALLOWED = (
    *OPTIONS,
    "disable_instance_discovery",
    "additionally_allowed_tenants",
)  # the last two: as it is anyhow
_KEYS = {"tenant": "tenantId", "client": "clientId", "secret": "clientSecret"}  # of the SDK's own files
_MAX_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(AzureAccess):
    """As for backends; a certificate may be its text."""

    certificate: Path | Secret[str] | None = field(default=None, repr=False)  # type: ignore[assignment]


def fields_of(connection: Connection) -> dict[str, Any]:
    """Give what is filled in in the extra of *connection*, under old forms' keys too."""
    extra = {} if connection.extra is None else connection.extra.reveal()
    prefix = f"extra__{connection.conn_type}__"
    old = {key.removeprefix(prefix): value for key, value in extra.items() if key.startswith(prefix)}
    return {key: value for key, value in {**old, **extra}.items() if value not in ("", None)}


def access_of(name: str, connection: Connection, options: Mapping[str, object]) -> Access:
    """
    Give how *connection* logs in.

    Args:
        name: of the connection, for messages.
        connection: of any type that logs in to Azure.
        options: any of `OPTIONS`.

    Raises:
        BackendConfigError: a field is missing or cannot be read.
    """
    try:
        return _Reading(name, connection, options).access()
    except InvalidInputError:
        raise trouble("options", "malformed", name=name, detail="extra", hint="it is a JSON object") from None


class _Reading:
    """How one content of a connection logs in."""

    def __init__(self, name: str, connection: Connection, options: Mapping[str, object]) -> None:
        self._name = name
        self._connection = connection
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

    def access(self) -> Access:
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
            return Access(tenant_id=tenant, client_id=client, **given, **where)
        if secret is not None:
            # A file is read again when its secret is refused: somebody may have replaced it.
            found = self._secret if "key_path" in self._said else secret
            return Access(tenant_id=tenant, client_id=client, client_secret=found, **where)
        return Access(tenant_id=tenant if client else None, client_id=client, **machine, **where)

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

    def _secret(self) -> Secret[str]:
        return self._principal()[2] or Secret("")

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
