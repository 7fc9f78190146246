"""
What `[audit]` is: where the record of what happened stands, who signs it, and where copies go.

None of it can be set from anywhere but the settings: no request names a path or an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strongroom.errors import SettingsError
from strongroom.settings.source import SecretSource
from strongroom.settings.table import check_most

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.settings.table import Table

__all__ = [
    "AuditSettings",
    "CheckpointSettings",
    "RetentionSettings",
    "SinkSettings",
    "WitnessSettings",
    "audit_of",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_ADDRESS = re.compile(r"(?:udp|tcp)://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}", re.ASCII)
_URL = re.compile(r"https?://[^\s@]{1,2000}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSettings:
    """
    `[audit.checkpoint]`: when a server signs the log.

    Args:
        key: the file of the private key; unsaid, `NAME-audit.key` beside the deployment's `NAME.key`.
        records: signed once so many are not covered yet, but at most once a second.
        seconds: signed after so long in any case, where there is anything new.
    """

    key: Path | None = None
    records: int = 1000
    seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSettings:
    """
    One of `[[audit.witnesses]]`: who keeps copies of checkpoints.

    Args:
        kind: `file` elsewhere, or `http` for a witness of C2SP tlog-witness.
        name: unsaid, the kind.
        path: of a file.
        url: of an HTTP witness, without `/add-checkpoint`.
        key: its verifier key; without it what it answers is kept and not checked.
        token: sent as `Authorization: Bearer`.
    """

    kind: Literal["file", "http"]
    name: str = ""
    path: Path | None = None
    url: str | None = None
    key: str | None = None
    token: SecretSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """
    One of `[[audit.sinks]]`: where every record is copied to.

    Args:
        kind: `jsonl` for a file, `syslog`, or `http`.
        name: unsaid, the kind.
        path: of the file; of syslog's local socket.
        address: of syslog: `udp://host:port` or `tcp://host:port`.
        url: of an HTTP receiver.
        form: what is sent over HTTP: `ocsf` or the lines themselves.
        token: sent as `Authorization: Bearer`.
    """

    kind: Literal["jsonl", "syslog", "http"]
    name: str = ""
    path: Path | None = None
    address: str | None = None
    url: str | None = None
    form: Literal["ocsf", "jsonl"] = "ocsf"
    token: SecretSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """
    `[audit.retention]`: how long records stay.

    Args:
        days: whole segments whose last record is older go; 0 keeps all for ever.
        archive: the folder they are moved to; unsaid, they are removed.
    """

    days: int = 0
    archive: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """
    `[audit]`: the record of what happened.

    Args:
        path: the folder of the log.
    """

    path: Path
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    witnesses: tuple[WitnessSettings, ...] = ()
    sinks: tuple[SinkSettings, ...] = ()
    retention: RetentionSettings = field(default_factory=RetentionSettings)


def audit_of(table: Table, path: Path, key: Path) -> AuditSettings:
    """
    Make `[audit]` of its table.

    Args:
        table: `[audit]`.
        path: of the log unless the table says otherwise.
        key: of the deployment, beside which the signing key stands.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    found = table.build(AuditSettings, defaults={"path": path})
    checkpoint = found.checkpoint
    if checkpoint.records < 1:
        raise SettingsError("audit.checkpoint.records must be at least 1", key="audit.checkpoint.records")
    if not 1 <= checkpoint.seconds <= 86_400:  # noqa: PLR2004 -- a day
        raise SettingsError(
            "audit.checkpoint.seconds must be from 1 to 86400", key="audit.checkpoint.seconds"
        )
    if found.retention.days < 0:
        raise SettingsError("audit.retention.days must be at least 0", key="audit.retention.days")
    check_most(found.retention.days, "audit.retention.days")
    return replace(
        found,
        checkpoint=replace(checkpoint, key=checkpoint.key or key.with_name(f"{key.stem}-audit{key.suffix}")),
        witnesses=_named("audit.witnesses", tuple(map(_witness, found.witnesses))),
        sinks=_named("audit.sinks", tuple(map(_sink, found.sinks))),
    )


def _witness(found: WitnessSettings) -> WitnessSettings:
    key = "audit.witnesses"
    _needs(key, found.kind, {"path": found.path, "url": found.url}, "path" if found.kind == "file" else "url")
    _check_url(key, found.url)
    if found.kind == "file" and (found.key or found.token):
        raise SettingsError("a witness of the kind file has no key and no token", key=key)
    return replace(found, name=found.name or found.kind)


def _sink(found: SinkSettings) -> SinkSettings:
    key = "audit.sinks"
    places = {"path": found.path, "address": found.address, "url": found.url}
    needed = {"jsonl": ("path",), "http": ("url",), "syslog": ("address", "path")}[found.kind]
    _needs(key, found.kind, places, *needed)
    _check_url(key, found.url)
    if found.address is not None and not _ADDRESS.fullmatch(found.address):
        raise SettingsError(
            "the address of a sink is udp://host:port or tcp://host:port", key=f"{key}.address"
        )
    if found.token is not None and found.kind != "http":
        raise SettingsError(f"a sink of the kind {found.kind} has no token", key=key)
    return replace(found, name=found.name or found.kind)


def _needs(key: str, kind: str, places: Mapping[str, object], *needed: str) -> None:
    given = [name for name, value in places.items() if value is not None]
    if len(given) != 1 or given[0] not in needed:
        raise SettingsError(
            f"{key}: one of the kind {kind} needs {' or '.join(needed)}, and nothing else", key=key
        )


def _check_url(key: str, url: str | None) -> None:
    if url is not None and not _URL.fullmatch(url):
        raise SettingsError(f"{key}.url must be http:// or https://, without a user in it", key=f"{key}.url")


def _named(key: str, found: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [each.name for each in found]
    for name in names:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{key}: a name has 1 to 63 lower-case letters, digits, '-' or '_'", key=f"{key}.name"
            )
    if len(set(names)) < len(names):
        raise SettingsError(f"{key}: two have one name", key=key, hint='name = "…" tells them apart')
    return found
