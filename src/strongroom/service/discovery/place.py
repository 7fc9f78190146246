"""One place that was found, and where it was looked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Place", "Surroundings", "why"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    One place that may hold connections and variables.

    Args:
        title: what it is, for people.
        name: what a chain would call it; "" where no backend reads it.
        kind: the backend that reads it.
        where: what named it: files and variables, never their values.
        table: options of the `[backend.NAME]` it proposes: plain values, `Path`s, and a `SecretSource`
            where a secret belongs; None where it cannot be asked.
        reason: why it cannot be asked; "" where it can.
        warnings: what to look at though it can be.
        is_first: it is asked before the environment, as Airflow asks its custom backend.
        is_personal: only for this user: not for the team's settings.
        is_guess: nothing says that it holds anything of Airflow's; it counts only where it does.
        needs_command: the settings whose values commands have to give, which nobody has agreed to yet.
    """

    title: str
    name: str = ""
    kind: str = ""
    where: str = ""
    table: Mapping[str, Any] | None = field(default=None, repr=False)
    reason: str = ""
    warnings: tuple[str, ...] = ()
    is_first: bool = False
    is_personal: bool = False
    is_guess: bool = False
    needs_command: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str | Path, ...]:
        """What tells it from another place of its kind: its address or its files."""
        table = self.table or {}
        address = table.get("url")
        return (address,) if address else tuple(value for value in table.values() if isinstance(value, Path))

    def settings(self) -> dict[str, Any]:
        """Give its table as `settings.load(tables=…)` takes it."""
        plain = {
            key: str(value) if isinstance(value, Path) else value for key, value in (self.table or {}).items()
        }
        return plain if self.kind == self.name else {"kind": self.kind, **plain}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """
    Where to look.

    Args:
        environ: the environment.
        cwd: the project's folder, absolute.
        home: the user's home, where there is one.
        may_run: commands named by Airflow's configuration may be run.
    """

    environ: Mapping[str, str] = field(repr=False)
    cwd: Path
    home: Path | None = None
    may_run: bool = False

    def shown(self, path: Path) -> str:
        """Give *path* as people write it."""
        for folder, short in ((self.cwd, "."), (self.home, "~")):
            if folder is not None and path != folder and path.is_relative_to(folder):
                return f"{short}/{path.relative_to(folder)}"
        return str(path)

    def is_personal(self, path: Path) -> bool:
        """Tell whether *path* is in the user's home, and not in a project that lies there."""
        if self.home is None or not path.is_relative_to(self.home):
            return False
        is_project = self.cwd != self.home and self.cwd.is_relative_to(self.home)
        return not (is_project and path.is_relative_to(self.cwd))

    def set_of(self, *names: str) -> list[str]:
        """Give those of *names* that the environment sets."""
        return [name for name in names if self.environ.get(name)]

    def at_home(self, *paths: str) -> list[Path]:
        """Give those of *paths* below the user's home that are there."""
        found = [] if self.home is None else [self.home / path for path in paths]
        return [path for path in found if os.path.lexists(path)]


def why(error: Exception) -> str:
    """Give the reason of a failure in the system's words, which hold nothing of a file."""
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) else type(error).__name__
