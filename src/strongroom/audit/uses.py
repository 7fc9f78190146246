"""
Which uses are on record: the first of a window is recorded, repeats are counted.

Not for recording: it gives events, and whoever has recorded them says so (`open`).

Rules of this file:

1. A use is (actor with its run, Ref, outcome, version, deciding policies). Only what is durable opens a
   window, so a use that comes while the first is still being written is recorded, too, and waits for the
   same sync.
2. A window ends when it was said to end, and is closed a little later: who saw it open may still be about to
   count. Its repeats are told by one record; nothing is told of a window without any.
3. Memory is bounded: the fuller it is, the shorter new windows are, and when it is full each use is recorded.
   A window that was promised is never cut short, for then repeats would be lost.
4. A batch is one record that names its Refs. Refusals are recorded one by one.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast

from strongroom.audit.channel import Sent
from strongroom.audit.record import MAX_REFS, RefUse, run_of, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from strongroom.audit.record import Event
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Decision

    _Key = tuple[Actor, tuple[str, ...], str, str, str | None, str, str | None, str | None]

__all__ = ["Use", "Uses", "Window"]

GRACE_SECONDS = 2.0  # between the end of a window and its closing
_SHORTEST_SECONDS = 1.0
_READ = "read"


class Use(Protocol):
    """What is asked of a use; `service/reading.py` has it."""

    @property
    def actor(self) -> Actor: ...
    @property
    def ref(self) -> Ref: ...
    @property
    def outcome(self) -> str: ...
    @property
    def decision(self) -> Decision: ...
    @property
    def answer(self) -> Entry | None: ...
    @property
    def error(self) -> Exception | None: ...


class Window:
    """
    The open window of a use: its first is on record.

    Attributes:
        until: when it ends, in seconds of the timer of its `Uses`.
        repeat: counts one more; atomic, takes no lock, waits for nothing.
    """

    # Few objects: many thousands of them are looked through whenever Python collects garbage.
    __slots__ = ("key", "repeat", "since", "until")

    def __init__(self, key: _Key, since: datetime, until: float) -> None:
        self.repeat: Callable[[], object] = itertools.count().__next__
        self.until = until
        self.since = since
        self.key = key

    @property
    def ref(self) -> RefUse:
        """What was used."""
        return RefUse(*self.key[2:])

    def repeats(self) -> int:
        """Give how often it was counted; asked once, at the end."""
        return cast("int", self.repeat())


class Uses:
    """
    Remembers which uses are on record.

    Args:
        timer: seconds that only go up, of which `Window.until` is told.
        clock: wall clock, for records.
        window: how long repeats are counted.
        max_windows: open at once; about 700 bytes each.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        *,
        timer: Callable[[], float],
        clock: Callable[[], datetime],
        window: timedelta = timedelta(seconds=60),
        max_windows: int = 50_000,
    ) -> None:
        self.timer = timer
        self._clock = clock
        self._seconds = window.total_seconds()
        self._max = max_windows
        self._open: dict[_Key, Window] = {}
        # In buckets of a second, so that closing looks at what is due and at nothing else.
        self._ends: dict[int, deque[Window]] = {}
        self._ended: deque[Window] = deque()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    def window(self, use: Use) -> Window | None:
        """Give the open window of *use*, without counting it; None where it must be recorded first."""
        found = self._open.get(_key(use))
        return found if found is not None and self.timer() < found.until else None

    def to_record(self, uses: Sequence[Use]) -> list[Event]:
        """Give what records the *uses* of one request: an event for one, or one that names them all."""
        if len(uses) == 1:
            return [_event(uses[0])]
        events = [_event(use) for use in uses if not use.decision.is_allowed]
        allowed = [use for use in uses if use.decision.is_allowed]
        # Each record tells of one actor, decided by the same policies.
        for (actor, policies), several in _by_decider(allowed):
            if len(several) == 1:
                events.append(_event(several[0]))
            else:
                events += _batches(actor, policies, [_ref_of(use) for use in several])
        return events

    def open(self, use: Use) -> Window | None:
        """Open the window of *use*, whose record is durable; None where every use is to be recorded."""
        if not use.decision.is_allowed:
            return None
        key, now = _key(use), self.timer()
        with self._turn:
            found = self._open.get(key)
            if found is not None and now < found.until:
                return found  # somebody else's first was on record a moment earlier; both are
            seconds = self._length()
            if seconds is None:
                return None
            if found is not None:
                self._ended.append(found)
            until = now + seconds
            self._open[key] = made = Window(key, self._clock(), until)
            bucket = self._ends.get(int(until))
            if bucket is None:
                bucket = self._ends[int(until)] = deque()
            bucket.append(made)
            return made

    def _length(self) -> float | None:
        used = len(self) / self._max
        if used >= 1:
            return None
        return self._seconds if used <= 0.5 else max(_SHORTEST_SECONDS, self._seconds * 2 * (1 - used))  # noqa: PLR2004 -- half full

    def due(self, *, is_last: bool = False) -> list[Event]:
        """
        Give the closing records, with their counts, of windows that ended since; *is_last*: of all.

        What it gives is not remembered any more: whoever cannot record it now owes it.
        """
        ended = self._take(self.timer(), is_last=is_last)
        counted = [(window, repeats) for window in ended if (repeats := window.repeats())]
        until = stamp(self._clock())
        events: list[Event] = []
        for (actor, policies), several in _grouped(counted, lambda one: one[0].key[:2]):
            events.extend(_closing(actor, policies, part, until) for part in _slices(several))
        return events

    def _take(self, now: float, *, is_last: bool) -> list[Window]:
        with self._turn:
            taken = [each for each in self._ended if is_last or each.until + GRACE_SECONDS <= now]
            self._ended = deque(
                each for each in self._ended if not is_last and each.until + GRACE_SECONDS > now
            )
            limit = now - GRACE_SECONDS
            for second in sorted(self._ends):
                if not is_last and second + 1 > limit:
                    break
                # One that was followed by another of the same use is among the ended already.
                taken.extend(
                    self._open.pop(window.key)
                    for window in self._ends.pop(second)
                    if self._open.get(window.key) is window
                )
            return taken


def _key(use: Use) -> _Key:
    ref, answer = use.ref, use.answer
    version, backend = (None, None) if answer is None else (answer.version, answer.backend)
    return use.actor, use.decision.policies, ref.kind, ref.name, ref.team, use.outcome, version, backend


def _ref_of(use: Use) -> RefUse:
    ref, answer = use.ref, use.answer or use.error
    version, backend = getattr(answer, "version", None), getattr(answer, "backend", None)
    return RefUse(
        ref.kind,
        ref.name,
        ref.team,
        use.outcome,
        version if isinstance(version, str) else None,
        backend if isinstance(backend, str) else None,
    )


def _event(use: Use) -> Event:
    decision = use.decision
    reason = ""
    if not decision.is_allowed:
        reason = decision.reason
    elif use.error is not None:
        reason = str(getattr(use.error, "code", ""))
    return _of_one(use.actor, decision.policies, _ref_of(use), reason=reason)


def _of_one(actor: Actor, policies: tuple[str, ...], ref: RefUse, **more: Any) -> Event:  # noqa: ANN401 -- members of an event
    # As on its way to the log, which it is made for: an `Event` costs as much as all the rest of a first use.
    sent = Sent(
        actor.id,
        int(actor.assurance),
        _READ,
        ref.outcome,
        ref.kind,
        ref.name,
        ref.team,
        backend=ref.backend,
        version=ref.version,
        source=actor.source or None,
        run=run_of(actor.run),
        policies=policies,
        **more,
    )
    return cast("Event", sent)


def _batch(actor: Actor, policies: tuple[str, ...], refs: tuple[RefUse, ...], **more: Any) -> Event:  # noqa: ANN401 -- as above
    outcomes = {ref.outcome for ref in refs}
    sent = Sent(
        actor.id,
        int(actor.assurance),
        _READ,
        outcomes.pop() if len(outcomes) == 1 else "mixed",
        source=actor.source or None,
        run=run_of(actor.run),
        policies=policies,
        refs=refs,
        **more,
    )
    return cast("Event", sent)


def _batches(actor: Actor, policies: tuple[str, ...], refs: Sequence[RefUse]) -> Iterator[Event]:
    for at in range(0, len(refs), MAX_REFS):
        yield _batch(actor, policies, tuple(refs[at : at + MAX_REFS]))


def _closing(
    actor: Actor, policies: tuple[str, ...], counted: Sequence[tuple[Window, int]], until: str
) -> Event:
    since = stamp(min(window.since for window, _ in counted))
    total = sum(repeats for _, repeats in counted)
    if len(counted) > 1:
        refs = tuple(window.ref._replace(uses=repeats) for window, repeats in counted)
        return _batch(actor, policies, refs, count=total, since=since, until=until)
    return _of_one(actor, policies, counted[0][0].ref, count=total, since=since, until=until)


def _by_decider(uses: Sequence[Use]) -> Iterable[tuple[tuple[Actor, tuple[str, ...]], list[Use]]]:
    if not uses:
        return ()
    actor, policies = uses[0].actor, uses[0].decision.policies
    if all(use.actor is actor and use.decision.policies == policies for use in uses):
        return [((actor, policies), list(uses))]  # one request, one actor: nearly always
    return _grouped(uses, lambda use: (use.actor, use.decision.policies))


def _grouped(things: Iterable[Any], key_of: Callable[[Any], Any]) -> Iterable[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = {}
    for thing in things:
        groups.setdefault(key_of(thing), []).append(thing)
    return groups.items()


def _slices(things: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (things[at : at + MAX_REFS] for at in range(0, len(things), MAX_REFS))
