"""From what the services give to the shapes of the wire: nothing secret passes here but in `revealed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.service.entries import shown
from strongroom.wire.entry import (
    Difference,
    EntryView,
    EntryWritten,
    FieldDifference,
    Revealed,
    Version,
)
from strongroom.wire.listed import facts_of, row_of

if TYPE_CHECKING:
    from strongroom.model.entry import Entry, VersionInfo
    from strongroom.model.ref import Ref
    from strongroom.service.difference import Diff
    from strongroom.service.entries import Described, Written

__all__ = [
    "difference_of",
    "facts_of",
    "revealed",
    "row_of",
    "version_of",
    "view_of",
    "written_of",
]


def view_of(found: Described) -> EntryView:
    """Give what may be seen of one entry."""
    facts = facts_of(found.metadata)
    connection = None
    if found.connection is not None:
        connection = shown(found.connection)
        facts["conn_type"] = found.connection.conn_type
    return EntryView(
        kind=found.ref.kind,
        name=found.ref.name,
        team=found.ref.team,
        backend=found.backend,
        version=found.version,
        read_at=found.read_at,
        changed_at=found.changed_at,
        shadowed=list(found.shadowed),
        size=found.size,
        connection=connection,
        overlay=dict(found.overlay),
        problem=found.problem,
        **facts,
    )


def written_of(ref: Ref, written: Written, *, kept: list[str] | None = None) -> EntryWritten:
    """Give where a change of *ref* went."""
    return EntryWritten(
        kind=ref.kind,
        name=ref.name,
        team=ref.team,
        backend=written.backend,
        version=written.version,
        kept=kept or [],
    )


def version_of(info: VersionInfo) -> Version:
    """Give one version of a history."""
    return Version(
        version=info.version,
        created_at=info.created_at,
        author=info.author,
        comment=info.comment,
        is_current=info.is_current,
        same_as=info.same_as,
    )


def difference_of(found: Diff) -> Difference:
    """Give what differs between two versions."""
    return Difference(
        kind=found.ref.kind,
        name=found.ref.name,
        team=found.ref.team,
        from_=found.from_version,
        to=found.to_version,
        is_same=found.is_same,
        fields=[FieldDifference(field=one.field, change=one.change) for one in found.fields],
    )


def revealed(entry: Entry) -> Revealed:
    """Give an entry with its secret: the one shape of the API that holds one for a person."""
    text = entry.secret.reveal()
    return Revealed(
        kind=entry.ref.kind,
        name=entry.ref.name,
        team=entry.ref.team,
        backend=entry.backend,
        version=entry.version,
        value=text,
        connection=_fields(text) if entry.ref.kind == "connection" else None,
    )


def _fields(text: str) -> dict[str, Any] | None:
    try:
        return Connection.parse(text).to_dict(reveal=True)
    except InvalidInputError:
        return None  # the text alone, as it is stored
