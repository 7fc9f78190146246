"""
Entries behind a server as things to keep: the `entries` of a remote room.

Rules of this file:

1. A secret that is not shown reads `***` here too. Written back by `write` it keeps what is stored: the
   server lays it under the change, if the version still stands. `write_many`, which imports use, takes
   every text for what it says.
2. What stood is named to the server by its version, so that nothing made meanwhile is written over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.caller import NAME, broken, error_of, path_of, ref_in, spelled
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    InvalidInputError,
    StrongroomError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import Entry, Metadata, VersionInfo
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.difference import Diff, Difference
from strongroom.service.entries import HIDDEN, Change, Described, Entries, Written
from strongroom.wire.entry import (
    BatchWritten,
    EntryFacts,
    EntryView,
    EntryWritten,
    FactsOver,
    History,
    NewValue,
    Revealed,
    RevealRequest,
    RollbackRequest,
    WriteBatch,
    WriteEntry,
)
from strongroom.wire.entry import (
    Difference as Differing,
)
from strongroom.wire.policy import ApprovalRow
from strongroom.wire.shape import MAX_BATCH, UNSET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from strongroom.caller import Client
    from strongroom.model.ref import Kind
    from strongroom.remote.listed import RemoteInventory
    from strongroom.service.inventory import Row
    from strongroom.wire.entry import EntryRow

__all__ = ["RemoteEntries", "metadata_of"]


def metadata_of(seen: EntryView | EntryRow) -> Metadata:
    """Give what is public beside a value."""
    return Metadata(
        description=seen.description,
        tags=tuple(seen.tags),
        owner=seen.owner,
        conn_type=seen.conn_type,
        remind_at=seen.remind_at,
        not_after=seen.not_after,
        expires_at=seen.expires_at,
        references=seen.references,
    )


class RemoteEntries(Entries):
    """
    Keep entries as whoever the server takes the token to be of.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(self, client: Client, inventory: RemoteInventory, clock: Callable[[], datetime]) -> None:
        # Nothing of a chain or cache is here, so the parts of the local one are not made.
        self._client = client
        self._listed = inventory
        self._now = clock

    # --- looking -----------------------------------------------------------------------------------

    def describe(self, ref: Ref) -> Described:
        """Tell everything about *ref* but its secrets. As `Entries.describe`."""
        seen = self._client.get(path_of("/entries", ref), EntryView, {"team": ref.team})
        answering = _answering(seen, ref)
        connection, problem = None, seen.problem
        if seen.connection is not None:
            try:
                connection = Connection.from_dict(seen.connection)
            except InvalidInputError as error:
                problem = f"the server shows it in a way that is none of a connection: {error}"
        return Described(
            ref=answering,
            backend=seen.backend,
            version=seen.version,
            read_at=seen.read_at,
            changed_at=seen.changed_at,
            metadata=metadata_of(seen),
            shadowed=tuple(seen.shadowed),
            connection=connection,
            problem=problem,
            size=seen.size,
            overlay=seen.overlay,
        )

    def reveal(self, ref: Ref, *, reason: str) -> Entry:
        """Give the entry with its secret to a person; recorded with *reason*. As `Entries.reveal`."""
        if not reason.strip():
            raise InvalidInputError("a reveal needs a reason", hint="say why, as in: checking the port")
        body = spelled(RevealRequest(reason=reason.strip()))
        path, team = path_of("/reveal", ref), {"team": ref.team}
        seen = self._client.ask_for("POST", path, Revealed, ApprovalRow, body, query=team, is_change=False)
        if isinstance(seen, ApprovalRow):
            raise AccessDeniedError(
                f"a second person has to agree before {ref} is revealed: approval {seen.id} is asked for",
                reason="needs approval",
                hint="reveal it again once somebody has approved it: strongroom access approvals list",
            )
        return Entry(
            ref=_answering(seen, ref),
            secret=Secret(seen.value),
            backend=seen.backend,
            version=seen.version,
            read_at=self._now(),
            metadata=_PLAIN,
        )

    def reveal_many(self, refs: Sequence[Ref], *, reason: str) -> list[Entry]:
        """Give many entries with their secrets; each is allowed and recorded on its own."""
        return [self.reveal(ref, reason=reason) for ref in refs]

    def history(self, ref: Ref, *, at: str | None = None) -> list[VersionInfo]:
        """Give the versions of *ref*, newest first. As `Entries.history`."""
        told = self._client.get(path_of("/history", ref), History, {"team": ref.team, "at": at})
        return [
            VersionInfo(
                version=one.version,
                created_at=one.created_at,
                author=one.author,
                comment=one.comment,
                is_current=one.is_current,
                same_as=one.same_as,
            )
            for one in told.versions
        ]

    def diff(self, ref: Ref, from_: str, to: str, *, at: str | None = None) -> Diff:
        """Tell in what two versions of *ref* differ. As `Entries.diff`."""
        query = {"from": from_, "to": to, "team": ref.team, "at": at}
        told = self._client.get(path_of("/diff", ref), Differing, query)
        return Diff(
            ref=ref,
            backend=at or NAME,
            from_version=told.from_,
            to_version=told.to,
            is_same=told.is_same,
            fields=tuple(Difference(one.field, one.change) for one in told.fields),
        )

    # --- writing -----------------------------------------------------------------------------------

    def write(
        self, change: Change, *, to: str | None = None, force: bool = False, comment: str = ""
    ) -> Written:
        """Write one entry; `***` in a connection keeps what is stored there. As `Entries.write`."""
        return self._put(change, to=to, force=force, comment=comment, keeps=_has_hidden(change))

    def write_many(
        self, changes: Sequence[Change], *, to: str | None = None, force: bool = False, comment: str = ""
    ) -> list[Written]:
        """
        Write many entries, all or none of those that go to one backend; answers in their order.

        More than a batch holds (1,000 entries, 1 MiB of text) is several batches, one after the other.

        Raises:
            As `Entries.write`; the hint tells how many were written by the batches before.
        """
        written: list[Written] = []
        for batch in _batches(changes):
            try:
                told = self._batch(batch, to=to, force=force, comment=comment)
            except StrongroomError as error:
                if written:
                    error.hint = _and_more(error.hint, len(written), len(changes))
                raise
            written += [Written(one.backend, one.version) for one in told.written]
        if len(written) != len(changes):
            raise _untold()
        return written

    def _batch(
        self,
        changes: Sequence[Change],
        *,
        to: str | None,
        force: bool,
        comment: str = "",
        is_trial: bool = False,
    ) -> BatchWritten:
        body = _batch_body(changes, comment=comment, is_trial=is_trial)
        query = {"at": to, "force": force}
        return self._client.post("/entries", BatchWritten, body, query=query, is_change=True)

    def _put(self, change: Change, *, to: str | None, force: bool, comment: str, keeps: bool) -> Written:
        answer = self._client.change(
            "PUT",
            path_of("/entries", change.ref),
            EntryWritten,
            _body(change, comment=comment, keeps=keeps),
            query={"team": change.ref.team, "at": to, "force": force},
            expected_version=change.expected_version,
            seen=change.seen,
        )
        return _written(answer)

    def refusals(
        self, refs: Sequence[Ref], *, to: str | None = None, force: bool = False
    ) -> list[StrongroomError | None]:
        """Tell of each of *refs* why no place would take a write of it, or None. As `Entries.refusals`."""
        told: list[StrongroomError | None] = []
        for batch in _batches([Change(ref=ref, secret=None) for ref in refs]):
            refused = self._batch(batch, to=to, force=force, is_trial=True).refused
            told += [None if one is None else error_of(one) for one in refused]
        if len(told) != len(refs):
            raise _untold()
        return told

    # --- deleting and bringing back ------------------------------------------------------------------

    def delete(self, ref: Ref, *, expected_version: str | None = None, at: str | None = None) -> Written:
        """Delete exactly *ref*, softly where versions are kept. As `Entries.delete`."""
        query = {"team": ref.team, "at": at}
        path = path_of("/entries", ref)
        return _written(
            self._client.change("DELETE", path, EntryWritten, query=query, expected_version=expected_version)
        )

    def undelete(self, ref: Ref, *, at: str | None = None) -> Written:
        """Bring a softly deleted entry back. As `Entries.undelete`."""
        query = {"team": ref.team, "at": at}
        return _written(
            self._client.post(path_of("/undelete", ref), EntryWritten, query=query, is_change=True)
        )

    def rollback(
        self,
        ref: Ref,
        version: str,
        *,
        at: str | None = None,
        seen: str | None = None,
        comment: str = "",
    ) -> Written:
        """Write the value of an older *version* again, as a new version. As `Entries.rollback`."""
        request = spelled(RollbackRequest(version=version, comment=comment))
        query = {"team": ref.team, "at": at}
        path = path_of("/rollback", ref)
        return _written(
            self._client.change("POST", path, EntryWritten, request, query=query, expected_version=seen)
        )

    # Last, because from here on `list` is not the builtin.
    def list(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Row]:
        """Give up to *limit* rows of one kind ordered by name, names greater than *after* only."""
        start = Ref(kind, after, team) if after else None
        return self._listed.page(kind, team=team, prefix=prefix, after=start, limit=limit)


_PLAIN = Metadata()
_MAX_BATCH_CHARACTERS = 1_048_576  # of values in one request: each takes six bytes at most, of its 8 MiB


def _body(change: Change, *, comment: str, keeps: bool) -> Secret[bytes]:
    said: dict[str, Any] = {"comment": comment}
    if change.secret is None:
        said["unchanged"] = True
    else:
        said |= {"value": change.secret.reveal(), "is_literal": not keeps}
    said |= change.over if change.metadata is None else _facts(change.metadata)
    return spelled(WriteEntry(**said))


def _answering(seen: EntryView | Revealed, ref: Ref) -> Ref:
    """Give whose entry answered for *ref*: its own, or the global one; never that of another name."""
    found = ref_in(seen)
    if found[:2] != ref[:2] or found.team not in (ref.team, None):
        raise broken("it is about another entry than was asked for")
    return found


def _has_hidden(change: Change) -> bool:
    """Tell whether a connection says `***` somewhere. Alone, so that no frame of an error holds the text."""
    if change.ref.kind != "connection" or change.secret is None:
        return False
    return HIDDEN in change.secret.reveal()


def _batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Give *changes* in pieces that one request holds."""
    batch: list[Change] = []
    size = 0
    for change in changes:
        length = 0 if change.secret is None else len(change.secret.reveal())
        if batch and (len(batch) >= MAX_BATCH or size + length > _MAX_BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(change)
        size += length
    if batch:
        yield batch


def _batch_body(changes: Sequence[Change], *, comment: str, is_trial: bool) -> Secret[bytes]:
    return spelled(
        WriteBatch(changes=[_new_value(one) for one in changes], comment=comment, is_trial=is_trial)
    )


def _new_value(change: Change) -> NewValue:
    beside = change.metadata
    return NewValue(
        # Whoever writes through a room has told masks from values already (`service/transfer.py`).
        is_literal=True,
        kind=change.ref.kind,
        name=change.ref.name,
        team=change.ref.team,
        value=None if change.secret is None else change.secret.reveal(),
        facts=None if beside is None else EntryFacts(**_facts(beside)),
        over=FactsOver(**change.over) if beside is None and change.over else UNSET,  # type: ignore[arg-type]  # by their names
        expected_version=change.seen if change.expected_version is None else change.expected_version,
    )


def _facts(beside: Metadata) -> dict[str, Any]:
    return {
        "description": beside.description,
        "tags": list(beside.tags),
        "owner": beside.owner,
        "remind_at": beside.remind_at,
        "not_after": beside.not_after,
        "expires_at": beside.expires_at,
        "references": beside.references,
    }


def _untold() -> BackendUnavailableError:
    return BackendUnavailableError("the server does not say what became of it", backend=NAME)


def _written(answer: EntryWritten | None) -> Written:
    if answer is None:
        raise _untold()
    return Written(answer.backend, answer.version)


def _and_more(hint: str | None, done: int, wanted: int) -> str:
    told = f"{done} of {wanted} were written before this one, and stay"
    return told if hint is None else f"{hint}; {told}"
