"""
Everything that can go wrong, named for who can act on it.

Rules of this file:

1. One base, flat below it: a class exists only where a caller would act differently.
2. Evidence is typed attributes (`asked`, `retry_after`), not text.
3. No message holds a value, a URI, a token or the text of a foreign exception. Names of entries,
   backends and settings are allowed; the constructors below take nothing else.
4. Every process that reads a secret imports this file, so it imports nothing itself.

Status codes and exit codes are one table per face (`cli/main.py`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

__all__ = [
    "AccessDeniedError",
    "BackendConfigError",
    "BackendUnavailableError",
    "ConflictError",
    "InvalidInputError",
    "MalformedEntryError",
    "NotAuthenticatedError",
    "NotFoundError",
    "NotRecordedError",
    "RateLimitedError",
    "ReadOnlyError",
    "SealedError",
    "SettingsError",
    "StrongroomError",
    "TamperedError",
]


class StrongroomError(Exception):
    """
    Base of every error of ours; never raised itself.

    Attributes:
        code: stable name of the class for machines (JSON output, HTTP bodies, metrics).
        hint: what to change or type next, or None.
        is_final: True when nothing remembered may stand in for the answer, because the operator
            asked to stop (`on_unavailable = "stop"`).
    """

    code = "error"
    is_final = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint is not None and hasattr(self, "add_note"):  # Python 3.11: a traceback shows notes
            self.add_note(f"hint: {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only evidence is not in `args`; without this an error would not survive a
        # process pool (Airflow's LocalExecutor, multiprocessing).
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(
    kind: type[StrongroomError], args: tuple[object, ...], evidence: dict[str, object]
) -> StrongroomError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(evidence)
    return error


class InvalidInputError(StrongroomError):
    """
    The caller gave a malformed name, URI, JSON or file, or went over a limit.

    Attributes:
        offset: where in the input it went wrong, in characters from 0, or None.
        limit: the limit that was passed, in the unit the message names, or None.
        rule: number of the refusal in docs/compatibility.md (`"R1"` …), or None.
    """

    code = "invalid_input"

    def __init__(
        self,
        message: str,
        *,
        offset: int | None = None,
        limit: int | None = None,
        rule: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.limit = limit
        self.rule = rule


class NotFoundError(StrongroomError):
    """
    Every backend of the chain was asked and had nothing.

    Attributes:
        asked: (backend, outcome) in the order asked.
    """

    code = "not_found"

    def __init__(
        self, message: str, *, asked: Iterable[tuple[str, str]] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.asked = tuple(asked)


class AccessDeniedError(StrongroomError):
    """
    Policy or a backend said no. The chain stops here, always.

    Attributes:
        reason: which rule or which backend said so.
    """

    code = "access_denied"

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class NotAuthenticatedError(StrongroomError):
    """No valid identity came with the request."""

    code = "not_authenticated"


class ConflictError(StrongroomError):
    """
    The entry changed meanwhile, or exists already.

    Attributes:
        current_version: the version that stands now, or None where it is not known.
    """

    code = "conflict"

    def __init__(self, message: str, *, current_version: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.current_version = current_version


class ReadOnlyError(StrongroomError):
    """This place cannot be written, or not in the way that was asked."""

    code = "read_only"


class BackendUnavailableError(StrongroomError):
    """
    A backend gave no answer now; the same question may be answered later.

    Attributes:
        backend: its name in the settings.
        retry_after: how long to wait before asking again, or None.
    """

    code = "backend_unavailable"

    def __init__(
        self,
        message: str,
        *,
        backend: str,
        retry_after: timedelta | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.backend = backend
        self.retry_after = retry_after


class BackendConfigError(StrongroomError):
    """A backend will never work as it is configured."""

    code = "backend_config"


class MalformedEntryError(StrongroomError):
    """
    What is stored has the wrong shape, or its place keeps it from use. The chain stops here, always.

    Attributes:
        backend: the name of the backend that holds the entry.
        ref: kind and name of the entry, as text.
        offset: where in the stored text it went wrong, in characters from 0, or None.
        reason: `malformed`; `expired` past its `not_after`, or the date of its end in the store; `not_active`
            before that of its beginning; `disabled` or `destroyed` where the store says so of it.
    """

    code = "malformed_entry"

    def __init__(
        self,
        message: str,
        *,
        backend: str,
        ref: str,
        offset: int | None = None,
        reason: str = "malformed",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.backend = backend
        self.ref = ref
        self.offset = offset
        self.reason = reason


class RateLimitedError(StrongroomError):
    """
    Too much, too fast.

    Attributes:
        retry_after: how long to wait before asking again, or None.
    """

    code = "rate_limited"

    def __init__(
        self, message: str, *, retry_after: timedelta | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class SealedError(StrongroomError):
    """
    No key is loaded that could open the store.

    Attributes:
        retry_after: how long to wait before it may open by itself, because whoever holds its outer key
            gives no answer now; None where somebody has to act.
    """

    code = "sealed"

    def __init__(
        self, message: str, *, retry_after: timedelta | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TamperedError(StrongroomError):
    """Stored bytes failed authentication: they were changed, moved or damaged. The chain stops."""

    code = "tampered"


class NotRecordedError(StrongroomError):
    """
    The audit record could not be written, so the answer does not leave.

    Apart from `BackendUnavailableError` because a caller acts differently: no other backend and no
    value from memory may answer instead.

    Attributes:
        folder: the audit folder that could not be written.
    """

    code = "not_recorded"

    def __init__(self, message: str, *, folder: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.folder = folder


class SettingsError(StrongroomError):
    """
    The settings are wrong.

    Attributes:
        key: dotted name of the setting (`cache.ttl`), or None when the file itself is the trouble.
    """

    code = "settings"

    def __init__(self, message: str, *, key: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.key = key
