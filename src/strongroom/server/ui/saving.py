"""
What a form of an entry writes.

    POST /entries/KIND/NAME   save what was edited      POST /entries             save what is new

Rules of this file:

1. Nothing else of the form writes, and what is written is what the review showed.
2. What was typed is never lost: a form that is refused is drawn again with it, its secrets sealed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.principal import PERSON
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.drafts import DRAFTS
from strongroom.server.ui.frame import Toast, page, redirect
from strongroom.server.ui.sheet import VALUE, Sheet, text_of
from strongroom.server.ui.texts import say
from strongroom.service.entries import Change
from strongroom.service.merging import EXTRA, FACTS, Edit, MergeError, edited, save
from strongroom.wire.entry import TeamQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call

from strongroom.server.ui.desk import Desk, problem_of, ref_in

__all__ = ["ENDPOINTS"]


def save_edit(call: Call) -> Answer:
    """Save what was edited; a conflict is shown field by field."""
    ref = ref_in(call)
    try:
        found = call.room.entries.describe(ref)
    except NotFoundError:
        return _gone(call, ref)
    desk = Desk(call, ref, found)
    desk.take()
    _settle(desk)
    changes = desk.checked()
    if desk.sheet.errors:
        return desk.show(status=422)
    if not changes:
        return redirect(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team, toast=Toast("form.nothing"))
    try:
        return _saved(desk, changes)
    except MergeError as error:
        # What it would be merged with is read anew: it may be newer still.
        desk = Desk(call, ref, call.room.entries.describe(ref))
        desk.take()
        return _merge(desk, error)
    except InvalidInputError as error:
        desk.sheet.errors[""] = problem_of(error)
        return desk.show(status=422)


def _settle(desk: Desk) -> None:
    """Drop the changes of which the other's is to stand."""
    for name in desk.form.names:
        if name.startswith("take.") and desk.form.text(name) == "theirs":
            path = name[len("take.") :]
            desk.sheet.typed.pop(path, None)
            desk.sheet.was.pop(path, None)
            desk.sheet.secrets.pop(path, None)
            desk.sheet.out.discard(path)


def _saved(desk: Desk, changes: Mapping[str, object]) -> Answer:
    call, ref, found = desk.call, desk.ref, desk.found
    if ref is None or found is None:
        raise AssertionError  # asked of an edit
    edit = Edit(ref=ref, changes=changes, seen=desk.sheet.seen, was=desk.sheet.looks())
    options: dict[str, Any] = {"to": desk.to or None, "force": bool(desk.to), "comment": desk.comment}
    if ref.kind == "connection" and found.connection is None:
        written = call.room.entries.write(_anew(desk, changes), **options)
        merged: tuple[str, ...] = ()
    else:
        done = save(call.room.entries, edit, **options)
        written, merged = done.written, done.merged
    DRAFTS.drop(call, desk.form.text("draft", most=60))
    given: dict[str, str | int] = {"name": ref.name, "version": written.version or ""}
    text = "form.saved" if written.version else "form.saved_plain"
    if merged:
        text, given = "form.merged", {**given, "fields": ", ".join(merged)}
    toast = Toast(text, given)
    if found.version and written.version and written.backend == found.backend:
        fields = {"version": found.version, "seen": written.version}
        here = f"/rollback/{ref.kind}/{ref.name}" + (f"?team={quote(ref.team)}" if ref.team else "")
        toast = toast._replace(undo=here, fields=fields)
    return redirect(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team, toast=toast)


def _anew(desk: Desk, changes: Mapping[str, object]) -> Change:
    """Give what replaces an entry that cannot be read."""
    ref, found = desk.ref, desk.found
    if ref is None or found is None:
        raise AssertionError  # asked of an edit
    change = _new_change(ref, changes, found.metadata)
    return Change(ref=ref, secret=change.secret, metadata=change.metadata, seen=found.version)


def create(call: Call) -> Answer:
    """Save a new entry."""
    desk = Desk(call, None, None)
    desk.take()
    changes = desk.checked()
    if desk.sheet.errors:
        return desk.show(status=422)
    ref = Ref(desk.kind, desk.name, desk.team)  # type: ignore[arg-type]  # checked above
    change = _new_change(ref, changes, Metadata())
    try:
        call.room.entries.write(change, to=desk.to or None, comment=desk.comment)
    except ConflictError:
        desk.sheet.errors["name"] = say("form.name_taken", backend=_holder(call, ref))
        return desk.show(status=409)
    except InvalidInputError as error:
        desk.sheet.errors[""] = problem_of(error)
        return desk.show(status=422)
    DRAFTS.drop(call, desk.form.text("draft", most=60))
    toast = Toast("form.created", {"name": ref.name})
    return redirect(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team, toast=toast)


def _new_change(ref: Ref, changes: Mapping[str, object], metadata: Metadata) -> Change:
    facts: dict[str, Any] = {name: value for name, value in changes.items() if name in FACTS}
    if "tags" in facts:
        facts["tags"] = tuple(facts["tags"] or ())
    if "references" in facts:
        facts["references"] = bool(facts["references"])
    if ref.kind == "variable":
        value = changes.get(VALUE)
        secret = value if isinstance(value, Secret) else Secret(str(value or ""))
    else:
        said = {name: value for name, value in changes.items() if name not in FACTS or name == "description"}
        secret = edited(Connection(), said).format("json")
    return Change(
        ref=ref, secret=secret, metadata=replace(metadata, **facts), expected_version=MUST_BE_ABSENT
    )


def _holder(call: Call, ref: Ref) -> str:
    with suppress(StrongroomError):
        return call.room.entries.describe(ref).backend
    return call.deployment


# --- two people at once ----------------------------------------------------------------------------


def _merge(desk: Desk, error: MergeError) -> Answer:
    """Show the fields that both changed: what each wrote, and which is to stand."""
    sheet = desk.sheet
    changes = sheet.changes()
    both = [path for path in changes if path in error.fields or _is_under(path, error.fields)]
    rows = [
        {
            "path": path,
            "field": path.removeprefix(EXTRA),
            "sealed": path in sheet.secrets or path in sheet.out,
            "mine": text_of(changes[path]),
            "is_out": changes[path] is None,
            "theirs": text_of(sheet.stored.get(path)),
        }
        for path in both
    ]
    found = desk.found
    return page(
        desk.call,
        "merge.html",
        nav="inventory",
        title="form.merge",
        status=409,
        twin=desk.twin(),
        block="main",
        rows=rows,
        who=error.author.removeprefix(PERSON),
        version=None if found is None else found.version,
        merged=len(error.merged),
        own=len(changes) - len(both),
        fields_names=", ".join(str(row["field"]) for row in rows),
        looks={path: text_of(sheet.stored.get(path)) for path in changes},
        current=None if found is None else found.version,
        **desk.words(),
    )


def _is_under(path: str, fields: tuple[str, ...]) -> bool:
    return path.startswith(EXTRA) and "extra" in fields


def _gone(call: Call, ref: Ref) -> Answer:
    """Offer to create anew what was deleted while it was edited."""
    desk = Desk(call, None, None)
    desk.kind, desk.sheet = ref.kind, Sheet(ref.kind)
    desk.take()
    desk.name, desk.team = ref.name, ref.team
    desk.sheet.errors["name"] = say("form.gone", name=ref.name)
    return desk.show(status=409)


ENDPOINTS = (
    Endpoint("POST", "/entries", create, "Save a new entry", "page", takes_form=True, is_change=True),
    Endpoint(
        "POST",
        "/entries/{kind}/{name:path}",
        save_edit,
        "Save an entry",
        "page",
        asks=TeamQuery,
        takes_form=True,
        is_change=True,
    ),
)
