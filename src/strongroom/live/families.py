"""
Which library makes a client of which connection: one table, and how a library that is missing is told.

Not for making clients: a file of this folder is a family, imported when one of its clients is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from strongroom.live.held import Held

__all__ = ["DRIVERS", "Driver", "driver_of", "drivers_of", "family_of", "loaded"]


class Driver(NamedTuple):
    """
    One kind of client.

    Args:
        name: its word, as `strongroom.client(…, driver=…)` says it.
        module: the file of this folder that makes it.
        extra: of this distribution that brings its library; empty where none is needed.
        types: of connections that it is made of; the first one in the table that names a type is its default.
        gives: what is made, in the words of its library.
    """

    name: str
    module: str
    extra: str
    types: tuple[str, ...]
    gives: str


_AWS = ("aws", "athena", "emr")
_GOOGLE = ("google_cloud_platform", "gcpbigquery", "gcpspanner")
_AZURE = (
    "azure",
    "azure_data_factory",
    "azure_batch",
    "azure_service_bus",
    "azure_cosmos",
    "azure_data_lake",
)
_BLOBS = ("wasb", "adls")
_FILES = ("fs", "aws", "athena", "google_cloud_platform", "azure", *_BLOBS, "sftp", "http")
_SQL = (
    "postgres",
    "mysql",
    "mssql",
    "sqlite",
    "snowflake",
    "trino",
    "redshift",
    "oracle",
    "presto",
    "databricks",
    "odbc",
    "clickhouse",
    "teradata",
    "vertica",
    "exasol",
)

DRIVERS: tuple[Driver, ...] = (
    Driver("sqlalchemy", "engine", "sql", _SQL, "sqlalchemy.Engine"),
    Driver("psycopg", "psycopg", "postgres", ("postgres", "redshift"), "a maker of psycopg.Connection"),
    Driver("redis", "redis", "redis", ("redis",), "redis.Redis"),
    Driver("ssh", "ssh", "ssh", ("ssh", "sftp"), "paramiko.SSHClient"),
    Driver("sftp", "ssh", "ssh", ("sftp", "ssh"), "paramiko.SFTPClient"),
    Driver("smtplib", "smtp", "", ("smtp",), "smtplib.SMTP"),
    Driver("boto3", "aws", "aws", _AWS, "boto3.Session, or a client of the service named"),
    Driver("resource", "aws", "aws", _AWS, "a boto3 resource of the service named"),
    Driver(
        "google-auth", "google", "gcp", _GOOGLE, "google.auth credentials, or a client of the service named"
    ),
    Driver(
        "azure-identity",
        "azure",
        "azure",
        (*_AZURE, *_BLOBS),
        "an azure TokenCredential, or a client of the service named",
    ),
    Driver("httpx2", "http", "http", ("http", "livy"), "httpx2.Client"),
    Driver("slack-sdk", "slack", "slack", ("slack", "slackwebhook"), "slack_sdk.WebClient, or WebhookClient"),
    Driver("lightkube", "kubernetes", "lightkube", ("kubernetes",), "lightkube.Client"),
    Driver("fsspec", "files", "files", _FILES, "an fsspec file system"),
)


def drivers_of(conn_type: str | None) -> Iterator[Driver]:
    """Give the drivers for *conn_type*, its default first."""
    return (driver for driver in _ordered(conn_type) if conn_type in driver.types)


def _ordered(conn_type: str | None) -> list[Driver]:
    # A type that a driver names first is its own: `sftp` is asked for by those who want files.
    return sorted(DRIVERS, key=lambda driver: driver.types[0] != conn_type)


def driver_of(held: Held, asked: str | None) -> Driver:
    """
    Give the driver *asked* for the connection *held*, or the default of its type.

    Raises:
        BackendConfigError: its type has no driver, or not this one.
    """
    conn_type = held.known.connection.conn_type
    found = list(drivers_of(conn_type))
    for driver in found:
        if asked in (None, driver.name):
            return driver
    if not found:
        known = sorted({each for driver in DRIVERS for each in driver.types})
        raise trouble(
            "driver",
            "unknown",
            name=held.name,
            hint=f"there are live clients for {', '.join(known)}; strongroom.connection gives any other",
        )
    raise trouble(
        "driver", "unknown", name=held.name, hint=f"for its type: {', '.join(one.name for one in found)}"
    )


def family_of(driver: Driver) -> Any:  # noqa: ANN401 -- a module with `client`, and maybe `aclient`
    """Give the file that makes clients of *driver*."""
    return import_module(f"strongroom.live.{driver.module}")


def loaded(module: str, held: Held, *, extra: str) -> ModuleType:
    """
    Give a library's *module*.

    Args:
        module: as it is imported, such as `redis` or `google.auth.transport.requests`.
        held: the connection that needs it.
        extra: of this distribution that brings it.

    Raises:
        BackendConfigError: it is not installed; the hint says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise trouble(
            "driver",
            "missing",
            name=held.name,
            detail=module.partition(".")[0],
            hint=f"pip install 'strongroom[{extra}]'",
        ) from None
    except ImportError:
        raise trouble("driver", "other", name=held.name, detail=module.partition(".")[0]) from None
