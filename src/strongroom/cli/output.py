"""
Answers as tables, JSON or YAML. Not for what goes to stderr (`terminal.py`).

Rules of this file:

1. JSON and YAML hold everything; a table holds what fits. On a narrow terminal the columns that
   matter least go first, then cells fold; nothing is cut.
2. In a pipe a table has no colour, no folding, and every column.
3. Lists are written page by page, as they come.
4. JSON, YAML and exports are UTF-8, whatever character set the terminal has.
5. YAML is written so that 1.1 and 1.2 read it alike (`no` is quoted).
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from textwrap import wrap
from typing import Any, Literal

from strongroom.cli.session import Session
from strongroom.cli.terminal import clean, note
from strongroom.model.yamlscalar import format_scalar

__all__ = [
    "Column",
    "format_yaml",
    "plain",
    "sentence",
    "show_record",
    "show_rows",
    "wrapped",
    "write",
    "write_utf8",
]

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
        is_number: its cells end at the right.
        show: what a table's cell says of a row, where that is not what the row holds under *key*.
    """

    key: str
    header: str
    rank: int = 0
    styles: Mapping[str, str] | None = None
    is_number: bool = False
    show: Callable[[Row], object] | None = None

    def cell(self, row: Row) -> str:
        """Give what a table says of *row*."""
        return _cell(row.get(self.key) if self.show is None else self.show(row))


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


def write_utf8(text: str) -> None:
    """Write *text* and the end of the line for programs, which expect UTF-8 (RFC 8259 §8.1)."""
    _speak_utf8()
    write(text)


def _speak_utf8() -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace")


def wrapped(text: str, *, indent: int) -> list[str]:
    """Give *text* in lines that fit the terminal beside *indent* cells; one line in a pipe."""
    if not sys.stdout.isatty():
        return [text]
    room = max(_columns() - indent, _LEAST)
    return wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def _columns() -> int:
    from shutil import get_terminal_size  # noqa: PLC0415 -- it comes with compressors that an agent would keep

    return get_terminal_size().columns


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
        write_utf8(_json(plain(value)))
    else:
        write_utf8(format_yaml(plain(value)).rstrip("\n"))


def _json(value: object) -> str:
    return _escaped(json.dumps(value, indent=2, ensure_ascii=False))


def _escaped(text: str) -> str:
    """Write out what moves or hides text on a terminal; inside quotes JSON and YAML spell it alike."""
    return _MOVING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


# --- many things ---------------------------------------------------------------------------------


def show_rows(
    session: Session, columns: Sequence[Column], pages: Iterable[Sequence[Row]], *, nothing: str | None = None
) -> int:
    """
    Show many things, a line each, and tell how many there were.

    Args:
        session: says how.
        columns: of a table; JSON and YAML hold the whole rows.
        pages: the rows, as they come; a page is held in memory at a time.
        nothing: what people are told beside a list that is empty.
    """
    if session.output != "table":
        _speak_utf8()
    show = {"table": _show_table, "json": _show_json, "yaml": _show_yaml}[session.output]
    count = show(session, columns, pages)
    if not count and nothing is not None:
        note(nothing, session)
    return count


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
    count, table = 0, None
    for page in pages:
        if not page:
            continue
        cells = [[column.cell(row) for column in columns] for row in page]
        # The first page decides which columns there are, so that later ones stand below them.
        table = table or _Table(session, columns, cells)
        table.print(cells, has_header=count == 0)
        count += len(page)
    return count


class _Table:
    """Columns that fit the terminal, printed a page at a time."""

    def __init__(self, session: Session, columns: Sequence[Column], cells: list[list[str]]) -> None:
        self._has_colour = session.has_colour(sys.stdout)
        self._room = _columns() if sys.stdout.isatty() else _UNLIMITED
        self._columns = columns
        self._widths = [_cells(column.header) for column in columns]
        self._widen(cells)
        has_text = [any(column) for column in zip(*cells, strict=True)]
        self._kept = [index for index, column in enumerate(columns) if has_text[index] or column.rank == 0]
        self._drop()

    def _widen(self, cells: list[list[str]]) -> None:
        for index, column in enumerate(zip(*cells, strict=True)):
            self._widths[index] = max(self._widths[index], *map(_cells, column))

    def _needed(self) -> int:
        return sum(self._widths[index] + _GAP for index in self._kept) - _GAP

    def _drop(self) -> None:
        """Take columns away until the rest fits, those of the highest rank first, from the right."""
        while self._needed() > self._room:
            spare = max(self._columns[index].rank for index in self._kept)
            if spare == 0:
                return
            last = max(index for index in self._kept if self._columns[index].rank == spare)
            self._kept.remove(last)

    def print(self, cells: list[list[str]], *, has_header: bool) -> None:
        self._widen(cells)
        if self._needed() > self._room:
            self._print_folded(cells, has_header=has_header)
            return
        if has_header:
            self._print_line([column.header for column in self._columns], ["bold"] * len(self._columns))
        for row in cells:
            self._print_line(row, [_style(*pair) for pair in zip(self._columns, row, strict=True)])

    def _print_line(self, row: Sequence[str], styles: Sequence[str]) -> None:
        line, gap = "", 0
        for index in self._kept:
            blanks = self._widths[index] - _cells(row[index])
            before = blanks if self._columns[index].is_number else 0
            # Blanks are written only before something, so that no line ends in them.
            if row[index]:
                line += " " * (gap + before) + self._styled(row[index], styles[index])
                gap = blanks - before + _GAP
            else:
                gap += blanks + _GAP
        write(line)

    def _styled(self, text: str, style: str) -> str:
        if not self._has_colour or not style:
            return text
        codes = ";".join(_CODES[word] for word in style.split(" "))
        return f"\x1b[{codes}m{text}\x1b[0m"

    def _print_folded(self, cells: list[list[str]], *, has_header: bool) -> None:
        """Let rich share the room between columns that are too wide for it, and fold their cells."""
        from rich.console import Console  # noqa: PLC0415 -- most tables fit
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=has_header)
        for index in self._kept:
            column = self._columns[index]
            header = Text(column.header, "bold" if self._has_colour else "")
            justify: Literal["right", "left"] = "right" if column.is_number else "left"
            table.add_column(header, overflow="fold", justify=justify)
        for row in cells:
            styles = [_style(self._columns[index], row[index]) for index in self._kept]
            texts = [row[index] for index in self._kept]
            table.add_row(*(Text(text, style) for text, style in zip(texts, styles, strict=True)))
        console = Console(
            width=self._room,
            force_terminal=self._has_colour,
            color_system="standard" if self._has_colour else None,
        )
        with console.capture() as captured:
            console.print(table)
        for line in captured.get().splitlines():
            write(line.rstrip())


_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def _style(column: Column, cell: str) -> str:
    styles = column.styles or {}
    return styles.get(cell, styles.get("", ""))


def _cells(text: str) -> int:
    """Give how many cells of a terminal *text* takes: wide letters two, combining marks none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in ("W", "F") for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


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
