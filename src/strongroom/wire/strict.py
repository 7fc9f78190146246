"""
What comes in over HTTP, read strictly: bodies and queries, for whoever answers.

Rules of this file:

1. An unknown field, a key given twice, a number that is none, the wrong media type and anything over a
   limit are refused, and no refusal repeats any of it.
2. How much there is to look at is checked before any of it is looked at one by one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar, get_origin, get_type_hints

import msgspec

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import decode
from strongroom.wire.failure import MediaTypeError, refusal_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MAX_MEMBERS", "MAX_TEXTS", "check_amount", "check_keys", "check_media", "read_json", "read_query"]

T = TypeVar("T")

MAX_TEXTS = 100_000  # strings in one body, keys among them
MAX_MEMBERS = 100_000  # commas between what stands in one body
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*"?', re.DOTALL)


def check_media(content_type: str) -> None:
    """
    Refuse a body that is not declared as JSON.

    Raises:
        MediaTypeError: *content_type*, the header, says something else or nothing.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        raise MediaTypeError("the body must be JSON", hint="send Content-Type: application/json")


def read_json(body: bytes, type_: type[T], *, hint: str = "see /v1/openapi.json") -> T:
    """
    Read *body* as strict JSON of the shape *type_*; *hint* says where that is told.

    Raises:
        InvalidInputError: it is not JSON, is nested too deep or holds a key twice.
        FieldError: a field is wrong, missing or unknown.
    """
    check_keys(body)
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.MsgspecError as error:
        refusal = refusal_of(error, hint=hint)
    raise refusal


def check_keys(body: bytes) -> None:
    """
    Refuse what msgspec lets pass: a key given twice, nesting past the bound, half a surrogate pair.

    Raises:
        InvalidInputError: one of these; or there is too much in it to look at.
    """
    check_amount(body)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise InvalidInputError("the body is not UTF-8")
    try:
        decode(text, what="the body")
    except InvalidInputError as error:
        refusal = InvalidInputError(str(error), offset=error.offset, limit=error.limit)
    else:
        return
    raise refusal


def check_amount(body: bytes) -> None:
    """
    Refuse JSON of too many pieces, before any of it is looked at one by one.

    Raises:
        InvalidInputError: it has more than `MAX_TEXTS` strings or `MAX_MEMBERS` members.
    """
    # A quote after a backslash ends no string, but for one after two of them: so at least the half of all
    # quotes is counted, for none that begins a string stands after a backslash.
    quotes = body.count(b'"') - body.count(b'\\"')
    if quotes > 2 * MAX_TEXTS:
        raise _too_much(MAX_TEXTS, "strings")
    if body.count(b",") > MAX_MEMBERS and _STRING.sub(b"", body).count(b",") > MAX_MEMBERS:
        raise _too_much(MAX_MEMBERS, "members")


def _too_much(most: int, what: str) -> InvalidInputError:
    return InvalidInputError(f"the body has more than {most} {what}", limit=most, hint="send it in parts")


def read_query(query: Mapping[str, Sequence[str]], type_: type[T]) -> T:
    """
    Read *query*, every value of every name, as a struct of *type_*: texts become what its fields are.

    Raises:
        InvalidInputError: a parameter is unknown, given twice or of the wrong type.
    """
    lists = _fields(type_)  # type: ignore[arg-type]  # a class is hashable
    found: dict[str, object] = {}
    for name, values in query.items():
        if name not in lists:
            raise InvalidInputError("the query has a parameter that is not known here", hint=_known(lists))
        if len(values) > 1 and not lists[name]:
            raise InvalidInputError(f"the parameter {name} is given twice")
        found[name] = values if lists[name] else values[0]
    try:
        return msgspec.convert(found, type_, strict=False)
    except msgspec.ValidationError as error:
        refusal = refusal_of(error)
    where = getattr(refusal, "field", "$").removeprefix("$.")
    raise InvalidInputError(f"the parameter {where} is wrong: {refusal}", hint=refusal.hint)


@lru_cache(maxsize=256)
def _fields(type_: type) -> Mapping[str, bool]:
    """Give the names of a struct's fields on the wire, and whether each holds a list."""
    hints = get_type_hints(type_)
    return {
        field.encode_name: get_origin(hints[field.name]) in (list, tuple)
        for field in msgspec.structs.fields(type_)
    }


def _known(names: Mapping[str, bool]) -> str:
    return f"known: {', '.join(sorted(names))}" if names else "there are none here"
