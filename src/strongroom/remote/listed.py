"""What a server holds, without values: the `inventory` of a remote room."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from strongroom.caller import broken, error_of, ref_in
from strongroom.model.entry import EntryState
from strongroom.place import elsewhere
from strongroom.policy import Action
from strongroom.remote.kept import metadata_of
from strongroom.service.inventory import Choice, Clash, Counts, Inventory, Row, Tally
from strongroom.wire.entry import Clashes, Counted, EntryPage, Name
from strongroom.wire.listed import HostRow
from strongroom.wire.place import Backends as BackendsTold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from strongroom.errors import StrongroomError
    from strongroom.model.ref import Kind, Ref
    from strongroom.service.ordered import Ordered
    from strongroom.wire.entry import ClashRow, EntryRow
    from strongroom.wire.shape import Trouble

    OnTrouble = Callable[[str, StrongroomError], None]

__all__ = ["Asking", "RemoteInventory", "row_in"]

T = TypeVar("T")

_PAGE = 500  # names in one answer, so that long descriptions stay inside its bound
_MAX_EMPTY = 10_000  # pages in a row without a name: each looks at hundreds
_MAX_PLACES = 64  # ends of pages that are remembered
_STATES = {state.value: state for state in EntryState}


class Asking(Protocol):
    """What is needed of whoever asks: a client of a server, or of an agent."""

    def get(self, path: str, type_: type[T], query: Mapping[str, Any] | None = None) -> T:
        """Give what is answered at *path*."""
        ...


class RemoteInventory(Inventory):
    """
    List what whoever the server takes the token to be of may list.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(self, client: Asking) -> None:
        # Nothing of a chain is here, so the parts of the local one are not made.
        self._client = client
        self._not_listable: tuple[str, ...] | None = None
        # Where a page ended: the server gives a cursor, and callers go on from a name.
        self._places: OrderedDict[tuple[object, ...], str] = OrderedDict()

    def pages(  # noqa: PLR0913 -- as Inventory
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        choice: Choice | None = None,
        after: Ref | None = None,
        size: int = 1000,
        limit: int | None = None,
        on_trouble: OnTrouble | None = None,
        tally: Tally | None = None,
    ) -> Iterator[list[Row]]:
        """Give all rows, a page at a time. As `Inventory.pages`."""
        choice = choice or Choice()
        if tally is not None and choice.backends:
            self._check(choice)
        # A tally counts what is not chosen too, so then it is chosen here.
        asked = choice if tally is None else Choice(prefix=choice.prefix, with_shadowed=True)
        groups = self._groups_of(_query(kind, team, asked), after, size, on_trouble)
        page: list[Row] = []
        names = 0
        for group in groups:
            if tally is not None:
                tally.add(group[0])
            chosen = [row for row in group if tally is None or choice.fits(row)]
            if not chosen:
                continue
            page += chosen
            names += 1
            is_last = names == limit
            if is_last or names % size == 0:
                yield page
                page = []
            if is_last:
                return
        if page:
            yield page

    def these(
        self,
        kind: Kind,
        names: Sequence[str],
        *,
        team: str | None = None,
        choice: Choice | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> list[Row]:
        """Refuse: a server looks names up by itself for the pages it gives."""
        del kind, names, team, choice, on_trouble
        raise elsewhere("the rows of chosen names are looked up")

    def ordered(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        action: Action = Action.LIST,
        on_trouble: OnTrouble | None = None,
    ) -> Ordered:
        """Refuse: a server keeps the orders of its names."""
        del kind, team, action, on_trouble
        raise elsewhere("names are kept in order")

    def _check(self, choice: Choice) -> None:
        """Have the server refuse the backends it does not have."""
        query = {"backend": list(choice.backends), "limit": 1}
        self._client.get("/inventory", EntryPage, query)

    def _groups_of(
        self,
        query: dict[str, Any],
        after: Ref | None,
        size: int,
        on_trouble: OnTrouble | None,
        path: str = "/inventory",
    ) -> Iterator[list[Row]]:
        """Give the rows of each name."""
        told = set[str]()
        question = (path, *map(str, query.values()))
        cursor = None if after is None else self._places.get((*question, after))
        skipped = after if cursor is None else None  # from the start, where nobody remembers the place
        last: Ref | None = None
        empty = 0
        while empty < _MAX_EMPTY:
            page = self._client.get(path, EntryPage, query | {"limit": min(size, _PAGE), "cursor": cursor})
            self._not_listable = tuple(page.not_listable)
            _tell(page.troubles, on_trouble, told)
            empty = 0 if page.entries else empty + 1
            for ref, rows in groupby(map(row_in, page.entries), key=lambda row: row.ref):
                if last is not None and (ref.kind, ref.name) <= (last.kind, last.name):
                    raise broken("a listing that goes back")  # or round and round
                last = ref
                if skipped is None or (ref.kind, ref.name) > (skipped.kind, skipped.name):
                    yield list(rows)
            cursor = page.cursor
            if cursor is None:
                return
            if last is not None:
                self._remember((*question, last), cursor)
        raise broken("a listing without an end")

    def _remember(self, place: tuple[object, ...], cursor: str) -> None:
        self._places[place] = cursor
        while len(self._places) > _MAX_PLACES:
            self._places.popitem(last=False)

    def deleted(
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        prefix: str = "",
        after: Ref | None = None,
        limit: int = 1000,
        on_trouble: OnTrouble | None = None,
    ) -> list[Row]:
        """Give up to *limit* entries that were softly deleted. As `Inventory.deleted`."""
        query = {"kind": kind, "team": team, "prefix": prefix, "is_deleted": True}
        groups = self._groups_of(query, after, limit, on_trouble, "/entries")
        return list(islice(chain.from_iterable(groups), limit))

    def tally(self) -> Tally:
        """Give an empty tally for `pages`."""
        return _RemoteTally(self)

    def counts(self, *, team: str | None = None, on_trouble: OnTrouble | None = None) -> Counts:
        """Count everything. As `Inventory.counts`."""
        told = self._client.get("/inventory/counts", Counted, {"team": team})
        _tell(told.troubles, on_trouble, set())
        return Counts(
            connections=told.connections,
            variables=told.variables,
            places=told.places,
            shadowed=told.shadowed,
            unreadable=told.unreadable,
            clashes=told.clashes,
        )

    def clashes(self, *, team: str | None = None) -> list[Clash]:
        """Give the names that cannot be kept apart. As `Inventory.clashes`."""
        told = self._client.get("/inventory/clashes", Clashes, {"team": team})
        return [Clash(one.backend, tuple(_refs(one)), one.spelling) for one in told.clashes]

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the backends, in the order they are asked."""
        return tuple(row.name for row in self._client.get("/backends", BackendsTold).backends)

    @property
    def not_listable(self) -> tuple[str, ...]:
        """Names of the backends that cannot tell what they hold."""
        if self._not_listable is None:
            self._not_listable = tuple(self._client.get("/inventory", EntryPage, {"limit": 1}).not_listable)
        return self._not_listable


class _RemoteTally(Tally):
    """Counts what goes by; how backends spell names is known to the server, which tells the clashes."""

    def __init__(self, inventory: RemoteInventory) -> None:
        super().__init__({})
        self._inventory = inventory
        self._seen: set[Ref] = set()
        self._found: tuple[int, tuple[Clash, ...]] | None = None

    def add(self, row: Row) -> None:
        """Count a row that answers for its name."""
        super().add(row)
        self._seen.add(row.ref)

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """What was found up to now, asked once."""
        if self._found is None or self._found[0] != len(self._seen):
            teams = sorted({ref.team for ref in self._seen}, key=str)
            found = [clash for team in teams for clash in self._inventory.clashes(team=team)]
            self._found = len(self._seen), tuple(one for one in found if self._seen.issuperset(one.refs))
        return self._found[1]


def _query(kind: Kind | None, team: str | None, choice: Choice) -> dict[str, Any]:
    return {
        "kind": kind,
        "team": team,
        "prefix": choice.prefix,
        "state": [state.value for state in choice.states],
        "backend": list(choice.backends),
        "only_problems": choice.only_problems,
        "with_shadowed": choice.with_shadowed,
    }


def _tell(troubles: Iterable[Trouble], on_trouble: OnTrouble | None, told: set[str]) -> None:
    for trouble in troubles:
        error = error_of(trouble.error)
        if on_trouble is None:
            raise error
        if trouble.backend not in told:
            told.add(trouble.backend)
            on_trouble(trouble.backend, error)


def _refs(clash: ClashRow) -> Iterator[Ref]:
    for name in clash.names:
        yield ref_in(Name(kind=clash.kind, name=name, team=clash.team))


def row_in(row: EntryRow) -> Row:
    """Give the row that the wire tells."""
    return Row(
        ref=ref_in(row),
        backend=row.backend,
        shadowed=tuple(row.shadowed),
        shadowed_by=row.shadowed_by,
        version=row.version,
        changed_at=row.changed_at,
        metadata=metadata_of(row),
        state=_STATES.get(row.state, EntryState.UNKNOWN),
        problem=row.problem,
        read_at=row.read_at if isinstance(row, HostRow) else None,
    )
