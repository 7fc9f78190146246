"""
One lookup of Airflow's: what is asked, how it is answered, and what becomes of trouble.

Not for how Airflow calls (`backend.py`) nor for where is asked (`source.py`). It is loaded with the first
lookup of a process, so it may import what all lookups need.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.airflow import edge
from strongroom.airflow.context import run_now
from strongroom.airflow.masks import amask, mask
from strongroom.airflow.parsing import guard
from strongroom.airflow.process import which
from strongroom.airflow.source import source_of
from strongroom.errors import BackendUnavailableError, InvalidInputError
from strongroom.model.ref import MAX_NAME_CHARACTERS, Ref

if TYPE_CHECKING:
    from strongroom.airflow.options import Options
    from strongroom.airflow.shadow import Shadow
    from strongroom.airflow.source import Source
    from strongroom.caller.frames import Run
    from strongroom.model.connection import Connection, Dialect
    from strongroom.model.ref import Kind

__all__ = ["Asking", "Question", "warn_of_no_options"]

_log = logging.getLogger("strongroom.airflow")
_warned: set[tuple[str, ...]] = set()
_MOST_WARNED = 1000  # warnings that a process remembers to have given
_read_before: set[tuple[str, str]] = set()  # as the masker holds them, too
_MOST_READ = 2000
_SAYING = (
    "STRONGROOM_SOCKET",
    "STRONGROOM_URL",
    "STRONGROOM_PROFILE",
    "STRONGROOM_AGENT",
    "STRONGROOM_CONFIG",
    "STRONGROOM_HOME",
)
"""Variables of the environment that say where to ask, where options do not."""


class Asking:
    """
    What a process asks with: options, the source they name, and the old backend in shadow mode.

    Attributes:
        known: the source, as soon as it is.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.shadow: Shadow | None = None
        self.known: Source | None = None
        if options.mode != "shadow":
            self.known = source_of(options)
        else:  # where ours may not be found, and Airflow is answered all the same
            from strongroom.airflow.shadow import Shadow  # noqa: PLC0415 -- only in shadow mode

            self.shadow = Shadow(
                options.shadow_backend, options.shadow_backend_kwargs or {}, canary=options.canary
            )

    @property
    def source(self) -> Source:
        """
        Where ours are asked.

        Raises:
            SettingsError: what the environment says of the place is wrong.
        """
        found = self.known
        if found is None:
            found = self.known = source_of(self.options)
        return found


class Question:
    """One lookup: what is asked, how it is answered, and what becomes of trouble. It holds no value."""

    def __init__(self, kind: Kind, name: str, team: str | None, dialect: Dialect) -> None:
        self._kind = kind
        self._name = name
        self._team = team
        self._dialect: Dialect = dialect
        self._asking: Asking | None = None
        self._ref: Ref | None = None
        self._is_parse = False
        self._is_asked = False
        self.trouble: BaseException | None = None

    def prepare(self, asking: Asking) -> bool:
        """
        Tell whether we are to answer, and not the old backend of shadow mode.

        Raises:
            AccessDeniedError: reads at the top level of DAG files are refused.
        """
        self._asking = asking
        claim = run_now()
        self._ref = self._named(claim)
        if asking.shadow is not None and not asking.shadow.is_canary(claim[0] if claim else None):
            return False
        self._is_parse = guard(asking.options, claim) and asking.options.at_parse != "through"
        return True

    def _named(self, claim: Run | None) -> Ref | None:
        """Give what is asked for; None, with one warning, for a name that is none of ours."""
        team = self._team
        if team is None and self._kind != "config" and self._asking is not None:
            # The Task SDK names no team: what the run says of itself, and the rules decide on it.
            team = self._asking.options.team or (claim[8] if claim else None)
        try:
            return Ref(self._kind, self._name, team)
        except InvalidInputError as error:
            why = str(error)
        if _is_first(self._kind, self._name):
            shown, better = ascii(self._name)[:300], _renamed(self._name)
            to = "" if better is None else f", as {better!r}"
            _log.warning("strongroom is not asked for the %s %s: %s; rename it%s", self._kind, shown, why, to)
        return None

    # --- our answer ----------------------------------------------------------------------------------

    def answered(self) -> str | None:
        """Give our answer, masked; None for what is nowhere."""
        source, ref = self._asked()
        return None if ref is None else self._masked(source.text(ref, is_parse=self._is_parse))

    async def aanswered(self) -> str | None:
        """Give what `answered` gives without blocking the loop."""
        source, ref = self._asked()
        return None if ref is None else await self._amasked(await source.atext(ref, is_parse=self._is_parse))

    def _asked(self) -> tuple[Source, Ref | None]:
        assert self._asking is not None  # noqa: S101 -- it was prepared
        self._is_asked = self._ref is not None
        return self._asking.source, self._ref

    def _masked(self, text: str | None) -> str | None:
        if text is not None:
            mask(self._kind, self._name, text, self._read(text))
        return text

    async def _amasked(self, text: str | None) -> str | None:
        if text is not None:
            await amask(self._kind, self._name, text, self._read(text))
        return text

    def _read(self, text: str) -> Connection | None:
        """
        Read a connection as Airflow is about to.

        Raises:
            InvalidInputError: Airflow would fail at it or misread it, by a rule of docs/compatibility.md.
        """
        if self._kind != "connection" or (self._dialect, text) in _read_before:
            return None
        from strongroom.model.connection import Connection  # noqa: PLC0415 -- with the first connection

        found = Connection.parse(text, self._dialect)
        if len(_read_before) < _MOST_READ:
            _read_before.add((self._dialect, text))
        return found

    # --- shadow mode ---------------------------------------------------------------------------------

    def shadowed(self) -> str | None:
        """Give the old backend's answer and have ours compared with it. Raises what that backend raises."""
        shadow = self._shadow
        return shadow.text(self._kind, self._name, self._team, self._ours) if shadow else None

    async def ashadowed(self) -> str | None:
        """Give what `shadowed` gives without blocking the loop."""
        shadow = self._shadow
        return await shadow.atext(self._kind, self._name, self._team, self._ours) if shadow else None

    @property
    def _shadow(self) -> Shadow | None:
        return None if self._asking is None else self._asking.shadow

    def _ours(self) -> str | None:
        if self._asking is None or self._ref is None:
            return None
        text = self._asking.source.text(self._ref, is_parse=self._is_parse)
        if self._kind == "connection" and text is not None:
            from strongroom.model.connection import Connection  # noqa: PLC0415 -- as in `_read`

            Connection.parse(text, self._dialect)  # what we would not hand out is no answer of ours
        return text

    # --- trouble -------------------------------------------------------------------------------------

    def failed(self) -> str | None:
        """
        Say why in the log and have Airflow stop here; give None where it is to ask its next backend.

        Raises:
            BaseException: what `edge_error` makes of it.
        """
        if self._is_explained():
            self._tell(self._explained())
        return self._stop()

    async def afailed(self) -> str | None:
        """Do what `failed` does without blocking the loop."""
        if self._is_explained():
            from asyncio import to_thread  # noqa: PLC0415 -- who awaits has it loaded

            with suppress(Exception):  # a process that may start no thread is told what failed all the same
                self._tell(await to_thread(self._explained))
        return self._stop()

    def _is_explained(self) -> bool:
        """Tell whether somebody can be asked why: not where it is the place that gives no answer."""
        trouble = self.trouble
        if isinstance(trouble, BackendUnavailableError) and trouble.backend in ("agent", "server"):
            return False
        # Once a name and trouble: a loop that goes on asking fills no log.
        return self._is_asked and _is_first("explain", self._kind, self._name, type(trouble).__name__)

    def _explained(self) -> str | None:
        try:
            return self._asking.source.explain(self._ref) if self._asking and self._ref else None
        except Exception:  # noqa: BLE001 -- what failed is told all the same
            return None

    def _tell(self, line: str | None) -> None:
        if line is not None:
            _log.info("strongroom explain %s: %s", self._shown, line)

    @property
    def _shown(self) -> str:
        return f'{self._kind} "{self._name}"' if self._ref is None else str(self._ref)

    def _stop(self) -> str | None:
        trouble = self.trouble or RuntimeError()
        source = None if self._asking is None else self._asking.known
        place = "settings" if source is None else source.place
        asks_next = self._asking is not None and self._asking.options.on_unavailable == "next"
        if asks_next and edge.outcome_of(trouble) == edge.UNAVAILABLE:
            if _is_first("next", self._kind, self._name):
                line = edge.text_of(trouble, self._shown, place)
                _log.warning('%s; Airflow asks its next backend (on_unavailable = "next")', line)
            return None
        worded = str if source is None else source.worded
        raise edge.edge_error(trouble, which(), asked=self._shown, place=place, worded=worded)


def _renamed(name: str) -> str | None:
    """Give a name near to *name* that is not refused, if there is one."""
    printable = (one if one.isprintable() and one != "\\" else "_" for one in str(name))
    segments = [one for one in "".join(printable).split("/") if one not in ("", ".", "..")]
    try:
        better = Ref("variable", "/".join(segments)[:MAX_NAME_CHARACTERS]).name
    except InvalidInputError:
        return None
    return None if better == name else better


def warn_of_no_options(source: Source) -> None:
    """Warn where neither options nor environment say where to ask: Airflow drops options it cannot parse."""
    if not any(os.environ.get(name) for name in _SAYING) and _is_first("no options"):
        place = source.place
        _log.warning(
            "strongroom has no options (backend_kwargs is empty or no JSON object); it asks: %s", place
        )


def _is_first(*what: str) -> bool:
    """Tell whether *what* is said for the first time in this process, and may still be said."""
    if what in _warned or len(_warned) >= _MOST_WARNED:
        return False
    _warned.add(what)
    return True
