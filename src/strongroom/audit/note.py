"""
Signed notes: a text, and who signed it.

Rules of this file:

1. The text ends in a newline, has no empty line and no control character; the signatures follow an empty
   line, one a line.
2. A key is known by its whole verifier text, never found by trying: name and id on the signature line say
   which.
3. A checkpoint is a note: origin, size and root of the tree, then the time it was made at.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit.tree import HASH_BYTES
from strongroom.errors import TamperedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Checkpoint", "Note", "Signer", "Verifier", "new_signer", "parse_checkpoint", "parse_notes"]

_ED25519 = 1  # algorithm of a plain signature
_COSIGNATURE = 4  # of a witness: Ed25519 over the note with a time
_NAME = re.compile(r"[^\s+]{1,250}")
_ID_BYTES = 4
_SIGNATURE_BYTES = 64
_MARK = "\u2014 "  # em dash
_AT = re.compile(r"at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)")


class Note(NamedTuple):
    """
    Args:
        text: what is signed, its last newline included.
        signatures: (name, id of the key, signature) in order.
    """

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def format(self) -> str:
        """Give it as it is written down."""
        lines = [f"{_MARK}{name} {_encode(id_ + signature)}\n" for name, id_, signature in self.signatures]
        return f"{self.text}\n{''.join(lines)}"


class Checkpoint(NamedTuple):
    """
    What a checkpoint says.

    Args:
        origin: of which log.
        size: records it covers.
        root: of the tree over them.
        at: when it was made, as `Record.at`; "" where it does not say.
    """

    origin: str
    size: int
    root: bytes
    at: str = ""

    def format(self) -> str:
        """Give the text that is signed."""
        at = f"at {self.at}\n" if self.at else ""
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n{at}"


class Verifier(NamedTuple):
    """A public key by its name. `format` gives and `parse` takes C2SP's verifier key text."""

    name: str
    public: bytes
    algorithm: int = _ED25519

    @property
    def id(self) -> bytes:
        """The first bytes of what names the key."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([self.algorithm]) + self.public).digest()[
            :_ID_BYTES
        ]

    def format(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(bytes([self.algorithm]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """
        Read a verifier key.

        Raises:
            ValueError: it is none.
        """
        name, _, rest = text.strip().partition("+")
        id_, _, key = rest.partition("+")
        data = _decode(key)
        if not _NAME.fullmatch(name) or len(data) != 33 or data[0] not in (_ED25519, _COSIGNATURE):  # noqa: PLR2004 -- an algorithm and a key
            raise ValueError("this is no verifier key")
        found = cls(name, data[1:], data[0])
        if found.id.hex() != id_:
            raise ValueError("this verifier key was mistyped")
        return found

    def has_signed(self, note: Note) -> bool:
        """Tell whether *note* has a good signature of this key. A bad one in its name counts as none."""
        from strongroom.crypto import _primitives  # noqa: PLC0415 -- only who verifies loads the library

        for name, id_, found in note.signatures:
            signature = found
            if name != self.name or id_ != self.id:
                continue
            text = note.text.encode()
            if self.algorithm == _COSIGNATURE:
                seconds, signature = int.from_bytes(found[:8], "big"), found[8:]
                text = f"cosignature/v1\ntime {seconds}\n".encode() + text
            try:
                _primitives.ed25519_check(self.public, signature, text)
            except TamperedError:
                continue
            return True
        return False


class Signer(NamedTuple):
    """A private key by its name; does not print."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        from strongroom.crypto import _primitives  # noqa: PLC0415 -- as above

        return Verifier(self.name, _primitives.ed25519_public(self.seed))

    def sign(self, text: str) -> Note:
        """Give *text* as a note signed by this key."""
        from strongroom.crypto import _primitives  # noqa: PLC0415 -- as above

        signature = _primitives.ed25519_sign(self.seed, text.encode())
        return Note(text, ((self.name, self.verifier.id, signature),))

    def cosign(self, note: Note, seconds: int) -> tuple[str, bytes, bytes]:
        """Give the signature line of a witness that saw *note* at *seconds* since 1970."""
        from strongroom.crypto import _primitives  # noqa: PLC0415 -- as above

        text = f"cosignature/v1\ntime {seconds}\n{note.text}"
        witness = Verifier(self.name, self.verifier.public, _COSIGNATURE)
        return (
            self.name,
            witness.id,
            seconds.to_bytes(8, "big") + _primitives.ed25519_sign(self.seed, text.encode()),
        )

    @property
    def witness(self) -> Verifier:
        """The public half of a key that cosigns."""
        return Verifier(self.name, self.verifier.public, _COSIGNATURE)

    def format(self) -> str:
        """Give the private key as it is kept in its file."""
        return f"PRIVATE+KEY+{self.name}+{self.verifier.id.hex()}+{_encode(bytes([_ED25519]) + self.seed)}"

    @classmethod
    def parse(cls, text: str) -> Signer:
        """
        Read a private key. No message holds any of it.

        Raises:
            ValueError: it is none.
        """
        parts = text.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:  # noqa: PLR2004 -- the parts above
            raise ValueError("this is no signing key")
        data = _decode(parts[4])
        if len(data) != 33 or data[0] != _ED25519:  # noqa: PLR2004 -- an algorithm and a seed
            raise ValueError("this is no signing key")
        made = cls(parts[2], data[1:])
        if made.verifier.id.hex() != parts[3]:
            raise ValueError("this signing key was damaged")
        return made

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, …)"


def new_signer(name: str) -> Signer:
    """Draw a key for *name*, which has no space and no plus sign."""
    from strongroom.crypto import _primitives  # noqa: PLC0415 -- as above

    if not _NAME.fullmatch(name):
        raise ValueError("the name of a key has no space and no plus sign")
    return Signer(name, _primitives.new_key())


def parse_notes(text: str) -> list[Note]:
    """
    Read notes that stand one after the other.

    Raises:
        ValueError: something there is none.
    """
    notes = []
    lines = iter(text.split("\n")[:-1])
    body: list[str] = []
    signatures: list[tuple[str, bytes, bytes]] = []
    is_body = True
    for line in lines:
        if is_body and line:
            body.append(line)
        elif is_body:
            is_body = False
        elif line.startswith(_MARK):
            signatures.append(_signature(line))
        else:
            notes.append(_note(body, signatures))
            body, signatures, is_body = [line], [], True
    if body or signatures:
        notes.append(_note(body, signatures))
    if text and not text.endswith("\n"):
        raise ValueError("the last note is not whole")
    return notes


def _note(body: Sequence[str], signatures: Sequence[tuple[str, bytes, bytes]]) -> Note:
    if not body or not signatures:
        raise ValueError("a note has a text and a signature")
    return Note("".join(f"{line}\n" for line in body), tuple(signatures))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, data = line.removeprefix(_MARK).partition(" ")
    found = _decode(data)
    if not _NAME.fullmatch(name) or len(found) not in (
        _ID_BYTES + _SIGNATURE_BYTES,
        _ID_BYTES + 8 + _SIGNATURE_BYTES,
    ):
        raise ValueError("this is no signature")
    return name, found[:_ID_BYTES], found[_ID_BYTES:]


def parse_checkpoint(note: Note) -> Checkpoint:
    """
    Read what a checkpoint says; proves nothing.

    Raises:
        ValueError: it is none.
    """
    lines = note.text.split("\n")
    if len(lines) < 4 or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):  # noqa: PLR2004 -- three lines
        raise ValueError("this is no checkpoint")
    root = _decode(lines[2])
    if len(root) != HASH_BYTES:
        raise ValueError("this is no checkpoint")
    times: Iterable[str] = (found[1] for found in map(_AT.fullmatch, lines[3:]) if found)
    return Checkpoint(lines[0], int(lines[1]), root, next(iter(times), ""))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError):
        raise ValueError("this is no base64") from None
