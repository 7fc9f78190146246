"""
Connections pasted in any form: read from stdin or a file, shown without their secrets, agreed to.

What the forms are is told in `transfer/forms`; this file asks, shows and refuses.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import intake, terminal
from strongroom.errors import InvalidInputError
from strongroom.model.dotenv import listed
from strongroom.model.dotenv import shown as shown_name
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.service.entries import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.cli.session import Session
    from strongroom.model.connection import Connection
    from strongroom.transfer.forms import Read

__all__ = ["AIRFLOW", "ANY", "FormName", "From", "check_alone", "convert_single", "read_file", "read_one"]

From = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="In any form it is written down in: - is stdin."),
]
FormName = Annotated[
    str | None, typer.Option("--form", metavar="FORM", help="The form of --from; told by its text if unsaid.")
]
ANY = "any"
"""What `convert --from` takes for a form that the text tells."""
AIRFLOW = {"json": "airflow-json", "uri": "airflow-uri"}
"""Forms of one connection by what `convert --to` calls them."""
_MARKS = ("://", "=", "\n", "{", ";")


def check_alone(is_interactive: bool | None, said: Sequence[object]) -> None:
    """
    Check that nothing else tells the connection.

    Raises:
        InvalidInputError: something does.
    """
    if is_interactive or said:
        raise InvalidInputError(
            "--from gives the whole connection", hint="leave out the other fields, and change them afterwards"
        )


def read_one(session: Session, name: str, source: str, form: str | None, *, is_agreed: bool) -> Connection:
    """
    Read the connection called *name*, or the only one there is; show it and ask whether it is meant.

    Args:
        session: says how Airflow's own forms are read.
        name: what it will be called here.
        source: path of a file, or `-`.
        form: name of the form, or None.
        is_agreed: he agreed already, with `--yes`.

    Raises:
        InvalidInputError: it cannot be read, there are several and none is called *name*, or a part of
            it is left out and nobody is there to agree.
        SystemExit: he does not agree.
    """
    found = _read(session, source, form)
    connection = _chosen(found, name)
    if session.output == "table":
        terminal.show("\n".join(_lines(found.form, connection)))
    for warning in found.warnings:
        terminal.warn(warning, session)
    # A script asked for it by its command. What was left out of the text is not for a script to agree to.
    is_whole = not found.warnings and not terminal.can_ask()
    terminal.confirm(f"add this as {terminal.clean(name)}", is_agreed=is_agreed or is_whole)
    return connection


def read_file(session: Session, source: str, form: str | None) -> Mapping[str, Connection]:
    """
    Read every connection of a file by its name there; one without a name is called `connection`.

    Raises:
        InvalidInputError: it cannot be read.
    """
    found = _read(session, source, None if form == ANY else form)
    for warning in found.warnings:
        terminal.warn(warning, session)
    return {"connection" if name is None else name: one for name, one in found.connections.items()}


def convert_single(session: Session, source: str, form: str | None, target: str) -> str:
    """
    Read one connection in any form and write it in another.

    Raises:
        InvalidInputError: it cannot be read, there are several, or *target* would lose something.
    """
    from strongroom.transfer.forms import write_any  # noqa: PLC0415 -- `--help` does without

    found = _read(session, source, None if form == ANY else form)
    if len(found.connections) > 1:
        raise InvalidInputError(
            "there are several connections", hint="leave --single out: json holds them all"
        )
    for warning in found.warnings:
        terminal.warn(warning, session)
    name, connection = next(iter(found.connections.items()))
    dialect = session.settings().lookup.dialect
    return write_any(
        connection, AIRFLOW.get(target, target), name=name or "connection", dialect=dialect
    ).reveal()


def _read(session: Session, source: str, form: str | None) -> Read:
    from strongroom.transfer.forms import read_any  # noqa: PLC0415 -- `--help` does without

    if any(mark in source for mark in _MARKS):
        raise intake.refuse_argument("a connection", instead="pass it on stdin (--from -) or in a file")
    data = intake.read_file(source, what="the connection", limit=MAX_VALUE_BYTES + 2)
    return read_any(_decoded(data), form=form, dialect=session.settings().lookup.dialect)


def _decoded(data: bytes) -> str:
    """Give a text of UTF-8, or of UTF-16 where a mark says so, as Windows' own tools write it."""
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return intake.decoded(data, what="the connection")
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError as error:
        offset = error.start
    raise InvalidInputError("the connection begins as UTF-16 and is none", offset=offset)


def _chosen(found: Read, name: str) -> Connection:
    if len(found.connections) == 1:
        return next(iter(found.connections.values()))
    if name in found.connections:
        return found.connections[name]
    names = listed(shown_name(str(one)) for one in found.connections)
    raise InvalidInputError(
        f"there are {len(found.connections)} connections, and none is called as the one to add",
        hint=f"add one by its name there: {names}\n"
        f"or all of them: strongroom connections convert FILE --from {found.form} |"
        " strongroom connections import - --format json",
    )


def _lines(form: str, connection: Connection) -> Iterator[str]:
    """Give what was understood, a line each, without secrets."""
    seen = shown(connection)
    rows: list[tuple[str, Any]] = [("form", form), ("type", seen["conn_type"])]
    rows += [(key, seen[key]) for key in ("host", "port", "schema", "login", "password")]
    rows += [(f"extra.{key}", value) for key, value in (seen["extra"] or {}).items()]
    width = max(len(key) for key, value in rows if value is not None)
    for key, value in rows:
        if value is not None:
            yield f"{terminal.clean(key):{width}}  {terminal.clean(str(value))}"
