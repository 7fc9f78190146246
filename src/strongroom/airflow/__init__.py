"""
Strongroom inside Airflow, 2.11 and 3: secrets backend, hook, operator, notifier and coordinator.

    [secrets]
    backend = strongroom.airflow.StrongroomBackend
    backend_kwargs = {"socket": "/run/strongroom/agent.sock"}

Importing this loads nothing, Airflow least of all: it imports us while it is being imported itself. See
docs/airflow.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from strongroom.airflow.backend import StrongroomBackend

__all__ = [
    "DeniedError",
    "InvalidError",
    "StrongroomBackend",
    "StrongroomCoordinator",
    "StrongroomExpiryOperator",
    "StrongroomHook",
    "StrongroomNotifier",
    "StrongroomTestOperator",
    "StrongroomWriteOperator",
    "UnavailableError",
]

_LAZY = {
    "DeniedError": "edge",
    "InvalidError": "edge",
    "StrongroomBackend": "backend",
    "StrongroomCoordinator": "coordinator",
    "StrongroomExpiryOperator": "operator",
    "StrongroomHook": "hook",
    "StrongroomNotifier": "notifier",
    "StrongroomTestOperator": "operator",
    "StrongroomWriteOperator": "operator",
    "UnavailableError": "edge",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'strongroom.airflow' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- loaded by Python itself

    if name == "StrongroomBackend":
        # Airflow asks for this class while it is being imported; its module would be half made then.
        _import_airflow()
    found: object = getattr(import_module(f"strongroom.airflow.{_LAZY[name]}"), name)
    # The errors are classes of the process that asks: a server's child is none.
    if _LAZY[name] != "edge":
        globals()[name] = found
    return found


def _import_airflow() -> None:
    from contextlib import suppress  # noqa: PLC0415 -- loaded by Python itself

    with suppress(ImportError):  # a worker with the Task SDK alone
        import airflow  # noqa: F401, PLC0415 -- nothing to do where it is being imported already


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
