"""The environment, and what lies in the project's folders: `.env` and `airflow_settings.yaml`."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Literal

from strongroom.errors import InvalidInputError
from strongroom.insight.git import kept_by_git
from strongroom.model.dotenv import read_lines
from strongroom.model.environment import PREFIXES
from strongroom.service.discovery.place import Place, why

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.service.discovery.place import Surroundings

__all__ = ["environment", "files"]

_DOTENV = ".env"
_ASTRO = "airflow_settings.yaml"
# Of a file that was only come across; one that the settings name may be larger. Reading takes up to 3 s.
_MAX_BYTES = {_DOTENV: 1_048_576, _ASTRO: 262_144}
_MAX_FOLDERS = 32  # from the project's folder up to the top of its checkout
# What an export of connections holds: a URI, or an object with a type.
_CONNECTION = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://|\{.*\"conn_type\"\s*:", re.DOTALL)

_Form = Literal["environment", "connections"]


def environment(around: Surroundings) -> Iterator[Place]:
    """Find entries in the environment."""
    counts = {head: sum(name.startswith(head) for name in around.environ) for head in PREFIXES.values()}
    if any(counts.values()):
        told = ", ".join(f"{count} {head}…" for head, count in counts.items() if count)
        yield Place(title="the environment", name="env", kind="env", where=told, table={})


def files(around: Surroundings) -> Iterator[Place]:
    """Find files in the project's folder, and in those above it up to the top of its checkout."""
    found = [place for folder in _folders(around.cwd) for place in _in_folder(folder, around)]
    kept = kept_by_git([path for place, path in found if place.table is not None], around.environ)
    for place, path in found:
        verdict = kept.get(path)
        is_warned = path.name == _DOTENV and verdict is not None
        warnings = (_warning(path, str(verdict), around),) if is_warned else ()
        # What git takes along is the team's; what it leaves out is one person's.
        is_teams = path.name == _ASTRO and verdict == "tracked"
        yield replace(place, warnings=warnings, is_personal=not is_teams)


def _folders(cwd: Path) -> list[Path]:
    candidates = [cwd, *cwd.parents][:_MAX_FOLDERS]
    top = next((at for at, folder in enumerate(candidates) if os.path.lexists(folder / ".git")), 0)
    return candidates[: top + 1]


def _in_folder(folder: Path, around: Surroundings) -> Iterator[tuple[Place, Path]]:
    looks = ((_DOTENV, "dotenv", "a .env file"), (_ASTRO, "astro", "an Astro project's settings"))
    for file, name, title in looks:
        path = folder / file
        if not os.path.lexists(path):
            continue
        place = Place(title=title, name=name, kind="file", where=around.shown(path))
        yield _judged(place, path), path


def _judged(place: Place, path: Path) -> Place:
    try:
        text = _text(path)
    except OSError as error:
        return replace(place, reason=f"it cannot be read ({why(error)})")
    except _NotPlainError as error:
        return replace(place, reason=str(error))
    linked = {"follow_symlinks": True} if path.is_symlink() else {}
    if path.name == _ASTRO:
        return replace(place, table={"settings": path, **linked})
    form = _form(text)
    if form is None:
        return replace(place, reason="it holds no connections or variables of Airflow")
    return replace(place, table={form: path, **linked})


class _NotPlainError(Exception):
    """A file that is none to be read unasked, in words."""


def _text(path: Path) -> str:
    """Read a file that is plain, ours and of a size to be read unasked."""
    most = _MAX_BYTES[path.name]
    # Not blocking, so that a FIFO cannot hold us.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise _NotPlainError("it is no plain file")
        if found.st_uid not in (0, os.geteuid()):
            raise _NotPlainError("it belongs to another user")
        if found.st_size > most:
            raise _NotPlainError(f"it is over {most >> 10} KiB: it is read where the settings name it")
        with open(file, "rb", closefd=False) as opened:
            return opened.read(most).decode("utf-8", "replace")
    finally:
        os.close(file)


def _form(text: str) -> _Form | None:
    """Tell what a `.env` holds: an environment, an export of connections, or nothing of Airflow's."""
    if any(prefix in text for prefix in PREFIXES.values()):
        return "environment"
    try:
        lines = list(read_lines(text))
    except InvalidInputError:
        return None
    # Any program may keep its settings in a .env: only one that holds nothing else is an export.
    is_export = all(not line.fault and _CONNECTION.match(line.value) for line in lines)
    return "connections" if lines and is_export else None


def _warning(path: Path, verdict: str, around: Surroundings) -> str:
    shown = around.shown(path)
    if verdict == "tracked":
        there = "" if path.parent == around.cwd else f"-C {quote(str(path.parent))} "
        typed = f"git {there}rm --cached {path.name}"
        return f"{shown} is in git with all it holds: {typed}, then change its secrets"
    if verdict == "not ignored":
        return f"{shown} is not ignored by git: add {path.name} to .gitignore"
    return f"whether git ignores {shown} cannot be told: see that .gitignore names it"
