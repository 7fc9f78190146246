"""`strongroom access services`: the programs that ask, and by whose word they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import Column, sentence, show_rows
from strongroom.cli.people import told
from strongroom.cli.session import Session
from strongroom.errors import NotFoundError
from strongroom.model.principal import canonical

if TYPE_CHECKING:
    from strongroom.service.access import ServiceRow
    from strongroom.service.room import Room

__all__ = ["attach"]

app = noun(
    "services",
    """
    List services, disable and enable them.

    A service proves itself with a token of ours, or with one that an issuer of access.issuer signed for it:
    a pipeline, a pod, a machine of a cloud.

    Example:
      $ strongroom access services list
      $ strongroom access services disable deployer
    """,
)

_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("state", "STATE"),
    Column("proves_by", "PROVES ITSELF BY"),
    Column("roles", "ROLES", show=told),
    Column("last_used_at", "LAST USED", 1),
    Column("last_used_from", "FROM", 3),
)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the service.", show_default=False)]


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the services of the deployment.

    Example:
      $ strongroom access services list
      $ strongroom access services list --output json
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(row) for row in room.access.services.list()]
    show_rows(
        session,
        _COLUMNS,
        [rows],
        nothing="there are no services; `strongroom access tokens issue` makes one, "
        "and so does a rule of access.issuer",
    )


@command(app, "disable")
def disable(context: typer.Context, *, name: _Name, yes: Yes = False) -> None:
    """
    Let nothing prove a service any more.

    Its token stays and is refused, and so is what issuers sign for it, within a second.

    Example:
      $ strongroom access services disable deployer
    """
    session: Session = context.obj
    wanted = canonical(name)
    with session.room() as room:
        _check_there(room, wanted)
        terminal.confirm(f"disable service {wanted}", is_agreed=yes)
        room.access.services.disable(wanted)
    sentence(session, f"service {wanted} is disabled", {"name": wanted, "state": "disabled"})


@command(app, "enable")
def enable(context: typer.Context, *, name: _Name) -> None:
    """
    Let a disabled service prove itself again.

    Example:
      $ strongroom access services enable deployer
    """
    session: Session = context.obj
    wanted = canonical(name)
    with session.room() as room:
        _check_there(room, wanted)
        room.access.services.enable(wanted)
    sentence(session, f"service {wanted} is enabled", {"name": wanted, "state": "enabled"})


def _check_there(room: Room, name: str) -> None:
    if name not in {row.name for row in room.access.services.list()}:
        raise NotFoundError(f"there is no service {name}", hint="strongroom access services list")


def _facts(row: ServiceRow) -> dict[str, object]:
    ways = [*row.issuers, *(["token"] if row.has_token else [])]
    return {
        "name": row.name,
        "actor": row.actor,
        "state": "disabled" if row.is_disabled else "enabled",
        "proves_by": ", ".join(ways),
        "issuers": list(row.issuers),
        "has_token": row.has_token,
        "roles": [role._asdict() for role in row.roles],
        "last_used_at": row.seen,
        "last_used_from": row.source,
    }
