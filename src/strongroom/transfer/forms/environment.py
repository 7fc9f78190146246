"""
Variables of other programs: `POSTGRES_USER=…`, `PGHOST=…`, `AWS_ACCESS_KEY_ID=…`, `DATABASE_URL=…`.

Lines are read as those of a `.env`, a shell, Windows, PowerShell, a Dockerfile and Compose. Variables that
belong together become one connection; one whose value is a URL becomes one by itself. Where there is but one
connection it has no name, otherwise that of its group.

Sources: the pages of the images postgres, mysql, mariadb, mongo and rabbitmq on hub.docker.com;
postgresql.org/docs/current/libpq-envars.html; docs.aws.amazon.com/cli "Environment variables";
docs.snowflake.com, docs.databricks.com and learn.microsoft.com on the variables of their clients.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.transfer.forms.aws import of_keys
from strongroom.transfer.forms.command import PROGRAMS
from strongroom.transfer.forms.command_option import PG_VARIABLES
from strongroom.transfer.forms.form import Form, Found, Look, connection, lines_of, port_of, refused, typed
from strongroom.transfer.forms.libpq import of_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.connection import Connection, Dialect

__all__ = ["form_of"]

_FIELDS = ("host", "port", "login", "password", "schema")


class _Group(NamedTuple):
    """Variables of one connection: fields or keys of extra by name, and those of which one must be there."""

    name: str
    conn_type: str
    names: dict[str, str]
    needed: tuple[str, ...]


def _group(name: str, conn_type: str, needed: str, names: dict[str, str]) -> _Group:
    spelled = {one: field for field, several in names.items() for one in several.split()}
    return _Group(name, conn_type, spelled, tuple(needed.split()))


_GROUPS = (
    _group(
        "postgres",
        "postgres",
        "POSTGRES_USER POSTGRES_PASSWORD POSTGRES_HOST",
        {
            "host": "POSTGRES_HOST POSTGRES_SERVER",
            "port": "POSTGRES_PORT",
            "login": "POSTGRES_USER",
            "password": "POSTGRES_PASSWORD",
            "schema": "POSTGRES_DB POSTGRES_DATABASE",
        },
    ),
    _group(
        "mysql",
        "mysql",
        "MYSQL_USER MYSQL_PASSWORD MYSQL_HOST MYSQL_ROOT_PASSWORD",
        {
            "host": "MYSQL_HOST",
            "port": "MYSQL_PORT MYSQL_TCP_PORT",
            "login": "MYSQL_USER",
            "password": "MYSQL_PASSWORD MYSQL_PWD",
            "schema": "MYSQL_DATABASE MYSQL_DB",
        },
    ),
    _group(
        "mariadb",
        "mysql",
        "MARIADB_USER MARIADB_PASSWORD MARIADB_HOST MARIADB_ROOT_PASSWORD",
        {
            "host": "MARIADB_HOST",
            "port": "MARIADB_PORT",
            "login": "MARIADB_USER",
            "password": "MARIADB_PASSWORD",
            "schema": "MARIADB_DATABASE",
        },
    ),
    _group(
        "mongo",
        "mongo",
        "MONGO_INITDB_ROOT_USERNAME MONGO_HOST",
        {
            "host": "MONGO_HOST",
            "port": "MONGO_PORT",
            "login": "MONGO_INITDB_ROOT_USERNAME MONGO_USERNAME",
            "password": "MONGO_INITDB_ROOT_PASSWORD MONGO_PASSWORD",
            "schema": "MONGO_INITDB_DATABASE MONGO_DATABASE",
        },
    ),
    _group(
        "redis",
        "redis",
        "REDIS_HOST REDIS_PASSWORD",
        {
            "host": "REDIS_HOST",
            "port": "REDIS_PORT",
            "login": "REDIS_USER REDIS_USERNAME",
            "password": "REDIS_PASSWORD",
            "db": "REDIS_DB",
        },
    ),
    _group(
        "rabbitmq",
        "amqp",
        "RABBITMQ_DEFAULT_USER RABBITMQ_HOST",
        {
            "host": "RABBITMQ_HOST",
            "port": "RABBITMQ_PORT",
            "login": "RABBITMQ_DEFAULT_USER RABBITMQ_USER",
            "password": "RABBITMQ_DEFAULT_PASS RABBITMQ_PASSWORD",
            "schema": "RABBITMQ_DEFAULT_VHOST RABBITMQ_VHOST",
        },
    ),
    _group(
        "snowflake",
        "snowflake",
        "SNOWFLAKE_ACCOUNT",
        {
            "account": "SNOWFLAKE_ACCOUNT",
            "login": "SNOWFLAKE_USER",
            "password": "SNOWFLAKE_PASSWORD",
            "schema": "SNOWFLAKE_SCHEMA",
            "database": "SNOWFLAKE_DATABASE",
            "warehouse": "SNOWFLAKE_WAREHOUSE",
            "role": "SNOWFLAKE_ROLE",
            "authenticator": "SNOWFLAKE_AUTHENTICATOR",
        },
    ),
    _group(
        "databricks",
        "databricks",
        "DATABRICKS_HOST DATABRICKS_SERVER_HOSTNAME",
        {
            "host": "DATABRICKS_HOST DATABRICKS_SERVER_HOSTNAME",
            "password": "DATABRICKS_TOKEN DATABRICKS_ACCESS_TOKEN",
            "http_path": "DATABRICKS_HTTP_PATH",
        },
    ),
    _group(
        "azure",
        "azure",
        "AZURE_CLIENT_ID",
        {
            "login": "AZURE_CLIENT_ID",
            "password": "AZURE_CLIENT_SECRET",
            "tenantId": "AZURE_TENANT_ID",
            "subscriptionId": "AZURE_SUBSCRIPTION_ID",
        },
    ),
    _group(
        "google",
        "google_cloud_platform",
        "GOOGLE_APPLICATION_CREDENTIALS",
        {"key_path": "GOOGLE_APPLICATION_CREDENTIALS", "project": "GOOGLE_CLOUD_PROJECT GCP_PROJECT"},
    ),
)
_DB = _group(
    "db",
    "",
    "DB_HOST",
    {
        "host": "DB_HOST",
        "port": "DB_PORT",
        "login": "DB_USER DB_USERNAME",
        "password": "DB_PASSWORD DB_PASS",
        "schema": "DB_NAME DB_DATABASE",
    },
)
_DB_KINDS = ("DB_CONNECTION", "DB_ENGINE", "DB_TYPE", "DB_DIALECT", "DB_DRIVER")
_DB_TYPES = {
    "pgsql": "postgres", "postgres": "postgres", "postgresql": "postgres", "mysql": "mysql",
    "mariadb": "mysql", "mssql": "mssql", "sqlsrv": "mssql", "sqlserver": "mssql", "oracle": "oracle",
}  # fmt: skip
_DB_PORTS = {"5432": "postgres", "3306": "mysql", "1433": "mssql", "1521": "oracle"}
_AWS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
    "AWS_ENDPOINT_URL": "endpoint_url",
}
_ENDINGS = ("_URL", "_URI", "_DSN", "_CONNECTION_STRING", "_SQL_ALCHEMY_CONN")
_MAX_URLS = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def _known(names: frozenset[str]) -> bool:
    is_group = any(names & set(group.needed) for group in _GROUPS)
    is_own = not names.isdisjoint(("PGHOST", "PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "DB_HOST"))
    return is_group or is_own or any(name.endswith(_ENDINGS) for name in names)


def _misfit(look: Look) -> str | None:
    if any(name.startswith("AIRFLOW_CONN_") for name in look.names):
        return "is Airflow's environment"
    if not look.names or look.command in PROGRAMS:
        return "is no list of NAME=value"
    return None if _known(look.names) else "has no variable that a known program reads"


def form_of(read: Callable[[str, Dialect], Found]) -> Form:
    """
    Give the form.

    Args:
        read: reads the one connection of a variable's value; the registry's, which knows every form.
    """

    def parse(text: str, dialect: Dialect) -> Found:
        given: dict[str, str] = {}
        for line in lines_of(text):
            name = line.name.strip()
            if line.fault == "no value":
                continue  # a variable that is empty says nothing
            if line.fault or name in given or not _NAME.fullmatch(name):
                raise refused("a line is no NAME=value, or a name stands twice", offset=line.offset)
            given[name] = line.value
        return _found(given, dialect, read)

    return Form(
        name="env",
        title="Variables of other programs",
        example="POSTGRES_HOST=db.example.com\nPOSTGRES_USER=svc\nPOSTGRES_PASSWORD=p@ss\nPOSTGRES_DB=orders",
        lacks="not written",
        misfit=_misfit,
        parse=parse,
    )


def _found(given: dict[str, str], dialect: Dialect, read: Callable[[str, Dialect], Found]) -> Found:
    left = dict(given)
    made = _of_groups(given, left)
    pg = {key: left.pop(name) for name, key in PG_VARIABLES.items() if name in left}
    if pg:
        made["postgresql"] = of_parameters(pg)
    notes = _of_aws(left, made)
    for name in [name for name in left if name.endswith(_ENDINGS)][:_MAX_URLS]:
        one = _of_url(left.pop(name), dialect, read)
        key = name.removesuffix(next(ending for ending in _ENDINGS if name.endswith(ending))).lower()
        if key in made:
            raise refused("two variables give a connection the same name", hint="leave one of them out")
        made[key] = one.connections[None]
        notes += one.warnings
    if not made:
        raise refused("there is no variable that a known program reads", offset=0)
    if left:
        notes.append(f"{len(left)} other variable{'s' * (len(left) > 1)} passed over")
    if any(name.endswith("ROOT_PASSWORD") for name in left):
        notes.append("the password of root is none of a task's, and was passed over")
    return Found({None: next(iter(made.values()))} if len(made) == 1 else made, tuple(notes))


def _of_groups(given: dict[str, str], left: dict[str, str]) -> dict[str | None, Connection]:
    groups = [group for group in _GROUPS if any(name in given for name in group.needed)]
    made: dict[str | None, Connection] = {group.name: _of_group(group, left) for group in groups}
    if "DB_HOST" in given:
        made[_DB.name] = _of_group(_database(left), left)
    return made


def _of_aws(left: dict[str, str], made: dict[str | None, Connection]) -> list[str]:
    """Add the connection of AWS's variables to *made*; give the warnings."""
    keys = {key: left.pop(name) for name, key in _AWS.items() if name in left}
    if "aws_access_key_id" in keys:
        made["aws"] = of_keys(keys)  # which count before a profile, as in boto3
        return []
    if "AWS_PROFILE" not in left:
        return []
    made["aws"] = of_keys(keys, {"profile_name": left.pop("AWS_PROFILE")})
    return ["the profile's file must be where the task runs"]


def _database(left: dict[str, str]) -> _Group:
    """Give the group `DB_…` of the database that is named beside it, or whose port it is."""
    words = [left.pop(name).lower() for name in _DB_KINDS if name in left]
    kinds = [_DB_TYPES.get(word.rpartition(".")[2].partition("+")[0]) for word in words]
    kind = next(filter(None, kinds), None) or _DB_PORTS.get(left.get("DB_PORT", ""))
    if kind is None:
        raise refused(
            "nothing tells which database DB_HOST is of", hint="add DB_CONNECTION=mysql or the like"
        )
    return _DB._replace(conn_type=kind)


def _of_url(value: str, dialect: Dialect, read: Callable[[str, Dialect], Found]) -> Found:
    try:
        return read(value, dialect)
    except InvalidInputError as error:
        error.offset = None
        raise


def _of_group(group: _Group, left: dict[str, str]) -> Connection:
    values: dict[str, Any] = {}
    for name, field in group.names.items():
        if name in left:
            values.setdefault(field, left.pop(name))
    fields = {name: values.pop(name) for name in _FIELDS if name in values}
    fields["port"] = port_of(fields.get("port", ""))
    return connection(group.conn_type, typed(group.conn_type, values), **fields)
