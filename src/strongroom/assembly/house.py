"""
Every deployment of the settings, opened for many actors.

Not for what is done in one: `service/house.py`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.assembly.backends import chain_of, lifetimes_of, links_of, native_of, patience_of
from strongroom.assembly.identity import check_issuers
from strongroom.assembly.nouns import OfHouse, Parts, raise_alarm, registry_of
from strongroom.assembly.store import barrier_of, has_key, no_store, open_barrier
from strongroom.assembly.ways import Ways, local_owner, now, settings_from
from strongroom.audit import AuditLog
from strongroom.cache import Cache
from strongroom.errors import SealedError, StrongroomError
from strongroom.place import require_library
from strongroom.policy import OwnerPolicy
from strongroom.service.changes import Feed, Watch
from strongroom.service.guard import Guard
from strongroom.service.house import Deployment, House
from strongroom.service.known import known_facts
from strongroom.service.mode import Mode
from strongroom.service.room import Room
from strongroom.service.sealing import Opening
from strongroom.service.series import Ring
from strongroom.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from strongroom.backend import Backend
    from strongroom.chain import Chain
    from strongroom.model.secret import Secret
    from strongroom.policy import Policy
    from strongroom.service.guard import Recorder
    from strongroom.service.policies import Policies
    from strongroom.service.reading import Uses


def open_house(  # noqa: PLR0913 -- what comes from outside
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    passphrase: Callable[[], Secret[str]] | None = None,
    recorder: Callable[[Settings], Recorder] | None = None,
    uses: Callable[[Settings], Uses] | None = None,
    policy: Callable[[Settings], Callable[[], Policy]] | None = None,
    on_trouble: Callable[[str, StrongroomError], None] | None = None,
    may_wait: bool = False,
) -> House:
    """
    Open every deployment of the settings for many actors, making nothing.

    Args:
        config: as of `open_room`; settings open the deployment they are of and the others of their file.
        environ: as of `open_room`.
        cwd: as of `open_room`.
        passphrase: as of `open_room`.
        recorder: makes what records the acts of a deployment; unsaid, its audit log. One that has `close`
            is closed with the house.
        uses: makes what remembers which uses of a deployment are on record; unsaid, each is recorded.
        policy: gives what tells the policy that decides now, instead of those in the store of a deployment.
        on_trouble: told the name of a deployment that cannot be opened, and why; the others are opened.
            Unsaid, and where none can be opened, trouble is raised.
        may_wait: count a deployment whose key is not to be had as sealed, and open the house all the same.

    Raises:
        SettingsError: the settings are wrong, or an agent or server is named.
        BackendConfigError: a backend will never work as configured, or a deployment has no store.
        SealedError: no wrapper opens a store.
    """
    require_library(environ)
    first = settings_from(config, environ, cwd, None)
    ways = Ways(environ=environ, clock=now, ask=passphrase)
    mode = Mode()
    serving = _Serving(ways, mode, recorder=recorder, uses=uses, policy=policy)
    begun = _Begun([], {}, {}, {})
    try:
        for name in (first.deployment, *first.others):
            try:
                _begin(begun, serving, _sibling(first, name, config, environ, cwd), may_wait=may_wait)
            except StrongroomError as error:
                if on_trouble is None:
                    raise _in_deployment(name, error) from None
                begun.troubles[name] = error
                on_trouble(name, error)
        if begun.opened or begun.sealed:
            return House(
                begun.opened,
                mode=mode,
                settings=first,
                watches=_watches(begun.opened),
                openings=begun.openings,
                sealed=begun.sealed,
                troubles=begun.troubles,
                clock=ways.clock,
            )
    except BaseException:
        for deployment in begun.opened:
            deployment.close()
        raise
    raise next(iter(begun.troubles.values()))


class _Begun(NamedTuple):
    """What a house is made of, while its deployments are opened one after the other."""

    opened: list[Deployment]
    openings: dict[str, Opening]
    sealed: dict[str, StrongroomError]
    troubles: dict[str, StrongroomError]


def _begin(begun: _Begun, serving: _Serving, settings: Settings, *, may_wait: bool) -> None:
    try:
        deployment = serving.deployment(settings)
    except SealedError as error:
        # Where there never was a key there is none to wait for.
        if not may_wait or not serving.has_key(settings):
            raise
        begun.sealed[settings.deployment] = error
        begun.openings[settings.deployment] = serving.opening(settings, serving.recorder(settings))
        return
    begun.opened.append(deployment)
    begun.openings[settings.deployment] = serving.opening(settings, deployment.recorder)


class _Serving:
    """Opens one deployment after the other for many actors."""

    def __init__(
        self,
        ways: Ways,
        mode: Mode,
        *,
        recorder: Callable[[Settings], Recorder] | None,
        uses: Callable[[Settings], Uses] | None,
        policy: Callable[[Settings], Callable[[], Policy]] | None,
    ) -> None:
        self._ways = ways
        self._mode = mode
        self._recorder = recorder
        self._uses = uses
        self._policy = policy

    def opening(self, settings: Settings, recorder: Recorder) -> Opening:
        """Give how one is opened again, with the record that it has."""
        asking_nobody = replace(self._ways, ask=None)
        name = native_of(settings)

        def open_again(ask: Callable[[], Secret[str]] | None) -> Deployment:
            return self.deployment(settings, replace(self._ways, ask=ask), recorder)

        def confirm() -> None:
            open_barrier(name, settings, asking_nobody).close()

        return Opening(settings=settings, recorder=recorder, open=open_again, confirm=confirm)

    def has_key(self, settings: Settings) -> bool:
        """Tell whether one has a key in its store, whoever opens it."""
        return has_key(settings, self._ways.environ)

    def recorder(self, settings: Settings) -> Recorder:
        """Give what records the acts of one."""
        if self._recorder is not None:
            return self._recorder(settings)
        return AuditLog(settings.audit.path, deployment=settings.deployment, clock=self._ways.clock)

    def deployment(
        self, settings: Settings, ways: Ways | None = None, recorder: Recorder | None = None
    ) -> Deployment:
        """
        Open one.

        Args:
            settings: its own.
            ways: other ways than those of the house.
            recorder: the record it has already.

        Raises:
            As `open_house`.
        """
        made: list[Backend] = []
        try:
            return self._deployment(settings, made, ways or self._ways, recorder)
        except BaseException:
            for backend in made:
                backend.close()
            raise

    def _deployment(
        self, settings: Settings, made: list[Backend], ways: Ways, recorder: Recorder | None
    ) -> Deployment:
        clock = ways.clock
        check_issuers(settings.access, clock=clock, environ=ways.environ)
        chain = chain_of(links_of(settings, ways, made, None), settings, clock)
        barrier = next((found for link in chain.links if (found := barrier_of(link.backend))), None)
        if barrier is None:
            raise no_store(settings)
        log = AuditLog(settings.audit.path, deployment=settings.deployment, clock=clock)
        if recorder is None:
            recorder = log if self._recorder is None else self._recorder(settings)
        registry = registry_of(barrier, settings, on_alarm=partial(raise_alarm, recorder))
        who = _Who(self._policy(settings) if self._policy else None)
        guard = self._guard(chain, recorder, who)
        cache = Cache(chain, lifetimes_of(settings), clock=clock, patience=patience_of(settings))
        feed = Feed(barrier, cache)
        ring = Ring(cache, clock())
        uses = None if self._uses is None else self._uses(settings)
        parts = Parts(
            settings=settings,
            chain=chain,
            cache=cache,
            guard=guard,
            log=log,
            clock=clock,
            house=OfHouse(registry, feed, uses, ring),
            environ=self._ways.environ,
        )
        root = Room(deployment=settings.deployment, actor=local_owner(), parts=parts)
        who.policies = parts.all_policies
        with suppress(StrongroomError):  # rows that cannot be believed deny everything by themselves
            parts.arrangement.look()
        return Deployment(
            name=settings.deployment,
            settings=settings,
            root=root,
            chain=chain,
            cache=cache,
            guard=guard,
            recorder=recorder,
            reading=parts.reading,
            feed=feed,
            registry=registry,
            ring=ring,
            parts=parts,
        )

    def _guard(self, chain: Chain, recorder: Recorder, who: _Who) -> Guard:
        return Guard(
            OwnerPolicy(local_owner()),
            recorder,
            current=who.current,
            remembered=who.remembered,
            is_fresh=who.is_fresh,
            facts=known_facts(chain),
            is_read_only=lambda: self._mode.read_only,
        )


class _Who:
    """Gives the policy that decides now to a guard that the policies themselves stand on."""

    def __init__(self, given: Callable[[], Policy] | None) -> None:
        self.policies: Policies | None = None
        self._given = given

    def current(self) -> Policy:
        if self._given is not None:
            return self._given()
        if self.policies is None:
            return OwnerPolicy(local_owner())
        return self.policies.current()

    def is_fresh(self) -> bool:
        return self._given is not None or self.policies is None or self.policies.is_fresh

    def remembered(self) -> Policy:
        if self._given is not None or self.policies is None:
            return self.current()
        return self.policies.remembered()


def _sibling(
    first: Settings,
    name: str,
    config: Settings | str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    cwd: Path | None,
) -> Settings:
    """Give the settings of the deployment *name*, of the file that those of the *first* came from."""
    if name == first.deployment:
        return first
    return load(
        first.source if isinstance(config, Settings) else config, environ=environ, cwd=cwd, deployment=name
    )


def _in_deployment(name: str, error: StrongroomError) -> StrongroomError:
    """Give *error* saying which deployment it is of."""
    told = copy(error)
    told.args = (f"deployment {name}: {error}",)
    return told


def _watches(deployments: Sequence[Deployment]) -> list[Watch]:
    """Give one watch for each store, however many deployments are in it."""
    feeds: dict[str, list[Feed]] = {}
    for deployment in deployments:
        feeds.setdefault(deployment.feed.store, []).append(deployment.feed)
    return [Watch(shared) for shared in feeds.values()]
