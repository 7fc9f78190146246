"""
`strongroom connections test`: whether connections work, from here, from the server or from an agent.

Not for what a test does: `live/probe.py`.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command
from strongroom.cli.entry import pages_of
from strongroom.cli.output import Column, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, NotFoundError, RateLimitedError, StrongroomError
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.service.connection_tests import ConnectionTests
    from strongroom.service.inventory import Row as Listed
    from strongroom.service.room import Room
    from strongroom.service.trials import Trial

__all__ = ["register"]

_FAILED = 6  # the exit code of BackendUnavailableError
_LOOK_SECONDS = 0.5  # between two looks whether an agent has answered
_MOST_WAITS = 20  # for a turn, of one test
_RESULTS = {"ok": "green", "failed": "bold red", "not tested": "yellow", "skipped": "dim"}


_STEPS = (
    Column("step", "STEP", styles={"": "bold"}),
    Column("outcome", "RESULT", styles=_RESULTS),
    Column("milliseconds", "MS", is_number=True),
    Column("days_left", "DAYS LEFT", 1, is_number=True),
    Column("why", "WHY"),
)
_TESTS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("from", "FROM", 2),
    Column("at", "AT", 3),
    Column("status", "RESULT", styles=_RESULTS),
    Column("failed", "FAILED AT", 1),
    Column("milliseconds", "MS", 2, is_number=True),
    Column("message", "MESSAGE", 1),
    Column("advice", "TO DO"),
)


class _Test(NamedTuple):
    """One test, or why there was none."""

    ref: Ref
    trial: Trial | None
    error: StrongroomError | None = None

    @property
    def is_ok(self) -> bool:
        return self.trial is not None and self.trial.is_ok


def register(app: typer.Typer) -> None:
    """Declare the command on the app of `connections`."""
    command(app, "test")(try_)


def try_(
    context: typer.Context,
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which.", show_default=False)
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="PLACE",
            help="here, server, agent or agent:NAME. The server where its tests are on, else here.",
            show_default=False,
        ),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Every connection there is.")] = False,
    failing: Annotated[bool, typer.Option("--failing", help="Those whose last test failed.")] = False,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Those whose names begin so.", show_default=False)
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Test nothing; show how the last tests went.")
    ] = False,
) -> None:
    """
    Test connections step by step, from here or elsewhere.

    The driver, options, name, address, TCP, TLS with the days its certificate has left, a token,
    authentication, and one harmless read: the answer names the step that failed and what to do. A test
    from here runs in a process of its own with what this user has around it; one from the server reaches
    only what server.test_networks lists; one from an agent is made on its host. All are recorded. Ends
    with 6 if any failed (docs/testing-connections.md).

    Example:
      $ strongroom connections test orders_db
      $ strongroom connections test orders_db --on agent:worker-1
      $ strongroom connections test --all --on here --output json
      $ strongroom connections test orders_db --history
    """
    session: Session = context.obj
    _check(names, is_all=is_all, failing=failing, prefix=prefix)
    with session.room() as room:
        refs = _refs(room, session, names, is_failing=failing, prefix=prefix)
        if history:
            rows = ([_row(_Test(ref, trial)) for trial in room.tests.history(ref)] for ref in refs)
            show_rows(session, _TESTS, rows, nothing="there are no tests to show")
            return
        done: list[_Test] = []
        tests = _tested(session, room.tests, refs, on, done)
        if names is not None and len(names) == 1 and session.output == "table":
            _show_one(session, next(tests))
        else:
            show_rows(session, _TESTS, ([_row(one)] for one in tests), nothing="there is nothing to test")
    if not all(one.is_ok for one in done):
        raise typer.Exit(_FAILED)


def _check(names: list[str] | None, *, is_all: bool, failing: bool, prefix: str | None) -> None:
    said = [bool(names), is_all, failing, prefix is not None]
    if sum(said) != 1:
        raise InvalidInputError(
            "say which connections: their names, --all, --failing or --prefix TEXT"
            if not any(said)
            else "names, --all, --failing and --prefix exclude one another",
            hint="strongroom connections test orders_db",
        )


def _refs(
    room: Room, session: Session, names: list[str] | None, *, is_failing: bool, prefix: str | None
) -> Iterator[Ref]:
    if names:
        return (session.ref("connection", name) for name in names)
    if is_failing:
        return iter(sorted(room.tests.failing(), key=lambda ref: (ref.name, ref.team or "")))

    def fetch(last: Ref | None, wanted: int) -> list[Listed]:
        after = last.name if last else ""
        return room.entries.list(
            "connection", team=session.team, prefix=prefix or "", after=after, limit=wanted
        )

    return (row.ref for page in pages_of(fetch, limit=None) for row in page)


# --- testing -------------------------------------------------------------------------------------------


def _tested(
    session: Session, tests: ConnectionTests, refs: Iterator[Ref], on: str | None, done: list[_Test]
) -> Iterator[_Test]:
    """Test one after the other; what cannot be tested is told beside its name, and the others go on."""
    place, alone = on, None
    for ref in refs:
        try:
            place = place or tests.places(ref)[0]
            one = _Test(ref, _turn(session, tests, ref, place))
        except StrongroomError as error:
            one = _Test(ref, None, error)
            alone = error if not done else None
        done.append(one)
        yield one
    if alone is not None and len(done) == 1:
        raise alone  # nothing but this one was asked for: its own exit code says more


def _turn(session: Session, tests: ConnectionTests, ref: Ref, place: str) -> Trial:
    """Test *ref*, and wait where only so many tests are done in a minute."""
    for _ in range(_MOST_WAITS):
        try:
            return _once(session, tests, ref, place)
        except RateLimitedError as error:
            seconds = error.retry_after.total_seconds() if error.retry_after else _LOOK_SECONDS
            terminal.note(f"waiting {max(1, round(seconds))} s for a turn", session)
            time.sleep(max(_LOOK_SECONDS, seconds))
    return _once(session, tests, ref, place)


def _once(session: Session, tests: ConnectionTests, ref: Ref, place: str) -> Trial:
    tried = tests.begin(ref, on=place, environ=session.environ)
    if tried.trial is None:
        terminal.note("waiting for the agent", session)
    while tried.trial is None:
        time.sleep(_LOOK_SECONDS)
        tried = tests.order(ref, tried.order)
    return tried.trial


# --- showing -------------------------------------------------------------------------------------------


def _show_one(session: Session, one: _Test) -> None:
    """Show one test step by step."""
    if one.trial is None:
        raise one.error or NotFoundError("nothing was tested")
    from strongroom.service.connection_tests import told  # noqa: PLC0415 -- `--help` does without

    message, advice = told(one.trial)
    write(terminal.clean(f"{one.ref}, from {one.trial.place}: {message}"))
    if advice:
        write(terminal.clean(f"to do: {advice}"))
    write("")
    show_rows(session, _STEPS, [_steps(one.trial)])


def _steps(trial: Trial) -> list[dict[str, object]]:
    return [
        {
            "step": step.name,
            "outcome": step.outcome,
            "milliseconds": round(step.milliseconds, 1),
            "days_left": step.days_left,
            "why": step.reason,
        }
        for step in trial.steps
    ]


def _row(one: _Test) -> dict[str, object]:
    from strongroom.service.connection_tests import told  # noqa: PLC0415 -- as above

    base: dict[str, object] = {"name": one.ref.name, "team": one.ref.team}
    if one.trial is None:
        hint = (one.error.hint if one.error else None) or ""
        told_of = {"status": "not tested", "failed": None, "message": str(one.error or ""), "advice": hint}
        return base | {"from": None, "at": datetime.now(timezone.utc)} | told_of | {"steps": []}
    trial = one.trial
    message, advice = told(trial)
    failed = trial.tested.failed
    return base | {
        "from": trial.place,
        "at": trial.at,
        "by": trial.by,
        "status": "ok" if trial.is_ok else "failed",
        "failed": None if failed is None else failed.name,
        "milliseconds": round(sum(step.milliseconds for step in trial.steps), 1),
        "message": message,
        "advice": advice,
        "version": trial.version,
        "steps": _steps(trial),
    }
