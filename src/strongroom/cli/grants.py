"""`strongroom access grants`: rights for a time."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes, public_text
from strongroom.cli.output import Column, sentence, show_rows
from strongroom.cli.policies import tell_request
from strongroom.cli.rights import action_of, kind_of
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.service.policies import Grant

__all__ = ["attach"]

app = noun(
    "grants",
    """
    Allow somebody something for a time.

    A grant ends by itself, to the second. It turns nothing that a policy forbids.

    Example:
      $ strongroom access grants add person:anna --action reveal \\
          --name 'prod/*' --for 2h --reason outage
      $ strongroom access grants list
    """,
)

_COLUMNS = (
    Column("id", "ID"),
    Column("actor", "WHO", styles={"": "bold"}),
    Column("actions", "MAY"),
    Column("names", "NAMES", show=lambda row: row["names"] or "all"),
    Column("kinds", "KINDS", 2, show=lambda row: row["kinds"] or "all"),
    Column("team", "TEAM", 1),
    Column("ends_at", "UNTIL"),
    Column("reason", "WHY", 1),
    Column("created_by", "BY", 2),
)
_SPAN = re.compile(r"([0-9]{1,5})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the grants that have not ended.

    Who does not administer sees his own.

    Example:
      $ strongroom access grants list
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(grant) for grant in room.policies.grants.list()]
    show_rows(session, _COLUMNS, [rows], nothing="there are no grants")


def _facts(grant: Grant) -> dict[str, object]:
    right = grant.right
    return {
        "id": grant.id,
        "actor": right.actor,
        "actions": [action.value for action in right.actions],
        "kinds": list(right.kinds),
        "names": list(right.names),
        "team": right.team,
        "reason": grant.reason,
        "created_at": grant.created_at,
        "created_by": grant.created_by,
        "ends_at": grant.ends_at,
    }


@command(app, "add")
def add(
    context: typer.Context,
    *,
    who: Annotated[str, typer.Argument(metavar="WHO", help="person:NAME or service:NAME.")],
    action: Annotated[list[str], typer.Option(metavar="ACTION", help="What he may, as read; repeatable.")],
    lasting: Annotated[str, typer.Option("--for", metavar="SPAN", help="As 30m, 2h or 7d; at most 30d.")],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", callback=public_text, help="Why; kept in the record.")
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="A name, or NAME/* for all below it; all if unsaid; repeatable."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="connection, variable or config; all if unsaid.")
    ] = None,
) -> None:
    r"""
    Allow somebody something for a time.

    The global names are meant, or with --team those of a team.

    Example:
      $ strongroom access grants add person:anna --action reveal \
          --name 'prod/*' --for 2h --reason outage
      $ strongroom access grants add service:ci --action read --kind variable \
          --for 7d --reason migration
    """
    from strongroom.policy.grant import Right  # noqa: PLC0415 -- `--help` does without
    from strongroom.service.policies import Approval  # noqa: PLC0415 -- as above

    session: Session = context.obj
    right = Right(
        who,
        tuple(action_of(one) for one in action),
        tuple(kind_of(one) for one in kind or ()),
        tuple(name or ()),
        session.team,
    )
    with session.room() as room:
        found = room.policies.grants.add(right, lasting=_span(lasting), reason=reason)
    if isinstance(found, Approval):
        tell_request(session, found)
        return
    ends = f"{found.ends_at:%Y-%m-%d %H:%M:%S}Z"
    sentence(session, f"{found.right.actor} has it until {ends}: {found.id}", _facts(found))


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidInputError("--for is no span of time", hint="--for 30m, 2h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@command(app, "revoke")
def revoke(
    context: typer.Context,
    *,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")],
    yes: Yes = False,
) -> None:
    """
    End a grant now.

    Example:
      $ strongroom access grants revoke g_0123456789abcdef
    """
    session: Session = context.obj
    with session.room() as room:
        terminal.confirm(f"end the grant {terminal.clean(id_)}", is_agreed=yes)
        found = room.policies.grants.revoke(id_)
    sentence(session, f"the grant {found.id} of {found.right.actor} has ended", _facts(found))
