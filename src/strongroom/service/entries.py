"""
Entries as things to keep: describe, write, delete, bring back, reveal.

Not for reading values in programs (`lookup.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from strongroom.backend import Listable, PathBackend, Versioned
from strongroom.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
    TamperedError,
)
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, MUST_BE_ABSENT, Draft, Entry, Metadata, VersionInfo
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action
from strongroom.service.difference import Diff, compare
from strongroom.service.guard import facts_of
from strongroom.service.known import metadata_at
from strongroom.service.lookup import parse_stored
from strongroom.service.showing import HIDDEN, merge_hidden, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.backend import Backend, Writable
    from strongroom.cache import Cache
    from strongroom.chain import Chain, Link
    from strongroom.model.connection import Dialect
    from strongroom.model.ref import Kind
    from strongroom.policy import Actor, Facts
    from strongroom.service.guard import Guard
    from strongroom.service.inventory import Inventory, Row
    from strongroom.service.lookup import Lookup

__all__ = ["HIDDEN", "Change", "Described", "Diff", "Entries", "Written", "merge_hidden", "shown"]

T = TypeVar("T")

_PLAIN = Metadata()


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """
    What may be shown of an entry without revealing it.

    Args:
        ref: the one that answered: the team's or the global one.
        backend: which backend answers.
        read_at: when it was read (UTC).
        changed_at: when it was written (UTC), where the backend knows.
        shadowed: backends further down that hold the name too.
        connection: the parsed connection; show `shown(connection)`, which hides. None for variables
            and where `problem` is set.
        problem: why the stored text is no connection (no part of the text), or None.
        size: characters of the stored text.
        overlay: what a `Connection` cannot hold of one with references: which it `extends`, the fields it
            takes away from that, a port that is a reference; see `strongroom.model.overlay`.
    """

    ref: Ref
    backend: str
    version: str | None
    read_at: datetime
    changed_at: datetime | None = None
    metadata: Metadata = _PLAIN
    shadowed: tuple[str, ...] = ()
    connection: Connection | None = field(default=None, repr=False)
    problem: str | None = None
    size: int = 0
    overlay: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One entry to write.

    Args:
        secret: a variable's text, or a connection in an Airflow form (JSON or URI); None keeps the one that
            stands where this is written, and then a change made meanwhile is a conflict.
        metadata: None keeps what stands, and then a change made meanwhile is a conflict.
        over: without *metadata*: members of it that are other than what stands.
        expected_version: write only over this version; `MUST_BE_ABSENT`: only if there is nothing. A place
            that cannot compare refuses it.
        seen: what whoever made this change looked at, in the same words. Where the place cannot compare,
            it is looked at once more right before the write, which is the most such a store allows.
    """

    ref: Ref
    secret: Secret[str] | None
    metadata: Metadata | None = None
    over: Mapping[str, object] = field(default_factory=dict)
    expected_version: str | None = None
    seen: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Where a change went, and the version that stands now (None after a deletion or without versions)."""

    backend: str
    version: str | None


class Entries:
    """
    Keep entries as one actor.

    Args:
        has_store: whether there is a store of ours; without one a refused write names the command
            that makes it.
        on_change: told of a backend and the Refs that were changed in it, or may have been; must not raise.
        before_reveal: uses up what a second person agreed to, before the value of a Ref in one version
            leaves; tells whether there was anything. What it raises refuses.

    Threads: may be used from several threads at once.
    """

    def __init__(  # noqa: PLR0913 -- a service is made of the parts it joins
        self,
        *,
        lookup: Lookup,
        inventory: Inventory,
        cache: Cache,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        clock: Callable[[], datetime],
        dialect: Dialect = "core",
        has_store: bool = True,
        on_change: Callable[[Backend, Sequence[Ref]], None] | None = None,
        before_reveal: Callable[[Ref, str | None], bool] | None = None,
    ) -> None:
        self._before_reveal = before_reveal or (lambda _ref, _version: True)
        self._on_change = on_change or (lambda _place, _refs: None)
        self._lookup = lookup
        self._inventory = inventory
        self._cache = cache
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._clock = clock
        self._dialect: Dialect = dialect
        self._has_store = has_store
        self._marks = secrets.token_bytes(32)  # of this actor, and of no other process

    # --- looking -----------------------------------------------------------------------------------

    def describe(self, ref: Ref) -> Described:
        """
        Tell everything about *ref* but its secrets, read anew and with references unresolved.

        Raises:
            NotFoundError: nothing holds it.
            As `Lookup.entry`.
        """
        return self._guard.act(self._actor, Action.DESCRIBE, ref, lambda: self._described(ref))

    def _described(self, ref: Ref) -> Described:
        connection, problem, rest = None, None, dict[str, object]()
        try:
            entry = self._read(ref, Action.DESCRIBE)
        except MalformedEntryError as error:
            entry, problem = self._expired(ref, error), str(error)
        if ref.kind == "connection":
            try:
                own, rest = _own_part(entry)
                connection = parse_stored(own, self._dialect)
            except MalformedEntryError as error:
                problem = str(error)
        return Described(
            ref=entry.ref,
            backend=entry.backend,
            version=entry.version,
            read_at=entry.read_at,
            changed_at=self._changed_at(entry),
            metadata=entry.metadata,
            shadowed=self._chain.explain(ref).shadows,
            connection=connection,
            problem=problem,
            size=len(entry.secret.reveal()),
            overlay=rest,
        )

    def _expired(self, ref: Ref, error: MalformedEntryError) -> Entry:
        """Give the entry that *error* says is past its `not_after`: it is refused, not unknown."""
        if error.reason == "expired":
            link = self._link(error.backend)
            for path in link.paths(ref):
                found = self._chain.ask(link, partial(link.backend.read, path))
                if found is not None and self._is_for_us(ref, found, Action.DESCRIBE):
                    return found
        raise error

    def _changed_at(self, entry: Entry) -> datetime | None:
        backend = self._link(entry.backend).backend
        if isinstance(backend, PathBackend) or not isinstance(backend, Listable):
            return None  # a foreign store would list all it has for this, if it lets us list at all
        ref = entry.ref
        # Names come in order, so one that is a prefix of others comes first among them.
        found = backend.list(ref.kind, team=ref.team, prefix=ref.name, limit=1)
        return found[0].changed_at if found and found[0].ref == ref else None

    def reveal(self, ref: Ref, *, reason: str) -> Entry:
        """
        Give the entry with its secret to a person, references unresolved; recorded with *reason*.

        Raises:
            InvalidInputError: no reason was given.
            As `Lookup.entry`.
        """
        if not reason.strip():
            raise InvalidInputError("a reveal needs a reason", hint="say why, as in: checking the port")
        work = lambda: self._revealed(ref)  # noqa: E731 -- one line, called once
        return self._guard.act(self._actor, Action.REVEAL, ref, work, reason=reason.strip())

    def _revealed(self, ref: Ref) -> Entry:
        entry = self._read(ref, Action.REVEAL)
        if not self._before_reveal(ref, entry.version):
            # Another may have used it up since it was decided: then that does not hold any more.
            decision = self._guard.can(self._actor, Action.REVEAL, ref)
            if not decision.is_allowed:
                raise AccessDeniedError(f"{self._actor.id} may not reveal {ref}", reason=decision.reason)
        return entry

    def reveal_many(self, refs: Sequence[Ref], *, reason: str) -> list[Entry]:
        """
        Give many entries with their secrets, references unresolved, allowed and recorded as one batch.

        Raises:
            As `reveal`.
        """
        if not reason.strip():
            raise InvalidInputError("a reveal needs a reason", hint="say why, as in: moving to another host")
        work = lambda: [self._revealed(ref) for ref in refs]  # noqa: E731 -- one line, called once
        return list(self._guard.act_many(self._actor, Action.REVEAL, refs, work, reason=reason.strip()))

    def history(self, ref: Ref, *, at: str | None = None) -> list[VersionInfo]:
        """
        Give the versions of *ref*, newest first.

        Args:
            ref: which entry; a deleted one has its history still.
            at: name of the backend to ask instead of the first that knows it.

        Raises:
            NotFoundError: it was never held.
            ReadOnlyError: no backend here keeps versions.
        """
        work = lambda: self._versioned(ref, at)[1]  # noqa: E731 -- one line, called once
        return self._guard.act(self._actor, Action.DESCRIBE, ref, work, plan=partial(self._touched, ref, at))

    def diff(self, ref: Ref, from_: str, to: str, *, at: str | None = None) -> Diff:
        """
        Tell in what two versions of *ref* differ, and of what stands in either no more than a form shows.

        Args:
            ref: which entry; a deleted one has its versions still.
            from_: one version.
            to: the other.
            at: name of the backend to ask instead of the first that knows versions of it.

        Raises:
            NotFoundError: it was never held, or there is no such version.
            ReadOnlyError: no backend here keeps versions.
        """

        def work() -> Diff:
            link, _ = self._versioned(ref, at)
            read = partial(self._chain.ask, link)
            old = read(lambda: _as_versioned(link).read_version(ref, from_))
            new = read(lambda: _as_versioned(link).read_version(ref, to))
            return compare(old, new, self._dialect, key=self._marks)

        return self._guard.act(self._actor, Action.DESCRIBE, ref, work, plan=partial(self._touched, ref, at))

    # --- writing -----------------------------------------------------------------------------------

    def write(
        self, change: Change, *, to: str | None = None, force: bool = False, comment: str = ""
    ) -> Written:
        """
        Write one entry: where it is now if that backend writes, else to `write_to`.

        Args:
            change: what to write.
            to: name of the backend to write to instead.
            force: write though a higher backend shadows it.
            comment: why; kept in the history and in the record.

        Raises:
            InvalidInputError: a connection that does not parse, a value over its limit, or a
                reference the writer may not read.
            ConflictError: another version stands.
            ReadOnlyError: nothing that could be written (the hint names `strongroom init` where
                there is no store), or a higher backend shadows the place.
        """
        return self.write_many([change], to=to, force=force, comment=comment)[0]

    def write_many(
        self, changes: Sequence[Change], *, to: str | None = None, force: bool = False, comment: str = ""
    ) -> list[Written]:
        """
        Write many entries, all or none of those that go to one backend; answers in their order.

        Raises:
            As `write`; where the first backend refuses, nothing was written.
        """
        refs = [change.ref for change in changes]
        for change in changes:
            _check_text(change)
        needs_facts = self._guard.needs_facts
        planned: list[tuple[Backend, Draft]] = []

        # Everything that can be refused is, before a change is recorded as begun.
        def plan() -> list[tuple[Ref, Facts | None]]:
            touched: list[tuple[Ref, Facts | None]] = []
            for change in changes:
                place, draft, stood = self._plan(change, comment, to=to, force=force)
                planned.append((place, draft))
                touched.append((change.ref, facts_of(draft.metadata)))
                if stood is not None:
                    touched.append((change.ref, facts_of(stood)))
            return touched

        return list(
            self._guard.act_many(
                self._actor,
                Action.WRITE,
                refs,
                lambda: self._write(planned),
                reason=comment,
                plan=plan,
                otherwise=[self._facts_to_be(change) for change in changes] if needs_facts else (),
            )
        )

    def _facts_to_be(self, change: Change) -> Facts:
        """Give what would be public about an entry that is not there yet, as far as it can be told now."""
        facts = facts_of(change.metadata or laid_over(_PLAIN, change.over))
        if change.ref.kind != "connection" or change.secret is None:
            return facts
        try:
            conn_type = Connection.parse(change.secret.reveal(), self._dialect).conn_type
        except InvalidInputError:
            return facts  # told once writing is allowed at all
        return facts._replace(conn_type=conn_type)

    def refusals(
        self, refs: Sequence[Ref], *, to: str | None = None, force: bool = False
    ) -> list[StrongroomError | None]:
        """
        Tell of each of *refs* why no place would take a write of it, or None; nothing is written.

        Where there is no store yet nothing is refused: it is made before the first write.

        Raises:
            AccessDeniedError, NotRecordedError: as `write`, for all of them.
        """

        def refusal(ref: Ref) -> StrongroomError | None:
            try:
                self._chain.place_to_write(ref, to=to, force=force)
            except StrongroomError as error:
                return None if self._lacks_store(error, to) else error
            return None

        work = lambda: [refusal(ref) for ref in refs]  # noqa: E731 -- one line, called once
        return list(self._guard.act_many(self._actor, Action.DESCRIBE, refs, work))

    def _plan(
        self, change: Change, comment: str, *, to: str | None, force: bool
    ) -> tuple[Backend, Draft, Metadata | None]:
        """Give where *change* goes, how, and what is public about what stands there, where that counts."""
        place = self._place(change.ref, to=to, force=force)
        if getattr(place, "hands_on", False) and change.secret is not None:  # a stranger's need not say
            return place, self._handed_on(change, change.secret, comment), None
        metadata, expected = change.metadata, self._expected(place, change)
        stood: Metadata | None = None
        if metadata is None or self._guard.needs_facts:
            stood, read = self._standing(place, change.ref)
            # What stood may have changed meanwhile: then it is a conflict, never a mixed row, nor one
            # that was decided on what stood before.
            expected = read if expected is None and _compares(place) else expected
        if metadata is None:
            metadata = laid_over((stood or _PLAIN).renewed(self._clock()), change.over)
        secret = change.secret
        if secret is None:
            kept = self._kept(place, change.ref)
            secret = kept.secret
            expected = kept.version if expected is None and _compares(place) else expected
        draft = Draft(
            ref=change.ref,
            secret=secret,
            metadata=metadata,
            expected_version=expected,
            author=self._actor.id,
            comment=comment,
        )
        return place, self._checked(draft, place), stood

    def _handed_on(self, change: Change, secret: Secret[str], comment: str) -> Draft:
        """Give what the other end of a backend lays over what stands there, and decides about."""
        if change.ref.kind == "connection":
            Connection.parse(secret.reveal(), self._dialect)
        run = self._actor.run
        return Draft(
            ref=change.ref,
            secret=secret,
            metadata=change.metadata or laid_over(_PLAIN, change.over),
            over=dict(change.over) if change.metadata is None else None,
            expected_version=change.seen if change.expected_version is None else change.expected_version,
            author=self._actor.id,
            comment=comment,
            run=None if run is None else run._asdict(),
        )

    def _expected(self, place: Backend, change: Change) -> str | None:
        """Give the version that *place* is to compare; what was seen is compared here where it cannot."""
        seen = change.seen
        if change.expected_version is not None or seen is None:
            return change.expected_version
        if _compares(place) or (seen == MUST_BE_ABSENT and getattr(place, "can_create_only", False)):
            return seen
        entry = self._chain.ask(self._link(place.name), lambda: place.read(change.ref))
        stands = MUST_BE_ABSENT if entry is None else entry.version
        if stands in (seen, None):
            return None  # without versions nothing can be told apart
        raise ConflictError(
            f"{change.ref} in the backend {place.name} changed meanwhile, or exists",
            current_version=stands or None,
        )

    def _kept(self, place: Backend, ref: Ref) -> Entry:
        """Give the entry whose value is to stay: only where it is written to, so that none is copied."""
        entry = self._chain.ask(self._link(place.name), lambda: place.read(ref))
        if entry is None:
            raise NotFoundError(f"{ref} is not in the backend {place.name}, so that it has no value to keep")
        return entry

    def _checked(self, draft: Draft, place: Backend) -> Draft:
        """Refuse a value that could not be read back; note the type of a connection beside it."""
        text = draft.secret.reveal()
        if draft.metadata.references or self._link(place.name).references:
            text = self._resolved(draft, place)
        if draft.ref.kind != "connection":
            return draft
        conn_type = Connection.parse(text, self._dialect).conn_type
        return replace(draft, metadata=replace(draft.metadata, conn_type=conn_type))

    def _resolved(self, draft: Draft, place: Backend) -> str:
        """Resolve references as a reader would: the writer must be allowed to read what he refers to."""
        entry = Entry(
            ref=draft.ref,
            secret=draft.secret,
            backend=place.name,
            read_at=self._clock(),
            metadata=replace(draft.metadata, references=True),
        )
        try:
            return self._lookup.resolved(entry).secret.reveal()
        except MalformedEntryError as error:
            why = str(error).removeprefix(f"{draft.ref} in the backend {place.name}: ")
            raise InvalidInputError(f"{draft.ref} cannot be written: {why}", hint=error.hint) from None

    def _place(self, ref: Ref, *, to: str | None, force: bool) -> Backend:
        try:
            return self._chain.place_to_write(ref, to=to, force=force)
        except ReadOnlyError as error:
            if not self._lacks_store(error, to):
                raise
            raise ReadOnlyError(
                f"there is no place to write {ref} to: this machine has no store yet", hint="strongroom init"
            ) from None

    def _lacks_store(self, error: StrongroomError, to: str | None) -> bool:
        is_placeless = isinstance(error, ReadOnlyError) and not error.hint
        return is_placeless and not self._has_store and to is None

    def _standing(self, place: Backend, ref: Ref) -> tuple[Metadata | None, str | None]:
        """Give the metadata that stands at *place*, and the version to expect there (None: any)."""
        try:
            entry = self._chain.ask(self._link(place.name), lambda: place.read(ref))
        except MalformedEntryError:
            return None, None  # the write mends it
        if entry is not None:
            return entry.metadata, entry.version
        return None, MUST_BE_ABSENT if isinstance(place, Versioned) else None

    def _touched(self, ref: Ref, at: str | None) -> list[Facts | None]:
        """Give what is public about *ref* in each backend that holds or held it, where that counts."""
        if not self._guard.needs_facts:
            return []
        links = [self._link(at)] if at else [link for link in self._chain.links if link.why_not(ref) is None]
        found = (metadata_at(self._chain, link, ref) for link in links)
        return [facts_of(metadata) for metadata in found if metadata is not None]

    def _write(self, planned: Sequence[tuple[Backend, Draft]]) -> list[Written]:
        """Write one batch to each backend; the answers come in the order of the plan."""
        batches: dict[str, list[int]] = {}
        for index, (place, _) in enumerate(planned):
            batches.setdefault(place.name, []).append(index)
        written: dict[int, Written] = {}
        for name, indices in batches.items():
            drafts = [planned[index][1] for index in indices]
            refs = [draft.ref for draft in drafts]
            versions = self._at(planned[indices[0]][0], refs, partial(_write_all, drafts=drafts))
            for index, version in zip(indices, versions, strict=True):
                written[index] = Written(name, version)
        return [written[index] for index in range(len(planned))]

    def _at(self, place: Backend, refs: Sequence[Ref], change: Callable[[Writable], T]) -> T:
        """Change *refs* in *place*, on its own threads, and forget what was cached of them."""
        link = self._link(place.name)
        link.check_writable()
        writing = self._cache.writing(cast("Writable", place))
        try:
            return self._chain.ask(link, lambda: change(writing))
        finally:
            # One that failed may have happened.
            self._on_change(place, refs)

    # --- deleting and bringing back ------------------------------------------------------------------

    def delete(self, ref: Ref, *, expected_version: str | None = None, at: str | None = None) -> Written:
        """
        Delete exactly *ref* (a team's, or the global one) where it is now, softly where versions are kept.

        Args:
            ref: which entry.
            expected_version: delete only this version.
            at: name of the backend to delete it from instead.

        Raises:
            NotFoundError: it is nowhere, or only the global one is there.
            ConflictError: another version stands.
            ReadOnlyError: the backend that has it cannot be written.
        """

        def work() -> Written:
            place = self._link(at).backend if at else self._holder(ref)
            author = self._actor.id
            if not self._at(
                place,
                [ref],
                lambda writable: writable.delete(ref, expected_version=expected_version, author=author),
            ):
                raise NotFoundError(f"{ref} is not in the backend {place.name}")
            return Written(place.name, None)

        return self._guard.act(self._actor, Action.DELETE, ref, work, plan=partial(self._touched, ref, at))

    def undelete(self, ref: Ref, *, at: str | None = None) -> Written:
        """
        Bring a softly deleted entry back.

        Raises:
            NotFoundError: nothing was ever held under this name.
            ConflictError: it is not deleted.
            ReadOnlyError: no backend here keeps versions.
            AccessDeniedError, InvalidInputError: as `rollback`.
        """

        def work() -> Written:
            link, version_before = self._deleted_at(ref, at)
            link.check_writable()
            self._check_brought_back(link, ref, version_before)
            try:
                version = self._chain.ask(
                    link, lambda: _as_versioned(link).undelete(ref, author=self._actor.id)
                )
            finally:
                self._cache.drop(ref)
                self._on_change(link.backend, [ref])
            return Written(link.name, version)

        plan = partial(self._touched, ref, at)
        return self._guard.act(self._actor, Action.WRITE, ref, work, reason="undelete", plan=plan)

    def _deleted_at(self, ref: Ref, at: str | None) -> tuple[Link, str]:
        """Give where *ref* is to be brought back, and its newest version ("" where none is told of)."""
        told: StrongroomError | None = None
        try:
            link, history = self._versioned(ref, at)
        except NotFoundError as error:
            told = error
        else:
            return link, history[0].version
        # Some stores (Azure Key Vault) tell no versions of what is deleted, and can bring it back.
        hiding = [one for one in self._keeping(at) if getattr(one.backend, "hides_deleted", False)]
        for link in hiding:
            if link.is_writable and link.why_not(ref) is None:
                return link, ""
        raise told

    def _check_brought_back(self, link: Link, ref: Ref, version: str) -> None:
        """Refuse who may not read what *version* refers to: bringing it back is writing it again."""
        try:
            old = self._chain.ask(link, lambda: _as_versioned(link).read_version(ref, version))
        except NotFoundError:
            # Some stores (Vault) give nothing of what was deleted. They keep no mark of references with it.
            if link.references:
                raise
            return
        if old.metadata.references or link.references:
            draft = Draft(ref=ref, secret=old.secret, metadata=old.metadata, author=self._actor.id)
            self._resolved(draft, link.backend)

    def rollback(
        self,
        ref: Ref,
        version: str,
        *,
        at: str | None = None,
        seen: str | None = None,
        comment: str = "",
    ) -> Written:
        """
        Write the value of an older *version* again, as a new version. A deleted or expired entry
        comes back; an `expires_at` that is past is dropped.

        Args:
            ref: which entry.
            version: whose value to write again.
            at: name of the backend to ask instead of the first that knows versions of it.
            seen: the version that stood when this was decided, `MUST_BE_ABSENT` for none; None where it does
                not matter what stands.
            comment: why; kept in the history and in the record.

        Raises:
            NotFoundError: there is no such version.
            ConflictError: it was changed meanwhile, or since it was *seen*.
            ReadOnlyError: no backend here keeps versions.
            AccessDeniedError, InvalidInputError: it refers to what the actor may not read, or to nothing.
        """

        def work() -> Written:
            link, history = self._versioned(ref, at)
            old = self._chain.ask(link, lambda: _as_versioned(link).read_version(ref, version))
            current = next((info.version for info in history if info.is_current), MUST_BE_ABSENT)
            if seen not in (None, current):
                raise ConflictError(f"{ref} changed meanwhile", current_version=current or None)
            draft = Draft(
                ref=ref,
                secret=old.secret,
                metadata=self._unexpired(old.metadata),
                expected_version=current if _compares(link.backend) else None,
                author=self._actor.id,
                comment=comment or f"rollback to version {version}",
            )
            if draft.metadata.references or link.references:
                self._resolved(draft, link.backend)  # who writes it again must be allowed to, too
            return Written(link.name, self._at(link.backend, [ref], lambda place: place.write(draft)))

        def plan() -> list[Facts | None]:
            touched = self._touched(ref, at)
            if touched:
                link, _ = self._versioned(ref, at)
                old = self._chain.ask(link, lambda: _as_versioned(link).read_version(ref, version))
                touched.append(facts_of(old.metadata))  # the type of a connection may have been another
            return touched

        reason = comment or "rollback"
        return self._guard.act(self._actor, Action.WRITE, ref, work, reason=reason, plan=plan)

    def _unexpired(self, metadata: Metadata) -> Metadata:
        is_past = metadata.expires_at is not None and metadata.expires_at <= self._clock()
        return replace(metadata, expires_at=None) if is_past else metadata

    # --- finding the backend -------------------------------------------------------------------------

    def _read(self, ref: Ref, action: Action) -> Entry:
        entry = self._chain.read(ref)
        if entry is None or not self._is_for_us(ref, entry, action):
            raise self._lookup.absent(ref)
        return entry

    def _is_for_us(self, ref: Ref, entry: Entry, action: Action) -> bool:
        """Tell whether a global name that answers a team's *ref* is for this actor (`reading.py`, rule 6)."""
        return entry.ref.team == ref.team or self._guard.can(self._actor, action, entry.ref).is_allowed

    def _link(self, name: str) -> Link:
        for link in self._chain.links:
            if link.name == name:
                return link
        known = ", ".join(link.name for link in self._chain.links)
        raise InvalidInputError("the chain has no backend of that name", hint=f"its backends: {known}")

    def _holder(self, ref: Ref) -> Backend:
        """Give the first backend that holds exactly *ref*, readable or not."""
        for link in self._chain.links:
            if link.why_not(ref) is None and self._holds(link, ref):
                return link.backend
        raise self._lookup.absent(ref)

    def _holds(self, link: Link, ref: Ref) -> bool:
        try:
            return self._chain.ask(link, lambda: link.backend.read(ref)) is not None
        except (MalformedEntryError, TamperedError):
            return True

    def _versioned(self, ref: Ref, at: str | None) -> tuple[Link, list[VersionInfo]]:
        """Give the first backend that knows versions of *ref*, and those."""
        keeping = self._keeping(at)
        for link in keeping:
            history = self._chain.ask(link, partial(_as_versioned(link).history, ref))
            if history:
                return link, history
        raise NotFoundError(
            f"{ref} has no versions here: nothing is held under this name, nor kept of what was"
        )

    def _keeping(self, at: str | None) -> list[Link]:
        """Give the backends that keep versions."""
        links = [self._link(at)] if at else list(self._chain.links)
        keeping = [link for link in links if isinstance(link.backend, Versioned)]
        if not keeping:
            raise ReadOnlyError(
                "no backend of the chain keeps versions"
                if at is None
                else f"the backend {at} keeps no versions",
                hint=None if self._has_store else "strongroom init",
            )
        return keeping

    def list(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Row]:
        """Give up to *limit* rows of one kind ordered by name, names greater than *after* only."""
        start = Ref(kind, after, team) if after else None
        return self._inventory.page(kind, team=team, prefix=prefix, after=start, limit=limit)


def _own_part(entry: Entry) -> tuple[Entry, dict[str, object]]:
    """Give *entry* with what a `Connection` can hold of it, and the rest, where it refers to others."""
    if not entry.metadata.references:
        return entry, {}
    try:
        text, rest = overlay.split(entry.secret.reveal())
    except InvalidInputError:
        return entry, {}  # parsing it will tell what is wrong
    return replace(entry, secret=Secret(text)), rest


def laid_over(metadata: Metadata, over: Mapping[str, object]) -> Metadata:
    """Give *metadata* with the members in *over*."""
    return replace(metadata, **over) if over else metadata  # type: ignore[arg-type]  # by their names


def _check_text(change: Change) -> None:
    """Refuse what no backend should hold."""
    if change.secret is None:
        return
    text: object = change.secret.reveal()
    if not isinstance(text, str):
        raise InvalidInputError(f"the value for {change.ref} is not text", hint="write JSON as text")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidInputError(f"the value for {change.ref} is not Unicode text") from None
    if size > MAX_VALUE_BYTES:
        raise InvalidInputError(
            f"the value for {change.ref} has more than {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES
        )


def _compares(place: Backend) -> bool:
    """Tell whether *place* can write against a version; a stranger's need not say."""
    return bool(getattr(place, "has_compare_and_set", True))


def _write_all(place: Writable, drafts: Sequence[Draft]) -> list[str | None]:
    return place.write_many(drafts)


def _as_versioned(link: Link) -> Versioned:
    if not isinstance(link.backend, Versioned):
        raise ReadOnlyError(f"the backend {link.name} keeps no versions")
    return link.backend
