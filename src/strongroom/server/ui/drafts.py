"""
What was typed and must not be shown again: secrets of a form on its way through a review, texts of an import.

A page that is drawn anew says "sealed, typed just now" in place of a secret; the secret itself waits here, in
this process's memory, for whoever typed it, and for half an hour.

Rules of this file:

1. A draft belongs to one actor in one deployment; to anybody else it is not there.
2. What is held is bounded in number, in size and in time; the oldest goes first. Whoever holds most makes
   room, so that nobody drops what others typed.
3. Nothing of a draft is written anywhere, or printed.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.server.endpoint import Call

__all__ = ["DRAFTS", "LIFETIME_SECONDS", "MOST_OF_ONE", "Drafts"]

LIFETIME_SECONDS = 1800
_MOST = 2_000
_MOST_NUMBER_OF_ONE = 40
MOST_OF_ONE = 33_554_432
"""Characters of one actor's drafts together: 32 Mi. His oldest make room for his newest."""
_MOST_CHARACTERS = 67_108_864  # 64 Mi, of all drafts together


class _Held(NamedTuple):
    owner: tuple[str, str]
    content: Any
    size: int
    ends: float

    def __repr__(self) -> str:
        return "_Held(…)"


class Drafts:
    """
    Drafts of one process. Threads: safe.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def put(self, call: Call, content: object, *, size: int) -> str:
        """
        Keep *content* for whoever asks, and give what it is found by.

        Args:
            call: the request.
            content: anything; it is not copied.
            size: characters of it, about.
        """
        key, owner = secrets.token_urlsafe(18), _owner(call)
        with self._lock:
            self._sweep()
            own = [one for one, held in self._held.items() if held.owner == owner]
            while own and (len(own) >= _MOST_NUMBER_OF_ONE or self._sum(own) + size > MOST_OF_ONE):
                self._drop(own.pop(0))
            self._held[key] = _Held(owner, content, size, self._clock() + LIFETIME_SECONDS)
            self._size += size
            while len(self._held) > 1 and (len(self._held) > _MOST or self._size > _MOST_CHARACTERS):
                self._make_room()
        return key

    def _sum(self, keys: Iterable[str]) -> int:
        return sum(self._held[one].size for one in keys)

    def _make_room(self) -> None:
        """Drop the oldest draft of whoever holds most: in size, or where that is not it, in number."""
        is_size = self._size > _MOST_CHARACTERS
        held = Counter[tuple[str, str]]()
        for one in self._held.values():
            held[one.owner] += one.size if is_size else 1
        ((most, _),) = held.most_common(1)
        self._drop(next(key for key, one in self._held.items() if one.owner == most))

    def get(self, call: Call, key: str) -> Any | None:  # noqa: ANN401 -- whatever was put
        """Give what is kept under *key*; None where nothing of this actor is, any more."""
        with self._lock:
            self._sweep()
            held = self._held.get(key)
            return held.content if held is not None and held.owner == _owner(call) else None

    def drop(self, call: Call, key: str) -> None:
        """Forget what is kept under *key*."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.owner == _owner(call):
                self._drop(key)

    def _sweep(self) -> None:
        now = self._clock()
        while self._held:
            key, held = next(iter(self._held.items()))
            if held.ends > now:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        self._size -= self._held.pop(key).size


def _owner(call: Call) -> tuple[str, str]:
    return call.deployment, call.identity.actor.id


DRAFTS = Drafts()
"""Of this process."""
