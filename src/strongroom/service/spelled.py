"""
One entry as a text in Airflow's forms: JSON, URI, and a line of an environment. To look at, with `***` for
what is sealed; and whole, for who revealed it.

Not for files of many (`transfer.py`) nor for what a form loses in detail (`model/connection_form.py`).

Rules of this file:

1. A form that would lose something is not given: what it would lose is named instead.
2. What is looked at has the shape of the whole, and of what is sealed not even the length.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.environment import spell
from strongroom.service.showing import HIDDEN, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref

__all__ = ["FORMS", "WHOLE", "Form", "Spelled", "part_of", "spelled", "spelled_variable"]

Form = Literal["json", "uri", "env"]
FORMS: tuple[Form, ...] = ("json", "uri", "env")
WHOLE = "value"
"""The part of an entry that is all of it, as it is stored."""
_HIDDEN_IN_URI = "%2A%2A%2A"


class Spelled(NamedTuple):
    """
    An entry in one form.

    Args:
        text: "" where the form cannot hold it.
        losses: the fields that it cannot hold; `name` where an environment cannot hold the name.
        is_whole: nothing in it is sealed.
    """

    text: str
    losses: tuple[str, ...] = ()
    is_whole: bool = True


def spelled(
    ref: Ref,
    connection: Connection,
    form: Form,
    *,
    over: Mapping[str, object] | None = None,
    reveal: bool = False,
) -> Spelled:
    """
    Give *connection*, which stands under *ref*, in *form*.

    Args:
        ref: names the line of an environment.
        connection: as it is stored.
        form: which.
        over: what a `Connection` cannot hold of one with references, as `Described.overlay`; only JSON can.
        reveal: with its secrets. Hold it briefly.
    """
    more = dict(over or {})
    fields = _set(connection.to_dict(reveal=True) if reveal else shown(connection))
    is_whole = reveal or HIDDEN not in json.dumps(fields)
    if form == "json":
        return Spelled(_json({**fields, **more}, indent=2), is_whole=is_whole)
    losses = (*connection.uri_losses(), *more)
    if form == "uri":
        return Spelled("" if losses else _uri(fields, reveal=reveal), losses, is_whole)
    text = _json({**fields, **more}) if losses else _uri(fields, reveal=reveal)
    return _line(ref, text, is_whole=is_whole)


def spelled_variable(ref: Ref, form: Form, text: str | None = None) -> Spelled:
    """
    Give the variable *ref* in *form*; a URI cannot hold one.

    Args:
        ref: its name.
        form: which.
        text: its value, for who revealed it; None gives `***`.
    """
    value = HIDDEN if text is None else text
    is_whole = text is not None
    if form == "json":
        return Spelled(_json({ref.name: value}, indent=2), is_whole=is_whole)
    if form == "uri":
        return Spelled("", ("value",), is_whole)
    return _line(ref, value, is_whole=is_whole)


def _line(ref: Ref, text: str, *, is_whole: bool) -> Spelled:
    name = spell(ref)
    if name is None:
        return Spelled("", ("name",), is_whole)
    return Spelled(f"{name}={shlex.quote(text)}", is_whole=is_whole)


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _uri(fields: Mapping[str, Any], *, reveal: bool) -> str:
    try:
        text = Connection.from_dict(fields).format("uri").reveal()
    except InvalidInputError:
        return ""
    return text if reveal else text.replace(_HIDDEN_IN_URI, HIDDEN)


def _json(fields: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(fields, indent=indent, ensure_ascii=False)


def part_of(entry: Entry, part: str) -> str:
    """
    Give one part of what somebody revealed, and nothing of the rest. Hold it briefly.

    Args:
        entry: with its secret, references unresolved.
        part: `value` for the text as it is stored; one of `FORMS`; a field of a connection, as `password` or
            `extra.private_key`.

    Raises:
        NotFoundError: it has no such part, or a form cannot hold it.
    """
    text = entry.secret.reveal()
    if part == WHOLE:
        return text
    form = next((one for one in FORMS if one == part), None)
    found: str | None = None
    if form is not None:
        found = _form_of(entry, form) or None
    elif entry.ref.kind == "connection":
        found = _field_of(entry, part)
    if found is None:
        raise NotFoundError(f"{entry.ref} has no such part any more", hint="look at it anew")
    return found


def _form_of(entry: Entry, form: Form) -> str:
    if entry.ref.kind == "variable":
        return spelled_variable(entry.ref, form, entry.secret.reveal()).text
    connection, over = _parsed(entry)
    if connection is None:
        return ""
    return spelled(entry.ref, connection, form, over=over, reveal=True).text


def _field_of(entry: Entry, part: str) -> str | None:
    connection, _ = _parsed(entry)
    fields: dict[str, Any] = {} if connection is None else connection.to_dict(reveal=True)
    head, mark, key = part.partition(".")
    value = fields.get(head)
    if mark:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _parsed(entry: Entry) -> tuple[Connection | None, dict[str, object]]:
    text, over = entry.secret.reveal(), dict[str, object]()
    try:
        if entry.metadata.references:
            text, over = overlay.split(text)
        return Connection.parse(text), over
    except InvalidInputError:
        return None, {}
