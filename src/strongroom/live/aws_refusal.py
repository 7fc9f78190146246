"""
What AWS's SDK meets on its way to a service, as troubles of ours; nothing of its texts is kept.

Not for what a service says of the work it is given: that stays the library's own error.

Source: botocore 1.43 (`exceptions.py`, `httpsession.py`), aiobotocore 3.10; each run against a server that
does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

from strongroom.errors import StrongroomError
from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.live.trouble import Reason, Step

__all__ = ["is_refusal", "may_be_refusal", "way_trouble"]

# The credentials themselves: not known, not fitting, no longer counting.
_REFUSED = frozenset(
    (
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    )
)
_BODYLESS = frozenset(("400", "401", "403", "Forbidden", "Unauthorized", "Bad Request"))
_CONNECTING: tuple[type[Exception], ...] = (
    sdk.EndpointConnectionError,
    sdk.ConnectTimeoutError,
    sdk.ProxyConnectionError,
    sdk.SSLError,
)
_NO_IDENTITY: tuple[type[Exception], ...] = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.TokenRetrievalError,
    sdk.NoAuthTokenError,
    sdk.SSOError,
    sdk.MetadataRetrievalError,
    sdk.InfiniteLoopConfigError,
    sdk.RefreshWithMFAUnsupportedError,
    sdk.UnknownCredentialError,
)
_CONFIGURED: tuple[tuple[tuple[type[Exception], ...], Reason, str], ...] = (
    ((sdk.ProfileNotFound,), "unknown", "profile_name"),
    ((sdk.NoRegionError,), "missing", "region_name"),
    ((sdk.InvalidRegionError,), "malformed", "region_name"),
    ((sdk.ConfigParseError, sdk.InvalidConfigError, sdk.ConfigNotFound), "malformed", "~/.aws/config"),
    ((sdk.DataNotFoundError,), "unknown", "service"),
)
_MAX_CAUSES = 16


def is_refusal(code: str) -> bool:
    """Tell whether AWS's word *code* is about whoever asks, and not about what is asked."""
    return code in _REFUSED


def may_be_refusal(code: str) -> bool:
    """Tell whether it may be: an answer without a body (to HEAD) gives its status for a word."""
    return code in _BODYLESS


def way_trouble(error: BaseException, name: str) -> StrongroomError | None:
    """
    Give what *error* of the SDK comes to where it arose before anything was asked; None where it did not.

    Args:
        error: what was raised.
        name: of the connection.
    """
    if isinstance(error, StrongroomError):
        return error
    if isinstance(error, _NO_IDENTITY):
        return trouble("token", "missing", name=name)
    for kinds, reason, detail in _CONFIGURED:
        if isinstance(error, kinds):
            return trouble("options", reason, name=name, detail=detail)
    if isinstance(error, _CONNECTING) or type(error) is sdk.HTTPClientError:
        found = _way(error)
        return None if found is None else trouble(*found, name=name)
    return None


def _way(error: BaseException) -> tuple[Step, Reason] | None:
    for each in _causes(error):
        # urllib3 compares names itself, and keeps its own word for it in another place in each release.
        if type(each).__name__ == "CertificateError":
            return "tls", "wrong_host"
        found = cause_of(each)
        if found is not None:
            return found
    if type(error) is sdk.HTTPClientError:
        return None  # whatever it is, it is not known to have been before anything was asked
    return ("tls", "other") if isinstance(error, sdk.SSLError) else ("tcp", "unavailable")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give *error* and everything it came of: the SDK keeps some of that in attributes only."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_CAUSES:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        kept = getattr(one, "kwargs", None)
        waiting += [one.__cause__, one.__context__, *one.args]
        waiting += [getattr(one, each, None) for each in ("reason", "os_error", "certificate_error")]
        waiting += list(kept.values()) if isinstance(kept, dict) else []
