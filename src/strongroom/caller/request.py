"""What of a request is spelled the same whatever is asked: body, path, query and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.model.ref import Ref

_TAG = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"  # of an ETag; the rest is escaped as the server escapes it


def spelled(body: object) -> Secret[bytes]:
    """Give *body* as JSON that does not print: it may hold a value, and frames are shown by others."""
    return Secret(msgspec.json.encode(body))


def path_of(what: str, ref: Ref) -> str:
    """Give the path of *ref* below *what*, as in `/entries/variable/region`."""
    return f"{what}/{ref.kind}/{quote(ref.name, safe='/')}"


def with_query(path: str, query: Mapping[str, Any] | None) -> str:
    """Give *path* with what of *query* is said."""
    said = [(name, item) for name, value in (query or {}).items() for item in _said(value)]
    return f"{path}?{urlencode(said, quote_via=quote)}" if said else path


def _said(value: object) -> Iterable[str]:
    if value is None or value == "":
        return ()
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return ("true",) if value else ()
    return (str(value),)


def conditions(expected_version: str | None, seen: str | None = None) -> dict[str, str]:
    """Give the headers that let a change happen only over *expected_version*, or over what was *seen*."""
    if expected_version is None:
        return {} if seen is None else {**conditions(seen), "Prefer": "handling=lenient"}
    if expected_version == MUST_BE_ABSENT:
        return {"If-None-Match": "*"}
    return {"If-Match": f'"{quote(expected_version, safe=_TAG)}"'}


def idempotency_key() -> dict[str, str]:
    """Give the header by which a change that is asked for twice is done once."""
    from secrets import token_hex  # noqa: PLC0415 -- only changes need one

    return {"Idempotency-Key": token_hex(16)}
