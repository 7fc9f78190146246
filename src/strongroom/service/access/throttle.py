"""
What keeps guessing slow and cheap to refuse: back-off for accounts and sources, and turns for argon2id.

Rules of this file:

1. An attempt is counted before it is looked at, so that many at once are many; success takes it back.
2. It is counted three times: for the source and account together, for the account from anywhere, and for
   the source whatever the account. What is over its bound waits, twice as long each time, up to 15 minutes.
3. A source from which somebody logged in here lately is not held up by what others try on the account.
4. Names that do not exist are counted as those that do.
5. A wait of some seconds and more is kept in the registry: a restart does not end it, and every process
   on the host knows it.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Condition, Lock
from typing import TYPE_CHECKING

from strongroom.errors import RateLimitedError
from strongroom.model.principal import folded
from strongroom.registry import Change
from strongroom.service.access.shape import LOCKOUT, Lockout, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.registry import Registry, Row, Snapshot

__all__ = ["Attempts", "Turns", "account_key", "free_key", "is_of", "network_of"]

FREE_TOGETHER, FREE_ACCOUNT, FREE_SOURCE = 5, 20, 50  # attempts before the first wait
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=1), timedelta(minutes=15)
_KEPT_FROM = timedelta(seconds=8)  # shorter waits are not worth a write
_FORGOTTEN_AFTER = timedelta(hours=1)
_MOST_COUNTS = 50_000  # in memory: about 10 MB
_MOST_ROWS = 1_000
_MOST_KNOWN = 10_000
_SOURCE = "source|"
_V6_PREFIX = 64  # whoever has one IPv6 address has this network


def network_of(source: str) -> str:
    """Give what counts as one source: an IPv4 address, the /64 of an IPv6 one, else the text itself."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed, _V6_PREFIX), strict=False))
    return str(address)


def account_key(account: str) -> str:
    """Give the id of the lockout of an account."""
    return f"account|{account}"


@dataclass(slots=True)
class _Count:
    failures: int
    last: datetime
    until: datetime


class Attempts:
    """
    Count attempts.

    Accounts are as `key_of` gives them: what was typed as a name may be a password, and is kept nowhere.

    Threads: safe.
    """

    def __init__(self, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._registry = registry
        self._clock = clock
        self._lock = Lock()
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def key_of(self, name: str) -> str:
        """Give what counts as one account, for every spelling of *name*: 32 hexadecimal digits."""
        return self._registry.seal.mac_row("lockout", (folded(name),))[16:32].hex()

    def take(self, account: str, source: str) -> None:
        """
        Count an attempt on *account* ("" for none) from *source*.

        Raises:
            RateLimitedError: it must wait; it was not counted.
        """
        now, network = self._clock(), network_of(source)
        lockouts = self._registry.snapshot().of(LOCKOUT)
        with self._lock:
            bounds = self._bounds(account, network)
            freed = lockouts.get(free_key(account))
            since = now - _FORGOTTEN_AFTER if freed is None else decoded(freed, Lockout).until
            counts = [(self._count(key, lockouts, now, since), free) for key, free in bounds]
            until = max(count.until for count, _ in counts)
            if now < until:
                raise RateLimitedError("too many attempts; wait before the next one", retry_after=until - now)
            for count, free in counts:
                count.failures += 1
                count.last = now
                if count.failures >= free:
                    count.until = now + _wait(count.failures - free)

    def give_back(self, account: str, source: str) -> None:
        """Take back an attempt that was never looked at."""
        with self._lock:
            for key, free in self._bounds(account, network_of(source)):
                found = self._counts.get(key)
                if found is not None:
                    found.failures = max(0, found.failures - 1)
                    found.until = found.last if found.failures < free else found.until

    def failed(self, account: str, source: str) -> None:
        """Keep the waits that a failed attempt led to, where they are long."""
        now, network = self._clock(), network_of(source)
        with self._lock:
            counts = {key: self._counts.get(key) for key, _ in self._bounds(account, network)}
        long = [
            Change(LOCKOUT, key, encoded(Lockout(until=count.until, failures=count.failures)))
            for key, count in counts.items()
            if count is not None and count.until - now >= _KEPT_FROM
        ]
        if long:
            room = _MOST_ROWS - len(self._registry.snapshot().of(LOCKOUT))
            self._registry.put_many(long[: max(0, room)])

    def succeeded(self, account: str, source: str) -> None:
        """Take back what was counted for *account*, and remember *source* as one of its own."""
        network = network_of(source)
        with self._lock:
            for key in (_together(account, network), account_key(account)):
                self._counts.pop(key, None)
            found = self._counts.get(_source(network))
            if found is not None:
                found.failures = max(0, found.failures - 1)
                if found.failures < FREE_SOURCE:
                    found.until = found.last
            self._known[account, network] = None
            self._known.move_to_end((account, network))
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)

    def ended(self, snapshot: Snapshot, account: str, source: str) -> list[Change]:
        """Give the changes that take back the waits of *account* that are kept."""
        keys = (_together(account, network_of(source)), account_key(account))
        return [Change(LOCKOUT, key, None) for key in keys if key in snapshot.of(LOCKOUT)]

    def unlocked(self, snapshot: Snapshot, account: str) -> list[Change]:
        """Give the changes that end every wait of *account*, in every process that counts."""
        kept = [Change(LOCKOUT, key, None) for key in snapshot.of(LOCKOUT) if is_of(key, account)]
        # What is counted in the memory of another process cannot be reached, so it is declared void.
        void = Lockout(until=self._clock(), failures=0)
        return [*kept, Change(LOCKOUT, free_key(account), encoded(void))]

    def forget(self, snapshot: Snapshot) -> list[Change]:
        """Give the changes that drop the waits that are long over."""
        now = self._clock()
        return [
            Change(LOCKOUT, row.id, None, row.revision)
            for row in snapshot.of(LOCKOUT).values()
            if decoded(row, Lockout).until + _FORGOTTEN_AFTER < now
        ]

    def _bounds(self, account: str, network: str) -> list[tuple[str, int]]:
        bounds = [(_source(network), FREE_SOURCE)]
        if account:
            bounds.append((_together(account, network), FREE_TOGETHER))
            if (account, network) not in self._known:
                bounds.append((account_key(account), FREE_ACCOUNT))
        return bounds

    def _count(self, key: str, lockouts: Mapping[str, Row], now: datetime, since: datetime) -> _Count:
        """Give the count of *key*; what was counted before *since* is void, unless it is a source's."""
        found = self._counts.get(key)
        if found is None or found.last <= (now - _FORGOTTEN_AFTER if key.startswith(_SOURCE) else since):
            found = _Count(0, now, now)
        row = lockouts.get(key)
        if row is not None:
            kept = decoded(row, Lockout)
            if kept.until > found.until:
                found.until, found.failures = kept.until, max(kept.failures, found.failures)
        self._counts[key] = found
        self._counts.move_to_end(key)
        while len(self._counts) > _MOST_COUNTS:
            self._counts.popitem(last=False)
        return found


def free_key(account: str) -> str:
    """Give the id of the row that says up to when what was counted for an account is void, everywhere."""
    return f"free|{account}"


def is_of(key: str, account: str) -> bool:
    """Tell whether the lockout with the id *key* is one of *account*'s."""
    return key == account_key(account) or key.startswith(f"both|{account}|")


def _together(account: str, network: str) -> str:
    return f"both|{account}|{network}"


def _source(network: str) -> str:
    return f"{_SOURCE}{network}"


def _wait(over: int) -> timedelta:
    return min(FIRST_WAIT * (1 << min(over, 20)), LONGEST_WAIT)


class Turns:
    """
    Let few work at once, few wait, and refuse the rest: one argon2id takes 19 MiB and a core.

    Args:
        at_once: that work at the same time.
        waiting: that may wait for it, of one source at most half.
        patience: how long one waits.
    """

    def __init__(
        self, *, at_once: int = 2, waiting: int = 6, patience: timedelta = timedelta(seconds=3)
    ) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._patience = patience
        self._working = 0
        self._waiters: dict[str, int] = {}
        self._free = Condition()

    @contextmanager
    def turn(self, source: str) -> Iterator[None]:
        """
        Wait for a turn, and hold it for the block.

        Raises:
            RateLimitedError: too many wait already, or it took too long.
        """
        self._enter(network_of(source))
        try:
            yield
        finally:
            with self._free:
                self._working -= 1
                self._free.notify()

    def _enter(self, source: str) -> None:
        with self._free:
            if self._working >= self._at_once:
                self._wait(source)
            self._working += 1

    def _wait(self, source: str) -> None:
        mine = self._waiters.get(source, 0)
        if sum(self._waiters.values()) >= self._waiting or mine >= max(1, self._waiting // 2):
            raise self._refusal()
        self._waiters[source] = mine + 1
        try:
            is_free = self._free.wait_for(
                lambda: self._working < self._at_once, self._patience.total_seconds()
            )
        finally:
            self._waiters[source] -= 1
            if not self._waiters[source]:
                del self._waiters[source]
        if not is_free:
            raise self._refusal()

    def _refusal(self) -> RateLimitedError:
        return RateLimitedError("too many log in at this moment; try again", retry_after=timedelta(seconds=1))
