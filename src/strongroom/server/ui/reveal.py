"""
The one act of the page that shows a secret: asked for with a reason, on record before it answers, and gone
after thirty seconds.

    GET  /reveal/{kind}/{name}?part=password&act=show    asks for the reason, and reveals nothing
    POST /reveal/{kind}/{name}                           part, act, reason

Rules of this file:

1. A value leaves by POST alone, in the body alone, for the one part that was asked for. It is in no
   attribute, header, address or title, nothing a reader typed stands beside it, and it is not compressed:
   the length of an answer tells nothing of it (BREACH).
2. To copy is to reveal: the same proof, the same reason, the same record, which says which of both it was.
   The text goes to our script as `text/plain`; a browser that asks for a page gets none of it.
3. It is shown for thirty seconds. With script it is taken out of the page then, and when the page is left;
   without, the browser is sent back to the entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from strongroom.errors import InvalidInputError
from strongroom.server import revealing
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.entry import Look, around, named
from strongroom.server.ui.entry_rows import slot_of
from strongroom.server.ui.frame import Twin, form_of, page, redirect, url_for
from strongroom.service.policies import Approval
from strongroom.service.spelled import part_of
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS", "SECONDS"]

Act = Literal["show", "copy", "seal"]
SECONDS = 30
_MAX_REASON = 300  # characters: the record keeps 500, and says what was shown as well
_MAX_PART = 120
_PLAIN = "text/plain"
_SAID = {"show": "shown", "copy": "copied"}
_NO_BRACKETS = str.maketrans("[]", "()")  # what was shown is what a record's last brackets say
_UNPACKED = {"content-encoding": "identity"}


class RevealQuery(Asked, kw_only=True):
    """
    What of an entry.

    Args:
        team: whose; unsaid, the global one.
        part: `value`, `json`, `uri`, `env`, or a field.
        act: to see it, to copy it, or to leave it sealed after all.
    """

    team: str | None = None
    part: str = "value"
    act: Act = "show"


class RevealAct(Asked, kw_only=True):
    """Whose entry a reveal is of; the rest is in the form."""

    team: str | None = None


def ask(call: Call) -> Answer:
    """Ask why somebody wants to see a part; nothing is looked up for it."""
    asked = call.asked(RevealQuery)
    ref, part = named(call, asked.team), _part(asked.part)
    if asked.act == "seal" and call.headers.get("hx-request") != "true":
        return redirect(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team)
    return _slot(call, ref, part, asked.act, stage="seal" if asked.act == "seal" else "ask")


def reveal(call: Call) -> Answer:
    """Show a part of an entry, or hand it to the script that copies it; recorded with the reason."""
    asked, form = call.asked(RevealAct), form_of(call, "part", "act", "reason")
    ref, part = named(call, asked.team), _part(form.text("part", most=_MAX_PART))
    act: Act = "copy" if form.text("act", most=10) == "copy" else "show"
    reason, trouble = _reason(form.text("reason", most=_MAX_REASON * 4))
    if trouble:
        return _slot(call, ref, part, act, stage="ask", reason=reason, trouble=trouble, status=422)
    if act == "copy" and call.headers.get("accept", "") != _PLAIN:
        return _slot(
            call, ref, part, act, stage="ask", reason=reason, trouble="reveal.needs_script", status=422
        )
    found = revealing.reveal(call, ref, reason=f"{reason} [{part.translate(_NO_BRACKETS)} {_SAID[act]}]")
    if isinstance(found, Approval):
        return _slot(call, ref, part, act, stage="waiting", approval=found, status=202)
    text = part_of(found, part)
    if act == "copy":
        return Answer(
            text.encode(), headers={"cache-control": "no-store"}, media_type=f"{_PLAIN}; charset=utf-8"
        )
    back = url_for(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team)
    headers = {**_UNPACKED, "refresh": f"{SECONDS}; url={back}"}
    return _slot(call, ref, part, act, stage="shown", text=text, version=found.version, headers=headers)


def _part(text: str) -> str:
    """
    Give the part that was asked for.

    Raises:
        InvalidInputError: it can be none.
    """
    if not text or len(text) > _MAX_PART or not text.isprintable():
        raise InvalidInputError("there is no such part of an entry")
    return text


def _reason(text: str) -> tuple[str, str]:
    """Give what was typed, and what is wrong with it: the key of a text, or ""."""
    reason = " ".join(text.split())
    if not reason:
        return "", "reveal.no_reason"
    if len(reason) > _MAX_REASON:
        return reason, "reveal.long_reason"
    return reason, "" if reason.isprintable() else "reveal.odd_reason"


def _slot(  # noqa: PLR0913 -- as `page`
    call: Call,
    ref: Ref,
    part: str,
    act: Act,
    *,
    stage: Literal["ask", "shown", "waiting", "seal"],
    status: int = 200,
    headers: dict[str, str] | None = None,
    **more: Any,  # noqa: ANN401 -- what the stage prints
) -> Answer:
    said = {"text": None, "version": None, "reason": "", "trouble": "", "approval": None, **more}
    return page(
        call,
        "reveal.html",
        nav="inventory",
        title="reveal.title",
        twin=_twin(ref) if call.headers.get("hx-request") != "true" else None,
        block="slot",
        status=status,
        headers=headers,
        part=part,
        act_wanted=act,
        stage=stage,
        slot=slot_of(part),
        seconds=SECONDS,
        most=_MAX_REASON,
        **said,
        **around(call, Look(ref, ref, None, "", 0, ("ok", "entry.state_ok"), {})),
    )


def _twin(ref: Ref) -> Twin:
    from strongroom.server.ui.entry import twin_of  # noqa: PLC0415 -- only a whole page has one

    found = twin_of("form", ref)
    return (
        found._replace(command=f"{found.command} --reveal --reason TEXT")
        if ref.kind == "connection"
        else found
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/reveal/{kind}/{name:path}",
        ask,
        "Ask for the reason of a reveal",
        "entry",
        asks=RevealQuery,
    ),
    Endpoint(
        "POST",
        "/reveal/{kind}/{name:path}",
        reveal,
        "Show a part of an entry to a person for thirty seconds",
        "entry",
        asks=RevealAct,
        takes_form=True,
        cost=5.0,
    ),
)
