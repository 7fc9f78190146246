"""
An outer key that systemd hands to a service: `LoadCredential=` or `LoadCredentialEncrypted=`.

The latter is sealed by the machine's TPM or by a key of its own, is opened for this service only, into
memory, and survives a restart of the machine.

Rules of this file:

1. The key is 32 bytes as they are, in base64, or the line of a key file; anything else is no key. A
   passphrase is none: nothing here makes a key of it.
2. The file is judged and read through one descriptor: a regular file, mine or root's, closed to others.

Source: systemd.exec(5), "Credentials"; systemd-creds(1).
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path

from strongroom.crypto.wrapping import LoadedWrapper
from strongroom.errors import BackendConfigError, SealedError

__all__ = ["CredentialWrapper"]

_KEY_BYTES = 32
_MAX_BYTES = 4096
_LINE_PARTS = 3  # mark, label, key: wrappers/file.py


class CredentialWrapper(LoadedWrapper):
    """
    Wrap with the credential *name* below *folder*, read anew for each call.

    Args:
        folder: `$CREDENTIALS_DIRECTORY`; "" where systemd gave none.
        name: of the credential, no path.

    Threads: safe.
    """

    kind = "credential"

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self._path = Path(folder) / name if folder else None

    def _another(self, mark: str) -> SealedError:
        return SealedError(
            f'the credential "{self.name}" is another key than the one this was sealed with',
            hint=f"bring back the key {mark}",
        )

    def _load(self) -> bytes:
        if self._path is None:
            raise SealedError(
                f'systemd gave this process no credentials, so none called "{self.name}"',
                hint=f"say LoadCredentialEncrypted={self.name} in the unit",
            )
        key = _key(_content(self._path, self.name))
        if key is None:
            raise SealedError(
                f'the credential "{self.name}" is no key of {_KEY_BYTES} bytes',
                hint=f"head -c {_KEY_BYTES} /dev/urandom | systemd-creds encrypt --name={self.name} - FILE",
            )
        return key


def _content(path: Path, name: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise SealedError(
            f'the credential "{name}" cannot be read: {why}',
            hint=f"say LoadCredential={name}:FILE in the unit",
        ) from None
    try:
        status = os.fstat(descriptor)
        is_mine = stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid())
        # The bits of the group are the mask of an access list, by which systemd lets the service's user in.
        if not is_mine or status.st_mode & 0o007:
            raise BackendConfigError(
                f'the credential "{name}" is not a file that only this service may read',
                hint="CREDENTIALS_DIRECTORY is set by systemd, and by nobody else",
            )
        return os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _key(content: bytes) -> bytes | None:
    if len(content) == _KEY_BYTES:
        return content
    words = content.split()
    if len(words) not in (1, _LINE_PARTS):
        return None
    try:
        key = base64.b64decode(words[-1], validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == _KEY_BYTES else None
