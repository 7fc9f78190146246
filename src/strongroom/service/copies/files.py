"""
Copies as files of other tools: `.env` and `airflow_settings.yaml`, in clear.

Rules of this file:

1. A file is written only where git does not keep it and would not: one that is tracked is refused.
2. It is mine alone (0600), written whole or not at all.
3. In a `.env` only the lines between two marks are ours. An `airflow_settings.yaml` is ours as a whole or
   not at all: one that somebody else wrote is left as it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.insight.git import kept_by_git
from strongroom.model.astro import format_settings
from strongroom.model.secret import Secret
from strongroom.service.copies.folder import erase, put

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from strongroom.service.copies.folder import Into
    from strongroom.service.room import Room

__all__ = ["FILES", "check_git", "ignore", "remove", "write"]

FILES: Mapping[Into, str] = {"env": ".env", "airflow-settings": "airflow_settings.yaml"}

_BEGIN = "# >>> strongroom dev"
_END = "# <<< strongroom dev"
_OURS = "# Written by strongroom dev"
_MAX_BYTES = 16_777_216  # 16 MiB: as much as a .env may have to begin with
_REASON = "strongroom dev: written as a file"


def check_git(path: Path, environ: Mapping[str, str]) -> bool:
    """
    Tell whether git ignores *path*, or does not know of it at all.

    Args:
        path: a file to be written.
        environ: for `PATH` and `HOME`.

    Raises:
        ConflictError: git tracks it.
        InvalidInputError: git cannot be asked.
    """
    verdict = kept_by_git([path], environ).get(path)
    if verdict == "tracked":
        raise ConflictError(
            f"git tracks {path.name}, so secrets in it would be committed",
            hint=f"git rm --cached {path.name}; or copy into the store, which is the default",
        )
    if verdict == "cannot be told":
        raise InvalidInputError(
            f"git cannot be asked whether it would take {path.name} along",
            hint="install git; or copy into the store, which is the default",
        )
    return verdict is None


def ignore(path: Path) -> None:
    """
    Add a line for *path* to the `.gitignore` beside it.

    Raises:
        InvalidInputError: it cannot be written.
    """
    file = path.parent / ".gitignore"
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        gap = "" if not text or text.endswith("\n") else "\n"
        with file.open("a", encoding="utf-8") as opened:
            opened.write(f"{gap}/{path.name}\n")
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError(
            f"{file} cannot be changed", hint=f"add this line to it: /{path.name}"
        ) from None


def write(
    store: Room,
    path: Path,
    into: Into,
    *,
    source: str,
    expires: datetime,
    team: str | None = None,
) -> None:
    """
    Write what *store* holds to *path*, in clear.

    Args:
        store: a room with nothing but the copies.
        path: the file.
        into: its form.
        source: where they are from, in words; stands in the file.
        expires: until when they are good; stands in the file.
        team: exactly this team's entries, or the global ones.

    Raises:
        ConflictError: somebody else's `airflow_settings.yaml` stands there.
        InvalidInputError: F13, the file cannot hold a name; or it cannot be written.
    """
    about = f"copies from {source}, good until {expires:%Y-%m-%dT%H:%MZ}: strongroom dev clean removes them"
    before = _read(path)
    if into == "env":
        put(path, _around(before) + f"{_BEGIN}: {about}\n{_env(store, team)}{_END}\n")
        return
    if before and not before.startswith(_OURS):
        raise ConflictError(
            f"{path.name} is there already and is not of strongroom dev",
            hint="move it away, or copy into the store, which is the default",
        )
    put(path, f"{_OURS}: {about}\n{_settings(store, team).reveal()}")


def remove(path: Path) -> bool:
    """
    Remove what `write` wrote at *path*, and nothing else; tell whether there was anything.

    Raises:
        InvalidInputError: it cannot be done.
    """
    before = _read(path)
    if before.startswith(_OURS):
        _erase(path)
        return True
    rest = _around(before)
    if rest == before:
        return False
    if rest.strip():
        put(path, rest)
    else:
        _erase(path)
    return True


def _erase(path: Path) -> None:
    try:
        erase(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidInputError(f"{path} cannot be removed: {reason}") from None


def _read(path: Path) -> str:
    if not os.path.lexists(path):
        return ""
    if path.is_symlink() or not path.is_file():
        raise InvalidInputError(f"{path} is no plain file", hint="move it away")
    try:
        with path.open("rb") as opened:
            text = opened.read(_MAX_BYTES + 1).decode()
            is_whole = opened.tell() <= _MAX_BYTES  # what was left unread would be lost with the next writing
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError(f"{path} cannot be read as text", hint="move it away") from None
    if not is_whole:
        raise InvalidInputError(f"{path} is over {_MAX_BYTES} bytes", hint="move it away", limit=_MAX_BYTES)
    return text


def _around(text: str) -> str:
    """Give *text* without our lines, ending in a line break unless it is empty."""
    kept: list[str] = []
    is_ours = False
    for line in text.split("\n"):
        is_ours = is_ours or line.startswith(_BEGIN)
        if not is_ours:
            kept.append(line)
        is_ours = is_ours and not line.startswith(_END)
    if is_ours:
        raise InvalidInputError(
            f"the lines of strongroom dev in the .env do not end with {_END}", hint="mend them by hand"
        )
    rest = "\n".join(kept)
    return rest if not rest or rest.endswith("\n") else f"{rest}\n"


def _env(store: Room, team: str | None) -> str:
    said = {"team": team, "reason": _REASON, "is_environment": True}
    connections = store.transfer.export_connections("env", **said)  # type: ignore[arg-type]
    variables = store.transfer.export_variables("env", descriptions=False, **said)  # type: ignore[arg-type]
    return connections.reveal() + variables.reveal()


def _settings(store: Room, team: str | None) -> Secret[str]:
    if team is not None:
        raise InvalidInputError("airflow_settings.yaml knows no teams", hint="leave --team out")
    lookup = store.lookup
    connections = {name: lookup.connection(name) for name in _names(store, "connection")}
    variables = {name: lookup.variable_entry(name).secret.reveal() for name in _names(store, "variable")}
    return Secret(format_settings(connections, variables))


def _names(store: Room, kind: str) -> Iterable[str]:
    pages = store.inventory.pages(kind)  # type: ignore[arg-type]
    return [row.ref.name for page in pages for row in page]
