"""
Stand in the supervisor of Airflow 3.3 while it runs a task: announce the run, have it verified, and mask the
copy of its log.

    [sdk]
    coordinators = {"strongroom": {"classpath": "strongroom.airflow.StrongroomCoordinator"}}
    queue_to_coordinator = {"default": "strongroom"}

Airflow hands each task of a queue named there to this class, in the supervisor, before the task's process
exists, and the class hands it on to what Airflow runs tasks with otherwise.

Rules of this file:

1. A task runs, whatever fails here. Whether one that is not announced may read is the agent's to decide
   (`agent.announced`), which refuses its reads.
2. Nothing of Airflow's is touched on a Task SDK that this was not tested with.
3. The token with which the supervisor speaks to Airflow goes to the agent, over its socket, and nowhere else:
   by it the run is verified. It is not looked at, kept or logged here, and the task is given nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

try:
    from airflow.sdk.execution_time.coordinator import BaseCoordinator
except ImportError:
    raise ImportError("StrongroomCoordinator needs Airflow 3.3 or later") from None

from strongroom.airflow import masks
from strongroom.airflow.backend import StrongroomBackend
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.caller.agent import AgentClient
    from strongroom.caller.frames import Run

__all__ = ["StrongroomCoordinator"]

_log = logging.getLogger("strongroom.airflow")

_TESTED = ("1.3.",)  # Task SDK; that of Airflow 3.3
_PATIENCE_SECONDS = 1.0  # that an agent may be away: the task waits meanwhile
_ANSWER_SECONDS = 15.0  # longer than an agent takes to say that it has no answer yet
_VERIFIED = 2  # the level of a verified run
_MAX_CHARACTERS = 250  # of one text of a claim: what the agent takes
_NO_WORD = "the agent is older than this, and knows nothing of it"
_warned: set[str] = set()


class StrongroomCoordinator(BaseCoordinator):
    """
    Run tasks as Airflow does, announced to the agent and with the copy of their log masked.

    Args:
        socket: of the agent; unsaid, the one that the secrets backend of this process asks, if any.
        verify: False announces runs and has none verified: no token leaves this process.
        kwargs: none other is known; one that is given is warned of, and the task runs.
    """

    def __init__(self, socket: str | None = None, verify: bool = True, **kwargs: Any) -> None:  # noqa: ANN401, FBT001, FBT002 -- as configured
        self._socket = socket
        self._verifies = verify
        self._client: tuple[int, AgentClient | None] | None = None
        if kwargs:
            _warn_once(
                f"[sdk] coordinators: {', '.join(sorted(kwargs))} is no keyword of StrongroomCoordinator"
            )

    def execute_task(self, *, what: Any, **rest: Any) -> Any:  # noqa: ANN401 -- Airflow's own types
        """Run the task *what*, and give what Airflow's own coordinator gives."""
        if not _is_tested():
            return _plain().execute_task(what=what, **rest)
        _mask_copy()
        is_announced = self._announce(what, rest.get("bundle_info"), rest.get("client"))
        try:
            return _plain().execute_task(what=what, **rest)
        finally:
            if is_announced:
                self._announce(None)

    def _announce(self, what: Any, bundle: Any = None, api: Any = None) -> bool:  # noqa: ANN401 -- as above
        """Tell the agent for which run this process's children ask; tell whether it was told."""
        try:
            client = self._agent()
            if client is None:
                return False
            if what is None:
                client.announce(None)
                return True
            token = _token_of(api) if self._verifies else None
            level, why = client.announce(_run_of(what, bundle), token)
            if token is not None and level < _VERIFIED:
                _log.warning("the run is announced and not verified: %s", why or _NO_WORD)
        except StrongroomError as error:
            _log.warning("the run is not announced to the agent: %s", error)
        except Exception as error:  # noqa: BLE001 -- rule 1
            _log.warning("the run is not announced to the agent: %s", type(error).__name__)
        else:
            return True
        return False

    def _agent(self) -> AgentClient | None:
        """Give the client of this process, None where no agent is asked."""
        process = os.getpid()
        if self._client is None or self._client[0] != process:
            self._client = (process, self._made())
        return self._client[1]

    def _made(self) -> AgentClient | None:
        from strongroom import __version__  # noqa: PLC0415 -- with the first task
        from strongroom.caller.agent import AgentClient  # noqa: PLC0415 -- as above

        path = self._socket or _backends_socket()
        if path is None:
            return None
        return AgentClient(path, version=__version__, patience=_PATIENCE_SECONDS, timeout=_ANSWER_SECONDS)


def _backends_socket() -> str | None:
    """Give the agent's socket that our backend asks in this process, None without one."""
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded  # noqa: PLC0415 -- the supervisor

    for backend in ensure_secrets_backend_loaded():
        if isinstance(backend, StrongroomBackend):
            client = backend.source().client
            return None if client is None else client.path
    _warn_once("no run is announced: neither the coordinator's socket nor our secrets backend is configured")
    return None


def _run_of(what: Any, bundle: Any) -> Run:  # noqa: ANN401 -- Airflow's own types
    return (
        _text(what, "dag_id"),
        _text(what, "task_id"),
        _text(what, "run_id"),
        _number(what, "map_index"),
        _number(what, "try_number"),
        _text(bundle, "name"),
        _text(what, "id"),
        _text(bundle, "version"),
        None,  # the team, which a supervisor is not told
        "task",
    )


def _token_of(api: Any) -> str | None:  # noqa: ANN401 -- as above
    """Give the token with which the supervisor speaks to Airflow; None where it has none."""
    found = getattr(getattr(api, "auth", None), "token", None)
    return found if isinstance(found, str) and found else None


def _text(of: object, name: str) -> str | None:
    found = getattr(of, name, None)
    return None if found is None else str(found)[:_MAX_CHARACTERS] or None


def _number(of: object, name: str) -> int | None:
    found = getattr(of, name, None)
    return found if type(found) is int and -1 <= found < 2**31 else None


# --- Airflow's own -----------------------------------------------------------------------------------


def _plain() -> Any:  # noqa: ANN401 -- as above
    """Give what Airflow runs tasks with where nothing is configured."""
    from airflow.sdk.execution_time import coordinator  # noqa: PLC0415 -- loaded at the top

    return coordinator._build_python_coordinator()  # noqa: SLF001 -- Airflow offers no other way to it


def _is_tested() -> bool:
    version = str(getattr(sys.modules.get("airflow.sdk"), "__version__", ""))
    if version.startswith(_TESTED):
        return True
    _warn_once(
        f"StrongroomCoordinator was not tested with Task SDK {version}: tasks run as without it, their runs"
        " are not announced and the copy of their log on standard output is not masked; upgrade strongroom"
    )
    return False


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        _log.warning("%s", text)


# --- masking -----------------------------------------------------------------------------------------


def _mask_copy() -> None:
    """Have masked what this process writes to its standard output, the copy of its tasks' log included."""
    try:
        masks.quicken()
        import structlog  # noqa: PLC0415 -- loaded in a supervisor
        from airflow.sdk.log import mask_logs  # noqa: PLC0415 -- likewise

        # In place: a logger that has written before keeps the list it found then.
        processors = structlog.get_config()["processors"]
        if mask_logs not in processors:
            processors.insert(len(processors) - 1, mask_logs)  # the last one makes text of the line
    except Exception as error:  # noqa: BLE001 -- rule 1
        _warn_once(f"the copy of a task's log on standard output is not masked: {type(error).__name__}")
