"""
What a WRITE asks for, and what it is answered with.

Not for framing (`caller/frames.py`), nor for who may and where it goes (`service/host.py`).

Rules of this file:

1. What is asked is JSON from a stranger: it is read by its shape, and nothing of it stands in an error.
2. Members it does not know are passed over: a later minor version adds some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Kind  # noqa: TC001 -- msgspec reads annotations at run time
from strongroom.model.secret import Secret
from strongroom.service.writing import wanted
from strongroom.wire.shape import MAX_COMMENT_CHARACTERS

if TYPE_CHECKING:
    from strongroom.service.entries import Written
    from strongroom.service.writing import Wanted

__all__ = ["asked_in", "told"]

_MAX_DESCRIPTION = 4096  # characters, as over HTTP


class _Asked(msgspec.Struct, kw_only=True):
    kind: Kind
    name: str
    team: str | None = None
    value: str | None = None
    fields: dict[str, Any] | None = None
    expected_version: str | None = None
    expires_in: float | None = None
    description: str | None = None
    comment: str = ""

    def __repr__(self) -> str:
        return "_Asked(…)"


def asked_in(text: str) -> Wanted:
    """
    Give the write that the JSON *text* asks for.

    Raises:
        InvalidInputError: it asks for none.
    """
    try:
        asked = msgspec.json.decode(text, type=_Asked)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        asked = None
    if asked is None or (asked.value is None) is (asked.fields is None):
        raise InvalidInputError("a write is a JSON object with kind, name, and value or fields")
    for member, bound in (("description", _MAX_DESCRIPTION), ("comment", MAX_COMMENT_CHARACTERS)):
        if len(getattr(asked, member) or "") > bound:
            raise InvalidInputError(f"the {member} of a write is over {bound} characters", limit=bound)
    return wanted(
        asked.name,
        Secret(asked.value or "" if asked.fields is None else msgspec.json.encode(asked.fields).decode()),
        kind=asked.kind,
        team=asked.team,
        expected_version=asked.expected_version,
        expires_in=asked.expires_in,
        description=asked.description,
        comment=asked.comment,
    )


def told(written: Written) -> str:
    """Give as JSON text where a write went, and the version that stands now."""
    return msgspec.json.encode({"backend": written.backend, "version": written.version}).decode()
