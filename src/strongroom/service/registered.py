"""
The register as one actor may see it: found by words and facets, in any order, a page at a time.

Rules of this file:

1. Lines he may not see count for no page, no total and no facet. Whether he may see one is decided once, and
   remembered as long as the same policy decides and the line is the same; of a policy that asks somebody
   else, `_SEEN_SECONDS` at most. Lines that policy cannot tell apart are decided together.
2. What is given out is looked up anew and decided anew.
3. A facet counts what choosing it would give: all other facets and the words hold, its own choices do not.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.entry import EntryState
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.service.facets import mask_of, slots_in
from strongroom.service.mirror import Silence
from strongroom.service.registration import ATTENTION, HEALTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from strongroom.policy import Actor, Policy
    from strongroom.service.guard import Guard, Sight
    from strongroom.service.inventory import Row
    from strongroom.service.register import Register
    from strongroom.service.registration import Registration

__all__ = ["FACETS", "SORTS", "Asked", "Found", "Registered", "Shown"]

FACETS = ("health", "source", "kind", "team", "type", "tag", "owner")
SORTS = ("name", "source", "team", "owner", "type", "version", "age", "read", "expires", "health")
MAX_TEXT = 200  # characters of a search
_MAX_WORDS = 8
_MAX_PAGE = 500
PATIENCE_SECONDS = 1.0  # for the first read of all there is; whoever has more says so
_SEEN_SECONDS = 60.0
_MAX_VIEWS = 64  # two bits for each line
_NONE = MappingProxyType[str, tuple[str, ...]]({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    Which lines are wanted.

    Args:
        text: words, all of which a line holds in its name, owner, type, tags or description, whatever their
            case; `#pci` finds tags that begin so.
        chosen: by the name of a facet, the values of which a line has one; `""` as an owner is nobody, as a
            team none.
        sort: one of `SORTS`.
        is_down: the greatest first.
        begin: lines before the first.
        count: lines at most, up to 500.
    """

    text: str = ""
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NONE)
    sort: str = "name"
    is_down: bool = False
    begin: int = 0
    count: int = 50

    def check(self) -> None:
        """
        Refuse what nobody can answer.

        Raises:
            InvalidInputError: a facet or an order is unknown, the text too long or a number out of range.
        """
        if len(self.text) > MAX_TEXT:
            raise InvalidInputError(f"a search has at most {MAX_TEXT} characters", limit=MAX_TEXT)
        if self.sort not in SORTS:
            raise InvalidInputError("there is no such order", hint=f"one of {', '.join(SORTS)}")
        unknown = [name for name in self.chosen if name not in FACETS]
        if unknown or not set(self.chosen.get("health", ())) <= set(HEALTHS):
            raise InvalidInputError("there is no such filter", hint=f"one of {', '.join(FACETS)}")
        if self.begin < 0 or not 0 <= self.count <= _MAX_PAGE:
            raise InvalidInputError(f"a page has at most {_MAX_PAGE} lines", limit=_MAX_PAGE)

    @property
    def words(self) -> tuple[str, ...]:
        """What a line must hold, each."""
        return tuple(dict.fromkeys(self.text.casefold().split()))[:_MAX_WORDS]


class Shown(NamedTuple):
    """
    One line that is given out.

    Args:
        line: as it stands now.
        read_at: when its name was last read, as far as this server knows; None where it does not.
    """

    line: Registration
    read_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    One page.

    Args:
        lines: of the page.
        total: of all pages.
        all: lines there are, wanted or not.
        attention: those that somebody should look at, wanted or not.
        counts: by facet and value, what choosing it would give; a value that nothing has is missing.
        silences: backends that give no answer now.
        whole: as *counts*, of everything there is.
        views: for each other question, how many lines it finds.
        unread: backends that are still being read for the first time.
        not_listable: backends that cannot tell what they hold.
        ranks: place of each backend in the chain, from 1.
    """

    lines: tuple[Shown, ...]
    total: int
    all: int
    attention: int
    counts: Mapping[str, Mapping[str, int]]
    whole: Mapping[str, Mapping[str, int]]
    views: tuple[int, ...]
    silences: tuple[Silence, ...]
    unread: tuple[str, ...]
    not_listable: tuple[str, ...]
    ranks: Mapping[str, int]


class _View:
    """What was decided of each line for one actor."""

    __slots__ = ("generation", "known", "made_at", "policy", "visible")

    def __init__(self, policy: Policy, generation: object, made_at: float) -> None:
        self.policy = policy
        self.generation = generation
        self.made_at = made_at
        self.known = 0
        self.visible = 0


class Views:
    """What all actors of a deployment may see. Under the register's `lock`."""

    def __init__(self, register: Register, timer: Callable[[], float] = time.monotonic) -> None:
        self.register = register
        self._timer = timer
        self._views: OrderedDict[Actor, _View] = OrderedDict()
        register.on_change.append(self._forget)
        self.changes = 0

    def _forget(self, slot: int) -> None:
        self.changes += 1
        bit = ~(1 << slot)
        for view in self._views.values():
            view.known &= bit
            view.visible &= bit

    def visible(self, actor: Actor, sight: Sight, policy: Policy) -> int:
        """Give the lines that *actor* may see."""
        register = self.register
        alive = register.lines.alive
        if sight.is_whole:
            return alive
        view = self._views.get(actor)
        now = self._timer()
        if (
            view is None
            or view.policy is not policy
            or view.generation is not register.generation
            or (now - view.made_at > _SEEN_SECONDS and not policy.knows(actor, Action.LIST, None))
        ):
            view = self._views[actor] = _View(policy, register.generation, now)
        self._views.move_to_end(actor)
        while len(self._views) > _MAX_VIEWS:
            self._views.popitem(last=False)
        self._decide(view, alive & ~view.known, sight)
        return view.visible & alive

    def _decide(self, view: _View, unknown: int, sight: Sight) -> None:
        if not unknown:
            return
        register = self.register
        lines = register.lines.lines
        flags = bytearray(len(lines))
        for slot in slots_in(unknown):
            line = lines[slot]
            if line is not None and sees(sight, line):
                flags[slot] = 1
        seen = mask_of(bytes(flags))
        hidden_below = 0
        for slot in slots_in(seen & register.lines.having("health", "shadowed")):
            line = lines[slot]
            assert line is not None  # noqa: S101 -- it was decided on
            # What hides it is not to be seen: then nothing of it is.
            first = register.slots_of(line.row.ref)[0]
            if not (seen | view.visible) >> first & 1:
                hidden_below |= 1 << slot
        view.visible |= seen & ~hidden_below
        view.known |= unknown


def sees(sight: Sight, line: Registration) -> bool:
    """Tell whether *line* may be seen; of one that was tampered with nothing is believed."""
    row = line.row
    return sight.sees(row.ref, None if row.state is EntryState.TAMPERED else row.metadata)


def _as_seen(register: Register, sight: Sight, line: Registration) -> Registration:
    """Give *line* without the name it clashes with, where that may not be seen."""
    if line.clash is None:
        return line
    slots = register.slots_of(Ref(line.row.ref.kind, line.clash, line.row.ref.team))
    others = (register.lines.lines[slot] for slot in slots)
    is_seen = any(other is not None and sees(sight, other) for other in others)
    return line if is_seen else line._replace(clash=None)


class _NotYet(Exception):  # noqa: N818 -- no error: the first read is under way
    """Nothing was read yet."""


def _nothing(register: Register, others: Sequence[Asked]) -> Found:
    nothing: Mapping[str, Mapping[str, int]] = {name: {} for name in FACETS}
    ranks = register.ranks
    return Found(
        lines=(),
        total=0,
        all=0,
        attention=0,
        counts=nothing,
        whole=nothing,
        views=tuple(0 for _ in others),
        silences=(),
        unread=tuple(name for name in ranks if name not in register.not_listable),
        not_listable=tuple(register.not_listable),
        ranks=ranks,
    )


class Registered:
    """
    Find lines of the register as one actor.

    Threads: may be used from several threads at once.
    """

    def __init__(self, views: Callable[[], Views], guard: Guard, actor: Actor) -> None:
        self._views = views
        self._guard = guard
        self._actor = actor

    def find(
        self, asked: Asked, views: Sequence[Asked] = (), *, patience: float | None = PATIENCE_SECONDS
    ) -> Found:
        """
        Give one page of the lines that are wanted, what the facets count, and how many other *views* find.

        Args:
            asked: which lines.
            views: other questions, of which only the number of lines is told.
            patience: seconds to wait for the first read of all there is, after which every backend is among
                `unread`; None for as long as it takes.

        Raises:
            InvalidInputError: as `Asked.check`, and where there are too many lines.
            AccessDeniedError: the actor may not list anything here.
            BackendUnavailableError: the store gives no answer, and nothing of it was ever read.
        """
        for one in (asked, *views):
            one.check()
        return self._guard.act(self._actor, Action.LIST, None, lambda: self._found(asked, views, patience))

    def mark(self) -> object:
        """
        Give the mark of `answering` alone.

        Raises:
            As `find`.
        """

        def work() -> object:
            views, _, visible = self._looked(None)
            with views.register.lock:
                return views.register.generation, views.changes, visible

        return self._guard.act(self._actor, Action.LIST, None, work)

    def answering(self) -> tuple[object, list[Row]]:
        """
        Give every line that answers for its name and that the actor may see, as it was last seen; and a mark
        that is equal as long as that is so.

        Raises:
            As `find`.
        """

        def work() -> tuple[object, list[Row]]:
            views, _, visible = self._looked(None)
            register = views.register
            with register.lock:
                shown = visible & ~register.lines.having("health", "shadowed")
                lines = (register.lines.lines[slot] for slot in slots_in(shown))
                rows = [line.row for line in lines if line is not None]
                return (register.generation, views.changes, visible), rows

        return self._guard.act(self._actor, Action.LIST, None, work)

    def lines(self, refs: Sequence[Ref]) -> list[Registration]:
        """
        Give the lines of *refs* as they stand now, those that the actor may see.

        Raises:
            As `find`.
        """

        def work() -> list[Registration]:
            views, sight, _ = self._looked(None)
            register = views.register
            with register.lock:
                register.prove(refs)
                found = (register.lines.lines[slot] for ref in refs for slot in register.slots_of(ref))
                seen = [line for line in dict.fromkeys(found) if line is not None and sees(sight, line)]
                return [_as_seen(register, sight, line) for line in seen]

        return self._guard.act(self._actor, Action.LIST, None, work)

    def counts(self) -> Mapping[str, int]:
        """
        Tell how many lines there are of each health, and in all under "".

        Raises:
            As `find`.
        """

        def work() -> dict[str, int]:
            if not self._views().register.refresh(PATIENCE_SECONDS):
                return {"": 0}
            views, _, visible = self._looked(None)
            with views.register.lock:
                found = views.register.lines.counts("health", visible)
            return {"": visible.bit_count(), **{name: number for name, number in found.items() if number}}

        return self._guard.act(self._actor, Action.LIST, None, work)

    def _looked(self, patience: float | None) -> tuple[Views, Sight, int]:
        views = self._views()
        if not views.register.refresh(patience):
            raise _NotYet
        policy, sight = self._guard.policy_of(self._actor), self._guard.sight(self._actor)
        with views.register.lock:
            return views, sight, views.visible(self._actor, sight, policy)

    def _found(self, asked: Asked, others: Sequence[Asked], patience: float | None) -> Found:
        try:
            views, sight, visible = self._looked(patience)
        except _NotYet:
            return _nothing(self._views().register, others)
        register = views.register
        with register.lock:
            lines = register.lines
            masks = self._masks(views, asked)
            within = visible
            for mask in masks.values():
                within &= mask
            shown = self._shown(views, sight, asked, within)
            attention = 0
            for health in ATTENTION:
                attention |= lines.having("health", health)
            return Found(
                lines=tuple(shown),
                total=within.bit_count(),
                all=visible.bit_count(),
                attention=(visible & attention).bit_count(),
                counts={name: self._counted(views, name, masks, visible) for name in FACETS},
                whole={name: self._counted(views, name, {}, visible) for name in FACETS},
                views=tuple(self._mask(views, one, visible).bit_count() for one in others),
                silences=tuple(register.silences),
                unread=tuple(register.unread),
                not_listable=tuple(register.not_listable),
                ranks=register.ranks,
            )

    def _masks(self, views: Views, asked: Asked) -> dict[str, int]:
        """Give the lines each part of what is asked for leaves."""
        lines, masks = views.register.lines, dict[str, int]()
        for number, word in enumerate(asked.words):
            masks[f" {number}"] = lines.containing(word)
        for name, values in asked.chosen.items():
            if values:
                mask = 0
                for value in values:
                    mask |= lines.having(name, value)
                masks[name] = mask
        return masks

    def _mask(self, views: Views, asked: Asked, visible: int) -> int:
        for mask in self._masks(views, asked).values():
            visible &= mask
        return visible

    def _counted(self, views: Views, name: str, masks: Mapping[str, int], visible: int) -> dict[str, int]:
        for other, mask in masks.items():
            if other != name:
                visible &= mask
        return {
            value: number for value, number in views.register.lines.counts(name, visible).items() if number
        }

    def _shown(self, views: Views, sight: Sight, asked: Asked, mask: int) -> list[Shown]:
        register = views.register
        slots = self._slots(register, asked, mask)
        lines = [line for slot in slots if (line := register.lines.lines[slot]) is not None]
        register.prove(line.row.ref for line in lines)
        return list(self._anew(register, sight, lines))

    def _anew(self, register: Register, sight: Sight, lines: Sequence[Registration]) -> Iterable[Shown]:
        reads = register.reads()
        for old in lines:
            for slot in register.slots_of(old.row.ref):
                line = register.lines.lines[slot]
                if line is not None and line.row.backend == old.row.backend and sees(sight, line):
                    at = None if line.row.shadowed_by else reads.get(line.row.ref)
                    yield Shown(_as_seen(register, sight, line), at)

    def _slots(self, register: Register, asked: Asked, mask: int) -> list[int]:
        lines, begin, count = register.lines, asked.begin, asked.count
        if asked.sort != "read":
            return lines.page(mask, asked.sort, begin, count, is_down=asked.is_down)
        reads = register.reads()
        found = ((at, slot) for ref, at in list(reads.items()) for slot in register.slots_of(ref)[:1])
        read = [slot for _, slot in sorted(found, reverse=not asked.is_down) if mask >> slot & 1]
        for slot in read:
            mask &= ~(1 << slot)
        if asked.is_down:  # those never read first
            unread = mask.bit_count()
            rest = lines.page(mask, "name", begin, count)
            return rest + read[max(0, begin - unread) :][: count - len(rest)]
        rest = lines.page(mask, "name", max(0, begin - len(read)), count)
        return (read[begin : begin + count] + rest)[:count]
