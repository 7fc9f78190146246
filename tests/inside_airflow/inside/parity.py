"""
Ask Airflow's own secrets classes a whole table of questions in one process: `answers()`, by inside/stage.py.

The table is the JSON file named by TABLE: a list of cases, each `{"said", "backend", "kwargs", "environ",
"dialect", "asks"}`; `backend` is a word of BACKENDS or a dotted path, `asks` a list of [kind, name, team]. An
order that stands in `environ` under BEFORE is given to the test first. Nothing of Strongroom is here.

An answer is `{"found": …}`, `{"absent": true}` or `{"raises": "ClassOfException"}`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from importlib import import_module
from pathlib import Path

try:
    import structlog
except ImportError:  # of Airflow 2
    structlog = None

BACKENDS = {
    "vault": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
    "aws_secrets_manager": "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
    "aws_parameter_store": (
        "airflow.providers.amazon.aws.secrets.systems_manager.SystemsManagerParameterStoreBackend"
    ),
    "gcp_secret_manager": "airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend",
    "azure_key_vault": "airflow.providers.microsoft.azure.secrets.key_vault.AzureKeyVaultBackend",
    "kubernetes": (
        "airflow.providers.cncf.kubernetes.secrets.kubernetes_secrets_backend.KubernetesSecretsBackend"
    ),
}
FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")


def answers(please, prepare=lambda: None):
    """
    Give the answers to every case by what it is said to be.

    Args:
        please: has the test do something, as of inside/stage.py.
        prepare: called in the environment of each case, before its class is made.
    """
    socket.setdefaulttimeout(20)
    _hush()
    table = json.loads(Path(os.environ["TABLE"]).read_text())
    return {case["said"]: _case(case, please, prepare) for case in table}


def _hush():
    """Log nothing: a traceback, drawn for people, takes longer than the rest of a case."""
    logging.disable(logging.CRITICAL)
    if structlog is not None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _case(case, please, prepare):
    before = dict(os.environ)
    os.environ.update(case["environ"])
    if "BEFORE" in case["environ"]:
        please(case["environ"]["BEFORE"])
    prepare()
    try:
        backend = _backend(case)
        return [_answer(backend, *ask) for ask in case["asks"]]
    except Exception as error:  # noqa: BLE001 -- the class of the exception is the answer
        return [{"raises": type(error).__name__}] * len(case["asks"])
    finally:
        os.environ.clear()
        os.environ.update(before)


def _backend(case):
    package, _, name = BACKENDS.get(case["backend"], case["backend"]).rpartition(".")
    backend = getattr(import_module(package), name)(**case["kwargs"])
    if hasattr(backend, "_set_connection_class"):  # which Airflow 2 has not: it knows one
        backend._set_connection_class(_connection_class(case["dialect"]))
    return backend


def _connection_class(dialect):
    return import_module("airflow.models" if dialect == "core" else "airflow.sdk").Connection


def _answer(backend, kind, name, team):
    of_team = {"team_name": team} if team else {}
    try:
        if kind == "connection":
            found = backend.get_connection(name, **of_team)
            found = None if found is None else {field: getattr(found, field) for field in FIELDS}
        elif kind == "variable":
            found = backend.get_variable(name, **of_team)
        else:
            found = backend.get_config(name)
    except Exception as error:  # noqa: BLE001 -- as above
        return {"raises": type(error).__name__}
    return {"absent": True} if found is None else {"found": found}
