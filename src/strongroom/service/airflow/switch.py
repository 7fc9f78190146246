"""
Switching an Airflow over to Strongroom in its `airflow.cfg`, and back.

Not for what the settings say (`wanted`), nor for how single lines are set (`cfg.py`).

Rules of this file:

1. What cannot be undone to the byte is not begun: settings that another place decides, a file that is a link,
   a deployment that was switched already.
2. A copy and a note of what stood there are on the disk before the file changes, readable by its owner only:
   the arguments of the backend that was there may hold secrets.
3. The file is replaced whole: an Airflow that starts meanwhile reads the one or the other.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.errors import ConflictError, InvalidInputError, ReadOnlyError
from strongroom.service.airflow.cfg import Edit, put_back, set_option
from strongroom.vendors.airflow import AirflowConfig

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.vendors.airflow import SecretsBackend

__all__ = [
    "BACKEND",
    "Plan",
    "Setting",
    "Wanted",
    "disable",
    "enable",
    "find_config",
    "is_ours",
    "plan",
    "record_of",
]

BACKEND = "strongroom.airflow.StrongroomBackend"
_COORDINATOR = "strongroom.airflow.StrongroomCoordinator"
_COPY = ".strongroom-copy"
_RECORD = ".strongroom.json"
_HIDDEN = "…"
_ELSEWHERE = "strongroom airflow enable --for env prints the lines for the environment; put them in its place"
_SECTIONS = (("secrets", "backend"), ("workers", "secrets_backend"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    What is to be set.

    Args:
        kwargs: of our backend: where to ask; no secrets.
        is_shadow: the backend that is there goes on answering, and ours is compared.
        canary: patterns of the DAGs that ours answers meanwhile.
        is_verified: the coordinator too (Airflow 3.3).
        queues: whose tasks it runs.
    """

    kwargs: Mapping[str, object] = field(default_factory=dict, repr=False)
    is_shadow: bool = False
    canary: Sequence[str] = ()
    is_verified: bool = False
    queues: Sequence[str] = ("default",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One setting of Airflow's.

    Args:
        value: as Airflow is to read it; it may hold the secrets of the backend that was there.
        shown: what of it may be shown.
    """

    section: str
    option: str
    value: str = field(repr=False)
    shown: str

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"AIRFLOW__{self.section.upper()}__{self.option.upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What would be set, and where.

    Args:
        settings: in the order they are written.
        was: the class that is there now, or None.
    """

    settings: tuple[Setting, ...]
    was: str | None = None


def find_config(environ: Mapping[str, str], home: Path | None = None) -> AirflowConfig:
    """
    Give the configuration of the Airflow that *environ* or *home* names.

    Raises:
        InvalidInputError: there is none.
        BackendConfigError: it cannot be read.
    """
    found = AirflowConfig.find(environ, home=home)
    if found is None:
        raise InvalidInputError(
            "no Airflow is found", hint="set AIRFLOW_HOME, or say --home; --for … prints lines without one"
        )
    return found


def plan(config: AirflowConfig | None, wanted: Wanted) -> Plan:
    """
    Tell what would be set.

    Args:
        config: of the Airflow; None for one that nothing is known of.
        wanted: what is asked for.

    Raises:
        InvalidInputError: shadow mode cannot take over what is there.
        ConflictError: we are there already.
    """
    settings: list[Setting] = []
    was = None
    for section, option in _SECTIONS:
        found = None if config is None else config.secrets_backend(is_worker=section == "workers")
        if section == "workers" and (found is None or found.section != "workers"):
            continue  # tasks ask what [secrets] says
        if found is not None and _is_ours(found):
            raise ConflictError(
                f"[{section}] {option} is Strongroom's already",
                hint="strongroom airflow disable goes back first",
            )
        if found is not None and wanted.is_shadow and found.problems:
            raise InvalidInputError(
                f"shadow mode needs the arguments that are there, and {found.problems[0]}",
                hint="mend them first, or enable without --shadow",
            )
        was = was or (None if found is None else found.class_path)
        old = (None, {}) if found is None else (found.class_path, found.kwargs)
        settings += _ours(section, option, wanted, old)
    if wanted.is_verified:
        settings += _verified(config, wanted)
    return Plan(settings=tuple(settings), was=was)


def is_ours(config: AirflowConfig) -> bool:
    """Tell whether the secrets backend of *config* is ours already."""
    found = config.secrets_backend(may_run=False)
    return found is not None and _is_ours(found)


def _is_ours(backend: SecretsBackend) -> bool:
    return backend.class_path.startswith("strongroom.")


def _ours(
    section: str, option: str, wanted: Wanted, old: tuple[str | None, Mapping[str, object]]
) -> list[Setting]:
    kwargs: dict[str, Any] = dict(wanted.kwargs)
    shown = dict(kwargs)
    if wanted.is_shadow:
        kwargs["mode"] = shown["mode"] = "shadow"
        path, arguments = old
        if path is not None:
            kwargs["shadow_backend"] = shown["shadow_backend"] = path
        if arguments:
            kwargs["shadow_backend_kwargs"] = dict(arguments)
            shown["shadow_backend_kwargs"] = dict.fromkeys(arguments, _HIDDEN)
        if wanted.canary:
            kwargs["canary"] = shown["canary"] = list(wanted.canary)
    told = json.dumps(shown, ensure_ascii=False)
    return [
        Setting(section=section, option=option, value=BACKEND, shown=BACKEND),
        Setting(section=section, option=f"{option}_kwargs", value=json.dumps(kwargs), shown=told),
    ]


def _verified(config: AirflowConfig | None, wanted: Wanted) -> list[Setting]:
    coordinators = _object(config, "coordinators")
    queues = _object(config, "queue_to_coordinator")
    taken = [name for name in wanted.queues if queues.get(name, "strongroom") != "strongroom"]
    if taken:
        raise ConflictError(
            f"the queue {taken[0]} has a coordinator of its own", hint="name other queues with --queue"
        )
    socket = {"socket": wanted.kwargs["socket"]} if "socket" in wanted.kwargs else {}
    shown = {name: _without_values(told) for name, told in coordinators.items()}
    shown["strongroom"] = coordinators["strongroom"] = {"classpath": _COORDINATOR, "kwargs": socket}
    queues |= dict.fromkeys(wanted.queues, "strongroom")
    told = json.dumps(queues)
    return [
        Setting(
            section="sdk",
            option="coordinators",
            value=json.dumps(coordinators),
            shown=json.dumps(shown, ensure_ascii=False),
        ),
        Setting(section="sdk", option="queue_to_coordinator", value=told, shown=told),
    ]


def _without_values(coordinator: object) -> object:
    """Give what may be shown of another coordinator: its arguments may be secrets."""
    if not isinstance(coordinator, dict) or not isinstance(coordinator.get("kwargs"), dict):
        return coordinator
    return coordinator | {"kwargs": dict.fromkeys(coordinator["kwargs"], _HIDDEN)}


def _object(config: AirflowConfig | None, option: str) -> dict[str, Any]:
    said = None if config is None else config.get("sdk", option)
    if said is None or not said.reveal().strip():
        return {}
    try:
        found = json.loads(said.reveal())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidInputError(f"[sdk] {option} is no JSON object", hint="mend it first")
    return found


# --- the file ------------------------------------------------------------------------------------


def record_of(config: AirflowConfig) -> Path | None:
    """Give the note that `enable` left beside the file, or None."""
    if config.file is None:
        return None
    path = config.file.with_name(config.file.name + _RECORD)
    return path if path.is_file() else None


def enable(config: AirflowConfig, planned: Plan) -> Path:
    """
    Write *planned* into the file of *config*, and give the copy of what stood there.

    Raises:
        ConflictError: another place decides one of the settings.
        ReadOnlyError: the file cannot be replaced.
        InvalidInputError: there is none.
    """
    file = _writable(config)
    _check_places(config, planned)
    data = file.read_bytes()
    text, edits = data.decode(), []
    for setting in planned.settings:
        text, edit = set_option(text, setting.section, setting.option, setting.value)
        edits.append(edit)
    note = {"version": 1, "edits": [asdict(edit) for edit in edits], "before": _before(config)}
    copy = file.with_name(file.name + _COPY)
    _replace(copy, data, mode=0o600)
    _replace(file.with_name(file.name + _RECORD), json.dumps(note, indent=1).encode(), mode=0o600)
    _replace(file, text.encode(), like=file.stat())
    return copy


def disable(config: AirflowConfig) -> list[str]:
    """
    Put back what stood in the file of *config* before `enable`, and tell which settings.

    Raises:
        InvalidInputError: nothing was enabled there.
        ConflictError: one of the settings has changed since; nothing was done.
        ReadOnlyError: the file cannot be replaced.
    """
    record = record_of(config)
    if record is None or config.file is None:
        raise InvalidInputError(
            "nothing in this airflow.cfg was enabled by strongroom airflow enable",
            hint="where the environment says it, take AIRFLOW__SECRETS__BACKEND and …_KWARGS out of it",
        )
    file = _writable(config)
    edits = _edits(record)
    text = file.read_bytes().decode()
    for edit in reversed(edits):
        text = put_back(text, edit)
    copy = file.with_name(file.name + _COPY)
    _replace(file, text.encode(), like=file.stat())
    record.unlink()
    if copy.is_file() and copy.read_bytes() == text.encode():
        copy.unlink()  # it says nothing that the file does not
    return [f"[{edit.section}] {edit.option}" for edit in edits]


def _edits(record: Path) -> list[Edit]:
    try:
        found = json.loads(record.read_bytes())
        return [Edit(**edit) for edit in found["edits"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidInputError(
            f"{record} cannot be read", hint=f"put the copy beside it back by hand: *{_COPY}"
        ) from None


def _before(config: AirflowConfig) -> dict[str, str | None]:
    said = {key: config.get("secrets", key) for key in ("backend", "backend_kwargs")}
    return {key: None if value is None else value.reveal() for key, value in said.items()}


def _check_places(config: AirflowConfig, planned: Plan) -> None:
    for setting in planned.settings:
        source = config.source(setting.section, setting.option)
        if source in ("command", "secret") and _HIDDEN in setting.shown:
            raise ConflictError(
                f"the arguments that are there come from a {source}, and shadow mode would write them out in"
                " airflow.cfg",
                hint="have the command or the secret give them: strongroom airflow enable --shadow --for env"
                " prints what it is to say",
            )
        if source == "environment":
            raise ConflictError(
                f"{setting.variable} is set in the environment, which wins over airflow.cfg", hint=_ELSEWHERE
            )
    for section, option in _SECTIONS:
        names = config.single_kwargs(section, option)
        if names and any(setting.section == section for setting in planned.settings):
            raise ConflictError(f"{names[0]} is set, and would be handed to our backend too", hint=_ELSEWHERE)


def _writable(config: AirflowConfig) -> Path:
    file = config.file
    if file is None:
        raise InvalidInputError(
            f"there is no airflow.cfg in {config.home}", hint="--for env prints lines for the environment"
        )
    if file.is_symlink():
        raise ReadOnlyError(
            f"{file} is a link, as a container's mounted configuration is",
            hint="--for helm, dockerfile, env or astro prints the lines for where it comes from",
        )
    return file


def _replace(path: Path, data: bytes, *, mode: int = 0o600, like: os.stat_result | None = None) -> None:
    """Write *path* whole or not at all, with the mode and owner of *like* where it is given."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(data)
                opened.flush()
                if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(handle, like.st_uid, like.st_gid)
                os.fchmod(handle, mode if like is None else stat.S_IMODE(like.st_mode))
                os.fsync(handle)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ReadOnlyError(
            f"{path} cannot be written: {reason}", hint="run this as the user the file belongs to"
        ) from None
