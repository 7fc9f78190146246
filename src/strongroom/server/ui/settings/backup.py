"""`/settings/backup`: the backups that are kept, and making one now."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.errors import AccessDeniedError, ConflictError, InvalidInputError
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.frame import Twin, form_of, page
from strongroom.server.ui.twins import command_of

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.backup import KeptBackup, MadeBackup

__all__ = ["ENDPOINTS"]

_SHOWN = 100
_OLD = timedelta(days=1)


def backups(call: Call) -> Answer:
    """Show the files that are kept."""
    return _shown(call)


def _shown(call: Call, made: MadeBackup | None = None, refused: StrongroomError | None = None) -> Answer:
    kept: list[KeptBackup] = []
    is_barred = is_unset = False
    try:
        kept = call.room.backups.list()
    except AccessDeniedError:
        is_barred = True
    except ConflictError:
        is_unset = True
    newest = kept[0].at if kept else None
    return page(
        call,
        "settings/backup.html",
        nav="settings",
        title="backup.title",
        status=200 if refused is None else 409,
        twin=Twin("strongroom backup list", "GET", "/v1/backups"),
        kept=kept[:_SHOWN],
        count=len(kept),
        newest=newest,
        is_old=newest is not None and datetime.now(timezone.utc) - newest > _OLD,
        is_barred=is_barred,
        is_unset=is_unset,
        made=made,
        refused=refused,
        drill=command_of("backup drill", {"identity": "recovery.txt"}, kept[0].file if kept else "FILE"),
        restore=command_of("restore", {"identity": "recovery.txt"}, kept[0].file if kept else "FILE"),
    )


def create(call: Call) -> Answer:
    """Back the whole store up now."""
    form_of(call, "")
    try:
        made = call.room.backups.create()
    except (ConflictError, InvalidInputError) as error:
        return _shown(call, refused=error)
    return _shown(call, made)


ENDPOINTS = (
    Endpoint("GET", "/settings/backup", backups, "Show the backups", "page"),
    Endpoint(
        "POST",
        "/settings/backup",
        create,
        "Back the store up",
        "page",
        takes_form=True,
        needs_proof=True,
        cost=50.0,
    ),
)
