"""
The audit trail as a use case: look at it, find in it, prove it whole, hand it over, hold it.

Rules of this file:

1. Who may describe the room may look, at what is of this deployment. Who may administer it and see every
   entry sees every record; anybody else sees what is about entries he may see, and of a batch only those.
2. Nothing here names a place that records are sent to: that is the settings' alone.
3. What changes the log beside appending (a hold, letting old records go, signing by hand) is administration,
   and recorded before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from strongroom.audit import AuditLog, Record, Verdict
from strongroom.audit.retention import Hold
from strongroom.errors import BackendConfigError, InvalidInputError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from strongroom.audit.checkpoint import Keeper, Signed
    from strongroom.audit.note import Checkpoint, Verifier
    from strongroom.audit.query import Filter, Place
    from strongroom.audit.record import RefUse
    from strongroom.audit.retention import Retained
    from strongroom.audit.verify import Evidence
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard
    from strongroom.service.proving import Proof, Proofs
    from strongroom.service.readers import Readership
    from strongroom.service.sightings import Sightings
    from strongroom.settings import AuditSettings

__all__ = ["AuditPage", "AuditState", "AuditTrail", "Record", "Verdict"]

T = TypeVar("T")

_EXPORT_PAGE = 1000
_LOOKED_AT = 5_000  # records of one look for readers: about 25 ms


class AuditPage(NamedTuple):
    """
    One page of records.

    Args:
        next: where the next one goes on; None at the end.
    """

    records: tuple[Record, ...]
    next: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """
    How the log stands.

    Args:
        count: records, those that were let go of included.
        head: hash of the last one; None of an empty log.
        checkpoint: records that the last checkpoint covers; None where nothing was signed.
        checkpoint_at: when it was made.
        is_writable: whether it can be appended to now.
        hold: the legal hold there is.
        more: witnesses, sinks and what is wrong, by name, where a server writes.
    """

    count: int
    head: str | None
    checkpoint: int | None
    checkpoint_at: datetime | None
    is_writable: bool
    hold: Hold | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class AuditTrail:
    """
    Look at the audit log as one actor.

    Args:
        log: that is looked at.
        guard: decides.
        actor: who looks.
        settings: where keys and witnesses are; without them nothing is signed, held or let go.
        proofs: remembers how verifying went, for all who look; without it nobody does.
    """

    def __init__(
        self,
        log: AuditLog,
        guard: Guard,
        actor: Actor,
        settings: AuditSettings | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._proofs = proofs
        self._log = log
        self._guard = guard
        self._actor = actor
        self._settings = settings

    @property
    def folder(self) -> Path:
        """Where the log is kept."""
        return self._log.folder

    def close(self) -> None:
        """Let go of the log, where this trail was opened by itself. Safe to call twice."""
        self._log.close()

    # --- looking -----------------------------------------------------------------------------------

    def tail(self, n: int = 20) -> list[Record]:
        """Give the last *n* records that may be seen, oldest first; reads from the end."""
        from strongroom.audit.query import Filter  # noqa: PLC0415 -- reads of values do without

        records: list[Record] = []
        start: Place | None = None
        while len(records) < n:
            page = self.query(Filter(), limit=min(n - len(records), _EXPORT_PAGE), start=start)
            records += page.records
            start = page.next
            if start is None:
                break
        return records[::-1]

    def query(
        self,
        wanted: Filter,
        *,
        limit: int = 100,
        start: Place | None = None,
        is_newest_first: bool = True,
        most: int | None = None,
    ) -> AuditPage:
        """
        Give a page of the records asked for that may be seen. It may hold fewer than *limit*, even none, and
        yet not be the last.

        Args:
            wanted: which records.
            limit: at most so many.
            start: from the page before.
            is_newest_first: or the oldest.
            most: records to look at, found or not; a page of the web cannot wait for as many as an export.

        Raises:
            AccessDeniedError: policy says no.
            InvalidInputError: *limit* is not from 1 to 1000.
            BackendUnavailableError: the log cannot be read.
        """
        from strongroom.audit.query import MAX_LOOKED_AT, find  # noqa: PLC0415 -- as above

        if not 1 <= limit <= _EXPORT_PAGE:
            raise InvalidInputError(f"limit is from 1 to {_EXPORT_PAGE}", limit=_EXPORT_PAGE)
        found = self._looking(
            lambda: find(
                self.folder,
                wanted,
                limit=limit,
                start=start,
                is_newest_first=is_newest_first,
                sees=self._sees(),
                max_looked_at=MAX_LOOKED_AT if most is None else most,
            )
        )
        return AuditPage(tuple(record for record, _ in found.records), found.next)

    def readers(self, ref: Ref, *, start: Place | None = None, most: int = _LOOKED_AT) -> Readership:
        """
        Tell who used *ref*, whoever used it last first; who used a global name for a team is told with it.

        Args:
            ref: which entry; a team's own only where it has one.
            start: where an earlier look ended; unsaid, the newest record.
            most: records to look at.

        Raises:
            AccessDeniedError, BackendUnavailableError: as `query`.
        """
        from strongroom.audit.query import Filter  # noqa: PLC0415 -- as above
        from strongroom.service.readers import readership  # noqa: PLC0415 -- as above

        wanted = Filter(kind=ref.kind, name=ref.name, team=ref.team)
        page = self.query(wanted, limit=_EXPORT_PAGE, start=start, most=most)
        return readership(page.records, ref, page.next)

    def sightings(
        self,
        run: str,
        *,
        dag: str | None = None,
        task: str | None = None,
        start: Place | None = None,
        most: int | None = None,
    ) -> Sightings:
        """
        Tell what a run saw: which entries its tasks asked for, and what they were given.

        Args:
            run: its id.
            dag: its DAG; unsaid, the runs of that id of every DAG.
            task: one of its tasks; unsaid, all.
            start: where an earlier look ended; unsaid, the newest record.
            most: records to look at; what `query` looks at, if unsaid.

        Raises:
            AccessDeniedError, BackendUnavailableError: as `query`.
            InvalidInputError: *run* is empty.
        """
        from strongroom.audit.query import Filter  # noqa: PLC0415 -- as above
        from strongroom.service.sightings import sightings_of  # noqa: PLC0415 -- as above

        if not run:
            raise InvalidInputError(
                "a run has an id", hint="as Airflow shows it: scheduled__2026-11-21T11:00"
            )
        wanted = Filter(run=run, dag=dag, task=task)
        page = self.query(wanted, limit=_EXPORT_PAGE, start=start, most=most)
        return sightings_of(page.records, page.next)

    def export(self, form: str, wanted: Filter) -> Iterator[bytes]:
        """
        Give the records asked for that may be seen, oldest first, in *form* (`export.FORMS`), piece by piece.

        Raises:
            AccessDeniedError, BackendUnavailableError: as `query`, before the first piece.
            InvalidInputError: there is no such form.
        """
        from strongroom.audit.export import FORMS, export  # noqa: PLC0415 -- as above

        if form not in FORMS:
            raise InvalidInputError("there is no such form", hint=f"one of {', '.join(FORMS)}")
        sees = self._looking(self._sees)
        return export(form, self._all(wanted, sees))

    def _all(self, wanted: Filter, sees: Callable[[Record], Record | None]) -> Iterator[tuple[Record, bytes]]:
        from strongroom.audit.query import find  # noqa: PLC0415 -- as above
        from strongroom.audit.record import spell  # noqa: PLC0415 -- as above

        start: Place | None = None
        while True:
            found = find(
                self.folder, wanted, limit=_EXPORT_PAGE, start=start, is_newest_first=False, sees=sees
            )
            for record, line in found.records:
                # Of a record that is seen in part there is no line that could be proven.
                yield record, line or spell(record, record.seq, record.at, record.prev, record.deployment)[0]
            start = found.next
            if start is None:
                return

    def state(self) -> AuditState:
        """
        Tell how the log stands.

        Raises:
            AccessDeniedError: policy says no.
            BackendUnavailableError: the log cannot be read.
        """
        return self._looking(self._state)

    def _state(self) -> AuditState:
        from strongroom.audit.retention import hold_of  # noqa: PLC0415 -- as above

        last = self._log.tail(1)
        said: Mapping[str, Any] = getattr(self._guard.recorder, "state", dict)()
        checkpoint = self._last_checkpoint()
        with suppress(OSError):
            return AuditState(
                count=last[0].seq + 1 if last else 0,
                head=last[0].hash if last else None,
                checkpoint=checkpoint[0] if checkpoint else None,
                checkpoint_at=checkpoint[1] if checkpoint else None,
                is_writable=self._is_writable(said),
                hold=hold_of(self.folder),
                more={key: value for key, value in said.items() if key not in ("signed", "signed_at")},
            )
        raise BackendConfigError("the hold of the audit log cannot be read", hint=f"look at {self.folder}")

    def _is_writable(self, said: Mapping[str, Any]) -> bool:
        if said.get("trouble"):
            return False
        try:
            self._log.look()
        except StrongroomError:
            return False
        return True

    def _last_checkpoint(self) -> tuple[int, datetime | None] | None:
        from strongroom.audit.checkpoint import last_in  # noqa: PLC0415 -- as above

        found = last_in(self.folder)
        if found is None:
            return None
        with suppress(ValueError):
            when = datetime.strptime(found.at, "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007 -- told below
            return found.size, when.replace(tzinfo=timezone.utc)
        return found.size, None

    # --- proving -----------------------------------------------------------------------------------

    def verify(
        self,
        *,
        witnesses: Sequence[Path] = (),
        keys: Sequence[str] = (),
        also: Callable[[Sequence[Verifier]], Iterable[Evidence]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Verdict:
        """
        Check every record and every checkpoint; the verdict names the index of the first bad record.

        Works offline. Beside the log it looks at what is kept beside the signing key and at the witnesses of
        the settings that are files, where these can be read here.

        Args:
            witnesses: further files of copies.
            keys: verifier keys to trust, instead of the one beside the signing key or in the folder.
            also: gives what somebody else holds of the log, told which keys are trusted.
            progress: told the number of records checked, now and then.

        Raises:
            InvalidInputError: a key is none, or a witness cannot be read.
            RateLimitedError: another verification is under way in this server.
        """
        from strongroom.audit.verify import verify_log  # noqa: PLC0415 -- as above

        trusted = [_key(text) for text in keys] or self._own_keys()

        def work(told: Callable[[int], None] | None) -> Verdict:
            return verify_log(
                self.folder,
                evidence=lambda known: [
                    *self._evidence(witnesses, known),
                    *(() if also is None else also(known)),
                ],
                keys=trusted,
                progress=told,
            )

        proofs = self._proofs
        if proofs is None or witnesses or keys or also is not None:
            return self._looking(lambda: work(progress))
        return self._looking(lambda: proofs.make(lambda told: work(_both(told, progress)), by=self._actor.id))

    def prove(self) -> None:
        """
        Begin to verify behind; `proof` tells how far that is, and how it ended.

        Raises:
            AccessDeniedError: policy says no.
            RateLimitedError: another verification is under way.
            BackendConfigError: nobody remembers here how it ends.
        """
        from strongroom.audit.verify import verify_log  # noqa: PLC0415 -- as above

        proofs = self._proofs
        if proofs is None:
            raise BackendConfigError("a log is verified behind by a server", hint="strongroom audit verify")
        keys = self._own_keys()

        def work(told: Callable[[int], None]) -> Verdict:
            return verify_log(
                self.folder, evidence=lambda known: [*self._evidence((), known)], keys=keys, progress=told
            )

        self._looking(lambda: proofs.begin(work, by=self._actor.id))

    def proof(self) -> Proof | None:
        """
        Give how the last verification went that `prove` began; None where nobody remembers.

        Raises:
            AccessDeniedError: policy says no.
        """
        proofs = self._proofs
        return self._looking(lambda: None if proofs is None else proofs.last)

    def checkpoints(self, most: int = 100) -> list[Checkpoint]:
        """
        Give the newest signed checkpoints as they stand beside the log, newest first; nothing is proven.

        Raises:
            AccessDeniedError: policy says no.
        """
        from strongroom.audit.checkpoint import latest_in  # noqa: PLC0415 -- as above

        return self._looking(lambda: latest_in(self.folder, most))

    def known_keys(self) -> tuple[Verifier, ...]:
        """Give the keys known here: beside the signing key, in the folder, beside files of witnesses."""
        from strongroom.audit.verify import KEYS, read_keys  # noqa: PLC0415 -- as above

        found = list(self._own_keys())
        files = [witness.path for witness in (self._settings.witnesses if self._settings else ())]
        places = [path.with_name(f"{path.name}.keys") for path in files if path is not None]
        for path in (self.folder / KEYS, *places):
            with suppress(OSError, ValueError):  # it may be another's to read
                found += read_keys(path)
        return tuple(dict.fromkeys(found))

    def _own_keys(self) -> Sequence[Verifier]:
        from strongroom.audit.checkpoint import public_of  # noqa: PLC0415 -- as above

        if self._settings is None or self._settings.checkpoint.key is None:
            return ()
        with suppress(OSError, ValueError):
            return public_of(self._settings.checkpoint.key)
        return ()

    def _evidence(self, witnesses: Sequence[Path], keys: Sequence[Verifier]) -> Iterable[Evidence]:
        from strongroom.audit.checkpoint import evidence_beside  # noqa: PLC0415 -- as above
        from strongroom.audit.witness import evidence_at  # noqa: PLC0415 -- as above

        settings = self._settings
        if settings is not None and settings.checkpoint.key is not None:
            with suppress(OSError):
                found = evidence_beside(settings.checkpoint.key, keys)
                if found is not None:
                    yield found
        for witness in settings.witnesses if settings else ():
            if witness.path is not None:
                with suppress(OSError):  # it may be another's to read
                    yield evidence_at(f"the witness {witness.name}", witness.path, keys)
        for path in witnesses:
            if not path.exists():
                raise InvalidInputError("the file of a witness is not there", hint="--witness FILE")
            yield evidence_at(f"the witness {path}", path, keys)

    # --- administering -----------------------------------------------------------------------------

    def sign(self) -> Signed | None:
        """
        Sign a checkpoint now, as a server does by itself; gives what was signed.

        Raises:
            AccessDeniedError: policy says no.
            TamperedError: the log does not go on where the last checkpoint ended.
            BackendConfigError: the key or the log cannot be used.
        """
        keeper = self._keeper()
        return self._changing("audit: sign a checkpoint", keeper.sign)

    def hold(self, reason: str) -> Hold:
        """Keep every record until `lift`. Raises AccessDeniedError, BackendConfigError, InvalidInputError."""
        from strongroom.audit.retention import hold  # noqa: PLC0415 -- as above

        if not reason.strip():
            raise InvalidInputError("a legal hold needs a reason", hint="--reason TEXT")
        why = f"audit: hold: {reason}"
        return self._changing(
            why, lambda: self._with_files(lambda: hold(self.folder, self._actor.id, reason, _now()))
        )

    def lift(self, reason: str) -> Hold | None:
        """End the hold; gives the one there was. Raises as `hold`."""
        from strongroom.audit.retention import lift  # noqa: PLC0415 -- as above

        if not reason.strip():
            raise InvalidInputError("lifting a legal hold needs a reason", hint="--reason TEXT")
        return self._changing(
            f"audit: lift the hold: {reason}", lambda: self._with_files(lambda: lift(self.folder))
        )

    def retain(self, *, before: datetime, archive: Path | None) -> Retained:
        """
        Let go of whole segments whose records are all older than *before*, signed and not held.

        Args:
            before: more than a day ago.
            archive: where they are moved to; None removes them.

        Raises:
            AccessDeniedError: policy says no, or there is a hold.
            TamperedError: the log is not whole.
            BackendConfigError: there is no key, or files cannot be moved.
        """
        from strongroom.audit.retention import retain  # noqa: PLC0415 -- as above

        if before > _now() - timedelta(days=1):
            raise InvalidInputError("records of the last day stay", hint="--before an earlier day")
        keeper = self._keeper()
        where = "remove" if archive is None else "archive"
        return self._changing(
            f"audit: {where} what is before {before:%Y-%m-%d}", lambda: retain(keeper, before, archive)
        )

    def _keeper(self) -> Keeper:
        from strongroom.audit.checkpoint import Keeper  # noqa: PLC0415 -- as above

        if self._settings is None or self._settings.checkpoint.key is None:
            raise BackendConfigError("no signing key is named for this log", hint="audit.checkpoint.key")
        return Keeper(self.folder, self._settings.checkpoint.key, deployment=self._log.deployment, clock=_now)

    def _with_files(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError:
            raise BackendConfigError("the hold cannot be written", hint=f"look at {self.folder}") from None

    def _changing(self, reason: str, work: Callable[[], T]) -> T:
        return self._guard.act(self._actor, Action.ADMINISTER, None, work, reason=reason)

    def _looking(self, work: Callable[[], T]) -> T:
        return self._guard.act(self._actor, Action.DESCRIBE, None, work)

    def _sees(self) -> Callable[[Record], Record | None]:
        """Give what may be seen of a record: see rule 1."""
        from strongroom.audit.query import seen_by  # noqa: PLC0415 -- as above

        guard, actor = self._guard, self._actor
        sight = guard.sight(actor, Action.DESCRIBE)
        deployment = self._log.deployment
        if sight.is_whole and guard.can(actor, Action.ADMINISTER, None).is_allowed:
            return lambda record: record if record.deployment == deployment else None
        known: dict[tuple[str, str, str | None], bool] = {}

        def is_seen(ref: RefUse) -> bool:
            key = (ref.kind, ref.name, ref.team)
            if key not in known:
                known[key] = _may_see(key, sight.sees)
            return known[key]

        def sees(record: Record) -> Record | None:
            return seen_by(record, is_seen) if record.deployment == deployment else None

        return sees


def _may_see(key: tuple[str, str, str | None], sees: Callable[[Ref, None], bool]) -> bool:
    try:
        return sees(Ref(*key), None)  # type: ignore[arg-type]  # Ref refuses what is no kind
    except InvalidInputError:
        return False


def _both(one: Callable[[int], None], other: Callable[[int], None] | None) -> Callable[[int], None]:
    def told(checked: int) -> None:
        one(checked)
        if other is not None:
            other(checked)

    return told


def _key(text: str) -> Verifier:
    from strongroom.audit.note import Verifier  # noqa: PLC0415 -- as above

    try:
        return Verifier.parse(text)
    except ValueError:
        raise InvalidInputError("this is no verifier key", hint="NAME+ID+KEY, as in the file .pub") from None


def _now() -> datetime:
    return datetime.now(timezone.utc)
