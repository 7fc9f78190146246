"""
Looking something up: entries, connections, variables, and why.

Not for writing (`entries.py`) or for what lies beside a value (`Entries.describe`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

from strongroom.backend import Backend, Listable
from strongroom.errors import InvalidInputError, MalformedEntryError, NotFoundError
from strongroom.model.connection import Connection
from strongroom.model.pattern import fill
from strongroom.model.ref import Ref
from strongroom.model.variable import Variable
from strongroom.policy import Action
from strongroom.service.borrowed import Borrowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.asynchronous import Bridge
    from strongroom.cache import Cache
    from strongroom.chain import Chain
    from strongroom.live.follow import Follow
    from strongroom.model.connection import Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.explanation import Explanation
    from strongroom.model.ref import Kind
    from strongroom.model.secret import Secret
    from strongroom.policy import Actor, Run
    from strongroom.service.guard import Guard
    from strongroom.service.reading import Reader

    Key = tuple[Kind, str, str | None]

__all__ = ["Lookup", "parse_stored"]

_MAX_PARSED = 10_000  # connections kept parsed; beyond that all are parsed anew
_MAX_NEAR = 1000  # names looked through for the one that was probably meant


class Lookup:
    """
    Read through cache and chain as one actor.

    Args:
        cache: the actor's own, whose values were authorised and recorded when they were filled; or his
            reader in front of one that many share, which decides and records each use.
        bridge: of the many; unsaid, one is made when it is first needed.
        patience: how long a task of asyncio waits for one answer, as threads wait in the cache; and how
            long all references of one entry may take together.

    Threads: may be used from several threads at once.
    """

    def __init__(  # noqa: PLR0913 -- a service is made of the parts it joins
        self,
        cache: Cache | Reader,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        *,
        dialect: Dialect = "core",
        patience: timedelta = timedelta(seconds=15),
        bridge: Callable[[], Bridge] | None = None,
    ) -> None:
        self._cache = cache
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._dialect = dialect
        self._patience = patience
        self._shared_bridge = bridge
        # Parsed once per cached entry: good for as long as the cache gives out this very entry.
        self._parsed: dict[Key, tuple[Entry, Connection]] = {}
        self._borrowed = Borrowed(chain.withdraw, self._forget)
        self.peek = cache.peek

    def claim_by(self, claims: Callable[[], Run | None]) -> None:
        """Have the record of each read say for which run it was, as *claims* tells of the code that reads."""
        self._guard.claims = claims

    def find(self, ref: Ref) -> Entry | None:
        """Give what `entry` gives, or None where every backend was asked and had nothing."""
        if ref.kind == "connection":
            self._borrowed.keep(ref)
        found = self._cache.read(ref)
        return None if found is None else self.resolved(found)

    def entry(self, ref: Ref) -> Entry:
        """
        Give the entry of *ref*, references resolved.

        Raises:
            NotFoundError: every backend was asked and had nothing; `asked` is the trail, the hint
                the next command to type.
            AccessDeniedError, BackendUnavailableError, MalformedEntryError, TamperedError,
            SealedError, NotRecordedError: as their names say.
        """
        found = self.find(ref)
        if found is None:
            raise self.absent(ref)
        return found

    def anew(self, ref: Ref) -> Entry | None:
        """Give what `find` gives, past everything remembered."""
        found = self._cache.refresh(ref)
        return None if found is None else self.resolved(found)

    def stored(self, ref: Ref) -> Entry | None:
        """Give what `anew` gives as it is stored, references and all: for who changes it and writes."""
        return self._cache.refresh(ref)

    def connection(self, name: str, team: str | None = None, **values: str | int) -> Connection:
        """
        Give a connection, parsed once per cached entry.

        Args:
            name: which one; with *values* a pattern, such as `warehouse_{tenant}`.
            team: whose it is.
            values: for the parameters of the pattern; see `strongroom.model.pattern`.

        Raises:
            InvalidInputError: a value that is no segment of a name, or one too many or too few.
            MalformedEntryError: what is stored is no connection; `offset` says where.
            As `entry`.
        """
        if values:
            name = fill(name, values)
        key: Key = ("connection", name, team)
        held = self._parsed.get(key)
        if held is not None and self._cache.peek(key) is held[0]:
            return held[1]
        ref = Ref("connection", name, team)
        return self._connection(ref, self.entry(ref))

    def _connection(self, ref: Ref, entry: Entry) -> Connection:
        connection = parse_stored(entry, self._dialect)
        # Only the cache's own object: one whose references were resolved is another every time.
        if self._cache.peek(ref) is entry:
            if len(self._parsed) >= _MAX_PARSED:
                self._parsed.clear()
            self._parsed[ref] = (entry, connection)
        return connection

    def variable(self, name: str, team: str | None = None, **values: str | int) -> str:
        """
        Give the text of a variable; *values* as `connection`.

        Raises:
            As `connection`.
        """
        if values:
            name = fill(name, values)
        return self.variable_entry(name, team).secret.reveal()

    def variable_entry(self, name: str, team: str | None = None) -> Entry:
        """Give the entry of a variable, references resolved. Raises as `entry`."""
        entry = self.find_variable(name, team)
        if entry is None:
            raise self.absent(Ref("variable", name, team))
        return entry

    def find_variable(self, name: str, team: str | None = None) -> Entry | None:
        """Give the entry of a variable, references resolved, or None where no backend has it."""
        entry = self._cache.peek(("variable", name, team))
        if entry is not None and not entry.metadata.references:
            return entry
        return self.find(Ref("variable", name, team))

    def json_of(self, entry: Entry) -> object:
        """
        Read the JSON in a variable's *entry*.

        Raises:
            MalformedEntryError: it is none; the text of the entry is not told.
        """
        try:
            return Variable(key=entry.ref.name, value=entry.secret).json()
        except InvalidInputError as error:
            raise _malformed(entry, "JSON", error) from None

    def explain(self, ref: Ref, *, run: Run | None = None) -> Explanation:
        """
        Tell which backend answers *ref* and why, and so of everything it refers to; never the value.
        Absent is an outcome, not an error.

        Args:
            ref: what would be looked up.
            run: explain the lookup that a request for this run would be; unsaid, the actor's own.
        """
        from strongroom.service.explaining import Explaining  # noqa: PLC0415 -- only people ask why

        explaining = Explaining(self._cache, self._chain, self._guard, self._actor, self._dialect, run=run)
        return explaining.explain(ref)

    # --- following, and asyncio ----------------------------------------------------------------------

    def follow(
        self,
        ref: Ref,
        on_change: Callable[[Entry], None] | None = None,
        *,
        interval: timedelta | None = None,
        gives_back: bool = False,
    ) -> Follow:
        """
        Keep the current entry of *ref* and call back when it changes; close it when done.

        Looking whether it changed gives nothing out and is not recorded; each new version is.

        Args:
            ref: what to follow.
            on_change: called with the new entry, on the following thread.
            interval: between two looks; 5 s if unsaid.
            gives_back: when it is closed, what was lent for it is revoked, unless it was read otherwise too.

        Raises:
            As `entry`.
        """
        from strongroom.live.follow import Follow  # noqa: PLC0415 -- most processes follow nothing

        last: Entry | None = None
        borrowed, token = self._borrowed, object()

        def read() -> Entry:
            nonlocal last
            if gives_back:
                borrowed.follow(ref, token)
            else:
                borrowed.keep(ref)
            seen = self._guard.act(self._actor, Action.DESCRIBE, ref, lambda: self._chain.read(ref))
            if last is None or seen is None or not _is_same(seen, last):
                last = self._cache.refresh(ref)
            elif seen.lifetime is not None:
                last = replace(
                    last, lifetime=seen.lifetime
                )  # what is lent has been renewed, or soon has to be
            if last is None:
                raise self.absent(ref)
            if last.is_lent and gives_back:
                borrowed.lent(last.ref)
            return self.resolved(last)

        pause = timedelta(seconds=5) if interval is None else interval
        end = partial(borrowed.leave, ref, token)
        try:
            return Follow(read, on_change, interval=pause, ended=end)
        except BaseException:
            end()
            raise

    def _forget(self, ref: Ref) -> None:
        """Have nothing remembered of *ref*, where what is remembered is this process's own."""
        from strongroom.cache import Cache  # noqa: PLC0415 -- who is here has it; a task that asks an agent does not

        if isinstance(self._cache, Cache):
            self._cache.drop(ref)

    async def afind(self, ref: Ref) -> Entry | None:
        """Give what `find` gives without blocking the loop: hits inline, misses on a thread."""
        if ref.kind == "connection":
            self._borrowed.keep(ref)
        found = await self._aread(ref)
        if found is None or not found.metadata.references:
            return found
        return await self._bridge.run(lambda: self.resolved(found))

    async def aentry(self, ref: Ref) -> Entry:
        """Give what `entry` gives without blocking the loop."""
        found = await self.afind(ref)
        if found is None:
            raise await self._bridge.run(lambda: self.absent(ref))
        return found

    async def aconnection(self, name: str, team: str | None = None, **values: str | int) -> Connection:
        """Give what `connection` gives without blocking the loop."""
        if values:
            name = fill(name, values)
        held = self._parsed.get(("connection", name, team))
        if held is not None and self._cache.peek(("connection", name, team)) is held[0]:
            return held[1]
        ref = Ref("connection", name, team)
        return self._connection(ref, await self.aentry(ref))

    async def afind_variable(self, name: str, team: str | None = None) -> Entry | None:
        """Give what `find_variable` gives without blocking the loop."""
        return await self.afind(Ref("variable", name, team))

    async def avariable_entry(self, name: str, team: str | None = None) -> Entry:
        """Give what `variable_entry` gives without blocking the loop."""
        return await self.aentry(Ref("variable", name, team))

    async def _aread(self, ref: Ref) -> Entry | None:
        cache = self._cache
        return await (self._bridge.read(ref) if isinstance(cache, Backend) else cache.aread(ref))

    @cached_property
    def _bridge(self) -> Bridge:
        if self._shared_bridge is not None:
            return self._shared_bridge()
        from strongroom.asynchronous import Bridge  # noqa: PLC0415 -- asyncio: 20 ms

        # More threads than the backends' own together: one slow backend must not take them all.
        threads = max(64, self._chain.capacity + 8)
        cache = self._cache
        assert isinstance(cache, Backend)  # noqa: S101 -- readers come with a bridge
        return Bridge(cache, threads=threads, patience=self._patience)

    def parsed(self, entry: Entry) -> Connection:
        """
        Read the connection in *entry*, as this lookup reads connections.

        Raises:
            MalformedEntryError: it is none; the text of the entry is not told.
        """
        return parse_stored(entry, self._dialect)

    def close(self) -> None:
        """Take no more work of asyncio's, where that is its own."""
        if "_bridge" in self.__dict__ and self._shared_bridge is None:
            self._bridge.close()

    # --- references ----------------------------------------------------------------------------------

    def resolved(self, entry: Entry) -> Entry:
        """
        Give *entry* with its references resolved for this actor, or itself where it has none.

        All of them together take no longer than one question may be waited for.

        Raises:
            MalformedEntryError: a reference leads to nothing, in a circle or too deep.
            AccessDeniedError: the actor may not read what is referred to.
            BackendUnavailableError: the time is over.
        """
        return self._resolved(entry, [])

    def _resolved(self, entry: Entry, parts: list[Secret[str]]) -> Entry:
        if not entry.metadata.references:
            return entry
        from strongroom.bulkhead import within  # noqa: PLC0415 -- references are off by default
        from strongroom.model import template  # noqa: PLC0415 -- as above

        with within(self._patience.total_seconds()):
            return template.resolve(entry, self._part, dialect=self._dialect, parts=parts)

    def _part(self, ref: Ref) -> Entry | None:
        """Give what an entry refers to: whoever is given the whole has it for good."""
        if ref.kind == "connection":
            self._borrowed.keep(ref)
        return self._cache.read(ref)

    def referenced(self, ref: Ref) -> tuple[Secret[str], ...]:
        """
        Give the values worth masking that references put into *ref*, at any depth; () where it has none.

        A program that is given the whole may print a part alone.

        Raises:
            As `entry`.
        """
        found = self._cache.read(ref)
        parts: list[Secret[str]] = []
        if found is not None:
            self._resolved(found, parts)
        return tuple(parts)

    # --- nothing found -------------------------------------------------------------------------------

    def absent(self, ref: Ref) -> NotFoundError:
        """Give the error of a lookup that found nothing: who was asked, and what to type next."""
        return NotFoundError(
            f"{ref} is in no backend",
            asked=self._chain.asked(ref),
            hint=f"{self._next_step(ref)} shows who was asked",
        )

    def _next_step(self, ref: Ref) -> str:
        explain = f"strongroom explain {ref.kind} {shell_word(ref.name)}"
        near = self._nearest(ref)
        if near:
            return f"did you mean {near}? {explain}"
        if not any(link.is_writable for link in self._chain.links):
            return f"strongroom up makes a store to keep it in; {explain}"
        return explain

    def _nearest(self, ref: Ref) -> str | None:
        """Give the defined name nearest to *ref*'s, of those that the actor may list."""
        if not self._guard.can(self._actor, Action.LIST, None).is_allowed:
            return None
        import difflib  # noqa: PLC0415 -- only a miss pays for it

        sight = self._guard.sight(self._actor)
        names: set[str] = set()
        for link in self._chain.links:
            # Only what answers at once: a miss must not wait for a listing over the network.
            if link.backend.is_local and isinstance(link.backend, Listable):
                found = link.backend.list(ref.kind, team=ref.team, limit=_MAX_NEAR)
                names.update(one.ref.name for one in found if sight.sees(one.ref, one.metadata))
        return next(iter(difflib.get_close_matches(ref.name, sorted(names), 1, 0.75)), None)


def _is_same(entry: Entry, other: Entry) -> bool:
    return entry.version == other.version and entry.secret == other.secret


def parse_stored(entry: Entry, dialect: Dialect) -> Connection:
    """
    Read the connection in *entry*.

    Raises:
        MalformedEntryError: it is none; the text of the entry is not told.
    """
    try:
        return Connection.parse(entry.secret.reveal(), dialect)
    except InvalidInputError as error:
        raise _malformed(entry, "connection", error) from None


def _malformed(entry: Entry, what: str, error: InvalidInputError) -> MalformedEntryError:
    return MalformedEntryError(
        f"{entry.ref} in the backend {entry.backend} is no {what}: {error}",
        backend=entry.backend,
        ref=str(entry.ref),
        offset=error.offset,
        hint=error.hint,
    )


def shell_word(name: str) -> str:
    """Give *name* as it is typed in a shell."""
    import shlex  # noqa: PLC0415 -- only for hints

    return shlex.quote(name)
