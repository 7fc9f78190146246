"""
The palette: names, acts and pages for a few letters; and the list of keys.

    GET /search?q=ord     as one types; whole, it is a page with a form

A leading `>` asks for acts alone, a leading `#` for entries with a tag. What is found is what the register
lets this actor see; where it gives no answer, acts and pages are still there.

Not for finding the words of a value: there is no index of values.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from markupsafe import Markup, escape

from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.policy import Action
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.family import family
from strongroom.server.ui.frame import Twin, page, url_for
from strongroom.server.ui.texts import say
from strongroom.service.registered import MAX_TEXT, Asked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.registration import Registration

__all__ = ["ENDPOINTS"]

_MOST = 8  # entries of one answer
_LOOKED_AT = 40  # of those that fit, to put the best first


class _Place(NamedTuple):
    """
    A page or an act.

    Args:
        key: of its name in `base`, or below `search`.
        path: where it is.
        icon: before it.
        keys: that lead there.
        needs: what one must be allowed to do for it to be of use.
    """

    key: str
    path: str
    icon: str
    keys: str = ""
    needs: Action | None = None


class Option(NamedTuple):
    """
    One line of the palette.

    Args:
        text: what it says, the letters that fit marked.
        href: where it leads.
        icon: before it.
        keys: that lead there.
        note: what comes of it.
        place: of the entry's backend in the chain, 0 for none.
        source: name of the backend.
        is_hidden: the entry is shadowed.
    """

    text: Markup
    href: str
    icon: str
    keys: str = ""
    note: str = ""
    place: int = 0
    source: str = ""
    is_hidden: bool = False


class Group(NamedTuple):
    """Lines of one sort."""

    key: str
    options: Sequence[Option]


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """What is looked for."""

    q: str = ""


_PAGES = (
    _Place("base.overview", "/", "overview", "g o"),
    _Place("base.inventory", "/inventory", "inventory", "g i"),
    _Place("base.explain", "/explain", "explain", "g e"),
    _Place("base.deployments", "/deployments", "deploy", "g d"),
    _Place("base.backends", "/backends", "backends", "g b"),
    _Place("base.agents", "/agents", "agents"),
    _Place("base.audit", "/audit", "audit", "g a"),
    _Place("search.people", "/access/people", "people", needs=Action.ADMINISTER),
    _Place("search.groups", "/access/groups", "people", needs=Action.ADMINISTER),
    _Place("search.services", "/access/services", "agents", needs=Action.ADMINISTER),
    _Place("search.tokens", "/access/tokens", "token"),
    _Place("search.roles", "/access/roles", "access", needs=Action.ADMINISTER),
    _Place("search.policies", "/access/policies", "policy", needs=Action.ADMINISTER),
    _Place("search.approvals", "/access/approvals", "ok"),
    _Place("search.glass", "/access/break-glass", "glass"),
    _Place("base.import", "/import", "import", needs=Action.WRITE),
    _Place("search.you", "/settings/you", "person"),
    _Place("search.sessions", "/settings/sessions", "link"),
    _Place("search.keys_page", "/settings/keys", "key", needs=Action.ADMINISTER),
    _Place("search.backup", "/settings/backup", "backup", needs=Action.ADMINISTER),
    _Place("search.doctor", "/settings/doctor", "doctor", needs=Action.ADMINISTER),
    _Place("search.keyboard", "/keys", "kbd", "?"),
)
_ACTS = (
    _Place("search.new", "/entries/new", "plus", needs=Action.WRITE),
    _Place("search.bring", "/import", "import", needs=Action.WRITE),
    _Place("search.attention", "/inventory?health=unreadable&health=failed&health=clash&health=soon", "warn"),
    _Place("search.compare", "/deployments", "deploy"),
    _Place("search.may", "/access/tester", "access", needs=Action.ADMINISTER),
    _Place("search.token", "/access/add/token", "token", needs=Action.ADMINISTER),
    _Place("search.person", "/access/add/person", "person", needs=Action.ADMINISTER),
    _Place("search.policy", "/access/add/policy", "policy", needs=Action.ADMINISTER),
    _Place("search.examine", "/settings/doctor", "doctor", needs=Action.ADMINISTER),
    _Place("search.out", "/settings/sessions", "out"),
)
_OF_ENTRY = (
    ("explain_one", "/explain?kind={kind}&name={query}", "explain", None, ""),
    ("edit_one", "/edit/{kind}/{name}", "edit", Action.WRITE, ""),
    ("test_one", "/entries/{kind}/{name}?tab=tests", "play", Action.TEST, "connection"),
    ("copy_one", "/entries/{kind}/{name}", "copy", Action.REVEAL, ""),
    ("history_one", "/entries/{kind}/{name}?tab=history", "undo", None, ""),
)


def search(call: Call) -> Answer:
    """Give what the letters may mean."""
    text = call.asked(Search).q.strip()[:MAX_TEXT]
    return page(
        call,
        "search.html",
        title="search.title",
        twin=_twin(text.lstrip("> ")),
        q=text,
        groups=[group for group in _groups(call, text) if group.options],
    )


def keys(call: Call) -> Answer:
    """Tell which key does what."""
    return page(call, "keys.html", title="keyboard.title")


def _twin(text: str) -> Twin:
    if not text:
        return Twin("strongroom find", "GET", "/v1/find")
    word = shlex.quote(text)
    option = " --" if text.startswith("-") else ""
    return Twin(f"strongroom find{option} {word}", "GET", f"/v1/find?{urlencode({'q': text})}")


def _groups(call: Call, text: str) -> Iterator[Group]:
    is_acts = text.startswith(">")
    wanted = text.removeprefix(">").strip()
    lines = () if is_acts or not wanted else _entries(call, wanted)
    yield Group("entries", [_entry(call, line, wanted) for line in lines])
    acts = [] if is_acts or not lines else list(_of(call, lines[0].row.ref))
    pages = [] if is_acts or wanted.startswith("#") else list(_fitting(call, _PAGES, wanted))
    if not wanted.startswith("#"):
        acts += _fitting(call, _ACTS, wanted)
    if wanted and not lines and not acts and not pages:
        acts.append(_asked_for(call, wanted))
    yield Group("do", acts)
    yield Group("go", pages)


def _entries(call: Call, wanted: str) -> Sequence[Registration]:
    """Give the lines that fit, best first; none where none may be listed or nothing answers."""
    try:
        found = call.room.register.find(Asked(text=wanted, count=_LOOKED_AT))
    except (AccessDeniedError, BackendUnavailableError):
        return ()
    word = wanted.removeprefix("#").casefold()

    def order(line: Registration) -> tuple[bool, bool, bool, bool, str]:
        name = line.row.ref.name.casefold()
        return name != word, not name.startswith(word), word not in name, bool(line.row.shadowed_by), name

    return sorted((one.line for one in found.lines), key=order)[:_MOST]


def _entry(call: Call, line: Registration, wanted: str) -> Option:
    row = line.row
    return Option(
        text=Markup('<span class="mono">{}</span>').format(_marked(row.ref.name, wanted)),
        href=url_for(call, f"/entries/{row.ref.kind}/{row.ref.name}", team=row.ref.team),
        icon=f"t-{family(row.ref.kind, row.metadata.conn_type)}",
        note=row.ref.team or "",
        place=line.rank,
        source=row.backend,
        is_hidden=row.shadowed_by is not None,
    )


def _of(call: Call, ref: Ref) -> Iterator[Option]:
    """Give what may be done with an entry."""
    for key, path, icon, needs, kind in _OF_ENTRY:
        if (kind and kind != ref.kind) or (needs is not None and not _may(call, needs, ref)):
            continue
        place, _, query = path.format(kind=ref.kind, name=ref.name, query=quote(ref.name, safe="")).partition(
            "?"
        )
        href = url_for(call, place)
        team = f"team={quote(ref.team, safe='')}" if ref.team else ""
        rest = "&".join(one for one in (query, team) if one)
        yield Option(
            text=say(f"search.{key}", name=ref.name),
            href=f"{href}?{rest}" if rest else href,
            icon=icon,
            note=say("search.recorded") if needs is Action.REVEAL else "",
        )


def _fitting(call: Call, places: Sequence[_Place], wanted: str) -> Iterator[Option]:
    words = wanted.casefold().split()
    for one in places:
        name = str(say(one.key))
        known = f"{name} {say(f'{one.key}_also')}" if one.key.startswith("search.") else name
        if not all(word in known.casefold() for word in words):
            continue
        if one.needs is not None and not _may(call, one.needs, None):
            continue
        place, _, query = one.path.partition("?")
        href = url_for(call, place) + (f"?{query}" if query else "")
        yield Option(_marked(name, wanted), href, one.icon, one.keys)


def _asked_for(call: Call, wanted: str) -> Option:
    kind = "connection"
    return Option(
        text=say("search.explain_one", name=wanted),
        href=url_for(call, "/explain", kind=kind, name=wanted),
        icon="explain",
    )


def _may(call: Call, action: Action, ref: Ref | None) -> bool:
    return call.place.guard.can(call.identity.actor, action, ref).is_allowed


def _marked(name: str, wanted: str) -> Markup:
    """Underline where *wanted* stands in *name*."""
    at = name.casefold().find(wanted.casefold()) if wanted else -1
    if at < 0 or len(name.casefold()) != len(name):
        return escape(name)
    end = at + len(wanted)
    return Markup("{}<mark>{}</mark>{}").format(name[:at], name[at:end], name[end:])


ENDPOINTS = (
    Endpoint("GET", "/search", search, "Find an entry, a page or an act", "page", asks=Search),
    Endpoint("GET", "/keys", keys, "Tell which key does what", "page"),
)
