"""Traces of this process, started as the settings say. What a trace holds: `tracing.py`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from strongroom import tracing
from strongroom.errors import BackendConfigError, StrongroomError
from strongroom.model.secret import Secret
from strongroom.settings import resolve
from strongroom.vendors.transport import Transport, TransportOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.settings import TraceSettings

__all__ = ["traced"]

_SECONDS = timedelta(seconds=5)


@contextmanager
def traced(
    settings: TraceSettings | None,
    *,
    service: str,
    version: str,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> Iterator[None]:
    """
    Trace what is done inside, where the settings say so.

    Args:
        settings: `[traces]`.
        service: what this process is: `strongroom-server`.
        version: of it.
        environ: where the token is fetched from.
        say: told once when spans are not taken, and when they are again.

    Raises:
        BackendConfigError: what traces need is not installed.
        SettingsError: the token cannot be fetched.
    """
    if settings is None:
        yield
        return
    collector = _Collector(settings, environ, say)
    try:
        tracing_ = tracing.start(collector.take, service=service, version=version, sample=settings.sample)
    except ImportError:
        raise BackendConfigError(
            "traces need OpenTelemetry, which is not installed", hint="pip install 'strongroom[otel]'"
        ) from None
    try:
        yield
    finally:
        tracing_.close()
        collector.close()


class _Collector:
    """Where spans are sent."""

    def __init__(
        self, settings: TraceSettings, environ: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        parts = urlsplit(settings.url)
        self._path = parts.path or "/"
        self._transport = Transport(
            TransportOptions(
                place="traces",
                url=f"{parts.scheme}://{parts.netloc}",
                timeout=_SECONDS,
                total_timeout=_SECONDS,
                ca=settings.ca,
                max_body_bytes=65_536,
            )
        )
        self._headers: dict[str, str | Secret[str]] = {"Content-Type": "application/x-protobuf"}
        if settings.token is not None:
            token = resolve(settings.token, environ=environ).reveal()
            is_bearer = settings.token_header.lower() == "authorization"
            self._headers[settings.token_header] = Secret(f"Bearer {token}" if is_bearer else token)
        self._say = say
        self._is_well = True

    def take(self, body: bytes) -> bool:
        """Send *body*; False where it was not taken, which is told once."""
        try:
            status = self._transport.request("POST", self._path, headers=self._headers, body=body).status
            why = "" if 200 <= status < 300 else f"the collector answered {status}"  # noqa: PLR2004 -- HTTP's successes
        except StrongroomError as error:
            why = str(error)
        if bool(why) is self._is_well:
            self._is_well = not why
            self._say(f"traces are not taken: {why}" if why else "traces are taken again")
        return not why

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()
