"""
One deployment of the settings, opened for the processes of one machine.

Not for what is done in it: `service/host.py`.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from fnmatch import translate
from functools import partial
from typing import TYPE_CHECKING

from strongroom.assembly.backends import chain_of, lifetimes_of, links_of, patience_of
from strongroom.assembly.deciding import deciding_by
from strongroom.assembly.record import open_record
from strongroom.assembly.store import barrier_of
from strongroom.assembly.ways import Ways, now, settings_from
from strongroom.cache import Cache, boot_seconds, draw
from strongroom.caller.enrolled import find as find_enrolled
from strongroom.errors import BackendUnavailableError, NotRecordedError, SettingsError
from strongroom.model.entry import STRICT
from strongroom.policy.announced import announced_only, pending_runs, verified_only
from strongroom.service.changes import Feed, Watch
from strongroom.service.freshness import Freshness
from strongroom.service.host import Host, Served
from strongroom.service.host_inventory import LastReads
from strongroom.service.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from strongroom.assembly.deciding import Deciding
    from strongroom.assembly.runs import OwnRuns
    from strongroom.audit import Event
    from strongroom.audit.spool import Spool
    from strongroom.backend import Backend
    from strongroom.cache import Lifetimes
    from strongroom.caller import Client
    from strongroom.chain import Chain, Link
    from strongroom.errors import StrongroomError
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.model.secret import Secret
    from strongroom.policy import Policy
    from strongroom.service.guard import Recorder
    from strongroom.service.host_tests import HostTests
    from strongroom.service.runs import Once
    from strongroom.settings import Settings


def open_host(  # noqa: PLR0913 -- what comes from outside
    config: Settings | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    deployment: str | None = None,
    passphrase: Callable[[], Secret[str]] | None = None,
    recorder: Callable[[Settings], Recorder] | None = None,
    on_trouble: Callable[[str, StrongroomError], None] | None = None,
) -> Host:
    """
    Open one deployment for the processes of this machine.

    Args:
        config: as of `open_room`.
        environ: the environment; that it names an agent or a server is no matter here.
        cwd: as of `open_room`.
        deployment: as of `open_room`.
        passphrase: as of `open_room`.
        recorder: makes what records the uses; unsaid, the agent's own record in its state folder.
        on_trouble: told of what goes wrong behind: (what, error).

    Raises:
        SettingsError: the settings are wrong, or a policy file in them is.
        BackendConfigError: a backend will never work as configured, or its store is not there.
        SealedError: no wrapper opens the store.
    """
    settings = settings_from(config, environ, cwd, deployment)
    opening = _Opening(Ways(environ=environ, clock=now, ask=passphrase), on_trouble or _nobody)
    return opening.host(settings, recorder or opening.spool)


_THREADS = 64  # of one backend; each ends when it is idle
_WAITING = 192


class _Opening:
    """Makes what a host has of one version of its settings, as often as they are taken anew."""

    def __init__(self, ways: Ways, on_trouble: Callable[[str, StrongroomError], None]) -> None:
        self._ways = ways
        self._on_trouble = on_trouble
        self._host: Host | None = None
        self._tests: HostTests | None = None
        self._once: Once | None = None  # of the process: settings that are taken anew know of no token

    def host(self, settings: Settings, recorder: Callable[[Settings], Recorder]) -> Host:
        """
        Make the host.

        Raises:
            As `open_host`.
        """
        served = self.served(settings)
        try:
            cache = Cache(
                served.chain,
                served.lifetimes,
                clock=now,
                patience=patience_of(settings),
                stale_bound=self._stale_bound,
            )
            self._host = Host(
                served,
                make=self.served,
                cache=cache,
                recorder=recorder(settings),
                uses=LastReads(timer=boot_seconds, clock=now),
                freshness=Freshness(
                    cache, timer=boot_seconds, clock=now, draw=draw, is_revalidating=settings.agent.revalidate
                ),
                mode=Mode(log_level=settings.agent.log_level),
                clock=now,
                patience=patience_of(settings),
                on_trouble=self._on_trouble,
            )
        except BaseException:
            served.close()
            served.chain.close()
            raise
        return self._host

    def served(self, settings: Settings) -> Served:
        """
        Make what a host has of *settings*.

        Raises:
            As `open_host`.
        """
        settings = _with_server(settings)
        lifetimes = _lifetimes(settings)
        deciding = deciding_by(settings, lifetimes, self._is_strict_now, self._undecided, self._test)
        uids, gids = _ids(settings.agent.users, _uid, "users"), _ids(settings.agent.groups, _gid, "groups")
        made: list[Backend] = []
        try:
            links = [_widened(link) for link in links_of(settings, self._ways, made, None)]
            chain = chain_of(links, settings, self._ways.clock)
            watch = self._watch_of(chain)
            own = None if deciding.runs else self._own_runs(settings)
            runs = deciding.runs or own
        except BaseException:
            deciding.close()
            for backend in made:
                backend.close()
            raise
        return Served(
            settings=settings,
            chain=chain,
            lifetimes=lifetimes,
            current=_floored(deciding, settings, is_verifying=runs is not None),
            decided_by=deciding.by,
            kept=deciding.kept,
            decisions=deciding.status,
            runs=runs,
            uids=uids,
            gids=gids,
            is_strict=partial(_is_strict, _globs(settings.agent.strict)),
            told_of=frozenset(link.name for link in chain.links if _is_told_of(link.backend)),
            heard=deciding.heard,
            start=partial(_each, watch.start, partial(deciding.start, chain)),
            close=partial(_each, watch.close, deciding.close, own.close if own else _nothing),
        )

    def _own_runs(self, settings: Settings) -> OwnRuns | None:
        """Give what verifies runs without a server, where the settings name an Airflow."""
        if settings.access.airflow is None:
            return None
        from strongroom.assembly.runs import own_runs  # noqa: PLC0415 -- only who verifies runs
        from strongroom.service.used_file import UsedInFile  # noqa: PLC0415 -- as above

        if self._once is None:
            self._once = UsedInFile(settings.agent.state / "used-tokens", self._ways.clock)
        return own_runs(settings, self._once, self, clock=self._ways.clock, environ=self._ways.environ)

    def append(self, *events: Event) -> None:
        """Make records of what is verified, with those of the host."""
        if self._host is None:
            raise NotRecordedError("the record of this agent is not open yet", folder="")
        self._host.recorder.append(*events)

    def _is_strict_now(self, ref: Ref) -> bool:
        host = self._host
        return host is not None and host.is_strict(ref, host.cache.entry(ref))

    def _undecided(self, text: str) -> None:
        self._on_trouble("the decisions", BackendUnavailableError(text, backend="server"))

    def _test(self, order: str, ref: Ref, client: Client) -> None:
        """Make a test that the server asks for, behind."""
        from strongroom.assembly.upstream import tell_tested  # noqa: PLC0415 -- only who is asked for one
        from strongroom.service.host_tests import HostTests  # noqa: PLC0415 -- as above

        if self._tests is None:
            self._tests = HostTests(self._ways.clock, self._ways.environ)
        if self._host is not None:
            self._tests.take(self._host, order, ref, partial(tell_tested, client))

    def spool(self, settings: Settings) -> Spool:
        """Give the agent's own record, in its state folder."""
        folder = str(settings.agent.state)
        return open_record(
            settings,
            lambda text: self._on_trouble("the record", NotRecordedError(text, folder=folder)),
        )

    def _watch_of(self, chain: Chain) -> Watch:
        """Give what looks at the bells of the stores of ours in *chain*; of none, where there is none."""
        barriers = [found for link in chain.links if (found := barrier_of(link.backend)) is not None]
        return Watch([Feed(barrier, self) for barrier in barriers])

    # --- what a feed tells of ----------------------------------------------------------------------

    def drop(self, *refs: Ref) -> None:
        """Hear that *refs* have changed."""
        if self._host is not None:
            self._host.freshness.drop(*refs)

    def clear(self) -> None:
        """Hear that anything may have changed."""
        if self._host is not None:
            self._host.freshness.clear()

    def _stale_bound(self, ref: Ref, entry: Entry) -> timedelta | None:
        """Give how long past its time an entry may be served."""
        host = self._host
        if host is None or not host.is_strict(ref, entry):
            return None
        return timedelta(seconds=host.settings.agent.revoke_bound)


def _widened(link: Link) -> Link:
    """Let a backend be asked for as many names at once as the tasks and triggers of a machine need."""
    return replace(link, threads=_THREADS, waiting=_WAITING)


def _is_told_of(backend: Backend) -> bool:
    """Tell whether its changes are told by the store's bell, or there are none while this process runs."""
    return barrier_of(backend) is not None or type(backend).__module__.endswith(".backends.env")


def _with_server(settings: Settings) -> Settings:
    """Give the settings with a chain, where they name none and this agent is enrolled with a server."""
    if settings.chain or find_enrolled(settings.agent.state) is None:
        return settings
    return replace(settings, chain=("remote",))


def _lifetimes(settings: Settings) -> Lifetimes:
    found, last_good = lifetimes_of(settings), settings.agent.last_good
    if last_good is None:
        return found
    # What the last good copy would bring back after a restart must not be gone before one; and nothing,
    # however late in its jittered lifetime, outlives what the copy may hold.
    left = timedelta(seconds=last_good.max_age) - 1.1 * found.ttl
    return replace(found, stale_if_error=max(found.stale_if_error, left))


def _floored(deciding: Deciding, settings: Settings, *, is_verifying: bool) -> Callable[[], Policy]:
    """Give what decides, with the floors under it that the settings ask for."""
    current = deciding.current
    if settings.agent.announced != "off":
        current = (verified_only if settings.agent.announced == "verified" else announced_only)(current)
    return pending_runs(current) if is_verifying else current


def _nothing() -> None:
    """Do nothing."""


def _each(*works: Callable[[], None]) -> None:
    for work in works:
        work()


def _nobody(_what: str, _error: StrongroomError) -> None:
    """Tell nobody of trouble."""


# --- strict entries, and who may connect ---------------------------------------------------------------


def _globs(names: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(translate(name) for name in names)) if names else None


def _is_strict(names: re.Pattern[str] | None, ref: Ref, entry: Entry | None) -> bool:
    if names is not None and names.match(ref.name):
        return True
    return entry is not None and STRICT in entry.metadata.tags


def _ids(named: Iterable[int | str], find: Callable[[str], int], key: str) -> frozenset[int]:
    """Give the numbers of users or groups that are named or numbered."""
    return frozenset(_id(one, find, key) for one in named)


def _id(one: int | str, find: Callable[[str], int], key: str) -> int:
    if isinstance(one, int) or (one.isascii() and one.isdigit()):
        return int(one)
    try:
        return find(one)
    except KeyError:
        raise SettingsError(
            f"agent.{key} names one that this machine does not know",
            key=f"agent.{key}",
            hint="or give its number",
        ) from None


def _uid(name: str) -> int:
    import pwd  # noqa: PLC0415 -- Unix only

    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    import grp  # noqa: PLC0415 -- Unix only

    return grp.getgrnam(name).gr_gid
