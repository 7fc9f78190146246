"""`strongroom access tokens`: what services prove themselves with."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Purpose, Yes
from strongroom.cli.output import Column, sentence, show_rows, write
from strongroom.cli.people import RoleOption, roles_in, told
from strongroom.cli.scope import ScopeOption, scope_facts, scope_in, scope_text
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from strongroom.service.access import TokenRow

__all__ = ["attach"]

app = noun(
    "tokens",
    """
    Issue, list and revoke tokens for services.

    Example:
      $ strongroom access tokens issue --name ci --role reader --expires 90d
      $ strongroom access tokens revoke ci
    """,
)

_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("id", "ID", 1),
    Column("roles", "ROLES", show=told),
    Column("scope", "SCOPE", 2, show=lambda row: scope_text(row["scope"])),
    Column(
        "expires", "EXPIRES", show=lambda row: "expired" if row["is_expired"] else row["expires"] or "never"
    ),
    Column("last_used_at", "LAST USED", 1),
    Column("last_used_from", "FROM", 3),
    Column("created_by", "BY", 3),
)
_SPAN = re.compile(r"([0-9]{1,5})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_NEVER = "never"


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "issue")
def issue(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="The service; policies call it service:NAME.")],
    role: RoleOption = None,
    expires: Annotated[str, typer.Option(metavar="SPAN", help="As 90d, 12h, 30m, or never.")] = "90d",
    scope: ScopeOption = None,
    comment: Purpose = "",
) -> None:
    """
    Issue a token for a service, and print it once.

    It is kept nowhere: whoever loses it revokes it and issues another. A service has one token at a time.
    What policies allow its roles is bounded by --scope, words separated by commas.

    Example:
      $ strongroom access tokens issue --name ci --role reader --expires 90d
      $ strongroom access tokens issue --name etl --role reader --scope names=prod/*
      $ strongroom access tokens issue --name ci --role reader --output json
    """
    session: Session = context.obj
    with session.room() as room:
        issued = room.access.tokens.issue(
            name,
            roles=roles_in(session, role),
            lifetime=_lifetime(expires),
            scope=scope_in(scope),
            comment=comment,
        )
    if session.output == "table":
        write(issued.token.reveal())
        ends = "" if issued.row.expires is None else f", good until {issued.row.expires:%Y-%m-%d %H:%M}Z"
        terminal.note(f"the token of service {issued.row.name}{ends}; it is shown this once", session)
    else:
        sentence(session, "", {"token": issued.token.reveal(), **_facts(issued.row)})


def _lifetime(text: str) -> timedelta | None:
    if text == _NEVER:
        return None
    span = _SPAN.fullmatch(text)
    if span is None:
        raise InvalidInputError("--expires is no span of time", hint="--expires 90d, 12h, 30m or never")
    return timedelta(**{_UNITS[span[2]]: int(span[1])})


def _facts(row: TokenRow) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "actor": row.actor,
        "roles": [role._asdict() for role in row.roles],
        "scope": scope_facts(row.scope),
        "comment": row.comment,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires": row.expires,
        "is_expired": row.is_expired,
        "last_used_at": row.seen,
        "last_used_from": row.source,
    }


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the tokens of the deployment, never what they are.

    Example:
      $ strongroom access tokens list
      $ strongroom access tokens list --output json
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(row) for row in room.access.tokens.list()]
    show_rows(
        session,
        _COLUMNS,
        [rows],
        nothing="there are no tokens; `strongroom access tokens issue --name NAME` issues one",
    )


@command(app, "revoke")
def revoke(
    context: typer.Context,
    *,
    token: Annotated[
        str, typer.Argument(metavar="NAME|ID", help="Its service, or its id.", show_default=False)
    ],
    yes: Yes = False,
) -> None:
    """
    Take a token away, with the roles of its service.

    Within a second nobody is let in with it.

    Example:
      $ strongroom access tokens revoke ci
    """
    session: Session = context.obj
    with session.room() as room:
        wanted = token.strip().casefold()
        found = [row for row in room.access.tokens.list() if wanted in (row.id, row.name)]
        if not found:
            # Not repeated: it may be the token itself.
            raise NotFoundError("there is no such token", hint="strongroom access tokens list")
        row = found[0]
        terminal.confirm(f"revoke the token of service {row.name}", is_agreed=yes)
        room.access.tokens.revoke(row.id)
    sentence(session, f"the token of service {row.name} is revoked", {"id": row.id, "name": row.name})
