"""A row as it is read and written, and which are refused. Not for whether one is authentic: `proof.py`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ABSENT = 0
"""What `expected` says of a row that must not be there."""

MAX_BODY_BYTES = 1_048_576  # 1 MiB

_KIND = re.compile(r"[a-z][a-z_-]{0,30}", re.ASCII)
_PLAIN_ID = re.compile(r"[!-~]{1,100}", re.ASCII)
_MAX_ID = 512  # characters


class Row(NamedTuple):
    """
    One live row.

    Args:
        revision: of the registry when this row was written.
    """

    kind: str
    id: str
    body: bytes
    revision: int


class Change(NamedTuple):
    """
    One change of `put_many`.

    Args:
        body: what to write; None deletes.
        expected: the revision of the row that must stand, ABSENT for none, None for whatever stands.
    """

    kind: str
    id: str
    body: bytes | None
    expected: int | None = None


class Snapshot(NamedTuple):
    """
    The whole registry at one revision. It does not change.

    Args:
        revision: grows by one with every `put_many`; 0 before the first.
        rows: kind → id → row. The mapping of a kind is the same object until a row of that kind changes,
            so that what was made of it can be kept by identity.
    """

    revision: int
    rows: Mapping[str, Mapping[str, Row]]

    def of(self, kind: str) -> Mapping[str, Row]:
        """Give the rows of one kind by id; empty where there are none."""
        return self.rows.get(kind) or _NO_ROWS


_NO_ROWS: Mapping[str, Row] = {}


def check(change: Change) -> None:
    """
    Refuse what no row can hold.

    Raises:
        InvalidInputError: kind, id or body is too long, empty or of other letters.
    """
    if not _KIND.fullmatch(change.kind):
        raise InvalidInputError("a kind of rows is a short word of a-z")
    if not 0 < len(change.id) <= _MAX_ID:
        raise InvalidInputError(f"the id of a row has 1 to {_MAX_ID} characters", limit=_MAX_ID)
    if change.body is not None and len(change.body) > MAX_BODY_BYTES:
        raise InvalidInputError(f"a row has at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def expect(wanted: Sequence[Change], snapshot: Snapshot) -> None:
    """
    Refuse changes of rows that are not the ones expected.

    Raises:
        ConflictError: another row stands there, or none, or one where none should.
    """
    for change in wanted:
        if change.expected is None:
            continue
        row = snapshot.of(change.kind).get(change.id)
        current = ABSENT if row is None else row.revision
        if current != change.expected:
            is_new = change.expected == ABSENT
            raise ConflictError(
                f"the {change.kind} {'exists already' if is_new else 'was changed meanwhile'}",
                current_version=None if row is None else str(current),
                hint="choose another name" if is_new else "look at it again, then repeat",
            )


def called(kind: object, row_id: object) -> str:
    """Name a row in a message; what was planted as a name is not repeated unless it is plain."""
    if isinstance(kind, str) and isinstance(row_id, str) and _KIND.fullmatch(kind):
        return f'{kind} "{row_id}"' if _PLAIN_ID.fullmatch(row_id) else f"a {kind}"
    return "a row"
