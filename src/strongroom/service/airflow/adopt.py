"""
What a running Airflow's secrets backend is configured with, as settings of ours.

Not for what its database holds (`airflow import`), nor for finding other places (`discovery/`).

Rules of this file:

1. No secret of the arguments stands in what is proposed: each is a reference, to the variable that Airflow
   itself reads it from where there is one, else to a file of its own beside the settings.
2. What Airflow asks is asked in its order: its backend, the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.insight.literals import has_password, is_secret_name
from strongroom.model.secret import Secret
from strongroom.service.discovery import airflow, classes
from strongroom.service.proposal import NewFile
from strongroom.settings import PERSONAL_FOLDER, SecretSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.service.discovery.place import Place, Surroundings
    from strongroom.vendors.airflow import AirflowConfig, SecretsBackend

__all__ = ["Adopted", "Moved", "adopt"]

_COMMENT = "Settings of Strongroom, taken from Airflow's own: docs/settings.md says what else may stand here."
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MORE_SECRET = frozenset({"secret_id", "keyfile_dict", "gcp_keyfile_dict", "jwt_token", "uid_token"})
# Of a class that nobody here knows, rather one reference too many.
_LIKE_SECRET = re.compile(
    r"(?:^|[_\-. ])(?:pass|pin|passwords|secrets|tokens|keys|auth|authorization|cookies?|dsns?)$",
    re.IGNORECASE,
)
_IN_TEXT = re.compile(
    r"\A(?:bearer|basic) \S|(?:password|passwd|pwd|secret|token|accountkey|sig) ?[=:] ?\S", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """
    A secret of Airflow's arguments that the settings fetch from elsewhere.

    Args:
        option: where it stands in the settings, as in `backend.vault.token`.
        source: `env` or `file`.
        argument: the variable, or the path as the settings name it.
        secret: itself, where a file has to be made; None where the variable is there.
    """

    option: str
    source: str
    argument: str
    secret: Secret[str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """
    What would be written.

    Args:
        settings: the file; it holds no secret.
        moved: secrets, with where each is fetched from.
        secrets: the files of those that need one, with the `.gitignore` that keeps them out of git.
        notes: what to know, such as arguments that were passed over.
    """

    settings: NewFile
    moved: tuple[Moved, ...]
    secrets: tuple[NewFile, ...]
    notes: tuple[str, ...]


def adopt(
    config: AirflowConfig, around: Surroundings, *, file: Path, deployment: str, has_store: bool
) -> Adopted:
    """
    Give settings that ask what *config* says Airflow asks.

    Args:
        config: of that Airflow.
        around: its environment and the project's folder.
        file: where the settings are to stand.
        deployment: its name.
        has_store: there is a store of our own, which is asked last.

    Raises:
        InvalidInputError: Airflow has no secrets backend of its own, or has ours.
        BackendConfigError: its configuration cannot be read.
    """
    backends = _backends(config)
    tables: dict[str, dict[str, Any]] = {}
    moved: list[Moved] = []
    notes: list[str] = []
    for backend in backends:
        passed_over: list[str] = []
        place = airflow.place_of(backend, around)
        name, table = _table(backend, place, tables, passed_over)
        table.update(_teams(config, backend, place))
        if place.kind and place.table is None:
            notes.append(f"{backend.class_path} is asked as it is: {place.reason}")
        mover = _Mover(name, config.single_kwargs(*_OPTIONS[backend.section]), around.environ)
        tables[name] = mover.table(table)
        moved += mover.moved
        notes += backend.problems
        notes += [
            f"the argument {option} may hold a secret within a list, which cannot be fetched from elsewhere:"
            " it is not taken over"
            for option in passed_over
        ]
    if len(tables) > 1:
        notes.append(
            "tasks and servers ask different backends in Airflow; here both are asked, the servers' first"
        )
    settings = {"deployment": deployment, "chain": [*tables, "env", *(["native"] if has_store else [])]}
    return Adopted(
        settings=NewFile(path=file, text=Secret(_toml(settings, tables)), mode=0o644),
        moved=tuple(moved),
        secrets=tuple(_files(moved, file.parent)),
        notes=tuple(notes),
    )


_TRUE = ("t", "true", "1")  # as Airflow reads them
_OPTIONS = {"secrets": ("secrets", "backend"), "workers": ("workers", "secrets_backend")}


def _backends(config: AirflowConfig) -> list[SecretsBackend]:
    found = [config.secrets_backend(is_worker=is_worker) for is_worker in (False, True)]
    unique: list[SecretsBackend] = []
    for backend in found:
        same = [one for one in unique if backend and one.class_path == backend.class_path]
        if backend is not None and not any(one.kwargs == backend.kwargs for one in same):
            unique.append(backend)
    if not unique:
        raise InvalidInputError(
            "this Airflow has no secrets backend of its own, so there is nothing to take over",
            hint="strongroom airflow enable switches it over, strongroom airflow import brings its database",
        )
    if any(backend.class_path.startswith("strongroom.") for backend in unique):
        raise InvalidInputError(
            "this Airflow's secrets backend is Strongroom's already",
            hint="strongroom airflow disable goes back to the one before, which could be taken over",
        )
    return unique


# --- one backend ---------------------------------------------------------------------------------


def _table(
    backend: SecretsBackend, place: Place, taken: Mapping[str, object], passed_over: list[str]
) -> tuple[str, dict[str, Any]]:
    """
    Give the name and the table of one backend: of a kind of ours where there is one, else its class.

    Arguments that cannot be taken over are named in *passed_over*.
    """
    if place.table is not None and place.kind:
        kind = {} if place.kind == place.name else {"kind": place.kind}
        return _free(place.name, taken), {**kind, **place.table}
    arguments = {key: value for key, value in backend.kwargs.items() if value is not None}
    table: dict[str, Any] = {"kind": "airflow_class", "path": backend.class_path}
    nothing = [key for key, value in backend.kwargs.items() if value is None]
    if nothing:
        table["none"] = nothing
    if arguments:
        table["kwargs"] = _marked(arguments, passed_over)
    return _free(_called(backend.class_path), taken), table


def _teams(config: AirflowConfig, backend: SecretsBackend, place: Place) -> dict[str, Any]:
    """Give the option that keeps teams, where Airflow keeps them and nothing else is said."""
    one = classes.known(backend.class_path)
    if one is None or place.table is None or not one.teams or one.teams in place.table:
        return {}
    said = config.get("core", "multi_team")
    return {one.teams: True} if said is not None and said.reveal().strip().lower() in _TRUE else {}


def _called(path: str) -> str:
    last = path.rpartition(".")[2].removesuffix("Backend")
    return _CAPITAL.sub("_", last).lower().strip("_") or "airflow"


def _free(name: str, taken: Mapping[str, object]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _marked(
    value: Mapping[str, Any], passed_over: list[str], within: str = "", *, is_all: bool = False
) -> dict[str, Any]:
    """
    Give arguments with what is or is named like a secret marked as one, at any depth.

    Args:
        value: the arguments.
        passed_over: gets the names of those that cannot be taken over.
        within: what leads to them.
        is_all: every text of them is a secret.
    """
    made: dict[str, Any] = {}
    for key, item in value.items():
        is_secret = is_all or _is_secret(str(key))
        if isinstance(item, dict):
            # Of a document with a known shape its members say which of them are.
            is_whole = is_secret and str(key) not in _MORE_SECRET
            made[key] = _marked(item, passed_over, f"{within}{key}.", is_all=is_whole)
        elif isinstance(item, list) and (is_secret or _holds_secret(item)):
            passed_over.append(f"{within}{key}")
        elif _is_text(item) and item != "" and (is_secret or _reads_secret(str(item))):
            made[key] = SecretSource(kind="text", argument=(str(item),), key=str(key))
        elif item is not None:  # within another it says nothing, and a settings file could not
            made[key] = item
    return made


def _is_text(value: object) -> bool:
    # A password of digits is a number in JSON.
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _holds_secret(value: object) -> bool:
    """Tell whether something within a list may be a secret."""
    if isinstance(value, dict):
        return any(_is_secret(str(key)) or _holds_secret(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_holds_secret, value))
    return isinstance(value, str) and _reads_secret(value)


def _reads_secret(text: str) -> bool:
    return has_password(text) or _IN_TEXT.search(text) is not None


def _is_secret(key: str) -> bool:
    if key.endswith("_path"):
        return False
    return (
        key in _MORE_SECRET or is_secret_name(key) or _LIKE_SECRET.search(_CAPITAL.sub("_", key)) is not None
    )


class _Mover:
    """Put references where the secrets of one backend's table stand."""

    def __init__(self, name: str, variables: list[str], environ: Mapping[str, str]) -> None:
        self._name = name
        self._variables = variables
        self._environ = environ
        self.moved: list[Moved] = []

    def table(self, table: Mapping[str, Any], way: tuple[str, ...] = ()) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in table.items():
            if isinstance(value, SecretSource):
                made[key] = self._reference(value, (*way, key))
            elif isinstance(value, dict):
                made[key] = self.table(value, (*way, key))
            else:
                made[key] = str(value) if isinstance(value, Path) else value
        return made

    def _reference(self, source: SecretSource, way: tuple[str, ...]) -> dict[str, str]:
        option = ".".join(("backend", self._name, *way))
        if source.kind != "text":
            return {source.kind: source.argument[0]}
        text = source.argument[0]
        variable = next((name for name in self._variables if self._environ[name] == text), None)
        if variable is not None:
            moved = Moved(option=option, source="env", argument=variable)
        else:
            name = "-".join((self._name, *way)).replace("_", "-")
            path = f"{PERSONAL_FOLDER}/{re.sub(r'[^A-Za-z0-9.-]', '-', name)}"
            moved = Moved(option=option, source="file", argument=path, secret=Secret(text))
        self.moved.append(moved)
        return {moved.source: moved.argument}


# --- files ---------------------------------------------------------------------------------------


def _files(moved: list[Moved], folder: Path) -> Iterator[NewFile]:
    needed = [one for one in moved if one.secret is not None]
    if needed:
        yield NewFile(path=folder / PERSONAL_FOLDER / ".gitignore", text=Secret("*\n"))
    for one in needed:
        assert one.secret is not None  # noqa: S101 -- chosen so above
        yield NewFile(path=folder / one.argument, text=one.secret, is_secret=True)


def _toml(settings: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    import tomlkit  # noqa: PLC0415 -- only who writes settings needs it

    document = tomlkit.document()
    document.add(tomlkit.comment(_COMMENT))
    for key, value in settings.items():
        document.add(key, tomlkit.item(value))
    backends = tomlkit.table(is_super_table=True)
    for name, options in tables.items():
        backends.add(name, _section(options))
    document.add("backend", backends)
    return tomlkit.dumps(document)


def _section(options: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- tomlkit's own
    import tomlkit  # noqa: PLC0415 -- as `_toml`

    table = tomlkit.table()
    for key, value in options.items():
        if isinstance(value, dict) and key == "kwargs":
            table.add(key, _section(value))
        elif isinstance(value, dict):
            inline = tomlkit.inline_table()
            inline.update(value)
            table.add(key, inline)
        else:
            table.add(key, tomlkit.item(value))
    return table
