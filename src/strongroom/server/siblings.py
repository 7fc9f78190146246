"""
The deployments of this server that one request may speak for: each by a credential of its own.

An identity belongs to one deployment. A browser that is signed in to several has a session of each, and a
signed token may be good in several; a token of ours never is, and is shown to no other deployment.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError, NotAuthenticatedError, NotFoundError, StrongroomError
from strongroom.server.auth import cookie_name, cookie_value
from strongroom.service.access.workload import is_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.server.endpoint import Call
    from strongroom.service.comparison import Holder

__all__ = ["holders", "known_to"]

_MAX_COMPARED = 12  # deployments beside each other


def known_to(call: Call) -> list[str]:
    """Give the names of the deployments that this request has a credential for, in the settings' order."""
    return [name for name in call.house.names if name == call.deployment or _credential(call, name)]


def holders(call: Call, names: Sequence[str]) -> list[Holder]:
    """
    Give deployments as whoever asks is known in each.

    Args:
        call: the request.
        names: of deployments.

    Raises:
        NotAuthenticatedError: nobody is known in one of them; whether there is one of that name is not told.
        AccessDeniedError: he may not list anything there.
        InvalidInputError: they are too many.
    """
    if len(names) > _MAX_COMPARED:
        raise InvalidInputError(f"at most {_MAX_COMPARED} deployments are compared", limit=_MAX_COMPARED)
    return [_holder(call, name) for name in names]


def _holder(call: Call, name: str) -> Holder:
    if name == call.deployment:
        return call.room.deployments.holder()
    credential = _credential(call, name)
    found = None
    with suppress(NotAuthenticatedError, NotFoundError):
        if credential:
            place = call.house.deployment(name)
            found = place.room(place.access.authenticate(credential, source=call.source).actor)
    if found is None:
        raise NotAuthenticatedError(
            f"nobody is known in the deployment {name}" if name.isprintable() else "nobody is known there",
            hint="sign in to each deployment that is to be compared",
        )
    return found.deployments.holder()


def _credential(call: Call, name: str) -> str:
    """Give what came for the deployment *name*; "" for nothing."""
    given = call.headers.get("authorization")
    if given is not None:
        scheme, _, text = given.partition(" ")
        return text.strip() if scheme.lower() == "bearer" and is_signed(text.strip()) else ""
    cookie = cookie_name(name, call.house.first, is_secure=call.is_secure)
    with suppress(StrongroomError):
        return cookie_value(call.headers.get("cookie", ""), cookie) or ""
    return ""
