"""
The folder of an `fs` connection as a file system: fsspec's own of this machine, below that folder.

Imports fsspec; `files.py` loads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from strongroom.live.fields import Options
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["Folder", "client"]

_TAKEN = frozenset(("auto_mkdir",))  # of fsspec, which passes over any other word


class Folder(DirFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's file system below a folder; a path that leads out of it is refused by every release of it."""

    cachable = False

    def _join(self, path: Any) -> Any:  # noqa: ANN401 -- a text, or several
        if isinstance(path, str) and ".." in path.split("/"):
            raise ValueError("a path with .. escapes the folder of the connection")
        return super()._join(path)


def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- fsspec has no types
    """
    Give the folder that the connection names, as Airflow's hook does; where it names none, paths are whole.

    Raises:
        BackendConfigError: an option is not known.
    """
    if not _TAKEN.issuperset(asked.options):
        raise trouble("options", "unknown", name=held.name, detail="options")
    path = Options(held.name, held.known.connection).text("path")
    inner = LocalFileSystem(skip_instance_cache=True, **asked.options)
    made = inner if path is None else Folder(path=path, fs=inner)
    held.lasts(made)
    return made
