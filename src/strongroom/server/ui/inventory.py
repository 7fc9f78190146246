"""
`/inventory`: every entry of every store, found by words and facets, in any order, a page at a time.

Rules of this file:

1. What is shown stands in the address, so that each view can be kept and shared; saved views are addresses.
2. A mark names backend, kind, team and name of one line (`Mark`); what marks do is in `marked.py`.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

from msgspec import Meta, field

from strongroom.errors import InvalidInputError
from strongroom.model.entry import EntryState
from strongroom.model.principal import PERSON
from strongroom.model.ref import KINDS, Ref
from strongroom.policy import Action
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.family import SHAPES, family
from strongroom.server.ui.frame import Twin, is_htmx, page, url_for
from strongroom.server.ui.texts import say
from strongroom.server.ui.views import MOST, MOST_NAME, kept_views
from strongroom.service.bringing import MAX_FILE_BYTES
from strongroom.service.registered import FACETS, SORTS, Asked
from strongroom.service.registration import ATTENTION, HEALTHS
from strongroom.wire.failure import without_paths
from strongroom.wire.head import parsed_query
from strongroom.wire.shape import Asked as Query
from strongroom.wire.strict import read_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from markupsafe import Markup

    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.inventory import Row
    from strongroom.service.registered import Found
    from strongroom.service.registration import Registration

__all__ = ["ENDPOINTS", "InventoryQuery", "mark_of"]

SIZE = 50  # lines of a page
_MAX_PAGES = 100_000
_MOST_VALUES = 24  # of a facet that are shown; the rest is found by words
_FOLDED = ("type", "tag", "owner")
_HIDEABLE = ("owner", "team", "version", "age", "read", "expires")
_ANY = Ref("connection", "any")  # what whoever writes at all may write, as far as a page can tell
_SHAPES: Mapping[str, tuple[str, str]] = {
    "unreadable": ("bad", "bad"),
    "failed": ("bad", "bad"),
    "clash": ("warn", "clash"),
    "soon": ("warn", "due"),
    "shadowed": ("", "shadow"),
    "never": ("", "never"),
    "unknown": ("", "never"),
    "healthy": ("ok", "ok"),
}
"""Class and icon of each health, as of `ui.state`."""


class InventoryQuery(Query, kw_only=True):
    """
    Which view of the inventory.

    Args:
        q: words, as of `registered.Asked`.
        health, source, kind, team, type_, tag, owner: values that are wanted of each facet.
        sort: a column; with `-` before it the greatest first.
        page: from 1.
        hide: columns that are left out.
        open_: the line whose drawer is open.
    """

    q: Annotated[str, Meta(max_length=200)] = ""
    health: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    team: list[str] = field(default_factory=list)
    type_: list[str] = field(name="type", default_factory=list)
    tag: list[str] = field(default_factory=list)
    owner: list[str] = field(default_factory=list)
    sort: str = "name"
    page: Annotated[int, Meta(ge=1, le=_MAX_PAGES)] = 1
    hide: list[Literal["owner", "team", "version", "age", "read", "expires"]] = field(default_factory=list)
    open_: str = field(name="open", default="")

    @property
    def chosen(self) -> dict[str, tuple[str, ...]]:
        """The values that are wanted, by facet."""
        values = {name: getattr(self, "type_" if name == "type" else name) for name in FACETS}
        return {name: tuple(dict.fromkeys(found)) for name, found in values.items() if found}

    @property
    def column(self) -> str:
        """What it is ordered by."""
        return self.sort.removeprefix("-")

    @property
    def asked(self) -> Asked:
        """The question to the register."""
        return Asked(
            text=self.q,
            chosen=self.chosen,
            sort=self.column,
            is_down=self.sort.startswith("-"),
            begin=(self.page - 1) * SIZE,
            count=SIZE,
        )

    def query(self, **other: object) -> dict[str, object]:
        """Give the query of the same view with something other in it; None leaves out."""
        said: dict[str, object] = {"q": self.q or None, **self.chosen}
        said |= {"sort": None if self.sort == "name" else self.sort, "hide": list(self.hide) or None}
        return {**said, **other}


class Option(NamedTuple):
    """
    One value of a facet.

    Args:
        id: of its box.
        value: as it stands in the address.
        text: as people read it.
        lines: as many it would give.
        is_chosen: it is among those wanted.
        place: of a backend, in the chain; 0 for anything else.
    """

    id: str
    value: str
    text: str
    lines: int
    is_chosen: bool
    place: int = 0


class Facet(NamedTuple):
    """One facet: its name, its values, and whether it is folded away."""

    name: str
    options: tuple[Option, ...]
    is_folded: bool


class Line(NamedTuple):
    """
    One line of the page.

    Args:
        number: from 1, over all pages; written as people read it.
        row: what it says.
        rank: of its backend in the chain.
        off: another one answers for its name.
        read_at: when its name was last read; None where that is not known.
        ends_at: when it ends to be of use.
        mark: names it for acts.
        icon: the shape of its type.
        shape: class and icon of its state.
        state: in words.
        href: of its entry.
        opens: of the list with its drawer open.
        why: where its state is explained; None where it needs none.
        is_open: its drawer is open.
    """

    number: str
    row: Row
    rank: int
    off: bool
    read_at: datetime | None
    ends_at: datetime | None
    mark: str
    icon: str
    shape: tuple[str, str]
    state: Markup
    href: str
    opens: str
    why: str | None
    is_open: bool


def show(call: Call) -> Answer:
    """Show one view of the inventory."""
    asked = call.asked(InventoryQuery)
    saved, named = _saved(call), list(_named_views(call))
    said = [view.asked for _, view in (*saved, *named) if not view.q]
    found = call.room.register.find(asked.asked, said)
    last = max(1, -(-found.total // SIZE))
    if asked.page > last:  # a page that was, before something went
        asked.page = last
        found = call.room.register.find(asked.asked, said)
    can_write = call.room.policies.can(Action.WRITE, _ANY).is_allowed
    is_empty = not (found.all or found.silences or found.unread)
    return page(
        call,
        "inventory.html",
        nav="inventory",
        title="inventory.title",
        twin=twin_of(asked),
        oob=_beside(call),
        counts={
            "overview": {"n": found.attention, "hot": True},
            "inventory": {"n": found.all},
        },
        asked=asked,
        found=found,
        lines=list(_lines(call, asked, found)),
        facets=[_facet(name, asked, found) for name in FACETS],
        chips=list(_chips(call, asked)),
        views=_views(call, asked, saved, named, found.views),
        named=next((name for name, view in named if _is_same(view, asked)), None),
        can_name=not any(_is_same(view, asked) for _, view in saved),
        named_all=len(named) >= MOST,
        most_named=MOST,
        most_name=MOST_NAME,
        kept=_pairs(asked.query(q=None)),
        kept_but_facets=_pairs({"q": asked.q or None, **_columns(asked)}),
        columns=_HIDEABLE,
        sorts=SORTS,
        first=(asked.page - 1) * SIZE + 1,
        sources={name: url_for(call, "/inventory", **asked.query(source=[name])) for name in found.ranks},
        shapes={shape: say(f"parts.family_{shape}") for shape in SHAPES},
        before=_at(call, asked, asked.page - 1) if asked.page > 1 else None,
        after=_at(call, asked, asked.page + 1) if asked.page < last else None,
        here=lambda **other: url_for(call, "/inventory", **asked.query(**other)),
        silences=[(one, without_paths(str(one.error))) for one in found.silences],
        can_write=can_write,
        limit=MAX_FILE_BYTES // 1_048_576 if can_write and is_empty else 0,  # of what may be dropped
    )


def _beside(call: Call) -> tuple[str, ...]:
    if is_htmx(call) and call.headers.get("hx-target") == "lines":
        return ("views_oob", "facets_oob", "chips_oob", "kept_oob")
    return ()


def _columns(asked: InventoryQuery) -> dict[str, object]:
    return {"sort": None if asked.sort == "name" else asked.sort, "hide": list(asked.hide) or None}


def _pairs(query: Mapping[str, object]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        several = value if isinstance(value, list | tuple) else (value,)
        pairs += [(name, str(one)) for one in several if one is not None]
    return pairs


def _at(call: Call, asked: InventoryQuery, number: int) -> str:
    return url_for(call, "/inventory", **asked.query(page=number if number > 1 else None))


# --- lines -----------------------------------------------------------------------------------------


def _lines(call: Call, asked: InventoryQuery, found: Found) -> Iterator[Line]:
    now, first = datetime.now(timezone.utc), (asked.page - 1) * SIZE + 1
    here = url_for(call, "/inventory", **asked.query(page=asked.page if asked.page > 1 else None))
    here += "&" if "?" in here else "?"
    for number, shown in enumerate(found.lines, first):
        line, row = shown.line, shown.line.row
        mark = mark_of(line)
        yield Line(
            number=f"{number:,}",
            row=row,
            rank=line.rank,
            off=row.shadowed_by is not None,
            read_at=shown.read_at,
            ends_at=line.ends_at,
            mark=mark,
            icon=family(row.ref.kind, row.metadata.conn_type),
            shape=_SHAPES[line.health],
            state=_state(found, line, now),
            href=url_for(call, f"/entries/{row.ref.kind}/{row.ref.name}", team=row.ref.team),
            opens=f"{here}open={quote(mark, safe='')}",
            why=_why(call, line),
            is_open=mark == asked.open_,
        )


def _why(call: Call, line: Registration) -> str | None:
    ref = line.row.ref
    if line.health == "clash" and line.clash is not None:
        return url_for(call, f"/entries/{ref.kind}/{line.clash}", team=ref.team)
    tab = {"shadowed": "resolution", "failed": "tests"}.get(line.health)
    return None if tab is None else _tab(call, ref, tab)


def _tab(call: Call, ref: Ref, tab: str) -> str:
    return url_for(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team, tab=tab)


def _state(found: Found, line: Registration, now: datetime) -> Markup:
    """Say the worst that is known of *line*, with a number where there is one."""
    row = line.row
    if line.health == "shadowed":
        return say(
            "inventory.shadowed_by", place=found.ranks.get(row.shadowed_by or ""), name=row.shadowed_by
        )
    if line.health == "clash":
        return say("inventory.clashes", name=line.clash) if line.clash else say("inventory.health_clash")
    if line.health == "unreadable" and row.state is EntryState.EXPIRED:
        return say("inventory.ended")
    if line.health == "soon":
        if line.ends_at is None:
            return say("inventory.reminder")
        days = max(0, (line.ends_at - now).days)
        return say("inventory.ends", count=days) if days else say("inventory.ends_today")
    return say(f"inventory.is_{line.health}")


def mark_of(line: Registration) -> str:
    """Name one line: `BACKEND/KIND/TEAM/NAME`, with `-` for no team, which no team is called."""
    ref = line.row.ref
    return f"{line.row.backend}/{ref.kind}/{ref.team or '-'}/{ref.name}"


# --- facets ----------------------------------------------------------------------------------------


def _facet(name: str, asked: InventoryQuery, found: Found) -> Facet:
    chosen, counts = asked.chosen.get(name, ()), found.counts.get(name, {})
    options = tuple(
        Option(
            f"f-{name}-{number}",
            value,
            str(_named(name, value)),
            counts.get(value, 0),
            value in chosen,
            found.ranks.get(value, 0) if name == "source" else 0,
        )
        for number, value in enumerate(_values(name, chosen, found))
    )
    return Facet(name, options, name in _FOLDED and not chosen)


def _values(name: str, chosen: Sequence[str], found: Found) -> list[str]:
    there = found.whole.get(name, {})
    if name == "health":
        return [one for one in HEALTHS if one in there or one in chosen or one != "unknown"]
    if name == "source":
        return [one for one in found.ranks if one in there or one in chosen]
    if name == "kind":
        return [one for one in ("connection", "variable", "config") if one in there or one in chosen]
    if name == "team":
        known = sorted(set(there) | set(chosen))
        return known if len(known) > 1 else []
    often = sorted(there, key=lambda one: (-there[one], one))
    if name == "type":
        often = [one for one in often if one]
    return list(dict.fromkeys([*chosen, *often[:_MOST_VALUES]]))


def _named(facet: str, value: str) -> object:
    known = {"health": HEALTHS, "kind": KINDS}.get(facet, ())  # an address may say anything
    if value in known:
        return say(f"inventory.{facet}_{value}")
    if not value and facet in ("team", "owner", "type"):
        return say(f"inventory.no_{facet}")
    return f"#{value}" if facet == "tag" else value


def _chips(call: Call, asked: InventoryQuery) -> Iterator[tuple[str, str, str]]:
    """Give text, address without it, and name of each filter that is set."""
    for name, values in asked.chosen.items():
        title = say(f"inventory.{name}")
        said = ", ".join(str(_named(name, value)) for value in values[:2])
        if len(values) > 2:  # noqa: PLR2004 -- as many fit
            said = str(say("inventory.several", count=len(values)))
        yield f"{title}: {said}", url_for(call, "/inventory", **asked.query(**{name: None})), str(title)


# --- saved views -----------------------------------------------------------------------------------


def _saved(call: Call) -> list[tuple[str, InventoryQuery]]:
    me = call.identity.actor.id
    name = me.removeprefix(PERSON)
    return [
        ("all", InventoryQuery()),
        ("attention", InventoryQuery(health=list(ATTENTION))),
        ("mine", InventoryQuery(owner=list(dict.fromkeys((name, me))))),
        ("nobody", InventoryQuery(owner=[""])),
    ]


def _named_views(call: Call) -> Iterator[tuple[str, InventoryQuery]]:
    """Give those this person named; what is no view any more is left out."""
    for name, query in kept_views(call):
        with suppress(InvalidInputError, ValueError):
            view = read_query(parsed_query(query.encode()), InventoryQuery)
            view.asked.check()
            yield name, view


def _is_same(view: InventoryQuery, asked: InventoryQuery) -> bool:
    return view.chosen == asked.chosen and view.q == asked.q


def _views(
    call: Call,
    asked: InventoryQuery,
    saved: Sequence[tuple[str, InventoryQuery]],
    named: Sequence[tuple[str, InventoryQuery]],
    counts: Sequence[int],
) -> list[dict[str, Any]]:
    left = iter(counts)  # of those without words: to count the others takes a search each
    words = [(say(f"inventory.view_{name}"), view) for name, view in saved]
    return [
        {
            "href": url_for(call, "/inventory", **view.query(**_columns(asked))),
            "text": text,
            "count": None if view.q else next(left),
            "current": _is_same(view, asked),
        }
        for text, view in (*words, *named)
    ]


# --- the same elsewhere ----------------------------------------------------------------------------


def twin_of(asked: InventoryQuery) -> Twin:
    """Give the view as a command and as a call."""
    words = ["strongroom", "find", *([shlex.quote(asked.q)] if asked.q else [])]
    for name, values in asked.chosen.items():
        option = "of" if name == "team" else name
        words += [f"--{option} {shlex.quote(value)}" for value in values]
    if asked.sort != "name":
        words.append(f"--sort {asked.column}" + (" --down" if asked.sort.startswith("-") else ""))
    pairs = [("q", asked.q)] if asked.q else []
    pairs += [(name, value) for name, values in asked.chosen.items() for value in values]
    if asked.sort != "name":
        pairs += [("sort", asked.column)]
        pairs += [("order", "desc")] if asked.sort.startswith("-") else []
    if asked.page > 1:
        words.append(f"--begin {(asked.page - 1) * SIZE}")
        pairs.append(("begin", str((asked.page - 1) * SIZE)))
    query = f"?{urlencode(pairs)}" if pairs else ""
    return Twin(" ".join(words), "GET", f"/v1/find{query}")


ENDPOINTS = (
    Endpoint(
        "GET",
        "/inventory",
        show,
        "Everything there is, found by words and facets",
        "inventory",
        asks=InventoryQuery,
        cost=2.0,
    ),
)
