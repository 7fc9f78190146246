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

__all__ = ["NameToChange", "names_to_change", "rename_all"]

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


def rename_all(names: Iterable[str], rename: Mapping[str, str]) -> dict[str, str]:
    """
    Give the new name of every name: what *rename* says, else itself.

    Raises:
        InvalidInputError: *rename* names something that is not there, or two would get one name.
    """
    listed = list(names)
    missing = sorted(set(rename) - set(listed))
    if missing:
        raise InvalidInputError(
            f"{len(missing)} of the names to change are not in the file", hint="spell them as the file does"
        )
    renamed = {name: rename.get(name, name) for name in listed}
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
