"""
The files of an SFTP server: fsspec's file system over the live SFTP client of a connection.

fsspec's own takes any host key; here the client below checks it, as `ssh_login.py` says. Imports fsspec and
paramiko; `files.py` loads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from fsspec.implementations.sftp import SFTPFileSystem

from strongroom.live import ssh
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["FollowingSftp", "client"]

_FILE_OPTIONS = ("temppath", "use_listings_cache", "listings_expiry_time", "max_paths")


def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- fsspec has no types
    """
    Give the file system; nobody is asked before it is used.

    `options` are `temppath`, the folder on the server for what a transaction has not ended with, and those of
    the live SSH client.

    Raises:
        BackendConfigError: an option is not known.
    """
    inner = {key: value for key, value in asked.options.items() if key not in _FILE_OPTIONS}
    own: dict[str, Any] = {key: value for key, value in asked.options.items() if key in _FILE_OPTIONS}
    files = ssh.client(held, asked._replace(driver="sftp", options=inner))
    try:
        made = FollowingSftp(held.name, files, **own)
    except (TypeError, ValueError):
        raise trouble("options", "unknown", name=held.name, detail="options") from None
    made.ended = held.lasts(made)
    return made


class FollowingSftp(SFTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's file system of an SFTP connection."""

    cachable = False
    ended: Callable[[], None]

    def __init__(self, name: str, files: Any, **own: Any) -> None:  # noqa: ANN401 -- paramiko's client
        self._files = files
        super().__init__(name, **own)

    def _connect(self) -> None:
        self.ftp = self._files  # it connects when it is used, and anew where it has to

    def __repr__(self) -> str:
        return f"FollowingSftp({self.host!r})"

    def exists(self, path: str, **_more: object) -> bool:
        """Tell whether there is such a file; what stands in the way of knowing is raised."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Close what is open, and end the following."""
        self._files.close()
        self.ended()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a live file system cannot be pickled: make it where it is used")

    def to_dict(self, **_more: object) -> NoReturn:
        raise TypeError("a live file system cannot be written down: make it where it is used")
