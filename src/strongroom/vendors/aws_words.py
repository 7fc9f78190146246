"""
The words by which AWS's secrets name the fields of a connection, as Airflow reads them. Pure: no I/O.

Source: apache-airflow-providers-amazon (`secrets/secrets_manager.py`, `_standardize_secret_keys`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["standard_text", "words_of"]

# Which words of a stored object mean which field: the first of them in the order of the object counts.
_WORDS: dict[str, tuple[str, ...]] = {
    "login": ("login", "user", "username", "user_name"),
    "password": ("password", "pass", "key"),
    "host": ("host", "remote_host", "server"),
    "port": ("port",),
    "schema": ("database", "schema"),
    "conn_type": ("conn_type", "conn_id", "connection_type", "engine"),
    "extra": ("extra",),
}
_OWN_WORDS = frozenset(("conn_type", "description", "extra", "host", "login", "password", "port", "schema"))
_RDS_DATABASE = "dbname"  # AWS's own word, in the secrets it makes for its databases


def words_of(name: str, extra: Mapping[str, object]) -> Mapping[str, tuple[str, ...]]:
    """
    Give the words for each field, with those of the settings; `user` is Airflow's older word for `login`.

    Args:
        name: of the backend.
        extra: lists of words by field.

    Raises:
        BackendConfigError: *extra* is of another shape.
    """
    found = dict(_WORDS)
    for part, words in extra.items():
        mine = "login" if part == "user" else part
        if mine not in found or not isinstance(words, list) or not all(isinstance(one, str) for one in words):
            raise BackendConfigError(
                f"backend.{name}.extra_conn_words must give lists of words for fields",
                hint=f"known fields: user, {', '.join(_WORDS)}",
            )
        found[mine] = (*found[mine], *words)
    return found


def standard_text(text: str, words: Mapping[str, tuple[str, ...]]) -> str:
    """
    Give the connection *text* as Airflow makes it of a stored object, verbatim where it is none.

    An object that has Airflow's own words alone is given as it stands, its description too, unless the
    settings have words of their own. Otherwise what none of *words* names is dropped.

    Args:
        text: what is stored.
        words: as of `words_of`.

    Raises:
        InvalidInputError: it begins as an object and is none.
    """
    if not text.strip().startswith("{"):
        return text
    held = decode(text, what="what is stored")
    if not isinstance(held, dict) or (words == _WORDS and _OWN_WORDS.issuperset(held)):
        return text
    found = {
        part: next((value for key, value in held.items() if key in mine), None)
        for part, mine in words.items()
    }
    if found["schema"] is None:
        found["schema"] = held.get(_RDS_DATABASE)
    return json.dumps(found)
