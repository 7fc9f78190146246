"""Shapes of keys: which there are, new ones, the job that moves values, and the end of old ones."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time

from strongroom.wire.shape import Asked, Given

__all__ = [
    "DestroyKey",
    "KeyJob",
    "KeyRemains",
    "KeyRow",
    "Keys",
    "RotateKeys",
    "RotatedKey",
    "RotatedKeys",
    "WrapKeys",
]


class KeyRow(Given, kw_only=True):
    """
    One key of the store; never its bytes.

    Args:
        number: counts the keys of one team from 1.
        state: `active`, `deactivated` (opens only) or `destroyed`.
        wrapped_by: kind and name of each outer key.
        sealed_versions: how many versions only this key opens.
        wraps: how many values it has ever sealed.
        replaced_at: when the next key of its team was made.
        due_at: when an active key is to be replaced because of its age.
    """

    id: str
    number: int
    team: str | None
    state: str
    wrapped_by: list[str]
    sealed_versions: int
    created_at: datetime
    wraps: int = 0
    replaced_at: datetime | None = None
    due_at: datetime | None = None


class KeyJob(Given, kw_only=True):
    """
    How far the moving of values to new keys is.

    Args:
        state: `running` until nothing is left under older keys, then `finished`.
        total: versions that stood under older keys when it began.
        done: of those, moved.
        damaged: left as they are, because they fail authentication.
        is_at_work: some server or command is at it now.
    """

    state: str
    started_at: datetime
    started_by: str
    total: int
    done: int
    damaged: int
    is_at_work: bool
    finished_at: datetime | None = None


class Keys(Given, kw_only=True):
    """The keys, by store, team and number, and the last job; none where no key was ever replaced."""

    keys: list[KeyRow]
    job: KeyJob | None = None


class RotateKeys(Asked, kw_only=True):
    """
    Which keys to replace.

    Args:
        team: whose; None for that of the entries of no team.
        is_every: those of all teams, and that of none.
        is_resumed: none; go on with what stands under older ones.
        reason: why, for the record.
    """

    team: str | None = None
    is_every: bool = False
    is_resumed: bool = False
    reason: str = ""


class RotatedKey(Given, kw_only=True):
    """
    One key that took the place of another.

    Args:
        id: of the new one.
        replaced: the id of the one before.
    """

    team: str | None
    number: int
    id: str
    replaced: str


class RotatedKeys(Given, kw_only=True):
    """The new keys, and the job that the server does from now on."""

    keys: list[RotatedKey]
    job: KeyJob | None


class WrapKeys(Asked, kw_only=True):
    """That every key is to be wrapped by exactly the outer keys of the settings; why, for the record."""

    reason: str = ""


class KeyRemains(Given, kw_only=True):
    """
    What hangs on one key still.

    Args:
        versions, entries, registry: rows that name it.
        passwords: of people who have not logged in since it was replaced.
    """

    key: str
    state: str
    versions: int
    entries: int
    registry: int
    passwords: int


class DestroyKey(Asked, kw_only=True):
    """That a key is to be destroyed; why, for the record."""

    reason: str = ""
