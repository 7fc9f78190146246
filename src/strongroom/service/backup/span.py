"""
What a restore loses: the changes on record that are not in the backup.

The record of what happened stands outside the store, and is not restored. A backup says how far it had come,
so what follows tells exactly what was changed since: which entries, by whom, from when to when.

Rules of this file:

1. The record is proven first: its chain, its checkpoints, what witnesses hold, and the checkpoint in the
   backup. What is not proven is told as that.
2. A change that the backup holds already is not lost: it was made after the place was noted, and before the
   rows were read.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strongroom.audit import note
from strongroom.audit.follow import durable, lines_of, position_of
from strongroom.audit.record import read_line
from strongroom.audit.verify import Evidence
from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.service.backup.manifest import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from strongroom.audit import Record
    from strongroom.audit.note import Verifier
    from strongroom.audit.record import Verdict
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backup.manifest import Manifest

__all__ = ["RESTORE", "SHOWN", "Lost", "Span", "evidence_in", "span_of"]

RESTORE = "restore: the backup "
"""How the reason of a restore's record begins; the first digits of the backup's id follow."""
SHOWN = 8  # of these digits


_CHANGES = frozenset({"write", "delete", "rotate", "administer", "password", "enrol"})
_CHANGING_NOTHING = ("backup:", "audit:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """
    One change that is not in the backup.

    Args:
        at: as `Record.at`.
        ref: which entry; None of what concerns the whole deployment.
        version: that stood then, where the record tells it.
        reason: of what concerns the whole deployment.
    """

    at: str
    actor: str
    action: str
    ref: Ref | None
    version: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """
    What one deployment loses.

    Args:
        since: when the rows of the backup were read.
        until: when the last change was made that is not in it; "" where there is none.
        records: on record since, of any kind.
        changes: those that are lost, oldest first.
        trouble: why it cannot be told exactly, or "".
    """

    deployment: str
    since: str
    until: str = ""
    records: int = 0
    changes: tuple[Lost, ...] = ()
    trouble: str = ""

    @property
    def entries(self) -> tuple[Ref, ...]:
        """Which entries were changed since, each once, by the time of their first change."""
        return tuple(dict.fromkeys(lost.ref for lost in self.changes if lost.ref is not None))

    @property
    def is_lossless(self) -> bool:
        """Whether nothing is lost, and that is proven."""
        return not self.changes and not self.trouble


def evidence_in(manifest: Manifest, deployment: str, keys: Sequence[Verifier]) -> list[Evidence]:
    """Give the checkpoint of a deployment's record that the backup holds, as evidence."""
    place = manifest.record_of(deployment)
    if place is None or not place.checkpoint:
        return []
    try:
        (signed,) = note.parse_notes(place.checkpoint)
        checkpoint = note.parse_checkpoint(signed)
    except ValueError:
        return [Evidence(name="the backup", checkpoints=(), fault="its checkpoint is damaged")]
    if not any(key.has_signed(signed) for key in keys):
        # It stands in the signed manifest; of a log with another key it proves nothing here.
        return []
    return [Evidence(name="the backup", checkpoints=(checkpoint,))]


def span_of(
    trail: AuditTrail | None,
    deployment: str,
    manifest: Manifest,
    *,
    holds: Callable[[Ref, Record], bool],
    evidence: Callable[[Sequence[Verifier]], Sequence[Evidence]],
) -> Span:
    """
    Tell what of *deployment* is lost by going back to a backup.

    Args:
        trail: its record, where it is known here.
        deployment: whose rows.
        manifest: of the backup.
        holds: tells whether the backup has what a record says was done to an entry.
        evidence: gives what the backup holds of the record.

    Raises:
        AccessDeniedError: policy says no.
        BackendUnavailableError: the record cannot be read now.
    """
    span = Span(deployment=deployment, since=manifest.at)
    place = manifest.record_of(deployment)
    if place is None and deployment not in manifest.deployments:
        place = Place(deployment=deployment, size=0)  # it came later, so all of it is lost
    if place is None:
        return replace(span, trouble="the backup does not say how far its record had come")
    try:
        end = 0 if trail is None else durable(trail.folder)
    except (OSError, ValueError):
        return replace(span, trouble="its record cannot be read here")
    if trail is None or not end:
        return replace(span, trouble="its record is not here, so nobody can tell what was changed since")
    gathering = _Gathering(deployment, manifest.id, holds)
    try:
        for record in _records(trail.folder, place.size, end):
            gathering.take(record)
    except (OSError, LookupError):
        return replace(span, trouble="its record cannot be read to the end")
    changes = gathering.changes()
    return replace(
        span,
        until=changes[-1].at if changes else "",
        records=max(0, end - place.size),
        changes=tuple(changes),
        trouble=_unproven(trail.verify(also=evidence), place, end),
    )


def _unproven(verdict: Verdict, place: Place, end: int) -> str:
    if end < place.size:
        return (
            f"its record has {end} entries here, and had {place.size} when the backup was made: "
            "it was set back"
        )
    if not verdict.is_ok:
        return f"its record is not whole: {verdict.reason} (number {verdict.index})"
    if verdict.first > place.size:
        return "what was on record since the backup was archived or removed"
    return ""


def _records(folder: Path, start: int, end: int) -> Iterator[Record]:
    for _, line in lines_of(folder, position_of(folder, start), end):
        record = read_line(line)
        if record is not None and record.seq >= start:
            yield record


class _Gathering:
    """
    The changes among records.

    A change is on record twice, before and after it. One without an ending may have been made: it counts.
    """

    def __init__(self, deployment: str, backup: str, holds: Callable[[Ref, Record], bool]) -> None:
        self._deployment = deployment
        self._restored = f"{RESTORE}{backup[:SHOWN]} "
        self._holds = holds
        self._ended: list[Lost] = []
        self._begun: dict[tuple[str, str, Ref | None], Lost] = {}

    def take(self, record: Record) -> None:
        """Look at one record."""
        if record.deployment != self._deployment or record.action not in _CHANGES or _is_an_agents(record):
            return
        if record.reason.startswith(_CHANGING_NOTHING):
            return
        ref = _ref_of(record)
        lost = Lost(
            at=record.at,
            actor=record.actor,
            action=record.action,
            ref=ref,
            version=record.version,
            reason=record.reason,
        )
        if record.outcome == "begun":
            self._begun[lost.actor, lost.action, ref] = lost
            return
        self._begun.pop((lost.actor, lost.action, ref), None)
        self._begun.pop((lost.actor, lost.action, None), None)  # a batch begins as one
        if record.outcome != "done":
            return
        if record.reason.startswith(self._restored):
            # This very backup was brought back: what had been changed until then was lost there.
            self._ended.clear()
            self._begun.clear()
        elif ref is None or not self._holds(ref, record):
            self._ended.append(lost)

    def changes(self) -> list[Lost]:
        """Give what was found, oldest first."""
        return sorted([*self._ended, *self._begun.values()], key=lambda lost: lost.at)


def _is_an_agents(record: Record) -> bool:
    return record.agent is not None and "chain" in record.agent  # its own log tells of uses


def _ref_of(record: Record) -> Ref | None:
    if record.kind is None:
        return None
    with suppress(InvalidInputError, TypeError):
        return Ref(record.kind, record.name, record.team)  # type: ignore[arg-type]  # Ref refuses what is none
    return None
