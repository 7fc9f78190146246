"""
Google Cloud's key files: of a service account, a user, or an identity from elsewhere.

A service account's becomes `keyfile_dict`; the others `credential_config_file`, which Airflow's hook takes as
text too, because `keyfile_dict` is read as a service account's only.

Sources: cloud.google.com/iam/docs "Create and delete service account keys", "Workload identity federation";
google.auth.load_credentials_from_dict; airflow/providers/google/cloud/utils/credentials_provider.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_TYPES = frozenset(
    {
        "authorized_user",
        "external_account",
        "external_account_authorized_user",
        "gdch_service_account",
        "impersonated_service_account",
        "service_account",
    }
)
_NEEDED = ("client_email", "private_key", "token_uri")


def _misfit(look: Look) -> str | None:
    if look.document is None:
        return "is no JSON object"
    return None if look.document.get("type") in _TYPES else "its type is none of a Google credential"


def _parse(text: str, _dialect: Dialect) -> Found:
    given = Look(text).document
    if given is None or given.get("type") not in _TYPES:
        raise refused("is no Google credential in JSON", offset=0)
    written = json.dumps(given)
    project = given.get("project_id") or given.get("quota_project_id")
    extra: dict[str, Any] = {"project": project} if isinstance(project, str) else {}
    notes = []
    if given["type"] == "service_account":
        missing = [key for key in _NEEDED if not isinstance(given.get(key), str)]
        if missing:
            raise refused(f"the service account's key has no {' and no '.join(missing)}", offset=0)
        extra["keyfile_dict"] = written
        notes.append(
            "a key of a service account never expires: where the task runs on Google Cloud, leave it out"
        )
    else:
        extra["credential_config_file"] = written
    if given["type"] == "authorized_user":
        notes.append("these are a person's credentials; a service account is meant for machines")
    return Found({None: connection("google_cloud_platform", extra)}, tuple(notes))


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    given = extra.get("keyfile_dict") or extra.get("credential_config_file")
    if not given:
        raise refused("the connection has neither keyfile_dict nor credential_config_file")
    return given if isinstance(given, str) else json.dumps(given)


FORM = Form(
    name="google",
    title="Google Cloud key file",
    example='{"type": "service_account", "project_id": "acme", "private_key_id": "1",'
    ' "private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----\\n",'
    ' "client_email": "svc@acme.iam.gserviceaccount.com", "client_id": "1",'
    ' "token_uri": "https://oauth2.googleapis.com/token"}',
    lacks="description; of extra all but the credential and its project",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
