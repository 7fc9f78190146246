"""
How a chain stands while it is served: in which order, what is said of each backend, and who is paused.

Not for asking them (`chain.py`) nor for who may change it (`backends.py`, the noun of a face).

Rules of this file:

1. What the settings name is all there is: a row can put backends in order and say when they are asked, and
   can neither add one nor say where it is, who we are to it, or that it may be written.
2. Rows are authenticated as those of who may are, and heeded as soon as they are seen: at once in the process
   that wrote them, within a second in every other server of the deployment.
3. A chain in another order answers from elsewhere: nothing remembered of it is given out unasked, and whoever
   follows the deployment reads everything again.
4. A backend whose name no row has stands after those that have one, as the settings order them; a row about
   one that is gone counts for nothing.
5. A drill ends by the clock; nobody need be there to end it. Rows of drills that are over go with the next.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec

from strongroom.errors import InvalidInputError, NotFoundError, ReadOnlyError
from strongroom.model.ref import KINDS, Kind
from strongroom.registry import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from strongroom.chain import Chain, Link
    from strongroom.registry import Registry, Row, Snapshot
    from strongroom.service.backends import Checked

__all__ = ["LEAST_PAUSE", "MOST_PAUSE", "Arrangement", "Order", "Pause", "Said", "checked_pause"]

CHAIN, PAUSE = "chain", "pause"
LEAST_PAUSE = timedelta(seconds=10)
MOST_PAUSE = timedelta(hours=1)

_ORDER = "order"  # the one row of its kind
_MAX_PATTERNS = 100
_MAX_PATTERN = 250  # characters, as a name
_MAX_SECONDS = 3600.0
T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    What the server says of a backend in place of its settings; None: what those say.

    Args:
        match: patterns of the names it is asked for; () for all.
        kinds: kinds it is asked for; () for all.
        on_unavailable: stale, stop or next.
        team_fallback: ask for the global name where the team has none.
        timeout_seconds: for one answer; 0.05 to 3600.
    """

    match: tuple[str, ...] | None = None
    kinds: tuple[Kind, ...] | None = None
    on_unavailable: Literal["stale", "stop", "next"] | None = None
    team_fallback: bool | None = None
    timeout_seconds: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the settings hold in everything."""
        return self == Said()

    def over(self, link: Link) -> Link:
        """Give *link*, which is as the settings say, with this said of it."""
        seconds = self.timeout_seconds
        return replace(
            link,
            match=link.match if self.match is None else self.match,
            kinds=link.kinds if self.kinds is None else self.kinds or KINDS,
            on_unavailable=self.on_unavailable or link.on_unavailable,
            team_fallback=link.team_fallback if self.team_fallback is None else self.team_fallback,
            timeout=link.timeout if seconds is None else timedelta(seconds=seconds),
        )

    def check(self) -> None:
        """
        Refuse what no settings could say.

        Raises:
            InvalidInputError: a pattern, a kind or a time is none.
        """
        for pattern in self.match or ():
            if not 0 < len(pattern) <= _MAX_PATTERN or not pattern.isprintable():
                raise InvalidInputError(f"a pattern has 1 to {_MAX_PATTERN} characters that can be seen")
        if len(self.match or ()) > _MAX_PATTERNS:
            raise InvalidInputError(f"there are at most {_MAX_PATTERNS} patterns", limit=_MAX_PATTERNS)
        if set(self.kinds or ()) - set(KINDS):
            raise InvalidInputError("there is no such kind", hint=f"known: {', '.join(KINDS)}")
        if self.on_unavailable not in (None, "stale", "stop", "next"):
            raise InvalidInputError("what an outage does is stale, stop or next")
        if self.timeout_seconds is not None and not _LEAST_SECONDS <= self.timeout_seconds <= _MAX_SECONDS:
            raise InvalidInputError("a backend is given 0.05 to 3600 seconds for an answer")


_LEAST_SECONDS = 0.05


class Pause(NamedTuple):
    """
    A backend that gives no answer for a drill.

    Args:
        by: who began it.
        reason: why he said he does.
    """

    backend: str
    since: datetime
    until: datetime
    by: str
    reason: str


class Order(NamedTuple):
    """
    How a chain is managed.

    Args:
        is_managed: the server manages it, so that it can be changed; the settings file does otherwise.
        version: of what stands, for whoever changes it; "0" where the settings' own order does.
        changed_at, changed_by: of the last change; None where there was none.
        said: what the server says of backends, by name.
    """

    is_managed: bool
    version: str = "0"
    changed_at: datetime | None = None
    changed_by: str | None = None
    said: dict[str, Said] = {}  # noqa: RUF012 -- nobody writes into it


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """A body. What a newer release adds to it is not refused: an order is no ban."""


class _SaidBody(_Body, frozen=True, omit_defaults=True):
    match: tuple[str, ...] | None = None
    kinds: tuple[Kind, ...] | None = None
    on_unavailable: Literal["stale", "stop", "next"] | None = None
    team_fallback: bool | None = None
    timeout_seconds: float | None = None


class _OrderBody(_Body, frozen=True):
    names: tuple[str, ...]
    changed_at: datetime
    changed_by: str
    said: dict[str, _SaidBody] = {}


class _PauseBody(_Body, frozen=True):
    since: datetime
    until: datetime
    by: str
    reason: str = ""


class Arrangement:
    """
    Keep one chain as its rows say. Of one process, for all its actors.

    Threads: may be used from several at once.

    Args:
        chain: as the settings order it.
        registry: opens the rows, when they are first asked for; None where there is no store for any.
        is_managed: whether the server manages the order.
        clock: wall clock, UTC.
        on_change: told the names of the backends that answer otherwise now; None where any may.

    Attributes:
        checked: when every backend was last asked here how it is, and what came of it.
    """

    def __init__(
        self,
        chain: Chain,
        registry: Callable[[], Registry] | None,
        *,
        is_managed: bool,
        clock: Callable[[], datetime],
        on_change: Callable[[frozenset[str] | None], None],
    ) -> None:
        self._chain = chain
        self._written = chain.links
        self._registry = registry
        self._is_managed = is_managed
        self._clock = clock
        self._on_change = on_change
        self._order = Order(is_managed)
        self._pauses: dict[str, Pause] = {}
        self.checked: tuple[datetime, tuple[Checked, ...]] | None = None
        self._turn = threading.Lock()

    # --- how it stands -----------------------------------------------------------------------------

    def look(self) -> None:
        """
        Look at the rows now.

        Raises:
            As `Registry.snapshot`.
        """
        if self._registry is not None:
            self.heed(self._registry().snapshot())

    def heed(self, snapshot: Snapshot) -> None:
        """Do as the rows say; the registry's watcher calls this. Never raises for what stands in them."""
        with self._turn:
            links = self._arranged(snapshot)
            is_other = links != self._chain.links
            if is_other:
                self._chain.arrange(links)
            begun = self._paused(snapshot)
        # Beside the turn: whoever is told asks the chain.
        if is_other:
            self._on_change(None)
        elif begun:
            self._on_change(begun)

    def _arranged(self, snapshot: Snapshot) -> tuple[Link, ...]:
        row = snapshot.of(CHAIN).get(_ORDER)
        body = None if row is None else _decoded(row, _OrderBody)
        if row is None or body is None or not self._is_managed:
            self._order = Order(self._is_managed)
            return self._written
        said = {name: Said(**msgspec.structs.asdict(one)) for name, one in body.said.items()}
        version = str(row.revision)
        self._order = Order(self._is_managed, version, body.changed_at, body.changed_by, said)
        place = {name: number for number, name in enumerate(body.names)}
        ordered = sorted(self._written, key=lambda link: place.get(link.name, len(place)))  # a stable sort
        return tuple(said[link.name].over(link) if link.name in said else link for link in ordered)

    def _paused(self, snapshot: Snapshot) -> frozenset[str]:
        """Take over the drills that run, and give the names of those that were not known before."""
        now, known = self._clock(), {link.name for link in self._written}
        bodies = {row.id: _decoded(row, _PauseBody) for row in snapshot.of(PAUSE).values() if row.id in known}
        found = {
            name: Pause(name, body.since, body.until, body.by, body.reason)
            for name, body in bodies.items()
            if body is not None and body.until > now
        }
        begun = frozenset(found) - frozenset(self._pauses)
        self._pauses = found
        self._chain.pause({name: one.until for name, one in found.items()})
        return begun

    @property
    def order(self) -> Order:
        """How the chain is managed."""
        return self._order

    @property
    def pauses(self) -> dict[str, Pause]:
        """The drills under way, by the backend's name."""
        now = self._clock()
        return {name: one for name, one in self._pauses.items() if one.until > now}

    def written(self, name: str) -> Said | None:
        """Give what the settings say of the backend *name*; None where it is none of theirs."""
        link = next((link for link in self._written if link.name == name), None)
        if link is None:
            return None
        return Said(
            match=link.match,
            kinds=link.kinds,
            on_unavailable=link.on_unavailable,
            team_fallback=link.team_fallback,
            timeout_seconds=link.timeout.total_seconds(),
        )

    # --- changing it ---------------------------------------------------------------------------------

    def check_names(self, names: Sequence[str]) -> None:
        """
        Refuse an order that is none of this chain.

        Raises:
            ReadOnlyError: the settings file manages it.
            InvalidInputError: it leaves out a backend of the settings, or names one that is none, or twice.
        """
        self.check_managed()
        known = [link.name for link in self._written]
        if sorted(names) != sorted(known):
            raise InvalidInputError(
                "an order names every backend of the settings once", hint=f"its backends: {', '.join(known)}"
            )

    def check_managed(self) -> None:
        """
        Refuse to change a chain that the settings file manages.

        Raises:
            ReadOnlyError: it does.
        """
        if not self._is_managed:
            raise ReadOnlyError(
                "the settings file manages this chain",
                hint='change chain in it; managed = "server" leaves the order to the server',
            )

    def check_backend(self, name: str) -> None:
        """
        Refuse what is no backend of this chain.

        Raises:
            NotFoundError: it is none.
        """
        known = [link.name for link in self._written]
        if name not in known:
            raise NotFoundError(
                "the chain has no backend of that name", hint=f"its backends: {', '.join(known)}"
            )

    def write_order(self, names: Sequence[str], *, by: str, expected: str | None = None) -> None:
        """
        Put the backends in the order of *names*, which was checked.

        Raises:
            ConflictError: another version stands than the one expected.
            As `Registry.put_many`.
        """
        said = self._order.said
        self._write_order(tuple(names), said, by, expected)

    def write_said(self, name: str, said: Said, *, by: str, expected: str | None = None) -> None:
        """
        Say *said*, which was checked, of the backend *name* instead of what was said before.

        Raises:
            As `write_order`.
        """
        others = {one: what for one, what in self._order.said.items() if one != name}
        names = tuple(link.name for link in self._chain.links)
        self._write_order(names, others if said.is_empty else {**others, name: said}, by, expected)

    def _write_order(
        self, names: tuple[str, ...], said: dict[str, Said], by: str, expected: str | None
    ) -> None:
        body = _OrderBody(
            names=names,
            changed_at=self._clock(),
            changed_by=by,
            said={name: _body_of(one) for name, one in said.items()},
        )
        revision = None if expected is None else _revision(expected)
        self._put([Change(CHAIN, _ORDER, msgspec.json.encode(body), revision)])

    def write_pause(self, pause: Pause) -> None:
        """
        Begin a drill, or give one that runs another end.

        Raises:
            As `Registry.put_many`.
        """
        body = _PauseBody(since=pause.since, until=pause.until, by=pause.by, reason=pause.reason)
        self._put([Change(PAUSE, pause.backend, msgspec.json.encode(body)), *self._over(pause.backend)])

    def end_pause(self, name: str) -> None:
        """
        End the drill of *name*.

        Raises:
            NotFoundError: it is not paused.
            As `Registry.put_many`.
        """
        self.look()
        if name not in self.pauses:
            raise NotFoundError("this backend is not paused")
        self._put([Change(PAUSE, name, None), *self._over(name)])

    def _over(self, name: str) -> Iterable[Change]:
        """Give what drops the rows of drills that are over, but for that of *name*."""
        if self._registry is None:
            return []
        now, rows = self._clock(), self._registry().snapshot().of(PAUSE).values()
        over = [(row, _decoded(row, _PauseBody)) for row in rows if row.id != name]
        return [Change(PAUSE, row.id, None) for row, body in over if body is not None and body.until <= now]

    def _put(self, changes: Sequence[Change]) -> None:
        if self._registry is None:
            raise ReadOnlyError(
                "there is no store to keep this in", hint="strongroom init makes one, in the chain: native"
            )
        registry = self._registry()
        registry.put_many(changes)
        self.heed(registry.snapshot())


def checked_pause(lasts: timedelta) -> timedelta:
    """
    Give how long a drill lasts back, if one may.

    Raises:
        InvalidInputError: it is shorter than 10 s or longer than an hour.
    """
    if not LEAST_PAUSE <= lasts <= MOST_PAUSE:
        raise InvalidInputError("a drill lasts 10 seconds to 1 hour")
    return lasts


def _body_of(said: Said) -> _SaidBody:
    return _SaidBody(
        match=said.match,
        kinds=said.kinds,
        on_unavailable=said.on_unavailable,
        team_fallback=said.team_fallback,
        timeout_seconds=said.timeout_seconds,
    )


def _revision(version: str) -> int:
    if not (version.isascii() and version.isdigit()) or len(version) > _MAX_DIGITS:
        return -1  # of no row: another one stands
    return int(version)


_MAX_DIGITS = 18


def _decoded(row: Row, shape: type[T]) -> T | None:
    """Read a row; None where a newer release wrote it in another shape."""
    try:
        return msgspec.json.decode(row.body, type=shape)
    except msgspec.MsgspecError:
        return None
