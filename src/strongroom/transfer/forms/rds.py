"""
The JSON that AWS Secrets Manager keeps for a database: `engine`, `host`, `username`, `password` and more.

Source: docs.aws.amazon.com/secretsmanager "JSON structure of AWS Secrets Manager secrets".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.transfer.forms.form import Form, Found, Look, connection, port_of, refused

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_ENGINES = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "aurora-postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "aurora-mysql": "mysql",
    "aurora": "mysql",
    "sqlserver": "mssql",
    "oracle": "oracle",
    "redshift": "redshift",
    "mongo": "mongo",
    "db2": "jdbc",
}
_FIELDS = {"host": "host", "username": "login", "password": "password", "dbname": "schema"}


def _misfit(look: Look) -> str | None:
    keys = look.document or {}
    is_own = "engine" in keys or ("username" in keys and "password" in keys)
    return (
        None
        if is_own and "conn_type" not in keys
        else "is no JSON object with engine, or username and password"
    )


def _parse(text: str, _dialect: Dialect) -> Found:
    given = Look(text).document or {}
    engine = given.get("engine")
    conn_type = _ENGINES.get(engine) if isinstance(engine, str) else None
    if conn_type is None:
        raise refused(
            "the secret names no engine that Airflow has a type for",
            offset=0,
            hint="add engine, as postgres, mysql, sqlserver, oracle or redshift",
        )
    fields = {name: given[key] for key, name in _FIELDS.items() if given.get(key) is not None}
    if not all(isinstance(value, str) for value in fields.values()):
        raise refused("a field is no text", offset=0, hint="put it in quotes")
    port = given.get("port")
    if isinstance(port, (bool, float, dict, list)):
        raise refused("the port is no whole number", offset=0)
    fields["port"] = None if port is None else port_of(str(port))
    known = {*_FIELDS, "engine", "port", "dbInstanceIdentifier", "dbClusterIdentifier", "masterarn", "ssl"}
    left = len(given.keys() - known)
    notes = (f"{left} keys that are none of a database's secret left out",) if left else ()
    return Found({None: connection(conn_type, **fields)}, notes)


def _format(connection: Connection, _name: str) -> str:
    engines = {value: key for key, value in reversed(_ENGINES.items())}
    if connection.conn_type not in engines:
        raise refused("the connection's type is no engine of such a secret")
    given: dict[str, object] = {"engine": engines[connection.conn_type]}
    given |= {key: getattr(connection, name) for key, name in _FIELDS.items() if name != "password"}
    given["password"] = connection.password.reveal() if connection.password is not None else None
    given["port"] = connection.port
    return json.dumps({key: value for key, value in given.items() if value is not None})


FORM = Form(
    name="rds",
    title="AWS Secrets Manager's secret of a database",
    example='{"engine": "postgres", "host": "db.example.com", "username": "svc", "password": "p@ss",'
    ' "dbname": "orders", "port": 5432}',
    lacks="description; extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
