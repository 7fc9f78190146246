"""
What an agent signs to show that it has its key, and how a host is told from another.

Each text is injective: what varies in length stands behind its length. The purpose stands first, so that
what was signed for one is good for nothing else.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

__all__ = [
    "FINGERPRINT_BYTES",
    "KEY_BYTES",
    "NONCE_BYTES",
    "SIGNATURE_BYTES",
    "Claim",
    "enrolment",
    "fingerprint",
]

KEY_BYTES = 32  # of a public key of Ed25519 (RFC 8032 §5.1.5)
SIGNATURE_BYTES = 64
FINGERPRINT_BYTES = 32
NONCE_BYTES = 16

_ENROL, _LOGIN, _HOST = b"strongroom agent enrol 1", b"strongroom agent login 1", b"strongroom agent host 1"


class Claim(NamedTuple):
    """
    What a login says.

    Args:
        name: of the agent.
        at: microseconds since 1970 UTC by the clock of its host; each login's is later than the last one's.
        nonce: 16 random bytes.
        fingerprint: of the host, as `fingerprint` gives it now.
    """

    name: str
    at: int
    nonce: bytes
    fingerprint: bytes

    def signed(self, deployment: str) -> bytes:
        """Give the bytes that are signed for a login at *deployment*."""
        at = self.at.to_bytes(8, "big")
        return _joined(_LOGIN, deployment.encode(), self.name.encode(), at, self.nonce, self.fingerprint)


def enrolment(code: str, public: bytes, host: bytes) -> bytes:
    """
    Give the bytes that are signed to enrol: by the key that is to be kept, over the code it is kept for.

    Args:
        code: the enrolment code, without blanks.
        public: the public key.
        host: the fingerprint.
    """
    return _joined(_ENROL, sha256(code.encode()).digest(), public, host)


def fingerprint(machine: str, public: bytes) -> bytes:
    """Give what tells one host with one key from any other: SHA-256 of both, 32 bytes."""
    return sha256(_joined(_HOST, machine.encode(), public)).digest()


def _joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
