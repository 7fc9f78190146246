"""
A support file: what somebody who helps must know, and nothing that is nobody else's business.

Rules of this file:

1. What is shown is chosen, not what is hidden: numbers, words of closed sets, names of settings and of
   backends. A text of the settings, a path, a host, a name of an entry, a message is never shown; its kind
   stands in its place (`<text>`, `<path>`, `<secret from file>`).
2. Hosts and ports of URLs show only where the caller asks; user-info, paths and queries never do.
3. The file is JSON that a person can read before sending it.
"""

from __future__ import annotations

import platform
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from strongroom.backend import load
from strongroom.bulkhead import Bulkhead, Flight
from strongroom.errors import StrongroomError
from strongroom.settings import SecretSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.insight.finding import Finding
    from strongroom.service.doctor import Case
    from strongroom.settings import BackendSettings, ServerSettings, Settings

__all__ = ["make_bundle", "shown_settings"]

FORMAT = 1
LOOK_SECONDS = 15.0
_RECORDS = 20  # last ones of the audit log

_PACKAGES = (
    "ahocorasick-rs", "alembic", "apache-airflow", "boto3", "cryptography", "hvac", "lightkube", "msgspec",
    "platformdirs", "psycopg", "pymysql", "rich", "ruamel.yaml", "sqlalchemy", "tomlkit", "typer",
)  # fmt: skip
_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.\-]{0,20})://(?:[^/?#]*@)?(\[[0-9A-Fa-f:.%]*\]|[^/?#:@]*)(:[0-9]{1,5})?"
)
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# Texts of settings that are words of a closed set, and the words.
_CLOSED = {
    "auth_type": frozenset(
        {
            "approle",
            "aws_iam",
            "azure",
            "gcp",
            "github",
            "jwt",
            "kubernetes",
            "ldap",
            "radius",
            "token",
            "userpass",
        }
    ),
    "dialect": frozenset({"core", "sdk"}),
}
_CLOSED["method"] = _CLOSED["auth_type"]
_NUMBERS = re.compile(r".*(?:timeout|seconds|ttl|version|retries|max_.*|min_.*)")


def make_bundle(
    case: Case,
    findings: Sequence[Finding],
    *,
    version: str,
    has_hosts: bool = False,
    seconds: float = LOOK_SECONDS,
) -> dict[str, Any]:
    """
    Give the support file as plain JSON types.

    Args:
        case: what was looked at.
        findings: of a doctor; their names and levels are kept, not their words.
        version: of Strongroom.
        has_hosts: keep hosts and ports of URLs.
        seconds: for all that has to be asked; what gives no answer until then is left.
    """
    looks = {
        "backends": lambda: _backends(case),
        "inventory": lambda: _inventory(case),
        "audit": lambda: _audit(case),
    }
    return {
        "format": FORMAT,
        "made_at": case.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": {"strongroom": version, **_versions()},
        "environment": _environment(case.around.environ if case.around else {}),
        "settings": _settings(case.settings, has_hosts=has_hosts) if case.settings else None,
        "trouble": case.trouble.code if case.trouble else None,
        **_told(looks, seconds),
        "findings": [
            {"name": name, "level": level, "count": count}
            for (name, level), count in Counter((found.name, found.level) for found in findings).items()
        ],
    }


def _told(looks: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Give what each of *looks* tells, all made at once; the trouble of one stands in its place."""
    until = time.monotonic() + seconds
    bench = Bulkhead("the support file", threads=len(looks))
    try:
        flights = {name: bench.submit(look) for name, look in looks.items()}
        return {name: _landed(flight, until) for name, flight in flights.items()}
    finally:
        bench.close()


def _landed(flight: Flight[Any], until: float) -> Any:  # noqa: ANN401 -- plain JSON types
    if not flight.wait(until - time.monotonic()):
        return {"trouble": "no_time"}
    try:
        return flight.answer()
    except (StrongroomError, OSError) as error:
        return {"trouble": getattr(error, "code", type(error).__name__)}


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "release": platform.release(),
        "is_virtual": sys.prefix != sys.base_prefix,
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _environment(environ: Mapping[str, str]) -> dict[str, int]:
    """Count variables by what they begin with: their names may be names of entries."""
    heads = (
        "AIRFLOW_CONN_",
        "AIRFLOW_VAR_",
        "AIRFLOW__",
        "STRONGROOM__",
        "VAULT_",
        "AWS_",
        "AZURE_",
        "GOOGLE_",
    )
    return {head: sum(name.startswith(head) for name in environ) for head in heads}


# --- settings --------------------------------------------------------------------------------------


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Give the settings in force as far as they may be shown: by a list of what is, so what is new is not."""
    return _settings(settings, has_hosts=False)


def _settings(settings: Settings, *, has_hosts: bool) -> dict[str, Any]:
    return {
        "deployment": settings.deployment,
        "has_file": settings.source is not None,
        "has_personal_file": settings.personal is not None,
        "other_deployments": len(settings.others),
        "chain": list(settings.chain),
        "write_to": settings.write_to,
        "managed": settings.managed,
        "cache": asdict(settings.cache),
        "lookup": asdict(settings.lookup),
        "store": {
            "path": "<path>" if settings.store.url is None else "<url>",
            "exists": settings.store.may_exist,
            "wrappers": [wrapper.kind for wrapper in settings.store.wrappers],
        },
        "audit": {"path": "<path>", "exists": settings.audit.path.exists()},
        "backend": {name: _backend(found, has_hosts=has_hosts) for name, found in settings.backend.items()},
        "server": _server(settings.server),
    }


_SHOWN_OF_SERVER = (
    "port",
    "is_loopback",
    "has_tls",
    "allow_plain_http",
    "max_connections",
    "receipt_seconds",
    "idle_seconds",
    "drain_seconds",
    "threads",
    "log_level",
    "read_only",
    "autostart",
    "test_connections",
    "metrics_names",
)
_SHOWN_OF_LIMITS = (
    "identity_per_second",
    "identity_burst",
    "read_per_second",
    "read_burst",
    "stranger_per_second",
    "stranger_burst",
)


def _server(server: ServerSettings) -> dict[str, Any]:
    shown = {name: getattr(server, name) for name in _SHOWN_OF_SERVER}
    for name in ("allowed_hosts", "trusted_proxies", "test_networks"):
        shown[name] = len(getattr(server, name))
    limits = {name: getattr(server.limits, name) for name in _SHOWN_OF_LIMITS}
    return {**shown, "limits": {**limits, "paths": len(server.limits.paths)}}


def _backend(backend: BackendSettings, *, has_hosts: bool) -> dict[str, Any]:
    return {
        "kind": backend.kind,
        "match": len(backend.match),
        "kinds": list(backend.kinds),
        "on_unavailable": backend.on_unavailable,
        "team_fallback": backend.team_fallback,
        "references": backend.references,
        "read_only": backend.read_only,
        "timeout_seconds": backend.timeout_seconds,
        "options": _table(backend.options, _known(backend.kind), has_hosts=has_hosts),
    }


def _known(kind: str) -> frozenset[str]:
    """Give the names of the options a kind has: any other key may be a value in the wrong place."""
    try:
        shape = getattr(load(kind), "options_type", None)
    except StrongroomError:
        return frozenset()
    return frozenset(member.name for member in fields(shape)) if is_dataclass(shape) else frozenset()


def _table(table: Mapping[str, object], known: frozenset[str], *, has_hosts: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, (key, value) in enumerate(table.items(), 1):
        name = key if key in known else f"<key {number}>"
        shown[name] = _value(key if key in known else "", value, has_hosts=has_hosts)
    return shown


_INNER = frozenset(
    {"method", "role_id", "secret_id", "token", "mount", "role", "path", "username", "password"}
)


def _value(key: str, value: object, *, has_hosts: bool) -> Any:  # noqa: ANN401 -- plain JSON types
    if isinstance(value, str):
        return _shown_text(key, str(value), has_hosts=has_hosts)
    if isinstance(value, SecretSource):
        return f"<secret from {value.kind}>"
    if isinstance(value, Mapping):
        if len(value) == 1 and (kind := next(iter(value))) in ("file", "env", "command"):
            return f"<secret from {kind}>"
        return _table(value, _INNER, has_hosts=has_hosts)
    if isinstance(value, (list, tuple)):
        return f"<{len(value)} items>"
    is_plain = value is None or isinstance(value, bool) or _NUMBERS.fullmatch(key)
    return value if is_plain else "<number>"


def _shown_text(key: str, text: str, *, has_hosts: bool) -> str:
    if text in _CLOSED.get(key, ()):
        return text
    found = _URL.match(text)
    if found is None:
        return "<path>" if text.startswith(("/", "~", ".")) else "<text>"
    scheme = found[1].lower() if _WORD.fullmatch(found[1].lower()) else "<scheme>"
    if not has_hosts:
        return f"{scheme}://<host>"
    return f"{scheme}://{found[2]}{found[3] or ''}"


# --- the room --------------------------------------------------------------------------------------


def _backends(case: Case) -> list[dict[str, Any]] | None:
    if case.room is None:
        return None
    checked = {one.name: one for one in case.room.backends.check()}
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "abilities": list(row.abilities),
            "status": checked[row.name].health.status,
            "milliseconds": round(checked[row.name].milliseconds, 1),
        }
        for row in case.room.backends.list()
    ]


def _inventory(case: Case) -> dict[str, int] | None:
    if case.room is None:
        return None
    return asdict(case.room.inventory.counts(on_trouble=lambda _name, _error: None))


def _audit(case: Case) -> dict[str, Any] | None:
    if case.audit is None:
        return None
    verdict = case.audit.verify()
    return {
        "is_ok": verdict.is_ok,
        "records": verdict.count,
        "first_bad": verdict.index,
        "repairs": len(verdict.repairs),
        # What was done and how it ended: no names, no actors, no reasons.
        "last": [
            {"at": record.at, "action": record.action, "outcome": record.outcome}
            for record in case.audit.tail(_RECORDS)
        ],
    }
