"""
How tests of connections went: the last ones of each, kept in the registry, so that all servers and restarts
know of them.

Not for testing (`live/probe.py`), nor for who may have it done (`service/attempt.py`, `server/reach.py`).

Rules of this file:

1. What is kept tells which step failed and why, in words of closed sets, when, from where and who asked;
   nothing of the connection itself.
2. What is kept is bounded: the last few of one connection, and of a few thousand connections.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import TYPE_CHECKING, Literal, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from strongroom.live.probe import Step, Tested
from strongroom.live.trouble import words_of
from strongroom.model.ref import Ref
from strongroom.registry import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.registry import Registry, Row, Snapshot

__all__ = ["AGENT", "HERE", "SERVER", "Trial", "Trials", "keeping", "sentence", "trials_of"]

HERE = "here"
"""The place of a test that a command on the host of the store made."""
SERVER = "server"
"""The place of a test that the server itself made."""
AGENT = "agent:"
"""What the place of a test begins with that an agent made; its name follows."""
TRIAL = "trial"
_SILENT = "the host gives no answer that the server may ask for"
_OF_ONE = 10
_MOST = 5_000  # connections


class Trial(NamedTuple):
    """
    One test.

    Args:
        at: when it was made (UTC).
        by: the id of who asked for it.
        place: `HERE`, `SERVER`, or `AGENT` and the name of one.
        is_ok: no step failed.
        version: of the connection that was tested, where its backend keeps them.
        steps: in their order; () where only that its host answered was looked at.
        hint: what to do about the step that failed, where that is more than its reason tells.
        order: what an agent was given for it (`assignment.py`); "" where none was.
    """

    at: datetime
    by: str
    place: str
    is_ok: bool
    version: str | None = None
    steps: tuple[Step, ...] = ()
    hint: str = ""
    order: str = ""

    @property
    def tested(self) -> Tested:
        """What was done, with what to do about it."""
        return Tested(self.steps, self.hint)

    @property
    def said(self) -> str:
        """How it went, in one sentence."""
        if not self.steps:
            return "the host answers" if self.is_ok else _SILENT
        return sentence(self.tested)


def sentence(tested: Tested) -> str:
    """Give how a test went in one sentence."""
    failed = tested.failed
    if failed is None:
        return "every step went well" if tested.is_ok else "there was nothing to test"
    words = words_of(failed.name, failed.reason)  # type: ignore[arg-type]  # of the closed sets
    return f"failed at {failed.name}: it {words.message}"


class _Step(msgspec.Struct, frozen=True, array_like=True):
    name: str
    outcome: Literal["ok", "failed", "skipped"]
    reason: str
    milliseconds: float
    days_left: int | None = None


class _Trial(msgspec.Struct, frozen=True, array_like=True):
    at: datetime
    by: str
    place: str
    is_ok: bool
    version: str | None = None
    steps: tuple[_Step, ...] = ()  # rows of a time when no more than the host was asked have none
    hint: str = ""
    order: str = ""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    name: str
    team: str | None
    trials: list[_Trial]


class Trials:
    """The tests of one deployment. Threads: safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: tuple[object, dict[Ref, tuple[Trial, ...]]] | None = None

    def keep(self, ref: Ref, trial: Trial) -> None:
        """
        Keep how a test of *ref* went.

        Raises:
            TamperedError, BackendUnavailableError: as `Registry.change`.
        """
        self._registry.change(lambda snapshot: keeping(snapshot, ref, trial))

    # How tests went decides nothing, so that it may be what was seen last while the store is silent.

    def of(self, ref: Ref) -> tuple[Trial, ...]:
        """Give the tests of *ref*, newest first. Who asks must be allowed to look at it."""
        row = self._registry.remembered().of(TRIAL).get(_id(ref))
        return () if row is None else _trials(row)

    def all(self) -> Mapping[Ref, tuple[Trial, ...]]:
        """Give the tests of every connection that has any, newest first."""
        rows = self._registry.remembered().of(TRIAL)
        if self._made is None or self._made[0] is not rows:
            self._made = (rows, dict(map(_read, rows.values())))
        return self._made[1]

    def failing(self) -> Mapping[Ref, Trial]:
        """Give the last test of every connection whose last test failed."""
        return {ref: found[0] for ref, found in self.all().items() if found and not found[0].is_ok}


def keeping(snapshot: Snapshot, ref: Ref, trial: Trial) -> Iterator[Change]:
    """Give the changes that keep how a test of *ref* went, for a change that does more."""
    row_id, rows = _id(ref), snapshot.of(TRIAL)
    before = _trials(rows[row_id]) if row_id in rows else ()
    kept = [_row(one) for one in (trial, *before)[:_OF_ONE]]
    body = _Body(ref.kind, ref.name, ref.team, kept)
    yield Change(TRIAL, row_id, msgspec.msgpack.encode(body))
    if row_id not in rows and len(rows) >= _MOST:
        oldest = min(rows.values(), key=lambda row: row.revision)
        yield Change(TRIAL, oldest.id, None)


_KNOWN: WeakKeyDictionary[Registry, Trials] = WeakKeyDictionary()


def trials_of(registry: Registry) -> Trials:
    """Give the tests kept in *registry*: the same object while that lives, so that rows are read once."""
    found = _KNOWN.get(registry)
    if found is None:
        found = _KNOWN.setdefault(registry, Trials(registry))
    return found


def _id(ref: Ref) -> str:
    return hashlib.sha256(repr((ref.kind, ref.team, ref.name)).encode()).hexdigest()


def _row(trial: Trial) -> _Trial:
    steps = tuple(_Step(*step) for step in trial.steps)
    return _Trial(*trial[:5], steps, trial.hint, trial.order)


def _read(row: Row) -> tuple[Ref, tuple[Trial, ...]]:
    body = msgspec.msgpack.decode(row.body, type=_Body)
    ref = Ref(body.kind, body.name, body.team)  # type: ignore[arg-type]  # as kept
    return ref, tuple(map(_trial, body.trials))


def _trial(kept: _Trial) -> Trial:
    steps = tuple(Step(*msgspec.structs.astuple(step)) for step in kept.steps)
    return Trial(kept.at, kept.by, kept.place, kept.is_ok, kept.version, steps, kept.hint, kept.order)


def _trials(row: Row) -> tuple[Trial, ...]:
    return _read(row)[1]
