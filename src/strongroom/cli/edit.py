"""`strongroom connections edit`: a connection as a form in the user's editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from strongroom.cli import form, lint, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import Comment, Force, Standing, To, name_argument, tell_written
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, MalformedEntryError, ReadOnlyError
from strongroom.model import overlay
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

if TYPE_CHECKING:
    from strongroom.model.connection import Connection
    from strongroom.model.entry import Metadata
    from strongroom.service.entries import Described
    from strongroom.service.room import Room

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Declare the command on the app of `connections`."""
    command(app, "edit")(edit)


def edit(
    context: typer.Context,
    *,
    name: str = name_argument("connection", "Which connection."),
    to: To = None,
    comment: Comment = "",
    force: Force = False,
    strict: lint.Strict = False,
) -> None:
    """
    Edit a connection as a form in your editor.

    Opens $VISUAL or $EDITOR on a form without the secrets: `***` left as it is keeps them. The form is a
    file that only you can read, in memory where the machine has such a folder, and is removed whatever
    happens. If somebody else writes the connection meanwhile, your edit is refused. What looks wrong in it
    is told after the write, or with --strict instead.

    Example:
      $ strongroom connections edit orders_db
      $ EDITOR="code --wait" strongroom connections edit orders_db
    """
    session: Session = context.obj
    ref = session.ref("connection", name)
    with session.room() as room:
        found = room.entries.describe(ref)
        if found.connection is None:
            raise MalformedEntryError(
                found.problem or f"{ref} is no connection",
                backend=found.backend,
                ref=str(ref),
                hint=f"write it anew: strongroom connections add {ref.name} --conn-json -",
            )
        if to is None and not force:
            _check_writable(room, found)
        sheet = form.Form(found.connection, found.metadata, title=_title(found))
        edited = form.edit(sheet, session)
        if edited is None:
            terminal.note("nothing was changed", session)
            return
        connection, metadata = edited
        change = Change(
            ref=ref,
            secret=_text(connection, metadata, found),
            metadata=metadata,
            seen=Standing(found.backend, found).version_at(to, force=force),
        )
        looked = lint.Look.of(session, connection, metadata, found.overlay)
        written = looked.around(
            lambda: room.entries.write(change, to=to, force=force, comment=comment), strict=strict
        )
    tell_written(session, ref, written, did="written to")
    looked.tell(written.backend)


def _text(connection: Connection, metadata: Metadata, found: Described) -> Secret[str]:
    """Give what is to be written: the form, and what no form has (what it extends)."""
    if found.overlay and not metadata.references:
        raise InvalidInputError(
            f"{found.ref} extends another connection, which needs references",
            hint="leave about.references on, or write it anew: strongroom connections add",
        )
    return Secret(overlay.join(connection.format("json").reveal(), found.overlay))


def _check_writable(room: Room, found: Described) -> None:
    """Refuse before the editor opens what would be refused after it, with the edit lost."""
    place = next(row for row in room.backends.list() if row.name == found.backend)
    if "write" not in place.abilities:
        raise ReadOnlyError(
            f"{found.ref} is in {found.backend}, which cannot be written",
            hint="change it there, or say --to BACKEND --force for a copy that it hides",
        )


def _title(found: Described) -> str:
    version = f", version {found.version}" if found.version else ""
    base = f", over {found.overlay['extends']}" if "extends" in found.overlay else ""
    return f"{found.ref} in {found.backend}{version}{base}"
