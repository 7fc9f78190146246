"""
How a value is written where a text refers to it, so that it cannot leave its place.

Not for finding references or what they stand for: `template.py`.

Rules of this file:

1. In a URI a value is percent-encoded. In its `__extra__`, which is JSON inside of a URI, it stays inside
   its JSON string first.
2. In a text that is a JSON object or list, such as a variable or a key file, it stays inside its string.
3. In any other text it stands as it is.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Spell", "in_text", "in_uri"]

if TYPE_CHECKING:
    Spell = Callable[[str], str]

_EXTRA_KEY = "__extra__"


def in_text(parts: Sequence[object]) -> Iterator[Spell]:
    """
    Give for each reference of a text how its value is written there.

    Args:
        parts: texts, and anything else for a reference, as `template.parse` gives them.
    """
    # Only an object or a list has anything to break out into.
    begin = parts[0] if parts and isinstance(parts[0], str) else ""
    is_document = begin.lstrip()[:1] in ("{", "[") and _is_json(_Worded(parts).text)
    spell = _within_json if is_document else str
    return (spell for part in parts if not isinstance(part, str))


def in_uri(parts: Sequence[object]) -> Iterator[Spell]:
    """
    Give for each reference of a URI how its value is written there; *parts* as `in_text`.

    Raises:
        InvalidInputError: one stands inside the JSON of `__extra__`, but in none of its strings.
    """
    inside = _within_extra(_Worded(parts))
    numbers = (number for number, part in enumerate(parts) if not isinstance(part, str))
    return (_percent_encoded_json if number in inside else _percent_encoded for number in numbers)


def _within_extra(worded: _Worded) -> set[int]:
    """Give which parts are references inside the JSON of `__extra__`; one that is all of it is not."""
    inside: set[int] = set()
    for key, value in _pairs(worded.text):
        if unquote_plus(key) != _EXTRA_KEY or worded.word.fullmatch(value):
            continue
        found = {int(word[1]) for word in worded.word.finditer(value)}
        if found and not _is_json(unquote_plus(value)):
            raise InvalidInputError(
                f"a reference inside {_EXTRA_KEY} stands in no string of its JSON",
                hint="put it in quotes, or write the connection as JSON",
            )
        inside |= found
    return inside


class _Worded:
    """
    A text with a word in place of each reference: legal in a string of JSON, and nowhere else in it.

    Attributes:
        text: the whole.
        word: finds the words; its group is the number of the part.
    """

    def __init__(self, parts: Sequence[object]) -> None:
        texts = [part if isinstance(part, str) else "" for part in parts]
        # No text holds its own digest, so no word is taken for one of the text's.
        mark = sha256("".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
        self.text = "".join(
            part if isinstance(part, str) else f"x{mark}x{number}x" for number, part in enumerate(parts)
        )
        self.word = re.compile(f"x{mark}x([0-9]+)x")


def _pairs(uri: str) -> Iterator[tuple[str, str]]:
    query = uri.partition("#")[0].partition("?")[2]
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        yield key, value


def _is_json(text: str) -> bool:
    try:
        decode(text)
    except InvalidInputError as error:
        return error.rule != "R13"  # what has a key twice is JSON all the same
    return True


def _within_json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _percent_encoded(value: str) -> str:
    return quote(value, safe="")


def _percent_encoded_json(value: str) -> str:
    return _percent_encoded(_within_json(value))
