"""
Errors as Airflow answers them: `{"detail": …}` in the API of Airflow 3, RFC 7807 in that of Airflow 2.

Rules of this file:

1. A handler raises `RefusedError` where Airflow has words of its own for it; everything else is one of our
   errors and gets Airflow's status and shape here.
2. Nothing of a body is repeated, not even the name of a field that is not known: Airflow repeats the value.
3. Whoever is not known gets 401 in one wording, whatever was wrong with what he showed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.server.endpoint import Answer
from strongroom.wire.failure import (
    CrossSiteError,
    MethodError,
    ReadOnlyModeError,
    StepUpError,
    members_of,
    status_of,
)

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError

__all__ = ["FORBIDDEN", "RefusedError", "errors_root", "errors_v1", "errors_v2", "status_and_detail"]

FORBIDDEN = "Forbidden"
_TOLD = (CrossSiteError, ReadOnlyModeError, StepUpError)  # say what to do, and nothing of what is there
_DOCS = "https://airflow.apache.org/docs/apache-airflow/2.10.0/stable-rest-api-ref.html#section/Errors/"
_V1_TITLES = {
    400: ("Bad Request", "BadRequest"),
    401: ("Unauthorized", "Unauthenticated"),
    403: ("Forbidden", "PermissionDenied"),
    404: ("Not Found", "NotFound"),
    405: ("Method Not Allowed", "MethodNotAllowed"),
    409: ("Conflict", "AlreadyExists"),
}


class RefusedError(InvalidInputError):
    """
    Airflow refuses this, and says so in these words.

    Attributes:
        status: HTTP's.
        detail: what stands under `detail`.
        title: what stands under `title` in the API of Airflow 2; that of the status if None.
    """

    def __init__(self, status: int, detail: object, *, title: str | None = None) -> None:
        super().__init__(detail if isinstance(detail, str) else "the request is not as it must be")
        self.status = status
        self.detail = detail
        self.title = title


def status_and_detail(error: StrongroomError) -> tuple[int, object]:
    """Give the status of *error* and what stands under `detail`."""
    if isinstance(error, RefusedError):
        return error.status, error.detail
    if isinstance(error, NotAuthenticatedError):
        return 401, "Not authenticated"
    if isinstance(error, MethodError):
        return 405, "Method Not Allowed"
    if isinstance(error, AccessDeniedError) and not isinstance(error, _TOLD):
        return 403, FORBIDDEN
    if isinstance(error, NotFoundError):
        return 404, "Not Found"
    return status_of(error), _words(error)


def _words(error: StrongroomError) -> str:
    told = members_of(error)
    if isinstance(error, (ConflictError, ReadOnlyError)) or "hint" not in told:
        return str(told["message"])
    return f"{told['message']}: {told['hint']}"


def errors_v2(error: StrongroomError, _request_id: str) -> Answer:
    """Give *error* as Airflow 3 does."""
    status, detail = status_and_detail(error)
    return Answer({"detail": detail}, status=status)


def errors_root(error: StrongroomError, request_id: str) -> Answer:
    """Give *error* as `/auth/token` does: there a name or a deployment nobody knows is a wrong password."""
    if isinstance(error, NotAuthenticatedError):
        return Answer({"detail": "Invalid credentials"}, status=401)
    return errors_v2(error, request_id)


def errors_v1(error: StrongroomError, _request_id: str) -> Answer:
    """Give *error* as Airflow 2 does. Source: RFC 7807."""
    status, detail = status_and_detail(error)
    title, kind = _V1_TITLES.get(status, ("Error", ""))
    if isinstance(error, RefusedError) and error.title is not None:
        title = error.title
    told = None if detail in (FORBIDDEN, "Not authenticated") else detail
    headers = {"content-type": "application/problem+json"}
    if status == 401:  # noqa: PLR2004 -- HTTP
        headers["www-authenticate"] = "Basic"
    body = {"detail": told, "status": status, "title": title, "type": _DOCS + kind if kind else "about:blank"}
    return Answer(body, status=status, headers=headers)
