"""
A SQLAlchemy URL, taken apart without SQLAlchemy: what Airflow is told of its database. Pure.

Rules of this file:

1. The grammar is SQLAlchemy's, where the first `@` ends the password. What it reads as garbage is refused.
2. A driver's name is only a hint: whichever Airflow uses, the database is the same.
3. An argument that no driver of ours knows is refused by name; one that only tunes Airflow's own driver
   is passed over.

Source: `_parse_url` in sqlalchemy/engine/url.py of 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret

__all__ = ["DatabaseUrl", "Dialect"]

Dialect = Literal["sqlite", "postgresql", "mariadb"]

_URL = re.compile(
    r"""
    (?P<name>[\w+]+)://
    (?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?
    (?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?
    (?::(?P<port>[^/?]*))?
    (?:/(?P<database>[^?]*))?
    (?:\?(?P<query>.*))?
    """,
    re.VERBOSE | re.DOTALL,
)
_DIALECTS: dict[str, Dialect] = {
    "sqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mariadb",
    "mariadb": "mariadb",
}
_MAX_PORT = 65535
# The arguments of libpq that say where the server is and how it is trusted.
_POSTGRESQL = frozenset(
    """
    application_name channel_binding fallback_application_name gssdelegation gssencmode
    gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
    load_balance_hosts options passfile port require_auth requirepeer service ssl_max_protocol_version
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslmode
    sslnegotiation sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout user password dbname
    """.split()  # noqa: SIM905 -- a list this long is read as text
)
_MARIADB = frozenset(
    """
    ssl_ca ssl_capath ssl_cert ssl_key ssl_cipher ssl_mode ssl_check_hostname ssl_verify_cert
    ssl_verify_identity ssl_disabled unix_socket
    """.split()  # noqa: SIM905 -- a list this long is read as text
)
# What tunes the driver that Airflow uses and says nothing of the database.
_TUNING = frozenset(
    """
    allow_local_infile async_creator_fn async_fallback autocommit cached_statements charset check_same_thread
    client_encoding collation command_timeout compress connect_timeout detect_types driver
    executemany_mode isolation_level jit local_infile max_cached_statement_lifetime pool_size
    prepare_threshold prepared_statement_cache_size prepared_statement_name_func raise_on_warnings
    read_timeout server_side_cursors sql_mode statement_cache_size timeout use_native_unicode use_pure
    use_unicode write_timeout
    """.split()  # noqa: SIM905 -- a list this long is read as text
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl:
    """
    Where a database is.

    Args:
        dialect: whose it is.
        user: None where the URL names none.
        password: likewise.
        host: likewise.
        port: 1 to 65535, or None for the dialect's own.
        database: its name, or the path of a SQLite file.
        arguments: the driver's, by name; of one that is said several times all of them.
    """

    dialect: Dialect
    user: str | None = field(default=None, repr=False)
    password: Secret[str] | None = None
    host: str | None = field(default=None, repr=False)
    port: int | None = None
    database: str = field(default="", repr=False)
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: Secret[str]) -> DatabaseUrl:
        """
        Take *url* apart.

        Raises:
            BackendConfigError: it is no SQLAlchemy URL, of another kind of database, or has an argument
                that is not known here. Nothing of the URL stands in the message but an argument's name.
        """
        try:
            return cls._parsed(url)
        except BackendConfigError as error:
            # Raised anew, without the frames below: they hold the URL, and reporters show frames.
            refused = error.with_traceback(None)
        raise refused

    @classmethod
    def _parsed(cls, url: Secret[str]) -> DatabaseUrl:
        found = _URL.fullmatch(url.reveal().strip())
        if found is None:
            raise _refused("is not written as dialect://user:password@host:port/database")
        dialect = _DIALECTS.get(found["name"].lower().partition("+")[0])
        if dialect is None:
            raise _refused("is of no database that Airflow keeps its metadata in", hint=_KNOWN)
        host = found["ipv6"] or found["host"]
        if host is not None and "@" in host:
            raise _refused("has an '@' in its password", hint="write %40 for it")
        return cls(
            dialect=dialect,
            user=_unquoted(found["user"]),
            password=None if found["password"] is None else Secret(unquote(found["password"])),
            host=host,
            port=_port(found["port"]),
            database=found["database"] or "",
            arguments=_arguments(dialect, found["query"] or ""),
        )

    def argument(self, name: str) -> str | None:
        """Give the last value of an argument, or None."""
        values = self.arguments.get(name)
        return values[-1] if values else None


_KNOWN = "sqlite, postgresql, mysql and mariadb are known, with any driver"


def _refused(why: str, *, hint: str | None = None) -> BackendConfigError:
    return BackendConfigError(
        f"the database URL {why}", hint=hint or "give the value of [database] sql_alchemy_conn"
    )


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) <= _MAX_PORT:
        return int(text)
    raise _refused(
        "has a port that is no number from 1 to 65535",
        hint="percent-encode '/', ':', '?' and '@' in the user and the password",
    )


def _arguments(dialect: Dialect, query: str) -> dict[str, tuple[str, ...]]:
    known = {"postgresql": _POSTGRESQL, "mariadb": _MARIADB, "sqlite": frozenset[str]()}[dialect]
    found: dict[str, tuple[str, ...]] = {}
    for written, value in parse_qsl(query):
        # asyncpg's word for libpq's sslmode.
        name = "sslmode" if dialect == "postgresql" and written == "ssl" else written
        if name in known:
            found[name] = (*found.get(name, ()), value)
        elif name not in _TUNING:
            shown = name if re.fullmatch(r"[A-Za-z_]{1,40}", name) else "…"
            raise _refused(
                f"has the argument {shown}, which is not known for {dialect}",
                hint="leave it out of sql_alchemy_conn, or out of a copy of it for Strongroom",
            )
    return found
