"""`strongroom airflow check`: what an Airflow resolves today, and what it would with us."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.airflow.root import Home, Socket, TokenFile, Url, app, config_of, our_kwargs
from strongroom.cli.app import command
from strongroom.cli.output import Column, sentence, show_rows, wrapped, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean, warn
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.backend import Backend
    from strongroom.service.airflow.check import Check, Notice
    from strongroom.service.airflow.known import Opener
    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["check"]

_EXIT_CODE = 7  # as the doctor's: the operator acts
_INDENT = 9
_STYLES = {"error": "1;31", "warning": "33", "note": "36"}
_OUTCOMES = {"equal": "32", "different": "31", "missing": "31", "error": "1;31", "new": "36", "absent": "2"}
_COLUMNS = (
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("outcome", "OUTCOME", styles=_OUTCOMES),
    Column("detail", "DIFFERS IN"),
    Column("today", "TODAY"),
    Column("ours", "WITH US"),
    Column("why", "WHY", rank=1),
)
_SUMS = (
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("team", "TEAM"),
    Column("outcome", "OUTCOME", styles=_OUTCOMES),
    Column("detail", "DETAIL"),
    Column("processes", "PROCESSES", is_number=True),
    Column("last", "LAST"),
)


@command(app, "check")
def check(
    context: typer.Context,
    *,
    home: Home = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python", metavar="PATH", help="Airflow's Python; that beside airflow on PATH if unsaid."
        ),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Show ids that are equal, too.")] = False,
    is_report: Annotated[
        bool, typer.Option("--shadow-report", help="Instead sum up what shadow mode has seen.")
    ] = False,
    socket: Socket = None,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """
    Compare what an Airflow resolves now and with Strongroom.

    Runs in Airflow's own Python, with its real configuration, and resolves each id known anywhere: in the
    environment, in Airflow's database, in its secrets backend where that lists, here, and in DAG files.
    Values are compared there and never leave it. Each id is equal, different (in which fields), missing with
    us, new with us, an error, or absent from both. Warns of what is dangerous in the configuration. Changes
    nothing. Ends with 7 if anything is different, missing or an error.

    Example:
      $ strongroom airflow check
      $ strongroom airflow check --python /opt/airflow/venv/bin/python --all
      $ strongroom airflow check --shadow-report
      $ strongroom airflow check --output json | jq .counts
    """
    session: Session = context.obj
    config = config_of(session, home)
    if is_report:
        _report(session, config)
        return
    from strongroom.service.airflow import check as service  # noqa: PLC0415 -- `--help` does without
    from strongroom.service.airflow.switch import is_ours, record_of  # noqa: PLC0415

    asked = service.Asked(
        python=service.find_python(session.environ, python),
        ids=_ids(session, config),
        # Where we are configured already, that is what counts.
        kwargs={} if is_ours(config) else our_kwargs(session, socket, url, token_file),
        record=record_of(config),
    )
    environ = dict(session.environ)
    if home is not None:
        environ["AIRFLOW_HOME"] = str(config.home)
        environ.pop("AIRFLOW_CONFIG", None)
    found = service.check(config, asked, environ=environ, cwd=Path.cwd())
    if session.output == "table":
        _show(session, found, is_all=is_all)
    else:
        sentence(session, "", _facts(found, asked.python))
    if not found.is_good:
        raise typer.Exit(_EXIT_CODE)


# --- which ids -----------------------------------------------------------------------------------


def _ids(session: Session, config: AirflowConfig) -> dict[str, set[str]]:
    """Give the ids known outside of Airflow's own Python."""
    from strongroom.service.airflow.known import known_ids  # noqa: PLC0415 -- as `check`

    def told(place: str, error: StrongroomError) -> None:
        warn(f"the ids of {place} are missing here: {error}", session)

    return known_ids(
        config,
        open_backend=_opener(session),
        room=lambda: session.room(asks=False),
        environ=session.environ,
        on_trouble=told,
    )


def _opener(session: Session) -> Opener:
    from strongroom import assembly, settings  # noqa: PLC0415 -- it loads the store

    def opened(name: str, kind: str, options: dict[str, object]) -> Backend:
        backend = settings.BackendSettings(name=name, kind=kind, options=options, folder=Path.cwd())
        return assembly.open_backend(backend, settings.without_file(session.environ), environ=session.environ)

    return opened


# --- what is told --------------------------------------------------------------------------------


def _show(session: Session, found: Check, *, is_all: bool) -> None:
    for notice in found.notices:
        _show_notice(session, notice)
    rows = [row for row in found.rows if is_all or row["outcome"] not in ("equal", "absent")]
    if rows:
        show_rows(session, _COLUMNS, [rows])
    told = found.told
    if told.get("ours"):
        counts = found.counts
        parts = [f"{counts[outcome]:,} {outcome}" for outcome in _OUTCOMES if counts[outcome]]
        write(f"Airflow {told.get('airflow')}: {', '.join(parts) or 'no id is known'}")
        write(clean(f"today {_places(told['today'])}; with us {_places(told['ours'])}"))


def _places(names: list[str]) -> str:
    return " > ".join(name.removesuffix("Backend") for name in names)


def _show_notice(session: Session, notice: Notice) -> None:
    head = f"{notice.level:<7}"
    if session.has_colour(sys.stdout):
        head = f"\x1b[{_STYLES[notice.level]}m{head}\x1b[0m"
    first, *rest = wrapped(clean(f"{notice.what} [{notice.name}]"), indent=_INDENT)
    write(f"{head}  {first}")
    for line in rest + wrapped(clean(notice.fix), indent=_INDENT):
        write(" " * _INDENT + line)


def _facts(found: Check, python: Path) -> dict[str, object]:
    told = found.told
    return {
        "airflow": told.get("airflow"),
        "python": str(python),
        "strongroom": told.get("strongroom"),
        "today": told.get("today") or [],
        "with_us": told.get("ours") or [],
        "counts": dict(found.counts),
        "notices": [
            {"name": one.name, "level": one.level, "what": one.what, "fix": one.fix} for one in found.notices
        ],
        "ids": found.rows,
    }


def _report(session: Session, config: AirflowConfig) -> None:
    from strongroom.service.airflow.check import shadow_sums  # noqa: PLC0415 -- as `check`

    rows = [
        row | {part: datetime.fromtimestamp(row[part], timezone.utc) for part in ("first", "last")}
        for row in shadow_sums(config.home)
    ]
    show_rows(session, _SUMS, [rows], nothing="shadow mode has reported nothing here")
