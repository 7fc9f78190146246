"""
`/backends`: the chain as it is asked, how each backend is, its settings, and drills.

Rules of this file:

1. A chain that the settings file manages is shown and cannot be changed; one of the server's is put in order
   by buttons, by keys and by dragging, which are one form.
2. What is said of a backend by the server stands beside what its settings say; nothing else of those is told
   but to who administers, and no text of them.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.meter import Figures
from strongroom.model.ref import KINDS
from strongroom.policy import Action
from strongroom.server.endpoint import Endpoint
from strongroom.server.proof import require_proof
from strongroom.server.ui.drills import span
from strongroom.server.ui.frame import Toast, Twin, form_of, is_htmx, page, redirect
from strongroom.server.ui.texts import say
from strongroom.service.arrangement import LEAST_PAUSE, MOST_PAUSE
from strongroom.service.backends import Said
from strongroom.service.bundle import shown_settings
from strongroom.wire.failure import without_paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.server.endpoint import Answer, Call
    from strongroom.server.form import Form
    from strongroom.service.backends import BackendRow, Checked

__all__ = ["ENDPOINTS", "milliseconds"]

_MAX_REASON = 500
_MAX_PATTERNS = 32_768
_SPANS = (("60", "1 min"), ("300", "5 min"), ("900", "15 min"), ("1800", "30 min"), ("3600", "1 h"))
_SETTINGS = ("on_unavailable", "team_fallback", "timeout_seconds", "match")


class View(NamedTuple):
    """
    One backend as the page shows it.

    Args:
        shape: of its state, as `ui.state` knows it.
        state: of it, in words.
        why: what is wrong, or "".
        spark: what an answer took in each of the last 60 minutes, 0 to 1; () where hardly anybody asked.
    """

    row: BackendRow
    figures: Figures
    shape: str
    state: str
    why: str
    checked: Checked | None
    spark: tuple[float, ...]
    is_hurt: bool

    @property
    def troubles(self) -> int:
        """How often it was unavailable."""
        return self.figures.outcomes.get("unavailable", 0)


class Typed(NamedTuple):
    """
    What was typed into a form that is shown again.

    Args:
        act: which form.
        values: by field.
        errors: by field.
    """

    act: str = ""
    values: Mapping[str, Any] = {}
    errors: Mapping[str, str] = {}


def milliseconds(value: float | None) -> str:
    """Give a time as the pages write it: 0.02 ms, 3.04 ms, 41.2 ms; an en dash for none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.2f} ms" if value < 10 else f"{value:,.1f} ms"  # noqa: PLR2004 -- two places below ten


# --- showing -------------------------------------------------------------------------------------


def backends(call: Call) -> Answer:
    """Show the chain."""
    return _show(call)


def backend(call: Call) -> Answer:
    """Show one backend beside the chain."""
    return _show(call, call.params["name"])


def _show(  # noqa: PLR0913 -- what a page may have to say besides
    call: Call,
    name: str | None = None,
    *,
    typed: Typed | None = None,
    trouble: str = "",
    status: int = 200,
    block: str | None = None,
    toast: Toast | None = None,
    moved: str = "",
) -> Answer:
    desk = call.room.backends
    rows, order = desk.list(), desk.order()
    at, checks = _checked(call)
    figures = desk.figures()
    views = [_view(row, figures.get(row.name) or Figures(), checks.get(row.name)) for row in rows]
    chosen = next((one for one in views if one.row.name == name), None)
    if name is not None and chosen is None:
        raise NotFoundError("the chain has no backend of that name")
    may = call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed
    return page(
        call,
        "backends.html",
        nav="backends",
        title="backends.title",
        twin=Twin("strongroom backends list", "GET", "/v1/backends"),
        status=status,
        block=block,
        toast=toast,
        views=views,
        chosen=chosen,
        order=order,
        checked_at=at,
        may_test=call.place.guard.can(call.identity.actor, Action.TEST, None).is_allowed,
        may_change=may,
        may_move=may and order.is_managed and len(views) > 1,
        typed=typed or Typed(),
        trouble=trouble,
        moved=moved,
        ms=milliseconds,
        spans=_SPANS,
        written=_options(call, chosen) if may and chosen is not None else (),
        said=order.said.get(name or "", Said()),
        kinds=KINDS,
    )


def _checked(call: Call) -> tuple[datetime | None, dict[str, Checked]]:
    """Give the last look at how they are, for who may have them looked at."""
    if not call.place.guard.can(call.identity.actor, Action.TEST, None).is_allowed:
        return None, {}
    found = call.room.backends.checked()
    return (None, {}) if found is None else (found[0], {one.name: one for one in found[1]})


def _view(row: BackendRow, figures: Figures, checked: Checked | None) -> View:
    shape, state = _state(row, figures, checked)
    times = [one.milliseconds for one in figures.minutes]
    most = max(times, default=0.0)
    busy = sum(1 for one in figures.minutes if one.asked)
    return View(
        row=row,
        figures=figures,
        shape=shape,
        state=state,
        why=without_paths(checked.health.message) if checked and checked.health.status == "error" else "",
        checked=checked,
        spark=tuple(time / most for time in times) if most and busy > 1 else (),
        is_hurt=any(one.troubles for one in figures.minutes),
    )


def _state(row: BackendRow, figures: Figures, checked: Checked | None) -> tuple[str, str]:
    if row.pause is not None:
        return "paused", say("backends.state.paused")
    if figures.silent is not None:
        return "bad", say("backends.state.silent", span=span(figures.silent))
    if checked is not None and checked.health.status == "error":
        return "bad", say("backends.state.error")
    if figures.answered is not None or (checked is not None and checked.health.status == "ready"):
        return "ok", say("backends.state.answers")
    return "unknown", say("backends.state.unknown")


def _options(call: Call, chosen: View) -> tuple[tuple[str, str], ...]:
    """Give what the settings file says of where it is and who we are to it: names, and no text of theirs."""
    told = shown_settings(call.place.settings)["backend"].get(chosen.row.name, {}).get("options", {})
    return tuple((name, _plain(value)) for name, value in sorted(told.items()))


def _plain(value: object) -> str:
    if isinstance(value, str) and value.startswith("<") and not value.startswith("<secret"):
        return say("backends.set")
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_plain(one)}" for name, one in sorted(value.items()))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# --- acts on the chain -----------------------------------------------------------------------------


def change(call: Call) -> Answer:
    """Put the chain in another order, or have every backend asked how it is."""
    form = form_of(call, "act", "names", "order", "move", "version")
    if form.text("act", most=10) == "check":
        call.room.backends.check()
        return _show(call) if is_htmx(call) else redirect(call, "/backends", toast=Toast("backends.checked"))
    require_proof(call)
    before = [row.name for row in call.room.backends.list()]
    names, moved = _wanted(form)
    version = form.text("version", most=20)
    try:
        if names != before:
            call.room.backends.arrange(names, expected=version or None)
    except ConflictError:
        return _show(call, trouble=say("backends.trouble.order"), status=409, block=_block(call, "chain"))
    except (ReadOnlyError, InvalidInputError) as error:
        return _show(call, trouble=_told(error), status=422, block=_block(call, "chain"))
    toast = _moved(names, before, moved)
    if not is_htmx(call):
        return redirect(call, "/backends", toast=toast)
    return _show(call, block="chain", toast=toast, moved=moved)


def _wanted(form: Form) -> tuple[list[str], str]:
    """Give the order that is asked for, and which backend was moved by a button."""
    names = list(form.all("names")) or [one for one in form.text("order", most=8192).split(",") if one]
    name, _, way = form.text("move", most=80).rpartition(":")
    if name in names:
        at = names.index(name)
        to = max(0, at - 1) if way == "up" else min(len(names) - 1, at + 1)
        names.insert(to, names.pop(at))
    return names, name


def _moved(names: Sequence[str], before: Sequence[str], moved: str) -> Toast | None:
    if list(names) == list(before):
        return None
    undo = {"act": "order", "order": ",".join(before)}
    if moved in names:
        given: dict[str, str | int] = {"name": moved, "place": names.index(moved) + 1, "count": len(names)}
        return Toast("backends.moved", given, "/backends", undo)
    return Toast("backends.ordered", {"order": ", ".join(names)}, "/backends", undo)


def _block(call: Call, name: str) -> str | None:
    return name if is_htmx(call) else None


def _told(error: Exception) -> str:
    hint = getattr(error, "hint", None)
    return f"{error}. {hint}" if hint else str(error)


# --- acts on one backend ---------------------------------------------------------------------------

_FIELDS = ("act", "version", "match", "kinds", "on_unavailable", "team_fallback", "timeout_seconds", "reason")


def change_one(call: Call) -> Answer:
    """Change what is said of a backend, pause it for a drill, or end that."""
    form = form_of(call, *_FIELDS, "seconds")
    act, name = form.text("act", most=10), call.params["name"]
    if act == "resume":
        with suppress(NotFoundError):  # it has ended by itself meanwhile: what was wanted is so
            call.room.backends.resume(name)
        return redirect(call, f"/backends/{name}", toast=Toast("backends.resumed", {"name": name}))
    require_proof(call)
    if act == "pause":
        return _pause(call, name, form)
    return _adjust(call, name, form)


def _pause(call: Call, name: str, form: Form) -> Answer:
    reason, seconds = form.text("reason", most=4 * _MAX_REASON), form.text("seconds", most=10)
    errors: dict[str, str] = {}
    if not reason.strip():
        errors["reason"] = say("backends.error.reason")
    elif len(reason) > _MAX_REASON or not reason.strip().isprintable():
        errors["reason"] = say("backends.error.long")
    lasts = timedelta(seconds=int(seconds)) if seconds.isascii() and seconds.isdigit() else timedelta()
    if not LEAST_PAUSE <= lasts <= MOST_PAUSE:
        errors["seconds"] = say("backends.error.seconds")
    values = {"reason": reason, "seconds": seconds}
    if errors:
        return _show(call, name, typed=Typed("pause", values, errors), status=422)
    try:
        call.room.backends.pause(name, lasts, reason=reason)
    except (ReadOnlyError, InvalidInputError) as error:
        return _show(call, name, typed=Typed("pause", values), trouble=_told(error), status=422)
    return redirect(call, f"/backends/{name}", toast=Toast("backends.paused", {"name": name}))


def _adjust(call: Call, name: str, form: Form) -> Answer:
    values = {one: form.text(one, most=_MAX_PATTERNS) for one in _SETTINGS}
    values["reason"] = form.text("reason", most=4 * _MAX_REASON)
    typed = Typed("settings", {**values, "kinds": form.all("kinds")})
    said, errors = _said(values, form.all("kinds"))
    if len(values["reason"]) > _MAX_REASON:
        errors["reason"] = say("backends.error.long")
    if errors:
        return _show(call, name, typed=typed._replace(errors=errors), status=422)
    version = form.text("version", most=20) or None
    try:
        call.room.backends.adjust(name, said, expected=version, reason=values["reason"])
    except ConflictError:
        return _show(call, name, typed=typed, trouble=say("backends.trouble.settings"), status=409)
    except (ReadOnlyError, InvalidInputError) as error:
        return _show(call, name, typed=typed, trouble=_told(error), status=422)
    return redirect(call, f"/backends/{name}", toast=Toast("backends.adjusted", {"name": name}))


def _said(values: Mapping[str, str], kinds: Sequence[str]) -> tuple[Said, dict[str, str]]:
    """Read what the form of settings says, and tell what is wrong in it; empty is as the file says."""
    errors: dict[str, str] = {}
    patterns = tuple(line.strip() for line in values["match"].splitlines() if line.strip())
    seconds = None
    if values["timeout_seconds"].strip():
        try:
            seconds = float(values["timeout_seconds"])
        except ValueError:
            errors["timeout_seconds"] = say("backends.error.timeout")
    fallback = {"": None, "yes": True, "no": False}.get(values["team_fallback"])
    found = Said(
        match=patterns or None,
        kinds=tuple(kinds) or None,  # type: ignore[arg-type]  # checked below
        on_unavailable=values["on_unavailable"] or None,  # type: ignore[arg-type]  # as above
        team_fallback=fallback,
        timeout_seconds=seconds,
    )
    for field in ("match", "kinds", "on_unavailable", "timeout_seconds"):
        try:
            Said(**{field: getattr(found, field)}).check()
        except InvalidInputError as error:
            errors.setdefault(
                field, say("backends.error.timeout") if field == "timeout_seconds" else str(error)
            )
    return found, errors


ENDPOINTS = (
    Endpoint("GET", "/backends", backends, "Show the chain", "page"),
    Endpoint("POST", "/backends", change, "Put the chain in order", "page", takes_form=True),
    Endpoint("GET", "/backends/{name}", backend, "Show one backend", "page"),
    Endpoint("POST", "/backends/{name}", change_one, "Change one backend", "page", takes_form=True),
)
