"""
What is not as it should be, and what to type about it.

Not for mending: it looks, at names, modes and dates, and changes nothing. What stands around the room is
looked at in `strongroom.insight`; here is the runner and what only an open room knows.

Rules of this file:

1. All looks are made at once, each on a thread of its own, and left after `LOOK_SECONDS`: what one found
   until then counts.
2. Trouble of one look is a finding, and never hides what the others found.
3. A value is read only where the caller asked for it (`is_deep`), and recorded as a read like any other.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from strongroom.backend import load
from strongroom.bulkhead import Bulkhead, Flight
from strongroom.errors import BackendConfigError, RateLimitedError, StrongroomError
from strongroom.insight import airflow, bounds, cloud, hygiene
from strongroom.insight.finding import LEVELS, NAMES, Finding, Surroundings, failed
from strongroom.service.audit import AuditTrail
from strongroom.service.kinds import Kinds
from strongroom.service.lint import Linter
from strongroom.service.room import Room
from strongroom.service.symptoms import look_at_audit, look_at_room, look_deep
from strongroom.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["NAMES", "Case", "Doctor", "Finding", "Report", "Reports"]

_SETTINGS = "mend it there; docs/settings.md describes every setting"
_AGAIN = timedelta(seconds=10)
LOOK_SECONDS = 15.0
DEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    All that there is to look at; what could not be had is None.

    Args:
        clock: wall clock, UTC.
        settings: None where they are wrong.
        room: None where it does not open.
        audit: its record, which needs no key.
        around: the environment and folders; None looks at the room alone.
        trouble: why there is no room.
    """

    clock: Callable[[], datetime]
    settings: Settings | None = None
    room: Room | None = None
    audit: AuditTrail | None = None
    around: Surroundings | None = None
    trouble: StrongroomError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What an examination found.

    Args:
        findings: worst first.
        at: when it ended, UTC.
        by: who asked for it.
        is_deep: connections were read for it.
    """

    findings: tuple[Finding, ...]
    at: datetime
    by: str
    is_deep: bool


class Reports:
    """
    The last examination of a server's room, for all who administer it; one runs at a time.

    Threads: may be used from several threads at once.

    Attributes:
        last: None where there was none since the process began.
    """

    def __init__(self) -> None:
        self.last: Report | None = None
        self._turn = threading.Lock()

    def make(self, work: Callable[[], Report]) -> Report:
        """
        Do *work* and keep what it gives.

        Raises:
            RateLimitedError: another examination is under way.
        """
        if not self._turn.acquire(blocking=False):
            raise RateLimitedError(
                "another examination is under way", retry_after=_AGAIN, hint="wait and look again"
            )
        try:
            self.last = work()
            return self.last
        finally:
            self._turn.release()


class Doctor:
    """
    Examine a case as its actor.

    Close it, or use it as a context manager: where it opened the room itself, that closes it.

    Threads: may be used from several threads at once.

    Args:
        case: what is looked at.
        is_owner: it opened the room itself.
        reports: keeps what was found, where a server is examined; then *require* is asked first.
        require: refuses who may not examine.
    """

    def __init__(
        self,
        case: Case,
        *,
        is_owner: bool = False,
        reports: Reports | None = None,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        self.case = case
        self._is_owner = is_owner
        self._reports = reports
        self._require = require

    def report(self) -> Report | None:
        """
        Give what the last examination found; None where there was none, or nobody keeps it.

        Raises:
            AccessDeniedError: the actor does not administer the deployment.
        """
        self._require()
        return None if self._reports is None else self._reports.last

    def examine(self, *, is_deep: bool = False) -> Report:
        """
        Look at everything, and keep what was found for whoever asks after.

        Args:
            is_deep: as of `run`.

        Raises:
            AccessDeniedError: as `report`.
            RateLimitedError: another examination is under way.
        """
        self._require()
        room = self.case.room

        def work() -> Report:
            # Who may here is told by policies; the owner of a library's room is nobody's business.
            found = tuple(one for one in self.run(is_deep=is_deep) if one.name != "local-owner")
            by = "" if room is None else room.actor.id
            return Report(findings=found, at=self.case.clock(), by=by, is_deep=is_deep)

        return work() if self._reports is None else self._reports.make(work)

    def run(self, *, is_deep: bool = False, only: Sequence[str] = ()) -> list[Finding]:
        """
        Give all findings, worst first. Trouble of a part is a finding, not an error.

        Args:
            is_deep: also read connections and look at them by the rules of docs/lint.md; each is recorded
                as a read.
            only: names of findings; () for all.

        Raises:
            AccessDeniedError: the actor does not administer the deployment of a server.
        """
        self._require()
        looks = [*self._outside(), *self._inside()]
        room = self.case.room
        if is_deep and room is not None:
            linter = self._linter()
            looks.append(_Look("the connections", lambda: look_deep(room, linter), DEEP_SECONDS))
        bench = Bulkhead("the doctor", threads=len(looks) + 1)
        try:
            begun = [_begin(bench, look) for look in looks]
            found = [finding for look in begun for finding in look.findings()]
        finally:
            bench.close()
        chosen = [finding for finding in found if not only or finding.name in only]
        return sorted(chosen, key=lambda finding: LEVELS.index(finding.level))

    def close(self) -> None:
        """Close the room, where it was opened for this doctor. Safe to call twice."""
        if self._is_owner:
            for part in (self.case.room, self.case.audit):
                if part is not None:
                    part.close()

    def __enter__(self) -> Doctor:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def _linter(self) -> Linter:
        settings, around = self.case.settings, self.case.around
        cache = settings.store.path.parent / "cache" if settings is not None else Path()
        # Without a search path no Airflow is found, and our own types are all there is.
        environ = around.environ if around is not None and settings is not None else {}
        return Linter(Kinds(environ, cache=cache))

    def _outside(self) -> list[_Look]:
        """Give the looks that need no open room."""
        settings, around = self.case.settings, self.case.around
        looks = [_Look("the room", self._trouble)]
        if settings is not None:
            looks.append(_Look("the settings", lambda: bounds.bounds(settings)))
        if settings is not None or around is not None:
            looks.append(_Look("the files", self._files))
        if around is not None:
            deployment = settings.deployment if settings else "default"
            looks += [
                _Look("the environment", lambda: hygiene.environment(around, deployment)),
                _Look("Airflow's configuration", lambda: _airflow(around)),
                _Look("git", lambda: hygiene.in_git(self._secret_files(), around)),
                _Look("the code", lambda: hygiene.literals(_dags(around), around)),
                _Look("the clouds' keys", lambda: cloud.environment_keys(around)),
            ]
        if self.case.audit is not None and settings is not None:
            trail, store = self.case.audit, settings.store.path
            looks.append(_Look("the audit log", lambda: look_at_audit(trail, store)))
        return looks

    def _inside(self) -> list[_Look]:
        room = self.case.room
        if room is None:
            return []
        return [_Look(what, look) for what, look in look_at_room(room, self.case.clock()).items()]

    # --- settings and files ------------------------------------------------------------------------

    def _trouble(self) -> Iterator[Finding]:
        trouble, settings = self.case.trouble, self.case.settings
        if trouble is not None:
            yield Finding(name="room-closed", level="error", what=str(trouble), fix=trouble.hint or _SETTINGS)
            yield from _missing(settings)
        if settings is not None:
            source = settings.source
            what = f"settings from {source}" if source else "no settings file: the defaults"
            yield Finding(name="settings-file", level="ok", what=what)

    def _secret_files(self) -> list[hygiene.SecretFile]:
        around = self.case.around
        config = _airflow_file(around) if around else None
        return hygiene.secret_files(self.case.settings, around.cwd if around else None, config)

    def _files(self) -> Iterator[Finding]:
        settings = self.case.settings
        yield from hygiene.open_to_others(self._secret_files())
        if settings is None:
            return
        if settings.source:
            yield from _writable_by_others(settings.source)
        if settings.audit.path.exists():
            folder = hygiene.SecretFile(settings.audit.path, "the audit folder", mode=0o700)
            yield from hygiene.open_to_others([folder])
        store = settings.store.path
        if not settings.store.may_exist:
            yield Finding(name="no-store", level="note", what="there is no store yet", fix="strongroom init")
            return
        for wrapper in settings.store.wrappers if settings.store.url is None else ():
            if wrapper.path is not None and wrapper.path.parent.resolve() == store.parent.resolve():
                yield Finding(
                    name="key-beside-store",
                    level="note",
                    what=f"key and store are in one folder, {wrapper.path.parent}: "
                    "whoever copies it has both",
                    fix="keep the key elsewhere: store.wrappers, path",
                )


# --- running ---------------------------------------------------------------------------------------


class _Look(NamedTuple):
    """One look: at what, how, and for how long at most."""

    what: str
    work: Callable[[], Iterator[Finding]]
    seconds: float = LOOK_SECONDS


class _Begun(NamedTuple):
    """A look under way: what it found so far, and until when it is waited for."""

    look: _Look
    flight: Flight[None]
    found: list[Finding]
    until: float

    def findings(self) -> list[Finding]:
        """Wait for it and give what it found; trouble of its own is one more finding."""
        what, seconds = self.look.what, self.look.seconds
        try:
            if not self.flight.wait(self.until - time.monotonic()):
                left = failed("warning", f"{what} took over {seconds:g} s to look at, and was left")
                return [*self.found, left]
            self.flight.answer()
        except StrongroomError as error:
            self.found.append(failed("error", f"{what}: {error}", error.hint or ""))
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            self.found.append(failed("error", f"{what}: a file cannot be looked at ({reason})"))
        except Exception as error:  # noqa: BLE001 -- a look that fails must not hide the others; its class alone
            self.found.append(failed("error", f"{what} could not be looked at ({type(error).__name__})"))
        return self.found


def _begin(bench: Bulkhead, look: _Look) -> _Begun:
    found: list[Finding] = []
    # A list, not the generator: what was found before trouble stays.
    flight = bench.submit(lambda: found.extend(look.work()))
    return _Begun(look, flight, found, time.monotonic() + look.seconds)


# --- around the room -------------------------------------------------------------------------------


def _airflow(around: Surroundings) -> Iterator[Finding]:
    config = airflow.find(around)
    if config is not None:
        yield from airflow.configuration(config)


def _airflow_file(around: Surroundings) -> Path | None:
    try:
        config = airflow.find(around)
    except BackendConfigError:
        return None  # said by the look at Airflow's configuration
    return config.file if config else None


def _dags(around: Surroundings) -> list[Path]:
    try:
        config = airflow.find(around)
        return [airflow.dags_folder(config)] if config else []
    except BackendConfigError:
        return []  # as above


def _missing(settings: Settings | None) -> Iterator[Finding]:
    """Tell which packages the configured backends lack."""
    for backend in settings.backend.values() if settings else ():
        try:
            load(backend.kind)
        except BackendConfigError as error:
            if (error.hint or "").startswith("pip install"):
                what = f"the backend {backend.name}: {error}"
                yield Finding(name="missing-extra", level="error", what=what, fix=error.hint or "")


def _writable_by_others(path: Path) -> Iterator[Finding]:
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        yield Finding(
            name="settings-file",
            level="warning",
            what=f"the settings file {path} may be changed by others",
            fix=f"chmod go-w {quote(str(path))}",
        )
