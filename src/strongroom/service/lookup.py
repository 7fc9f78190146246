"""
Looking something up: entries, connections, variables, and why.

Not for writing (`entries.py`) or for what lies beside a value (`Entries.describe`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.backend import Listable
from strongroom.errors import InvalidInputError, MalformedEntryError, NotFoundError
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.model.variable import Variable
from strongroom.policy import Action

if TYPE_CHECKING:
    from strongroom.cache import Cache
    from strongroom.chain import Chain, Explanation
    from strongroom.model.connection import Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

    Key = tuple[Kind, str, str | None]

__all__ = ["Lookup", "parse_stored"]

_MAX_PARSED = 10_000  # connections kept parsed; beyond that all are parsed anew
_MAX_NEAR = 1000  # names looked through for the one that was probably meant


class Lookup:
    """
    Read through cache and chain as one actor.

    A value in the cache was authorised and recorded for this actor when it was filled.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self, cache: Cache, chain: Chain, guard: Guard, actor: Actor, *, dialect: Dialect = "core"
    ) -> None:
        self._cache = cache
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._dialect = dialect
        # Parsed once per cached entry: good for as long as the cache gives out this very entry.
        self._parsed: dict[Key, tuple[Entry, Connection]] = {}
        self.peek = cache.peek

    def find(self, ref: Ref) -> Entry | None:
        """Give what `entry` gives, or None where every backend was asked and had nothing."""
        found = self._cache.read(ref)
        return None if found is None else self._resolved(found, ref)

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

    def connection(self, name: str, team: str | None = None) -> Connection:
        """
        Give a connection, parsed once per cached entry.

        Raises:
            MalformedEntryError: what is stored is no connection; `offset` says where.
            As `entry`.
        """
        key: Key = ("connection", name, team)
        held = self._parsed.get(key)
        if held is not None and self._cache.peek(key) is held[0]:
            return held[1]
        ref = Ref("connection", name, team)
        entry = self.entry(ref)
        connection = parse_stored(entry, self._dialect)
        # Keyed by the cache's own object, so an entry whose references were resolved is parsed anew.
        if self._cache.peek(ref) is entry:
            if len(self._parsed) >= _MAX_PARSED:
                self._parsed.clear()
            self._parsed[key] = (entry, connection)
        return connection

    def variable(self, name: str, team: str | None = None) -> str:
        """
        Give the text of a variable.

        Raises:
            As `entry`.
        """
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

    def explain(self, ref: Ref) -> Explanation:
        """Tell which backend answers *ref* and why, never the value; absent is an outcome, not an error."""
        explanation = self._guard.act(
            self._actor,
            Action.DESCRIBE,
            ref,
            lambda: self._chain.explain(ref, self._cache.remembered(ref)),
        )
        decision = self._guard.can(self._actor, Action.READ, ref)
        return replace(explanation, policies=decision.policies)

    def _resolved(self, entry: Entry, _ref: Ref) -> Entry:
        return entry

    def check_references(self, ref: Ref, text: str) -> None:
        """Refuse references in *text* that this actor may not read."""

    def absent(self, ref: Ref) -> NotFoundError:
        """Give the error of a lookup that found nothing: who was asked, and what to type next."""
        near = self._nearest(ref)
        command = f"strongroom explain {ref.kind} {shell_word(ref.name)}"
        return NotFoundError(
            f"{ref} is in no backend",
            asked=self._chain.asked(ref),
            hint=f"did you mean {near}? {command} shows who was asked"
            if near
            else f"{command} shows who was asked",
        )

    def _nearest(self, ref: Ref) -> str | None:
        """Give the defined name nearest to *ref*'s, where the actor may list names at all."""
        if not self._guard.can(self._actor, Action.LIST, None).is_allowed:
            return None
        import difflib  # noqa: PLC0415 -- only a miss pays for it

        names: set[str] = set()
        for link in self._chain.links:
            # Only what answers at once: a miss must not wait for a listing over the network.
            if link.backend.is_local and isinstance(link.backend, Listable):
                found = link.backend.list(ref.kind, team=ref.team, limit=_MAX_NEAR)
                names.update(summary.ref.name for summary in found)
        return next(iter(difflib.get_close_matches(ref.name, sorted(names), 1, 0.75)), None)


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
