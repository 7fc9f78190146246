"""
The secrets backend of Airflow: the one class that `[secrets] backend` names.

Airflow makes instances of it while it is imported, in every process, in supervisors before they fork, and
for each secret option of its configuration that is read. So making one does nothing.

Rules of this file:

1. An answer is text or None. Everything else leaves as an exception at which Airflow stops (`edge.py`): a
   store that is down never looks like an entry that is not there.
2. A name that Airflow allows and we refuse is absent, with one warning.
3. The loop of a triggerer never waits and is never locked: what is asynchronous awaits, and what is not
   does so too where Airflow offers a way (greenback).
4. What is handed out is masked first.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

try:
    from airflow.secrets.base_secrets import BaseSecretsBackend
except ImportError:  # a worker with the Task SDK alone
    from airflow.sdk.bases.secrets_backend import BaseSecretsBackend

import strongroom
from strongroom.airflow.conflict import is_write_check, warn
from strongroom.airflow.masks import quicken_before_forks
from strongroom.airflow.process import has_portal, major, which

if TYPE_CHECKING:
    from strongroom.airflow.options import Options
    from strongroom.airflow.shadow import Shadow
    from strongroom.airflow.source import Source
    from strongroom.client.frames import Run
    from strongroom.model.connection import Connection, Dialect
    from strongroom.model.ref import Kind, Ref

__all__ = ["StrongroomBackend"]

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


class StrongroomBackend(BaseSecretsBackend):
    """
    Answer Airflow's connections, variables and options from Strongroom.

    Args:
        kwargs: see docs/airflow.md; none at all means what the command line would find. They are read at
            the first lookup, so that a wrong one breaks that and not Airflow.

    Threads: may be used from several threads and loops at once, and after a fork.
    """

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 -- as Airflow hands them over
        self._kwargs = kwargs
        self._asking: tuple[int, _Asking] | None = None
        # 2.11 reads a URI as the Task SDK of 3 does.
        self._dialect: Dialect = "sdk" if major() == 2 else "core"  # noqa: PLR2004 -- the major version
        _note(self, self._dialect)
        quicken_before_forks()

    def _set_connection_class(self, conn_class: type) -> None:
        super()._set_connection_class(conn_class)
        self._dialect = "sdk" if conn_class.__module__.startswith("airflow.sdk") else "core"
        _note(self, self._dialect)

    def __repr__(self) -> str:
        return f"StrongroomBackend({', '.join(self._kwargs)})"

    # --- what Airflow calls --------------------------------------------------------------------------

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """Give the stored text of a connection, URI or JSON, or None."""
        return self._text("connection", conn_id, team_name)

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        """Give the text of a variable, or None; None without a look where Airflow is about to write it."""
        if is_write_check():
            return self._warned(key, team_name)
        return self._text("variable", key, team_name)

    def get_config(self, key: str) -> str | None:
        """Give the text of an option of Airflow's own (`…_secret`), or None."""
        return self._text("config", key, None)

    async def aget_connection(self, conn_id: str) -> Any:  # noqa: ANN401 -- Airflow's Connection
        """Give a connection as Airflow's own object without blocking the loop, or None."""
        text = await self._atext("connection", conn_id, None)
        if text is None:
            # Airflow would look there next, in one thread for all triggers, where slow ones queue.
            text = _in_environment(conn_id, self.options().team)
        return self.deserialize_connection(conn_id, text) if text else None

    def _warned(self, key: str, team: str | None) -> str | None:
        try:
            asking = self._now()
        except Exception:  # noqa: BLE001 -- the next lookup says what is wrong with the settings
            return None
        if asking.shadow is not None:
            return self._text("variable", key, team)
        warn(asking.source, key, team or asking.options.team)
        return None

    # --- one lookup ----------------------------------------------------------------------------------

    def _text(self, kind: Kind, name: str, team: str | None) -> str | None:
        if has_portal():
            import greenback  # noqa: PLC0415 -- loaded by Airflow, which offers the portal

            found: str | None = greenback.await_(self._atext(kind, name, team))
            return found
        question = _Question(kind, name, team, self._dialect)
        try:
            is_ours = question.prepare(self._now())
            if is_ours:
                return question.answered()
        except Exception as error:  # noqa: BLE001 -- Airflow takes any exception for "not here"
            question.trouble = error.with_traceback(None)  # whose frames hold what was read
        return question.shadowed() if question.trouble is None else question.failed()

    async def _atext(self, kind: Kind, name: str, team: str | None) -> str | None:
        question = _Question(kind, name, team, self._dialect)
        try:
            is_ours = question.prepare(self._now())
            if is_ours:
                return await question.aanswered()
        except Exception as error:  # noqa: BLE001 -- as above
            question.trouble = error.with_traceback(None)
        return await (question.ashadowed() if question.trouble is None else question.afailed())

    def _now(self) -> _Asking:
        """Give what this process asks with, made at its first lookup."""
        held = self._asking
        process = os.getpid()
        if held is None or held[0] != process:
            held = self._asking = (process, _Asking(self.options()))
            if not self._kwargs:
                _warn_of_no_options(held[1].source)
        return held[1]

    def options(self) -> Options:
        """
        Give the keywords, read.

        Raises:
            SettingsError: one is wrong.
        """
        from strongroom.airflow.options import options_of  # noqa: PLC0415 -- with the first lookup

        return options_of(self._kwargs)

    def source(self) -> Source:
        """
        Give where this process asks.

        Raises:
            SettingsError: a keyword, or what the environment says of the place, is wrong.
        """
        return self._now().source


class _Asking:
    """What a process asks with: options, the source they name, and the old backend in shadow mode."""

    def __init__(self, options: Options) -> None:
        from strongroom.airflow.source import source_of  # noqa: PLC0415 -- with the first lookup

        self.options = options
        self.source: Source = source_of(options)
        self.shadow: Shadow | None = None
        if options.mode == "shadow":
            from strongroom.airflow.shadow import Shadow  # noqa: PLC0415 -- only in shadow mode

            self.shadow = Shadow(
                options.shadow_backend, options.shadow_backend_kwargs or {}, canary=options.canary
            )


class _Question:
    """One lookup: what is asked, how it is answered, and what becomes of trouble. It holds no value."""

    def __init__(self, kind: Kind, name: str, team: str | None, dialect: Dialect) -> None:
        self._kind = kind
        self._name = name
        self._team = team
        self._dialect: Dialect = dialect
        self._asking: _Asking | None = None
        self._ref: Ref | None = None
        self._is_parse = False
        self._is_asked = False
        self.trouble: BaseException | None = None

    def prepare(self, asking: _Asking) -> bool:
        """
        Tell whether we are to answer, and not the old backend of shadow mode.

        Raises:
            AccessDeniedError: reads at the top level of DAG files are refused.
        """
        from strongroom.airflow.context import run_now  # noqa: PLC0415 -- with the first lookup
        from strongroom.airflow.parsing import guard  # noqa: PLC0415 -- as above

        self._asking = asking
        claim = run_now()
        self._ref = self._named(claim)
        if asking.shadow is not None and not asking.shadow.is_canary(claim[0] if claim else None):
            return False
        self._is_parse = guard(asking.options, claim) and asking.options.at_parse != "through"
        return True

    def _named(self, claim: Run | None) -> Ref | None:
        """Give what is asked for; None, with one warning, for a name that is none of ours."""
        from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- with the first lookup
        from strongroom.model.ref import Ref  # noqa: PLC0415 -- as above

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
            from strongroom.airflow.masks import mask  # noqa: PLC0415 -- with the first answer

            mask(self._kind, self._name, text, self._read(text))
        return text

    async def _amasked(self, text: str | None) -> str | None:
        if text is not None:
            from strongroom.airflow.masks import amask  # noqa: PLC0415 -- with the first answer

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
        return self._asking.source.text(self._ref, is_parse=self._is_parse)

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

            self._tell(await to_thread(self._explained))
        return self._stop()

    def _is_explained(self) -> bool:
        """Tell whether somebody can be asked why: not where it is the place that gives no answer."""
        from strongroom.errors import BackendUnavailableError  # noqa: PLC0415 -- loaded

        if not self._is_asked or not _is_first(
            "explain", self._kind, self._name, type(self.trouble).__name__
        ):
            return False
        trouble = self.trouble
        return not (isinstance(trouble, BackendUnavailableError) and trouble.backend in ("agent", "server"))

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
        from strongroom.airflow import edge  # noqa: PLC0415 -- failures are seldom

        trouble = self.trouble or RuntimeError()
        place = "settings" if self._asking is None else self._asking.source.place
        asks_next = self._asking is not None and self._asking.options.on_unavailable == "next"
        if asks_next and edge.outcome_of(trouble) == edge.UNAVAILABLE:
            if _is_first("next", self._kind, self._name):
                line = edge.text_of(trouble, self._shown, place)
                _log.warning('%s; Airflow asks its next backend (on_unavailable = "next")', line)
            return None
        worded = str if self._asking is None else self._asking.source.worded
        raise edge.edge_error(trouble, which(), asked=self._shown, place=place, worded=worded)


def _renamed(name: str) -> str | None:
    """Give a name near to *name* that is not refused, if there is one."""
    from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- loaded by then
    from strongroom.model.ref import MAX_NAME_CHARACTERS, Ref  # noqa: PLC0415 -- as above

    printable = (one if one.isprintable() and one != "\\" else "_" for one in str(name))
    segments = [one for one in "".join(printable).split("/") if one not in ("", ".", "..")]
    try:
        better = Ref("variable", "/".join(segments)[:MAX_NAME_CHARACTERS]).name
    except InvalidInputError:
        return None
    return None if better == name else better


def _warn_of_no_options(source: Source) -> None:
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


def _in_environment(conn_id: str, team: str | None) -> str | None:
    """Give what Airflow's own backend for the environment would, of the run's team or *team* first."""
    from strongroom.airflow.context import run_now  # noqa: PLC0415 -- loaded by then

    claim = run_now()
    team = team or (claim[8] if claim else None)
    names = [f"_{team}___{conn_id}", conn_id] if team else [conn_id]
    found = (os.environ.get(f"AIRFLOW_CONN_{name.upper()}") for name in names)
    return next((text for text in found if text), None)


# --- the public face ---------------------------------------------------------------------------------

_backends: dict[str, StrongroomBackend] = {}


def _note(backend: StrongroomBackend, dialect: Dialect) -> None:
    """Have `strongroom.connection` and the others of this process ask where the newest backend asks."""
    _backends[dialect] = backend
    strongroom._ask_through(_of_process)  # noqa: SLF001 -- its one caller


def _of_process() -> Source:
    """Give the source of the Task SDK's backend, where there is one; that of Airflow's core otherwise."""
    return (_backends.get("sdk") or _backends["core"]).source()
