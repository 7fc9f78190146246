"""`strongroom keys`: the keys of the store, never their bytes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import Column, sentence, show_record, show_rows
from strongroom.cli.session import Session
from strongroom.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from strongroom.service.keys import Job, KeyStatus, Remains, Rotated
    from strongroom.service.room import Room

app = noun(
    "keys",
    """
    Look at the keys of the store, and change them.

    A key inside the store seals values; outer keys, named in the settings, wrap it. `rotate` has a new key
    seal at once, and moves what stands under the one before while everybody reads and writes.

    Example:
      $ strongroom keys status
      $ strongroom keys rotate
    """,
)

_COLUMNS = (
    Column("number", "#", is_number=True),
    Column("id", "ID"),
    Column("team", "TEAM", 1),
    Column("state", "STATE", styles={"active": "green", "destroyed": "dim"}),
    Column("sealed_versions", "SEALED", 2, is_number=True),
    Column("created_at", "CREATED", 3),
    Column("due_at", "ROTATE BY", 4),
    Column("wrapped_by", "WRAPPED BY", 1),
)
_JOB = {
    "state": "state",
    "done": "versions moved",
    "total": "of",
    "damaged": "damaged, left as they are",
    "is_at_work": "at work now",
    "started_at": "begun",
    "started_by": "by",
    "finished_at": "finished",
}
_ALARM_WRAPS = 2**28  # values under one key after which it is replaced: docs/keys.md

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]


@command(app, "status")
def status(context: typer.Context) -> None:
    """
    Show the keys, what wraps them, and when each is due.

    Example:
      $ strongroom keys status
      $ strongroom keys status --output json
    """
    session: Session = context.obj
    with session.room() as room:
        keys = room.keys.status()
        job = room.keys.job()
    show_rows(
        session,
        _COLUMNS,
        [[_facts(key) for key in keys]],
        nothing="there is no store here, so there are no keys; `strongroom init` makes both",
    )
    _tell(session, keys, job)


def _facts(key: KeyStatus) -> dict[str, object]:
    return {
        "number": key.number,
        "id": key.id,
        "team": key.team,
        "state": str(getattr(key.state, "value", key.state)),
        "sealed_versions": key.sealed_versions,
        "wraps": key.wraps,
        "created_at": key.created_at,
        "due_at": key.due_at,
        "replaced_at": key.replaced_at,
        "wrapped_by": key.wrapped_by,
    }


def _tell(session: Session, keys: list[KeyStatus], job: Job | None) -> None:
    """Say what somebody should do something about."""
    active = [key for key in keys if key.state == "active"]
    if any(len(key.wrapped_by) == 1 for key in active):
        terminal.note(
            "one outer key alone opens this store: a single point of key loss; name a second one in"
            " store.wrappers, then `strongroom keys rotate --root`",
            session,
        )
    now = datetime.now(timezone.utc)
    for key in active:
        whose = f"the key of {key.team}" if key.team else "the key of no team"
        if key.wraps >= _ALARM_WRAPS:
            terminal.warn(f"{whose} has sealed {key.wraps:,} values", session, hint="strongroom keys rotate")
        elif key.due_at is not None and key.due_at <= now:
            terminal.note(f"{whose} is to be replaced: `strongroom keys rotate`", session)
    if job is not None and job.state == "running":
        end = "" if job.is_at_work else "; nobody is at work on it: `strongroom keys rotate --resume`"
        terminal.note(f"{job.done:,} of {job.total:,} versions are under new keys{end}", session)
    elif job is not None and job.damaged:
        terminal.warn(
            f"{job.damaged} rows fail authentication and stay under an old key",
            session,
            hint="restore them from a backup, then strongroom keys rotate --resume",
        )


@command(app, "job")
def job(context: typer.Context) -> None:
    """
    Show how far the moving of values to a new key is.

    Example:
      $ strongroom keys job
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.keys.job()
    if found is None:
        terminal.note("no key was ever replaced here", session)
    if found is not None or session.output != "table":
        show_record(session, _job_facts(found), labels=_JOB)


def _job_facts(found: Job | None) -> dict[str, object]:
    return {} if found is None else {name: getattr(found, name) for name in _JOB}


@command(app, "rotate")
def rotate(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--every", help="The keys of all teams, and that of none.")] = False,
    root: Annotated[
        bool, typer.Option("--root", help="Change the outer keys instead: to exactly those of the settings.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Make no key: go on with what stands under older ones.")
    ] = False,
    later: Annotated[
        bool, typer.Option("--later", help="Move nothing now; a server does, or --resume.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(metavar="ENTRIES", help="Entries moved a second at most; 0 for as fast as it goes."),
    ] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """
    Have a new key seal from now on, and move what the old one sealed.

    Without a team it is the key of the entries of no team; with --team that team's. Reads and writes go on
    meanwhile; what is killed goes on where it stopped, with --resume. The old key opens until it is
    destroyed.

    With --root the keys inside stay, and are wrapped anew by exactly the outer keys that the settings name.

    Example:
      $ strongroom keys rotate
      $ strongroom --team data keys rotate --reason "left the company: anna"
      $ strongroom keys rotate --every --later
      $ strongroom keys rotate --resume --rate 500
      $ strongroom keys rotate --root
    """
    session: Session = context.obj
    if sum((every, root, resume)) > 1 or (later and (root or resume)):
        raise InvalidInputError("--every, --root, --resume and --later do not go together like this")
    if rate is not None and rate < 0:
        raise InvalidInputError("--rate is a number from 0")
    with session.room() as room:
        if root:
            _wrap_anew(session, room, reason=reason, is_agreed=yes)
            return
        made: list[Rotated] = []
        if resume:
            room.keys.resume()
        else:
            made = room.keys.rotate(team=session.team, is_every=every, reason=reason)
            _tell_made(session, made)
        ended = None if later else _worked_off(session, room, rate)
    _tell_end(session, made, ended)


def _tell_made(session: Session, made: list[Rotated]) -> None:
    for one in made:
        whose = f"of {one.team}" if one.team else "of no team"
        terminal.note(f"key {one.number} {whose} seals from now on: {one.id}", session)


def _worked_off(session: Session, room: Room, rate: float | None) -> Job | None:
    """Do the job, showing how far it is; where somebody else is at it, leave it to him."""
    try:
        with terminal.progress("re-wrapping") as show:
            return room.keys.rewrap(rate=rate, progress=show)
    except ConflictError:
        terminal.note("another process does the work; `strongroom keys job` shows how far it is", session)
        return room.keys.job()


def _tell_end(session: Session, made: list[Rotated], ended: Job | None) -> None:
    facts = {"keys": [one._asdict() for one in made], "job": _job_facts(ended)}
    if ended is None:
        sentence(session, "what stands under older keys is left for later", facts)
        return
    if ended.state != "finished":
        sentence(session, f"{ended.done} of {ended.total} versions are under new keys", facts)
        return
    sentence(session, f"versions moved: {ended.done}; what can be opened stands under the new key", facts)
    if ended.damaged:
        terminal.warn(
            f"{ended.damaged} rows fail authentication and were left as they are",
            session,
            hint="restore them from a backup, then strongroom keys rotate --resume",
        )


def _wrap_anew(session: Session, room: Room, *, reason: str, is_agreed: bool) -> None:
    terminal.confirm(
        "wrap every key with the outer keys of the settings, and have no other open the store",
        is_agreed=is_agreed,
    )
    count = room.keys.wrap_anew(reason=reason)
    wrapped_by = sorted({name for key in room.keys.status() for name in key.wrapped_by})
    sentence(
        session,
        f"keys wrapped anew: {count}, by {', '.join(wrapped_by)}",
        {"keys": count, "wrapped_by": wrapped_by},
    )


@command(app, "destroy")
def destroy(
    context: typer.Context,
    *,
    key: Annotated[str, typer.Argument(metavar="ID", help="Of the key, or how it begins.")],
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """
    Destroy a key that nothing hangs on any more.

    Only one that was replaced, and only once no row names it. Backups made before hold it still: whoever
    needs it gone everywhere destroys those, too.

    Example:
      $ strongroom keys destroy 3f9a2c11
      $ strongroom keys destroy 3f9a2c11 --yes --reason "retired in spring"
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.keys.remains(key)
        _refuse(found)
        terminal.confirm(
            f"destroy key {found.key}: no row names it; copies of this store made before can be opened by it"
            " only with their own copy of it",
            is_agreed=yes,
        )
        gone = room.keys.destroy(found.key, reason=reason)
    sentence(session, f"key {gone} is destroyed", {"id": gone, "state": "destroyed"})


def _refuse(found: Remains) -> None:
    if found.state == "active":
        raise ConflictError("the key seals what is written now", hint="strongroom keys rotate")
    told = [
        f"{count} {one if count == 1 else many}"
        for one, many, count in (
            ("version", "versions", found.versions),
            ("entry", "entries", found.entries),
            ("row of who may", "rows of who may", found.registry),
            ("password not used since", "passwords not used since", found.passwords),
        )
        if count
    ]
    if told:
        raise ConflictError(
            f"the key is needed still: {', '.join(told)}",
            hint="strongroom keys rotate --resume; passwords follow when their people log in",
        )
