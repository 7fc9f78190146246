"""
Google Cloud Storage as a file system: gcsfs, over a session of aiohttp that signs in as a connection says.

Imports gcsfs; loaded by `files.py` when such a file system is asked for. Not for who the connection is
(`google_identity.py`), nor for following (`google_credentials.py`).

Rules of this file:

1. gcsfs holds no token: one is put on below it, as a request is sent, and taken off again before anybody
   looks at what was sent.
2. A token goes to storage's own origin alone, wherever a redirect leads, and over TLS but on this machine.
3. A 401 has the token replaced once, by what the connection says then, and the request sent once more.
4. It is gcsfs's file system of the JSON API. Its other one asks what kind a bucket is, over gRPC, before each
   first use of it, with pools that survive no fork (docs/adr/0018).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp
from gcsfs.core import GCSFileSystem
from gcsfs.credentials import GoogleCredentials

from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.live import google
from strongroom.live.files_way import check_hidden, ending, is_hopeless, way_trouble
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from strongroom.live.around import Asked
    from strongroom.live.google_credentials import FollowedCredentials
    from strongroom.live.held import Held

__all__ = ["FollowingGcs", "aclient", "client"]

_REFUSED = 401
_HEADER = "Authorization"
# Of gcsfs, which passes over any other word; who asks is the connection's to say, and no word of the caller.
_TAKEN = frozenset(
    (
        *("project", "block_size", "consistency", "cache_timeout", "requests_timeout", "requester_pays"),
        *("session_kwargs", "loop", "timeout", "endpoint_url", "default_location", "version_aware"),
        *("use_listings_cache", "listings_expiry_time", "max_paths", "batch_size"),
    )
)
# What Airflow's own file system reads in the extra of the connection, and gcsfs's word for it.
_EXTRA = {
    "gcs.project-id": "project",
    "gcs.consistency": "consistency",
    "gcs.cache-timeout": "cache_timeout",
    "gcs.requester-pays": "requester_pays",
    "gcs.endpoint": "endpoint_url",
    "gcs.default-bucket-location": "default_location",
    "gcs.version-aware": "version_aware",
}


class _Signer:
    """Puts on who asks, below gcsfs: a middleware of aiohttp's."""

    def __init__(self, name: str, credentials: FollowedCredentials) -> None:
        self.name = name
        self.credentials = credentials
        self.base = ""

    def __repr__(self) -> str:
        return f"_Signer({self.name!r})"

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        """Send *request*, signed where it goes to storage itself."""
        if request.url.origin() != type(request.url)(self.base).origin():
            return await self._sent(request, handler, {})
        shown = await self._headers(request)
        answer = await self._sent(request, handler, shown)
        if answer.status != _REFUSED or not shown:
            return answer
        answer.close()
        await asyncio.to_thread(self._renew, shown)
        answer = await self._sent(request, handler, await self._headers(request))
        if answer.status != _REFUSED:
            return answer
        answer.close()
        raise trouble("authentication", "credentials", name=self.name)

    async def _headers(self, request: aiohttp.ClientRequest) -> dict[str, str]:
        """Give what shows who asks; nothing where nobody does."""
        found: dict[str, str] = {}
        sign = self.credentials.before_request
        if self.credentials.valid:
            sign(None, request.method, str(request.url), found)
        else:
            await asyncio.to_thread(sign, None, request.method, str(request.url), found)
        if found:
            check_hidden(self.base, self.name, "gcs.endpoint")
        return found

    def _renew(self, shown: Mapping[str, str]) -> None:
        """Have another token than the one in *shown*, unless another thread has got it already."""
        now: dict[str, str] = {}
        if self.credentials.valid:
            self.credentials.apply(now)  # type: ignore[no-untyped-call, unused-ignore]
            if now.get("authorization") not in (None, shown.get("authorization")):
                return
        self.credentials.refresh(None)

    async def _sent(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
        shown: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        request.headers.update(shown)
        try:
            return await handler(request)
        except aiohttp.ClientError as caught:
            error = way_trouble(caught, self.name) if is_hopeless(caught) else None
            if error is None:
                raise
        finally:
            # What was sent hangs on answers and on aiohttp's errors, which print it.
            for key in shown:
                request.headers.pop(key, None)
        raise error


class _Below(GoogleCredentials):  # type: ignore[misc]  # gcsfs has no types
    """gcsfs's own view of who asks: it can sign URLs, and puts nothing on a request."""

    def apply(self, out: object) -> None:
        """Put on nothing: `_Signer` does."""

    def maybe_refresh(self, *_more: object) -> None:
        """Get nothing, as `apply`."""


class FollowingGcs(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
    """gcsfs's file system of a connection; it holds no token."""

    cachable = False

    def __init__(self, signer: _Signer, session_kwargs: Mapping[str, Any] | None = None, **own: Any) -> None:  # noqa: ANN401 -- the library's
        given = session_kwargs or {}
        session = {**given, "middlewares": (*given.get("middlewares", ()), signer)}
        super().__init__(token="anon", session_kwargs=session, **own)  # noqa: S106 -- its word for none
        self.credentials = _Below(own["project"], "full_control", "anon")
        self.credentials.credentials = signer.credentials
        self._name = signer.name
        signer.base = self.base

    def __repr__(self) -> str:
        return f"FollowingGcs({self._name!r})"

    async def _request(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- the library's
        return await _told(super()._request(*args, **more), self._name)

    async def _get_file_request(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- as above
        return await _told(super()._get_file_request(*args, **more), self._name)

    @staticmethod
    def close_session(loop: Any, session: Any, asynchronous: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002 -- the library's promise
        """Close the session of a file system that nobody has any more, from whatever thread."""
        del asynchronous
        if session is not None and not session.closed:
            ending(loop or session._loop, session.close)  # noqa: SLF001 -- whose loop it is says nothing else

    def __reduce__(self) -> NoReturn:
        raise TypeError("a live file system cannot be pickled: make it where it is used")

    def to_dict(self, **_more: object) -> NoReturn:
        raise TypeError("a live file system cannot be written down: make it where it is used")


async def _told(work: Awaitable[Any], name: str) -> Any:  # noqa: ANN401 -- the library's
    """Wait for *work*; what kept it from being asked leaves as ours, without frames."""
    try:
        return await work
    except StrongroomError as caught:
        error = caught
    except aiohttp.ClientError as caught:
        found = way_trouble(caught, name)
        if found is None:
            raise
        error = found
    error.__cause__ = error.__context__ = None
    raise error.with_traceback(None)


def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- gcsfs has no types
    """
    Give gcsfs's file system; who asks is found out when it is used.

    Raises:
        BackendConfigError: an option is not known, or a field cannot be read.
        As the credentials, where only Google knows in which project buckets are made.
    """
    return _made(held, asked)


async def aclient(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- as `client`
    """
    Give gcsfs's asynchronous file system, ready for the loop that runs: `await fs._cat_file(…)`.

    Raises:
        As `client`.
    """
    made = await asyncio.to_thread(_made, held, asked, asynchronous=True)
    await made._set_session()  # noqa: SLF001 -- what the library's own pages say to await
    return made


def _made(held: Held, asked: Asked, **more: Any) -> Any:  # noqa: ANN401 -- as `client`
    if not _TAKEN.issuperset(asked.options):
        raise trouble("options", "unknown", name=held.name, detail="options")
    credentials = google.credentials(held, asked._replace(options={}))
    said: dict[str, Any] = {**_said(held), **asked.options, **more}
    said["project"] = str(said.get("project") or credentials.project_id or "")
    try:
        made = FollowingGcs(_Signer(held.name, credentials), **said)
    except (TypeError, ValueError):
        raise trouble("options", "malformed", name=held.name, detail="options") from None
    held.lasts(made)
    return made


def _said(held: Held) -> dict[str, Any]:
    extra = held.known.connection.extra
    try:
        found = {} if extra is None else extra.reveal()
    except InvalidInputError:
        raise trouble(
            "options", "malformed", name=held.name, detail="extra", hint="it is a JSON object"
        ) from None
    said = {word: found[key] for key, word in _EXTRA.items() if found.get(key) not in (None, "")}
    if "version_aware" in said:
        said["version_aware"] = str(said["version_aware"]).lower() == "true"
    return said
