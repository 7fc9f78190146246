"""
Deployments whose store no key opens: how they wait, open, and are sealed again.

Not for what is served once one is open (`house.py`) nor for how one is opened (`assembly/house.py`).

Rules of this file:

1. A sealed deployment answers that it is sealed, and nothing else: nobody is denied there, nothing absent.
2. What is sealed because its outer key was not to be had is tried again by itself, 1 s, 2 s and up to a
   minute apart. What somebody sealed opens when somebody asks who may.
3. One that is open goes on while its key services are away, with the keys it has, for as long as
   `store.keep_keys_seconds` says.
4. Whoever types a passphrase proves who they are by that alone. One is tried at a time, and each wrong one
   makes its source wait for twice as long.
5. Each change is in the record of the deployment before it counts, and in the log once.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    RateLimitedError,
    SealedError,
    StrongroomError,
)
from strongroom.policy import Action, Actor, Assurance
from strongroom.service.access.throttle import network_of
from strongroom.service.guard import event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.model.secret import Secret
    from strongroom.service.guard import Recorder
    from strongroom.service.house import Deployment
    from strongroom.settings import Settings

__all__ = ["Opening", "SealNotice", "SealState", "Seals", "Unsealing"]

UNSEALER = "strongroom:unseal"
"""Who a record says it was where no actor is known: whoever had the passphrase, or the server itself."""

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds between two tries
_JITTER = 0.1  # of a wait, so that servers which lost one key service do not ask it together
_CONFIRMED_TIMES = 24  # in the time keys may be kept
_LEAST_CONFIRM = 1.0  # seconds between two looks whether the key is still to be had
_PATIENCE = 3.0  # seconds to wait for another's try
_MOST_SOURCES = 1_000


class _Open(Protocol):
    def __call__(self, ask: Callable[[], Secret[str]] | None) -> Deployment: ...


class Opening(NamedTuple):
    """
    How one deployment is opened.

    Args:
        settings: its own.
        recorder: its record, which needs no key.
        open: opens it; given what gives a passphrase that somebody typed, or None.
        confirm: asks its wrappers whether they still open it; raises where none does.
    """

    settings: Settings
    recorder: Recorder
    open: _Open
    confirm: Callable[[], None]

    @property
    def name(self) -> str:
        """Of the deployment."""
        return self.settings.deployment

    @property
    def takes_passphrase(self) -> bool:
        """Whether one of its wrappers wants a passphrase that somebody types."""
        return any(
            one.kind == "passphrase" and one.passphrase is None for one in self.settings.store.wrappers
        )

    @property
    def is_remote(self) -> bool:
        """Whether somebody else may take its outer key away."""
        return any(not one.is_local for one in self.settings.store.wrappers)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealState:
    """
    What is told of a deployment's seal.

    Args:
        is_sealed: no key is loaded.
        since: when that began, UTC; None where it is open.
        is_by_hand: somebody sealed it, so it does not open by itself.
        takes_passphrase: it opens with a passphrase that is typed.
        retry_after: when it is tried again by itself.
    """

    is_sealed: bool
    since: datetime | None = None
    is_by_hand: bool = False
    takes_passphrase: bool = False
    retry_after: timedelta | None = None


class SealNotice(NamedTuple):
    """
    What has changed.

    Args:
        name: of the deployment.
        what: it was `sealed` or is sealed for another reason now; `opened`; or is open while its key is
            `missing`, and will be sealed.
        error: why; None where it was opened.
    """

    name: str
    what: Literal["sealed", "opened", "missing"]
    error: StrongroomError | None = None


class Unsealing(NamedTuple):
    """
    What somebody brings to open a deployment.

    Args:
        passphrase: as it was typed.
        prove: gives who it is, by what came with the request and by the opened deployment; raises where
            nobody there is known. None where nothing came.
        source: the address it came from.
    """

    passphrase: Secret[str] | None = None
    prove: Callable[[Deployment], Actor] | None = None
    source: str = ""


@dataclass(slots=True)
class _Seal:
    """One deployment that is sealed."""

    opening: Opening
    error: StrongroomError
    since: datetime
    is_by_hand: bool
    waited: float = _FIRST_WAIT
    due: float = 0.0
    refused: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _Held:
    """One deployment that is open, whose key somebody else may take away."""

    confirmed: float
    due: float
    is_lost: bool = False


class Seals:
    """
    Which deployments of a house are sealed, and what opens them.

    Threads: may be used from several threads at once; has one of its own, a daemon.

    Args:
        openings: how each deployment is opened, by name.
        adopt: takes an opened deployment in.
        let_go: takes one out and closes what it holds, but its record.
        clock: UTC.
        timer: seconds that only go up.
    """

    def __init__(
        self,
        openings: Mapping[str, Opening],
        *,
        adopt: Callable[[Deployment], None],
        let_go: Callable[[str], None],
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._openings = dict(openings)
        self._adopt = adopt
        self._let_go = let_go
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._sealed: dict[str, _Seal] = {}
        self._held: dict[str, _Held] = {}
        self._sources = _Sources(timer)
        self._changed = threading.Event()
        self._is_ended = False
        self._thread: threading.Thread | None = None
        self._watchers: list[Callable[[SealNotice], None]] = []

    # --- what is told ------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Of the deployments that are sealed."""
        return tuple(self._sealed)

    def state(self, name: str) -> SealState:
        """Tell how it stands with the seal of *name*."""
        seal, opening = self._sealed.get(name), self._openings.get(name)
        takes = opening is not None and opening.takes_passphrase
        if seal is None:
            return SealState(is_sealed=False, takes_passphrase=takes)
        return SealState(
            is_sealed=True,
            since=seal.since,
            is_by_hand=seal.is_by_hand,
            takes_passphrase=takes,
            retry_after=self._wait(seal),
        )

    def refusal(self, name: str) -> SealedError | None:
        """Give what everybody is told who asks for *name*; None where it is not sealed. It names nothing."""
        seal = self._sealed.get(name)
        if seal is None:
            return None
        return SealedError(
            "this deployment is sealed: no key is loaded that opens its store",
            retry_after=self._wait(seal),
            hint="strongroom unseal; the log of the server tells why",
        )

    def _wait(self, seal: _Seal) -> timedelta | None:
        return None if seal.is_by_hand else timedelta(seconds=max(0.0, seal.due - self._timer()))

    def watch(self, callback: Callable[[SealNotice], None]) -> None:
        """Call *callback* for what is sealed now, and after every change. It must not block or raise."""
        self._watchers.append(callback)
        for name, seal in list(self._sealed.items()):
            callback(SealNotice(name, "sealed", seal.error))

    def _tell(self, notice: SealNotice) -> None:
        for callback in list(self._watchers):
            callback(notice)

    # --- sealing -----------------------------------------------------------------------------------

    def begin(self, name: str, error: StrongroomError) -> None:
        """Count *name*, which could not be opened at the start, as sealed."""
        self._put(self._openings[name], error, is_by_hand=False)

    def hold(self, name: str) -> None:
        """Look from now on whether the key of *name*, which is open, is still to be had."""
        opening = self._openings.get(name)
        if opening is not None and opening.is_remote:
            now = self._timer()
            self._held[name] = _Held(now, now + self._confirm_seconds(opening))

    def seal(self, name: str, actor: Actor, *, reason: str = "") -> None:
        """
        Forget the keys of *name* and close it, as an actor who was allowed to and is on record.

        Raises:
            ConflictError: it cannot be opened again without starting the server anew.
        """
        opening = self._openings.get(name)
        if opening is None:
            raise ConflictError("this server cannot seal what it could not open again", hint="end it instead")
        why = SealedError(f"{actor.id} sealed it" + (f": {reason}" if reason else ""))
        self._close(opening, why, is_by_hand=True)

    def _close(self, opening: Opening, error: StrongroomError, *, is_by_hand: bool) -> None:
        with self._lock:
            if opening.name in self._sealed:
                return
            self._held.pop(opening.name, None)
            self._put(opening, error, is_by_hand=is_by_hand)
        # From here on everybody is told that it is sealed.
        self._let_go(opening.name)

    def _put(self, opening: Opening, error: StrongroomError, *, is_by_hand: bool) -> None:
        seal = _Seal(opening, error, self._clock(), is_by_hand)
        seal.due = self._timer() + _spread(seal.waited)
        self._sealed[opening.name] = seal
        self._tell(SealNotice(opening.name, "sealed", error))
        self._changed.set()

    # --- opening -----------------------------------------------------------------------------------

    def unseal(self, name: str, brought: Unsealing) -> None:
        """
        Open *name* with what somebody brought, or try once more without; does nothing where it is open.

        Raises:
            NotAuthenticatedError: the passphrase does not open it; or somebody sealed it, and nobody who
                may open it was proven.
            AccessDeniedError: who was proven may not.
            InvalidInputError: it takes no passphrase.
            RateLimitedError: too soon after the last try.
            SealedError: it stays sealed.
            NotRecordedError: it cannot be put on record; it stays sealed.
        """
        seal = self._sealed.get(name)
        if seal is None:
            return
        self._check(seal, brought)
        network = network_of(brought.source)
        self._sources.check(network)
        if not seal.turn.acquire(timeout=_PATIENCE):
            raise RateLimitedError("it is being tried at this moment", retry_after=timedelta(seconds=1))
        try:
            if self._sealed.get(name) is seal:
                self._attempt(seal, brought, network)
        finally:
            seal.turn.release()

    def _check(self, seal: _Seal, brought: Unsealing) -> None:
        if brought.passphrase is not None:
            if not seal.opening.takes_passphrase:
                raise InvalidInputError(
                    "this deployment takes no passphrase that is typed", hint="strongroom unseal without one"
                )
        elif seal.is_by_hand and brought.prove is None:
            raise NotAuthenticatedError(
                "somebody sealed this deployment: it opens for its administrators",
                hint="strongroom login, then strongroom unseal; or on the server's machine",
            )

    def _attempt(self, seal: _Seal, brought: Unsealing, network: str) -> None:
        passphrase = brought.passphrase
        ask = None if passphrase is None else lambda: passphrase
        self._sources.failed(network)  # counted before it is looked at; what opens takes it back
        try:
            found = seal.opening.open(ask)
        except StrongroomError as error:
            self._sources.ended(network)
            raise self._refused(seal, error, brought) from None
        try:
            actor = self._proven(seal, brought, found)
            self._record(seal, actor, "done", "unsealed")
        except BaseException:
            found.close()
            raise
        self._sources.succeeded(network)
        self._opened(seal, found)

    def _proven(self, seal: _Seal, brought: Unsealing, found: Deployment) -> Actor:
        if brought.passphrase is not None or brought.prove is None:
            return _nobody(brought.source)
        actor = brought.prove(found)
        if seal.is_by_hand:
            found.guard.check(actor, Action.ADMINISTER, None, None)
        return actor

    def _refused(self, seal: _Seal, error: StrongroomError, brought: Unsealing) -> StrongroomError:
        self._still(seal, error)
        if brought.passphrase is None or not isinstance(error, SealedError):
            told = self.refusal(seal.opening.name)
            return error if told is None else told
        seal.refused += 1
        with suppress(StrongroomError):
            self._record(
                seal, _nobody(brought.source), "denied", "unseal: a passphrase that does not open it"
            )
        return NotAuthenticatedError("the passphrase does not open the store", hint="type it again")

    def _still(self, seal: _Seal, error: StrongroomError) -> None:
        if str(error) != str(seal.error):
            self._tell(SealNotice(seal.opening.name, "sealed", error))
        seal.error = error

    def _opened(self, seal: _Seal, found: Deployment) -> None:
        name = seal.opening.name
        self._adopt(found)
        with self._lock:
            self._sealed.pop(name, None)
            self.hold(name)
        self._tell(SealNotice(name, "opened"))

    def _record(self, seal: _Seal, actor: Actor, outcome: str, what: str) -> None:
        seconds = round((self._clock() - seal.since).total_seconds())
        more = f", after {seal.refused} wrong passphrases" if seal.refused and outcome == "done" else ""
        reason = what if outcome != "done" else f"{what} after {seconds} s{more}; sealed because {seal.error}"
        seal.opening.recorder.append(event_of(actor, Action.ADMINISTER, None, outcome, reason=reason))

    # --- by itself ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to try what is sealed, and to look after what is open. Safe to call twice."""
        if self._thread is None and self._openings:
            self._thread = threading.Thread(target=self._look, name="strongroom-seals", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Try no more. Safe to call twice."""
        self._is_ended = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._is_ended:
            now = self._timer()
            for seal in list(self._sealed.values()):
                if not seal.is_by_hand and now >= seal.due:
                    self._try(seal)
            for name, held in list(self._held.items()):
                if now >= held.due:
                    self._confirm(self._openings[name], held)
            self._changed.wait(self._idle())
            self._changed.clear()

    def _idle(self) -> float | None:
        due = [seal.due for seal in list(self._sealed.values()) if not seal.is_by_hand]
        due += [held.due for held in list(self._held.values())]
        return max(0.0, min(due) - self._timer()) if due else None

    def _try(self, seal: _Seal) -> None:
        if not seal.turn.acquire(blocking=False):
            return  # somebody is at it
        try:
            if self._sealed.get(seal.opening.name) is seal:
                self._tried(seal)
        finally:
            seal.waited = min(2 * seal.waited, _LONGEST_WAIT)
            seal.due = self._timer() + _spread(seal.waited)
            seal.turn.release()

    def _tried(self, seal: _Seal) -> None:
        try:
            found = seal.opening.open(None)
        except StrongroomError as error:
            self._still(seal, error)
            return
        try:
            self._record(seal, _nobody(""), "done", "unsealed by itself")
        except StrongroomError as error:
            found.close()
            self._still(seal, error)
            return
        self._opened(seal, found)

    def _confirm(self, opening: Opening, held: _Held) -> None:
        now = self._timer()
        try:
            opening.confirm()
        except StrongroomError as error:
            if now - held.confirmed >= opening.settings.store.keep_keys_seconds:
                self._expire(opening, held, error)
                return
            if not held.is_lost:
                held.is_lost = True
                self._tell(SealNotice(opening.name, "missing", error))
            held.due = now + min(self._confirm_seconds(opening), _LONGEST_WAIT)
            return
        held.confirmed, held.is_lost = now, False
        held.due = now + self._confirm_seconds(opening)

    def _confirm_seconds(self, opening: Opening) -> float:
        return max(_LEAST_CONFIRM, opening.settings.store.keep_keys_seconds / _CONFIRMED_TIMES)

    def _expire(self, opening: Opening, held: _Held, error: StrongroomError) -> None:
        seconds = round(self._timer() - held.confirmed)
        why = SealedError(f"for {seconds} s its keys were kept though {error}")
        with suppress(StrongroomError):  # it is sealed whether or not that can be put on record
            opening.recorder.append(
                event_of(_nobody(""), Action.ADMINISTER, None, "done", reason=f"sealed: {why}")
            )
        self._close(opening, why, is_by_hand=False)


class _Sources:
    """
    Makes whoever brings a passphrase that does not open wait before the next.

    Threads: safe.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._lock = threading.Lock()
        self._waits: OrderedDict[str, tuple[float, float]] = OrderedDict()  # the wait, and its end

    def check(self, network: str) -> None:
        """Raise RateLimitedError where *network* must wait."""
        with self._lock:
            _, until = self._waits.get(network, (0.0, 0.0))
        left = until - self._timer()
        if left > 0:
            raise RateLimitedError(
                "too many tries; wait before the next one", retry_after=timedelta(seconds=left)
            )

    def failed(self, network: str) -> None:
        with self._lock:
            last, until = self._waits.pop(network, (_FIRST_WAIT / 2, 0.0))
            now = self._timer()
            wait = _FIRST_WAIT if now > until + _LONGEST_WAIT else min(2 * last, _LONGEST_WAIT)
            self._waits[network] = (wait, now + wait)
            while len(self._waits) > _MOST_SOURCES:
                self._waits.popitem(last=False)

    def ended(self, network: str) -> None:
        """Let the wait of *network* begin now: what it waits for took its time."""
        with self._lock:
            wait, until = self._waits.get(network, (0.0, 0.0))
            if wait:
                self._waits[network] = (wait, max(until, self._timer() + wait))

    def succeeded(self, network: str) -> None:
        with self._lock:
            self._waits.pop(network, None)


def _nobody(source: str) -> Actor:
    return Actor(UNSEALER, Assurance.CLAIMED, source=source)


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- no secret
