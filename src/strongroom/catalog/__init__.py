"""
What connection types look like: titles, fields, defaults, which values are secret. Data, no I/O.

A file of this folder is a family; it is imported when one of its types is asked for. Beside the
families stand `field` and `kind` (the words they are written in), `synonym` (what else people call a
type), and `foreign` (the same, read from the metadata of an Airflow provider).

Sources: `get_provider_info()` and the hooks' code of the providers for Airflow 3.3.2, compared in
tests/catalog/test_providers.py; the vendors' own pages named in `docs`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from strongroom.catalog.kind import ConnectionType

__all__ = ["FAMILIES", "classify", "find", "names", "nearest", "shows"]

FAMILIES: dict[str, tuple[str, ...]] = {
    "databases": ("postgres", "mysql", "mssql", "oracle", "sqlite", "odbc", "jdbc"),
    "stores": (
        "mongo",
        "redis",
        "cassandra",
        "neo4j",
        "arangodb",
        "influxdb",
        "influxdb3",
        "elasticsearch",
        "opensearch",
    ),
    "warehouses": (
        "snowflake",
        "databricks",
        "redshift",
        "clickhouse",
        "teradata",
        "vertica",
        "exasol",
        "iceberg",
    ),
    "engines": (
        "trino",
        "presto",
        "druid",
        "pinot",
        "drill",
        "impala",
        "hive_cli",
        "hiveserver2",
        "hive_metastore",
        "spark",
        "spark_sql",
        "spark_connect",
        "livy",
    ),
    "aws": ("aws", "athena", "emr", "chime"),
    "google": (
        "google_cloud_platform",
        "gcpbigquery",
        "gcpcloudsqldb",
        "gcpspanner",
        "gcpssh",
        "google_ads",
        "gcp_looker",
        "dataprep",
    ),
    "azure": (
        "azure",
        "wasb",
        "adls",
        "azure_data_lake",
        "azure_fileshare",
        "azure_container_volume",
        "azure_cosmos",
        "azure_service_bus",
    ),
    "microsoft": (
        "azure_data_factory",
        "azure_data_explorer",
        "azure_synapse",
        "azure_batch",
        "azure_container_registry",
        "msgraph",
        "powerbi",
    ),
    "messaging": (
        "kafka",
        "amqp",
        "smtp",
        "imap",
        "slack",
        "slackwebhook",
        "discord",
        "telegram",
        "pagerduty",
        "pagerduty_events",
        "opsgenie",
    ),
    "web": (
        "http",
        "grpc",
        "salesforce",
        "jira",
        "zendesk",
        "asana",
        "tableau",
        "airbyte",
        "dbt_cloud",
        "segment",
        "facebook_social",
        "datadog",
    ),
    "files": ("fs", "ftp", "sftp", "ssh", "samba", "webhdfs", "winrm", "package_index", "generic", "email"),
    "platform": ("kubernetes", "docker", "vault", "git", "github", "jenkins", "yandexcloud"),
    "ml": ("openai", "cohere", "pinecone", "qdrant", "weaviate"),
}
"""The types of each family, in the order a list shows them."""

_FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
_ALWAYS_PUBLIC = ("conn_type", "description")
_PLACES = ("host", "port", "schema", "login")


def names() -> tuple[str, ...]:
    """Give the name of every type, family by family."""
    return tuple(_FAMILY_OF)


def find(conn_type: str) -> ConnectionType | None:
    """Give the type called *conn_type*, or None where the catalog has none."""
    family = _FAMILY_OF.get(conn_type)
    return None if family is None else _family(family)[conn_type]


@cache
def _family(name: str) -> dict[str, ConnectionType]:
    types: tuple[ConnectionType, ...] = import_module(f"strongroom.catalog.{name}").TYPES
    return {one.name: one for one in types}


def nearest(conn_type: str) -> tuple[str, ...]:
    """Give up to three names that *conn_type* may have meant, the likeliest first."""
    from strongroom.catalog import synonym  # noqa: PLC0415 -- only a slip of the pen needs it

    return synonym.nearest(conn_type, names())


def classify(conn_type: str | None, path: tuple[str, ...]) -> Literal["public", "secret"]:
    """
    Tell whether the value at *path* of a connection may be shown; what is not known is secret.

    Args:
        conn_type: its type; None and types the catalog lacks have public standard fields, but for the
            password, and an extra that is secret throughout.
        path: a field, as `("host",)`, or a key of extra, as `("extra", "sslmode")`. Deeper ones are
            secret: nobody knows what a document holds.
    """
    if not path:
        return "secret"
    if len(path) == 1 and path[0] in _ALWAYS_PUBLIC:
        return "public"
    if path[0] != "extra" and (len(path) > 1 or path[0] not in _PLACES):
        return "secret"
    found = find(conn_type) if conn_type else None
    is_public = path[0] != "extra" if found is None else found.is_public(path)
    return "public" if is_public else "secret"


def shows(conn_type: str | None, path: tuple[str, ...], value: object) -> bool:
    """
    Tell whether *value* may be shown at *path*: it is public there, and in extra of the type it should be.

    What stands in a field where it does not belong, such as a token under `sslmode`, stays hidden.
    """
    if classify(conn_type, path) == "secret":
        return False
    if path[0] != "extra" or value is None:
        return True
    kind = find(conn_type) if conn_type else None
    field = kind.extra_field(path[1]) if kind else None
    return field is not None and field.fits(value)
