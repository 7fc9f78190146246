"""Shapes of what is found by words and facets, over all teams and kinds."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Literal

from msgspec import Meta, field

from strongroom.wire.entry import EntryRow
from strongroom.wire.shape import Asked, Given, Kind, Order, Problem

__all__ = ["FindQuery", "FoundPage", "FoundRow", "SilentBackend"]

Health = Literal["unreadable", "failed", "clash", "soon", "shadowed", "never", "unknown", "healthy"]
Sort = Literal["name", "source", "team", "owner", "type", "version", "age", "read", "expires", "health"]
Value = Annotated[str, Meta(max_length=250)]


class FindQuery(Asked, kw_only=True):
    """
    Which lines of all there is. Values of one parameter are alternatives; all parameters must hold.

    Args:
        q: words, each of which a line holds in its name, owner, type, tags or description, whatever their
            case; `#pci` finds tags that begin so.
        health: the worst that is known of it.
        source: backends that hold it.
        kind: its kinds.
        team: its teams; empty for none.
        type_: types of connections.
        tag: tags.
        owner: owners; empty for nobody.
        sort: by which.
        order: which way.
        begin: lines before the first.
        limit: lines at most.
    """

    q: Annotated[str, Meta(max_length=200)] = ""
    health: list[Health] = []
    source: list[Value] = []
    kind: list[Kind] = []
    team: list[Value] = []
    type_: list[Value] = field(name="type", default_factory=list)
    tag: list[Value] = []
    owner: list[Value] = []
    sort: Sort = "name"
    order: Order = "asc"
    begin: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Meta(ge=0, le=500)] = 50


class FoundRow(EntryRow, kw_only=True):
    """
    One line.

    Args:
        health: the worst that is known of it.
        clash: the name it cannot be kept apart from.
        place: of its backend in the chain, from 1.
        read_at: when its name was last read since this server began; None: not since.
    """

    health: Health
    clash: str | None
    place: int
    read_at: datetime | None


class SilentBackend(Given, kw_only=True):
    """
    A backend that gives no answer now.

    Args:
        since: when that was first seen.
        read_at: of when its lines are; None where it was never read.
    """

    backend: str
    error: Problem
    since: datetime
    read_at: datetime | None


class FoundPage(Given, kw_only=True):
    """
    One page of what was found.

    Args:
        total: lines of all pages.
        all_: lines there are, wanted or not.
        attention: lines that somebody should look at, wanted or not.
        counts: by parameter and value, how many lines choosing it alone among its own would give.
        silent: backends that give no answer now; their lines are those of before.
        unread: backends that are being read for the first time.
        not_listable: backends that cannot tell what they hold.
    """

    entries: list[FoundRow]
    total: int
    all_: int = field(name="all")
    attention: int
    counts: dict[str, dict[str, int]]
    silent: list[SilentBackend]
    unread: list[str]
    not_listable: list[str]
