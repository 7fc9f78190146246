"""
Reads of many actors through one cache: decide, look, record the use, hand the value out.

Not for the library, where one owner reads and each *fill* is recorded (`guard.Guarded`).

Rules of this file:

1. Nothing is looked up before it is allowed, unless policy asks for what is public about the entry; then
   a denial costs and says the same whether there is one or not.
2. A value leaves once its use is on record: the first of a window is recorded before, repeats inside the
   window are counted. A batch hands all its uses over at once.
3. A reader remembers of an entry that everything is at hand: decided by the policy that still decides,
   still the entry in the cache, its window still open. One of these gone, all of it is done anew.
4. An entry with references is never at hand: each reference is a decision and a record of its own.
5. `Reader.peek` neither waits nor asks anybody; everything else may, and `aread_many` does its waiting
   beside the loop.
6. What stands behind a team's name, the global one, is for whom the global one is allowed; to others there is
   nothing behind it, and whether there is stays untold.
7. A policy that would have to ask somebody (`Policy.knows`) is not asked on a loop. Where nobody could
   decide, that is told as the trouble it is: nothing is given out, and nobody is denied.
8. The uses of strict entries wait for the disk, whatever else is only handed to the kernel.
9. Who may is remembered for a shorter time of strict entries. Whether one is strict may be known only once it
   is found; then it is decided anew.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from strongroom.cache import UNKNOWN, boot_seconds
from strongroom.chain import outcome_of
from strongroom.errors import AccessDeniedError, MalformedEntryError, StrongroomError, TamperedError
from strongroom.policy import Action, Decision, Preparing
from strongroom.service.guard import event_of, facts_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from strongroom.asynchronous import Bridge
    from strongroom.audit import Event
    from strongroom.cache import Cache
    from strongroom.model.connection import Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.explanation import Remembered
    from strongroom.model.ref import Kind, Ref
    from strongroom.policy import Actor, Facts, Policy
    from strongroom.service.guard import Guard

    Key = tuple[Kind, str, str | None]
    AtHand = tuple[Entry, Policy, float, Callable[[], object]]

__all__ = [
    "Answer",
    "AsyncRecorder",
    "EachUse",
    "PromptRecorder",
    "Reader",
    "Reading",
    "StrictRecorder",
    "Use",
    "Uses",
    "Window",
]

_MAX_READERS = 4096  # actors remembered; one more and the one remembered longest is forgotten
_MAX_AT_HAND = 100_000  # entries all readers remember together; beyond that all are asked anew
_DECISIONS_A_TURN = 16  # then a batch lets the loop do something else: a first decision costs about 75 µs
_LANES = 16  # threads that look for what one batch misses, where the chain leaves this machine


class Use(NamedTuple):
    """
    One use of one entry, or one refusal of it.

    Args:
        ref: what was asked for.
        outcome: found, absent, denied, unavailable, invalid.
        decision: what *policy* said.
        answer: the entry, or None.
        error: why there is none, where it is not simply absent.
    """

    actor: Actor
    ref: Ref
    outcome: str
    decision: Decision
    policy: Policy
    answer: Entry | None = None
    error: StrongroomError | None = None

    @property
    def event(self) -> Event:
        """What is recorded of it alone."""
        reason = ""
        if not self.decision.is_allowed:
            reason = self.decision.reason
        elif self.error is not None:
            reason = self.error.code
        answer = self.answer or self.error
        return event_of(
            self.actor,
            Action.READ,
            self.ref,
            self.outcome,
            reason=reason,
            answer=answer,
            policies=self.decision.policies,
        )


class Window(Protocol):
    """
    The open window of a use: its first is on record, and repeats are only counted.

    Attributes:
        until: when it ends, in seconds of the timer of its `Uses`.
        repeat: counts one more; atomic, takes no lock, waits for nothing.
    """

    until: float
    repeat: Callable[[], object]


class Uses(Protocol):
    """
    Remembers which uses are on record.

    A use is (actor with its run, Ref, outcome, version, deciding policies). Refusals by policy have no
    window: each is recorded.

    Threads: may be used from several threads at once.
    """

    @property
    def timer(self) -> Callable[[], float]:
        """Seconds that only go up, the same that `Window.until` is told in."""
        ...

    def window(self, use: Use) -> Window | None:
        """Give the open window of *use*, without counting it; None where it must be recorded first."""
        ...

    def to_record(self, uses: Sequence[Use]) -> Sequence[Event]:
        """Give what records the *uses* of one request: an event each, or one that names them all."""
        ...

    def open(self, use: Use) -> Window | None:
        """Open the window of *use*, whose record is durable; None where every use is to be recorded."""
        ...

    def due(self, *, is_last: bool = False) -> Sequence[Event]:
        """Give the closing records, with their counts, of windows that ended since; or of all of them."""
        ...


class EachUse:
    """Uses without windows: every one is recorded before its value leaves."""

    timer: Callable[[], float] = staticmethod(boot_seconds)

    def window(self, use: Use) -> Window | None:  # noqa: ARG002 -- the promise of Uses
        """There is none."""
        return None

    def to_record(self, uses: Sequence[Use]) -> Sequence[Event]:
        """An event each."""
        return [use.event for use in uses]

    def open(self, use: Use) -> Window | None:  # noqa: ARG002 -- as above
        """None is opened."""
        return None

    def due(self, *, is_last: bool = False) -> Sequence[Event]:  # noqa: ARG002 -- as above
        """There is none."""
        return ()


@runtime_checkable
class AsyncRecorder(Protocol):
    """A recorder that can be awaited on a loop without a thread."""

    def aappend(self, *events: Event) -> Awaitable[None]:
        """Do what `append` does; the awaitable ends when the records are durable."""
        ...


@runtime_checkable
class StrictRecorder(Protocol):
    """A recorder whose `append` and `aappend` end before the disk has the records, and these when it has."""

    def append_strict(self, *events: Event) -> None:
        """Do what `append` does, and wait for the disk."""
        ...

    def aappend_strict(self, *events: Event) -> Awaitable[None]:
        """Do what `append_strict` does, awaited on a loop."""
        ...


@runtime_checkable
class PromptRecorder(Protocol):
    """A recorder that tells a loop by a call, with no future and no task for a record."""

    def record(
        self,
        events: Sequence[Event],
        done: Callable[[StrongroomError | None], object],
        *,
        is_strict: bool = False,
    ) -> None:
        """
        Do what `aappend` does, or `aappend_strict`; *done* is called once, on the running loop, with why they
        are not on record or None: before this returns where that is known.
        """
        ...


class Answer(NamedTuple):
    """What became of one Ref of a batch: an entry with its references resolved, nothing, or why not."""

    ref: Ref
    entry: Entry | None = None
    error: StrongroomError | None = None

    @property
    def outcome(self) -> str:
        """Give one of found, absent, denied, unavailable, invalid."""
        if self.error is not None:
            return outcome_of(self.error).value
        return "absent" if self.entry is None else "found"


class Reading:
    """
    The reads of one deployment, for all its actors.

    Args:
        cache: of the chain as such: nobody is asked between them.
        guard: whose policy decides, and whose recorder records.
        bridge: for what must be waited for beside a loop.
        uses: which uses are on record.
        facts: as of `Guard`.
        is_strict: whether the uses of a Ref wait for the disk; told its entry where there is one.
        seen_by: gives the cache as an actor sees it, where that is another for some.

    Threads: may be used from several threads and loops at once.

    Attributes:
        cache, uses, is_strict: as given.
        aappend: records for a loop, where the recorder can.
        strictly: the recorder, where it can be waited for.
        record: records for a loop by a call, where the recorder can.
    """

    def __init__(  # noqa: PLR0913 -- a service is made of the parts it joins
        self,
        cache: Cache,
        guard: Guard,
        bridge: Callable[[], Bridge],
        *,
        uses: Uses | None = None,
        facts: Callable[[Ref], Facts | None] | None = None,
        dialect: Dialect = "core",
        is_strict: Callable[[Ref, Entry | None], bool] | None = None,
        seen_by: Callable[[Actor], Cache] | None = None,
    ) -> None:
        self.cache = cache
        self._seen_by = seen_by
        self.guard = guard
        self.bridge = bridge
        self.uses: Uses = EachUse() if uses is None else uses  # one without windows is false
        self.facts = facts or (lambda _ref: None)
        self.dialect = dialect
        self.is_strict = is_strict or (lambda _ref, _entry: False)
        # Asked once: telling what an object can do costs as much as recording by it.
        recorder = guard.recorder
        self.aappend = recorder.aappend if isinstance(recorder, AsyncRecorder) else None
        self.strictly = recorder if isinstance(recorder, StrictRecorder) else None
        self.record = recorder.record if isinstance(recorder, PromptRecorder) else None
        self._readers: dict[Actor, Reader] = {}
        self._known: weakref.WeakSet[Reader] = weakref.WeakSet()
        self._room_left = _MAX_AT_HAND
        self._owed: list[Event] = []
        self._closing = threading.Lock()

    def reader(self, actor: Actor) -> Reader:
        """Give the reader of *actor*, the same one each time while it is remembered."""
        found = self._readers.get(actor)
        if found is None:
            found = Reader(self, actor, self.cache if self._seen_by is None else self._seen_by(actor))
            while len(self._readers) >= _MAX_READERS:
                self._readers.pop(next(iter(self._readers)), None)
            self._readers[actor] = found
            self._known.add(found)
        return found

    def forget_readers(self) -> None:
        """Make each reader anew: its actor sees another cache now."""
        self._readers.clear()

    def readers(self) -> list[Reader]:
        """Give those that are remembered."""
        return list(self._readers.values())

    def make_room(self) -> None:
        """Count one more entry that a reader remembers; where they are too many, all forget theirs."""
        # A request says itself for which run it asks, so whoever may read at all can have readers made.
        self._room_left -= 1
        if self._room_left < 0:
            self._room_left = _MAX_AT_HAND
            for reader in list(self._known):
                reader.forget()

    def begin(self, actor: Actor, key: Key) -> Entry | None:
        """Give the entry of *key* where everything is at hand for *actor*; None: `Reader.aread_many` it."""
        return self.reader(actor).peek(key)

    def close_windows(self, *, is_last: bool = False) -> None:
        """
        Record the counts of windows that ended; *is_last*: of all.

        Raises:
            NotRecordedError: they cannot be recorded now.
        """
        with self._closing:
            # What cannot be recorded now is owed: a count is not lost because a disk was full for a while.
            self._owed += self.uses.due(is_last=is_last)
            if self._owed:
                self.guard.recorder.append(*self._owed)
                self._owed.clear()


class Reader:
    """
    The reads of one actor; stands where a cache stands, in front of the one that all share.

    Attributes:
        actor: who reads.
        peek: gives the entry of a key (kind, name, team) where everything is at hand (rule 3), counting
            the use; None says nothing. About a microsecond, on any thread or loop.
        tally: holds how many reads there were, a few short where threads count at once.
    """

    def __init__(self, reading: Reading, actor: Actor, cache: Cache) -> None:
        self.actor = actor
        self._reading = reading
        self._cache = cache
        self._guard = reading.guard
        self._uses = reading.uses
        self._aappend, self._strictly, self._recorded = reading.aappend, reading.strictly, reading.record
        self._at_hand: dict[Key, AtHand] = {}
        self.tally = [0]
        self.peek = _peeking(self._at_hand, cache.peek, reading.guard.current, reading.uses.timer, self.tally)

    # --- as a cache does ---------------------------------------------------------------------------

    def read(self, ref: Ref) -> Entry | None:
        """
        Give the entry of *ref* with its references unresolved, None where it is nowhere; waits.

        Raises:
            AccessDeniedError: policy or a backend says no.
            NotRecordedError: the use cannot be recorded.
            As `Cache.read`.
        """
        entry = self.peek(ref)
        return entry if entry is not None else self._given(ref, anew=False)

    def forget(self) -> None:
        """Have nothing at hand."""
        self._at_hand.clear()

    def refresh(self, ref: Ref) -> Entry | None:
        """Give what `read` gives, asked anew."""
        return self._given(ref, anew=True)

    def remembered(self, ref: Ref) -> Remembered | None:
        """Tell what the shared cache holds, for an explanation: whoever is told must be allowed to."""
        return self._cache.remembered(ref)

    def _given(self, ref: Ref, *, anew: bool) -> Entry | None:
        use = self._use(ref, anew=anew)
        self.tally[0] += 1
        if first := self._first([use]):
            events = self._uses.to_record(first)
            if self._strictly is not None and self._is_strict(first):
                self._strictly.append_strict(*events)
            else:
                self._guard.recorder.append(*events)
            self._keep(first)
        return _unless_refused(use)

    # --- on a loop ---------------------------------------------------------------------------------

    def prompt(self, ref: Ref, done: Callable[[StrongroomError | None], object]) -> Answer | None:
        """
        Answer *ref* with no task where nobody must be asked; None where somebody must, and nothing was done.

        Args:
            ref: what to read.
            done: called once, on this loop and perhaps before this returns: the answer may leave, as its
                use is on record; or it may not, and why.

        Returns:
            what `aread_many` would give. Whoever has it keeps it to himself until *done* was told.
        """
        record = self._recorded
        use = None if record is None else self._quick(ref)
        if record is None or use is None or (use.answer is not None and use.answer.metadata.references):
            return None
        self.tally[0] += 1
        first = self._first((use,))
        if first:
            record(
                self._uses.to_record(first),
                partial(self._settled, first, done),
                is_strict=self._reading.is_strict(ref, use.answer),
            )
        else:
            done(None)
        return Answer(ref, use.answer, _refusal(use))

    def _settled(
        self,
        first: Sequence[Use],
        done: Callable[[StrongroomError | None], object],
        error: StrongroomError | None,
    ) -> None:
        if error is None:
            self._keep(first)
        done(error)

    async def aread(self, ref: Ref) -> Entry | None:
        """Give what `read` gives without blocking the loop."""
        entry = self.peek(ref)
        if entry is not None:
            return entry
        (use,) = await self._auses([ref])
        return _unless_refused(use)

    async def aread_many(
        self, refs: Sequence[Ref], *, anew: bool = False, as_stored: bool = False
    ) -> list[Answer]:
        """
        Read many for one request, references resolved; each has its own outcome, and all that must be
        recorded is, before any of it is given.

        Args:
            refs: what to read.
            anew: ask, whatever is remembered.
            as_stored: leave references as they are, for who resolves them for others.

        Raises:
            NotRecordedError: the uses cannot be recorded; nothing is given.
        """
        answers: list[Answer | None] = [None] * len(refs)
        rest: list[int] = []
        for index, ref in enumerate(refs):
            entry = None if anew else self.peek(ref)
            if entry is None:
                rest.append(index)
            else:
                answers[index] = Answer(ref, entry)
        if rest:
            uses = await self._auses([refs[index] for index in rest], anew=anew)
            for index, use in zip(rest, uses, strict=True):
                answers[index] = await self._answered(use, as_stored=as_stored)
        return [answer for answer in answers if answer is not None]

    async def _answered(self, use: Use, *, as_stored: bool) -> Answer:
        entry = use.answer
        if entry is None or as_stored or not entry.metadata.references:
            return Answer(use.ref, entry, _refusal(use))
        try:
            return Answer(use.ref, await self._reading.bridge().run(lambda: self.resolved(entry)))
        except StrongroomError as error:
            return Answer(use.ref, error=error)

    async def _auses(self, refs: Sequence[Ref], *, anew: bool = False) -> list[Use]:
        uses: list[Use | None] = [None] * len(refs)
        missing = list(range(len(refs)))
        if not anew:
            uses, missing = await self._decided(refs)
        if missing:
            for index, use in await self._looked(refs, missing, anew=anew):
                uses[index] = use
        found = [use for use in uses if use is not None]
        self.tally[0] += len(found)
        if first := self._first(found):
            await self._record(self._uses.to_record(first), is_strict=self._is_strict(first))
            self._keep(first)
        return found

    async def _decided(self, refs: Sequence[Ref]) -> tuple[list[Use | None], list[int]]:
        """Decide and answer from memory what can be; give the places of the others beside."""
        uses: list[Use | None] = []
        missing: list[int] = []
        for index, ref in enumerate(refs):
            if index and index % _DECISIONS_A_TURN == 0:
                await asyncio.sleep(0)
            use = self._quick(ref)
            if use is None:
                missing.append(index)
            uses.append(use)
        return uses, missing

    async def _looked(
        self, refs: Sequence[Ref], missing: Sequence[int], *, anew: bool
    ) -> list[tuple[int, Use]]:
        lanes = 1 if self._cache.is_local else min(_LANES, len(missing))
        run = self._reading.bridge().run
        policy = self._guard.current()
        if len(missing) > 1 and isinstance(policy, Preparing):
            with suppress(StrongroomError):  # what was not prepared is asked one by one
                await run(
                    partial(policy.prepare, self.actor, Action.READ, [refs[place] for place in missing])
                )
        if self._cache.is_batched:
            lanes = 1
        found = await asyncio.gather(
            *(run(partial(self._uses_of, refs, missing[lane::lanes], anew=anew)) for lane in range(lanes)),
            return_exceptions=True,
        )
        told: list[tuple[int, Use]] = []
        for lane, uses in enumerate(found):
            if isinstance(uses, StrongroomError):
                # The lane itself had no thread or no time: none of its Refs was answered.
                told += [(index, self._failed(refs[index], uses)) for index in missing[lane::lanes]]
            elif isinstance(uses, BaseException):
                raise uses
            else:
                told += uses
        return told

    async def _record(self, events: Sequence[Event], *, is_strict: bool) -> None:
        if is_strict and self._strictly is not None:
            await self._strictly.aappend_strict(*events)
        elif self._aappend is not None:
            await self._aappend(*events)
        else:
            await self._reading.bridge().run(lambda: self._guard.recorder.append(*events))

    # --- one use -----------------------------------------------------------------------------------

    def resolved(self, entry: Entry) -> Entry:
        """Give *entry* with its references resolved for this actor. Raises as `Lookup.resolved`."""
        from strongroom.model import template  # noqa: PLC0415 -- references are off by default

        return template.resolve(entry, self.read, dialect=self._reading.dialect)

    def _quick(self, ref: Ref) -> Use | None:
        """Decide and answer *ref* without waiting, or None where somebody must be asked."""
        policy = self._guard.current()
        if not policy.knows(self.actor, Action.READ, ref):
            return None
        if policy.needs_facts:
            answer = self._cache.recall(ref)
            return None if answer is UNKNOWN else self._judged(policy, ref, cast("Entry | None", answer))
        decision = policy.decide(self.actor, Action.READ, ref)
        if not decision.is_allowed:
            return _refused(self.actor, ref, decision, policy)
        answer = self._cache.recall(ref)
        if answer is UNKNOWN:
            return None
        entry = cast("Entry | None", answer)
        if entry is not None and (
            self._is_open(policy, ref, entry)
            or (_is_behind(ref, entry) and not policy.knows(self.actor, Action.READ, entry.ref))
        ):
            return None
        return _told(self.actor, ref, decision, policy, *self._behind(policy, ref, entry))

    def _use(self, ref: Ref, *, anew: bool = False) -> Use:
        """Decide and answer *ref*, asking and waiting where need be. What is refused is told, not raised."""
        policy = self._guard.current()
        if policy.needs_facts:
            return self._judged(policy, ref, *self._ask(ref, anew=anew))
        decision = policy.decide(self.actor, Action.READ, ref)
        if not decision.is_allowed:
            return _refused(self.actor, ref, decision, policy)
        entry, error = self._ask(ref, anew=anew)
        return _told(self.actor, ref, decision, policy, *self._behind(policy, ref, entry, error))

    def _judged(
        self, policy: Policy, ref: Ref, entry: Entry | None, error: StrongroomError | None = None
    ) -> Use:
        """Decide knowing what is public about what was found; the same is done where nothing was."""
        entry, error = self._behind(policy, ref, entry, error)
        facts = self._facts(ref, error) if entry is None else facts_of(entry.metadata)
        decision = policy.decide(self.actor, Action.READ, ref, facts)
        if not decision.is_allowed:
            return _refused(self.actor, ref, decision, policy)
        return _told(self.actor, ref, decision, policy, entry, error)

    def _behind(
        self, policy: Policy, ref: Ref, entry: Entry | None, error: StrongroomError | None = None
    ) -> tuple[Entry | None, StrongroomError | None]:
        """
        Give *entry* and *error*; no entry where it is of the global name and that may not be read (rule 6),
        and trouble where nobody could decide about that (rule 7).
        """
        if self._is_open(policy, ref, entry):
            decision = policy.decide(self.actor, Action.READ, ref)
            if not decision.is_allowed:
                return None, _refusal(_refused(self.actor, ref, decision, policy))
        if entry is None or not _is_behind(ref, entry):
            return entry, error
        facts = facts_of(entry.metadata) if policy.needs_facts else None
        decision = policy.decide(self.actor, Action.READ, entry.ref, facts)
        return (entry, error) if decision.is_allowed else (None, decision.trouble)

    def _is_open(self, policy: Policy, ref: Ref, entry: Entry | None) -> bool:
        """Tell whether what was decided about *ref* counts no more, now that *entry* is known (rule 9)."""
        is_strict = entry is not None and self._reading.is_strict(ref, entry)
        return is_strict and not policy.knows(self.actor, Action.READ, ref)

    def _ask(self, ref: Ref, *, anew: bool) -> tuple[Entry | None, StrongroomError | None]:
        try:
            return (self._cache.refresh(ref) if anew else self._cache.read(ref)), None
        except StrongroomError as error:
            return None, error

    def _facts(self, ref: Ref, error: StrongroomError | None) -> Facts | None:
        # It is there and cannot be read: what is public about it may be known all the same.
        return self._reading.facts(ref) if isinstance(error, (MalformedEntryError, TamperedError)) else None

    def _failed(self, ref: Ref, error: StrongroomError) -> Use:
        policy = self._guard.current()
        if not policy.knows(self.actor, Action.READ, ref):
            # On a loop: who would have to be asked is not, and nothing is known of whether it is allowed.
            decision = Decision(is_allowed=False, reason=error.code, trouble=error)
            return _refused(self.actor, ref, decision, policy)
        return self._judged(policy, ref, None, error)

    def _uses_of(self, refs: Sequence[Ref], places: Sequence[int], *, anew: bool) -> list[tuple[int, Use]]:
        if len(places) > 1 and self._cache.is_batched:
            return self._batch(refs, places, anew=anew)
        return [(place, self._use(refs[place], anew=anew)) for place in places]

    def _batch(self, refs: Sequence[Ref], places: Sequence[int], *, anew: bool) -> list[tuple[int, Use]]:
        """Do what `_use` does for many, asking for all that are allowed in one go."""
        policy = self._guard.current()
        told: list[tuple[int, Use]] = []
        decided: dict[int, Decision | None] = {}
        for place in places:
            decision = None if policy.needs_facts else policy.decide(self.actor, Action.READ, refs[place])
            if decision is None or decision.is_allowed:
                decided[place] = decision
            else:
                told.append((place, _refused(self.actor, refs[place], decision, policy)))
        found = self._cache.read_many([refs[place] for place in decided], anew=anew)
        for (place, decision), answer in zip(decided.items(), found, strict=True):
            told.append((place, self._one_of_batch(policy, refs[place], decision, answer)))
        return told

    def _one_of_batch(
        self, policy: Policy, ref: Ref, decision: Decision | None, answer: Entry | StrongroomError | None
    ) -> Use:
        entry, error = (None, answer) if isinstance(answer, StrongroomError) else (answer, None)
        if decision is None:
            return self._judged(policy, ref, entry, error)
        return _told(self.actor, ref, decision, policy, *self._behind(policy, ref, entry, error))

    # --- what is on record -------------------------------------------------------------------------

    def _first(self, uses: Sequence[Use]) -> list[Use]:
        """Give those of *uses* that must be recorded; count the others."""
        first: list[Use] = []
        for use in uses:
            if use.decision.trouble is not None:
                continue  # nobody decided and nothing is given; in an outage that would fill the record
            window = self._uses.window(use) if use.decision.is_allowed else None
            if window is None:
                first.append(use)
            else:
                window.repeat()
                self._hold(use, window)
        return first

    def _is_strict(self, uses: Sequence[Use]) -> bool:
        is_strict = self._reading.is_strict
        return any(is_strict(use.ref, use.answer) for use in uses)

    def _keep(self, first: Sequence[Use]) -> None:
        """Open the windows of uses that are on record now."""
        for use in first:
            if use.decision.is_allowed:
                window = self._uses.open(use)
                if window is not None:
                    self._hold(use, window)

    def _hold(self, use: Use, window: Window) -> None:
        entry = use.answer
        if entry is None or entry.metadata.references or entry.is_stale:
            return
        if use.ref not in self._at_hand:
            self._reading.make_room()
        self._at_hand[use.ref] = (entry, use.policy, window.until, window.repeat)


def _peeking(
    at_hand: dict[Key, AtHand],
    remembered: Callable[[Key], Entry | None],
    current: Callable[[], Policy],
    timer: Callable[[], float],
    tally: list[int],
) -> Callable[[Key], Entry | None]:
    # A closure, not a method: every warm read of a server ends here.
    def peek(key: Key) -> Entry | None:
        try:
            entry, policy, until, repeat = at_hand[key]
        except KeyError:
            return None
        if policy is current() and timer() < until and remembered(key) is entry:
            repeat()
            tally[0] += 1
            return entry
        at_hand.pop(key, None)  # no secret is kept here longer than elsewhere
        return None

    return peek


def _is_behind(ref: Ref, entry: Entry | None) -> bool:
    """Tell whether *entry* is the global one, asked for under a team's name."""
    return entry is not None and entry.ref.team != ref.team


def _refused(actor: Actor, ref: Ref, decision: Decision, policy: Policy) -> Use:
    """Give the use that policy did not allow: a denial, or nobody could decide (rule 7)."""
    if decision.trouble is None:
        return Use(actor, ref, "denied", decision, policy)
    return Use(actor, ref, outcome_of(decision.trouble).value, decision, policy, error=decision.trouble)


def _told(
    actor: Actor,
    ref: Ref,
    decision: Decision,
    policy: Policy,
    answer: Entry | None,
    error: StrongroomError | None = None,
) -> Use:
    if error is not None:
        return Use(actor, ref, outcome_of(error).value, decision, policy, None, error)
    return Use(actor, ref, "absent" if answer is None else "found", decision, policy, answer)


def _refusal(use: Use) -> StrongroomError | None:
    if use.decision.is_allowed or use.error is not None:
        return use.error
    return AccessDeniedError(f"{use.actor.id} may not read {use.ref}", reason=use.decision.reason)


def _unless_refused(use: Use) -> Entry | None:
    refusal = _refusal(use)
    if refusal is not None:
        raise refusal
    return use.answer
