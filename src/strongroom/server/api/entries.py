"""
`/entries`: list, look at, write and delete entries; none of these answers holds a secret.

Rules of this file:

1. A page of a filtered list looks at a bounded number of names and then ends, with a cursor: a rare match
   costs many short pages, never a long one. Another order than that of names is `order.py`'s.
2. `***` is what stands for a secret that is not shown. Written back it keeps what is stored, and the answer
   names what was kept (facts RT12); the three stars themselves are written with `is_literal`.
3. `If-Match` and `If-None-Match` are checked by the store in the transaction of the change.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.server.api.asked import Condition, Troubles, bounded, entry_of, known_team
from strongroom.server.api.cursor import CURSORS
from strongroom.server.api.order import places_after, rows_at
from strongroom.server.api.shape import row_of, view_of, written_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.entries import HIDDEN, Change, merge_hidden
from strongroom.service.inventory import Choice
from strongroom.service.showing import hidden_in
from strongroom.wire.entry import (
    EntryPage,
    EntryQuery,
    EntryRow,
    EntryView,
    EntryWritten,
    TeamQuery,
    WriteEntry,
    WriteQuery,
)
from strongroom.wire.failure import FieldError
from strongroom.wire.shape import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.server.endpoint import Call
    from strongroom.service.entries import Described, Entries, Written
    from strongroom.service.inventory import Row
    from strongroom.wire.entry import EntryFacts, FactsOver, InventoryQuery

__all__ = ["ENDPOINTS", "HIDDEN", "facts_in", "page_of"]

T = TypeVar("T")

MAX_LOOKED_AT = 500  # names one page of a filtered list looks at
_MAX_DESCRIPTION = 4096
_MAX_OWNER = 250
_MAX_TAG = 100
_MAX_TAGS = 50


# --- listing -----------------------------------------------------------------------------------------


def list_entries(call: Call) -> EntryPage:
    """Give one page of the entries the actor may list, ordered by kind and name."""
    asked = call.asked(EntryQuery)
    choice = Choice(prefix=asked.prefix, backends=tuple(asked.backend))
    if asked.is_deleted:
        return _deleted(call, asked)
    if (asked.sort, asked.order) != ("name", "asc"):
        return _in_order(call, asked, choice)
    return page_of(call, "entries", asked, choice, _filter(asked))


def _deleted(call: Call, asked: EntryQuery) -> EntryPage:
    """Give one page of what is softly deleted, by kind and name."""
    if (asked.sort, asked.order) != ("name", "asc") or asked.backend:
        raise InvalidInputError(
            "what is deleted is listed by name alone", hint="leave sort, order, backend out"
        )
    position = CURSORS.read(call, "deleted", asked.cursor)
    troubles, inventory = Troubles(), call.room.inventory
    rows = inventory.deleted(
        asked.kind,
        team=known_team(asked.team),
        prefix=asked.prefix,
        after=None if position is None else Ref(position[0], position[1]),  # type: ignore[arg-type]  # written below
        limit=MAX_LOOKED_AT + 1,
        on_trouble=troubles,
    )
    shown, last = _gathered(rows, asked.limit, _filter(asked), is_deleted=True)
    cursor = None if last is None else CURSORS.write(call, "deleted", [last.kind, last.name])
    return EntryPage(entries=shown, cursor=cursor, troubles=troubles.found, not_listable=[])


def _in_order(call: Call, asked: EntryQuery, choice: Choice) -> EntryPage:
    """Give one page in another order than that of names."""
    troubles, inventory, fits = Troubles(), call.room.inventory, _filter(asked)
    is_narrow = fits is not None or not choice.takes_all
    places = places_after(call, asked, CURSORS.read(call, "order", asked.cursor), troubles)
    rows: list[EntryRow] = []
    last, looked_at, ahead = None, 0, list(islice(places, asked.limit + 1))
    while ahead and len(rows) < asked.limit and not (is_narrow and looked_at >= MAX_LOOKED_AT):
        batch = ahead[: asked.limit]
        found = rows_at(inventory, batch, known_team(asked.team), choice, troubles)
        for place in batch:
            rows += [row_of(row) for row in found.get(place[1:], ()) if fits is None or fits(row)]
            last, looked_at = place, looked_at + 1
            if len(rows) >= asked.limit:
                break
        done = batch.index(place) + 1
        ahead = ahead[done:] + list(islice(places, done))
    cursor = CURSORS.write(call, "order", list(last)) if ahead and last is not None else None
    return EntryPage(
        entries=rows, cursor=cursor, troubles=troubles.found, not_listable=list(inventory.not_listable)
    )


def page_of(
    call: Call,
    what: str,
    asked: EntryQuery | InventoryQuery,
    choice: Choice,
    fits: Callable[[Row], bool] | None = None,
) -> EntryPage:
    """
    Give one page of a list of rows.

    Args:
        call: the request.
        what: the list, as its cursors are bound to it.
        asked: which kind, team and page.
        choice: which rows, as far as the inventory can tell.
        fits: which of those; None for all.
    """
    position = CURSORS.read(call, what, asked.cursor)
    troubles, inventory = Troubles(), call.room.inventory
    pages = inventory.pages(
        asked.kind,
        team=known_team(asked.team),
        choice=choice,
        after=None if position is None else Ref(position[0], position[1]),  # type: ignore[arg-type]  # written below
        limit=(asked.limit if fits is None else MAX_LOOKED_AT) + 1,
        on_trouble=troubles,
    )
    rows, last = _gathered(chain.from_iterable(pages), asked.limit, fits)
    cursor = None if last is None else CURSORS.write(call, what, [last.kind, last.name])
    return EntryPage(
        entries=rows, cursor=cursor, troubles=troubles.found, not_listable=list(inventory.not_listable)
    )


def _gathered(
    found: Iterable[Row], limit: int, fits: Callable[[Row], bool] | None, *, is_deleted: bool = False
) -> tuple[list[EntryRow], Ref | None]:
    """Give the rows of one page, and the last name that was looked at where there are more."""
    rows: list[EntryRow] = []
    last, looked_at = None, 0
    for row in found:
        if row.ref != last:  # the rows of one name stay together
            if last is not None and (len(rows) >= limit or (fits is not None and looked_at >= MAX_LOOKED_AT)):
                return rows, last
            last = row.ref
            looked_at += 1
        if fits is None or fits(row):
            rows.append(row_of(row, is_deleted=is_deleted))
    return rows, None


def _filter(asked: EntryQuery) -> Callable[[Row], bool] | None:
    """Give what a row must fulfil beside what the inventory sees to; None where that is nothing."""
    tags, conn_type, needle = frozenset(asked.tag), asked.conn_type, asked.search.casefold()
    if not (tags or conn_type or needle):
        return None

    def fits(row: Row) -> bool:
        facts = row.metadata
        if conn_type and facts.conn_type != conn_type:
            return False
        if not tags <= set(facts.tags):
            return False
        texts = (row.ref.name, facts.description or "", facts.owner or "", *facts.tags)
        return not needle or any(needle in text.casefold() for text in texts)

    return fits


# --- one entry ---------------------------------------------------------------------------------------


def describe(call: Call) -> Answer:
    """Give what may be seen of an entry."""
    ref = entry_of(call, call.asked(TeamQuery).team)
    found = call.room.entries.describe(ref)
    return Answer(view_of(found), etag=found.version)


def write(call: Call) -> Answer:
    """Write an entry; see the rules of this file."""
    asked, body = call.asked(WriteQuery), call.take(WriteEntry)
    writing = _Writing(call, body, entry_of(call, asked.team), at=asked.at, force=asked.force)
    written, is_new = writing.condition.around(writing.done)
    answer = written_of(writing.ref, written, kept=writing.kept)
    return Answer(answer, status=201 if is_new else 200, etag=written.version)


def delete(call: Call) -> EntryWritten:
    """Delete an entry, softly where versions are kept."""
    asked, condition = call.asked(WriteQuery), Condition.of(call)
    if condition.none_match is not None:
        raise InvalidInputError("If-None-Match makes no sense of a deletion")
    ref = entry_of(call, asked.team)
    entries = call.room.entries
    work = lambda: entries.delete(ref, expected_version=condition.expected_version, at=asked.at)  # noqa: E731 -- one line, called once
    return written_of(ref, condition.around(work))


class _Writing:
    """
    One write: what is said of the entry, laid over what stands.

    Attributes:
        ref: the entry.
        condition: what must stand.
        kept: the members that said `***` and stay as they are stored.
    """

    def __init__(self, call: Call, body: WriteEntry, ref: Ref, *, at: str | None, force: bool) -> None:
        self.ref = ref
        self.condition = Condition.of(call)
        self.kept: list[str] = []
        self._entries: Entries = call.room.entries
        self._body = body
        self._at = at
        self._force = force
        self._is_lenient = call.is_lenient
        self._check(call)
        self._facts = facts_in(body)

    def done(self) -> tuple[Written, bool]:
        """Write it; tells whether nothing stood before, as far as was looked."""
        standing = self._standing() if self._needs_standing else None
        if self._needs_standing:
            version = standing.version if standing else None
            self.condition.check(version, stands=standing is not None)
        change = Change(
            ref=self.ref,
            secret=self._named(lambda: self._secret(standing)),
            metadata=self._metadata(standing),
            expected_version=None if self._is_lenient else self.condition.expected_version,
            seen=self._seen(standing),
        )
        comment = bounded(self._body.comment, field="comment")
        written = self._named(
            lambda: self._entries.write(change, to=self._at, force=self._force, comment=comment)
        )
        return written, self.condition.none_match is not None or (self._needs_standing and standing is None)

    def _named(self, work: Callable[[], T]) -> T:
        """Do *work*; a value that cannot be kept is told as the wrong field it is."""
        refusal: FieldError | None = None
        try:
            return work()
        except InvalidInputError as error:
            if type(error) is not InvalidInputError or error.limit is not None:
                raise
            field = "$.value" if self._body.connection is UNSET else "$.connection"
            refusal = FieldError(str(error), field=field, hint=error.hint)
        raise refusal

    def _check(self, call: Call) -> None:
        body = self._body
        if self._at is not None and all(link.name != self._at for link in call.place.chain.links):
            raise InvalidInputError("the chain has no backend of that name", hint="see /v1/backends")
        said = (body.value is not UNSET, body.connection is not UNSET, body.unchanged)
        if sum(said) != 1:
            raise FieldError(
                "say exactly one of value, connection and unchanged",
                field="$",
                hint="see docs/api.md, Writing",
            )
        if body.connection is not UNSET and self.ref.kind != "connection":
            raise FieldError("only a connection has fields", field="$.connection", hint="say value")
        if isinstance(body.value, str) and len(body.value.encode()) > MAX_VALUE_BYTES:
            raise InvalidInputError(f"the value is over {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES)
        if body.unchanged and self.condition.none_match is not None:
            raise InvalidInputError(
                "what does not exist cannot stay unchanged", hint="leave If-None-Match out"
            )

    @property
    def _needs_standing(self) -> bool:
        """Whether what stands matters: part of it is kept, or only a look can tell whether anything does."""
        return bool(self._facts) or self._may_keep or "*" in self.condition

    @property
    def _may_keep(self) -> bool:
        """Whether anything of what is stored may be kept: then the three stars stand somewhere."""
        body = self._body
        if body.unchanged or body.is_literal:
            return body.unchanged
        return bool(hidden_in(body.connection)) or HIDDEN in str(body.value or "")

    def _standing(self) -> Described | None:
        try:
            found = self._entries.describe(self.ref)
        except NotFoundError:
            return None
        # The global entry answers for a team that has none; a write makes the team's own beside it.
        return found if found.ref == self.ref else None

    def _metadata(self, standing: Described | None) -> Metadata | None:
        if not self._facts:
            return None  # whatever stands is kept, and a change made meanwhile is a conflict
        old = Metadata() if standing is None else standing.metadata.renewed(datetime.now(timezone.utc))
        return replace(old, **self._facts)

    def _seen(self, standing: Described | None) -> str | None:
        if self.condition.expected_version is not None or not (self._may_keep or self._facts):
            return self.condition.expected_version
        if standing is None or (self._at is not None and self._at != standing.backend):
            return None
        return standing.version  # what was laid under this change must still stand

    # --- the value, with what is kept of the old one ---------------------------------------------

    def _secret(self, standing: Described | None) -> Secret[str] | None:
        """Give the text to write; None to keep what is stored."""
        body = self._body
        if body.unchanged or (body.value == HIDDEN and not body.is_literal):
            self._keep_whole(standing)
            return None
        if self.ref.kind == "connection" and self._may_keep:
            return self._connection(standing)
        if isinstance(body.connection, dict):
            return Secret(msgspec.json.encode(body.connection).decode())
        return Secret(str(body.value))

    def _keep_whole(self, standing: Described | None) -> None:
        if standing is None:
            raise FieldError(
                "there is no stored value to keep",
                field="$.unchanged" if self._body.unchanged else "$.value",
                hint=None if self._body.unchanged else "is_literal writes the three stars themselves",
            )
        self.kept.append("value")

    def _connection(self, standing: Described | None) -> Secret[str]:
        """Give the connection's text, with what it says `***` of taken from what stands."""
        fields, rest = self._fields()
        self.kept += hidden_in(fields)
        if self.kept:
            if standing is None or standing.connection is None:
                raise _nothing_to_keep()
            fields = _merged(standing, fields)
        text = Connection.from_dict(fields).format("json").reveal()
        return Secret(overlay.join(text, rest))

    def _fields(self) -> tuple[dict[str, Any], dict[str, object]]:
        """Give the fields that were sent in Airflow's shape, and what a `Connection` cannot hold of them."""
        body = self._body
        if isinstance(body.connection, dict):
            text = msgspec.json.encode(body.connection).decode()
        else:
            text = str(body.value)
        own, rest = overlay.split(text) if body.references is True else (text, {})
        return Connection.parse(own).to_dict(reveal=True), rest


def _merged(standing: Described, fields: dict[str, Any]) -> dict[str, Any]:
    assert standing.connection is not None  # noqa: S101 -- asked by the caller
    try:
        return merge_hidden(standing.connection, fields)
    except InvalidInputError:
        pass  # its message names the member, whose name is of the body
    raise _nothing_to_keep()


def _nothing_to_keep() -> FieldError:
    return FieldError(
        f"a member says {HIDDEN} where there is no stored value to keep",
        field="$.connection",
        hint="write the new value; is_literal writes the three stars themselves",
    )


def facts_in(body: WriteEntry | EntryFacts | FactsOver) -> dict[str, Any]:
    """Give the public members that were said, checked."""
    said: dict[str, Any] = {
        name: value
        for name in ("description", "owner", "tags", "remind_at", "not_after", "expires_at", "references")
        if (value := getattr(body, name)) is not UNSET
    }
    for name, most in (("description", _MAX_DESCRIPTION), ("owner", _MAX_OWNER)):
        if isinstance(said.get(name), str):
            bounded(said[name], field=name, most=most)
    for name in ("remind_at", "not_after", "expires_at"):
        if isinstance(said.get(name), datetime):
            said[name] = _utc(said[name], name)
    if "tags" in said:
        said["tags"] = _tags(said["tags"])
    return said


def _tags(tags: list[str]) -> tuple[str, ...]:
    if len(tags) > _MAX_TAGS:
        raise FieldError(f"an entry has at most {_MAX_TAGS} tags", field="$.tags")
    for tag in tags:
        if not tag.strip():
            raise FieldError("a tag is empty", field="$.tags")
        bounded(tag, field="tags", most=_MAX_TAG)
    return tuple(sorted(set(tags)))


def _utc(moment: datetime, name: str) -> datetime:
    if moment.tzinfo is None:
        raise FieldError(f"{name} has no time zone", field=f"$.{name}", hint="2026-12-31T00:00:00Z")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        pass
    raise FieldError(f"{name} is out of range", field=f"$.{name}")


ENDPOINTS = (
    Endpoint(
        "GET",
        "/entries",
        list_entries,
        "List entries",
        "entries",
        asks=EntryQuery,
        gives=EntryPage,
        errors=(413, 503),
        cost=2.0,
    ),
    Endpoint(
        "GET",
        "/entries/{kind}/{name:path}",
        describe,
        "Look at an entry, without its secrets",
        "entries",
        asks=TeamQuery,
        gives=EntryView,
        errors=(404, 502, 503),
    ),
    Endpoint(
        "PUT",
        "/entries/{kind}/{name:path}",
        write,
        "Write an entry, new or over what stands",
        "entries",
        takes=WriteEntry,
        asks=WriteQuery,
        gives=EntryWritten,
        errors=(201, 409, 412, 413, 415, 422, 502, 503),
        is_change=True,
    ),
    Endpoint(
        "DELETE",
        "/entries/{kind}/{name:path}",
        delete,
        "Delete an entry",
        "entries",
        asks=WriteQuery,
        gives=EntryWritten,
        errors=(404, 409, 412, 502, 503),
        is_change=True,
    ),
)
