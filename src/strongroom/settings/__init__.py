"""
File and environment → frozen Settings.

Not for building objects (`assembly/`). With `place.py` the only reader of the environment.

What the settings are stands in `shape.py`, where they stand in `find.py`, how a table of them is read
in `table.py`, and where their secrets are fetched from in `source.py`. An unknown key or a wrong value
is refused everywhere here, with errors that name keys and never values.

Every setting is described in docs/settings.md.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from strongroom.settings.access import AccessSettings
from strongroom.settings.agent import AgentSettings
from strongroom.settings.find import (
    COPIES_FOLDER,
    FILE_NAME,
    choose,
    find,
    home_of,
    override,
    working_folder,
)
from strongroom.settings.server import LimitSettings, ServerSettings, check_reach
from strongroom.settings.shape import (
    OF_EVERY_BACKEND,
    AuditSettings,
    BackendSettings,
    CacheSettings,
    KeySettings,
    LookupSettings,
    Settings,
    StoreSettings,
    TraceSettings,
    WrapperSettings,
    complete,
)
from strongroom.settings.source import SecretSource, output_of, resolve
from strongroom.settings.table import PERSONAL_FOLDER, Table
from strongroom.settings.wrapper import WRAPPERS, wrapper_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from strongroom.consent import Consent

__all__ = [
    "COPIES_FOLDER",
    "FILE_NAME",
    "PERSONAL_FOLDER",
    "WRAPPERS",
    "AccessSettings",
    "AgentSettings",
    "AuditSettings",
    "BackendSettings",
    "CacheSettings",
    "KeySettings",
    "LimitSettings",
    "LookupSettings",
    "SecretSource",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TraceSettings",
    "WrapperSettings",
    "check_reach",
    "consent",
    "load",
    "options",
    "output_of",
    "resolve",
    "without_file",
    "working_folder",
    "wrapper_options",
]

T = TypeVar("T")


def load(
    config: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    deployment: str | None = None,
    tables: Mapping[str, Any] | None = None,
    with_copies: bool = True,
) -> Settings:
    """
    Find the settings and read them.

    The first of: *config*; `STRONGROOM_CONFIG`; `./strongroom.toml`; with `STRONGROOM_HOME` that
    folder's `strongroom.toml`, otherwise the user's and the system's configuration folders; nothing,
    which works too. Over it is laid what is only mine: `.strongroom/strongroom.toml` beside the file
    that was named, otherwise in *cwd*; and over that what names the copies of `strongroom dev`.
    `STRONGROOM__SECTION__KEY` overrides single values.

    Args:
        config: a file to read instead of looking for one.
        environ: the environment.
        cwd: where `./strongroom.toml` is looked for; the working directory if unsaid.
        deployment: which of the file's deployments; `STRONGROOM_DEPLOYMENT`, then the first if unsaid.
        tables: laid over the files, as they would be parsed; a `SecretSource` may stand where a secret
            belongs. Paths in it are relative to *cwd*.
        with_copies: False leaves out what `strongroom dev` laid over them, to ask where it copies from.

    Raises:
        SettingsError: a file, key or value that cannot be right; `key` names it.
    """
    folder = cwd.absolute() if cwd else working_folder()
    found = find(config, environ, folder, with_copies=with_copies)
    found.check_consent(environ)
    source = found.source
    read = found.laid_under(tables or {}, folder)
    wanted = deployment or environ.get("STRONGROOM_DEPLOYMENT") or None
    name, table, others = choose(read, wanted, has_file=source is not None or "deployments" in read)
    override(table, environ)
    home = home_of(environ, name, is_first=name not in read.get("deployments", {}))
    made = complete(Table(table, "", source.parent if source else folder), name, home, source, others)
    return replace(made, personal=found.personal, copies=found.copies)


def without_file(
    environ: Mapping[str, str] = os.environ,
    *,
    deployment: str | None = None,
    tables: Mapping[str, Any] | None = None,
) -> Settings:
    """
    Give the settings that hold where no file counts: *tables*, and what is said in the environment, over the
    defaults.

    Args:
        environ: the environment.
        deployment: its name; `default` if unsaid.
        tables: as `load`.

    Raises:
        SettingsError: a value that cannot be right.
    """
    table = dict(tables or {})
    override(table, environ)
    name, _, _ = choose({}, deployment, has_file=False)
    return complete(Table(table, "", working_folder()), name, home_of(environ, name, is_first=True), None, ())


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
    return find(config, environ, cwd.absolute() if cwd else working_folder()).consent(environ)


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
    table = Table(dict(settings.options), f"backend.{settings.name}.", settings.folder)
    # One that is near a setting of every backend was meant to be that.
    own = [member.name for member in fields(shape) if member.init]  # type: ignore[arg-type]  # a dataclass
    table.check_keys([*own, *OF_EVERY_BACKEND])
    return table.build(shape, environ)
