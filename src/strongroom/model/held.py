"""What a place holds, as it holds it: for bringing all of it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from strongroom.model.connection import Connection
from strongroom.model.entry import EntryState, Metadata
from strongroom.model.ref import Kind
from strongroom.model.secret import Secret

__all__ = ["Held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """
    One thing a place holds, readable or not, under whatever name.

    Args:
        kind: connection or variable.
        name: as the place has it; it may be no name of ours.
        team: whose it is, or None for everybody's.
        secret: a variable's text, or a connection in an Airflow form; None where *state* says why.
        connection: the connection itself, where the place has made one of what it holds.
        metadata: what the place knows beside the value.
        state: `OK`; `PLAIN_TEXT`, which is readable; else why there is no *secret*.
        problem: the state in words; no value.
        hint: what to change, or None.
    """

    kind: Kind
    name: str
    team: str | None = None
    secret: Secret[str] | None = None
    connection: Connection | None = None
    metadata: Metadata = field(default_factory=Metadata)
    state: EntryState = EntryState.OK
    problem: str = ""
    hint: str | None = None
