"""
The last good copy: what the agent remembers, sealed on disk, so that tasks go on through an outage and a
restart of the agent, and of the machine where the key outlives that.

Not for what seals it (`assembly/lastgood.py`), how it is written down (`lastgood_form.py`), nor for what is
served from memory (`cache.py`).

Rules of this file:

1. What comes back is stale, has its true age, and is served only after *unavailable*. It never gets older
   than `max_age`, than what its backend lends it for, or than its own dates allow.
2. Strict entries are not in it, nor is anything that was once served stale by another cache.
3. The copy is bound to its format, deployment, host, generation and time: one of another place, from the
   future, too old or older than the newest one known is refused, whole.
4. It is written a while after a value changed, and now and then where values were only confirmed, whole or
   not at all; never because nothing happened.
5. Trouble of its own (no space, no key, damage) is told once and stops nothing.

Against whom the generation protects: docs/agent.md, "The last good copy".
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.agent.folder import read_file, replace_file
from strongroom.agent.lastgood_form import (
    Content,
    Header,
    RefusedError,
    Row,
    context_of,
    date_of,
    decoded,
    encoded,
    entry_of,
    row_of,
    split,
)
from strongroom.cache import boot_seconds
from strongroom.errors import (
    BackendConfigError,
    SealedError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.cache import Cache, Held
    from strongroom.model.entry import Entry
    from strongroom.service.host import Host

__all__ = [
    "Anchor",
    "FileAnchor",
    "LastGood",
    "LastGoodStatus",
    "Machine",
    "Sealer",
    "open_last_good",
]

_MAX_BYTES = 1_073_741_824  # 1 GiB
_MAX_NUMBER_BYTES = 20
_MAX_OTHER_BYTES = 8_388_608  # 8 MiB, of what others keep in it
_DEBOUNCE = timedelta(seconds=2)
_RENEWAL = timedelta(minutes=5)  # at most so often, where values were confirmed and none is another
_SHARES = 20  # of max_age: a short one is renewed as often as that
_MOST_OF_THE_TIME = 20  # times what the last writing took: then at most 5 % of a core go to it
_CLOCK_SLACK = 1.0  # seconds a clock may be set back by NTP without the copy being from the future


class Sealer(Protocol):
    """Seals and opens bytes under a key that is kept elsewhere; see `crypto.parcel.Parcels`."""

    def seal(self, plaintext: bytes, *, context: bytes) -> bytes:
        """Seal for *context*."""
        ...

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Open what `seal` gave for the same *context*."""
        ...


class Anchor(Protocol):
    """Remembers elsewhere than beside the copy which generation was the newest."""

    def read(self) -> int:
        """Give the newest generation known; 0 where none is."""
        ...

    def write(self, generation: int) -> None:
        """Remember *generation*."""
        ...


class FileAnchor:
    """
    The newest generation in a file, and in *inner*; the higher one counts.

    Args:
        path: of the file.
        inner: another anchor, which whoever brings files back does not bring back.
    """

    def __init__(self, path: Path, inner: Anchor) -> None:
        self._path = path
        self._inner = inner

    def read(self) -> int:
        """Give the newest generation known; 0 where none is."""
        found = read_file(self._path, max_bytes=_MAX_NUMBER_BYTES) or b""
        return max(int(found) if found.isdigit() else 0, self._inner.read())

    def write(self, generation: int) -> None:
        """Remember *generation* in both."""
        self._inner.write(generation)
        replace_file(self._path, b"%d" % generation)


class Other(Protocol):
    """Something beside values that is worth keeping, such as decisions: at most 8 MiB."""

    def mark(self) -> object:
        """Give something that is another when there is something else to keep."""
        ...

    def keep(self) -> bytes:
        """Give it as bytes."""
        ...

    def restore(self, content: bytes, age: timedelta) -> None:
        """Take it back, *age* after it was given."""
        ...


class Machine(NamedTuple):
    """
    What tells one run of one machine from another.

    Args:
        host: which machine, as public text; "" where it has no identity.
        boot_id: a file with another text after every start of the machine.
        clock: wall clock, UTC.
        timer: seconds since the machine started, in suspend too.
    """

    host: str = ""
    boot_id: Path = Path("/proc/sys/kernel/random/boot_id")
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    timer: Callable[[], float] = boot_seconds

    def boot(self) -> str:
        """Say which run of the machine this is; "" where it does not tell."""
        with suppress(OSError):
            return self.boot_id.read_text(encoding="ascii").strip()
        return ""


class LastGoodStatus(NamedTuple):
    """
    How the copy is.

    Args:
        entries: in the copy that stands.
        written_at: when it was written; None before.
        generation: of the copy that stands.
        restored: entries taken from it at the start.
        trouble: why it could not be used or written last; "" where it could.
    """

    entries: int
    written_at: datetime | None
    generation: int
    restored: int
    trouble: str


class LastGood:
    """
    Keep a sealed copy of *cache* at *path*, and bring it back at the next start.

    Args:
        path: of the copy; it stands in a folder of the agent's own.
        cache: whose entries are kept.
        sealer: seals it.
        anchor: remembers the newest generation elsewhere.
        deployment: whose entries these are.
        max_age: how old an entry may get.
        is_strict: tells which entries are never kept.
        backends: gives the names of those that are asked now; what came from another is not brought back.
        machine: where and when this is.
        others: gives what else is kept, by name.
        on_trouble: told what is wrong, once for each trouble: (what, error).

    Threads: may be used from several threads at once.
    """

    def __init__(  # noqa: PLR0913 -- a copy is bound to all that
        self,
        path: Path,
        cache: Cache,
        sealer: Sealer,
        *,
        deployment: str,
        max_age: timedelta,
        anchor: Anchor,
        is_strict: Callable[[Ref, Entry], bool],
        backends: Callable[[], Iterable[str]],
        machine: Machine = Machine(),  # noqa: B008 -- immutable
        others: Callable[[], Mapping[str, Other]] = dict,
        on_trouble: Callable[[str, StrongroomError], None] = lambda _what, _error: None,
        debounce: timedelta = _DEBOUNCE,
    ) -> None:
        self._path = path
        self._cache = cache
        self._sealer = sealer
        self._anchor = anchor
        self._deployment = deployment
        self._max_age = max_age
        self._is_strict = is_strict
        self._backends = backends
        self._machine = machine
        self._others = others
        self._on_trouble = on_trouble
        self._debounce = debounce.total_seconds()
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._renewal = min(_RENEWAL, max_age / _SHARES).total_seconds()
        self._revision: tuple[object, ...] = self._now()
        self._marks: frozenset[object] = frozenset()  # which objects are in the copy
        self._generation = self._restored = self._entries = 0
        self._written_at: datetime | None = None
        self._trouble = ""
        self._is_early = False  # the copy is from the future: the clock may not have been set yet
        self._took = self._wrote = 0.0  # seconds; of the timer

    def status(self) -> LastGoodStatus:
        """Tell how it is."""
        return LastGoodStatus(
            self._entries, self._written_at, self._generation, self._restored, self._trouble
        )

    # --- bringing back -------------------------------------------------------------------------------

    def restore(self) -> int:
        """Bring the copy back into the cache; give how many entries came. Trouble is told, not raised."""
        with self._turn:
            self._is_early = False
            try:
                content = read_file(self._path, max_bytes=_MAX_BYTES)
                if content is None:
                    self._generation = max(self._generation, self._anchor.read())
                    return 0
                self._restored = self._take(content)
            except StrongroomError as error:
                self._tell("the last good copy is not used", error)
                return 0
            self._trouble = ""
            self._revision = self._now()
            self._marks = _marks(self._held())
            self._wrote = self._machine.timer()
            return self._restored

    def _take(self, data: bytes) -> int:
        header, context, sealed = split(data)
        # Whatever became of the copy, the next one must be newer than all there ever were.
        newest = self._anchor.read()
        self._generation = max(self._generation, newest)
        content = decoded(self._opened(sealed, context))
        since = self._since(header, newest)
        self._generation = max(self._generation, header.generation)
        self._written_at = date_of(header.written_at)
        self._entries = len(content.rows)
        known = frozenset(self._backends())
        taken = sum(self._bring(row, since) for row in content.rows if row.backend in known)
        for name, other in self._others().items():
            if name in content.others:
                other.restore(content.others[name], timedelta(seconds=since))
        return taken

    def _opened(self, sealed: bytes, context: bytes) -> bytes:
        try:
            return self._sealer.open(sealed, context=context)
        except SealedError as error:
            raise RefusedError(f"its key is not to be had: {error}", hint=self._remedy()) from None
        except TamperedError:
            raise RefusedError(
                "it is damaged, or was changed", hint="it is replaced by the next; nothing needs to be done"
            ) from None

    def _remedy(self) -> str:
        return (
            f"bring its key back; or, to begin with another one, remove {self._path} and start the agent anew"
        )

    def _since(self, header: Header, newest: int) -> float:
        """Check that the copy is this agent's newest, and give the seconds since it was written."""
        if header.deployment != self._deployment:
            raise RefusedError("it is of another deployment", hint="each agent has a state folder of its own")
        if header.host != self._machine.host:
            raise RefusedError("it is of another machine", hint="a state folder is not moved with its copy")
        if header.generation < newest:
            raise RefusedError(
                f"it is generation {header.generation}, and {newest} was the newest: it was brought back",
                hint="where that was you, after restoring a backup, nothing needs to be done",
            )
        boot = self._machine.boot()
        is_same_boot = boot != "" and boot == header.boot
        if is_same_boot:
            since = self._machine.timer() - header.booted
        else:
            # Between two starts of a machine there is no clock but the one on the wall.
            since = self._machine.clock().timestamp() - header.written_at
        if since < -_CLOCK_SLACK:
            self._is_early = not is_same_boot
            raise RefusedError(
                "it is from the future",
                hint="the clock of this machine is behind: once set, it is tried again",
            )
        if since > self._max_age.total_seconds():
            most = f"{self._max_age.total_seconds():g} s"
            raise RefusedError(f"it is older than {most}, the max_age it may have")
        return max(0.0, since)

    def _bring(self, row: Row, since: float) -> bool:
        age, keep = timedelta(seconds=row.age + since), self._max_age
        if row.lifetime is not None:
            keep = min(keep, timedelta(seconds=row.lifetime))
        entry = entry_of(row)
        ref = Ref(entry.ref.kind, row.name, row.team)
        if age >= keep or self._is_strict(ref, entry):
            return False
        return self._cache.restore(ref, entry, age=age, left=keep - age)

    # --- keeping -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Write the copy from now on, a while after something changed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_on, name="strongroom-last-good", daemon=True)
            self._thread.start()

    def _keep_on(self) -> None:
        while not self._ended.wait(max(self._debounce, self._took * _MOST_OF_THE_TIME)):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 -- a thread that died would keep nothing, silently
                self._tell("the last good copy is not written", _unexpected(error))

    def look(self) -> None:
        """Do what is due: bring back what was too early, write what changed."""
        if self._is_early:
            self.restore()
        self.keep()

    def keep(self) -> bool:
        """Write the copy if something changed since; tell whether it did. Trouble is told, not raised."""
        with self._turn:
            revision = self._now()
            if revision == self._revision:
                return False
            held = self._held()
            marks, now = _marks(held), self._machine.timer()
            if marks == self._marks and now - self._wrote < self._renewal:
                return False
            try:
                self._write(held)
            except StrongroomError as error:
                error.hint = self._remedy() if isinstance(error, SealedError) else error.hint
                self._tell("the last good copy is not written", error)
                return False
            finally:
                self._took = self._machine.timer() - now
            self._revision, self._marks, self._wrote = revision, marks, now
            self._trouble = ""
            return True

    def _now(self) -> tuple[object, ...]:
        """Give what is another when there is something else to keep, at no cost."""
        return (self._cache.revision, *(other.mark() for other in self._others().values()))

    def _held(self) -> list[Held]:
        return [held for held in self._cache.held() if self._is_kept(held)]

    def _is_kept(self, held: Held) -> bool:
        entry, keep = held.entry, self._max_age
        if entry.lifetime is not None:
            keep = min(keep, entry.lifetime)
        return held.age < keep and not entry.is_stale and not self._is_strict(held.ref, entry)

    def _write(self, held: list[Held]) -> None:
        header = self._header()
        context = context_of(header)
        content = encoded(Content([row_of(each) for each in held], self._kept_of_others()))
        replace_file(self._path, context + self._sealer.seal(content, context=context))
        # After the copy: a crash in between leaves a copy that is newer than its anchor, which is no harm.
        self._generation, self._entries = header.generation, len(held)
        self._written_at = date_of(header.written_at)
        self._anchor.write(header.generation)

    def _header(self) -> Header:
        machine = self._machine
        now = machine.clock().timestamp()
        return Header(
            self._deployment, machine.host, self._generation + 1, now, machine.boot(), machine.timer()
        )

    def _kept_of_others(self) -> dict[str, bytes]:
        kept = {name: other.keep() for name, other in self._others().items()}
        return {name: content for name, content in kept.items() if 0 < len(content) <= _MAX_OTHER_BYTES}

    def _tell(self, what: str, error: StrongroomError) -> None:
        # Once for each: a full disk would fill the log, too.
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._on_trouble(what, error)

    def close(self) -> None:
        """Write what changed since, and end. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.keep()


def open_last_good(
    host: Host,
    *,
    environ: Mapping[str, str],
    on_trouble: Callable[[str, StrongroomError], None],
) -> LastGood | None:
    """
    Give the last good copy of *host*'s cache as its settings want it; None where they want none, or where its
    key cannot be had at all, which is told.
    """
    from strongroom.assembly.lastgood import KernelAnchor, open_parcels, this_host  # noqa: PLC0415 -- if wanted

    settings = host.settings.agent
    if settings.last_good is None:
        return None
    copy, deployment = settings.state / "last-good", host.deployment
    try:
        sealer = open_parcels(settings.last_good.key, copy=copy, deployment=deployment, environ=environ)
    except StrongroomError as error:
        on_trouble("there is no last good copy", error)
        return None
    return LastGood(
        copy,
        host.cache,
        sealer,
        deployment=deployment,
        max_age=timedelta(seconds=settings.last_good.max_age),
        anchor=FileAnchor(settings.state / "last-good.generation", KernelAnchor(deployment, copy)),
        is_strict=host.is_strict,
        backends=lambda: [link.name for link in host.chain.links],
        machine=Machine(host=this_host()),
        others=lambda: {} if host.kept is None else {"decisions": host.kept},
        on_trouble=on_trouble,
    )


def _marks(held: Iterable[Held]) -> frozenset[object]:
    # The cache leaves the very object in its place where an answer says the same; one that took the address
    # of another was read at another time.
    return frozenset((each.ref, id(each.entry), each.entry.read_at) for each in held)


def _unexpected(error: Exception) -> StrongroomError:
    return BackendConfigError(f"unexpected {type(error).__name__}")
