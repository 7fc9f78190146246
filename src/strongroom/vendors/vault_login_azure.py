"""
Logins of Vault or OpenBao with an identity of Azure.

Of a machine: its managed identity, from the instance metadata service, with the machine's own name, which
roles may bind. Of an application: its client id and secret, as Airflow's words `key_id` and `secret_id`.

Source: auth/azure of HashiCorp's Vault; "Azure Instance Metadata Service" and "OAuth 2.0 client credentials
flow" of Microsoft.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from strongroom.errors import BackendUnavailableError, NotAuthenticatedError, StrongroomError
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in
from strongroom.vendors.vault_answer import member
from strongroom.vendors.vault_login import Credential, Posted, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.origins import Origins
    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault_login import Ask

__all__ = ["RESOURCE", "AzureApplication", "AzureMachine"]

RESOURCE = "https://management.azure.com/"
"""Whom the token is made for, where the server was configured with nothing else."""

_IMDS = "http://169.254.169.254"
_AUTHORITY = "https://login.microsoftonline.com"
_IDENTITY_VERSION, _INSTANCE_VERSION = "2018-02-01", "2021-05-01"
_FORM = "application/x-www-form-urlencoded"
_OK, _REFUSED = 200, (400, 401, 403, 404)


class _Azure(Posted):
    """What both have: a role, a resource, and somebody of Azure's to be asked."""

    def __init__(
        self, place: str, *, mount: str, role: str, resource: str, origins: Origins, url: str
    ) -> None:
        super().__init__(place, method="azure", mount=mount)
        self.remedy = (
            f"check backend.{place}.role_id and what it binds, azure_resource (as the server's auth/{mount}/"
            "config has it), and auth_mount_point"
        )
        self._role = role
        self._resource = resource
        self._origins = origins
        self._url = url.rstrip("/")

    def close(self) -> None:
        self._origins.close()

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        jwt = checked(self._jwt(), self._place, "identity_url")
        return {"role": self._role, "jwt": jwt, **self._machine()}

    @abstractmethod
    def _jwt(self) -> Secret[str]:
        """Give the token of Azure."""

    def _machine(self) -> Mapping[str, str]:
        """Tell which machine this is, in the words of the login."""
        return {}

    def _token(self, reply: Reply, what: str, hint: str) -> Secret[str]:
        if reply.status in _REFUSED:
            raise NotAuthenticatedError(f"{what} the backend {self._place}", hint=hint)
        if reply.status != _OK:
            raise self._trouble(f"with the status {reply.status}")
        found = member(json_in(reply.body), str, "access_token")
        if found is None:
            raise self._trouble("in another shape")
        return Secret(found)

    def _trouble(self, how: str) -> StrongroomError:
        return BackendUnavailableError(
            f"Azure answered the backend {self._place} {how}",
            backend=self._place,
            hint=f"check backend.{self._place}.identity_url",
        )


class AzureMachine(_Azure):
    """
    A machine of Azure with a managed identity.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        role: which role of the server.
        resource: whom the token is made for.
        origins: carries questions to the metadata service.
        client_id: which identity, where the machine has several.
        metadata: where the metadata service is.
    """

    def __init__(  # noqa: PLR0913 -- as `_Azure`
        self,
        place: str,
        *,
        mount: str,
        role: str,
        resource: str,
        origins: Origins,
        client_id: str | None = None,
        metadata: str | None = None,
    ) -> None:
        super().__init__(
            place, mount=mount, role=role, resource=resource, origins=origins, url=metadata or _IMDS
        )
        self._client_id = client_id

    def _jwt(self) -> Secret[str]:
        asked = {"api-version": _IDENTITY_VERSION, "resource": self._resource}
        if self._client_id is not None:
            asked["client_id"] = self._client_id
        reply = self._asked("/metadata/identity/oauth2/token", asked)
        return self._token(
            reply,
            "the metadata service has no identity for",
            "give the machine a managed identity, or set azure_tenant_id, key_id and secret_id",
        )

    def _machine(self) -> Mapping[str, str]:
        reply = self._asked("/metadata/instance/compute", {"api-version": _INSTANCE_VERSION})
        found = json_in(reply.body) if reply.status == _OK else None
        words = {
            "subscription_id": "subscriptionId",
            "resource_group_name": "resourceGroupName",
            "vm_name": "name",
            "vmss_name": "vmScaleSetName",
        }
        told = {ours: member(found, str, theirs) for ours, theirs in words.items()}
        if told["vmss_name"]:  # a machine of a set is known by the set
            told["vm_name"] = None
        return {word: text for word, text in told.items() if text}

    def _asked(self, path: str, asked: Mapping[str, str]) -> Reply:
        query = urlencode(asked, quote_via=quote, safe="")
        return self._origins.request("GET", f"{self._url}{path}?{query}", {"Metadata": "true"})


class AzureApplication(_Azure):
    """
    An application of Azure's directory.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        role: which role of the server.
        resource: whom the token is made for.
        origins: carries questions to the directory.
        tenant: of the directory.
        client_id: of the application.
        secret: gives its secret; fetched again when it is refused.
        authority: where the directory is.

    Raises:
        SettingsError: the secret cannot be fetched.
    """

    def __init__(  # noqa: PLR0913 -- as `_Azure`, and who
        self,
        place: str,
        *,
        mount: str,
        role: str,
        resource: str,
        origins: Origins,
        tenant: str,
        client_id: str,
        secret: Callable[[], Secret[str]],
        authority: str | None = None,
    ) -> None:
        super().__init__(
            place, mount=mount, role=role, resource=resource, origins=origins, url=authority or _AUTHORITY
        )
        self._tenant = tenant
        self._client_id = client_id
        self._secret = Credential(secret)

    def _jwt(self) -> Secret[str]:
        reply = self._posted()
        if reply.status in _REFUSED and self._secret.fetch_again():
            reply = self._posted()
        return self._token(
            reply,
            "Azure's directory refused the application of",
            f"check backend.{self._place}.azure_tenant_id, key_id and secret_id (it may have expired)",
        )

    def _posted(self) -> Reply:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            # A resource that ends in "/" keeps it, so that the token is for just that audience.
            "scope": f"{self._resource}/.default",
        }
        body = Secret(urlencode({**form, "client_secret": self._secret.value.reveal()}).encode())
        url = f"{self._url}/{quote(self._tenant, safe='')}/oauth2/v2.0/token"
        return self._origins.request("POST", url, {"Content-Type": _FORM}, body)
