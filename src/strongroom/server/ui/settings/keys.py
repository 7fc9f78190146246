"""
`/settings/keys`: the keys of the store; replaced, wrapped anew, and destroyed once nothing hangs on them.

Rules of this file:

1. Destroying a key cannot be taken back: what hangs on it is counted first, the beginning of its id typed.
2. Whoever may not change keys is shown those that he may see, and no form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError, ConflictError, InvalidInputError
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.access.shared import Wrong, asked, wrong
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect
from strongroom.server.ui.records import name_of
from strongroom.server.ui.texts import say
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

_MAX = 500
_TYPED = 8  # digits of an id that are typed
_EVERY, _NOBODY = "*", ""


class KeysQuery(Asked, kw_only=True):
    """What is asked about: an act, and the key it is about."""

    ask: str = ""
    id: str = ""


def keys(call: Call) -> Answer:
    """Show the keys, never their bytes, and how far the last job is."""
    call.asked(KeysQuery)
    return _shown(call, asked(call, "ask"), asked(call, "id"))


def _shown(call: Call, ask: str = "", id_: str = "", refused: Wrong | None = None) -> Answer:
    room = call.room
    found = room.keys.status()
    is_destroying = ask == "destroy" and bool(id_)
    return page(
        call,
        "settings/keys.html",
        nav="settings",
        title="store_keys.title",
        status=200 if refused is None else refused.status,
        twin=Twin("strongroom keys status", "GET", "/v1/keys"),
        keys=sorted(found, key=lambda key: (key.team or "", -key.number)),
        teams=sorted({key.team for key in found if key.team}),
        wrappers=sorted({one for key in found for one in key.wrapped_by}),
        fewest=min((len(key.wrapped_by) for key in found if key.state != "destroyed"), default=0),
        job=room.keys.job(),
        ask=ask,
        remains=room.keys.remains(id_) if is_destroying else None,
        wrong=refused,
        name_of=name_of,
        digits=_TYPED,
    )


def rotate(call: Call) -> Answer:
    """Have a new key seal from now on; what stands under the one before is moved behind."""
    form = form_of(call, "team", "reason")
    team, reason = form.text("team", most=_MAX), form.text("reason", most=_MAX)
    try:
        made = call.room.keys.rotate(
            team=None if team in (_EVERY, _NOBODY) else team, is_every=team == _EVERY, reason=reason
        )
    except (ConflictError, InvalidInputError) as error:
        return _shown(call, "rotate", refused=wrong(error, {"reason": "reason"}, "team"))
    return redirect(call, "/settings/keys", toast=Toast("store_keys.rotated", {"count": len(made)}))


def resume(call: Call) -> Answer:
    """Move once more whatever stands under older keys."""
    form_of(call, "")
    call.room.keys.resume()
    return redirect(call, "/settings/keys", toast=Toast("store_keys.resumed"))


def wrap(call: Call) -> Answer:
    """Wrap every key by exactly the outer keys of the settings."""
    form = form_of(call, "reason")
    try:
        call.room.keys.wrap_anew(reason=form.text("reason", most=_MAX))
    except (ConflictError, BackendConfigError) as error:
        return _shown(call, "wrap", refused=wrong(error, {}, "reason"))
    return redirect(call, "/settings/keys", toast=Toast("store_keys.wrapped"))


def destroy(call: Call) -> Answer:
    """Destroy a key that nothing hangs on."""
    form = form_of(call, "typed", "reason")
    id_ = call.params["id"]
    if form.text("typed", most=_MAX).strip().lower() != id_[:_TYPED] or len(id_) <= _TYPED:
        refused = Wrong(str(say("store_keys.typed_wrong").striptags()), "", "typed", 422)
        return _shown(call, "destroy", id_, refused)
    try:
        call.room.keys.destroy(id_, reason=form.text("reason", most=_MAX))
    except (ConflictError, InvalidInputError) as error:
        return _shown(call, "destroy", id_, wrong(error, {}, "typed"))
    return redirect(call, "/settings/keys", toast=Toast("store_keys.destroyed", {"id": id_[:_TYPED]}))


ENDPOINTS = (
    Endpoint("GET", "/settings/keys", keys, "Show the keys", "page", asks=KeysQuery),
    Endpoint(
        "POST",
        "/settings/keys/rotate",
        rotate,
        "Have new keys seal",
        "page",
        takes_form=True,
        is_change=True,
        needs_proof=True,
        cost=10.0,
    ),
    Endpoint(
        "POST",
        "/settings/keys/resume",
        resume,
        "Move what stands under older keys",
        "page",
        takes_form=True,
        is_change=True,
        needs_proof=True,
        cost=10.0,
    ),
    Endpoint(
        "POST",
        "/settings/keys/wrap",
        wrap,
        "Wrap every key anew",
        "page",
        takes_form=True,
        is_change=True,
        needs_proof=True,
        cost=10.0,
    ),
    Endpoint(
        "POST",
        "/settings/keys/destroy/{id}",
        destroy,
        "Destroy a key",
        "page",
        takes_form=True,
        is_change=True,
        needs_proof=True,
        cost=5.0,
    ),
)
