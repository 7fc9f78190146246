"""A variable: a key, a text, and the item that Airflow's variables file holds for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from strongroom.errors import InvalidInputError
from strongroom.model.entry import check_value
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret

__all__ = ["Variable"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variable:
    """
    Hold one variable; its value does not print.

    Args:
        key: as asked for; `model.ref` checks names.
        value: text, at most 1 MiB of UTF-8; the empty text is a value.

    Raises:
        InvalidInputError: the value is not text (R18), not Unicode (R3) or over the limit (R2).

    Threads: immutable.
    """

    key: str
    value: Secret[str]
    description: str | None = None

    def __post_init__(self) -> None:
        value: object = self.value
        text: object = value.reveal() if isinstance(value, Secret) else None
        if not isinstance(text, str):
            raise InvalidInputError("the value of a variable is not a Secret of text", rule="R18")
        check_value(text, "the value of a variable")
        description: object = self.description
        if description is not None and not isinstance(description, str):
            raise InvalidInputError("the description of a variable is not text", rule="R18")

    def json(self) -> object:
        """
        Give what the value says as JSON.

        Raises:
            InvalidInputError: it is not JSON, or is refused by R14 to R16; never with any of the text.
        """
        return decode(self.value.reveal(), what="the variable's value")

    @classmethod
    def from_document(cls, key: str, item: object) -> Variable:
        """
        Read the *item* that a variables file holds under *key*.

        Shape: text; any other JSON value, kept as JSON text; or an object with `value` (either of the
        two) and perhaps `description`, whose other keys Airflow drops.

        Raises:
            InvalidInputError: the item cannot be written as JSON (R20), or as in the constructor.

        Source: `airflow variables import` of Airflow 3.3.2, cli/commands/variable_command.py.
        """
        description = None
        if isinstance(item, Mapping) and "value" in item:
            description, item = item.get("description"), item["value"]
        text = item if isinstance(item, str) else _written(item)
        return cls(key=key, value=Secret(text), description=description)

    def to_document(self) -> Secret[str | dict[str, str]]:
        """
        Give the item for a variables file, which `from_document` and Airflow read back to the same text.

        The value stays text even where it is JSON: as a number or object it would come back respelled.
        """
        text = self.value.reveal()
        if self.description is None:
            return Secret(text)
        return Secret({"value": text, "description": self.description})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Variable):
            return NotImplemented
        is_same = self.value == other.value
        return is_same and (self.key, self.description) == (other.key, other.description)

    __hash__ = None  # type: ignore[assignment]  # it holds a secret, whose hash would be a fingerprint


def _written(item: object) -> str:
    with suppress(TypeError, ValueError, RecursionError):
        return json.dumps(item, indent=2)  # Airflow's own spelling, so that both store the same text
    raise InvalidInputError(
        "the value of a variable cannot be written as JSON", rule="R20", hint="put it in quotes"
    )
