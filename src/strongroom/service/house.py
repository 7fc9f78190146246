"""
A House: every deployment that one process serves, each with its own chain, people, policies and record.

Not for making any of them (`assembly.open_house`) nor for what is done in one (`room.py`).

Rules of this file:

1. Deployments share nothing but the process and perhaps a store's file: no name, count or decision of one
   is told in another.
2. What runs on behind them ends with `close`: watchers first, then records of what was still counted.
3. Changing how the process runs is an act in its first deployment, decided and recorded there.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from strongroom.errors import NotFoundError, StrongroomError
from strongroom.policy import Action
from strongroom.service.changes import Watch
from strongroom.service.comparison import Comparison
from strongroom.service.keeping import Keeper
from strongroom.service.mode import level_of
from strongroom.service.scheduled import Schedule
from strongroom.service.sealing import Seals
from strongroom.service.series import Ticker
from strongroom.service.trials import trials_of
from strongroom.service.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.audit.intake import Intake
    from strongroom.cache import Cache
    from strongroom.chain import Chain
    from strongroom.policy import Actor
    from strongroom.registry import Registry, Snapshot
    from strongroom.service.access import Access
    from strongroom.service.arrangement import Arrangement
    from strongroom.service.changes import Feed
    from strongroom.service.guard import Guard, Recorder
    from strongroom.service.mode import Mode
    from strongroom.service.policies import Policies
    from strongroom.service.reading import Reading, Uses
    from strongroom.service.room import Room
    from strongroom.service.sealing import Opening, Unsealing
    from strongroom.service.series import Ring
    from strongroom.service.trials import Trials
    from strongroom.service.verified import VerifiedRuns
    from strongroom.settings import Settings

__all__ = ["Deployment", "House"]


@runtime_checkable
class _Closing(Protocol):
    def close(self) -> None: ...


class Shared(Protocol):
    """What all actors of a deployment share, made when it is first asked for."""

    @property
    def all_access(self) -> Access: ...

    @property
    def all_policies(self) -> Policies: ...

    @property
    def intake(self) -> Intake: ...

    @property
    def verified(self) -> VerifiedRuns: ...

    @property
    def arrangement(self) -> Arrangement: ...

    def warm(self) -> None: ...


class Deployment(NamedTuple):
    """
    One deployment as nobody in particular: the parts that all its actors share.

    Args:
        name: its name.
        root: its room, as the process itself; ask `room` for anybody else's.
        registry: the rows of who may.
        feed: its changes, as they happen.
        ring: its reads a minute.
    """

    name: str
    settings: Settings
    root: Room
    chain: Chain
    cache: Cache
    guard: Guard
    recorder: Recorder
    reading: Reading
    feed: Feed
    registry: Registry
    ring: Ring
    parts: Shared

    @property
    def access(self) -> Access:
        """People, tokens and roles as nobody: for what comes before an identity."""
        return self.parts.all_access

    @property
    def policies(self) -> Policies:
        """Policies as nobody: for the one that decides now."""
        return self.parts.all_policies

    @property
    def intake(self) -> Intake:
        """What takes the records of agents."""
        return self.parts.intake

    @property
    def verified(self) -> VerifiedRuns:
        """What verifies runs for agents."""
        return self.parts.verified

    @property
    def trials(self) -> Trials:
        """How tests of connections went."""
        return trials_of(self.registry)

    def watch(self) -> None:
        """Heed what other processes write of who may and of the chain, from now on."""
        self.registry.watch(partial(_stir, self.feed))
        self.registry.watch(self.parts.arrangement.heed)

    def warm(self) -> None:
        """Begin to read behind what pages ask for: every line there is."""
        self.parts.warm()

    @property
    def arrangement(self) -> Arrangement:
        """How its chain stands while it is asked, and drills."""
        return self.parts.arrangement

    @property
    def uses(self) -> Uses:
        """Which uses are on record."""
        return self.reading.uses

    def room(self, actor: Actor) -> Room:
        """Give the room as *actor*, who has been authenticated in this deployment."""
        return self.root.as_actor(actor)

    def close(self) -> None:
        """Let go of what it holds, but its record. Safe to call twice."""
        self.registry.close()
        self.root.close()


class House:
    """
    Every deployment of this process.

    Threads: may be used from several threads and loops at once.

    Args:
        deployments: those that are open, in the order of the settings.
        mode: how the process runs.
        settings: of the first deployment.
        watches: those that tell of changes by other processes.
        openings: how deployments are opened, by name; without, none can be sealed.
        sealed: why deployments that could not be opened yet are sealed, by name.
        troubles: why deployments of the settings could not be opened and never will, by name.
        clock: UTC.

    Attributes:
        first: the name of the one that is meant where none is named.
        mode: how the process runs.
        settings: as given.
        seals: which deployments are sealed, and what opens them.
        troubles: as given.
        comparison: compares its deployments.
    """

    def __init__(  # noqa: PLR0913 -- what a house is made of
        self,
        deployments: Sequence[Deployment],
        *,
        mode: Mode,
        settings: Settings,
        watches: Sequence[Watch] = (),
        openings: Mapping[str, Opening] = MappingProxyType({}),
        sealed: Mapping[str, StrongroomError] = MappingProxyType({}),
        troubles: Mapping[str, StrongroomError] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._deployments = {deployment.name: deployment for deployment in deployments}
        self._order = (settings.deployment, *settings.others)
        known = {*self._deployments, *sealed}
        self.first = next(name for name in self._order if name in known)
        self.mode = mode
        self.settings = settings
        self.troubles = dict(troubles or {})
        self._watches = list(watches)
        self._windows = Windows([deployment.reading for deployment in deployments])
        self._ticker = Ticker(clock)
        for deployment in deployments:
            self._ticker.add(deployment.ring)
        self._openings = dict(openings)
        self._is_started = False
        self._watchers: list[Callable[[str, Deployment | None], None]] = []
        self.seals = Seals(openings, adopt=self._adopt, let_go=self._let_go, clock=clock)
        for name, error in sealed.items():
            self.seals.begin(name, error)
        for name in self._deployments:
            self.seals.hold(name)
        self.comparison = Comparison()
        self._keeper = Keeper(lambda: self.mode.read_only)
        self.watch(self._keeper.heed)
        self._schedule = Schedule(settings.server, lambda: self.mode.read_only)
        self.watch(self._schedule.heed)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the deployments that are open, in the order of the settings."""
        return tuple(name for name in self._order if name in self._deployments)

    def deployment(self, name: str | None = None) -> Deployment:
        """
        Give one deployment as nobody.

        Raises:
            NotFoundError: there is none of that name here. Whoever has no identity must not be told.
            SealedError: it is sealed.
        """
        name = self.first if name is None else name
        found = self._deployments.get(name)
        if found is not None:
            return found
        raise self.seals.refusal(name) or NotFoundError("there is no such deployment here")

    def room(self, deployment: str | None, actor: Actor) -> Room:
        """
        Give the room of *deployment* (None: the first) as *actor*, who has been authenticated in it.

        Raises:
            NotFoundError: as `deployment`.
        """
        return self.deployment(deployment).root.as_actor(actor)

    def set_mode(
        self, actor: Actor, *, read_only: bool | None = None, log_level: str | None = None, reason: str = ""
    ) -> Mode:
        """
        Change how the process runs, as an administrator of its first deployment; None leaves as it is.

        Raises:
            InvalidInputError: there is no such log level.
            AccessDeniedError: *actor* does not administer the first deployment.
            NotRecordedError: the change cannot be recorded; nothing was changed.
        """
        level = None if log_level is None else level_of(log_level)
        said = [f"read_only={str(read_only).lower()}"] if read_only is not None else []
        said += [f"log_level={level}"] if level is not None else []
        why = " ".join(["mode", *said]) + (f": {reason}" if reason else "")
        guard = self.deployment().guard
        # Read-only mode must be possible to end.
        guard.administer(actor, lambda: self.mode.change(read_only=read_only, log_level=level), reason=why)
        return self.mode

    def may_set_mode(self, actor: Actor) -> bool:
        """Tell whether *actor*, of the first deployment, might change the mode."""
        return self.deployment().guard.can(actor, Action.ADMINISTER, None).is_allowed

    # --- sealing -----------------------------------------------------------------------------------

    def seal(self, deployment: str, actor: Actor, *, reason: str = "") -> None:
        """
        Forget the keys of *deployment* and close it, as an administrator of it, in this process.

        Raises:
            AccessDeniedError: *actor* does not administer it.
            NotRecordedError: it cannot be recorded; nothing was changed.
            ConflictError: as `Seals.seal`.
        """
        guard = self.deployment(deployment).guard
        why = "seal" + (f": {reason}" if reason else "")
        guard.administer(actor, lambda: self.seals.seal(deployment, actor, reason=reason), reason=why)

    def unseal(self, deployment: str, brought: Unsealing) -> None:
        """
        Open *deployment* with what somebody brought.

        Raises:
            As `Seals.unseal`.
        """
        self.seals.unseal(deployment, brought)

    def watch(self, callback: Callable[[str, Deployment | None], None]) -> None:
        """
        Call *callback* with the name of each deployment and itself: now for those that are open, when one is
        opened, and with None when one is sealed. It must not block or raise.
        """
        self._watchers.append(callback)
        for name in self.names:
            callback(name, self._deployments[name])

    def _adopt(self, deployment: Deployment) -> None:
        watch = Watch([deployment.feed])
        self._watches.append(watch)
        self._windows.add(deployment.reading)
        self._ticker.add(deployment.ring)
        if self._is_started:
            watch.start()
            deployment.watch()
            deployment.warm()
        self._deployments[deployment.name] = deployment
        for callback in list(self._watchers):
            callback(deployment.name, deployment)

    def _let_go(self, name: str) -> None:
        deployment = self._deployments.pop(name)
        for callback in list(self._watchers):
            callback(name, None)
        for watch in self._watches:
            watch.forget(deployment.feed)
        self._windows.remove(deployment.reading)
        self._ticker.remove(deployment.ring)
        deployment.feed.stir()  # who listens finds that nobody may any more
        deployment.close()

    # --- what runs on behind -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch for others' changes, to record windows that ended, and to try what is sealed."""
        self._is_started = True
        for watch in self._watches:
            watch.start()
        for deployment in self._deployments.values():
            deployment.watch()
            deployment.warm()
        self._windows.start()
        self._ticker.start()
        self._keeper.start()
        self._schedule.start()
        self.seals.start()

    def close(self) -> None:
        """Let go of everything; what was counted is recorded before. Safe to call twice."""
        self.seals.close()
        self.comparison.close()
        for watch in self._watches:
            watch.close()
        self._schedule.close()
        self._keeper.close()
        self._ticker.close()
        self._windows.close()
        for deployment in self._deployments.values():
            deployment.close()
        recorders = [deployment.recorder for deployment in self._deployments.values()]
        recorders += [opening.recorder for opening in self._openings.values()]
        for recorder in dict.fromkeys(recorders):
            if isinstance(recorder, _Closing):
                recorder.close()

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()


def _stir(feed: Feed, _snapshot: Snapshot) -> None:
    feed.stir()  # who may has changed: who listens may be told more, less, or nothing any more
