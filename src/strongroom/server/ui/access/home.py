"""`/access`: the first of its pages that whoever asks may look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.policy import Action
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.frame import redirect

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def home(call: Call) -> Answer:
    """Go on to the people, or to the tester: anybody may ask what he himself may."""
    is_admin = call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed
    return redirect(call, "/access/people" if is_admin else "/access/tester")


ENDPOINTS = (Endpoint("GET", "/access", home, "Go on to who may", "page"),)
