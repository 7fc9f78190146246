"""
An outer key stretched from a passphrase with argon2id.

It protects against the theft of the whole host at rest, as well as the passphrase is hard to
guess: whoever has the store may guess as fast as argon2id lets them. Salt and cost stand in the
wrapped blob, so that a later change of the profile leaves old blobs readable. Byte by byte:
docs/envelope.md.
"""

from __future__ import annotations

import struct
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.crypto import wrapping
from strongroom.crypto.wrapping import Wrapper
from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INSECURE_TEST_PROFILE", "RECOMMENDED_PROFILE", "PassphraseWrapper", "Profile"]

MIN_CHARACTERS = 8  # for a new passphrase (NIST SP 800-63B §5.1.1.2)
_MAX_MEMORY_KIB = 1_048_576  # KiB = 1 GiB
_MAX_ITERATIONS = 16
_MAX_LANES = 16
_SALT_BYTES = 16
_COST = struct.Struct(">IHH")  # memory in KiB, iterations, lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    What one guess costs.

    Attributes:
        memory_kib: memory in KiB, at least 8 a lane, at most 1 GiB.
        iterations: passes over that memory, 1 to 16.
        lanes: computed side by side, 1 to 16.

    Raises:
        InvalidInputError: a number is outside its range.
    """

    memory_kib: int
    iterations: int
    lanes: int

    def __post_init__(self) -> None:
        is_bounded = (
            1 <= self.lanes <= _MAX_LANES
            and 1 <= self.iterations <= _MAX_ITERATIONS
            and 8 * self.lanes <= self.memory_kib <= _MAX_MEMORY_KIB
        )
        if not is_bounded:
            raise InvalidInputError(
                "a passphrase profile is outside its range",
                hint="8 KiB a lane to 1 GiB of memory, 1 to 16 iterations, 1 to 16 lanes",
            )


# RFC 9106 §4, second recommended option: about 0.15 s and 64 MiB a guess.
RECOMMENDED_PROFILE = Profile(memory_kib=65_536, iterations=3, lanes=4)
# The least argon2id allows; for tests only: guessing is as cheap as a hash.
INSECURE_TEST_PROFILE = Profile(memory_kib=8, iterations=1, lanes=1)


class PassphraseWrapper(Wrapper):
    """
    Wrap with a key stretched from *passphrase*.

    Args:
        passphrase: compared after Unicode NFC, so that it can be typed on any keyboard; or what fetches
            it, called once, when it is first needed.
        profile: cost of what is wrapped from now on; blobs bring their own.

    Threads: safe; each call takes the memory of its profile while it runs.
    """

    kind = "passphrase"
    name = "passphrase"

    def __init__(
        self, passphrase: Secret[str] | Callable[[], Secret[str]], *, profile: Profile = RECOMMENDED_PROFILE
    ) -> None:
        self._passphrase = passphrase
        self._profile = profile

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        """
        Wrap *key* (32 bytes) under a fresh salt.

        Raises:
            InvalidInputError: the passphrase has fewer than 8 characters.
            BackendConfigError: argon2id or its memory is not to be had here.
        """
        if len(self._text()) < MIN_CHARACTERS:
            raise InvalidInputError(
                f"a passphrase has at least {MIN_CHARACTERS} characters", limit=MIN_CHARACTERS
            )
        profile = self._profile
        cost = _COST.pack(profile.memory_kib, profile.iterations, profile.lanes)
        salted = cost + wrapping.draw_salt()
        outer = self._stretched(salted, profile)
        return wrapping.frame(self.kind, salted + wrapping.wrap_under(outer, key, context=salted + context))

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        body = wrapping.unframe(blob, self.kind)
        salted, wrapped = body[: _COST.size + _SALT_BYTES], body[_COST.size + _SALT_BYTES :]
        if len(salted) < _COST.size + _SALT_BYTES:
            raise TamperedError("a stored key is cut short")
        outer = self._stretched(salted, _profile_of(salted))
        try:
            return wrapping.unwrap_under(outer, wrapped, context=salted + context)
        except TamperedError:
            # Nothing tells a wrong passphrase from a changed blob; the likelier one can be mended at once.
            raise SealedError(
                "the passphrase is wrong, or the stored key was changed", hint="type the passphrase again"
            ) from None

    def _text(self) -> str:
        if not isinstance(self._passphrase, Secret):
            self._passphrase = self._passphrase()
        return self._passphrase.reveal()

    def _stretched(self, salted: bytes, profile: Profile) -> bytes:
        text = unicodedata.normalize("NFC", self._text())
        return wrapping.stretch(
            text.encode("utf-8", "surrogatepass"),
            salted[_COST.size :],
            memory_kib=profile.memory_kib,
            iterations=profile.iterations,
            lanes=profile.lanes,
        )


def _profile_of(salted: bytes) -> Profile:
    memory_kib, iterations, lanes = _COST.unpack_from(salted)
    try:
        # The bounds hold here too: who can write the store must not name a cost of a terabyte.
        return Profile(memory_kib=memory_kib, iterations=iterations, lanes=lanes)
    except InvalidInputError:
        raise TamperedError("a stored key names a cost outside its range") from None
