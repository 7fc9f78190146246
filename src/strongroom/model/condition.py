"""
What is known of a stored text without handing it out: whether it can be used, and as what.

Not for what only a store knows of its rows (tampered, sealed by another key).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.entry import EntryState, check_value

if TYPE_CHECKING:
    from strongroom.model.connection import Dialect
    from strongroom.model.ref import Kind

__all__ = ["Condition", "condition_of", "unparsable"]


class Condition(NamedTuple):
    """
    How a stored text is.

    Args:
        problem: the state in words and, where there is one, the number of the refusal in
            docs/compatibility.md; holds none of the text.
        conn_type: as Airflow spells it, None where it is no connection or says none.
    """

    state: EntryState = EntryState.OK
    problem: str = ""
    conn_type: str | None = None


_FINE = Condition()


def condition_of(kind: Kind, text: str, dialect: Dialect = "core") -> Condition:
    """
    Look at *text* as a reader of *kind* would: a connection is parsed, everything else is only measured.

    Args:
        kind: what the text is to be.
        text: as it is stored, references unresolved.
        dialect: which of Airflow's two readings of connections to follow.
    """
    try:
        if kind == "connection":
            return Condition(conn_type=Connection.parse(text, dialect).conn_type)
        check_value(text, "the value")
    except InvalidInputError as error:
        return unparsable(error)
    return _FINE


def unparsable(error: InvalidInputError, *, without: str = "") -> Condition:
    """
    Tell why a text cannot be used, as its parser said it.

    Args:
        error: of the parser; by its promise it holds none of the text.
        without: how the message begins and a listing need not: the name beside it.
    """
    words = str(error).removeprefix(without)
    return Condition(EntryState.UNPARSABLE, f"{words} ({error.rule})" if error.rule else words)
