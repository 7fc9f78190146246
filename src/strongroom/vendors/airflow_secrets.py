"""
A secrets backend of Airflow's kind, made and asked as Airflow makes and asks it, but outside of its resolver.

Not for how trouble is told to the rest of the house (`backends/airflow_class.py`, `airflow/shadow.py`): what
the class raises goes through unchanged, and `is_denial` tells what can be known of it.

Rules of this file:

1. The class need not derive from anything: a method of the right name is enough, as for Airflow.
2. A connection is a text: what the class stores, or Airflow's JSON of the object it gives.
3. Nothing is imported or made before something is asked for.

Source: airflow/_shared/secrets_backend/base.py of 3.3.2, airflow/secrets/base_secrets.py of 2.11.2.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ask", "connection_json", "instance_of", "is_denial", "keeps_teams"]

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port")
_METHODS = ("get_conn_value", "get_connection", "get_variable")
_OURS = "strongroom."
_MOST_CAUSES = 8  # a chain of exceptions may lead in a circle
_DENIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "Forbidden",
        "PERMISSION_DENIED",
        "PermissionDenied",
        "UnauthorizedOperation",
    }
)
_FORBIDDEN = 403


def instance_of(path: str, kwargs: Mapping[str, object]) -> Any:  # noqa: ANN401 -- a stranger's object
    """
    Make the class at the dotted *path* with *kwargs*, whose secrets are revealed to it.

    Raises:
        BackendConfigError: there is no such class, it has no method that Airflow would ask, or it is one of
            ours, which would ask itself.
        Exception: whatever its constructor raises.
    """
    kind = _class_at(path)
    return kind(**{key: _revealed(value) for key, value in kwargs.items()})


def _class_at(path: str) -> Any:  # noqa: ANN401 -- as above
    if not _DOTTED.fullmatch(path):
        raise BackendConfigError(
            "the path of a secrets backend class is not dotted", hint="write package.module.ClassName"
        )
    if path.startswith(_OURS):
        raise BackendConfigError(f"{path} is Strongroom's own, which would ask itself")
    package, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(package), name, None)
    except ImportError as error:
        missing = error.name or package
        raise BackendConfigError(
            f"the class {path} cannot be imported: the module {missing} is missing or does not load",
            hint=f"install in this Python what {package} is part of",
        ) from None
    if not isinstance(found, type) or not any(hasattr(found, method) for method in _METHODS):
        raise BackendConfigError(f"{path} is no secrets backend class", hint="look how it is spelled")
    return found


def _revealed(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: _revealed(item) for key, item in value.items()}
    return [_revealed(item) for item in value] if isinstance(value, (list, tuple)) else value


# --- asking --------------------------------------------------------------------------------------


def ask(instance: object, kind: str, name: str, team: str | None = None) -> str | None:
    """
    Give what *instance* holds under *name*, as text; None where it has nothing, or keeps no such kind.

    A team is named to a class that knows teams, and passed over for one that does not, as Airflow does it.
    A variable that is no text is given as JSON.

    Args:
        instance: what `instance_of` made.
        kind: `connection`, `variable` or `config`.
        name: the id or key.
        team: whose.

    Raises:
        Exception: whatever the class raises, but `NotImplementedError`.
    """
    if kind == "connection":
        return _connection(instance, name, team)
    method = getattr(instance, "get_variable" if kind == "variable" else "get_config", None)
    if method is None:
        return None
    try:
        found = _call(method, team, key=name)
    except NotImplementedError:
        return None
    return found if found is None or isinstance(found, str) else json.dumps(found)


def _connection(instance: object, name: str, team: str | None) -> str | None:
    value = getattr(instance, "get_conn_value", None)
    if value is not None and not _is_overridden(instance):
        try:
            # An empty text is none, as Airflow takes it.
            return _call(value, team, conn_id=name) or None
        except NotImplementedError:
            pass
    whole = getattr(instance, "get_connection", None)
    found = None if whole is None else _call(whole, team, conn_id=name)
    return None if found is None else connection_json(found)


def _is_overridden(instance: object) -> bool:
    """Tell whether the class makes its connections itself: Airflow would never see its `get_conn_value`."""
    own = getattr(type(instance), "get_connection", None)
    home = getattr(own, "__module__", "")
    return own is not None and not home.startswith(
        ("airflow._shared.", "airflow.secrets.base_", "airflow.sdk.bases.")
    )


def _call(method: Callable[..., Any], team: str | None, **asked: str) -> Any:  # noqa: ANN401 -- a stranger's answer
    return method(**asked, team_name=team) if team is not None and _takes_team(method) else method(**asked)


def keeps_teams(instance: object, kind: str) -> bool:
    """Tell whether *instance* can be asked for a team's own entries of this *kind*."""
    names = ("get_connection", "get_conn_value") if kind == "connection" else ("get_variable",)
    methods = [found for name in names if (found := getattr(instance, name, None)) is not None]
    return kind != "config" and bool(methods) and all(map(_takes_team, methods))


def _takes_team(method: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return True  # as Airflow: what cannot be looked into is new
    return "team_name" in parameters or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def connection_json(connection: object) -> str:
    """
    Give Airflow's JSON of one of its connection objects (or of anything with its attributes).

    Shape: an object of the fields that are not None; `extra` as the object it says, or as the text that
    stands there where it is none.
    """
    fields = {key: getattr(connection, key, None) for key in _FIELDS}
    made = {key: value for key, value in fields.items() if value is not None}
    extra = getattr(connection, "extra", None)
    if extra:
        made["extra"] = _parsed(extra)
    return json.dumps(made)


def _parsed(extra: object) -> object:
    if not isinstance(extra, str):
        return extra
    try:
        found = json.loads(extra)
    except ValueError:
        return extra
    return found if isinstance(found, dict) else extra


# --- its errors ----------------------------------------------------------------------------------


def is_denial(error: BaseException) -> bool:
    """
    Tell whether *error*, or what it was raised from, says no rather than that there is no answer now.

    Known: Airflow's own `AirflowSecretsBackendAccessDenied` and every other `PermissionError`, the errors of
    that name in the clouds' SDKs and in hvac, an answer of HTTP 403, and gRPC's PERMISSION_DENIED.
    """
    seen: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if seen is None:
            return False
        if _says_no(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _says_no(error: BaseException) -> bool:
    if isinstance(error, PermissionError) or type(error).__name__ in _DENIALS:
        return True
    codes = [getattr(error, name, None) for name in ("status_code", "status", "code")]
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore's
        said = response.get("Error")
        codes.append(said.get("Code") if isinstance(said, Mapping) else None)
    if type(error).__module__.partition(".")[0] == "grpc":  # whose `code` is a method
        codes = [getattr(code(), "name", None) for code in codes if callable(code)]
    return any(code == _FORBIDDEN or (isinstance(code, str) and code in _DENIALS) for code in codes)
