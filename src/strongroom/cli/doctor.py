"""`strongroom doctor`: what is not as it should be, and what to type about it."""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from strongroom import __version__
from strongroom.cli.app import command, single
from strongroom.cli.export import write_private
from strongroom.cli.output import Column, plain, sentence, show_rows, wrapped, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean
from strongroom.errors import InvalidInputError
from strongroom.service.bundle import make_bundle
from strongroom.service.doctor import NAMES, Doctor, Finding

app = single()

_EXIT_CODE = 7  # as settings that are wrong: the operator acts
_INDENT = 9
_STYLES = {"ok": "32", "note": "36", "warning": "33", "error": "1;31"}
_BUNDLE = "strongroom-support.json"


@command(app, "doctor")
def doctor(
    context: typer.Context,
    *,
    file: Annotated[
        Path | None, typer.Argument(help=f"With --bundle: the file to write; {_BUNDLE} if unsaid.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Only findings of this name; repeatable."),
    ] = None,
    is_deep: Annotated[
        bool,
        typer.Option("--deep", help="Also read connections, each recorded, and look at them (docs/lint.md)."),
    ] = False,
    is_bundle: Annotated[
        bool, typer.Option("--bundle", help="Write a support file without secrets, names and hosts.")
    ] = False,
    has_hosts: Annotated[
        bool, typer.Option("--include-hosts", help="With --bundle: keep the hosts of stores.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --bundle: replace the file.")] = False,
) -> None:
    """
    Look at everything and say what to do about it.

    Looks at settings, store, keys, backends, audit log and names; and around them at this process's
    environment, files, git, Airflow's configuration, DAGs and images. Changes nothing. Each finding has a
    name, explained in docs/doctor.md. Ends with 7 if anything is an error.

    Example:
      $ strongroom doctor
      $ strongroom doctor --only secret-in-git --only literal-in-dag
      $ strongroom doctor --output json | jq '.[] | select(.level != "ok")'
      $ strongroom doctor --bundle support.json
    """
    session: Session = context.obj
    _check(only or [], file, needs_bundle=file is not None or has_hosts or force, is_bundle=is_bundle)
    with session.doctor() as examiner:
        findings = examiner.run(is_deep=is_deep, only=only or ())
        if is_bundle:
            _write_bundle(session, file or Path(_BUNDLE), _bundle(examiner, findings, has_hosts), force=force)
            return
    if session.output == "table":
        for finding in findings:
            _show(session, finding)
    else:
        rows = [_row(finding) for finding in findings]
        show_rows(session, [Column("level", "LEVEL")], [rows])
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(_EXIT_CODE)


def _check(only: list[str], file: Path | None, *, needs_bundle: bool, is_bundle: bool) -> None:
    if needs_bundle and not is_bundle:
        what = "a file" if file is not None else "--include-hosts and --force"
        raise InvalidInputError(f"{what} belongs to --bundle", hint="strongroom doctor --bundle support.json")
    for name in only:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1)
            raise InvalidInputError(
                "--only names no finding",
                hint=f"did you mean {near[0]}?" if near else "docs/doctor.md lists the names",
            )


def _row(finding: Finding) -> dict[str, str]:
    return {
        "name": finding.name,
        "level": finding.level,
        "what": finding.what,
        "fix": finding.fix,
        "docs": finding.docs,
    }


def _show(session: Session, finding: Finding) -> None:
    head = f"{finding.level:<7}"
    if session.has_colour(sys.stdout):
        head = f"\x1b[{_STYLES[finding.level]}m{head}\x1b[0m"
    name = "" if finding.level == "ok" else f" [{finding.name}]"
    first, *rest = wrapped(clean(finding.what) + name, indent=_INDENT)
    write(f"{head}  {first}")
    for line in rest + (wrapped(clean(finding.fix), indent=_INDENT) if finding.fix else []):
        write(" " * _INDENT + line)


# --- the support file ------------------------------------------------------------------------------


def _bundle(examiner: Doctor, findings: list[Finding], has_hosts: bool) -> str:
    made = make_bundle(examiner.case, findings, version=__version__, has_hosts=has_hosts)
    return json.dumps(plain(made), indent=2, ensure_ascii=True) + "\n"


def _write_bundle(session: Session, path: Path, text: str, *, force: bool) -> None:
    write_private(path, text, force=force)
    facts = {"file": str(path), "bytes": len(text), "mode": "0600"}
    sentence(session, f"{path} written: look at it before you send it", facts)
