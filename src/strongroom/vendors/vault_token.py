"""
The token of one login to Vault or OpenBao: got once, kept, renewed and replaced.

Not for asking with it (`vault.py`), nor for how one logs in (`vault_login.py`).

Rules of this file:

1. One login is under way at a time, however many threads want one; all of them share what comes of it.
2. Only after a refusal the token itself is looked up; one that is dead is replaced once.
3. A login that was refused is not tried again for 5 s, then 10 s, up to 60 s; meanwhile it is refused
   here. No answer at all is no refusal.
4. A token is renewed at about two thirds of its life, on a thread that keeps nothing alive. Where that
   fails the token serves as long as it lives. What cannot be renewed any more is replaced before it ends.
5. A forked child has the token, and locks, thread and logins of its own.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from strongroom.bulkhead import Flight, seconds_left
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.vendors.pause import FIRST_SECONDS, LAST_SECONDS, Pause
from strongroom.vendors.vault_answer import check_answered, complaints, facts_of
from strongroom.vendors.vault_login import Grant, granted

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.secret import Secret
    from strongroom.vendors.vault_login import Ask, Login

__all__ = ["LOOKUP", "Held", "Tokens"]

LOOK_AFTER = 30.0  # seconds a token of the settings is used before it is looked up: most processes end sooner
_RETRY_SECONDS = 30.0  # at most, between two tries to renew
_RENEW_FROM, _RENEW_TO = 0.62, 0.70  # of its life: two thirds, and not all processes at once
_WORN = 0.5  # a renewal that gives less than this of the first life: its longest life is near
_OK, _DENIED = 200, 403
LOOKUP = "/v1/auth/token/lookup-self"
_RENEW = "/v1/auth/token/renew-self"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The token in use, and when to do what about it, by the session's clock."""

    grant: Grant
    got_at: float
    first_life: float | None = None
    ends_at: float | None = None
    act_at: float | None = None

    def is_over(self, now: float) -> bool:
        return self.ends_at is not None and now >= self.ends_at


@dataclass(slots=True)
class _Desk:
    """What one process has for itself."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    flight: Flight[Held] | None = None
    is_renewing: bool = False
    wake: threading.Event = field(default_factory=threading.Event)
    keeper: threading.Thread | None = None


class Tokens:
    """
    Keep a token of one login.

    Args:
        login: how to get one.
        ask: asks the server, with a token or with none.
        place: the backend's name, for messages.
        clock: seconds that only go up.
        look_after: seconds a token whose life nobody told is used before it is looked up.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self,
        login: Login,
        ask: Ask,
        *,
        place: str,
        clock: Callable[[], float] = time.monotonic,
        look_after: float = LOOK_AFTER,
    ) -> None:
        self._login = login
        self._ask = ask
        self._place = place
        self._clock = clock
        self._look_after = look_after
        self._held: Held | None = None
        self._proven: Secret[str] | None = None  # the last token that was not refused
        self._pause = Pause(clock)
        self._is_closed = False
        self._is_troubled = False
        # By process id: `setdefault` is atomic, so a forked child gets a desk of its own without a lock
        # that another thread of the parent may have held at the fork.
        self._desks: dict[int, _Desk] = {}

    @property
    def follow_one_another(self) -> bool:
        """Whether a token that ends is followed by another without anybody's help."""
        return self._login.tells_life or not self._login.is_ours

    def current(self) -> Held:
        """
        Give the token to ask with, logging in where there is none that lives.

        Raises:
            As `Login.grant`; BackendUnavailableError too when the caller cannot wait for another's login.
        """
        held = self._held
        if held is None or held.is_over(self._clock()) or self._login.is_outdated():
            return self._alone(lambda: self._logged_in(held))
        if held.act_at is not None:
            self._start_keeper()
        return held

    def instead_of(self, refused: Held) -> Held:
        """
        Give the token to ask again with: another where *refused* is dead, itself when it lives and may not.

        Raises:
            As `current`.
        """
        return self._alone(lambda: self._replaced(refused))

    def worked(self, held: Held) -> None:
        """Take note that a question with *held* was not refused."""
        self._proven = held.grant.token
        self._pause.end()

    def standing(self) -> tuple[Secret[str], float | None] | None:
        """As `VaultSession.standing`."""
        held = self._held
        if held is None:
            return None
        return held.grant.token, None if held.ends_at is None else held.ends_at - self._clock()

    def close(self) -> None:
        """End the thread that renews, and let go of what logs in. Safe to call twice."""
        self._is_closed = True
        desk = self._desks.get(os.getpid())  # a parent's may be locked by a thread that is not here
        if desk is not None:
            desk.wake.set()
        self._login.close()

    def _alone(self, work: Callable[[], Held], *, is_renewal: bool = False) -> Held:
        """Do *work* if nobody is at it; otherwise wait for what comes of theirs."""
        desk = self._desk()
        mine: Flight[Held] = Flight()
        while True:
            with desk.lock:
                theirs, is_renewing = desk.flight, desk.is_renewing
                if theirs is None:
                    desk.flight, desk.is_renewing = mine, is_renewal
                    break
            if not theirs.wait(seconds_left()):
                raise BackendUnavailableError(
                    f"the backend {self._place} was still logging in", backend=self._place
                )
            if not is_renewing:
                return theirs.shared_answer()
            # Whether a token can be renewed says nothing of whether it was refused: that is asked next.
        try:
            # Without the time limit of this caller: what comes of it is for all who wait, and for the next.
            Context().run(mine.run, work)
        finally:
            with desk.lock:
                desk.flight = None
        return mine.answer()

    def _logged_in(self, seen: Held | None) -> Held:
        """Log in, unless somebody has since *seen* was looked at."""
        held = self._held
        is_over = held is None or held.is_over(self._clock())
        if held is not None and held is not seen and not is_over:
            return held
        try:
            return self._hold(self._granted())
        except NotAuthenticatedError:
            if held is None or is_over:
                raise
            return (
                held  # what replaces it cannot be used, perhaps half written: it serves until it is refused
            )

    def _replaced(self, refused: Held) -> Held:
        held = self._held
        if held is not None and held.grant.token != refused.grant.token:
            return held
        if not self._is_dead(refused):
            self._pause.end()
            return refused
        self._held = None
        if self._is_stillborn(refused):  # another login would give another such, at every question
            raise self._refuse(
                NotAuthenticatedError(
                    f"a login of the backend {self._place} gave a token that is refused at once",
                    hint="check token_bound_cidrs, token_num_uses and token_ttl of the role",
                )
            )
        grant = self._granted()
        if grant.token == refused.grant.token:
            raise self._refuse(
                NotAuthenticatedError(
                    f"the token of the backend {self._place} is not valid any more", hint=self._login.remedy
                )
            )
        return self._hold(grant)

    def _is_stillborn(self, dead: Held) -> bool:
        """Tell whether a token died early in its life and was good for nothing before."""
        early = min(FIRST_SECONDS, (dead.grant.life_seconds or LAST_SECONDS) / 2)
        is_young = self._clock() - dead.got_at < early
        return is_young and self._login.tells_life and dead.grant.token != self._proven

    def _is_dead(self, held: Held) -> bool:
        reply = self._ask("GET", LOOKUP, token=held.grant.token)
        check_answered(reply, self._place)
        if reply.status != _DENIED:
            return reply.status != _OK
        # A live token without the policy `default` may not look itself up: then policy is the one error
        # told. Of a dead one the server counts no errors, or says that it is invalid.
        words = complaints(reply)
        return "1 error occurred" not in words or "invalid token" in words

    def _granted(self) -> Grant:
        if self._pause.is_on and not self._login.is_outdated():
            self._pause.check()
        try:
            return self._login.grant(self._ask)
        except (NotAuthenticatedError, AccessDeniedError, BackendConfigError, RateLimitedError) as error:
            self._refuse(error)
            raise

    def _refuse(self, error: StrongroomError) -> StrongroomError:
        """Let nobody log in for a while, and give *error* back."""
        self._pause.begin(error, wait=error.retry_after if isinstance(error, RateLimitedError) else None)
        return error

    def _hold(self, grant: Grant, *, first_life: float | None = None) -> Held:
        now, life = self._clock(), grant.life_seconds
        act_at = None
        if life is not None:
            act_at = now + life * _share()
        elif self._login.is_ours and not self._login.tells_life and first_life is None:
            act_at = now + self._look_after
        held = Held(
            grant=grant,
            got_at=now,
            first_life=first_life or life,
            ends_at=None if life is None else now + life,
            act_at=act_at,
        )
        return self._keep(held)

    def _keep(self, held: Held) -> Held:
        self._held = held
        self._desk().wake.set()
        return held

    def _desk(self) -> _Desk:
        process = os.getpid()
        return self._desks.get(process) or self._desks.setdefault(process, _Desk())

    # --- renewal, on the thread of the keeper ---

    def _start_keeper(self) -> None:
        desk = self._desk()
        if desk.keeper is not None and desk.keeper.is_alive():
            return
        with desk.lock:
            if self._is_closed or (desk.keeper is not None and desk.keeper.is_alive()):
                return
            wake = desk.wake
            desk.keeper = threading.Thread(
                target=_keep_alive,
                args=(weakref.ref(self, lambda _gone: wake.set()), wake),
                name=f"strongroom {self._place} token",
                daemon=True,
            )
            with suppress(RuntimeError):  # no more threads, or the interpreter ends: reads log in anew
                desk.keeper.start()

    def act(self) -> float | None:
        """Do what is due with the token; give the seconds until something is, None when nothing will be."""
        held = self._held
        if self._is_closed or held is None or held.act_at is None:
            return None
        left = held.act_at - self._clock()
        if left > 0:
            return left
        try:
            self._alone(lambda: self._kept(held), is_renewal=True)
            self._tell(is_troubled=False)
        except StrongroomError as error:
            self._postpone(held, error)
        return 0.0

    def _kept(self, held: Held) -> Held:
        if self._held is not held:
            return self._held or held
        if held.first_life is None:
            return self._looked_up(held)
        renewed = self._renewed(held) if held.grant.is_renewable else None
        if renewed is not None:
            return renewed
        # Its longest life is near, or it has but one: a login makes another, where there is a login.
        return (
            self._hold(self._granted()) if self._login.tells_life else self._keep(replace(held, act_at=None))
        )

    def _looked_up(self, held: Held) -> Held:
        reply = self._ask("GET", LOOKUP, token=held.grant.token)
        check_answered(reply, self._place)
        facts = facts_of(reply, self._place) if reply.status == _OK else None
        if facts is None or facts.seconds_left is None:
            return self._keep(replace(held, act_at=None))
        return self._hold(Grant(held.grant.token, facts.seconds_left, facts.is_renewable))

    def _renewed(self, held: Held) -> Held | None:
        reply = self._ask("POST", _RENEW, body={}, token=held.grant.token)
        if "past the max TTL" in complaints(reply):  # said with the status 500, as if it were broken
            return None
        check_answered(reply, self._place)
        grant = granted(reply, self._place) if reply.status == _OK else None
        life = None if grant is None else grant.life_seconds
        if life is None or life < (held.first_life or life) * _WORN:
            return None
        return self._hold(Grant(held.grant.token, life, is_renewable=True), first_life=held.first_life)

    def _postpone(self, held: Held, error: StrongroomError) -> None:
        now = self._clock()
        left = _RETRY_SECONDS if held.ends_at is None else held.ends_at - now
        wait = min(max(left / 3, 0.1), _RETRY_SECONDS)
        if self._held is held:
            self._keep(replace(held, act_at=now + wait if left > 0 else None))
        self._tell(is_troubled=True, why=error.code)

    def _tell(self, *, is_troubled: bool, why: str = "") -> None:
        """Write one line when renewing starts to fail, and one when it works again."""
        if is_troubled == self._is_troubled:
            return
        self._is_troubled = is_troubled
        import logging  # noqa: PLC0415 -- costs a cold process more than a request

        log = logging.getLogger("strongroom.vault")
        if is_troubled:
            log.warning(
                "the token of %s could not be renewed (%s); it serves while it lives", self._place, why
            )
        else:
            log.info("the token of %s is renewed again", self._place)


def _share() -> float:
    """Give the part of a life after which to renew; `random` would cost a cold process 5 ms."""
    return _RENEW_FROM + (_RENEW_TO - _RENEW_FROM) * int.from_bytes(os.urandom(4), "big") / 0xFFFFFFFF


def _keep_alive(found: weakref.ref[Tokens], wake: threading.Event) -> None:
    """Act for tokens as long as it is there and has something to do."""
    while (tokens := found()) is not None:
        wake.clear()
        seconds = tokens.act()
        del tokens  # while it waits, this thread must not keep alive what nobody else holds
        if seconds is None:
            return
        wake.wait(seconds)
