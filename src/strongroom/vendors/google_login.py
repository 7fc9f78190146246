"""
Who we are to Google: credentials from a key, a configuration of federation, the machine, or another account.

Google's own `google-auth` signs and exchanges; whatever it asks goes over our transport (`GoogleRequest`).
Its retries never happen, since an answer that it would ask again for is raised as trouble before it sees it.

Rules of this file:

1. Where credentials are found unsaid: the file in GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the
   metadata server; as Google's libraries do, from the environment handed in.
2. What a configuration could run is refused: programs that print tokens, and certificates.
3. No message holds a key, a token, or what a server said.

Source: google-auth 2.62; https://google.aip.dev/auth/4110, 4111 (self-signed JWT) and 4117 (federation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in, wait_in
from strongroom.vendors.google_access import GoogleAccess, Token

if TYPE_CHECKING:
    from strongroom.vendors.http1 import Reply
    from strongroom.vendors.origins import Origins

__all__ = ["GoogleAccess", "GoogleLogin", "GoogleRequest", "Token"]

_CLOUD = "https://www.googleapis.com/auth/cloud-platform"
_METADATA = "metadata.google.internal"
_IAM = "https://iamcredentials.googleapis.com"
_SECRETS = ("private_key", "client_secret", "refresh_token")  # in credentials
_SAY = "set gcp_key_path, gcp_keyfile_dict or gcp_credential_config_file"
_MAX_FILE_BYTES = 65_536
_TOO_MANY = 429
_OK = 200


class _Answer:
    """A reply as google-auth wants to see it."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.data = reply.body


class GoogleRequest:
    """
    google-auth's way out: `google.auth.transport.Request`, over our transport.

    Args:
        origins: what carries.
        place: the backend's name.
    """

    def __init__(self, origins: Origins, place: str) -> None:
        self._origins = origins
        self._place = place

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: object = None,
        **unused: object,
    ) -> _Answer:
        """
        Ask; a status of trouble is raised, so that google-auth does not wait and ask again.

        Raises:
            BackendUnavailableError: no answer, or one of trouble.
            NotAuthenticatedError: the account may not act as the other.
        """
        del timeout, unused  # the transport has deadlines of its own
        reply = self._origins.request(method, url, headers or {}, body)
        if reply.status >= 500 or reply.status == _TOO_MANY:  # noqa: PLR2004 -- RFC 9110 §15.6
            raise BackendUnavailableError(
                f"the backend {self._place} could not log in: status {reply.status}",
                backend=self._place,
                retry_after=wait_in(reply.headers),
            )
        if reply.status in (403, 404) and url.endswith(":generateAccessToken"):
            account = url.rpartition("/")[2].partition(":")[0]
            raise NotAuthenticatedError(
                f"the backend {self._place} may not act as {account}",
                hint=f"grant roles/iam.serviceAccountTokenCreator on {account} to the account before it in "
                "impersonation_chain (permission iam.serviceAccounts.getAccessToken)",
            )
        return _Answer(reply)


class GoogleLogin:
    """
    Get tokens for one backend's account.

    Threads: one at a time; `GoogleSession` sees to that.

    Args:
        access: who we are.
        place: the backend's name.
        environ: where credentials are found that are not said.
        origins: what carries.
        request: google-auth's way out, where it is another than `GoogleRequest`.
        supplier: gives the subject's tokens of a federation, where its configuration does not say whence.
        is_self_signed: a key's own signature is the token; otherwise it is exchanged for one.

    Raises:
        BackendConfigError: options that contradict one another.
    """

    def __init__(  # noqa: PLR0913 -- who, where and how
        self,
        access: GoogleAccess,
        *,
        place: str,
        environ: Mapping[str, str],
        origins: Origins,
        request: Callable[..., Any] | None = None,
        supplier: object = None,
        is_self_signed: bool = True,
    ) -> None:
        self._access = access
        self._place = place
        self._environ = environ
        self._request = request or GoogleRequest(origins, place)
        self._supplier = supplier
        self._is_self_signed = is_self_signed
        self._origins = origins
        self._made: Any = None
        self._info: Mapping[str, Any] | None = None
        self._is_on_machine = False
        given = access.sources
        if len(given) > 1:
            raise BackendConfigError(
                f"backend.{place} has both {given[0]} and {given[1]}", hint="keep one of them"
            )
        for key in given:
            secret = _written_out(getattr(access, key))
            if secret is not None:
                raise BackendConfigError(
                    f"{secret} must be fetched from elsewhere, not written out in backend.{place}.{key}",
                    hint="name the file that Google gave, or in gcp_keyfile_dict write "
                    'private_key = { file = "/path" }, { env = "NAME" } or { command = ["program"] }',
                )

    # --- tokens ---

    def token(self) -> Token:
        """
        Get a new token.

        Raises:
            NotAuthenticatedError: the login was refused.
            BackendConfigError: there are no credentials, or they are not of a kind that can be used.
            BackendUnavailableError: no answer now.
        """
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 -- an extra, loaded when used

        trouble: StrongroomError
        try:
            credentials = self._credentials()
            credentials.refresh(self._request)
            ends = credentials.expiry.replace(tzinfo=timezone.utc)
            return Token(Secret(str(credentials.token)), ends)
        except StrongroomError as error:
            trouble = error
        except (GoogleAuthError, OSError) as error:
            trouble = NotAuthenticatedError(
                f"the login of the backend {self._place} was refused ({type(error).__name__})",
                hint=self._advice(),
            )
        trouble.__context__ = None
        raise trouble.with_traceback(None)

    def _advice(self) -> str:
        given = self._access.sources
        if given:
            return f"check {given[0]}: the account, its key or its token may be disabled, deleted or too old"
        return "check the credentials of this machine (gcloud auth application-default login)"

    # --- who and where ---

    def project(self, *, may_ask: bool = True) -> str:
        """
        Give the project whose secrets are meant.

        Args:
            may_ask: the machine may be asked for it.

        Raises:
            BackendConfigError: nothing says it.
        """
        if self._access.project_id:
            return self._access.project_id
        chain = self._access.chain
        if chain:
            return self._project_of(chain[-1])
        said = self._environ.get("GOOGLE_CLOUD_PROJECT") or self._environ.get("GCLOUD_PROJECT")
        credentials = self._credentials()
        found = (
            (said if not self._is_said() else None)
            or getattr(credentials, "project_id", None)
            or (self._info or {}).get("quota_project_id")
        )
        if not found and self._is_on_machine and may_ask:
            found = self._metadata("project/project-id")
        if not found:
            raise BackendConfigError(
                f"nothing says whose secrets the backend {self._place} reads", hint="set project_id"
            )
        return str(found)

    def identity(self, *, may_ask: bool = True) -> str:
        """Give the account we are: an e-mail, or what else Google calls it; "" where it cannot be told."""
        chain = self._access.chain
        if chain:
            return chain[-1]
        credentials = self._credentials()
        if self._is_on_machine:
            return self._metadata("instance/service-accounts/default/email") if may_ask else ""
        mail = getattr(credentials, "service_account_email", None)
        if mail:
            return str(mail)
        info = self._info or {}
        return str(info.get("audience") or info.get("account") or "")

    def _project_of(self, account: str) -> str:
        # <name>@<project>.iam.gserviceaccount.com, as Airflow takes it.
        project = account.partition("@")[2].partition(".")[0]
        if not project:
            raise BackendConfigError(
                f"backend.{self._place}.impersonation_chain ends in no service account",
                hint="write name@project.iam.gserviceaccount.com, and set project_id",
            )
        return project

    # --- credentials ---

    def credentials(self) -> Any:  # noqa: ANN401 -- google-auth has no types worth their name
        """
        Give google-auth's credentials, the same ones each time.

        Raises:
            BackendConfigError: there are none, or they are not of a kind that can be used.
        """
        return self._credentials()

    def _credentials(self) -> Any:  # noqa: ANN401 -- google-auth has no types worth their name
        if self._made is None:
            try:
                source = self._source()
                self._made = self._acting(source)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._refuse(f"no credentials that can be used ({type(error).__name__})")
        return self._made

    def _acting(self, source: Any) -> Any:  # noqa: ANN401 -- as above
        chain = self._access.chain
        if not chain:
            return source
        from google.auth import impersonated_credentials  # noqa: PLC0415 -- an extra, loaded when used

        base = (self._access.iam_endpoint or _IAM).rstrip("/")
        return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            source,
            chain[-1],
            self._scopes(),
            delegates=list(chain[:-1]),
            iam_endpoint_override=f"{base}/v1/projects/-/serviceAccounts/{chain[-1]}:generateAccessToken",
        )

    def _source(self) -> Any:  # noqa: ANN401 -- as above
        info = self._said() if self._is_said() else self._found()
        if info is None:
            from strongroom.vendors.google_machine import Machine  # noqa: PLC0415 -- it is made of an extra

            self._is_on_machine = True
            return Machine(self._metadata, self._scopes())
        self._info = info
        return self._of(info)

    def _is_said(self) -> bool:
        return bool(self._access.sources)

    def _said(self) -> Mapping[str, Any]:
        access = self._access
        if access.gcp_key_path is not None:
            return self._read(access.gcp_key_path, "gcp_key_path")
        if access.gcp_keyfile_dict is not None:
            given = access.gcp_keyfile_dict
            if isinstance(given, Mapping):
                return {key: one.reveal() if isinstance(one, Secret) else one for key, one in given.items()}
            secret = given if isinstance(given, Secret) else given()
            return self._parsed(secret.reveal(), "gcp_keyfile_dict")
        config = access.gcp_credential_config_file
        return self._read(config, "gcp_credential_config_file") if isinstance(config, Path) else config or {}

    def _found(self) -> Mapping[str, Any] | None:
        """Give what the environment says or gcloud keeps; None: this machine may have an account."""
        named = self._environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            return self._read(Path(named), "GOOGLE_APPLICATION_CREDENTIALS")
        home = self._environ.get("HOME")
        folder = self._environ.get("CLOUDSDK_CONFIG") or (f"{home}/.config/gcloud" if home else None)
        file = None if folder is None else Path(folder) / "application_default_credentials.json"
        return self._read(file, "CLOUDSDK_CONFIG") if file is not None and file.is_file() else None

    def _read(self, path: Path, key: str) -> Mapping[str, Any]:
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_FILE_BYTES).decode()
        except (OSError, ValueError) as error:
            raise BackendConfigError(
                f"the file that {key} of the backend {self._place} names cannot be read "
                f"({type(error).__name__})",
                hint=f"check {key}",
            ) from None
        return self._parsed(text, key)

    def _parsed(self, text: str, key: str) -> Mapping[str, Any]:
        info = json_in(text)
        if not isinstance(info, dict):
            raise BackendConfigError(
                f"{key} of the backend {self._place} holds no JSON object", hint="use the file Google gave"
            )
        return info

    def _of(self, info: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as above
        makers = {
            "service_account": self._of_key,
            "external_account": self._of_federation,
            "authorized_user": self._of_user,
            "impersonated_service_account": self._of_impersonation,
        }
        maker = makers.get(str(info.get("type")))
        if maker is None:
            self._refuse("credentials of a type that is not known here")
        return maker(info)

    def _of_key(self, info: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as above
        from google.oauth2 import service_account  # noqa: PLC0415 -- an extra, loaded when used

        # Airflow's: a key that went through a form has its line ends spelled out.
        key = {**info, "private_key": str(info["private_key"]).replace("\\n", "\n")}
        made = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            key, scopes=self._scopes()
        )
        if not self._is_self_signed:
            return made
        # AIP-4111: a token that the key itself signs needs nobody to be asked.
        return made.with_always_use_jwt_access(True)  # noqa: FBT003 -- the SDK's own signature

    def _of_federation(self, info: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as above
        source = info.get("credential_source")
        if self._supplier is not None:
            info, source = (
                {**info, "credential_source": None, "subject_token_supplier": self._supplier},
                {"url": ""},
            )
        if not isinstance(source, Mapping) or not {"file", "url", "environment_id"} & set(source):
            self._refuse("a federation whose tokens come from neither a file nor a url")
        if not {"audience", "subject_token_type", "token_url"} <= set(info):
            self._refuse("a federation without audience, subject_token_type or token_url")
        if "environment_id" in source:
            from google.auth import aws as pool  # noqa: PLC0415 -- an extra, loaded when used
        else:
            from google.auth import identity_pool as pool  # type: ignore[no-redef]  # noqa: PLC0415 -- as above
        made: Any = pool.Credentials
        return made.from_info(dict(info), scopes=self._scopes())

    def _of_user(self, info: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as above
        from google.oauth2 import credentials  # noqa: PLC0415 -- an extra, loaded when used

        user: Any = credentials.Credentials
        return user.from_authorized_user_info(dict(info))

    def _of_impersonation(self, info: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as above
        from google.auth import impersonated_credentials  # noqa: PLC0415 -- an extra, loaded when used

        url = str(info["service_account_impersonation_url"])
        return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            self._of(info["source_credentials"]),
            url.rpartition("/")[2].partition(":")[0],
            self._scopes(),
            delegates=list(info.get("delegates") or ()),
            iam_endpoint_override=url,
        )

    def _scopes(self) -> list[str]:
        said = self._access.gcp_scopes
        return [scope.strip() for scope in said.split(",")] if said else [_CLOUD]

    def _refuse(self, what: str) -> NoReturn:
        raise BackendConfigError(
            f"the backend {self._place} was given {what}",
            hint="use a service account's key, or a configuration of workload identity federation",
        ) from None

    # --- the machine ---

    def _metadata(self, path: str) -> str:
        """Ask the machine's metadata server. Source: cloud.google.com/compute/docs/metadata."""
        host = self._environ.get("GCE_METADATA_HOST") or _METADATA
        url = f"http://{host}/computeMetadata/v1/{path}"
        try:
            reply = self._request(url, headers={"Metadata-Flavor": "Google"})
        except BackendUnavailableError as error:
            error.hint = f"this machine's account is meant, since no other is said; otherwise {_SAY}"
            raise
        # Whoever answers without this header is no metadata server.
        if reply.status != _OK or reply.headers.get("metadata-flavor") != "Google":
            raise NotAuthenticatedError(
                f"the backend {self._place} has no credentials, and this machine has no account of Google's",
                hint=f"{_SAY}, or give the machine a service account",
            )
        return reply.data.decode()


def _written_out(given: object) -> str | None:
    """Give which secret is written out in a table of the settings, at any depth; None for none."""
    for name, value in given.items() if isinstance(given, Mapping) else ():
        found = name if name in _SECRETS and isinstance(value, str) else _written_out(value)
        if found is not None:
            return str(found)
    return None
