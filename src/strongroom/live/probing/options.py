"""
Which options of a connection a test on others' behalf takes: a list for each type, and nothing that is not on
it.

Who writes a connection chooses the options of a driver, and a driver has options that read files, run
programs, send what this machine is or lead elsewhere (facts SS05). Where a person tests as himself he may use
any.

Rules of this file:

1. What is not listed is forbidden, whatever its value; what is listed takes a plain value, unless it is said
   to take a document.
2. Nothing that is listed names a file, a program, another connection, a proxy or what this machine has by
   itself.
3. Credentials come from the connection: the identity of the machine that tests is not the writer's to use.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.connection import Connection

__all__ = ["has_list", "is_allowed"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HOOKS = _words(  # what Airflow's hooks of databases read for themselves, and no driver is told
    "cursor placeholder insert_statement_format replace_statement_format escape_word_format"
    " escape_column_names"
)
_LIBPQ = _words(
    "application_name channel_binding client_encoding connect_timeout gssencmode keepalives"
    " keepalives_count keepalives_idle keepalives_interval ssl_max_protocol_version"
    " ssl_min_protocol_version sslcompression sslmode sslnegotiation target_session_attrs"
    " tcp_user_timeout"
)
_SSH = _words(
    "allow_host_key_change ciphers cmd_timeout compress conn_timeout disabled_algorithms host_key"
    " no_host_key_check passphrase private_key private_key_passphrase timeout"
    " ignore_hostkey_verification"
)
_AZURE = _words(
    "cloud_environment subscriptionId subscription_id tenantId tenant_id tenant"
    " use_azure_identity_object resource_group_name"
)
_GOOGLE = _words(
    "impersonation_chain is_anonymous keyfile_dict num_retries project quota_project_id scope"
    " use_legacy_sql location priority labels"
)
_ALLOWED: dict[str, frozenset[str]] = {
    "postgres": _HOOKS | _LIBPQ,
    "redshift": _HOOKS | _LIBPQ,
    "mysql": _HOOKS | _words("charset client connect_timeout ssl_mode"),
    "mssql": _HOOKS | _words("appname charset login_timeout tds_version timeout"),
    "trino": _HOOKS
    | _words("catalog client_tags isolation_level protocol session_properties source timezone verify roles"),
    "snowflake": _HOOKS
    | _words("account client_session_keep_alive database private_key_content region role schema warehouse"),
    "redis": _words("cluster db socket_timeout ssl ssl_cert_reqs ssl_check_hostname"),
    "ssh": _SSH,
    "sftp": _SSH,
    "smtp": _words("auth_type disable_ssl disable_tls from_email retry_limit timeout"),
    "http": _words("allow_redirects check_response max_redirects stream timeout trust_env verify"),
    "aws": _words(
        "assume_role_method assume_role_kwargs aws_access_key_id aws_secret_access_key"
        " aws_session_token endpoint_url region_name role_arn role_chain service_config verify"
    ),
    "google_cloud_platform": _GOOGLE,
    "azure": _AZURE,
    "wasb": _words("account_key shared_access_key sas_token tenant_id"),
    "adls": _words("account_url tenant_id"),
    "slack": _words("base_url timeout"),
    "slackwebhook": _words("timeout"),
    "kubernetes": _words("disable_tcp_keepalive disable_verify_ssl kube_config namespace"),
}
_OF_FILES = ("sqlite", "fs")
_SAME = {
    "athena": "aws",
    "emr": "aws",
    "livy": "http",
    "gcpbigquery": "google_cloud_platform",
    "gcpspanner": "google_cloud_platform",
    "azure_data_factory": "azure",
    "azure_batch": "azure",
    "azure_data_lake": "azure",
}
_DOCUMENTS = _words(
    "assume_role_kwargs client_tags disabled_algorithms impersonation_chain keyfile_dict"
    " kube_config labels role_chain roles scope service_config session_properties"
)
_FLAGS = _words("verify")  # a text would be the path of a file
# Headers that say to whom a request goes, where it came from or where it ends, rather than what is asked.
_HEADERS = _words("accept accept-language api-key authorization content-type user-agent")
_NO_HEADERS = ("x-forwarded", "x-real-", "x-original-", "x-rewrite-", "x-http-method", "x-host")
# Inside documents: what reads a file, starts a program, or asks this machine who it is.
_DANGEROUS = _words(
    "auth-provider certificate-authority client-certificate client-key credential_source"
    " credentialsource exec proxy-url tokenfile"
)

# Which options say who logs in, all of a tuple together; login and password do as well, but for `_NO_LOGIN`.
_BRINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "aws": (("aws_access_key_id", "aws_secret_access_key"),),
    "google_cloud_platform": (("keyfile_dict",), ("is_anonymous",)),
    "azure": (),
    "wasb": (("account_key",), ("shared_access_key",), ("sas_token",)),
    "adls": (),
    "kubernetes": (("kube_config",),),
    "ssh": (("private_key",),),
    "sftp": (("private_key",),),
}
_NO_LOGIN = ("google_cloud_platform", "kubernetes")
_SSH_TYPES = ("ssh", "sftp")


def has_list(conn_type: str | None) -> bool:
    """Tell whether the type has a list, or is of files, of which a test for others takes none."""
    return _SAME.get(conn_type or "", conn_type) in (*_ALLOWED, *_OF_FILES)


def is_allowed(connection: Connection) -> bool:
    """Tell whether a test for others may use *connection* with all its options."""
    conn_type = connection.conn_type or ""
    conn_type = _SAME.get(conn_type, conn_type)
    extra = {} if connection.extra is None else connection.extra.reveal()
    listed = _ALLOWED.get(conn_type)
    if listed is None:
        return False
    for key, value in extra.items():
        if key in listed:
            if not _is_harmless(key, value):
                return False
        elif conn_type != "http" or not _is_header(key):
            return False
    return _has_credentials(conn_type, connection, extra)


def _is_harmless(key: str, value: object) -> bool:
    if key in _FLAGS:
        return value is None or isinstance(value, bool) or str(value).strip().lower() in ("", "true", "false")
    if key not in _DOCUMENTS:
        return value is None or isinstance(value, (str, int, float))
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    if key == "keyfile_dict":
        # Other kinds of keys name files, programs and addresses that tokens are fetched from.
        return isinstance(value, dict) and value.get("type") == "service_account"
    if key == "kube_config":  # a text that is no JSON could be YAML, which says the same in other ways
        return isinstance(value, dict) and _is_plain(value)
    return _is_plain(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if not isinstance(value, dict):
        return True
    return all(str(key).lower() not in _DANGEROUS and _is_plain(inner) for key, inner in value.items())


def _is_header(key: str) -> bool:
    name = key.lower()
    return name in _HEADERS or (name.startswith("x-") and not name.startswith(_NO_HEADERS))


def _has_credentials(conn_type: str, connection: Connection, extra: Mapping[str, Any]) -> bool:
    """Tell whether *connection* says who logs in, where a driver would else take who the machine is."""
    if conn_type not in _BRINGS:
        return True
    if conn_type == "aws" and extra.get("assume_role_method") not in (None, "", "assume_role"):
        return False
    if conn_type not in _NO_LOGIN and connection.password and (connection.login or conn_type in _SSH_TYPES):
        return True
    return any(all(extra.get(key) for key in keys) for keys in _BRINGS[conn_type])
