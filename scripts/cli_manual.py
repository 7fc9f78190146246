"""
Write docs/cli.md anew: its own beginning stays, the help of every command follows.

    python scripts/cli_manual.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from strongroom.cli.app import tree
from strongroom.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.core import TyperGroup

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
MARK = "<!-- Below this line the page is written by scripts/cli_manual.py. -->\n"


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give the words of every command and the command, nouns before their verbs."""
    root = tree()
    with root.make_context("strongroom", [], obj=Session(environ={}), resilient_parsing=True) as context:
        yield from _below(root, context, ())


def _below(group: TyperGroup, context: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 -- typer's own
    for name in group.list_commands(context):
        found: Any = group.get_command(context, name)
        yield (*path, name), found
        if hasattr(found, "list_commands"):
            yield from _below(found, typer.Context(found, parent=context, info_name=name), (*path, name))


def manual(page: str) -> str:
    """Give *page* with everything below the mark written anew."""
    beginning, mark, _ = page.partition(MARK)
    return beginning + mark + "".join(_section(path, found) for path, found in commands())


def _section(path: tuple[str, ...], found: Any) -> str:  # noqa: ANN401 -- typer's own
    context = typer.Context(found, info_name=" ".join(("strongroom", *path)), terminal_width=80)
    text, _, _ = found.get_help(context).partition("\nEverywhere:\n")
    mark = "##" if len(path) == 1 else "###"
    return f"\n{mark} {' '.join(path)}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(manual(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
