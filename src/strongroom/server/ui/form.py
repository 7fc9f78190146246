"""
The form of one entry: `/entries/new`, `/edit/…`, and what is asked while it is filled in.

    GET  /edit/KIND/NAME      the form                  POST /edit/KIND/NAME      what was typed, by its act
    GET  /entries/new         an empty one              POST /entries/new         as above

The acts: `review` shows what saving would change; `check` gives what lint says, field by field; `paste` fills
the form with a connection in any form; `type` lays it out for another type; `form` draws it again. Nothing is
written here (`saving.py`).
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.errors import (
    InvalidInputError,
)
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.drafts import DRAFTS
from strongroom.server.ui.frame import page
from strongroom.server.ui.sheet import Sheet, remark_text, text_of
from strongroom.service.merging import EXTRA
from strongroom.wire.entry import TeamQuery
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call

from strongroom.server.ui.desk import KINDS, Aside, Desk, problem_of, ref_in

__all__ = ["ENDPOINTS", "NewQuery"]


class NewQuery(Asked, kw_only=True):
    """
    What a new entry is begun with.

    Args:
        kind: connection or variable.
        type: of a connection.
        name: of it.
        team: whose.
        copy: name of the entry whose public fields it begins with.
    """

    kind: str = "connection"
    type: str = ""
    name: str = ""
    team: str | None = None
    copy: str = ""


# --- looking ---------------------------------------------------------------------------------------


def edit_form(call: Call) -> Answer:
    """Show the form of an entry."""
    ref = ref_in(call)
    found = call.room.entries.describe(ref)
    return Desk(call, found.ref, found).show()


def new_form(call: Call) -> Answer:
    """Show the form of a new entry."""
    asked = call.asked(NewQuery)
    desk = Desk(call, None, None)
    desk.kind = asked.kind if asked.kind in KINDS else "connection"
    desk.sheet = Sheet(desk.kind)
    desk.name, desk.team = asked.name, asked.team
    if asked.type and desk.kind == "connection":
        desk.sheet.put("conn_type", asked.type.strip().lower()[:100])
    if asked.copy:
        found = call.room.entries.describe(Ref(desk.kind, asked.copy, asked.team))  # type: ignore[arg-type]  # one of two
        for path, value in Sheet(desk.kind, found).stored.items():
            if text_of(value) and path not in ("remind_at", "not_after", "expires_at"):
                desk.sheet.put(path, value)
    return desk.show()


# --- while it is filled in -------------------------------------------------------------------------


def edit_act(call: Call) -> Answer:
    """Do what the form of an entry asks while it is filled in."""
    ref = ref_in(call)
    found = call.room.entries.describe(ref)
    return _act(Desk(call, found.ref, found))


def new_act(call: Call) -> Answer:
    """Do what the form of a new entry asks while it is filled in."""
    return _act(Desk(call, None, None))


def _act(desk: Desk) -> Answer:
    desk.take()
    act = desk.form.text("act", most=40) or "review"
    if act == "check":
        return desk.show(block="check")
    if act == "paste":
        return _paste(desk)
    if act == "unpaste":
        return _unpaste(desk)
    if act == "review":
        return _review(desk)
    desk.sheet.changes()
    return desk.show()


def _paste(desk: Desk) -> Answer:
    from strongroom.transfer.forms import forms, read_any  # noqa: PLC0415 -- thirty files, for this alone

    text, pick = desk.form.text("paste"), desk.form.text("pick", most=400)
    kept = desk.form.text("paste_held", most=60)
    if kept and not text:
        text = (DRAFTS.get(desk.call, kept) or Aside({})).secrets.get("paste", "")
    dialect = desk.call.place.settings.lookup.dialect
    try:
        read = read_any(text, dialect=dialect)
    except InvalidInputError as error:
        desk.pasted = {"problem": problem_of(error), "hint": error.hint or ""}
        return desk.show(status=422)
    several = [name for name in read.connections if name is not None]
    if len(read.connections) > 1 and pick not in several:
        key = DRAFTS.put(desk.call, Aside({"paste": text}), size=len(text))
        desk.pasted = {"several": several, "draft": key}
        return desk.show()
    name = pick if pick in several else next(iter(read.connections))
    desk.held = Aside({}, before=dict(desk.sheet.typed), before_secrets=dict(desk.sheet.secrets))
    filled, sealed = desk.sheet.put_connection(read.connections[name])
    if desk.ref is None and not desk.name and name:
        desk.name = name
    title = next((one.title for one in forms() if one.name == read.form), read.form)
    desk.pasted = {"form": title, "filled": filled, "sealed": sealed, "warnings": read.warnings}
    return desk.show()


def _unpaste(desk: Desk) -> Answer:
    """Give the form as it was before something was pasted."""
    if desk.held.before is not None:
        desk.sheet.typed = dict(desk.held.before)
        desk.sheet.secrets = dict(desk.held.before_secrets or {})
        desk.held = Aside({})
    return desk.show()


def _review(desk: Desk) -> Answer:
    """Show what saving would change, or what needs correcting first."""
    changes = desk.checked()
    if desk.sheet.errors:
        return desk.show(status=422)
    return _reviewed(desk, changes)


def _reviewed(desk: Desk, changes: Mapping[str, object]) -> Answer:
    sheet = desk.sheet
    words = desk.words()
    rows = [_row(sheet, path, value) for path, value in changes.items()]
    same = sum(
        1 for path, value in sheet.stored.items() if value not in (None, (), False) and path not in changes
    )
    return page(
        desk.call,
        "review.html",
        nav="inventory",
        title="form.review",
        twin=desk.twin(),
        block="main",
        rows=rows,
        same=same,
        remarks=[(one.level, remark_text(one), one.rule) for one in sheet.remarks],
        looks={path: text_of(value) for path, value in sheet.looks().items()},
        **words,
    )


def _row(sheet: Sheet, path: str, value: object) -> dict[str, object]:
    stored = sheet.stored.get(path)
    is_sealed = path in sheet.secrets or path in sheet.out
    if is_sealed:
        before = "" if stored not in (None, "") else None
        after = None if path in sheet.out else ""
    else:
        before, after = text_of(stored) or None, text_of(value) or None
    return {
        "field": path.removeprefix(EXTRA),
        "before": before,
        "after": after,
        "sealed": is_sealed,
        "same": False,
    }


def touched(call: Call) -> Answer:
    """Tell who read an entry in the last day: whom a change of it touches."""
    ref = ref_in(call)
    since = (datetime.now(timezone.utc) - timedelta(days=1)).isoformat()
    known: dict[str, int] | None = None
    # Asked first: a refusal would go on record, and nobody asked for the audit.
    if call.place.guard.can(call.identity.actor, Action.DESCRIBE, None).is_allowed:
        found = call.room.audit.readers(ref).readers
        late = [one for one in found if one.last_at.replace("Z", "+00:00") >= since and one.action == "read"]
        tasks = {(one.dag_id, one.task_id) for one in late if one.dag_id}
        known = {
            "tasks": len(tasks),
            "dags": len({dag for dag, _ in tasks}),
            "others": len({one.actor for one in late if not one.dag_id}),
        }
    block = "read_by" if call.headers.get("hx-target") == "read-by" else "touched"
    return page(
        call, "touched.html", nav="inventory", title="form.touched", block=block, ref=ref, known=known
    )


ENDPOINTS = (
    Endpoint("GET", "/entries/new", new_form, "Show the form of a new entry", "page", asks=NewQuery),
    Endpoint("POST", "/entries/new", new_act, "Fill in the form of a new entry", "page", takes_form=True),
    Endpoint(
        "GET", "/edit/{kind}/{name:path}", edit_form, "Show the form of an entry", "page", asks=TeamQuery
    ),
    Endpoint(
        "POST",
        "/edit/{kind}/{name:path}",
        edit_act,
        "Fill in the form of an entry",
        "page",
        asks=TeamQuery,
        takes_form=True,
    ),
    Endpoint(
        "GET", "/touched/{kind}/{name:path}", touched, "Tell whom a change touches", "page", asks=TeamQuery
    ),
)
