"""A connection laid beside its type: which field each of its values is meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog.field import STANDARD
from strongroom.model import extra

if TYPE_CHECKING:
    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType
    from strongroom.model.connection import Connection

__all__ = ["LEAST_PASSWORD", "Sheet", "is_said"]

LEAST_PASSWORD = 8  # characters: a shorter one may stand elsewhere by chance


class Sheet:
    """
    What the rules look at. Hold it briefly: its values are plaintext.

    Args:
        connection: what is looked at.
        kind: None where nobody knows the type.
        has_references: `${…}` in a value stands for another one, which is not known here.
        extends: fields that are missing may come from another connection.

    Attributes:
        standard: the standard fields that say something.
        extra: the keys of extra that say something, as they are spelled.
        read: by key of extra, the field it is read as; None where the type does not read it.
        fields: path, field and value of everything that says something and that the type reads.
        texts: path, field (None where it is not known) and text of everything that is text.
    """

    __slots__ = (
        "conn_type", "description", "extends", "extra", "fields", "has_references", "kind", "read",
        "standard", "texts",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        kind: ConnectionType | None,
        *,
        has_references: bool = False,
        extends: bool = False,
    ) -> None:
        plain = connection.to_dict(reveal=True)
        self.kind = kind
        self.conn_type = connection.conn_type
        self.description = connection.description
        self.has_references = has_references
        self.extends = extends
        self.standard = {name: plain[name] for name in STANDARD if is_said(plain[name])}
        self.extra = {key: value for key, value in (plain["extra"] or {}).items() if is_said(value)}
        self.read = {key: self._field_of(key) for key in self.extra}
        of_standard = {} if kind is None else {field.name: field for field in kind.standard}
        every: list[tuple[str, Field | None, object]] = [
            *((name, of_standard.get(name), value) for name, value in self.standard.items()),
            *((self.path_of(key), self.read[key], value) for key, value in self.extra.items()),
        ]
        self.fields = [(path, field, value) for path, field, value in every if field is not None]
        self.texts = [
            (path, field, value)
            for path, field, value in every
            if isinstance(value, str) and self.is_known(value)
        ]

    def _field_of(self, key: str) -> Field | None:
        found = None if self.kind is None else self.kind.extra_field(key)
        return None if found is None or self.spelling(key) in found.lookalikes else found

    def spelling(self, key: str) -> str:
        """Give *key* without the beginning that Airflow's forms put before it until 2.3."""
        return key if self.kind is None else key.removeprefix(f"extra__{self.kind.legacy}__")

    def path_of(self, key: str) -> str:
        """Give how a key of extra is called; one that may be a secret is not named."""
        password = self.standard.get("password")
        if isinstance(password, str) and len(password) >= LEAST_PASSWORD and password in key:
            return "extra.?"
        return extra.path_of("extra", key)

    def is_known(self, value: object) -> bool:
        """Tell whether *value* is what a reader gets, and not put together first."""
        return not (self.has_references and isinstance(value, str) and "${" in value)


def is_said(value: object) -> bool:
    """Tell whether *value* says anything: forms save an empty text where nothing was typed."""
    return value is not None and not (isinstance(value, (str, list, tuple, dict)) and not value)
