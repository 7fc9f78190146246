"""
Live clients of AWS: boto3's own session, clients and resources, which sign as their connection says now.

Not for logging in (`aws_login.py`). The SDK is imported when the first client is asked for.

Rules of this file:

1. Credentials follow with the next request. Where a service is, its region and what is checked of its
   certificate are the client's for life, as in boto3: a change of those counts for the next client.
2. What the caller says (`options`, arguments of `session.client`) goes before what the connection says.
3. A service other than STS may be at the connection's `endpoint_url`: MinIO and its kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.live.families import loaded
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed

if TYPE_CHECKING:
    from strongroom.live.around import Around, Asked
    from strongroom.live.held import Held

__all__ = ["client", "credentials", "session"]


@unframed
def client(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- boto3 makes its classes as it goes
    """
    Give a client of the service asked for, its resource, or a session where none is named.

    Args:
        held: the connection.
        asked: `options` are arguments of boto3's `Session.client` or `Session.resource`, or of `Session`:
            region_name.

    Raises:
        BackendConfigError: boto3 is missing, a field cannot be read, or there is no such service.
    """
    if asked.service is None:
        if asked.driver == "resource":
            raise trouble("options", "missing", name=held.name, detail="service", hint='say service="s3"')
        return session(held, asked)
    verb, service, options = (
        "resource" if asked.driver == "resource" else "client",
        asked.service,
        asked.options,
    )
    try:
        return _sdk(held).made_of(held, asked.around, lambda of: getattr(of, verb)(service, **options))
    except TypeError:
        error = trouble("options", "unknown", name=held.name, detail="options")
    raise error


@unframed
def session(held: Held, asked: Asked) -> Any:  # noqa: ANN401 -- as `client`
    """
    Give a boto3 session of *held*; every client made of it follows the connection.

    Raises:
        BackendConfigError: as `client`.
    """
    unknown = set(asked.options) - {"region_name"}
    if unknown:
        raise trouble(
            "options", "unknown", name=held.name, detail="options", hint="a session takes region_name"
        )
    made = _sdk(held).session_of(held, asked.around, asked.options.get("region_name"))
    held.lasts(made)
    return made


@unframed
def credentials(held: Held, around: Around) -> Any:  # noqa: ANN401 -- botocore's ReadOnlyCredentials
    """
    Give what signs now, for who signs by himself: `access_key`, `secret_key`, `token` of one moment.

    Raises:
        AccessDeniedError: a role, or the key it is taken on with, is refused.
        BackendConfigError: boto3 is missing, or there is no identity here.
        BackendUnavailableError: who gives roles does not answer.
    """
    loaded("boto3", held, extra="aws")
    from strongroom.live.aws_login import identity_of  # noqa: PLC0415 -- it imports the SDK

    return identity_of(held, around).frozen()


def _sdk(held: Held) -> Any:  # noqa: ANN401 -- a module
    loaded("boto3", held, extra="aws")
    from strongroom.live import aws_session  # noqa: PLC0415 -- it imports the SDK

    return aws_session
