"""
`strongroom airflow import`: what an Airflow keeps, brought here.

Not for Airflow's files: `connections import` and `variables import` read those.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.airflow.root import app
from strongroom.cli.app import command
from strongroom.cli.entry import Comment, Force, To, Yes
from strongroom.cli.lint import linter_of
from strongroom.cli.output import Column, sentence, show_rows, write
from strongroom.cli.session import Session, ask_passphrase
from strongroom.cli.transfer import (
    LINE_COLUMNS,
    NAME_COLUMNS,
    counted,
    facts_of_report,
    looks_wrong,
    renames_said,
    rows_of_lines,
    rows_of_names,
)
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.backend import Backend
    from strongroom.service.room import Room
    from strongroom.service.transfer import ImportOptions
    from strongroom.settings import Settings
    from strongroom.transfer.plan import Line, Outcome, Report

_KIND = "airflow_metastore"
_SECONDS = 30  # for one question: an import may wait longer than a task
_MOST_ROWS = 30  # a wrong key refuses every row for the same reason
_KINDS = ("connection", "variable")
_LINES = (Column("kind", "KIND"), *LINE_COLUMNS)
_NAMES = (Column("kind", "KIND"), replace(NAME_COLUMNS[0], header="NAME THERE"), *NAME_COLUMNS[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """Which database, as the command line says it: places of secrets, never secrets."""

    home: str | None
    database: str | None
    url_file: str | None
    url_env: str | None
    key_file: str | None
    key_env: str | None


@command(app, "import")
def import_(
    context: typer.Context,
    *,
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="Airflow's home; AIRFLOW_HOME or ~/airflow if unsaid.")
    ] = None,
    database: Annotated[str | None, typer.Option(metavar="FILE", help="An airflow.db to read.")] = None,
    url_file: Annotated[
        str | None,
        typer.Option("--database-url-file", metavar="FILE", help="Holds the database's URL; - is stdin."),
    ] = None,
    url_env: Annotated[
        str | None,
        typer.Option("--database-url-env", metavar="NAME", help="The variable that holds the URL."),
    ] = None,
    key_file: Annotated[
        str | None,
        typer.Option("--fernet-key-file", metavar="FILE", help="Holds the Fernet keys; - is stdin."),
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option("--fernet-key-env", metavar="NAME", help="The variable that holds the Fernet keys."),
    ] = None,
    on_existing: Annotated[
        Literal["skip", "overwrite", "fail"],
        typer.Option(metavar="ACTION", help="With names that are held already: skip, overwrite or fail."),
    ] = "skip",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="The same as --on-existing overwrite.")
    ] = False,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="OLD=NEW", help="Give an entry another name; repeatable."),
    ] = None,
    rename_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="New names by old ones, as a JSON or YAML object.")
    ] = None,
    rename_suggested: Annotated[
        bool, typer.Option("--rename-suggested", help="Take the suggestions of the table of names.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import what can be, though others are refused.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would happen; write nothing.")
    ] = False,
    to: To = None,
    force: Force = False,
    comment: Comment = "airflow import",
    yes: Yes = False,
) -> None:
    """
    Import what Airflow's own database holds.

    The database and its Fernet keys are those of the Airflow found here, unless options name others; it is
    only read. All of it is imported, or nothing. Teams and descriptions are kept; --team is for what has
    none. Names that are held already are skipped. An entry that cannot be opened is refused with the reason,
    and then nothing is written unless --keep-going is said.

    Example:
      $ strongroom airflow import --dry-run
      $ strongroom airflow import --home /opt/airflow --to native
      $ strongroom airflow import --database airflow.db --fernet-key-file fernet.key
    """
    from strongroom.service.transfer import ImportOptions  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    where = _Where(
        home=home,
        database=database,
        url_file=url_file,
        url_env=url_env,
        key_file=key_file,
        key_env=key_env,
    )
    options = ImportOptions(
        check=linter_of(session).remarks,
        on_existing="overwrite" if overwrite else on_existing,
        rename=renames_said(rename or (), rename_file),
        keep_going=keep_going,
        team=session.team,
        to=to,
        force=force,
        dry_run=dry_run,
        comment=comment,
    )
    settings = session.settings()
    with closing(_source(session, settings, where)) as source, _room(session, settings) as room:
        if rename_suggested:
            options = _with_suggestions(room, source, options)
        if options.on_existing == "overwrite" and not yes and not dry_run:
            _confirm(room, source, options)
        with terminal.progress("importing") as show:
            chosen = options if show is None else replace(options, progress=show)
            reports = room.transfer.import_entries(source, chosen)
    _tell(session, reports, options)


# --- what is read, and where it goes --------------------------------------------------------------


def _source(session: Session, settings: Settings, where: _Where) -> Backend:
    from strongroom import assembly  # noqa: PLC0415 -- it loads the store
    from strongroom.settings import BackendSettings  # noqa: PLC0415

    table = _table(where) | {"timeout": _SECONDS}
    backend = BackendSettings(name="Airflow", kind=_KIND, options=table, folder=Path.cwd())
    return assembly.open_backend(backend, settings, environ=session.environ)


def _table(where: _Where) -> dict[str, object]:
    said = [where.home, where.database, where.url_file, where.url_env]
    if sum(option is not None for option in said) > 1:
        raise InvalidInputError(
            "more than one database is named", hint="keep one of --home, --database and --database-url-…"
        )
    if where.key_file is not None and where.key_env is not None:
        raise InvalidInputError("the Fernet keys are named twice", hint="keep --fernet-key-file")
    if where.url_file == where.key_file == intake.STDIN:
        raise InvalidInputError("only one of URL and Fernet keys can come from stdin")
    table: dict[str, object] = {}
    if where.home is not None:
        table["airflow_home"] = where.home
    if where.database is not None:
        table["path"] = where.database
    for option, file, variable, what in (
        ("sql_alchemy_conn", where.url_file, where.url_env, "the database's URL"),
        ("fernet_key", where.key_file, where.key_env, "the list of Fernet keys"),
    ):
        source = _secret(option, file, variable, what)
        if source is not None:
            table[option] = source
    return table


def _secret(option: str, file: str | None, variable: str | None, what: str) -> object:
    from strongroom.settings import SecretSource  # noqa: PLC0415 -- as `_source`

    if file is not None:
        return SecretSource(kind="text", argument=(intake.read_secret(file, what=what),), key=option)
    return None if variable is None else SecretSource(kind="env", argument=(variable,), key=option)


def _room(session: Session, settings: Settings) -> Room:
    """Open the room without Airflow's database in its chain: what only that holds is not held here yet."""
    from strongroom import assembly  # noqa: PLC0415 -- as `_source`

    chain = tuple(
        name
        for name in settings.chain
        if (settings.backend[name].kind if name in settings.backend else name) != _KIND
    )
    return assembly.open_room(
        replace(settings, chain=chain), environ=session.environ, passphrase=ask_passphrase
    )


def _with_suggestions(room: Room, source: Backend, options: ImportOptions) -> ImportOptions:
    trial = room.transfer.import_entries(source, replace(options, dry_run=True))
    rows = [row for report in trial for row in report.names_to_change]
    # One new name for both kinds: the longer one has a number, because the shorter is taken in its kind.
    suggested = {row.name: row.suggestion for row in sorted(rows, key=lambda row: len(row.suggestion))}
    return replace(options, rename={**suggested, **options.rename})


def _confirm(room: Room, source: Backend, options: ImportOptions) -> None:
    trial = room.transfer.import_entries(source, replace(options, dry_run=True))
    over = [sum(line.is_overwritten for line in report.lines) for report in trial]
    if any(over):
        terminal.confirm(f"write over {_both(over)}", is_agreed=False)


# --- what is told ---------------------------------------------------------------------------------


def _tell(session: Session, reports: Sequence[Report], options: ImportOptions) -> None:
    refused = sum(len(report.of("refused")) for report in reports)
    total = sum(len(report.lines) for report in reports)
    if session.output != "table":
        facts = (_facts(report) for report in reports)
        sentence(session, "", dict(zip(("connections", "variables"), facts, strict=True)))
    else:
        _show(session, _LINES, [rows_of_lines(report) for report in reports])
        _show(session, _NAMES, [rows_of_names(report) for report in reports])
        write(_summary(reports, options))
    if refused and not options.dry_run:
        is_any = any(report.of("imported") for report in reports)
        done = "the others were imported" if is_any else "nothing was imported"
        raise InvalidInputError(
            f"{refused} of {counted(total, 'entry', 'entries')} refused; {done}", hint=_hint(reports)
        )


def _facts(report: Report) -> dict[str, object]:
    states = {state.value: count for state, count in sorted(report.states.items())}
    return {**facts_of_report(report), "states": states}


def _show(session: Session, columns: Sequence[Column], found: Sequence[list[dict[str, object]]]) -> None:
    rows = [{"kind": kind, **row} for kind, told in zip(_KINDS, found, strict=True) for row in told]
    if rows:
        show_rows(session, columns, [rows[:_MOST_ROWS]])
        more = len(rows) - _MOST_ROWS
        write(f"and {more:,} more: --output json tells all\n" if more > 0 else "")


def _summary(reports: Sequence[Report], options: ImportOptions) -> str:
    outcome: Outcome = "not reached" if options.dry_run else "imported"
    done = [len(report.of(outcome)) for report in reports]
    is_stopped = not options.keep_going and any(report.of("refused") for report in reports)
    would = "would be imported with --keep-going" if is_stopped else "would be imported"
    parts = [f"{_both(done)} {would if options.dry_run else 'imported'}"]
    lines: list[Line] = [line for report in reports for line in report.lines]
    over = sum(line.is_overwritten for line in lines)
    if over:
        parts.append(f"{over:,} of them over what stood")
    for what in ("skipped", "refused"):
        count = sum(line.outcome == what for line in lines)
        parts += [f"{count:,} {what}"] if count else []
    renamed = sum(len(report.renamed) for report in reports)
    parts += [f"{renamed} renamed"] if renamed else []
    plain = sum(
        count for report in reports for state, count in report.states.items() if state == "plain text"
    )
    parts += [f"{plain:,} stand in plain text in Airflow's database"] if plain else []
    return ", ".join(parts) + looks_wrong(reports[0])


def _both(counts: Sequence[int]) -> str:
    return " and ".join(counted(count, kind) for count, kind in zip(counts, _KINDS, strict=True))


def _hint(reports: Sequence[Report]) -> str:
    if any(report.names_to_change for report in reports):
        return "rename them with --rename OLD=NEW or take the suggestions with --rename-suggested"
    if any(state == "wrong key" for report in reports for state in report.states):
        keys = "give every Fernet key that was in use with --fernet-key-file"
        return keys if reports[0].is_written else f"{keys}, or import the others with --keep-going"
    if reports[0].is_written:
        return "mend them in Airflow and import again"
    return "mend them in Airflow, or import the others with --keep-going"
