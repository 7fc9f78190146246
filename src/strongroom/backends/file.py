"""
Connections and variables in files, as Airflow's LocalFilesystemBackend reads them.

Rules of this file:

1. A file is parsed again only when it changed: device, inode, size, mtime or ctime differ, or it
   was so young when it was read that the next change could fall into the same tick.
2. A file that is missing, half-written or malformed as a whole is *unavailable*, so that the last
   good value may serve where the chain allows it. One entry of the wrong shape is *invalid* alone.
3. A file that is no plain file, belongs to neither this user nor root, or that everybody may
   write is *denied*, always: somebody else may have put it there.

Forms, limits and what differs from Airflow: `model/document.py`, docs/backends/file.md.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.backend import Backend, Health, check_size, ephemeral_version
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.connection import Dialect
from strongroom.model.document import connection_text, decode, form_of, parse, variable_of
from strongroom.model.entry import Entry, Metadata, Summary
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.model.yaml11 import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "File", "FileOptions"]

# Two writes inside one tick of the file system's clock (4 ms here, 2 s on FAT) leave the same mtime.
_TICK = timedelta(seconds=2)
_WRITABLE_BY_ALL = stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """
    Where the files are, and how to read them. The keyword arguments of Airflow's backend are accepted.

    Args:
        connections: a .json, .yaml, .yml or .env file, or None.
        variables: likewise.
        configs: likewise.
        connections_file_path: Airflow's word for `connections`.
        variables_file_path: Airflow's word for `variables`.
        configs_file_path: Airflow's word for `configs`.
        dialect: which of Airflow's two readings objects of connections follow.
        unwrap: give the `value` of `{"value": …, "description": …}`, as an export holds it; False
            gives the object, as Airflow's backend does.
        quotes: False keeps quotes in .env files as part of the value, as Airflow's backend does.
        follow_symlinks: accept a symbolic link, as Kubernetes mounts secrets.
    """

    connections: Path | None = None
    variables: Path | None = None
    configs: Path | None = None
    connections_file_path: Path | None = None
    variables_file_path: Path | None = None
    configs_file_path: Path | None = None
    dialect: Dialect = "core"
    unwrap: bool = False
    quotes: bool = True
    follow_symlinks: bool = False


@dataclass(slots=True)
class _Held:
    """What one file held when it was last read."""

    path: Path
    signature: tuple[int, ...] | None = None
    entries: Mapping[str, object] = field(default_factory=dict, repr=False)
    # By process id: a forked child must not wait for a thread of the parent that held the lock.
    locks: dict[int, threading.Lock] = field(default_factory=dict)

    def lock(self) -> threading.Lock:
        """Give this process's lock; `setdefault` is atomic, so all its threads get the same."""
        process = os.getpid()
        return self.locks.get(process) or self.locks.setdefault(process, threading.Lock())


class File(Backend):
    """
    Entries in up to three files. Keeps no teams: a team's name is absent here.

    Threads: one lock a file, held while it is read. A forked child may go on using it.
    Consistency: a file replaced by renaming is seen whole by the next read. One written in place may
    be read half; write a new file and rename it.

    Raises:
        BackendConfigError: no file is named, one is named twice, or its ending is unknown.
    """

    is_local = True
    options_type = FileOptions

    def __init__(self, name: str, options: FileOptions, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.options = options
        self._clock = clock
        self._key = secrets.token_bytes(16)
        named = {
            "connection": _one_of(options.connections, options.connections_file_path, "connections"),
            "variable": _one_of(options.variables, options.variables_file_path, "variables"),
            "config": _one_of(options.configs, options.configs_file_path, "configs"),
        }
        self._files = {kind: _Held(path) for kind, path in named.items() if path is not None}
        if not self._files:
            raise BackendConfigError(
                f"the backend {name} names no file", hint="set connections, variables or configs"
            )

    def read(self, ref: Ref) -> Entry | None:
        held = self._files.get(ref.kind)
        if held is None or ref.team is not None:
            return None
        entries = self._entries(held)
        if ref.name not in entries:
            return None
        text, metadata = self._text(ref, entries[ref.name])
        check_size(text, backend=self.name, ref=ref)
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend=self.name,
            version=ephemeral_version(self._key, text),
            read_at=self._clock(),
            metadata=metadata,
        )

    def check(self) -> Health:
        try:
            for held in self._files.values():
                self._entries(held)
        except StrongroomError as error:
            return Health(status="error", message=str(error))
        return Health(status="ready")

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        held = self._files.get(kind)
        if held is None or team is not None:
            return []
        names = sorted(name for name in self._entries(held) if name.startswith(prefix) and name > after)
        return [Summary(ref=Ref(kind, name), backend=self.name) for name in names[:limit]]

    def _text(self, ref: Ref, raw: object) -> tuple[str, Metadata]:
        try:
            if ref.kind == "connection":
                return connection_text(ref.name, raw, self.options.dialect), Metadata()
            found = variable_of(ref.name, raw, unwrap=self.options.unwrap and ref.kind == "variable")
            return found.value.reveal(), Metadata(description=found.description)
        except InvalidInputError as error:
            refusal = MalformedEntryError(
                f"the backend {self.name} holds what is no {ref.kind}: {error}",
                backend=self.name,
                ref=str(ref),
                offset=error.offset,
                hint=error.hint,
            )
        raise refusal

    def _entries(self, held: _Held) -> Mapping[str, object]:
        with held.lock():
            signature = self._signature(held.path)
            if signature != held.signature:
                # Until it is read again there is nothing to compare with: a failure is tried again.
                held.signature = None
                entries, signature, is_settled = self._load(held.path)
                held.entries = entries
                held.signature = signature if is_settled else None
            return held.entries

    def _signature(self, path: Path) -> tuple[int, ...]:
        try:
            status = path.stat(follow_symlinks=self.options.follow_symlinks)
        except OSError as error:
            raise self._unavailable(path, error) from None
        return _signature_of(status)

    def _load(self, path: Path) -> tuple[Mapping[str, object], tuple[int, ...], bool]:
        now = self._clock()
        data, status = self._read_bytes(path)
        try:
            raw = parse(decode(data), form_of(path.name), quotes=self.options.quotes)
            entries = _by_legal_name(raw)
        except InvalidInputError as error:
            refusal = BackendUnavailableError(
                f"the file {path} of the backend {self.name} cannot be read: {error}",
                backend=self.name,
                hint=error.hint,
            )
        else:
            changed_at = datetime.fromtimestamp(status.st_mtime, timezone.utc)
            return entries, _signature_of(status), now - changed_at > _TICK
        raise refusal

    def _read_bytes(self, path: Path) -> tuple[bytes, os.stat_result]:
        # Not blocking, so that a FIFO in the file's place cannot hold the reader.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        flags |= 0 if self.options.follow_symlinks else os.O_NOFOLLOW
        if path.is_symlink() and not self.options.follow_symlinks:
            raise self._denied(path, "is a symbolic link", hint="set follow_symlinks = true")
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            raise self._unavailable(path, error) from None
        try:
            status = os.fstat(descriptor)
            self._check_trust(path, status)
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(MAX_FILE_BYTES + 1), status
        except OSError as error:
            raise self._unavailable(path, error) from None
        finally:
            os.close(descriptor)

    def _check_trust(self, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._denied(path, "is no plain file")
        if status.st_uid not in (0, os.geteuid()):
            raise self._denied(path, "belongs to another user")
        if status.st_mode & _WRITABLE_BY_ALL:
            raise self._denied(path, "may be written by everybody", hint=f"chmod o-w {path}")

    def _denied(self, path: Path, why: str, *, hint: str | None = None) -> AccessDeniedError:
        return AccessDeniedError(f"the file {path} of the backend {self.name} {why}", reason=why, hint=hint)

    def _unavailable(self, path: Path, error: OSError) -> BackendUnavailableError:
        # The system's own words for an error number hold no content of the file.
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        return BackendUnavailableError(
            f"the file {path} of the backend {self.name} cannot be opened: {why}", backend=self.name
        )


def _one_of(ours: Path | None, airflows: Path | None, word: str) -> Path | None:
    if ours is not None and airflows is not None:
        raise BackendConfigError(f"both {word} and {word}_file_path are set", hint=f"keep {word}")
    path = ours if ours is not None else airflows
    if path is None:
        return None
    try:
        form_of(Path(path).name)
    except InvalidInputError as error:
        refusal = BackendConfigError(f"the file for {word}: {error}", hint=error.hint)
    else:
        return Path(path)
    raise refusal


def _signature_of(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _by_legal_name(raw: Mapping[str, object]) -> dict[str, object]:
    # A name our grammar refuses can never be asked for, so it only sleeps in the file.
    found: dict[str, object] = {}
    for written, item in raw.items():
        try:
            name = Ref("variable", written).name
        except InvalidInputError:
            continue
        if name in found:
            raise InvalidInputError(f'the file holds more than once: "{name}"', rule="F6")
        found[name] = item
    return found


BACKEND = File
