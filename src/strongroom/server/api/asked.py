"""What handlers have in common: the entry a path names, conditions of a change, texts that may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import BackendUnavailableError, ConflictError, InvalidInputError, NotFoundError
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.ref import Ref, check_team
from strongroom.wire.failure import FieldError, PreconditionError, problem_of
from strongroom.wire.listed import Troubles
from strongroom.wire.shape import MAX_COMMENT_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from strongroom.server.endpoint import Call

    T = TypeVar("T")

__all__ = ["Condition", "Troubles", "bounded", "entry_of", "known_team", "problem_of", "reason_of"]


def entry_of(call: Call, team: str | None) -> Ref:
    """
    Give the entry that the path names.

    Raises:
        InvalidInputError: it has no such kind, or the name or team is none.
    """
    return Ref(call.params["kind"], call.params["name"], team)  # type: ignore[arg-type]  # Ref checks the kind


def known_team(team: str | None) -> str | None:
    """
    Give *team* back.

    Raises:
        InvalidInputError: it cannot be the name of one.
    """
    if team is not None:
        check_team(team)
    return team


def bounded(text: str, *, field: str, most: int = MAX_COMMENT_CHARACTERS) -> str:
    """
    Give *text* back if it may be kept and shown.

    Raises:
        FieldError: it is longer than *most* characters, or holds a control character.
    """
    if len(text) > most:
        raise FieldError(f"{field} has more than {most} characters", field=f"$.{field}")
    if any(ord(character) < 32 and character not in "\n\t" for character in text) or "\x7f" in text:  # noqa: PLR2004 -- ASCII's controls
        raise FieldError(f"{field} holds a control character", field=f"$.{field}")
    return text


def reason_of(text: str) -> str:
    """
    Give the reason somebody says he has.

    Raises:
        FieldError: there is none.
    """
    reason = bounded(text, field="reason").strip()
    if not reason:
        raise FieldError("a reason is needed", field="$.reason", hint="say why, as in: checking the port")
    return reason


class Condition(NamedTuple):
    """
    What must stand for a change to be made.

    Args:
        match: this version, `*` for any; None where it does not matter.
        none_match: `*`: nothing may stand; None where it does not matter.
    """

    match: str | None
    none_match: str | None

    @classmethod
    def of(cls, call: Call) -> Condition:
        """
        Read `If-Match` and `If-None-Match`.

        Raises:
            InvalidInputError: both are given, or `If-None-Match` names a version.
        """
        match, none_match = call.if_match, call.if_none_match
        if match is not None and none_match is not None:
            raise InvalidInputError("If-Match and If-None-Match exclude one another")
        if none_match not in (None, "*"):
            raise InvalidInputError("If-None-Match can only be * here", hint="If-None-Match: *")
        return cls(match, none_match)

    @property
    def is_stated(self) -> bool:
        """Whether anything was asked of what stands."""
        return self != (None, None)

    @property
    def expected_version(self) -> str | None:
        """What a write is to find, in the words of `Change`; None where `check` must tell or anything may."""
        if self.none_match is not None:
            return MUST_BE_ABSENT
        return None if self.match == "*" else self.match

    def check(self, version: str | None, *, stands: bool) -> None:
        """
        Refuse a change of what stands.

        Raises:
            PreconditionError: something stands that must not, nothing does, or another version.
        """
        if self.none_match is not None and stands:
            raise PreconditionError("it exists already", current_version=version)
        if self.match is not None and not stands:
            raise PreconditionError("there is nothing to change")
        if self.match not in (None, "*", version):
            raise PreconditionError("another version stands", current_version=version)

    def around(self, work: Callable[[], T]) -> T:
        """
        Do *work*; where it finds another state than was asked for, say so as HTTP does.

        Raises:
            PreconditionError: the condition did not hold.
            Whatever *work* raises.
        """
        refusal: PreconditionError | None = None
        try:
            return work()
        except NotFoundError as error:
            if self.match is None:
                raise
            refusal = PreconditionError(str(error), hint=error.hint)
        except BackendUnavailableError:
            raise
        except ConflictError as error:
            if not self.is_stated:
                raise
            refusal = PreconditionError(str(error), current_version=error.current_version, hint=error.hint)
        raise refusal
