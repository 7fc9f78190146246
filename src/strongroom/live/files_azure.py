"""
Azure's blob storage as a file system: adlfs, over a transport that signs as a connection says.

Imports adlfs; loaded by `files.py` when such a file system is asked for. Not for how requests are signed and
followed (`azure_blobs.py`).

Rules of this file:

1. adlfs is given neither key nor token; what it takes from the environment beside the connection is dropped.
2. A file system that nobody has any more lets go of its sessions, which adlfs itself does at the end of the
   process alone.
"""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from adlfs.spec import AzureBlobFile, AzureBlobFileSystem
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry
from fsspec.asyn import sync_wrapper

from strongroom.errors import StrongroomError
from strongroom.live.azure_blobs import SignedTransport, account_of
from strongroom.live.files_way import ending
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["FollowingAzure", "aclient", "client"]

_SIGNING = frozenset(("account_name", "anon", "authority", "connection_verify"))
_RETRYING = "retry_total"
# Of adlfs, which passes over any other word; who asks is the connection's to say, and no word of the caller.
_TAKEN = frozenset(
    (
        *(
            "blocksize",
            "default_fill_cache",
            "default_cache_type",
            "version_aware",
            "assume_container_exists",
        ),
        *("max_concurrency", "timeout", "connection_timeout", "read_timeout", "loop"),
        *("use_listings_cache", "listings_expiry_time", "max_paths"),
    )
)
_MAX_DEEP = 8
_FROM_OUTSIDE = ("connection_string", "sas_token", "client_id", "client_secret", "tenant_id")


class _Told(ExponentialRetry):
    """azure-core's retries, after which what kept a request from being asked is ours to tell."""

    def __init__(self, name: str, **more: Any) -> None:  # noqa: ANN401 -- azure-core's
        super().__init__(**more)
        self._name = name

    async def send(self, request: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 -- azure-core's, which says otherwise
        try:
            return await super().send(request)  # type: ignore[no-untyped-call, unused-ignore]
        except StrongroomError as caught:
            error = caught
        except AzureError as caught:
            if not isinstance(caught.__cause__, StrongroomError):
                raise
            error = caught.__cause__
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None)


class _File(AzureBlobFile):  # type: ignore[misc]  # adlfs has no types
    async def _async_upload_chunk(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- the library's
        return await _ours(super()._async_upload_chunk(*args, **more))

    _upload_chunk = sync_wrapper(_async_upload_chunk)


async def _ours(work: Awaitable[Any]) -> Any:  # noqa: ANN401 -- the library's
    """Wait for *work*; where adlfs made an error of its own out of ours, ours leaves it."""
    try:
        return await work
    except (OSError, RuntimeError, ValueError) as caught:
        found = _behind(caught)
        if found is None:
            raise
    raise found.with_traceback(None)


def _behind(error: BaseException) -> StrongroomError | None:
    found: BaseException | None = error
    for _ in range(_MAX_DEEP):
        if found is None or isinstance(found, StrongroomError):
            return found
        found = found.__cause__
    return None


class FollowingAzure(AzureBlobFileSystem):  # type: ignore[misc]  # adlfs has no types
    """adlfs's file system of a connection; it holds no credential."""

    cachable = False

    def __init__(self, name: str, transport: SignedTransport, retries: _Told, **own: Any) -> None:  # noqa: ANN401 -- the library's
        self._name, self._transport, self._retries = name, transport, retries
        super().__init__(account_name=account_of(transport.place), credential=transport, anon=True, **own)
        for each in _FROM_OUTSIDE:
            setattr(self, each, None)
        self.credential = None
        self._let_go()

    def do_connect(self) -> None:
        """Make the client of the SDK; nobody is asked."""
        self.account_url = self._transport.place
        self.service_client = BlobServiceClient(
            self.account_url, transport=self._transport, retry_policy=self._retries
        )

    # adlfs takes any trouble for an absence, or wraps it.

    async def _get_file(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- the library's
        return await _ours(super()._get_file(*args, **more))

    async def _mkdir(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- as above
        return await _ours(super()._mkdir(*args, **more))

    async def _rm(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- as above
        return await _ours(super()._rm(*args, **more))

    def _open(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 -- as above
        made = super()._open(*args, **more)
        made.__class__ = _File  # adlfs lets nobody say which
        return made

    def _let_go(self) -> None:
        # adlfs has asked to be closed at its end by what holds it until then.
        for one in weakref.getweakrefs(self):
            ends = getattr(one, "__callback__", None)
            found = ends.peek() if isinstance(ends, weakref.finalize) else None
            if ends is not None and found is not None and any(given is self for given in found[2]):
                ends.detach()

    @property
    def account_key(self) -> str | None:
        """The account's key as the connection says it now, for URLs that adlfs signs."""
        return self._transport.key

    @account_key.setter
    def account_key(self, value: object) -> None:
        """Leave what the environment says: it is none of the connection's."""

    def __repr__(self) -> str:
        return f"FollowingAzure({self._name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a live file system cannot be pickled: make it where it is used")

    def to_dict(self, **_more: object) -> NoReturn:
        raise TypeError("a live file system cannot be written down: make it where it is used")


def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- adlfs has no types
    """
    Give adlfs's file system; nobody is asked before it is used.

    Raises:
        BackendConfigError: an option is not known, nothing names the account, or what logs in is said by
            halves.
    """
    made = _made(held, asked)
    _lasting(held, made, made.loop)
    return made


async def aclient(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- as `client`
    """
    Give adlfs's asynchronous file system, for the loop that runs: `await fs._cat_file(…)`.

    Raises:
        As `client`.
    """
    made = await asyncio.to_thread(_made, held, asked, asynchronous=True)
    _lasting(held, made, asyncio.get_running_loop())
    return made


def _lasting(held: Held, made: FollowingAzure, loop: asyncio.AbstractEventLoop) -> None:
    held.lasts(made, partial(ending, loop, made._transport.close))  # noqa: SLF001 -- the same file


def _made(held: Held, asked: Asked, **more: Any) -> FollowingAzure:  # noqa: ANN401 -- as `client`
    if not (_TAKEN | _SIGNING | {_RETRYING}).issuperset(asked.options):
        raise trouble("options", "unknown", name=held.name, detail="options")
    own = {key: value for key, value in asked.options.items() if key in _TAKEN}
    retrying = {key: value for key, value in asked.options.items() if key == _RETRYING}
    transport = SignedTransport(held, asked)
    try:
        return FollowingAzure(held.name, transport, _Told(held.name, **retrying), **own, **more)
    except (TypeError, ValueError):
        raise trouble("options", "malformed", name=held.name, detail="options") from None
