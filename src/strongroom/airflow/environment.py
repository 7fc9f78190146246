"""
What Airflow's own backend for the environment answers, which it asks after the configured one.

Not for our backend `env`, which keeps names apart that Airflow does not (`backends/env.py`).

Source: airflow/secrets/environment_variables.py of 3.3.2, in which teams are new.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from strongroom.airflow.process import major
from strongroom.model.environment import AFTER_TEAM, PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.ref import Kind

__all__ = ["has_teams", "in_environment"]


def in_environment(environ: Mapping[str, str], kind: str, name: str, team: str | None) -> str | None:
    """Give what *environ* holds for a connection or variable, of *team* first; None for nothing."""
    prefix = PREFIXES.get(cast("Kind", kind))
    # Else a name could be spelled that is another team's.
    if prefix is None or (AFTER_TEAM in name and has_teams()):
        return None
    of_team = environ.get(f"{prefix}_{team}{AFTER_TEAM}{name}".upper()) if team else None
    return of_team or environ.get(f"{prefix}{name}".upper())


def has_teams() -> bool:
    """Tell whether this Airflow keeps teams apart: 2 never does, nor is there one where none is loaded."""
    configuration = sys.modules.get("airflow.configuration")
    if configuration is None or major() != 3:  # noqa: PLR2004 -- the major version
        return False
    return bool(configuration.conf.getboolean("core", "multi_team", fallback=False))
