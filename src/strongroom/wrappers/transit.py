"""
An outer key in the transit engine of a Vault or OpenBao.

It protects against the theft of the whole host at rest: the key never leaves the server, whose audit log
tells of each use, and where it can be taken away.

Rules of this file:

1. A key that is not there is never made, whatever the token may: `encrypt` makes one for who has the
   capability `create`, so it is asked first whether there is one.
2. What is wrapped is bound to its place by `associated_data`, which takes a key of an AEAD cipher; for a
   derived key by `context` as well.
3. The version that wrapped a key stands before it (`vault:v3:…`); the newest wraps, all open, down to the
   `min_decryption_version` of the key.

Source: the transit API of OpenBao 2.6, run against it.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strongroom.crypto.remote import RemoteWrapper, Wrapped
from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.sessions import access_of
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_answer import complaints, member, misshapen, no_namespace, opened
from strongroom.vendors.vault_options import VaultAccess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.errors import StrongroomError
    from strongroom.vendors.sessions import Sessions
    from strongroom.vendors.transport import Reply

__all__ = ["WRAPPER", "TransitOptions", "TransitWrapper"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_MOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII)
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,9}):[A-Za-z0-9+/=]{1,1024}", re.ASCII)
_PROBE = "vault:v1:AA=="  # what no key opens: whether there is one is all that is asked
_OK, _BAD, _DENIED, _ABSENT = 200, 400, 403, 404


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitOptions(VaultAccess):
    """
    Which key; where the server is and how to log in is `VaultAccess`.

    Args:
        key: its name.
        mount_point: of the engine.
        derived: the key was made with `derived=true`.
    """

    key: str
    mount_point: str = "transit"
    derived: bool = False


class TransitWrapper(RemoteWrapper):
    """
    Wrap with a key of the transit engine.

    Args:
        options: which, and how it is asked.
        sessions: what it shares a login with.

    Raises:
        BackendConfigError: the options contradict one another, or name no key.
    """

    kind = "transit"
    options_type: ClassVar[type[TransitOptions]] = TransitOptions
    needs_sessions: ClassVar[bool] = True

    def __init__(self, options: TransitOptions, *, sessions: Sessions) -> None:
        mount = options.mount_point.strip("/")
        if not _NAME.fullmatch(options.key) or not _MOUNT.fullmatch(mount):
            raise BackendConfigError(
                "store.wrappers.key is no name of a key, or mount_point none of an engine",
                hint='key = "strongroom"; the engine stands in mount_point',
            )
        self._options = options
        self._mount = mount
        self.name = f"{mount}/keys/{options.key}"
        self._sessions = sessions
        self._session: VaultSession | None = None

    def close(self) -> None:
        self._session = None
        self._sessions.release(self)

    def _wrapped(self, key: bytes, bound: bytes) -> Wrapped:
        self._check_there(bound)
        reply = self._asked("encrypt", {"plaintext": _text(key), **self._bound(bound)})
        found = member(opened(reply, self.kind), str, "data", "ciphertext")
        version = _CIPHERTEXT.fullmatch(found or "")
        if found is None or version is None:
            raise misshapen(self.kind)
        return Wrapped(f"v{version[1]}", found.encode("ascii"))

    def _unwrapped(self, found: Wrapped, bound: bytes) -> bytes:
        ciphertext = found.body.decode("ascii", "replace")
        if not _CIPHERTEXT.fullmatch(ciphertext):
            raise self.another("what is stored is none of its ciphertexts")
        reply = self._asked("decrypt", {"ciphertext": ciphertext, **self._bound(bound)})
        plaintext = member(opened(reply, self.kind), str, "data", "plaintext")
        try:
            return base64.b64decode(plaintext or "", validate=True)
        except ValueError:
            raise misshapen(self.kind) from None

    def _check_there(self, bound: bytes) -> None:
        reply = self._reply("decrypt", {"ciphertext": _PROBE, **self._bound(bound)})
        if reply.status != _BAD or "key not found" in complaints(reply).lower():
            raise self._refused(reply, "decrypt")

    def _bound(self, bound: bytes) -> dict[str, object]:
        said: dict[str, object] = {"associated_data": _encoded(bound)}
        return {**said, "context": _encoded(bound)} if self._options.derived else said

    def _asked(self, act: str, body: Mapping[str, object]) -> Reply:
        reply = self._reply(act, body)
        if reply.status != _OK:
            raise self._refused(reply, act)
        return reply

    def _reply(self, act: str, body: Mapping[str, object]) -> Reply:
        if self._session is None:
            # Not made before: another wrapper may open while what this one needs is not to be had.
            access = access_of(self._options, VaultAccess)
            self._session = self._sessions.get(access, lambda: VaultSession.of(self.kind, access), user=self)
        return self._session.request("POST", f"/v1/{self._mount}/{act}/{self._options.key}", body=body)

    def _refused(self, reply: Reply, act: str) -> StrongroomError:
        words = complaints(reply).lower()
        if reply.status == _ABSENT and "namespace" in words:
            return no_namespace(self.kind)
        for part, why, hint in _MEANINGS:
            if part in words:
                return self.closed(why, hint)
        if reply.status == _DENIED:
            return self.closed(
                f"may not be asked to {act}",
                f'allow it: path "{self._mount}/{act}/{self._options.key}" {{ capabilities = ["update"] }}',
            )
        if reply.status == _BAD and act == "decrypt":
            return self.another("it is another key, or what is stored was changed")
        return BackendUnavailableError(
            f"the backend {self.kind} answered {act} with the status {reply.status}", backend=self.kind
        )


# By the server's words, which are compared and never shown.
_MEANINGS = (
    ("no handler for route", "is nowhere: no engine is mounted there", "check mount_point and namespace"),
    ("key not found", "is nowhere", "bring it back, or check key; none is made in its place"),
    (
        "disallowed by policy",
        "may not be used at the version that wrapped the store",
        "lower its min_decryption_version",
    ),
    (
        "non-aead",
        "is of a type that binds nothing to its place",
        "use a key of the type aes256-gcm96, chacha20-poly1305 or xchacha20-poly1305",
    ),
    ("missing 'context'", "is a derived one", "set derived = true"),
    ("soft-deleted", "is deleted, and can be brought back", "restore it"),
)

WRAPPER = TransitWrapper


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(key: bytes) -> Secret[str]:
    return Secret(_encoded(key))
