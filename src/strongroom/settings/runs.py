"""What `[access.airflow]` is: how runs of Airflow are verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["AirflowRunSettings", "runs_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowRunSettings:
    """
    `[access.airflow]`.

    Args:
        issuer: of the execution tokens.
    """

    issuer: str


def runs_of(table: Table) -> AirflowRunSettings:
    """
    Make `[access.airflow]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    return table.build(AirflowRunSettings)
