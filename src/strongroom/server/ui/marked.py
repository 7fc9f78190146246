"""
What is done with several marked lines of the inventory: owner, tags, tests, a list of them, deleting.

    POST /inventory/marked   asks what the act needs: act=owner|tag|test|export|delete, mark=… for each line
    POST /inventory/owner    and so on: does it, and goes back to the list
    POST /inventory/undo     takes the last act back

Rules of this file:

1. The services decide and record each change. What somebody may not do, or a store cannot, is told beside its
   line and left out.
2. What can be undone happens at once and offers Undo; what cannot asks to type how many go.
3. A list that is taken away holds no value: `strongroom connections export` reveals, one by one and recorded.
"""

from __future__ import annotations

import csv
import io
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from strongroom.errors import InvalidInputError, NotFoundError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.reach import is_on, tried
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect, url_for
from strongroom.server.ui.inventory import mark_of
from strongroom.server.ui.twins import call_of, command_of
from strongroom.service.entries import Change
from strongroom.wire.failure import FieldError
from strongroom.wire.listed import members_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.server.endpoint import Call
    from strongroom.server.form import Form
    from strongroom.service.backends import BackendRow
    from strongroom.service.inventory import Row
    from strongroom.service.registration import Registration

__all__ = ["ENDPOINTS"]

Act = Literal["owner", "tag", "test", "export", "delete"]
_NEEDS: Mapping[str, Action | None] = {
    "owner": Action.WRITE,
    "tag": Action.WRITE,
    "test": Action.TEST,
    "export": None,
    "delete": Action.DELETE,
}
_MOST = 500  # lines at once
_MOST_TESTS = 5  # in a minute: `server/reach.py`
_MAX_OWNER = 250
_MAX_TAG, _MAX_TAGS = 100, 50
_UNDO_SECONDS = 600.0
_MAX_UNDOS = 200


class Marked(NamedTuple):
    """
    One line that was marked.

    Args:
        mark: as it was sent.
        line: as it stands.
        why_not: why the act leaves it out; "" where it does not.
    """

    mark: str
    line: Registration
    why_not: str

    @property
    def row(self) -> Row:
        """What it says."""
        return self.line.row


# --- asking ------------------------------------------------------------------------------------------


def ask(call: Call) -> Answer:
    """Ask what an act on the marked lines needs."""
    form = form_of(call, "act", "mark", "back")
    act = form.text("act", most=20)
    if act not in _NEEDS:
        raise InvalidInputError("there is no such act", hint=f"one of {', '.join(_NEEDS)}")
    return _asked(call, act, form)


def _asked(call: Call, act: str, form: Form, error: FieldError | None = None) -> Answer:
    found = _marked(call, act, form.all("mark"))
    chosen = [one for one in found if not one.why_not]
    is_lasting = act == "delete" and not all(_keeps(call, one) for one in chosen)
    return page(
        call,
        "marked.html",
        nav="inventory",
        title=f"marked.{act}_title",
        twin=_twin(act, chosen),
        status=422 if error else 200,
        act=act,
        found=found,
        chosen=chosen,
        back=_back(call, form.text("back", most=8000)),
        typed={name: form.text(name, most=8000) for name in ("owner", "add", "drop")},
        wrong=None if error is None else (error.field.removeprefix("$."), str(error)),
        word=_word(chosen) if is_lasting else "",
        tests_on=is_on(call),
        most_tests=_MOST_TESTS,
        owners=_owners(call),
    )


def _twin(act: str, chosen: Sequence[Marked]) -> Twin | None:
    if act == "delete" and len(chosen) == 1:
        row = chosen[0].row
        return Twin(
            command_of(f"{row.ref.kind}s delete", {}, row.ref.name, team=row.ref.team),
            "DELETE",
            call_of(f"/v1/entries/{row.ref.kind}/{quote(row.ref.name)}", {"team": row.ref.team or ""}),
        )
    return None


def _word(chosen: Sequence[Marked]) -> str:
    return chosen[0].row.ref.name if len(chosen) == 1 else str(len(chosen))


def _owners(call: Call) -> list[str]:
    """Give the owners there are, to choose from."""
    from strongroom.service.registered import Asked  # noqa: PLC0415 -- beside its use

    owners = call.room.register.find(Asked(count=0)).whole.get("owner", {})
    return sorted(owner for owner in owners if owner)


def _marked(call: Call, act: str, marks: Sequence[str]) -> list[Marked]:
    """
    Give the lines that *marks* name, as they stand now and may be seen.

    Raises:
        InvalidInputError: none is marked, too many are, or one names no line.
    """
    if not marks:
        raise InvalidInputError("no line is marked", hint="mark at least one")
    if len(marks) > _MOST:
        raise InvalidInputError(f"at most {_MOST} lines are acted on at once", limit=_MOST)
    wanted = dict.fromkeys(marks)
    refs = [_ref_in(mark) for mark in wanted]
    there = {mark_of(line): line for line in call.room.register.lines(refs)}
    places = {row.name: row for row in call.room.backends.list()}
    return [
        Marked(mark, there[mark], _why_not(call, act, there[mark], places))
        for mark in wanted
        if mark in there
    ]


def _ref_in(mark: str) -> Ref:
    parts = mark.split("/", 3)
    if len(parts) != 4:  # noqa: PLR2004 -- backend, kind, team, name
        raise InvalidInputError("a mark names no line")
    _, kind, team, name = parts
    return Ref(kind, name, None if team == "-" else team)  # type: ignore[arg-type]  # Ref checks it


def _why_not(call: Call, act: str, line: Registration, places: Mapping[str, BackendRow]) -> str:
    row, needs = line.row, _NEEDS[act]
    if needs is not None and not call.room.policies.can(needs, row.ref).is_allowed:
        return "denied"
    if act == "test" and (row.ref.kind != "connection" or row.shadowed_by):
        return "untested"
    place = places.get(row.backend)
    if needs in (Action.WRITE, Action.DELETE) and (
        place is None or place.is_read_only or "write" not in place.abilities
    ):
        return "read_only"
    return ""


def _keeps(call: Call, one: Marked) -> bool:
    """Tell whether deleting *one* leaves what can be brought back."""
    places = {row.name: row for row in call.room.backends.list()}
    return "versions" in places[one.row.backend].abilities


def _back(call: Call, text: str) -> str:
    """Give the address of the list to go back to: ours, or the whole list."""
    home = url_for(call, "/inventory")
    parts = None
    with suppress(ValueError):  # an address of brackets is none
        parts = urlsplit(text)
    return text if parts is not None and parts[:3] == ("", "", home) else home


def _query(back: str) -> dict[str, object]:
    return dict(parse_qs(urlsplit(back).query, keep_blank_values=True))


# --- acting ------------------------------------------------------------------------------------------


def set_owner(call: Call) -> Answer:
    """Set the owner of the marked lines; nobody where none is said."""
    form = form_of(call, "mark", "back", "owner")
    try:
        owner = form.text("owner", most=_MAX_OWNER).strip() or None
        return _changed(call, "owner", form, lambda _row: {"owner": owner})
    except FieldError as error:
        return _asked(call, "owner", form, error)


def set_tags(call: Call) -> Answer:
    """Add tags to the marked lines, and take some away."""
    form = form_of(call, "mark", "back", "add", "drop")
    try:
        add, drop = (_tags(form, name) for name in ("add", "drop"))
    except FieldError as error:
        return _asked(call, "tag", form, error)
    if not add and not drop:
        return _asked(call, "tag", form, FieldError("Say which tags to add or to take away.", field="add"))

    def over(row: Row) -> dict[str, object]:
        return {"tags": tuple(sorted({*row.metadata.tags, *add} - {*drop}))[:_MAX_TAGS]}

    return _changed(call, "tag", form, over)


def _tags(form: Form, name: str) -> list[str]:
    tags = [one.strip().lstrip("#") for one in form.text(name, most=4000).replace(",", " ").split()]
    tags = [one for one in tags if one]
    if any(len(one) > _MAX_TAG for one in tags):
        raise FieldError(f"A tag has at most {_MAX_TAG} characters.", field=name)
    if len(tags) > _MAX_TAGS:
        raise FieldError(f"An entry has at most {_MAX_TAGS} tags.", field=name)
    return tags


def _changed(call: Call, act: str, form: Form, over: Callable[[Row], dict[str, object]]) -> Answer:
    chosen = [one for one in _marked(call, act, form.all("mark")) if not one.why_not]
    by_place: dict[str, list[Marked]] = {}
    for one in chosen:
        by_place.setdefault(one.row.backend, []).append(one)
    undo: list[tuple[str, Change]] = []
    for backend, several in by_place.items():
        changes = [Change(ref=one.row.ref, secret=None, over=over(one.row)) for one in several]
        call.room.entries.write_many(changes, to=backend, force=True, comment=f"{act} of several")
        for one, change in zip(several, changes, strict=True):
            before = {name: getattr(one.row.metadata, name) for name in change.over}
            undo.append((backend, Change(ref=one.row.ref, secret=None, over=before)))
    toast = Toast(f"marked.{act}_done", {"count": len(chosen)}, *_undoing(call, undo, ()))
    back = _back(call, form.text("back", most=8000))
    return redirect(call, "/inventory", toast=toast if chosen else None, **_query(back))


def test(call: Call) -> Answer:
    """Test the marked connections from this server, one after the other."""
    form = form_of(call, "mark", "back")
    chosen = [one for one in _marked(call, "test", form.all("mark")) if not one.why_not][:_MOST_TESTS]
    good, bad, untold = 0, 0, 0
    for one in chosen:
        try:
            is_ok = tried(call, one.row.ref).is_ok
        except StrongroomError:
            untold += 1
            continue
        good, bad = good + is_ok, bad + (not is_ok)
    toast = Toast("marked.test_done", {"good": good, "bad": bad, "untold": untold})
    back = _back(call, form.text("back", most=8000))
    return redirect(call, "/inventory", toast=toast, **_query(back))


def delete(call: Call) -> Answer:
    """Delete the marked lines where each stands."""
    form = form_of(call, "mark", "back", "typed")
    chosen = [one for one in _marked(call, "delete", form.all("mark")) if not one.why_not]
    is_lasting = not all(_keeps(call, one) for one in chosen)
    if is_lasting and form.text("typed", most=400).strip() != _word(chosen):
        return _asked(call, "delete", form, FieldError("This is not what stands above.", field="typed"))
    gone = []
    for one in chosen:
        try:
            call.room.entries.delete(one.row.ref, at=one.row.backend)
        except NotFoundError:
            continue
        gone.append((one.row.backend, one.row.ref))
    toast = Toast("marked.delete_done", {"count": len(gone)})
    if not is_lasting and gone:
        toast = Toast("marked.delete_done", {"count": len(gone)}, *_undoing(call, (), gone))
    back = _back(call, form.text("back", most=8000))
    return redirect(call, "/inventory", toast=toast, **_query(back))


def export(call: Call) -> Answer:
    """Give the marked lines as a file, without any value."""
    form = form_of(call, "mark", "back", "form")
    rows = [one.row for one in _marked(call, "export", form.all("mark"))]
    kind = form.text("form", most=10, default="csv")
    if kind == "json":
        body, media = (
            msgspec.json.format(msgspec.json.encode([members_of(row) for row in rows]), indent=2),
            "json",
        )
    else:
        body, media = _as_csv(rows).encode(), "csv"
    headers = {
        "content-disposition": f'attachment; filename="inventory-{call.deployment}.{media}"',
        "cache-control": "no-store",
    }
    return Answer(
        body, headers=headers, media_type="application/json" if media == "json" else "text/csv; charset=utf-8"
    )


def _as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180 §2
    names = ("kind", "name", "team", "backend", "shadowed_by", "conn_type", "owner", "tags", "version")
    writer.writerow((*names, "changed_at", "not_after", "expires_at", "state", "description"))
    for row in rows:
        facts = row.metadata
        said = (row.ref.kind, row.ref.name, row.ref.team, row.backend, row.shadowed_by, facts.conn_type)
        said += (facts.owner, " ".join(facts.tags), row.version, row.changed_at, facts.not_after)  # type: ignore[assignment]  # a line is as long as it is
        writer.writerow([_cell(one) for one in (*said, facts.expires_at, row.state.value, facts.description)])
    return text.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    # A spreadsheet would take it for a formula (OWASP, CSV injection).
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


# --- taking back -------------------------------------------------------------------------------------


class _Undo(NamedTuple):
    deployment: str
    actor: str
    until: float
    changes: tuple[tuple[str, Change], ...]
    gone: tuple[tuple[str, Ref], ...]


class _Undos:
    """What can be taken back for a while, by this process; a token names it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Undo] = OrderedDict()

    def keep(self, undo: _Undo) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[token] = undo
            while len(self._kept) > _MAX_UNDOS:
                self._kept.popitem(last=False)
        return token

    def take(self, token: str, deployment: str, actor: str) -> _Undo:
        with self._lock:
            found = self._kept.get(token)
            if found is None or (found.deployment, found.actor) != (deployment, actor):
                raise NotFoundError("there is nothing to take back any more")
            del self._kept[token]
        if time.monotonic() > found.until:
            raise NotFoundError("there is nothing to take back any more")
        return found


_UNDOS = _Undos()


def _undoing(
    call: Call, changes: Sequence[tuple[str, Change]], gone: Sequence[tuple[str, Ref]]
) -> tuple[str, dict[str, str]]:
    until = time.monotonic() + _UNDO_SECONDS
    undo = _Undo(call.deployment, call.identity.actor.id, until, tuple(changes), tuple(gone))
    return "/inventory/undo", {"token": _UNDOS.keep(undo)}


def take_back(call: Call) -> Answer:
    """Take the last act on marked lines back."""
    token = form_of(call, "token").text("token", most=64)
    undo = _UNDOS.take(token, call.deployment, call.identity.actor.id)
    by_place: dict[str, list[Change]] = {}
    for backend, change in undo.changes:
        by_place.setdefault(backend, []).append(change)
    for backend, changes in by_place.items():
        call.room.entries.write_many(changes, to=backend, force=True, comment="taken back")
    for backend, ref in undo.gone:
        call.room.entries.undelete(ref, at=backend)
    toast = Toast("marked.undone", {"count": len(undo.changes) + len(undo.gone)})
    return redirect(call, "/inventory", toast=toast)


def _endpoint(
    path: str, handler: Callable[[Call], object], summary: str, *, is_change: bool = True
) -> Endpoint:
    return Endpoint(
        "POST",
        f"/inventory/{path}",
        handler,
        summary,
        "inventory",
        takes_form=True,
        is_change=is_change,
        cost=2.0,
    )


ENDPOINTS = (
    _endpoint("marked", ask, "Ask what an act on marked lines needs", is_change=False),
    _endpoint("owner", set_owner, "Set the owner of marked lines"),
    _endpoint("tag", set_tags, "Add tags to marked lines, and take some away"),
    _endpoint("test", test, "Test marked connections from this server", is_change=False),
    _endpoint("export", export, "Give marked lines as a file, without values", is_change=False),
    _endpoint("delete", delete, "Delete marked lines"),
    _endpoint("undo", take_back, "Take the last act on marked lines back"),
)
