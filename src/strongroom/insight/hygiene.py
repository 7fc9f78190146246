"""
Secrets that lie about around a room: in the environment, in files open to others, in git, in code.

Not for what Airflow is configured with (`airflow.py`) or for cloud keys (`cloud.py`).

Rules of this file:

1. Only this process's environment and this user's files are looked at, and nothing is changed.
2. A file is named, never what it holds.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from strongroom.insight.finding import Finding, Level, Surroundings, named
from strongroom.insight.git import kept_by_git
from strongroom.insight.literals import has_password, is_secret_name, scan_image
from strongroom.insight.scan import Scan, scan_tree, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.settings import BackendSettings, Settings

__all__ = [
    "SecretFile",
    "environment",
    "in_git",
    "is_production",
    "literals",
    "open_to_others",
    "secret_files",
]

NOT_PRODUCTION = frozenset(
    {"default", "ci", "demo", "dev", "devel", "development", "example", "local", "sandbox", "test", "testing"}
)
"""Deployments of these names are taken for somebody's own; every other one for production."""

_PERSONAL_FOLDER = ".strongroom"
_MAX_PERSONAL_FILES = 200
_MEANING = re.compile(r"[\\*?\[]|^[#!]| $")  # what gitignore(5) takes for more than itself
_CONTAINER_SECRETS = (
    "/run/secrets/",
    "/var/run/secrets/",
)  # modes there are the runtime's, as in settings/source.py
_ENV_FILE = re.compile(r"\.env(?:\.[A-Za-z0-9_-]+)?")
_ENV_EXAMPLE = re.compile(r"\.env\.(?:example|sample|template|dist|defaults?)")
_HOLDS_CONNECTION = re.compile(r"^\s*(?:export\s+)?AIRFLOW_CONN_\w+\s*=\s*\S", re.MULTILINE)
_HOLDS_SETTING = re.compile(
    r"^\s*-?\s*(?:conn_password|conn_extra|variable_value)\s*:\s*[^\s#]", re.MULTILINE
)
_AIRFLOW_SETTINGS = ("airflow_settings.yaml", "airflow_settings.yml")
_PATH_OPTIONS = re.compile(r".*(?:token_path|client_key|key_path|secret_id_path)")
_DATA_OPTIONS = tuple(
    name + ending for name in ("connections", "variables", "configs") for ending in ("", "_file_path")
)


# --- the environment -----------------------------------------------------------------------------


def is_production(deployment: str) -> bool:
    """Tell whether *deployment* is taken for production: whatever is not called like somebody's own."""
    return deployment.lower() not in NOT_PRODUCTION


def environment(around: Surroundings, deployment: str) -> Iterator[Finding]:
    """Look at the environment of this process."""
    environ = around.environ
    if environ.get("VAULT_TOKEN"):
        yield Finding(
            name="vault-token-in-environment",
            level="warning",
            what="VAULT_TOKEN is in the environment: every child process inherits it",
            fix="log in with a role (auth_type), or give the backend token = { file = … }; unset VAULT_TOKEN",
        )
    if not is_production(deployment):
        return
    secret = [name for name in sorted(environ) if _is_secret(name, environ[name])]
    if secret:
        yield Finding(
            name="secret-in-environment",
            level="warning",
            what=f"the deployment {deployment} has secrets in its environment, which every child process"
            f" inherits: {named(secret)}",
            fix="keep them in a backend (strongroom connections import, strongroom variables import)",
        )


def _is_secret(name: str, value: str) -> bool:
    if name.startswith("AIRFLOW_CONN_"):
        return has_password(value) or "?" in value or value.lstrip().startswith("{")
    return name.startswith("AIRFLOW_VAR_") and bool(value) and is_secret_name(name)


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecretFile:
    """
    A file that holds secrets.

    Args:
        what: how it is called in a finding.
        level: how bad it is when others may read it.
        mode: what it should have.
    """

    path: Path
    what: str
    level: Level = "error"
    mode: int = 0o600


def secret_files(settings: Settings | None, cwd: Path | None, airflow_cfg: Path | None) -> list[SecretFile]:
    """
    Give the files that hold secrets and are there: what the settings name, and what a project has.

    Args:
        settings: None where they cannot be read.
        cwd: the project's folder, or None to look at no project.
        airflow_cfg: Airflow's own file, if there is one.
    """
    found = [*(_of_settings(settings) if settings else ()), *(_of_project(cwd) if cwd else ())]
    if airflow_cfg is not None and _holds_literals(airflow_cfg):
        found.append(SecretFile(airflow_cfg, "Airflow's configuration", "warning"))
    every = {file.path: file for file in reversed(found) if file.path.exists()}
    return list(reversed(every.values()))


def _of_settings(settings: Settings) -> Iterator[SecretFile]:
    store = settings.store.path
    for path in (store, store.with_name(store.name + "-wal"), store.with_name(store.name + "-shm")):
        yield SecretFile(path, "the store")
    for wrapper in settings.store.wrappers:
        if wrapper.path is not None:
            yield SecretFile(wrapper.path, "the key")
        if wrapper.passphrase is not None and wrapper.passphrase.kind == "file":
            yield SecretFile(Path(wrapper.passphrase.argument[0]), "the passphrase of the store")
    if settings.personal is not None:
        yield SecretFile(settings.personal, "the personal settings")
    for backend in settings.backend.values():
        yield from _of_backend(backend)


def _of_backend(backend: BackendSettings) -> Iterator[SecretFile]:
    for path in _paths_in(backend.options, backend.folder):
        yield SecretFile(path, f"a secret of the backend {backend.name},")
    for key in _DATA_OPTIONS if backend.kind == "file" else ():
        found = _path(backend.options.get(key), backend.folder)
        if found is not None:
            yield SecretFile(found, f"the {key} of the backend {backend.name},", "warning")


def _paths_in(options: Mapping[str, object], folder: Path) -> Iterator[Path]:
    """Give the files that options fetch secrets from, at any depth."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _paths_in(value, folder)
        elif key == "file" or _PATH_OPTIONS.fullmatch(key):
            path = _path(value, folder)
            if path is not None:
                yield path


def _path(value: object, folder: Path) -> Path | None:
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    try:
        # A text of the personal settings knows the folder it is relative to.
        return Path(getattr(value, "folder", folder)) / Path(value).expanduser()
    except RuntimeError:
        return None


def _of_project(cwd: Path) -> Iterator[SecretFile]:
    try:
        names = sorted(path.name for path in cwd.iterdir())
    except OSError:
        return
    for name in names:
        path = cwd / name
        is_env = _ENV_FILE.fullmatch(name) and not _ENV_EXAMPLE.fullmatch(name)
        if (is_env and _holds_literals(path)) or (name in _AIRFLOW_SETTINGS and _holds_settings(path)):
            yield SecretFile(path, "the file" if is_env else "Airflow's settings", "warning")


def _holds_literals(path: Path) -> bool:
    text = text_of(path) or ""
    return bool(_HOLDS_CONNECTION.search(text) or scan_image(text))


def _holds_settings(path: Path) -> bool:
    return bool(_HOLDS_SETTING.search(text_of(path) or ""))


def open_to_others(files: Iterable[SecretFile]) -> Iterator[Finding]:
    """Tell which of *files* other users may read, or own."""
    for file in files:
        found = _status(file.path)
        if found is None or str(file.path).startswith(_CONTAINER_SECRETS):
            continue
        if found.st_uid not in (0, os.geteuid()):
            yield Finding(
                name="owned-by-another",
                level="error",
                what=f"{file.what} {file.path} belongs to another user",
                fix=f"chown {os.geteuid()} {quote(str(file.path))}",
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            yield Finding(
                name="readable-by-others",
                level=file.level,
                what=f"{file.what} {file.path} is open to others",
                fix=f"chmod {file.mode:o} {quote(str(file.path))}",
            )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


# --- git -----------------------------------------------------------------------------------------


def in_git(files: Sequence[SecretFile], around: Surroundings) -> Iterator[Finding]:
    """Tell which of *files*, and of what stands in `.strongroom`, git keeps or would keep."""
    paths = dict.fromkeys(file.path for file in files if not file.what.startswith("the store"))
    paths.update(dict.fromkeys(_personal(around.cwd)))
    for path, verdict in kept_by_git(paths, around.environ).items():
        if verdict == "tracked":
            yield Finding(
                name="secret-in-git",
                level="error",
                what=f"git keeps {path}, which holds secrets",
                fix=f"{_git(path, 'rm --cached')}; ignore it; change the secrets, which the history keeps",
            )
        elif verdict == "not ignored":
            yield Finding(
                name="secret-in-git",
                level="warning",
                what=f"{path} holds secrets, stands in a git work tree and is not ignored",
                fix=_ignoring(path),
            )
        else:
            yield Finding(
                name="secret-in-git",
                level="note",
                what=f"{path} stands in a git work tree, and git cannot tell whether it is ignored",
                fix=_git(path, "check-ignore -v"),
            )


def _git(path: Path, command: str) -> str:
    """Give what to type so that git does *command* with *path*, wherever it is typed."""
    return f"git -C {quote(str(path.parent))} {command} -- {quote(path.name)}"


def _ignoring(path: Path) -> str:
    """Give what to type so that git ignores *path*; a stranger's repository may have named it."""
    # What stands in `.strongroom` is ignored as a whole, as `strongroom up` does it.
    is_personal = path.parent.name == _PERSONAL_FOLDER
    pattern = "*" if is_personal else _MEANING.sub(r"\\\g<0>", path.name)
    return f"printf '%s\\n' {quote(pattern)} >> {quote(str(path.parent / '.gitignore'))}"


def _personal(cwd: Path) -> list[Path]:
    """Give the files of `.strongroom`, but for its `.gitignore`."""
    found: list[Path] = []
    folder = cwd / _PERSONAL_FOLDER
    if folder.is_symlink():
        return found
    for here, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(here) / name for name in sorted(names) if name != ".gitignore"]
        if len(found) > _MAX_PERSONAL_FILES:
            break
    return found[:_MAX_PERSONAL_FILES]


# --- code ----------------------------------------------------------------------------------------


def literals(dags: Iterable[Path], around: Surroundings) -> Iterator[Finding]:
    """Tell where DAG files, Dockerfiles and compose files hold secrets as literals."""
    scan = Scan.begin()
    for folder in _outermost([*dags, around.cwd / "dags"]):
        scan_tree(folder, scan)
    code = len(scan.spots)
    scan_tree(around.cwd, scan, is_project=True)
    if scan.spots[:code]:
        yield Finding(
            name="literal-in-dag",
            level="warning",
            what=f"secrets written into DAG files: {named(map(str, scan.spots[:code]))}",
            fix="keep each as a connection or variable and read it by name; change what was in the code",
        )
    if scan.spots[code:]:
        yield Finding(
            name="literal-in-image",
            level="warning",
            what=f"secrets written into images: {named(map(str, scan.spots[code:]))}",
            fix="give them to the container when it starts (a mounted secret); change what was in the file",
        )
    if scan.files and not scan.spots:
        yield Finding(
            name="literal-in-dag", level="ok", what=f"no secret is written into {scan.files} files of code"
        )
    yield from _incomplete(scan)


def _incomplete(scan: Scan) -> Iterator[Finding]:
    said = [f"it stopped {scan.stopped}"] if scan.stopped else []
    said += [f"{scan.skipped} files were passed over"] if scan.skipped else []
    if said:
        yield Finding(
            name="scan-incomplete",
            level="note",
            what=f"the search for secrets in code is incomplete: {' and '.join(said)}",
            fix="files of over 1 MiB, unreadable ones and ones that are not UTF-8 are not searched",
        )


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """Give each real folder once, without those inside another."""
    real: list[Path] = []
    for folder in folders:
        try:
            resolved = folder.resolve()
        except (OSError, RuntimeError):
            continue
        if resolved.is_dir() and resolved not in real:
            real.append(resolved)
    return [folder for folder in real if not any(other in folder.parents for other in real)]
