"""`strongroom read`: the bare value, for programs. What it answers stands in `value.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.app import command, single
from strongroom.cli.value import Request, answer
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.model.ref import Kind

app = single()


@command(app, "read")
def read(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A variable or a connection.")],
    field: Annotated[
        str | None, typer.Option(metavar="FIELD", help="One field of a connection, as password or extra.KEY.")
    ] = None,
    connection: Annotated[bool, typer.Option("--connection", help="It is a connection.")] = False,
    variable: Annotated[bool, typer.Option("--variable", help="It is a variable.")] = False,
    bypass_cache: Annotated[
        bool, typer.Option("--bypass-cache", help="Have an agent ask its backends anew.")
    ] = False,
) -> None:
    """
    Print the bare value, for programs.

    Exactly its bytes; only on a terminal a line end follows. A connection is printed as Airflow's JSON,
    one field of it with --field: conn_type, host, login, password, schema, port, description, extra,
    extra.KEY, or uri. NAME is a variable or a connection, whichever there is; where both are, it must be
    said which, and then only that kind is asked for. Say it in scripts: where either kind cannot be asked
    for, as in an outage, neither is printed. Ends with 3 where there is none.

    Example:
      $ region=$(strongroom read region --variable)
      $ PGPASSWORD=$(strongroom read orders_db --field password) psql
      $ strongroom read lake --field extra.region_name
    """
    if connection and variable:
        raise InvalidInputError("--connection and --variable exclude one another")
    kind: Kind | None = "connection" if connection else "variable" if variable else None
    answer(Request(name, kind, field, bypass_cache), context.obj)
