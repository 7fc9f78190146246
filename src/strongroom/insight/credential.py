"""
Static keys of a cloud in connections, where a role or a workload identity would do, and the steps to one.

A key does not end by itself and works from anywhere; a role's does, and works only where it was given.

Sources of the steps: the vendors' pages named in docs/lint.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.model.connection import Connection

__all__ = ["CLOUD_TYPES", "StaticKey", "static_key"]

_AWS = frozenset({"aws", "emr", "redshift", "athena", "sagemaker", "s3"})
_GOOGLE = frozenset(
    {
        "google_cloud_platform", "gcpbigquery", "gcpssh", "gcpcloudsql", "gcpcloudsqldb", "gcpspanner",
    }
)  # fmt: skip
_AZURE = frozenset(
    {
        "azure", "wasb", "adls", "azure_batch", "azure_container_instance", "azure_container_registry",
        "azure_container_volume", "azure_cosmos", "azure_data_explorer", "azure_data_factory",
        "azure_data_lake", "azure_fileshare", "azure_service_bus", "azure_synapse", "msgraph", "powerbi",
    }
)  # fmt: skip
CLOUD_TYPES = _AWS | _GOOGLE | _AZURE
"""Types of connections, as Airflow normalises them, that may log in by a role of the cloud."""

_PASSWORD = "password"  # noqa: S105 -- the name of a field
_AWS_KEYS = ("aws_secret_access_key", "extra__aws__aws_secret_access_key")
_GOOGLE_KEYS = ("keyfile_dict", "key_path")
_AZURE_KEYS = (
    "client_secret",
    "account_key",
    "shared_access_key",
    "connection_string",
    "sas_token",
    "key_json",
)
_STEPS = {
    "AWS": "give the task a role instead (an instance profile, an ECS task role, on EKS Pod Identity or an "
    "IRSA service account), put its ARN into extra.role_arn only where another role is to be taken on, "
    "take the key id and the secret out, then delete the key in IAM",
    "Google Cloud": "let the task run as a service account instead (attached to the machine, or Workload "
    "Identity on GKE; outside of Google a workload identity pool, its file in extra.credential_config_file), "
    "name another account in extra.impersonation_chain, take the key out, then delete it in IAM",
    "Azure": "use a managed identity (extra.managed_identity_client_id) or on AKS a workload identity "
    "(extra.workload_identity_tenant_id beside it) instead, give it the roles it needs, take the secret out, "
    "then delete it where it was made",
}


class StaticKey(NamedTuple):
    """
    A static key in a connection.

    Args:
        cloud: whose.
        field: where it stands, as `password` or `extra.keyfile_dict`.
        steps: what to do instead.
    """

    cloud: str
    field: str
    steps: str


def static_key(connection: Connection) -> StaticKey | None:
    """Give the static key *connection* logs in with, told by its type and which fields are set."""
    kind = (connection.conn_type or "").lower()
    extra: Mapping[str, object] = connection.extra or {}
    has_password = connection.password is not None and bool(connection.login)
    if kind in _AWS:
        return _of_aws(kind, extra, has_password=has_password)
    if kind in _GOOGLE:
        spellings = (name for key in _GOOGLE_KEYS for name in (key, f"extra__google_cloud_platform__{key}"))
        return _first("Google Cloud", spellings, extra)
    if kind in _AZURE:
        return _first("Azure", _AZURE_KEYS, extra) or (_key("Azure", _PASSWORD) if has_password else None)
    return None


def _of_aws(kind: str, extra: Mapping[str, object], *, has_password: bool) -> StaticKey | None:
    # A session ends by itself; a store of another vendor (MinIO) knows no roles of AWS.
    if any(_is_set(extra, name) for name in ("aws_session_token", "endpoint_url")):
        return None
    inner = extra.get("session_kwargs")  # what boto3 is given beside
    for path, fields in (("extra", extra), ("extra.session_kwargs", inner)):
        for name in _AWS_KEYS:
            if isinstance(fields, Mapping) and _is_set(fields, name):
                return _key("AWS", f"{path}.{name}")
    return _key("AWS", _PASSWORD) if has_password and kind in {"aws", "emr"} else None


def _first(cloud: str, names: Iterable[str], extra: Mapping[str, object]) -> StaticKey | None:
    found = next((name for name in names if _is_set(extra, name)), None)
    return None if found is None else _key(cloud, f"extra.{found}")


def _key(cloud: str, field: str) -> StaticKey:
    return StaticKey(cloud, field, _STEPS[cloud])


def _is_set(extra: Mapping[str, object], name: str) -> bool:
    found = extra.get(name)
    return bool(found.reveal() if isinstance(found, Secret) else found)
