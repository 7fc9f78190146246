"""
What `strongroom airflow check` runs inside an Airflow's own Python: what it resolves today, and with us.

A script, run by its path: Strongroom may be missing in that Python, which is then told. It reads a JSON
object from stdin and writes one to its stdout; what Airflow prints meanwhile goes nowhere.

Rules of this file:

1. No value leaves this process, nor anything made of one: values are compared here, by fingerprints under a
   key made for this run, and a difference is told by the names of fields.
2. Each id is resolved as Airflow does it: place by place, passing over what fails, but for what it stops at.
3. Nothing is written; nothing of Airflow is changed. Reads are reads, and are recorded where reads are.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["main"]

OURS = "strongroom.airflow.StrongroomBackend"
_KINDS = ("connection", "variable")
_PREFIXES = {"connection": "AIRFLOW_CONN_", "variable": "AIRFLOW_VAR_"}
_FIELDS = ("conn_type", "host", "login", "password", "schema", "port")
_SHADOW = ("mode", "shadow_backend", "shadow_backend_kwargs", "canary")
_FOUND = re.compile(r"(\S+) found")
_MOST_IDS = 20_000
_KEY = secrets.token_bytes(32)
_unmade: dict[str, str] = {}


class _Answer:
    """What a list of places said to one id."""

    __slots__ = ("fields", "source", "trouble", "why")

    def __init__(
        self,
        source: str | None = None,
        fields: Mapping[str, bytes] | None = None,
        trouble: str | None = None,
        why: str | None = None,
    ) -> None:
        self.source = source
        self.fields = fields
        self.trouble = trouble
        self.why = why


def main(asked: Mapping[str, Any]) -> dict[str, Any]:
    """
    Compare.

    Args:
        asked: `ids` by kind; `kwargs`, how we would be configured (places, no secrets); `record`, a file
            that tells what was configured before us, or None; `classes`, paths that have to be importable.

    Returns:
        `airflow`, `python`, `strongroom` (versions; None where missing), `today` and `ours` (names of the
        places in order), `fatal` (why Airflow does not start), `broken` (those of `classes` that cannot be
        imported), `unmade` (classes that cannot be made with their arguments, and why) and `ids`, a list of
        kind, name, outcome, detail (names of fields), today and ours (which place answered) and why.
    """
    told: dict[str, Any] = {"python": sys.version.split()[0], "airflow": None, "strongroom": _strongroom()}
    try:
        import airflow  # noqa: PLC0415 -- it takes seconds, and may fail
        from airflow import configuration  # noqa: PLC0415

        places = list(configuration.ensure_secrets_loaded())
        told["airflow"] = airflow.__version__
    except BaseException as error:  # noqa: BLE001 -- whatever stops Airflow is what is to be told
        return {**told, "fatal": type(error).__name__, "ids": []}
    rest = [place for place in places if _name(place) in ("EnvironmentVariablesBackend", "MetastoreBackend")]
    custom = next((place for place in places if place not in rest), None)
    before, after = _lists(custom, rest, asked)
    told["today"] = [_name(place) for place in before]
    told["ours"] = [_name(place) for place in after]
    ids = _ids(asked.get("ids") or {}, before)
    told["unmade"] = dict(_unmade)
    told["broken"] = [path for path in asked.get("classes", ()) if not _imports(path)]
    told["ids"] = [_compared(kind, name, before, after) for kind, name in ids] if after else []
    return told


def _strongroom() -> str | None:
    try:
        import strongroom  # noqa: PLC0415 -- it may be missing here
    except ImportError:
        return None
    return strongroom.__version__


def _name(place: object) -> str:
    return type(place).__name__


def _lists(custom: Any, rest: list[Any], asked: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:  # noqa: ANN401
    """Give the places Airflow asks today (or asked before us), and those with us."""
    kwargs = dict(asked.get("kwargs") or {})
    old = custom
    if custom is not None and _name(custom) == "StrongroomBackend":
        configured = dict(getattr(custom, "_kwargs", {}))
        kwargs = {key: value for key, value in configured.items() if key not in _SHADOW}
        old = _made(configured.get("shadow_backend"), configured.get("shadow_backend_kwargs"))
        if old is None and configured.get("mode") != "shadow":
            old = _recorded(asked.get("record"))
    ours = _made(OURS, kwargs)
    return ([] if old is None else [old]) + rest, ([] if ours is None else [ours, *rest])


def _recorded(path: str | None) -> Any:  # noqa: ANN401 -- a stranger's object
    """Make the backend that was configured before us, from what `enable` noted."""
    try:
        with open(path or os.devnull, encoding="utf-8") as file:  # noqa: PTH123 -- this Python has no need of more
            before = json.load(file).get("before") or {}
    except (OSError, ValueError):
        return None
    return _made(before.get("backend"), before.get("backend_kwargs"))


def _imports(path: str) -> bool:
    from importlib import import_module  # noqa: PLC0415 -- as `_made`

    package, _, name = path.rpartition(".")
    try:
        return hasattr(import_module(package), name)
    except Exception:  # noqa: BLE001 -- whatever it is, Airflow would not start
        return False


def _made(path: str | None, kwargs: Any) -> Any:  # noqa: ANN401 -- as above
    if not path:
        return None
    from importlib import import_module  # noqa: PLC0415 -- only for what is configured

    try:
        given = json.loads(kwargs) if isinstance(kwargs, str) and kwargs.strip() else dict(kwargs or {})
    except ValueError:
        given = {}  # as Airflow
    try:
        package, _, name = path.rpartition(".")
        return getattr(import_module(package), name)(**given)
    except Exception as error:  # noqa: BLE001 -- it cannot be asked then, which is told
        _unmade[path] = type(error).__name__
        return None


# --- which ids -----------------------------------------------------------------------------------


def _ids(known: Mapping[str, Iterable[str]], places: Iterable[Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for kind in _KINDS:
        names = {str(name) for name in known.get(kind, ())}
        for place in places:
            names |= _listed(place, kind)
        shouted = {name.upper() for name in names}
        head = _PREFIXES[kind]
        # The environment has one spelling for several names; one that is known is the one that is meant.
        names |= {
            name[len(head) :].lower()
            for name in os.environ
            if name.startswith(head) and len(name) > len(head) and name[len(head) :] not in shouted
        }
        found += [(kind, name) for name in sorted(names)]
    return found[:_MOST_IDS]


def _listed(place: Any, kind: str) -> set[str]:  # noqa: ANN401 -- one of Airflow's
    """Give the names that a place of Airflow's own can list."""
    try:
        if _name(place) == "MetastoreBackend":
            return _in_database(kind)
        if _name(place) == "LocalFilesystemBackend":
            return set(getattr(place, f"_local_{kind}s"))
    except Exception:  # noqa: BLE001 -- then the ids come from elsewhere
        return set()
    return set()


def _in_database(kind: str) -> set[str]:
    from airflow.models import Connection, Variable  # noqa: PLC0415 -- loads the database
    from airflow.utils.session import create_session  # noqa: PLC0415

    # The tables, which the classes of the Task SDK know nothing of.
    column = Connection.conn_id if kind == "connection" else Variable.key  # noqa: AIR311
    with create_session() as session:
        return {name for (name,) in session.query(column)}


# --- one id --------------------------------------------------------------------------------------


def _compared(kind: str, name: str, before: list[Any], after: list[Any]) -> dict[str, Any]:
    today, ours = _resolved(kind, name, before), _resolved(kind, name, after)
    outcome, detail = _outcome(today, ours)
    why = ours.why if outcome == "error" else today.trouble and f"today: {today.trouble}"
    return {
        "kind": kind,
        "name": name,
        "outcome": outcome,
        "detail": detail,
        "today": today.source,
        "ours": _told_source(kind, name, ours, after),
        "why": why,
    }


def _outcome(today: _Answer, ours: _Answer) -> tuple[str, list[str]]:
    if ours.fields is None and ours.why is not None:
        return "error", []
    if today.fields is None:
        return ("absent" if ours.fields is None else "new"), []
    if ours.fields is None:
        return "missing", []
    keys = [*today.fields, *(key for key in ours.fields if key not in today.fields)]
    differing = [
        key for key in keys if not hmac.compare_digest(today.fields.get(key, b""), ours.fields.get(key, b""))
    ]
    return ("different" if differing else "equal"), differing


def _resolved(kind: str, name: str, places: list[Any]) -> _Answer:
    """Ask one place after another as Airflow does."""
    trouble = None
    for place in places:
        try:
            found = (
                place.get_connection(conn_id=name) if kind == "connection" else place.get_variable(key=name)
            )
            if found is not None:
                return _Answer(_name(place), _fingerprints(kind, found), trouble)
        except BaseException as error:  # noqa: BLE001 -- in 2.11 what Airflow stops at is no `Exception`
            if _name(place) == "StrongroomBackend":
                return _Answer(_name(place), None, trouble, _said(error))
            trouble = f"{_name(place)} failed with {type(error).__name__}"
    return _Answer(None, None, trouble)


def _said(error: BaseException) -> str:
    """Give our own text, which holds no value; Airflow's parsers quote what they stumble over."""
    kind = type(error)
    return str(error) if kind.__module__.startswith("strongroom.") else f"failed with {kind.__name__}"


def _fingerprints(kind: str, found: Any) -> dict[str, bytes]:  # noqa: ANN401 -- an object of Airflow's
    if kind == "variable":
        return {"value": _fingerprint(found)}
    made = {
        key: _fingerprint(value) for key in _FIELDS if (value := getattr(found, key, None)) not in (None, "")
    }
    extra = _extra(getattr(found, "extra", None))
    return made | {f"extra.{key}": _fingerprint(value) for key, value in extra.items()}


def _extra(text: Any) -> dict[str, Any]:  # noqa: ANN401 -- as it is stored
    if not text:
        return {}
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {"": text}
    return found if isinstance(found, dict) else {"": found}


def _fingerprint(value: object) -> bytes:
    data = json.dumps(value, sort_keys=True, default=repr).encode()
    return hmac.new(_KEY, data, hashlib.sha256).digest()


def _told_source(kind: str, name: str, answer: _Answer, places: list[Any]) -> str | None:
    """Give which of our places answered, where it was us."""
    if answer.source != "StrongroomBackend" or answer.fields is None:
        return answer.source
    try:
        from strongroom.airflow.source import source_of  # noqa: PLC0415 -- it answered just now
        from strongroom.model.ref import Ref  # noqa: PLC0415

        options = places[0].options()
        found = _FOUND.search(source_of(options).explain(Ref(kind, name, options.team)))  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 -- it answered; from where is an extra
        return "strongroom"
    return f"strongroom: {found[1]}" if found else "strongroom"


def _run() -> None:
    """Answer what stands on stdin; whatever else writes to stdout writes to nobody."""
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    told: dict[str, Any] = {}
    asked = json.loads(sys.stdin.read() or "{}")
    # On a thread: a file at the bottom of this stack would look like a DAG file that is being parsed.
    thread = threading.Thread(target=lambda: told.update(main(asked)))
    thread.start()
    thread.join()
    data = json.dumps(told).encode()
    while data:
        data = data[os.write(answers, data) :]
    os._exit(0)  # Airflow's own threads and caches have nothing to keep


if __name__ == "__main__":
    _run()
