"""
Writing from programs: one entry, with compare-and-set, and the loop that loses nothing.

Not for people, who keep entries with all that is public about them (`entries.py`).

Rules of this file:

1. What is written is what was said: nothing in it is a mask, and nothing of it stands in an error.
2. What is public about an entry stays, but for what is said with the write.
3. A change made between reading and writing is never written over: `update` reads again and asks for the new
   value again, as often as it takes within its bound.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from strongroom.errors import ConflictError, InvalidInputError, ReadOnlyError
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.service.entries import Written
    from strongroom.service.room import Room

__all__ = ["ABSENT", "MAX_ATTEMPTS", "RoomWriter", "Wanted", "Writer", "Writing", "change_of", "wanted"]

ABSENT = "absent"
"""As `expected_version`: only if there is nothing yet."""
MAX_ATTEMPTS = 100
"""Times that `update` reads and writes before it gives up on an entry that others write all the time."""
_LONGEST_PAUSE = 0.05  # seconds between two attempts
_MAX_EXPIRES = timedelta(days=36500)


class Wanted(NamedTuple):
    """
    One write, as a program says it.

    Args:
        ref: the entry.
        secret: its text: a variable's, or a connection in an Airflow form.
        expected_version: write only over this version; `MUST_BE_ABSENT`: only if there is nothing; None: over
            whatever stands.
        expires_in: from now; then the entry is gone. None leaves what was said before.
        description: public. None leaves what was said before.
        comment: why; kept in the history and in the record.
    """

    ref: Ref
    secret: Secret[str]
    expected_version: str | None = None
    expires_in: timedelta | None = None
    description: str | None = None
    comment: str = ""


class Writer(Protocol):
    """Whoever takes writes of this process: a room of the library or of a server, or an agent."""

    def write(self, asked: Wanted) -> Written:
        """Write. Raises as `Entries.write`."""
        ...

    def read(self, ref: Ref) -> Entry | None:
        """
        Give what stands now, past everything remembered; None for nothing. Raises as `Lookup.find`.

        With its references as they are written, where it is read at its store: what is put in their place
        would be written back for good.
        """
        ...


class RoomWriter:
    """
    Writes of a room.

    Args:
        room: of the library, or of a server.
        clock: wall clock, UTC.
    """

    def __init__(self, room: Room, clock: Callable[[], datetime]) -> None:
        self._room = room
        self._clock = clock

    def write(self, asked: Wanted) -> Written:
        """Write; as `Writer.write`."""
        change = change_of(asked, self._clock())
        # Many at once take every text for what it says; one alone may hold the mask of what is not shown.
        return self._room.entries.write_many([change], comment=asked.comment)[0]

    def read(self, ref: Ref) -> Entry | None:
        """Give what stands; as `Writer.read`."""
        return self._room.lookup.stored(ref)


def wanted(  # noqa: PLR0913 -- what may be said of a write
    name: str,
    value: str | Secret[str] | Connection,
    *,
    kind: Kind = "variable",
    team: str | None = None,
    expected_version: str | None = None,
    expires_in: timedelta | float | None = None,
    description: str | None = None,
    comment: str = "",
) -> Wanted:
    """
    Give the write that a program asks for.

    Args:
        name: of the entry.
        value: text, or a Connection, which is always one of kind `connection`.
        kind: `variable` or `connection`.
        team: whose it is.
        expected_version: as `Wanted`, with `ABSENT` in words.
        expires_in: as `Wanted`, or in seconds.
        description: as `Wanted`.
        comment: as `Wanted`.

    Raises:
        InvalidInputError: name, value or time is none.
    """
    if isinstance(value, Connection):
        kind, value = "connection", value.format("json")
    ref = Ref(kind, name, team)
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise InvalidInputError(
            f"the value for {ref} is neither text nor a Connection", hint="write JSON as text: json.dumps"
        )
    expected = MUST_BE_ABSENT if expected_version == ABSENT else expected_version
    return Wanted(ref, Secret(text), expected, _span(expires_in), description, comment)


def _span(expires_in: timedelta | float | None) -> timedelta | None:
    if expires_in is None:
        return None
    seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidInputError("expires_in is neither seconds nor a timedelta")
    if not 0 < seconds <= _MAX_EXPIRES.total_seconds():
        raise InvalidInputError("expires_in is not between 0 and 100 years", hint="seconds, or a timedelta")
    return timedelta(seconds=seconds)


def change_of(asked: Wanted, now: datetime) -> Change:
    """Give what *asked* changes, *now* being when it is asked (UTC)."""
    over: dict[str, object] = {}
    if asked.expires_in is not None:
        over["expires_at"] = now + asked.expires_in
    if asked.description is not None:
        over["description"] = asked.description
    return Change(ref=asked.ref, secret=asked.secret, over=over, expected_version=asked.expected_version)


class Writing:
    """
    Write and update through one *writer*. Arguments and errors: `strongroom.write` and `strongroom.update`.

    Threads: as *writer*.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, name: str, value: str | Secret[str] | Connection, **said: Any) -> Written:  # noqa: ANN401 -- as `wanted`
        """Write one entry."""
        return self._writer.write(wanted(name, value, **said))

    def update(
        self,
        ref: Ref,
        change: Callable[[str | None], str | Secret[str] | Connection | None],
        **said: Any,  # noqa: ANN401 -- as `wanted`
    ) -> str | None:
        """Write the text that *change* gives, only over the one it was given; again on a conflict."""
        refused: ConflictError | None = None
        expected: str | None = None
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 -- to be apart from others, no secret
            entry = self._writer.read(ref)
            text = None if entry is None else entry.secret.reveal()
            new = change(text)
            if new is None:
                return text
            expected = _expected(entry, expected, is_again=refused is not None)
            asked = wanted(ref.name, new, kind=ref.kind, team=ref.team, expected_version=expected, **said)
            try:
                self._writer.write(asked)
            except ConflictError as error:
                refused = error
            else:
                return asked.secret.reveal()
        raise ConflictError(
            f"{ref} was changed by others {MAX_ATTEMPTS} times between reading and writing it",
            current_version=None if refused is None else refused.current_version,
            hint="let fewer tasks write it",
        )


def _expected(entry: Entry | None, before: str | None, *, is_again: bool) -> str:
    """Give the version to write over, having read *entry*; *before* was expected the last time."""
    if entry is None:
        return ABSENT
    # What is read for a team may be the global entry, which stands where this one is not: found out by a
    # conflict about the very version that stands.
    return ABSENT if is_again and entry.version == before else _version(entry)


def _version(entry: Entry) -> str:
    if entry.version is not None:
        return entry.version
    raise ReadOnlyError(
        f"the backend {entry.backend} keeps no versions, so that {entry.ref} cannot be updated safely",
        hint="keep it in a store that does, such as native; or use write",
    )
