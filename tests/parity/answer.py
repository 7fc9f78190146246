"""
Answer, inside an environment of real Airflow, what its own secrets backends give.

Run by `parity/peer.py`: one JSON object a line comes in, one goes out, after a first one that tells the
version of the provider. Nothing of Strongroom is here.

| request | what it does |
|---|---|
| `ask` | builds `backend` with `kwargs` under `environ` and gives an answer for each of `asks` |
| `open` | lets Airflow use the metadata database `url` with `fernet_key` from now on |
| `keep` | lets Airflow store `connections` (keyword arguments each) and `variables` in that database |

An answer is `{"found": …}`, `{"absent": true}` or `{"raises": "ClassOfException"}`.
"""

# ruff: noqa: AIR311 -- the models of the core are what its backends give
from __future__ import annotations

import datetime as dt
import json
import os
import sys
import warnings
from importlib.metadata import version

# What Airflow prints must not stand between answers.
_ANSWERS = os.fdopen(os.dup(1), "w", encoding="ascii")
os.dup2(2, 1)
warnings.simplefilter("ignore")

from airflow import settings  # noqa: E402
from airflow.configuration import conf  # noqa: E402
from airflow.models import Connection, Variable  # noqa: E402
from airflow.models.crypto import get_fernet  # noqa: E402
from airflow.providers.hashicorp.secrets.vault import VaultBackend  # noqa: E402
from airflow.sdk import Connection as TaskConnection  # noqa: E402
from airflow.secrets.environment_variables import EnvironmentVariablesBackend  # noqa: E402
from airflow.secrets.local_filesystem import LocalFilesystemBackend  # noqa: E402
from airflow.secrets.metastore import MetastoreBackend  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402

FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
BACKENDS = {
    "vault": VaultBackend,
    "airflow_metastore": MetastoreBackend,
    "env": EnvironmentVariablesBackend,
    "file": LocalFilesystemBackend,
}
CONNECTIONS = {"core": Connection, "sdk": TaskConnection}
_OURS = ("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__CORE__MULTI_TEAM")
_logged_in: dict[str, VaultBackend] = {}


def ask(request):
    _set_environment(request["environ"])
    try:
        backend = _backend(request["backend"], request["kwargs"])
    except Exception as error:  # noqa: BLE001 -- the class of the exception is the answer
        return [{"raises": type(error).__name__}] * len(request["asks"])
    backend._set_connection_class(CONNECTIONS[request["dialect"]])
    return [_answer(backend, *one) for one in request["asks"]]


def _set_environment(environ):
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        del os.environ[name]
    os.environ.update(environ)


def _backend(kind, kwargs):
    if kind != "vault":
        return BACKENDS[kind](**kwargs)
    key = json.dumps(kwargs, sort_keys=True)
    if key not in _logged_in:
        _logged_in[key] = VaultBackend(**kwargs)
    return _logged_in[key]


def _answer(backend, kind, name, team):
    # Older forms of the methods know no team.
    team_of = {"team_name": team} if team else {}
    try:
        if kind == "connection":
            found = backend.get_connection(name, **team_of)
            found = None if found is None else {field: getattr(found, field) for field in FIELDS}
        elif kind == "variable":
            found = backend.get_variable(name, **team_of)
        else:
            found = backend.get_config(name)
        return {"absent": True} if found is None else {"found": _checked(found)}
    except Exception as error:  # noqa: BLE001 -- as above
        return {"raises": type(error).__name__}


def _checked(found):
    if isinstance(found, dt.date):  # of YAML, and JSON has none
        return {"date": found.isoformat()}
    json.dumps(found)
    return found


def open_database(request):
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = request["url"]
    os.environ["AIRFLOW__CORE__FERNET_KEY"] = request["fernet_key"]
    get_fernet.cache_clear()
    settings.dispose_orm(do_log=False)
    settings.configure_vars()
    settings.configure_orm()
    return {"url": conf.get("database", "sql_alchemy_conn")}


def keep(request):
    with create_session() as session:
        for kwargs in request["connections"]:
            session.add(Connection(**kwargs))
        for kwargs in request["variables"]:
            session.add(Variable(**kwargs))
    return {}


def main():
    work = {"ask": ask, "open": open_database, "keep": keep}
    print(json.dumps({"provider": version("apache-airflow-providers-hashicorp")}), file=_ANSWERS, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(work[request["do"]](request)), file=_ANSWERS, flush=True)


main()
