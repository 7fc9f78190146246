"""Backups as one actor: authorised, done, recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from strongroom.audit.note import Verifier
from strongroom.errors import ConflictError, InvalidInputError, TamperedError
from strongroom.policy import Action
from strongroom.service.access.shape import BREAK_GLASS, CODE, INVITATION, SESSION
from strongroom.service.backup.file import Reader
from strongroom.service.backup.making import make
from strongroom.service.backup.manifest import Manifest, signer_of
from strongroom.service.backup.restoring import check_place, swap_in
from strongroom.service.backup.span import RESTORE, SHOWN, Span, evidence_in, span_of
from strongroom.service.backup.staging import Proven, staged
from strongroom.store import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from strongroom.audit import Record
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backup.making import Made, Sealing, Source
    from strongroom.service.backup.staging import Opening, Staged
    from strongroom.service.guard import Guard
    from strongroom.store.store import Store

__all__ = ["Backups", "Checked", "Drilled", "Restoring"]

_ENDING_WITH_A_RESTORE = (SESSION, CODE, INVITATION, BREAK_GLASS)


def _no_progress(_step: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """
    A backup that was looked at.

    Args:
        signer: whose key signed it.
        spans: what each deployment would lose by going back to it.
        proven: what of each deployment was opened; None where no identity was given.
    """

    manifest: Manifest
    signer: str
    spans: tuple[Span, ...]
    proven: Mapping[str, Proven] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """
    A backup that was tried out.

    Args:
        checked: what was found.
        seconds: from the first byte to the last value opened.
    """

    checked: Checked
    seconds: float


class Restoring:
    """
    A backup that was laid out and proven, and is not brought back yet.

    Attributes:
        checked: what a person wants to know before.
    """

    def __init__(self, backups: Backups, laid_out: Staged, checked: Checked) -> None:
        self.checked = checked
        self._backups = backups
        self._staged = laid_out

    @property
    def changes(self) -> int:
        """How many changes on record are lost."""
        return sum(len(span.changes) for span in self.checked.spans)

    @property
    def is_rollback(self) -> bool:
        """Whether changes are lost, or it cannot be told."""
        return not all(span.is_lossless for span in self.checked.spans)

    def finish(
        self,
        open_target: Callable[[], Store],
        wrappers: Callable[[], Mapping[str, list[Wrapper]]],
        *,
        accepts_rollback: bool,
        progress: Callable[[str, int, int], None] = _no_progress,
    ) -> None:
        """
        Bring it back.

        Args:
            open_target: opens the place it goes to, made where there was nothing.
            wrappers: gives what wraps the keys there, of each deployment that is known here; called once,
                when nothing stands in the way any more.
            accepts_rollback: a person said that changes on record may be lost.
            progress: told the step, rows done, and all.

        Raises:
            ConflictError: changes would be lost and nobody accepted it; or another store is at the place.
            AccessDeniedError: policy says no.
            SealedError, BackendConfigError: an outer key cannot be used; nothing was changed.
            BackendUnavailableError: the place gave no answer; nothing was changed.
        """
        self._backups.finish(
            self,
            self._staged,
            lambda: self._bring_back(open_target, wrappers, accepts_rollback, progress),
            accepts_rollback=accepts_rollback,
        )

    def _bring_back(
        self,
        open_target: Callable[[], Store],
        wrappers: Callable[[], Mapping[str, list[Wrapper]]],
        accepts_rollback: bool,  # noqa: FBT001 -- handed on from `finish`
        progress: Callable[[str, int, int], None],
    ) -> None:
        if self.is_rollback and not accepts_rollback:
            raise ConflictError(
                "going back to this backup loses changes that were acknowledged, or may; nothing was changed",
                hint="look at what is lost, then say --accept-rollback",
            )
        target = open_target()
        try:
            check_place(target, self.checked.manifest.store)
            self._require_known(target, accepts_rollback)
            self._staged.accept(self._backups.anchors, dropping=_ENDING_WITH_A_RESTORE, over=target)
            made = wrappers()
            try:
                self._staged.rewrap(made)
                self._staged.check_wrapped(made)
            finally:
                for wrapper in (each for of_one in made.values() for each in of_one):
                    wrapper.close()
            swap_in(self._staged, target, progress=lambda done, total: progress("writing", done, total))
        finally:
            target.close()

    def _require_known(self, target: Store, accepts_rollback: bool) -> None:  # noqa: FBT001 -- as above
        """Refuse a place with deployments that came after the backup, whether their record is here or not."""
        with target.snapshot() as reading:
            held = table.deployments(reading)
        later = [name for name in held if name not in self.checked.manifest.deployments]
        if later and not accepts_rollback:
            raise ConflictError(
                f"the store holds deployments that are not in the backup: {', '.join(later)}; "
                "nothing was changed",
                hint="--to brings it back to another place; --accept-rollback loses them",
            )


class Backups:
    """
    Make, prove, try out and bring back backups of a store as one actor.

    Args:
        guard: decides and records.
        actor: who does it.
        clock: wall clock, UTC.
        trails: the record of each deployment that is known here.
        anchors: of each, the file that holds the highest revision of who may.
    """

    def __init__(
        self,
        guard: Guard,
        actor: Actor,
        *,
        clock: Callable[[], datetime],
        trails: Mapping[str, AuditTrail],
        anchors: Mapping[str, Path],
    ) -> None:
        self.anchors = anchors
        self._guard = guard
        self._actor = actor
        self._clock = clock
        self._trails = trails

    def create(
        self,
        source: Source,
        path: Path,
        *,
        sealing: Sealing,
        wrapper: Wrapper,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Made:
        """
        Make a backup of *source* at *path*. The arguments are those of `making.make`.

        Raises:
            AccessDeniedError: policy says no.
            ConflictError, SealedError, TamperedError, BackendConfigError, BackendUnavailableError: as there.
        """

        def work() -> Made:
            return make(source, path, sealing=sealing, wrapper=wrapper, clock=self._clock, progress=progress)

        return self._guard.administer(self._actor, work, reason="backup: create")

    def verify(
        self,
        path: Path,
        *,
        keys: Sequence[str] = (),
        opening: Opening | None = None,
        wrapper: Wrapper | None = None,
        beside: Path | None = None,
        progress: Callable[[str, int, int], None] = _no_progress,
    ) -> Checked:
        """
        Prove a backup; with an identity to the last value, in a store of its own that is thrown away.

        Args:
            path: of the file.
            keys: verifier keys to trust, instead of those known here.
            opening: opens its chunks, with *wrapper* its keys.
            wrapper: of the same identity.
            beside: a folder to lay it out in.
            progress: told the step, how much is done, and all.

        Raises:
            AccessDeniedError: policy says no.
            InvalidInputError: it is of a newer release, or nothing tells whose signature it is.
            TamperedError: it is not what was signed, or signed by somebody else.
            SealedError: the identity is none of its recipients'.
        """

        def work() -> Checked:
            reader, signer = self._signed(path, keys)
            if opening is None or wrapper is None or beside is None:
                return Checked(
                    manifest=reader.manifest, signer=signer, spans=self._spans(reader.manifest, None)
                )
            with self._laid_out(reader, signer, opening, wrapper, beside, progress) as (_, checked):
                return checked

        return self._guard.act(self._actor, Action.DESCRIBE, None, work)

    def drill(  # noqa: PLR0913 -- what is opened, by whom, and where
        self,
        path: Path,
        *,
        opening: Opening,
        wrapper: Wrapper,
        wrappers: Callable[[], Mapping[str, list[Wrapper]]],
        beside: Path,
        keys: Sequence[str] = (),
        progress: Callable[[str, int, int], None] = _no_progress,
    ) -> Drilled:
        """
        Bring a backup back into a store of its own, open everything with the keys of this host, compare, and
        throw it away. The arguments are those of `verify`, and of `Restoring.finish`.

        Raises:
            As `verify`; SealedError, BackendConfigError: an outer key cannot be used.
        """

        def work() -> Drilled:
            started = time.monotonic()
            reader, signer = self._signed(path, keys)
            with self._laid_out(reader, signer, opening, wrapper, beside, progress) as (laid_out, checked):
                laid_out.accept(self.anchors, dropping=_ENDING_WITH_A_RESTORE)
                made = wrappers()
                try:
                    laid_out.rewrap(made)
                    laid_out.check_wrapped(made)
                finally:
                    for each in (one for of_one in made.values() for one in of_one):
                        each.close()
            return Drilled(checked=checked, seconds=time.monotonic() - started)

        return self._guard.act(self._actor, Action.ADMINISTER, None, work, reason="backup: drill")

    @contextmanager
    def restoring(
        self,
        path: Path,
        *,
        opening: Opening,
        wrapper: Wrapper,
        beside: Path,
        keys: Sequence[str] = (),
        progress: Callable[[str, int, int], None] = _no_progress,
    ) -> Iterator[Restoring]:
        """
        Lay a backup out and prove it for as long as the block runs, so that it can be brought back.

        Raises:
            As `verify`.
        """
        reader, signer = self._guard.act(self._actor, Action.DESCRIBE, None, lambda: self._signed(path, keys))
        with self._laid_out(reader, signer, opening, wrapper, beside, progress) as (laid_out, checked):
            yield Restoring(self, laid_out, checked)

    def finish(
        self,
        restoring: Restoring,
        laid_out: Staged,
        work: Callable[[], None],
        *,
        accepts_rollback: bool,
    ) -> None:
        """Do *work* as this actor, and record which backup it was, what is lost and who accepted that."""
        manifest = laid_out.manifest
        why = f"{RESTORE}{manifest.id[:SHOWN]} of {manifest.at}"
        if restoring.is_rollback:
            until = max(span.until for span in restoring.checked.spans)
            why += f"; {restoring.changes} changes since are lost, the last of {until or 'an unknown time'}"
            why += "; rollback accepted" if accepts_rollback else "; rollback not accepted"
        self._guard.act(self._actor, Action.ADMINISTER, None, work, reason=why)

    # --- steps ---------------------------------------------------------------------------------------

    def _signed(self, path: Path, keys: Sequence[str]) -> tuple[Reader, str]:
        """Read a backup whose signature is by a key that is known."""
        reader = Reader(path)
        trusted = [_key(text) for text in keys]
        for trail in () if keys else self._trails.values():
            trusted += trail.known_keys()
        signers = [name for name, _, _ in reader.note.signatures]
        if not trusted:
            raise InvalidInputError(
                f"nothing here tells whether the backup is yours; it says it was signed by {signers[0]}",
                hint="say --key NAME+ID+KEY, which `backup create` printed and a witness keeps",
            )
        signer = signer_of(reader.note, trusted)
        if signer is None:
            raise TamperedError(
                f"the backup is not signed by a key that is known here, but in the name of {signers[0]}; "
                "nothing was changed",
                hint="if it is yours: --key NAME+ID+KEY, which `backup create` printed and a witness keeps",
            )
        return reader, signer

    @contextmanager
    def _laid_out(
        self,
        reader: Reader,
        signer: str,
        opening: Opening,
        wrapper: Wrapper,
        beside: Path,
        progress: Callable[[str, int, int], None],
    ) -> Iterator[tuple[Staged, Checked]]:
        with staged(
            reader,
            opening,
            wrapper,
            beside=beside,
            clock=self._clock,
            progress=lambda done, total: progress("laying out", done, total),
        ) as laid_out:
            proven = laid_out.prove(lambda done, total: progress("opening", done, total))
            spans = self._spans(reader.manifest, laid_out)
            yield (
                laid_out,
                Checked(manifest=reader.manifest, signer=signer, spans=spans, proven=proven),
            )

    def _spans(self, manifest: Manifest, laid_out: Staged | None) -> tuple[Span, ...]:
        """
        Tell what of each deployment is on record and not in the backup; of one that is not in it at all,
        where anything was changed.
        """
        later = [name for name in sorted(self._trails) if name not in manifest.deployments]
        spans = (
            span_of(
                self._trails.get(name),
                name,
                manifest,
                holds=_holding(laid_out, name),
                evidence=partial(evidence_in, manifest, name),
            )
            for name in (*manifest.deployments, *later)
        )
        return tuple(span for span in spans if span.changes or span.deployment not in later)


def _holding(laid_out: Staged | None, deployment: str) -> Callable[[Ref, Record], bool]:
    """Give what tells whether a backup has what a record says was done; of a closed one nobody knows."""

    def holds(ref: Ref, record: Record) -> bool:
        if laid_out is None:
            return False
        row = laid_out.store.current(deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            return False
        if record.action == Action.DELETE.value:
            return bool(row.is_deleted)
        version = record.version or ""
        return not row.is_deleted and version.isdecimal() and row.current_version >= int(version)

    return holds


def _key(text: str) -> Verifier:
    try:
        return Verifier.parse(text)
    except ValueError:
        raise InvalidInputError("this is no verifier key", hint="NAME+ID+KEY") from None
