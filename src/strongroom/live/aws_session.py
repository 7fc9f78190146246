"""
boto3's session, made of a connection: what it makes follows the connection, and says when it is closed.

Imports the SDK; loaded by `aws.py` when a client is asked for.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.exceptions import BotoCoreError

from strongroom.live import aws_fields
from strongroom.live.aws_hooks import follow
from strongroom.live.aws_login import identity_of
from strongroom.live.aws_refusal import way_trouble
from strongroom.live.aws_roles import configured, core_session
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Around
    from strongroom.live.held import Held

__all__ = ["FollowingSession", "made_of", "session_of"]


class FollowingSession(boto3.Session):  # type: ignore[misc]  # the SDK has no types
    """
    A boto3 session whose clients sign as a connection says now.

    Args:
        held: the connection.
        core: the SDK's own session, set up to follow it.
        has_region: the caller has said a region, which goes before the connection's.

    Threads: as boto3's: clients may be shared, sessions and resources may not.
    """

    def __init__(self, held: Held, core: Any, *, has_region: bool) -> None:  # noqa: ANN401 -- botocore's Session
        super().__init__(botocore_session=core)
        self._held = held
        self._has_region = has_region

    def __repr__(self) -> str:
        return f"FollowingSession({self._held.name!r})"

    @unframed
    def client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as boto3's
        """
        Make a client of *service_name*, where the connection says it is; what is given goes before that.

        Raises:
            BackendConfigError: there is no such service, or a field of the connection cannot be read.
        """
        held = self._held
        fields = aws_fields.read(held.name, held.known.connection)
        said: dict[str, object] = {
            "endpoint_url": fields.endpoint_of(service_name),
            "verify": fields.verify,
            "region_name": None if args or self._has_region else fields.region,
        }
        for key, value in said.items():
            if kwargs.get(key) is None and value is not None:
                kwargs[key] = value
        config = configured(held.name, fields)
        given = kwargs.get("config")
        kwargs["config"] = config if given is None else config.merge(given)
        try:
            made = super().client(service_name, *args, **kwargs)
        except (BotoCoreError, ValueError) as caught:
            error = self._told(caught)
        else:
            made._strongroom_began(held)  # noqa: SLF001 -- the mixin below
            return made
        raise error

    @unframed
    def resource(self, service_name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as boto3's
        """Make a resource of *service_name*; as `client`."""
        try:
            return super().resource(service_name, *args, **kwargs)
        except (BotoCoreError, ValueError) as caught:
            error = self._told(caught)
        raise error

    def _told(self, error: Exception) -> Exception:
        return way_trouble(error, self._held.name) or trouble(
            "options", "malformed", name=self._held.name, detail="options"
        )

    def __reduce__(self) -> str:
        raise TypeError("a live session cannot be pickled: make it where it is used")


class _Lasting:
    """What every client of such a session is, too: it tells of its end, and holds its own after a fork."""

    _endpoint: Any
    _strongroom_ended: Callable[[], None]
    _strongroom_process: int

    def _strongroom_began(self, held: Held) -> None:
        self._strongroom_process = os.getpid()
        # Bound to what holds the sockets, not to the client, which ends when nobody has it any more.
        self._strongroom_ended = held.lasts(self, self._endpoint.http_session.close)

    @unframed  # those below hold what was signed
    def _make_request(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the SDK's own
        if self._strongroom_process != os.getpid():
            # The sockets at rest are the parent's: two processes in one conversation would read each other's.
            self._strongroom_process = os.getpid()
            self._endpoint.http_session.close()
        return super()._make_request(*args, **kwargs)  # type: ignore[misc]  # the SDK's own

    def close(self) -> None:
        """Close what is at rest, and end the following. Safe to call twice."""
        super().close()  # type: ignore[misc]  # the SDK's own
        self._strongroom_ended()


def session_of(held: Held, around: Around, region: object = None) -> FollowingSession:
    """
    Give a session of *held*.

    Args:
        held: the connection.
        around: what is around.
        region: before that of the connection; None for that.

    Raises:
        BackendConfigError: the connection cannot be read, or names a profile that there is not.
    """
    fields = aws_fields.read(held.name, held.known.connection)
    try:
        core = core_session(fields)
        if region is not None:
            core.set_config_variable("region", region)
        follow(core, identity_of(held, around))
        core.register("creating-client-class", _lasting)
        return FollowingSession(held, core, has_region=region is not None)
    except BotoCoreError as caught:
        error = way_trouble(caught, held.name) or trouble("options", "malformed", name=held.name)
    raise error


def made_of(held: Held, around: Around, make: Callable[[FollowingSession], Any]) -> Any:  # noqa: ANN401 -- a client
    """
    Let *make* make a client of a session that all clients of *held* and this run come from.

    A session takes longer to set up than a client does, and makes one client at a time.
    """
    kept = (held.known.number, os.getpid(), identity_of(held, around).session)
    with _making:
        found = cast("tuple[object, FollowingSession] | None", held.kept.get(_KEPT))
        if found is None or found[0] != kept:
            found = (kept, session_of(held, around))
            held.kept[_KEPT] = found
        return make(found[1])


_KEPT = "aws session"
_making = threading.RLock()


def _after_fork() -> None:
    global _making  # noqa: PLW0603 -- a thread of the parent may have held it
    _making = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def _lasting(base_classes: list[type], **_more: object) -> None:
    base_classes.insert(0, _Lasting)
