"""
What one file gives: text → entries by kind, then by team and name.

Rules of this file:

1. A name our grammar refuses can never be asked for, so it only sleeps in the file. In an environment
   so does one that no upper-casing makes.
2. Names that are one in NFC are refused.

Not for what an entry means (`document.py`), and opens nothing (`backends/file.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.errors import InvalidInputError
from strongroom.model.astro import settings_entries
from strongroom.model.document import Form, parse
from strongroom.model.environment import PREFIXES, Place, as_listed, parse_environment, spell
from strongroom.model.ref import Kind, Ref

__all__ = [
    "BOTH",
    "Shelves",
    "environment_entries",
    "kind_entries",
    "place_in_environment",
    "place_of",
    "settings_file_entries",
]

Shelves = Mapping[Kind, Mapping[Place, object]]
"""Entries as they stand in a file, by kind, then by team and name."""

BOTH: tuple[Kind, ...] = ("connection", "variable")
"""The kinds that an environment and an `airflow_settings.yaml` hold."""


def kind_entries(text: str, kind: Kind, form: Form, *, quotes: bool) -> Shelves:
    """
    Give the entries of a file that holds one *kind*.

    Raises:
        InvalidInputError: as `document.parse`; F6, two names are one in NFC.
    """
    return {kind: _by_legal_name(parse(text, form, quotes=quotes))}


def settings_file_entries(text: str) -> Shelves:
    """
    Give the entries of an `airflow_settings.yaml`.

    Raises:
        InvalidInputError: as `document.parse` and `astro.settings_entries`; F6 as above.
    """
    found = parse(text, "yaml")
    return {kind: _by_legal_name(settings_entries(found, kind)) for kind in BOTH}


def environment_entries(text: str) -> Shelves:
    """
    Give the entries of a `.env` that holds an environment; none where no name has a prefix of Airflow's.

    Raises:
        InvalidInputError: as `parse_environment`.
    """
    return {kind: _environment(text, kind) for kind in BOTH}


def place_of(ref: Ref) -> Place | None:
    """Give where *ref* stands in a file without teams, or None where it cannot."""
    return (None, ref.name) if ref.team is None else None


def place_in_environment(ref: Ref) -> Place | None:
    """Give where *ref* stands in an environment: team and name as lower case makes them of its spelling."""
    if spell(ref) is None:
        return None
    return (None if ref.team is None else ref.team.lower()), as_listed(ref.name)


def _environment(text: str, kind: Kind) -> Mapping[Place, object]:
    found = parse_environment(text, kind) if PREFIXES[kind] in text else None
    if found is None:
        return {}
    # As in an environment: an empty variable of a team is none.
    return {
        place: found.values[key]
        for key, place in found.places.items()
        if (place[0] is None or found.values[key]) and _reads_back(kind, place)
    }


def _reads_back(kind: Kind, place: Place) -> bool:
    team, name = place
    try:
        return place_in_environment(Ref(kind, name, team)) == place
    except InvalidInputError:
        return False


def _by_legal_name(raw: Mapping[str, object]) -> dict[Place, object]:
    found: dict[Place, object] = {}
    for written, item in raw.items():
        try:
            name = Ref("variable", written).name
        except InvalidInputError:
            continue
        if (None, name) in found:
            raise InvalidInputError(f'the file holds more than once: "{name}"', rule="F6")
        found[None, name] = item
    return found
