"""
What an answer of Vault or OpenBao says: its shape, its complaints, and how the server is.

The server's words are compared with what it is known to say, and never shown: they quote requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    RateLimitedError,
)
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.vendors.answer import json_in, wait_in

if TYPE_CHECKING:
    from strongroom.vendors.transport import Reply

__all__ = [
    "TokenFacts",
    "check_answered",
    "complaints",
    "facts_of",
    "lifetime",
    "member",
    "misshapen",
    "no_namespace",
    "opened",
]

T = TypeVar("T")

_MAX_LIFE = 10 * 365 * 86_400  # seconds a token is believed to live: what any clock or wait can hold
_NO_JSON = object()
_REFUSED, _DENIED, _TOO_MANY, _SEALED, _BROKEN = 400, 403, 429, 503, 500
_OUTAGES = {
    412: ("has not caught up with its own writes yet", None),
    472: ("is a standby for disaster recovery and answers nothing", "set url to the primary cluster"),
    473: ("is a performance standby that did not pass the question on", "set url to the active node"),
    501: ("is not initialised", "initialise and unseal it"),
    503: ("is sealed or down for maintenance", None),
}


def complaints(reply: Reply) -> str:
    """Give what the server says is wrong, to be compared with what it is known to say; never to be shown."""
    found = json_in(reply.body)
    said = [word for key in ("errors", "warnings") for word in member(found, list, key) or ()]
    return "\n".join(word for word in said if isinstance(word, str))


def opened(reply: Reply, place: str) -> dict[str, object] | None:
    """
    Give the JSON object in the body of *reply*, or None when it is other JSON.

    What stands in it is the server's own: that of an entry is read again, strictly, by whoever needs it.

    Raises:
        BackendUnavailableError: it is no JSON.
    """
    found = json_in(reply.body, _NO_JSON)
    if found is _NO_JSON:
        raise BackendUnavailableError(f"the backend {place} answered with malformed JSON", backend=place)
    return found if isinstance(found, dict) else None


def member(found: object, shape: type[T], *keys: str) -> T | None:
    """Give what stands in *found* under *keys*, each in the object before it; None when it is no *shape*."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    # True and False are numbers to Python, and never to a server.
    is_it = isinstance(found, shape) and (shape is bool or not isinstance(found, bool))
    return found if is_it else None  # type: ignore[return-value]  # narrowed by `is_it`


def check_answered(reply: Reply, place: str) -> None:
    """
    Refuse an answer that says how the server is, or that is none of the server's: nothing of what was asked.

    Raises:
        AccessDeniedError: something before the server refuses; that says nothing of the token.
        RateLimitedError: it was asked too often.
        InvalidInputError: its storage cannot hold so large a value.
        BackendUnavailableError: it is sealed, not initialised, a standby, broken, or another server.
    """
    if reply.status < _BROKEN and reply.status not in (_TOO_MANY, *_OUTAGES):
        if reply.status >= _REFUSED and not _is_of_server(reply):
            raise _refused_before(place) if reply.status == _DENIED else misshapen(place)
        return
    wait = wait_in(reply.headers)
    if reply.status == _TOO_MANY:
        raise RateLimitedError(f"the backend {place} was asked more often than it allows", retry_after=wait)
    if reply.status == _BROKEN and "value being too large" in complaints(reply):
        raise InvalidInputError(
            f"the value is larger than the backend {place} holds",
            limit=MAX_VALUE_BYTES,
            hint="the server's storage has a limit of its own (raft: max_entry_size)",
        )
    words, hint = _OUTAGES.get(reply.status, (f"failed with the status {reply.status}", None))
    if reply.status == _SEALED and "sealed" in complaints(reply).lower():
        words, hint = "is sealed", "unseal it"
    raise BackendUnavailableError(f"the backend {place} {words}", backend=place, retry_after=wait, hint=hint)


def _is_of_server(reply: Reply) -> bool:
    """Tell whether it is the server who complains: as a list of words, or in the frame of every answer."""
    found = json_in(reply.body)
    said = member(found, list, "errors")
    return member(found, str, "request_id") is not None or (
        said is not None and all(isinstance(word, str) for word in said)
    )


def lifetime(seconds: int) -> float | None:
    """Give how long a token lives; None when it never ends."""
    return float(min(seconds, _MAX_LIFE)) if seconds > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """
    What the server says of our token.

    Args:
        seconds_left: how long it lives on; None when it never ends.
        policies: their names, in order.
        is_renewable: whether that can be made longer.
        name: as whom the server knows it, such as `approle` or `ldap-ada`.
    """

    seconds_left: float | None
    policies: tuple[str, ...]
    is_renewable: bool
    name: str = ""


def facts_of(reply: Reply, place: str) -> TokenFacts | None:
    """
    Give what the answer to a look at a token says; None when it says nothing.

    Raises:
        BackendUnavailableError: it is no JSON.
    """
    token = member(opened(reply, place), dict, "data")
    seconds = member(token, int, "ttl")
    if seconds is None:
        return None
    named = [name for key in ("policies", "identity_policies") for name in member(token, list, key) or ()]
    return TokenFacts(
        seconds_left=lifetime(seconds),
        policies=tuple(sorted({name for name in named if isinstance(name, str)})),
        is_renewable=member(token, bool, "renewable") or False,
        name=member(token, str, "display_name") or "",
    )


def misshapen(place: str) -> BackendUnavailableError:
    """Give the error for JSON that is not what the server gives."""
    return BackendUnavailableError(
        f"the backend {place} gave an answer of another shape",
        backend=place,
        hint=f"check backend.{place}.url: what answers there may be no Vault",
    )


def _refused_before(place: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"something before the backend {place} refuses the request",
        reason="refused on the way to the server",
        hint="check the proxy, gateway or mesh on the way: the answer is not the server's",
    )


def no_namespace(place: str) -> BackendConfigError:
    """Give the error for a namespace that is not there."""
    return BackendConfigError(
        f"the backend {place} has no such namespace", hint=f"check backend.{place}.namespace"
    )
