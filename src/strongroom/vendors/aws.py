"""
AWS for a whole process: who we are, which client asks what, and what an answer of the SDK comes to.

boto3 signs and knows where an identity comes from; what it asks goes over our own transport (`Origins`), by
its event `before-send`: the services, STS and SSO. Not by that way: the metadata service of a machine or
container and a `credential_process`, which are asked on this machine by the SDK itself.

Rules of this file:

1. boto3 is imported and a client made when the first question is asked, never before.
2. One login is under way at a time, however many threads want one. What AWS does not know any more (a key
   that was replaced, a token that ended) is looked up anew, once in five seconds, and the question
   asked once more.
3. The SDK's own retries are off; the transport asks again what may be asked again, and that alone.
4. A forked child has a session of its own: the SDK's locks and sockets do not survive a fork.

Source: boto3 1.44 (`botocore/endpoint.py`, `botocore/credentials.py`), run against moto and ministack.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.aws_answer import Fault, trouble
from strongroom.vendors.aws_options import AwsAccess, bounds_of, check_access
from strongroom.vendors.aws_role import RoleLogin
from strongroom.vendors.aws_sdk import (
    answer_of,
    ask,
    config,
    core_session,
    known,
    misshapen,
    quiet,
    sdk_errors,
)
from strongroom.vendors.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

__all__ = ["AwsAccess", "AwsSession", "Fault", "Place"]

_RENEW_SECONDS = 5.0  # at least, from one look for who we are to the next
# What asked twice is the same as asked once; of the writes those that carry a token of their own.
_REPEATABLE = (
    *("Get", "List", "Describe", "BatchGet", "AssumeRole", "CreateSecret", "PutSecretValue"),
    *("Encrypt", "Decrypt"),
)


_URL = re.compile(r"\burl\b")  # the transport's word for where it asks


class Place(NamedTuple):
    """A region, and where the service is there: None for where AWS has it."""

    region: str
    url: str | None = None


@dataclass(slots=True)
class _Side:
    """What one process has for itself."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    session: Any = None
    clients: dict[tuple[str, Place | None], Any] = field(default_factory=dict)
    generation: int = 0  # how often who we are was looked up anew
    renewed_at: float | None = None


class AwsSession:
    """
    Ask AWS as one identity.

    Args:
        access: where, and as whom.
        place: the backend's name, for messages.
        clock: seconds that only go up.

    Threads: may be used from several threads at once, and after a fork.

    Raises:
        BackendConfigError: *access* contradicts itself.
    """

    def __init__(self, access: AwsAccess, *, place: str, clock: Callable[[], float] = time.monotonic) -> None:
        check_access(place, access)
        self.access = access
        self._place = place
        self._clock = clock
        self._origins = Origins(place, clock=clock, **bounds_of(access))
        # By process id: `setdefault` is atomic, so a forked child gets a side of its own without a lock
        # that another thread of the parent may have held at the fork.
        self._sides: dict[int, _Side] = {}

    def __repr__(self) -> str:
        return f"AwsSession({self._place!r})"

    @property
    def is_circuit_open(self) -> bool:
        """Whether AWS, or one of what it is asked through, is not asked for a while, because it failed."""
        return self._origins.is_circuit_open

    @property
    def certificate_ends(self) -> datetime | None:
        """As of `Origins`."""
        return self._origins.certificate_ends

    def call(
        self,
        service: str,
        operation: str,
        arguments: Mapping[str, object],
        *,
        place: Place | None = None,
        must_have: str | None = None,
    ) -> dict[str, Any]:
        """
        Ask *service* to do *operation* and give its answer.

        Args:
            service: as boto3 calls it: `secretsmanager`.
            operation: as AWS calls it: `GetSecretValue`.
            arguments: likewise.
            place: another region than that of the session.
            must_have: the member without which the answer is none of AWS.

        Raises:
            Fault: AWS did not do it; what that means is `trouble`'s to say.
            NotAuthenticatedError: there is no identity, or it was refused.
            BackendUnavailableError, BackendConfigError: as of `Transport`; the answer is none of AWS.
            InvalidInputError: AWS does not take such an argument.
        """
        error: Exception
        try:
            with quiet():
                answer = self._answered(service, operation, arguments, place)
        except (StrongroomError, Fault) as caught:
            error = caught
            if isinstance(caught, BackendUnavailableError):
                caught.hint = _URL.sub(self._address(service, place), caught.hint or "") or None
        except sdk_errors() as caught:
            error = known(caught, self._place)
        else:
            if must_have is None or must_have in answer:
                return answer
            error = misshapen(self._place)
        # Raised anew, outside `except`: the frames it came through hold what is stored.
        error.__context__ = None
        raise error.with_traceback(None)

    def _address(self, service: str, place: Place | None) -> str:
        """Name the setting that says where *service* is."""
        if service == "sts":
            return "sts_endpoint_url"
        if place is not None and place.url is not None:
            return "replica_endpoint_urls"
        return "endpoint_url" if self.access.endpoint_url else "region_name"

    def region(self) -> str:
        """
        Give the region that is asked.

        Raises:
            BackendConfigError: nothing says it.
        """
        found = self.access.region_name
        if not found:
            try:
                found = self._session().region_name
            except sdk_errors() as caught:
                raise known(caught, self._place) from None
        if not found:
            raise BackendConfigError(
                f"backend.{self._place}.region_name is not set, and nothing else says it",
                hint="set region_name",
            )
        return str(found)

    def identity(self) -> str:
        """
        Tell as whom we are known: an ARN.

        Raises:
            As `call`, and what `trouble` makes of a `Fault`.
        """
        try:
            answer = self.call("sts", "GetCallerIdentity", {}, must_have="Arn")
        except Fault as fault:
            raise trouble(fault, place=self._place, action="sts:GetCallerIdentity", resource="*") from None
        return str(answer["Arn"])

    def keys(self) -> tuple[str, Secret[str], Secret[str] | None]:
        """
        Give the key that signs, for who signs by himself: its id, its secret, the token of one that ends.

        Raises:
            NotAuthenticatedError, BackendUnavailableError, BackendConfigError: as of `call`.
        """
        error: Exception
        try:
            with quiet():
                found = self._session().get_credentials()
                kept = None if found is None else found.get_frozen_credentials()
        except StrongroomError as caught:
            error = caught
        except sdk_errors() as caught:
            error = known(caught, self._place)
        else:
            if kept is not None:
                token = Secret(str(kept.token)) if kept.token else None
                return str(kept.access_key), Secret(str(kept.secret_key)), token
            error = NotAuthenticatedError(
                f"the backend {self._place} has nothing to show AWS",
                hint="set a key, or run where a profile, a role or a web identity is",
            )
        error.__context__ = None
        raise error.with_traceback(None)

    def close(self) -> None:
        """Let go of connections and clients, and refuse further questions. Safe to call twice."""
        self._origins.close()
        self._sides.clear()

    # --- the SDK ---

    def _answered(
        self, service: str, operation: str, arguments: Mapping[str, object], place: Place | None
    ) -> dict[str, Any]:
        """Ask, and once more as who we are by now where AWS does not know us any more."""
        generation = self._side().generation
        try:
            return self._asked(service, operation, arguments, place)
        except Fault as fault:
            if not fault.is_about_us or not self._is_renewed(generation):
                raise
        return self._asked(service, operation, arguments, place)

    def _asked(
        self, service: str, operation: str, arguments: Mapping[str, object], place: Place | None
    ) -> dict[str, Any]:
        client = self._client(service, place)
        try:
            return ask(client, operation, arguments)
        except StrongroomError:
            raise
        except sdk_errors() as caught:
            error = known(caught, self._place)
        raise error

    def _is_renewed(self, generation: int) -> bool:
        """Forget who we are, so that keys, files and roles are looked up anew; not again and again."""
        side = self._side()
        with side.lock:
            if side.generation != generation:  # another thread did since we asked
                return True
            now = self._clock()
            if side.renewed_at is not None and now - side.renewed_at < _RENEW_SECONDS:
                return False
            side.generation, side.renewed_at, side.session = side.generation + 1, now, None
            side.clients.clear()
            return True

    def _side(self) -> _Side:
        process = os.getpid()
        side = self._sides.get(process)
        if side is None:
            for parent in list(self._sides):
                if parent != process:  # a parent's clients hold its sockets and locks
                    self._sides.pop(parent, None)
            side = self._sides.setdefault(process, _Side())
        return side

    def _client(self, service: str, place: Place | None) -> Any:  # noqa: ANN401 -- the SDK makes its classes as it goes
        side = self._side()
        found = side.clients.get((service, place))
        if found is None:
            with side.lock:
                found = side.clients.get((service, place)) or self._made(service, place)
                side.clients[service, place] = found
        return found

    def _made(self, service: str, place: Place | None) -> Any:  # noqa: ANN401 -- as `_client`
        access = self.access
        is_sts = service == "sts"
        mine = Place(self.region(), access.sts_url if is_sts else access.endpoint_url)
        where = mine if place is None else place
        return self._session().client(
            service,
            region_name=where.region,
            endpoint_url=where.url,
            api_version=None if is_sts else access.api_version,
            config=config(),
        )

    def _session(self) -> Any:  # noqa: ANN401 -- as `_client`
        side = self._side()
        with side.lock:
            if side.session is None:
                side.session = self._role_session() if self.access.role_arn else self._base_session()
            return side.session

    def _base_session(self) -> Any:  # noqa: ANN401 -- as `_client`
        access = self.access
        core = core_session(self._place, access.profile_name, self._carry)
        core.set_config_variable("region", access.region_name or core.get_config_variable("region"))
        if access.aws_access_key_id is not None:
            core.set_credentials(*(_said(one) for one in _keys(access)))
        return _boto3_session(core)

    def _role_session(self) -> Any:  # noqa: ANN401 -- as `_client`
        from botocore.credentials import CredentialResolver  # noqa: PLC0415 -- only who asks AWS has it

        base = self._base_session()
        core = core_session(self._place, self.access.profile_name, self._carry)
        core.set_config_variable("region", base.region_name)
        login = RoleLogin(self.access, base, place=self._place, clock=self._clock)
        core.register_component("credential_provider", CredentialResolver([login]))
        return _boto3_session(core)

    def _carry(self, request: Any, event_name: str, **_more: object) -> Any:  # noqa: ANN401 -- as `_client`
        """Answer in place of the SDK's own HTTP session."""
        operation = event_name.rpartition(".")[2]
        reply = self._origins.request(
            request.method,
            request.url,
            request.headers,
            request.body,
            is_repeatable=operation.startswith(_REPEATABLE),
        )
        return answer_of(request, reply, self._place)


def _boto3_session(core: Any) -> Any:  # noqa: ANN401 -- the SDK's own classes
    import boto3  # noqa: PLC0415 -- as `_role_session`

    return boto3.Session(botocore_session=core)


def _keys(access: AwsAccess) -> tuple[object, ...]:
    return access.aws_access_key_id, access.aws_secret_access_key, access.aws_session_token


def _said(given: object) -> str | None:
    found = given() if callable(given) else given
    return str(found.reveal()) if isinstance(found, Secret) else None if found is None else str(found)
