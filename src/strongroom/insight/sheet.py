"""A connection laid beside its type: which field each of its values is meant for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.catalog.field import STANDARD
from strongroom.catalog.kind import ConnectionType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.catalog.field import Field
    from strongroom.model.connection import Connection

__all__ = ["Sheet", "is_said", "sheet_of"]

_WORD = re.compile(r"[A-Za-z0-9_.:\-]{1,60}")
_UNSAID: tuple[object, ...] = (None, "", (), [], {})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sheet:
    """
    What the rules look at. Hold it briefly: its values are plaintext.

    Args:
        kind: None where nobody knows the type.
        standard: the standard fields that say something.
        extra: the keys of extra that say something, as they are spelled.
        description: public, like a name.
        has_references: `${…}` in a value stands for another one, which is not known here.
        extends: fields that are missing may come from another connection.
    """

    kind: ConnectionType | None
    conn_type: str | None
    standard: dict[str, object] = field(repr=False)
    extra: dict[str, object] = field(repr=False)
    description: str | None = field(default=None, repr=False)
    has_references: bool = False
    extends: bool = False

    def field_of(self, key: str) -> Field | None:
        """Give the field that *key* of extra is read as; None where the type does not read it."""
        found = None if self.kind is None else self.kind.extra_field(key)
        return None if found is None or self.spelling(key) in found.lookalikes else found

    def spelling(self, key: str) -> str:
        """Give *key* without the beginning that Airflow's forms put before it until 2.3."""
        return key if self.kind is None else key.removeprefix(f"extra__{self.kind.legacy}__")

    def fields(self) -> Iterator[tuple[str, Field, object]]:
        """Give path, field and value of everything that says something and that the type reads."""
        if self.kind is None:
            return
        for one in self.kind.standard:
            if one.name in self.standard:
                yield one.name, one, self.standard[one.name]
        for key, value in self.extra.items():
            found = self.field_of(key)
            if found is not None:
                yield path_of(key), found, value

    def texts(self) -> Iterator[tuple[str, Field | None, str]]:
        """Give path, field (None where it is not known) and text of everything that is text."""
        for name, value in self.standard.items():
            if isinstance(value, str) and self.is_known(value):
                yield name, None if self.kind is None else self.kind.standard_field(name), value
        for key, value in self.extra.items():
            if isinstance(value, str) and self.is_known(value):
                yield path_of(key), self.field_of(key), value

    def is_known(self, value: object) -> bool:
        """Tell whether *value* is what a reader gets, and not put together first."""
        return not (self.has_references and isinstance(value, str) and "${" in value)


def sheet_of(
    connection: Connection,
    kind: ConnectionType | None,
    *,
    has_references: bool = False,
    extends: bool = False,
) -> Sheet:
    """Lay *connection* beside *kind*."""
    plain = connection.to_dict(reveal=True)
    extra = plain["extra"] or {}
    return Sheet(
        kind=kind,
        conn_type=connection.conn_type,
        standard={name: plain[name] for name in STANDARD if is_said(plain[name])},
        extra={key: value for key, value in extra.items() if is_said(value)},
        description=connection.description,
        has_references=has_references,
        extends=extends,
    )


def is_said(value: object) -> bool:
    """Tell whether *value* says anything: forms save an empty text where nothing was typed."""
    return not any(value is one or (type(value) is type(one) and value == one) for one in _UNSAID)


def path_of(key: str) -> str:
    """Give how a key of extra is called; one that is no plain word may hold anything, and is not named."""
    return f"extra.{key}" if _WORD.fullmatch(key) else "extra.?"
