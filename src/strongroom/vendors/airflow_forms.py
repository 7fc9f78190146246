"""
What the Airflow providers of an installation say of their connection types. Imports no Airflow.

A child process of the installation's own interpreter reads `get_provider_info()` of every provider from
its file, without importing Airflow; where forms are told by hooks only (providers of Airflow 2), the hooks
are imported, in the child. What it found is kept in a file named for the versions that were
installed, so that a child runs once per set of versions.

Rules of this file:

1. The answer of the child and the file are bounded in size, and checked like any text from elsewhere; a
   provider that says nonsense costs its own types and no other's.
2. The child sees no more of the environment than a search path, and an Airflow home of its own that is
   gone with it: nothing is written into the user's.
3. The child and all it started are ended when it has answered, or late, or nobody waits any more.
4. What cannot be read is nothing found, told as `BackendUnavailableError`; nothing depends on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendUnavailableError, InvalidInputError
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["find_python", "installed_versions", "read_forms"]

_PLACE = "the Airflow installation"
_MAX_BYTES = 8_388_608  # 8 MiB: a hundred and thirty types take a quarter of one
_WITHIN = timedelta(seconds=60)  # a hook of a cloud takes seconds to import
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
_END = "end"  # of a whole answer
_MAX_NAME = 200  # characters of a connection type
_FORMAT = "2"  # of the file; counts into its name
_CHILD = r"""
import json, os, runpy, sys
from importlib import import_module
from importlib.metadata import entry_points

def info_of(entry):
    module, _, name = entry.value.partition(":")
    path = entry.dist.locate_file(module.replace(".", "/") + ".py")
    if os.path.exists(path):
        return runpy.run_path(str(path))[name]()
    return entry.load()()

def from_hook(row):
    module, _, name = row.get("hook-class-name", "").rpartition(".")
    hook = getattr(import_module(module), name)
    if hasattr(hook, "get_ui_field_behaviour"):
        told = hook.get_ui_field_behaviour()
        row["ui-field-behaviour"] = {key.replace("_", "-"): value for key, value in told.items()}
    if hasattr(hook, "get_connection_form_widgets"):
        row["conn-fields"] = {key: widget(one) for key, one in hook.get_connection_form_widgets().items()}

def widget(one):
    kind, kwargs = one.field_class.__name__, one.kwargs
    types = {"IntegerField": "integer", "BooleanField": "boolean"}
    schema = {"type": types.get(kind, "string")}
    if "Password" in kind or "Password" in type(kwargs.get("widget")).__name__:
        schema["format"] = "password"
    if isinstance(kwargs.get("default"), (str, int, bool)):
        schema["default"] = kwargs["default"]
    label = kwargs.get("label") or (one.args[0] if one.args else "")
    return {"label": str(label), "schema": schema, "description": str(kwargs.get("description") or "")}

def rows_of(entry):
    try:
        found = info_of(entry)["connection-types"]
        return [row for row in found if isinstance(row, dict)]
    except (Exception, SystemExit):
        return []

rows = []
out = os.dup(1)
os.dup2(2, 1)  # whatever a hook prints at import is no answer
for entry in entry_points(group="apache_airflow_provider"):
    for row in rows_of(entry):
        row = {key: row[key] for key in row if key in KEYS}
        rows.append({"provider": entry.dist.name, "version": entry.dist.version, **row})
untold = [row for row in rows if not {"ui-field-behaviour", "conn-fields"} & set(row)]
for row in untold if HOOKS or len(untold) == len(rows) else ():
    try:
        from_hook(row)
    except (Exception, SystemExit):
        pass
with os.fdopen(out, "w", encoding="utf-8") as answer:
    for row in rows:  # a line each: one that is no JSON costs no other
        try:
            answer.write(json.dumps(row, default=str) + "\n")
        except Exception:
            pass
    answer.write(END)
"""
_KEYS = ("connection-type", "hook-class-name", "hook-name", "ui-field-behaviour", "conn-fields")


def find_python(environ: Mapping[str, str]) -> Path | None:
    """Give the interpreter beside the `airflow` that *environ*'s search path leads to, or None."""
    command = shutil.which("airflow", path=environ.get("PATH", ""))
    if command is None:
        return None
    found = Path(command).absolute()
    # The command may be a link into a virtual environment (pipx); its interpreter is a link out of it, and
    # is not followed.
    beside = (place.with_name("python") for place in (found, found.resolve()))
    return next((python for python in beside if os.access(python, os.X_OK)), None)


def installed_versions(python: Path) -> tuple[str, ...]:
    """
    Give name and version of every provider beside *python*, sorted, by the names of folders alone.

    A provider of a stranger that is not called `airflow-…provider…` is not seen here: it is read with the
    others, and a new version of it once one of theirs changes.
    """
    found: set[str] = set()
    for folder in python.parent.parent.glob("lib/python3*/*-packages"):
        with suppress(OSError):
            names = [one.name for one in os.scandir(folder) if one.name.endswith(".dist-info")]
            found |= {
                name.removesuffix(".dist-info") for name in names if "airflow" in name and "provider" in name
            }
    return tuple(sorted(found))


def read_forms(
    python: Path, *, cache: Path, imports_hooks: bool = False, within: timedelta = _WITHIN
) -> tuple[Mapping[str, Any], ...]:
    """
    Give what the providers beside *python* say of their connection types.

    Args:
        python: the interpreter of the Airflow installation; it is run.
        cache: folder for what was read; made with the mode 0700 in a folder that is there.
        imports_hooks: ask the hook of every type whose form the metadata does not tell, which takes
            seconds; False asks them only where no metadata tells any form, as of Airflow 2.
        within: how long it may take.

    Returns:
        a mapping a type, with the keys provider, version, connection-type, hook-class-name, hook-name,
        and, where told, ui-field-behaviour and conn-fields, as in a provider's `provider_info`; ordered
        by connection type. () where there are no providers.

    Raises:
        BackendUnavailableError: the child failed, took too long or answered too much.
    """
    versions = installed_versions(python)
    if not versions:
        return ()
    told = "\n".join((_FORMAT, str(python), str(imports_hooks), *versions))
    file = cache / f"airflow-forms-{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
    kept = _kept(file)
    if kept is not None:
        return kept
    answer = _ask(python, imports_hooks=imports_hooks, within=within)
    rows = _sorted(row for row in map(_row, answer.splitlines()) if row is not None)
    _keep(file, rows)
    return rows


def _ask(python: Path, *, imports_hooks: bool, within: timedelta) -> str:
    program = f"KEYS, HOOKS, END = {_KEYS!r}, {imports_hooks!r}, {_END!r}\n{_CHILD}"
    with tempfile.TemporaryDirectory(prefix="strongroom-") as home:
        environ = {
            "AIRFLOW_HOME": home,
            "HOME": home,
            "PATH": os.defpath,
            "_AIRFLOW__AS_LIBRARY": "1",  # importing it neither opens a database nor configures logging
        }
        try:
            process = subprocess.Popen(  # noqa: S603 -- the interpreter the user's own search path leads to
                [str(python), "-I", "-B", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
                cwd=home,
                start_new_session=True,  # so that what it starts ends with it
            )
        except OSError:
            raise _unavailable("has an interpreter that cannot be started") from None
        return _answer(process, within).decode("utf-8", "replace")


def _answer(process: subprocess.Popen[bytes], within: timedelta) -> bytes:
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(within.total_seconds(), end)
    timer.start()
    with process:
        try:
            data = process.stdout.read(_MAX_BYTES + 1) if process.stdout else b""
        finally:
            timer.cancel()
            _kill(process)
    if late.is_set():
        raise _unavailable(f"did not answer within {within.total_seconds():g} seconds")
    if len(data) > _MAX_BYTES:
        raise _unavailable("answered too much")
    if not data.endswith(_END.encode()):
        raise _unavailable(f"failed with {process.returncode}")
    return data


def _kill(process: subprocess.Popen[bytes]) -> None:
    # Its group, which is there at least until it is waited for.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _unavailable(what: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"{_PLACE} {what}", backend="airflow")


def _row(text: str) -> Mapping[str, Any] | None:
    try:
        found = decode(text, what="the answer")
    except InvalidInputError:
        return None
    return found if isinstance(found, dict) and _is_name(found.get("connection-type")) else None


def _is_name(told: object) -> bool:
    return isinstance(told, str) and len(told) <= _MAX_NAME and _NAME.fullmatch(told) is not None


def _sorted(rows: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(sorted(rows, key=lambda row: (row["connection-type"], str(row.get("provider")))))


# --- what is kept --------------------------------------------------------------------------------


def _kept(file: Path) -> tuple[Mapping[str, Any], ...] | None:
    try:
        # Neither a link nor a pipe: what others put there is not read, nor waited for.
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            told = os.fstat(handle)
            if not stat.S_ISREG(told.st_mode) or told.st_uid != os.geteuid():
                return None
            data = stream.read(_MAX_BYTES + 1)
    except OSError:
        return None
    if len(data) > _MAX_BYTES:
        return None
    rows = [_row(line) for line in data.decode("utf-8", "replace").splitlines()]
    return _sorted(row for row in rows if row is not None) if all(rows) else None


def _keep(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    # What cannot be kept is read anew the next time.
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".forms-")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in rows)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink()
            raise
        for old in file.parent.glob("airflow-forms-*.json"):
            if old != file:
                old.unlink()
