"""
Import: Airflow's files on their way in, and what is told about them.

Not for what leaves: `export.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import Comment, Force, To, Yes
from strongroom.cli.lint import linter_of
from strongroom.cli.output import Column, sentence, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.document import Form, form_of
from strongroom.model.ref import Kind
from strongroom.model.yaml11 import MAX_FILE_BYTES, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.service.room import Room
    from strongroom.service.transfer import ImportOptions
    from strongroom.transfer.plan import Line, Report

__all__ = [
    "LINE_COLUMNS",
    "NAME_COLUMNS",
    "FileForm",
    "counted",
    "facts_of_report",
    "form_by_name",
    "looks_wrong",
    "register",
    "renames_said",
    "rows_of_lines",
    "rows_of_names",
    "source_of",
]

_FORMAT = typer.Option(
    "--format", "--file-format", metavar="FORM", help="json, yaml or env; by the file's name if unsaid."
)

_File = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is stdin.", show_default=False)]
FileForm = Annotated[Form | None, _FORMAT]
_Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", metavar="OLD=NEW", help="Give an entry another name; repeatable."),
]
_RenameFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="New names by old ones, as a JSON or YAML object.")
]
_RenameSuggested = Annotated[
    bool, typer.Option("--rename-suggested", help="Take the suggestions of the table of names.")
]
_KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Import what can be, though others are refused.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would happen; write nothing.")]
_AllowMask = Annotated[bool, typer.Option("--allow-mask", help="Let *** replace a value that stands.")]


def register(app: typer.Typer, kind: Kind) -> None:
    """Declare import for one kind on *app*."""
    command(app, "import")(_import_connections if kind == "connection" else _import_variables)


# --- import --------------------------------------------------------------------------------------


def _import_connections(
    context: typer.Context,
    *,
    file: _File,
    form: FileForm = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over those that are held already.")
    ] = False,
    rename: _Rename = None,
    rename_file: _RenameFile = None,
    rename_suggested: _RenameSuggested = False,
    keep_going: _KeepGoing = False,
    allow_mask: _AllowMask = False,
    dry_run: _DryRun = False,
    to: To = None,
    force: Force = False,
    comment: Comment = "import",
) -> None:
    """
    Import what `airflow connections export` wrote, all or nothing.

    Reads json, yaml and env files, also the env files with JSON in them that Airflow itself cannot read
    back, and env files that hold an environment: AIRFLOW_CONN_ORDERS_DB=… becomes orders_db, and lines
    that are no connections are passed over. As in Airflow, names that are held already are skipped unless
    --overwrite. What looks wrong in a connection is told, and refuses nothing. Names that are not legal
    here are shown in a table, each with a suggestion: rename them with --rename.

    Example:
      $ strongroom connections import connections.json
      $ strongroom connections import connections.env --overwrite --dry-run
      $ strongroom connections import old.yaml --rename '/a=a' --keep-going
    """
    from strongroom.service.transfer import ImportOptions  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    source, form = source_of(file, form)
    with session.room() as room:
        options = ImportOptions(
            on_existing="overwrite" if overwrite else "skip",
            rename=_renames(room, "connection", (source, form), rename or (), rename_file, rename_suggested),
            keep_going=keep_going,
            allow_mask=allow_mask,
            team=session.team,
            to=to,
            force=force,
            dry_run=dry_run,
            comment=comment,
            dialect=session.settings().lookup.dialect,
            check=linter_of(session).remarks,
        )
        report = _import(room.transfer.import_connections, source, form, options)
    _tell_report(session, report, "connection", dry_run=dry_run)


def _import_variables(
    context: typer.Context,
    *,
    file: _File,
    form: FileForm = None,
    action: Annotated[
        Literal["overwrite", "fail", "skip"] | None,
        typer.Option(
            "--action-on-existing-key",
            "-a",
            metavar="ACTION",
            help="With names that are held already: overwrite, fail or skip.",
        ),
    ] = None,
    rename: _Rename = None,
    rename_file: _RenameFile = None,
    rename_suggested: _RenameSuggested = False,
    keep_going: _KeepGoing = False,
    allow_mask: _AllowMask = False,
    dry_run: _DryRun = False,
    to: To = None,
    force: Force = False,
    comment: Comment = "import",
    yes: Yes = False,
) -> None:
    """
    Import what `airflow variables export` wrote, all or nothing.

    Reads json, yaml and env files, also env files that hold an environment: AIRFLOW_VAR_REGION=… becomes
    region, and lines that are no variables are passed over. As in Airflow, names that are held already are
    written over, after a question, which --action-on-existing-key or --yes answers beforehand.

    Example:
      $ strongroom variables import variables.json
      $ strongroom variables import variables.json --action-on-existing-key skip
    """
    from dataclasses import replace  # noqa: PLC0415 -- `--help` does without

    from strongroom.service.transfer import ImportOptions  # noqa: PLC0415

    session: Session = context.obj
    source, form = source_of(file, form)
    with session.room() as room:
        options = ImportOptions(
            on_existing=action or "overwrite",
            rename=_renames(room, "variable", (source, form), rename or (), rename_file, rename_suggested),
            keep_going=keep_going,
            allow_mask=allow_mask,
            team=session.team,
            to=to,
            force=force,
            dry_run=dry_run,
            comment=comment,
        )
        if action is None and not yes and not dry_run:
            trial = room.transfer.import_variables(source, form, replace(options, dry_run=True))
            count = sum(line.is_overwritten for line in trial.lines)
            if count:
                terminal.confirm(f"write over {counted(count, 'variable')}", is_agreed=False)
        report = _import(room.transfer.import_variables, source, form, options)
    _tell_report(session, report, "variable", dry_run=dry_run)


def source_of(file: str, form: Form | None, *, option: str = "--format") -> tuple[bytes, Form]:
    if form is None:
        if file == intake.STDIN:
            raise InvalidInputError(
                "the form of what comes from stdin is not known", hint=f"say {option} json, yaml or env"
            )
        form = form_by_name(file, option=option)
    return intake.read_file(file, what="the import", limit=MAX_FILE_BYTES), form


def form_by_name(file: str, *, option: str) -> Form:
    """
    Tell the form of a file by its name's ending.

    Raises:
        InvalidInputError: it has none of ours; the hint names *option*, which says it.
    """
    try:
        return form_of(file)
    except InvalidInputError as error:
        raise InvalidInputError(
            str(error), rule=error.rule, hint=f"rename it, or say {option} json, yaml or env"
        ) from None


def _import(
    do: Callable[[bytes, Form, ImportOptions], Report], source: bytes, form: Form, options: ImportOptions
) -> Report:
    from dataclasses import replace  # noqa: PLC0415 -- `--help` does without

    with terminal.progress("importing") as show:
        return do(source, form, options if show is None else replace(options, progress=show))


def _renames(
    room: Room,
    kind: Kind,
    source: tuple[bytes, Form],
    pairs: Sequence[str],
    file: str | None,
    is_suggested: bool,
) -> dict[str, str]:
    renames: dict[str, str] = {}
    if is_suggested:
        rows = room.transfer.names_to_change(*source, kind=kind)
        renames |= {row.name: row.suggestion for row in rows}
    return renames | renames_said(pairs, file)


def renames_said(pairs: Sequence[str], file: str | None) -> dict[str, str]:
    """
    Give new names by old ones, as `--rename-file` and `--rename` say them.

    Raises:
        InvalidInputError: they are not written so.
    """
    renames = {} if file is None else _renames_of(file)
    for pair in pairs:
        old, separator, new = pair.partition("=")
        if not separator or not old or not new:
            raise InvalidInputError("--rename needs the old and the new name", hint="--rename OLD=NEW")
        renames[old] = new
    return renames


def _renames_of(file: str) -> dict[str, str]:
    found = parse_yaml(
        intake.decoded(intake.read_file(file, what="the new names", limit=MAX_FILE_BYTES), what=file)
    )
    if not isinstance(found, dict) or not all(
        isinstance(text, str) for pair in found.items() for text in pair
    ):
        raise InvalidInputError(
            "the file of new names is no object of names", hint='{"old name": "new_name"}'
        )
    return found


LINE_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("outcome", "OUTCOME", styles={"refused": "red", "skipped": "dim", "imported": "green"}),
    Column("reason", "WHY"),
)
NAME_COLUMNS = (
    Column("name", "NAME IN THE FILE", styles={"": "bold"}),
    Column("suggestion", "SUGGESTION", styles={"": "green"}),
    Column("reason", "WHY IT IS NOT LEGAL"),
)


def _tell_report(session: Session, report: Report, kind: Kind, *, dry_run: bool) -> None:
    """Show what an import did, and end with an error where entries were refused."""
    facts = facts_of_report(report)
    refused = len(report.of("refused"))
    if session.output != "table":
        sentence(session, "", facts)
    else:
        _show(session, LINE_COLUMNS, rows_of_lines(report))
        _show(session, NAME_COLUMNS, rows_of_names(report))
        write(_summary(report, kind, dry_run=dry_run))
    if refused and not dry_run:
        done = "the others were imported" if report.is_written else "nothing was imported"
        raise InvalidInputError(
            f"{refused} of {counted(len(report.lines), 'entry', 'entries')} refused; {done}",
            hint=_hint(report),
        )


def facts_of_report(report: Report) -> dict[str, object]:
    """Give a report as programs read it."""
    return {
        "written": report.is_written,
        "lines": [_facts_of_line(line) for line in report.lines],
        "names_to_change": [
            {"name": row.name, "reason": row.reason, "suggestion": row.suggestion}
            for row in report.names_to_change
        ],
        "passed_over": report.passed_over,
    }


def _facts_of_line(line: Line) -> dict[str, object]:
    return {
        "name": line.name,
        "new_name": line.new_name,
        "team": line.team,
        "outcome": line.outcome,
        "overwritten": line.is_overwritten,
        "reason": line.reason,
        "warning": line.warning,
        "remarks": list(line.remarks),
    }


def rows_of_lines(report: Report) -> list[dict[str, object]]:
    """Give what is to be told of single entries; those of which nothing needs to be said are only counted."""
    told = [
        line
        for line in report.lines
        if line.outcome in ("refused", "skipped") or (line.warning and not line.reason)
    ]
    bad_names = {row.name for row in report.names_to_change}
    return [
        {"name": line.name, "outcome": line.outcome, "reason": line.reason or line.warning}
        for line in told
        if line.name not in bad_names
    ]


def rows_of_names(report: Report) -> list[dict[str, object]]:
    """Give the table of names to change."""
    return [
        {"name": row.name, "suggestion": row.suggestion, "reason": row.reason}
        for row in report.names_to_change
    ]


def _show(session: Session, columns: Sequence[Column], rows: list[dict[str, object]]) -> None:
    if rows:
        show_rows(session, columns, [rows])
        write("")


def _summary(report: Report, kind: Kind, *, dry_run: bool) -> str:
    over = sum(line.is_overwritten for line in report.lines)
    if dry_run:
        would = sum(line.outcome == "not reached" for line in report.lines)
        parts = [f"{counted(would, kind)} would be imported"]
    else:
        parts = [f"{counted(len(report.of('imported')), kind)} imported"]
    if over:
        parts.append(f"{over:,} of them over what stood")
    parts += [f"{len(report.of(what)):,} {what}" for what in ("skipped", "refused") if report.of(what)]
    if report.renamed:
        parts.append(f"{len(report.renamed)} renamed")
    if report.passed_over:
        parts.append(f"{counted(report.passed_over, 'other line')} passed over")
    return ", ".join(parts) + looks_wrong(report)


def looks_wrong(report: Report) -> str:
    """Give how many connections lint speaks of, as the end of a summary; "" where it says nothing."""
    count = sum(bool(line.remarks) for line in report.lines)
    if not count:
        return ""
    where = "strongroom connections lint" if report.is_written else "--output json"
    return f"; {count:,} {'looks' if count == 1 else 'look'} wrong, {where} says why"


def _hint(report: Report) -> str:
    if report.names_to_change:
        return "rename them with --rename OLD=NEW or take the suggestions with --rename-suggested"
    if report.is_written:
        return "mend the file and import it again"
    return "mend the file, or import the others with --keep-going"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Give a number with its noun, as in `1 connection`, `2 connections`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
