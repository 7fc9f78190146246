"""`strongroom access roles`: who has which role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import Column, sentence, show_rows
from strongroom.cli.people import said
from strongroom.cli.session import Session
from strongroom.policy import Role

if TYPE_CHECKING:
    from strongroom.service.access import MembershipRow

__all__ = ["attach"]

app = noun(
    "roles",
    """
    Give roles, and take them.

    They are for the whole deployment, or with --team for what one team owns. What a role may is written in
    policies. With policies of their own come admin, op, reader, user and viewer.

    Example:
      $ strongroom access roles grant admin person:anna
      $ strongroom access roles grant op person:bert --team data
    """,
)

_COLUMNS = (
    Column("role", "ROLE", styles={"": "bold"}),
    Column("actor", "WHO"),
    Column("team", "TEAM", 1),
    Column("created_at", "SINCE", 2),
    Column("created_by", "BY", 2),
)
_ROLE = Annotated[str, typer.Argument(metavar="ROLE", help="As policies call it.", show_default=False)]
_ACTOR = Annotated[
    str, typer.Argument(metavar="WHO", help="person:NAME, service:NAME or local:UID.", show_default=False)
]


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List who has which role; with --team only what is of that team.

    Example:
      $ strongroom access roles list
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.access.roles.list()
    rows = [_facts(row) for row in found if session.team in (None, row.team)]
    show_rows(session, _COLUMNS, [rows], nothing="nobody has a role here")


def _facts(row: MembershipRow) -> dict[str, object]:
    return {
        "role": row.role,
        "actor": row.actor,
        "team": row.team,
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


@command(app, "grant")
def grant(context: typer.Context, *, role: _ROLE, actor: _ACTOR) -> None:
    """
    Give a role, everywhere or with --team for what a team owns.

    A person's sessions end: whoever logs in again has it.

    Example:
      $ strongroom access roles grant op person:bert --team data
      $ strongroom access roles grant reader service:ci
    """
    session: Session = context.obj
    with session.room() as room:
        room.access.roles.grant(role, actor, team=session.team)
    facts = {"role": role, "actor": actor, "team": session.team}
    sentence(session, f"{actor} has the role {said(Role(role, session.team))}", facts)


@command(app, "revoke")
def revoke(context: typer.Context, *, role: _ROLE, actor: _ACTOR, yes: Yes = False) -> None:
    """
    Take a role; a person's sessions end.

    Example:
      $ strongroom access roles revoke op person:bert --team data
    """
    session: Session = context.obj
    told = said(Role(role, session.team))
    with session.room() as room:
        terminal.confirm(f"take the role {terminal.clean(told)} from {terminal.clean(actor)}", is_agreed=yes)
        room.access.roles.revoke(role, actor, team=session.team)
    sentence(
        session, f"{actor} has the role {told} no more", {"role": role, "actor": actor, "team": session.team}
    )
