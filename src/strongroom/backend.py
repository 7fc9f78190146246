"""
The promise of a backend: a place that may hold an Entry.

Rules of this file:

1. Reading is the promise; writing, listing, history and checking are optional abilities, each a
   small Protocol, so that no backend carries stubs.
2. Returning is *mine*; None is *not mine*; raising is *trouble*. A denial (`AccessDeniedError`) is
   final: the chain asks nobody else.
3. Names of a foreign store are built here (`Naming`) and nowhere else, and never parsed back.
4. Backends are synchronous; `asynchronous.py` is the one bridge to asyncio.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, runtime_checkable

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.entry import (
    MAX_VALUE_BYTES,
    Draft,
    Entry,
    Outline,
    Summary,
    VersionInfo,
)
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.model.held import Held

__all__ = [
    "Backend",
    "Batched",
    "Checkable",
    "Dumpable",
    "Fetched",
    "Folding",
    "Health",
    "Listable",
    "Naming",
    "Outlining",
    "PathBackend",
    "Recoverable",
    "Versioned",
    "Watchable",
    "Watched",
    "Writable",
    "load",
]

OptionsT = TypeVar("OptionsT")


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


@dataclass(frozen=True, slots=True)
class Naming:
    """
    Turn a Ref into the paths of a foreign store, injectively: two Refs never share a path.

    Shape of a path: `<prefix><separator><name>`, with a team
    `<prefix><separator><team><team_separator><name>`; an empty prefix drops its separator. Where the
    name leads, its first segment stands before all of that: `<segment>/<prefix><separator><rest>`.

    Where one prefix begins another (`airflow` and `airflow/connections`), a path belongs to the
    longest that begins it, so a name that would reach into another prefix cannot be spelled.

    Args:
        prefixes: per kind one prefix or several, asked in order, the first being where writes go;
            None (or missing) means this store does not keep that kind.
        team_separator: None means the store keeps no teams.
        is_spellable: the store's own grammar over the finished path.
        name_leads: the first segment of a name says where in the store to look (Vault's mount).
        may_share: kinds may have a prefix in common, because what is stored tells them apart; then a
            path belongs to one Ref of each kind.

    Raises:
        BackendConfigError: two kinds have the same prefix and may not.
    """

    prefixes: Mapping[Kind, str | tuple[str, ...] | None]
    separator: str = "/"
    team_separator: str | None = None
    is_spellable: Callable[[str], bool] = field(default=lambda _path: True)
    name_leads: bool = False
    may_share: bool = False
    _heads: Mapping[Kind, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    # By head: the longer ones it begins, whose paths are not its own.
    _longer: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        heads = {kind: self._heads_of(prefix) for kind, prefix in self.prefixes.items()}
        every = [head for mine in heads.values() for head in mine]
        if len(set(every)) < len(every) and not self.may_share:
            raise BackendConfigError(
                "two kinds have the same prefix, so a connection and a variable could have the same path",
                hint="give connections, variables and config prefixes of their own",
            )
        longer = {
            head: tuple(other for other in every if other != head and other.startswith(head))
            for head in every
        }
        object.__setattr__(self, "_heads", heads)
        object.__setattr__(self, "_longer", longer)

    def _heads_of(self, prefix: str | tuple[str, ...] | None) -> tuple[str, ...]:
        prefixes = () if prefix is None else (prefix,) if isinstance(prefix, str) else prefix
        return tuple(dict.fromkeys(one + self.separator if one else "" for one in prefixes))

    def path(self, ref: Ref) -> str | None:
        """Give the first path of *ref*; None when this store cannot spell it, so it holds nothing there."""
        return next(iter(self.paths(ref)), None)

    def paths(self, ref: Ref) -> tuple[str, ...]:
        """Give every path *ref* may stand under, in the order asked; () when it cannot be spelled."""
        lead, name = self._lead(ref.name) if self.name_leads else ("", ref.name)
        tail = self._tail(name, ref.team)
        if not tail:
            return ()
        return tuple(
            path
            for head in self._heads.get(ref.kind, ())
            if not self._is_of_another(head, tail) and self.is_spellable(path := lead + head + tail)
        )

    def _lead(self, name: str) -> tuple[str, str]:
        segment, slash, rest = name.partition("/")
        return (segment + slash, rest) if slash else ("", "")

    def _is_of_another(self, head: str, tail: str) -> bool:
        return any((head + tail).startswith(longer) for longer in self._longer[head])

    def _tail(self, name: str, team: str | None) -> str | None:
        if self.team_separator is None:
            return None if team else name
        if team is None:
            # A global name that reads like "<team><separator><name>" would meet that team's path.
            return None if self.team_separator in name else name
        tail = f"{team}{self.team_separator}{name}"
        # The first separator must be the one we put there: ("a-", "x") and ("a", "-x") both give "a---x".
        return tail if name and tail.find(self.team_separator) == len(team) else None

    def folders(self, kind: Kind, team: str | None = None) -> tuple[str, ...]:
        """
        Give what the paths of this *kind* and *team* begin with, in the order asked.

        Empty where the store keeps no such names, and where the name leads: then they are anywhere.
        """
        if self.name_leads or (team is not None and self.team_separator is None):
            return ()
        team_part = "" if team is None else f"{team}{self.team_separator}"
        return tuple(head + team_part for head in self._heads.get(kind, ()))

    def ref(self, path: str, kind: Kind, team: str | None = None) -> Ref | None:
        """
        Give the Ref of this *kind* and *team* that has *path*, for listings; None when there is none.

        Raises nothing for a name that cannot be asked for: it sleeps in the store.
        """
        for folder in self.folders(kind, team):
            if path.startswith(folder):
                try:
                    found = Ref(kind, path[len(folder) :], team)
                except InvalidInputError:
                    continue
                if path in self.paths(found):
                    return found
        return None

    def spell(self, ref: Ref, store: str) -> str:
        """
        Give the path of *ref* for writing.

        Raises:
            InvalidInputError: the store called *store* cannot spell this name.
        """
        path = self.path(ref)
        if path is None:
            raise InvalidInputError(
                f"the backend {store} cannot hold the name of {ref}",
                hint="choose a name within that store's grammar, or another backend",
            )
        return path


class PathBackend(Backend, Generic[OptionsT]):
    """
    A foreign store in which one path holds one text: write `_fetch`, inherit the rest.

    `read` is final. It spells the name, calls `_fetch` once for each path it may stand under until one
    holds something, bounds the size of its text, and turns any foreign exception into
    `BackendUnavailableError` (the one broad `except`: SDK errors quote requests, so only their class
    name is kept). A subclass builds no path, parses no connection, caches nothing, retries nothing and
    logs no value. A store whose texts have a shape of their own overrides `_text` too.
    """

    options_type: type[OptionsT]

    def __init__(self, name: str, options: OptionsT, naming: Naming, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.options = options
        self.naming = naming
        self._clock = clock

    @abstractmethod
    def _fetch(self, path: str) -> Fetched | None:
        """Give what *path* holds, or None; raise our own errors for denials and anything else known."""

    def _text(self, ref: Ref, fetched: Fetched) -> str:
        """
        Give the text Airflow's own backend would make of what was fetched: the text itself, unless the
        store keeps an object of fields.

        Raises:
            MalformedEntryError: it cannot be made into one.
        """
        del ref
        return fetched.text

    def read(self, ref: Ref) -> Entry | None:
        trouble: StrongroomError
        try:
            return self._read(ref)
        except StrongroomError as caught:
            trouble = caught
        except Exception as error:  # noqa: BLE001 -- the seam where foreign errors end
            trouble = BackendUnavailableError(
                f"the backend {self.name} failed with {type(error).__name__}", backend=self.name
            )
        # Raised anew, outside `except`: the frames it came through hold what is stored.
        trouble.__context__ = None
        raise trouble.with_traceback(None)

    def _read(self, ref: Ref) -> Entry | None:
        for path in self.naming.paths(ref):
            fetched = self._fetch(path)
            if fetched is not None:
                return self._entry(ref, fetched)
        return None

    def _entry(self, ref: Ref, fetched: Fetched) -> Entry:
        text = self._text(ref, fetched)
        check_size(text, backend=self.name, ref=ref)
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend=self.name,
            version=fetched.version,
            read_at=self._clock(),
            lifetime=fetched.lifetime,
        )


def check_size(text: str, *, backend: str, ref: Ref) -> None:
    """
    Refuse a stored text that is over the limit of a value.

    Raises:
        MalformedEntryError: it has more than 1 MiB of UTF-8.
    """
    # Characters first: a text of 250k characters can never pass 1 MiB, and counting bytes costs a copy.
    if len(text) * 4 > MAX_VALUE_BYTES and len(text.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        raise MalformedEntryError(
            f"{ref} in the backend {backend} is over {MAX_VALUE_BYTES} bytes",
            backend=backend,
            ref=str(ref),
        )


def ephemeral_version(key: bytes, text: str) -> str:
    """
    Give a version for a store that has none: it changes with *text* and means nothing outside this process.

    Args:
        key: 16 to 64 random bytes, new in every process: without them a version would be a
            fingerprint by which short secrets could be guessed.
        text: what the store holds.
    """
    import hashlib  # noqa: PLC0415 -- stores with versions of their own do without, and it loads OpenSSL

    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, key=key, digest_size=8).hexdigest()


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
        message: what is wrong and what to change; no value.
        ends: what it needs and when that ends (UTC), by what it is: `token`, `server certificate`.
        renewed: those of `ends` that it puts off by itself.
    """

    status: Literal["ready", "error", "unknown"]
    message: str = ""
    ends: Mapping[str, datetime] = field(default_factory=dict)
    renewed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """
    What a watch tells. One that tells of none of these says that the watch is alive.

    Args:
        refs: what changed, and the version that stands now: None where it was deleted, or has none.
        is_gap: changes may have been missed: whatever was read before this may be old.
        policy: the revision of who may, where it is another than was told before, and in signs of life.
        is_lost: nothing is heard any more; what changes from here on is told by a gap or late.
    """

    refs: Mapping[Ref, str | None] = field(default_factory=dict)
    is_gap: bool = False
    policy: str | None = None
    is_lost: bool = False


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


# --- finding a backend by its kind -------------------------------------------------------------


def load(kind: str) -> type[Backend]:
    """
    Give the class of the backend *kind*: `strongroom/backends/<kind>.py`, or a stranger's entry
    point in the group `strongroom.backends`. Imported only when configured, so that a missing SDK
    hurts nobody else.

    Raises:
        BackendConfigError: there is no such kind, or something it needs is not installed.
    """
    if not kind.isidentifier() or kind.startswith("_"):
        raise _unknown(kind)
    module = f"strongroom.backends.{kind}"
    try:
        if importlib.util.find_spec(module) is not None:
            found: object = importlib.import_module(module).BACKEND
        else:
            found = _stranger(kind)
    except ImportError as error:
        raise BackendConfigError(
            f"the backend kind {kind} needs the package {(error.name or 'unknown').partition('.')[0]}",
            hint=f"pip install 'strongroom[{_extra(kind)}]'",
        ) from None
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendConfigError(f"the entry point for the backend kind {kind} is not a Backend")
    return found


def _extra(kind: str) -> str:
    return "store" if kind == "native" else kind.partition("_")[0]


def _stranger(kind: str) -> object:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- a third of the cold start of a read

    for point in entry_points(group="strongroom.backends", name=kind):
        return point.load()
    raise _unknown(kind)


def _unknown(kind: str) -> BackendConfigError:
    shown = kind if kind.isidentifier() and len(kind) <= 64 else "given"  # noqa: PLR2004 -- a sane width
    return BackendConfigError(
        f"there is no backend of the kind {shown}",
        hint=f"installed kinds: {', '.join(sorted(kinds()))}",
    )


def kinds() -> set[str]:
    """Give the names of every installed kind of backend, ours and strangers'."""
    package = importlib.util.find_spec("strongroom.backends")
    places: Iterable[str] = (package.submodule_search_locations or ()) if package else ()
    import pkgutil  # noqa: PLC0415 -- only listing needs it; reads must not pay for it
    from importlib.metadata import entry_points  # noqa: PLC0415 -- as above

    ours = {module.name for module in pkgutil.iter_modules(list(places))}
    return ours | {point.name for point in entry_points(group="strongroom.backends")}
