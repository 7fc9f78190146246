"""
Fernet as Airflow uses it: open what any of several keys sealed. Never seals.

Not for our own store: its envelope is `envelope.py`.

Source: github.com/fernet/spec (Spec.md); `get_fernet` in airflow/models/crypto.py of 3.3.2, a MultiFernet
over the comma list `[core] fernet_key`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from strongroom.crypto._primitives import fernet_opener
from strongroom.errors import BackendConfigError
from strongroom.model.entry import EntryState
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fernet"]

_VERSION = 0x80
_LEAST_BYTES = 73  # version (1) ‖ time (8) ‖ IV (16) ‖ one block (16) ‖ HMAC (32)
_BLOCK_BYTES = 16


class Fernet:
    """
    Hold Fernet keys, the newest first, and open tokens with whichever fits.

    Threads: immutable.
    """

    __slots__ = ("_open", "count")

    def __init__(self, keys: Sequence[Secret[str]]) -> None:
        """
        Take *keys*; () opens nothing.

        Args:
            keys: each 32 bytes as URL-safe base64.

        Raises:
            BackendConfigError: one of them is no Fernet key.
        """
        self.count = len(keys)
        for number, key in enumerate(keys, 1):
            if not _is_key(key.reveal()):
                which = "the Fernet key" if len(keys) == 1 else f"Fernet key {number} of {len(keys)}"
                raise BackendConfigError(
                    f"{which} is no Fernet key, which is 32 bytes as URL-safe base64",
                    hint="give the value of [core] fernet_key in airflow.cfg, all of it",
                )
        self._open = fernet_opener([key.reveal() for key in keys])

    def open(self, token: str) -> tuple[EntryState, Secret[str] | None]:
        """
        Open *token*: `OK` with its text, or why not: `NOT_A_TOKEN`; `WRONG_KEY` also where the token
        was changed, which looks the same; `UNPARSABLE` where it holds no UTF-8.
        """
        # What no key opens is looked at again: for all others a second decoding would be in vain.
        opened = self._open(token.encode("utf-8", "surrogatepass"))
        if opened is None:
            return (EntryState.WRONG_KEY if _is_token(token) else EntryState.NOT_A_TOKEN), None
        try:
            return EntryState.OK, Secret(opened.decode("utf-8"))
        except UnicodeDecodeError:
            return EntryState.UNPARSABLE, None


def _is_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text.encode())) == 32  # noqa: PLR2004 -- 16 to sign, 16 to encrypt
    except (binascii.Error, ValueError):
        return False


def _is_token(text: str) -> bool:
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii"))
    except (binascii.Error, ValueError):
        return False
    return (
        len(data) >= _LEAST_BYTES and data[0] == _VERSION and (len(data) - _LEAST_BYTES) % _BLOCK_BYTES == 0
    )
