"""
Whether rows are ours: the MAC of each, and the head over all of them.

Not for reading or writing them, and not for what is done where they are not: `registry.py`.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from strongroom.errors import TamperedError
from strongroom.registry.row import Row, Snapshot, called
from strongroom.registry.seal import clause, older, tampered
from strongroom.registry.state import Buckets, State, kept
from strongroom.store.rows import HeadRow, RegistryRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.registry.seal import Seal


class MismatchError(Exception):
    """Rows alone do not lead from one state to the next: some were deleted."""


class Proof:
    """
    Tells whether rows and head are ours, as a whole, and makes them so.

    Args:
        seal: the barrier of the deployment.
    """

    def __init__(self, seal: Seal, deployment: str) -> None:
        self._seal = seal
        self._deployment = deployment

    def check_head(self, head: HeadRow | None, least: int) -> None:
        """Refuse a head that is not ours, or older than *least*."""
        if head is None:
            if least:
                raise older()
            return
        if [type(column) for column in head] != [str, int, int, bytes, bytes]:
            raise tampered("its head has a column of another type")
        try:
            self._seal.check_row("registry-head", head[:-1], head.mac)
        except TamperedError:
            raise tampered("its head failed authentication") from None
        if head.revision < least:
            raise older()

    def revision_of(self, head: HeadRow | None) -> int:
        """Give the revision of a head that is ours, 0 of any other: it could be as high as numbers go."""
        try:
            self.check_head(head, 0)
        except TamperedError:
            return 0
        return 0 if head is None else head.revision

    def authentic(self, row: RegistryRow, known: State) -> Row:
        """
        Give *row* as it is read; what is *known* needs no second look.

        Raises:
            TamperedError: it is not ours.
        """
        found = known.snapshot.of(row.kind).get(row.id) if type(row.kind) is str else None
        if (
            found is not None
            and found[2:] == (row.body, row.revision)
            and known.macs[row.kind, row.id] == row.mac
        ):
            return found  # authenticated before
        # Another type of column is refused by the MAC: what it covers names the type of each.
        try:
            self._seal.check_row("registry", row[:-1], row.mac)
        except TamperedError:
            raise tampered(f"{called(row.kind, row.id)} failed authentication") from None
        return Row(row.kind, row.id, row.body, row.revision)

    def sifted(self, rows: Sequence[RegistryRow], known: State) -> tuple[list[tuple[Row, bytes]], list[str]]:
        """Give the rows that are ours, each with its MAC, and a clause for each that is not."""
        good, bad = [], []
        for row in rows:
            try:
                good.append((self.authentic(row, known), row.mac))
            except TamperedError as error:
                bad.append(clause(error))
        return good, bad

    def whole(self, head: HeadRow | None, rows: Sequence[RegistryRow], known: State, least: int) -> State:
        """
        Give the state that *rows* are, all of them, after the one that is *known*.

        Args:
            head: as it stands in the store.
            rows: as they stand there with it.
            known: the state before; what is in it needs no second look.
            least: the revision that was acknowledged.

        Raises:
            TamperedError: a row or the head is not ours, one is missing, or all of it is older.
        """
        self.check_head(head, least)
        if known.head is not None and head is not None and head != known.head:
            _check_successor(head, known.head)
        kinds: dict[str, dict[str, Row]] = {}
        macs = {}
        for row in rows:
            found = self.authentic(row, known)
            kinds.setdefault(found.kind, {})[found.id] = found
            macs[found.kind, found.id] = row.mac
        buckets = Buckets.of(macs.values())
        _check_digest(head, len(macs), buckets)
        snapshot = Snapshot(0 if head is None else head.revision, kept(kinds, known.snapshot))
        return State(snapshot, macs, buckets, head)

    def advanced(self, base: State, head: HeadRow | None, rows: Sequence[RegistryRow]) -> State:
        """
        Give the state after *rows* were written over *base*.

        Raises:
            MismatchError: that is not all that happened.
            TamperedError: a row or the head is not ours.
        """
        self.check_head(head, base.snapshot.revision)
        if head is None:
            return base
        if base.head is not None and head != base.head:
            _check_successor(head, base.head)
        changes = [(self.authentic(row, base), row.mac) for row in rows]
        advanced = base.changed(changes, (), revision=head.revision)
        try:
            _check_digest(head, len(advanced.macs), advanced.buckets)
        except TamperedError:
            raise MismatchError from None
        return advanced._replace(head=head)

    def sealed(self, row: Row) -> RegistryRow:
        """Give *row* as it is stored."""
        columns = (self._deployment, *row)
        return RegistryRow(*columns, mac=self._seal.mac_row("registry", columns))

    def head(self, state: State) -> HeadRow:
        """Give the head over all rows of *state*."""
        columns = (
            self._deployment,
            state.snapshot.revision,
            len(state.macs),
            state.buckets.digest(),
        )
        return HeadRow(*columns, mac=self._seal.mac_row("registry-head", columns))


def _check_successor(head: HeadRow, known: HeadRow) -> None:
    if head.revision == known.revision:
        raise tampered("another history was put in its place")


def _check_digest(head: HeadRow | None, count: int, buckets: Buckets) -> None:
    if head is None:
        if count:
            raise tampered("its head is missing")
    elif head.row_count != count or not compare_digest(head.digest, buckets.digest()):
        raise tampered("a row was deleted, or put back as it stood before")
