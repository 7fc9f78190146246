"""
`/audit`: what happened, live; whether the record of it is whole; what a run saw; records as a file.

    GET  /audit?q=&show=denied&within=24h&dag=&run=&from=
    GET  /audit/newer?after=4711&…   how many records of that kind came since
    GET  /audit/records/{seq}        one record, whole
    GET  /audit/run?run=&dag=        what a run saw
    GET  /audit/export               in which form; /audit/file is the file
    POST /audit/prove                begin to check every record, behind

Rules of this file:

1. A page looks at a bounded number of records and says so where that was not all.
2. New records wait behind "4 newer", so that nothing moves under the pointer; `audit.js` lets them in while
   nobody points at the list.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from msgspec import Meta, field

from strongroom.audit.query import Filter, Place
from strongroom.errors import InvalidInputError, NotFoundError, RateLimitedError
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.exporting import exported
from strongroom.server.ui.frame import Toast, Twin, form_of, is_htmx, page, redirect, url_for
from strongroom.server.ui.records import line_of, moment, name_of
from strongroom.server.ui.twins import call_of, command_of
from strongroom.wire.failure import without_paths
from strongroom.wire.shape import Asked, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.audit import Record
    from strongroom.audit.note import Checkpoint
    from strongroom.server.endpoint import Call
    from strongroom.server.ui.records import Line
    from strongroom.service.audit import AuditPage

__all__ = ["ENDPOINTS"]

Show = Literal["all", "denied", "reveals", "changes"]
Within = Literal["1h", "24h", "7d", "30d"]
_LINES = 40
_LOOKED_AT = 5000  # records of one page: about 20 ms where nothing of them is wanted
_NEWER = 2000  # looked at for what is newer
_RUNS_LOOKED_AT = 2000
_RUNS = 12
_SPANS: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
_SHOWS: dict[str, dict[str, str]] = {
    "all": {},
    "denied": {"outcome": "denied"},
    "reveals": {"action": "reveal"},
    "changes": {"outcome": "done"},
}
Text = Annotated[str, Meta(max_length=250)]


class _Narrowed(Asked, kw_only=True):
    """
    Which records are wanted; an empty text is as good as none.

    Args:
        q: stands somewhere in what a record says.
        show: a group of them.
        within: how far back.
        actor, action, outcome, kind, name, team, dag, task, run: exactly.
    """

    q: Annotated[str, Meta(max_length=200)] = ""
    show: Show = "all"
    within: Within | Literal[""] = ""
    actor: Text = ""
    action: Text = ""
    outcome: Text = ""
    kind: Kind | Literal[""] = ""
    name: Text = ""
    team: Text = ""
    dag: Text = ""
    task: Text = ""
    run: Text = ""

    @property
    def exact(self) -> dict[str, str]:
        """What was asked for by name, without what was left empty."""
        names = ("actor", "action", "outcome", "kind", "name", "team", "dag", "task", "run")
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def kept(self) -> dict[str, str | None]:
        """What an address of the same records holds."""
        show = None if self.show == "all" else self.show
        return {"q": self.q or None, "show": show, "within": self.within or None, **self.exact}

    @property
    def rest(self) -> dict[str, str]:
        """What a search for other words keeps."""
        return {name: value for name, value in self.kept.items() if value and name != "q"}

    @property
    def is_narrowed(self) -> bool:
        """Whether some records are left out."""
        return any(self.kept.values())

    @property
    def said(self) -> dict[str, str]:
        """What is looked for, by the words of the command line and the API."""
        return {**_SHOWS[self.show], **self.exact, **({"text": self.q.strip()} if self.q.strip() else {})}

    def filter(self, now: datetime) -> Filter:
        """Give what finds them at *now*."""
        since = now - _SPANS[self.within] if self.within else None
        return replace(Filter(**self.said), since=since)  # type: ignore[arg-type]  # texts alone


class AuditQuery(_Narrowed, kw_only=True):
    """
    Which page of them.

    Args:
        from_: where the page before ended.
        live: whether newer ones are told of.
    """

    from_: Annotated[str, Meta(max_length=80)] = field(name="from", default="")
    live: Literal["on", "off"] = "on"


class NewerQuery(_Narrowed, kw_only=True):
    """
    What is new.

    Args:
        after: the newest record there was.
    """

    after: int


class FileQuery(_Narrowed, kw_only=True):
    """In which form records are handed over."""

    format: Literal["jsonl", "csv", "ocsf", "syslog"] = "jsonl"


class RunQuery(Asked, kw_only=True):
    """
    Which run.

    Args:
        run: its id.
        dag, task: exactly.
        from_: where an earlier look ended.
    """

    run: Text = ""
    dag: Text = ""
    task: Text = ""
    from_: Annotated[str, Meta(max_length=80)] = field(name="from", default="")


class Seal(NamedTuple):
    """A checkpoint between two lines."""

    size: int
    at: datetime | None


class Run(NamedTuple):
    """A run that is on record lately."""

    run: str
    dag: str | None
    at: datetime | None
    uses: int
    level: str


# --- the list ------------------------------------------------------------------------------------


def audit(call: Call) -> Answer:
    """Show records, newest first."""
    asked = call.asked(AuditQuery)
    trail, now = call.room.audit, datetime.now(timezone.utc)
    state = trail.state()
    found = trail.query(asked.filter(now), limit=_LINES, start=_place(asked.from_), most=_LOOKED_AT)
    is_first = not asked.from_
    return page(
        call,
        "audit.html",
        nav="audit",
        title="audit.title",
        twin=_twin(asked),
        asked=asked,
        state=state,
        rows=list(_rows(found.records, [] if asked.is_narrowed else trail.checkpoints(), state.checkpoint)),
        more=None if found.next is None else url_for(call, "/audit", **asked.kept, from_=_told(found.next)),
        is_short=found.next is not None and len(found.records) < _LINES,
        looked_at=_LOOKED_AT,
        after=state.count - 1 if is_first and asked.live == "on" else None,
        newest=url_for(call, "/audit", **asked.kept),
        newer=0,
        name_of=name_of,
        clean=without_paths,
        shows=tuple(_SHOWS),
        withins=("", *_SPANS),
        **_proof(call),
    )


def newer(call: Call) -> Answer:
    """Tell how many of the records that are shown came since; nothing where there is none."""
    asked = call.asked(NewerQuery)
    if not is_htmx(call):
        return redirect(call, "/audit", show=asked.show)
    trail = call.room.audit
    last = trail.state().count - 1
    count = 0
    if last > asked.after:
        most = min(last - asked.after, _NEWER)
        wanted = asked.filter(datetime.now(timezone.utc))
        found = trail.query(wanted, limit=min(most, 1000), most=most)
        count = sum(record.seq > asked.after for record in found.records)
    if not count:
        return Answer(status=204, headers={"cache-control": "no-store"})
    return page(
        call,
        "audit.html",
        nav="audit",
        title="audit.title",
        block="newer",
        asked=asked,
        after=asked.after,
        newer=count,
        newest=url_for(call, "/audit", **asked.kept),
    )


def _rows(
    records: Sequence[Record], checkpoints: Sequence[Checkpoint], signed: int | None
) -> Iterator[tuple[str, Line | Seal]]:
    """Give the lines, each checkpoint above what it covers; an act that was begun and ended is one."""
    seals = [one for one in checkpoints if signed is not None]
    ended: set[tuple[object, ...]] = set()
    for record in records:
        # Of an act that is on record before and after it, its end tells both.
        act = (record.actor, record.action, record.kind, record.name, record.team)
        if record.outcome == "begun" and act in ended:
            ended.discard(act)
            continue
        if record.outcome in ("done", "failed"):
            ended.add(act)
        while seals and seals[0].size > record.seq:
            seal = seals.pop(0)
            if not seals or seals[0].size <= record.seq:  # of several in a row, the one that is nearest
                yield "seal", Seal(seal.size, moment(seal.at))
        yield "line", line_of(record)


def _place(text: str) -> Place | None:
    """Read where a page begins."""
    if not text:
        return None
    try:
        seq, segment, offset = (int(part) for part in text.split("."))
    except ValueError:
        raise InvalidInputError("this is no place in the record", hint="begin with the newest") from None
    if min(seq, segment, offset) < -1 or max(seq, segment, offset) > 2**53:
        raise InvalidInputError("this is no place in the record", hint="begin with the newest")
    return Place(seq, segment, offset)


def _told(place: Place) -> str:
    return f"{place.seq}.{place.segment}.{place.offset}"


def _twin(asked: _Narrowed) -> Twin:
    said = dict(asked.said)
    since = {"since": asked.within} if asked.within else {}
    team = said.pop("team", None)
    kind = said.pop("kind", None)  # the command has no such option; the call has
    command = command_of("audit tail", {"lines": str(_LINES), **since, **said}, team=team)
    query = {**said, **({"kind": kind} if kind else {}), **({"team": team} if team else {})}
    return Twin(command, "GET", call_of("/v1/audit", {**query, "limit": str(_LINES)}))


# --- one record ----------------------------------------------------------------------------------


def record(call: Call) -> Answer:
    """Show one record, whole."""
    seq = _seq(call.params["seq"])
    found = call.room.audit.query(Filter(), limit=1, start=Place(seq), most=1)
    if not found.records or found.records[0].seq != seq:
        raise NotFoundError(
            "there is no such record that you may see", hint="records that are old may be archived"
        )
    one = found.records[0]
    return page(
        call,
        "record.html",
        nav="audit",
        title="audit.record_title",
        twin=Twin(
            command_of("audit tail", {"lines": "1", "text": one.hash}), "GET", f"/v1/audit?text={one.hash}"
        ),
        record=one,
        line=line_of(one),
        at=moment(one.at),
        since=moment(one.since or ""),
        until=moment(one.until or ""),
        name_of=name_of,
    )


def _seq(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:  # noqa: PLR2004 -- digits of 2**49
        raise NotFoundError("there is no such record that you may see")
    return int(text)


# --- proof ---------------------------------------------------------------------------------------


def prove(call: Call) -> Answer:
    """Begin to check every record and every signature, behind."""
    form_of(call)
    try:
        call.room.audit.prove()
    except RateLimitedError:
        return redirect(call, "/audit", toast=Toast("audit.proof_under_way"))
    return redirect(call, "/audit")


def _proof(call: Call) -> Mapping[str, Any]:
    trail = call.room.audit
    proof = trail.proof()
    return {"proof": proof, "keys": tuple(key.format() for key in trail.known_keys())}


# --- what a run saw ------------------------------------------------------------------------------


def run(call: Call) -> Answer:
    """Show what a run saw."""
    asked = call.asked(RunQuery)
    trail = call.room.audit
    context: dict[str, Any] = {"sightings": None, "runs": (), "more": None}
    if asked.run:
        place = _place(asked.from_)
        found = trail.sightings(
            asked.run, dag=asked.dag or None, task=asked.task or None, start=place, most=_LOOKED_AT * 20
        )
        more = None
        if found.next is not None:
            query = {"run": asked.run, "dag": asked.dag or None, "task": asked.task or None}
            more = url_for(call, "/audit/run", **query, from_=_told(found.next))
        context |= {"sightings": found.rows, "more": more, "moment": moment, "name_of": name_of}
    else:
        lately = trail.query(Filter(action="read"), limit=1000, most=_RUNS_LOOKED_AT)
        context |= {"runs": list(_runs(lately))[:_RUNS]}
    said = {"dag": asked.dag, "task": asked.task}
    return page(
        call,
        "audit_run.html",
        nav="audit",
        title="audit.run_title",
        twin=Twin(
            command_of("audit run", said, asked.run or "RUN"),
            "GET",
            call_of("/v1/audit/run", {"run": asked.run or "RUN", **said}),
        ),
        asked=asked,
        **context,
    )


def _runs(found: AuditPage) -> Iterator[Run]:
    """Give the runs on record lately, the newest first."""
    known: dict[tuple[str, str | None], Run] = {}
    for one in found.records:
        said = one.run or {}
        if said.get("run_id"):
            dag = said.get("dag_id")
            key = (str(said["run_id"]), None if dag is None else str(dag))
            first = known.get(key) or Run(*key, moment(one.at), 0, f"L{said.get('assurance', 0)}")
            known[key] = first._replace(uses=first.uses + (one.count or max(1, len(one.refs))))
    yield from known.values()


# --- as a file -----------------------------------------------------------------------------------


def export(call: Call) -> Answer:
    """Ask in which form records are wanted."""
    asked = call.asked(FileQuery)
    said = dict(asked.said)
    team, kind = said.pop("team", None), said.pop("kind", None)
    since = {"since": asked.within} if asked.within else {}
    words = {"format": asked.format, "out": "audit.csv" if asked.format == "csv" else "audit.jsonl"}
    query = {**said, **({"kind": kind} if kind else {}), **({"team": team} if team else {})}
    return page(
        call,
        "audit_export.html",
        nav="audit",
        title="audit.export_title",
        twin=Twin(
            command_of("audit export", {**words, **since, **said}, team=team),
            "GET",
            call_of("/v1/audit/export", {"format": asked.format, **query}),
        ),
        asked=asked,
        forms=("jsonl", "csv", "ocsf", "syslog"),
    )


def file(call: Call) -> Answer:
    """Hand records over."""
    asked = call.asked(FileQuery)
    return exported(call, asked.format, asked.filter(datetime.now(timezone.utc)))


ENDPOINTS = (
    Endpoint("GET", "/audit", audit, "Show records", "page", asks=AuditQuery, cost=5.0),
    Endpoint("GET", "/audit/newer", newer, "Tell of newer records", "page", asks=NewerQuery),
    Endpoint("GET", "/audit/records/{seq}", record, "Show a record", "page", cost=5.0),
    Endpoint("GET", "/audit/run", run, "Show what a run saw", "page", asks=RunQuery, cost=5.0),
    Endpoint("GET", "/audit/export", export, "Ask in which form", "page", asks=FileQuery),
    Endpoint("GET", "/audit/file", file, "Hand records over", "page", asks=FileQuery, stream=True, cost=50.0),
    Endpoint("POST", "/audit/prove", prove, "Check every record", "page", takes_form=True, cost=50.0),
)
