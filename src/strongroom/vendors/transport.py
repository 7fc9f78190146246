"""
The one hardened HTTP client: every vendor spoken to over HTTP is spoken to through a `Transport`.

Not for what an answer means (the vendor's file), and not for what HTTP looks like (`http1.py`). Bounds,
states and log lines: docs/transport.md.

Rules of this file:

1. Every wait ends: at `timeout` each, and at the deadline of the whole request, which is never later
   than the caller waits (`bulkhead.seconds_left`).
2. Redirects are never followed and proxies of the environment never used: a token goes to `url` only.
3. Nothing of a request shows: no message, log line or repr holds a header, a path or a body, and the
   frames that hold them leave a traceback before it is raised.
4. A request is sent again only if it is repeatable, once, out of a budget of one in ten. One that is
   not repeatable goes over a connection of its own, since a kept one may close while it is sent.
5. A forked child has connections, circuit and budget of its own, and closes its copies of the parent's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom import tracing
from strongroom.bulkhead import seconds_left
from strongroom.errors import BackendConfigError, BackendUnavailableError, StrongroomError
from strongroom.vendors.circuit import FAILURES_TO_OPEN, Budget, Circuit, Permit
from strongroom.vendors.http1 import Failure, Reply, begin_answer, read_answer, spell_request
from strongroom.vendors.listening import Listening
from strongroom.vendors.stream import Address, Deadline, Stream, connect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from strongroom.model.secret import Secret
    from strongroom.vendors.tls import Trust

__all__ = ["Listening", "Reply", "Transport", "TransportOptions"]

_HOLD_SECONDS = 5.0  # an open circuit asks nobody for so long, then one
_MAX_IDLE = 32  # connections kept: as many as one question for many names asks at once
_IDLE_SECONDS = 30.0  # a kept connection that rested longer is not used again
_MAX_TIMEOUT = timedelta(hours=1)
_FAIR_SECONDS = 1.0  # who waits less says nothing of the place by leaving
_GATEWAY_TROUBLE = (502, 504)  # whoever stands before the place got no answer from it
_NOT_IMPLEMENTED = 501  # the one 5xx that says how the place is made, not how it is
_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """
    Where one vendor is, and within which bounds it is spoken to.

    Args:
        place: the backend's name, for messages and logs.
        url: `http(s)://host[:port][/base]`, nothing else.
        timeout: for connecting and for each wait on the way; an hour at most.
        total_timeout: for one request with all it takes; twice `timeout` when None.
        ca: a PEM file, or a folder of them, in place of the system's.
        client_cert: a PEM file to show who we are, with its chain, and its key unless `client_key` is set.
        client_key: a PEM file, not encrypted.
        verify: False checks nothing of the server's certificate.
        max_body_bytes: of an answer.
        max_header_bytes: of an answer.
        is_ours: it is a server of ours, which is told what trace its work belongs to.
        is_answer: tells of an answer with a status of trouble (5xx) that it is the service's own word on
            what was asked, and no sign that the place is in trouble; unsaid, none is.

    Raises:
        BackendConfigError: the url is none, or the files do not fit one another.
    """

    place: str
    url: str = field(repr=False)
    timeout: timedelta = timedelta(seconds=3)
    total_timeout: timedelta | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    max_body_bytes: int = 4 * 1024 * 1024
    max_header_bytes: int = 64 * 1024
    is_ours: bool = False
    is_answer: Callable[[Reply], bool] = field(default=lambda _reply: False, repr=False)

    def __post_init__(self) -> None:
        if Address.of(self.url) is None:
            raise BackendConfigError(
                f"the url of the backend {self.place} is not one this can speak to",
                hint="write http(s)://host[:port][/base], without user, query and fragment",
            )
        if self.client_key is not None and self.client_cert is None:
            raise BackendConfigError(
                f"the backend {self.place} has a client key without a client certificate",
                hint="name the certificate too",
            )
        total = self.timeout if self.total_timeout is None else self.total_timeout
        if not timedelta(0) < min(self.timeout, total) <= max(self.timeout, total) <= _MAX_TIMEOUT:
            raise BackendConfigError(
                f"the timeout of the backend {self.place} is not above 0 and at most an hour",
                hint="set it to some seconds",
            )


class _Question(NamedTuple):
    """What is sent, as bytes, and what must be known to send it."""

    method: str
    data: bytes
    is_repeatable: bool
    deadline: Deadline

    def __repr__(self) -> str:
        # Its bytes hold a token: a debugger and a traceback's locals print it.
        return f"_Question({self.method!r}, …)"


class _Side:
    """What one process has: its connections at rest, and what it has learnt of the place."""

    def __init__(self, total_seconds: float) -> None:
        self.circuit = Circuit(_HOLD_SECONDS, total_seconds)
        self.budget = Budget()
        self.why = ""  # words of the last failure
        self._idle: list[Stream] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self, now: float) -> Stream | None:
        """Give a connection at rest that is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                stream = self._idle.pop()
            if now - stream.rested_at <= _IDLE_SECONDS and not stream.is_disturbed:
                return stream
            stream.close()

    def keep(self, stream: Stream, now: float) -> bool:
        """Put a connection to rest; False when there is no room for it."""
        stream.rested_at = now
        with self._lock:
            # The last one put aside is the next one taken, so those too old lie at the bottom.
            while self._idle and now - self._idle[0].rested_at > _IDLE_SECONDS:
                self._idle.pop(0).close()
            if self._is_closed or len(self._idle) >= _MAX_IDLE:
                return False
            self._idle.append(stream)
            return True

    def drop(self) -> None:
        """Close what is at rest."""
        with self._lock:
            idle, self._idle = self._idle, []
        for stream in idle:
            stream.close()

    def close(self) -> None:
        """Close what is at rest, and keep nothing any more."""
        self._is_closed = True
        self.drop()

    def abandon(self) -> None:
        """
        Close a child's copies of its parent's connections, or what is at rest in a side that nobody has
        any more. Takes no lock: nobody lives to release it.
        """
        for stream in self._idle:
            stream.close()

    __del__ = abandon


class Transport:
    """
    Speak to one vendor.

    Trust: the answer is data from outside, bounded and checked for shape, nothing more.
    Threads: may be used from several threads at once, and after a fork.

    Args:
        options: where, and the bounds.
        clock: seconds that only go up, for the circuit and the age of kept connections. Waiting on
            sockets goes by the real clock always.

    Attributes:
        options: as given.
        certificate_ends: when the server's certificate ends (UTC); known after a first request over
            TLS that checked it.
    """

    def __init__(self, options: TransportOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        address = Address.of(options.url)
        if address is None:  # options check themselves
            raise BackendConfigError(f"the backend {options.place} has no url")
        self.options = options
        self.certificate_ends: datetime | None = None
        self._address = address
        self._clock = clock
        self._step = options.timeout.total_seconds()
        self._total = (options.total_timeout or 2 * options.timeout).total_seconds()
        self._trust: Trust | None = None
        self._is_closed = False
        # By process id: `setdefault` is atomic, so a forked child gets a side of its own without a lock
        # that another thread of the parent may have held at the fork.
        self._sides: dict[int, _Side] = {}

    def __repr__(self) -> str:
        return f"Transport({self.options.place!r})"

    @property
    def is_circuit_open(self) -> bool:
        """Whether the place is not asked for a while, because it failed."""
        return self._side().circuit.is_open

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str | Secret[str]] = _NO_HEADERS,
        body: bytes | Secret[bytes] | None = None,
        is_repeatable: bool = True,
    ) -> Reply:
        """
        Ask once and give the answer, whatever its status is.

        Args:
            method: capital letters.
            path: below the url's base, escaped, with its query: visible ASCII, no segment of dots.
            headers: sent as they are; hand over as a Secret what must not show in a frame.
            body: likewise.
            is_repeatable: False when asking twice is not the same as asking once.

        Raises:
            BackendUnavailableError: no answer, not in time, not whole, too large, not HTTP, not over
                sound TLS, a redirect; or the circuit is open, then with `retry_after`.
            InvalidInputError: the path could be read as another.
            BackendConfigError: a header cannot be sent, or a certificate file cannot be used.
        """
        try:
            with tracing.span(f"HTTP {method}", "client") as span:
                return self._traced(span, method, path, headers, body, is_repeatable=is_repeatable)
        except StrongroomError as caught:
            error = caught
        # Raised anew, outside `except`: the frames it came through hold the bytes of the request.
        error.__context__ = None
        raise error.with_traceback(None)

    def listen(self, path: str, *, headers: Mapping[str, str | Secret[str]] = _NO_HEADERS) -> Listening:
        """
        Ask for something that has no end, on a connection of its own; whoever listens closes it.

        No circuit stands before it: whoever listens tries again as he sees fit.

        Args:
            path: as of `request`.
            headers: likewise.

        Raises:
            As `request`.
        """
        self._side()
        try:
            return self._listening(path, headers)
        except StrongroomError as caught:
            error = caught
        error.__context__ = None
        raise error.with_traceback(None)

    def _listening(self, path: str, headers: Mapping[str, str | Secret[str]]) -> Listening:
        data = spell_request("GET", self._address.base + path, self._address.authority, headers, None)
        deadline = self._deadline()
        stream: Stream | None = None
        try:
            stream = self._connect(deadline)
            stream.send(data, deadline)
            begun = begin_answer(stream.receive, max_header_bytes=self.options.max_header_bytes)
            reply = Reply(begun.status, begun.headers, b"")
            self._check_place(reply)
            found, stream = Listening(stream, begun, self._unavailable), None
        except Failure as failure:
            raise self._unavailable(str(failure), failure.hint) from None
        finally:
            if stream is not None:
                stream.close()
        return found

    def close(self) -> None:
        """Close what is at rest and refuse further requests. Safe to call twice."""
        self._is_closed = True
        process = os.getpid()
        self._leave_parents(process)
        side = self._sides.get(process)
        if side is not None:
            side.close()

    def _traced(
        self,
        span: tracing.Span,
        method: str,
        path: str,
        headers: Mapping[str, str | Secret[str]],
        body: bytes | Secret[bytes] | None,
        *,
        is_repeatable: bool,
    ) -> Reply:
        if not tracing.is_on():
            return self._perform(method, path, headers, body, is_repeatable=is_repeatable)
        span.set("http.request.method", method)
        span.set("server.address", self._address.host)
        span.set("strongroom.place", self.options.place)
        parent = tracing.traceparent() if self.options.is_ours else None
        if parent is not None:
            headers = {**headers, "traceparent": parent}
        try:
            reply = self._perform(method, path, headers, body, is_repeatable=is_repeatable)
        except StrongroomError as error:
            span.failed(error.code)
            raise
        span.set("http.response.status_code", reply.status)
        return reply

    def _perform(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str | Secret[str]],
        body: bytes | Secret[bytes] | None,
        *,
        is_repeatable: bool,
    ) -> Reply:
        data = spell_request(method, self._address.base + path, self._address.authority, headers, body)
        question = _Question(method, data, is_repeatable, self._deadline())
        side = self._side()
        leave = side.circuit.ask(self._clock())
        if not isinstance(leave, Permit):
            raise self._held(side, leave)
        side.budget.earn()
        is_success: bool | None = None
        try:
            reply = self._ask(side, question)
            is_success = (
                reply.status < 500  # noqa: PLR2004 -- RFC 9110 §15.6
                or reply.status == _NOT_IMPLEMENTED
                or self.options.is_answer(reply)
            )
            side.why = side.why if is_success else f"answered with status {reply.status}"
        except Failure as failure:
            is_success = None if failure.is_timeout and not question.deadline.is_fair else False
            side.why = str(failure)
            error = self._unavailable(str(failure), failure.hint)
            error.way = failure.step  # type: ignore[attr-defined]  # evidence for live clients
            raise error from None
        finally:
            self._report(side, leave, is_success=is_success)
        self._check_place(reply)
        return reply

    def _ask(self, side: _Side, question: _Question) -> Reply:
        """Ask on a kept connection or a new one, and once more where that is allowed."""
        stream = side.take(self._clock()) if question.is_repeatable else None
        try:
            reply = self._exchange(side, stream or self._connect(question.deadline), question)
            is_final = reply.status not in _GATEWAY_TROUBLE or self.options.is_answer(reply)
            if is_final or not question.is_repeatable or not side.budget.spend():
                return reply
        except Failure as failure:
            if failure.is_unanswered or failure.is_timeout:
                side.drop()  # what befell one connection, as a night's sleep does, befell those at rest
            if not failure.is_unanswered or not question.is_repeatable:  # never after a time-out
                raise
            # A kept connection that was closed meanwhile is replaced; only a fresh one costs a retry.
            if stream is None and not side.budget.spend():
                raise
        # On a new connection: before several nodes it may lead to another of them.
        return self._exchange(side, self._connect(question.deadline), question)

    def _exchange(self, side: _Side, stream: Stream, question: _Question) -> Reply:
        is_kept = False
        try:
            stream.send(question.data, question.deadline)
            answer = read_answer(
                stream.receive,
                method=question.method,
                max_header_bytes=self.options.max_header_bytes,
                max_body_bytes=self.options.max_body_bytes,
            )
            is_kept = answer.is_reusable and side.keep(stream, self._clock())
            return answer.reply
        finally:
            if not is_kept:
                stream.close()

    def _connect(self, deadline: Deadline) -> Stream:
        stream = connect(self._address, deadline)
        if not self._address.is_tls:
            return stream
        is_secure = False
        try:
            self.certificate_ends = stream.secure(self._trusted(), self._address.host)
            is_secure = True
            return stream
        finally:
            if not is_secure:
                stream.close()

    def _trusted(self) -> Trust:
        if self._trust is None:
            from strongroom.vendors.tls import Trust  # noqa: PLC0415 -- `ssl` is for those who need it

            said = self.options
            self._trust = Trust(
                said.place,
                ca=said.ca,
                client_cert=said.client_cert,
                client_key=said.client_key,
                verify=said.verify,
            )
        return self._trust

    def _side(self) -> _Side:
        process = os.getpid()
        side = self._sides.get(process)
        if side is None:
            self._leave_parents(process)
            side = self._sides.setdefault(process, _Side(self._total))
        if self._is_closed:
            raise self._unavailable("is closed", None)
        return side

    def _leave_parents(self, process: int) -> None:
        for parent in list(self._sides):
            # Another thread that also found nothing may have put ours there by now.
            left = None if parent == process else self._sides.pop(parent, None)
            if left is not None:
                left.abandon()

    def _deadline(self) -> Deadline:
        left = seconds_left()
        total = self._total if left is None else min(left, self._total)
        if total <= 0:
            raise self._unavailable("was not asked: nobody waits for the answer any more", None)
        return Deadline(total, self._step, is_fair=total >= min(self._step, _FAIR_SECONDS))

    def _check_place(self, reply: Reply) -> None:
        if 300 <= reply.status < 400 and "location" in reply.headers:  # noqa: PLR2004 -- RFC 9110 §15.4
            raise self._unavailable(
                "redirects elsewhere, which is not followed",
                "set url to where it answers itself: the active node, or the load balancer",
            )

    def _report(self, side: _Side, leave: Permit, *, is_success: bool | None) -> None:
        if side.circuit.report(leave, self._clock(), is_success=is_success):
            import logging  # noqa: PLC0415 -- costs a cold process more than a request

            log = logging.getLogger("strongroom.transport")
            place = self.options.place
            if is_success:
                log.info("the backend %s answers again", place)
            else:
                log.warning(
                    "the backend %s is not asked any more: %d failures in a row, the last: it %s",
                    place,
                    FAILURES_TO_OPEN,
                    side.why,
                )

    def _held(self, side: _Side, seconds: float) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the backend {self.options.place} is not asked for another {seconds:.1f} s after "
            f"{FAILURES_TO_OPEN} failures in a row, the last: it {side.why}",
            backend=self.options.place,
            retry_after=timedelta(seconds=seconds),
            hint="it is tried again by itself",
        )

    def _unavailable(self, words: str, hint: str | None) -> BackendUnavailableError:
        place = self.options.place
        return BackendUnavailableError(f"the backend {place} {words}", backend=place, hint=hint)
