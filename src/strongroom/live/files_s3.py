"""
S3, and what speaks as it does, as a file system: s3fs over a session of aiobotocore that follows.

Imports s3fs; loaded by `files.py` when such a file system is asked for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError
from s3fs import S3FileSystem

from strongroom.live import aws_fields
from strongroom.live.aws_hooks import follow_async
from strongroom.live.aws_login import identity_of
from strongroom.live.aws_refusal import way_trouble
from strongroom.live.aws_roles import configuration, configured, core_session
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["FollowingS3", "aclient", "client"]

_SERVICE = "s3"
# Of s3fs, which passes over any other word; what signs is the connection's, and no word of the caller.
_TAKEN = frozenset(
    (
        *("anon", "requester_pays", "default_block_size", "default_fill_cache", "default_cache_type"),
        *("version_aware", "s3_additional_kwargs", "cache_regions", "max_concurrency", "fixed_upload_size"),
        *("client_kwargs", "config_kwargs", "endpoint_url", "use_ssl", "batch_size", "loop"),
        *("use_listings_cache", "listings_expiry_time", "max_paths"),
    )
)


class FollowingS3(S3FileSystem):  # type: ignore[misc]  # s3fs has no types
    """s3fs's file system of a connection; it holds a session and no key."""

    cachable = False

    def __reduce__(self) -> NoReturn:
        raise TypeError("a live file system cannot be pickled: make it where it is used")

    def to_dict(self, **_more: object) -> NoReturn:
        raise TypeError("a live file system cannot be written down: make it where it is used")


def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- s3fs has no types
    """
    Give s3fs's file system; it signs as the connection says now, and asks nobody before it is used.

    Raises:
        BackendConfigError: s3fs is missing, or a field cannot be read.
    """
    return _made(held, asked)


async def aclient(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- as `client`
    """
    Give s3fs's asynchronous file system, ready for the loop that runs: `await fs._cat_file(…)`.

    Raises:
        BackendConfigError: as `client`.
    """
    made = await asyncio.to_thread(_made, held, asked, asynchronous=True)
    await made.set_session()
    return made


def _made(held: Held, asked: Asked, **more: Any) -> Any:  # noqa: ANN401 -- as `client`
    fields = aws_fields.read(held.name, held.known.connection)
    if not _TAKEN.issuperset(asked.options):
        raise trouble("options", "unknown", name=held.name, detail="options")
    made = FollowingS3(**{**_options(held, asked, fields), **more, **asked.options})
    held.lasts(made)
    return made


def _options(held: Held, asked: Asked, fields: aws_fields.AwsFields) -> dict[str, Any]:
    configured(held.name, fields, AioConfig)  # what cannot be is told now
    try:
        session = core_session(fields, AioSession(profile=fields.profile))
    except BotoCoreError as caught:
        error = way_trouble(caught, held.name) or trouble("options", "malformed", name=held.name)
    else:
        follow_async(session, identity_of(held, asked.around))
        said = {"region_name": fields.region, "verify": fields.verify}
        return {
            "session": session,
            "endpoint_url": fields.endpoint_of(_SERVICE),
            "client_kwargs": {key: value for key, value in said.items() if value is not None},
            "config_kwargs": configuration(fields),
        }
    raise error
