"""
PostgreSQL by psycopg 3.

One question is one message (the simple protocol, values quoted by libpq): `BEGIN READ ONLY`, the limits of
this transaction, the question, `COMMIT`. It costs one round trip, leaves nothing behind in the session, and
works through PgBouncer in every mode, which refuses settings at start-up and prepared statements.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.vendors.database import PooledDatabase, driver_missing

if TYPE_CHECKING:
    from datetime import timedelta

    import psycopg

    from strongroom.vendors.database import Question, Row
    from strongroom.vendors.database_url import DatabaseUrl

__all__ = ["PostgresqlDatabase"]

# libpq tells why it could not connect in words only; these are PostgreSQL's in English.
_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|role .* does not exist"
)
_NO_DATABASE = re.compile(r"database .* does not exist")
_SETTING = re.compile(r"invalid .*(value|option)|definition of service|could not match|weak sslmode")
_FULL = re.compile(r"too many (clients|connections)|remaining connection slots")
_CERTIFICATE = re.compile(r"certificate|SSL|TLS")
_LOCK_SHARE = 0.9  # of the time for the statement: what waits for a lock is told apart from what is slow


class PostgresqlDatabase(PooledDatabase["psycopg.Connection[Row]"]):
    """Raises BackendConfigError on making where psycopg is not installed."""

    def __init__(
        self, url: DatabaseUrl, *, place: str, timeout: timedelta, schema: str | None = None
    ) -> None:
        super().__init__(url, place=place, timeout=timeout, schema=schema)
        try:
            import psycopg  # noqa: PLC0415 -- only where it is configured
        except ImportError:
            raise driver_missing("psycopg", "postgres") from None
        self._driver = psycopg

    def connect(self, seconds: float) -> psycopg.Connection[Row]:
        from psycopg.rows import dict_row  # noqa: PLC0415 -- as psycopg

        opened = self._driver.connect(
            **_parameters(self.url),
            connect_timeout=max(2, round(seconds)),  # whole seconds, and libpq takes 1 for 2
            autocommit=True,
            prepare_threshold=None,
            row_factory=dict_row,
            cursor_factory=self._driver.ClientCursor,
        )
        if opened.info.parameter_status("server_encoding") == "SQL_ASCII":
            # Such a database holds any bytes: those that are no UTF-8 shall spoil their own row alone.
            opened.execute("SET client_encoding TO 'SQL_ASCII'")
        return opened

    def query(self, connection: psycopg.Connection[Row], question: Question, seconds: float) -> list[Row]:
        milliseconds = max(1, int(seconds * 1000))
        statement, values = _statement(question, self.schema)
        try:
            cursor = connection.execute(
                f"BEGIN READ ONLY; SET LOCAL lock_timeout = {max(1, int(milliseconds * _LOCK_SHARE))};"
                f" SET LOCAL statement_timeout = {milliseconds}; {statement}; COMMIT",
                values,
            )
        except self._driver.errors.UntranslatableCharacter:
            if question.equals is None:
                raise
            connection.rollback()
            return []  # a name that the database's encoding cannot spell is not in there
        while cursor.description is None and cursor.nextset():
            pass
        return cursor.fetchall()

    def disconnect(self, connection: psycopg.Connection[Row]) -> None:
        connection.close()

    def is_lost(self, error: Exception) -> bool:
        # 57P01 to 57P03: the server is told to stop, or is starting.
        state = getattr(error, "sqlstate", None) or ""
        is_gone = not state or state.startswith(("08", "57P"))
        return isinstance(error, self._driver.OperationalError) and is_gone

    def judged(self, error: Exception, question: Question, seconds: float) -> StrongroomError:
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith("42"):
            return self._table_unread(question, state)
        if state == "55P03":
            return self.unavailable(
                f"has the table {question.table} locked",
                hint="a migration may be running: try again after it",
            )
        if state == "57014":
            return self.unavailable(f"gave no answer within {seconds:.3g} s")
        return self._not_connected(error, state)

    def _table_unread(self, question: Question, state: str) -> StrongroomError:
        if state == "42P01":
            return self.no_table(question.table)
        if state == "42703":
            return self.misconfigured(f"has no column {question.column} in the table {question.table}")
        if state == "42501":
            why = f"its user may not read the table {question.table}"
            return AccessDeniedError(f"the database of {self.place}: {why}", reason=why)
        return self.misconfigured(
            f"has a table {question.table} that is not Airflow's ({state})",
            hint="name the database that Airflow uses",
        )

    def _not_connected(self, error: Exception, state: str) -> StrongroomError:
        text = str(error)
        if state.startswith("28") or _REFUSED.search(text):
            return self.misconfigured(
                "refuses the user or the password", hint="correct them in [database] sql_alchemy_conn"
            )
        if state == "3D000" or _NO_DATABASE.search(text):
            return self.misconfigured(
                "is not on that server", hint="correct its name in [database] sql_alchemy_conn"
            )
        if state.startswith("53") or _FULL.search(text):
            return self.unavailable("has no connection left", hint="raise max_connections, or try again")
        if not state and _SETTING.search(text):
            return self.misconfigured(
                "has an argument in its URL that cannot be", hint="correct what stands after '?' in it"
            )
        if not state and _CERTIFICATE.search(text):
            return self.unavailable(
                "cannot be spoken to as TLS is set", hint="look at sslmode and sslrootcert in its URL"
            )
        said = f"{type(error).__name__}{', ' + state if state else ''}"
        return self.unavailable(f"gives no answer ({said})")


def _parameters(url: DatabaseUrl) -> dict[str, Any]:
    said = {name: ",".join(values) for name, values in url.arguments.items()}
    if "host" in said and ":" in said["host"] and not said["host"].startswith(("/", "[")):
        # SQLAlchemy's way to name several servers: host=a:5432&host=b:5432.
        pairs = [value.partition(":") for value in url.arguments["host"]]
        said |= {"host": ",".join(p[0] for p in pairs), "port": ",".join(p[2] for p in pairs)}
    parts = {
        "host": url.host,
        "port": url.port,
        "user": url.user,
        "password": url.password.reveal() if url.password is not None else None,
        "dbname": url.database or None,
    }
    found = {name: value for name, value in parts.items() if value is not None}
    return {"application_name": "strongroom", **found, **said, "client_encoding": "utf8"}


def _statement(question: Question, schema: str | None) -> tuple[str, tuple[object, ...]]:
    place = f"{_quoted(schema)}." if schema else ""
    table, column = f"{place}{_quoted(question.table)}", _quoted(question.column)
    if question.equals is not None:
        return f"SELECT * FROM {table} WHERE {column} = %s", (question.equals,)  # noqa: S608 -- quoted names
    order = f'{column} COLLATE "C"'
    statement = f"SELECT * FROM {table} WHERE {order} {question.comparison} %s ORDER BY {order} LIMIT %s"  # noqa: S608
    return statement, (question.start, question.limit)


def _quoted(name: str) -> str:
    # A percent sign is a placeholder's to psycopg.
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
