"""
Have Airflow hide in its logs, rendered fields and tracebacks what it was given.

Airflow has a masker of its own for that, one or two a process, and in 3 another one in the supervisor, which
writes the log of a task. Each value is registered with them once per process, in every encoding of
`model/encoding.py`. Values shorter than `[logging] min_length_masked_secret` (5; 2.11 has no such option, and
gets the same bound), trivial words and the word `airflow` are not, as in docs/masking.md.

Each masker is made quick (`masker.py`) where its insides are as was tested. Elsewhere it is called as anybody
would call it, with the commonest encodings only.

At the top nothing is imported that Airflow has not loaded, for `[logging] secret_mask_adapter` may name this.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

from strongroom.airflow.masker import MINIMUM, Quick
from strongroom.airflow.process import major

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from strongroom.model.connection import Connection

__all__ = ["amask", "mask", "quicken", "quicken_before_forks", "secret_mask_adapter"]

_log = logging.getLogger("strongroom.airflow")

_MODULES = (
    "airflow.sdk._shared.secrets_masker",
    "airflow._shared.secrets_masker",
)  # of 3: the tasks', the servers'
_MODULE_2 = "airflow.utils.log.secrets_masker"
_RUNNER = "airflow.sdk.execution_time.task_runner"
_SUPERVISOR = "airflow.sdk.execution_time.supervisor"
_ERRORS = "surrogatepass"


def mask(kind: str, name: str, text: str, connection: Connection | None = None) -> None:
    """
    Have the maskers of this process, and its supervisor's, hide *text* and the secrets within it.

    The second time in a process it costs next to nothing. It never raises: trouble is one warning.

    Args:
        kind: what is handed out: "connection", "variable" or "config".
        name: of the entry, for the warning; what is hidden does not depend on it.
        text: as it is handed out.
        connection: what *text* was read as, where it is one; saves reading it anew.
    """
    told = _registered(kind, name, text, connection)
    if told:
        _tell(told)


async def amask(kind: str, name: str, text: str, connection: Connection | None = None) -> None:
    """As `mask`, from a coroutine: the supervisor is told without holding up the loop."""
    told = _registered(kind, name, text, connection)
    if told:
        await _atell(told)


def secret_mask_adapter(secret: str) -> list[str]:
    """
    Give every encoding in which *secret* is hidden: for `[logging] secret_mask_adapter`.

    It is for secrets that reach Airflow's masker by other ways than this backend.
    """
    return _encodings([secret], MINIMUM)


def quicken_before_forks() -> None:
    """
    Make the masker quick of every process of Airflow 3 that forks one which may tell it what to hide.

    It is the parent that pays for what a child registers. Costs nothing until a fork.
    """
    global _is_watching_forks  # noqa: PLW0603 -- once a process, and its children inherit it
    if not _is_watching_forks:
        _is_watching_forks = True
        os.register_at_fork(before=_before_fork)


_is_watching_forks = False


def _before_fork() -> None:
    if _SUPERVISOR in sys.modules:
        quicken()


# --- what is hidden ----------------------------------------------------------------------------------


def _registered(kind: str, name: str, text: str, connection: Connection | None) -> list[str]:
    """Register with the maskers here; give what the supervisor has to be told, nothing when it was."""
    known = _known()
    if text in known:
        return []
    try:
        values = _values(kind, text, connection)
        quick, slow = quicken()
        minimum = max((one.minimum for one in quick), default=MINIMUM)
        found = _encodings(values, minimum)
        for one in quick:
            one.take(found)
        has_supervisor = _comms() is not None
        if slow or (has_supervisor and not _is_parent_quick(quick)):
            found = _common(values)
        for masker in slow:
            masker.add_mask(found)
    except Exception as error:  # noqa: BLE001 -- Airflow's insides; a value is handed out all the same
        _warn(f'{kind} "{name}"', type(error).__name__)
        return []
    known.add(text)
    return found if has_supervisor else []


def _values(kind: str, text: str, connection: Connection | None) -> list[str]:
    """Give the plaintexts worth hiding, each once."""
    from strongroom.model import encoding  # noqa: PLC0415 -- with the first secret

    # Of a connection tasks get the parts, never the text.
    is_whole = kind != "connection"
    found = [text, *encoding.texts_of_json(text)] if is_whole else _secrets_of(text, connection)
    stripped = dict.fromkeys(value.strip() for value in found)
    return [value for value in stripped if encoding.is_maskable(value, 1)]


def _secrets_of(text: str, connection: Connection | None) -> list[str]:
    from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- as above

    if connection is None:
        from strongroom.model.connection import Connection  # noqa: PLC0415 -- as above

        try:
            connection = Connection.parse(text, "sdk")
        except InvalidInputError:
            return [text]
    return list(connection.secrets())


def _encodings(values: Iterable[str], minimum: int) -> list[str]:
    from strongroom.model.encoding import patterns_of  # noqa: PLC0415 -- as above

    wanted = [value for value in values if len(value) >= minimum]
    return [found.decode("utf-8", _ERRORS) for found in patterns_of(wanted, minimum)]


def _common(values: Iterable[str]) -> list[str]:
    from strongroom.model.encoding import common_forms  # noqa: PLC0415 -- as above

    found = (form for value in values for form in common_forms(value))
    return [form for form in dict.fromkeys(found) if len(form) >= MINIMUM]


class _Known:
    """What this process has registered; a child begins anew, as its supervisor may know nothing."""

    __slots__ = ("process", "texts")

    def __init__(self) -> None:
        self.process = os.getpid()
        self.texts: set[str] = set()


_held = _Known()


def _known() -> set[str]:
    global _held  # noqa: PLW0603 -- one a process
    if _held.process != os.getpid():
        _held = _Known()
    elif any(one.was_reset() for one in _quick):
        _held.texts.clear()
    return _held.texts


_warned: set[str] = set()


def _warn(what: str, why: str) -> None:
    if why not in _warned:
        _warned.add(why)
        _log.warning("%s is not hidden in Airflow's logs, nor may be what follows: %s", what, why)


# --- Airflow's maskers -------------------------------------------------------------------------------


def quicken() -> tuple[list[Quick], list[Any]]:
    """Give the maskers of this process: made quick, and those that cannot be."""
    quick: list[Quick] = []
    slow: list[Any] = []
    for module in _modules():
        masker = module._secrets_masker()  # noqa: SLF001 -- Airflow offers no other way to it
        one = _quick_one(masker, module)
        if one is None:
            slow.append(masker)
        else:
            quick.append(one)
    _quick[:] = quick
    return quick, slow


_quick: list[Quick] = []


def _quick_one(masker: Any, module: Any) -> Quick | None:  # noqa: ANN401 -- Airflow's, of either version
    one = getattr(vars(masker).get("add_mask"), "__self__", None)
    if isinstance(one, Quick) and one.masker is masker:
        return one
    if id(masker) in _unfit or not Quick.fits(masker, module):
        _unfit.add(id(masker))
        return None
    one = Quick(masker, module)
    # 2.11 ends its walk through a list that holds itself by the depth alone.
    one.stand_in(is_deep=module.__name__ in _MODULES)
    return one


_unfit: set[int] = set()


def _modules() -> list[Any]:
    """Give the modules of the maskers that work in this process."""
    if major() == 2:  # noqa: PLR2004 -- the major version
        return [import_module(_MODULE_2)]
    return [sys.modules[name] for name in _MODULES if name in sys.modules] or [import_module(_MODULES[0])]


# --- the supervisor's masker -------------------------------------------------------------------------


def _is_parent_quick(quick: list[Quick]) -> bool:
    """Tell whether what forked this process had made its masker quick: it is inherited so."""
    process = os.getpid()
    return any(one.process != process for one in quick)


def _comms() -> Any:  # noqa: ANN401 -- Airflow's
    """Give the channel to the supervisor, None where there is none or it is in this process."""
    comms = getattr(sys.modules.get(_RUNNER), "SUPERVISOR_COMMS", None)
    return None if type(comms).__name__ == "InProcessSupervisorComms" else comms


def _message(forms: list[str]) -> Any:  # noqa: ANN401 -- Airflow's
    from airflow.sdk.execution_time.comms import MaskSecret  # noqa: PLC0415 -- loaded where there is a channel

    return MaskSecret.model_construct(value=forms)  # texts of ours: the receiver checks them again


def _tell(forms: list[str]) -> None:
    try:
        _comms().send(_message(forms))
    except Exception as error:  # noqa: BLE001 -- the loop we are on holds the channel
        if not _is_told_later(forms):
            _warn("a value", f"the supervisor cannot be told ({type(error).__name__})")


def _is_told_later(forms: list[str]) -> bool:
    import asyncio  # noqa: PLC0415 -- loaded where there is a loop

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    task = loop.create_task(_atell(forms))
    _telling.add(task)
    task.add_done_callback(_telling.discard)
    return True


_telling: set[Any] = set()  # the loop itself keeps no task alive


async def _atell(forms: list[str]) -> None:
    try:
        await _comms().asend(_message(forms))
    except Exception as error:  # noqa: BLE001 -- Airflow's channel; a value is handed out all the same
        _warn("a value", f"the supervisor cannot be told ({type(error).__name__})")
