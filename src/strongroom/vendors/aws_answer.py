"""
What AWS says of a question it did not answer, and what that means to whoever asked. Pure: no I/O.

AWS's words may quote names, accounts and keys, so they are compared and never shown; codes are shown only if
they are known here.

Source: Secrets Manager, Systems Manager, STS and KMS API references, "Common errors" and "Errors".
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
)
from strongroom.vendors.answer import wait_of

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError

__all__ = ["BACKOFF_SECONDS", "Fault", "trouble"]

BACKOFF_SECONDS = 1.0  # told where AWS says "later" without saying when
_FORBIDDEN, _TOO_MANY, _TROUBLE = 403, 429, 500

_THROTTLED = frozenset(
    (
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "TooManyUpdates",
        "ProvisionedThroughputExceededException",
        "BandwidthLimitExceeded",
        "SlowDown",
        "PriorRequestNotComplete",
    )
)
_BROKEN = frozenset(
    (
        "InternalServiceError",
        "InternalServerError",
        "InternalFailure",
        "InternalError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "IDPCommunicationError",
    )
)
_DENIED = frozenset(
    (
        "AccessDeniedException",
        "AccessDenied",
        "UnauthorizedOperation",
        "NotAuthorized",
        "UnauthorizedException",
    )
)
_NOT_US = {
    "ExpiredTokenException": "has expired",
    "ExpiredToken": "has expired",
    "RequestExpired": "came too late",
    "UnrecognizedClientException": "is not known",
    "InvalidClientTokenId": "is not known",
    "InvalidAccessKeyId": "is not known",
    "InvalidSignatureException": "does not fit its secret",
    "SignatureDoesNotMatch": "does not fit its secret",
    "IncompleteSignature": "is incomplete",
    "MissingAuthenticationToken": "is missing",
    "MissingAuthenticationTokenException": "is missing",
    "AuthFailure": "is refused",
    "InvalidIdentityToken": "is refused",
    "IDPRejectedClaim": "is refused",
}
_CONFIG = {
    "OptInRequired": ("region_name", "the account does not use that region: enable it, or name another"),
    "InvalidAction": ("endpoint_url", "name the service's own endpoint"),
    "UnknownOperationException": ("endpoint_url", "name the service's own endpoint"),
    "RegionDisabledException": ("region_name", "STS is off in that region: activate it, or name another"),
    "MalformedPolicyDocument": ("assume_role_kwargs", "check Policy"),
    "PackedPolicyTooLarge": ("assume_role_kwargs", "Policy and Tags are too large together"),
}
_KEY = frozenset(
    (
        "DecryptionFailure",
        "EncryptionFailure",
        "InvalidKeyId",
        "KMSAccessDeniedException",
        "KMSInvalidStateException",
        "KMSDisabledException",
        "KMSNotFoundException",
        "DisabledException",
        "NotFoundException",
    )
)


_NAMED = re.compile(r"not authorized to perform: ([a-z0-9-]{2,30}:[A-Za-z]{2,60})(?![A-Za-z])")


class Fault(Exception):  # noqa: N818 -- a jump to where it is known what was asked; never leaves a backend
    """
    AWS did not do what was asked.

    Attributes:
        code: AWS's word for why.
        words: AWS's sentence, in lower case: to be compared, never to be shown.
        status: of HTTP.
        retry_after: how long it asks to wait, or None.
        needed: the permission it names, or None.
        is_about_us: it does not know whoever asks, or not any more.
    """

    def __init__(self, code: str, words: str, status: int, retry_after: str | None) -> None:
        super().__init__("AWS refused")
        self.code = code
        self.words = words.lower()
        self.status = status
        self.retry_after = wait_of(retry_after or "")
        named = _NAMED.search(words)
        self.needed = None if named is None else named[1]
        self.is_about_us = code in _NOT_US


def trouble(fault: Fault, *, place: str, action: str, resource: str) -> StrongroomError:
    """
    Give the error that *fault* is.

    Args:
        fault: what AWS said.
        place: the backend's name.
        action: the permission that was needed, as IAM calls it: `secretsmanager:GetSecretValue`.
        resource: what it was needed on, as IAM calls it; no value.
    """
    code = fault.code
    if code in _THROTTLED or fault.status == _TOO_MANY:
        return _later(fault, place, "limits how often it is asked")
    if code in _BROKEN or fault.status >= _TROUBLE:
        return _later(fault, place, "has trouble of its own")
    if code in _NOT_US:
        return _not_us(fault, place)
    if code in _DENIED or code in _KEY:
        return _denied(fault, place, action, resource)
    return _strange(fault, place, action)


def _strange(fault: Fault, place: str, action: str) -> StrongroomError:
    if fault.code in _CONFIG:
        key, hint = _CONFIG[fault.code]
        return BackendConfigError(f"AWS cannot be asked as backend.{place}.{key} says", hint=hint)
    if fault.status == _FORBIDDEN:
        return AccessDeniedError(
            f"the backend {place} was refused {action}, in words that are not of AWS",
            reason=action,
            hint="look at what stands between: a proxy, a gateway, a firewall",
        )
    return BackendUnavailableError(
        f"the backend {place} answered {action} with the status {fault.status}",
        backend=place,
        hint="check region_name and endpoint_url",
    )


def _later(fault: Fault, place: str, what: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"the backend {place} {what}",
        backend=place,
        retry_after=timedelta(seconds=BACKOFF_SECONDS) if fault.retry_after is None else fault.retry_after,
    )


def _not_us(fault: Fault, place: str) -> StrongroomError:
    if "credential should be scoped to a valid region" in fault.words:
        return BackendConfigError(
            f"backend.{place}.region_name is not the region of the endpoint that is asked",
            hint="name the region of the endpoint, or drop endpoint_url",
        )
    is_clock = "signature expired" in fault.words or "not yet current" in fault.words
    return NotAuthenticatedError(
        f"what the backend {place} shows AWS {_NOT_US[fault.code]}",
        hint="set the clock of this machine"
        if is_clock
        else "renew the key, the profile, the role's session or the token it comes from",
    )


def _denied(fault: Fault, place: str, action: str, resource: str) -> StrongroomError:
    action = fault.needed or action
    if fault.code in _KEY or "kms" in fault.words or "customer master key" in fault.words:
        return _key_denied(fault, place, action)
    if "vpc endpoint policy" in fault.words:
        hint = f"allow {action} on {resource} in the policy of the VPC endpoint"
    elif "explicit deny" in fault.words:
        hint = f"a policy denies {action} on {resource} explicitly: look for it"
    else:
        hint = f"allow {action} on {resource}"
    return AccessDeniedError(f"the backend {place} may not {action}", reason=action, hint=hint)


def _key_denied(fault: Fault, place: str, action: str) -> StrongroomError:
    writes = any(verb in action for verb in (":Create", ":Put"))
    needed = (
        "kms:Decrypt" if not writes else "kms:Encrypt" if action.startswith("ssm:") else "kms:GenerateDataKey"
    )
    if fault.code in ("KMSInvalidStateException", "KMSDisabledException", "DisabledException"):
        return BackendConfigError(
            f"the KMS key of what the backend {place} asked for is disabled or about to be deleted",
            hint="enable the key",
        )
    return AccessDeniedError(
        f"the backend {place} may not use the KMS key that {action} needs",
        reason=needed,
        hint=f"allow {needed} on the key, in its own policy too, and check that it is enabled",
    )
