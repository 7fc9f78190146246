"""
What the settings are: frozen, and complete once every default is filled in.

Not for where they stand (`find.py`), nor for how one value is read (`table.py`).

Every setting is described in docs/settings.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, NamedTuple

from strongroom.errors import SettingsError
from strongroom.model.ref import Kind
from strongroom.settings.access import AccessSettings, access_of
from strongroom.settings.agent import AgentSettings, agent_of
from strongroom.settings.audit import AuditSettings, audit_of
from strongroom.settings.backup import BackupSettings, backup_of
from strongroom.settings.keys import KeySettings, keys_of
from strongroom.settings.server import ServerSettings, server_of
from strongroom.settings.store import StoreSettings, store_of
from strongroom.settings.table import Converter, Table, check_most, unknown
from strongroom.settings.traces import TraceSettings, traces_of
from strongroom.settings.trials import TrialSettings, trials_of
from strongroom.settings.wrapper import WrapperSettings

__all__ = [
    "AccessSettings",
    "AgentSettings",
    "AuditSettings",
    "BackendSettings",
    "BackupSettings",
    "CacheSettings",
    "Home",
    "KeySettings",
    "LookupSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TraceSettings",
    "WrapperSettings",
    "complete",
]

TOP_KEYS = (
    "chain",
    "managed",
    "write_to",
    "backend",
    "cache",
    "lookup",
    "store",
    "audit",
    "backup",
    "tests",
    "keys",
    "access",
    "server",
    "agent",
    "traces",
)
_BACKEND_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]{0,62})", re.ASCII)
OnUnavailable = Literal["stale", "stop", "next"]
Dialect = Literal["core", "sdk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """
    One `[backend.NAME]`.

    Args:
        name: how the chain calls it.
        kind: which backend it is; the name if unsaid.
        match: patterns (`prod/*`) of the names it is asked for; () for all.
        kinds: kinds it is asked for; () for all.
        on_unavailable: serve the last good value inside `cache.stale_if_error`, stop, or ask the next.
        team_fallback: ask for the global name where the team has none.
        references: resolve `${connection.…}` and `${variable/…}` in what it holds.
        read_only: never write to it, whatever it could.
        timeout_seconds: for one answer of this backend; `lookup.timeout_seconds` if unsaid.
        options: what remains, for the options of its kind.
        folder: what relative paths in it are relative to.
    """

    name: str
    kind: str
    match: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    on_unavailable: OnUnavailable = "stale"
    team_fallback: bool = True
    references: bool = False
    read_only: bool = False
    timeout_seconds: float | None = None
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    def path(self, key: str) -> Path:
        """
        Give the path an option names, whichever file it stands in.

        Raises:
            SettingsError: it is no path.
        """
        return Converter(f"backend.{self.name}.{key}", self.folder, {}).path(self.options.get(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """
    `[cache]`: how long values are remembered.

    Args:
        ttl: seconds a value is fresh.
        stale_if_error: seconds after that in which it still answers while its backend is down.
        absent_ttl: seconds an absence is remembered.
        max_entries: values kept at most; and as many absences.
        pin: what a run was given first it is given again (`run`), by the agent; or never (`off`).
        pin_max_age: seconds after its last read for which a run is remembered.
    """

    ttl: float = 300.0
    stale_if_error: float = 900.0
    absent_ttl: float = 10.0
    max_entries: int = 10_000
    pin: Literal["off", "run"] = "off"
    pin_max_age: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupSettings:
    """
    `[lookup]`: how a lookup is made.

    Args:
        timeout_seconds: for one answer of one backend.
        deadline_seconds: for the whole lookup.
        dialect: how stored connections are read: as Airflow's core or as its task SDK does.
    """

    timeout_seconds: float = 3.0
    deadline_seconds: float = 10.0
    dialect: Dialect = "core"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    One deployment's settings, complete: every default is filled in.

    Args:
        deployment: its name.
        chain: names of backends in the order they are asked; () for `env` and, where there is a
            store, `native`.
        write_to: the backend that new entries go to; None for the only one that can be written.
        managed: by whom the chain is put in order: this `file`, or the `server`.
        source: the file they came from, or None.
        others: the other deployments that the file knows.
        personal: the file of what is only mine that was laid over it, or None.
        copies: the file that names the copies of `strongroom dev`, laid over both, or None.
        agent: how `strongroom agent` serves this deployment to the processes of one machine.
        traces: where traces are sent; None for nowhere.
        access: by whose word people, workloads, agents and runs are believed.
        backup: to whom backups are sealed.
        keys: when keys of the store are replaced.
        tests: which connections a server tests by itself.
        server: how the file's deployments are served; of the first one's table.
    """

    deployment: str
    chain: tuple[str, ...]
    write_to: str | None
    backend: Mapping[str, BackendSettings]
    cache: CacheSettings
    lookup: LookupSettings
    store: StoreSettings
    audit: AuditSettings
    agent: AgentSettings
    source: Path | None = None
    others: tuple[str, ...] = ()
    personal: Path | None = None
    copies: Path | None = None
    access: AccessSettings = field(default_factory=AccessSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
    keys: KeySettings = field(default_factory=KeySettings)
    traces: TraceSettings | None = None
    server: ServerSettings = field(default_factory=ServerSettings)
    managed: Literal["file", "server"] = "file"
    tests: TrialSettings = field(default_factory=TrialSettings)


class Home(NamedTuple):
    """
    Where a deployment's files stand unless its settings say otherwise.

    Args:
        state: the folder of what an agent keeps.
        socket: where an agent answers; None where the environment offers no place.
    """

    store: Path
    audit: Path
    key: Path
    state: Path
    socket: Path | None = None


# --- from tables to settings ----------------------------------------------------------------------

OF_EVERY_BACKEND = tuple(
    member.name for member in fields(BackendSettings) if member.name not in ("name", "options", "folder")
)


def complete(top: Table, name: str, home: Home, source: Path | None, others: tuple[str, ...]) -> Settings:
    """
    Make the settings of one deployment.

    Args:
        top: its table.
        name: its name.
        home: where its files stand unless the table says otherwise.
        source: the file it came from, or None.
        others: the other deployments that the file knows.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    top.check_keys(TOP_KEYS)
    chain, write_to, backends = _chain(top)
    return Settings(
        deployment=name,
        chain=chain,
        write_to=write_to,
        backend=backends,
        cache=_cache(top.section("cache")),
        lookup=_lookup(top.section("lookup")),
        store=store_of(top.section("store"), home.store, home.key),
        audit=audit_of(top.section("audit"), home.audit, home.key),
        agent=agent_of(top.section("agent"), home.state, home.socket),
        source=source,
        others=others,
        access=access_of(top.section("access")),
        backup=backup_of(top.section("backup")),
        keys=keys_of(top.section("keys")),
        traces=traces_of(top.section("traces")),
        server=server_of(top.section("server")),
        tests=trials_of(top.section("tests")),
        managed=top.take("managed", Literal["file", "server"], "file"),
    )


def _chain(top: Table) -> tuple[tuple[str, ...], str | None, dict[str, BackendSettings]]:
    is_said = "chain" in top.values
    chain: tuple[str, ...] = top.take("chain", tuple[str, ...], ())
    if is_said and not chain:
        raise SettingsError(
            "chain names no backend", key="chain", hint='leave it out for the default, or say chain = ["env"]'
        )
    if len(set(chain)) < len(chain):
        raise SettingsError("chain names a backend twice", key="chain")
    tables = top.section("backend")
    backends = {name: _backend(name, tables.section(name)) for name in tables.values}
    for name in chain:
        # A backend without a table of its own is the kind of that name, as it comes.
        if name not in backends:
            backends[name] = _backend(name, Table({}, f"backend.{name}.", top.folder))
    write_to = top.take("write_to", str, None)
    if write_to is not None and chain and write_to not in chain:
        raise unknown("write_to", "", write_to, chain)
    return chain, write_to, backends


def _backend(name: str, table: Table) -> BackendSettings:
    if not _BACKEND_NAME.fullmatch(name):
        raise SettingsError(
            "the name of a backend has 1 to 63 letters, digits, '-' or '_' and begins with a letter",
            key="chain" if not table.values else "backend",
        )
    common = {key: value for key, value in table.values.items() if key in OF_EVERY_BACKEND}
    rest = {key: value for key, value in table.values.items() if key not in OF_EVERY_BACKEND}
    found = Table({"kind": name, **common}, table.prefix, table.folder).build(
        BackendSettings, given={"name": name, "options": rest, "folder": table.folder}
    )
    if found.timeout_seconds is not None:
        _check_above(found.timeout_seconds, 0, f"{table.prefix}timeout_seconds")
    return found


def _cache(table: Table) -> CacheSettings:
    found = table.build(CacheSettings)
    for key in ("ttl", "stale_if_error", "absent_ttl", "pin_max_age"):
        _check_least(getattr(found, key), 0, table.prefix + key)
    _check_least(found.max_entries, 1, f"{table.prefix}max_entries")
    return found


def _lookup(table: Table) -> LookupSettings:
    found = table.build(LookupSettings)
    _check_above(found.timeout_seconds, 0, f"{table.prefix}timeout_seconds")
    _check_above(found.deadline_seconds, 0, f"{table.prefix}deadline_seconds")
    return found


def _check_least(value: float, least: float, key: str) -> None:
    if value < least:
        raise SettingsError(f"{key} must be at least {least}", key=key)
    check_most(value, key)


def _check_above(value: float, bound: float, key: str) -> None:
    if value <= bound:
        raise SettingsError(f"{key} must be more than {bound}", key=key)
    check_most(value, key)
