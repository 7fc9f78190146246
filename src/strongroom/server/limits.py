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

__all__ = ["Buckets", "Rate", "network_of"]

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
        self._rate = rate
        self._what = what
        self._timer = timer
        self._most = most
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # level, as of

    def take(self, key: Hashable, cost: float = 1.0) -> None:
        """
        Take *cost* from the bucket of *key*; more than a whole bucket counts as a whole one.

        Raises:
            RateLimitedError: there is not enough in it now.
        """
        wait = self._wait(key, cost)
        if wait:
            raise RateLimitedError(
                f"too many requests: {self._what}",
                retry_after=timedelta(seconds=wait),
                hint="wait and try again",
            )

    def may_take(self, key: Hashable, cost: float = 1.0) -> bool:
        """Take *cost* from the bucket of *key*, or nothing where there is not enough in it."""
        return not self._wait(key, cost)

    def _wait(self, key: Hashable, cost: float) -> float:
        """Take *cost* and give 0, or take nothing and give how many seconds to wait."""
        rate, burst = self._rate.per_second, self._rate.burst
        if not rate:
            return 0.0
        now = self._timer()
        level, since = self._levels.pop(key, (burst, now))
        level = min(burst, level + (now - since) * rate)
        cost = min(cost, burst)
        is_enough = level >= cost
        self._levels[key] = (level - cost if is_enough else level, now)
        if len(self._levels) > self._most:
            self._sweep(now)
        return 0.0 if is_enough else (cost - level) / rate

    def _sweep(self, now: float) -> None:
        """Forget what has filled up again among the oldest, and the oldest in any case."""
        rate, burst = self._rate.per_second, self._rate.burst
        self._levels.popitem(last=False)
        for _ in range(2):
            key = next(iter(self._levels))
            level, since = self._levels[key]
            if level + (now - since) * rate < burst:
                return
            del self._levels[key]

    def __len__(self) -> int:
        return len(self._levels)


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
