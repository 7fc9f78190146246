"""
Where entries stand in a key-value engine, as options: prefixes, the version, the shape, what is lent.

Not for where the server is and how to log in (`vault_options.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from strongroom.backend import Naming
from strongroom.backend.naming import WORDS, prefix_option
from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.ref import Kind, Ref
from strongroom.model.shape import Shape
from strongroom.vendors.vault_options import VaultAccess

__all__ = ["VaultOptions", "dynamic_of", "is_versioned", "naming_of", "prefixes_of"]

_MOST_WRAPPED = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOptions(VaultAccess):
    """
    Where things stand; where the server is and how to log in is `VaultAccess`.

    Args:
        mount_point: where the engine is mounted; None or "" when each name says it in its first segment.
        kv_engine_version: 1 or 2.
        connections_path: one prefix or several, asked in order; "" for none; None or False when this
            store keeps no connections. One that ends in "#" is a secret that holds many.
        variables_path: likewise.
        config_path: likewise.
        use_team_secrets_path: a team's names stand below its own folder, and global ones hold no "/".
        global_secrets_path: one prefix more for all three.
        connection_shape: how connections are written: `given`, `uri` and `json` as the text `conn_uri`,
            `fields` each under a key of its own.
        dynamic: by the name of a connection the path that lends its login and password.
        wrap_ttl: ask that what is read comes wrapped, for so long.
    """

    mount_point: str | None = "secret"
    kv_engine_version: int | None = 2
    connections_path: bool | tuple[str, ...] | str | None = "connections"
    variables_path: bool | tuple[str, ...] | str | None = "variables"
    config_path: bool | tuple[str, ...] | str | None = "config"
    use_team_secrets_path: bool = False
    global_secrets_path: str | None = None
    connection_shape: Shape = "given"
    dynamic: Mapping[str, str] = field(default_factory=dict)
    wrap_ttl: timedelta | None = None


def naming_of(name: str, options: VaultOptions) -> Naming:
    """
    Give how the backend *name* spells names.

    Raises:
        BackendConfigError: a prefix is none.
    """
    prefixes = {kind: prefixes_of(name, kind, options) for kind in WORDS}
    return Naming(
        prefixes,
        team_separator="/" if options.use_team_secrets_path else None,
        is_spellable=str.isprintable,  # as the server: of separators it takes the plain space alone
        name_leads=not options.mount_point,
        may_share=True,
    )


def prefixes_of(name: str, kind: Kind, options: VaultOptions) -> tuple[str, ...]:
    """
    Give what the paths of *kind* begin with, in the order asked, without slashes around.

    Raises:
        BackendConfigError: it is none.
    """
    given = prefix_option(name, options, f"{WORDS[kind]}_path")
    found = () if given is None else (given,) if isinstance(given, str) else given
    every = (*found, *(() if options.global_secrets_path is None else (options.global_secrets_path,)))
    return tuple(path.strip("/") for path in every)


def is_versioned(name: str, options: VaultOptions) -> bool:
    """
    Tell whether the engine keeps versions.

    Raises:
        BackendConfigError: there is no such version of the engine.
    """
    if options.kv_engine_version not in (1, 2, None):
        raise BackendConfigError(f"backend.{name}.kv_engine_version must be 1 or 2")
    if options.wrap_ttl is not None and not timedelta(0) < options.wrap_ttl <= _MOST_WRAPPED:
        raise BackendConfigError(f"backend.{name}.wrap_ttl must be above 0 and at most a day")
    return options.kv_engine_version != 1


def dynamic_of(name: str, options: VaultOptions, naming: Naming) -> dict[Ref, str]:
    """
    Give the paths that lend logins and passwords, by the connections they are for.

    Raises:
        BackendConfigError: a name or a path is none, or this backend cannot hold such a connection.
    """
    found: dict[Ref, str] = {}
    for given, path in options.dynamic.items():
        team, _, rest = (
            given.partition("/") if options.use_team_secrets_path and "/" in given else (None, "", given)
        )
        try:
            ref = Ref("connection", rest, team)
        except InvalidInputError as error:
            why = str(error)
        else:
            if not naming.paths(ref):
                why = "this backend cannot hold such a connection"
            elif not _is_path(path):
                why = "what it points at is no path of an engine"
            else:
                found[ref] = path.strip("/")
                continue
        raise BackendConfigError(
            f"backend.{name}.dynamic names what cannot be used: {why}",
            hint='write the name of a connection and a path: { "orders_db" = "database/creds/orders-ro" }',
        )
    return found


def _is_path(given: object) -> bool:
    parts = given.strip("/").split("/") if isinstance(given, str) else ()
    return len(parts) > 1 and all(part.isprintable() and part not in ("", ".", "..") for part in parts)
