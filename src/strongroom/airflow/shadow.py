"""
Shadow mode: Airflow goes on answering as it did, and Strongroom is asked beside it and compared.

Not for what the old backend holds (`vendors/airflow_secrets.py`), nor for showing the sums
(`strongroom airflow check --shadow-report`).

Rules of this file:

1. The answer is the old backend's, its errors too, unchanged. Whatever happens on our side reaches nobody
   but the report.
2. We are asked after the answer is there, by one daemon thread a process, made anew after a fork: on the
   caller's own thread a store that is slow or down would hold the answer up for as long as it takes, and a
   thread that a process cannot end without would hold up its end.
3. What waits is bounded, and dropped beyond the bound; the same id is asked again after five minutes at the
   soonest. So shadow mode costs a store one read an id a process, however often a task asks.
4. No value is written anywhere, nor anything made of one: a difference is told by the names of the fields.
   Each outcome of an id is one line in the log, once per process.
"""

from __future__ import annotations

import atexit
import contextvars
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strongroom.airflow.environment import in_environment
from strongroom.vendors.airflow_secrets import ask, instance_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["REPORT", "Outcome", "Shadow", "compare"]

Outcome = Literal["equal", "different", "missing", "new", "elsewhere", "error"]

REPORT = "strongroom-shadow.jsonl"
"""The file in Airflow's home that each process appends what it saw to."""

_MOST_WAITING = 256
_MOST_SEEN = 10_000  # ids remembered by a process
_MOST_SHOWN = 300  # characters of a name in a log line
_AGAIN_SECONDS = 300.0
_LAST_SECONDS = 0.5  # for what waits when a process ends by itself; a task ends at once
_MAX_REPORT_BYTES = 16_777_216  # 16 MiB; then the file before is given up

_log = logging.getLogger("strongroom.airflow.shadow")


@dataclass(frozen=True, slots=True)
class _Question:
    """One answer of the old place, waiting to be compared."""

    kind: str
    name: str
    team: str | None
    answer: str | None = field(repr=False)
    ours: Callable[[], str | None]
    context: contextvars.Context
    is_failed: bool = False

    @property
    def key(self) -> tuple[str, str, str | None]:
        return (self.kind, self.name, self.team)


class Shadow:
    """
    One old backend, and the comparison beside it.

    Threads: safe; after a fork the child begins anew.
    """

    def __init__(
        self,
        path: str | None,
        kwargs: Mapping[str, object],
        *,
        canary: Sequence[str] = (),
        report: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Take note of what is asked; nothing is imported or made.

        Args:
            path: dotted path of the old backend's class; None where Airflow had none of its own.
            kwargs: its keyword arguments.
            canary: patterns of DAG ids (`*`, `?`, `[…]`) whose runs we answer.
            report: the file to append to; None for the one in Airflow's home.
            environ: where Airflow looks after its backend.
        """
        self._path = path
        self._kwargs = dict(kwargs)
        self._canary = tuple(canary)
        self._report = report
        self._environ = environ
        # By process id: an object with a connection, or a lock, must not be shared with a child.
        self._old: dict[int, Any] = {}
        self._workers: dict[int, _Worker] = {}

    def __repr__(self) -> str:
        return f"Shadow({self._path!r})"

    def is_canary(self, dag_id: str | None) -> bool:
        """Tell whether a run of *dag_id* gets its answers from us."""
        return dag_id is not None and any(fnmatchcase(dag_id, pattern) for pattern in self._canary)

    def text(self, kind: str, name: str, team: str | None, ours: Callable[[], str | None]) -> str | None:
        """
        Give the old backend's answer, and have ours compared to it.

        Args:
            kind: `connection`, `variable` or `config`.
            name: the id or key.
            team: whose.
            ours: asks us; called later, on another thread, within the context of this call.

        Raises:
            Exception: what the old backend raises, unchanged.
        """
        try:
            answer = self._asked(kind, name, team)
        except Exception:
            # Airflow passes over it and asks the next place, where the environment may have it.
            self._compare_later(
                kind, name, team, self._in_environment(kind, name, team), ours, is_failed=True
            )
            raise
        found = answer if answer is not None else self._in_environment(kind, name, team)
        self._compare_later(kind, name, team, found, ours)
        return answer

    async def atext(
        self, kind: str, name: str, team: str | None, ours: Callable[[], str | None]
    ) -> str | None:
        """Give what `text` gives, without holding up the loop: the old backend is asked on a thread."""
        import asyncio  # noqa: PLC0415 -- who awaits has it

        return await asyncio.to_thread(self.text, kind, name, team, ours)

    def wait(self, seconds: float) -> bool:
        """Wait until all that was asked is compared; tells whether it was, within *seconds*."""
        worker = self._workers.get(os.getpid())
        return worker is None or worker.wait(seconds)

    # --- the old place ----------------------------------------------------------------------------

    def _asked(self, kind: str, name: str, team: str | None) -> str | None:
        if self._path is None:
            return None
        process = os.getpid()
        old = self._old.get(process)
        if old is None:
            old = self._old.setdefault(process, instance_of(self._path, self._kwargs))
        return ask(old, kind, name, team)

    def _in_environment(self, kind: str, name: str, team: str | None) -> str | None:
        found = in_environment(self._environ, kind, name, team)
        return found or None if kind == "connection" else found

    # --- beside it ---------------------------------------------------------------------------------

    def _compare_later(
        self,
        kind: str,
        name: str,
        team: str | None,
        answer: str | None,
        ours: Callable[[], str | None],
        *,
        is_failed: bool = False,
    ) -> None:
        context = contextvars.copy_context()
        question = _Question(kind, name, team, answer, ours, context, is_failed)
        # Whatever goes wrong here, such as a process that may start no thread, is none of the answer's.
        with suppress(Exception):
            self._worker().put(question)

    def _worker(self) -> _Worker:
        process = os.getpid()
        found = self._workers.get(process)
        if found is None:
            atexit.register(self.wait, _LAST_SECONDS)
            report = self._report or _home(self._environ) / REPORT
            found = self._workers.setdefault(process, _Worker(report))
        return found


def _home(environ: Mapping[str, str]) -> Path:
    said = getattr(sys.modules.get("airflow.configuration"), "AIRFLOW_HOME", None)
    return Path(said or environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()


class _Worker:
    """The thread of one process that asks us and compares."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._waiting: deque[_Question] = deque()
        self._changed = threading.Condition()
        self._asked: dict[tuple[str, str, str | None], float] = {}
        self._told: dict[tuple[str, str, str | None], str] = {}
        self._is_busy = False
        self._thread: threading.Thread | None = None

    def put(self, question: _Question) -> None:
        now = time.monotonic()
        with self._changed:
            before = self._asked.get(question.key)
            if before is not None and now - before < _AGAIN_SECONDS:
                return
            if len(self._waiting) >= _MOST_WAITING or len(self._asked) >= _MOST_SEEN:
                return
            self._asked[question.key] = now
            self._waiting.append(question)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="strongroom-shadow", daemon=True)
                self._thread.start()
            self._changed.notify()

    def wait(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                while not self._waiting:
                    self._changed.wait()
                question = self._waiting.popleft()
                self._is_busy = True
            with suppress(Exception):  # nothing here may end the thread, nor reach anybody
                self._settle(question)

    def _settle(self, question: _Question) -> None:
        outcome, detail = _outcome(question)
        told = f"{outcome} {detail}"
        if self._told.get(question.key) == told:
            return
        self._told[question.key] = told
        of_team = f" of the team {question.team}" if question.team else ""
        level = logging.INFO if outcome in ("equal", "new", "elsewhere") else logging.WARNING
        # The old backend takes any name, and one with a line break would make a line of its own.
        name = "".join(one if one.isprintable() else " " for one in question.name)[:_MOST_SHOWN]
        _log.log(level, "strongroom shadow: %s %s%s: %s%s", question.kind, name, of_team, outcome, detail)
        self._write(question, outcome, detail)

    def _write(self, question: _Question, outcome: Outcome, detail: str) -> None:
        line = {
            "at": int(time.time()),
            "kind": question.kind,
            "name": question.name,
            "team": question.team,
            "outcome": outcome,
            "detail": detail.strip(" ()"),
            "process": f"{os.uname().nodename}:{os.getpid()}",
        }
        data = (json.dumps(line) + "\n").encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        # A folder that cannot be written leaves the line in the log.
        with suppress(OSError):
            handle = os.open(self._report, flags, 0o600)
            try:
                # One write of a short line under O_APPEND is not mixed with another process's.
                os.write(handle, data)
                is_full = os.fstat(handle).st_size > _MAX_REPORT_BYTES
            finally:
                os.close(handle)
            if is_full:
                self._report.replace(self._report.with_suffix(".before.jsonl"))


def _outcome(question: _Question) -> tuple[Outcome, str]:
    """Ask us, and tell how that compares; the second is what stands behind it in a line."""
    try:
        ours = question.context.run(question.ours)
    except BaseException as error:  # noqa: BLE001 -- denials and trouble are no `Exception`s in 2.11
        return "error", f" ({getattr(error, 'code', None) or type(error).__name__})"
    if question.answer is None:
        detail = " (the old backend failed)" if question.is_failed else ""
        # The metadata database comes after this, and is not seen from here.
        return ("elsewhere" if ours is None else "new"), detail
    if ours is None:
        return "missing", ""
    fields = compare(question.kind, question.answer, ours)
    return ("different", f" ({', '.join(fields)})") if fields else ("equal", "")


def compare(kind: str, before: str, after: str) -> list[str]:
    """
    Give the names of what differs between two stored texts; nothing where they mean the same.

    Connections are compared field by field as Airflow reads them; texts that do not parse, and variables,
    as they are.
    """
    if before == after:
        return []
    if kind != "connection":
        return ["value"]
    from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- only a difference needs it
    from strongroom.model.connection import Connection  # noqa: PLC0415

    try:
        one, other = (Connection.parse(text).to_dict(reveal=True) for text in (before, after))
    except InvalidInputError:
        return ["text"]
    return [key for key in one if (one[key] or None) != (other.get(key) or None)]
