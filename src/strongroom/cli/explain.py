"""`strongroom explain`: which backend answers, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.app import command, noun
from strongroom.cli.entry import name_argument, public_text
from strongroom.cli.output import Column, plain, show_record, show_rows, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean
from strongroom.model.ref import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.model.explanation import Explanation, Step

app = noun(
    "explain",
    """
    Show which backend answers for a name, and why.

    Of an entry that refers to others each of those is told too.

    Example:
      $ strongroom explain connection orders_db
      $ strongroom explain variable region --output json
    """,
)

_OUTCOMES = {
    "found": "green",
    "absent": "dim",
    "denied": "bold red",
    "unavailable": "yellow",
    "invalid": "bold red",
}
_COLUMNS = (
    Column("number", "#", is_number=True),
    Column("backend", "BACKEND", styles={"": "bold"}),
    Column("team", "TEAM", 3),
    Column("outcome", "OUTCOME", styles=_OUTCOMES),
    Column("milliseconds", "MS", 2, is_number=True),
    Column("version", "VERSION", 3),
    Column("notes", "NOTES"),
)
_VERDICTS = {
    "found": "{backend} answers",
    "absent": "nobody has it",
    "denied": "{backend} refuses, and nobody else is asked",
    "unavailable": "{backend} gives no answer, and nobody else is asked",
    "invalid": "what {backend} holds cannot be used, and nobody else is asked",
}


_DAG = Annotated[
    str | None,
    typer.Option(metavar="DAG", help="As one who only claims to be a run of this DAG.", callback=public_text),
]
_TASK = Annotated[str | None, typer.Option(metavar="TASK", help="Of this task of it.", callback=public_text)]


@command(app, "connection")
def connection(
    context: typer.Context,
    name: str = name_argument("connection", "Which connection."),
    *,
    dag: _DAG = None,
    task: _TASK = None,
) -> None:
    """
    Show which backend answers for a connection, and why.

    Asks every backend in order, past the cache, and tells what each said; never the value.

    Example:
      $ strongroom explain connection orders_db
      $ strongroom explain connection orders_db --dag orders_daily --task load_facts
    """
    _explain(context.obj, "connection", name, dag=dag, task=task)


@command(app, "variable")
def variable(
    context: typer.Context,
    name: str = name_argument("variable", "Which variable."),
    *,
    dag: _DAG = None,
    task: _TASK = None,
) -> None:
    """
    Show which backend answers for a variable, and why.

    Asks every backend in order, past the cache, and tells what each said; never the value.

    Example:
      $ strongroom explain variable region
    """
    _explain(context.obj, "variable", name, dag=dag, task=task)


def _explain(session: Session, kind: Kind, name: str, *, dag: str | None, task: str | None) -> None:
    from strongroom.service.explaining import claimed  # noqa: PLC0415 -- `--help` does without

    ref = session.ref(kind, name)
    with session.room() as room:
        explanation = room.lookup.explain(ref, run=claimed(dag, task))
    if session.output != "table":
        show_record(session, explanation.to_dict(), labels={})
        return
    write(_verdict(explanation))
    write("")
    rows = [_row(number, step, explanation) for number, step in enumerate(explanation.steps, 1)]
    rows += [
        {"backend": backend, "outcome": "not asked", "notes": why} for backend, why in explanation.not_asked
    ]
    show_rows(session, _COLUMNS, [rows])
    if explanation.references:
        write("")
        write("refers to")
        for line in _references(explanation, depth=1):
            write(line)
    if explanation.may_read is False:
        write("")
        write(f"it may not be read: {clean(explanation.decision)}")
    if explanation.policies:
        write("")
        write(f"whether it may be read is decided by policy {', '.join(explanation.policies)}")


def _verdict(explanation: Explanation) -> str:
    if explanation.backend is None and explanation.reason:
        return f"{explanation.ref}: {explanation.reason}"
    if explanation.references and explanation.outcome.value != "found":
        return f"{explanation.ref}: {explanation.backend} answers, but it refers to what cannot be had"
    verdict = _VERDICTS[explanation.outcome.value].format(backend=explanation.backend)
    return f"{explanation.ref}: {verdict}"


def _references(explanation: Explanation, *, depth: int) -> Iterator[str]:
    """Give a line for each reference, indented by how deep it stands."""
    for one in explanation.references:
        yield "  " * depth + clean(_verdict(one))
        yield from _references(one, depth=depth + 1)


def _row(number: int, step: Step, explanation: Explanation) -> dict[str, object]:
    notes = [step.reason] if step.reason else []
    if step.is_shadowed:
        notes.append(f"hidden by {explanation.backend}")
    elif step.outcome.value == "found" and step.backend == explanation.backend:
        notes.append("answers")
    if step.is_cached:
        notes.append("in the cache")
    return {
        "number": number,
        "backend": step.backend,
        "team": step.ref.team,
        "outcome": step.outcome.value,
        "milliseconds": f"{step.milliseconds:.1f}",
        "version": plain(step.version),
        "notes": ", ".join(notes),
    }
