"""
`/`: what a person should know first, and where to go on from each of it.

    GET /                  the page; to htmx `attention`, `reads`, `chain` or `latest` of it
    GET /reads?every=15    reads over time as figures
    GET /reads/series      the same for the picture

Rules of this file:

1. Nothing is asked of a backend to draw it: what is shown of one is what came of the questions of others.
2. What may not be looked at is left out, and what is not known is written as not known.
3. Each line leads to the filtered list that it counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from strongroom.audit.query import Filter
from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.policy import Action
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.chart import chart_of
from strongroom.server.ui.dates import span as length
from strongroom.server.ui.frame import Twin, is_htmx, page, url_for, zone
from strongroom.server.ui.records import moment, name_of
from strongroom.server.ui.texts import say
from strongroom.service.registered import Asked as Wanted
from strongroom.service.registration import ATTENTION
from strongroom.service.series import MINUTES
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from markupsafe import Markup

    from strongroom.audit import Record
    from strongroom.meter import Figures
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.registered import Found
    from strongroom.service.series import Minute, Span

    T = TypeVar("T")

__all__ = ["ENDPOINTS"]

_LATEST = 6  # changes shown
_LOOKED_AT = 3000  # records looked at for them: about 15 ms
_FOLDED = 3  # changes of one actor in a row that are told as one
_KINDS = {
    "unreadable": "unreadable",
    "failed": "failed",
    "clash": "clash",
    "soon": "due",
    "shadowed": "shadow",
    "never": "never",
}


class ReadsQuery(Asked, kw_only=True):
    """
    How reads are added up.

    Args:
        minutes: how far back.
        every: minutes that are one line.
    """

    minutes: Annotated[int, Meta(ge=1, le=MINUTES)] = MINUTES
    every: Annotated[int, Meta(ge=1, le=MINUTES)] = 60


class Todo(NamedTuple):
    """
    One line of what needs attention.

    Args:
        kind: of the mark before it (`parts/ui.html`).
        name: in the texts, below `overview.todo`.
        number: of how many.
        href: the list of these.
        why: of one of them, or of all.
    """

    kind: str
    name: str
    number: int
    href: str
    why: Markup | str


class Stop(NamedTuple):
    """One backend of the chain as it was last asked."""

    order: int
    name: str
    kind: str
    said: str
    spark: tuple[float, ...]
    is_hurt: bool
    facts: tuple[str, ...]


class Change(NamedTuple):
    """One line of the latest changes; `ref` is None where it stands for several."""

    at: datetime | None
    who: str
    ref: Ref | None
    action: str
    version: str | None
    number: int


def overview(call: Call) -> Answer:
    """Show how things stand."""
    block = call.headers.get("hx-target", "") if is_htmx(call) else ""
    parts = {
        "attention": _attention,
        "reads": _reads,
        "chain": _chain,
        "latest": _latest,
    }
    wanted = {block: parts[block]} if block in parts else {**parts, "head": _head}
    context: dict[str, Any] = {}
    for part in wanted.values():
        context |= part(call)
    return page(
        call,
        "overview.html",
        nav="overview",
        title="overview.title",
        twin=Twin("strongroom inventory --problems", "GET", "/v1/entries?problems=true"),
        block=block if block in parts else None,
        **context,
    )


def reads(call: Call) -> Answer:
    """Show reads over time, as a picture and as figures."""
    asked = call.asked(ReadsQuery)
    found = call.room.series.span(asked.minutes)
    words = f"strongroom series --minutes {asked.minutes} --every {asked.every}"
    return page(
        call,
        "reads.html",
        nav="overview",
        title="overview.reads_title",
        twin=Twin(words, "GET", f"/v1/series?minutes={asked.minutes}"),
        span=found,
        rows=found.every(asked.every)[::-1],
        asked=asked,
        chart=chart_of(found, zone(call)),
    )


def series(call: Call) -> dict[str, list[int | None]]:
    """Give the columns of the picture; a minute in which nobody counted is null."""
    span = call.room.series.span(call.asked(ReadsQuery).minutes)
    columns: dict[str, list[int | None]] = {"x": [], "cache": [], "backend": [], "stale": [], "refused": []}
    last: datetime | None = None
    for minute in span.minutes[:-1]:
        if last is not None and minute.at - last > timedelta(minutes=1):
            _add(columns, last + timedelta(minutes=1), (None, None, None, None))
        _add(columns, minute.at, minute[1:])
        last = minute.at
    return columns


def _add(columns: dict[str, list[int | None]], at: datetime, counts: Sequence[int | None]) -> None:
    columns["x"].append(int(at.timestamp()))
    for name, count in zip(("cache", "backend", "stale", "refused"), counts, strict=True):
        columns[name].append(count)


def _allowed(work: Callable[[], T]) -> T | None:
    """Give what *work* gives; None where it may not be looked at, or is not to be had now."""
    try:
        return work()
    except StrongroomError:
        return None


# --- the head and the figures --------------------------------------------------------------------


def _head(call: Call) -> Mapping[str, Any]:
    room = call.room
    found = _allowed(lambda: room.register.find(Wanted(count=0)))
    span = _allowed(room.series.span)
    proof = _allowed(room.audit.proof)
    state = _allowed(room.audit.state)
    slowest = _slowest(_allowed(room.backends.figures) or {})
    return {
        "found": found,
        "span": span,
        "stale": _stale(span),
        "proof": proof,
        "state": state,
        "slowest": slowest,
        "silences": found.silences if found else (),
        "counts": {}
        if found is None
        else {
            "overview": {"n": found.attention, "hot": True},
            "inventory": {"n": found.all},
        },
    }


def _slowest(figures: Mapping[str, Figures]) -> tuple[str, float] | None:
    """Give which backend is the slowest, and in how many milliseconds 99 of 100 of its answers came."""
    known = [(one.slowest_ms, name) for name, one in figures.items() if one.slowest_ms is not None]
    return (max(known)[1], max(known)[0]) if known else None


class _Stale(NamedTuple):
    """A time in which older answers stood in: from when to when, and how many."""

    since: datetime
    until: datetime
    number: int


def _stale(span: Span | None) -> _Stale | None:
    """Give the last time in which older answers stood in; None where there was none."""
    minutes = span.minutes if span is not None else ()
    run: list[Minute] = []
    for minute in reversed(minutes):
        if minute.stale:
            if run and run[-1].at - minute.at > timedelta(minutes=5):
                break
            run.append(minute)
    if not run:
        return None
    return _Stale(run[-1].at, run[0].at + timedelta(minutes=1), sum(one.stale for one in run))


# --- what needs attention ------------------------------------------------------------------------


def _attention(call: Call) -> Mapping[str, Any]:
    try:
        found = list(_todos(call))
    except AccessDeniedError:
        return {"todos": None, "unlisted": ()}
    except StrongroomError as error:
        return {"todos": None, "unlisted": (), "trouble": error}
    return {"todos": found}


def _todos(call: Call) -> Iterator[Todo]:
    register = call.room.register
    counts = register.counts()
    for health in (*ATTENTION, "shadowed"):
        if counts.get(health):
            yield _todo(call, health, counts[health])
    yield from _agents(call)
    yield from _keys(call)
    if counts.get("never"):
        yield _todo(call, "never", counts["never"])


def _todo(call: Call, health: str, count: int) -> Todo:
    wanted = Wanted(chosen={"health": (health,)}, sort="expires" if health == "soon" else "name", count=1)
    return Todo(
        _KINDS[health],
        health,
        count,
        url_for(call, "/inventory", health=health),
        _why(call.room.register.find(wanted), health),
    )


def _why(found: Found, health: str) -> Markup | str:
    """Say of one line what is the matter with it."""
    if not found.lines:
        return ""
    line = found.lines[0].line
    row = line.row
    if health == "soon" and line.ends_at is not None:
        left = line.ends_at - datetime.now(timezone.utc)
        return say("overview.why_soon", name=row.ref.name, left=length(left))
    if health == "clash" and line.clash:
        return say("overview.why_clash", name=row.ref.name, other=line.clash)
    if health == "shadowed":
        return say("overview.why_shadowed", name=row.ref.name, by=row.shadowed_by or "", at=row.backend)
    if row.problem:
        return say("overview.why_problem", name=row.ref.name, problem=row.problem)
    return say("overview.why_first", name=row.ref.name)


def _agents(call: Call) -> Iterator[Todo]:
    agents = _allowed(call.room.access.agents.list)
    followers = _allowed(lambda: call.room.changes.followers([one.actor for one in agents or ()]))
    if not agents or followers is None:
        return
    behind = [one for one in agents if one.login_at is not None and not followers[one.actor].is_here]
    if behind:
        first = min(behind, key=lambda one: followers[one.actor].left_at or one.login_at or one.created_at)
        left = followers[first.actor].left_at
        why = (
            say("overview.why_behind_unknown", name=first.name)
            if left is None
            else say("overview.why_behind", name=first.name, ago=length(datetime.now(timezone.utc) - left))
        )
        yield Todo("behind", "behind", len(behind), url_for(call, "/agents"), why)


def _keys(call: Call) -> Iterator[Todo]:
    now = datetime.now(timezone.utc)
    if not call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed:
        return
    keys = _allowed(call.room.keys.status) or ()
    due = [key for key in keys if key.due_at is not None and key.due_at <= now]
    if due:
        ago = length(now - min(key.due_at for key in due if key.due_at is not None))
        yield Todo(
            "due", "keys", len(due), url_for(call, "/settings/keys"), say("overview.why_keys", ago=ago)
        )


# --- reads over time -----------------------------------------------------------------------------


def _reads(call: Call) -> Mapping[str, Any]:
    found = _allowed(call.room.series.span)
    return {"span": found, "chart": None if found is None else chart_of(found, zone(call))}


# --- the chain -----------------------------------------------------------------------------------


def _chain(call: Call) -> Mapping[str, Any]:
    backends = call.room.backends
    rows = _allowed(backends.list)
    if rows is None:
        return {"chain": None}
    figures = _allowed(backends.figures) or {}
    found = _allowed(lambda: call.room.register.find(Wanted(count=0)))
    held = found.counts.get("source", {}) if found else {}
    unlisted = found.not_listable if found else ()
    stops = []
    for row in rows:
        one = figures.get(row.name)
        kind, said = _how(one, is_paused=row.pause is not None)
        facts = [
            str(say("overview.not_listable"))
            if row.name in unlisted
            else str(say("overview.held", count=held.get(row.name, 0)))
        ]
        if one is not None and one.asked:
            facts.append(str(say("overview.asked", count=one.asked, number=f"{one.asked:,}")))
        if one is not None and one.median_ms is not None:
            facts.append(str(say("overview.median", ms=_ms(one.median_ms))))
        if row.on_unavailable == "stale" and not row.is_local:
            facts.append(str(say("overview.serves_stale")))
        stops.append(
            Stop(row.order, row.name, kind, said, _spark(one), kind in ("bad", "warn"), tuple(facts))
        )
    return {"chain": stops}


def _how(figures: Figures | None, *, is_paused: bool) -> tuple[str, str]:
    """Give the state of a backend, and how it is said."""
    if is_paused:
        return "paused", str(say("overview.paused"))
    if figures is None or not figures.asked:
        return "unknown", str(say("overview.not_asked"))
    if figures.silent is not None:
        return "bad", str(say("overview.silent", ago=length(timedelta(seconds=figures.silent))))
    if any(minute.troubles for minute in figures.minutes):
        return "warn", str(say("overview.answers_again"))
    return "ok", str(say("overview.answers"))


def _spark(figures: Figures | None) -> tuple[float, ...]:
    """Give how long answers took over the last hour, from 0 to 1; () where nobody asked."""
    if figures is None or not figures.asked:
        return ()
    found = [minute.milliseconds for minute in figures.minutes]
    most = max(found, default=0.0)
    return tuple(one / most for one in found) if most else ()


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 1 else f"{milliseconds:.1f}"


# --- the latest changes --------------------------------------------------------------------------


def _latest(call: Call) -> Mapping[str, Any]:
    try:
        found = call.room.audit.query(Filter(outcome="done"), limit=200, most=_LOOKED_AT)
    except StrongroomError:
        return {"latest": None}
    about = [record for record in found.records if record.name is not None]
    return {"latest": _folded(about)[:_LATEST], "looked_at": _LOOKED_AT if found.next else None}


def _folded(records: Sequence[Record]) -> list[Change]:
    """Tell what one actor did to many entries in one go as one change."""
    changes: list[Change] = []
    for (actor, action, *_), group in groupby(records, key=_go):
        same = list(group)
        if len(same) >= _FOLDED:
            changes.append(Change(moment(same[0].at), name_of(actor), None, action, None, len(same)))
        else:
            changes += [
                Change(moment(one.at), name_of(actor), _ref(one), action, one.version, 1) for one in same
            ]
    return changes


def _go(record: Record) -> tuple[str, str, str, str]:
    return record.actor, record.action, record.reason, record.at[:16]


def _ref(record: Record) -> Ref:
    from strongroom.model.ref import Ref  # noqa: PLC0415 -- beside its type

    return Ref(record.kind, record.name, record.team)  # type: ignore[arg-type]  # it is about an entry


ENDPOINTS = (
    Endpoint("GET", "/", overview, "Show the overview", "page"),
    Endpoint("GET", "/reads/series", series, "Give reads over time", "page", asks=ReadsQuery),
    Endpoint("GET", "/reads", reads, "Show reads over time", "page", asks=ReadsQuery),
)
