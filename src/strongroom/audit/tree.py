"""
The Merkle tree over the lines of a log: roots, the file of its hashes, proofs.

Pure but for `HashFile`, which reads and writes one file.

The file holds every hash of the tree once, 32 bytes each, in the order in which they become known: after
a leaf come the nodes it completes, so about 64 bytes a record. A line counts with its newline.

Source: RFC 6962 §2.1; the order of the file is that of Go's `golang.org/x/mod/sumdb/tlog`.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["HASH_BYTES", "Frontier", "HashFile", "check_consistency", "consistency", "leaf_of", "place_of"]

HASH_BYTES = 32
_sha256 = hashlib.sha256


def leaf_of(line: bytes) -> bytes:
    """Give the leaf of *line*, its newline included."""
    return _sha256(b"\x00" + line).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


class Frontier:
    """
    A tree of which only the roots of its whole subtrees are kept, the largest first: about log2 of its size.

    Attributes:
        size: leaves.
        roots: one for every bit that is set in `size`.
    """

    __slots__ = ("roots", "size")

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        self.size = size
        self.roots = list(roots)
        if len(self.roots) != size.bit_count() or any(len(root) != HASH_BYTES for root in self.roots):
            raise ValueError("these are not the roots of a tree of that size")

    def copy(self) -> Frontier:
        """Give one that grows apart from this one."""
        return Frontier(self.size, self.roots)

    def push(self, leaf: bytes) -> list[bytes]:
        """Take one leaf more; give the hashes that became known, the leaf first."""
        roots, known = self.roots, [leaf]
        size = self.size
        self.size = size + 1
        while size & 1:
            leaf = _sha256(b"\x01" + roots.pop() + leaf).digest()
            known.append(leaf)
            size >>= 1
        roots.append(leaf)
        return known

    def root(self) -> bytes:
        """Give the root of the whole tree."""
        if not self.roots:
            return _sha256().digest()
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = _node(left, root)
        return root


def place_of(level: int, number: int) -> int:
    """Give where the *number*-th hash of *level* (0: leaves) stands in the file, in hashes."""
    for _ in range(level):
        number = 2 * number + 1
    place = level
    while number:
        place += number
        number >>= 1
    return place


class HashFile:
    """
    The hashes of a tree in an open file.

    Args:
        file: its descriptor; stays the caller's.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    @property
    def size(self) -> int:
        """Leaves that are wholly there."""
        hashes = os.fstat(self._file).st_size // HASH_BYTES
        size = 0
        # As many leaves as need no more hashes than there are: `place_of` grows with every leaf.
        for bit in reversed(range(hashes.bit_length())):
            if place_of(0, size + (1 << bit)) <= hashes:
                size += 1 << bit
        return size

    def hash(self, level: int, number: int) -> bytes:
        """
        Give one hash.

        Raises:
            ValueError: it is not there.
        """
        found = os.pread(self._file, HASH_BYTES, place_of(level, number) * HASH_BYTES)
        if len(found) != HASH_BYTES:
            raise ValueError("the file of hashes ends before this one")
        return found

    def frontier(self, size: int) -> Frontier:
        """Give the tree as it was at *size*. Raises as `hash`."""
        return Frontier(size, [self.hash(level, number) for level, number in _subtrees(0, size)])

    def write(self, size: int, hashes: bytes) -> None:
        """Write *hashes* behind those of a tree of *size* leaves, and forget what stood there."""
        at = place_of(0, size) * HASH_BYTES
        view = memoryview(hashes)
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written
        os.ftruncate(self._file, at)


def _subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Give (level, number) of the whole subtrees that leaves *start* to *end* are made of, in order."""
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        found.append((level, start >> level))
        start += 1 << level
    return found


def consistency(hash_of: Callable[[int, int], bytes], old: int, new: int) -> list[bytes]:
    """
    Prove that the tree of *new* leaves goes on where that of *old* ended.

    Args:
        hash_of: gives the hash at (level, number).
        new: leaves that `hash_of` knows of, or fewer.
        old: at most *new*; of 0 and of *new* itself the proof is empty.

    Source: RFC 6962 §2.1.2.
    """
    if old in (0, new):
        return []

    def subtree(start: int, end: int) -> bytes:
        roots = [hash_of(level, number) for level, number in _subtrees(start, end)]
        root = roots.pop()
        while roots:
            root = _node(roots.pop(), root)
        return root

    def proof(start: int, end: int, upto: int, *, is_whole: bool) -> list[bytes]:
        if upto == end:
            return [] if is_whole else [subtree(start, end)]
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if upto <= middle:
            return [*proof(start, middle, upto, is_whole=is_whole), subtree(middle, end)]
        return [*proof(middle, end, upto, is_whole=False), subtree(start, middle)]

    return proof(0, new, old, is_whole=True)


def check_consistency(  # noqa: C901 -- the algorithm of RFC 9162, step by step
    old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]
) -> bool:
    """
    Tell whether *proof* shows that the tree *new* (size, root) goes on where *old* ended.

    Source: RFC 9162 §2.1.4.2.
    """
    (first, first_root), (second, second_root) = old, new
    if first > second or not (second or not first):
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    left = right = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            left, right = _node(step, left), _node(step, right)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            right = _node(right, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and left == first_root and right == second_root
