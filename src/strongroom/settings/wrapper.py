"""
One of `[store] wrappers`: what holds an outer key of the store.

What a kind wants beside its name is read when it is loaded (`options_of`), as that of a backend is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from strongroom.errors import SettingsError
from strongroom.settings.source import SecretSource
from strongroom.settings.table import Table

__all__ = ["LOCAL_WRAPPERS", "WRAPPERS", "WrapperSettings", "wrapper_options", "wrappers_of"]

T = TypeVar("T")

LOCAL_WRAPPERS = ("file", "passphrase", "credential")
WRAPPERS = (*LOCAL_WRAPPERS, "transit", "aws_kms", "gcp_kms", "azure_key")
"""The kinds that may hold a store's outer key; each is a file in `wrappers/`."""

_KEY = "store.wrappers"
_OWN = {"file": "path", "passphrase": "passphrase"}  # what is a setting here, and no option of its kind


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapperSettings:
    """
    One of `[store] wrappers`: what holds the outer key.

    Args:
        kind: one of `WRAPPERS`.
        path: of the key file; unsaid, the deployment's own place.
        passphrase: where it is fetched from; unsaid, it is asked for.
        options: what remains, for the options of its kind.
        folder: what relative paths in it are relative to.
    """

    kind: str
    path: Path | None = None
    passphrase: SecretSource | None = None
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    @property
    def place(self) -> str:
        """Where the key is, for people."""
        if self.path is not None:
            return str(self.path)
        if self.kind == "passphrase":
            return "a passphrase"
        key = self.options.get("key", self.options.get("name"))
        return f"{self.kind} {key}" if isinstance(key, str) else self.kind

    @property
    def is_local(self) -> bool:
        """Whether its key is on this machine, or in somebody's head: nobody else is asked for it."""
        return self.kind in LOCAL_WRAPPERS


def wrappers_of(table: Table, key: Path) -> tuple[WrapperSettings, ...]:
    """
    Make `store.wrappers` of the table `[store]`.

    Args:
        table: of the store.
        key: the key file that is meant where none is named.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    given = table.take("wrappers", tuple[dict[str, Any], ...], ({"kind": "file"},))
    if not given:
        raise SettingsError("a store needs a wrapper", key=_KEY, hint='wrappers = [{ kind = "file" }]')
    return tuple(_wrapper(Table(one, f"{_KEY}.", table.folder), key) for one in given)


def _wrapper(table: Table, key: Path) -> WrapperSettings:
    if "kind" not in table.values:
        raise SettingsError(f"{_KEY}.kind is missing", key=f"{_KEY}.kind")
    kind = table.take("kind", str, "")
    if kind not in WRAPPERS:
        raise SettingsError(f"{_KEY}.kind must be one of {', '.join(WRAPPERS)}", key=f"{_KEY}.kind")
    rest = {name: value for name, value in table.values.items() if name != "kind"}
    for owner, name in _OWN.items():
        if name in rest and owner != kind and kind in _OWN:
            raise SettingsError(f"a wrapper of the kind {kind} has no {name}", key=f"{_KEY}.{name}")
    if kind not in _OWN:
        return WrapperSettings(kind=kind, options=rest, folder=table.folder)
    table.check_keys(["kind", _OWN[kind]])
    path = table.take("path", Path, None)
    return WrapperSettings(
        kind=kind,
        path=(path or key) if kind == "file" else None,
        passphrase=table.take("passphrase", SecretSource, None),
    )


def wrapper_options(
    wrapper: WrapperSettings, shape: type[T], *, environ: Mapping[str, str] = os.environ
) -> T:
    """
    Make the options of a wrapper from what its table says beside its kind.

    Args:
        wrapper: its settings.
        shape: the frozen dataclass of its options. Secrets in it are fetched now.
        environ: where secrets may come from.

    Raises:
        SettingsError: a key that *shape* does not have, a missing or wrong value, a secret written out.
    """
    table = Table(dict(wrapper.options), f"{_KEY}.", wrapper.folder)
    return table.build(shape, environ)
