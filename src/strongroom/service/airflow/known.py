"""Which ids are known outside of an Airflow's own Python: ours, those of its backend, those in DAG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from strongroom.backend import Backend, Listable
from strongroom.errors import StrongroomError
from strongroom.insight.airflow import dags_folder
from strongroom.insight.scan import Scan
from strongroom.insight.usage import names_of
from strongroom.service.discovery.airflow import place_of
from strongroom.service.discovery.place import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.model.ref import Kind
    from strongroom.service.room import Room
    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["Opener", "known_ids"]

_KINDS: tuple[Kind, ...] = ("connection", "variable")
_PAGE = 1000
_MOST = 20_000


class Opener(Protocol):
    """Opens one backend of a kind of ours, from the options of its table."""

    def __call__(self, name: str, kind: str, options: dict[str, object]) -> Backend: ...


def known_ids(
    config: AirflowConfig,
    *,
    open_backend: Opener,
    room: Callable[[], Room],
    environ: Mapping[str, str],
    on_trouble: Callable[[str, StrongroomError], None],
) -> dict[str, set[str]]:
    """
    Give the names by kind.

    Args:
        config: of the Airflow.
        open_backend: opens what its secrets backend asks, where a kind of ours can.
        room: opens ours.
        environ: the environment.
        on_trouble: told a place whose names are missing, and why.
    """
    found: dict[str, set[str]] = {kind: set() for kind in _KINDS}
    looks: dict[str, Callable[[], None]] = {
        "strongroom": lambda: _ours(room, found, on_trouble),
        "Airflow's secrets backend": lambda: _theirs(config, open_backend, environ, found),
    }
    for place, look in looks.items():
        try:
            look()
        except StrongroomError as error:
            on_trouble(place, error)
    for kind, name in names_of([dags_folder(config)], Scan.begin()):
        found[kind].add(name)
    return found


def _ours(
    room: Callable[[], Room], found: dict[str, set[str]], on_trouble: Callable[[str, StrongroomError], None]
) -> None:
    with room() as opened:
        for kind in _KINDS:
            for page in opened.inventory.pages(kind, on_trouble=on_trouble, limit=_MOST):
                found[kind].update(row.ref.name for row in page)


def _theirs(
    config: AirflowConfig, open_backend: Opener, environ: Mapping[str, str], found: dict[str, set[str]]
) -> None:
    backend = config.secrets_backend(may_run=False)
    if backend is None:
        return
    place = place_of(backend, Surroundings(environ=environ, cwd=Path.cwd()))
    if place.table is None or place.kind == "file":
        return  # Airflow's Python lists files by itself, and classes without a kind of ours cannot
    options = {key: value for key, value in place.settings().items() if key != "kind"}
    opened = open_backend(place.name, place.kind, options)
    try:
        if isinstance(opened, Listable):
            for kind in _KINDS:
                found[kind].update(_listed(opened, kind))
    finally:
        opened.close()


def _listed(backend: Listable, kind: Kind) -> Iterator[str]:
    after = ""
    while page := backend.list(kind, after=after, limit=_PAGE):
        yield from (summary.ref.name for summary in page)
        after = page[-1].ref.name
