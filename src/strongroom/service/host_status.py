"""How a host is, for who administers it: its backends, its cache, who reads most. No values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from strongroom.cache import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.cache import Held
    from strongroom.chain import Link
    from strongroom.service.freshness import Hearing
    from strongroom.service.reading import Reading

__all__ = ["BackendStatus", "HostStatus", "ParseStatus", "backend_status", "parse_status", "top_readers"]

_TOP = 10  # readers that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """
    How one backend of the chain is, as far as that is known without asking it.

    Args:
        circuit: `closed`, `open`, or "" where it has none.
        watched: `live`, `lost`, or "" where it tells of nothing by itself.
        last_notice: when it last gave a sign of life (UTC).
        entries: remembered of it.
    """

    name: str
    kind: str
    circuit: str = ""
    watched: str = ""
    last_notice: datetime | None = None
    entries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseStatus:
    """
    How the snapshot for those who parse DAG files is.

    Args:
        reads: answered at parse time.
        asked: questions that went behind the snapshot.
        entries, absences: held now.
    """

    reads: int
    asked: int
    entries: int
    absences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """
    How a host is; no value and no name of an entry but in `oldest_stale`.

    Args:
        decided_by: `server`, `file` or `owner`.
        decisions: of the server: `state` (`connected`, `parted` or `refused`), how many are remembered, when
            it was heard last, and what is wrong; None where no server decides.
        oldest_stale: seconds since the oldest entry that would only be served in an outage was asked for.
        followed: entries that processes follow.
        top_readers: (who, for which DAG, reads, and at which level that DAG or, without one, he himself is
            known: `L1`), most first.
        parsing: what was read at the top level of DAG files.
        pins: entries that runs are given again (`cache.pin`).
        spool: what the recorder tells of itself.
        reload_trouble: why the settings taken last are not those in use; "" where they are.
    """

    deployment: str
    decided_by: str
    started_at: datetime
    reloaded_at: datetime | None
    reload_trouble: str
    backends: tuple[BackendStatus, ...]
    cache: Statistics
    oldest_stale: float | None
    last_notice: datetime | None
    followed: int
    renewed: int
    top_readers: tuple[tuple[str, str | None, int, str], ...]
    parsing: ParseStatus | None = None
    pins: int = 0
    spool: Mapping[str, object] = field(default_factory=dict)
    decisions: Mapping[str, object] | None = None


@runtime_checkable
class _Circuited(Protocol):
    """A backend that does not ask a place that fails."""

    @property
    def is_circuit_open(self) -> bool: ...


def backend_status(link: Link, kind: str, hearing: Hearing | None, held: Sequence[Held]) -> BackendStatus:
    """
    Tell how a backend is, without asking it.

    Args:
        link: it, in its chain.
        kind: of it.
        hearing: what is heard of it; None where it tells of nothing by itself.
        held: what is remembered, of all backends.
    """
    is_open = link.backend.is_circuit_open if isinstance(link.backend, _Circuited) else None
    return BackendStatus(
        name=link.name,
        kind=kind,
        circuit="" if is_open is None else "open" if is_open else "closed",
        watched="" if hearing is None else "live" if hearing.is_live else "lost",
        last_notice=None if hearing is None else hearing.at,
        entries=sum(one.entry.backend == link.name for one in held),
    )


def parse_status(parsing: Reading) -> ParseStatus:
    """Tell how the snapshot for parsers is."""
    counted = parsing.cache.statistics()
    return ParseStatus(
        reads=sum(reader.tally[0] for reader in parsing.readers()),
        asked=counted.misses,
        entries=counted.entries,
        absences=counted.absences,
    )


def top_readers(reading: Reading) -> tuple[tuple[str, str | None, int, str], ...]:
    """Give who read most: (who, for which DAG, reads, level), most first, at most ten."""
    counts: Counter[tuple[str, str | None, str]] = Counter()
    for reader in reading.readers():
        run = reader.actor.run
        dag = None if run is None else run.dag_id
        proven = reader.actor.assurance if run is None or dag is None else run.assurance
        counts[reader.actor.id, dag, proven.level] += reader.tally[0]
    return tuple((who, dag, reads, level) for (who, dag, level), reads in counts.most_common(_TOP) if reads)
