"""
What a long-running process does to itself before it holds a secret: memory, limits, privileges.

Rules of this file:

1. A secret in memory stays there: no core dump, and no other process of the same user looks in.
2. Privileges are dropped for good or not at all: where one of the steps fails, so does the start.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

__all__ = ["forbid_new_privileges", "give_back", "harden", "room_for_files"]

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE_BYTES = 1_048_576
_FEWEST = 16  # connections that are tried, however few files there may be


def harden() -> None:
    """Keep what is in memory there: no core dump, and no debugger or `/proc` of another process."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_back() -> None:
    """
    Have large pieces of memory go back to the system when they are done with.

    glibc would keep one for every thread that ever had one: a flood of logins, each 19 MiB for a moment,
    would leave hundreds of MiB behind.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other libraries have no such switch
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def forbid_new_privileges() -> None:
    """Have no program that this process runs gain privileges, set-uid or not."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def room_for_files(wanted: int, spare: int) -> int:
    """
    Raise the limit of open files, at most to the hard one.

    Args:
        wanted: connections.
        spare: files beside them.

    Returns:
        how many connections there may be: *wanted*, or fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted + spare:
        soft = wanted + spare if hard == unlimited else min(wanted + spare, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == unlimited else min(wanted, max(_FEWEST, soft - spare))
