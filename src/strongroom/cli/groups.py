"""`strongroom access groups`: what groups of the identity provider give."""

from __future__ import annotations

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.output import Column, show_rows
from strongroom.cli.people import told
from strongroom.cli.session import Session

__all__ = ["attach"]

app = noun(
    "groups",
    """
    See which roles come with groups of the identity provider.

    What a group gives is written in the settings, access.oidc.roles; who is in it is the provider's business.

    Example:
      $ strongroom access groups list
      $ strongroom access groups held
    """,
)

_COLUMNS = (
    Column("group", "GROUP", styles={"": "bold"}, show=lambda row: row["group"] or "(everybody)"),
    Column("roles", "ROLES", show=told),
)
_HELD = (
    Column("actor", "WHO", styles={"": "bold"}),
    Column("roles", "ROLE", show=told),
    Column("since", "SINCE"),
)


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the groups that give roles, what everybody gets first.

    Example:
      $ strongroom access groups list
    """
    session: Session = context.obj
    with session.room() as room:
        has_provider = room.access.groups.has_provider
        found = room.access.groups.list()
    rows = [{"group": one.name, "roles": [role._asdict() for role in one.roles]} for one in found]
    show_rows(session, _COLUMNS, [rows], nothing="no group gives a role")
    if not has_provider:
        terminal.note("people log in by no identity provider here: access.oidc is not set", session)


@command(app, "held")
def held(context: typer.Context) -> None:
    """
    List who has a role by a group, since which login.

    Example:
      $ strongroom access groups held
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.access.groups.held()
    rows = [{"actor": one.actor, "roles": [one.role._asdict()], "since": one.since} for one in found]
    show_rows(session, _HELD, [rows], nothing="nobody has a role by a group")
