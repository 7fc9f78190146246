"""`POST /entries`: write many entries in one batch, as an import does: all or none of one backend's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.entry import MAX_VALUE_BYTES, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.server.api.asked import bounded, problem_of
from strongroom.server.api.entries import HIDDEN, facts_in
from strongroom.server.api.shape import written_of
from strongroom.server.endpoint import MAX_BATCH, Endpoint
from strongroom.service.entries import Change
from strongroom.service.showing import holds_mask
from strongroom.wire.entry import BatchQuery, BatchWritten, WriteBatch
from strongroom.wire.failure import FieldError, TooLargeError
from strongroom.wire.shape import UNSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.server.endpoint import Call
    from strongroom.wire.entry import NewValue

__all__ = ["ENDPOINTS", "changes_in"]


def write_many(call: Call) -> BatchWritten:
    """Write all of them, decided and recorded as one act; with `is_trial` nothing."""
    asked, body = call.asked(BatchQuery), call.take(WriteBatch)
    changes = changes_in(body.changes)
    refs = [change.ref for change in changes]
    comment = bounded(body.comment, field="comment")
    entries = call.room.entries
    if not changes:
        return BatchWritten(written=[])
    if body.is_trial:
        errors = entries.refusals(refs, to=asked.at, force=asked.force)
        refused = [None if error is None else problem_of(error) for error in errors]
        return BatchWritten(written=[], refused=refused)
    written = entries.write_many(changes, to=asked.at, force=asked.force, comment=comment)
    return BatchWritten(written=[written_of(ref, one) for ref, one in zip(refs, written, strict=True)])


def changes_in(said: Sequence[NewValue]) -> list[Change]:
    """
    Give the changes that `changes` of a body asks for.

    Raises:
        TooLargeError, FieldError, InvalidInputError: they are none that could be made together.
    """
    if len(said) > MAX_BATCH:
        raise TooLargeError(f"a batch has at most {MAX_BATCH} entries", limit=MAX_BATCH)
    changes = [_change(one, f"$.changes[{index}]") for index, one in enumerate(said)]
    if len({change.ref for change in changes}) < len(changes):
        raise FieldError("an entry stands twice in the batch", field="$.changes")
    return changes


def _change(one: NewValue, field: str) -> Change:
    refusal: InvalidInputError
    try:
        ref = Ref(one.kind, one.name, one.team)
    except InvalidInputError as error:
        refusal = FieldError(str(error), field=f"{field}.name", hint=error.hint)
    else:
        if one.value is not None and len(one.value.encode()) > MAX_VALUE_BYTES:
            raise InvalidInputError(f"a value is over {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES)
        if not one.is_literal and holds_mask(ref.kind, one.value or ""):
            raise FieldError(
                f"it says {HIDDEN}, the mask of what is not shown",
                field=f"{field}.value",
                hint="null keeps what is stored; is_literal writes the three stars themselves",
            )
        facts = None if one.facts is None else Metadata(**facts_in(one.facts))
        secret = None if one.value is None else Secret(one.value)
        return Change(
            ref=ref,
            secret=secret,
            metadata=facts,
            over={} if one.over is UNSET else facts_in(one.over),
            expected_version=one.expected_version,
        )
    raise refusal


ENDPOINTS = (
    Endpoint(
        "POST",
        "/entries",
        write_many,
        "Write up to 1,000 entries at once",
        "entries",
        takes=WriteBatch,
        asks=BatchQuery,
        gives=BatchWritten,
        errors=(404, 409, 413, 415, 422, 502, 503),
        is_change=True,
        cost=10.0,
    ),
)
