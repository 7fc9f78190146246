"""`strongroom doctor`: what is not as it should be, and what to type about it."""

from __future__ import annotations

import sys

import typer

from strongroom.cli.app import command, single
from strongroom.cli.output import Column, show_rows, wrapped, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean
from strongroom.errors import StrongroomError
from strongroom.service.doctor import Finding

app = single()

_EXIT_CODE = 7  # as settings that are wrong: the operator acts
_INDENT = 9
_STYLES = {"ok": "32", "note": "36", "warning": "33", "error": "1;31"}


@command(app, "doctor")
def doctor(context: typer.Context) -> None:
    """
    Look at everything and say what to do about it.

    Looks at settings, store, keys, backends, audit log, shadowed and clashing names, and what expires
    soon. Ends with 7 if anything is an error.

    Example:
      $ strongroom doctor
      $ strongroom doctor --output json | jq '.[] | select(.level != "ok")'
    """
    session: Session = context.obj
    findings = _examine(session)
    if session.output == "table":
        for finding in findings:
            _show(session, finding.level, finding.what, finding.fix)
    else:
        rows = [{"level": found.level, "what": found.what, "fix": found.fix} for found in findings]
        show_rows(session, [Column("level", "LEVEL")], [rows])
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(_EXIT_CODE)


def _examine(session: Session) -> list[Finding]:
    try:
        with session.room() as room:
            return room.doctor.run()
    except StrongroomError as error:
        # A room that cannot be opened is what a doctor is called for.
        return [Finding("error", str(error), error.hint or "")]


def _show(session: Session, level: str, what: str, fix: str) -> None:
    head = f"{level:<7}"
    if session.has_colour(sys.stdout):
        head = f"\x1b[{_STYLES[level]}m{head}\x1b[0m"
    first, *rest = wrapped(clean(what), indent=_INDENT)
    write(f"{head}  {first}")
    for line in rest + (wrapped(clean(fix), indent=_INDENT) if fix else []):
        write(" " * _INDENT + line)
