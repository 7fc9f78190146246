"""
The keys of one place: the newest active one seals, all open, each found by its explicit id.

A key encryption key (`Kek`) belongs to one deployment and team of one store. It encrypts nothing
itself: every use has a key of its own, derived with HKDF-Expand and a label. Storing keys, their
states and the count of wraps is the store's business.

Rules of this file:

1. No key is tried: the id in the header names it, or nothing does.
2. No key is made because none was found.
3. Key bytes leave only through a `Wrapper`.

Source: NIST SP 800-57 part 1 §7 (states), RFC 5869 (HKDF); docs/envelope.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING, Literal, NoReturn

from strongroom.crypto import _primitives
from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.crypto.wrapping import Wrapper

__all__ = ["ALARM_WRAPS", "MAX_WRAPS", "Kek", "Keyring", "Place", "State"]

State = Literal["active", "deactivated", "destroyed"]  # seals and opens, opens only, is gone

ALARM_WRAPS = 2**28  # wraps under one key after which it should be rotated
MAX_WRAPS = 2**32  # wraps under one key after which sealing must stop (SP 800-38D §8.3)

_FORMAT = b"SRM\x01"
_ALGORITHM = b"\x01"
_ID_BYTES = 16
_MAC_BYTES = 32
_FINGERPRINT_BYTES = 16
_MAX_NUMBER = 2**32  # the number is bound in 4 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    Where sealed bytes belong: one team of one deployment in one store.

    Attributes:
        store_id: 16 random bytes, made with the store.
        deployment: its name.
        team: its name, or "" for none.
    """

    store_id: bytes
    deployment: str
    team: str = ""

    def __post_init__(self) -> None:
        if len(self.store_id) != _ID_BYTES:
            raise InvalidInputError("a store id has 16 bytes")

    def prefix(self, key_id: bytes) -> bytes:
        """
        Give the first part of what is bound to a sealed value; built once per key.

        Returns:
            for each of format (4), algorithm (1), store id (16), deployment, team and
            *key_id* (16): its length (2, big-endian) ‖ its bytes.
        """
        return _joined(
            _FORMAT, _ALGORITHM, self.store_id, self.deployment.encode(), self.team.encode(), key_id
        )


class Kek:
    """
    One key encryption key.

    It is not printed, pickled or compared by its bytes. *secret* is None for a key that is
    destroyed or whose wrapper could not be asked: it is known, but neither seals nor opens.
    Threads: immutable.

    Attributes:
        place: where it belongs.
        id: 16 random bytes, public; the header of what it sealed names it.
        number: 1 for the first key of a place; a higher number is newer.
        state: what it may still do.
        prefix: `place.prefix(id)`.
        deks: the cipher that wraps data keys, or None without *secret*.
    """

    __slots__ = ("_fingerprints", "_rows", "_secret", "deks", "id", "number", "place", "prefix", "state")

    def __init__(
        self,
        *,
        place: Place,
        id: bytes,  # noqa: A002  # the word of the format
        number: int,
        state: State,
        secret: Secret[bytes] | None,
    ) -> None:
        if len(id) != _ID_BYTES or not 0 < number < _MAX_NUMBER:
            raise InvalidInputError("a key has an id of 16 bytes and a number from 1")
        if state == "destroyed":
            secret = None
        self.place = place
        self.id = id
        self.number = number
        self.state = state
        self.prefix = place.prefix(id)
        self._secret = secret
        self.deks = None if secret is None else _primitives.SivCipher(self._derive(secret, b"dek-wrap"))
        self._rows = None if secret is None else self._derive(secret, b"row-mac")
        self._fingerprints = None if secret is None else self._derive(secret, b"fingerprint")

    @classmethod
    def generate(cls, place: Place, *, number: int) -> Kek:
        """Make a new active key from the kernel's randomness."""
        key_id = _primitives.draw(_ID_BYTES)
        return cls(
            place=place, id=key_id, number=number, state="active", secret=Secret(_primitives.new_key())
        )

    @classmethod
    def unwrapped(
        cls,
        blob: bytes,
        *,
        by: Wrapper,
        place: Place,
        id: bytes,  # noqa: A002  # the word of the format
        number: int,
        state: State,
    ) -> Kek:
        """
        Load the key that `wrapped` stored as *blob*.

        Raises:
            SealedError: the outer key is missing, damaged or another one.
            BackendConfigError: the outer key is kept in a way that cannot be trusted.
            TamperedError: *blob*, place, id or number is not what it was.
        """
        secret = by.unwrap(blob, context=_wrap_context(place, id, number))
        if len(secret) != _primitives.KEY_BYTES:
            raise TamperedError("a wrapped key has the wrong length")
        return cls(place=place, id=id, number=number, state=state, secret=Secret(secret))

    def wrapped(self, *, by: Wrapper) -> bytes:
        """
        Give the bytes to store for this key, bound to its place, id and number.

        Raises:
            SealedError: the key is destroyed or not loaded, or *by* has no outer key.
            BackendConfigError: the outer key is kept in a way that cannot be trusted.
        """
        if self._secret is None:
            raise self.unusable()
        return by.wrap(self._secret.reveal(), context=_wrap_context(self.place, self.id, self.number))

    def becoming(self, state: State) -> Kek:
        """Give the same key in *state*; a destroyed key forgets its bytes and stays destroyed."""
        if self.state == "destroyed":
            state = "destroyed"
        return Kek(place=self.place, id=self.id, number=self.number, state=state, secret=self._secret)

    @property
    def is_loaded(self) -> bool:
        """Tell whether its bytes are here, so that it opens."""
        return self._secret is not None

    def mark(self, row: bytes) -> bytes:
        """
        Authenticate *row* whatever the state of this key, as `Keyring.row_mac` does with the active one.

        Raises:
            SealedError: the key is destroyed or not loaded.
        """
        return self.id + self.mac_row(row)

    def mac_row(self, row: bytes) -> bytes:
        """
        Authenticate *row* for this place: 32 bytes.

        Raises:
            SealedError: the key is destroyed or not loaded.
        """
        if self._rows is None:
            raise self.unusable()
        return _primitives.mac(self._rows, row)

    def fingerprint(self, plaintext: bytes) -> bytes:
        """
        Give 16 bytes that are equal for equal plaintexts under this key and say nothing else.

        Raises:
            SealedError: the key is destroyed or not loaded.
        """
        if self._fingerprints is None:
            raise self.unusable()
        return _primitives.mac(self._fingerprints, plaintext)[:_FINGERPRINT_BYTES]

    def unusable(self) -> SealedError:
        """Say why a key without bytes cannot be used, and who can act."""
        if self.state == "destroyed":
            return SealedError(
                f"key {self.id.hex()} is destroyed, and what it sealed is gone with it",
                hint="write the value anew",
            )
        return SealedError(
            f"key {self.id.hex()} is not loaded", hint="bring back the outer key that wraps it"
        )

    def _derive(self, secret: Secret[bytes], purpose: bytes) -> bytes:
        info = b"srm/v1/" + purpose + b"\x00" + self.prefix
        return _primitives.expand(secret.reveal(), info)[: _primitives.KEY_BYTES]

    def __repr__(self) -> str:
        return f"Kek({self.id.hex()}, number {self.number}, {self.state})"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a key cannot be pickled; store it wrapped")


class Keyring:
    """
    The keys of one place.

    Threads: immutable; rotation gives a new keyring.

    Attributes:
        place: where its keys belong.
        keys: all of them, lowest number first.
        openers: key id → (prefix, cipher of its data keys), for the keys that are loaded.

    Raises:
        InvalidInputError: a key belongs to another place.
        TamperedError: two keys share an id or a number.
    """

    __slots__ = ("_by_id", "keys", "openers", "place")

    def __init__(self, place: Place, keys: Iterable[Kek]) -> None:
        self.place = place
        self.keys = tuple(sorted(keys, key=lambda key: key.number))
        self._by_id = {key.id: key for key in self.keys}
        self.openers = {key.id: (key.prefix, key.deks) for key in self.keys if key.deks is not None}
        if any(key.place != place for key in self.keys):
            raise InvalidInputError("a keyring holds the keys of one place")
        if len(self._by_id) < len(self.keys) or len({key.number for key in self.keys}) < len(self.keys):
            raise TamperedError("two stored keys share an id or a number")

    @property
    def active(self) -> Kek:
        """
        The newest active key: the one that seals.

        Raises:
            SealedError: there is none, or it is not loaded.
        """
        for key in reversed(self.keys):
            if key.state == "active":
                if key.deks is None:
                    raise key.unusable()
                return key
        raise SealedError("no active key is loaded", hint="bring back the outer key, or rotate to a new key")

    def holds(self, key_id: bytes) -> bool:
        """Tell whether a key of that id is of this place, loaded or not."""
        return key_id in self._by_id

    def find(self, key_id: bytes) -> Kek:
        """
        Give the key that *key_id* names; no other is tried.

        Raises:
            SealedError: it is unknown, destroyed or not loaded.
        """
        key = self._by_id.get(key_id)
        if key is None or key.deks is None:
            raise self.missing(key_id)
        return key

    def missing(self, key_id: bytes) -> SealedError:
        """Say why *key_id* opens nothing here, and who can act."""
        key = self._by_id.get(key_id)
        if key is not None:
            return key.unusable()
        return SealedError(
            f"key {key_id.hex()} is not among the keys of this place",
            hint="bring back the key; if there never was such a key, the stored bytes were changed",
        )

    def rotated(self) -> Keyring:
        """Give a keyring with a new active key; those that were active only open from then on."""
        kept = [key.becoming("deactivated") if key.state == "active" else key for key in self.keys]
        number = self.keys[-1].number + 1 if self.keys else 1
        return Keyring(self.place, [*kept, Kek.generate(self.place, number=number)])

    def row_mac(self, row: bytes) -> bytes:
        """
        Authenticate *row* with the active key.

        Returns:
            key id (16) ‖ HMAC-SHA-256 (32).

        Raises:
            SealedError: there is no active key.
        """
        return self.active.mark(row)

    def check_row_mac(self, row: bytes, row_mac: object) -> None:
        """
        Compare *row_mac*, as `row_mac` gave it, in constant time.

        Raises:
            TamperedError: the row or its authentication was changed.
            SealedError: the key it names is unknown, destroyed or not loaded.
        """
        if not isinstance(row_mac, bytes) or len(row_mac) != _ID_BYTES + _MAC_BYTES:
            raise TamperedError("a stored row has no authentication of the right form")
        expected = self.find(row_mac[:_ID_BYTES]).mac_row(row)
        if not _primitives.same(expected, row_mac[_ID_BYTES:]):
            raise TamperedError("a stored row failed authentication")

    def fingerprint(self, plaintext: bytes) -> bytes:
        """
        Give 16 bytes by which equal plaintexts are told, comparable until the next rotation.

        Raises:
            SealedError: there is no active key.
        """
        return self.active.fingerprint(plaintext)

    def __repr__(self) -> str:
        return f"Keyring({self.place.deployment!r}, team {self.place.team!r}, {len(self.keys)} keys)"


def _wrap_context(place: Place, key_id: bytes, number: int) -> bytes:
    # The number is bound so that an old key cannot be made the newest; the state is for the row MAC.
    return b"srm/v1/kek\x00" + place.prefix(key_id) + pack(">I", number)


def _joined(*fields: bytes) -> bytes:
    """Join *fields* so that no two lists give the same bytes: length (2, big-endian) ‖ bytes, each."""
    return b"".join(pack(">H", len(field)) + field for field in fields)
