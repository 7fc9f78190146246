"""
Settings → what the process that writes the records is told.

Secrets of witnesses and sinks are fetched here, in the server, and go over its socket.
"""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.audit.desk import Plan
from strongroom.settings import SecretSource, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.settings import Settings

__all__ = ["plan_of"]


def plan_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Plan:
    """
    Give what the process must know to write the log of a deployment.

    Args:
        settings: of the deployment.
        environ: where secrets in them are fetched from.

    Raises:
        SettingsError: a secret cannot be fetched.
    """
    audit = settings.audit
    duties = {
        member.name: _plain(getattr(audit, member.name), environ)
        for member in fields(audit)
        if member.name != "path"
    }
    return Plan(folder=audit.path, deployment=settings.deployment, duties=duties)


def _plain(found: Any, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 -- any shape there may be
    if isinstance(found, SecretSource):
        return resolve(found, environ=environ).reveal()
    if is_dataclass(found) and not isinstance(found, type):
        return {member.name: _plain(getattr(found, member.name), environ) for member in fields(found)}
    if isinstance(found, Path):
        return str(found)
    if isinstance(found, timedelta):
        return found.total_seconds()
    return [_plain(item, environ) for item in found] if isinstance(found, tuple) else found
