"""What the doctor can tell of the agent that this process asks: whether it answers, and how it is."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.caller.agent import AgentClient
from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.insight.finding import Finding, Surroundings
from strongroom.remote.examined import chosen, rank
from strongroom.service.doctor import Case, Doctor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.insight.finding import Level
    from strongroom.place import Place

__all__ = ["HostDoctor", "examiner"]

_START = "start it: strongroom agent"
_NEARLY_FULL = 0.8  # of the records that wait for the server


def examiner(where: Place, environ: Mapping[str, str]) -> HostDoctor:
    """Give the doctor of the agent at *where*, and of what stands around this process."""
    around = Surroundings(environ=environ, cwd=Path.cwd(), home=Path(environ.get("HOME") or "/"))
    return HostDoctor(AgentClient(where.path or "", environ=environ), around)


class HostDoctor(Doctor):
    """
    Examine an agent, and what stands around the process that asks it.

    The chain is the agent's: it is looked at where the agent's settings are.

    Args:
        agent: is asked how it is.
        around: the process.
    """

    def __init__(self, agent: AgentClient, around: Surroundings) -> None:
        super().__init__(Case(clock=_now, around=around))
        self._agent = agent

    def run(self, *, is_deep: bool = False, only: Sequence[str] = ()) -> list[Finding]:
        """Give all findings, worst first. As `Doctor.run`."""
        found = super().run(is_deep=is_deep, only=only)
        return sorted([*chosen(self._agents(), only), *found], key=rank)

    def _agents(self) -> Iterator[Finding]:
        try:
            self._agent.ping()
        except StrongroomError as error:
            yield Finding(name="room-closed", level="error", what=str(error), fix=error.hint or _START)
            return
        yield Finding(name="room-closed", level="ok", what=f"an agent answers at {self._agent.path}")
        try:
            told = self._agent.admin({"do": "status"})
        except AccessDeniedError:
            what = "only root and the agent's own user are told how it is"
            yield Finding(name="agent-trouble", level="note", what=what, fix="run it again as one of them")
            return
        troubles = list(_troubles(told))
        for one in troubles:
            yield Finding(name="agent-trouble", level=one.level, what=one.what, fix=one.fix)
        if not troubles:
            what = f"the agent serves {told['deployment']}, and nothing troubles it"
            yield Finding(name="agent-trouble", level="ok", what=what)


class _Trouble(NamedTuple):
    level: Level
    what: str
    fix: str


def _troubles(told: Mapping[str, Any]) -> Iterator[_Trouble]:
    yield from _of_record(told["spool"])
    yield from _of_decisions(told["decisions"])
    yield from _of_backends(told["backends"])
    if told["reload_trouble"]:
        what = f"the agent goes on with its settings of before: {told['reload_trouble']}"
        yield _Trouble("warning", what, "mend them, then reload it")
    copy = told["last_good"]
    if copy is not None and copy["trouble"]:
        yield _Trouble(
            "warning", f"the last good copy: {copy['trouble']}", "docs/agent.md#the-last-good-copy"
        )
    for file in told["files"]:
        if file["trouble"] or file["state"] != "written":
            what = f"the file {file['name']} is not as it should be: {file['trouble'] or file['state']}"
            yield _Trouble("warning", what, "docs/outputs.md")


def _of_record(spool: Mapping[str, Any]) -> Iterator[_Trouble]:
    if spool["trouble"]:
        yield _Trouble(
            "error", f"the agent's record: {spool['trouble']}", "make room, or mend its state folder"
        )
    if spool["unrecorded"]:
        what = f"{spool['unrecorded']} uses were answered without a record"
        yield _Trouble(
            "warning", what, "mend what troubles the record; strict entries were refused meanwhile"
        )
    if spool["max_bytes"] and spool["bytes"] > _NEARLY_FULL * spool["max_bytes"]:
        what = f"{spool['bytes'] * 100 // spool['max_bytes']} % of the room for records is taken"
        yield _Trouble("warning", what, "let the agent reach its server, or raise agent.spool_bytes")


def _of_decisions(told: Mapping[str, Any] | None) -> Iterator[_Trouble]:
    if told is not None and told["state"] != "connected":
        what = f"the server that decides is {told['state']}" + (
            f": {told['trouble']}" if told["trouble"] else ""
        )
        yield _Trouble("error", what, "strongroom agent status; docs/access.md")


def _of_backends(told: Sequence[Mapping[str, Any]]) -> Iterator[_Trouble]:
    for one in told:
        if one["circuit"] == "open":
            what = f"the agent does not ask its backend {one['name']}, which failed again and again"
            yield _Trouble("error", what, "mend it; it is tried again by itself")
        if one["watched"] == "lost":
            what = f"the agent hears nothing of changes in its backend {one['name']}"
            yield _Trouble("warning", what, "values are as old as their lifetime until it does")


def _now() -> datetime:
    return datetime.now(timezone.utc)
