"""`strongroom audit`: what happened, whether the record of it is whole, and what becomes of it."""

from __future__ import annotations

import re
import sys
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.output import Column, sentence, show_record, show_rows
from strongroom.cli.session import Session
from strongroom.errors import ConflictError, InvalidInputError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.audit import Record
    from strongroom.audit.query import Filter
    from strongroom.service.audit import AuditTrail
    from strongroom.service.sightings import Sighting

app = noun(
    "audit",
    """
    Look at the record of what happened, prove it whole, hand it over.

    Example:
      $ strongroom audit tail --actor service:ci
      $ strongroom audit verify --witness /mnt/witness/notes
      $ strongroom audit export --format csv --since 7d --out audit.csv
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
    Column("level", "LEVEL", 3),
    Column("action", "ACTION", styles={"reveal": "bold yellow"}),
    Column("what", "WHAT", styles={"": "bold"}),
    Column("outcome", "OUTCOME", styles=_OUTCOMES),
    Column("count", "COUNT", 1, is_number=True),
    Column("backend", "BACKEND", 1),
    Column("version", "VERSION", 4),
    Column("reason", "REASON", 2),
)
_SIGHTINGS = (
    Column("first", "FIRST AT"),
    Column("task", "TASK", 2),
    Column("what", "WHAT", styles={"": "bold"}),
    Column("outcome", "OUTCOME", styles=_OUTCOMES),
    Column("version", "VERSION", 1),
    Column("backend", "BACKEND", 3),
    Column("uses", "USES", is_number=True),
    Column("level", "LEVEL", 2),
    Column("actor", "ACTOR", 3),
)
_LABELS = {
    "folder": "folder",
    "records": "records",
    "head": "head",
    "signed": "signed",
    "signed_at": "signed at",
    "writable": "writable",
    "hold": "hold",
}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_PAGE = 1000

_Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="From then on: 2026-12-31, 2026-12-31T12:00Z or 7d (ago)."),
]
_Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then; likewise.")]
_Actor = Annotated[str | None, typer.Option("--actor", metavar="ACTOR", help="Of this one only.")]
_Action = Annotated[
    str | None, typer.Option("--action", metavar="ACTION", help="read, reveal, write … only.")
]
_Outcome = Annotated[str | None, typer.Option("--outcome", metavar="OUTCOME", help="denied, failed … only.")]
_Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="About entries of this name only.")]
_Dag = Annotated[str | None, typer.Option("--dag", metavar="DAG", help="For runs of this DAG only.")]
_Task = Annotated[str | None, typer.Option("--task", metavar="TASK", help="For runs of this task only.")]
_Run = Annotated[str | None, typer.Option("--run", metavar="RUN", help="For the run of this id only.")]
_Text = Annotated[
    str | None, typer.Option("--text", metavar="TEXT", help="Who, what, why, from where or which run has it.")
]
_Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]


@command(app, "tail")
def tail(
    context: typer.Context,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many.")] = 20,
    since: _Since = None,
    until: _Until = None,
    actor: _Actor = None,
    action: _Action = None,
    outcome: _Outcome = None,
    name: _Name = None,
    dag: _Dag = None,
    task: _Task = None,
    run: _Run = None,
    text: _Text = None,
) -> None:
    """
    Show the last records, oldest first.

    Example:
      $ strongroom audit tail
      $ strongroom audit tail -n 100 --output json
      $ strongroom audit tail --outcome denied --since 1d
    """
    session: Session = context.obj
    said = {"actor": actor, "action": action, "outcome": outcome, "name": name}
    said |= {"dag": dag, "task": task, "run": run, "text": text}
    is_narrowed = any((since, until, *said.values()))
    with closing(session.audit()) as trail:
        if is_narrowed:
            records = _last(trail, _filter(since, until, said, team=session.team), lines)
        else:
            records = trail.tail(lines)
    count = show_rows(session, _COLUMNS, [[_facts(record) for record in records]])
    if not count:
        terminal.note("nothing of that is recorded" if is_narrowed else "nothing is recorded yet", session)


def _last(trail: AuditTrail, wanted: Filter, lines: int) -> list[Record]:
    records: list[Record] = []
    start = None
    while len(records) < lines:
        page = trail.query(wanted, limit=min(lines - len(records), _PAGE), start=start)
        records += page.records
        start = page.next
        if start is None:
            break
    return records[::-1]


def _filter(
    since: str | None, until: str | None, said: Mapping[str, str | None], *, team: str | None = None
) -> Filter:
    from strongroom.audit.query import Filter  # noqa: PLC0415 -- `--help` needs none

    return Filter(since=_moment(since, "--since"), until=_moment(until, "--until"), team=team, **said)


def _moment(text: str | None, option: str) -> datetime | None:
    """Read `2026-12-31`, `2026-12-31T12:00Z` or `7d` (ago); without a zone it is UTC."""
    if text is None:
        return None
    span = _SPAN.fullmatch(text)
    if span:
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[span[2]]: int(span[1])})
    with suppress(ValueError):
        moment = datetime.fromisoformat(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    raise InvalidInputError(
        f"{option} is no date", hint=f"{option} 2026-12-31, 2026-12-31T12:00Z or 7d (ago)"
    )


def _facts(record: Record) -> dict[str, object]:
    what = "the room" if record.name is None else f"{record.kind} {record.name}"
    if record.refs:
        what = f"{len(record.refs)} entries"
    facts: dict[str, object] = {
        "seq": record.seq,
        "at": record.at,
        "when": record.at[:19].replace("T", " ") + "Z",
        "actor": record.actor,
        "assurance": record.assurance,
        "level": _level(record),
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
    facts |= {
        name: value
        for name in ("request", "source", "run", "agent", "count", "since", "until")
        if (value := getattr(record, name)) is not None
    }
    if record.policies:
        facts["policies"] = list(record.policies)
    if record.refs:
        facts["refs"] = [ref._asdict() for ref in record.refs]
    return facts


def _level(record: Record) -> str:
    """Give how sure it is who acted, and for which run where one was named."""
    run = "" if record.run is None else f", run L{record.run.get('assurance', 0)}"
    return f"L{record.assurance}{run}"


@command(app, "run")
def run_(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="run", help="Its id, as Airflow shows it.", show_default=False)
    ],
    *,
    dag: _Dag = None,
    task: _Task = None,
) -> None:
    """
    Show which entries the tasks of a run asked for, and were given.

    A LEVEL of L0 is what the process said of itself; L2 is a run that Airflow itself confirmed.

    Example:
      $ strongroom audit run manual__2026-11-21 --dag orders_daily
    """
    session: Session = context.obj
    rows: list[dict[str, object]] = []
    with closing(session.audit()) as trail:
        start = None
        while True:
            found = trail.sightings(run, dag=dag, task=task, start=start)
            rows = [_sighting(one) for one in found.rows] + rows  # older ones come later
            start = found.next
            if start is None:
                break
    if not show_rows(session, _SIGHTINGS, [rows]):
        terminal.note("no use is on record for that run", session)


def _sighting(one: Sighting) -> dict[str, object]:
    return {
        "first": one.first_at[:19].replace("T", " ") + "Z",
        "dag": one.dag,
        "task": one.task,
        "kind": one.kind,
        "name": one.name,
        "team": one.team,
        "what": f"{one.kind} {one.name}" + (f" (team {one.team})" if one.team else ""),
        "outcome": one.outcome,
        "version": one.version,
        "backend": one.backend,
        "uses": one.uses,
        "level": f"L{one.assurance}",
        "actor": one.actor,
        "first_at": one.first_at,
        "last_at": one.last_at,
    }


@command(app, "state")
def state(context: typer.Context) -> None:
    """
    Show how the log stands.

    How long it is, what of it is signed, whether it can be written, whether it is held.

    Example:
      $ strongroom audit state
    """
    session: Session = context.obj
    with closing(session.audit()) as trail:
        found, folder = trail.state(), trail.folder
    facts = {
        "folder": str(folder),
        "records": found.count,
        "head": found.head,
        "signed": found.checkpoint,
        "signed_at": found.checkpoint_at,
        "writable": found.is_writable,
        "hold": f"since {found.hold.at} by {found.hold.actor}: {found.hold.reason}" if found.hold else None,
        **({"more": dict(found.more)} if found.more else {}),
    }
    show_record(session, facts, labels=_LABELS)


@command(app, "verify")
def verify(
    context: typer.Context,
    *,
    witness: Annotated[
        list[Path] | None,
        typer.Option(
            "--witness", metavar="FILE", help="Copies of checkpoints kept elsewhere; may be repeated."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="KEY", help="Trust this verifier key only; may be repeated."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="FOLDER", help="A copy or an archive of a log.")
    ] = None,
) -> None:
    """
    Check every record, the chain, signatures and witnesses.

    Finds any record that was edited, dropped, moved or put in between, a log that was cut off, and, by
    its signed checkpoints, one that was written anew; names the first bad record. Needs no secret key.
    Ends with 9 if the log is not whole.

    Example:
      $ strongroom audit verify
      $ strongroom audit verify --witness /mnt/witness/notes
      $ strongroom audit verify --folder /archive/audit --key strongroom/prod/…+…
    """
    session: Session = context.obj
    with closing(_trail_at(session, folder)) as trail, terminal.progress("verifying") as show:
        total = 0 if show is None else (trail.state().count or 1)
        verdict, place = (
            trail.verify(
                witnesses=witness or (),
                keys=key or (),
                progress=None if show is None else lambda done: show(min(done, total), total),
            ),
            trail.folder,
        )
    if not verdict.is_ok:
        raise TamperedError(
            f"the audit log is not whole: record {verdict.index}: {verdict.reason}",
            hint=f"the {verdict.count:,} before it are good; keep a copy of {place} before anything else",
        )
    facts = {
        "ok": True,
        "records": verdict.count,
        "first": verdict.first,
        "signed": verdict.signed,
        "checkpoints": verdict.checkpoints,
        "witnesses": verdict.witnesses,
        "repairs": verdict.repairs,
        "folder": str(place),
    }
    more = f", from number {verdict.first:,} on" if verdict.first else ""
    if verdict.signed:
        more += f", {verdict.signed - verdict.first:,} of them signed"
    if verdict.repairs:
        more += f", {len(verdict.repairs)} torn ends repaired after a crash"
    sentence(session, f"the audit log is whole: {verdict.count:,} records{more}", facts)


def _trail_at(session: Session, folder: Path | None) -> AuditTrail:
    if folder is None:
        return session.audit()
    if not folder.is_dir():
        raise InvalidInputError("there is no such folder", hint="--folder FOLDER")
    from strongroom.assembly import open_audit_copy  # noqa: PLC0415 -- as above

    return open_audit_copy(folder)


@command(app, "export")
def export(
    context: typer.Context,
    *,
    form: Annotated[
        Literal["jsonl", "csv", "syslog", "ocsf"],
        typer.Option("--format", help="Lines as they are, a table, RFC 5424 or OCSF."),
    ] = "jsonl",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write to a new file, 0600.")
    ] = None,
    since: _Since = None,
    until: _Until = None,
    actor: _Actor = None,
    action: _Action = None,
    outcome: _Outcome = None,
    name: _Name = None,
    dag: _Dag = None,
    task: _Task = None,
    run: _Run = None,
    text: _Text = None,
) -> None:
    """
    Hand records over, oldest first. They name entries and hold no values.

    Example:
      $ strongroom audit export --since 7d
      $ strongroom audit export --format csv --out audit.csv
      $ strongroom audit export --format ocsf --action reveal
    """
    session: Session = context.obj
    said = {"actor": actor, "action": action, "outcome": outcome, "name": name}
    said |= {"dag": dag, "task": task, "run": run, "text": text}
    wanted = _filter(since, until, said, team=session.team)
    with closing(session.audit()) as trail:
        pieces = trail.export(form, wanted)
        if out is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            return
        with terminal.progress("exporting"):
            count = _write_new(out, pieces)
    sentence(session, f"wrote {out}", {"file": str(out), "bytes": count, "format": form})


def _write_new(path: Path, pieces: Iterator[bytes]) -> int:
    import os  # noqa: PLC0415 -- as above

    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConflictError(
            "the file exists already and was left as it is", hint="--out another file"
        ) from None
    except OSError:
        raise InvalidInputError("the file cannot be made", hint="--out FILE in a folder of yours") from None
    count = 0
    try:
        with os.fdopen(file, "wb") as opened:
            for piece in pieces:
                count += opened.write(piece)
    except BaseException:
        path.unlink(missing_ok=True)  # whole or not at all
        raise
    return count


@command(app, "sign")
def sign(context: typer.Context) -> None:
    """
    Sign a checkpoint now, as a server does by itself.

    Example:
      $ strongroom audit sign
    """
    session: Session = context.obj
    with closing(session.audit()) as trail:
        signed = trail.sign()
    if signed is None:
        terminal.note("nothing is recorded yet", session)
        return
    checkpoint = signed.checkpoint
    facts = {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "at": checkpoint.at,
    }
    sentence(session, f"signed {checkpoint.size:,} records of {checkpoint.origin}", facts)


@command(app, "hold")
def hold(
    context: typer.Context,
    *,
    reason: _Reason,
    lift: Annotated[bool, typer.Option("--lift", help="End the hold.")] = False,
) -> None:
    """
    Keep every record until the hold is lifted, whatever retention says.

    Example:
      $ strongroom audit hold --reason "case 4711"
      $ strongroom audit hold --lift --reason "case 4711 is closed"
    """
    session: Session = context.obj
    with closing(session.audit()) as trail:
        found = trail.lift(reason) if lift else trail.hold(reason)
    if found is None:
        terminal.note("there was no hold", session)
        return
    facts = {"at": found.at, "actor": found.actor, "reason": found.reason, "lifted": lift}
    what = "the hold is lifted: it stood" if lift else "every record is kept:"
    sentence(session, f"{what} since {found.at[:19]}Z by {found.actor}", facts)


@command(app, "retain")
def retain(
    context: typer.Context,
    *,
    before: Annotated[
        str, typer.Option("--before", metavar="WHEN", help="Only what is older: 2025-12-31, or 365d (ago).")
    ],
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="FOLDER", help="Where it is moved to.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it for good.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """
    Let old records go, never under a hold.

    Whole segments go that a signed checkpoint covers. The log verifies from the first record that is kept; an
    archive verifies by itself.

    Example:
      $ strongroom audit retain --before 365d --archive /archive/audit
      $ strongroom audit retain --before 2020-01-01 --remove
    """
    session: Session = context.obj
    moment = _moment(before, "--before")
    if (archive is None) != remove or moment is None:
        raise InvalidInputError("either --archive FOLDER or --remove", hint="--archive FOLDER keeps them")
    if remove:
        terminal.confirm(f"Remove the audit records before {moment:%Y-%m-%d} for good?", is_agreed=yes)
    with closing(session.audit()) as trail, terminal.progress("verifying"):
        done = trail.retain(before=moment, archive=archive)
    if not done.segments:
        terminal.note("no whole segment is that old and signed; nothing was let go", session)
        return
    where = f"moved to {done.archive}" if done.archive else "removed"
    facts = {
        "segments": done.segments,
        "records": done.records,
        "first": done.first,
        "archive": archive and str(archive),
    }
    sentence(session, f"{done.records:,} records {where}; the log begins at number {done.first:,}", facts)
