"""Connection types: ours, and those of the Airflow that is installed here."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from strongroom import catalog
from strongroom.catalog import foreign
from strongroom.errors import BackendUnavailableError, InvalidInputError
from strongroom.vendors import airflow_forms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from strongroom.catalog.kind import ConnectionType

__all__ = ["Kinds"]


class Kinds:
    """
    Every connection type there is here.

    Args:
        environ: whose search path may lead to an Airflow.
        cache: folder in which what its providers say is kept; it need not exist.

    Attributes:
        problem: why an Airflow that is there tells nothing, once it was asked; None where all is well.

    Threads: not safe to share.
    """

    def __init__(self, environ: Mapping[str, str], *, cache: Path) -> None:
        self._environ = environ
        self._cache = cache
        self.problem: str | None = None

    def list(self) -> tuple[ConnectionType, ...]:
        """Give all types: ours family by family, then what only the installed providers have, by name."""
        others = sorted(set(self._installed) - set(catalog.names()))
        return tuple(map(self.find, (*catalog.names(), *others)))

    def find(self, name: str) -> ConnectionType:
        """
        Give the type called *name*, with what an installed provider adds.

        Raises:
            InvalidInputError: nobody knows it; the hint names the nearest.
        """
        normal = _normal(name)
        ours, theirs = catalog.find(normal), self._installed.get(normal)
        found = foreign.merge(ours, theirs) if theirs is not None else ours
        if found is not None:
            return found
        near = self.nearest(normal)
        raise InvalidInputError(
            "there is no such connection type",
            hint=f"did you mean {' or '.join(near)}?" if near else "strongroom connections types lists them",
        )

    def nearest(self, name: str) -> tuple[str, ...]:
        """Give up to three types that *name* may have meant, the likeliest first."""
        return catalog.nearest(name) or tuple(get_close_matches(name, self._installed, 3, 0.7))

    @cached_property
    def _installed(self) -> dict[str, ConnectionType]:
        python = airflow_forms.find_python(self._environ)
        if python is None:
            return {}
        try:
            rows = airflow_forms.read_forms(python, cache=self._cache)
        except BackendUnavailableError as error:
            self.problem = str(error)
            return {}
        return {_normal(row["connection-type"]): foreign.parse(row) for row in rows}


def _normal(name: str) -> str:
    return name.strip().lower().replace("-", "_")
