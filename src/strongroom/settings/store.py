"""`[store]`: where our own tables stand, and what holds the key to them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import SettingsError
from strongroom.settings.source import SecretSource
from strongroom.settings.table import Table, check_most
from strongroom.settings.wrapper import WrapperSettings, wrappers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StoreSettings", "store_of"]

_URL = "store.url"
_SQLITE = "sqlite:///"
_SERVERS = ("postgresql", "postgres", "mariadb", "mysql")
_SHAPE = "postgresql://user@host/database, mariadb://user@host/database, or sqlite:///path"
# The first '@' after the scheme ends who logs in; a ':' before it begins a password.
_PASSWORD = re.compile(r"[^/?#@]*:[^@]*@|[^?]*\?(?:.*&)?password=", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """
    `[store]`: our own tables, for backends of the kind `native`.

    Args:
        path: the SQLite file. Where `url` names a server's database, what a server of ours keeps beside it
            on this machine is kept beside this path.
        url: the address of a server's database instead, without a password.
        password: where the password of its user is fetched from, for each connection.
        wrappers: what holds its outer key; each of them opens the store alone.
        keep_keys_seconds: how long a server goes on with the keys it has while no wrapper opens the store,
            where a key service is one of them.
    """

    path: Path
    wrappers: tuple[WrapperSettings, ...]
    url: str | None = None
    password: SecretSource | None = None
    keep_keys_seconds: float = 86_400.0

    @property
    def place(self) -> str:
        """Where it is: a path, or an address without a password."""
        return self.url or str(self.path)

    @property
    def may_exist(self) -> bool:
        """Whether there may be one: its file is there, or it is a server's, which nobody asks here."""
        return self.url is not None or self.path.exists()


def store_of(table: Table, path: Path, key: Path) -> StoreSettings:
    """
    Make the settings of the table `[store]`.

    Args:
        table: of the store.
        path: the file that is meant where none is named.
        key: the key file that is meant where none is named.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    table.check_keys([member.name for member in fields(StoreSettings)])
    wrappers = wrappers_of(table, key)
    url = table.take("url", str, None)
    rest = {name: value for name, value in table.values.items() if name not in ("wrappers", "url")}
    if url is not None:
        url = _checked(url, table.values)
        if url.startswith(_SQLITE):
            rest["path"], url = url.removeprefix(_SQLITE), None
    if url is None and "password" in rest:
        raise SettingsError("a store in a file has no password", key="store.password", hint=f"say {_URL}")
    found = Table(rest, table.prefix, table.folder).build(
        StoreSettings, defaults={"path": path}, given={"wrappers": wrappers, "url": url}
    )
    kept = found.keep_keys_seconds
    if kept < 1:
        raise SettingsError("store.keep_keys_seconds must be at least 1", key="store.keep_keys_seconds")
    check_most(kept, "store.keep_keys_seconds")
    return found


def _checked(url: str, said: Mapping[str, object]) -> str:
    scheme, mark, rest = url.strip().partition("://")
    if not mark or (scheme not in _SERVERS and not url.startswith(_SQLITE)):
        raise SettingsError(f"{_URL} is no address of a store", key=_URL, hint=_SHAPE)
    if scheme in _SERVERS and _PASSWORD.match(rest):
        raise SettingsError(
            f"{_URL} holds a password", key=_URL, hint='write it as store.password = { file = "/path" }'
        )
    if "path" in said and url.startswith(_SQLITE):
        raise SettingsError(f"{_URL} and store.path both name a file", key=_URL, hint="leave one out")
    return url.strip()
