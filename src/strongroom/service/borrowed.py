"""
Who in this process was given what is lent, and giving it back when nobody has it any more.

Not for lending (`vendors/vault_lease.py`), nor for what an agent was lent (`agent/lending.py`).

Rules of this file:

1. What is followed is had for as long as it is; what is given out otherwise, for good.
2. Whoever is given something says so before he reads. So nobody can be given what is revoked: something else
   is lent first, what is remembered is forgotten next, and who has come meanwhile is looked for then.
3. Teams are not told apart: behind the name of one may stand what is global.
4. What cannot be revoked is tried again some times, and then told; nobody who closes a client waits for that.
5. A forked child has what it was lent itself, and gives nothing back that is its parent's.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.ref import Kind, Ref

    Name = tuple[Kind, str]
    Revoke = Callable[[], StrongroomError | None]

__all__ = ["PAUSES_SECONDS", "Borrowed"]

PAUSES_SECONDS = (1.0, 5.0, 25.0)
"""Between two attempts to revoke what was lent; after the last one it is told."""


class _Book:
    """What one process has."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: set[Name] = set()
        self.follows: dict[Name, set[object]] = {}
        self.lent: dict[Name, set[Ref]] = {}

    def has(self, name: Name) -> bool:
        return name in self.kept or bool(self.follows.get(name))


class Borrowed:
    """
    What is lent to one process.

    Args:
        withdraw: as `Chain.withdraw`.
        drop: forgets what is remembered of a Ref, for every team where it is global.
        pauses: as `PAUSES_SECONDS`.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self,
        withdraw: Callable[[Ref], Revoke | None],
        drop: Callable[[Ref], object],
        *,
        pauses: tuple[float, ...] = PAUSES_SECONDS,
    ) -> None:
        self._withdraw = withdraw
        self._drop = drop
        self._pauses = pauses
        self._books: dict[int, _Book] = {}

    def keep(self, ref: Ref) -> None:
        """Take note that somebody is about to be given *ref* for good."""
        self._book().kept.add(ref[:2])

    def follow(self, ref: Ref, token: object) -> None:
        """Take note that somebody is about to be given *ref* until `leave` is told of *token*."""
        book = self._book()
        with book.lock:
            book.follows.setdefault(ref[:2], set()).add(token)

    def lent(self, ref: Ref) -> None:
        """Take note that *ref* was lent to who follows it."""
        book = self._book()
        with book.lock:
            book.lent.setdefault(ref[:2], set()).add(ref)

    def leave(self, ref: Ref, token: object) -> None:
        """Take note that whoever followed *ref* has it no more; give back what nobody has: 5 s at most."""
        name, book = ref[:2], self._book()
        with book.lock:
            book.follows.get(name, set()).discard(token)
            refs = () if book.has(name) else book.lent.pop(name, ())
            if not book.follows.get(name):
                book.follows.pop(name, None)
        for one in refs:
            self._give_back(one, book, 0)

    def _book(self) -> _Book:
        process = os.getpid()
        book = self._books.get(process)
        if book is None:
            book = self._books.setdefault(process, _Book())
            parents = [other for owner, other in list(self._books.items()) if owner != process]
            for ref in [ref for other in parents for refs in other.lent.values() for ref in refs]:
                self._drop(ref)  # what the parent may revoke is not given out here
        return book

    # --- giving back ---------------------------------------------------------------------------------

    def _give_back(self, ref: Ref, book: _Book, tries: int) -> None:
        if os.getpid() not in self._books or self._books[os.getpid()] is not book:
            return
        try:
            revoke = self._withdraw(ref)
        except StrongroomError as error:
            self._again(ref, error, lambda: self._give_back(ref, book, tries + 1), tries)
            return
        self._drop(ref)
        with book.lock:
            if book.has(ref[:2]):  # whoever came meanwhile may have been given it, and it ends by itself
                book.lent.setdefault(ref[:2], set()).add(ref)
                return
        if revoke is not None:
            self._revoke(ref, revoke, 0)

    def _revoke(self, ref: Ref, revoke: Revoke, tries: int) -> None:
        error = revoke()
        if error is not None:
            self._again(ref, error, lambda: self._revoke(ref, revoke, tries + 1), tries)

    def _again(self, ref: Ref, error: StrongroomError, work: Callable[[], None], tries: int) -> None:
        if tries < len(self._pauses):
            timer = threading.Timer(self._pauses[tries], work)
            timer.daemon = True
            timer.start()
            return
        import logging  # noqa: PLC0415 -- costs a cold process more than a request

        logging.getLogger("strongroom.lending").warning(
            "what was lent for %s could not be revoked (%s), and ends by itself%s",
            ref,
            error.code,
            "" if getattr(error, "hint", None) is None else f": {error.hint}",
        )
