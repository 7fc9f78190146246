"""What a credential is good for at most, whatever policy would allow its holder."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

from strongroom.policy import Action, Decision

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.policy import Scope

__all__ = ["is_within", "out_of_bounds"]


def out_of_bounds(  # noqa: PLR0911 -- one bound, one refusal
    scope: Scope | None, action: Action, ref: Ref | None
) -> Decision | None:
    """Give the refusal of what a credential is not good for, whatever its holder may; else None."""
    if scope is None:
        return None
    if scope.actions and action.value not in scope.actions:
        return _beyond("actions")
    if ref is None:
        # A listing is filtered by name; whatever else is done to the room is done to every name in it.
        is_narrow = bool(scope.kinds or scope.names or scope.teams)
        return _beyond("entries") if is_narrow and action is not Action.LIST else None
    if scope.kinds and ref.kind not in scope.kinds:
        return _beyond("kinds")
    if scope.teams and (ref.team or "") not in scope.teams:
        return _beyond("teams")
    if scope.names and not _globs(scope.names).fullmatch(ref.name):
        return _beyond("names")
    return None


def is_within(scope: Scope | None, action: Action, ref: Ref | None) -> bool:
    """Tell whether a credential with these bounds is good for that."""
    return out_of_bounds(scope, action, ref) is None


def _beyond(what: str) -> Decision:
    return Decision(
        is_allowed=False,
        reason=f"the credential is not good for it: outside its {what}",
        policies=("credential-scope",),
    )


@lru_cache(maxsize=1024)
def _globs(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(name) for name in names))
