"""
A tree of folders as one ordered list of names, asked for a page at a time.

Not for asking the server (`backends/vault.py` brings that) or for what a name may be (`Naming`).

Rules of this file:

1. Names come in the order of their code points. Folders are entered where they stand among the names:
   everything below `a/` comes after `a.b` and before `a0`, as the keys themselves do.
2. A folder is entered only if a name could be below it and on the page that is wanted.
3. A server that knows `after` and `limit` is asked for a page. One that gives everything all the same
   is asked once a listing: its answer serves the following pages for 10 s, and never a first page.

Source: LIST of OpenBao 2.7, whose KV 2 knows `after` and `limit` and whose KV 1 ignores them.
"""

from __future__ import annotations

import time
from heapq import merge
from itertools import groupby, islice, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Folders"]

MAX_AGE_SECONDS = 10.0
_MAX_FOLDERS = 64  # remembered at once
_LEAST_PAGE = 500  # what is passed over must not cost a request each


class _Page(NamedTuple):
    prefix: str
    after: str
    size: int


class Folders:
    """
    List what is below folders.

    Args:
        keys: gives the keys right below a folder ("a/b/", or "" for the top): names, and folders with
            a "/" at their end; greater than *after* and up to *limit* of them, or simply all.
        clock: seconds that only go up.

    Threads: as safe as *keys*.
    """

    def __init__(
        self, keys: Callable[[str, str, int], Sequence[str]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._whole: dict[str, tuple[float, tuple[str, ...]]] = {}

    def names(
        self,
        roots: Sequence[str],
        is_name: Callable[[str, str], bool],
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[tuple[str, str]]:
        """
        Give up to *limit* (root, name) ordered by name, each name once: from the first root that has it.

        Args:
            roots: folders to list as one.
            is_name: tells whether a name below a root can be asked for there.
            prefix: only names that begin so.
            after: only names greater than this one.
            limit: names at most.
        """
        page = _Page(prefix, after, max(limit, _LEAST_PAGE))
        walks = [self._walk(root, "", is_name, page) for root in roots]
        streams = [zip(walk, repeat(order)) for order, walk in enumerate(walks)]
        found = (next(same) for _, same in groupby(merge(*streams), key=itemgetter(0)))
        return [(roots[order], name) for name, order in islice(found, limit)]

    def _walk(self, root: str, base: str, is_name: Callable[[str, str], bool], page: _Page) -> Iterator[str]:
        """Yield the names below *base* of *root*, from *root* on."""
        prefix, after = _below(base, page.prefix), _after(base, page.after)
        if prefix is None or after is None:
            return
        into, slash, _ = prefix.partition("/")
        if slash:
            yield from self._walk(root, f"{base}{into}/", is_name, page)
            return
        for key in self._from(root + base, max(after.partition("/")[0], prefix[:-1]), page):
            name = base + key
            if key > prefix and not key.startswith(prefix):
                return
            if key.endswith("/"):
                if is_name(root, f"{name}-"):
                    yield from self._walk(root, name, is_name, page)
            elif key > after and key.startswith(prefix) and is_name(root, name):
                yield name

    def _from(self, folder: str, start: str, page: _Page) -> Iterator[str]:
        """Yield the keys of *folder* greater than *start*, in order."""
        until, whole = self._whole.get(folder, (0.0, ()))
        if page.after and self._clock() < until:
            yield from (key for key in whole if key > start)
            return
        while True:
            keys = sorted(set(self._keys(folder, start, page.size)))
            if len(keys) > page.size:
                self._remember(folder, tuple(keys))
            yield from (key for key in keys if key > start)
            if len(keys) != page.size or keys[-1] <= start:
                return
            start = keys[-1]

    def _remember(self, folder: str, keys: tuple[str, ...]) -> None:
        if len(self._whole) >= _MAX_FOLDERS:
            self._whole.clear()
        self._whole[folder] = (self._clock() + MAX_AGE_SECONDS, keys)


def _below(base: str, prefix: str) -> str | None:
    """Give what is left of *prefix* below *base*; None when no name there begins with it."""
    if prefix.startswith(base):
        return prefix[len(base) :]
    return "" if base.startswith(prefix) else None


def _after(base: str, after: str) -> str | None:
    """Give what keys below *base* must be greater than; None when every name there is passed."""
    if after.startswith(base):
        return after[len(base) :]
    return "" if after < base else None
