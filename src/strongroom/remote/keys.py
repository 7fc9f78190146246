"""The keys of a server's store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.caller import spelled
from strongroom.place import elsewhere
from strongroom.service.keys import Job, Keys, KeyStatus, Remains, Rotated
from strongroom.wire.keys import DestroyKey, KeyRemains, RotatedKeys, RotateKeys, WrapKeys
from strongroom.wire.keys import Keys as KeysTold

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.caller import Client
    from strongroom.wire.keys import KeyJob

__all__ = ["RemoteKeys"]

_LOOK_SECONDS = 0.5  # between two looks at a job that the server does


class RemoteKeys(Keys):
    """Tell about the keys of a server's store, and change them. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def status(self) -> list[KeyStatus]:
        """Give the keys by store, team and number. As `Keys.status`."""
        return [
            KeyStatus(
                id=row.id,
                number=row.number,
                team=row.team,
                state=row.state,  # type: ignore[arg-type]  # a newer server's word is shown as it is
                wrapped_by=tuple(row.wrapped_by),
                sealed_versions=row.sealed_versions,
                created_at=row.created_at,
                wraps=row.wraps,
                replaced_at=row.replaced_at,
                due_at=row.due_at,
            )
            for row in self._client.get("/keys", KeysTold).keys
        ]

    def job(self) -> Job | None:
        """Tell how far the server's job is. As `Keys.job`."""
        return _job(self._client.get("/keys", KeysTold).job)

    def rotate(self, *, team: str | None = None, is_every: bool = False, reason: str = "") -> list[Rotated]:
        """Have a new key seal from now on; the server moves what stands under the one before."""
        asked = RotateKeys(team=None if is_every else team, is_every=is_every, reason=reason)
        told = self._client.post("/keys/rotate", RotatedKeys, spelled(asked), is_change=True)
        return [Rotated(one.team, one.number, one.id, one.replaced) for one in told.keys]

    def rewrap(
        self,
        *,
        rate: float | None = None,  # noqa: ARG002 -- the server goes at its own: docs/keys.md
        progress: Callable[[int, int], None] | None = None,
        is_ended: Callable[[], bool] = lambda: False,
    ) -> Job | None:
        """Wait while the server works on the job, and give how it ended. As `Keys.rewrap`."""
        while True:
            found = self.job()
            if found is None or found.state != "running" or is_ended():
                return found
            if progress is not None:
                progress(min(found.done, found.total), found.total)
            time.sleep(_LOOK_SECONDS)

    def resume(self) -> None:
        """Leave a job to the server for whatever stands under older keys. As `Keys.resume`."""
        self._client.post("/keys/rotate", RotatedKeys, spelled(RotateKeys(is_resumed=True)), is_change=True)

    def wrap_anew(self, *, reason: str = "") -> int:
        """Have every key wrapped by the outer keys of the server's settings. As `Keys.wrap_anew`."""
        told = self._client.post("/keys/wrap", KeysTold, spelled(WrapKeys(reason=reason)), is_change=True)
        return sum(1 for key in told.keys if key.state != "destroyed")

    def remains(self, key_id: str) -> Remains:
        """Count what hangs on a key. As `Keys.remains`."""
        return _remains(self._client.get(f"/keys/{quote(key_id, safe='')}", KeyRemains))

    def destroy(self, key_id: str, *, reason: str = "") -> str:
        """Destroy a key on which nothing hangs any more. As `Keys.destroy`."""
        path = f"/keys/{quote(key_id, safe='')}/destroy"
        return self._client.post(path, KeyRemains, spelled(DestroyKey(reason=reason)), is_change=True).key

    def keep(self, *, old_at: datetime | None, is_ended: Callable[[], bool]) -> None:  # noqa: ARG002
        """Refuse: a server keeps its own keys."""
        raise elsewhere("keys are replaced at their age")


def _job(told: KeyJob | None) -> Job | None:
    if told is None:
        return None
    return Job(
        state=told.state,
        started_at=told.started_at,
        started_by=told.started_by,
        total=told.total,
        done=told.done,
        damaged=told.damaged,
        is_at_work=told.is_at_work,
        finished_at=told.finished_at,
    )


def _remains(told: KeyRemains) -> Remains:
    return Remains(told.key, told.state, told.versions, told.entries, told.registry, told.passwords)
