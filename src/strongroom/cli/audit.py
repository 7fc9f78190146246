"""`strongroom audit`: what happened, and whether the record of it is whole."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.output import Column, sentence, show_rows
from strongroom.cli.session import Session
from strongroom.errors import TamperedError

if TYPE_CHECKING:
    from strongroom.audit import Record

app = noun(
    "audit",
    """
    Look at the record of what happened, and prove it whole.

    Example:
      $ strongroom audit tail
      $ strongroom audit verify
    """,
)

_OUTCOMES = {
    "denied": "bold red",
    "failed": "bold red",
    "unavailable": "yellow",
    "invalid": "yellow",
    "absent": "dim",
}
_COLUMNS = (
    Column("seq", "SEQ", 3, is_number=True),
    Column("when", "AT"),
    Column("actor", "ACTOR", 2),
    Column("action", "ACTION", styles={"reveal": "bold yellow"}),
    Column("what", "WHAT", styles={"": "bold"}),
    Column("outcome", "OUTCOME", styles=_OUTCOMES),
    Column("backend", "BACKEND", 1),
    Column("version", "VERSION", 4),
    Column("reason", "REASON", 2),
)


@command(app, "tail")
def tail(
    context: typer.Context,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many.")] = 20,
) -> None:
    """
    Show the last records, oldest first.

    Example:
      $ strongroom audit tail
      $ strongroom audit tail -n 100 --output json
    """
    session: Session = context.obj
    with closing(session.audit()) as trail:
        records = trail.tail(lines)
    count = show_rows(session, _COLUMNS, [[_facts(record) for record in records]])
    if not count:
        terminal.note("nothing is recorded yet", session)


def _facts(record: Record) -> dict[str, object]:
    what = "the room" if record.name is None else f"{record.kind} {record.name}"
    return {
        "seq": record.seq,
        "at": record.at,
        "when": record.at[:19].replace("T", " ") + "Z",
        "actor": record.actor,
        "assurance": record.assurance,
        "action": record.action,
        "kind": record.kind,
        "name": record.name,
        "what": f"{what} (team {record.team})" if record.team else what,
        "team": record.team,
        "deployment": record.deployment,
        "outcome": record.outcome,
        "reason": record.reason,
        "backend": record.backend,
        "version": record.version,
        "prev": record.prev,
        "hash": record.hash,
    }


@command(app, "verify")
def verify(context: typer.Context) -> None:
    """
    Check every record against the chain.

    Finds any record that was edited, dropped, moved or put in between, and names the first. Needs no
    key. Ends with 9 if the log is not whole.

    Example:
      $ strongroom audit verify
    """
    session: Session = context.obj
    with closing(session.audit()) as trail:
        verdict, folder = trail.verify(), trail.folder
    if not verdict.is_ok:
        raise TamperedError(
            f"the audit log is not whole: record {verdict.index}: {verdict.reason}",
            hint=f"the {verdict.count:,} before it are good; keep a copy of {folder} before anything else",
        )
    facts = {"ok": True, "records": verdict.count, "repairs": verdict.repairs, "folder": str(folder)}
    repairs = f", {len(verdict.repairs)} torn ends repaired after a crash" if verdict.repairs else ""
    sentence(session, f"the audit log is whole: {verdict.count:,} records{repairs}", facts)
