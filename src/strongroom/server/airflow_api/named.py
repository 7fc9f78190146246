"""
An entry by the name that Airflow's API gives it, which may be none of ours.

Not for what is told or changed of it: `connections.py` and `variables.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.model.ref import Ref
from strongroom.server.airflow_api.body import Problems

if TYPE_CHECKING:
    from strongroom.model.ref import Kind
    from strongroom.server.endpoint import Call
    from strongroom.service.entries import Described, Entries

__all__ = ["delete_one", "ref_of", "standing"]

_FIELDS = {"connection": "connection_id", "variable": "key"}


def ref_of(kind: Kind, name: str) -> Ref:
    """
    Give the Ref of an entry that is to be written.

    Raises:
        RefusedError: 422: Airflow would take this name, and no other place could keep it.
    """
    problems = Problems()
    try:
        return Ref(kind, name)
    except InvalidInputError as error:
        problems.value(("body", _FIELDS[kind]), str(error))
    problems.check()
    raise AssertionError  # `check` has raised


def standing(entries: Entries, kind: Kind, name: str) -> Described | None:
    """
    Give what stands under *name*, or None; a name that cannot be one leads to nothing.

    Raises:
        AccessDeniedError: the actor may not describe it, whether or not it is there.
    """
    try:
        return entries.describe(Ref(kind, name))
    except (NotFoundError, InvalidInputError):
        return None


def delete_one(call: Call, kind: Kind, name: str) -> bool:
    """Delete an entry; False where there is none."""
    try:
        call.room.entries.delete(Ref(kind, name))
    except (NotFoundError, InvalidInputError):
        return False
    return True
