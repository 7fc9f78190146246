"""
What keeps the process of a test from doing anything but the test.

Rules of this file:

1. Nothing is left behind: no core dump, no file, no process that outlives it, and no privilege gained.
2. Where only listed hosts may be asked, no library, whatever options it was given, connects elsewhere, starts
   a program or opens a file that is not part of the installation. C libraries are led by what they are given.
3. Who goes beyond the fence on the network ends the process with the one answer for refused addresses:
   nothing can catch that. A program or a file is refused as a system would, and a library may do without.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["enclose", "forget_user", "harden"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_GIB = 1 << 30  # bytes
_FILES = 256
_FILE_BYTES = 1 << 20  # certificates that a library hands to OpenSSL as files; nothing larger is written

_GOES = ("socket.connect", "socket.sendto", "socket.sendmsg")
_STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.startfile",
)
_READS = "open"
# What libraries read of a system: time zones, types of files, authorities, how names are looked up.
_SHARED = (
    "/usr/share/",
    "/usr/lib/",
    "/usr/local/",
    "/etc/ssl/",
    "/etc/pki/",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/timezone",
    "/dev/null",
    "/dev/urandom",
)
_NOBODY = {
    "HOME": "/nonexistent",
    "KRB5CCNAME": "MEMORY:",
    "KRB5_CLIENT_KTNAME": "/nonexistent",
    "PGGSSENCMODE": "disable",
    "PGPASSFILE": "/dev/null",
    "PGSERVICEFILE": "/dev/null",
}


def harden() -> None:
    """Limit this process: memory, files, no core dump, no privilege to gain; it ends with who started it."""
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, _GIB),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
    ):
        with suppress(OSError, ValueError):  # a lower one is set already
            resource.setrlimit(limit, (most, most))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def forget_user() -> None:
    """
    Leave this process no home and no tickets of the user it runs as.

    What libraries in C find there by themselves (passwords of libpq, client certificates, Kerberos) would be
    shown to whoever wrote the connection.
    """
    os.environ.update(_NOBODY)


def enclose(is_pinned: Callable[[str], bool], refuse: Callable[[], None]) -> None:
    """
    Let this process connect to nothing that is not pinned, start no program and open no file of others.

    Args:
        is_pinned: tells whether an address may be connected to.
        refuse: tells that an address was refused, and ends the process.
    """
    roots = tuple({os.path.join(path, "") for path in (*sys.path, sys.prefix, sys.base_prefix) if path})  # noqa: PTH118 -- also for names that are no Path

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _GOES:
            target = arguments[1]
            # A socket of this machine is a path, and no test goes there.
            if not isinstance(target, tuple) or not is_pinned(str(target[0]).partition("%")[0]):
                refuse()
        elif event in _STARTS:
            raise PermissionError(errno.EPERM, "a test starts no program")
        elif event == _READS and not _is_ours(arguments[0], roots):
            raise PermissionError(errno.EACCES, "a test opens no files of others")

    sys.addaudithook(watch)


def _is_ours(path: object, roots: tuple[str, ...]) -> bool:
    if isinstance(path, int):  # open already
        return True
    text = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
    # A file of memory is this process's own: nobody else's has no path.
    return os.path.realpath(text).startswith((*roots, *_SHARED, "/memfd:"))
