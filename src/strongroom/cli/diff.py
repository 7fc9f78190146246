"""`strongroom diff`: entries beside each other in several deployments."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.app import command, single
from strongroom.cli.output import Column, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.output import Row
    from strongroom.service.comparison import Cell, Grid, Line

app = single()

_PAGE = 200
_WORDS = {"missing": "missing", "unreadable": "cannot be read", "untold": "not told"}


@command(app, "diff")
def diff(
    context: typer.Context,
    *,
    between: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Deployments of the settings, joined by commas; the first counts."
        ),
    ],
    only: Annotated[str, typer.Option(metavar="WHICH", help="all, differing or missing.")] = "differing",
) -> None:
    """
    Show entries beside each other in several deployments.

    A is what the first one holds; the same letter in one line is the same content, and the fields named
    beside another letter are those that differ. Content is compared by fingerprints; none is shown.

    Example:
      $ strongroom diff --between prod,staging
      $ strongroom diff --between prod,staging --only missing
    """
    from strongroom.service.comparison import Comparison  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    names = [name.strip() for name in between.split(",") if name.strip()]
    if not names:
        raise InvalidInputError("--between must name deployments", hint="as prod,staging")
    with ExitStack() as opened:
        holders = []
        for name in names:
            session.deployment = name
            holders.append(opened.enter_context(session.room()).deployments.holder())
        comparison = Comparison()
        first = comparison.grid(holders, which=only, count=_PAGE, is_whole=True)
        columns = [
            Column("name", "NAME", styles={"": "bold"}),
            Column("kind", "KIND", 2),
            Column("team", "TEAM", 3),
            *(Column(name, name.upper()) for name in names),
        ]

        def pages() -> Iterator[list[Row]]:
            yield _rows(first)
            for begin in range(_PAGE, first.total, _PAGE):
                yield _rows(comparison.grid(holders, which=only, begin=begin, count=_PAGE, is_whole=True))

        show_rows(session, columns, pages(), nothing="nothing differs" if only == "differing" else "nothing")
    if session.output == "table":
        write("")
        write(", ".join(f"{word} {count}" for word, count in first.counts.items()))


def _rows(grid: Grid) -> list[Row]:
    return [_row(grid, line) for line in grid.lines]


def _row(grid: Grid, line: Line) -> dict[str, object]:
    cells = {name: _said(cell) for name, cell in zip(grid.columns, line.cells, strict=True)}
    return {"name": line.ref.name, "kind": line.ref.kind, "team": line.ref.team, **cells}


def _said(cell: Cell) -> str:
    fields = f" ({', '.join(cell.fields)})" if cell.fields else ""
    return f"{cell.letter}{fields}" if cell.letter else _WORDS.get(cell.state, cell.state)
