"""
What Airflow's API shows of a secret, and how what it hid is put back.

Rules of this file:

1. Airflow hides by the name of a key: a name that holds one of `_TELLING` is one of a secret. Everything
   below such a key is hidden here; Airflow lets numbers through.
2. `***` that comes back keeps what is stored at that place, and is refused where nothing stands there: the
   three stars are never stored through this API (facts RT12).

Source: apache-airflow-core 3.3.2, `_shared/secrets_masker/secrets_masker.py`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import decode
from strongroom.service.entries import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NothingToKeepError",
    "hidden_places",
    "is_telling",
    "keep_hidden",
    "kept_header",
    "redacted",
    "redacted_text",
]

_TELLING = (
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth_header",
    "authorization",
    "bearer",
    "connection_string",
    "dsn",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "secret",
    "service_account",
    "service_key",
    "token",
    "webhook_url",
)
_NO_WORD = re.compile(r"\W+")
_PLACE = re.compile(r"[A-Za-z0-9_.\[\]: /-]{1,200}", re.ASCII)
_MAX_PLACES = 20  # told in a header; a header has no room for thousands


class NothingToKeepError(InvalidInputError):
    """`***` stands where there is nothing stored that it could stand for."""

    def __init__(self, place: str) -> None:
        super().__init__(f"{HIDDEN} stands for a stored value, and {place} has none")


def is_telling(name: str) -> bool:
    """Tell whether Airflow takes what *name* leads to for a secret."""
    plain = _NO_WORD.sub("_", name.strip().lower())
    return any(word in plain for word in _TELLING)


def redacted(value: object) -> Any:  # noqa: ANN401 -- JSON
    """Give *value* with everything below a telling key hidden."""
    if isinstance(value, dict):
        return {key: _all_hidden(item) if is_telling(key) else redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value


def _all_hidden(value: object) -> object:
    if isinstance(value, dict):
        return {key: _all_hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_all_hidden(item) for item in value]
    return None if value is None else HIDDEN


def redacted_text(text: str) -> str:
    """Give the text of a variable as Airflow shows it: what is JSON is read, hidden in part and written."""
    try:
        found = decode(text)
    except InvalidInputError as error:
        # What cannot be read cannot be hidden in part.
        is_opaque = error.rule != "R13" and text.lstrip().startswith(("{", "["))
        return HIDDEN if is_opaque else text
    return json.dumps(redacted(found))


def hidden_places(value: object, path: str = "") -> list[str]:
    """Give where `***` stands in *value*, as in `extra.token`; the value itself is called `value`."""
    if value == HIDDEN:
        return [path or "value"]
    if isinstance(value, dict):
        return [
            place for key, item in value.items() for place in hidden_places(item, f"{path}.{key}".lstrip("."))
        ]
    if isinstance(value, list):
        return [
            place for index, item in enumerate(value) for place in hidden_places(item, f"{path}[{index}]")
        ]
    return []


def kept_header(places: Sequence[str]) -> dict[str, str]:
    """Give the header that tells what was kept; of a place that cannot stand there, how it begins."""
    told = [place if _PLACE.fullmatch(place) else _plain_start(place) for place in places[:_MAX_PLACES]]
    if len(places) > _MAX_PLACES:
        told.append(f"and {len(places) - _MAX_PLACES} more")
    return {"Strongroom-Kept": ", ".join(told)} if told else {}


def _plain_start(place: str) -> str:
    first = place.partition(".")[0]
    return first if _PLACE.fullmatch(first) else "a value"


def keep_hidden(new: object, old: object, place: str = "value") -> Any:  # noqa: ANN401 -- JSON
    """
    Give *new* with what stands in *old* wherever it says `***`.

    Raises:
        NothingToKeepError: nothing stands there.
    """
    if new == HIDDEN:
        if old is None or isinstance(old, (dict, list)):
            raise NothingToKeepError(place)
        return old
    if isinstance(new, dict):
        below = old if isinstance(old, dict) else {}
        return {key: keep_hidden(item, below.get(key), place) for key, item in new.items()}
    if isinstance(new, list):
        # Which of the old items is meant cannot be told once some were added or taken away.
        items = old if isinstance(old, list) and len(old) == len(new) else [None] * len(new)
        return [keep_hidden(item, kept, place) for item, kept in zip(new, items, strict=True)]
    return new
