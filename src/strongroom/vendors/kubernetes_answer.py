"""
What an API server's answer means when it is not what was asked for.

Rules of this file:

1. A Status says what went wrong by its `code` and `reason`; its message quotes names of others and is never
   shown.
2. A refusal names verb, resource and namespace, and the rule of a Role that would allow it.
3. A 404 without a Status is no absence: whoever answered is no API server.

Source: kubernetes.io/docs/reference/using-api/api-concepts; `StatusReason` of k8s.io/apimachinery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.jsontext import decode
from strongroom.vendors.answer import wait_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from strongroom.vendors.http1 import Reply

__all__ = ["MAX_SECRET_BYTES", "Asked", "TooOldError", "denied", "read_as", "refusal"]

T = TypeVar("T")

MAX_SECRET_BYTES = 1_048_576  # of all values of one Secret: MaxSecretSize of k8s.io/api
_UNAUTHENTICATED, _DENIED, _ABSENT, _CONFLICT, _GONE = 401, 403, 404, 409, 410
_TOO_LARGE, _INVALID, _BUSY = 413, 422, 429
_WRITTEN = (_CONFLICT, _TOO_LARGE, _INVALID)
_REFUSED = (400, _UNAUTHENTICATED, _DENIED, _ABSENT, 405, 406, 415)


class Asked(NamedTuple):
    """
    What was asked, for messages.

    Args:
        place: the backend's name.
        verb: of RBAC: `get`, `list`, `watch`, `create`, `patch`, `delete`.
        resource: of RBAC.
        namespace: it was asked in; "" for none.
        group: of the resource.
    """

    place: str
    verb: str
    resource: str
    namespace: str = ""
    group: str = ""


class TooOldError(Exception):
    """A list or a watch cannot go on where it was: what it began from is forgotten."""


def read_as(place: str, data: bytes, shape: type[T]) -> T:
    """
    Give the object of an answer.

    Raises:
        BackendUnavailableError: it is no such object.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise BackendUnavailableError(
        f"the backend {place} gave an answer that is no object of Kubernetes",
        backend=place,
        hint="check that the url is that of an API server",
    )


def refusal(asked: Asked, reply: Reply) -> StrongroomError | TooOldError:
    """Give the error that *reply*, no answer to what was *asked*, means."""
    code = reply.status
    if code == _GONE:
        return TooOldError()
    if code in _WRITTEN:
        return _unwritten(asked, _status(reply), code)
    if code in _REFUSED:
        return _unfit(asked, reply)
    return BackendUnavailableError(
        f"the API server of the backend {asked.place} "
        + ("is asked too much" if code == _BUSY else f"answered with the status {code}"),
        backend=asked.place,
        retry_after=_wait(reply),
    )


def _unfit(asked: Asked, reply: Reply) -> StrongroomError:
    code = reply.status
    if code == _UNAUTHENTICATED:
        return NotAuthenticatedError(
            f"the API server of the backend {asked.place} does not know who asks",
            hint="check service account, token or certificate, and that the cluster is the right one",
        )
    if code == _DENIED:
        return denied(asked)
    if code == _ABSENT:
        return _nowhere(asked, _status(reply))
    return BackendConfigError(
        f"the API server of the backend {asked.place} does not take a {asked.verb} of {asked.resource} "
        f"(status {code})",
        hint="check the url, and that it speaks the API of Kubernetes",
    )


def denied(asked: Asked) -> AccessDeniedError:
    """Give the error of whoever may not do what was *asked*, with the rule that would allow it."""
    where = f" in the namespace {asked.namespace}" if asked.namespace else ""
    rule = f'{{apiGroups: ["{asked.group}"], resources: ["{asked.resource}"], verbs: ["{asked.verb}"]}}'
    return AccessDeniedError(
        f"the backend {asked.place} may not {asked.verb} {asked.resource}{where}",
        reason=f"{asked.verb} {asked.resource}{where}",
        hint=f"bind a {'Role' if asked.namespace else 'ClusterRole'} with the rule {rule}",
    )


def _status(reply: Reply) -> dict[str, object]:
    try:
        found = decode(reply.body.decode(), what="the answer")
    except (InvalidInputError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _nowhere(asked: Asked, status: dict[str, object]) -> StrongroomError:
    details = status.get("details")
    kind = details.get("kind") if isinstance(details, dict) else None
    if kind == "namespaces":
        return BackendConfigError(
            f"the backend {asked.place} is set to the namespace {asked.namespace}, which does not exist",
            hint="set namespace to one that does: kubectl get namespaces",
        )
    return BackendConfigError(
        f"the url of the backend {asked.place} knows no {asked.resource}",
        hint="check that it is the url of an API server, without a path behind it",
    )


def _unwritten(asked: Asked, status: dict[str, object], code: int) -> StrongroomError:
    if code == _CONFLICT:
        return ConflictError(f"a Secret in the backend {asked.place} changed meanwhile, or exists")
    causes = set(_causes(status))
    if code == _TOO_LARGE or "FieldValueTooLong" in causes:
        return InvalidInputError(
            f"a Secret of the backend {asked.place} would be over {MAX_SECRET_BYTES} bytes",
            limit=MAX_SECRET_BYTES,
        )
    if "FieldValueForbidden" in causes:
        return ReadOnlyError(
            f"the Secret in the backend {asked.place} is immutable",
            hint="delete it, and write it anew; or change it where it comes from",
        )
    return InvalidInputError(
        f"the API server of the backend {asked.place} refuses the Secret as invalid",
        hint="its type may ask for keys of its own: kubectl describe secret",
    )


def _causes(status: dict[str, object]) -> Iterator[str]:
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict):
            yield str(cause.get("reason"))


def _wait(reply: Reply) -> timedelta | None:
    details = _status(reply).get("details")
    said = reply.headers.get("retry-after") or str(
        details.get("retryAfterSeconds", "") if isinstance(details, dict) else ""
    )
    return wait_of(said)
