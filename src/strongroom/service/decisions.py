"""
May they? As somebody else decides: a server, asked in batches, whose answers are remembered.

Not for rules (`policy/`), for the questions themselves (`ruling.py`), nor for how the server is asked
(`assembly/upstream.py`); the other side of the question is `service/deciding.py`.

Rules of this file:

1. Nothing is allowed that the server did not allow. Trouble asking it is told as trouble, never as leave.
2. What it said is good while its policy has the revision it had then. Another revision drops everything at
   once; so does being told that this agent is nobody any more, until the server says otherwise.
3. A revision counts as confirmed by whatever the server says: an answer, a sign of life. Where it says
   nothing it is asked every few seconds.
4. Without a sign what was said stays good for a bounded time: on strict entries for `revoke_bound`, on others
   for as long as values may be served stale.
5. What gathers while one request is under way is the next one; the same question is asked once. One that the
   server cannot read is told apart from those that came with it: nobody is refused for what another asked.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

from strongroom.errors import (
    AccessDeniedError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.ref import Ref
from strongroom.policy import Decision
from strongroom.service.ruling import (
    PATIENCE_SECONDS,
    Asked,
    Question,
    lapsed,
    no_answer,
    question_of,
    unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.model.ref import Kind
    from strongroom.policy import Action, Actor, Facts, Run
    from strongroom.service.ruling import Decider, Ruling, Rulings

    _Key = tuple[str, Action, str | None]
    # user, action, of what, for which run, whether for any, what was said
    Remembered = tuple[str, Action, Ref, Run | None, bool, Decision]

__all__ = ["Decisions"]

MAX_BATCH = 1000  # questions in one request
SILENCE_SECONDS = 4.0  # then the server is asked whether anything changed
PARTED_SECONDS = 8.0  # without a sign: parted
_SHORTEST_SILENCE_SECONDS = 0.5
_MAX_REMEMBERED = 50_000  # decisions, about 300 bytes each
_MAX_AGE_SECONDS = 300.0  # then it is asked again: what is public about an entry may have changed unheard
_END_SECONDS = 1.0  # a request under way may outlive it: the thread is a daemon
_RETRY_SECONDS = 1.0  # after trouble: so long nobody is kept waiting for what will not come
_ANY = object()  # run: the answer is the same for each
_GONE = "this agent is not known to its server any more"


class _Ruled(NamedTuple):
    """What is remembered of one question, and when it was asked."""

    at: float
    decision: Decision


class _Known:
    """
    What decides now: a policy, replaced whenever what it said before may not be so any more.

    Args:
        revision: under which everything in *table* was decided.
        table: (kind, name) → who does what for which team → run, or any → answer.
        stage: 0: all of it is good; 1: not for strict entries; 2: nothing of it.
        denial: everything is denied, with this.
    """

    needs_facts = False

    def __init__(
        self,
        asker: Decisions,
        revision: str,
        table: dict[tuple[str, str], dict[_Key, dict[object, _Ruled]]],
        *,
        stage: int = 0,
        denial: Decision | None = None,
    ) -> None:
        self.revision = revision
        self.table = table
        self.stage = stage
        self.denial = denial
        self._asker = asker
        self.prepare = asker.prepare

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:
        """Tell whether the answer is remembered."""
        if self.denial is not None or ref is None:
            return True
        return self.find(actor, action, ref) is not None

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:  # noqa: ARG002 -- the promise of Policy
        """Give what is remembered, or ask and wait."""
        if self.denial is not None:
            return self.denial
        if ref is None:
            return _NOT_HERE
        return self.find(actor, action, ref) or self._asker.ask(actor, action, ref)

    def find(self, actor: Actor, action: Action, ref: Ref, *, is_old_good: bool = False) -> Decision | None:
        """Give what is remembered and good; *is_old_good*: however long ago it was asked."""
        if self.stage and (self.stage > 1 or self._asker.is_strict(ref)):
            return None
        rows = self.table.get((ref.kind, ref.name))
        runs = None if rows is None else rows.get((actor.id, action, ref.team))
        found = None if runs is None else runs.get(_ANY) or runs.get(actor.run)
        if found is None or not (is_old_good or self._asker.is_young(found.at)):
            return None
        return found.decision


_NOT_HERE = Decision(is_allowed=False, reason="an agent's server decides about entries alone")


class Decisions:
    """
    The decisions of one agent's server. A policy itself; `current` gives the one that decides now.

    Threads: may be used from several threads and loops at once.

    Args:
        decider: asks the server.
        timer: seconds that only go up, those of a suspended machine included.
        is_strict: whether the uses of an entry are strict.
        revoke_bound: how long a decision on a strict entry is good without a sign of the server.
        stale_bound: the same for others.
        on_trouble: told what is wrong with asking, and when that is over; on a thread.
    """

    needs_facts = False

    def __init__(  # noqa: PLR0913 -- who is asked, and the bounds
        self,
        decider: Decider,
        *,
        timer: Callable[[], float],
        is_strict: Callable[[Ref], bool] = lambda _ref: False,
        revoke_bound: timedelta = timedelta(seconds=60),
        stale_bound: timedelta = timedelta(minutes=15),
        max_remembered: int = _MAX_REMEMBERED,
        on_trouble: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.is_strict = is_strict
        self._decider = decider
        self._timer = timer
        self._revoke_seconds = revoke_bound.total_seconds()
        self._stale_seconds = max(stale_bound, revoke_bound).total_seconds()
        self._max = max_remembered
        self._tell = on_trouble
        self._silence = max(_SHORTEST_SILENCE_SECONDS, min(SILENCE_SECONDS, self._revoke_seconds / 2))
        self._turn = threading.Condition()
        self._known = _Known(self, "", {})
        self._heard = timer()
        self._until = self._heard + self._revoke_seconds
        self._young_since = self._heard
        self._count = 0
        self._changes = 0
        self._asked: dict[Question, Asked] = {}
        self._waiting: list[Asked] = []
        self._retry_at = 0.0
        self._asking_since: float | None = None
        self._trouble: StrongroomError | None = None
        self._not_read = ""  # what is wrong with the question that was asked last
        self._told_not_read = ""
        self._thread: threading.Thread | None = None
        self._is_ended = False

    # --- deciding ----------------------------------------------------------------------------------

    def current(self) -> _Known:
        """Give what decides now: the same object until something said before may not be so any more."""
        if self._timer() < self._until:
            return self._known
        return self._aged()

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:
        """Tell whether the answer is remembered."""
        return self.current().knows(actor, action, ref)

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Give what is remembered, or ask and wait. Trouble stands in `Decision.trouble`."""
        return self.current().decide(actor, action, ref, facts)

    def prepare(self, actor: Actor, action: Action, refs: Sequence[Ref]) -> None:
        """Ask about those of *refs* that are not remembered, all at once, and wait."""
        policy = self.current()
        unknown = [ref for ref in refs if not policy.knows(actor, action, ref)]
        for asked in self._put([question_of(actor, action, ref) for ref in unknown]):
            asked.wait()

    def ask(self, actor: Actor, action: Action, ref: Ref) -> Decision:
        """
        Ask, and wait; where nobody answers, what was said before is given for as long as it is good.

        Nothing is asked where what decides now remembers it: whoever lists holds the policy he began with.
        """
        remembered = self._remembered(actor, action, ref)
        if remembered is not None:
            return remembered
        (asked,) = self._put([question_of(actor, action, ref)])
        found = asked.wait()
        if found.trouble is None:
            return found
        return self._remembered(actor, action, ref, is_old_good=True) or found

    def _remembered(
        self, actor: Actor, action: Action, ref: Ref, *, is_old_good: bool = False
    ) -> Decision | None:
        policy = self.current()
        return policy.denial or policy.find(actor, action, ref, is_old_good=is_old_good)

    def is_young(self, at: float) -> bool:
        """Tell whether what was asked at that time need not be asked again."""
        return at >= self._young_since and self._timer() - at < _MAX_AGE_SECONDS

    # --- what is heard of the server ---------------------------------------------------------------

    def heard(self, revision: str | None = None) -> None:
        """Hear a sign of the server: policy has that *revision*, or the one it had."""
        with self._turn:
            known = self._known
            if revision is not None and revision != known.revision:
                self._changes += 1
                self._count = 0
                self._use(_Known(self, revision, {}))
            elif known.denial is None and known.stage:
                self._use(_Known(self, known.revision, known.table))
            if known.denial is None or revision is not None:
                self._heard = self._timer()
                self._until = self._heard + self._revoke_seconds

    def forget(self, refs: Sequence[Ref] | None) -> None:
        """
        Ask anew about *refs*: what is public about them has changed. Where *refs* is None, something may have
        changed unheard: everything is asked anew, and is good without the server as before.
        """
        with self._turn:
            if refs is None:
                self._young_since = self._timer()
            else:
                for ref in refs:
                    self._known.table.pop((ref.kind, ref.name), None)

    def refuse(self) -> None:
        """Deny everything from now on, until the server answers again: this agent is nobody any more."""
        with self._turn:
            if self._known.denial is None:
                self._changes += 1
                self._use(_Known(self, "", {}, denial=Decision(is_allowed=False, reason=_GONE)))

    def _use(self, known: _Known) -> None:
        self._known = known

    def _aged(self) -> _Known:
        """Look how long nothing was heard, and give what decides now."""
        with self._turn:
            known, silent = self._known, self._timer() - self._heard
            if known.denial is not None or silent >= self._stale_seconds:
                stage, self._until = 2, float("inf")
            elif silent >= self._revoke_seconds:
                stage, self._until = 1, self._heard + self._stale_seconds
            else:
                stage, self._until = 0, self._heard + self._revoke_seconds
            if known.denial is None and stage != known.stage:
                self._use(_Known(self, known.revision, known.table, stage=stage))
            return self._known

    # --- kept over a restart -----------------------------------------------------------------------

    def mark(self) -> object:
        """Give something that is another when `remembered` would be."""
        return self._known.revision, self._count, self._known.denial is None

    def remembered(self) -> tuple[str, float, list[Remembered]]:
        """Give the revision, the seconds since a sign of the server, and what it said of no strict entry."""
        with self._turn:
            known, silent = self._known, self._timer() - self._heard
            found = [
                (
                    user,
                    action,
                    ref,
                    None if run is _ANY else cast("Run | None", run),
                    run is _ANY,
                    ruled.decision,
                )
                for (kind, name), rows in known.table.items()
                for (user, action, team), runs in rows.items()
                for ref in (Ref(cast("Kind", kind), name, team),)
                for run, ruled in runs.items()
            ]
        is_nobody = known.denial is not None or known.stage > 1
        return (
            known.revision,
            silent,
            [] if is_nobody else [row for row in found if not self.is_strict(row[2])],
        )

    def bring_back(self, revision: str, rows: Sequence[Remembered], silent: float) -> None:
        """
        Take *rows* for what was said under *revision*, *silent* seconds after the server gave a sign. Each is
        asked anew before it counts. Does nothing where the server has spoken already.
        """
        table: dict[tuple[str, str], dict[_Key, dict[object, _Ruled]]] = {}
        for user, action, ref, run, is_any, decision in rows:
            runs = table.setdefault((ref.kind, ref.name), {}).setdefault((user, action, ref.team), {})
            runs[_ANY if is_any else run] = _Ruled(float("-inf"), decision)
        with self._turn:
            if self._known.revision or self._known.denial is not None:
                return
            self._use(_Known(self, revision, table))
            self._count = len(rows)
            self._heard = self._timer() - silent
            self._until = 0.0  # how long ago that was is looked at first

    # --- asking ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask; the first question does the same."""
        with self._turn:
            self._begin()

    def close(self) -> None:
        """Ask no more; who waits is told so. Safe to call twice."""
        with self._turn:
            self._is_ended = True
            self._turn.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_SECONDS)

    def status(self) -> Mapping[str, object]:
        """Tell how it stands: numbers, and what is wrong."""
        silent = self._timer() - self._heard
        state = "parted" if silent > PARTED_SECONDS else "connected"
        return {
            "state": "refused" if self._known.denial is not None else state,
            "revision": self._known.revision,
            "remembered": self._count,
            "heard_seconds": round(silent, 1),
            "trouble": self._not_read if self._trouble is None else str(self._trouble),
        }

    def _begin(self) -> None:
        if self._thread is None and not self._is_ended:
            self._thread = threading.Thread(target=self._run, name="strongroom-decisions", daemon=True)
            self._thread.start()

    def _put(self, questions: Sequence[Question]) -> list[Asked]:
        with self._turn:
            now = self._timer()
            hangs = self._asking_since is not None and now - self._asking_since > PATIENCE_SECONDS
            if self._is_ended or hangs or now < self._retry_at:
                error = self._trouble or no_answer()
                return [Asked.failed(question, error) for question in questions]
            self._begin()
            found = [self._one(question) for question in questions]
            self._turn.notify_all()
        return found

    def _one(self, question: Question) -> Asked:
        found = self._asked.get(question)
        if found is None:
            found = self._asked[question] = Asked(question)
            self._waiting.append(found)
        return found

    def _run(self) -> None:
        while True:
            with self._turn:
                if not self._waiting and not self._is_ended:
                    self._turn.wait(self._silence / 2)
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                is_silent = self._timer() - self._heard >= self._silence and self._timer() >= self._retry_at
                changes, is_ended = self._changes, self._is_ended
            if is_ended:
                self._fail([*batch, *self._waiting], no_answer())
                return
            if batch or (is_silent and self._has_to_know()):
                self._request(batch, changes)

    def _has_to_know(self) -> bool:
        """Tell whether anything said by the server may still be used, or everything is denied by it."""
        return bool(self._known.table) or self._known.denial is not None

    def _request(self, batch: list[Asked], changes: int) -> None:
        self._asking_since = self._timer()
        try:
            found = self._decider.decide([asked.question for asked in batch])
            if len(found.rulings) != len(batch):
                raise no_answer()
        except (NotAuthenticatedError, AccessDeniedError) as error:
            self.refuse()
            self._note(error)
            self._fail(batch, error)
        except InvalidInputError as error:
            # The server is well, so nobody else is kept waiting.
            if len(batch) < 2:  # noqa: PLR2004 -- nothing to tell apart
                self._unread(error)
                self._fail(batch, error)
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                self._request(half, changes)
        except StrongroomError as error:
            self._note(error)
            self._fail(batch, error)
        else:
            self._note(None)
            self._take(batch, found, changes)
        finally:
            self._asking_since = None

    def _take(self, batch: list[Asked], found: Rulings, changes: int) -> None:
        with self._turn:
            is_overtaken = changes != self._changes and found.revision != self._known.revision
            if is_overtaken:
                # What was heard meanwhile is newer than this answer: it is asked again.
                again = [asked for asked in batch if asked.is_asked_again()]
                self._waiting[:0] = again
            else:
                again = []
        if is_overtaken:
            self._fail([asked for asked in batch if asked not in again], no_answer())
            return
        self.heard(found.revision)
        for asked, ruling in zip(batch, found.rulings, strict=True):
            if not ruling.is_lapsed:
                self._keep(asked.question, ruling, found.revision)
        self._land(batch, [lapsed() if ruling.is_lapsed else ruling.decision for ruling in found.rulings])

    def _keep(self, question: Question, ruling: Ruling, revision: str) -> None:
        with self._turn:
            known = self._known
            if known.revision != revision or known.denial is not None:
                return
            if self._count >= self._max:
                known.table.clear()
                self._count = 0
            ref = question.ref
            rows = known.table.setdefault((ref.kind, ref.name), {})
            runs = rows.setdefault((question.user, question.action, ref.team), {})
            runs[question.run if ruling.depends_on_run else _ANY] = _Ruled(self._timer(), ruling.decision)
            self._count += 1

    def _fail(self, batch: Sequence[Asked], error: StrongroomError) -> None:
        trouble = unavailable(error)
        self._land(batch, [Decision(is_allowed=False, reason=trouble.code, trouble=trouble) for _ in batch])

    def _land(self, batch: Sequence[Asked], decisions: Sequence[Decision]) -> None:
        with self._turn:
            for asked in batch:
                self._asked.pop(asked.question, None)
        for asked, decision in zip(batch, decisions, strict=True):
            asked.future.set_result(decision)

    def _unread(self, error: InvalidInputError) -> None:
        """Tell once that the server cannot read a question: it may be older than this agent."""
        self._not_read = text = f"the server cannot read what it is asked: {error}"
        if text != self._told_not_read:
            self._told_not_read = text
            self._tell(f"{text}; it may be older than this agent")

    def _note(self, error: StrongroomError | None) -> None:
        with self._turn:
            before, self._trouble = self._trouble, error
            self._not_read = self._not_read if error else ""
            self._retry_at = 0.0 if error is None else self._timer() + _RETRY_SECONDS
        if error is not None and (before is None or before.code != error.code):
            self._tell(f"the server decides nothing: {error}")
        elif error is None and before is not None:
            self._tell("the server decides again")
