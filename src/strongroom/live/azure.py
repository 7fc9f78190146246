"""
Azure: a credential that follows a connection, and clients of Azure's services with it.

    strongroom.client("azure_default")                              # an azure TokenCredential
    strongroom.client("azure_default", service="keyvault.secrets",
                      options={"vault_url": "https://home.vault.azure.net"})
    strongroom.client("wasb_default", service="storage.blob")       # azure.storage.blob.BlobServiceClient

Not for how a credential logs in and follows (`azure_credential.py`).
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strongroom.live.azure_credential import FollowedAsyncCredential, FollowedCredential
from strongroom.live.azure_fields import fields_of
from strongroom.live.azure_storage import account_url, storage_key
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Container

    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["aclient", "client", "credential"]

_SERVICE = re.compile(
    r"([a-z][a-z0-9_]{0,40}(?:\.[a-z][a-z0-9_]{0,40}){0,4})(?:\.([A-Z][A-Za-z0-9]{0,80}))?", re.ASCII
)


def credential(held: Held, asked: Asked) -> FollowedCredential:
    """
    Give a token credential, that follows; nobody is asked before it is used.

    Raises:
        BackendConfigError: azure-identity is missing, an option is none of its, or the connection says half
            a way to log in.
    """
    return FollowedCredential(held, asked)


def client(held: Held, asked: Asked) -> object:
    """
    Give a credential, or with `asked.service` a client of that service with it.

    `asked.options` are for the client's own constructor; without a service for the credential: `authority`
    and `connection_verify`.

    Raises:
        BackendConfigError: a library is missing, the service has no such client, or the connection lacks
            what to log in with.
    """
    if asked.service is None:
        return credential(held, asked)
    return _service(held, asked, storage_key(held) or credential(held, asked), asked.service, "")


async def aclient(held: Held, asked: Asked) -> object:
    """Give the asynchronous credential, or the client of `asked.service` out of its library's `aio`."""
    from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

    key = storage_key(held) if asked.service else None
    made = key or FollowedAsyncCredential(await to_thread(credential, held, asked))
    if asked.service is None:
        return made
    return await to_thread(_service, held, asked, made, asked.service, ".aio")


def _service(held: Held, asked: Asked, made: object, service: str, folder: str) -> object:
    found = _SERVICE.fullmatch(service)
    if found is None:
        hint = 'name one as azure does, such as "keyvault.secrets" or "storage.blob.ContainerClient"'
        raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
    kind = _client_of(held, found[1], found[2], folder)
    wanted = inspect.signature(kind).parameters
    options = {"credential": made, **_places(held, wanted), **asked.options}
    try:
        inspect.signature(kind).bind(**options)
    except TypeError:
        missing = [one.name for one in wanted.values() if _is_required(one) and one.name not in options]
        if missing:
            hint = f'give it as options={{"{missing[0]}": …}}'
            detail = " and ".join(missing)
            raise trouble("options", "missing", name=held.name, detail=detail, hint=hint) from None
        hint = "one of them is none of the constructor's own"
        raise trouble("options", "unknown", name=held.name, detail="options", hint=hint) from None
    client: object = kind(**options)
    return client


def _client_of(held: Held, service: str, said: str | None, folder: str) -> Any:  # noqa: ANN401 -- a class of a library
    try:
        module = import_module(f"azure.{service}{folder}")
    except ImportError:
        package = f"azure-{service.replace('.', '-').replace('_', '-')}"
        hint = f"pip install {package}"
        raise trouble("driver", "missing", name=held.name, detail=package, hint=hint) from None
    every = [name for name in dir(module) if name.endswith("Client")]
    whole = [name for name in every if name.endswith("ServiceClient")]
    wanted = said or next((found[0] for found in (whole, every) if len(found) == 1), None)
    if wanted is None or wanted not in every:
        hint = f"it has these clients: {', '.join(f'{service}.{name}' for name in every) or 'none'}"
        raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
    return getattr(module, wanted)


def _is_required(parameter: inspect.Parameter) -> bool:
    is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return is_named and parameter.default is parameter.empty


def _places(held: Held, wanted: Container[str]) -> dict[str, Any]:
    """Give where the service is, as the connection says it, under the names that its constructor has."""
    connection = held.known.connection
    said = fields_of(connection)
    found = {
        "account_url": account_url(connection),
        "fully_qualified_namespace": said.get("fully_qualified_namespace"),
        "subscription_id": said.get("subscriptionId") or said.get("subscription_id"),
    }
    return {name: value for name, value in found.items() if value and name in wanted}
