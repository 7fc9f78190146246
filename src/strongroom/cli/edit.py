"""`strongroom connections edit`: single fields, or a connection as a form in the user's editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom import catalog
from strongroom.cli import form, intake, lint, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import Comment, Force, Standing, To, name_argument, tell_written
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, MalformedEntryError, ReadOnlyError
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.service.merging import EXTRA, FACTS, FIELDS, Edit, edited, fields_of, save, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change one field without an editor, as host=db2."),
    ] = None,
    set_from: Annotated[
        list[str] | None,
        typer.Option("--set-from", metavar="FIELD=FILE", help="The same for a secret: - is stdin."),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="FIELD", help="Take one field away.")
    ] = None,
    force: Force = False,
    strict: lint.Strict = False,
) -> None:
    """
    Edit single fields of a connection, or all in your editor.

    With --set, --set-from and --unset only those fields are changed, and merged with what somebody else wrote
    meanwhile. Fields are conn_type, host, port, schema, login, password, extra.KEY, description, owner, tags,
    remind_at, not_after and references.

    Opens $VISUAL or $EDITOR on a form without the secrets: `***` left as it is keeps them. The form is a
    file that only you can read, in memory where the machine has such a folder, and is removed whatever
    happens. If somebody else writes the connection meanwhile, your edit is refused. What looks wrong in it
    is told after the write, or with --strict instead.

    Example:
      $ strongroom connections edit orders_db
      $ strongroom connections edit orders_db --set host=db2 --unset schema
      $ strongroom connections edit orders_db --set-from password=-
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
        if set_ or set_from or unset:
            changes = _changes(found, set_ or (), set_from or (), unset or ())
            _edit_fields(session, room, found, changes, to=to, force=force, comment=comment, strict=strict)
            return
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


def _edit_fields(
    session: Session,
    room: Room,
    found: Described,
    changes: dict[str, object],
    *,
    to: str | None,
    force: bool,
    comment: str,
    strict: bool,
) -> None:
    """Change only *changes*, told by field; what lint says comes after it, or with *strict* instead."""
    known = fields_of(found)
    made = Edit(
        ref=found.ref,
        changes=changes,
        seen=found.version,
        was={name: known.get(name) for name in changes},
    )
    own = {name: value for name, value in changes.items() if name not in FACTS}
    connection = edited(found.connection, own) if found.connection is not None else Connection()
    looked = lint.Look.of(session, connection, found.metadata, found.overlay)
    saved = looked.around(
        lambda: save(room.entries, made, to=to, force=force, comment=comment), strict=strict
    )
    if saved.merged:
        terminal.note(f"merged with what somebody else changed: {', '.join(saved.merged)}", session)
    tell_written(session, found.ref, saved.written, did="written to")
    looked.tell(saved.written.backend)


def _changes(
    found: Described, said: Sequence[str], files: Sequence[str], gone: Sequence[str]
) -> dict[str, object]:
    """Give the changes the options ask for; a secret may only come from a file."""
    given = dict(_pair(one, "--set") for one in said)
    conn_type = given.get("conn_type") or (found.connection.conn_type if found.connection else None)
    changes: dict[str, object] = {}
    for path, text in given.items():
        if path not in (*FIELDS, *FACTS) and not path.startswith(EXTRA):
            raise InvalidInputError(
                "--set names a field that no connection has",
                hint=f"one of {', '.join((*FIELDS, EXTRA + 'KEY', *FACTS))}",
            )
        where = ("extra", path[len(EXTRA) :]) if path.startswith(EXTRA) else (path,)
        if path not in FACTS and catalog.classify(conn_type, where) == "secret":
            raise intake.refuse_argument(
                "what may be a secret", instead="use --set-from FIELD=- or FIELD=FILE"
            )
        changes[path] = value_of(conn_type, path, text)
    for path, file in (_pair(one, "--set-from") for one in files):
        text = intake.read_secret(file, what="the value")
        # A password stays what it is; a document of extra is read as one.
        changes[path] = value_of(conn_type, path, text) if path.startswith(EXTRA) else Secret(text)
    return {**changes, **dict.fromkeys(gone)}


def _pair(text: str, option: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise InvalidInputError(f"{option} names a field and a value", hint=f"{option} FIELD=VALUE")
    return name, value


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
