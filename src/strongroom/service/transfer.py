"""
Move entries in and out: Airflow's import and export.

Rules of this file:

1. An import judges every entry before it writes the first, and writes all of them in one batch, or
   none (`keep_going` writes those that can be written).
2. Every item is authorised and recorded by the verb that happens: a write as a write, an exported
   value as a reveal. A batch is one act naming its refs.
3. The mask `***` never replaces a value that stands: an export that hid its secrets, imported
   again, would wipe them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from strongroom.backend import Dumpable, Listable
from strongroom.errors import (
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.astro import is_settings, settings_entries
from strongroom.model.connection import Connection, Dialect
from strongroom.model.document import decode, format_connections, format_variables, parse
from strongroom.model.entry import MUST_BE_ABSENT, EntryState
from strongroom.model.environment import Place, parse_environment, spell_all
from strongroom.model.held import Held
from strongroom.model.secret import Secret
from strongroom.model.variable import Variable
from strongroom.service.entries import Change
from strongroom.service.lookup import parse_stored
from strongroom.transfer.convert import written_as_json
from strongroom.transfer.naming import NameToChange, places_to_change
from strongroom.transfer.plan import Item, Line, Plan, Report, plan_held, plan_import

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.backend import Backend
    from strongroom.insight.remark import Remark
    from strongroom.model.document import Form, Serialization
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind, Ref
    from strongroom.service.inventory import Row
    from strongroom.service.room import Room

__all__ = ["Exported", "ImportOptions", "Source", "Transfer"]

T = TypeVar("T")

Source = bytes | str | Mapping[str, object]
"""A file's bytes or text, or entries by name: `Connection`, `Variable`, or what JSON holds."""

OnExisting = Literal["skip", "overwrite", "fail"]
Progress = Callable[[int, int], None]
_KINDS: tuple[Kind, ...] = ("connection", "variable")
Check = Callable[[Connection], "Sequence[Remark]"]
_PAGE = 1000
_MASKED = "holds ***: if the file was exported with its secrets hidden, the secret is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """
    How an import is done.

    Args:
        on_existing: what happens to a name that is held already: `skip` it, `overwrite` it, or
            `fail`, which refuses it. None: as Airflow, connections are skipped and variables
            overwritten.
        rename: new names by the file's; for an environment's by what follows the prefix, in lower case.
        keep_going: write what can be written though others are refused.
        allow_mask: let `***` replace a value that stands.
        team: which team's entries they become, where the file does not say so itself.
        to: name of the backend to write to.
        force: write though a higher backend shadows the place.
        dialect: which of Airflow's two readings connections follow.
        dry_run: judge everything, write nothing.
        comment: why; kept in the history.
        progress: called with (done, total); the last call has them equal.
        check: tells what looks wrong in a connection to import.
        only: names of a file's entries to take; None for all.
    """

    on_existing: OnExisting | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    keep_going: bool = False
    allow_mask: bool = False
    team: str | None = None
    to: str | None = None
    force: bool = False
    dialect: Dialect = "core"
    dry_run: bool = False
    comment: str = "import"
    progress: Progress = field(default=lambda _done, _total: None, repr=False)
    check: Check | None = field(default=None, repr=False)
    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """
    A file's text with all its secrets.

    Args:
        text: what to write.
        names: which entries it holds.
        as_json: names that a `.env` holds as JSON because a URI would lose something of them;
            Airflow's own `connections import` cannot read those back.
        lowered: names that the names of an environment hold in upper case, so that they would come
            back in lower case.
    """

    text: Secret[str] = field(repr=False)
    names: tuple[str, ...]
    as_json: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()

    def reveal(self) -> str:
        """Give the text in clear."""
        return self.text.reveal()


class Transfer:
    """Import and export as the actor of *room*. Threads: may be used from several threads at once."""

    def __init__(self, room: Room) -> None:
        self._room = room

    # --- in --------------------------------------------------------------------------------------

    def import_connections(
        self, source: Source, form: Form = "json", options: ImportOptions | None = None
    ) -> Report:
        """
        Import connections as `airflow connections import` means it.

        Args:
            source: a file's bytes or text, or entries by name.
            form: of a file.
            options: how; None for Airflow's defaults.

        Raises:
            InvalidInputError: the file as a whole is refused, or `rename` names what is not there.
            ConflictError, ReadOnlyError, AccessDeniedError, BackendUnavailableError: nothing was
                written (with `keep_going` they become refusals, entry by entry).
        """
        chosen = options or ImportOptions()
        if chosen.on_existing is None:
            chosen = replace(chosen, on_existing="skip")
        return self._import("connection", source, form, chosen)

    def import_variables(
        self, source: Source, form: Form = "json", options: ImportOptions | None = None
    ) -> Report:
        """
        Import variables as `airflow variables import` means it.

        Args:
            source: a file's bytes or text, or entries by name.
            form: of a file.
            options: how; None for Airflow's defaults.

        Raises:
            As `import_connections`.
        """
        chosen = options or ImportOptions()
        if chosen.on_existing is None:
            chosen = replace(chosen, on_existing="overwrite")
        return self._import("variable", source, form, chosen)

    def names_to_change(
        self, source: Source, form: Form = "json", *, kind: Kind = "connection"
    ) -> tuple[NameToChange, ...]:
        """
        Give the names of a file that are not legal here, each with a suggestion for `rename`.

        Raises:
            InvalidInputError: the file as a whole is refused.
        """
        return places_to_change(_read(source, form, kind).places)

    def _import(self, kind: Kind, source: Source, form: Form, options: ImportOptions) -> Report:
        read = _taken(_read(source, form, kind, options.team), options.only)
        steps = _Steps(options.progress, 2 * len(read.raw))
        plan = plan_import(
            read.raw,
            kind=kind,
            places=read.places,
            rename=options.rename,
            dialect=options.dialect,
            progress=steps.step,
        )
        judged = self._judge(plan, options)
        is_written = self._settle([judged], options)
        steps.finish()
        return _report(judged, plan, read.raw, is_written=is_written, passed_over=read.passed_over)

    def import_entries(self, source: Backend, options: ImportOptions | None = None) -> tuple[Report, Report]:
        """
        Import everything a backend holds, connections and variables, every team's: all of it or nothing.

        What cannot be read there is refused with its reason; its team and description stay.

        Args:
            source: stands in no chain of this room; it must be able to list or dump what it holds.
            options: how; None skips what is held already. `team` is for what has none; the new names of
                `rename` are for connections and variables alike.

        Returns:
            What happened to the connections, and to the variables.

        Raises:
            InvalidInputError: *source* cannot tell what it holds, or `rename` names what is not there.
            ConflictError, ReadOnlyError, AccessDeniedError, BackendUnavailableError, BackendConfigError:
                nothing was written (what *source* cannot answer, too).
        """
        options = options or ImportOptions()
        if options.on_existing is None:
            options = replace(options, on_existing="skip")
        held = {kind: _held(source, kind) for kind in _KINDS}
        _check_renames(options.rename, held)
        steps = _Steps(options.progress, 2 * sum(map(len, held.values())))
        plans = {
            kind: plan_held(
                found,
                kind=kind,
                team=options.team,
                rename=options.rename,
                dialect=options.dialect,
                progress=steps.step,
            )
            for kind, found in held.items()
        }
        judged = {kind: self._judge(plan, options) for kind, plan in plans.items()}
        is_written = self._settle(list(judged.values()), options)
        steps.finish()
        connections, variables = (
            _report(
                judged[kind],
                plans[kind],
                [one.name for one in held[kind]],
                is_written=is_written,
                states=Counter(one.state for one in held[kind]),
            )
            for kind in _KINDS
        )
        return connections, variables

    def _settle(self, judged: Sequence[_Judged], options: ImportOptions) -> bool:
        """Write what was judged fit, all in one batch, or nothing; tell whether it was written."""
        is_refused = any(line.outcome == "refused" for one in judged for line in one.lines.values())
        if options.dry_run and (options.keep_going or not is_refused):
            self._try(judged, options)
        if options.dry_run or (is_refused and not options.keep_going):
            reason = "" if options.dry_run else "others were refused, so nothing was written"
            for one in judged:
                for name in one.changes:
                    one.lines[name] = replace(one.lines[name], outcome="not reached", reason=reason)
            return False
        self._write(judged, options)
        return True

    def _try(self, judged: Sequence[_Judged], options: ImportOptions) -> None:
        """Meet on a trial run what would refuse the write before it begins."""
        for one in judged:
            changes = dict(one.changes)
            refs = [change.ref for change in changes.values()]
            errors = self._room.entries.refusals(refs, to=options.to, force=options.force)
            for name, error in zip(changes, errors, strict=True):
                if error is None:
                    continue
                if not options.keep_going:
                    raise error
                del one.changes[name]
                one.lines[name] = replace(one.lines[name], outcome="refused", reason=str(error))

    def _judge(self, plan: Plan, options: ImportOptions) -> _Judged:
        judged = _Judged({line.name: line for line in plan.refused})
        standing = self._standing(plan.items)
        for item in plan.items:
            row = standing.get(item.ref)
            line = self._line(item, row, options)
            if line.outcome == "imported":
                line = _checked(line, item, options.check)
            judged.lines[item.name] = line
            if line.outcome == "imported":
                judged.changes[item.name] = _change(item, row)
        return judged

    def _line(self, item: Item, row: Row | None, options: ImportOptions) -> Line:
        new_name = item.ref.name if item.is_renamed else None
        line = Line(name=item.name, outcome="imported", new_name=new_name, team=item.ref.team)
        if row is not None and options.on_existing != "overwrite":
            outcome: Literal["skipped", "refused"] = "skipped" if options.on_existing == "skip" else "refused"
            return replace(line, outcome=outcome, reason=f"already held by {row.backend}")
        if not item.is_masked:
            return replace(line, is_overwritten=row is not None)
        if row is not None and not options.allow_mask and not self._is_same(item):
            return replace(
                line, outcome="refused", reason="holds ***, which would replace the value that stands"
            )
        return replace(line, is_overwritten=row is not None, warning=_MASKED)

    def _is_same(self, item: Item) -> bool:
        (entry,) = self._room.entries.reveal_many([item.ref], reason="import: is *** the value that stands?")
        if item.ref.kind == "variable":
            return entry.secret == item.secret
        try:
            return parse_stored(entry, "core") == Connection.parse(item.secret.reveal())
        except MalformedEntryError:
            return False

    def _standing(self, items: Sequence[Item]) -> dict[Ref, Row | None]:
        """Give what is held already, with its row."""
        if not items:
            return {}
        wanted = {item.ref for item in items}
        standing: dict[Ref, Row | None] = {
            row.ref: row
            for team in dict.fromkeys(ref.team for ref in wanted)
            for row in self._rows(items[0].ref.kind, team)
            if row.ref in wanted
        }
        if self._room.inventory.not_listable:
            for ref in wanted - set(standing):
                standing |= self._described(ref)
        return standing

    def _described(self, ref: Ref) -> dict[Ref, Row | None]:
        from strongroom.service.inventory import Row  # noqa: PLC0415 -- only where a backend cannot list

        try:
            found = self._room.entries.describe(ref)
        except NotFoundError:
            return {}
        if found.ref != ref:
            return {}  # the global one answered for the team; the team's own is absent
        return {ref: Row(ref=ref, backend=found.backend, metadata=found.metadata)}

    def _rows(self, kind: Kind, team: str | None, prefix: str = "") -> Iterator[Row]:
        after: Ref | None = None
        while True:
            page = self._room.inventory.page(kind, team=team, prefix=prefix, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].ref

    def _write(self, judged: Sequence[_Judged], options: ImportOptions) -> None:
        changes = [change for one in judged for change in one.changes.values()]
        if not changes:
            return
        try:
            self._write_batch(changes, options)
        except (ConflictError, ReadOnlyError, InvalidInputError, BackendUnavailableError):
            if not options.keep_going:
                raise
            for one in judged:
                self._write_each(one, options)

    def _write_each(self, judged: _Judged, options: ImportOptions) -> None:
        for name, change in judged.changes.items():
            try:
                self._write_batch([change], options)
            except StrongroomError as error:
                judged.lines[name] = replace(judged.lines[name], outcome="refused", reason=str(error))

    def _write_batch(self, changes: list[Change], options: ImportOptions) -> None:
        write = self._room.entries.write_many
        try:
            write(changes, to=options.to, force=options.force, comment=options.comment)
        except ReadOnlyError:
            # A store without compare-and-set refuses to promise that nothing is there. If the
            # refusal had another reason, it comes again.
            if all(change.expected_version is None for change in changes):
                raise
            unconditional = [replace(change, expected_version=None) for change in changes]
            write(unconditional, to=options.to, force=options.force, comment=options.comment)

    # --- out -------------------------------------------------------------------------------------

    def export_connections(  # noqa: PLR0913 -- each is one of the command's options
        self,
        form: Form = "json",
        *,
        serialization: Serialization = "uri",
        prefix: str = "",
        team: str | None = None,
        reason: str = "export",
        dialect: Dialect = "core",
        is_environment: bool = False,
    ) -> Exported:
        """
        Export connections as `airflow connections export` writes them, with their secrets.

        Args:
            form: json, yaml or env.
            serialization: how a `.env` spells them.
            prefix: only names that begin so.
            team: exactly this team's, or the global ones.
            reason: kept in the record; an export reveals.
            dialect: how stored texts are read.
            is_environment: a `.env` under the names of an environment, `AIRFLOW_CONN_<NAME>`.

        Raises:
            MalformedEntryError: a stored text is no connection.
            InvalidInputError: F13, a `.env` cannot hold some of them; the message names them.
        """
        refs = self._refs("connection", team, prefix)
        names = _names(refs, form, is_environment=is_environment)
        items = {entry.ref: parse_stored(entry, dialect) for entry in self._revealed(refs, reason)}
        text = format_connections(_renamed(items, names), form, serialization)
        as_json = set(written_as_json(text)) if form == "env" else set()
        return Exported(
            text=Secret(text),
            names=_sorted(refs),
            as_json=_sorted(ref for ref in refs if names[ref] in as_json),
            lowered=_sorted(ref for ref in refs if is_environment and _is_lowered(ref)),
        )

    def export_variables(
        self,
        form: Form = "json",
        *,
        prefix: str = "",
        team: str | None = None,
        reason: str = "export",
        descriptions: bool = True,
        is_environment: bool = False,
    ) -> Exported:
        """
        Export variables so that `airflow variables import` reads them, with their values.

        Args:
            form: json, yaml or env.
            prefix: only names that begin so.
            team: exactly this team's, or the global ones.
            reason: kept in the record; an export reveals.
            descriptions: False leaves them out; a `.env` cannot hold them.
            is_environment: a `.env` under the names of an environment, `AIRFLOW_VAR_<NAME>`.

        Raises:
            InvalidInputError: F13, a `.env` cannot hold some of them; the message names them.
        """
        refs = self._refs("variable", team, prefix)
        names = _names(refs, form, is_environment=is_environment)
        items = {
            entry.ref: Variable(
                key=entry.ref.name, value=entry.secret, description=entry.metadata.description
            )
            for entry in self._revealed(refs, reason)
        }
        text = format_variables(_renamed(items, names), form, descriptions=descriptions)
        lowered = _sorted(ref for ref in refs if is_environment and _is_lowered(ref))
        return Exported(text=Secret(text), names=_sorted(refs), lowered=lowered)

    def _refs(self, kind: Kind, team: str | None, prefix: str) -> list[Ref]:
        return [row.ref for row in self._rows(kind, team, prefix)]

    def _revealed(self, refs: Sequence[Ref], reason: str) -> Iterator[Entry]:
        for start in range(0, len(refs), _PAGE):
            yield from self._room.entries.reveal_many(refs[start : start + _PAGE], reason=reason)


def _report(
    judged: _Judged,
    plan: Plan,
    names: Iterable[str],
    *,
    is_written: bool,
    passed_over: int = 0,
    states: Mapping[EntryState, int] | None = None,
) -> Report:
    return Report(
        lines=tuple(judged.lines[name] for name in names),
        is_written=is_written,
        names_to_change=plan.names_to_change,
        passed_over=passed_over,
        states=states or {},
    )


def _held(source: Backend, kind: Kind) -> list[Held]:
    if isinstance(source, Dumpable):
        return list(source.dump(kind))
    if not isinstance(source, Listable):
        raise InvalidInputError(
            f"the backend {source.name} cannot tell what it holds", hint="import a file of it instead"
        )
    return list(_read_one_by_one(source, source, kind))


def _read_one_by_one(source: Backend, listing: Listable, kind: Kind) -> Iterator[Held]:
    """Give the names without a team: which teams there are only a dump can tell."""
    after = ""
    while page := listing.list(kind, after=after, limit=_PAGE):
        for summary in page:
            held = Held(kind=kind, name=summary.ref.name, metadata=summary.metadata)
            try:
                entry = source.read(summary.ref)
            except (MalformedEntryError, TamperedError) as error:
                yield replace(held, state=EntryState.UNPARSABLE, problem=str(error))
                continue
            if entry is not None:
                yield replace(held, secret=entry.secret, metadata=entry.metadata)
        after = page[-1].ref.name


def _check_renames(rename: Mapping[str, str], held: Mapping[Kind, list[Held]]) -> None:
    missing = set(rename) - {one.name for found in held.values() for one in found}
    if missing:
        raise InvalidInputError(
            f"{len(missing)} of the names to change are not there", hint="spell them as they stand there"
        )


@dataclass(slots=True)
class _Judged:
    """What is to happen to every entry, by its name in the file."""

    lines: dict[str, Line]
    changes: dict[str, Change] = field(default_factory=dict)


class _Steps:
    """Count towards a total and tell it now and then."""

    _EVERY = 100

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def step(self) -> None:
        self._done += 1
        if self._done % self._EVERY == 0:
            self._progress(self._done, self._total)

    def finish(self) -> None:
        self._progress(self._total, self._total)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What a source holds: entries by their names in it, and where they belong."""

    raw: Mapping[str, object] = field(repr=False)
    places: Mapping[str, Place]
    passed_over: int = 0


def _read(source: Source, form: Form, kind: Kind, team: str | None = None) -> _Read:
    if isinstance(source, Mapping):
        return _as_named(source, team)
    text = decode(source) if isinstance(source, bytes) else source
    if not text.strip():
        raise InvalidInputError("the file is empty", offset=0, rule="F3")
    if form == "env" and (found := parse_environment(text, kind)) is not None:
        places = {key: _of_team(place, team) for key, place in found.places.items()}
        return _Read(raw=found.values, places=places, passed_over=found.passed_over)
    raw = parse(text, form)
    return _as_named(settings_entries(raw, kind) if form == "yaml" and is_settings(raw) else raw, team)


def _taken(read: _Read, only: frozenset[str] | None) -> _Read:
    if only is None:
        return read
    return replace(
        read,
        raw={name: entry for name, entry in read.raw.items() if name in only},
        places={name: place for name, place in read.places.items() if name in only},
    )


def _as_named(raw: Mapping[str, object], team: str | None) -> _Read:
    return _Read(raw=raw, places={name: (team, name) for name in raw})


def _of_team(place: Place, team: str | None) -> Place:
    said, name = place
    # An environment holds its teams in upper case; who asks spells theirs.
    return (team if said is None or (team and said.upper() == team.upper()) else said), name


def _names(refs: Sequence[Ref], form: Form, *, is_environment: bool) -> dict[Ref, str]:
    """Give the names the file is to hold, before anything is revealed."""
    if not is_environment:
        return {ref: ref.name for ref in refs}
    if form != "env":
        raise InvalidInputError("only a .env file holds the names of an environment", hint="say --format env")
    return spell_all(refs)


def _renamed(items: Mapping[Ref, T], names: Mapping[Ref, str]) -> dict[str, T]:
    return {names[ref]: item for ref, item in items.items()}


def _sorted(refs: Iterable[Ref]) -> tuple[str, ...]:
    return tuple(sorted(ref.name for ref in refs))


def _is_lowered(ref: Ref) -> bool:
    return any(text != text.upper().lower() for text in (ref.name, ref.team or ""))


def _checked(line: Line, item: Item, check: Check | None) -> Line:
    """Add what looks wrong in a connection to its line."""
    if check is None or item.ref.kind != "connection":
        return line
    found = [one for one in check(Connection.parse(item.secret.reveal())) if one.level != "note"]
    errors = "; ".join(f"{one.what} ({one.rule})" for one in found if one.level == "error")
    return replace(
        line,
        warning=line.warning or errors,
        remarks=tuple(f"{one.what} ({one.rule})" for one in found),
    )


def _change(item: Item, row: Row | None) -> Change:
    if row is None:
        return Change(
            ref=item.ref, secret=item.secret, metadata=item.metadata, expected_version=MUST_BE_ABSENT
        )
    # What the file knows replaces; tags, owner and dates that only the room knows stay.
    metadata = replace(row.metadata, description=item.metadata.description, conn_type=item.metadata.conn_type)
    return Change(ref=item.ref, secret=item.secret, metadata=metadata)
