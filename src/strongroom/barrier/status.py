"""What is told of keys: which there are, which took the place of which, and how far the job is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from strongroom.crypto.keyring import State

__all__ = ["LEASE_SECONDS", "Job", "KeyStatus", "Rotated"]

LEASE_SECONDS = 15.0  # without a sign of life, after which another process takes a job over


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """
    One key of the deployment.

    Attributes:
        id: hexadecimal; public.
        number: counts the keys of one team from 1.
        wrapped_by: kind and name of each outer key, as `file /path`, as they were at wrapping.
        sealed_versions: how many versions only this key opens.
        wraps: how many values it has ever sealed, toward `ALARM_WRAPS` and `MAX_WRAPS`.
        replaced_at: when the next key of its team was made, None for the newest.
        due_at: when an active key is to be replaced because of its age, None where that is not watched.
    """

    id: str
    number: int
    team: str | None
    state: State
    wrapped_by: tuple[str, ...]
    sealed_versions: int
    created_at: datetime
    wraps: int = 0
    replaced_at: datetime | None = None
    due_at: datetime | None = None


class Rotated(NamedTuple):
    """
    One key that took the place of another.

    Attributes:
        id: of the new key, in hexadecimal.
        replaced: the id of the one before.
    """

    team: str | None
    number: int
    id: str
    replaced: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    How far a job is.

    Attributes:
        state: `running` until nothing is left under older keys, then `finished`.
        total: versions that stood under older keys when it began.
        done: of those, put under the new ones.
        damaged: left as they are, because they fail authentication.
        is_at_work: some process was at it within the last `LEASE_SECONDS`.
    """

    state: str
    started_at: datetime
    started_by: str
    total: int
    done: int
    damaged: int
    is_at_work: bool
    finished_at: datetime | None = None
