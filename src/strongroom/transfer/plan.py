"""
What an import would do: which entries of a file can be written, which cannot, and why. Pure.

Not for reading files (`model/document.py`) or for writing entries (`service/transfer.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.document import connection_of, variable_of
from strongroom.model.entry import EntryState, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.model.variable import Variable
from strongroom.transfer.naming import NameToChange, places_to_change, rename_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.model.connection import Dialect
    from strongroom.model.environment import Place
    from strongroom.model.held import Held
    from strongroom.model.ref import Kind

__all__ = ["MASK", "Item", "Line", "Plan", "Report", "plan_held", "plan_import"]

MASK = "***"
"""What Airflow writes for a value it hides. Nothing tells it from a secret that is three stars."""

Outcome = Literal["imported", "skipped", "refused", "not reached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """
    One entry of a file that can be written.

    Args:
        name: as the file has it; *ref* has the new name.
        is_renamed: *ref* has another name than the file means.
        is_masked: somewhere in it stands the mask, where a secret may have been.
    """

    name: str
    ref: Ref
    secret: Secret[str] = field(repr=False)
    metadata: Metadata
    is_renamed: bool = False
    is_masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    What happened to one entry of a file.

    Args:
        name: as the file has it. It may hold control characters: escape it before it is printed.
        outcome: `not reached` where others were refused, so that nothing was written.
        reason: why it was skipped or refused; holds no value.
        new_name: where it was renamed.
        warning: what to look at though it was imported.
        is_overwritten: another value stood there.
        team: whose it is.
        remarks: what lint says of it, a sentence each; what is an error stands in *warning* too.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    new_name: str | None = None
    warning: str = ""
    is_overwritten: bool = False
    team: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What an import did, in the order of the file.

    Args:
        lines: one for every entry.
        is_written: False where entries were refused and so nothing was written, or on a trial run.
        names_to_change: names our grammar refuses, each with a suggestion.
        passed_over: lines of an environment's `.env` that are no entries of this kind.
        states: of what a backend held, how many entries were in which state.
    """

    lines: tuple[Line, ...]
    is_written: bool
    names_to_change: tuple[NameToChange, ...] = ()
    passed_over: int = 0
    states: Mapping[EntryState, int] = field(default_factory=dict)

    def of(self, outcome: Outcome) -> tuple[Line, ...]:
        """Give the lines with this outcome."""
        return tuple(line for line in self.lines if line.outcome == outcome)

    @property
    def renamed(self) -> tuple[Line, ...]:
        """The lines of entries that got another name."""
        return tuple(line for line in self.lines if line.new_name is not None)

    @property
    def warnings(self) -> tuple[Line, ...]:
        """The lines with something to look at."""
        return tuple(line for line in self.lines if line.warning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What can be written, and what cannot."""

    items: tuple[Item, ...]
    refused: tuple[Line, ...]
    names_to_change: tuple[NameToChange, ...]


def plan_import(
    raw: Mapping[str, object],
    *,
    kind: Kind,
    places: Mapping[str, Place],
    rename: Mapping[str, str] | None = None,
    dialect: Dialect = "core",
    progress: Callable[[], None] = lambda: None,
) -> Plan:
    """
    Judge every entry of *raw*, so that trouble is known before anything is written.

    Args:
        raw: by name, as `document.parse` gives it, or `Connection` and `Variable` objects.
        kind: connection or variable.
        places: team and name they mean, by the same names.
        rename: new names by the file's.
        dialect: which of Airflow's two readings connections follow.
        progress: called once for every entry.

    Raises:
        InvalidInputError: as `rename_all`.
    """
    new = rename_all(places, rename or {})
    to_change = places_to_change(new)
    bad_names = {row.name: row.reason for row in to_change}
    items: list[Item] = []
    refused: list[Line] = []
    for name, entry in raw.items():
        progress()
        (team, new_name), old_name = new[name], places[name][1]
        line = Line(
            name=name,
            outcome="refused",
            new_name=new_name if new_name != old_name else None,
            team=team,
        )
        if name in bad_names:
            refused.append(replace(line, reason=bad_names[name]))
            continue
        try:
            ref = Ref(kind, new_name, team)
            item = _item(name, ref, entry, dialect)
            items.append(replace(item, is_renamed=ref.name != old_name))
        except InvalidInputError as error:
            refused.append(replace(line, reason=str(error)))
    return Plan(items=tuple(items), refused=tuple(refused), names_to_change=to_change)


def plan_held(
    held: Sequence[Held],
    *,
    kind: Kind,
    team: str | None = None,
    rename: Mapping[str, str] | None = None,
    dialect: Dialect = "core",
    progress: Callable[[], None] = lambda: None,
) -> Plan:
    """
    Judge everything that another place holds, as `plan_import` does a file.

    Args:
        held: of one kind, each name once.
        kind: connection or variable.
        team: whose what has no team becomes.
        rename: new names by the place's.
        dialect: which of Airflow's two readings connections follow.
        progress: called once for every entry.

    Raises:
        InvalidInputError: as `rename_all`.
    """
    places = {one.name: (one.team or team, one.name) for one in held}
    raw: dict[str, object] = {}
    unread: list[Line] = []
    for one in held:
        entry = _read_entry(one, dialect)
        if isinstance(entry, str):
            progress()
            unread.append(Line(name=one.name, outcome="refused", reason=entry, team=places[one.name][0]))
        else:
            raw[one.name] = entry
    # Of an entry that cannot be read its name does not matter either.
    readable = {name: place for name, place in places.items() if name in raw}
    wanted = {old: new for old, new in (rename or {}).items() if old in readable}
    plan = plan_import(raw, kind=kind, places=readable, rename=wanted, dialect=dialect, progress=progress)
    # What stands in a place stands there: nobody exported it with its secrets hidden.
    items = tuple(replace(item, is_masked=False) for item in plan.items)
    return replace(plan, items=items, refused=(*plan.refused, *unread))


def _read_entry(held: Held, dialect: Dialect) -> Connection | Variable | str:
    """Give what *held* is, or why it cannot be read."""
    if held.secret is None:
        return held.problem or "it cannot be read"
    if held.kind == "variable":
        return Variable(key=held.name, value=held.secret, description=held.metadata.description)
    if held.connection is not None:
        return held.connection
    try:
        return Connection.parse(held.secret.reveal(), dialect)
    except InvalidInputError as error:
        return str(error)


def _item(name: str, ref: Ref, entry: object, dialect: Dialect) -> Item:
    if ref.kind == "connection":
        connection = entry if isinstance(entry, Connection) else connection_of(name, entry, dialect)
        metadata = Metadata(description=connection.description, conn_type=connection.conn_type)
        secret, is_masked = connection.format("json"), _is_masked_connection(connection)
    else:
        variable = entry if isinstance(entry, Variable) else variable_of(name, entry)
        metadata = Metadata(description=variable.description)
        secret, is_masked = variable.value, _is_masked_variable(variable)
    return Item(name=name, ref=ref, secret=secret, metadata=metadata, is_masked=is_masked)


def _is_masked_connection(connection: Connection) -> bool:
    password = connection.password
    if password is not None and password.reveal() == MASK:
        return True
    return connection.extra is not None and MASK in _texts(connection.extra.reveal())


def _is_masked_variable(variable: Variable) -> bool:
    text = variable.value.reveal()
    if text == MASK:
        return True
    if MASK not in text or text[:1] not in ("{", "["):
        return False
    try:
        return MASK in _texts(variable.json())
    except InvalidInputError:
        return False


def _texts(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield value
