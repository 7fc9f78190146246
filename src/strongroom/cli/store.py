"""`strongroom store`: our own tables as a whole, not what stands in them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import Column, show_record, show_rows, write
from strongroom.cli.session import Session, ask_passphrase

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.service.stores import Moved, Stores, StoreStatus
    from strongroom.settings import SecretSource

app = noun(
    "store",
    """
    Look at the store, migrate it, move it to another database.

    Example:
      $ strongroom store status
      $ strongroom store migrate
      $ strongroom store move --to postgresql://srm@db/srm --password-file db.pass
    """,
)

_LABELS = {
    "address": "store",
    "kind": "database",
    "schema": "schema",
    "revision": "revision",
    "deployments": "deployments",
    "entries": "entries",
    "versions": "versions",
    "changes": "changes",
    "moved_to": "moved to",
}
_STEPS = ("copying", "comparing", "opening")
_CHECKED = (
    Column("deployment", "DEPLOYMENT"),
    Column("keys", "KEYS", 1, is_number=True),
    Column("entries", "ENTRIES", is_number=True),
    Column("versions", "VERSIONS", is_number=True),
    Column("trouble", "NOT OPENED", 1),
)


@command(app, "status")
def status(context: typer.Context) -> None:
    """
    Show where the store is, its schema, and how much stands in it. Nothing is changed, and no key is needed.

    A schema that is older is brought up to date by the first command that opens the store, and by
    `strongroom store migrate`; a newer one is refused by every command and left as it is.

    Example:
      $ strongroom store status
    """
    session: Session = context.obj
    with _stores(session, "a store is looked at") as stores:
        found = stores.status()
    if session.output == "table":
        show_record(session, _facts(found), labels=_LABELS)
    else:
        told = {field.name: getattr(found, field.name) for field in fields(found)}
        show_record(session, told | {"rows": dict(found.rows)}, labels={})


@command(app, "migrate")
def migrate(
    context: typer.Context,
    *,
    back: Annotated[
        bool, typer.Option("--back", help="Take this release's schema back, for the release before.")
    ] = False,
    yes: Yes = False,
) -> None:
    """
    Bring the store to the schema of this release, all of it or nothing.

    Every command that opens an older store does the same; this one does nothing else. With --back the
    newest step is taken back, so that the release before opens the store again: stop what has it open
    first, and know that what only the newer schema has room for is lost (of this one: how far keys were
    rotated, and how often each was used).

    Example:
      $ strongroom store migrate
      $ strongroom store migrate --back
    """
    session: Session = context.obj
    with _stores(session, "a store is migrated") as stores:
        if back:
            terminal.confirm("take the schema of the store one step back", is_agreed=yes)
        before, after = stores.migrate(is_back=back)
    if session.output != "table":
        show_record(session, {"before": before, "after": after}, labels={})
    elif before == after:
        write(f"the store is of the schema {after} already")
    else:
        write(f"the store was of the schema {before} and is of {after} now")


@command(app, "move")
def move(
    context: typer.Context,
    *,
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE", help="A path, postgresql://… or mariadb://…, empty so far.", show_default=False
        ),
    ],
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The password of that database's user.")
    ] = None,
    yes: Yes = False,
) -> None:
    """
    Move the store to another database, and verify it there.

    Nobody can write to it meanwhile; it is read on. Every row is copied as it is sealed, then counted and
    digested on both sides, and every value of every version is opened at the new place. Only then the old
    store is marked: it keeps everything, and no command opens it any more. Killed or failed half way, the
    old store is as it was or the move is ended by the same command.

    Example:
      $ strongroom store move --to postgresql://srm@db/srm --password-file db.pass
      $ strongroom store move --to ./room.db
    """
    session: Session = context.obj
    from strongroom import assembly  # noqa: PLC0415 -- it loads the store

    with _stores(session, "a store is moved") as stores:
        place = assembly.place_at(to, _source(password_file), session.environ, is_typed=True)
        terminal.confirm(
            f"move the store to {place.engine().address}, with nobody writing to it meanwhile", is_agreed=yes
        )
        with terminal.progress("moving the store") as bar:
            moved = stores.move(place, progress=_steps(bar))
    if session.output == "table":
        _tell(session, moved, to=to, password_file=password_file)
        return
    checked = [_checked(moved, index) for index in range(len(moved.checked))]
    show_record(session, {"place": moved.place, "rows": dict(moved.rows), "checked": checked}, labels={})


def _tell(session: Session, moved: Moved, *, to: str, password_file: str | None) -> None:
    total = sum(moved.rows.values())
    write(f"moved {total} rows to {moved.place}; each was read back there and is the same")
    show_rows(
        session, _CHECKED, [[_checked(moved, index) for index in range(len(moved.checked))]], nothing=""
    )
    write("")
    write("say so in the settings, then start again what was started with the old ones:")
    write("")
    write("  [store]")
    # As it was typed, user and all; but a path from wherever the settings stand.
    write(f'  url = "{to}"' if "://" in to else f'  path = "{moved.place}"')
    if password_file is not None:
        write(f'  password = {{ file = "{Path(password_file).absolute()}" }}')


def _checked(moved: Moved, index: int) -> dict[str, object]:
    one = moved.checked[index]
    return {
        "deployment": one.deployment,
        "keys": one.keys,
        "entries": one.entries,
        "versions": one.versions,
        "trouble": one.trouble,
    }


def _facts(found: StoreStatus) -> dict[str, object]:
    return {
        "address": found.address,
        "kind": found.kind,
        "schema": found.schema if not found.is_arriving else "arriving: let store move end",
        "revision": found.revision if found.schema == "current" else f"{found.revision}, not {found.newest}",
        "deployments": ", ".join(found.deployments) or None,
        **{name: found.rows.get(name) for name in ("entries", "versions", "changes")},
        "moved_to": found.moved_to,
    }


def _steps(bar: Callable[[int, int], None] | None) -> Callable[[str, int, int], None]:
    """Give what tells *bar* of three steps as one way."""

    def tell(step: str, done: int, total: int) -> None:
        if bar is not None:
            bar(_STEPS.index(step) * total + min(done, total), len(_STEPS) * total)

    return tell


def _stores(session: Session, what: str) -> Stores:
    from strongroom import assembly  # noqa: PLC0415 -- it loads the store

    session.require_here(what)
    return assembly.open_stores(session.settings(), environ=session.environ, passphrase=ask_passphrase)


def _source(password_file: str | None) -> SecretSource | None:
    from strongroom.settings import SecretSource  # noqa: PLC0415 -- `--help` does without

    if password_file is None:
        return None
    return SecretSource(kind="file", argument=(password_file,), key="--password-file")
