"""
Files that are the same for everybody: stylesheet, script, fonts, icons.

They stand at `/static/{digest}/{path}`, the digest being one of them all: a browser keeps them for a year,
and asks for none of them again until the next release. Packed once, when first asked for.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import NotFoundError
from strongroom.server.endpoint import Answer, Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS", "address", "takes_gzip"]

_MEDIA = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "png": "image/png",
    "LICENSE": "text/plain; charset=utf-8",
}
_PACKED = frozenset({"css", "js", "svg"})


class _File(NamedTuple):
    content: bytes
    packed: bytes | None
    media: str


def address(path: str) -> str:
    """Give where the static file *path* is."""
    return f"/static/{_held()[1]}/{path}"


def takes_gzip(call: Call) -> bool:
    """Tell whether whoever asks takes gzip (RFC 9110 §12.5.3)."""
    for said in call.headers.get("accept-encoding", "").split(","):
        coding, _, weight = said.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


@cache
def _held() -> tuple[Mapping[str, _File], str]:
    held = dict(sorted(_walk(Path(__file__).parents[1] / "static", "")))
    digest = hashlib.sha256()
    for path, file in held.items():
        digest.update(path.encode() + b"\0" + hashlib.sha256(file.content).digest())
    return held, digest.hexdigest()[:16]


def _walk(folder: Path, before: str) -> Iterator[tuple[str, _File]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _walk(one, f"{before}{one.name}/")
            continue
        ending = one.name.rpartition(".")[2]
        if ending in _MEDIA:
            content = one.read_bytes()
            packed = gzip.compress(content, 9, mtime=0) if ending in _PACKED else None
            yield f"{before}{one.name}", _File(content, packed, _MEDIA[ending])


def _given(call: Call) -> Answer:
    held, digest = _held()
    file = held.get(call.params["path"])
    if file is None:
        raise NotFoundError("there is no such file")
    is_current = call.params["digest"] == digest
    headers = {
        # A page of the release before may ask still; what it gets is not kept.
        "cache-control": "public, max-age=31536000, immutable" if is_current else "no-cache",
        "vary": "Accept-Encoding",
    }
    if file.packed is None or not takes_gzip(call):
        return Answer(file.content, headers=headers, media_type=file.media)
    return Answer(file.packed, headers={**headers, "content-encoding": "gzip"}, media_type=file.media)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/static/{digest}/{path:path}",
        _given,
        "Give a file of the page",
        "page",
        is_public=True,
        when_sealed=True,
        cost=0.0,
    ),
)
