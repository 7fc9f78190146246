"""Shapes of entries: read, listed, described, written, their history, why they are found."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from strongroom.wire.shape import (
    MAX_BATCH,
    MAX_COMMENT_CHARACTERS,
    MAX_RUN_CHARACTERS,
    UNSET,
    Asked,
    Given,
    Kind,
    Order,
    PageQuery,
    Problem,
    Trouble,
    UnsetType,
)

__all__ = [
    "BatchQuery",
    "BatchWritten",
    "ClashRow",
    "Clashes",
    "Counted",
    "DiffQuery",
    "Difference",
    "EditEntry",
    "EntryEdited",
    "EntryFacts",
    "EntryPage",
    "EntryQuery",
    "EntryRow",
    "EntryView",
    "EntryWritten",
    "ExplainQuery",
    "Explained",
    "FactsOver",
    "FieldDifference",
    "HeldFacts",
    "HeldInMemory",
    "History",
    "HistoryQuery",
    "InventoryPage",
    "InventoryQuery",
    "Name",
    "NewValue",
    "NotAsked",
    "ReadAnswer",
    "ReadRequest",
    "ReadResult",
    "RevealRequest",
    "Revealed",
    "RollbackRequest",
    "RunClaim",
    "StepRow",
    "TeamQuery",
    "Version",
    "WriteBatch",
    "WriteEntry",
    "WriteQuery",
]

Outcome = Literal["found", "absent", "denied", "unavailable", "invalid"]
Comment = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_COMMENT_CHARACTERS})]
RunText = Annotated[str, Meta(max_length=MAX_RUN_CHARACTERS)]
RunNumber = Annotated[int, Meta(ge=-(2**31), lt=2**31)]


# --- reading in programs -----------------------------------------------------------------------------


class Name(Asked, kw_only=True):
    """
    One thing to read.

    Args:
        team: whose; None is the global one.
        version: exactly this version, where the backend keeps versions; None for the one that stands.
    """

    kind: Kind
    name: str
    team: str | None = None
    version: str | None = None


class RunClaim(Asked, kw_only=True):
    """
    What a request says of the run that asks. It is believed as far as a claim is (docs/policy.md).

    It is remembered with what is decided about it, and policies take no larger numbers.
    """

    dag_id: RunText | None = None
    task_id: RunText | None = None
    run_id: RunText | None = None
    map_index: RunNumber | None = None
    try_number: RunNumber | None = None
    bundle: RunText | None = None
    ti_id: RunText | None = None
    bundle_version: RunText | None = None
    team: RunText | None = None
    source: RunText | None = None


class ReadRequest(Asked, kw_only=True):
    """
    Up to 1,000 things to read at once; each has an answer of its own.

    Args:
        as_stored: for agents, which keep what they read for many: references are left as they are, and
            what is public about an entry comes with it. Nobody else's asking for it changes anything.
    """

    refs: Annotated[list[Name], Meta(extra_json_schema={"maxItems": MAX_BATCH})]
    run: RunClaim | None = None
    as_stored: bool = False


class HeldFacts(Given, kw_only=True, omit_defaults=True):
    """
    What is public about what an agent keeps; unsaid members say nothing.

    Args:
        is_global: it stands under the global name, and a team's was asked for.
        references: `${…}` inside the value is to be resolved by who hands it out.
        not_after: from then on it is invalid.
        expires_at: from then on it is gone.
        lifetime: seconds from now for which its backend lends it: no longer, in an outage neither.
    """

    is_global: bool = False
    references: bool = False
    tags: list[str] = []
    owner: str | None = None
    conn_type: str | None = None
    not_after: datetime | None = None
    expires_at: datetime | None = None
    lifetime: float | None = None


class ReadResult(Given, kw_only=True, omit_defaults=True):
    """
    One answer, in the place of its question.

    Args:
        team: as asked.
        value: the text, where the outcome is `found`: a variable's, or a connection in an Airflow form.
        age: seconds since the backend was asked.
        ttl: seconds for which it is fresh.
        is_stale: served from memory because its backend gives no answer.
        is_strict: its tags say `strict`: whoever keeps it keeps to the bounds of strict entries.
        error: why not, where the outcome is neither `found` nor `absent`.
        facts: what is public about it, where an agent asked for what is stored.
    """

    kind: Kind
    name: str
    outcome: Outcome
    team: str | None = None
    value: str | None = None
    version: str | None = None
    backend: str | None = None
    age: float | None = None
    ttl: float | None = None
    is_stale: bool = False
    is_strict: bool = False
    error: Problem | None = None
    facts: HeldFacts | None = None


class ReadAnswer(Given, kw_only=True):
    """One result a question, in their order."""

    results: list[ReadResult]


# --- lists -------------------------------------------------------------------------------------------


class ExplainQuery(Asked, kw_only=True):
    """
    Whose lookup of whose entry.

    Args:
        team: whose; unsaid, the global one.
        dag: explain it as a request for a run of this DAG would be answered, that only claims to be one (L0).
        task: of this task of it.
    """

    team: str | None = None
    dag: RunText | None = None
    task: RunText | None = None


class TeamQuery(Asked, kw_only=True):
    """
    Whose entry.

    Args:
        team: whose; unsaid, the global one.
    """

    team: str | None = None


class EntryQuery(PageQuery, kw_only=True):
    """
    Which entries to list. Filters narrow one another.

    Args:
        kind: only of this kind.
        prefix: only names that begin so.
        search: only where this stands in name, description, owner or a tag, in any case.
        team: exactly this team's entries; unsaid, the global ones.
        tag: only with all of these tags.
        conn_type: only connections of this type.
        backend: only what these backends hold, hidden by another or not.
        is_deleted: the softly deleted ones instead of those that stand.
        sort: by what; names of equal rank come in order of their own.
        order: up or down.
    """

    kind: Kind | None = None
    prefix: str = ""
    search: str = ""
    team: str | None = None
    tag: list[str] = []
    conn_type: str | None = None
    backend: list[str] = []
    is_deleted: bool = False
    sort: Literal["name", "changed_at", "conn_type", "backend"] = "name"
    order: Order = "asc"


class EntryRow(Given, kw_only=True):
    """
    One line of a list: what is public of an entry.

    Args:
        backend: the one that answers for the name; of a hidden entry the one that holds it.
        shadowed: backends further down that hold the name too.
        shadowed_by: the backend that answers instead of this entry.
        version: opaque, compared for equality; also the ETag of the entry.
        remind_at: when to remind.
        not_after: from then on it is invalid.
        expires_at: from then on it is gone.
        references: `${…}` inside the value is resolved when it is read.
        state: what is known of the value without handing it out.
        problem: the state in words, empty where it needs none.
    """

    kind: Kind
    name: str
    team: str | None
    backend: str
    shadowed: list[str]
    shadowed_by: str | None
    version: str | None
    changed_at: datetime | None
    description: str | None
    tags: list[str]
    owner: str | None
    conn_type: str | None
    remind_at: datetime | None
    not_after: datetime | None
    expires_at: datetime | None
    references: bool
    is_deleted: bool
    state: str
    problem: str


class EntryPage(Given, kw_only=True):
    """
    One page of a list.

    Args:
        cursor: for the next page; None at the end. A page may be short, or empty, and have a next one.
        troubles: backends that could not be listed now; the others are listed all the same.
        not_listable: backends that cannot tell what they hold.
    """

    entries: list[EntryRow]
    cursor: str | None
    troubles: list[Trouble]
    not_listable: list[str]


class InventoryQuery(PageQuery, kw_only=True):
    """
    Which lines of the inventory.

    Args:
        kind: only of this kind.
        team: exactly this team's entries; unsaid, the global ones.
        prefix: only names that begin so.
        state: only entries in one of these states.
        backend: only what these backends hold.
        only_problems: only entries with which something is known to be wrong.
        with_shadowed: hidden entries too, each a line after the one that hides it.
    """

    kind: Kind | None = None
    team: str | None = None
    prefix: str = ""
    state: list[str] = []
    backend: list[str] = []
    only_problems: bool = False
    with_shadowed: bool = False


InventoryPage = EntryPage


class Counted(Given, kw_only=True):
    """
    The inventory in numbers, of what the actor may list.

    Args:
        places: backends that hold anything.
        shadowed: entries that another of the same name hides.
        unreadable: names of which the answer is no usable value.
        clashes: groups of names that cannot be kept apart.
    """

    connections: int
    variables: int
    places: int
    shadowed: int
    unreadable: int
    clashes: int
    troubles: list[Trouble]


class ClashRow(Given, kw_only=True):
    """
    Names that cannot be kept apart.

    Args:
        backend: the one that spells all of them alike; None where they only look alike to people.
        names: of one kind, in order.
        spelling: how the backend spells all of them, or how all of them read.
    """

    backend: str | None
    kind: Kind
    team: str | None
    names: list[str]
    spelling: str
    problem: str


class Clashes(Given, kw_only=True):
    """Every group of names that cannot be kept apart."""

    clashes: list[ClashRow]


# --- one entry ---------------------------------------------------------------------------------------


class EntryView(Given, kw_only=True):
    """
    What may be seen of one entry.

    Args:
        team: the team whose entry answers; None for the global one.
        connection: Airflow's shape with every secret as `***`; None for variables and where `problem` is set.
        overlay: of a connection with references: what it extends and takes away.
        problem: why the stored text is no connection (no part of the text), or None.
        size: characters of the stored text.
    """

    kind: Kind
    name: str
    team: str | None
    backend: str
    version: str | None
    read_at: datetime
    changed_at: datetime | None
    shadowed: list[str]
    description: str | None
    tags: list[str]
    owner: str | None
    conn_type: str | None
    remind_at: datetime | None
    not_after: datetime | None
    expires_at: datetime | None
    references: bool
    size: int
    connection: dict[str, Any] | None
    overlay: dict[str, Any]
    problem: str | None


class WriteQuery(Asked, kw_only=True):
    """
    Where to write or delete.

    Args:
        team: whose; unsaid, the global one.
        at: the backend to use instead of the one that holds it, or instead of the default.
        force: write though a higher backend hides the place.
    """

    team: str | None = None
    at: str | None = None
    force: bool = False


class WriteEntry(Asked, kw_only=True):
    """
    What to write: exactly one of `value`, `connection` and `unchanged`, and what is public beside it.

    Where a value says `***`, the mask of what is not shown, the stored one is kept and `kept` in the answer
    names it; with `is_literal` the three stars are the text itself. Public members that are left out stay as
    they are; null takes them away.

    Args:
        value: a variable's text, or a connection in an Airflow form (JSON or URI); at most 1 MiB of UTF-8.
        connection: a connection's fields, Airflow's shape; `***` keeps what is stored in that place.
        unchanged: keep the stored value whole, change only what is public.
        is_literal: `***` is no mask here.
        comment: why; kept in the history and in the record.
    """

    value: str | UnsetType = UNSET
    connection: dict[str, Any] | UnsetType = UNSET
    unchanged: bool = False
    is_literal: bool = False
    description: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    owner: str | UnsetType | None = UNSET
    remind_at: datetime | UnsetType | None = UNSET
    not_after: datetime | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    references: bool | UnsetType = UNSET
    comment: Comment = ""


class EntryWritten(Given, kw_only=True):
    """
    Where a change went.

    Args:
        version: the one that stands now; None after a deletion or where the backend keeps none.
        kept: members that said `***` and were left as they are stored, as `password` or `extra.token`.
    """

    kind: Kind
    name: str
    team: str | None
    backend: str
    version: str | None
    kept: list[str] = []


class EditEntry(Asked, kw_only=True):
    """
    Some fields of an entry, laid over what stands: what is not said stays, secrets too.

    Where somebody else wrote meanwhile, different fields are merged; the same field of both is a conflict
    (409), whose message names it.

    Args:
        changes: new values by field: `conn_type`, `host`, `port`, `schema`, `login`, `password`,
            `extra.KEY`; `value` of a variable; the public members. null takes a field away.
        seen: the version the edit was made of. Unsaid, whatever stands is edited.
        was: how the changed fields looked then, `***` where hidden: for places that keep no versions.
        comment: why; kept in the history and in the record.
    """

    changes: dict[str, Any]
    seen: str | None = None
    was: dict[str, Any] = {}
    comment: Comment = ""


class EntryEdited(Given, kw_only=True):
    """
    What an edit did.

    Args:
        version: the one that stands now; None where the backend keeps none.
        merged: fields that somebody else had changed meanwhile, and that were kept.
    """

    kind: Kind
    name: str
    team: str | None
    backend: str
    version: str | None
    merged: list[str] = []


class EntryFacts(Asked, kw_only=True):
    """What is public beside a value, all of it: what is left out is not there."""

    description: str | None = None
    tags: list[str] = []
    owner: str | None = None
    remind_at: datetime | None = None
    not_after: datetime | None = None
    expires_at: datetime | None = None
    references: bool = False


class FactsOver(Asked, kw_only=True):
    """What is public beside a value and is other than what stands: what is left out stays as it is."""

    description: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    owner: str | UnsetType | None = UNSET
    remind_at: datetime | UnsetType | None = UNSET
    not_after: datetime | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    references: bool | UnsetType = UNSET


class NewValue(Asked, kw_only=True):
    """
    One entry of a batch.

    Args:
        value: as of `WriteEntry`; null keeps what is stored. One that says `***`, the mask of what is not
            shown, is refused unless `is_literal`: nothing is kept in part here.
        is_literal: `***` is no mask here.
        facts: null keeps what stands.
        over: where `facts` is null: what of them is other than what stands.
        expected_version: write only over this version; the empty text: only if there is nothing.
    """

    kind: Kind
    name: str
    team: str | None = None
    value: str | None = None
    is_literal: bool = False
    facts: EntryFacts | None = None
    over: FactsOver | UnsetType = UNSET
    expected_version: str | None = None


class WriteBatch(Asked, kw_only=True):
    """
    Up to 1,000 entries to write: all or none of those that go to one backend.

    Args:
        is_trial: only tell of each whether a backend would take it; nothing is written.
        comment: why; kept in the history and in the record.
    """

    changes: Annotated[list[NewValue], Meta(extra_json_schema={"maxItems": MAX_BATCH})]
    is_trial: bool = False
    comment: Comment = ""


class BatchQuery(Asked, kw_only=True):
    """
    Where to write.

    Args:
        at: the backend to use instead of those that hold them, or instead of the default.
        force: write though a higher backend hides the place.
    """

    at: str | None = None
    force: bool = False


class BatchWritten(Given, kw_only=True):
    """
    Where the changes went, in their order.

    Args:
        refused: of a trial: why each would be refused, or null; empty otherwise.
    """

    written: list[EntryWritten]
    refused: list[Problem | None] = []


class HistoryQuery(Asked, kw_only=True):
    """
    Whose history.

    Args:
        team: whose; unsaid, the global one.
        at: the backend to ask instead of the first that knows it.
    """

    team: str | None = None
    at: str | None = None


class Version(Given, kw_only=True):
    """
    One version of an entry.

    Args:
        same_as: the newest older version with the same value, or None.
    """

    version: str
    created_at: datetime
    author: str
    comment: str
    is_current: bool
    same_as: str | None


class History(Given, kw_only=True):
    """The versions of an entry, newest first; a deleted one has its history still."""

    kind: Kind
    name: str
    team: str | None
    versions: list[Version]


class DiffQuery(Asked, kw_only=True):
    """
    Which versions to compare.

    Args:
        from_: the older version.
        to: the newer one; unsaid, the one that stands.
        team: whose; unsaid, the global one.
        at: the backend to ask instead of the first that knows it.
    """

    from_: str = field(name="from")
    to: str | None = None
    team: str | None = None
    at: str | None = None


class FieldDifference(Given, kw_only=True):
    """
    One field that differs; told by fingerprints, so never with its content.

    Args:
        field: its name, as `password` or `extra.region`; `value` for the whole text.
    """

    field: str
    change: Literal["added", "removed", "changed"]


class Difference(Given, kw_only=True):
    """
    What differs between two versions.

    Args:
        is_same: the two hold the same value.
    """

    kind: Kind
    name: str
    team: str | None
    from_: str = field(name="from")
    to: str
    is_same: bool
    fields: list[FieldDifference]


class RollbackRequest(Asked, kw_only=True):
    """
    Which version to write again, as a new one.

    Args:
        comment: why; kept in the history and in the record.
    """

    version: str
    comment: Comment = ""


class RevealRequest(Asked, kw_only=True):
    """
    Why a person needs to see a secret.

    Args:
        reason: kept in the record.
        approval: the id of the approval, where a second person has to agree.
    """

    reason: Comment
    approval: str | None = None


class Revealed(Given, kw_only=True):
    """
    An entry with its secret, references unresolved.

    Args:
        value: the stored text.
        connection: a connection's fields in Airflow's shape, or None.
    """

    kind: Kind
    name: str
    team: str | None
    backend: str
    version: str | None
    value: str
    connection: dict[str, Any] | None


# --- why ---------------------------------------------------------------------------------------------


class StepRow(Given, kw_only=True):
    """
    One question to a backend.

    Args:
        age_seconds: how long ago the backend read it.
        cached: this entry, in this version, is what the cache holds.
        shadowed: a higher backend answers instead.
        place: how the backend spells what was asked for; "" where it has no word of its own.
    """

    backend: str
    team: str | None
    outcome: Outcome
    milliseconds: float
    version: str | None
    age_seconds: float | None
    cached: bool
    shadowed: bool
    reason: str
    place: str = ""


class NotAsked(Given, kw_only=True):
    """A backend that was passed over, and why."""

    backend: str
    reason: str


class HeldInMemory(Given, kw_only=True):
    """
    What the cache would answer meanwhile.

    Args:
        backend: where it came from; None for a remembered absence.
        fresh: False when it would only be served in an outage.
    """

    backend: str | None
    version: str | None
    age_seconds: float
    fresh: bool


class Explained(Given, kw_only=True):
    """
    How a lookup goes, asked anew past the cache; never the value.

    Args:
        backend: the one that answers or stops it.
        shadows: backends whose entry the answer hides.
        policies: ids of the policies that decided.
        references: the same of every entry that this one refers to.
        remembered: what the cache holds, or None.
        may_read: whether whoever asks, for the run that was said, may read it; null where nobody decided.
        decision: why, in one clause.
        decided_ms: how long that took to decide.
    """

    kind: Kind
    name: str
    team: str | None
    outcome: Outcome
    backend: str | None
    version: str | None
    shadows: list[str]
    policies: list[str]
    reason: str
    references: list[Explained]
    remembered: HeldInMemory | None
    steps: list[StepRow]
    not_asked: list[NotAsked]
    may_read: bool | None = None
    decision: str = ""
    decided_ms: float | None = None
