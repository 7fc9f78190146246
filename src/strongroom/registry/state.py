"""Everything that is known of a registry at one revision, and the digest over it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from strongroom.registry.row import Row, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from strongroom.store.rows import HeadRow

_KEY_ID_BYTES = 16
_BUCKETS = 256
_EMPTY = sha256(b"").digest()


class Buckets(NamedTuple):
    """The MACs of all live rows by their first byte, and the digest of each bucket."""

    macs: tuple[frozenset[bytes], ...]
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, macs: Iterable[bytes]) -> Buckets:
        """Sort *macs* into buckets."""
        sorted_out: list[set[bytes]] = [set() for _ in range(_BUCKETS)]
        for mac in macs:
            sorted_out[_bucket(mac)].add(mac)
        buckets = tuple(map(frozenset, sorted_out))
        return cls(buckets, tuple(map(_digest, buckets)))

    def changed(self, gone: Iterable[bytes], added: Iterable[bytes]) -> Buckets:
        """Give the buckets without *gone* and with *added*; only those that change are computed."""
        touched: dict[int, set[bytes]] = {}
        for mac in gone:
            touched.setdefault(_bucket(mac), set(self.macs[_bucket(mac)])).discard(mac)
        for mac in added:
            touched.setdefault(_bucket(mac), set(self.macs[_bucket(mac)])).add(mac)
        macs, digests = list(self.macs), list(self.digests)
        for index, bucket in touched.items():
            macs[index] = frozenset(bucket)
            digests[index] = _digest(macs[index])
        return Buckets(tuple(macs), tuple(digests))

    def digest(self) -> bytes:
        """Give the digest over all buckets: 32 bytes."""
        return sha256(b"".join(self.digests)).digest()


def _bucket(mac: bytes) -> int:
    return mac[_KEY_ID_BYTES]  # the key's id stands first; nobody chooses what follows


def _digest(macs: frozenset[bytes]) -> bytes:
    # MACs are all of one length, so joining them is injective.
    return sha256(b"".join(sorted(macs))).digest() if macs else _EMPTY


class State(NamedTuple):
    """Everything that is known and authentic at one revision."""

    snapshot: Snapshot
    macs: Mapping[tuple[str, str], bytes]
    buckets: Buckets
    head: HeadRow | None

    @classmethod
    def empty(cls) -> State:
        """Give the state before the first write."""
        return cls(Snapshot(0, {}), {}, Buckets.of(()), None)

    def changed(
        self, written: Sequence[tuple[Row, bytes]], deleted: Sequence[tuple[str, str]], *, revision: int
    ) -> State:
        """Give the state after rows were written, each with its MAC, and others deleted; without its head."""
        macs = dict(self.macs)
        kinds = dict(self.snapshot.rows)
        fresh: dict[str, dict[str, Row]] = {}
        gone = [macs.pop(key) for key in deleted]
        for kind, row_id in deleted:
            fresh.setdefault(kind, dict(kinds.get(kind, {}))).pop(row_id)
        for row, mac in written:
            key = (row.kind, row.id)
            if key in macs:
                gone.append(macs[key])
            macs[key] = mac
            fresh.setdefault(row.kind, dict(kinds.get(row.kind, {})))[row.id] = row
        kinds.update(fresh)
        buckets = self.buckets.changed(gone, [mac for _, mac in written])
        return State(Snapshot(revision, kinds), macs, buckets, None)


def kept(kinds: Mapping[str, dict[str, Row]], known: Snapshot) -> dict[str, Mapping[str, Row]]:
    """Give *kinds* with the mapping known before wherever nothing in it changed."""
    return {
        kind: known.rows[kind] if kind in known.rows and known.rows[kind] == rows else rows
        for kind, rows in kinds.items()
    }
