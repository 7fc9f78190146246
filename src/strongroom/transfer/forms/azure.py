"""
Azure's connection strings (Storage, Service Bus, Event Hubs, Cosmos DB) and service principals in JSON.

Storage becomes the type `wasb`: name and key of the account are login and password, a SAS is `sas_token`;
what has no field stays whole as `connection_string`. A Service Bus's stands whole in the schema, as its hook
wants.

Sources: learn.microsoft.com: "Configure Azure Storage connection strings", "Service Bus access control with
SAS", "Get an Event Hubs connection string", "az ad sp create-for-rbac"; the hooks wasb.py, asb.py, cosmos.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused
from strongroom.transfer.forms.pairs import Pair, parse_pairs, values_of

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["BUS", "COSMOS", "PRINCIPAL", "STORAGE"]

_PUBLIC = "core.windows.net"
_HEADS = frozenset({"accountname", "sharedaccesssignature", "usedevelopmentstorage", "blobendpoint"})
_SIMPLE = frozenset({"defaultendpointsprotocol", "accountname", "accountkey", "endpointsuffix"})
_SAS = frozenset({"blobendpoint", "sharedaccesssignature"})


def _pairs(text: str) -> dict[str, Pair]:
    return values_of(parse_pairs(text, style="plain"))


# --- Storage -------------------------------------------------------------------------------------


def _misfit_storage(look: Look) -> str | None:
    keys = look.keywords
    if keys & {"driver", "endpoint"} or not keys & _HEADS:
        return "has no AccountName=, BlobEndpoint= or SharedAccessSignature= between semicolons"
    return None


def _parse_storage(text: str, _dialect: Dialect) -> Found:
    given = _pairs(text)
    value = {key: pair.value for key, pair in given.items()}
    if not given.keys() & _HEADS:
        raise refused("no account of Azure Storage is named", offset=0)
    is_https = value.get("defaultendpointsprotocol", "https").lower() == "https"
    if given.keys() <= _SIMPLE and is_https and value.get("accountname") and value.get("accountkey"):
        suffix = value.get("endpointsuffix") or _PUBLIC
        host = None if suffix == _PUBLIC else f"https://{value['accountname']}.blob.{suffix}"
        made = connection("wasb", host=host, login=value["accountname"], password=value["accountkey"])
        return Found({None: made})
    if given.keys() == _SAS and all(value.values()):
        extra = {"sas_token": value["sharedaccesssignature"]}
        return Found({None: connection("wasb", extra, host=value["blobendpoint"].rstrip("/"))})
    note = "it has no fields of its own for all of this, so that it was kept whole as connection_string"
    return Found({None: connection("wasb", {"connection_string": text})}, (note,))


def _format_storage(connection: Connection, _name: str) -> str:
    extra: dict[str, Any] = connection.extra.reveal() if connection.extra is not None else {}
    if isinstance(extra.get("connection_string"), str):
        return str(extra["connection_string"])
    host, login = connection.host or "", connection.login or ""
    if "sas_token" in extra:
        return f"BlobEndpoint={host};SharedAccessSignature={extra['sas_token']}"
    secret = connection.password.reveal() if connection.password is not None else ""
    suffix = host.removeprefix(f"https://{login}.blob.") if host else _PUBLIC
    parts = f"DefaultEndpointsProtocol=https;AccountName={login};AccountKey={secret}"
    return f"{parts};EndpointSuffix={suffix}"


STORAGE = Form(
    name="azure-storage",
    title="Azure Storage connection string",
    example="DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=c2VjcmV0LWtleQ==;"
    "EndpointSuffix=core.windows.net",
    lacks="description; service principals",
    misfit=_misfit_storage,
    parse=_parse_storage,
    format=_format_storage,
)


# --- Service Bus and Event Hubs ------------------------------------------------------------------


def _misfit_bus(look: Look) -> str | None:
    if look.text[:14].lower() == "endpoint=sb://":
        return None
    keys = look.keywords
    is_own = "endpoint" in keys and bool(keys & {"sharedaccesskey", "sharedaccesssignature"})
    return None if is_own and "=sb://" in look.text.lower() else "has no Endpoint=sb://"


def _parse_bus(text: str, _dialect: Dialect) -> Found:
    given = _pairs(text)
    if "endpoint" not in given or not given["endpoint"].value.lower().startswith("sb://"):
        raise refused("there is no Endpoint=sb://", offset=0)
    keys = {"sharedaccesskey", "sharedaccesssignature"} & given.keys()
    if not keys:
        raise refused("there is neither SharedAccessKey= nor SharedAccessSignature=", offset=0)
    notes = ["the hook reads it from the schema, which other tools may show"]
    if "entitypath" in given:
        notes.append("it names one entity; of an Event Hub it works through Kafka's protocol only")
    return Found({None: connection("azure_service_bus", schema=text)}, tuple(notes))


def _format_schema(connection: Connection, _name: str) -> str:
    return connection.schema or ""


BUS = Form(
    name="azure-bus",
    title="Azure Service Bus and Event Hubs connection string",
    example="Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=send;"
    "SharedAccessKey=c2VjcmV0LWtleQ==",
    lacks="everything but the schema",
    misfit=_misfit_bus,
    parse=_parse_bus,
    format=_format_schema,
)


# --- Cosmos DB -----------------------------------------------------------------------------------


def _misfit_cosmos(look: Look) -> str | None:
    return None if "accountendpoint" in look.keywords else "has no AccountEndpoint= between semicolons"


def _parse_cosmos(text: str, _dialect: Dialect) -> Found:
    given = _pairs(text)
    if not {"accountendpoint", "accountkey"} <= given.keys():
        raise refused("there are not both of AccountEndpoint= and AccountKey=", offset=0)
    extra = {"database_name": given["database"].value} if "database" in given else {}
    login, password = given["accountendpoint"].value, given["accountkey"].value
    return Found({None: connection("azure_cosmos", extra, login=login, password=password)})


def _format_cosmos(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    secret = connection.password.reveal() if connection.password is not None else ""
    more = f";Database={extra['database_name']}" if "database_name" in extra else ""
    return f"AccountEndpoint={connection.login or ''};AccountKey={secret}{more}"


COSMOS = Form(
    name="azure-cosmos",
    title="Azure Cosmos DB connection string",
    example="AccountEndpoint=https://acme.documents.azure.com:443/;AccountKey=c2VjcmV0LWtleQ==",
    lacks="description; of extra all but database_name",
    misfit=_misfit_cosmos,
    parse=_parse_cosmos,
    format=_format_cosmos,
)


# --- service principals --------------------------------------------------------------------------

_SPELLINGS = {
    "login": ("appId", "clientId"),
    "password": ("password", "clientSecret"),
    "tenantId": ("tenant", "tenantId"),
    "subscriptionId": ("subscriptionId",),
}


def _misfit_principal(look: Look) -> str | None:
    keys = look.document or {}
    is_own = ("appId" in keys and "tenant" in keys) or ("clientId" in keys and "tenantId" in keys)
    return None if is_own else "is no JSON object with appId and tenant, or clientId and tenantId"


def _parse_principal(text: str, _dialect: Dialect) -> Found:
    given = Look(text).document or {}
    found = {
        name: given[key]
        for name, keys in _SPELLINGS.items()
        for key in keys
        if isinstance(given.get(key), str) and given[key]
    }
    if not {"login", "password", "tenantId"} <= found.keys():
        raise refused("the service principal has not all of application, secret and tenant", offset=0)
    extra: dict[str, Any] = {key: found[key] for key in ("tenantId", "subscriptionId") if key in found}
    return Found({None: connection("azure", extra, login=found["login"], password=found["password"])})


PRINCIPAL = Form(
    name="azure-principal",
    title="Azure service principal, as `az ad sp create-for-rbac` shows it",
    example='{"appId": "00000000-0000-0000-0000-000000000001", "displayName": "svc", "password": "p@ss",'
    ' "tenant": "00000000-0000-0000-0000-000000000002"}',
    lacks="not written",
    misfit=_misfit_principal,
    parse=_parse_principal,
)
