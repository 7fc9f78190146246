"""
Secrets of the settings: where each is fetched from, and fetching it.

Not for reading what a file says of them (`table.py`).

Rules of this file:

1. Secrets are written `{ file = "…" }`, `{ env = "…" }` or `{ command = […] }`, and are fetched when
   the backend that needs them is built, not when the file is read.
2. A file that holds one is mine and closed to others.
3. What a command writes is bounded, awaited for a bounded time, and never shown.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal

from strongroom.errors import SettingsError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Fetcher", "SecretSource", "output_of", "reason", "resolve", "shell_word"]

COMMAND_SECONDS = 10.0
_MAX_SECRET_BYTES = 65_536  # one secret of the settings
# Container runtimes mount secrets here with modes of their own (0444), inside a namespace of their own.
_CONTAINER_SECRETS = ("/run/secrets/", "/var/run/secrets/")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """
    Where a secret of the settings is fetched from.

    Args:
        kind: `file`, `env`, `command`, or `text` for one given directly in the environment.
        argument: path, name of the variable, command and its arguments, or the text.
        key: the setting it belongs to.
    """

    kind: Literal["file", "env", "command", "text"]
    argument: tuple[str, ...] = field(repr=False)
    key: str


class Fetcher:
    """
    Fetch a secret of the settings as often as it is called: one that is replaced while the process runs.

    Two are equal that fetch from the same place, so that whoever logs in with them can share the login.
    """

    __slots__ = ("_environ", "_source")

    def __init__(self, source: SecretSource, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ

    def __call__(self) -> Secret[str]:
        return resolve(self._source, environ=self._environ)

    def __repr__(self) -> str:
        return f"Fetcher({self._source.kind})"  # neither the environment nor what was written out

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fetcher):
            return NotImplemented
        mine, theirs = self._source, other._source
        if (mine.kind, self._environ is other._environ) != (theirs.kind, True):
            return False
        return [Secret(word) for word in mine.argument] == [Secret(word) for word in theirs.argument]

    __hash__ = None  # type: ignore[assignment]  # it may hold a secret that was written out


def resolve(source: SecretSource, *, environ: Mapping[str, str] = os.environ) -> Secret[str]:
    """
    Fetch a secret of the settings. One newline at its end is dropped.

    Raises:
        SettingsError: it cannot be had, is empty, is over 64 KiB or no UTF-8, or its file may be
            read or changed by others. What a command says on its error output is not shown.
    """
    if source.kind == "text":
        return Secret(source.argument[0])
    if source.kind == "env":
        text = environ.get(source.argument[0])
        if not text:
            raise SettingsError(
                f"{source.key} is to come from the variable {source.argument[0]}, which is not set",
                key=source.key,
            )
        return Secret(text)
    if source.kind == "file":
        return _decoded(_from_file(source), source.key)
    return _decoded(output_of(source.argument, source.key), source.key)


def _decoded(data: bytes, key: str) -> Secret[str]:
    if len(data) > _MAX_SECRET_BYTES:
        raise SettingsError(f"the secret for {key} has more than {_MAX_SECRET_BYTES} bytes", key=key)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"the secret for {key} is not UTF-8", key=key) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingsError(f"the secret for {key} is empty", key=key)
    return Secret(text)


def _from_file(source: SecretSource) -> bytes:
    path = source.argument[0]
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsError(
            f"the secret file {path} for {source.key} cannot be read ({reason(error)})", key=source.key
        ) from None
    with os.fdopen(file, "rb") as opened:
        _check_private(os.fstat(file), path, source.key)
        return opened.read(_MAX_SECRET_BYTES + 1)


def _check_private(found: os.stat_result, path: str, key: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"the secret file {path} for {key} is not a regular file", key=key)
    if found.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"the secret file {path} for {key} belongs to another user", key=key)
    if path.startswith(_CONTAINER_SECRETS):
        return
    if found.st_mode & 0o077:
        raise SettingsError(
            f"the secret file {path} for {key} may be read or changed by others",
            key=key,
            hint=f"chmod 600 {shell_word(path)}",
        )


def output_of(command: Sequence[str], key: str, *, environ: Mapping[str, str] | None = None) -> bytes:
    """
    Run *command* without a shell and give what it writes: at most 64 KiB and one byte, within 10 s.

    Args:
        command: the program and its arguments.
        key: the setting whose value it gives, for messages.
        environ: its environment; this process's own if unsaid.

    Raises:
        SettingsError: it cannot be started, fails, or does not end. What it writes is not shown.
    """
    import subprocess  # noqa: PLC0415 -- only settings that name a command pay for it

    failure = SettingsError(f"the command for {key} failed", key=key)
    try:
        with subprocess.Popen(  # noqa: S603 -- the operator's own command, without a shell
            command,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may quote the secret
        ) as process:
            try:
                output = _read_within(process.stdout, COMMAND_SECONDS)  # type: ignore[arg-type]  # a pipe was asked for
                # The output has ended or is over its bound; either way the command is done for.
                status = process.wait(1.0) if len(output) <= _MAX_SECRET_BYTES else 0
            except subprocess.TimeoutExpired:
                raise SettingsError(
                    f"the command for {key} did not end in {COMMAND_SECONDS:g} s", key=key
                ) from None
            finally:
                process.kill()
    except OSError as error:
        raise SettingsError(f"the command for {key} cannot be started ({reason(error)})", key=key) from None
    if status != 0:
        raise failure
    return output


def _read_within(pipe: BinaryIO, seconds: float) -> bytes:
    """Read to the end or just over the bound; gives up after *seconds*."""
    import select  # noqa: PLC0415 -- as subprocess
    import subprocess  # noqa: PLC0415
    import time  # noqa: PLC0415

    until = time.monotonic() + seconds
    data = b""
    while len(data) <= _MAX_SECRET_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise subprocess.TimeoutExpired("", seconds)
        chunk = os.read(pipe.fileno(), _MAX_SECRET_BYTES)
        if not chunk:
            break
        data += chunk
    return data


def shell_word(path: str | os.PathLike[str]) -> str:
    """Give *path* as it is typed in a shell: a stranger may have named it."""
    import shlex  # noqa: PLC0415 -- only for hints

    return shlex.quote(str(path))


def reason(error: OSError) -> str:
    """Give what the system says of *error*, without the path that its text would repeat."""
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
