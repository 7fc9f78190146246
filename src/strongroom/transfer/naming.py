"""Names of a file that our grammar refuses: which they are, why, and what they could be instead."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.ref import MAX_NAME_CHARACTERS, Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.model.environment import Place

__all__ = ["NameToChange", "names_to_change", "places_to_change", "rename_all"]

_REFUSED = re.compile(r"[\\\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameToChange:
    """
    One row of the table of names to change.

    Args:
        name: as the file has it. It may hold control characters: escape it before it is printed.
        reason: which rule it breaks.
        suggestion: a legal name that no other entry of the file has.
    """

    name: str
    reason: str
    suggestion: str


def names_to_change(names: Iterable[str]) -> tuple[NameToChange, ...]:
    """Give the names that are not legal, or become one name when normalised, in their order."""
    listed = list(names)
    reasons = {name: reason for name in listed if (reason := _why_not(name)) is not None}
    taken: dict[str, str] = {}
    for name in listed:
        if name in reasons:
            continue
        normal = unicodedata.normalize("NFC", name)
        if normal in taken:
            reasons[name] = "another name of the file is the same when normalised"
        taken.setdefault(normal, name)
    used = set(taken)
    found = []
    for name in listed:
        if name in reasons:
            suggestion = _free(_legal(name), used)
            used.add(suggestion)
            found.append(NameToChange(name=name, reason=reasons[name], suggestion=suggestion))
    return tuple(found)


def places_to_change(places: Mapping[str, Place]) -> tuple[NameToChange, ...]:
    """Give the rows of the table for entries by their names in the file; names of two teams never meet."""
    by_team: dict[str | None, dict[str, str]] = {}
    for key, (team, name) in places.items():
        by_team.setdefault(team, {})[name] = key
    rows = {
        keys[row.name]: NameToChange(name=keys[row.name], reason=row.reason, suggestion=row.suggestion)
        for keys in by_team.values()
        for row in names_to_change(keys)
    }
    return tuple(rows[key] for key in places if key in rows)


def rename_all(places: Mapping[str, Place], rename: Mapping[str, str]) -> dict[str, Place]:
    """
    Give every entry the new name that *rename* says, if it says one.

    Args:
        places: team and name by the names in the file.
        rename: new names by the names in the file.

    Raises:
        InvalidInputError: *rename* names something that is not there, or two would get one name.
    """
    missing = sorted(set(rename) - set(places))
    if missing:
        raise InvalidInputError(
            f"{len(missing)} of the names to change are not in the file", hint="spell them as the file does"
        )
    renamed = {key: (team, rename.get(key, name)) for key, (team, name) in places.items()}
    if len(set(renamed.values())) < len(renamed):
        raise InvalidInputError(
            "two entries would get the same name", hint="give every renamed entry a name of its own"
        )
    return renamed


def _why_not(name: str) -> str | None:
    try:
        Ref("variable", name)
    except InvalidInputError as error:
        return str(error)
    return None


def _legal(name: str) -> str:
    """Give the nearest legal name: bad characters become `_`, bad segments go."""
    normal = unicodedata.normalize("NFC", _REFUSED.sub("_", name.strip()))
    kept = "".join(character if _why_not(f"x{character}x") is None else "" for character in normal)
    segments = [segment for segment in kept.split("/") if segment not in ("", ".", "..")]
    legal = "/".join(segments)[:MAX_NAME_CHARACTERS].rstrip("/")
    return legal if legal and _why_not(legal) is None else "unnamed"


def _free(name: str, used: set[str]) -> str:
    candidate, number = name, 2
    while candidate in used:
        ending = f"_{number}"
        candidate = name[: MAX_NAME_CHARACTERS - len(ending)].rstrip("/") + ending
        number += 1
    return candidate
