"""
Run every benchmark, print one table with ratios, write bench/results.md.

A benchmark is a module `bench/bench_<noun>.py` with a `TITLE` and `measure()`, which gives rows:
path, ours, peer (figures in `unit`), ratio (ours to peer), target (text) and note.
`python -m bench read store` runs some of them and writes their sections anew, under a line that says when.
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
    sections: list[tuple[str, list[dict[str, object]]]] = []
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
    results = HERE / "results.md"
    if wanted:
        results.write_text(_renewed(results.read_text(encoding="utf-8"), sections), encoding="utf-8")
    else:
        results.write_text(_document(sections), encoding="utf-8")
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


def _when() -> str:
    day = datetime.now(timezone.utc).date().isoformat()
    machine = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    return f"on {day}: {machine}, load average {os.getloadavg()[0]:.1f} at the end."


def _document(sections: list[tuple[str, list[dict[str, object]]]]) -> str:
    lines = [
        "# Measured beside the peers",
        "",
        f"Written by `make bench` {_when()}",
        "Ours and the peer ran in interleaved rounds of one run; compare ratios, not absolute figures.",
    ]
    return (
        "\n".join([*lines, "", *(f"{_section(title, rows)}\n" for title, rows in sections)]).rstrip() + "\n"
    )


def _section(title: str, rows: list[dict[str, object]], when: str | None = None) -> str:
    lines = [f"## {title}", ""]
    lines += [] if when is None else [f"Measured by itself {when}", ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---|--:|--:|---|--:|---|---|"]
    lines += ["| " + " | ".join(_text(row.get(column)) for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _renewed(document: str, sections: list[tuple[str, list[dict[str, object]]]]) -> str:
    head, *old = document.split("\n## ")
    kept = {text.partition("\n")[0]: f"## {text.rstrip()}\n" for text in old}
    kept |= {title: _section(title, rows, _when()) for title, rows in sections}
    return "\n".join([f"{head.rstrip()}\n", *kept.values()])


if __name__ == "__main__":
    main(sys.argv[1:])
