"""
Logins of Vault or OpenBao with an identity of Google Cloud.

Of a machine (the server's role is of the type `gce`): the metadata server signs who it is, and nothing of
Google's is installed. Of a service account (`iam`): IAM signs a token in its name (`signJwt`), as Airflow's
VaultBackend has it, with the account's key file or as the account of the machine.

Source: auth/gcp of HashiCorp's Vault; "Verify the identity of VMs" and "serviceAccounts.signJwt" of Google.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import member
from strongroom.vendors.vault_login import Posted, checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.vendors.origins import Origins
    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault_login import Ask

__all__ = ["GoogleAccount", "GoogleKey", "GoogleMachine", "KeyedAccount", "MachineAccount"]

METADATA = "http://metadata.google.internal"
_IAM = "https://iamcredentials.googleapis.com"
_ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
_FLAVOR = {"Metadata-Flavor": "Google"}
_SIGNED_SECONDS = 900  # the longest the server takes
_OK, _REFUSED = 200, (400, 401, 403, 404)
_WAIT, _BROKEN = (408, 429), 500


class _Google(Posted):
    """What both types have: a role, and somebody of Google's to be asked."""

    def __init__(self, place: str, *, mount: str, role: str, origins: Origins) -> None:
        super().__init__(place, method="gcp", mount=mount)
        self.remedy = (
            f"check backend.{place}.role_id, its type (gce for machines, iam for service accounts), who it "
            "binds, auth_mount_point, and the clock"
        )
        self._role = role
        self._origins = origins

    def close(self) -> None:
        self._origins.close()

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        return {"role": self._role, "jwt": checked(self._jwt(), self._place, "role_id")}

    @abstractmethod
    def _jwt(self) -> Secret[str]:
        """Give the signed token."""


class GoogleMachine(_Google):
    """
    A machine of Google Cloud.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        role: which role of the server.
        origins: carries questions to the metadata server.
        metadata: where that is.
    """

    def __init__(
        self, place: str, *, mount: str, role: str, origins: Origins, metadata: str | None = None
    ) -> None:
        super().__init__(place, mount=mount, role=role, origins=origins)
        self._metadata = _Metadata(place, origins, metadata or METADATA)

    def _jwt(self) -> Secret[str]:
        query = urlencode({"audience": f"vault/{self._role}", "format": "full"}, quote_via=quote, safe="")
        return self._metadata.text(f"/identity?{query}")


class GoogleAccount(_Google):
    """
    A service account of Google Cloud, in whose name IAM signs.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        role: which role of the server.
        origins: carries questions to Google.
        account: which service account, and what it asks IAM with.
        iam: where IAM is.
        now: seconds since 1970.
    """

    def __init__(  # noqa: PLR0913 -- as `_Google`, and what signs
        self,
        place: str,
        *,
        mount: str,
        role: str,
        origins: Origins,
        account: KeyedAccount | MachineAccount,
        iam: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(place, mount=mount, role=role, origins=origins)
        self._account = account
        self._iam = iam or _IAM
        self._now = now

    def _jwt(self) -> Secret[str]:
        email, token = self._account.identify()
        claims = {
            "sub": email,
            "aud": f"vault/{self._role}",
            "exp": int(self._now()) + _SIGNED_SECONDS,
        }
        url = f"{self._iam.rstrip('/')}/v1/projects/-/serviceAccounts/{quote(email, safe='')}:signJwt"
        reply = self._origins.request(
            "POST",
            url,
            {"Authorization": Secret(f"Bearer {token.reveal()}"), "Content-Type": "application/json"},
            json.dumps({"payload": json.dumps(claims)}),
            is_repeatable=True,  # another signature takes nothing from the first
        )
        if reply.status != _OK:
            raise _refused(
                self._place,
                reply.status,
                "IAM signs nothing for the service account of",
                hint="grant it roles/iam.serviceAccountTokenCreator on itself, and enable that API",
            )
        found = member(_json(reply), str, "signedJwt")
        if found is None:
            raise _misshapen(self._place)
        return Secret(found)


@dataclass(frozen=True, slots=True)
class GoogleKey:
    """
    A credential file of Google's: of a service account, or of a federated identity that acts as one.

    Args:
        path: of the file.
        table: what would stand in it, in its place; secrets in it as Secret.
        text: likewise, as JSON that is fetched.
    """

    path: Path | None = None
    table: Mapping[str, object] | None = None
    text: Callable[[], Secret[str]] | None = None


class KeyedAccount:
    """
    The account of a credential file.

    Args:
        place: the backend's name, for messages.
        key: the file.
        scopes: what its token may be used for.
        origins: carries questions to Google.

    Raises:
        BackendConfigError: Google's library is not installed.
    """

    def __init__(self, place: str, key: GoogleKey, *, scopes: Sequence[str], origins: Origins) -> None:
        try:
            import google.auth  # noqa: F401, PLC0415 -- asked for at the start, so that it is missed there
        except ImportError:
            raise BackendConfigError(
                f"the backend {place} signs in with a key of Google's, which takes Google's library",
                hint='pip install "strongroom[gcp]"',
            ) from None
        self._place = place
        self._setting = "gcp_keyfile_dict" if key.path is None else "gcp_key_path"
        self._key = key
        self._scopes = tuple(scopes)
        self._origins = origins
        self._credentials: Any = None

    def identify(self) -> tuple[str, Secret[str]]:
        """
        Give the account's email, and a token of it.

        Raises:
            BackendConfigError: the file is none that Google's library can use, or names no account.
            NotAuthenticatedError: Google refuses it.
            BackendUnavailableError: no answer.
        """
        credentials = self._loaded()
        email = getattr(credentials, "service_account_email", None)
        if not isinstance(email, str) or "@" not in email:
            raise self._wrong("names no service account")
        failure = ""
        try:
            if not credentials.valid:
                credentials.refresh(_Carried(self._place, self._origins))
        except StrongroomError:
            raise
        except Exception as error:  # noqa: BLE001 -- errors of the library quote answers
            failure = type(error).__name__
        if failure:
            raise NotAuthenticatedError(
                f"Google refused the key of the backend {self._place} ({failure})",
                hint=f"check backend.{self._place}.{self._setting}: it may be revoked, or the clock wrong",
            )
        return email, Secret(str(credentials.token))

    def _loaded(self) -> Any:  # noqa: ANN401 -- a class of the library's, whichever the file means
        if self._credentials is not None:
            return self._credentials
        from google.auth import load_credentials_from_dict  # noqa: PLC0415 -- as above

        table = self._table()
        failure = ""
        try:
            self._credentials, _ = load_credentials_from_dict(  # type: ignore[no-untyped-call]
                table, scopes=list(self._scopes)
            )
        except Exception as error:  # noqa: BLE001 -- they quote the key
            failure = type(error).__name__
        if failure:
            raise self._wrong(f"is none that Google's library takes ({failure})")
        return self._credentials

    def _table(self) -> dict[str, object]:
        if self._key.table is not None:
            return {key: _opened(value) for key, value in self._key.table.items()}
        try:
            text = self._key.text().reveal() if self._key.text is not None else self._read()
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._wrong("is no JSON object")
        return found

    def _read(self) -> str:
        assert self._key.path is not None  # noqa: S101 -- one of the three is given
        try:
            return self._key.path.read_text("utf-8")
        except OSError as error:
            reason = type(error).__name__
        raise self._wrong(f"cannot be read ({reason})")

    def _wrong(self, what: str) -> BackendConfigError:
        return BackendConfigError(
            f"the key of Google's of the backend {self._place} {what}",
            hint=f"check backend.{self._place}.{self._setting}",
        )


def _opened(value: object) -> object:
    if isinstance(value, dict):
        return {key: _opened(item) for key, item in value.items()}
    return value.reveal() if isinstance(value, Secret) else value


class MachineAccount:
    """
    The service account of this machine or pod.

    Args:
        place: the backend's name, for messages.
        origins: carries questions to the metadata server.
        metadata: where that is.
    """

    def __init__(self, place: str, *, origins: Origins, metadata: str | None = None) -> None:
        self._place = place
        self._metadata = _Metadata(place, origins, metadata or METADATA)

    def identify(self) -> tuple[str, Secret[str]]:
        """
        Give the account's email, and a token of it.

        Raises:
            NotAuthenticatedError: it has none.
            BackendUnavailableError: no answer.
        """
        email = self._metadata.text("/email").reveal()
        found = member(_parsed(self._metadata.text("/token").reveal()), str, "access_token")
        if found is None or "@" not in email:
            raise _misshapen(self._place)
        return email, Secret(found)


class _Metadata:
    """Ask the metadata server about the default service account."""

    def __init__(self, place: str, origins: Origins, url: str) -> None:
        self._place = place
        self._origins = origins
        self._url = url.rstrip("/") + _ACCOUNT

    def text(self, what: str) -> Secret[str]:
        reply = self._origins.request("GET", self._url + what, _FLAVOR)
        if reply.status != _OK:
            raise _refused(
                self._place,
                reply.status,
                "the metadata server has no service account for",
                hint="give the machine or pod one, or set gcp_key_path",
            )
        if reply.headers.get("metadata-flavor") != "Google":
            raise _misshapen(self._place)
        return Secret(reply.body.decode("ascii", "replace").strip())


class _Carried:
    """What Google's library asks with: `google.auth.transport.Request`, over the one transport."""

    def __init__(self, place: str, origins: Origins) -> None:
        self._place = place
        self._origins = origins

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_more: object,  # its own time-out: the transport's is shorter
    ) -> _Answer:
        # Asking for a token twice makes two: neither is spent.
        reply = self._origins.request(method, url, headers or {}, body)
        if reply.status in _WAIT or reply.status >= _BROKEN:  # the library would sleep and ask again
            raise _refused(self._place, reply.status, "", hint="")
        return _Answer(reply)


class _Answer:
    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.data = reply.body


def _parsed(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json(reply: Reply) -> object:
    return _parsed(reply.body)


def _refused(place: str, status: int, what: str, *, hint: str) -> StrongroomError:
    if status in _REFUSED:
        return NotAuthenticatedError(f"{what} the backend {place}", hint=hint)
    return BackendUnavailableError(
        f"Google answered the backend {place} with the status {status}", backend=place
    )


def _misshapen(place: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"Google answered the backend {place} in another shape",
        backend=place,
        hint=f"check backend.{place}.identity_url: what answers there may be no metadata server",
    )
