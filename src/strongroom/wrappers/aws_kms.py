"""
An outer key in AWS KMS.

It protects against the theft of the whole host at rest: the key never leaves KMS, CloudTrail tells of each
use, and disabling it closes the store for whoever starts anew.

Rules of this file:

1. `Decrypt` names the key, though KMS would find it by itself: what another key wrapped is refused. So is an
   answer that says it was another.
2. What is wrapped is bound to its place by the encryption context, which CloudTrail shows; it is a digest.
3. KMS rotates what is behind a key by itself, and goes on opening what it wrapped before.

Source: the API reference of KMS, "Encrypt" and "Decrypt"; run against moto and ministack.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strongroom.crypto.remote import RemoteWrapper, Wrapped
from strongroom.errors import BackendConfigError
from strongroom.vendors.aws import AwsAccess, AwsSession, Fault
from strongroom.vendors.aws_answer import trouble
from strongroom.vendors.aws_sdk import misshapen
from strongroom.vendors.sessions import access_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.errors import StrongroomError
    from strongroom.vendors.sessions import Sessions

__all__ = ["WRAPPER", "AwsKmsOptions", "AwsKmsWrapper"]

_ARN = r"arn:aws[a-z-]*:kms:[a-z0-9-]{1,32}:[0-9]{12}:"
_ID = r"(?:key/)?(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_KEY = re.compile(rf"(?:{_ARN})?(?:{_ID}|alias/[A-Za-z0-9/_-]{{1,250}})", re.ASCII)
_FOUND = re.compile(rf"{_ARN}key/[A-Za-z0-9-]{{1,64}}", re.ASCII)
_BOUND_AS = "strongroom"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKmsOptions(AwsAccess):
    """
    Which key; where AWS is and who we are to it is `AwsAccess`.

    Args:
        key: its ARN, id or `alias/…`; an alias that comes to mean another key does not open the store.
    """

    key: str


class AwsKmsWrapper(RemoteWrapper):
    """
    Wrap with a symmetric key of AWS KMS.

    Args:
        options: which, and how it is asked.
        sessions: what it shares a login with.

    Raises:
        BackendConfigError: the options name no key.
    """

    kind = "aws_kms"
    options_type: ClassVar[type[AwsKmsOptions]] = AwsKmsOptions
    needs_sessions: ClassVar[bool] = True

    def __init__(self, options: AwsKmsOptions, *, sessions: Sessions) -> None:
        if not _KEY.fullmatch(options.key):
            raise BackendConfigError(
                "store.wrappers.key is no key of AWS KMS",
                hint='write its ARN, its id, or "alias/strongroom"',
            )
        self._options = options
        self.name = options.key
        self._sessions = sessions
        self._session: AwsSession | None = None

    def close(self) -> None:
        self._session = None
        self._sessions.release(self)

    def _wrapped(self, key: bytes, bound: bytes) -> Wrapped:
        answer = self._asked("Encrypt", {"Plaintext": key, **self._said(bound)}, "CiphertextBlob")
        found = answer.get("KeyId")
        detail = found if isinstance(found, str) and _FOUND.fullmatch(found) else ""
        return Wrapped(detail, _bytes(answer["CiphertextBlob"]))

    def _unwrapped(self, found: Wrapped, bound: bytes) -> bytes:
        answer = self._asked("Decrypt", {"CiphertextBlob": found.body, **self._said(bound)}, "Plaintext")
        if not self._is_meant(answer.get("KeyId")):
            raise self.another("it was unwrapped by another key")
        return _bytes(answer["Plaintext"])

    def _is_meant(self, used: object) -> bool:
        """Tell whether the key that KMS says it used is the one that is named; an alias names any."""
        wanted = self._options.key.rpartition(":")[2]
        if wanted.startswith("alias/"):
            return True
        return isinstance(used, str) and used.rpartition("/")[2] == wanted.rpartition("/")[2]

    def _said(self, bound: bytes) -> dict[str, object]:
        return {
            "KeyId": self._options.key,
            "EncryptionContext": {_BOUND_AS: base64.b64encode(bound).decode("ascii")},
        }

    def _asked(self, operation: str, arguments: Mapping[str, object], must_have: str) -> dict[str, Any]:
        if self._session is None:
            # Not made before: another wrapper may open while what this one needs is not to be had.
            access = access_of(self._options, AwsAccess)
            self._session = self._sessions.get(access, lambda: AwsSession(access, place=self.kind), user=self)
        try:
            return self._session.call("kms", operation, arguments, must_have=must_have)
        except Fault as fault:
            refusal = self._refused(fault, operation)
        raise refusal

    def _refused(self, fault: Fault, operation: str) -> StrongroomError:
        if fault.code in _ANOTHER:
            return self.another("it is another key, or what is stored was changed")
        if fault.code in _CLOSED:
            return self.closed(*_CLOSED[fault.code])
        return trouble(fault, place=self.kind, action=f"kms:{operation}", resource=self._options.key)


_ANOTHER = ("IncorrectKeyException", "InvalidCiphertextException")
_CLOSED = {
    "NotFoundException": ("is nowhere", "bring it back, or check key and region_name; none is made instead"),
    "DisabledException": ("is disabled", "enable it"),
    "KMSInvalidStateException": (
        "is about to be deleted, or without its key material",
        "cancel its deletion and enable it",
    ),
    "InvalidKeyUsageException": ("is no key to encrypt with", "use a symmetric key of ENCRYPT_DECRYPT"),
}

WRAPPER = AwsKmsWrapper


def _bytes(found: object) -> bytes:
    if not isinstance(found, bytes):
        raise misshapen("aws_kms")
    return found
