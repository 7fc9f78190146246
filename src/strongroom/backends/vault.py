"""
Vault and OpenBao: the key-value engine, versions 1 and 2, at the paths Airflow's VaultBackend reads.

| Ref | KV 2 | KV 1 |
|---|---|---|
| connection `orders_db` | `secret/data/connections/orders_db` | `secret/connections/orders_db` |
| variable `region` | `secret/data/variables/region`, its field `value` | `secret/variables/region` |
| variable `region` of team `data` | `secret/data/variables/data/region` | `secret/variables/data/region` |

Rules of this file:

1. A read is one request, and an absence is one request too, once the mount has answered once. A mount
   that is not there or of the other version is trouble with the setting to change, never an absence.
2. What is stored becomes the text Airflow makes of it: `conn_uri`, or the whole object as JSON; of
   variables and config the field `value`.
3. Logging in, tokens and their renewal are `vendors/vault.py`.

Every option: docs/backends/vault.md.

Source: apache-airflow-providers-hashicorp 4.8.4; the HTTP API of OpenBao 2.7, run against it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.backend import Fetched, Health, Naming, PathBackend, ephemeral_version
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.entry import Summary
from strongroom.model.jsontext import decode
from strongroom.vendors.transport import Transport
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_answer import complaints, member, misshapen, opened
from strongroom.vendors.vault_folder import Folders
from strongroom.vendors.vault_login import StaticToken
from strongroom.vendors.vault_mount import Mounts
from strongroom.vendors.vault_options import VaultAccess, login_of, transport_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.model.ref import Kind, Ref
    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault import TokenFacts

__all__ = ["BACKEND", "ListedVault", "Vault", "VaultOptions"]

_OK, _DENIED, _ABSENT = 200, 403, 404
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOptions(VaultAccess):
    """
    Where things stand; where the server is and how to log in is `VaultAccess`.

    Args:
        mount_point: where the engine is mounted; None or "" when each name says it in its first segment.
        kv_engine_version: 1 or 2.
        connections_path: one prefix or several, asked in order; "" for none; None or False when this
            store keeps no connections.
        variables_path: likewise.
        config_path: likewise.
        use_team_secrets_path: a team's names stand below its own folder, and global ones hold no "/".
        global_secrets_path: one prefix more for all three.
    """

    mount_point: str | None = "secret"
    kv_engine_version: int | None = 2
    connections_path: bool | tuple[str, ...] | str | None = "connections"
    variables_path: bool | tuple[str, ...] | str | None = "variables"
    config_path: bool | tuple[str, ...] | str | None = "config"
    use_team_secrets_path: bool = False
    global_secrets_path: str | None = None


class Vault(PathBackend[VaultOptions]):
    """
    Entries in a key-value engine. Where one mount is named, it can list too (`ListedVault`).

    Versions are those of KV 2; KV 1 has none, so they change with the text and mean nothing outside
    this process. A deleted or destroyed version is absent.

    Trust: the server's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork; one login for all of them.

    Raises:
        BackendConfigError: options that contradict one another, or say too little.
    """

    options_type = VaultOptions

    def __new__(
        cls, name: str, options: VaultOptions, clock: Callable[[], datetime]
    ) -> Vault:  # what can be asked for is seen in what it is: `isinstance(backend, Listable)`
        del name, clock
        return super().__new__(ListedVault if cls is Vault and options.mount_point else cls)

    def __init__(self, name: str, options: VaultOptions, clock: Callable[[], datetime]) -> None:
        super().__init__(name, options, _naming(name, options), clock)
        self._key = os.urandom(16)
        self._mount = (options.mount_point or "").strip("/")
        self._is_versioned = _is_versioned(name, options)
        login = login_of(name, options)
        self._logs_in = not isinstance(login, StaticToken)
        self._transport = Transport(transport_of(name, options))
        self._session = VaultSession(login, self._transport, place=name, namespace=options.namespace)
        self._mounts = Mounts(self._session, place=name, version=2 if self._is_versioned else 1)

    @property
    def is_circuit_open(self) -> bool:
        """Whether the store is not asked for a while, because it failed."""
        return self._transport.is_circuit_open

    def close(self) -> None:
        self._session.close()
        self._transport.close()

    # --- reading ---

    def _fetch(self, path: str) -> Fetched | None:
        mount, rest = (self._mount, path) if self._mount else path.split("/", 1)
        where = f"{mount}/data/{rest}" if self._is_versioned else f"{mount}/{rest}"
        if not self._mount and not self._is_versioned:
            # Below `<mount>/data` nothing but a key-value engine answers; without it a name could reach
            # `auth/token/lookup-self` and the like.
            self._mounts.check(mount, must_be_known=True)
        reply = self._session.request("GET", f"/v1/{quote(where)}")
        if reply.status == _OK:
            return self._found(mount, reply)
        if reply.status != _ABSENT:
            raise self._refusal(mount, "read", where, reply)
        self._mounts.check_absence(mount, reply, is_led=not self._mount)
        return None

    def _found(self, mount: str, reply: Reply) -> Fetched | None:
        found = opened(reply, self.name)
        holder = member(found, dict, "data") if self._is_versioned else found
        version = member(holder, int, "metadata", "version")
        held = None if holder is None else holder.get("data", _MISSING)
        # Only versions can be deleted. Without them null is an answer held back: wrapped, or to be approved.
        if held is _MISSING or (version if self._is_versioned else held) is None:
            self._mounts.check(mount)
            raise misshapen(self.name)
        self._mounts.know(mount)
        if held is None:
            return None  # a deleted version, where a proxy drops the status
        text = json.dumps(held)  # as Airflow spells it: the same text, the same connection
        return Fetched(
            text=text, version=ephemeral_version(self._key, text) if version is None else str(version)
        )

    def _text(self, ref: Ref, fetched: Fetched) -> str:
        held = self._object(ref, fetched.text)
        if ref.kind != "connection":
            return self._value(ref, held)
        uri = held.get("conn_uri")
        if not uri:
            return fetched.text
        if not isinstance(uri, str):
            raise self._malformed(ref, "a conn_uri that is not text")
        return uri

    def _object(self, ref: Ref, text: str) -> dict[str, object]:
        try:
            held = decode(text, what="what is stored")
        except InvalidInputError as error:
            refusal = self._malformed(ref, f"what cannot be used: {error}", hint=error.hint)
        else:
            if isinstance(held, dict):
                return held
            refusal = self._malformed(ref, "no object of fields")
        raise refusal

    def _value(self, ref: Ref, held: dict[str, object]) -> str:
        value = held.get("value")
        if value is None:
            raise self._malformed(ref, 'no field "value"', hint='write its text to the field "value"')
        # As a file of variables would give it, and as `airflow variables import` would store it.
        return value if isinstance(value, str) else json.dumps(value, indent=2)

    def _malformed(self, ref: Ref, what: str, hint: str | None = None) -> MalformedEntryError:
        return MalformedEntryError(
            f"{ref} in the backend {self.name} holds {what}", backend=self.name, ref=str(ref), hint=hint
        )

    def _refusal(self, mount: str, verb: str, where: str, reply: Reply) -> StrongroomError:
        self._mounts.check(mount)
        if reply.status != _DENIED:
            return BackendUnavailableError(
                f"the backend {self.name} answered with the status {reply.status}", backend=self.name
            )
        below = where.rpartition("/")[0] if verb == "read" else where
        return AccessDeniedError(
            f"no policy of the token of the backend {self.name} allows {verb} on {where}",
            reason=f"{verb} on {where}",
            hint=f'add the policy path "{below}/*" {{ capabilities = ["{verb}"] }}, or check mount_point',
        )

    # --- checking ---

    def check(self) -> Health:
        """Tell whether it answers, is unsealed, knows us, and is mounted as configured: two requests."""
        ends, renewed = {}, frozenset[str]()
        try:
            token = self._session.look()
            if self._mount:
                self._mounts.check_now(self._mount)
        except StrongroomError as error:
            return Health(status="error", message=f"{error} ({error.hint})" if error.hint else str(error))
        if token is not None and token.seconds_left is not None:
            ends["token"] = self._clock() + timedelta(seconds=token.seconds_left)
            renewed = frozenset({"token"} if token.is_renewable or self._logs_in else ())
        if self._transport.certificate_ends is not None:
            ends["server certificate"] = self._transport.certificate_ends
        return Health(status="ready", message=_told(token), ends=ends, renewed=renewed)


def _told(token: TokenFacts | None) -> str:
    if token is None:
        return "the token may not look itself up, so how long it lives is not known"
    left = "never ends" if token.seconds_left is None else f"ends in {timedelta(seconds=token.seconds_left)}"
    return f"the token {left}; policies {', '.join(token.policies) or 'none'}"


class ListedVault(Vault):
    """
    A `Vault` with one mount, which can be listed.

    A name whose value was deleted from KV 2 is listed until its metadata is deleted too.
    """

    def __init__(self, name: str, options: VaultOptions, clock: Callable[[], datetime]) -> None:
        super().__init__(name, options, clock)
        self._folders = Folders(self._keys)
        paths = [path for key in _KINDS.values() for path in set(_prefixes(name, key, options))]
        self._is_shared = len(set(paths)) < len(paths)

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        """
        As `Listable`; a name below several prefixes is given once.

        Raises:
            BackendConfigError: kinds share a prefix, so that only the values would tell them apart.
            AccessDeniedError: no policy allows `list`.
        """
        roots = self.naming.folders(kind, team)
        if roots and self._is_shared:
            raise BackendConfigError(
                f"the backend {self.name} cannot list: connections, variables or config share a path",
                hint="give each a path of its own",
            )

        def is_name(root: str, name: str) -> bool:
            return self.naming.ref(root + name, kind, team) is not None

        names = self._folders.names(roots, is_name, prefix=prefix, after=after, limit=limit)
        refs = [self.naming.ref(root + name, kind, team) for root, name in names]
        return [Summary(ref=ref, backend=self.name) for ref in refs if ref is not None]

    def _keys(self, folder: str, after: str, limit: int) -> Sequence[str]:
        where = "/".join(
            part for part in (self._mount, *(("metadata",) * self._is_versioned), folder.rstrip("/")) if part
        )
        query = f"?list=true&limit={limit}" + (f"&after={quote(after, safe='')}" if after else "")
        reply = self._session.request("GET", f"/v1/{quote(where)}{query}")
        if reply.status not in (_OK, _ABSENT):
            raise self._refusal(self._mount, "list", where, reply)
        if reply.status == _ABSENT:
            self._mounts.check_absence(self._mount, reply)
            return ()
        data = member(opened(reply, self.name), dict, "data")
        # Of an empty folder an engine that does not know `limit` warns of that, with this status and no keys.
        keys = [] if data == {} and complaints(reply) else member(data, list, "keys")
        if not keys:
            self._mounts.check(self._mount)
        if keys is None or not all(isinstance(key, str) for key in keys):
            raise misshapen(self.name)
        self._mounts.know(self._mount)
        return keys


# --- options -------------------------------------------------------------------------------------------

_KINDS: dict[Kind, str] = {
    "connection": "connections_path",
    "variable": "variables_path",
    "config": "config_path",
}


def _naming(name: str, options: VaultOptions) -> Naming:
    prefixes = {kind: _prefixes(name, key, options) for kind, key in _KINDS.items()}
    return Naming(
        prefixes,
        team_separator="/" if options.use_team_secrets_path else None,
        is_spellable=str.isprintable,  # as the server: of separators it takes the plain space alone
        name_leads=not options.mount_point,
        may_share=True,
    )


def _prefixes(name: str, key: str, options: VaultOptions) -> tuple[str, ...]:
    given = getattr(options, key)
    if given is True:
        raise BackendConfigError(
            f"backend.{name}.{key} must be a path, a list of paths, or false",
            hint="false keeps the kind out of this backend",
        )
    found = () if given is None or given is False else (given,) if isinstance(given, str) else tuple(given)
    every = (*found, *(() if options.global_secrets_path is None else (options.global_secrets_path,)))
    return tuple(path.strip("/") for path in every)


def _is_versioned(name: str, options: VaultOptions) -> bool:
    if options.kv_engine_version not in (1, 2, None):
        raise BackendConfigError(f"backend.{name}.kv_engine_version must be 1 or 2")
    return options.kv_engine_version != 1


BACKEND = Vault
