"""`strongroom unseal`: open a sealed deployment of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli import intake
from strongroom.cli.app import command, single
from strongroom.cli.output import sentence
from strongroom.cli.sealing import code_of, credential_of, find_place
from strongroom.cli.session import Session, ask_passphrase
from strongroom.cli.terminal import can_ask
from strongroom.model.secret import Secret

app = single()


@command(app, "unseal")
def unseal(
    context: typer.Context,
    *,
    passphrase_file: Annotated[
        str | None,
        typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase here; - is stdin."),
    ] = None,
) -> None:
    """
    Open a sealed deployment of a server.

    Where a passphrase opens it, that is asked for, and proves enough. Where a key service keeps its key, the
    server tries once more, at once. One that somebody sealed opens for its administrators, and for whoever
    can open its store on the server's own machine.

    Example:
      $ strongroom unseal
      $ strongroom unseal --passphrase-file - < passphrase.txt
      $ strongroom unseal --profile prod
    """
    session: Session = context.obj
    place = find_place(session)
    from strongroom.remote import sealing  # noqa: PLC0415 -- `--help` does without

    found = sealing.seal_state(place.address)
    if found.is_sealed:
        passphrase = _passphrase(passphrase_file, is_wanted=found.takes_passphrase)
        credential, code = None, None
        if passphrase is None and found.is_by_hand:
            credential = credential_of(place)
            code = code_of(session) if credential is None and place.is_here else None
        found = sealing.unseal(place.address, credential, passphrase=passphrase, code=code)
    sentence(session, f"{place.what} is open", {"sealed": found.is_sealed})


def _passphrase(file: str | None, *, is_wanted: bool) -> Secret[str] | None:
    if file is not None:
        return Secret(intake.read_secret(file, what="the passphrase"))
    return ask_passphrase() if is_wanted and can_ask() else None
