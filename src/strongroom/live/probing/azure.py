"""
Azure: name, TCP and TLS of where tokens are given out, and a token.

An account of storage that is opened by its own key is looked at as far as TLS: a key makes no token.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.live import azure
from strongroom.live.azure_fields import fields_of
from strongroom.live.probing.authority import authority
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_TLS = 443
_PUBLIC = "login.microsoftonline.com"
# By `cloud_environment`: where tokens are given out, and what they are asked for.
_CLOUDS = {
    "AzureUSGovernment": ("login.microsoftonline.us", "https://management.usgovcloudapi.net/.default"),
    "AzureChinaCloud": ("login.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"),
}
_MANAGEMENT = "https://management.azure.com/.default"
_STORAGE = "https://storage.azure.com/.default"
_STORES = ("wasb", "adls")
_PRINCIPAL = ("tenantId", "tenant_id", "tenant", "key_path", "key_json")


def run(course: Course) -> None:
    """Make the test."""
    fields = fields_of(course.connection)
    is_store = course.connection.conn_type in _STORES
    is_principal = any(fields.get(key) for key in _PRINCIPAL)
    host, scope = _CLOUDS.get(str(fields.get("cloud_environment")), (_PUBLIC, _MANAGEMENT))
    if is_store and not is_principal and _has_key(course, fields):
        store = urlsplit(_store(course, fields))
        course.meet(store.hostname or "", store.port or _TLS, Plan(store.hostname or ""))
        with course.step("token") as mark:
            mark.is_skipped = True
        return
    with course.step("driver", is_quiet=True):
        made = azure.credential(course.held, course.asked("azure-identity"))
    if is_principal:
        _meet(course, fields, course.around.environ.get("AZURE_AUTHORITY_HOST") or host)
    with course.step("token"):
        made.get_token(_STORAGE if is_store else scope)


def _meet(course: Course, fields: dict[str, Any], host: str) -> None:
    said = fields.get("client_secret_auth_config")
    if isinstance(said, str):
        said = json.loads(said)  # the family has read it already
    more: dict[str, Any] = said if isinstance(said, dict) else {}
    place = str(more.get("authority") or host)
    parts = urlsplit(place if "://" in place else f"https://{place}")
    verify = more.get("connection_verify", True)
    ca = authority(verify) if isinstance(verify, str) else None
    name = parts.hostname or ""
    course.meet(name, parts.port or _TLS, Plan(name, is_checked=verify is not False, ca=ca))


def _has_key(course: Course, fields: dict[str, Any]) -> bool:
    keys = ("account_key", "shared_access_key", "sas_token", "connection_string")
    return bool(course.connection.password) or any(fields.get(key) for key in keys)


def _store(course: Course, fields: dict[str, Any]) -> str:
    """Give the address of the account: as it is said, or by its name."""
    is_lake = course.connection.conn_type == "adls"
    said = str(fields.get("account_url") or course.connection.host or course.connection.login or "")
    if "." in said or "://" in said:
        return said if "://" in said else f"https://{said}"
    return f"https://{said}.{'dfs' if is_lake else 'blob'}.core.windows.net"
