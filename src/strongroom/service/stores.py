"""
A store as a whole: how it is, brought to another schema, moved to another place.

For its local owner alone, beside the store: it needs no key to look, and works where a room does not open.
Changing it is recorded in the audit log of the deployment whose settings are meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from strongroom.policy import Action
from strongroom.service.moving import Checked, Moved, move
from strongroom.store import rows
from strongroom.store.store import REVISION, Store, bring_up_to_date, step_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.policy import Actor
    from strongroom.service.guard import Guard, Recorder
    from strongroom.service.moving import Checking, Progress
    from strongroom.store.engine import Engine

__all__ = ["Checked", "Migrated", "Moved", "Place", "StoreStatus", "Stores"]

Schema = Literal["current", "older", "newer", "unfinished"]


class Place(Protocol):
    """Where a store is, or shall be."""

    def engine(self) -> Engine:
        """Give its engine, nothing of it opened yet."""

    def open(self, *, create: bool = False, past_marks: bool = False) -> Store:
        """Open it, as `Store.open`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """
    How a store is.

    Args:
        kind: `sqlite`, `postgresql` or `mariadb`.
        address: a path, or an address without user and password.
        schema: as this release sees it; `newer` was written by a later one.
        revision: of its tables; None where it was never finished.
        newest: the revision that this release writes.
        moved_to: where it was moved to; None where it was not.
        is_arriving: it is being moved here, and not whole yet.
        deployments: that have a key here; () where the schema is not current.
        rows: by table; {} where the schema is not current.
    """

    kind: str
    address: str
    schema: Schema
    revision: str | None
    newest: str = REVISION
    moved_to: str | None = None
    is_arriving: bool = False
    deployments: tuple[str, ...] = ()
    rows: Mapping[str, int]


class Migrated(NamedTuple):
    """Which schema stood before, and which stands now."""

    before: str | None
    after: str | None


class Stores:
    """
    Look at one store, migrate it, move it.

    Threads: one; another process may do the same, and one of the two waits or is refused.

    Args:
        place: where it is.
        guard: of its local owner, with the record of the deployment.
        check: opens everything of one deployment.
    """

    def __init__(
        self, place: Place, guard: Guard, actor: Actor, *, check: Checking, recorder: Recorder
    ) -> None:
        self._place = place
        self._guard = guard
        self._actor = actor
        self._check = check
        self._recorder = recorder

    def status(self) -> StoreStatus:
        """
        Tell how the store is, changing nothing of it.

        Raises:
            BackendConfigError: there is none, or it is not ours.
            BackendUnavailableError: it cannot be reached now.
        """
        return self._guard.act(self._actor, Action.DESCRIBE, None, self._status)

    def _status(self) -> StoreStatus:
        engine = self._place.engine()
        try:
            revision = engine.revision()
        finally:
            engine.close()
        schema = _schema(revision)
        if schema != "current":
            return StoreStatus(
                kind=engine.kind, address=engine.address, schema=schema, revision=revision, rows={}
            )
        from strongroom.store import table  # noqa: PLC0415 -- SQLAlchemy, for the names of tables

        store = self._place.open(past_marks=True)
        try:
            with store.snapshot() as reading:
                return StoreStatus(
                    kind=engine.kind,
                    address=engine.address,
                    schema=schema,
                    revision=revision,
                    moved_to=rows.setting(reading, rows.MOVED),
                    is_arriving=rows.setting(reading, rows.ARRIVING) is not None,
                    deployments=tuple(table.deployments(reading)),
                    rows=table.count(reading),
                )
        finally:
            store.close()

    def migrate(self, *, is_back: bool = False) -> Migrated:
        """
        Bring the store to the schema of this release, or take that one back, so that the release before opens
        it; then no process of this release may have it open.

        Raises:
            BackendConfigError: it is of another schema than this release's, or that cannot be taken back; or
                its schema is taken back where it was moved: no older release heeds the mark.
            BackendUnavailableError: it cannot be reached or written now.
        """
        work = self._step_back if is_back else self._bring_up_to_date
        return self._guard.administer(
            self._actor, work, reason="store migrate back" if is_back else "store migrate"
        )

    def _bring_up_to_date(self) -> Migrated:
        engine = self._place.engine()
        try:
            before = engine.revision()
            if _schema(before) == "older":
                bring_up_to_date(engine)
            else:
                self._place.open(past_marks=True).close()  # refuses what is newer, or was never finished
            return Migrated(before, engine.revision())
        finally:
            engine.close()

    def _step_back(self) -> Migrated:
        engine = self._place.engine()
        try:
            if _schema(engine.revision()) == "current":
                self._place.open().close()  # refuses what was moved, or has not arrived
            return Migrated(*step_back(engine))
        finally:
            engine.close()

    def move(self, to: Place, *, progress: Progress = lambda _step, _done, _total: None) -> Moved:
        """
        Move the store to *to*, and verify it there; what is left carries a mark and opens no more.

        Raises:
            ConflictError, TamperedError, BackendUnavailableError: as `moving.move`.
            SealedError: no key here opens the deployment whose settings are meant.
        """
        address = to.engine().address
        return self._guard.administer(
            self._actor, lambda: self._move(to, progress), reason=f"store move to {address}"
        )

    def _move(self, to: Place, progress: Progress) -> Moved:
        source = self._place.open(past_marks=True)
        try:
            moved, target = move(
                source,
                lambda: to.open(create=True, past_marks=True),
                check=self._check,
                progress=progress,
            )
        finally:
            source.close()
        target.close()
        return moved

    def close(self) -> None:
        """Close the record. Safe to call twice."""
        closing: Callable[[], None] | None = getattr(self._recorder, "close", None)
        if closing is not None:
            closing()

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()


def _schema(revision: str | None) -> Schema:
    if revision is None:
        return "unfinished"
    if revision == REVISION:
        return "current"
    return "newer" if revision > REVISION else "older"
