"""`strongroom access policies`: what is allowed, written in Cedar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes, public_text
from strongroom.cli.output import Column, sentence, show_record, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.policy import Decision
    from strongroom.policy.rule import Remark
    from strongroom.service.policies import Approval, Document, Draft, Flip

__all__ = ["attach", "tell_request"]

app = noun(
    "policies",
    """
    Write what is allowed, and see what a change would turn.

    Policies are written in Cedar; docs/policy.md shows what they may speak of. Nothing is allowed that no
    policy allows, and what one forbids is not, whatever others say. A change counts within a second.

    Example:
      $ strongroom access policies list
      $ strongroom access policies simulate data-team --file data-team.cedar
      $ strongroom access policies add data-team --file data-team.cedar
    """,
)


def _said(value: object) -> Mapping[str, list[str]]:
    return value if isinstance(value, dict) else {}


def _entry(row: Mapping[str, object]) -> str:
    if row["kind"] is None:
        return "the room"
    team = f" (team {row['team']})" if row["team"] else ""
    return f"{row['kind']} {row['name']}{team}"


def _becomes(row: Mapping[str, object]) -> str:
    return "allowed" if _said(row["after"])["is_allowed"] else "denied"


_COLUMNS = (
    Column("id", "ID", styles={"": "bold"}),
    Column("state", "STATE", styles={"off": "dim"}),
    Column("description", "WHAT IT IS FOR", 1),
    Column("changed_at", "CHANGED", 2),
    Column("changed_by", "BY", 2),
)
_LABELS = {
    "id": "id",
    "state": "state",
    "description": "what it is for",
    "version": "version",
    "changed_at": "changed",
    "changed_by": "by",
}
_REMARKS = (
    Column("severity", "", styles={"error": "red", "warning": "yellow"}),
    Column("line", "LINE", is_number=True),
    Column("policy", "POLICY", 1),
    Column("message", "WHAT"),
    Column("hint", "DO", 2),
)
_FLIPS = (
    Column("actor", "WHO", styles={"": "bold"}),
    Column("action", "ACTION"),
    Column("entry", "ENTRY", show=_entry),
    Column("after", "BECOMES", styles={"allowed": "green", "denied": "red"}, show=_becomes),
    Column("why", "BY", 1, show=lambda row: ", ".join(_said(row["after"]).get("policies", ()))),
)
_ID = Annotated[str, typer.Argument(metavar="ID", help="Of the policy.", show_default=False)]
_OPTIONAL_ID = Annotated[
    str | None, typer.Argument(metavar="ID", help="Of the policy; unsaid, the text's @id says it.")
]
_FILE = Annotated[str, typer.Option("--file", metavar="FILE", help="Holds the Cedar text; - is stdin.")]
_COMMENT = Annotated[str, typer.Option(metavar="TEXT", callback=public_text, help="Why; kept in the record.")]
_VERSION = Annotated[
    str | None, typer.Option("--expected-version", metavar="VERSION", help="Only over this version.")
]
_MAX_BYTES = 262_144  # 256 KiB: any 65,536 characters in UTF-8


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the policies, those that come with the product first.

    Example:
      $ strongroom access policies list
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(document) for document in room.policies.list()]
    show_rows(session, _COLUMNS, [rows])


def _facts(document: Document) -> dict[str, object]:
    is_on = "on" if document.is_enabled else "off"
    return {
        "id": document.id,
        "state": f"{is_on}, shipped" if document.is_shipped else is_on,
        "is_enabled": document.is_enabled,
        "is_shipped": document.is_shipped,
        "description": document.description,
        "version": document.version,
        "changed_at": document.changed_at,
        "changed_by": document.changed_by,
    }


@command(app, "show")
def show(
    context: typer.Context,
    *,
    id_: _ID,
    text: Annotated[bool, typer.Option("--text", help="Nothing but the text, for a file.")] = False,
) -> None:
    """
    Show a policy and its text.

    Example:
      $ strongroom access policies show op
      $ strongroom access policies show data-team --text > data-team.cedar
    """
    session: Session = context.obj
    with session.room() as room:
        document = room.policies.show(id_)
    if text:
        write(document.text.rstrip("\n"))
        return
    facts = {**_facts(document), "text": document.text}
    show_record(session, facts, labels=_LABELS)
    if session.output == "table":
        write("")
        for line in document.text.rstrip("\n").split("\n"):
            write(terminal.clean(line))


@command(app, "add")
def add(
    context: typer.Context,
    *,
    id_: _OPTIONAL_ID = None,
    file: _FILE,
    description: Annotated[
        str,
        typer.Option(metavar="TEXT", callback=public_text, help="What it is for; unsaid, its @description."),
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="Write it without putting it in force.")] = False,
    comment: _COMMENT = "",
    expected_version: _VERSION = None,
    yes: Yes = False,
) -> None:
    """
    Write a policy, new or in the place of the one of its id.

    It is checked first; warnings are told and do not stand in the way. `simulate` tells beforehand what
    would turn.

    Example:
      $ strongroom access policies add data-team --file data-team.cedar
      $ strongroom access policies add --file - --comment "ticket 4711" < x.cedar
    """
    session: Session = context.obj
    draft = _draft(id_, file, description=description, is_enabled=not off, comment=comment)
    with session.room() as room:
        standing = {document.id for document in room.policies.list()}
        _tell(session, [remark for remark in room.policies.validate(draft) if remark.severity == "warning"])
        if draft.id in standing:
            terminal.confirm(f"write over the policy {terminal.clean(str(draft.id))}", is_agreed=yes)
        found = room.policies.put(draft, expected=expected_version)
    _tell_changed(session, found, "is written" if draft.is_enabled else "is written and off")


def _draft(id_: str | None, file: str, **more: object) -> Draft:
    from strongroom.service.policies import Draft  # noqa: PLC0415 -- `--help` does without

    data = intake.read_file(file, what="the policy", limit=_MAX_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError("the policy is no UTF-8 text") from None
    return Draft(text=text, id=id_, **more)  # type: ignore[arg-type]  # the fields of Draft


def _tell(session: Session, remarks: list[Remark]) -> None:
    for remark in remarks:
        where = "" if remark.line is None else f"line {remark.line}: "
        terminal.warn(f"{where}{remark.message}", session, hint=remark.hint)


def _tell_changed(session: Session, found: Document | Approval, did: str) -> None:
    from strongroom.service.policies import Approval  # noqa: PLC0415 -- `--help` does without

    if isinstance(found, Approval):
        tell_request(session, found)
    else:
        sentence(session, f"the policy {found.id} {did}", _facts(found))


def tell_request(session: Session, found: Approval) -> None:
    """Say that a second person has to agree."""
    facts = {"approval": found.id, "action": found.action, "state": found.state, "ends_at": found.ends_at}
    sentence(session, f"a second person has to approve it: {found.id}", facts)


@command(app, "validate")
def validate(context: typer.Context, *, id_: _OPTIONAL_ID = None, file: _FILE) -> None:
    """
    Say what is wrong with a text, or doubtful, without writing it.

    Ends with 2 where it could not be written.

    Example:
      $ strongroom access policies validate --file data-team.cedar
    """
    session: Session = context.obj
    draft = _draft(id_, file)
    with session.room() as room:
        remarks = room.policies.validate(draft)
    rows = [
        {
            "severity": remark.severity,
            "policy": remark.policy,
            "line": remark.line,
            "column": remark.column,
            "message": remark.message,
            "hint": remark.hint,
        }
        for remark in remarks
    ]
    show_rows(session, _REMARKS, [rows], nothing="nothing is wrong with it")
    if any(remark.severity == "error" for remark in remarks):
        raise typer.Exit(2)


@command(app, "simulate")
def simulate(
    context: typer.Context,
    *,
    id_: _OPTIONAL_ID = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Holds the Cedar text; - is stdin.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="As if it were deleted instead.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Lines at most.")] = 100,
) -> None:
    """
    Tell which decisions a change would turn, and change nothing.

    Everybody and every entry of the inventory is decided as it is and as it would be.

    Example:
      $ strongroom access policies simulate data-team --file data-team.cedar
      $ strongroom access policies simulate data-team --delete
    """
    session: Session = context.obj
    if delete == (file is not None) or (delete and id_ is None):
        raise InvalidInputError(
            "say what would change", hint="ID --file FILE to write a policy, ID --delete to delete one"
        )
    with session.room() as room:
        put = [_draft(id_, file)] if file is not None else []
        found = room.policies.simulate(put, [id_] if delete and id_ else [], limit=limit)
    show_rows(session, _FLIPS, [[_flip(flip) for flip in found.flips]])
    looked = f"{found.actors:,} actors and {found.entries:,} entries were looked at"
    if not found.total:
        terminal.note(f"nothing would turn; {looked}", session)
    else:
        shown = "" if found.total == len(found.flips) else f", {len(found.flips):,} shown"
        decisions = "1 decision" if found.total == 1 else f"{found.total:,} decisions"
        terminal.note(f"{decisions} would turn{shown}; {looked}", session)
    if not found.is_complete:
        terminal.warn("there was no time to look at everybody", session)


def _flip(flip: Flip) -> dict[str, object]:
    ref = flip.ref
    return {
        "actor": flip.actor,
        "action": flip.action.value,
        "kind": None if ref is None else ref.kind,
        "name": None if ref is None else ref.name,
        "team": None if ref is None else ref.team,
        "before": _decision(flip.before),
        "after": _decision(flip.after),
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "is_allowed": decision.is_allowed,
        "reason": decision.reason,
        "policies": list(decision.policies),
    }


@command(app, "enable")
def enable(context: typer.Context, *, id_: _ID, comment: _COMMENT = "") -> None:
    """
    Put a policy in force.

    Example:
      $ strongroom access policies enable data-team
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.policies.set_enabled(id_, is_enabled=True, comment=comment)
    _tell_changed(session, found, "is on")


@command(app, "disable")
def disable(context: typer.Context, *, id_: _ID, comment: _COMMENT = "", yes: Yes = False) -> None:
    """
    Take a policy out of force and keep its text.

    This is the way for those that come with the product.

    Example:
      $ strongroom access policies disable viewer
    """
    session: Session = context.obj
    with session.room() as room:
        terminal.confirm(f"take the policy {terminal.clean(id_)} out of force", is_agreed=yes)
        found = room.policies.set_enabled(id_, is_enabled=False, comment=comment)
    _tell_changed(session, found, "is off")


@command(app, "delete")
def delete(
    context: typer.Context,
    *,
    id_: _ID,
    comment: _COMMENT = "",
    expected_version: _VERSION = None,
    yes: Yes = False,
) -> None:
    """
    Delete a policy.

    Example:
      $ strongroom access policies delete data-team
    """
    session: Session = context.obj
    with session.room() as room:
        room.policies.show(id_)  # before a question about nothing
        terminal.confirm(f"delete the policy {terminal.clean(id_)}", is_agreed=yes)
        found = room.policies.delete(id_, expected=expected_version, comment=comment)
    _tell_changed(session, found, "is deleted")
