"""
What an Airflow resolves today and what it would with us, and what about its configuration is dangerous.

Not for looking into values: that happens inside that Airflow's own Python (`airflow/probe.py`), which is run
as a program and tells outcomes and names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.insight.airflow import configuration
from strongroom.insight.git import kept_by_git

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["Asked", "Check", "Notice", "check", "find_python", "shadow_sums"]

_PROBE = Path(__file__).parents[2] / "airflow" / "probe.py"
# By its path, and without the folder this happens to be started in: an `airflow/` there is not Airflow.
_START = (
    "import runpy,sys;sys.path[:]=[p for p in sys.path if p];runpy.run_path(sys.argv[1],run_name='__main__')"
)
_SECONDS = 300.0
_MAX_ANSWER = 67_108_864  # 64 MiB: names and outcomes of 20,000 ids are 5
_COORDINATORS = (3, 3)  # the first Airflow that has them
_ENV_FILE = ".env"
_GIT = {
    "tracked": "is kept by git",
    "not ignored": "stands in a git work tree and is not ignored",
    "cannot be told": "stands in a git work tree, and git cannot tell whether it is ignored",
}
_TROUBLE = frozenset({"different", "missing", "error"})

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """
    One thing to know.

    Args:
        name: of its kind; docs/airflow.md explains each.
        level: whether it breaks Airflow, gives secrets away, or is only good to know.
        what: what was found; no value.
        fix: what to type or change.
    """

    name: str
    level: Level
    what: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What is to be compared.

    Args:
        python: of that Airflow.
        ids: by kind; those that Airflow's environment and database hold need not be named.
        kwargs: how we would be configured: places, never secrets. What is configured counts where we are.
        record: what `airflow enable` noted, or None.
    """

    python: Path
    ids: Mapping[str, Collection[str]]
    kwargs: Mapping[str, object] = field(default_factory=dict, repr=False)
    record: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """
    What was found.

    Args:
        told: what the probe said, as `airflow/probe.py` describes it.
        notices: what to know, worst first.
    """

    told: Mapping[str, Any]
    notices: tuple[Notice, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each id with its outcome."""
        return list(self.told.get("ids") or ())

    @property
    def counts(self) -> Counter[str]:
        """How many ids have which outcome."""
        return Counter(row["outcome"] for row in self.rows)

    @property
    def is_good(self) -> bool:
        """Whether nothing would change for the worse and nothing is broken."""
        return not _TROUBLE & set(self.counts) and all(notice.level != "error" for notice in self.notices)


def check(config: AirflowConfig, asked: Asked, *, environ: Mapping[str, str], cwd: Path) -> Check:
    """
    Run the probe and look at the configuration around it.

    Args:
        config: of that Airflow.
        asked: what to compare.
        environ: what that Airflow is started with.
        cwd: the project's folder.

    Raises:
        BackendConfigError: that Python cannot be run, or does not answer.
    """
    backends = _backends(config)
    paths = [backend.class_path for backend in backends]
    told = _probed(asked, paths, environ)
    notices = [
        *_of_probe(told, paths),
        *_of_configuration(config, told, environ),
        *_of_env_files(config, environ, cwd),
    ]
    levels: list[Level] = ["error", "warning", "note"]
    notices.sort(key=lambda notice: levels.index(notice.level))
    return Check(told=told, notices=tuple(notices))


def _backends(config: AirflowConfig) -> list[Any]:
    found = [config.secrets_backend(is_worker=is_worker, may_run=False) for is_worker in (False, True)]
    unique = {backend.section: backend for backend in found if backend is not None}
    return list(unique.values())


# --- the other Python ----------------------------------------------------------------------------


def find_python(environ: Mapping[str, str], said: Path | None = None) -> Path:
    """
    Give the Python of an Airflow: the one *said*, else the one beside `airflow` on PATH, else this one.

    Raises:
        InvalidInputError: there is no such program.
    """
    if said is not None:
        found = shutil.which(str(said.expanduser()))
        if found is None:
            raise InvalidInputError(
                "--python names no program", hint="give the python of Airflow's environment"
            )
        return Path(found).absolute()
    program = shutil.which("airflow", path=environ.get("PATH", ""))
    # A link in /usr/local/bin leads to the environment that has the Python beside it.
    for script in () if program is None else (Path(program).absolute(), Path(program).resolve()):
        python = script.with_name("python")
        if os.access(python, os.X_OK):
            return python
    return Path(sys.executable)


def _probed(asked: Asked, classes: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
    record = None if asked.record is None else str(asked.record)
    ids = {kind: sorted(names) for kind, names in asked.ids.items()}
    question = {"ids": ids, "kwargs": dict(asked.kwargs), "record": record, "classes": classes}
    try:
        done = subprocess.run(  # noqa: S603 -- a program the user names, a list of words, no shell
            [str(asked.python), "-c", _START, str(_PROBE)],
            input=json.dumps(question).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            timeout=_SECONDS,
            check=False,
        )
        told = json.loads(done.stdout[:_MAX_ANSWER])
    except subprocess.TimeoutExpired:
        raise _no_answer(asked.python, f"gave no answer within {_SECONDS:g} s") from None
    except (OSError, ValueError):
        raise _no_answer(asked.python, "cannot be asked") from None
    if not isinstance(told, dict):
        raise _no_answer(asked.python, "cannot be asked")
    return told


def _no_answer(python: Path, what: str) -> BackendConfigError:
    return BackendConfigError(
        f"the Python of Airflow {python} {what}", hint=f"look whether {python} -c 'import airflow' runs"
    )


# --- what to know --------------------------------------------------------------------------------


def _of_probe(told: Mapping[str, Any], paths: list[str]) -> Iterator[Notice]:
    # A class that cannot be imported Airflow tells by an error of its own.
    if told.get("fatal") == "ModuleNotFoundError":
        yield Notice(
            name="no-airflow",
            level="error",
            what="Airflow, or something it needs, is not installed in that Python",
            fix="name the Python of Airflow's environment with --python",
        )
    elif told.get("fatal"):
        yield Notice(
            name="airflow-does-not-start",
            level="error",
            what=f"Airflow does not start with this configuration ({told['fatal']})",
            fix=f"look at {' and '.join(paths) or 'airflow.cfg'}: a class that cannot be imported stops all"
            " of Airflow, even airflow version",
        )
    for path in told.get("broken") or ():
        yield Notice(
            name="wrong-class-path",
            level="error",
            what=f"the class {path} cannot be imported: Airflow stops at it",
            fix="mend the path, or install what it is part of",
        )
    for path, kind in (told.get("unmade") or {}).items():
        yield Notice(
            name="backend-not-made",
            level="error",
            what=f"the class {path} cannot be made with its arguments ({kind}), so it was not asked",
            fix="mend its arguments, or install what it needs, and check again",
        )
    if told.get("strongroom") is None:
        yield Notice(
            name="strongroom-missing",
            level="error",
            what="strongroom is not installed in Airflow's Python, so nothing was compared",
            fix="install it there: strongroom airflow enable --for requirements gives the line",
        )


def _of_configuration(
    config: AirflowConfig, told: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[Notice]:
    for finding in configuration(config):
        if finding.level in ("error", "warning"):
            level: Level = "error" if finding.level == "error" else "warning"
            yield Notice(name=finding.name, level=level, what=finding.what, fix=finding.fix)
    for backend in _backends(config):
        for problem in backend.problems:
            # What a command or a secret holds was not asked for, which is no fault.
            if "JSON" in problem:
                yield Notice(
                    name="bad-backend-kwargs",
                    level="error",
                    what=problem,
                    fix="mend the JSON: quotation marks are double ones, and % is written %% in airflow.cfg",
                )
    yield from _of_workers(config)
    version = _version(told)
    keys = [name for name in environ if "_BACKEND_KWARG__" in name and name.startswith("AIRFLOW__")]
    if version[:1] == (2,) and keys:
        yield Notice(
            name="single-kwargs-ignored",
            level="warning",
            what=f"Airflow 2 does not look at {', '.join(sorted(keys))}",
            fix="write the arguments into AIRFLOW__SECRETS__BACKEND_KWARGS as one JSON object",
        )
    if version >= _COORDINATORS and not _has_coordinator(config):
        yield Notice(
            name="unmasked-stdout",
            level="warning",
            what="Airflow copies task logs to the supervisor's stdout without masking them",
            fix="strongroom airflow enable --verified-runs adds the coordinator, which masks that copy",
        )
    elif version >= _COORDINATORS:
        yield from _of_runs(config)


def _of_runs(config: AirflowConfig) -> Iterator[Notice]:
    """Tell what keeps the runs that our coordinator announces from being verified."""
    if config.source("api_auth", "jwt_private_key_path") in (None, "default"):
        yield Notice(
            name="runs-not-verified",
            level="note",
            what="Airflow signs its tokens with a secret that it shares (HS512), so runs are announced (L0)"
            " and not verified (L2)",
            fix="set [api_auth] jwt_private_key_path to an Ed25519 or RSA key, and trusted_jwks_url to its"
            " public half",
        )
    elif config.source("api_auth", "jwt_issuer") in (None, "default"):
        yield Notice(
            name="runs-not-verified",
            level="note",
            what="the tokens of this Airflow name no issuer, so runs are announced (L0), not verified (L2)",
            fix="set [api_auth] jwt_issuer, and access.airflow.issuer to the same",
        )


def _of_workers(config: AirflowConfig) -> Iterator[Notice]:
    ours, theirs = (
        config.secrets_backend(may_run=False),
        config.secrets_backend(is_worker=True, may_run=False),
    )
    if theirs is None or theirs.section != "workers":
        return
    if ours is None or (ours.class_path, ours.kwargs) != (theirs.class_path, theirs.kwargs):
        yield Notice(
            name="workers-differ",
            level="warning",
            what=f"tasks ask {theirs.class_path} of [workers] secrets_backend, servers"
            f" {'no class' if ours is None else ours.class_path}: what is compared here is the servers'",
            fix="leave [workers] secrets_backend empty, so that tasks ask what [secrets] says",
        )


def _version(told: Mapping[str, Any]) -> tuple[int, ...]:
    parts = str(told.get("airflow") or "").split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())


def _has_coordinator(config: AirflowConfig) -> bool:
    said = config.get("sdk", "coordinators")
    return said is not None and "strongroom.airflow" in said.reveal()


def _of_env_files(config: AirflowConfig, environ: Mapping[str, str], cwd: Path) -> Iterator[Notice]:
    files = {folder / _ENV_FILE for folder in (cwd, config.home) if (folder / _ENV_FILE).is_file()}
    for path, verdict in kept_by_git(sorted(files), environ).items():
        yield Notice(
            name="env-file-in-git",
            level="warning",
            what=f"{path} {_GIT[verdict]}",
            fix="add it to .gitignore; change the secrets that git has seen",
        )


# --- the sums of shadow mode -----------------------------------------------------------------------


def shadow_sums(home: Path) -> list[dict[str, Any]]:
    """
    Sum up what the processes of an Airflow reported in shadow mode, by id and outcome.

    Args:
        home: Airflow's home folder, which holds the report and the one before it.

    Returns:
        kind, name, team, outcome, detail, processes (how many), first and last (seconds of the epoch);
        in the order of names.
    """
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name in ("strongroom-shadow.before.jsonl", "strongroom-shadow.jsonl"):
        for line in _lines(home / name):
            key = tuple(line.get(part) for part in ("kind", "name", "team", "outcome", "detail"))
            row = sums.setdefault(
                key,
                dict(zip(("kind", "name", "team", "outcome", "detail"), key, strict=True))
                | {"processes": set(), "first": line["at"], "last": line["at"]},
            )
            row["processes"].add(line.get("process"))
            row["first"], row["last"] = min(row["first"], line["at"]), max(row["last"], line["at"])
    ordered = sorted(
        sums.values(), key=lambda row: tuple(str(row[part]) for part in ("kind", "name", "team"))
    )
    return [row | {"processes": len(row["processes"])} for row in ordered]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError:
        return
    for text in data.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # of a process that died within its write
        if isinstance(line, dict) and isinstance(line.get("at"), int):
            yield line
