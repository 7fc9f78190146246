"""
How much one caller may ask: token buckets, in bounded memory.

Not for guessed passwords (`service/access` locks those) nor for connections (`protocol.py`).

Rules of this file:

1. A bucket holds at most its burst and fills at its rate; a request that finds too little is refused and
   takes nothing, so that waiting as told is enough.
2. Memory is bounded: a bucket that is full again is forgotten, and when too many are not, the one that
   was used longest ago goes. What is lost then is a caller's debt, never a caller's allowance.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from strongroom.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Bucket", "Buckets", "Rate", "network_of"]

_MAX_BUCKETS = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """
    What one caller may ask.

    Args:
        per_second: how fast the bucket fills; 0 sets no limit.
        burst: how much it holds.
    """

    per_second: float
    burst: float


class Bucket:
    """What one caller has left."""

    __slots__ = ("_burst", "_level", "_rate", "_since", "_timer")

    def __init__(self, rate: Rate, timer: Callable[[], float]) -> None:
        self._rate = rate.per_second
        self._burst = rate.burst
        self._timer = timer
        self._level = rate.burst
        self._since = timer()

    def wait(self, cost: float) -> float:
        """
        Take *cost* and give 0, or take nothing and give how many seconds to wait. More than a whole bucket
        counts as a whole one.
        """
        now = self._timer()
        level = self._level + (now - self._since) * self._rate
        self._since = now
        burst = self._burst
        level = min(level, burst)
        cost = min(cost, burst)
        if level >= cost:
            self._level = level - cost
            return 0.0
        self._level = level
        return (cost - level) / self._rate

    @property
    def is_full(self) -> bool:
        """Whether nothing is owed."""
        return self._level + (self._timer() - self._since) * self._rate >= self._burst


class Buckets:
    """
    One bucket for each key that is in use.

    Args:
        rate: of each of them.
        what: names the limit in the refusal.
        timer: seconds that only go up.
        most: buckets kept at most.

    Threads: for the loop alone.
    """

    def __init__(
        self,
        rate: Rate,
        what: str,
        *,
        timer: Callable[[], float] = time.monotonic,
        most: int = _MAX_BUCKETS,
    ) -> None:
        self._rate = rate if rate.per_second else Rate(1.0, float("inf"))
        self._what = what
        self._timer = timer
        self._most = most
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, key: Hashable, cost: float = 1.0) -> None:
        """
        Take *cost* from the bucket of *key*.

        Raises:
            RateLimitedError: there is not enough in it now.
        """
        wait = self.of(key).wait(cost)
        if wait:
            raise RateLimitedError(
                f"too many requests: {self._what}",
                retry_after=timedelta(seconds=wait),
                hint="wait and try again",
            )

    def of(self, key: Hashable) -> Bucket:
        """Give the bucket of *key*; whoever keeps it spares the look for the next one."""
        found = self._buckets.get(key)
        if found is not None:
            self._buckets.move_to_end(key)
            return found
        found = self._buckets[key] = Bucket(self._rate, self._timer)
        if len(self._buckets) > self._most:
            self._sweep()
        return found

    def _sweep(self) -> None:
        """Forget what has filled up again among the oldest, and the oldest in any case."""
        self._buckets.popitem(last=False)
        for _ in range(2):
            key = next(iter(self._buckets))
            if not self._buckets[key].is_full:
                return
            del self._buckets[key]

    def __len__(self) -> int:
        return len(self._buckets)


@lru_cache(maxsize=4096)
def network_of(source: str) -> str:
    """Give what stands for one source: an IPv4 address, or the /64 an IPv6 address is of."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if address.version == 4:  # noqa: PLR2004 -- the version of the protocol
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
