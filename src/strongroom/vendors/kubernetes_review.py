"""
Ask an API server of Kubernetes whose a token of a service account is (TokenReview), and of its pod.

Not for which service account is which service (`service/access/workload.py`).

Rules of this file:

1. Nothing in the token is believed but by the review; what is read of it before only spares a question.
2. A review counts for our audience alone: one that does not name it is a refusal, as the API asks.
3. A review is remembered by the token's SHA-256, a minute at most; a refusal for ten seconds. However many
   bring one token, the API server is asked about it once.
4. That the API server does not let us ask is trouble, and no refusal of whoever brought the token.

Source: kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1; KEP-1205.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.holding import boot_seconds
from strongroom.vendors.jwt import TokenError, ends_of
from strongroom.vendors.kubernetes import Question, body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.kubernetes import KubernetesSession

__all__ = ["Reviewed", "Reviewer"]

_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_GROUP = "authentication.k8s.io"
_ACCOUNT = re.compile(
    r"system:serviceaccount:([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?):([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)",
    re.ASCII,
)
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_POD_NAME, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
_MAX_REMEMBERED = 10_000
_REFUSED_SECONDS = 10.0
_MAX_CHARACTERS = 250  # of a label or annotation that is of use here


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: dict[str, Any] | None = None
    audiences: list[str] | None = None


class _Review(msgspec.Struct):
    status: _Status | None = None


class _Metadata(msgspec.Struct):
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct, rename="camel"):
    service_account_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """
    Whose a token is.

    Args:
        namespace, service_account: whose.
        pod, pod_uid: the one pod it is for; None where it is for no pod's.
        expires: when it ends, as it says itself.
    """

    namespace: str
    service_account: str
    pod: str | None
    pod_uid: str | None
    expires: datetime


class Reviewer:
    """
    Ask about tokens.

    Trust: the API server's word is taken; a token's own is not.
    Threads: safe.

    Args:
        session: of the API server, as one who may create TokenReviews (`system:auth-delegator`).
        audience: ours.
        clock: wall clock, UTC.
        remember_seconds: a review is good for.
        timer: seconds that only go up, in sleep too.
    """

    def __init__(
        self,
        session: KubernetesSession,
        *,
        audience: str,
        clock: Callable[[], datetime],
        remember_seconds: float = 60.0,
        timer: Callable[[], float] = boot_seconds,
    ) -> None:
        self._session = session
        self._audience = audience
        self._clock = clock
        self._remember_seconds = remember_seconds
        self._timer = timer
        self._remembered: dict[bytes, tuple[float, Reviewed | str]] = {}
        self._pods: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._flights: dict[bytes, Lock] = {}
        self._lock = Lock()
        self.close = session.close

    def review(self, token: str) -> Reviewed:
        """
        Give whose *token* is, for us and now.

        Raises:
            TokenError: nobody's.
            BackendUnavailableError: the API server cannot tell now, or does not let us ask.
        """
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._at_hand(digest)
        if found is None:
            with self._lock:
                flight = self._flights.setdefault(digest, Lock())
            with flight:
                found = self._at_hand(digest)
                if found is None:
                    try:
                        found = self._asked(token)
                        self._remember(digest, found)
                    finally:
                        with self._lock:
                            self._flights.pop(digest, None)
        if isinstance(found, str):
            raise TokenError(found)
        return found

    def pod(self, found: Reviewed) -> Mapping[str, str]:
        """
        Give the labels of a pod and, before them, its annotations, which are not shortened.

        Raises:
            TokenError: there is no such pod any more, or it is another one's by now.
            BackendUnavailableError: as `review`.
        """
        if found.pod is None or found.pod_uid is None:
            return {}
        held = self._pods.get(found.pod_uid)
        if held is not None and self._timer() < held[0]:
            return held[1]
        pod = self._read_pod(found)
        if (pod.metadata.uid, pod.spec.service_account_name) != (found.pod_uid, found.service_account):
            raise TokenError("a pod that is gone")
        said = {**(pod.metadata.labels or {}), **(pod.metadata.annotations or {})}
        kept = {
            key: text for key, text in said.items() if len(text) <= _MAX_CHARACTERS and text.isprintable()
        }
        while len(self._pods) >= _MAX_REMEMBERED:
            self._pods.pop(next(iter(self._pods)), None)
        self._pods[found.pod_uid] = (self._timer() + self._remember_seconds, kept)
        return kept

    def _read_pod(self, found: Reviewed) -> _Pod:
        path = f"/api/v1/namespaces/{found.namespace}/pods/{found.pod}"
        question = Question(method="GET", path=path, verb="get", resource="pods", namespace=found.namespace)
        try:
            return self._session.ask(question, _Pod)
        except BackendConfigError:  # a 404: no such pod, or no such namespace any more
            raise TokenError("a pod that is gone") from None
        except (AccessDeniedError, NotAuthenticatedError) as error:
            raise _may_not(error, "get pods") from None

    def _at_hand(self, digest: bytes) -> Reviewed | str | None:
        until, found = self._remembered.get(digest, (0.0, None))
        return found if found is not None and self._timer() < until else None

    def _remember(self, digest: bytes, found: Reviewed | str) -> None:
        seconds = _REFUSED_SECONDS
        if isinstance(found, Reviewed):
            seconds = min(self._remember_seconds, (found.expires - self._clock()).total_seconds())
        with self._lock:
            while len(self._remembered) >= _MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = (self._timer() + seconds, found)

    def _asked(self, token: str) -> Reviewed | str:
        """Give whose it is, or why it is nobody's."""
        try:
            expires = ends_of(token, audience=self._audience, now=self._clock())
        except TokenError as error:
            return error.reason
        spec = {"token": token, "audiences": [self._audience]}
        held = {"apiVersion": f"{_GROUP}/v1", "kind": "TokenReview", "spec": spec}
        question = Question(
            method="POST",
            path=_REVIEWS,
            verb="create",
            resource="tokenreviews",
            group=_GROUP,
            body=body_of(held),
        )
        try:
            status = self._session.ask(question, _Review).status
        except BackendUnavailableError:
            raise
        except StrongroomError as error:
            raise _may_not(error, "create tokenreviews") from None
        if status is None or not status.authenticated:
            return "the API server does not know it"
        if self._audience not in (status.audiences or ()):
            return "another audience, by the API server's word"
        return _reviewed(status.user or {}, expires)


def _reviewed(user: Mapping[str, Any], expires: datetime) -> Reviewed | str:
    name = user.get("username")
    match = _ACCOUNT.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        return "no service account"
    pod, uid = _one(user, _POD_NAME), _one(user, _POD_UID)
    is_bound = pod is not None and uid is not None and _NAME.fullmatch(pod) is not None
    return Reviewed(
        namespace=match[1],
        service_account=match[2],
        pod=pod if is_bound else None,
        pod_uid=uid if is_bound else None,
        expires=expires,
    )


def _one(user: Mapping[str, Any], name: str) -> str | None:
    extra = user.get("extra")
    found = extra.get(name) if isinstance(extra, dict) else None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], str):
        return None
    return found[0]


def _may_not(error: StrongroomError, what: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"the API server of Kubernetes does not let us {what}",
        backend="kubernetes",
        retry_after=timedelta(seconds=30),
        hint=error.hint or "bind our service account to the ClusterRole system:auth-delegator",
    )
