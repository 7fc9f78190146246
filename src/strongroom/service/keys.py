"""
The keys of the room's store: which there are, how new ones are made, and how old ones end.

Rules of this file:

1. Whoever changes keys administers the deployment; each act is recorded before and after.
2. The rows of who may go under a new key with the entries, as the last step of the job.
3. A key is destroyed only once nothing hangs on it: no row, and no password that was last used under it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.barrier import ROTATOR, Job, KeyStatus, Rotated
from strongroom.errors import BackendConfigError, ConflictError, InvalidInputError, StrongroomError
from strongroom.policy import Action
from strongroom.service.guard import event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.barrier import Barrier
    from strongroom.policy import Actor
    from strongroom.registry import Registry
    from strongroom.service.guard import Guard

__all__ = ["Job", "KeyStatus", "Keys", "Remains", "Rotated"]

_REWRAP = "keys: re-wrap"

T = TypeVar("T")


class Remains(NamedTuple):
    """
    What hangs on one key still.

    Attributes:
        key: its id, whole, in hexadecimal.
        state: of the key.
        versions, entries, registry: rows that name it, by table.
        passwords: of people who have not logged in since it was replaced.
    """

    key: str
    state: str
    versions: int
    entries: int
    registry: int
    passwords: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.versions + self.entries + self.registry + self.passwords


class Keys:
    """
    Tell about keys, and change them, as one actor.

    Threads: safe.

    Args:
        barriers: one for each store of ours in the chain.
        registry: gives the rows of who may; asked only by what changes keys.
        rate: entries a second that are moved to a new key at most; 0 for as fast as it goes.
        lifetime: age at which a key is to be replaced; none at all for never.
        make_outer: makes outer keys of the settings that can be made here and wrap nothing yet.
    """

    def __init__(  # noqa: PLR0913 -- what its acts need
        self,
        barriers: Sequence[Barrier],
        guard: Guard,
        actor: Actor,
        *,
        registry: Callable[[], Registry],
        rate: float = 0.0,
        lifetime: timedelta = timedelta(),
        make_outer: Callable[[], None] = lambda: None,
    ) -> None:
        self._barriers = tuple(barriers)
        self._guard = guard
        self._actor = actor
        self._registry = registry
        self._rate = rate
        self._lifetime = lifetime
        self._make_outer = make_outer

    # --- looking -------------------------------------------------------------------------------

    def status(self) -> list[KeyStatus]:
        """
        Give the keys by store, team and number; empty where the chain has no store of ours.

        Whoever may not describe every entry is told of the keys of his own teams: the others would tell
        which teams there are, and how much each has written.

        Raises:
            BackendUnavailableError: a store gave no answer.
        """
        return self._guard.act(self._actor, Action.DESCRIBE, None, self._status)

    def job(self) -> Job | None:
        """
        Tell how far the job of re-wrapping is; None where no key was ever replaced, or for who may not see
        every key.

        Raises:
            BackendUnavailableError: the store gave no answer.
        """
        return self._guard.act(self._actor, Action.DESCRIBE, None, self._job)

    def _job(self) -> Job | None:
        return self._barriers[0].rewrap.status() if self._barriers and self._sees_all() else None

    def _status(self) -> list[KeyStatus]:
        found = [
            self._dated(key)
            for barrier in self._barriers
            for key in barrier.keys()  # noqa: SIM118 -- not a mapping
        ]
        if self._sees_all():
            return found
        teams = {role.team for role in self._actor.roles}
        scope = self._actor.scope
        bounds = {team or None for team in scope.teams} if scope is not None and scope.teams else None
        return [
            key
            for key in found
            if (None in teams or key.team in teams) and (bounds is None or key.team in bounds)
        ]

    def _dated(self, key: KeyStatus) -> KeyStatus:
        if key.state != "active" or not self._lifetime:
            return key
        return replace(key, due_at=key.created_at + self._lifetime)

    def _sees_all(self) -> bool:
        return self._guard.sight(self._actor, Action.DESCRIBE).is_whole or self._administers()

    def _administers(self) -> bool:
        # The local owner has no role, and is of no team. What bounds a credential bounds this too.
        is_bounded = self._actor.scope is not None and any(self._actor.scope)
        return not is_bounded and self._guard.can(self._actor, Action.ADMINISTER, None).is_allowed

    # --- new keys ------------------------------------------------------------------------------

    def rotate(self, *, team: str | None = None, is_every: bool = False, reason: str = "") -> list[Rotated]:
        """
        Have a new key seal from now on, and leave a job for what stands under the one before.

        Args:
            team: whose key; None for that of the entries of no team.
            is_every: the keys of all teams, and that of none.
            reason: why, for the record.

        Raises:
            NotFoundError: the team has no key.
            AccessDeniedError: the actor does not administer the deployment.
            ConflictError: another process changed the keys meanwhile; nothing was done.
            SealedError, BackendConfigError: an outer key is not to be had; nothing was done.
            BackendUnavailableError: the store cannot be written now.
        """
        barrier = self._barrier()
        teams = ["", *barrier.teams()] if is_every else [team or ""]
        whose = "every key" if is_every else f"the key of {team}" if team else "the key of no team"
        return self._administer(
            lambda: barrier.rotation.rotate(teams, author=self._actor.id), _said(f"rotate {whose}", reason)
        )

    def rewrap(
        self,
        *,
        rate: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        is_ended: Callable[[], bool] = lambda: False,
    ) -> Job | None:
        """
        Work on the job until nothing is left, and give how it ended; None where there is nothing to do.

        Args:
            rate: entries a second at most; 0 for as fast as it goes; unsaid, that of the settings.
            progress: called with how many versions are done, and of how many.
            is_ended: asked after each batch; then the job is left to whoever goes on with it.

        Raises:
            ConflictError: another process is at work on it.
            AccessDeniedError, SealedError, BackendUnavailableError: as `rotate`; what is done stays done.
            TamperedError: the rows of who may were changed by hand; what is done stays done.
        """
        self._barrier()
        pace = self._rate if rate is None else rate
        return self._administer(lambda: self._worked_off(pace, progress, is_ended), _REWRAP)

    def _worked_off(
        self,
        rate: float,
        progress: Callable[[int, int], None] | None,
        is_ended: Callable[[], bool],
    ) -> Job | None:
        barrier = self._barrier()
        return barrier.rewrap.run(
            rate=rate,
            progress=progress,
            is_ended=is_ended,
            before_end=lambda: self._registry().reseal(barrier.rotation.sealing()),
        )

    def resume(self) -> None:
        """
        Leave a job for whatever stands under older keys, whether one ended before or not.

        Raises:
            AccessDeniedError, BackendUnavailableError: as `rotate`.
        """
        barrier = self._barrier()
        self._administer(lambda: barrier.rotation.resume(author=self._actor.id), "keys: begin the job anew")

    def wrap_anew(self, *, reason: str = "") -> int:
        """
        Wrap every key with exactly the outer keys of the settings, and give how many keys there are.

        A key file of the settings that is not there, and wraps nothing here, is made.

        Raises:
            SealedError, BackendConfigError: an outer key is not to be had; nothing was changed.
            AccessDeniedError, ConflictError, BackendUnavailableError: as `rotate`.
        """
        barrier = self._barrier()

        def wrap_anew() -> int:
            self._make_outer()
            return barrier.rotation.wrap_anew()

        return self._administer(wrap_anew, _said("wrap every key anew", reason))

    # --- the end of a key ----------------------------------------------------------------------

    def remains(self, key_id: str) -> Remains:
        """
        Count what hangs on the key whose id begins with *key_id*, in hexadecimal.

        Raises:
            NotFoundError: there is no such key.
            InvalidInputError: there are several.
            AccessDeniedError, BackendUnavailableError: as `rotate`.
        """
        self._guard.check(self._actor, Action.ADMINISTER, None, None)
        return self._remains(key_id)

    def _remains(self, key_id: str) -> Remains:
        rotation = self._barrier().rotation
        key = rotation.find(key_id)
        return Remains(key.id.hex(), key.state, *rotation.named(key), self._passwords(key.id))

    def _passwords(self, key_id: bytes) -> int:
        from strongroom.service.access.shape import PERSON, Person, decoded  # noqa: PLC0415 -- only who asks

        people = (decoded(row, Person) for row in self._registry().snapshot().of(PERSON).values())
        return sum(1 for one in people if one.verifier is not None and one.verifier.mac.startswith(key_id))

    def destroy(self, key_id: str, *, reason: str = "") -> str:
        """
        Destroy a key on which nothing hangs any more, and give its whole id.

        Args:
            key_id: its whole id, in hexadecimal: no beginning of it is good enough here.
            reason: why, for the record.

        Raises:
            NotFoundError: there is no such key.
            InvalidInputError: that is not a whole id.
            ConflictError: it seals, or something hangs on it.
            AccessDeniedError, BackendUnavailableError: as `rotate`.
        """
        self._guard.check(self._actor, Action.ADMINISTER, None, None)  # before it is told which there are
        rotation = self._barrier().rotation
        key = rotation.find(key_id)
        if len(key_id) != len(key.id.hex()):
            raise InvalidInputError("give the whole id of the key", hint="strongroom keys status")

        def destroy() -> str:
            waiting = self._passwords(key.id)
            if waiting:
                raise ConflictError(
                    f"{waiting} passwords were last used before the key was replaced, and end with it",
                    hint="have those people log in once, or set their passwords anew",
                )
            rotation.destroy(key)
            return key.id.hex()

        return self._administer(destroy, _said(f"destroy {key.id.hex()}", reason))

    # --- what a server does by itself --------------------------------------------------------------

    def keep(self, *, old_at: datetime | None, is_ended: Callable[[], bool]) -> None:
        """
        Replace keys that have come to their age, and work on a job that nobody works on.

        It is the process that does so and nobody in it, so nobody is asked; it is recorded as anything else.

        Args:
            old_at: the time by which age is told; None looks at no age.
            is_ended: asked after each batch of the job.

        Raises:
            ConflictError: another process was faster.
            SealedError, BackendConfigError, BackendUnavailableError, TamperedError, NotRecordedError: as
                `rotate` and `rewrap`.
        """
        if not self._barriers:
            return
        barrier = self._barriers[0]
        for key in barrier.keys() if old_at is not None and self._lifetime else ():
            if key.state == "active" and key.created_at + self._lifetime <= (old_at or key.created_at):
                teams = [key.team or ""]
                self._recorded(
                    lambda teams=teams: barrier.rotation.rotate(teams, author=ROTATOR),  # type: ignore[misc]
                    f"keys: rotate {key.id}, which has come to its age",
                )
        job = barrier.rewrap.status()
        if job is not None and job.state == "running" and not job.is_at_work:
            self._recorded(lambda: self._worked_off(self._rate, None, is_ended), _REWRAP)

    def _recorded(self, work: Callable[[], T], said: str) -> T:
        record = partial(event_of, self._actor, Action.ADMINISTER, None)
        recorder = self._guard.recorder
        recorder.append(record("begun", reason=said))
        try:
            answer = work()
        except BaseException as error:
            why = error.code if isinstance(error, StrongroomError) else type(error).__name__
            recorder.append(record("failed", reason=why))
            raise
        recorder.append(record("done", reason=said))
        return answer

    # --- helping -------------------------------------------------------------------------------

    def _administer(self, work: Callable[[], T], said: str) -> T:
        return self._guard.act(self._actor, Action.ADMINISTER, None, work, reason=said)

    def _barrier(self) -> Barrier:
        if not self._barriers:
            raise BackendConfigError("there is no store here, so there are no keys", hint="strongroom init")
        return self._barriers[0]


def _said(what: str, reason: str) -> str:
    return f"keys: {what}" + (f": {reason}" if reason else "")
