"""`strongroom run`: start a command with the entries it was named, in its environment or in files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from strongroom.cli import child, terminal
from strongroom.cli.app import Command, command, single
from strongroom.cli.gift import Gift, Values, inherited, own_credentials, plan, read_values
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.masking import MASK, Masker
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from typer._click.core import Context

    from strongroom.service.room import Room

app = single()

_KINDS: tuple[Kind, ...] = ("connection", "variable")
_PAGE = 1000
_WATCH = "--watch"


class _Run(Command):
    """The command, where `--watch` may stand without a value."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        valued = {
            name for option in self.params if not getattr(option, "is_flag", True) for name in option.opts
        }
        return super().parse_args(ctx, _with_a_value(args, valued))


def _with_a_value(args: Sequence[str], valued: set[str]) -> list[str]:
    """Write out what `--watch` alone stands for; *valued* are the options whose next word is theirs."""
    made, rest = [], list(args)
    while rest and rest[0] != "--" and rest[0].startswith("-"):
        word = rest.pop(0)
        made.append(f"{_WATCH}=restart" if word == _WATCH else word)
        if word in valued and word != _WATCH and rest:
            made.append(rest.pop(0))
    return [*made, *rest]


@command(app, "run", context_settings={"allow_interspersed_args": False}, kind=_Run)
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
    watch: str | None = typer.Option(
        None,
        _WATCH,
        metavar="[restart|SIGNAL]",
        help="When a value changes, start it anew, or with --watch=HUP send it that signal.",
    ),
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

    With --watch the values are followed while the command runs. Where one is another, the command is told to
    end (SIGTERM, after 10 s SIGKILL) and started anew with the new ones; with --watch=HUP, or another signal,
    the files of --files are written anew and it is sent that signal. When it ends by itself, so does run. An
    agent tells of changes; without one each of at most 100 entries is asked for every 5 s.

    Ends with the command's exit code: 128 and the signal's number if a signal killed it, 127 if it was
    not found, 126 if it cannot be executed.

    Example:
      $ strongroom run -- python job.py
      $ strongroom run --connection orders_db --variable region -- python job.py
      $ strongroom run --as PGPASSWORD=orders_db.password -- psql -h db.example.com
      $ strongroom run --all --files --mask -- ./report.sh
      $ strongroom run --files --watch=HUP --connection orders_db -- ./serve.sh
    """
    session: Session = context.obj
    wanted = [session.ref("connection", name) for name in connection]
    wanted += [session.ref("variable", name) for name in variable]
    is_all = is_all or not (wanted or assignment)
    plan(wanted, assignment, team=session.team, is_files=is_files)  # before a store is opened
    number = None if watch is None else _signal_of(watch)
    settings = session.settings()
    with session.room() as room:
        if is_all:
            wanted = [*_everything(room, session), *wanted]
        gifts = plan(wanted, assignment, team=session.team, is_files=is_files)
        values = read_values(gifts, room.lookup)
    giving = _Giving(inherited(session.environ, own_credentials(settings)), session, is_files, is_masked)
    given = giving.given(values)
    following = None if watch is None else _following(gifts, values, giving, number)
    try:
        if not is_files and not is_masked and following is None:
            child.become(argv, given.environ)
        code = child.supervise(argv, given.environ, masker=given.masker, files=given.files, watch=following)
    except child.CannotStartError as error:
        terminal.tell_error(error, session)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(code)


def _signal_of(how: str) -> int | None:
    from strongroom.cli import watch  # noqa: PLC0415 -- only who watches needs it

    return watch.signal_of(how)


def _following(gifts: Sequence[Gift], values: Values, giving: _Giving, number: int | None) -> child.Watch:
    from strongroom.cli import watch  # noqa: PLC0415 -- as above

    if len({gift.ref for gift in gifts}) > watch.MOST:
        raise InvalidInputError(
            f"--watch follows at most {watch.MOST} entries",
            limit=watch.MOST,
            hint="name what the command needs with --connection, --variable or --as",
        )
    session = giving.session

    def tell(error: Exception) -> None:
        terminal.warn(f"what was handed over is not known to be still so: {error}", session)

    return watch.Following(session.room, gifts, values, make=giving.given, signal=number, tell=tell)


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


class _Giving:
    """
    Makes of values what the command is given.

    Args:
        environ: what it has beside them.
        session: says how warnings are written.
        is_files: in files, not in the environment.
        is_masked: hide what was ever given in what it prints.
    """

    def __init__(self, environ: dict[str, str], session: Session, is_files: bool, is_masked: bool) -> None:
        self.session = session
        self._environ = environ
        self._is_files = is_files
        self._is_masked = is_masked
        self._hidden: dict[str, Secret[str]] = {}  # whoever was given a value may print it later

    def given(self, values: Values) -> child.Given:
        """Give what the command is given."""
        masker = self._masker(values) if self._is_masked else None
        if self._is_files:
            return child.Given(self._environ, values.texts, masker)
        # As UTF-8, whatever character set this process was started with.
        texts = {_native(place): _native(text.reveal()) for place, text in values.texts.items()}
        return child.Given(self._environ | texts, None, masker)

    def _masker(self, values: Values) -> Masker:
        self._hidden |= {secret.reveal(): secret for secret in values.secrets}
        return _masker(values, list(self._hidden.values()), self.session)


def _native(text: str) -> str:
    return os.fsdecode(text.encode())


def _masker(values: Values, hidden: Sequence[Secret[str]], session: Session) -> Masker:
    masker = Masker(secret.reveal() for secret in hidden)
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
