"""
What `[agent]` is: where `strongroom agent` answers, whom, from whose decisions, and what it keeps.

One agent serves one deployment, so the table stands in that deployment's.

None of it can be set from anywhere but the settings: no request names a path, an address or a command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strongroom.errors import SettingsError
from strongroom.model.machine import is_loopback
from strongroom.settings.server import LogLevel
from strongroom.settings.source import SecretSource
from strongroom.settings.table import Converter, check_most

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = [
    "AgentServerSettings",
    "AgentSettings",
    "FileSettings",
    "KeySettings",
    "LastGoodSettings",
    "agent_of",
]

_URL = re.compile(r"https?://[^\s@]{1,2000}", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_SIGNAL = re.compile(r"(?:SIG)?(?:HUP|INT|TERM|USR1|USR2|WINCH|CONT)", re.ASCII)
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.@-]{1,255}", re.ASCII)
_MIN_SPOOL_BYTES = 1_048_576  # 1 MiB: one segment of the record
_MAX_PORT = 65_535
_MAX_UID = 4_294_967_294  # of Linux: 2^32 - 2, the last one is no user
_SOURCES = ("template", "variable", "connection")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentServerSettings:
    """
    `[agent.server]`: the server this agent is enrolled with.

    Args:
        url: of the server.
        deployment: of the server's, where it has several.
        ca: the authority its certificate is from, PEM; the system's if unsaid.
    """

    url: str
    deployment: str | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """
    What holds the key of the last good copy.

    Args:
        kind: the kernel's `keyring`, a `file`, or a systemd `credential`.
        file: the file.
        credential: the name of the credential.
    """

    kind: Literal["keyring", "file", "credential"]
    file: Path | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGoodSettings:
    """
    `[agent.last_good]`: the encrypted copy of what was read last, for an outage and a reboot.

    Args:
        key: `"keyring"`, `{ file = "…" }` or `{ credential = "…" }`.
        max_age: seconds after which a value of the copy is not served any more.
    """

    key: KeySettings
    max_age: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """
    One `[agent.file.NAME]`: a file that is written anew whenever what stands in it changes.

    Args:
        path: where it stands.
        template: a file with references, `${variable/region}`.
        variable: the variable whose text it is.
        connection: the connection it describes, in *format*.
        team: whose names these are.
        format: of a connection.
        escape: how values are written in a template; by the ending of *path* if unsaid.
        mode: its mode, in octal digits.
        owner, group: whose it is; the agent's own if unsaid.
        shared: its folder is one that everybody may write to, as those that the containers of a pod share.
        on_change: the program that is run after it changed, and its arguments.
        signal: sent after it changed to the process whose id stands in *pid_file*.
    """

    path: Path
    template: Path | None = None
    variable: str | None = None
    connection: str | None = None
    team: str | None = None
    format: Literal["json", "uri", "env", "fields"] = "json"
    escape: Literal["json", "yaml", "toml", "ini", "env", "shell", "xml", "text"] | None = None
    mode: str = "0600"
    owner: str | None = None
    group: str | None = None
    shared: bool = False
    on_change: tuple[str, ...] = ()
    signal: str | None = None
    pid_file: Path | None = None

    @property
    def mode_bits(self) -> int:
        """Its mode, as the system calls take it."""
        return int(self.mode, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """
    `[agent]`.

    Args:
        state: the folder of its record, its key and its last good copy.
        socket: the path it answers at; None where the environment offers no place for one.
        required: a process that finds no agent must not ask the backends itself.
        http: answer HTTP at `http.sock` beside the socket.
        tcp: also answer HTTP at this loopback address, `127.0.0.1:PORT`.
        tcp_token: what such a request must carry.
        tcp_hosts: names in `Host` that it answers for, beside loopback's own.
        users: who may connect beside the agent's own user and root: names or numbers.
        groups: whose members may connect.
        policy: a Cedar file that decides, where no server does.
        audit: whether a use waits until its record is on the disk (`durable`) or with the kernel.
        spool_bytes: records kept at most until the server has them.
        announced: whether only runs that a supervisor announced may read (`required`), or only verified ones.
        parse_ttl: seconds for which reads at the top level of DAG files share one snapshot.
        strict: patterns of names whose uses are always durable and never served past `revoke_bound`.
        revoke_bound: seconds a decision on a strict entry is good without the server.
        server: the server it is enrolled with.
        last_good: the encrypted copy; None for none.
        file: files to write.
        revalidate: ask for the version of what was read lately before its lifetime ends.
        max_connections: connections at once.
        max_of_one_user: of these, by one user; half of them if unsaid.
        user: become this user once the socket is there.
        log_level: how much is logged; changed at run time too.
        drain_seconds: for what is under way when the agent is told to stop.
        test_connections: make the tests of connections that its server asks for.
        test_networks: networks and host names such a test may reach; () for any that this host may.
        test_any_option: with any option of the connection, and with the cloud identity of this host.
    """

    state: Path
    socket: Path | None = None
    required: bool = False
    http: bool = True
    tcp: str | None = None
    tcp_token: SecretSource | None = None
    tcp_hosts: tuple[str, ...] = ()
    users: tuple[int | str, ...] = ()
    groups: tuple[int | str, ...] = ()
    policy: Path | None = None
    audit: Literal["spooled", "durable"] = "spooled"
    spool_bytes: int = 67_108_864  # 64 MiB
    announced: Literal["off", "required", "verified"] = "off"
    parse_ttl: float = 300.0
    strict: tuple[str, ...] = ()
    revoke_bound: float = 60.0
    server: AgentServerSettings | None = None
    last_good: LastGoodSettings | None = None
    file: Mapping[str, FileSettings] = field(default_factory=dict)
    revalidate: bool = True
    max_connections: int = 8000
    max_of_one_user: int | None = None
    user: str | None = None
    log_level: LogLevel = "info"
    drain_seconds: float = 5.0
    test_connections: bool = False
    test_networks: tuple[str, ...] = ()
    test_any_option: bool = False

    @property
    def most_of_one_user(self) -> int:
        """Connections one user may have at once."""
        half = max(1, self.max_connections // 2)
        return half if self.max_of_one_user is None else self.max_of_one_user


def agent_of(table: Table, state: Path, socket: Path | None) -> AgentSettings:
    """
    Make `[agent]` of its table.

    Args:
        table: `[agent]`.
        state: the folder unless the table says otherwise.
        socket: the path unless the table says otherwise; None where there is no place for one.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    rest = {key: value for key, value in table.values.items() if key not in ("file", "last_good")}
    given: dict[str, object] = {"file": _files(table.section("file"))}
    if "last_good" in table.values:
        given["last_good"] = _last_good(table.section("last_good"))
    defaults = {"state": state, "socket": socket}
    table.check_keys([*AgentSettings.__dataclass_fields__])
    found = type(table)(rest, table.prefix, table.folder).build(AgentSettings, defaults=defaults, given=given)
    _check_numbers(found, table.prefix)
    _check_people(found, table.prefix)
    _check_tcp(found, table.prefix)
    _check_patterns(found, table.prefix)
    server = found.server
    if server is not None and not _URL.fullmatch(server.url):
        key = f"{table.prefix}server.url"
        raise SettingsError(f"{key} must be http:// or https://, without a user in it", key=key)
    if server is not None and found.policy is not None:
        key = f"{table.prefix}policy"
        raise SettingsError(
            f"{key}: an agent that is enrolled with a server has its decisions from there",
            key=key,
            hint="leave agent.policy out, or agent.server",
        )
    return found


def _check_numbers(found: AgentSettings, prefix: str) -> None:
    for key, least, most in (
        ("spool_bytes", _MIN_SPOOL_BYTES, 2**40),
        ("revoke_bound", 1, 86_400),
        ("parse_ttl", 0, 86_400),
        ("max_connections", 1, 1_000_000),
        ("most_of_one_user", 1, 1_000_000),
        ("drain_seconds", 0, 3600),
    ):
        if not least <= getattr(found, key) <= most:
            name = f"{prefix}{key}".replace("most_of", "max_of")
            raise SettingsError(f"{name} must be from {least} to {most}", key=name)


def _check_people(found: AgentSettings, prefix: str) -> None:
    for key in ("users", "groups"):
        for each in getattr(found, key):
            if each == "" or (isinstance(each, int) and not 0 <= each <= _MAX_UID):
                raise SettingsError(
                    f"{prefix}{key} must hold names or numbers",
                    key=prefix + key,
                    hint=f'{key} = ["airflow", 50000]',
                )


def _check_patterns(found: AgentSettings, prefix: str) -> None:
    for each in found.strict:
        if not each:
            raise SettingsError(
                f"{prefix}strict must hold patterns of names",
                key=f"{prefix}strict",
                hint='strict = ["prod/*"]',
            )


def _check_tcp(found: AgentSettings, prefix: str) -> None:
    if found.tcp is None:
        for key in ("tcp_token", "tcp_hosts"):
            if getattr(found, key):
                raise SettingsError(f"{prefix}{key} is for {prefix}tcp, which is not set", key=prefix + key)
        return
    host, _, port = found.tcp.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT or not is_loopback(host.strip("[]")):
        raise SettingsError(
            f"{prefix}tcp must be a loopback address and a port", key=f"{prefix}tcp", hint="127.0.0.1:8251"
        )
    if found.tcp_token is None:
        raise SettingsError(
            f"{prefix}tcp_token is missing: whoever runs anything on this machine reaches a port of it",
            key=f"{prefix}tcp_token",
            hint='tcp_token = { file = "/path" }',
        )


def _last_good(table: Table) -> LastGoodSettings:
    key = f"{table.prefix}key"
    rest = {name: value for name, value in table.values.items() if name != "key"}
    table.check_keys(["key", "max_age"])
    if "key" not in table.values:
        raise SettingsError(f"{key} is missing", key=key, hint='key = "keyring"')
    found = type(table)(rest, table.prefix, table.folder).build(
        LastGoodSettings, given={"key": _key(table.values["key"], key, table)}
    )
    if found.max_age <= 0:
        raise SettingsError(f"{table.prefix}max_age must be more than 0", key=f"{table.prefix}max_age")
    check_most(found.max_age, f"{table.prefix}max_age")
    return found


def _key(value: object, key: str, table: Table) -> KeySettings:
    if value == "keyring":
        return KeySettings(kind="keyring")
    if isinstance(value, str):
        value = Converter(key, table.folder, {}).convert(value, dict) if value.startswith("{") else value
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, argument),) = value.items()
        if kind == "file":
            return KeySettings(
                kind="file", file=Converter(f"{key}.file", table.folder, {}).convert(argument, Path)
            )
        if kind == "credential" and isinstance(argument, str) and _CREDENTIAL.fullmatch(argument):
            return KeySettings(kind="credential", credential=str(argument))
    raise SettingsError(
        f'{key} must be "keyring", {{ file = … }} or {{ credential = … }}',
        key=key,
        hint="the key itself has no place in the settings",
    )


def _files(tables: Table) -> dict[str, FileSettings]:
    return {name: _file(name, tables.section(name)) for name in tables.values}


def _file(name: str, table: Table) -> FileSettings:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "the name of a file has 1 to 63 letters, digits, '-' or '_'", key=table.prefix.rpartition(".")[0]
        )
    found = table.build(FileSettings)
    said = [key for key in _SOURCES if getattr(found, key) is not None]
    if len(said) != 1:
        raise SettingsError(
            f"{table.prefix.rstrip('.')} needs one of template, variable and connection",
            key=table.prefix.rstrip("."),
        )
    if not _MODE.fullmatch(found.mode):
        raise SettingsError(
            f"{table.prefix}mode must be octal digits as text",
            key=f"{table.prefix}mode",
            hint='mode = "0600"',
        )
    _check_notice(found, table.prefix)
    return found


def _check_notice(found: FileSettings, prefix: str) -> None:
    if found.signal is not None and not _SIGNAL.fullmatch(found.signal):
        raise SettingsError(
            f"{prefix}signal must be the name of a signal that programs wait for",
            key=f"{prefix}signal",
            hint='signal = "HUP"',
        )
    if (found.signal is None) != (found.pid_file is None):
        missing = "pid_file" if found.pid_file is None else "signal"
        raise SettingsError(
            f"{prefix}{missing} is missing: a signal and the file of the process id belong together",
            key=prefix + missing,
        )
