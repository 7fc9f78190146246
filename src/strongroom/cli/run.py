"""`strongroom run`: start a command with the entries it was named, in its environment or in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from strongroom.cli import child, terminal
from strongroom.cli.app import command, single
from strongroom.cli.gift import Values, inherited, own_credentials, plan, read_values
from strongroom.cli.session import Session
from strongroom.model.masking import MASK, Masker
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.service.room import Room

app = single()

_KINDS: tuple[Kind, ...] = ("connection", "variable")
_PAGE = 1000


@command(app, "run", context_settings={"allow_interspersed_args": False})
def run(
    context: typer.Context,
    *,
    argv: list[str] = typer.Argument(..., metavar="CMD...", help="What to start, with its arguments."),
    connection: list[str] = typer.Option(
        [], "--connection", metavar="NAME", help="Hand over this connection."
    ),
    variable: list[str] = typer.Option([], "--variable", metavar="NAME", help="Hand over this variable."),
    is_all: bool = typer.Option(
        False, "--all", help="Hand over every connection and variable, as when none is named."
    ),
    assignment: list[str] = typer.Option(
        [],
        "--as",
        metavar="NAME=SOURCE",
        help="Hand over one value as NAME: CONNECTION.FIELD, CONNECTION.extra.KEY, variable/NAME.",
    ),
    is_files: bool = typer.Option(False, "--files", help="In files below $STRONGROOM_FILES instead."),
    is_masked: bool = typer.Option(False, "--mask", help="Replace the values by *** in what it prints."),
) -> None:
    """
    Start a command with the entries it needs.

    Connections become AIRFLOW_CONN_<NAME>, variables AIRFLOW_VAR_<NAME>, in upper case, as Airflow reads
    them; name the few a job needs, or none for all. Names with other characters than letters, digits and
    _ reach programs, but a shell in between may drop them. The command keeps the environment it would
    have had, less what Strongroom itself logs in with.

    Every program of the same user can read a process's environment. With --files the values stand in
    files only this user may read (connections/NAME, variables/NAME, or the NAME after --as), in memory
    where possible, removed when the command has ended; after kill -9 of strongroom itself they stay.

    With --mask the command writes to pipes instead of the terminal, so it may colour and buffer
    differently, and run lasts until everything it started has closed its output. Masking hides the
    values and their usual encodings, not what was split or computed from them.

    Ends with the command's exit code: 128 and the signal's number if a signal killed it, 127 if it was
    not found, 126 if it cannot be executed.

    Example:
      $ strongroom run -- python job.py
      $ strongroom run --connection orders_db --variable region -- python job.py
      $ strongroom run --as PGPASSWORD=orders_db.password -- psql -h db.example.com
      $ strongroom run --all --files --mask -- ./report.sh
    """
    session: Session = context.obj
    wanted = [session.ref("connection", name) for name in connection]
    wanted += [session.ref("variable", name) for name in variable]
    is_all = is_all or not (wanted or assignment)
    plan(wanted, assignment, team=session.team, is_files=is_files)  # before a store is opened
    settings = session.settings()
    with session.room() as room:
        if is_all:
            wanted = [*_everything(room, session), *wanted]
        gifts = plan(wanted, assignment, team=session.team, is_files=is_files)
        values = read_values(gifts, room.lookup)
    environ = inherited(session.environ, own_credentials(settings))
    start = _starter(values, session, is_files=is_files, is_masked=is_masked)
    try:
        code = start(argv, environ)
    except child.CannotStartError as error:
        terminal.tell_error(error, session)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(code)


def _everything(room: Room, session: Session) -> Iterator[Ref]:
    for kind in _KINDS:
        # A team's names come first: where it has one of its own, the global one is not asked for.
        names: dict[str, None] = {}
        for team in dict.fromkeys((session.team, None)):
            for name in _names(room, kind, team):
                names.setdefault(name)
        yield from (session.ref(kind, name) for name in names)


def _names(room: Room, kind: Kind, team: str | None) -> Iterator[str]:
    after: Ref | None = None
    while True:
        rows = room.inventory.page(kind, team=team, after=after, limit=_PAGE)
        yield from (row.ref.name for row in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].ref


def _starter(
    values: Values, session: Session, *, is_files: bool, is_masked: bool
) -> Callable[[Sequence[str], dict[str, str]], int]:
    masker = _masker(values, session) if is_masked else None

    def start(argv: Sequence[str], environ: dict[str, str]) -> int:
        if is_files:
            return child.supervise(argv, environ, masker=masker, files=values.texts)
        # As UTF-8, whatever character set this process was started with.
        environ |= {_native(place): _native(text.reveal()) for place, text in values.texts.items()}
        if masker is None:
            child.become(argv, environ)
        return child.supervise(argv, environ, masker=masker)

    return start


def _native(text: str) -> str:
    return os.fsdecode(text.encode())


def _masker(values: Values, session: Session) -> Masker:
    masker = Masker(secret.reveal() for secret in values.secrets)
    bare = [str(ref) for ref, secret in values.main.items() if secret and not _is_hidden(secret, masker)]
    if bare:
        terminal.warn(
            f"too short or too common to be masked: {', '.join(bare)}",
            session,
            hint="a longer value is safer, and can be masked",
        )
    return masker


def _is_hidden(secret: Secret[str], masker: Masker) -> bool:
    return masker.mask(secret.reveal().strip()) == MASK
