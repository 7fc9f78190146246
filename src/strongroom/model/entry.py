"""An Entry: a Secret with its origin; and the public metadata that stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import is_unicode
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

__all__ = [
    "MAX_VALUE_BYTES",
    "MUST_BE_ABSENT",
    "STRICT",
    "Draft",
    "Entry",
    "EntryState",
    "Metadata",
    "Outline",
    "Summary",
    "VersionInfo",
    "check_value",
]

MAX_VALUE_BYTES = 1_048_576  # 1 MiB of UTF-8: docs/design.md, Limits
STRICT = "strict"
"""The tag of an entry that is never served past the bound of a revocation, and never kept on a disk."""
MUST_BE_ABSENT = ""
"""As `expected_version`: write only if there is nothing yet. No store gives out an empty version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """
    Public facts about an entry: never sealed, so never put a secret here.

    Args:
        description: free text.
        tags: sorted, without repeats.
        owner: who to ask.
        conn_type: connection type as Airflow spells it, None for variables or where unknown.
        remind_at: only reminds (UTC).
        not_after: from then on the entry is invalid (UTC).
        expires_at: from then on the entry is gone; a later write to the store deletes it (UTC).
        references: resolve `${connection.…}` and `${variable/…}` inside the value when it is read.
    """

    description: str | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    conn_type: str | None = None
    remind_at: datetime | None = None
    not_after: datetime | None = None
    expires_at: datetime | None = None
    references: bool = False

    def renewed(self, now: datetime) -> Metadata:
        """Give what holds for a new value too: a `not_after` that is past was said of the old one."""
        is_past = self.not_after is not None and self.not_after <= now
        return replace(self, not_after=None) if is_past else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    A Secret as one backend holds it: the text unresolved and unparsed.

    Args:
        ref: the Ref under which the backend holds it (the team's, or the global one).
        secret: the stored text: a variable's value, or a connection in an Airflow form.
        backend: name of the backend in the settings.
        version: opaque text, compared for equality; None where the store has no versions.
        read_at: wall clock, UTC.
        lifetime: how long the backend says it may be kept, or None for the cache's own `ttl`.
        fresh_for: how long the server it came from, which has a cache itself, takes it for fresh; None
            where it was read where it is kept. It may be kept for an outage for longer.
        metadata: what the backend knows beside the value.
        is_stale: True when it is served from memory because its backend is unavailable.
        is_lent: True where its login was made for who asks here, and can be revoked.
    """

    ref: Ref
    secret: Secret[str]
    backend: str
    read_at: datetime
    version: str | None = None
    lifetime: timedelta | None = None
    fresh_for: timedelta | None = None
    metadata: Metadata = Metadata()
    is_stale: bool = False
    is_lent: bool = False


class EntryState(str, Enum):
    """
    What is known of a stored value without handing it out.

    `UNKNOWN` is said where nobody looked, as in a store that would have to be asked for each value.
    `PLAIN_TEXT`, `WRONG_KEY` and `NOT_A_TOKEN` are said of a row in Airflow's database: readable by
    whoever reads the database; sealed by a key that is not here; marked as sealed but no Fernet token.
    """

    OK = "ok"
    UNKNOWN = "not looked at"
    EXPIRED = "expired"
    UNPARSABLE = "unparsable"
    TAMPERED = "tampered"
    PLAIN_TEXT = "plain text"
    WRONG_KEY = "wrong key"
    NOT_A_TOKEN = "not a token"  # noqa: S105 -- a state, no password

    @property
    def is_problem(self) -> bool:
        """Tell whether something is known to be wrong."""
        return self not in (EntryState.OK, EntryState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """
    One line of a listing: everything but the value.

    Args:
        state: what is known of the value without handing it out; `UNKNOWN` where nobody looked.
        problem: the state in words ("the port is no number"), "" where it needs none; holds no value.
    """

    ref: Ref
    backend: str
    version: str | None = None
    changed_at: datetime | None = None
    metadata: Metadata = Metadata()
    is_deleted: bool = False
    state: EntryState = EntryState.UNKNOWN
    problem: str = ""


class Outline(NamedTuple):
    """
    What a list may be put in order by, of one name, as it is stored: nothing has authenticated it.

    Args:
        changed_at: microseconds since 1970 UTC.
        description: its beginning.
        expires_at: as `changed_at`; from then on it is gone.
        version: of what stands; None where it has none.
        tags: as of `Metadata`.
        owner: likewise.
        remind_at, not_after: as `changed_at`.
        references: as of `Metadata`.
    """

    name: str
    changed_at: int | None
    conn_type: str | None
    description: str | None
    expires_at: int | None
    version: str | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    remind_at: int | None = None
    not_after: int | None = None
    references: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """
    One version in an entry's history.

    Args:
        version: opaque text.
        same_as: the newest older version with the same value, or None. Told by comparing keyed
            fingerprints; no fingerprint leaves the process.
    """

    version: str
    created_at: datetime
    author: str
    comment: str = ""
    is_current: bool = False
    same_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """
    One write to make.

    Args:
        expected_version: write only if this version stands; `MUST_BE_ABSENT`: only if nothing is
            there; None: whatever is there.
        author: the actor's id, kept in the history.
        comment: why, kept in the history.
        over: for a backend that hands writes on: members of the metadata to lay over what stands at its other
            end; None: *metadata* is the whole.
        run: as `over`: what the author says of his run, by the names of `policy.Run`.
    """

    ref: Ref
    secret: Secret[str]
    metadata: Metadata = Metadata()
    expected_version: str | None = None
    author: str
    comment: str = ""
    over: Mapping[str, object] | None = None
    run: Mapping[str, object] | None = None


def check_value(text: str, what: str) -> None:
    """
    Check that *text* may be kept as a value.

    Raises:
        InvalidInputError: it is not Unicode (R3) or has more than 1 MiB of UTF-8 (R2); the message names it
            by *what*.
    """
    if not text.isascii() and not is_unicode(text):
        raise InvalidInputError(f"{what} holds half a surrogate pair, which is not Unicode text", rule="R3")
    # Characters first: counting bytes costs a copy, and few texts come near.
    if len(text) * 4 > MAX_VALUE_BYTES and len(text.encode()) > MAX_VALUE_BYTES:
        raise InvalidInputError(f"{what} is over {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES, rule="R2")
