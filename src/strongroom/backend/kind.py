"""Finding a backend by its kind: our own, and strangers' by their entry points."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from strongroom.backend.promise import Backend
from strongroom.errors import BackendConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["kinds", "load"]


def load(kind: str) -> type[Backend]:
    """
    Give the class of the backend *kind*: `strongroom/backends/<kind>.py`, or a stranger's entry
    point in the group `strongroom.backends`. Imported only when configured, so that a missing SDK
    hurts nobody else.

    Raises:
        BackendConfigError: there is no such kind, or something it needs is not installed.
    """
    if not kind.isidentifier() or kind.startswith("_"):
        raise _unknown(kind)
    module = f"strongroom.backends.{kind}"
    try:
        if importlib.util.find_spec(module) is not None:
            found: object = importlib.import_module(module).BACKEND
        else:
            found = _stranger(kind)
    except ImportError as error:
        raise BackendConfigError(
            f"the backend kind {kind} needs the package {(error.name or 'unknown').partition('.')[0]}",
            hint=f"pip install 'strongroom[{_extra(kind)}]'",
        ) from None
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendConfigError(f"the entry point for the backend kind {kind} is not a Backend")
    return found


def _extra(kind: str) -> str:
    return "store" if kind == "native" else kind.partition("_")[0]


def _stranger(kind: str) -> object:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- a third of the cold start of a read

    for point in entry_points(group="strongroom.backends", name=kind):
        return point.load()
    raise _unknown(kind)


def _unknown(kind: str) -> BackendConfigError:
    shown = kind if kind.isidentifier() and len(kind) <= 64 else "given"  # noqa: PLR2004 -- a sane width
    return BackendConfigError(
        f"there is no backend of the kind {shown}",
        hint=f"installed kinds: {', '.join(sorted(kinds()))}",
    )


def kinds() -> set[str]:
    """Give the names of every installed kind of backend, ours and strangers'."""
    package = importlib.util.find_spec("strongroom.backends")
    places: Iterable[str] = (package.submodule_search_locations or ()) if package else ()
    import pkgutil  # noqa: PLC0415 -- only listing needs it; reads must not pay for it
    from importlib.metadata import entry_points  # noqa: PLC0415 -- as above

    ours = {module.name for module in pkgutil.iter_modules(list(places))}
    return ours | {point.name for point in entry_points(group="strongroom.backends")}
