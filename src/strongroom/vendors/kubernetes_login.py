"""
Who a client of Kubernetes is: tokens that stand in files, that change, or that a program gives.

Not for where the API server is (`kubernetes_config.py`), nor for asking it (`kubernetes.py`).

Rules of this file:

1. A file of a token is looked at before each request and read when it changed: the kubelet replaces the token
   of a service account about every hour.
2. A program (`exec` of a kubeconfig) is the operator's own: it runs without a shell and a terminal, writes at
   most 64 KiB within 10 s, and runs again shortly before its token ends or when that is refused; one that
   fails, or gives the refused token again, not within 5 s, however many threads ask.
3. Certificates and keys that stand inside a kubeconfig touch no disk where the system has memory files.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from strongroom.errors import BackendConfigError, InvalidInputError, NotAuthenticatedError, SettingsError
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bearer", "GivenToken", "MemoryFiles", "Program", "ProgramToken", "TokenFile"]

_MAX_TOKEN_BYTES = 65_536
_LEAD = timedelta(seconds=30)  # before the end of a token at which another is fetched
_REFUSED_SECONDS = 5.0  # for which what gave no other token is not asked for one again
_TOKEN = re.compile(r"[!-~]+")  # what can stand in a header
_APIS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Bearer(Protocol):
    """Who asks."""

    def token(self) -> Secret[str]:
        """
        Give the token to send now.

        Raises:
            NotAuthenticatedError: there is none.
        """

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        """Give another token than the one that was *refused*, or None."""


class GivenToken:
    """A token of the settings, fetched again where the server takes it no more."""

    def __init__(self, fetch: Callable[[], Secret[str]], timer: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._timer = timer
        self._held: Secret[str] | None = None
        self._same_until = 0.0
        self._locks: dict[int, threading.Lock] = {}  # by process id, as of `ProgramToken`

    def token(self) -> Secret[str]:
        if self._held is None:
            self._held = self._fetch()
        return self._held

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        # Whoever comes meanwhile waits for the token that is being fetched.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._held == refused and self._timer() >= self._same_until:
                self._same_until = self._timer() + _REFUSED_SECONDS
                self._held = self._fetch()
            return None if self._held == refused else self._held


class TokenFile:
    """
    A token in a file that somebody else replaces.

    Args:
        place: the backend's name, for messages.
        path: of the file.
    """

    def __init__(self, place: str, path: Path) -> None:
        self._place = place
        self._path = path
        self._held: tuple[tuple[int, ...], Secret[str]] | None = None

    def token(self) -> Secret[str]:
        try:
            found = self._path.stat()
        except OSError:
            raise self._missing() from None
        signature = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        held = self._held
        if held is None or held[0] != signature:
            held = signature, self._read()
            self._held = held
        return held[1]

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        self._held = None
        found = self.token()
        return None if found == refused else found

    def _read(self) -> Secret[str]:
        try:
            # A FIFO in its place would wait for a writer.
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(file, "rb") as opened:
                text = opened.read(_MAX_TOKEN_BYTES + 1).decode("ascii").strip()
        except (OSError, ValueError):
            raise self._missing() from None
        if len(text) > _MAX_TOKEN_BYTES or _TOKEN.fullmatch(text) is None:
            raise self._missing()
        return Secret(text)

    def _missing(self) -> NotAuthenticatedError:
        return NotAuthenticatedError(
            f"the backend {self._place} has no token: the file {self._path} is missing or holds none",
            hint="give the pod a service account (automountServiceAccountToken), or set token_path",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """
    The `exec` of a kubeconfig.

    Args:
        command: the program and its arguments.
        api: the version it speaks.
        environ: what its environment has beside ours.
        info: what it is told, as JSON.
    """

    command: tuple[str, ...] = field(repr=False)
    api: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    info: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.api not in _APIS:
            raise BackendConfigError(
                "the kubeconfig signs in by a program of a version that is not spoken here",
                hint=f"known: {', '.join(_APIS)}",
            )


class ProgramToken:
    """
    A token that a program gives.

    Args:
        place: the backend's name, for messages.
        program: which, and how.
        environ: the environment it runs in.
        clock: wall clock, UTC, for the end of tokens.
        timer: seconds that only go up.
    """

    def __init__(
        self,
        place: str,
        program: Program,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._program = program
        self._environ = environ
        self._clock = clock
        self._timer = timer
        self._held: tuple[Secret[str], datetime | None] | None = None
        self._refusal: NotAuthenticatedError | None = None
        self._refused_until = 0.0
        self._same_until = 0.0
        # By process id: a forked child must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, threading.Lock] = {}

    def token(self) -> Secret[str]:
        held = self._held
        if held is not None and (held[1] is None or self._clock() < held[1] - _LEAD):
            return held[0]
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._held is held:  # nobody else fetched one meanwhile
                self._held = self._run()
            found = self._held
        if found is None:
            raise self._failed("gives no token")
        return found[0]

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            held = self._held
            if (held is None or held[0] == refused) and self._timer() >= self._same_until:
                self._same_until = self._timer() + _REFUSED_SECONDS
                held = self._held = self._run()
        return None if held is None or held[0] == refused else held[0]

    def _run(self) -> tuple[Secret[str], datetime | None]:
        if self._refusal is not None and self._timer() < self._refused_until:
            raise copy(self._refusal)
        try:
            found = self._fetched()
        except NotAuthenticatedError as refusal:
            self._refusal, self._refused_until = copy(refusal), self._timer() + _REFUSED_SECONDS
            raise
        self._refusal = None
        return found

    def _fetched(self) -> tuple[Secret[str], datetime | None]:
        from strongroom.settings.source import output_of  # noqa: PLC0415 -- few sign in by a program

        program = self._program
        environ = {**self._environ, **program.environ, "KUBERNETES_EXEC_INFO": program.info}
        try:
            written = output_of(program.command, f"the kubeconfig of {self._place}", environ=environ)
            answer = decode(written.decode(), what="what it wrote")
        except SettingsError as error:
            raise NotAuthenticatedError(str(error), hint="run it by hand to see why") from None
        except (InvalidInputError, UnicodeDecodeError):
            raise self._failed("writes no JSON") from None
        given = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(given, dict):
            raise self._failed("gives no token")
        if "clientCertificateData" in given:
            raise self._failed("gives a certificate, which is not taken from a program")
        token = given.get("token")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise self._failed("gives no token")
        return Secret(token), _moment(given.get("expirationTimestamp"))

    def _failed(self, what: str) -> NotAuthenticatedError:
        return NotAuthenticatedError(
            f"the program that the kubeconfig of the backend {self._place} names {what}",
            hint="run it by hand: it must write an ExecCredential with a token",
        )


def _moment(text: object) -> datetime | None:
    """Read RFC 3339 as programs write it; what is none says nothing of an end."""
    if not isinstance(text, str):
        return None
    with suppress(ValueError):
        found = datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text).replace("Z", "+00:00"))
        return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
    return None


class MemoryFiles:
    """
    Files for what only files can be given to, which nobody else can open.

    They are memory where the system has that, and else files of this user alone, removed at `close`.
    """

    def __init__(self) -> None:
        self._open: list[int] = []
        self._paths: list[Path] = []

    def keep(self, data: bytes) -> Path:
        """Give the path of a file that holds *data*, good until `close` and in forked children."""
        if not hasattr(os, "memfd_create"):
            return self._on_disk(data)
        file = os.memfd_create("strongroom")
        self._open.append(file)
        with os.fdopen(file, "wb", closefd=False) as opened:
            opened.write(data)
        return Path(f"/proc/self/fd/{file}")

    def _on_disk(self, data: bytes) -> Path:
        import tempfile  # noqa: PLC0415 -- only where there are no memory files

        file, path = tempfile.mkstemp(prefix="strongroom-")
        self._paths.append(Path(path))
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
        return Path(path)

    def close(self) -> None:
        """Let go of them. Safe to call twice."""
        for file in self._open:
            with suppress(OSError):
                os.close(file)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._open, self._paths = [], []
