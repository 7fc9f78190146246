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
5. What makes those exceptions is loaded with this file: a process that may open nothing more, whose lookup
   fails for that, could not load it then.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

try:
    from airflow.secrets.base_secrets import BaseSecretsBackend
except ImportError:  # a worker with the Task SDK alone
    from airflow.sdk.bases.secrets_backend import BaseSecretsBackend

import strongroom
from strongroom.airflow import edge
from strongroom.airflow.conflict import is_write_check, warn
from strongroom.airflow.masks import quicken_before_forks
from strongroom.airflow.process import has_portal, major, which

if TYPE_CHECKING:
    from strongroom.airflow.options import Options
    from strongroom.airflow.question import Asking, Question
    from strongroom.airflow.source import Source
    from strongroom.caller.frames import Run
    from strongroom.model.connection import Dialect
    from strongroom.model.ref import Kind

__all__ = ["StrongroomBackend"]


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
        self._asking: tuple[int, Asking] | None = None
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

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:  # noqa: ANN401 -- Airflow's Connection
        """Give a connection as Airflow's own object, or None."""
        # As the base does, which reads the signature of `get_conn_value` each time: a third of a warm read.
        text = self._text("connection", conn_id, team_name)
        return self.deserialize_connection(conn_id, text) if text else None

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
        question = self._question(kind, name, team)
        try:
            is_ours = question.prepare(self._now())
            if is_ours:
                return question.answered()
        except Exception as error:  # noqa: BLE001 -- Airflow takes any exception for "not here"
            question.trouble = error.with_traceback(None)  # whose frames hold what was read
        return question.shadowed() if question.trouble is None else question.failed()

    async def _atext(self, kind: Kind, name: str, team: str | None) -> str | None:
        question = self._question(kind, name, team)
        try:
            is_ours = question.prepare(self._now())
            if is_ours:
                return await question.aanswered()
        except Exception as error:  # noqa: BLE001 -- as above
            question.trouble = error.with_traceback(None)
        return await (question.ashadowed() if question.trouble is None else question.afailed())

    def _question(self, kind: Kind, name: str, team: str | None) -> Question:
        try:
            from strongroom.airflow.question import Question  # noqa: PLC0415 -- with the first lookup
        except Exception as error:  # noqa: BLE001 -- as in `_text`
            trouble = error
        else:
            return Question(kind, name, team, self._dialect)
        raise edge.edge_error(trouble, which(), asked=f'{kind} "{name}"', place="this process")

    def _now(self) -> Asking:
        """Give what this process asks with, made at its first lookup."""
        held = self._asking
        process = os.getpid()
        if held is None or held[0] != process:
            from strongroom.airflow.question import Asking, warn_of_no_options  # noqa: PLC0415 -- as above

            held = self._asking = (process, Asking(self.options()))
            if not self._kwargs:
                warn_of_no_options(held[1].source)
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


def _in_environment(conn_id: str, team: str | None) -> str | None:
    """Give what Airflow's own backend for the environment would, of the run's team, or else of *team*."""
    from strongroom.airflow.context import run_now  # noqa: PLC0415 -- loaded by then
    from strongroom.airflow.environment import in_environment  # noqa: PLC0415 -- only triggers ask so

    claim = run_now()
    team = team or (claim[8] if claim else None)
    return in_environment(os.environ, "connection", conn_id, team)


# --- the public face ---------------------------------------------------------------------------------

_backends: dict[str, StrongroomBackend] = {}


def _note(backend: StrongroomBackend, dialect: Dialect) -> None:
    """Have `strongroom.connection` and the others of this process ask where the newest backend asks."""
    _backends[dialect] = backend
    strongroom._ask_through(_of_process, _hiding, _running)  # noqa: SLF001 -- its one caller


def _of_process() -> Source:
    """Give the source of the Task SDK's backend, where there is one; that of Airflow's core otherwise."""
    return (_backends.get("sdk") or _backends["core"]).source()


def _running() -> Run | None:
    """Give for which run the calling code works, for the names of its sessions elsewhere."""
    from strongroom.airflow.context import run_now  # noqa: PLC0415 -- loaded by then

    return run_now()


def _hiding() -> Any:  # noqa: ANN401 -- a module
    """Give what hides from the logs of this process what its programs are handed."""
    from strongroom.airflow import hiding  # noqa: PLC0415 -- with the first answer

    return hiding
