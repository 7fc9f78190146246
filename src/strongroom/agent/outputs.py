"""
Files for those who cannot ask: written at the start, and again whenever what stands in them changes.

Not for replacing a file safely (`folder.py`) nor for how a template takes values (`model/filling.py`).

Rules of this file:

1. A file is read for the user whom it belongs to: policy decides about him, and his uses are on record.
2. A failure keeps the last good file, is told in the log and the status, and is tried again. A stale value
   never replaces a file that is there: what stands in it is at least as new.
3. Nothing is written, and nobody is told, where nothing changed: not after a restart either.
4. Who is told of a change, a program without a shell or a process by a signal, is given no secret: not in its
   arguments, not in its environment, not by what it inherits.
5. A signal reaches only a process of the user who wrote its id down, or whom root or the agent wrote down.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.agent.folder import Looks, read_file, replace_file
from strongroom.cache import boot_seconds
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.model.filling import escape_of, fill, quoted_for_env, references_in
from strongroom.model.ref import Ref
from strongroom.model.template import field_of
from strongroom.service.lookup import parse_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.model.connection import Connection
    from strongroom.model.entry import Entry
    from strongroom.model.template import Reference
    from strongroom.service.host import Host
    from strongroom.service.reading import Reader
    from strongroom.settings.agent import FileSettings

__all__ = ["FileStatus", "Outputs", "write_files"]

_MAX_TEMPLATE_BYTES = MAX_VALUE_BYTES
_GATHER_SECONDS = 0.2  # after a change, for others that belong to it
_RETRY_SECONDS = (2.0, 5.0, 15.0, 60.0)  # after trouble; the last one from then on
_NOTICE_SECONDS = 30  # that a program which is told of a change may take
_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TZ", "USER", "XDG_RUNTIME_DIR")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PID_BYTES = 32
_FIELDS = ("conn_type", "host", "login", "password", "schema", "port", "extra")


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
            self._thread.join(_NOTICE_SECONDS + 1)
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
        try:
            has_changed = _written(self._host, file.settings, follow=partial(self._follow, file))
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
            _notify(file.name, file.settings, self._environ)
        except StrongroomError as error:
            self._failed(file, error, "nobody was told that a file changed")
        else:
            file.is_owed, file.trouble, file.failures = False, "", 0


def write_files(host: Host) -> list[tuple[str, StrongroomError | None]]:
    """Write every file of *host*'s settings once, telling nobody; give what was wrong with each, by name."""
    return [(name, _tried(host, file)) for name, file in host.settings.agent.file.items()]


def _tried(host: Host, file: FileSettings) -> StrongroomError | None:
    try:
        _written(host, file)
    except StrongroomError as error:
        return error
    return None


# --- what stands in a file -------------------------------------------------------------------------


def _written(
    host: Host, file: FileSettings, follow: Callable[[Iterable[Ref]], None] = lambda _refs: None
) -> bool:
    """
    Make *file* as it should be; tell whether it was not.

    Raises:
        BackendUnavailableError: what should stand in it cannot be had now.
        As `Reader.read`, `model.filling.fill` and `folder.replace_file`.
    """
    looks = Looks(file.mode_bits, _uid(file.owner), _gid(file.group), file.shared)
    inside = _Inside(host, file, host.reader(os.geteuid() if looks.uid is None else looks.uid))
    template = inside.template()
    follow(inside.refs(template))  # before it is read: what changes in between is told
    content = inside.content(template).encode()
    if inside.is_stale and os.path.lexists(file.path):
        raise BackendUnavailableError(
            "what should stand in it is only known from before an outage", backend="agent"
        )
    return replace_file(file.path, content, looks)


class _Inside:
    """Reads what stands in one file: each entry once."""

    def __init__(self, host: Host, file: FileSettings, reader: Reader) -> None:
        self._dialect = host.settings.lookup.dialect
        self._file = file
        self._reader = reader
        self._entries: dict[Ref, Entry] = {}
        self._connections: dict[Ref, Connection] = {}
        self.is_stale = False

    def template(self) -> str:
        """Give the text of the template; "" where there is none."""
        path = self._file.template
        if path is None:
            return ""
        found = read_file(path, max_bytes=_MAX_TEMPLATE_BYTES, is_private=False)
        if found is None:
            raise BackendConfigError(f'the template "{path}" is not there', hint="or name another")
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise BackendConfigError(f'the template "{path}" is not UTF-8') from None

    def refs(self, template: str) -> list[Ref]:
        """Give what the file is made of."""
        file = self._file
        if file.variable is not None:
            return [Ref("variable", file.variable, file.team)]
        if file.connection is not None:
            return [Ref("connection", file.connection, file.team)]
        return [Ref(each.kind, each.name, file.team) for each in references_in(template)]

    def content(self, template: str) -> str:
        """Give what stands in the file."""
        file = self._file
        if file.variable is not None:
            return self._entry(Ref("variable", file.variable, file.team)).secret.reveal()
        if file.connection is None:
            return fill(template, file.escape or escape_of(file.path.name), self._value)
        connection = self._connection(Ref("connection", file.connection, file.team))
        return _formatted(file.connection, connection, file.format)

    def _entry(self, ref: Ref) -> Entry:
        if ref not in self._entries:
            found = self._reader.read(ref)
            if found is None:
                raise NotFoundError(f"{ref} is in no backend")
            self._entries[ref] = self._reader.resolved(found)
            self.is_stale = self.is_stale or self._entries[ref].is_stale
        return self._entries[ref]

    def _connection(self, ref: Ref) -> Connection:
        if ref not in self._connections:
            self._connections[ref] = parse_stored(self._entry(ref), self._dialect)
        return self._connections[ref]

    def _value(self, reference: Reference) -> str:
        ref = Ref(reference.kind, reference.name, self._file.team)
        if reference.field is None:
            return self._entry(ref).secret.reveal()
        found = field_of(self._connection(ref), reference.field)
        if found is None:
            raise InvalidInputError(f"{ref} has no {reference.field}")
        return found


def _formatted(name: str, connection: Connection, form: str) -> str:
    if form == "json":
        return connection.format("json").reveal()
    if form == "uri":
        return connection.format("uri").reveal()
    prefix = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.upper())
    if form == "env":
        if prefix != name.upper():
            raise InvalidInputError(
                "the name of the connection is none that a variable of an environment can have",
                hint="have it written as fields, json or uri",
            )
        return f"AIRFLOW_CONN_{prefix}={quoted_for_env(connection.format('json').reveal())}\n"
    found = ((field, field_of(connection, field)) for field in _FIELDS if field != "extra")
    lines = [
        f"{prefix}_{field.upper()}={quoted_for_env(text)}\n" for field, text in found if text is not None
    ]
    if connection.extra is not None:
        extra = connection.to_dict(reveal=True)["extra"]
        lines.append(f"{prefix}_EXTRA={quoted_for_env(_json(extra))}\n")
    return "".join(lines)


def _json(value: object) -> str:
    import json  # noqa: PLC0415 -- only one format needs it

    return value if isinstance(value, str) else json.dumps(value)


def _uid(owner: str | None) -> int | None:
    import pwd  # noqa: PLC0415 -- few files belong to somebody else

    if owner is None or owner.isdigit():
        return None if owner is None else int(owner)
    with suppress(KeyError):
        return pwd.getpwnam(owner).pw_uid
    raise BackendConfigError("its owner is nobody whom this machine knows", hint="or give the number")


def _gid(group: str | None) -> int | None:
    import grp  # noqa: PLC0415 -- as above

    if group is None or group.isdigit():
        return None if group is None else int(group)
    with suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    raise BackendConfigError("its group is none that this machine knows", hint="or give the number")


# --- telling of a change ---------------------------------------------------------------------------


def _notify(name: str, file: FileSettings, environ: Mapping[str, str]) -> None:
    """
    Tell whoever wants to know that *file* changed.

    Raises:
        BackendConfigError: nobody could be told.
    """
    if file.on_change:
        _run(name, file, environ)
    if file.signal is not None and file.pid_file is not None:
        number = signal.Signals[f"SIG{file.signal.removeprefix('SIG')}"]
        _send(number, str(file.pid_file))


def _run(name: str, file: FileSettings, environ: Mapping[str, str]) -> None:
    # What this process was given to log in with is nothing for a program of somebody else's.
    handed = {key: environ[key] for key in _INHERITED if key in environ}
    handed = {"PATH": _PATH} | handed | {"STRONGROOM_FILE": name, "STRONGROOM_FILE_PATH": str(file.path)}
    quiet = subprocess.DEVNULL  # what it prints may quote what it read
    try:
        process = subprocess.Popen(  # noqa: S603 -- a list from the settings, no shell
            file.on_change,
            env=handed,
            cwd="/",
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BackendConfigError(f"the program of on_change cannot be run: {why}") from None
    try:
        code = process.wait(_NOTICE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise BackendConfigError(
            f"the program of on_change took more than {_NOTICE_SECONDS} s and was ended",
            hint="have it tell and return, as systemctl --no-block does",
        ) from None
    if code:
        raise BackendConfigError(f"the program of on_change ended with {code}")


def _send(number: signal.Signals, path: str) -> None:
    try:
        pid, writer = _pid_in(path)
        process = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        raise BackendConfigError(
            f'"{path}" holds the id of no process', hint="is the service running?"
        ) from None
    try:
        # Whoever may write the file must not have others' processes signalled by an agent that root started.
        if writer not in (0, os.geteuid()) and writer != _user_of(pid):
            raise BackendConfigError(f'"{path}" names a process of another user than its writer')
        signal.pidfd_send_signal(process, number)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BackendConfigError(f'the process in "{path}" cannot be signalled: {why}') from None
    finally:
        os.close(process)


def _pid_in(path: str) -> tuple[int, int]:
    """Give the id of the process in *path*, and who wrote it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        pid = int(os.read(descriptor, _PID_BYTES))
    finally:
        os.close(descriptor)
    if pid <= 1 or pid == os.getpid() or found.st_mode & 0o002:
        raise ValueError(pid)
    return pid, found.st_uid


def _user_of(pid: int) -> int:
    # The folder of a process that is not dumpable is root's whoever it runs as; its status tells.
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 -- no path
        for line in lines:
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1
