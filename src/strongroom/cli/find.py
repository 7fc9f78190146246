"""`strongroom find`: what there is, by words and facets, of every team and kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.entry import facts_of_row, note_nothing, public_text
from strongroom.cli.output import Column, show_rows
from strongroom.cli.session import Session

if TYPE_CHECKING:
    from strongroom.service.registered import Found, Shown

app = single()

_MOST = 500  # lines of one question
_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("kind", "KIND", 2),
    Column("conn_type", "TYPE", 1),
    Column("team", "TEAM", 1),
    Column("backend", "BACKEND"),
    Column("owner", "OWNER", 2),
    Column("version", "VERSION", 2, is_number=True),
    Column("health", "HEALTH"),
    Column("shadowed_by", "SHADOWED BY", 1, styles={"": "yellow"}),
    Column("tags", "TAGS", 3),
)


def _several(name: str, metavar: str, text: str) -> Any:  # noqa: ANN401 -- typer's own
    return typer.Option(name, metavar=metavar, callback=public_text, help=f"{text}; repeatable.")


@command(app, "find")
def find(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", callback=public_text, help="Each stands somewhere in the line."),
    ] = None,
    *,
    health: Annotated[
        list[str] | None, _several("--health", "HEALTH", "Only lines of this health, as unreadable")
    ] = None,
    source: Annotated[list[str] | None, _several("--source", "BACKEND", "Only what this one holds")] = None,
    kind: Annotated[list[str] | None, _several("--kind", "KIND", "connection or variable")] = None,
    of: Annotated[list[str] | None, _several("--of", "TEAM", "Only this team's; '' for no team's")] = None,
    conn_type: Annotated[list[str] | None, _several("--type", "TYPE", "Only this type")] = None,
    tag: Annotated[list[str] | None, _several("--tag", "TAG", "Only what has this tag")] = None,
    owner: Annotated[list[str] | None, _several("--owner", "WHO", "Only his; '' for nobody's")] = None,
    sort: Annotated[str, typer.Option(metavar="COLUMN", help="By which, as name, age or health.")] = "name",
    down: Annotated[bool, typer.Option("--down", help="The greatest first.")] = False,
    begin: Annotated[int, typer.Option("--begin", metavar="N", min=0, help="Leave out so many lines.")] = 0,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many lines.")] = 50,
) -> None:
    """
    Find names by words and facets, of every team, never a value.

    A word stands anywhere in a name, owner, type, tag or description, whatever its case; #pci finds tags that
    begin so. What another entry hides is a line of its own. A health is unreadable, failed (its last test),
    clash (two names one store cannot keep apart), soon (it ends within 30 days), shadowed, never (rotated,
    for 90 days), unknown or healthy.

    Example:
      $ strongroom find orders
      $ strongroom find '#pci' --health unreadable --health soon
      $ strongroom find --owner '' --sort age --down --output json
    """
    from strongroom.service.registered import Asked  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    said = {"health": health, "source": source, "kind": kind, "team": of, "type": conn_type, "tag": tag}
    chosen = {name: tuple(values) for name, values in {**said, "owner": owner}.items() if values}
    asked = {"text": " ".join(words or ()), "chosen": chosen, "sort": sort, "is_down": down}
    with session.room() as room:
        found = room.register.find(Asked(**asked, begin=begin, count=min(limit, _MOST)), patience=None)  # type: ignore[arg-type]  # as named
        _show(session, found, is_narrowed=bool(words or chosen))


def _show(session: Session, found: Found, *, is_narrowed: bool) -> None:
    count = show_rows(session, _COLUMNS, [[_row(one) for one in found.lines]])
    for silence in found.silences:
        terminal.warn(
            f"{silence.backend} has not answered since {silence.since:%Y-%m-%d %H:%M}Z: {silence.error}",
            session,
        )
    for name in found.not_listable:
        terminal.note(f"the backend {name} cannot tell what it holds", session)
    if not count:
        note_nothing(session, "is nothing", is_narrowed=is_narrowed)
    else:
        terminal.note(f"{count:,} of {found.total:,} lines, of {found.all:,} in all", session)


def _row(shown: Shown) -> dict[str, object]:
    line = shown.line
    told = {"health": line.health, "clash": line.clash, "place": line.rank, "read_at": shown.read_at}
    return {**facts_of_row(line.row), **told}
