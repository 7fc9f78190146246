"""What commands about entries have in common: how entries are shown, asked about and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import terminal
from strongroom.cli.output import Column, sentence, show_record
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, MalformedEntryError, NotFoundError, StrongroomError
from strongroom.model.entry import EntryState, Metadata
from strongroom.model.ref import Kind, Ref

if TYPE_CHECKING:
    from strongroom.service.entries import Described, Written
    from strongroom.service.inventory import Row
    from strongroom.service.room import Room

__all__ = [
    "ROW_COLUMNS",
    "At",
    "Ca",
    "Comment",
    "ExpectedVersion",
    "ExpiresIn",
    "Force",
    "NotAfter",
    "Owner",
    "PlainHttp",
    "Purpose",
    "References",
    "RemindAt",
    "Said",
    "Standing",
    "Tag",
    "To",
    "Yes",
    "age",
    "ask_reason",
    "facts_of_row",
    "is_text",
    "name_argument",
    "note_nothing",
    "pages_of",
    "public_text",
    "show_entry",
    "standing",
    "tell_written",
]

_PAGE = 1000
_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
# Unit, its seconds, and from how many of it on it is said: 47 h tell more than 1 d.
_AGES = (("y", 31_557_600, 2), ("d", 86_400, 2), ("h", 3600, 1), ("min", 60, 1))
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def public_text(param: typer.CallbackParam, value: Any) -> Any:  # noqa: ANN401 -- a text, several or none
    """
    Refuse an option's text that is none, as bytes of another character set become on the command line.

    Raises:
        InvalidInputError: it cannot be kept.
    """
    for text in value if isinstance(value, (list, tuple)) else [value]:
        if text is not None and not is_text(text):
            raise InvalidInputError(
                f"{max(param.opts, key=len)} is no text in this character set",
                hint="type it in UTF-8, or look at LANG and LC_ALL",
            )
    return value


def is_text(text: str) -> bool:
    """Tell whether *text* is Unicode: bytes that were none stand in it as halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", callback=public_text, help="A word to find it by; repeatable."),
]
Owner = Annotated[
    str | None, typer.Option("--owner", metavar="WHO", callback=public_text, help="Who to ask about it.")
]
RemindAt = Annotated[
    str | None, typer.Option("--remind-at", metavar="DATE", help="When to remind, as 2026-12-31 or 90d.")
]
NotAfter = Annotated[
    str | None, typer.Option("--not-after", metavar="DATE", help="From then on it is refused.")
]
ExpiresIn = Annotated[
    str | None, typer.Option("--expires-in", metavar="TIME", help="Gone after so long, as 45m, 12h or 7d.")
]
References = Annotated[
    bool | None,
    typer.Option(
        "--references/--no-references", help="Resolve ${variable/…} and ${connection.…/…} when it is read."
    ),
]

At = Annotated[
    str | None, typer.Option(metavar="BACKEND", help="The backend to use, if not the first that has it.")
]
To = Annotated[str | None, typer.Option(metavar="BACKEND", help="The backend to write to.")]
Comment = Annotated[str, typer.Option(metavar="TEXT", callback=public_text, help="Why; kept in the history.")]
ExpectedVersion = Annotated[
    str | None, typer.Option(metavar="VERSION", help="Only if this version stands; else nothing is changed.")
]
Force = Annotated[bool, typer.Option("--force", help="Write even where a higher backend hides it.")]
Purpose = Annotated[str, typer.Option(metavar="TEXT", callback=public_text, help="What it is for; public.")]
Ca = Annotated[
    str | None, typer.Option("--ca", metavar="FILE", help="PEM file of the authority that signed it.")
]
PlainHttp = Annotated[
    bool,
    typer.Option("--plain-http", help="Speak http to another machine: something else keeps the way safe."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _type_of(row: Mapping[str, object]) -> object:
    # A connection of which no type is known says so; a variable has none.
    return row.get("conn_type") or ("\u2013" if row.get("kind") == "connection" else "")


def _trouble_of(row: Mapping[str, object]) -> object:
    state = row.get("state")
    return "" if state == EntryState.OK.value else "\u2013" if state is None else state


def _age_of(row: Mapping[str, object]) -> object:
    changed_at = row.get("changed_at")
    return age(changed_at, datetime.now(timezone.utc)) if isinstance(changed_at, datetime) else ""


ROW_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("kind", "KIND", 2),
    Column("conn_type", "TYPE", 1, show=_type_of),
    Column("backend", "BACKEND"),
    Column("shadowed", "HIDES", 1, styles={"": "yellow"}),
    Column("shadowed_by", "SHADOWED BY", 1, styles={"": "yellow"}),
    Column("state", "STATE", 1, styles={"": "red", "\u2013": "dim"}, show=_trouble_of),
    Column("version", "VERSION", 2, is_number=True),
    Column("changed_at", "AGE", 2, styles={"": "dim"}, is_number=True, show=_age_of),
    Column("owner", "OWNER", 4),
    Column("tags", "TAGS", 4),
    Column("not_after", "NOT AFTER", 3, styles={"": "red"}),
    Column("problem", "PROBLEM", 2),
    Column("description", "DESCRIPTION", 3),
)


_ENTRY_LABELS = {
    "problem": "problem",
    "backend": "backend",
    "shadowed": "hides",
    "version": "version",
    "changed_at": "changed",
    "description": "description",
    "tags": "tags",
    "owner": "owner",
    "remind_at": "remind at",
    "not_after": "not after",
    "expires_at": "expires at",
}

# --- how entries are shown -----------------------------------------------------------------------


def show_entry(
    session: Session, found: Described, value: Mapping[str, object], *, labels: Mapping[str, str]
) -> None:
    """
    Show one entry: its name, its *value* as far as it may be seen, and what stands beside it.

    Args:
        session: says how.
        found: the entry.
        value: fields of the value.
        labels: which of them a table shows, in order, and how it calls them.
    """
    record = {"kind": found.ref.kind, "name": found.ref.name, "team": found.ref.team, **value}
    record |= {
        "problem": found.problem,
        "backend": found.backend,
        "shadowed": found.shadowed,
        "version": found.version,
        "changed_at": found.changed_at,
    }
    facts = _facts_of(found.metadata)
    facts["description"] = facts["description"] or value.get("description")
    head = {"name": found.ref.kind, "team": "team"}
    show_record(session, record | facts, labels={**head, **labels, **_ENTRY_LABELS})


def _facts_of(metadata: Metadata) -> dict[str, object]:
    """Give what may be told of an entry besides its value."""
    return {
        "description": metadata.description,
        "tags": metadata.tags,
        "owner": metadata.owner,
        "remind_at": metadata.remind_at,
        "not_after": metadata.not_after,
        "expires_at": metadata.expires_at,
        "references": metadata.references,
    }


def facts_of_row(row: Row) -> dict[str, object]:
    """Give one line of a listing."""
    return {
        "name": row.ref.name,
        "kind": row.ref.kind,
        "team": row.ref.team,
        "conn_type": row.metadata.conn_type,
        "backend": row.backend,
        "shadowed": row.shadowed,
        "shadowed_by": row.shadowed_by,
        "state": None if row.state is EntryState.UNKNOWN else row.state.value,
        "problem": row.problem,
        "version": row.version,
        "changed_at": row.changed_at,
        **_facts_of(row.metadata),
    }


def age(then: datetime, now: datetime) -> str:
    """Give how long ago *then* was, as people say it: `now`, `5 min`, `2 h`, `3 d`, `4 y`."""
    seconds = (now - then).total_seconds()
    for unit, length, least in _AGES:
        if seconds >= least * length:
            return f"{int(seconds // length)} {unit}"
    return "now"


def pages_of(fetch: Callable[[Ref | None, int], list[Row]], *, limit: int | None) -> Iterator[list[Row]]:
    """
    Give pages of rows until there are no more, or *limit* were given.

    Args:
        fetch: gives the rows after a ref, and how many at most.
        limit: rows in all; None for no limit.
    """
    after, left = None, limit
    while left is None or left > 0:
        wanted = _PAGE if left is None else min(_PAGE, left)
        page = fetch(after, wanted)
        if page:
            yield page
        if len(page) < wanted:
            return
        after = page[-1].ref
        left = None if left is None else left - len(page)


def tell_written(session: Session, ref: Ref, written: Written, *, did: str) -> None:
    """Answer a change: what was done (*did*, as in `written to`), where, and the version that stands."""
    version = "" if written.version is None else f", version {written.version}"
    facts = {"kind": ref.kind, "name": ref.name, "team": ref.team, "done": did.rpartition(" ")[0]}
    sentence(
        session,
        f"{ref}: {did} {written.backend}{version}",
        facts | {"backend": written.backend, "version": written.version},
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What is there before a write.

    Args:
        backend: that answers for the name.
        described: None where what it holds cannot be used (expired, malformed): a write mends it.
    """

    backend: str
    described: Described | None

    @property
    def metadata(self) -> Metadata | None:
        return self.described.metadata if self.described else None

    def version_at(self, backend: str | None, *, force: bool) -> str | None:
        """
        Give the version to write over at *backend* (None: where it is), or None where it was not seen.

        A forced write may go below the backend that answers, to a version nobody looked at.
        """
        if self.described is None or force or backend not in (None, self.backend):
            return None
        return self.described.version


def standing(room: Room, ref: Ref) -> Standing | None:
    """Give what stands under exactly *ref*, or None."""
    try:
        found = room.entries.describe(ref)
    except NotFoundError:
        return None
    except MalformedEntryError as error:
        return Standing(error.backend, None)
    return Standing(found.backend, found) if found.ref == ref else None


def note_nothing(session: Session, what: str, *, is_narrowed: bool) -> None:
    """
    Say that a listing is empty, and what to type about it.

    Args:
        session: says for which team.
        what: verb and noun, as in `are no connections`.
        is_narrowed: only some names were asked for, so that there may be others.
    """
    team = f" of the team {session.team}" if session.team else ""
    if is_narrowed:
        terminal.note(f"there {what}{team} among the names asked for", session)
        return
    # Whoever wrote a chain has said where entries are kept.
    has_place = session.is_remote or bool(session.settings().chain) or session.settings().store.may_exist
    more = "" if has_place else "; `strongroom up` makes a store"
    terminal.note(f"there {what}{team} here yet{more}", session)


# --- what commands ask for -----------------------------------------------------------------------


def name_argument(kind: Kind, text: str) -> Any:  # noqa: ANN401 -- what typer's own function gives
    """Give the argument NAME, as a parameter's default; it completes from the names of *kind*."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        # A shell that completes must not show errors, nor ask for a passphrase.
        with suppress(StrongroomError):
            session: Session = ctx.obj
            with session.room(asks=False) as room:
                rows = room.entries.list(kind, team=session.team, prefix=incomplete, limit=100)
                return [row.ref.name for row in rows]
        return []

    return typer.Argument(..., metavar="NAME", help=text, autocompletion=complete, show_default=False)


def ask_reason(reason: str | None) -> str:
    """
    Give why a secret is revealed, asking where it was not said.

    Raises:
        InvalidInputError: it was not said and there is nobody to ask.
    """
    if reason:
        return reason
    if not terminal.can_ask():
        raise InvalidInputError("a reveal needs a reason", hint='say why: --reason "checking the port"')
    return terminal.ask_text("reason, for the record: ")


@dataclass(frozen=True, slots=True)
class Said:
    """What was said on the command line of the facts beside a value; None and () were not said."""

    description: str | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    remind_at: datetime | None = None
    not_after: datetime | None = None
    expires_at: datetime | None = None
    references: bool | None = None

    @classmethod
    def of(
        cls,
        description: str | None,
        tags: Sequence[str] | None,
        owner: str | None,
        dates: tuple[str | None, str | None, str | None],
        *,
        references: bool | None,
    ) -> Said:
        """
        Read the options; *dates* are those of --remind-at, --not-after and --expires-in.

        Raises:
            InvalidInputError: a date that is none.
        """
        return cls(
            description=description,
            tags=tuple(sorted({tag.strip() for tag in tags or () if tag.strip()})),
            owner=owner,
            remind_at=_moment(dates[0], "--remind-at"),
            not_after=_moment(dates[1], "--not-after"),
            expires_at=_moment(dates[2], "--expires-in"),
            references=references,
        )

    def over(self, base: Metadata | None) -> Metadata | None:
        """Put what was said over *base*; None where nothing was said, so that all is kept."""
        told = ((one.name, getattr(self, one.name)) for one in fields(self))
        said = {name: value for name, value in told if value not in (None, ())}
        kept = (base or Metadata()).renewed(datetime.now(timezone.utc))
        return replace(kept, **said) if said else None


def _moment(text: str | None, option: str) -> datetime | None:
    """Read `2026-12-31`, `2026-12-31T12:00Z` or `90d` (from now); without a zone it is UTC."""
    if text is None:
        return None
    span = _SPAN.fullmatch(text)
    if span:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        return now + timedelta(**{_UNITS[span[2]]: int(span[1])})
    with suppress(ValueError):
        moment = datetime.fromisoformat(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    raise InvalidInputError(
        f"{option} is no date", hint=f"{option} 2026-12-31, 2026-12-31T12:00Z or 90d (from now)"
    )
