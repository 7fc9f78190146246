"""
Ask backends in the order the operator wrote: the one lookup loop, and why it ended as it did.

Not for remembering answers (`cache.py`), deciding who may ask (`policy.py`) or recording
(`audit.py`).

Rules of this file:

1. A question has one of five outcomes, and only *absent* moves on to the next backend. *Denied* and
   *invalid* stop, always; *unavailable* stops unless the link says `on_unavailable = "next"`.
2. Of each backend the team's path is asked, then the global one, before the next backend.
3. An entry past its `not_after` is *invalid*, and no lower backend answers for it; one past its
   `expires_at` is absent.
4. Nothing absent is claimed past an outage: where a backend was passed over and nobody else had
   the entry, the lookup is *unavailable*.
5. A backend that leaves the machine is asked on threads of its own and within its time.
6. The order, and what is said of a backend, may be changed while it is asked (`arrange`); a lookup under way
   ends as it began.
7. One that is paused for a drill gives no answer until its time is over (`pause`): to lookups, listings,
   tests and writes alike, as one that is down.

Source: docs/design.md, "Looking something up"; docs/lookup.md.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import translate
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from strongroom import tracing
from strongroom.backend import Backend, Batched, Folding, Lending, PathBackend, Writable
from strongroom.backend.parallel import together
from strongroom.bulkhead import Bulkhead, seconds_left
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    NotAuthenticatedError,
    NotFoundError,
    NotRecordedError,
    RateLimitedError,
    ReadOnlyError,
    SealedError,
    SettingsError,
    StrongroomError,
    TamperedError,
)
from strongroom.meter import Meter
from strongroom.model.entry import Entry
from strongroom.model.explanation import Explanation, Outcome, Remembered, Step
from strongroom.model.ref import KINDS, Kind, Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from strongroom.meter import Figures

__all__ = ["Chain", "Explanation", "Link", "Outcome", "Step", "outcome_of"]

T = TypeVar("T")
_MAX_BATCH = 1000  # of what one question may name: `backend.Batched`
_PER_TIMEOUT = 100  # of those for which a backend has the time of one question


_OUTCOMES: tuple[tuple[type[StrongroomError], Outcome], ...] = (
    (NotFoundError, Outcome.ABSENT),
    (AccessDeniedError, Outcome.DENIED),
    (NotAuthenticatedError, Outcome.DENIED),
    (BackendUnavailableError, Outcome.UNAVAILABLE),
    (RateLimitedError, Outcome.UNAVAILABLE),
    (SealedError, Outcome.UNAVAILABLE),
    (NotRecordedError, Outcome.UNAVAILABLE),
)


def outcome_of(error: StrongroomError) -> Outcome:
    """Tell which outcome *error* is. The one function that does; what it does not know is invalid."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return Outcome.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """
    A backend in its place in the chain, and what the operator said about it.

    Args:
        match: ask it only for names that fit one of these globs (`*` also stands for `/`; case
            matters); empty means every name.
        kinds: ask it only for these kinds.
        on_unavailable: `stale`: stop, and the cache may serve the last good entry inside its bound;
            `stop`: stop; `next`: ask the next backend.
        team_fallback: after the team's path ask the global one.
        timeout: how long one question may take, waiting for a thread included. A local backend is
            asked on the caller's thread and cannot be interrupted.
        threads: questions a backend that is not local answers at once.
        waiting: questions that may wait for one of those threads.
        references: resolve references in everything this backend holds.
        read_only: never write to it, whatever it could.
    """

    backend: Backend
    match: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = KINDS
    on_unavailable: Literal["stale", "stop", "next"] = "stale"
    team_fallback: bool = True
    timeout: timedelta = timedelta(seconds=3)
    threads: int = 8
    waiting: int = 56
    references: bool = False
    read_only: bool = False
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        globs = self.match or ("*",)
        object.__setattr__(self, "_pattern", re.compile("|".join(translate(glob) for glob in globs)))

    @property
    def name(self) -> str:
        """The name of the backend in the settings."""
        return self.backend.name

    @property
    def is_writable(self) -> bool:
        """Whether entries may be written here."""
        return not self.read_only and isinstance(self.backend, Writable)

    def check_writable(self) -> None:
        """
        Refuse a write that could not be made here.

        Raises:
            ReadOnlyError: the backend cannot be written, or is not to be.
        """
        if not self.is_writable:
            is_set = self.read_only and isinstance(self.backend, Writable)
            raise ReadOnlyError(
                f"the backend {self.name} cannot be written",
                hint=f"backend.{self.name}.read_only is set" if is_set else None,
            )

    def why_not(self, ref: Ref) -> str | None:
        """Say why this link is never asked for *ref*, or None when it is asked."""
        if ref.kind not in self.kinds:
            return f"not asked for a {ref.kind} (kinds)"
        return None if not self.match or self._pattern.match(ref.name) else "not asked for this name (match)"

    def paths(self, ref: Ref) -> tuple[Ref, ...]:
        """Give the Refs to ask for, in order: the team's, then the global one."""
        if ref.team is None or not self.team_fallback:
            return (ref,)
        return ref, Ref(ref.kind, ref.name)


@dataclass(slots=True)  # not frozen: that would cost a lookup a microsecond
class _Answer:
    """What one question to one link came to."""

    link: Link
    ref: Ref
    outcome: Outcome
    entry: Entry | None
    error: StrongroomError | None
    seconds: float

    @property
    def is_stop(self) -> bool:
        if self.outcome is Outcome.UNAVAILABLE:
            passes = self.link.on_unavailable == "next" and isinstance(self.error, BackendUnavailableError)
            return not passes
        return self.outcome in (Outcome.DENIED, Outcome.INVALID)

    @property
    def is_held_here(self) -> bool:
        """True when something stands here, readable or not, so that a write belongs here."""
        return self.outcome is Outcome.FOUND or isinstance(self.error, MalformedEntryError | TamperedError)


class _Lookup:
    """
    One lookup on its way: what is asked next, and in the end what came of it.

    Attributes:
        question: the link and the Ref to put to it; None where the lookup has ended.
        entry, error: how it ended; neither where every backend had nothing.
    """

    __slots__ = ("_outage", "_questions", "entry", "error", "question")

    def __init__(self, questions: Generator[tuple[Link, Ref], _Answer, None]) -> None:
        self._questions = questions
        self._outage: StrongroomError | None = None
        self.question = next(questions, None)
        self.entry: Entry | None = None
        self.error: StrongroomError | None = None

    def take(self, answer: _Answer) -> None:
        """Go on after *answer* to the question."""
        if answer.entry is not None:
            self.question = None
            self.entry = answer.entry if self._outage is None else _short_lived(answer.entry)
            return
        if answer.error is not None and answer.outcome is not Outcome.ABSENT:
            if answer.is_stop:
                self.question, self.error = None, answer.error
                return
            self._outage = self._outage or answer.error
        try:
            self.question = self._questions.send(answer)
        except StopIteration:
            self.question, self.error = None, self._outage


class Chain(Backend):
    """
    Backends asked in order until one has the entry, or one stops the lookup.

    Args:
        links: in the order to ask; their names are unique.
        clock: wall clock, UTC, for `not_after` and `expires_at`.
        timer: seconds that only go up, for deadlines and milliseconds.
        deadline: how long one lookup may take in all; the remainder is passed down.
        write_to: name of the backend that new entries go to.

    Raises:
        BackendConfigError: two links have the same name.
        SettingsError: *write_to* names no backend of the chain.

    Threads: may be used from several threads at once, and after a fork.
    Consistency: nothing is remembered here; a read sees what the backends hold.
    """

    # An answer got past an outage may be older than what the silent backend holds: it is kept
    # only this long, so that the right one comes back soon after the backend does.
    PAST_OUTAGE = timedelta(seconds=10)

    def __init__(
        self,
        links: Sequence[Link],
        *,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
        deadline: timedelta = timedelta(seconds=10),
        write_to: str | None = None,
    ) -> None:
        self.name = "chain"
        self.is_local = all(link.backend.is_local for link in links)
        # The others are asked name by name meanwhile, on threads.
        self.is_batched = any(_is_batched(link.backend) for link in links if not link.backend.is_local)
        self.links = tuple(links)
        self._meters = {link.name: Meter() for link in links}
        self._paused: Mapping[str, datetime] = {}
        self._clock = clock
        self._timer = timer
        self._deadline = deadline.total_seconds()
        self._write_to = write_to
        self._bulkheads = {
            link.name: Bulkhead(f"the backend {link.name}", threads=link.threads, waiting=link.waiting)
            for link in links
            if not link.backend.is_local
        }
        names = [link.name for link in links]
        if len(set(names)) != len(names):
            raise BackendConfigError("two backends of the chain have the same name")
        if write_to is not None and write_to not in names:
            raise _no_such_backend(write_to)

    @property
    def capacity(self) -> int:
        """How many questions to backends that are not local may be under way at once."""
        return sum(bulkhead.limit for bulkhead in self._bulkheads.values())

    # --- while it is asked ---

    def arrange(self, links: Sequence[Link]) -> None:
        """
        Ask the same backends in another order, or as something else is said of them, from now on.

        Args:
            links: one for each backend of this chain, in the order to ask.

        Raises:
            BackendConfigError: they are not the backends of this chain.
        """
        if sorted(link.name for link in links) != sorted(self._meters):
            raise BackendConfigError("a chain can only be put into another order")
        self.links = tuple(links)

    def pause(self, until: Mapping[str, datetime]) -> None:
        """
        Have backends give no answer for a drill, and all others answer again.

        Args:
            until: when each answers again, by its name; UTC.
        """
        self._paused = dict(until)

    @property
    def paused(self) -> Mapping[str, datetime]:
        """When those that are paused for a drill answer again, by name; some may have done so by now."""
        return self._paused

    def figures(self) -> dict[str, Figures]:
        """Give how often each backend was asked in this process and what came of it, by name."""
        now = self._timer()
        return {link.name: self._meters[link.name].figures(now) for link in self.links}

    def _check_answers(self, link: Link) -> None:
        until = self._paused.get(link.name)
        if until is not None and self._clock() < until:
            raise BackendUnavailableError(
                f"the backend {link.name} is paused for a drill until {until:%Y-%m-%d %H:%M:%S} UTC",
                backend=link.name,
                hint=f"strongroom backends resume {link.name} ends it",
            )

    # --- reading ---

    def read(self, ref: Ref) -> Entry | None:
        """
        Give the entry of the first backend that has it; None when every one was asked and had nothing.

        Raises:
            AccessDeniedError, MalformedEntryError, TamperedError, SealedError: a backend stopped the lookup.
            BackendUnavailableError: a backend gave no answer in time, or one that was passed over
                might have had what nobody else had.
        """
        ends_at = self._ends_at()
        lookup = _Lookup(self._questions(ref))
        while lookup.question is not None:
            lookup.take(self._put(*lookup.question, ends_at))
        if lookup.error is not None:
            raise lookup.error
        return lookup.entry

    def lends(self, ref: Ref) -> bool:
        """Tell whether a backend lends what it answers for *ref*."""
        return any(isinstance(link.backend, Lending) and link.backend.lends(ref) for link in self.links)

    def withdraw(self, ref: Ref) -> Callable[[], StrongroomError | None] | None:
        """Have something else lent for *ref* from now on, and give what revokes; as `Lending.withdraw`."""
        lending = [link.backend for link in self.links if isinstance(link.backend, Lending)]
        found = [revoke for backend in lending if (revoke := backend.withdraw(ref)) is not None]
        if not found:
            return None
        return lambda: next((error for error in [revoke() for revoke in found] if error is not None), None)

    def read_many(self, refs: Sequence[Ref]) -> list[Entry | StrongroomError | None]:
        """Give for each of *refs* what `read` would give or raise; who answers many at once is asked once."""
        ends_at, links = self._ends_at(), self.links
        lookups = [_Lookup(self._questions(ref, links)) for ref in refs]
        for link in links:
            # A second round for the global names of teams that have none of their own.
            while several := [one for one in lookups if one.question is not None and one.question[0] is link]:
                paths = [one.question[1] for one in several if one.question is not None]
                for one, answer in zip(several, self._put_many(link, paths, ends_at), strict=True):
                    one.take(answer)
        return [one.entry if one.error is None else one.error for one in lookups]

    def asked(self, ref: Ref) -> tuple[tuple[str, str], ...]:
        """Give the trail of a lookup that found nothing: (backend, "absent") in the order asked."""
        links = [link for link in self.links if link.why_not(ref) is None]
        return tuple((link.name, Outcome.ABSENT.value) for link in links for _ in link.paths(ref))

    def explain(self, ref: Ref, remembered: Remembered | None = None) -> Explanation:
        """
        Look *ref* up, past the cache, and tell how it went. Trouble is an outcome here, not an error.

        It goes on after the answer, to tell which lower backends hold it too.

        Args:
            ref: what would be looked up.
            remembered: what the cache holds for *ref*, to be told beside it.
        """
        decided: _Answer | None = None
        outage: _Answer | None = None
        steps: list[Step] = []
        for answer in self._answers(ref):
            steps.append(self._step(answer, remembered, is_shadowed=decided is not None))
            if decided is not None:
                continue
            if answer.outcome is Outcome.FOUND:
                decided = answer
            elif answer.is_stop:
                decided = answer
                break
            elif answer.outcome is Outcome.UNAVAILABLE:
                outage = outage or answer
        decided = decided or outage
        return Explanation(
            ref=ref,
            outcome=Outcome.ABSENT if decided is None else decided.outcome,
            backend=None if decided is None else decided.link.name,
            version=None if decided is None or decided.entry is None else decided.entry.version,
            steps=tuple(steps),
            not_asked=self._not_asked(ref, {step.backend for step in steps}),
            remembered=remembered,
        )

    def _answers(self, ref: Ref) -> Iterator[_Answer]:
        """Ask one question after the other, only as far as the consumer goes on."""
        ends_at = self._ends_at()
        questions = self._questions(ref)
        question = next(questions, None)
        while question is not None:
            answer = self._put(*question, ends_at)
            yield answer
            try:
                question = questions.send(answer)
            except StopIteration:
                return

    def _questions(
        self, ref: Ref, links: Sequence[Link] | None = None
    ) -> Generator[tuple[Link, Ref], _Answer, None]:
        """Yield what to ask, one after the other, as long as it is taken on: the one lookup loop."""
        for link in self.links if links is None else links:
            if link.why_not(ref) is not None:
                continue
            for path in link.paths(ref):
                answer = yield link, path
                if answer.outcome is Outcome.UNAVAILABLE:
                    # Its global path must not answer for a team's path that could not be asked.
                    break

    def _ends_at(self) -> float:
        left = seconds_left()
        return self._timer() + (self._deadline if left is None else min(left, self._deadline))

    def _put(self, link: Link, ref: Ref, ends_at: float) -> _Answer:
        """Put one question to one link."""
        with tracing.span("ask a backend") as span:
            begun = self._timer()
            found: Entry | StrongroomError | None
            try:
                found = self.ask(link, lambda: link.backend.read(ref), seconds=ends_at - begun)
            except StrongroomError as error:
                found = error
            answer = self._answer(link, ref, found, begun)
            _trace(span, [answer])
            return answer

    def _put_many(self, link: Link, refs: Sequence[Ref], ends_at: float) -> list[_Answer]:
        """Put many questions to one link, at once where it can be asked so."""
        backend = link.backend
        if len(refs) == 1 or not isinstance(backend, Batched) or not backend.is_batched:
            return self._put_each(link, refs, ends_at)
        answers: list[_Answer] = []
        for start in range(0, len(refs), _MAX_BATCH):
            with tracing.span("ask a backend") as span:
                answered = self._put_batch(link, backend, refs[start : start + _MAX_BATCH], ends_at)
                _trace(span, answered)
            answers += answered
        return answers

    def _put_batch(self, link: Link, backend: Batched, refs: Sequence[Ref], ends_at: float) -> list[_Answer]:
        """Put as many questions to one link as it takes at once."""
        begun = self._timer()
        found: Sequence[Entry | StrongroomError | None]
        try:
            times = -(-len(refs) // _PER_TIMEOUT)
            found = self.ask(link, partial(backend.read_many, refs), seconds=ends_at - begun, times=times)
        except StrongroomError as error:
            found = [copy(error) for _ in refs]
        return [self._answer(link, ref, one, begun) for ref, one in zip(refs, found, strict=True)]

    def _put_each(self, link: Link, refs: Sequence[Ref], ends_at: float) -> list[_Answer]:
        """Put one question after the other, on as many threads as the link has."""
        if link.backend.is_local or len(refs) == 1:
            return [self._put(link, ref, ends_at) for ref in refs]
        begun = self._timer()
        late = BackendUnavailableError(f"the backend {link.name} gave no answer in time", backend=link.name)
        answers = together(
            lambda ref: self._put(link, ref, ends_at),
            list(dict.fromkeys(refs)),
            threads=link.threads,
            late=lambda: None,
            place=link.name,
        )
        return [answers[ref] or self._answer(link, ref, copy(late), begun) for ref in refs]

    def _answer(self, link: Link, ref: Ref, found: Entry | StrongroomError | None, begun: float) -> _Answer:
        """Judge what a backend gave or raised."""
        try:
            if isinstance(found, StrongroomError):
                raise found
            entry = None if found is None else self._judged(link, found)
        except StrongroomError as error:
            outcome = outcome_of(error)
            if outcome is Outcome.UNAVAILABLE and link.on_unavailable == "stop":
                error.is_final = True
            return self._counted(_Answer(link, ref, outcome, None, error, self._timer() - begun), begun)
        outcome = Outcome.ABSENT if entry is None else Outcome.FOUND
        return self._counted(_Answer(link, ref, outcome, entry, None, self._timer() - begun), begun)

    def _counted(self, answer: _Answer, begun: float) -> _Answer:
        self._meters[answer.link.name].note(answer.outcome.value, answer.seconds, begun + answer.seconds)
        return answer

    def ask(self, link: Link, work: Callable[[], T], *, seconds: float | None = None, times: int = 1) -> T:
        """
        Do *work* for *link* where its questions are asked: a local backend's on this thread, any
        other's on threads of its own.

        Args:
            link: one of this chain.
            work: the question.
            seconds: what is left of the lookup; the link's own timeout where that is shorter.
            times: how many questions' time it may take.

        Raises:
            BackendUnavailableError: no answer in time, too many questions under way, or it is paused.
            Whatever *work* raises.
        """
        if self._paused:
            self._check_answers(link)
        bulkhead = self._bulkheads.get(link.name)
        if bulkhead is None:
            return work()
        timeout = link.timeout.total_seconds() * times
        limit = timeout if seconds is None else min(seconds, timeout)
        if limit <= 0:
            raise BackendUnavailableError(
                f"the backend {link.name} was not asked: the time of the whole lookup is over",
                backend=link.name,
            )
        return bulkhead.call(work, limit)

    def _judged(self, link: Link, entry: Entry) -> Entry | None:
        """Give *entry* if its own dates let it live, marked if its references are to be resolved."""
        metadata = entry.metadata
        if metadata.expires_at is not None and metadata.expires_at <= self._clock():
            return None
        if metadata.not_after is not None and metadata.not_after <= self._clock():
            raise MalformedEntryError(
                f"{entry.ref} in the backend {link.name} is past its not_after",
                backend=link.name,
                ref=str(entry.ref),
                reason="expired",
                hint="write a new value, or a later not_after",
            )
        if link.references and not metadata.references:
            return replace(entry, metadata=replace(metadata, references=True))
        return entry

    def _step(self, answer: _Answer, remembered: Remembered | None, *, is_shadowed: bool) -> Step:
        entry = answer.entry
        return Step(
            backend=answer.link.name,
            ref=answer.ref,
            outcome=answer.outcome,
            milliseconds=answer.seconds * 1000,
            version=None if entry is None else entry.version,
            age=None if entry is None else max(self._clock() - entry.read_at, timedelta()),
            is_cached=entry is not None and remembered is not None and remembered.is_of(entry),
            is_shadowed=is_shadowed and answer.is_held_here,
            reason="" if answer.error is None else str(answer.error),
            place=_spelled(answer.link.backend, answer.ref),
        )

    def _not_asked(self, ref: Ref, asked: set[str]) -> tuple[tuple[str, str], ...]:
        return tuple(
            (link.name, link.why_not(ref) or "the lookup stopped before it")
            for link in self.links
            if link.name not in asked
        )

    # --- where to write ---

    def place_to_write(self, ref: Ref, *, to: str | None = None, force: bool = False) -> Backend:
        """
        Give the backend that a write of *ref* goes to; it is `Writable`.

        Where the value is now, if that backend writes; else to `write_to`. A value that cannot be
        read (malformed, expired, tampered) is held all the same: a write there mends the first two,
        and our own store refuses to write over a row that was tampered with.

        Args:
            ref: what would be written.
            to: name of a backend: exactly there, wherever the value is now.
            force: write even to a place that a higher backend shadows, or may shadow.

        Raises:
            ReadOnlyError: nothing can be written, the named backend cannot, or a higher one shadows it.
            SettingsError: several backends write and none is named, or the name is unknown.
            AccessDeniedError, BackendUnavailableError, SealedError: a higher backend would not say
                whether it holds *ref*.
        """
        holder = self._holder(ref, force=force)
        if to is None and holder is not None and self._may_stay(holder, ref):
            return holder.link.backend
        target = self._target(ref, to or self._write_to)
        self._check_answers(target)
        order = [link.name for link in self.links]
        is_shadowed = holder is not None and order.index(holder.link.name) < order.index(target.name)
        if holder is not None and is_shadowed and not force:
            raise ReadOnlyError(
                f"{ref} would be written to {target.name}, where {holder.link.name} shadows it",
                hint=f"change it in {holder.link.name}, or force the write",
            )
        return target.backend

    def _holder(self, ref: Ref, *, force: bool) -> _Answer | None:
        """Find what holds *ref* now; when forced, past trouble, the first that holds and writes."""
        for answer in self._answers(ref):
            if answer.is_held_here and (not force or answer.link.is_writable):
                return answer
            if answer.error is not None and answer.outcome is not Outcome.ABSENT and not force:
                raise answer.error
        return None

    def _may_stay(self, holder: _Answer, ref: Ref) -> bool:
        # A global entry that answers for a team is not the team's own: the named place for new
        # entries goes before it.
        is_own = holder.ref == ref or self._write_to is None
        return is_own and holder.link.is_writable

    def _target(self, ref: Ref, name: str | None) -> Link:
        if name is not None:
            return self._named(ref, name)
        writable = [link for link in self.links if link.is_writable]
        fitting = [link for link in writable if link.why_not(ref) is None]
        if not fitting:
            names = ", ".join(link.name for link in self.links)
            raise ReadOnlyError(f"no backend of the chain that is asked for {ref} can be written: {names}")
        if len(fitting) > 1:
            raise SettingsError(
                f"several backends can be written: {', '.join(link.name for link in fitting)}",
                key="write_to",
                hint=f'name one for new entries: write_to = "{fitting[0].name}"',
            )
        return fitting[0]

    def _named(self, ref: Ref, name: str) -> Link:
        link = next((link for link in self.links if link.name == name), None)
        if link is None:
            known = ", ".join(link.name for link in self.links)
            raise InvalidInputError("the chain has no backend of that name", hint=f"its backends: {known}")
        link.check_writable()
        reason = link.why_not(ref)
        if reason is not None:
            raise ReadOnlyError(
                f"the backend {name} is {reason}, so {ref} would never be read from it",
                hint=f"widen match or kinds of {name}, or write elsewhere",
            )
        return link

    def close(self) -> None:
        for bulkhead in self._bulkheads.values():
            bulkhead.close()
        for link in self.links:
            link.backend.close()


def _trace(span: tracing.Span, answers: Sequence[_Answer]) -> None:
    """Tell who was asked how much, and what came of it; never for what."""
    if not tracing.is_on():
        return
    span.set("strongroom.backend", answers[0].link.name)
    for outcome, count in Counter(answer.outcome.value for answer in answers).items():
        span.set(f"strongroom.refs.{outcome}", count)
    trouble = next((each.error for each in answers if each.error is not None), None)
    if trouble is not None:
        span.failed(trouble.code)


def _spelled(backend: Backend, ref: Ref) -> str:
    """Give how *backend* spells *ref*; "" where it has no word for it."""
    if isinstance(backend, PathBackend):
        return next(iter(backend.naming.paths(ref)), "")
    return (backend.spell(ref) or "") if isinstance(backend, Folding) else ""


def _is_batched(backend: Backend) -> bool:
    return isinstance(backend, Batched) and backend.is_batched


def _short_lived(entry: Entry) -> Entry:
    most = Chain.PAST_OUTAGE
    lifetime = most if entry.lifetime is None else min(entry.lifetime, most)
    return replace(entry, lifetime=lifetime)


def _no_such_backend(name: str) -> SettingsError:
    return SettingsError(
        f"the chain has no backend {name}",
        key="write_to",
        hint="name one of the backends in chain",
    )
