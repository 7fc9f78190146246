"""`strongroom airflow import-settings`: an Airflow's secrets backend as settings of ours."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom import settings
from strongroom.cli import terminal
from strongroom.cli.airflow.root import Home, app, config_of
from strongroom.cli.app import command
from strongroom.cli.entry import Yes
from strongroom.cli.output import sentence, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean
from strongroom.errors import ConflictError

if TYPE_CHECKING:
    from strongroom.service.airflow.adopt import Adopted
    from strongroom.service.proposal import NewFile

__all__ = ["import_settings"]


@command(app, "import-settings")
def import_settings(
    context: typer.Context,
    *,
    home: Home = None,
    file: Annotated[Path, typer.Option("--to", metavar="FILE", help="The settings file to write.")] = Path(
        "strongroom.toml"
    ),
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets", help="Write the secrets too, each into a file only its owner may read."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the file; write nothing.")] = False,
    yes: Yes = False,
) -> None:
    """
    Make settings of an Airflow's secrets backend.

    Its class and arguments become a backend of ours, asked first as Airflow asks it: Vault, the stores of
    AWS, Google, Azure and Kubernetes, and files by a kind of ours, any other class as it is (airflow_class).
    No secret of the arguments is written into the settings: each becomes a reference to the variable that
    Airflow reads it from, or to a file, and the lines to make that file are shown; --with-secrets makes it.
    An existing file is never written over.

    Example:
      $ strongroom airflow import-settings --dry-run
      $ strongroom airflow import-settings --to prod.toml --with-secrets
    """
    from strongroom.service.airflow.adopt import adopt  # noqa: PLC0415 -- `--help` does without
    from strongroom.service.discovery.place import Surroundings  # noqa: PLC0415
    from strongroom.service.proposal import write as write_files  # noqa: PLC0415

    session: Session = context.obj
    config = config_of(session, home)
    adopted = adopt(
        config,
        Surroundings(environ=session.environ, cwd=Path.cwd()),
        file=file.expanduser().absolute(),
        deployment=session.deployment or "default",
        has_store=settings.without_file(session.environ).store.may_exist,
    )
    files = _new(adopted, with_secrets=with_secrets)
    if session.output == "table":
        _show(session, adopted, file, with_secrets=with_secrets)
    shown = ", ".join(os.path.relpath(one.path) for one in files)
    if not dry_run:
        terminal.confirm(f"write {shown}", is_agreed=yes)
        write_files(files)
        _consent(session, adopted.settings.path)
    has_files = with_secrets and not dry_run
    facts = {
        "file": str(adopted.settings.path),
        "text": adopted.settings.shown,
        "secrets": [
            {"option": one.option, one.source: one.argument, "is_there": one.source == "env" or has_files}
            for one in adopted.moved
        ],
        "notes": list(adopted.notes),
        "is_written": not dry_run,
    }
    done = "nothing was written" if dry_run else f"wrote {shown}; strongroom backends check tries it"
    sentence(session, done, facts)


def _new(adopted: Adopted, *, with_secrets: bool) -> list[NewFile]:
    """
    Give the files to write, the settings last.

    Raises:
        ConflictError: one of them is there already.
    """
    files = [*(adopted.secrets if with_secrets else ()), adopted.settings]
    new = [one for one in files if one.path.name != ".gitignore" or not os.path.lexists(one.path)]
    for one in new:
        if os.path.lexists(one.path):
            shown = os.path.relpath(one.path)
            raise ConflictError(f"{shown} exists already", hint="name another file with --to")
    return new


def _consent(session: Session, path: Path) -> None:
    """Keep the yes to a file that commands find by themselves: he was shown it."""
    if path != Path.cwd() / settings.FILE_NAME:
        return
    needed = settings.consent(None, environ=session.environ)
    if needed is not None:
        with suppress(OSError):  # then `strongroom up` asks for it
            needed.give()


def _show(session: Session, adopted: Adopted, file: Path, *, with_secrets: bool) -> None:
    for note in adopted.notes:
        terminal.warn(note, session)
    write(clean(str(file)))
    for line in adopted.settings.shown.rstrip("\n").split("\n"):
        write(clean(f"    {line}").rstrip())
    wanted = [one for one in adopted.moved if one.source == "file"]
    if wanted and not with_secrets:
        write("its secrets, to be put where it looks for them:")
        folders = dict.fromkeys(os.path.dirname(one.argument) for one in wanted)  # noqa: PTH120 -- as it is typed
        for folder in folders:
            write(clean(f"    install -d -m 700 {folder}"))
        for one in wanted:
            key = one.option.rpartition(".")[2]
            told = f"# then paste the value of {key}, and Ctrl-D"
            write(clean(f"    install -m 600 /dev/stdin {one.argument}    {told}"))
