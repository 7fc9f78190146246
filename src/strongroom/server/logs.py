"""
What the server says of itself beside what every process of ours does: requests.

How a line looks, and what never stands in one: `service/journal.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TextIO

from strongroom.service import journal
from strongroom.service.journal import JsonFormatter, scrubbed, where

if TYPE_CHECKING:
    from strongroom.server.request import Request

__all__ = ["Journal", "JsonFormatter", "scrubbed", "where"]

LOGGER = "strongroom.server"
_ENGINES = {"uvicorn": True, "uvicorn.error": False, "uvicorn.asgi": False, "asyncio": True}


class Journal(journal.Journal):
    """
    The server's log.

    Args:
        level: debug, info, warning or error.
        stream: where the lines go.
    """

    def __init__(self, level: str = "info", *, stream: TextIO | None = None) -> None:
        super().__init__(level, stream=stream, name=LOGGER, engines=_ENGINES)
        access = logging.getLogger("uvicorn.access")
        access.handlers, access.propagate = [], False

    def ended(self, request: Request, method: str, seconds: float) -> None:
        """Log a request that ended: its route, not its path."""
        if self.is_quiet and request.status < 500:  # noqa: PLR2004 -- HTTP's server errors
            return
        beside: dict[str, object] = {
            "request": request.id,
            "method": method,
            "route": request.template,
            "status": request.status,
            "ms": round(seconds * 1000, 2),
            "actor": request.actor,
            "source": request.source,
        }
        if request.code:
            beside["code"] = request.code
        if request.why:
            beside["why"] = request.why
        self.say("request", level="info" if request.status < 500 else "error", **beside)  # noqa: PLR2004

    def unexpected(self, request: Request | None, error: BaseException) -> None:
        """Log what nobody expected, while *request* was answered or a read."""
        self.say(
            "a request failed in an unexpected way",
            level="error",
            request=request.id if request else "",
            route=request.template if request else "/v1/read",
            error=type(error).__name__,
            where=where(error),
        )
