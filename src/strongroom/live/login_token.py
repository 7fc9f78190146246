"""
Who logs in to a database: the login that stands in the connection, or a token made this moment.

| said in extra | token of | goes as |
|---|---|---|
| `iam` | AWS RDS and Aurora, of the identity in `aws_conn_id` | the password |
| `iam`, `redshift` (or the type redshift) | a cluster of Redshift | user and password |
| the same, `redshift-serverless` (`is_serverless`) | Redshift Serverless | user and password |
| `iam`, `azure_conn_id` | Entra ID | the password |
| `iam`, `gcp_conn_id` | Google Cloud SQL | the password |

Rules of this file:

1. A token is made per connect, or kept in memory until shortly before it ends; it stands in no message and
   in no `repr`.
2. Whatever a cloud says is told as a trouble of the step `token`, in our words.
"""

from __future__ import annotations

import re
import sys
import threading
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import NotFoundError, StrongroomError
from strongroom.live.around import Asked
from strongroom.live.families import loaded
from strongroom.live.trouble import trouble
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Around
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["Login", "Logins"]

_RDS_SECONDS = 900  # that a token of RDS lives
_EARLY = timedelta(seconds=60)  # before its end a kept one is made anew
_ENTRA_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
_CLOUD_SQL_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"
_RDS_HOST = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.rds\.amazonaws\.com(?:\.cn)?$", re.ASCII)


class Login(NamedTuple):
    """
    Who logs in.

    Args:
        user: his name.
        password: or the token.
        port: where the service of the token listens, if the connection says none.
        is_token: whether it goes over TLS only.
        of: whose token it is: the connection to the cloud, and what was known of it.
    """

    user: str | None
    password: Secret[str] | None
    port: int | None = None
    is_token: bool = False
    of: tuple[Held, Known] | None = None

    def __repr__(self) -> str:
        return f"Login(is_token={self.is_token})"


class Logins:
    """
    Makes logins for the sessions of one client.

    Args:
        around: what is around it.

    Threads: may be used from several threads at once.
    """

    def __init__(self, around: Around) -> None:
        self._around = around
        # By what they were asked with; Redshift's tokens cost a request each and live for minutes.
        self._kept: dict[tuple[object, ...], tuple[Login, datetime]] = {}
        self._sources: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()  # boto3 makes its clients one after the other

    def __repr__(self) -> str:
        return "Logins()"

    def login(self, held: Held, connection: Connection) -> Login:
        """
        Give who logs in now.

        Raises:
            NotFoundError: the connection to the cloud, named in the extra, is nowhere.
            AccessDeniedError, BackendConfigError, BackendUnavailableError: it gives no token.
        """
        extra = _flags(connection)
        if not _is_on(extra.get("iam")):
            return Login(connection.login, connection.password)
        makers = {
            "rds": self._rds,
            "redshift": self._redshift,
            "serverless": self._serverless,
            "entra": self._entra,
            "cloud_sql": self._cloud_sql,
        }
        maker = makers[_kind(connection, extra)]
        try:
            return maker(held, connection, extra)
        except StrongroomError:
            raise
        except _foreign_errors() as error:
            refusal = _refused(error, held.name)
        raise refusal

    def newer(self, held: Held, known: Known, login: Login) -> Known | None:
        """
        Give what may do better than *login*, made of *known*, which was refused; None where nothing may.

        A token is refused with its login's connection unchanged where the identity it was signed with ended.
        """
        newer = held.refreshed(known)
        if newer is None and login.is_token:
            was_kept = any(kept is login for kept, _ in self._kept.values())
            self._kept.clear()
            if was_kept or (login.of is not None and login.of[0].refreshed(login.of[1]) is not None):
                return known
        return newer

    # --- AWS -------------------------------------------------------------------------------------------

    def _rds(self, held: Held, connection: Connection, extra: dict[str, Any]) -> Login:
        port = connection.port or (3306 if connection.conn_type == "mysql" else 5432)
        host, user = connection.host, connection.login
        if not host or not user:
            raise trouble("options", "missing", name=held.name, detail="login" if host else "host")
        session, source = self._aws(held, extra)
        found = _RDS_HOST.search(host)
        region = found[1] if found is not None else session.region_name
        if not region:
            raise trouble("options", "missing", name=held.name, detail="region_name of the AWS connection")
        token = Secret(_signed(held, session, f"{host}:{port}", user, region))
        return Login(user, token, port, is_token=True, of=source)

    def _redshift(self, held: Held, connection: Connection, extra: dict[str, Any]) -> Login:
        cluster = (
            extra.get("cluster-identifier") or extra.get("cluster_identifier") or _first(held, connection)
        )
        asked = {
            "DbUser": connection.login,
            "DbName": connection.schema,
            "ClusterIdentifier": cluster,
            "AutoCreate": False,
        }
        given = {key: value for key, value in asked.items() if value is not None}
        names = ("DbUser", "DbPassword", "Expiration")
        return self._lent(held, connection, extra, ("redshift", "get_cluster_credentials", given), names)

    def _serverless(self, held: Held, connection: Connection, extra: dict[str, Any]) -> Login:
        group = extra.get("workgroup-name") or extra.get("serverless_work_group") or _first(held, connection)
        given: dict[str, Any] = {"workgroupName": group}
        if connection.schema:
            given["dbName"] = connection.schema
        if extra.get("serverless_token_duration_seconds"):
            given["durationSeconds"] = int(extra["serverless_token_duration_seconds"])
        names = ("dbUser", "dbPassword", "expiration")
        return self._lent(held, connection, extra, ("redshift-serverless", "get_credentials", given), names)

    def _lent(
        self,
        held: Held,
        connection: Connection,
        extra: dict[str, Any],
        question: tuple[str, str, dict[str, Any]],
        names: tuple[str, str, str],
    ) -> Login:
        """Give what Redshift lends, the same until shortly before it ends."""
        service, verb, given = question
        session, source = self._aws(held, extra)
        number = None if source is None else source[1].number
        key = (service, number, *sorted((name, str(value)) for name, value in given.items()))
        kept = self._kept.get(key)
        if kept is not None and self._around.now() < kept[1]:
            return kept[0]
        with self._making:
            client = self._sources.get((service, ""))
            if client is None:
                client = self._sources[service, ""] = session.client(service)
        answer = getattr(client, verb)(**given)
        user, password, end = (answer.get(name) for name in names)
        if not isinstance(user, str) or not isinstance(password, str):
            raise trouble("token", "malformed", name=held.name)
        login = Login(user, Secret(password), connection.port or 5439, is_token=True, of=source)
        if isinstance(end, datetime):
            self._kept[key] = (login, end.astimezone(timezone.utc) - _EARLY)
        return login

    def _aws(self, held: Held, extra: dict[str, Any]) -> tuple[Any, tuple[Held, Known] | None]:
        """Give the session of the AWS connection; where there is none, of who this machine is to AWS."""
        name = str(extra.get("aws_conn_id") or "aws_default")
        try:
            source = self._around.held(name, held.ref.team)
        except NotFoundError:
            if extra.get("aws_conn_id"):
                raise
            return self._made(("aws", ""), lambda: loaded("boto3", held, extra="aws").Session()), None
        known = source.known
        return self._source("aws", "session", source), (source, known)

    # --- the others ------------------------------------------------------------------------------------

    def _entra(self, held: Held, connection: Connection, extra: dict[str, Any]) -> Login:
        source = self._around.held(str(extra["azure_conn_id"]), held.ref.team)
        credential = self._source("azure", "credential", source)
        user = connection.login or source.known.connection.login
        token = credential.get_token(_ENTRA_SCOPE).token
        return Login(user, Secret(token), is_token=True)

    def _cloud_sql(self, held: Held, connection: Connection, extra: dict[str, Any]) -> Login:
        source = self._around.held(str(extra["gcp_conn_id"]), held.ref.team)
        credentials = self._source("google", "credentials", source, scopes=[_CLOUD_SQL_SCOPE])
        if not credentials.valid:
            credentials.refresh(None)  # it has a way of its own to ask
        account = getattr(credentials, "service_account_email", None)
        user = connection.login or (str(account).removesuffix(".gserviceaccount.com") if account else None)
        return Login(user, Secret(str(credentials.token)), is_token=True)

    def _source(self, family: str, verb: str, source: Held, **options: object) -> Any:  # noqa: ANN401
        """Give what makes tokens for the connection *source*: made once, it follows that by itself."""
        asked = Asked(_DRIVERS[family], None, options, self._around)
        module = import_module(f"strongroom.live.{family}")
        return self._made((family, source.name), lambda: getattr(module, verb)(source, asked))

    def _made(self, key: tuple[str, str], make: Callable[[], Any]) -> Any:  # noqa: ANN401
        with self._making:
            found = self._sources.get(key)
            if found is None:
                found = self._sources[key] = make()
        return found


_DRIVERS = {"aws": "boto3", "azure": "azure-identity", "google": "google-auth"}


def _kind(connection: Connection, extra: dict[str, Any]) -> str:
    if connection.conn_type == "redshift":
        return "serverless" if _is_on(extra.get("is_serverless")) else "redshift"
    if extra.get("azure_conn_id"):
        return "entra"
    if extra.get("gcp_conn_id"):
        return "cloud_sql"
    if _is_on(extra.get("redshift")):
        return "redshift"
    return "serverless" if _is_on(extra.get("redshift-serverless")) else "rds"


def _flags(connection: Connection) -> dict[str, Any]:
    return {} if connection.extra is None else connection.extra.reveal()


def _is_on(value: object) -> bool:
    return value.lower() in ("true", "1") if isinstance(value, str) else bool(value)


def _first(held: Held, connection: Connection) -> str:
    """Give the first label of the host, which is what Redshift calls the cluster or workgroup."""
    if not connection.host:
        raise trouble("options", "missing", name=held.name, detail="host")
    return connection.host.partition(".")[0]


def _signed(held: Held, session: Any, place: str, user: str, region: str) -> str:  # noqa: ANN401 -- boto3
    """Give a token of RDS: an address that is signed, without its scheme."""
    signers = loaded("botocore.signers", held, extra="aws")
    model = loaded("botocore.model", held, extra="aws")
    requests = loaded("botocore.awsrequest", held, extra="aws")
    credentials = session.get_credentials()
    if credentials is None:
        raise trouble("token", "missing", name=held.name)
    service = model.ServiceId("rds-db")
    signer = signers.RequestSigner(service, region, "rds-db", "v4", credentials, session.events)
    request = {
        "url_path": "/",
        "query_string": "",
        "headers": {},
        "body": {"Action": "connect", "DBUser": user},
        "method": "GET",
    }
    requests.prepare_request_dict(request, f"https://{place}")
    signed: str = signer.generate_presigned_url(
        request, operation_name="connect", region_name=region, expires_in=_RDS_SECONDS, signing_name="rds-db"
    )
    return signed.removeprefix("https://")


# --- what clouds say ----------------------------------------------------------------------------------

_FOREIGN = (
    ("botocore.exceptions", ("BotoCoreError", "ClientError")),
    ("google.auth.exceptions", ("GoogleAuthError",)),
    ("azure.core.exceptions", ("AzureError",)),
)
_REFUSED = ("ClientError", "RefreshError", "ClientAuthenticationError", "UnauthorizedSSOTokenError")
_MISSING = ("NoCredentialsError", "DefaultCredentialsError", "CredentialUnavailableError", "ProfileNotFound")


def _foreign_errors() -> tuple[type[Exception], ...]:
    """Give what the libraries that are loaded raise."""
    found = (sys.modules.get(module) for module, _ in _FOREIGN)
    errors = zip(found, (names for _, names in _FOREIGN), strict=True)
    return (OSError, *(getattr(module, name) for module, names in errors if module for name in names))


def _refused(error: Exception, name: str) -> StrongroomError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & set(_MISSING):
        return trouble("token", "missing", name=name)
    if kinds & set(_REFUSED) and not getattr(error, "retryable", False):
        return trouble("token", "credentials", name=name)
    return trouble("token", "unavailable", name=name)
