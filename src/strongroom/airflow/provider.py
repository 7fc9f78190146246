"""
What Airflow's provider manager is told of us.

It is called while Airflow is being imported, in every process, so this file imports nothing: the form of the
connection type stands here for Airflow 3, and on the hook (`hook.py`) for Airflow 2.
"""

from __future__ import annotations

__all__ = ["CONN_FIELDS", "UI_FIELD_BEHAVIOUR", "get_provider_info"]

CONN_FIELDS: dict[str, dict[str, object]] = {
    "deployment": {
        "label": "Deployment",
        "description": "which of the server's deployments; its first if empty",
        "schema": {"type": ["string", "null"]},
    },
    "socket": {
        "label": "Agent's socket",
        "description": "path of an agent's socket, in place of a server",
        "schema": {"type": ["string", "null"]},
    },
    "token_file": {
        "label": "Token file",
        "description": "path of a file with the token, in place of the token itself",
        "schema": {"type": ["string", "null"]},
    },
    "ca": {
        "label": "CA file",
        "description": "path of a PEM file of authorities, in place of the system's",
        "schema": {"type": ["string", "null"]},
    },
}
"""Members of the connection's extra, by name, as a form shows them."""

UI_FIELD_BEHAVIOUR: dict[str, object] = {
    "hidden-fields": ["schema", "login", "port", "extra"],
    "relabeling": {"host": "Server", "password": "Token"},
    "placeholders": {
        "host": "https://strongroom.example.com:8200",
        "password": "srm_…",
        "socket": "/run/strongroom/agent.sock",
    },
}
"""How the other fields of a connection are shown."""


def get_provider_info() -> dict[str, object]:
    """Give what we bring: a secrets backend, a connection type with its form, a notifier."""
    return {
        "package-name": "strongroom",
        "name": "Strongroom",
        "description": "Secrets and connections from the stores you trust, asked in one order.",
        "secrets-backends": ["strongroom.airflow.backend.StrongroomBackend"],
        "integrations": [{"integration-name": "Strongroom", "tags": ["software"]}],
        "hooks": [
            {"integration-name": "Strongroom", "python-modules": ["strongroom.airflow.hook"]},
        ],
        "operators": [
            {"integration-name": "Strongroom", "python-modules": ["strongroom.airflow.operator"]},
        ],
        "notifications": ["strongroom.airflow.notifier.StrongroomNotifier"],
        "connection-types": [
            {
                "connection-type": "strongroom",
                "hook-class-name": "strongroom.airflow.hook.StrongroomHook",
                "hook-name": "Strongroom",
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
