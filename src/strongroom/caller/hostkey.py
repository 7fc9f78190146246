"""
The key an agent proves itself with: made once on its host, and never anywhere else.

Its file holds the 32 bytes of a private key of Ed25519 (RFC 8032 §5.1.5) and nothing else, is its owner's
and closed to others.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from strongroom.crypto import _primitives
from strongroom.errors import BackendConfigError
from strongroom.model.enrolment import KEY_BYTES, fingerprint
from strongroom.model.secret import Secret

__all__ = ["KEY_FILE", "HostKey", "machine_id", "private_bytes"]

KEY_FILE = "agent.key"
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_MAX_ID_BYTES = 256
_HINT = "enrol again: strongroom agent enrol --url https://…"


class HostKey:
    """
    A key on this host. Does not print.

    Args:
        seed: the private half.
        machine: what `machine_id` gives.

    Attributes:
        public: the public half, 32 bytes.
        fingerprint: of this host with this key.
    """

    __slots__ = ("_seed", "fingerprint", "public")

    def __init__(self, seed: Secret[bytes], machine: str) -> None:
        self._seed = seed
        self.public = _primitives.ed25519_public(seed.reveal())
        self.fingerprint = fingerprint(machine, self.public)

    @classmethod
    def drawn(cls) -> tuple[HostKey, Secret[bytes]]:
        """Draw a new one, and give what its file is to hold."""
        seed = Secret(_primitives.draw(KEY_BYTES))
        return cls(seed, machine_id()), seed

    @classmethod
    def of(cls, folder: Path) -> HostKey:
        """
        Give the one whose file stands in *folder*.

        Raises:
            BackendConfigError: there is none, or it is not to be trusted.
        """
        seed = private_bytes(folder / KEY_FILE, most=KEY_BYTES)
        if len(seed.reveal()) != KEY_BYTES:
            raise BackendConfigError(f"{folder / KEY_FILE} holds no key", hint=_HINT)
        return cls(seed, machine_id())

    def sign(self, message: bytes) -> bytes:
        """Sign *message*: 64 bytes."""
        return _primitives.ed25519_sign(self._seed.reveal(), message)

    def __repr__(self) -> str:
        return "HostKey(…)"


def machine_id() -> str:
    """Give what the system calls this machine, "" where it calls it nothing, as in some containers."""
    for path in _MACHINE_IDS:
        with suppress(OSError, UnicodeDecodeError), Path(path).open("rb") as file:
            found = file.read(_MAX_ID_BYTES).decode("ascii").strip()
            if found:
                return found
    return ""


def private_bytes(path: Path, *, most: int) -> Secret[bytes]:
    """
    Give what stands in a file that is mine or root's, and closed to others: of up to *most* bytes and one.

    Raises:
        BackendConfigError: it is not there, or is not to be trusted.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise BackendConfigError(f"{path} {why}", hint=_HINT) from None
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            raise BackendConfigError(f"{path} is no file of mine", hint=_HINT)
        if found.st_mode & 0o077:
            raise BackendConfigError(
                f"{path} may be read or changed by others", hint=f"chmod 600 {path}, and enrol again"
            )
        return Secret(file.read(most + 1))
