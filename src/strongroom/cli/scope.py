"""What a credential is good for at most, as it is typed and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.errors import InvalidInputError
from strongroom.policy import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ScopeOption", "scope_facts", "scope_in", "scope_text"]

ScopeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="WHAT=WORDS",
        help="What it is good for at most: actions, kinds, names or teams, as names=prod/*; repeatable.",
    ),
]


def scope_in(parts: Sequence[str] | None) -> Scope | None:
    """
    Read `actions=read,list` and the like.

    Raises:
        InvalidInputError: one of them says nothing.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in parts or ():
        what, mark, words = part.partition("=")
        if not mark or what not in Scope._fields:
            raise InvalidInputError(
                "--scope names what it bounds", hint=f"one of {', '.join(Scope._fields)}, as in names=prod/*"
            )
        # A team may be "": the global names. Nothing else is empty.
        said_now = tuple(word for word in words.split(",") if word or what == "teams")
        if not said_now:
            raise InvalidInputError(
                f"--scope {what}= says nothing", hint="leave it out, or say at least one word"
            )
        found[what] = (*found.get(what, ()), *said_now)
    return Scope(**found) if found else None


def scope_text(scope: object) -> str:
    """Say the bounds of a credential as they are typed."""
    if not isinstance(scope, dict):
        return ""
    return " ".join(f"{what}={','.join(words)}" for what, words in scope.items() if words)


def scope_facts(scope: Scope | None) -> dict[str, list[str]] | None:
    """Give the bounds of a credential as they are written in JSON; None where it has none."""
    return None if scope is None else {what: list(words) for what, words in scope._asdict().items()}
