"""What comes from outside: settings, environment, clock, and who asks. Not for making anything of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance
from strongroom.settings import Settings, load
from strongroom.vendors.sessions import Sessions

if TYPE_CHECKING:
    from pathlib import Path

_SESSIONS = Sessions()  # one a vendor and process, however many rooms are opened in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """
    What comes from outside: environment, clock, and whom to ask for a passphrase.

    Args:
        sessions: what backends with the same access share; of this process, unless said.
    """

    environ: Mapping[str, str]
    clock: Callable[[], datetime]
    ask: Callable[[], Secret[str]] | None = None
    sessions: Sessions = _SESSIONS


def now() -> datetime:
    """Give the wall clock, UTC."""
    return datetime.now(timezone.utc)


def settings_from(
    config: Settings | str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    cwd: Path | None,
    deployment: str | None,
) -> Settings:
    """Give the settings themselves, or those of a file that is named or looked for."""
    if isinstance(config, Settings):
        return config
    return load(config, environ=environ, cwd=cwd, deployment=deployment)


def local_owner() -> Actor:
    """Give the actor a process without agent or server acts as: its Unix user on this host."""
    return Actor(f"local:{os.geteuid()}", Assurance.HOST_USER)
