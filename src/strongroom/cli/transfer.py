"""
Import, export and convert: the verbs of both nouns that read and write Airflow's files.

Rules of this file:

1. A file with secrets is written 0600, whole or not at all, and never over another one unasked.
2. Whatever leaves in clear is said so on stderr.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import Comment, Force, To, Yes
from strongroom.cli.output import Column, sentence, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.document import Form, Serialization, decode, form_of
from strongroom.model.ref import Kind
from strongroom.model.yaml11 import MAX_FILE_BYTES, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.service.room import Room
    from strongroom.service.transfer import Exported, ImportOptions
    from strongroom.transfer.plan import Line, Report

__all__ = ["convert", "register", "write_private"]

_FORMAT = typer.Option(
    "--format", "--file-format", metavar="FORM", help="json, yaml or env; by the file's name if unsaid."
)

_File = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is stdin.", show_default=False)]
_Target = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is stdout.", show_default=False)]
_Format = Annotated[Form | None, _FORMAT]
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
    """Declare import and export for one kind on *app*."""
    if kind == "connection":
        command(app, "import")(_import_connections)
        command(app, "export")(_export_connections)
        command(app, "convert")(convert)
    else:
        command(app, "import")(_import_variables)
        command(app, "export")(_export_variables)


# --- import --------------------------------------------------------------------------------------


def _import_connections(
    context: typer.Context,
    *,
    file: _File,
    form: _Format = None,
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
    back. As in Airflow, names that are held already are skipped unless --overwrite. Names that are not
    legal here are shown in a table, each with a suggestion: rename them with --rename.

    Example:
      $ strongroom connections import connections.json
      $ strongroom connections import connections.env --overwrite --dry-run
      $ strongroom connections import old.yaml --rename '/a=a' --keep-going
    """
    from strongroom.service.transfer import ImportOptions  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    source, form = _source(file, form)
    with session.room() as room:
        options = ImportOptions(
            on_existing="overwrite" if overwrite else "skip",
            rename=_renames(room, source, form, rename or (), rename_file, rename_suggested),
            keep_going=keep_going,
            allow_mask=allow_mask,
            team=session.team,
            to=to,
            force=force,
            dry_run=dry_run,
            comment=comment,
            dialect=session.settings().lookup.dialect,
        )
        report = _import(room.transfer.import_connections, source, form, options)
    _tell_report(session, report, "connection", dry_run=dry_run)


def _import_variables(
    context: typer.Context,
    *,
    file: _File,
    form: _Format = None,
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

    Reads json, yaml and env files. As in Airflow, names that are held already are written over, after a
    question, which --action-on-existing-key or --yes answers beforehand.

    Example:
      $ strongroom variables import variables.json
      $ strongroom variables import variables.json --action-on-existing-key skip
    """
    from dataclasses import replace  # noqa: PLC0415 -- `--help` does without

    from strongroom.service.transfer import ImportOptions  # noqa: PLC0415

    session: Session = context.obj
    source, form = _source(file, form)
    with session.room() as room:
        options = ImportOptions(
            on_existing=action or "overwrite",
            rename=_renames(room, source, form, rename or (), rename_file, rename_suggested),
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
                terminal.confirm(f"write over {_counted(count, 'variable')}", is_agreed=False)
        report = _import(room.transfer.import_variables, source, form, options)
    _tell_report(session, report, "variable", dry_run=dry_run)


def _source(file: str, form: Form | None, *, option: str = "--format") -> tuple[bytes, Form]:
    if form is None:
        if file == intake.STDIN:
            raise InvalidInputError(
                "the form of what comes from stdin is not known", hint=f"say {option} json, yaml or env"
            )
        form = form_of(file)
    return intake.read_file(file, what="the import", limit=MAX_FILE_BYTES), form


def _import(
    do: Callable[[bytes, Form, ImportOptions], Report], source: bytes, form: Form, options: ImportOptions
) -> Report:
    from dataclasses import replace  # noqa: PLC0415 -- `--help` does without

    with terminal.progress("importing") as show:
        return do(source, form, options if show is None else replace(options, progress=show))


def _renames(
    room: Room, source: bytes, form: Form, pairs: Sequence[str], file: str | None, is_suggested: bool
) -> dict[str, str]:
    renames: dict[str, str] = {}
    if is_suggested:
        renames |= {row.name: row.suggestion for row in room.transfer.names_to_change(source, form)}
    if file is not None:
        renames |= _renames_of(file)
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


_LINE_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("outcome", "OUTCOME", styles={"refused": "red", "skipped": "dim", "imported": "green"}),
    Column("reason", "WHY"),
)
_NAME_COLUMNS = (
    Column("name", "NAME IN THE FILE", styles={"": "bold"}),
    Column("suggestion", "SUGGESTION", styles={"": "green"}),
    Column("reason", "WHY IT IS NOT LEGAL"),
)


def _tell_report(session: Session, report: Report, kind: Kind, *, dry_run: bool) -> None:
    """Show what an import did, and end with an error where entries were refused."""
    facts = _facts_of_report(report)
    refused = len(report.of("refused"))
    if session.output != "table":
        sentence(session, "", facts)
    else:
        _show_lines(session, report)
        _show_names(session, report)
        write(_summary(report, kind, dry_run=dry_run))
    if refused and not dry_run:
        done = "the others were imported" if report.is_written else "nothing was imported"
        raise InvalidInputError(
            f"{refused} of {_counted(len(report.lines), 'entry', 'entries')} refused; {done}",
            hint=_hint(report),
        )


def _facts_of_report(report: Report) -> dict[str, object]:
    return {
        "written": report.is_written,
        "lines": [_facts_of_line(line) for line in report.lines],
        "names_to_change": [
            {"name": row.name, "reason": row.reason, "suggestion": row.suggestion}
            for row in report.names_to_change
        ],
    }


def _facts_of_line(line: Line) -> dict[str, object]:
    return {
        "name": line.name,
        "new_name": line.new_name,
        "outcome": line.outcome,
        "overwritten": line.is_overwritten,
        "reason": line.reason,
        "warning": line.warning,
    }


def _show_lines(session: Session, report: Report) -> None:
    # Names of which nothing needs to be said are only counted.
    told = [line for line in report.lines if line.outcome in ("refused", "skipped") or line.warning]
    bad_names = {row.name for row in report.names_to_change}
    rows = [
        {"name": line.name, "outcome": line.outcome, "reason": line.reason or line.warning}
        for line in told
        if line.name not in bad_names
    ]
    if rows:
        show_rows(session, _LINE_COLUMNS, [rows])
        write("")


def _show_names(session: Session, report: Report) -> None:
    rows = [
        {"name": row.name, "suggestion": row.suggestion, "reason": row.reason}
        for row in report.names_to_change
    ]
    if rows:
        show_rows(session, _NAME_COLUMNS, [rows])
        write("")


def _summary(report: Report, kind: Kind, *, dry_run: bool) -> str:
    over = sum(line.is_overwritten for line in report.lines)
    if dry_run:
        would = sum(line.outcome == "not reached" for line in report.lines)
        parts = [f"{_counted(would, kind)} would be imported"]
    else:
        parts = [f"{_counted(len(report.of('imported')), kind)} imported"]
    if over:
        parts.append(f"{over} of them over what stood")
    parts += [f"{len(report.of(what))} {what}" for what in ("skipped", "refused") if report.of(what)]
    if report.renamed:
        parts.append(f"{len(report.renamed)} renamed")
    return ", ".join(parts)


def _hint(report: Report) -> str:
    if report.names_to_change:
        return "rename them with --rename OLD=NEW or take the suggestions with --rename-suggested"
    if report.is_written:
        return "mend the file and import it again"
    return "mend the file, or import the others with --keep-going"


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


# --- export --------------------------------------------------------------------------------------

_Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin so.")]
_Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; recorded, since an export reveals.")]
_Replace = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
_Serialization = Annotated[
    Serialization,
    typer.Option(
        metavar="FORM",
        help="In env files: uri (JSON where a URI would lose something), uri-only, or json.",
        show_default=False,
    ),
]


def _export_connections(
    context: typer.Context,
    *,
    file: _Target,
    form: _Format = None,
    serialization_format: _Serialization = "uri",
    prefix: _Prefix = "",
    reason: _Reason = "export",
    force: _Replace = False,
) -> None:
    """
    Write connections as `airflow connections export` does, in clear.

    The file is written 0600, whole or not at all, and never over another one unless --force.

    Example:
      $ strongroom connections export connections.json
      $ strongroom connections export - --format env --serialization-format json
    """
    session: Session = context.obj
    form = _target_form(file, form, force=force)
    with session.room() as room, terminal.waiting("exporting"):
        found = room.transfer.export_connections(
            form,
            serialization=serialization_format,
            prefix=prefix,
            team=session.team,
            reason=reason,
            dialect=session.settings().lookup.dialect,
        )
    _deliver(session, found, file, "connection", force=force)
    if found.as_json and serialization_format == "uri":
        terminal.warn(
            f"{_listed(found.as_json)} written as JSON: a URI would lose something",
            session,
            hint="Airflow's own `connections import` cannot read JSON in env files; json and yaml it can",
        )


def _export_variables(
    context: typer.Context,
    *,
    file: _Target,
    form: _Format = None,
    prefix: _Prefix = "",
    reason: _Reason = "export",
    descriptions: Annotated[
        bool,
        typer.Option("--descriptions/--no-descriptions", help="With descriptions, which env cannot hold."),
    ] = True,
    force: _Replace = False,
) -> None:
    """
    Write variables as `airflow variables export` does, in clear.

    The file is written 0600, whole or not at all, and never over another one unless --force.

    Example:
      $ strongroom variables export variables.json
      $ strongroom variables export - --format env --no-descriptions
    """
    session: Session = context.obj
    form = _target_form(file, form, force=force)
    with session.room() as room, terminal.waiting("exporting"):
        found = room.transfer.export_variables(
            form, prefix=prefix, team=session.team, reason=reason, descriptions=descriptions
        )
    _deliver(session, found, file, "variable", force=force)


def _target_form(file: str, form: Form | None, *, force: bool) -> Form:
    """Tell the form of the file to write; before anything is revealed, refuse one that is there."""
    if file != intake.STDIN and not force and os.path.lexists(file):
        raise _is_there()
    if form is not None:
        return form
    return "json" if file == intake.STDIN else form_of(file)


def _deliver(session: Session, found: Exported, file: str, kind: Kind, *, force: bool) -> None:
    count = _counted(len(found.names), kind)
    if file == intake.STDIN:
        write(found.reveal().rstrip("\n"))
        terminal.warn(f"{count} written in clear", session)
        return
    write_private(Path(file), found.reveal(), force=force)
    facts = {"file": file, "count": len(found.names), "as_json": found.as_json}
    sentence(session, f"{count} written to {file}", facts)
    terminal.warn("the file holds secrets in clear; only you can read it (0600)", session)


def write_private(path: Path, text: str, *, force: bool) -> None:
    """
    Write a file that only its owner can read, whole or not at all.

    Raises:
        ConflictError: there is one already, and *force* is not set.
        InvalidInputError: it cannot be written there.
    """
    draft = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    try:
        with open(draft, "x", encoding="utf-8", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if force:
            draft.replace(path)
        else:
            os.link(draft, path)
    except FileExistsError:
        raise _is_there() from None
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "no such place"
        raise InvalidInputError(f"the file cannot be written: {reason}") from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_there() -> ConflictError:
    return ConflictError("the file exists already", hint="choose another name, or say --force to replace it")


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


# --- convert -------------------------------------------------------------------------------------


def convert(
    context: typer.Context,
    *,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The file; - is stdin.", show_default=False)
    ] = "-",
    source: Annotated[
        Form | None,
        typer.Option("--from", metavar="FORM", help="json, yaml or env; by the file's name if unsaid."),
    ] = None,
    target: Annotated[
        Literal["json", "yaml", "env", "uri"],
        typer.Option(
            "--to", metavar="FORM", help="json, yaml, env, or with --single json or uri.", show_default=False
        ),
    ] = "json",
    single: Annotated[
        bool, typer.Option("--single", help="One connection, a URI or JSON, not a file of many.")
    ] = False,
    serialization_format: _Serialization = "uri",
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write, 0600; - is stdout.", show_default=False)
    ] = "-",
    force: _Replace = False,
) -> None:
    """
    Turn any of Airflow's forms into any other, with proof.

    Reads a file or stdin, writes stdout. What was written is read again and compared, field by field,
    before any of it leaves. Needs no store and asks nobody.

    Example:
      $ strongroom connections convert connections.json --to env
      $ strongroom connections convert --single --to uri < one.json
    """
    session: Session = context.obj
    if out != intake.STDIN and not force and os.path.lexists(out):
        raise _is_there()
    if single:
        text = _convert_single(intake.read_secret(file, what="the connection"), target)
    else:
        text = _convert_many(session, file, source, target, serialization_format)
    if out == intake.STDIN:
        write(text.rstrip("\n"))
    else:
        write_private(Path(out), text, force=force)


def _convert_single(text: str, target: str) -> str:
    if target not in ("json", "uri"):
        raise InvalidInputError("a single connection becomes json or uri", hint="say --to json or --to uri")
    connection = Connection.parse(text)
    written = connection.format("uri" if target == "uri" else "json").reveal()
    _prove(connection, Connection.parse(written))
    return written


def _prove(before: Connection, after: Connection) -> None:
    if before != after:
        raise InvalidInputError(
            "the connection would come back changed", hint="choose json, which loses nothing"
        )


def _convert_many(
    session: Session, file: str, source: Form | None, target: str, serialization: Serialization
) -> str:
    from strongroom.transfer.convert import convert_connections  # noqa: PLC0415 -- `--help` does without

    if target == "uri":
        raise InvalidInputError("many connections have no form uri", hint="say --to env, or --single for one")
    data, form = _source(file, source, option="--from")
    made = convert_connections(
        decode(data),
        form,
        _FORMS[target],
        serialization=serialization,
        dialect=session.settings().lookup.dialect,
    )
    if made.as_json and serialization == "uri":
        terminal.warn(f"{_listed(made.as_json)} written as JSON: a URI would lose something", session)
    return made.text.reveal()


_FORMS: Mapping[str, Form] = {"json": "json", "yaml": "yaml", "env": "env"}
