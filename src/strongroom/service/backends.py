"""The backends of the room: what stands where in the chain, how each is, and what may be changed of it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.backend import Checkable, Health, Listable, Versioned, Writable
from strongroom.errors import InvalidInputError, ReadOnlyError, StrongroomError
from strongroom.policy import Action
from strongroom.service.arrangement import Order, Pause, Said, checked_pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.backend import Backend
    from strongroom.chain import Chain, Link
    from strongroom.meter import Figures
    from strongroom.policy import Actor
    from strongroom.service.arrangement import Arrangement
    from strongroom.service.guard import Guard

__all__ = ["BackendRow", "Backends", "Checked", "Order", "Pause", "Said", "unmade"]

_MAX_REASON = 500  # characters
_ABILITIES: tuple[tuple[str, type], ...] = (
    ("write", Writable),
    ("list", Listable),
    ("versions", Versioned),
    ("check", Checkable),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """
    One backend of the chain.

    Args:
        order: place in the chain, from 1.
        abilities: any of read, write, list, versions, check.
        match: patterns of the names it is asked for; () for all.
        kinds: kinds it is asked for; () for all.
        on_unavailable: stale, stop or next.
        team_fallback: asked for the global name where the team has none.
        references: whether references in what it holds are resolved.
        is_read_only: never written, whatever it could.
        timeout_seconds: for one answer.
        is_local: it does not leave this machine.
        is_adjusted: the server says something else of it than the settings.
        written: what the settings say, where the server might say something else; None elsewhere.
        pause: the drill that it is paused for; None where it is not.
    """

    order: int
    name: str
    kind: str
    abilities: tuple[str, ...]
    match: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    on_unavailable: str = "stale"
    team_fallback: bool = True
    references: bool = False
    is_read_only: bool = False
    timeout_seconds: float = 3.0
    is_local: bool = False
    is_adjusted: bool = False
    written: Said | None = None
    pause: Pause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How one backend is and how long it took to say so."""

    name: str
    health: Health
    milliseconds: float


def unmade(name: str, error: StrongroomError) -> Checked:
    """Give how the backend *name* is, which cannot be made as it is configured."""
    return Checked(name=name, health=Health.failed(error), milliseconds=0.0)


class Backends:
    """
    Tell about backends as one actor, and change what may be changed while they are asked.

    Args:
        kinds: the kind of each backend by its name.
        arrangement: how the chain stands; without, nothing of it can be changed.

    Threads: may be used from several threads at once.
    """

    def __init__(  # noqa: PLR0913 -- what it tells of
        self,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        *,
        kinds: Mapping[str, str],
        arrangement: Arrangement | None = None,
        timer: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._kinds = kinds
        self._arrangement = arrangement
        self._timer = timer
        self._clock = clock

    def check(self) -> tuple[Checked, ...]:
        """
        Ask each backend how it is, in the chain's order; one that cannot tell is `unknown`. Trouble
        of a store is an answer here, not an error.
        """

        def work() -> tuple[Checked, ...]:
            found = tuple(self._checked(link) for link in self._chain.links)
            if self._arrangement is not None:
                self._arrangement.checked = (self._clock(), found)
            return found

        return self._guard.act(self._actor, Action.TEST, None, work)

    def checked(self) -> tuple[datetime, tuple[Checked, ...]] | None:
        """
        Give when somebody last had every backend asked how it is here, and what came of it; None for never.

        Raises:
            AccessDeniedError: the actor may not have them asked.
        """
        self._guard.check(self._actor, Action.TEST, None, None)
        return None if self._arrangement is None else self._arrangement.checked

    def _checked(self, link: Link) -> Checked:
        begun = self._timer()
        try:
            health = self._chain.ask(link, lambda: _health(link.backend))
        except StrongroomError as error:
            health = Health.failed(error)
        return Checked(name=link.name, health=health, milliseconds=(self._timer() - begun) * 1000)

    def _row(self, order: int, link: Link, pauses: Mapping[str, Pause]) -> BackendRow:
        abilities = [
            word
            for word, ability in _ABILITIES
            if isinstance(link.backend, ability) and (ability is not Writable or link.is_writable)
        ]
        return BackendRow(
            order=order,
            name=link.name,
            kind=self._kinds.get(link.name, link.name),
            abilities=("read", *abilities),
            match=link.match,
            kinds=link.kinds,
            on_unavailable=link.on_unavailable,
            team_fallback=link.team_fallback,
            references=link.references,
            is_read_only=link.read_only,
            timeout_seconds=link.timeout.total_seconds(),
            is_local=link.backend.is_local,
            is_adjusted=link.name in self._order().said,
            written=None if self._arrangement is None else self._arrangement.written(link.name),
            pause=pauses.get(link.name),
        )

    def figures(self) -> dict[str, Figures]:
        """
        Give how often this process asked each backend and what came of it, by name in the chain's order.

        Raises:
            AccessDeniedError: the actor may not list anything here.
        """
        return self._guard.act(self._actor, Action.LIST, None, self._chain.figures)

    # --- the order, and what is said of each ---------------------------------------------------------

    def order(self) -> Order:
        """
        Tell who manages the chain and what stands.

        Raises:
            AccessDeniedError: as `figures`.
        """
        return self._guard.act(self._actor, Action.LIST, None, self._looked)

    def arrange(self, names: Sequence[str], *, expected: str | None = None, reason: str = "") -> Order:
        """
        Have the backends asked in the order of *names* from now on, in every server of this deployment.

        Args:
            names: every backend of the settings, once.
            expected: the version that must stand; unsaid, whatever stands.
            reason: why.

        Raises:
            AccessDeniedError: the actor does not administer.
            ReadOnlyError: the settings file manages the chain, or this server changes nothing now.
            InvalidInputError: *names* are not the backends of the settings.
            ConflictError: another version stands.
        """
        desk, told = self._desk(), f"order of the chain: {', '.join(names)}"
        self._require()
        desk.check_names(names)
        return self._change(
            lambda: desk.write_order(names, by=self._actor.id, expected=expected), _why(told, reason)
        )

    def adjust(self, name: str, said: Said, *, expected: str | None = None, reason: str = "") -> Order:
        """
        Have the server say *said* of a backend in place of its settings.

        Raises:
            NotFoundError: the chain has no such backend.
            InvalidInputError: it says what no settings could.
            As `arrange`.
        """
        desk = self._desk()
        self._require()
        desk.check_managed()
        desk.check_backend(name)
        said.check()
        told = (
            ", ".join(word for word in Said.__slots__ if getattr(said, word) is not None)
            or "as in the settings"
        )
        return self._change(
            lambda: desk.write_said(name, said, by=self._actor.id, expected=expected),
            _why(f"backend {name}: {told}", reason),
        )

    def _change(self, work: Callable[[], None], reason: str) -> Order:
        self._guard.act(self._actor, Action.ADMINISTER, None, work, reason=reason)
        return self._order()

    # --- drills --------------------------------------------------------------------------------------

    def pauses(self) -> list[Pause]:
        """
        Give the drills under way, by the backend's name.

        Raises:
            AccessDeniedError: as `figures`.
        """
        return self._guard.act(
            self._actor, Action.LIST, None, lambda: [one for _, one in sorted(self._paused().items())]
        )

    def pause(self, name: str, lasts: timedelta, *, reason: str) -> Pause:
        """
        Have a backend give no answer for a while in every server of this deployment, as if it were down.

        Args:
            name: which one.
            lasts: 10 s to 1 h; it answers again by itself.
            reason: why; others see it.

        Raises:
            AccessDeniedError, ReadOnlyError: as `arrange`.
            NotFoundError: the chain has no such backend.
            InvalidInputError: no reason is given, or it would last too long.
        """
        desk = self._desk()
        self._require()
        desk.check_backend(name)
        now = self._clock()
        begun = Pause(name, now, now + checked_pause(lasts), self._actor.id, _checked_reason(reason))
        told = f"pause backend {name} until {begun.until:%Y-%m-%dT%H:%M:%SZ}: {begun.reason}"
        self._guard.act(self._actor, Action.ADMINISTER, None, lambda: desk.write_pause(begun), reason=told)
        return begun

    def resume(self, name: str) -> None:
        """
        End the drill of a backend before its time; in read-only mode too.

        Raises:
            AccessDeniedError: the actor does not administer.
            NotFoundError: it is not paused.
        """
        desk = self._desk()
        self._require()
        self._guard.administer(
            self._actor, lambda: desk.end_pause(name), reason=f"end the pause of backend {_plain(name)}"
        )

    # --- what they share -----------------------------------------------------------------------------

    def _require(self) -> None:
        """Refuse who does not administer before anything is told of what he asked."""
        self._guard.check(self._actor, Action.ADMINISTER, None, None)

    def _desk(self) -> Arrangement:
        if self._arrangement is None:
            raise ReadOnlyError("nothing of this chain can be changed from here")
        return self._arrangement

    def _order(self) -> Order:
        return Order(is_managed=False) if self._arrangement is None else self._arrangement.order

    def _looked(self) -> Order:
        if self._arrangement is not None:
            # Rows that give no answer now, or cannot be believed, leave the chain as it stands.
            with suppress(StrongroomError):
                self._arrangement.look()
        return self._order()

    def _paused(self) -> Mapping[str, Pause]:
        self._looked()
        return {} if self._arrangement is None else self._arrangement.pauses

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[BackendRow]:
        """Give the backends in the order they are asked."""

        def work() -> list[BackendRow]:
            pauses = self._paused()
            return [self._row(order, link, pauses) for order, link in enumerate(self._chain.links, 1)]

        return self._guard.act(self._actor, Action.LIST, None, work)


def _health(backend: Backend) -> Health:
    if isinstance(backend, Checkable):
        return backend.check()
    return Health(status="unknown", message="cannot be told without a real read")


def _why(told: str, reason: str) -> str:
    return f"{told}: {_checked_reason(reason)}" if reason.strip() else told


def _checked_reason(reason: str) -> str:
    text = reason.strip()
    if not text:
        raise InvalidInputError("a reason is needed", hint="say why, as in: fire drill of the platform team")
    if len(text) > _MAX_REASON:
        raise InvalidInputError(f"a reason has at most {_MAX_REASON} characters", limit=_MAX_REASON)
    if not text.isprintable():
        raise InvalidInputError("a reason holds a control character")
    return text


def _plain(name: str) -> str:
    return name if name.isprintable() and len(name) <= _MAX_NAME else "of a name that is none"


_MAX_NAME = 63
