"""
Turn any of Airflow's forms into any other, with proof: what was written is read again and compared.

Pure: no files, no room. Names are carried as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.document import (
    format_connections,
    format_variables,
    parse_connections,
    parse_variables,
)
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.connection import Dialect
    from strongroom.model.document import Form, Serialization

__all__ = ["Converted", "convert_connections", "convert_variables", "written_as_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """
    A file in another form, every entry of which was read again and found equal.

    Args:
        text: with all its secrets.
        count: how many entries.
        as_json: names that a `.env` holds as JSON because a URI would lose something of them;
            Airflow's own `connections import` cannot read those back.
    """

    text: Secret[str] = field(repr=False)
    count: int
    as_json: tuple[str, ...] = ()


def convert_connections(
    text: str,
    source: Form,
    target: Form,
    *,
    serialization: Serialization = "uri",
    dialect: Dialect = "core",
    target_dialect: Dialect | None = None,
) -> Converted:
    """
    Write the connections of *text* in the form *target*.

    Args:
        text: of the file.
        source: its form.
        target: the form wanted.
        serialization: how a `.env` spells them.
        dialect: how *text* is read.
        target_dialect: how what was written is read again; *dialect* if unsaid.

    Raises:
        InvalidInputError: *text* is refused, *target* cannot hold it, or (F13) something would come
            back changed; the message names the entries.
    """
    items = parse_connections(text, source, dialect)
    written = format_connections(items, target, serialization)
    _prove(items, parse_connections(written, target, target_dialect or dialect))
    as_json = written_as_json(written) if target == "env" else ()
    return Converted(text=Secret(written), count=len(items), as_json=as_json)


def convert_variables(text: str, source: Form, target: Form, *, descriptions: bool = True) -> Converted:
    """
    Write the variables of *text* in the form *target*.

    Args:
        text: of the file.
        source: its form.
        target: the form wanted.
        descriptions: False leaves them out.

    Raises:
        InvalidInputError: as `convert_connections`.
    """
    items = parse_variables(text, source)
    written = format_variables(items, target, descriptions=descriptions)
    back = parse_variables(written, target)
    if descriptions:
        _prove(items, back)
    else:
        _prove({name: item.value for name, item in items.items()}, {n: v.value for n, v in back.items()})
    return Converted(text=Secret(written), count=len(items))


def written_as_json(text: str) -> tuple[str, ...]:
    """Give the names that *text*, a `.env` as `format_connections` writes it, holds as JSON."""
    pairs = (line.partition("=") for line in text.splitlines())
    return tuple(name for name, _, value in pairs if value.startswith("{"))


def _prove(items: Mapping[str, object], back: Mapping[str, object]) -> None:
    changed = sorted(name for name in {*items, *back} if items.get(name) != back.get(name))
    if not changed:
        return
    raise InvalidInputError(
        f"{len(changed)} entries would come back changed, the first is {changed[0]!r}",
        rule="F13",
        hint="choose json or yaml, which lose nothing",
    )
