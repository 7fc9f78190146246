"""
Live file systems: fsspec's own, of buckets, SFTP servers, web servers and folders, as a connection says.

    fs = strongroom.client("aws_default", driver="fsspec")
    with fs.open("my-bucket/orders.csv") as file: ...

Not for how each signs in: `files_s3.py`, `files_gcs.py`, `files_azure.py`, `files_web.py`, `files_sftp.py`
and `files_folder.py` are its kinds.

Rules of this file:

1. A file system holds no credential that fsspec could write down: it cannot be pickled, and fsspec keeps no
   copy of it for others who ask with the same words.
2. Paths are the library's: `bucket/key`, `/folder/file`. Of `http` and `fs` they begin at what the connection
   names.
"""

from __future__ import annotations

from asyncio import to_thread
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strongroom.live.families import loaded
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed

if TYPE_CHECKING:
    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["aclient", "client"]

_EXTRA = "files"
_S3 = ("files_s3", "s3fs", "files")
_GCS = ("files_gcs", "gcsfs", "gcsfs")
_BLOBS = ("files_azure", "adlfs", "adlfs")
_SFTP = ("files_sftp", "paramiko", "ssh")
_KINDS = {  # which file of this folder, and the library it stands on with the extra that brings it
    "aws": _S3,
    "athena": _S3,
    "google_cloud_platform": _GCS,
    "azure": _BLOBS,
    "wasb": _BLOBS,
    "adls": _BLOBS,
    "sftp": _SFTP,
    "http": ("files_web", "httpx2", "http"),
    "fs": ("files_folder", "fsspec", "files"),
}


@unframed
def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- fsspec has no types
    """
    Give a file system.

    Args:
        held: the connection.
        asked: `options` are for the file system's own constructor.

    Raises:
        BackendConfigError: a library is missing, or a field of the connection cannot be used.
        As the live client of its type: an SFTP server is connected to at once.
    """
    _check_service(held, asked)
    return _kind(held.known.connection.conn_type or "", held).client(held, asked)


async def aclient(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- as `client`
    """
    Give a file system for the loop that runs: of a cloud's storage the asynchronous one, else as `client`.

    Raises:
        As `client`.
    """
    conn_type = held.known.connection.conn_type or ""
    if _KINDS.get(conn_type) in (_S3, _GCS, _BLOBS):
        _check_service(held, asked)
        kind = await to_thread(_kind, conn_type, held)  # a cloud's SDK takes seconds to load
        return await kind.aclient(held, asked)
    return await to_thread(client, held, asked)


def _check_service(held: Held, asked: Asked) -> None:
    if asked.service not in (None, "s3"):
        raise trouble("options", "unknown", name=held.name, detail="service", hint="a file system needs none")


def _kind(conn_type: str, held: Held) -> Any:  # noqa: ANN401 -- a module
    kind = _KINDS.get(conn_type)
    if kind is None:
        raise trouble("driver", "unknown", name=held.name)
    module, library, extra = kind
    # Of the clouds' own extras each brings fsspec, too.
    loaded("fsspec", held, extra=extra if kind in (_GCS, _BLOBS) else _EXTRA)
    loaded(library, held, extra=extra)
    return import_module(f"strongroom.live.{module}")
