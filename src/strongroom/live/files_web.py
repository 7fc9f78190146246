"""
What an HTTP service has, as files to read: an fsspec file system over the live HTTP client of a connection.

fsspec's own keeps a login where its errors show it, and sends it wherever a path leads; here the client below
signs in, as `web_transport.py` says: to the connection's own origin alone. Imports fsspec; loaded by
`files.py`.

Rules of this file:

1. Paths are below the address of the connection, as Airflow's hook joins them.
2. A file is read in ranges where the server says how long it is and takes ranges; else whole, into memory.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urljoin, urlsplit

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from strongroom.live import http as http_family
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["FollowingWeb", "client"]

_LINK = re.compile(r"""<a\s[^>]{0,500}?href\s*=\s*["']([^"'#?]+)["']""", re.IGNORECASE)
_FILE_OPTIONS = ("block_size", "cache_type", "use_listings_cache", "listings_expiry_time", "max_paths")
_NOT_FOUND, _GONE, _NO_RANGE, _NO_METHOD, _REFUSED = 404, 410, 416, 405, 400
_PARTIAL = 206
_BLOCK = 5 * 1024 * 1024


def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- fsspec has no types
    """
    Give the file system; `options` are `block_size` and `cache_type`, and those of httpx2's client.

    Raises:
        BackendConfigError: httpx2 is missing, or a field cannot be used.
    """
    inner = {key: value for key, value in asked.options.items() if key not in _FILE_OPTIONS}
    own: dict[str, Any] = {key: value for key, value in asked.options.items() if key in _FILE_OPTIONS}
    web = http_family.client(held, asked._replace(options=inner))
    try:
        made = FollowingWeb(web, held.name, **own)
    except (TypeError, ValueError):
        raise trouble("options", "unknown", name=held.name, detail="options") from None
    held.lasts(made)
    return made


class FollowingWeb(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """
    Files of an HTTP service, to read.

    Threads: as the library's file systems. After a fork the child connects anew.
    """

    protocol = ("http", "https")
    cachable = False

    def __init__(
        self,
        web: Any,  # noqa: ANN401 -- httpx2's client
        name: str,
        block_size: int = _BLOCK,
        cache_type: str = "bytes",
        **listings: Any,  # noqa: ANN401 -- the library's own options
    ) -> None:
        super().__init__(**listings)
        self._web, self._name = web, name
        self._block_size, self._cache_type = block_size, cache_type

    def __repr__(self) -> str:
        return f"FollowingWeb({self._name!r})"

    @property
    def fsid(self) -> str:
        return f"strongroom-{self._name}"

    def info(self, path: str, **_more: object) -> dict[str, Any]:
        """Tell name and size, None where the server does not say how long it is."""
        answer = self._web.request("HEAD", self._url(path), headers={"accept-encoding": "identity"})
        if answer.status_code == _NO_METHOD:
            return {"name": path, "size": None, "type": "file", "is_ranged": False}
        _check(answer, path)
        said = answer.headers
        size = said.get("content-length", "")
        is_whole = size.isdecimal() and "content-encoding" not in said
        return {
            "name": path,
            "size": int(size) if is_whole else None,
            "type": "file",
            "is_ranged": said.get("accept-ranges", "").lower() == "bytes",
            "mimetype": said.get("content-type", "").partition(";")[0],
            "ETag": said.get("etag"),
        }

    def exists(self, path: str, **_more: object) -> bool:
        """Tell whether the server has *path*; what it does not say is raised."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **_more: object) -> list[Any]:  # noqa: FBT001, FBT002 -- the library's promise
        """Give what the page at *path* links to below itself."""
        folder = path.strip("/") + "/" if path.strip("/") else ""
        page = str(self._web.build_request("GET", self._url(folder)).url)
        found = {self._below(page, folder, link) for link in _LINK.findall(self._got(folder).text)}
        names = sorted(name for name in found if name)
        if not detail:
            return [name.rstrip("/") for name in names]
        return [
            {
                "name": name.rstrip("/"),
                "size": None,
                "type": "directory" if name.endswith("/") else "file",
            }
            for name in names
        ]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_more: object) -> bytes:
        """Give the bytes of *path* from *start* to *end*; negative ones are counted from its end."""
        if start is None and end is None:
            return bytes(self._got(path).content)
        if (start or 0) < 0 or (end is not None and end < 0):
            size = self.info(path)["size"]
            if size is None:
                return bytes(self._got(path).content)[start:end]
            start = max(size + start, 0) if (start or 0) < 0 else start
            end = max(size + end, 0) if end is not None and end < 0 else end
        if end is not None and end <= (start or 0):
            return b""
        return self._range(path, start or 0, end)

    def _range(self, path: str, start: int, end: int | None) -> bytes:
        asked = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        answer = self._web.get(self._url(path), headers={"range": asked, "accept-encoding": "identity"})
        if answer.status_code == _NO_RANGE:
            return b""
        _check(answer, path)
        content = bytes(answer.content)
        return content if answer.status_code == _PARTIAL else content[start:end]

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **more: Any) -> Any:  # noqa: ANN401 -- the library's
        if mode != "rb":
            raise NotImplementedError("files of an HTTP connection can be read, and not written")
        said = self.info(path)
        if said["size"] is None or not said["is_ranged"]:
            return io.BytesIO(self.cat_file(path))
        more.setdefault("cache_type", self._cache_type)
        more.pop("autocommit", None)
        return _File(self, path, mode, block_size or self._block_size, size=said["size"], **more)

    def _got(self, path: str) -> Any:  # noqa: ANN401 -- httpx2's answer
        answer = self._web.get(self._url(path))
        _check(answer, path)
        return answer

    def _url(self, path: str) -> str:
        # A path that looks like an address would lead elsewhere: it is one below ours all the same.
        if ".." in (unquote(part) for part in path.partition("?")[0].split("/")):
            raise ValueError("a path with .. leads out of the address of the connection")
        return "/" + path.lstrip("/")

    def _below(self, page: str, folder: str, link: str) -> str | None:
        """Give the path of what *link* leads to, where that is below *page*."""
        here, there = urlsplit(page), urlsplit(urljoin(page, link))
        base = here.path if here.path.endswith("/") else here.path + "/"
        if (here.scheme, here.netloc) != (there.scheme, there.netloc) or not there.path.startswith(base):
            return None
        name = unquote(there.path[len(base) :])
        return f"{folder}{name}" if name else None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401 -- a text or a list of texts
        return [one.lstrip("/") for one in path] if isinstance(path, list) else path.lstrip("/")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a live file system cannot be pickled: make it where it is used")

    def to_dict(self, **_more: object) -> NoReturn:
        raise TypeError("a live file system cannot be written down: make it where it is used")


class _File(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs._range(self.path, start, end)  # type: ignore[no-any-return]  # noqa: SLF001 -- the same file


def _check(answer: Any, path: str) -> None:  # noqa: ANN401 -- httpx2's answer
    if answer.status_code in (_NOT_FOUND, _GONE):
        raise FileNotFoundError(path)
    if answer.status_code >= _REFUSED:
        answer.raise_for_status()
