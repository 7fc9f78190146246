"""Names that a person could take for one another, so that only one of them is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError
from strongroom.model.principal import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_free", "outline"]

# What is left of confusable letters inside `a-z 0-9 . _ @ -`; canonical names hold no others.
# Source: Unicode Technical Standard 39 §4 (skeletons), with i added to l and 1: names are shown in any font.
_SINGLE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "_": "-", ".": "-", "@": "a"})
_DOUBLE = (("rn", "m"), ("vv", "w"), ("cl", "d"))


def outline(name: str) -> str:
    """Give what canonical names that look alike have in common. Not a name: for comparing only."""
    for pair, single in _DOUBLE:
        name = name.replace(pair, single)
    return name.translate(_SINGLE)


def check_free(name: str, taken: Iterable[str], *, what: str) -> str:
    """
    Give the one spelling of a new *name*, if no other of the *taken* ones looks like it.

    The name itself may be among them: that is the one it means.

    Raises:
        InvalidInputError: it is no name.
        ConflictError: another one looks like it.
    """
    found = canonical(name, what=what)
    outlined = outline(found)
    for other in taken:
        if other != found and outline(other) == outlined:
            raise ConflictError(f"{what} looks like another one, {other}", hint="choose one that does not")
    return found
