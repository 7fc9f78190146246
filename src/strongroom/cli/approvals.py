"""`strongroom access approvals`: what waits for a second person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes, public_text
from strongroom.cli.output import Column, sentence, show_record, show_rows, write
from strongroom.cli.policies import tell_request
from strongroom.cli.rights import kind_of
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from strongroom.service.policies import Approval

__all__ = ["attach"]

app = noun(
    "approvals",
    """
    Agree to what somebody else wants to do.

    Two people may be needed for reveals and for changes of policies and grants; `require` switches it on.
    Nobody approves what he asked for himself, and an approval is for exactly what was asked for.

    Example:
      $ strongroom access approvals require reveal
      $ strongroom access approvals list
      $ strongroom access approvals approve a_0123456789abcdef
    """,
)

_COLUMNS = (
    Column("id", "ID"),
    Column("state", "STATE", styles={"pending": "yellow", "approved": "green", "": "dim"}),
    Column("actor", "WHO ASKS", styles={"": "bold"}),
    Column("action", "FOR"),
    Column("entry", "ENTRY", 1),
    Column("reason", "WHY"),
    Column("ends_at", "UNTIL", 1),
    Column("decided_by", "DECIDED BY", 2),
)
_LABELS = {
    "id": "id",
    "state": "state",
    "actor": "who asks",
    "action": "for",
    "entry": "entry",
    "reason": "why",
    "created_at": "asked",
    "ends_at": "until",
    "decided_by": "decided by",
    "content_hash": "content hash",
}
_SWITCHES = {"reveal": "two-person-reveal", "changes": "two-person-changes"}
_ID = Annotated[str, typer.Argument(metavar="ID", help="As list shows it.", show_default=False)]


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that were decided or are over, too.")] = False,
) -> None:
    """
    List what waits for a second person.

    Who does not administer sees his own requests.

    Example:
      $ strongroom access approvals list
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.policies.approvals.list()
    rows = [_facts(one) for one in found if every or one.state in ("pending", "approved")]
    show_rows(session, _COLUMNS, [rows], nothing="nothing waits for a second person")


def _facts(one: Approval) -> dict[str, object]:
    ref = one.ref
    return {
        "id": one.id,
        "state": one.state,
        "actor": one.actor,
        "action": one.action,
        "entry": None if ref is None else str(ref),
        "kind": None if ref is None else ref.kind,
        "name": None if ref is None else ref.name,
        "team": None if ref is None else ref.team,
        "reason": one.reason,
        "created_at": one.created_at,
        "ends_at": one.ends_at,
        "decided_by": one.decided_by,
        "decided_at": one.decided_at,
        "content_hash": one.content_hash,
    }


@command(app, "show")
def show(context: typer.Context, *, id_: _ID) -> None:
    """
    Show a request with all of what would be done.

    Example:
      $ strongroom access approvals show a_0123456789abcdef
    """
    session: Session = context.obj
    with session.room() as room:
        found = _find(room.policies.approvals.list(), id_)
    content = json.loads(found.content)
    show_record(session, {**_facts(found), "content": content}, labels=_LABELS)
    if session.output == "table":
        write("")
        for name, value in content.items():
            for line in f"{name}: {value}".split("\n"):
                write(terminal.clean(line))


def _find(found: list[Approval], id_: str) -> Approval:
    for one in found:
        if one.id == id_:
            return one
    raise NotFoundError("there is no such request", hint="strongroom access approvals list --all")


@command(app, "approve")
def approve(context: typer.Context, *, id_: _ID, yes: Yes = False) -> None:
    """
    Agree to a request.

    A change is done at once, a reveal may be done once within an hour.

    Example:
      $ strongroom access approvals show a_0123456789abcdef
      $ strongroom access approvals approve a_0123456789abcdef
    """
    session: Session = context.obj
    with session.room() as room:
        asked = _find(room.policies.approvals.list(), id_)
        what = f"{asked.action} {asked.ref}" if asked.ref else asked.action
        terminal.confirm(f"approve {terminal.clean(what)}, as {asked.actor} asks", is_agreed=yes)
        # What was shown, and nothing that came in its place meanwhile.
        found = room.policies.approvals.approve(id_, seen=asked.content_hash)
    sentence(session, f"{found.id} is approved", _facts(found))


@command(app, "reject")
def reject(context: typer.Context, *, id_: _ID) -> None:
    """
    Turn a request down, or take your own back.

    Example:
      $ strongroom access approvals reject a_0123456789abcdef
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.policies.approvals.reject(id_)
    sentence(session, f"{found.id} is rejected", _facts(found))


@command(app, "ask")
def ask(
    context: typer.Context,
    *,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="connection or variable.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the entry.")],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", callback=public_text, help="Why; kept in the record.")
    ],
) -> None:
    """
    Ask for a second person to agree to a reveal.

    It is for what stands there now: once that has changed it has to be asked for again.

    Example:
      $ strongroom access approvals ask connection orders_db --reason "the port"
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.policies.approvals.ask(session.ref(kind_of(kind), name), reason=reason)
    tell_request(session, found)


@command(app, "require")
def require(
    context: typer.Context,
    *,
    what: Annotated[
        str | None, typer.Argument(metavar="WHAT", help="reveal or changes; tells what stands if unsaid.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="One person is enough again.")] = False,
) -> None:
    """
    Tell for what two people are needed, or switch it on or off.

    `reveal` is every reveal through a server. `changes` is every change of policies and grants; switching it
    off needs a second person too, but on the host of the store.

    Example:
      $ strongroom access approvals require
      $ strongroom access approvals require reveal
      $ strongroom access approvals require changes --off
    """
    from strongroom.service.policies import Approval  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    if what is not None and what not in _SWITCHES:
        raise InvalidInputError("there is no such thing to require", hint=f"one of {', '.join(_SWITCHES)}")
    with session.room() as room:
        if what is not None:
            found = room.policies.require_two(_SWITCHES[what], is_on=not off)
            if isinstance(found, Approval):
                tell_request(session, found)
                return
        stands = room.policies.switches()
    facts = {word: stands[name] for word, name in _SWITCHES.items()}
    show_record(session, facts, labels={word: word for word in _SWITCHES})
