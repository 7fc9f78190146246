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

from strongroom.live.azure_credential import FollowedAsyncCredential, FollowedCredential, fields_of
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["aclient", "client", "credential"]

_SERVICE = re.compile(
    r"([a-z][a-z0-9_]{0,40}(?:\.[a-z][a-z0-9_]{0,40}){0,4})(?:\.([A-Z][A-Za-z0-9]{0,80}))?", re.ASCII
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)


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
    made = credential(held, asked)
    return made if asked.service is None else _service(held, asked, made, asked.service, "")


async def aclient(held: Held, asked: Asked) -> object:
    """Give the asynchronous credential, or the client of `asked.service` out of its library's `aio`."""
    from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

    made = await to_thread(credential, held, asked)
    followed = FollowedAsyncCredential(made)
    if asked.service is None:
        return followed
    return await to_thread(_service, held, asked, followed, asked.service, ".aio")


def _service(held: Held, asked: Asked, made: object, service: str, folder: str) -> object:
    found = _SERVICE.fullmatch(service)
    if found is None:
        hint = 'name one as azure does, such as "keyvault.secrets" or "storage.blob.ContainerClient"'
        raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
    kind = _client_of(held, found[1], found[2], folder)
    options: dict[str, Any] = {"credential": made, **asked.options}
    wanted = inspect.signature(kind).parameters
    for name, find in _PLACES.items():
        place = find(held) if name in wanted and name not in options else None
        if place:
            options[name] = place
    try:
        inspect.signature(kind).bind(**options)
    except TypeError:
        missing = [name for name in _required(kind) if name not in options]
        what = ("missing", " and ".join(missing)) if missing else ("unknown", "options")
        hint = (
            f'give it as options={{"{missing[0]}": …}}' if missing else "one is none of the constructor's own"
        )
        raise trouble("options", what[0], name=held.name, detail=what[1], hint=hint) from None
    client: object = kind(**options)
    return client


def _client_of(held: Held, service: str, said: str | None, folder: str) -> Any:  # noqa: ANN401 -- a class of a library
    try:
        module = import_module(f"azure.{service}{folder}")
    except ImportError:
        package = f"azure-{service.replace('.', '-').replace('_', '-')}"
    else:
        package = ""
    if package:
        raise trouble("driver", "missing", name=held.name, detail=package, hint=f"pip install {package}")
    every = [name for name in dir(module) if name.endswith("Client")]
    whole = [name for name in every if name.endswith("ServiceClient")]
    wanted = said or next((found[0] for found in (whole, every) if len(found) == 1), None)
    if wanted is None or wanted not in every:
        hint = f"it has these clients: {', '.join(f'{service}.{name}' for name in every) or 'none'}"
        raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
    return getattr(module, wanted)


def _required(kind: Any) -> list[str]:  # noqa: ANN401 -- as above
    parameters = inspect.signature(kind).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.default is one.empty and one.kind in plain]


# --- where a service is, as the connection says it ---------------------------------------------------------


def _account_url(held: Held) -> str | None:
    connection = held.known.connection
    if connection.conn_type == "adls":
        said = fields_of(connection).get("account_url")
        return str(said) if said else _of_account(connection.host, "dfs")
    if connection.conn_type != "wasb":
        return None
    host = connection.host or connection.login or ""
    return _of_account(host, "blob") or (host if "://" in host else f"https://{host}" if host else None)


def _of_account(name: str | None, kind: str) -> str | None:
    return f"https://{name}.{kind}.core.windows.net" if name and _ACCOUNT.fullmatch(name) else None


def _said(*keys: str) -> Callable[[Held], str | None]:
    def find(held: Held) -> str | None:
        said = fields_of(held.known.connection)
        return next((str(said[key]) for key in keys if key in said), None)

    return find


_PLACES: dict[str, Callable[[Held], str | None]] = {
    "account_url": _account_url,
    "fully_qualified_namespace": _said("fully_qualified_namespace"),
    "subscription_id": _said("subscriptionId", "subscription_id"),
}
