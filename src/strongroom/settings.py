"""
File and environment → frozen Settings.

Not for building objects (`assembly.py`). With `place.py` the only reader of the environment.

Rules of this file:

1. An unknown key is refused with the nearest name; a wrong value with what would be right. Errors
   name keys and never values.
2. Secrets are written `{ file = "…" }`, `{ env = "…" }` or `{ command = […] }`, and are fetched when
   the backend that needs them is built, not when the file is read.
3. Numbers carry the unit the key says; paths are relative to the file they stand in.
4. What is only mine, `.strongroom/strongroom.toml`, is laid over the team's file: tables key by key,
   everything else replaces. It counts only where it belongs to me and is closed to others.
5. What a file in the working directory would run, fetch or send counts only once somebody agreed to it
   (`consent.py`) or named the file.

Every setting is described in docs/settings.md.
"""

from __future__ import annotations

import math
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, BinaryIO, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from strongroom.consent import Consent, reach
from strongroom.errors import InvalidInputError, SettingsError
from strongroom.model.ref import Kind, check_deployment
from strongroom.model.secret import Secret

__all__ = [
    "BackendSettings",
    "SecretSource",
    "Settings",
    "WrapperSettings",
    "consent",
    "load",
    "options",
    "output_of",
    "resolve",
    "working_folder",
]

T = TypeVar("T")

FILE_NAME = "strongroom.toml"
PERSONAL_FOLDER = ".strongroom"
_MAX_FILE_BYTES = 1_048_576  # 1 MiB of settings
_MAX_SECRET_BYTES = 65_536  # one secret of the settings
_COMMAND_SECONDS = 10.0
_MAX_NUMBER = 1_000_000_000  # of seconds, about 31 years: clocks and locks cannot count much further
_PREFIX = "STRONGROOM__"
_BACKEND_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]{0,62})", re.ASCII)
# Container runtimes mount secrets here with modes of their own (0444), inside a namespace of their own.
_CONTAINER_SECRETS = ("/run/secrets/", "/var/run/secrets/")
OnUnavailable = Literal["stale", "stop", "next"]
Dialect = Literal["core", "sdk"]


# --- what the settings are -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """
    Where a secret of the settings is fetched from.

    Args:
        kind: `file`, `env`, `command`, or `text` for one given directly in the environment.
        argument: path, name of the variable, command and its arguments, or the text.
        key: the setting it belongs to.
    """

    kind: Literal["file", "env", "command", "text"]
    argument: tuple[str, ...] = field(repr=False)
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """
    One `[backend.NAME]`.

    Args:
        name: how the chain calls it.
        kind: which backend it is; the name if unsaid.
        match: patterns (`prod/*`) of the names it is asked for; () for all.
        kinds: kinds it is asked for; () for all.
        on_unavailable: serve the last good value inside `cache.stale_if_error`, stop, or ask the next.
        team_fallback: ask for the global name where the team has none.
        references: resolve `${connection.…}` and `${variable/…}` in what it holds.
        timeout_seconds: for one answer of this backend; `lookup.timeout_seconds` if unsaid.
        options: what remains, for the options of its kind.
        folder: what relative paths in it are relative to.
    """

    name: str
    kind: str
    match: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    on_unavailable: OnUnavailable = "stale"
    team_fallback: bool = True
    references: bool = False
    timeout_seconds: float | None = None
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    def path(self, key: str) -> Path:
        """
        Give the path an option names, whichever file it stands in.

        Raises:
            SettingsError: it is no path.
        """
        return _Converter(f"backend.{self.name}.{key}", self.folder, {}).path(self.options.get(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """
    `[cache]`: how long values are remembered.

    Args:
        ttl: seconds a value is fresh.
        stale_if_error: seconds after that in which it still answers while its backend is down.
        absent_ttl: seconds an absence is remembered.
        max_entries: values kept at most; and as many absences.
    """

    ttl: float = 300.0
    stale_if_error: float = 900.0
    absent_ttl: float = 10.0
    max_entries: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupSettings:
    """
    `[lookup]`: how a lookup is made.

    Args:
        timeout_seconds: for one answer of one backend.
        deadline_seconds: for the whole lookup.
        dialect: how stored connections are read: as Airflow's core or as its task SDK does.
    """

    timeout_seconds: float = 3.0
    deadline_seconds: float = 10.0
    dialect: Dialect = "core"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapperSettings:
    """
    One of `[store] wrappers`: what holds the outer key.

    Args:
        kind: `file` or `passphrase`.
        path: of the key file; unsaid, the deployment's own place.
        passphrase: where it is fetched from; unsaid, it is asked for.
    """

    kind: Literal["file", "passphrase"]
    path: Path | None = None
    passphrase: SecretSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """
    `[store]`: our own tables, for backends of the kind `native`.

    Args:
        path: the SQLite file.
        wrappers: what holds its outer key; each of them opens the store alone.
    """

    path: Path
    wrappers: tuple[WrapperSettings, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """
    `[audit]`: the record of what happened.

    Args:
        path: the folder of the log.
    """

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    One deployment's settings, complete: every default is filled in.

    Args:
        deployment: its name.
        chain: names of backends in the order they are asked; () for `env` and, where there is a
            store, `native`.
        write_to: the backend that new entries go to; None for the only one that can be written.
        source: the file they came from, or None.
        others: the other deployments that the file knows.
        personal: the file of what is only mine that was laid over it, or None.
    """

    deployment: str
    chain: tuple[str, ...]
    write_to: str | None
    backend: Mapping[str, BackendSettings]
    cache: CacheSettings
    lookup: LookupSettings
    store: StoreSettings
    audit: AuditSettings
    source: Path | None = None
    others: tuple[str, ...] = ()
    personal: Path | None = None


# --- reading them --------------------------------------------------------------------------------


def load(
    config: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    deployment: str | None = None,
    tables: Mapping[str, Any] | None = None,
) -> Settings:
    """
    Find the settings and read them.

    The first of: *config*; `STRONGROOM_CONFIG`; `./strongroom.toml`; with `STRONGROOM_HOME` that
    folder's `strongroom.toml`, otherwise the user's and the system's configuration folders; nothing,
    which works too. Over it is laid what is only mine: `.strongroom/strongroom.toml` beside the file
    that was named, otherwise in *cwd*. `STRONGROOM__SECTION__KEY` overrides single values.

    Args:
        config: a file to read instead of looking for one.
        environ: the environment.
        cwd: where `./strongroom.toml` is looked for; the working directory if unsaid.
        deployment: which of the file's deployments; `STRONGROOM_DEPLOYMENT`, then the first if unsaid.
        tables: laid over the files, as they would be parsed; a `SecretSource` may stand where a secret
            belongs. Paths in it are relative to *cwd*.

    Raises:
        SettingsError: a file, key or value that cannot be right; `key` names it.
    """
    folder = cwd.absolute() if cwd else working_folder()
    found = _found(config, environ, folder)
    _require_consent(found, environ)
    source, personal = found.source, found.personal
    read = found.tables
    if personal is not None:
        read = _laid_over(read, _placed(found.mine, personal.parent))
    read = _laid_over(read, _placed(tables or {}, folder))
    wanted = deployment or environ.get("STRONGROOM_DEPLOYMENT") or None
    name, table, others = _choose(read, wanted, has_file=source is not None or "deployments" in read)
    for variable in sorted(environ):
        if variable.startswith(_PREFIX):
            _override(table, variable, environ[variable])
    home = _home(environ, name, is_first=name not in read.get("deployments", {}))
    made = _settings(_Table(table, "", source.parent if source else folder), name, home, source, others)
    return replace(made, personal=personal)


def consent(
    config: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Consent | None:
    """
    Give what the files that were only come across in *cwd* need a yes for; None where they need none. The
    arguments are those of `load`.

    Raises:
        SettingsError: as `load`, for the files as such.
    """
    return _consent(_found(config, environ, cwd.absolute() if cwd else working_folder()), environ)


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


def options(settings: BackendSettings, shape: type[T], *, environ: Mapping[str, str] = os.environ) -> T:
    """
    Make the options of a backend from what its table says beside the settings of every backend.

    Args:
        settings: the backend's.
        shape: the frozen dataclass of its options. Secrets in it are fetched now.
        environ: where secrets may come from.

    Raises:
        SettingsError: a key that *shape* does not have, a missing or wrong value, a secret written out.
    """
    table = _Table(dict(settings.options), f"backend.{settings.name}.", settings.folder)
    return table.build(shape, environ)


# --- secrets -------------------------------------------------------------------------------------


def resolve(source: SecretSource, *, environ: Mapping[str, str] = os.environ) -> Secret[str]:
    """
    Fetch a secret of the settings. One newline at its end is dropped.

    Raises:
        SettingsError: it cannot be had, is empty, is over 64 KiB or no UTF-8, or its file may be
            read or changed by others. What a command says on its error output is not shown.
    """
    if source.kind == "text":
        return Secret(source.argument[0])
    if source.kind == "env":
        text = environ.get(source.argument[0])
        if not text:
            raise SettingsError(
                f"{source.key} is to come from the variable {source.argument[0]}, which is not set",
                key=source.key,
            )
        return Secret(text)
    if source.kind == "file":
        return _decoded(_from_file(source), source.key)
    return _decoded(output_of(source.argument, source.key), source.key)


def _decoded(data: bytes, key: str) -> Secret[str]:
    if len(data) > _MAX_SECRET_BYTES:
        raise SettingsError(f"the secret for {key} has more than {_MAX_SECRET_BYTES} bytes", key=key)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"the secret for {key} is not UTF-8", key=key) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingsError(f"the secret for {key} is empty", key=key)
    return Secret(text)


def _from_file(source: SecretSource) -> bytes:
    path = source.argument[0]
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsError(
            f"the secret file {path} for {source.key} cannot be read ({_reason(error)})", key=source.key
        ) from None
    with os.fdopen(file, "rb") as opened:
        _check_private(os.fstat(file), path, source.key)
        return opened.read(_MAX_SECRET_BYTES + 1)


def _check_private(found: os.stat_result, path: str, key: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"the secret file {path} for {key} is not a regular file", key=key)
    if found.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"the secret file {path} for {key} belongs to another user", key=key)
    if path.startswith(_CONTAINER_SECRETS):
        return
    if found.st_mode & 0o077:
        raise SettingsError(
            f"the secret file {path} for {key} may be read or changed by others",
            key=key,
            hint=f"chmod 600 {_word(path)}",
        )


def output_of(command: Sequence[str], key: str, *, environ: Mapping[str, str] | None = None) -> bytes:
    """
    Run *command* without a shell and give what it writes: at most 64 KiB and one byte, within 10 s.

    Args:
        command: the program and its arguments.
        key: the setting whose value it gives, for messages.
        environ: its environment; this process's own if unsaid.

    Raises:
        SettingsError: it cannot be started, fails, or does not end. What it writes is not shown.
    """
    import subprocess  # noqa: PLC0415 -- only settings that name a command pay for it

    failure = SettingsError(f"the command for {key} failed", key=key)
    try:
        with subprocess.Popen(  # noqa: S603 -- the operator's own command, without a shell
            command,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may quote the secret
        ) as process:
            try:
                output = _read_within(process.stdout, _COMMAND_SECONDS)  # type: ignore[arg-type]  # a pipe was asked for
                # The output has ended or is over its bound; either way the command is done for.
                status = process.wait(1.0) if len(output) <= _MAX_SECRET_BYTES else 0
            except subprocess.TimeoutExpired:
                raise SettingsError(
                    f"the command for {key} did not end in {_COMMAND_SECONDS:g} s", key=key
                ) from None
            finally:
                process.kill()
    except OSError as error:
        raise SettingsError(f"the command for {key} cannot be started ({_reason(error)})", key=key) from None
    if status != 0:
        raise failure
    return output


def _read_within(pipe: BinaryIO, seconds: float) -> bytes:
    """Read to the end or just over the bound; gives up after *seconds*."""
    import select  # noqa: PLC0415 -- as subprocess
    import subprocess  # noqa: PLC0415
    import time  # noqa: PLC0415

    until = time.monotonic() + seconds
    data = b""
    while len(data) <= _MAX_SECRET_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise subprocess.TimeoutExpired("", seconds)
        chunk = os.read(pipe.fileno(), _MAX_SECRET_BYTES)
        if not chunk:
            break
        data += chunk
    return data


# --- finding and reading the file ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """
    The files that were found, as they were parsed.

    Args:
        source: the settings file, and *tables*, what it holds.
        personal: the file of what is only mine, and *mine*, what it holds.
        folder: where they were only come across; None where the user named them.
    """

    source: Path | None
    personal: Path | None
    folder: Path | None
    tables: dict[str, Any] = field(repr=False)
    mine: dict[str, Any] = field(repr=False)


def _found(config: str | os.PathLike[str] | None, environ: Mapping[str, str], cwd: Path) -> _Found:
    source = _find(config, environ, cwd)
    is_named = bool(config or environ.get("STRONGROOM_CONFIG"))
    personal = _personal(source.parent if source is not None and is_named else cwd)
    return _Found(
        source=source,
        personal=personal,
        folder=None if is_named else cwd,
        tables={} if source is None else _read(source),
        mine={} if personal is None else _read(personal),
    )


def _consent(found: _Found, environ: Mapping[str, str]) -> Consent | None:
    if found.folder is None:
        return None
    is_here = found.source is not None and found.source.parent == found.folder
    parts = reach(_laid_over(found.tables if is_here else {}, found.mine))
    named = environ.get("STRONGROOM_HOME")
    home = Path(named).absolute() if named else _user_folder(environ, "config") / "strongroom"
    file = found.source if is_here else found.personal
    # A file in the user's own folder was put there by him, wherever he stands.
    if file is None or not parts or found.folder == home:
        return None
    return Consent(file=file, home=home, parts=parts)


def _require_consent(found: _Found, environ: Mapping[str, str]) -> None:
    needed = _consent(found, environ)
    if needed is None or needed.is_given:
        return
    raise SettingsError(
        f"nobody agreed yet to what {needed.file} runs or asks: {', '.join(needed.parts)}",
        key=next(iter(needed.parts)),
        hint=f"strongroom up shows it and asks; or, if you trust it, name it: --config {_word(needed.file)}",
    )


def _find(config: str | os.PathLike[str] | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
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
            hint=f"if you trust it, name it: --config {_word(path)}",
        )
    return stat.S_ISREG(found.st_mode)


def _personal(folder: Path) -> Path | None:
    """
    Find the file of what is only mine in *folder*, if it is there and mine.

    Somebody else's is passed over: in a folder that several work in, each has his own.
    """
    inner = folder / PERSONAL_FOLDER
    path = inner / FILE_NAME
    # Others may see that the folder is there, but change nothing in it; the file names secrets.
    for each, is_kind, closed in ((inner, stat.S_ISDIR, 0o022), (path, stat.S_ISREG, 0o077)):
        try:
            found = each.lstat()
        except OSError:
            return None
        if found.st_uid != os.geteuid():
            return None
        if not is_kind(found.st_mode):
            raise SettingsError(
                f"the personal settings {each} are no plain {'folder' if each is inner else 'file'}",
                hint="move them there: a link could lead to somebody else's",
            )
        if found.st_mode & closed:
            mode = "700" if each is inner else "600"
            raise SettingsError(
                f"the personal settings {each} are open to others", hint=f"chmod {mode} {_word(each)}"
            )
    return path


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Give *below* with *above* over it: tables key by key, everything else replaced."""
    made = dict(below)
    for key, value in above.items():
        under = made.get(key)
        is_merged = isinstance(value, Mapping) and not _is_source(value)
        # A copy in any case: what is laid over may be changed by `_override`.
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
        return _Placed(value, folder)
    if isinstance(value, Mapping):
        return {key: _placed(item, folder) for key, item in value.items()}
    return [_placed(item, folder) for item in value] if isinstance(value, (list, tuple)) else value


class _Placed(str):
    """A text from another file than the settings' own: a path in it is relative to that one's folder."""

    __slots__ = ("folder",)
    folder: Path

    def __new__(cls, text: str, folder: Path) -> _Placed:
        made = super().__new__(cls, text)
        made.folder = folder
        return made


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read ({_reason(error)})") from None
    if mode & 0o002:
        raise SettingsError(
            f"the settings file {path} may be changed by anybody", hint=f"chmod o-w {_word(path)}"
        )
    if len(data) > _MAX_FILE_BYTES:
        raise SettingsError(f"the settings file {path} has more than {_MAX_FILE_BYTES} bytes")
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 -- no file, no parser
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    try:
        return dict(tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n")))
    except UnicodeDecodeError:
        raise SettingsError(f"the settings file {path} is not UTF-8") from None
    except (ValueError, RecursionError) as error:  # ValueError: also a number of over 4300 digits
        # The parser's text may quote the line; where it is, is enough.
        where = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
        raise SettingsError(
            f"the settings file {path} is not TOML{f' at {where[1]}' if where else ''}"
        ) from None


def _word(path: str | Path) -> str:
    """Give *path* as it is typed in a shell: a stranger may have named it."""
    import shlex  # noqa: PLC0415 -- only for hints

    return shlex.quote(str(path))


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__


def _choose(
    tables: dict[str, Any], wanted: str | None, *, has_file: bool
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Give the wanted deployment's name and table, and the names of the others."""
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
        raise _unknown("deployment", "", wanted, names)
    return wanted, dict(others[wanted]), tuple(name for name in names if name != wanted)


def _deployment(name: str, key: str) -> str:
    try:
        return check_deployment(name)
    except InvalidInputError as error:
        raise SettingsError(str(error), key=key) from None


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
    table[last] = _Text(text)


class _Text(str):
    """A value from the environment: text, whatever type the setting has."""

    __slots__ = ()


# --- default places ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a deployment's files stand unless its settings say otherwise."""

    store: Path
    audit: Path
    key: Path


def _home(environ: Mapping[str, str], deployment: str, *, is_first: bool) -> _Home:
    if environ.get("STRONGROOM_HOME"):
        try:
            environ["STRONGROOM_HOME"].encode()
        except UnicodeEncodeError:
            raise SettingsError("STRONGROOM_HOME is not UTF-8", key="STRONGROOM_HOME") from None
        home = Path(environ["STRONGROOM_HOME"]).absolute()
        home = home if is_first else home / deployment
        return _Home(home / "store.db", home / "audit", home / "key")
    data = _user_folder(environ, "data") / "strongroom" / deployment
    key = _user_folder(environ, "config") / "strongroom" / f"{deployment}.key"
    return _Home(data / "store.db", data / "audit", key)


_XDG = {"data": ("XDG_DATA_HOME", ".local/share"), "config": ("XDG_CONFIG_HOME", ".config")}


def _user_folder(environ: Mapping[str, str], which: Literal["data", "config"]) -> Path:
    variable, below_home = _XDG[which]
    if sys.platform == "linux" and environ.get("HOME"):
        # The given environment decides, so that nothing here reads another one behind its back.
        named = environ.get(variable, "")
        return Path(named) if named.startswith("/") else Path(environ["HOME"]) / below_home
    import platformdirs  # noqa: PLC0415 -- Linux needs it only without a home

    return platformdirs.user_data_path() if which == "data" else platformdirs.user_config_path()


def _config_folders(environ: Mapping[str, str]) -> list[Path]:
    if sys.platform == "linux":
        named = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg:/etc"
        system = [Path(folder) for folder in named.split(":") if folder.startswith("/")]
    else:
        import platformdirs  # noqa: PLC0415 -- as above

        system = [platformdirs.site_config_path()]
    return [_user_folder(environ, "config"), *system]


# --- from tables to dataclasses ------------------------------------------------------------------

_TOP = ("chain", "write_to", "backend", "cache", "lookup", "store", "audit")
_OF_EVERY_BACKEND = tuple(
    member.name for member in fields(BackendSettings) if member.name not in ("name", "options", "folder")
)


def _settings(top: _Table, name: str, home: _Home, source: Path | None, others: tuple[str, ...]) -> Settings:
    top.check_keys(_TOP)
    chain, write_to, backends = _chain(top)
    return Settings(
        deployment=name,
        chain=chain,
        write_to=write_to,
        backend=backends,
        cache=_cache(top.section("cache")),
        lookup=_lookup(top.section("lookup")),
        store=_store(top.section("store"), home),
        audit=_audit(top.section("audit"), home),
        source=source,
        others=others,
    )


def _chain(top: _Table) -> tuple[tuple[str, ...], str | None, dict[str, BackendSettings]]:
    is_said = "chain" in top.values
    chain: tuple[str, ...] = top.take("chain", tuple[str, ...], ())
    if is_said and not chain:
        raise SettingsError(
            "chain names no backend", key="chain", hint='leave it out for the default, or say chain = ["env"]'
        )
    if len(set(chain)) < len(chain):
        raise SettingsError("chain names a backend twice", key="chain")
    tables = top.section("backend")
    backends = {name: _backend(name, tables.section(name)) for name in tables.values}
    for name in chain:
        # A backend without a table of its own is the kind of that name, as it comes.
        if name not in backends:
            backends[name] = _backend(name, _Table({}, f"backend.{name}.", top.folder))
    write_to = top.take("write_to", str, None)
    if write_to is not None and chain and write_to not in chain:
        raise _unknown("write_to", "", write_to, chain)
    return chain, write_to, backends


def _backend(name: str, table: _Table) -> BackendSettings:
    if not _BACKEND_NAME.fullmatch(name):
        raise SettingsError(
            "the name of a backend has 1 to 63 letters, digits, '-' or '_' and begins with a letter",
            key="chain" if not table.values else "backend",
        )
    common = {key: value for key, value in table.values.items() if key in _OF_EVERY_BACKEND}
    rest = {key: value for key, value in table.values.items() if key not in _OF_EVERY_BACKEND}
    found = _Table({"kind": name, **common}, table.prefix, table.folder).build(
        BackendSettings, given={"name": name, "options": rest, "folder": table.folder}
    )
    if found.timeout_seconds is not None:
        _check_above(found.timeout_seconds, 0, f"{table.prefix}timeout_seconds")
    return found


def _cache(table: _Table) -> CacheSettings:
    found = table.build(CacheSettings)
    for key in ("ttl", "stale_if_error", "absent_ttl"):
        _check_least(getattr(found, key), 0, table.prefix + key)
    _check_least(found.max_entries, 1, f"{table.prefix}max_entries")
    return found


def _lookup(table: _Table) -> LookupSettings:
    found = table.build(LookupSettings)
    _check_above(found.timeout_seconds, 0, f"{table.prefix}timeout_seconds")
    _check_above(found.deadline_seconds, 0, f"{table.prefix}deadline_seconds")
    return found


def _store(table: _Table, home: _Home) -> StoreSettings:
    given = table.build(
        StoreSettings, defaults={"path": home.store, "wrappers": (WrapperSettings(kind="file"),)}
    )
    if not given.wrappers:
        raise SettingsError(
            "a store needs a wrapper", key="store.wrappers", hint='wrappers = [{ kind = "file" }]'
        )
    wrappers = tuple(_wrapper(wrapper, home) for wrapper in given.wrappers)
    return StoreSettings(path=given.path, wrappers=wrappers)


def _wrapper(wrapper: WrapperSettings, home: _Home) -> WrapperSettings:
    stray = wrapper.path if wrapper.kind == "passphrase" else wrapper.passphrase
    if stray is not None:
        key = "path" if wrapper.kind == "passphrase" else "passphrase"
        raise SettingsError(f"a wrapper of the kind {wrapper.kind} has no {key}", key=f"store.wrappers.{key}")
    path = (wrapper.path or home.key) if wrapper.kind == "file" else None
    return WrapperSettings(kind=wrapper.kind, path=path, passphrase=wrapper.passphrase)


def _audit(table: _Table, home: _Home) -> AuditSettings:
    return table.build(AuditSettings, defaults={"path": home.audit})


def _check_least(value: float, least: float, key: str) -> None:
    if value < least:
        raise SettingsError(f"{key} must be at least {least}", key=key)
    _check_most(value, key)


def _check_above(value: float, bound: float, key: str) -> None:
    if value <= bound:
        raise SettingsError(f"{key} must be more than {bound}", key=key)
    _check_most(value, key)


def _check_most(value: float, key: str) -> None:
    if value > _MAX_NUMBER:
        raise SettingsError(f"{key} must be at most {_MAX_NUMBER}", key=key)


class _Table:
    """
    A table of the settings, and how it is called.

    Args:
        prefix: what stands before its keys: `cache.`, or "" at the top.
        folder: what relative paths in it are relative to.
    """

    def __init__(self, values: dict[str, Any], prefix: str, folder: Path) -> None:
        self.values = values
        self.prefix = prefix
        self.folder = folder

    def section(self, name: str) -> _Table:
        key = self.prefix + name
        found = self.values.get(name, {})
        if isinstance(found, _Text):
            found = _Converter(key, self.folder, {}).convert(found, dict)
        if not isinstance(found, dict):
            raise SettingsError(f"{key} must be a table", key=key, hint=f"[{key}]")
        return _Table(found, f"{key}.", self.folder)

    def check_keys(self, known: Sequence[str]) -> None:
        for key in self.values:
            if key not in known:
                raise _unknown("setting", self.prefix, key, known)

    def take(self, key: str, hint: Any, default: T) -> Any | T:  # noqa: ANN401 -- the type is the hint's
        if key not in self.values:
            return default
        return _Converter(self.prefix + key, self.folder, {}).convert(self.values[key], hint)

    def build(
        self,
        shape: type[T],
        environ: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, object] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> T:
        """
        Make a *shape* of this table.

        Args:
            shape: a dataclass.
            environ: where secrets in it are fetched from.
            defaults: for members that *shape* has no default for.
            given: members that are not settings.
        """
        given = given or {}
        members = [member for member in fields(shape) if member.name not in given and member.init]  # type: ignore[arg-type]  # a dataclass
        self.check_keys([member.name for member in members])
        hints = get_type_hints(shape)
        made = {**(defaults or {}), **given}
        for member in members:
            if member.name in self.values:
                converter = _Converter(self.prefix + member.name, self.folder, environ or {})
                made[member.name] = converter.convert(self.values[member.name], hints[member.name])
            elif member.name not in made and member.default is MISSING and member.default_factory is MISSING:
                key = self.prefix + member.name
                raise SettingsError(f"{key} is missing", key=key)
        return shape(**made)


class _Converter:
    """Turn what stands under one key into the type it must have."""

    def __init__(self, key: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._key = key
        self._folder = folder
        self._environ = environ

    def convert(self, value: Any, hint: Any) -> Any:  # noqa: ANN401 -- any type a dataclass may name
        origin = get_origin(hint) or hint
        if origin in (Union, UnionType):
            return self._either(value, get_args(hint))
        if origin is Literal:
            return self._choice(value, get_args(hint))
        if is_dataclass(origin) and origin is not SecretSource:
            table = _Table(self._mapping(value), f"{self._key}.", self._folder)
            return table.build(origin, self._environ)  # type: ignore[arg-type]  # a class: it came from a hint
        if origin in (tuple, list, Sequence):
            (inner_hint, *_) = get_args(hint) or (object,)
            made = (self.convert(item, inner_hint) for item in self._items(value))
            return list(made) if origin is list else tuple(made)
        read = self._READERS.get(origin)
        return value if read is None else read(self, value)

    def _either(self, value: Any, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- as `convert`
        """Take the first of *choices* that *value* can be."""
        if value is None and NoneType in choices:
            return None
        refusals = []
        for choice in choices:
            if choice is not NoneType:
                try:
                    return self.convert(value, choice)
                except SettingsError as refusal:
                    refusals.append(refusal)
        # Of several, the last is meant to be the plainest: what people write most.
        raise refusals[-1]

    def _wrong(self, must: str, hint: str | None = None) -> SettingsError:
        return SettingsError(f"{self._key} must be {must}", key=self._key, hint=hint)

    def _choice(self, value: object, choices: tuple[object, ...]) -> object:
        if value not in choices:
            raise self._wrong(f"one of {', '.join(map(str, choices))}")
        return str(value) if isinstance(value, str) else value

    def _items(self, value: object) -> list[Any]:
        if isinstance(value, _Text):
            if not value.lstrip().startswith("["):
                return [_Text(item.strip()) for item in value.split(",") if item.strip()]
            value = self._toml(value)
        if not isinstance(value, list):
            raise self._wrong("a list")
        return value

    def _mapping(self, value: object) -> dict[str, Any]:
        if isinstance(value, _Text):
            value = self._toml(value)
        if not isinstance(value, dict):
            raise self._wrong("a table")
        return value

    def _toml(self, text: str) -> object:
        try:
            return _parse(f"value = {text}".encode(), Path(self._key))["value"]
        except (SettingsError, KeyError):
            raise self._wrong("written as in the file", hint=_IN_ENVIRONMENT) from None

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong("text")
        return str(value)

    def _flag(self, value: object) -> bool:
        if isinstance(value, _Text):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            raise self._wrong("true or false")
        return value

    def _number(self, value: object) -> float:
        if isinstance(value, _Text):
            with suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong("a number")
        with suppress(OverflowError):  # a whole number of any length
            if math.isfinite(value):
                return float(value)
        raise self._wrong("a number")

    def _integer(self, value: object) -> int:
        if isinstance(value, _Text):
            with suppress(ValueError):
                value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong("a whole number")
        return value

    def _duration(self, value: object) -> timedelta:
        seconds = self._number(value)
        _check_most(abs(seconds), self._key)
        return timedelta(seconds=seconds)

    def path(self, value: object) -> Path:
        """Give the path *value* names."""
        text = self._text(value)
        if not text or "\0" in text:
            raise self._wrong("a path")
        try:
            path = Path(text).expanduser()
        except RuntimeError:
            raise self._wrong("a path: nobody here has the home that '~' stands for") from None
        if not isinstance(value, _Placed):
            return self._folder / path
        if value.folder.name == PERSONAL_FOLDER and path.parts[:1] == ("..",):
            # The folder is no link, so this is what '..' means; messages read better without it.
            return value.folder.parent.joinpath(*path.parts[1:])
        return value.folder / path

    def _source(self, value: object) -> SecretSource:
        if isinstance(value, SecretSource):
            return replace(value, key=self._key)
        if isinstance(value, _Text) and not value.lstrip().startswith("{"):
            return SecretSource(kind="text", argument=(str(value),), key=self._key)
        if isinstance(value, str) and not isinstance(value, _Text):
            raise self._wrong("fetched from elsewhere, not written out", hint=_FETCHED_FROM)
        table = self._mapping(value)
        if len(table) == 1:
            ((kind, argument),) = table.items()
            inner = _Converter(f"{self._key}.{kind}", self._folder, {})
            if kind == "file":
                return SecretSource(kind="file", argument=(str(inner.path(argument)),), key=self._key)
            if kind == "env":
                return SecretSource(kind="env", argument=(inner._text(argument),), key=self._key)
            if kind == "command":
                return SecretSource(kind="command", argument=inner._words(argument), key=self._key)
        raise self._wrong("one of { file = … }, { env = … } or { command = […] }", hint=_FETCHED_FROM)

    def _words(self, value: object) -> tuple[str, ...]:
        words = tuple(self._text(word) for word in self._items(value))
        if not words:
            raise self._wrong("a program and its arguments")
        return words

    def _secret(self, value: object) -> Secret[str]:
        return resolve(self._source(value), environ=self._environ)

    def _fetcher(self, value: object) -> Callable[[], Secret[str]]:
        """A secret that its user may fetch again: one that is replaced while the process runs."""
        source, environ = self._source(value), self._environ
        return lambda: resolve(source, environ=environ)  # not a partial: that prints the environment

    _READERS: ClassVar[dict[Any, Callable[[_Converter, Any], Any]]] = {
        bool: _flag,
        int: _integer,
        float: _number,
        str: _text,
        Path: path,
        timedelta: _duration,
        Secret: _secret,
        SecretSource: _source,
        Callable: _fetcher,
        dict: _mapping,
        Mapping: _mapping,
    }


_IN_ENVIRONMENT = 'lists as a,b or ["a", "b"], tables as { key = "value" }'
_FETCHED_FROM = 'write { file = "/path" }, { env = "NAME" } or { command = ["program", "argument"] }'


def _unknown(what: str, prefix: str, name: str, known: Iterable[str]) -> SettingsError:
    import difflib  # noqa: PLC0415 -- only a mistake pays for it

    # What stands where a name belongs may be a secret in the wrong place: show what looks like a name.
    shown = name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else "…"
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return SettingsError(
        f"there is no {what} {prefix}{shown}",
        key=f"{prefix}{shown}" if what == "setting" else what,
        hint=f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}",
    )
