"""
What Google's services say when they do not do what they were asked, as what can be done about it.

Not for asking (`google_call.py`). Pure: no I/O.

Rules of this file:

1. A status and a reason are names from closed sets, compared and never shown as they came; the words of a
   service are compared and never shown.
2. Denied, absent, set up wrongly and out of order are four things.

Source: google.rpc.Code and google.rpc.error_details of googleapis; google-api-core 2.44.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendConfigError, BackendUnavailableError, StrongroomError
from strongroom.vendors.answer import json_in, wait_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["PERMISSIONS", "GoogleRefusal", "refusal_of", "trouble_of"]

PERMISSIONS: Mapping[str, str] = {
    "access_secret_version": "secretmanager.versions.access",
    "add_secret_version": "secretmanager.versions.add",
    "create_secret": "secretmanager.secrets.create",
    "delete_secret": "secretmanager.secrets.delete",
    "enable_secret_version": "secretmanager.versions.enable",
    "get_secret": "secretmanager.secrets.get",
    "list_secret_versions": "secretmanager.versions.list",
    "list_secrets": "secretmanager.secrets.list",
    "update_secret": "secretmanager.secrets.update",
}
"""By what is asked, the permission it needs."""

_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    409: "ALREADY_EXISTS",
    412: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MISUSED = {
    "CONSUMER_INVALID": "there is no such project, or it is not this account's to use: check project_id",
    "RESOURCE_PROJECT_INVALID": "there is no such project: check project_id",
    "CONSUMER_SUSPENDED": "the project is suspended: check project_id",
    "SERVICE_DISABLED": "enable secretmanager.googleapis.com in the project, or check project_id",
    "BILLING_DISABLED": "enable billing for the project, or check project_id",
    "USER_PROJECT_DENIED": "check quota_project_id, or grant roles/serviceusage.serviceUsageConsumer on it",
    "LOCATION_POLICY_VIOLATED": "the policy of the organisation forbids where the secret would be kept: "
    "set replica_locations, or location",
    "LOCATION_ORG_POLICY_VIOLATED": "the policy of the organisation forbids where the secret would be kept: "
    "set replica_locations, or location",
}
_STATES = ("DISABLED", "DESTROYED")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")


class GoogleRefusal(Exception):  # noqa: N818 -- an answer, which its receiver turns into an error of ours
    """
    An answer that is a refusal.

    Args:
        status: of google.rpc.Code, as `NOT_FOUND`; `NO_SERVICE` where what answers is not this service.
        reason: of google.rpc.ErrorInfo, where it is one that is known here.
        state: `DISABLED` or `DESTROYED`, where the words say that a version is.
        retry_after: how long the service asks to be left alone.
    """

    def __init__(
        self, status: str, *, reason: str = "", state: str = "", retry_after: timedelta | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason
        self.state = state
        self.retry_after = retry_after


def refusal_of(error: Any) -> GoogleRefusal:  # noqa: ANN401 -- an exception of the SDK, which has no types
    """Give what a `GoogleAPICallError` says, of gRPC or of REST."""
    response = getattr(error, "response", None)
    response = response if hasattr(response, "status_code") else None  # of gRPC it is the call
    status, details = _of_grpc(error) if response is None else _of_rest(error)
    words = str(getattr(error, "message", ""))
    return GoogleRefusal(
        status,
        reason=next((reason for reason in _reasons(details, error) if reason in _MISUSED), ""),
        state=next((state for state in _STATES if f"in {state} state" in words), ""),
        retry_after=next(_waits(details), None) or (None if response is None else wait_in(response.headers)),
    )


def _of_grpc(error: Any) -> tuple[str, tuple[object, ...]]:  # noqa: ANN401 -- as above
    code = error.grpc_status_code
    return (code.name if code is not None else "UNKNOWN"), tuple(error.details or ())


def _of_rest(error: Any) -> tuple[str, tuple[object, ...]]:  # noqa: ANN401 -- as above
    body = json_in(error.response.content)
    body = body[0] if isinstance(body, list) and body else body
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict):
        # A page of somebody else's: a proxy's, or that of a wrong endpoint. Never an absence.
        code = int(error.response.status_code)
        return ("NO_SERVICE" if code in (400, 404, 405) else _OF_HTTP.get(code, "UNAVAILABLE")), ()
    status, details = said.get("status"), said.get("details")
    known = status if isinstance(status, str) and status.isupper() else None
    fallback = _OF_HTTP.get(int(error.response.status_code), "UNKNOWN")
    return known or fallback, tuple(details) if isinstance(details, list) else ()


def _reasons(details: Iterable[object], error: Any) -> Iterator[str]:  # noqa: ANN401 -- as above
    yield str(getattr(error, "reason", "") or "")
    for detail in details:
        reason = detail.get("reason") if isinstance(detail, dict) else getattr(detail, "reason", None)
        if isinstance(reason, str):
            yield reason


def _waits(details: Iterable[object]) -> Iterator[timedelta]:
    for detail in details:
        if isinstance(detail, dict):
            text = str(detail.get("retryDelay", "")).removesuffix("s")
            if _SECONDS.fullmatch(text):
                yield timedelta(seconds=float(text))
        elif hasattr(detail, "retry_delay"):
            yield timedelta(seconds=detail.retry_delay.seconds, microseconds=detail.retry_delay.nanos / 1000)


def trouble_of(refusal: GoogleRefusal, place: str) -> StrongroomError | None:
    """
    Give the error that *refusal* is whatever was asked; None where that depends on the question.

    Args:
        refusal: what was answered.
        place: the backend's name.
    """
    if refusal.reason:
        return BackendConfigError(
            f"the project of the backend {place} cannot be used ({refusal.reason})",
            hint=_MISUSED[refusal.reason],
        )
    if refusal.status in ("NO_SERVICE", "UNIMPLEMENTED"):
        return BackendConfigError(
            f"what the backend {place} asks is not Secret Manager", hint="check endpoint and location"
        )
    if refusal.status == "INVALID_ARGUMENT":
        return BackendConfigError(
            f"Secret Manager takes what the backend {place} asks for no question of its own",
            hint="check project_id, location, endpoint and version",
        )
    if refusal.status in (
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "ABORTED",
        "PERMISSION_DENIED",
    ):
        return None
    what = (
        "asks to be asked less" if refusal.status == "RESOURCE_EXHAUSTED" else f"answered {_shown(refusal)}"
    )
    return BackendUnavailableError(
        f"the backend {place} {what}", backend=place, retry_after=refusal.retry_after
    )


def _shown(refusal: GoogleRefusal) -> str:
    known = (
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "ABORTED",
        "CANCELLED",
        "DATA_LOSS",
        "OUT_OF_RANGE",
    )
    return refusal.status if refusal.status in known else "UNKNOWN"
