"""
Lists without values: from the services' rows to the wire's, and how an agent is asked for its own.

The list of an agent travels in a frame (docs/protocol.md); its rows are those of `GET /v1/inventory`.
"""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, field

from strongroom.wire.entry import Clashes, ClashRow, Counted, EntryPage, EntryRow
from strongroom.wire.failure import problem_of
from strongroom.wire.shape import Asked, Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.errors import StrongroomError
    from strongroom.model.entry import Metadata
    from strongroom.service.inventory import Clash, Counts, Row

__all__ = [
    "MAX_LISTED",
    "HostFilter",
    "HostPage",
    "HostQuery",
    "HostRow",
    "Troubles",
    "clashes_of",
    "counted",
    "facts_of",
    "members_of",
    "row_of",
]

MAX_LISTED = 500
"""Names in one answer, so that long descriptions stay inside the bound of a frame."""


def facts_of(metadata: Metadata) -> dict[str, Any]:
    """Give what is public beside a value."""
    return {
        "description": metadata.description,
        "tags": list(metadata.tags),
        "owner": metadata.owner,
        "conn_type": metadata.conn_type,
        "remind_at": metadata.remind_at,
        "not_after": metadata.not_after,
        "expires_at": metadata.expires_at,
        "references": metadata.references,
    }


def members_of(row: Row) -> dict[str, Any]:
    """Give the members of one line of a list that stands."""
    return {
        "kind": row.ref.kind,
        "name": row.ref.name,
        "team": row.ref.team,
        "backend": row.backend,
        "shadowed": list(row.shadowed),
        "shadowed_by": row.shadowed_by,
        "version": row.version,
        "changed_at": row.changed_at,
        "state": row.state.value,
        "problem": row.problem,
        **facts_of(row.metadata),
    }


def row_of(row: Row, *, is_deleted: bool = False) -> EntryRow:
    """Give one line of a list."""
    return EntryRow(is_deleted=is_deleted, **members_of(row))


def counted(found: Counts, troubles: list[Trouble]) -> Counted:
    """Give an inventory in numbers."""
    return Counted(
        connections=found.connections,
        variables=found.variables,
        places=found.places,
        shadowed=found.shadowed,
        unreadable=found.unreadable,
        clashes=found.clashes,
        troubles=troubles,
    )


def clashes_of(found: Iterable[Clash]) -> Clashes:
    """Give the names that cannot be kept apart."""
    return Clashes(clashes=[_clash(one) for one in found])


def _clash(clash: Clash) -> ClashRow:
    first = clash.refs[0]
    return ClashRow(
        backend=clash.backend,
        kind=first.kind,
        team=first.team,
        names=[ref.name for ref in clash.refs],
        spelling=clash.spelling,
        problem=clash.problem,
    )


class Troubles:
    """Gathers the backends that are missing from an answer; call it with each."""

    def __init__(self) -> None:
        self.found: list[Trouble] = []

    def __call__(self, backend: str, error: StrongroomError) -> None:
        """Note that *backend* gave no answer; once is enough."""
        if all(one.backend != backend for one in self.found):
            self.found.append(Trouble(backend=backend, error=problem_of(error)))


# --- an agent's ----------------------------------------------------------------------------------------


class HostFilter(Asked, kw_only=True):
    """
    Which lines of an agent's inventory: as of `InventoryQuery`.

    Args:
        kind: only of this kind.
        team: exactly this team's entries; unsaid, the global ones.
        prefix: only names that begin so.
        state: only entries in one of these states.
        backend: only what these backends hold.
        only_problems: only entries with which something is known to be wrong.
        with_shadowed: hidden entries too, each a line after the one that hides it.
    """

    kind: Kind | None = None
    team: str | None = None
    prefix: str = ""
    state: list[str] = []
    backend: list[str] = []
    only_problems: bool = False
    with_shadowed: bool = False


class HostQuery(Asked, kw_only=True):
    """
    What is asked of an agent's inventory.

    Args:
        what: a page of its rows; all of it in numbers; or the names that cannot be kept apart.
        after: only what comes after this one: `connection:orders_db`, as a page's `cursor` says.
        limit: names at most.
    """

    what: Literal["rows", "counts", "clashes"] = "rows"
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = MAX_LISTED
    filter: HostFilter = field(default_factory=HostFilter)


class HostRow(EntryRow, kw_only=True):
    """
    One line of an agent's inventory.

    Args:
        read_at: when the name was last read through this agent, to the minute; None: not since it began.
    """

    read_at: datetime | None = None


class HostPage(EntryPage, kw_only=True):
    """
    One page of an agent's inventory.

    Args:
        places: names of its backends, in the order they are asked.
    """

    entries: list[HostRow]  # type: ignore[assignment]  # a row of an agent's tells more
    places: list[str] = []
