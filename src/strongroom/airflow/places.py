"""
Where Airflow would look: our places, the environment of this process, Airflow's own database.

Names and what is public beside them; no value is read anywhere. Not for who may see it, nor for how it is
shown (`page.py`).

Rules of this file:

1. The order is the one in which Airflow asks: our chain, the environment, the metadata database.
2. A place that gives no answer makes nothing else disappear: it is named with the reason.
3. Everything is bounded: names, records that are looked at, time for which one answer serves all who look.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.airflow.environment import has_teams
from strongroom.airflow.inventory import Line, Note, Place, Taken, merged
from strongroom.errors import StrongroomError
from strongroom.model.environment import AFTER_TEAM, PREFIXES
from strongroom.wire.failure import without_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.airflow.inventory import Key
    from strongroom.airflow.options import Options
    from strongroom.airflow.source import Source
    from strongroom.service.inventory import Row
    from strongroom.service.room import Room

__all__ = ["ENVIRONMENT", "MAX_NAMES", "METADATA", "known", "take"]

MAX_NAMES = 20_000
"""Names of one place that are shown; of a place with more the first ones are."""
ENVIRONMENT = "environment"
METADATA = "metadata"
_OURS = "strongroom:"  # before the name of a backend, so that none is taken for a place of Airflow's
_KEPT_SECONDS = 5.0
_RECORDS = 1000  # of reads, the newest, among which the last read of a name is looked for
_LABELS = {ENVIRONMENT: "Airflow environment", METADATA: "Airflow database"}
_CHECK = "strongroom airflow check tells why"


@dataclass(slots=True)
class _Found:
    """What is gathered on the way."""

    lines: list[Line] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def is_full(self, names: int, label: str) -> bool:
        """Tell whether *names* of one place are enough, and note that there may be more."""
        if names < MAX_NAMES:
            return False
        self.notes.append(Note("warn", f"Only the first {MAX_NAMES:,} names of {label} are shown."))
        return True


# --- all of it ---------------------------------------------------------------------------------------

_turn = threading.Lock()
_known: list[tuple[float, Taken]] = []


def known() -> Taken:
    """Give what there is, looked at some seconds ago at most; who asks meanwhile waits for that answer."""
    with _turn:
        if not _known or time.monotonic() - _known[0][0] > _KEPT_SECONDS:
            _known[:] = [(time.monotonic(), take(os.environ))]
        return _known[0][1]


def take(environ: Mapping[str, str]) -> Taken:
    """Look at all places."""
    found = _Found()
    asked, server, is_beside = "", "", False
    backend = _configured(found)
    if backend is not None:
        try:
            options: Options = backend.options()  # type: ignore[attr-defined]  # it is ours
            source: Source = backend.source()  # type: ignore[attr-defined]  # as above
        except StrongroomError as error:
            found.notes.append(Note("bad", f"Strongroom cannot be asked: {_said(error)}.", error.hint or ""))
        else:
            asked, server, is_beside = source.kind, _server(options, environ), options.mode == "shadow"
            _take_ours(source, options, found)
    if is_beside:
        found.places = [replace(place, order=0) for place in found.places]
        found.notes.append(
            Note(
                "info",
                "Shadow mode: another backend answers Airflow, and Strongroom is only compared with it.",
            )
        )
    _take_environment(environ, found)
    _take_metadata(found)
    return Taken(
        at=datetime.now(timezone.utc),
        lines=tuple(merged(found.lines, found.places)),
        places=tuple(found.places),
        notes=tuple(found.notes),
        asked=asked,
        server=server,
    )


def _said(error: StrongroomError) -> str:
    return without_paths(str(error)).replace(" at [path]", "")


# --- ours --------------------------------------------------------------------------------------------


def _configured(found: _Found) -> object | None:
    """Give our backend where Airflow is told to ask it, as Airflow makes it; making it does nothing."""
    from airflow.configuration import get_custom_secret_backend  # noqa: PLC0415 -- Airflow's

    from strongroom.airflow.backend import StrongroomBackend  # noqa: PLC0415 -- where there is Airflow

    try:
        backend = get_custom_secret_backend()
    except Exception as error:  # noqa: BLE001 -- any class may stand there; ours raises nothing
        found.notes.append(
            Note("bad", f"The secrets backend of Airflow cannot be made: {type(error).__name__}.", _CHECK)
        )
        return None
    if isinstance(backend, StrongroomBackend):
        return backend
    other = "no secrets backend" if backend is None else f"the secrets backend {type(backend).__name__}"
    found.notes.append(
        Note("warn", f"Airflow is told of {other}, and does not ask Strongroom.", "strongroom airflow enable")
    )
    return None


def _take_ours(source: Source, options: Options, found: _Found) -> None:
    troubles: dict[str, str] = {}
    try:
        room = source.room()
        names = room.inventory.places
        lines = list(_listed(room, options, found, troubles))
        silent = room.inventory.not_listable
    except StrongroomError as error:
        what = f"What Strongroom holds cannot be listed: {_said(error)}. It may answer or hide names below."
        found.notes.append(Note("bad", what, error.hint or ""))
        found.places.append(Place(id=_OURS, label="strongroom", order=1, trouble=_said(error)))
        return
    found.lines += lines
    found.places += [
        Place(
            id=f"{_OURS}{name}",
            label=name,
            order=number,
            is_listable=name not in silent,
            trouble=troubles.get(name, ""),
        )
        for number, name in enumerate(names, 1)
    ]


def _listed(room: Room, options: Options, found: _Found, troubles: dict[str, str]) -> Iterator[Line]:
    read_at = _last_reads(room)

    def hear(name: str, error: StrongroomError) -> None:
        troubles.setdefault(name, _said(error))

    for team in dict.fromkeys((None, options.team)):
        after = None
        count = 0
        while page := room.inventory.page(
            team=team, after=after, limit=500, with_shadowed=True, on_trouble=hear
        ):
            for row in page:
                # For a team, what is everybody's is listed already.
                if row.ref.kind in PREFIXES and row.ref.team == team:
                    yield _line(row, read_at)
            count += len({row.ref for row in page})
            after = page[-1].ref
            if found.is_full(count, "Strongroom"):
                break


def _line(row: Row, read_at: Mapping[Key, datetime]) -> Line:
    ends = [end for end in (row.metadata.not_after, row.metadata.expires_at) if end is not None]
    last = row.read_at or read_at.get((row.ref.kind, row.ref.name, row.ref.team))
    return Line(
        kind=row.ref.kind,
        name=row.ref.name,
        team=row.ref.team,
        place=f"{_OURS}{row.backend}",
        conn_type=row.metadata.conn_type,
        shadows=tuple(f"{_OURS}{name}" for name in row.shadowed),
        shadowed_by=None if row.shadowed_by is None else f"{_OURS}{row.shadowed_by}",
        state=row.state.value,
        problem=without_paths(row.problem),
        version=row.version,
        changed_at=row.changed_at,
        read_at=last if row.shadowed_by is None else None,
        expires_at=min(ends, default=None),
        owner=row.metadata.owner,
    )


def _last_reads(room: Room) -> dict[Key, datetime]:
    """Give when names were last read, by the newest reads on record; nothing where those may not be seen."""
    from strongroom.audit.query import Filter  # noqa: PLC0415 -- only this page asks

    try:
        records = room.audit.query(Filter(action="read", outcome="found"), limit=_RECORDS).records
    except StrongroomError:  # an agent tells it with the names
        return {}
    last: dict[Key, datetime] = {}
    for record in records:
        at = datetime.fromisoformat((record.until or record.at).replace("Z", "+00:00"))
        for one in record.refs or (record,):
            key = (one.kind or "", one.name or "", one.team)
            last[key] = max(at, last.get(key, at))
    return last


def _server(options: Options, environ: Mapping[str, str]) -> str:
    """Give the address of our server, without who signs in there; "" where none is asked."""
    url = options.url or ("" if options.is_placed else environ.get("STRONGROOM_URL", ""))
    scheme, separator, rest = url.partition("://")
    if scheme not in ("http", "https") or not separator:
        return ""
    authority, slash, path = rest.partition("/")
    path = path.partition("?")[0].partition("#")[0]
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


# --- Airflow's ---------------------------------------------------------------------------------------


def _take_environment(environ: Mapping[str, str], found: _Found) -> None:
    spelled: dict[tuple[str, str], list[str]] = {}
    for line in found.lines:
        spelled.setdefault((line.kind, line.name.upper()), []).append(line.name)
    is_shared = has_teams()
    count = 0
    for variable in environ:
        named = _in_environment(variable, is_shared=is_shared)
        if named is None:
            continue
        kind, name, team = named
        # Airflow asks for the name in capitals, so one variable answers every way to write it.
        for each in dict.fromkeys(spelled.get((kind, name.upper()), [name.lower()])):
            found.lines.append(Line(kind=kind, name=each, team=team, place=ENVIRONMENT))
        count += 1
        if found.is_full(count, "the environment"):
            break
    found.places.append(Place(id=ENVIRONMENT, label=_LABELS[ENVIRONMENT], order=_next(found)))


def _in_environment(variable: str, *, is_shared: bool) -> Key | None:
    """Give what the environment variable answers for, with the name as it is written there."""
    for kind, prefix in PREFIXES.items():
        name = variable[len(prefix) :] if variable.startswith(prefix) else ""
        if not name:
            continue
        if not (is_shared and AFTER_TEAM in name):
            return kind, name, None
        team, _, name = name.partition(AFTER_TEAM)
        return (kind, name, team[1:].lower()) if team[:1] == "_" and team[1:] and name else None
    return None


def _take_metadata(found: _Found) -> None:
    trouble = ""
    try:
        found.lines += _rows_of_metadata(found)
    except Exception as error:  # noqa: BLE001 -- a database's errors quote what was asked, and are many
        trouble = f"it gave no answer ({type(error).__name__})"
    found.places.append(Place(id=METADATA, label=_LABELS[METADATA], order=_next(found), trouble=trouble))


def _rows_of_metadata(found: _Found) -> list[Line]:
    """Give names and types by Airflow's own session: no column that may hold a secret is asked for."""
    from airflow.models.connection import Connection  # noqa: PLC0415 -- Airflow's
    from airflow.models.variable import Variable  # noqa: PLC0415 -- as above
    from airflow.utils.session import create_session  # noqa: PLC0415 -- as above

    lines: list[Line] = []
    with create_session() as session:
        for kind, model, name, type_ in (
            ("connection", Connection, Connection.conn_id, Connection.conn_type),
            ("variable", Variable, Variable.key, None),
        ):
            team = getattr(model, "team_name", None)  # not in 2.11
            columns = [column for column in (name, type_, team) if column is not None]
            rows = session.query(*columns).order_by(name).limit(MAX_NAMES).all()
            found.is_full(len(rows), f"the metadata database's {kind}s")
            for row in rows:
                rest = list(row)
                lines.append(
                    Line(
                        kind=kind,
                        name=rest.pop(0),
                        conn_type=rest.pop(0) if type_ is not None else None,
                        team=rest.pop(0) if team is not None else None,
                        place=METADATA,
                    )
                )
    return lines


def _next(found: _Found) -> int:
    return max((place.order for place in found.places), default=0) + 1
