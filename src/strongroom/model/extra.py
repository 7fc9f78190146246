"""A connection's `extra`: an immutable JSON object whose every leaf is a Secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import MAX_DEPTH, decode, is_unicode
from strongroom.model.secret import Secret

# A task process that looks into an extra loads this file, and typing would cost it as much as all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    _Fields = Mapping[str, Any]
else:
    _Fields = Mapping

__all__ = ["HIDDEN", "Extra", "Shows", "hidden_unless_plain", "parse_extra", "path_of"]

HIDDEN = "***"
Shows = Callable[[tuple[str, ...], object], bool]
"""Told the path of a value (its keys) and the value: whether it may be shown."""

# What a host or a database name looks like; anything else may carry credentials and is not shown.
_PLAIN = re.compile(r"[\w.:/+ \-\[\]%]*")
# What a key that is meant as one looks like, and what a secret does that was pasted in its place: a long run
# with a digit in it. No option of any type has one.
_KEY = re.compile(r"[A-Za-z0-9_.:\-]{1,60}")
_RANDOM = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16}")
_MAX_DEPTH = MAX_DEPTH - 1  # the connection's own object is the outermost level
_TOO_LARGE = 10**4300  # a whole number with more digits than Python converts


class Extra(_Fields):
    """
    Hold a JSON object so that nothing in it prints.

    A nested object is an Extra, an array a tuple, every other value a `Secret`:
    `connection.extra["ssl"]["mode"].reveal()`. The values are typed Any, because which of the three
    stands where is a matter of the data.

    Args:
        fields: plain JSON values, or Secrets and Extras of them.

    Raises:
        InvalidInputError: a key is not text (R18), a value is not JSON (R20), a number is not finite or
            too large (R16), it is nested more than 63 levels deep (R14), or a text is not Unicode (R3).

    Threads: immutable.
    """

    __slots__ = ("_fields",)

    _fields: dict[str, Any]

    def __init__(self, fields: Mapping[str, object]) -> None:
        object.__setattr__(self, "_fields", _frozen(fields, 1))

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 -- see the class
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def reveal(self) -> dict[str, Any]:
        """Give a plain, mutable copy."""
        return {key: _plain(value) for key, value in self._fields.items()}

    def hidden(self, shows: Shows | None = None) -> dict[str, Any]:
        """
        Give the same shape as `reveal`, every leaf `"***"`.

        Args:
            shows: tells which leaves stand as they are; one that may carry credentials never does.
        """
        return {key: _hidden(value, (key,), shows) for key, value in self._fields.items()}

    def leaves(self) -> Iterator[tuple[str, Secret[Any]]]:
        """Give every leaf with the nearest key above it."""
        for key, value in self._fields.items():
            yield from _leaves(key, value)

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, Extra) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a hash of plaintext would be a fingerprint

    def __repr__(self) -> str:
        # Not even the keys: a document pasted the wrong way round has its secrets there.
        return f"Extra({len(self._fields)} keys)"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an Extra cannot be pickled; reveal() it where it is needed")

    def __copy__(self) -> Extra:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Extra:
        return self

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"an Extra is immutable; cannot set {name}")


def parse_extra(text: str) -> Extra:
    """
    Read the JSON *text* of an extra.

    Raises:
        InvalidInputError: it is no JSON object (R20), or refused by R13 to R16.
    """
    found = decode(text, what="extra", max_depth=_MAX_DEPTH)
    if not isinstance(found, dict):
        raise InvalidInputError("extra is not a JSON object", rule="R20", hint='write it as {"key": "value"}')
    return Extra(found)


def _frozen(fields: Mapping[str, object], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    for key in fields:
        if not isinstance(key, str):
            raise InvalidInputError("a key of extra is not text", rule="R18", hint="put it in quotes")
        _check_unicode(key)
    return {key: _frozen_value(value, depth) for key, value in fields.items()}


def _frozen_value(value: object, depth: int) -> object:
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, str):
        _check_unicode(value)
        return Secret(value)
    if isinstance(value, Mapping):
        inner = Extra.__new__(Extra)
        object.__setattr__(inner, "_fields", _frozen(value, depth + 1))
        return inner
    if isinstance(value, (list, tuple)):
        _check_depth(depth + 1)
        return tuple(_frozen_value(item, depth + 1) for item in value)
    _check_scalar(value)
    return Secret(value)


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidInputError(
            f"extra is nested more than {_MAX_DEPTH} levels deep", limit=_MAX_DEPTH, rule="R14"
        )


def _check_unicode(text: str) -> None:
    if not text.isascii() and not is_unicode(text):
        raise InvalidInputError("extra holds half a surrogate pair, which is not Unicode text", rule="R3")


def _check_scalar(value: object) -> None:
    is_large = isinstance(value, int) and abs(value) >= _TOO_LARGE
    if is_large or (isinstance(value, float) and not isfinite(value)):
        raise InvalidInputError("extra holds a number that is not finite or is too large", rule="R16")
    if value is not None and not isinstance(value, (bool, int, float)):
        raise InvalidInputError(
            f"extra holds a {type(value).__name__}, which JSON has no form for",
            rule="R20",
            hint="put it in quotes",
        )


def _plain(value: object) -> Any:  # noqa: ANN401 -- see Extra
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Extra):
        return value.reveal()
    return [_plain(item) for item in value] if isinstance(value, tuple) else None


def _hidden(value: object, path: tuple[str, ...], shows: Shows | None) -> object:
    if isinstance(value, Extra):
        return {key: _hidden(item, (*path, key), shows) for key, item in value._fields.items()}
    if isinstance(value, tuple):
        return [_hidden(item, (*path, str(index)), shows) for index, item in enumerate(value)]
    if shows is None or not isinstance(value, Secret):
        return HIDDEN
    plain = value.reveal()
    if not shows(path, plain):
        return HIDDEN
    return hidden_unless_plain(plain) if isinstance(plain, str) else plain


def path_of(place: str, key: str) -> str:
    """Give how *key* inside *place* is called in messages: `?` where it may be something else."""
    is_key = _KEY.fullmatch(key) is not None and _RANDOM.search(key) is None
    return f"{place}.{key if is_key else '?'}"


def hidden_unless_plain(text: str | None) -> str | None:
    """Give *text* if it looks like a host or a name; anything else may carry credentials."""
    return text if text is None or _PLAIN.fullmatch(text) else HIDDEN


def _leaves(key: str, value: object) -> Iterator[tuple[str, Secret[Any]]]:
    if isinstance(value, Secret):
        yield key, value
    elif isinstance(value, Extra):
        yield from value.leaves()
    elif isinstance(value, tuple):
        for item in value:
            yield from _leaves(key, item)
