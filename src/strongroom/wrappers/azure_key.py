"""
An outer key in an Azure Key Vault, or in a Managed HSM.

It protects against the theft of the whole host at rest: the private half never leaves the vault, whose log
tells of each use, and disabling it closes the store for whoever starts anew.

Rules of this file:

1. The key is an RSA key, and what it wraps (RSA-OAEP-256) is bound to nothing. So it wraps a key drawn for
   this one purpose, and that wraps ours under the context, here.
2. Whoever has the public half can wrap: the vault gives it to whoever may read its keys. Who may do that, and
   change the store, can put a store of his own in its place; not read what is in yours.
3. The version that wrapped stands in the blob, and says which version is asked to unwrap, of the key that the
   settings name and of no other.

Source: the REST API of Key Vault (2026-04-01), "Wrap Key" and "Unwrap Key"; run against a strict fake.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strongroom.crypto import wrapping
from strongroom.crypto.remote import RemoteWrapper, Wrapped
from strongroom.errors import AccessDeniedError, BackendConfigError
from strongroom.vendors.azure import AzureAccess, AzureSession
from strongroom.vendors.azure_answer import code_of, misshapen, opened, refusal
from strongroom.vendors.azure_vault import KeyVault, check_url
from strongroom.vendors.sessions import access_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.errors import StrongroomError
    from strongroom.vendors.http1 import Reply
    from strongroom.vendors.sessions import Sessions

__all__ = ["WRAPPER", "AzureKeyOptions", "AzureKeyWrapper"]

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}", re.ASCII)
_VERSION = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ALGORITHM = "RSA-OAEP-256"
_KEY_BYTES = 32
_SIZE = 2  # bytes that say how long what the vault wrapped is
_OK, _BAD, _DENIED, _ABSENT = 200, 400, 403, 404


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureKeyOptions(AzureAccess):
    """
    Which key; how to log in is `AzureAccess`.

    Args:
        vault_url: `https://<vault>.vault.azure.net` or `https://<hsm>.managedhsm.azure.net`.
        key: its name, without a version: the newest wraps.
        verify_challenge_resource: False where a private cloud's vaults ask for tokens of another domain.
    """

    vault_url: str
    key: str
    verify_challenge_resource: bool = True


class AzureKeyWrapper(RemoteWrapper):
    """
    Wrap with an RSA key of a Key Vault.

    Args:
        options: which, and how it is asked.
        sessions: what it shares a login with.
        environ: where credentials are found that are not said.

    Raises:
        BackendConfigError: the options name no vault or no key.
    """

    kind = "azure_key"
    options_type: ClassVar[type[AzureKeyOptions]] = AzureKeyOptions
    needs_sessions: ClassVar[bool] = True
    needs_environ: ClassVar[bool] = True

    def __init__(self, options: AzureKeyOptions, *, sessions: Sessions, environ: Mapping[str, str]) -> None:
        if not _NAME.fullmatch(options.key):
            raise BackendConfigError(
                "store.wrappers.key is no name of a key in a vault",
                hint='key = "strongroom"; the vault stands in vault_url',
            )
        self.name = options.key
        try:
            origin = check_url(self.kind, options.vault_url)
        except BackendConfigError as error:
            raise self._meant(error) from None
        self._options = options
        self.name = f"{origin.partition('://')[2].partition('.')[0]}/{options.key}"
        self._sessions = sessions
        self._environ = environ
        self._vault: KeyVault | None = None

    def close(self) -> None:
        self._vault = None
        self._sessions.release(self)

    def _wrapped(self, key: bytes, bound: bytes) -> Wrapped:
        version = self._newest()
        once = wrapping.draw_key()
        held = self._used("wrapkey", version, once)
        body = len(held).to_bytes(_SIZE, "big") + held + wrapping.wrap_under(once, key, context=bound)
        return Wrapped(version, body)

    def _unwrapped(self, found: Wrapped, bound: bytes) -> bytes:
        size = _SIZE + int.from_bytes(found.body[:_SIZE], "big")
        if not _VERSION.fullmatch(found.detail) or len(found.body) <= size:
            raise self.another("what is stored is nothing that it wrapped")
        once = self._used("unwrapkey", found.detail, found.body[_SIZE:size])
        if len(once) != _KEY_BYTES:
            raise self.another("it is another key, or what is stored was changed")
        return wrapping.unwrap_under(once, found.body[size:], context=bound)

    def _newest(self) -> str:
        reply = self._asked("GET", f"/keys/{self._options.key}", None)
        found = opened(reply, self.kind).get("key") if reply.status == _OK else None
        if reply.status != _OK:
            raise self._refused(reply, "get")
        kid = found.get("kid") if isinstance(found, dict) else None
        version = str(kid).rpartition("/")[2]
        if not _VERSION.fullmatch(version):
            raise misshapen(self.kind)
        return version

    def _used(self, act: str, version: str, data: bytes) -> bytes:
        body = {"alg": _ALGORITHM, "value": base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")}
        reply = self._asked("POST", f"/keys/{self._options.key}/{version}/{act}", body)
        if reply.status != _OK:
            raise self._refused(reply, act)
        value = opened(reply, self.kind).get("value")
        try:
            text = str(value).encode("ascii")
            return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise misshapen(self.kind) from None

    def _asked(self, method: str, path: str, body: Mapping[str, object] | None) -> Reply:
        if self._vault is None:
            # Not made before: another wrapper may open while what this one needs is not to be had.
            access = access_of(self._options, AzureAccess)
            session = self._sessions.get(
                access, lambda: AzureSession(access, place=self.kind, environ=self._environ), user=self
            )
            self._vault = KeyVault(
                session,
                self.kind,
                self._options.vault_url,
                verify_challenge=self._options.verify_challenge_resource,
            )
        return self._vault.request(method, path, body=body)

    def _refused(self, reply: Reply, act: str) -> StrongroomError:
        code = code_of(reply)
        if reply.status == _ABSENT and code == "KeyNotFound":
            return self.closed("is nowhere", "bring it back, or check key; none is made in its place")
        if reply.status == _DENIED and code in _CLOSED:
            return self.closed(*_CLOSED[code])
        if reply.status == _DENIED and code in (
            "ForbiddenByPolicy",
            "ForbiddenByRbac",
            "AccessDenied",
            "Forbidden",
        ):
            return AccessDeniedError(
                f"the identity of the backend {self.kind} may not {act} with the key",
                reason=act,
                hint='assign the role "Key Vault Crypto Service Encryption User" on the key, '
                "or get, wrapKey and unwrapKey in its access policy",
            )
        if reply.status == _BAD and act == "unwrapkey":
            return self.another("it is another key, or what is stored was changed")
        if reply.status == _BAD and code:
            return self.closed(f"does not {act}", "use an RSA key with the operations wrapKey and unwrapKey")
        return refusal(self.kind, act, "the key", reply)


_CLOSED = {
    "KeyDisabled": ("is disabled", "enable it"),
    "KeyExpired": ("has expired", "move the date of its end"),
    "KeyNotYetValid": ("is not valid yet", "move the date of its beginning"),
}

WRAPPER = AzureKeyWrapper
