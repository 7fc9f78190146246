"""
Run every benchmark, print one table with ratios, write bench/results.md.

A benchmark is a module `bench/bench_<noun>.py` with a `TITLE` and `measure()`, which gives rows:
path, ours, peer (figures in `unit`), ratio (ours to peer), target (text) and note.
`python -m bench read store` runs some of them and writes nothing.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
COLUMNS = ("path", "ours", "peer", "unit", "ratio", "target", "note")


def main(wanted: list[str]) -> None:
    console = Console()
    sections = []
    for name in _modules():
        if wanted and name not in wanted:
            continue
        module = importlib.import_module(f"bench.bench_{name}")
        console.print(f"[dim]measuring: {module.TITLE}[/dim]")
        rows = module.measure()
        console.print(_table(module.TITLE, rows))
        for note in dict.fromkeys(_text(row.get("note")) for row in rows):
            if note:
                console.print(note, style="dim", markup=False, highlight=False)
        sections.append((module.TITLE, rows))
    if not wanted:
        (HERE / "results.md").write_text(_document(sections), encoding="utf-8")
        console.print("written: bench/results.md")


def _modules() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules([str(HERE)]))
    return sorted(name.removeprefix("bench_") for name in found if name.startswith("bench_"))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def _table(title: str, rows: list[dict[str, object]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in COLUMNS[:-1]:
        table.add_column(column, justify="right" if column in ("ours", "peer", "ratio") else "left")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in COLUMNS[:-1]))
    return table


def _document(sections: list[tuple[str, list[dict[str, object]]]]) -> str:
    machine = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    day = datetime.now(timezone.utc).date().isoformat()
    lines = [
        "# Measured beside the peers",
        "",
        f"Written by `make bench` on {day}: {machine}, load average {os.getloadavg()[0]:.1f} at the end.",
        "Ours and the peer ran in interleaved rounds of one run; compare ratios, not absolute figures.",
    ]
    for title, rows in sections:
        lines += ["", f"## {title}", "", "| " + " | ".join(COLUMNS) + " |", "|---|--:|--:|---|--:|---|---|"]
        lines += ["| " + " | ".join(_text(row.get(column)) for column in COLUMNS) + " |" for row in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main(sys.argv[1:])
