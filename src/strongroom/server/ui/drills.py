"""
The banners about the system: that nothing can be changed for now, on every page, or that its database is
silent and pages are shown by what was known before; and which backends are paused, on every page of whoever
may list.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import StrongroomError
from strongroom.policy import Action
from strongroom.server.ui.texts import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.server.endpoint import Call

__all__ = ["Banner", "drills", "silence", "span"]

_MINUTE = 60


class Banner(NamedTuple):
    """
    What is told about the system at the top of a page.

    Args:
        kind: info, warn or bad.
        text: safe in a page.
        href: where more of it stands.
        act: the words of that link.
    """

    kind: str
    text: str
    href: str
    act: str


def span(seconds: float) -> str:
    """Give a span of time as pages write it: `4 min`, `20 s`."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    return f"{minutes} min" if minutes else f"{rest} s"


def silence(call: Call) -> Mapping[str, datetime] | None:
    """Give since when the server's own database is silent, and until when pages are shown; None for not."""
    since = call.identity.actor.as_of if call.has_identity else None
    return None if since is None else {"since": since, "until": since + call.place.access.memory}


def drills(call: Call, url: Callable[[str], str]) -> tuple[Banner, ...]:
    """
    Give the banner of read-only mode, and that of the drills under way: of the one that ends first, and how
    many others; () for none.

    Args:
        call: the request.
        url: gives the address of a path of this deployment.
    """
    if not call.has_identity:
        return ()
    mode = (Banner("warn", say("base.read_only"), "", ""),) if call.house.mode.read_only else ()
    found = []
    with suppress(StrongroomError):  # sealed meanwhile, or nobody can decide: then there is nothing to tell
        found = sorted(call.place.arrangement.pauses.values(), key=lambda one: one.until)
        if found and not call.place.guard.can(call.identity.actor, Action.LIST, None).is_allowed:
            return mode
    if not found:
        return mode
    first = found[0]
    left = span(max(0.0, (first.until - datetime.now(timezone.utc)).total_seconds()))
    text = say("backends.banner", name=first.backend, left=left, reason=first.reason, by=first.by)
    if len(found) > 1:
        text = say("backends.banner_more", text=text, count=len(found) - 1)
    return (
        *mode,
        Banner("warn", text, url(f"/backends/{first.backend}"), say("backends.look")),
    )
