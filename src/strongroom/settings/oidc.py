"""What `[access.oidc]` is: the provider people log in with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["OidcSettings", "oidc_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """
    `[access.oidc]`.

    Args:
        issuer: of the provider.
    """

    issuer: str


def oidc_of(table: Table) -> OidcSettings:
    """
    Make `[access.oidc]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    return table.build(OidcSettings)
