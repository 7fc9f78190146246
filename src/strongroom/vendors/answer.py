"""
What an answer over HTTP says whoever gave it: the value of its JSON, and how long it asks to be left alone.

Not for what that means: of each vendor a file of its own says so (`vault_answer.py`, `azure_answer.py` …).
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_WAIT", "json_in", "wait_in", "wait_of"]

MAX_WAIT = timedelta(hours=1)  # the longest Retry-After believed


def json_in(body: bytes | str, default: object = None) -> object:
    """Give the value of the JSON text *body*; *default* where it is none, or is nested without end."""
    try:
        # Plain `json`, which is loaded already: typed decoders cost a cold process more than the request.
        return json.loads(body if isinstance(body, str) else body.decode())
    except (ValueError, RecursionError):
        return default


def wait_in(headers: Mapping[str, str]) -> timedelta | None:
    """
    Give how long `retry-after` asks to wait, `MAX_WAIT` at most; None where it is not said in seconds.

    Args:
        headers: of an answer, their names in lower case or found in any.

    Source: RFC 9110 §10.2.3; a date is not taken, since it is of another's clock.
    """
    return wait_of(headers.get("retry-after", ""))


def wait_of(text: str) -> timedelta | None:
    """Give the wait that *text* says, whole seconds in digits; as `wait_in`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004 -- of a number
        return None
    return min(timedelta(seconds=int(text)), MAX_WAIT)
