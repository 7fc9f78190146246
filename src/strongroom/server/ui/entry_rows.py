"""
The lines of an entry's form to read: what the catalog calls each field, and what may be shown of it.

Rules of this file:

1. What is sealed has no text here: a line says that something stands there, and by which name it is revealed.
2. Fields come in the catalog's order; what a type does not know comes last, under its own name.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom import catalog
from strongroom.catalog.field import STANDARD
from strongroom.service.showing import HIDDEN, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType
    from strongroom.model.ref import Ref
    from strongroom.service.entries import Described

__all__ = ["VALUE", "Line", "lines_of", "slot_of", "title_of"]

VALUE = "value"
"""The part of an entry that is all of it, as it is stored."""


class Line(NamedTuple):
    """
    One field.

    Args:
        label: what people call it.
        part: its path: `host`, or `extra.sslmode`.
        text: what stands there; None where that is sealed.
        is_known: the type has such a field.
    """

    label: str
    part: str
    text: str | None
    is_known: bool = True

    @property
    def slot(self) -> str:
        """The id of its seal in a page."""
        return slot_of(self.part)


def slot_of(part: str) -> str:
    """Give the id of the seal of *part*: a path may hold what an id must not."""
    return f"seal-{hashlib.sha256(part.encode()).hexdigest()[:10]}"


def title_of(ref: Ref, conn_type: str | None) -> str:
    """Give what people call the type of an entry; "" where it has none."""
    if ref.kind == "variable" or not conn_type:
        return ""
    found = catalog.find(conn_type)
    return conn_type if found is None else found.title


def lines_of(found: Described) -> tuple[list[Line], list[Line]]:
    """Give the lines of an entry, and those of what its references say beside."""
    if found.ref.kind == "variable" or found.connection is None:
        return [Line("", VALUE, None)], []
    kind = catalog.find(found.connection.conn_type or "")
    seen = {name: value for name, value in shown(found.connection).items() if value is not None}
    lines = [*_standard(kind, seen), *_extras(kind, seen.get("extra"))]
    return lines, [Line(name, name, _text(value)) for name, value in found.overlay.items()]


def _standard(kind: ConnectionType | None, seen: Mapping[str, Any]) -> Iterator[Line]:
    used = [field.name for field in kind.standard] if kind else list(STANDARD)
    for name in (*used, *(one for one in STANDARD if one not in used)):
        if name in seen:
            field = kind.standard_field(name) if kind else None
            yield _line(
                name, field.label if field else name, seen[name], is_known=kind is None or name in used
            )


def _extras(kind: ConnectionType | None, extra: object) -> Iterator[Line]:
    if not isinstance(extra, dict):
        if extra is not None:
            yield _line("extra", "extra", extra)
        return
    order = {field.name: index for index, field in enumerate(kind.extras)} if kind else {}
    fields = {key: kind.extra_field(key) if kind else None for key in extra}

    def place(key: str) -> tuple[int, str]:
        field = fields[key]
        return (len(order), key) if field is None else (order[field.name], key)

    for key in sorted(extra, key=place):
        field: Field | None = fields[key]
        yield _line(f"extra.{key}", key, extra[key], is_known=kind is None or field is not None)


def _line(part: str, label: str, value: object, *, is_known: bool = True) -> Line:
    text = _text(value)
    return Line(label, part, None if HIDDEN in text else text, is_known)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
