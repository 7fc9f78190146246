"""
Where to ask: an agent, a server, or the settings of this machine.

Decided once per process, the first that applies: `STRONGROOM_SOCKET` (agent), `STRONGROOM_URL` or
`STRONGROOM_PROFILE` (server), a default socket that is there and belongs to root or me (agent), settings
(library). If that place cannot answer, nothing else does.

Every process that reads a secret imports this file, so it imports nothing but `os`, which Python has loaded
already, and the errors.
"""

from __future__ import annotations

import os

from strongroom.errors import BackendUnavailableError, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AGENT",
    "LIBRARY",
    "SERVER",
    "Place",
    "default_sockets",
    "elsewhere",
    "find",
    "missing_agent",
    "require_library",
    "trusted_owners",
]

AGENT = "agent"
SERVER = "server"
LIBRARY = "library"
_SOCKET = "STRONGROOM_SOCKET"
_SERVERS = ("STRONGROOM_URL", "STRONGROOM_PROFILE")
_AGENT = "STRONGROOM_AGENT"
_MODES = ("", "required", "off")
_LONGEST_PATH = 107  # bytes of a unix socket's path; the kernel takes no more

_KIND = 0o170000  # of the mode of a file: S_IFMT
_IS_SOCKET = 0o140000
_OTHERS_WRITE = 0o022
_STICKY = 0o1000
# Paths are taken apart by os.path throughout: pathlib costs as much as everything else here together.


class Place:
    """
    Where this process asks.

    Attributes:
        kind: `AGENT`, `SERVER` or `LIBRARY`.
        setting: the variable that decided; None for the library, and for an agent found where it is by
            default.
        path: of the agent's socket, None for every other place.
    """

    __slots__ = ("kind", "path", "setting")

    def __init__(self, kind: str, setting: str | None = None, path: str | None = None) -> None:
        self.kind = kind
        self.setting = setting
        self.path = path


def find(environ: Mapping[str, str]) -> Place:
    """
    Give the place where *environ* says to ask. An empty variable counts as unset.

    Raises:
        SettingsError: `STRONGROOM_AGENT` is none of `required` and `off`.
    """
    named = _named(environ)
    if named is not None:
        return named
    mode = _mode(environ)
    sockets = default_sockets(environ)
    if mode != "off":
        for path in sockets:
            if _is_trusted(path):
                return Place(AGENT, None, path)
    # Where none is, its usual place: asking there says that it is down, and the library stays forbidden.
    return Place(AGENT, _AGENT, sockets[0]) if mode == "required" else Place(LIBRARY)


def default_sockets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """
    Give the paths where an agent listens by default, in the order they are looked at.

    With `STRONGROOM_HOME`, which names one folder for everything, only the one in there.
    """
    home = environ.get("STRONGROOM_HOME", "")
    if home:
        return (os.path.join(os.path.abspath(home), "run", "agent.sock"),)  # noqa: PTH100, PTH118 -- as said above
    mine = environ.get("XDG_RUNTIME_DIR", "")
    machine = "/run/strongroom/agent.sock"
    return (machine, f"{mine}/strongroom/agent.sock") if mine.startswith("/") else (machine,)


def trusted_owners(path: str) -> tuple[int, ...]:
    """
    Give the user ids of which a process may answer on the socket at *path*.

    Root and me, always. Whoever else owns the socket, where nobody but root and me could have put it there:
    they own its folder, or root made that folder for its owner.

    Raises:
        SettingsError: it is no socket, or others may put one in its place.
        OSError: there is nothing at *path*.
    """
    if not path.startswith("/") or len(os.fsencode(path)) > _LONGEST_PATH:
        raise SettingsError(
            f"the path of the agent's socket is not absolute, or is over {_LONGEST_PATH} bytes",
            key=_SOCKET,
            hint="give it a short path such as /run/strongroom/agent.sock",
        )
    folder = os.path.dirname(path)  # noqa: PTH120 -- as said above
    found, around = os.lstat(path), os.stat(folder)  # noqa: PTH116 -- as said above
    if found.st_mode & _KIND != _IS_SOCKET:
        raise SettingsError(f"{path} is no socket", key=_SOCKET, hint="name the socket of the agent")
    mine = (0, os.geteuid())
    is_shared = bool(around.st_mode & _OTHERS_WRITE)
    if around.st_uid in mine and not is_shared:
        return (*mine, found.st_uid)
    if around.st_uid in mine and around.st_mode & _STICKY:
        return mine
    if not is_shared and around.st_uid == found.st_uid and _is_roots(os.path.join(folder, "..")):  # noqa: PTH118 -- as said above
        return (*mine, found.st_uid)
    raise SettingsError(
        f"others than root and me may put a socket at {path}",
        key=_SOCKET,
        hint="an agent's folder belongs to root, to me, or to its own user below a folder of root's, and is"
        " written by nobody else",
    )


def require_library(environ: Mapping[str, str], *, what: str | None = None) -> None:
    """
    Refuse to open a room on this machine where *environ* names another place.

    Args:
        environ: the environment. An agent that merely is where it is by default is not named by it.
        what: is to be done, as in `keys are rotated`; for the message.

    Raises:
        SettingsError: an agent or a server is named; asking the local stores instead could give other
            values.
    """
    place = _named(environ)
    if place is None and _mode(environ) == "required":
        place = Place(AGENT, _AGENT)
    if place is not None:
        raise elsewhere(what or "this is done", setting=place.setting)


def missing_agent() -> BackendUnavailableError:
    """Give the error of a process that found no agent, where the settings forbid to do without one."""
    return BackendUnavailableError(
        "no agent is found on this machine, and agent.required forbids to ask the backends without one",
        backend=AGENT,
        hint="start it: strongroom agent; or name the settings to ask: --config FILE",
    )


def elsewhere(what: str, *, setting: str | None = None, kind: str = SERVER) -> SettingsError:
    """
    Give the error of what is done only beside the store, and not through an agent or server.

    Args:
        what: as in `keys are rotated`.
        setting: the variable that names the place, where that is known.
        kind: of the place, where no variable names it.
    """
    if setting in (_SOCKET, _AGENT) or (setting is None and kind == AGENT):
        return _beyond_agent(what, setting)
    names = " and ".join(_SERVERS) if setting is None else setting
    unset = f"unset {names}" if setting == _SERVERS[0] else f"leave --profile out and unset {names}"
    return SettingsError(
        f"{'a server is asked' if setting is None else f'{setting} names a server'}, and {what} only on the"
        " machine that has the store",
        key=setting,
        hint=f"do it there; or {unset} to use the settings of this machine",
    )


def _beyond_agent(what: str, setting: str | None) -> SettingsError:
    said = {_SOCKET: f"{_SOCKET} names an agent", _AGENT: f"{_AGENT} requires an agent"}
    unset = f"unset {_SOCKET}" if setting == _SOCKET else "set STRONGROOM_AGENT=off"
    return SettingsError(
        f"{said.get(setting or '', 'the agent here is asked')}, and {what} only where the store is",
        key=setting,
        hint=f"an agent answers reads; {unset} to use the settings of this machine",
    )


def _named(environ: Mapping[str, str]) -> Place | None:
    path = environ.get(_SOCKET)
    if path:
        return Place(AGENT, _SOCKET, path)
    for setting in _SERVERS:
        if environ.get(setting):
            return Place(SERVER, setting)
    return None


def _mode(environ: Mapping[str, str]) -> str:
    mode = environ.get(_AGENT, "")
    if mode not in _MODES:
        raise SettingsError(
            f"{_AGENT} is none of required and off",
            key=_AGENT,
            hint="required: never read without an agent; off: look for none",
        )
    return mode


def _is_trusted(path: str) -> bool:
    try:
        return os.lstat(path).st_uid in trusted_owners(path)
    except (OSError, SettingsError):
        return False


def _is_roots(folder: str) -> bool:
    above = os.stat(folder)  # noqa: PTH116 -- as said above
    return above.st_uid in (0, os.geteuid()) and not above.st_mode & _OTHERS_WRITE
