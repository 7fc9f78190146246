"""
Test a connection: what each step of using it comes to, tried in a child process.

The parent starts the child, feeds it and reads what it tells; it never loads a driver, looks up a name or
opens a connection itself (`child.py` does, `probing/` knows how).

Rules of this file:

1. The child is given the connection over a pipe, and nothing else: no environment, no arguments, no open
   files.
2. What it tells is not trusted: a step, an outcome and a reason are words of closed sets, and numbers are
   numbers. No text of a driver or a service can come through.
3. It ends with its time, and every process it started ends with it.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from strongroom.live import trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.live.around import Around
    from strongroom.model.connection import Connection

__all__ = ["Limits", "Outcome", "Step", "Tested", "tested"]

Outcome = Literal["ok", "failed", "skipped"]
_NAMES = get_args(trouble.Step)
_REASONS = ("", *get_args(trouble.Reason))
_OUTCOMES = get_args(Outcome)
_MOST_BYTES = 65_536  # of what a child tells; a whole test takes a few hundred
_CHUNK_BYTES = 8_192
_MOST_DAYS = 36_500
# What clouds and clusters say to those who run in them, and where a home is: the child is given no more of an
# environment, and that only where it may use what is around it.
_KEYLESS = (
    "AWS_",
    "AZURE_",
    "GCE_METADATA_",
    "GOOGLE_",
    "IDENTITY_",
    "KUBERNETES_",
    "MSI_",
)
_PLACES = ("CLOUDSDK_CONFIG", "HOME", "KUBECONFIG", "SSL_CERT_DIR", "SSL_CERT_FILE")


_EXTRA = re.compile(r"[a-z0-9-]{1,20}")


class Step(NamedTuple):
    """
    One step of a test.

    Args:
        name: one of `trouble.Step`.
        outcome: `skipped` where the connection has no need of it.
        reason: of a failure, one of `trouble.Reason`; empty otherwise.
        milliseconds: that it took.
        days_left: of the certificate that the service showed; negative where it has expired.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    milliseconds: float = 0.0
    days_left: int | None = None


class Tested(NamedTuple):
    """
    How a test went.

    Args:
        steps: those that were made, in their order; a failed one is the last.
        hint: what to do about the failed step, where that is more than its reason tells.
    """

    steps: tuple[Step, ...]
    hint: str = ""

    @property
    def is_ok(self) -> bool:
        """No step failed, and at least one was made."""
        return self.failed is None and any(step.outcome == "ok" for step in self.steps)

    @property
    def failed(self) -> Step | None:
        """The step that failed, or None."""
        return next((step for step in self.steps if step.outcome == "failed"), None)

    @property
    def advice(self) -> str:
        """What to do about the step that failed; empty where none did."""
        failed = self.failed
        if failed is None:
            return ""
        return self.hint or trouble.words_of(failed.name, failed.reason).advice  # type: ignore[arg-type]  # of the closed sets


_STRANGE = Step("driver", "failed", "other")  # of a child that says what no child says
Tested.__test__ = False  # type: ignore[attr-defined]  # pytest takes what begins like this for a test


@dataclass(frozen=True)
class Limits:
    """
    What a test may do.

    Args:
        networks: addresses and names that may be asked, as `server.test_networks` lists them; None: any, and
            what is around the process (its cloud identity, its files) may be used. Only for who tests as
            himself.
        has_any_option: False takes only the options that are known to do no harm where others run the test.
        seconds: that the whole test may take.
    """

    networks: tuple[str, ...] | None
    has_any_option: bool
    seconds: float = 15.0


def tested(
    name: str,
    connection: Connection,
    limits: Limits,
    *,
    around: Around | None,
    also: Mapping[str, Connection] | None = None,  # noqa: PT028 -- no test of pytest's
) -> Tested:
    """
    Test *connection*, step by step, in a child process.

    Args:
        name: of the connection.
        connection: references resolved.
        limits: what the test may do.
        around: of this process: for which run it works, and which identity its cloud gave it.
        also: other connections that this one names (`aws_conn_id`, `azure_conn_id`), by name.

    Returns:
        the steps; one that was under way at the end of its time failed with `timeout`.
    """
    until = time.monotonic() + limits.seconds
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", "-m", "strongroom.live.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"LANG": "C"},
        cwd="/",
        start_new_session=True,
    )
    try:
        told = _exchange(process, _document(name, connection, limits, around, also or {}), until)
    finally:
        _end(process)
    is_late = time.monotonic() >= until
    return _read(told, is_late=is_late)


def _document(
    name: str,
    connection: Connection,
    limits: Limits,
    around: Around | None,
    also: Mapping[str, Connection],
) -> bytes:
    is_free = limits.networks is None and limits.has_any_option
    environ = {} if around is None or not is_free else dict(around.environ)
    document: dict[str, Any] = {
        "name": name,
        "connection": connection.to_dict(reveal=True),
        "also": {key: one.to_dict(reveal=True) for key, one in also.items()},
        "networks": limits.networks,
        "has_any_option": limits.has_any_option,
        "environ": {key: text for key, text in environ.items() if _is_of_a_cloud(key)},
        "run": None if around is None or around.run is None else list(around.run),
    }
    return json.dumps(document).encode()


def _is_of_a_cloud(key: str) -> bool:
    return key in _PLACES or key.startswith(_KEYLESS)


# --- the child -----------------------------------------------------------------------------------------


def _exchange(process: subprocess.Popen[bytes], document: bytes, until: float) -> bytes:
    """Give *document* to the child and take what it tells, until it ends or *until* is reached."""
    source, sink = _pipe(process.stdout), _pipe(process.stdin)
    os.set_blocking(sink.fileno(), False)
    rest, found = memoryview(document), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(sink, selectors.EVENT_WRITE)
        selector.register(source, selectors.EVENT_READ)
        while len(found) < _MOST_BYTES and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fileobj is sink:
                    rest = _fed(sink, rest)
                    if not rest:
                        selector.unregister(sink)
                        sink.close()
                elif piece := os.read(source.fileno(), _CHUNK_BYTES):
                    found += piece
                else:
                    return bytes(found)
    return bytes(found)


def _fed(sink: IO[bytes], rest: memoryview) -> memoryview:
    try:
        return rest[os.write(sink.fileno(), rest) :]
    except BrokenPipeError:  # it has ended already; what it told is still to be read
        return rest[:0]


def _pipe(found: IO[bytes] | None) -> IO[bytes]:
    assert found is not None  # noqa: S101 -- both were asked for
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child and all it started: they are a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


# --- what it told --------------------------------------------------------------------------------------


def _read(told: bytes, *, is_late: bool) -> Tested:
    """Read a child's lines: `[name, null]` begins a step, six members end one, `null` ends the test."""
    steps: list[Step] = []
    under_way = "driver"  # a child that tells nothing did not get as far as its first step
    for line in told.splitlines():
        found = _line(line)
        if found is None:
            return Tested(tuple(steps))
        if isinstance(found, str):
            under_way = found
        else:
            steps.append(found[0])
            if found[0].outcome == "failed":
                return Tested(tuple(steps), found[1])
    steps.append(Step(under_way, "failed", "timeout" if is_late else "other"))
    return Tested(tuple(steps))


def _line(line: bytes) -> tuple[Step, str] | str | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return _STRANGE, ""
    match found:
        case None:
            return None
        case [str(name), None] if name in _NAMES:
            return name
        case [*members, str(extra)] if (step := _step(members)) is not None:
            return step, f"pip install 'strongroom[{extra}]'" if _EXTRA.fullmatch(extra) else ""
    return _STRANGE, ""


def _step(found: list[object]) -> Step | None:
    match found:
        case [str(name), str(outcome), str(reason), int() | float() as milliseconds, int() | None as days]:
            is_known = name in _NAMES and outcome in _OUTCOMES and reason in _REASONS
            in_bounds = 0 <= milliseconds <= 1e9 and abs(days or 0) <= _MOST_DAYS  # noqa: PLR2004 -- days of it
            return Step(name, outcome, reason, float(milliseconds), days) if is_known and in_bounds else None  # type: ignore[arg-type]  # as just looked at
    return None
