"""
Where the settings stand: the files, what is laid over them, and the folders they are otherwise in.

Not for what they say (`table.py`, `shape.py`).

Rules of this file:

1. What is only mine, `.strongroom/strongroom.toml`, is laid over the team's file: tables key by key,
   everything else replaced. It counts only where it belongs to me and is closed to others.
2. What a file in the working directory would run, fetch or send counts only once somebody agreed to it
   (`consent.py`) or named the file.
3. Over both lies what names the copies that `strongroom dev` made, `.strongroom/dev/strongroom.toml`, on
   the same terms.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from strongroom.consent import Consent, reach
from strongroom.errors import InvalidInputError, SettingsError
from strongroom.model.ref import check_deployment
from strongroom.settings.shape import Home
from strongroom.settings.source import reason, shell_word
from strongroom.settings.table import PERSONAL_FOLDER, Placed, Text, parse, unknown

__all__ = ["COPIES_FOLDER", "FILE_NAME", "Found", "choose", "find", "home_of", "override", "working_folder"]

FILE_NAME = "strongroom.toml"
COPIES_FOLDER = f"{PERSONAL_FOLDER}/dev"
_MAX_FILE_BYTES = 1_048_576  # 1 MiB of settings
_PREFIX = "STRONGROOM__"
_XDG = {
    "data": ("XDG_DATA_HOME", ".local/share"),
    "config": ("XDG_CONFIG_HOME", ".config"),
    "state": ("XDG_STATE_HOME", ".local/state"),
}
_SYSTEM_RUNTIME = "/run/strongroom"
_SOCKET = "agent.sock"


def working_folder() -> Path:
    """
    Give the working directory.

    Raises:
        SettingsError: it was deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise SettingsError("the working directory is not there any more", hint="cd to one that is") from None


# --- the files ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Found:
    """
    The files that were found, as they were parsed. It does not print: a secret may stand in the wrong place.

    Args:
        source: the settings file, and *tables*, what it holds.
        personal: the file of what is only mine, and *mine*, what it holds.
        folder: where they were only come across; None where the user named them.
        copies: the file that names copies made for local work, and *copied*, what it holds.
    """

    source: Path | None
    personal: Path | None
    folder: Path | None
    tables: dict[str, Any]
    mine: dict[str, Any]
    copies: Path | None = None
    copied: dict[str, Any] = field(default_factory=dict)

    def laid_under(self, tables: Mapping[str, Any], cwd: Path) -> dict[str, Any]:
        """Give what the files say with *tables* over it; paths in *tables* are relative to *cwd*."""
        read = self.tables
        if self.personal is not None:
            read = _laid_over(read, _placed(self.mine, self.personal.parent))
        if self.copies is not None:
            read = _laid_over(read, _placed(self.copied, self.copies.parent))
        return _laid_over(read, _placed(tables, cwd))

    def consent(self, environ: Mapping[str, str]) -> Consent | None:
        """Give what the files that were only come across need a yes for; None where they need none."""
        if self.folder is None:
            return None
        is_here = self.source is not None and self.source.parent == self.folder
        parts = reach(_laid_over(_laid_over(self.tables if is_here else {}, self.mine), self.copied))
        named = environ.get("STRONGROOM_HOME")
        home = Path(named).absolute() if named else _user_folder(environ, "config") / "strongroom"
        file = self.source if is_here else self.personal or self.copies
        # A file in the user's own folder was put there by him, wherever he stands.
        if file is None or not parts or self.folder == home:
            return None
        return Consent(file=file, home=home, parts=parts)

    def check_consent(self, environ: Mapping[str, str]) -> None:
        """
        Refuse files that need a yes which nobody gave.

        Raises:
            SettingsError: they do; `key` names the first thing that they would run or ask.
        """
        needed = self.consent(environ)
        if needed is None or needed.is_given:
            return
        name_it = f"--config {shell_word(needed.file)}, or STRONGROOM_CONFIG"
        raise SettingsError(
            f"nobody agreed yet to what {needed.file} runs or asks: {', '.join(needed.parts)}",
            key=next(iter(needed.parts)),
            hint=f"strongroom up shows it and asks; or, if you trust it, name it: {name_it}",
        )


def find(
    config: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    with_copies: bool = True,
) -> Found:
    """
    Find the settings file and the files of what is only mine, and read them. The arguments are those of
    `strongroom.settings.load`.

    Raises:
        SettingsError: a file that is named and cannot be read, or that is not to be trusted as it is.
    """
    source = _find_file(config, environ, cwd)
    is_named = bool(config or environ.get("STRONGROOM_CONFIG"))
    folder = source.parent if source is not None and is_named else cwd
    personal = _find_personal(folder, PERSONAL_FOLDER)
    has_copies = with_copies and (folder / PERSONAL_FOLDER).is_dir()
    copies = _find_personal(folder, PERSONAL_FOLDER, COPIES_FOLDER) if has_copies else None
    return Found(
        source=source,
        personal=personal,
        folder=None if is_named else cwd,
        tables={} if source is None else _read(source),
        mine={} if personal is None else _read(personal),
        copies=copies,
        copied={} if copies is None else _read(copies),
    )


def _find_file(config: str | os.PathLike[str] | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = config or environ.get("STRONGROOM_CONFIG")
    if named:
        _check_path(os.fspath(named), "STRONGROOM_CONFIG")
        return cwd / named
    _check_path(environ.get("STRONGROOM_HOME", ""), "STRONGROOM_HOME")
    candidates = [cwd / FILE_NAME]
    if environ.get("STRONGROOM_HOME"):
        candidates.append(cwd / environ["STRONGROOM_HOME"] / FILE_NAME)
    else:
        candidates += [folder / "strongroom" / FILE_NAME for folder in _config_folders(environ)]
    return next((path for path in candidates if _is_file(path, must_be_ours=True)), None)


def _check_path(text: str, key: str) -> None:
    try:
        is_path = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise SettingsError(f"{key} is not a path", key=key)


def _is_file(path: Path, *, must_be_ours: bool) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    if must_be_ours and found.st_uid not in (0, os.geteuid()):
        # A settings file can name commands to run: one that was only come across must be our own.
        raise SettingsError(
            f"the settings file {path} belongs to another user",
            hint=f"if you trust it, name it: --config {shell_word(path)}",
        )
    return stat.S_ISREG(found.st_mode)


def _find_personal(folder: Path, *inner: str) -> Path | None:
    """
    Find the file of what is only mine in the last of the folders *inner*, if it is there and mine.

    Somebody else's is passed over: in a folder that several work in, each has his own.
    """
    folders = [folder / name for name in inner]
    path = folders[-1] / FILE_NAME
    # Others may see that a folder is there, but change nothing in it; the file names secrets.
    for each, is_kind, closed in (
        *((one, stat.S_ISDIR, 0o022) for one in folders),
        (path, stat.S_ISREG, 0o077),
    ):
        try:
            found = each.lstat()
        except OSError:
            return None
        if found.st_uid != os.geteuid():
            return None
        if not is_kind(found.st_mode):
            raise SettingsError(
                f"the personal settings {each} are no plain {'folder' if each in folders else 'file'}",
                hint="move them there: a link could lead to somebody else's",
            )
        if found.st_mode & closed:
            mode = "700" if each in folders else "600"
            raise SettingsError(
                f"the personal settings {each} are open to others", hint=f"chmod {mode} {shell_word(each)}"
            )
    return path


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Give *below* with *above* over it: tables key by key, everything else replaced."""
    made = dict(below)
    for key, value in above.items():
        under = made.get(key)
        is_merged = isinstance(value, Mapping) and not _is_source(value)
        # A copy in any case: what is laid over may be changed by `override`.
        inner = under if isinstance(under, Mapping) and not _is_source(under) else {}
        made[key] = _laid_over(inner, value) if is_merged else value
    return made


def _is_source(table: Mapping[str, Any]) -> bool:
    """Tell whether *table* says where a secret comes from: such a table is one value."""
    if len(table) != 1:
        return False
    ((key, value),) = table.items()
    return (key in ("file", "env") and isinstance(value, str)) or (
        key == "command" and isinstance(value, list)
    )


def _placed(value: Any, folder: Path) -> Any:  # noqa: ANN401 -- as it was parsed
    """Give *value* with every text in it knowing the folder its path would be relative to."""
    if isinstance(value, str):
        return Placed(value, folder)
    if isinstance(value, Mapping):
        return {key: _placed(item, folder) for key, item in value.items()}
    return [_placed(item, folder) for item in value] if isinstance(value, (list, tuple)) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read ({reason(error)})") from None
    if mode & 0o002:
        raise SettingsError(
            f"the settings file {path} may be changed by anybody", hint=f"chmod o-w {shell_word(path)}"
        )
    if len(data) > _MAX_FILE_BYTES:
        raise SettingsError(f"the settings file {path} has more than {_MAX_FILE_BYTES} bytes")
    return parse(data, path)


# --- one deployment of them -----------------------------------------------------------------------


def choose(
    tables: dict[str, Any], wanted: str | None, *, has_file: bool
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """
    Give the wanted deployment's name and table, and the names of the others.

    Raises:
        SettingsError: there is no such deployment, or the tables of deployments cannot be right.
    """
    first = tables.get("deployment", "default")
    others = tables.get("deployments", {})
    if not isinstance(first, str):
        raise SettingsError(
            "deployment must be the name of the first deployment",
            key="deployment",
            hint="others stand under [deployments.NAME]",
        )
    if not isinstance(others, dict) or not all(isinstance(table, dict) for table in others.values()):
        raise SettingsError("deployments must hold tables", key="deployments", hint="[deployments.NAME]")
    names = [_deployment(first, "deployment"), *(_deployment(name, "deployments") for name in others)]
    if len(set(names)) < len(names):
        raise SettingsError(f"the deployment {first} stands twice", key=f"deployments.{first}")
    if wanted is None or wanted == first or not has_file:
        top = {key: value for key, value in tables.items() if key not in ("deployment", "deployments")}
        return _deployment(wanted or first, "deployment"), top, tuple(names[1:])
    if wanted not in others:
        raise unknown("deployment", "", wanted, names)
    if "server" in others[wanted]:
        raise SettingsError(
            "server stands once, at the top of the file: one process serves all deployments",
            key=f"deployments.{wanted}.server",
            hint="[server]",
        )
    return wanted, dict(others[wanted]), tuple(name for name in names if name != wanted)


def _deployment(name: str, key: str) -> str:
    try:
        return str(check_deployment(name))  # a plain one: it goes into rows, which know no other text
    except InvalidInputError as error:
        raise SettingsError(str(error), key=key) from None


def override(tables: dict[str, Any], environ: Mapping[str, str]) -> None:
    """
    Put every `STRONGROOM__SECTION__KEY` of *environ* over *tables*, a deployment's.

    Raises:
        SettingsError: a variable that can name no setting.
    """
    for variable in sorted(environ):
        if variable.startswith(_PREFIX):
            _override(tables, variable, environ[variable])


def _override(tables: dict[str, Any], variable: str, text: str) -> None:
    """Put the value of `STRONGROOM__SECTION__KEY` where the file would have it."""
    *path, last = variable.removeprefix(_PREFIX).lower().split("__")
    table = tables
    for part in path:
        # A copy: what was read from the file may be shared with another deployment's table.
        inner = table.get(part, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{variable} names a key inside {part}, which is not a table", key=variable)
        table[part] = table = dict(inner)
    if not path and last in ("deployment", "deployments"):
        raise SettingsError(f"{variable} names no setting", key=variable, hint="STRONGROOM_DEPLOYMENT=NAME")
    if not last or not all(path):
        raise SettingsError(f"{variable} names no setting", key=variable, hint="STRONGROOM__SECTION__KEY")
    table[last] = Text(text)


# --- default places -------------------------------------------------------------------------------


def home_of(environ: Mapping[str, str], deployment: str, *, is_first: bool) -> Home:
    """
    Give where the files of *deployment* stand unless its settings say otherwise.

    With `STRONGROOM_HOME` the file's first deployment has that folder itself, each other one a folder in it.
    What an agent keeps goes where systemd made a place for it, if it did (`STATE_DIRECTORY`).

    Raises:
        SettingsError: `STRONGROOM_HOME` cannot be a path.
    """
    if environ.get("STRONGROOM_HOME"):
        try:
            environ["STRONGROOM_HOME"].encode()
        except UnicodeEncodeError:
            raise SettingsError("STRONGROOM_HOME is not UTF-8", key="STRONGROOM_HOME") from None
        home = Path(environ["STRONGROOM_HOME"]).absolute()
        home = home if is_first else home / deployment
        return Home(home / "store.db", home / "audit", home / "key", home / "agent", _socket_of(environ))
    data = _user_folder(environ, "data") / "strongroom" / deployment
    key = _user_folder(environ, "config") / "strongroom" / f"{deployment}.key"
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd.exec(5)
    kept = Path(given) if given.startswith("/") else _user_folder(environ, "state") / "strongroom"
    return Home(data / "store.db", data / "audit", key, kept / deployment / "agent", _socket_of(environ))


def _socket_of(environ: Mapping[str, str]) -> Path | None:
    """
    Give where an agent answers: in systemd's folder for it, in `STRONGROOM_HOME`, in my runtime folder, or in
    the system's. Processes look for it there: `place.default_sockets`.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return Path(given) / _SOCKET
    if environ.get("STRONGROOM_HOME"):
        return Path(environ["STRONGROOM_HOME"]).absolute() / "run" / _SOCKET
    mine = environ.get("XDG_RUNTIME_DIR", "")
    if mine.startswith("/"):
        return Path(mine) / "strongroom" / _SOCKET
    return Path(_SYSTEM_RUNTIME) / _SOCKET if os.geteuid() == 0 else None


def _user_folder(environ: Mapping[str, str], which: Literal["data", "config", "state"]) -> Path:
    variable, below_home = _XDG[which]
    if sys.platform == "linux" and environ.get("HOME"):
        # The given environment decides, so that nothing here reads another one behind its back.
        named = environ.get(variable, "")
        return Path(named) if named.startswith("/") else Path(environ["HOME"]) / below_home
    import platformdirs  # noqa: PLC0415 -- Linux needs it only without a home

    if which == "state":
        return platformdirs.user_state_path()
    return platformdirs.user_data_path() if which == "data" else platformdirs.user_config_path()


def _config_folders(environ: Mapping[str, str]) -> list[Path]:
    if sys.platform == "linux":
        named = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg:/etc"
        system = [Path(folder) for folder in named.split(":") if folder.startswith("/")]
    else:
        import platformdirs  # noqa: PLC0415 -- as above

        system = [platformdirs.site_config_path()]
    return [_user_folder(environ, "config"), *system]
