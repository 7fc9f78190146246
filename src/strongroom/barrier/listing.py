"""What there is of one kind in one team: listed a page at a time, each row authenticated on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.barrier.writing import BATCH
from strongroom.model.entry import EntryState, Outline, Summary
from strongroom.store.record import is_time, metadata_of, micros, moment, ref_of, stands, tags_in
from strongroom.store.rows import EntryRow, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from strongroom.barrier.proof import Proof
    from strongroom.model.ref import Kind
    from strongroom.store.store import Store

__all__ = ["Listing"]


class Listing:
    """
    List the entries of one deployment in one store, as `Barrier` promises it. Threads: safe.

    Args:
        store: of the rows.
        proof: of the deployment.
        name: of the store in the settings.
        deployment: whose entries these are.
        clock: by which they have expired.
    """

    def __init__(
        self, store: Store, proof: Proof, *, name: str, deployment: str, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._proof = proof
        self._name = name
        self._deployment = deployment
        self._clock = clock

    def outline(self, kind: Kind, *, team: str | None, after: str, limit: int) -> Sequence[Outline]:
        """Give what they may be put in order by. As `Barrier.outline`."""
        now = micros(self._clock())
        wanted = Page(self._deployment, team or "", kind, "", after, limit, now, with_deleted=False)
        found: Sequence[Outline] = []
        while len(found) < limit:
            rows = self._store.outline(wanted._replace(limit=limit - len(found)))
            found = [*found, *(one for row in rows if (one := _outlined(kind, row)) is not None)]
            if not rows or type(rows[-1][0]) is not str:
                break
            wanted = wanted._replace(after=rows[-1][0])
        return found

    def named(self, kind: Kind, names: Sequence[str], *, team: str | None) -> Sequence[Summary]:
        """Give those of *names*. As `Barrier.named`."""
        now = micros(self._clock())
        wanted = Page(self._deployment, team or "", kind, "", "", 0, now, with_deleted=False)
        ordered = sorted(set(names))
        return [
            summary
            for start in range(0, len(ordered), BATCH)
            for row in self._store.named(wanted, ordered[start : start + BATCH])
            if (summary := self._summary(row, kind, now)) is not None
        ]

    def page(self, wanted: Page, kind: Kind) -> list[Summary]:
        """Give one page, of *kind*. As `Barrier.list`."""
        found: list[Summary] = []
        limit = wanted.limit
        while len(found) < limit:
            rows = self._store.page(wanted._replace(limit=limit - len(found)))
            found += (one for row in rows if (one := self._summary(row, kind, wanted.now)) is not None)
            if len(found) == limit or not rows or type(rows[-1].name) is not str:
                break  # bytes planted as a name sort after every text
            # A planted row whose name is not legal is passed over: a page cut short by it would read
            # as the end of the list.
            wanted = wanted._replace(after=rows[-1].name)
        return found

    def _summary(self, row: EntryRow, kind: Kind, now: int) -> Summary | None:
        ref = ref_of(kind, row.name, row.team)
        if ref is None:
            return None
        if not self._proof.is_authentic(row, ref):
            return Summary(
                ref=ref,
                backend=self._name,
                state=EntryState.TAMPERED,
                problem="what is stored was changed, moved or damaged",
            )
        return Summary(
            ref=ref,
            backend=self._name,
            version=str(row.current_version),
            changed_at=moment(row.changed_at),
            metadata=metadata_of(row),
            is_deleted=not stands(row, now),
            state=EntryState.OK,  # checked when it was written
        )


def _outlined(kind: Kind, row: tuple[object, ...]) -> Outline | None:
    """Give what *row* may be put in order by; a column of another type counts as empty."""
    name, changed_at, conn_type, description, expires_at, version, tags, owner, remind_at, end, references = (
        row
    )
    if type(name) is not str or ref_of(kind, name, "") is None:
        return None
    return Outline(
        name,
        _time(changed_at),
        _text(conn_type),
        _text(description),
        expires_at if type(expires_at) is int else None,
        str(version) if type(version) is int else None,
        tags_in(tags),
        _text(owner),
        _time(remind_at),
        _time(end),
        references == 1,
    )


def _text(column: object) -> str | None:
    return column if type(column) is str else None


def _time(column: object) -> int | None:
    return column if is_time(column) else None  # type: ignore[return-value]  # told by `is_time`
