"""`strongroom variables`: keep variables."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from strongroom.cli import export, intake, terminal, transfer, verb
from strongroom.cli.app import command, noun
from strongroom.cli.entry import (
    Comment,
    ExpectedVersion,
    ExpiresIn,
    Force,
    NotAfter,
    Owner,
    References,
    RemindAt,
    Said,
    Tag,
    To,
    ask_reason,
    name_argument,
    public_text,
    show_entry,
    standing,
    tell_written,
)
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.model.variable import Variable
from strongroom.service.entries import HIDDEN, Change

app = noun(
    "variables",
    """
    Keep variables.

    Example:
      $ strongroom variables set region --value-file region.txt
      $ strongroom variables list
      $ strongroom read region
    """,
)


@command(app, "get")
def get(
    context: typer.Context,
    *,
    name: str = name_argument("variable", "Which variable."),
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the value; recorded, with the reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", callback=public_text, help="Why it is revealed.")
    ] = None,
) -> None:
    """
    Show what is known of a variable, without its value.

    For programs that need the value there is `strongroom read NAME`.

    Example:
      $ strongroom variables get region
      $ strongroom variables get region --reveal --reason "checking the spelling"
    """
    session: Session = context.obj
    ref = session.ref("variable", name)
    with session.room() as room:
        found = room.entries.describe(ref)
        value = HIDDEN
        if reveal:
            value = room.entries.reveal(ref, reason=ask_reason(reason)).secret.reveal()
    show_entry(session, found, {"value": value}, labels={"value": "value"})


@command(app, "set")
def set_(
    context: typer.Context,
    *,
    name: str = name_argument("variable", "Which variable."),
    value: Annotated[str | None, typer.Argument(hidden=True)] = None,
    value_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read the value from a file; - is stdin.")
    ] = None,
    value_stdin: Annotated[bool, typer.Option("--value-stdin", help="Read the value from stdin.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Keep the newline at the end of the value.")] = False,
    is_json: Annotated[bool, typer.Option("--json", "-j", help="Refuse a value that is not JSON.")] = False,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", callback=public_text, help="What it is for; public.")
    ] = None,
    tag: Tag = None,
    owner: Owner = None,
    remind_at: RemindAt = None,
    not_after: NotAfter = None,
    expires_in: ExpiresIn = None,
    references: References = None,
    to: To = None,
    comment: Comment = "",
    expected_version: ExpectedVersion = None,
    force: Force = False,
) -> None:
    """
    Write a variable, new or over what stands.

    The value comes from stdin, a file or a prompt, never from the command line, which every process of
    the machine can see. One newline at its end is dropped. Where versions are kept, what stood before
    can be brought back with `rollback`.

    Example:
      $ strongroom variables set region                      # asks for the value
      $ echo eu-west-1 | strongroom variables set region
      $ strongroom variables set limits --json --value-file limits.json
    """
    session: Session = context.obj
    if value is not None:
        raise intake.refuse_argument(
            "the value of a variable",
            instead="pass it on stdin, in a file (--value-file FILE), or type it when asked",
        )
    ref = session.ref("variable", name)
    text = _value(ref.name, value_file, value_stdin=value_stdin, exact=exact)
    variable = Variable(key=ref.name, value=Secret(text))
    if is_json:
        variable.json()
    said = Said.of(description, tag, owner, (remind_at, not_after, expires_in), references=references)
    with session.room() as room:
        found = standing(room, ref)
        metadata = said.over(found.metadata if found else None)
        change = Change(ref=ref, secret=variable.value, metadata=metadata, expected_version=expected_version)
        written = room.entries.write(change, to=to, force=force, comment=comment)
    tell_written(session, ref, written, did="written to")


def _value(name: str, file: str | None, *, value_stdin: bool, exact: bool) -> str:
    if value_stdin and file not in (None, intake.STDIN):
        raise InvalidInputError("the value comes from stdin or from a file, not from both")
    source = intake.STDIN if value_stdin else file
    if source is None and not sys.stdin.isatty():
        source = intake.STDIN
    if source is not None:
        return intake.read_secret(source, what="the value", keeps_newline=exact)
    return terminal.ask_secret(f"value of {terminal.clean(name)}: ")


verb.register(app, "variable", example="region")
transfer.register(app, "variable")
export.register(app, "variable")
