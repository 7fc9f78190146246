"""
Write docs/connection-types.md anew: its own beginning stays, every type of the catalog follows.

    python scripts/type_manual.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.catalog import FAMILIES, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType, Group

PAGE = Path(__file__).parent.parent / "docs" / "connection-types.md"
MARK = "<!-- Below this line the page is written by scripts/type_manual.py. -->\n"


def manual(page: str) -> str:
    """Give *page* with everything below the mark written anew."""
    beginning, mark, _ = page.partition(MARK)
    return beginning + mark + "".join(_family(family) for family in FAMILIES)


def _family(family: str) -> str:
    types = [kind for kind in map(find, FAMILIES[family]) if kind is not None]
    return f"\n## {family}\n" + "".join("\n".join(("", *_lines(kind))) + "\n" for kind in types)


def _lines(kind: ConnectionType) -> Iterator[str]:
    yield f"### {kind.name}"
    yield ""
    yield f"[{kind.title}]({kind.docs}); connection id by itself `{kind.default_id}`."
    yield ""
    yield "| field | label | type | default | about |"
    yield "|---|---|---|---|---|"
    yield from (_row(field, field.name) for field in kind.standard)
    yield from (_row(field, f"extra.{field.name}") for field in kind.extras)
    for group in kind.groups:
        yield ""
        yield _group(group)
    if kind.others:
        yield ""
        yield f"Other keys of extra become {kind.others}."


def _row(field: Field, path: str) -> str:
    marks = [field.type, *("secret",) * field.is_secret, *("required",) * field.is_required]
    marks += ("deprecated",) * field.is_deprecated
    told = [field.help, "One of " + ", ".join(map(_code, field.choices)) + "." if field.choices else ""]
    told += ["Also read: " + ", ".join(map(_code, field.aliases)) + "." if field.aliases else ""]
    told += ["Not read here: " + ", ".join(map(_code, field.lookalikes)) + "." if field.lookalikes else ""]
    if field.danger:
        told.append(f"Lint warns of {' and '.join(map(_code, field.dangerous))}: {field.danger}.")
    default = "" if field.default is None else _code(str(field.default))
    cells = (_code(path), field.label, ", ".join(marks), default, " ".join(one for one in told if one))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text}`"


def _group(group: Group) -> str:
    if group.kind == "together":
        return f"{group.title}, together: {', '.join(map(_code, group.ways[0].fields))}."
    ways = (
        f"{way.title} ({', '.join(map(_code, way.fields))})" if way.fields else way.title
        for way in group.ways
    )
    return f"{group.title}, one of: {'; '.join(ways)}."


if __name__ == "__main__":
    PAGE.write_text(manual(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
