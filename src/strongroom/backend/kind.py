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
            _check_packages(kind)
            found: object = importlib.import_module(module).BACKEND
        else:
            found = _stranger(kind)
    except ImportError as error:
        raise _lacking(kind, error.name or "unknown") from None
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendConfigError(f"the entry point for the backend kind {kind} is not a Backend")
    return found


# What a kind imports when it is first asked, by its extra. Looked for at the start, and not loaded: an SDK
# takes up to half a second, and somebody who starts should hear of it and not who reads first.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "aws": ("boto3",),
    "gcp": ("google.cloud.secretmanager_v1",),
    "azure": ("azure.identity", "azure.keyvault"),
}


def _check_packages(kind: str) -> None:
    for package in _PACKAGES.get(_extra(kind), ()):
        try:
            is_there = importlib.util.find_spec(package) is not None
        except (ImportError, ValueError):  # what it is part of is missing, or barred from being imported
            is_there = False
        if not is_there:
            raise _lacking(kind, package)


def _lacking(kind: str, package: str) -> BackendConfigError:
    return BackendConfigError(
        f"the backend kind {kind} needs the package {_DISTRIBUTIONS.get(package, package.partition('.')[0])}",
        hint=f"pip install 'strongroom[{_extra(kind)}]'",
    )


_DISTRIBUTIONS = {
    "google.cloud.secretmanager_v1": "google-cloud-secret-manager",
    "azure.identity": "azure-identity",
    "azure.keyvault": "azure-keyvault-secrets",
}


def _extra(kind: str) -> str:
    """Give the extra that brings what *kind* needs: that of its vendor."""
    return "store" if kind == "native" else kind.partition("_")[0]


def _stranger(kind: str) -> object:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- a third of the cold start of a read

    for point in entry_points(group="strongroom.backends", name=kind):
        return point.load()
    raise _unknown(kind)


def _unknown(kind: str) -> BackendConfigError:
    import difflib  # noqa: PLC0415 -- only a mistake pays for it

    shown = kind if kind.isidentifier() and len(kind) <= 64 else "given"  # noqa: PLR2004 -- a sane width
    known = sorted(kinds())
    near = difflib.get_close_matches(kind, known, 1, 0.7)
    installed = f"installed kinds: {', '.join(known)}"
    return BackendConfigError(
        f"there is no backend of the kind {shown}",
        hint=f"did you mean {near[0]}? {installed}" if near else installed,
    )


def kinds() -> set[str]:
    """Give the names of every installed kind of backend, ours and strangers'."""
    package = importlib.util.find_spec("strongroom.backends")
    places: Iterable[str] = (package.submodule_search_locations or ()) if package else ()
    import pkgutil  # noqa: PLC0415 -- only listing needs it; reads must not pay for it
    from importlib.metadata import entry_points  # noqa: PLC0415 -- as above

    ours = {module.name for module in pkgutil.iter_modules(list(places))}
    return ours | {point.name for point in entry_points(group="strongroom.backends")}
