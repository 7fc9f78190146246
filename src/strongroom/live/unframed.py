"""
Errors without the frames they came through: those hold what a connection says, and some reports of errors
show the values in frames.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bare", "unframed"]

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)

_MAX_DEEP = 50


def unframed(call: Callable[P, R]) -> Callable[P, R]:
    """Have errors of ours leave *call* without its frames and all below, and without what they came from."""

    @wraps(call)
    def called(*positional: P.args, **named: P.kwargs) -> R:
        try:
            return call(*positional, **named)
        except StrongroomError as caught:
            error = caught
        # Raised anew, outside `except`, so that nothing is chained to it.
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None)

    return called


def bare(error: E) -> E:
    """Give a library's *error* without its frames, nor those of what it came from."""
    found: BaseException | None = error
    for _ in range(_MAX_DEEP):
        if found is None:
            break
        found.__traceback__ = None
        found = found.__cause__ or found.__context__
    return error
