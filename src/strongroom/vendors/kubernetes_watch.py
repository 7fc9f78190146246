"""
Hear of changes of Secrets by themselves, over one connection that the API server writes to.

Not for what a change means: whoever watches is told names, labels and versions, never values.

Rules of this file:

1. What stands there is listed first, without values; from its version on every change is told.
2. A watch lasts `PERIOD_SECONDS` and goes on from the last version it saw. That it does is a sign of life,
   and so is a bookmark.
3. Where the server has forgotten that version (410), it is begun anew and a gap is told.
4. After trouble, and after a watch that ended at once, it waits, longer each time.
5. Nothing is asked before somebody watches and after he ended.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from strongroom.backend import Watched
from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.vendors.kubernetes import TooOldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.vendors.kubernetes import KubernetesSession
    from strongroom.vendors.kubernetes_objects import Event, Outline
    from strongroom.vendors.kubernetes_secrets import Secrets
    from strongroom.vendors.listening import Listening

__all__ = ["PERIOD_SECONDS", "Meaning", "SecretWatch"]

PERIOD_SECONDS = 15  # a follower takes 30 s without a sign for silence
_GRACE_SECONDS = 10.0  # for the server to end what it should have ended
_MAX_LINE_BYTES = 2 * 1024 * 1024  # an event without values: labels and annotations
_SHORT_SECONDS = 1.0  # a watch that lasted less was no watch
_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0)  # after trouble; the last one from then on


class Meaning(Protocol):
    """What Secrets mean to whoever watches."""

    def begin(self, outlines: Sequence[Outline]) -> None:
        """Take what stands there; whatever was known before is void."""

    def told(self, event: Event) -> Watched | None:
        """Give what to tell of *event*, or None where it is nothing of ours."""


class SecretWatch:
    """
    One watch, on a thread of its own, from now until `end`.

    Args:
        session: the way to the server.
        secrets: of it.
        meaning: what is told of a Secret; used by the thread alone.
        on_notice: as of `Watchable.watch`.
    """

    def __init__(
        self,
        session: KubernetesSession,
        secrets: Secrets,
        meaning: Meaning,
        on_notice: Callable[[Watched], None],
    ) -> None:
        self._session = session
        self._secrets = secrets
        self._meaning = meaning
        self._on_notice = on_notice
        self._ended = threading.Event()
        self._listening: Listening | None = None
        self._version = ""  # the last one seen; "" before the first list and after a gap
        threading.Thread(target=self._run, name=f"strongroom {session.name} watch", daemon=True).start()

    def end(self) -> None:
        """Tell nothing any more. Does not wait; any thread; safe to call twice."""
        self._ended.set()
        listening = self._listening
        if listening is not None:
            listening.interrupt()

    def _run(self) -> None:
        failures = 0
        while not self._ended.is_set():
            begun = time.monotonic()
            try:
                self._period()
            except TooOldError:
                self._version = ""
                failures += 1
            except Exception as error:  # noqa: BLE001 -- nothing ends a watch but `end`
                if not isinstance(error, StrongroomError):
                    _log_failure("the watch", self._session.name, error)
                self._tell(Watched(is_lost=True))
                failures += 1
            else:
                # A server that ends each watch at once would be asked without end.
                failures = 0 if time.monotonic() - begun >= _SHORT_SECONDS else failures + 1
            if failures:
                self._ended.wait(_DELAYS[min(failures, len(_DELAYS)) - 1])

    def _period(self) -> None:
        """Watch once, until the server ends it."""
        if not self._version:
            outlines, version = self._secrets.outlines()
            self._meaning.begin(outlines)
            self._version = version
            self._tell(Watched(is_gap=True))
        question = self._secrets.watch_question("", self._version, PERIOD_SECONDS)
        listening = self._session.listen(question)
        self._listening = listening
        try:
            for line in self._lines(listening):
                self._hear(self._secrets.event(line))
        finally:
            self._listening = None
            listening.close()
        self._tell(Watched())

    def _hear(self, event: Event) -> None:
        notice = Watched() if event.kind == "BOOKMARK" else self._meaning.told(event)
        if notice is not None:
            self._tell(notice)
        self._version = event.version or self._version

    def _lines(self, listening: Listening) -> Iterator[bytes]:
        data = b""
        while not self._ended.is_set():
            more = listening.some(PERIOD_SECONDS + _GRACE_SECONDS)
            if not more:
                return
            *lines, data = (data + more).split(b"\n")
            yield from (line for line in lines if line.strip())
            if len(data) > _MAX_LINE_BYTES:
                raise BackendUnavailableError(
                    f"the backend {self._session.name} told of a change in more than {_MAX_LINE_BYTES} bytes",
                    backend=self._session.name,
                )

    def _tell(self, notice: Watched) -> None:
        if self._ended.is_set():
            return
        try:
            self._on_notice(notice)
        except Exception as error:  # noqa: BLE001 -- what a listener raises ends no watch
            _log_failure("a listener", self._session.name, error)


def _log_failure(what: str, place: str, error: Exception) -> None:
    import logging  # noqa: PLC0415 -- only for what should not happen

    log = logging.getLogger("strongroom.watch")
    log.warning("%s of the backend %s failed: %s", what, place, type(error).__name__)
