"""
The course of one test: its steps are begun, timed and told one by one, and the first that fails ends it.

Rules of this file:

1. A step tells two words and numbers, whatever a driver raised; the text of an error is looked at by nobody.
2. Every error of a step has a reason: where no family knows a better one, the class of the error gives it.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from strongroom.errors import NotFoundError, StrongroomError
from strongroom.live import trouble
from strongroom.live.around import Asked
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.tls import shake_hands
from strongroom.live.reaching import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.live.around import Around
    from strongroom.live.held import Held
    from strongroom.live.probing.address import Pins
    from strongroom.live.probing.tls import Plan
    from strongroom.model.connection import Connection

__all__ = ["Course", "EndedError"]

_PATIENCE_SECONDS = 5.0  # for one answer on a connection; the parent ends the whole test
_EXTRA = re.compile(r"strongroom\[([a-z0-9-]+)\]")
_STEPS = get_args(trouble.Step)
_REASONS = get_args(trouble.Reason)


class EndedError(Exception):
    """A step failed, and that is told."""


class _Mark:
    """What a step under way tells beside how it ends."""

    def __init__(self) -> None:
        self.days_left: int | None = None
        self.is_skipped = False


class Course:
    """
    One test.

    Args:
        held: the connection, still.
        around: of the process that asked for the test.
        pins: where it may go.
        hold: gives another connection in place of the one that is tested, such as one that names an address.
        tell: takes a line: `[name, None]` begins a step, six members end it.
    """

    def __init__(
        self,
        held: Held,
        around: Around,
        pins: Pins,
        *,
        hold: Callable[[Connection], Held],
        tell: Callable[[list[Any] | None], None],
    ) -> None:
        self.held = held
        self.around = around
        self.pins = pins
        self._hold = hold
        self._tell = tell

    @property
    def connection(self) -> Connection:
        """What is tested."""
        return self.held.known.connection

    @property
    def extra(self) -> Mapping[str, Any]:
        """The options of the connection, in the clear."""
        found = self.connection.extra
        return {} if found is None else found.reveal()

    def asked(self, driver: str, *, service: str | None = None, **options: object) -> Asked:
        """Give what a family is asked for."""
        return Asked(driver, service, options, self.around)

    def change(self, **changes: Any) -> None:  # noqa: ANN401 -- as Connection.replace
        """Go on with the connection changed."""
        self.held = self._hold(self.connection.replace(**changes))

    @contextmanager
    def step(self, name: trouble.Step, *, is_quiet: bool = False) -> Iterator[_Mark]:
        """
        Make a step.

        Args:
            name: of the step.
            is_quiet: it is told only where it fails, such as loading a driver.

        Raises:
            EndedError: it failed.
        """
        self._tell([name, None])
        mark, begun = _Mark(), time.monotonic()
        try:
            yield mark
        except EndedError:
            raise
        except Exception as error:  # noqa: BLE001 -- a driver raises what it likes; no text of it is passed on
            self.give_up(error, name, begun)
        if is_quiet:
            return
        outcome = "skipped" if mark.is_skipped else "ok"
        self._tell([name, outcome, "", _milliseconds(begun), mark.days_left, ""])

    def fail(
        self,
        name: trouble.Step,
        reason: trouble.Reason,
        *,
        since: float | None = None,
        hint: str | None = None,
    ) -> NoReturn:
        """
        Tell that a step failed; of *hint* only which extra it says to install.

        Raises:
            EndedError: always.
        """
        # How long a refused address took would tell why it was refused.
        took = 0.0 if since is None or name == "address" else _milliseconds(since)
        extra = _EXTRA.search(hint or "")
        self._tell([name, "failed", reason, took, None, extra[1] if extra else ""])
        raise EndedError from None

    def give_up(
        self, error: Exception, name: trouble.Step = "options", since: float | None = None
    ) -> NoReturn:
        """
        Tell why *error*, which came up at the step *name*, is a failure.

        Raises:
            EndedError: always.
        """
        self.fail(*_why(name, error), since=since, hint=getattr(error, "hint", None))

    # --- what most tests begin with ----------------------------------------------------------------

    def reach(self, host: str, port: int) -> socket.socket:
        """
        Look *host* up and connect to *port*; what answers is what every driver is led to from then on.

        Raises:
            EndedError: a step failed.
        """
        with self.step("name"):
            addresses = self.pins.pin(host)
        with self.step("tcp"):
            connection, address = _connected(addresses, port)
        self.pins.prefer(host, address)
        return connection

    def secure(self, connection: socket.socket, plan: Plan | None) -> None:
        """
        Look at the TLS of *connection*, and close it.

        Raises:
            EndedError: the step failed.
        """
        with connection, self.step("tls") as mark:
            if plan is None:
                mark.is_skipped = True
            else:
                mark.days_left = shake_hands(connection, plan)
                mark.is_skipped = mark.days_left is None

    def meet(self, host: str, port: int, plan: Plan | None) -> None:
        """Do both."""
        self.secure(self.reach(host, port), plan)


def _connected(addresses: tuple[str, ...], port: int) -> tuple[socket.socket, str]:
    last: Exception = FailedError("unavailable")
    for address in addresses:
        try:
            return socket.create_connection((address, port), _PATIENCE_SECONDS), address
        except (OSError, OverflowError) as error:
            last = error
    raise last


def _milliseconds(since: float) -> float:
    return round((time.monotonic() - since) * 1000, 1)


def _why(name: trouble.Step, error: Exception) -> tuple[trouble.Step, trouble.Reason]:
    """Give the step and the reason of *error*, which came up at the step *name*."""
    if isinstance(error, FailedError):
        return error.step or name, error.reason
    if isinstance(error, StrongroomError):
        # A family names both; any other error of ours says that what is stored cannot be used.
        step, reason = getattr(error, "step", None), getattr(error, "reason", None)
        if step in _STEPS and reason in _REASONS:
            return step, reason  # type: ignore[return-value]  # as just looked at
        return "options", "missing" if isinstance(error, NotFoundError) else "malformed"
    return name, _reason(name, error)


def _reason(name: trouble.Step, error: Exception) -> trouble.Reason:
    if isinstance(error, TimeoutError):
        return "timeout"
    found = cause_of(error)
    return found[1] if found is not None and found[0] == name else "other"
