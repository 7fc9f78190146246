"""
Connections and variables in files, as Airflow's LocalFilesystemBackend reads them, in a `.env` that holds
an environment, and in an `airflow_settings.yaml`.

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

import hashlib
import os
import secrets
import stat
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import takewhile
from pathlib import Path
from shlex import quote
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
from strongroom.model.document import connection_of, connection_text, decode, form_of, variable_of
from strongroom.model.dotenv import shown
from strongroom.model.entry import Entry, Metadata, Summary
from strongroom.model.environment import as_listed, spell
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret
from strongroom.model.shelf import (
    BOTH,
    Shelves,
    environment_entries,
    kind_entries,
    place_in_environment,
    place_of,
    settings_file_entries,
)
from strongroom.model.yaml11 import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.model.condition import Condition

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
        environment: a `.env` of any name that holds an environment, `AIRFLOW_CONN_X=…`: it gives
            connections and variables, of teams too.
        settings: an `airflow_settings.yaml`: it gives connections and variables.
        dialect: which of Airflow's two readings objects of connections follow.
        unwrap: give the `value` of `{"value": …, "description": …}`, as an export holds it; False
            gives the object, as Airflow's backend does.
        quotes: False keeps quotes in .env files as part of the value, as Airflow's backend does; not
            for `environment`, which no Airflow reads.
        follow_symlinks: accept a symbolic link, as Kubernetes mounts secrets.
    """

    connections: Path | None = None
    variables: Path | None = None
    configs: Path | None = None
    connections_file_path: Path | None = None
    variables_file_path: Path | None = None
    configs_file_path: Path | None = None
    environment: Path | None = None
    settings: Path | None = None
    dialect: Dialect = "core"
    unwrap: bool = False
    quotes: bool = True
    follow_symlinks: bool = False


class _Content:
    """What one file held when it was last parsed, and what was found out about it since."""

    def __init__(self, entries: Shelves) -> None:
        self.entries = entries
        self.conditions: dict[Ref, Condition] = {}
        self._names: dict[tuple[Kind, str | None], Sequence[str]] = {}

    def names(self, kind: Kind, team: str | None) -> Sequence[str]:
        """Give the names of one kind and team in order."""
        found = self._names.get((kind, team))
        if found is None:
            places = self.entries.get(kind, {})
            found = self._names[kind, team] = sorted(name for owner, name in places if owner == team)
        return found


@dataclass(slots=True)
class _Held:
    """
    One file.

    Args:
        path: of it.
        parse: gives the entries in its text, by kind, then by team and name.
        is_environment: its names are those of an environment.
    """

    path: Path
    parse: Callable[[str], Shelves]
    is_environment: bool = False
    signature: tuple[int, ...] | None = None
    digest: bytes = b""
    content: _Content | None = field(default=None, repr=False)
    # By process id: a forked child must not wait for a thread of the parent that held the lock.
    locks: dict[int, threading.Lock] = field(default_factory=dict)

    def lock(self) -> threading.Lock:
        """Give this process's lock; `setdefault` is atomic, so all its threads get the same."""
        process = os.getpid()
        return self.locks.get(process) or self.locks.setdefault(process, threading.Lock())


class File(Backend):
    """
    Entries in up to three files. Only an `environment` keeps teams: elsewhere a team's name is absent.

    Threads: one lock a file, held while it is read. A forked child may go on using it.
    Consistency: a file replaced by renaming is seen whole by the next read. One written in place may
    be read half; write a new file and rename it.

    Raises:
        BackendConfigError: no file is named, two are to give one kind, or an ending is unknown.
    """

    is_local = True
    options_type = FileOptions

    def __init__(self, name: str, options: FileOptions, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.options = options
        self._clock = clock
        self._key = secrets.token_bytes(16)
        self._files = _files(options)
        if not self._files:
            raise BackendConfigError(
                f"the backend {name} names no file",
                hint="set connections, variables, configs, environment or settings",
            )

    def read(self, ref: Ref) -> Entry | None:
        found = self._find(ref)
        if found is None:
            return None
        held, _, raw = found
        text, metadata = self._text(ref, raw, held)
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
                self._content(held)
        except StrongroomError as error:
            return Health.failed(error)
        return Health(status="ready", may={"read": "yes", "list": "yes", "write": "no"})

    def spell(self, ref: Ref) -> str | None:
        """Give the variable of its `environment` that holds *ref*; None where no such file gives the kind."""
        held = self._files.get(ref.kind)
        return spell(ref) if held is not None and held.is_environment else None

    def folded(self, ref: Ref) -> Summary | None:
        is_other = self.spell(ref) is not None and ref.name != as_listed(ref.name)
        found = self._find(ref) if is_other else None
        return None if found is None else self._summary(ref, *found)

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
        if held is None:
            return []
        owner = team.lower() if team is not None and held.is_environment else team
        content = self._content(held)
        names = content.names(kind, owner)
        start = max(bisect_right(names, after), bisect_left(names, prefix))
        wanted = takewhile(lambda name: name.startswith(prefix), names[start : start + limit])
        return [
            self._summary(Ref(kind, name, team), held, content, content.entries[kind][owner, name])
            for name in wanted
        ]

    def _find(self, ref: Ref) -> tuple[_Held, _Content, object] | None:
        held = self._files.get(ref.kind)
        place = None if held is None else place_in_environment(ref) if held.is_environment else place_of(ref)
        if held is None or place is None:
            return None
        content = self._content(held)
        entries = content.entries.get(ref.kind, {})
        return (held, content, entries[place]) if place in entries else None

    def _text(self, ref: Ref, raw: object, held: _Held) -> tuple[str, Metadata]:
        if held.is_environment:
            return str(raw), Metadata()
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

    def _summary(self, ref: Ref, held: _Held, content: _Content, raw: object) -> Summary:
        condition = content.conditions.get(ref)
        if condition is None:
            condition = content.conditions[ref] = self._condition(ref, raw, held)
        return Summary(
            ref=ref,
            backend=self.name,
            metadata=Metadata(conn_type=condition.conn_type),
            state=condition.state,
            problem=condition.problem,
        )

    def _condition(self, ref: Ref, raw: object, held: _Held) -> Condition:
        from strongroom.model.condition import Condition, condition_of, unparsable  # noqa: PLC0415 -- as env

        if held.is_environment:
            return condition_of(ref.kind, str(raw))
        try:
            if ref.kind == "connection":
                connection = connection_of(ref.name, raw, self.options.dialect)
                return Condition(conn_type=connection.conn_type)
            value = variable_of(ref.name, raw, unwrap=self.options.unwrap and ref.kind == "variable").value
            return condition_of(ref.kind, value.reveal())
        except InvalidInputError as error:
            return unparsable(error, without=f"{shown(ref.name)}: ")

    def _content(self, held: _Held) -> _Content:
        with held.lock():
            signature = self._signature(held.path)
            if held.content is None or signature != held.signature:
                # Until it is read again there is nothing to compare with: a failure is tried again.
                held.signature = None
                content, signature, is_settled = self._load(held)
                held.content = content
                held.signature = signature if is_settled else None
            return held.content

    def _signature(self, path: Path) -> tuple[int, ...]:
        try:
            status = path.stat(follow_symlinks=self.options.follow_symlinks)
        except OSError as error:
            raise self._unavailable(path, error) from None
        return _signature_of(status)

    def _load(self, held: _Held) -> tuple[_Content, tuple[int, ...], bool]:
        now = self._clock()
        data, status = self._read_bytes(held.path)
        digest = hashlib.blake2b(data, key=self._key).digest()
        try:
            # A young file is read again and again, but parsed only if it holds something else.
            is_same = held.content is not None and digest == held.digest
            content = held.content if is_same and held.content else _Content(held.parse(decode(data)))
        except InvalidInputError as error:
            refusal = BackendUnavailableError(
                f"the file {held.path} of the backend {self.name} cannot be read: {error}",
                backend=self.name,
                hint=error.hint,
            )
        else:
            held.digest = digest
            changed_at = datetime.fromtimestamp(status.st_mtime, timezone.utc)
            return content, _signature_of(status), now - changed_at > _TICK
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
            raise self._denied(path, "may be written by everybody", hint=f"chmod o-w {quote(str(path))}")

    def _denied(self, path: Path, why: str, *, hint: str | None = None) -> AccessDeniedError:
        return AccessDeniedError(f"the file {path} of the backend {self.name} {why}", reason=why, hint=hint)

    def _unavailable(self, path: Path, error: OSError) -> BackendUnavailableError:
        # The system's own words for an error number hold no content of the file.
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        return BackendUnavailableError(
            f"the file {path} of the backend {self.name} cannot be opened: {why}", backend=self.name
        )


# --- which file gives what, and how it is read ---------------------------------------------------


def _files(options: FileOptions) -> dict[Kind, _Held]:
    """
    Give the file of each kind.

    Raises:
        BackendConfigError: two files are to give one kind, or one's ending is unknown.
    """
    named: list[tuple[str, tuple[Kind, ...], _Held]] = []
    plain: tuple[tuple[str, Kind, Path | None, Path | None], ...] = (
        ("connections", "connection", options.connections, options.connections_file_path),
        ("variables", "variable", options.variables, options.variables_file_path),
        ("configs", "config", options.configs, options.configs_file_path),
    )
    for word, kind, ours, airflows in plain:
        path = _one_of(ours, airflows, word)
        if path is not None:
            parse = partial(kind_entries, kind=kind, form=form_of(path.name), quotes=options.quotes)
            named.append((word, (kind,), _Held(path, parse)))
    if options.environment is not None:
        held = _Held(Path(options.environment), environment_entries, is_environment=True)
        named.append(("environment", BOTH, held))
    if options.settings is not None:
        named.append(("settings", BOTH, _Held(Path(options.settings), settings_file_entries)))
    return _one_file_a_kind(named)


def _one_file_a_kind(named: list[tuple[str, tuple[Kind, ...], _Held]]) -> dict[Kind, _Held]:
    found: dict[Kind, _Held] = {}
    giver: dict[Kind, str] = {}
    for word, kinds, held in named:
        for kind in kinds:
            if kind in found:
                raise BackendConfigError(
                    f"{giver[kind]} and {word} both give {kind}s",
                    hint="make two backends of them, each in its place in the chain",
                )
            found[kind], giver[kind] = held, word
    return found


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


BACKEND = File
