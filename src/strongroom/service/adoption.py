"""
Bring what other places hold into the store, through one room that reads them and one that has the store.

Not for files and databases as such (`transfer.py`): what is brought in here is what the chain answers.

Rules of this file:

1. What the store holds already stays as it is.
2. Each entry is judged alone: one that cannot be read or does not parse is refused with its reason, and
   the others are written.
3. Reading is recorded as a reveal, writing as a write, a batch at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError
from strongroom.model.variable import Variable
from strongroom.service.lookup import parse_stored
from strongroom.service.transfer import ImportOptions
from strongroom.transfer.plan import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.model.connection import Connection, Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.service.room import Room

__all__ = ["bring_in"]

_PAGE = 1000
_REASON = "up: brought into the store"


def bring_in(found: Room, store: Room, refs: Sequence[Ref], *, dialect: Dialect = "core") -> list[Line]:
    """
    Bring *refs* of one team from *found* into *store*, and tell what happened to each.

    Args:
        found: answers for them.
        store: has nothing but the store, so that nothing else counts as held already.
        refs: connections and variables.
        dialect: how stored connections are read.

    Raises:
        AccessDeniedError, BackendUnavailableError, SealedError: of the store; what was written stays.
    """
    lines: list[Line] = []
    for kind in ("connection", "variable"):
        wanted = [ref for ref in refs if ref.kind == kind]
        for start in range(0, len(wanted), _PAGE):
            lines += _brought(found, store, wanted[start : start + _PAGE], dialect)
    return lines


def _brought(found: Room, store: Room, refs: Sequence[Ref], dialect: Dialect) -> Iterator[Line]:
    ready: dict[str, Connection | Variable] = {}
    for ref, entry in _revealed(found, refs):
        try:
            if isinstance(entry, StrongroomError):
                raise entry
            ready[ref.name] = _item(ref, entry, dialect)
        except StrongroomError as error:
            yield Line(name=ref.name, outcome="refused", reason=str(error), team=ref.team)
    if not ready:
        return
    options = ImportOptions(
        on_existing="skip", keep_going=True, team=refs[0].team, dialect=dialect, comment=_REASON
    )
    take = store.transfer.import_connections
    if refs[0].kind == "variable":
        take = store.transfer.import_variables
    yield from take(ready, options=options).lines


def _revealed(found: Room, refs: Sequence[Ref]) -> list[tuple[Ref, Entry | StrongroomError]]:
    """Give each entry or why it cannot be had: in one batch, or one by one where that has trouble."""
    try:
        return list(zip(refs, found.entries.reveal_many(refs, reason=_REASON), strict=True))
    except StrongroomError:
        return [(ref, _one(found, ref)) for ref in refs]


def _one(found: Room, ref: Ref) -> Entry | StrongroomError:
    try:
        (entry,) = found.entries.reveal_many([ref], reason=_REASON)
    except StrongroomError as error:
        return error
    return entry


def _item(ref: Ref, entry: Entry, dialect: Dialect) -> Connection | Variable:
    if ref.kind == "connection":
        return parse_stored(entry, dialect)
    return Variable(key=ref.name, value=entry.secret, description=entry.metadata.description)
