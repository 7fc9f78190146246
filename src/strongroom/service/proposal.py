"""
What was found, as settings files: the team's, and what is only mine.

Not for finding (`discovery/`) or for reading settings (`settings/`).

Rules of this file:

1. The team's file holds no secret and no place in anybody's home: those stand in the folder
   `.strongroom` beside it, which only its owner may open and which keeps itself out of git.
2. A secret is a file of its own there, named by `{ file = … }`; it is never shown.
3. Nothing that stands is written over. The file that makes the others count is written last, so that
   an interrupted writing changes nothing and can be done again.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.secret import Secret
from strongroom.settings import FILE_NAME, PERSONAL_FOLDER, SecretSource

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from strongroom.service.discovery import Discovery, Place
    from strongroom.service.discovery.place import Surroundings

__all__ = ["NewFile", "Proposal", "propose", "write"]

_TEAMS = "Settings of Strongroom: docs/settings.md says what else may stand here."
_MINE = "Only mine, laid over ../strongroom.toml and kept out of git."


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """
    A file to be written.

    Args:
        path: where.
        text: what it is to hold.
        mode: who may read it.
        is_secret: its text is a secret; never shown.
    """

    path: Path
    text: Secret[str] = field(repr=False)
    mode: int = 0o600
    is_secret: bool = False

    @property
    def shown(self) -> str:
        """What of its text may be shown."""
        return "a secret, not shown" if self.is_secret else self.text.reveal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """
    Files to be written, each group on its own yes.

    Args:
        team: `strongroom.toml`; () where one stands.
        mine: all of `.strongroom`; () where one stands or there is nothing for it.
    """

    team: tuple[NewFile, ...]
    mine: tuple[NewFile, ...]


@dataclass(slots=True)
class _Tables:
    """Tables of backends, parted."""

    team: dict[str, dict[str, Any]] = field(default_factory=dict)
    mine: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def propose(
    discovery: Discovery, names: Collection[str], *, deployment: str, has_store: bool, has_team: bool = True
) -> Proposal:
    """
    Give the files that would make settings of what was found.

    Args:
        discovery: what was found.
        names: which of its places; a place that cannot be made would stop every later command.
        deployment: the name of the deployment.
        has_store: there is a store of our own.
        has_team: there is or will be a team's file; without it all stands in what is only mine.
    """
    around = discovery.around
    places = [place for place in discovery.asked if place.name in names]
    tables = _Tables()
    for place in places:
        if place.table:
            _part(place, around, tables, has_team=has_team)
    everything = discovery.chain(names, has_store=has_store)
    teams = [place.name for place in places if place.name in tables.team]
    team_chain = discovery.chain(teams, has_store=has_store)
    settings = {"deployment": deployment, "chain": team_chain, "backend": tables.team}
    team = NewFile(path=around.cwd / FILE_NAME, text=_toml(_TEAMS, settings), mode=0o644)
    is_mine = bool(tables.mine) or (not has_team and bool(names))
    return Proposal(
        team=() if os.path.lexists(team.path) else (team,),
        mine=_mine(around.cwd, tables, everything) if is_mine else (),
    )


def _mine(cwd: Path, tables: _Tables, chain: list[str]) -> tuple[NewFile, ...]:
    folder = cwd / PERSONAL_FOLDER
    if os.path.lexists(folder / FILE_NAME):
        return ()
    secrets = [
        NewFile(path=folder / name, text=Secret(text), is_secret=True)
        for name, text in tables.secrets.items()
    ]
    settings = NewFile(path=folder / FILE_NAME, text=_toml(_MINE, {"chain": chain, "backend": tables.mine}))
    return (NewFile(path=folder / ".gitignore", text=Secret("*\n")), *secrets, settings)


# --- whose it is -------------------------------------------------------------------------------------


def _part(place: Place, around: Surroundings, tables: _Tables, *, has_team: bool) -> None:
    """Put each option of *place* where it belongs."""
    team: dict[str, Any] = {}
    mine: dict[str, Any] = {}
    is_mine = place.is_personal or not has_team
    for key, value in (place.table or {}).items():
        if isinstance(value, SecretSource) and value.kind == "text":
            name = f"{place.name}-{key}".replace("_", "-")
            tables.secrets[name] = value.argument[0]
            mine[key] = {"file": name}
        elif is_mine or _is_personal(value, around):
            mine[key] = _plain(value, around, base=around.cwd / PERSONAL_FOLDER)
        else:
            team[key] = _plain(value, around, base=around.cwd)
    kind = {} if place.kind == place.name else {"kind": place.kind}
    if is_mine:
        mine = kind | mine
    else:
        tables.team[place.name] = kind | team
    if mine:
        tables.mine[place.name] = mine


def _is_personal(value: object, around: Surroundings) -> bool:
    if isinstance(value, SecretSource):
        return value.kind == "file" and around.is_personal(Path(value.argument[0]))
    # A table of a vendor's own may hold anything, a private key too.
    return isinstance(value, dict) or (isinstance(value, Path) and around.is_personal(value))


def _plain(value: object, around: Surroundings, *, base: Path) -> object:
    """Give *value* as TOML has it, paths relative to *base* where they are the project's."""
    if isinstance(value, SecretSource):
        text = value.argument[0]
        return {value.kind: _plain(Path(text), around, base=base) if value.kind == "file" else text}
    if not isinstance(value, Path):
        return value
    return os.path.relpath(value, base) if value.is_relative_to(around.cwd) else str(value)


def _toml(comment: str, settings: Mapping[str, Any]) -> Secret[str]:
    import tomlkit  # noqa: PLC0415 -- only who writes settings needs it

    document = tomlkit.document()
    document.add(tomlkit.comment(comment))
    for key, value in settings.items():
        if not isinstance(value, dict):
            document.add(key, tomlkit.item(value))
    backends = tomlkit.table(is_super_table=True)
    for name, options in settings["backend"].items():
        table = tomlkit.table()
        for key, value in options.items():
            table.add(key, _inline(value) if isinstance(value, dict) else tomlkit.item(value))
        backends.add(name, table)
    if settings["backend"]:
        document.add("backend", backends)
    return Secret(tomlkit.dumps(document))


def _inline(value: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- tomlkit's own
    import tomlkit  # noqa: PLC0415 -- as `_toml`

    table = tomlkit.inline_table()
    table.update(value)
    return table


# --- writing it --------------------------------------------------------------------------------------


def write(files: Collection[NewFile]) -> None:
    """
    Write *files* in their order; all of them are on the disk before this returns.

    Raises:
        ConflictError: a settings file stands there meanwhile.
        InvalidInputError: a file cannot be written.
    """
    for file in files:
        try:
            _write(file)
        except FileExistsError:
            raise ConflictError(f"{file.path} exists already", hint="it was left as it is") from None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise InvalidInputError(f"{file.path} cannot be written: {reason}") from None


def _write(file: NewFile) -> None:
    folder = file.path.parent
    if folder.name == PERSONAL_FOLDER:
        folder.mkdir(mode=0o700, exist_ok=True)
    draft = folder / f".{file.path.name}.{secrets.token_hex(8)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, file.mode)
    try:
        with os.fdopen(handle, "wb") as opened:
            os.fchmod(handle, file.mode)
            opened.write(file.text.reveal().encode())
            opened.flush()
            os.fsync(handle)
        # What stands beside a settings file that is not there yet is left over from an interrupted writing.
        _put(draft, file.path) if file.path.name == FILE_NAME else draft.replace(file.path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(folder)


def _put(draft: Path, path: Path) -> None:
    """Give *draft* the name *path*, whole or not at all, over nothing that stands."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError from None
        draft.replace(path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
