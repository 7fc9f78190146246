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
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in
from strongroom.vendors.vault_answer import member
from strongroom.vendors.vault_login import Posted, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.vendors.google_login import GoogleLogin
    from strongroom.vendors.origins import Origins
    from strongroom.vendors.vault_login import Ask

__all__ = ["GoogleAccount", "GoogleMachine", "account_login"]

METADATA = "http://metadata.google.internal"
_IAM = "https://iamcredentials.googleapis.com"
_ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
_FLAVOR = {"Metadata-Flavor": "Google"}
_SIGNED_SECONDS = 900  # the longest the server takes
_OK, _REFUSED = 200, (400, 401, 403, 404)


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
        return {"role": self._role, "jwt": checked(self._jwt(), self._place, "identity_url")}

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
        account: GoogleLogin,
        iam: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(place, mount=mount, role=role, origins=origins)
        self._account = account
        self._iam = iam or _IAM
        self._now = now

    def _jwt(self) -> Secret[str]:
        email, token = self._account.identity(), self._account.token().text
        if "@" not in email:
            raise BackendConfigError(
                f"the credentials of Google's of the backend {self._place} name no service account",
                hint="use a service account's key, or a federation that acts as one",
            )
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
        found = member(json_in(reply.body), str, "signedJwt")
        if found is None:
            raise _misshapen(self._place)
        return Secret(found)


def account_login(
    place: str,
    origins: Origins,
    *,
    path: Path | None,
    key: Callable[[], Secret[str]] | Secret[str] | Mapping[str, object] | None,
    scopes: tuple[str, ...] | str | None,
    metadata: str | None,
) -> GoogleLogin:
    """
    Give the login of a service account: of a credential file, or where none is said of this machine.

    Args:
        place: the backend's name, for messages.
        origins: carries questions to Google.
        path: of the file.
        key: what would stand in it, as a table or as JSON text; secrets in a table as Secret.
        scopes: of its tokens; text with commas, or a list.
        metadata: where the metadata server is.

    Raises:
        BackendConfigError: Google's library is not installed, or too much is said.
    """
    if not _has_library():
        raise BackendConfigError(
            f"the backend {place} signs in by a service account of Google's, which takes Google's library",
            hint='pip install "strongroom[gcp]"',
        )
    from strongroom.vendors.google_login import GoogleAccess, GoogleLogin  # noqa: PLC0415 -- as the caller

    said = scopes if scopes is None or isinstance(scopes, str) else ",".join(scopes)
    access = GoogleAccess(gcp_key_path=path, gcp_keyfile_dict=key, gcp_scopes=said)
    # Nothing of the environment: what is not said is the machine's.
    environ = {} if metadata is None else {"GCE_METADATA_HOST": urlsplit(metadata).netloc}
    return GoogleLogin(access, place=place, environ=environ, origins=origins)


def _has_library() -> bool:
    try:
        return find_spec("google.auth") is not None
    except ModuleNotFoundError:  # not even `google`
        return False


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
