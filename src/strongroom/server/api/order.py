"""
Lists in another order than that of names, which is the one that backends keep.

Rules of this file:

1. The first page reads every name that is asked for and puts them in order; the pages after it take the next
   names from there, and look each up anew: what has gone since, or may not be seen any more, is left out.
2. An order belongs to one actor and one question, is kept for a few minutes after it was last used, and all
   of them together hold a bounded number of names. Few are made at once.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError, RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from strongroom.service.inventory import Row

    Who = tuple[str, str]
    Place = tuple[str, str]

__all__ = ["ORDERS", "Orders", "rank_of"]

_KEPT_SECONDS = 300.0
MAX_NAMES = 200_000  # in one order, and in all of them together
_BEGINNING = datetime.fromtimestamp(0, timezone.utc)


def rank_of(sort: str) -> Callable[[Row], tuple[object, ...]]:
    """Give what rows are put in order by; what is unknown comes first, equal ones by kind and name."""

    def rank(row: Row) -> tuple[object, ...]:
        found: object = ""
        if sort == "changed_at":
            found = row.changed_at or _BEGINNING
        elif sort == "conn_type":
            found = row.metadata.conn_type or ""
        elif sort == "backend":
            found = row.backend
        return (found, row.ref.kind, row.ref.name) if sort != "name" else (row.ref.name, row.ref.kind)

    return rank


class _Order(NamedTuple):
    who: Who
    places: Sequence[Place]
    used_at: float


class Orders:
    """
    The orders of one process.

    Threads: may be used from several at once.

    Args:
        timer: seconds that only go up.
        most: names in all of them together.
    """

    def __init__(self, *, timer: Callable[[], float] = time.monotonic, most: int = MAX_NAMES) -> None:
        self._timer = timer
        self._most = most
        self._lock = threading.Lock()
        self._orders: OrderedDict[str, _Order] = OrderedDict()
        self._making = threading.Semaphore(2)

    def make(self, who: Who, rows: Iterable[Row], sort: str, *, is_down: bool) -> str:
        """
        Put *rows* in order, and give the id of that order.

        Raises:
            InvalidInputError: there are too many.
            RateLimitedError: others are put in order now.
        """
        rank = rank_of(sort)
        with self._turn():
            ranked = []
            last = None
            for row in rows:
                if row.ref != last:  # the rows of one name stay together
                    ranked.append((rank(row), row.ref.kind, row.ref.name))
                last = row.ref
                if len(ranked) > self._most:
                    raise InvalidInputError(
                        f"more than {self._most} names would be put in order",
                        limit=self._most,
                        hint="narrow the list, or leave sort and order out",
                    )
            ranked.sort(reverse=is_down)
        id_ = secrets.token_hex(8)
        with self._lock:
            self._orders[id_] = _Order(who, [(kind, name) for _, kind, name in ranked], self._timer())
            self._forget()
        return id_

    def after(self, who: Who, id_: str, index: int) -> Sequence[Place]:
        """
        Give the names of an order from *index* on.

        Raises:
            InvalidInputError: it is kept no more.
        """
        with self._lock:
            self._forget()
            found = self._orders.get(id_)
            if found is None or found.who != who:
                raise InvalidInputError(
                    "this list was put in order too long ago", hint="ask for the first page again"
                )
            self._orders[id_] = found._replace(used_at=self._timer())
            self._orders.move_to_end(id_)
        return found.places[index:]

    def _forget(self) -> None:
        """Forget what nobody has used for long, and the oldest where there is too much."""
        now = self._timer()
        total = sum(len(one.places) for one in self._orders.values())
        while self._orders:
            id_, oldest = next(iter(self._orders.items()))
            is_over = now - oldest.used_at > _KEPT_SECONDS
            if not is_over and (total <= self._most or len(self._orders) == 1):
                return
            total -= len(oldest.places)
            del self._orders[id_]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._making.acquire(blocking=False):
            raise RateLimitedError(
                "other lists are put in order now",
                retry_after=timedelta(seconds=2),
                hint="wait and try again",
            )
        try:
            yield
        finally:
            self._making.release()


ORDERS = Orders()
