"""
The address of a PostgreSQL, taken apart, and what libpq is told of it. Pure but for asking for the password.

Rules of this file:

1. The password stands elsewhere: an address is shown, copied and committed.
2. Everything that decides whom we speak to is said here: what libpq would read from the environment,
   `~/.pgpass` or `pg_service.conf` is not looked at.
3. Beyond this machine, and where the address says anything of TLS, the server proves who it is
   (`sslmode=verify-full`) unless the address says less; what lets anybody on the way choose (`prefer`,
   `allow`) cannot be said.

Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from strongroom.errors import BackendConfigError
from strongroom.model.machine import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.secret import Secret

__all__ = ["Address"]

_ARGUMENTS = frozenset(
    """
    host port application_name channel_binding gssencmode keepalives keepalives_count keepalives_idle
    keepalives_interval krbsrvname load_balance_hosts options require_auth requirepeer sslcert
    ssl_max_protocol_version ssl_min_protocol_version sslcrl sslcrldir sslkey
    sslmode sslnegotiation sslrootcert sslsni
    target_session_attrs tcp_user_timeout
    """.split()  # noqa: SIM905 -- a list this long is read as text
)
_MODES = ("disable", "require", "verify-ca", "verify-full")
_SHAPE = "postgresql://user@host:5432/database, or postgresql://user@/database?host=/var/run/postgresql"
_NOWHERE = "/dev/null/none"  # no file: libpq would look into ~/.pgpass and ~/.postgresql for one
_POOL = 32  # sessions of one process; a server takes 100 unless told otherwise
_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """
    Where a database is and as whom, without a password.

    Args:
        user: who logs in.
        host: a name, an IP address, several with commas between, or the folder of a Unix socket.
        port: one, or one for each host; '' for 5432.
        database: its name.
        arguments: libpq's others, by name.
        pool_size: sessions of one process at once.
    """

    user: str = field(repr=False)
    host: str
    port: str
    database: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    pool_size: int = _POOL

    @classmethod
    def parse(cls, url: str) -> Address:
        """
        Take *url* apart.

        Raises:
            BackendConfigError: it is no address, holds a password, or an argument that is not known.
                Nothing of it stands in the message but an argument's name.
        """
        try:
            parts = urlsplit(url)
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            has_password = parts.password is not None
            user = unquote(parts.username or "", errors="strict")
            database = unquote(parts.path.removeprefix("/"), errors="strict")
        except ValueError:
            raise _wrong("is none", hint=_SHAPE) from None
        if has_password:
            raise _wrong("holds a password", hint="store.password = { file = … } is the place for it")
        arguments = _arguments(given)
        host, port = _server(parts.netloc.rpartition("@")[2], arguments)
        pool = arguments.pop("pool_size", str(_POOL))
        if not (pool.isascii() and pool.isdecimal() and 0 < int(pool) <= _MOST):
            raise _wrong(f"has a pool_size that is no number from 1 to {_MOST}")
        if not user or not database or "/" in database or parts.fragment:
            raise _wrong("names no user or no database", hint=_SHAPE)
        if arguments.get("sslmode", _MODES[0]) not in _MODES:
            raise _wrong("has an sslmode that is none of ours", hint=f"one of {', '.join(_MODES)}")
        if arguments.get("sslmode") == "verify-ca" and "sslrootcert" not in arguments:
            raise _wrong("names no authority to trust", hint="sslrootcert=FILE")
        if "\0" in f"{user}{host}{port}{database}{''.join(arguments.values())}":
            raise _wrong("holds a NUL", hint=_SHAPE)
        return cls(
            user=user, host=host, port=port, database=database, arguments=arguments, pool_size=int(pool)
        )

    def __str__(self) -> str:
        """Give it for people: without user and arguments."""
        if self.is_socket:
            return f"postgresql:///{self.database}?host={self.host}"
        hosts = zip(
            self.host.split(","), f"{self.port},{',' * self.host.count(',')}".split(","), strict=False
        )
        told = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)
        return f"postgresql://{told.removesuffix(':')}/{self.database}"

    @property
    def is_socket(self) -> bool:
        """Whether it is reached over a Unix socket."""
        return self.host.startswith(("/", "@"))

    @property
    def is_here(self) -> bool:
        """Whether nobody stands between us and it: a socket, or this machine's loopback."""
        return self.is_socket or all(map(is_loopback, self.host.split(",")))

    def conninfo(self, password: Callable[[], Secret[str]] | None) -> bytes:
        """
        Give what libpq is told, the password asked for now.

        Raises: what *password* raises.
            BackendConfigError: it holds a NUL.
        """
        parts = {
            "application_name": "strongroom",
            "gssencmode": "disable",
            **self._tls(),
            **self.arguments,
            "host": self.host,
            "port": self.port or "5432",
            "user": self.user,
            "dbname": self.database,
            "client_encoding": "UTF8",
            "passfile": _NOWHERE,
        }
        if password is not None:
            parts["password"] = password().reveal()
            if "\0" in parts["password"]:  # libpq would take what stands before it for all it is told
                raise BackendConfigError("store.password holds a NUL", hint="correct what it is read from")
        return " ".join(f"{name}='{_quoted(value)}'" for name, value in parts.items()).encode()

    def _tls(self) -> dict[str, str]:
        """Give how the server is trusted where the address does not say it."""
        says_nothing = not any(name.startswith("ssl") for name in self.arguments)
        mode = self.arguments.get("sslmode") or (
            "disable" if self.is_here and says_nothing else "verify-full"
        )
        found = {"sslmode": mode, "sslcert": _NOWHERE}
        return found | {"sslrootcert": "system"} if mode == "verify-full" else found


def _server(netloc: str, arguments: dict[str, str]) -> tuple[str, str]:
    """Take the hosts and ports from the address itself or from its arguments."""
    hosts, ports = [], []
    for one in filter(None, netloc.split(",")):
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", one)
        if found is None:
            raise _wrong("is none", hint=_SHAPE)
        hosts.append(unquote(found[1] or found[2]))
        ports.append(found[3] or "")
    if ("host" in arguments) == bool(hosts):
        raise _wrong("names its host twice, or not at all", hint=_SHAPE)
    if not hosts:
        return arguments.pop("host"), arguments.pop("port", "")
    if "port" in arguments:
        raise _wrong("names its host twice, or not at all", hint=_SHAPE)
    return ",".join(hosts), ",".join(ports) if any(ports) else ""


def _arguments(given: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in given:
        if name == "password":
            raise _wrong("holds a password", hint="store.password = { file = … } is the place for it")
        if name not in _ARGUMENTS and name != "pool_size":
            shown = name if re.fullmatch(r"[A-Za-z_]{1,40}", name) else "…"
            near = difflib.get_close_matches(name, sorted((*_ARGUMENTS, "pool_size")), 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise _wrong(f"has the argument {shown}, which is not known", hint=hint)
        if name in found:
            raise _wrong(f"has the argument {name} twice", hint="leave one out")
        found[name] = value
    return found


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _wrong(what: str, *, hint: str | None = None) -> BackendConfigError:
    return BackendConfigError(f"the address of the store {what}", hint=hint)
