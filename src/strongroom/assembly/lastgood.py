"""
The key, the anchor and the place of an agent's last good copy, made of its settings.

Rules of this file:

1. A key file is made where there is neither it nor a copy; beside a copy it is never made anew, because
   nothing would open that any more. A key of the kernel's keyring is made whenever it is missing: it goes
   with every restart of the machine.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.crypto.parcel import Parcels
from strongroom.errors import BackendConfigError, ConflictError
from strongroom.vendors.keyctl import read_key, write_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.crypto.wrapping import Wrapper
    from strongroom.settings.agent import KeySettings

__all__ = ["KernelAnchor", "open_parcels", "this_host"]

_MACHINE_ID = Path("/etc/machine-id")


def open_parcels(key: KeySettings, *, copy: Path, deployment: str, environ: Mapping[str, str]) -> Parcels:
    """
    Give what seals and opens the last good copy.

    Args:
        key: what holds its key.
        copy: where the copy is.
        deployment: whose it is.
        environ: where systemd says the folder of its credentials.

    Raises:
        BackendConfigError: the key cannot be made, or its place is not to be trusted.
    """
    return Parcels(_wrapper(key, copy, deployment, environ))


def _wrapper(key: KeySettings, copy: Path, deployment: str, environ: Mapping[str, str]) -> Wrapper:
    if key.file is not None:
        from strongroom.wrappers import file  # noqa: PLC0415 -- only what is configured

        if not key.file.exists() and not copy.exists():
            with suppress(ConflictError):  # somebody else was faster
                file.create(key.file)
        return file.FileWrapper(key.file)
    if key.credential is not None:
        from strongroom.wrappers.credential import CredentialWrapper  # noqa: PLC0415 -- as above

        return CredentialWrapper(environ.get("CREDENTIALS_DIRECTORY", ""), key.credential)
    from strongroom.wrappers import keyring  # noqa: PLC0415 -- as above

    return keyring.create(_described("last-good", deployment, copy))


class KernelAnchor:
    """
    The newest generation, in the kernel's keyring: whoever brings files back does not bring it back.

    It goes with a restart of the machine; where the kernel keeps nothing for us it is never there.
    """

    def __init__(self, deployment: str, copy: Path) -> None:
        self._description = _described("generation", deployment, copy)

    def read(self) -> int:
        """Give the newest generation known; 0 where none is."""
        with suppress(BackendConfigError, ValueError):
            return int(read_key(self._description) or b"0")
        return 0

    def write(self, generation: int) -> None:
        """Remember *generation*."""
        with suppress(BackendConfigError):
            write_key(self._description, b"%d" % generation)


def _described(what: str, deployment: str, copy: Path) -> str:
    # Two agents of one user have two copies.
    place = sha256(str(copy.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"strongroom:{what}:{deployment}:{place}"


def this_host(machine_id: Path = _MACHINE_ID) -> str:
    """Give public text that tells this machine from others; "" where it has no id, as in many containers."""
    try:
        text = machine_id.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    # machine-id(5): an application shows a keyed digest of it, not the id.
    return sha256(b"strongroom/last-good\x00" + text.encode("ascii")).hexdigest() if text else ""
