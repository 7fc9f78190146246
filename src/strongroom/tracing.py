"""
Traces: where the time of one question went, from the request through the chain to the store that was asked.

Off unless somebody starts it (a server or an agent with `[traces]`); then a span costs some microseconds, and
without it a tenth of one. What is answered out of the memory of a process makes none.

Rules of this file:

1. No span holds a value, a name of an entry, an actor, an address of a client or a path: whoever keeps traces
   learns which kinds, backends and outcomes there were, and when.
2. Nothing waits for the collector: spans that cannot be sent are dropped.
3. What a caller says of its trace is taken for where a span belongs, never for whether it is kept.

Source: https://www.w3.org/TR/trace-context/; the semantic conventions of OpenTelemetry for HTTP.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["Span", "Tracing", "carried", "is_on", "span", "start", "traceparent"]

Role = Literal["internal", "server", "client"]
T = TypeVar("T")

_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_QUEUE = 4096  # spans that wait to be sent; one more is dropped
_BATCH = 512
_EVERY_MILLISECONDS = 2000


class Span:
    """What is told of one piece of work. This one tells nobody."""

    __slots__ = ()

    def set(self, name: str, value: str | int) -> None:
        """Say more of it."""

    def failed(self, code: str) -> None:
        """Say that it ended with the error *code*."""


class _Told(Span):
    """A span that is told to the collector."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:  # noqa: ANN401 -- OpenTelemetry's, which is not loaded unless asked for
        self._span = span

    def set(self, name: str, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def failed(self, code: str) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 -- loaded when tracing started

        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR))


_sending = threading.local()  # what sends spans makes none

_NOBODY: AbstractContextManager[Span] = nullcontext(Span())
_current: Tracing | None = None


class Tracing:
    """
    The traces of this process, until `close`.

    Threads: safe.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("strongroom")

    @contextmanager
    def span(
        self, name: str, role: Role, parent: str | None, attributes: Mapping[str, str | int]
    ) -> Iterator[Span]:
        """Begin a span below the current one, or below *parent*, the header of a request."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 -- loaded when tracing started

        with self._tracer.start_as_current_span(
            name,
            context=None if parent is None else _context_of(parent),
            kind=SpanKind[role.upper()],
            attributes=dict(attributes),
            # An exception's text and frames are ours to tell, by its code alone.
            record_exception=False,
            set_status_on_exception=False,
        ) as found:
            yield _Told(found)

    def flush(self) -> None:
        """Send what waits."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what waits and tell nothing more. Safe to call twice."""
        global _current  # noqa: PLW0603 -- a process has one
        if _current is self:
            _current = None
        self._provider.shutdown()


def start(send: Callable[[bytes], bool], *, service: str, version: str, sample: float) -> Tracing:
    """
    Trace from now on.

    Args:
        send: sends spans in OTLP's protobuf form; True when they were taken. It must not raise.
        service: what this process is.
        version: of it.
        sample: how many of the traces are kept, 0 to 1.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """
    global _current  # noqa: PLW0603 -- as in `close`
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans  # noqa: PLC0415 -- only here
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- as above
    from opentelemetry.sdk.trace import TracerProvider, sampling  # noqa: PLC0415 -- as above
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 -- as above
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Exporter(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ANN401 -- as it is declared there
            _sending.is_mine = True
            try:
                is_taken = send(encode_spans(spans).SerializeToString())
            finally:
                _sending.is_mine = False
            return SpanExportResult.SUCCESS if is_taken else SpanExportResult.FAILURE

    ratio = sampling.TraceIdRatioBased(sample)
    provider = TracerProvider(
        # Rule 3: a caller that has its own trace kept does not have ours kept with it.
        sampler=sampling.ParentBased(root=ratio, remote_parent_sampled=ratio),
        # Not `Resource.create`: that one reads the environment.
        resource=Resource({"service.name": service, "service.version": version}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            Exporter(),
            max_queue_size=_QUEUE,
            max_export_batch_size=_BATCH,
            schedule_delay_millis=_EVERY_MILLISECONDS,
        )
    )
    _current = Tracing(provider)
    return _current


def is_on() -> bool:
    """Tell whether anything is traced in this process."""
    return _current is not None


def span(
    name: str,
    role: Role = "internal",
    attributes: Mapping[str, str | int] | None = None,
    *,
    parent: str | None = None,
) -> AbstractContextManager[Span]:
    """
    Trace what is done inside, as a part of what is being traced here.

    Args:
        name: few and fixed ones; what varies is an attribute.
        role: whether it answers somebody or asks somebody else.
        attributes: what is known of it at once, by the names of the conventions.
        parent: the `traceparent` of the request it answers; what is none is passed over.
    """
    tracing = _current
    if tracing is None or getattr(_sending, "is_mine", False):
        return _NOBODY
    return tracing.span(name, role, parent, attributes or {})


def carried(work: Callable[[], T]) -> Callable[[], T]:
    """Give *work* so that, on another thread, it belongs to what is being traced on this one."""
    if _current is None:
        return work
    from opentelemetry import context  # noqa: PLC0415 -- loaded when tracing started

    here = context.get_current()

    def there() -> T:
        token = context.attach(here)
        try:
            return work()
        finally:
            context.detach(token)

    return there


def traceparent() -> str | None:
    """Give the header that tells another process of ours what its work belongs to; None without a trace."""
    if _current is None:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 -- loaded when tracing started

    found = get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def _context_of(parent: str) -> Any:  # noqa: ANN401 -- OpenTelemetry's
    from opentelemetry.trace import (  # noqa: PLC0415 -- loaded when tracing started
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if not _PARENT.fullmatch(parent):
        return None
    _, trace, caller, flags = parent.split("-")
    if not int(trace, 16) or not int(caller, 16):
        return None
    return set_span_in_context(
        NonRecordingSpan(
            SpanContext(
                int(trace, 16), int(caller, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
            )
        )
    )
