"""
What SQLAlchemy is told of warehouses and query engines: Snowflake, Trino, Presto, Databricks and their kind.

Not for databases (`dialect.py`).

Rules of this file:

1. Fields mean what Airflow's hook makes of them.
2. What a connection asks for and this file cannot do is refused, never left out: who asks to be another user,
   or for a token, is not logged in as somebody else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from strongroom.live.dialect import Address, begun, document, driver_extra, extra_of
from strongroom.live.families import loaded
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Around
    from strongroom.live.held import Held
    from strongroom.live.login_token import Login
    from strongroom.model.connection import Connection

__all__ = ["address"]


def address(held: Held, connection: Connection, scheme: str, login: Login, around: Around) -> Address:
    """
    Give what SQLAlchemy is told of *connection*, as `dialect.address`.

    Raises:
        BackendConfigError: a field cannot be used, or a file it names.
    """
    made = _TOLD.get(connection.conn_type or "", _plain)
    return made(held, connection, begun(connection, scheme, login), around)


def _plain(_held: Held, connection: Connection, told: Address, _around: Around) -> Address:
    """What has its parts where Airflow has them, and takes the extra for parameters."""
    return told._replace(query={key: str(value) for key, value in driver_extra(connection).items()})


# --- Snowflake ------------------------------------------------------------------------------------------

_SNOWFLAKE_URL = ("warehouse", "role")
_SNOWFLAKE_FLAGS = (
    "insecure_mode",
    "json_result_force_utf8_decoding",
    "client_request_mfa_token",
    "client_store_temporary_credential",
    "ocsp_fail_open",
)
_SNOWFLAKE_ARGS = (
    "authenticator",
    "session_parameters",
    "token",
    "token_file_path",
    "workload_identity_provider",
    "host",
    "proxy_host",
    "proxy_user",
    "proxy_password",
)
_GRANTS = ("refresh_token", "grant_type", "azure_conn_id")


def _snowflake(held: Held, connection: Connection, told: Address, _around: Around) -> Address:
    extra = {key.removeprefix("extra__snowflake__"): value for key, value in extra_of(connection).items()}
    account, database = extra.get("account"), extra.get("database")
    if not account:
        raise trouble("options", "missing", name=held.name, detail="extra.account")
    granted = next((key for key in _GRANTS if extra.get(key)), None)
    if granted is not None:
        raise trouble(
            "options",
            "unknown",
            name=held.name,
            detail=f"extra.{granted}",
            hint="log in with a key, a token of the workload's own identity, or a programmatic access token",
        )
    place = f"{account}.{extra['region']}" if extra.get("region") else str(account)
    path = [str(part) for part in (database, connection.schema) if part] if database else []
    args = {key: extra[key] for key in _SNOWFLAKE_ARGS if extra.get(key)}
    args |= {key: _is_on(extra[key]) for key in _SNOWFLAKE_FLAGS if key in extra}
    args |= {key: int(extra[key]) for key in ("port", "proxy_port") if extra.get(key)}
    args |= _snowflake_key(held, extra, told.password)
    return told._replace(
        host=place,
        port=None,
        password=None if "private_key" in args or "private_key_file" in args else told.password,
        database="/".join(map(quote_plus, path)) or None,
        query={key: str(extra[key]) for key in _SNOWFLAKE_URL if extra.get(key)},
        args=args,
    )


def _snowflake_key(held: Held, extra: dict[str, Any], passphrase: str | None) -> dict[str, Any]:
    """Give the private key; the password is its passphrase."""
    file, text = extra.get("private_key_file"), extra.get("private_key_content")
    if file and text:
        raise trouble("options", "malformed", name=held.name, detail="extra.private_key_content")
    if file:
        return {"private_key_file": file} | ({"private_key_file_pwd": passphrase} if passphrase else {})
    if not text:
        return {}
    lines = str(text).replace("\\n", "\n").strip().splitlines()
    if "ENCRYPTED" in lines[0] or passphrase:
        raise trouble(
            "options",
            "malformed",
            name=held.name,
            detail="extra.private_key_content",
            hint="a key with a passphrase goes into a file: private_key_file",
        )
    # As the connector takes it: PKCS #8 in base64, which is what stands between the first and the last line.
    return {"private_key": "".join(line for line in lines if not line.startswith("-----"))}


# --- Trino and Presto -----------------------------------------------------------------------------------

_TRINO_ARGS = ("session_properties", "client_tags", "timezone", "extra_credential", "roles")


def _trino(held: Held, connection: Connection, told: Address, around: Around) -> Address:
    extra = driver_extra(connection)
    protocol = str(extra.get("protocol", "http"))
    user, owner = told.user, around.environ.get("AIRFLOW_CTX_DAG_OWNER")
    if _is_on(extra.get("impersonate_as_owner")) and owner:
        user = owner
    verify = extra.get("verify", True)
    if isinstance(verify, str) and verify.lower() in ("true", "false"):
        verify = verify.lower() == "true"
    args: dict[str, Any] = {
        "user": user,
        "source": extra.get("source", "airflow"),
        "http_scheme": protocol,
        "verify": verify,
        "auth": _trino_auth(held, connection, told, extra),
        "http_headers": {"X-Trino-Client-Info": _client_info(around)},
        "isolation_level": _isolation(held, extra),
    }
    if args["auth"] is not None and protocol != "https":
        raise trouble(
            "options",
            "malformed",
            name=held.name,
            detail="extra.protocol",
            hint="credentials go over TLS only: set protocol to https",
        )
    args |= {key: extra[key] for key in _TRINO_ARGS if extra.get(key)}
    if verify is not True:
        args["http_session"] = _session(held, verify)
    parts = [str(extra.get("catalog", "hive")), *([connection.schema] if connection.schema else [])]
    return told._replace(user=None, password=None, database="/".join(map(quote_plus, parts)), args=args)


def _session(held: Held, verify: object) -> object:
    """Give what speaks HTTP and believes the connection: `requests` itself puts the environment before it."""
    requests = loaded("requests", held, extra="trino")

    class Session(requests.Session):  # type: ignore[misc, name-defined]  # of the requests that is there
        def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as it has it
            return {**super().merge_environment_settings(*args, **kwargs), "verify": self.verify}

    made = Session()
    made.verify = verify
    return made


def _trino_auth(held: Held, connection: Connection, told: Address, extra: dict[str, Any]) -> object:
    auth = loaded("trino.auth", held, extra="trino")
    kind = extra.get("auth")
    if told.password:
        if kind in ("kerberos", "certs"):
            raise trouble("options", "malformed", name=held.name, detail="extra.auth")
        return auth.BasicAuthentication(connection.login, told.password)
    if kind == "jwt":
        return auth.JWTAuthentication(_jwt(held, extra))
    if kind == "certs":
        return auth.CertificateAuthentication(
            extra.get("certs__client_cert_path"), extra.get("certs__client_key_path")
        )
    if kind == "kerberos":
        given = {
            key.removeprefix("kerberos__"): value for key, value in extra.items() if key[:8] == "kerberos"
        }
        flags = ("mutual_authentication", "force_preemptive", "sanitize_mutual_error_response", "delegate")
        return auth.KerberosAuthentication(
            **{key: _is_on(value) if key in flags else value for key, value in given.items()}
        )
    if kind:
        raise trouble("options", "malformed", name=held.name, detail="extra.auth")
    return None


def _jwt(held: Held, extra: dict[str, Any]) -> str:
    file, token = extra.get("jwt__file"), extra.get("jwt__token")
    if bool(file) == bool(token):
        raise trouble(
            "options", "missing", name=held.name, detail="one of extra.jwt__file and extra.jwt__token"
        )
    if token:
        return str(token)
    try:
        return Path(str(file)).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        refusal = trouble("token", "missing", name=held.name, detail="the file that extra.jwt__file names")
    raise refusal


def _isolation(held: Held, extra: dict[str, Any]) -> object:
    levels = loaded("trino.transaction", held, extra="trino").IsolationLevel
    return getattr(levels, str(extra.get("isolation_level", "AUTOCOMMIT")).upper(), levels.AUTOCOMMIT)


def _client_info(around: Around) -> str:
    """Tell Trino for which run it works, as Airflow's hook does."""
    run = around.run
    told = {} if run is None else {"dag_id": run.dag_id, "task_id": run.task_id, "dag_run_id": run.run_id}
    return json.dumps({key: value for key, value in told.items() if value}, sort_keys=True)


def _presto(held: Held, connection: Connection, told: Address, _around: Around) -> Address:
    extra = driver_extra(connection)
    if extra.get("auth"):
        raise trouble("options", "unknown", name=held.name, detail="extra.auth")
    parts = [str(extra.get("catalog", "hive")), *([connection.schema] if connection.schema else [])]
    args = {"protocol": extra.get("protocol", "http"), "source": extra.get("source", "airflow")}
    if told.password and args["protocol"] != "https":
        raise trouble("options", "malformed", name=held.name, detail="extra.protocol")
    return told._replace(database="/".join(map(quote_plus, parts)), args=args)


# --- Databricks -------------------------------------------------------------------------------------------

_DATABRICKS_IDENTITIES = (
    "service_principal_oauth",
    "azure_tenant_id",
    "use_azure_managed_identity",
    "use_default_azure_credential",
    "federated_k8s",
    "federated_aws",
    "federated_token_provider",
)


def _databricks(held: Held, connection: Connection, told: Address, _around: Around) -> Address:
    extra = driver_extra(connection)
    other = next((key for key in _DATABRICKS_IDENTITIES if extra.get(key)), None)
    token = extra.get("token") or (told.password if told.user in (None, "", "token") else None)
    if other is not None or not token:
        raise trouble(
            "authentication",
            "missing",
            name=held.name,
            hint="put a personal access token into the password, and no login",
        )
    place = str(extra.get("host") or told.host or "").removeprefix("https://").rstrip("/")
    query = {"http_path": str(extra["http_path"])} if extra.get("http_path") else {}
    if connection.schema:
        query["schema"] = connection.schema
    args = document(held, extra.get("session_configuration") or {}, "session_configuration")
    return told._replace(
        user="token",
        password=str(token),
        host=place,
        port=told.port or 443,
        database=None,
        query=query,
        args={"session_configuration": args} if args else {},
    )


def _is_on(value: object) -> bool:
    return value.lower() in ("true", "1") if isinstance(value, str) else bool(value)


_TOLD: dict[str, Callable[[Held, Connection, Address, Around], Address]] = {
    "snowflake": _snowflake,
    "trino": _trino,
    "presto": _presto,
    "databricks": _databricks,
}
