"""`/find`: lines of all there is by words and facets, of every team and kind, without values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.endpoint import Endpoint
from strongroom.service.registered import FACETS, Asked
from strongroom.wire.failure import problem_of
from strongroom.wire.found import FindQuery, FoundPage, FoundRow, SilentBackend
from strongroom.wire.listed import members_of

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.registered import Shown

__all__ = ["ENDPOINTS"]

_PATIENCE_SECONDS = 20.0  # for the first read of all there is


def find(call: Call) -> FoundPage:
    """Give one page of what fits, and what each facet counts."""
    asked = call.asked(FindQuery)
    chosen = {name: tuple(getattr(asked, "type_" if name == "type" else name)) for name in FACETS}
    found = call.room.register.find(
        Asked(
            text=asked.q,
            chosen=chosen,
            sort=asked.sort,
            is_down=asked.order == "desc",
            begin=asked.begin,
            count=asked.limit,
        ),
        patience=_PATIENCE_SECONDS,
    )
    return FoundPage(
        entries=[_row(one) for one in found.lines],
        total=found.total,
        all_=found.all,
        attention=found.attention,
        counts={name: dict(values) for name, values in found.counts.items()},
        silent=[
            SilentBackend(
                backend=one.backend, error=problem_of(one.error), since=one.since, read_at=one.read_at
            )
            for one in found.silences
        ],
        unread=list(found.unread),
        not_listable=list(found.not_listable),
    )


def _row(shown: Shown) -> FoundRow:
    line = shown.line
    return FoundRow(
        is_deleted=False,
        health=line.health,
        clash=line.clash,
        place=line.rank,
        read_at=shown.read_at,
        **members_of(line.row),
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/find",
        find,
        "Find lines of all there is by words and facets",
        "inventory",
        asks=FindQuery,
        gives=FoundPage,
        errors=(413, 503),
        cost=2.0,
    ),
)
