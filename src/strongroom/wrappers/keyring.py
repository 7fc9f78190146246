"""
An outer key in the kernel's keyring of this user: in memory only, and gone when the machine restarts.

For what may be lost with it, such as the last good copy of an agent; not for a store. It protects what it
sealed from whoever gets the disk without the running machine. Every process of the same user may read it.

Rules of this file:

1. A key that is missing is an error that says what became of it; only `create` makes one.
"""

from __future__ import annotations

from strongroom.crypto import wrapping
from strongroom.crypto.wrapping import LoadedWrapper
from strongroom.errors import SealedError
from strongroom.vendors.keyctl import read_key, write_key

__all__ = ["KeyringWrapper", "create"]

_KEY_BYTES = 32


class KeyringWrapper(LoadedWrapper):
    """
    Wrap with the key that the user's keyring holds under *description*, read anew for each call.

    Threads: safe.
    """

    kind = "keyring"

    def __init__(self, description: str) -> None:
        self.name = description

    def _another(self, mark: str) -> SealedError:  # noqa: ARG002 -- nobody can bring it back
        return SealedError(
            "the kernel's keyring holds another key than the one this was sealed with",
            hint="it was sealed before the machine restarted; the key went with that",
        )

    def _load(self) -> bytes:
        found = read_key(self.name)
        if found is None or len(found) != _KEY_BYTES:
            raise SealedError(
                f'the kernel\'s keyring of this user has no key "{self.name}"',
                hint="it does not outlive a restart of the machine; a file or a systemd credential does",
            )
        return found


def create(description: str) -> KeyringWrapper:
    """
    Give the key under *description*, made if there is none.

    Raises:
        BackendConfigError: this kernel keeps no keys for us.
    """
    found = read_key(description)
    if found is None or len(found) != _KEY_BYTES:
        write_key(description, wrapping.draw_key())
    return KeyringWrapper(description)
