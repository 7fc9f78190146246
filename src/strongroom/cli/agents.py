"""`strongroom access agents`: the hosts that ask for their processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Purpose, Yes
from strongroom.cli.output import Column, sentence, show_rows, write
from strongroom.cli.people import RoleOption, roles_in, told
from strongroom.cli.scope import ScopeOption, scope_facts, scope_in, scope_text
from strongroom.cli.session import Session
from strongroom.errors import NotFoundError
from strongroom.model.principal import canonical

if TYPE_CHECKING:
    from strongroom.service.access import AgentRow, InvitationRow

__all__ = ["attach"]

app = noun(
    "agents",
    """
    Invite, list and revoke agents.

    Example:
      $ strongroom access agents invite host-1 --role reader
      $ strongroom access agents revoke host-1
    """,
)

AgentName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Of the agent; policies call it agent:NAME.", show_default=False),
]

_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("state", "STATE"),
    Column("roles", "ROLES", show=told),
    Column("scope", "SCOPE", 2, show=lambda row: scope_text(row["scope"])),
    Column("fingerprint", "HOST", 1),
    Column("last_login_at", "LAST LOGIN", 1),
    Column("source", "FROM", 3),
    Column("expires", "UNTIL", 2),
    Column("invited_by", "BY", 3),
)


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "invite")
def invite(
    context: typer.Context,
    *,
    name: AgentName,
    role: RoleOption = None,
    scope: ScopeOption = None,
    comment: Purpose = "",
) -> None:
    """
    Invite an agent, and print the code that enrols it once.

    The code is good for ten minutes, on the host: strongroom agent enrol --url URL. An older one for the same
    name is void.

    Example:
      $ strongroom access agents invite host-1 --role reader
      $ strongroom access agents invite host-1 --role reader --scope names=prod/*
    """
    session: Session = context.obj
    with session.room() as room:
        invited = room.access.agents.invite(
            name, roles=roles_in(session, role), scope=scope_in(scope), comment=comment
        )
    row = invited.row
    if session.output == "table":
        write(invited.code.reveal())
        terminal.note(
            f"enrols agent {row.name} once, until {row.expires:%Y-%m-%d %H:%M}Z; it is shown this once",
            session,
        )
    else:
        sentence(session, "", {"code": invited.code.reveal(), **_invitation(row)})


@command(app, "admit")
def admit(
    context: typer.Context,
    *,
    name: AgentName,
    role: RoleOption = None,
    scope: ScopeOption = None,
    comment: Purpose = "",
) -> None:
    """
    Admit an agent that proves itself with a TLS client certificate.

    The server's settings say which certificate is whose, in access.certificates. On the host:
    strongroom agent enrol --url URL --client-cert FILE --client-key FILE. Revoking the agent ends it,
    whatever its certificate says.

    Example:
      $ strongroom access agents admit host-1 --role reader
    """
    session: Session = context.obj
    wanted = canonical(name)
    with session.room() as room:
        room.access.agents.admit(
            wanted, roles=roles_in(session, role), scope=scope_in(scope), comment=comment
        )
    sentence(session, f"agent {wanted} is admitted", {"name": wanted, "actor": f"agent:{wanted}"})


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the agents of the deployment, and who is invited.

    Example:
      $ strongroom access agents list
      $ strongroom access agents list --output json
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_agent(row) for row in room.access.agents.list()]
        rows += [_invitation(row) for row in room.access.agents.invitations()]
    show_rows(
        session,
        _COLUMNS,
        [rows],
        nothing="there are no agents; `strongroom access agents invite NAME` invites one",
    )


@command(app, "revoke")
def revoke(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the agent.", show_default=False)],
    yes: Yes = False,
) -> None:
    """
    Take an agent, or the invitation for one, away.

    Its roles and sessions go with it; within a second it is told nothing any more.

    Example:
      $ strongroom access agents revoke host-1
    """
    session: Session = context.obj
    wanted = canonical(name)
    with session.room() as room:
        known = {row.name for row in room.access.agents.list()}
        invited = {row.name for row in room.access.agents.invitations()}
        if wanted not in known | invited:
            raise NotFoundError(f"there is no agent {wanted}", hint="strongroom access agents list")
        what = f"agent {wanted}" if wanted in known else f"the invitation of agent {wanted}"
        terminal.confirm(f"revoke {what}", is_agreed=yes)
        room.access.agents.revoke(wanted)
    sentence(session, f"{what} is revoked", {"name": wanted})


def _agent(row: AgentRow) -> dict[str, object]:
    return {
        "name": row.name,
        "state": "enrolled" if row.fingerprint else "admitted",  # by a certificate
        "actor": row.actor,
        "roles": [role._asdict() for role in row.roles],
        "scope": scope_facts(row.scope),
        "comment": row.comment,
        "fingerprint": row.fingerprint,
        "enrolled_at": row.created_at,
        "invited_by": row.created_by,
        "sessions": row.sessions,
        "last_login_at": row.login_at,
        "source": row.source,
        "expires": None,
    }


def _invitation(row: InvitationRow) -> dict[str, object]:
    return {
        "name": row.name,
        "state": "invited",
        "actor": f"agent:{row.name}",
        "roles": [role._asdict() for role in row.roles],
        "scope": scope_facts(row.scope),
        "comment": row.comment,
        "fingerprint": "",
        "enrolled_at": None,
        "invited_by": row.created_by,
        "sessions": 0,
        "last_login_at": None,
        "source": "",
        "expires": row.expires,
    }
