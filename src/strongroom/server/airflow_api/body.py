"""
Bodies and queries as Airflow 3 reads them, with its lists of what is wrong.

A problem says what kind it is, where, and in words; Airflow adds the value that was wrong (`input`) and
that is left out here, with `ctx` (facts IN12).

Source: pydantic's error types; apache-airflow-core 3.3.2, `api_fastapi/core_api/datamodels`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import decode
from strongroom.server.airflow_api.refusal import RefusedError
from strongroom.wire.strict import check_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.server.endpoint import Call

__all__ = ["Field", "Loc", "Problems", "body_of", "last_of", "members_of", "number_of", "texts_of"]

Loc = tuple["str | int", ...]
Sort = Literal["text", "number", "any"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}(?:\.0+)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


class Field(NamedTuple):
    """
    One member of a body.

    Args:
        name: as it is written.
        sort: what it holds.
        is_required: whether it must be there.
        allows_null: whether it may be null.
        most: characters of a text.
        pattern: what the whole text must match, and how Airflow writes that.
    """

    name: str
    sort: Sort = "text"
    is_required: bool = False
    allows_null: bool = True
    most: int | None = None
    pattern: tuple[re.Pattern[str], str] | None = None


class Problems:
    """
    What is wrong with a request, in the order Airflow finds it.

    Attributes:
        found: each with `type`, `loc` and `msg`.
    """

    def __init__(self) -> None:
        self.found: list[dict[str, object]] = []

    def add(self, kind: str, loc: Loc, text: str) -> None:
        """Note one problem."""
        self.found.append({"type": kind, "loc": list(loc), "msg": text})

    def value(self, loc: Loc, text: str) -> None:
        """Note a value that is of the right type and wrong nevertheless."""
        self.add("value_error", loc, f"Value error, {text}")

    def __bool__(self) -> bool:
        return bool(self.found)

    def check(self) -> None:
        """
        Refuse the request if anything was noted.

        Raises:
            RefusedError: 422.
        """
        if self.found:
            raise RefusedError(422, self.found)


def body_of(call: Call) -> object:
    """
    Give the JSON of the body; what is not declared as JSON is refused as Airflow does.

    Raises:
        RefusedError: 422: there is none, or it is no JSON.
        InvalidInputError: there is too much in it.
    """
    problems = Problems()
    if not call.body:
        problems.add("missing", ("body",), "Field required")
        problems.check()
    media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        problems.add("model_attributes_type", ("body",), NO_OBJECT)
        problems.check()
    check_amount(call.body)
    offset: int | None = None
    words = "JSON decode error"
    try:
        return decode(call.body.decode(), what="the body")
    except UnicodeDecodeError:
        words = "JSON decode error: the body is not UTF-8"
    except InvalidInputError as error:
        offset = error.offset
        words = words if error.rule == "R13" else f"{words}: {error}"
    problems.add("json_invalid", ("body",) if offset is None else ("body", offset), words)
    problems.check()
    raise AssertionError  # `check` has raised


def members_of(
    body: object, fields: Iterable[Field], problems: Problems, loc: Loc = ("body",)
) -> dict[str, Any]:
    """
    Give the members of *body* that are there, checked; what is wrong is noted in *problems*.

    Numbers may come as text, as pydantic allows; nothing else is converted.
    """
    if not isinstance(body, dict):
        problems.add("model_attributes_type", loc, NO_OBJECT)
        return {}
    found: dict[str, Any] = {}
    known = tuple(fields)
    for field in known:
        if field.name in body:
            found[field.name] = _checked(field, body[field.name], problems, (*loc, field.name))
        elif field.is_required:
            problems.add("missing", (*loc, field.name), "Field required")
    for _ in body.keys() - {field.name for field in known}:
        # Its name is left out: a secret pasted the wrong way round stands there.
        problems.add("extra_forbidden", loc, "Extra inputs are not permitted")
    return found


def _checked(field: Field, value: object, problems: Problems, loc: Loc) -> object:
    if field.sort == "any" or (value is None and field.allows_null):
        return value
    if field.sort == "number":
        return number_of(value, problems, loc)
    if not isinstance(value, str):
        problems.add("string_type", loc, "Input should be a valid string")
        return None
    if field.most is not None and len(value) > field.most:
        problems.add("string_too_long", loc, f"String should have at most {field.most} characters")
    elif field.pattern is not None and not field.pattern[0].fullmatch(value):
        problems.add("string_pattern_mismatch", loc, f"String should match pattern '{field.pattern[1]}'")
    elif field.name == "description" and _CONTROL.search(value):
        problems.value(loc, "a description holds no control characters but line breaks and tabs")
    return value


def number_of(value: object, problems: Problems, loc: Loc) -> int | None:
    """Give *value* as a whole number; a text of digits is one, too."""
    if isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            return int(text.partition(".")[0])
        problems.add(
            "int_parsing", loc, "Input should be a valid integer, unable to parse string as an integer"
        )
    elif isinstance(value, float) and not value.is_integer():
        problems.add(
            "int_from_float", loc, "Input should be a valid integer, got a number with a fractional part"
        )
    elif isinstance(value, (int, float)):
        return int(value)
    else:
        problems.add("int_type", loc, "Input should be a valid integer")
    return None


def texts_of(value: object, problems: Problems, loc: Loc) -> list[str]:
    """Give *value* as a list of texts."""
    if not isinstance(value, list):
        problems.add("list_type", loc, "Input should be a valid list")
        return []
    for index, item in enumerate(value):
        if not isinstance(item, str):
            problems.add("string_type", (*loc, index), "Input should be a valid string")
    return [item for item in value if isinstance(item, str)]


def last_of(query: Mapping[str, list[str]], name: str) -> str | None:
    """Give the parameter *name*; of several the last, as Airflow does."""
    values = query.get(name)
    return values[-1] if values else None
