"""`PATCH /entries/…`: some fields of an entry, merged with what somebody else wrote meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.server.api.asked import Condition, bounded, entry_of
from strongroom.server.api.entries import facts_in
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.entries import HIDDEN
from strongroom.service.merging import FACTS, Edit, save
from strongroom.wire.entry import EditEntry, EntryEdited, FactsOver, WriteQuery
from strongroom.wire.failure import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def edit(call: Call) -> Answer:
    """Change some fields of an entry; `If-Match` refuses what would be a merge."""
    asked, body = call.asked(WriteQuery), call.take(EditEntry)
    ref = entry_of(call, asked.team)
    condition = Condition.of(call)
    if condition.none_match is not None:
        raise InvalidInputError("what does not exist cannot be edited", hint="PUT writes it")
    entries = call.room.entries
    found = entries.describe(ref)
    condition.check(found.version, stands=found.ref == ref)
    made = Edit(
        ref=ref,
        changes=_changes(body.changes),
        seen=found.version if body.seen is None else body.seen,
        was=_facts(body.was, "was"),
    )
    comment = bounded(body.comment, field="comment")
    refusal: FieldError | None = None
    try:
        saved = condition.around(lambda: save(entries, made, to=asked.at, force=asked.force, comment=comment))
        answer = EntryEdited(
            kind=ref.kind,
            name=ref.name,
            team=ref.team,
            backend=saved.written.backend,
            version=saved.written.version,
            merged=list(saved.merged),
        )
        return Answer(answer, etag=saved.written.version)
    except ConflictError:
        raise
    except InvalidInputError as error:
        if type(error) is not InvalidInputError or error.limit is not None:
            raise
        refusal = FieldError(str(error), field="$.changes", hint=error.hint)
    raise refusal


def _changes(said: Mapping[str, Any]) -> dict[str, object]:
    if not said:
        raise FieldError("nothing is changed", field="$.changes")
    if HIDDEN in said.values():
        raise FieldError(
            f"a field says {HIDDEN}, the mask of what is not shown",
            field="$.changes",
            hint="leave it out: what is not said stays as it is stored",
        )
    return _facts(said, "changes")


def _facts(said: Mapping[str, Any], name: str) -> dict[str, object]:
    """Give *said* with its public members checked, moments as such."""
    public = {key: value for key, value in said.items() if key in FACTS}
    refusal: FieldError | None = None
    try:
        facts = msgspec.convert(public, FactsOver)
    except msgspec.ValidationError:
        refusal = FieldError("a public member is of another type", field=f"$.{name}")
    else:
        return {**said, **facts_in(facts)}
    raise refusal


ENDPOINTS = (
    Endpoint(
        "PATCH",
        "/entries/{kind}/{name:path}",
        edit,
        "Change some fields of an entry",
        "entries",
        takes=EditEntry,
        asks=WriteQuery,
        gives=EntryEdited,
        errors=(404, 409, 412, 413, 415, 422, 502, 503),
        is_change=True,
    ),
)
