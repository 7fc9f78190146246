"""
What a backend promises: reading, and the optional abilities, each a small Protocol.

Not for how a foreign store is read (`path.py`) or spelled (`naming.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model.ref import Kind, Ref

if TYPE_CHECKING:
    from strongroom.model.entry import Draft, Entry, Outline, Summary, VersionInfo
    from strongroom.model.held import Held

__all__ = [
    "Backend",
    "Batched",
    "Checkable",
    "Dumpable",
    "Fetched",
    "Folding",
    "Health",
    "Lending",
    "Listable",
    "Outlining",
    "Provisioning",
    "Recoverable",
    "Versioned",
    "Watchable",
    "Watched",
    "Writable",
]


class Backend(ABC):
    """
    A place that may hold an Entry.

    Trust: what a backend answers is data; it is parsed with limits and never executed.
    Threads: every method may be called from several threads at once.
    Consistency: a read that starts after a write returned sees that write, or the class says why not.

    Attributes:
        name: its name in the settings, unique in a chain.
        is_local: True when reads never leave this machine; such a backend is called on the
            caller's thread, every other one on a pool of its own (the bulkhead).
        hands_on: True when its other end decides about a write itself and lays it over what stands there, so
            that nothing is read for it on this side (`Draft.over`).
    """

    name: str
    is_local: bool = False
    hands_on: bool = False

    @abstractmethod
    def read(self, ref: Ref) -> Entry | None:
        """
        Give the entry held under exactly *ref* (team included), or None.

        Raises:
            AccessDeniedError: this store refuses; final for the whole chain.
            BackendUnavailableError: no answer now.
            MalformedEntryError: what is stored cannot be an entry.
            TamperedError, SealedError: as their names say.
        """

    def close(self) -> None:  # noqa: B027 -- optional: most backends hold nothing to close
        """Let go of files, connections and threads. Safe to call twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """
    What one path of a foreign store held.

    Args:
        text: the stored text, verbatim.
        version: opaque text, or None.
        lifetime: how long the store says it may be kept, or None.
        lease: the store's handle on a dynamic secret, or None.
    """

    text: str = field(repr=False)
    version: str | None = None
    lifetime: timedelta | None = None
    lease: str | None = None


# --- abilities ---------------------------------------------------------------------------------


@runtime_checkable
class Batched(Protocol):
    """
    A backend that answers many Refs in one question.

    Attributes:
        is_batched: whether that is faster than one after the other.
    """

    @property
    def is_batched(self) -> bool: ...

    def read_many(self, refs: Sequence[Ref]) -> Sequence[Entry | StrongroomError | None]:
        """
        Give for each of *refs*, in order, what `read` would give, or the error that it would raise.

        Args:
            refs: at most 1,000.

        Raises:
            BackendUnavailableError: no answer now about any of them.
        """
        ...


@runtime_checkable
class Writable(Protocol):
    """A backend that can be written. Where it has no compare-and-set, an `expected_version` is refused."""

    def write(self, draft: Draft) -> str | None:
        """
        Write one entry and give its new version (None where the store has no versions).

        Raises:
            ConflictError: another version stands than the one expected.
            ReadOnlyError: an `expected_version` was given and this store cannot compare and set.
            InvalidInputError: this store cannot spell the name or hold the value.
        """
        ...

    def write_many(self, drafts: Sequence[Draft]) -> list[str | None]:
        """Write all or, where the store has transactions, none. Gives the versions in order."""
        ...

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:
        """Delete and tell whether there was anything. Raises as `write` does."""
        ...


@runtime_checkable
class Lending(Protocol):
    """A backend whose answers may be lent: made when they are asked for, and revoked afterwards."""

    def lends(self, ref: Ref) -> bool:
        """Tell whether what it answers for *ref* is lent."""
        ...

    def withdraw(self, ref: Ref) -> Callable[[], StrongroomError | None] | None:
        """
        Lend something else to whoever reads *ref* from now on; None where nothing is lent for it alone.

        So nobody can be given any more what is revoked then, and whoever was given it meanwhile can be looked
        for in between.

        Returns:
            what revokes what was lent until now: it takes 5 s at most, gives why it could not, and may be
            called again. What is never revoked so is revoked by `close`, or ends by itself.

        Raises:
            BackendUnavailableError: it is just being renewed; nothing has changed.
        """
        ...


@runtime_checkable
class Listable(Protocol):
    """A backend that can tell what it holds, a page at a time, without values."""

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        """
        Give up to *limit* summaries of exactly this *kind* and *team*, ordered by name (by code
        point), names greater than *after* only.
        """
        ...


@runtime_checkable
class Outlining(Protocol):
    """
    A backend that gives cheaply what long lists are put in order by, and looks up many names at once.

    An outline says where a name stands in a list, never what is told of it: that is `named`'s.
    """

    def outline(
        self, kind: Kind, *, team: str | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[Outline]:
        """Give what `list` would list, as far as that can be told without a look at each."""
        ...

    def named(self, kind: Kind, names: Sequence[str], *, team: str | None = None) -> Sequence[Summary]:
        """Give the summaries of *names* as `list` does, in its order; nothing of those that are nowhere."""
        ...


@runtime_checkable
class Folding(Protocol):
    """A backend that spells several names alike, as an environment does (`AIRFLOW_VAR_X` for `x` and `X`)."""

    def spell(self, ref: Ref) -> str | None:
        """Give how *ref* is spelled there, or None where it cannot be or is not kept under a spelling."""
        ...

    def folded(self, ref: Ref) -> Summary | None:
        """
        Tell what a read of *ref* would meet that `list` gives under another name.

        None where it would meet nothing, and where `list` would give it under this very name.
        """
        ...


@runtime_checkable
class Dumpable(Protocol):
    """A backend that gives all it holds in one go: faster than name by name, and illegal names too."""

    def dump(self, kind: Kind) -> Iterator[Held]:
        """
        Give everything of this *kind*, every team's, ordered by name (by code point).

        Raises:
            As `Backend.read`; what ails one entry is its state.
        """
        ...


@runtime_checkable
class Recoverable(Protocol):
    """A backend that can tell which entries were softly deleted in it."""

    def list_deleted(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Summary]:
        """Give those of exactly this kind and team, ordered by name, names greater than *after* only."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """A backend that keeps what stood before."""

    def history(self, ref: Ref) -> list[VersionInfo]:
        """Give every version, newest first; empty when the name was never held."""
        ...

    def read_version(self, ref: Ref, version: str) -> Entry:
        """
        Give one version, deleted or not.

        Raises:
            NotFoundError: there is no such version.
        """
        ...

    def undelete(self, ref: Ref, *, author: str) -> str:
        """
        Bring the last version back and give its version.

        Raises:
            NotFoundError: nothing was ever held under this name.
            ConflictError: it is not deleted.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """
    How a backend is: `ready`, `error`, or `unknown` where it cannot be told without a real read.

    Args:
        message: what is wrong and what to change, down to the permission or setting; no value.
        identity: whom the store takes us for (an account, a role, a token's display name); "" where it does
            not say, and never a secret.
        is_reachable: whether it answered at all; None where that is not known.
        may: whether it may `read`, `list` and `write`: `yes`, `no` or `unknown`. Nothing is written to
            find out.
        ends: what it needs and when that ends (UTC), by what it is: `token`, `server certificate`.
        renewed: those of `ends` that it puts off by itself.
    """

    status: Literal["ready", "error", "unknown"]
    message: str = ""
    ends: Mapping[str, datetime] = field(default_factory=dict)
    renewed: frozenset[str] = frozenset()
    identity: str = ""
    may: Mapping[str, Literal["yes", "no", "unknown"]] = field(default_factory=dict)
    is_reachable: bool | None = None

    def __post_init__(self) -> None:
        if self.is_reachable is None and (self.status == "ready" or {"yes", "no"} & set(self.may.values())):
            object.__setattr__(self, "is_reachable", True)

    @staticmethod
    def told(error: StrongroomError) -> str:
        """Give the words of *error* for `message`: what is wrong, and what to change."""
        return f"{error} ({error.hint})" if error.hint else str(error)

    @classmethod
    def failed(
        cls, error: StrongroomError, *, identity: str = "", ends: Mapping[str, datetime] | None = None
    ) -> Health:
        """Give how a backend is that met *error* when it was asked: its words, and what to change."""
        is_answered = isinstance(error, (AccessDeniedError, NotAuthenticatedError, RateLimitedError))
        is_silent = isinstance(error, BackendUnavailableError)
        return cls(
            status="error",
            message=cls.told(error),
            identity=identity,
            ends=ends or {},
            is_reachable=True if is_answered else False if is_silent else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """
    What a watch tells. One that tells of none of these says that the watch is alive.

    Args:
        refs: what changed, and the version that stands now: None where it was deleted, or has none.
        is_gap: changes may have been missed: whatever was read before this may be old.
        policy: the revision of who may, where it is another than was told before, and in signs of life.
        is_lost: nothing is heard any more; what changes from here on is told by a gap or late.
        tests: connections that whoever is told is asked to test: (order, connection).
    """

    refs: Mapping[Ref, str | None] = field(default_factory=dict)
    is_gap: bool = False
    policy: str | None = None
    is_lost: bool = False
    tests: tuple[tuple[str, Ref], ...] = ()


@runtime_checkable
class Watchable(Protocol):
    """
    A backend that tells of changes by itself, whoever made them.

    Until the first notice nothing is heard. That first one is a gap, since what changed before it was
    not heard; from then on every change is told within seconds, or a gap is.
    """

    def watch(self, on_notice: Callable[[Watched], None]) -> Callable[[], None]:
        """
        Call *on_notice* from now on, and give what ends that.

        It comes from a thread of the backend's, one notice at a time and in order; it must not block for
        long, and what it raises ends nothing. While the watch is alive there is a notice every few seconds.
        Trouble of the store is told (`is_lost`) and goes on by itself; after the end, which does not wait
        for a call under way, and after `close`, none is begun. Safe to end twice.
        """
        ...


@runtime_checkable
class Checkable(Protocol):
    """A backend that can tell, cheaply, whether it would answer."""

    def check(self) -> Health:
        """Tell how it is; never raises for trouble of the store."""
        ...


@runtime_checkable
class Provisioning(Protocol):
    """A backend that can say what its store must allow it, and no more."""

    def least_policy(self, verbs: Collection[str]) -> str:
        """
        Give the store's own policy that allows exactly *verbs* on exactly what this backend is set to keep.

        Args:
            verbs: any of `read`, `list` and `write`.

        Returns:
            Text as the store or its tool takes it (HCL, JSON, YAML, commands); it holds no secret.
        """
        ...
