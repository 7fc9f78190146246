"""
Passwords: set, and proven, at the same cost whether there is such a person or not.

Rules of this file:

1. A password is stretched with argon2id and the result is authenticated by the deployment's key: the store
   alone gives nothing to guess against.
2. Who is not there, or has no password, is checked against a decoy: same work, same time.
"""

from __future__ import annotations

import unicodedata
from secrets import token_bytes
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.model.principal import folded
from strongroom.service.access.shape import Verifier

if TYPE_CHECKING:
    from strongroom.model.secret import Secret
    from strongroom.registry import Seal

__all__ = [
    "MAX_PASSWORD_CHARACTERS",
    "MIN_PASSWORD_CHARACTERS",
    "RECOMMENDED",
    "Cost",
    "Passwords",
    "Stretch",
]

MIN_PASSWORD_CHARACTERS = 8  # NIST SP 800-63B §5.1.1.2
MAX_PASSWORD_CHARACTERS = 1024

# What everybody tries first, of those that are long enough.
_COMMON = frozenset({
    "00000000", "11111111", "12345678", "123456789", "1234567890", "1q2w3e4r", "admin123", "administrator",
    "airflow1", "airflow123", "baseball", "changeit", "changeme", "football", "iloveyou", "letmein1",
    "p@ssw0rd", "p@ssword", "passw0rd", "password", "password1", "password123", "princess", "qwerty123",
    "qwertyuiop", "strongroom", "sunshine", "superman", "trustno1", "welcome1",
})  # fmt: skip


class Cost(NamedTuple):
    """What one guess costs."""

    memory_kib: int
    iterations: int
    lanes: int


RECOMMENDED = Cost(memory_kib=19_456, iterations=2, lanes=1)  # KiB = 19 MiB; OWASP Password Storage, argon2id
CHEAP = Cost(memory_kib=8, iterations=1, lanes=1)  # the least argon2id allows; for tests only


class Stretch(Protocol):
    """What stretches: `crypto.wrapping.stretch`."""

    def __call__(
        self, passphrase: bytes, salt: bytes, *, memory_kib: int, iterations: int, lanes: int
    ) -> bytes: ...


class Passwords:
    """
    Make and check verifiers.

    Threads: safe; each call takes the memory of its cost while it runs.
    """

    def __init__(self, seal: Seal, deployment: str, stretch: Stretch, *, cost: Cost = RECOMMENDED) -> None:
        self._seal = seal
        self._deployment = deployment
        self._stretch = stretch
        self._cost = cost
        salt = token_bytes(16)
        self.decoy = Verifier(salt=salt, **cost._asdict(), mac=self._mac("", salt, cost, token_bytes(32)))

    def verifier(self, name: str, password: Secret[str]) -> Verifier:
        """
        Give what the password of the person *name* is checked against from now on.

        Raises:
            InvalidInputError: it is too short, too long, the name itself, or what everybody tries first.
            BackendConfigError: argon2id or its memory is not to be had here.
        """
        _check(name, password)
        salt = token_bytes(16)
        stretched = self._stretch(_bytes(password), salt, **self._cost._asdict())
        return Verifier(salt=salt, **self._cost._asdict(), mac=self._mac(name, salt, self._cost, stretched))

    def proves(self, name: str, password: Secret[str], verifier: Verifier | None) -> bool:
        """
        Tell whether *password* is that of the person *name*.

        Args:
            name: canonical.
            password: as it was typed.
            verifier: his; None for a person who is not there or has no password, at the same cost.

        Raises:
            SealedError: the key is not to be had.
            BackendConfigError: argon2id or its memory is not to be had here.
        """
        against = verifier or self.decoy
        cost = Cost(against.memory_kib, against.iterations, against.lanes)
        stretched = self._stretch(_bytes(password), against.salt, **cost._asdict())
        try:
            self._seal.check_row("password", self._columns(name, against.salt, cost, stretched), against.mac)
        except TamperedError:
            return False
        return verifier is not None and len(password.reveal()) <= MAX_PASSWORD_CHARACTERS

    def is_current(self, verifier: Verifier) -> bool:
        """Tell whether *verifier* costs what it should and is under the key that stands."""
        cost = Cost(verifier.memory_kib, verifier.iterations, verifier.lanes)
        try:
            key = self._seal.mac_row("password", ())[:16]
        except SealedError:
            return True  # nothing better can be made now
        return cost == self._cost and verifier.mac[:16] == key

    def _mac(self, name: str, salt: bytes, cost: Cost, stretched: bytes) -> bytes:
        return self._seal.mac_row("password", self._columns(name, salt, cost, stretched))

    def _columns(self, name: str, salt: bytes, cost: Cost, stretched: bytes) -> tuple[object, ...]:
        return (self._deployment, name, salt, *cost, stretched)


def _bytes(password: Secret[str]) -> bytes:
    """Give what is stretched: composed, so that any keyboard can type it; never empty, never endless."""
    text = unicodedata.normalize("NFC", password.reveal()[: MAX_PASSWORD_CHARACTERS + 1])
    return b"\x01" + text.encode("utf-8", "surrogatepass")


def _check(name: str, password: Secret[str]) -> None:
    text = password.reveal()
    if not MIN_PASSWORD_CHARACTERS <= len(text) <= MAX_PASSWORD_CHARACTERS:
        raise InvalidInputError(
            f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters",
            limit=MIN_PASSWORD_CHARACTERS if len(text) < MIN_PASSWORD_CHARACTERS else MAX_PASSWORD_CHARACTERS,
        )
    if folded(text) == folded(name) or text.casefold() in _COMMON:
        raise InvalidInputError(
            "this password is what everybody tries first", hint="take several words, or let a program draw it"
        )
