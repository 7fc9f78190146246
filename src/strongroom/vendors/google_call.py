"""
One question to Secret Manager through Google's SDK, over gRPC or over our HTTP transport.

Not for who we are (`google_login.py`) nor for what an answer means (`google_answer.py`).

Rules of this file:

1. The SDK spells and parses; its retries are off, and it is given no credentials: the token comes with
   each question.
2. Over REST it sends through a `requests` adapter onto `Origins`. gRPC is no HTTP/1, so what the transport
   does stands here before it: deadline, circuit, one retry in ten, no proxy of the environment.
3. gRPC does not survive a fork: each process has a channel of its own.
4. The SDK logs whole questions and answers at DEBUG, tokens and values too: such records end at its loggers.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from strongroom.bulkhead import seconds_left
from strongroom.errors import BackendConfigError, BackendUnavailableError, StrongroomError
from strongroom.vendors.circuit import FAILURES_TO_OPEN, Budget, Circuit, Permit
from strongroom.vendors.google_answer import GoogleRefusal, refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from pathlib import Path

    from strongroom.vendors.origins import Origins

__all__ = ["Carrier", "GrpcCarrier", "RestCarrier"]

_HOLD_SECONDS = 5.0  # an open circuit asks nobody for so long, then one
_FAIR_SECONDS = 1.0  # who waits less says nothing of the place by leaving
_FAILURES = frozenset(("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "DATA_LOSS"))
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # a token goes to the endpoint only
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),  # no rules of retry by way of DNS
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 5000),  # of gRPC's own two minutes: the circuit says when to try
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
)
_TRANSPORTS = "google.cloud.secretmanager_v1.services.secret_manager_service.transports"
_TALKATIVE = (f"{_TRANSPORTS}.grpc", f"{_TRANSPORTS}.rest", "google.auth.transport.requests")


class Carrier(Protocol):
    """Ask one thing."""

    @property
    def is_circuit_open(self) -> bool:
        """Whether the place is not asked for a while, because it failed."""
        ...

    def ask(
        self, question: str, request: Mapping[str, Any], headers: Mapping[str, str], *, is_repeatable: bool
    ) -> Any:  # noqa: ANN401 -- a message of the SDK
        """
        Ask and give the answer.

        Args:
            question: the name of the SDK's method.
            request: its fields.
            headers: sent beside it, the token too.
            is_repeatable: False when asking twice is not the same as asking once.

        Raises:
            GoogleRefusal: an answer that is a refusal.
            BackendUnavailableError: no answer.
        """
        ...

    def close(self) -> None:
        """Let go of what is open. Safe to call twice."""
        ...


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def _sdk() -> Any:  # noqa: ANN401 -- a module without types
    """Load the SDK: half a second, in the process that first asks."""
    with warnings.catch_warnings():
        # That it will not run on this Python some day is nothing to tell whoever reads a secret.
        warnings.simplefilter("ignore", FutureWarning)
        from google.cloud import secretmanager_v1  # noqa: PLC0415 -- as above
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_quiet)  # adding it again changes nothing
    return secretmanager_v1


def _transports() -> Any:  # noqa: ANN401 -- as above
    from google.cloud.secretmanager_v1.services.secret_manager_service import (  # noqa: PLC0415 -- as above
        transports,
    )

    return transports


def _asked(
    client: Any,  # noqa: ANN401 -- the SDK's
    question: str,
    request: Mapping[str, Any],
    headers: Mapping[str, str],
    seconds: float,
) -> Any:  # noqa: ANN401 -- as above
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 -- loaded with the SDK

    try:
        return getattr(client, question)(
            request=dict(request), retry=None, timeout=seconds, metadata=tuple(headers.items())
        )
    except GoogleAPICallError as error:
        refusal = refusal_of(error)
    # Raised outside `except`: the SDK's error quotes what was asked.
    raise refusal


class RestCarrier:
    """
    Over HTTP/1, by our transport.

    Args:
        origins: what carries.
        endpoint: `https://host[:port]`.
        seconds: that one question takes at most.
    """

    def __init__(self, origins: Origins, endpoint: str, seconds: float) -> None:
        self._origins = origins
        self._endpoint = endpoint
        self._seconds = seconds
        self._client: Any = None

    @property
    def is_circuit_open(self) -> bool:
        return self._origins.is_circuit_open

    def ask(
        self, question: str, request: Mapping[str, Any], headers: Mapping[str, str], *, is_repeatable: bool
    ) -> Any:  # noqa: ANN401 -- as promised
        marked = headers if is_repeatable else {**headers, "x-strongroom-once": "1"}
        return _asked(self._made(), question, request, marked, self._seconds)

    def _made(self) -> Any:  # noqa: ANN401 -- as above
        if self._client is None:
            sdk = _sdk()
            from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415 -- loaded with the SDK

            from strongroom.vendors.google_requests import carry  # noqa: PLC0415 -- it is made of an extra

            parts = urlsplit(self._endpoint)
            transport = _transports().SecretManagerServiceRestTransport(
                host=parts.netloc,
                url_scheme=parts.scheme,
                credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            )
            carry(transport._session, self._origins)  # noqa: SLF001 -- it takes none of ours
            self._client = sdk.SecretManagerServiceClient(transport=transport)
        return self._client

    def close(self) -> None:
        """Nothing is open here: the connections are the origins'."""


class _Side:
    """What one process has: its channel, and what it has learnt of the place."""

    def __init__(self, seconds: float) -> None:
        self.circuit = Circuit(_HOLD_SECONDS, seconds)
        self.budget = Budget()
        self.lock = threading.Lock()
        self.client: Any = None
        self.why = ""


class GrpcCarrier:
    """
    Over gRPC, on one channel a process.

    Args:
        place: the backend's name.
        endpoint: `https://host[:port]`; `http://` for one without TLS.
        seconds: that one question takes at most.
        ca: certificates to trust in place of gRPC's own.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        place: str,
        endpoint: str,
        seconds: float,
        *,
        ca: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._endpoint = endpoint
        self._seconds = seconds
        self._ca = ca
        self._clock = clock
        self._is_closed = False
        # By process id, as of a `Transport`: a forked child must not touch what its parent had open.
        self._sides: dict[int, _Side] = {}

    @property
    def is_circuit_open(self) -> bool:
        return self._side().circuit.is_open

    def ask(
        self, question: str, request: Mapping[str, Any], headers: Mapping[str, str], *, is_repeatable: bool
    ) -> Any:  # noqa: ANN401 -- as promised
        side = self._side()
        seconds = self._time()
        permit = side.circuit.ask(self._clock())
        if not isinstance(permit, Permit):
            raise self._held(side, permit)
        side.budget.earn()
        is_success: bool | None = None
        try:
            answer = self._ask(side, question, request, headers, seconds, is_repeatable=is_repeatable)
        except GoogleRefusal as refusal:
            is_success = refusal.status not in _FAILURES
            if refusal.status == "DEADLINE_EXCEEDED":
                side.client = None  # what befell this connection befell what else is on it
                is_success = False if seconds >= min(self._seconds, _FAIR_SECONDS) else None
            side.why = side.why if is_success else f"answered {refusal.status}"
            raise
        else:
            is_success = True
            return answer
        finally:
            if side.circuit.report(permit, self._clock(), is_success=is_success):
                self._tell(side, is_success=bool(is_success))

    def _ask(
        self,
        side: _Side,
        question: str,
        request: Mapping[str, Any],
        headers: Mapping[str, str],
        seconds: float,
        *,
        is_repeatable: bool,
    ) -> Any:  # noqa: ANN401 -- as above
        begun = time.monotonic()
        try:
            return _asked(self._client(side), question, request, headers, seconds)
        except GoogleRefusal as refusal:
            left = seconds - (time.monotonic() - begun)
            # Who asks to be left alone for a while is left alone.
            is_asked = refusal.status == "UNAVAILABLE" and refusal.retry_after is None and left > 0
            if not (is_asked and is_repeatable and side.budget.spend()):
                raise
        return _asked(self._client(side), question, request, headers, left)

    def _client(self, side: _Side) -> Any:  # noqa: ANN401 -- as above
        client = side.client
        if client is None:
            with side.lock:
                client = side.client = side.client or self._made()
        return client

    def _made(self) -> Any:  # noqa: ANN401 -- as above
        sdk = _sdk()
        import grpc  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 -- an extra, loaded when used

        parts = urlsplit(self._endpoint)
        if parts.scheme == "http":
            channel = grpc.insecure_channel(parts.netloc, options=_OPTIONS)
        else:
            trust = grpc.ssl_channel_credentials(root_certificates=self._roots())
            target = parts.netloc if parts.port else f"{parts.netloc}:443"
            channel = grpc.secure_channel(target, trust, options=_OPTIONS)
        transport = _transports().SecretManagerServiceGrpcTransport(channel=channel)
        return sdk.SecretManagerServiceClient(transport=transport)

    def _roots(self) -> bytes | None:
        if self._ca is None:
            return None
        try:
            return self._ca.read_bytes()
        except OSError as error:
            raise BackendConfigError(
                f"the ca of the backend {self._place} cannot be read ({type(error).__name__})",
                hint="set ca to a PEM file",
            ) from None

    def close(self) -> None:
        """Close the channel of this process and refuse further questions. Safe to call twice."""
        self._is_closed = True
        side = self._sides.pop(os.getpid(), None)
        if side is not None and side.client is not None:
            client, side.client = side.client, None
            client.transport.close()

    def _side(self) -> _Side:
        process = os.getpid()
        side = self._sides.get(process)
        if side is None:
            side = self._sides.setdefault(process, _Side(self._seconds))
        if self._is_closed:
            raise self._unavailable("is closed")
        return side

    def _time(self) -> float:
        left = seconds_left()
        seconds = self._seconds if left is None else min(left, self._seconds)
        if seconds <= 0:
            raise self._unavailable("was not asked: nobody waits for the answer any more")
        return seconds

    def _held(self, side: _Side, seconds: float) -> StrongroomError:
        from datetime import timedelta  # noqa: PLC0415 -- only an outage pays for it

        return self._unavailable(
            f"is not asked for another {seconds:.1f} s after {FAILURES_TO_OPEN} failures in a row, "
            f"the last: it {side.why}",
            retry_after=timedelta(seconds=seconds),
            hint="it is tried again by itself",
        )

    def _unavailable(
        self, words: str, *, retry_after: timedelta | None = None, hint: str | None = None
    ) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the backend {self._place} {words}", backend=self._place, retry_after=retry_after, hint=hint
        )

    def _tell(self, side: _Side, *, is_success: bool) -> None:
        log = logging.getLogger("strongroom.transport")
        if is_success:
            log.info("the backend %s answers again", self._place)
        else:
            log.warning(
                "the backend %s is not asked any more: %d failures in a row, the last: it %s",
                self._place,
                FAILURES_TO_OPEN,
                side.why,
            )
