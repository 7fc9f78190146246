"""
One Azure Key Vault: its secrets, their versions, and those that were deleted softly.

Not for what stands in a secret or how it is named (`backends/azure_key_vault.py`), nor for logging in
(`azure.py`). The SDK authenticates by the vault's challenge; it retries, redirects and parses nothing here.

Rules of this file:

1. A token goes to the vault's own origin. Before one is got, the resource that the challenge names must be a
   domain of the vault's name, unless that check is switched off; so no other host can ask for a token.
2. A client of the SDK keeps its token in a field that another thread may empty, so no two threads share one.
3. Pages are followed within the vault and to an end.

Source: the REST API of Key Vault (2026-04-01); azure-keyvault-secrets 4.12, run against a strict fake.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from strongroom.bulkhead import seconds_left
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    StrongroomError,
)
from strongroom.vendors.azure import origin_of
from strongroom.vendors.azure_answer import code_of, item_of, misshapen, no_vault, opened, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
    from azure.keyvault.secrets import SecretClient

    from strongroom.vendors.azure import AzureSession
    from strongroom.vendors.azure_answer import SecretItem
    from strongroom.vendors.http1 import Reply

__all__ = ["KeyVault", "check_url"]

T = TypeVar("T")

_OK, _LOGIN, _DENIED, _ABSENT, _CONFLICT = 200, 401, 403, 404, 409
_PAGE = 25  # names, the most a vault gives at once
_MAX_PAGES = 8_000  # of one listing: 200,000 names
_WAITS = (0.05, 0.1, 0.2, 0.4)  # seconds between looks at what a vault does on its own; the last repeats
_PATIENCE = 20.0  # seconds for that, where the caller sets no limit
_HASTE = 1.0  # seconds before a caller's limit at which he is told rather than waited for
_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def check_url(place: str, url: str) -> str:
    """
    Give the origin of the vault at *url*.

    Raises:
        BackendConfigError: it is none.
    """
    origin = origin_of(url)
    rest = url[len("https://") :].partition("/")[2] if origin.startswith("https://") else "none"
    if rest or "?" in url or "#" in url:
        raise BackendConfigError(
            f"backend.{place}.vault_url is not the address of a vault",
            hint="write https://<vault>.vault.azure.net, nothing after it",
        )
    return origin


class KeyVault:
    """
    Ask one vault.

    Args:
        session: who we are, and how bytes travel. Not closed here.
        place: the backend's name, for messages.
        url: `https://<vault>.vault.azure.net`.
        api_version: of Key Vault, or None for the SDK's own.
        verify_challenge: whether a challenge must name a domain of the vault's.

    Attributes:
        place: as given.

    Threads: may be used from several threads at once, and after a fork.

    Raises:
        BackendConfigError: the url is no vault's.
    """

    def __init__(
        self,
        session: AzureSession,
        place: str,
        url: str,
        *,
        api_version: str | None = None,
        verify_challenge: bool = True,
    ) -> None:
        self._session = session
        self.place = place
        self._url = check_url(place, url)
        self._keywords: dict[str, Any] = {"verify_challenge_resource": verify_challenge}
        if api_version:
            self._keywords["api_version"] = api_version
        self._clients: dict[int, deque[SecretClient]] = {}  # by process id: at rest
        self._first: dict[int, threading.Event] = {}  # likewise: of whoever asks before all others

    @property
    def is_circuit_open(self) -> bool:
        """Whether this vault is not asked for a while, because it failed; others may be."""
        return self._session.origins.at(self._url).is_circuit_open

    # --- one secret ---

    def get(self, name: str, version: str = "") -> SecretItem | None:
        """
        Give a version of a secret, the current one unless said; None when there is none.

        Where a version may not be read because it is disabled or outside its dates, `value` is None.

        Raises:
            AccessDeniedError, NotAuthenticatedError, BackendConfigError, BackendUnavailableError,
            RateLimitedError: as their names say.
        """
        reply = self.request("GET", f"/secrets/{name}/{version}" if version else f"/secrets/{name}")
        if reply.status == _OK:
            return self._asked_for(name, version, item_of(opened(reply, self.place), self.place))
        if _is_absent(reply):
            return None
        disabled = _CLOSED.get(code_of(reply)) if reply.status == _DENIED else None
        if disabled is None:
            raise refusal(self.place, "get", f"the secret {name}", reply)
        return item_of({"id": f"{self._url}/secrets/{name}/{version}".rstrip("/"), **disabled}, self.place)

    def _asked_for(self, name: str, version: str, item: SecretItem) -> SecretItem:
        if item.name.lower() != name.lower() or version.lower() not in ("", item.version.lower()):
            raise misshapen(self.place)
        return item

    def set(self, name: str, body: Mapping[str, object]) -> SecretItem:
        """
        Write a new version of a secret.

        Raises:
            ConflictError: the name is held by a secret that was deleted softly.
            Otherwise as `get`.
        """
        reply = self.request("PUT", f"/secrets/{name}", body=body)
        if reply.status == _OK:
            return item_of(opened(reply, self.place), self.place)
        code = code_of(reply)
        if reply.status == _CONFLICT and code == "ObjectIsDeletedButRecoverable":
            raise ConflictError(
                f"the secret {name} of the backend {self.place} was deleted and still holds its name",
                hint="recover it (undelete), or purge it",
            )
        if reply.status == _CONFLICT:
            raise self._busy(name)
        raise refusal(self.place, "set", f"the secret {name}", reply)

    def delete(self, name: str) -> bool:
        """Delete a secret softly, all its versions, and tell whether there was one. Raises as `get`."""
        reply = self.request("DELETE", f"/secrets/{name}")
        if _is_absent(reply):
            return False
        if reply.status == _CONFLICT:
            raise self._busy(name)
        if reply.status != _OK:
            raise refusal(self.place, "delete", f"the secret {name}", reply)
        return True

    def deleted(self, name: str) -> SecretItem | None:
        """Give what is known of a secret that was deleted softly, without its value. Raises as `get`."""
        reply = self.request("GET", f"/deletedsecrets/{name}")
        if _is_absent(reply):
            return None
        if reply.status != _OK:
            raise refusal(self.place, "get", f"the deleted secret {name}", reply)
        return item_of(opened(reply, self.place), self.place)

    def recover(self, name: str) -> SecretItem | None:
        """
        Bring a softly deleted secret back, wait until it can be read, and give it; None when there is none.

        Raises:
            BackendUnavailableError: it is still being recovered when the caller's time ends.
            Otherwise as `get`.
        """
        reply = self._settled(lambda: self.request("POST", f"/deletedsecrets/{name}/recover", body={}), name)
        if _is_absent(reply):
            return None
        if reply.status != _OK:
            raise refusal(self.place, "recover", f"the secret {name}", reply)
        return self._until(partial(self.get, name), name)

    def purge(self, name: str) -> None:
        """Do away with a softly deleted secret for good, once it is deleted. Raises as `recover`."""
        self._until(partial(self.deleted, name), name)
        reply = self._settled(lambda: self.request("DELETE", f"/deletedsecrets/{name}"), name)
        if reply.status not in (_OK, 204):
            raise refusal(self.place, "purge", f"the secret {name}", reply)

    def _settled(self, ask: Callable[[], Reply], name: str) -> Reply:
        """Ask until the vault is not at work on the secret any more."""

        def settled() -> Reply | None:
            reply = ask()
            return None if reply.status == _CONFLICT else reply

        return self._until(settled, name)

    def _until(self, look: Callable[[], T | None], name: str) -> T:
        """Give the first answer of *look* that is not None."""
        ends_at = time.monotonic() + min(_PATIENCE, (seconds_left() or _PATIENCE) - _HASTE)
        for turn in range(1_000):
            found = look()
            if found is not None:
                return found
            if time.monotonic() > ends_at:
                break
            time.sleep(_WAITS[min(turn, len(_WAITS) - 1)])
        raise self._busy(name)

    def _busy(self, name: str) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the vault of the backend {self.place} is still deleting or recovering the secret {name}",
            backend=self.place,
            hint="do it again in some seconds: that is safe",
        )

    # --- lists ---

    def versions(self, name: str) -> Iterator[SecretItem]:
        """Give every version of a secret, without values, in no order; nothing when there is no secret."""
        return self._pages(f"/secrets/{name}/versions", f"the versions of the secret {name}")

    def every(self) -> Iterator[SecretItem]:
        """Give every secret of the vault, without values, in no order. Raises as `get`."""
        return self._pages("/secrets", "secrets")

    def every_deleted(self) -> Iterator[SecretItem]:
        """Give every softly deleted secret, without values. Raises as `get`."""
        return self._pages("/deletedsecrets", "deleted secrets")

    def may_list(self) -> None:
        """Ask for one name. Raises as `get`."""
        self._page(f"/secrets?{urlencode({'maxresults': 1})}", "secrets")

    def _pages(self, path: str, what: str) -> Iterator[SecretItem]:
        url = f"{path}?{urlencode({'maxresults': _PAGE})}"
        seen: set[str] = set()
        while url:
            items, url = self._page(url, what)
            yield from items
            if url in seen or len(seen) >= _MAX_PAGES:
                raise misshapen(self.place)
            seen.add(url)

    def _page(self, url: str, what: str) -> tuple[list[SecretItem], str]:
        reply = self.request("GET", url)
        if _is_absent(reply):
            return [], ""
        if reply.status != _OK:
            raise refusal(self.place, "list", what, reply)
        page = opened(reply, self.place)
        items, more = page.get("value") or [], page.get("nextLink") or ""
        if not isinstance(items, list) or not isinstance(more, str):
            raise misshapen(self.place)
        if more and origin_of(more) != self._url:
            raise misshapen(self.place)
        return [item_of(item, self.place) for item in items], more

    # --- asking ---

    def request(self, method: str, path: str, *, body: Mapping[str, object] | None = None) -> Reply:
        """
        Ask the vault once, with a token, and give the answer; after a 401 once more with a new token.

        Args:
            method: `GET`, `PUT`, `POST` or `DELETE`.
            body: sent as JSON.
            path: below the vault's url, escaped, with its query but without `api-version`; or a whole url.

        Raises:
            NotAuthenticatedError, BackendConfigError: no token can be had for this vault, and why.
            BackendUnavailableError, RateLimitedError: no answer.
        """
        reply = self._asked(method, path, body)
        if reply.status == _LOGIN and self._session.login.forget():
            self._clients.pop(os.getpid(), None)
            return self._asked(method, path, body)
        return reply

    def _asked(self, method: str, path: str, body: Mapping[str, object] | None) -> Reply:
        process = os.getpid()
        if process not in self._clients:
            # The first goes alone: what the vault wants to be asked with is learnt once, not by every thread.
            # Where it learns nothing, those who waited for it ask together.
            mine = threading.Event()
            first = self._first.setdefault(process, mine)
            if first is mine:
                return self._asked_first(mine, method, path, body)
            first.wait(seconds_left())
        return self._asked_by(self._clients.setdefault(process, deque()), method, path, body)

    def _asked_first(
        self, learnt: threading.Event, method: str, path: str, body: Mapping[str, object] | None
    ) -> Reply:
        rest: deque[SecretClient] = deque()
        process = os.getpid()
        try:
            reply = self._asked_by(rest, method, path, body)
            self._clients[process] = rest
            return reply
        finally:
            self._first.pop(process, None)
            learnt.set()

    def _asked_by(
        self, rest: deque[SecretClient], method: str, path: str, body: Mapping[str, object] | None
    ) -> Reply:
        """Ask with a client at rest, or a new one."""
        try:
            client = rest.pop()
        except IndexError:
            client = self._client()
        try:
            return self._exchanged(client, method, path, body)
        finally:
            rest.append(client)

    def _exchanged(
        self, client: SecretClient, method: str, path: str, body: Mapping[str, object] | None
    ) -> Reply:
        from azure.core.rest import HttpRequest  # noqa: PLC0415 -- loaded with the client

        data = None if body is None else json.dumps(body).encode()
        headers = {"accept": "application/json"}
        if data is not None:
            headers["content-type"] = "application/json"
        trouble: StrongroomError
        try:
            answer: Any = client.send_request(HttpRequest(method, path, headers=headers, content=data))
        except StrongroomError as caught:
            trouble = caught
        except ValueError:  # the SDK's word for a challenge of another resource
            trouble = self._foreign_challenge()
        except Exception as caught:  # noqa: BLE001 -- the SDK's errors quote requests
            trouble = self._unknown(caught)
        else:
            reply: Reply = answer.reply
            return reply
        trouble.__context__ = None
        raise trouble.with_traceback(None)

    def _unknown(self, error: Exception) -> StrongroomError:
        if type(error).__name__ == "DecodeError":
            return misshapen(self.place)
        if isinstance(error, IndexError):  # what an elder SDK makes of a challenge without parameters
            return no_vault(self.place)
        return BackendUnavailableError(
            f"the backend {self.place} failed with {type(error).__name__}", backend=self.place
        )

    def _foreign_challenge(self) -> BackendConfigError:
        return BackendConfigError(
            f"what answers at the vault_url of the backend {self.place} asks for a token of another "
            "service; none was sent",
            hint="check vault_url; in a private cloud whose vaults ask so, "
            "set verify_challenge_resource = false",
        )

    def _client(self) -> SecretClient:
        from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 -- 0.3 s, for those who ask

        return SecretClient(
            self._url,
            _Tenanted(self._session, self.place),
            transport=self._session.carrier(self._url),
            retry_total=0,
            permit_redirects=False,
            **self._keywords,
        )


def _is_absent(reply: Reply) -> bool:
    """Tell whether a vault says that it has no such secret; a gateway's 404 says nothing of that."""
    return reply.status == _ABSENT and code_of(reply) == "SecretNotFound"


# What a vault says of a secret that it gives no value of, as attributes.
_CLOSED: dict[str, dict[str, object]] = {
    "SecretDisabled": {"attributes": {"enabled": False}},
    "SecretExpired": {"attributes": {"exp": 1}},
    "SecretNotYetValid": {"attributes": {"nbf": 253_402_300_799}},
}


class _Tenanted:
    """The session's login, as a vault asks it: which must be of the tenant that logs in."""

    def __init__(self, session: AzureSession, place: str) -> None:
        self._session = session
        self._place = place

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        asked, ours = (options or {}).get("tenant_id"), self._session.tenant
        if asked and _TENANT.fullmatch(ours) and _TENANT.fullmatch(asked) and asked.lower() != ours.lower():
            raise BackendConfigError(
                f"the vault of the backend {self._place} is of another tenant than the one that logs in",
                hint=f"set the tenant of the vault as backend.{self._place}.tenant_id, or check vault_url",
            )
        # Not handed on: the login knows its tenant, which may be set by a domain and not by an id.
        kept: TokenRequestOptions = {"enable_cae": True}
        claims = (options or {}).get("claims")
        if claims:
            kept["claims"] = claims
        return self._session.login.get_token_info(*scopes, options=kept)

    def get_token(self, *scopes: str, **options: Any) -> Any:  # noqa: ANN401 -- as azure-core names it
        return self._session.login.get_token(*scopes, **options)
