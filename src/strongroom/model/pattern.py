"""
Names chosen at run time: `warehouse_{tenant}` with `tenant="acme"`.

Rules of this file:

1. `{word}` is a parameter, `{{` and `}}` are braces. Nothing else stands in braces: no attributes, no
   indices, no formats, because a name must not reach into the program.
2. A value is one segment of a name: it cannot be empty, hold `/`, or be `.` or `..`, so that it never
   leaves the place where it was put.
3. Filling is injective: of the filled name every value can be told again. So a value does not hold what
   separates it from the next parameter, and no two parameters touch; otherwise `{tenant}_{table}` would
   let a tenant that calls itself `acme_eu` read what another one has.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.ref import MAX_NAME_CHARACTERS, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["fill"]

_MAX_PATTERN = 4 * MAX_NAME_CHARACTERS
_TOO_LONG = 10**MAX_NAME_CHARACTERS  # Python refuses to write very long numbers out, in words of its own
_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")
_TAKEN = ("team", "default", "json", "on_change", "kind", "interval")


class _Part(NamedTuple):
    """Text of the pattern, or the name of a parameter."""

    text: str
    is_parameter: bool


def fill(pattern: str, values: Mapping[str, object]) -> str:
    """
    Give the name that *pattern* means with *values*.

    Args:
        pattern: a name with `{parameter}` in it; at most 1000 characters.
        values: texts or whole numbers, one for every parameter.

    Returns:
        a name that `Ref` takes.

    Raises:
        InvalidInputError: a parameter has no value, a value no parameter, a value is no segment of a
            name, or the pattern is none; the parameter is named, its value is not.
    """
    parts = list(_parts(pattern))
    _check_parameters([part.text for part in parts if part.is_parameter], values)
    texts = [_segment(part.text, values[part.text]) if part.is_parameter else part.text for part in parts]
    for index, part in enumerate(parts):
        if part.is_parameter:
            _check_separated(part.text, texts[index], parts[index + 1 :])
    name = "".join(texts)
    if unicodedata.normalize("NFC", name) != name:
        raise InvalidInputError(
            "a value joins with the letter beside it", hint="it begins with a combining character"
        )
    return Ref("variable", name).name


def _parts(pattern: str) -> Iterator[_Part]:
    if not isinstance(pattern, str):
        raise InvalidInputError("a name must be text")
    if len(pattern) > _MAX_PATTERN:
        raise InvalidInputError(f"a name has at most {MAX_NAME_CHARACTERS} characters", limit=_MAX_PATTERN)
    pattern = unicodedata.normalize("NFC", pattern)
    plain, done = "", 0
    for found in _TOKEN.finditer(pattern):
        plain += pattern[done : found.start()]
        done = found.end()
        if found[1]:
            if plain:
                yield _Part(plain, is_parameter=False)
            plain = ""
            yield _Part(found[1], is_parameter=True)
        elif len(found[0]) == 1:
            raise InvalidInputError(
                "a brace of the name stands alone, or around what is no parameter",
                offset=found.start(),
                hint="a parameter is {word}; {{ and }} are braces",
            )
        else:
            plain += found[0][0]
    if plain := plain + pattern[done:]:
        yield _Part(plain, is_parameter=False)


def _check_parameters(wanted: list[str], values: Mapping[str, object]) -> None:
    missing = sorted(set(wanted) - set(values))
    if missing:
        # The keyword is the function's own, so it never arrives here.
        taken = [name for name in missing if name in _TAKEN]
        hint = f"{taken[0]} has a meaning of its own; call the parameter otherwise" if taken else None
        raise InvalidInputError(f"the name has no value for {', '.join(missing)}", hint=hint)
    surplus = sorted(set(values) - set(wanted))
    if surplus:
        raise InvalidInputError(
            f"the name has no parameter {', '.join(surplus)}",
            hint=f'write it into the name, as in "warehouse_{{{surplus[0]}}}"',
        )


def _segment(parameter: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInputError(f"the value of {parameter} is neither text nor a whole number")
    text = unicodedata.normalize("NFC", _text_of(parameter, value))
    if "/" in text:
        raise InvalidInputError(f"the value of {parameter} holds a /, and is one segment of a name")
    try:
        return Ref("variable", text).name
    except InvalidInputError as error:
        why = str(error).replace("a name", "it", 1)
        raise InvalidInputError(
            f"the value of {parameter} is no segment of a name: {why}", limit=error.limit
        ) from None


def _text_of(parameter: str, value: str | int) -> str:
    # By the types themselves: a member of an Enum prints as something else than it is.
    if isinstance(value, str):
        return str.__str__(value)
    if abs(value) >= _TOO_LONG:
        raise InvalidInputError(
            f"the value of {parameter} is no segment of a name: it has too many digits",
            limit=MAX_NAME_CHARACTERS,
        )
    return int.__repr__(value)


def _check_separated(parameter: str, text: str, following: list[_Part]) -> None:
    """Refuse a value whose end could not be told from what follows, up to the next parameter."""
    later = next((number for number, part in enumerate(following) if part.is_parameter), None)
    if later is None:
        return
    separator = "".join(part.text for part in following[:later])
    if not separator:
        raise InvalidInputError(
            f"the parameters {parameter} and {following[0].text} touch",
            hint=f"put something between them, best a /: {{{parameter}}}/{{{following[0].text}}}",
        )
    if (text + separator).index(separator) != len(text):
        raise InvalidInputError(
            f"the value of {parameter} holds what separates it from {following[later].text}",
            hint=f"separate them by a /, which no value holds: {{{parameter}}}/{{{following[later].text}}}",
        )
