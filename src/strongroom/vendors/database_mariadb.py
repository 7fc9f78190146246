"""
MariaDB and MySQL by PyMySQL.

The session is read only, and the server is told with each question when to give up: MariaDB by
`SET STATEMENT max_statement_time`, MySQL by a hint inside the statement.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.vendors.database import PooledDatabase, driver_missing

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.vendors.database import Question, Row
    from strongroom.vendors.database_url import DatabaseUrl

__all__ = ["MariadbDatabase"]

_CLEAR = 2061  # CR_AUTH_PLUGIN_ERR
_REFUSED = (1045, 1698, 1130, 1251, 2059)  # user, password, host, or a way to log in that is not known
_NO_DATABASE = (1044, 1049)
_NO_TABLE = 1146
_NO_COLUMN = 1054
_NOT_SPELLED = (1267, 3854, 3988)  # the column's character set has no such character
_MAY_NOT = (1142, 1143, 1370)
_LOCKED = (1205, 1213)
_TOO_SLOW = (1969, 3024, 1317)
_FULL = (1040, 1203, 1226)
_GONE = (2003, 2006, 2013, 2055, 4031, 1927, 1053)
_TLS = 2026
_VERIFYING = ("verify_ca", "verify_identity")
_MODES = ("", "disabled", "preferred", "required", *_VERIFYING)


class _Session(Protocol):
    """What is used of PyMySQL's Connection, which comes without types."""

    def cursor(self) -> Any: ...  # noqa: ANN401 -- as the class
    def get_server_info(self) -> str: ...
    def close(self) -> None: ...


class MariadbDatabase(PooledDatabase[_Session]):
    """Raises BackendConfigError on making where PyMySQL is not installed."""

    def __init__(
        self, url: DatabaseUrl, *, place: str, timeout: timedelta, schema: str | None = None
    ) -> None:
        super().__init__(url, place=place, timeout=timeout, schema=schema)
        try:
            import pymysql  # type: ignore[import-untyped]  # noqa: PLC0415 -- only where it is configured
            import pymysql.cursors  # type: ignore[import-untyped]  # noqa: PLC0415
        except ImportError:
            raise driver_missing("PyMySQL", "mariadb") from None
        self._driver = pymysql

    def connect(self, seconds: float) -> _Session:
        if _mode(self.url) not in _MODES:
            # PyMySQL would speak to whoever answers, where Airflow's driver refuses.
            raise self.misconfigured(
                "has an ssl_mode that is none", hint=f"say one of {', '.join(_MODES[1:])}"
            )
        socket = self.url.argument("unix_socket")
        if socket and not Path(socket).exists():
            # PyMySQL would leave its own end open to the garbage collector.
            raise self.unavailable(f"gives no answer: there is no socket {socket}")
        return self._driver.connect(  # type: ignore[no-any-return]  # it comes without types
            **_parameters(self.url),
            connect_timeout=max(1, round(seconds)),
            read_timeout=self._timeout + 1.0,  # the server gives up first, and says why
            write_timeout=self._timeout + 1.0,
            charset="utf8mb4",
            autocommit=True,
            local_infile=False,  # a server could ask for our files
            init_command="SET SESSION TRANSACTION READ ONLY",
            cursorclass=self._driver.cursors.DictCursor,
            # Without TLS nobody is given the password in clear, who only has to ask PyMySQL for it. With TLS
            # that is how LDAP and cloud tokens log in.
            auth_plugin_map={} if _tls(self.url) else {"mysql_clear_password": self._clear_refused},
        )

    def _clear_refused(self, _session: _Session) -> None:
        raise self._driver.err.OperationalError(_CLEAR, "")

    def query(self, connection: _Session, question: Question, seconds: float) -> list[Row]:
        head, hint = f"SET STATEMENT max_statement_time={seconds:.3f} FOR ", ""
        if "MariaDB" not in connection.get_server_info():
            head, hint = "", f"/*+ MAX_EXECUTION_TIME({max(1, int(seconds * 1000))}) */ "
        statement, values = _statement(question, self.schema, hint)
        with connection.cursor() as cursor:
            try:
                cursor.execute(head + statement, values)
            except self._driver.err.Error as error:
                if question.equals is None or _number(error) not in _NOT_SPELLED:
                    raise
                return []
            return list(cursor.fetchall())

    def disconnect(self, connection: _Session) -> None:
        connection.close()

    def is_lost(self, error: Exception) -> bool:
        return isinstance(error, OSError) or _number(error) in (0, *_GONE)

    def judged(self, error: Exception, question: Question, seconds: float) -> StrongroomError:
        number = _number(error)
        if number == _NO_TABLE:
            return self.no_table(question.table)
        if number == _NO_COLUMN:
            return self.misconfigured(f"has no column {question.column} in the table {question.table}")
        if number in _MAY_NOT:
            why = f"its user may not read the table {question.table}"
            return AccessDeniedError(f"the database of {self.place}: {why}", reason=why)
        if number in _LOCKED:
            return self.unavailable(
                f"has the table {question.table} locked",
                hint="a migration may be running: try again after it",
            )
        if number in _TOO_SLOW:
            return self.unavailable(
                f"gave no answer within {seconds:.3g} s", hint="it is busy, or has the table locked"
            )
        return self._not_connected(error, number)

    def _not_connected(self, error: Exception, number: int) -> StrongroomError:
        if number in _REFUSED:
            return self.misconfigured(
                "refuses the user or the password", hint="correct them in [database] sql_alchemy_conn"
            )
        if number == _CLEAR:
            return self.misconfigured(
                "asks for the password in clear, without TLS", hint="add ssl_mode=VERIFY_IDENTITY to its URL"
            )
        if number in _NO_DATABASE:
            return self.misconfigured(
                "is not on that server, or not for this user",
                hint="correct its name in [database] sql_alchemy_conn",
            )
        if number == _TLS or (isinstance(error, OSError) and type(error).__module__ == "ssl"):
            return self.unavailable(
                "cannot be spoken to as TLS is set", hint="look at ssl_mode and ssl_ca in its URL"
            )
        if number in _FULL:
            return self.unavailable("has no connection left", hint="raise max_connections, or try again")
        said = f"{type(error).__name__}{f', {number}' if number else ''}"
        return self.unavailable(f"gives no answer ({said})")


def _number(error: Exception) -> int:
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def _parameters(url: DatabaseUrl) -> dict[str, Any]:
    found: dict[str, Any] = {"user": url.user or "", "database": url.database or None}
    if url.password is not None:
        found["password"] = url.password.reveal().encode()  # PyMySQL would take text for Latin-1
    tls = _tls(url)
    if url.argument("unix_socket"):
        # Unasked, PyMySQL would read every authority of the system for each session.
        found |= {} if tls else {"ssl_disabled": True}
        return found | {"unix_socket": url.argument("unix_socket")}
    found |= {"host": url.host or "localhost", "port": url.port or 3306}
    return found | ({"ssl_disabled": True} if tls is None else {"ssl": tls} if tls else {})


def _tls(url: DatabaseUrl) -> dict[str, Any] | None:
    """Give PyMySQL's TLS settings: None for no TLS, {} for TLS where the server has it (as mysqlclient)."""
    mode = _mode(url)
    if mode == "disabled" or _is_true(url.argument("ssl_disabled")):
        return None
    files = {name: url.argument(f"ssl_{name}") for name in ("ca", "capath", "cert", "key", "cipher")}
    found: dict[str, Any] = {name: value for name, value in files.items() if value}
    if mode in _VERIFYING or _is_true(url.argument("ssl_verify_cert")):
        found["verify_mode"] = "required"
    elif mode == "required" and not found:
        found["verify_mode"] = "none"
    if found:
        says = url.argument("ssl_check_hostname") or url.argument("ssl_verify_identity")
        found["check_hostname"] = mode == "verify_identity" or _is_true(says)
    return found


def _mode(url: DatabaseUrl) -> str:
    return (url.argument("ssl_mode") or "").lower()


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1", "yes", "on")


def _statement(question: Question, schema: str | None, hint: str) -> tuple[str, tuple[object, ...]]:
    place = f"{_quoted(schema)}." if schema else ""
    table, column = f"{place}{_quoted(question.table)}", _quoted(question.column)
    if question.equals is not None:
        statement = f"SELECT {hint}* FROM {table} WHERE {column} = %s"  # noqa: S608 -- quoted names
        return statement, (question.equals,)
    # By the bytes of UTF-8, the order of code points: the column's collation may be any.
    order = f"CAST(CONVERT({column} USING utf8mb4) AS BINARY)"
    after = "CAST(CONVERT(%s USING utf8mb4) AS BINARY)"
    statement = (
        f"SELECT {hint}* FROM {table} WHERE {order} {question.comparison} {after} ORDER BY {order} LIMIT %s"  # noqa: S608
    )
    return statement, (question.start, question.limit)


def _quoted(name: str) -> str:
    # A percent sign is a placeholder's to PyMySQL.
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"
