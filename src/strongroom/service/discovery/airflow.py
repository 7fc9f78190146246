"""What an installed Airflow asks by itself: its secrets backend and its metadata database."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendConfigError
from strongroom.service.discovery import classes
from strongroom.service.discovery.place import Place
from strongroom.service.discovery.vendor import NO_BACKEND, vault_token
from strongroom.vendors.airflow import AirflowConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.service.discovery.place import Surroundings
    from strongroom.vendors.airflow import SecretsBackend

__all__ = ["place_of", "places"]

_TITLE = "Airflow's secrets backend"
_DATABASE_TITLE = "Airflow's metadata database"
_FILES = "LocalFilesystemBackend"
_FOREIGN = {"AkeylessBackend": "Akeyless", "LockboxSecretBackend": "Yandex Lockbox"}
_DATABASE = ("database", "sql_alchemy_conn")
_KEY = ("core", "fernet_key")
_UNNAMED = "only ./airflow.cfg says so, which a checkout may bring: AIRFLOW_HOME=$PWD strongroom up asks it"


def places(around: Surroundings) -> Iterator[Place]:
    """Find what Airflow asks besides the environment."""
    found = _found(around)
    if found is None:
        return
    for title, look in ((_TITLE, _backends), (_DATABASE_TITLE, _metastore)):
        try:
            yield from look(found, around)
        except BackendConfigError as error:
            yield Place(title=title, where=found.where, reason=str(error))


@dataclass(frozen=True, slots=True)
class _Found:
    """
    Airflow's configuration.

    Args:
        where: what named it.
        is_named: Airflow itself would read it. A file that was only come across is a stranger's word: it
            may expand any variable of the environment, name any server and have it sent there.
    """

    config: AirflowConfig
    where: str
    is_named: bool

    def is_ours(self, *options: tuple[str, str]) -> bool:
        """Tell whether nothing but the user's own environment and files say *options*."""
        return self.is_named or all(
            self.config.source(*option) in ("environment", "default", None) for option in options
        )


def _found(around: Surroundings) -> _Found | None:
    """Find Airflow's configuration where Airflow looks for it; where nothing is said, here too."""
    said = around.set_of("AIRFLOW_CONFIG", "AIRFLOW_HOME")
    file = around.cwd / "airflow.cfg"
    is_named = bool(said) or not file.is_file()
    if not is_named and file.stat().st_uid not in (0, os.geteuid()):
        raise BackendConfigError("./airflow.cfg belongs to another user, so it was not read")
    config = AirflowConfig.find(around.environ, home=None if is_named else around.cwd)
    if config is None:
        return None
    place = around.shown(config.file or config.home)
    return _Found(config, f"{place} ({said[0]})" if said else place, is_named)


def _named_by(found: _Found, option: tuple[str, str]) -> str:
    is_environment = found.config.source(*option) == "environment"
    return f"AIRFLOW__{'__'.join(option).upper()}" if is_environment else found.where


# --- the secrets backend -----------------------------------------------------------------------------


def _backends(found: _Found, around: Surroundings) -> Iterator[Place]:
    told: list[SecretsBackend] = []
    for is_worker in (False, True):
        may_run = around.may_run and found.is_named
        backend = found.config.secrets_backend(is_worker=is_worker, may_run=may_run)
        if backend is None or backend in told:
            continue
        told.append(backend)
        key = "backend" if backend.section == "secrets" else "secrets_backend"
        options = ((backend.section, key), (backend.section, f"{key}_kwargs"))
        place = _custom(backend, _named_by(found, options[0]), around)
        is_ours = place.kind == "file" or found.is_ours(*options)
        yield place if is_ours or place.table is None else replace(place, table=None, reason=_UNNAMED)


def place_of(backend: SecretsBackend, around: Surroundings) -> Place:
    """Give the place that *backend* asks; it has no table where no kind of ours can ask it."""
    return _custom(backend, "", around)


def _custom(found: SecretsBackend, where: str, around: Surroundings) -> Place:
    kind = found.class_path.rpartition(".")[2]
    title = _TITLE if found.section == "secrets" else f"{_TITLE} for tasks"
    place = Place(title=title, where=where, is_first=True, warnings=found.problems)
    one = classes.known(found.class_path)
    if one is not None:
        place = replace(place, title=f"{title}: {one.title}", name=one.name, kind=one.kind)
        return _known(place, one, found, around)
    if kind == _FILES:
        return _files(replace(place, name="files", kind="file"), found, around)
    what = _FOREIGN.get(kind) or (f"the class {kind}" if kind.isidentifier() else "a class of its own")
    return replace(place, reason=f"it is {what}: {NO_BACKEND}")


def _files(place: Place, found: SecretsBackend, around: Surroundings) -> Place:
    table: dict[str, Any] = {
        key: around.cwd / value
        for key, value in found.kwargs.items()
        if key.endswith("_file_path") and isinstance(value, str) and value
    }
    if not table:
        return replace(place, reason="its arguments name no file")
    # Airflow's own follows links.
    if any(path.is_symlink() for path in table.values()):
        table["follow_symlinks"] = True
    is_personal = any(around.is_personal(path) for path in table.values() if isinstance(path, Path))
    return replace(place, table=table, is_personal=is_personal)


def _known(place: Place, one: classes.Known, found: SecretsBackend, around: Surroundings) -> Place:
    if found.problems:
        # Airflow goes on without arguments; then it asks what nobody meant, as a Vault on this machine.
        return replace(place, reason=found.problems[0], warnings=())
    table, reason = classes.table_of(one, found.kwargs, around.cwd)
    if table is None:
        return replace(place, reason=reason)
    if one.kind == "vault":
        _find_vault(table, around)
    return replace(place, table=table)


def _find_vault(table: dict[str, Any], around: Surroundings) -> None:
    """Add what hvac finds by itself."""
    if "url" not in table and around.set_of("VAULT_ADDR"):
        table["url"] = around.environ["VAULT_ADDR"]
    is_by_token = table.get("auth_type", "token") == "token" and not {"token", "token_path"} & set(table)
    if is_by_token and (token := vault_token(around)[0]) is not None:
        table["token"] = token


# --- the metadata database ---------------------------------------------------------------------------


def _metastore(found: _Found, around: Surroundings) -> Iterator[Place]:
    config = found.config
    origins = {option: config.source(*option) for option in (_DATABASE, _KEY)}
    if origins[_DATABASE] == "default" and not (config.home / "airflow.db").is_file():
        return
    named = _named_by(found, _DATABASE)
    place = Place(
        title=_DATABASE_TITLE,
        name="metastore",
        kind="airflow_metastore",
        where=named if origins[_DATABASE] != "default" else around.shown(config.home / "airflow.db"),
        table={"airflow_home": config.home},
        is_personal=around.is_personal(config.home),
    )
    commands = tuple(f"{key}_cmd" for (_, key), origin in origins.items() if origin == "command")
    if not found.is_ours(_DATABASE, _KEY) and not _is_plain_file(config, origins):
        place = replace(place, table=None, reason=_UNNAMED)
    elif commands and not around.may_run:
        reason = f"it needs the command of {' and '.join(commands)}, which runs on a yes only"
        place = replace(place, table=None, needs_command=commands, reason=reason)
    yield place


def _is_plain_file(config: AirflowConfig, origins: Mapping[tuple[str, str], str | None]) -> bool:
    """Tell whether to ask the database is to open a file of this machine, and nothing else."""
    if {"command", "secret"} & set(origins.values()):
        return False
    return config.database_url.reveal().startswith("sqlite:")
