"""
One entry: what it is, how it reads in Airflow's forms, what it was, who uses it, how it is found, who may.

    GET /entries/{kind}/{name}?tab=history&from=6&to=7

Rules of this file:

1. A tab asks for what it shows and for nothing else; the line of facts over the tabs is one `describe`.
2. Nothing sealed stands in a page: what is shown comes from `shown`, which hides (`service/showing.py`).
3. A tab that may not be looked at, or that a backend keeps from being drawn, says so in its place: the rest
   of the entry stands.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from msgspec import field

from strongroom.errors import (
    AccessDeniedError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.principal import PERSON
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.policy.cedar import NEEDS_APPROVAL
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.dates import span
from strongroom.server.ui.entry_rows import lines_of, slot_of, title_of
from strongroom.server.ui.explain import told
from strongroom.server.ui.family import family
from strongroom.server.ui.frame import Twin, is_htmx, page, url_for
from strongroom.server.ui.trial import trial_words
from strongroom.server.ui.twins import call_of, command_of
from strongroom.service.explaining import claimed
from strongroom.service.spelled import FORMS, spelled, spelled_variable
from strongroom.wire.failure import without_paths
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.model.entry import VersionInfo
    from strongroom.server.endpoint import Answer, Call
    from strongroom.server.ui.frame import Toast
    from strongroom.service.entries import Described, Diff
    from strongroom.service.policies import May

__all__ = ["ENDPOINTS", "TABS", "EntryQuery", "Look", "answer", "around", "look_at", "named", "twin_of"]

Tab = Literal["form", "json", "uri", "env", "history", "used", "resolution", "access", "tests"]
TABS: tuple[Tab, ...] = ("form", "json", "uri", "env", "history", "used", "resolution", "access", "tests")
_SOON = timedelta(days=30)
_VERSIONS = 8  # shown at once
_SHORT = 12  # characters of a version
_MAX_RUN = 250  # characters of a DAG or task
_NAMED = 12  # actors told by name in a line
_ROWS = 200  # actors told in a table
_TOLD = ("read", "reveal", "write")
_KEYS = {"history": "h", "resolution": "r"}


class EntryQuery(Asked, kw_only=True):
    """
    Which view of an entry.

    Args:
        team: whose; unsaid, the global one.
        tab: which part.
        from_, to: versions to compare.
        all_: every version, not the newest few.
        at: the backend whose versions are meant.
        before: number of a record: uses on record before it.
        dag, task: for which run the lookup is explained.
    """

    team: str | None = None
    tab: Tab = "form"
    from_: str | None = field(name="from", default=None)
    to: str | None = None
    all_: bool = field(name="all", default=False)
    at: str | None = None
    before: int | None = None
    dag: str = ""
    task: str = ""


class Look(NamedTuple):
    """
    What is looked at.

    Args:
        ref: the entry that answers, a team's or the global one.
        asked: what was asked for.
        found: what may be shown of it; None of one that is deleted.
        shape: its title among the types of connections.
        place: of its backend in the chain, from 1.
        state: the worst that is known of it: a kind of `ui.state`, and the key of its words.
        given: what stands in these words.
    """

    ref: Ref
    asked: Ref
    found: Described | None
    shape: str
    place: int
    state: tuple[str, str]
    given: Mapping[str, object]

    @property
    def team(self) -> str | None:
        """Whose entry it is."""
        return self.ref.team


def named(call: Call, team: str | None) -> Ref:
    """
    Give the entry that the path names.

    Raises:
        NotFoundError: there can be none of such a name.
    """
    try:
        return Ref(call.params["kind"], call.params["name"], team)  # type: ignore[arg-type]  # Ref checks it
    except InvalidInputError as error:
        why = str(error)
    raise NotFoundError(f"there is no such entry: {why}")


def entry(call: Call) -> Answer:
    """Give the page of one entry, or the part of it that is asked for."""
    asked = call.asked(EntryQuery)
    return answer(call, look_at(call, named(call, asked.team)), asked)


def look_at(call: Call, ref: Ref) -> Look:
    """
    Look at *ref*; at one that is deleted too, while versions of it are kept.

    Raises:
        NotFoundError: it was never there.
        As `Entries.describe`.
    """
    names = _names(call)
    try:
        found = call.room.entries.describe(ref)
    except NotFoundError as error:
        if not _was_there(call, ref):
            raise error from None
        return Look(ref, ref, None, title_of(ref, None), 0, ("never", "entry.state_deleted"), {})
    kind, key, given = _state(found, call)
    place = names.index(found.backend) + 1 if found.backend in names else 0
    shape = title_of(found.ref, found.connection.conn_type if found.connection else None)
    return Look(found.ref, ref, found, shape, place, (kind, key), given)


def _names(call: Call) -> list[str]:
    """Give the backends of the chain in their order."""
    return [link.name for link in call.place.chain.links]


def _was_there(call: Call, ref: Ref) -> bool:
    try:
        return bool(call.room.entries.history(ref))
    except (NotFoundError, ReadOnlyError):
        return False


def _state(found: Described, call: Call) -> tuple[str, str, dict[str, object]]:
    """Give the worst that is known: what cannot be read before what a list says of it."""
    if found.problem is not None:
        return "unreadable", "entry.state_unreadable", {}
    ends = [one for one in (found.metadata.not_after, found.metadata.expires_at) if one is not None]
    left = min(ends) - found.read_at if ends else None
    if left is not None and left < _SOON:
        return "due", "entry.state_ends", {"count": max(0, left.days)}
    tests = call.place.trials.of(found.ref)
    if tests and not tests[0].is_ok:
        return "failed", "entry.state_test_failed", {}
    clash = _clash(found, call)
    return ("clash", "entry.state_clash", {"name": clash}) if clash else ("ok", "entry.state_ok", {})


def _clash(found: Described, call: Call) -> str:
    """Give the name that a backend cannot tell from this one, as lists know it; "" for none."""
    # Asked first: a refusal would go on record, and nobody asked for a list.
    if not call.place.guard.can(call.identity.actor, Action.LIST, None).is_allowed:
        return ""
    lines = call.room.register.lines([found.ref])
    return next((line.clash for line in lines if line.clash and line.row.backend == found.backend), "")


def answer(
    call: Call,
    look: Look,
    asked: EntryQuery,
    *,
    block: str | None = None,
    toast: Toast | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Give what is seen of *look* by the tab that is *asked* for."""
    tab: Tab = asked.tab if look.found is not None or asked.tab in _OF_DELETED else "history"
    shown: dict[str, Any] = {"trouble": None}
    try:
        shown |= _SHOWS[tab](call, look, asked)
    except InvalidInputError:
        raise
    except StrongroomError as error:
        shown["trouble"] = _trouble(error)
    return page(
        call,
        "entry.html",
        nav="inventory",
        title="entry.title",
        twin=twin_of(tab, look.ref, asked),
        block=block,
        toast=toast,
        oob=("facts_oob",) if _is_part(call, block) else (),
        headers=headers,
        tab=tab,
        tabs=_tabs(look),
        asked=asked,
        close=_list_of(call),
        push="true" if _is_page(call) else "false",
        **_nothing_shown() | shown | around(call, look),
    )


def around(call: Call, look: Look) -> dict[str, Any]:
    """Give what every template of an entry prints beside what it shows."""
    ref, path = look.ref, f"{look.ref.kind}/{look.ref.name}"
    may = partial(_may, call, ref)
    return {
        "look": look,
        "found": look.found,
        "conn_type": look.found.connection.conn_type if look.found and look.found.connection else None,
        "address": lambda **query: url_for(call, f"/entries/{path}", team=ref.team, **query),
        "act": lambda verb: url_for(call, f"{verb}/{path}", team=ref.team),
        "reveal": lambda part, act: url_for(call, f"/reveal/{path}", team=ref.team, part=part, act=act),
        "edit": url_for(call, f"/edit/{path}", team=ref.team) if may(Action.WRITE) else None,
        "can_write": may(Action.WRITE),
        "sees_records": call.place.guard.can(call.identity.actor, Action.DESCRIBE, None).is_allowed,
        "can_reveal": may_reveal(call, ref),
        "keys": _KEYS,
        "short": short,
        "person": person,
        "moment": moment,
        "span": span,
        "clean": lambda text: without_paths(text or ""),
        "slot_of": slot_of,
        "family": family,
    }


def may_reveal(call: Call, ref: Ref) -> bool:
    """Tell whether a reveal would be allowed, or allowed once a second person agreed."""
    decision = call.room.policies.can(Action.REVEAL, ref)
    return decision.is_allowed or decision.reason == NEEDS_APPROVAL


def _may(call: Call, ref: Ref, action: Action) -> bool:
    return call.room.policies.can(action, ref).is_allowed


def _is_part(call: Call, block: str | None) -> bool:
    """Tell whether the facts over the tabs are not in what is given."""
    return (block or call.headers.get("hx-target")) == "entry"


def _where(call: Call) -> SplitResult:
    """Give the address that the reader is at, as htmx says it."""
    with suppress(ValueError):
        return urlsplit(call.headers.get("hx-current-url", ""))
    return SplitResult("", "", "", "", "")


def _is_page(call: Call) -> bool:
    """Tell whether the entry is a page of its own; beside a list the address stays that of the list."""
    there = _where(call)
    return not is_htmx(call) or there.path.startswith(url_for(call, "/entries/"))


def _list_of(call: Call) -> str:
    """Give the address of the list the drawer stands beside: where the reader is, if that is one of ours."""
    there = _where(call)
    home = url_for(call, "/inventory")
    if there.path != home:
        return home
    kept = [(name, value) for name, value in parse_qsl(there.query) if name != "open"]
    return f"{home}?{urlencode(kept)}" if kept else home


def short(version: str) -> str:
    """Give a version as it fits into a line; those of some stores are long digests."""
    return version if len(version) <= _SHORT else version[:_SHORT]


def person(actor: str) -> str:
    """Give an actor as people call him."""
    return actor.removeprefix(PERSON)


def moment(text: str) -> datetime | None:
    """Give the time a record tells, None of a text that is none."""
    with suppress(ValueError):
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    return None


def _trouble(error: StrongroomError) -> dict[str, str]:
    """Give why a tab cannot be drawn, in the words of the service."""
    kind = "denied" if isinstance(error, AccessDeniedError) else error.code
    return {"kind": kind, "text": without_paths(str(error)), "hint": without_paths(error.hint or "")}


def _nothing_shown() -> dict[str, Any]:
    names = ("lines", "more", "spelled", "versions", "older", "diff", "rows", "readership", "explained")
    return dict.fromkeys((*names, "may", "everybody", "tests", "current", "ends"))


def _tabs(look: Look) -> tuple[Tab, ...]:
    if look.found is None:
        return _OF_DELETED
    left_out = {"uri", "tests"} if look.ref.kind == "variable" else set()
    return tuple(tab for tab in TABS if tab not in left_out)


# --- what each tab shows -------------------------------------------------------------------------


def _form(_call: Call, look: Look, _asked: EntryQuery) -> dict[str, Any]:
    assert look.found is not None  # noqa: S101 -- a deleted entry has no such tab
    lines, more = lines_of(look.found)
    return {"lines": lines, "more": more}


def _spelled(_call: Call, look: Look, asked: EntryQuery) -> dict[str, Any]:
    form = next(one for one in FORMS if one == asked.tab)
    found = look.found
    assert found is not None  # noqa: S101 -- as `_form`
    if look.ref.kind == "variable":
        return {"spelled": spelled_variable(look.ref, form)}
    if found.connection is None:
        return {"spelled": None}
    return {"spelled": spelled(look.ref, found.connection, form, over=found.overlay)}


def _history(call: Call, look: Look, asked: EntryQuery) -> dict[str, Any]:
    try:
        versions = call.room.entries.history(look.ref, at=asked.at)
    except (NotFoundError, ReadOnlyError):
        return {"versions": []}
    shown = versions if asked.all_ else versions[:_VERSIONS]
    current = next((info.version for info in versions if info.is_current), None)
    found = {"versions": shown, "older": len(versions) - len(shown), "current": current, "ends": None}
    pair = _pair(versions, asked)
    if pair is None:
        return found
    diff = call.room.entries.diff(look.ref, *pair, at=asked.at)
    return {**found, "ends": pair, "diff": diff, "rows": _diff_rows(diff)}


def _pair(versions: Sequence[VersionInfo], asked: EntryQuery) -> tuple[str, str] | None:
    """Give the versions to compare: as asked, or the two newest."""
    known = [info.version for info in versions]
    to = asked.to if asked.to in known else next(iter(known), None)
    if to is None:
        return None
    older = known[known.index(to) + 1 :]
    from_ = asked.from_ if asked.from_ in known else next(iter(older), None)
    return None if from_ is None or from_ == to else (from_, to)


def _diff_rows(diff: Diff) -> list[dict[str, Any]]:
    return [
        {
            "field": one.field,
            "sealed": any(side is not None and side.text is None for side in (one.before, one.after)),
            "same": False,
            "before": _side(one.before),
            "after": _side(one.after),
        }
        for one in diff.fields
    ]


def _side(side: Any) -> str | None:  # noqa: ANN401 -- a Side or None
    if side is None:
        return None
    return side.text if side.text is not None else f"{side.mark[:4]} {side.mark[4:]}"


def _used(call: Call, look: Look, asked: EntryQuery) -> dict[str, Any]:
    from strongroom.audit.query import Place  # noqa: PLC0415 -- only this tab looks at records

    start = None if asked.before is None else Place(max(0, asked.before))
    return {"readership": call.room.audit.readers(look.ref, start=start)}


def _resolution(call: Call, look: Look, asked: EntryQuery) -> dict[str, Any]:
    dag, task = asked.dag.strip()[:_MAX_RUN], asked.task.strip()[:_MAX_RUN]
    explained = call.room.lookup.explain(look.asked, run=claimed(dag, task))
    is_admin = call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed
    return {"explained": told(explained, _names(call), dag=dag, task=task), "is_admin": is_admin}


def _access(call: Call, look: Look, _asked: EntryQuery) -> dict[str, Any]:
    policies = call.room.policies
    mine = [(action, policies.can(action, look.ref)) for action in _ACTIONS]
    everybody: list[May] | None
    try:
        everybody = policies.who_can(look.ref)
    except AccessDeniedError:
        everybody = None
    able = {name: [one.actor for one in everybody or () if Action(name) in one.actions] for name in _TOLD}
    return {"may": mine, "everybody": everybody, "able": able, "most_named": _NAMED, "most_rows": _ROWS}


def _tests(call: Call, look: Look, _asked: EntryQuery) -> dict[str, Any]:
    return {"tests": trial_words(call, look.ref)}


_ACTIONS = (
    Action.LIST,
    Action.DESCRIBE,
    Action.READ,
    Action.REVEAL,
    Action.WRITE,
    Action.DELETE,
    Action.ROTATE,
    Action.TEST,
)
_OF_DELETED: tuple[Tab, ...] = ("history", "used", "access")
_SHOWS: Mapping[Tab, Callable[[Call, Look, EntryQuery], dict[str, Any]]] = {
    "form": _form,
    "json": _spelled,
    "uri": _spelled,
    "env": _spelled,
    "history": _history,
    "used": _used,
    "resolution": _resolution,
    "access": _access,
    "tests": _tests,
}


# --- the same elsewhere --------------------------------------------------------------------------


def twin_of(tab: Tab, ref: Ref, asked: EntryQuery | None = None) -> Twin:
    """Give a tab as a command and as a call."""
    noun, team = f"{ref.kind}s", ref.team
    run = {"dag": asked.dag, "task": asked.task} if asked is not None else {}
    pair = {"from": asked.from_ or "", "to": asked.to or ""} if asked is not None else {}
    path = f"/{ref.kind}/{quote(ref.name)}"
    if tab == "history":
        call = call_of(f"/v1/diff{path}", pair | _team(ref)) if all(pair.values()) and pair else ""
        return Twin(
            command_of(f"{noun} history", {}, ref.name, team=team),
            path=call or call_of(f"/v1/history{path}", _team(ref)),
        )
    if tab == "used":
        query = {"kind": ref.kind, "name": ref.name, **_team(ref)}
        return Twin(command_of("audit tail", {"name": ref.name}, team=team), path=call_of("/v1/audit", query))
    if tab == "resolution":
        command = command_of("explain", run, ref.kind, ref.name, team=team)
        return Twin(command, path=call_of(f"/v1/explain{path}", run | _team(ref)))
    if tab == "access":
        command = command_of("access who", {}, ref.kind, ref.name, team=team)
        return Twin(command, path=call_of(f"/v1/access/entry{path}", _team(ref)))
    command = command_of(f"{noun} {'test' if tab == 'tests' else 'get'}", {}, ref.name, team=team)
    return Twin(command, path=call_of(f"/v1/{'test' if tab == 'tests' else 'entries'}{path}", _team(ref)))


def _team(ref: Ref) -> dict[str, str]:
    return {"team": ref.team or ""}


ENDPOINTS = (
    Endpoint(
        "GET",
        "/entries/{kind}/{name:path}",
        entry,
        "One entry, without its secrets",
        "entry",
        asks=EntryQuery,
        cost=2.0,
    ),
)
