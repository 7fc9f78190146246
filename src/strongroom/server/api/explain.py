"""`/explain` and `/inventory`: why a name is answered as it is, and what there is in all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.entry import EntryState
from strongroom.server.api.asked import Troubles, entry_of, known_team
from strongroom.server.api.entries import page_of
from strongroom.server.endpoint import Endpoint
from strongroom.service.explaining import claimed
from strongroom.service.inventory import Choice
from strongroom.wire.entry import (
    Clashes,
    Counted,
    EntryPage,
    Explained,
    ExplainQuery,
    InventoryQuery,
    TeamQuery,
)
from strongroom.wire.explain import explained
from strongroom.wire.listed import clashes_of, counted

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]

_STATES = {state.value: state for state in EntryState}


def explain(call: Call) -> Explained:
    """Tell which backend answers for a name, and why."""
    asked = call.asked(ExplainQuery)
    ref = entry_of(call, asked.team)
    return explained(call.room.lookup.explain(ref, run=claimed(asked.dag, asked.task)))


def inventory(call: Call) -> EntryPage:
    """Give one page of the inventory."""
    asked = call.asked(InventoryQuery)
    unknown = set(asked.state) - set(_STATES)
    if unknown:
        raise InvalidInputError("there is no such state", hint=f"known: {', '.join(_STATES)}")
    choice = Choice(
        prefix=asked.prefix,
        states=tuple(_STATES[state] for state in asked.state),
        backends=tuple(asked.backend),
        only_problems=asked.only_problems,
        with_shadowed=asked.with_shadowed,
    )
    return page_of(call, "inventory", asked, choice)


def counts(call: Call) -> Counted:
    """Give the inventory in numbers."""
    troubles = Troubles()
    found = call.room.inventory.counts(team=known_team(call.asked(TeamQuery).team), on_trouble=troubles)
    return counted(found, troubles.found)


def clashes(call: Call) -> Clashes:
    """Give the names that cannot be kept apart."""
    found = call.room.inventory.clashes(team=known_team(call.asked(TeamQuery).team))
    return clashes_of(found)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/explain/{kind}/{name:path}",
        explain,
        "Tell which backend answers for a name, and why",
        "explain",
        asks=ExplainQuery,
        gives=Explained,
        errors=(503,),
        cost=2.0,
    ),
    Endpoint(
        "GET",
        "/inventory",
        inventory,
        "List what every backend holds",
        "inventory",
        asks=InventoryQuery,
        gives=EntryPage,
        errors=(503,),
        cost=2.0,
    ),
    Endpoint(
        "GET",
        "/inventory/counts",
        counts,
        "Count what every backend holds",
        "inventory",
        asks=TeamQuery,
        gives=Counted,
        errors=(503,),
        cost=10.0,
    ),
    Endpoint(
        "GET",
        "/inventory/clashes",
        clashes,
        "List names that cannot be kept apart",
        "inventory",
        asks=TeamQuery,
        gives=Clashes,
        errors=(503,),
        cost=10.0,
    ),
)
