"""
The socket: where it stands, whose it is, and who is at the other end.

Not for what is said on it (`protocol.py`).

Rules of this file:

1. The folder is made first, for its owner alone, and must be his or root's and closed to changes by others;
   so must every folder above it be, but for those that let nobody rename what is another's.
2. One agent stands at a path: a lock beside the socket says so, and is gone when its process is. Only under
   that lock is a socket replaced that nobody answers at; nothing that is no socket is ever replaced.
3. The socket appears with its mode and group, in one step.
4. Who is at the other end is what the kernel said when the connection was made. Whoever may not connect is
   told so in one frame; how often that happened is recorded, and not each time.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.agent.floor import Peer
from strongroom.errors import AccessDeniedError, ConflictError, SettingsError
from strongroom.settings.source import reason

if TYPE_CHECKING:
    import asyncio
    from asyncio import trsock
    from collections.abc import Callable, Sequence

    from strongroom.agent.hygiene import Account
    from strongroom.settings import AgentSettings

__all__ = ["BACKLOG", "Door", "Lock", "Peers", "group_of", "listen", "loopback", "peer_of", "prepare"]

_PEER = struct.Struct("iII")  # ucred of unix(7)
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13
_MAX_OPTION_BYTES = 1024  # all that Python asks a socket for: 256 groups
BACKLOG = 4096
_LONGEST = 107  # bytes of a path, unix(7)
_CONNECT_SECONDS = 1.0
_AGGREGATE_SECONDS = 60.0
_MAX_STRANGERS = 1000  # users whose refusals are counted
_NO_USER = 65_534  # whom the kernel names where the peer's user does not exist in this namespace
_NOBODY = 4_294_967_295  # what no user has
_ALL = 4_294_967_294  # numbers of a namespace that knows everybody; the last one is no user


class Lock:
    """
    A file that at most one living process holds.

    Args:
        path: the file; it stays when the lock is gone, because removing it would let two hold it.
        what: is guarded, for the message.

    Raises:
        ConflictError: another process holds it; its pid is named.
        SettingsError: it cannot be made.
    """

    def __init__(self, path: Path, what: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise _cannot(f"the lock {path} cannot be made", error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found = os.pread(self._file, 32, 0).strip()
            os.close(self._file)
            pid = found.decode() if found.isdigit() else "unknown"
            raise ConflictError(
                f"an agent runs already at {what} (pid {pid})",
                hint="strongroom agent status shows it; another one needs another --socket and agent.state",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        """Let go; safe to call twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class Door:
    """
    A socket that is listened on.

    Args:
        bound: the socket.
        path: where it stands; None where somebody else made it and will remove it.
        lock: held as long as it stands.

    Attributes:
        socket: as *bound*.
        name: for people.
    """

    def __init__(self, bound: socket.socket, path: Path | None, lock: Lock | None = None) -> None:
        self.socket = bound
        self.name = str(path or bound.getsockname() or "a socket that was handed over")
        self._path = path
        self._lock = lock
        self._made = None if path is None else _identity(path)

    def close(self) -> None:
        """Listen no longer, and take the socket away where it is still the one that was made."""
        self.socket.close()
        if self._path is not None and self._made is not None and _identity(self._path) == self._made:
            with suppress(OSError):
                self._path.unlink()
        if self._lock is not None:
            self._lock.close()


def listen(
    path: Path, settings: AgentSettings, *, account: Account | None = None, is_locked: bool = True
) -> Door:
    """
    Make the socket at *path* and listen.

    Args:
        path: absolute.
        settings: who may connect, which decides on modes.
        account: whose the socket is, where that is not whoever makes it.
        is_locked: take the lock of the path; False for a second socket beside one that is locked.

    Raises:
        ConflictError: another agent answers there.
        SettingsError: the folder is not to be trusted, or the socket cannot be made.
    """
    if len(os.fsencode(path)) > _LONGEST - len(".new"):
        raise SettingsError(
            f"the path of the socket has over {_LONGEST - 4} bytes: {path}",
            key="agent.socket",
            hint="--socket with a shorter one",
        )
    folder_mode, mode, group = _modes(settings, account)
    prepare(path.parent, folder_mode, group=group)
    lock = Lock(path.with_name(f"{path.name}.lock"), str(path)) if is_locked else None
    try:
        _clear(path)
        return Door(_bind(path, mode, group, account), path, lock)
    except BaseException:
        if lock is not None:
            lock.close()
        raise


def _modes(settings: AgentSettings, account: Account | None) -> tuple[int, int, int | None]:
    """Give the mode of the folder, of the socket, and whose group both have."""
    if not settings.users and not settings.groups:
        # The folder stays with whoever makes it, so that his users can trust it; its user must get through.
        return (0o700 if account is None else 0o711), 0o600, None
    if not settings.users and len(settings.groups) == 1:
        return 0o750, 0o660, group_of(settings.groups[0])
    # Permissions can name one group and nobody else's users; whoever comes is asked for by the kernel anyway.
    return 0o711, 0o666, None


# --- the folder -------------------------------------------------------------------------------------


def prepare(
    folder: Path,
    mode: int,
    *,
    group: int | None = None,
    owner: Account | None = None,
    key: str = "agent.socket",
) -> None:
    """
    Make *folder* with *mode*, or check the one that is there.

    Args:
        folder: where it is.
        mode: of a new one.
        group: whose group a new one has.
        owner: whose a new one is; whoever makes it, if unsaid. One that is there may be his, too.
        key: the setting that names it, for messages.

    Raises:
        SettingsError: it cannot be made, is no folder or a link, belongs to somebody else, or others may
            change what is in it.
    """
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        is_new = _made(folder, mode)
        if is_new and (group is not None or owner is not None):
            uid = -1 if owner is None else owner.uid
            gid = group if group is not None else -1 if owner is None else owner.gid
            os.chown(folder, uid, gid, follow_symlinks=False)
        found = folder.lstat()
    except OSError as error:
        raise _cannot(f"the folder {folder} cannot be made", error, key) from None
    _check_folder(folder, found, key, () if owner is None else (owner.uid,))
    for above in folder.parents:
        _check_above(above, key)


def _made(folder: Path, mode: int) -> bool:
    before = os.umask(0)
    try:
        folder.mkdir(mode=mode)
    except FileExistsError:
        return False
    finally:
        os.umask(before)
    return True


def _check_folder(folder: Path, found: os.stat_result, key: str, also: Sequence[int]) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise _untrusted(folder, "is no folder, or a link", key)
    if found.st_uid not in (0, os.geteuid(), *also):
        raise _untrusted(folder, f"belongs to another user ({found.st_uid})", key)
    if found.st_mode & 0o022:
        raise _untrusted(folder, "may be changed by others", key)


def _check_above(folder: Path, key: str) -> None:
    try:
        found = folder.stat()
    except OSError as error:
        raise _cannot(f"the folder {folder} cannot be looked at", error, key) from None
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        raise _untrusted(folder, "may be changed by anybody, and so could lead elsewhere tomorrow", key)


def _untrusted(folder: Path, why: str, key: str) -> SettingsError:
    return SettingsError(f"the folder {folder} {why}", key=key, hint=f"let {key} name another one")


def _cannot(what: str, error: OSError, key: str = "agent.socket") -> SettingsError:
    return SettingsError(f"{what} ({reason(error)})", key=key)


# --- the socket -------------------------------------------------------------------------------------


def _clear(path: Path) -> None:
    """Take away a socket that nobody answers at."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot(f"the socket {path} cannot be looked at", error) from None
    if not stat.S_ISSOCK(found.st_mode):
        raise SettingsError(f"there is something at {path} that is no socket", key="agent.socket")
    if found.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"the socket {path} belongs to another user", key="agent.socket")
    if _is_answered(path):
        raise ConflictError(
            f"something else answers at {path}", hint="name a path in another folder by --socket"
        )
    try:
        path.unlink()
    except OSError as error:
        raise _cannot(f"the socket {path} of an agent that is gone cannot be removed", error) from None


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # somebody is there, who does not take it
    return True


def _bind(path: Path, mode: int, group: int | None, account: Account | None) -> socket.socket:
    draft = path.with_name(f"{path.name}.new")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        with suppress(FileNotFoundError):
            draft.unlink()  # of one that died in between
        bound.bind(str(draft))
        if group is not None or account is not None:
            os.chown(draft, -1 if account is None else account.uid, -1 if group is None else group)
        draft.chmod(mode)
        bound.listen(BACKLOG)
        draft.rename(path)
    except OSError as error:
        bound.close()
        with suppress(OSError):
            draft.unlink()
        raise _cannot(f"the socket {path} cannot be made", error) from None
    finally:
        os.umask(before)
    return bound


def loopback(address: str) -> socket.socket:
    """
    Bind a loopback *address*, `127.0.0.1:8251`.

    Raises:
        SettingsError: it is taken, or none of this machine's.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, int(port)))
    except OSError as error:
        bound.close()
        raise SettingsError(
            f"the agent cannot listen on {address} ({reason(error)})",
            key="agent.tcp",
            hint="choose another port, or see who listens there",
        ) from None
    bound.setblocking(False)  # noqa: FBT003 -- the socket's own way
    return bound


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns  # the number alone is given again to another file


# --- who is at the other end ------------------------------------------------------------------------


def group_of(name: int | str) -> int:
    """
    Give the number of the group *name*.

    Raises:
        SettingsError: there is no such group.
    """
    import grp  # noqa: PLC0415 -- most agents serve their own user

    if isinstance(name, int) or name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SettingsError(f"there is no group {name}", key="agent.groups") from None


def peer_of(connected: socket.socket | trsock.TransportSocket) -> tuple[int, int, int, list[int]]:
    """
    Give pid, uid, gid and all groups of whoever opened *connected*, as they were then.

    The groups are those its process had, not those the directory lists now: nothing is asked that could
    block, and it is what decides on files, too. Of a user namespace that does not know everybody, all whom
    it does not know have one number, which is then nobody's.
    """
    pid, uid, gid = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    gids = [gid, *_groups(connected)]
    if not _knows_everybody("uid"):
        uid = _NOBODY if uid == _NO_USER else uid
    if not _knows_everybody("gid"):
        gids = [each for each in gids if each != _NO_USER]
    return pid, uid, gid, gids


@lru_cache(maxsize=2)
def _knows_everybody(what: str) -> bool:
    """Tell whether every user (`uid`) or group (`gid`) of the machine has a number of its own in here."""
    try:
        told = Path(f"/proc/self/{what}_map").read_text(encoding="ascii").split()
    except OSError:
        return True  # a kernel without user namespaces
    return sum(int(count) for count in told[2::3]) >= _ALL


def _groups(connected: socket.socket | trsock.TransportSocket) -> Sequence[int]:
    try:
        data = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION_BYTES)
    except OSError:
        return ()  # more than 256 of them, or a kernel that does not tell: only the first one counts
    return struct.unpack(f"{len(data) // 4}I", data)


class Peers:
    """
    Tells who opened a connection, and refuses whom it is not for.

    Args:
        may: whether a user in these groups may connect.
        record: records refusals: the user, how many, and the seconds they came in.
        later: calls a function after so many seconds.

    Attributes:
        refused: by user, since the start.
    """

    def __init__(
        self,
        may: Callable[[int, Sequence[int]], bool],
        record: Callable[[int, int], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._may = may
        self._record = record
        self._later = later
        self._waiting: dict[int, int] = {}
        self.refused: dict[int, int] = {}

    def admit(self, transport: asyncio.BaseTransport) -> Peer:
        """
        Give who opened *transport*.

        Raises:
            AccessDeniedError: he may not connect.
        """
        pid, uid, gid, gids = peer_of(transport.get_extra_info("socket"))
        if self._may(uid, gids):
            return Peer(pid, uid, gid, is_admin=uid in (0, os.geteuid()), gids=tuple(gids))
        self._refuse(uid)
        hint = "its administrator adds a user by agent.users or agent.groups"
        if uid in (_NO_USER, _NOBODY):
            hint = "so comes whoever is of another user namespace; nobody in agent.users lets all of them in"
        raise AccessDeniedError(
            f"the user {uid} may not connect to this agent", reason="the agent's own rule", hint=hint
        )

    def _refuse(self, uid: int) -> None:
        if len(self.refused) < _MAX_STRANGERS or uid in self.refused:
            self.refused[uid] = self.refused.get(uid, 0) + 1
        if uid in self._waiting:
            self._waiting[uid] += 1
            return
        # The first one is recorded at once, those of the next minute together.
        self._waiting[uid] = 0
        self._record(uid, 1)
        self._later(_AGGREGATE_SECONDS, lambda: self._tell(uid))

    def _tell(self, uid: int) -> None:
        count = self._waiting.pop(uid, 0)
        if count:
            self._record(uid, count)

    def close(self) -> None:
        """Record what was counted and not told yet."""
        for uid in list(self._waiting):
            self._tell(uid)
