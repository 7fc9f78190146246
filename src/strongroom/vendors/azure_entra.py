"""
What Entra ID and a managed identity's endpoint answer to a login that gives no token, as our errors.

Not for how one logs in (`azure_login.py`). No message holds a word of theirs: only numbers are looked at.

Source: the error codes of Entra ID (AADSTS…); the endpoint of a machine's identity (IMDS), 2018-02-01.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.vendors.answer import json_in, wait_in

if TYPE_CHECKING:
    from strongroom.vendors.http1 import Reply

__all__ = ["check_login", "check_machine"]

_OK_TO, _TOO_MANY, _BROKEN = 400, 429, 500
_NOT_YET = (404, 410)  # of a machine's endpoint: it is being set up
_CHALLENGE = 401  # of Azure Arc's endpoint: it asks for what stands in a file of its own
_TENANT = frozenset({90002, 90013, 900021, 900023, 900382, 50020, 50059})
_CLIENT = frozenset({700016, 7000229, 700038, 900144})
_SECRET = frozenset({7000215, 7000222, 7000218})
_CERTIFICATE = frozenset({700027, 700030, 7000214, 50012})
_FEDERATION = frozenset({70021, 700211, 700212, 700213, 700214, 700223, 700024, 7002138, 50027})
_RESOURCE = frozenset({500011, 50001, 70011})


def check_login(place: str, reply: Reply) -> None:
    """
    Refuse an answer of Entra ID that is not what was asked for.

    Raises:
        BackendConfigError: there is no such tenant, client or service; or no Entra ID.
        NotAuthenticatedError: the secret, certificate or token is refused.
        BackendUnavailableError, RateLimitedError: no answer now.
    """
    if reply.status < _OK_TO:
        return
    _check_outage(place, reply)
    found = _object(reply)
    codes = found.get("error_codes")
    numbers = {code for code in codes if isinstance(code, int)} if isinstance(codes, list) else set()
    if "error" not in found:
        raise BackendConfigError(
            f"where the backend {place} logs in answers as no Entra ID (status {reply.status})",
            hint=f"check backend.{place}.authority and tenant_id",
        )
    if found["error"] == "invalid_tenant":
        numbers.add(90002)
    raise _refused(place, numbers)


def _refused(place: str, codes: set[int]) -> StrongroomError:
    shown = f" (AADSTS{min(codes)})" if codes else ""
    if codes & _TENANT:
        return BackendConfigError(
            f"Entra ID knows no such tenant as the backend {place} has{shown}",
            hint=f"check backend.{place}.tenant_id, and authority for a sovereign cloud",
        )
    if codes & _CLIENT:
        return BackendConfigError(
            f"the tenant of the backend {place} has no such client{shown}",
            hint=f"check backend.{place}.client_id and tenant_id",
        )
    if codes & _RESOURCE:
        return BackendConfigError(
            f"the tenant of the backend {place} does not know the service that is asked{shown}",
            hint=f"check backend.{place}.vault_url and authority: they may be of different clouds",
        )
    return NotAuthenticatedError(
        f"Entra ID refused the login of the backend {place}{shown}", hint=_remedy(place, codes)
    )


def _remedy(place: str, codes: set[int]) -> str:
    if codes & _SECRET:
        return (
            f"put a valid secret (its value, not its id) where backend.{place}.client_secret is fetched from"
        )
    if codes & _CERTIFICATE:
        return f"register the certificate of backend.{place}.certificate with the application, or renew it"
    if codes & _FEDERATION:
        return (
            f"add a federated credential for this service account to the application of backend.{place}, "
            "and check token_file"
        )
    return f"check what backend.{place} logs in with, and the sign-in logs of its application in Entra ID"


def check_machine(place: str, reply: Reply) -> None:
    """
    Refuse an answer of a managed identity's endpoint that holds no token.

    Raises:
        NotAuthenticatedError: the machine has no such identity.
        BackendUnavailableError, RateLimitedError: no answer now.
    """
    if reply.status < _OK_TO or (reply.status == _CHALLENGE and "www-authenticate" in reply.headers):
        return
    if reply.status in _NOT_YET:
        raise BackendUnavailableError(
            f"the machine's identity is not ready for the backend {place}", backend=place
        )
    _check_outage(place, reply)
    raise NotAuthenticatedError(
        f"this machine has no such managed identity as the backend {place} asks for",
        hint=f"assign one to it, or check backend.{place}.managed_identity_client_id",
    )


def _check_outage(place: str, reply: Reply) -> None:
    if reply.status == _TOO_MANY:
        raise RateLimitedError(
            f"the backend {place} logged in more often than is allowed", retry_after=wait_in(reply.headers)
        )
    if reply.status >= _BROKEN:
        raise BackendUnavailableError(
            f"the login of the backend {place} failed with the status {reply.status}",
            backend=place,
            retry_after=wait_in(reply.headers),
        )


def _object(reply: Reply) -> dict[str, object]:
    found = json_in(reply.body)
    return found if isinstance(found, dict) else {}
