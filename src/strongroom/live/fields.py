"""The options in a connection's `extra`, read as what they are; a form saves most of them as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.live.trouble import trouble
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.model.connection import Connection

__all__ = ["Options"]

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Options:
    """
    Read the options of *connection*, one a call; what is empty counts as not said.

    Args:
        name: of the connection, for what is told of an option that cannot be read.

    Raises:
        BackendConfigError: from each method, where the option is of another type; names the key.
    """

    __slots__ = ("_fields", "_name")

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        try:
            self._fields: dict[str, Any] = dict(connection.extra or {})
        except InvalidInputError:
            raise trouble("options", "malformed", name=name, detail="extra") from None

    def has(self, key: str) -> bool:
        """Tell whether anything but an empty text stands under *key*."""
        return self._plain(key) not in (None, "")

    def text(self, key: str) -> str | None:
        """Give a text, or None."""
        found = self._plain(key)
        if found in (None, ""):
            return None
        if not isinstance(found, (str, int, float)) or isinstance(found, bool):
            raise self._malformed(key)
        return str(found)

    def flag(self, key: str, *, default: bool) -> bool:
        """Give a yes or no: a boolean, or a text that says one."""
        found = self._plain(key)
        if found is None or found == "":
            return default
        word = str(found).strip().lower()
        if word not in _TRUE + _FALSE:
            raise self._malformed(key)
        return word in _TRUE

    def number(self, key: str, *, default: float) -> float:
        """Give a number of zero or more."""
        found = self._plain(key)
        if found is None or found == "":
            return default
        try:
            number = float(found)
        except (TypeError, ValueError):
            raise self._malformed(key) from None
        if isinstance(found, bool) or not 0 <= number < float("inf"):
            raise self._malformed(key)
        return number

    def document(self, key: str) -> Any:  # noqa: ANN401 -- JSON
        """Give an object or a list, or None: itself, or the text of one."""
        found = self._plain(key)
        if isinstance(found, str) and found:
            from strongroom.model.jsontext import decode  # noqa: PLC0415 -- few connections have one

            try:
                found = decode(found, what=key)
            except InvalidInputError:
                raise self._malformed(key) from None
        if found in (None, ""):
            return None
        if not isinstance(found, (dict, list)):
            raise self._malformed(key)
        return found

    def _plain(self, key: str) -> Any:  # noqa: ANN401 -- JSON
        found = self._fields.get(key)
        if isinstance(found, Secret):
            return found.reveal()
        return None if found is None else Extra({key: found}).reveal()[key]

    def _malformed(self, key: str) -> Exception:
        return trouble("options", "malformed", name=self._name, detail=f"extra.{key}")
