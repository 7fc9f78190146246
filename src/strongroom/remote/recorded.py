"""
What happened at a server: the `audit` of a remote room.

What signs, holds or lets go of records is done beside the log. So is proof against the server itself: it can
only say of its own log that it is whole; a copy (`export --format jsonl`) is proven anywhere.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.audit.query import Filter, Place
from strongroom.audit.record import RefUse, spell
from strongroom.audit.retention import Hold
from strongroom.errors import InvalidInputError
from strongroom.place import elsewhere
from strongroom.service.audit import AuditPage, AuditState, AuditTrail, Record, Verdict
from strongroom.service.sightings import Sighting, Sightings
from strongroom.wire.access import WhoAmI
from strongroom.wire.audit import AuditPage as PageTold
from strongroom.wire.audit import AuditState as StateTold
from strongroom.wire.audit import RecordRow, Verified
from strongroom.wire.audit import Sightings as SightingsTold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from strongroom.audit.note import Verifier
    from strongroom.audit.verify import Evidence
    from strongroom.caller import Client

__all__ = ["RemoteAudit"]

_PAGE = 500  # records of one answer, so that long ones stay inside its bound
_REMOTE = -2  # the segment of a place that stands for a cursor of the server's
_MAX_PLACES = 64
_STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


class RemoteAudit(AuditTrail):
    """Look at a server's record. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cursors: dict[Place, str] = {}
        self._count = 0

    @property
    def folder(self) -> Path:
        """Where the log is kept, for what is told to people: at the server."""
        return Path(self._client.authority)

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        self._client.close()

    def query(
        self,
        wanted: Filter,
        *,
        limit: int = 100,
        start: Place | None = None,
        is_newest_first: bool = True,
        most: int | None = None,  # noqa: ARG002 -- the server has its own bound
    ) -> AuditPage:
        """Give a page of the records asked for that may be seen. As `AuditTrail.query`."""
        if start is not None and start not in self._cursors:
            raise InvalidInputError("a search goes on only from where it stopped last")
        query = {
            "since": None if wanted.since is None else wanted.since.isoformat(),
            "until": None if wanted.until is None else wanted.until.isoformat(),
            "actor": wanted.actor,
            "action": wanted.action,
            "outcome": wanted.outcome,
            "kind": wanted.kind,
            "name": wanted.name,
            "team": wanted.team,
            "dag": wanted.dag,
            "task": wanted.task,
            "run": wanted.run,
            "text": wanted.text,
            "limit": min(limit, _PAGE),
            "order": "desc" if is_newest_first else "asc",
            "cursor": None if start is None else self._cursors[start],
        }
        page = self._client.get("/audit", PageTold, query)
        records = tuple(self._record(row) for row in page.records)
        return AuditPage(records, None if page.cursor is None else self._place(page.cursor))

    def _place(self, cursor: str) -> Place:
        self._count += 1
        place = Place(self._count, _REMOTE)
        self._cursors[place] = cursor
        while len(self._cursors) > _MAX_PLACES:
            self._cursors.pop(next(iter(self._cursors)))
        return place

    def export(self, form: str, wanted: Filter) -> Iterator[bytes]:
        """Give the records asked for that may be seen, oldest first, in *form*. As `AuditTrail.export`."""
        from strongroom.audit.export import FORMS, export  # noqa: PLC0415 -- looking does without

        if form not in FORMS:
            raise InvalidInputError("there is no such form", hint=f"one of {', '.join(FORMS)}")
        first = self.query(wanted, limit=_PAGE, is_newest_first=False)
        return export(form, self._lines(first, wanted))

    def _lines(self, page: AuditPage, wanted: Filter) -> Iterator[tuple[Record, bytes]]:
        while True:
            for record in page.records:
                # The very line of the log, where all of it may be seen: its hash tells.
                line, _ = spell(record, record.seq, record.at, record.prev, record.deployment)
                yield record, line
            if page.next is None:
                return
            page = self.query(wanted, limit=_PAGE, start=page.next, is_newest_first=False)

    def sightings(
        self,
        run: str,
        *,
        dag: str | None = None,
        task: str | None = None,
        start: Place | None = None,
        most: int | None = None,  # noqa: ARG002 -- the server has its own bound
    ) -> Sightings:
        """Tell what a run saw. As `AuditTrail.sightings`."""
        if start is not None and start not in self._cursors:
            raise InvalidInputError("a search goes on only from where it stopped last")
        query = {
            "run": run,
            "dag": dag,
            "task": task,
            "cursor": None if start is None else self._cursors[start],
        }
        told = self._client.get("/audit/run", SightingsTold, query)
        rows = tuple(
            Sighting(
                actor=one.actor,
                kind=one.kind,
                name=one.name,
                team=one.team,
                outcome=one.outcome,
                version=one.version,
                backend=one.backend,
                dag=one.dag,
                task=one.task,
                uses=one.uses,
                first_at=one.first_at,
                last_at=one.last_at,
                assurance=int(one.level[1:]),
                policies=(),
                seq=0,
            )
            for one in told.sightings
        )
        return Sightings(rows, None if told.cursor is None else self._place(told.cursor))

    def state(self) -> AuditState:
        """Tell how the log stands. As `AuditTrail.state`."""
        told = self._client.get("/audit/state", StateTold)
        hold = told.hold
        return AuditState(
            count=told.count,
            head=told.head,
            checkpoint=told.checkpoint,
            checkpoint_at=told.checkpoint_at,
            is_writable=told.is_writable,
            hold=None
            if hold is None
            else Hold(at=_stamp(hold.at) if hold.at else "", actor=hold.actor, reason=hold.reason),
            more=told.more,
        )

    def verify(
        self,
        *,
        witnesses: Sequence[Path] = (),
        keys: Sequence[str] = (),
        also: Callable[[Sequence[Verifier]], Iterable[Evidence]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Verdict:
        """
        Have the server check every record and checkpoint.

        Raises:
            SettingsError: it is to be compared with a witness or a key of here; that needs the log itself.
        """
        if witnesses or keys or also is not None:
            raise elsewhere("a record is compared with witnesses and keys")
        told = self._client.post("/audit/verify", Verified, is_repeatable=True)
        if progress is not None:
            progress(told.count)
        return Verdict(
            is_ok=told.is_ok,
            count=told.count,
            index=told.index,
            reason=told.reason,
            repairs=tuple(told.repairs),
            first=told.first,
            signed=told.signed,
            checkpoints=told.checkpoints,
            witnesses=tuple(told.witnesses),
        )

    def _record(self, row: RecordRow) -> Record:
        return Record(
            actor=row.actor,
            assurance=row.assurance,
            action=row.action,
            outcome=row.outcome,
            kind=row.kind,
            name=row.name,
            team=row.team,
            reason=row.reason,
            backend=row.backend,
            version=row.version,
            request=row.request,
            source=row.source,
            run=row.run,
            agent=row.agent,
            policies=tuple(row.policies),
            count=row.count,
            since=row.since,
            until=row.until,
            refs=tuple(
                RefUse(one.kind, one.name, one.team, one.outcome, one.version, one.backend, one.uses)
                for one in row.refs
            ),
            seq=row.seq,
            at=_stamp(row.at),
            deployment=self._deployment,
            prev=row.prev,
            hash=row.hash,
        )

    @cached_property
    def _deployment(self) -> str:
        """How the server calls the deployment that is asked."""
        return self._client.get("/whoami", WhoAmI).deployment

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- nothing is given
        # What of the local trail is not laid anew above reaches here for its log, guard or settings.
        if name in ("_log", "_guard", "_actor", "_settings", "_proofs"):
            raise elsewhere("records are signed, held and let go")
        raise AttributeError(name)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime(_STAMP)
