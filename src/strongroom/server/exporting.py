"""
Records handed over as a file, for whoever asks: a program over `/v1`, or a person at a page.

Rules of this file:

1. Few run at once, so that whoever reads the log keeps nobody from his work (facts DS08).
2. An export is made as it is taken: a client that goes away ends it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.errors import RateLimitedError
from strongroom.server.endpoint import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.audit.query import Filter
    from strongroom.server.endpoint import Call

__all__ = ["EXPORTS", "exported", "turn"]

_MEDIA = {
    "jsonl": ("application/x-ndjson", "jsonl"),
    "ocsf": ("application/x-ndjson", "ocsf.jsonl"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "syslog": ("text/plain; charset=utf-8", "log"),
}
_PIECE_BYTES = 65_536
EXPORTS = threading.Semaphore(4)


def exported(call: Call, form: str, wanted: Filter) -> Answer:
    """
    Give the records asked for that the actor may see, oldest first, as a file.

    Raises:
        AccessDeniedError, InvalidInputError, BackendUnavailableError: as `AuditTrail.export`.
    """
    # Refused at once, and not in the middle of a file.
    pieces = call.room.audit.export(form, wanted)
    media, suffix = _MEDIA[form]
    headers = {
        "content-disposition": f'attachment; filename="audit-{call.deployment}.{suffix}"',
        "cache-control": "no-store",
    }
    return Answer(_gathered(pieces), headers=headers, media_type=media)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join pieces: each that is sent costs a turn of the loop and of a thread."""
    with turn(EXPORTS, "other exports are under way"):
        held = bytearray()
        for piece in pieces:
            held += piece
            if len(held) >= _PIECE_BYTES:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)


@contextmanager
def turn(turns: threading.Semaphore, why: str) -> Iterator[None]:
    """
    Take one of *turns* meanwhile.

    Raises:
        RateLimitedError: there is none, and *why*.
    """
    if not turns.acquire(blocking=False):
        raise RateLimitedError(why, retry_after=timedelta(seconds=10), hint="wait and try again")
    try:
        yield
    finally:
        turns.release()
