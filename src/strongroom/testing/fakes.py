"""
Backends in memory for tests: whole (`Memory`), failing (`Flaky`), waiting (`Slow`), refusing (`Denying`).

They keep the production promise with every ability, so a test needs no patching. Nothing here
sleeps or draws a random number: trouble happens when the test says so.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.backend import Backend, Health
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.condition import condition_of
from strongroom.model.entry import (
    MAX_VALUE_BYTES,
    MUST_BE_ABSENT,
    Draft,
    Entry,
    Metadata,
    Summary,
    VersionInfo,
)
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from strongroom.model.ref import Kind, Ref

__all__ = ["Denying", "Flaky", "Memory", "Slow", "frozen_clock", "utc_now"]


def frozen_clock() -> datetime:
    """Give the same instant, always: 2026-01-01T00:00:00Z."""
    return datetime(2026, 1, 1, tzinfo=timezone.utc)


def utc_now() -> datetime:
    """Give the wall clock, for fakes in tests that measure real time."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    secret: Secret[str]
    metadata: Metadata
    info: VersionInfo


@dataclass(slots=True)
class _Held:
    versions: list[_Version] = field(default_factory=list)
    is_deleted: bool = False

    def current(self) -> _Version | None:
        return None if self.is_deleted or not self.versions else self.versions[-1]


class Memory(Backend):
    """
    A whole backend in memory: reads, writes, lists, keeps versions, deletes softly, checks.

    A listing tells the state of each text. Versions are "1", "2", …; a name written again after its
    deletion continues them.

    Attributes:
        calls: (verb, ref) in the order asked, for tests that count questions.

    Threads: one lock around every act.
    """

    is_local = True

    def __init__(
        self,
        name: str = "memory",
        entries: Mapping[Ref, str] | None = None,
        *,
        clock: Callable[[], datetime] = frozen_clock,
    ) -> None:
        self.name = name
        self.calls: list[tuple[str, Ref | None]] = []
        self._clock = clock
        self._lock = threading.RLock()
        self._held: dict[Ref, _Held] = {}
        for ref, text in (entries or {}).items():
            self.put(ref, text)

    def put(self, ref: Ref, text: str, metadata: Metadata = Metadata()) -> str:  # noqa: B008 -- immutable
        """Hold *text* under *ref* as if somebody else had written it: counted nowhere, refused never."""
        with self._lock:
            return self._append(Draft(ref=ref, secret=Secret(text), metadata=metadata, author="elsewhere"))

    def read(self, ref: Ref) -> Entry | None:
        self._before("read", ref)
        with self._lock:
            version = self._live(ref)
            return None if version is None else self._entry(ref, version)

    def write(self, draft: Draft) -> str:
        return self.write_many([draft])[0]

    def write_many(self, drafts: Sequence[Draft]) -> list[str]:
        """Write all or none: every draft is checked before the first is kept."""
        for draft in drafts:
            self._before("write", draft.ref)
        with self._lock:
            for draft in drafts:
                self._check(draft)
            return [self._append(draft) for draft in drafts]

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:
        del author  # the fake keeps no history of deletions
        self._before("delete", ref)
        with self._lock:
            self._check_version(ref, expected_version)
            if self._live(ref) is None:
                return False
            self._held[ref].is_deleted = True
            return True

    def history(self, ref: Ref) -> list[VersionInfo]:
        self._before("history", ref)
        with self._lock:
            held = self._held.get(ref, _Held())
            current = self._live(ref)
            return [
                replace(version.info, is_current=version is current) for version in reversed(held.versions)
            ]

    def read_version(self, ref: Ref, version: str) -> Entry:
        self._before("read_version", ref)
        with self._lock:
            for kept in self._held.get(ref, _Held()).versions:
                if kept.info.version == version:
                    return self._entry(ref, kept)
        raise NotFoundError(f"{ref} has no such version in {self.name}")

    def undelete(self, ref: Ref, *, author: str) -> str:
        del author
        self._before("undelete", ref)
        with self._lock:
            held = self._held.get(ref)
            if held is None:
                raise NotFoundError(f"{ref} was never held by {self.name}")
            if not held.is_deleted:
                raise ConflictError(f"{ref} is not deleted", current_version=held.versions[-1].info.version)
            held.is_deleted = False
            return held.versions[-1].info.version

    def check(self) -> Health:
        try:
            self._before("check", None)
        except StrongroomError as error:
            return Health(status="error", message=error.code)
        return Health(status="ready")

    def _before(self, verb: str, ref: Ref | None) -> None:
        """Run before every act, outside the lock: the troubled fakes raise or wait here."""
        self.calls.append((verb, ref))

    def _live(self, ref: Ref) -> _Version | None:
        held = self._held.get(ref)
        version = None if held is None else held.current()
        if version is None:
            return None
        expires_at = version.metadata.expires_at
        return None if expires_at is not None and expires_at <= self._clock() else version

    def _check(self, draft: Draft) -> None:
        if len(draft.secret.reveal().encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
            raise InvalidInputError(
                f"{draft.ref} is over {MAX_VALUE_BYTES} bytes",
                limit=MAX_VALUE_BYTES,
            )
        self._check_version(draft.ref, draft.expected_version)

    def _check_version(self, ref: Ref, expected: str | None) -> None:
        live = self._live(ref)
        current = None if live is None else live.info.version
        if expected is not None and expected != (current or MUST_BE_ABSENT):
            raise ConflictError(f"{ref} has changed in {self.name}", current_version=current)

    def _append(self, draft: Draft) -> str:
        held = self._held.setdefault(draft.ref, _Held())
        twins = (kept.info.version for kept in reversed(held.versions) if kept.secret == draft.secret)
        info = VersionInfo(
            version=str(len(held.versions) + 1),
            created_at=self._clock(),
            author=draft.author,
            comment=draft.comment,
            same_as=next(twins, None),
        )
        held.versions.append(_Version(secret=draft.secret, metadata=draft.metadata, info=info))
        held.is_deleted = False
        return info.version

    def _entry(self, ref: Ref, version: _Version) -> Entry:
        return Entry(
            ref=ref,
            secret=version.secret,
            backend=self.name,
            version=version.info.version,
            read_at=self._clock(),
            metadata=version.metadata,
        )

    def _summary(self, ref: Ref, version: _Version) -> Summary:
        condition = condition_of(ref.kind, version.secret.reveal())
        return Summary(
            ref=ref,
            backend=self.name,
            version=version.info.version,
            changed_at=version.info.created_at,
            metadata=replace(version.metadata, conn_type=version.metadata.conn_type or condition.conn_type),
            state=condition.state,
            problem=condition.problem,
        )

    # Last, because below it the name `list` means this method.
    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        self._before("list", None)
        with self._lock:
            refs = sorted(
                ref
                for ref in self._held
                if (ref.kind, ref.team) == (kind, team) and ref.name.startswith(prefix) and ref.name > after
            )
            found = [(ref, self._live(ref)) for ref in refs]
            return [self._summary(ref, version) for ref, version in found if version is not None][:limit]


class Flaky(Memory):
    """
    A `Memory` that fails when told: `fail()` until `recover()`, or `fail(times=2)`.

    It raises `BackendUnavailableError`, or the *error* given.
    """

    def __init__(
        self,
        name: str = "flaky",
        entries: Mapping[Ref, str] | None = None,
        *,
        clock: Callable[[], datetime] = frozen_clock,
    ) -> None:
        self._failures_left: int | None = 0
        self._error: StrongroomError | None = None
        super().__init__(name, entries, clock=clock)

    def fail(self, times: int | None = None, error: StrongroomError | None = None) -> None:
        """Fail the next *times* acts, or every one until `recover()`."""
        self._failures_left = times
        self._error = error

    def recover(self) -> None:
        """Work again."""
        self._failures_left = 0

    def _before(self, verb: str, ref: Ref | None) -> None:
        super()._before(verb, ref)
        if self._failures_left == 0:
            return
        if self._failures_left is not None:
            self._failures_left -= 1
        raise self._error or BackendUnavailableError(
            f"the backend {self.name} gives no answer", backend=self.name
        )


class Slow(Memory):
    """
    A `Memory` whose acts wait at a gate: `hold()` closes it, `release()` opens it.

    A test starts a thread, waits with `wait_until_asked`, looks around, and releases: no sleeping.
    """

    def __init__(
        self,
        name: str = "slow",
        entries: Mapping[Ref, str] | None = None,
        *,
        clock: Callable[[], datetime] = frozen_clock,
    ) -> None:
        self._gate = threading.Condition()
        self._is_held = False
        self._waiting = 0
        super().__init__(name, entries, clock=clock)

    def hold(self) -> None:
        """Let every act from now on wait."""
        with self._gate:
            self._is_held = True

    def release(self) -> None:
        """Let all that wait go on, and all that come."""
        with self._gate:
            self._is_held = False
            self._gate.notify_all()

    def wait_until_asked(self, count: int = 1, timeout_seconds: float = 10.0) -> bool:
        """Wait until *count* acts stand at the gate; False if they did not come in time."""
        with self._gate:
            return self._gate.wait_for(lambda: self._waiting >= count, timeout_seconds)

    def _before(self, verb: str, ref: Ref | None) -> None:
        super()._before(verb, ref)
        with self._gate:
            self._waiting += 1
            self._gate.notify_all()
            self._gate.wait_for(lambda: not self._is_held)
            self._waiting -= 1


class Denying(Memory):
    """A `Memory` that refuses: everything, or only the names given."""

    def __init__(
        self,
        name: str = "denying",
        entries: Mapping[Ref, str] | None = None,
        *,
        denied: Iterable[Ref] | None = None,
        clock: Callable[[], datetime] = frozen_clock,
    ) -> None:
        self._denied = None if denied is None else frozenset(denied)
        super().__init__(name, entries, clock=clock)

    def _before(self, verb: str, ref: Ref | None) -> None:
        super()._before(verb, ref)
        if self._denied is None or ref in self._denied:
            raise AccessDeniedError(f"the backend {self.name} refuses", reason=self.name)
