"""`/series`: how much is read, minute by minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.endpoint import Endpoint
from strongroom.wire.place import MinuteRow, Series, SeriesQuery

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def series(call: Call) -> Series:
    """Give the last minutes, as far as this server counted them."""
    found = call.room.series.span(call.asked(SeriesQuery).minutes)
    return Series(
        since=found.since,
        until=found.until,
        minutes=[MinuteRow(**minute._asdict()) for minute in found.minutes],
    )


ENDPOINTS = (
    Endpoint("GET", "/series", series, "Tell reads by the minute", "place", asks=SeriesQuery, gives=Series),
)
