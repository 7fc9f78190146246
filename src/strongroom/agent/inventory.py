"""
What there is, asked of an agent: a page of names, the numbers, or the names that cannot be kept apart.

Not for what is listed and who sees it (`service/host_inventory.py`). Shapes: `wire/listed.py`; the frame:
docs/protocol.md.

Rules of this file:

1. No value passes here, and no path of this machine.
2. Nothing is remembered between two pages: the next one begins after a name.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import InvalidInputError
from strongroom.model.entry import EntryState
from strongroom.model.ref import KINDS, Ref, check_team
from strongroom.service.inventory import Choice
from strongroom.wire.failure import without_paths
from strongroom.wire.listed import HostPage, HostQuery, HostRow, Troubles, clashes_of, counted, members_of
from strongroom.wire.strict import read_json

if TYPE_CHECKING:
    from strongroom.service.inventory import Inventory, Row
    from strongroom.wire.listed import HostFilter

__all__ = ["listed"]

_STATES = {state.value: state for state in EntryState}


def listed(inventory: Inventory, question: str) -> str:
    """
    Answer *question* about *inventory*. Waits.

    Args:
        inventory: as whoever asks sees it.
        question: JSON of a `HostQuery`.

    Returns:
        JSON: a `HostPage`, a `Counted` or a `Clashes`.

    Raises:
        InvalidInputError: it is no such question.
        BackendUnavailableError: nobody could decide who sees what.
    """
    asked = read_json(
        question.encode("utf-8", "replace"), HostQuery, hint="docs/protocol.md tells what is taken"
    )
    found: msgspec.Struct
    if asked.filter.team is not None:
        check_team(asked.filter.team)
    if asked.what == "rows":
        found = _page(inventory, asked)
    elif asked.what == "counts":
        troubles = Troubles()
        found = counted(inventory.counts(team=asked.filter.team, on_trouble=troubles), troubles.found)
    else:
        found = clashes_of(inventory.clashes(team=asked.filter.team))
    return msgspec.json.encode(found).decode()


def _page(inventory: Inventory, asked: HostQuery) -> HostPage:
    troubles, said = Troubles(), asked.filter
    pages = inventory.pages(
        said.kind,
        team=said.team,
        choice=_choice(said),
        after=None if asked.after is None else _place(asked.after),
        limit=asked.limit + 1,  # one more tells whether there is another page
        on_trouble=troubles,
    )
    rows, cursor = _first(list(chain.from_iterable(pages)), asked.limit)
    return HostPage(
        entries=[_row(row) for row in rows],
        cursor=cursor,
        troubles=troubles.found,
        not_listable=list(inventory.not_listable),
        places=list(inventory.places),
    )


def _choice(said: HostFilter) -> Choice:
    unknown = set(said.state) - set(_STATES)
    if unknown:
        raise InvalidInputError("there is no such state", hint=f"known: {', '.join(_STATES)}")
    return Choice(
        prefix=said.prefix,
        states=tuple(_STATES[state] for state in said.state),
        backends=tuple(said.backend),
        only_problems=said.only_problems,
        with_shadowed=said.with_shadowed,
    )


def _first(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    """Give the rows of the first *limit* names, and after which of them there are more."""
    names = list(dict.fromkeys(row.ref for row in rows))
    if len(names) <= limit:
        return rows, None
    last = names[limit - 1]
    within = set(names[:limit])
    return [row for row in rows if row.ref in within], f"{last.kind}:{last.name}"


def _place(text: str) -> Ref:
    kind, separator, name = text.partition(":")
    if not separator or kind not in KINDS:
        raise InvalidInputError("after names no entry", hint="as in connection:orders_db")
    return Ref(kind, name)


def _row(row: Row) -> HostRow:
    members = members_of(row) | {"problem": without_paths(row.problem)}
    return HostRow(is_deleted=False, read_at=row.read_at, **members)
