"""`strongroom restore`: bring a backup back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.backup import (
    File,
    Identity,
    Key,
    facts_of,
    identity_in,
    lost_in_words,
    open_desk,
    plain_span,
    show_lost,
    steps,
)
from strongroom.cli.entry import Yes
from strongroom.cli.output import show_record
from strongroom.cli.session import Session

if TYPE_CHECKING:
    from strongroom.settings import SecretSource

app = single()

_LABELS = {
    "backup": "backup",
    "at": "made at",
    "signer": "signed by",
    "holds": "holds",
    "opened": "opened",
    "lost": "lost by it",
    "place": "goes to",
}


@command(app, "restore")
def restore(
    context: typer.Context,
    *,
    file: File,
    identity: Identity,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="PLACE", help="A path or the address of a database; the settings' else."
        ),
    ] = None,
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The password of that database's user.")
    ] = None,
    key: Key = None,
    accept_rollback: Annotated[
        bool,
        typer.Option("--accept-rollback", help="Lose the changes that are on record and not in the backup."),
    ] = False,
    yes: Yes = False,
) -> None:
    """
    Bring a backup back, after showing exactly what is lost by it.

    It is laid out beside and opened to the last value first. Its keys are wrapped anew by what the settings
    name; a key file that is gone is made. Then all of it takes the place of the store in one transaction, or
    nothing does. Sessions and login links end; tokens and people are as they were then. Another store is
    never overwritten, and changes on record are only lost with --accept-rollback.

    Example:
      $ strongroom restore monday.srb --identity recovery.txt
      $ strongroom restore monday.srb -i recovery.txt --to postgresql://room@db/room
    """
    session: Session = context.obj
    secret = identity_in(identity)
    with (
        open_desk(session, "a backup is brought back") as desk,
        steps() as tell,
        desk.restoring(file, identity=secret, keys=key or (), progress=tell) as found,
    ):
        checked = found.checked
        record = {
            **facts_of(checked.manifest, dict(checked.proven or {})),
            "signer": checked.signer,
            "lost": [lost_in_words(span) for span in checked.spans],
            "place": desk.place(to),
        }
        if session.output == "table":
            show_record(session, record, labels=_LABELS)
            show_lost(session, checked.spans)
        if accept_rollback or not found.is_rollback:
            terminal.confirm(f"put this backup in the place of what is at {desk.place(to)}", is_agreed=yes)
        desk.finish(
            found,
            to=to,
            password=_source(password_file),
            accepts_rollback=accept_rollback,
            progress=tell,
        )
    if session.output == "table":
        terminal.note("brought back; look through people, tokens, roles and policies now", session)
        if to is not None:
            # An address as it was typed, user and all; but a path from wherever the settings stand.
            said = f'url = "{to}"' if "://" in to else f'path = "{Path(to).expanduser().resolve()}"'
            terminal.note(f"it is used once the settings say so: [store] {said}", session)
        return
    record["lost"] = [plain_span(span) for span in checked.spans]
    show_record(session, {**record, "restored": True}, labels=_LABELS)


def _source(password_file: str | None) -> SecretSource | None:
    from strongroom.settings import SecretSource  # noqa: PLC0415 -- `--help` does without

    if password_file is None:
        return None
    return SecretSource(kind="file", argument=(password_file,), key="--password-file")
