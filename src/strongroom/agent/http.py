"""
HTTP/1.1 for programs that have no client of ours: what all connections of one agent share.

Not for one connection (`line.py`) nor for what is answered (`web.py`).

Rules of this file:

1. Who asks is the Unix user the kernel tells of the socket when it was connected. Over TCP the kernel tells
   nobody: there a token proves no more than that it was known, so that identity is claimed.
2. Over TCP the name in `Host` must be one of ours, so that no page reaches us by a name of its own that
   leads here (DNS rebinding).
3. The bounds of connections are counted before anything is said, of all and of each user.
4. Without connections nothing runs.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from strongroom.agent.line import Line
from strongroom.agent.web import Caller, Routes
from strongroom.policy import OVER_TCP, Actor, Assurance
from strongroom.wire.failure import MisdirectedError
from strongroom.wire.head import HEADERS, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from strongroom.agent.announced import Announced, Process
    from strongroom.agent.door import Peers
    from strongroom.model.secret import Secret
    from strongroom.policy import Run
    from strongroom.service.host import Host

__all__ = ["TCP_ACTOR", "Bounds", "Web", "figure"]

TCP_ACTOR = Actor(OVER_TCP, Assurance.CLAIMED)
_SWEEP_SECONDS = 0.25
_OURS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HEAD = b"".join(b"%b: %b\r\n" % header for header in HEADERS)


class Bounds(NamedTuple):
    """
    How much and how long.

    Args:
        most: connections at once.
        most_of_one: of these, of one user.
        receipt_seconds: from the first byte of a request to its last.
        idle_seconds: for the next request to begin.
    """

    most: int = 1024
    most_of_one: int = 512
    receipt_seconds: float = 10.0
    idle_seconds: float = 60.0


class Web:
    """
    What the HTTP connections of one agent share.

    Args:
        host: what is served.
        peers: tells who opened a connection of the unix socket, and refuses whom it is not for.
        bounds: how many, how long.
        token: what a request over TCP must carry.
        hosts: names in `Host` that TCP answers for, beside loopback's own; in lower case.
        is_ready: whether to send requests.
        figures: more lines for `/metrics`.
        announced: tells which process announced a run for another, by its id, and which run that is now.
        on_trouble: told of what nobody expected.

    Attributes:
        routes: what is answered.
        closed: connections that were ended here, by reason.
        statuses: requests that were answered, by status.
    """

    def __init__(  # noqa: PLR0913 -- what comes from outside
        self,
        host: Host,
        peers: Peers,
        *,
        bounds: Bounds | None = None,
        token: Secret[str] | None = None,
        hosts: Iterable[str] = (),
        is_ready: Callable[[], bool] = lambda: True,
        figures: Callable[[], str] = lambda: "",
        announced: Announced | None = None,
        on_trouble: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self.host = host
        self.peers = peers
        self.bounds = bounds or Bounds()
        self.closed: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.lines: dict[Line, None] = {}
        self.leaving: dict[Line, None] = {}
        self.is_draining = False
        self._token = None if token is None else token.reveal().encode()
        self._hosts = _OURS | frozenset(hosts)
        self._is_ready = is_ready
        self._more = figures
        self._announced = announced
        self._of_one: Counter[object] = Counter()
        self._sweep: asyncio.TimerHandle | None = None
        self._date = (0, b"")
        self.routes = Routes(
            host,
            is_ready=lambda: not self.is_draining and self._is_ready(),
            figures=self._figures,
            on_trouble=on_trouble,
        )

    # --- connections -------------------------------------------------------------------------------

    def unix(self) -> Line:
        """Make what speaks on one connection of the unix socket."""
        return Line(self, is_tcp=False)

    def tcp(self) -> Line:
        """Make what speaks on one connection of the loopback address."""
        return Line(self, is_tcp=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to hear of changes; before the first connection."""
        self.routes.changes.start(loop)

    def drain(self) -> None:
        """Take no further request; what has begun is answered still."""
        self.is_draining = True
        self.routes.changes.close()
        for line in list(self.lines):
            line.drain()

    def close(self) -> None:
        """End whatever is open still. Safe to call twice."""
        self.drain()
        for line in [*self.lines, *self.leaving]:
            line.end()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def admit(self, line: Line, who: object) -> bool:
        """Let *line* of *who* in; False where there is no room, or none for him."""
        if len(self.lines) >= self.bounds.most or self._of_one[who] >= self.bounds.most_of_one:
            self.closed["full"] += 1
            return False
        self.lines[line] = None
        self._of_one[who] += 1
        if self._sweep is None:
            self._plan_sweep()
        return True

    def leave(self, line: Line, who: object) -> None:
        """Forget a line that ended."""
        self.leaving.pop(line, None)
        if line in self.lines:
            del self.lines[line]
            self._of_one[who] -= 1
            if not self._of_one[who]:
                del self._of_one[who]

    def go(self, line: Line, who: object) -> None:
        """Let *line*, which was answered for the last time, give its place to others."""
        self.leave(line, who)
        self.leaving[line] = None
        if self._sweep is None:
            self._plan_sweep()

    def _plan_sweep(self) -> None:
        # Without connections nothing runs: an idle agent costs nothing.
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(_SWEEP_SECONDS, self._swept, loop)

    def _swept(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for line in [line for line in (*self.lines, *self.leaving) if line.ends_at <= now]:
            line.expire()
        self._sweep = None
        if self.lines or self.leaving:
            self._plan_sweep()

    # --- who asks ----------------------------------------------------------------------------------

    def known(self, uid: int, gids: Sequence[int], pid: int = 0) -> Caller:
        """Give the user *uid* of this machine, who is in *gids* and asks from the process *pid*."""
        may = self.host.may_connect
        above = None if self._announced is None else self._announced.above(pid)
        run = self._run_of(above)
        return Caller(
            self.host.actor(uid, run),
            "user",
            uid,
            lambda: not self.is_draining and may(uid, gids),
            run,
            above,
        )

    def still(self, caller: Caller, gids: Sequence[int], pid: int) -> Caller:
        """Give who asks on a connection on which *caller* asked before: his run may be another by now."""
        if caller.uid is None or self._run_of(caller.above) == caller.run:
            return caller
        return self.known(caller.uid, gids, pid)

    def _run_of(self, process: Process | None) -> Run | None:
        return None if self._announced is None else self._announced.run_of(process)

    def claimed(self, given: bytes | None) -> Caller | None:
        """Give who sent the token *given* over TCP; None for nobody."""
        if self._token is None or given is None or not hmac.compare_digest(given, self._token):
            return None
        return Caller(TCP_ACTOR, "token", None, lambda: not self.is_draining)

    def check_host(self, value: bytes) -> None:
        """
        Refuse a name that is none of ours (DNS rebinding).

        Raises:
            MisdirectedError: it is not.
        """
        name = value.decode("latin-1").lower()
        bare, mark, port = name.rpartition(":")
        if name in self._hosts or (mark and port.isascii() and port.isdigit() and bare in self._hosts):
            return
        raise MisdirectedError(
            "the agent does not answer for that host", hint="add the name to agent.tcp_hosts"
        )

    # --- what is told ------------------------------------------------------------------------------

    def head(self, status: int) -> bytes:
        """Give the status line and the headers every answer has."""
        now = int(time.time())
        if now != self._date[0]:
            from email.utils import formatdate  # noqa: PLC0415 -- half a megabyte, where nobody asks over HTTP

            self._date = (now, formatdate(now, usegmt=True).encode())
        return b"HTTP/1.1 %d %b\r\ndate: %b\r\n%bx-request-id: %b\r\n" % (
            status,
            HTTPStatus(status).phrase.encode(),
            self._date[1],
            _HEAD,
            new_id().encode(),
        )

    def _figures(self) -> str:
        cache = self.host.cache.statistics()
        told: list[str] = []
        for name, label, values in (
            ("http_connections", "", {"": len(self.lines)}),
            ("http_requests_total", "status", self.statuses),
            ("http_closed_total", "reason", self.closed),
            ("http_reads_total", "outcome", self.routes.reads),
            ("cache_entries", "", {"": cache.entries}),
            ("cache_bytes", "", {"": cache.bytes}),
            ("cache_absences", "", {"": cache.absences}),
            ("cache_hits_total", "", {"": cache.hits}),
            ("cache_misses_total", "", {"": cache.misses}),
            ("cache_stale_total", "", {"": cache.stale}),
            ("cache_evictions_total", "", {"": cache.evictions}),
        ):
            told += figure(f"strongroom_agent_{name}", label, values)
        return "".join(f"{line}\n" for line in told) + self._more()


def figure(name: str, label: str, values: Mapping[str, int] | Mapping[int, int]) -> list[str]:
    """
    Give lines of one figure in the form of Prometheus.

    Args:
        name: of the figure; one that ends in `_total` counts.
        label: of its rows; "" where it has only one.
        values: by what the label says: words of our own, never anything that came with a request.
    """
    kind = "counter" if name.endswith("_total") else "gauge"
    rows = [
        f'{name}{{{label}="{key}"}} {value}' if label else f"{name} {value}" for key, value in values.items()
    ]
    return [f"# TYPE {name} {kind}", *rows]
