"""
Who a connection is to Google: google-auth's own credentials, made of what the connection says.

Not for following it (`google_credentials.py`). The fields are those of Airflow's hook; where a connection
says nothing, the environment does and then the machine, as Google's libraries look for it.

Rules of this file:

1. What gives tokens is asked over our own transport: no redirect, no proxy, no wait that never ends.
2. A key, a token or a client's secret leaves over TLS alone, but for addresses of this machine.
3. Programs and certificates that a configuration of federation could use are refused: a connection is data.
4. No error holds a word of a provider's.

Source: apache-airflow-providers-google 22.8 (`base_google.py`, `credentials_provider.py`).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed
from strongroom.model.machine import is_private_way
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in
from strongroom.vendors.google_login import GoogleAccess, GoogleLogin
from strongroom.vendors.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.live.around import Around
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["CLOUD", "Identity", "Made"]

CLOUD = "https://www.googleapis.com/auth/cloud-platform"
"""What a token is for where nobody says it: all of the cloud that the account may use."""

_PREFIX = "extra__google_cloud_platform__"
_SOURCES = ("key_path", "keyfile_dict", "credential_config_file", "key_secret_name", "is_anonymous")
_SECRETS = "https://secretmanager.googleapis.com"
_MACHINES = ("metadata.google.internal", "169.254.169.254")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
_ACCOUNT = re.compile(r"[A-Za-z0-9._%+-]{1,128}@[A-Za-z0-9.-]{1,128}", re.ASCII)
_MAX_BODY_BYTES = 1024 * 1024
_OK, _DENIED, _ABSENT, _TOO_MANY, _BROKEN = 200, (401, 403), 404, 429, 500
_FILE = "use what Google gave: a service account's key, or a configuration of workload identity federation"
_ACCOUNTS = "write accounts as name@project.iam.gserviceaccount.com"
_IDP = ("client_id", "client_secret", "credential_config_file")
_GRANT = (
    "grant roles/iam.serviceAccountTokenCreator on each account of impersonation_chain to the one before it "
    "(permission iam.serviceAccounts.getAccessToken)"
)


class Made(NamedTuple):
    """
    Credentials of one content of the connection.

    Args:
        known: that content.
        credentials: google-auth's.
        login: what found them; None for anonymous ones.
        project: as the connection says it, or None.
        quota_project: likewise, who pays.
    """

    known: Known
    credentials: Any
    login: GoogleLogin | None
    project: str | None
    quota_project: str | None


class Identity:
    """
    Make credentials of one connection, and carry what they ask.

    Attributes:
        now: the wall clock.
        close: ends the following; safe to call twice.

    Args:
        held: the connection.
        around: where credentials are found that it does not say.
        scopes: of tokens; unsaid, those of the connection, and for the whole cloud if it says none.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(self, held: Held, around: Around, scopes: Sequence[str] = ()) -> None:
        self.held = held
        self.now = around.now
        self._environ = around.environ
        self._scopes = tuple(scopes)
        self.origins = Origins(held.name, max_body_bytes=_MAX_BODY_BYTES)
        self.close = held.lasts(self, self.origins.close)

    def __repr__(self) -> str:
        return f"Identity({self.held.name!r})"

    def mark(self, known: Known, scopes: Sequence[str] | None) -> tuple[object, ...]:
        """Give what tells tokens of *known* for *scopes* apart from any other's of the same connection."""
        return known.number, tuple(scopes or self._scopes), id(self._environ)

    @unframed
    def check(self, known: Known) -> None:
        """
        Refuse what *known* says in contradiction, without asking anybody.

        Raises:
            BackendConfigError: as `made`.
        """
        self._check(self._fields(known.connection))

    @unframed
    def made(self, known: Known, scopes: Sequence[str] | None = None) -> Made:
        """
        Make the credentials that *known* says. Asks nobody, but for a key that is kept in Secret Manager.

        Raises:
            BackendConfigError: it contradicts itself, or says something that cannot be read.
            AccessDeniedError, BackendUnavailableError: of a key in Secret Manager.
        """
        said = self._fields(known.connection)
        given = self._check(said)
        project = _text(said.get("project"))
        if said.get("is_anonymous"):
            from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415 -- an extra, loaded when used

            return Made(known, AnonymousCredentials(), None, project, None)  # type: ignore[no-untyped-call, unused-ignore]
        login = self._login(self._access(said, scopes), self._supplier(said))
        return Made(
            known, self._ours(login.credentials, given), login, project, _text(said.get("quota_project_id"))
        )

    def refresh(self, made: Made) -> None:
        """
        Get a new token for *made*.

        Raises:
            AccessDeniedError: it is refused, or may not act as the account it names.
            BackendConfigError: this machine has no identity, or an answer is no token.
            BackendUnavailableError: no answer now.
        """
        self._ours(lambda: made.credentials.refresh(self.carry), ())

    def project(self, login: GoogleLogin) -> str | None:
        """Give the project that *login* finds; None where nothing says it. Raises as `refresh`."""
        try:
            return str(self._ours(login.project, ("project",)))
        except BackendConfigError:
            return None

    def account(self, login: GoogleLogin) -> str:
        """Give the account that *login* finds; "" where it cannot be told. Raises as `refresh`."""
        return str(self._ours(login.identity, ()))

    # --- what the connection says --------------------------------------------------------------------

    def _fields(self, connection: Connection) -> Mapping[str, Any]:
        try:
            extra = {} if connection.extra is None else connection.extra.reveal()
        except InvalidInputError:
            raise self._malformed("extra", "it is a JSON object") from None
        plain = {key.removeprefix(_PREFIX): value for key, value in extra.items() if key.startswith(_PREFIX)}
        said = {key: value for key, value in {**plain, **extra}.items() if value not in ("", None)}
        # A form saves a no as text, which would count as a yes.
        if str(said.get("is_anonymous", "")).lower() in ("false", "0", "no", "off"):
            del said["is_anonymous"]
        return said

    def _check(self, said: Mapping[str, Any]) -> list[str]:
        """Give which field says the credentials, if one does."""
        given = [key for key in _SOURCES if said.get(key)]
        if len(given) > 1:
            raise self._malformed(" and ".join(given), "keep one of them")
        if not all(map(_ACCOUNT.fullmatch, _listed(said.get("impersonation_chain")))):
            raise self._malformed("impersonation_chain", _ACCOUNTS)
        missing = [key for key in _IDP if said.get("idp_issuer_url") and not said.get(key)]
        if missing:
            detail = f"{' and '.join(missing)}, beside idp_issuer_url"
            raise trouble("options", "missing", name=self.held.name, detail=detail)
        return given

    def _access(self, said: Mapping[str, Any], scopes: Sequence[str] | None) -> GoogleAccess:
        wanted = scopes or self._scopes or _listed(said.get("scope")) or (CLOUD,)
        file, document = self._key(said)
        return GoogleAccess(
            project_id=_text(said.get("project")),
            gcp_key_path=file,
            gcp_keyfile_dict=document,
            gcp_scopes=",".join(wanted),
            impersonation_chain=_listed(said.get("impersonation_chain")),
            iam_endpoint=_text(said.get("iam_endpoint")),
        )

    def _key(self, said: Mapping[str, Any]) -> tuple[Path | None, Secret[str] | None]:
        """Give the file with the credentials, or their text; neither where others are to be found."""
        path, given = said.get("key_path"), said.get("keyfile_dict")
        if path:
            return Path(str(path)), None
        if said.get("key_secret_name"):
            return None, self._kept(said)
        given = given or said.get("credential_config_file")
        if given is None:
            return None, None
        if isinstance(given, str) and not given.lstrip().startswith("{"):
            if said.get("keyfile_dict"):
                raise self._malformed("keyfile_dict", "it is the JSON that Google gave, from { to }")
            return Path(given), None  # as Airflow takes it: a path, or what would stand in that file
        return None, Secret(given if isinstance(given, str) else json.dumps(given))

    def _malformed(self, detail: str, hint: str) -> StrongroomError:
        return trouble("options", "malformed", name=self.held.name, detail=detail, hint=hint)

    def _login(self, access: GoogleAccess, supplier: object = None) -> GoogleLogin:
        return GoogleLogin(
            access,
            place=self.held.name,
            environ=self._environ,
            origins=self.origins,
            request=self.carry,
            supplier=supplier,
            is_self_signed=False,  # a key that is revoked is told at once, and databases take no other tokens
        )

    # --- a key that Secret Manager keeps ----------------------------------------------------------------

    def _kept(self, said: Mapping[str, Any]) -> Secret[str]:
        name = str(said["key_secret_name"])
        if not _SECRET_NAME.fullmatch(name):
            raise self._malformed("key_secret_name", "it is the secret's own name, without its project")
        login = self._login(GoogleAccess(gcp_scopes=CLOUD))
        credentials = self._ours(login.credentials, ())
        self._ours(lambda: credentials.refresh(self.carry), ())
        project = said.get("key_secret_project_id") or self._ours(login.project, ("key_secret_project_id",))
        base = str(said.get("secret_manager_endpoint") or _SECRETS).rstrip("/")
        path = f"/v1/projects/{quote(str(project), safe='')}/secrets/{name}/versions/latest:access"
        reply = self.carry(base + path, headers={"authorization": f"Bearer {credentials.token}"})
        found = json_in(reply.data) if reply.status == _OK else None
        payload = found.get("payload") if isinstance(found, dict) else None
        if isinstance(payload, dict):
            try:
                return Secret(base64.b64decode(str(payload.get("data") or ""), validate=True).decode())
            except (binascii.Error, UnicodeDecodeError):
                pass
        raise self._unkept(reply.status)

    def _unkept(self, status: int) -> StrongroomError:
        if status in _DENIED:
            hint = "grant roles/secretmanager.secretAccessor on the secret that key_secret_name names"
            return trouble("token", "forbidden", name=self.held.name, detail="key_secret_name", hint=hint)
        if status == _ABSENT:
            hint = "correct key_secret_name or key_secret_project_id, or add a version to that secret"
            return trouble("token", "unknown", name=self.held.name, detail="key_secret_name", hint=hint)
        return trouble("token", "malformed", name=self.held.name, detail="key_secret_name")

    # --- another identity provider ----------------------------------------------------------------------

    def _supplier(self, said: Mapping[str, Any]) -> object:
        if not said.get("idp_issuer_url"):
            return None
        more = said.get("idp_extra_params") or {}
        if isinstance(more, str):
            more = json_in(more)
        if not isinstance(more, Mapping):
            raise self._malformed("idp_extra_params", 'write it as {"name": "value"}')
        form = {
            "grant_type": "client_credentials",
            "client_id": str(said["client_id"]),
            "client_secret": str(said["client_secret"]),
            **{str(key): str(value) for key, value in more.items()},
        }
        return _Supplier(self, str(said["idp_issuer_url"]), Secret(urlencode(form)))

    def subject_token(self, url: str, form: Secret[str]) -> str:
        """
        Get a token of another identity provider, by a client's credentials (RFC 6749 §4.4).

        Raises:
            AccessDeniedError: it refuses the client.
            BackendConfigError: what it answers is no token.
        """
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        reply = self.carry(url, "POST", form.reveal(), headers)
        found = json_in(reply.data) if reply.status == _OK else None
        token = found.get("access_token") if isinstance(found, dict) else None
        if isinstance(token, str) and token:
            return token
        if reply.status in (400, *_DENIED):
            hint = "idp_issuer_url refuses the client: check client_id, client_secret and idp_extra_params"
            raise trouble("token", "credentials", name=self.held.name, hint=hint)
        raise trouble("token", "malformed", name=self.held.name, detail="idp_issuer_url")

    # --- the way out ------------------------------------------------------------------------------------

    def carry(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: object = None,
        **unused: object,
    ) -> Any:  # noqa: ANN401 -- google-auth's answer: status, headers, data
        """
        Ask one question for google-auth (`google.auth.transport.Request`).

        Raises:
            BackendUnavailableError: no answer, or one of trouble; so google-auth does not ask again.
            BackendConfigError: this machine has no identity, or the address would carry a secret in clear.
            AccessDeniedError: the account may not act as the next of the chain.
        """
        del timeout, unused  # the transport has deadlines of its own
        given = headers or {}
        host = urlsplit(url).hostname or ""
        is_machine = self._is_machine(host)
        is_secret = not is_machine and (body or any(key.lower() == "authorization" for key in given))
        if is_secret and not is_private_way(url):
            raise self._malformed("an address without TLS", "write https: what is sent there is secret")
        try:
            reply = self.origins.request(method, url, given, body)
        except BackendConfigError:
            hint = "correct token_uri, token_url or the endpoints"
            raise self._malformed("an address that cannot be asked", hint) from None
        except BackendUnavailableError as error:
            raise self._unanswered(error, is_machine=is_machine) from None
        if reply.status >= _BROKEN or reply.status == _TOO_MANY:
            raise trouble("token", "unavailable", name=self.held.name)
        if reply.status in (403, 404) and url.endswith(":generateAccessToken"):
            raise trouble("token", "forbidden", name=self.held.name, detail="impersonation", hint=_GRANT)
        return SimpleNamespace(status=reply.status, headers=reply.headers, data=reply.body)

    def _is_machine(self, host: str) -> bool:
        said = self._environ.get("GCE_METADATA_HOST")
        return host in _MACHINES if not said else host == urlsplit(f"//{said}").hostname

    def _unanswered(self, error: BackendUnavailableError, *, is_machine: bool) -> StrongroomError:
        if not is_machine:
            return trouble(*(cause_of(error) or ("token", "unavailable")), name=self.held.name)
        hint = (
            "run it where a service account is given (a machine or a pod of Google's), or fill in "
            "credential_config_file, for workload identity federation"
        )
        return trouble("token", "missing", name=self.held.name, hint=hint)

    def _ours(self, ask: Any, fields: Sequence[str]) -> Any:  # noqa: ANN401 -- of google-auth, which has no types
        """Do what google-auth does; what it raises leaves as ours, without a word of it."""
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 -- an extra, loaded when used

        name, detail = self.held.name, " and ".join(fields)
        found: StrongroomError
        try:
            return ask()
        except NotAuthenticatedError:
            found = trouble("token", "missing", name=name)
        except BackendConfigError as error:
            is_ours = hasattr(error, "step")
            found = (
                error if is_ours else trouble("options", "malformed", name=name, detail=detail, hint=_FILE)
            )
        except StrongroomError as error:
            found = error
        except GoogleAuthError:
            found = trouble("token", "credentials", name=name)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            found = trouble("token", "malformed", name=name)
        found.__context__ = found.__cause__ = None
        raise found.with_traceback(None)


class _Supplier:
    """google-auth's `SubjectTokenSupplier`: a token for each exchange, none kept."""

    def __init__(self, identity: Identity, url: str, form: Secret[str]) -> None:
        self._identity = identity
        self._url = url
        self._form = form

    def get_subject_token(self, context: object, request: object) -> str:
        """Give a token. Raises as `Identity.subject_token`."""
        del context, request
        return self._identity.subject_token(self._url, self._form)


def _text(value: object) -> str | None:
    return None if value in (None, "") else str(value)


def _listed(value: object) -> tuple[str, ...]:
    """Give the members of a list, or of a text with commas between them."""
    every = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ()
    return tuple(one for one in (str(each).strip() for each in every) if one)
