"""How the code of a test says that a step failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.live.trouble import Reason, Step

__all__ = ["FailedError"]


class FailedError(StrongroomError):
    """
    A step of a test failed. Never leaves the child process: what leaves are its two words.

    Attributes:
        reason: why.
        step: which; None for the one under way.
    """

    code = "failed"

    def __init__(self, reason: Reason, *, step: Step | None = None) -> None:
        super().__init__(f"a step of a test failed: {reason}")
        self.reason: Reason = reason
        self.step: Step | None = step
