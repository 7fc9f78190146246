"""
What is known of one request while it is under way, for whoever answers, counts or logs it.

Not for what a handler sees (`endpoint.py`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from strongroom.errors import NotRecordedError
from strongroom.wire.failure import hides_path
from strongroom.wire.head import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from strongroom.errors import StrongroomError
    from strongroom.wire.failure import ErrorAnswer

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["CERTIFICATE", "Request", "request_of"]

CERTIFICATE = "strongroom.certificate"
"""In the state of a scope: the TLS client certificate it came with (`tls.Shown`)."""


class Request:
    """
    One request.

    Attributes:
        id: names it in answers, logs and audit; 20 hexadecimal digits. Never the client's own word.
        started: `time.monotonic()` when it was complete.
        source: the address it came from, after the trusted proxies.
        is_secure: it came over TLS, to us or to a trusted proxy.
        template: of its route (`/v1/entries/{kind}/{name:path}`), "" where there is none.
        actor: who was found to ask; "" for nobody.
        status: of the answer; 0 until there is one.
        code: of the error it ended with; "" for none.
        why: what only the log tells of that; "" for nothing.
        shape: gives an error in the shape of what was asked for; None for that of every API.
    """

    __slots__ = (
        "actor",
        "code",
        "id",
        "is_secure",
        "shape",
        "source",
        "started",
        "status",
        "template",
        "why",
    )

    def __init__(self, source: str, *, is_secure: bool) -> None:
        self.id = new_id()
        self.started = time.monotonic()
        self.source = source
        self.is_secure = is_secure
        self.template = ""
        self.actor = ""
        self.status = 0
        self.code = ""
        self.why = ""
        self.shape: Callable[[StrongroomError], ErrorAnswer] | None = None

    def failed(self, error: StrongroomError) -> None:
        """Keep what is told of the *error* it ended with."""
        self.code = error.code
        if isinstance(error, NotRecordedError) or hides_path(error):
            self.why = str(error)


def request_of(scope: Scope) -> Request:
    """Give what the outermost layer put into *scope*."""
    found: Request = scope["strongroom"]
    return found
