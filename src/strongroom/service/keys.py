"""The keys of the room's store: which there are, what wraps them, how much each has sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["KeyRow", "Keys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """
    One key; never its bytes.

    Args:
        id: 32 hexadecimal digits.
        number: 1 for the first key of the deployment.
        state: active (seals and opens) or retired (only opens).
        wrapped_by: the wrappers that can open it, as in `file`, `passphrase`.
        sealed: how many stored versions it has sealed.
    """

    id: str
    number: int
    state: str
    wrapped_by: tuple[str, ...]
    sealed: int
    created_at: datetime


class Keys:
    """Tell about keys as one actor."""

    def status(self) -> list[KeyRow]:
        """Give the keys, newest first; empty where the chain has no store of ours."""
        raise NotImplementedError
