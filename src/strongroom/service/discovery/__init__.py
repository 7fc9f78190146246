"""
What is already here: the places that may hold connections and variables, found by looking.

Not for what they hold (`service/inventory.py`), nor for writing anything down (`service/proposal.py`).

Rules of this folder:

1. It only looks: at names in the environment and at files of fixed names. Nothing is changed, no place
   is asked over a network, and no command that a file names is run before somebody agreed to it.
2. What it tells holds names of files, variables and settings, never their values. What a place needs to
   be asked stands in its table, which does not print.
3. Trouble with one place is told of that place; the others are found all the same.
4. A place proposes the table `[backend.NAME]` that the settings would hold, so that what is found is
   opened, listed and written down in one way.

What is looked for, and in which order the places are asked: docs/discovery.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError
from strongroom.service.discovery import airflow, project, vendor
from strongroom.service.discovery.place import Place, Surroundings, why

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

__all__ = ["Discovery", "Place", "discover"]

_ENV = "env"
_NATIVE = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """
    All that was found.

    Args:
        places: in the order they would be asked, Airflow's own order first; those that cannot be asked
            stand last.
        around: where was looked.
    """

    places: tuple[Place, ...]
    around: Surroundings

    @property
    def asked(self) -> tuple[Place, ...]:
        """The places that can be asked."""
        return tuple(place for place in self.places if place.table is not None)

    def chain(self, names: Collection[str] | None = None, *, has_store: bool) -> list[str]:
        """
        Give the order to ask in: as Airflow its custom backend, then the environment; our own store before
        all that it may replace; then the rest.

        Args:
            names: only these of the places; all if unsaid. The environment is asked in any case.
            has_store: there is a store of our own.
        """
        wanted = [place for place in self.asked if names is None or place.name in names]
        first = [place.name for place in wanted if place.is_first]
        rest = [place.name for place in wanted if not place.is_first and place.name != _ENV]
        return [*first, _ENV, *([_NATIVE] if has_store else []), *rest]

    def tables(self, *, has_store: bool, timeout_seconds: float | None = None) -> dict[str, Any]:
        """
        Give the settings of a chain over what was found, for `settings.load(tables=…)`.

        Args:
            has_store: as `chain`.
            timeout_seconds: for one answer of one place; the settings' own if unsaid.
        """
        limit = {} if timeout_seconds is None else {"timeout_seconds": timeout_seconds}
        tables = {place.name: {**place.settings(), **limit} for place in self.asked if place.name != _ENV}
        return {"chain": self.chain(has_store=has_store), "backend": tables}


def discover(
    environ: Mapping[str, str], *, cwd: Path, home: Path | None = None, may_run: bool = False
) -> Discovery:
    """
    Look for what is already here.

    Args:
        environ: the environment.
        cwd: the project's folder.
        home: the user's home; `HOME` of *environ* if unsaid, and none where that is not set.
        may_run: commands that Airflow's own configuration names for a value may be run.
    """
    if home is None and environ.get("HOME"):
        home = Path(environ["HOME"])
    around = Surroundings(environ=environ, cwd=cwd.absolute(), home=home, may_run=may_run)
    looks: tuple[tuple[str, Callable[[Surroundings], Iterable[Place]]], ...] = (
        ("Airflow's configuration", airflow.places),
        ("the environment", project.environment),
        ("the project's files", project.files),
        ("Vault's settings", vendor.vault),
        ("settings of clouds", vendor.clouds),
    )
    found = [place for title, look in looks for place in _safely(title, look, around)]
    found.sort(key=lambda place: (place.table is None, not place.is_first, place.name != _ENV))
    return Discovery(places=tuple(_with_own_names(_without_twins(found))), around=around)


def _safely(
    title: str, look: Callable[[Surroundings], Iterable[Place]], around: Surroundings
) -> Iterator[Place]:
    try:
        yield from look(around)
    except StrongroomError as error:
        yield Place(title=title, reason=str(error))
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        yield Place(title=title, reason=f"cannot be looked at ({why(error)})")


def _without_twins(places: Iterable[Place]) -> Iterator[Place]:
    """Give each place that can be asked once, however many files and variables lead to it."""
    seen: list[tuple[object, ...]] = []
    for place in places:
        key = (place.kind, *place.key)
        if not place.key or key not in seen:
            seen.append(key)
            yield place


def _with_own_names(places: Iterable[Place]) -> Iterator[Place]:
    taken: dict[str, int] = {}
    for place in places:
        taken[place.name] = number = taken.get(place.name, 0) + 1
        yield replace(place, name=f"{place.name}-{number}") if place.name and number > 1 else place
