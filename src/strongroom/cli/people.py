"""`strongroom access people`: who may log in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import Column, sentence, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.policy import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.service.access import PersonRow

__all__ = ["RoleOption", "attach", "named", "roles_in", "said", "told"]

app = noun(
    "people",
    """
    Keep the people who may log in.

    Example:
      $ strongroom access people add anna --role op
      $ strongroom access people list
    """,
)


def told(row: Mapping[str, object]) -> list[str]:
    """Give the roles of a row for a table."""
    roles = row["roles"]
    return [said(Role(**role)) for role in roles] if isinstance(roles, list) else []


def said(role: Role) -> str:
    """Give *role* for people."""
    return role.name if role.team is None else f"{role.name} of {role.team}"


_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("state", "STATE", styles={"disabled": "red", "locked": "yellow"}),
    Column("roles", "ROLES", show=told),
    Column("sessions", "SESSIONS", 2, is_number=True),
    Column("login_at", "LAST LOGIN", 1),
    Column("created_at", "ADDED", 3),
    Column("created_by", "BY", 3),
)
_MAX_PASSWORD_BYTES = 8192

RoleOption = Annotated[
    list[str] | None, typer.Option("--role", metavar="ROLE", help="A role; repeatable. With --team, of it.")
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
PasswordFile = Annotated[str | None, typer.Option(metavar="FILE", help="Read the password from a file.")]


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


def roles_in(session: Session, roles: Sequence[str] | None) -> list[Role]:
    """Give the roles that were named, of the team of the session where there is one."""
    return [Role(name, session.team) for name in dict.fromkeys(roles or ())]


def named(text: str) -> Any:  # noqa: ANN401 -- what typer's own function gives
    """Give the argument NAME, as a parameter's default."""
    return typer.Argument(..., metavar="NAME", help=text, show_default=False)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the people of the deployment.

    Example:
      $ strongroom access people list
      $ strongroom access people list --output json
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(row) for row in room.access.people.list()]
    show_rows(
        session,
        _COLUMNS,
        [rows],
        nothing="there is nobody; `strongroom access people add NAME` adds somebody",
    )


def _facts(row: PersonRow) -> dict[str, object]:
    state = "disabled" if row.is_disabled else "locked" if row.is_locked else "active"
    return {
        "name": row.name,
        "actor": row.actor,
        "state": state,
        "has_password": row.has_password,
        "roles": [role._asdict() for role in row.roles],
        "sessions": row.sessions,
        "login_at": row.login_at,
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


@command(app, "add")
def add(
    context: typer.Context,
    *,
    name: str = named("What to call the person: a-z, 0-9, '.', '_', '@' and '-'."),
    role: RoleOption = None,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="None yet: the person logs in by `link`.")
    ] = False,
) -> None:
    """
    Add a person.

    The password is asked for, or comes from stdin or a file. Names that differ in case or letter width only
    are one name.

    Example:
      $ strongroom access people add anna --role admin
      $ strongroom access people add bert --role op --password-stdin < password.txt
      $ strongroom access people add carla --no-password
    """
    session: Session = context.obj
    roles = roles_in(session, role)
    if no_password and (password_stdin or password_file is not None):
        raise InvalidInputError("--no-password and a password exclude one another")
    with session.room() as room:
        password = None if no_password else _password(password_stdin, password_file)
        room.access.people.add(name, password, roles=roles)
        row = room.access.people.find(name)
    having = f" as {', '.join(map(said, row.roles))}" if row.roles else ""
    sentence(session, f"person {row.name} added{having}", _facts(row))


def _password(from_stdin: bool, file: str | None) -> Secret[str]:
    """Read a new password; a typed one twice."""
    if from_stdin and file is not None:
        raise InvalidInputError("--password-stdin and --password-file exclude one another")
    if from_stdin or file is not None:
        source = intake.STDIN if file is None else file
        return Secret(intake.read_secret(source, what="the password", limit=_MAX_PASSWORD_BYTES))
    if not terminal.can_ask():
        raise InvalidInputError(
            "there is no terminal to ask for the password on", hint="say --password-stdin or --password-file"
        )
    first = terminal.ask_secret("new password: ")
    if terminal.ask_secret("the same again: ") != first:
        raise InvalidInputError("the two passwords differ", hint="nothing was done; try again")
    return Secret(first)


@command(app, "set-password")
def set_password(
    context: typer.Context,
    *,
    name: str = named("Whose."),
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
) -> None:
    """
    Set a person's password; every session of the person ends.

    Example:
      $ strongroom access people set-password anna
      $ strongroom access people set-password anna --password-stdin < password.txt
    """
    session: Session = context.obj
    with session.room() as room:
        row = room.access.people.find(name)
        room.access.people.set_password(name, _password(password_stdin, password_file))
    sentence(
        session,
        f"the password of {row.name} is set; every session of {row.name} has ended",
        {"name": row.name, "changed": "password"},
    )


@command(app, "link")
def link(context: typer.Context, *, name: str = named("As whom.")) -> None:
    """
    Make a code that logs a person in once, within ten minutes.

    For somebody without a password, or who forgot it. Whoever has the code is that person: hand it over as
    you would a password. It goes behind the address of the server, as in
    https://strongroom.example.com/login#code=CODE, or into `strongroom login URL --code-stdin`.

    Example:
      $ strongroom access people link carla
    """
    session: Session = context.obj
    with session.room() as room:
        row = room.access.people.find(name)
        code = room.access.login_link(name).reveal()
    if session.output == "table":
        write(code)
        terminal.note(
            f"it logs in as {row.name} once, within ten minutes: at the page /login#code=… of the server,"
            " or by strongroom login URL --code-stdin",
            session,
        )
    else:
        sentence(session, "", {"name": row.name, "code": code})


def _declare(verb: str, text: str, did: str, *, question: str | None = None) -> None:
    """Declare a command that does one thing to one person, after *question* where there is one."""

    @command(app, verb, text=text)
    def act(context: typer.Context, *, name: str = named("Who."), yes: Yes = False) -> None:
        session: Session = context.obj
        with session.room() as room:
            row = room.access.people.find(name)
            if question is not None:
                terminal.confirm(question.format(row.name), is_agreed=yes)
            getattr(room.access.people, verb)(name)
        sentence(session, did.format(row.name), {"name": row.name, "changed": verb})


_declare(
    "disable",
    """
    Let a person in no more.

    Every session of the person ends within a second, and so does every login link.

    Example:
      $ strongroom access people disable bert
    """,
    "person {} is disabled; every session has ended",
    question="disable person {}",
)
_declare(
    "enable",
    """
    Let a person in again.

    Example:
      $ strongroom access people enable bert
    """,
    "person {} may log in again",
)
_declare(
    "unlock",
    """
    End the wait after too many wrong passwords.

    Example:
      $ strongroom access people unlock anna
    """,
    "person {} need not wait any more",
)
_declare(
    "unlink",
    """
    Let a person be nobody of the identity provider any more.

    Open sessions end, and roles that came with groups go. The next who comes from there with that name is
    taken for this person only where the settings link names (access.oidc.link_existing).

    Example:
      $ strongroom access people unlink anna
    """,
    "person {} is nobody of the identity provider any more",
    question="unlink person {}",
)
_declare(
    "delete",
    """
    Take a person away, with sessions and roles.

    Somebody added later under the same name has none of them; policies that name the person apply again.

    Example:
      $ strongroom access people delete bert
    """,
    "person {} is deleted",
    question="delete person {}",
)
