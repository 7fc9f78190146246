"""
Going back: an older version written again, and a deleted entry brought back. Each offers the way back.

    POST /rollback/{kind}/{name}    version, seen, at
    POST /undelete/{kind}/{name}
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.entry import EntryQuery, answer, look_at, named, short
from strongroom.server.ui.frame import Toast, form_of, is_htmx, redirect
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

_MAX_VERSION = 300


class ActQuery(Asked, kw_only=True):
    """Whose entry; unsaid, the global one."""

    team: str | None = None


def rollback(call: Call) -> Answer:
    """Write an older version again, if what stands is what was looked at."""
    ref, form = named(call, call.asked(ActQuery).team), form_of(call, "version", "seen", "at")
    version, at = form.text("version", most=_MAX_VERSION), form.text("at", most=_MAX_VERSION) or None
    seen = form.text("seen", most=_MAX_VERSION) if "seen" in form else None
    written = call.room.entries.rollback(ref, version, at=at, seen=seen)
    toast = Toast("entry.rolled_back", {"name": ref.name, "version": short(version)})
    if seen and written.version and seen != MUST_BE_ABSENT:
        back = {"version": seen, "seen": written.version, **({"at": at} if at else {})}
        toast = toast._replace(undo=_here("/rollback", ref), fields=back)
    return _told(call, ref, toast)


def undelete(call: Call) -> Answer:
    """Bring a deleted entry back."""
    ref = named(call, call.asked(ActQuery).team)
    form_of(call, "at")
    call.room.entries.undelete(ref)
    return _told(call, ref, Toast("entry.brought_back", {"name": ref.name}))


def _here(verb: str, ref: Ref) -> str:
    """Give the address of an act, as `Toast.undo` has it: the path is not encoded."""
    query = f"?{urlencode({'team': ref.team})}" if ref.team else ""
    return f"{verb}/{ref.kind}/{ref.name}{query}"


def _told(call: Call, ref: Ref, toast: Toast) -> Answer:
    """Give the history as it is now; to a form without script, by way of its address."""
    if not is_htmx(call):
        return redirect(call, f"/entries/{ref.kind}/{ref.name}", toast=toast, team=ref.team, tab="history")
    asked = EntryQuery(team=ref.team, tab="history")
    # An undo may come from anywhere on the page; what it changes is the entry.
    headers = {"hx-retarget": "#entry", "hx-push-url": "false"}
    return answer(call, look_at(call, ref), asked, block="entry", toast=toast, headers=headers)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/rollback/{kind}/{name:path}",
        rollback,
        "Write the value of an older version again",
        "entry",
        asks=ActQuery,
        is_change=True,
        takes_form=True,
    ),
    Endpoint(
        "POST",
        "/undelete/{kind}/{name:path}",
        undelete,
        "Bring a deleted entry back",
        "entry",
        asks=ActQuery,
        is_change=True,
        takes_form=True,
    ),
)
