"""
Any secrets backend class that Airflow could be configured with, as a backend here.

Rules of this file:

1. The class is imported and made when something is first asked for, once a process: one that opens a
   socket in its constructor hurts nobody who does not ask, and no child shares it.
2. What the class raises is *denied* where that can be known, else *unavailable*, never absent; its text is
   not repeated. Airflow itself passes over either and asks the next place.

What a class is asked, and what it must be like: docs/backends/airflow_class.md.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.backend import Backend, Health, check_size, ephemeral_version
from strongroom.backend.parallel import together
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.entry import Entry
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.vendors.airflow_secrets import ask, instance_of, is_denial, keeps_teams

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["BACKEND", "AirflowClass", "AirflowClassOptions"]

_THREADS = 8  # as many as ask it one name each: how many more a stranger's class bears is not known
_NOBODY = Ref("variable", "strongroom-check")


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowClassOptions:
    """
    The class, and what it is made with.

    Args:
        path: dotted path, as in `[secrets] backend` of Airflow.
        kwargs: its keyword arguments, as in `backend_kwargs`; a table of one `file`, `env` or `command` is
            a secret that is fetched from there, at any depth.
        none: keyword arguments that are None, which a settings file cannot write.
    """

    path: str
    kwargs: Mapping[str, Secret[str] | object] = field(default_factory=dict)
    none: tuple[str, ...] = ()


class AirflowClass(Backend):
    """
    One instance of a stranger's class.

    It can neither be written nor listed, because Airflow's classes cannot. A version is a hash
    under a key of this process.

    Trust: the class is code of this process: it sees its own secrets and whatever else the process has.
    Threads: its methods are called from several at once, as Airflow's own processes do it.
    Consistency: the class's own.
    """

    options_type = AirflowClassOptions
    is_batched = True

    def __init__(self, name: str, options: AirflowClassOptions, clock: Callable[[], datetime]) -> None:
        """
        Take note of what is to be made.

        Args:
            name: its name in the settings.
            options: what the settings say.
            clock: gives the time, UTC.
        """
        self.name = name
        self.options = options
        self._clock = clock
        self._key = secrets.token_bytes(16)
        # By process id, so that a forked child neither shares a connection nor waits for a lost lock.
        self._made: dict[int, Any] = {}
        self._locks: dict[int, threading.Lock] = {}

    def read(self, ref: Ref) -> Entry | None:
        trouble: StrongroomError
        try:
            return self._read(ref)
        except StrongroomError as caught:
            trouble = caught
        except Exception as error:  # noqa: BLE001 -- the seam where foreign errors end
            trouble = self._trouble(error, ref)
        # Raised anew, outside `except`: the frames it came through hold what is stored.
        trouble.__context__ = None
        raise trouble.with_traceback(None)

    def read_many(self, refs: Sequence[Ref]) -> list[Entry | StrongroomError | None]:
        """As `Batched.read_many`: the class knows one name at a time, so it is asked on several threads."""
        found = together(
            self._tried,
            list(dict.fromkeys(refs)),
            threads=_THREADS,
            late=lambda: BackendUnavailableError(
                f"the backend {self.name} gave no answer in time", backend=self.name
            ),
            place=self.name,
        )
        answers = [found[ref] for ref in refs]
        return [copy(one) if isinstance(one, StrongroomError) else one for one in answers]

    def _tried(self, ref: Ref) -> Entry | StrongroomError | None:
        try:
            return self.read(ref)
        except StrongroomError as error:
            return error.with_traceback(None)

    def check(self) -> Health:
        """Ask for a name that nobody gives: the class has no other way to tell."""
        try:
            self.read(_NOBODY)
        except AccessDeniedError:
            return Health(
                status="ready",
                message="it refuses to be asked for a name that nobody gives",
                may={"read": "unknown", "list": "no", "write": "no"},
            )
        except StrongroomError as error:
            return Health.failed(error)
        return Health(status="ready", may={"read": "yes", "list": "no", "write": "no"})

    def close(self) -> None:
        self._made.pop(os.getpid(), None)

    def _read(self, ref: Ref) -> Entry | None:
        instance = self._instance()
        if ref.team is not None and not keeps_teams(instance, ref.kind):
            return None
        text: object = ask(instance, ref.kind, ref.name, ref.team)
        if text is None:
            return None
        if not isinstance(text, str):
            raise MalformedEntryError(
                f"{ref} in the backend {self.name} is no text", backend=self.name, ref=str(ref)
            )
        check_size(text, backend=self.name, ref=ref)
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend=self.name,
            version=ephemeral_version(self._key, text),
            read_at=self._clock(),
        )

    def _instance(self) -> Any:  # noqa: ANN401 -- a stranger's object
        process = os.getpid()
        made = self._made.get(process)
        if made is not None:
            return made
        # `setdefault` is atomic; the lock keeps several first readers from logging in at once.
        with self._locks.setdefault(process, threading.Lock()):
            if process not in self._made:
                self._made[process] = instance_of(
                    self.options.path, {**self.options.kwargs, **dict.fromkeys(self.options.none)}
                )
            return self._made[process]

    def _trouble(self, error: Exception, ref: Ref) -> StrongroomError:
        kind = type(error).__name__
        if is_denial(error):
            return AccessDeniedError(f"the backend {self.name} refuses {ref} ({kind})", reason=kind)
        return BackendUnavailableError(
            f"the backend {self.name} failed with {kind}",
            backend=self.name,
            hint=f"look at what {self.options.path} needs: its arguments, its network, its packages",
        )


BACKEND = AirflowClass
