"""
Keys in the kernel's memory: the user's own keyring, asked by system calls.

A key there stands in no file, is read by processes of the same user only, and is gone when the machine
restarts. It is found by its description and survives the process that put it there.

Not for what a key is for (`wrappers/keyring.py`).

Source: keyctl(2), add_key(2), user-keyring(7), keyrings(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

from strongroom.errors import BackendConfigError

__all__ = ["read_key", "write_key"]

# add_key and keyctl, by the names that uname gives to machines. Those of 64 bits on ARM and RISC-V share a
# table. Source: arch/*/entry/syscalls, include/uapi/asm-generic/unistd.h.
_CALLS = {"x86_64": (248, 250), "aarch64": (217, 219), "riscv64": (217, 219), "ppc64le": (269, 271)}
_CALLS["s390x"] = (278, 280)
_USER_KEYRING = -4  # KEY_SPEC_USER_KEYRING
_SETPERM, _SEARCH, _READ = 5, 10, 11
# All for who possesses it; view, read and search for the user, because a service that has a session keyring
# of its own (systemd's KeyringMode=private) does not possess what stands in the user's.
_PERMISSIONS = 0x3F0B0000
_MAX_BYTES = 4096
_GONE = (errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED)
_TYPE = b"user"


def read_key(description: str) -> bytes | None:
    """
    Give what the user's keyring holds under *description*, at most 4096 bytes; None where it holds nothing.

    Raises:
        BackendConfigError: this kernel keeps no keys for us.
    """
    try:
        number = _keyctl(_SEARCH, _USER_KEYRING, _TYPE, description.encode(), 0)
        found = ctypes.create_string_buffer(_MAX_BYTES)
        length = _keyctl(_READ, number, found, _MAX_BYTES)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise _refused(error) from None
    return found.raw[: min(length, _MAX_BYTES)]


def write_key(description: str, payload: bytes) -> None:
    """
    Put *payload* under *description*, in place of what stands there.

    Raises:
        BackendConfigError: this kernel keeps no keys for us.
    """
    try:
        number = _call(0, _TYPE, description.encode(), payload, len(payload), _USER_KEYRING)
        _keyctl(_SETPERM, number, _PERMISSIONS)
    except OSError as error:
        raise _refused(error) from None


def _keyctl(*arguments: object) -> int:
    return _call(1, *arguments)


def _call(which: int, *arguments: object) -> int:
    numbers = _CALLS.get(platform.machine())
    if numbers is None or not hasattr(_libc, "syscall"):
        raise OSError(errno.ENOSYS, "no such call")
    # Every argument as wide as a register: what ctypes would hand over as an int has a random upper half.
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(numbers[which]), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def _refused(error: OSError) -> BackendConfigError:
    return BackendConfigError(
        f"the kernel keeps no key for this user: {os.strerror(error.errno or 0).lower()}",
        hint="in a container its calls may be forbidden: keep the key in a file or a systemd credential",
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
