"""`/settings/doctor`: what is not as it should be, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import AccessDeniedError, RateLimitedError
from strongroom.insight.finding import LEVELS
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect
from strongroom.server.ui.records import name_of
from strongroom.wire.failure import without_paths

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

_MARKS = {"error": "bad", "warning": "warn", "note": "info", "ok": "ok"}


def doctor(call: Call) -> Answer:
    """Show what the last examination found."""
    try:
        report, is_barred = call.room.doctor.report(), False
    except AccessDeniedError:
        report, is_barred = None, True
    found = report.findings if report else ()
    return page(
        call,
        "settings/doctor.html",
        nav="settings",
        title="doctor.title",
        twin=Twin("strongroom doctor --deep" if report and report.is_deep else "strongroom doctor"),
        report=report,
        is_barred=is_barred,
        groups=[(level, [one for one in found if one.level == level]) for level in LEVELS],
        counts_of={level: sum(one.level == level for one in found) for level in LEVELS},
        marks=_MARKS,
        clean=without_paths,
        name_of=name_of,
    )


def examine(call: Call) -> Answer:
    """Look at everything now."""
    form = form_of(call, "deep")
    try:
        call.room.doctor.examine(is_deep=form.flag("deep"))
    except RateLimitedError:
        return redirect(call, "/settings/doctor", toast=Toast("doctor.under_way"))
    return redirect(call, "/settings/doctor")


ENDPOINTS = (
    Endpoint("GET", "/settings/doctor", doctor, "Show what the doctor found", "page"),
    Endpoint("POST", "/settings/doctor", examine, "Have the doctor look", "page", takes_form=True, cost=20.0),
)
