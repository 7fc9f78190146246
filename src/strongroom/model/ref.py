"""
What is asked for: kind, name, team. The only place where names are checked.

A name has 1 to 250 characters after normalisation to NFC. Spaces, `:`, `#`, `%` and `*` are legal,
as in Airflow. Refused: a leading or trailing `/`, empty, `.` and `..` segments, the backslash,
control, formatting (bidi, zero-width) and line-separator characters, lone surrogates and the
code points that print as nothing.

Source: docs/design.md, "Looking something up", rule 2.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KINDS", "MAX_NAME_CHARACTERS", "Kind", "Ref", "check_deployment", "check_team"]

Kind = Literal["connection", "variable", "config"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_NAME_CHARACTERS = 250

# Printable ASCII without the backslash, no empty or dot segment: nearly every real name, in one match.
_PLAIN = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[ -\[\]-~]{1,250}", re.ASCII)
_TEAM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,48}[A-Za-z0-9])?", re.ASCII)
_DEPLOYMENT = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)
# Cc control, Cf formatting (bidi, zero-width, soft hyphen, BOM), Cs surrogate, Zl/Zp line separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Unicode's Default_Ignorable_Code_Point outside Cf, and the blank of Braille: they print as nothing, so
# two names would look alike.
_INVISIBLE = re.compile(
    "[\u034f\u2800\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)


class _Parts(NamedTuple):
    kind: Kind
    name: str
    team: str | None


class Ref(_Parts):
    """
    Name one thing to look up, checked and in NFC.

    It *is* the tuple (kind, name, team), so caches may look up with a plain tuple and skip the
    checks a key of theirs has passed already. It sorts by kind, name, team.

    Raises:
        InvalidInputError: the kind is unknown, or the name or team breaks the rules above;
            `offset` is the first bad character.
    """

    __slots__ = ()

    def __new__(cls, kind: Kind, name: str, team: str | None = None) -> Ref:
        if kind not in KINDS:
            raise InvalidInputError("the kind must be connection, variable or config")
        if team is not None:
            check_team(team)
        return super().__new__(cls, kind, _checked(name), team)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Ref:  # type: ignore[override]  # typing.Self is 3.11
        # What NamedTuple's own _make and _replace build would skip the checks.
        return cls(*iterable)

    def __str__(self) -> str:
        """Give kind and name for people, as in `connection "orders_db" (team data)`."""
        team = f" (team {self.team})" if self.team else ""
        return f'{self.kind} "{self.name}"{team}'


def check_deployment(name: str) -> str:
    """
    Give *name* back if it is a legal name of a deployment.

    Shape: 1 to 63 of `a-z 0-9 _ -`, starting and ending with a letter or digit.

    Raises:
        InvalidInputError: it is not.
    """
    if not _DEPLOYMENT.fullmatch(name):
        raise InvalidInputError(
            "a deployment name has 1 to 63 of a-z, 0-9, '_' or '-', the first and last a letter or digit"
        )
    return name


def check_team(team: object) -> None:
    """
    Refuse what cannot be the name of a team.

    Raises:
        InvalidInputError: it is not 1 to 50 letters, digits, '-' or '_', the ends letter or digit.
    """
    if not isinstance(team, str) or not _TEAM.fullmatch(team):
        raise InvalidInputError(
            "a team name has 1 to 50 letters, digits, '-' or '_', the first and last a letter or digit"
        )


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise InvalidInputError("a name must be text")
    if type(name) is not str:
        name = str.__str__(name)  # a member of an Enum of texts prints, and is stored, as something else
    if _PLAIN.fullmatch(name):
        return name
    for offset, character in enumerate(name[: MAX_NAME_CHARACTERS * 4]):
        _check_character(character, offset)
    # Length is checked before normalising too: NFC of a hostile megabyte is work for nothing.
    if len(name) > MAX_NAME_CHARACTERS * 4:
        raise _too_long()
    name = unicodedata.normalize("NFC", name)
    if not name:
        raise InvalidInputError("a name must not be empty")
    if len(name) > MAX_NAME_CHARACTERS:
        raise _too_long()
    _check_segments(name)
    return name


def _too_long() -> InvalidInputError:
    return InvalidInputError(
        f"a name has at most {MAX_NAME_CHARACTERS} characters", limit=MAX_NAME_CHARACTERS
    )


def _check_character(character: str, offset: int) -> None:
    if character == "\\":
        raise InvalidInputError("a name must not hold a backslash", offset=offset)
    if unicodedata.category(character) in _REFUSED_CATEGORIES or _INVISIBLE.match(character):
        raise InvalidInputError(
            f"a name must not hold the invisible or control character U+{ord(character):04X}",
            offset=offset,
        )


def _check_segments(name: str) -> None:
    offset = 0
    for segment in name.split("/"):
        if segment in ("", ".", ".."):
            raise InvalidInputError(
                "a name must not start or end with '/' or hold an empty, '.' or '..' segment",
                offset=offset,
            )
        offset += len(segment) + 1
