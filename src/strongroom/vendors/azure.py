"""
Azure for a whole process: how to log in, one credential, one transport; for whatever service is asked.

Not for what a token is got with (`azure_login.py`) or for what a vault answers (`azure_vault.py`). The SDK is
loaded when the first token is asked for.

Rules of this file:

1. What contradicts itself, or says half of a way to log in, is refused by the names of the settings. Where
   nothing is said, the environment is looked at as Azure's own default does, without developers' tools.
2. A login goes to the authority and the machine's endpoint alone, whatever an answer says.
3. A forked child has a credential of its own.

Source: azure-identity 1.27; apache-airflow-providers-microsoft-azure 15.2.1 (`key_vault.py`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.vendors.azure_entra import check_login, check_machine
from strongroom.vendors.azure_login import Identity, OneLogin
from strongroom.vendors.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.core.pipeline.transport import HttpTransport

    from strongroom.vendors.http1 import Reply

__all__ = ["AzureAccess", "AzureSession", "origin_of"]

_MAX_BODY_BYTES = 8 * 1024 * 1024
_PUBLIC = "login.microsoftonline.com"
_MACHINE = "http://169.254.169.254"
# Where other hosts than a virtual machine say that their identity's endpoint is.
_MACHINES = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
_WAYS = ("client_secret", "certificate", "workload_identity", "managed_identity")
_Fetch = Callable[[], Secret[str]]
_PORTS = {"https": 443, "http": 80}
_MAX_CERTIFICATE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureAccess:
    """
    How to log in to Azure. Airflow's keyword arguments are accepted; "" is unsaid.

    Args:
        auth: `client_secret`, `certificate`, `workload_identity` or `managed_identity`; unsaid, what the
            others and the environment say.
        tenant_id: of the application that logs in.
        client_id: of the application.
        client_secret: of the application; fetched again when it is refused.
        certificate: a PEM or PKCS #12 file with the application's certificate and RSA key.
        certificate_password: of that file.
        managed_identity_client_id: which of a machine's identities; unsaid, `AZURE_CLIENT_ID`, then its own.
        workload_identity_tenant_id: of the application that a workload logs in as.
        token_file: the workload's token; unsaid, `AZURE_FEDERATED_TOKEN_FILE`.
        authority: host of Entra ID in a sovereign or private cloud.
        ca: certificates to trust in place of the system's, of every server asked.
        verify: False checks no certificate; a path is `ca`.
        timeout: for connecting and for each wait of an answer.
    """

    auth: str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: _Fetch | Secret[str] | None = field(default=None, repr=False)
    certificate: Path | None = None
    certificate_password: _Fetch | Secret[str] | None = field(default=None, repr=False)
    managed_identity_client_id: str | None = None
    workload_identity_tenant_id: str | None = None
    token_file: Path | None = None
    authority: str | None = None
    ca: Path | None = None
    verify: bool | Path = True
    timeout: timedelta = timedelta(seconds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What to log in with, settled."""

    kind: str
    tenant: str = ""
    client: str = ""
    secret: _Fetch | None = field(default=None, repr=False)
    file: Path | Secret[str] | None = field(default=None, repr=False)


class AzureSession:
    """
    Log in as one identity, and carry what is asked with its tokens.

    Args:
        access: how.
        place: the backend's name, for messages.
        environ: where what is unsaid is looked for.

    Threads: may be used from several threads at once, and after a fork.

    Raises:
        BackendConfigError: the access contradicts itself or says half, or the extra `azure` is missing.
    """

    def __init__(self, access: AzureAccess, *, place: str, environ: Mapping[str, str]) -> None:
        _check_installed(place)
        self.place = place
        self._environ = environ
        self._authority = _authority(
            place, access.authority or environ.get("AZURE_AUTHORITY_HOST") or _PUBLIC
        )
        self._way = _way(place, access, environ)
        self._password = _fetch(access.certificate_password)
        self._secret: Secret[str] | None = None
        ca = access.verify if isinstance(access.verify, Path) else access.ca
        self.origins = Origins(
            place,
            timeout=access.timeout,
            ca=ca,
            verify=access.verify is not False,
            max_body_bytes=_MAX_BODY_BYTES,
        )
        # By process id: `setdefault` is atomic, and what the SDK keeps has locks that do not survive a fork.
        self._logins: dict[int, OneLogin] = {}

    def __repr__(self) -> str:
        return f"AzureSession({self.place!r})"

    @property
    def tenant(self) -> str:
        """The tenant that logs in; "" for a machine's identity."""
        return self._way.tenant

    @property
    def way(self) -> str:
        """How it logs in, in the words of `AzureAccess.auth`."""
        return self._way.kind

    @property
    def login(self) -> OneLogin:
        """The credential of this process, for any client of Azure's SDK."""
        process = os.getpid()
        found = self._logins.get(process)
        return found or self._logins.setdefault(process, OneLogin(self.place, self._identity))

    def carrier(self, *urls: str) -> HttpTransport[Any, Any]:
        """Give a transport for a client of Azure's SDK, that asks the servers of *urls* alone."""
        return self._carrier(frozenset(map(origin_of, urls)), "vault_url")

    def close(self) -> None:
        """Let go of credential and connections. Safe to call twice."""
        login = self._logins.get(os.getpid())  # a parent's may be locked by a thread that is not here
        if login is not None:
            login.close()
        self.origins.close()

    # --- logging in ---

    def _carrier(
        self, allowed: frozenset[str], setting: str, check: Callable[[Reply], None] | None = None
    ) -> HttpTransport[Any, Any]:
        from strongroom.vendors.azure_transport import Carrier  # noqa: PLC0415 -- loads azure-core

        for logger in map(logging.getLogger, _LOGGERS):
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.ERROR)
        return Carrier(self.place, self.origins, allowed=allowed, setting=setting, check=check)

    def _identity(self, again: bool) -> Identity | None:  # noqa: FBT001 -- one switch of `OneLogin`
        """Make the credential; *again*, with its secret fetched anew, or None where that is the same."""
        if again and self._way.secret is None:
            return None
        if self._way.secret is not None:
            secret = self._way.secret()
            if again and secret == self._secret:
                return None
            self._secret = secret
        try:
            return self._made(self._way)
        except (ValueError, TypeError) as error:  # its words quote what was given
            raise BackendConfigError(
                f"backend.{self.place} logs in with what azure-identity refuses ({type(error).__name__})",
                hint=_CHECKS[self._way.kind],
            ) from None

    def _made(self, way: _Way) -> Identity:
        import azure.identity as sdk  # noqa: PLC0415 -- 0.4 s, for those who ask

        if way.kind == "managed_identity":
            allowed = frozenset(filter(None, (origin_of(self._environ.get(key, "")) for key in _MACHINES)))
            transport = self._carrier(
                allowed or frozenset({_MACHINE}),
                "auth: this machine may have no identity",
                partial(check_machine, self.place),
            )
            return sdk.ManagedIdentityCredential(
                client_id=way.client or None,
                transport=transport,
                _exclude_workload_identity_credential=True,
                **_QUIET,
            )
        login = {
            "tenant_id": way.tenant,
            "client_id": way.client,
            "authority": self._authority,
            # Who runs this says what the authority is: no other host is asked whether that is well known.
            "disable_instance_discovery": True,
            "transport": self._carrier(
                frozenset({self._authority}), "authority", partial(check_login, self.place)
            ),
            **_QUIET,
        }
        if way.kind == "workload_identity":
            return sdk.WorkloadIdentityCredential(token_file_path=str(way.file), **login)
        if way.kind == "certificate":
            password = None if self._password is None else self._password().reveal()
            data = _certificate(self.place, way.file)
            return sdk.CertificateCredential(certificate_data=data, password=password, **login)
        secret = "" if self._secret is None else self._secret.reveal()
        return sdk.ClientSecretCredential(client_secret=secret, **login)


# They tell of every request, and once more of every error that is raised; who sets their level has his way.
_LOGGERS = ("azure.core.pipeline.policies.http_logging_policy", "azure.identity")
# Once is enough: the transport asks again where that helps, and a login's refusal is remembered.
_QUIET: dict[str, Any] = {"retry_total": 0, "retry_status": 0, "retry_connect": 0, "retry_read": 0}
_CHECKS = {
    "client_secret": "check tenant_id and client_id",
    "certificate": "the file must hold certificate and RSA key (PEM or PKCS #12), and its password must fit",
    "workload_identity": "check workload_identity_tenant_id and the client id",
    "managed_identity": "check managed_identity_client_id",
}


def origin_of(url: str) -> str:
    """Give `scheme://host[:port]` of *url*, without a port that goes without saying; "" when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or "\\" in parts.netloc:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


# --- what the options say ------------------------------------------------------------------------------


def _check_installed(place: str) -> None:
    for module in ("azure.identity", "azure.core"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise BackendConfigError(
                f"the backend {place} needs the package {module.replace('.', '-')}",
                hint="pip install 'strongroom[azure]'",
            )


def _authority(place: str, given: str) -> str:
    url = given if "://" in given else f"https://{given}"
    found = origin_of(url)
    if not found.startswith("https://") or urlsplit(url).path.strip("/"):
        raise BackendConfigError(
            f"backend.{place}.authority is no host of Entra ID",
            hint="write its host alone, as login.microsoftonline.us; the tenant is tenant_id",
        )
    return found


def _way(place: str, access: AzureAccess, environ: Mapping[str, str]) -> _Way:
    kind = access.auth or _kind_said(place, access)
    if kind is None:
        return _way_of_environment(place, access, environ)
    if kind not in _WAYS:
        raise BackendConfigError(f"backend.{place}.auth must be one of {', '.join(_WAYS)}")
    if kind == "managed_identity":
        return _machine(access, environ)
    if kind == "workload_identity":
        return _workload(place, access, environ)
    way = _Way(
        kind=kind,
        tenant=access.tenant_id or environ.get("AZURE_TENANT_ID", ""),
        client=access.client_id or environ.get("AZURE_CLIENT_ID", ""),
        secret=_fetch(access.client_secret) if kind == "client_secret" else None,
        file=access.certificate,
    )
    given = way.secret if kind == "client_secret" else way.file
    missing = [
        key
        for key, value in (("tenant_id", way.tenant), ("client_id", way.client), (kind, given))
        if not value
    ]
    if missing:
        raise BackendConfigError(
            f"backend.{place} logs in by {kind} without {' and '.join(missing)}",
            hint=f"set {' and '.join(missing)}; a machine's own identity wants none of them",
        )
    return way


def _kind_said(place: str, access: AzureAccess) -> str | None:
    if access.client_secret is not None and access.certificate is not None:
        raise BackendConfigError(
            f"backend.{place} has both client_secret and certificate", hint="keep one of them, or set auth"
        )
    if access.certificate is not None:
        return "certificate"
    if access.client_secret is not None:
        return "client_secret"
    return "workload_identity" if access.token_file is not None else None


def _way_of_environment(place: str, access: AzureAccess, environ: Mapping[str, str]) -> _Way:
    """As Azure's default: an application in the environment, a workload, and then the machine."""
    tenant = access.tenant_id or environ.get("AZURE_TENANT_ID", "")
    client = access.client_id or environ.get("AZURE_CLIENT_ID", "")
    if tenant and client and environ.get("AZURE_CLIENT_SECRET"):
        return _Way(
            kind="client_secret",
            tenant=tenant,
            client=client,
            secret=lambda: Secret(environ["AZURE_CLIENT_SECRET"]),
        )
    certificate = environ.get("AZURE_CLIENT_CERTIFICATE_PATH")
    if tenant and client and certificate:
        return _Way(kind="certificate", tenant=tenant, client=client, file=Path(certificate))
    workload = _workload_or_none(access, environ)
    if workload is None and (access.tenant_id or access.client_id):
        raise BackendConfigError(
            f"backend.{place} has a tenant_id or client_id, and nothing to log in with",
            hint="set client_secret, certificate or token_file; a machine's own identity wants neither",
        )
    return _machine(access, environ) if workload is None else workload


def _workload(place: str, access: AzureAccess, environ: Mapping[str, str]) -> _Way:
    found = _workload_or_none(access, environ)
    if found is None:
        raise BackendConfigError(
            f"backend.{place} logs in by workload_identity without tenant, client or token file",
            hint="set workload_identity_tenant_id, client_id and token_file, or let the cluster set "
            "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE",
        )
    return found


def _workload_or_none(access: AzureAccess, environ: Mapping[str, str]) -> _Way | None:
    tenant = access.workload_identity_tenant_id or access.tenant_id or environ.get("AZURE_TENANT_ID", "")
    client = access.client_id or _machine(access, environ).client
    file = access.token_file or environ.get("AZURE_FEDERATED_TOKEN_FILE", "")
    if not (tenant and client and file):
        return None
    return _Way(kind="workload_identity", tenant=tenant, client=client, file=Path(file))


def _machine(access: AzureAccess, environ: Mapping[str, str]) -> _Way:
    client = access.managed_identity_client_id or environ.get("AZURE_CLIENT_ID", "")
    return _Way(kind="managed_identity", client=client)


def _fetch(given: _Fetch | Secret[str] | None) -> _Fetch | None:
    return (lambda: given) if isinstance(given, Secret) else given


def _certificate(place: str, path: Path | Secret[str] | None) -> bytes:
    if isinstance(path, Secret):
        return path.reveal().encode()
    try:
        with open(path or "", "rb") as file:  # noqa: PTH123 -- bounded below
            return file.read(_MAX_CERTIFICATE_BYTES)
    except OSError as error:
        raise BackendConfigError(
            f"the certificate of the backend {place} cannot be read ({type(error).__name__})",
            hint=f"check backend.{place}.certificate",
        ) from None
