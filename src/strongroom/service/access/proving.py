"""Proving a person by his password: as slow for who is not there, and counted whoever it would have been."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from secrets import token_bytes
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import (
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    RateLimitedError,
)
from strongroom.model import principal
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.registry import Change
from strongroom.service.access.refusals import NOBODY
from strongroom.service.access.shape import PERSON, Person, body_of, decoded, encoded
from strongroom.service.access.throttle import Attempts, Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.model.secret import Secret
    from strongroom.registry import Registry, Row, Snapshot
    from strongroom.service.access.password import Passwords
    from strongroom.service.access.refusals import Refusals

__all__ = ["WRONG", "Proving"]

WRONG = "the name or the password is wrong"
_LATELY_SECONDS = 300.0  # a password that was proven is not stretched again for this long
_MOST_LATELY = 1_000
_NOBODY = "?"  # no name


class Proving:
    """
    Tell whether a password is a person's.

    Threads: safe.

    Attributes:
        attempts: what keeps guessing slow, here and for codes.
    """

    def __init__(
        self, registry: Registry, passwords: Passwords, refusals: Refusals, clock: Callable[[], datetime]
    ) -> None:
        self.attempts = Attempts(registry, clock)
        self._registry = registry
        self._passwords = passwords
        self._refusals = refusals
        self._turns = Turns()
        self._decoy = encoded(Person(created_at=clock(), created_by="", verifier=passwords.decoy))
        self._key = token_bytes(32)
        self._lately: dict[bytes, tuple[Row, float]] = {}
        self._lock = Lock()

    def lately(self, name: str, password: Secret[str], *, source: str, snapshot: Snapshot) -> Row:
        """
        Give the row of the person *name*, whose *password* is or was a moment ago proven to be his.

        Raises:
            NotAuthenticatedError, RateLimitedError, BackendUnavailableError: as `proven`.
        """
        fingerprint = self._fingerprint(name, password)
        row, ends = self._lately.get(fingerprint, (None, 0.0))
        if row is None or monotonic() >= ends or snapshot.of(PERSON).get(row.id) != row:
            row = self.proven(name, password, source)
            with self._lock:
                while len(self._lately) >= _MOST_LATELY:
                    del self._lately[next(iter(self._lately))]
                self._lately[fingerprint] = (row, monotonic() + _LATELY_SECONDS)
        return row

    def _fingerprint(self, name: str, password: Secret[str]) -> bytes:
        typed = name.encode("utf-8", "surrogatepass")
        text = password.reveal().encode("utf-8", "surrogatepass")
        return sha256(self._key + len(typed).to_bytes(8, "big") + typed + text).digest()

    def proven(self, name: str, password: Secret[str], source: str) -> Row:
        """
        Give the row of the person *name*, whose *password* it is. Blocks while argon2id works.

        Raises:
            NotAuthenticatedError: it is not, or the person is disabled.
            RateLimitedError: too many wrong ones, or too many at once.
            BackendUnavailableError: the store gave no answer.
        """
        account = self.attempts.key_of(name)
        snapshot = self._registry.snapshot()
        canonical = _canonical(name) or _NOBODY
        row = snapshot.of(PERSON).get(canonical)
        # Everything below is done alike for who is not there, down to the parsing of a row.
        who = (PERSON_PREFIX + canonical, NOBODY)[row is None]
        body = self._decoy if row is None else row.body
        try:
            self.attempts.take(account, source)
        except RateLimitedError:
            self._refusals.add(who, source, "too many attempts")
            raise
        try:
            with self._turns.turn(source):
                person = body_of(body, Person, PERSON)
                is_proven = self._passwords.proves(canonical, password, person.verifier)
        except RateLimitedError:
            self.attempts.give_back(account, source)
            self._refusals.add(NOBODY, source, "too many logins at once")
            raise
        if row is None or person.is_disabled or not is_proven:
            with suppress(BackendUnavailableError):  # the count stands in memory
                self.attempts.failed(account, source)
            self._refusals.add(who, source, "wrong name or password, or disabled")
            raise NotAuthenticatedError(WRONG)
        self.attempts.succeeded(account, source)
        return row

    def renewed(self, row: Row, password: Secret[str]) -> list[Change]:
        """Give the change that stretches anew what is under an old key or cost."""
        person = decoded(row, Person)
        if person.verifier is None or self._passwords.is_current(person.verifier):
            return []
        try:
            verifier = self._passwords.verifier(row.id, password)
        except InvalidInputError:  # refused as a new one today; it is his all the same
            return []
        return [Change(PERSON, row.id, encoded(msgspec.structs.replace(person, verifier=verifier)))]


def _canonical(name: str) -> str | None:
    try:
        return principal.canonical(name.strip())
    except InvalidInputError:
        return None
