"""
Tokens of OAuth2, by client credentials or a refresh token (RFC 6749 §4.4, §6), kept in the connection.

Rules of this file:

1. A refresh token is used once: whoever is to use it says so in the connection first, by compare-and-set, and
   everybody else waits for what he writes. A claim whose process died counts for 40 seconds.
2. A refresh token that could not be written is kept and used on, and written as soon as that can be done:
   the one that stands in the connection counts no more.
3. A provider is asked over the way of the connection, follows no redirect, has 20 seconds and 64 KiB, and
   after a failure is left alone for a second.
4. A token that is refused within a minute of its making is not made anew: that would be a loop.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import suppress
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ReadOnlyError, StrongroomError
from strongroom.live.oauth2_fields import Claim, Provider, Token, provider_of, token_of, with_token
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Around
    from strongroom.live.held import Held, Known
    from strongroom.live.web import Way
    from strongroom.model.connection import Connection

__all__ = ["Tokens"]

_CLAIM = timedelta(seconds=40)  # longer than a provider has for its answer, with two writes beside it
_PAUSE_SECONDS = 1.0
_YOUNG_SECONDS = 60.0  # each token that is made is a version of the connection
_WRITABLE = (
    "keep it where it can be written, without references in it; or set oauth2.write_back to false,"
    " if its refresh token never changes"
)


class _State(NamedTuple):
    """What is known of the tokens of one content of the connection."""

    provider: Provider
    token: Token
    way: Way


class Tokens:
    """
    Have the token of a connection at hand, and get another before it ends.

    Args:
        held: the connection.
        around: what is around.
        timer: seconds that only go up.

    Threads: safe; one asks for a token, the others wait for it.
    """

    def __init__(self, held: Held, around: Around, timer: Callable[[], float] = time.monotonic) -> None:
        self._held = held
        self._around = around
        self._timer = timer
        self._state: _State | None = None
        self._made_at = -_YOUNG_SECONDS
        self._failure: tuple[float, StrongroomError] | None = None
        self._unwritten: tuple[Token, Token] | None = None  # what was used, and what was given for it
        self._tried_at = -_PAUSE_SECONDS  # to write it
        # By process id: a forked child must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, tuple[threading.RLock, threading.Lock]] = {}

    def take(self, known: Known, way: Way) -> None:
        """
        Go on with what the connection says now.

        Raises:
            BackendConfigError: it says it in a way that cannot be read.
        """
        provider = provider_of(known.connection, self._held.name)
        token = token_of(known.connection, self._held.name)
        # A lock of its own, under which nobody waits: this is called on loops while a token is asked for.
        with self._lock_of_state():
            before = self._state
            is_kept = (
                before is not None and before.provider == provider and self._is_behind(before.token, token)
            )
            self._state = _State(provider, before.token if is_kept and before else token, way)
            if not is_kept:
                self._failure = None

    def _is_behind(self, ours: Token, theirs: Token) -> bool:
        """Tell whether what stands in the connection is older than what is known here, or says nothing."""
        if theirs.access is None:
            return ours.refresh == theirs.refresh or theirs.refresh is None
        return ours.renew_at is not None and theirs.renew_at is not None and theirs.renew_at < ours.renew_at

    def ready(self) -> str | None:
        """Give the token to send; None where another is needed."""
        state = self._state
        if state is None or not state.token.is_good(self._around.now()) or self._is_to_be_written():
            return None
        return state.token.access

    def _is_to_be_written(self) -> bool:
        return self._unwritten is not None and self._timer() - self._tried_at >= _PAUSE_SECONDS

    def obtained(self) -> str:
        """
        Give the token to send, after asking for it where that has to be.

        Raises:
            AccessDeniedError: the provider gives none to this client.
            BackendUnavailableError: the provider does not answer.
            BackendConfigError: its answer is none, or a new refresh token cannot be kept.
        """
        with self._lock():
            if self._is_to_be_written():
                with suppress(StrongroomError):  # the next request tries again
                    self._write_unwritten()
            return self.ready() or self._asked(None)

    def renewed(self, refused: str) -> str | None:
        """Give another token than the one *refused*; None where there is none. Raises as `obtained`."""
        with self._lock():
            state = self._now()
            if state.token.access not in (None, refused):
                return self.ready() or self._asked(None)
            newer = self._held.refreshed(self._held.known)
            if newer is not None:
                self.take(newer, state.way)
                token = self._now().token
                if token.access not in (None, refused):
                    return self.ready() or self._asked(None)
            if self._timer() - self._made_at < _YOUNG_SECONDS:
                return None
            return self._asked(refused)

    def _lock(self) -> threading.RLock:
        return self._both_locks()[0]

    def _lock_of_state(self) -> threading.Lock:
        return self._both_locks()[1]

    def _both_locks(self) -> tuple[threading.RLock, threading.Lock]:
        return self._locks.setdefault(os.getpid(), (threading.RLock(), threading.Lock()))

    def _go_on_with(self, token: Token) -> None:
        with self._lock_of_state():
            self._state = self._now()._replace(token=token)

    def _now(self) -> _State:
        if self._state is None:
            raise trouble("token", "missing", name=self._held.name)
        return self._state

    def _asked(self, refused: str | None) -> str:
        """Get a token that is not *refused*, from whoever has it first: another process, or the provider."""
        if self._failure is not None and self._timer() - self._failure[0] < _PAUSE_SECONDS:
            raise copy(self._failure[1])
        try:
            token = self._got(refused)
        except StrongroomError as error:
            self._failure = self._timer(), copy(error)
            raise
        self._go_on_with(token)
        if token.access is None:
            raise trouble("token", "malformed", name=self._held.name)
        return token.access

    def _got(self, refused: str | None) -> Token:
        provider = self._now().provider
        if not provider.is_written:
            return self._given(self._now().token)
        if provider.grant == "client_credentials":
            return self._shared(refused)
        self._write_unwritten()
        claimed, standing = self._claimed(refused)
        if claimed is None:
            return standing
        try:
            given = self._given(standing)
        except StrongroomError:
            self._let_go(claimed)
            raise
        self._unwritten = standing, given
        self._go_on_with(given)
        with suppress(StrongroomError):  # rule 2
            return self._write_unwritten() or given
        return given

    # --- with a refresh token --------------------------------------------------------------------------

    def _claimed(self, refused: str | None) -> tuple[str | None, Token]:
        """Claim the refresh token, or wait for whoever has; gives the claim, if any, and what stands."""
        mine = secrets.token_hex(8)
        changed = threading.Event()
        end = self._held.on_change(lambda _known: changed.set())
        try:
            while True:
                changed.clear()
                stands = self._claim(mine, refused)
                if stands.claim is None or stands.claim.by == mine:
                    return (None if stands.claim is None else mine), stands
                left = (stands.claim.until - self._around.now()).total_seconds()
                changed.wait(min(max(left, 0.0), _PAUSE_SECONDS))
        finally:
            end()

    def _claim(self, mine: str, refused: str | None) -> Token:
        """Write a claim unless there is a good token or another's claim by now; gives what stands."""
        found = Token()
        now = self._around.now()
        name = self._held.name

        def change(connection: Connection) -> Connection | None:
            nonlocal found
            found = token_of(connection, name)
            if found.is_good(now) and found.access != refused:
                found = found._replace(claim=None)
                return None
            # One that ends long after any of ours would was written by a clock that is wrong.
            if found.claim is not None and now < found.claim.until < now + 2 * _CLAIM:
                return None
            found = found._replace(claim=Claim(mine, now + _CLAIM))
            return with_token(connection, found, name)

        try:
            self._held.write_back(change, comment="claim its refresh token")
        except ReadOnlyError:
            raise trouble(
                "token", "missing", name=name, detail="a place to write to", hint=_WRITABLE
            ) from None
        return found

    def _write_unwritten(self) -> Token | None:
        """Write what a provider gave, unless another token stands there by now; gives what stands."""
        if self._unwritten is None:
            return None
        used, given = self._unwritten
        found = given
        name = self._held.name

        def change(connection: Connection) -> Connection | None:
            nonlocal found
            stands = token_of(connection, name)
            if stands.refresh not in (used.refresh, given.refresh):
                found = stands._replace(claim=None)  # somebody has authorized anew meanwhile
                return None
            found = given
            return with_token(connection, given, name)

        self._tried_at = self._timer()
        self._held.write_back(change, comment="keep the tokens that its provider gave")
        self._unwritten = None
        return found

    def _let_go(self, mine: str) -> None:
        """Take the claim back, so that nobody waits for its end."""
        name = self._held.name

        def change(connection: Connection) -> Connection | None:
            stands = token_of(connection, name)
            if stands.claim is None or stands.claim.by != mine:
                return None
            return with_token(connection, stands._replace(claim=None), name)

        with suppress(StrongroomError):  # then it ends by itself
            self._held.write_back(change, comment="no longer claim its refresh token")

    # --- with client credentials -------------------------------------------------------------------------

    def _shared(self, refused: str | None) -> Token:
        """Get a token and share it through the connection, where that can be written."""
        newer = self._held.refreshed(self._held.known)
        if newer is not None:
            stands = token_of(newer.connection, self._held.name)
            if stands.is_good(self._around.now()) and stands.access != refused:
                return stands
        given = self._given(self._now().token)
        name, now = self._held.name, self._around.now()

        def change(connection: Connection) -> Connection | None:
            stands = token_of(connection, name)
            # Another was faster: his is as good, and one write less.
            is_theirs = stands.is_good(now) and stands.access not in (refused, None)
            return None if is_theirs else with_token(connection, given, name)

        # Whoever cannot write keeps his token to himself.
        with suppress(StrongroomError):
            self._held.write_back(change, comment="share the token that its provider gave")
        return given

    def _given(self, token: Token) -> Token:
        """Ask the provider."""
        from strongroom.live.oauth2_request import asked_of  # noqa: PLC0415 -- loads the library

        state = self._now()
        given = asked_of(state.provider, token, state.way, self._held.name, self._around.now)
        self._made_at = self._timer()
        return given
