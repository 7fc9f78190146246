"""
Files for those who cannot ask: written at the start, and again whenever what stands in them changes.

Not for what stands in them (`content.py`), who is told of a change (`telling.py`), nor for replacing a file
safely (`folder.py`).

Rules of this file:

1. A failure keeps the last good file, is told in the log and the status, and is tried again.
2. Nobody is told where nothing changed: not after a restart either. Who could not be told is told later.
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.agent.telling import NOTICE_SECONDS, notify
from strongroom.cache import boot_seconds
from strongroom.errors import BackendConfigError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.model.ref import Ref
    from strongroom.service.host import Host
    from strongroom.settings.agent import FileSettings

__all__ = ["FileStatus", "Outputs", "write_files"]

_GATHER_SECONDS = 0.2  # after a change, for others that belong to it
_RETRY_SECONDS = (2.0, 5.0, 15.0, 60.0)  # after trouble; the last one from then on


class FileStatus(NamedTuple):
    """
    How one file is.

    Args:
        name: in the settings.
        path: where it stands.
        state: `written`, `failed`, or `waiting` before the first try.
        checked_at: when it was last seen to be right, or made so; None before.
        changed_at: when it was last written by this process; None before.
        trouble: why it is not as it should be, or who could not be told of its change; "" where all is well.
    """

    name: str
    path: str
    state: Literal["written", "failed", "waiting"]
    checked_at: datetime | None
    changed_at: datetime | None
    trouble: str


class _File:
    """One file, and what became of it."""

    def __init__(self, name: str, settings: FileSettings) -> None:
        self.name = name
        self.settings = settings
        self.ends: dict[Ref, Callable[[], None]] = {}  # what is followed for it
        self.due: float | None = 0.0  # when it is to be looked at; None: when something changes
        self.is_owed = False  # somebody is to be told of its change
        self.failures = 0
        self.state: Literal["written", "failed", "waiting"] = "waiting"
        self.checked_at: datetime | None = None
        self.changed_at: datetime | None = None
        self.trouble = ""

    def status(self) -> FileStatus:
        return FileStatus(
            self.name, str(self.settings.path), self.state, self.checked_at, self.changed_at, self.trouble
        )

    def let_go(self) -> None:
        for end in self.ends.values():
            end()
        self.ends.clear()


class Outputs:
    """
    Keep the files of *host*'s settings as they should be.

    Args:
        host: what is served.
        environ: of this process: what programs that are told of a change may know of it.
        say: writes a line of the log: (message, level, facts).

    Threads: `renew`, `status` and `close` may be called from any thread. One thread of its own does the work.
    """

    def __init__(
        self,
        host: Host,
        *,
        environ: Mapping[str, str],
        say: Callable[..., None] = lambda *_message, **_facts: None,
        timer: Callable[[], float] = boot_seconds,
    ) -> None:
        self._host = host
        self._environ = environ
        self._say = say
        self._timer = timer
        self._files: dict[str, _File] = {}
        self._changed = threading.Condition()
        self._is_started = self._is_ended = False
        self._thread: threading.Thread | None = None
        self.renew()

    def start(self) -> None:
        """Write what is to be written, now and from now on. Without files in the settings no thread runs."""
        with self._changed:
            self._is_started = True
            if self._thread is None and self._files and not self._is_ended:
                self._thread = threading.Thread(target=self._run, name="strongroom-files", daemon=True)
                self._thread.start()

    def renew(self) -> None:
        """Take the files of the settings anew, and look at all of them."""
        wanted = self._host.settings.agent.file
        with self._changed:
            gone = [file for name, file in self._files.items() if wanted.get(name) != file.settings]
            kept = {name: file for name, file in self._files.items() if file not in gone}
            self._files = {name: kept.get(name) or _File(name, each) for name, each in wanted.items()}
            for file in self._files.values():
                file.due = self._timer()
            self._changed.notify_all()
        for file in gone:
            file.let_go()
        if self._is_started:
            self.start()

    def status(self) -> list[FileStatus]:
        """Tell how each file is, in the order of the settings."""
        return [file.status() for file in list(self._files.values())]

    def close(self) -> None:
        """Write nothing any more; what stands in files stays. Safe to call twice."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(NOTICE_SECONDS + 1)
        for file in self._files.values():
            file.let_go()

    # --- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while (due := self._next()) is not None:
            # Files first: one program that is slow to hear of a change must not hold others back.
            for act in (self._write, self._tell):
                for file in due:
                    self._safely(act, file)

    def _safely(self, act: Callable[[_File], None], file: _File) -> None:
        try:
            act(file)
        except Exception as error:  # noqa: BLE001 -- a thread that died would keep no file, silently
            self._failed(file, BackendConfigError(f"unexpected {type(error).__name__}"))

    def _next(self) -> list[_File] | None:
        """Wait for files that are due; None at the end."""
        with self._changed:
            while not self._is_ended:
                now = self._timer()
                due = [file for file in self._files.values() if file.due is not None and file.due <= now]
                if due:
                    for file in due:
                        file.due = None
                    return due
                waits = [file.due - now for file in self._files.values() if file.due is not None]
                self._changed.wait(min(waits, default=None))
            return None

    def _wake(self, file: _File, _ref: Ref, _version: str | None) -> None:
        with self._changed:
            soon = self._timer() + _GATHER_SECONDS
            if file.due is None or file.due > soon:
                file.due = soon
                self._changed.notify_all()

    def _write(self, file: _File) -> None:
        from strongroom.agent.content import write_file  # noqa: PLC0415 -- most hosts write no file

        try:
            has_changed = write_file(self._host, file.settings, follow=partial(self._follow, file))
        except StrongroomError as error:
            self._failed(file, error)
            return
        now = datetime.now(timezone.utc)
        was_well = file.state == "written" and not file.is_owed
        file.state, file.checked_at, file.failures = "written", now, 0
        file.trouble = file.trouble if file.is_owed else ""
        if has_changed:
            file.changed_at = now
            file.is_owed = True
            self._say("a file was written", file=file.name)
        elif not was_well:
            self._say("a file is as it should be", level="debug", file=file.name)

    def _follow(self, file: _File, refs: Iterable[Ref]) -> None:
        wanted = set(refs)
        for ref in [ref for ref in file.ends if ref not in wanted]:
            file.ends.pop(ref)()
        for ref in wanted:  # nobody tells when who reads the file has it no more
            self._host.keep(ref[:2] if ref.kind == "connection" else None)
        for ref in wanted - set(file.ends):
            file.ends[ref] = self._host.follow(ref, partial(self._wake, file))

    def _failed(
        self, file: _File, error: StrongroomError, what: str = "a file is not as it should be"
    ) -> None:
        why = f"{error}" if error.hint is None else f"{error}: {error.hint}"
        if why != file.trouble:
            self._say(what, level="warning", file=file.name, code=error.code, why=why)
        file.trouble = why
        with self._changed:
            pause = _RETRY_SECONDS[min(file.failures, len(_RETRY_SECONDS) - 1)]
            file.failures += 1
            file.due = self._timer() + pause if file.due is None else file.due
        if what == "a file is not as it should be":
            file.state = "failed"

    def _tell(self, file: _File) -> None:
        if not file.is_owed or file.state != "written":
            return
        try:
            notify(file.name, file.settings, self._environ)
        except StrongroomError as error:
            self._failed(file, error, "nobody was told that a file changed")
        else:
            file.is_owed, file.trouble, file.failures = False, "", 0


def write_files(host: Host) -> list[tuple[str, StrongroomError | None]]:
    """Write every file of *host*'s settings once, telling nobody; give what was wrong with each, by name."""
    return [(name, _tried(host, file)) for name, file in host.settings.agent.file.items()]


def _tried(host: Host, file: FileSettings) -> StrongroomError | None:
    from strongroom.agent.content import write_file  # noqa: PLC0415 -- as above

    try:
        write_file(host, file)
    except StrongroomError as error:
        return error
    return None
