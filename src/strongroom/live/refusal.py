"""
Why a database could not be connected to, as its driver says it, in our own words: a step and a reason.

Not for telling it (`trouble.py`), nor for what drivers of other services say.

Rules of this file:

1. A driver's words are looked at and never kept.
2. What cannot be told apart is `authentication`, `other`: that is asked about once more, as credentials are.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.live.reaching import cause_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.live.trouble import Reason, Step

__all__ = ["Refusal", "closer", "refusal_of"]

_LOOK_SECONDS = 5.0


class Refusal(NamedTuple):
    """
    Where a connection attempt ended, and why.

    Args:
        step, reason: as `trouble` takes them.
    """

    step: Step
    reason: Reason

    @property
    def may_be_credentials(self) -> bool:
        """Whether other credentials may do better."""
        return self.step == "authentication" and self.reason in ("credentials", "other", "missing")


_UNKNOWN = Refusal("authentication", "other")

# libpq gives no SQLSTATE of a connection that was refused, only words: these, of PostgreSQL's in English.
# The first that is found counts, so those of the server stand before those of the network.
_LIBPQ: tuple[tuple[str, Refusal], ...] = (
    ("password authentication failed", Refusal("authentication", "credentials")),
    ("authentication failed for user", Refusal("authentication", "credentials")),
    ("no pg_hba.conf entry", Refusal("authentication", "credentials")),
    ("is not permitted to log in", Refusal("authentication", "credentials")),
    ("no password supplied", Refusal("authentication", "missing")),
    ("permission denied for database", Refusal("authentication", "forbidden")),
    ("too many clients", Refusal("authentication", "unavailable")),
    ("too many connections", Refusal("authentication", "unavailable")),
    ("remaining connection slots", Refusal("authentication", "unavailable")),
    ("the database system is", Refusal("authentication", "unavailable")),
    ("does not match host name", Refusal("tls", "wrong_host")),
    ("certificate has expired", Refusal("tls", "expired")),
    ("root certificate file", Refusal("tls", "malformed")),
    ("certificate verify failed", Refusal("tls", "untrusted")),
    ("could not load private key", Refusal("tls", "malformed")),
    ("private key file", Refusal("tls", "malformed")),
    ("certificate file", Refusal("tls", "malformed")),
    ("server does not support SSL", Refusal("tls", "plaintext")),
    ("could not translate host name", Refusal("name", "unknown")),
    ("Name or service not known", Refusal("name", "unknown")),
    ("Temporary failure in name resolution", Refusal("name", "unavailable")),
    ("timeout expired", Refusal("tcp", "timeout")),
    ("timed out", Refusal("tcp", "timeout")),
    ("Connection refused", Refusal("tcp", "refused")),
    ("No such file or directory", Refusal("tcp", "refused")),
    ("No route to host", Refusal("tcp", "unavailable")),
    ("unreachable", Refusal("tcp", "unavailable")),
    ("invalid connection option", Refusal("options", "unknown")),
    ("invalid sslmode", Refusal("options", "malformed")),
    ("invalid value", Refusal("options", "malformed")),
    ("invalid integer", Refusal("options", "malformed")),
    ("invalid port", Refusal("options", "malformed")),
    ("SSL error", Refusal("tls", "other")),
)
_SQLSTATES = (
    ("28", Refusal("authentication", "credentials")),
    ("3D", Refusal("read", "unknown")),
    ("42501", Refusal("authentication", "forbidden")),
    ("53", Refusal("authentication", "unavailable")),
    ("57P", Refusal("authentication", "unavailable")),
)
# By the numbers of MySQL's and MariaDB's own errors and of their clients'.
_MYSQL: dict[int, Refusal] = {
    **dict.fromkeys((1045, 1698, 1862, 1820, 3118, 4151), Refusal("authentication", "credentials")),
    **dict.fromkeys((1044, 1130), Refusal("authentication", "forbidden")),
    **dict.fromkeys((1040, 1053, 1129, 1203, 1226), Refusal("authentication", "unavailable")),
    1049: Refusal("read", "unknown"),
    2002: Refusal("tcp", "refused"),
    2003: Refusal("tcp", "refused"),
    2005: Refusal("name", "unknown"),
    2026: Refusal("tls", "other"),
    3159: Refusal("tls", "plaintext"),
}
# Of SQL Server, and of FreeTDS, which speaks to it.
_MSSQL: dict[int, Refusal] = {
    **dict.fromkeys((18456, 18452, 18470, 18487, 18488), Refusal("authentication", "credentials")),
    **dict.fromkeys((4060, 4064, 916), Refusal("read", "unknown")),
    20009: Refusal("tcp", "refused"),
    20003: Refusal("tcp", "timeout"),
    20047: Refusal("tcp", "unavailable"),
    40613: Refusal("authentication", "unavailable"),
}
# Of Snowflake's login service; 250001 stands for any of them.
_SNOWFLAKE: dict[int, Refusal] = {
    **dict.fromkeys((390100, 390144, 390303, 390318, 390189), Refusal("authentication", "credentials")),
    **dict.fromkeys((250003, 250005), Refusal("tcp", "unavailable")),
    251001: Refusal("options", "missing"),
    251005: Refusal("options", "missing"),
    251006: Refusal("options", "missing"),
}


def refusal_of(error: BaseException) -> Refusal:
    """Tell where the attempt to connect that ended with *error* got to, and why it ended."""
    module = type(error).__module__.partition(".")[0]
    if isinstance(
        getattr(error, "original_exception", None), FileNotFoundError
    ):  # PyMySQL's, of a Unix socket
        return Refusal("tcp", "refused")
    cause = cause_of(error)
    if cause is not None:
        return Refusal(*cause)
    if module in ("psycopg", "psycopg2"):
        return _of_libpq(error)
    if module == "sqlite3":  # which has nobody to log in
        return Refusal("read", "unknown" if "unable to open" in str(error) else "other")
    if module in ("trino", "requests"):
        return _of_http(error)
    return _of_number(error, module)


def closer(found: Refusal, host: object, port: object, args: Mapping[str, Any]) -> Refusal:
    """
    Tell what ails a certificate of PostgreSQL that libpq only says it does not trust.

    Args:
        found: what libpq's words say.
        host: where it was.
        port: of *host*; 5432 if unsaid.
        args: parameters of libpq.

    Returns:
        *found*, or what a handshake of our own comes to, in which nothing of the login is sent.
    """
    ca = args.get("sslrootcert")
    if found != Refusal("tls", "untrusted") or not ca or not isinstance(host, str) or host[:1] in ("", "/"):
        return found
    from strongroom.live.probing.failed import FailedError  # noqa: PLC0415 -- only where something is wrong
    from strongroom.live.probing.tls import Plan, shake_hands  # noqa: PLC0415 -- as above

    try:
        text = Path(str(ca)).read_text(encoding="ascii")
        plan = Plan(host, "postgres", is_name_checked=args.get("sslmode") == "verify-full", ca=text)
        with socket.create_connection((host, int(str(port or 5432))), _LOOK_SECONDS) as opened:
            shake_hands(opened, plan)
    except FailedError as failed:
        return Refusal("tls", failed.reason)
    except (OSError, ValueError):
        return found
    return found


def _of_libpq(error: BaseException) -> Refusal:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    for begin, told in _SQLSTATES:
        if state.startswith(begin):
            return told
    text = str(error)
    # These are in the server's words beside a name, which might be any of the others.
    if 'database "' in text and "does not exist" in text:
        return Refusal("read", "unknown")
    if 'role "' in text and "does not exist" in text:
        return Refusal("authentication", "credentials")
    return next((told for words, told in _LIBPQ if words in text), _UNKNOWN)


def _of_number(error: BaseException, module: str) -> Refusal:
    table = _MSSQL if module in ("pymssql", "pyodbc") else _SNOWFLAKE if module == "snowflake" else _MYSQL
    beneath = getattr(error, "original_exception", None)
    cause = cause_of(beneath) if isinstance(beneath, BaseException) else None
    if cause is not None:  # PyMySQL's way to say what was wrong with the network
        return Refusal(*cause)
    number = getattr(error, "errno", None)
    if not isinstance(number, int):
        number = _first_number(error.args)
    if module == "snowflake" and "Incorrect username or password" in str(error):
        number = 390100
    return table.get(number, _UNKNOWN) if number is not None else _UNKNOWN


def _first_number(args: object) -> int | None:
    """Give the number that an error begins with, however deep it stands."""
    while isinstance(args, tuple) and args:
        args = args[0]
    return args if isinstance(args, int) else None


def _of_http(error: BaseException) -> Refusal:
    """What Trino's client says, which speaks HTTP."""
    text = str(error)
    if any(words in text for words in ("error 401", "error 403", "Authentication")):
        return Refusal("authentication", "credentials")
    if any(words in text for words in ("error 502", "error 503", "error 504")):
        return Refusal("authentication", "unavailable")
    name = type(error).__name__
    if name in ("ConnectTimeout", "ReadTimeout"):
        return Refusal("tcp", "timeout")
    if name == "SSLError":
        return Refusal("tls", "untrusted")
    if name in ("ConnectionError", "TrinoConnectionError"):
        return Refusal("name", "unknown") if "NameResolution" in text else Refusal("tcp", "refused")
    return _UNKNOWN
