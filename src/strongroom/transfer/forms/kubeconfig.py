"""
kubeconfig: every context becomes a connection of its name, with what that context needs and nothing else.

The hook takes the file's text from `kube_config` in extra; it is written there as JSON, which is YAML too.

Sources: kubernetes.io/docs/reference/config-api/kubeconfig.v1; airflow/providers/cncf/kubernetes/hooks.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from strongroom.model.yaml11 import parse_yaml
from strongroom.transfer.forms.form import MAX_LINE, Form, Found, Look, connection, refused
from strongroom.transfer.forms.kubeconfig_block import read_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_KIND = re.compile(r"^kind:[ \t]*[\"']?Config[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
_CONTEXTS = re.compile(r"^contexts:", re.MULTILINE)
_MAX_CONTEXTS = 1000
_MAX_LINES = 20_000
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def _misfit(look: Look) -> str | None:
    if look.document is not None:
        return None if {"clusters", "contexts"} <= look.document.keys() else "has no clusters and contexts"
    is_yaml = _CONTEXTS.search(look.text) and (_KIND.search(look.text) or "clusters:" in look.text)
    return None if is_yaml else "is no YAML with kind: Config and contexts"


def _parse(text: str, _dialect: Dialect) -> Found:
    file = _document(text)
    if not isinstance(file, dict):
        raise refused("is no object of clusters, users and contexts", offset=0)
    contexts, clusters, users = (_by_name(file, name) for name in ("contexts", "clusters", "users"))
    if not contexts:
        raise refused("there is no context", offset=0)
    if len(contexts) > _MAX_CONTEXTS:
        raise refused(f"there are more than {_MAX_CONTEXTS} contexts")
    found: dict[str | None, Connection] = {}
    notes: dict[str, None] = {}
    for name, row in contexts.items():
        found[name], more = _connection(name, row, clusters, users)
        notes |= dict.fromkeys(more)
    return Found(found, tuple(notes))


def _document(text: str) -> object:
    """Read JSON as what it is, what kubectl writes line by line, and only the rest by the slow reader."""
    document = Look(text).document or read_block(text)
    if document is not None:
        return document
    # Of a line that is longer no key or certificate needs, the YAML reader takes too long.
    if any(len(line) > MAX_LINE for line in text.splitlines()):
        raise refused(f"a line has more than {MAX_LINE} characters")
    if text.count("\n") > _MAX_LINES:
        raise refused(f"there are more than {_MAX_LINES} lines")
    return parse_yaml(text)


def _connection(
    name: str, row: dict[str, Any], clusters: Mapping[str, Any], users: Mapping[str, Any]
) -> tuple[Connection, list[str]]:
    """Give the connection of one context, with its cluster and user alone, and warnings."""
    context = row.get("context")
    if not isinstance(context, dict):
        raise refused("a context is no object")
    cluster, user = clusters.get(str(context.get("cluster"))), users.get(str(context.get("user")))
    if cluster is None:
        raise refused("a context names a cluster that is not there")
    rows = {"contexts": [row], "clusters": [cluster], "users": [] if user is None else [user]}
    whole = {"apiVersion": "v1", "kind": "Config", "current-context": name, **rows}
    extra = {"kube_config": _json(whole), "cluster_context": name}
    namespace = context.get("namespace")
    if isinstance(namespace, str) and namespace:
        extra["namespace"] = namespace
    return connection("kubernetes", extra), _notes(cluster.get("cluster"), user.get("user") if user else None)


def _json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        pass
    raise refused("the file holds a date or number that is meant as text", hint="put it in quotes")


def _by_name(file: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    rows = file.get(key) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise refused(f"{key} is no list of objects")
    named = {row.get("name"): row for row in rows}
    if len(named) < len(rows) or not all(isinstance(name, str) and name for name in named):
        raise refused(f"{key} holds one without a name, or a name twice")
    return named


def _notes(cluster: object, user: object) -> list[str]:
    parts = [part for part in (cluster, user) if isinstance(part, dict)]
    notes = []
    if any(key in part for part in parts for key in _FILES):
        notes.append(
            "it names files, which must be where the task runs; `kubectl config view --flatten` embeds them"
        )
    if any(key in part for part in parts for key in ("exec", "auth-provider")):
        notes.append("it signs in by a program, which must be where the task runs")
    if any(part.get("insecure-skip-tls-verify") is True for part in parts):
        notes.append("it does not check the server's certificate")
    return notes


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    given = extra.get("kube_config")
    if not given:
        raise refused("the connection has no kube_config")
    return given if isinstance(given, str) else json.dumps(given)


FORM = Form(
    name="kubeconfig",
    title="kubeconfig",
    example="apiVersion: v1\nkind: Config\nclusters:\n- name: prod\n  cluster:\n"
    "    server: https://k8s.example.com:6443\nusers:\n- name: svc\n  user:\n    token: abc\n"
    "contexts:\n- name: prod\n  context:\n    cluster: prod\n    user: svc\n    namespace: etl\n",
    lacks="everything but kube_config with its context and namespace",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
