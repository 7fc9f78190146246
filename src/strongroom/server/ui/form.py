"""
The form of one entry: `/entries/new`, `/edit/…`, and what is asked while it is filled in.

    GET  /edit/KIND/NAME      the form                  POST /edit/KIND/NAME      what was typed, by its act
    GET  /entries/new         an empty one              POST /entries/new         as above
    POST /entries/KIND/NAME   save what was edited      POST /entries             save what is new

The acts: `review` shows what saving would change; `check` gives what lint says, field by field; `paste` fills
the form with a connection in any form; `type` lays it out for another type; `form` draws it again.

Rules of this file:

1. Nothing is written but by the two saves, and those write what the review showed.
2. What was typed is never lost: a form that is refused is drawn again with it, its secrets sealed.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from strongroom import catalog
from strongroom.catalog import FAMILIES
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
from strongroom.policy import Action
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.drafts import DRAFTS
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect, url_for
from strongroom.server.ui.sheet import VALUE, Sheet, id_of, remark_text, text_of
from strongroom.server.ui.texts import say
from strongroom.server.ui.trial import trial_words
from strongroom.service.entries import Change
from strongroom.service.merging import EXTRA, FACTS, Edit, MergeError, edited, save
from strongroom.wire.entry import TeamQuery
from strongroom.wire.shape import MAX_COMMENT_CHARACTERS, Asked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call
    from strongroom.server.form import Form
    from strongroom.server.ui.sheet import Part
    from strongroom.service.entries import Described

__all__ = ["ENDPOINTS", "NewQuery"]

_NAMES = (
    "f.",
    "w.",
    "s.",
    "c.",
    "u.",
    "take.",
    "act",
    "draft",
    "held",
    "paste_held",
    "seen",
    "comment",
    "paste",
    "pick",
    "kind",
    "name",
    "team",
    "to",
)
_KINDS = ("connection", "variable")
_BACKEND_WORDS = 200
_PASTED: dict[str, Any] = {"problem": "", "hint": "", "several": (), "draft": "", "form": "", "warnings": ()}


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


class _Held(NamedTuple):
    """What of a form waits on the server: secrets, and what stood before something was pasted."""

    secrets: Mapping[str, str]
    before: Mapping[str, str] | None = None
    before_secrets: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return "_Held(…)"


class _Desk:
    """One request about one form: what stands, what was typed, where it goes."""

    def __init__(self, call: Call, ref: Ref | None, found: Described | None) -> None:
        self.call = call
        self.ref = ref
        self.found = found
        self.form: Form = form_of(call, *_NAMES) if call.method == "POST" else call.form
        self.kind = ref.kind if ref is not None else self.form.text("kind") or "connection"
        if self.kind not in _KINDS:
            raise InvalidInputError("there is no such kind of entry", hint="connection or variable")
        self.sheet = Sheet(self.kind, found)
        self.name = ref.name if ref is not None else ""
        self.team = ref.team if ref is not None else None
        self.to = ""
        self.comment = ""
        self.pasted: dict[str, Any] = {}
        self.held = _Held({})

    # --- in ------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Take in what was typed."""
        form = self.form
        if self.ref is None:
            self.name = form.text("name", most=400).strip()
            self.team = form.text("team", most=400).strip() or None
        self.to = form.text("to", most=_BACKEND_WORDS)
        self.comment = form.text("comment")
        if len(self.comment) > MAX_COMMENT_CHARACTERS:
            self.sheet.errors["comment"] = say("form.too_long", most=MAX_COMMENT_CHARACTERS)
        key = form.text("draft", most=60)
        self.held = (DRAFTS.get(self.call, key) if key else None) or _Held({})
        self.sheet.read(form, self.held.secrets)
        expected = form.text("held", most=6)
        lost = int(expected) - len(self.held.secrets) if expected.isdecimal() else 0
        if lost > 0:
            self.sheet.errors[""] = say("form.gone_secrets", count=lost)

    # --- out -----------------------------------------------------------------------------------------

    @property
    def draft(self) -> str:
        """Put what must not be shown aside; gives what it is found by, "" where there is nothing."""
        secrets, before = self.sheet.secrets, self.held.before
        if not secrets and before is None:
            return ""
        held = (secrets, before or {}, self.held.before_secrets or {})
        size = sum(len(text) for texts in held for text in texts.values())
        return DRAFTS.put(self.call, self.held._replace(secrets=dict(secrets)), size=size)

    @property
    def here(self) -> str:
        """Where the form is asked."""
        if self.ref is None:
            return url_for(self.call, "/entries/new")
        return url_for(self.call, f"/edit/{self.ref.kind}/{self.ref.name}", team=self.ref.team)

    @property
    def saves(self) -> str:
        """Where it is saved."""
        if self.ref is None:
            return url_for(self.call, "/entries")
        return url_for(self.call, f"/entries/{self.ref.kind}/{self.ref.name}", team=self.ref.team)

    @property
    def away(self) -> str:
        """Where one goes who gives up."""
        return url_for(self.call, "/inventory") if self.ref is None else self.saves

    def twin(self) -> Twin:
        """Give the same as a command and as a call."""
        if self.ref is None:
            noun = f"{self.kind}s"
            verb = "add" if self.kind == "connection" else "set"
            typed = self.sheet.conn_type if self.kind == "connection" else ""
            more = f" --conn-type {_word(typed)}" if typed else ""
            value = " -" if self.kind == "variable" else ""
            name = self.name or "NAME"
            return Twin(
                f"strongroom {noun} {verb} {_word(name)}{value}{more}",
                "PUT",
                f"/v1/entries/{self.kind}/{quote(name)}",
            )
        if self.kind == "variable":
            return Twin(
                f"strongroom variables set {_word(self.name)} -",
                "PATCH",
                f"/v1/entries/variable/{quote(self.name)}",
            )
        said = "".join(f" {one}" for one in self._options())
        return Twin(
            f"strongroom connections edit {_word(self.name)}{said}",
            "PATCH",
            f"/v1/entries/connection/{quote(self.name)}",
        )

    def _options(self) -> list[str]:
        """Give the changes as options of the command; what is secret by its name alone."""
        found = []
        for path, value in self.sheet.changes().items():
            if path in FACTS:
                continue
            if value is None:
                found.append(f"--unset {_word(path)}")
            elif path in self.sheet.secrets:
                found.append(f"--set-from {_word(path)}=-")
            else:
                found.append(f"--set {_word(f'{path}={text_of(value)}')}")
        return found

    def words(self) -> dict[str, Any]:
        """Give what every view of the form prints."""
        found, parts = self.found, self.sheet.parts()
        return {
            "sheet": self.sheet,
            "parts_": parts,
            "about": self.sheet.about(),
            "kind": self.kind,
            "name": self.name,
            "entry_team": self.team,
            "found": found,
            "is_new": self.ref is None,
            "draft": self.draft,
            "here": self.here,
            "saves": self.saves,
            "away": self.away,
            "to": self.to,
            "comment": self.comment,
            "pasted": _PASTED | self.pasted,
            "reveals": self._reveals(),
            "id_of": id_of,
            "errors": dict(self.sheet.errors),
            "said_top": self._said_top(parts),
            "changed": self._changed(),
            "to_correct": [
                {"id": _control(path), "label": self._label(path), "text": text}
                for path, text in self.sheet.errors.items()
            ],
        }

    def _reveals(self) -> dict[str, dict[str, str]]:
        """Give where each sealed field is shown and where it is copied, for who may reveal."""
        ref, actor = self.ref, self.call.identity.actor
        if ref is None or not self.call.place.guard.can(actor, Action.REVEAL, ref).is_allowed:
            return {}
        address = f"/reveal/{ref.kind}/{ref.name}"
        return {
            path: {
                act: url_for(self.call, address, team=ref.team, part=path, act=act)
                for act in ("show", "copy")
            }
            for path in self.sheet.stored
            if path not in FACTS
        }

    def _label(self, path: str) -> str:
        key = {"": "title", "comment": "why", "conn_type": "type"}.get(path, path)
        if key in ("title", "why", "type", "name", "team", "to", "extra"):
            return say(f"form.{key}")
        return self.sheet.box(path).label

    def _changed(self) -> list[str]:
        return [path.removeprefix(EXTRA) for path in self.sheet.changes()]

    def _said_top(self, parts: tuple[Part, ...]) -> list[str]:
        """Give what lint says of no field that is drawn."""
        drawn = {box.path for part in parts for box in part.all}
        return [
            remark_text(one) for one in self.sheet.remarks if one.level != "note" and one.field not in drawn
        ]

    def show(self, *, status: int = 200, block: str | None = None) -> Answer:
        """Give the form."""
        call, found = self.call, self.found
        ref = None if found is None else found.ref
        title = "form.edit" if ref is not None else f"form.new_{self.kind}"
        return page(
            call,
            "form.html",
            nav="inventory",
            title=title,
            twin=self.twin(),
            status=status,
            block=block,
            types=_types(self.sheet.conn_type),
            is_type_known=not self.sheet.conn_type or catalog.find(self.sheet.conn_type) is not None,
            places=self._places(),
            cannot=self._cannot(),
            tests=trial_words(call, ref),
            **self.words(),
        )

    def _places(self) -> list[str]:
        if self.ref is not None and not self._is_read_only():
            return []
        with suppress(StrongroomError):
            return [row.name for row in self.call.room.backends.list() if "write" in row.abilities]
        return []

    def _is_read_only(self) -> bool:
        if self.found is None:
            return False
        with suppress(StrongroomError):
            for row in self.call.room.backends.list():
                if row.name == self.found.backend:
                    return "write" not in row.abilities
        return False

    def _cannot(self) -> str:
        """Give why what stands cannot be changed here, as far as that is known before it is tried."""
        ref, found = self.ref, self.found
        if (
            ref is not None
            and not self.call.place.guard.can(self.call.identity.actor, Action.WRITE, ref).is_allowed
        ):
            return say("form.may_not")
        if found is not None and self._is_read_only():
            return say("form.read_only", backend=found.backend)
        return ""


# --- looking ---------------------------------------------------------------------------------------


def edit_form(call: Call) -> Answer:
    """Show the form of an entry."""
    ref = _ref(call)
    found = call.room.entries.describe(ref)
    return _Desk(call, found.ref, found).show()


def new_form(call: Call) -> Answer:
    """Show the form of a new entry."""
    asked = call.asked(NewQuery)
    desk = _Desk(call, None, None)
    desk.kind = asked.kind if asked.kind in _KINDS else "connection"
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


def _ref(call: Call, team: str | None = None) -> Ref:
    asked = team if team is not None else call.asked(TeamQuery).team
    return Ref(call.params["kind"], call.params["name"], asked or None)  # type: ignore[arg-type]  # Ref checks the kind


# --- while it is filled in -------------------------------------------------------------------------


def edit_act(call: Call) -> Answer:
    """Do what the form of an entry asks while it is filled in."""
    ref = _ref(call)
    found = call.room.entries.describe(ref)
    return _act(_Desk(call, found.ref, found))


def new_act(call: Call) -> Answer:
    """Do what the form of a new entry asks while it is filled in."""
    return _act(_Desk(call, None, None))


def _act(desk: _Desk) -> Answer:
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


def _paste(desk: _Desk) -> Answer:
    from strongroom.transfer.forms import forms, read_any  # noqa: PLC0415 -- thirty files, for this alone

    text, pick = desk.form.text("paste"), desk.form.text("pick", most=400)
    kept = desk.form.text("paste_held", most=60)
    if kept and not text:
        text = (DRAFTS.get(desk.call, kept) or _Held({})).secrets.get("paste", "")
    dialect = desk.call.place.settings.lookup.dialect
    try:
        read = read_any(text, dialect=dialect)
    except InvalidInputError as error:
        desk.pasted = {"problem": _problem(error), "hint": error.hint or ""}
        return desk.show(status=422)
    several = [name for name in read.connections if name is not None]
    if len(read.connections) > 1 and pick not in several:
        key = DRAFTS.put(desk.call, _Held({"paste": text}), size=len(text))
        desk.pasted = {"several": several, "draft": key}
        return desk.show()
    name = pick if pick in several else next(iter(read.connections))
    desk.held = _Held({}, before=dict(desk.sheet.typed), before_secrets=dict(desk.sheet.secrets))
    filled, sealed = desk.sheet.put_connection(read.connections[name])
    if desk.ref is None and not desk.name and name:
        desk.name = name
    title = next((one.title for one in forms() if one.name == read.form), read.form)
    desk.pasted = {"form": title, "filled": filled, "sealed": sealed, "warnings": read.warnings}
    return desk.show()


def _unpaste(desk: _Desk) -> Answer:
    """Give the form as it was before something was pasted."""
    if desk.held.before is not None:
        desk.sheet.typed = dict(desk.held.before)
        desk.sheet.secrets = dict(desk.held.before_secrets or {})
        desk.held = _Held({})
    return desk.show()


def _problem(error: InvalidInputError) -> str:
    said = f"{str(error)[:1].upper()}{str(error)[1:]}"
    return f"{said}, at character {error.offset + 1}." if error.offset is not None else f"{said}."


def _review(desk: _Desk) -> Answer:
    """Show what saving would change, or what needs correcting first."""
    changes = _checked(desk)
    if desk.sheet.errors:
        return desk.show(status=422)
    return _reviewed(desk, changes)


def _checked(desk: _Desk) -> dict[str, object]:
    """Give the changes, and tell what is missing of a new entry."""
    sheet = desk.sheet
    changes = sheet.changes()
    if desk.ref is None:
        try:
            Ref(desk.kind, desk.name, desk.team)  # type: ignore[arg-type]  # one of two
        except InvalidInputError as error:
            sheet.errors["name"] = say("form.name_missing") if not desk.name else f"{_problem(error)}"
        if desk.kind == "connection" and not sheet.conn_type:
            sheet.errors["conn_type"] = say("form.type_missing")
        if desk.kind == "variable" and VALUE not in sheet.secrets:
            sheet.errors[VALUE] = say("form.value_missing")
    if desk.kind == "connection" and not sheet.errors:
        sheet.connection()  # what does not fit together is told here
    return changes


def _reviewed(desk: _Desk, changes: Mapping[str, object]) -> Answer:
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


# --- saving ----------------------------------------------------------------------------------------


def save_edit(call: Call) -> Answer:
    """Save what was edited; a conflict is shown field by field."""
    ref = _ref(call)
    try:
        found = call.room.entries.describe(ref)
    except NotFoundError:
        return _gone(call, ref)
    desk = _Desk(call, ref, found)
    desk.take()
    _settle(desk)
    changes = _checked(desk)
    if desk.sheet.errors:
        return desk.show(status=422)
    if not changes:
        return redirect(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team, toast=Toast("form.nothing"))
    try:
        return _saved(desk, changes)
    except MergeError as error:
        # What it would be merged with is read anew: it may be newer still.
        desk = _Desk(call, ref, call.room.entries.describe(ref))
        desk.take()
        return _merge(desk, error)
    except InvalidInputError as error:
        desk.sheet.errors[""] = _problem(error)
        return desk.show(status=422)


def _settle(desk: _Desk) -> None:
    """Drop the changes of which the other's is to stand."""
    for name in desk.form.names:
        if name.startswith("take.") and desk.form.text(name) == "theirs":
            path = name[len("take.") :]
            desk.sheet.typed.pop(path, None)
            desk.sheet.was.pop(path, None)
            desk.sheet.secrets.pop(path, None)
            desk.sheet.out.discard(path)


def _saved(desk: _Desk, changes: Mapping[str, object]) -> Answer:
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


def _anew(desk: _Desk, changes: Mapping[str, object]) -> Change:
    """Give what replaces an entry that cannot be read."""
    ref, found = desk.ref, desk.found
    if ref is None or found is None:
        raise AssertionError  # asked of an edit
    change = _new_change(ref, changes, found.metadata)
    return Change(ref=ref, secret=change.secret, metadata=change.metadata, seen=found.version)


def create(call: Call) -> Answer:
    """Save a new entry."""
    desk = _Desk(call, None, None)
    desk.take()
    changes = _checked(desk)
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
        desk.sheet.errors[""] = _problem(error)
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


def _merge(desk: _Desk, error: MergeError) -> Answer:
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
    desk = _Desk(call, None, None)
    desk.kind, desk.sheet = ref.kind, Sheet(ref.kind)
    desk.take()
    desk.name, desk.team = ref.name, ref.team
    desk.sheet.errors["name"] = say("form.gone", name=ref.name)
    return desk.show(status=409)


def touched(call: Call) -> Answer:
    """Tell who read an entry in the last day: whom a change of it touches."""
    ref = _ref(call)
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


# --- what the form is made of ----------------------------------------------------------------------


def _types(chosen: str) -> list[dict[str, Any]]:
    """Give the types of the catalog by family, and the one that is chosen where the catalog lacks it."""
    groups = [
        {
            "group": say(f"form.family_{family}"),
            "options": [(name, _title(name)) for name in names],
        }
        for family, names in FAMILIES.items()
    ]
    if chosen and catalog.find(chosen) is None:
        groups.append({"group": say("form.type_other"), "options": [(chosen, chosen)]})
    return groups


def _title(name: str) -> str:
    kind = catalog.find(name)
    return name if kind is None else kind.title


def _control(path: str) -> str:
    """Give the id of the control that an error is about."""
    return {
        "": "main",
        "name": "f-name",
        "comment": "f-comment",
        "extra": "s-extra",
        "conn_type": "f-conn_type",
    }.get(path, id_of(path))


def _word(text: str) -> str:
    return shlex.quote(text)


ENDPOINTS = (
    Endpoint("GET", "/entries/new", new_form, "Show the form of a new entry", "page", asks=NewQuery),
    Endpoint("POST", "/entries/new", new_act, "Fill in the form of a new entry", "page", takes_form=True),
    Endpoint("POST", "/entries", create, "Save a new entry", "page", takes_form=True, is_change=True),
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
        "POST",
        "/entries/{kind}/{name:path}",
        save_edit,
        "Save an entry",
        "page",
        asks=TeamQuery,
        takes_form=True,
        is_change=True,
    ),
    Endpoint(
        "GET", "/touched/{kind}/{name:path}", touched, "Tell whom a change touches", "page", asks=TeamQuery
    ),
)
