"""
What the pages of access share: tabs, lists in pages, and a form that was refused and keeps what was typed.

Not for deciding anything: each handler asks the noun of its page, which decides and records.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from strongroom.policy import Action, Role
from strongroom.policy.schema import ROLES
from strongroom.server.ui.frame import is_htmx, page, url_for
from strongroom.server.ui.texts import say
from strongroom.wire.failure import FieldError, status_of
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.errors import StrongroomError
    from strongroom.server.endpoint import Answer, Call
    from strongroom.server.ui.frame import Twin
    from strongroom.service.access import MembershipRow

__all__ = [
    "ACTIONS",
    "MAX_NAME",
    "MAX_TEXT",
    "FormQuery",
    "Known",
    "ListQuery",
    "Paged",
    "Wrong",
    "access_page",
    "asked",
    "known",
    "paged",
    "role_in",
    "role_named",
    "sentence",
    "span_in",
    "wrong",
]

T = TypeVar("T")


class ListQuery(Asked, kw_only=True):
    """
    What the address of a list or of one of its lines says.

    Args:
        q: only what has this in its name.
        page: from 1.
        state, view: only such lines.
        ask: the act that is asked about, as `delete`.
    """

    q: str = ""
    page: str = ""
    state: str = ""
    view: str = ""
    ask: str = ""


class FormQuery(Asked, kw_only=True):
    """What a form begins with."""

    q: str = ""
    page: str = ""
    name: str = ""
    actor: str = ""
    role: str = ""
    team: str = ""
    copied: str = ""


ACTIONS = tuple(action.value for action in Action)
MAX_NAME, MAX_TEXT = 250, 500
_TABS = (
    "people",
    "groups",
    "services",
    "tokens",
    "roles",
    "policies",
    "grants",
    "tester",
    "approvals",
    "break-glass",
)
_OF_ADMINISTRATORS = frozenset({"people", "groups", "services", "tokens", "roles", "policies"})
_LINES = 50
_OFFERED = 200
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MAX_SPAN = 99_999


class Wrong(NamedTuple):
    """
    What is wrong with a form.

    Args:
        text: a sentence.
        hint: what to do, or "".
        field: the one it is about; "" for the whole form.
        status: HTTP's.
    """

    text: str
    hint: str
    field: str
    status: int

    def at(self, field: str) -> str | None:
        """Give what to say under *field*; None where it is about another."""
        return f"{self.text} {self.hint}".strip() if field == self.field else None


class Known(NamedTuple):
    """
    Words a field offers; any other may be typed.

    Args:
        roles: those with policies of ours, and those somebody has.
        teams: that anybody has a role for.
        actors: that have a role.
    """

    roles: Sequence[str]
    teams: Sequence[str]
    actors: Sequence[str]


class Paged(NamedTuple, Generic[T]):
    """
    One page of a list.

    Args:
        rows: the lines of it.
        first: number of the first, from 1.
        total: of all that were found.
        previous, next: addresses; None where there is none.
    """

    rows: Sequence[T]
    first: int
    total: int
    previous: str | None
    next: str | None

    @property
    def last(self) -> int:
        """The number of the last line here; 0 for none."""
        return self.first + len(self.rows) - 1 if self.rows else 0


def access_page(  # noqa: PLR0913 -- what a page says of itself
    call: Call,
    template: str,
    tab: str,
    *,
    twin: Twin,
    title: str | None = None,
    block: str | None = None,
    wrong: Wrong | None = None,
    headers: Mapping[str, str] | None = None,
    **context: Any,  # noqa: ANN401 -- whatever its template prints
) -> Answer:
    """Give a page of access, with its tabs; *wrong* is what its form was refused for."""
    return page(
        call,
        f"access/{template}",
        nav="access",
        title=title or f"access.{tab.replace('-', '_')}.title",
        twin=twin,
        block=block if is_htmx(call) else None,
        status=200 if wrong is None else wrong.status,
        headers=headers,
        wrong=wrong,
        tabs=_tabs(call, tab),
        **context,
    )


def _tabs(call: Call, current: str) -> list[dict[str, object]]:
    is_admin = call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed
    waiting = sum(one.state == "pending" for one in call.room.policies.approvals.list())
    counts = {"approvals": waiting or None}
    return [
        {
            "href": url_for(call, f"/access/{name}"),
            "text": say(f"access.tab.{name.replace('-', '_')}"),
            "current": name == current,
            "count": counts.get(name),
        }
        for name in _TABS
        if is_admin or name not in _OF_ADMINISTRATORS
    ]


def asked(call: Call, name: str, *, most: int = MAX_NAME) -> str:
    """Give the one value of *name* in the address, cut at *most* characters; "" for none."""
    values = call.query.get(name, [])
    return values[0].strip()[:most] if values else ""


def paged(call: Call, rows: Sequence[T], path: str, **query: object) -> Paged[T]:
    """Give the page of *rows* that the address names; what stands behind the last is the last."""
    number = 1
    with suppress(ValueError):
        number = int(asked(call, "page", most=6) or 1)
    number = max(1, min(number, -(-len(rows) // _LINES) or 1))
    start = (number - 1) * _LINES

    def there(other: int) -> str:
        return url_for(call, path, **query, page=other if other > 1 else None)

    return Paged(
        rows[start : start + _LINES],
        start + 1,
        len(rows),
        there(number - 1) if number > 1 else None,
        there(number + 1) if start + _LINES < len(rows) else None,
    )


def wrong(error: StrongroomError, fields: Mapping[str, str], default: str = "") -> Wrong:
    """
    Say what is wrong with a form.

    Args:
        error: of the noun that refused it.
        fields: the field by a word its message has; the first that fits counts.
        default: the field where none fits.
    """
    text = str(error)
    named = getattr(error, "field", "")
    field = named if named and not named.startswith("$") else ""
    field = field or next((field for word, field in fields.items() if word in text), default)
    hint = getattr(error, "hint", None) or ""
    return Wrong(sentence(text), sentence(hint), field, status_of(error))


def sentence(text: str) -> str:
    """Give a clause of ours as a sentence: it begins large and ends with a full stop."""
    if not text:
        return ""
    first = text.partition(" ")[0]
    begun = text if set(first) & set("_:.=/") or first == "strongroom" else text[0].upper() + text[1:]
    return begun if begun.endswith((".", "…", "?", ":")) else f"{begun}."


def role_named(role: Role) -> str:
    """Give *role* for a field: `op`, or `op@data` for a team."""
    return role.name if role.team is None else f"{role.name}@{role.team}"


def role_in(name: str, team: str) -> Role | None:
    """Give the role that was typed; None where nothing was."""
    return Role(name.strip(), team.strip() or None) if name.strip() else None


def known(rows: Sequence[MembershipRow]) -> Known:
    """Give the words that fields for roles, teams and actors offer, of who has which role."""
    return Known(
        sorted({*ROLES, *(row.role for row in rows)}),
        sorted({row.team for row in rows if row.team})[:_OFFERED],
        sorted({row.actor for row in rows})[:_OFFERED],
    )


def span_in(text: str, *, field: str) -> timedelta:
    """
    Read `30m`, `2h` or `7d`.

    Raises:
        FieldError: it is none.
    """
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit in _UNITS and number.isascii() and number.isdigit() and 0 < int(number[:9]) <= _MAX_SPAN:
        return timedelta(**{_UNITS[unit]: int(number)})
    raise FieldError("this is no span of time", field=field, hint="as 30m, 2h or 7d")
