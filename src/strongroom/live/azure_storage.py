"""
Azure's storage, where a connection holds an account's key or a shared access signature: followed in place.

Not for tokens of Entra ID (`azure_credential.py`). azure-core's own `AzureNamedKeyCredential` and
`AzureSasCredential` are made to be changed while a client uses them; here they are, when the connection is.

Source: apache-airflow-providers-microsoft-azure 15.2 (`wasb.py`, `data_lake.py`), for what comes before what.
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from strongroom.live.azure_fields import fields_of
from strongroom.live.families import loaded
from strongroom.live.trouble import trouble
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["Shown", "account_url", "shown_by", "storage_key"]

_KINDS = {"wasb": "blob", "adls": "dfs"}
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_SUFFIX = "core.windows.net"


class Shown(NamedTuple):
    """What is shown to storage: a key with the name of its account, or a signature with None."""

    account: str | None
    text: Secret[str]


def account_url(connection: Connection) -> str | None:
    """Give where the storage of *connection* is; None for other types, and where nothing says it."""
    kind = _KINDS.get(connection.conn_type or "")
    if kind is None:
        return None
    said = fields_of(connection)
    parts = _parts(said)
    if parts:
        return _of_parts(parts, kind)
    signed = str(said.get("sas_token") or "")
    if kind == "blob" and signed.startswith("https:") and not said.get("tenant_id"):
        return signed.partition("?")[0]
    given = str(
        said.get("account_url") or connection.host or (connection.login if kind == "blob" else "") or ""
    )
    if _ACCOUNT.fullmatch(given):
        return f"https://{given}.{kind}.{_SUFFIX}"
    return (given if "://" in given else f"https://{given}") if given else None


def storage_key(held: Held) -> object | None:
    """
    Give the key or signature of *held* as azure-core's credential, followed while somebody has it; None where
    it logs in by Entra ID.

    Raises:
        BackendConfigError: azure-core is missing, or a key comes without the name of its account.
    """
    shown = shown_by(held.known.connection)
    if shown is None:
        return None
    library = loaded("azure.core.credentials", held, extra="azure")
    if shown.account is None:
        made: Any = library.AzureSasCredential(shown.text.reveal())
    elif shown.account:
        made = library.AzureNamedKeyCredential(shown.account, shown.text.reveal())
    else:
        hint = "an account's key needs its name: fill in login, or the host"
        raise trouble("options", "missing", name=held.name, detail="login", hint=hint)
    seen = weakref.ref(made)
    held.lasts(made, held.on_change(lambda known: _change(seen(), known)))
    return made  # type: ignore[no-any-return]  # of a library loaded late


def _change(made: Any, known: Known) -> None:  # noqa: ANN401 -- one of the two
    shown = shown_by(known.connection)
    is_signature = not hasattr(made, "named_key")
    # From a key to a signature nothing can be followed: the client was built for the one.
    if made is None or shown is None or is_signature != (shown.account is None):
        return
    if is_signature:
        made.update(shown.text.reveal())
    else:
        made.update(shown.account, shown.text.reveal())


def shown_by(connection: Connection) -> Shown | None:
    """Give the key or the signature that *connection* holds; None where it logs in by Entra ID."""
    kind = _KINDS.get(connection.conn_type or "")
    if kind is None:
        return None
    said = fields_of(connection)
    parts = _parts(said)
    if parts:
        signature = parts.get("sharedaccesssignature")
        return (
            Shown(None, Secret(signature))
            if signature
            else Shown(parts.get("accountname", ""), Secret(parts.get("accountkey", "")))
        )
    if said.get("tenant_id"):
        return None
    password = None if not connection.password else connection.password.reveal()
    stored = said.get("shared_access_key") if kind == "blob" else None
    key = stored or password or said.get("account_key")
    # WasbHook takes a signature before a password; that of the data lake knows none, Airflow's files do.
    if said.get("sas_token") and (not stored if kind == "blob" else not key):
        signed = str(said["sas_token"])
        return Shown(None, Secret(urlsplit(signed).query if signed.startswith("https:") else signed))
    return None if key is None else Shown(_account(connection), Secret(str(key)))


def _account(connection: Connection) -> str:
    """Give the name of the account: the first label of its address, or the login."""
    host = urlsplit(account_url(connection) or "").hostname or ""
    first, _, rest = host.partition(".")
    return first if rest.endswith(_SUFFIX) else connection.login or ""


def _parts(said: Mapping[str, Any]) -> dict[str, str]:
    """Give the members of a connection string of Azure's, their names in lower case."""
    text = str(said.get("connection_string") or "")
    pairs = (one.partition("=") for one in text.split(";") if "=" in one)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _of_parts(parts: Mapping[str, str], kind: str) -> str | None:
    if parts.get(f"{kind}endpoint"):
        return parts[f"{kind}endpoint"]
    name = parts.get("accountname")
    scheme, suffix = parts.get("defaultendpointsprotocol", "https"), parts.get("endpointsuffix", _SUFFIX)
    return f"{scheme}://{name}.{kind}.{suffix}" if name else None
