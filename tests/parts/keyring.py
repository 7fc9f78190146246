"""The kernel's keyring in tests: what an agent's copy at some path left there, taken away again."""

from __future__ import annotations

from contextlib import suppress

from strongroom.assembly import lastgood
from strongroom.vendors import keyctl

_UNLINK = 9  # KEYCTL_UNLINK


def drop_key(description):
    """Take a key away: the kernel keeps few for a user, and these would stay until the machine restarts."""
    with suppress(OSError):
        keyring = keyctl._USER_KEYRING
        number = keyctl._keyctl(keyctl._SEARCH, keyring, b"user", description.encode(), 0)
        keyctl._keyctl(_UNLINK, number, keyring)


def drop_keys(copy, *deployments):
    """Take away what the last good copy at *copy* left."""
    for what in ("last-good", "generation"):
        for deployment in deployments:
            drop_key(lastgood._described(what, deployment, copy))
