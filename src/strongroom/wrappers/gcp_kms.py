"""
An outer key in Google Cloud KMS.

It protects against the theft of the whole host at rest: the key never leaves KMS, whose audit log tells of
each use, and disabling it closes the store for whoever starts anew.

Rules of this file:

1. `encrypt` uses the primary version of the key, `decrypt` whichever version it was; both name the key.
2. What is wrapped is bound to its place as additional authenticated data, a digest.
3. What goes there and comes back bears checksums: Google says whether it got what was sent, and we look
   whether we got what it sent.

Source: the REST reference of Cloud KMS v1, `cryptoKeys.encrypt` and `decrypt`, "Verifying end-to-end data
integrity"; run against a strict fake.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strongroom.crypto.remote import RemoteWrapper, Wrapped
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in, wait_in
from strongroom.vendors.crc32c import crc32c
from strongroom.vendors.google import GoogleAccess, GoogleSession
from strongroom.vendors.sessions import access_of
from strongroom.vendors.stream import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.errors import StrongroomError
    from strongroom.vendors.http1 import Reply
    from strongroom.vendors.sessions import Sessions

__all__ = ["WRAPPER", "GcpKmsOptions", "GcpKmsWrapper"]

_KEY = re.compile(
    r"projects/[a-z0-9.:-]{4,64}/locations/[a-z0-9-]{1,63}"
    r"/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}",
    re.ASCII,
)
_VERSION = re.compile(r"cryptoKeyVersions/([1-9][0-9]{0,9})$", re.ASCII)
_URL = "https://cloudkms.googleapis.com"
_OK, _BAD, _NOBODY, _DENIED, _ABSENT = 200, 400, 401, 403, 404
_TOO_MANY, _BROKEN = 429, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpKmsOptions(GoogleAccess):
    """
    Which key; who we are to Google is `GoogleAccess`.

    Args:
        key: `projects/…/locations/…/keyRings/…/cryptoKeys/…`, without a version.
        kms_endpoint: `https://host[:port]`, in place of Google's.
    """

    key: str
    kms_endpoint: str | None = None


class GcpKmsWrapper(RemoteWrapper):
    """
    Wrap with a symmetric key of Cloud KMS.

    Args:
        options: which, and how it is asked.
        sessions: what it shares a login with.
        environ: where credentials are found that are not said.

    Raises:
        BackendConfigError: the options name no key.
    """

    kind = "gcp_kms"
    options_type: ClassVar[type[GcpKmsOptions]] = GcpKmsOptions
    needs_sessions: ClassVar[bool] = True
    needs_environ: ClassVar[bool] = True

    def __init__(self, options: GcpKmsOptions, *, sessions: Sessions, environ: Mapping[str, str]) -> None:
        if not _KEY.fullmatch(options.key):
            raise BackendConfigError(
                "store.wrappers.key is no key of Cloud KMS",
                hint='write "projects/P/locations/L/keyRings/R/cryptoKeys/K", without a version',
            )
        url = (options.kms_endpoint or _URL).rstrip("/")
        if Address.of(url) is None or "/" in url.partition("://")[2] or "@" in url:
            raise BackendConfigError(
                "store.wrappers.kms_endpoint is no address", hint="write https://host[:port]"
            )
        self._options = options
        self._url = f"{url}/v1/{options.key}"
        self.name = options.key
        self._sessions = sessions
        self._environ = environ
        self._session: GoogleSession | None = None

    def close(self) -> None:
        self._session = None
        self._sessions.release(self)

    def _wrapped(self, key: bytes, bound: bytes) -> Wrapped:
        answer = self._asked("encrypt", {**_sent("plaintext", key), **_sent(_BOUND, bound)})
        for what in ("Plaintext", "AdditionalAuthenticatedData"):
            if answer.get(f"verified{what}Crc32c") is not True:
                raise _damaged()
        version = _VERSION.search(str(answer.get("name", "")))
        return Wrapped("" if version is None else version[1], _received(answer, "ciphertext"))

    def _unwrapped(self, found: Wrapped, bound: bytes) -> bytes:
        answer = self._asked("decrypt", {**_sent("ciphertext", found.body), **_sent(_BOUND, bound)})
        return _received(answer, "plaintext")

    def _asked(self, act: str, body: Mapping[str, str]) -> dict[str, object]:
        data = Secret(json.dumps(body).encode())
        reply = self._made().carry("POST", f"{self._url}:{act}", data)
        found = json_in(reply.body)
        if reply.status == _OK and isinstance(found, dict):
            return found
        raise self._refused(reply, found, act)

    def _made(self) -> GoogleSession:
        if self._session is None:
            # Not made before: another wrapper may open while what this one needs is not to be had.
            access = access_of(self._options, GoogleAccess)
            self._session = self._sessions.get(
                access, lambda: GoogleSession(access, place=self.kind, environ=self._environ), user=self
            )
        return self._session

    def _refused(self, reply: Reply, found: object, act: str) -> StrongroomError:
        said = found.get("error") if isinstance(found, dict) else None
        status = said.get("status") if isinstance(said, dict) else None
        words = str(said.get("message", "")).lower() if isinstance(said, dict) else ""
        if reply.status >= _BROKEN or reply.status == _TOO_MANY:
            return BackendUnavailableError(
                f"the backend {self.kind} answered {act} with the status {reply.status}",
                backend=self.kind,
                retry_after=wait_in(reply.headers),
            )
        if reply.status == _NOBODY:
            return NotAuthenticatedError(f"Google takes no token of the backend {self.kind}")
        if not isinstance(status, str):
            return BackendConfigError(
                f"what the backend {self.kind} asks is not Cloud KMS",
                hint=f"check backend.{self.kind}.kms_endpoint",
            )
        return self._meant_by(status, words, act)

    def _meant_by(self, status: str, words: str, act: str) -> StrongroomError:
        if status == "PERMISSION_DENIED":
            permission = f"cloudkms.cryptoKeyVersions.useTo{act.capitalize()}"
            return AccessDeniedError(
                f"the account of the backend {self.kind} lacks {permission}, or there is no such project",
                reason=permission,
                hint="grant roles/cloudkms.cryptoKeyEncrypterDecrypter on the key",
            )
        if status == "NOT_FOUND":
            return self.closed("is nowhere", "bring it back, or check key; none is made in its place")
        if status == "FAILED_PRECONDITION":
            is_gone = "destroy" in words
            return self.closed(
                "is destroyed, or about to be" if is_gone else "is disabled, or has no primary version",
                "restore the version that wrapped the store" if is_gone else "enable it",
            )
        if act == "decrypt":
            return self.another("it is another key, or what is stored was changed")
        return self.closed("does not encrypt", "use a symmetric key of the purpose ENCRYPT_DECRYPT")


_BOUND = "additionalAuthenticatedData"

WRAPPER = GcpKmsWrapper


def _sent(member: str, data: bytes) -> dict[str, str]:
    return {member: base64.b64encode(data).decode("ascii"), f"{member}Crc32c": str(crc32c(data))}


def _received(answer: Mapping[str, object], member: str) -> bytes:
    text, checksum = answer.get(member), answer.get(f"{member}Crc32c")
    try:
        data = base64.b64decode(str(text), validate=True)
    except ValueError:
        raise _damaged() from None
    if not isinstance(text, str) or str(crc32c(data)) != str(checksum):
        raise _damaged()
    return data


def _damaged() -> BackendUnavailableError:
    return BackendUnavailableError(
        "what the backend gcp_kms was sent, or what it sent, arrived damaged", backend="gcp_kms"
    )
