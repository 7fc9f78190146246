"""`/keys`: the keys of the store; told, replaced, wrapped anew and destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.server.api.asked import bounded
from strongroom.server.endpoint import Endpoint
from strongroom.wire.keys import (
    DestroyKey,
    KeyJob,
    KeyRemains,
    KeyRow,
    Keys,
    RotatedKey,
    RotatedKeys,
    RotateKeys,
    WrapKeys,
)

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.keys import Job, KeyStatus

__all__ = ["ENDPOINTS"]


def keys(call: Call) -> Keys:
    """Give the keys of the store, never their bytes, and how far the last job is."""
    found = call.room.keys.status()
    return Keys(keys=[_key(one) for one in found], job=_job(call.room.keys.job()))


def rotate(call: Call) -> RotatedKeys:
    """Have new keys seal from now on; this server moves what stands under the ones before."""
    body = call.take(RotateKeys)
    if sum((body.is_every, body.is_resumed, body.team is not None)) > 1:
        raise InvalidInputError("team, is_every and is_resumed exclude one another")
    reason = bounded(body.reason, field="reason")
    if body.is_resumed:
        call.room.keys.resume()
        made = []
    else:
        made = call.room.keys.rotate(team=body.team, is_every=body.is_every, reason=reason)
    return RotatedKeys(
        keys=[RotatedKey(team=one.team, number=one.number, id=one.id, replaced=one.replaced) for one in made],
        job=_job(call.room.keys.job()),
    )


def wrap(call: Call) -> Keys:
    """Wrap every key by exactly the outer keys of this server's settings."""
    call.room.keys.wrap_anew(reason=bounded(call.take(WrapKeys).reason, field="reason"))
    return keys(call)


def remains(call: Call) -> KeyRemains:
    """Tell what hangs on a key still; its id may be cut short."""
    found = call.room.keys.remains(call.params["id"])
    return KeyRemains(**found._asdict())


def destroy(call: Call) -> KeyRemains:
    """Destroy a key that nothing hangs on; its whole id is needed."""
    reason = bounded(call.take(DestroyKey).reason, field="reason")
    gone = call.room.keys.destroy(call.params["id"], reason=reason)
    return KeyRemains(**call.room.keys.remains(gone)._asdict())


def _key(one: KeyStatus) -> KeyRow:
    return KeyRow(
        id=one.id,
        number=one.number,
        team=one.team,
        state=one.state,
        wrapped_by=list(one.wrapped_by),
        sealed_versions=one.sealed_versions,
        created_at=one.created_at,
        wraps=one.wraps,
        replaced_at=one.replaced_at,
        due_at=one.due_at,
    )


def _job(one: Job | None) -> KeyJob | None:
    if one is None:
        return None
    return KeyJob(
        state=one.state,
        started_at=one.started_at,
        started_by=one.started_by,
        total=one.total,
        done=one.done,
        damaged=one.damaged,
        is_at_work=one.is_at_work,
        finished_at=one.finished_at,
    )


ENDPOINTS = (
    Endpoint("GET", "/keys", keys, "List the keys of the store", "keys", gives=Keys, errors=(503,)),
    Endpoint(
        "POST",
        "/keys/rotate",
        rotate,
        "Have new keys seal from now on",
        "keys",
        takes=RotateKeys,
        gives=RotatedKeys,
        errors=(404, 409, 503),
        is_change=True,
        needs_proof=True,
        cost=10.0,
    ),
    Endpoint(
        "POST",
        "/keys/wrap",
        wrap,
        "Wrap every key by the outer keys of the settings",
        "keys",
        takes=WrapKeys,
        gives=Keys,
        errors=(409, 503),
        is_change=True,
        needs_proof=True,
        cost=10.0,
    ),
    Endpoint(
        "GET",
        "/keys/{id}",
        remains,
        "Tell what hangs on a key",
        "keys",
        gives=KeyRemains,
        errors=(404, 503),
        cost=5.0,
    ),
    Endpoint(
        "POST",
        "/keys/{id}/destroy",
        destroy,
        "Destroy a key that nothing hangs on",
        "keys",
        takes=DestroyKey,
        gives=KeyRemains,
        errors=(404, 409, 503),
        is_change=True,
        needs_proof=True,
        cost=5.0,
    ),
)
