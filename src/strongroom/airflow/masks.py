"""
Have Airflow hide in its logs, rendered fields and tracebacks what it was given.

Airflow has a masker of its own for that, one or two a process, and in 3 another one in the supervisor, which
writes the log of a task. Each value is registered with them once per process, in every encoding of
`model/encoding.py`. Values shorter than `[logging] min_length_masked_secret` (5; 2.11 has no such option, and
gets the same bound), trivial words and the word `airflow` are not, as in docs/masking.md.

Airflow's masker compiles one expression of all patterns anew for each pattern it is given, and tries each at
each character, so that 2,000 secrets take it minutes. Where its insides are as was tested (`_Quick.fits`
looks), each masker is made quick: new patterns are put into a table by their first characters, and the table
stands where the compiled expression stood. Everything registered stays in the masker's own set as well, so
what Airflow compiles by itself holds it all. Elsewhere the masker is called as anybody would call it, with
the commonest encodings only.

At the top nothing is imported that Airflow has not loaded, for `[logging] secret_mask_adapter` may name this.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from copy import copy
from importlib import import_module

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
_MINIMUM = 5  # characters, where Airflow does not say: its own default
_HEAD = 5  # characters by which the table is kept
_DEPTH = 64  # of containers in a log line; Airflow reads texts to 5, where the errors of a group begin
_ERRORS = "surrogatepass"
_OF_EXCEPTIONS = "_redact_exception_with_context_or_cause"  # the masker's method


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
    return _encodings([secret], _MINIMUM)


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
        minimum = max((one.minimum for one in quick), default=_MINIMUM)
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
    return [form for form in dict.fromkeys(found) if len(form) >= _MINIMUM]


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


def quicken() -> tuple[list[_Quick], list[Any]]:
    """Give the maskers of this process: made quick, and those that cannot be."""
    quick: list[_Quick] = []
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


_quick: list[_Quick] = []


def _quick_one(masker: Any, module: Any) -> _Quick | None:  # noqa: ANN401 -- Airflow's, of either version
    one = getattr(vars(masker).get("add_mask"), "__self__", None)
    if isinstance(one, _Quick) and one.masker is masker:
        return one
    if id(masker) in _unfit or not _Quick.fits(masker, module):
        _unfit.add(id(masker))
        return None
    one = _Quick(masker, module)
    masker.add_mask = one.add
    setattr(masker, _OF_EXCEPTIONS, one.redact_exception)
    if module.__name__ in _MODULES:  # 2.11 ends its walk through a list that holds itself by the depth alone
        masker.MAX_RECURSION_DEPTH = _DEPTH
    return one


_unfit: set[int] = set()


def _modules() -> list[Any]:
    """Give the modules of the maskers that work in this process."""
    if major() == 2:  # noqa: PLR2004 -- the major version
        return [import_module(_MODULE_2)]
    return [sys.modules[name] for name in _MODULES if name in sys.modules] or [import_module(_MODULES[0])]


class _Quick:
    """
    The quick insides of one masker of Airflow's: stands in for its `add_mask` and its `replacer`.

    Threads: as Airflow's own; what is added while a text is searched may be missed in that text.
    """

    __slots__ = (
        "_compiled", "_escape", "_groups", "_heads", "_odd", "_odd_expression", "_patterns", "_texts",
        "masker", "process",
    )  # fmt: skip

    _compiled: int
    _odd_expression: re.Pattern[str] | None

    def __init__(self, masker: Any, module: Any) -> None:  # noqa: ANN401 -- as above
        self.masker = masker
        self.process = os.getpid()  # which made it quick; in a child, its parent
        # 2.11 compiles with re2, which escapes otherwise.
        self._escape: Any = getattr(module, "re2", re).escape
        self._groups: set[int] = set()  # of exceptions that are being masked
        self._begin()

    @staticmethod
    def fits(masker: Any, module: Any) -> bool:  # noqa: ANN401 -- as above
        """Tell whether *masker* works inside as was tested: a copy of it is tried out."""
        probe, text = "strongroom'probe", "a strongroom'probe here"
        try:
            tried = _emptied(masker)
            type(masker).add_mask(tried, probe)
            if type(tried.patterns) is not set or not tried.patterns or tried.replacer is None:
                return False
            if getattr(type(masker), _OF_EXCEPTIONS)(tried, ValueError(probe)).args != ("***",):
                return False
            tried.replacer = _Quick(tried, module)
            return bool(
                tried.redact(text) == "a *** here" and tried.redact([{"k": text}]) == [{"k": "a *** here"}]
            )
        except Exception:  # noqa: BLE001 -- another Airflow's insides
            return False

    @property
    def minimum(self) -> int:
        """Give how many characters a value must have to be hidden by this masker."""
        told = getattr(self.masker, "min_length_to_mask", _MINIMUM)
        return told if isinstance(told, int) and told > 0 else _MINIMUM

    def was_reset(self) -> bool:
        """Tell whether Airflow has made its masker forget everything."""
        return self._patterns is not self.masker.patterns

    def add(self, secret: Any, name: str | None = None) -> None:  # noqa: ANN401 -- as Airflow's add_mask
        """Do as the masker's own `add_mask`, without compiling everything anew."""
        if (
            name is None
            and type(secret) is list
            and self._is_plain
            and all(type(one) is str for one in secret)
        ):
            # As `mask` of a child sends them: every encoding, and none that is trivial.
            self.take([one for one in secret if len(one) >= self.minimum and one.lower() != "airflow"])
            return
        apart = _emptied(self.masker)
        type(self.masker).add_mask(apart, secret, name)
        self._take(apart.patterns)

    @property
    def _is_plain(self) -> bool:
        """Tell whether no other adapter of the operator's would have its say."""
        told = getattr(self.masker, "secret_mask_adapter", None) or getattr(
            self.masker, "_mask_adapter", None
        )
        return told is None or told is secret_mask_adapter

    def redact_exception(self, error: BaseException, visited: set[int] | None = None) -> BaseException:
        """Do as the masker's own method of that kind, and mask notes and the errors of a group as well."""
        masker: Any = self.masker
        redacted: BaseException = getattr(type(masker), _OF_EXCEPTIONS)(masker, error, visited)
        notes = getattr(redacted, "__notes__", None)
        if isinstance(notes, list):
            notes[:] = [masker.redact(note) for note in notes]
        within = getattr(redacted, "exceptions", None)
        # The context of an error in a group may be the group.
        if isinstance(within, tuple) and id(redacted) not in self._groups:
            self._groups.add(id(redacted))
            try:
                for one in within:
                    if isinstance(one, BaseException):
                        self.redact_exception(one)
            finally:
                self._groups.discard(id(redacted))
        return redacted

    def take(self, texts: Iterable[str]) -> None:
        """Hide *texts* as they are."""
        if self.was_reset():
            self._begin()
        for text in texts:
            pattern = self._escape(text)
            if pattern not in self._patterns:
                self._patterns.add(pattern)
                self._keep(text, pattern)
        self._stand_in()

    def _take(self, patterns: set[str]) -> None:
        """Hide what Airflow has made into *patterns*."""
        if self.was_reset():
            self._begin()
        for pattern in patterns - self._patterns:
            self._patterns.add(pattern)
            self._read(pattern)
        self._stand_in()

    def _stand_in(self) -> None:
        self._compile()
        if self._patterns:
            self.masker.replacer = self

    def _compile(self) -> None:
        if len(self._odd) > self._compiled:
            self._odd_expression = re.compile("|".join(sorted(self._odd, key=len, reverse=True)))
            self._compiled = len(self._odd)

    def _begin(self) -> None:
        self._patterns: set[str] = self.masker.patterns
        self._texts: set[str] = set()  # what is hidden
        self._heads: dict[str, tuple[int, ...]] = {}  # by its first characters: how long it is, longest first
        self._odd: set[str] = set()  # patterns that are too short for that, or that we cannot read back
        self._odd_expression = None
        self._compiled = 0
        for pattern in self._patterns:
            self._read(pattern)
        self._compile()

    def _read(self, pattern: str) -> None:
        text = _ESCAPED.sub(r"\1", pattern)
        self._keep(text if self._escape(text) == pattern else "", pattern)

    def _keep(self, text: str, pattern: str) -> None:
        if len(text) < _HEAD:
            self._odd.add(pattern)
            return
        self._texts.add(text)
        head = text[:_HEAD]
        lengths = self._heads.get(head, ())
        if len(text) not in lengths:  # a new one, as another thread may be reading it
            self._heads[head] = tuple(sorted((*lengths, len(text)), reverse=True))

    def sub(self, replacement: str, text: str) -> str:
        """Give *text* with each stretch that something hidden covers replaced by one *replacement*."""
        spans = self._spans(text)
        if not spans:
            return text
        spans.sort()
        out: list[str] = []
        position = -1
        for start, end in spans:
            if start > position:
                out += (text[max(position, 0) : start], replacement)
            position = max(position, end)
        out.append(text[position:])
        return "".join(out)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        heads = self._heads
        spans: list[tuple[int, int]] = []
        for start in [at for at in range(len(text) - _HEAD + 1) if text[at : at + _HEAD] in heads]:
            for length in heads[text[start : start + _HEAD]]:
                if text[start : start + length] in self._texts:
                    spans.append((start, start + length))
                    break  # the longest at this place covers the others
        if self._odd_expression is not None:
            spans += [found.span() for found in self._odd_expression.finditer(text)]
        return spans


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _emptied(masker: Any) -> Any:  # noqa: ANN401 -- as above
    apart = copy(masker)
    for replaced in ("add_mask", _OF_EXCEPTIONS):
        vars(apart).pop(replaced, None)
    apart.patterns = set()
    apart.replacer = None
    return apart


# --- the supervisor's masker -------------------------------------------------------------------------


def _is_parent_quick(quick: list[_Quick]) -> bool:
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
