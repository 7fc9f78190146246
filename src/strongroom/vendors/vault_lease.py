"""
Credentials that an engine of Vault or OpenBao makes when asked, and their leases: one a path and process.

Not for which connection they belong to (`backends/vault.py`).

Rules of this file:

1. A login and its password come from one answer and are handed out together.
2. Nothing happens unless somebody reads: no thread, no request. Read again past two thirds of its life, a
   lease is renewed; what cannot be renewed, or only for less than half of its first life, is replaced by a
   new one. So whoever reads has a third of a life at least.
3. A lease ends with the token it was asked for with: another token means another lease.
4. Where renewing fails for the moment, the credentials serve as long as they live.
5. `close` revokes every lease of this process that still lives, those that were replaced too, and so does
   the end of a process that nobody closed them in; `withdraw` those of one path. A forked child asks for
   its own and revokes its own.
6. No message and no log line holds a lease id, a login or a password.

Source: the HTTP API of OpenBao 2.7 (sys/leases, secret/databases, secret/aws), run against it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.backend import ephemeral_version
from strongroom.bulkhead import seconds_left, within
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import complaints, lifetime, member, misshapen, no_namespace, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault import VaultSession

__all__ = ["Leased", "Leases"]

_OK, _DONE, _REFUSED, _DENIED, _ABSENT = 200, 204, 400, 403, 404
_RENEW, _REVOKE = "/v1/sys/leases/renew", "/v1/sys/leases/revoke"
_RENEW_AFTER = 2 / 3  # of its life
_WORN = 0.5  # a renewal for less than this of the first life: its longest life is near
_RETRY_SECONDS = 30.0  # at most, between two tries to renew
_CLOSE_SECONDS = 5.0  # for revoking everything
_MAX_REPLACED = 256  # leases remembered a path, to be revoked
# What engines call a login and its password, and what stands beside it.
_LOGINS = (("username", "password"), ("access_key", "secret_key"))
_TOKENS = ("security_token", "session_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """
    Credentials as one lease has them.

    Args:
        login: who.
        password: of *login*.
        token: a third part that belongs to them, as AWS has it; or None.
        mark: changes with the credentials and means nothing else.
        lifetime: for how long they may be kept without asking again; None where nobody says.
    """

    login: Secret[str]
    password: Secret[str]
    token: Secret[str] | None = None
    mark: str
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lease:
    """A lease, its credentials, and when to do what about it, by the clock of `Leases`."""

    id: Secret[str]
    leased: Leased
    asked_with: Secret[str] | None
    first_life: float
    is_renewable: bool
    act_at: float
    ends_at: float
    token_ends_at: float | None = None

    def dies_at(self) -> float:
        return self.ends_at if self.token_ends_at is None else min(self.ends_at, self.token_ends_at)


@dataclass(slots=True)
class _Line:
    """One path: its lease, and those before it that may still live."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    lease: _Lease | None = None
    replaced: list[tuple[Secret[str], float]] = field(default_factory=list)


_open: weakref.WeakSet[Leases] = weakref.WeakSet()  # what has lent something in this process
_guard = threading.Lock()


def _at_the_end() -> None:
    for leases in list(_open):
        leases.close()


class Leases:
    """
    Credentials from paths such as `database/creds/orders-ro`.

    Args:
        session: asks the server. Not closed here.
        place: the backend's name, for messages.
        clock: seconds that only go up.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self, session: VaultSession, *, place: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._place = place
        self._clock = clock
        self._key = os.urandom(16)
        self._is_closed = False
        # By process id: `setdefault` is atomic, so a forked child has no lease of its parent.
        self._books: dict[int, dict[str, _Line]] = {}

    def __repr__(self) -> str:
        return f"Leases({self._place!r})"

    # --- asking ---

    def credentials(self, path: str) -> Leased:
        """
        Give the credentials that stand for *path*, asking for some where there are none, or old ones.

        Raises:
            BackendConfigError: nothing there makes credentials.
            AccessDeniedError: no policy allows it.
            BackendUnavailableError, RateLimitedError: none now.
        """
        line = self._line(path)
        found = self._fresh(line.lease)
        if found is not None:
            return found
        # Who finds a live one does not wait for the thread that renews it.
        alive = self._alive(line.lease)
        left = seconds_left()
        wait = 0.0 if alive is not None else -1.0 if left is None else max(left, 0.0)
        if not line.lock.acquire(blocking=wait != 0.0, timeout=wait if wait > 0.0 else -1.0):
            if alive is None:
                raise BackendUnavailableError(
                    f"the backend {self._place} was still getting credentials", backend=self._place
                )
            return alive
        try:
            return self._fresh(line.lease) or self._kept(line, path)
        finally:
            line.lock.release()

    def withdraw(self, path: str) -> Callable[[], StrongroomError | None] | None:
        """
        Lend something else at *path* from now on; None where this process was lent nothing there that lives.

        Returns:
            what revokes what was lent until now: as of `backend.Lending`.

        Raises:
            BackendUnavailableError: it is just being renewed, for 5 s by now; nothing has changed.
        """
        line = self._books.get(os.getpid(), {}).get(path)
        if line is None:
            return None
        if not line.lock.acquire(timeout=_CLOSE_SECONDS):
            raise BackendUnavailableError(
                f"the backend {self._place} was still getting credentials", backend=self._place
            )
        try:
            # Until they are revoked they stand where `close` finds them.
            line.replaced = self._living(line)
            line.lease, living = None, list(line.replaced)
        finally:
            line.lock.release()
        return partial(self._revoked, line, living) if living else None

    def _revoked(self, line: _Line, living: list[tuple[Secret[str], float]]) -> StrongroomError | None:
        """Revoke what still lives of *living*, which stands in *line* until then; give why it could not."""
        now = self._clock()
        living[:] = [one for one in living if one[1] > now and one in line.replaced]
        before, error = list(living), None
        if living:
            with within(_CLOSE_SECONDS):
                error = self._revoke(living)
        # Where a renewal takes its time they stay there: to revoke what is revoked does no harm.
        if line.lock.acquire(timeout=1.0):
            line.replaced = [one for one in line.replaced if one in living or one not in before]
            line.lock.release()
        return error

    def close(self) -> None:
        """Revoke what this process has. Safe to call twice; takes 5 s at most and never raises."""
        self._is_closed = True
        _open.discard(self)
        living: list[tuple[Secret[str], float]] = []
        for line in self._books.pop(os.getpid(), {}).values():
            living += self._living(line)
            line.replaced = []  # nobody tries again
        if living:
            with within(_CLOSE_SECONDS):
                self._tell_left(living, self._revoke(living))

    def _living(self, line: _Line) -> list[tuple[Secret[str], float]]:
        """Give the leases of *line* that have not ended, and when they do."""
        now, lease = self._clock(), line.lease
        held = line.replaced if lease is None else [*line.replaced, (lease.id, lease.dies_at())]
        return [(one, ends_at) for one, ends_at in held if ends_at > now]

    def _line(self, path: str) -> _Line:
        if self._is_closed:
            raise self._closed()
        process = os.getpid()
        book = self._books.get(process)
        if book is None:
            book = self._books.setdefault(process, {})
        return book.get(path) or book.setdefault(path, _Line())

    def _closed(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"the backend {self._place} is closed", backend=self._place)

    def _fresh(self, lease: _Lease | None) -> Leased | None:
        """Give what may be handed out without asking anybody."""
        if lease is None:
            return None
        now = self._clock()
        lease = self._as_the_token(lease, now)
        until = min(lease.act_at, lease.dies_at())
        return _for(lease.leased, until - now) if now < until else None

    def _alive(self, lease: _Lease | None) -> Leased | None:
        if lease is None:
            return None
        now = self._clock()
        lease = self._as_the_token(lease, now)
        return _for(lease.leased, lease.dies_at() - now) if now < lease.dies_at() else None

    def _as_the_token(self, lease: _Lease, now: float) -> _Lease:
        """Give *lease* with the end of its token as it is known now."""
        standing = self._session.standing()
        if standing is None or standing[0] != lease.asked_with:
            return replace(lease, act_at=now)
        ends_at = None if standing[1] is None else now + standing[1]
        return replace(lease, token_ends_at=ends_at)

    # --- one thread a path ---

    def _kept(self, line: _Line, path: str) -> Leased:
        """Renew what stands, or get something new, or make do with what lives."""
        lease = line.lease
        alive = self._alive(lease)
        try:
            renewed = self._renewed(lease) if lease is not None and alive is not None else None
            if renewed is None:
                return self._replaced(line, path)
            line.lease = renewed
        except (BackendUnavailableError, RateLimitedError) as error:
            if lease is None or alive is None:
                raise
            self._postpone(line, lease, error)
        return self._fresh(line.lease) or self._alive(line.lease) or self._replaced(line, path)

    def _renewed(self, lease: _Lease) -> _Lease | None:
        """Give *lease* with a longer life; None when it has to be replaced."""
        standing = self._session.standing()
        if not lease.is_renewable or standing is None or standing[0] != lease.asked_with:
            return None
        asked_at = self._clock()
        reply = self._session.request("POST", _RENEW, body={"lease_id": lease.id})
        life = lifetime(member(opened(reply, self._place), int, "lease_duration") or 0)
        if reply.status != _OK or life is None or life < lease.first_life * _WORN:
            return None
        return replace(lease, act_at=asked_at + life * _RENEW_AFTER, ends_at=asked_at + life)

    def _replaced(self, line: _Line, path: str) -> Leased:
        asked_at = self._clock()
        reply = self._session.request("GET", f"/v1/{quote(path)}", is_repeatable=False)
        if reply.status != _OK:
            raise self._refusal(path, reply)
        found = opened(reply, self._place)
        leased = self._credentials_in(path, member(found, dict, "data"))
        lease_id, seconds = member(found, str, "lease_id"), member(found, int, "lease_duration")
        life = lifetime(seconds or 0)
        if not lease_id or life is None:
            # Of an account that the server rotates by itself: it tells how long until then.
            left = member(found, int, "data", "ttl")
            return leased if left is None else _for(leased, float(max(left, 0)))
        standing = self._session.standing()
        made = _Lease(
            id=Secret(lease_id),
            leased=leased,
            asked_with=None if standing is None else standing[0],
            first_life=life,
            is_renewable=member(found, bool, "renewable") or False,
            act_at=asked_at + life * _RENEW_AFTER,
            ends_at=asked_at + life,
        )
        self._keep(line, made)
        return self._fresh(made) or self._alive(made) or _for(leased, 0.0)

    def _keep(self, line: _Line, made: _Lease) -> None:
        now, before = self._clock(), line.lease
        living = [(one, ends_at) for one, ends_at in line.replaced if ends_at > now]
        if before is not None:
            living.append((before.id, before.dies_at()))
        line.replaced = living[-_MAX_REPLACED:]
        line.lease = made
        self._remember()
        if self._is_closed:  # meanwhile: nobody else would revoke it
            living = [(made.id, made.ends_at)]
            self._tell_left(living, self._revoke(living))
            raise self._closed()

    def _remember(self) -> None:
        """Have them revoked at the end of a process that never closes them."""
        import atexit  # noqa: PLC0415 -- only who lends something

        with _guard:
            if self not in _open:
                if not _open:
                    atexit.unregister(_at_the_end)
                    atexit.register(_at_the_end)
                _open.add(self)

    def _postpone(self, line: _Line, lease: _Lease, error: StrongroomError) -> None:
        now = self._clock()
        wait = min(max((lease.dies_at() - now) / 3, 0.1), _RETRY_SECONDS)
        line.lease = replace(lease, act_at=now + wait)
        self._tell(
            "credentials of %s could not be renewed (%s); they serve while they live", self._place, error.code
        )

    def _credentials_in(self, path: str, data: Mapping[str, object] | None) -> Leased:
        for login, password in _LOGINS:
            who, secret = member(data, str, login), member(data, str, password)
            if who and secret:
                token = next((found for key in _TOKENS if (found := member(data, str, key))), None)
                return Leased(
                    login=Secret(who),
                    password=Secret(secret),
                    token=None if token is None else Secret(token),
                    mark=ephemeral_version(self._key, f"{who}\n{secret}"),
                )
        if data is None:
            raise misshapen(self._place)
        raise BackendConfigError(
            f"the path {path} of the backend {self._place} gives no username and password",
            hint=f"point backend.{self._place}.dynamic at what makes some, as database/creds/…",
        )

    def _refusal(self, path: str, reply: Reply) -> StrongroomError:
        words = complaints(reply)
        if reply.status == _DENIED:
            return AccessDeniedError(
                f"no policy of the token of the backend {self._place} allows read on {path}",
                reason=f"read on {path}",
                hint=f'add the policy path "{path}" {{ capabilities = ["read"] }}',
            )
        if "namespace not found" in words:
            return no_namespace(self._place)
        if reply.status in (_REFUSED, _ABSENT):
            what = "nothing is mounted" if "no handler for route" in words else "there is no role"
            return BackendConfigError(
                f"{what} at {path} of the backend {self._place}",
                hint=f"check backend.{self._place}.dynamic, and the role in the server",
            )
        return BackendUnavailableError(
            f"the backend {self._place} answered with the status {reply.status}", backend=self._place
        )

    # --- the end ---

    def _revoke(self, living: list[tuple[Secret[str], float]]) -> StrongroomError | None:
        """Revoke *living*, take from it what is revoked, and give why the rest is not."""
        try:
            while living:
                reply = self._session.request("POST", _REVOKE, body={"lease_id": living[0][0]})
                if reply.status not in (_OK, _DONE, _REFUSED):  # 400: it is gone already
                    return self._not_revoked(reply)
                del living[0]
        except StrongroomError as error:
            return error
        return None

    def _not_revoked(self, reply: Reply) -> StrongroomError:
        if reply.status == _DENIED:
            return AccessDeniedError(
                f"no policy of the token of the backend {self._place} allows to revoke what is lent",
                reason=f"update on {_REVOKE.removeprefix('/v1/')}",
                hint='add the policy path "sys/leases/revoke" { capabilities = ["update"] }',
            )
        return BackendUnavailableError(
            f"the backend {self._place} answered with the status {reply.status}", backend=self._place
        )

    def _tell_left(self, living: list[tuple[Secret[str], float]], error: StrongroomError | None) -> None:
        if error is not None:
            self._tell(
                "%s of %s could not be revoked (%s), which end by themselves; it takes the policy"
                ' path "sys/leases/revoke" { capabilities = ["update"] }',
                f"{len(living)} lease{'s' * (len(living) > 1)}",
                self._place,
                error.code,
            )

    def _tell(self, words: str, *of: str) -> None:
        import logging  # noqa: PLC0415 -- costs a cold process more than a request

        logging.getLogger("strongroom.vault").warning(words, *of)


def _for(leased: Leased, seconds: float) -> Leased:
    return replace(leased, lifetime=timedelta(seconds=seconds))
