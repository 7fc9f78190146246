"""Write the two tables of docs/live.md: which library makes what, and what may go wrong."""

from __future__ import annotations

import re
from pathlib import Path

from strongroom.live.families import DRIVERS
from strongroom.live.trouble import TABLE

PAGE = Path(__file__).parent.parent / "docs/live.md"


def drivers() -> list[str]:
    """Give the rows of the libraries."""
    return [
        f"| `{one.name}` | {', '.join(f'`{each}`' for each in one.types)} | {one.gives} |"
        f" {f'`{one.extra}`' if one.extra else 'none needed'} |"
        for one in DRIVERS
    ]


def troubles() -> list[str]:
    """Give the rows of what may go wrong."""
    return [
        f"| {step} | `{reason}` | {words.message}: {words.advice} | `{words.kind.__name__}` |"
        for (step, reason), words in TABLE.items()
    ]


def page(text: str) -> str:
    """Give the page *text* with its tables as they are now."""
    for head, rows in (("| `driver` | types |", drivers()), ("| step | reason |", troubles())):
        pattern = re.compile(rf"({re.escape(head)}.*\n\|[-|]+\n)(?:(?:\||\{{).*\n)*")
        text = pattern.sub(lambda found, rows=rows: found[1] + "\n".join(rows) + "\n", text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
