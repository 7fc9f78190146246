"""
Databases of SQL: name, TCP, TLS, a session, `SELECT 1`.

Drivers in C look names up by themselves: they are given the address that was looked at.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.live import engine
from strongroom.live.probing.authority import authority
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.plain import port_of
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.live.probing.course import Course

__all__ = ["run"]

_LIBPQ = ("postgres", "redshift")
_IN_C = ("mssql",)  # whose driver takes an address, and checks no name
_WITHOUT_HOST = ("snowflake", "databricks", "oracle")  # whose driver finds its hosts from other fields
_USUAL_HOSTS = {"mysql": "localhost"}
_OPEN = ("allow", "prefer")  # modes of libpq that take a service without TLS


def run(course: Course) -> None:
    """Make the test."""
    connection = course.connection
    if connection.conn_type == "sqlite":
        _sqlite(course)
        return
    host, port = connection.host or _USUAL_HOSTS.get(connection.conn_type or ""), port_of(connection)
    if not course.pins.is_limited and _is_of_libpq_alone(connection.conn_type, host):
        _use(course)
        return
    if host and port is not None:
        plan = _PLANS.get(connection.conn_type or "", _no_plan)(course.extra, host)
        course.meet(host, port, plan)
        _lead(course, host)
    elif connection.conn_type not in _WITHOUT_HOST:
        raise FailedError("missing", step="options")
    _use(course)


def _is_of_libpq_alone(conn_type: str | None, host: str | None) -> bool:
    """Tell whether *host* is none that could be looked up: none at all, a socket's folder, or several."""
    return conn_type in _LIBPQ and (not host or host.startswith(("/", "@")) or "," in host)


def _lead(course: Course, host: str) -> None:
    address = course.pins.pin(host)[0]
    if course.connection.conn_type in _LIBPQ:
        os.environ["PGHOSTADDR"] = address  # libpq goes there, and checks the certificate for the host
    elif course.connection.conn_type in _IN_C:
        course.change(host=address)


def _use(course: Course) -> None:
    with course.step("driver", is_quiet=True):
        made: Any = engine.client(course.held, course.asked("sqlalchemy"))
    with course.step("authentication"):
        session = made.connect()
    with course.step("read"), session:
        is_oracle = course.connection.conn_type == "oracle"
        session.exec_driver_sql("SELECT 1 FROM DUAL" if is_oracle else "SELECT 1").fetchall()


def _sqlite(course: Course) -> None:
    """Open the file as it is: a test makes none."""
    path = course.connection.host or ""
    with course.step("read"):
        if not path or path == ":memory:" or not Path(path).is_file():
            raise FailedError("unknown")
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as opened:
            opened.execute("SELECT count(*) FROM sqlite_master").fetchall()


# --- TLS ---------------------------------------------------------------------------------------------


def _no_plan(_extra: Mapping[str, Any], _host: str) -> Plan | None:
    return None


def _libpq(extra: Mapping[str, Any], host: str) -> Plan | None:
    """As libpq(5) reads `sslmode`, `require` with a root certificate being `verify-ca`."""
    mode = str(extra.get("sslmode") or "prefer")
    if mode == "disable" or extra.get("sslnegotiation") == "direct":
        return None
    root = extra.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if root is None and mode not in _OPEN:
        usual = Path("~/.postgresql/root.crt").expanduser()
        root = str(usual) if usual.is_file() else None
    is_checked = mode.startswith("verify") or (mode == "require" and bool(root))
    certificate = extra.get("sslcert")
    client = (str(certificate), _text(extra, "sslkey"), _text(extra, "sslpassword")) if certificate else None
    return Plan(
        host,
        begin="postgres",
        is_needed=mode not in _OPEN,
        is_checked=is_checked,
        is_name_checked=mode == "verify-full" or root == "system",
        ca=authority(root) if is_checked and root not in (None, "system") else None,
        client=client,
    )


def _mysql(extra: Mapping[str, Any], host: str) -> Plan | None:
    files = extra.get("ssl")
    files = files if isinstance(files, dict) else {}
    mode = str(extra.get("ssl_mode") or "").lower()
    if mode == "disabled" or (mode in ("", "preferred") and not files):
        return None
    is_checked = mode.startswith("verify") or (bool(files.get("ca")) and mode != "required")
    return Plan(
        host,
        begin="mysql",
        is_checked=is_checked,
        is_name_checked=mode != "verify_ca" and bool(files.get("check_hostname", True)),
        ca=authority(files.get("ca")) if is_checked else None,
        client=(str(files["cert"]), _text(files, "key"), None) if files.get("cert") else None,
    )


def _trino(extra: Mapping[str, Any], host: str) -> Plan | None:
    if extra.get("protocol") != "https":
        return None
    verify = extra.get("verify", True)
    is_checked = str(verify).lower() not in ("false", "0")
    is_path = isinstance(verify, str) and verify.lower() not in ("true", "false", "")
    return Plan(host, is_checked=is_checked, ca=authority(verify) if is_path else None)


def _text(extra: Mapping[str, Any], key: str) -> str | None:
    found = extra.get(key)
    return None if found in (None, "") else str(found)


_PLANS: dict[str, Callable[[Mapping[str, Any], str], Plan | None]] = {
    "postgres": _libpq,
    "redshift": _libpq,
    "mysql": _mysql,
    "trino": _trino,
}
