"""
Answers as tables, JSON or YAML. Not for what goes to stderr (`terminal.py`).

Rules of this file:

1. JSON and YAML hold everything; a table holds what fits. On a narrow terminal the columns that
   matter least go first, then cells fold; nothing is cut.
2. In a pipe a table has no colour, no folding, and every column.
3. Lists are written page by page, as they come.
4. YAML is written so that 1.1 and 1.2 read it alike (`no` is quoted).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from strongroom.cli.session import Session
from strongroom.cli.terminal import clean
from strongroom.model.yamlscalar import format_scalar

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Column", "format_yaml", "plain", "sentence", "show_record", "show_rows", "wrapped", "write"]

Row = Mapping[str, object]

_GAP = 2  # cells between two columns
_UNLIMITED = 100_000  # cells: a pipe has no width
_LEAST = 24  # cells that prose keeps, however narrow the terminal
_MOVING = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column of a table.

    Args:
        key: of the row; the rest of the row shows only in JSON and YAML.
        header: what stands above it.
        rank: columns of the highest rank leave first where the terminal is narrow; 0 never leaves.
        styles: how a cell that reads so is coloured; `""` is for all others.
    """

    key: str
    header: str
    rank: int = 0
    styles: Mapping[str, str] | None = None
    is_number: bool = False


def plain(value: object) -> Any:  # noqa: ANN401 -- plain JSON types
    """Give *value* in plain JSON types: times as ISO 8601 in UTC, tuples as lists."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def write(text: str) -> None:
    """Write *text* as it is, and the end of the line."""
    sys.stdout.write(text + "\n")


def wrapped(text: str, *, indent: int) -> list[str]:
    """Give *text* in lines that fit the terminal beside *indent* cells; one line in a pipe."""
    if not sys.stdout.isatty():
        return [text]
    room = max(get_terminal_size().columns - indent, _LEAST)
    return wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def sentence(session: Session, text: str, facts: Row) -> None:
    """Answer in one line, or with *facts* in JSON or YAML."""
    if session.output == "table":
        write(clean(text))
    else:
        _write_whole(session, facts)


# --- one thing -----------------------------------------------------------------------------------


def show_record(session: Session, record: Row, *, labels: Mapping[str, str]) -> None:
    """
    Show one thing, a line a field.

    Args:
        session: says how.
        record: what JSON and YAML hold.
        labels: which fields a table shows, in order, and how it calls them; empty fields are left out.
    """
    if session.output != "table":
        _write_whole(session, record)
        return
    shown = [(label, _cell(record.get(key))) for key, label in labels.items()]
    shown = [(label, text) for label, text in shown if text]
    width = max((len(label) for label, _ in shown), default=0)
    bold = session.has_colour(sys.stdout)
    for label, text in shown:
        head = f"{label:<{width}}"
        head = f"\x1b[2m{head}\x1b[0m" if bold else head
        first, *rest = text.split("\n")
        write(f"{head}{' ' * _GAP}{first}")
        for line in rest:
            write(f"{' ' * (width + _GAP)}{line}")


def _write_whole(session: Session, value: object) -> None:
    if session.output == "json":
        write(_json(plain(value)))
    else:
        write(format_yaml(plain(value)).rstrip("\n"))


def _json(value: object) -> str:
    return _escaped(json.dumps(value, indent=2, ensure_ascii=False))


def _escaped(text: str) -> str:
    """Write out what moves or hides text on a terminal; inside quotes JSON and YAML spell it alike."""
    return _MOVING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


# --- many things ---------------------------------------------------------------------------------


def show_rows(session: Session, columns: Sequence[Column], pages: Iterable[Sequence[Row]]) -> int:
    """
    Show many things, a line each, and tell how many there were.

    Args:
        session: says how.
        columns: of a table; JSON and YAML hold the whole rows.
        pages: the rows, as they come; a page is held in memory at a time.
    """
    show = {"table": _show_table, "json": _show_json, "yaml": _show_yaml}[session.output]
    return show(session, columns, pages)


def _show_json(_session: Session, _columns: Sequence[Column], pages: Iterable[Sequence[Row]]) -> int:
    count = 0
    for row in _flat(pages):
        sys.stdout.write(",\n" if count else "[\n")
        sys.stdout.write("\n".join(f"  {line}" for line in _json(plain(row)).split("\n")))
        count += 1
    write("\n]" if count else "[]")
    return count


def _show_yaml(_session: Session, _columns: Sequence[Column], pages: Iterable[Sequence[Row]]) -> int:
    count = 0
    for row in _flat(pages):
        sys.stdout.write(format_yaml([plain(row)]))
        count += 1
    if not count:
        write("[]")
    return count


def _flat(pages: Iterable[Sequence[Row]]) -> Iterator[Row]:
    for page in pages:
        yield from page


def _show_table(session: Session, columns: Sequence[Column], pages: Iterable[Sequence[Row]]) -> int:
    count, widths = 0, [0] * len(columns)
    for page in pages:
        if not page:
            continue
        cells = [[_cell(row.get(column.key)) for column in columns] for row in page]
        # Later pages keep at least the widths of the first, so that they stand below one another.
        widths = [
            max(width, *map(len, column))
            for width, column in zip(widths, zip(*cells, strict=True), strict=True)
        ]
        _print_page(session, columns, cells, widths, has_header=count == 0)
        count += len(page)
    return count


def _print_page(
    session: Session,
    columns: Sequence[Column],
    cells: list[list[str]],
    widths: list[int],
    *,
    has_header: bool,
) -> None:
    from rich.table import Table  # noqa: PLC0415 -- JSON and YAML do without
    from rich.text import Text  # noqa: PLC0415

    console = _console(session)
    kept = _fitting(columns, widths, console.width)
    is_tight = _needed(columns, widths, kept) > console.width
    table = Table(
        box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=has_header, header_style="bold"
    )
    for index in kept:
        column = columns[index]
        table.add_column(
            column.header,
            min_width=None if is_tight else widths[index],
            overflow="fold",
            no_wrap=console.width == _UNLIMITED,
            justify="right" if column.is_number else "left",
        )
    for row in cells:
        table.add_row(*(Text(row[index], style=_style(columns[index], row[index])) for index in kept))
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        write(line.rstrip())


def _style(column: Column, cell: str) -> str:
    styles = column.styles or {}
    return styles.get(cell, styles.get("", ""))


def _fitting(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Give the places of the columns that fit into *room* cells, those of the lowest rank first."""
    kept = [index for index, width in enumerate(widths) if width or columns[index].rank == 0]
    while _needed(columns, widths, kept) > room:
        spare = max(columns[index].rank for index in kept)
        if spare == 0:
            break
        kept.remove(next(index for index in reversed(kept) if columns[index].rank == spare))
    return kept


def _needed(columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(max(widths[index], len(columns[index].header)) + _GAP for index in kept) - _GAP


def _console(session: Session) -> Console:
    from rich.console import Console  # noqa: PLC0415

    is_terminal = sys.stdout.isatty()
    has_colour = session.has_colour(sys.stdout)
    return Console(
        file=sys.stdout,
        width=None if is_terminal else _UNLIMITED,
        force_terminal=is_terminal,
        no_color=not has_colour,
        color_system="standard" if has_colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        _environ=dict(session.environ),
    )


def _cell(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M}Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(clean(str(item)) for item in value)
    if isinstance(value, Mapping):
        return "\n".join(clean(f"{key}: {item}") for key, item in value.items())
    return clean(str(value))


# --- YAML ----------------------------------------------------------------------------------------


def format_yaml(value: object, indent: int = 0) -> str:
    """Write plain JSON types as a YAML document that 1.1 and 1.2 read alike, with a line end."""
    pad = "  " * indent
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{_scalar(str(key))}:{_below(item, indent)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_after_dash(item, indent)}" for item in value)
    return f"{pad}{_scalar(value)}\n"


def _below(value: object, indent: int) -> str:
    if isinstance(value, (Mapping, list)) and value:
        return "\n" + format_yaml(value, indent + 1)
    return f" {_scalar(value)}\n"


def _after_dash(value: object, indent: int) -> str:
    # The first line of an item stands after its dash, where its indent would be.
    return " " + format_yaml(value, indent + 1).lstrip(" ")


def _scalar(value: object) -> str:
    if isinstance(value, (Mapping, list)):
        return "{}" if isinstance(value, Mapping) else "[]"
    if isinstance(value, float):
        # YAML 1.1 takes 1e-05 for text: a number has a point.
        whole, exponent, power = repr(value).partition("e")
        return whole + ("" if "." in whole else ".0") + exponent + power
    return json.dumps(value) if isinstance(value, bool) else _escaped(format_scalar(value))
