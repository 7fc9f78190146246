"""`strongroom connections`: keep connections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import anyform, asking, edit, export, intake, kinds, lint, terminal, transfer, trial, verb
from strongroom.cli.app import command, noun
from strongroom.cli.entry import (
    Comment,
    ExpectedVersion,
    ExpiresIn,
    Force,
    NotAfter,
    Owner,
    References,
    RemindAt,
    Said,
    Tag,
    To,
    Yes,
    ask_reason,
    name_argument,
    public_text,
    show_entry,
    standing,
    tell_written,
)
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model import overlay, template
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.secret import Secret
from strongroom.service.entries import Change, shown

if TYPE_CHECKING:
    pass

app = noun(
    "connections",
    """
    Keep connections.

    Example:
      $ strongroom connections import connections.json
      $ strongroom connections add orders_db --conn-uri @uri.txt
      $ strongroom connections list
    """,
)

_LABELS = {
    "extends": "extends",
    "conn_type": "type",
    "host": "host",
    "port": "port",
    "schema": "schema",
    "login": "login",
    "password": "password",
    "extra": "extra",
    "uri": "uri",
}


# --- get -----------------------------------------------------------------------------------------


@command(app, "get")
def get(
    context: typer.Context,
    *,
    name: str = name_argument("connection", "Which connection."),
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the secrets; recorded, with the reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", callback=public_text, help="Why they are revealed.")
    ] = None,
) -> None:
    """
    Show a connection without its secrets.

    The password reads `***`, and so does what stands in extra unless the type says that it is public.
    For programs that need them there is
    `strongroom read NAME`.

    Example:
      $ strongroom connections get orders_db
      $ strongroom connections get orders_db --output json
      $ strongroom connections get orders_db --reveal --reason "checking the port"
    """
    session: Session = context.obj
    ref = session.ref("connection", name)
    with session.room() as room:
        found = room.entries.describe(ref)
        connection = found.connection
        if reveal and connection is not None:
            entry = room.entries.reveal(ref, reason=ask_reason(reason))
            connection = Connection.parse(entry.secret.reveal(), session.settings().lookup.dialect)
    base = {"extends": found.overlay["extends"]} if "extends" in found.overlay else {}
    show_entry(session, found, base | _fields(connection, session, reveal=reveal), labels=_LABELS)


def _fields(connection: Connection | None, session: Session, *, reveal: bool) -> dict[str, Any]:
    if connection is None:
        return {}
    seen = connection.to_dict(reveal=True) if reveal else shown(connection)
    if session.output == "table" and seen["extra"] is not None:
        seen["extra"] = dict(_flat(seen["extra"], "")) or "{}"
    return seen


def _flat(extra: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    """Give the leaves of *extra* with their paths, as in `ssl.mode`."""
    leaves: list[tuple[str, Any]] = []
    for key, value in extra.items():
        leaves += (
            _flat(value, f"{path}{key}.") if isinstance(value, dict) and value else [(f"{path}{key}", value)]
        )
    return leaves


# --- add -----------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Given:
    """What `add` was told about the connection itself."""

    conn_type: str | None
    host: str | None
    login: str | None
    schema: str | None
    port: int | None
    extra: str | None
    description: str | None
    uri: str | None
    json: str | None
    password_file: str | None
    references: bool
    rest: dict[str, object] = field(default_factory=dict)

    def said(self) -> list[object]:
        """Give what was told of the connection, but for its description."""
        fields = (self.conn_type, self.host, self.login, self.schema, self.port, self.extra)
        whole = (self.uri, self.json, self.password_file)
        return [value for value in (*fields, *whole) if value is not None]

    @property
    def asks_password(self) -> bool:
        """Whether a password is to be asked for: single fields, no file, and somebody to ask."""
        has_whole = self.uri is not None or self.json is not None
        is_read = self.password_file is not None or self.extra == intake.STDIN
        return not has_whole and not is_read and terminal.can_ask()

    def connection(self, *, is_start: bool = False) -> Connection:
        """
        Make the connection, as far as nobody needs to be asked.

        Args:
            is_start: the rest is asked for, so that nothing at all is enough and a whole one too much.

        Raises:
            InvalidInputError: what was told does not go together, or a secret stands on the command line.
        """
        self._check(is_start=is_start)
        if self.uri is not None or self.json is not None:
            return self._whole()
        if any(mark in (self.conn_type or "") for mark in ("://", "@")):
            raise intake.refuse_argument(
                "a URI as the type", instead="pass it on stdin (--conn-uri -) or in a file (--conn-uri @file)"
            )
        fields: dict[str, Any] = {
            "conn_type": self.conn_type,
            "host": self.host,
            "login": self.login,
            "schema": self.schema,
            "port": self.port,
        }
        if self.extra is not None:
            fields["extra"] = intake.connection_text(self.extra, option="--conn-extra", what="extra")
        made = Connection.from_dict(fields).replace(port=self.port, description=self.description)
        if intake.has_secret(made.replace(extra=None)):
            raise intake.refuse_argument(
                "a host or schema with a password in it", instead="leave it out and say --password-stdin"
            )
        if self.password_file is None:
            return made
        return made.replace(password=_password(intake.read_secret(self.password_file, what="the password")))

    def _whole(self) -> Connection:
        option, given = ("--conn-uri", self.uri) if self.uri is not None else ("--conn-json", self.json)
        text = intake.connection_text(str(given), option=option, what=f"the value of {option}")
        if self.references and self.json is not None:
            text, self.rest = overlay.split(text)
        elif self.references:
            text = template.encoded(text)  # a name in one may hold what a URI ends at
        try:
            made = Connection.parse(text)
        except InvalidInputError:
            if self.json is not None and overlay.split(text)[1]:
                raise InvalidInputError(
                    "it extends another connection, and references are off", hint="say --references"
                ) from None
            raise
        return made if self.description is None else made.replace(description=self.description)

    def _check(self, *, is_start: bool) -> None:
        fields = (self.conn_type, self.host, self.login, self.schema, self.port)
        single = (*fields, self.extra, self.password_file)
        has_single = any(value is not None for value in single)
        ways = [has_single, self.uri is not None, self.json is not None]
        if is_start and (ways[1] or ways[2]):
            raise InvalidInputError(
                "--interactive asks for the fields, and --conn-uri and --conn-json give them all"
            )
        if sum(ways) > 1:
            raise InvalidInputError(
                "--conn-uri, --conn-json and the options for single fields exclude one another",
                hint="give the whole connection, or its fields",
            )
        if not any(ways) and not is_start:
            raise InvalidInputError(
                "there is nothing to add", hint="say --conn-type and its fields, --conn-uri or --conn-json"
            )
        if [self.extra, self.password_file].count(intake.STDIN) > 1:
            raise InvalidInputError(
                "stdin can be read only once", hint="pass the password with --password-file"
            )


def _password(text: str) -> Secret[str] | None:
    return Secret(text) if text else None


@command(app, "add")
def add(
    context: typer.Context,
    *,
    name: str = name_argument("connection", "What to call it."),
    conn_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="As in Airflow, such as postgres, aws or http.")
    ] = None,
    conn_host: Annotated[str | None, typer.Option(metavar="HOST", help="Host.")] = None,
    conn_login: Annotated[str | None, typer.Option(metavar="LOGIN", help="Login.")] = None,
    conn_schema: Annotated[str | None, typer.Option(metavar="SCHEMA", help="Schema or database.")] = None,
    conn_port: Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="Port.")] = None,
    conn_extra: Annotated[
        str | None, typer.Option(metavar="JSON", help="Extra: - is stdin, @FILE a file.")
    ] = None,
    conn_description: Annotated[
        str | None,
        typer.Option(
            "--conn-description",
            "--description",
            metavar="TEXT",
            callback=public_text,
            help="What it is for; public.",
        ),
    ] = None,
    conn_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="All in one: - is stdin, @FILE a file.")
    ] = None,
    conn_json: Annotated[
        str | None, typer.Option(metavar="JSON", help="All in one: - is stdin, @FILE a file.")
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Ask for the fields, one by one.")
    ] = False,
    source: anyform.From = None,
    form_name: anyform.FormName = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    password_file: Annotated[str | None, typer.Option(metavar="FILE", help="Read it from a file.")] = None,
    conn_password: Annotated[str | None, typer.Option(hidden=True)] = None,
    tag: Tag = None,
    owner: Owner = None,
    remind_at: RemindAt = None,
    not_after: NotAfter = None,
    expires_in: ExpiresIn = None,
    references: References = None,
    to: To = None,
    comment: Comment = "",
    expected_version: ExpectedVersion = None,
    force: Force = False,
    type_unchecked: lint.TypeUnchecked = False,
    strict: lint.Strict = False,
    yes: Yes = False,
) -> None:
    r"""
    Add a connection.

    Takes the options of `airflow connections add`, but for the password, which comes from stdin, a file
    or a prompt: every process of the machine can see the command line. A URI, a JSON or an extra with a
    secret in it is refused there too; pass it as `-` (stdin) or `@FILE`. --from reads whatever a vendor or
    tool wrote down (docs/forms.md), shows what it understood and asks. Writing over a connection that
    stands is asked about first. What looks wrong in it is told after the write, or with --strict instead.

    Example:
      $ strongroom connections add orders_db --conn-type postgres \
          --conn-host db.example.com --conn-login svc     # asks for the password
      $ strongroom connections add orders_db --interactive
      $ strongroom connections add orders_db --conn-uri - < uri.txt
      $ strongroom connections add lake --conn-json @lake.json --owner data-team
      $ strongroom connections add orders_db --from jdbc.txt
      $ strongroom connections add orders_replica --references \
          --conn-json '{"extends": "orders_db", "host": "replica.example.com"}'
    """
    session: Session = context.obj
    if conn_password:
        raise intake.refuse_argument("a password", instead="say --password-stdin or --password-file FILE")
    if password_stdin and password_file not in (None, intake.STDIN):
        raise InvalidInputError("the password comes from stdin or from a file, not from both")
    given = _Given(
        conn_type=conn_type,
        host=conn_host,
        login=conn_login,
        schema=conn_schema,
        port=conn_port,
        extra=conn_extra,
        description=conn_description,
        uri=conn_uri,
        json=conn_json,
        password_file=intake.STDIN if password_stdin else password_file,
        references=references is True,
    )
    ref = session.ref("connection", name)
    if source is None:
        connection = given.connection(is_start=interactive)
    else:
        anyform.check_alone(interactive or None, given.said())
        connection = anyform.read_one(session, name, source, form_name, is_agreed=yes)
        connection = connection.replace(description=conn_description or connection.description)
    if not (type_unchecked or interactive):
        lint.linter_of(session).check_type(connection)
    said = Said.of(
        connection.description, tag, owner, (remind_at, not_after, expires_in), references=references
    )
    with session.room() as room:
        found = standing(room, ref)
        if found is not None:
            terminal.confirm(f"write over {ref} in {found.backend}", is_agreed=yes)
        if interactive:
            connection = asking.ask_connection(connection, kinds.kinds_of(session))
        elif source is None and given.asks_password:
            typed = terminal.ask_secret(f"password of {terminal.clean(ref.name)} (empty for none): ")
            connection = connection.replace(password=_password(typed))
        metadata = said.over(found.metadata if found else None)
        change = Change(
            ref=ref,
            secret=Secret(overlay.join(connection.format("json").reveal(), given.rest)),
            metadata=metadata,
            expected_version=expected_version,
            seen=found.version_at(to, force=force) if found else MUST_BE_ABSENT,
        )
        beside = metadata or (found.metadata if found else None)
        looked = lint.Look.of(session, connection, beside, given.rest, takes_any_type=type_unchecked)
        written = looked.around(
            lambda: room.entries.write(change, to=to, force=force, comment=comment), strict=strict
        )
    tell_written(session, ref, written, did="written to")
    looked.tell(written.backend)


edit.register(app)
verb.register(app, "connection", example="orders_db")
transfer.register(app, "connection")
export.register(app, "connection")
kinds.register(app)
lint.register(app)
trial.register(app)
