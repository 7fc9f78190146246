"""What went wrong while a service was reached over HTTP, found in what a library raised, in our words."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.errors import StrongroomError

__all__ = ["is_refusal_of_certificate", "trouble_of"]

_MAX_DEEP = 20
# How OpenSSL's symbols end where the other side refuses a certificate, or that there is none.
_ALERTS = (
    "CERTIFICATE_REQUIRED",
    "ALERT_ACCESS_DENIED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_UNKNOWN_CA",
)


def trouble_of(
    error: BaseException, name: str, *, is_timeout: bool = False, detail: str = ""
) -> StrongroomError:
    """
    Give the trouble that *error*, raised while connecting, comes from.

    Args:
        error: as a library raised it.
        name: of the connection.
        is_timeout: it took too long, as the library says.
        detail: which of the connection's addresses, where it has more than one.
    """
    # Where a name has several addresses, what became of each stands behind one error without a number.
    if not is_timeout and any(isinstance(one, ConnectionRefusedError) for one in _behind(error)):
        return trouble("tcp", "refused", name=name, detail=detail)
    if is_timeout:
        return trouble("tcp", "timeout", name=name, detail=detail)
    found = cause_of(error)
    if found is None:
        return trouble("tcp", "unavailable", name=name, detail=detail)
    return trouble(*found, name=name, detail=detail)


def is_refusal_of_certificate(error: BaseException) -> bool:
    """Tell whether the service has refused the certificate that was shown, or that none was."""
    return any(
        isinstance(one, ssl.SSLError) and (one.reason or "").endswith(_ALERTS) for one in _behind(error)
    )


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Give *error* and all that it came from, those of a group too."""
    waiting = [error]
    for _ in range(_MAX_DEEP):
        if not waiting:
            return
        found = waiting.pop(0)
        yield found
        inner = (found.__cause__, found.__context__, *getattr(found, "exceptions", ()))
        waiting += [one for one in inner if isinstance(one, BaseException)]
