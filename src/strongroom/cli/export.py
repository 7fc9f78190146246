"""
Export and convert: files with secrets in them, on their way out.

Rules of this file:

1. A file with secrets is written 0600, whole or not at all, and never over another one unasked.
2. Whatever leaves in clear is said so on stderr.
3. Nothing is revealed before it is known that it can be written.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import anyform, intake, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import public_text
from strongroom.cli.output import sentence, write_utf8
from strongroom.cli.session import Session
from strongroom.cli.transfer import FileForm, counted, form_by_name, source_of
from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.document import Form, Serialization, decode, format_connections
from strongroom.model.ref import Kind

if TYPE_CHECKING:
    from strongroom.service.transfer import Exported

__all__ = ["register", "write_private"]

_Target = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is stdout.", show_default=False)]


def register(app: typer.Typer, kind: Kind) -> None:
    """Declare export (and for connections convert) on *app*."""
    if kind == "connection":
        command(app, "export")(_export_connections)
        command(app, "convert")(_convert)
    else:
        command(app, "export")(_export_variables)


# --- export --------------------------------------------------------------------------------------

_Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin so.")]
_Reason = Annotated[
    str, typer.Option(metavar="TEXT", callback=public_text, help="Why; recorded, since an export reveals.")
]
_Replace = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
_Serialization = Annotated[
    Serialization,
    typer.Option(
        metavar="FORM",
        help="In env files: uri (JSON where a URI would lose something), uri-only, or json.",
        show_default=False,
    ),
]


_EnvNames = Annotated[
    bool, typer.Option("--env-names", help="In env files: AIRFLOW_CONN_<NAME>, AIRFLOW_VAR_<NAME>.")
]


def _export_connections(
    context: typer.Context,
    *,
    file: _Target,
    form: FileForm = None,
    serialization_format: _Serialization = "uri",
    env_names: _EnvNames = False,
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
      $ strongroom connections export airflow.env --env-names
    """
    session: Session = context.obj
    form = _target_form(file, form, force=force)
    with session.room() as room, terminal.progress("exporting"):
        found = room.transfer.export_connections(
            form,
            serialization=serialization_format,
            prefix=prefix,
            team=session.team,
            reason=reason,
            dialect=session.settings().lookup.dialect,
            is_environment=env_names,
        )
    _deliver(session, found, file, "connection", force=force)
    if found.as_json and serialization_format == "uri" and not env_names:
        terminal.warn(
            f"{_listed(found.as_json)} written as JSON: a URI would lose something",
            session,
            hint="Airflow's own `connections import` cannot read JSON in env files; json and yaml it can",
        )


def _export_variables(
    context: typer.Context,
    *,
    file: _Target,
    form: FileForm = None,
    env_names: _EnvNames = False,
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
    with session.room() as room, terminal.progress("exporting"):
        found = room.transfer.export_variables(
            form,
            prefix=prefix,
            team=session.team,
            reason=reason,
            descriptions=descriptions,
            is_environment=env_names,
        )
    _deliver(session, found, file, "variable", force=force)


def _target_form(file: str, form: Form | None, *, force: bool) -> Form:
    """Tell the form of the file to write; before anything is revealed, refuse one that is there."""
    if file != intake.STDIN and not force and os.path.lexists(file):
        raise _is_there()
    if form is not None:
        return form
    return "json" if file == intake.STDIN else form_by_name(file, option="--format")


def _deliver(session: Session, found: Exported, file: str, kind: Kind, *, force: bool) -> None:
    count = counted(len(found.names), kind)
    if found.lowered:
        terminal.warn(f"imported again, {_listed(found.lowered)} would be in lower case", session)
    if file == intake.STDIN:
        write_utf8(found.reveal().rstrip("\n"))
        terminal.warn(f"{count} written in clear", session)
        return
    write_private(Path(file), found.reveal(), force=force)
    facts = {"file": file, "count": len(found.names), "as_json": found.as_json, "lowered": found.lowered}
    sentence(session, f"{count} written to {file}", facts)
    terminal.warn("the file holds secrets in clear; only you can read it (0600)", session)


def write_private(path: Path, text: str, *, force: bool) -> None:
    """
    Write a file that only its owner can read, whole or not at all.

    Raises:
        ConflictError: there is one already, and *force* is not set.
        InvalidInputError: it cannot be written there.
    """
    if force and path.exists() and not path.is_symlink() and not path.is_file():
        # A device, a pipe: renaming over it would take it away from everybody.
        raise InvalidInputError("what stands there is no plain file", hint="name a file")
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


def _convert(
    context: typer.Context,
    *,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The file; - is stdin.", show_default=False)
    ] = "-",
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FORM", help="json, yaml, env, any, or a form; by the file's name if unsaid."
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORM",
            help="json, yaml, env, or with --single json, uri or a form.",
            show_default=False,
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

    With --from any the text tells its form, whatever tool it was written for: a JDBC URL, ~/.aws/credentials,
    a kubeconfig and others (docs/forms.md). With --single such a form can be written too.

    Example:
      $ strongroom connections convert connections.json --to env
      $ strongroom connections convert --single --to uri < one.json
      $ strongroom connections convert --single --to jdbc < one.json
      $ strongroom connections convert ~/.aws/credentials --from any --to yaml
    """
    session: Session = context.obj
    if out != intake.STDIN and not force and os.path.lexists(out):
        raise _is_there()
    if single and (source is not None or target not in anyform.AIRFLOW):
        text = anyform.convert_single(session, file, source, target)
    elif single:
        text = _convert_single(intake.read_secret(file, what="the connection"), target)
    else:
        text = _convert_many(session, file, source, target, serialization_format)
    if out == intake.STDIN:
        write_utf8(text.rstrip("\n"))
    else:
        write_private(Path(out), text, force=force)


def _convert_single(text: str, target: str) -> str:
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
    session: Session, file: str, source: str | None, target: str, serialization: Serialization
) -> str:
    from strongroom.transfer.convert import convert_connections  # noqa: PLC0415 -- `--help` does without

    if target not in _FORMS:
        raise InvalidInputError(
            "many connections have the forms json, yaml and env", hint="say --to json, or --single for one"
        )
    if source is None or source in _FORMS:
        data, form = source_of(file, _FORMS.get(source or ""), option="--from")
        text = decode(data)
    else:
        text, form = format_connections(anyform.read_file(session, file, source), "json"), "json"
    made = convert_connections(
        text,
        form,
        _FORMS[target],
        serialization=serialization,
        dialect=session.settings().lookup.dialect,
    )
    if made.as_json and serialization == "uri":
        terminal.warn(f"{_listed(made.as_json)} written as JSON: a URI would lose something", session)
    return made.text.reveal()


_FORMS: Mapping[str, Form] = {"json": "json", "yaml": "yaml", "env": "env"}
